//! Hot path. One database of one shard: a table per slot, and the counts that go with it.
//! Never decides whether a key has expired, and never records changes.
//!
//! A slot's table is a segment right in the array of heads; a slot that outgrew one segment has its split beside it.
//! Nothing is allocated before the first key. Counts are kept per slot, per group of 128 slots (to skip empty ones
//! and to draw a random key fairly) and in total.

use std::ops::{Deref, DerefMut};

use torc_datatypes::prefetch::prefetch;
use torc_datatypes::{Entry, is_expired};

use crate::graveyard::Flushed;
use crate::key::{Hasher, Key};
use crate::rng::Rng;
use crate::segment::{LINES_MAX, Place, Segment, TAG_BITS};
use crate::slot::SLOTS;
use crate::snapshot::Snapshot;
use crate::split::{POSITION_BITS, Split, tag_at};

const GROUP_SLOTS: usize = 128;
/// Part number of a slot that is not split.
const WHOLE: u32 = u32::MAX;
/// Slots that one draw of keys looks into.
const SAMPLED_SLOTS_MAX: usize = 16;
/// Lines whose volatile entries are loaded ahead of the expiry walk.
const EXPIRE_LINES_AHEAD: usize = 2;

#[derive(Clone, Copy)]
struct SlotCounts {
    len: u32,
    /// Keys that expire, or parts of whose value do.
    volatile: u32,
    /// Nothing in the slot expires before this (unix ms); it may be too early, never too late.
    expires_from_ms: i64,
}

#[derive(Clone, Copy, Default)]
struct GroupCounts {
    len: u32,
    volatile: u32,
}

/// What the counts know of an entry's expiry.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Timing {
    key: Option<i64>,
    parts: Option<i64>,
}

impl Timing {
    #[inline]
    fn of(entry: &Entry) -> Timing {
        Timing { key: entry.expire_at(), parts: entry.parts_expire_from() }
    }

    fn is_volatile(self) -> bool {
        self.earliest().is_some()
    }

    /// When there is something to take out.
    fn earliest(self) -> Option<i64> {
        earlier(self.key, self.parts)
    }
}

/// The earlier of two times, as far as they are there.
pub(crate) fn earlier(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Sums over a database.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) len: usize,
    /// Keys that expire.
    pub(crate) volatile: usize,
    /// Keys with values parts of which expire.
    pub(crate) with_volatile_parts: usize,
    pub(crate) entry_bytes: usize,
    /// Bytes of segments and directories, without the arrays of fixed size.
    pub(crate) table_bytes: usize,
}

/// Where an entry lies; valid until the next insert or removal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    part: u32,
    place: Place,
}

/// What the expiry walk took out.
pub(crate) enum Gone {
    Key(Entry),
    /// Some parts of a value; if none are left, the entry went with them.
    Parts {
        key: Box<[u8]>,
        names: Vec<Box<[u8]>>,
        vacant: Option<Entry>,
    },
}

/// What a step of the expiry walk saw.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExpireStep {
    /// Keys looked at, and parts taken out.
    pub(crate) visited: usize,
    /// Keys that had expired.
    pub(crate) expired: usize,
    /// Parts of values that had.
    pub(crate) expired_parts: usize,
    /// Keys with an expiry that stay, and the sum of their remaining lives.
    pub(crate) alive: usize,
    pub(crate) ttl_sum_ms: i128,
    pub(crate) earliest_ms: Option<i64>,
    /// Where the slot's walk goes on; `None`: the slot is done.
    pub(crate) next: Option<u64>,
}

#[derive(Default)]
pub(crate) struct Database {
    heads: Vec<Segment>,
    /// Empty until some slot is split.
    splits: Vec<Option<Box<Split>>>,
    counts: Vec<SlotCounts>,
    groups: Vec<GroupCounts>,
    totals: Totals,
    /// State of the expiry walk, which goes with the keys when databases are swapped.
    pub(crate) walk: crate::expire::Walk,
    /// What entries are marked with that the snapshot under way (or the last one) is through with.
    pub(crate) mark: bool,
    /// The snapshot under way, until it has all that was here at its cut.
    pub(crate) snapshot: Option<Box<Snapshot>>,
}

impl Database {
    #[inline]
    pub(crate) fn totals(&self) -> &Totals {
        &self.totals
    }

    pub(crate) fn slot_len(&self, slot: u16) -> usize {
        self.counts.get(usize::from(slot)).map_or(0, |counts| counts.len as usize)
    }

