//! Snapshots end to end: files of torc and of the real servers, in both directions, the moment that a snapshot shows,
//! and what happens when it cannot be written.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use torc_resp::Value;
use torc_tests::{
    Client, Launch, PATIENCE, Random, Server, reference_or_skip, scratch_dir, valkey, wait_until,
};

/// One key of every type and of some encodings, with what shows its value.
const VALUES: &[(&str, &str)] = &[
    ("SET string value", "GET string"),
    ("SET int 12345", "GET int"),
    ("SET expires value PXAT 4102444800000", "PEXPIRETIME expires"),
    ("RPUSH list a b c 1 2 3", "LRANGE list 0 -1"),
    ("SADD ints 1 2 3", "SMISMEMBER ints 1 2 3 4"),
    ("SADD words a b c", "SMISMEMBER words a b c d"),
    ("ZADD zset 1.5 a -2 b 3 c", "ZRANGE zset 0 -1 WITHSCORES"),
    ("HSET hash a 1 b 2", "HMGET hash a b c"),
    ("XADD stream 5-1 field value", "XRANGE stream - +"),
    ("SET empty \"\"", "STRLEN empty"),
];
const PLAIN_KEYS: usize = 3000;

fn fill(client: &mut Client) {
    for (write, _) in VALUES {
        assert!(!matches!(client.cmd(write), Value::Error(_)), "{write}");
    }
    for number in 0..PLAIN_KEYS {
        client.call(&["SET", &format!("plain:{number}"), &"x".repeat(number % 300)]);
    }
    client.cmd("SELECT 3");
    client.cmd("SET elsewhere 1");
    client.cmd("SELECT 0");
}

fn shown(client: &mut Client) -> Vec<Value> {
    let mut values: Vec<Value> = VALUES.iter().map(|(_, show)| client.cmd(show)).collect();
    values.push(client.cmd("DBSIZE"));
    values.push(client.cmd("STRLEN plain:2999"));
    client.cmd("SELECT 3");
    values.push(client.cmd("GET elsewhere"));
    client.cmd("SELECT 0");
    values
}

fn on_files_of(launch: Launch, dir: &Path) -> Server {
    launch.setting("dir", &dir.display().to_string()).start()
}

/// A file that `writer` saves is loaded by `reader`, with all keys.
fn moves(writer: Launch, reader: Launch) {
    let mut from = writer.start();
    let mut client = from.client();
    fill(&mut client);
    assert_eq!(client.text("SAVE"), "OK");
    let before = shown(&mut client);
    from.stop();
    let to = on_files_of(reader, from.dir());
    assert_eq!(shown(&mut to.client()), before);
}

#[test]
fn any_number_of_shards_loads_what_any_number_has_saved() {
    for (saving, loading) in [(1, 4), (4, 3), (3, 1)] {
        moves(Launch::torc(saving), Launch::torc(loading));
    }
}

#[test]
fn files_of_the_reference_are_loaded() {
    let Some(kind) = reference_or_skip("files of the reference") else { return };
    moves(Launch::of(kind), Launch::torc(2));
}

#[test]
fn files_move_between_valkey_and_torc() {
    let Some(kind) = valkey() else {
        println!("skipped: no VALKEY_SERVER to exchange files with");
        return;
    };
    moves(Launch::of(kind.clone()), Launch::torc(2));
    moves(Launch::torc(2), Launch::of(kind));
}

#[test]
fn reload_keeps_everything() {
    let server = Server::torc(4);
    let mut client = server.client();
    fill(&mut client);
    let before = (shown(&mut client), client.text("DEBUG DIGEST"));
    assert_eq!(client.text("DEBUG RELOAD"), "OK");
    assert_eq!((shown(&mut client), client.text("DEBUG DIGEST")), before);
    client.cmd("SET int 1");
    client.cmd("SET new 1");
    assert_eq!(client.text("DEBUG RELOAD NOSAVE MERGE"), "OK");
    assert_eq!((client.text("GET int"), client.text("GET new")), ("12345".into(), "1".into()));
    assert_eq!(client.text("DEBUG RELOAD NOSAVE"), "OK");
    assert_eq!((shown(&mut client), client.text("DEBUG DIGEST")), before);
}

