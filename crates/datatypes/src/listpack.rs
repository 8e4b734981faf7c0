//! The listpack: a sequence of short strings and integers in one flat allocation, byte for byte as Redis keeps it in
//! memory and in RDB files (Redis 7.0, `listpack.c`'s format description). Small sets and sorted sets are one listpack
//! each. A small hash is a [`ForwardPack`]: the same without the lengths behind the elements, which only a walk backwards
//! needs.
//!
//! Owns the byte formats and their validation. Never knows what the elements mean.
//!
//! ```text
//! ┌──────────────────┬──────────────────┬─────────┬───┬─────────┬──────┐
//! │ total bytes, u32 │ elements, u16    │ element │ … │ element │ 0xff │
//! │                  │ (65535: unknown) │         │   │         │      │
//! └──────────────────┴──────────────────┴─────────┴───┴─────────┴──────┘
//!
//! element ┌──────────┬──────┬───────────────────────────────────────────────────────────┐
//!         │ encoding │ data │ length of encoding and data, 7 bits a byte, read backwards │
//!         └──────────┴──────┴───────────────────────────────────────────────────────────┘
//! ```

use crate::number::parse_i64;
use crate::prefetch::{prefetch_address, prefetch_slice};

pub(crate) const HEADER_BYTES: usize = 6;
pub(crate) const END: u8 = 0xff;
pub(crate) const COUNT_UNKNOWN: usize = 0xffff;
/// What a listpack takes besides its elements.
pub(crate) const FRAME_BYTES: usize = HEADER_BYTES + 1;
/// Longest text that can be an integer.
const INT_TEXT_BYTES_MAX: usize = 20;
/// Encoding byte, and up to eight bytes of length or integer.
const HEAD_BYTES_MAX: usize = 9;
const BACK_BYTES_MAX: usize = 5;
const CACHE_LINE_BYTES: usize = 64;
/// Cache lines that are loaded ahead of a walk.
const LINES_AHEAD: usize = 8;
/// A listpack never grows beyond this (Redis's `LISTPACK_MAX_SAFETY_LIMIT`).
pub const LISTPACK_BYTES_MAX: usize = 1 << 30;

