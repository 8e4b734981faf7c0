//! SORTED_SET: the family's list, and what its files share.
//!
//! Owns how a sorted set is found in an entry and how members are written. Never looks a key up itself, but to store a
//! result.

mod algebra;
mod blocking;
mod bounds;
mod edit;
mod inputs;
mod pop;
mod query;
mod random;
mod ranges;
mod remove;

use torc_datatypes::zset::ZSetLimits;
use torc_datatypes::{Entry, Value, ValueMut, ValueRef, ZSet};
use torc_keyspace::Class;
use torc_resp::{CommandError, Proto, Reply};

pub(super) use self::edit::{Rule, insert_all};
use crate::families::generic::delete::replace;
use crate::{Command, Context};

pub(super) const COMMANDS: &[Command] = &[
    edit::ZADD,
    edit::ZINCRBY,
    query::ZCARD,
    query::ZSCORE,
    query::ZMSCORE,
    query::ZRANK,
    query::ZREVRANK,
    query::ZCOUNT,
    query::ZLEXCOUNT,
    query::ZSCAN,
    ranges::ZRANGE,
    ranges::ZRANGESTORE,
    ranges::ZREVRANGE,
    ranges::ZRANGEBYSCORE,
    ranges::ZREVRANGEBYSCORE,
    ranges::ZRANGEBYLEX,
    ranges::ZREVRANGEBYLEX,
    remove::ZREM,
    remove::ZREMRANGEBYRANK,
    remove::ZREMRANGEBYSCORE,
    remove::ZREMRANGEBYLEX,
    pop::ZPOPMIN,
    pop::ZPOPMAX,
    pop::ZMPOP,
    blocking::BZPOPMIN,
    blocking::BZPOPMAX,
    blocking::BZMPOP,
    random::ZRANDMEMBER,
    algebra::ZUNION,
    algebra::ZUNIONSTORE,
    algebra::ZINTER,
    algebra::ZINTERSTORE,
    algebra::ZINTERCARD,
    algebra::ZDIFF,
    algebra::ZDIFFSTORE,
];

/// The sorted set that a live entry holds.
#[inline]
pub(super) fn zset_of(entry: &Entry) -> Result<&ZSet, CommandError> {
    match entry.value() {
        Some(ValueRef::ZSet(zset)) => Ok(zset),
        _ => Err(CommandError::WrongType),
    }
}

/// The sorted set at a key's place, or `None` if there is nothing.
#[inline]
pub(super) fn zset_at(entry: Option<&Entry>) -> Result<Option<&ZSet>, CommandError> {
    entry.map(zset_of).transpose()
}

/// The sorted set that an entry holds, for change in place. Whoever calls this has seen that it is one.
#[inline]
pub(super) fn zset_mut(entry: &mut Entry) -> &mut ZSet {
    match entry.value_mut() {
        Some(ValueMut::ZSet(zset)) => zset,
        _ => unreachable!("the caller has seen a sorted set"),
    }
}

/// Up to where sorted sets are compact.
#[inline]
pub(super) fn limits(cx: &Context<'_>) -> ZSetLimits {
    let encodings = &cx.settings.encodings;
    ZSetLimits {
        listpack_entries: encodings.zset_max_listpack_entries,
        listpack_value: encodings.zset_max_listpack_value,
    }
}

/// Stores a result under a key, whatever was there, and replies how many members it has; an empty one removes the key.
pub(super) fn store(
    cx: &mut Context<'_>,
    key: &[u8],
    result: ZSet,
    event: &'static str,
    reply: &mut Reply<'_>,
) {
    let len = result.len();
    replace(cx, key, (len > 0).then_some(Value::ZSet(result)), Class::ZSET, event);
    reply.int(len as i64);
}

/// How members are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Show {
    /// Without scores.
    Members,
    /// Each member, and its score behind it.
    Flat,
    /// Each member and its score in an array of their own.
    Nested,
    /// As `Flat`, in an array that is begun already.
    InLine,
}

impl Show {
    /// WITHSCORES: RESP3 keeps a member and its score together (Redis 7.2).
    fn with_scores(with_scores: bool, reply: &Reply<'_>) -> Show {
        match (with_scores, reply.proto()) {
            (false, _) => Show::Members,
            (true, Proto::Resp2) => Show::Flat,
            (true, Proto::Resp3) => Show::Nested,
        }
    }

    /// The head of a list of so many members.
    #[inline]
    fn head(self, reply: &mut Reply<'_>, members: usize) {
        match self {
            Show::Flat => reply.array(2 * members),
            Show::Members | Show::Nested => reply.array(members),
            Show::InLine => {}
        }
    }

    #[inline]
    fn member(self, reply: &mut Reply<'_>, member: &[u8], score: f64) {
        if self == Show::Nested {
            reply.array(2);
        }
        reply.bulk(member);
        if self != Show::Members {
            reply.double(score);
        }
    }
}
