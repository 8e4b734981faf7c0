//! The log switched on and off while the server runs, and killed then: what counts afterwards.
//!
//! A log that begins counts when its first base is there, with all data of that moment, and from then on holds everything. Before
//! that a start finds what it would have found without it: the snapshot, or the log of before.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use torc_resp::Value;
use torc_tests::raw::{bulk, ok};
use torc_tests::{Client, Launch, PATIENCE, Server, scratch_dir, wait_until};

/// A folder that outlives its servers.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        Folder(scratch_dir("log-switch"))
    }

    fn launch(&self, appendonly: &str) -> Launch {
        let launch = Launch::torc(4).setting("dir", &self.0.display().to_string());
        launch.setting("appendonly", appendonly)
    }

    /// Files of the log, but for its manifest.
    fn files(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.0.join("appendonlydir")).into_iter().flatten().flatten();
        let mut files: Vec<String> =
            files.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
        files.retain(|name| name != "manifest");
        files.sort();
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left-over files in the folder of temporary files do no harm.
        let _ = std::fs::remove_dir_all(Path::new(&self.0));
    }
}

fn rewrites(client: &mut Client) -> u64 {
    client.info("persistence", "aof_rewrites").expect("INFO has it").parse().expect("a number")
}

/// Switches the log on and waits for its first base.
fn switch_on(client: &mut Client) {
    let before = rewrites(client);
    assert_eq!(client.cmd("CONFIG SET appendonly yes"), ok());
    wait_for_base(client, before);
}

fn wait_for_base(client: &mut Client, rewrites_before: u64) {
    let is_there = wait_until(PATIENCE, || {
        rewrites(client) > rewrites_before
            && client.info("persistence", "aof_rewrite_in_progress").as_deref() == Some("0")
    });
    assert!(is_there, "no base");
}

/// From now on a base takes many seconds.
fn slow_down_saving(client: &mut Client) {
    for number in 0..200 {
        client.cmd(&format!("SET filler:{number} 1"));
    }
    assert_eq!(client.cmd("CONFIG SET rdb-key-save-delay 500000"), ok());
}

/// Is there a record in any segment? Files are made and written ahead with zeros before.
fn is_logged_to(folder: &Folder) -> bool {
    const HEADER_BYTES: usize = 64;
    let has_record = |name: &String| {
        let content = std::fs::read(folder.0.join("appendonlydir").join(name)).unwrap_or_default();
        content.iter().skip(HEADER_BYTES).any(|byte| *byte != 0)
    };
    folder.files().iter().any(|name| name.ends_with(".log") && has_record(name))
}

fn wait_until_durable(client: &mut Client) {
    assert_eq!(client.cmd("WAITAOF 1 0 20000"), Value::Array(vec![Value::Int(1), Value::Int(0)]));
}

fn digest(server: &Server) -> String {
    server.client().text("DEBUG DIGEST")
}

/// Writes to keys of all shards until it is told to stop.
fn write(client: &mut Client, writer: usize, stops: &AtomicBool) {
    /// However slow the disk is, something happens.
    const TIMES_MIN: i64 = 5;
    let mut number = 0;
    while number < TIMES_MIN || !stops.load(Ordering::Relaxed) {
        number += 1;
        assert_eq!(client.int(&format!("INCR count:{writer}")), number);
        assert_eq!(
            client.cmd(&format!("MSET a:{writer} {number} b:{writer} {number} c:{writer} {number}")),
            ok()
        );
        client.cmd("SELECT 3");
        client.cmd(&format!("RPUSH list:{writer} {number}"));
        client.cmd("SELECT 0");
    }
}

/// Switched on while clients write, killed, and again after it was off for a while.
#[test]
fn a_log_that_begins_at_run_time_holds_everything() {
    for policy in ["always", "everysec"] {
        let folder = Folder::new();
        let launch = |appendonly: &str| folder.launch(appendonly).setting("appendfsync", policy);
        let mut server = launch("no").start();
        for number in 0..500 {
            assert_eq!(server.client().cmd(&format!("SET early:{number} {number} EX 10000")), ok());
        }
        for round in 0..2 {
            let stops = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let writers: Vec<_> = (0..3)
                    .map(|writer| {
                        let (mut client, stops) = (server.client(), &stops);
                        let writer = writer + 10 * round;
                        scope.spawn(move || write(&mut client, writer, stops))
                    })
                    .collect();
                let mut client = server.client();
                if round > 0 {
                    assert_eq!(client.cmd("CONFIG SET appendonly no"), ok());
                    assert_eq!(client.cmd("SET between 1"), ok());
                }
                switch_on(&mut client);
                std::thread::sleep(std::time::Duration::from_millis(50));
                stops.store(true, Ordering::Relaxed);
                writers.into_iter().for_each(|writer| writer.join().expect("all are answered"));
            });
            wait_until_durable(&mut server.client());
            let expected = digest(&server);
            server = launch("yes").restart(server);
            assert_eq!(digest(&server), expected, "{policy}, round {round}");
            // Nothing is left of generations that a base has replaced.
            let bases = folder.files().iter().filter(|name| name.ends_with(".base.rdb")).count();
            assert_eq!(bases, 1, "{:?}", folder.files());
        }
    }
}

