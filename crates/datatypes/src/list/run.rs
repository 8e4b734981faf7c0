//! A run: neighbouring elements of a list in one allocation, in the bytes of a listpack but with room on both sides
//! instead of a header, so that neither end is pushed or popped by moving the rest.
//!
//! Owns the room and the bytes. Never knows how large a node may be.
//!
//! ```text
//! ┌──────┬─────────┬───┬─────────┬──────┐
//! │ room │ element │ … │ element │ room │
//! └──────┴─────────┴───┴─────────┴──────┘
//! 0      start           start+len
//! ```

use std::ops::Range;

use super::{End, offset};
use crate::entry::class::{allocated_bytes, class_bytes, class_for};
use crate::listpack::{FRAME_BYTES, Item, Listpack, element_bytes, item, start_before, write_element};

/// Bytes of a run's elements at most: those of a node of 64 KiB.
pub(super) const RUN_BYTES_MAX: usize = (64 << 10) - FRAME_BYTES;
/// Length of an element that fits into a run, with up to eight bytes around it.
pub(super) const ELEMENT_BYTES_MAX: usize = RUN_BYTES_MAX - 8;
/// A new run has room for this.
const NEW_RUN_BYTES: usize = 64;

/// Neighbouring elements of a list.
#[derive(Debug)]
pub(super) struct Run {
    buf: Box<[u8]>,
    start: u16,
    len: u16,
    count: u16,
}

impl Run {
    /// A run of one element.
    pub(super) fn of(item: Item<'_>) -> Run {
        let bytes = Listpack::bytes_for(item);
        let mut run = Run::with_room(bytes.max(NEW_RUN_BYTES), bytes, 1);
        write_element(&mut run.buf, item);
        run
    }

    /// A run of `count` elements.
    pub(super) fn of_elements(elements: &[u8], count: usize) -> Run {
        let mut run = Run::with_room(elements.len(), elements.len(), count);
        run.buf[..elements.len()].copy_from_slice(elements);
        run
    }

    fn with_room(bytes: usize, len: usize, count: usize) -> Run {
        debug_assert!(len <= RUN_BYTES_MAX);
        let buf = vec![0; class_bytes(class_for(bytes))].into_boxed_slice();
        Run { buf, start: 0, len: len as u16, count: count as u16 }
    }

    /// The elements, in the bytes of a listpack.
    #[inline]
    pub(super) fn elements(&self) -> &[u8] {
        let start = usize::from(self.start);
        &self.buf[start..start + usize::from(self.len)]
    }

