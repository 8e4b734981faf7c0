//! Hot path. The smallest table: cache lines of eight buckets, open addressing from line to line.
//! Never looks into an entry except to compare its key, and never knows which slot it serves.
//!
//! A bucket is an entry's handle, whose 15 hash bits (the *tag*) give both its home line and the means to skip most
//! foreign entries without touching them. A lookup therefore costs one cache line here, and one entry. Tags grow with
//! the line (`home = tag × lines / 2^15`), so that walking the lines walks the hashes in order whatever the size:
//! scan cursors stand on that. Invariant: an entry lies in its home line, or all lines from its home to the one
//! before it are full.

use torc_datatypes::prefetch::prefetch;
use torc_datatypes::{Entry, LINE_BUCKETS, buckets_with};

use crate::rng::Rng;

/// A segment with this many lines splits instead of growing.
pub(crate) const LINES_MAX: usize = 128;
/// Bits of an entry's tag.
pub(crate) const TAG_BITS: u32 = 15;

#[derive(Default)]
#[repr(align(64))]
pub(crate) struct Line(pub(crate) [Option<Entry>; LINE_BUCKETS]);

const _: () = assert!(size_of::<Line>() == 64);

impl Line {
    /// Bit n is set if bucket n holds an entry with this tag; for tag 0 also if it is empty.
    #[inline(always)]
    fn with_tag(&self, tag: u16) -> u32 {
        buckets_with(&self.0, tag)
    }

    #[inline]
    fn free_bucket(&self) -> Option<usize> {
        self.0.iter().position(Option::is_none)
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.free_bucket().is_none()
    }
}

/// Where an entry lies in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    line: u32,
    bucket: u32,
}

/// Lines of buckets; no lines at all while empty.
#[derive(Default)]
pub(crate) struct Segment {
    lines: Box<[Line]>,
}

impl Segment {
    pub(crate) fn with_room_for(len: usize) -> Segment {
        Segment { lines: new_lines(lines_for(len)) }
    }

    #[inline]
    pub(crate) fn line_count(&self) -> usize {
        self.lines.len()
    }

    #[inline]
    pub(crate) fn has_no_lines(&self) -> bool {
        self.lines.is_empty()
    }

    /// Bytes of the segment's memory.
    pub(crate) fn table_bytes(&self) -> usize {
        self.lines.len() * size_of::<Line>()
    }

    #[inline]
    pub(crate) fn home(&self, tag: u16) -> usize {
        (usize::from(tag) * self.lines.len()) >> TAG_BITS
    }

    /// Smallest tag whose home is `line`, or 2^15 for the line behind the last one.
    pub(crate) fn first_tag(&self, line: usize) -> u32 {
        ((line << TAG_BITS).div_ceil(self.lines.len())) as u32
    }

    #[inline]
    fn next(&self, line: usize) -> usize {
        if line + 1 == self.lines.len() { 0 } else { line + 1 }
    }

