//! Snapshots and rewrites of the log: which waits for which, what begins by itself, and what INFO tells of them.

use std::fs;
use std::time::{Duration, Instant};

use torc_resp::Value;
use torc_tests::raw::ok;
use torc_tests::{Client, Launch, PATIENCE, Server, wait_until};

const KEYS: usize = 800;

/// A server whose snapshots and rewrites take about a minute, until [`hurry`].
fn slow(launch: Launch) -> (Server, Client) {
    let server = launch.setting("rdb-key-save-delay", "300000").start();
    let mut client = server.client();
    assert_eq!(client.cmd(&format!("DEBUG POPULATE {KEYS}")), ok());
    (server, client)
}

fn logging() -> Launch {
    Launch::torc(4).setting("appendonly", "yes").setting("auto-aof-rewrite-percentage", "0")
}

fn hurry(client: &mut Client) {
    assert_eq!(client.cmd("CONFIG SET rdb-key-save-delay 0"), ok());
}

fn info(client: &mut Client, field: &str) -> String {
    client.info("persistence", field).unwrap_or_else(|| panic!("INFO has no {field}"))
}

fn number(client: &mut Client, field: &str) -> u64 {
    info(client, field).parse().expect("a number")
}

#[track_caller]
fn becomes(client: &mut Client, field: &str, value: &str) {
    let is_so = wait_until(PATIENCE, || info(client, field) == value);
    assert!(is_so, "{field} is {} and not {value}", info(client, field));
}

#[test]
fn what_was_scheduled_comes_next_and_once() {
    let (server, mut client) = slow(logging());
    assert!(client.text("BGREWRITEAOF").contains("started"));
    assert!(client.text("BGSAVE SCHEDULE").contains("scheduled"));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(info(&mut client, "rdb_bgsave_in_progress"), "0");
    assert!(!server.dir().join("dump.rdb").exists());
    hurry(&mut client);
    becomes(&mut client, "rdb_saves", "1");
    assert_eq!(info(&mut client, "aof_rewrites"), "1");
    assert!(server.dir().join("dump.rdb").exists());

    client.cmd("CONFIG SET rdb-key-save-delay 300000");
    assert!(client.text("BGSAVE").contains("started"));
    for _ in 0..2 {
        assert!(client.text("BGREWRITEAOF").contains("scheduled"));
    }
    std::thread::sleep(Duration::from_millis(300));
    let fields = ["aof_rewrite_in_progress", "aof_rewrite_scheduled", "aof_pending_rewrite"];
    assert_eq!(fields.map(|field| info(&mut client, field)), ["0", "1", "1"]);
    hurry(&mut client);
    becomes(&mut client, "aof_rewrites", "2");
    assert_eq!(info(&mut client, "aof_rewrite_scheduled"), "0");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(["rdb_saves", "aof_rewrites"].map(|field| info(&mut client, field)), ["2", "2"]);
}

#[test]
fn a_save_waits_for_the_rewrite_that_is_under_way() {
    let (server, mut client) = slow(logging());
    assert!(client.text("BGREWRITEAOF").contains("started"));
    becomes(&mut client, "current_save_keys_total", &KEYS.to_string());
    let mut saving: Vec<Client> = (0..3).map(|_| server.client()).collect();
    for saving in &mut saving {
        saving.send(&["SAVE"]).expect("the server listens");
        assert_eq!(saving.receive_within(Duration::from_millis(100)).expect("it is open"), None);
    }
    // Others are served.
    assert_eq!(client.cmd("SET later 1"), ok());
    hurry(&mut client);
    for saving in &mut saving {
        assert_eq!(saving.receive_within(PATIENCE).expect("it is open"), Some(ok()));
    }
    assert_eq!(["rdb_saves", "aof_rewrites"].map(|field| info(&mut client, field)), ["3", "1"]);
}

