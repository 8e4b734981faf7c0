//! How long a shard is held while huge values go away: the step that takes them out of their table, and the steps that
//! free them. Steps in which another thread ran on the core do not count; what a virtual machine does to all of them is
//! shown first. Pages go back to the kernel as in the server, where a thread of the allocator does that, with
//! `_RJEM_MALLOC_CONF=background_thread:true cargo run --release -p torc-keyspace --example freeing [elements] [megabytes] [only]`

use std::time::Instant;

use torc_datatypes::hash::HashLimits;
use torc_datatypes::list::{End, NodeLimits};
use torc_datatypes::set::SetLimits;
use torc_datatypes::stream::{self, Pending, StreamId};
use torc_datatypes::zset::ZSetLimits;
use torc_datatypes::{Hash, List, Set, SetExpire, StrRef, StrValue, Stream, Value, ZSet};
use torc_keyspace::{Changes, Eviction, Keyspace, Lookup, Order};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const NOW_MS: i64 = 1_000;
/// As the server's loop steps.
const EFFORT_PER_STEP: usize = 256;
const CONSUMERS: u64 = 1_000;

const HASH: HashLimits = HashLimits { entries_max: 128, value_bytes_max: 64 };
const SET: SetLimits = SetLimits { intset_entries: 512, listpack_entries: 128, listpack_value: 64 };
const ZSET: ZSetLimits = ZSetLimits { listpack_entries: 128, listpack_value: 64 };

fn name(number: u64) -> Vec<u8> {
    format!("element:{number:010}").into_bytes()
}

fn list_of(elements: u64, bytes: usize) -> Value {
    let mut list = List::new();
    for number in 0..elements {
        let mut text = name(number);
        text.resize(bytes.max(text.len()), b'x');
        list.push(End::Back, std::iter::once(StrRef::Bytes(&text)), NodeLimits::new(-2));
    }
    Value::List(list)
}

fn set_of(members: impl Iterator<Item = Vec<u8>>) -> Value {
    let mut set = Set::new_table();
    for member in members {
        set.add(&member, &SET);
    }
    Value::Set(set)
}

fn hash_of(fields: u64, bytes: usize, expires: bool) -> Value {
    let mut hash = Hash::new();
    for number in 0..fields {
        let expire = if expires { SetExpire::At(1 << 40 | number as i64) } else { SetExpire::Clear };
        hash.set(&name(number), StrValue::Shared(vec![b'v'; bytes].into()), expire, NOW_MS, HASH);
    }
    Value::Hash(hash)
}

fn zset_of(members: u64) -> Value {
    let mut zset = ZSet::default();
    for number in 0..members {
        // In no order, so that the members' memory is not walked in its order.
        let score = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        zset.insert(&name(number), score as f64, &ZSET);
    }
    Value::ZSet(zset)
}

fn stream_of(entries: u64, bytes: usize, consumers: u64) -> Value {
    let mut stream = Stream::new();
    let limits = stream::NodeLimits { max_bytes: 4096, max_entries: 100 };
    let text = vec![b'v'; bytes];
    for number in 1..=entries {
        let fields = [(b"name".as_slice(), &text[..])];
        stream.log_mut().append(StreamId::new(number, 0), fields.into_iter(), limits);
    }
    if consumers > 0 {
        stream.add_group(b"g", StreamId::MIN, None);
        stream.edit_group(b"g", |group, _| {
            let all: Vec<_> = (0..consumers).map(|number| group.add_consumer(&name(number), 5)).collect();
            for number in 1..=entries {
                let consumer = all[(number % consumers) as usize];
                let pending = Pending { consumer, delivered_ms: 1, deliveries: 1 };
                group.assign(StreamId::new(number, 0), pending);
            }
        });
    }
    Value::Stream(stream)
}

fn string_of(bytes: usize) -> Value {
    Value::Str(Box::new(vec![b'v'; bytes].into()))
}

type Make = Box<dyn Fn() -> Value>;

