//! A key with its expiry and its value, as it stands in a file.
//!
//! Owns the order of the parts. Never knows in which database the key is.

use super::{Writer, code, type_for, version_of, write_value};
use crate::Entry;

/// Writes a key and what belongs to it; returns the RDB version that a reader must know for it.
pub fn write_record(entry: &Entry, writer: &mut Writer<'_>) -> u16 {
    let (kind, version) = begin(entry, writer);
    write_value(entry, kind, writer);
    version
}

/// Writes everything but the value; returns its type, and the RDB version that a reader must know for it.
pub(super) fn begin(entry: &Entry, writer: &mut Writer<'_>) -> (u8, u16) {
    let kind = type_for(entry, code::VERSION).or_else(|| type_for(entry, code::VERSION_FIELD_EXPIRY));
    let kind = kind.expect("the newest version can express every value");
    if let Some(at) = entry.expire_at() {
        writer.byte(code::EXPIRE_TIME_MS);
        writer.i64(at);
    }
    writer.byte(kind);
    writer.string(entry.key());
    (kind, version_of(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_in_their_order() {
        let mut out = Vec::new();
        let version = write_record(&Entry::string(b"key", b"value", None), &mut Writer::new(&mut out, true));
        assert_eq!(version, code::VERSION);
        assert_eq!(out, b"\x00\x03key\x05value");
        out.clear();
        write_record(&Entry::int(b"12", 1, Some(0x0102)), &mut Writer::new(&mut out, true));
        assert_eq!(out, b"\xfc\x02\x01\0\0\0\0\0\0\x00\xc0\x0c\xc0\x01");
    }
}
