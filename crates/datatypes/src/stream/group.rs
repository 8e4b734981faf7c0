//! A consumer group: how far it has read, its consumers, and the entries delivered to them and not acknowledged.
//!
//! Owns the agreement of its two views of pending entries: all of them by id, and those of each consumer by id. Never
//! looks at the entries of the stream, and knows no clock: times come in as values.

use std::collections::{BTreeMap, BTreeSet};

use super::{StreamId, tree_bytes};
use crate::entry::class::allocated_bytes;

/// A consumer group.
#[derive(Clone, Debug)]
pub struct Group {
    /// The last entry that was delivered.
    pub last_id: StreamId,
    /// How many entries of the stream's history were delivered, where that is known.
    pub entries_read: Option<u64>,
    pending: BTreeMap<StreamId, Pending>,
    names: BTreeMap<Box<[u8]>, ConsumerId>,
    /// By number.
    consumers: Vec<Option<Consumer>>,
    /// Numbers of removed consumers.
    free: Vec<ConsumerId>,
    names_bytes: usize,
}

/// Number of a consumer within its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerId(u32);

/// A consumer.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// When it last tried to read or claim, in unix milliseconds.
    pub seen_ms: i64,
    /// When it last got something.
    pub active_ms: Option<i64>,
    name: Box<[u8]>,
    pending: BTreeSet<StreamId>,
}

impl Consumer {
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Number of its pending entries.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// Its pending entries from `start` on.
    pub fn pending_from(&self, start: StreamId) -> impl Iterator<Item = StreamId> {
        self.pending.range(start..).copied()
    }
}

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    pub consumer: ConsumerId,
    /// When it was delivered last, in unix milliseconds.
    pub delivered_ms: i64,
    /// How often it was delivered.
    pub deliveries: u64,
}

impl Group {
    pub(super) fn new(last_id: StreamId, entries_read: Option<u64>) -> Group {
        Group {
            last_id,
            entries_read,
            pending: BTreeMap::new(),
            names: BTreeMap::new(),
            consumers: Vec::new(),
            free: Vec::new(),
            names_bytes: 0,
        }
    }

    /// Number of pending entries.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// The pending entries from `start` on.
    pub fn pending_from(&self, start: StreamId) -> impl Iterator<Item = (StreamId, Pending)> {
        self.pending.range(start..).map(|(&id, &pending)| (id, pending))
    }

    /// The first and the last pending entry.
    pub fn pending_bounds(&self) -> Option<(StreamId, StreamId)> {
        Some((*self.pending.first_key_value()?.0, *self.pending.last_key_value()?.0))
    }

    pub fn pending(&self, id: StreamId) -> Option<Pending> {
        self.pending.get(&id).copied()
    }

    /// Number of consumers.
    pub fn consumers_len(&self) -> usize {
        self.names.len()
    }

    /// The consumers in the order of their names.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = &Consumer> {
        self.names.values().map(|&id| self.consumer(id))
    }

    /// The number of the consumer of that name.
    pub fn find_consumer(&self, name: &[u8]) -> Option<ConsumerId> {
        self.names.get(name).copied()
    }

    pub fn consumer(&self, id: ConsumerId) -> &Consumer {
        self.consumers[id.0 as usize].as_ref().expect("numbers of removed consumers are in no use")
    }

    pub fn consumer_mut(&mut self, id: ConsumerId) -> &mut Consumer {
        self.consumers[id.0 as usize].as_mut().expect("numbers of removed consumers are in no use")
    }

    /// Adds a consumer; there must be none of that name.
    pub fn add_consumer(&mut self, name: &[u8], seen_ms: i64) -> ConsumerId {
        let consumer = Consumer { seen_ms, active_ms: None, name: name.into(), pending: BTreeSet::new() };
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.consumers.push(None);
                ConsumerId(u32::try_from(self.consumers.len() - 1).expect("a group has below 2^32 consumers"))
            }
        };
        self.consumers[id.0 as usize] = Some(consumer);
        let before = self.names.insert(name.into(), id);
        debug_assert_eq!(before, None);
        self.names_bytes += 2 * allocated_bytes(name.len());
        id
    }

    /// Removes a consumer with its pending entries; returns how many those were.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let id = self.names.remove(name)?;
        self.names_bytes -= 2 * allocated_bytes(name.len());
        let consumer = self.consumers[id.0 as usize].take().expect("it has a name");
        for entry in &consumer.pending {
            self.pending.remove(entry);
        }
        self.free.push(id);
        Some(consumer.pending.len())
    }

    /// Makes an entry pending under this consumer, whoever had it before.
    pub fn assign(&mut self, id: StreamId, pending: Pending) {
        let before = self.pending.insert(id, pending);
        if let Some(before) = before.filter(|before| before.consumer != pending.consumer) {
            self.consumer_mut(before.consumer).pending.remove(&id);
        }
        if before.is_none_or(|before| before.consumer != pending.consumer) {
            self.consumer_mut(pending.consumer).pending.insert(id);
        }
    }

    /// Visits the pending entries of a consumer from `start` on, for change in anything but the consumer.
    pub fn visit_pending_of(
        &mut self,
        consumer: ConsumerId,
        start: StreamId,
        count_max: usize,
        mut visit: impl FnMut(StreamId, &mut Pending),
    ) {
        let consumer = self.consumers[consumer.0 as usize].as_ref();
        let ids = &consumer.expect("numbers of removed consumers are in no use").pending;
        for id in ids.range(start..).take(count_max) {
            visit(*id, self.pending.get_mut(id).expect("pending entries of a consumer are the group's too"));
        }
    }

    /// An entry is pending no more; false if it was not.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(pending) = self.pending.remove(&id) else { return false };
        self.consumer_mut(pending.consumer).pending.remove(&id);
        true
    }

    /// Parts that freeing the group has to walk.
    pub(super) fn free_effort(&self) -> usize {
        self.pending.len() + self.names.len()
    }

    /// Frees up to `parts_max` parts; returns how many.
    pub(super) fn free_some(&mut self, parts_max: usize) -> usize {
        let mut freed = (0..parts_max).take_while(|_| self.pending.pop_first().is_some()).count();
        while freed < parts_max {
            match self.consumers.last_mut() {
                Some(Some(consumer)) if !consumer.pending.is_empty() => {
                    let left = parts_max - freed;
                    freed += (0..left).take_while(|_| consumer.pending.pop_first().is_some()).count();
                }
                Some(_) => {
                    self.consumers.pop();
                    freed += 1;
                }
                None => {
                    let left = parts_max - freed;
                    freed += (0..left).take_while(|_| self.names.pop_first().is_some()).count();
                    break;
                }
            }
        }
        freed
    }

    /// Bytes on the heap. O(1).
    pub(super) fn heap_bytes(&self) -> usize {
        let pending = tree_bytes(self.pending.len(), size_of::<(StreamId, Pending)>());
        // Every pending entry has one consumer.
        let of_consumers = tree_bytes(self.pending.len(), size_of::<StreamId>());
        let names = tree_bytes(self.names.len(), size_of::<(Box<[u8]>, ConsumerId)>());
        let consumers = allocated_bytes(self.consumers.capacity() * size_of::<Option<Consumer>>());
        pending + of_consumers + names + consumers + self.names_bytes
    }
}
