//! One key with its value, in one allocation behind an 8-byte handle. Owns the memory layout and nothing else:
//! it never knows in which database or table an entry lies, and never reads a clock.
//!
//! Unsafe island: a handle is a pointer with tag bits, and its allocation has no Rust type. All `unsafe` of the
//! layout is in this file; `header` (bit packing) and `class` (sizes) are safe code.
//!
//! ```text
//! handle   63 volatile │ 62..48 hash bits of the owner │ 47..3 address │ 0 parts of the value expire
//!
//! memory   ┌────────┬─────────────┬───────────────┬──────────┬───────────┬─────────────────┬──────┐
//!          │ header │ expiry (ms) │ key length    │ payload  │ key bytes │ embedded value  │ room │
//!          │ 8      │ 8, if any   │ 8, if ≥ 255   │ 8 to 24, │           │                 │      │
//!          │        │             │               │ if any   │           │                 │      │
//!          └────────┴─────────────┴───────────────┴──────────┴───────────┴─────────────────┴──────┘
//! ```
//!
//! The payload is an `i64` (form `Int`), or what a [`Value`] of the entry's kind has inside (form `Owned`: a `List`, a
//! `Hash`, …; of a big string the box). An 18-byte key with a 64-byte value takes 8 + 18 + 64 = 90 bytes: jemalloc's class
//! of 96. A hash under the same key takes 8 + 16 + 18 = 42 bytes, a class of 48, besides its fields.
//!
//! Layout invariant, on which every `SAFETY` line below relies: the address in the handle is a live allocation of
//! `class_bytes(header.class())` bytes, aligned to 8, owned by this handle alone; the header's lengths and flags
//! describe its content, all of which lies inside the class and is initialised.
#![allow(unsafe_code)]

pub(crate) mod class;
mod header;
mod line;
#[cfg(test)]
mod tests;

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::ptr::NonNull;
use std::{ptr, slice};

use bytes::{Bytes, BytesMut};

use self::class::{class_bytes, class_for};
use self::header::{Form, Header, KEY_LEN_WIDE};
pub use self::line::{LINE_BUCKETS, buckets_with};
use crate::number::{i64_len, parse_i64};
use crate::prefetch::prefetch_address;
use crate::{Encoding, Hash, Kind, List, Set, StrRef, StrValue, Stream, Value, ValueMut, ValueRef, ZSet};

/// Strings of this length and more live in a [`Bytes`] of their own, which readers share without copying.
pub const BIG_STRING_BYTES: usize = 16 * 1024;
/// Longest key (Redis's limit of a string).
pub const KEY_BYTES_MAX: usize = 512 << 20;
/// Longest string that `OBJECT ENCODING` calls `embstr` (Redis 7.2).
const EMBSTR_BYTES_MAX: usize = 44;
/// A value that would need a class this many numbers smaller gets a new allocation instead of the old one's room:
/// four classes are a factor of two.
const SHRINK_CLASSES: u8 = 4;

const ADDRESS_BITS: u32 = 48;
const ADDRESS_MASK: usize = (1 << ADDRESS_BITS) - ALIGN;
const HASH_BITS_MASK: usize = 0x7fff;
const VOLATILE_BIT: usize = 1 << 63;
const PARTS_BIT: usize = 1;
const ALIGN: usize = 8;

const _: () =
    assert!(usize::BITS == 64, "an entry's handle keeps its tag in the upper 16 bits of an address");

/// An owned key with its value, expiry and access clock. Eight bytes; `Option<Entry>` too.
///
/// Besides the address the handle carries 15 bits for the table that holds it ([`Entry::hash_bits`]), whether an expiry
/// is set ([`Entry::is_volatile`]), and whether parts of the value have an expiry of their own
/// ([`Entry::has_volatile_parts`]): all are read without touching the entry's memory.
pub struct Entry {
    word: NonNull<u8>,
}

// SAFETY: the allocation is owned by the handle alone, and everything in it (`Bytes`, `Value`) is `Send`.
unsafe impl Send for Entry where Value: Send {}
// SAFETY: `&Entry` only reads; there is no interior mutability, and `Value` is `Sync`.
unsafe impl Sync for Entry where Value: Sync {}

/// What a new entry is to hold.
enum Payload<'a> {
    Embedded(&'a [u8]),
    Int(i64),
    Owned(Value),
}

