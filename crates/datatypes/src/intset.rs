//! The intset: distinct integers in ascending order in one flat allocation, byte for byte as Redis keeps it in memory and
//! in RDB files. Small sets of integers are one intset.
//!
//! Owns the byte format and its validation. Never knows how large an intset may become.
//!
//! ```text
//! ┌───────────────────────────┬────────────────┬─────────┬───┬─────────┐
//! │ bytes of an integer, u32: │ integers, u32  │ integer │ … │ integer │   everything little-endian
//! │ 2, 4 or 8                 │                │         │   │         │
//! └───────────────────────────┴────────────────┴─────────┴───┴─────────┘
//! ```
//!
//! The first integer that needs more bytes widens all of them; they never become narrower again.

use std::iter::FusedIterator;

use crate::prefetch::prefetch_slice;

const HEADER_BYTES: usize = 8;
/// An intset never holds more (Redis's bound).
pub const INTSET_LEN_MAX: usize = 1 << 30;

/// A sorted array of distinct integers. Every change costs a move of what lies behind it.
#[derive(Clone, PartialEq, Eq)]
pub struct IntSet {
    bytes: Box<[u8]>,
}

impl Default for IntSet {
    fn default() -> Self {
        IntSet::new()
    }
}

impl IntSet {
    pub fn new() -> IntSet {
        IntSet { bytes: Box::new([2, 0, 0, 0, 0, 0, 0, 0]) }
    }

    /// Takes bytes of unknown origin over if they are a well-formed intset to the last byte.
    pub fn from_bytes(bytes: Box<[u8]>) -> Option<IntSet> {
        let width = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
        let len = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?) as usize;
        if !matches!(width, 2 | 4 | 8) || len.checked_mul(width as usize)? != bytes.len() - HEADER_BYTES {
            return None;
        }
        let set = IntSet { bytes };
        let ascends = set.iter().zip(set.iter().skip(1)).all(|(lower, higher)| lower < higher);
        ascends.then_some(set)
    }

    /// The whole intset, as RDB files carry it.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Loads the header, and what a search looks at first, ahead of their use.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch_slice(&self.bytes);
        prefetch_slice(&self.bytes[self.bytes.len() / 2..]);
    }

    /// Bytes of the whole intset.
    #[inline]
    pub fn total_bytes(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    pub fn len(&self) -> usize {
        (self.bytes.len() - HEADER_BYTES) / self.width()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER_BYTES
    }

    /// Bytes of an integer.
    #[inline]
    fn width(&self) -> usize {
        usize::from(self.bytes[0])
    }

    /// The integer number `index` in ascending order. Panics when there are not as many.
    #[inline]
    pub fn get(&self, index: usize) -> i64 {
        let width = self.width();
        let at = HEADER_BYTES + index * width;
        let bytes = &self.bytes[at..at + width];
        match *bytes {
            [a, b] => i64::from(i16::from_le_bytes([a, b])),
            [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
            _ => i64::from_le_bytes(bytes.try_into().expect("eight bytes")),
        }
    }

    /// The lowest integer.
    pub fn first(&self) -> Option<i64> {
        (!self.is_empty()).then(|| self.get(0))
    }

    /// The highest integer.
    pub fn last(&self) -> Option<i64> {
        self.len().checked_sub(1).map(|index| self.get(index))
    }

    /// Integers in ascending order.
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        Iter { set: self, index: 0, len: self.len() }
    }

    #[inline]
    pub fn contains(&self, int: i64) -> bool {
        self.find(int).is_ok()
    }

    /// Where an integer is, or where it would be.
    fn find(&self, int: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        // Integers are often added in ascending order.
        match self.last() {
            Some(last) if int > last => return Err(high),
            _ => {}
        }
        while low < high {
            let middle = low.midpoint(high);
            match self.get(middle).cmp(&int) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Adds an integer; returns whether it is new.
    pub fn insert(&mut self, int: i64) -> bool {
        if width_for(int) > self.width() {
            self.widen(width_for(int));
        }
        let Err(index) = self.find(int) else { return false };
        let (width, len) = (self.width(), self.len());
        assert!(len < INTSET_LEN_MAX, "an intset of {len} integers");
        let at = HEADER_BYTES + index * width;
        let mut bytes = std::mem::take(&mut self.bytes).into_vec();
        let old_end = bytes.len();
        bytes.reserve_exact(width);
        bytes.resize(old_end + width, 0);
        bytes.copy_within(at..old_end, at + width);
        bytes[at..at + width].copy_from_slice(&int.to_le_bytes()[..width]);
        self.put_back(bytes, len + 1);
        true
    }

    /// Takes an integer out; returns whether it was there.
    pub fn remove(&mut self, int: i64) -> bool {
        let found = self.find(int);
        found.inspect(|&index| self.remove_at(index)).is_ok()
    }

    /// Takes the integer number `index` out.
    pub fn remove_at(&mut self, index: usize) {
        let (width, len) = (self.width(), self.len());
        let at = HEADER_BYTES + index * width;
        let mut bytes = std::mem::take(&mut self.bytes).into_vec();
        bytes.copy_within(at + width.., at);
        bytes.truncate(bytes.len() - width);
        self.put_back(bytes, len - 1);
    }

    fn put_back(&mut self, mut bytes: Vec<u8>, len: usize) {
        bytes[4..8].copy_from_slice(&(len as u32).to_le_bytes());
        self.bytes = bytes.into_boxed_slice();
    }

    fn widen(&mut self, width: usize) {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + (self.len() + 1) * width);
        bytes.extend_from_slice(&(width as u32).to_le_bytes());
        bytes.extend_from_slice(&self.bytes[4..8]);
        self.iter().for_each(|int| bytes.extend_from_slice(&int.to_le_bytes()[..width]));
        self.bytes = bytes.into_boxed_slice();
    }
}

/// Fewest bytes of an integer in an intset.
fn width_for(int: i64) -> usize {
    if i16::try_from(int).is_ok() {
        2
    } else if i32::try_from(int).is_ok() {
        4
    } else {
        8
    }
}

impl std::fmt::Debug for IntSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl FromIterator<i64> for IntSet {
    fn from_iter<I: IntoIterator<Item = i64>>(ints: I) -> IntSet {
        let mut set = IntSet::new();
        for int in ints {
            set.insert(int);
        }
        set
    }
}

/// Integers of an intset in ascending order.
#[derive(Clone)]
pub struct Iter<'a> {
    set: &'a IntSet,
    index: usize,
    len: usize,
}

