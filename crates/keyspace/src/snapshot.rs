//! A point-in-time picture of all keys, taken while they go on changing.
//!
//! At the cut every database turns its *mark* over: entries that carry another mark are not saved yet. A walk saves and
//! marks them in small steps, and whoever is about to change or remove an entry before the walk has come to it saves it
//! first. New entries are born marked. So exactly what was there at the cut is saved, each key once, and nothing is kept
//! per key. Owns the walk and what it has written; never knows files, nor the other shards.

use torc_datatypes::rdb::{Writer, code, record};
use torc_datatypes::{Entry, is_expired};

use crate::graveyard::Flushed;
use crate::keyspace::Keyspace;
use crate::scan::Cursor;
use crate::segment::Line;

/// Saved keys of one database, as a file holds them: behind a selection of the database.
#[derive(Debug, Default)]
pub struct SavedPart {
    pub bytes: Vec<u8>,
    /// The RDB version that a reader must know for it.
    pub version: u16,
}

/// What a database has to do with the snapshot under way.
pub(crate) struct Snapshot {
    /// Its number at the cut: databases may be swapped meanwhile.
    db: usize,
    mark: bool,
    compresses: bool,
    /// Nobody wants the result any more: entries are only marked.
    abandoned: bool,
    /// Where the walk goes on; `None`: it is through.
    next: Option<Cursor>,
    /// Tables that were flushed before the walk had come to them.
    flushed: Vec<Flushed>,
    lines: Vec<Line>,
    part: SavedPart,
}

