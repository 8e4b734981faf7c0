//! Whatever happens to keys while a snapshot is taken: it is what was there at its cut.
use std::collections::BTreeMap;
use std::sync::LazyLock;

use torc_datatypes::hash::HashLimits;
use torc_datatypes::list::{End, NodeLimits};
use torc_datatypes::rdb::{Later, Limits, Reader, Writer, code, read_value};
use torc_datatypes::set::SetLimits;
use torc_datatypes::stream::{self, Consumer, Pending, StreamId};
use torc_datatypes::zset::ZSetLimits;
use torc_datatypes::{Hash, List, Set, StrRef, Stream, Value, ValueMut};

use super::*;
use crate::{Changes, Lookup, Rng, SetExpire, StrValue};

const DBS: usize = 3;
const NOW_MS: i64 = 1000;
const PLAN: SavePlan = SavePlan { compresses: true, version: code::VERSION };

type Content = BTreeMap<(usize, Vec<u8>), Vec<u8>>;

fn content(keyspace: &mut Keyspace) -> Content {
    let mut content = Content::new();
    for db in 0..DBS {
        keyspace.for_each(db, NOW_MS, &mut Changes::default(), |entry| {
            content.insert((db, entry.key().to_vec()), show(entry));
        });
    }
    content
}

/// What a file makes of parts: the bytes of each of them, those of one record together.
fn files(parts: &[SavedPart]) -> Vec<Vec<u8>> {
    let mut files: Vec<Vec<u8>> = Vec::new();
    let mut is_open = false;
    for part in parts {
        if !is_open {
            files.push(Vec::new());
        }
        let file = files.last_mut().expect("there is one");
        let mut from = 0;
        for Later { at, text } in &part.later {
            file.extend_from_slice(&part.bytes[from..*at]);
            Writer::new(file, part.compresses).string(text);
            from = *at;
        }
        file.extend_from_slice(&part.bytes[from..]);
        is_open = part.is_open;
    }
    assert!(!is_open, "the last record ends");
    files
}

/// The keys in saved parts; none may be there twice.
fn read(parts: &[SavedPart]) -> Content {
    let mut content = Content::new();
    for file in files(parts) {
        let mut reader = Reader::new(&file);
        let mut db = None;
        while reader.remaining() > 0 {
            let mut kind = reader.byte().expect("a type");
            if kind == code::SELECT_DB {
                db = Some(reader.length().expect("a database") as usize);
                kind = reader.byte().expect("a type");
            }
            let key = reader.string().expect("a key").into_owned();
            let value = read_value(kind, code::VERSION_FIELD_EXPIRY, &mut reader, &LIMITS).expect("a value");
            let shown = show(&value.into_entry(b"", None));
            let place = (db.expect("a part begins with its database"), key);
            assert_eq!(content.insert(place, shown), None, "a key is saved once");
        }
    }
    content
}

/// What is in an entry's value, whatever the order in which it lies there.
fn show(entry: &Entry) -> Vec<u8> {
    let Some(value) = entry.value() else {
        return entry.str_ref().expect("a string").to_vec();
    };
    let mut elements: Vec<Vec<u8>> = match value {
        ValueRef::Str(bytes) => return bytes.to_vec(),
        ValueRef::List(list) => {
            return list.iter().flat_map(|element| [&element.to_vec()[..], b","].concat()).collect();
        }
        ValueRef::Set(set) => set.iter().map(|member| member.to_vec()).collect(),
        ValueRef::Hash(hash) => {
            hash.iter().map(|field| [field.name.to_vec(), field.value.to_vec()].concat()).collect()
        }
        ValueRef::Stream(stream) => return show_stream(stream),
        ValueRef::ZSet(_) => unreachable!("no test makes one"),
    };
    elements.sort_unstable();
    elements.join(&b","[..])
}

fn show_stream(stream: &Stream) -> Vec<u8> {
    let ids = stream.log().range(StreamId::MIN, StreamId::MAX).map(|entry| entry.id);
    let groups = stream.groups().map(|(name, group)| {
        let pending = group.pending_from(StreamId::MIN);
        let pending = pending.map(|(id, of)| (id, of.delivered_ms, of.deliveries)).collect::<Vec<_>>();
        let ids_of = |consumer: &Consumer| consumer.pending_from(StreamId::MIN).collect::<Vec<_>>();
        let consumers = group.consumers().map(|one| (one.name().to_vec(), one.seen_ms, ids_of(one)));
        (name.to_vec(), group.last_id, group.entries_read, pending, consumers.collect::<Vec<_>>())
    });
    format!("{:?}{:?}", ids.collect::<Vec<_>>(), groups.collect::<Vec<_>>()).into_bytes()
}

