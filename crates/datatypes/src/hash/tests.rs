//! Goal: a hash is a map from names to values that may expire, whatever its form.
//! Method: seeded random operations against a plain map, across the change of form and the passing of time.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::value::IntText;

const LIMITS: HashLimits = HashLimits { entries_max: 20, value_bytes_max: 30 };

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    fn text(&mut self) -> Vec<u8> {
        match self.below(8) {
            0..=3 => self.below(100_000).to_string().into_bytes(),
            4 => (-(self.below(1 << 40) as i64)).to_string().into_bytes(),
            5 => vec![b'a' + self.below(26) as u8; 1 + self.below(31)],
            6 => Vec::new(),
            _ => format!("value {}", self.below(1000)).into_bytes(),
        }
    }
}

/// Name → value, expiry. Expired fields stay until they are taken out or overwritten.
type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

fn plain(field: &FieldRef<'_>) -> (Vec<u8>, (Vec<u8>, Option<i64>)) {
    (field.name.to_vec(), (field.value.to_vec(), field.expire_at))
}

fn check(hash: &Hash, model: &Model, now_ms: i64) {
    assert_eq!(hash.len(), model.len());
    assert_eq!(hash.is_empty(), model.is_empty());
    let all: Model = hash.iter().map(|field| plain(&field)).collect();
    assert_eq!(&all, model);
    let live = model.values().filter(|(_, expire_at)| !is_expired(*expire_at, now_ms)).count();
    assert_eq!(hash.live_len(now_ms), live);
    assert_eq!(hash.live(now_ms).count(), live);
    assert_eq!(hash.expires_from(), model.values().filter_map(|(_, expire_at)| *expire_at).min());
    if let Form::General(fields) = &hash.form {
        let used: usize = hash.iter().map(|field| entry_bytes(&field)).sum();
        assert!(hash.heap_bytes() >= used && fields.heap_bytes() < 3 * used + 4096);
    }
}

fn entry_bytes(field: &FieldRef<'_>) -> usize {
    crate::Entry::string(&field.name.to_vec(), &field.value.to_vec(), field.expire_at).size_bytes()
}

fn one_run(seed: u64) {
    let mut random = Random(seed);
    let (mut hash, mut model) = (Hash::new(), Model::new());
    let mut now_ms = 1_000;
    // Some runs stay small, some never meet an expiry, so that the compact form is tried as well.
    let names = [8, 15, 40, 300][random.below(4)];
    let expiries = random.below(3) > 0;
    for _ in 0..600 {
        now_ms += random.below(4) as i64;
        let name = format!("{}", random.below(names) * 1_000_003).into_bytes();
        let is_there = |model: &Model| {
            model.get(&name).filter(|(_, expire_at)| !is_expired(*expire_at, now_ms)).cloned()
        };
        let before = is_there(&model);
        match random.below(if expiries { 10 } else { 7 }) {
            0..=2 => {
                let value = random.text();
                let expire = match random.below(8) {
                    0 => SetExpire::Keep,
                    1 if expiries => SetExpire::At(now_ms + 1 + random.below(60) as i64),
                    _ => SetExpire::Clear,
                };
                let stored = hash.set(&name, StrValue::Bytes(&value), expire, now_ms, LIMITS);
                let expected = match (&before, model.contains_key(&name)) {
                    (Some(_), _) => Stored::Replaced,
                    (None, true) => Stored::OverExpired,
                    (None, false) => Stored::New,
                };
                assert_eq!(stored, expected);
                let expire_at = match expire {
                    SetExpire::At(at) => Some(at),
                    SetExpire::Keep => before.and_then(|(_, expire_at)| expire_at),
                    SetExpire::Clear => None,
                };
                model.insert(name, (value, expire_at));
            }
            3 => {
                let int = random.below(usize::MAX) as i64;
                hash.set(&name, StrValue::Int(int), SetExpire::Keep, now_ms, LIMITS);
                let expire_at = before.and_then(|(_, expire_at)| expire_at);
                model.insert(name, (int.to_string().into_bytes(), expire_at));
            }
            4 => {
                assert_eq!(hash.remove(&name, now_ms), before.is_some());
                if before.is_some() {
                    model.remove(&name);
                }
            }
            5 => {
                assert_eq!(hash.find(&name, now_ms).map(|field| plain(&field).1), before);
                let length = hash.get(&name, now_ms).map(|value| value.len());
                assert_eq!(length, before.map(|(value, _)| value.len()));
            }
            6 => assert_eq!(hash.remove_any(&name), model.remove(&name).is_some()),
            7 if before.is_some() => {
                let expire_at = (random.below(3) > 0).then(|| now_ms + 1 + random.below(100) as i64);
                hash.set_expire_at(&name, expire_at);
                model.insert(name, (before.unwrap().0, expire_at));
            }
            8 => {
                let taken = hash.take_expired(now_ms, 3, |_| {});
                let mut due: Vec<(i64, Vec<u8>)> = model
                    .iter()
                    .filter(|(_, (_, expire_at))| is_expired(*expire_at, now_ms))
                    .map(|(name, (_, expire_at))| (expire_at.unwrap(), name.clone()))
                    .collect();
                due.sort();
                assert_eq!(taken, due.len().min(3));
                // Among fields of one millisecond any may go first.
                let left: BTreeSet<Vec<u8>> = hash.iter().map(|field| field.name.to_vec()).collect();
                let last = due.get(taken.wrapping_sub(1)).map(|(at, _)| *at);
                for (at, name) in due {
                    assert!(left.contains(&name) || last.is_some_and(|last| at <= last));
                    if !left.contains(&name) {
                        model.remove(&name);
                    }
                }
            }
            _ => {
                let drawn = hash.random(now_ms, |bound| random.below(bound)).map(|field| plain(&field));
                match drawn {
                    Some((name, value)) => assert_eq!(model.get(&name), Some(&value)),
                    None => assert_eq!(hash.live_len(now_ms), 0),
                }
            }
        }
        check(&hash, &model, now_ms);
    }
    check(&hash.clone(), &model, now_ms);
    let mut shown = Model::new();
    let mut cursor = 0;
    loop {
        cursor = hash.scan(cursor, 7, now_ms, |field| {
            shown.extend([plain(&field)]);
        });
        if cursor == 0 {
            break;
        }
    }
    model.retain(|_, (_, expire_at)| !is_expired(*expire_at, now_ms));
    assert_eq!(shown, model);
    while hash.free_some(10) {}
}

