//! The 8-byte header of an entry as a value: bit packing only, no memory access.
//!
//! ```text
//! bits  0..24  access clock (LRU seconds, or LFU minutes + counter)
//!      24..32  class number of the allocation
//!      32..40  key length, 255: wide (a word of its own)
//!      40..48  kind (3 bits), form (2), expiry word present (1), mutated (1),
//!             marked (1)
//!      48..64  length of the embedded value
//! ```

use crate::Kind;
use crate::clock::CLOCK_MASK;

/// Key lengths from here on are kept in a word of their own.
pub(super) const KEY_LEN_WIDE: usize = 255;

const CLASS_SHIFT: u32 = 24;
const KEY_LEN_SHIFT: u32 = 32;
const FLAGS_SHIFT: u32 = 40;
const VALUE_LEN_SHIFT: u32 = 48;

const KIND_MASK: u8 = 0b0000_0111;
const FORM_SHIFT: u8 = 3;
const FORM_MASK: u8 = 0b0001_1000;
const EXPIRY_WORD: u8 = 0b0010_0000;
const MUTATED: u8 = 0b0100_0000;
const MARKED: u8 = 0b1000_0000;

/// Where the value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Bytes behind the key, inside the entry.
    Embedded = 0,
    /// An integer in the payload word.
    Int = 1,
    /// A `Box<Value>` in the payload word.
    Boxed = 2,
}

#[derive(Clone, Copy)]
pub(super) struct Header(u64);

impl Header {
    pub(super) fn new(kind: Kind, form: Form, class: u8, key_len: usize, value_len: usize) -> Header {
        debug_assert!(value_len <= usize::from(u16::MAX));
        let flags = kind as u8 | (form as u8) << FORM_SHIFT;
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
        match (self.flags() & FORM_MASK) >> FORM_SHIFT {
            0 => Form::Embedded,
            1 => Form::Int,
            _ => Form::Boxed,
        }
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

    /// Offset of the payload word (present unless the value is embedded).
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
        self.payload_offset() + 8 * usize::from(self.form() != Form::Embedded)
    }
}
