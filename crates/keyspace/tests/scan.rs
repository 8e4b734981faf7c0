//! Goal: SCAN's guarantee. A key that is there from the first call to the last is returned at least once, while other
//! keys come and go so fast that tables grow, split, shrink and join between the calls.

use std::collections::{BTreeMap, BTreeSet};

use torc_keyspace::{
    CURSOR_BITS, Changes, Keyspace, Rng, SetExpire, StrValue, cursor_at_slot, slot_of, slot_of_cursor,
};

fn set(keyspace: &mut Keyspace, bytes: &[u8]) {
    let key = keyspace.key(bytes);
    keyspace.set_string(0, &key, StrValue::Bytes(b"v"), SetExpire::Clear, 0, &mut Changes::default());
}

fn remove(keyspace: &mut Keyspace, bytes: &[u8]) {
    let key = keyspace.key(bytes);
    keyspace.remove(0, &key, 0, &mut Changes::default());
}

#[test]
fn keys_that_stay_are_returned_while_tables_change() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let mut keyspace = Keyspace::new(seed, 1);
        let one_slot = seed % 2 == 0;
        let name = |kind: &str, id: u64| {
            if one_slot { format!("{{tag}}{kind}{id}") } else { format!("{kind}{id}") }.into_bytes()
        };
        let stay: BTreeSet<Vec<u8>> = (0..1 + rng.below(3000)).map(|id| name("stay", id)).collect();
        stay.iter().for_each(|key| set(&mut keyspace, key));
        let mut passing: Vec<Vec<u8>> = Vec::new();
        let mut returned: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        let mut cursor = 0;
        let mut calls = 0u64;
        loop {
            let count = 1 + rng.index(if calls.is_multiple_of(7) { 500 } else { 20 });
            cursor = keyspace.scan(0, cursor, count, 0, &mut Changes::default(), |entry| {
                *returned.entry(entry.key().to_vec()).or_default() += 1;
            });
            assert!(cursor >> CURSOR_BITS == 0);
            if cursor == 0 {
                break;
            }
            // Floods and droughts between the calls.
            calls += 1;
            if rng.below(4) == 0 {
                if passing.len() < 6_000 && rng.below(2) == 0 {
                    for id in 0..rng.below(4_000) {
                        let key = name("pass", calls * 10_000 + id);
                        set(&mut keyspace, &key);
                        passing.push(key);
                    }
                } else {
                    passing.drain(..).for_each(|key| remove(&mut keyspace, &key));
                }
            }
        }
        for key in &stay {
            assert!(returned.contains_key(key), "seed {seed}: {} missed", key.escape_ascii());
        }
    }
}

#[test]
fn without_changes_every_key_comes_once_and_count_is_about_kept() {
    for (keys, tag) in [(1_000, ""), (50_000, ""), (50_000, "{t}")] {
        let mut keyspace = Keyspace::new(5, 1);
        (0..keys).for_each(|id| set(&mut keyspace, format!("{tag}{id}").as_bytes()));
        for count in [1, 10, 100, 100_000] {
            let mut returned = BTreeSet::new();
            let mut cursor = 0;
            loop {
                let mut batch = 0;
                cursor = keyspace.scan(0, cursor, count, 0, &mut Changes::default(), |entry| {
                    batch += 1;
                    assert!(returned.insert(entry.key().to_vec()), "returned twice");
                });
                assert!(batch <= count + 40, "{batch} keys for COUNT {count}");
                if cursor == 0 {
                    break;
                }
                assert!(batch >= count.min(keys), "{batch} keys for COUNT {count}");
            }
            assert_eq!(returned.len(), keys);
        }
    }
}

#[test]
fn cursors_name_their_slot() {
    let mut keyspace = Keyspace::new(5, 1);
    set(&mut keyspace, b"foo");
    set(&mut keyspace, b"bar");
    let slot = slot_of(b"foo");
    assert!(slot > slot_of(b"bar"));
    let mut keys = Vec::new();
    let end = keyspace.scan(0, cursor_at_slot(slot), 10, 0, &mut Changes::default(), |entry| {
        keys.push(entry.key().to_vec());
    });
    assert_eq!((end, keys), (0, vec![b"foo".to_vec()]));
    assert_eq!(slot_of_cursor(cursor_at_slot(slot)), Some(slot));
    assert_eq!(slot_of_cursor(u64::MAX), None);
    assert_eq!(keyspace.scan(0, u64::MAX, 10, 0, &mut Changes::default(), |_| panic!("no cursor")), 0);
}

#[test]
fn expired_keys_are_neither_returned_nor_kept() {
    let mut keyspace = Keyspace::new(5, 1);
    let mut changes = Changes::default();
    for id in 0..100i64 {
        let bytes = id.to_string();
        let key = keyspace.key(bytes.as_bytes());
        let expire = if id % 2 == 0 { SetExpire::At(10) } else { SetExpire::Clear };
        keyspace.set_string(0, &key, StrValue::Int(id), expire, 0, &mut changes);
    }
    let mut visited = 0;
    keyspace.for_each(0, 11, &mut changes, |_| visited += 1);
    assert_eq!((visited, keyspace.len(0), keyspace.stats.expired), (50, 50, 50));
}

#[test]
fn a_million_keys_under_one_tag() {
    const KEYS: usize = 1_000_000;
    let mut keyspace = Keyspace::new(9, 1);
    let mut worst = std::time::Duration::ZERO;
    for id in 0..KEYS {
        let bytes = format!("{{tag}}:{id}");
        let start = std::time::Instant::now();
        set(&mut keyspace, bytes.as_bytes());
        worst = worst.max(start.elapsed());
    }
    println!("slowest insert: {worst:?}");
    assert_eq!(keyspace.slot_len(0, slot_of(b"tag")), KEYS);
    let mut seen = 0;
    let mut cursor = 0;
    loop {
        let mut batch = 0;
        cursor = keyspace.scan(0, cursor, 1000, 0, &mut Changes::default(), |_| batch += 1);
        assert!(batch <= 1100);
        seen += batch;
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(seen, KEYS);
    for id in 0..KEYS {
        remove(&mut keyspace, format!("{{tag}}:{id}").as_bytes());
    }
    assert_eq!(keyspace.len(0), 0);
    assert!(keyspace.used_bytes() < 1 << 20);
}
