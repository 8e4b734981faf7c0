//! A stream that is saved bit by bit while it changes.
//!
//! The walk goes over the ids of nodes. A node behind it that is about to change or to go is put aside as it is, and a new
//! one under such an id is noted as new: every other node behind it is as it was. Then it goes over the groups by name, in
//! the same way; a group that is about to change keeps itself what it was ([`super::group_saving`]). Owns what was put aside,
//! and the walk.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::group_saving::{Image, name_after};
use super::{Group, Log, Node, Stream, StreamId};
use crate::saving::{Parts, Slot};

/// Parts of a removed group that are freed at once.
const FREED_PARTS_MAX: usize = 256;

pub(super) type SavingSlot = Slot<Saving>;

pub(super) struct Saving {
    /// The first id that is not saved; `None`: all are.
    next: Option<StreamId>,
    /// The last node that was there.
    last: StreamId,
    /// What nodes behind the walk were; `None`: they were not there.
    kept: BTreeMap<StreamId, Option<Node>>,
}

/// What of the groups is not saved yet.
#[derive(Default)]
pub(super) struct GroupsSaving {
    /// What comes between the nodes and the groups.
    head: Vec<u8>,
    /// The first name that is not saved.
    next: Box<[u8]>,
    /// Groups that were removed; `None`: there was none of that name.
    kept: BTreeMap<Box<[u8]>, Option<Group>>,
    /// A removed group that is saved, and is to be freed.
    spent: Option<Group>,
    /// Groups that were promised and are still to come.
    left: usize,
}

impl GroupsSaving {
    /// Whether a group of this name was there, for all that is known here, and is not saved.
    fn concerns(&self, name: &[u8]) -> bool {
        *self.next <= *name && !self.kept.contains_key(name)
    }
}

/// What comes behind the nodes of a stream, part by part.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RestPart<'a> {
    /// What was kept as such ([`Stream::keep_head`]).
    Head(&'a [u8]),
    Group {
        name: &'a [u8],
        last_id: StreamId,
        entries_read: Option<u64>,
        pending_len: usize,
    },
    Pending {
        id: StreamId,
        delivered_ms: i64,
        deliveries: u64,
    },
    /// So many consumers follow.
    Consumers(usize),
    Consumer {
        name: &'a [u8],
        seen_ms: i64,
        active_ms: Option<i64>,
        pending_len: usize,
    },
    /// A pending entry of that consumer.
    Id(StreamId),
}

impl Saving {
    /// Whether a node of this id was there, for all that is known here, and is not saved.
    fn concerns(&self, first: StreamId) -> bool {
        self.next.is_some_and(|next| next <= first) && first <= self.last && !self.kept.contains_key(&first)
    }
}

impl Parts for Stream {
    fn begin_save(&mut self) {
        let last = self.log().nodes.last_key_value().map(|(id, _)| *id);
        self.log_mut().saving.put(Saving {
            next: last.map(|_| StreamId::MIN),
            last: last.unwrap_or_default(),
            kept: BTreeMap::new(),
        });
        let left = self.0.groups.len();
        self.0.saving.put(GroupsSaving { left, ..GroupsSaving::default() });
    }

    fn save_id(&self) -> Option<usize> {
        self.log().saving.id()
    }

    fn end_save(&mut self) {
        self.log_mut().saving.clear();
        self.0.saving.clear();
        self.0.groups.values_mut().for_each(|group| group.saving.clear());
    }
}

impl Stream {
    /// What is to come between the nodes and the groups of the save that has begun.
    pub(crate) fn keep_head(&mut self, head: Vec<u8>) {
        self.0.saving.get().expect("a save has begun").head = head;
    }

    /// Before a group changes.
    #[inline]
    pub(super) fn keep_group(&mut self, name: &[u8]) {
        if self.0.saving.is_taken() {
            self.keep_image(name);
        }
    }

    #[cold]
    fn keep_image(&mut self, name: &[u8]) {
        if self.0.saving.get().is_some_and(|saving| saving.concerns(name))
            && let Some(group) = self.0.groups.get_mut(name)
            && !group.saving.is_taken()
        {
            group.saving.put(Image::of(group));
        }
    }

    /// A group that was not there has come.
    pub(super) fn keep_new_group(&mut self, name: &[u8]) {
        if let Some(saving) = self.0.saving.get().filter(|saving| saving.concerns(name)) {
            saving.kept.insert(name.into(), None);
        }
    }

