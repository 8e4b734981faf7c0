//! A member of a big sorted set with its score, in one allocation that the member table owns and the order refers to.
//! Owns this layout and nothing else.
//!
//! Unsafe island: a thin pointer to memory without a Rust type, and handles to it that the compiler does not follow.
//!
//! ```text
//! memory   ┌───────┬────────────────────────────┬───────┐
//!          │ score │ length, 7 bits a byte, low │ bytes │
//!          │ 8     │ bits first                 │       │
//!          └───────┴────────────────────────────┴───────┘
//! ```
//!
//! Layout invariant, on which every `SAFETY` line below relies: the address in a [`Scored`] is a live allocation,
//! aligned to 8 and owned by it alone, that begins with a score and a length and has as many bytes behind them, all of
//! them initialised. A [`Handle`] is a copy of that address; whoever looks through it vouches for its owner.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::ptr::{self, NonNull};
use std::{fmt, slice};

use crate::element_hash::element_hash;
use crate::entry::class::allocated_bytes;
use crate::member::len_bytes;
use crate::prefetch::prefetch_address;
use crate::release::{effort_of, shorter};
use crate::table::Keyed;

const SCORE_BYTES: usize = size_of::<f64>();
const ALIGN: usize = align_of::<f64>();

/// An owned member with its score. Eight bytes.
pub(super) struct Scored {
    base: NonNull<u8>,
}

/// The address of a [`Scored`]. Eight bytes; `Option<Handle>` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Handle(NonNull<u8>);

// SAFETY: the allocation is owned by the pointer alone and holds bytes.
unsafe impl Send for Scored {}
// SAFETY: `&Scored` only reads; there is no interior mutability.
unsafe impl Sync for Scored {}
// SAFETY: a handle alone gives access to nothing: looking through it is unsafe.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Scored {
    pub(super) fn new(member: &[u8], score: f64) -> Scored {
        let (len_bytes, head) = len_bytes(member.len(), 1);
        let layout = layout_of(head, member.len());
        // SAFETY: the layout has room for the score at least, so it is not empty.
        let address = unsafe { alloc(layout) };
        let Some(base) = NonNull::new(address) else { handle_alloc_error(layout) };
        // SAFETY: the allocation is fresh, aligned for a score, and as long as score, length and member, all of which
        // are written here.
        unsafe {
            address.cast::<f64>().write(score);
            ptr::copy_nonoverlapping(len_bytes.as_ptr(), address.add(SCORE_BYTES), head);
            ptr::copy_nonoverlapping(member.as_ptr(), address.add(SCORE_BYTES + head), member.len());
        }
        Scored { base }
    }

    #[inline]
    pub(super) fn handle(&self) -> Handle {
        Handle(self.base)
    }

    #[inline]
    pub(super) fn member(&self) -> &[u8] {
        // SAFETY: `self` owns what its handle refers to, and is borrowed for the result's lifetime.
        unsafe { self.handle().member() }
    }

    #[inline]
    pub(super) fn score(&self) -> f64 {
        // SAFETY: layout invariant: the allocation begins with the score.
        unsafe { self.base.cast::<f64>().read() }
    }

    /// Bytes of the length, and of the member.
    #[inline]
    fn lens(&self) -> (usize, usize) {
        // SAFETY: `self` owns what its handle refers to.
        unsafe { self.handle().lens() }
    }
}

impl Handle {
    /// # Safety
    /// The owner must be alive, and stay so for as long as the result is used.
    #[inline]
    pub(super) unsafe fn member<'a>(self) -> &'a [u8] {
        // SAFETY: layout invariant: the bytes follow the length; the caller vouches for their owner.
        unsafe {
            let (head, len) = self.lens();
            slice::from_raw_parts(self.0.as_ptr().add(SCORE_BYTES + head), len)
        }
    }

    /// # Safety
    /// The owner must be alive, and nobody may look at it meanwhile.
    #[inline]
    pub(super) unsafe fn set_score(self, score: f64) {
        // SAFETY: layout invariant: the allocation begins with the score; the caller vouches for its owner.
        unsafe { self.0.cast::<f64>().write(score) };
    }

    /// Loads the member's first cache line ahead of its use.
    #[inline]
    pub(super) fn prefetch(self) {
        prefetch_address(self.0.as_ptr());
    }