impl Iterator for Iter<'_> {
    type Item = i64;

    #[inline]
    fn next(&mut self) -> Option<i64> {
        let index = self.index;
        (index < self.len).then(|| {
            self.index += 1;
            self.set.get(index)
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.len - self.index;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Bytes that a real server wrote (DUMP of small sets in Redis 7.0, without type, version and checksum).
    #[test]
    fn has_the_bytes_of_the_real_thing() {
        for (ints, expected) in [
            (&[3, 1, -2][..], &[2, 0, 0, 0, 3, 0, 0, 0, 0xfe, 0xff, 1, 0, 3, 0][..]),
            (&[1, 70_000], &[4, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0x70, 0x11, 1, 0]),
            (
                &[1 << 40, -1],
                &[
                    8, 0, 0, 0, 2, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1,
                    0, 0,
                ],
            ),
        ] {
            let set: IntSet = ints.iter().copied().collect();
            assert_eq!(set.as_bytes(), expected);
            assert_eq!(IntSet::from_bytes(expected.into()), Some(set));
        }
    }

    /// Random edits against a sorted set, with integers of all widths.
    #[test]
    fn behaves_like_a_sorted_set() {
        for seed in 1..=60u64 {
            let mut state = seed;
            let mut random = move |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let (mut set, mut model) = (IntSet::new(), BTreeSet::new());
            let bits = [6, 14, 15, 16, 31, 32, 63][seed as usize % 7];
            for _ in 0..400 {
                let int = (random(1 << bits) as i64).wrapping_sub(1 << (bits - 1));
                match random(3) {
                    0 => assert_eq!(set.remove(int), model.remove(&int)),
                    1 if !model.is_empty() => {
                        let index = random(model.len() as u64) as usize;
                        let int = *model.iter().nth(index).expect("below the length");
                        assert_eq!(set.get(index), int);
                        assert!(set.contains(int) && !set.insert(int));
                        assert!(set.remove(int) && model.remove(&int));
                    }
                    _ => assert_eq!(set.insert(int), model.insert(int)),
                }
                assert_eq!(set.contains(int), model.contains(&int));
                assert_eq!((set.first(), set.last()), (model.first().copied(), model.last().copied()));
                assert_eq!((set.len(), set.is_empty()), (model.len(), model.is_empty()));
            }
            assert!(set.iter().eq(model.iter().copied()));
            assert_eq!(IntSet::from_bytes(set.as_bytes().into()), Some(set));
        }
    }

    #[test]
    fn extremes_are_members_like_all_others() {
        let mut set: IntSet = [i64::MAX, i64::MIN, 0].into_iter().collect();
        assert!(set.iter().eq([i64::MIN, 0, i64::MAX]));
        assert!(set.remove(i64::MIN) && set.remove(i64::MAX) && !set.contains(i64::MAX));
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let good: IntSet = [1, 2, 300, 70_000].into_iter().collect();
        let bytes = good.as_bytes();
        for cut in 0..bytes.len() {
            assert_eq!(IntSet::from_bytes(bytes[..cut].into()), None);
        }
        for (damage, at) in [(3, 0), (1, 3), (5, 4), (1, 7), (9, 8), (2, 8), (0x80, 23)] {
            let mut damaged = bytes.to_vec();
            damaged[at] = damage;
            assert_eq!(IntSet::from_bytes(damaged.into()), None, "byte {at} is {damage}");
        }
        assert!(IntSet::from_bytes(Box::new([2, 0, 0, 0, 0, 0, 0, 0])).is_some_and(|set| set.is_empty()));
    }
}
