//! Two sorted sets against two maps of scores.

use std::collections::BTreeMap;

use torc_keyspace::Rng;

use super::*;

#[derive(Default)]
struct Model([BTreeMap<String, f64>; 2]);

impl Model {
    /// Members and scores in order.
    fn ordered(&self, key: usize) -> Vec<(String, f64)> {
        let mut all: Vec<_> = self.0[key].iter().map(|(member, score)| (member.clone(), *score)).collect();
        all.sort_by(|a, b| a.1.partial_cmp(&b.1).expect("numbers").then_with(|| a.0.cmp(&b.0)));
        all
    }
}

fn text_of(score: f64) -> String {
    match score {
        _ if score == f64::INFINITY => "inf".to_owned(),
        _ if score == f64::NEG_INFINITY => "-inf".to_owned(),
        _ => score.to_string(),
    }
}

fn with_scores(members: &[(String, f64)]) -> String {
    array(members.iter().flat_map(|(member, score)| [bulk(member), bulk(&text_of(*score))]))
}

fn names(members: &[(String, f64)]) -> String {
    bulks(members.iter().map(|(member, _)| member))
}

/// What a range by score or by name begins or ends with.
struct Bound {
    text: String,
    score: f64,
    name: String,
    open: bool,
}

fn bound(random: &mut Rng, reach: usize) -> Bound {
    let open = random.index(2) == 0;
    let score = random.index(24) as f64 / 2.0 - 1.0;
    let name = format!("m{}", random.index(reach));
    Bound { text: format!("{}{}", if open { "(" } else { "" }, text_of(score)), score, name, open }
}

fn by_score(all: &[(String, f64)], min: &Bound, max: &Bound) -> Vec<(String, f64)> {
    let above = |score: f64| score > min.score || !min.open && score == min.score;
    let below = |score: f64| score < max.score || !max.open && score == max.score;
    all.iter().filter(|(_, score)| above(*score) && below(*score)).cloned().collect()
}

fn by_name(all: &[(String, f64)], min: &Bound, max: &Bound) -> Vec<(String, f64)> {
    let above = |name: &String| *name > min.name || !min.open && *name == min.name;
    let below = |name: &String| *name < max.name || !max.open && *name == max.name;
    all.iter().filter(|(name, _)| above(name) && below(name)).cloned().collect()
}

fn lex(bound: &Bound) -> String {
    format!("{}{}", if bound.open { "(" } else { "[" }, bound.name)
}

fn add(bench: &mut Bench, random: &mut Rng, model: &mut Model, key: usize, reach: usize, scores: &[f64]) {
    let scored = &mut model.0[key];
    let (nx, xx) = [(false, false), (false, false), (true, false), (false, true)][random.index(4)];
    let (gt, lt) =
        if nx { (false, false) } else { [(false, false), (true, false), (false, true)][random.index(3)] };
    let options: String = [(nx, " NX"), (xx, " XX"), (gt, " GT"), (lt, " LT")]
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, word)| *word)
        .collect();
    let set = |scored: &mut BTreeMap<String, f64>, member: &str, score: f64| {
        let old = scored.get(member).copied();
        let passes = match old {
            None => !xx,
            Some(old) => !nx && (!gt || score > old) && (!lt || score < old),
        };
        if passes {
            scored.insert(member.to_owned(), score);
        }
        (passes, old)
    };
    let member = |random: &mut Rng| format!("m{}", random.index(reach));
    if scores.len() > 1 && random.index(4) == 0 {
        let (member, by) = (member(random), scores[random.index(scores.len())]);
        let sum = scored.get(&member).copied().unwrap_or(0.0) + by;
        let (passes, _) = set(scored, &member, sum);
        let expected = passes.then(|| text_of(sum));
        let line = format!("ZADD k{key}{options} INCR {by} {member}");
        return check(bench, &line, &bulk_or_nil(expected.as_deref()));
    }
    let most = [3, 40, 300][random.index(3)];
    let count = 1 + random.index(most);
    let (mut line, mut added, mut updated) = (format!("ZADD k{key}{options} CH"), 0, 0);
    for _ in 0..count {
        let (member, score) = (member(random), scores[random.index(scores.len())]);
        line += &format!(" {} {member}", text_of(score));
        let (passes, old) = set(scored, &member, score);
        added += usize::from(passes && old.is_none());
        updated += usize::from(passes && old.is_some_and(|old| old != score));
    }
    let changed = if random.index(2) == 0 { added + updated } else { added };
    if changed == added {
        line = line.replacen(" CH", "", 1);
    }
    check(bench, &line, &int(changed));
}

