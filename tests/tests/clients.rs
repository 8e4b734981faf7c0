//! Real clients: redis-cli, redis-benchmark, redis-py, ioredis.
//!
//! What is not installed is skipped with a line that says so; in CI that is a failure.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use torc_tests::{Launch, Server, reference, skip_or_fail, torc_binary, workspace_root};

/// The folder into which `.ci/run` puts the client libraries.
fn client_libraries() -> PathBuf {
    std::env::var_os("TORC_CLIENTS").map_or_else(|| workspace_root().join("target/ci-clients"), PathBuf::from)
}

fn script(name: &str) -> PathBuf {
    workspace_root().join("tests/clients").join(name)
}

/// Runs a program with the server's port as its last argument; panics with its output if it fails.
#[track_caller]
fn check_succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = text_of(&output);
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}

fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

#[test]
fn redis_cli() {
    if !is_installed("redis-cli") {
        return skip_or_fail("redis-cli is not installed");
    }
    let server = Server::torc(4);
    let port = server.port().to_string();
    let cli = |args: &[&str]| check_succeeds(Command::new("redis-cli").args(["-p", &port]).args(args));
    assert_eq!(cli(&["PING"]).trim(), "PONG");
    assert_eq!(cli(&["SET", "k", "v"]).trim(), "OK");
    assert_eq!(cli(&["--no-raw", "MGET", "k", "missing"]).trim(), "1) \"v\"\n2) (nil)");
    assert_eq!(cli(&["-3", "--no-raw", "MGET", "k", "missing"]).trim(), "1) \"v\"\n2) (nil)");
    assert!(cli(&["-3", "HELLO"]).contains("redis"));
    assert_eq!(cli(&["-n", "3", "DBSIZE"]).trim(), "0");
    assert!(cli(&["--scan"]).contains('k'));
    assert!(cli(&["INFO", "server"]).contains("torc_version:"));
    assert!(cli(&["--bigkeys"]).contains("Biggest string found"));
    assert!(cli(&["COMMAND", "DOCS", "GET"]).contains("summary"));
    // Mass insertion, as its users know it.
    let mut pipe = Command::new("redis-cli")
        .args(["-p", &port, "--pipe"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("redis-cli starts");
    let mut requests = Vec::new();
    for number in 0..10_000 {
        requests.extend(torc_tests::raw::words(&format!("SET pipe:{number} {number}")));
    }
    pipe.stdin.take().expect("a pipe").write_all(&requests).expect("redis-cli reads");
    let output = pipe.wait_with_output().expect("redis-cli ends");
    assert!(text_of(&output).contains("errors: 0, replies: 10000"), "{}", text_of(&output));
    assert_eq!(server.client().int("DBSIZE"), 10_001);
}

#[test]
fn redis_benchmark() {
    if !is_installed("redis-benchmark") {
        return skip_or_fail("redis-benchmark is not installed");
    }
    let server = Server::torc(4);
    let port = server.port().to_string();
    for pipeline in ["1", "16"] {
        let text = check_succeeds(
            Command::new("redis-benchmark")
                .args(["-p", &port, "-n", "5000", "-c", "20", "-r", "1000", "-P", pipeline, "--csv"])
                .args(["-t", "ping_inline,ping_mbulk,set,get,incr,mset"]),
        );
        for test in ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"] {
            assert!(text.contains(&format!("\"{test}\"")), "{test} did not run:\n{text}");
        }
        assert!(!text.contains("Error"), "{text}");
    }
}

#[test]
fn redis_py() {
    let python = client_libraries().join("python/bin/python");
    if !python.exists() {
        return skip_or_fail("redis-py is not installed in target/ci-clients");
    }
    check_script(Command::new(python).arg(script("redis_py.py")));
}

#[test]
fn ioredis() {
    let modules = client_libraries().join("node/node_modules");
    if !modules.join("ioredis").exists() || !is_installed("node") {
        return skip_or_fail("ioredis is not installed in target/ci-clients");
    }
    check_script(Command::new("node").arg(script("ioredis.js")).env("NODE_PATH", &modules));
}

/// Runs a script against torc; and against the real server, which shows that the script is right.
fn check_script(command: &mut Command) {
    let servers = [Some(Server::torc(4)), reference().map(|kind| Launch::of(kind).start())];
    for server in servers.into_iter().flatten() {
        let mut command = clone_of(command);
        let text = check_succeeds(command.arg(server.port().to_string()));
        assert!(text.contains("all passed"), "{text}");
    }
}

fn clone_of(command: &Command) -> Command {
    let mut clone = Command::new(command.get_program());
    clone.args(command.get_args());
    clone.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    clone
}

/// What redis-cli finds out with SCAN, TYPE, MEMORY USAGE and the like.
#[test]
fn redis_cli_finds_big_keys() {
    if !is_installed("redis-cli") {
        return skip_or_fail("redis-cli is not installed");
    }
    let server = Server::torc(3);
    let mut client = server.client();
    for key in 0..50 {
        client.cmd(&format!("SET string:{key} {}", "x".repeat(key + 1)));
        client.cmd(&format!("RPUSH list:{} a b c", key % 5));
    }
    for (option, found) in [
        ("--bigkeys", ["Biggest string found '\"string:49\"' has 50 bytes", "Biggest   list found"]),
        ("--memkeys", ["Biggest string found '\"string:4", "Biggest   list found"]),
    ] {
        let port = server.port().to_string();
        let text = check_succeeds(Command::new("redis-cli").args(["-p", &port, option]));
        assert!(text.contains("Sampled 55 keys in the keyspace!"), "{text}");
        assert!(found.iter().all(|line| text.contains(line)), "{text}");
    }
}

/// What redis-cli finds out with OBJECT FREQ, which an LFU policy counts.
#[test]
fn redis_cli_finds_hot_keys() {
    if !is_installed("redis-cli") {
        return skip_or_fail("redis-cli is not installed");
    }
    let server = Server::torc(3);
    let mut client = server.client();
    client.cmd("CONFIG SET maxmemory-policy allkeys-lfu");
    (0..20).for_each(|key| _ = client.cmd(&format!("SET key:{key} x")));
    (0..200).for_each(|_| _ = client.cmd("GET key:7"));
    let port = server.port().to_string();
    let text = check_succeeds(Command::new("redis-cli").args(["-p", &port, "--hotkeys"]));
    let hottest = text.lines().find(|line| line.starts_with("hot key found")).unwrap_or_default();
    assert!(hottest.contains("key:7"), "{text}");
}

/// The view of `torc top`, of a server under a little load.
#[test]
fn torc_top_shows_the_server() {
    let server = Server::torc(2);
    let port = server.port().to_string();
    let mut client = server.client();
    client.cmd("CONFIG SET slowlog-log-slower-than 0");
    let top = Command::new(torc_binary())
        .args(["top", "-p", &port, "-i", "1", "-n", "1"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("torc is built");
    for _ in 0..200 {
        client.cmd("INCR hot");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let output = top.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    for part in ["2 shards", "ops/s", "shard    load", "incr", "hot (db 0)", "slow commands", "INCR hot"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}