/// What waits is given up as well as what is under way: only the last snapshot is written.
#[test]
fn a_shutdown_does_not_wait_for_saves() {
    let (mut server, mut client) = slow(logging());
    assert!(client.text("BGREWRITEAOF").contains("started"));
    becomes(&mut client, "current_save_keys_total", &KEYS.to_string());
    let mut saving: Vec<Client> = (0..8).map(|_| server.client()).collect();
    saving.iter_mut().for_each(|saving| saving.send(&["SAVE"]).expect("the server listens"));
    // The last snapshot takes 200 keys on each shard at 20 ms: any other before it would take as long.
    client.cmd("CONFIG SET rdb-key-save-delay 20000");
    let began = Instant::now();
    client.send(&["SHUTDOWN", "SAVE"]).expect("the server listens");
    let status = server.wait_exit(PATIENCE).expect("it ends");
    assert!(status.success(), "{}", server.log());
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    assert!(server.dir().join("dump.rdb").exists());
}

/// What is switched on while a snapshot is written begins behind it; what is switched off again does not begin.
#[test]
fn a_log_begins_behind_a_snapshot() {
    let (server, mut client) = slow(Launch::torc(4));
    let dir = server.dir().display().to_string();
    assert!(client.text("BGSAVE").contains("started"));
    assert_eq!(client.cmd("CONFIG SET appendonly yes"), ok());
    let fields = ["aof_enabled", "aof_rewrite_in_progress", "aof_rewrite_scheduled"];
    assert_eq!(fields.map(|field| info(&mut client, field)), ["1", "0", "1"]);
    assert_eq!(client.cmd("CONFIG SET appendonly no"), ok());
    assert_eq!(fields.map(|field| info(&mut client, field)), ["0", "0", "0"]);
    assert_eq!(client.cmd("CONFIG SET appendonly yes"), ok());
    assert_eq!(client.cmd("SET meanwhile 1"), ok());
    hurry(&mut client);
    becomes(&mut client, "aof_rewrites", "1");
    assert_eq!(client.cmd("SET behind 1"), ok());
    assert_eq!(client.cmd("WAITAOF 1 0 10000"), Value::Array(vec![Value::Int(1), Value::Int(0)]));
    let mut server = server;
    server.kill9();
    let server = logging().setting("dir", &dir).start();
    assert_eq!(server.client().int("DBSIZE"), KEYS as i64 + 2);
}

#[test]
fn progress_and_memory_are_told_of_what_they_belong_to() {
    let server = logging().setting("rdb-key-save-delay", "2000").start();
    let mut client = server.client();
    let value = "v".repeat(10_000);
    for key in 0..KEYS {
        client.call(&["SET", &format!("key:{key}"), &value]);
    }
    for (command, other) in [("BGREWRITEAOF", "rdb_last_cow_size"), ("BGSAVE", "aof_last_cow_size")] {
        client.cmd("CONFIG SET rdb-key-save-delay 2000");
        let before = number(&mut client, other);
        assert!(client.text(command).contains("started"));
        becomes(&mut client, "current_save_keys_total", &KEYS.to_string());
        // Each is saved before it is changed.
        for key in 0..KEYS / 2 {
            client.call(&["SET", &format!("key:{key}"), &value]);
        }
        let counts = wait_until(PATIENCE, || number(&mut client, "current_save_keys_processed") >= 400);
        assert!(counts, "{}", info(&mut client, "current_save_keys_processed"));
        let percentage: f64 = info(&mut client, "current_fork_perc").parse().expect("a number");
        assert!((50.0..=100.0).contains(&percentage), "{percentage}");
        assert!(number(&mut client, "current_cow_size") > 100_000);
        hurry(&mut client);
        becomes(&mut client, "current_save_keys_total", "0");
        becomes(&mut client, "aof_rewrites", "1");
        assert_eq!(info(&mut client, "current_fork_perc"), "0.00");
        assert_eq!(number(&mut client, other), before, "{command} is not its own");
    }
    becomes(&mut client, "rdb_saves", "1");
    assert!(number(&mut client, "rdb_last_cow_size") > 100_000);
    assert!(number(&mut client, "aof_last_cow_size") > 100_000);
    let log = server.log();
    assert!(
        log.contains("the base of the log is on disk") && log.contains("the snapshot is on disk"),
        "{log}"
    );
}

