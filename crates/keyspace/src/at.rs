//! Hot path. A key's place, found once: look at what is there, then change, replace or remove it without another
//! lookup. Never decides what a change means: the command names its event.

use torc_datatypes::value::IntText;
use torc_datatypes::{Entry, SetExpire, StrValue, Value};

use crate::change::{Changes, Class};
use crate::database::{EntryMut, Found};
use crate::key::Key;
use crate::keyspace::{Keyspace, Lookup};

/// The place of a key in a database, with or without a live entry.
pub struct At<'a> {
    keyspace: &'a mut Keyspace,
    changes: &'a mut Changes,
    db: usize,
    key: Key<'a>,
    now_ms: i64,
    found: Option<Found>,
}

impl Keyspace {
    /// Finds the place of a key; an expired entry is taken out first.
    #[inline]
    pub fn at<'a>(
        &'a mut self,
        db: usize,
        key: Key<'a>,
        now_ms: i64,
        lookup: Lookup,
        changes: &'a mut Changes,
    ) -> At<'a> {
        let found = self.find_live(db, &key, now_ms, changes);
        self.count_lookup(db, &key, found.is_some(), lookup, changes);
        if let (Some(found), true) = (found, lookup.touch) {
            self.touch(db, key.slot, found, now_ms);
        }
        At { keyspace: self, changes, db, key, now_ms, found }
    }
}

impl<'a> At<'a> {
    /// The key whose place this is.
    #[inline]
    pub fn key_bytes(&self) -> &'a [u8] {
        self.key.bytes
    }
}

