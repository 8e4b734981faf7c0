//! A hash whose fields expire against a map of values and times.

use std::collections::{BTreeMap, BTreeSet};

use torc_keyspace::Rng;

use super::*;

#[derive(Default)]
struct Model {
    /// Value and expiry.
    fields: BTreeMap<String, (String, Option<i64>)>,
    /// Fields that have expired, and may not have been taken out yet: HLEN may count them (Valkey 9).
    stale: BTreeSet<String>,
}

impl Model {
    fn value(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|(value, _)| &**value)
    }

    fn expiry(&self, name: &str) -> Option<i64> {
        self.fields.get(name).and_then(|(_, at)| *at)
    }

    /// Returns whether the field is new.
    fn set(&mut self, name: &str, value: String, at: Option<i64>) -> bool {
        self.stale.remove(name);
        self.fields.insert(name.to_owned(), (value, at)).is_none()
    }

    fn pass_time(&mut self, now_ms: i64) {
        let Model { fields, stale } = self;
        fields.retain(|name, (_, at)| {
            let is_gone = at.is_some_and(|at| at < now_ms);
            if is_gone {
                stale.insert(name.clone());
            }
            !is_gone
        });
    }

    fn pairs(&self) -> Vec<Vec<String>> {
        self.fields.iter().map(|(name, (value, _))| vec![name.clone(), value.clone()]).collect()
    }
}

fn value(random: &mut Rng) -> String {
    match random.index(30) {
        0 => "v".repeat([65, 300, 20_000][random.index(3)]),
        1 => String::new(),
        2..10 => random.index(1_000_000).to_string(),
        _ => "abcdef"[random.index(6)..].to_owned(),
    }
}

fn names(random: &mut Rng, reach: usize, max: usize) -> Vec<String> {
    let distinct: BTreeSet<String> =
        (0..1 + random.index(max)).map(|_| format!("f{}", random.index(reach))).collect();
    distinct.into_iter().collect()
}

fn fields(names: &[String]) -> String {
    format!("FIELDS {}{}", names.len(), words(names))
}

/// A time as an option of a command: its text, and when it is.
fn time(random: &mut Rng, now_ms: i64) -> (String, i64) {
    let life_ms = 1 + random.index(300) as i64;
    match random.index(3) {
        0 => (format!("PX {life_ms}"), now_ms + life_ms),
        1 => (format!("PXAT {}", now_ms + life_ms), now_ms + life_ms),
        _ => (format!("EX {life_ms}"), now_ms + 1_000 * life_ms),
    }
}

fn change(bench: &mut Bench, random: &mut Rng, model: &mut Model, reach: usize) {
    let most = [1, 4, 60][random.index(3)];
    let many = names(random, reach, most);
    let name = many[0].clone();
    match random.index(9) {
        0..3 => {
            let (mut line, mut new) = ("HSET h".to_owned(), 0);
            for name in &many {
                let value = value(random);
                line += &format!(" {name} {}", word(&value));
                new += usize::from(model.set(name, value, None));
            }
            check(bench, &line, &int(new));
        }
        3 => {
            let value = value(random);
            let is_new = model.value(&name).is_none();
            check(bench, &format!("HSETNX h {name} {}", word(&value)), &int(usize::from(is_new)));
            if is_new {
                model.set(&name, value, None);
            }
        }
        4 => {
            let gone = many.iter().filter(|name| model.fields.remove(*name).is_some()).count();
            check(bench, &format!("HDEL h{}", words(&many)), &int(gone));
        }
        5 => {
            // Fields of numbers alone.
            let name = format!("{}{}", ["n", "d"][random.index(2)], random.index(5));
            let at = model.expiry(&name);
            let old = model.value(&name).unwrap_or("0").to_owned();
            let by = random.index(2_000) as i64 - 1_000;
            if name.starts_with('n') {
                let sum = old.parse::<i64>().expect("a number") + by;
                check(bench, &format!("HINCRBY h {name} {by}"), &format!(":{sum}"));
                model.set(&name, sum.to_string(), at);
            } else {
                let by = by as f64 / 4.0;
                let sum = (old.parse::<f64>().expect("a number") + by).to_string();
                check(bench, &format!("HINCRBYFLOAT h {name} {by}"), &bulk(&sum));
                model.set(&name, sum, at);
            }
        }
        6 => {
            let expected = bulks_or_nil(&many, model);
            check(bench, &format!("HGETDEL h {}", fields(&many)), &expected);
            many.iter().for_each(|name| drop(model.fields.remove(name)));
        }
        _ => {
            let condition = ["", "FNX ", "FXX "][random.index(3)];
            let passes = match condition {
                "FNX " => many.iter().all(|name| model.value(name).is_none()),
                "FXX " => many.iter().all(|name| model.value(name).is_some()),
                _ => true,
            };
            let (text, at) = time(random, bench.now_ms);
            let (text, at, keeps) = match random.index(4) {
                0 => (String::new(), None, false),
                1 => ("KEEPTTL".to_owned(), None, true),
                _ => (text, Some(at), false),
            };
            let mut line = format!("HSETEX h {condition}{text} FIELDS {}", many.len());
            for name in &many {
                let value = value(random);
                line += &format!(" {name} {}", word(&value));
                if passes {
                    let at = if keeps { model.expiry(name) } else { at };
                    model.set(name, value, at);
                }
            }
            check(bench, &line, &int(usize::from(passes)));
        }
    }
}

