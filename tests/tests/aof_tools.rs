//! `torc aof check` and `torc aof dump` on logs that the server wrote, through a rewrite, plain and encrypted; and the dump in
//! a real server.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use torc_resp::Value;
use torc_tests::raw::{bulk, ok, request};
use torc_tests::{Client, Launch, PATIENCE, Server, reference_or_skip, scratch_dir, torc_binary, wait_until};

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

/// Where `--key-env` finds this key.
const KEY_VARIABLE: &str = "TORC_TEST_KEY";
const KEY: &str = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f";

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
    command.env(KEY_VARIABLE, KEY);
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
    std::fs::write(&key, KEY).expect("the folder is writable");
    let key = key.display().to_string();
    let launch = || {
        let launch = Launch::torc(3).setting("appendonly", "yes").setting("encryption-enabled", "yes");
        launch.setting("encryption-key-file", &key)
    };
    is_checked_and_dumped(launch, &["--key-file", &key]);
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder of this test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        Folder(scratch_dir("tools"))
    }

    fn logging(&self, shards: usize) -> Launch {
        let launch = Launch::torc(shards).setting("dir", &self.0.display().to_string());
        launch.setting("appendonly", "yes").setting("auto-aof-rewrite-percentage", "0")
    }

    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("the folder is writable");
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A change of the key: what was written with the old one is read with that, and the server as the tools takes the key from a
/// variable, too.
#[test]
fn keys_come_from_variables_and_old_files() {
    let folder = Folder::new();
    let old = folder.file("old", "1e".repeat(32).as_bytes());
    let encrypted = || folder.logging(2).setting("encryption-enabled", "yes");
    let mut server = encrypted().setting("encryption-key-file", &old).start();
    assert_eq!(server.client().cmd("SET before 1"), ok());
    server.stop();
    let launch = || encrypted().setting("encryption-key-env", KEY_VARIABLE).env(KEY_VARIABLE, Path::new(KEY));
    let (status, log) = launch().run_to_end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("it is encrypted with the master key"), "{log}");
    let with_old = || launch().setting("encryption-old-key-files", &old);
    let mut server = with_old().start();
    let mut client = server.client();
    assert_eq!(client.cmd("GET before"), bulk("1"));
    assert_eq!(client.cmd("SET behind 2"), ok());
    server.stop();
    let variable = ["--key-env", KEY_VARIABLE];
    let both = [&variable[..], &["--old-key-file", &old]].concat();
    for (options, code) in [(&both[..], 0), (&variable, 2), (&["--old-key-file", &old], 2), (&[], 2)] {
        let check = tool("check", &folder.0, options);
        assert_eq!(check.status.code(), Some(code), "{options:?}: {}", stdout(&check));
        let dump = tool("dump", &folder.0, options);
        assert_eq!((dump.status.code(), dump.stdout.is_empty()), (Some(code), code == 2), "{options:?}");
    }
    let text = stdout(&tool("dump", &folder.0, &both));
    assert!(text.contains("before") && text.contains("behind"), "{text}");
    // When everything was written anew, nothing needs the old key.
    let mut server = with_old().start();
    rewrite(&mut server.client());
    server.stop();
    assert_eq!(tool("check", &folder.0, &variable).status.code(), Some(0));
    let server = launch().start();
    assert_eq!(server.client().cmd("MGET before behind"), Value::Array(vec![bulk("1"), bulk("2")]));
    let missing = tool("check", &folder.0, &["--key-env", "TORC_TEST_NO_KEY"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("TORC_TEST_NO_KEY"), "{}", stderr(&missing));
}

