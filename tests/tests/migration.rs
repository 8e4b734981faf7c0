//! The commands of docs/migration.md that move data between running servers: all keys by MIGRATE in both directions, the
//! log of a real server, a dump of torc's log, one value.

use std::path::Path;
use std::process::Command;

use torc_resp::Value;
use torc_tests::{Client, Launch, Server, reference_or_skip, skip_or_fail, torc_binary, wait_until};

const VALUES: &[(&str, &str)] = &[
    ("SET string value PX 4000000", "GET string"),
    ("RPUSH list a b c", "LRANGE list 0 -1"),
    ("SADD set 1 2 3", "SMISMEMBER set 1 2 3 4"),
    ("ZADD zset 1.5 a -2 b", "ZRANGE zset 0 -1 WITHSCORES"),
    ("HSET hash a 1 b 2", "HMGET hash a b c"),
    ("XADD stream 5-1 field value", "XRANGE stream - +"),
];
const PLAIN_KEYS: i64 = 300;

fn fill(server: &Server) {
    let mut client = server.client();
    for (write, _) in VALUES {
        assert!(!client.cmd(write).is_error(), "{write}");
    }
    for number in 0..PLAIN_KEYS {
        client.cmd(&format!("SET plain:{number} {number}"));
    }
}

fn shown(client: &mut Client) -> Vec<Value> {
    VALUES.iter().map(|(_, show)| client.cmd(show)).collect()
}

/// Runs a line of the page, in which `old` and `new` are the servers; `None` if there is no redis-cli.
fn run(line: &str, old: &Server, new: &Server) -> Option<String> {
    Command::new("redis-cli").arg("--version").output().ok()?;
    let port = |server: &Server| server.port().to_string();
    let line = line
        .replace("-h old", &format!("-p {}", port(old)))
        .replace("-h new", &format!("-p {}", port(new)))
        .replace("old 6379", &format!("127.0.0.1 {}", port(old)))
        .replace("new 6379", &format!("127.0.0.1 {}", port(new)))
        .replace("torc aof", &format!("{} aof", torc_binary().display()));
    let output = Command::new("bash").args(["-c", &format!("set -o pipefail; {line}")]).output().ok()?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{line}: {text}");
    Some(text)
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the folder is writable");
    for file in std::fs::read_dir(from).expect("the folder is there") {
        let file = file.expect("a readable entry");
        std::fs::copy(file.path(), to.join(file.file_name())).expect("a file can be copied");
    }
}

#[test]
fn all_keys_move_between_running_servers() {
    let Some(reference) = reference_or_skip("moves to and from the real server") else { return };
    let (old, new) = (Launch::of(reference).start(), Launch::torc(3).start());
    fill(&old);
    let page = include_str!("../../docs/migration.md");
    let lines: Vec<&str> =
        page.lines().filter(|line| line.contains("--scan")).filter(|line| line.starts_with(' ')).collect();
    let [to_torc, from_torc] = lines[..] else {
        panic!("the page has one line for each direction: {lines:?}")
    };
    let Some(_) = run(to_torc, &old, &new) else {
        return skip_or_fail("moves between servers: redis-cli is not installed");
    };
    let (mut before, mut after) = (old.client(), new.client());
    let keys = PLAIN_KEYS + VALUES.len() as i64;
    assert_eq!(after.int("DBSIZE"), keys);
    assert_eq!(shown(&mut before), shown(&mut after));
    assert!(after.int("PTTL string") > 3_000_000);
    before.cmd("FLUSHALL");
    run(from_torc, &old, &new);
    assert_eq!(before.int("DBSIZE"), keys);
    assert_eq!(shown(&mut before), shown(&mut after));
    let one = page.lines().find(|line| line.contains("-x RESTORE")).expect("the page has it");
    run(&one.replace("DUMP key", "DUMP list").replace("RESTORE key", "RESTORE copy"), &old, &new);
    assert_eq!(after.cmd("LRANGE copy 0 -1"), after.cmd("LRANGE list 0 -1"));
}

#[test]
fn the_log_moves_there_and_back() {
    let Some(reference) = reference_or_skip("the log of the real server") else { return };
    let old = Launch::of(reference).setting("appendonly", "yes").start();
    fill(&old);
    let mut before = old.client();
    let values = shown(&mut before);
    let written = wait_until(torc_tests::PATIENCE, || {
        before.info("persistence", "aof_rewrite_in_progress").as_deref() == Some("0")
    });
    assert!(written, "{}", old.log());
    let folder = torc_tests::scratch_dir("migration");
    copy_folder(&old.dir().join("appendonlydir"), &folder.join("appendonlydir"));
    let dir = folder.to_str().expect("a plain path");
    let new = Launch::torc(2).setting("dir", dir).setting("appendonly", "yes").start();
    let mut after = new.client();
    assert_eq!(shown(&mut after), values);
    after.cmd("SET since 1");
    before.cmd("FLUSHALL");
    let line = "torc aof dump /var/lib/torc/appendonlydir | redis-cli -h old --pipe";
    assert!(include_str!("../../docs/migration.md").contains(line), "the page has this line");
    let Some(told) = run(&line.replace("/var/lib/torc", dir), &old, &new) else {
        return skip_or_fail("a dump into the real server: redis-cli is not installed");
    };
    assert!(told.contains("errors: 0"), "{told}");
    assert_eq!(shown(&mut before), values);
    assert_eq!(before.text("GET since"), "1");
}