    /// # Safety
    /// The owner must be alive.
    #[inline]
    unsafe fn lens(self) -> (usize, usize) {
        let (mut len, mut head) = (0, 0);
        loop {
            // SAFETY: layout invariant: behind the score lies a length, whose last byte has no upper bit.
            let byte = unsafe { self.0.add(SCORE_BYTES + head).read() };
            len |= usize::from(byte & 0x7f) << (7 * head);
            head += 1;
            if byte & 0x80 == 0 {
                return (head, len);
            }
        }
    }
}

fn layout_of(head: usize, len: usize) -> Layout {
    Layout::from_size_align(SCORE_BYTES + head + len, ALIGN).expect("a member is far below isize::MAX")
}

impl Keyed for Scored {
    #[inline]
    fn key_hash(&self) -> u64 {
        element_hash(self.member())
    }

    #[inline]
    fn key_is(&self, key: &[u8]) -> bool {
        self.member() == key
    }

    #[inline]
    fn heap_bytes(&self) -> usize {
        let (head, len) = self.lens();
        allocated_bytes(layout_of(head, len).size())
    }

    /// Handles do not survive it.
    fn cut(&mut self) -> Option<usize> {
        let (head, len) = self.lens();
        let layout = layout_of(head, len);
        let new_bytes = shorter(layout.size())?;
        // The length keeps its bytes, so that the member stays where it is.
        let (len_bytes, _) = len_bytes(new_bytes - SCORE_BYTES - head, head);
        // SAFETY: layout invariant: `self` owns the allocation, made with this layout; the new size is not zero, and the
        // length, which takes as many bytes as before, is that of the member which remains.
        let base = unsafe {
            ptr::copy_nonoverlapping(len_bytes.as_ptr(), self.base.as_ptr().add(SCORE_BYTES), head);
            realloc(self.base.as_ptr(), layout, new_bytes)
        };
        let Some(base) = NonNull::new(base) else {
            handle_alloc_error(layout_of(head, new_bytes - SCORE_BYTES - head))
        };
        self.base = base;
        Some(effort_of(layout.size() - new_bytes))
    }

    #[inline]
    fn prefetch(&self) {
        prefetch_address(self.base.as_ptr());
    }
}

impl Clone for Scored {
    fn clone(&self) -> Scored {
        Scored::new(self.member(), self.score())
    }
}

impl Drop for Scored {
    #[inline]
    fn drop(&mut self) {
        let (head, len) = self.lens();
        // SAFETY: layout invariant: `self` owns the allocation, made with this layout; nobody can use it after this.
        unsafe { dealloc(self.base.as_ptr(), layout_of(head, len)) };
    }
}

impl fmt::Debug for Scored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.member().escape_ascii(), self.score())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_members_of_all_lengths() {
        for (len, heap_bytes) in
            [(0, 16), (7, 16), (8, 32), (23, 32), (127, 160), (128, 160), (16_384, 20_480)]
        {
            let bytes: Vec<u8> = (0..len).map(|index| index as u8).collect();
            let scored = Scored::new(&bytes, 1.5);
            assert_eq!((scored.member(), scored.score()), (&bytes[..], 1.5));
            assert!(scored.key_is(&bytes) && !scored.key_is(b"other"));
            assert_eq!(scored.heap_bytes(), heap_bytes, "{len}");
            assert_eq!(scored.key_hash(), element_hash(&bytes));
            let copy = scored.clone();
            // SAFETY: the owner is alive, and no reference into it is held.
            unsafe { scored.handle().set_score(-2.0) };
            assert_eq!((scored.score(), copy.score()), (-2.0, 1.5));
            drop(scored);
            assert_eq!(copy.member(), bytes);
        }
    }

    #[test]
    fn a_very_large_one_goes_in_pieces() {
        let mut scored = Scored::new(&vec![b'x'; 9 << 20], 1.5);
        let (mut pieces, mut bytes) = (0, scored.heap_bytes());
        while scored.cut().is_some() {
            assert!(scored.heap_bytes() < bytes && scored.score() == 1.5);
            assert!(scored.member().iter().all(|byte| *byte == b'x'));
            (pieces, bytes) = (pieces + 1, scored.heap_bytes());
        }
        assert_eq!((pieces, bytes), (9, 2 << 20));
    }

    #[test]
    fn takes_a_word() {
        assert_eq!((size_of::<Option<Scored>>(), size_of::<Option<Handle>>()), (8, 8));
    }
}