/// Damage in what was durable: the server refuses, the check says where, and the dump passes over it when told to.
#[test]
fn a_damaged_log_is_cut_when_that_is_wanted() {
    let folder = Folder::new();
    let mut server = folder.logging(1).start();
    let mut client = server.client();
    for key in ["first", "second", "third", "fourth"] {
        assert_eq!(client.call(&["SET", key, "value"]), ok());
        assert_eq!(client.cmd("WAITAOF 1 0 5000"), Value::Array(vec![Value::Int(1), Value::Int(0)]));
    }
    server.kill9();
    let path = folder.0.join("appendonlydir/appendonly.aof.1.0.log");
    let mut content = std::fs::read(&path).expect("it is there");
    let at = content.windows(6).position(|bytes| bytes == b"second").expect("it is there");
    content[at] ^= 1;
    std::fs::write(&path, &content).expect("it is ours");
    let damage = "appendonly.aof.1.0.log is damaged at offset ";
    let (status, log) = folder.logging(1).run_to_end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains(damage), "{log}");
    let check = tool("check", &folder.0, &[]);
    assert_eq!(check.status.code(), Some(2));
    let text = stdout(&check);
    assert!(text.contains(damage) && text.contains("if the log were cut there:"), "{text}");
    let refused = tool("dump", &folder.0, &[]);
    assert_eq!((refused.status.code(), refused.stdout.as_slice()), (Some(2), &b""[..]));
    assert!(stderr(&refused).contains(damage), "{}", stderr(&refused));
    let dump = tool("dump", &folder.0, &["--load-holes"]);
    assert_eq!(dump.status.code(), Some(1), "{}", stderr(&dump));
    assert!(stderr(&dump).contains("dropped: "), "{}", stderr(&dump));
    // The way out: a server with a folder of its own.
    let server = Launch::torc(2).setting("appendonly", "yes").start();
    let mut client = server.client();
    client.send_raw(&dump.stdout).expect("it reads");
    assert_eq!(client.receive().expect("it answers"), ok(), "SELECT");
    assert_eq!(client.receive().expect("it answers"), ok(), "SET");
    let all = client.cmd("MGET first second third fourth");
    assert_eq!(all, Value::Array(vec![bulk("value"), Value::NullBulk, Value::NullBulk, Value::NullBulk]));
}

/// The folder of a Redis server with these commands in its increment.
fn redis_folder(lines: &[&[&str]]) -> Folder {
    let folder = Folder::new();
    let dir = folder.0.join("appendonlydir");
    std::fs::create_dir(&dir).expect("the folder is ours");
    let increment: Vec<u8> = lines.iter().flat_map(|words| request(words)).collect();
    std::fs::write(dir.join("appendonly.aof.manifest"), "file a.aof seq 1 type i\n").expect("it is ours");
    std::fs::write(dir.join("a.aof"), increment).expect("it is ours");
    folder
}

const LIBRARY: &str = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";

#[test]
fn the_check_finds_what_a_start_refuses() {
    for (lines, reason) in [
        (&[&["SET", "a", "1"][..], &["NOSUCH", "a"]][..], "a.aof, offset 27: 'NOSUCH': ERR unknown command"),
        (&[&["SET", "a", "1"], &["LPUSH", "a", "1"]], "a.aof, offset 27: 'lpush': WRONGTYPE Operation"),
        (&[&["FUNCTION", "LOAD", "return 1"]], "a.aof, offset 0: 'function': a library without a name"),
    ] {
        let folder = redis_folder(lines);
        let check = tool("check", &folder.0, &[]);
        assert_eq!(check.status.code(), Some(2), "{}", stdout(&check));
        assert!(
            stdout(&check).contains(&format!("the log cannot be loaded: {reason}")),
            "{}",
            stdout(&check)
        );
        let (status, log) = folder.logging(2).run_to_end();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains(reason), "{log}");
    }
}

