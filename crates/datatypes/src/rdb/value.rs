//! One value of any type in RDB bytes.
//!
//! Owns which type is written for a value, and what becomes of a value that was read. Never knows keys.

use bytes::Bytes;

use super::{Error, Limits, Reader, Writer, code, hash, list, set, stream, zset};
use crate::{BIG_STRING_BYTES, Entry, Value, ValueRef};

/// A value that was read.
#[derive(Debug)]
pub enum Decoded {
    Str(Vec<u8>),
    Value(Value),
}

impl Decoded {
    /// The value under a key.
    pub fn into_entry(self, key: &[u8], expire_at: Option<i64>) -> Entry {
        match self {
            Decoded::Str(bytes) if bytes.len() >= BIG_STRING_BYTES => {
                Entry::string_shared(key, Bytes::from(bytes), expire_at)
            }
            Decoded::Str(bytes) => Entry::string(key, &bytes, expire_at),
            Decoded::Value(value) => Entry::owned(key, value, expire_at),
        }
    }
}

/// The type under which an entry's value is written for servers that read this RDB version; `None` if it can't be.
pub fn type_for(entry: &Entry, version: u16) -> Option<u8> {
    match entry.value() {
        None | Some(ValueRef::Str(_)) => Some(code::STRING),
        Some(ValueRef::List(_)) => Some(list::type_for(version)),
        Some(ValueRef::Set(set)) => Some(set::type_for(set, version)),
        Some(ValueRef::ZSet(zset)) => Some(zset::type_for(zset, version)),
        Some(ValueRef::Stream(_)) => Some(stream::type_for(version)),
        Some(ValueRef::Hash(hash)) => hash::type_for(hash, version),
    }
}

/// The first RDB version that torc writes whose servers know a type.
pub fn version_of(kind: u8) -> u16 {
    if kind == code::HASH_2 { code::VERSION_FIELD_EXPIRY } else { code::VERSION }
}

/// Writes an entry's value under a type that [`type_for`] gave, without the type.
pub fn write_value(entry: &Entry, kind: u8, writer: &mut Writer<'_>) {
    if let Some(string) = entry.str_ref() {
        return writer.str_ref(string);
    }
    match entry.value() {
        Some(ValueRef::List(list)) => list::write(list, kind, writer),
        Some(ValueRef::Set(set)) => set::write(set, kind, writer),
        Some(ValueRef::ZSet(zset)) => zset::write(zset, kind, writer),
        Some(ValueRef::Hash(hash)) => hash::write(hash, kind, writer),
        Some(ValueRef::Stream(stream)) => stream::write(stream, kind, writer),
        Some(ValueRef::Str(_)) | None => unreachable!("strings have been written"),
    }
}

/// Reads a value of a type, as it was written by a server of this RDB version.
pub fn read_value(
    kind: u8,
    version: u16,
    reader: &mut Reader<'_>,
    limits: &Limits,
) -> Result<Decoded, Error> {
    let value = match kind {
        code::STRING => return Ok(Decoded::Str(reader.string()?.into_owned())),
        code::LIST | code::LIST_ZIPLIST | code::LIST_QUICKLIST | code::LIST_QUICKLIST_2 => {
            Value::List(list::read(kind, reader, limits)?.ok_or(Error::Empty)?)
        }
        code::SET | code::SET_INTSET | code::SET_LISTPACK => {
            let set = set::read(kind, reader, limits)?;
            Value::Set(Some(set).filter(|set| !set.is_empty()).ok_or(Error::Empty)?)
        }
        code::ZSET | code::ZSET_2 | code::ZSET_ZIPLIST | code::ZSET_LISTPACK => {
            let zset = zset::read(kind, reader, limits)?;
            Value::ZSet(Some(zset).filter(|zset| !zset.is_empty()).ok_or(Error::Empty)?)
        }
        code::HASH
        | code::HASH_ZIPMAP
        | code::HASH_ZIPLIST
        | code::HASH_LISTPACK
        | code::HASH_2
        | code::HASH_METADATA
        | code::HASH_LISTPACK_EX => {
            let hash = hash::read(kind, version, reader, limits)?;
            Value::Hash(Some(hash).filter(|hash| !hash.is_empty()).ok_or(Error::Empty)?)
        }
        code::STREAM_LISTPACKS | code::STREAM_LISTPACKS_2 | code::STREAM_LISTPACKS_3 => {
            Value::Stream(stream::read(kind, reader)?)
        }
        code::MODULE | code::MODULE_2 => return Err(Error::Unsupported("values of modules")),
        _ => return Err(Error::Unsupported("this type of value")),
    };
    Ok(Decoded::Value(value))
}
