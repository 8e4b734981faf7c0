//! Whatever happens to a value between the slices of its save: what is written is what it was at the beginning.

use super::{Allowance, SLICE_PARTS_MAX, Sliced};
use crate::hash::HashLimits;
use crate::list::{End, Needle, NodeLimits, Side};
use crate::rdb::{Limits, Reader, Writer, code, read_value, record::write_record, type_for, write_value};
use crate::set::SetLimits;
use crate::stream::{self, Pending, StreamId, Trim, TrimEffort};
use crate::testing::Random;
use crate::zset::ZSetLimits;
use crate::{Entry, Hash, List, Set, SetExpire, StrRef, StrValue, Stream, Value, ValueMut, ValueRef, ZSet};

const HASH: HashLimits = HashLimits { entries_max: 8, value_bytes_max: 64 };
const SET: SetLimits = SetLimits { intset_entries: 8, listpack_entries: 8, listpack_value: 64 };
const ZSET: ZSetLimits = ZSetLimits { listpack_entries: 8, listpack_value: 64 };
const STREAM: stream::NodeLimits = stream::NodeLimits { max_bytes: 4096, max_entries: 5 };

impl Random {
    /// A short text, seldom a long one.
    fn text(&mut self) -> Vec<u8> {
        let number = self.below(1_000);
        match self.below(400) {
            0 => vec![b'x'; 1_500 + number],
            1 => vec![b'y'; 17_000 + number],
            2..=99 => number.to_string().into_bytes(),
            _ => format!("text:{number}").into_bytes(),
        }
    }
}

fn list_limits() -> NodeLimits {
    NodeLimits::new(3)
}

/// One random change; `grows`: most of them add something.
fn change(value: ValueMut<'_>, random: &mut Random, grows: bool) {
    let adds = random.below(10) < if grows { 8 } else { 3 };
    match value {
        ValueMut::List(list) => change_list(list, random, adds),
        ValueMut::Set(set) => change_set(set, random, adds),
        ValueMut::ZSet(zset) => change_zset(zset, random, adds),
        ValueMut::Hash(hash) => change_hash(hash, random, adds),
        ValueMut::Stream(stream) => change_stream(stream, random, adds),
        ValueMut::Str(_) => unreachable!("a string is saved at once"),
    }
}

fn change_list(list: &mut List, random: &mut Random, adds: bool) {
    let limits = list_limits();
    let end = if random.below(2) == 0 { End::Front } else { End::Back };
    let text = random.text();
    let element = StrRef::Bytes(&text);
    let index = random.below(list.len().max(1));
    match random.below(8) {
        0 => drop(list.replace(index as i64, element, limits)),
        1 if !list.is_empty() => {
            let pivot = list.get(index as i64).expect("it is there").to_vec();
            list.insert(if adds { Side::Before } else { Side::After }, &Needle::new(&pivot), element, limits);
        }
        2 => list.rotate(end, if adds { End::Front } else { End::Back }, limits),
        _ if adds => {
            list.push(end, (0..1 + random.below(6)).map(|_| element).collect::<Vec<_>>().into_iter(), limits)
        }
        3 if random.below(5) == 0 => {
            let count = random.below(list.len() - index.min(list.len()) + 1).min(40);
            list.remove_range(index, count, limits);
        }
        4 if random.below(5) == 0 => drop(list.remove_matching(&Needle::new(&text), 3, end, limits)),
        _ => list.drop_end(end, limits),
    }
}

fn change_set(set: &mut Set, random: &mut Random, adds: bool) {
    let member = random.text();
    match random.below(60) {
        0 if set.len() > 10 => {
            drop(set.take_sample(set.len() * 9 / 10, &SET, |below| random.below(below), |_| {}))
        }
        1 if set.len() > 10 => drop(set.take_sample(3, &SET, |below| random.below(below), |_| {})),
        2..=9 if !adds => drop(set.take_random(|below| random.below(below))),
        _ if adds => drop(set.add(&member, &SET)),
        _ => drop(set.remove(&member)),
    }
}

