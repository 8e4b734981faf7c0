//! Strings: the family's list, and what its files share.
//!
//! Owns how a string value is taken from a request and written to a reply. Never looks a key up itself.

mod get_set;
mod options;

use torc_datatypes::{Entry, StrRef};
use torc_keyspace::StrValue;
use torc_resp::{Args, CommandError, Reply};

use crate::Command;

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
];

/// The string that a live entry holds.
#[inline]
fn string_of(entry: &Entry) -> Result<StrRef<'_>, CommandError> {
    entry.str_ref().ok_or(CommandError::WrongType)
}

/// The string at a key's place, or `None` if there is nothing.
#[inline]
fn string_at(entry: Option<&Entry>) -> Result<Option<StrRef<'_>>, CommandError> {
    entry.map(string_of).transpose()
}

/// An argument as a value to store; a big one is taken over without a copy.
#[inline]
fn value_from<'a>(args: Args<'a>, index: usize) -> StrValue<'a> {
    match args.blob(index) {
        Some(blob) => StrValue::Shared(blob.clone()),
        None => StrValue::Bytes(args.get(index)),
    }
}

/// A string as a bulk; a big one is shared, not copied.
#[inline]
fn write_string(reply: &mut Reply<'_>, string: StrRef<'_>) {
    match string {
        StrRef::Bytes(bytes) => reply.bulk(bytes),
        StrRef::Shared(bytes) => reply.bulk_bytes(bytes),
        StrRef::Int(int) => reply.bulk_int(int),
    }
}

/// A string as a bulk, or null.
#[inline]
fn write_optional(reply: &mut Reply<'_>, string: Option<StrRef<'_>>) {
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
