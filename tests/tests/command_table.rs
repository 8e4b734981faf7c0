//! What COMMAND tells about each command, compared with the real server.
//!
//! Goal: a client that routes by COMMAND INFO or finds keys with COMMAND GETKEYS does with torc exactly what it does with
//! Redis. Every command both know is compared; each difference that stays has its reason below. `VALKEY_SERVER` names a
//! Valkey to compare with besides the reference.

use std::collections::{BTreeMap, BTreeSet};

use torc_resp::Value;
use torc_tests::{Client, Kind, Launch, Server, Version, reference_or_skip, valkey};

const V7_2: Version = Version { major: 7, minor: 2 };
const V8_1: Version = Version { major: 8, minor: 1 };

/// What may differ: command (or `*`), field, only for references older than this, and why.
const ALLOWED: &[(&str, &str, Option<Version>, &str)] = &[
    ("exec", "flags", None, "Valkey 8.1 renamed skip_slowlog"),
    ("client|setname", "tips", Some(V7_2), "given since 7.2"),
    ("config|resetstat", "tips", Some(V7_2), "given since 7.2"),
    ("config|rewrite", "tips", Some(V7_2), "given since 7.2"),
    ("latency|reset", "tips", Some(V7_2), "agg_sum since 7.2: it answers a number"),
    ("msetnx", "tips", Some(V7_2), "no longer promised to be split over shards since 7.2"),
    ("randomkey", "tips", Some(V7_2), "response policy since 7.2"),
    ("sinterstore", "key specs", Some(V7_2), "told to overwrite its destination since 7.2"),
    ("scan", "tips", Some(V7_2), "response policy since 7.2"),
    ("command|getkeys", "arity", Some(V7_2), "commands of one word since 7.2"),
    ("command|getkeysandflags", "arity", Some(V7_2), "commands of one word since 7.2"),
    ("memory|malloc-stats", "flags", Some(V7_2), "allowed while loading since 7.2"),
    ("memory|purge", "flags", Some(V7_2), "allowed while loading since 7.2"),
    ("blpop", "flags", Some(V7_2), "allowed in scripts since 7.2"),
    ("brpop", "flags", Some(V7_2), "allowed in scripts since 7.2"),
    ("blmove", "flags", Some(V7_2), "allowed in scripts since 7.2"),
    ("brpoplpush", "flags", Some(V7_2), "allowed in scripts since 7.2"),
    ("bzpopmin", "flags", Some(V7_2), "allowed in scripts since 7.2"),
    ("bzpopmax", "flags", Some(V7_2), "allowed in scripts since 7.2"),
    ("zrank", "arity", Some(V7_2), "WITHSCORE since 7.2"),
    ("zrevrank", "arity", Some(V7_2), "WITHSCORE since 7.2"),
    ("multi", "flags", Some(V8_1), "refused while queueing since Valkey 8.1"),
    ("watch", "flags", Some(V8_1), "refused while queueing since Valkey 8.1"),
    ("wait", "flags", Some(V8_1), "blocking by name since Valkey 8.1"),
    ("wait", "categories", Some(V8_1), "blocking by name since Valkey 8.1"),
];

/// Requests whose keys are compared, with flags.
const REQUESTS: &[&str] = &[
    "GET k",
    "SET k v",
    "SET k v EX 10 GET",
    "SET k v KEEPTTL",
    "GETEX k EX 10",
    "MGET a b c",
    "MSET a 1 b 2",
    "MSETNX a 1 b 2",
    "APPEND k v",
    "LCS a b IDX",
    "INCRBYFLOAT k 1",
    "SETRANGE k 0 v",
    "BITOP AND d a b",
    "BITFIELD k GET u8 0",
    "BITFIELD k OVERFLOW SAT INCRBY u8 0 1",
    "BITFIELD_RO k GET u8 0",
    "BITCOUNT k 0 -1",
    "DEL a b c",
    "UNLINK a",
    "EXISTS a b",
    "TOUCH a b",
    "EXPIRE k 10",
    "PERSIST k",
    "TTL k",
    "TYPE k",
    "RENAME a b",
    "RENAMENX a b",
    "COPY a b DB 1",
    "MOVE k 1",
    "OBJECT ENCODING k",
    "MEMORY USAGE k",
    "XADD k * a 1",
    "XREAD COUNT 1 STREAMS a b 0 0",
    "XREADGROUP GROUP g c NOACK STREAMS a b > >",
    "XREADGROUP GROUP g STREAMS a > >",
    "XGROUP CREATE k g 0",
    "XINFO CONSUMERS k g",
    "XAUTOCLAIM k g c 0 0",
    "WATCH a b",
    "SADD k m",
    "SMOVE a b m",
    "SUNION a b c",
    "SDIFFSTORE d a b",
    "SINTERCARD 2 a b LIMIT 1",
    "SINTERCARD 3 a b",
    "SORT k",
    "SORT k BY w_* GET # GET o_*->f LIMIT 0 1 STORE d",
    "SORT k STORE a STORE b",
    "SORT k LIMIT STORE 1 GET STORE BY STORE",
    "SORT_RO k BY w_*",
    "ZADD k 1 a",
    "ZRANGESTORE d s 0 -1",
    "ZMPOP 2 a b MIN",
    "ZUNION 2 a b WEIGHTS 1 2",
    "ZINTERSTORE d 2 a b",
    "ZDIFFSTORE d 1 a",
    "ZINTERCARD 2 a b LIMIT 1",
    "GEOADD k 1 1 a",
    "GEOSEARCHSTORE d s FROMLONLAT 1 1 BYRADIUS 1 m",
    "GEORADIUS k 1 1 1 m",
    "GEORADIUS k 1 1 1 m COUNT 1 STORE d",
    "GEORADIUS k 1 1 1 m STORE d STOREDIST e",
    "GEORADIUSBYMEMBER k m 1 m STOREDIST d",
    // Without keys, or wrong.
    "ZUNION 0 a",
    "ZUNIONSTORE d 3 a",
    "PUBLISH c m",
    "SPUBLISH c m",
    "SSUBSCRIBE c",
    "SUBSCRIBE c",
    "CONFIG GET x",
    "SCAN 0",
    "KEYS *",
    "OBJECT NONSENSE k",
    "NONSENSE k",
    "SET k",
    "GET k more",
];

