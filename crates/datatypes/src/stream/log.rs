//! The entries of a stream: nodes under ascending ids, and what is remembered of entries that were there once.
//!
//! Owns appending, deleting, trimming and reading. Knows neither groups nor clocks: ids come in as values.

use std::collections::{BTreeMap, btree_map};

use super::node::{self, Entry, NewFields, Node};
use super::saving::SavingSlot;
use super::{StreamId, radix, tree_bytes};
use crate::entry::class::allocated_bytes;
use crate::release::effort_of;

/// When a node is full.
#[derive(Clone, Copy, Debug)]
pub struct NodeLimits {
    /// `stream-node-max-bytes`; 0: no limit of its own.
    pub max_bytes: usize,
    /// `stream-node-max-entries`; 0: no limit.
    pub max_entries: usize,
}

/// Names and values of one entry never hold more bytes, and neither does a node.
pub const ENTRY_BYTES_MAX: usize = 1 << 30;

/// Which entries a trim removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trim {
    /// The oldest ones beyond this many.
    MaxLen(u64),
    /// Those with smaller ids.
    MinId(StreamId),
}

/// Whether a trim may leave entries that it could remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimEffort {
    Exact,
    /// Whole nodes only, and at most this many entries (0: no limit).
    Nodes {
        limit: u64,
    },
}

/// The entries of a stream.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Under the id of each node's first entry, which may be deleted. No node has only deleted entries.
    pub(super) nodes: BTreeMap<StreamId, Node>,
    len: u64,
    first_id: StreamId,
    last_id: StreamId,
    max_deleted_id: StreamId,
    entries_added: u64,
    /// What the nodes have allocated.
    nodes_bytes: usize,
    /// Nodes of a radix tree of the same keys, beyond those of an empty one.
    radix_nodes: usize,
    pub(super) saving: SavingSlot,
}

impl Log {
    /// Entries that are not deleted.
    #[inline]
    pub fn len(&self) -> u64 {
        self.len
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Id of the oldest entry; `0-0` when there is none.
    #[inline]
    pub fn first_id(&self) -> StreamId {
        self.first_id
    }

    /// The largest id that was ever used, its entry deleted or not.
    #[inline]
    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    /// The largest id that XDEL deleted.
    #[inline]
    pub fn max_deleted_id(&self) -> StreamId {
        self.max_deleted_id
    }

    /// Entries that were ever added.
    #[inline]
    pub fn entries_added(&self) -> u64 {
        self.entries_added
    }

    /// The nodes under their ids.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (StreamId, &Node)> {
        self.nodes.iter().map(|(&id, node)| (id, node))
    }

    /// Overwrites the largest id that was ever used (XSETID). It is never below the id of a node, whatever a file says.
    pub fn set_last_id(&mut self, last_id: StreamId) {
        let last_node = self.nodes.last_key_value().map_or(StreamId::MIN, |(id, _)| *id);
        self.last_id = last_id.max(last_node);
    }

    pub fn set_max_deleted_id(&mut self, max_deleted_id: StreamId) {
        self.max_deleted_id = max_deleted_id;
    }

    pub fn set_entries_added(&mut self, entries_added: u64) {
        self.entries_added = entries_added;
    }

    /// Takes nodes of a file over; their ids and those of their entries must ascend, but for deleted entries, which XSETID may have
    /// left ahead of later ones. What is remembered of earlier entries is to be set then.
    pub fn from_nodes(nodes: impl IntoIterator<Item = (StreamId, Node)>) -> Option<Log> {
        let mut log = Log::default();
        let mut last_id = None;
        for (id, node) in nodes {
            if last_id.is_some_and(|last| id <= last) {
                return None;
            }
            last_id = Some(id);
            let mut is_first = true;
            for entry in node.entries(id) {
                if entry.id < id {
                    return None;
                }
                if entry.deleted {
                    continue;
                }
                if last_id.is_some_and(|last| entry.id < last || entry.id == last && !is_first) {
                    return None;
                }
                (last_id, is_first) = (Some(entry.id), false);
            }
            let (entries, _) = node.counts();
            if entries > 0 {
                log.len = log.len.checked_add(entries)?;
                log.insert_node(id, node);
            }
        }
        log.first_id = log.oldest_id();
        log.set_last_id(last_id.unwrap_or(StreamId::MIN));
        log.entries_added = log.len;
        Some(log)
    }

