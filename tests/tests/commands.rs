//! Replays every transcript against torc: with one shard and with four, in RESP2 and in RESP3, and once with a log, from
//! which the data are read back after each file.
//!
//! Some lie behind a setting, so their file starts a server of its own. `TRANSCRIPTS=text` narrows the run to files
//! whose name contains the text.

mod common;

use common::{replay_all, replay_all_on};
use std::collections::{BTreeMap, BTreeSet};
use torc_resp::Value;
use torc_tests::transcript::{self, Action, Protocol, Word};
use torc_tests::{Client, Kind, Launch, Server};

/// Files played by one test, so that tests of a file run side by side.
fn check(shards: usize, protocol: Protocol) {
    replay_all(&Kind::Torc { shards }, protocol);
}

#[test]
fn one_shard_resp2() {
    check(1, Protocol::Resp2);
}

#[test]
fn one_shard_resp3() {
    check(1, Protocol::Resp3);
}

#[test]
fn four_shards_resp2() {
    check(4, Protocol::Resp2);
}

#[test]
fn four_shards_resp3() {
    check(4, Protocol::Resp3);
}

/// Whatever a transcript has done, its log repeats.
#[test]
fn four_shards_read_back_from_the_log() {
    let kind = Kind::Torc { shards: 4 };
    // Without an automatic rewrite it is all in the log.
    let launch = Launch::of(kind.clone()).setting("appendonly", "yes").setting("appendfsync", "no");
    let mut keys = 0;
    replay_all_on(&launch.setting("auto-aof-rewrite-percentage", "0"), &kind, Protocol::Resp2, |server| {
        let mut client = server.client();
        // Where a file has a setting for itself, there may be no log, or data that nobody sees without a password.
        let has_log = |value: Value| value.to_string().contains("aof_enabled:1");
        if client.cmd("DEBUG DIGEST").is_error() || !has_log(client.cmd("INFO persistence")) {
            return None;
        }
        let before = data(&mut client);
        let loaded = client.cmd("DEBUG LOADAOF");
        if loaded.is_error() {
            return Some(format!("DEBUG LOADAOF: {loaded}"));
        }
        keys += before.len();
        let after = data(&mut client);
        let differs = |key: &&(String, String)| before.get(*key) != after.get(*key);
        let all: BTreeSet<&(String, String)> = before.keys().chain(after.keys()).collect();
        let other: Vec<&(String, String)> = all.into_iter().filter(differs).collect();
        (!other.is_empty()).then(|| format!("the log gives other values of these (database, key): {other:?}"))
    });
    println!("{keys} keys were read back");
    let is_whole = std::env::var_os("TRANSCRIPTS").is_none();
    assert!(!is_whole || keys > 200, "only {keys} keys were read back");
}

/// A digest of each key, by database and key; not of keys that are about to expire.
fn data(client: &mut Client) -> BTreeMap<(String, String), String> {
    const SOON_MS: i64 = 2_000;
    let mut data = BTreeMap::new();
    let keyspace = client.text("INFO keyspace");
    for db in keyspace.lines().filter_map(|line| line.strip_prefix("db")?.split(':').next()) {
        client.cmd(&format!("SELECT {db}"));
        let keys = client.cmd("KEYS *");
        for key in keys.elements().expect("KEYS answers an array").iter().filter_map(Value::as_bytes) {
            let left_ms = client.call(&[b"PTTL", key]).as_int().expect("PTTL answers an integer");
            if left_ms == -1 || left_ms > SOON_MS {
                let digest = client.call(&[&b"DEBUG"[..], b"DIGEST-VALUE", key]).to_string();
                data.insert((db.to_owned(), key.escape_ascii().to_string()), digest);
            }
        }
    }
    data
}

/// A command that no transcript calls is a command whose replies nobody compares.
#[test]
fn every_command_is_in_a_transcript() {
    let called = called_commands();
    let server = Server::torc(1);
    let mut client = server.client();
    let mut missing = Vec::new();
    for name in names(&client.cmd("COMMAND LIST")) {
        let info = client.call(&["COMMAND", "INFO", &name]);
        let subcommands = info.elements().and_then(|infos| infos[0].elements()).map(|info| info[9].clone());
        let subcommands: Vec<Value> =
            subcommands.and_then(|list| list.elements().map(<[Value]>::to_vec)).unwrap_or_default();
        let mut wanted: Vec<String> =
            subcommands.iter().filter_map(|info| name_of(info.elements()?.first()?)).collect();
        if wanted.is_empty() {
            wanted.push(name);
        }
        missing.extend(wanted.into_iter().filter(|name| !called.contains(name)));
    }
    assert!(missing.is_empty(), "no transcript calls: {}", missing.join(", "));
}

/// `get`, and `config|get` for commands that have subcommands.
fn called_commands() -> BTreeSet<String> {
    let mut called = BTreeSet::new();
    for transcript in transcript::load_all() {
        for step in &transcript.steps {
            let Action::Send { words, .. } = &step.action else { continue };
            let mut names = words.iter().map(|word| match word {
                Word::Bytes(bytes) => String::from_utf8_lossy(bytes).to_lowercase(),
                Word::Variable(_) => String::new(),
            });
            let command = names.next().unwrap_or_default();
            let subcommand = names.next().unwrap_or_default();
            called.insert(format!("{command}|{subcommand}"));
            called.insert(command);
        }
    }
    called
}

fn names(list: &Value) -> Vec<String> {
    let mut names: Vec<String> = list.elements().unwrap_or_default().iter().filter_map(name_of).collect();
    assert!(!names.is_empty(), "COMMAND LIST answers {list}");
    names.sort();
    names
}

fn name_of(value: &Value) -> Option<String> {
    value.as_bytes().map(|name| String::from_utf8_lossy(name).to_lowercase())
}
