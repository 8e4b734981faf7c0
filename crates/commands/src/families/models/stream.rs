//! A stream with two groups against a map of entries and maps of what is pending.

use std::collections::{BTreeMap, BTreeSet};

use torc_keyspace::Rng;

use super::*;

type Id = (u64, u64);

#[derive(Default)]
struct Group {
    last: Id,
    /// Owner, time of delivery, and number of deliveries.
    pending: BTreeMap<Id, (usize, i64, u64)>,
    consumers: BTreeSet<usize>,
}

#[derive(Default)]
struct Model {
    entries: BTreeMap<Id, Vec<String>>,
    last: Id,
    max_deleted: Id,
    added: usize,
    groups: [Option<Group>; 2],
}

fn text_of(id: Id) -> String {
    format!("{}-{}", id.0, id.1)
}

fn bulk_of(id: Id) -> String {
    bulk(&text_of(id))
}

fn ids_of<'a>(ids: impl IntoIterator<Item = &'a Id>) -> String {
    array(ids.into_iter().map(|id| bulk_of(*id)))
}

impl Model {
    fn shown(&self, ids: impl IntoIterator<Item = Id>) -> String {
        array(ids.into_iter().map(|id| match self.entries.get(&id) {
            Some(fields) => array([bulk_of(id), bulks(fields)]),
            None => array([bulk_of(id), NIL_ARRAY.to_owned()]),
        }))
    }

    fn id(&self, random: &mut Rng) -> Id {
        (self.last.0.saturating_sub(random.index(40) as u64), random.index(3) as u64)
    }

    fn drop_first(&mut self, count: usize) {
        (0..count).for_each(|_| drop(self.entries.pop_first()));
    }
}

fn add(bench: &mut Bench, random: &mut Rng, model: &mut Model) {
    let id = match random.index(3) {
        0 => (model.last.0, model.last.1 + 1),
        _ => (model.last.0 + 1 + random.index(3) as u64, random.index(3) as u64),
    };
    let names = [&["a", "b"][..], &["a"], &["b", "a", "7"]][random.index(3)];
    let values = ["1", "-300", "text", "", "12345678901234"];
    let fields: Vec<String> =
        names.iter().flat_map(|name| [(*name).to_owned(), values[random.index(5)].to_owned()]).collect();
    let len_max = random.index(60);
    let (trim, min) = (random.index(6), model.id(random));
    let option = match trim {
        0 => format!("MAXLEN = {len_max} "),
        1 => format!("MINID {} ", text_of(min)),
        _ => String::new(),
    };
    let line = format!("XADD s {option}{}{}", text_of(id), words(&fields));
    check(bench, &line, &bulk_of(id));
    model.entries.insert(id, fields);
    (model.last, model.added) = (id, model.added + 1);
    match trim {
        0 => model.drop_first(model.entries.len().saturating_sub(len_max)),
        1 => model.entries = model.entries.split_off(&min),
        _ => {}
    }
    check(
        bench,
        &format!("XADD s {} a b", text_of(id)),
        "-ERR The ID specified in XADD is equal or smaller than the \
          target stream top item",
    );
}

fn remove(bench: &mut Bench, random: &mut Rng, model: &mut Model) {
    let (len_max, min) = (random.index(60), model.id(random));
    match random.index(6) {
        0 => {
            let count = model.entries.len().saturating_sub(len_max);
            check(bench, &format!("XTRIM s MAXLEN {len_max}"), &int(count));
            model.drop_first(count);
        }
        1 => {
            let kept = model.entries.split_off(&min);
            check(bench, &format!("XTRIM s MINID {}", text_of(min)), &int(model.entries.len()));
            model.entries = kept;
        }
        2 => {
            // Whole nodes go, from the front, and never more than the exact form would take.
            let reply = run(bench, &format!("XTRIM s MAXLEN ~ {len_max} LIMIT 20"));
            let count: usize = reply[1..].parse().expect("a number");
            assert!(count <= 20.min(model.entries.len().saturating_sub(len_max)));
            model.drop_first(count);
        }
        _ => {
            let ids: BTreeSet<Id> = (0..1 + random.index(4)).map(|_| model.id(random)).collect();
            let list: String = ids.iter().map(|id| format!(" {}", text_of(*id))).collect();
            let gone: Vec<Id> = ids.into_iter().filter(|id| model.entries.remove(id).is_some()).collect();
            check(bench, &format!("XDEL s{list}"), &int(gone.len()));
            model.max_deleted = gone.into_iter().fold(model.max_deleted, Id::max);
        }
    }
}

