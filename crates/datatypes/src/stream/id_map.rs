//! An ordered map from ids to small values, for entries that are pending: nearly all come at the end, many go from the
//! front, and there may be millions of them.
//!
//! Owns sorted runs of up to [`RUN_ENTRIES_MAX`] entries under the ids they begin with. Runs that were filled in ascending
//! order are full, where the leaves of a B-tree would be half full. Never knows what the values mean.

use std::collections::{BTreeMap, VecDeque, btree_map};

use super::{StreamId, tree_bytes};
use crate::entry::class::allocated_bytes;

/// Entries of a run at most.
const RUN_ENTRIES_MAX: usize = 64;
/// Runs keep their room until it is this much larger than needed.
const SPARE_FACTOR: usize = 4;

type Run<V> = VecDeque<(StreamId, V)>;

#[derive(Clone, Debug)]
pub(super) struct IdMap<V> {
    /// The entries of a run lie from its key (which need not be there any more) to before the next one's. No run is empty.
    runs: BTreeMap<StreamId, Run<V>>,
    len: usize,
    /// What the runs have allocated.
    runs_bytes: usize,
}

impl<V> Default for IdMap<V> {
    fn default() -> Self {
        IdMap { runs: BTreeMap::new(), len: 0, runs_bytes: 0 }
    }
}

impl<V: Copy> IdMap<V> {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, id: StreamId) -> Option<V> {
        let (_, run) = self.runs.range(..=id).next_back()?;
        find(run, id).ok().map(|at| run[at].1)
    }

    pub(super) fn get_mut(&mut self, id: StreamId) -> Option<&mut V> {
        let (_, run) = self.runs.range_mut(..=id).next_back()?;
        find(run, id).ok().map(|at| &mut run[at].1)
    }

    pub(super) fn first(&self) -> Option<StreamId> {
        self.runs.first_key_value().and_then(|(_, run)| run.front()).map(|(id, _)| *id)
    }

    pub(super) fn last(&self) -> Option<StreamId> {
        self.runs.last_key_value().and_then(|(_, run)| run.back()).map(|(id, _)| *id)
    }

    /// The entries from `start` on.
    pub(super) fn range(&self, start: StreamId) -> Range<'_, V> {
        let from = self.runs.range(..=start).next_back();
        let first = from.map(|(_, run)| run.range(run.partition_point(|(id, _)| *id < start)..));
        let later =
            (std::ops::Bound::Excluded(from.map_or(start, |(key, _)| *key)), std::ops::Bound::Unbounded);
        Range { entries: first.unwrap_or_default(), runs: self.runs.range(later) }
    }

    /// Puts a value under an id; returns the one that was there.
    pub(super) fn insert(&mut self, id: StreamId, value: V) -> Option<V> {
        let is_last = self.last().is_none_or(|last| id > last);
        let run = match self.runs.range_mut(..=id).next_back() {
            Some((_, run)) if !(is_last && run.len() >= RUN_ENTRIES_MAX) => run,
            // Behind all others, or before all others.
            _ => {
                let run = Run::from([(id, value)]);
                self.runs_bytes += run_bytes(&run);
                self.runs.insert(id, run);
                self.len += 1;
                return None;
            }
        };
        let bytes_before = run_bytes(run);
        match find(run, id) {
            Ok(at) => return Some(std::mem::replace(&mut run[at].1, value)),
            Err(at) => run.insert(at, (id, value)),
        }
        self.len += 1;
        let upper = (run.len() > RUN_ENTRIES_MAX).then(|| {
            let upper = run.split_off(RUN_ENTRIES_MAX / 2);
            run.shrink_to_fit();
            upper
        });
        self.runs_bytes = self.runs_bytes - bytes_before + run_bytes(run);
        if let Some(upper) = upper {
            self.runs_bytes += run_bytes(&upper);
            self.runs.insert(upper[0].0, upper);
        }
        None
    }

    pub(super) fn remove(&mut self, id: StreamId) -> Option<V> {
        let (&key, run) = self.runs.range_mut(..=id).next_back()?;
        let at = find(run, id).ok()?;
        let bytes_before = run_bytes(run);
        let (_, value) = run.remove(at)?;
        self.len -= 1;
        if run.capacity() >= SPARE_FACTOR * run.len().max(SPARE_FACTOR) {
            run.shrink_to(2 * run.len());
        }
        self.runs_bytes -= bytes_before - run_bytes(run);
        if run.is_empty() {
            self.runs_bytes -= run_bytes(run);
            self.runs.remove(&key);
        }
        Some(value)
    }

    /// Parts that freeing the map has to walk.
    pub(super) fn free_effort(&self) -> usize {
        self.runs.len()
    }

    /// Frees up to `runs_max` runs; returns how many.
    pub(super) fn free_some(&mut self, runs_max: usize) -> usize {
        (0..runs_max).take_while(|_| self.runs.pop_first().is_some()).count()
    }

    /// Bytes on the heap. O(1).
    pub(super) fn heap_bytes(&self) -> usize {
        self.runs_bytes + tree_bytes(self.runs.len(), size_of::<(StreamId, Run<V>)>())
    }
}

