//! Eviction: which key goes when memory is needed.
//!
//! Keys are drawn, a few at a time, and the best ones are remembered in a pool between calls, as in Redis: so the key that
//! goes is nearly the one that an exact order would have chosen, and no key has to know its place in one. Never
//! decides when memory is needed, and never reads a clock.

use smallvec::SmallVec;
use torc_datatypes::clock::{LfuSettings, lfu_counter, lru_idle_seconds};
use torc_datatypes::{Entry, is_expired};

use crate::change::Changes;
use crate::keyspace::{AccessClock, Keyspace};

/// Candidates that are remembered.
const POOL_LEN: usize = 16;
/// Candidates that one call gives up (used since they were drawn, gone, or not to be touched) before it ends without
/// success.
const ATTEMPTS_MAX: usize = 64;

/// What makes a key go before others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Random,
    /// Unused for longest.
    Lru,
    /// Used least.
    Lfu,
    /// Expires first.
    Ttl,
}

/// Which keys may go (`maxmemory-policy`, `maxmemory-samples`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Eviction {
    pub order: Order,
    /// Only keys that expire.
    pub volatile_only: bool,
    /// Keys drawn for each that goes.
    pub samples: usize,
}

/// How much a key should go: the more, the sooner. Comparable between keyspaces.
pub type Score = u64;

struct Candidate {
    score: Score,
    db: usize,
    key: Vec<u8>,
}

/// Candidates of earlier draws, the best one last.
#[derive(Default)]
pub(crate) struct Pool {
    candidates: Vec<Candidate>,
    /// What they were drawn for.
    eviction: Eviction,
    /// Buffers of candidates that are gone.
    spare: Vec<Vec<u8>>,
    /// Database of the last random draw.
    db: usize,
}

impl Pool {
    fn offer(&mut self, score: Score, db: usize, key: &[u8]) {
        let is_full = self.candidates.len() == POOL_LEN;
        if is_full && score <= self.candidates[0].score {
            return;
        }
        if self.candidates.iter().any(|known| known.db == db && known.key == key) {
            return;
        }
        let mut buffer =
            if is_full { self.candidates.remove(0).key } else { self.spare.pop().unwrap_or_default() };
        buffer.clear();
        buffer.extend_from_slice(key);
        let place = self.candidates.partition_point(|known| known.score <= score);
        self.candidates.insert(place, Candidate { score, db, key: buffer });
    }

    fn take_best(&mut self) -> Option<Candidate> {
        self.candidates.pop()
    }

    fn keep_buffer(&mut self, buffer: Vec<u8>) {
        // A huge key is not kept for small ones.
        const KEPT_BYTES_MAX: usize = 1024;
        if self.spare.len() < POOL_LEN && buffer.capacity() <= KEPT_BYTES_MAX {
            self.spare.push(buffer);
        }
    }
}

impl Keyspace {
    /// Takes out the key that should go first, as far as drawing some can tell; `may_go` is asked before. Returns its
    /// score, or `None` if none was found that may go.
    pub fn evict(
        &mut self,
        eviction: Eviction,
        now_ms: i64,
        changes: &mut Changes,
        mut may_go: impl FnMut(&[u8]) -> bool,
    ) -> Option<Score> {
        for _ in 0..ATTEMPTS_MAX {
            self.draw(eviction, now_ms);
            let Candidate { score, db, key } = self.pool.take_best()?;
            let is_evicted = self.is_still(eviction, score, db, &key, now_ms) && may_go(&key);
            if is_evicted {
                self.evict_key(db, &key, changes);
            }
            self.pool.keep_buffer(key);
            if is_evicted {
                return Some(score);
            }
        }
        None
    }

    /// The score of the key that would go next; `None` if there is none.
    pub fn best_to_evict(&mut self, eviction: Eviction, now_ms: i64) -> Option<Score> {
        self.draw(eviction, now_ms);
        Some(self.pool.candidates.last()?.score)
    }

    /// Number of keys that may go.
    pub fn evictable_len(&self, volatile_only: bool) -> usize {
        let of = |totals: &crate::database::Totals| if volatile_only { totals.volatile } else { totals.len };
        self.dbs.iter().map(|database| of(database.totals())).sum()
    }

