//! Streams against the bytes of the real thing, and against plain models.

use std::collections::BTreeMap;

use super::*;
use crate::listpack::Item;
use crate::saving::Parts;
use crate::testing::Random;

const LIMITS: NodeLimits = NodeLimits { max_bytes: 4096, max_entries: 100 };

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn append(log: &mut Log, id: StreamId, fields: &[(&str, &str)], limits: NodeLimits) {
    log.append(id, fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())), limits);
}

fn pairs(entry: Entry<'_>) -> Pairs {
    entry.fields.map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

/// Taken from the DUMP of a redis-server 7.0.15: four entries, the second of which was deleted.
#[test]
fn has_the_bytes_of_the_real_thing() {
    let id = StreamId::new;
    let mut log = Log::default();
    append(&mut log, id(100, 5), &[("a", "1"), ("b", "two")], LIMITS);
    append(&mut log, id(100, 7), &[("a", "300"), ("b", "x")], LIMITS);
    append(&mut log, id(101, 0), &[("c", "y")], LIMITS);
    append(&mut log, id(101, 1), &[("a", "-5000"), ("b", "")], LIMITS);
    assert!(log.delete(id(100, 7)));
    let expected: &[u8] = &[
        0x52, 0, 0, 0, 0x1f, 0, // header
        3, 1, 1, 1, 2, 1, 0x81, b'a', 2, 0x81, b'b', 2, 0, 1, // counts and names
        2, 1, 0, 1, 0, 1, 1, 1, 0x83, b't', b'w', b'o', 4, 5, 1, // 100-5
        3, 1, 0, 1, 2, 1, 0xc1, 0x2c, 2, 0x81, b'x', 2, 5, 1, // 100-7, deleted
        0, 1, 1, 1, 0xdf, 0xfb, 2, 1, 1, 0x81, b'c', 2, 0x81, b'y', 2, 6, 1, // 101-0
        2, 1, 1, 1, 0xdf, 0xfc, 2, 0xf1, 0x78, 0xec, 3, 0x80, 1, 5, 1, // 101-1
        0xff,
    ];
    let nodes: Vec<(StreamId, &Node)> = log.nodes().collect();
    assert_eq!(nodes.len(), 1);
    assert_eq!(nodes[0].0, id(100, 5));
    assert_eq!(nodes[0].1.as_bytes(), expected);
    let read = Log::from_nodes([(id(100, 5), Node::from_bytes(expected.into()).expect("it is a node"))]);
    let read = read.expect("one node is in order");
    assert_eq!(read.len(), 3);
    assert_eq!((read.first_id(), read.last_id()), (id(100, 5), id(101, 1)));
    let all = |log: &Log| log.range(StreamId::MIN, StreamId::MAX).map(pairs).collect::<Vec<_>>();
    assert_eq!(all(&read), all(&log));
}

#[test]
fn damaged_nodes_are_refused_or_harmless() {
    let mut log = Log::default();
    append(&mut log, StreamId::new(5, 0), &[("name", "1"), ("other", "two")], LIMITS);
    append(&mut log, StreamId::new(5, 1), &[("name", "70000"), ("other", "three")], LIMITS);
    append(&mut log, StreamId::new(6, 0), &[("c", "y")], LIMITS);
    let bytes = log.nodes().next().expect("there is one node").1.as_bytes().to_vec();
    for cut in 0..bytes.len() {
        assert!(Node::from_bytes(bytes[..cut].into()).is_none());
    }
    for index in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1 << bit;
            let Some(node) = Node::from_bytes(damaged.into()) else { continue };
            // Whatever still passes can be walked and edited without a panic.
            let Some(mut log) = Log::from_nodes([(StreamId::new(5, 0), node)]) else { continue };
            let ids: Vec<StreamId> = log.range(StreamId::MIN, StreamId::MAX).map(|entry| entry.id).collect();
            log.range_rev(StreamId::MIN, StreamId::MAX).for_each(|entry| drop(pairs(entry)));
            log.set_last_id(StreamId::MIN);
            if let Some(next) = log.last_id().next() {
                append(&mut log, next, &[("name", "1"), ("other", "4")], LIMITS);
            }
            let mut trimmed = log.clone();
            trimmed.trim(Trim::MinId(StreamId::new(5, 1)), TrimEffort::Exact);
            trimmed.trim(Trim::MaxLen(1), TrimEffort::Exact);
            assert!(ids.len() <= 3 && ids.into_iter().all(|id| log.delete(id) || log.get(id).is_none()));
        }
    }
    let node = |bytes: &[u8]| Node::from_bytes(bytes.into()).expect("it is a node");
    let (one, two) = (StreamId::new(5, 0), StreamId::new(4, 0));
    assert!(Log::from_nodes([(one, node(&bytes)), (two, node(&bytes))]).is_none(), "ids must ascend");
}

