//! Hot path. A big sorted set: a table of its members, each with its score in one allocation, and their order as a tree
//! of handles to them. Keeps the two in step, and never shows a handle.
//!
//! Unsafe island: the tree's handles are looked through here. Invariant, on which every `SAFETY` line below relies: each
//! handle in the tree refers to a member that the table owns. A member is put into the table before its handle gets
//! into the tree, and its handle is out of the tree before it leaves the table.
#![allow(unsafe_code)]

use std::ops::Range;

use super::Change;
use super::scored::{Handle, Scored};
use super::tree::Tree;
use crate::entry::class::allocated_bytes;
use crate::sample::{Chooser, choose_few, distinct};
use crate::saving::Parts;
use crate::table::Table;

/// Handles whose members are taken out of the table together.
const REMOVED_TOGETHER: usize = 64;
/// How many members ahead of its use one is loaded.
const MEMBERS_AHEAD: usize = 8;

#[derive(Debug)]
pub(super) struct General {
    table: Table<Scored>,
    tree: Tree<Handle>,
}

impl General {
    pub(super) fn new() -> General {
        General { table: Table::new(), tree: Tree::new() }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    #[inline]
    pub(super) fn prefetch_slot(&self, member: &[u8]) -> u64 {
        self.table.prefetch_slot(member)
    }

    #[inline]
    pub(super) fn prefetch_member(&self, hash: u64) {
        self.table.prefetch_element(hash);
    }

    #[inline]
    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.table.get(member).map(Scored::score)
    }

    pub(super) fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let score = self.score(member)?;
        // SAFETY: the tree's handles refer to members that the table owns.
        let rank = self.tree.rank(|other, handle| unsafe { is_before(other, handle, score, member) });
        Some((rank, score))
    }

    /// How many members lie before a place that a question tells, which is true for all members up to it.
    pub(super) fn rank_by(&self, mut before: impl FnMut(f64, &[u8]) -> bool) -> usize {
        // SAFETY: the tree's handles refer to members that the table owns.
        self.tree.rank(|score, handle| before(score, unsafe { handle.member() }))
    }

    pub(super) fn edit(&mut self, member: &[u8], decide: impl FnOnce(Option<f64>) -> Option<f64>) -> Change {
        let Some(found) = self.table.get(member) else {
            let Some(score) = decide(None) else { return Change::Nothing };
            self.insert_new(member, score);
            return Change::Added;
        };
        let (handle, old) = (found.handle(), found.score());
        match decide(Some(old)) {
            Some(new) if new != old => {
                self.table.keep_key_if_saving(member);
                self.move_to(handle, member, old, new);
                Change::Updated
            }
            _ => Change::Nothing,
        }
    }

    /// Adds a member that is not there.
    pub(super) fn insert_new(&mut self, member: &[u8], score: f64) {
        let scored = Scored::new(member, score);
        let handle = scored.handle();
        self.table.insert_new(scored);
        // SAFETY: the tree's handles refer to members that the table owns.
        let before = |other, handle| unsafe { is_before(other, handle, score, member) };
        self.tree.insert(before, (score, handle));
    }

    /// Adds a member that is not there and comes behind all others.
    pub(super) fn push(&mut self, scored: Scored) {
        let (score, handle) = (scored.score(), scored.handle());
        self.table.insert_new(scored);
        self.tree.insert(|_, _| true, (score, handle));
    }

    fn move_to(&mut self, handle: Handle, member: &[u8], old: f64, new: f64) {
        // SAFETY: the tree's handles refer to members that the table owns.
        let before_old = |other, handle| unsafe { is_before(other, handle, old, member) };
        // SAFETY: as above.
        let before_new = |other, handle| unsafe { is_before(other, handle, new, member) };
        if !self.tree.move_in_place(before_old, before_new, new) {
            self.tree.remove(before_old);
            self.tree.insert(before_new, (new, handle));
        }
        // SAFETY: the table owns the member, and is borrowed for change: nobody looks at it.
        unsafe { handle.set_score(new) };
    }

    pub(super) fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let score = self.score(member)?;
        // SAFETY: the tree's handles refer to members that the table owns.
        self.tree.remove(|other, handle| unsafe { is_before(other, handle, score, member) });
        self.table.remove(member);
        Some(score)
    }

    pub(super) fn remove_ranks(&mut self, ranks: Range<usize>) {
        let mut left = ranks.len();
        while left > 0 {
            let mut removed = [None; REMOVED_TOGETHER];
            let mut slots = removed.iter_mut();
            let count = self.tree.remove_run(ranks.start, left.min(REMOVED_TOGETHER), |_, handle| {
                *slots.next().expect("no more than asked for") = Some(handle);
            });
            for handle in removed[..count].iter().flatten() {
                // SAFETY: the table owns the member until it is removed, with which the use of the name ends.
                let scored = self.table.remove(unsafe { handle.member() });
                debug_assert!(scored.is_some(), "what the tree refers to is in the table");
            }
            left -= count;
        }
    }

    /// Visits the members of these ranks, in order or from the last one back.
    pub(super) fn visit(&self, ranks: Range<usize>, reverse: bool, mut visit: impl FnMut(&[u8], f64)) {
        let mut show = |(score, handle): (f64, Handle)| {
            // SAFETY: the tree's handles refer to members that the table owns.
            visit(unsafe { handle.member() }, score);
        };
        self.tree.visit(ranks, reverse, |run| {
            let (entries, ahead) = (run.iter(), run.iter());
            if reverse {
                ahead_of(entries.rev(), ahead.rev(), &mut show);
            } else {
                ahead_of(entries, ahead, &mut show);
            }
        });
    }

    pub(super) fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(&[u8], f64)) -> u64 {
        self.table.scan(cursor, count, |scored| visit(scored.member(), scored.score()))
    }

    pub(super) fn random(&self, random: impl FnMut(usize) -> usize, visit: impl FnOnce(&[u8], f64)) {
        let drawn = self.table.random(random).expect("a sorted set has members");
        visit(drawn.member(), drawn.score());
    }

    pub(super) fn sample(
        &self,
        count: usize,
        mut random: impl FnMut(usize) -> usize,
        mut visit: impl FnMut(&[u8], f64),
    ) {
        if choose_few(count, self.len()) {
            let draw = || self.table.draw(&mut random).expect("a sorted set has members");
            distinct(count, draw, |place| {
                let scored = self.table.at(place).expect("drawn from the same table");
                visit(scored.member(), scored.score());
            });
            return;
        }
        let mut chooser = Chooser::new(count, self.len());
        for scored in self.table.iter().filter(|_| chooser.chooses(&mut random)) {
            visit(scored.member(), scored.score());
        }
    }

    /// What can be saved bit by bit.
    #[inline]
    pub(super) fn parts(&self) -> &dyn Parts {
        &self.table
    }

    pub(super) fn parts_mut(&mut self) -> &mut dyn Parts {
        &mut self.table
    }

    pub(super) fn save_some(&mut self, mut show: impl FnMut(&[u8], f64) -> bool) -> bool {
        self.table.save_some(|scored| show(scored.member(), scored.score()))
    }

    /// Bytes on the heap, its own box included. O(1).
    pub(super) fn heap_bytes(&self) -> usize {
        allocated_bytes(size_of::<General>()) + self.table.heap_bytes() + self.tree.heap_bytes()
    }

    /// Frees parts until that was about so much effort; true while something is left. Nothing but this may be done with it afterwards.
    pub(super) fn free_some(&mut self, effort_max: usize) -> bool {
        let mut effort = 0;
        while effort < effort_max {
            // The tree goes first: nobody looks through the handles of what is left of it.
            let more = if self.tree.free_node() { 1 } else { self.table.free_some(effort_max - effort) };
            if more == 0 {
                return false;
            }
            effort += more;
        }
        true
    }
}

