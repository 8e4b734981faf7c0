//! How long the steps of a snapshot take with huge values, without a server around them. On a busy machine the largest is
//! that of other work. `cargo run --release -p torc-keyspace --example slices [elements]`

use std::time::Instant;

use torc_datatypes::hash::HashLimits;
use torc_datatypes::list::{End, NodeLimits};
use torc_datatypes::rdb::code;
use torc_datatypes::set::SetLimits;
use torc_datatypes::stream::{self, StreamId};
use torc_datatypes::zset::ZSetLimits;
use torc_datatypes::{Hash, List, Set, SetExpire, StrRef, StrValue, Stream, Value, ZSet};
use torc_keyspace::{Changes, Keyspace, Lookup, SavePlan};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const NOW_MS: i64 = 1_000;
/// As the server's loop steps.
const KEYS_PER_STEP: usize = 16;
const PART_BYTES: usize = 64 * 1024;

fn values(elements: u64) -> [Value; 5] {
    let names = || (0..elements).map(|number| format!("element:{number}").into_bytes());
    let list_limits = NodeLimits::new(-2);
    let (mut hash, mut zset, mut list) = (Hash::new(), ZSet::default(), List::new());
    let (mut set, mut stream) = (Set::new_table(), Stream::new());
    let limits = HashLimits { entries_max: 128, value_bytes_max: 64 };
    for (number, name) in names().enumerate() {
        let value = [b"value of ", &name[..]].concat();
        hash.set(&name, StrValue::Bytes(&value), SetExpire::Clear, NOW_MS, limits);
        zset.insert(&name, number as f64, &ZSetLimits { listpack_entries: 128, listpack_value: 64 });
        list.push(End::Back, std::iter::once(StrRef::Bytes(&name)), list_limits);
        set.add(&name, &SetLimits { intset_entries: 512, listpack_entries: 128, listpack_value: 64 });
        let limits = stream::NodeLimits { max_bytes: 4096, max_entries: 100 };
        let fields = [(b"name".as_slice(), &value[..])];
        stream.log_mut().append(StreamId::new(number as u64 + 1, 0), fields.into_iter(), limits);
    }
    [Value::Hash(hash), Value::ZSet(zset), Value::List(list), Value::Set(set), Value::Stream(stream)]
}

fn main() {
    let elements = std::env::args().nth(1).map_or(1_000_000, |text| text.parse().expect("a number"));
    for value in values(elements) {
        let kind = value.kind().name();
        let mut keyspace = Keyspace::new(1, 1);
        let key = keyspace.key(b"huge");
        drop(keyspace.at(0, key, NOW_MS, Lookup::WRITE, &mut Changes::default()).put(value));
        keyspace.cut(SavePlan { compresses: true, version: code::VERSION });
        let (mut steps, mut bytes) = (Vec::new(), 0);
        while keyspace.has_snapshot() {
            let began = Instant::now();
            keyspace.snapshot_step(KEYS_PER_STEP);
            while let Some(part) = keyspace.take_saved(PART_BYTES) {
                bytes += part.bytes.len() + part.later.iter().map(|later| later.text.len()).sum::<usize>();
            }
            steps.push(began.elapsed().as_micros() as u64);
        }
        steps.sort_unstable();
        let (len, sum) = (steps.len(), steps.iter().sum::<u64>());
        println!(
            "{kind:7} {len:5} steps, {sum:7} us, {bytes:9} bytes; a step takes {} us, at 99 % {}, at most {}",
            steps[len / 2],
            steps[len * 99 / 100],
            steps[len - 1]
        );
    }
}