    /// Bytes of the arrays that a database with at least one key has.
    pub(crate) fn fixed_bytes(&self) -> usize {
        self.heads.capacity() * size_of::<Segment>()
            + self.splits.capacity() * size_of::<Option<Box<Split>>>()
            + self.counts.capacity() * size_of::<SlotCounts>()
            + self.groups.capacity() * size_of::<GroupCounts>()
    }

    /// Bytes of all entries and tables, as the allocator counts them.
    #[inline]
    pub(crate) fn used_bytes(&self) -> usize {
        self.counted_bytes() + self.fixed_bytes()
    }

    /// The same without the arrays of fixed size.
    #[inline]
    pub(crate) fn counted_bytes(&self) -> usize {
        self.totals.entry_bytes + self.totals.table_bytes
    }

    #[inline]
    pub(crate) fn find(&self, key: &Key<'_>) -> Option<Found> {
        let head = self.heads.get(usize::from(key.slot))?;
        if head.has_no_lines() {
            return self.find_in_split(key);
        }
        let place = head.find(tag_at(key.hash, 0), key.bytes)?;
        Some(Found { part: WHOLE, place })
    }

    fn find_in_split(&self, key: &Key<'_>) -> Option<Found> {
        let split = self.splits.get(usize::from(key.slot))?.as_ref()?;
        let (part, tag) = split.locate(key.hash);
        let place = split.part(part).segment.find(tag, key.bytes)?;
        Some(Found { part, place })
    }

    /// Before the first step of a prefetch, where much else comes between two visits of a slot: where its lines are, and what
    /// an insert counts.
    #[inline]
    pub(crate) fn prefetch_slot(&self, slot: u16) {
        let slot = usize::from(slot);
        if let (Some(head), Some(counts)) = (self.heads.get(slot), self.counts.get(slot)) {
            prefetch(head);
            prefetch(counts);
        }
    }

    /// First step of a prefetch: the line in which the key's handle would be.
    #[inline]
    pub(crate) fn prefetch_line(&self, key: &Key<'_>) {
        if let Some((segment, tag)) = self.segment_for(key) {
            segment.prefetch_line(tag);
        }
    }

    /// Second step of a prefetch, when the line has arrived: the entry.
    #[inline]
    pub(crate) fn prefetch_entry(&self, key: &Key<'_>) {
        if let Some((segment, tag)) = self.segment_for(key) {
            segment.prefetch_entry(tag);
        }
    }

    #[inline]
    fn segment_for(&self, key: &Key<'_>) -> Option<(&Segment, u16)> {
        let head = self.heads.get(usize::from(key.slot))?;
        if !head.has_no_lines() {
            return Some((head, tag_at(key.hash, 0)));
        }
        let split = self.splits.get(usize::from(key.slot))?.as_ref()?;
        let (part, tag) = split.locate(key.hash);
        Some((&split.part(part).segment, tag))
    }

    #[inline]
    pub(crate) fn entry(&self, slot: u16, found: Found) -> &Entry {
        let slot = usize::from(slot);
        match found.part {
            WHOLE => self.heads[slot].entry(found.place),
            part => self.split(slot).part(part).segment.entry(found.place),
        }
    }

    /// The entry for reading, for stamping its access clock, and for going on with the save of its value; nothing else may
    /// change (see [`EntryMut`]).
    #[inline]
    pub(crate) fn entry_to_touch(&mut self, slot: u16, found: Found) -> &mut Entry {
        entry_in(&mut self.heads, &mut self.splits, slot, found)
    }

