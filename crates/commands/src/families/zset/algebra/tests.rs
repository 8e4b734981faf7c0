//! Goal: unions, intersections and differences of sorted sets and sets. Method: known answers, and random inputs against
//! plain maps.

use std::collections::BTreeMap;

use torc_keyspace::Rng;

use crate::testing::Bench;

const SYNTAX: &str = "-ERR syntax error";

/// A reply of these members with their scores, in RESP2 and RESP3.
fn scored(members: &str) -> [String; 2] {
    let pairs: Vec<(&str, &str)> =
        members.split_whitespace().map(|pair| pair.split_once(':').expect("member:score")).collect();
    let flat = pairs
        .iter()
        .map(|(member, score)| format!("\n${}\n{member}\n${}\n{score}", member.len(), score.len()));
    let nested = pairs.iter().map(|(member, score)| format!("\n*2\n${}\n{member}\n,{score}", member.len()));
    [
        format!("*{}{}", 2 * pairs.len(), flat.collect::<String>()),
        format!("*{}{}", pairs.len(), nested.collect::<String>()),
    ]
}

#[track_caller]
fn check(bench: &mut Bench, line: &str, members: &str) {
    let [resp2, resp3] = scored(members);
    bench.check_both(&format!("{line} WITHSCORES"), &resp2, &resp3);
}

#[test]
fn known_answers() {
    let mut bench = Bench::new();
    bench.run("ZADD a 1 x 2 y 3 z");
    bench.run("ZADD b 10 y 20 z 30 w");
    bench.run("SADD s x y 7");
    for (line, members) in [
        ("ZUNION 1 a", "x:1 y:2 z:3"),
        ("ZUNION 2 a b", "x:1 y:12 z:23 w:30"),
        ("ZUNION 2 a b WEIGHTS 2 0.5", "x:2 y:9 w:15 z:16"),
        ("ZUNION 2 a b AGGREGATE MIN", "x:1 y:2 z:3 w:30"),
        ("ZUNION 2 a b AGGREGATE max WEIGHTS -1 1", "x:-1 y:10 z:20 w:30"),
        ("ZUNION 3 a nokey s", "7:1 x:2 y:3 z:3"),
        ("ZUNION 2 a a", "x:2 y:4 z:6"),
        ("ZUNION 1 nokey", ""),
        ("ZINTER 2 a b", "y:12 z:23"),
        ("ZINTER 2 b a WEIGHTS 1 10 AGGREGATE MAX", "y:20 z:30"),
        ("ZINTER 2 s a", "x:2 y:3"),
        ("ZINTER 2 a a WEIGHTS 1 2", "x:3 y:6 z:9"),
        ("ZINTER 2 a nokey", ""),
        ("ZDIFF 2 a b", "x:1"),
        ("ZDIFF 2 b a", "w:30"),
        ("ZDIFF 2 a s", "z:3"),
        ("ZDIFF 2 s a", "7:1"),
        ("ZDIFF 1 a", "x:1 y:2 z:3"),
        ("ZDIFF 3 a b a", ""),
        ("ZDIFF 2 nokey a", ""),
    ] {
        check(&mut bench, line, members);
    }
    bench.check("ZUNION 2 a b", "*4\n$1\nx\n$1\ny\n$1\nz\n$1\nw");
    for (rest, count) in
        [("2 a b", 2), ("2 a b LIMIT 0", 2), ("2 a b LIMIT 1", 1), ("2 s a LIMIT 5", 2), ("2 a nokey", 0)]
    {
        bench.check(&format!("ZINTERCARD {rest}"), &format!(":{count}"));
    }
}

#[test]
fn infinities() {
    let mut bench = Bench::new();
    bench.run("ZADD a inf x 0 y");
    bench.run("ZADD b -inf x");
    check(&mut bench, "ZUNION 2 a b", "x:0 y:0");
    check(&mut bench, "ZINTER 2 a b", "x:0");
    check(&mut bench, "ZUNION 1 a WEIGHTS 0", "x:0 y:0");
    check(&mut bench, "ZUNION 1 a WEIGHTS inf", "y:0 x:inf");
    check(&mut bench, "ZINTER 2 b a AGGREGATE MIN", "x:-inf");
}

