//! Goal: a keyspace behaves like a sorted map with expiry, whatever is done to it in whatever order.
//! Method: seeded random operations over few keys and several databases while time moves; every answer, count and
//! event is compared with a model that is too simple to be wrong. A failure names its seed.

use std::collections::BTreeMap;

use torc_datatypes::Entry;
use torc_keyspace::{
    Changes, Class, Exported, Graveyard, Keyspace, Lookup, Rng, SetExpire, StrValue, is_expired,
};

const DATABASES: usize = 3;

#[derive(Clone, Debug, PartialEq)]
struct Held {
    value: Vec<u8>,
    expire_at: Option<i64>,
}

type Model = Vec<BTreeMap<Vec<u8>, Held>>;

fn value_of(entry: &Entry) -> Vec<u8> {
    entry.str_ref().unwrap().to_vec()
}

fn random_value(rng: &mut Rng) -> Vec<u8> {
    match rng.below(5) {
        0 => rng.below(1_000_000).to_string().into_bytes(),
        1 => vec![b'b'; 16 * 1024 + rng.index(3)],
        2 => Vec::new(),
        _ => vec![b'a' + rng.index(26) as u8; rng.index(200)],
    }
}

fn random_key(rng: &mut Rng, keys: u64) -> Vec<u8> {
    let id = rng.below(keys);
    // A third of the keys share a slot, so that slots of many sizes are met.
    if id.is_multiple_of(3) { format!("{{t}}{id}").into_bytes() } else { format!("key:{id}").into_bytes() }
}

/// The live value in the model; an expired one is dropped, as the keyspace drops it on access.
fn live<'m>(model: &'m mut Model, db: usize, key: &[u8], now_ms: i64) -> Option<&'m mut Held> {
    if model[db].get(key).is_some_and(|held| is_expired(held.expire_at, now_ms)) {
        model[db].remove(key);
    }
    model[db].get_mut(key)
}

fn check_everything(keyspace: &mut Keyspace, model: &Model, now_ms: i64, changes: &mut Changes) {
    for (db, expected) in model.iter().enumerate() {
        let mut seen = BTreeMap::new();
        keyspace.for_each(db, now_ms, changes, |entry| {
            let held = Held { value: value_of(entry), expire_at: entry.expire_at() };
            assert!(seen.insert(entry.key().to_vec(), held).is_none(), "visited twice in one walk");
        });
        let alive: BTreeMap<_, _> = expected
            .iter()
            .filter(|(_, held)| !is_expired(held.expire_at, now_ms))
            .map(|(key, held)| (key.clone(), held.clone()))
            .collect();
        assert_eq!(seen, alive);
        assert_eq!(keyspace.len(db), alive.len(), "the walk took expired keys out");
        assert_eq!(keyspace.expires_len(db), alive.values().filter(|held| held.expire_at.is_some()).count());
        let mut bytes = 0;
        keyspace.for_each(db, now_ms, changes, |entry| bytes += entry.size_bytes());
        assert_eq!(keyspace.usage(db).entry_bytes, bytes);
        let by_slot: usize = (0..16_384).map(|slot| keyspace.slot_len(db, slot)).sum();
        assert_eq!(by_slot, alive.len());
    }
}

