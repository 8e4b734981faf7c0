//! Flushed tables on their way out: freed a bounded number of entries at a time, so that FLUSHALL ASYNC on a shard
//! with millions of keys delays nobody. Never looks at keys.

use std::collections::VecDeque;

use torc_datatypes::{Entry, LINE_BUCKETS};

use crate::segment::Segment;

/// What a flushed database held. Dropping it frees everything at once.
#[derive(Default)]
pub struct Flushed {
    pub(crate) segments: Vec<Segment>,
    pub(crate) len: usize,
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
    /// Lines of a segment that is partly freed.
    lines: Vec<crate::segment::Line>,
    pending: usize,
    freed: u64,
}

impl Graveyard {
    /// Takes flushed tables over.
    pub fn bury(&mut self, flushed: Flushed) {
        self.pending += flushed.len;
        self.tables.push_back(flushed);
    }

    /// Takes a removed entry over (UNLINK of a large value).
    pub fn bury_entry(&mut self, entry: Entry) {
        self.pending += 1;
        self.entries.push(entry);
    }

    /// Keys not freed yet (`lazyfree_pending_objects`).
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Keys freed so far (`lazyfreed_objects`).
    pub fn freed(&self) -> u64 {
        self.freed
    }

    /// Frees up to `entries_max` entries (at least one line of eight); true while there are more.
    pub fn dig(&mut self, entries_max: usize) -> bool {
        let mut freed = 0;
        while freed < entries_max {
            if let Some(entry) = self.entries.last_mut() {
                let parts_max = entries_max - freed;
                let more = entry.value_mut().is_some_and(|value| value.free_some(parts_max));
                if more {
                    break;
                }
                self.entries.pop();
                freed += 1;
            } else if let Some(line) = self.lines.pop() {
                freed += line.0.iter().flatten().count();
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
        self.freed += freed as u64;
        alive
    }
}