    /// Draws keys of every database that has some and offers them to the pool.
    fn draw(&mut self, eviction: Eviction, now_ms: i64) {
        let mut pool = std::mem::take(&mut self.pool);
        if pool.eviction != eviction {
            pool.candidates.clear();
            pool.eviction = eviction;
        }
        let is_random = eviction.order == Order::Random;
        let lfu = self.lfu_settings();
        let databases = self.dbs.len();
        for step in 1..=databases {
            // A random key comes from one database after the other.
            let db = if is_random { (pool.db + step) % databases } else { step - 1 };
            let totals = self.dbs[db].totals();
            let candidates = if eviction.volatile_only { totals.volatile } else { totals.len };
            if candidates == 0 {
                continue;
            }
            let wanted = if is_random { 1 } else { eviction.samples.max(1) };
            let mut drawn: SmallVec<[&Entry; 16]> = SmallVec::new();
            self.dbs[db].sample(&mut self.rng, eviction.volatile_only, wanted, &mut |entry| {
                entry.prefetch();
                drawn.push(entry);
            });
            for entry in drawn {
                pool.offer(score(entry, eviction.order, lfu, now_ms), db, entry.key());
            }
            if is_random {
                pool.db = db;
                break;
            }
        }
        self.pool = pool;
    }

    /// Whether a candidate is still there, and has not been used since it was drawn.
    fn is_still(&self, eviction: Eviction, drawn: Score, db: usize, key: &[u8], now_ms: i64) -> bool {
        let key = self.key(key);
        let Some(found) = self.dbs[db].find(&key) else { return false };
        let entry = self.dbs[db].entry(key.slot, found);
        let lfu = self.lfu_settings();
        let is_one = !eviction.volatile_only || entry.is_volatile();
        is_one
            && (score(entry, eviction.order, lfu, now_ms) >= drawn || is_expired(entry.expire_at(), now_ms))
    }

    /// By what counters of uses are read; any will do where there are none.
    fn lfu_settings(&self) -> LfuSettings {
        match self.access_clock() {
            AccessClock::Lfu(settings) => settings,
            AccessClock::Lru => LfuSettings::default(),
        }
    }

    fn evict_key(&mut self, db: usize, key: &[u8], changes: &mut Changes) {
        let place = self.key(key);
        let found = self.dbs[db].find(&place).expect("the caller has seen the key");
        let entry = self.dbs[db].remove(place.slot, place.hash, found);
        self.graveyard.release(entry);
        self.stats.evicted += 1;
        self.touched(db, key);
        changes.evicted(db, key);
    }
}

fn score(entry: &Entry, order: Order, lfu: LfuSettings, now_ms: i64) -> Score {
    match order {
        Order::Random => 0,
        Order::Lru => u64::from(lru_idle_seconds(entry.clock(), now_ms)),
        Order::Lfu => u64::from(u8::MAX - lfu_counter(entry.clock(), now_ms, lfu)),
        Order::Ttl => (i64::MAX - entry.expire_at().unwrap_or(i64::MAX).max(0)) as u64,
    }
}

#[cfg(test)]
mod tests {
    use torc_datatypes::Value;
    use torc_datatypes::set::{Set, SetLimits};

    use super::*;
    use crate::{Class, Lookup, SetExpire, StrValue};

    const START_MS: i64 = 1_700_000_000_000;

    fn eviction(order: Order, volatile_only: bool) -> Eviction {
        Eviction { order, volatile_only, samples: 5 }
    }

    fn set(keyspace: &mut Keyspace, db: usize, name: &str, expire: SetExpire, now_ms: i64) {
        let key = keyspace.key(name.as_bytes());
        keyspace.set_string(db, &key, StrValue::Bytes(b"v"), expire, now_ms, &mut Changes::default());
    }

    fn evict_all(keyspace: &mut Keyspace, eviction: Eviction, count: usize, now_ms: i64) {
        for _ in 0..count {
            keyspace.evict(eviction, now_ms, &mut Changes::default(), |_| true).expect("there is one");
        }
    }

    /// Half of the keys are old: hardly any of the others goes before they are gone, whatever tables they are in.
    #[test]
    fn the_least_recently_used_keys_go_first() {
        for tag in ["", "{t}"] {
            let mut keyspace = Keyspace::new(7, 2);
            for id in 0..4_000 {
                set(&mut keyspace, id % 2, &format!("{tag}old:{id}"), SetExpire::Clear, START_MS);
            }
            let later_ms = START_MS + 60_000;
            for id in 0..4_000 {
                set(&mut keyspace, id % 2, &format!("{tag}new:{id}"), SetExpire::Clear, later_ms);
            }
            evict_all(&mut keyspace, eviction(Order::Lru, false), 3_000, later_ms + 1_000);
            let mut new = 0;
            for db in 0..2 {
                keyspace.for_each(db, later_ms, &mut Changes::default(), |entry| {
                    new += usize::from(entry.key().windows(4).any(|part| part == b"new:"));
                });
            }
            assert!(new >= 3_950, "{new} of the new keys are left");
            assert_eq!(keyspace.len(0) + keyspace.len(1), 5_000);
            assert_eq!(keyspace.stats.evicted, 3_000);
        }
    }

