//! Goal: an entry gives back exactly what was put in, through every move between its forms.
//! Method: seeded random operations against a plain struct; small enough to run under Miri.

use bytes::Bytes;

use super::*;
use crate::Set;
use crate::value::IntText;

/// Fewer rounds where each takes a hundred times longer.
const ROUNDS: u64 = if cfg!(miri) { 4 } else { 400 };
const STEPS: usize = if cfg!(miri) { 60 } else { 400 };

struct Model {
    key: Vec<u8>,
    value: Vec<u8>,
    expire_at: Option<i64>,
    clock: u32,
    bits: u16,
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }

    /// Lengths around every boundary of the layout.
    fn length(&mut self) -> usize {
        const BORDERS: [usize; 9] = [0, 7, 44, 64, 100, 254, 255, 300, 1000];
        let near = BORDERS[self.below(BORDERS.len())] + self.below(3);
        if self.below(12) == 0 { BIG_STRING_BYTES - 2 + self.below(4) } else { near }
    }

    fn value(&mut self) -> Vec<u8> {
        if self.below(3) == 0 {
            let int = self.below(usize::MAX) as i64 >> self.below(64);
            return int.to_string().into_bytes();
        }
        let len = self.length();
        self.bytes(len)
    }

    fn expiry(&mut self) -> Option<i64> {
        (self.below(2) == 0).then(|| self.below(usize::MAX) as i64)
    }
}

fn check(entry: &Entry, model: &Model) {
    assert_eq!(entry.key(), model.key);
    let value = entry.str_ref().unwrap();
    assert_eq!(value.len(), model.value.len());
    assert!(value.as_bytes(&mut IntText::new()) == model.value);
    assert_eq!(value.as_int(), parse_i64(&model.value));
    assert_eq!(entry.expire_at(), model.expire_at);
    assert_eq!(entry.is_volatile(), model.expire_at.is_some());
    assert_eq!(entry.clock(), model.clock);
    assert_eq!(entry.hash_bits(), model.bits);
    assert_eq!(entry.kind(), Kind::String);
    let least = 8 + model.key.len() + model.value.len().min(8);
    assert!(entry.size_bytes() >= least);
}

#[test]
fn behaves_like_a_plain_struct() {
    for seed in 1..=ROUNDS {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let key_len = random.length();
        let mut model = Model {
            key: random.bytes(key_len),
            value: random.value(),
            expire_at: random.expiry(),
            clock: 0,
            bits: 0,
        };
        let mut entry = Entry::string(&model.key, &model.value, model.expire_at);
        for _ in 0..STEPS {
            check(&entry, &model);
            match random.below(12) {
                0 | 1 => {
                    model.value = random.value();
                    entry.set_string(&model.value);
                }
                2 => {
                    model.value = random.value();
                    entry.set_string_shared(Bytes::from(model.value.clone()));
                }
                3 => {
                    let int = random.below(usize::MAX) as i64;
                    model.value = int.to_string().into_bytes();
                    entry.set_int(int);
                }
                4 => {
                    model.expire_at = random.expiry();
                    entry.set_expire_at(model.expire_at);
                }
                5 | 6 => {
                    let more = random.value();
                    model.value.extend_from_slice(&more);
                    assert_eq!(entry.append(&more), model.value.len());
                    assert!(more.is_empty() || entry.encoding() == Encoding::Raw);
                }
                7 => {
                    let end = model.value.len() + random.below(40);
                    let keep = entry.str_ref().unwrap().to_bytes();
                    model.value.resize(end, 0);
                    let fill = random.below(256) as u8;
                    let paint = |bytes: &mut [u8]| {
                        if let Some(last) = bytes.last_mut() {
                            *last = fill;
                        }
                        bytes.len()
                    };
                    paint(&mut model.value);
                    let last = entry.edit_string(end, paint);
                    assert_eq!(last, model.value.len());
                    drop(keep);
                }
                8 => {
                    let len = random.length();
                    model.key = random.bytes(len);
                    entry.rename(&model.key);
                }
                9 => {
                    model.clock = random.below(1 << 24) as u32;
                    entry.set_clock(model.clock);
                }
                10 => {
                    model.bits = random.below(1 << 15) as u16;
                    entry.set_hash_bits(model.bits);
                }
                _ => {
                    let mut copy = entry.duplicate(&model.key);
                    copy.set_hash_bits(model.bits);
                    check(&copy, &model);
                    entry = copy;
                }
            }
        }
        check(&entry, &model);
    }
}

/// The memory target: an 18-byte key with a 64-byte value in 96 bytes.
#[test]
fn sizes() {
    for (key_len, value, expire_at, bytes) in [
        (18, &[b'x'; 64][..], None, 96),
        (18, &[b'x'; 64], Some(1), 112),
        (18, b"12345678", None, 48),
        (18, b"", None, 32),
        (300, b"", None, 320),
    ] {
        let entry = Entry::string(&vec![b'k'; key_len], value, expire_at);
        assert_eq!(entry.size_bytes(), bytes, "{key_len} {}", value.len());
    }
    assert_eq!(size_of::<Option<Entry>>(), 8);
}

