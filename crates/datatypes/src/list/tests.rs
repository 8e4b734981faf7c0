//! Lists against a plain vector, with nodes of all sizes, and when they change their encoding.

use super::*;
use crate::testing::Random;

impl Random {
    fn element(&mut self) -> Vec<u8> {
        match self.below(20) {
            0 => vec![b'y'; [100, 3_000, 8_000, 9_000, 70_000][self.below(5)]],
            1 => Vec::new(),
            2..6 => self.below(40).to_string().into_bytes(),
            6 => (self.below(usize::MAX) as i64).to_string().into_bytes(),
            _ => vec![b'a' + self.below(4) as u8; self.below(12)],
        }
    }
}

fn bytes(element: &[u8]) -> StrRef<'_> {
    StrRef::Bytes(element)
}

fn list_of<'a>(elements: impl IntoIterator<Item = &'a str>, limits: NodeLimits) -> List {
    let mut list = List::new();
    for element in elements {
        push(&mut list, End::Back, element.as_bytes(), limits);
    }
    list
}

fn push(list: &mut List, end: End, element: &[u8], limits: NodeLimits) {
    list.push(end, std::iter::once(bytes(element)), limits);
}

fn texts(list: &List) -> Vec<String> {
    list.iter().map(|element| String::from_utf8(element.to_vec()).expect("texts")).collect()
}

/// The same as a list does, in the plainest way.
#[derive(Default)]
struct Model(Vec<Vec<u8>>);

impl Model {
    fn remove_matching(&mut self, needle: &[u8], max: usize, from: End) -> usize {
        let mut found: Vec<usize> = (0..self.0.len()).filter(|&index| self.0[index] == needle).collect();
        if from == End::Back {
            found.reverse();
        }
        found.truncate(max);
        found.sort_unstable();
        found.iter().rev().for_each(|&index| drop(self.0.remove(index)));
        found.len()
    }
}

fn step(list: &mut List, model: &mut Model, random: &mut Random, limits: NodeLimits) {
    let element = random.element();
    let len = model.0.len();
    let end = [End::Front, End::Back][random.below(2)];
    match random.below(16) {
        0..5 => {
            push(list, end, &element, limits);
            model.0.insert(if end == End::Front { 0 } else { len }, element);
        }
        5 => {
            let many: Vec<Vec<u8>> = (0..random.below(30)).map(|_| random.element()).collect();
            list.push(end, many.iter().map(|element| bytes(element)), limits);
            match end {
                End::Front => many.into_iter().for_each(|element| model.0.insert(0, element)),
                End::Back => model.0.extend(many),
            }
        }
        6 | 7 if len > 0 => {
            let index = if end == End::Front { 0 } else { len - 1 };
            assert_eq!(list.peek(end).expect("an element").to_vec(), model.0.remove(index));
            list.drop_end(end, limits);
            let to = [End::Front, End::Back][random.below(2)];
            list.rotate(end, to, limits);
            if !model.0.is_empty() {
                let element = model.0.remove(if end == End::Front { 0 } else { model.0.len() - 1 });
                model.0.insert(if to == End::Front { 0 } else { model.0.len() }, element);
            }
        }
        8..12 if len > 0 => {
            let pivot = model.0[random.below(len)].clone();
            let index = model.0.iter().position(|other| *other == pivot).expect("the pivot");
            let side = [Side::Before, Side::After][random.below(2)];
            assert!(list.insert(side, &Needle::new(&pivot), bytes(&element), limits));
            model.0.insert(index + usize::from(side == Side::After), element);
        }
        12 | 13 if len > 0 => {
            let index = random.below(len);
            let given = if end == End::Front { index as i64 } else { index as i64 - len as i64 };
            assert!(list.replace(given, bytes(&element), limits));
            model.0[index] = element;
        }
        14 if len > 0 => {
            let start = random.below(len);
            let count = random.below((len - start).min(12) + 1);
            list.remove_range(start, count, limits);
            model.0.drain(start..start + count);
        }
        15 => {
            let max = [1, 2, usize::MAX][random.below(3)];
            let removed = list.remove_matching(&Needle::new(&element), max, end, limits);
            assert_eq!(removed, model.remove_matching(&element, max, end));
        }
        _ => {}
    }
}

fn check(list: &List, model: &Model, random: &mut Random) {
    let lens = list.node_lens();
    let len = model.0.len();
    assert!(lens.is_empty() || lens.iter().sum::<usize>() == len);
    assert_eq!((list.len(), list.is_empty()), (len, len == 0));
    assert!(list.iter().map(|element| element.to_vec()).eq(model.0.iter().cloned()));
    assert_eq!(list.get(len as i64).is_none(), list.get(-1 - len as i64).is_none());
    if len == 0 {
        return assert!(list.peek(End::Front).is_none() && list.get(0).is_none());
    }
    let back = list.elements(len - 1, len, End::Back);
    assert!(back.map(|element| element.to_vec()).eq(model.0.iter().rev().cloned()));
    let index = random.below(len);
    assert_eq!(list.get(index as i64).expect("an element").to_vec(), model.0[index]);
    let count = random.below(len - index + 1);
    let part = list.elements(index, count, End::Front);
    assert_eq!(part.len(), count);
    assert!(part.map(|element| element.to_vec()).eq(model.0[index..index + count].iter().cloned()));
    let count = random.below(index + 2);
    let part = list.elements(index, count, End::Back);
    assert!(part.map(|element| element.to_vec()).eq(model.0[..=index].iter().rev().take(count).cloned()));
}

