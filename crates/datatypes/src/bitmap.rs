//! Bit counting, searching and combining over byte strings (BITCOUNT, BITPOS, BITOP, GETBIT, SETBIT).
//! Bit 0 is the most significant bit of the first byte, as in Redis. Never parses arguments.

/// Number of set bits.
pub fn bitcount(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let in_words: u64 = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    in_words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// Number of set bits in the bit positions `first..=last`; positions past the end count as clear.
pub fn bitcount_bits(bytes: &[u8], first: u64, last: u64) -> u64 {
    let Some(range) = BitRange::clamped(bytes, first, last) else { return 0 };
    let mut count = bitcount(&bytes[range.first_byte..=range.last_byte]);
    count -= u64::from((bytes[range.first_byte] & !range.first_mask).count_ones());
    count -= u64::from((bytes[range.last_byte] & !range.last_mask).count_ones());
    count
}

/// Position of the first bit equal to `bit` among `first..=last`; positions past the end are not searched.
pub fn bitpos(bytes: &[u8], bit: bool, first: u64, last: u64) -> Option<u64> {
    let range = BitRange::clamped(bytes, first, last)?;
    // Searching a clear bit is searching a set bit in the inverted string.
    let flip: u8 = if bit { 0 } else { 0xff };
    let masked = |index: usize| {
        let mut byte = bytes[index] ^ flip;
        if index == range.first_byte {
            byte &= range.first_mask;
        }
        if index == range.last_byte {
            byte &= range.last_mask;
        }
        byte
    };
    let found = |index: usize, byte: u8| Some(index as u64 * 8 + u64::from(byte.leading_zeros()));
    let first_byte = masked(range.first_byte);
    if first_byte != 0 {
        return found(range.first_byte, first_byte);
    }
    if range.first_byte == range.last_byte {
        return None;
    }
    let middle = &bytes[range.first_byte + 1..range.last_byte];
    let none = if bit { 0 } else { u64::MAX };
    let (words, _) = middle.as_chunks::<8>();
    let skipped = words.iter().take_while(|word| u64::from_ne_bytes(**word) == none).count() * 8;
    for index in range.first_byte + 1 + skipped..=range.last_byte {
        let byte = masked(index);
        if byte != 0 {
            return found(index, byte);
        }
    }
    None
}

/// The bit at `position`; clear past the end.
pub fn get_bit(bytes: &[u8], position: u64) -> bool {
    let index = usize::try_from(position / 8).unwrap_or(usize::MAX);
    bytes.get(index).is_some_and(|byte| byte & bit_mask(position) != 0)
}

/// Sets the bit at `position`, which must lie inside `bytes`; returns what it was.
pub fn set_bit(bytes: &mut [u8], position: u64, bit: bool) -> bool {
    let byte = &mut bytes[(position / 8) as usize];
    let mask = bit_mask(position);
    let old = *byte & mask != 0;
    *byte = if bit { *byte | mask } else { *byte & !mask };
    old
}

/// Operation of BITOP. `Diff` to `One` are those of Redis 8.2, with X the first source and Y any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitOp {
    And,
    Or,
    Xor,
    /// Of the only source.
    Not,
    /// Set in X and in no Y.
    Diff,
    /// Set in some Y and not in X.
    Diff1,
    /// Set in X and in some Y.
    AndOr,
    /// Set in exactly one source.
    One,
}

impl BitOp {
    /// The operation of that name, ASCII case ignored.
    pub fn from_name(name: &[u8]) -> Option<BitOp> {
        const NAMES: [(&[u8], BitOp); 8] = [
            (b"and", BitOp::And),
            (b"or", BitOp::Or),
            (b"xor", BitOp::Xor),
            (b"not", BitOp::Not),
            (b"diff", BitOp::Diff),
            (b"diff1", BitOp::Diff1),
            (b"andor", BitOp::AndOr),
            (b"one", BitOp::One),
        ];
        NAMES.into_iter().find(|(text, _)| text.eq_ignore_ascii_case(name)).map(|(_, op)| op)
    }
}

/// Combines the sources bit by bit. The result is as long as the longest; shorter ones are filled up with zeros.
pub fn bitop(op: BitOp, sources: &[&[u8]]) -> Vec<u8> {
    let len = sources.iter().map(|source| source.len()).max().unwrap_or(0);
    let Some((first, others)) = sources.split_first() else { return Vec::new() };
    let mut result = padded(first, len);
    match op {
        BitOp::And => {
            for source in others {
                let (shared, beyond) = result.split_at_mut(source.len());
                combine(shared, source, |a, b| a & b);
                beyond.fill(0);
            }
        }
        BitOp::Or => others.iter().for_each(|source| combine(&mut result, source, |a, b| a | b)),
        BitOp::Xor => others.iter().for_each(|source| combine(&mut result, source, |a, b| a ^ b)),
        BitOp::Not => result.iter_mut().for_each(|byte| *byte = !*byte),
        BitOp::Diff => combine(&mut result, &union(others, len), |x, y| x & !y),
        BitOp::Diff1 => combine(&mut result, &union(others, len), |x, y| !x & y),
        BitOp::AndOr => combine(&mut result, &union(others, len), |x, y| x & y),
        BitOp::One => {
            let mut repeated = vec![0; len];
            for source in others {
                for ((more, once), byte) in repeated.iter_mut().zip(&mut result).zip(*source) {
                    *more |= *once & byte;
                    *once |= byte;
                }
            }
            combine(&mut result, &repeated, |once, more| once & !more);
        }
    }
    result
}

