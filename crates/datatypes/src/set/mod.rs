//! A set: distinct strings, as one intset, one listpack or a hash table.
//!
//! Owns when a set changes from one of them to another (Redis 7.2's rules). Draws no random numbers itself, and never
//! knows settings: the limits of the compact encodings come in as values.

mod sample;
#[cfg(test)]
mod tests;

use crate::entry::class::allocated_bytes;
use crate::intset::{INTSET_LEN_MAX, IntSet, Iter as IntSetIter};
use crate::listpack::{Item, Iter as ListpackIter, LISTPACK_BYTES_MAX, Listpack};
use crate::member::Member;
use crate::prefetch::prefetch;
use crate::saving::Parts;
use crate::table::{Iter as TableIter, Table};
use crate::{Encoding, number};

/// Up to where sets are compact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetLimits {
    /// Members of an intset at most.
    pub intset_entries: usize,
    /// Members of a listpack at most.
    pub listpack_entries: usize,
    /// Bytes of a member of a listpack at most.
    pub listpack_value: usize,
}

impl SetLimits {
    fn suits_intset(&self, entries: usize) -> bool {
        entries <= self.intset_entries.min(INTSET_LEN_MAX)
    }
}

/// A set: distinct strings.
#[derive(Clone, Debug)]
pub struct Set {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    IntSet(IntSet),
    Listpack(Listpack),
    Table(Box<Table<Member>>),
}

impl Default for Set {
    /// An empty set that expects integers.
    fn default() -> Self {
        Set { form: Form::IntSet(IntSet::new()) }
    }
}

impl Set {
    /// An empty set in the form that suits a first member, and as many as are expected.
    pub fn with_expected(first: &[u8], expected: usize, limits: &SetLimits) -> Set {
        if expected <= limits.intset_entries && number::parse_i64(first).is_some() {
            return Set::default();
        }
        if expected <= limits.listpack_entries {
            return Set::new_listpack();
        }
        Set::new_table()
    }

    /// An empty set that expects few members, of which some are no integers.
    pub fn new_listpack() -> Set {
        Set { form: Form::Listpack(Listpack::new()) }
    }

    /// An empty set that expects many members.
    pub fn new_table() -> Set {
        Set { form: Form::Table(Box::default()) }
    }

    /// A set of the integers of an intset, in the form that suits their number.
    pub fn from_intset(ints: IntSet, limits: &SetLimits) -> Set {
        let suits = limits.suits_intset(ints.len());
        let mut set = Set { form: Form::IntSet(ints) };
        if !suits {
            set.become_table();
        }
        set
    }

    /// A set of the elements of a listpack, which are distinct, in the form that suits their number.
    pub fn from_listpack(listpack: Listpack, limits: &SetLimits) -> Set {
        let suits = listpack.len() <= limits.listpack_entries;
        let mut set = Set { form: Form::Listpack(listpack) };
        if !suits {
            set.become_table();
        }
        set
    }

    /// The whole set, if it is an intset.
    pub fn as_intset(&self) -> Option<&IntSet> {
        if let Form::IntSet(ints) = &self.form { Some(ints) } else { None }
    }

