//! A sorted set: distinct strings in the order of their scores, and of their bytes where scores are equal.
//!
//! Small ones are one listpack, others a table with a tree beside it. Owns when a sorted set changes from one to the other
//! (Redis 7.2's rules). Draws no random numbers itself, and never knows settings: the limits of the compact encoding
//! come in as values.

mod compact;
mod entries;
mod general;
mod range;
mod score;
mod scored;
#[cfg(test)]
mod tests;
mod tree;

use std::ops::Range;

use self::general::{General, Unordered};
pub use self::range::{LexBound, LexRange, ScoreBound, ScoreRange};
use self::scored::Scored;
use crate::Encoding;
use crate::entry::class::allocated_bytes;
use crate::listpack::{Item, LISTPACK_BYTES_MAX, Listpack};
use crate::prefetch::prefetch;
use crate::saving::Parts;

/// Up to where sorted sets are compact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZSetLimits {
    /// Members of a listpack at most.
    pub listpack_entries: usize,
    /// Bytes of a member of a listpack at most.
    pub listpack_value: usize,
}

impl ZSetLimits {
    fn suit(&self, members: usize, longest: usize) -> bool {
        members <= self.listpack_entries && longest <= self.listpack_value
    }
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Nothing,
    /// There is one member more.
    Added,
    /// A member has another score.
    Updated,
}

/// A sorted set.
#[derive(Clone, Debug)]
pub struct ZSet {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Listpack(Listpack),
    General(Box<General>),
}

impl Default for ZSet {
    /// An empty sorted set that expects few members.
    fn default() -> Self {
        ZSet { form: Form::Listpack(Listpack::new()) }
    }
}

impl ZSet {
    /// An empty sorted set in the form that suits so many members, the longest of which has so many bytes.
    pub fn with_expected(members: usize, longest: usize, limits: &ZSetLimits) -> ZSet {
        let mut zset = ZSet::default();
        zset.expect(members, longest, limits);
        zset
    }

    /// A sorted set of the elements of a listpack of unknown origin, in the form that suits their number; `None` if they
    /// are not members with scores, in order. The members must be distinct.
    pub fn from_listpack(listpack: Listpack, limits: &ZSetLimits) -> Option<ZSet> {
        if !compact::is_in_order(&listpack) {
            return None;
        }
        let mut zset = ZSet { form: Form::Listpack(listpack) };
        zset.expect(zset.len(), 0, limits);
        Some(zset)
    }

