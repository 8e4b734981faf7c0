//! Strings: the family's list, and what its files share.
//!
//! Owns how a string value is taken from a request and written to a reply. Never looks a key up itself.

mod counters;
mod get_set;
mod lcs;
mod multi;
pub(super) mod options;
mod ranges;

use torc_datatypes::{Entry, StrRef};
use torc_keyspace::{At, Class, SetExpire, StrValue};
use torc_resp::{Args, CommandError, Reply};

use crate::Command;

pub(super) use self::ranges::clamp_range;

pub(super) const COMMANDS: &[Command] = &[
    get_set::GET,
    get_set::SET,
    get_set::SETNX,
    get_set::SETEX,
    get_set::PSETEX,
    get_set::GETSET,
    get_set::GETDEL,
    get_set::GETEX,
    get_set::DELIFEQ,
    ranges::GETRANGE,
    ranges::SUBSTR,
    ranges::SETRANGE,
    ranges::STRLEN,
    ranges::APPEND,
    counters::INCR,
    counters::DECR,
    counters::INCRBY,
    counters::DECRBY,
    counters::INCRBYFLOAT,
    multi::MGET,
    multi::MSET,
    multi::MSETNX,
    multi::MSETEX,
    lcs::LCS,
];

/// The string that a live entry holds.
#[inline]
pub(super) fn string_of(entry: &Entry) -> Result<StrRef<'_>, CommandError> {
    entry.str_ref().ok_or(CommandError::WrongType)
}

/// The string at a key's place, or `None` if there is nothing.
#[inline]
pub(super) fn string_at(entry: Option<&Entry>) -> Result<Option<StrRef<'_>>, CommandError> {
    entry.map(string_of).transpose()
}

/// An argument as a value to store; a big one is taken over without a copy.
#[inline]
pub(super) fn value_from<'a>(args: Args<'a>, index: usize) -> StrValue<'a> {
    match args.blob(index) {
        Some(blob) => StrValue::Shared(blob.clone()),
        None => StrValue::Bytes(args.get(index)),
    }
}

/// Stores a string as SET does, and names the events. With an expiry that is over the key goes away instead
/// (Valkey 8.1).
fn store(at: &mut At<'_>, value: StrValue<'_>, expire: SetExpire, over_until_ms: i64) {
    if let SetExpire::At(time) = expire
        && time <= over_until_ms
    {
        at.expire_now();
        return;
    }
    at.set_string(value, expire);
    at.changed(Class::STRING, "set");
    if let SetExpire::At(_) = expire {
        at.event(Class::GENERIC, "expire");
    }
}

/// Makes the string at a key's place at least `len_min` bytes long and lends it for change; an empty one is created
/// where there is nothing. What is there must be a string.
pub(super) fn edit<R>(at: &mut At<'_>, len_min: usize, change: impl FnOnce(&mut [u8]) -> R) -> R {
    if !at.exists() {
        at.set_string(StrValue::Bytes(b""), SetExpire::Clear);
    }
    let mut entry = at.entry_mut().expect("a string was just stored where none was");
    entry.edit_string(len_min, change)
}

/// A string as a bulk; a big one is shared, not copied.
#[inline]
pub(super) fn write_string(reply: &mut Reply<'_>, string: StrRef<'_>) {
    match string {
        StrRef::Bytes(bytes) => reply.bulk(bytes),
        StrRef::Shared(bytes) => reply.bulk_bytes(bytes),
        StrRef::Int(int) => reply.bulk_int(int),
    }
}

/// A string as a bulk, or null.
#[inline]
pub(super) fn write_optional(reply: &mut Reply<'_>, string: Option<StrRef<'_>>) {
    match string {
        Some(string) => write_string(reply, string),
        None => reply.null(),
    }
}

/// Whether a stored string has exactly these bytes.
fn is_equal(string: StrRef<'_>, bytes: &[u8]) -> bool {
    match string {
        StrRef::Bytes(own) => own == bytes,
        StrRef::Shared(own) => own == bytes,
        StrRef::Int(int) => torc_resp::number::parse_i64(bytes) == Some(int),
    }
}