    /// Adds an entry. Its id must be larger than [`Log::last_id`], and its bytes at most [`ENTRY_BYTES_MAX`].
    pub fn append<'a>(&mut self, id: StreamId, fields: impl NewFields<'a>, limits: NodeLimits) {
        debug_assert!(id > self.last_id, "{id} behind {}", self.last_id);
        if self.saving.is_taken()
            && let Some((&tail, _)) = self.nodes.last_key_value()
        {
            self.keep_if_saving(tail);
        }
        let new_bytes: usize = fields.clone().map(|(name, value)| name.len() + value.len()).sum();
        match self.nodes.last_entry() {
            Some(mut tail) if !limits.is_full(tail.get(), new_bytes) => {
                let first = *tail.key();
                let node = tail.get_mut();
                self.nodes_bytes -= allocated_bytes(node.capacity());
                node.append(first, id, fields);
                self.nodes_bytes += allocated_bytes(node.capacity());
            }
            tail => {
                if let Some(mut full) = tail {
                    let node = full.get_mut();
                    self.nodes_bytes -= allocated_bytes(node.capacity());
                    node.seal();
                    self.nodes_bytes += allocated_bytes(node.capacity());
                }
                let mut node = Node::new(fields.clone());
                node.append(id, id, fields);
                self.insert_node(id, node);
            }
        }
        if self.len == 0 {
            self.first_id = id;
        }
        self.len += 1;
        self.last_id = id;
        self.entries_added = self.entries_added.wrapping_add(1);
    }

    /// Deletes an entry; false if there is none of this id.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let Some((&first, node)) = self.nodes.range(..=id).next_back() else { return false };
        let Some(at) = node.find(first, id).map(|entry| entry.at) else { return false };
        if node.counts().0 == 1 {
            self.remove_node(first);
        } else {
            self.node_mut(first).delete(&[at]);
        }
        self.len -= 1;
        self.max_deleted_id = self.max_deleted_id.max(id);
        if id == self.first_id {
            self.first_id = self.oldest_id();
        }
        true
    }

    /// Removes the oldest entries; returns how many.
    pub fn trim(&mut self, trim: Trim, effort: TrimEffort) -> u64 {
        let len_before = self.len;
        while let Some((&first, node)) = self.nodes.first_key_value() {
            let (entries, _) = node.counts();
            let removed = len_before - self.len;
            if let TrimEffort::Nodes { limit } = effort
                && limit > 0
                && removed + entries > limit
            {
                break;
            }
            let whole = match trim {
                Trim::MaxLen(max_len) if self.len <= max_len => break,
                Trim::MaxLen(max_len) => self.len - entries >= max_len,
                Trim::MinId(min) => node.entries_rev(first).next().is_none_or(|last| last.id < min),
            };
            if whole {
                self.remove_node(first);
                self.len -= entries;
                continue;
            }
            if effort == TrimEffort::Exact {
                self.trim_node(first, trim);
            }
            break;
        }
        let removed = len_before - self.len;
        if removed > 0 {
            self.first_id = self.oldest_id();
        }
        removed
    }

    /// Deletes the entries of one node that a trim removes.
    fn trim_node(&mut self, first: StreamId, trim: Trim) {
        let node = &self.nodes[&first];
        let alive = node.entries(first).filter(|entry| !entry.deleted);
        let doomed: Vec<usize> = match trim {
            Trim::MaxLen(max_len) => {
                alive.take((self.len - max_len) as usize).map(|entry| entry.at).collect()
            }
            Trim::MinId(min) => alive.take_while(|entry| entry.id < min).map(|entry| entry.at).collect(),
        };
        let is_empty = node.counts().0 == doomed.len() as u64;
        self.len -= doomed.len() as u64;
        if is_empty {
            self.remove_node(first);
        } else {
            self.node_mut(first).delete(&doomed);
        }
    }

    /// A node for change in place.
    fn node_mut(&mut self, first: StreamId) -> &mut Node {
        self.keep_if_saving(first);
        self.nodes.get_mut(&first).expect("the node was just found")
    }

    fn insert_node(&mut self, first: StreamId, node: Node) {
        self.keep_if_saving(first);
        self.radix_nodes += radix::nodes_of(&self.nodes, first);
        self.nodes_bytes += allocated_bytes(node.capacity());
        self.nodes.insert(first, node);
    }

    fn remove_node(&mut self, first: StreamId) {
        let node = self.nodes.remove(&first).expect("the node was just found");
        self.nodes_bytes -= allocated_bytes(node.capacity());
        self.radix_nodes -= radix::nodes_of(&self.nodes, first);
        self.keep_removed(first, node);
    }

    /// The entries with ids from `start` to `end`, both included.
    pub fn range(&self, start: StreamId, end: StreamId) -> Range<'_> {
        let from = self.nodes.range(..=start).next_back().map_or(start, |(&first, _)| first);
        Range { nodes: self.nodes.range(from..), entries: None, start, end }
    }

    /// The same entries from `end` to `start`.
    pub fn range_rev(&self, start: StreamId, end: StreamId) -> RangeRev<'_> {
        RangeRev { nodes: self.nodes.range(..=end), entries: None, start, end }
    }

    /// The entry of this id.
    pub fn get(&self, id: StreamId) -> Option<Entry<'_>> {
        let (&first, node) = self.nodes.range(..=id).next_back()?;
        node.find(first, id)
    }

    /// Id of the newest entry; `0-0` when there is none.
    pub fn newest_id(&self) -> StreamId {
        self.range_rev(StreamId::MIN, StreamId::MAX).next().map_or(StreamId::MIN, |entry| entry.id)
    }

    fn oldest_id(&self) -> StreamId {
        self.range(StreamId::MIN, StreamId::MAX).next().map_or(StreamId::MIN, |entry| entry.id)
    }

    /// Whether an entry that XDEL deleted may lie at `start` or behind it.
    pub fn has_gaps_from(&self, start: StreamId) -> bool {
        self.len > 0
            && !self.max_deleted_id.is_zero()
            && self.first_id <= self.max_deleted_id
            && start <= self.max_deleted_id
    }

    /// How many entries were added up to this id, if that can be told. Contract: the logical read counter of Redis 7.2,
    /// which knows it at the ends of the stream only, and not across deleted entries.
    pub fn entries_added_until(&self, id: StreamId) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        if id == self.last_id || self.len == 0 && id < self.last_id {
            return Some(self.entries_added);
        }
        if id > self.last_id || !self.max_deleted_id.is_zero() && self.max_deleted_id >= self.first_id {
            return None;
        }
        let before_first = self.entries_added.wrapping_sub(self.len);
        match id.cmp(&self.first_id) {
            std::cmp::Ordering::Less => Some(before_first),
            std::cmp::Ordering::Equal => Some(before_first.wrapping_add(1)),
            std::cmp::Ordering::Greater => None,
        }
    }

    /// Number of nodes.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Number of nodes of the radix tree that Redis would keep them in. O(1).
    pub fn radix_node_count(&self) -> usize {
        radix::EMPTY + self.radix_nodes
    }

    /// Bytes on the heap. O(1).
    pub fn heap_bytes(&self) -> usize {
        self.nodes_bytes + tree_bytes(self.nodes.len(), size_of::<(StreamId, Node)>())
    }

    /// Frees nodes until that was about so much effort, and returns it.
    pub(super) fn free_some(&mut self, effort_max: usize) -> usize {
        let mut effort = 0;
        while effort < effort_max
            && let Some(mut first) = self.nodes.first_entry()
        {
            let before = allocated_bytes(first.get().capacity());
            if let Some(piece) = first.get_mut().cut() {
                effort += piece;
                self.nodes_bytes -= before - allocated_bytes(first.get().capacity());
            } else {
                effort += effort_of(before);
                self.nodes_bytes -= before;
                first.remove();
            }
        }
        effort
    }
}