    /// The whole sorted set, if it is a listpack.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        if let Form::Listpack(listpack) = &self.form { Some(listpack) } else { None }
    }

    /// Changes to the general form if more or longer members are expected than a compact one may have.
    pub fn expect(&mut self, members: usize, longest: usize, limits: &ZSetLimits) {
        if !limits.suit(members, longest) {
            self.become_general();
        }
    }

    /// Representation of the value (`OBJECT ENCODING`).
    pub fn encoding(&self) -> Encoding {
        match self.form {
            Form::Listpack(_) => Encoding::Listpack,
            Form::General(_) => Encoding::Skiplist,
        }
    }

    /// Loads the beginning of the sorted set ahead of its use.
    #[inline]
    pub(crate) fn prefetch(&self) {
        match &self.form {
            Form::Listpack(listpack) => listpack.prefetch(),
            Form::General(general) => prefetch(&**general),
        }
    }

    /// Loads the place of a member of a big sorted set ahead of its use; returns what [`ZSet::prefetch_member`] wants.
    #[inline]
    pub(crate) fn prefetch_slot(&self, member: &[u8]) -> u64 {
        if let Form::General(general) = &self.form { general.prefetch_slot(member) } else { 0 }
    }

    /// Loads a member of a big sorted set ahead of its use.
    #[inline]
    pub(crate) fn prefetch_member(&self, hash: u64) {
        if let Form::General(general) = &self.form {
            general.prefetch_member(hash);
        }
    }

    /// Number of members.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Listpack(listpack) => compact::len(listpack),
            Form::General(general) => general.len(),
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The score of a member.
    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.form {
            Form::Listpack(listpack) => compact::find(listpack, member).map(|(_, score)| score),
            Form::General(general) => general.score(member),
        }
    }

    /// How many members come before one, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match &self.form {
            Form::Listpack(listpack) => compact::rank(listpack, member),
            Form::General(general) => general.rank(member),
        }
    }

    /// The ranks of the members whose scores lie in a range.
    pub fn ranks_by_score(&self, range: &ScoreRange) -> Range<usize> {
        let start = self.rank_by(|score, _| range.is_below(score));
        let end = self.rank_by(|score, _| range.is_up_to_max(score));
        start..end.max(start)
    }

    /// The ranks of the members that lie in a range.
    pub fn ranks_by_lex(&self, range: &LexRange<'_>) -> Range<usize> {
        let start = self.rank_by(|_, member| range.is_below(member));
        let end = self.rank_by(|_, member| range.is_up_to_max(member));
        start..end.max(start)
    }

    fn rank_by(&self, before: impl FnMut(f64, &[u8]) -> bool) -> usize {
        match &self.form {
            Form::Listpack(listpack) => compact::rank_by(listpack, before),
            Form::General(general) => general.rank_by(before),
        }
    }

    /// Gives a member the score that `decide` makes of the one it has, if it has one; `None` changes nothing.
    #[inline]
    pub fn edit(
        &mut self,
        member: &[u8],
        limits: &ZSetLimits,
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Change {
        let listpack = match &mut self.form {
            Form::Listpack(listpack) => listpack,
            Form::General(general) => return general.edit(member, decide),
        };
        if let Some((pos, old)) = compact::find(listpack, member) {
            return match decide(Some(old)) {
                Some(new) if new != old => {
                    compact::move_to(listpack, pos, member, new);
                    Change::Updated
                }
                _ => Change::Nothing,
            };
        }
        let Some(score) = decide(None) else { return Change::Nothing };
        let suits = limits.suit(compact::len(listpack) + 1, member.len())
            && listpack.total_bytes() + member.len() <= LISTPACK_BYTES_MAX;
        if suits {
            compact::insert_new(listpack, member, score);
        } else {
            self.become_general().insert_new(member, score);
        }
        Change::Added
    }

    /// Gives a member a score.
    pub fn insert(&mut self, member: &[u8], score: f64, limits: &ZSetLimits) -> Change {
        self.edit(member, limits, |_| Some(score))
    }

    /// Takes a member out and returns its score. The form stays.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.form {
            Form::Listpack(listpack) => compact::remove(listpack, member),
            Form::General(general) => general.remove(member),
        }
    }

    /// Takes the members of these ranks out, which must be there. The form stays.
    pub fn remove_ranks(&mut self, ranks: Range<usize>) {
        match &mut self.form {
            Form::Listpack(listpack) => compact::remove_ranks(listpack, ranks),
            Form::General(general) => general.remove_ranks(ranks),
        }
    }

    /// Visits the members of these ranks, which must be there, in order or from the last one back.
    pub fn visit(&self, ranks: Range<usize>, reverse: bool, visit: impl FnMut(&[u8], f64)) {
        match &self.form {
            Form::Listpack(listpack) => compact::visit(listpack, ranks, reverse, visit),
            Form::General(general) => general.visit(ranks, reverse, visit),
        }
    }

    /// Visits all members in order.
    pub fn for_each(&self, visit: impl FnMut(&[u8], f64)) {
        self.visit(0..self.len(), false, visit);
    }

    /// Members from `cursor` on (0 starts), about `count` of them, or all of a compact sorted set; returns the cursor to go
    /// on with, 0 when all are done. Members that stay from the first call to the last are visited at least once.
    pub fn scan(&self, cursor: u64, count: usize, visit: impl FnMut(&[u8], f64)) -> u64 {
        match &self.form {
            Form::Listpack(_) => {
                self.for_each(visit);
                0
            }
            Form::General(general) => general.scan(cursor, count, visit),
        }
    }

    /// Visits members drawn one by one, any of them any number of times. There must be one.
    pub fn draw(
        &self,
        draws: usize,
        mut random: impl FnMut(usize) -> usize,
        mut visit: impl FnMut(&[u8], f64),
    ) {
        match &self.form {
            Form::Listpack(listpack) => compact::draw(listpack, draws, random, visit),
            Form::General(general) => (0..draws).for_each(|_| general.random(&mut random, &mut visit)),
        }
    }

    /// Visits `count` different members, in no particular order; at most as many as there are.
    pub fn sample(&self, count: usize, random: impl FnMut(usize) -> usize, visit: impl FnMut(&[u8], f64)) {
        match &self.form {
            Form::Listpack(listpack) => compact::sample(listpack, count, random, visit),
            Form::General(general) => general.sample(count, random, visit),
        }
    }

    fn become_general(&mut self) -> &mut General {
        if let Form::Listpack(listpack) = &self.form {
            let mut general = Box::new(General::new());
            let mut text = itoa::Buffer::new();
            for (member, score) in compact::Pairs::new(listpack) {
                general.push(Scored::new(member.as_bytes(&mut text), score));
            }
            self.form = Form::General(general);
        }
        match &mut self.form {
            Form::General(general) => general,
            Form::Listpack(_) => unreachable!("just changed"),
        }
    }

    /// What can be saved bit by bit: the general form.
    #[inline]
    pub(crate) fn parts(&self) -> Option<&dyn Parts> {
        match &self.form {
            Form::Listpack(_) => None,
            Form::General(general) => Some(general.parts()),
        }
    }

    pub(crate) fn parts_mut(&mut self) -> Option<&mut dyn Parts> {
        match &mut self.form {
            Form::Listpack(_) => None,
            Form::General(general) => Some(general.parts_mut()),
        }
    }

    /// Shows the members that were there when the save began, each one once over all calls and in no particular order, until
    /// `show` asks for a pause by `false`. True while there are more.
    pub(crate) fn save_some(&mut self, show: impl FnMut(&[u8], f64) -> bool) -> bool {
        match &mut self.form {
            Form::Listpack(_) => false,
            Form::General(general) => general.save_some(show),
        }
    }

    /// Number of parts that freeing the value has to walk.
    pub fn free_effort(&self) -> usize {
        match &self.form {
            Form::Listpack(_) => 1,
            Form::General(general) => general.len(),
        }
    }

    /// Bytes on the heap. O(1).
    pub fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Listpack(listpack) => allocated_bytes(listpack.total_bytes()),
            Form::General(general) => general.heap_bytes(),
        }
    }

    /// Frees elements until that was about so much effort; true while something is left.
    pub fn free_some(&mut self, effort_max: usize) -> bool {
        match &mut self.form {
            Form::Listpack(_) => false,
            Form::General(general) => general.free_some(effort_max),
        }
    }
}

/// Members that come in any order, and more than once, on their way to a sorted set.
#[derive(Debug, Default)]
pub struct ZSetBuilder {
    members: Unordered,
}

impl ZSetBuilder {
    #[inline]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives a member the score that `combine` makes of the one it has, if it has one.
    #[inline]
    pub fn add(&mut self, member: &[u8], combine: impl FnOnce(Option<f64>) -> f64) {
        self.members.add(member, combine);
    }

    pub fn remove(&mut self, member: &[u8]) {
        self.members.remove(member);
    }

    /// The sorted set, compact if it may be. Contract: Redis 7.2 looks at the result only, not at what it came from.
    pub fn finish(self, limits: &ZSetLimits) -> ZSet {
        let len = self.len();
        let suits = limits.suit(len, 0) && limits.suit(len, self.members.longest_member());
        let general = self.members.into_ordered();
        if !suits {
            return ZSet { form: Form::General(Box::new(general)) };
        }
        let mut listpack = Listpack::new();
        general.visit(0..len, false, |member, score| {
            compact::insert_at(&mut listpack, None, Item::of(member), score);
        });
        ZSet { form: Form::Listpack(listpack) }
    }
}
