//! A consumer group that is saved bit by bit while it changes.
//!
//! The walk goes over the pending entries by id, then over the consumers by name, and over the entries of each by id. What is
//! about to change is put aside as it was: pending entries with their consumers, and of consumers when they were seen and how
//! many entries they had. So what a group was is what it is, but for what was put aside. Owns that, and the walk; never
//! knows how parts are written.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::group::{Consumer, ConsumerId, Group, Pending};
use super::{RestPart, StreamId};

/// What a group was when the save of its stream began.
pub(super) struct Image {
    last_id: StreamId,
    entries_read: Option<u64>,
    pending_len: usize,
    consumers_len: usize,
    /// What pending entries were; `None`: they were not pending.
    entries: BTreeMap<StreamId, Option<Pending>>,
    /// Those that were pending, by their consumers.
    by_consumer: BTreeSet<(ConsumerId, StreamId)>,
    /// What consumers were; `None`: there was none of that name.
    consumers: BTreeMap<Box<[u8]>, Option<ConsumerImage>>,
    stage: Stage,
    /// Parts of this stage that were promised and are still to come, and of the stage of all consumers.
    left: usize,
    consumers_left: usize,
}

/// What comes next.
enum Stage {
    Group,
    /// Pending entries from here on.
    Entries(StreamId),
    /// Consumers from this name on.
    Consumers(Box<[u8]>),
    /// Entries of a consumer from here on; `None`: there are none. Then the consumers from a name on.
    Ids {
        consumer: ConsumerId,
        from: Option<StreamId>,
        then: Box<[u8]>,
    },
}

/// What a consumer was.
#[derive(Clone, Copy)]
pub(super) struct ConsumerImage {
    id: ConsumerId,
    seen_ms: i64,
    active_ms: Option<i64>,
    pending_len: usize,
}

impl ConsumerImage {
    pub(super) fn of(id: ConsumerId, consumer: &Consumer) -> ConsumerImage {
        let Consumer { seen_ms, active_ms, .. } = *consumer;
        ConsumerImage { id, seen_ms, active_ms, pending_len: consumer.pending_len() }
    }
}

/// The name that comes next after one.
pub(super) fn name_after(name: &[u8]) -> Box<[u8]> {
    [name, &[0]].concat().into()
}

impl Image {
    /// A group that has not changed since the save began.
    pub(super) fn of(group: &Group) -> Image {
        Image {
            last_id: group.last_id,
            entries_read: group.entries_read,
            pending_len: group.pending_len(),
            consumers_len: group.consumers_len(),
            entries: BTreeMap::new(),
            by_consumer: BTreeSet::new(),
            consumers: BTreeMap::new(),
            stage: Stage::Group,
            left: 0,
            consumers_left: 0,
        }
    }

    /// A pending entry is about to change, and is this now.
    #[cold]
    pub(super) fn keep_entry(&mut self, id: StreamId, now: Option<Pending>) {
        if let std::collections::btree_map::Entry::Vacant(place) = self.entries.entry(id) {
            place.insert(now);
            self.by_consumer.extend(now.map(|pending| (pending.consumer, id)));
        }
    }

    /// A consumer is about to change, and is this now.
    #[cold]
    pub(super) fn keep_consumer(&mut self, name: &[u8], now: Option<ConsumerImage>) {
        if !self.consumers.contains_key(name) {
            self.consumers.insert(name.into(), now);
        }
    }

