//! LZF: the compression of long strings in RDB files (Marc Lehmann's format, as liblzf reads it).
//!
//! Owns both directions. Never trusts compressed bytes, and never allocates ahead of what they give.
//!
//! ```text
//! 000lllll  bytes …               l + 1 bytes as they are
//! lllooooo oooooooo               l + 2 bytes from o + 1 bytes ago; l is 1 to 6
//! 111ooooo llllllll oooooooo      l + 9 bytes from o + 1 bytes ago
//! ```

const LITERALS_MAX: usize = 32;
const MATCH_MIN: usize = 3;
const MATCH_MAX: usize = 264;
const DISTANCE_MAX: usize = 1 << 13;
/// How much more room is made at first than the compressed bytes take.
const FIRST_ROOM: usize = 4;

/// Appends the compressed form of `input`, if it takes less than `len_max` bytes; otherwise `out` stays as it was.
pub fn compress(input: &[u8], len_max: usize, out: &mut Vec<u8>) -> bool {
    // The table is cleared for each string: short ones get a small one.
    match input.len() {
        0..=256 => compress_with::<256>(input, len_max, out),
        257..=4096 => compress_with::<2048>(input, len_max, out),
        _ => compress_with::<16_384>(input, len_max, out),
    }
}

fn compress_with<const SLOTS: usize>(input: &[u8], len_max: usize, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    // Where three bytes of this hash were seen last, plus one.
    let mut seen = [0u32; SLOTS];
    let slot = |at: usize| {
        let [a, b, c] = [0, 1, 2].map(|ahead| u32::from(input[at + ahead]));
        ((a << 16 | b << 8 | c).wrapping_mul(0x9e37_79b1) >> (32 - SLOTS.trailing_zeros())) as usize
    };
    let (mut at, mut literals_from) = (0, 0);
    while at + MATCH_MIN <= input.len() {
        let slot_here = slot(at);
        let candidate = (seen[slot_here] as usize).checked_sub(1);
        seen[slot_here] = at as u32 + 1;
        let found = candidate.filter(|&from| {
            at - from <= DISTANCE_MAX && input[from..from + MATCH_MIN] == input[at..at + MATCH_MIN]
        });
        let Some(from) = found else {
            at += 1;
            continue;
        };
        let ahead = input[at..].iter().zip(&input[from..]).take(MATCH_MAX);
        let len = ahead.take_while(|(here, there)| here == there).count();
        push_literals(&input[literals_from..at], out);
        push_match(at - from, len, out);
        if out.len() - start >= len_max {
            break;
        }
        (at + 1..(at + len).min(input.len() + 1 - MATCH_MIN)).for_each(|at| seen[slot(at)] = at as u32 + 1);
        at += len;
        literals_from = at;
    }
    push_literals(&input[literals_from..], out);
    let is_less = out.len() - start < len_max;
    if !is_less {
        out.truncate(start);
    }
    is_less
}

fn push_literals(bytes: &[u8], out: &mut Vec<u8>) {
    for run in bytes.chunks(LITERALS_MAX) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

fn push_match(distance: usize, len: usize, out: &mut Vec<u8>) {
    let (offset, len) = (distance - 1, len - 2);
    let high = (offset >> 8) as u8;
    if len < 7 {
        out.push((len as u8) << 5 | high);
    } else {
        out.extend_from_slice(&[7 << 5 | high, (len - 7) as u8]);
    }
    out.push(offset as u8);
}

/// What `input` is the compressed form of, if that is exactly `len` bytes.
pub fn decompress(input: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(len.min(input.len() * FIRST_ROOM));
    let mut input = input.iter();
    let mut next = || input.next().map(|&byte| usize::from(byte));
    while let Some(control) = next() {
        if control < LITERALS_MAX {
            if out.len() + control >= len {
                return None;
            }
            for _ in 0..=control {
                out.push(next()? as u8);
            }
            continue;
        }
        let count = match control >> 5 {
            7 => next()? + 9,
            short => short + 2,
        };
        let offset = (control & 0x1f) << 8 | next()?;
        let from = out.len().checked_sub(offset + 1)?;
        if out.len() + count > len {
            return None;
        }
        // The copy may run into what it writes.
        if from + count <= out.len() {
            out.extend_from_within(from..from + count);
        } else {
            (from..from + count).for_each(|at| out.push(out[at]));
        }
    }
    (out.len() == len).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
        let mut state = seed;
        move |below| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        }
    }

    #[test]
    fn what_is_compressed_comes_back() {
        for seed in 1..=300u64 {
            let mut random = numbers(seed);
            let letters = 1 + random(20);
            let len = [30, 300, 3_000, 40_000][random(4)] + random(30);
            let mut input: Vec<u8> = Vec::new();
            while input.len() < len {
                if !input.is_empty() && random(3) == 0 {
                    let from = random(input.len());
                    let end = (from + 1 + random(600)).min(input.len());
                    input.extend_from_within(from..end);
                } else {
                    input.push(b'a' + random(letters) as u8);
                }
            }
            let mut out = vec![7];
            if compress(&input, input.len(), &mut out) {
                assert!(out.len() <= input.len());
                assert_eq!(
                    decompress(&out[1..], input.len()).as_deref(),
                    Some(input.as_slice()),
                    "seed {seed}"
                );
            } else {
                assert_eq!(out, [7]);
            }
        }
    }

    /// Compressed by the reference (DUMP of the same string in Redis 7.0).
    #[test]
    fn reads_what_the_reference_wrote() {
        let compressed = b"\x01aa\xe0\x57\x00\x01aa";
        assert_eq!(decompress(compressed, 100), Some(vec![b'a'; 100]));
        let mut out = Vec::new();
        assert!(compress(&[b'a'; 100], 96, &mut out));
        assert!(out.len() < 12);
    }

    #[test]
    fn noise_is_not_compressed() {
        let mut random = numbers(5);
        let noise: Vec<u8> = (0..5_000).map(|_| random(256) as u8).collect();
        assert!(!compress(&noise, noise.len(), &mut Vec::new()));
        assert!(!compress(b"", 0, &mut Vec::new()));
        assert!(!compress(b"abc", 3, &mut Vec::new()));
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let good = b"\x02abc\x20\x02\x00d";
        assert_eq!(decompress(good, 7).as_deref(), Some(b"abcabcd".as_slice()));
        for cut in 0..good.len() {
            assert_eq!(decompress(&good[..cut], 7), None);
        }
        assert_eq!(decompress(good, 6), None);
        assert_eq!(decompress(good, 8), None);
        assert_eq!(decompress(b"\x00a\x20\x01", 4), None);
        for at in 0..good.len() {
            for byte in 0..=255 {
                let mut bad = good.to_vec();
                bad[at] = byte;
                assert!(decompress(&bad, 7).is_none_or(|out| out.len() == 7));
            }
        }
        // A length that the bytes can't give takes no memory.
        assert_eq!(decompress(b"\x00a", usize::MAX), None);
    }
}
