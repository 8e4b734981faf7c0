//! Two lists against two vectors.

use torc_keyspace::Rng;

use super::*;

type Model = [Vec<String>; 2];

fn element(random: &mut Rng) -> String {
    match random.index(30) {
        0 => "y".repeat([100, 3_000, 9_000, 20_000][random.index(4)]),
        1 => String::new(),
        2..10 => random.index(40).to_string(),
        10 => format!("-{}", random.index(usize::MAX / 2)),
        _ => "abcd"[random.index(4)..].repeat(1 + random.index(4)),
    }
}

fn elements(random: &mut Rng, max: usize) -> Vec<String> {
    (0..1 + random.index(max)).map(|_| element(random)).collect()
}

fn take(list: &mut Vec<String>, front: bool) -> Option<String> {
    if front && !list.is_empty() { Some(list.remove(0)) } else { list.pop() }
}

fn put(list: &mut Vec<String>, front: bool, element: String) {
    list.insert(if front { 0 } else { list.len() }, element);
}

/// Indices that LPOS finds.
fn positions(list: &[String], wanted: &str, rank: i64, count: usize, len_max: usize) -> Vec<usize> {
    let len_max = if len_max == 0 { usize::MAX } else { len_max };
    let mut indices: Vec<usize> = (0..list.len()).collect();
    if rank < 0 {
        indices.reverse();
    }
    let found = indices.into_iter().take(len_max).filter(|&index| list[index] == wanted);
    let skipped = rank.unsigned_abs() as usize - 1;
    found.skip(skipped).take(if count == 0 { usize::MAX } else { count }).collect()
}