fn union(sources: &[&[u8]], len: usize) -> Vec<u8> {
    let mut all = vec![0; len];
    sources.iter().for_each(|source| combine(&mut all, source, |a, b| a | b));
    all
}

/// Applies `f` byte by byte, as far as `source` reaches. Simple enough for the compiler to use wide registers.
fn combine(target: &mut [u8], source: &[u8], f: impl Fn(u8, u8) -> u8) {
    target.iter_mut().zip(source).for_each(|(target, source)| *target = f(*target, *source));
}

fn padded(source: &[u8], len: usize) -> Vec<u8> {
    let mut copy = Vec::with_capacity(len);
    copy.extend_from_slice(source);
    copy.resize(len, 0);
    copy
}

fn bit_mask(position: u64) -> u8 {
    0x80 >> (position & 7)
}

/// A range of bit positions as bytes with masks for the two ends.
struct BitRange {
    first_byte: usize,
    last_byte: usize,
    first_mask: u8,
    last_mask: u8,
}

impl BitRange {
    /// `None` if nothing of `first..=last` lies inside `bytes`.
    fn clamped(bytes: &[u8], first: u64, last: u64) -> Option<BitRange> {
        let last = last.min((bytes.len() as u64 * 8).checked_sub(1)?);
        (first <= last).then(|| BitRange {
            first_byte: (first / 8) as usize,
            last_byte: (last / 8) as usize,
            first_mask: 0xff >> (first & 7),
            last_mask: 0xff << (7 - (last & 7)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive_bits(bytes: &[u8]) -> Vec<bool> {
        bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte & (0x80 >> bit) != 0)).collect()
    }

    fn sample(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                // Runs of zeros and ones are the interesting case for searches.
                match state & 3 {
                    0 => 0,
                    1 => 0xff,
                    _ => (state >> 8) as u8,
                }
            })
            .collect()
    }

    #[test]
    fn count_and_search_agree_with_one_bit_at_a_time() {
        for len in [0, 1, 2, 7, 8, 9, 33, 70] {
            let bytes = sample(len, len as u64 + 3);
            let bits = naive_bits(&bytes);
            assert_eq!(bitcount(&bytes), bits.iter().filter(|bit| **bit).count() as u64);
            for first in 0..bits.len() as u64 + 2 {
                for last in (first.saturating_sub(1)..bits.len() as u64 + 9).step_by(3) {
                    let inside = |p: &usize| (first..=last).contains(&(*p as u64));
                    let count = (0..bits.len()).filter(inside).filter(|p| bits[*p]).count();
                    assert_eq!(bitcount_bits(&bytes, first, last), count as u64, "{len} {first} {last}");
                    for bit in [false, true] {
                        let found = (0..bits.len()).filter(inside).find(|p| bits[*p] == bit);
                        assert_eq!(bitpos(&bytes, bit, first, last), found.map(|p| p as u64));
                    }
                }
            }
        }
    }

    #[test]
    fn long_runs_are_searched_through() {
        let mut bytes = vec![0xff; 10_000];
        assert_eq!(bitpos(&bytes, false, 0, u64::MAX), None);
        bytes[9_999] = 0xfe;
        assert_eq!(bitpos(&bytes, false, 0, u64::MAX), Some(79_999));
        assert_eq!(bitpos(&bytes, true, 79_999, u64::MAX), None);
    }

    #[test]
    fn bits_are_read_and_written_most_significant_first() {
        let mut bytes = [0u8; 2];
        assert!(!set_bit(&mut bytes, 1, true));
        assert!(!set_bit(&mut bytes, 15, true));
        assert_eq!(bytes, [0x40, 0x01]);
        assert!(set_bit(&mut bytes, 1, false));
        assert!(get_bit(&bytes, 15));
        assert!(!get_bit(&bytes, 16) && !get_bit(&bytes, u64::MAX));
    }

    #[test]
    fn operations_combine_as_documented() {
        let (x, y, z) = (&[0b1100_1010u8, 0xff][..], &[0b1010_0110u8][..], &[0b0000_0001u8, 0x0f, 0x80][..]);
        for (op, expected) in [
            (BitOp::And, vec![0, 0, 0]),
            (BitOp::Or, vec![0b1110_1111, 0xff, 0x80]),
            (BitOp::Xor, vec![0b0110_1101, 0xf0, 0x80]),
            (BitOp::Diff, vec![0b0100_1000, 0xf0, 0]),
            (BitOp::Diff1, vec![0b0010_0101, 0, 0x80]),
            (BitOp::AndOr, vec![0b1000_0010, 0x0f, 0]),
            (BitOp::One, vec![0b0110_1101, 0xf0, 0x80]),
        ] {
            assert_eq!(bitop(op, &[x, y, z]), expected, "{op:?}");
        }
        assert_eq!(bitop(BitOp::Not, &[x]), vec![0b0011_0101, 0]);
        assert_eq!(bitop(BitOp::One, &[&[1], &[1], &[1]]), vec![0]);
        assert_eq!(bitop(BitOp::Or, &[b"", b""]), Vec::<u8>::new());
        assert_eq!(BitOp::from_name(b"AndOr"), Some(BitOp::AndOr));
        assert_eq!(BitOp::from_name(b"nand"), None);
    }
}
