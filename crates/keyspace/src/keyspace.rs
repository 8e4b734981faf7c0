//! Hot path. One shard's keys: the databases, and everything a command may do with a key.
//!
//! Expiry is exact: a key that has expired is never shown, whoever asks first takes it out. Never reads a clock, never
//! parses a command, never knows which client asks.

use torc_datatypes::clock::{LfuSettings, lfu_new, lfu_touch, lru_now};
use torc_datatypes::{Entry, SetExpire, StrValue, is_expired};

use crate::awaited::{self, AwaitedKeys, Ready};
use crate::change::{Changes, Class};
use crate::database::{Database, EntryMut, Found};
use crate::evict::Pool;
use crate::expire::Cycle;
use crate::graveyard::{Flushed, Graveyard, is_being_saved, is_large};
use crate::key::{Hasher, Key};
use crate::rng::Rng;
use crate::scan::Cursor;
use crate::watch::{Left, Token, WatchTable};

/// Draws after which RANDOMKEY takes an expired key that has to stay, where all keys may expire.
const KEPT_DRAWS_MAX: usize = 100;

/// How a lookup is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Stamp the access clock.
    pub touch: bool,
    /// Count a hit or a miss (and tell listeners of misses).
    pub count: bool,
}

impl Lookup {
    /// A read command.
    pub const READ: Lookup = Lookup { touch: true, count: true };
    /// A write command.
    pub const WRITE: Lookup = Lookup { touch: true, count: false };
    /// A read that leaves the access clock alone (TYPE, TTL, OBJECT; clients with NO-TOUCH).
    pub const READ_NO_TOUCH: Lookup = Lookup { touch: false, count: true };
    /// A look without any trace.
    pub const PEEK: Lookup = Lookup { touch: false, count: false };
}

/// What the access clock of entries counts (`maxmemory-policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessClock {
    /// Seconds of the last access.
    Lru,
    /// A logarithmic counter of accesses.
    Lfu(LfuSettings),
}

/// Counters of INFO's stats section, of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub hits: u64,
    pub misses: u64,
    /// Keys that were taken out because they had expired.
    pub expired: u64,
    /// Keys that were taken out to make room.
    pub evicted: u64,
    /// Of the expired ones, those that the active walk found.
    pub expired_by_walk: u64,
    /// Fields of hashes that were taken out because they had expired.
    pub expired_fields: u64,
}

/// Memory figures of one database (MEMORY STATS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub keys: usize,
    /// Keys that expire.
    pub volatile: usize,
    /// Keys with values parts of which expire (hashes).
    pub with_volatile_parts: usize,
    /// Bytes of entries: keys and values.
    pub entry_bytes: usize,
    /// Bytes of the tables.
    pub table_bytes: usize,
}

/// Entries of keys on their way to another shard's keyspace, each with its database.
pub type Exported = Vec<(usize, Entry)>;

/// One shard's keys.
pub struct Keyspace {
    pub(crate) dbs: Vec<Database>,
    hasher: Hasher,
    pub(crate) rng: Rng,
    watches: WatchTable,
    awaited: AwaitedKeys,
    /// Some key is watched or awaited.
    observed: bool,
    access_clock: AccessClock,
    pub(crate) cycle: Cycle,
    /// Candidates for eviction.
    pub(crate) pool: Pool,
    pub stats: Stats,
    /// Reading an expired key leaves it where it is (nothing may change while CLIENT PAUSE holds writes back, and expiry
    /// is the importer's in `import-mode`).
    pub keeps_expired: bool,
    /// Whoever asks now sees expired keys as if they had not expired (CLIENT IMPORT-SOURCE).
    pub shows_expired: bool,
    /// What was taken out and is to be freed bit by bit.
    pub graveyard: Graveyard,
    /// Keys that snapshots which have ended have saved.
    pub(crate) snapshot_keys: u64,
}