/// An element as it is stored: canonical integers are kept as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl<'a> Item<'a> {
    /// How a string is stored: as an integer if it is the canonical text of one.
    #[inline]
    pub fn of(bytes: &'a [u8]) -> Item<'a> {
        match bytes.len() {
            1..=INT_TEXT_BYTES_MAX => parse_i64(bytes).map_or(Item::Bytes(bytes), Item::Int),
            _ => Item::Bytes(bytes),
        }
    }

    /// The element's bytes; an integer is printed into `text` first.
    #[inline]
    pub fn as_bytes<'t>(&self, text: &'t mut itoa::Buffer) -> &'t [u8]
    where
        'a: 't,
    {
        match *self {
            Item::Bytes(bytes) => bytes,
            Item::Int(int) => text.format(int).as_bytes(),
        }
    }

    pub fn to_vec(&self) -> Vec<u8> {
        self.as_bytes(&mut itoa::Buffer::new()).to_vec()
    }

    /// Length of the element's text.
    pub fn len(&self) -> usize {
        match *self {
            Item::Bytes(bytes) => bytes.len(),
            Item::Int(int) => crate::number::i64_len(int),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where an element begins; valid until the listpack is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos(u32);

/// A listpack, or a [`ForwardPack`] where `BACKWARD` is false. Every change costs a move of the bytes behind it.
#[derive(Clone, PartialEq, Eq)]
pub struct Listpack<const BACKWARD: bool = true> {
    bytes: Box<[u8]>,
}

/// A listpack without the lengths behind its elements: a byte less for each short one. It cannot be read backwards, and is
/// not in the format of RDB files.
pub type ForwardPack = Listpack<false>;

impl<const BACKWARD: bool> Default for Listpack<BACKWARD> {
    fn default() -> Self {
        Listpack::new()
    }
}

impl Listpack {
    /// Takes bytes of unknown origin over if they are a well-formed listpack to the last byte.
    pub fn from_bytes(bytes: Box<[u8]>) -> Option<Listpack> {
        let total = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        if total != bytes.len() || bytes.len() < FRAME_BYTES || *bytes.last()? != END {
            return None;
        }
        let end = bytes.len() - 1;
        let (mut at, mut count) = (HEADER_BYTES, 0);
        while at < end {
            let body = checked_body_bytes(&bytes[at..end])?;
            let (back, back_len) = back_bytes(body);
            let next = at + body + back_len;
            if next > end || bytes[at + body..next] != back[..back_len] {
                return None;
            }
            at = next;
            count += 1;
        }
        let told = usize::from(u16::from_le_bytes([bytes[4], bytes[5]]));
        (at == end && (told == COUNT_UNKNOWN || told == count)).then_some(Listpack { bytes })
    }

    /// The whole listpack, as RDB files carry it.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[inline]
    pub fn last(&self) -> Option<Pos> {
        self.before(self.end())
    }

    #[inline]
    pub fn prev(&self, pos: Pos) -> Option<Pos> {
        self.before(pos.0 as usize)
    }

    /// The element that ends at byte `end`.
    #[inline]
    fn before(&self, end: usize) -> Option<Pos> {
        (end > HEADER_BYTES).then(|| Pos(start_before(&self.bytes, end) as u32))
    }

    /// The element number `index`, negative ones counted from the end. Walks from the nearer end.
    pub fn seek(&self, index: i64) -> Option<Pos> {
        let len = self.len() as i64;
        let index = if index < 0 { index + len } else { index };
        if index < 0 || index >= len {
            return None;
        }
        if index <= len / 2 {
            self.nth(index as usize)
        } else {
            (index + 1..len).try_fold(self.last()?, |pos, _| self.prev(pos))
        }
    }

    /// The elements alone, without header and end.
    #[inline]
    pub(crate) fn elements(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..self.end()]
    }

    /// A listpack of `count` well-formed elements.
    pub(crate) fn of_elements(elements: &[u8], count: usize) -> Listpack {
        let mut bytes = Vec::with_capacity(FRAME_BYTES + elements.len());
        bytes.resize(HEADER_BYTES, 0);
        bytes.extend_from_slice(elements);
        Listpack::framed(bytes, count)
    }

    /// From the last element backwards.
    pub fn iter_rev(&self) -> impl Iterator<Item = Item<'_>> {
        let mut next = self.last();
        std::iter::from_fn(move || {
            let pos = next?;
            next = self.prev(pos);
            Some(self.get(pos))
        })
    }

    /// Bytes that an element would take.
    pub fn bytes_for(item: Item<'_>) -> usize {
        let (_, head_len, data) = encode(item);
        let body = head_len + data.len();
        body + back_len(body)
    }
}

impl<const BACKWARD: bool> Listpack<BACKWARD> {
    pub fn new() -> Self {
        Listpack { bytes: Box::new([FRAME_BYTES as u8, 0, 0, 0, 0, 0, END]) }
    }

    /// The same elements in the other format.
    pub fn convert<const TO: bool>(&self) -> Listpack<TO> {
        // The length behind a short element is one byte.
        let count = self.len();
        let expected = if TO { self.total_bytes() + count } else { self.total_bytes() - count };
        let mut bytes = Vec::with_capacity(expected);
        bytes.resize(HEADER_BYTES, 0);
        let mut at = HEADER_BYTES;
        while at < self.end() {
            let body = body_bytes(&self.bytes[at..]);
            bytes.extend_from_slice(&self.bytes[at..at + body]);
            if TO {
                let (back, back_len) = back_bytes(body);
                bytes.extend_from_slice(&back[..back_len]);
            }
            at += self.element_bytes(at);
        }
        Listpack::framed(bytes, count)
    }

