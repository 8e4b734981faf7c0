//! The ziplist: the flat sequence that Redis used before the listpack (until 7.0), for reading only.
//!
//! Owns the byte format and its validation. Never knows what the elements mean.
//!
//! ```text
//! ┌──────────────────┬───────────────────┬──────────────────┬─────────┬───┬──────┐
//! │ total bytes, u32 │ offset of the     │ elements, u16    │ element │ … │ 0xff │
//! │                  │ last element, u32 │ (65535: unknown) │         │   │      │
//! └──────────────────┴───────────────────┴──────────────────┴─────────┴───┴──────┘
//!
//! element ┌─────────────────────────────────────────────┬──────────┬──────┐
//!         │ bytes of the element before: u8 up to 253,  │ encoding │ data │
//!         │ or 254 and u32                              │          │      │
//!         └─────────────────────────────────────────────┴──────────┴──────┘
//! ```

use super::Error;
use crate::listpack::Item;

const HEADER_BYTES: usize = 10;
const END: u8 = 0xff;
const WIDE_BEFORE: u8 = 254;
const COUNT_UNKNOWN: usize = 0xffff;

const DAMAGED: Error = Error::Corrupt("a ziplist");

/// The elements of a ziplist that was checked to the last byte.
pub(super) fn items(bytes: &[u8]) -> Result<Vec<Item<'_>>, Error> {
    parse(bytes).ok_or(DAMAGED)
}

fn parse(bytes: &[u8]) -> Option<Vec<Item<'_>>> {
    let total = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let last_at = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?) as usize;
    let told = usize::from(u16::from_le_bytes(bytes.get(8..HEADER_BYTES)?.try_into().ok()?));
    if total != bytes.len() || *bytes.get(HEADER_BYTES..)?.last()? != END {
        return None;
    }
    let end = bytes.len() - 1;
    let mut items = Vec::with_capacity(if told == COUNT_UNKNOWN { 0 } else { told.min(end / 2) });
    let (mut at, mut before) = (HEADER_BYTES, None);
    while at < end {
        let (told_before, head) = match bytes[at] {
            WIDE_BEFORE => {
                let wide = bytes[..end].get(at + 1..at + 5)?;
                (u32::from_le_bytes(wide.try_into().ok()?) as usize, 5)
            }
            END => return None,
            short => (usize::from(short), 1),
        };
        if told_before != before.map_or(0, |from| at - from) {
            return None;
        }
        let (item, len) = item(bytes.get(at + head..end)?)?;
        items.push(item);
        before = Some(at);
        at += head + len;
    }
    let is_whole = at == end && before.unwrap_or(HEADER_BYTES) == last_at;
    (is_whole && (told == COUNT_UNKNOWN || told == items.len())).then_some(items)
}

