//! Goal: a sorted set behaves like a map beside a sorted list, in whatever form it is. Method: random operations against
//! a plain model, with limits at which the form changes.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::*;

const LIMITS: ZSetLimits = ZSetLimits { listpack_entries: 128, listpack_value: 64 };

fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    }
}

/// Scores in the order of numbers (no NaN, one zero).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Score(f64);

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Score) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Score) -> Ordering {
        self.0.partial_cmp(&other.0).expect("a score is a number")
    }
}

#[derive(Default)]
struct Model {
    scores: BTreeMap<Vec<u8>, f64>,
    order: BTreeSet<(Score, Vec<u8>)>,
}

impl Model {
    fn set(&mut self, member: &[u8], score: f64) -> Change {
        let old = self.scores.insert(member.to_vec(), score);
        if let Some(old) = old {
            self.order.remove(&(Score(old), member.to_vec()));
        }
        self.order.insert((Score(score), member.to_vec()));
        match old {
            None => Change::Added,
            Some(old) if old != score => Change::Updated,
            Some(_) => Change::Nothing,
        }
    }

    fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let score = self.scores.remove(member)?;
        self.order.remove(&(Score(score), member.to_vec()));
        Some(score)
    }

    fn list(&self) -> Vec<(Vec<u8>, f64)> {
        self.order.iter().map(|(score, member)| (member.clone(), score.0)).collect()
    }
}

fn list(zset: &ZSet, ranks: Range<usize>, reverse: bool) -> Vec<(Vec<u8>, f64)> {
    let mut seen = Vec::new();
    zset.visit(ranks, reverse, |member, score| seen.push((member.to_vec(), score)));
    seen
}