/// A group that goes while it is being saved is saved as it was, and so is the one that takes its name afterwards: not at all.
#[test]
fn a_removed_group_is_saved_as_it_was() {
    let mut stream = Stream::new();
    stream.add_group(b"g", StreamId::new(1, 1), None);
    stream.edit_group(b"g", |group, _| {
        let consumer = group.add_consumer(b"c", 5);
        for ms in 0..3 {
            group.assign(StreamId::new(ms, 0), Pending { consumer, delivered_ms: 7, deliveries: 1 });
        }
    });
    stream.begin_save();
    let mut parts = Vec::new();
    let mut pauses = 0;
    while stream.save_rest(|part| {
        parts.push(format!("{part:?}"));
        false
    }) {
        pauses += 1;
        if pauses == 2 {
            stream.edit_group(b"g", |group, _| group.remove_consumer(b"c"));
            assert!(stream.remove_group(b"g"));
            assert!(stream.add_group(b"g", StreamId::MAX, Some(9)));
            stream.edit_group(b"g", |group, _| group.add_consumer(b"d", 5));
        }
    }
    let kinds: Vec<&str> = parts.iter().map(|part| part.split([' ', '(']).next().expect("a name")).collect();
    let expected = ["Group", "Pending", "Pending", "Pending", "Consumers", "Consumer", "Id", "Id", "Id"];
    assert_eq!(kinds, expected);
    assert_eq!(stream.save_id(), None, "the save has ended");
    assert_eq!(stream.groups().len(), 1);
}

/// XSETID may go back behind entries that were deleted; what comes then is read again, although a deleted id stands before it.
#[test]
fn deleted_entries_may_stand_before_earlier_ids() {
    let id = |ms| StreamId::new(ms, 0);
    for limits in [LIMITS, NodeLimits { max_bytes: 0, max_entries: 2 }] {
        let mut log = Log::default();
        [1, 2, 9].iter().for_each(|&ms| append(&mut log, id(ms), &[("a", "1")], limits));
        assert!(log.delete(id(9)));
        log.set_last_id(id(3));
        [4, 5].iter().for_each(|&ms| append(&mut log, id(ms), &[("a", "2")], limits));
        let nodes: Vec<_> = log
            .nodes()
            .map(|(first, node)| (first, Node::from_bytes(node.as_bytes().into()).expect("it is a node")))
            .collect();
        let read = Log::from_nodes(nodes).expect("the entries that are there ascend");
        assert_eq!((read.len(), read.last_id()), (4, id(5)));
        for log in [&log, &read] {
            let ids = log.range(id(2), id(5)).map(|entry| entry.id);
            assert!(ids.eq([2, 4, 5].map(id)));
            let ids = log.range_rev(id(1), id(4)).map(|entry| entry.id);
            assert!(ids.eq([4, 2, 1].map(id)));
            assert!(log.get(id(4)).is_some() && log.get(id(9)).is_none());
        }
    }
}

