//! A point-in-time picture of all keys, taken while they go on changing.
//!
//! At the cut every database turns its *mark* over: entries that carry another mark are not saved yet. A walk saves and
//! marks them in small steps, and whoever is about to change or remove an entry before the walk has come to it saves it
//! first. New entries are born marked. So exactly what was there at the cut is saved, each key once, and nothing is kept
//! per key. A huge value is saved bit by bit ([`huge`]). Owns the walk and what it has written; never knows files, nor
//! the other shards.

mod huge;
mod part;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use torc_datatypes::rdb::record;
use torc_datatypes::{Entry, ValueRef, is_expired};

use self::huge::{Huge, Place};
pub use self::part::SavedPart;
use crate::graveyard::{Flushed, is_large};
use crate::keyspace::Keyspace;
use crate::scan::Cursor;
use crate::segment::Line;

/// Bytes that one step of the walk compresses at most, but for the key that passes this.
const STEP_PACKED_BYTES: usize = 16 * 1024;
/// Bytes that one step of the walk saves at most, but for the key that passes this.
const STEP_BYTES: usize = 128 * 1024;
/// A part that has grown to this gets no more: where parts are not taken away, no buffer has to grow on and on. A little less
/// than a power of two, to which buffers grow: the next record would double it.
const PART_BYTES_FULL: usize = 240 * 1024;

/// How keys are to be saved.
#[derive(Clone, Copy, Debug)]
pub struct SavePlan {
    /// Whether strings are compressed.
    pub compresses: bool,
    /// The RDB version whose servers shall read it; a value that it can't express gets a higher one.
    pub version: u16,
}

/// What a database has to do with the snapshot under way.
pub(crate) struct Snapshot {
    /// Its number at the cut: databases may be swapped meanwhile.
    db: usize,
    mark: bool,
    plan: SavePlan,
    /// Nobody wants the result any more: entries are only marked.
    abandoned: bool,
    /// Where the walk goes on; `None`: it is through.
    next: Option<Cursor>,
    /// Tables that were flushed before the walk had come to them.
    flushed: Vec<Flushed>,
    lines: Vec<Line>,
    /// Whole records.
    part: SavedPart,
    /// The same, in parts that are full.
    full: VecDeque<SavedPart>,
    /// Bytes that were saved since the step under way began.
    step_bytes: usize,
    /// How many of them were compressed.
    packed_bytes: usize,
    /// Huge values whose records have begun. That of the first is being written, into `open`.
    huge: VecDeque<Huge>,
    open: SavedPart,
    /// A part of that record was taken away: nothing else may be until the record has ended.
    is_open: bool,
    /// Ends of such records (or whole ones).
    ended: VecDeque<SavedPart>,
    /// What is saved, and is to be freed.
    saved: Vec<Entry>,
    /// Keys that were saved, or begun to be.
    keys: u64,
}

impl Snapshot {
    fn new(db: usize, mark: bool, plan: SavePlan) -> Snapshot {
        Snapshot {
            db,
            mark,
            plan,
            abandoned: false,
            next: Some(Cursor { slot: 0, position: 0 }),
            flushed: Vec::new(),
            lines: Vec::new(),
            part: SavedPart::new(plan.compresses),
            full: VecDeque::new(),
            step_bytes: 0,
            packed_bytes: 0,
            huge: VecDeque::new(),
            open: SavedPart::new(plan.compresses),
            is_open: false,
            ended: VecDeque::new(),
            saved: Vec::new(),
            keys: 0,
        }
    }

    /// Saves an entry that does not carry the mark, or begins to.
    pub(crate) fn save(&mut self, entry: &mut Entry) {
        if self.abandoned {
            return;
        }
        self.keys += 1;
        if entry.value().is_some_and(ValueRef::is_huge) {
            let key = entry.key().into();
            return self.begin_huge(entry, Place::UnderKey(key));
        }
        if self.part.is_empty() {
            self.part.select(self.db);
        }
        let len_before = self.part.len();
        let version = self.plan.version;
        let (version, packed_bytes) = self.part.write(|writer| record::write_record(entry, version, writer));
        self.step_bytes += self.part.len() - len_before;
        self.packed_bytes += packed_bytes;
        self.part.needs(version);
        if self.part.len() >= PART_BYTES_FULL {
            self.full.push_back(self.part.take());
        }
    }

    /// Whether the step under way has saved enough.
    fn has_enough(&self) -> bool {
        !self.huge.is_empty() || self.packed_bytes >= STEP_PACKED_BYTES || self.step_bytes >= STEP_BYTES
    }

    /// Takes flushed tables over; what is left of them for the caller is their length.
    pub(crate) fn keep_flushed(&mut self, flushed: Flushed) -> Flushed {
        self.next = None;
        let rest = Flushed { segments: Vec::new(), len: flushed.len, bytes: 0 };
        self.flushed.push(flushed);
        rest
    }