#[test]
fn info_and_keys_agree_with_the_reference() {
    if let Some(kind) = reference_or_skip("COMMAND INFO against the reference") {
        compare(kind);
    }
}

#[test]
fn info_and_keys_agree_with_valkey() {
    if let Some(kind) = valkey() {
        compare(kind);
    }
}

fn compare(kind: Kind) {
    let Kind::Reference { version, .. } = kind else { unreachable!("a reference is no torc") };
    let (own, other) = (Server::torc(4), Launch::of(kind).start());
    let (mut own, mut other) = (own.client(), other.client());
    let mut differences = Vec::new();
    let names = own.cmd("COMMAND LIST");
    let names: Vec<String> =
        names.elements().expect("a list").iter().filter_map(|name| text(name).map(str::to_owned)).collect();
    let mut compared = 0;
    for name in &names {
        let (Some(mine), Some(theirs)) = (facts(&mut own, name), facts(&mut other, name)) else { continue };
        compared += 1;
        for (field, value) in &mine {
            if value != &theirs[field] && !is_allowed(name, field, version) {
                differences.push(format!("{name} {field}: {value} and not {}", theirs[field]));
            }
        }
    }
    for request in REQUESTS {
        for subcommand in ["GETKEYS", "GETKEYSANDFLAGS"] {
            let line = format!("COMMAND {subcommand} {request}");
            let (mine, theirs) = (canonical(&own.cmd(&line)), canonical(&other.cmd(&line)));
            if mine != theirs && !(version < V7_2 && request.split(' ').count() < 2) {
                differences.push(format!("{line}: {mine} and not {theirs}"));
            }
        }
    }
    assert!(compared > 100, "only {compared} commands in common");
    assert!(differences.is_empty(), "against {version:?}:\n{}", differences.join("\n"));
}

fn is_allowed(name: &str, field: &str, version: Version) -> bool {
    ALLOWED.iter().any(|&(allowed, of, before, _)| {
        allowed == name && of == field && before.is_none_or(|before| version < before)
    })
}

/// Fields of COMMAND INFO in a form in which order does not matter.
fn facts(client: &mut Client, name: &str) -> Option<BTreeMap<&'static str, String>> {
    let reply = client.call(&["COMMAND", "INFO", name]);
    let entry = reply.elements()?.first()?.elements()?;
    let range: Vec<String> = entry[3..6].iter().map(canonical).collect();
    Some(BTreeMap::from([
        ("arity", canonical(&entry[1])),
        ("flags", unordered(&entry[2])),
        ("range", range.join(" ")),
        ("categories", unordered(&entry[6])),
        ("tips", unordered(&entry[7])),
        ("key specs", unordered(&entry[8])),
    ]))
}

fn text(value: &Value) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()?).ok()
}

fn unordered(value: &Value) -> String {
    let elements: BTreeSet<String> = value.elements().unwrap_or_default().iter().map(canonical).collect();
    elements.into_iter().collect::<Vec<String>>().join(", ")
}

/// A value as text; statuses (which are flags here) in order.
fn canonical(value: &Value) -> String {
    match value.elements() {
        Some(elements) => {
            let mut parts: Vec<String> = elements.iter().map(canonical).collect();
            if elements.iter().all(|element| matches!(element, Value::Simple(_))) {
                parts.sort_unstable();
            }
            format!("[{}]", parts.join(" "))
        }
        None => value.to_string(),
    }
}
