//! What commands on streams count and tell, and reading and claiming in a group against a plain model.

use std::collections::{BTreeMap, BTreeSet};

use torc_keyspace::Rng;

use crate::testing::Bench;

#[test]
fn entries_that_come_and_go_are_told() {
    let mut bench = Bench::new();
    let too_small = "-ERR The ID specified in XADD is equal or smaller than the target stream top item";
    bench.check_changes("XADD s 1-1 a 1", "$3\n1-1", 1, &["t xadd s"]);
    bench.check_changes("XADD s MAXLEN 1 1-2 a 1", "$3\n1-2", 1, &["t xadd s", "t xtrim s"]);
    bench.check_changes("XADD s MINID 1-3 NOMKSTREAM 1-3 a 1", "$3\n1-3", 1, &["t xadd s", "t xtrim s"]);
    bench.check_changes("XADD none NOMKSTREAM 1-3 a 1", "$-1", 0, &[]);
    bench.check_changes("XADD s 1-3 a 1", too_small, 0, &[]);
    (2..=4).for_each(|ms| drop(bench.run(&format!("XADD s {ms}-0 a 1"))));
    bench.check_changes("XDEL s 2-0 9-0 3-0", ":2", 2, &["t xdel s"]);
    bench.check_changes("XDEL s 2-0", ":0", 0, &[]);
    bench.check_changes("XTRIM s MAXLEN 5", ":0", 0, &[]);
    bench.check_changes("XTRIM s MAXLEN 0", ":2", 2, &["t xtrim s"]);
    bench.check_changes("XSETID s 9-0", "+OK", 1, &["t xsetid s"]);
    bench.check_changes("XADD s 9-* a 1", "$3\n9-1", 1, &["t xadd s"]);
}

#[test]
fn automatic_ids_follow_the_clock_but_never_backwards() {
    let mut bench = Bench::new();
    bench.check("XADD s * a 1", "$15\n1700000000000-0");
    bench.check("XADD s * a 1", "$15\n1700000000000-1");
    bench.now_ms -= 5;
    bench.check("XADD s * a 1", "$15\n1700000000000-2");
    bench.now_ms += 6;
    bench.check("XADD s * a 1", "$15\n1700000000001-0");
}

#[test]
fn what_happens_in_groups_is_told() {
    let mut bench = Bench::new();
    bench.run("XGROUP CREATE s g $ MKSTREAM");
    (1..=6).for_each(|ms| drop(bench.run(&format!("XADD s {ms} a 1"))));
    let consumer = "t xgroup-createconsumer s";
    for (line, dirty, event) in [
        ("XGROUP CREATE new g $ MKSTREAM", 1, Some("t xgroup-create new")),
        ("XGROUP CREATE s h 5", 1, Some("t xgroup-create s")),
        ("XGROUP SETID s h 0", 1, Some("t xgroup-setid s")),
        ("XGROUP CREATECONSUMER s g c", 1, Some(consumer)),
        ("XGROUP CREATECONSUMER s g c", 0, None),
        ("XREADGROUP GROUP g c COUNT 1 STREAMS s >", 1, None),
        ("XREADGROUP GROUP g d COUNT 2 STREAMS s >", 2, Some(consumer)),
        ("XREADGROUP GROUP g c STREAMS s 0", 1, None),
        ("XREADGROUP GROUP h e NOACK STREAMS s >", 2, Some(consumer)),
        ("XREADGROUP GROUP h f STREAMS s >", 1, Some(consumer)),
        ("XREADGROUP GROUP h f STREAMS s >", 0, None),
        ("XCLAIM s g e 0 1 2 JUSTID", 3, Some(consumer)),
        ("XCLAIM s g e 100 1 2 JUSTID", 0, None),
        ("XCLAIM s g e 100 1 LASTID 5 JUSTID", 1, None),
        ("XCLAIM s g e 0 1 LASTID 6 JUSTID", 1, None),
        ("XAUTOCLAIM s g f 0 - COUNT 3 JUSTID", 4, Some(consumer)),
        ("XDEL s 1", 1, Some("t xdel s")),
        ("XCLAIM s g f 0 1", 1, None),
        ("XDEL s 2", 1, Some("t xdel s")),
        ("XAUTOCLAIM s g f 100 -", 1, None),
        ("XACK s g 1 2 3", 1, None),
        ("XACK s g 3", 0, None),
        ("XGROUP DELCONSUMER s g f", 1, Some("t xgroup-delconsumer s")),
        ("XGROUP DELCONSUMER s g f", 0, None),
        ("XGROUP DESTROY s g", 1, Some("t xgroup-destroy s")),
        ("XGROUP DESTROY s g", 0, None),
    ] {
        let (got_dirty, got_events) = bench.changes_of(|bench| {
            let [_, reply] = bench.run(line);
            assert!(!reply.starts_with('-'), "{line}: {reply}");
        });
        assert_eq!(
            (got_dirty, &got_events[..]),
            (dirty, &event.map(str::to_owned).into_iter().collect::<Vec<_>>()[..]),
            "{line}"
        );
    }
}