impl NodeLimits {
    fn is_full(&self, node: &Node, new_bytes: usize) -> bool {
        let max_bytes = match self.max_bytes {
            0 => ENTRY_BYTES_MAX,
            max_bytes => max_bytes.min(ENTRY_BYTES_MAX),
        };
        let (entries, deleted) = node.counts();
        node.as_bytes().len() + new_bytes >= max_bytes
            || self.max_entries > 0 && entries + deleted >= self.max_entries as u64
    }
}

/// Entries in the order of their ids.
pub struct Range<'a> {
    nodes: btree_map::Range<'a, StreamId, Node>,
    entries: Option<node::Entries<'a>>,
    start: StreamId,
    end: StreamId,
}

impl<'a> Iterator for Range<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            if let Some(entries) = &mut self.entries {
                for entry in entries.by_ref() {
                    // A deleted one may have a larger id than what follows it.
                    if entry.deleted || entry.id < self.start {
                        continue;
                    }
                    return (entry.id <= self.end).then_some(entry);
                }
            }
            let (&first, node) = self.nodes.next().filter(|(first, _)| **first <= self.end)?;
            let from_within = first < self.start;
            self.entries =
                Some(if from_within { node.entries_near(first, self.start) } else { node.entries(first) });
        }
    }
}

/// Entries against the order of their ids.
pub struct RangeRev<'a> {
    nodes: btree_map::Range<'a, StreamId, Node>,
    entries: Option<node::EntriesRev<'a>>,
    start: StreamId,
    end: StreamId,
}

impl<'a> Iterator for RangeRev<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            if let Some(entries) = &mut self.entries {
                for entry in entries.by_ref() {
                    if entry.deleted || entry.id > self.end {
                        continue;
                    }
                    return (entry.id >= self.start).then_some(entry);
                }
            }
            let (&first, node) = self.nodes.next_back()?;
            self.entries = Some(node.entries_rev(first));
        }
    }
}
