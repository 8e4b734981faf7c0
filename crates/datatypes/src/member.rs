//! A string as an element of a big set, in 8 bytes: integers and up to 7 bytes lie in the word itself, longer strings
//! behind a thin pointer. Owns this layout and nothing else.
//!
//! Unsafe island: the word is an integer, an array of bytes or a pointer, told apart by its low bits.
//!
//! ```text
//! word     63 …                           2 1 0
//!          ┌───────────────────────────────┬───┐
//!          │ integer                       │  1│   canonical integers of 63 bits
//!          ├──────────────────┬──────┬─────┴───┤
//!          │ 7 bytes          │ len  │      010│   other strings of up to 7 bytes; the first byte lies lowest
//!          ├──────────────────┴──────┴─────────┤
//!          │ address                       000 │   everything else
//!          └───────────────────────────────────┘
//!
//! memory   ┌────────────────────────────┬───────┐
//!          │ length, 7 bits a byte, low │ bytes │
//!          │ bits first                 │       │
//!          └────────────────────────────┴───────┘
//! ```
//!
//! Layout invariant, on which every `SAFETY` line below relies: a word with the tag 000 is the address of a live
//! allocation, aligned to 8 and owned by this word alone, that begins with a length and has as many bytes behind it, all
//! of them initialised. One string has one form, so that words without an address are equal when their strings are.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::ptr::{self, NonNull};
use std::{fmt, slice};

use crate::element_hash::element_hash;
use crate::entry::class::allocated_bytes;
use crate::listpack::Item;
use crate::prefetch::prefetch_address;
use crate::release::{effort_of, shorter};
use crate::table::Keyed;

const INT_TAG: usize = 0b001;
const INLINE_TAG: usize = 0b010;
const TAG_MASK: usize = 0b111;
/// Longest string inside the word.
const INLINE_BYTES_MAX: usize = 7;
const ALIGN: usize = 8;
/// Bytes of the longest length: 10 × 7 bits hold any.
pub(crate) const LEN_BYTES_MAX: usize = 10;

const _: () = assert!(usize::BITS == 64, "a member is a word of 64 bits");
const _: () = assert!(cfg!(target_endian = "little"), "the bytes in a word begin at its lowest");

/// An owned string. Eight bytes; `Option<Member>` too.
pub struct Member {
    word: NonNull<u8>,
}

// SAFETY: the allocation, if there is one, is owned by the word alone and holds bytes.
unsafe impl Send for Member {}
// SAFETY: `&Member` only reads; there is no interior mutability.
unsafe impl Sync for Member {}

impl Member {
    pub fn new(bytes: &[u8]) -> Member {
        match Item::of(bytes) {
            Item::Int(int) if fits(int) => Member::int(int),
            _ if bytes.len() <= INLINE_BYTES_MAX => Member::inline(bytes),
            _ => Member::on_heap(bytes),
        }
    }

    pub fn of(item: Item<'_>) -> Member {
        match item {
            Item::Int(int) if fits(int) => Member::int(int),
            item => Member::new(item.as_bytes(&mut itoa::Buffer::new())),
        }
    }

    /// The string: an integer if it is the canonical text of one.
    #[inline]
    pub fn item(&self) -> Item<'_> {
        let word = self.bits();
        if word & INT_TAG != 0 {
            return Item::Int(word as i64 >> 1);
        }
        if word & TAG_MASK == INLINE_TAG {
            return Item::Bytes(self.inline_bytes());
        }
        Item::of(self.heap_string())
    }

    fn int(int: i64) -> Member {
        Member::without_memory((int as usize) << 1 | INT_TAG)
    }

    fn inline(bytes: &[u8]) -> Member {
        let mut word = [0; 8];
        word[0] = (bytes.len() << 3 | INLINE_TAG) as u8;
        word[1..=bytes.len()].copy_from_slice(bytes);
        Member::without_memory(usize::from_le_bytes(word))
    }

    fn without_memory(word: usize) -> Member {
        let word = NonNull::new(ptr::without_provenance_mut(word));
        Member { word: word.expect("a tag is not zero") }
    }

    fn on_heap(bytes: &[u8]) -> Member {
        let (len_bytes, head) = len_bytes(bytes.len(), 1);
        let layout = layout_of(head + bytes.len());
        // SAFETY: the layout has room for the length at least, so it is not empty.
        let base = unsafe { alloc(layout) };
        let Some(word) = NonNull::new(base) else { handle_alloc_error(layout) };
        // SAFETY: the allocation is fresh and `head + bytes.len()` bytes long, all of which are written here.
        unsafe {
            ptr::copy_nonoverlapping(len_bytes.as_ptr(), base, head);
            ptr::copy_nonoverlapping(bytes.as_ptr(), base.add(head), bytes.len());
        }
        Member { word }
    }

    #[inline]
    fn bits(&self) -> usize {
        self.word.addr().get()
    }

    #[inline]
    fn is_on_heap(&self) -> bool {
        self.bits() & TAG_MASK == 0
    }

    #[inline]
    fn inline_bytes(&self) -> &[u8] {
        debug_assert_eq!(self.bits() & TAG_MASK, INLINE_TAG);
        let len = self.bits() >> 3 & INLINE_BYTES_MAX;
        let base = (&raw const self.word).cast::<u8>();
        // SAFETY: the seven bytes behind the word's lowest one are part of the word, which is borrowed.
        unsafe { slice::from_raw_parts(base.add(1), len) }
    }

    /// Length of the string behind the address, and how many bytes this length takes.
    #[inline]
    fn heap_len(&self) -> (usize, usize) {
        debug_assert!(self.is_on_heap());
        let (mut len, mut head) = (0, 0);
        loop {
            // SAFETY: layout invariant: the allocation begins with a length, whose last byte has no upper bit.
            let byte = unsafe { self.word.add(head).read() };
            len |= usize::from(byte & 0x7f) << (7 * head);
            head += 1;
            if byte & 0x80 == 0 {
                return (len, head);
            }
        }
    }

    #[inline]
    fn heap_string(&self) -> &[u8] {
        let (len, head) = self.heap_len();
        // SAFETY: layout invariant: `len` bytes follow the length, and live as long as `self` is borrowed.
        unsafe { slice::from_raw_parts(self.word.as_ptr().add(head), len) }
    }
}

