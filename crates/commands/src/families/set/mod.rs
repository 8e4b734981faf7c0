//! SET: the family's list, and what its files share.
//!
//! Owns how a set is found in an entry and how members are written. Never looks a key up itself.

mod algebra;
mod edit;
mod query;
mod random;

use torc_datatypes::listpack::Item;
use torc_datatypes::set::SetLimits;
use torc_datatypes::{Entry, Set, ValueMut, ValueRef};
use torc_resp::{CommandError, Reply};

use crate::{Command, Context};

pub(super) const COMMANDS: &[Command] = &[
    edit::SADD,
    edit::SREM,
    edit::SMOVE,
    query::SCARD,
    query::SISMEMBER,
    query::SMISMEMBER,
    query::SMEMBERS,
    query::SSCAN,
    random::SPOP,
    random::SRANDMEMBER,
    algebra::SINTER,
    algebra::SINTERCARD,
    algebra::SINTERSTORE,
    algebra::SUNION,
    algebra::SUNIONSTORE,
    algebra::SDIFF,
    algebra::SDIFFSTORE,
];

/// The set that a live entry holds.
#[inline]
pub(super) fn set_of(entry: &Entry) -> Result<&Set, CommandError> {
    match entry.value() {
        Some(ValueRef::Set(set)) => Ok(set),
        _ => Err(CommandError::WrongType),
    }
}

/// The set at a key's place, or `None` if there is nothing.
#[inline]
fn set_at(entry: Option<&Entry>) -> Result<Option<&Set>, CommandError> {
    entry.map(set_of).transpose()
}

/// The set that an entry holds, for change in place. Whoever calls this has seen that it is one.
#[inline]
fn set_mut(entry: &mut Entry) -> &mut Set {
    match entry.value_mut() {
        Some(ValueMut::Set(set)) => set,
        _ => unreachable!("the caller has seen a set"),
    }
}

/// Up to where sets are compact.
#[inline]
fn limits(cx: &Context<'_>) -> SetLimits {
    let encodings = &cx.settings.encodings;
    SetLimits {
        intset_entries: encodings.set_max_intset_entries,
        listpack_entries: encodings.set_max_listpack_entries,
        listpack_value: encodings.set_max_listpack_value,
    }
}

/// A member as a bulk.
#[inline]
fn write_member(reply: &mut Reply<'_>, member: Item<'_>) {
    match member {
        Item::Bytes(bytes) => reply.bulk(bytes),
        Item::Int(int) => reply.bulk_int(int),
    }
}

/// All members, as a set.
fn write_set(reply: &mut Reply<'_>, set: &Set) {
    reply.set(set.len());
    set.iter().for_each(|member| write_member(reply, member));
}