    /// The whole set, if it is a listpack.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        if let Form::Listpack(listpack) = &self.form { Some(listpack) } else { None }
    }

    /// Representation of the value (`OBJECT ENCODING`).
    pub fn encoding(&self) -> Encoding {
        match self.form {
            Form::IntSet(_) => Encoding::Intset,
            Form::Listpack(_) => Encoding::Listpack,
            Form::Table(_) => Encoding::Hashtable,
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        match &self.form {
            Form::IntSet(ints) => ints.len(),
            Form::Listpack(listpack) => listpack.len(),
            Form::Table(table) => table.len(),
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        match &self.form {
            Form::IntSet(ints) => ints.is_empty(),
            Form::Listpack(listpack) => listpack.is_empty(),
            Form::Table(table) => table.is_empty(),
        }
    }

    /// Loads the beginning of the set ahead of its use.
    #[inline]
    pub(crate) fn prefetch(&self) {
        match &self.form {
            Form::IntSet(ints) => ints.prefetch(),
            Form::Listpack(listpack) => listpack.prefetch(),
            Form::Table(table) => prefetch(&**table),
        }
    }

    /// Loads the place of a member of a big set ahead of its use; returns what [`Set::prefetch_member`] wants.
    #[inline]
    pub(crate) fn prefetch_slot(&self, member: &[u8]) -> u64 {
        if let Form::Table(table) = &self.form { table.prefetch_slot(member) } else { 0 }
    }

    /// Loads a member of a big set ahead of its use.
    #[inline]
    pub(crate) fn prefetch_member(&self, hash: u64) {
        if let Form::Table(table) = &self.form {
            table.prefetch_element(hash);
        }
    }

    #[inline]
    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.form {
            Form::Table(table) => table.contains(member),
            _ => self.contains_item(Item::of(member)),
        }
    }

    /// As [`Set::contains`], for a member as sets store it.
    #[inline]
    pub fn contains_item(&self, member: Item<'_>) -> bool {
        match (&self.form, member) {
            (Form::IntSet(ints), Item::Int(int)) => ints.contains(int),
            (Form::IntSet(_), Item::Bytes(_)) => false,
            (Form::Listpack(listpack), member) => listpack.find_item(listpack.first(), member, 1).is_some(),
            (Form::Table(table), member) => table.contains(member.as_bytes(&mut itoa::Buffer::new())),
        }
    }

    /// Adds a member; returns whether it is new.
    #[inline]
    pub fn add(&mut self, member: &[u8], limits: &SetLimits) -> bool {
        match &mut self.form {
            Form::Table(table) => add_to_table(table, member),
            _ => self.add_item(Item::of(member), limits),
        }
    }

    /// As [`Set::add`], for a member as sets store it.
    pub fn add_item(&mut self, member: Item<'_>, limits: &SetLimits) -> bool {
        match (&mut self.form, member) {
            (Form::IntSet(ints), Item::Int(int)) => {
                let is_new = ints.insert(int);
                if is_new && !limits.suits_intset(ints.len()) {
                    self.become_table();
                }
                is_new
            }
            (Form::IntSet(ints), Item::Bytes(bytes)) => {
                if suits_listpack(ints, bytes, limits) {
                    self.become_listpack();
                } else {
                    self.become_table();
                }
                self.push_new(member);
                true
            }
            (Form::Listpack(listpack), member) => {
                if listpack.find_item(listpack.first(), member, 1).is_some() {
                    return false;
                }
                let suits = listpack.len() < limits.listpack_entries
                    && member.len() <= limits.listpack_value
                    && listpack.total_bytes() + member.len() <= LISTPACK_BYTES_MAX;
                if !suits {
                    self.become_table();
                }
                self.push_new(member);
                true
            }
            (Form::Table(table), member) => add_to_table(table, member.as_bytes(&mut itoa::Buffer::new())),
        }
    }

    /// Adds a member that is not there and that the form suits.
    fn push_new(&mut self, member: Item<'_>) {
        match &mut self.form {
            Form::IntSet(_) => unreachable!("integers are inserted in their order"),
            Form::Listpack(listpack) => {
                listpack.insert(None, member);
            }
            Form::Table(table) => table.insert_new(Member::of(member)),
        }
    }

    /// Takes a member out; returns whether it was there. The form stays.
    #[inline]
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.form {
            Form::Table(table) => table.remove(member).is_some(),
            _ => self.remove_item(Item::of(member)),
        }
    }

    /// As [`Set::remove`], for a member as sets store it.
    pub fn remove_item(&mut self, member: Item<'_>) -> bool {
        match (&mut self.form, member) {
            (Form::IntSet(ints), Item::Int(int)) => ints.remove(int),
            (Form::IntSet(_), Item::Bytes(_)) => false,
            (Form::Listpack(listpack), member) => {
                let Some(pos) = listpack.find_item(listpack.first(), member, 1) else { return false };
                listpack.remove(pos);
                true
            }
            (Form::Table(table), member) => table.remove(member.as_bytes(&mut itoa::Buffer::new())).is_some(),
        }
    }

    /// All members: integers of an intset in ascending order, members of a listpack in the order in which they came.
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        match &self.form {
            Form::IntSet(ints) => Iter::IntSet(ints.iter()),
            Form::Listpack(listpack) => Iter::Listpack(listpack.iter()),
            Form::Table(table) => Iter::Table(table.iter()),
        }
    }

    /// Members from `cursor` on (0 starts), about `count` of them, or all of a compact set; returns the cursor to go on
    /// with, 0 when all are done. Members that stay from the first call to the last are visited at least once.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(Item<'_>)) -> u64 {
        match &self.form {
            Form::Table(table) => table.scan(cursor, count, |member| visit(member.item())),
            _ => {
                self.iter().for_each(visit);
                0
            }
        }
    }

    /// Changes to the general form if more members are expected than a compact one may have.
    pub fn expect(&mut self, expected: usize, limits: &SetLimits) {
        let is_too_many = match self.form {
            Form::IntSet(_) => expected > limits.intset_entries,
            Form::Listpack(_) => expected > limits.listpack_entries,
            Form::Table(_) => false,
        };
        if is_too_many {
            self.become_table();
        }
    }

    /// Changes to an intset if all members are integers and not too many.
    pub fn compact_ints(&mut self, limits: &SetLimits) {
        let stays = matches!(self.form, Form::IntSet(_)) || self.is_being_saved();
        if stays || !limits.suits_intset(self.len()) {
            return;
        }
        let ints = self.iter().map(|member| match member {
            Item::Int(int) => Some(int),
            Item::Bytes(_) => None,
        });
        if let Some(ints) = ints.collect() {
            self.form = Form::IntSet(ints);
        }
    }

    fn become_table(&mut self) {
        let mut table = Table::new();
        self.iter().for_each(|member| table.insert_new(Member::of(member)));
        self.form = Form::Table(Box::new(table));
    }

    fn become_listpack(&mut self) {
        let mut listpack = Listpack::new();
        for member in self.iter() {
            listpack.insert(None, member);
        }
        self.form = Form::Listpack(listpack);
    }

    /// What can be saved bit by bit: a table.
    #[inline]
    pub(crate) fn parts(&self) -> Option<&dyn Parts> {
        match &self.form {
            Form::Table(table) => Some(&**table),
            _ => None,
        }
    }

    /// A table that is being saved stays one.
    fn is_being_saved(&self) -> bool {
        self.parts().is_some_and(|parts| parts.save_id().is_some())
    }

    pub(crate) fn parts_mut(&mut self) -> Option<&mut dyn Parts> {
        match &mut self.form {
            Form::Table(table) => Some(&mut **table),
            _ => None,
        }
    }

    /// Shows the members that were there when the save began, each one once over all calls, until `show` asks for a pause by
    /// `false`. True while there are more.
    pub(crate) fn save_some(&mut self, mut show: impl FnMut(Item<'_>) -> bool) -> bool {
        match &mut self.form {
            Form::Table(table) => table.save_some(|member| show(member.item())),
            _ => false,
        }
    }

    /// Number of parts that freeing the value has to walk.
    pub fn free_effort(&self) -> usize {
        match &self.form {
            Form::Table(table) => table.len(),
            _ => 1,
        }
    }

    /// Bytes on the heap. O(1).
    pub fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::IntSet(ints) => allocated_bytes(ints.total_bytes()),
            Form::Listpack(listpack) => allocated_bytes(listpack.total_bytes()),
            Form::Table(table) => allocated_bytes(size_of::<Table<Member>>()) + table.heap_bytes(),
        }
    }

    /// Frees elements until that was about so much effort; true while something is left.
    pub fn free_some(&mut self, effort_max: usize) -> bool {
        let Form::Table(table) = &mut self.form else { return false };
        table.free_some(effort_max) > 0 && !table.is_empty()
    }
}

fn add_to_table(table: &mut Table<Member>, member: &[u8]) -> bool {
    table.insert_with(member, || Member::new(member))
}

/// Whether the integers, and one more string, may be one listpack. Contract: Redis 7.2 estimates each integer as long as
/// the longest one.
fn suits_listpack(ints: &IntSet, string: &[u8], limits: &SetLimits) -> bool {
    let ends = [ints.first(), ints.last()].into_iter().flatten();
    let longest = ends.clone().map(number::i64_len).max().unwrap_or(0);
    let widest = ends.map(|int| Listpack::bytes_for(Item::Int(int))).max().unwrap_or(0);
    ints.len() < limits.listpack_entries
        && string.len().max(longest) <= limits.listpack_value
        && widest * ints.len() + string.len() <= LISTPACK_BYTES_MAX
}

/// The members of a set.
pub enum Iter<'a> {
    IntSet(IntSetIter<'a>),
    Listpack(ListpackIter<'a>),
    Table(TableIter<'a, Member>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        match self {
            Iter::IntSet(ints) => ints.next().map(Item::Int),
            Iter::Listpack(items) => items.next(),
            Iter::Table(members) => members.next().map(Member::item),
        }
    }
}