impl Snapshot {
    /// Saves an entry that does not carry the mark.
    pub(crate) fn save(&mut self, entry: &Entry) {
        if self.abandoned {
            return;
        }
        if self.part.bytes.is_empty() {
            let mut writer = Writer::new(&mut self.part.bytes, false);
            writer.byte(code::SELECT_DB);
            writer.length(self.db as u64);
        }
        let version = record::write_record(entry, self.compresses, &mut self.part.bytes);
        self.part.version = self.part.version.max(version);
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
        while visited < entries_max {
            if let Some(line) = self.lines.pop() {
                for entry in line.0.into_iter().flatten() {
                    visited += 1;
                    if entry.is_marked() != self.mark {
                        self.save(&entry);
                    }
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

    fn has_flushed(&self) -> bool {
        !(self.flushed.is_empty() && self.lines.is_empty())
    }

    fn is_through(&self) -> bool {
        self.next.is_none() && !self.has_flushed()
    }
}

impl Keyspace {
    /// Begins a snapshot of what is here now. None may be under way.
    pub fn cut(&mut self, compresses: bool) {
        for (db, database) in self.dbs.iter_mut().enumerate() {
            debug_assert!(database.snapshot.is_none(), "one snapshot at a time");
            database.mark = !database.mark;
            database.snapshot = (database.totals().len > 0).then(|| {
                Box::new(Snapshot {
                    db,
                    mark: database.mark,
                    compresses,
                    abandoned: false,
                    next: Some(Cursor { slot: 0, position: 0 }),
                    flushed: Vec::new(),
                    lines: Vec::new(),
                    part: SavedPart::default(),
                })
            });
        }
    }

    /// Whether a snapshot is under way here: keys are not saved yet, or not taken away.
    pub fn has_snapshot(&self) -> bool {
        self.dbs.iter().any(|database| database.snapshot.is_some())
    }

    /// Walks on, and looks at about `entries_max` entries. True while there are more.
    pub fn snapshot_step(&mut self, entries_max: usize) -> bool {
        let walking = |database: &crate::database::Database| {
            database.snapshot.as_ref().is_some_and(|snapshot| !snapshot.is_through())
        };
        let Some(database) = self.dbs.iter_mut().find(|database| walking(database)) else { return false };
        let mut snapshot = database.snapshot.take().expect("it walks");
        let mut visited = snapshot.save_flushed(entries_max);
        while let Some(from) = snapshot.next
            && visited < entries_max
        {
            let Some(slot) = database.next_slot(usize::from(from.slot)) else {
                snapshot.next = None;
                break;
            };
            let position = if slot == from.slot { from.position } else { 0 };
            let mut save = |entry: &mut Entry| {
                if entry.is_marked() != snapshot.mark {
                    snapshot.save(entry);
                    entry.set_marked(snapshot.mark);
                }
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
        database.snapshot = Some(snapshot);
        true
    }

    /// Hands over what was saved, if it is at least `bytes_min` or the last of its database. `None` when there is
    /// nothing of that kind.
    pub fn take_saved(&mut self, bytes_min: usize) -> Option<SavedPart> {
        for database in &mut self.dbs {
            let Some(snapshot) = &mut database.snapshot else { continue };
            let is_through = snapshot.is_through();
            let has_enough = !snapshot.part.bytes.is_empty() && snapshot.part.bytes.len() >= bytes_min;
            let part = (has_enough || is_through).then(|| std::mem::take(&mut snapshot.part));
            if is_through {
                database.snapshot = None;
            }
            if let Some(part) = part.filter(|part| !part.bytes.is_empty()) {
                return Some(part);
            }
        }
        None
    }

    /// Bytes that were saved and not taken away yet.
    pub fn saved_bytes(&self) -> usize {
        let bytes = |database: &crate::database::Database| {
            database.snapshot.as_ref().map_or(0, |snapshot| snapshot.part.bytes.capacity())
        };
        self.dbs.iter().map(bytes).sum()
    }

    /// Nobody wants the snapshot any more. The walk goes on, so that all entries carry the mark, and saves nothing.
    pub fn abandon_snapshot(&mut self) {
        for snapshot in self.dbs.iter_mut().filter_map(|database| database.snapshot.as_mut()) {
            snapshot.abandoned = true;
            snapshot.part = SavedPart::default();
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use torc_datatypes::rdb::Reader;

    use super::*;
    use crate::{Changes, Lookup, Rng, SetExpire, StrValue};

    const DBS: usize = 3;
    const NOW_MS: i64 = 1000;

    type Content = BTreeMap<(usize, Vec<u8>), Vec<u8>>;

    fn content(keyspace: &mut Keyspace) -> Content {
        let mut content = Content::new();
        for db in 0..DBS {
            keyspace.for_each(db, NOW_MS, &mut Changes::default(), |entry| {
                content.insert((db, entry.key().to_vec()), entry.str_ref().expect("a string").to_vec());
            });
        }
        content
    }

    /// The keys in saved parts; none may be there twice.
    fn read(parts: &[SavedPart]) -> Content {
        let mut content = Content::new();
        for part in parts {
            let mut reader = Reader::new(&part.bytes);
            assert_eq!(reader.byte(), Ok(code::SELECT_DB));
            let db = reader.length().expect("a database") as usize;
            while reader.remaining() > 0 {
                assert_eq!(reader.byte(), Ok(code::STRING));
                let key = reader.string().expect("a key").into_owned();
                let value = reader.string().expect("a value").into_owned();
                assert_eq!(content.insert((db, key), value), None, "a key is saved once");
            }
        }
        content
    }

    fn set(keyspace: &mut Keyspace, db: usize, name: &str, value: i64) {
        let key = keyspace.key(name.as_bytes());
        let value = StrValue::Int(value);
        keyspace.set_string(db, &key, value, SetExpire::Clear, NOW_MS, &mut Changes::default());
    }

    /// One random change of any kind.
    fn change(keyspace: &mut Keyspace, rng: &mut Rng, keys: u64) {
        let changes = &mut Changes::default();
        let (db, name) = (rng.index(DBS), format!("{{{}}}{}", rng.below(3), rng.below(keys)));
        let key = keyspace.key(name.as_bytes());
        match rng.below(40) {
            0 => drop(keyspace.flush(db)),
            1 => keyspace.swap_dbs(db, rng.index(DBS), NOW_MS),
            2..=9 => drop(keyspace.remove(db, &key, NOW_MS, changes)),
            10..=15 => {
                // It is worked on elsewhere and comes back.
                let mut away = Vec::new();
                keyspace.export(&key, &mut away);
                away.iter_mut().for_each(|(_, entry)| entry.set_int(rng.below(1000) as i64));
                keyspace.import(away);
            }
            16..=20 => {
                if let Some(mut entry) = keyspace.get_mut(db, &key, NOW_MS, Lookup::WRITE, changes) {
                    entry.append(b"1");
                }
            }
            _ => set(keyspace, db, &name, rng.below(1000) as i64),
        }
    }

    /// Whatever happens while the walk is under way: what was there at the cut is saved, and nothing else.
    #[test]
    fn a_snapshot_is_the_state_at_its_cut() {
        for seed in 0..120 {
            let mut rng = Rng::new(seed);
            let mut keyspace = Keyspace::new(seed, DBS);
            let keys = [30, 300, 3000][seed as usize % 3];
            for _ in 0..rng.below(2 * keys) {
                change(&mut keyspace, &mut rng, keys);
            }
            for _ in 0..3 {
                let expected = content(&mut keyspace);
                keyspace.cut(true);
                let abandon = rng.below(4) == 0;
                let mut parts = Vec::new();
                let pace = 1 + rng.below(60);
                while keyspace.has_snapshot() {
                    for _ in 0..rng.below(pace) {
                        change(&mut keyspace, &mut rng, keys);
                    }
                    keyspace.snapshot_step(1 + rng.index(40));
                    if abandon && rng.below(10) == 0 {
                        keyspace.abandon_snapshot();
                    }
                    parts.extend(keyspace.take_saved(200));
                }
                let saved = read(&parts);
                match abandon {
                    false => assert_eq!(saved, expected, "seed {seed}"),
                    true => assert!(saved.iter().all(|(key, value)| expected.get(key) == Some(value))),
                }
            }
        }
    }

    #[test]
    fn loaded_keys_replace_or_join_what_is_there() {
        let loaded = || {
            let mut loaded = Keyspace::new(1, DBS);
            assert!(loaded.load(0, Entry::int(b"a", 1, None), NOW_MS));
            assert!(loaded.load(1, Entry::int(b"b", 1, None), NOW_MS));
            assert!(!loaded.load(1, Entry::int(b"b", 2, None), NOW_MS), "a key is there once");
            loaded
        };
        let mut keyspace = Keyspace::new(1, DBS);
        keyspace.cut(true);
        set(&mut keyspace, 0, "a", 5);
        set(&mut keyspace, 0, "c", 5);
        let key = keyspace.key(b"b");
        keyspace.watch(1, &key, 9, NOW_MS);
        assert_eq!(keyspace.merge(loaded(), false, NOW_MS), 1);
        assert!(keyspace.watch_broken(9, NOW_MS));
        let values = |keyspace: &mut Keyspace| -> Vec<Vec<u8>> { content(keyspace).into_values().collect() };
        assert_eq!(values(&mut keyspace), [b"5", b"5", b"1"]);
        assert_eq!(keyspace.merge(loaded(), true, NOW_MS), 2);
        assert_eq!(values(&mut keyspace), [b"1", b"5", b"1"]);
        keyspace.replace_all(loaded());
        assert_eq!(values(&mut keyspace), [b"1", b"1"]);
        keyspace.cut(true);
        while keyspace.snapshot_step(10) {}
        assert_eq!(read(&std::iter::from_fn(|| keyspace.take_saved(0)).collect::<Vec<_>>()).len(), 2);
    }
}