    /// Shows parts until `show` asks for a pause by `false`; true then.
    fn save_some(&mut self, name: &[u8], group: &Group, show: &mut impl FnMut(RestPart<'_>) -> bool) -> bool {
        loop {
            let goes_on = match &self.stage {
                Stage::Group => self.save_head(name, show),
                Stage::Entries(from) => self.save_entries(*from, group, show),
                Stage::Consumers(_) => {
                    let goes_on = self.save_consumer(group, show);
                    if goes_on.is_none() {
                        return false;
                    }
                    goes_on == Some(true)
                }
                Stage::Ids { .. } => self.save_ids(group, show),
            };
            if !goes_on {
                return true;
            }
        }
    }

    fn save_head(&mut self, name: &[u8], show: &mut impl FnMut(RestPart<'_>) -> bool) -> bool {
        let Image { last_id, entries_read, pending_len, .. } = *self;
        (self.stage, self.left) = (Stage::Entries(StreamId::MIN), pending_len);
        show(RestPart::Group { name, last_id, entries_read, pending_len })
    }

    fn save_entries(
        &mut self,
        from: StreamId,
        group: &Group,
        show: &mut impl FnMut(RestPart<'_>) -> bool,
    ) -> bool {
        let kept = self.entries.range(from..).map(|(id, was)| (*id, *was));
        for (id, Pending { delivered_ms, deliveries, .. }) in as_it_was(group.pending_from(from), kept) {
            self.left = self.left.checked_sub(1).expect("no more pending entries than were promised");
            let goes_on = show(RestPart::Pending { id, delivered_ms, deliveries });
            match id.next() {
                Some(next) if !goes_on => {
                    self.stage = Stage::Entries(next);
                    return false;
                }
                _ => {}
            }
        }
        assert_eq!(self.left, 0, "pending entries of a group that was being saved are missing");
        (self.stage, self.consumers_left) = (Stage::Consumers(Box::default()), self.consumers_len);
        show(RestPart::Consumers(self.consumers_len))
    }

    /// Shows the next consumer; `None` if there is none.
    fn save_consumer(&mut self, group: &Group, show: &mut impl FnMut(RestPart<'_>) -> bool) -> Option<bool> {
        let Stage::Consumers(from) = &self.stage else { unreachable!("it is the turn of a consumer") };
        let kept = self.consumers.range::<[u8], _>((Bound::Included(&**from), Bound::Unbounded));
        let kept = kept.map(|(name, was)| (&name[..], *was));
        let Some((name, consumer)) = as_it_was(group.consumer_images(from), kept).next() else {
            assert_eq!(self.consumers_left, 0, "consumers of a group that was being saved are missing");
            return None;
        };
        let then = name_after(name);
        let ConsumerImage { id, seen_ms, active_ms, pending_len } = consumer;
        let goes_on = show(RestPart::Consumer { name, seen_ms, active_ms, pending_len });
        self.consumers_left =
            self.consumers_left.checked_sub(1).expect("no more consumers than were promised");
        self.left = pending_len;
        self.stage = Stage::Ids { consumer: id, from: Some(StreamId::MIN), then };
        Some(goes_on)
    }

    fn save_ids(&mut self, group: &Group, show: &mut impl FnMut(RestPart<'_>) -> bool) -> bool {
        let Stage::Ids { consumer, from, then } = &mut self.stage else {
            unreachable!("it is the turn of a consumer's entries")
        };
        // The number may be another's by now: whatever that one has was put aside.
        if let Some(start) = *from {
            let now = group.get_consumer(*consumer).into_iter().flat_map(|now| now.pending_from(start));
            let now = now.filter(|id| !self.entries.contains_key(id)).map(|id| (id, ()));
            let kept = self.by_consumer.range((*consumer, start)..=(*consumer, StreamId::MAX));
            for (id, ()) in as_it_was(now, kept.map(|(_, id)| (*id, Some(())))) {
                self.left = self.left.checked_sub(1).expect("no more entries than a consumer had");
                *from = id.next();
                if !show(RestPart::Id(id)) {
                    return false;
                }
            }
        }
        assert_eq!(self.left, 0, "entries of a consumer that was being saved are missing");
        self.stage = Stage::Consumers(std::mem::take(then));
        true
    }
}

/// What was there, of what is there now and of what was put aside, both ascending.
fn as_it_was<K: Ord, V>(
    now: impl Iterator<Item = (K, V)>,
    kept: impl Iterator<Item = (K, Option<V>)>,
) -> impl Iterator<Item = (K, V)> {
    let (mut now, mut kept) = (now.peekable(), kept.peekable());
    std::iter::from_fn(move || {
        loop {
            let Some((kept_key, _)) = kept.peek() else { return now.next() };
            match now.peek() {
                Some((key, _)) if key < kept_key => return now.next(),
                Some((key, _)) if key == kept_key => drop(now.next()),
                _ => {}
            }
            if let Some((key, Some(value))) = kept.next() {
                return Some((key, value));
            }
        }
    })
}

impl Group {
    /// Shows what the group was when the save of its stream began, each part once over all calls, until `show` asks for a
    /// pause by `false`. True while there may be more.
    pub(super) fn save_some(&mut self, name: &[u8], show: &mut impl FnMut(RestPart<'_>) -> bool) -> bool {
        if !self.saving.is_taken() {
            let image = Image::of(self);
            self.saving.put(image);
        }
        crate::saving::Slot::go_on(
            |group: &mut Group| &mut group.saving,
            self,
            |image, group| image.save_some(name, group, show),
        )
    }
}
