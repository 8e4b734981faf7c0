//! Replays every transcript against torc: with one shard and with four, in RESP2 and in RESP3.
//!
//! Some lie behind a setting, so their file starts a server of its own. `TRANSCRIPTS=text` narrows the run to files
//! whose name contains the text.

mod common;

use common::replay_all;
use std::collections::BTreeSet;
use torc_resp::Value;
use torc_tests::transcript::{self, Action, Protocol, Word};
use torc_tests::{Kind, Server};

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