fn find<V>(run: &Run<V>, id: StreamId) -> Result<usize, usize> {
    match run.back() {
        Some((last, _)) if *last < id => Err(run.len()),
        _ => run.binary_search_by_key(&id, |(id, _)| *id),
    }
}

fn run_bytes<V>(run: &Run<V>) -> usize {
    allocated_bytes(run.capacity() * size_of::<(StreamId, V)>())
}

/// Entries from one on.
pub(super) struct Range<'a, V> {
    entries: std::collections::vec_deque::Iter<'a, (StreamId, V)>,
    runs: btree_map::Range<'a, StreamId, Run<V>>,
}

impl<V: Copy> Iterator for Range<'_, V> {
    type Item = (StreamId, V);

    fn next(&mut self) -> Option<(StreamId, V)> {
        loop {
            if let Some(entry) = self.entries.next() {
                return Some(*entry);
            }
            self.entries = self.runs.next()?.1.iter();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaves_like_a_map() {
        for seed in 1..=30u64 {
            let mut state = seed;
            let mut random = move |below: usize| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state % below as u64) as usize
            };
            let (mut map, mut model) = (IdMap::default(), BTreeMap::new());
            let mut last = 0;
            let ascending = random(2) == 0;
            for step in 0..1_500 {
                let id = StreamId::new(random(last as usize + 20) as u64, random(2) as u64);
                match random(if step < 700 { 4 } else { 6 }) {
                    0..=2 => {
                        last += 1;
                        let id = if ascending { StreamId::new(last, 0) } else { id };
                        assert_eq!(map.insert(id, step), model.insert(id, step));
                    }
                    3 => {
                        assert_eq!(map.get(id), model.get(&id).copied());
                        if let Some(value) = map.get_mut(id) {
                            *value += 1;
                        }
                        model.entry(id).and_modify(|value| *value += 1);
                    }
                    _ => {
                        let id = model.range(id..).next().map_or(id, |(id, _)| *id);
                        assert_eq!(map.remove(id), model.remove(&id), "seed {seed}, step {step}");
                    }
                }
                assert_eq!(map.len(), model.len());
                assert_eq!(map.first(), model.keys().next().copied());
                assert_eq!(map.last(), model.keys().next_back().copied());
                if step % 16 == 0 {
                    assert!(map.range(id).eq(model.range(id..).map(|(id, value)| (*id, *value))));
                    assert!(map.range(StreamId::MIN).eq(model.iter().map(|(id, value)| (*id, *value))));
                    let bytes: usize = map.runs.values().map(run_bytes).sum();
                    assert_eq!(map.runs_bytes, bytes, "seed {seed}, step {step}");
                }
            }
            model.into_keys().for_each(|id| assert!(map.remove(id).is_some()));
            assert_eq!((map.len(), map.heap_bytes()), (0, 0));
        }
    }

    #[test]
    fn runs_filled_in_order_are_full() {
        let mut map = IdMap::default();
        (0..64_000).for_each(|ms| assert!(map.insert(StreamId::new(ms, 0), 0u64).is_none()));
        assert_eq!(map.free_effort(), 64_000 / RUN_ENTRIES_MAX);
        assert!(map.heap_bytes() < 64_000 * 26, "{}", map.heap_bytes());
        (0..64_000)
            .filter(|ms| ms % 64 != 7)
            .for_each(|ms| assert!(map.remove(StreamId::new(ms, 0)).is_some()));
        assert!(map.heap_bytes() < 1_000 * 512, "{}", map.heap_bytes());
        assert_eq!(map.range(StreamId::MIN).count(), 1_000);
    }
}
