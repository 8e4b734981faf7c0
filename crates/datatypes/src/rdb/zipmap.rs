//! The zipmap: small hashes of Redis 2.4 and older, for reading only.
//!
//! Owns the byte format and its validation. Never knows hashes.
//!
//! ```text
//! ┌───────────────────────┬──────────────────────────┬───┬──────┐
//! │ fields, u8            │ length, field,           │ … │ 0xff │
//! │ (254 and up: unknown) │ length, free, value, gap │   │      │
//! └───────────────────────┴──────────────────────────┴───┴──────┘
//! ```
//!
//! A length is a byte below 254, or 254 and a little-endian u32. `free` is how many unused bytes follow the value.

use super::Error;

const COUNT_UNKNOWN: usize = 254;
const WIDE: u8 = 254;
const END: u8 = 0xff;

/// A field and its value.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// What a zipmap holds, which is checked to the last byte.
pub(super) fn pairs(bytes: &[u8]) -> Result<Vec<Pair<'_>>, Error> {
    parse(bytes).ok_or(Error::Corrupt("a zipmap"))
}

fn parse(bytes: &[u8]) -> Option<Vec<Pair<'_>>> {
    let (&told, mut rest) = bytes.split_first()?;
    let mut pairs = Vec::new();
    while *rest.first()? != END {
        let field = take(&mut rest, 0)?;
        let value = take(&mut rest, 1)?;
        pairs.push((field, value));
    }
    let is_told = usize::from(told) >= COUNT_UNKNOWN || usize::from(told) == pairs.len();
    (rest.len() == 1 && is_told).then_some(pairs)
}

/// A length, `free_bytes` bytes that say how large a gap follows, and the string.
fn take<'a>(rest: &mut &'a [u8], free_bytes: usize) -> Option<&'a [u8]> {
    let (len, head) = match *rest.first()? {
        WIDE => (u32::from_le_bytes(rest.get(1..5)?.try_into().ok()?) as usize, 5),
        END => return None,
        short => (usize::from(short), 1),
    };
    let free = if free_bytes == 0 { 0 } else { usize::from(*rest.get(head)?) };
    let start = head + free_bytes;
    let string = rest.get(start..start + len)?;
    *rest = rest.get(start + len + free..)?;
    Some(string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read() {
        let bytes = b"\x02\x03foo\x03\x00bar\x05hello\x05\x02world..\xff";
        let expected: Vec<Pair<'_>> = vec![(b"foo", b"bar"), (b"hello", b"world")];
        assert_eq!(pairs(bytes), Ok(expected));
        assert_eq!(pairs(b"\x00\xff"), Ok(vec![]));
        let long = [b"\x01\x01f\xfe\x2c\x01\x00\x00\x00".as_slice(), &[b'x'; 300], b"\xff"].concat();
        assert_eq!(pairs(&long).expect("sound")[0].1.len(), 300);
    }

    #[test]
    fn damage_is_refused_or_harmless() {
        let good = b"\x02\x03foo\x03\x00bar\x05hello\x05\x02world..\xff";
        for cut in 0..good.len() {
            assert!(pairs(&good[..cut]).is_err());
        }
        for at in 0..good.len() {
            for byte in 0..=255 {
                let mut bad = good.to_vec();
                bad[at] = byte;
                let bytes_told = |(field, value): &Pair<'_>| field.len() + value.len();
                let told = pairs(&bad).map_or(0, |pairs| pairs.iter().map(bytes_told).sum());
                assert!(told < good.len());
            }
        }
        assert!(pairs(b"\x01\x03foo\xfe\xff\xff\xff\xff\x00bar\xff").is_err());
        assert!(pairs(b"\x01\x03foo\x03\x00bar\xff\xff").is_err());
    }
}
