//! Flushed tables and huge values on their way out: freed with a bounded effort at a time (`torc_datatypes::release`), so
//! that neither FLUSHALL ASYNC on a shard with millions of keys nor the deletion of a huge key delays anybody. Values that
//! are being saved are kept for the snapshot, which frees them when it has them. Never looks at keys.

use std::collections::VecDeque;

use torc_datatypes::Entry;
use torc_datatypes::release::{effort_of, effort_of_value};

use crate::segment::{Line, Segment};

/// Effort of a value from which on it is freed bit by bit: 64 elements, or 256 KiB.
const INLINE_EFFORT_MAX: usize = 64;
/// Effort of all values that are freed at once between two calls of [`Graveyard::dig`]; what comes then waits.
const INLINE_EFFORT_SUM_MAX: usize = 4_096;

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
    lines: Vec<Line>,
    pending: usize,
    bytes: usize,
    freed: u64,
    /// Effort of what was freed at once since the last call of [`Graveyard::dig`].
    effort_at_once: usize,
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
        let Some(value) = entry.value() else { return };
        if value.save_id().is_some() {
            self.unsaved.push(entry);
            return;
        }
        let effort = effort_of_value(value);
        self.effort_at_once += effort;
        if effort > INLINE_EFFORT_MAX || self.effort_at_once > INLINE_EFFORT_SUM_MAX {
            self.effort_at_once -= effort;
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

    /// Frees entries, and elements of large values, until that was about so much effort; true while there are more.
    pub fn dig(&mut self, effort_max: usize) -> bool {
        self.effort_at_once = 0;
        let (mut effort, mut freed) = (0, 0);
        while effort < effort_max {
            if let Some(entry) = self.entries.last_mut() {
                let bytes_before = entry.size_bytes();
                let more = entry.value_mut().is_some_and(|mut value| value.free_some(effort_max - effort));
                let bytes_after = if more { entry.size_bytes() } else { 0 };
                self.bytes = self.bytes.saturating_sub(bytes_before.saturating_sub(bytes_after));
                if more {
                    break;
                }
                self.entries.pop();
                (effort, freed) = (effort + 1, freed + 1);
            } else if let Some(line) = self.lines.pop() {
                self.bytes = self.bytes.saturating_sub(size_of::<Line>());
                for entry in line.0.into_iter().flatten() {
                    if is_large(&entry) {
                        self.entries.push(entry);
                    } else {
                        self.bytes = self.bytes.saturating_sub(entry.size_bytes());
                        (effort, freed) = (effort + effort_of(entry.size_bytes()), freed + 1);
                    }
                }
            } else if let Some(table) = self.tables.front_mut() {
                // A segment costs time too, even an empty one.
                effort += 1;
                match table.segments.pop() {
                    Some(segment) => self.lines = segment.into_lines().into_vec(),
                    None => drop(self.tables.pop_front()),
                }
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
    entry.value().is_some_and(|value| effort_of_value(value) > INLINE_EFFORT_MAX)
}

/// Whether an entry must not be freed: a snapshot does not have all of its value yet.
#[inline]
pub(crate) fn is_being_saved(entry: &Entry) -> bool {
    entry.value().is_some_and(|value| value.save_id().is_some())
}

#[cfg(test)]
mod tests {
    use torc_datatypes::hash::HashLimits;
    use torc_datatypes::list::{End, NodeLimits};
    use torc_datatypes::set::SetLimits;
    use torc_datatypes::{Hash, List, Set, StrRef, Value};

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

    /// Elements of many sizes under a key, and strings under many keys.
    fn keyspace_with_elements(kind: usize, elements: usize, bytes: usize) -> Keyspace {
        let (mut keyspace, mut changes) = (Keyspace::new(1, 1), Changes::default());
        let hash_limits = HashLimits { entries_max: 0, value_bytes_max: 0 };
        let set_limits = SetLimits { intset_entries: 0, listpack_entries: 0, listpack_value: 0 };
        let (mut hash, mut set, mut list) = (Hash::new(), Set::new_table(), List::new());
        for number in 0..elements {
            let mut text = number.to_string().into_bytes();
            text.resize(bytes.max(text.len()), b'x');
            match kind {
                0 => {
                    let (name, value) = (number.to_le_bytes(), StrValue::Bytes(&text));
                    hash.set(&name, value, SetExpire::Clear, NOW_MS, hash_limits);
                }
                1 => assert!(set.add(&text, &set_limits)),
                2 => list.push(End::Back, std::iter::once(StrRef::Bytes(&text)), NodeLimits::new(-2)),
                _ => {
                    let key = number.to_le_bytes();
                    let (key, value) = (keyspace.key(&key), StrValue::Shared(text.into()));
                    keyspace.set_string(0, &key, value, SetExpire::Clear, NOW_MS, &mut changes);
                }
            }
        }
        let value = [Value::Hash(hash), Value::Set(set), Value::List(list)].into_iter().nth(kind);
        if let Some(value) = value {
            let key = keyspace.key(b"k");
            keyspace.at(0, key, NOW_MS, Lookup::WRITE, &mut changes).put(value);
        }
        keyspace
    }

    /// Whatever it is that goes, a step frees no more than its effort says: 4 KiB for each, one element more, and of a
    /// very large one a quarter.
    #[test]
    fn no_step_frees_more_than_its_effort() {
        const EFFORT: usize = 256;
        for kind in 0..4 {
            for (elements, bytes) in [(20_000, 16), (300, 100_000), (40, 3 << 20), (1, 100 << 20)] {
                let mut keyspace = keyspace_with_elements(kind, elements, bytes);
                let flushed = keyspace.flush(0);
                keyspace.graveyard.bury(flushed);
                loop {
                    let before = keyspace.graveyard.bytes();
                    let more = keyspace.graveyard.dig(EFFORT);
                    let freed = before - keyspace.graveyard.bytes();
                    let element = if bytes > 2 << 20 { (before / 4).max(2 << 20) } else { 2 * bytes };
                    // Of lines and parts of tables some are freed as wholes.
                    let most = EFFORT * 4096 + element + 20_000;
                    assert!(freed <= most, "{kind}: {freed} of {before} bytes ({elements} × {bytes})");
                    if !more {
                        break;
                    }
                }
            }
        }
    }

    /// Values that are quickly freed wait nevertheless when there are many of them at once.
    #[test]
    fn many_values_at_once_are_freed_later() {
        let mut keyspace = keyspace_with_elements(3, 300, 200_000);
        let mut changes = Changes::default();
        for number in 0..300usize {
            let key = number.to_le_bytes();
            let key = keyspace.key(&key);
            assert!(keyspace.at(0, key, NOW_MS, Lookup::WRITE, &mut changes).discard());
        }
        // 4,096 pages are as much as 83 of them take.
        assert!((200..230).contains(&keyspace.graveyard.pending()), "{}", keyspace.graveyard.pending());
        while keyspace.graveyard.dig(1_000) {}
        assert_eq!((keyspace.graveyard.pending(), keyspace.graveyard.bytes()), (0, 0));
    }

    #[test]
    fn a_large_value_among_flushed_ones_is_freed_in_steps() {
        let (mut keyspace, _) = keyspace_with_a_large_set(None);
        let flushed = keyspace.flush(0);
        keyspace.graveyard.bury(flushed);
        check_freed_in_steps(&mut keyspace);
    }
}