#[test]
fn behaves_like_a_vector() {
    let thresholds = [0, 0, 5, 1, 1 << 30];
    for seed in 1..=if cfg!(miri) { 2 } else { 60u64 } {
        let mut random = Random(seed * 0x9e37_79b9);
        let sizes = [-1, -2, -5, 0, 1, 2, 3, 5, 16, 128];
        let mut limits = NodeLimits::new(sizes[random.below(sizes.len())]);
        let (mut list, mut model) = (List::new(), Model::default());
        for turn in 0..400 {
            if turn % 100 == 0 {
                let threshold = thresholds[random.below(thresholds.len())];
                limits = NodeLimits::new(sizes[random.below(sizes.len())]).with_packed_threshold(threshold);
            }
            step(&mut list, &mut model, &mut random, limits);
            check(&list, &model, &mut random);
        }
        let copy = list.clone();
        while list.free_some(3) {}
        check(&copy, &model, &mut random);
        assert!(copy.heap_bytes() >= copy.iter().map(|element| element.len().min(1)).sum());
    }
}

/// So many nodes that groups are full, split and removed.
#[test]
fn groups_of_nodes_come_and_go() {
    let limits = NodeLimits::new(1);
    let (mut list, mut model, mut random) = (List::new(), Model::default(), Random(7));
    for number in 0..1500 {
        let text = number.to_string().into_bytes();
        push(&mut list, End::Back, &text, limits);
        model.0.push(text);
    }
    for number in 0..1500 {
        let text = format!("-{number}").into_bytes();
        push(&mut list, End::Front, &text, limits);
        model.0.insert(0, text);
    }
    check(&list, &model, &mut random);
    for number in 0..1500 {
        let index = random.below(model.0.len());
        let pivot = model.0[index].clone();
        let text = format!("x{number}").into_bytes();
        assert!(list.insert(Side::After, &Needle::new(&pivot), bytes(&text), limits));
        model.0.insert(index + 1, text);
    }
    check(&list, &model, &mut random);
    assert_eq!(list.node_lens().len(), 4500);
    while !model.0.is_empty() {
        let start = random.below(model.0.len());
        let count = random.below((model.0.len() - start).min(300)) + 1;
        list.remove_range(start, count, limits);
        model.0.drain(start..start + count);
        check(&list, &model, &mut random);
    }
}

#[test]
fn a_list_that_grows_becomes_general() {
    for (size, elements, large) in
        [(3, ["a", "b", "c"], "d".to_string()), (-1, ["a", "b", "c"], "x".repeat(5000))]
    {
        let limits = NodeLimits::new(size);
        let compact = || {
            let list = list_of(elements, limits);
            assert_eq!(list.encoding(), Encoding::Listpack);
            list
        };
        let mut list = compact();
        push(&mut list, End::Back, large.as_bytes(), limits);
        assert_eq!(list.encoding(), Encoding::Quicklist);
        let mut list = compact();
        assert!(list.insert(Side::After, &Needle::new(b"b"), bytes(large.as_bytes()), limits));
        assert_eq!(list.encoding(), Encoding::Quicklist);
        let mut list = compact();
        assert!(list.replace(0, bytes(large.as_bytes()), limits));
        assert_eq!(list.encoding(), Encoding::Quicklist);
    }
    let limits = NodeLimits::new(0);
    assert_eq!(list_of(["a"], limits).encoding(), Encoding::Listpack);
    assert_eq!(list_of(["a", "b"], limits).encoding(), Encoding::Quicklist);
    let limits = NodeLimits::new(-6);
    let mut list = list_of([&*"x".repeat(60_000)], limits);
    assert_eq!(list.encoding(), Encoding::Listpack);
    push(&mut list, End::Back, &[b'x'; 5536], limits);
    assert_eq!(list.encoding(), Encoding::Quicklist);
}