fn run(seed: u64, keys: u64, steps: usize) {
    let mut rng = Rng::new(seed);
    let mut keyspace = Keyspace::new(seed, DATABASES);
    let mut changes = Changes::default();
    let mut graveyard = Graveyard::default();
    let mut model: Model = vec![BTreeMap::new(); DATABASES];
    let mut now_ms: i64 = 1_700_000_000_000;
    for step in 0..steps {
        let db = rng.index(DATABASES);
        let bytes = random_key(&mut rng, keys);
        let key = keyspace.key(&bytes);
        // The balance of writes and removals swings, so that tables grow and shrink.
        let growing = (step / (steps / 6 + 1)).is_multiple_of(2);
        match rng.below(if growing { 16 } else { 26 }) {
            0..=4 => {
                let value = random_value(&mut rng);
                let expire = match rng.below(3) {
                    0 => SetExpire::Clear,
                    1 => SetExpire::Keep,
                    _ => SetExpire::At(now_ms + rng.below(500) as i64),
                };
                let text = std::str::from_utf8(&value).ok().and_then(|text| text.parse::<i64>().ok());
                let stored = match text.filter(|_| rng.below(2) == 0) {
                    Some(int) => StrValue::Int(int),
                    None if rng.below(2) == 0 => StrValue::Shared(value.clone().into()),
                    None => StrValue::Bytes(&value),
                };
                let existed = keyspace.set_string(db, &key, stored, expire, now_ms, &mut changes);
                let before = live(&mut model, db, &bytes, now_ms).cloned();
                assert_eq!(existed, before.is_some());
                let expire_at = match expire {
                    SetExpire::Clear => None,
                    SetExpire::Keep => before.and_then(|held| held.expire_at),
                    SetExpire::At(at) => Some(at),
                };
                model[db].insert(bytes.clone(), Held { value, expire_at });
            }
            5 | 6 => {
                let got = keyspace.get(db, &key, now_ms, Lookup::READ, &mut changes).map(value_of);
                let expected = live(&mut model, db, &bytes, now_ms).map(|held| held.value.clone());
                assert_eq!(got, expected);
            }
            7 | 8 => {
                let more = random_value(&mut rng);
                let entry = keyspace.get_mut(db, &key, now_ms, Lookup::WRITE, &mut changes);
                let expected = live(&mut model, db, &bytes, now_ms);
                assert_eq!(entry.is_some(), expected.is_some());
                if let (Some(mut entry), Some(held)) = (entry, expected) {
                    held.value.extend_from_slice(&more);
                    assert_eq!(entry.append(&more), held.value.len());
                }
            }
            9 => {
                let entry = keyspace.get_mut(db, &key, now_ms, Lookup::WRITE, &mut changes);
                let at = (rng.below(3) > 0).then(|| now_ms + rng.below(800) as i64);
                if let Some(mut entry) = entry {
                    entry.set_expire_at(at);
                }
                if let Some(held) = live(&mut model, db, &bytes, now_ms) {
                    held.expire_at = at;
                }
            }
            10 => now_ms += rng.below(60) as i64,
            11 => {
                let report = keyspace.active_expire(now_ms, rng.index(200), &mut changes);
                assert!(report.expired <= report.visited);
            }
            // The model's part of it takes time in proportion to its keys.
            12 if rng.below(keys) < 40 => {
                let drawn =
                    keyspace.random_key(db, now_ms, &mut rng, &mut changes).map(|entry| entry.key().to_vec());
                model[db].retain(|key, held| {
                    !is_expired(held.expire_at, now_ms)
                        || keyspace.peek(db, &keyspace.key(key), i64::MIN).is_some()
                });
                match drawn {
                    Some(drawn) => assert!(live(&mut model, db, &drawn, now_ms).is_some()),
                    None => assert!(model[db].values().all(|held| is_expired(held.expire_at, now_ms))),
                }
            }
            13 if rng.below(8) == 0 => {
                let other = rng.index(DATABASES);
                keyspace.swap_dbs(db, other, now_ms);
                model.swap(db, other);
            }
            12 | 14 => {
                let mut entries: Exported = Vec::new();
                keyspace.export(&key, &mut entries);
                let held = model.iter().filter(|keys| keys.contains_key(&bytes)).count();
                assert!(entries.len() <= held && entries.iter().all(|(_, entry)| entry.key() == bytes));
                keyspace.import(entries);
            }
            15 if rng.below(300) == 0 => {
                graveyard.bury(keyspace.flush(db));
                model[db].clear();
                while graveyard.dig(1 + rng.index(20)) {}
                assert_eq!(graveyard.pending(), 0);
            }
            13 | 15 => {
                let entry = Entry::string(&bytes, b"inserted", None);
                let replaced = keyspace.insert(db, &key, entry, now_ms, &mut changes);
                let before = live(&mut model, db, &bytes, now_ms).map(|held| held.value.clone());
                assert_eq!(replaced.as_ref().map(value_of), before);
                model[db].insert(bytes.clone(), Held { value: b"inserted".to_vec(), expire_at: None });
            }
            _ => {
                let removed = keyspace.remove(db, &key, now_ms, &mut changes);
                let before = live(&mut model, db, &bytes, now_ms).map(|held| held.value.clone());
                model[db].remove(&bytes);
                assert_eq!(removed.as_ref().map(value_of), before);
            }
        }
        if step % (steps / 10) == 0 {
            check_everything(&mut keyspace, &model, now_ms, &mut changes);
            for (db, keys) in model.iter_mut().enumerate() {
                keys.retain(|_, held| !is_expired(held.expire_at, now_ms));
                assert_eq!(keyspace.len(db), keys.len());
            }
        }
    }
    check_everything(&mut keyspace, &model, now_ms, &mut changes);
}

