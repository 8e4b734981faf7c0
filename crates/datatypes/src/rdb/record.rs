//! A key with its expiry and its value, as it stands in a file.
//!
//! Owns the order of the parts. Never knows in which database the key is.

use super::{Writer, code, type_for, write_value};
use crate::Entry;

/// Writes a key and what belongs to it for servers that read this RDB version; returns the version that a reader must
/// know for it, which is higher where this one can't express the value.
pub fn write_record(entry: &Entry, version: u16, writer: &mut Writer<'_>) -> u16 {
    let (kind, version) = begin(entry, version, writer);
    write_value(entry, kind, writer);
    version
}

/// Writes everything but the value; returns its type, and the RDB version that a reader must know for it.
pub(super) fn begin(entry: &Entry, version: u16, writer: &mut Writer<'_>) -> (u8, u16) {
    let with_version = |version| type_for(entry, version).map(|kind| (kind, version));
    let found = with_version(version).or_else(|| with_version(code::VERSION_FIELD_EXPIRY));
    let (kind, version) = found.expect("the newest version can express every value");
    if let Some(at) = entry.expire_at() {
        writer.byte(code::EXPIRE_TIME_MS);
        writer.i64(at);
    }
    writer.byte(kind);
    writer.string(entry.key());
    (kind, version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_in_their_order() {
        let mut out = Vec::new();
        let mut write = |entry: &Entry| {
            out.clear();
            let version = write_record(entry, code::VERSION, &mut Writer::new(&mut out, true));
            assert_eq!(version, code::VERSION);
            out.clone()
        };
        assert_eq!(write(&Entry::string(b"key", b"value", None)), b"\x00\x03key\x05value");
        assert_eq!(
            write(&Entry::int(b"12", 1, Some(0x0102))),
            b"\xfc\x02\x01\0\0\0\0\0\0\x00\xc0\x0c\xc0\x01"
        );
    }
}