    /// Of `count` elements that stand behind room for the header.
    fn framed(mut bytes: Vec<u8>, count: usize) -> Self {
        bytes.push(END);
        assert!(bytes.len() <= LISTPACK_BYTES_MAX, "a listpack of {} bytes", bytes.len());
        let total = bytes.len() as u32;
        bytes[..4].copy_from_slice(&total.to_le_bytes());
        bytes[4..HEADER_BYTES].copy_from_slice(&(count.min(COUNT_UNKNOWN) as u16).to_le_bytes());
        Listpack { bytes: bytes.into_boxed_slice() }
    }

    /// Bytes of the whole listpack.
    #[inline]
    pub fn total_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Number of elements. O(1) below 65,535.
    #[inline]
    pub fn len(&self) -> usize {
        let told = usize::from(u16::from_le_bytes([self.bytes[4], self.bytes[5]]));
        if told == COUNT_UNKNOWN { self.iter().count() } else { told }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == FRAME_BYTES
    }

    #[inline]
    fn end(&self) -> usize {
        self.bytes.len() - 1
    }

    #[inline]
    fn pos(&self, at: usize) -> Option<Pos> {
        (at < self.end()).then_some(Pos(at as u32))
    }

    #[inline]
    pub fn first(&self) -> Option<Pos> {
        self.pos(HEADER_BYTES)
    }

    #[inline]
    pub fn next(&self, pos: Pos) -> Option<Pos> {
        let at = pos.0 as usize;
        self.pos(at + self.element_bytes(at))
    }

    /// The element number `index`. Walks from the first one.
    pub fn nth(&self, index: usize) -> Option<Pos> {
        (0..index).try_fold(self.first()?, |pos, _| self.next(pos))
    }

    #[inline]
    fn element_bytes(&self, at: usize) -> usize {
        let bytes = &self.bytes[at..];
        if BACKWARD { element_bytes(bytes) } else { body_bytes(bytes) }
    }

