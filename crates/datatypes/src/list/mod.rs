//! A list: short strings in an order, pushed and popped at both ends.
//!
//! A small list is one listpack; a long one is a [`quicklist`] of nodes. Owns when a list changes its encoding. The
//! thresholds come in with each change as [`NodeLimits`]; a list never knows settings.

mod elements;
mod limits;
mod node;
mod parts;
mod quicklist;
mod run;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use smallvec::SmallVec;

pub use self::elements::Elements;
pub use self::limits::NodeLimits;
use self::node::Node;
pub use self::parts::{ListBuilder, Part};
use self::quicklist::Quicklist;
use self::run::{ELEMENT_BYTES_MAX, RUN_BYTES_MAX, Run};
use crate::entry::class::allocated_bytes;
use crate::listpack::{FRAME_BYTES, Item, Listpack, Pos, element_bytes, item, start_before};
use crate::prefetch::prefetch;
use crate::{Encoding, StrRef};

/// Elements up to this length are taken out of a list without an allocation.
const ELEMENT_INLINE_BYTES: usize = 128;

/// One of the two ends of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Front,
    Back,
}

/// On which side of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Before,
    After,
}

/// A list: short strings in an order, pushed and popped at both ends.
#[derive(Clone, Debug)]
pub struct List {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Compact(Listpack),
    General(Box<Quicklist>),
}

impl Default for List {
    fn default() -> Self {
        List::new()
    }
}

impl List {
    /// An empty list. What is stored has at least one element.
    pub fn new() -> List {
        List { form: Form::Compact(Listpack::new()) }
    }