    /// The entry for any change but that of its key.
    #[inline]
    pub(crate) fn entry_mut(&mut self, slot: u16, found: Found) -> EntryMut<'_> {
        if self.entry(slot, found).is_marked() != self.mark {
            self.save_before_change(slot, found);
        }
        let entry = entry_in(&mut self.heads, &mut self.splits, slot, found);
        EntryMut {
            bytes_before: entry.size_bytes(),
            timing_before: Timing::of(entry),
            entry,
            counts: &mut self.counts[usize::from(slot)],
            group: &mut self.groups[usize::from(slot) / GROUP_SLOTS],
            totals: &mut self.totals,
        }
    }

    fn split(&self, slot: usize) -> &Split {
        self.splits[slot].as_ref().expect("a part belongs to a split")
    }

    /// Adds an entry whose key is not there; it must carry that key.
    pub(crate) fn insert_new(&mut self, key: &Key<'_>, mut entry: Entry, hasher: &Hasher) -> Found {
        debug_assert_eq!(entry.key(), key.bytes);
        if entry.is_marked() != self.mark {
            entry.set_marked(self.mark);
        }
        if self.heads.is_empty() {
            self.allocate();
        }
        let slot = usize::from(key.slot);
        let slot_len = self.counts[slot].len as usize;
        self.count_added(slot, &entry);
        let head = &mut self.heads[slot];
        if head.has_room(slot_len) {
            return Found { part: WHOLE, place: head.insert(tag_at(key.hash, 0), entry) };
        }
        self.insert_after_growth(key, slot_len, entry, hasher)
    }

    /// As `insert_new` where the slot's table must grow, split, or is split already.
    #[cold]
    fn insert_after_growth(
        &mut self,
        key: &Key<'_>,
        slot_len: usize,
        entry: Entry,
        hasher: &Hasher,
    ) -> Found {
        let slot = usize::from(key.slot);
        let is_split = self.splits.get(slot).is_some_and(Option::is_some);
        let head = &mut self.heads[slot];
        if !is_split && head.line_count() < LINES_MAX {
            self.totals.table_bytes -= head.table_bytes();
            head.grow(slot_len);
            self.totals.table_bytes += head.table_bytes();
            return Found { part: WHOLE, place: head.insert(tag_at(key.hash, 0), entry) };
        }
        if self.splits.is_empty() {
            self.splits.resize_with(SLOTS, || None);
        }
        let split = match &mut self.splits[slot] {
            Some(split) => {
                self.totals.table_bytes -= split.table_bytes();
                split
            }
            none => {
                self.totals.table_bytes -= head.table_bytes();
                none.insert(Box::new(Split::new(std::mem::take(head), slot_len)))
            }
        };
        split.reserve(key.hash, hasher);
        self.totals.table_bytes += split.table_bytes();
        let (part, tag) = split.locate(key.hash);
        let target = split.part_mut(part);
        target.len += 1;
        Found { part, place: target.segment.insert(tag, entry) }
    }

    /// Takes an entry out and gives table memory back where that pays.
    pub(crate) fn remove(&mut self, slot: u16, hash: u64, found: Found) -> Entry {
        let entry = self.take(slot, found);
        self.shrink(slot, hash);
        entry
    }

    /// Takes an entry out; tables keep their size.
    fn take(&mut self, slot: u16, found: Found) -> Entry {
        if self.entry(slot, found).is_marked() != self.mark {
            self.save_before_change(slot, found);
        }
        let slot = usize::from(slot);
        let entry = match found.part {
            WHOLE => self.heads[slot].remove(found.place),
            part => {
                let part = self.splits[slot].as_mut().expect("a part belongs to a split").part_mut(part);
                part.len -= 1;
                part.segment.remove(found.place)
            }
        };
        self.count_removed(slot, &entry);
        entry
    }

    fn shrink(&mut self, slot: u16, hash: u64) {
        let slot = usize::from(slot);
        let Some(split) = self.splits.get_mut(slot).and_then(Option::as_mut) else {
            let head = &mut self.heads[slot];
            let bytes_before = head.table_bytes();
            head.shrink(self.counts[slot].len as usize);
            self.totals.table_bytes -= bytes_before - head.table_bytes();
            return;
        };
        self.totals.table_bytes -= split.table_bytes();
        match split.shrink(hash) {
            None => self.totals.table_bytes += split.table_bytes(),
            Some(last) => {
                self.totals.table_bytes += last.table_bytes();
                self.heads[slot] = last;
                self.splits[slot] = None;
            }
        }
    }

    fn allocate(&mut self) {
        self.heads.resize_with(SLOTS, Segment::default);
        self.counts = vec![SlotCounts { len: 0, volatile: 0, expires_from_ms: 0 }; SLOTS];
        self.groups = vec![GroupCounts::default(); SLOTS / GROUP_SLOTS];
    }

    fn count_added(&mut self, slot: usize, entry: &Entry) {
        let counts = &mut self.counts[slot];
        let group = &mut self.groups[slot / GROUP_SLOTS];
        counts.len += 1;
        group.len += 1;
        self.totals.len += 1;
        self.totals.entry_bytes += entry.size_bytes();
        let timing = Timing::of(entry);
        if timing.is_volatile() {
            count_timing(counts, group, &mut self.totals, None, Some(timing));
        }
    }

    fn count_removed(&mut self, slot: usize, entry: &Entry) {
        let counts = &mut self.counts[slot];
        let group = &mut self.groups[slot / GROUP_SLOTS];
        counts.len -= 1;
        group.len -= 1;
        self.totals.len -= 1;
        self.totals.entry_bytes -= entry.size_bytes();
        let timing = Timing::of(entry);
        if timing.is_volatile() {
            count_timing(counts, group, &mut self.totals, Some(timing), None);
        }
    }

    /// First slot from `from` on that has keys.
    pub(crate) fn next_slot(&self, from: usize) -> Option<u16> {
        self.next_where(from, |group| group.len > 0, |counts| counts.len > 0)
    }

    /// First slot from `from` on that has keys which may have expired at `now_ms`.
    pub(crate) fn next_expiring_slot(&self, from: usize, now_ms: i64) -> Option<u16> {
        let may_have_expired = |counts: &SlotCounts| counts.volatile > 0 && counts.expires_from_ms < now_ms;
        self.next_where(from, |group| group.volatile > 0, may_have_expired)
    }

    fn next_where(
        &self,
        from: usize,
        group_matches: impl Fn(&GroupCounts) -> bool,
        slot_matches: impl Fn(&SlotCounts) -> bool,
    ) -> Option<u16> {
        let mut slot = from;
        while slot < self.counts.len() {
            if slot.is_multiple_of(GROUP_SLOTS) && !group_matches(&self.groups[slot / GROUP_SLOTS]) {
                slot += GROUP_SLOTS;
            } else if slot_matches(&self.counts[slot]) {
                return Some(slot as u16);
            } else {
                slot += 1;
            }
        }
        None
    }

    /// Visits entries of a slot by ascending hash from `position` on, whole home lines at a time, until `limit`
    /// are reached. Returns how many, and where to go on (`None`: the slot is done).
    pub(crate) fn visit_slot(
        &self,
        slot: u16,
        position: u64,
        limit: usize,
        visit: &mut impl FnMut(&Entry),
    ) -> (usize, Option<u64>) {
        let slot = usize::from(slot);
        let Some(split) = self.splits.get(slot).and_then(Option::as_ref) else {
            return match self.heads.get(slot) {
                Some(head) => Span { segment: head, depth: 0, base: 0 }.visit(position, limit, visit),
                None => (0, None),
            };
        };
        let mut visited = 0;
        let mut position = position;
        loop {
            let (part, base) = split.part_at(position);
            let part = split.part(part);
            let span = Span { segment: &part.segment, depth: part.depth, base };
            let (more, next) = span.visit(position, limit - visited, visit);
            visited += more;
            if next.is_some() {
                return (visited, next);
            }
            position = span.end();
            if position >> POSITION_BITS != 0 {
                return (visited, None);
            }
            if visited >= limit {
                return (visited, Some(position));
            }
        }
    }

    /// Walks over the volatile entries of a slot from `position` on, takes out what expired before `now_ms`, and stops
    /// at the end of a line, or within a value with many parts, once `limit` were looked at.
    pub(crate) fn expire_slot(
        &mut self,
        slot: u16,
        position: u64,
        limit: usize,
        now_ms: i64,
        on_gone: &mut impl FnMut(Gone),
    ) -> ExpireStep {
        let mut step = ExpireStep::default();
        let (part, depth, base) = match self.splits.get(usize::from(slot)).and_then(Option::as_ref) {
            None => (WHOLE, 0, 0),
            Some(split) => {
                let (part, base) = split.part_at(position);
                (part, split.part(part).depth, base)
            }
        };
        let span_end = base + (1 << (POSITION_BITS - depth));
        let tag_unit = POSITION_BITS - depth - TAG_BITS;
        let segment = self.segment(slot, part);
        let line_count = segment.line_count();
        let mut line = if line_count == 0 {
            0
        } else {
            segment.home((position.saturating_sub(base) >> tag_unit) as u16)
        };
        (0..EXPIRE_LINES_AHEAD).for_each(|ahead| segment.prefetch_volatile(line + ahead));
        let mut removed = false;
        while line < line_count {
            self.segment(slot, part).prefetch_volatile(line + EXPIRE_LINES_AHEAD);
            let mut line_done = true;
            for place in Segment::places(line) {
                let found = Found { part, place };
                // A removal may pull another entry to the same place: look again.
                while self.segment(slot, part).get(place).is_some_and(Entry::is_timed) {
                    step.visited += 1;
                    let Some(timing) = self.expire_entry(slot, found, limit, now_ms, &mut step, on_gone)
                    else {
                        removed = true;
                        continue;
                    };
                    if let Some(at) = timing.key {
                        step.alive += 1;
                        step.ttl_sum_ms += i128::from(at - now_ms);
                    }
                    step.earliest_ms = earlier(step.earliest_ms, timing.earliest());
                    line_done &= !is_expired(timing.parts, now_ms);
                    break;
                }
                if !line_done {
                    break;
                }
            }
            line += usize::from(line_done);
            if step.visited >= limit && line < line_count {
                step.next = Some(base + (u64::from(self.segment(slot, part).first_tag(line)) << tag_unit));
                break;
            }
        }
        if step.next.is_none() && span_end >> POSITION_BITS == 0 {
            step.next = Some(span_end);
        }
        if removed {
            self.shrink(slot, position << (64 - POSITION_BITS));
        }
        step
    }

    /// Takes an entry out if it has expired, or the parts of its value that have, until `step.visited` is `limit`.
    /// Returns the timing of an entry that stays.
    fn expire_entry(
        &mut self,
        slot: u16,
        found: Found,
        limit: usize,
        now_ms: i64,
        step: &mut ExpireStep,
        on_gone: &mut impl FnMut(Gone),
    ) -> Option<Timing> {
        let timing = Timing::of(self.entry(slot, found));
        if is_expired(timing.key, now_ms) {
            step.expired += 1;
            on_gone(Gone::Key(self.take(slot, found)));
            return None;
        }
        if !is_expired(timing.parts, now_ms) {
            return Some(timing);
        }
        let mut entry = self.entry_mut(slot, found);
        let parts_max = limit.saturating_sub(step.visited).max(1);
        let mut names: Vec<Box<[u8]>> = Vec::new();
        let (count, key_too) = match entry.value_mut() {
            Some(mut value) => {
                let count = value.take_expired_parts(now_ms, parts_max, |name| names.push(name.into()));
                (count, value.as_ref().is_vacant())
            }
            None => (0, false),
        };
        let key = entry.key().into();
        drop(entry);
        step.visited += count;
        step.expired_parts += count;
        let vacant = key_too.then(|| self.take(slot, found));
        on_gone(Gone::Parts { key, names, vacant });
        (!key_too).then(|| Timing::of(self.entry(slot, found)))
    }

    /// Calls `visit` for entries of a slot from `position` on, whole home lines at a time, until `limit` are reached,
    /// `visit` does not want one (which is visited again then, with others of its line), or a part of the slot is done.
    /// Returns how many, and where to go on (`None`: the slot is done).
    pub(crate) fn mark_slot(
        &mut self,
        slot: u16,
        position: u64,
        limit: usize,
        visit: &mut impl FnMut(&mut Entry) -> bool,
    ) -> (usize, Option<u64>) {
        let slot = usize::from(slot);
        let (segment, depth, base) = match self.splits.get_mut(slot).and_then(Option::as_mut) {
            None => (&mut self.heads[slot], 0, 0),
            Some(split) => {
                let (part, base) = split.part_at(position);
                let part = split.part_mut(part);
                (&mut part.segment, part.depth, base)
            }
        };
        let unit = POSITION_BITS - depth - TAG_BITS;
        let line_count = segment.line_count();
        let mut visited = 0;
        if line_count > 0 {
            let tag_min = (position.saturating_sub(base) >> unit) as u32;
            for line in segment.home(tag_min as u16)..line_count {
                let (more, all_wanted) = segment.visit_home_mut(line, tag_min, visit);
                visited += more;
                let next = line + usize::from(all_wanted);
                if !all_wanted || visited >= limit && next < line_count {
                    return (visited, Some(base + (u64::from(segment.first_tag(next)) << unit)));
                }
            }
        }
        let end = base + (1 << (POSITION_BITS - depth));
        (visited, (end >> POSITION_BITS == 0).then_some(end))
    }

    /// An entry that the snapshot under way does not have yet is about to change or to go.
    #[cold]
    fn save_before_change(&mut self, slot: u16, found: Found) {
        let entry = entry_in(&mut self.heads, &mut self.splits, slot, found);
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.save(entry);
        }
        entry.set_marked(self.mark);
    }

    fn segment(&self, slot: u16, part: u32) -> &Segment {
        match part {
            WHOLE => &self.heads[usize::from(slot)],
            part => &self.split(usize::from(slot)).part(part).segment,
        }
    }

    /// Begins a full expiry walk of a slot: keys that get an expiry from now on lower the bound again.
    pub(crate) fn begin_expire_walk(&mut self, slot: u16) {
        self.counts[usize::from(slot)].expires_from_ms = i64::MAX;
    }

    /// Ends a full expiry walk of a slot whose earliest remaining expiry was `earliest_ms`.
    pub(crate) fn end_expire_walk(&mut self, slot: u16, earliest_ms: i64) {
        let bound = &mut self.counts[usize::from(slot)].expires_from_ms;
        *bound = (*bound).min(earliest_ms);
    }

    /// Entry number `index` (below the number of keys) in an order of the table's own.
    pub(crate) fn nth(&self, index: usize) -> &Entry {
        let mut rest = index;
        let mut skip = |len: usize| -> bool {
            let skipped = rest >= len;
            rest -= if skipped { len } else { 0 };
            skipped
        };
        let group = self.groups.iter().position(|group| !skip(group.len as usize)).expect("index below len");
        let first = group * GROUP_SLOTS;
        let in_group = self.counts[first..first + GROUP_SLOTS].iter();
        let slot =
            first + in_group.clone().position(|counts| !skip(counts.len as usize)).expect("groups add up");
        let segment = match self.splits.get(slot).and_then(Option::as_ref) {
            None => &self.heads[slot],
            Some(split) => &split.parts().find(|part| !skip(part.len)).expect("parts add up").segment,
        };
        segment.iter().nth(rest).expect("lengths add up")
    }

    /// Visits up to `wanted` entries that lie side by side at a random place. Their order is that of their hashes, so
    /// that they are as good as drawn one by one. `volatile_only`: only keys that expire.
    pub(crate) fn sample<'a>(
        &'a self,
        rng: &mut Rng,
        volatile_only: bool,
        wanted: usize,
        visit: &mut impl FnMut(&'a Entry),
    ) {
        let weight = |len: u32, volatile: u32| if volatile_only { volatile as usize } else { len as usize };
        let total: usize = self.groups.iter().map(|group| weight(group.len, group.volatile)).sum();
        if total == 0 {
            return;
        }
        let mut rest = rng.index(total);
        let mut skip = |len: usize| -> bool {
            let skipped = rest >= len;
            rest -= if skipped { len } else { 0 };
            skipped
        };
        let group = self.groups.iter().position(|group| !skip(weight(group.len, group.volatile)));
        let first = group.expect("the draw is below the total") * GROUP_SLOTS;
        let mut in_group = self.counts[first..first + GROUP_SLOTS].iter();
        let slot = in_group.position(|counts| !skip(weight(counts.len, counts.volatile)));
        let mut slot = first + slot.expect("groups add up");
        let mut left = wanted;
        for _ in 0..SAMPLED_SLOTS_MAX {
            self.sample_slot(slot, rng, volatile_only, &mut left, visit);
            let has_some = |counts: &SlotCounts| weight(counts.len, counts.volatile) > 0;
            let in_group = |group: &GroupCounts| weight(group.len, group.volatile) > 0;
            match self.next_where(slot + 1, in_group, has_some) {
                Some(next) if left > 0 => slot = usize::from(next),
                _ => return,
            }
        }
    }

    /// Visits up to `left` entries of a slot, from a random place on, round its end.
    fn sample_slot<'a>(
        &'a self,
        slot: usize,
        rng: &mut Rng,
        volatile_only: bool,
        left: &mut usize,
        visit: &mut impl FnMut(&'a Entry),
    ) {
        let wants = |entry: &Entry| !volatile_only || entry.is_volatile();
        let Some(split) = self.splits.get(slot).and_then(Option::as_ref) else {
            return self.heads[slot].sample(rng, left, wants, visit);
        };
        // Among the parts of a split the first is drawn by hash: a part has the more keys the more hashes it covers.
        let start = rng.below(1 << POSITION_BITS);
        let mut position = start;
        let mut is_round = false;
        while *left > 0 {
            let (index, base) = split.part_at(position);
            let part = split.part(index);
            part.segment.sample(rng, left, wants, visit);
            position = base + (1 << (POSITION_BITS - part.depth));
            if position >> POSITION_BITS != 0 {
                position = 0;
                is_round = true;
            }
            if is_round && split.part_at(start).1 <= position {
                return;
            }
        }
    }

    /// Everything in the database, leaving it empty.
    pub(crate) fn take_all(&mut self) -> Flushed {
        let mut old = std::mem::take(self);
        self.mark = old.mark;
        self.snapshot = old.snapshot.take();
        let mut segments: Vec<Segment> =
            old.heads.into_iter().filter(|segment| !segment.has_no_lines()).collect();
        for split in old.splits.into_iter().flatten() {
            segments.extend(split.into_segments());
        }
        let bytes = old.totals.entry_bytes + old.totals.table_bytes;
        let flushed = Flushed { segments, len: old.totals.len, bytes };
        match &mut self.snapshot {
            Some(snapshot) => snapshot.keep_flushed(flushed),
            None => flushed,
        }
    }
}

