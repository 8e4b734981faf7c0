//! A list: short strings in an order, pushed and popped at both ends.
//!
//! A small list is one [`run`] of elements; a long one is a [`quicklist`] of nodes. Owns when a list changes its encoding. The
//! thresholds come in with each change as [`NodeLimits`]; a list never knows settings.

mod elements;
mod limits;
mod node;
mod parts;
mod quicklist;
mod run;
mod saving;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use smallvec::SmallVec;

pub use self::elements::Elements;
pub use self::limits::NodeLimits;
use self::node::Node;
pub use self::parts::{ListBuilder, Part};
use self::quicklist::Quicklist;
use self::run::{ELEMENT_BYTES_MAX, Growth, RUN_BYTES_MAX, Run};
use crate::entry::class::allocated_bytes;
use crate::listpack::{Item, Listpack, element_bytes, item};
use crate::prefetch::prefetch;
use crate::{Encoding, StrRef};

/// Elements up to this length are taken out of a list without an allocation.
const ELEMENT_INLINE_BYTES: usize = 128;
/// What an element takes besides its text at most, in a list that is one run.
const ELEMENT_FRAME_BYTES_MAX: usize = 10;

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
    Compact(Run),
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
        List { form: Form::Compact(Run::new()) }
    }

    /// A list of elements that are pushed one by one at an end.
    pub fn of<'e>(end: End, elements: impl Iterator<Item = StrRef<'e>> + Clone, limits: NodeLimits) -> List {
        let bytes = elements.clone().map(|element| Listpack::bytes_for(element.into())).sum();
        let fits = bytes <= limits.node_bytes().min(RUN_BYTES_MAX);
        let run = Run::with_room(end, if fits { bytes } else { 0 });
        let mut list = List { form: Form::Compact(run) };
        list.push(end, elements, limits);
        list
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Compact(run) => run.count(),
            Form::General(list) => list.len(),
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        match &self.form {
            Form::Compact(run) => run.count() == 0,
            Form::General(list) => list.len() == 0,
        }
    }

    /// Loads the beginning of the list ahead of its use.
    #[inline]
    pub(crate) fn prefetch(&self) {
        match &self.form {
            Form::Compact(run) => run.prefetch(),
            Form::General(list) => prefetch(&**list),
        }
    }

    /// Loads both ends ahead of their use. Touches what leads there.
    #[inline]
    pub(crate) fn prefetch_ends(&self) {
        if let Form::Compact(run) = &self.form {
            run.prefetch_ends();
        }
    }

    /// The first or the last element.
    #[inline]
    pub fn peek(&self, end: End) -> Option<StrRef<'_>> {
        match &self.form {
            Form::Compact(run) => (run.count() > 0).then(|| run.peek(end).into()),
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
            Form::Compact(run) => Elements::of_run(run, run.offset(start), count, from),
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
            Form::Compact(run) => {
                elements.for_each(|element| run.push(end, element.into(), Growth::Ahead));
            }
            Form::General(list) => elements.for_each(|element| list.push(end, element, limits)),
        }
    }

    /// Drops the element at an end, if there is one.
    #[inline]
    pub fn drop_end(&mut self, end: End, limits: NodeLimits) {
        match &mut self.form {
            Form::Compact(run) => {
                if run.count() > 0 {
                    run.drop_end(end);
                    run.fit_loosely();
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
            Form::Compact(run) => run.remove(run.offset(start)..run.offset(start + count), count),
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
            Form::Compact(run) => {
                let Some((_, at)) = run.find(pivot) else { return false };
                let behind = if side == Side::After { element_bytes(&run.elements()[at..]) } else { 0 };
                run.insert(at + behind, element.into());
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
            Form::Compact(run) => {
                run.replace(run.offset(index), element.into());
                run.fit_loosely();
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
            Form::Compact(run) => run.remove_matching(needle, max, from),
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
            Form::Compact(run) => run.heap_bytes(),
            Form::General(list) => allocated_bytes(size_of::<Quicklist>()) + list.heap_bytes(),
        }
    }

    /// Frees nodes until that was about so much effort; true while something is left.
    pub fn free_some(&mut self, effort_max: usize) -> bool {
        match &mut self.form {
            Form::Compact(_) => false,
            Form::General(list) => list.free_some(effort_max),
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
    /// they hardly take any room, and neither does what surrounds an element (Redis 7.2), up to what a run may hold.
    #[inline]
    fn make_room_for<'e>(&mut self, elements: impl Iterator<Item = StrRef<'e>> + Clone, limits: NodeLimits) {
        let Form::Compact(run) = &self.form else { return };
        let (mut bytes, mut len) = (run.listpack_bytes(), run.count());
        for element in elements.clone() {
            bytes += if let StrRef::Int(_) = element { 0 } else { element.len() };
            len += 1;
        }
        let takes = || elements.map(|element| Listpack::bytes_for(element.into())).sum::<usize>();
        let may_overflow = bytes + (len - run.count()) * ELEMENT_FRAME_BYTES_MAX > RUN_BYTES_MAX;
        if limits.are_exceeded(bytes, len) || (may_overflow && run.len() + takes() > RUN_BYTES_MAX) {
            self.become_general();
        }
    }

    #[cold]
    fn become_general(&mut self) {
        let Form::Compact(run) = &mut self.form else { return };
        let run = std::mem::replace(run, Run::new());
        let mut list = Quicklist::default();
        if run.count() > 0 {
            list.push_node(End::Back, Node::Packed(run));
        }
        self.form = Form::General(Box::new(list));
    }

    /// After elements were removed: a long list with a single small node becomes a compact one.
    fn has_shrunk(&mut self, limits: NodeLimits) {
        let Form::General(list) = &mut self.form else { return };
        // What is kept for a save lies beside the nodes: such a list stays as it is until its next change.
        if list.nodes() == 1
            && !list.saving.is_taken()
            && let Some(place) = list.end_place(End::Front)
            && let Node::Packed(run) = list.node(place)
            && limits.are_half_used_at_most(run.listpack_bytes(), run.count())
        {
            self.form = Form::Compact(Run::of_elements(run.elements(), run.count()));
        }
    }
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
