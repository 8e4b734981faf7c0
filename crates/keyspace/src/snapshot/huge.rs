//! Huge values in a snapshot: their records are written slice by slice, while the values go on changing.
//!
//! A record begins when the walk comes to the value, or somebody is about to change it, and says how many parts will follow.
//! From then on the value itself keeps what it was ([`torc_datatypes::ValueRef::save_id`]), and commands go on with it. One
//! record is written at a time; the values of others wait, and hold what changes in them. Owns where these values are:
//! under a key, whatever its name becomes, or here, once nobody else wants them. A value that leaves the shard is saved at
//! once.

use torc_datatypes::rdb::Sliced;
use torc_datatypes::{Entry, ValueMut, ValueRef};

use super::{SavedPart, Snapshot};
use crate::keyspace::Keyspace;

/// A value whose record has begun.
pub(super) struct Huge {
    /// The save, as the value knows it.
    pub(super) id: usize,
    pub(super) place: Place,
    record: Sliced,
    /// The beginning of the record, until its turn comes.
    begun: SavedPart,
}

/// Where the value is.
pub(super) enum Place {
    /// In some database, under this key.
    UnderKey(Box<[u8]>),
    /// It was deleted, overwritten or flushed.
    Here(Entry),
    /// Its record is written as a whole.
    Saved,
}

impl Snapshot {
    /// Begins the record of an entry.
    pub(super) fn begin_huge(&mut self, entry: &mut Entry, place: Place) {
        let mut begun = SavedPart::new(self.plan.compresses);
        begun.select(self.db);
        let ((record, version), _) = begun.write(|writer| Sliced::begin(entry, self.plan.version, writer));
        begun.needs(version);
        let id = entry.value().and_then(ValueRef::save_id).expect("its save has just begun");
        self.huge.push_back(Huge { id, place, record, begun });
    }

    /// Writes a slice of the first record, whose value this is.
    fn save_slice(&mut self, value: &mut ValueMut<'_>) -> bool {
        let first = self.huge.front_mut().expect("a record has begun");
        if !first.begun.is_empty() {
            debug_assert!(self.open.is_empty(), "a record begins when the one before has ended");
            self.open = first.begun.take();
        }
        let (more, _) = self.open.write(|writer| first.record.go_on(value, writer));
        more
    }

    /// The first record is written.
    fn end_first(&mut self) {
        let first = self.huge.pop_front().expect("a record has begun");
        let open = if first.begun.is_empty() { self.open.take() } else { first.begun };
        self.ended.push_back(open);
        if let Place::Here(entry) = first.place {
            self.saved.push(entry);
        }
    }

    /// Hands over the end of the record that was begun, a whole one, or at least `bytes_min` of the one under way.
    pub(super) fn take_of_record(&mut self, bytes_min: usize) -> Option<SavedPart> {
        if let Some(part) = self.ended.pop_front() {
            self.is_open = false;
            return Some(part);
        }
        if self.open.is_empty() || self.open.len() < bytes_min {
            return None;
        }
        self.is_open = true;
        let mut part = self.open.take();
        part.is_open = true;
        Some(part)
    }

    /// Bytes that were saved and not taken away yet.
    pub(super) fn held_bytes(&self) -> usize {
        let begun = self.huge.iter().map(|huge| &huge.begun);
        let parts = begun.chain(&self.ended).chain(&self.full).chain([&self.part, &self.open]);
        parts.map(SavedPart::held_bytes).sum()
    }
}

impl Keyspace {
    /// A slice of the first huge value of a snapshot.
    pub(super) fn save_huge(&mut self, snapshot: &mut Snapshot) {
        let first = snapshot.huge.front_mut().expect("a record has begun");
        let id = first.id;
        let more = match std::mem::replace(&mut first.place, Place::Saved) {
            Place::Saved => false,
            Place::Here(mut entry) => {
                let more = snapshot.save_slice(&mut entry.value_mut().expect("it has a huge value"));
                snapshot.huge[0].place = Place::Here(entry);
                more
            }
            Place::UnderKey(key) => {
                let more = snapshot.save_slice(&mut self.huge_under(&key, id));
                snapshot.huge[0].place = Place::UnderKey(key);
                more
            }
        };
        if !more {
            snapshot.end_first();
        }
    }