fn bulks_or_nil(names: &[String], model: &Model) -> String {
    array(names.iter().map(|name| bulk_or_nil(model.value(name))))
}

fn expire(bench: &mut Bench, random: &mut Rng, model: &mut Model, reach: usize) {
    let many = names(random, reach, 6);
    let now_ms = bench.now_ms;
    match random.index(5) {
        0 | 1 => {
            let condition = ["", "NX ", "XX ", "GT ", "LT "][random.index(5)];
            let life_ms = random.index(300) as i64;
            let (text, at) = match random.index(3) {
                0 => (format!("HPEXPIRE h {life_ms}"), now_ms + life_ms),
                1 => (format!("HPEXPIREAT h {}", now_ms + life_ms), now_ms + life_ms),
                _ => (format!("HEXPIRE h {}", life_ms + 1), now_ms + 1_000 * (life_ms + 1)),
            };
            let mut expected = Vec::new();
            for name in &many {
                let Some((_, expiry)) = model.fields.get_mut(name) else {
                    expected.push(":-2".to_owned());
                    continue;
                };
                let passes = match condition {
                    "NX " => expiry.is_none(),
                    "XX " => expiry.is_some(),
                    "GT " => expiry.is_some_and(|old| at > old),
                    "LT " => expiry.is_none_or(|old| at < old),
                    _ => true,
                };
                if !passes {
                    expected.push(int(0));
                } else if at <= now_ms {
                    model.fields.remove(name);
                    expected.push(int(2));
                } else {
                    *expiry = Some(at);
                    expected.push(int(1));
                }
            }
            check(bench, &format!("{text} {condition}{}", fields(&many)), &array(expected));
        }
        2 => {
            let expected = many.iter().map(|name| match model.fields.get_mut(name) {
                None => ":-2".to_owned(),
                Some((_, None)) => ":-1".to_owned(),
                Some((_, at)) => {
                    *at = None;
                    int(1)
                }
            });
            let expected = array(expected.collect::<Vec<_>>());
            check(bench, &format!("HPERSIST h {}", fields(&many)), &expected);
        }
        3 => {
            let expected = bulks_or_nil(&many, model);
            let (text, at) = time(random, now_ms);
            let (text, at) =
                if random.index(3) == 0 { ("PERSIST".to_owned(), None) } else { (text, Some(at)) };
            check(bench, &format!("HGETEX h {text} {}", fields(&many)), &expected);
            for name in &many {
                if let Some((_, expiry)) = model.fields.get_mut(name) {
                    *expiry = at;
                }
            }
        }
        _ => {
            for (line, from_ms, unit_ms) in [
                ("HPTTL", now_ms, 1),
                ("HTTL", now_ms, 1_000),
                ("HPEXPIRETIME", 0, 1),
                ("HEXPIRETIME", 0, 1_000),
            ] {
                let expected = many.iter().map(|name| match model.fields.get(name) {
                    None => ":-2".to_owned(),
                    Some((_, None)) => ":-1".to_owned(),
                    Some((_, Some(at))) => format!(":{}", (at - from_ms + unit_ms / 2) / unit_ms),
                });
                check(bench, &format!("{line} h {}", fields(&many)), &array(expected.collect::<Vec<_>>()));
            }
        }
    }
}

