//! What was acknowledged is there after kill -9: rounds of random writes from several clients against the running binary,
//! each ended without warning, each followed by a start with another number of shards.
//!
//! A kill leaves what the kernel was given, so this shows the order of acknowledgement and the recovery, not the disk;
//! crates/persist loses, tears and reorders writes on a simulated one. There are 200 rounds in all; `TORC_KILL_ROUNDS` is
//! the number of each drill instead.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use torc_resp::Value;
use torc_tests::raw::bulk;
use torc_tests::{Client, Launch, PATIENCE, Random, scratch_dir, wait_until};

const WRITERS: usize = 5;
const KEYS: u64 = 40;
/// Keys of one transaction; they lie on all shards.
const PARTS: usize = 6;
/// How long a round writes: short, so that many moments are seen.
const ROUND_MS: std::ops::Range<u64> = 20..60;

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
fn write(client: &mut Client, writer: usize, random: &mut Random, known: &mut Known, answered: &AtomicU64) {
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
        answered.fetch_add(1, Ordering::Relaxed);
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

fn numbers(client: &mut Client, keys: &[String]) -> Vec<u64> {
    let words: Vec<&str> = std::iter::once("MGET").chain(keys.iter().map(String::as_str)).collect();
    let number = |value: &Value| match value {
        Value::Bulk(bytes) => String::from_utf8_lossy(bytes).parse().expect("numbers are stored"),
        Value::Null | Value::NullBulk => 0,
        other => panic!("{words:?} give {other:?}"),
    };
    client.call(&words).elements().expect("MGET answers an array").iter().map(number).collect()
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
    let keys: Vec<String> = known.keys.keys().map(|key| format!("k:{writer}:{key}")).collect();
    if !keys.is_empty() {
        for ((key, value), bounds) in keys.iter().zip(numbers(client, &keys)).zip(known.keys.values_mut()) {
            judge(key, value, bounds);
        }
    }
    for (kind, bounds) in [("t", &mut known.exec), ("m", &mut known.mset)] {
        let values = numbers(client, &parts(kind, writer));
        assert!(values.iter().all(|&value| value == values[0]), "round {round}, {kind}:{writer}: {values:?}");
        judge(kind, values[0], bounds);
    }
    let pushed = client.int(&format!("LLEN l:{writer}")) as u64;
    judge("l", pushed, &mut known.pushed);
}

/// The master key that changes with the round, and the one of before, which the files of earlier rounds may still need.
fn encrypted(launch: Launch, dir: &Path, round: u64) -> Launch {
    let key = |number: u64| {
        let path = dir.join(format!("key.{number}"));
        std::fs::write(&path, format!("{number:064x}")).expect("the folder is writable");
        path.display().to_string()
    };
    let cipher = if round.is_multiple_of(2) { "aes-256-gcm" } else { "chacha20-poly1305" };
    let earlier: Vec<String> = (0..round).map(key).collect();
    let launch = launch.setting("encryption-enabled", "yes").setting("encryption-algorithm", cipher);
    let launch = launch.setting("encryption-key-file", &key(round));
    launch.setting("encryption-old-key-files", &earlier.join(" "))
}

fn drill(policy: &str, rounds: u64, is_encrypted: bool) {
    let dir = scratch_dir("durability");
    let launch = |shards: usize, round: u64| -> Launch {
        let launch = Launch::torc(shards).setting("appendonly", "yes").setting("appendfsync", policy);
        let path = dir.to_str().expect("a path of this repository is text");
        let launch = launch.setting("dir", path).setting("auto-aof-rewrite-min-size", "200kb");
        if is_encrypted { encrypted(launch, &dir, round) } else { launch }
    };
    let mut random = Random(7);
    let mut known: Vec<Known> = vec![Known::default(); WRITERS];
    let nothing_may_be_lost = policy == "always";
    let mut server = launch(4, 0).start();
    for round in 0..rounds {
        let answered = &AtomicU64::new(0);
        std::thread::scope(|scope| {
            for (writer, known) in known.iter_mut().enumerate() {
                let mut client = server.client();
                let mut random = Random(round * 100 + writer as u64);
                scope.spawn(move || write(&mut client, writer, &mut random, known, answered));
            }
            if round % 3 == 1 {
                server.client().text("BGREWRITEAOF");
            }
            let ms = ROUND_MS.start + random.below(ROUND_MS.end - ROUND_MS.start);
            std::thread::sleep(Duration::from_millis(ms));
            // However slow the disk is, something happens.
            let is_enough = wait_until(PATIENCE, || answered.load(Ordering::Relaxed) > 2 * WRITERS as u64);
            server.kill9();
            assert!(is_enough, "round {round}: hardly anything happened");
        });
        // Two rounds with each key: one that reads the files of the key before, and one that goes on.
        let shards = [4, 4, 4, 1, 3, 2, 8][random.below(7) as usize];
        server = launch(shards, round.div_ceil(2)).restart(server);
        let mut client = server.client();
        for (writer, known) in known.iter_mut().enumerate() {
            check(&mut client, writer, known, nothing_may_be_lost, round);
        }
    }
    let written: u64 = known.iter().map(|known| known.number).sum();
    drop(server);
    std::fs::remove_dir_all(&dir).expect("the folder is ours");
    println!("{rounds} rounds, {written} writes under {policy}");
}

#[test]
fn nothing_acknowledged_is_lost_under_always() {
    drill("always", rounds(90), false);
}

#[test]
fn transactions_stay_whole_under_everysec() {
    drill("everysec", rounds(60), false);
}

/// The same with encryption: the key changes every second round, and the cipher with it.
#[test]
fn encrypted_logs_keep_it_through_changes_of_the_key() {
    drill("always", rounds(30), true);
    drill("everysec", rounds(20), true);
}

/// A snapshot of before becomes the first base of an encrypted log, and is encrypted there.
#[test]
fn a_snapshot_is_encrypted_as_the_first_base() {
    let dir = scratch_dir("durability");
    let launch = || Launch::torc(2).setting("dir", &dir.display().to_string());
    let mut server = launch().start();
    let mut client = server.client();
    let value = "not to be read by others ".repeat(100_000);
    client.call(&["SET", "secret", &value]);
    assert_eq!(client.text("SAVE"), "OK");
    server.kill9();
    let launch = || encrypted(launch().setting("appendonly", "yes"), &dir, 1);
    for _ in 0..2 {
        let mut server = launch().start();
        assert_eq!(server.client().call(&["GET", "secret"]), bulk(&value));
        server.kill9();
    }
    let files = std::fs::read_dir(dir.join("appendonlydir")).expect("a log").flatten();
    let bases = files.filter(|file| file.file_name().to_string_lossy().ends_with(".base.rdb"));
    let bases: Vec<Vec<u8>> = bases.map(|base| std::fs::read(base.path()).expect("a base")).collect();
    assert!(bases.len() == 1 && !bases[0].windows(6).any(|bytes| bytes == b"others"));
    std::fs::remove_dir_all(&dir).expect("the folder is ours");
}