#[test]
fn idle_times_are_those_of_the_last_delivery() {
    let mut bench = Bench::new();
    bench.run("XADD s 1 a 1");
    bench.run("XGROUP CREATE s g 0");
    bench.run("XREADGROUP GROUP g c STREAMS s >");
    bench.now_ms += 50;
    bench.check("XPENDING s g - + 9", "*1\n*4\n$3\n1-0\n$1\nc\n:50\n:1");
    bench.check("XPENDING s g IDLE 51 - + 9", "*0");
    bench.check("XCLAIM s g d 51 1 JUSTID", "*0");
    bench.check("XAUTOCLAIM s g d 51 - JUSTID", "*3\n$3\n0-0\n*0\n*0");
    bench.check("XCLAIM s g d 50 1 JUSTID", "*1\n$3\n1-0");
    bench.check("XPENDING s g - + 9 d", "*1\n*4\n$3\n1-0\n$1\nd\n:0\n:1");
    bench.now_ms += 5;
    bench.run("XREADGROUP GROUP g c STREAMS s >");
    let consumers = |head: &str| {
        format!(
            "{head}\n$4\nname\n$1\nc\n$7\npending\n:0\n$4\nidle\n:0\n$8\ninactive\n:55\n{head}\n$4\nname\n$1\nd\n$7\n\
             pending\n:1\n$4\nidle\n:5\n$8\ninactive\n:5"
        )
    };
    let (resp2, resp3) = (consumers("*8"), consumers("%4"));
    bench.check_both("XINFO CONSUMERS s g", &format!("*2\n{resp2}"), &format!("*2\n{resp3}"));
    bench.run("XGROUP CREATECONSUMER s g e");
    let [_, info] = bench.run("XINFO CONSUMERS s g");
    assert!(info.ends_with("$8\ninactive\n:-1"), "{info}");
}