    /// Lines to walk from `from` forward to `to`, round the end.
    #[inline]
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.lines.len() - from }
    }

    /// Brings the home line of `tag` near.
    #[inline]
    pub(crate) fn prefetch_line(&self, tag: u16) {
        if let Some(line) = self.lines.get(self.home(tag)) {
            prefetch(line);
        }
    }

    /// Brings the entries with `tag` in its home line near.
    #[inline]
    pub(crate) fn prefetch_entry(&self, tag: u16) {
        let Some(line) = self.lines.get(self.home(tag)) else { return };
        let mut found = line.with_tag(tag);
        while found != 0 {
            if let Some(entry) = &line.0[found.trailing_zeros() as usize] {
                entry.prefetch();
            }
            found &= found - 1;
        }
    }

    #[inline]
    pub(crate) fn find(&self, tag: u16, key: &[u8]) -> Option<Place> {
        let mut at = self.home(tag);
        for _ in 0..self.lines.len() {
            let line = &self.lines[at];
            let mut found = line.with_tag(tag);
            while found != 0 {
                let bucket = found.trailing_zeros();
                if line.0[bucket as usize].as_ref().is_some_and(|entry| entry.key() == key) {
                    return Some(Place { line: at as u32, bucket });
                }
                found &= found - 1;
            }
            if !line.is_full() {
                return None;
            }
            at = self.next(at);
        }
        None
    }

    #[inline]
    pub(crate) fn entry(&self, place: Place) -> &Entry {
        self.lines[place.line as usize].0[place.bucket as usize].as_ref().expect("a place holds an entry")
    }

    #[inline]
    pub(crate) fn entry_mut(&mut self, place: Place) -> &mut Entry {
        self.lines[place.line as usize].0[place.bucket as usize].as_mut().expect("a place holds an entry")
    }

    /// Whether one more entry than `len` fits without slowing lookups down.
    #[inline]
    pub(crate) fn has_room(&self, len: usize) -> bool {
        len < capacity(self.lines.len())
    }

    /// Adds an entry whose key is not in the segment; there must be room.
    #[inline]
    pub(crate) fn insert(&mut self, tag: u16, mut entry: Entry) -> Place {
        entry.set_hash_bits(tag);
        let mut at = self.home(tag);
        loop {
            if let Some(bucket) = self.lines[at].free_bucket() {
                self.lines[at].0[bucket] = Some(entry);
                return Place { line: at as u32, bucket: bucket as u32 };
            }
            at = self.next(at);
        }
    }

    /// Takes the entry at `place` out. Entries behind a full line are pulled forward to keep the invariant; one
    /// of them may lie at `place` afterwards.
    pub(crate) fn remove(&mut self, place: Place) -> Entry {
        let mut hole_line = place.line as usize;
        let mut hole_bucket = place.bucket as usize;
        let was_full = self.lines[hole_line].is_full();
        let taken = self.lines[hole_line].0[hole_bucket].take().expect("a place holds an entry");
        if !was_full {
            return taken;
        }
        // The hole's line was full, so that later lines may hold entries that had to pass it.
        let mut at = self.next(hole_line);
        let start = place.line as usize;
        while at != start {
            let line_full = self.lines[at].is_full();
            let passed = self.lines[at].0.iter().position(|bucket| {
                bucket.as_ref().is_some_and(|entry| {
                    let home = self.home(entry.hash_bits());
                    self.distance(home, at) >= self.distance(hole_line, at)
                })
            });
            if let Some(bucket) = passed {
                let moved = self.lines[at].0[bucket].take();
                self.lines[hole_line].0[hole_bucket] = moved;
                (hole_line, hole_bucket) = (at, bucket);
            }
            if !line_full {
                break;
            }
            at = self.next(at);
        }
        taken
    }

    /// Moves all entries to a segment of `line_count` lines. Touches no entry: tags are in the handles.
    pub(crate) fn resize(&mut self, line_count: usize) {
        let old = std::mem::replace(&mut self.lines, new_lines(line_count));
        for line in old {
            for entry in line.0.into_iter().flatten() {
                self.insert(entry.hash_bits(), entry);
            }
        }
    }

    /// Makes room for one more entry than `len`. Whether to split instead is the caller's decision (`LINES_MAX`).
    pub(crate) fn grow(&mut self, len: usize) {
        self.resize(lines_for(len + 1));
    }

    /// Gives memory back when `len` entries fill little of it.
    pub(crate) fn shrink(&mut self, len: usize) {
        if len == 0 {
            self.lines = Box::default();
            return;
        }
        // A quarter of room on top, so that the next few inserts do not grow it again.
        let fitting = lines_for(len + len / 4);
        if fitting * 2 <= self.lines.len() {
            self.resize(fitting);
        }
    }

    /// Calls `visit` for every entry whose home is `home` and whose tag is at least `tag_min`.
    pub(crate) fn visit_home(&self, home: usize, tag_min: u32, visit: &mut impl FnMut(&Entry)) -> usize {
        let mut visited = 0;
        let mut at = home;
        for _ in 0..self.lines.len() {
            for entry in self.lines[at].0.iter().flatten() {
                let tag = entry.hash_bits();
                if self.home(tag) == home && u32::from(tag) >= tag_min {
                    visit(entry);
                    visited += 1;
                }
            }
            if !self.lines[at].is_full() {
                break;
            }
            at = self.next(at);
        }
        visited
    }

    /// The same with entries lent for change of what only their table knows, and until `visit` wants no more. Returns how
    /// many were visited, and whether all were wanted.
    pub(crate) fn visit_home_mut(
        &mut self,
        home: usize,
        tag_min: u32,
        visit: &mut impl FnMut(&mut Entry) -> bool,
    ) -> (usize, bool) {
        let mut visited = 0;
        let mut at = home;
        let line_count = self.lines.len();
        for _ in 0..line_count {
            for entry in self.lines[at].0.iter_mut().flatten() {
                let tag = entry.hash_bits();
                if (usize::from(tag) * line_count) >> TAG_BITS == home && u32::from(tag) >= tag_min {
                    if !visit(entry) {
                        return (visited, false);
                    }
                    visited += 1;
                }
            }
            if !self.lines[at].is_full() {
                break;
            }
            at = self.next(at);
        }
        (visited, true)
    }

    /// Loads the entries of `line` that expire, or parts of whose values do, ahead of their use.
    pub(crate) fn prefetch_volatile(&self, line: usize) {
        let Some(line) = self.lines.get(line) else { return };
        line.0.iter().flatten().filter(|entry| entry.is_timed()).for_each(Entry::prefetch);
    }

    /// Places of `line`; some may be empty.
    pub(crate) fn places(line: usize) -> impl Iterator<Item = Place> {
        (0..LINE_BUCKETS as u32).map(move |bucket| Place { line: line as u32, bucket })
    }

    #[inline]
    pub(crate) fn get(&self, place: Place) -> Option<&Entry> {
        self.lines[place.line as usize].0[place.bucket as usize].as_ref()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.lines.iter().flat_map(|line| line.0.iter().flatten())
    }

    /// Visits up to `left` entries that `wants` wants, from a random line on, round the end.
    pub(crate) fn sample<'a>(
        &'a self,
        rng: &mut Rng,
        left: &mut usize,
        wants: impl Fn(&Entry) -> bool,
        visit: &mut impl FnMut(&'a Entry),
    ) {
        if self.lines.is_empty() {
            return;
        }
        let mut at = rng.index(self.lines.len());
        // Where in a line the first one is taken must not depend on when it was put there.
        let turn = rng.index(LINE_BUCKETS);
        for _ in 0..self.lines.len() {
            for bucket in 0..LINE_BUCKETS {
                let Some(entry) = &self.lines[at].0[(bucket + turn) % LINE_BUCKETS] else { continue };
                if wants(entry) {
                    visit(entry);
                    *left -= 1;
                    if *left == 0 {
                        return;
                    }
                }
            }
            at = self.next(at);
        }
    }

    pub(crate) fn into_lines(self) -> Box<[Line]> {
        self.lines
    }
}