#[test]
fn results_are_stored() {
    let mut bench = Bench::new();
    bench.run("ZADD a 1 x 2 y");
    bench.run("ZADD b 1 y");
    bench.run("SET d v EX 100");
    bench.check_changes("ZUNIONSTORE d 2 a b", ":2", 1, &["z zunionstore d"]);
    bench.check("TTL d", ":-1");
    bench.check("OBJECT ENCODING d", "$8\nlistpack");
    bench.check_changes("ZINTERSTORE a 2 a b WEIGHTS 1 2", ":1", 1, &["z zinterstore a"]);
    bench.check_both("ZSCORE a y", "$1\n4", ",4");
    bench.check_changes("ZDIFFSTORE d 2 d a", ":1", 1, &["z zdiffstore d"]);
    bench.check_changes("ZDIFFSTORE d 2 d d", ":0", 1, &["g del d"]);
    bench.check_changes("ZINTERSTORE d 2 a nokey", ":0", 0, &[]);
    bench.settings.encodings.zset_max_listpack_value = 0;
    bench.check("ZUNIONSTORE d 1 a", ":1");
    bench.check("OBJECT ENCODING d", "$8\nskiplist");
}

#[test]
fn errors() {
    let mut bench = Bench::new();
    bench.run("ZADD a 1 x");
    bench.run("SET k v");
    for (line, expected) in [
        ("ZUNION x a", "-ERR value is not an integer or out of range"),
        ("ZUNION 0 a", "-ERR at least 1 input key is needed for 'zunion' command"),
        ("ZINTERSTORE d -1 a", "-ERR at least 1 input key is needed for 'zinterstore' command"),
        ("ZUNION 2 a", SYNTAX),
        ("ZUNION 9223372036854775807 a", SYNTAX),
        ("ZUNION 2 a k foo", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("ZUNION 1 a foo", SYNTAX),
        ("ZUNION 1 a WEIGHTS", SYNTAX),
        ("ZUNION 1 a WEIGHTS 1 2", SYNTAX),
        ("ZUNION 1 a WEIGHTS x", "-ERR weight value is not a float"),
        ("ZUNION 1 a AGGREGATE", SYNTAX),
        ("ZUNION 1 a AGGREGATE count", SYNTAX),
        ("ZUNIONSTORE d 1 a WITHSCORES", SYNTAX),
        ("ZDIFF 1 a WEIGHTS 1", SYNTAX),
        ("ZDIFFSTORE d 1 a WITHSCORES", SYNTAX),
        ("ZINTERCARD 1 a LIMIT", SYNTAX),
        ("ZINTERCARD 1 a LIMIT -1", "-ERR LIMIT can't be negative"),
        ("ZINTERCARD 1 a LIMIT x", "-ERR LIMIT can't be negative"),
        ("ZINTERCARD 1 a WITHSCORES", SYNTAX),
        ("ZINTER 1 a LIMIT 1", SYNTAX),
    ] {
        bench.check_changes(line, expected, 0, &[]);
    }
}

/// Random sorted sets and sets of different sizes, so that differences are computed in both ways.
#[test]
fn random_inputs_agree_with_maps() {
    for seed in 1..=8 {
        let mut random = Rng::new(seed);
        let mut bench = Bench::new();
        let mut inputs: Vec<BTreeMap<String, i64>> = Vec::new();
        for number in 0..3 {
            let mut input = BTreeMap::new();
            for _ in 0..random.index(300) {
                let member = format!("m{}", random.index(200));
                if number == 2 {
                    bench.run(&format!("SADD k2 {member}"));
                    input.insert(member, 1);
                } else {
                    let score = random.index(50) as i64 - 25;
                    bench.run(&format!("ZADD k{number} {score} {member}"));
                    input.insert(member, score);
                }
            }
            inputs.push(input);
        }
        let everything: BTreeMap<&String, Vec<i64>> = inputs
            .iter()
            .flatten()
            .map(|(member, _)| {
                (member, inputs.iter().filter_map(|input| input.get(member).copied()).collect())
            })
            .collect();
        let ordered = |members: Vec<(&String, i64)>| {
            let mut members = members;
            members.sort_by_key(|(member, score)| (*score, (*member).clone()));
            let texts: Vec<String> =
                members.iter().map(|(member, score)| format!("{member}:{score}")).collect();
            texts.join(" ")
        };
        let sums = everything.iter().map(|(member, scores)| (*member, scores.iter().sum())).collect();
        check(&mut bench, "ZUNION 3 k0 k1 k2", &ordered(sums));
        let common = everything.iter().filter(|(_, scores)| scores.len() == 3);
        let most = common.map(|(member, scores)| (*member, *scores.iter().max().unwrap())).collect();
        check(&mut bench, "ZINTER 3 k0 k1 k2 AGGREGATE MAX", &ordered(most));
        let rest = inputs[0]
            .iter()
            .filter(|(member, _)| !inputs[1].contains_key(*member) && !inputs[2].contains_key(*member));
        let rest: Vec<(&String, i64)> = rest.map(|(member, score)| (member, *score)).collect();
        check(&mut bench, "ZDIFF 3 k0 k1 k2", &ordered(rest));
    }
}