fn check(zset: &ZSet, model: &Model) {
    let expected = model.list();
    assert_eq!(zset.len(), expected.len());
    assert_eq!(list(zset, 0..zset.len(), false), expected);
    let mut backwards = list(zset, 0..zset.len(), true);
    backwards.reverse();
    assert_eq!(backwards, expected);
    for (rank, (member, score)) in expected.iter().enumerate() {
        assert_eq!(zset.rank(member), Some((rank, *score)));
    }
    let mut cursor = 0;
    let mut seen = BTreeMap::new();
    loop {
        cursor = zset.scan(cursor, 20, |member, score| {
            seen.insert(member.to_vec(), score);
        });
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(seen, model.scores);
}

#[test]
fn agrees_with_a_model_across_conversions() {
    let steps = if cfg!(miri) { 300 } else { 6_000 };
    for (seed, entries) in [(1, 0), (2, 8), (3, 128), (4, 100_000)] {
        let limits = ZSetLimits { listpack_entries: entries, listpack_value: 40 };
        let mut random = numbers(seed);
        let (mut zset, mut model) = (ZSet::default(), Model::default());
        for step in 0..steps {
            let reach = if entries > 1_000 { 300 } else { 1_500 };
            let number = random(reach);
            let member = match number % 5 {
                0 => number.to_string(),
                1 => "x".repeat(number % 41),
                _ => format!("member:{number}"),
            };
            let member = member.as_bytes();
            let score = match random(6) {
                0 => random(5) as f64,
                1 => random(1 << 40) as f64 / 64.0,
                2 => -(random(1_000) as f64) * 1e-9,
                3 => f64::INFINITY,
                4 => f64::NEG_INFINITY,
                _ => 7.0,
            };
            let growing = step / (steps / 6) % 2 == 0;
            match random(10) {
                0..7 if growing => {
                    assert_eq!(zset.insert(member, score, &limits), model.set(member, score));
                }
                7 => {
                    let old = model.scores.get(member).copied();
                    assert_eq!(zset.score(member), old);
                    let changed = zset.edit(member, &limits, |found| {
                        assert_eq!(found, old);
                        old.map(|old| old + 1.0)
                    });
                    let expected = old.map_or(Change::Nothing, |old| model.set(member, old + 1.0));
                    assert_eq!(changed, expected);
                }
                8 => {
                    let range = ScoreRange {
                        min: ScoreBound { score: random(8) as f64, open: random(2) == 0 },
                        max: ScoreBound { score: random(9) as f64, open: random(2) == 0 },
                    };
                    let ranks = zset.ranks_by_score(&range);
                    let inside = |score: f64| !range.is_below(score) && range.is_up_to_max(score);
                    let expected: Vec<_> =
                        model.list().into_iter().filter(|(_, score)| inside(*score)).collect();
                    assert_eq!(list(&zset, ranks.clone(), false), expected);
                    if random(20) == 0 {
                        zset.remove_ranks(ranks);
                        for (member, _) in expected {
                            model.remove(&member);
                        }
                    }
                }
                _ => assert_eq!(zset.remove(member), model.remove(member)),
            }
            if step % 300 == 0 {
                check(&zset, &model);
            }
        }
        check(&zset, &model);
        let copy = zset.clone();
        zset.remove_ranks(0..zset.len());
        assert!(zset.is_empty());
        check(&zset, &Model::default());
        check(&copy, &model);
    }
}

#[test]
fn members_of_one_score_have_ranges_of_their_own() {
    for entries in [0, 128] {
        let limits = ZSetLimits { listpack_entries: entries, listpack_value: 64 };
        let mut zset = ZSet::default();
        ["c", "a", "", "b", "ab"].iter().for_each(|member| {
            zset.insert(member.as_bytes(), 0.0, &limits);
        });
        for (min, max, expected) in [
            (LexBound::Lowest, LexBound::Highest, 0..5),
            (LexBound::Closed(b"a"), LexBound::Open(b"b"), 1..3),
            (LexBound::Open(b"a"), LexBound::Closed(b"b"), 2..4),
            (LexBound::Closed(b""), LexBound::Closed(b""), 0..1),
            (LexBound::Highest, LexBound::Highest, 5..5),
            (LexBound::Lowest, LexBound::Lowest, 0..0),
            (LexBound::Closed(b"c"), LexBound::Closed(b"a"), 4..4),
        ] {
            assert_eq!(zset.ranks_by_lex(&LexRange { min, max }), expected, "{min:?} {max:?}");
        }
    }
}

#[test]
fn the_form_follows_the_limits() {
    let mut zset = ZSet::default();
    for number in 0..128 {
        zset.insert(format!("{number}").as_bytes(), f64::from(number), &LIMITS);
    }
    assert_eq!(zset.encoding(), Encoding::Listpack);
    zset.insert(b"5", 1e9, &LIMITS);
    assert_eq!((zset.encoding(), zset.free_effort()), (Encoding::Listpack, 1));
    zset.insert(b"more", 0.5, &LIMITS);
    assert_eq!((zset.encoding(), zset.free_effort()), (Encoding::Skiplist, 129));
    assert_eq!(zset.rank(b"more"), Some((1, 0.5)));

    let mut zset = ZSet::default();
    zset.insert(&[b'x'; 64], 1.0, &LIMITS);
    assert_eq!(zset.encoding(), Encoding::Listpack);
    zset.insert(&[b'x'; 65], 1.0, &LIMITS);
    assert_eq!(zset.encoding(), Encoding::Skiplist);
    assert_eq!(ZSet::with_expected(129, 1, &LIMITS).encoding(), Encoding::Skiplist);
    assert_eq!(ZSet::with_expected(128, 64, &LIMITS).encoding(), Encoding::Listpack);
    assert_eq!(ZSet::with_expected(1, 65, &LIMITS).encoding(), Encoding::Skiplist);
}

#[test]
fn a_builder_sorts_at_the_end() {
    for (count, encoding) in [(100, Encoding::Listpack), (5_000, Encoding::Skiplist)] {
        let mut random = numbers(5);
        let (mut builder, mut model) = (ZSetBuilder::default(), Model::default());
        assert!(builder.is_empty());
        for _ in 0..count {
            let member = format!("m{}", random(count)).into_bytes();
            let score = random(20) as f64;
            builder.add(&member, |old| old.unwrap_or(0.0) + score);
            let sum = model.scores.get(&member).copied().unwrap_or(0.0) + score;
            model.set(&member, sum);
        }
        builder.remove(b"m1");
        model.remove(b"m1");
        assert_eq!(builder.len(), model.scores.len());
        let zset = builder.finish(&LIMITS);
        assert_eq!(zset.encoding(), encoding);
        check(&zset, &model);
    }
}

#[test]
fn draws_are_fair_and_samples_distinct() {
    for count in [20, 1_000] {
        let mut zset = ZSet::default();
        (0..count).for_each(|number| {
            zset.insert(number.to_string().as_bytes(), 1.0, &LIMITS);
        });
        let mut random = numbers(11);
        let mut drawn: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for draws in [1; 1_000].into_iter().chain([count * 100 - 1_000]) {
            zset.draw(draws, &mut random, |member, _| *drawn.entry(member.to_vec()).or_default() += 1);
        }
        assert_eq!(drawn.len(), count);
        assert!(drawn.values().all(|times| (40..200).contains(times)), "{drawn:?}");
        for wanted in [0, 1, count / 10, count / 2, count] {
            let mut seen = BTreeSet::new();
            zset.sample(wanted, &mut random, |member, _| assert!(seen.insert(member.to_vec())));
            assert_eq!(seen.len(), wanted);
        }
    }
}

#[test]
fn a_huge_one_is_freed_in_slices() {
    let mut zset = ZSet::default();
    (0..20_000).for_each(|number| {
        zset.insert(number.to_string().as_bytes(), 1.0, &LIMITS);
    });
    let mut slices = 1;
    while zset.free_some(500) {
        slices += 1;
    }
    assert!((15..60).contains(&slices), "{slices}");
}

#[test]
fn memory_is_counted() {
    assert_eq!(size_of::<ZSet>(), 16);
    let mut zset = ZSet::default();
    assert_eq!(zset.heap_bytes(), 16);
    (0..100_000).for_each(|number| {
        zset.insert(format!("element:{number:08}").as_bytes(), number as f64, &LIMITS);
    });
    let each = zset.heap_bytes() / 100_000;
    assert!((60..88).contains(&each), "{each} bytes per member");
    zset.remove_ranks(0..99_999);
    assert!(zset.heap_bytes() < 20_000, "{}", zset.heap_bytes());
}
