//! A slot with more entries than one segment holds: extendible hashing. A directory of 2^depth pointers, indexed by
//! the upper hash bits, leads to parts; a full part splits in two by its next hash bit, two small ones join again.
//! So growth moves at most one segment's entries at a time, also with a million keys under one hash tag.

use torc_datatypes::{Entry, LINE_BUCKETS};

use crate::key::Hasher;
use crate::segment::{LINES_MAX, Segment, TAG_BITS};

/// Hash bits that a scan position has: a part's depth and its tags together never use more.
pub(crate) const POSITION_BITS: u32 = 34;
/// Deepest split; parts that fill up at this depth grow instead (never reached below 400 M keys in one slot).
const DEPTH_MAX: u32 = POSITION_BITS - TAG_BITS;
/// Two neighbours with together at most this many entries join: half of what makes a part split.
const JOIN_LEN_MAX: usize = LINES_MAX * LINE_BUCKETS * 7 / 16;
/// Entries whose memory is asked for ahead while a part splits.
const PREFETCH_AHEAD: usize = 16;

/// The tag of a hash in a segment at `depth`: the 15 bits behind the directory's.
#[inline]
pub(crate) fn tag_at(hash: u64, depth: u32) -> u16 {
    ((hash << depth) >> (64 - TAG_BITS)) as u16
}

pub(crate) struct Part {
    pub(crate) segment: Segment,
    pub(crate) len: usize,
    pub(crate) depth: u32,
}

pub(crate) struct Split {
    depth: u32,
    /// Indices into `parts`, one for each value of the upper `depth` hash bits.
    directory: Vec<u32>,
    parts: Vec<Part>,
    /// Indices of parts that joined a neighbour.
    free: Vec<u32>,
    /// Bytes of all segments.
    segment_bytes: usize,
}

impl Split {
    /// Takes a full segment of a whole slot over.
    pub(crate) fn new(segment: Segment, len: usize) -> Split {
        Split {
            depth: 0,
            directory: vec![0],
            segment_bytes: segment.table_bytes(),
            parts: vec![Part { segment, len, depth: 0 }],
            free: Vec::new(),
        }
    }

    #[inline]
    fn directory_index(&self, hash: u64) -> usize {
        // Two shifts, since a shift by 64 is not defined.
        (hash >> 1 >> (63 - self.depth)) as usize
    }

    /// Index of the part that holds `hash`, and the tag of `hash` in it.
    #[inline]
    pub(crate) fn locate(&self, hash: u64) -> (u32, u16) {
        let index = self.directory[self.directory_index(hash)];
        (index, tag_at(hash, self.parts[index as usize].depth))
    }

    /// Index of the part that covers a scan position, and the first position that it covers.
    pub(crate) fn part_at(&self, position: u64) -> (u32, u64) {
        let index = self.directory[(position >> (POSITION_BITS - self.depth)) as usize];
        let below = POSITION_BITS - self.parts[index as usize].depth;
        (index, position >> below << below)
    }

    #[inline]
    pub(crate) fn part(&self, index: u32) -> &Part {
        &self.parts[index as usize]
    }

    #[inline]
    pub(crate) fn part_mut(&mut self, index: u32) -> &mut Part {
        &mut self.parts[index as usize]
    }