/// Ranges by index, score and name, read or removed.
fn ranges(bench: &mut Bench, random: &mut Rng, model: &mut Model, key: usize, reach: usize, one_score: bool) {
    let all = model.ordered(key);
    let (index, other) = (some_index(random, all.len()), some_index(random, all.len()));
    let (min, max) = (bound(random, reach), bound(random, reach));
    let (offset, count) = (random.index(4), random.index(6) as i64 - 1);
    let limited = |members: &[(String, f64)]| -> Vec<(String, f64)> {
        let count = if count < 0 { usize::MAX } else { count as usize };
        members.iter().skip(offset).take(count).cloned().collect()
    };
    let reversed = |members: &[(String, f64)]| members.iter().rev().cloned().collect::<Vec<_>>();
    let in_scores = by_score(&all, &min, &max);
    match random.index(if one_score { 9 } else { 6 }) {
        0 => {
            let expected = &all[range_of(all.len(), index, other)];
            check(bench, &format!("ZRANGE k{key} {index} {other} WITHSCORES"), &with_scores(expected));
            let backwards = reversed(&all);
            let expected = &backwards[range_of(all.len(), index, other)];
            check(bench, &format!("ZREVRANGE k{key} {index} {other}"), &names(expected));
            check(bench, &format!("ZRANGE k{key} {index} {other} REV"), &names(expected));
        }
        1 => {
            let (min, max) = (&min.text, &max.text);
            check(bench, &format!("ZCOUNT k{key} {min} {max}"), &int(in_scores.len()));
            check(bench, &format!("ZRANGEBYSCORE k{key} {min} {max}"), &names(&in_scores));
            let limit = format!("LIMIT {offset} {count}");
            let line = format!("ZRANGE k{key} {min} {max} BYSCORE {limit} WITHSCORES");
            check(bench, &line, &with_scores(&limited(&in_scores)));
            let backwards = limited(&reversed(&in_scores));
            check(bench, &format!("ZREVRANGEBYSCORE k{key} {max} {min} {limit}"), &names(&backwards));
        }
        2 => {
            let (from, to) = (key, random.index(2));
            let (line, stored) = match random.index(2) {
                0 => (format!("{index} {other}"), all[range_of(all.len(), index, other)].to_vec()),
                _ => (format!("{} {} BYSCORE", min.text, max.text), in_scores),
            };
            check(bench, &format!("ZRANGESTORE k{to} k{from} {line}"), &int(stored.len()));
            model.0[to] = stored.into_iter().collect();
        }
        3 if random.index(3) == 0 => {
            let gone = &all[range_of(all.len(), index, other)];
            gone.iter().for_each(|(member, _)| {
                model.0[key].remove(member);
            });
            check(bench, &format!("ZREMRANGEBYRANK k{key} {index} {other}"), &int(gone.len()));
        }
        4 if random.index(3) == 0 => {
            in_scores.iter().for_each(|(member, _)| {
                model.0[key].remove(member);
            });
            let line = format!("ZREMRANGEBYSCORE k{key} {} {}", min.text, max.text);
            check(bench, &line, &int(in_scores.len()));
        }
        6.. => {
            let named = by_name(&all, &min, &max);
            let (from, to) = (lex(&min), lex(&max));
            check(bench, &format!("ZLEXCOUNT k{key} {from} {to}"), &int(named.len()));
            check(bench, &format!("ZRANGEBYLEX k{key} {from} {to}"), &names(&named));
            let limit = format!("LIMIT {offset} {count}");
            check(bench, &format!("ZRANGE k{key} {from} {to} BYLEX {limit}"), &names(&limited(&named)));
            let backwards = limited(&reversed(&named));
            check(bench, &format!("ZREVRANGEBYLEX k{key} {to} {from} {limit}"), &names(&backwards));
            check(bench, &format!("ZRANGEBYLEX k{key} - +"), &names(&all));
            if random.index(6) == 0 {
                named.iter().for_each(|(member, _)| {
                    model.0[key].remove(member);
                });
                check(bench, &format!("ZREMRANGEBYLEX k{key} {from} {to}"), &int(named.len()));
            }
        }
        _ => {}
    }
}

fn pop(bench: &mut Bench, random: &mut Rng, model: &mut Model, key: usize) {
    let (is_min, count) = (random.index(2) == 0, random.index(8));
    let side = if is_min { "MIN" } else { "MAX" };
    let mut take = |key: usize, count: usize| -> Vec<(String, f64)> {
        let mut all = model.ordered(key);
        if !is_min {
            all.reverse();
        }
        all.truncate(count);
        all.iter().for_each(|(member, _)| {
            model.0[key].remove(member);
        });
        all
    };
    match random.index(3) {
        0 => check(bench, &format!("ZPOP{side} k{key}"), &with_scores(&take(key, 1))),
        1 => check(bench, &format!("ZPOP{side} k{key} {count}"), &with_scores(&take(key, count))),
        _ => {
            let mut expected = NIL_ARRAY.to_owned();
            for key in [key, 1 - key] {
                let taken = take(key, count + 1);
                if !taken.is_empty() {
                    let pairs =
                        taken.iter().map(|(member, score)| array([bulk(member), bulk(&text_of(*score))]));
                    expected = array([bulk(&format!("k{key}")), array(pairs)]);
                    break;
                }
            }
            check(bench, &format!("ZMPOP 2 k{key} k{} {side} COUNT {}", 1 - key, count + 1), &expected);
        }
    }
}