    /// A list of elements that are pushed one by one at an end.
    pub fn of<'e>(end: End, elements: impl Iterator<Item = StrRef<'e>> + Clone, limits: NodeLimits) -> List {
        let mut all = elements.clone();
        if let (Some(only), None) = (all.next(), all.next())
            && !limits.are_exceeded(FRAME_BYTES + only.len(), 1)
        {
            return List { form: Form::Compact(Listpack::of_one(only.into())) };
        }
        let mut list = List::new();
        list.push(end, elements, limits);
        list
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Compact(listpack) => listpack.len(),
            Form::General(list) => list.len(),
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        match &self.form {
            Form::Compact(listpack) => listpack.is_empty(),
            Form::General(list) => list.len() == 0,
        }
    }

    /// Loads the beginning of the list ahead of its use.
    #[inline]
    pub(crate) fn prefetch(&self) {
        match &self.form {
            Form::Compact(listpack) => listpack.prefetch(),
            Form::General(list) => prefetch(&**list),
        }
    }

    /// The first or the last element.
    #[inline]
    pub fn peek(&self, end: End) -> Option<StrRef<'_>> {
        match &self.form {
            Form::Compact(listpack) => {
                let pos = match end {
                    End::Front => listpack.first(),
                    End::Back => listpack.last(),
                };
                pos.map(|pos| listpack.get(pos).into())
            }
            Form::General(list) => list.peek(end),
        }
    }

    /// Element number `index`; negative ones are counted from the end.
    pub fn get(&self, index: i64) -> Option<StrRef<'_>> {
        let index = self.position(index)?;
        self.elements(index, 1, End::Front).next()
    }

    /// All elements in their order.
    pub fn iter(&self) -> Elements<'_> {
        self.elements(0, self.len(), End::Front)
    }

    /// `count` elements: number `start` and those behind it (from the front), or those before it (from the back). There
    /// must be that many.
    pub fn elements(&self, start: usize, count: usize, from: End) -> Elements<'_> {
        if count == 0 {
            return Elements::none();
        }
        match &self.form {
            Form::Compact(listpack) => {
                let at = offset(listpack.elements(), listpack.len(), start);
                Elements::of_listpack(listpack, at, count, from)
            }
            Form::General(list) => Elements::of_quicklist(list, start, count, from),
        }
    }

    /// Adds elements at an end, one after the other.
    pub fn push<'e>(
        &mut self,
        end: End,
        elements: impl Iterator<Item = StrRef<'e>> + Clone,
        limits: NodeLimits,
    ) {
        self.make_room_for(elements.clone(), limits);
        match &mut self.form {
            Form::Compact(listpack) => elements.for_each(|element| {
                let pos = match end {
                    End::Front => listpack.first(),
                    End::Back => None,
                };
                listpack.insert(pos, element.into());
            }),
            Form::General(list) => elements.for_each(|element| list.push(end, element, limits)),
        }
    }

    /// Drops the element at an end, if there is one.
    #[inline]
    pub fn drop_end(&mut self, end: End, limits: NodeLimits) {
        match &mut self.form {
            Form::Compact(listpack) => {
                let pos = match end {
                    End::Front => listpack.first(),
                    End::Back => listpack.last(),
                };
                if let Some(pos) = pos {
                    listpack.remove(pos);
                }
            }
            Form::General(list) if list.len() > 0 => {
                list.drop_end(end);
                self.has_shrunk(limits);
            }
            Form::General(_) => {}
        }
    }

    /// Takes the element at one end, if there is one, and adds it at the same or the other end.
    pub fn rotate(&mut self, from: End, to: End, limits: NodeLimits) {
        let Some(element) = self.peek(from).map(Element::of) else { return };
        match &mut self.form {
            Form::Compact(_) => {
                self.drop_end(from, limits);
                self.push(to, std::iter::once(element.str_ref()), limits);
            }
            Form::General(list) => {
                list.drop_end(from);
                list.push(to, element.str_ref(), limits);
                self.has_shrunk(limits);
            }
        }
    }

    /// Removes `count` elements from number `start` on; there must be that many.
    pub fn remove_range(&mut self, start: usize, count: usize, limits: NodeLimits) {
        match &mut self.form {
            _ if count == 0 => {}
            Form::Compact(listpack) => {
                let pos = listpack.seek(start as i64).expect("the range lies in the list");
                listpack.remove_run(pos, count);
            }
            Form::General(list) => {
                list.remove_range(start, count);
                self.has_shrunk(limits);
            }
        }
    }

    /// Inserts an element beside the first one that equals the pivot; false if there is none.
    pub fn insert(
        &mut self,
        side: Side,
        pivot: &Needle<'_>,
        element: StrRef<'_>,
        limits: NodeLimits,
    ) -> bool {
        self.make_room_for(std::iter::once(element), limits);
        match &mut self.form {
            Form::Compact(listpack) => {
                let Some(pos) = find(listpack, pivot) else { return false };
                match side {
                    Side::Before => listpack.insert(Some(pos), element.into()),
                    Side::After => listpack.insert_after(pos, element.into()),
                };
                true
            }
            Form::General(list) => {
                let Some((place, index)) = list.find(pivot) else { return false };
                list.insert(place, index, side, element, limits);
                true
            }
        }
    }

    /// Puts another element in the place of number `index` (negative ones are counted from the end); false if there is
    /// none.
    pub fn replace(&mut self, index: i64, element: StrRef<'_>, limits: NodeLimits) -> bool {
        self.make_room_for(std::iter::once(element), limits);
        let Some(index) = self.position(index) else { return false };
        match &mut self.form {
            Form::Compact(listpack) => {
                let pos = listpack.seek(index as i64).expect("the index lies in the list");
                listpack.replace(pos, element.into());
            }
            Form::General(list) => {
                let (place, index) = list.seek(index);
                list.replace(place, index, element, limits);
                self.has_shrunk(limits);
            }
        }
        true
    }

    /// Removes up to `max` elements that equal the needle, from this end on, and returns how many.
    pub fn remove_matching(
        &mut self,
        needle: &Needle<'_>,
        max: usize,
        from: End,
        limits: NodeLimits,
    ) -> usize {
        match &mut self.form {
            Form::Compact(listpack) => remove_matching(listpack, needle, max, from),
            Form::General(list) => {
                let removed = list.remove_matching(needle, max, from);
                if removed > 0 {
                    self.has_shrunk(limits);
                }
                removed
            }
        }
    }

    /// Representation of the value (`OBJECT ENCODING`).
    pub fn encoding(&self) -> Encoding {
        match self.form {
            Form::Compact(_) => Encoding::Listpack,
            Form::General(_) => Encoding::Quicklist,
        }
    }

    /// Number of parts that freeing the value has to walk.
    pub fn free_effort(&self) -> usize {
        match &self.form {
            Form::Compact(_) => 1,
            Form::General(list) => list.nodes(),
        }
    }

    /// Bytes on the heap. O(1).
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Compact(listpack) => allocated_bytes(listpack.total_bytes()),
            Form::General(list) => allocated_bytes(size_of::<Quicklist>()) + list.heap_bytes(),
        }
    }

    /// Frees up to `parts_max` nodes; true while something is left.
    pub fn free_some(&mut self, parts_max: usize) -> bool {
        match &mut self.form {
            Form::Compact(_) => false,
            Form::General(list) => list.free_some(parts_max),
        }
    }

    /// Elements of each node, nothing for a compact list. All sums are checked on the way.
    #[cfg(test)]
    fn node_lens(&self) -> Vec<usize> {
        match &self.form {
            Form::Compact(_) => Vec::new(),
            Form::General(list) => list.check(),
        }
    }

    /// Where an index leads that may be counted from the end.
    fn position(&self, index: i64) -> Option<usize> {
        let len = self.len();
        let index = if index < 0 { (len as i64).checked_add(index)? } else { index };
        usize::try_from(index).ok().filter(|index| *index < len)
    }

    /// Before elements are added: a compact list that would grow too large becomes a long one. Integers do not count, as
    /// they hardly take any room (Redis 7.2).
    fn make_room_for<'e>(&mut self, elements: impl Iterator<Item = StrRef<'e>>, limits: NodeLimits) {
        let Form::Compact(listpack) = &self.form else { return };
        let (mut bytes, mut len) = (listpack.total_bytes(), listpack.len());
        for element in elements {
            bytes += if let StrRef::Int(_) = element { 0 } else { element.len() };
            len += 1;
        }
        if limits.are_exceeded(bytes, len) {
            let list = general(listpack);
            self.form = Form::General(Box::new(list));
        }
    }

    /// After elements were removed: a long list with a single small node becomes a compact one.
    fn has_shrunk(&mut self, limits: NodeLimits) {
        let Form::General(list) = &mut self.form else { return };
        if list.nodes() == 1
            && let Some(place) = list.end_place(End::Front)
            && let Node::Packed(run) = list.node(place)
            && limits.are_half_used_at_most(run.listpack_bytes(), run.count())
        {
            self.form = Form::Compact(Listpack::of_elements(run.elements(), run.count()));
        }
    }
}