fn values(elements: u64, bytes: usize) -> Vec<(&'static str, Make)> {
    const BIG: usize = 256 << 10;
    let few = (bytes / BIG) as u64;
    vec![
        ("list, short elements", Box::new(move || list_of(elements, 0))),
        ("list, elements of 4 KB", Box::new(move || list_of((bytes >> 12) as u64, 4 << 10))),
        ("list, elements of 256 KB", Box::new(move || list_of(few, BIG))),
        ("list, 60 elements", Box::new(move || list_of(60, bytes / 60))),
        ("set, integers", Box::new(move || set_of((0..elements).map(|it| it.to_string().into_bytes())))),
        ("set, strings", Box::new(move || set_of((0..elements).map(name)))),
        (
            "set, strings of 256 KB",
            Box::new(move || {
                set_of((0..few).map(|number| {
                    let mut text = name(number);
                    text.resize(BIG, b'x');
                    text
                }))
            }),
        ),
        ("hash, short values", Box::new(move || hash_of(elements, 20, false))),
        ("hash, fields that expire", Box::new(move || hash_of(elements, 20, true))),
        ("hash, values of 256 KB", Box::new(move || hash_of(few, BIG, false))),
        ("hash, 60 fields", Box::new(move || hash_of(60, bytes / 60, false))),
        ("sorted set", Box::new(move || zset_of(elements))),
        (
            "sorted set, one member",
            Box::new(move || {
                let mut zset = ZSet::default();
                zset.insert(&vec![b'x'; bytes], 1.0, &ZSET);
                Value::ZSet(zset)
            }),
        ),
        ("set, one member", Box::new(move || set_of(std::iter::once(vec![b'x'; bytes])))),
        ("hash, one field", Box::new(move || hash_of(1, bytes, false))),
        ("list, one element", Box::new(move || list_of(1, bytes))),
        ("stream", Box::new(move || stream_of(elements, 20, 0))),
        ("stream, entries of 256 KB", Box::new(move || stream_of(few, BIG, 0))),
        ("stream, all pending", Box::new(move || stream_of(elements, 20, CONSUMERS))),
        ("stream, consumers", Box::new(move || stream_of(1, 20, elements))),
        ("string", Box::new(move || string_of(bytes))),
        ("string of 1 MB", Box::new(move || string_of(1 << 20))),
    ]
}

/// Times that this thread was interrupted.
fn switches() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("Linux");
    let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
    lines.filter_map(|line| line.split_ascii_whitespace().last()?.parse::<u64>().ok()).sum()
}

/// What steps of one kind took.
#[derive(Default)]
struct Steps {
    us: Vec<u64>,
    disturbed: usize,
}

impl Steps {
    fn time<R>(&mut self, step: impl FnOnce() -> R) -> R {
        let before = switches();
        let began = Instant::now();
        let result = step();
        let us = began.elapsed().as_micros() as u64;
        if switches() == before {
            self.us.push(us);
        } else {
            self.disturbed += 1;
        }
        result
    }

    fn show(mut self, what: &str) {
        self.us.sort_unstable();
        let len = self.us.len();
        let at = |share: usize| self.us.get((len * share / 100).min(len.max(1) - 1)).copied().unwrap_or(0);
        println!(
            "{what:44} {:6} steps ({:3} disturbed); us: half {:4}, 99 % {:4}, the longest {:?}",
            len + self.disturbed,
            self.disturbed,
            at(50),
            at(99),
            self.us.iter().rev().take(3).collect::<Vec<_>>()
        );
    }
}

/// A keyspace in which the key `huge` holds a value.
fn keyspace_with(value: Value, expire_at: Option<i64>) -> Keyspace {
    let mut keyspace = Keyspace::new(1, 1);
    let mut changes = Changes::default();
    let key = keyspace.key(b"huge");
    let mut at = keyspace.at(0, key, NOW_MS, Lookup::WRITE, &mut changes);
    drop(at.put(value));
    at.set_expire_at(expire_at);
    keyspace
}

fn free(keyspace: &mut Keyspace) -> Steps {
    let mut steps = Steps::default();
    while steps.time(|| keyspace.graveyard.dig(EFFORT_PER_STEP)) {}
    steps
}

