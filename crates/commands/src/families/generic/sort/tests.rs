//! SORT on one keyspace: options against a plain model, events, and what is stored. Keys on several shards are the
//! server's tests.

use std::collections::BTreeMap;

use torc_keyspace::Rng;

use crate::testing::Bench;

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

fn array(texts: &[Option<String>]) -> String {
    let bulks = texts.iter().map(|text| match text {
        Some(text) => format!("\n${}\n{text}", text.len()),
        None => "\n$-1".to_owned(),
    });
    format!("*{}{}", texts.len(), bulks.collect::<String>())
}

/// Elements of a list with weights and names under keys and hashes of their own; some have none.
struct Model {
    elements: Vec<String>,
    weights: BTreeMap<String, String>,
    names: BTreeMap<String, String>,
}

impl Model {
    fn fill(bench: &mut Bench, rng: &mut Rng) -> Model {
        bench.run("DEL l z s");
        let mut model = Model { elements: Vec::new(), weights: BTreeMap::new(), names: BTreeMap::new() };
        for _ in 0..rng.index(60) {
            let element = (rng.index(50) as i64 - 20).to_string();
            bench.run(&format!("RPUSH l {element}"));
            bench.run(&format!("DEL w_{element} h_{element}"));
            model.weights.remove(&element);
            model.names.remove(&element);
            if rng.index(4) > 0 {
                let weight = (rng.index(100) as f64 / 4.0).to_string();
                bench.run(&format!("SET w_{element} {weight}"));
                model.weights.insert(element.clone(), weight);
            }
            if rng.index(4) > 0 {
                let name = ["x", "y", "zz", "long name of an element"][rng.index(4)].to_owned();
                bench.run(&format!("HSET h_{element} f \"{name}\""));
                model.names.insert(element.clone(), name);
            }
            model.elements.push(element);
        }
        model
    }

    fn sorted(&self, by: &str, alpha: bool, descending: bool) -> Vec<String> {
        let weight = |element: &String| match by {
            "w_*" => self.weights.get(element).cloned(),
            "h_*->f" => self.names.get(element).cloned(),
            _ => Some(element.clone()),
        };
        let mut sorted = self.elements.clone();
        if by == "nosort" {
            if descending {
                sorted.reverse();
            }
            return sorted;
        }
        sorted.sort_by(|left, right| {
            let (left_weight, right_weight) = (weight(left), weight(right));
            let ascending = if alpha {
                left_weight.cmp(&right_weight)
            } else {
                let number =
                    |weight: Option<String>| weight.map_or(0.0, |weight| weight.parse().expect("a number"));
                let by_number = f64::total_cmp(&number(left_weight), &number(right_weight));
                by_number.then_with(|| left.cmp(right))
            };
            if descending { ascending.reverse() } else { ascending }
        });
        sorted
    }

    fn get(&self, pattern: &str, element: &str) -> Option<String> {
        match pattern {
            "#" => Some(element.to_owned()),
            "w_*" => self.weights.get(element).cloned(),
            "h_*->f" => self.names.get(element).cloned(),
            _ => None,
        }
    }
}