    /// When a group was taken out.
    pub(super) fn keep_removed_group(&mut self, name: &[u8], group: Group) {
        if let Some(saving) = self.0.saving.get().filter(|saving| saving.concerns(name)) {
            saving.kept.insert(name.into(), Some(group));
        }
    }

    /// When all nodes are saved: shows what comes behind them as it was when the save began, each part once over all
    /// calls, until `show` asks for a pause by `false`. True while there may be more; else the save has ended.
    pub(crate) fn save_rest(&mut self, mut show: impl FnMut(RestPart<'_>) -> bool) -> bool {
        let Some(saving) = self.0.saving.get() else { return false };
        let head = std::mem::take(&mut saving.head);
        if !head.is_empty() && !show(RestPart::Head(&head)) {
            return true;
        }
        while let Some(goes_on) = self.save_group(&mut show) {
            if !goes_on {
                return true;
            }
        }
        self.end_save();
        false
    }

    /// Goes on with the first group that is not saved: whether `show` has not asked for a pause. `None`: all are saved.
    fn save_group(&mut self, show: &mut impl FnMut(RestPart<'_>) -> bool) -> Option<bool> {
        let saving = self.0.saving.get()?;
        if let Some(spent) = &mut saving.spent {
            if spent.free_some(FREED_PARTS_MAX) == FREED_PARTS_MAX {
                return Some(false);
            }
            saving.spent = None;
        }
        let from = (Bound::Included(&*saving.next), Bound::Unbounded);
        let live = self.0.groups.range_mut::<[u8], _>(from).next();
        let kept = saving.kept.first_entry();
        let (name, was_there) = match (kept, live) {
            (Some(mut kept), live) if live.as_ref().is_none_or(|(live, _)| kept.key() <= *live) => {
                let name = kept.key().clone();
                if kept.get_mut().as_mut().is_some_and(|group| group.save_some(&name, show)) {
                    return Some(false);
                }
                saving.spent = kept.remove();
                (name, saving.spent.is_some())
            }
            (_, Some((name, group))) => {
                if group.save_some(name, show) {
                    return Some(false);
                }
                (name.clone(), true)
            }
            (_, None) => {
                assert_eq!(saving.left, 0, "groups of a stream that was being saved are missing");
                return None;
            }
        };
        saving.left =
            saving.left.checked_sub(usize::from(was_there)).expect("no more groups than were promised");
        saving.next = name_after(&name);
        Some(true)
    }
}

impl Log {
    /// Before a node changes, or comes under an id that has none.
    #[inline]
    pub(super) fn keep_if_saving(&mut self, first: StreamId) {
        if self.saving.is_taken() {
            self.keep(first);
        }
    }

    #[cold]
    fn keep(&mut self, first: StreamId) {
        if let Some(saving) = self.saving.get().filter(|saving| saving.concerns(first)) {
            saving.kept.insert(first, self.nodes.get(&first).cloned());
        }
    }

    /// When a node was taken out.
    #[inline]
    pub(super) fn keep_removed(&mut self, first: StreamId, node: Node) {
        if let Some(saving) = self.saving.get().filter(|saving| saving.concerns(first)) {
            saving.kept.insert(first, Some(node));
        }
    }

    /// Shows the nodes that were there when the save began, in their order and each one once over all calls, until `show`
    /// asks for a pause by `false`. True while there may be more.
    pub(crate) fn save_nodes(&mut self, mut show: impl FnMut(StreamId, &Node) -> bool) -> bool {
        let Some(saving) = self.saving.get() else { return false };
        while let Some(next) = saving.next {
            let kept = saving.kept.first_key_value().map(|(id, _)| *id);
            let live = self.nodes.range(next..).next().filter(|(id, _)| **id <= saving.last);
            let (id, goes_on) = match (kept, live) {
                (Some(kept), live) if live.is_none_or(|(live, _)| kept <= *live) => {
                    let node = saving.kept.remove(&kept).expect("it was just found");
                    (kept, node.is_none_or(|node| show(kept, &node)))
                }
                (_, Some((live, node))) => (*live, show(*live, node)),
                (_, None) => {
                    saving.next = None;
                    break;
                }
            };
            saving.next = id.next();
            if !goes_on {
                return true;
            }
        }
        false
    }
}
