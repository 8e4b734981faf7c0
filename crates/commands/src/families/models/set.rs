//! Three sets against three sets of strings.

use std::collections::BTreeSet;

use torc_keyspace::Rng;

use super::*;

type Model = [BTreeSet<String>; 3];

fn member(random: &mut Rng, kinds: usize, reach: usize) -> String {
    let id = random.index(reach);
    match random.index(kinds) {
        0 => id.to_string(),
        1 => (id as i64 - 50).wrapping_mul(0x0123_4567_89ab_cdef).to_string(),
        2 => format!("m:{id}"),
        _ => "x".repeat(id % 150),
    }
}

/// Distinct members that are all there.
fn check_drawn(drawn: &[String], set: &BTreeSet<String>, count: usize) {
    assert_eq!(drawn.len(), count);
    assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), count, "drawn twice");
    assert!(drawn.iter().all(|member| set.contains(member)));
}

fn combined(name: &str, sets: &[&BTreeSet<String>]) -> BTreeSet<String> {
    let (first, others) = sets.split_first().expect("a key");
    match name {
        "SUNION" => sets.iter().flat_map(|set| set.iter().cloned()).collect(),
        "SINTER" => first.iter().filter(|it| others.iter().all(|set| set.contains(*it))).cloned().collect(),
        _ => first.iter().filter(|it| !others.iter().any(|set| set.contains(*it))).cloned().collect(),
    }
}

fn step(bench: &mut Bench, random: &mut Rng, model: &mut Model, kinds: usize, reach: usize) {
    let (key, to) = (random.index(3), random.index(3));
    let one = member(random, kinds, reach);
    let set = &mut model[key];
    let len = set.len();
    match random.index(16) {
        0..4 => {
            let most = [3, 30, 400][random.index(3)];
            let new: Vec<String> =
                (0..1 + random.index(most)).map(|_| member(random, kinds, reach)).collect();
            let line = format!("SADD k{key}{}", words(&new));
            let added = new.into_iter().filter(|member| set.insert(member.clone())).count();
            check(bench, &line, &int(added));
        }
        4 | 5 => {
            let most = [3, 30, 400][random.index(3)];
            let gone: Vec<String> =
                (0..1 + random.index(most)).map(|_| member(random, kinds, reach)).collect();
            let line = format!("SREM k{key}{}", words(&gone));
            let removed = gone.iter().filter(|member| set.remove(*member)).count();
            check(bench, &line, &int(removed));
        }
        6 => {
            check(bench, &format!("SISMEMBER k{key} {}", word(&one)), &int(usize::from(set.contains(&one))));
            let two = member(random, kinds, reach);
            let expected = [&one, &two].map(|member| int(usize::from(set.contains(member))));
            check(bench, &format!("SMISMEMBER k{key} {} {}", word(&one), word(&two)), &array(expected));
        }
        7 => {
            let moved = set.remove(&one);
            if moved {
                model[to].insert(one.clone());
            }
            check(bench, &format!("SMOVE k{key} k{to} {}", word(&one)), &int(usize::from(moved)));
        }
        8 | 9 => {
            let count = [1, 3, len / 2, len, len + 3][random.index(5)];
            let (line, expected) = match random.index(2) {
                0 => (format!("SPOP k{key}"), len.min(1)),
                _ => (format!("SPOP k{key} {count}"), len.min(count)),
            };
            let [reply, other] = bench.run(&line);
            let drawn = match reply.as_bytes()[0] {
                b'*' => texts(&reply),
                _ if reply == NIL => Vec::new(),
                _ => texts(&format!("*1\n{reply}")),
            };
            check_drawn(&drawn, set, expected);
            // The two sides hold the same in the same order, and draw alike.
            assert!(reply == NIL || other[1..] == reply[1..], "{reply} {other}");
            drawn.iter().for_each(|member| {
                set.remove(member);
            });
        }
        10 => {
            let count = [0, 1, 5, len / 2, len, len + 3][random.index(6)];
            let drawn = texts(&run(bench, &format!("SRANDMEMBER k{key} {count}")));
            check_drawn(&drawn, set, count.min(len));
            let drawn = texts(&run(bench, &format!("SRANDMEMBER k{key} -{}", count + 1)));
            assert_eq!(drawn.len(), if len == 0 { 0 } else { count + 1 });
            assert!(drawn.iter().all(|member| set.contains(member)));
            let reply = run(bench, &format!("SRANDMEMBER k{key}"));
            assert!(if len == 0 { reply == NIL } else { set.contains(&texts(&format!("*1\n{reply}"))[0]) });
        }
        11 => {
            let count = 1 + random.index(50);
            let mut all: Vec<String> = scan(bench, &format!("SSCAN k{key}"), &format!("COUNT {count}"), 1)
                .into_iter()
                .flatten()
                .collect();
            all.sort();
            assert!(all.iter().eq(set.iter()), "SSCAN shows each once while nothing changes");
            let some = scan(bench, &format!("SSCAN k{key}"), "MATCH *1*", 1).len();
            assert_eq!(some, set.iter().filter(|member| member.contains('1')).count());
        }
        _ => {
            let name = ["SUNION", "SINTER", "SDIFF"][random.index(3)];
            let keys: Vec<usize> = (0..1 + random.index(3)).map(|_| random.index(3)).collect();
            let list: String = keys.iter().map(|key| format!(" k{key}")).collect();
            let sets: Vec<&BTreeSet<String>> = keys.iter().map(|&key| &model[key]).collect();
            let expected = combined(name, &sets);
            if name == "SINTER" {
                let limit = random.index(20);
                let count = if limit == 0 { expected.len() } else { limit.min(expected.len()) };
                check(bench, &format!("SINTERCARD {}{list} LIMIT {limit}", keys.len()), &int(count));
            }
            let mut got = texts(&run(bench, &format!("{name}{list}")));
            got.sort();
            assert!(got.iter().eq(expected.iter()), "{name}{list}");
            if random.index(3) == 0 {
                check(bench, &format!("{name}STORE k{to}{list}"), &int(expected.len()));
                model[to] = expected;
            }
        }
    }
}

#[test]
fn sets_are_sets_of_strings() {
    let mut encodings = BTreeSet::new();
    for seed in 1..=15 {
        let mut random = Rng::new(seed);
        let mut bench = Bench::new();
        let mut model = Model::default();
        let (kinds, reach) = (1 + random.index(4), [10, 200, 3_000][random.index(3)]);
        for turn in 0..150 {
            if turn % 50 == 0 {
                let encodings = &mut bench.settings.encodings;
                encodings.set_max_intset_entries = [512, 8, 0][random.index(3)];
                encodings.set_max_listpack_entries = [128, 16, 0][random.index(3)];
                encodings.set_max_listpack_value = [64, 10][random.index(2)];
            }
            step(&mut bench, &mut random, &mut model, kinds, reach);
            for (key, set) in model.iter().enumerate() {
                check(&mut bench, &format!("SCARD k{key}"), &int(set.len()));
                encodings.insert(run(&mut bench, &format!("OBJECT ENCODING k{key}")));
            }
        }
        for (key, set) in model.iter().enumerate() {
            let mut all = texts(&run(&mut bench, &format!("SMEMBERS k{key}")));
            all.sort();
            assert!(all.iter().eq(set.iter()));
        }
    }
    assert_eq!(encodings.len(), 4, "none, intset, listpack, hashtable");
}