#[test]
fn encodings_are_named_as_in_redis() {
    let string = |value: &[u8]| Entry::string(b"k", value, None);
    assert_eq!(string(b"123").encoding(), Encoding::Int);
    assert_eq!(string(b"0123").encoding(), Encoding::Embstr);
    assert_eq!(string(&[b'x'; 44]).encoding(), Encoding::Embstr);
    assert_eq!(string(&[b'x'; 45]).encoding(), Encoding::Raw);
    assert_eq!(string(&[b'x'; 20_000]).encoding(), Encoding::Raw);
    let mut entry = string(b"short");
    entry.append(b"er");
    assert_eq!(entry.encoding(), Encoding::Raw);
    entry.set_string(b"short");
    assert_eq!(entry.encoding(), Encoding::Embstr);
}

#[test]
fn overwriting_stays_in_place_while_the_size_suits() {
    let mut entry = Entry::string(&[b'k'; 18], &[b'x'; 64], None);
    let place = entry.key().as_ptr();
    for len in [70, 64, 34, 64] {
        entry.set_string(&vec![b'y'; len]);
        assert_eq!(entry.key().as_ptr(), place, "{len}");
    }
    entry.set_string(&[b'y'; 10_000]);
    assert_eq!(entry.size_bytes(), 10 * 1024);
    entry.set_string(b"tiny");
    assert_eq!(entry.size_bytes(), 32, "room is given back where it is most of the entry");
    let mut volatile = Entry::string(b"k", b"v", Some(5));
    let place = volatile.key().as_ptr();
    for expire_at in [None, Some(6), None, Some(7)] {
        volatile.set_expire_at(expire_at);
        assert_eq!((volatile.expire_at(), volatile.key().as_ptr()), (expire_at, place));
    }
}

#[test]
fn big_strings_are_shared_with_readers_and_copied_on_write() {
    let big = Bytes::from(vec![b'x'; 50_000]);
    let mut entry = Entry::string_shared(b"k", big.clone(), None);
    let Some(StrRef::Shared(read)) = entry.str_ref() else { panic!("big strings are shared") };
    assert_eq!(read.as_ptr(), big.as_ptr(), "taken over, not copied");
    let read = read.clone();
    entry.edit_string(0, |bytes| bytes[0] = b'y');
    assert_eq!((read[0], big[0]), (b'x', b'x'));
    let Some(StrRef::Shared(written)) = entry.str_ref() else { panic!("big strings are shared") };
    let place = written.as_ptr();
    assert_eq!(written[0], b'y');
    entry.edit_string(0, |bytes| bytes[1] = b'z');
    let Some(StrRef::Shared(again)) = entry.str_ref() else { panic!("big strings are shared") };
    assert_eq!(again.as_ptr(), place, "nobody else reads it: changed in place");
}

#[test]
fn a_value_with_memory_of_its_own_can_be_split_off() {
    let mut entry = Entry::owned(b"key", Value::Set(Set::new_table()), Some(5));
    entry.set_clock(7);
    entry.set_hash_bits(9);
    let value = entry.split_off();
    assert_eq!((value.key(), value.kind()), (&b""[..], Kind::Set));
    assert_eq!((entry.key(), entry.kind()), (&b"key"[..], Kind::String));
    assert_eq!((entry.expire_at(), entry.clock(), entry.hash_bits()), (Some(5), 7, 9));
    assert!(entry.str_ref().is_some_and(|string| string.is_empty()));
    assert!(entry.split_off().str_ref().is_some_and(|string| string.is_empty()));
}

#[test]
fn appending_is_cheap_in_total() {
    for limit in [8_000, if cfg!(miri) { 20_000 } else { 2_000_000 }] {
        let mut entry = Entry::string(b"key", b"start", None);
        let (mut moves, mut place) = (0, std::ptr::null());
        while entry.append(b"0123456789") < limit {
            let now = match entry.str_ref() {
                Some(StrRef::Shared(bytes)) => bytes.as_ptr(),
                _ => entry.key().as_ptr(),
            };
            moves += u32::from(now != place);
            place = now;
        }
        assert!(moves < 40, "{moves} moves");
    }
}

/// The mark of the table stays through every change of value, expiry and place.
#[test]
fn the_mark_stays_with_the_key() {
    let big = vec![b'x'; BIG_STRING_BYTES];
    let changes: [fn(&mut Entry, &[u8]); 8] = [
        |entry, _| entry.set_string(b"a longer string that needs another allocation than before"),
        |entry, _| entry.set_int(7),
        |entry, _| {
            entry.append(b"more");
        },
        |entry, _| entry.set_expire_at(Some(1)),
        |entry, big| entry.set_string(big),
        |entry, big| {
            entry.append(big);
        },
        |entry, _| entry.set_expire_at(None),
        |entry, _| entry.set_string(b"short"),
    ];
    for first in 0..changes.len() {
        for second in 0..changes.len() {
            let mut entry = Entry::string(b"key", b"value", None);
            assert!(!entry.is_marked(), "a new entry has no mark");
            entry.set_marked(true);
            changes[first](&mut entry, &big);
            changes[second](&mut entry, &big);
            assert!(entry.is_marked(), "changes {first} and {second}");
            entry.set_marked(false);
            changes[first](&mut entry, &big);
            assert!(!entry.is_marked());
        }
    }
}