/// The element whose encoding `bytes` begin with, and how many of them it takes.
fn item(bytes: &[u8]) -> Option<(Item<'_>, usize)> {
    let first = *bytes.first()?;
    let text =
        |head: usize, len: usize| Some((Item::Bytes(bytes.get(head..head.checked_add(len)?)?), head + len));
    // Little-endian integers, the sign of which is in the upper bit.
    let int = |len: usize| {
        let mut wide = [0; 8];
        wide[8 - len..].copy_from_slice(bytes.get(1..1 + len)?);
        Some((Item::Int(i64::from_le_bytes(wide) >> (64 - 8 * len)), 1 + len))
    };
    match first {
        0x00..=0x3f => text(1, usize::from(first)),
        0x40..=0x7f => text(2, usize::from(first & 0x3f) << 8 | usize::from(*bytes.get(1)?)),
        0x80 => text(5, u32::from_be_bytes(bytes.get(1..5)?.try_into().ok()?) as usize),
        0xc0 => int(2),
        0xd0 => int(4),
        0xe0 => int(8),
        0xf0 => int(3),
        0xfe => int(1),
        0xf1..=0xfd => Some((Item::Int(i64::from(first & 0x0f) - 1), 1)),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A ziplist of these elements.
    pub(in crate::rdb) fn build(elements: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        let (mut before, mut last_at) = (0, HEADER_BYTES);
        for element in elements {
            last_at = bytes.len();
            match before {
                0..=253 => bytes.push(before as u8),
                wide => {
                    bytes.push(WIDE_BEFORE);
                    bytes.extend_from_slice(&(wide as u32).to_le_bytes());
                }
            }
            push_body(&mut bytes, element);
            before = bytes.len() - last_at;
        }
        bytes.push(END);
        let total = bytes.len() as u32;
        bytes[..4].copy_from_slice(&total.to_le_bytes());
        bytes[4..8].copy_from_slice(&(last_at as u32).to_le_bytes());
        bytes[8..10].copy_from_slice(&(elements.len() as u16).to_le_bytes());
        bytes
    }

    fn push_body(bytes: &mut Vec<u8>, element: &[u8]) {
        if let Item::Int(int) = Item::of(element) {
            let (code, len) = match int {
                0..=12 => return bytes.push(0xf1 + int as u8),
                -0x80..=0x7f => (0xfe, 1),
                -0x8000..=0x7fff => (0xc0, 2),
                -0x80_0000..=0x7f_ffff => (0xf0, 3),
                -0x8000_0000..=0x7fff_ffff => (0xd0, 4),
                _ => (0xe0, 8),
            };
            bytes.push(code);
            bytes.extend_from_slice(&int.to_le_bytes()[..len]);
            return;
        }
        match element.len() {
            len @ 0..=0x3f => bytes.push(len as u8),
            len @ 0x40..=0x3fff => bytes.extend_from_slice(&[0x40 | (len >> 8) as u8, len as u8]),
            len => {
                bytes.push(0x80);
                bytes.extend_from_slice(&(len as u32).to_be_bytes());
            }
        }
        bytes.extend_from_slice(element);
    }

    fn sample() -> Vec<Vec<u8>> {
        let ints = [0, 12, 13, -1, 127, -128, 300, -40_000, 8_000_000, -9_000_000, i64::MAX, i64::MIN];
        let mut elements: Vec<Vec<u8>> = ints.iter().map(|int| int.to_string().into_bytes()).collect();
        elements.extend([0, 1, 63, 64, 300, 17_000].map(|len| vec![b'x'; len]));
        elements.push(b"end".to_vec());
        elements
    }

    #[test]
    fn elements_of_every_kind_are_read() {
        let elements = sample();
        let refs: Vec<&[u8]> = elements.iter().map(Vec::as_slice).collect();
        let bytes = build(&refs);
        let read: Vec<Vec<u8>> = items(&bytes).expect("sound").iter().map(Item::to_vec).collect();
        assert_eq!(read, elements);
        assert_eq!(items(&build(&[])), Ok(vec![]));
    }

    /// From Redis 6.2's documentation of the format: the elements "2" and "5".
    #[test]
    fn reads_the_documented_example() {
        let bytes = [0x0f, 0, 0, 0, 0x0c, 0, 0, 0, 2, 0, 0, 0xf3, 2, 0xf6, 0xff];
        assert_eq!(items(&bytes), Ok(vec![Item::Int(2), Item::Int(5)]));
    }

    #[test]
    fn damage_is_refused_or_harmless() {
        let good = build(&[b"a", b"300", b"70000", &[b'x'; 300], b"5", b"end"]);
        assert!(items(&good).is_ok());
        for cut in 0..good.len() {
            assert_eq!(items(&good[..cut]), Err(DAMAGED));
        }
        for at in 0..good.len() {
            for byte in 0..=255 {
                let mut bad = good.clone();
                bad[at] = byte;
                if let Ok(read) = items(&bad) {
                    assert!(read.len() <= good.len());
                }
            }
        }
    }
}