    #[test]
    fn the_least_used_keys_go_first() {
        let mut keyspace = Keyspace::new(7, 1);
        keyspace.set_access_clock(AccessClock::Lfu(LfuSettings { log_factor: 0, decay_minutes: 1 }));
        for id in 0..2_000 {
            set(&mut keyspace, 0, &format!("k:{id}"), SetExpire::Clear, START_MS);
        }
        for id in 0..1_000 {
            let name = format!("k:{id}");
            let key = keyspace.key(name.as_bytes());
            for _ in 0..4 {
                keyspace.get(0, &key, START_MS, Lookup::READ, &mut Changes::default());
            }
        }
        evict_all(&mut keyspace, eviction(Order::Lfu, false), 800, START_MS);
        let used = (0..1_000).filter(|id| {
            let name = format!("k:{id}");
            keyspace.contains(0, &keyspace.key(name.as_bytes()), START_MS)
        });
        assert!(used.count() >= 980);
    }

    #[test]
    fn only_keys_that_expire_go_and_the_next_to_expire_first() {
        for (tag, keys) in [("", 2_000), ("{t}", 20_000)] {
            let mut keyspace = Keyspace::new(3, 1);
            for id in 0..keys {
                set(&mut keyspace, 0, &format!("{tag}keep:{id}"), SetExpire::Clear, START_MS);
            }
            for id in 0..100 {
                let at = START_MS + 1_000_000 + i64::from(id);
                set(&mut keyspace, 0, &format!("{tag}go:{id}"), SetExpire::At(at), START_MS);
            }
            let ttl = eviction(Order::Ttl, true);
            assert_eq!(keyspace.evictable_len(true), 100);
            evict_all(&mut keyspace, ttl, 50, START_MS);
            let late = (50..100).filter(|id| {
                let name = format!("{tag}go:{id}");
                keyspace.contains(0, &keyspace.key(name.as_bytes()), START_MS)
            });
            assert!(late.count() >= 35);
            for order in [Order::Lru, Order::Random] {
                evict_all(&mut keyspace, eviction(order, true), 25, START_MS);
            }
            assert_eq!(keyspace.evict(ttl, START_MS, &mut Changes::default(), |_| true), None);
            assert_eq!(keyspace.len(0), keys as usize);
        }
    }

    #[test]
    fn what_may_not_go_stays() {
        for order in [Order::Random, Order::Lru] {
            let mut keyspace = Keyspace::new(3, 1);
            for id in 0..20 {
                set(&mut keyspace, 0, &format!("k:{id}"), SetExpire::Clear, START_MS);
            }
            let mut changes = Changes::default();
            let gone = keyspace.evict(eviction(order, false), START_MS, &mut changes, |key| key == b"k:7");
            assert_eq!(gone.is_some(), keyspace.peek(0, &keyspace.key(b"k:7"), START_MS).is_none());
            assert_eq!(keyspace.len(0), 20 - usize::from(gone.is_some()));
        }
    }

    #[test]
    fn whoever_listens_is_told_and_the_log_has_it() {
        let mut keyspace = Keyspace::new(3, 4);
        set(&mut keyspace, 2, "k", SetExpire::Clear, START_MS);
        let key = keyspace.key(b"k");
        keyspace.watch(2, &key, 9, START_MS);
        let mut changes = Changes::default();
        changes.listen(Class::EVICTED);
        changes.effects.switch(true);
        keyspace.evict(eviction(Order::Random, false), START_MS, &mut changes, |_| true).expect("one key");
        let log = changes.take_log();
        let events: Vec<_> = log.iter().map(|event| (event.name, event.db, event.key.to_vec())).collect();
        assert_eq!(events, [("evicted", 2, b"k".to_vec())]);
        assert!(!changes.effects.is_empty());
        assert!(keyspace.watch_broken(9, START_MS));
    }

    #[test]
    fn a_large_value_is_counted_until_it_is_freed() {
        let limits = SetLimits { intset_entries: 512, listpack_entries: 128, listpack_value: 64 };
        let mut set = Set::new_table();
        (0..10_000).for_each(|id| assert!(set.add(format!("member:{id}").as_bytes(), &limits)));
        let (mut keyspace, mut changes) = (Keyspace::new(1, 1), Changes::default());
        let key = keyspace.key(b"k");
        keyspace.at(0, key, START_MS, Lookup::WRITE, &mut changes).put(Value::Set(set));
        let used = keyspace.used_bytes();
        keyspace.evict(eviction(Order::Lru, false), START_MS, &mut changes, |_| true).expect("one key");
        assert!(keyspace.used_bytes() < used);
        assert!(keyspace.used_bytes() + keyspace.graveyard.bytes() > used - 1_000);
        let mut before = keyspace.graveyard.bytes();
        while keyspace.graveyard.dig(1_000) {
            assert!(keyspace.graveyard.bytes() <= before);
            before = keyspace.graveyard.bytes();
        }
        assert_eq!(keyspace.graveyard.bytes(), 0);
    }
}