/// Keeps the counts true when the expiry of an entry, or of parts of its value, changes.
fn count_timing(
    counts: &mut SlotCounts,
    group: &mut GroupCounts,
    totals: &mut Totals,
    before: Option<Timing>,
    after: Option<Timing>,
) {
    if let Some(before) = before.filter(|timing| timing.is_volatile()) {
        counts.volatile -= 1;
        group.volatile -= 1;
        totals.volatile -= usize::from(before.key.is_some());
        totals.with_volatile_parts -= usize::from(before.parts.is_some());
    }
    if let Some((after, at)) = after.and_then(|timing| Some((timing, timing.earliest()?))) {
        counts.expires_from_ms = if counts.volatile == 0 { at } else { counts.expires_from_ms.min(at) };
        counts.volatile += 1;
        group.volatile += 1;
        totals.volatile += usize::from(after.key.is_some());
        totals.with_volatile_parts += usize::from(after.parts.is_some());
    }
}

#[inline]
fn entry_in<'a>(
    heads: &'a mut [Segment],
    splits: &'a mut [Option<Box<Split>>],
    slot: u16,
    found: Found,
) -> &'a mut Entry {
    let slot = usize::from(slot);
    match found.part {
        WHOLE => heads[slot].entry_mut(found.place),
        part => {
            let split = splits[slot].as_mut().expect("a part belongs to a split");
            split.part_mut(part).segment.entry_mut(found.place)
        }
    }
}