/// The ways in which a value goes: deleted, overwritten, expired, evicted, flushed.
fn ways() -> [fn(&mut Keyspace); 5] {
    fn changes() -> Changes {
        Changes::default()
    }
    [
        |keyspace| {
            let key = keyspace.key(b"huge");
            keyspace.at(0, key, NOW_MS, Lookup::WRITE, &mut changes()).discard();
        },
        |keyspace| {
            let key = keyspace.key(b"huge");
            keyspace.set_string(0, &key, StrValue::Int(1), SetExpire::Clear, NOW_MS, &mut changes());
        },
        |keyspace| {
            assert_eq!(keyspace.active_expire(NOW_MS + 10, 100, &mut changes()).expired, 1);
        },
        |keyspace| {
            let policy = Eviction { order: Order::Lru, volatile_only: false, samples: 5 };
            assert!(keyspace.evict(policy, NOW_MS, &mut changes(), |_| true).is_some());
        },
        |keyspace| {
            let flushed = keyspace.flush(0);
            keyspace.graveyard.bury(flushed);
        },
    ]
}

/// Many keys at once: the step that empties the database, and those that free them.
fn flush_many(keys: u64, value_bytes: usize) {
    let mut keyspace = Keyspace::new(1, 1);
    for number in 0..keys {
        let name = name(number);
        let key = keyspace.key(&name);
        let value = StrValue::Shared(vec![b'v'; value_bytes].into());
        keyspace.set_string(0, &key, value, SetExpire::Clear, NOW_MS, &mut Changes::default());
    }
    let mut taken = Steps::default();
    let flushed = taken.time(|| keyspace.flush(0));
    taken.time(|| keyspace.graveyard.bury(flushed));
    taken.show(&format!("{keys} keys of {value_bytes} bytes: go"));
    free(&mut keyspace).show(&format!("{keys} keys of {value_bytes} bytes: are freed"));
}

/// Many keys that expire, a slice of the active walk at a time as in the server.
fn expire_many(keys: u64, value_bytes: usize) {
    const VISITS_PER_SLICE: usize = 512;
    let mut keyspace = Keyspace::new(1, 1);
    for number in 0..keys {
        let name = name(number);
        let key = keyspace.key(&name);
        let value = StrValue::Shared(vec![b'v'; value_bytes].into());
        keyspace.set_string(0, &key, value, SetExpire::At(NOW_MS), NOW_MS, &mut Changes::default());
    }
    let mut steps = Steps::default();
    while keyspace.len(0) > 0 {
        steps.time(|| keyspace.active_expire(NOW_MS + 10, VISITS_PER_SLICE, &mut Changes::default()));
        while keyspace.graveyard.dig(EFFORT_PER_STEP) {}
    }
    steps.show(&format!("{keys} keys of {value_bytes} bytes: expire"));
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (elements, bytes) = (number(1_000_000), number(512) as usize * 1_000_000);
    let only = arguments.next().unwrap_or_default();
    if "nothing".starts_with(&only) {
        // What the machine itself does to steps of this length.
        let mut steps = Steps::default();
        for _ in 0..20_000 {
            steps.time(|| (0..30_000u64).fold(0, |sum, it| std::hint::black_box(sum ^ it)));
        }
        steps.show("nothing but arithmetic");
    }
    if "keys".starts_with(&only) {
        flush_many(elements, 20);
        flush_many((bytes >> 17) as u64, 128 << 10);
        expire_many(elements, 20);
        expire_many((bytes >> 17) as u64, 128 << 10);
    }
    for (what, make) in values(elements, bytes) {
        if !what.starts_with(&only) {
            continue;
        }
        let (mut taken, mut freed) = (Steps::default(), Steps::default());
        for go in ways() {
            let mut keyspace = keyspace_with(make(), Some(NOW_MS + 5));
            taken.time(|| go(&mut keyspace));
            let mut steps = free(&mut keyspace);
            freed.us.append(&mut steps.us);
            freed.disturbed += steps.disturbed;
        }
        taken.show(&format!("{what}: goes"));
        freed.show(&format!("{what}: is freed"));
    }
}
