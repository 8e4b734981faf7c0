//! One node of a stream: neighbouring entries in one listpack, byte for byte as Redis 7.2 keeps them in memory and in
//! RDB files.
//!
//! Owns the layout and its validation. Never knows its own id: that is the key under which the node is kept, the id of
//! its first entry. All other ids are stored as differences to it.
//!
//! ```text
//! node   │ entries │ deleted │ fields │ name 1 │ … │ name N │ 0 │ entry │ entry │ …
//!
//! entry  │ flags │ ms difference │ seq difference │ fields │ name 1 │ value 1 │ … │ value N │ elements before this one
//! or, if the names are those of the node:
//!        │ flags │ ms difference │ seq difference │ value 1 │ … │ value N │ elements before this one
//! ```
//!
//! A deleted entry stays where it is, with a flag. The last element of each entry, and the `0` before the first, let the
//! node be read backwards.

use super::StreamId;
use crate::listpack::{
    COUNT_UNKNOWN, END, HEADER_BYTES, Item, Listpack, element_bytes, item, start_before, write,
};
use crate::release::cut;

/// Flag of an entry that is deleted.
const DELETED: i64 = 1;
/// Flag of an entry whose names are those of the node.
const SAME_FIELDS: i64 = 2;
/// Elements of an entry beside its names and values: flags, two differences, and the count at its end.
const FIXED_ELEMENTS: i64 = 4;
/// Entries that are looked at from the end of a node before all are, from its beginning.
const ENTRIES_BACK_MAX: usize = 12;

/// Neighbouring entries in one allocation.
#[derive(Clone)]
pub struct Node {
    bytes: Vec<u8>,
}

/// An entry that lies in a node.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    pub id: StreamId,
    pub fields: Fields<'a>,
    pub(super) deleted: bool,
    /// Where it begins.
    pub(super) at: usize,
}