#[test]
fn few_keys_many_operations() {
    for seed in 0..60 {
        println!("seed {seed}");
        run(seed, 40, 3_000);
    }
}

/// Enough keys under one tag for splits and joins.
#[test]
fn many_keys_with_splits() {
    for seed in 100..104 {
        println!("seed {seed}");
        run(seed, 20_000, 120_000);
    }
}

#[test]
fn memory_is_given_back() {
    let mut keyspace = Keyspace::new(1, 1);
    let mut changes = Changes::default();
    assert_eq!(keyspace.used_bytes(), 0, "an unused database costs nothing");
    let keys: Vec<Vec<u8>> = (0..60_000).map(|id| format!("{{tag}}{id}").into_bytes()).collect();
    for bytes in &keys {
        let key = keyspace.key(bytes);
        keyspace.set_string(0, &key, StrValue::Bytes(b"v"), SetExpire::Clear, 0, &mut changes);
    }
    let full = keyspace.usage(0);
    assert!(full.table_bytes > 60_000 * 8);
    for bytes in &keys {
        let key = keyspace.key(bytes);
        assert!(keyspace.remove(0, &key, 0, &mut changes).is_some());
    }
    let fixed = keyspace.usage(0);
    assert_eq!((fixed.keys, fixed.entry_bytes), (0, 0));
    assert!(fixed.table_bytes <= 1 << 20, "{} bytes for an empty database", fixed.table_bytes);
    keyspace.flush(0);
    assert_eq!(keyspace.used_bytes(), 0);
}

#[test]
fn hits_misses_and_events_are_reported() {
    let mut keyspace = Keyspace::new(1, 1);
    let mut changes = Changes::default();
    changes.listen(Class::ALL | Class::KEY_MISS | Class::NEW | Class::KEYEVENT);
    let key = keyspace.key(b"k");
    assert!(keyspace.get(0, &key, 10, Lookup::READ, &mut changes).is_none());
    keyspace.set_string(0, &key, StrValue::Bytes(b"v"), SetExpire::At(20), 10, &mut changes);
    keyspace.changed(0, b"k", Class::STRING, "set", &mut changes);
    assert!(keyspace.get(0, &key, 20, Lookup::READ, &mut changes).is_some(), "alive in its last millisecond");
    assert!(keyspace.get(0, &key, 20, Lookup::WRITE, &mut changes).is_some());
    assert!(keyspace.get(0, &key, 21, Lookup::PEEK, &mut changes).is_none());
    let names: Vec<_> = changes.take_events().iter().map(|event| event.name).collect();
    assert_eq!(names, ["keymiss", "new", "set", "expired"]);
    assert_eq!((keyspace.stats.hits, keyspace.stats.misses, keyspace.stats.expired), (1, 1, 1));
    assert_eq!(changes.dirty, 1, "expiry is no client's change");
}

#[test]
fn random_key_is_fair() {
    let mut keyspace = Keyspace::new(1, 1);
    let mut changes = Changes::default();
    let mut rng = Rng::new(3);
    // Half of the keys share one slot; each key must still have the same chance.
    for id in 0..1000 {
        let bytes = if id % 2 == 0 { format!("{{t}}{id}") } else { format!("k{id}") };
        let key = keyspace.key(bytes.as_bytes());
        keyspace.set_string(0, &key, StrValue::Int(id), SetExpire::Clear, 0, &mut changes);
    }
    let mut drawn: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    for _ in 0..100_000 {
        let key = keyspace.random_key(0, 0, &mut rng, &mut changes).unwrap().key().to_vec();
        *drawn.entry(key).or_default() += 1;
    }
    assert_eq!(drawn.len(), 1000);
    assert!(drawn.values().all(|count| (50..160).contains(count)));
}
