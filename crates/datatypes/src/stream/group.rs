//! A consumer group: how far it has read, its consumers, and the entries delivered to them and not acknowledged.
//!
//! Owns the agreement of its two views of pending entries: all of them by id, and those of each consumer by id. Never
//! looks at the entries of the stream, and knows no clock: times come in as values.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::group_saving::{ConsumerImage, Image};
use super::id_map::IdMap;
use super::{StreamId, tree_bytes};
use crate::entry::class::allocated_bytes;
use crate::saving::Slot;

/// A consumer group.
#[derive(Clone, Debug)]
pub struct Group {
    /// The last entry that was delivered.
    pub last_id: StreamId,
    /// How many entries of the stream's history were delivered, where that is known.
    pub entries_read: Option<u64>,
    pending: IdMap<Pending>,
    names: BTreeMap<Box<[u8]>, ConsumerId>,
    /// By number.
    consumers: Vec<Option<Consumer>>,
    /// Numbers of removed consumers.
    free: Vec<ConsumerId>,
    names_bytes: usize,
    /// What the consumers' pending entries take.
    ids_bytes: usize,
    /// What it was when a save of its stream began that has not written it yet.
    pub(super) saving: Slot<Image>,
}

/// Number of a consumer within its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConsumerId(u32);

/// A consumer.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// When it last tried to read or claim, in unix milliseconds.
    pub seen_ms: i64,
    /// When it last got something.
    pub active_ms: Option<i64>,
    name: Box<[u8]>,
    pending: IdMap<()>,
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
        self.pending.range(start).map(|(id, ())| id)
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
            pending: IdMap::default(),
            names: BTreeMap::new(),
            consumers: Vec::new(),
            free: Vec::new(),
            names_bytes: 0,
            ids_bytes: 0,
            saving: Slot::default(),
        }
    }

    /// Number of pending entries.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// The pending entries from `start` on.
    pub fn pending_from(&self, start: StreamId) -> impl Iterator<Item = (StreamId, Pending)> {
        self.pending.range(start)
    }

    /// The first and the last pending entry.
    pub fn pending_bounds(&self) -> Option<(StreamId, StreamId)> {
        Some((self.pending.first()?, self.pending.last()?))
    }

    pub fn pending(&self, id: StreamId) -> Option<Pending> {
        self.pending.get(id)
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

    /// The consumer of this number, if there is one.
    pub(super) fn get_consumer(&self, id: ConsumerId) -> Option<&Consumer> {
        self.consumers.get(id.0 as usize)?.as_ref()
    }

    pub fn consumer_mut(&mut self, id: ConsumerId) -> &mut Consumer {
        self.keep_consumer(id);
        self.consumers[id.0 as usize].as_mut().expect("numbers of removed consumers are in no use")
    }

    /// Adds a consumer; there must be none of that name.
    pub fn add_consumer(&mut self, name: &[u8], seen_ms: i64) -> ConsumerId {
        if let Some(image) = self.saving.get() {
            image.keep_consumer(name, None);
        }
        let consumer = Consumer { seen_ms, active_ms: None, name: name.into(), pending: IdMap::default() };
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
        self.keep_consumer(id);
        self.names_bytes -= 2 * allocated_bytes(name.len());
        let consumer = self.consumers[id.0 as usize].take().expect("it has a name");
        for (entry, ()) in consumer.pending.range(StreamId::MIN) {
            self.keep_entry(entry);
            self.pending.remove(entry);
        }
        self.free.push(id);
        self.ids_bytes -= consumer.pending.heap_bytes();
        Some(consumer.pending.len())
    }

    /// Makes an entry pending under this consumer, whoever had it before.
    pub fn assign(&mut self, id: StreamId, pending: Pending) {
        self.keep_entry(id);
        let before = self.pending.insert(id, pending).map(|before| before.consumer);
        if before == Some(pending.consumer) {
            return;
        }
        if let Some(before) = before {
            self.edit_ids(before, |ids| ids.remove(id));
        }
        self.edit_ids(pending.consumer, |ids| ids.insert(id, ()));
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
        for (id, ()) in ids.range(start).take(count_max) {
            let pending =
                self.pending.get_mut(id).expect("pending entries of a consumer are the group's too");
            if let Some(image) = self.saving.get() {
                image.keep_entry(id, Some(*pending));
            }
            visit(id, pending);
        }
    }

    /// An entry is pending no more; false if it was not.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        self.keep_entry(id);
        let Some(pending) = self.pending.remove(id) else { return false };
        self.edit_ids(pending.consumer, |ids| ids.remove(id));
        true
    }

    /// Changes the ids of a consumer's pending entries.
    fn edit_ids(&mut self, consumer: ConsumerId, edit: impl FnOnce(&mut IdMap<()>) -> Option<()>) {
        let ids = &mut self.consumer_mut(consumer).pending;
        let bytes_before = ids.heap_bytes();
        edit(ids);
        let bytes = ids.heap_bytes();
        self.ids_bytes = self.ids_bytes + bytes - bytes_before;
    }

    /// Before a pending entry changes, comes or goes.
    #[inline]
    fn keep_entry(&mut self, id: StreamId) {
        if let Some(image) = self.saving.get() {
            image.keep_entry(id, self.pending.get(id));
        }
    }

    /// Before a consumer, or which entries it has, changes.
    #[inline]
    fn keep_consumer(&mut self, id: ConsumerId) {
        if let Some(image) = self.saving.get() {
            let consumer = self.consumers[id.0 as usize].as_ref();
            let consumer = consumer.expect("numbers of removed consumers are in no use");
            image.keep_consumer(consumer.name(), Some(ConsumerImage::of(id, consumer)));
        }
    }

    /// The consumers from a name on, as a save shows them.
    pub(super) fn consumer_images(&self, from: &[u8]) -> impl Iterator<Item = (&[u8], ConsumerImage)> {
        let names = self.names.range::<[u8], _>((Bound::Included(from), Bound::Unbounded));
        names.map(|(name, &id)| (&name[..], ConsumerImage::of(id, self.consumer(id))))
    }

    /// Parts that freeing the group has to walk.
    pub(super) fn free_effort(&self) -> usize {
        // About as many parts hold the ids of its consumers.
        2 * self.pending.free_effort() + self.names.len()
    }

    /// Frees up to `parts_max` parts; returns how many.
    pub(super) fn free_some(&mut self, parts_max: usize) -> usize {
        let mut freed = self.pending.free_some(parts_max);
        while freed < parts_max {
            let left = parts_max - freed;
            match self.consumers.last_mut() {
                Some(Some(consumer)) if consumer.pending.free_effort() > 0 => {
                    freed += consumer.pending.free_some(left);
                }
                Some(_) => {
                    self.consumers.pop();
                    freed += 1;
                }
                None => {
                    freed += (0..left).take_while(|_| self.names.pop_first().is_some()).count();
                    break;
                }
            }
        }
        freed
    }

    /// Bytes on the heap. O(1).
    pub(super) fn heap_bytes(&self) -> usize {
        let names = tree_bytes(self.names.len(), size_of::<(Box<[u8]>, ConsumerId)>());
        let consumers = allocated_bytes(self.consumers.capacity() * size_of::<Option<Consumer>>());
        let free = allocated_bytes(self.free.capacity() * size_of::<ConsumerId>());
        self.pending.heap_bytes() + self.ids_bytes + names + self.names_bytes + consumers + free
    }
}