#[test]
fn agrees_with_a_model() {
    let mut rng = Rng::new(8);
    let mut bench = Bench::new();
    for _ in 0..40 {
        let model = Model::fill(&mut bench, &mut rng);
        for _ in 0..12 {
            let by = ["", "nosort", "w_*", "h_*->f"][rng.index(4)];
            let alpha = by == "h_*->f" || rng.index(3) == 0;
            let descending = rng.index(2) == 0;
            let mut expected = model.sorted(by, alpha, descending);
            let mut line = "SORT l".to_owned();
            if !by.is_empty() {
                line += &format!(" BY {by}");
            }
            if alpha {
                line += " ALPHA";
            }
            if descending {
                line += " DESC";
            }
            if rng.index(2) == 0 {
                let (skip, count) = (rng.index(70), rng.index(30));
                line += &format!(" LIMIT {skip} {count}");
                expected = expected.into_iter().skip(skip).take(count).collect();
            }
            let gets: Vec<&str> =
                (0..rng.index(3)).map(|_| ["#", "w_*", "h_*->f", "none_*", "fixed"][rng.index(5)]).collect();
            gets.iter().for_each(|pattern| line += &format!(" GET {pattern}"));
            let shown: Vec<Option<String>> = if gets.is_empty() {
                expected.into_iter().map(Some).collect()
            } else {
                let of_one = |element: String| gets.iter().map(move |pattern| (*pattern, element.clone()));
                let pairs = expected.into_iter().flat_map(of_one);
                pairs.map(|(pattern, element)| model.get(pattern, &element)).collect()
            };
            bench.check(&line, &array(&shown));
            let stored: Vec<Option<String>> =
                shown.iter().map(|text| Some(text.clone().unwrap_or_default())).collect();
            bench.check(&format!("{line} STORE to"), &format!(":{}", stored.len()));
            bench.check("LRANGE to 0 -1", &array(&stored));
        }
    }
}

#[test]
fn sets_and_sorted_sets_are_sorted_too() {
    let mut bench = Bench::new();
    for id in 0..300 {
        bench.run(&format!("SADD s {}", id * 7 % 300));
        bench.run(&format!("ZADD z {} {}", id * 11 % 300, id * 7 % 300));
    }
    let all: Vec<Option<String>> = (0..300).map(|id| Some(id.to_string())).collect();
    for key in ["s", "z"] {
        bench.check(&format!("SORT {key}"), &array(&all));
        bench.check(&format!("SORT {key} LIMIT 290 20"), &array(&all[290..]));
    }
    let by_score =
        |from: usize| Some(((0..300).find(|id| id * 11 % 300 == from).expect("one") * 7 % 300).to_string());
    bench.check("SORT z BY nosort LIMIT 5 3", &array(&[5, 6, 7].map(by_score)));
    bench.check("SORT z BY nosort DESC LIMIT 5 3", &array(&[294, 293, 292].map(by_score)));
}

#[test]
fn stores_count_each_element() {
    let mut bench = Bench::new();
    bench.run("RPUSH l 3 1 2");
    bench.run("SET to v EX 100");
    bench.check_changes("SORT l STORE to", ":3", 3, &["l sortstore to"]);
    bench.check("TTL to", ":-1");
    bench.check_changes("SORT l GET # GET w_* STORE to", ":6", 6, &["l sortstore to"]);
    bench.check_changes("SORT l LIMIT 5 1 STORE to", ":0", 1, &["g del to"]);
    bench.check_changes("SORT nokey STORE to", ":0", 0, &[]);
    bench.check_changes("SORT l", "*3\n$1\n1\n$1\n2\n$1\n3", 0, &[]);
}

#[test]
fn wrong_requests_change_nothing() {
    const SYNTAX: &str = "-ERR syntax error";
    const NOT_INTEGER: &str = "-ERR value is not an integer or out of range";
    const NO_NUMBER: &str = "-ERR One or more scores can't be converted into double";
    let mut bench = Bench::new();
    bench.run("RPUSH l a b");
    bench.run("SET k v");
    for (rest, expected) in [
        ("k", WRONG_TYPE),
        ("k STORE to", WRONG_TYPE),
        ("k nonsense", SYNTAX),
        ("l", NO_NUMBER),
        ("l STORE to", NO_NUMBER),
        ("l LIMIT 0 0", NO_NUMBER),
        ("l ALPHA LIMIT 1", SYNTAX),
        ("l ALPHA LIMIT x 1 nonsense", NOT_INTEGER),
        ("l BY", SYNTAX),
        ("l GET", SYNTAX),
        ("l STORE", SYNTAX),
    ] {
        bench.check_changes(&format!("SORT {rest}"), expected, 0, &[]);
    }
    bench.check("SORT_RO l ALPHA STORE to", SYNTAX);
    bench.check("SORT_RO l ALPHA", "*2\n$1\na\n$1\nb");
    bench.check("EXISTS to", ":0");
}