    /// Saves some flushed entries and frees them; returns how many were looked at.
    fn save_flushed(&mut self, entries_max: usize) -> usize {
        let mut visited = 0;
        while visited < entries_max && !self.has_enough() {
            if let Some(line) = self.lines.pop() {
                for mut entry in line.0.into_iter().flatten() {
                    visited += 1;
                    if entry.is_marked() != self.mark {
                        self.save(&mut entry);
                    }
                    self.let_go(entry);
                }
            } else if let Some(table) = self.flushed.last_mut() {
                match table.segments.pop() {
                    Some(segment) => self.lines = segment.into_lines().into_vec(),
                    None => drop(self.flushed.pop()),
                }
                visited += 1;
            } else {
                break;
            }
        }
        visited
    }

    /// A flushed entry is saved, or its save has begun.
    fn let_go(&mut self, entry: Entry) {
        if let Some(id) = entry.value().and_then(ValueRef::save_id) {
            let huge = self.huge.iter_mut().find(|huge| huge.id == id);
            huge.expect("its save has begun here").place = Place::Here(entry);
        } else if is_large(&entry) {
            self.saved.push(entry);
        }
    }

    fn has_flushed(&self) -> bool {
        !(self.flushed.is_empty() && self.lines.is_empty())
    }

    fn is_through(&self) -> bool {
        self.next.is_none() && !self.has_flushed() && self.huge.is_empty()
    }
}

impl Keyspace {
    /// Begins a snapshot of what is here now. None may be under way.
    pub fn cut(&mut self, plan: SavePlan) {
        for (db, database) in self.dbs.iter_mut().enumerate() {
            debug_assert!(database.snapshot.is_none(), "one snapshot at a time");
            database.mark = !database.mark;
            database.snapshot =
                (database.totals().len > 0).then(|| Box::new(Snapshot::new(db, database.mark, plan)));
        }
    }

    /// Whether a snapshot is under way here: keys are not saved yet, or not taken away.
    pub fn has_snapshot(&self) -> bool {
        self.dbs.iter().any(|database| database.snapshot.is_some())
    }

    /// Walks on: a slice of a huge value whose record has begun, or about `entries_max` entries, fewer where they are
    /// large. True while there are more.
    pub fn snapshot_step(&mut self, entries_max: usize) -> bool {
        self.take_released_huge();
        let walks = |database: &crate::database::Database| {
            database.snapshot.as_ref().is_some_and(|snapshot| !snapshot.is_through())
        };
        // A record that has begun comes first, so that nothing else piles up behind it.
        let writes = |database: &crate::database::Database| {
            database.snapshot.as_ref().is_some_and(|snapshot| snapshot.is_open && !snapshot.huge.is_empty())
        };
        let dbs = &self.dbs;
        let Some(db) = dbs.iter().position(writes).or_else(|| dbs.iter().position(walks)) else {
            return false;
        };
        let mut snapshot = self.dbs[db].snapshot.take().expect("it walks");
        (snapshot.step_bytes, snapshot.packed_bytes) = (0, 0);
        if snapshot.huge.is_empty() {
            self.walk_on(db, &mut snapshot, entries_max);
        } else {
            self.save_huge(&mut snapshot);
        }
        snapshot.saved.drain(..).for_each(|entry| self.graveyard.release(entry));
        self.dbs[db].snapshot = Some(snapshot);
        true
    }

    fn walk_on(&mut self, db: usize, snapshot: &mut Snapshot, entries_max: usize) {
        let database = &mut self.dbs[db];
        let mut visited = snapshot.save_flushed(entries_max);
        while let Some(from) = snapshot.next
            && visited < entries_max
            && !snapshot.has_enough()
        {
            let Some(slot) = database.next_slot(usize::from(from.slot)) else {
                snapshot.next = None;
                break;
            };
            let position = if slot == from.slot { from.position } else { 0 };
            let mut save = |entry: &mut Entry| {
                if entry.is_marked() != snapshot.mark {
                    if snapshot.has_enough() {
                        return false;
                    }
                    snapshot.save(entry);
                    entry.set_marked(snapshot.mark);
                }
                true
            };
            let (more, position) = database.mark_slot(slot, position, entries_max - visited, &mut save);
            // An empty part of a slot costs time too.
            visited += more.max(1);
            snapshot.next = match position {
                Some(position) => Some(Cursor { slot, position }),
                None if usize::from(slot) + 1 >= crate::SLOTS => None,
                None => Some(Cursor { slot: slot + 1, position: 0 }),
            };
        }
    }