impl Entry {
    /// An entry for a string: an integer's canonical text becomes an integer, big strings a shared buffer.
    pub fn string(key: &[u8], value: &[u8], expire_at: Option<i64>) -> Entry {
        Entry::new(key, expire_at, Kind::String, string_payload(value))
    }

    /// As [`Entry::string`]; a big string is taken over without a copy.
    pub fn string_shared(key: &[u8], value: Bytes, expire_at: Option<i64>) -> Entry {
        if value.len() < BIG_STRING_BYTES {
            return Entry::string(key, &value, expire_at);
        }
        Entry::owned(key, Value::Str(Box::new(value)), expire_at)
    }

    /// An entry for a string that is an integer.
    pub fn int(key: &[u8], value: i64, expire_at: Option<i64>) -> Entry {
        Entry::new(key, expire_at, Kind::String, Payload::Int(value))
    }

    /// An entry for a string in whatever form it comes.
    #[inline]
    pub fn of(key: &[u8], value: StrValue<'_>, expire_at: Option<i64>) -> Entry {
        match value {
            StrValue::Bytes(bytes) => Entry::string(key, bytes, expire_at),
            StrValue::Shared(bytes) => Entry::string_shared(key, bytes, expire_at),
            StrValue::Int(int) => Entry::int(key, int, expire_at),
        }
    }

    /// An entry for a value with memory of its own.
    pub fn owned(key: &[u8], value: Value, expire_at: Option<i64>) -> Entry {
        let mut entry = Entry::new(key, expire_at, value.kind(), Payload::Owned(value));
        entry.note_volatile_parts();
        entry
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        let header = self.header();
        // SAFETY: layout invariant: the key's bytes lie there and live as long as `self` is borrowed.
        unsafe { slice::from_raw_parts(self.base().add(header.key_offset()), self.key_len(header)) }
    }

    /// Data type of the value.
    #[inline]
    pub fn kind(&self) -> Kind {
        self.header().kind()
    }

    /// Representation of the value (`OBJECT ENCODING`).
    pub fn encoding(&self) -> Encoding {
        let header = self.header();
        match header.form() {
            Form::Int => Encoding::Int,
            Form::Embedded if header.is_mutated() || header.value_len() > EMBSTR_BYTES_MAX => Encoding::Raw,
            Form::Embedded => Encoding::Embstr,
            Form::Owned => self.owned_value(header).encoding(),
        }
    }