fn ranges(bench: &mut Bench, random: &mut Rng, model: &Model) {
    let (start, end, count) = (model.id(random), model.id(random), 1 + random.index(8));
    let (open_start, open_end) = (random.index(2) == 0, random.index(2) == 0 && end > (0, 0));
    let inside =
        |id: &Id| (*id > start || !open_start && *id == start) && (*id < end || !open_end && *id == end);
    let found: Vec<Id> = model.entries.keys().copied().filter(inside).collect();
    let mark = |open| if open { "(" } else { "" };
    let (from, to) =
        (format!("{}{}", mark(open_start), text_of(start)), format!("{}{}", mark(open_end), text_of(end)));
    check(bench, &format!("XRANGE s {from} {to}"), &model.shown(found.iter().copied()));
    let line = format!("XRANGE s {from} {to} COUNT {count}");
    check(bench, &line, &model.shown(found.iter().copied().take(count)));
    let line = format!("XREVRANGE s {to} {from} COUNT {count}");
    check(bench, &line, &model.shown(found.iter().copied().rev().take(count)));
    let later: Vec<Id> = model.entries.keys().copied().filter(|id| *id > start).take(count).collect();
    let expected = match later.len() {
        0 => NIL_ARRAY.to_owned(),
        _ => array([array([bulk("s"), model.shown(later)])]),
    };
    check(bench, &format!("XREAD COUNT {count} STREAMS s none {} 0", text_of(start)), &expected);
    let first = model.entries.keys().next().copied().unwrap_or_default();
    let info = run(bench, "XINFO STREAM s");
    for (name, expected) in [
        ("length", int(model.entries.len())),
        ("last-generated-id", bulk_of(model.last)),
        ("max-deleted-entry-id", bulk_of(model.max_deleted)),
        ("entries-added", int(model.added)),
        ("recorded-first-entry-id", bulk_of(first)),
    ] {
        assert!(info.contains(&format!("{}\n{expected}\n", bulk(name))), "{name}: {expected} in {info}");
    }
}