/// Names and values of an entry, in their order.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    /// Where the names stand that the node's entries share; `None`: they stand before their values.
    names_at: Option<usize>,
    values_at: usize,
    left: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (Item<'a>, Item<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let bytes = self.bytes;
        let names_at = match &mut self.names_at {
            Some(at) => at,
            None => &mut self.values_at,
        };
        let name = item(&bytes[*names_at..]);
        *names_at += element_bytes(&bytes[*names_at..]);
        let value = item(&bytes[self.values_at..]);
        self.values_at += element_bytes(&bytes[self.values_at..]);
        Some((name, value))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Fields<'_> {}

/// The names and values of an entry that is added.
pub trait NewFields<'a>: Iterator<Item = (&'a [u8], &'a [u8])> + ExactSizeIterator + Clone {}

impl<'a, I: Iterator<Item = (&'a [u8], &'a [u8])> + ExactSizeIterator + Clone> NewFields<'a> for I {}

impl Node {
    /// A node without entries whose names are those of its first entry.
    pub(super) fn new<'a>(fields: impl NewFields<'a>) -> Node {
        let names_bytes: usize = fields.clone().map(|(name, _)| name.len() + 4).sum();
        let mut bytes = Vec::with_capacity(2 * names_bytes + 64);
        bytes.resize(HEADER_BYTES, 0);
        let count = fields.len() as i64;
        [0, 0, count].iter().for_each(|&int| write(Item::Int(int), &mut bytes));
        fields.for_each(|(name, _)| write(Item::of(name), &mut bytes));
        write(Item::Int(0), &mut bytes);
        bytes.push(END);
        let mut node = Node { bytes };
        // The counts, the names and the zero behind them.
        node.set_header(count as usize + FIXED_ELEMENTS as usize);
        node
    }

    /// Takes bytes of unknown origin over if they are a node to the last byte.
    pub fn from_bytes(bytes: Box<[u8]>) -> Option<Node> {
        let listpack = Listpack::from_bytes(bytes)?;
        let mut items = listpack.iter();
        let (entries, deleted, names) = (int_of(&mut items)?, int_of(&mut items)?, int_of(&mut items)?);
        skip(&mut items, names)?;
        if int_of(&mut items)? != 0 {
            return None;
        }
        let mut found = [0, 0];
        while let Some(flags) = items.next() {
            let Item::Int(flags) = flags else { return None };
            let _ms = int_of(&mut items)?;
            let _seq = int_of(&mut items)?;
            let behind = if flags & SAME_FIELDS != 0 { names } else { int_of(&mut items)?.checked_mul(2)? };
            skip(&mut items, behind)?;
            let counts_fields = i64::from(flags & SAME_FIELDS == 0);
            if int_of(&mut items)? != behind + counts_fields + FIXED_ELEMENTS - 1 {
                return None;
            }
            found[usize::from(flags & DELETED != 0)] += 1;
        }
        (found == [entries, deleted]).then(|| Node { bytes: listpack.as_bytes().to_vec() })
    }

    /// The node's listpack, as RDB files carry it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Frees a piece of a very large node that is on its way out; returns the effort, or `None` when the rest may be freed at
    /// once.
    pub(super) fn cut(&mut self) -> Option<usize> {
        cut(&mut self.bytes)
    }

    /// Bytes that the node has allocated.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Gives back what was allocated ahead: nothing will be appended any more.
    pub(super) fn seal(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// Entries that are not deleted, and those that are.
    #[inline]
    pub(crate) fn counts(&self) -> (u64, u64) {
        let deleted_at = HEADER_BYTES + element_bytes(&self.bytes[HEADER_BYTES..]);
        (self.int(HEADER_BYTES) as u64, self.int(deleted_at) as u64)
    }

    /// Adds an entry behind all others. `first` is the node's own id.
    pub(super) fn append<'a>(&mut self, first: StreamId, id: StreamId, fields: impl NewFields<'a>) {
        let (entries, _) = self.counts();
        self.replace_int(HEADER_BYTES, entries as i64 + 1);
        let (names_at, names) = self.names();
        let own_names =
            Fields { bytes: &self.bytes, names_at: Some(names_at), values_at: names_at, left: names };
        let same = fields.len() == names
            && own_names.zip(fields.clone()).all(|((own, _), (name, _))| own == Item::of(name));
        let count = fields.len() as i64;
        let (flags, elements) = if same { (SAME_FIELDS, count) } else { (0, 2 * count + 1) };
        let out = &mut self.bytes;
        out.pop();
        write(Item::Int(flags), out);
        write(Item::Int(id.ms.wrapping_sub(first.ms) as i64), out);
        write(Item::Int(id.seq.wrapping_sub(first.seq) as i64), out);
        if !same {
            write(Item::Int(count), out);
        }
        for (name, value) in fields {
            if !same {
                write(Item::of(name), out);
            }
            write(Item::of(value), out);
        }
        write(Item::Int(elements + FIXED_ELEMENTS - 1), out);
        out.push(END);
        self.set_header((elements + FIXED_ELEMENTS) as usize);
    }

    /// Marks the entries that begin at these places, in ascending order, as deleted.
    pub(super) fn delete(&mut self, places: &[usize]) {
        let (entries, deleted) = self.counts();
        // From the back: what is written last moves nothing that is written before it.
        for &at in places.iter().rev() {
            self.replace_int(at, self.int(at) | DELETED);
        }
        let deleted_at = HEADER_BYTES + element_bytes(&self.bytes[HEADER_BYTES..]);
        self.replace_int(deleted_at, deleted as i64 + places.len() as i64);
        self.replace_int(HEADER_BYTES, entries as i64 - places.len() as i64);
    }

    /// The entries in their order, deleted ones too.
    pub(super) fn entries(&self, first: StreamId) -> Entries<'_> {
        Entries { node: self, first, names: self.names(), at: self.entries_at() }
    }

    /// The entries backwards, deleted ones too.
    pub(super) fn entries_rev(&self, first: StreamId) -> EntriesRev<'_> {
        EntriesRev { node: self, first, names: self.names(), end: self.bytes.len() - 1 }
    }

    /// The entries in their order from some place on behind which all lie that are not deleted and have this id or a
    /// larger one. Who follows a stream reads its newest entries, so they are looked for from the end first.
    pub(super) fn entries_near(&self, first: StreamId, start: StreamId) -> Entries<'_> {
        let mut back = self.entries_rev(first);
        for _ in 0..ENTRIES_BACK_MAX {
            let behind = back.end;
            match back.next() {
                Some(entry) if entry.deleted || entry.id >= start => {}
                Some(_) => return Entries { node: self, first, names: back.names, at: behind },
                None => break,
            }
        }
        self.entries(first)
    }

    /// The entry of this id that is not deleted. One that is may lie before it, when XSETID set the last id back.
    pub(super) fn find(&self, first: StreamId, id: StreamId) -> Option<Entry<'_>> {
        let there = self.entries_near(first, id).filter(|entry| !entry.deleted);
        there.take_while(|entry| entry.id <= id).find(|entry| entry.id == id)
    }

    #[inline]
    fn int(&self, at: usize) -> i64 {
        match item(&self.bytes[at..]) {
            Item::Int(int) => int,
            Item::Bytes(_) => unreachable!("a node's own elements are integers"),
        }
    }

    /// Where the names of the node begin, and how many there are.
    #[inline]
    fn names(&self) -> (usize, usize) {
        let mut at = HEADER_BYTES;
        at += element_bytes(&self.bytes[at..]);
        at += element_bytes(&self.bytes[at..]);
        (at + element_bytes(&self.bytes[at..]), self.int(at) as usize)
    }

    /// Where the first entry begins.
    fn entries_at(&self) -> usize {
        let (names_at, names) = self.names();
        self.skip(names_at, names + 1)
    }

    /// Where the element begins that stands `count` elements behind the one at `at`.
    #[inline]
    fn skip(&self, at: usize, count: usize) -> usize {
        (0..count).fold(at, |at, _| at + element_bytes(&self.bytes[at..]))
    }

    /// The entry that begins at `at`, and where it ends.
    #[inline]
    fn entry(&self, first: StreamId, (names_at, names): (usize, usize), at: usize) -> (Entry<'_>, usize) {
        let bytes = &self.bytes[..];
        let mut next = at;
        let mut int = || match bytes[next] {
            // As nearly all of them: its own encoding, and the length behind it.
            int @ 0..=0x7f => {
                next += 2;
                i64::from(int)
            }
            _ => {
                let int = self.int(next);
                next += element_bytes(&bytes[next..]);
                int
            }
        };
        let (flags, ms, seq) = (int(), int(), int());
        let id = StreamId::new(first.ms.wrapping_add(ms as u64), first.seq.wrapping_add(seq as u64));
        let same = flags & SAME_FIELDS != 0;
        let (left, elements) = if same {
            (names, names)
        } else {
            let fields = int() as usize;
            (fields, 2 * fields)
        };
        let fields = Fields { bytes, names_at: same.then_some(names_at), values_at: next, left };
        let end = self.skip(next, elements + 1);
        (Entry { id, fields, deleted: flags & DELETED != 0, at }, end)
    }

    /// Puts another integer in the place of the element at `at`.
    fn replace_int(&mut self, at: usize, int: i64) {
        if let (0..=0x7f, 0..=0x7f) = (self.bytes[at], int) {
            // Such an integer is its own encoding: the counts of nearly all nodes, and all flags.
            self.bytes[at] = int as u8;
            return;
        }
        let old = element_bytes(&self.bytes[at..]);
        let mut new = Vec::with_capacity(16);
        write(Item::Int(int), &mut new);
        if new.len() == old {
            self.bytes[at..at + old].copy_from_slice(&new);
        } else {
            self.bytes.splice(at..at + old, new);
            self.set_header(0);
        }
    }

    /// Brings the listpack's header up to date after `added` elements came.
    fn set_header(&mut self, added: usize) {
        let bytes = &mut self.bytes;
        let total = bytes.len() as u32;
        bytes[..4].copy_from_slice(&total.to_le_bytes());
        let elements = usize::from(u16::from_le_bytes([bytes[4], bytes[5]]));
        let elements = (elements + added).min(COUNT_UNKNOWN) as u16;
        bytes[4..6].copy_from_slice(&elements.to_le_bytes());
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Listpack::from_bytes(self.bytes.clone().into()).fmt(f)
    }
}