impl At<'_> {
    /// Whether the key exists.
    #[inline]
    pub fn exists(&self) -> bool {
        self.found.is_some()
    }

    /// What is there.
    #[inline]
    pub fn entry(&self) -> Option<&Entry> {
        self.found.map(|found| self.keyspace.dbs[self.db].entry(self.key.slot, found))
    }

    /// What is there, for change in place.
    #[inline]
    pub fn entry_mut(&mut self) -> Option<EntryMut<'_>> {
        self.found.map(|found| self.keyspace.dbs[self.db].entry_mut(self.key.slot, found))
    }

    /// Stores a string, in place where possible, whatever was there.
    #[inline]
    pub fn set_string(&mut self, value: StrValue<'_>, expire: SetExpire) {
        match self.found {
            Some(found) => self.keyspace.overwrite_string(self.db, &self.key, found, value, expire),
            None => {
                let (db, now_ms) = (self.db, self.now_ms);
                let found = self.keyspace.insert_string(db, &self.key, value, expire, now_ms, self.changes);
                self.found = Some(found);
            }
        }
    }

    /// Stores a value with memory of its own, whatever was there; returns the live entry that it replaces, for the caller to
    /// release. The key does not expire afterwards.
    pub fn put(&mut self, value: Value) -> Option<Entry> {
        let replaced = self.remove();
        let entry = Entry::owned(self.key.bytes, value, None);
        let (db, now_ms, is_new) = (self.db, self.now_ms, replaced.is_none());
        self.found = Some(self.keyspace.insert_entry(db, &self.key, entry, is_new, now_ms, self.changes));
        replaced
    }

    /// Sets or clears the expiry (unix milliseconds) of what is there; returns whether an expiry was set before.
    pub fn set_expire_at(&mut self, expire_at: Option<i64>) -> bool {
        self.entry_mut().is_some_and(|mut entry| {
            let was_volatile = entry.is_volatile();
            entry.set_expire_at(expire_at);
            was_volatile
        })
    }

    /// Takes the entry out; the caller releases it ([`crate::Graveyard::release`]) or puts it elsewhere.
    pub fn remove(&mut self) -> Option<Entry> {
        let found = self.found.take()?;
        Some(self.keyspace.dbs[self.db].remove(self.key.slot, self.key.hash, found))
    }

    /// Takes the entry out and frees it: now if that is quick, otherwise in the background. Returns whether it was there.
    #[inline]
    pub fn discard(&mut self) -> bool {
        let Some(entry) = self.remove() else { return false };
        self.keyspace.graveyard.release(entry);
        true
    }

    /// Takes the entry out because a command gave it an expiry that is over: counts as expired, and as a change
    /// (Valkey 8.1; Redis 7.2 names the event "del").
    pub fn expire_now(&mut self) {
        if !self.discard() {
            return;
        }
        self.keyspace.count_expired(self.db, self.key.bytes);
        self.tell(&[b"DEL", self.key.bytes]);
        self.changes.change(Class::EXPIRED, "expired", self.db, self.key.bytes);
    }

    /// Counts fields that had expired when the command met them, or that it gave an expiry that is over.
    pub fn count_expired_fields(&mut self, count: u64) {
        self.keyspace.stats.expired_fields += count;
    }

    /// Tells an effect on this key (see [`crate::Effects::tell`]).
    #[inline]
    pub fn tell(&mut self, words: &[&[u8]]) {
        self.changes.effects.tell(self.db, words);
    }

    /// The same for a subcommand: its key is the third word (XGROUP CREATECONSUMER key).
    pub fn tell_subcommand(&mut self, words: &[&[u8]]) {
        self.changes.effects.tell_all(self.db, words.iter().copied(), Some(2));
    }

    /// [`At::tell`], with more words behind the first ones.
    pub fn tell_with<'w>(&mut self, words: &[&[u8]], more: impl IntoIterator<Item = &'w [u8]>) {
        if self.tells() {
            self.tell(words);
            self.tell_more(more);
        }
    }

    /// More words for the effect told last.
    pub fn tell_more<'w>(&mut self, words: impl IntoIterator<Item = &'w [u8]>) {
        words.into_iter().for_each(|word| self.changes.effects.tell_word(word));
    }

    /// Whether somebody wants effects.
    #[inline]
    pub fn tells(&self) -> bool {
        self.changes.effects.is_on()
    }

    /// Tells that the key is the string that it is now, with its expiry as a point in time.
    pub fn tell_string(&mut self) {
        let At { keyspace, changes, db, key, found, .. } = self;
        let Some(found) = found.filter(|_| changes.effects.is_on()) else { return };
        let entry = keyspace.dbs[*db].entry(key.slot, found);
        let (mut text, mut time) = (IntText::new(), IntText::new());
        let value = entry.str_ref().expect("told of a string").as_bytes(&mut text);
        match entry.expire_at() {
            None => changes.effects.tell(*db, &[b"SET", key.bytes, value]),
            Some(at) => {
                changes.effects.tell(*db, &[b"SET", key.bytes, value, b"PXAT", time.format(at).as_bytes()]);
            }
        }
    }

    /// Tells that the key expires when it does now.
    pub fn tell_expiry(&mut self) {
        let Some(at) = self.entry().and_then(Entry::expire_at) else { return };
        self.tell(&[b"PEXPIREAT", self.key.bytes, IntText::new().format(at).as_bytes()]);
    }

    /// Records that the key was changed (see [`Keyspace::changed`]).
    #[inline]
    pub fn changed(&mut self, class: Class, name: &'static str) {
        self.keyspace.changed(self.db, self.key.bytes, class, name, self.changes);
    }

    /// Records a change that has no event: WATCH and the dirty counter are told.
    pub fn changed_quietly(&mut self) {
        self.keyspace.touched(self.db, self.key.bytes);
        self.changes.dirty += 1;
    }

    /// Tells WATCH that the key was changed, and nobody else.
    pub fn touched(&mut self) {
        self.keyspace.touched(self.db, self.key.bytes);
    }

    /// Tells those who wait for the key that they should look again; WATCH is not told.
    pub fn wake(&mut self) {
        self.keyspace.wake(self.db, self.key.bytes);
    }

    /// Records `count` more changes to the key without an event of their own.
    #[inline]
    pub fn changed_more(&mut self, count: u64) {
        self.changes.dirty += count;
    }

    /// Records a second event of one change (see [`Changes::event`]).
    #[inline]
    pub fn event(&mut self, class: Class, name: &'static str) {
        self.changes.event(class, name, self.db, self.key.bytes);
    }
}