    /// The string value; `None` if the value is not a string.
    #[inline]
    pub fn str_ref(&self) -> Option<StrRef<'_>> {
        let header = self.header();
        match header.form() {
            Form::Embedded => Some(StrRef::Bytes(self.embedded(header))),
            Form::Int => Some(StrRef::Int(self.int_payload(header))),
            Form::Owned => match self.owned_value(header) {
                ValueRef::Str(bytes) => Some(StrRef::Shared(bytes)),
                _ => None,
            },
        }
    }

    /// The value, if it has memory of its own (every collection, and big strings).
    #[inline]
    pub fn value(&self) -> Option<ValueRef<'_>> {
        let header = self.header();
        (header.form() == Form::Owned).then(|| self.owned_value(header))
    }

    /// The value for change in place, if it has memory of its own. Call [`Entry::note_volatile_parts`] afterwards.
    #[inline]
    pub fn value_mut(&mut self) -> Option<ValueMut<'_>> {
        let header = self.header();
        if header.form() != Form::Owned {
            return None;
        }
        let payload = self.payload(header);
        // SAFETY: layout invariant: form `Owned` has a value of the header's kind there, aligned to 8; it is owned by this
        // entry, which is borrowed mutably for the result's lifetime.
        Some(unsafe {
            match header.kind() {
                Kind::String => ValueMut::Str(&mut *payload.cast::<Box<Bytes>>()),
                Kind::List => ValueMut::List(&mut *payload.cast()),
                Kind::Set => ValueMut::Set(&mut *payload.cast()),
                Kind::ZSet => ValueMut::ZSet(&mut *payload.cast()),
                Kind::Hash => ValueMut::Hash(&mut *payload.cast()),
                Kind::Stream => ValueMut::Stream(&mut *payload.cast()),
            }
        })
    }

    /// Whether an expiry is set. Does not touch the entry's memory.
    #[inline]
    pub fn is_volatile(&self) -> bool {
        self.word.addr().get() & VOLATILE_BIT != 0
    }

    /// When the key expires, in unix milliseconds. Touches the entry's memory only if an expiry is set.
    #[inline]
    pub fn expire_at(&self) -> Option<i64> {
        // SAFETY: layout invariant: a volatile entry has an expiry word, always at offset 8.
        self.is_volatile().then(|| unsafe { self.base().add(8).cast::<i64>().read() })
    }

    /// Sets or clears the expiry (unix milliseconds). The entry is moved only when it has no word for it yet.
    pub fn set_expire_at(&mut self, expire_at: Option<i64>) {
        let Some(at) = expire_at else {
            // The handle lies in a table: it is written only when it changes, so as not to dirty its cache line.
            if self.is_volatile() {
                self.set_volatile(false);
            }
            return;
        };
        if !self.header().has_expiry_word() {
            self.reshape(None, true);
        }
        // SAFETY: layout invariant: the entry has an expiry word now, always at offset 8.
        unsafe { self.base().add(8).cast::<i64>().write(at) };
        self.set_volatile(true);
    }

    /// Whether parts of the value expire by themselves, as last noted. Does not touch the entry's memory.
    #[inline]
    pub fn has_volatile_parts(&self) -> bool {
        self.word.addr().get() & PARTS_BIT != 0
    }

    /// Whether the key or parts of the value expire. Does not touch the entry's memory.
    #[inline]
    pub fn is_timed(&self) -> bool {
        self.word.addr().get() & (VOLATILE_BIT | PARTS_BIT) != 0
    }

    /// When the first of the value's parts expires. Touches the entry's memory only if some do.
    #[inline]
    pub fn parts_expire_from(&self) -> Option<i64> {
        if self.has_volatile_parts() { self.value().and_then(ValueRef::parts_expire_from) } else { None }
    }

    /// Makes the handle tell whether parts of the value expire by themselves.
    #[inline]
    pub fn note_volatile_parts(&mut self) {
        let on = self.value().is_some_and(|value| value.parts_expire_from().is_some());
        if on != self.has_volatile_parts() {
            self.retag(|word| if on { word | PARTS_BIT } else { word & !PARTS_BIT });
        }
    }

    /// The 15 bits that the owning table keeps in the handle. Does not touch the entry's memory.
    #[inline]
    pub fn hash_bits(&self) -> u16 {
        (self.word.addr().get() >> ADDRESS_BITS & HASH_BITS_MASK) as u16
    }

    /// Replaces the table's 15 bits; the upper bit of `bits` is ignored.
    #[inline]
    pub fn set_hash_bits(&mut self, bits: u16) {
        let bits = (usize::from(bits) & HASH_BITS_MASK) << ADDRESS_BITS;
        self.retag(|word| word & !(HASH_BITS_MASK << ADDRESS_BITS) | bits);
    }

    /// The 24-bit access clock (see [`crate::clock`]).
    #[inline]
    pub fn clock(&self) -> u32 {
        self.header().clock()
    }

    /// Replaces the access clock; only the lower 24 bits of `clock` are kept.
    #[inline]
    pub fn set_clock(&mut self, clock: u32) {
        self.set_header(self.header().with_clock(clock));
    }

    /// One bit for the owner of the table, which stays with the key whatever becomes of its value.
    #[inline]
    pub fn is_marked(&self) -> bool {
        self.header().is_marked()
    }

    /// Replaces that bit.
    #[inline]
    pub fn set_marked(&mut self, on: bool) {
        self.set_header(self.header().with_marked(on));
    }

    /// Bytes that the entry takes from the allocator, everything it owns included. O(1).
    #[inline]
    pub fn size_bytes(&self) -> usize {
        let header = self.header();
        let behind = match header.form() {
            Form::Owned => self.owned_value(header).heap_bytes(),
            _ => 0,
        };
        class_bytes(header.class()) + behind
    }

    /// Loads the entry's first two cache lines ahead of their use.
    #[inline]
    pub fn prefetch(&self) {
        let base = self.base();
        prefetch_address(base);
        prefetch_address(base.wrapping_add(64));
    }

    /// Replaces the value by a string, in place if the allocation suits. Expiry, clock and key stay.
    #[inline]
    pub fn set_string(&mut self, value: &[u8]) {
        let header = self.header();
        if header.form() == Form::Embedded && value.len() < BIG_STRING_BYTES {
            let value_offset = self.value_offset(header);
            let needed = value_offset + value.len();
            let suits =
                needed <= class_bytes(header.class()) && class_for(needed) + SHRINK_CLASSES > header.class();
            if suits && parse_i64(value).is_none() {
                // SAFETY: layout invariant, and `needed` bytes fit the class; `value` cannot overlap, since
                // `self` is borrowed mutably.
                unsafe {
                    let target = self.base().add(value_offset);
                    ptr::copy_nonoverlapping(value.as_ptr(), target, value.len());
                }
                self.set_header(header.with_value_len(value.len()).with_mutated(false));
                return;
            }
        }
        self.replace_payload(Kind::String, string_payload(value));
    }

    /// As [`Entry::set_string`]; a big string is taken over without a copy.
    pub fn set_string_shared(&mut self, value: Bytes) {
        if value.len() < BIG_STRING_BYTES {
            return self.set_string(&value);
        }
        match self.value_mut() {
            Some(ValueMut::Str(shared)) => *shared = value,
            _ => self.replace_payload(Kind::String, Payload::Owned(Value::Str(Box::new(value)))),
        }
    }

    /// Replaces the value by an integer. Expiry, clock and key stay.
    pub fn set_int(&mut self, value: i64) {
        let header = self.header();
        if header.form() != Form::Int {
            return self.replace_payload(Kind::String, Payload::Int(value));
        }
        // SAFETY: layout invariant: form `Int` has its payload word there.
        unsafe { self.payload(header).cast::<i64>().write(value) };
    }

    /// Replaces the value by a string in whatever form it comes. Expiry, clock and key stay.
    #[inline]
    pub fn set(&mut self, value: StrValue<'_>) {
        match value {
            StrValue::Bytes(bytes) => self.set_string(bytes),
            StrValue::Shared(bytes) => self.set_string_shared(bytes),
            StrValue::Int(int) => self.set_int(int),
        }
    }

    /// Leaves an empty string under the key, and returns the value with memory of its own (none: an empty string) in an
    /// entry without a key. Expiry, clock and table bits stay.
    pub fn split_off(&mut self) -> Entry {
        let mut rest = Entry::new(self.key(), self.expire_at(), Kind::String, Payload::Embedded(b""));
        rest.take_marks_of(self);
        let mut value = std::mem::replace(self, rest);
        if value.value().is_none() {
            return Entry::string(b"", b"", None);
        }
        value.reshape(Some(b""), false);
        value.note_volatile_parts();
        value
    }

    /// Appends to a string value and returns its new length. Amortised O(`data`).
    ///
    /// Panics if the value is not a string.
    pub fn append(&mut self, data: &[u8]) -> usize {
        let old_len = self.str_ref().expect("append needs a string value").len();
        let new_len = old_len + data.len();
        self.edit_string(new_len, |bytes| bytes[old_len..].copy_from_slice(data));
        new_len
    }

    /// Makes a string value at least `len_min` bytes long (filled up with zeros) and lends its bytes for change.
    /// The encoding becomes `raw`. A big string that a reader still shares is copied first.
    ///
    /// Panics if the value is not a string.
    pub fn edit_string<R>(&mut self, len_min: usize, edit: impl FnOnce(&mut [u8]) -> R) -> R {
        if self.header().form() != Form::Owned {
            self.make_mutable(len_min);
        }
        let header = self.header();
        if header.form() == Form::Embedded {
            return edit(self.embedded_mut(header));
        }
        let Some(ValueMut::Str(shared)) = self.value_mut() else {
            panic!("edit_string needs a string value")
        };
        let mut buffer = match std::mem::take(shared).try_into_mut() {
            Ok(own) => own,
            Err(foreign) => {
                let mut copy = BytesMut::with_capacity(foreign.len().max(len_min));
                copy.extend_from_slice(&foreign);
                copy
            }
        };
        if buffer.len() < len_min {
            buffer.resize(len_min, 0);
        }
        let result = edit(&mut buffer);
        *shared = buffer.freeze();
        result
    }

    /// Gives the entry another key; the value stays as it is.
    pub fn rename(&mut self, key: &[u8]) {
        self.reshape(Some(key), self.is_volatile());
    }

    /// A copy of the value and expiry under `key`; the clock is copied too, the table's bits are not.
    pub fn duplicate(&self, key: &[u8]) -> Entry {
        let header = self.header();
        let payload = match header.form() {
            Form::Embedded => Payload::Embedded(self.embedded(header)),
            Form::Int => Payload::Int(self.int_payload(header)),
            Form::Owned => Payload::Owned(self.owned_value(header).to_value()),
        };
        let mut copy = Entry::new(key, self.expire_at(), header.kind(), payload);
        copy.set_clock(header.clock());
        copy.note_volatile_parts();
        copy
    }

    fn new(key: &[u8], expire_at: Option<i64>, kind: Kind, payload: Payload<'_>) -> Entry {
        let (form, value) = match &payload {
            Payload::Embedded(bytes) => (Form::Embedded, *bytes),
            Payload::Int(_) => (Form::Int, &[][..]),
            Payload::Owned(_) => (Form::Owned, &[][..]),
        };
        let mut entry = Entry::allocate(key, expire_at.is_some(), kind, form, value.len(), 0);
        let header = entry.header();
        let target = entry.payload(header);
        // SAFETY: layout invariant: `allocate` made room for all parts that the header describes, the payload aligned to 8;
        // `value` is not part of the new allocation. The kind is the value's own.
        unsafe {
            match payload {
                Payload::Embedded(_) => {
                    let target = entry.base().add(entry.value_offset(header));
                    ptr::copy_nonoverlapping(value.as_ptr(), target, value.len());
                }
                Payload::Int(int) => target.cast::<i64>().write(int),
                Payload::Owned(value) => {
                    assert!(value.kind() == kind, "a value of another kind than the entry's");
                    match value {
                        Value::Str(bytes) => target.cast::<Box<Bytes>>().write(bytes),
                        Value::List(list) => target.cast::<List>().write(list),
                        Value::Set(set) => target.cast::<Set>().write(set),
                        Value::ZSet(zset) => target.cast::<ZSet>().write(zset),
                        Value::Hash(hash) => target.cast::<Hash>().write(hash),
                        Value::Stream(stream) => target.cast::<Stream>().write(stream),
                    }
                }
            }
        }
        if expire_at.is_some() {
            entry.set_expire_at(expire_at);
        }
        entry
    }

    /// A new allocation with header, key (and its length, if wide) written; expiry word, payload and value
    /// bytes are left to the caller, with `room` bytes behind the value.
    fn allocate(
        key: &[u8],
        expiry_word: bool,
        kind: Kind,
        form: Form,
        value_len: usize,
        room: usize,
    ) -> Entry {
        assert!(key.len() <= KEY_BYTES_MAX, "key longer than {KEY_BYTES_MAX} bytes");
        let header = Header::new(kind, form, 0, key.len(), value_len).with_expiry_word(expiry_word);
        let used = header.key_offset() + key.len() + value_len;
        let class = class_for(used + room);
        let header = Header::new(kind, form, class, key.len(), value_len).with_expiry_word(expiry_word);
        let layout = layout_of(class);
        // SAFETY: every class has at least 16 bytes, so the layout is not empty.
        let base = unsafe { alloc(layout) };
        let Some(base) = NonNull::new(base) else { handle_alloc_error(layout) };
        assert!(base.addr().get() & !ADDRESS_MASK == 0, "address beyond 48 bits");
        // SAFETY: the allocation is fresh, aligned to 8, and at least `used` bytes long; the offsets come from
        // the header whose layout was used to compute `used`.
        unsafe {
            base.cast::<u64>().write(header.bits());
            if header.key_len_short() == KEY_LEN_WIDE {
                base.add(header.wide_key_offset()).cast::<u64>().write(key.len() as u64);
            }
            ptr::copy_nonoverlapping(key.as_ptr(), base.as_ptr().add(header.key_offset()), key.len());
        }
        Entry { word: base }
    }

    /// Moves the value to a new allocation with another key and/or an expiry word added or dropped.
    fn reshape(&mut self, key: Option<&[u8]>, expiry_word: bool) {
        let header = self.header();
        let key = key.unwrap_or(self.key());
        let mut moved =
            Entry::allocate(key, expiry_word, header.kind(), header.form(), header.value_len(), 0);
        let target = moved.header();
        // SAFETY: layout invariant on both entries, which have the same kind and form, so payloads of one size. The payload
        // is moved, not copied: the old allocation is freed below without dropping its value.
        unsafe {
            if header.form() == Form::Embedded {
                let value = self.embedded(header);
                let to = moved.base().add(moved.value_offset(target));
                ptr::copy_nonoverlapping(value.as_ptr(), to, value.len());
            } else {
                ptr::copy_nonoverlapping(self.payload(header), moved.payload(target), header.payload_bytes());
            }
        }
        moved.set_header(target.with_mutated(header.is_mutated()));
        if let (Some(at), true) = (self.expire_at(), expiry_word) {
            moved.set_expire_at(Some(at));
        }
        moved.take_marks_of(self);
        if self.has_volatile_parts() {
            moved.retag(|word| word | PARTS_BIT);
        }
        let old = std::mem::replace(self, moved);
        // SAFETY: layout invariant; the value has moved, so only the memory is given back, and `old` is forgotten.
        unsafe { dealloc(old.base(), layout_of(header.class())) };
        std::mem::forget(old);
    }

    /// A new allocation for another value under the same key, expiry, clock and table bits.
    fn replace_payload(&mut self, kind: Kind, payload: Payload<'_>) {
        let mut new = Entry::new(self.key(), self.expire_at(), kind, payload);
        new.take_marks_of(self);
        *self = new;
    }

    /// Clock, mark and table bits of another entry.
    fn take_marks_of(&mut self, other: &Entry) {
        self.set_clock(other.clock());
        self.set_marked(other.is_marked());
        self.set_hash_bits(other.hash_bits());
    }

    /// Turns an integer or embedded string into bytes that can be changed, at least `len_min` long.
    /// Becomes a big string where `len_min` asks for one. From the second change on, growth leaves room behind.
    fn make_mutable(&mut self, len_min: usize) {
        let header = self.header();
        let mut text = itoa::Buffer::new();
        let (old_len, was_int) = match header.form() {
            Form::Embedded => (header.value_len(), false),
            _ => (i64_len(self.int_payload(header)), true),
        };
        let len = old_len.max(len_min);
        if !was_int
            && len < BIG_STRING_BYTES
            && self.value_offset(header) + len <= class_bytes(header.class())
        {
            let header = header.with_value_len(len).with_mutated(true);
            // SAFETY: layout invariant, and `len` bytes of value fit the class; the bytes between the old and
            // the new length are initialised here, before the header tells of them.
            unsafe {
                let value = self.base().add(self.value_offset(header));
                ptr::write_bytes(value.add(old_len), 0, len - old_len);
            }
            self.set_header(header);
            return;
        }
        let old: &[u8] = match header.form() {
            Form::Embedded => self.embedded(header),
            _ => text.format(self.int_payload(header)).as_bytes(),
        };
        if len >= BIG_STRING_BYTES {
            let mut buffer = BytesMut::with_capacity(len);
            buffer.extend_from_slice(old);
            buffer.resize(len, 0);
            return self.replace_payload(Kind::String, Payload::Owned(Value::Str(Box::new(buffer.freeze()))));
        }
        let room = if header.is_mutated() { len / 2 } else { 0 };
        let mut new =
            Entry::allocate(self.key(), self.is_volatile(), Kind::String, Form::Embedded, len, room);
        let target = new.header();
        // SAFETY: layout invariant: `allocate` left `len` bytes for the value, all written here.
        unsafe {
            let value = new.base().add(new.value_offset(target));
            ptr::copy_nonoverlapping(old.as_ptr(), value, old.len());
            ptr::write_bytes(value.add(old.len()), 0, len - old.len());
        }
        new.set_header(target.with_mutated(true));
        if let Some(at) = self.expire_at() {
            new.set_expire_at(Some(at));
        }
        new.take_marks_of(self);
        *self = new;
    }

    #[inline]
    fn base(&self) -> *mut u8 {
        self.word.as_ptr().map_addr(|word| word & ADDRESS_MASK)
    }

    #[inline]
    fn retag(&mut self, tag: impl FnOnce(usize) -> usize) {
        let word = self.word.as_ptr().map_addr(tag);
        self.word = NonNull::new(word).expect("the address bits are never zero");
    }

    fn set_volatile(&mut self, on: bool) {
        self.retag(|word| if on { word | VOLATILE_BIT } else { word & !VOLATILE_BIT });
    }

    #[inline]
    fn header(&self) -> Header {
        // SAFETY: layout invariant: the first word is the header.
        Header::from_bits(unsafe { self.base().cast::<u64>().read() })
    }

    #[inline]
    fn set_header(&mut self, header: Header) {
        // SAFETY: layout invariant: the first word is the header.
        unsafe { self.base().cast::<u64>().write(header.bits()) };
    }

    #[inline]
    fn key_len(&self, header: Header) -> usize {
        let short = header.key_len_short();
        if short < KEY_LEN_WIDE {
            return short;
        }
        // SAFETY: layout invariant: a wide key has its length there.
        unsafe { self.base().add(header.wide_key_offset()).cast::<u64>().read() as usize }
    }

    /// Offset of an embedded value's first byte.
    #[inline]
    fn value_offset(&self, header: Header) -> usize {
        header.key_offset() + self.key_len(header)
    }

    #[inline]
    fn embedded(&self, header: Header) -> &[u8] {
        let offset = self.value_offset(header);
        // SAFETY: layout invariant: the embedded value lies behind the key.
        unsafe { slice::from_raw_parts(self.base().add(offset), header.value_len()) }
    }

    fn embedded_mut(&mut self, header: Header) -> &mut [u8] {
        let offset = self.value_offset(header);
        // SAFETY: as in `embedded`, and `self` is borrowed mutably for the result's lifetime.
        unsafe { slice::from_raw_parts_mut(self.base().add(offset), header.value_len()) }
    }

    #[inline]
    fn int_payload(&self, header: Header) -> i64 {
        debug_assert_eq!(header.form(), Form::Int);
        // SAFETY: layout invariant: form `Int` has its payload word there.
        unsafe { self.payload(header).cast::<i64>().read() }
    }

    /// Where the payload is, if there is one.
    #[inline]
    fn payload(&self, header: Header) -> *mut u8 {
        // SAFETY: layout invariant: the header, expiry word and length word that lie in front of it are in the allocation.
        unsafe { self.base().add(header.payload_offset()) }
    }

    #[inline]
    fn owned_value(&self, header: Header) -> ValueRef<'_> {
        debug_assert_eq!(header.form(), Form::Owned);
        let payload = self.payload(header);
        // SAFETY: layout invariant: form `Owned` has a value of the header's kind there, aligned to 8; it is owned by this
        // entry, borrowed for the result's lifetime.
        unsafe {
            match header.kind() {
                Kind::String => ValueRef::Str(&*payload.cast::<Box<Bytes>>()),
                Kind::List => ValueRef::List(&*payload.cast()),
                Kind::Set => ValueRef::Set(&*payload.cast()),
                Kind::ZSet => ValueRef::ZSet(&*payload.cast()),
                Kind::Hash => ValueRef::Hash(&*payload.cast()),
                Kind::Stream => ValueRef::Stream(&*payload.cast()),
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let header = self.header();
        // SAFETY: layout invariant: the handle owns the allocation, and the value in it if there is one; nobody can use
        // either after this.
        unsafe {
            match self.value_mut() {
                None => {}
                Some(ValueMut::Str(_)) => ptr::drop_in_place(self.payload(header).cast::<Box<Bytes>>()),
                Some(ValueMut::List(list)) => ptr::drop_in_place(list),
                Some(ValueMut::Set(set)) => ptr::drop_in_place(set),
                Some(ValueMut::ZSet(zset)) => ptr::drop_in_place(zset),
                Some(ValueMut::Hash(hash)) => ptr::drop_in_place(hash),
                Some(ValueMut::Stream(stream)) => ptr::drop_in_place(stream),
            }
            dealloc(self.base(), layout_of(header.class()));
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key().escape_ascii().to_string())
            .field("kind", &self.kind())
            .field("encoding", &self.encoding())
            .field("expire_at", &self.expire_at())
            .finish_non_exhaustive()
    }
}

fn string_payload(value: &[u8]) -> Payload<'_> {
    if let Some(int) = parse_i64(value) {
        return Payload::Int(int);
    }
    if value.len() < BIG_STRING_BYTES {
        return Payload::Embedded(value);
    }
    Payload::Owned(Value::Str(Box::new(Bytes::copy_from_slice(value))))
}

fn layout_of(class: u8) -> Layout {
    Layout::from_size_align(class_bytes(class), ALIGN).expect("a class is far below isize::MAX")
}
