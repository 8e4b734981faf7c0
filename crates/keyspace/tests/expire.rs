//! Goal: active expiry keeps the share of keys that have expired but are still there under 10 %, on a realistic budget.
//! Method: simulated time, ten ticks per second, the share counted exactly once per simulated second.

use torc_keyspace::{Changes, Keyspace, Rng, SetExpire, StrValue};

const TICKS_PER_SECOND: i64 = 10;

struct Load {
    keys: u64,
    ttl_ms_max: u64,
    tag: &'static str,
    budget: usize,
    seconds: i64,
}

/// Keys with random lives, each created again once it is gone. Returns the worst share after a start-up time.
fn worst_stale_share(load: &Load) -> f64 {
    let mut rng = Rng::new(11);
    let mut keyspace = Keyspace::new(4, 1);
    let mut changes = Changes::default();
    const START_MS: i64 = 1_700_000_000_000;
    const TICK_MS: i64 = 1000 / TICKS_PER_SECOND;
    let ticks = load.seconds * TICKS_PER_SECOND;
    // How many keys are gone at each tick, and so have to be created again under new names (so that no access takes
    // the old ones out).
    let mut gone = vec![0u64; (ticks + load.ttl_ms_max as i64 / TICK_MS + 2) as usize];
    let mut next_id = 0u64;
    let mut create = |keyspace: &mut Keyspace, now_ms: i64, gone: &mut [u64], changes: &mut Changes| {
        let at = now_ms + 1_000 + rng.below(load.ttl_ms_max - 1_000) as i64;
        gone[((at - START_MS) / TICK_MS + 1) as usize] += 1;
        let bytes = format!("{}key:{next_id}", load.tag);
        next_id += 1;
        let key = keyspace.key(bytes.as_bytes());
        keyspace.set_string(0, &key, StrValue::Int(1), SetExpire::At(at), now_ms, changes);
    };
    for _ in 0..load.keys {
        create(&mut keyspace, START_MS, &mut gone, &mut changes);
    }
    let mut worst: f64 = 0.0;
    for tick in 1..=ticks {
        let now_ms = START_MS + tick * TICK_MS;
        keyspace.active_expire(now_ms, load.budget, &mut changes);
        for _ in 0..gone[tick as usize] {
            create(&mut keyspace, now_ms, &mut gone, &mut changes);
        }
        if tick % TICKS_PER_SECOND == 0 {
            let stale = keyspace.expires_len(0) - load.keys as usize;
            let share = stale as f64 / keyspace.expires_len(0) as f64;
            worst = worst.max(share);
        }
    }
    assert!(keyspace.avg_ttl_ms(0) > 0 && keyspace.avg_ttl_ms(0) < load.ttl_ms_max);
    worst
}

#[test]
fn a_million_short_lived_keys() {
    let load = Load { keys: 1_000_000, ttl_ms_max: 60_000, tag: "", budget: 40_000, seconds: 70 };
    let worst = worst_stale_share(&load);
    println!("worst share of expired keys: {:.2} %", worst * 100.0);
    assert!(worst < 0.10, "{worst}");
}

#[test]
fn all_of_them_in_one_slot() {
    let load = Load { keys: 200_000, ttl_ms_max: 60_000, tag: "{t}", budget: 10_000, seconds: 70 };
    let worst = worst_stale_share(&load);
    println!("worst share of expired keys: {:.2} %", worst * 100.0);
    assert!(worst < 0.10, "{worst}");
}

#[test]
fn long_lives_cost_next_to_nothing() {
    let mut rng = Rng::new(1);
    let mut keyspace = Keyspace::new(4, 2);
    let mut changes = Changes::default();
    for id in 0..100_000 {
        let bytes = format!("key:{id}");
        let key = keyspace.key(bytes.as_bytes());
        let at = 86_400_000 + rng.below(86_400_000) as i64;
        keyspace.set_string(1, &key, StrValue::Int(1), SetExpire::At(at), 0, &mut changes);
    }
    let mut visited = 0;
    for tick in 0..100 {
        let report = keyspace.active_expire(tick * 100, 20_000, &mut changes);
        assert!(report.finished_round && !report.exhausted);
        visited += report.visited;
    }
    assert_eq!(visited, 0, "no slot has a key that may have expired");
    let mut ticks = 0;
    while keyspace.len(1) > 0 {
        keyspace.active_expire(200_000_000, 20_000, &mut changes);
        ticks += 1;
        assert!(ticks < 100);
    }
    assert_eq!(keyspace.stats.expired, 100_000);
}

#[test]
fn effort_is_bounded_by_the_budget() {
    let mut keyspace = Keyspace::new(4, 1);
    let mut changes = Changes::default();
    for id in 0..10_000 {
        let bytes = format!("{{t}}{id}");
        let key = keyspace.key(bytes.as_bytes());
        keyspace.set_string(0, &key, StrValue::Int(1), SetExpire::At(5), 0, &mut changes);
    }
    while keyspace.len(0) > 0 {
        let report = keyspace.active_expire(6, 200, &mut changes);
        assert!(report.visited <= 200 + 256, "{report:?}");
        assert_eq!(report.visited, report.expired);
    }
}