fn change_zset(zset: &mut ZSet, random: &mut Random, adds: bool) {
    let member = random.text();
    let score = random.below(500) as f64 / 4.0;
    match random.below(10) {
        0 if random.below(9) == 0 && zset.len() > 20 => {
            let start = random.below(zset.len());
            zset.remove_ranks(start..(start + random.below(100)).min(zset.len()));
        }
        1 => drop(zset.edit(&member, &ZSET, |old| old.map(|old| old + 1.0))),
        _ if adds => drop(zset.insert(&member, score, &ZSET)),
        _ => drop(zset.remove(&member)),
    }
}

fn change_hash(hash: &mut Hash, random: &mut Random, adds: bool) {
    let (name, value) = (random.text(), random.text());
    let now_ms = random.below(2_000) as i64;
    let at = (random.below(3) == 0).then(|| 1_000 + random.below(3_000) as i64);
    match random.below(10) {
        0 if hash.get(&name, i64::MIN).is_some() => hash.set_expire_at(&name, at),
        1 if random.below(10) == 0 => drop(hash.take_expired(now_ms, 50, |_| {})),
        2 => drop(hash.set(&name, StrValue::Shared(value.into()), SetExpire::Keep, now_ms, HASH)),
        _ if adds => {
            let expire = at.map_or(SetExpire::Clear, SetExpire::At);
            hash.set(&name, StrValue::Bytes(&value), expire, now_ms, HASH);
        }
        _ => drop(hash.remove(&name, now_ms)),
    }
}

fn change_stream(stream: &mut Stream, random: &mut Random, adds: bool) {
    let text = random.text();
    let log = stream.log_mut();
    let (first, last) = (log.first_id(), log.last_id());
    let id = StreamId::new(first.ms + random.below(last.ms.saturating_sub(first.ms) as usize + 1) as u64, 0);
    match random.below(30) {
        0 => drop(log.trim(Trim::MaxLen(log.len().saturating_sub(30)), TrimEffort::Exact)),
        1 => drop(log.trim(Trim::MinId(id), TrimEffort::Nodes { limit: 100 })),
        // XSETID behind a node that is gone: its id may come again.
        2 => {
            if log.nodes().last().is_none_or(|(_, node)| node.counts().1 == 0) {
                log.set_last_id(log.newest_id());
            }
        }
        3..=14 => change_groups(stream, random, adds),
        _ if adds => {
            let id = StreamId::new(last.ms + 1, 0);
            stream.log_mut().append(id, [(b"name".as_slice(), &text[..])].into_iter(), STREAM);
        }
        _ => {
            let newest = log.newest_id();
            log.delete(if random.below(8) == 0 { newest } else { id });
        }
    }
}

fn change_groups(stream: &mut Stream, random: &mut Random, adds: bool) {
    let name = [b'a' + random.below(5) as u8];
    let id = StreamId::new(random.below(3_000) as u64, random.below(2) as u64);
    if random.below(150) == 0 {
        stream.remove_group(&name);
    } else if stream.group(&name).is_some() || random.below(4) == 0 {
        stream.add_group(&name, id, None);
        stream.edit_group(&name, |group, _| change_group(group, id, random, adds));
    }
}

fn change_group(group: &mut stream::Group, id: StreamId, random: &mut Random, adds: bool) {
    let name = format!("consumer:{}", random.below(6));
    let (name, now_ms) = (name.as_bytes(), random.below(1_000) as i64);
    let found = group.find_consumer(name);
    match (random.below(12), found) {
        (0, _) => (group.last_id, group.entries_read) = (id, Some(now_ms as u64)),
        (1, _) if random.below(40) == 0 => drop(group.remove_consumer(name)),
        (2, Some(consumer)) => group.consumer_mut(consumer).active_ms = Some(now_ms),
        (3, Some(consumer)) => group.visit_pending_of(consumer, id, 20, |_, pending| pending.deliveries += 1),
        _ if adds => {
            let consumer = found.unwrap_or_else(|| group.add_consumer(name, now_ms));
            group.assign(id, Pending { consumer, delivered_ms: now_ms, deliveries: 1 });
        }
        _ => {
            let next = group.pending_from(id).next();
            let _ = next.map(|(id, _)| group.acknowledge(id));
        }
    }
}