/// Only with half of what it may hold, and only when a single node is left.
#[test]
fn a_list_that_shrinks_becomes_compact() {
    let limits = NodeLimits::new(4);
    let mut list = list_of(["a", "b", "c", "d", "e"], limits);
    assert_eq!(list.node_lens(), [4, 1]);
    list.drop_end(End::Back, limits);
    list.drop_end(End::Back, limits);
    assert_eq!((list.encoding(), list.node_lens()), (Encoding::Quicklist, vec![3]));
    list.drop_end(End::Back, limits);
    assert_eq!((list.encoding(), texts(&list)), (Encoding::Listpack, vec!["a".into(), "b".into()]));

    let limits = NodeLimits::new(-1);
    let large = "x".repeat(5000);
    let mut list = list_of([&*large, "a", "b"], limits);
    list.remove_range(1, 2, limits);
    assert_eq!(list.encoding(), Encoding::Quicklist, "a large element stands alone");
    assert!(list.replace(-1, bytes(b"c"), limits));
    assert_eq!((list.encoding(), texts(&list)), (Encoding::Listpack, vec!["c".into()]));
    let mut list = list_of(["a", &*large], limits);
    assert_eq!(list.remove_matching(&Needle::new(large.as_bytes()), 1, End::Front, limits), 1);
    assert_eq!(list.encoding(), Encoding::Listpack);
}

/// Nodes as full as Redis fills them, without room left over.
#[test]
fn a_long_list_is_dense() {
    let limits = NodeLimits::new(-2);
    for end in [End::Front, End::Back] {
        let mut list = List::new();
        let count = 100_000;
        for number in 0..count {
            push(&mut list, end, format!("element:{number:08}").as_bytes(), limits);
        }
        let lens = list.node_lens();
        assert!(lens[1..lens.len() - 1].iter().all(|&len| len == 454), "{lens:?}");
        let per_node = list.heap_bytes() as f64 / lens.len() as f64;
        assert!(per_node < 8192.0 + 32.0, "{per_node} bytes per node");
    }
}

#[test]
fn a_new_list_is_what_its_pushes_make_it() {
    for limits in [NodeLimits::new(-2), NodeLimits::new(1), NodeLimits::new(0), NodeLimits::new(2)] {
        for texts in [&["a"][..], &["12"], &["a", "12", "b"], &[]] {
            for end in [End::Front, End::Back] {
                let elements = texts.iter().map(|text| StrRef::Bytes(text.as_bytes()));
                let mut pushed = List::new();
                pushed.push(end, elements.clone(), limits);
                let list = List::of(end, elements, limits);
                assert_eq!(list.encoding(), pushed.encoding(), "{texts:?} {limits:?}");
                assert!(list.iter().map(|e| e.to_vec()).eq(pushed.iter().map(|e| e.to_vec())));
            }
        }
    }
}

/// A queue keeps its size, whatever runs through it.
#[test]
fn a_queue_leaves_no_room_behind() {
    let limits = NodeLimits::new(-2);
    let mut list = List::new();
    for number in 0..200_000 {
        push(&mut list, End::Front, format!("element:{number}").as_bytes(), limits);
        if number >= 2_000 {
            list.drop_end(End::Back, limits);
        }
    }
    assert_eq!(list.len(), 2_000);
    assert!(list.node_lens().len() <= 6);
    assert!(list.heap_bytes() < 60_000);
}

/// What is pushed and popped at an end of a compact list does not move the others every time, and neither does a queue
/// through it; no more than a fifth of its memory is room, or a class of the allocator.
#[test]
fn a_compact_list_moves_seldom() {
    let limits = NodeLimits::new(-2);
    for (push_end, drop_end) in [(End::Front, End::Front), (End::Front, End::Back), (End::Back, End::Front)] {
        let mut list = list_of((0..100).map(|_| "an element of a list"), limits);
        let (mut random, mut moves) = (Random(11), 0);
        let mut place = address(&list, drop_end);
        for _ in 0..10_000 {
            if list.len() < 90 || (list.len() < 110 && random.below(2) == 0) {
                push(&mut list, push_end, b"an element of a list", limits);
            } else {
                list.drop_end(drop_end, limits);
            }
            let now = address(&list, drop_end);
            // Where it did not move, the element at the end is a neighbour of the one before.
            moves += usize::from(now.abs_diff(place) > 44);
            place = now;
            assert!(list.heap_bytes() <= 2560 + 512, "{}", list.heap_bytes());
        }
        assert!(moves < 2_500, "{push_end:?} {drop_end:?}: {moves} moves");
        assert_eq!(list.encoding(), Encoding::Listpack);
    }
}

fn address(list: &List, end: End) -> usize {
    let Some(StrRef::Bytes(bytes)) = list.peek(end) else { panic!("texts") };
    bytes.as_ptr().addr()
}

/// With the largest limit, elements so short that what surrounds them is most of them.
#[test]
fn many_short_elements_fit_into_no_run() {
    let limits = NodeLimits::new(-5);
    for count in [21_000, 22_000, 30_000, 60_000] {
        let texts = vec!["a"; count];
        let elements = texts.iter().map(|text| bytes(text.as_bytes()));
        let list = List::of(End::Front, elements.clone(), limits);
        let encoding = if count * 3 > RUN_BYTES_MAX { Encoding::Quicklist } else { Encoding::Listpack };
        assert_eq!((list.len(), list.encoding()), (count, encoding));
        let mut list = list_of(["b"], limits);
        list.push(End::Back, elements, limits);
        assert_eq!((list.len(), list.encoding()), (count + 1, encoding));
    }
}