fn in_group(bench: &mut Bench, random: &mut Rng, model: &mut Model) {
    let now_ms = bench.now_ms;
    let (number, consumer, id, count) =
        (random.index(2), random.index(3), model.id(random), 1 + random.index(6));
    let Some(mut group) = model.groups[number].take() else {
        check(bench, &format!("XGROUP CREATE s g{number} {}", text_of(id)), OK);
        model.groups[number] = Some(Group { last: id, ..Group::default() });
        return;
    };
    let (name, who) = (format!("s g{number}"), format!("g{number} c{consumer}"));
    match random.index(11) {
        0 if random.index(5) == 0 => {
            check(bench, &format!("XGROUP DESTROY {name}"), ":1");
            return;
        }
        1 => {
            group.last = id;
            check(bench, &format!("XGROUP SETID {name} {}", text_of(id)), OK);
        }
        2 if random.index(4) == 0 => {
            let before = group.pending.len();
            group.pending.retain(|_, (owner, ..)| *owner != consumer);
            group.consumers.remove(&consumer);
            let line = format!("XGROUP DELCONSUMER {name} c{consumer}");
            check(bench, &line, &int(before - group.pending.len()));
        }
        3..6 => {
            let noack = random.index(4) == 0;
            let last = group.last;
            let new: Vec<Id> = model.entries.keys().copied().filter(|id| *id > last).take(count).collect();
            let expected = match new.len() {
                0 => NIL_ARRAY.to_owned(),
                _ => array([array([bulk("s"), model.shown(new.iter().copied())])]),
            };
            let option = if noack { " NOACK" } else { "" };
            check(bench, &format!("XREADGROUP GROUP {who} COUNT {count}{option} STREAMS s >"), &expected);
            group.consumers.insert(consumer);
            for id in new {
                group.last = id;
                if !noack {
                    group.pending.insert(id, (consumer, now_ms, 1));
                }
            }
        }
        6 => {
            let own = group.pending.range(id..).filter(|(at, (owner, ..))| **at > id && *owner == consumer);
            let own: Vec<Id> = own.map(|(id, _)| *id).take(count).collect();
            let expected = array([array([bulk("s"), model.shown(own.iter().copied())])]);
            let line = format!("XREADGROUP GROUP {who} COUNT {count} STREAMS s {}", text_of(id));
            check(bench, &line, &expected);
            group.consumers.insert(consumer);
            for id in own.iter().filter(|id| model.entries.contains_key(*id)) {
                let (_, at, deliveries) = group.pending.get_mut(id).expect("it is pending");
                (*at, *deliveries) = (now_ms, *deliveries + 1);
            }
        }
        7 => {
            let ids: BTreeSet<Id> =
                (0..3).map(|_| model.id(random)).chain(group.pending.keys().next().copied()).collect();
            let list: String = ids.iter().map(|id| format!(" {}", text_of(*id))).collect();
            let gone = ids.iter().filter(|id| group.pending.remove(*id).is_some()).count();
            check(bench, &format!("XACK {name}{list}"), &int(gone));
        }
        8 => claim(bench, random, model, &mut group, &format!("{name} c{consumer}"), consumer),
        9 => {
            let idle_ms = [0, 5, 60][random.index(3)];
            let (mut claimed, mut gone, mut next) = (Vec::new(), Vec::new(), (0, 0));
            let mut looks = 10 * count;
            for (&at, (_, delivered_ms, _)) in group.pending.range(id..) {
                if looks == 0 || claimed.len() + gone.len() == count {
                    next = at;
                    break;
                }
                looks -= 1;
                if !model.entries.contains_key(&at) {
                    gone.push(at);
                } else if now_ms - delivered_ms >= idle_ms {
                    claimed.push(at);
                }
            }
            let line = format!("XAUTOCLAIM {name} c{consumer} {idle_ms} {} COUNT {count}", text_of(id));
            let justid = random.index(2) == 0;
            let shown = if justid { ids_of(&claimed) } else { model.shown(claimed.iter().copied()) };
            let line = if justid { line + " JUSTID" } else { line };
            check(bench, &line, &array([bulk_of(next), shown, ids_of(&gone)]));
            group.consumers.insert(consumer);
            gone.iter().for_each(|id| {
                group.pending.remove(id);
            });
            for id in &claimed {
                let (_, _, deliveries) = group.pending[id];
                group.pending.insert(*id, (consumer, now_ms, deliveries + u64::from(!justid)));
            }
        }
        _ => pending(bench, random, &group, &name, id, consumer),
    }
    model.groups[number] = Some(group);
}

fn claim(bench: &mut Bench, random: &mut Rng, model: &Model, group: &mut Group, name: &str, consumer: usize) {
    let now_ms = bench.now_ms;
    let ids: BTreeSet<Id> =
        (0..2).map(|_| model.id(random)).chain(group.pending.keys().copied().take(2)).collect();
    let list: String = ids.iter().map(|id| format!(" {}", text_of(*id))).collect();
    let idle_ms = [0, 5, 60][random.index(3)];
    let (force, justid) = (random.index(3) == 0, random.index(3) == 0);
    let retries = (random.index(3) == 0).then(|| random.index(9) as u64);
    let idle = (random.index(3) == 0).then(|| random.index(50) as i64);
    let mut line = format!("XCLAIM {name} {idle_ms}{list}");
    line += &idle.map_or(String::new(), |idle| format!(" IDLE {idle}"));
    line += &retries.map_or(String::new(), |count| format!(" RETRYCOUNT {count}"));
    line += if force { " FORCE" } else { "" };
    line += if justid { " JUSTID" } else { "" };
    let mut claimed = Vec::new();
    for id in ids {
        let is_there = model.entries.contains_key(&id);
        let old = group.pending.get(&id).copied();
        if !is_there {
            group.pending.remove(&id);
            continue;
        }
        let Some((_, at, deliveries)) = old.or(force.then_some((consumer, i64::MIN / 2, 1))) else {
            continue;
        };
        if now_ms - at < idle_ms {
            continue;
        }
        let deliveries = retries.unwrap_or(deliveries + u64::from(!justid));
        group.pending.insert(id, (consumer, now_ms - idle.unwrap_or(0), deliveries));
        claimed.push(id);
    }
    let expected = if justid { ids_of(&claimed) } else { model.shown(claimed.iter().copied()) };
    check(bench, &line, &expected);
    group.consumers.insert(consumer);
}

