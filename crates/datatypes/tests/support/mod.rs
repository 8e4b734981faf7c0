//! What must hold of any bytes that are read as a value: shared by the mutation test and the fuzz target.

use torc_datatypes::hash::HashLimits;
use torc_datatypes::list::NodeLimits;
use torc_datatypes::rdb::{Error, Limits, Reader, Writer, code, read_value, type_for, write_value};
use torc_datatypes::set::SetLimits;
use torc_datatypes::zset::ZSetLimits;
use torc_datatypes::{Entry, ValueRef};

/// A value takes at most so many bytes for each byte that it was read from. Compression alone gives 88.
const EXPANSION_MAX: usize = 300;
const BYTES_FREE: usize = 10_000;

fn limits() -> Limits {
    Limits {
        list: NodeLimits::new(-2),
        set: SetLimits { intset_entries: 512, listpack_entries: 128, listpack_value: 64 },
        zset: ZSetLimits { listpack_entries: 128, listpack_value: 64 },
        hash: HashLimits { entries_max: 128, value_bytes_max: 64 },
    }
}

/// Reads a value of the RDB version and type that the first two bytes name; returns how many bytes it takes, too.
pub(crate) fn read(input: &[u8]) -> Result<(Entry, usize), Error> {
    let &[version, kind, ref body @ ..] = input else { return Err(Error::Truncated) };
    let mut reader = Reader::new(body);
    let value = read_value(kind, u16::from(version), &mut reader, &limits())?;
    Ok((value.into_entry(b"key", None), reader.position()))
}

/// What can be read takes no more memory than a small multiple of its bytes, and can be written for every version that
/// knows it, read again and freed; returns whether it could be read.
pub(crate) fn check(input: &[u8]) -> Result<(), Error> {
    let (mut entry, bytes_read) = read(input)?;
    let bytes = entry.size_bytes();
    assert!(bytes <= EXPANSION_MAX * bytes_read + BYTES_FREE, "{bytes} bytes for {bytes_read}");
    for version in [code::VERSION_REDIS_5, code::VERSION_REDIS_7_0, code::VERSION, code::VERSION_FIELD_EXPIRY]
    {
        let Some(kind) = type_for(&entry, version) else { continue };
        let mut written = Vec::new();
        write_value(&entry, kind, &mut Writer::new(&mut written, true));
        let mut reader = Reader::new(&written);
        let again = read_value(kind, version, &mut reader, &limits()).expect("what was written can be read");
        assert_eq!(reader.remaining(), 0);
        assert_eq!(size(&again.into_entry(b"key", None)), size(&entry));
    }
    while entry.value_mut().is_some_and(|mut value| value.free_some(100)) {}
    Ok(())
}

/// Number of elements.
fn size(entry: &Entry) -> usize {
    match entry.value() {
        None => 1,
        Some(ValueRef::Str(bytes)) => bytes.len(),
        Some(ValueRef::List(list)) => list.len(),
        Some(ValueRef::Set(set)) => set.len(),
        Some(ValueRef::ZSet(zset)) => zset.len(),
        Some(ValueRef::Hash(hash)) => hash.len(),
        Some(ValueRef::Stream(stream)) => stream.log().len() as usize + stream.groups().len(),
    }
}