fn look(bench: &mut Bench, random: &mut Rng, model: &Model, reach: usize) {
    let many = names(random, reach, 6);
    let name = &many[0];
    check(bench, &format!("HMGET h{}", words(&many)), &bulks_or_nil(&many, model));
    check(bench, &format!("HGETEX h {}", fields(&many)), &bulks_or_nil(&many, model));
    check(bench, &format!("HGET h {name}"), &bulk_or_nil(model.value(name)));
    check(bench, &format!("HEXISTS h {name}"), &int(usize::from(model.value(name).is_some())));
    check(bench, &format!("HSTRLEN h {name}"), &int(model.value(name).map_or(0, str::len)));
    let expected = model.pairs();
    let sorted = |texts: Vec<String>, width: usize| {
        let mut all: Vec<Vec<String>> = texts.chunks(width).map(<[String]>::to_vec).collect();
        all.sort();
        all
    };
    assert_eq!(sorted(texts(&run(bench, "HGETALL h")), 2), expected);
    let keys: Vec<Vec<String>> = expected.iter().map(|pair| vec![pair[0].clone()]).collect();
    assert_eq!(sorted(texts(&run(bench, "HKEYS h")), 1), keys);
    let mut values: Vec<Vec<String>> = expected.iter().map(|pair| vec![pair[1].clone()]).collect();
    values.sort();
    assert_eq!(sorted(texts(&run(bench, "HVALS h")), 1), values);
    let mut seen = scan(bench, "HSCAN h", "COUNT 30", 2);
    seen.sort();
    assert_eq!(seen, expected, "HSCAN shows each once while nothing changes");
    let len = expected.len();
    let count = [0, 1, len / 2, len + 2][random.index(4)];
    let drawn = sorted(texts(&run(bench, &format!("HRANDFIELD h {count} WITHVALUES"))), 2);
    assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), count.min(len));
    assert!(drawn.iter().all(|pair| model.value(&pair[0]) == Some(&pair[1])));
    let drawn = texts(&run(bench, &format!("HRANDFIELD h -{}", count + 1)));
    assert_eq!(drawn.len(), if len == 0 { 0 } else { count + 1 });
    assert!(drawn.iter().all(|name| model.value(name).is_some()));
}

#[test]
fn hashes_are_maps_whose_values_expire() {
    let mut encodings = BTreeSet::new();
    for seed in 1..=20 {
        let mut random = Rng::new(seed);
        let mut bench = Bench::new();
        let mut model = Model::default();
        let reach = [8, 60, 2_000][random.index(3)];
        let expires = random.index(3) > 0;
        for turn in 0..200 {
            if turn % 50 == 0 {
                // A hash never goes back to the compact form, so each stretch has one of its own.
                run(&mut bench, "DEL h");
                model = Model::default();
                let encodings = &mut bench.settings.encodings;
                encodings.hash_max_listpack_entries = [128, 128, 12, 0][random.index(4)];
                encodings.hash_max_listpack_value = [1 << 20, 64, 4][random.index(3)];
            }
            bench.now_ms += random.index(20) as i64;
            model.pass_time(bench.now_ms);
            match random.index(8) {
                0..4 => change(&mut bench, &mut random, &mut model, reach),
                4 | 5 if expires => expire(&mut bench, &mut random, &mut model, reach),
                6 => drop(bench.walk()),
                _ => look(&mut bench, &mut random, &model, reach),
            }
            let len: usize = run(&mut bench, "HLEN h")[1..].parse().expect("a number");
            assert!((model.fields.len()..=model.fields.len() + model.stale.len()).contains(&len));
            encodings.insert(run(&mut bench, "OBJECT ENCODING h"));
        }
        look(&mut bench, &mut random, &model, reach);
    }
    assert_eq!(encodings.len(), 3, "none, listpack, hashtable");
}