#[test]
fn before_its_base_is_there_the_snapshot_counts() {
    let folder = Folder::new();
    let mut server = folder.launch("no").start();
    let mut client = server.client();
    client.cmd("SET a saved");
    assert_eq!(client.cmd("SAVE"), ok());
    client.cmd("SET a later");
    slow_down_saving(&mut client);
    assert_eq!(client.cmd("CONFIG SET appendonly yes"), ok());
    assert!(wait_until(PATIENCE, || {
        client.cmd("SET a logged");
        is_logged_to(&folder)
    }));
    // What has been tried leaves nothing that would count, nor anything that is in the way.
    server = folder.launch("yes").restart(server);
    assert_eq!(server.client().cmd("GET a"), bulk("saved"));
    let mut client = server.client();
    client.cmd("SET b 1");
    wait_until_durable(&mut client);
    let expected = digest(&server);
    server = folder.launch("yes").restart(server);
    assert_eq!(digest(&server), expected);
}

#[test]
fn an_old_log_counts_until_the_base_of_the_new_one_is_there() {
    let folder = Folder::new();
    let mut server = folder.launch("yes").start();
    let mut client = server.client();
    client.cmd("MSET a old gone 1");
    wait_until_durable(&mut client);
    let old = digest(&server);

    // Killed before the base.
    server = folder.launch("no").restart(server);
    let mut client = server.client();
    assert_eq!(client.int("DBSIZE"), 0, "a log that is off is not read");
    client.cmd("SET a new");
    slow_down_saving(&mut client);
    let old_files = folder.files();
    assert_eq!(client.cmd("CONFIG SET appendonly yes"), ok());
    assert!(wait_until(PATIENCE, || {
        client.cmd("SET a newer");
        folder.files().len() > old_files.len()
    }));
    server = folder.launch("yes").restart(server);
    assert_eq!(digest(&server), old);

    // And after it.
    server = folder.launch("no").restart(server);
    let mut client = server.client();
    client.cmd("SET a new");
    switch_on(&mut client);
    client.cmd("SET b 1");
    wait_until_durable(&mut client);
    let new = digest(&server);
    let files = folder.files();
    assert!(old_files.iter().all(|old| !files.contains(old)), "{old_files:?} are gone: {files:?}");
    server = folder.launch("yes").restart(server);
    assert_eq!(digest(&server), new);
    assert_eq!(
        server.client().cmd("MGET a b gone"),
        Value::Array(vec![bulk("new"), bulk("1"), Value::NullBulk])
    );
}

/// The rewrite that the first switch began ends after the second: its base is one of before.
#[test]
fn off_and_on_again_while_the_base_is_written() {
    let folder = Folder::new();
    let mut server = folder.launch("no").start();
    let mut client = server.client();
    slow_down_saving(&mut client);
    let before = rewrites(&mut client);
    assert_eq!(client.cmd("CONFIG SET appendonly yes"), ok());
    assert!(wait_until(PATIENCE, || {
        client.cmd("SET a first");
        is_logged_to(&folder)
    }));
    assert_eq!(client.cmd("CONFIG SET appendonly no"), ok());
    client.cmd("SET a unlogged");
    assert_eq!(client.cmd("CONFIG SET appendonly yes"), ok());
    client.cmd("SET b 1");
    assert_eq!(client.cmd("CONFIG SET rdb-key-save-delay 0"), ok());
    wait_for_base(&mut client, before + 1);
    client.cmd("SET c 1");
    wait_until_durable(&mut client);
    let expected = digest(&server);
    server = folder.launch("yes").restart(server);
    assert_eq!(digest(&server), expected);
    assert_eq!(server.client().cmd("GET a"), bulk("unlogged"));
}