fn step(bench: &mut Bench, random: &mut Rng, model: &mut Model) {
    let key = random.index(2);
    let (front, to_front) = (random.index(2) == 0, random.index(2) == 0);
    let side = if front { "LEFT" } else { "RIGHT" };
    let letter = &side[..1];
    let len = model[key].len();
    let (index, other) = (some_index(random, len), some_index(random, len));
    let place = range_of(len, index, index).next().filter(|_| index >= -(len as i64));
    let pivot = match len {
        0 => "none".to_owned(),
        _ => model[key][random.index(len)].clone(),
    };
    let list = &mut model[key];
    match random.index(19) {
        0..3 => {
            let new = elements(random, 12);
            let line = format!("{letter}PUSH k{key}{}", words(&new));
            new.into_iter().for_each(|element| put(list, front, element));
            check(bench, &line, &int(list.len()));
        }
        3 => {
            let new = elements(random, 3);
            let line = format!("{letter}PUSHX k{key}{}", words(&new));
            if len > 0 {
                new.into_iter().for_each(|element| put(list, front, element));
            }
            check(bench, &line, &int(list.len()));
        }
        4 => {
            let expected = take(list, front);
            check(bench, &format!("{letter}POP k{key}"), &bulk_or_nil(expected.as_deref()));
        }
        5 => {
            let count = random.index(20);
            let taken: Vec<String> = (0..count).map_while(|_| take(list, front)).collect();
            let expected = if len == 0 { NIL_ARRAY.to_owned() } else { bulks(&taken) };
            check(bench, &format!("{letter}POP k{key} {count}"), &expected);
        }
        6 => {
            let count = 1 + random.index(20);
            let first = (0..2).map(|at| (key + at) % 2).find(|&key| !model[key].is_empty());
            let expected = first.map_or(NIL_ARRAY.to_owned(), |first| {
                let taken: Vec<String> = (0..count).map_while(|_| take(&mut model[first], front)).collect();
                array([bulk(&format!("k{first}")), bulks(&taken)])
            });
            check(bench, &format!("LMPOP 2 k{key} k{} {side} COUNT {count}", 1 - key), &expected);
        }
        7 => {
            let expected = place.map(|place| &*list[place]);
            check(bench, &format!("LINDEX k{key} {index}"), &bulk_or_nil(expected));
        }
        8 | 9 => {
            let expected = bulks(&list[range_of(len, index, other)]);
            check(bench, &format!("LRANGE k{key} {index} {other}"), &expected);
        }
        10 if random.index(4) == 0 => {
            *list = list[range_of(len, index, other)].to_vec();
            check(bench, &format!("LTRIM k{key} {index} {other}"), OK);
        }
        11 => {
            let new = element(random);
            let expected = match place {
                _ if len == 0 => "-ERR no such key",
                None => "-ERR index out of range",
                Some(_) => OK,
            };
            check(bench, &format!("LSET k{key} {index} {}", word(&new)), expected);
            if let Some(place) = place {
                list[place] = new;
            }
        }
        12 | 13 => {
            let (new, wanted) = (element(random), if random.index(4) == 0 { element(random) } else { pivot });
            let side = if front { "BEFORE" } else { "AFTER" };
            let expected = match list.iter().position(|other| *other == wanted) {
                _ if len == 0 => ":0".to_owned(),
                None => ":-1".to_owned(),
                Some(at) => {
                    list.insert(at + usize::from(!front), new.clone());
                    int(list.len())
                }
            };
            check(bench, &format!("LINSERT k{key} {side} {} {}", word(&wanted), word(&new)), &expected);
        }
        14 => {
            let count = random.index(7) as i64 - 3;
            let rank = if count < 0 { -1 } else { 1 };
            let mut gone = positions(list, &pivot, rank, count.unsigned_abs() as usize, 0);
            gone.sort_unstable();
            gone.iter().rev().for_each(|&at| drop(list.remove(at)));
            check(bench, &format!("LREM k{key} {count} {}", word(&pivot)), &int(gone.len()));
        }
        15 | 16 => {
            let (count, len_max) = (random.index(4), random.index(2) * random.index(len + 3));
            let rank = [-3, -2, -1, 1, 2, 3][random.index(6)];
            let found = positions(list, &pivot, rank, count, len_max);
            let line = format!("LPOS k{key} {} RANK {rank} MAXLEN {len_max}", word(&pivot));
            let first = positions(list, &pivot, rank, 1, len_max).first().map(|&at| int(at));
            check(bench, &line, first.as_deref().unwrap_or(NIL));
            check(bench, &format!("{line} COUNT {count}"), &array(found.into_iter().map(int)));
        }
        _ => {
            let to = random.index(2);
            let moved = take(list, front);
            if let Some(moved) = &moved {
                put(&mut model[to], to_front, moved.clone());
            }
            let to_side = if to_front { "LEFT" } else { "RIGHT" };
            let line = if !front && to_front && random.index(2) == 0 {
                format!("RPOPLPUSH k{key} k{to}")
            } else {
                format!("LMOVE k{key} k{to} {side} {to_side}")
            };
            check(bench, &line, &bulk_or_nil(moved.as_deref()));
        }
    }
}

#[test]
fn lists_are_vectors() {
    let mut encodings = std::collections::BTreeSet::new();
    for seed in 1..=20 {
        let mut random = Rng::new(seed);
        let mut bench = Bench::new();
        let mut model = Model::default();
        for turn in 0..250 {
            if turn % 50 == 0 {
                let encodings = &mut bench.settings.encodings;
                encodings.list_max_listpack_size = [-2, -1, 1, 2, 5, 40][random.index(6)];
                encodings.list_packed_threshold = [0, 0, 6, 1][random.index(4)];
            }
            step(&mut bench, &mut random, &mut model);
            for (key, list) in model.iter().enumerate() {
                check(&mut bench, &format!("LLEN k{key}"), &int(list.len()));
                check(&mut bench, &format!("EXISTS k{key}"), &int(usize::from(!list.is_empty())));
                encodings.insert(run(&mut bench, &format!("OBJECT ENCODING k{key}")));
            }
        }
        for (key, list) in model.iter().enumerate() {
            check(&mut bench, &format!("LRANGE k{key} 0 -1"), &bulks(list));
        }
    }
    assert_eq!(encodings.len(), 3, "none, listpack, quicklist");
}
