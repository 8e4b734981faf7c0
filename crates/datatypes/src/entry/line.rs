//! Hot path. Which buckets of a cache line hold an entry with given bits: eight handles compared at once.
//! Reads handles only, never an entry's memory.

use super::Entry;

/// Handles in a cache line.
pub const LINE_BUCKETS: usize = 8;

/// Bit n of the result is set if bucket n holds an entry whose [`Entry::hash_bits`] are `bits`. An empty bucket counts
/// as an entry with bits 0.
#[inline(always)]
pub fn buckets_with(line: &[Option<Entry>; LINE_BUCKETS], bits: u16) -> u32 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    return buckets_with_sse2(line, bits);
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    return buckets_one_by_one(line, bits);
}

#[cfg(any(test, miri, not(target_arch = "x86_64")))]
fn buckets_one_by_one(line: &[Option<Entry>; LINE_BUCKETS], bits: u16) -> u32 {
    line.iter().enumerate().fold(0, |found, (bucket, entry)| {
        let same = entry.as_ref().map_or(0, Entry::hash_bits) == bits;
        found | u32::from(same) << bucket
    })
}

/// SSE2 is part of every x86-64. The 15 bits of each handle are shifted down, packed to eight 16-bit lanes (as
/// positive numbers, so that the packing never saturates) and compared in one step. The compiler's own attempt at the
/// loop takes about three times as many instructions.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
fn buckets_with_sse2(line: &[Option<Entry>; LINE_BUCKETS], bits: u16) -> u32 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi16, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_packs_epi32,
        _mm_set1_epi16, _mm_setzero_si128, _mm_slli_epi64, _mm_srli_epi64,
    };
    let base = line.as_ptr().cast::<__m128i>();
    // SAFETY: the instructions exist on every x86-64. `line` is 64 bytes, of which four times 16 are read, unaligned
    // reads being allowed. Each `Option<Entry>` is one initialised word: `Entry` is transparent over `NonNull`, and
    // `None` is null.
    unsafe {
        let pair = |index| _mm_srli_epi64::<49>(_mm_slli_epi64::<1>(_mm_loadu_si128(base.add(index))));
        let low = _mm_packs_epi32(pair(0), pair(1));
        let high = _mm_packs_epi32(pair(2), pair(3));
        let same = _mm_cmpeq_epi16(_mm_packs_epi32(low, high), _mm_set1_epi16(bits as i16));
        _mm_movemask_epi8(_mm_packs_epi16(same, _mm_setzero_si128())) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_at_once_equals_one_by_one() {
        for mut pattern in (0..6_561u32).step_by(if cfg!(miri) { 331 } else { 1 }) {
            // Every combination of: empty, one of two tags, in eight buckets.
            let line: [Option<Entry>; LINE_BUCKETS] = std::array::from_fn(|bucket| {
                let choice = pattern % 3;
                pattern /= 3;
                let mut entry = Entry::string(b"k", b"v", (bucket % 2 == 0).then_some(1));
                entry.set_hash_bits([0, 0x7fff, 0x1234][choice as usize]);
                (choice > 0).then_some(entry)
            });
            for bits in [0, 1, 0x1234, 0x1235, 0x7ffe, 0x7fff] {
                assert_eq!(buckets_with(&line, bits), buckets_one_by_one(&line, bits));
            }
        }
    }
}