/// A segment with the range of hash positions that it covers.
struct Span<'a> {
    segment: &'a Segment,
    depth: u32,
    base: u64,
}

impl Span<'_> {
    fn end(&self) -> u64 {
        self.base + (1 << (POSITION_BITS - self.depth))
    }

    fn visit(&self, position: u64, limit: usize, visit: &mut impl FnMut(&Entry)) -> (usize, Option<u64>) {
        let line_count = self.segment.line_count();
        if line_count == 0 {
            return (0, None);
        }
        let unit = POSITION_BITS - self.depth - TAG_BITS;
        let tag_min = (position.saturating_sub(self.base) >> unit) as u32;
        let mut visited = 0;
        for line in self.segment.home(tag_min as u16)..line_count {
            visited += self.segment.visit_home(line, tag_min, visit);
            if visited >= limit && line + 1 < line_count {
                return (visited, Some(self.base + (u64::from(self.segment.first_tag(line + 1)) << unit)));
            }
        }
        (visited, None)
    }
}

/// An entry lent out for change. When it is dropped, the database's counts follow what was changed.
pub struct EntryMut<'a> {
    entry: &'a mut Entry,
    counts: &'a mut SlotCounts,
    group: &'a mut GroupCounts,
    totals: &'a mut Totals,
    bytes_before: usize,
    timing_before: Timing,
}

impl Deref for EntryMut<'_> {
    type Target = Entry;
    #[inline]
    fn deref(&self) -> &Entry {
        self.entry
    }
}

impl DerefMut for EntryMut<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Entry {
        self.entry
    }
}

impl Drop for EntryMut<'_> {
    #[inline]
    fn drop(&mut self) {
        self.totals.entry_bytes = self.totals.entry_bytes + self.entry.size_bytes() - self.bytes_before;
        if self.timing_before.parts.is_some() || self.entry.value().is_some() {
            self.entry.note_volatile_parts();
        }
        let timing = Timing::of(self.entry);
        if timing != self.timing_before {
            count_timing(self.counts, self.group, self.totals, Some(self.timing_before), Some(timing));
        }
    }
}
