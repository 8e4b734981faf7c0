//! DUMP payloads: a value between its type and a footer.
//!
//! Owns the footer. Never knows what a value looks like inside.
//!
//! ```text
//! ┌──────┬───────┬──────────────────┬───────────────────────────────────────┐
//! │ type │ value │ RDB version, u16 │ CRC-64 of everything before it, u64 LE │
//! └──────┴───────┴──────────────────┴───────────────────────────────────────┘
//! ```

use super::code::is_known_version;
use super::crc64::crc64;

const CRC_BYTES: usize = 8;
const VERSION_BYTES: usize = 2;

/// Appends the footer.
pub fn seal(payload: &mut Vec<u8>, version: u16) {
    payload.extend_from_slice(&version.to_le_bytes());
    let crc = crc64(0, payload);
    payload.extend_from_slice(&crc.to_le_bytes());
}

/// Type and value with their version, if the footer is right and the version is known.
pub fn open(payload: &[u8]) -> Option<(&[u8], u16)> {
    let (summed, crc) = payload.split_last_chunk::<CRC_BYTES>()?;
    let (value, version) = summed.split_last_chunk::<VERSION_BYTES>()?;
    let version = u16::from_le_bytes(*version);
    let is_right = is_known_version(version) && crc64(0, summed) == u64::from_le_bytes(*crc);
    is_right.then_some((value, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DUMP of the string "10" in Redis 7.0.
    #[test]
    fn reads_and_writes_the_footer_of_the_reference() {
        let payload = b"\x00\xc0\n\n\x00n\x9fWE\x0e\xaec\xbb";
        assert_eq!(open(payload), Some((b"\x00\xc0\n".as_slice(), 10)));
        let mut own = b"\x00\xc0\n".to_vec();
        seal(&mut own, 10);
        assert_eq!(own, payload);
    }

    #[test]
    fn other_footers_are_refused() {
        let mut payload = b"\x00\x01a".to_vec();
        seal(&mut payload, 11);
        assert!(open(&payload).is_some());
        for cut in 0..payload.len() {
            assert_eq!(open(&payload[..cut]), None);
        }
        for at in 0..payload.len() {
            let mut bad = payload.clone();
            bad[at] ^= 1;
            assert_eq!(open(&bad), None);
        }
        for (version, is_known) in
            [(0, true), (1, true), (12, true), (13, false), (79, false), (80, true), (81, false)]
        {
            let mut payload = b"\x00\x01a".to_vec();
            seal(&mut payload, version);
            assert_eq!(open(&payload).is_some(), is_known, "{version}");
        }
    }
}