    /// The value under a key with this save under way.
    fn huge_under(&mut self, key: &[u8], id: usize) -> ValueMut<'_> {
        let (db, _) = self.find_huge(key, id).expect("a value that is being saved is where it was put last");
        let key = self.key(key);
        let found = self.dbs[db].find(&key).expect("it was just found");
        self.dbs[db].entry_to_touch(key.slot, found).value_mut().expect("it was just found")
    }

    /// The database where this value is.
    fn find_huge(&self, key: &[u8], id: usize) -> Option<(usize, crate::database::Found)> {
        let key = self.key(key);
        self.dbs.iter().enumerate().find_map(|(db, database)| {
            let found = database.find(&key)?;
            let value = database.entry(key.slot, found).value()?;
            (value.save_id() == Some(id)).then_some((db, found))
        })
    }

    /// The snapshot and the record that a save belongs to, which is under way here.
    fn record_of(&mut self, id: usize) -> (&mut Snapshot, usize) {
        let snapshots = self.dbs.iter_mut().filter_map(|database| database.snapshot.as_deref_mut());
        let mut found = snapshots.filter_map(|snapshot| {
            let index = snapshot.huge.iter().position(|huge| huge.id == id)?;
            Some((snapshot, index))
        });
        found.next().expect("a value is being saved where it was when that began")
    }

    /// Takes over values that were released before they were saved.
    pub(super) fn take_released_huge(&mut self) {
        for entry in self.graveyard.take_unsaved() {
            let id = entry.value().and_then(ValueRef::save_id).expect("it was kept for that");
            let (snapshot, index) = self.record_of(id);
            snapshot.huge[index].place = Place::Here(entry);
        }
    }

    /// Before a database is flushed: takes its values that are not saved yet out of it.
    pub(crate) fn keep_huge_of(&mut self, db: usize) {
        let snapshots = self.dbs.iter().filter_map(|database| database.snapshot.as_ref());
        let under_keys = snapshots.flat_map(|snapshot| &snapshot.huge).filter_map(|huge| match &huge.place {
            Place::UnderKey(key) => Some((huge.id, key.clone())),
            Place::Here(_) | Place::Saved => None,
        });
        for (id, bytes) in under_keys.collect::<Vec<_>>() {
            let Some((_, found)) = self.find_huge(&bytes, id).filter(|(found_in, _)| *found_in == db) else {
                continue;
            };
            let key = self.key(&bytes);
            let entry = self.dbs[db].remove(key.slot, key.hash, found);
            let (snapshot, index) = self.record_of(id);
            snapshot.huge[index].place = Place::Here(entry);
        }
    }

    /// A value that is being saved is about to be under another key, or in another database.
    #[cold]
    pub(crate) fn huge_has_moved(&mut self, entry: &Entry) {
        let id = entry.value().and_then(ValueRef::save_id).expect("the caller has seen it");
        let (snapshot, index) = self.record_of(id);
        snapshot.huge[index].place = Place::UnderKey(entry.key().into());
    }

    /// Writes what is left of a value that leaves.
    #[cold]
    pub(crate) fn save_huge_at_once(&mut self, entry: &mut Entry) {
        let mut value = entry.value_mut().expect("the caller has seen it");
        let id = value.as_ref().save_id().expect("the caller has seen it");
        let (snapshot, index) = self.record_of(id);
        let Snapshot { huge, open, .. } = snapshot;
        let huge = &mut huge[index];
        huge.place = Place::Saved;
        let target = if huge.begun.is_empty() { open } else { &mut huge.begun };
        while target.write(|writer| huge.record.go_on(&mut value, writer)).0 {}
    }

    /// Gives all saves of a snapshot up.
    pub(super) fn abandon_huge(&mut self, snapshot: &mut Snapshot) {
        for huge in snapshot.huge.drain(..) {
            match huge.place {
                Place::Saved => {}
                Place::UnderKey(key) => self.huge_under(&key, huge.id).end_save(),
                Place::Here(mut entry) => {
                    entry.value_mut().expect("it has a huge value").end_save();
                    self.graveyard.release(entry);
                }
            }
        }
    }
}
