//! Goal: WATCH as in Redis 7.2: a transaction runs only if none of its watched keys changed or expired.

use torc_keyspace::{Changes, Class, Keyspace, SetExpire, StrValue};

struct Bench {
    keyspace: Keyspace,
    changes: Changes,
    now_ms: i64,
}

const TOKEN: u64 = 7;

impl Bench {
    fn new() -> Bench {
        Bench { keyspace: Keyspace::new(1, 2), changes: Changes::default(), now_ms: 0 }
    }

    fn set(&mut self, db: usize, key: &str, expire: SetExpire) {
        let key = self.keyspace.key(key.as_bytes());
        self.keyspace.set_string(db, &key, StrValue::Bytes(b"v"), expire, self.now_ms, &mut self.changes);
        self.keyspace.changed(db, key.bytes, Class::STRING, "set", &mut self.changes);
    }

    fn del(&mut self, db: usize, key: &str) {
        let key = self.keyspace.key(key.as_bytes());
        if self.keyspace.remove(db, &key, self.now_ms, &mut self.changes).is_some() {
            self.keyspace.changed(db, key.bytes, Class::GENERIC, "del", &mut self.changes);
        }
    }

    fn watch(&mut self, db: usize, key: &str) {
        let key = self.keyspace.key(key.as_bytes());
        self.keyspace.watch(db, &key, TOKEN, self.now_ms);
    }

    fn broken(&self) -> bool {
        self.keyspace.watch_broken(TOKEN, self.now_ms)
    }
}

#[test]
fn only_changes_of_watched_keys_in_their_database_count() {
    let mut bench = Bench::new();
    bench.watch(0, "k");
    bench.watch(0, "k");
    bench.set(0, "other", SetExpire::Clear);
    bench.set(1, "k", SetExpire::Clear);
    assert!(!bench.broken());
    bench.set(0, "k", SetExpire::Clear);
    assert!(bench.broken());
    bench.keyspace.unwatch(TOKEN);
    assert!(!bench.broken());
    bench.set(0, "k", SetExpire::Clear);
    assert!(!bench.broken(), "forgotten is forgotten");
}

#[test]
fn a_key_that_expires_breaks_seen_or_not() {
    for walk in [false, true] {
        let mut bench = Bench::new();
        bench.set(0, "k", SetExpire::At(10));
        bench.watch(0, "k");
        bench.now_ms = 10;
        assert!(!bench.broken());
        bench.now_ms = 11;
        if walk {
            bench.keyspace.active_expire(11, 100, &mut bench.changes);
            assert_eq!(bench.keyspace.len(0), 0);
        }
        assert!(bench.broken());
    }
}

#[test]
fn the_removal_of_a_key_that_had_expired_when_watched_is_no_change() {
    let mut bench = Bench::new();
    bench.set(0, "k", SetExpire::At(10));
    bench.now_ms = 11;
    bench.watch(0, "k");
    assert!(!bench.broken());
    bench.del(0, "k");
    assert!(!bench.broken());
    bench.set(0, "k", SetExpire::Clear);
    assert!(bench.broken(), "but its creation is");
}

#[test]
fn overwriting_a_key_that_had_expired_when_watched_is_a_change() {
    let mut bench = Bench::new();
    bench.set(0, "k", SetExpire::At(10));
    bench.now_ms = 11;
    bench.watch(0, "k");
    bench.set(0, "k", SetExpire::Clear);
    assert!(bench.broken());
}

#[test]
fn flush_touches_what_was_there() {
    let mut bench = Bench::new();
    bench.watch(0, "k");
    bench.keyspace.flush(0);
    assert!(!bench.broken());
    bench.set(1, "k", SetExpire::Clear);
    bench.watch(1, "k");
    bench.keyspace.flush(0);
    assert!(!bench.broken());
    bench.keyspace.flush(1);
    assert!(bench.broken());
}

#[test]
fn swapdb_touches_what_is_in_either() {
    for (here, there, expected) in [(false, false, false), (true, false, true), (false, true, true)] {
        let mut bench = Bench::new();
        if here {
            bench.set(0, "k", SetExpire::Clear);
        }
        if there {
            bench.set(1, "k", SetExpire::Clear);
        }
        bench.watch(0, "k");
        bench.keyspace.swap_dbs(0, 1, bench.now_ms);
        assert_eq!(bench.broken(), expected, "{here} {there}");
    }
}

/// To a client an expired key is none, removed or not.
#[test]
fn swapdb_of_expired_keys_is_no_change_where_there_was_none() {
    let expired = SetExpire::At(10);
    for (here, there, expected) in [
        (None, Some(expired), false),
        (Some(expired), Some(expired), false),
        (Some(expired), None, false),
        (Some(expired), Some(SetExpire::Clear), true),
        (Some(SetExpire::Clear), Some(expired), true),
    ] {
        let mut bench = Bench::new();
        for (db, expire) in [(0, here), (1, there)] {
            expire.into_iter().for_each(|expire| bench.set(db, "k", expire));
        }
        bench.now_ms = 11;
        bench.watch(0, "k");
        bench.keyspace.swap_dbs(0, 1, bench.now_ms);
        assert_eq!(bench.broken(), expected, "{here:?} {there:?}");
        bench.del(0, "k");
        assert_eq!(bench.broken(), expected, "{here:?} {there:?}, removed");
        bench.set(0, "k", SetExpire::Clear);
        assert!(bench.broken());
    }
}

#[test]
fn moves_of_a_transaction_are_silent() {
    let mut bench = Bench::new();
    bench.set(0, "k", SetExpire::Clear);
    bench.watch(0, "k");
    let mut entries = Vec::new();
    let key = bench.keyspace.key(b"k");
    bench.keyspace.export(&key, &mut entries);
    assert_eq!(entries.len(), 1);
    bench.keyspace.import(entries);
    assert!(!bench.broken());
}