/// A stream with a group of so many pending entries.
fn with_group(pending: u64) -> Stream {
    let mut stream = Stream::new();
    stream.add_group(b"b", StreamId::new(7, 7), Some(pending));
    stream.edit_group(b"b", |group, _| {
        let consumers =
            ["consumer:0", "consumer:3", "consumer:4"].map(|name| group.add_consumer(name.as_bytes(), 5));
        for number in 0..pending {
            let consumer = consumers[number as usize * number as usize % 3];
            group.assign(StreamId::new(number, 0), Pending { consumer, delivered_ms: 7, deliveries: number });
        }
    });
    stream
}

/// What a value is, whatever the order in which its elements lie.
fn content(value: ValueRef<'_>) -> Vec<Vec<u8>> {
    let mut elements: Vec<Vec<u8>> = match value {
        ValueRef::List(list) => return list.iter().map(|element| element.to_vec()).collect(),
        ValueRef::Set(set) => set.iter().map(|member| member.to_vec()).collect(),
        ValueRef::ZSet(zset) => {
            let mut members = Vec::new();
            zset.for_each(|member, score| members.push([member, &score.to_le_bytes()].concat()));
            members
        }
        ValueRef::Hash(hash) => hash
            .iter()
            .map(|field| {
                format!("{:?}", (field.name.to_vec(), field.value.to_vec(), field.expire_at)).into_bytes()
            })
            .collect(),
        ValueRef::Stream(_) | ValueRef::Str(_) => {
            let mut bytes = Vec::new();
            let entry = Entry::owned(b"", value.to_value(), None);
            let kind = type_for(&entry, code::VERSION).expect("it has a type");
            write_value(&entry, kind, &mut Writer::new(&mut bytes, false));
            return vec![bytes];
        }
    };
    elements.sort_unstable();
    elements
}

fn read(record: &[u8], key: &[u8]) -> Entry {
    let limits = Limits { list: list_limits(), set: SET, zset: ZSET, hash: HASH };
    let mut reader = Reader::new(record);
    let kind = reader.byte().expect("a type");
    assert_eq!(reader.string().as_deref(), Ok(key));
    let decoded = read_value(kind, code::VERSION_FIELD_EXPIRY, &mut reader, &limits).expect("a value");
    assert_eq!(reader.remaining(), 0);
    decoded.into_entry(key, None)
}

fn huge_samples() -> [Value; 6] {
    [
        Value::List(List::new()),
        Value::Set(Set::new_table()),
        Value::ZSet(ZSet::default()),
        Value::Hash(Hash::new()),
        Value::Stream(Stream::new()),
        Value::Stream(with_group(1_500)),
    ]
}

fn value_of(entry: &mut Entry) -> ValueMut<'_> {
    entry.value_mut().expect("a collection")
}

#[test]
fn a_record_is_the_value_at_its_beginning() {
    for seed in 1..=12 {
        for sample in huge_samples() {
            let mut random = Random(seed);
            let mut entry = Entry::owned(b"key", sample, None);
            for _ in 0..300 + random.below(1_500) {
                change(value_of(&mut entry), &mut random, true);
            }
            for round in 0..3 {
                let value = entry.value().expect("a collection");
                if value.heap_bytes() < 8_000 || !value.has_parts() {
                    break;
                }
                save(&mut entry, &mut random, &format!("seed {seed}, round {round}"));
                assert_eq!(entry.value().and_then(ValueRef::save_id), None);
            }
        }
    }
}

