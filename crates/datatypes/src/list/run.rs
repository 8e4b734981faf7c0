//! A run: neighbouring elements of a list in one allocation, in the bytes of a listpack but with room on both sides, so
//! that neither end is pushed or popped by moving the rest. A compact list is one run, a long one has a run in each node.
//!
//! Owns the room and the bytes. Never knows how large a node may be.
//!
//! ```text
//! ┌──────────────┬───────────┬───────────────┬──────┬─────────┬───┬─────────┬──────┐
//! │ first at, u16│ bytes, u16│ elements, u16 │ room │ element │ … │ element │ room │
//! └──────────────┴───────────┴───────────────┴──────┴─────────┴───┴─────────┴──────┘
//! 0              2           4               6      start           start+len
//! ```

use std::ops::Range;

use super::{End, Needle};
use crate::entry::class::{allocated_bytes, class_bytes, class_for};
use crate::listpack::{FRAME_BYTES, Item, Listpack, element_bytes, item, start_before, write_element};
use crate::prefetch::{prefetch_address, prefetch_slice};

const HEADER_BYTES: usize = 6;
/// Bytes of a run's elements at most: those of a node of 64 KiB.
pub(super) const RUN_BYTES_MAX: usize = (64 << 10) - FRAME_BYTES;
/// Length of an element that fits into a run, with up to eight bytes around it.
pub(super) const ELEMENT_BYTES_MAX: usize = RUN_BYTES_MAX - 8;
/// The run of a new node has room for this.
const NEW_NODE_BYTES: usize = 64;
/// Bytes of the largest run.
const BUF_BYTES_MAX: usize = 64 << 10;
/// Room at the wrong end is made use of when it is at least this part of the elements' bytes, else the run grows: the
/// elements do not move with every push.
const ROOM_PART: usize = 16;
/// Bytes in front of a run that a push may write.
const PUSHED_BYTES: usize = 32;
/// A run that shrinks at its ends keeps its memory until this many classes less would do, so that it does not move to and
/// fro.
const LOOSE_CLASSES: u8 = 2;

const _: () = assert!(HEADER_BYTES + RUN_BYTES_MAX <= u16::MAX as usize, "places in a run are 16 bits wide");

/// How a run grows.
#[derive(Clone, Copy)]
pub(super) enum Growth {
    /// As little as it has to.
    Tight,
    /// The same, ahead of a push that could make use of room at the other end, when that is little.
    Ahead,
    /// In steps of two, to this many bytes.
    Doubling(usize),
}

/// Neighbouring elements of a list.
#[derive(Debug)]
pub(super) struct Run {
    buf: Box<[u8]>,
}

/// What stands before the room.
#[derive(Clone, Copy)]
struct Header {
    start: usize,
    len: usize,
    count: usize,
}

impl Run {
    /// A run without elements.
    pub(super) fn new() -> Run {
        Run::with_room(End::Back, 0)
    }

    /// The run of a new node, of one element.
    pub(super) fn of_node(item: Item<'_>) -> Run {
        let bytes = Listpack::bytes_for(item);
        let mut run = Run::with_room(End::Back, bytes.max(NEW_NODE_BYTES - HEADER_BYTES));
        run.push(End::Back, item, Growth::Tight);
        run
    }

    /// A run of `count` elements.
    pub(super) fn of_elements(elements: &[u8], count: usize) -> Run {
        let mut run = Run::with_room(End::Back, elements.len());
        run.set_header(Header { start: HEADER_BYTES, len: elements.len(), count });
        run.buf[HEADER_BYTES..][..elements.len()].copy_from_slice(elements);
        run
    }

    /// A run without elements that has room for this many bytes of them, pushed at this end.
    pub(super) fn with_room(end: End, bytes: usize) -> Run {
        let mut run = Run { buf: Run::buf_for(bytes) };
        let room_before = if end == End::Front { bytes } else { 0 };
        run.set_header(Header { start: HEADER_BYTES + room_before, len: 0, count: 0 });
        run
    }

    fn buf_for(bytes: usize) -> Box<[u8]> {
        debug_assert!(bytes <= RUN_BYTES_MAX);
        vec![0; class_bytes(class_for(HEADER_BYTES + bytes))].into_boxed_slice()
    }

    #[inline]
    fn header(&self) -> Header {
        let bytes: &[u8; HEADER_BYTES] = self.buf.first_chunk().expect("a run has a header");
        let number = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        Header { start: number(0), len: number(2), count: number(4) }
    }

    #[inline]
    fn set_header(&mut self, Header { start, len, count }: Header) {
        let bytes: &mut [u8; HEADER_BYTES] = self.buf.first_chunk_mut().expect("a run has a header");
        bytes[..2].copy_from_slice(&(start as u16).to_le_bytes());
        bytes[2..4].copy_from_slice(&(len as u16).to_le_bytes());
        bytes[4..].copy_from_slice(&(count as u16).to_le_bytes());
    }

    /// The elements, in the bytes of a listpack.
    #[inline]
    pub(super) fn elements(&self) -> &[u8] {
        let Header { start, len, .. } = self.header();
        &self.buf[start..start + len]
    }