/// Appending, deleting, trimming and reading against a plain map.
#[test]
fn a_log_behaves_like_a_map() {
    for seed in 1..=60u64 {
        let mut random = Random(seed);
        let limits = NodeLimits {
            max_bytes: [0, 80, 300][random.below(3)],
            max_entries: [0, 1, 3, 7][random.below(4)],
        };
        let (mut log, mut model) = (Log::default(), BTreeMap::<StreamId, Pairs>::new());
        let (mut last, mut max_deleted, mut added) = (StreamId::MIN, StreamId::MIN, 0);
        let long = "x".repeat(70);
        for step in 0..400 {
            let some_id = |random: &mut Random| {
                StreamId::new(last.ms.saturating_sub(random.below(30) as u64), random.below(4) as u64)
            };
            match random.below(12) {
                0..=4 => {
                    last = match random.below(3) {
                        0 => last.next().expect("far from the end"),
                        _ => StreamId::new(last.ms + 1, random.below(3) as u64),
                    };
                    let names = [&["a"][..], &["a", "b"], &["b", "7"], &[]][random.below(4)];
                    let values = ["", "12", "-300", "123456789012", &long];
                    let fields: Vec<(&str, &str)> =
                        names.iter().map(|name| (*name, values[random.below(5)])).collect();
                    append(&mut log, last, &fields, limits);
                    let owned = fields
                        .iter()
                        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
                    model.insert(last, owned.collect());
                    added += 1;
                }
                5..=7 => {
                    let id = some_id(&mut random);
                    let was_there = model.remove(&id).is_some();
                    assert_eq!(log.delete(id), was_there, "seed {seed}, step {step}");
                    if was_there {
                        max_deleted = max_deleted.max(id);
                    }
                }
                8 => {
                    let len_max = random.below(20);
                    let expected = model.len().saturating_sub(len_max);
                    assert_eq!(log.trim(Trim::MaxLen(len_max as u64), TrimEffort::Exact), expected as u64);
                    (0..expected).for_each(|_| drop(model.pop_first()));
                }
                9 => {
                    let min = some_id(&mut random);
                    let kept = model.split_off(&min);
                    let removed = log.trim(Trim::MinId(min), TrimEffort::Exact);
                    assert_eq!(removed, model.len() as u64, "seed {seed}, step {step}");
                    model = kept;
                }
                10 => {
                    let len_max = random.below(20) as u64;
                    let limit = random.below(3) as u64 * 5;
                    let removed = log.trim(Trim::MaxLen(len_max), TrimEffort::Nodes { limit });
                    assert!(limit == 0 || removed <= limit);
                    (0..removed).for_each(|_| drop(model.pop_first()));
                    assert!(removed == 0 || log.len() >= len_max);
                }
                _ => {
                    let (start, end) = (some_id(&mut random), some_id(&mut random));
                    let expected: Vec<(StreamId, Pairs)> = model
                        .iter()
                        .filter(|(id, _)| (start..=end).contains(*id))
                        .map(|(id, fields)| (*id, fields.clone()))
                        .collect();
                    let got: Vec<_> = log.range(start, end).map(|entry| (entry.id, pairs(entry))).collect();
                    assert_eq!(got, expected, "seed {seed}, step {step}");
                    let mut got: Vec<_> =
                        log.range_rev(start, end).map(|entry| (entry.id, pairs(entry))).collect();
                    got.reverse();
                    assert_eq!(got, expected, "seed {seed}, step {step}");
                    assert_eq!(log.get(start).map(pairs), model.get(&start).cloned());
                }
            }
            let edge = |id: Option<&StreamId>| id.copied().unwrap_or(StreamId::MIN);
            assert_eq!(log.len(), model.len() as u64, "seed {seed}, step {step}");
            assert_eq!(log.first_id(), edge(model.keys().next()), "seed {seed}, step {step}");
            assert_eq!(log.newest_id(), edge(model.keys().next_back()));
            assert_eq!(
                (log.last_id(), log.max_deleted_id(), log.entries_added()),
                (last, max_deleted, added)
            );
        }
        for (_, node) in log.nodes() {
            assert!(Node::from_bytes(node.as_bytes().into()).is_some());
        }
        let nodes = log.nodes().map(|(id, node)| (id, node.clone()));
        let read = Log::from_nodes(nodes).expect("the nodes are in order");
        assert!(read.range(StreamId::MIN, StreamId::MAX).map(pairs).eq(model.into_values()));
        let bytes: usize = log.nodes().map(|(_, node)| node.as_bytes().len()).sum();
        assert!(log.heap_bytes() >= bytes);
    }
}