#[test]
fn behaves_like_a_map() {
    (1..=200).for_each(one_run);
}

#[test]
fn the_form_changes_at_the_limits_and_not_back() {
    let set = |hash: &mut Hash, name: &str, value: &str| {
        hash.set(name.as_bytes(), StrValue::Bytes(value.as_bytes()), SetExpire::Clear, 0, LIMITS)
    };
    let mut hash = Hash::new();
    (0..20).for_each(|id| assert_eq!(set(&mut hash, &id.to_string(), &"x".repeat(30)), Stored::New));
    assert_eq!(hash.encoding(), Encoding::Listpack);
    set(&mut hash, "20", "x");
    assert_eq!(hash.encoding(), Encoding::Hashtable);
    (1..=20).for_each(|id| assert!(hash.remove(id.to_string().as_bytes(), 0)));
    assert_eq!((hash.len(), hash.encoding()), (1, Encoding::Hashtable));

    for (name, value) in [("n".repeat(31), "v".into()), ("n".into(), "v".repeat(31))] {
        let mut hash = Hash::new();
        set(&mut hash, &name, &value);
        assert_eq!(hash.encoding(), Encoding::Hashtable);
        assert_eq!(hash.get(name.as_bytes(), 0).map(|found| found.to_vec()), Some(value.into_bytes()));
    }
    let mut hash = Hash::new();
    hash.reserve(20, LIMITS);
    assert!(hash.is_compact());
    hash.set_expire_at(b"none", None);
    assert!(hash.is_compact());
    hash.reserve(21, LIMITS);
    assert!(!hash.is_compact());
}

#[test]
fn big_values_are_shared() {
    let mut hash = Hash::new();
    let big = bytes::Bytes::from(vec![b'v'; crate::BIG_STRING_BYTES]);
    hash.set(b"big", StrValue::Shared(big.clone()), SetExpire::Clear, 0, LIMITS);
    match hash.get(b"big", 0) {
        Some(StrRef::Shared(bytes)) => assert_eq!(bytes.as_ptr(), big.as_ptr()),
        other => panic!("{other:?}"),
    }
    let copy = hash.clone();
    assert!(copy.heap_bytes() > crate::BIG_STRING_BYTES);
    assert_eq!(copy.get(b"big", 0).unwrap().as_bytes(&mut IntText::new()), &big[..]);
}

#[test]
fn draws_are_fair_among_live_fields() {
    for fields in [10, 60] {
        let mut hash = Hash::new();
        for id in 0..fields {
            let expire = if id % 2 == 0 && fields > 20 { SetExpire::At(5) } else { SetExpire::Clear };
            hash.set(id.to_string().as_bytes(), StrValue::Int(id), expire, 0, LIMITS);
        }
        let mut random = Random(5);
        let mut drawn: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        let live = hash.live_len(6);
        for _ in 0..live * 200 {
            let field = hash.random(6, |bound| random.below(bound)).unwrap();
            *drawn.entry(field.name.to_vec()).or_default() += 1;
        }
        assert_eq!(drawn.len(), live);
        assert!(drawn.values().all(|&times| times > 120 && times < 290), "{drawn:?}");
    }
    let mut hash = Hash::new();
    for id in 0..2_000 {
        let expire = if id == 77 { SetExpire::Clear } else { SetExpire::At(5) };
        hash.set(id.to_string().as_bytes(), StrValue::Int(id), expire, 0, LIMITS);
    }
    let mut random = Random(5);
    let field = hash.random(6, |bound| random.below(bound)).unwrap();
    assert_eq!(field.name.to_vec(), b"77");
    hash.remove(b"77", 6);
    assert!(hash.random(6, |bound| random.below(bound)).is_none());
}

#[test]
fn a_huge_hash_is_freed_bit_by_bit() {
    let mut hash = Hash::new();
    for id in 0..10_000 {
        hash.set(id.to_string().as_bytes(), StrValue::Int(id), SetExpire::At(id), 0, LIMITS);
    }
    assert_eq!(hash.free_effort(), 10_000);
    let mut steps = 1;
    while hash.free_some(500) {
        steps += 1;
    }
    assert!(steps >= 20, "{steps}");
    assert_eq!(size_of::<Hash>(), 16);
}