static LIMITS: LazyLock<Limits> = LazyLock::new(|| Limits {
    list: NodeLimits::new(-2),
    set: SetLimits { intset_entries: 512, listpack_entries: 128, listpack_value: 64 },
    zset: ZSetLimits { listpack_entries: 128, listpack_value: 64 },
    hash: HashLimits { entries_max: 128, value_bytes_max: 64 },
});

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
            keyspace.cut(PLAN);
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
    keyspace.cut(PLAN);
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
    keyspace.cut(PLAN);
    while keyspace.snapshot_step(10) {}
    assert_eq!(read(&std::iter::from_fn(|| keyspace.take_saved(0)).collect::<Vec<_>>()).len(), 2);
}

const STREAM: stream::NodeLimits = stream::NodeLimits { max_bytes: 4096, max_entries: 100 };

/// A random change to a stream or to one of its groups.
fn change_stream(stream: &mut Stream, rng: &mut Rng) {
    let id = StreamId::new(rng.below(4_000), 0);
    let name = [b'a' + rng.below(3) as u8];
    match rng.below(60) {
        0 => drop(stream.remove_group(&name)),
        1 => drop(stream.add_group(&name, id, None)),
        2..=9 => {
            let next = stream.log().last_id().next().expect("there are more");
            stream.log_mut().append(next, std::iter::once((&b"name"[..], &b"value"[..])), STREAM);
        }
        kind => drop(stream.edit_group(&name, |group, _| {
            let name = [rng.below(4) as u8];
            let consumer = group.find_consumer(&name).unwrap_or_else(|| group.add_consumer(&name, NOW_MS));
            match kind {
                10 => drop(group.remove_consumer(&name)),
                11..=20 => group.consumer_mut(consumer).seen_ms = rng.below(1_000) as i64,
                21..=40 => group.assign(id, Pending { consumer, delivered_ms: NOW_MS, deliveries: 1 }),
                _ => {
                    let next = group.pending_from(id).next();
                    let _ = next.map(|(id, _)| group.acknowledge(id));
                }
            }
        })),
    }
}

/// A huge value: a hash, a set, a list, or a stream.
fn huge(rng: &mut Rng) -> Value {
    let elements = 3_000 + rng.below(2_000);
    let names =
        (0..elements).map(|number| format!("element:{number}:{}", rng.below(100))).collect::<Vec<_>>();
    match rng.below(4) {
        3 => {
            let mut stream = Stream::new();
            stream.add_group(b"b", StreamId::MAX, Some(elements));
            stream.edit_group(b"b", |group, _| {
                let consumer = group.add_consumer(&[1], NOW_MS);
                for ms in 0..elements {
                    group.assign(StreamId::new(ms, 0), Pending { consumer, delivered_ms: 5, deliveries: ms });
                }
            });
            (0..500).for_each(|_| change_stream(&mut stream, rng));
            Value::Stream(stream)
        }
        0 => {
            let mut set = Set::new_table();
            names.iter().for_each(|name| assert!(set.add(name.as_bytes(), &LIMITS.set)));
            Value::Set(set)
        }
        1 => {
            let mut hash = Hash::new();
            for name in &names {
                let value = StrValue::Bytes(&name.as_bytes()[3..]);
                hash.set(name.as_bytes(), value, SetExpire::Clear, NOW_MS, LIMITS.hash);
            }
            Value::Hash(hash)
        }
        _ => {
            let mut list = List::new();
            for name in &names {
                list.push(End::Back, std::iter::once(StrRef::Bytes(name.as_bytes())), LIMITS.list);
            }
            Value::List(list)
        }
    }
}