#[test]
fn nodes_of_more_than_127_entries_move_their_counts() {
    let mut log = Log::default();
    let limits = NodeLimits { max_bytes: 0, max_entries: 0 };
    for ms in 1..=300 {
        append(&mut log, StreamId::new(ms, 0), &[("a", "1")], limits);
    }
    assert_eq!(log.node_count(), 1);
    (1..=299).step_by(2).for_each(|ms| assert!(log.delete(StreamId::new(ms, 0))));
    assert_eq!(log.trim(Trim::MaxLen(100), TrimEffort::Exact), 50);
    let ids: Vec<u64> = log.range(StreamId::MIN, StreamId::MAX).map(|entry| entry.id.ms).collect();
    assert_eq!(ids, (102..=300).step_by(2).collect::<Vec<u64>>());
    let bytes = log.nodes().next().expect("there is one node").1.as_bytes();
    assert!(Node::from_bytes(bytes.into()).is_some());
}

/// From its beginning and from its end; with ids that are not there, and deleted ones.
#[test]
fn a_range_begins_anywhere_in_a_node() {
    let id = |ms| StreamId::new(ms, 0);
    let mut log = Log::default();
    (1..=60).for_each(|number| append(&mut log, id(2 * number), &[("a", "1"), ("b", "2")], LIMITS));
    let deleted = |ms: u64| ms.is_multiple_of(6) || (90..=118).contains(&ms);
    (2..=120).step_by(2).filter(|ms| deleted(*ms)).for_each(|ms| assert!(log.delete(id(ms))));
    assert_eq!(log.node_count(), 1);
    for start in 0..=122 {
        let found: Vec<u64> = log.range(id(start), StreamId::MAX).map(|entry| entry.id.ms).collect();
        let expected = (start.max(2)..=120).filter(|ms| ms.is_multiple_of(2) && !deleted(*ms));
        assert_eq!(found, expected.collect::<Vec<u64>>(), "{start}");
        let is_there = (2..=120).contains(&start) && start.is_multiple_of(2) && !deleted(start);
        assert_eq!(log.get(id(start)).is_some(), is_there, "{start}");
    }
}

#[test]
fn ids_come_again_when_the_last_id_is_set_back() {
    let id = |ms| StreamId::new(ms, 0);
    let mut log = Log::default();
    (1..=3).for_each(|ms| append(&mut log, id(ms), &[("a", "1")], LIMITS));
    assert!(log.delete(id(3)));
    log.set_last_id(id(2));
    append(&mut log, id(3), &[("b", "2")], LIMITS);
    assert_eq!(log.get(id(3)).map(pairs), Some(vec![(b"b".to_vec(), b"2".to_vec())]));
    assert!(log.delete(id(3)) && !log.delete(id(3)));
    assert_eq!(log.len(), 2);
    // Not below the id of a node.
    log.set_last_id(StreamId::MIN);
    assert_eq!(log.last_id(), id(1));
}

#[test]
fn integers_are_stored_as_such() {
    let mut log = Log::default();
    append(&mut log, StreamId::new(1, 0), &[("7", "123"), ("x", "0123")], LIMITS);
    let entry = log.get(StreamId::new(1, 0)).expect("it was added");
    let items: Vec<_> = entry.fields.collect();
    assert_eq!(items[0], (Item::Int(7), Item::Int(123)));
    assert_eq!(items[1], (Item::Bytes(b"x"), Item::Bytes(b"0123")));
}

