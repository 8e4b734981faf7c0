//! A stream: entries of fields under ascending ids, and consumer groups.
//!
//! Owns the value; [`log`] holds the entries, [`group`] what groups remember. Never knows clocks, keys or clients.

pub mod group;
mod group_saving;
pub mod id;
mod id_map;
pub mod log;
pub mod node;
mod radix;
mod saving;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use self::group::{Consumer, ConsumerId, Group, Pending};
pub use self::id::StreamId;
pub use self::log::{ENTRY_BYTES_MAX, Log, NodeLimits, Trim, TrimEffort};
pub use self::node::{Entry, Fields, NewFields, Node};
use self::saving::GroupsSaving;
pub(crate) use self::saving::RestPart;
use crate::Encoding;
use crate::entry::class::allocated_bytes;
use crate::saving::Slot;

/// A stream: entries of fields under ascending ids, and consumer groups.
#[derive(Clone, Debug, Default)]
pub struct Stream(Box<Parts>);

#[derive(Clone, Debug, Default)]
struct Parts {
    log: Log,
    groups: BTreeMap<Box<[u8]>, Group>,
    /// Bytes on the heap of all groups and their names, and the parts that freeing them has to walk.
    groups_bytes: usize,
    groups_effort: usize,
    saving: Slot<GroupsSaving>,
}

impl Stream {
    pub fn new() -> Stream {
        Stream::default()
    }

    /// A stream of these entries, without groups.
    pub fn from_log(log: Log) -> Stream {
        Stream(Box::new(Parts { log, ..Parts::default() }))
    }

    /// The entries.
    #[inline]
    pub fn log(&self) -> &Log {
        &self.0.log
    }

    #[inline]
    pub fn log_mut(&mut self) -> &mut Log {
        &mut self.0.log
    }

    /// The groups in the order of their names.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&[u8], &Group)> {
        self.0.groups.iter().map(|(name, group)| (&name[..], group))
    }

    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.0.groups.get(name)
    }

    /// Lends a group for change, with the entries to read; `None` if there is no such group.
    pub fn edit_group<R>(&mut self, name: &[u8], edit: impl FnOnce(&mut Group, &Log) -> R) -> Option<R> {
        self.keep_group(name);
        let Parts { log, groups, groups_bytes, groups_effort, .. } = &mut *self.0;
        let group = groups.get_mut(name)?;
        let (bytes, effort) = (group.heap_bytes(), group.free_effort());
        let result = edit(group, log);
        *groups_bytes = *groups_bytes - bytes + group.heap_bytes();
        *groups_effort = *groups_effort - effort + group.free_effort();
        Some(result)
    }

    /// Adds a group; false if there is one of that name.
    pub fn add_group(&mut self, name: &[u8], last_id: StreamId, entries_read: Option<u64>) -> bool {
        if self.0.groups.contains_key(name) {
            return false;
        }
        self.keep_new_group(name);
        self.0.groups.insert(name.into(), Group::new(last_id, entries_read));
        self.0.groups_bytes += allocated_bytes(name.len());
        true
    }

    /// Removes a group; false if there is none of that name.
    pub fn remove_group(&mut self, name: &[u8]) -> bool {
        let Some(group) = self.0.groups.remove(name) else { return false };
        self.0.groups_bytes -= group.heap_bytes() + allocated_bytes(name.len());
        self.0.groups_effort -= group.free_effort();
        self.keep_removed_group(name, group);
        true
    }

    /// How many entries are still to be delivered to a group, if that can be told.
    pub fn lag(&self, group: &Group) -> Option<u64> {
        let log = self.log();
        if log.entries_added() == 0 {
            return Some(0);
        }
        let read = match group.entries_read {
            Some(read) if !log.has_gaps_from(group.last_id) => read,
            _ => log.entries_added_until(group.last_id)?,
        };
        Some(log.entries_added().wrapping_sub(read))
    }

    /// Representation of the value (`OBJECT ENCODING`).
    pub fn encoding(&self) -> Encoding {
        Encoding::Stream
    }

    /// Number of parts that freeing the value has to walk.
    pub fn free_effort(&self) -> usize {
        self.0.log.node_count() + self.0.groups.len() + self.0.groups_effort
    }

    /// Bytes on the heap. O(1).
    pub fn heap_bytes(&self) -> usize {
        let groups = tree_bytes(self.0.groups.len(), size_of::<(Box<[u8]>, Group)>());
        allocated_bytes(size_of::<Parts>()) + self.0.log.heap_bytes() + groups + self.0.groups_bytes
    }

    /// Frees elements until that was about so much effort; true while something is left.
    pub fn free_some(&mut self, effort_max: usize) -> bool {
        let mut effort = self.0.log.free_some(effort_max);
        while effort < effort_max {
            let Some(mut last) = self.0.groups.last_entry() else { return false };
            effort += last.get_mut().free_some(effort_max - effort);
            if effort < effort_max {
                last.remove();
                effort += 1;
            }
        }
        true
    }
}

/// What a B-tree of the standard library with so many entries takes from the allocator: its leaves have room for eleven
/// entries, and hold six when they were filled in ascending order.
fn tree_bytes(len: usize, entry_bytes: usize) -> usize {
    const LEAF_ROOM: usize = 11;
    const LEAF_FILL: usize = 6;
    const EDGES_BYTES: usize = 12 * size_of::<usize>();
    let leaf_bytes = LEAF_ROOM * entry_bytes + 2 * size_of::<usize>();
    let leaves = len.div_ceil(LEAF_FILL + 1);
    let inner = leaves.saturating_sub(1).div_ceil(LEAF_FILL);
    leaves * allocated_bytes(leaf_bytes) + inner * allocated_bytes(leaf_bytes + EDGES_BYTES)
}