    #[inline]
    pub fn get(&self, pos: Pos) -> Item<'_> {
        item(&self.bytes[pos.0 as usize..])
    }

    #[inline]
    pub fn iter(&self) -> Iter<'_, BACKWARD> {
        self.iter_from(self.first())
    }

    /// From an element forward to the end.
    #[inline]
    pub fn iter_from(&self, pos: Option<Pos>) -> Iter<'_, BACKWARD> {
        Iter { listpack: self, next: pos }
    }

    /// First element from `from` on that equals `bytes`, looking at every `step`-th one.
    #[inline]
    pub fn find(&self, from: Option<Pos>, bytes: &[u8], step: usize) -> Option<Pos> {
        self.find_item(from, Item::of(bytes), step)
    }

    /// As [`Listpack::find`], for what [`Item::of`] gave or [`Listpack::get`].
    #[inline]
    pub fn find_item(&self, from: Option<Pos>, wanted: Item<'_>, step: usize) -> Option<Pos> {
        let mut at = from?.0 as usize;
        let end = self.end();
        loop {
            if at >= end {
                return None;
            }
            prefetch_address(self.bytes.as_ptr().wrapping_add(at + LINES_AHEAD * CACHE_LINE_BYTES));
            if is_item(&self.bytes[at..], wanted) {
                return Some(Pos(at as u32));
            }
            for _ in 0..step {
                if at >= end {
                    return None;
                }
                at += match self.bytes[at] {
                    // By far the most frequent: the length of a short string, with one byte behind it, if any.
                    first @ 0x80..=0xbf => 1 + usize::from(BACKWARD) + usize::from(first & 0x3f),
                    _ => self.element_bytes(at),
                };
            }
        }
    }

    /// Loads the first bytes ahead of their use; a search loads more as it comes near.
    #[inline]
    pub(crate) fn prefetch(&self) {
        self.bytes.chunks(CACHE_LINE_BYTES).take(LINES_AHEAD).for_each(prefetch_slice);
    }

    #[inline]
    pub fn push_back(&mut self, bytes: &[u8]) {
        self.insert(None, Item::of(bytes));
    }

    #[inline]
    pub fn push_front(&mut self, bytes: &[u8]) {
        self.insert(self.first(), Item::of(bytes));
    }

    /// Inserts an element before `pos`, or at the end, and returns where it is now.
    pub fn insert(&mut self, pos: Option<Pos>, item: Item<'_>) -> Pos {
        let at = pos.map_or(self.end(), |pos| pos.0 as usize);
        self.splice(at, 0, 0, Some(item));
        Pos(at as u32)
    }

    /// Inserts an element behind `pos` and returns where it is now.
    pub fn insert_after(&mut self, pos: Pos, item: Item<'_>) -> Pos {
        let next = self.next(pos);
        self.insert(next, item)
    }

    /// Puts another element in the place of the one at `pos`, which stays valid.
    pub fn replace(&mut self, pos: Pos, item: Item<'_>) {
        let at = pos.0 as usize;
        self.splice(at, self.element_bytes(at), 1, Some(item));
    }

    /// Removes the element at `pos`; returns what follows it now.
    pub fn remove(&mut self, pos: Pos) -> Option<Pos> {
        self.remove_run(pos, 1)
    }

    /// Removes up to `count` elements from `pos` on; returns what follows them now.
    pub fn remove_run(&mut self, pos: Pos, count: usize) -> Option<Pos> {
        let start = pos.0 as usize;
        let (mut at, mut removed) = (start, 0);
        while removed < count && at < self.end() {
            at += self.element_bytes(at);
            removed += 1;
        }
        self.splice(start, at - start, removed, None);
        self.pos(start)
    }

    /// Replaces `old_bytes` bytes from `at` on, `old_count` elements, by `new`.
    fn splice(&mut self, at: usize, old_bytes: usize, old_count: usize, new: Option<Item<'_>>) {
        let count = self.len();
        let (head, head_len, data) = new.map_or(([0; HEAD_BYTES_MAX], 0, &[][..]), encode);
        let body = head_len + data.len();
        let (back, back_len) =
            if BACKWARD && new.is_some() { back_bytes(body) } else { ([0; BACK_BYTES_MAX], 0) };
        let new_bytes = body + back_len;
        if new_bytes == old_bytes && old_count == usize::from(new.is_some()) {
            // As many bytes as before: nothing else moves.
            let bytes = &mut self.bytes[at..at + new_bytes];
            bytes[..head_len].copy_from_slice(&head[..head_len]);
            bytes[head_len..body].copy_from_slice(data);
            bytes[body..].copy_from_slice(&back[..back_len]);
            return;
        }
        let mut bytes = std::mem::take(&mut self.bytes).into_vec();
        let old_len = bytes.len();
        let new_len = old_len - old_bytes + new_bytes;
        assert!(new_len <= LISTPACK_BYTES_MAX, "a listpack of {new_len} bytes");
        if new_len > old_len {
            bytes.reserve_exact(new_len - old_len);
            bytes.resize(new_len, 0);
        }
        bytes.copy_within(at + old_bytes..old_len, at + new_bytes);
        bytes.truncate(new_len);
        bytes[at..at + head_len].copy_from_slice(&head[..head_len]);
        bytes[at + head_len..at + body].copy_from_slice(data);
        bytes[at + body..at + new_bytes].copy_from_slice(&back[..back_len]);
        let count = (count - old_count + usize::from(new.is_some())).min(COUNT_UNKNOWN);
        bytes[..4].copy_from_slice(&(new_len as u32).to_le_bytes());
        bytes[4..6].copy_from_slice(&(count as u16).to_le_bytes());
        self.bytes = bytes.into_boxed_slice();
    }
}