/// The entries of a node from one on.
pub(super) struct Entries<'a> {
    node: &'a Node,
    first: StreamId,
    names: (usize, usize),
    at: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        if self.at >= self.node.bytes.len() - 1 {
            return None;
        }
        let (entry, end) = self.node.entry(self.first, self.names, self.at);
        self.at = end;
        Some(entry)
    }
}

/// The entries of a node from one backwards.
pub(super) struct EntriesRev<'a> {
    node: &'a Node,
    first: StreamId,
    names: (usize, usize),
    end: usize,
}

impl<'a> Iterator for EntriesRev<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        let bytes = &self.node.bytes[..];
        let count_at = start_before(bytes, self.end);
        let count = self.node.int(count_at);
        if count == 0 {
            return None;
        }
        let at = (0..count).fold(count_at, |at, _| start_before(bytes, at));
        let (entry, _) = self.node.entry(self.first, self.names, at);
        self.end = at;
        Some(entry)
    }
}

fn int_of<'a>(items: &mut impl Iterator<Item = Item<'a>>) -> Option<i64> {
    match items.next()? {
        Item::Int(int) => Some(int),
        Item::Bytes(_) => None,
    }
}

fn skip<'a>(items: &mut impl Iterator<Item = Item<'a>>, count: i64) -> Option<()> {
    (count >= 0).then_some(())?;
    (0..count).try_for_each(|_| items.next().map(drop))
}
