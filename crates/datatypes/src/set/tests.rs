//! Sets against a plain model, over all forms and the changes between them.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const LIMITS: SetLimits = SetLimits { intset_entries: 512, listpack_entries: 128, listpack_value: 64 };

fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((u128::from(state) * below as u128) >> 64) as usize
    }
}

fn ints(range: std::ops::Range<i64>) -> Set {
    let mut set = Set::default();
    range.for_each(|int| assert!(set.add_item(Item::Int(int), &LIMITS)));
    set
}

fn words(count: usize) -> Set {
    let mut set = Set::new_listpack();
    (0..count).for_each(|id| assert!(set.add(format!("word:{id}").as_bytes(), &LIMITS)));
    set
}

fn members(set: &Set) -> BTreeSet<Vec<u8>> {
    let members: BTreeSet<Vec<u8>> = set.iter().map(|member| member.to_vec()).collect();
    assert_eq!(members.len(), set.iter().count());
    members
}

/// The cases of the three limits, one after the other.
#[test]
fn forms_change_at_their_limits() {
    let encoding = |set: &Set| set.encoding().name();
    let limits = SetLimits { intset_entries: 4, listpack_entries: 6, listpack_value: 10 };
    for (first, expected, form) in [
        ("1", 4, "intset"),
        ("1", 5, "listpack"),
        ("1", 7, "hashtable"),
        ("x", 1, "listpack"),
        ("x", 6, "listpack"),
        ("x", 7, "hashtable"),
    ] {
        assert_eq!(encoding(&Set::with_expected(first.as_bytes(), expected, &limits)), form);
    }
    let fill = |members: &[&str]| {
        let mut set = Set::with_expected(members[0].as_bytes(), 1, &limits);
        members.iter().for_each(|member| assert!(set.add(member.as_bytes(), &limits)));
        assert!(members.iter().all(|member| set.contains(member.as_bytes())));
        assert_eq!(set.len(), members.len());
        encoding(&set)
    };
    assert_eq!(fill(&["1", "2", "3", "4"]), "intset");
    assert_eq!(fill(&["1", "2", "3", "4", "5"]), "hashtable");
    assert_eq!(fill(&["1", "2", "3", "4", "x"]), "listpack");
    assert_eq!(fill(&["1", "12345678901"]), "intset");
    assert_eq!(fill(&["1", "12345678901", "x"]), "hashtable");
    assert_eq!(fill(&["1", "xxxxxxxxxxx"]), "hashtable");
    assert_eq!(fill(&["a", "b", "c", "d", "e", "1"]), "listpack");
    assert_eq!(fill(&["a", "b", "c", "d", "e", "1", "2"]), "hashtable");
    assert_eq!(fill(&["a", "xxxxxxxxxx"]), "listpack");
    assert_eq!(fill(&["a", "xxxxxxxxxxx"]), "hashtable");

    let mut set = ints(0..3);
    set.expect(4, &limits);
    assert_eq!(encoding(&set), "intset");
    set.expect(5, &limits);
    assert_eq!(encoding(&set), "hashtable");
    set.compact_ints(&limits);
    assert_eq!(encoding(&set), "intset");
    let mut set = words(3);
    set.compact_ints(&limits);
    set.expect(6, &limits);
    assert_eq!(encoding(&set), "listpack");
    set.expect(7, &limits);
    assert_eq!(encoding(&set), "hashtable");
    set.expect(1, &limits);
    assert_eq!(encoding(&set), "hashtable");
}