    /// Parts with entries, in no particular order.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter()
    }

    pub(crate) fn into_segments(self) -> Vec<Segment> {
        self.parts.into_iter().map(|part| part.segment).collect()
    }

    /// Bytes of directory and segments. O(1).
    pub(crate) fn table_bytes(&self) -> usize {
        size_of::<Split>()
            + self.directory.capacity() * size_of::<u32>()
            + self.parts.capacity() * size_of::<Part>()
            + self.segment_bytes
    }

    /// Makes room for one more entry with this hash.
    pub(crate) fn reserve(&mut self, hash: u64, hasher: &Hasher) {
        loop {
            let (index, _) = self.locate(hash);
            let part = &mut self.parts[index as usize];
            if part.segment.has_room(part.len) {
                return;
            }
            self.segment_bytes -= part.segment.table_bytes();
            if part.segment.line_count() < LINES_MAX || part.depth == DEPTH_MAX {
                part.segment.grow(part.len);
                self.segment_bytes += part.segment.table_bytes();
                return;
            }
            self.split_part(index, hash, hasher);
        }
    }

    fn split_part(&mut self, index: u32, hash: u64, hasher: &Hasher) {
        let old_depth = self.parts[index as usize].depth;
        if old_depth == self.depth {
            self.directory = self.directory.iter().flat_map(|&part| [part, part]).collect();
            self.depth += 1;
        }
        let depth = old_depth + 1;
        let part = &mut self.parts[index as usize];
        let entries = take_entries(&mut part.segment);
        let high_len = entries.iter().filter(|entry| entry.hash_bits() >> (TAG_BITS - 1) == 1).count();
        let low_len = entries.len() - high_len;
        let mut low = Segment::with_room_for(low_len + low_len / 8 + 1);
        let mut high = Segment::with_room_for(high_len + high_len / 8 + 1);
        entries.iter().take(PREFETCH_AHEAD).for_each(Entry::prefetch);
        let mut entries = std::collections::VecDeque::from(entries);
        while let Some(entry) = entries.pop_front() {
            if let Some(ahead) = entries.get(PREFETCH_AHEAD - 1) {
                ahead.prefetch();
            }
            let target = if entry.hash_bits() >> (TAG_BITS - 1) == 1 { &mut high } else { &mut low };
            let tag = tag_at(hasher.hash(entry.key()), depth);
            target.insert(tag, entry);
        }
        self.segment_bytes += low.table_bytes() + high.table_bytes();
        *part = Part { segment: low, len: low_len, depth };
        let high_index = self.add_part(Part { segment: high, len: high_len, depth });
        // The directory range of the old part: all indices that share its upper `old_depth` bits.
        let shift = self.depth - old_depth;
        let first = self.directory_index(hash) >> shift << shift;
        let half = 1 << (shift - 1);
        self.directory[first + half..first + 2 * half].fill(high_index);
    }

    fn add_part(&mut self, part: Part) -> u32 {
        match self.free.pop() {
            Some(index) => {
                self.parts[index as usize] = part;
                index
            }
            None => {
                self.parts.push(part);
                self.parts.len() as u32 - 1
            }
        }
    }

    /// Gives memory back after removals from the part that holds `hash`: shrinks it, and joins it with its
    /// neighbour while both are small. Returns the last segment once only one is left.
    pub(crate) fn shrink(&mut self, hash: u64) -> Option<Segment> {
        let (mut index, _) = self.locate(hash);
        loop {
            let depth = self.parts[index as usize].depth;
            if depth == 0 {
                return Some(std::mem::take(&mut self.parts[index as usize].segment));
            }
            let shift = self.depth - depth;
            let first = self.directory_index(hash) >> shift << shift;
            let buddy_first = first ^ (1 << shift);
            let buddy = self.directory[buddy_first];
            let (len, buddy_len) = (self.parts[index as usize].len, self.parts[buddy as usize].len);
            if self.parts[buddy as usize].depth != depth || len + buddy_len > JOIN_LEN_MAX {
                let segment = &mut self.parts[index as usize].segment;
                self.segment_bytes -= segment.table_bytes();
                segment.shrink(len);
                self.segment_bytes += segment.table_bytes();
                return None;
            }
            let low = first.min(buddy_first);
            let (low_part, high_part) = if low == first { (index, buddy) } else { (buddy, index) };
            self.join(low_part, high_part);
            self.directory[low..low + (2 << shift)].fill(low_part);
            self.halve_directory();
            index = low_part;
        }
    }

    /// Joins two neighbours. Tags move down by one bit and take the bit that told the two apart as their highest.
    fn join(&mut self, low: u32, high: u32) {
        let len = self.parts[low as usize].len + self.parts[high as usize].len;
        let depth = self.parts[low as usize].depth - 1;
        let mut joined = Segment::with_room_for(len + len / 4 + 1);
        for (index, highest) in [(low, 0), (high, 1 << (TAG_BITS - 1))] {
            let segment = &mut self.parts[index as usize].segment;
            self.segment_bytes -= segment.table_bytes();
            for entry in take_entries(segment) {
                joined.insert(highest | entry.hash_bits() >> 1, entry);
            }
        }
        self.segment_bytes += joined.table_bytes();
        self.parts[low as usize] = Part { segment: joined, len, depth };
        self.parts[high as usize] = Part { segment: Segment::default(), len: 0, depth: 0 };
        self.free.push(high);
    }

    fn halve_directory(&mut self) {
        while self.depth > 0 && self.directory.chunks(2).all(|pair| pair[0] == pair[1]) {
            self.directory = self.directory.iter().step_by(2).copied().collect();
            self.depth -= 1;
        }
    }
}

fn take_entries(segment: &mut Segment) -> Vec<Entry> {
    let lines = std::mem::take(segment).into_lines();
    lines.into_iter().flat_map(|line| line.0.into_iter().flatten()).collect()
}