impl<const BACKWARD: bool> std::fmt::Debug for Listpack<BACKWARD> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<B: AsRef<[u8]>> FromIterator<B> for Listpack {
    fn from_iter<I: IntoIterator<Item = B>>(elements: I) -> Listpack {
        let mut bytes = vec![0; HEADER_BYTES];
        let mut count = 0usize;
        for element in elements {
            write(Item::of(element.as_ref()), &mut bytes);
            count += 1;
        }
        Listpack::framed(bytes, count)
    }
}

/// Elements from one on to the end.
#[derive(Clone)]
pub struct Iter<'a, const BACKWARD: bool = true> {
    listpack: &'a Listpack<BACKWARD>,
    next: Option<Pos>,
}

impl<'a, const BACKWARD: bool> Iterator for Iter<'a, BACKWARD> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        let pos = self.next?;
        self.next = self.listpack.next(pos);
        Some(self.listpack.get(pos))
    }
}

/// The element that `bytes` begin with.
#[inline]
pub(crate) fn item(bytes: &[u8]) -> Item<'_> {
    let first = bytes[0];
    let str_at = |from: usize, len: usize| Item::Bytes(&bytes[from..from + len]);
    match first {
        0..=0x7f => Item::Int(i64::from(first)),
        0x80..=0xbf => str_at(1, usize::from(first & 0x3f)),
        0xc0..=0xdf => {
            let raw = i64::from(first & 0x1f) << 8 | i64::from(bytes[1]);
            Item::Int(raw << 51 >> 51)
        }
        0xe0..=0xef => str_at(2, usize::from(first & 0x0f) << 8 | usize::from(bytes[1])),
        0xf0 => str_at(5, u32::from_le_bytes(bytes[1..5].try_into().expect("four bytes")) as usize),
        0xf1 => Item::Int(i64::from(i16::from_le_bytes([bytes[1], bytes[2]]))),
        0xf2 => Item::Int(i64::from(i32::from_le_bytes([0, bytes[1], bytes[2], bytes[3]]) >> 8)),
        0xf3 => Item::Int(i64::from(i32::from_le_bytes(bytes[1..5].try_into().expect("four bytes")))),
        _ => Item::Int(i64::from_le_bytes(bytes[1..9].try_into().expect("eight bytes"))),
    }
}

/// Whether the element that `bytes` begin with is this one. Short strings are told apart by their length and last byte
/// before all of them is compared: names of fields tend to differ at their end.
#[inline]
fn is_item(bytes: &[u8], wanted: Item<'_>) -> bool {
    match (bytes[0], wanted) {
        (first @ 0x80..=0xbf, Item::Bytes(wanted)) => {
            let text = &bytes[1..1 + usize::from(first & 0x3f)];
            text.len() == wanted.len() && text.last() == wanted.last() && text == wanted
        }
        (0x80..=0xbf, Item::Int(_)) => false,
        _ => item(bytes) == wanted,
    }
}

/// Encoding, data and back length of the element that `bytes` begin with.
#[inline]
pub(crate) fn element_bytes(bytes: &[u8]) -> usize {
    let body = body_bytes(bytes);
    body + back_len(body)
}

/// Where the element begins that ends at byte `end`.
#[inline]
pub(crate) fn start_before(bytes: &[u8], end: usize) -> usize {
    let (mut body, mut shift, mut at) = (0usize, 0, end - 1);
    loop {
        let byte = bytes[at];
        body |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return at - body;
        }
        shift += 7;
        at -= 1;
    }
}

/// Appends the bytes of an element.
#[inline]
pub(crate) fn write(item: Item<'_>, out: &mut Vec<u8>) {
    let (head, head_len, data) = encode(item);
    out.extend_from_slice(&head[..head_len]);
    out.extend_from_slice(data);
    let (back, back_len) = back_bytes(head_len + data.len());
    out.extend_from_slice(&back[..back_len]);
}