impl Keyspace {
    /// An empty keyspace; allocates next to nothing. `seed` feeds the key hash and all random choices.
    pub fn new(seed: u64, databases: usize) -> Keyspace {
        let mut dbs = Vec::new();
        dbs.resize_with(databases, Database::default);
        Keyspace {
            dbs,
            hasher: Hasher::new(seed),
            rng: Rng::new(!seed),
            watches: WatchTable::default(),
            awaited: AwaitedKeys::default(),
            observed: false,
            access_clock: AccessClock::Lru,
            cycle: Cycle::default(),
            pool: Pool::default(),
            stats: Stats::default(),
            keeps_expired: false,
            shows_expired: false,
            graveyard: Graveyard::default(),
            snapshot_keys: 0,
        }
    }

    /// Number of databases.
    pub fn databases(&self) -> usize {
        self.dbs.len()
    }

    /// Sets what access clocks count from now on.
    pub fn set_access_clock(&mut self, access_clock: AccessClock) {
        self.access_clock = access_clock;
    }

    pub fn access_clock(&self) -> AccessClock {
        self.access_clock
    }

    /// Slot and hash of a key, for the calls below.
    #[inline]
    pub fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        self.hasher.key(bytes)
    }

    /// As [`Keyspace::key`] where the slot is known.
    #[inline]
    pub fn key_in_slot<'a>(&self, bytes: &'a [u8], slot: u16) -> Key<'a> {
        self.hasher.key_in_slot(bytes, slot)
    }

    /// Before the two steps of a prefetch: what is there for each slot. For who looks at many keys in turn; all slots together
    /// are as large as the caches near a core.
    #[inline]
    pub fn prefetch_slot(&self, db: usize, key: &Key<'_>) {
        self.dbs[db].prefetch_slot(key.slot);
    }

    /// First of two steps that bring a key's memory near before it is looked up: do it for all keys of a pipeline (after
    /// [`Keyspace::prefetch_slot`] for all), then [`Keyspace::prefetch_entry`] for all, then run the commands.
    #[inline]
    pub fn prefetch_line(&self, db: usize, key: &Key<'_>) {
        self.dbs[db].prefetch_line(key);
    }

    /// Second step of a prefetch.
    #[inline]
    pub fn prefetch_entry(&self, db: usize, key: &Key<'_>) {
        self.dbs[db].prefetch_entry(key);
    }

    /// Looks a key up.
    #[inline]
    pub fn get(
        &mut self,
        db: usize,
        key: &Key<'_>,
        now_ms: i64,
        lookup: Lookup,
        changes: &mut Changes,
    ) -> Option<&Entry> {
        let found = self.find(db, key, now_ms, changes, self.keeps_expired);
        self.count_lookup(db, key, found.is_some(), lookup, changes);
        let found = found?;
        if lookup.touch {
            self.touch(db, key.slot, found, now_ms);
        }
        Some(self.dbs[db].entry(key.slot, found))
    }

    /// Looks a key up to change its value or expiry in place.
    #[inline]
    pub fn get_mut(
        &mut self,
        db: usize,
        key: &Key<'_>,
        now_ms: i64,
        lookup: Lookup,
        changes: &mut Changes,
    ) -> Option<EntryMut<'_>> {
        let found = self.find_live(db, key, now_ms, changes);
        self.count_lookup(db, key, found.is_some(), lookup, changes);
        let found = found?;
        if lookup.touch {
            self.touch(db, key.slot, found, now_ms);
        }
        Some(self.dbs[db].entry_mut(key.slot, found))
    }

    /// Looks a key up without any effect: an expired key is not shown, but stays where it is.
    pub fn peek(&self, db: usize, key: &Key<'_>, now_ms: i64) -> Option<&Entry> {
        let found = self.dbs[db].find(key)?;
        let entry = self.dbs[db].entry(key.slot, found);
        (!self.is_gone(entry, now_ms)).then_some(entry)
    }

    /// Whether the key exists, alive.
    pub fn contains(&self, db: usize, key: &Key<'_>, now_ms: i64) -> bool {
        self.peek(db, key, now_ms).is_some()
    }

    /// Stores a string under a key, in place where possible; returns whether the key existed (alive).
    #[inline]
    pub fn set_string(
        &mut self,
        db: usize,
        key: &Key<'_>,
        value: StrValue<'_>,
        expire: SetExpire,
        now_ms: i64,
        changes: &mut Changes,
    ) -> bool {
        let Some(found) = self.dbs[db].find(key) else {
            self.insert_string(db, key, value, expire, now_ms, changes);
            return false;
        };
        let existed = !self.is_gone(self.dbs[db].entry(key.slot, found), now_ms);
        if existed {
            self.touch(db, key.slot, found, now_ms);
            self.overwrite_string(db, key, found, value, expire);
            return true;
        }
        let expire = if expire == SetExpire::Keep { SetExpire::Clear } else { expire };
        self.overwrite_string(db, key, found, value, expire);
        let clock = self.new_clock(now_ms);
        self.dbs[db].entry_to_touch(key.slot, found).set_clock(clock);
        self.note_expired(db, key.bytes, changes);
        changes.event(Class::NEW, "new", db, key.bytes);
        false
    }

    /// Stores a string under a key that is not there.
    pub(crate) fn insert_string(
        &mut self,
        db: usize,
        key: &Key<'_>,
        value: StrValue<'_>,
        expire: SetExpire,
        now_ms: i64,
        changes: &mut Changes,
    ) -> Found {
        let expire_at = if let SetExpire::At(at) = expire { Some(at) } else { None };
        let mut entry = Entry::of(key.bytes, value, expire_at);
        entry.set_clock(self.new_clock(now_ms));
        let found = self.dbs[db].insert_new(key, entry, &self.hasher);
        changes.event(Class::NEW, "new", db, key.bytes);
        found
    }

    /// Stores a string in place of what is there; the access clock stays.
    #[inline]
    pub(crate) fn overwrite_string(
        &mut self,
        db: usize,
        key: &Key<'_>,
        found: Found,
        value: StrValue<'_>,
        expire: SetExpire,
    ) {
        let mut entry = self.dbs[db].entry_mut(key.slot, found);
        if is_large(&entry) || is_being_saved(&entry) {
            self.graveyard.release(entry.split_off());
        }
        match expire {
            SetExpire::Keep => {}
            SetExpire::Clear => entry.set_expire_at(None),
            SetExpire::At(at) => entry.set_expire_at(Some(at)),
        }
        entry.set(value);
    }

    /// Stores an entry, which must carry the key; returns the live entry that it replaces. A new entry's access clock
    /// is stamped, one that has been stamped before is left alone.
    pub fn insert(
        &mut self,
        db: usize,
        key: &Key<'_>,
        entry: Entry,
        now_ms: i64,
        changes: &mut Changes,
    ) -> Option<Entry> {
        let replaced = self.remove(db, key, now_ms, changes);
        self.insert_entry(db, key, entry, replaced.is_none(), now_ms, changes);
        replaced
    }

    /// Stores an entry under a key that is not there (any more: then it is not told as new).
    pub(crate) fn insert_entry(
        &mut self,
        db: usize,
        key: &Key<'_>,
        mut entry: Entry,
        is_new: bool,
        now_ms: i64,
        changes: &mut Changes,
    ) -> Found {
        if entry.clock() == 0 {
            entry.set_clock(self.new_clock(now_ms));
        }
        if is_being_saved(&entry) {
            self.huge_has_moved(&entry);
        }
        let found = self.dbs[db].insert_new(key, entry, &self.hasher);
        if is_new {
            changes.event(Class::NEW, "new", db, key.bytes);
        }
        found
    }

    /// Stores an entry under a key that is not there, as it is.
    pub(crate) fn insert_loaded(&mut self, db: usize, key: &Key<'_>, entry: Entry) {
        self.dbs[db].insert_new(key, entry, &self.hasher);
    }

    /// Tells those who watch or await keys of a database that has got other keys.
    pub(crate) fn tell_of_loaded(&mut self, db: usize) {
        if !self.observed {
            return;
        }
        let keys = self.watches.keys_in(db).into_iter().chain(self.awaited.keys_in(db));
        for bytes in keys.collect::<Vec<_>>() {
            if self.dbs[db].find(&self.hasher.key(&bytes)).is_some() {
                self.touched(db, &bytes);
            }
        }
    }

    /// Takes a key out; `None` if it is not there or has expired. The caller releases the entry ([`Graveyard::release`])
    /// or puts it elsewhere.
    pub fn remove(&mut self, db: usize, key: &Key<'_>, now_ms: i64, changes: &mut Changes) -> Option<Entry> {
        let found = self.find_live(db, key, now_ms, changes)?;
        Some(self.dbs[db].remove(key.slot, key.hash, found))
    }

    /// Takes a key out of all databases, expired or not, and appends its entries to `entries`. Nobody is told. What a
    /// snapshot needs of them is saved at once.
    pub fn export(&mut self, key: &Key<'_>, entries: &mut Exported) {
        for db in 0..self.dbs.len() {
            if let Some(found) = self.dbs[db].find(key) {
                let mut entry = self.dbs[db].remove(key.slot, key.hash, found);
                if is_being_saved(&entry) {
                    self.save_huge_at_once(&mut entry);
                }
                entries.push((db, entry));
            }
        }
    }

    /// Puts exported entries in. Nobody is told. Their keys must not be there.
    pub fn import(&mut self, entries: Exported) {
        for (db, entry) in entries {
            let bytes: Box<[u8]> = entry.key().into();
            let key = self.hasher.key(&bytes);
            debug_assert!(self.dbs[db].find(&key).is_none(), "an imported key was there already");
            self.dbs[db].insert_new(&key, entry, &self.hasher);
        }
    }

    /// Number of keys, expired ones that nobody has met yet included.
    #[inline]
    pub fn len(&self, db: usize) -> usize {
        self.dbs[db].totals().len
    }

    pub fn is_empty(&self, db: usize) -> bool {
        self.len(db) == 0
    }

    /// Number of keys with an expiry.
    pub fn expires_len(&self, db: usize) -> usize {
        self.dbs[db].totals().volatile
    }

    /// Estimate of the mean remaining life of keys with an expiry, in ms; 0 if there are none.
    pub fn avg_ttl_ms(&self, db: usize) -> u64 {
        if self.expires_len(db) == 0 { 0 } else { self.dbs[db].walk.ttl_mean_ms as u64 }
    }

    /// Number of keys in a slot (CLUSTER COUNTKEYSINSLOT).
    pub fn slot_len(&self, db: usize, slot: u16) -> usize {
        self.dbs[db].slot_len(slot)
    }

    /// A key drawn with equal chances for all; expired ones that are drawn are taken out. Where they have to stay and
    /// there is nothing else, one of them is drawn after all, as in Redis.
    pub fn random_key(
        &mut self,
        db: usize,
        now_ms: i64,
        rng: &mut Rng,
        changes: &mut Changes,
    ) -> Option<&Entry> {
        let mut kept = 0;
        while self.len(db) > 0 {
            let index = rng.index(self.len(db));
            let entry = self.dbs[db].nth(index);
            let all_may_expire = self.expires_len(db) == self.len(db);
            if !self.is_gone(entry, now_ms) || (kept == KEPT_DRAWS_MAX && all_may_expire) {
                return Some(self.dbs[db].nth(index));
            }
            if self.keeps_expired {
                kept = KEPT_DRAWS_MAX.min(kept + 1);
                continue;
            }
            let bytes: Box<[u8]> = entry.key().into();
            self.expire_key(db, &bytes, now_ms, changes);
        }
        None
    }

    /// Visits live keys from `cursor` on (0 starts) until about `count` were looked at, and returns the cursor to go
    /// on with; 0: all slots are done. A key that is there from the first call to the last is visited at least once,
    /// whatever happens to the tables in between. Expired keys that it meets are taken out.
    pub fn scan(
        &mut self,
        db: usize,
        cursor: u64,
        count: usize,
        now_ms: i64,
        changes: &mut Changes,
        mut visit: impl FnMut(&Entry),
    ) -> u64 {
        let visit_live = |entry: &Entry, is_live: bool| {
            if is_live {
                visit(entry);
            }
            true
        };
        self.scan_until(db, cursor, crate::SLOTS, count, now_ms, changes, visit_live).unwrap_or(0)
    }

    /// As [`Keyspace::scan`], for the slots below `slot_end` only; `None` once those are done. `visit` is also told of
    /// keys that have expired (with `false`), and says whether it wants such a key: others stay where they are.
    #[expect(clippy::too_many_arguments, reason = "a walk, its bounds and the context of every call")]
    pub fn scan_until(
        &mut self,
        db: usize,
        cursor: u64,
        slot_end: usize,
        count: usize,
        now_ms: i64,
        changes: &mut Changes,
        mut visit: impl FnMut(&Entry, bool) -> bool,
    ) -> Option<u64> {
        let start = Cursor::decode(cursor)?;
        let count = count.max(1);
        let mut expired: Vec<Box<[u8]>> = Vec::new();
        let shows_expired = self.shows_expired;
        let mut filter = |entry: &Entry| {
            let is_live = shows_expired || !is_expired(entry.expire_at(), now_ms);
            if visit(entry, is_live) && !is_live {
                expired.push(entry.key().into());
            }
        };
        let database = &self.dbs[db];
        let mut visited = 0;
        let mut next = start;
        let end = loop {
            let slot =
                database.next_slot(usize::from(next.slot)).filter(|&slot| usize::from(slot) < slot_end);
            let Some(slot) = slot else { break None };
            if slot != next.slot {
                next = Cursor { slot, position: 0 };
            }
            if visited >= count {
                break Some(next);
            }
            let (more, position) = database.visit_slot(slot, next.position, count - visited, &mut filter);
            visited += more;
            next = match position {
                Some(position) => Cursor { slot, position },
                None if usize::from(slot) + 1 >= slot_end => break None,
                None => Cursor { slot: slot + 1, position: 0 },
            };
        };
        for key in expired {
            self.expire_key(db, &key, now_ms, changes);
        }
        end.map(Cursor::encode)
    }

    /// Visits all live keys of a database; expired ones are taken out.
    pub fn for_each(&mut self, db: usize, now_ms: i64, changes: &mut Changes, visit: impl FnMut(&Entry)) {
        let end = self.scan(db, 0, usize::MAX, now_ms, changes, visit);
        debug_assert_eq!(end, 0);
    }

    /// Visits up to `limit` live keys of a slot (CLUSTER GETKEYSINSLOT).
    pub fn for_each_in_slot(
        &self,
        db: usize,
        slot: u16,
        limit: usize,
        now_ms: i64,
        mut visit: impl FnMut(&Entry),
    ) {
        let mut left = limit;
        let mut position = Some(0);
        while let (Some(from), true) = (position, left > 0) {
            let mut filter = |entry: &Entry| {
                if left > 0 && !self.is_gone(entry, now_ms) {
                    left -= 1;
                    visit(entry);
                }
            };
            (_, position) = self.dbs[db].visit_slot(slot, from, limit, &mut filter);
        }
    }

    /// Empties a database and hands over what it held. Those who watch or await keys that were there are told.
    pub fn flush(&mut self, db: usize) -> Flushed {
        if self.observed {
            for key in self.watches.keys_in(db) {
                if self.dbs[db].find(&self.hasher.key(&key)).is_some() {
                    self.watches.touched(db, &key, Left::Nothing);
                }
            }
            for key in self.awaited.keys_in(db) {
                if self.dbs[db].find(&self.hasher.key(&key)).is_some() {
                    self.awaited.touched(db, &key);
                }
            }
        }
        self.keep_huge_of(db);
        self.dbs[db].take_all()
    }

    /// Exchanges two databases. Those who watch or await keys that are in either are told.
    pub fn swap_dbs(&mut self, a: usize, b: usize, now_ms: i64) {
        if a == b {
            return;
        }
        self.dbs.swap(a, b);
        if !self.observed {
            return;
        }
        for (db, other) in [(a, b), (b, a)] {
            for bytes in self.awaited.keys_in(db) {
                let key = self.hasher.key(&bytes);
                if self.dbs[db].find(&key).is_some() || self.dbs[other].find(&key).is_some() {
                    self.awaited.touched(db, &bytes);
                }
            }
            for bytes in self.watches.keys_in(db) {
                let key = self.hasher.key(&bytes);
                let existed = self.dbs[other].find(&key).is_some();
                let left = match self.dbs[db].find(&key) {
                    None => Left::Nothing,
                    Some(found) => {
                        let expire_at = self.dbs[db].entry(key.slot, found).expire_at();
                        if is_expired(expire_at, now_ms) { Left::Expired } else { Left::Key }
                    }
                };
                self.watches.swapped(db, &bytes, existed, left);
            }
        }
    }

    /// Records that a command changed a key: WATCH, blocked commands, the dirty counter and listeners are told.
    #[inline]
    pub fn changed(
        &mut self,
        db: usize,
        key: &[u8],
        class: Class,
        name: &'static str,
        changes: &mut Changes,
    ) {
        self.touched_by(db, key, class, name);
        changes.change(class, name, db, key);
    }

    /// Tells those who watch or await a key that it was changed, created or removed.
    #[inline]
    pub fn touched(&mut self, db: usize, key: &[u8]) {
        if self.observed {
            self.tell_observers(db, key, true);
        }
    }

    /// The same where it is known by what event.
    #[inline]
    pub fn touched_by(&mut self, db: usize, key: &[u8], class: Class, name: &'static str) {
        if self.observed {
            self.tell_observers(db, key, awaited::may_serve(class, name));
        }
    }

    /// Tells those who wait for a key that they should look again, without a change that WATCH is told of.
    pub fn wake(&mut self, db: usize, key: &[u8]) {
        if self.observed {
            self.awaited.touched(db, key);
        }
    }

    #[cold]
    fn tell_observers(&mut self, db: usize, key: &[u8], may_serve: bool) {
        if may_serve {
            self.awaited.touched(db, key);
        }
        if self.watches.is_watched(db, key) {
            let is_there = self.dbs[db].find(&self.hasher.key(key)).is_some();
            self.watches.touched(db, key, if is_there { Left::Key } else { Left::Nothing });
        }
    }

    /// WATCH: from now on, a change of the key breaks `token`.
    pub fn watch(&mut self, db: usize, key: &Key<'_>, token: Token, now_ms: i64) {
        let was_expired = self.dbs[db]
            .find(key)
            .is_some_and(|found| is_expired(self.dbs[db].entry(key.slot, found).expire_at(), now_ms));
        self.watches.watch(db, key.bytes, token, was_expired);
        self.observed = true;
    }

    /// Forgets everything about `token`.
    pub fn unwatch(&mut self, token: Token) {
        self.watches.unwatch(token);
        self.observed = !self.watches.is_empty() || !self.awaited.is_empty();
    }

    /// From now on, the key is reported by [`Keyspace::take_ready`] when something happens to it.
    pub fn await_key(&mut self, db: usize, key: &[u8]) {
        self.awaited.add(db, key);
        self.observed = true;
    }

    /// Nobody waits for the key any more.
    pub fn forget_awaited(&mut self, db: usize, key: &[u8]) {
        self.awaited.remove(db, key);
        self.observed = !self.watches.is_empty() || !self.awaited.is_empty();
    }

    /// Whether something has happened to an awaited key.
    #[inline]
    pub fn has_ready(&self) -> bool {
        self.awaited.has_ready()
    }

    /// The awaited keys that something has happened to, in the order in which it first did.
    pub fn take_ready(&mut self) -> Vec<Ready> {
        self.awaited.take_ready()
    }

    /// Whether a key watched by `token` was changed, or has expired, since it was watched.
    pub fn watch_broken(&self, token: Token, now_ms: i64) -> bool {
        self.watches.is_broken(token)
            || self.watches.keys_watched_alive(token).any(|(db, key)| {
                let key = self.hasher.key(key);
                let found = self.dbs[db].find(&key);
                found.is_some_and(|found| is_expired(self.dbs[db].entry(key.slot, found).expire_at(), now_ms))
            })
    }

    /// Bytes of all entries and tables, as the allocator counts them.
    #[inline]
    pub fn used_bytes(&self) -> usize {
        self.dbs.iter().map(Database::used_bytes).sum()
    }

    /// The same without the arrays of fixed size that a database has.
    #[inline]
    pub fn counted_bytes(&self) -> usize {
        self.dbs.iter().map(Database::counted_bytes).sum()
    }

    /// The same of one database.
    #[inline]
    pub fn counted_bytes_in(&self, db: usize) -> usize {
        self.dbs[db].counted_bytes()
    }

    /// Memory figures of a database.
    pub fn usage(&self, db: usize) -> Usage {
        let totals = self.dbs[db].totals();
        Usage {
            keys: totals.len,
            volatile: totals.volatile,
            with_volatile_parts: totals.with_volatile_parts,
            entry_bytes: totals.entry_bytes,
            table_bytes: totals.table_bytes + self.dbs[db].fixed_bytes(),
        }
    }

    /// Estimate of the share of keys with an expiry that have expired but are still there (0 to 1), made anew whenever
    /// active expiry has come round.
    pub fn stale_share(&self) -> f64 {
        self.cycle.stale_share()
    }

    /// Finds a key; one that has expired is taken out.
    #[inline]
    pub(crate) fn find_live(
        &mut self,
        db: usize,
        key: &Key<'_>,
        now_ms: i64,
        changes: &mut Changes,
    ) -> Option<Found> {
        self.find(db, key, now_ms, changes, false)
    }

    /// Finds a key that has not expired; one that has is taken out, unless it is to be kept.
    #[inline(always)]
    fn find(
        &mut self,
        db: usize,
        key: &Key<'_>,
        now_ms: i64,
        changes: &mut Changes,
        keep_expired: bool,
    ) -> Option<Found> {
        let found = self.dbs[db].find(key)?;
        let entry = self.dbs[db].entry(key.slot, found);
        if entry.is_volatile() && is_expired(entry.expire_at(), now_ms) {
            return self.meet_expired(db, key, found, changes, keep_expired);
        }
        Some(found)
    }

    /// A key that has expired was found: it goes away, stays unseen, or is shown.
    #[cold]
    fn meet_expired(
        &mut self,
        db: usize,
        key: &Key<'_>,
        found: Found,
        changes: &mut Changes,
        keep_expired: bool,
    ) -> Option<Found> {
        if self.shows_expired {
            return Some(found);
        }
        if !keep_expired {
            self.take_expired(db, key, found, changes);
        }
        None
    }

    /// Whether an entry has expired in the eyes of whoever asks now.
    #[inline]
    fn is_gone(&self, entry: &Entry, now_ms: i64) -> bool {
        is_expired(entry.expire_at(), now_ms) && !self.shows_expired
    }

    fn take_expired(&mut self, db: usize, key: &Key<'_>, found: Found, changes: &mut Changes) {
        let entry = self.dbs[db].remove(key.slot, key.hash, found);
        self.graveyard.release(entry);
        self.note_expired(db, key.bytes, changes);
    }

    /// Takes a key out if it has expired, and need not stay.
    fn expire_key(&mut self, db: usize, key: &[u8], now_ms: i64, changes: &mut Changes) {
        let key = self.hasher.key(key);
        self.find(db, &key, now_ms, changes, self.keeps_expired);
    }

    /// An expired key was taken out.
    #[cold]
    pub(crate) fn note_expired(&mut self, db: usize, key: &[u8], changes: &mut Changes) {
        self.count_expired(db, key);
        changes.expired(db, key);
    }

    /// The same, where the event is the caller's.
    pub(crate) fn count_expired(&mut self, db: usize, key: &[u8]) {
        self.stats.expired += 1;
        if self.observed {
            self.watches.touched(db, key, Left::Nothing);
            self.awaited.touched(db, key);
        }
    }

    #[inline]
    pub(crate) fn count_lookup(
        &mut self,
        db: usize,
        key: &Key<'_>,
        hit: bool,
        lookup: Lookup,
        changes: &mut Changes,
    ) {
        if !lookup.count {
            return;
        }
        if hit {
            self.stats.hits += 1;
        } else {
            self.stats.misses += 1;
            changes.event(Class::KEY_MISS, "keymiss", db, key.bytes);
        }
    }

    /// Stamps an entry's access clock; a clock that does not move is not written, so as not to dirty its cache line.
    #[inline]
    pub(crate) fn touch(&mut self, db: usize, slot: u16, found: Found, now_ms: i64) {
        let entry = self.dbs[db].entry_to_touch(slot, found);
        let old = entry.clock();
        let new = match self.access_clock {
            AccessClock::Lru => lru_now(now_ms),
            AccessClock::Lfu(settings) => lfu_touch(old, now_ms, self.rng.next_u32(), settings),
        };
        if new != old {
            entry.set_clock(new);
        }
    }

    #[inline]
    pub(crate) fn new_clock(&self, now_ms: i64) -> u32 {
        match self.access_clock {
            AccessClock::Lru => lru_now(now_ms),
            AccessClock::Lfu(_) => lfu_new(now_ms),
        }
    }
}
