//! The entries of a stream that are saved bit by bit while they change.
//!
//! The walk goes over the ids of nodes. A node behind it that is about to change or to go is put aside as it is, and a new
//! one under such an id is noted as new: every other node behind it is as it was. Owns what was put aside, and the walk.

use std::collections::BTreeMap;

use super::{Log, Node, StreamId};
use crate::saving::{Parts, Slot};

pub(super) type SavingSlot = Slot<Saving>;

pub(super) struct Saving {
    /// The first id that is not saved; `None`: all are.
    next: Option<StreamId>,
    /// The last node that was there.
    last: StreamId,
    /// What nodes behind the walk were; `None`: they were not there.
    kept: BTreeMap<StreamId, Option<Node>>,
    /// What comes behind the nodes, and how much of it is handed over.
    rest: Vec<u8>,
    handed_bytes: usize,
}

impl Saving {
    /// Whether a node of this id was there, for all that is known here, and is not saved.
    fn concerns(&self, first: StreamId) -> bool {
        self.next.is_some_and(|next| next <= first) && first <= self.last && !self.kept.contains_key(&first)
    }
}

impl Parts for Log {
    fn begin_save(&mut self) {
        let last = self.nodes.last_key_value().map(|(id, _)| *id);
        self.saving.put(Saving {
            next: last.map(|_| StreamId::MIN),
            last: last.unwrap_or_default(),
            kept: BTreeMap::new(),
            rest: Vec::new(),
            handed_bytes: 0,
        });
    }

    fn save_id(&self) -> Option<usize> {
        self.saving.id()
    }

    fn end_save(&mut self) {
        self.saving.clear();
    }
}

impl Log {
    /// What is to come behind the nodes of the save that has begun.
    pub(crate) fn keep_rest(&mut self, rest: Vec<u8>) {
        self.saving.get().expect("a save has begun").rest = rest;
    }

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

    /// Hands up to `bytes_max` of the rest over, when all nodes are saved; true while there is more. The save ends with it.
    pub(crate) fn save_rest(&mut self, bytes_max: usize, out: &mut Vec<u8>) -> bool {
        let Some(saving) = self.saving.get() else { return false };
        let more = &saving.rest[saving.handed_bytes..];
        let count = more.len().min(bytes_max);
        out.extend_from_slice(&more[..count]);
        saving.handed_bytes += count;
        let has_more = saving.handed_bytes < saving.rest.len();
        if !has_more {
            self.saving.clear();
        }
        has_more
    }
}