    /// Number of elements.
    #[inline]
    pub(super) fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// Bytes of the elements.
    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Bytes of a listpack with these elements.
    #[inline]
    pub(super) fn listpack_bytes(&self) -> usize {
        self.len() + FRAME_BYTES
    }

    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        allocated_bytes(self.buf.len())
    }

    /// The first or the last element. A run is never empty while it is in a list.
    #[inline]
    pub(super) fn peek(&self, end: End) -> Item<'_> {
        item(&self.elements()[self.offset_at(end)..])
    }

    /// Adds an element at an end. When the run has to grow, it grows to `bytes_wanted` in steps of two.
    #[inline]
    pub(super) fn push(&mut self, end: End, item: Item<'_>, bytes_wanted: usize) {
        let bytes = Listpack::bytes_for(item);
        let at = match end {
            End::Front => 0,
            End::Back => self.len(),
        };
        self.open(at, bytes, bytes_wanted);
        let start = usize::from(self.start) + at;
        write_element(&mut self.buf[start..], item);
        self.count += 1;
    }

    /// Drops the element at an end.
    #[inline]
    pub(super) fn drop_end(&mut self, end: End) {
        let at = self.offset_at(end);
        let bytes = element_bytes(&self.elements()[at..]);
        if end == End::Front {
            self.start += bytes as u16;
        }
        self.len -= bytes as u16;
        self.count -= 1;
    }

    /// Inserts an element before the one at byte `at`, or at the end.
    pub(super) fn insert(&mut self, at: usize, item: Item<'_>) {
        self.open(at, Listpack::bytes_for(item), 0);
        let start = usize::from(self.start) + at;
        write_element(&mut self.buf[start..], item);
        self.count += 1;
    }

    /// Puts an element in the place of the one at byte `at`.
    pub(super) fn replace(&mut self, at: usize, item: Item<'_>) {
        let (old, new) = (element_bytes(&self.elements()[at..]), Listpack::bytes_for(item));
        if new > old {
            self.open(at, new - old, 0);
        } else {
            self.close(at..at + old - new);
        }
        let start = usize::from(self.start) + at;
        write_element(&mut self.buf[start..], item);
    }

    /// Removes the `count` elements that lie in these bytes.
    pub(super) fn remove(&mut self, bytes: Range<usize>, count: usize) {
        self.close(bytes);
        self.count -= count as u16;
        self.fit();
    }

    /// Takes the elements from byte `at` on away, the first of which has this number. Both parts have elements.
    pub(super) fn split_off(&mut self, at: usize, number: usize) -> Run {
        let rest = Run::of_elements(&self.elements()[at..], self.count() - number);
        self.len = at as u16;
        self.count = number as u16;
        self.fit();
        rest
    }

    /// Adds the elements of another run behind the own ones.
    pub(super) fn append(&mut self, other: &Run) {
        let at = self.len();
        self.open(at, other.len(), 0);
        let start = usize::from(self.start) + at;
        self.buf[start..start + other.len()].copy_from_slice(other.elements());
        self.count += other.count;
    }

    /// Gives room back that the run will not need: it lies between other nodes now.
    pub(super) fn fit(&mut self) {
        if class_for(self.len()) < class_for(self.buf.len()) {
            *self = Run::of_elements(self.elements(), self.count());
        }
    }

    /// Where element number `index` begins, or the end. Walks from the nearer end.
    pub(super) fn offset(&self, index: usize) -> usize {
        offset(self.elements(), self.count(), index)
    }

    /// Where the first or the last element begins.
    #[inline]
    fn offset_at(&self, end: End) -> usize {
        match end {
            End::Front => 0,
            End::Back => start_before(self.elements(), self.len()),
        }
    }

    /// Makes a gap of `bytes` bytes in front of byte `at`; the elements' bytes are counted with it.
    #[inline]
    fn open(&mut self, at: usize, bytes: usize, bytes_wanted: usize) {
        let (start, len) = (usize::from(self.start), self.len());
        let room_behind = self.buf.len() - start - len;
        if at == 0 && start >= bytes {
            self.start -= bytes as u16;
        } else if at == len && room_behind >= bytes {
            // The gap is there already.
        } else {
            self.open_slowly(at, bytes, bytes_wanted);
        }
        self.len += bytes as u16;
    }

    /// As `open`, where bytes have to be moved.
    fn open_slowly(&mut self, at: usize, bytes: usize, bytes_wanted: usize) {
        let (start, len) = (usize::from(self.start), self.len());
        let new_len = len + bytes;
        assert!(new_len <= RUN_BYTES_MAX, "a run of {new_len} bytes");
        let room_behind = self.buf.len() - start - len;
        if self.buf.len() < new_len {
            let doubled = (2 * self.buf.len()).min(bytes_wanted);
            let mut buf = vec![0; class_bytes(class_for(new_len.max(doubled)))];
            // What is pushed at the front has the front's room.
            let new_start = if at == 0 { buf.len() - new_len } else { 0 };
            buf[new_start..new_start + at].copy_from_slice(&self.elements()[..at]);
            buf[new_start + at + bytes..new_start + new_len].copy_from_slice(&self.elements()[at..]);
            self.buf = buf.into_boxed_slice();
            self.start = new_start as u16;
        } else if room_behind >= bytes && at > 0 && (at >= len / 2 || start < bytes) {
            self.buf.copy_within(start + at..start + len, start + at + bytes);
        } else if start >= bytes && at < len {
            self.buf.copy_within(start..start + at, start - bytes);
            self.start -= bytes as u16;
        } else {
            // The room is at the wrong end, or divided: it is shared out anew.
            let new_start = (self.buf.len() - new_len) / 2;
            self.buf.copy_within(start..start + len, new_start);
            self.buf.copy_within(new_start + at..new_start + len, new_start + at + bytes);
            self.start = new_start as u16;
        }
    }

    /// Takes these bytes out.
    fn close(&mut self, bytes: Range<usize>) {
        let (start, len, gap) = (usize::from(self.start), self.len(), bytes.len());
        if bytes.start < len - bytes.end {
            self.buf.copy_within(start..start + bytes.start, start + gap);
            self.start += gap as u16;
        } else {
            self.buf.copy_within(start + bytes.end..start + len, start + bytes.start);
        }
        self.len -= gap as u16;
    }
}

/// A copy takes no more room than it needs.
impl Clone for Run {
    fn clone(&self) -> Run {
        Run::of_elements(self.elements(), self.count())
    }
}