const CUTS: usize = 40;
const COUNTERS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const CUT_ACCOUNTS: u64 = 48;

/// Transfers over shards, until the end.
fn transfer(mut client: Client, seed: u64, is_over: &AtomicBool) {
    let mut rng = Random(seed);
    while !is_over.load(Ordering::Relaxed) {
        let (from, to, amount) = (rng.below(CUT_ACCOUNTS), rng.below(CUT_ACCOUNTS), 1 + rng.below(9));
        client.cmd("MULTI");
        client.cmd(&format!("DECRBY account:{from} {amount}"));
        client.cmd(&format!("INCRBY account:{to} {amount}"));
        assert!(matches!(client.cmd("EXEC"), Value::Array(_)));
    }
}

/// Writes a number to one of its keys after the other, each when the write before was acknowledged, until the end.
fn count_along(mut client: Client, steps: &str, is_over: &AtomicBool) {
    for number in 1.. {
        for key in 0..CUT_ACCOUNTS {
            client.cmd(&format!("SET {steps}:{key} {number}"));
            if is_over.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// Clients write over all shards before, during and after the cuts of many small snapshots. In each file every transfer
/// is whole, and no write is there without those that were acknowledged before it was sent.
#[test]
fn snapshots_are_cut_at_one_moment_on_all_shards() {
    let server = Server::torc(4);
    let mut client = server.client();
    for account in 0..CUT_ACCOUNTS {
        client.cmd(&format!("SET account:{account} 1000"));
        for steps in COUNTERS {
            client.cmd(&format!("SET {steps}:{account} 0"));
        }
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 1..=4 {
            let (client, is_over) = (server.client(), &is_over);
            scope.spawn(move || transfer(client, seed, is_over));
        }
        for steps in COUNTERS {
            let (client, is_over) = (server.client(), &is_over);
            scope.spawn(move || count_along(client, steps, is_over));
        }
        for cut in 0..CUTS {
            let before = client.text("GET a:0");
            let moves_on = wait_until(PATIENCE, || client.text("GET a:0") != before);
            assert!(moves_on, "nobody writes between the cuts");
            assert_eq!(client.text("BGSAVE"), "Background saving started");
            let field = |client: &mut Client, name| client.info("persistence", name).expect("INFO has it");
            let ended = wait_until(PATIENCE, || field(&mut client, "rdb_bgsave_in_progress") == "0");
            assert!(ended && field(&mut client, "rdb_last_bgsave_status") == "ok", "{}", server.log());
            let dir = server.dir();
            std::fs::rename(dir.join("dump.rdb"), dir.join(format!("cut-{cut}"))).expect("a snapshot");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let reader = Server::torc(2);
    let mut client = reader.client();
    for cut in 0..CUTS {
        let path = server.dir().join(format!("cut-{cut}"));
        std::fs::rename(path, reader.dir().join("dump.rdb")).expect("a snapshot");
        assert_eq!(client.text("DEBUG RELOAD NOSAVE"), "OK");
        let mut numbers = |name: &str| -> Vec<i64> {
            (0..CUT_ACCOUNTS).map(|key| number(client.text(&format!("GET {name}:{key}")))).collect()
        };
        let accounts = numbers("account");
        assert_eq!(accounts.iter().sum::<i64>(), 1000 * CUT_ACCOUNTS as i64, "cut {cut}: {accounts:?}");
        for steps in COUNTERS {
            let steps = numbers(steps);
            // Each key is as far as the one before it, or one behind, where the writer was just then.
            let is_ordered = steps.is_sorted_by(|before, after| before >= after);
            assert!(is_ordered && steps[0] - steps[steps.len() - 1] <= 1, "cut {cut}: {steps:?}");
        }
    }
}

/// Writes go on while snapshots are taken: each file has what was there before, and nothing of later.
#[test]
fn a_background_save_has_nothing_of_later() {
    const ACCOUNTS: usize = 400;
    let mut server = Launch::torc(4).setting("rdbcompression", "no").start();
    let mut client = server.client();
    client.cmd("DEBUG POPULATE 50000");
    for account in 0..ACCOUNTS {
        client.cmd(&format!("SET account:{account} 1000"));
    }
    assert_eq!(client.text("BGSAVE"), "Background saving started");
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut transfers = 0;
    while client.info("persistence", "rdb_bgsave_in_progress").as_deref() == Some("1") {
        assert!(Instant::now() < deadline, "the snapshot does not end");
        for _ in 0..20 {
            let (from, to) = (transfers * 7 % ACCOUNTS, (transfers * 13 + 1) % ACCOUNTS);
            client.cmd("MULTI");
            client.cmd(&format!("DECRBY account:{from} 5"));
            client.cmd(&format!("INCRBY account:{to} 5"));
            client.cmd("EXEC");
            transfers += 1;
        }
        client.cmd(&format!("DEL key:{transfers}"));
        client.cmd(&format!("SET later:{transfers} 1"));
    }
    assert_eq!(client.info("persistence", "rdb_last_bgsave_status").as_deref(), Some("ok"));
    server.kill9();
    let loaded = on_files_of(Launch::torc(2), server.dir());
    let mut client = loaded.client();
    let sum: i64 =
        (0..ACCOUNTS).map(|account| client.text(&format!("GET account:{account}"))).map(number).sum();
    assert_eq!(sum, 1000 * ACCOUNTS as i64);
    assert_eq!(client.int("DBSIZE"), 50_000 + ACCOUNTS as i64, "nothing of later, nothing lost");
}

const HUGE_ELEMENTS: usize = 8_000;

/// Values that are saved slice by slice, of all types, and a long string.
fn fill_huge(client: &mut Client) {
    let call = |client: &mut Client, words: &[String]| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert!(!matches!(client.call(&words), Value::Error(_)), "{}", words[0]);
    };
    for start in (0..HUGE_ELEMENTS).step_by(500) {
        let numbers = start..start + 500;
        let name = |number: usize| format!("element:{number}");
        let key = |command: &str, key: &str| vec![command.to_owned(), key.to_owned()];
        let with = |mut words: Vec<String>, more: &mut dyn Iterator<Item = String>| {
            words.extend(more);
            words
        };
        let pairs = |number: usize| [name(number), "x".repeat(number % 50)];
        call(client, &with(key("HSET", "{h}hash"), &mut numbers.clone().flat_map(pairs)));
        let scores = |number: usize| [(number % 700).to_string(), name(number)];
        call(client, &with(key("ZADD", "{h}zset"), &mut numbers.clone().flat_map(scores)));
        call(client, &with(key("RPUSH", "{h}list"), &mut numbers.clone().map(name)));
        call(client, &with(key("SADD", "{h}set"), &mut numbers.clone().map(name)));
        for number in numbers.step_by(10) {
            client.call(&["XADD", "other-stream", &format!("{}-1", number + 1), "name", &name(number)]);
        }
    }
    client.cmd("XGROUP CREATE other-stream group 0");
    client.cmd("XREADGROUP GROUP group me COUNT 300 STREAMS other-stream >");
    client.call(&["SET", "long", &"long text ".repeat(10_000)]);
}

/// All elements, as every server shows them.
fn show_huge(client: &mut Client) -> Vec<Value> {
    let mut shown = vec![client.cmd("HLEN {h}hash")];
    for start in (0..HUGE_ELEMENTS).step_by(500) {
        let names =
            (start..start + 500).map(|number| format!("element:{number}")).collect::<Vec<_>>().join(" ");
        shown.push(client.cmd(&format!("HMGET {{h}}hash {names}")));
    }
    for command in [
        "ZRANGE {h}zset 0 -1 WITHSCORES",
        "LRANGE {h}list 0 -1",
        "SORT {h}set ALPHA",
        "XRANGE other-stream - +",
        "XPENDING other-stream group",
        "GET long",
        "DBSIZE",
    ] {
        shown.push(client.cmd(command));
    }
    shown
}

/// One round of changes to all of them; `round` counts from 0.
fn change_huge(client: &mut Client, round: usize) {
    for number in (round * 37..).step_by(1_111).take(5) {
        let number = number % HUGE_ELEMENTS;
        client.cmd(&format!("HSET {{h}}hash element:{number} changed new:{round}:{number} 1"));
        client.cmd(&format!("HDEL {{h}}hash element:{}", number + 1));
        client.cmd(&format!("ZADD {{h}}zset 5000 element:{number} 7 new:{round}:{number}"));
        client.cmd(&format!("ZREM {{h}}zset element:{}", number + 2));
        client.cmd(&format!("LSET {{h}}list {} changed", number / 2));
        client.cmd("RPOPLPUSH {h}list {h}list");
        client.cmd(&format!("SMOVE {{h}}set {{h}}moved element:{number}"));
        client.cmd(&format!("XDEL other-stream {}-1", number + 1));
        client.cmd(&format!("XADD other-stream * name new:{number}"));
    }
    client.cmd("XTRIM other-stream MAXLEN 750");
    client.call(&["APPEND", "long", "more"]);
    match round {
        3 => client.cmd("RENAME {h}hash {h}renamed"),
        5 => client.cmd("DEL {h}zset"),
        7 => client.cmd("SET {h}set string"),
        // To another shard, and an EXEC over several.
        9 => client.cmd("RENAME {h}list other-list"),
        _ => Value::Null,
    };
}

/// Changes huge values, again and again, as long as this field of INFO says that they are being saved; returns how often.
fn change_huge_while(client: &mut Client, field: &str) -> usize {
    let (deadline, mut rounds) = (Instant::now() + Duration::from_secs(60), 0);
    while client.info("persistence", field).as_deref() == Some("1") {
        assert!(Instant::now() < deadline, "{field} stays");
        change_huge(client, rounds);
        rounds += 1;
    }
    assert!(rounds > 3, "{rounds} rounds of changes");
    rounds
}

/// Huge values change, move and go while they are saved: the file has them as they were.
#[test]
fn huge_values_are_saved_as_they_were_while_they_change() {
    for shards in [1, 4] {
        // Slices come slowly, so that there is something to change between them.
        let mut server = Launch::torc(shards).setting("rdb-key-save-delay", "20000").start();
        let mut client = server.client();
        fill_huge(&mut client);
        let (before, shown) = (client.text("DEBUG DIGEST"), show_huge(&mut client));
        assert_eq!(client.text("BGSAVE"), "Background saving started");
        let rounds = change_huge_while(&mut client, "rdb_bgsave_in_progress");
        assert_eq!(client.info("persistence", "rdb_last_bgsave_status").as_deref(), Some("ok"));
        server.kill9();
        let loaded = on_files_of(Launch::torc(2), server.dir());
        assert_eq!(loaded.client().text("DEBUG DIGEST"), before, "after {rounds} rounds");
        drop(loaded);
        if let Some(kind) = valkey() {
            let loaded = on_files_of(Launch::of(kind), server.dir());
            let mut client = loaded.client();
            assert!(show_huge(&mut client) == shown, "the reference reads something else");
        }
    }
}

/// The same for the base of a log: with what was logged behind its cut it is what there was in the end.
#[test]
fn a_base_with_huge_values_and_its_log_are_the_last_state() {
    let launch = || Launch::torc(2).setting("appendonly", "yes").setting("rdb-key-save-delay", "20000");
    let mut server = launch().start();
    let mut client = server.client();
    fill_huge(&mut client);
    assert!(client.text("BGREWRITEAOF").starts_with("Background append only file rewriting"));
    let rounds = change_huge_while(&mut client, "aof_rewrite_in_progress");
    assert_eq!(client.info("persistence", "aof_last_bgrewrite_status").as_deref(), Some("ok"));
    let last = client.text("DEBUG DIGEST");
    client.cmd("CONFIG SET appendfsync always");
    client.cmd("SET synced 1");
    client.cmd("DEL synced");
    server.kill9();
    let loaded = on_files_of(launch(), server.dir());
    assert_eq!(loaded.client().text("DEBUG DIGEST"), last, "after {rounds} rounds");
}

fn number(text: String) -> i64 {
    text.parse().expect("a number")
}

#[test]
fn the_server_saves_at_its_end_if_it_has_save_points() {
    let mut server = Launch::torc(2).setting("save", "3600 1").setting("rdb-version", "10").start();
    server.client().cmd("SET key value");
    assert!(server.stop().success());
    assert!(std::fs::read(server.dir().join("dump.rdb")).expect("a snapshot").starts_with(b"REDIS0010"));
    let again = on_files_of(Launch::torc(1), server.dir());
    assert_eq!(again.client().text("GET key"), "value");
    let mut server = Launch::torc(2).start();
    server.client().cmd("SET key value");
    assert!(server.stop().success());
    assert!(!server.dir().join("dump.rdb").exists(), "no save points, no file");
}

#[test]
fn writes_are_refused_while_snapshots_fail() {
    let server = Launch::torc(2).setting("dbfilename", "taken").setting("save", "3600 1").start();
    let mut client = server.client();
    let taken = server.dir().join("taken");
    std::fs::create_dir(&taken).expect("a folder where the file should be");
    std::fs::write(taken.join("file"), "").expect("a folder that is not empty");
    client.cmd("SET key value");
    client.cmd("BGSAVE");
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        match client.cmd("SET key other") {
            Value::Error(text) => break assert!(text.starts_with("MISCONF Redis is configured"), "{text}"),
            _ => assert!(Instant::now() < deadline, "writes are not refused"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(client.info("persistence", "rdb_last_bgsave_status").as_deref(), Some("err"));
    assert!(matches!(client.cmd("GET key"), Value::Bulk(_)));
    std::fs::remove_dir_all(&taken).expect("the folder was made here");
    assert_eq!(client.text("SAVE"), "OK");
    while matches!(client.cmd("SET key other"), Value::Error(_)) {
        assert!(Instant::now() < deadline, "writes are refused for ever");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_corrupt_file_stops_the_start() {
    let mut server = Launch::torc(2).start();
    let mut client = server.client();
    fill(&mut client);
    client.cmd("SAVE");
    server.stop();
    let path = server.dir().join("dump.rdb");
    let file = std::fs::read(&path).expect("a snapshot");
    std::fs::write(&path, &file[..file.len() / 2]).expect("the folder is writable");
    let dir = server.dir().display().to_string();
    let (status, log) = Launch::torc(2).setting("dir", &dir).run_to_end();
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("dump.rdb, offset ") && log.contains("unexpected end"), "{log}");
}

/// Whichever of its threads is the first one to end.
#[test]
fn a_start_that_is_refused_always_says_so() {
    /// More at once than there are cores, so that threads wait for one another.
    const AT_ONCE: usize = 8;
    const STARTS: usize = 50;
    let folder = scratch_dir("refused");
    std::fs::write(folder.join("dump.rdb"), "REDIS0011 and no more").expect("the folder is writable");
    let launch = Launch::torc(1).setting("dir", &folder.display().to_string());
    let start_often = || {
        for _ in 0..STARTS {
            let (status, log) = launch.run_to_end();
            assert!(status.code() == Some(1) && log.contains("dump.rdb, offset "), "{status}: {log}");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(start_often);
        }
    });
}

/// `rdbchecksum no` leaves the place of the checksum empty, and asks for none; `rdbcompression` makes files shorter.
#[test]
fn checksums_and_compression_are_as_set() {
    let text = "a long text ".repeat(5_000);
    let saved = |sums: &str, compresses: &str| {
        let server =
            Launch::torc(2).setting("rdbchecksum", sums).setting("rdbcompression", compresses).start();
        let mut client = server.client();
        assert!(!client.call(&["SET", "text", &text]).is_error());
        assert_eq!(client.text("SAVE"), "OK");
        std::fs::read(server.dir().join("dump.rdb")).expect("a snapshot")
    };
    // What a server with this `rdbchecksum` makes of a file; `None`: it is refused.
    let check = |file: &[u8], sums: &str, expected: Option<&str>| {
        let folder = Server::torc(1);
        let dir = folder.dir();
        std::fs::write(dir.join("dump.rdb"), file).expect("the folder is writable");
        let launch = Launch::torc(2).setting("rdbchecksum", sums).setting("dir", &dir.display().to_string());
        match expected {
            Some(text) => assert!(launch.start().client().text("GET text") == text),
            None => {
                let (exit, log) = launch.run_to_end();
                assert_eq!(exit.code(), Some(1));
                assert!(log.contains("corrupt: the checksum is wrong"), "{log}");
            }
        }
    };
    let damaged = |file: &[u8]| {
        let at = file.windows(6).position(|bytes| bytes == b"a long").expect("the text is not compressed");
        let mut damaged = file.to_vec();
        damaged[at + 2..at + 6].copy_from_slice(b"LONG");
        damaged
    };
    let (with_sum, without) = (saved("yes", "no"), saved("no", "no"));
    assert_ne!(with_sum[with_sum.len() - 8..], [0; 8]);
    assert_eq!(without[without.len() - 8..], [0; 8]);
    let changed = text.replacen("long", "LONG", 1);
    for sums in ["yes", "no"] {
        check(&with_sum, sums, Some(&text));
        check(&without, sums, Some(&text));
        check(&damaged(&without), sums, Some(&changed));
        check(&damaged(&with_sum), sums, (sums == "no").then_some(&changed));
    }
    let compressed = saved("yes", "yes");
    assert!(with_sum.len() > text.len() && compressed.len() < text.len() / 10, "{}", compressed.len());
    check(&compressed, "yes", Some(&text));
}

/// Encrypted snapshots: read with their key, also when another one has taken its place, and with no other.
#[test]
fn encrypted_snapshots_need_their_key() {
    let mut server = Launch::torc(2).start();
    let dir = server.dir().to_owned();
    server.stop();
    let key_file = |name: &str, digits: &str| {
        let path = dir.join(name);
        std::fs::write(&path, digits.repeat(32)).expect("the folder is writable");
        path.display().to_string()
    };
    let (first, second) = (key_file("first.key", "a1"), key_file("second.key", "b2"));
    let encrypted = |key: &str| {
        let launch = Launch::torc(2).setting("dir", &dir.display().to_string());
        launch.setting("encryption-enabled", "yes").setting("encryption-key-file", key)
    };
    let mut server = encrypted(&first).start();
    let mut client = server.client();
    fill(&mut client);
    let before = shown(&mut client);
    assert_eq!(client.text("SAVE"), "OK");
    assert_eq!(client.text("DEBUG RELOAD"), "OK");
    assert_eq!(shown(&mut client), before);
    server.stop();
    let file = std::fs::read(dir.join("dump.rdb")).expect("a snapshot");
    assert!(!file.windows(6).any(|bytes| bytes == b"plain:" || bytes == b"xxxxxx"));
    let (status, log) = encrypted(&second).run_to_end();
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("dump.rdb") && log.contains("it is encrypted with the master key"), "{log}");
    let mut server = encrypted(&second)
        .setting("encryption-algorithm", "chacha20-poly1305")
        .setting("encryption-old-key-files", &first)
        .start();
    let mut client = server.client();
    assert_eq!(shown(&mut client), before);
    assert_eq!(client.text("SAVE"), "OK");
    server.stop();
    let server = encrypted(&second).start();
    assert_eq!(shown(&mut server.client()), before);
}

/// Libraries of functions of a Redis are kept as they are, from file to file.
#[test]
fn functions_of_the_reference_are_kept() {
    const SOURCE: &str = "#!lua name=kept\nredis.register_function('f', function(keys, args) return 1 end)";
    let Some(kind) = reference_or_skip("functions of the reference") else { return };
    let mut reference = Launch::of(kind).start();
    let mut client = reference.client();
    client.call(&["FUNCTION", "LOAD", SOURCE]);
    assert_eq!(client.text("SAVE"), "OK");
    reference.stop();
    let path = reference.dir().join("dump.rdb");
    for _ in 0..2 {
        let mut server = on_files_of(Launch::torc(2), reference.dir());
        std::fs::remove_file(&path).expect("it was loaded");
        assert_eq!(server.client().text("SAVE"), "OK");
        server.stop();
        let file = std::fs::read(&path).expect("a snapshot");
        assert!(file.windows(SOURCE.len()).any(|bytes| bytes == SOURCE.as_bytes()));
    }
}