/// A save with changes between its slices; some are given up.
fn save(entry: &mut Entry, random: &mut Random, what: &str) {
    let expected = content(entry.value().expect("a collection"));
    let mut at_once = Vec::new();
    write_record(entry, code::VERSION, &mut Writer::new(&mut at_once, false));
    let mut record = Vec::new();
    let (mut sliced, _) = Sliced::begin(entry, code::VERSION, &mut Writer::new(&mut record, false));
    let (grows, pace, slice) = (random.below(2) == 0, random.below(120), 1 + random.below(80));
    let is_given_up = random.below(5) == 0;
    loop {
        for _ in 0..random.below(pace + 1) {
            change(value_of(entry), random, grows);
        }
        let copy = entry.duplicate(b"copy");
        assert_eq!(copy.value().and_then(ValueRef::save_id), None, "a copy is not being saved");
        let mut value = value_of(entry);
        assert!(value.as_ref().save_id().is_some());
        if is_given_up && random.below(10) == 0 {
            return value.end_save();
        }
        let allowance = Allowance { parts: 1 + random.below(slice), packed: usize::MAX, len: usize::MAX };
        if !sliced.go_on_for(allowance, &mut value, &mut Writer::new(&mut record, false)) {
            break;
        }
    }
    assert_eq!(content(read(&record, entry.key()).value().expect("a collection")), expected, "{what}");
    if matches!(entry.value(), Some(ValueRef::List(_) | ValueRef::Stream(_))) {
        assert!(record == at_once, "{what}");
    }
}

/// A slice ends when it has packed or copied enough, not only after so many parts.
#[test]
fn slices_are_bounded_by_their_bytes() {
    for (len, leaves, elements_max) in [(900, false, 20), (3_000, true, 30), (3, false, 1024)] {
        let mut hash = Hash::new();
        for number in 0..5_000 {
            let value: Vec<u8> = (0..len).map(|byte| (byte * number % 251) as u8).collect();
            hash.set(&i32::to_le_bytes(number), StrValue::Bytes(&value), SetExpire::Clear, 0, HASH);
        }
        let mut entry = Entry::owned(b"key", Value::Hash(hash), None);
        assert!(entry.value().is_some_and(ValueRef::is_huge));
        let (mut out, mut later) = (Vec::new(), Vec::new());
        let (mut sliced, _) = Sliced::begin(&mut entry, code::VERSION, &mut Writer::new(&mut out, true));
        loop {
            let before = sliced.left;
            let mut writer = if leaves {
                Writer::leaving(&mut out, true, &mut later)
            } else {
                Writer::new(&mut out, true)
            };
            let more = sliced.go_on(&mut value_of(&mut entry), &mut writer);
            assert!(before - sliced.left <= elements_max, "{}", before - sliced.left);
            if !more {
                break;
            }
        }
        assert_eq!(later.len(), if leaves { 5_000 } else { 0 });
    }
}

/// A slice writes so many of a group's entries at most, and nothing of them is written before its turn.
#[test]
fn groups_are_written_slice_by_slice() {
    const PENDING: usize = 20_000;
    let mut entry = Entry::owned(b"key", Value::Stream(with_group(PENDING as u64)), None);
    let mut record = Vec::new();
    let (mut sliced, _) = Sliced::begin(&mut entry, code::VERSION, &mut Writer::new(&mut record, false));
    let mut slices = 0;
    loop {
        assert!(slices > 0 || record.len() < 10);
        let before = record.len();
        let more = sliced.go_on(&mut value_of(&mut entry), &mut Writer::new(&mut record, false));
        assert!(record.len() - before <= SLICE_PARTS_MAX * 40, "{} bytes", record.len() - before);
        slices += 1;
        if !more {
            break;
        }
    }
    assert!(slices >= 2 * PENDING / SLICE_PARTS_MAX, "{slices}");
}
