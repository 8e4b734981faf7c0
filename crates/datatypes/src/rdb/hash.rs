//! Hashes in RDB bytes.

use super::{Error, Limits, Reader, Writer, code, flat, zipmap};
use crate::listpack::{Item, Listpack};
use crate::{FieldRef, Hash, SetExpire, StrValue};

/// Bytes of a name with its value, at least.
const PAIR_BYTES_MIN: usize = 2;
/// In the place of an expiry: none.
const NEVER: i64 = -1;
/// Times of expiry are below this (Redis 7.4).
const EXPIRE_AT_MAX: i64 = 1 << 48;

/// `None`: what the version can't express.
pub(super) fn type_for(hash: &Hash, version: u16) -> Option<u8> {
    if hash.expires_from().is_some() {
        return (version >= code::VERSION_FIELD_EXPIRY).then_some(code::HASH_2);
    }
    let is_compact = hash.is_compact() && version >= code::VERSION_REDIS_7_0;
    Some(if is_compact { code::HASH_LISTPACK } else { code::HASH })
}

pub(super) fn write(hash: &Hash, kind: u8, writer: &mut Writer<'_>) {
    if kind == code::HASH_LISTPACK {
        let listpack = hash.to_listpack().expect("that type is for compact hashes");
        return writer.string(listpack.as_bytes());
    }
    writer.count(hash.len());
    hash.iter().for_each(|field| write_field(&field, kind, writer));
}

/// A field of a hash that is written one by one.
pub(super) fn write_field(field: &FieldRef<'_>, kind: u8, writer: &mut Writer<'_>) {
    writer.str_ref(field.name);
    writer.str_ref(field.value);
    if kind == code::HASH_2 {
        writer.i64(field.expire_at.unwrap_or(NEVER));
    }
}

pub(super) fn read(kind: u8, version: u16, reader: &mut Reader<'_>, limits: &Limits) -> Result<Hash, Error> {
    match kind {
        code::HASH_LISTPACK => of_listpack(flat::listpack(reader)?, limits),
        code::HASH_ZIPLIST => of_listpack(flat::ziplist(reader)?, limits),
        code::HASH_ZIPMAP => {
            let bytes = reader.string()?;
            let mut hash = Fields::new(0, limits);
            zipmap::pairs(&bytes)?.into_iter().try_for_each(|(name, value)| hash.add(name, value, None))?;
            Ok(hash.hash)
        }
        code::HASH_LISTPACK_EX => {
            let _first_expiry = reader.i64()?;
            of_triples(&flat::listpack(reader)?, limits)
        }
        code::HASH_METADATA => of_metadata(reader, limits),
        // The release candidates of Redis 7.4 used the number for another format.
        code::HASH_2 if version < code::VERSION_FIELD_EXPIRY => {
            Err(Error::Unsupported("hashes of a release candidate"))
        }
        _ => {
            let count = reader.count(PAIR_BYTES_MIN)?;
            let mut hash = Fields::new(count, limits);
            for _ in 0..count {
                let (name, value) = (reader.string()?, reader.string()?);
                let expire_at = match kind {
                    code::HASH_2 => Some(reader.i64()?).filter(|at| *at != NEVER),
                    _ => None,
                };
                hash.add(&name, &value, expire_at)?;
            }
            Ok(hash.hash)
        }
    }
}

fn of_listpack(listpack: Listpack, limits: &Limits) -> Result<Hash, Error> {
    flat::check_distinct(listpack.iter().step_by(2))?;
    Hash::from_listpack(&listpack, limits.hash).ok_or(Error::Corrupt("a field without a value"))
}

/// Name, value and time of expiry, which is 0 where there is none.
fn of_triples(listpack: &Listpack, limits: &Limits) -> Result<Hash, Error> {
    let mut hash = Fields::new(listpack.len() / 3, limits);
    let (mut name_text, mut value_text) = (itoa::Buffer::new(), itoa::Buffer::new());
    let mut items = listpack.iter();
    while let Some(name) = items.next() {
        let (Some(value), Some(Item::Int(expire_at))) = (items.next(), items.next()) else {
            return Err(Error::Corrupt("a field without value or expiry"));
        };
        let expire_at = Some(expire_at).filter(|at| *at != 0);
        hash.add(name.as_bytes(&mut name_text), value.as_bytes(&mut value_text), expire_at)?;
    }
    Ok(hash.hash)
}

/// The first expiry, and then each field behind the time from that to its own, plus one; 0: none.
fn of_metadata(reader: &mut Reader<'_>, limits: &Limits) -> Result<Hash, Error> {
    let first_expiry = reader.i64()?;
    let count = reader.count(PAIR_BYTES_MIN + 1)?;
    let mut hash = Fields::new(count, limits);
    for _ in 0..count {
        let later = reader.length()?;
        let (name, value) = (reader.string()?, reader.string()?);
        let expire_at = match later {
            0 => None,
            later => Some(i64::try_from(later - 1).ok().and_then(|later| first_expiry.checked_add(later)))
                .map(|at| at.unwrap_or(EXPIRE_AT_MAX)),
        };
        hash.add(&name, &value, expire_at)?;
    }
    Ok(hash.hash)
}

/// A hash that is read field by field.
struct Fields<'a> {
    hash: Hash,
    limits: &'a Limits,
}

impl<'a> Fields<'a> {
    fn new(expected: usize, limits: &'a Limits) -> Fields<'a> {
        let mut hash = Hash::new();
        hash.reserve(expected, limits.hash);
        Fields { hash, limits }
    }

    fn add(&mut self, name: &[u8], value: &[u8], expire_at: Option<i64>) -> Result<(), Error> {
        if expire_at.is_some_and(|at| !(0..EXPIRE_AT_MAX).contains(&at)) {
            return Err(Error::Corrupt("the expiry of a field"));
        }
        let expire = expire_at.map_or(SetExpire::Clear, SetExpire::At);
        // Expired fields are counted until they are taken out, which is not done here.
        let stored = self.hash.set(name, StrValue::Bytes(value), expire, i64::MIN, self.limits.hash);
        if stored.is_new() { Ok(()) } else { Err(Error::Corrupt("a field twice")) }
    }
}