#[test]
fn a_rewrite_that_fails_is_no_snapshot_that_fails() {
    let server = logging().start();
    let mut client = server.client();
    client.cmd("SET a 1");
    let folder = server.dir().join("appendonlydir");
    let in_the_way = [2, 3].map(|number| folder.join(format!("appendonly.aof.{number}.base.tmp")));
    for path in &in_the_way {
        fs::create_dir(path).expect("the folder is there");
    }
    for failures in ["1", "2"] {
        assert!(client.text("BGREWRITEAOF").contains("started"));
        becomes(&mut client, "aof_rewrites_consecutive_failures", failures);
    }
    let fields = ["aof_last_bgrewrite_status", "rdb_last_bgsave_status", "aof_last_write_status"];
    assert_eq!(fields.map(|field| info(&mut client, field)), ["err", "ok", "ok"]);
    let log = server.log();
    assert!(log.contains("the base of the log cannot be written"), "{log}");
    assert!(!log.contains("snapshot failed"), "{log}");
    for path in &in_the_way {
        fs::remove_dir(path).expect("it is empty");
    }
    assert!(client.text("BGREWRITEAOF").contains("started"));
    becomes(&mut client, "aof_rewrites_consecutive_failures", "0");
    assert_eq!(info(&mut client, "aof_last_bgrewrite_status"), "ok");
}

#[test]
fn a_save_point_falls_due() {
    let server = Launch::torc(4).setting("save", "1 3").start();
    let mut client = server.client();
    client.cmd("SET a 1");
    client.cmd("SET b 1");
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(info(&mut client, "rdb_saves"), "0", "two changes are not three");
    client.cmd("SET c 1");
    becomes(&mut client, "rdb_saves", "1");
    becomes(&mut client, "rdb_changes_since_last_save", "0");
    assert!(server.log().contains("a save point is due"), "{}", server.log());
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(info(&mut client, "rdb_saves"), "1", "nothing has changed since");
    assert_eq!(client.call(&["CONFIG", "SET", "save", ""]), ok());
    (0..5).for_each(|_| drop(client.cmd("INCR a")));
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(info(&mut client, "rdb_saves"), "1", "there is no save point any more");
}

#[test]
fn a_log_that_has_grown_is_rewritten() {
    let launch = Launch::torc(4).setting("appendonly", "yes").setting("auto-aof-rewrite-min-size", "100kb");
    for (percentage, is_rewritten) in [("100", true), ("0", false)] {
        let server = launch.clone().setting("auto-aof-rewrite-percentage", percentage).start();
        let mut client = server.client();
        let value = "v".repeat(1_000);
        for number in 0..300 {
            client.call(&["SET", &format!("key:{}", number % 10), &value]);
        }
        if is_rewritten {
            becomes(&mut client, "aof_last_bgrewrite_status", "ok");
            assert!(wait_until(PATIENCE, || number(&mut client, "aof_rewrites") >= 1));
            assert!(wait_until(PATIENCE, || number(&mut client, "aof_current_size") < 100_000));
            assert!(server.log().contains("the log is rewritten"), "{}", server.log());
        } else {
            std::thread::sleep(Duration::from_secs(1));
            assert_eq!(info(&mut client, "aof_rewrites"), "0");
            assert!(number(&mut client, "aof_current_size") > 250_000);
        }
    }
}

/// The disk is left to the rewrite: nothing is synced beside it.
#[test]
fn no_appendfsync_on_rewrite_syncs_when_the_rewrite_is_over() {
    for (setting, is_synced) in [("no", 1), ("yes", 0)] {
        let (_server, mut client) = slow(logging().setting("no-appendfsync-on-rewrite", setting));
        let reply = |is_synced| Value::Array(vec![Value::Int(is_synced), Value::Int(0)]);
        assert!(client.text("BGREWRITEAOF").contains("started"));
        becomes(&mut client, "current_save_keys_total", &KEYS.to_string());
        // The switch to the new segments syncs the old ones, and what the new ones begin with.
        std::thread::sleep(Duration::from_millis(500));
        client.cmd("SET key 1");
        assert_eq!(client.cmd("WAITAOF 1 0 2500"), reply(is_synced), "{setting}");
        hurry(&mut client);
        assert_eq!(client.cmd("WAITAOF 1 0 10000"), reply(1));
    }
}