/// Writes an element to the beginning of `bytes`, which have room for it (see [`Listpack::bytes_for`]).
#[inline]
pub(crate) fn write_element(bytes: &mut [u8], item: Item<'_>) {
    let (head, head_len, data) = encode(item);
    let body = head_len + data.len();
    let (back, back_len) = back_bytes(body);
    bytes[..head_len].copy_from_slice(&head[..head_len]);
    bytes[head_len..body].copy_from_slice(data);
    bytes[body..body + back_len].copy_from_slice(&back[..back_len]);
}

/// Encoding byte with length or integer, how many of these bytes count, and the data behind them.
#[inline]
fn encode(item: Item<'_>) -> ([u8; HEAD_BYTES_MAX], usize, &[u8]) {
    let mut head = [0; HEAD_BYTES_MAX];
    match item {
        Item::Int(int) => {
            let len = match int {
                0..=127 => {
                    head[0] = int as u8;
                    1
                }
                -4096..=4095 => {
                    let raw = int as u16 & 0x1fff;
                    head[0] = 0xc0 | (raw >> 8) as u8;
                    head[1] = raw as u8;
                    2
                }
                _ => {
                    let (code, len) = match int {
                        -0x8000..=0x7fff => (0xf1, 2),
                        -0x80_0000..=0x7f_ffff => (0xf2, 3),
                        -0x8000_0000..=0x7fff_ffff => (0xf3, 4),
                        _ => (0xf4, 8),
                    };
                    head[0] = code;
                    head[1..9].copy_from_slice(&int.to_le_bytes());
                    1 + len
                }
            };
            (head, len, &[])
        }
        Item::Bytes(bytes) => {
            let len = match bytes.len() {
                len @ 0..=0x3f => {
                    head[0] = 0x80 | len as u8;
                    1
                }
                len @ 0x40..=0xfff => {
                    head[0] = 0xe0 | (len >> 8) as u8;
                    head[1] = len as u8;
                    2
                }
                len => {
                    head[0] = 0xf0;
                    head[1..5].copy_from_slice(&(len as u32).to_le_bytes());
                    5
                }
            };
            (head, len, bytes)
        }
    }
}

/// Length of encoding and data of the element that `bytes` begin with, which must be well formed.
#[inline]
fn body_bytes(bytes: &[u8]) -> usize {
    match bytes[0] {
        0..=0x7f => 1,
        first @ 0x80..=0xbf => 1 + usize::from(first & 0x3f),
        0xc0..=0xdf => 2,
        first @ 0xe0..=0xef => 2 + (usize::from(first & 0x0f) << 8 | usize::from(bytes[1])),
        0xf0 => 5 + u32::from_le_bytes(bytes[1..5].try_into().expect("four bytes")) as usize,
        0xf1 => 3,
        0xf2 => 4,
        0xf3 => 5,
        _ => 9,
    }
}

/// The same for bytes of unknown origin.
fn checked_body_bytes(bytes: &[u8]) -> Option<usize> {
    let head_len = match *bytes.first()? {
        0xe0..=0xef => 2,
        0xf0 => 5,
        0xf5..=0xff => return None,
        _ => 1,
    };
    let body = body_bytes(bytes.get(..head_len).map(|_| bytes)?);
    (body <= bytes.len()).then_some(body)
}

/// The length of a body as it stands behind it, so that it can be read backwards.
#[inline]
fn back_bytes(body: usize) -> ([u8; BACK_BYTES_MAX], usize) {
    let len = back_len(body);
    let mut bytes = [0; BACK_BYTES_MAX];
    for (index, byte) in bytes[..len].iter_mut().enumerate() {
        let bits = (body >> (7 * (len - 1 - index))) as u8 & 0x7f;
        *byte = if index == 0 { bits } else { bits | 0x80 };
    }
    (bytes, len)
}