#[test]
fn libraries_of_a_redis_log_are_kept() {
    let folder = redis_folder(&[
        &["FUNCTION", "LOAD", "#!lua name=gone\nreturn"],
        &["MULTI"],
        &["SET", "a", "1"],
        &["PUBLISH", "channel", "text"],
        &["FUNCTION", "LOAD", LIBRARY],
        &["FUNCTION", "DELETE", "gone"],
        &["EXEC"],
    ]);
    let check = tool("check", &folder.0, &[]);
    assert_eq!(check.status.code(), Some(0), "{}", stdout(&check));
    let expected = [request(&["FUNCTION", "LOAD", "REPLACE", LIBRARY])].concat();
    let has_library = |dump: &Output| {
        let text = &dump.stdout;
        assert!(!text.windows(4).any(|bytes| bytes == b"gone"), "{}", stdout(dump));
        text.windows(expected.len()).any(|bytes| bytes == expected)
    };
    assert!(has_library(&tool("dump", &folder.0, &[])));
    // The base that the start writes has it, too.
    let mut server = folder.logging(2).start();
    assert_eq!(server.client().cmd("GET a"), bulk("1"));
    server.stop();
    assert!(folder.0.join("appendonlydir/manifest").exists(), "it is torc's folder now");
    assert!(has_library(&tool("dump", &folder.0, &[])));
}

/// What a real server logs of commands on several keys and databases, of libraries and of messages.
#[test]
fn the_log_of_a_real_server_is_repeated() {
    const LINES: &[&str] = &[
        "MSET a 1 b 2 c 3",
        "RENAME a d",
        "COPY b e",
        "COPY b f DB 3",
        "MOVE c 3",
        "SWAPDB 3 4",
        "RPUSH l 3 1 2",
        "SORT l STORE sorted",
        "LMOVE l moved LEFT RIGHT",
        "BLMOVE l moved LEFT RIGHT 0",
        "BLPOP moved 0",
        "SADD s x y z",
        "SMOVE s t x",
        "SUNIONSTORE u s t",
        "SPOP s",
        "ZADD z 1 a 2 b 3 c",
        "ZRANGESTORE ranged z 1 2",
        "BZPOPMIN z 0",
        "PFADD h 1 2 3",
        "PFMERGE merged h",
        "BITOP NOT not d",
        "INCRBYFLOAT float 1.5",
        "GETEX float EX 100000",
        "SET gone 1 PX 1",
        "XADD x * f v",
        "XGROUP CREATE x g 0",
        "XREADGROUP GROUP g reader STREAMS x >",
        "GEOADD geo 13.361389 38.115556 p",
        "GEOSEARCHSTORE near geo FROMMEMBER p BYRADIUS 1 km",
        "EVAL redis.call('publish','a','b');redis.call('set','scripted','1') 0",
        "PUBLISH channel text",
    ];
    const SHOW: &[&str] = &[
        "MGET a b c d e float gone scripted",
        "LRANGE sorted 0 -1",
        "LRANGE moved 0 -1",
        "SCARD u",
        "SCARD s",
        "ZRANGE ranged 0 -1 WITHSCORES",
        "ZRANGE z 0 -1",
        "PFCOUNT merged",
        "GET not",
        "XPENDING x g",
        "ZCARD near",
        "PEXPIRETIME float",
        "DBSIZE",
    ];
    let Some(reference) = reference_or_skip("the log of the real server") else { return };
    let old = Launch::of(reference).setting("appendonly", "yes").setting("appendfsync", "always").start();
    let mut before = old.client();
    for line in LINES {
        let reply = before.cmd(line);
        assert!(!reply.is_error(), "{line}: {reply:?}");
    }
    assert!(!before.call(&["FUNCTION", "LOAD", LIBRARY]).is_error());
    assert!(wait_until(PATIENCE, || before.cmd("EXISTS gone") == Value::Int(0)));
    let folder = Folder::new();
    let copied = Command::new("cp").arg("-r").arg(old.dir().join("appendonlydir")).arg(&folder.0).status();
    assert!(copied.is_ok_and(|status| status.success()));
    let check = tool("check", &folder.0, &[]);
    assert_eq!(check.status.code(), Some(0), "{}", stdout(&check));
    assert!(stdout(&check).contains("1 libraries of functions"), "{}", stdout(&check));
    let new = folder.logging(3).start();
    let mut after = new.client();
    for db in [0, 3, 4] {
        for client in [&mut before, &mut after] {
            client.cmd(&format!("SELECT {db}"));
        }
        for line in SHOW {
            assert_eq!(after.cmd(line), before.cmd(line), "{line} in {db}");
        }
    }
}