    /// Hands over what was saved, if it is at least `bytes_min` or the last of its database. `None` when there is
    /// nothing of that kind. Behind a part that ends within a record comes the next part of that record.
    pub fn take_saved(&mut self, bytes_min: usize) -> Option<SavedPart> {
        let mut snapshots = self.dbs.iter_mut().filter_map(|database| database.snapshot.as_mut());
        if let Some(snapshot) = snapshots.find(|snapshot| snapshot.is_open) {
            return snapshot.take_of_record(bytes_min);
        }
        for database in &mut self.dbs {
            let Some(snapshot) = &mut database.snapshot else { continue };
            if let Some(part) = snapshot.take_of_record(bytes_min).or_else(|| snapshot.full.pop_front()) {
                return Some(part);
            }
            let is_through = snapshot.is_through();
            let has_enough = !snapshot.part.is_empty() && snapshot.part.len() >= bytes_min;
            let part = (has_enough || is_through).then(|| snapshot.part.take());
            if is_through {
                self.snapshot_keys += snapshot.keys;
                database.snapshot = None;
            }
            if let Some(part) = part.filter(|part| !part.is_empty()) {
                return Some(part);
            }
        }
        None
    }

    /// Keys that all snapshots have saved, or begun to: grows for ever.
    pub fn keys_saved(&self) -> u64 {
        let walking = self.dbs.iter().filter_map(|database| database.snapshot.as_ref());
        self.snapshot_keys + walking.map(|snapshot| snapshot.keys).sum::<u64>()
    }

    /// Bytes that were saved and not taken away yet.
    pub fn saved_bytes(&self) -> usize {
        self.dbs.iter().filter_map(|database| database.snapshot.as_ref()).map(|it| it.held_bytes()).sum()
    }

    /// Nobody wants the snapshot any more. The walk goes on, so that all entries carry the mark, and saves nothing.
    pub fn abandon_snapshot(&mut self) {
        self.take_released_huge();
        for db in 0..self.dbs.len() {
            let Some(mut snapshot) = self.dbs[db].snapshot.take() else { continue };
            self.abandon_huge(&mut snapshot);
            let (db_at_cut, mark, plan) = (snapshot.db, snapshot.mark, snapshot.plan);
            let Snapshot { next, flushed, lines, saved, keys, .. } = *snapshot;
            self.snapshot_keys += keys;
            saved.into_iter().for_each(|entry| self.graveyard.release(entry));
            let rest = Snapshot::new(db_at_cut, mark, plan);
            self.dbs[db].snapshot =
                Some(Box::new(Snapshot { abandoned: true, next, flushed, lines, ..rest }));
        }
    }

    /// Puts an entry of a file in, unless its key is there. Nobody is told.
    pub fn load(&mut self, db: usize, mut entry: Entry, now_ms: i64) -> bool {
        let bytes: Box<[u8]> = entry.key().into();
        let key = self.key(&bytes);
        if self.dbs[db].find(&key).is_some() {
            return false;
        }
        if entry.clock() == 0 {
            entry.set_clock(self.new_clock(now_ms));
        }
        self.insert_loaded(db, &key, entry);
        true
    }

    /// Takes over all keys of another keyspace with the same seed in place of those that are here. Those who watch or
    /// await keys that were or are there are told.
    pub fn replace_all(&mut self, loaded: Keyspace) {
        for (db, database) in loaded.dbs.into_iter().enumerate() {
            let flushed = self.flush(db);
            self.graveyard.bury(flushed);
            debug_assert!(self.dbs[db].snapshot.is_none() && database.snapshot.is_none());
            self.dbs[db] = database;
            self.tell_of_loaded(db);
        }
    }

    /// Adds all keys of another keyspace with the same seed; of keys that are in both, the ones here stay unless they
    /// are to be replaced. Returns how many are in both.
    pub fn merge(&mut self, loaded: Keyspace, replace: bool, now_ms: i64) -> usize {
        let mut in_both = 0;
        for (db, mut database) in loaded.dbs.into_iter().enumerate() {
            for segment in database.take_all().segments {
                for entry in segment.into_lines().into_vec().into_iter().flat_map(|line| line.0).flatten() {
                    let bytes: Box<[u8]> = entry.key().into();
                    let key = self.key(&bytes);
                    if let Some(found) = self.dbs[db].find(&key) {
                        let is_alive = !is_expired(self.dbs[db].entry(key.slot, found).expire_at(), now_ms);
                        in_both += usize::from(is_alive);
                        if is_alive && !replace {
                            continue;
                        }
                        let replaced = self.dbs[db].remove(key.slot, key.hash, found);
                        self.graveyard.release(replaced);
                    }
                    self.insert_loaded(db, &key, entry);
                    self.touched(db, &bytes);
                }
            }
        }
        in_both
    }
}