/// A length as it stands before a string, in at least so many bytes.
pub(crate) fn len_bytes(len: usize, bytes_min: usize) -> ([u8; LEN_BYTES_MAX], usize) {
    let mut bytes = [0; LEN_BYTES_MAX];
    let (mut rest, mut head) = (len, 0);
    loop {
        let more = rest >> 7 != 0 || head + 1 < bytes_min;
        bytes[head] = rest as u8 & 0x7f | u8::from(more) << 7;
        head += 1;
        rest >>= 7;
        if !more {
            return (bytes, head);
        }
    }
}

/// Whether an integer has room beside its tag.
#[inline]
fn fits(int: i64) -> bool {
    int << 1 >> 1 == int
}

fn layout_of(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, ALIGN).expect("a string is far below isize::MAX")
}

impl Keyed for Member {
    #[inline]
    fn key_hash(&self) -> u64 {
        element_hash(self.item().as_bytes(&mut itoa::Buffer::new()))
    }

    #[inline]
    fn key_is(&self, key: &[u8]) -> bool {
        if self.is_on_heap() { self.heap_string() == key } else { self.item() == Item::of(key) }
    }

    #[inline]
    fn prefetch(&self) {
        if self.is_on_heap() {
            prefetch_address(self.word.as_ptr());
        }
    }

    fn heap_bytes(&self) -> usize {
        if !self.is_on_heap() {
            return 0;
        }
        let (len, head) = self.heap_len();
        allocated_bytes(head + len)
    }

    fn cut(&mut self) -> Option<usize> {
        if !self.is_on_heap() {
            return None;
        }
        let (len, head) = self.heap_len();
        let new_bytes = shorter(head + len)?;
        // The length keeps its bytes, so that the string stays where it is.
        let (len_bytes, _) = len_bytes(new_bytes - head, head);
        // SAFETY: layout invariant: the word owns the allocation, made with this layout; the new size is not zero, and the
        // length, which takes as many bytes as before, is that of the string which remains.
        let base = unsafe {
            ptr::copy_nonoverlapping(len_bytes.as_ptr(), self.word.as_ptr(), head);
            realloc(self.word.as_ptr(), layout_of(head + len), new_bytes)
        };
        let Some(word) = NonNull::new(base) else { handle_alloc_error(layout_of(new_bytes)) };
        self.word = word;
        Some(effort_of(head + len - new_bytes))
    }
}

impl Clone for Member {
    fn clone(&self) -> Member {
        if self.is_on_heap() { Member::on_heap(self.heap_string()) } else { Member { word: self.word } }
    }
}

impl Drop for Member {
    #[inline]
    fn drop(&mut self) {
        if self.is_on_heap() {
            let (len, head) = self.heap_len();
            // SAFETY: layout invariant: the word owns the allocation, made with this layout; nobody can use it after
            // this.
            unsafe { dealloc(self.word.as_ptr(), layout_of(head + len)) };
        }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.item().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], heap_bytes: usize) {
        let member = Member::new(bytes);
        assert_eq!(member.item(), Item::of(bytes));
        assert_eq!(member.item().to_vec(), bytes);
        assert_eq!(member.heap_bytes(), heap_bytes, "{}", bytes.escape_ascii());
        assert_eq!(member.key_hash(), element_hash(bytes));
        assert!(member.key_is(bytes));
        let mut longer = bytes.to_vec();
        longer.push(b'x');
        assert!(!member.key_is(&longer));
        if let Some((last, shorter)) = bytes.split_last() {
            assert!(!member.key_is(shorter));
            assert!(!member.key_is(&[shorter, &[last ^ 1]].concat()));
        }
        let copy = member.clone();
        assert_eq!(Member::of(member.item()).item(), copy.item());
        drop(member);
        assert_eq!(copy.item().to_vec(), bytes);
    }

    #[test]
    fn takes_a_word() {
        assert_eq!(size_of::<Option<Member>>(), 8);
    }

    #[test]
    fn short_strings_and_integers_need_no_memory() {
        for text in
            ["", "a", "abcdefg", "\0", "\0\0\0\0\0\0\0", "007", "-0", "+1", "1.5", "0", "-1", "12345678"]
        {
            check(text.as_bytes(), 0);
        }
        check(&[0xff; 7], 0);
        for int in [1 << 61, (1 << 62) - 1, -(1 << 62)] {
            check(i64::to_string(&int).as_bytes(), 0);
        }
    }

    #[test]
    fn everything_else_lies_behind_the_pointer() {
        for int in [1 << 62, -(1 << 62) - 1, i64::MAX, i64::MIN] {
            check(i64::to_string(&int).as_bytes(), 32);
        }
        check(b"abcdefgh", 16);
        check(b"9223372036854775808", 32);
        check(&[b'x'; 15], 16);
        check(&[b'x'; 16], 32);
        check(&[b'x'; 127], 128);
        check(&[b'x'; 128], 160);
        check(&[0xff; 16_382], 16_384);
        check(&[0xff; 16_383], 20_480);
    }
}