fn pending(bench: &mut Bench, random: &mut Rng, group: &Group, name: &str, id: Id, consumer: usize) {
    let now_ms = bench.now_ms;
    let line = |(id, (owner, at, deliveries)): (&Id, &(usize, i64, u64))| {
        let numbers = [format!(":{}", now_ms - at), format!(":{deliveries}")];
        let [idle, deliveries] = numbers;
        array([bulk_of(*id), bulk(&format!("c{owner}")), idle, deliveries])
    };
    let from = || group.pending.range(id..);
    check(bench, &format!("XPENDING {name} {} + 9", text_of(id)), &array(from().take(9).map(line)));
    let (idle_ms, count) = (random.index(40) as i64, 1 + random.index(9));
    let old = from().filter(|(_, (owner, at, _))| *owner == consumer && now_ms - at >= idle_ms);
    let command = format!("XPENDING {name} IDLE {idle_ms} {} + {count} c{consumer}", text_of(id));
    check(bench, &command, &array(old.take(count).map(line)));
    let mut counts = BTreeMap::<usize, usize>::new();
    group.pending.values().for_each(|(owner, ..)| *counts.entry(*owner).or_default() += 1);
    let owners =
        counts.iter().map(|(owner, count)| array([bulk(&format!("c{owner}")), bulk(&count.to_string())]));
    let summary = match (group.pending.keys().next(), group.pending.keys().next_back()) {
        (Some(first), Some(last)) => {
            array([int(group.pending.len()), bulk_of(*first), bulk_of(*last), array(owners)])
        }
        _ => array([int(0), NIL.to_owned(), NIL.to_owned(), NIL_ARRAY.to_owned()]),
    };
    check(bench, &format!("XPENDING {name}"), &summary);
    let info = run(bench, "XINFO GROUPS s");
    for (name, value) in [("consumers", group.consumers.len()), ("pending", group.pending.len())] {
        assert!(info.contains(&format!("{}\n:{value}\n", bulk(name))), "{name} {value} in {info}");
    }
}

#[test]
fn streams_are_maps_of_entries() {
    for seed in 1..=20 {
        let mut random = Rng::new(seed);
        let mut bench = Bench::new();
        bench.may_wait = false;
        bench.settings.encodings.stream_node_max_entries = [1, 3, 10, 100][random.index(4)];
        bench.settings.encodings.stream_node_max_bytes = [0, 100, 4096][random.index(3)];
        let mut model = Model::default();
        add(&mut bench, &mut random, &mut model);
        for _ in 0..300 {
            bench.now_ms += random.index(10) as i64;
            match random.index(10) {
                0..4 => add(&mut bench, &mut random, &mut model),
                4 => remove(&mut bench, &mut random, &mut model),
                5 if random.index(8) == 0 => {
                    let id = (model.last.0 + random.index(3) as u64, model.last.1 + 1);
                    check(&mut bench, &format!("XSETID s {}", text_of(id)), OK);
                    model.last = id;
                }
                5 | 6 => ranges(&mut bench, &mut random, &model),
                _ => in_group(&mut bench, &mut random, &mut model),
            }
            check(&mut bench, "XLEN s", &int(model.entries.len()));
        }
        ranges(&mut bench, &mut random, &model);
    }
}
