//! Flushed tables on their way out: freed a bounded number of entries at a time, so that FLUSHALL ASYNC on a shard
//! with millions of keys delays nobody. Values that are being saved are kept for the snapshot, which frees them when it
//! has them. Never looks at keys.

use std::collections::VecDeque;

use torc_datatypes::{Entry, LINE_BUCKETS};

use crate::segment::Segment;

/// Parts of a value from which on it is freed bit by bit.
const INLINE_FREE_EFFORT_MAX: usize = 64;

/// What a flushed database held. Dropping it frees everything at once.
#[derive(Default)]
pub struct Flushed {
    pub(crate) segments: Vec<Segment>,
    pub(crate) len: usize,
    /// Of entries and tables.
    pub(crate) bytes: usize,
}

impl Flushed {
    /// Number of keys that were flushed.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Tables and entries that wait to be freed.
#[derive(Default)]
pub struct Graveyard {
    tables: VecDeque<Flushed>,
    entries: Vec<Entry>,
    /// Entries whose values are being saved.
    unsaved: Vec<Entry>,
    /// Lines of a segment that is partly freed.
    lines: Vec<crate::segment::Line>,
    pending: usize,
    bytes: usize,
    freed: u64,
}

impl Graveyard {
    /// Takes flushed tables over.
    pub fn bury(&mut self, flushed: Flushed) {
        self.pending += flushed.len;
        self.bytes += flushed.bytes;
        self.tables.push_back(flushed);
    }

    /// Frees an entry that was taken out: now if that is quick, otherwise bit by bit.
    #[inline]
    pub fn release(&mut self, entry: Entry) {
        if is_being_saved(&entry) {
            self.unsaved.push(entry);
        } else if is_large(&entry) {
            self.pending += 1;
            self.bytes += entry.size_bytes();
            self.entries.push(entry);
        }
    }

    /// Entries that were released while their values were being saved: whoever saves them releases them again.
    pub(crate) fn take_unsaved(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.unsaved)
    }

    /// Keys not freed yet (`lazyfree_pending_objects`).
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Memory of what is not freed yet, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keys freed so far (`lazyfreed_objects`).
    pub fn freed(&self) -> u64 {
        self.freed
    }

    /// Counts freed keys anew (CONFIG RESETSTAT).
    pub fn reset_freed(&mut self) {
        self.freed = 0;
    }

    /// Frees up to `entries_max` entries (at least one line of eight); true while there are more.
    pub fn dig(&mut self, entries_max: usize) -> bool {
        let mut freed = 0;
        while freed < entries_max {
            if let Some(entry) = self.entries.last_mut() {
                let parts_max = entries_max - freed;
                let bytes_before = entry.size_bytes();
                let more = entry.value_mut().is_some_and(|mut value| value.free_some(parts_max));
                let bytes_after = if more { entry.size_bytes() } else { 0 };
                self.bytes = self.bytes.saturating_sub(bytes_before.saturating_sub(bytes_after));
                if more {
                    break;
                }
                self.entries.pop();
                freed += 1;
            } else if let Some(line) = self.lines.pop() {
                self.bytes = self.bytes.saturating_sub(size_of::<crate::segment::Line>());
                for entry in line.0.into_iter().flatten() {
                    if is_large(&entry) {
                        self.entries.push(entry);
                    } else {
                        self.bytes = self.bytes.saturating_sub(entry.size_bytes());
                        freed += 1;
                    }
                }
            } else if let Some(table) = self.tables.front_mut() {
                match table.segments.pop() {
                    Some(segment) => self.lines = segment.into_lines().into_vec(),
                    None => drop(self.tables.pop_front()),
                }
                // An empty segment costs time too.
                freed += usize::from(self.lines.len() < LINE_BUCKETS);
            } else {
                break;
            }
        }
        let alive = !(self.tables.is_empty() && self.lines.is_empty() && self.entries.is_empty());
        let freed = if alive { freed.min(self.pending) } else { self.pending };
        self.pending -= freed;
        // Of directories nothing is known any more.
        self.bytes = if alive { self.bytes } else { 0 };
        self.freed += freed as u64;
        alive
    }
}