/// Entries that `lines` lines hold before they grow: seven eighths, or all of a single line.
#[inline]
fn capacity(lines: usize) -> usize {
    if lines <= 1 { lines * LINE_BUCKETS } else { lines * (LINE_BUCKETS - 1) }
}

/// Fewest lines that hold `len` entries, in steps of an eighth to a quarter: exactly jemalloc's size classes, so that
/// no byte of the allocation is unused.
fn lines_for(len: usize) -> usize {
    let needed = if len <= LINE_BUCKETS { 1 } else { len.div_ceil(LINE_BUCKETS - 1) };
    if needed <= 8 {
        return needed;
    }
    let step = 1 << ((needed - 1).ilog2() - 2);
    needed.next_multiple_of(step)
}

fn new_lines(count: usize) -> Box<[Line]> {
    std::iter::repeat_with(Line::default).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_allocator_classes() {
        let mut sizes: Vec<usize> = (1..=896).map(lines_for).collect();
        sizes.dedup();
        assert_eq!(
            sizes,
            [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128]
        );
        for len in 1..5000 {
            assert!(capacity(lines_for(len)) >= len);
        }
    }

    fn check_invariant(segment: &Segment) {
        for (at, line) in segment.lines.iter().enumerate() {
            for entry in line.0.iter().flatten() {
                let mut passed = segment.home(entry.hash_bits());
                while passed != at {
                    assert!(segment.lines[passed].is_full(), "an entry passed a line with room");
                    passed = segment.next(passed);
                }
            }
        }
    }

    /// Random inserts and removals with few distinct tags, so that lines overflow and wrap round.
    #[test]
    fn behaves_like_a_map_under_crowding() {
        for seed in 1..=30u64 {
            let mut random = seed;
            let mut next = move || {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random
            };
            let mut segment = Segment::default();
            let mut model: std::collections::BTreeMap<Vec<u8>, u16> = Default::default();
            for step in 0..3000 {
                let growing = step / 700 % 2 == 0;
                let id = next() % 400;
                let key = id.to_string().into_bytes();
                let tag = if id.is_multiple_of(3) { 0x7fff } else { (id * 7919 % 0x8000) as u16 };
                let place = segment.find(tag, &key);
                assert_eq!(place.is_some(), model.contains_key(&key));
                match place {
                    Some(place) if !growing || next() % 4 == 0 => {
                        assert_eq!(segment.remove(place).key(), key);
                        model.remove(&key);
                        segment.shrink(model.len());
                    }
                    None if growing || next() % 4 == 0 => {
                        if !segment.has_room(model.len()) {
                            segment.grow(model.len());
                        }
                        let place = segment.insert(tag, Entry::string(&key, b"v", None));
                        assert_eq!(segment.entry(place).key(), key);
                        model.insert(key, tag);
                    }
                    _ => {}
                }
                if step % 50 == 0 {
                    check_invariant(&segment);
                    assert_eq!(segment.iter().count(), model.len());
                    for (key, tag) in &model {
                        assert!(segment.find(*tag, key).is_some());
                    }
                    let mut visited = 0;
                    for home in 0..segment.line_count() {
                        visited += segment.visit_home(home, 0, &mut |_| {});
                    }
                    assert_eq!(visited, model.len());
                }
            }
        }
    }
}