    /// Number of elements.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.header().count
    }

    /// Bytes of the elements.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.header().len
    }

    /// Bytes of a listpack with these elements.
    #[inline]
    pub(super) fn listpack_bytes(&self) -> usize {
        self.len() + FRAME_BYTES
    }

    /// A listpack of the same elements.
    pub(super) fn to_listpack(&self) -> Listpack {
        Listpack::of_elements(self.elements(), self.count())
    }

    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        allocated_bytes(self.buf.len())
    }

    /// Loads the header ahead of its use.
    #[inline]
    pub(super) fn prefetch(&self) {
        prefetch_slice(&self.buf);
    }

    /// Loads both ends ahead of their use. Touches the header.
    #[inline]
    pub(super) fn prefetch_ends(&self) {
        let Header { start, len, .. } = self.header();
        let base = self.buf.as_ptr();
        // What is pushed goes before the first element, or behind the last one.
        prefetch_address(base.wrapping_add(start).wrapping_sub(PUSHED_BYTES));
        prefetch_address(base.wrapping_add(start));
        prefetch_address(base.wrapping_add(start + len));
    }

    /// The first or the last element; there must be one.
    #[inline]
    pub(super) fn peek(&self, end: End) -> Item<'_> {
        item(&self.elements()[self.offset_at(end)..])
    }

    /// Adds an element at an end.
    #[inline]
    pub(super) fn push(&mut self, end: End, item: Item<'_>, growth: Growth) {
        let bytes = Listpack::bytes_for(item);
        let at = match end {
            End::Front => 0,
            End::Back => self.len(),
        };
        let start = self.open(at, bytes, 1, growth);
        write_element(&mut self.buf[start..], item);
    }

    /// Drops the element at an end; there must be one.
    #[inline]
    pub(super) fn drop_end(&mut self, end: End) {
        let at = self.offset_at(end);
        let bytes = element_bytes(&self.elements()[at..]);
        let Header { start, len, count } = self.header();
        let start = if end == End::Front && len > bytes { start + bytes } else { start };
        self.set_header(Header { start, len: len - bytes, count: count - 1 });
    }

    /// Inserts an element before the one at byte `at`, or at the end.
    pub(super) fn insert(&mut self, at: usize, item: Item<'_>) {
        let start = self.open(at, Listpack::bytes_for(item), 1, Growth::Tight);
        write_element(&mut self.buf[start..], item);
    }

    /// Puts an element in the place of the one at byte `at`.
    pub(super) fn replace(&mut self, at: usize, item: Item<'_>) {
        let (old, new) = (element_bytes(&self.elements()[at..]), Listpack::bytes_for(item));
        if new > old {
            self.open(at, new - old, 0, Growth::Tight);
        } else {
            self.close(at..at + old - new, 0);
        }
        let start = self.header().start + at;
        write_element(&mut self.buf[start..], item);
    }

    /// Removes the `count` elements that lie in these bytes.
    pub(super) fn remove(&mut self, bytes: Range<usize>, count: usize) {
        self.close(bytes, count);
        self.fit();
    }

    /// Takes the elements from byte `at` on away, the first of which has this number. Both parts have elements.
    pub(super) fn split_off(&mut self, at: usize, number: usize) -> Run {
        let rest = Run::of_elements(&self.elements()[at..], self.count() - number);
        self.set_header(Header { len: at, count: number, ..self.header() });
        self.fit();
        rest
    }

    /// Adds the elements of another run behind the own ones.
    pub(super) fn append(&mut self, other: &Run) {
        let start = self.open(self.len(), other.len(), other.count(), Growth::Tight);
        self.buf[start..start + other.len()].copy_from_slice(other.elements());
    }

    /// Gives room back that the run will not need.
    pub(super) fn fit(&mut self) {
        if class_for(HEADER_BYTES + self.len()) < class_for(self.buf.len()) {
            *self = Run::of_elements(self.elements(), self.count());
        }
    }

    /// The same, only when it is much.
    #[inline]
    pub(super) fn fit_loosely(&mut self) {
        if class_for(HEADER_BYTES + self.len()) + LOOSE_CLASSES <= class_for(self.buf.len()) {
            self.fit();
        }
    }

    /// Where element number `index` begins, or the end. Walks from the nearer end.
    pub(super) fn offset(&self, index: usize) -> usize {
        let (elements, count) = (self.elements(), self.count());
        if index <= count / 2 {
            (0..index).fold(0, |at, _| at + element_bytes(&elements[at..]))
        } else {
            (index..count).fold(elements.len(), |at, _| start_before(elements, at))
        }
    }

    /// Number and byte of the first element that equals the needle.
    pub(super) fn find(&self, needle: &Needle<'_>) -> Option<(usize, usize)> {
        matches(self.elements(), needle).next()
    }

    /// Removes up to `max` elements that equal the needle, the ones nearest to `from`, and returns how many. All elements
    /// may be among them.
    pub(super) fn remove_matching(&mut self, needle: &Needle<'_>, max: usize, from: End) -> usize {
        let found = matches(self.elements(), needle).count();
        if found == 0 {
            return 0;
        }
        let removed = found.min(max);
        let skipped = if from == End::Back { found - removed } else { 0 };
        let mut kept = Vec::with_capacity(self.len());
        let mut kept_to = 0;
        for (_, at) in matches(self.elements(), needle).skip(skipped).take(removed) {
            kept.extend_from_slice(&self.elements()[kept_to..at]);
            kept_to = at + element_bytes(&self.elements()[at..]);
        }
        kept.extend_from_slice(&self.elements()[kept_to..]);
        *self = Run::of_elements(&kept, self.count() - removed);
        removed
    }

    /// Where the first or the last element begins.
    #[inline]
    fn offset_at(&self, end: End) -> usize {
        match end {
            End::Front => 0,
            End::Back => start_before(self.elements(), self.len()),
        }
    }

    /// Makes a gap of `bytes` bytes for `count` more elements in front of byte `at`, and returns where in the buffer it
    /// begins.
    #[inline]
    fn open(&mut self, at: usize, bytes: usize, count: usize, growth: Growth) -> usize {
        let Header { start, len, count: old_count } = self.header();
        let room_before = start - HEADER_BYTES;
        let room_behind = self.buf.len() - start - len;
        let start = if at == 0 && room_before >= bytes {
            start - bytes
        } else if at == len && room_behind >= bytes {
            start
        } else {
            self.open_slowly(at, bytes, growth)
        };
        self.set_header(Header { start, len: len + bytes, count: old_count + count });
        start + at
    }

    /// As `open`, where bytes have to be moved; returns where the elements begin then.
    fn open_slowly(&mut self, at: usize, bytes: usize, growth: Growth) -> usize {
        let Header { start, len, .. } = self.header();
        let new_len = len + bytes;
        assert!(new_len <= RUN_BYTES_MAX, "a run of {new_len} bytes");
        let room_before = start - HEADER_BYTES;
        let room_behind = self.buf.len() - start - len;
        let room = room_before + room_behind;
        if room < bytes || (matches!(growth, Growth::Ahead) && room - bytes < len / ROOM_PART) {
            return self.grow(at, bytes, growth);
        }
        if room_behind >= bytes && at > 0 && (at >= len / 2 || room_before < bytes) {
            self.buf.copy_within(start + at..start + len, start + at + bytes);
            start
        } else if room_before >= bytes && at < len {
            self.buf.copy_within(start..start + at, start - bytes);
            start - bytes
        } else {
            // The room is at the wrong end, or divided: it is shared out anew.
            let new_start = HEADER_BYTES + (self.buf.len() - HEADER_BYTES - new_len) / 2;
            self.buf.copy_within(start..start + len, new_start);
            self.buf.copy_within(new_start + at..new_start + len, new_start + at + bytes);
            new_start
        }
    }

    /// As `open_slowly`, in a larger buffer.
    fn grow(&mut self, at: usize, bytes: usize, growth: Growth) -> usize {
        let Header { start, len, count } = self.header();
        let new_len = len + bytes;
        let wanted = match growth {
            Growth::Tight => 0,
            Growth::Ahead => self.buf.len() + 1,
            Growth::Doubling(bytes_max) => (2 * self.buf.len()).min(bytes_max),
        };
        let size = class_bytes(class_for(wanted.max(HEADER_BYTES + new_len))).min(BUF_BYTES_MAX);
        let mut buf = vec![0; size].into_boxed_slice();
        // What is pushed at the front has the front's room.
        let new_start = if at == 0 { buf.len() - new_len } else { HEADER_BYTES };
        let elements = &self.buf[start..start + len];
        buf[new_start..new_start + at].copy_from_slice(&elements[..at]);
        buf[new_start + at + bytes..new_start + new_len].copy_from_slice(&elements[at..]);
        self.buf = buf;
        self.set_header(Header { start: new_start, len: new_len, count });
        new_start
    }

    /// Takes these bytes out, which hold this many elements.
    fn close(&mut self, bytes: Range<usize>, removed: usize) {
        let Header { start, len, count } = self.header();
        let gap = bytes.len();
        let new_start = if bytes.start < len - bytes.end {
            self.buf.copy_within(start..start + bytes.start, start + gap);
            start + gap
        } else {
            self.buf.copy_within(start + bytes.end..start + len, start + bytes.start);
            start
        };
        self.set_header(Header { start: new_start, len: len - gap, count: count - removed });
    }
}

/// Numbers and places of the elements that equal the needle.
fn matches<'a>(elements: &'a [u8], needle: &'a Needle<'_>) -> impl Iterator<Item = (usize, usize)> + 'a {
    let (mut index, mut at) = (0, 0);
    std::iter::from_fn(move || {
        while at < elements.len() {
            let place = (index, at);
            let is_match = needle.is(item(&elements[at..]));
            at += element_bytes(&elements[at..]);
            index += 1;
            if is_match {
                return Some(place);
            }
        }
        None
    })
}

/// A copy takes no more room than it needs.
impl Clone for Run {
    fn clone(&self) -> Run {
        Run::of_elements(self.elements(), self.count())
    }
}