/// Whether freeing an entry at once would hold others up.
#[inline]
pub(crate) fn is_large(entry: &Entry) -> bool {
    entry.value().is_some_and(|value| value.free_effort() > INLINE_FREE_EFFORT_MAX)
}

/// Whether an entry must not be freed: a snapshot does not have all of its value yet.
#[inline]
pub(crate) fn is_being_saved(entry: &Entry) -> bool {
    entry.value().is_some_and(|value| value.save_id().is_some())
}

#[cfg(test)]
mod tests {
    use torc_datatypes::set::SetLimits;
    use torc_datatypes::{Set, Value};

    use crate::{Changes, Keyspace, Lookup, SetExpire, StrValue};

    const NOW_MS: i64 = 1_000;
    const MEMBERS: usize = 10_000;

    fn keyspace_with_a_large_set(expire_at: Option<i64>) -> (Keyspace, Changes) {
        let limits = SetLimits { intset_entries: 512, listpack_entries: 128, listpack_value: 64 };
        let mut set = Set::new_table();
        (0..MEMBERS).for_each(|id| assert!(set.add(format!("member:{id}").as_bytes(), &limits)));
        let (mut keyspace, mut changes) = (Keyspace::new(1, 1), Changes::default());
        let key = keyspace.key(b"k");
        let mut at = keyspace.at(0, key, NOW_MS, Lookup::WRITE, &mut changes);
        at.put(Value::Set(set));
        at.set_expire_at(expire_at);
        (keyspace, changes)
    }

    /// The set is freed in several steps, and the memory figures have forgotten it at once.
    fn check_freed_in_steps(keyspace: &mut Keyspace) {
        assert!(keyspace.usage(0).entry_bytes < 1_000);
        assert_eq!(keyspace.graveyard.pending(), 1);
        let mut steps = 0;
        while keyspace.graveyard.dig(1_000) {
            steps += 1;
        }
        assert!(steps > 5, "{steps} steps");
        assert_eq!((keyspace.graveyard.pending(), keyspace.graveyard.freed()), (0, 1));
    }

    #[test]
    fn a_large_value_that_expired_is_freed_in_steps() {
        let (mut keyspace, mut changes) = keyspace_with_a_large_set(Some(NOW_MS));
        let key = keyspace.key(b"k");
        assert!(keyspace.get(0, &key, NOW_MS + 1, Lookup::READ, &mut changes).is_none());
        check_freed_in_steps(&mut keyspace);
        let (mut keyspace, mut changes) = keyspace_with_a_large_set(Some(NOW_MS));
        assert_eq!(keyspace.active_expire(NOW_MS + 1, 100, &mut changes).expired, 1);
        check_freed_in_steps(&mut keyspace);
    }

    #[test]
    fn a_large_value_that_is_overwritten_is_freed_in_steps() {
        for value in [StrValue::Bytes(b"v"), StrValue::Int(1), StrValue::Shared(vec![b'v'; 100_000].into())] {
            let (mut keyspace, mut changes) = keyspace_with_a_large_set(Some(NOW_MS + 100));
            let key = keyspace.key(b"k");
            keyspace.set_string(0, &key, value, SetExpire::Keep, NOW_MS, &mut changes);
            let entry = keyspace.peek(0, &key, NOW_MS).expect("it was just stored");
            assert!(entry.str_ref().is_some());
            assert_eq!(entry.expire_at(), Some(NOW_MS + 100));
            keyspace.remove(0, &key, NOW_MS, &mut changes);
            check_freed_in_steps(&mut keyspace);
        }
    }

    #[test]
    fn a_large_value_among_flushed_ones_is_freed_in_steps() {
        let (mut keyspace, _) = keyspace_with_a_large_set(None);
        let flushed = keyspace.flush(0);
        keyspace.graveyard.bury(flushed);
        check_freed_in_steps(&mut keyspace);
    }
}
