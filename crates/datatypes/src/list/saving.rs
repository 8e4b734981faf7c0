//! A long list that is saved bit by bit while it changes.
//!
//! Groups of nodes are numbered when the save begins. A group keeps its number until it is saved or about to change; in
//! the second case its nodes that are not saved yet are put aside as they are. So a group with a number is as it was, and
//! numbers ascend. Owns what was put aside, and the walk.

use std::collections::{BTreeMap, VecDeque};

use super::node::Node;
use super::parts::Part;
use super::quicklist::Quicklist;
use super::{Form, List};
use crate::saving::{Parts, Slot};

pub(super) type SavingSlot = Slot<Saving>;

#[derive(Debug)]
pub(super) struct Saving {
    /// Number of the last group.
    last: usize,
    /// Number of the group that comes next, and how many of its nodes are saved.
    next: usize,
    nodes: usize,
    /// Groups as they were, without nodes that were saved.
    kept: BTreeMap<usize, VecDeque<Node>>,
}

impl Parts for Quicklist {
    fn begin_save(&mut self) {
        self.groups.iter_mut().zip(1..).for_each(|(group, number)| group.number = number);
        self.saving.put(Saving { last: self.groups.len(), next: 1, nodes: 0, kept: BTreeMap::new() });
    }

    fn save_id(&self) -> Option<usize> {
        self.saving.id()
    }

    fn end_save(&mut self) {
        self.groups.iter_mut().for_each(|group| group.number = 0);
        self.saving.clear();
    }
}

impl Quicklist {
    /// Before a group or one of its nodes changes.
    #[inline]
    pub(super) fn keep_if_saving(&mut self, group: usize) {
        if self.groups[group].number != 0 {
            self.keep(group);
        }
    }

    #[cold]
    fn keep(&mut self, group: usize) {
        let group = &mut self.groups[group];
        let number = std::mem::take(&mut group.number);
        let Some(saving) = self.saving.get() else { return };
        let saved = if number == saving.next { std::mem::take(&mut saving.nodes) } else { 0 };
        saving.kept.insert(number, group.nodes.range(saved..).cloned().collect());
    }

    fn save_some(&mut self, mut show: impl FnMut(&Node) -> bool) -> bool {
        Slot::go_on(
            |list: &mut Quicklist| &mut list.saving,
            self,
            |saving, list| saving.go_on(list, &mut show),
        )
    }
}

impl Saving {
    fn go_on(&mut self, list: &mut Quicklist, show: &mut impl FnMut(&Node) -> bool) -> bool {
        while self.next <= self.last {
            if let Some(nodes) = self.kept.get_mut(&self.next) {
                while let Some(node) = nodes.pop_front() {
                    if !show(&node) {
                        return true;
                    }
                }
                self.kept.remove(&self.next);
            } else {
                let group = list.groups.iter_mut().find(|group| group.number == self.next);
                let group = group.expect("a group that is not saved is there or was put aside");
                while let Some(node) = group.nodes.get(self.nodes) {
                    self.nodes += 1;
                    if !show(node) {
                        return true;
                    }
                }
                group.number = 0;
            }
            self.next += 1;
            self.nodes = 0;
        }
        false
    }
}

impl List {
    /// What can be saved bit by bit: a long list.
    #[inline]
    pub(crate) fn parts(&self) -> Option<&dyn Parts> {
        match &self.form {
            Form::Compact(_) => None,
            Form::General(list) => Some(&**list),
        }
    }

    pub(crate) fn parts_mut(&mut self) -> Option<&mut dyn Parts> {
        match &mut self.form {
            Form::Compact(_) => None,
            Form::General(list) => Some(&mut **list),
        }
    }

    /// Shows the parts that were there when the save began, in their order and each one once over all calls, until `show`
    /// asks for a pause by `false`. True while there may be more.
    pub(crate) fn save_some(&mut self, mut show: impl FnMut(Part<'_>) -> bool) -> bool {
        match &mut self.form {
            Form::Compact(_) => false,
            Form::General(list) => list.save_some(|node| show(Part::of(node))),
        }
    }
}
