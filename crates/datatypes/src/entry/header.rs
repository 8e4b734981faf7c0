//! The 8-byte header of an entry as a value: bit packing only, no memory access.
//!
//! ```text
//! bits  0..24  access clock (LRU seconds, or LFU minutes + counter)
//!      24..32  class number of the allocation
//!      32..40  key length, 255: wide (a word of its own)
//!      40..48  kind (3 bits), words of the payload (2), expiry word present (1),
//!             mutated (1), marked (1)
//!      48..64  length of the embedded value
//! ```

use crate::clock::CLOCK_MASK;
use crate::{Hash, Kind, List, Set, Stream, ZSet};

/// Key lengths from here on are kept in a word of their own.
pub(super) const KEY_LEN_WIDE: usize = 255;

const CLASS_SHIFT: u32 = 24;
const KEY_LEN_SHIFT: u32 = 32;
const FLAGS_SHIFT: u32 = 40;
const VALUE_LEN_SHIFT: u32 = 48;

const KIND_MASK: u8 = 0b0000_0111;
const WORDS_SHIFT: u8 = 3;
const WORDS_MASK: u8 = 0b0001_1000;
const EXPIRY_WORD: u8 = 0b0010_0000;
const MUTATED: u8 = 0b0100_0000;
const MARKED: u8 = 0b1000_0000;

/// Where the value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Bytes behind the key.
    Embedded,
    /// An integer in the payload.
    Int,
    /// What a [`crate::Value`] of the entry's kind has inside, in the payload.
    Owned,
}

impl Form {
    /// Eight-byte words of the payload. An integer is told from a big string, the only other form of that kind, by them.
    #[inline]
    fn payload_words(self, kind: Kind) -> u8 {
        match (self, kind) {
            (Form::Embedded, _) => 0,
            (Form::Int, _) => INT_WORDS,
            (Form::Owned, Kind::String) => BIG_STRING_WORDS,
            (Form::Owned, Kind::List) => words_of::<List>(),
            (Form::Owned, Kind::Set) => words_of::<Set>(),
            (Form::Owned, Kind::ZSet) => words_of::<ZSet>(),
            (Form::Owned, Kind::Hash) => words_of::<Hash>(),
            (Form::Owned, Kind::Stream) => words_of::<Stream>(),
        }
    }
}

const INT_WORDS: u8 = 1;
const BIG_STRING_WORDS: u8 = 2;

const fn words_of<T>() -> u8 {
    assert!(align_of::<T>() <= 8 && size_of::<T>() > 0 && size_of::<T>() <= 24, "two bits tell the words");
    size_of::<T>().div_ceil(8) as u8
}

#[derive(Clone, Copy)]
pub(super) struct Header(u64);

impl Header {
    pub(super) fn new(kind: Kind, form: Form, class: u8, key_len: usize, value_len: usize) -> Header {
        debug_assert!(value_len <= usize::from(u16::MAX));
        let flags = kind as u8 | form.payload_words(kind) << WORDS_SHIFT;
        Header(
            u64::from(class) << CLASS_SHIFT
                | (key_len.min(KEY_LEN_WIDE) as u64) << KEY_LEN_SHIFT
                | u64::from(flags) << FLAGS_SHIFT
                | (value_len as u64) << VALUE_LEN_SHIFT,
        )
    }

    #[inline]
    pub(super) fn from_bits(bits: u64) -> Header {
        Header(bits)
    }

    #[inline]
    pub(super) fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(super) fn clock(self) -> u32 {
        self.0 as u32 & CLOCK_MASK
    }

    #[inline]
    pub(super) fn with_clock(self, clock: u32) -> Header {
        Header(self.0 & !u64::from(CLOCK_MASK) | u64::from(clock & CLOCK_MASK))
    }

    #[inline]
    pub(super) fn class(self) -> u8 {
        (self.0 >> CLASS_SHIFT) as u8
    }

    /// Key length, or `KEY_LEN_WIDE` when it lies in a word of its own.
    #[inline]
    pub(super) fn key_len_short(self) -> usize {
        usize::from((self.0 >> KEY_LEN_SHIFT) as u8)
    }

    #[inline]
    fn flags(self) -> u8 {
        (self.0 >> FLAGS_SHIFT) as u8
    }

    #[inline]
    fn with_flag(self, flag: u8, on: bool) -> Header {
        let bit = u64::from(flag) << FLAGS_SHIFT;
        Header(if on { self.0 | bit } else { self.0 & !bit })
    }

    #[inline]
    pub(super) fn kind(self) -> Kind {
        Kind::from_bits(self.flags() & KIND_MASK)
    }

    #[inline]
    pub(super) fn form(self) -> Form {
        match self.payload_words() {
            0 => Form::Embedded,
            INT_WORDS if self.kind() == Kind::String => Form::Int,
            _ => Form::Owned,
        }
    }

    #[inline]
    fn payload_words(self) -> u8 {
        (self.flags() & WORDS_MASK) >> WORDS_SHIFT
    }

    #[inline]
    pub(super) fn payload_bytes(self) -> usize {
        8 * usize::from(self.payload_words())
    }

    #[inline]
    pub(super) fn has_expiry_word(self) -> bool {
        self.flags() & EXPIRY_WORD != 0
    }

    pub(super) fn with_expiry_word(self, on: bool) -> Header {
        self.with_flag(EXPIRY_WORD, on)
    }

    #[inline]
    pub(super) fn is_mutated(self) -> bool {
        self.flags() & MUTATED != 0
    }

    pub(super) fn with_mutated(self, on: bool) -> Header {
        self.with_flag(MUTATED, on)
    }

    #[inline]
    pub(super) fn is_marked(self) -> bool {
        self.flags() & MARKED != 0
    }

    #[inline]
    pub(super) fn with_marked(self, on: bool) -> Header {
        self.with_flag(MARKED, on)
    }

    #[inline]
    pub(super) fn value_len(self) -> usize {
        usize::from((self.0 >> VALUE_LEN_SHIFT) as u16)
    }

    #[inline]
    pub(super) fn with_value_len(self, value_len: usize) -> Header {
        debug_assert!(value_len <= usize::from(u16::MAX));
        Header(self.0 & !(0xffff << VALUE_LEN_SHIFT) | (value_len as u64) << VALUE_LEN_SHIFT)
    }

    /// Offset of the payload (present unless the value is embedded).
    #[inline]
    pub(super) fn payload_offset(self) -> usize {
        8 + 8 * usize::from(self.has_expiry_word()) + 8 * usize::from(self.key_len_short() == KEY_LEN_WIDE)
    }

    /// Offset of the word with a wide key's length (present if the key is wide).
    #[inline]
    pub(super) fn wide_key_offset(self) -> usize {
        8 + 8 * usize::from(self.has_expiry_word())
    }

    /// Offset of the key's first byte.
    #[inline]
    pub(super) fn key_offset(self) -> usize {
        self.payload_offset() + self.payload_bytes()
    }
}
