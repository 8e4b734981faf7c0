//! Measures one shard's keyspace alone: nanoseconds of CPU per GET and SET, bytes per key, the slowest insert while it
//! grows, and the cost of the expiry walk. Time on the CPU is counted, so that a busy machine does little harm. `cargo run --release -p torc-keyspace --example keys -- [keys] [prefetch depth] [lookups]`

use std::hint::black_box;
use std::time::{Duration, Instant};

use torc_keyspace::{Changes, Keyspace, Lookup, Rng, SetExpire, StrValue};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const VALUE: [u8; 64] = [b'x'; 64];
/// Inserts from here on are counted.
const SLOW: Duration = Duration::from_micros(50);
const NOW_MS: i64 = 1_700_000_000_000;

/// An 18-byte key, as memtier and redis-benchmark make them.
fn write_key(key: &mut [u8; 18], id: u64) {
    key.copy_from_slice(b"key:00000000000000");
    let mut rest = id;
    for digit in key.iter_mut().rev() {
        if rest == 0 {
            break;
        }
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

fn rss_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize =
        statm.split_ascii_whitespace().nth(1).and_then(|rss| rss.parse().ok()).expect("a number");
    pages * 4096
}

/// Time that this thread has spent on a CPU.
fn cpu_time() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(
        schedstat.split_ascii_whitespace().next().and_then(|ns| ns.parse().ok()).expect("ns"),
    )
}

/// Times that this process was interrupted.
fn switches() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("Linux");
    let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
    lines.filter_map(|line| line.split_ascii_whitespace().last()?.parse::<u64>().ok()).sum()
}

fn report(what: &str, operations: u64, took: Duration) {
    println!("{what:<44} {:>8.1} ns", took.as_nanos() as f64 / operations as f64);
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let keys = arguments.next().unwrap_or(1_000_000);
    let depth = arguments.next().unwrap_or(16) as usize;
    let lookups = arguments.next().unwrap_or(4_000_000);
    let mut keyspace = Keyspace::new(42, 16);
    let mut changes = Changes::default();
    let mut rng = Rng::new(1);
    let mut key = [0; 18];
    let before = rss_bytes();

    let (mut slowest, mut slow, mut switches_before) = (Duration::ZERO, 0, switches());
    let start = cpu_time();
    for id in 0..keys {
        write_key(&mut key, id);
        let begin = Instant::now();
        let at = keyspace.key(&key);
        keyspace.set_string(0, &at, StrValue::Bytes(&VALUE), SetExpire::Clear, NOW_MS, &mut changes);
        let took = begin.elapsed();
        if took > SLOW {
            // Counted only if nobody else ran in the meantime.
            let now = switches();
            if now == switches_before {
                slowest = slowest.max(took);
                slow += 1;
            }
            switches_before = now;
        }
    }
    report("SET of new keys (with a clock read each)", keys, cpu_time() - start);
    println!("{:<44} {:>8.1} us", "slowest of them", slowest.as_nanos() as f64 / 1000.0);
    println!("{:<44} {slow:>8}", format!("of them above {SLOW:?}"));
    let rss = rss_bytes() - before;
    let usage = keyspace.usage(0);
    println!("{:<44} {:>8.1}", "bytes per key, resident", rss as f64 / keys as f64);
    println!("{:<44} {:>8.1}", "bytes per key, entry", usage.entry_bytes as f64 / keys as f64);
    println!("{:<44} {:>8.1}", "bytes per key, tables", usage.table_bytes as f64 / keys as f64);

    let start = cpu_time();
    for _ in 0..lookups {
        write_key(&mut key, rng.below(keys));
        black_box(keyspace.key(&key));
    }
    report("key, slot and hash alone", lookups, cpu_time() - start);

    for (name, offset) in [("GET hit", 0), ("GET miss", keys)] {
        let start = cpu_time();
        for _ in 0..lookups {
            write_key(&mut key, offset + rng.below(keys));
            let at = keyspace.key(&key);
            let entry = keyspace.get(0, &at, NOW_MS, Lookup::READ, &mut changes);
            black_box(entry.and_then(|entry| entry.str_ref()).map(|value| value.len()));
        }
        report(name, lookups, cpu_time() - start);
    }

    let mut names = vec![[0; 18]; depth];
    for (name, write) in [("GET hit, prefetched", false), ("SET overwrite, prefetched", true)] {
        let start = cpu_time();
        for _ in 0..lookups / depth as u64 {
            names.iter_mut().for_each(|name| write_key(name, rng.below(keys)));
            let batch: Vec<_> = names.iter().map(|name| keyspace.key(name)).collect();
            batch.iter().for_each(|key| keyspace.prefetch_line(0, key));
            batch.iter().for_each(|key| keyspace.prefetch_entry(0, key));
            for key in &batch {
                if write {
                    let value = StrValue::Bytes(&VALUE);
                    keyspace.set_string(0, key, value, SetExpire::Clear, NOW_MS, &mut changes);
                } else {
                    let entry = keyspace.get(0, key, NOW_MS, Lookup::READ, &mut changes);
                    black_box(entry.and_then(|entry| entry.str_ref()).map(|value| value.len()));
                }
            }
        }
        report(&format!("{name} {depth} at a time"), lookups, cpu_time() - start);
    }

    let start = cpu_time();
    for _ in 0..lookups {
        write_key(&mut key, rng.below(keys));
        let at = keyspace.key(&key);
        keyspace.set_string(0, &at, StrValue::Bytes(&VALUE), SetExpire::Clear, NOW_MS, &mut changes);
    }
    report("SET overwrite", lookups, cpu_time() - start);

    let volatile = keys.min(1_000_000);
    for id in 0..volatile {
        write_key(&mut key, id);
        let at = keyspace.key(&key);
        let expire = SetExpire::At(NOW_MS + rng.below(60_000) as i64);
        keyspace.set_string(0, &at, StrValue::Bytes(&VALUE), expire, NOW_MS, &mut changes);
    }
    let start = cpu_time();
    let (mut visited, mut expired) = (0, 0);
    for tick in 1..=100 {
        let report = keyspace.active_expire(NOW_MS + tick * 100, 40_000, &mut changes);
        visited += report.visited as u64;
        expired += report.expired;
    }
    println!("expiry walk: {visited} visited, {expired} expired in 100 ticks, {:?}", cpu_time() - start);
    report("expiry walk, per entry looked at", visited, cpu_time() - start);
}