fn look(bench: &mut Bench, random: &mut Rng, model: &Model, key: usize, member: &str) {
    let all = model.ordered(key);
    let rank = all.iter().position(|(other, _)| other == member);
    let score = rank.map(|rank| text_of(all[rank].1));
    check(bench, &format!("ZSCORE k{key} {member}"), &bulk_or_nil(score.as_deref()));
    let expected = array([NIL.to_owned(), bulk_or_nil(score.as_deref())]);
    check(bench, &format!("ZMSCORE k{key} none {member}"), &expected);
    for (line, rank) in [("ZRANK", rank), ("ZREVRANK", rank.map(|rank| all.len() - 1 - rank))] {
        check(bench, &format!("{line} k{key} {member}"), &rank.map_or(NIL.to_owned(), int));
        let expected = rank.zip(score.as_ref()).map(|(rank, score)| array([int(rank), bulk(score)]));
        let expected = expected.unwrap_or(NIL_ARRAY.to_owned());
        check(bench, &format!("{line} k{key} {member} WITHSCORE"), &expected);
    }
    let count = [0, 1, all.len() / 2, all.len() + 2][random.index(4)];
    let drawn = texts(&run(bench, &format!("ZRANDMEMBER k{key} {count} WITHSCORES")));
    let distinct: BTreeMap<&String, &String> = drawn.chunks(2).map(|pair| (&pair[0], &pair[1])).collect();
    assert_eq!((distinct.len(), drawn.len()), (count.min(all.len()), 2 * count.min(all.len())));
    assert!(distinct.iter().all(|(member, score)| text_of(model.0[key][*member]) == **score));
    let mut seen = scan(bench, &format!("ZSCAN k{key}"), "COUNT 30", 2);
    seen.sort();
    let expected = model.0[key].iter().map(|(member, score)| vec![member.clone(), text_of(*score)]);
    assert!(seen.into_iter().eq(expected), "ZSCAN shows each once while nothing changes");
}

#[test]
fn sorted_sets_are_maps() {
    let mut encodings = std::collections::BTreeSet::new();
    for seed in 1..=20 {
        let mut random = Rng::new(seed);
        let mut bench = Bench::new();
        let mut model = Model::default();
        let reach = [15, 150, 1_500][random.index(3)];
        let one_score = random.index(3) == 0;
        let scores: &[f64] =
            if one_score { &[3.0] } else { &[0.0, 1.0, 2.5, -0.5, 7.0, 10.5, 3.0, 4.0, 1e6, f64::INFINITY] };
        for turn in 0..150 {
            if turn % 50 == 0 {
                let encodings = &mut bench.settings.encodings;
                encodings.zset_max_listpack_entries = [128, 10, 0][random.index(3)];
                encodings.zset_max_listpack_value = [64, 3][random.index(2)];
            }
            let (key, member) = (random.index(2), format!("m{}", random.index(reach)));
            match random.index(10) {
                0..4 => add(&mut bench, &mut random, &mut model, key, reach, scores),
                4 => {
                    let removed = model.0[key].remove(&member).is_some();
                    check(&mut bench, &format!("ZREM k{key} {member} none"), &int(usize::from(removed)));
                }
                5 if !one_score => {
                    let sum = model.0[key].get(&member).copied().unwrap_or(0.0) - 1.5;
                    model.0[key].insert(member.clone(), sum);
                    check(&mut bench, &format!("ZINCRBY k{key} -1.5 {member}"), &bulk(&text_of(sum)));
                }
                6 => pop(&mut bench, &mut random, &mut model, key),
                7 => look(&mut bench, &mut random, &model, key, &member),
                _ => ranges(&mut bench, &mut random, &mut model, key, reach, one_score),
            }
            for key in 0..2 {
                check(&mut bench, &format!("ZCARD k{key}"), &int(model.0[key].len()));
                encodings.insert(run(&mut bench, &format!("OBJECT ENCODING k{key}")));
            }
        }
        for key in 0..2 {
            let line = format!("ZRANGE k{key} 0 -1 WITHSCORES");
            check(&mut bench, &line, &with_scores(&model.ordered(key)));
        }
    }
    assert_eq!(encodings.len(), 3, "none, listpack, skiplist");
}
