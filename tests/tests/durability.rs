//! What was acknowledged is there after kill -9: rounds of random writes from several clients against the running binary,
//! each ended without warning, each followed by a start with another number of shards.
//!
//! A kill leaves what the kernel was given, so this shows the order of acknowledgement and the recovery, not the disk;
//! crates/persist loses, tears and reorders writes on a simulated one. `TORC_KILL_ROUNDS` makes it longer.

use std::collections::BTreeMap;
use std::time::Duration;

use torc_resp::Value;
use torc_tests::{Client, Launch, Random, scratch_dir};

const WRITERS: usize = 5;
const KEYS: u64 = 40;
/// Keys of one transaction; they lie on all shards.
const PARTS: usize = 6;
/// How long a round may write, at most.
const ROUND_MS_MAX: u64 = 250;

fn rounds(default: u64) -> u64 {
    std::env::var("TORC_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(default)
}

/// What one thing that is written may be: at least what was acknowledged last, at most what was sent last.
#[derive(Clone, Copy, Default)]
struct Bounds {
    acknowledged: u64,
    sent: u64,
}

/// What one writer knows. Values only grow, so an older one than was acknowledged is a lost write.
#[derive(Clone, Default)]
struct Known {
    number: u64,
    keys: BTreeMap<u64, Bounds>,
    exec: Bounds,
    mset: Bounds,
    pushed: Bounds,
}

fn parts(kind: &str, writer: usize) -> Vec<String> {
    (0..PARTS).map(|part| format!("{kind}:{writer}:{part}")).collect()
}

/// Writes until the server is gone.
fn write(client: &mut Client, writer: usize, random: &mut Random, known: &mut Known) {
    loop {
        known.number += 1;
        let (number, text) = (known.number, known.number.to_string());
        let (bounds, done) = match random.below(10) {
            0..=4 => {
                let key = random.below(KEYS);
                let bounds = known.keys.entry(key).or_default();
                bounds.sent = number;
                (bounds, client.try_call(&["SET", &format!("k:{writer}:{key}"), &text]))
            }
            5 | 6 => {
                known.exec.sent = number;
                (&mut known.exec, exec(client, writer, &text))
            }
            7 | 8 => {
                known.mset.sent = number;
                let mut words = vec!["MSET".to_owned()];
                parts("m", writer).into_iter().for_each(|key| words.extend([key, text.clone()]));
                (&mut known.mset, client.try_call(&words))
            }
            _ => {
                known.pushed.sent += 1;
                let sent = known.pushed.sent;
                let done = client.try_call(&["RPUSH", &format!("l:{writer}"), &sent.to_string()]);
                if done.is_ok() {
                    known.pushed.acknowledged = sent;
                }
                (&mut known.pushed, done.map(|_| Value::Null))
            }
        };
        match done {
            Ok(Value::Null) => {}
            Ok(_) => bounds.acknowledged = number,
            Err(_) => return,
        }
    }
}

fn exec(client: &mut Client, writer: usize, text: &str) -> std::io::Result<Value> {
    client.send(&["MULTI"])?;
    for key in parts("t", writer) {
        client.send(&["SET", &key, text])?;
    }
    client.send(&["EXEC"])?;
    for _ in 0..=PARTS {
        client.receive()?;
    }
    client.receive()
}

fn number(client: &mut Client, key: &str) -> u64 {
    match client.call(&["GET", key]) {
        Value::Bulk(bytes) => String::from_utf8_lossy(&bytes).parse().expect("numbers are stored"),
        Value::Null | Value::NullBulk => 0,
        other => panic!("GET {key} gives {other:?}"),
    }
}

/// Compares one writer's data with what it knows, and takes them for the truth from here on.
fn check(client: &mut Client, writer: usize, known: &mut Known, nothing_may_be_lost: bool, round: u64) {
    let judge = |what: &str, value: u64, bounds: &mut Bounds| {
        assert!(value <= bounds.sent, "round {round}, {what}: {value} was never sent ({})", bounds.sent);
        assert!(
            !nothing_may_be_lost || value >= bounds.acknowledged,
            "round {round}, {what}: {value}, but {} was acknowledged",
            bounds.acknowledged
        );
        *bounds = Bounds { acknowledged: value, sent: value };
    };
    for (key, bounds) in &mut known.keys {
        let key = format!("k:{writer}:{key}");
        judge(&key, number(client, &key), bounds);
    }
    for (kind, bounds) in [("t", &mut known.exec), ("m", &mut known.mset)] {
        let values: Vec<u64> = parts(kind, writer).iter().map(|key| number(client, key)).collect();
        assert!(values.iter().all(|&value| value == values[0]), "round {round}, {kind}:{writer}: {values:?}");
        judge(kind, values[0], bounds);
    }
    let pushed = client.int(&format!("LLEN l:{writer}")) as u64;
    judge("l", pushed, &mut known.pushed);
}

fn drill(policy: &str, rounds: u64) {
    let dir = scratch_dir("durability");
    let launch = |shards: usize| -> Launch {
        let launch = Launch::torc(shards).setting("appendonly", "yes").setting("appendfsync", policy);
        let dir = dir.to_str().expect("a path of this repository is text");
        launch.setting("dir", dir).setting("auto-aof-rewrite-min-size", "200kb")
    };
    let mut random = Random(7);
    let mut known: Vec<Known> = vec![Known::default(); WRITERS];
    let nothing_may_be_lost = policy == "always";
    let mut server = launch(4).start();
    for round in 0..rounds {
        std::thread::scope(|scope| {
            for (writer, known) in known.iter_mut().enumerate() {
                let mut client = server.client();
                let mut random = Random(round * 100 + writer as u64);
                scope.spawn(move || write(&mut client, writer, &mut random, known));
            }
            if round % 3 == 1 {
                server.client().text("BGREWRITEAOF");
            }
            std::thread::sleep(Duration::from_millis(20 + random.below(ROUND_MS_MAX)));
            server.kill9();
        });
        server = launch([4, 1, 3, 2, 8][random.below(5) as usize]).restart(server);
        let mut client = server.client();
        for (writer, known) in known.iter_mut().enumerate() {
            check(&mut client, writer, known, nothing_may_be_lost, round);
        }
    }
    let written: u64 = known.iter().map(|known| known.number).sum();
    drop(server);
    std::fs::remove_dir_all(&dir).expect("the folder is ours");
    println!("{rounds} rounds, {written} writes under {policy}");
    assert!(written > rounds * 50, "{written} writes: hardly anything happened");
}

#[test]
fn nothing_acknowledged_is_lost_under_always() {
    drill("always", rounds(12));
}

#[test]
fn transactions_stay_whole_under_everysec() {
    drill("everysec", rounds(8));
}
