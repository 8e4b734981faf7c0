//! Intersections, unions and differences against a plain model, over sets of all encodings.

use std::collections::BTreeSet;

use torc_keyspace::Rng;

use crate::testing::Bench;

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

type Model = BTreeSet<String>;

/// The members in a reply that is a collection of bulks.
fn members(reply: &str) -> Model {
    let members: Vec<&str> = reply.lines().skip(2).step_by(2).collect();
    let distinct: Model = members.iter().map(|&member| member.to_owned()).collect();
    assert_eq!(distinct.len(), members.len(), "twice in {reply}");
    distinct
}

/// Sets of random sizes and kinds under `k0`, `k1`, …; some keys stay empty.
fn fill(bench: &mut Bench, rng: &mut Rng, keys: usize) -> Vec<Model> {
    let fill_one = |key: usize| {
        bench.run(&format!("DEL k{key}"));
        let (size, reach) = ([0, 3, 100, 700][rng.index(4)], [5, 200, 900][rng.index(3)]);
        let prefix = ["", "", "m:"][rng.index(3)];
        let model: Model = (0..size).map(|_| format!("{prefix}{}", rng.index(reach))).collect();
        model.iter().for_each(|member| drop(bench.run(&format!("SADD k{key} {member}"))));
        model
    };
    (0..keys).map(fill_one).collect()
}

#[test]
fn agree_with_a_model() {
    let mut rng = Rng::new(4);
    let mut bench = Bench::new();
    for _ in 0..60 {
        let models = fill(&mut bench, &mut rng, 4);
        let chosen: Vec<usize> = (0..1 + rng.index(4)).map(|_| rng.index(4)).collect();
        let keys: String = chosen.iter().map(|key| format!(" k{key}")).collect();
        let sets: Vec<&Model> = chosen.iter().map(|&key| &models[key]).collect();
        let common: Model =
            sets[0].iter().filter(|member| sets.iter().all(|set| set.contains(*member))).cloned().collect();
        let union: Model = sets.iter().flat_map(|set| set.iter().cloned()).collect();
        let rest: Model = sets[0]
            .iter()
            .filter(|member| !sets[1..].iter().any(|set| set.contains(*member)))
            .cloned()
            .collect();
        for (name, expected) in [("SINTER", &common), ("SUNION", &union), ("SDIFF", &rest)] {
            let [reply, _] = bench.run(&format!("{name}{keys}"));
            assert_eq!(&members(&reply), expected, "{name}{keys}");
            bench.run("SADD to old");
            bench.check(&format!("{name}STORE to{keys}"), &format!(":{}", expected.len()));
            let [stored, _] = bench.run("SMEMBERS to");
            assert_eq!(&members(&stored), expected, "{name}STORE{keys}");
            check_encoding(&mut bench, expected);
            // The destination may be one of the sources.
            bench.run(&format!("COPY k{0} keep REPLACE", chosen[0]));
            bench.run(&format!("{name}STORE k{}{keys}", chosen[0]));
            let [stored, _] = bench.run(&format!("SMEMBERS k{}", chosen[0]));
            assert_eq!(&members(&stored), expected);
            bench.run(&format!("DEL k{}", chosen[0]));
            bench.run(&format!("RENAME keep k{}", chosen[0]));
        }
        for limit in [0, 1, 50] {
            let expected = if limit == 0 { common.len() } else { common.len().min(limit) };
            let line = format!("SINTERCARD {}{keys} LIMIT {limit}", chosen.len());
            bench.check(&line, &format!(":{expected}"));
        }
    }
}

/// What is stored is a new set: large enough ones are tables, and integers alone an intset.
fn check_encoding(bench: &mut Bench, members: &Model) {
    let all_ints = members.iter().all(|member| member.parse::<i64>().is_ok());
    let [encoding, _] = bench.run("OBJECT ENCODING to");
    match members.len() {
        0 => assert_eq!(encoding, "$-1"),
        1..=512 if all_ints => assert_eq!(encoding, "$6\nintset"),
        129.. => assert_eq!(encoding, "$9\nhashtable"),
        _ => {}
    }
}

#[test]
fn stores_are_one_change() {
    let mut bench = Bench::new();
    bench.run("SADD a 1 2 3");
    bench.run("SADD b 2 3 4");
    bench.run("SET to v EX 100");
    bench.check_changes("SINTERSTORE to a b", ":2", 1, &["s sinterstore to"]);
    bench.check("TTL to", ":-1");
    bench.check_changes("SUNIONSTORE to a b", ":4", 1, &["s sunionstore to"]);
    bench.check_changes("SDIFFSTORE to a b", ":1", 1, &["s sdiffstore to"]);
    for line in
        ["SINTERSTORE to a nokey", "SDIFFSTORE to a a", "SUNIONSTORE to nokey", "SDIFFSTORE to nokey a"]
    {
        bench.run("SADD to x");
        bench.check_changes(line, ":0", 1, &["g del to"]);
        bench.check_changes(line, ":0", 0, &[]);
        bench.check("EXISTS to", ":0");
    }
}

#[test]
fn other_types_are_refused() {
    let mut bench = Bench::new();
    bench.run("SADD a 1");
    bench.run("SET k v");
    for name in
        ["SINTER", "SUNION", "SDIFF", "SINTERSTORE to", "SUNIONSTORE to", "SDIFFSTORE to", "SINTERCARD 3"]
    {
        bench.check_changes(&format!("{name} nokey a k"), WRONG_TYPE, 0, &[]);
    }
}

#[test]
fn replies_are_sets() {
    let mut bench = Bench::new();
    bench.run("SADD a 1");
    for name in ["SINTER", "SUNION", "SDIFF"] {
        bench.check_both(&format!("{name} a"), "*1\n$1\n1", "~1\n$1\n1");
        bench.check_both(&format!("{name} nokey"), "*0", "~0");
        bench.check_both(&format!("{name} nokey nokey"), "*0", "~0");
    }
}

#[test]
fn sintercard_options() {
    const SYNTAX: &str = "-ERR syntax error";
    let mut bench = Bench::new();
    bench.run("SADD a 1 2 3");
    for (rest, expected) in [
        ("0 a", "-ERR numkeys should be greater than 0"),
        ("-1 a", "-ERR numkeys should be greater than 0"),
        ("x a", "-ERR numkeys should be greater than 0"),
        ("2 a", "-ERR Number of keys can't be greater than number of args"),
        ("1 a a", SYNTAX),
        ("1 a LIMIT", SYNTAX),
        ("1 a LIMIT -1", "-ERR LIMIT can't be negative"),
        ("1 a LIMIT x", "-ERR LIMIT can't be negative"),
        ("1 a LIMIT 1 LIMIT 2", ":2"),
        ("1 a limit 0", ":3"),
        ("2 a nokey", ":0"),
    ] {
        bench.check(&format!("SINTERCARD {rest}"), expected);
    }
}