/// A long list of the elements of a compact one.
fn general(listpack: &Listpack) -> Quicklist {
    let mut list = Quicklist::default();
    push_all(&mut list, listpack);
    list
}

/// Adds the elements of a listpack at the back, in as few nodes as can hold them.
fn push_all(list: &mut Quicklist, listpack: &Listpack) {
    let elements = listpack.elements();
    let (mut start, mut count, mut at) = (0, 0, 0);
    while at < elements.len() {
        let bytes = element_bytes(&elements[at..]);
        if count > 0 && at + bytes - start > RUN_BYTES_MAX {
            list.push_node(End::Back, Node::Packed(Run::of_elements(&elements[start..at], count)));
            (start, count) = (at, 0);
        }
        at += bytes;
        count += 1;
        if let Item::Bytes(text) = item(&elements[at - bytes..])
            && text.len() > ELEMENT_BYTES_MAX
        {
            list.push_node(End::Back, Node::large(text));
            (start, count) = (at, 0);
        }
    }
    if count > 0 {
        list.push_node(End::Back, Node::Packed(Run::of_elements(&elements[start..], count)));
    }
}

/// Where element number `index` of `count` begins, or the end.
fn offset(elements: &[u8], count: usize, index: usize) -> usize {
    if index <= count / 2 {
        (0..index).fold(0, |at, _| at + element_bytes(&elements[at..]))
    } else {
        (index..count).fold(elements.len(), |at, _| start_before(elements, at))
    }
}

fn find(listpack: &Listpack, needle: &Needle<'_>) -> Option<Pos> {
    let mut next = listpack.first();
    while let Some(pos) = next {
        if needle.is(listpack.get(pos)) {
            return Some(pos);
        }
        next = listpack.next(pos);
    }
    None
}

fn remove_matching(listpack: &mut Listpack, needle: &Needle<'_>, max: usize, from: End) -> usize {
    let mut removed = 0;
    let mut next = match from {
        End::Front => listpack.first(),
        End::Back => listpack.last(),
    };
    while let Some(pos) = next.filter(|_| removed < max) {
        let before = listpack.prev(pos);
        if needle.is(listpack.get(pos)) {
            let behind = listpack.remove(pos);
            removed += 1;
            next = if from == End::Front { behind } else { before };
        } else {
            next = if from == End::Front { listpack.next(pos) } else { before };
        }
    }
    removed
}

/// An element taken out of its list.
pub enum Element {
    Int(i64),
    Bytes(SmallVec<[u8; ELEMENT_INLINE_BYTES]>),
    Shared(Bytes),
}

impl Element {
    pub fn of(element: StrRef<'_>) -> Element {
        match element {
            StrRef::Int(int) => Element::Int(int),
            StrRef::Bytes(bytes) => Element::Bytes(SmallVec::from_slice(bytes)),
            StrRef::Shared(bytes) => Element::Shared(bytes.clone()),
        }
    }

    pub fn str_ref(&self) -> StrRef<'_> {
        match self {
            Element::Int(int) => StrRef::Int(*int),
            Element::Bytes(bytes) => StrRef::Bytes(bytes),
            Element::Shared(bytes) => StrRef::Shared(bytes),
        }
    }
}

/// What elements are compared with.
pub struct Needle<'a> {
    bytes: &'a [u8],
    int: Option<i64>,
}

impl<'a> Needle<'a> {
    pub fn new(bytes: &'a [u8]) -> Needle<'a> {
        let int = match Item::of(bytes) {
            Item::Int(int) => Some(int),
            Item::Bytes(_) => None,
        };
        Needle { bytes, int }
    }

    /// Whether an element of a listpack equals the needle.
    #[inline]
    fn is(&self, item: Item<'_>) -> bool {
        match item {
            Item::Int(int) => self.int == Some(int),
            Item::Bytes(bytes) => bytes == self.bytes,
        }
    }

    /// Whether an element of a list equals the needle.
    #[inline]
    pub fn equals(&self, element: StrRef<'_>) -> bool {
        match element {
            StrRef::Int(int) => self.int == Some(int),
            StrRef::Bytes(bytes) => bytes == self.bytes,
            StrRef::Shared(bytes) => bytes == self.bytes,
        }
    }
}