/// A group's two views of its pending entries agree whatever happens.
#[test]
fn a_group_behaves_like_a_map() {
    for seed in 1..=40u64 {
        let mut random = Random(seed);
        let mut stream = Stream::new();
        assert!(stream.add_group(b"g", StreamId::MIN, None));
        assert!(!stream.add_group(b"g", StreamId::MIN, None));
        let mut model = BTreeMap::<StreamId, (usize, u64)>::new();
        let names: [&[u8]; 4] = [b"alice", b"bob", b"", b"carol"];
        for _ in 0..300 {
            let id = StreamId::new(random.below(20) as u64, 0);
            let name = random.below(4);
            stream.edit_group(b"g", |group, _| match random.below(5) {
                0..=2 => {
                    let consumer = group.find_consumer(names[name]);
                    let consumer = consumer.unwrap_or_else(|| group.add_consumer(names[name], 5));
                    let deliveries = random.below(9) as u64;
                    group.assign(id, Pending { consumer, delivered_ms: 1, deliveries });
                    model.insert(id, (name, deliveries));
                }
                3 => assert_eq!(group.acknowledge(id), model.remove(&id).is_some()),
                _ => {
                    let before = model.len();
                    model.retain(|_, (owner, _)| *owner != name);
                    let removed = group.remove_consumer(names[name]);
                    assert_eq!(removed.unwrap_or(0), before - model.len());
                }
            });
            let group = stream.group(b"g").expect("it was added");
            let got: Vec<_> = group
                .pending_from(StreamId::MIN)
                .map(|(id, pending)| {
                    (id, group.consumer(pending.consumer).name().to_vec(), pending.deliveries)
                })
                .collect();
            let expected: Vec<_> =
                model.iter().map(|(id, (owner, count))| (*id, names[*owner].to_vec(), *count)).collect();
            assert_eq!(got, expected);
            let mut of_consumers: Vec<StreamId> =
                group.consumers().flat_map(|consumer| consumer.pending_from(StreamId::MIN)).collect();
            of_consumers.sort_unstable();
            assert!(of_consumers.iter().eq(model.keys()));
        }
        let copy = stream.clone();
        let bytes = stream.heap_bytes();
        assert!(stream.remove_group(b"g"));
        assert!(!stream.remove_group(b"g"));
        assert!(stream.heap_bytes() < bytes);
        assert_eq!(stream.heap_bytes(), Stream::new().heap_bytes());
        assert_eq!(copy.group(b"g").map(Group::pending_len), Some(model.len()));
    }
}

#[test]
fn a_huge_stream_is_freed_in_slices() {
    let mut stream = Stream::new();
    for ms in 1..=1_000 {
        append(
            stream.log_mut(),
            StreamId::new(ms, 0),
            &[("a", "1")],
            NodeLimits { max_bytes: 0, max_entries: 10 },
        );
    }
    for name in [&b"g"[..], b"h"] {
        stream.add_group(name, StreamId::MIN, None);
        stream.edit_group(name, |group, _| {
            for index in 0..50u64 {
                let consumer = group.add_consumer(&index.to_be_bytes(), 0);
                let pending = Pending { consumer, delivered_ms: 0, deliveries: 1 };
                (0..4).for_each(|nth| group.assign(StreamId::new(index * 4 + nth, 0), pending));
            }
        });
    }
    assert_eq!(stream.free_effort(), 100 + 2 * (1 + 2 * 4 + 50));
    let mut slices = 0;
    while stream.free_some(16) {
        slices += 1;
    }
    assert!((14..100).contains(&slices), "{slices}");
    assert_eq!((stream.log().node_count(), stream.groups().len()), (0, 0));
    assert!(!stream.free_some(1));
}

#[test]
fn the_history_is_known_at_the_ends() {
    let id = |ms| StreamId::new(ms, 0);
    let mut log = Log::default();
    assert_eq!(log.entries_added_until(id(9)), Some(0));
    (1..=5).for_each(|ms| append(&mut log, id(ms), &[("a", "1")], LIMITS));
    for (ms, expected) in [(0, Some(0)), (1, Some(1)), (2, None), (4, None), (5, Some(5)), (6, None)] {
        assert_eq!(log.entries_added_until(id(ms)), expected, "{ms}");
    }
    log.trim(Trim::MaxLen(3), TrimEffort::Exact);
    for (ms, expected) in [(0, Some(2)), (2, Some(2)), (3, Some(3)), (4, None), (5, Some(5))] {
        assert_eq!(log.entries_added_until(id(ms)), expected, "{ms}");
    }
    log.delete(id(4));
    assert_eq!(log.entries_added_until(id(2)), None);
    assert!(log.has_gaps_from(id(3)) && log.has_gaps_from(id(4)) && !log.has_gaps_from(id(5)));
    log.delete(id(3));
    assert_eq!(log.entries_added_until(id(2)), Some(4));
    assert!(!log.has_gaps_from(id(3)));
    log.delete(id(5));
    assert_eq!(log.entries_added_until(id(2)), Some(5));
}