/// Whether an entry comes before a member with a score.
///
/// # Safety
/// The member that the handle refers to must be alive.
#[inline]
unsafe fn is_before(other: f64, handle: Handle, score: f64, member: &[u8]) -> bool {
    // SAFETY: the caller vouches for the member.
    other < score || other == score && unsafe { handle.member() } < member
}

/// Shows entries one after the other, and loads the members of those that follow; `ahead` gives the same ones.
#[inline]
fn ahead_of(
    entries: impl Iterator<Item = (f64, Handle)>,
    mut ahead: impl Iterator<Item = (f64, Handle)>,
    mut show: impl FnMut((f64, Handle)),
) {
    let mut prefetch = || {
        if let Some((_, handle)) = ahead.next() {
            handle.prefetch();
        }
    };
    (0..MEMBERS_AHEAD).for_each(|_| prefetch());
    for entry in entries {
        prefetch();
        show(entry);
    }
}

/// Members in the order of a tree, whatever the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Unordered {
    table: Table<Scored>,
}

impl Unordered {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Gives a member the score that `combine` makes of the one it has.
    #[inline]
    pub(super) fn add(&mut self, member: &[u8], combine: impl FnOnce(Option<f64>) -> f64) {
        match self.table.get(member) {
            // SAFETY: the table owns the member, and nobody looks at it: the table is borrowed for change.
            Some(found) => unsafe { found.handle().set_score(combine(Some(found.score()))) },
            None => self.table.insert_new(Scored::new(member, combine(None))),
        }
    }

    pub(super) fn remove(&mut self, member: &[u8]) {
        self.table.remove(member);
    }

    pub(super) fn longest_member(&self) -> usize {
        self.table.iter().map(|scored| scored.member().len()).max().unwrap_or(0)
    }

    pub(super) fn into_ordered(self) -> General {
        let mut entries: Vec<(f64, Handle)> =
            self.table.iter().map(|scored| (scored.score(), scored.handle())).collect();
        // SAFETY: the handles refer to members that the table owns.
        let member = |handle: Handle| -> &[u8] { unsafe { handle.member() } };
        entries.sort_unstable_by(|(score, handle), (other, other_handle)| {
            let by_score = score.partial_cmp(other).expect("a score is a number");
            by_score.then_with(|| member(*handle).cmp(member(*other_handle)))
        });
        let mut tree = Tree::new();
        entries.into_iter().for_each(|entry| tree.insert(|_, _| true, entry));
        General { table: self.table, tree }
    }
}

impl Clone for General {
    fn clone(&self) -> General {
        let mut copy = General::new();
        self.visit(0..self.len(), false, |member, score| copy.push(Scored::new(member, score)));
        copy
    }
}