#[inline]
fn back_len(body: usize) -> usize {
    match body {
        0..=0x7f => 1,
        0x80..=0x3ffe => 2,
        0x3fff..=0x1f_fffe => 3,
        0x1f_ffff..=0x0fff_fffe => 4,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    /// Bytes that a real server wrote (DUMP of a small list in Redis 7.0, without type, version and checksum).
    #[test]
    fn has_the_bytes_of_the_real_thing() {
        let listpack: Listpack = ["a", "12", "-1", "300", "70000", "hello"].into_iter().collect();
        let expected: &[u8] = &[
            34, 0, 0, 0, 6, 0, 0x81, b'a', 2, 12, 1, 0xdf, 0xff, 2, 0xc1, 0x2c, 2, 0xf2, 0x70, 0x11, 0x01, 4,
            0x85, b'h', b'e', b'l', b'l', b'o', 6, 0xff,
        ];
        assert_eq!(&listpack.as_bytes()[4..], &expected[4..]);
        assert_eq!(listpack.as_bytes()[0] as usize, listpack.total_bytes());
    }

    #[test]
    fn integers_of_every_width_come_back() {
        let mut listpack = Listpack::new();
        let mut ints = vec![0i64, 127, 128, -1, -4096, -4097, 4095, 4096, i64::MIN, i64::MAX];
        ints.extend((0..63).flat_map(|bit| [1i64 << bit, -(1i64 << bit), (1i64 << bit) - 1]));
        ints.iter().for_each(|int| listpack.push_back(int.to_string().as_bytes()));
        assert!(listpack.iter().eq(ints.iter().map(|&int| Item::Int(int))));
        assert!(Listpack::from_bytes(listpack.as_bytes().into()).is_some());
    }

    /// Neighbours in length and in their last byte, and strings that other writers made longer than they need be.
    #[test]
    fn finds_what_is_equal_and_nothing_else() {
        let texts = ["", "a", "ba", "ab", "field:12", "field:22", "12", "7", "-1", "x".repeat(70).leak()];
        let listpack: Listpack = texts.into_iter().collect();
        for (index, text) in texts.into_iter().enumerate() {
            assert_eq!(
                listpack.find(listpack.first(), text.as_bytes(), 1),
                listpack.seek(index as i64),
                "{text}"
            );
        }
        for text in ["b", "aa", "field:32", "field:1", "22", "8", "x"] {
            assert_eq!(listpack.find(listpack.first(), text.as_bytes(), 1), None, "{text}");
        }
        let wide = [15, 0, 0, 0, 2, 0, 0xe0, 1, b'a', 3, 0xf1, 7, 0, 3, END];
        let wide = Listpack::from_bytes(Box::new(wide)).expect("well formed");
        assert_eq!(wide.find(wide.first(), b"a", 1), wide.first());
        assert_eq!(wide.find(wide.first(), b"7", 1), wide.last());
    }

    #[test]
    fn an_element_of_as_many_bytes_moves_nothing() {
        let mut listpack: Listpack = ["a", "value", "b"].into_iter().collect();
        let address = listpack.as_bytes().as_ptr();
        listpack.replace(listpack.seek(1).expect("is there"), Item::Bytes(b"other"));
        assert_eq!(listpack, ["a", "other", "b"].into_iter().collect());
        assert_eq!(listpack.as_bytes().as_ptr(), address);
    }

    /// Random edits against a vector.
    #[test]
    fn behaves_like_a_vector() {
        for seed in 1..=40u64 {
            let mut random = Random(seed);
            let (mut listpack, mut model) = (Listpack::new(), Vec::<Vec<u8>>::new());
            for _ in 0..200 {
                let value = match random.below(4) {
                    0 => random.below(100_000).to_string().into_bytes(),
                    1 => vec![b'x'; random.below(70)],
                    2 => vec![b'y'; [10, 200, 5_000, 20_000][random.below(4)]],
                    _ => format!("-{}", random.below(usize::MAX >> 1)).into_bytes(),
                };
                let index = random.below(model.len() + 1);
                match random.below(6) {
                    0 | 1 => {
                        let pos = listpack.seek(index as i64);
                        let at = listpack.insert(pos, Item::of(&value));
                        assert_eq!(listpack.get(at).to_vec(), value);
                        model.insert(index, value);
                    }
                    2 if index < model.len() => {
                        let pos = listpack.seek(index as i64 - model.len() as i64).expect("it is there");
                        listpack.replace(pos, Item::of(&value));
                        model[index] = value;
                    }
                    3 if index < model.len() => {
                        let count = random.below(4);
                        listpack.remove_run(listpack.seek(index as i64).expect("it is there"), count);
                        model.drain(index..(index + count).min(model.len()));
                    }
                    4 if index < model.len() => {
                        let found = listpack.find(listpack.first(), &model[index].clone(), 1);
                        let first = model.iter().position(|element| *element == model[index]);
                        assert_eq!(found, listpack.seek(first.expect("it is there") as i64));
                    }
                    _ => {
                        listpack.push_front(&value);
                        model.insert(0, value);
                    }
                }
                assert_eq!(listpack.len(), model.len());
                assert!(listpack.iter().map(|item| item.to_vec()).eq(model.iter().cloned()));
                assert!(listpack.iter_rev().map(|item| item.to_vec()).eq(model.iter().rev().cloned()));
            }
            assert_eq!(Listpack::from_bytes(listpack.as_bytes().into()), Some(listpack.clone()));
            let forward: ForwardPack = listpack.convert();
            assert!(forward.total_bytes() <= listpack.total_bytes() - listpack.len());
            assert!(forward.iter().eq(listpack.iter()));
            assert_eq!(forward.convert::<true>(), listpack);
        }
    }

    /// Random edits of both kinds: what one holds the other holds, and is what conversion makes of it.
    #[test]
    fn a_forward_pack_holds_what_a_listpack_holds() {
        let mut random = Random(7);
        let (mut listpack, mut forward): (Listpack, ForwardPack) = Default::default();
        for _ in 0..2_000 {
            let value = match random.below(3) {
                0 => random.below(1 << 20).to_string().into_bytes(),
                1 => vec![b'x'; random.below(70)],
                _ => vec![b'y'; [100, 130, 5_000, 20_000][random.below(4)]],
            };
            let index = random.below(listpack.len() + 1);
            let at = (listpack.nth(index), forward.nth(index));
            match (random.below(5), at) {
                (0, (Some(pos), Some(forward_pos))) => {
                    listpack.replace(pos, Item::of(&value));
                    forward.replace(forward_pos, Item::of(&value));
                }
                (1, (Some(pos), Some(forward_pos))) => {
                    listpack.remove_run(pos, 3);
                    forward.remove_run(forward_pos, 3);
                }
                (2, (Some(pos), Some(forward_pos))) => {
                    let wanted = listpack.get(pos).to_vec();
                    let found = forward.find(forward.first(), &wanted, 1).map(|found| forward.get(found));
                    assert_eq!(found, Some(forward.get(forward_pos)));
                }
                (_, (pos, forward_pos)) => {
                    listpack.insert(pos, Item::of(&value));
                    forward.insert(forward_pos, Item::of(&value));
                }
            }
            assert_eq!(forward, listpack.convert());
        }
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let good: Listpack = ["a", "12", "-1", "300", "70000", &"x".repeat(100)].into_iter().collect();
        let bytes = good.as_bytes();
        for cut in 0..bytes.len() {
            assert!(Listpack::from_bytes(bytes[..cut].into()).is_none());
        }
        for index in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.to_vec();
                damaged[index] ^= 1 << bit;
                // Whatever still passes can be walked without a panic.
                if let Some(listpack) = Listpack::from_bytes(damaged.into()) {
                    assert_eq!(listpack.iter().count(), listpack.iter_rev().count());
                }
            }
        }
    }
}
