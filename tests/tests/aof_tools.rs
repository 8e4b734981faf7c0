//! `torc aof check` and `torc aof dump` on logs that the server wrote, through a rewrite, plain and encrypted; and the dump in
//! a real server.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use torc_resp::Value;
use torc_tests::{Client, Launch, Server, reference_or_skip, torc_binary};

/// One key of every type, and what shows its value.
const VALUES: &[(&str, &str)] = &[
    ("SET string value", "GET string"),
    ("SET expires value PXAT 4102444800000", "PEXPIRETIME expires"),
    ("INCRBYFLOAT float 1.5", "GET float"),
    ("RPUSH list a b c 1 2 3", "LRANGE list 0 -1"),
    ("SADD words a b c", "SMISMEMBER words a b c d"),
    ("ZADD zset 1.5 a -2 b 3 c", "ZRANGE zset 0 -1 WITHSCORES"),
    ("HSET hash a 1 b 2", "HMGET hash a b c"),
    ("XADD stream 5-1 field value", "XRANGE stream - +"),
    ("XGROUP CREATE stream group 0", "XINFO GROUPS stream"),
    ("XREADGROUP GROUP group consumer STREAMS stream >", "XPENDING stream group"),
    ("MSET {a}1 1 b 2 c 3 d 4 e 5", "MGET {a}1 b c d e"),
    ("LPOP list", "LLEN list"),
];

fn write(client: &mut Client) {
    for (write, _) in VALUES {
        let reply = client.cmd(write);
        assert!(!reply.is_error(), "{write}: {reply:?}");
    }
    client.cmd("SELECT 3");
    client.cmd("SET elsewhere 1");
    client.cmd("SELECT 0");
}

fn shown(client: &mut Client) -> Vec<Value> {
    let mut values: Vec<Value> = VALUES.iter().map(|(_, show)| client.cmd(show)).collect();
    values.push(client.cmd("DBSIZE"));
    client.cmd("SELECT 3");
    values.push(client.cmd("GET elsewhere"));
    client.cmd("SELECT 0");
    values
}

fn rewrite(client: &mut Client) {
    let began = client.cmd("BGREWRITEAOF");
    assert!(!began.is_error(), "{began:?}");
    let deadline = Instant::now() + Duration::from_secs(30);
    while !client.text("INFO persistence").contains("aof_rewrite_in_progress:0") {
        assert!(Instant::now() < deadline, "the rewrite does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn tool(name: &str, dir: &Path, options: &[&str]) -> Output {
    let dir = dir.join("appendonlydir");
    let mut command = Command::new(torc_binary());
    command.args(["aof", name]).arg(dir).args(options).output().expect("the tool runs")
}

/// Sends a dump to a server as `redis-cli --pipe` does.
fn pipe(dump: &[u8], target: &Server) {
    let mut cli = Command::new("redis-cli");
    cli.args(["-p", &target.port().to_string(), "--pipe"]).stdin(std::process::Stdio::piped());
    let mut cli = cli.stdout(std::process::Stdio::piped()).spawn().expect("redis-cli runs");
    std::io::Write::write_all(&mut cli.stdin.take().expect("a pipe"), dump).expect("it reads");
    let output = cli.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("errors: 0"), "{text}");
}

fn is_checked_and_dumped(launch: impl Fn() -> Launch, options: &[&str]) {
    let mut server = launch().start();
    let dir = server.dir().to_owned();
    let mut client = server.client();
    client.cmd("SET string before");
    client.cmd("SET gone 1");
    rewrite(&mut client);
    write(&mut client);
    client.cmd("DEL gone");
    rewrite(&mut client);
    client.cmd("SET behind 1");
    client.cmd("XADD stream 5-2 field value");
    let before = shown(&mut client);
    server.stop();
    let check = tool("check", &dir, options);
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert_eq!(check.status.code(), Some(0), "{text}");
    assert!(text.contains("base") && text.ends_with("the log is sound\n"), "{text}");
    let dump = tool("dump", &dir, options);
    assert_eq!(dump.status.code(), Some(0), "{}", String::from_utf8_lossy(&dump.stderr));
    let mut server = launch().setting("dir", &dir.display().to_string()).start();
    assert_eq!(shown(&mut server.client()), before);
    server.stop();
    if !options.is_empty() {
        let blind = tool("check", &dir, &[]);
        let text = String::from_utf8_lossy(&blind.stdout).into_owned();
        assert_eq!(blind.status.code(), Some(2));
        assert!(text.contains("it is encrypted with the master key"), "{text}");
    }
    let Some(kind) = reference_or_skip("a dump of a log") else { return };
    let target = Launch::of(kind).start();
    pipe(&dump.stdout, &target);
    assert_eq!(shown(&mut target.client()), before);
}

#[test]
fn logs_are_checked_and_dumped() {
    for shards in [1, 4] {
        is_checked_and_dumped(|| Launch::torc(shards).setting("appendonly", "yes"), &[]);
    }
}

#[test]
fn encrypted_logs_are_checked_and_dumped() {
    let mut scratch = Launch::torc(1).start();
    scratch.stop();
    let key = scratch.dir().join("key");
    std::fs::write(&key, "0f".repeat(32)).expect("the folder is writable");
    let key = key.display().to_string();
    let launch = || {
        let launch = Launch::torc(3).setting("appendonly", "yes").setting("encryption-enabled", "yes");
        launch.setting("encryption-key-file", &key)
    };
    is_checked_and_dumped(launch, &["--key-file", &key]);
}