/// Random additions and removals, with members of all kinds and limits of all sizes.
#[test]
fn behaves_like_a_set_of_strings() {
    for seed in 1..=60u64 {
        let mut random = numbers(seed);
        let limits = [
            LIMITS,
            SetLimits { intset_entries: 8, listpack_entries: 16, listpack_value: 12 },
            SetLimits { intset_entries: 0, listpack_entries: 0, listpack_value: 0 },
            SetLimits { intset_entries: 100, listpack_entries: 5_000, listpack_value: 500 },
        ][random(4)];
        let kinds = 1 + random(4);
        let reach = [10, 100, 3_000][random(3)];
        let mut set = Set::default();
        let mut model: BTreeSet<Vec<u8>> = BTreeSet::new();
        for step in 0..3_000 {
            let id = random(reach);
            let member = match random(kinds) {
                0 => id.to_string(),
                1 => (id as i64 - 50).wrapping_mul(0x0123_4567_89ab_cdef).to_string(),
                2 => "x".repeat(id % 150),
                _ => format!("{id:07}:{}", "y".repeat(id % 9)),
            };
            let member = member.as_bytes();
            if random(3) == 0 {
                assert_eq!(set.remove(member), model.remove(member));
            } else {
                assert_eq!(set.add(member, &limits), model.insert(member.to_vec()));
            }
            assert_eq!(set.contains(member), model.contains(member));
            assert_eq!((set.len(), set.is_empty()), (model.len(), model.is_empty()));
            if step % 500 == 0 {
                assert_eq!(members(&set), model);
                assert!(
                    model.iter().all(|member| set.contains(member) && set.contains_item(Item::of(member)))
                );
                let copy = set.clone();
                assert_eq!((copy.encoding(), members(&copy)), (set.encoding(), members(&set)));
                assert!(copy.heap_bytes() <= set.heap_bytes());
            }
        }
        let mut scanned = BTreeSet::new();
        let mut cursor = 0;
        loop {
            cursor = set.scan(cursor, 10, |member| assert!(scanned.insert(member.to_vec())));
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(scanned, model);
    }
}

fn sets_of_all_forms() -> [Set; 5] {
    let mut big = words(127);
    big.expect(1_000, &LIMITS);
    let mut huge = big.clone();
    (0..3_000).for_each(|int| assert!(huge.add_item(Item::Int(int), &LIMITS)));
    [ints(0..100), words(100), ints(-500..500), big, huge]
}

#[test]
fn samples_are_distinct_members() {
    let mut random = numbers(11);
    for mut set in sets_of_all_forms() {
        let all = members(&set);
        let counts = [0, 1, 2, all.len() / 4, all.len() / 2, all.len() - 1, all.len()];
        for count in counts {
            let mut seen = BTreeSet::new();
            set.sample(count, &mut random, |member| assert!(seen.insert(member.to_vec())));
            assert_eq!(seen.len(), count);
            assert!(seen.is_subset(&all));
        }
        for count in &counts[..6] {
            let mut rest = set.clone();
            let mut taken = BTreeSet::new();
            let to_free = rest
                .take_sample(*count, &LIMITS, &mut random, |member| assert!(taken.insert(member.to_vec())));
            assert_eq!(taken.len(), *count);
            assert!(members(&rest).is_disjoint(&taken));
            taken.extend(members(&rest));
            assert_eq!(taken, all);
            assert!(to_free.is_none_or(|_| rest.encoding() != Encoding::Hashtable));
        }
        let mut taken = BTreeSet::new();
        while let Some(member) = set.take_random(&mut random) {
            assert!(taken.insert(member.item().to_vec()));
        }
        assert_eq!(taken, all);
        assert!(set.is_empty() && set.random(&mut random).is_none());
    }
}

/// Each of `len` members comes out `mean` times on average; nobody is far from it.
fn check_fair(len: usize, mean: usize, drawn: &BTreeMap<Vec<u8>, usize>) {
    assert_eq!(drawn.len(), len);
    let (least, most) = (drawn.values().min().unwrap(), drawn.values().max().unwrap());
    let distance = 5.0 * (mean as f64).sqrt();
    assert!(
        *least as f64 > mean as f64 - distance && (*most as f64) < mean as f64 + distance,
        "{least} {most}"
    );
}

#[test]
fn draws_are_fair() {
    let mut random = numbers(5);
    let sets = [ints(0..60), words(60), ints(0..600)];
    for set in sets {
        let len = set.len();
        let mut drawn = BTreeMap::new();
        for _ in 0..len * 400 {
            *drawn.entry(set.random(&mut random).unwrap().to_vec()).or_default() += 1;
        }
        check_fair(len, 400, &drawn);
        for count in [len / 6, len / 2, len * 14 / 15] {
            let (mut drawn, mut taken) = (BTreeMap::new(), BTreeMap::new());
            for _ in 0..400 * len / count {
                set.sample(count, &mut random, |member| *drawn.entry(member.to_vec()).or_default() += 1);
                let mut rest = set.clone();
                rest.take_sample(count, &LIMITS, &mut random, |member| {
                    *taken.entry(member.to_vec()).or_default() += 1;
                });
            }
            check_fair(len, 400, &drawn);
            check_fair(len, 400, &taken);
        }
    }
}

#[test]
fn what_little_stays_is_compact_again() {
    let mut random = numbers(2);
    let (mut few, mut many) = (ints(0..1_000), ints(0..1_000));
    assert!(few.take_sample(900, &LIMITS, &mut random, |_| ()).is_some_and(|old| old.len() == 900));
    assert_eq!((few.len(), few.encoding()), (100, Encoding::Listpack));
    assert!(many.take_sample(500, &LIMITS, &mut random, |_| ()).is_none());
    assert_eq!((many.len(), many.encoding()), (500, Encoding::Hashtable));
}

#[test]
fn huge_sets_are_freed_in_slices() {
    let mut set = ints(0..10_000);
    assert_eq!(set.free_effort(), 10_000);
    let mut slices = 1;
    while set.free_some(1_000) {
        slices += 1;
    }
    assert!((10..=14).contains(&slices), "{slices} slices");
    assert!(!words(10).free_some(1));
    assert_eq!(words(100).free_effort(), 1);
}

/// A thousand integers take at most what they take in Valkey 8.1, where each is a string of its own in a hash table.
#[test]
fn integers_take_little_memory() {
    for (first, valkey_bytes) in [(0, 25_112), (1_000_000_000, 33_560), (4_000_000_000_000_000_000, 41_048)] {
        let set = ints(first..first + 1_000);
        assert_eq!(set.encoding(), Encoding::Hashtable);
        assert!(set.heap_bytes() < valkey_bytes, "{} bytes", set.heap_bytes());
    }
}