/// Random reads, acknowledgements, claims and deletions by three consumers against a plain model of the group.
#[test]
fn a_group_agrees_with_a_model() {
    for seed in 1..=20u64 {
        let mut random = Rng::new(seed);
        let mut bench = Bench::new();
        bench.settings.encodings.stream_node_max_entries = 1 + random.index(4);
        bench.run("XGROUP CREATE s g 0 MKSTREAM");
        let mut alive = BTreeSet::new();
        let mut pending: BTreeMap<u64, (usize, u64)> = BTreeMap::new();
        let (mut last, mut delivered) = (0, 0);
        for step in 0..300 {
            let (id, consumer) = (1 + random.index(last as usize + 2) as u64, random.index(3));
            let ids = |ids: &[u64]| {
                let lines: String =
                    ids.iter().map(|id| format!("\n${}\n{id}-0", id.to_string().len() + 2)).collect();
                format!("*{}{lines}", ids.len())
            };
            match random.index(8) {
                0 | 1 => {
                    last += 1;
                    bench.run(&format!("XADD s {last} a {last}"));
                    alive.insert(last);
                }
                2 => {
                    let was_there = alive.remove(&id);
                    bench.check(&format!("XDEL s {id}"), &format!(":{}", i64::from(was_there)));
                }
                3 => {
                    let count = 1 + random.index(3);
                    bench.run(&format!("XREADGROUP GROUP g c{consumer} COUNT {count} STREAMS s >"));
                    for id in alive.range(delivered + 1..).take(count) {
                        pending.insert(*id, (consumer, 1));
                        delivered = *id;
                    }
                }
                4 => {
                    let was_pending = pending.remove(&id).is_some();
                    bench.check(&format!("XACK s g {id}"), &format!(":{}", i64::from(was_pending)));
                }
                5 => {
                    let claimed = alive.contains(&id) && pending.contains_key(&id);
                    let expected = if claimed { vec![id] } else { vec![] };
                    bench.check(&format!("XCLAIM s g c{consumer} 0 {id} JUSTID"), &ids(&expected));
                    if !alive.contains(&id) {
                        pending.remove(&id);
                    } else if let Some((owner, _)) = pending.get_mut(&id) {
                        *owner = consumer;
                    }
                }
                6 => {
                    bench.run(&format!("XREADGROUP GROUP g c{consumer} STREAMS s 0"));
                    for (id, (owner, deliveries)) in &mut pending {
                        *deliveries += u64::from(*owner == consumer && alive.contains(id));
                    }
                }
                _ => {
                    let seen: Vec<u64> = pending.range(id..).map(|(id, _)| *id).take(2).collect();
                    let next = pending.range(id..).nth(2).map_or("0-0".into(), |(id, _)| format!("{id}-0"));
                    let (claimed, gone): (Vec<u64>, Vec<u64>) =
                        seen.iter().partition(|id| alive.contains(id));
                    let expected = format!("*3\n${}\n{next}\n{}\n{}", next.len(), ids(&claimed), ids(&gone));
                    bench.check(&format!("XAUTOCLAIM s g c{consumer} 0 {id} COUNT 2 JUSTID"), &expected);
                    pending.retain(|id, _| !gone.contains(id));
                    claimed.iter().for_each(|id| pending.get_mut(id).expect("it is pending").0 = consumer);
                }
            }
            let list: String = pending
                .iter()
                .map(|(id, (owner, count))| {
                    let len = id.to_string().len() + 2;
                    format!("\n*4\n${len}\n{id}-0\n$2\nc{owner}\n:0\n:{count}")
                })
                .collect();
            let [_, got] = bench.run("XPENDING s g - + 1000");
            assert_eq!(got, format!("*{}{list}", pending.len()), "seed {seed}, step {step}");
            let of_one: Vec<u64> =
                pending.iter().filter(|(_, (owner, _))| *owner == consumer).map(|(id, _)| *id).collect();
            let [_, got] = bench.run(&format!("XPENDING s g - + 1000 c{consumer}"));
            assert_eq!(got.lines().filter(|line| line.ends_with("-0")).count(), of_one.len());
            bench.check("XLEN s", &format!(":{}", alive.len()));
        }
    }
}

#[test]
fn who_finds_nothing_waits_with_the_ids_of_the_first_attempt() {
    let mut bench = Bench::new();
    bench.run("XADD s 5 a 1");
    bench.run("XGROUP CREATE s g $");
    bench.check("XREAD BLOCK 0 STREAMS s $", "waits for s");
    bench.check("XREAD COUNT 3 BLOCK 20 STREAMS s t $ 7", "waits for s t, 20 ms");
    let [_, served] = bench.run("XREAD BLOCK 0 STREAMS s t 4 $");
    assert!(served.starts_with('%'), "{served}");
    bench.check("XREAD STREAMS s $", "*-1");
    bench.check_changes(
        "XREADGROUP GROUP g c BLOCK 0 STREAMS s >",
        "waits for s",
        1,
        &["t xgroup-createconsumer s"],
    );
    bench.check_both("XREADGROUP GROUP g c BLOCK 0 STREAMS s 0", "*1\n*2\n$1\ns\n*0", "%1\n$1\ns\n*0");
    bench.may_wait = false;
    bench.check("XREAD BLOCK 0 STREAMS s $", "*-1");
    bench.check("XREADGROUP GROUP g c BLOCK 0 STREAMS s >", "*-1");
}
