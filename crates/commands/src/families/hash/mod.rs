//! Hashes: the family's list, and what its files share.
//!
//! Owns how a hash is taken from a key's place, changed there, and removed once it is empty. A field that has expired is
//! as if it were not there, but for HLEN, and goes when the keyspace's walk meets it (Valkey 9.0).

mod counters;
mod expire;
mod fields;
mod getex_setex;
mod random;
mod walk;

use smallvec::SmallVec;
use torc_datatypes::value::IntText;
use torc_datatypes::{Entry, Hash, HashLimits, Value, ValueMut, ValueRef};
use torc_keyspace::{At, Class};
use torc_resp::{Args, CommandError};

use crate::{Command, Context};

pub(super) const COMMANDS: &[Command] = &[
    fields::HGET,
    fields::HMGET,
    fields::HEXISTS,
    fields::HSTRLEN,
    fields::HLEN,
    fields::HSET,
    fields::HMSET,
    fields::HSETNX,
    fields::HDEL,
    fields::HGETDEL,
    counters::HINCRBY,
    counters::HINCRBYFLOAT,
    walk::HGETALL,
    walk::HKEYS,
    walk::HVALS,
    walk::HSCAN,
    random::HRANDFIELD,
    expire::HEXPIRE,
    expire::HPEXPIRE,
    expire::HEXPIREAT,
    expire::HPEXPIREAT,
    expire::HTTL,
    expire::HPTTL,
    expire::HEXPIRETIME,
    expire::HPEXPIRETIME,
    expire::HPERSIST,
    getex_setex::HGETEX,
    getex_setex::HSETEX,
];

/// The number of fields is not what it says.
const WRONG_COUNT: CommandError =
    CommandError::Text("ERR numfields should be greater than 0 and match the provided number of fields");

/// The hash that a live entry holds.
#[inline]
fn hash_of(entry: &Entry) -> Result<&Hash, CommandError> {
    match entry.value() {
        Some(ValueRef::Hash(hash)) => Ok(hash),
        _ => Err(CommandError::WrongType),
    }
}

/// The hash at a key's place, or `None` if there is nothing.
#[inline]
fn hash_at(entry: Option<&Entry>) -> Result<Option<&Hash>, CommandError> {
    entry.map(hash_of).transpose()
}

/// When a hash grows out of its compact form.
#[inline]
fn limits(cx: &Context<'_>) -> HashLimits {
    let encodings = &cx.settings.encodings;
    HashLimits {
        entries_max: encodings.hash_max_listpack_entries,
        value_bytes_max: encodings.hash_max_listpack_value,
    }
}

/// Lends the hash at a key's place for change; a new one is put where there is nothing. What is there must be a hash.
#[inline]
fn edit<R>(at: &mut At<'_>, change: impl FnOnce(&mut Hash) -> R) -> R {
    let Some(mut entry) = at.entry_mut() else {
        let mut hash = Hash::new();
        let result = change(&mut hash);
        at.put(Value::Hash(hash));
        return result;
    };
    match entry.value_mut() {
        Some(ValueMut::Hash(hash)) => change(hash),
        _ => unreachable!("the value was looked at before"),
    }
}

/// Takes the key out if its hash has no fields left; true if so.
fn remove_if_empty(at: &mut At<'_>) -> bool {
    let is_empty = matches!(at.entry().and_then(Entry::value), Some(ValueRef::Hash(hash)) if hash.is_empty());
    if is_empty {
        at.discard();
    }
    is_empty
}

/// Records that `count` fields were taken out under the name of an event, and that the key went with the last of them.
fn removed(at: &mut At<'_>, count: u64, event: &'static str) {
    let key_too = remove_if_empty(at);
    at.changed(Class::HASH, event);
    at.changed_more(count - 1);
    if key_too {
        at.event(Class::GENERIC, "del");
    }
}

/// Records that a command stored over `count` fields that had expired.
#[inline]
fn stored_over_expired(at: &mut At<'_>, count: u64) {
    if count > 0 {
        at.count_expired_fields(count);
        at.event(Class::HASH, "hexpired");
    }
}

/// Which of the fields that a command names it took out, to be told as its effect: a field that had expired before stays.
#[derive(Default)]
struct Gone<'a> {
    names: SmallVec<[&'a [u8]; 8]>,
}

impl<'a> Gone<'a> {
    fn note(&mut self, name: &'a [u8], is_gone: bool) -> bool {
        if is_gone {
            self.names.push(name);
        }
        is_gone
    }

    fn tell(&self, at: &mut At<'_>) {
        if !self.names.is_empty() {
            at.tell_with(&[b"HDEL", at.key_bytes()], self.names.iter().copied());
        }
    }
}

/// Tells a command on fields as its effect: the words in front of FIELDS, then the fields.
fn tell_fields<'w>(
    at: &mut At<'_>,
    words: &[&[u8]],
    fields: impl ExactSizeIterator<Item = &'w [u8]>,
    step: usize,
) {
    if at.tells() && fields.len() > 0 {
        let count = IntText::new().format((fields.len() / step) as i64).as_bytes().to_vec();
        at.tell(words);
        at.tell_more([&b"FIELDS"[..], &count]);
        at.tell_more(fields);
    }
}

/// Which argument from `from` on is the word FIELDS.
fn fields_word(args: Args<'_>, from: usize) -> Option<usize> {
    (from..args.len() - 1).find(|&index| args.is(index, b"FIELDS"))
}

/// The fields behind the word at `index`, which number as many as the next argument says, `step` arguments each.
fn fields_behind<'a>(args: Args<'a>, word: usize, step: usize) -> Result<Option<Args<'a>>, CommandError> {
    let count = args.int(word + 1)?;
    let fields = args.from(word + 2);
    let fits = count > 0 && count.checked_mul(step as i64) == Some(fields.len() as i64);
    Ok(fits.then_some(fields))
}