/// One random change to or with a huge value.
fn change_huge(keyspace: &mut Keyspace, rng: &mut Rng, keys: u64) {
    let changes = &mut Changes::default();
    let (db, name) = (rng.index(DBS), format!("huge:{}", rng.below(keys)));
    let key = keyspace.key(name.as_bytes());
    match rng.below(400) {
        0 => {
            if let Some(replaced) = keyspace.at(db, key, NOW_MS, Lookup::WRITE, changes).put(huge(rng)) {
                keyspace.graveyard.release(replaced);
            }
        }
        1 => drop(keyspace.at(db, key, NOW_MS, Lookup::WRITE, changes).discard()),
        2 => keyspace
            .at(db, key, NOW_MS, Lookup::WRITE, changes)
            .set_string(StrValue::Int(5), SetExpire::Clear),
        3 => {
            // RENAME, or MOVE.
            let name = format!("huge:{}", rng.below(keys));
            let (to, to_db) = (keyspace.key(name.as_bytes()), rng.index(DBS));
            if let Some(mut entry) = keyspace.remove(db, &key, NOW_MS, changes) {
                entry.rename(to.bytes);
                if let Some(replaced) = keyspace.insert(to_db, &to, entry, NOW_MS, changes) {
                    keyspace.graveyard.release(replaced);
                }
            }
        }
        4 => {
            // It is worked on elsewhere and comes back, or does not.
            let mut away = Vec::new();
            keyspace.export(&key, &mut away);
            assert!(
                away.iter().all(|(_, entry)| entry.value().is_none_or(|value| value.save_id().is_none()))
            );
            if rng.below(3) > 0 {
                keyspace.import(away);
            }
        }
        5 if rng.below(4) == 0 => {
            let flushed = keyspace.flush(db);
            keyspace.graveyard.bury(flushed);
        }
        5 => keyspace.swap_dbs(db, rng.index(DBS), NOW_MS),
        _ => {
            let Some(mut entry) = keyspace.get_mut(db, &key, NOW_MS, Lookup::WRITE, changes) else { return };
            let text = format!("element:{}", rng.below(1_000_000));
            let bytes = text.as_bytes();
            match entry.value_mut() {
                Some(ValueMut::Set(set)) => {
                    set.add(bytes, &LIMITS.set);
                    set.take_random(|below| rng.index(below));
                }
                Some(ValueMut::Hash(hash)) => {
                    let name = hash.random(NOW_MS, |below| rng.index(below)).map(|field| field.name.to_vec());
                    let name = name.unwrap_or_else(|| bytes.to_vec());
                    hash.set(&name, StrValue::Bytes(bytes), SetExpire::Clear, NOW_MS, LIMITS.hash);
                }
                Some(ValueMut::List(list)) => {
                    let end = if rng.below(2) == 0 { End::Front } else { End::Back };
                    list.rotate(end, End::Back, LIMITS.list);
                    let at = rng.index(list.len()) as i64;
                    list.replace(at, StrRef::Bytes(bytes), LIMITS.list);
                }
                Some(ValueMut::Stream(stream)) => change_stream(stream, rng),
                _ => {}
            }
        }
    }
}

/// The same with huge values, whose records are written slice by slice.
#[test]
fn huge_values_are_saved_as_they_were_at_the_cut() {
    let mut open_parts = 0;
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let mut keyspace = Keyspace::new(seed, DBS);
        let keys = 1 + rng.below(4);
        for number in 0..2 * keys {
            let name = format!("huge:{}", number % keys);
            let key = keyspace.key(name.as_bytes());
            let value = huge(&mut rng);
            let db = rng.index(DBS);
            drop(keyspace.at(db, key, NOW_MS, Lookup::WRITE, &mut Changes::default()).put(value));
        }
        for _ in 0..2 {
            (0..40).for_each(|_| change(&mut keyspace, &mut rng, 30));
            let expected = content(&mut keyspace);
            keyspace.cut(SavePlan { compresses: rng.below(2) == 0, ..PLAN });
            let abandon = rng.below(6) == 0;
            let mut parts = Vec::new();
            let pace = 1 + rng.below(150);
            while keyspace.has_snapshot() {
                for _ in 0..rng.below(pace) {
                    change_huge(&mut keyspace, &mut rng, keys);
                    if rng.below(20) == 0 {
                        change(&mut keyspace, &mut rng, 30);
                    }
                }
                keyspace.snapshot_step(1 + rng.index(10));
                if abandon && rng.below(20) == 0 {
                    keyspace.abandon_snapshot();
                }
                if rng.below(3) > 0 {
                    parts.extend(keyspace.take_saved(4_000));
                }
                keyspace.graveyard.dig(500);
            }
            open_parts += parts.iter().filter(|part| part.is_open).count();
            if abandon {
                continue;
            }
            assert!(read(&parts) == expected, "seed {seed}");
        }
        while keyspace.graveyard.dig(10_000) {}
        assert_eq!(keyspace.graveyard.pending(), 0);
    }
    assert!(open_parts > 50, "{open_parts} parts ended within a record");
}
