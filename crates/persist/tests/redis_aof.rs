//! Append-only files of other servers: written by hand, cut and damaged everywhere, and written by real servers.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io::Read, io::Write, os::unix::net::UnixStream};

use torc_datatypes::hash::HashLimits;
use torc_datatypes::list::NodeLimits;
use torc_datatypes::rdb::Limits;
use torc_datatypes::set::SetLimits;
use torc_datatypes::zset::ZSetLimits;
use torc_persist::rdb::FileError;
use torc_persist::redis_aof::{Logged, Reading, RedisLog, Summary};

fn limits() -> Limits {
    Limits {
        list: NodeLimits::new(-2),
        set: SetLimits { intset_entries: 512, listpack_entries: 128, listpack_value: 64 },
        zset: ZSetLimits { listpack_entries: 128, listpack_value: 64 },
        hash: HashLimits { entries_max: 128, value_bytes_max: 64 },
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("torc-aof-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("the name is free");
        Folder(path)
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.0.join(name), content).expect("the folder is writable");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Everything in a log, one line each: keys as `key <db> <name>`, commands as `<db> <words>`, those of a transaction
/// joined by ` ; `.
fn read(log: &RedisLog, torn_tail: bool) -> Result<(Vec<String>, Summary), FileError> {
    let limits = limits();
    let mut lines = Vec::new();
    let reading = Reading { limits: &limits, checks_sum: true, torn_tail, read_bytes: &AtomicU64::new(0) };
    let summary = log.read(reading, |logged| {
        lines.push(match logged {
            Logged::Note { .. } | Logged::FileEnd => return Ok(()),
            Logged::Key(key) => format!("key {} {}", key.db, String::from_utf8_lossy(key.entry.key())),
            Logged::Function(_) => "function".to_owned(),
            Logged::Commands(commands) => {
                let text = |command: &torc_persist::redis_aof::LoggedCommand| {
                    format!("{} {}", command.db, String::from_utf8_lossy(&command.words.join(&b' ')))
                };
                commands.iter().map(text).collect::<Vec<_>>().join(" ; ")
            }
        });
        Ok(())
    })?;
    Ok((lines, summary))
}

fn encoded(lines: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        if line.starts_with('#') {
            bytes.extend_from_slice(format!("{line}\r\n").as_bytes());
            continue;
        }
        let words: Vec<&str> = line.split(' ').collect();
        bytes.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        words
            .iter()
            .for_each(|word| bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes()));
    }
    bytes
}

const MANIFEST: &str = "file a.1.base.aof seq 1 type b\nfile old.aof seq 1 type h\n\
                        file \"a.1.incr.aof\" seq 1 type i\nfile a.2.incr.aof seq 2 type i\n";

fn log_of(folder: &Folder, base: &[u8], first: &[u8], second: &[u8]) -> RedisLog {
    folder.write("a.manifest", MANIFEST.as_bytes());
    folder.write("a.1.base.aof", base);
    folder.write("a.1.incr.aof", first);
    folder.write("a.2.incr.aof", second);
    RedisLog::find(&folder.0, "a").expect("a sound manifest").expect("a manifest")
}

#[test]
fn files_are_read_in_the_order_of_the_manifest() {
    let folder = Folder::new();
    assert_eq!(RedisLog::find(&folder.0, "a").expect("no error"), None);
    let log = log_of(
        &folder,
        &encoded(&["SELECT 0", "SET base 1"]),
        &encoded(&[
            "SELECT 3",
            "#TS:1700000000",
            "SET first 1",
            "MULTI",
            "SET x 1",
            "SELECT 4",
            "SET y 1",
            "EXEC",
        ]),
        &encoded(&["SET second 1", "multi", "exec"]),
    );
    assert_eq!(log.files(), ["a.1.base.aof", "a.1.incr.aof", "a.2.incr.aof"]);
    let (lines, summary) = read(&log, false).expect("a sound log");
    assert_eq!(lines, ["0 SET base 1", "3 SET first 1", "3 SET x 1 ; 4 SET y 1", "0 SET second 1"]);
    assert_eq!(summary, Summary { keys: 0, commands: 5, torn: None });
    let single = RedisLog::single(&folder.0, "a.1.base.aof");
    assert_eq!(read(&single, false).expect("a sound log").0, ["0 SET base 1"]);
}

#[test]
fn wrong_manifests_are_errors_with_their_place() {
    let folder = Folder::new();
    for (text, offset, reason) in [
        ("", 0, "an empty manifest"),
        ("file a seq 1 type b\nfile b seq 2 type b\n", 20, "a second base"),
        ("file a seq 2 type i\nfile b seq 2 type i\n", 20, "increments that do not ascend"),
        ("file ../a seq 1 type b\n", 0, "a file outside the folder"),
        ("file a seq x type b\n", 0, "no line of a manifest"),
        ("file a seq 1 type b and\n", 0, "no line of a manifest"),
        ("\n", 0, "no line of a manifest"),
        ("file \"a seq 1 type b\n", 0, "a quote that does not end"),
        ("file a seq 1 type z\n", 0, "an unknown type of file"),
    ] {
        folder.write("a.manifest", text.as_bytes());
        let error = RedisLog::find(&folder.0, "a").expect_err(text);
        assert_eq!((error.offset, error.reason.as_str()), (offset, reason), "{text}");
    }
}

/// Cut at every byte: what is whole counts, transactions too, and only the last file may be cut. A short read within a
/// transaction takes all of it (valkey#4342: what was written behind it later was lost).
#[test]
fn a_cut_takes_whole_commands_and_transactions() {
    let steps = ["SET a 1", "MULTI", "SET b 1", "SET c 1", "EXEC", "SET d 1"];
    let whole = encoded(&steps);
    // How much must be there for each line to count.
    let ends = [encoded(&steps[..1]).len(), encoded(&steps[..5]).len(), whole.len()];
    let expected = ["0 SET a 1", "0 SET b 1 ; 0 SET c 1", "0 SET d 1"];
    let folder = Folder::new();
    for cut in 0..whole.len() {
        for padding in [0, 7, 5000] {
            let mut torn = whole[..cut].to_vec();
            torn.resize(cut + padding, 0);
            let log = log_of(&folder, &encoded(&["SET base 1"]), &[], &torn);
            let count = ends.iter().filter(|end| **end <= cut).count();
            let (lines, summary) =
                read(&log, true).unwrap_or_else(|error| panic!("{cut}, {padding}: {error}"));
            assert_eq!(lines[1..], expected[..count], "{cut}");
            let at = if count == 0 { 0 } else { ends[count - 1] };
            match summary.torn {
                None => assert_eq!((at, padding), (cut, 0)),
                Some(torn) => {
                    assert_eq!(
                        (torn.file.as_str(), torn.at, torn.bytes),
                        ("a.2.incr.aof", at, cut + padding - at)
                    );
                    assert_eq!(read(&log, false).expect_err("it is not allowed").offset, at as u64);
                }
            }
            if at != cut || padding > 0 {
                let log = log_of(&folder, &encoded(&["SET base 1"]), &torn, &encoded(&["SET later 1"]));
                let error = read(&log, true).expect_err("only the last file may be cut");
                assert_eq!((error.file.as_str(), error.offset), ("a.1.incr.aof", at as u64));
            }
        }
    }
}

/// Whoever watches sees a large file pass by.
#[test]
fn what_is_read_is_counted_on_the_way() {
    let folder = Folder::new();
    let line = format!("SET key {}", "v".repeat(10_000));
    let content = encoded(&vec![line.as_str(); 200]);
    let log = log_of(&folder, &content, &[], &content);
    let (read_bytes, mut seen) = (AtomicU64::new(0), Vec::new());
    let reading = Reading { limits: &limits(), checks_sum: true, torn_tail: false, read_bytes: &read_bytes };
    log.read(reading, |_| {
        seen.push(read_bytes.load(Ordering::Relaxed));
        Ok(())
    })
    .expect("a sound log");
    seen.dedup();
    assert!(seen.len() >= 12 && seen[0] <= 512 << 10, "{seen:?}");
    assert_eq!(read_bytes.load(Ordering::Relaxed), 2 * content.len() as u64);
}

#[test]
fn damage_is_an_error_with_its_place() {
    let folder = Folder::new();
    let good = encoded(&["SET a 1"]);
    let len = good.len() as u64;
    for (bytes, offset, reason) in [
        (&b"garbage"[..], len, "no command begins here"),
        (b"\0\0\0*1\r\n$4\r\nPING\r\n", len, "no command begins here"),
        (b"*0\r\n", len + 4, "a command without words"),
        (b"*-1\r\n", len + 5, "no number where one is needed"),
        (b"*1\r\n$4\r\nPING!\r\n", len + 14, "a word that is longer than it says"),
        (b"*1\r\n:4\r\n", len + 8, "no number where one is needed"),
        (b"*1\r\n$99999999999999\r\nx", len + 21, "a word that is too long"),
        (b"*1\n", len + 3, "a line that does not end as it should"),
        (b"*1\r\n$4\r\nEXEC\r\n", len, "the end of a transaction that did not begin"),
        (b"*2\r\n$6\r\nSELECT\r\n$1\r\nx\r\n", len, "a selection of no database"),
    ] {
        let log = log_of(&folder, &good, &[], &[&good, bytes].concat());
        let error = read(&log, true).expect_err("a damaged log");
        assert_eq!(
            (error.file.as_str(), error.offset, error.reason.as_str()),
            ("a.2.incr.aof", offset, reason)
        );
    }
    let nested = encoded(&["MULTI", "MULTI"]);
    assert_eq!(read(&log_of(&folder, &nested, &[], &[]), true).expect_err("nested").offset, 15);
    // A hole in the middle, and claims that nothing stands behind.
    let mut hole = encoded(&["SET a 1", "SET b 2", "SET c 3"]);
    hole[35..40].fill(0);
    assert!(read(&log_of(&folder, &[], &[], &hole), true).is_err());
    let claims = b"*1000000\r\n$4000000000\r\nabc";
    let (lines, summary) = read(&log_of(&folder, &[], &[], claims), true).expect("its end is missing");
    assert!(lines.is_empty() && summary.torn.is_some());
}

/// A real server, with a log in `dir`.
struct Real {
    process: Child,
    stream: UnixStream,
}

impl Real {
    fn start(binary: &str, folder: &Path, settings: &[&str]) -> Option<Real> {
        let socket = folder.join("socket");
        let _ = fs::remove_file(&socket);
        let mut command = Command::new(binary);
        command.args(["--port", "0", "--save", "", "--appendonly", "yes", "--unixsocket"]).arg(&socket);
        let process = command.args(settings).current_dir(folder).stdout(Stdio::null()).spawn();
        let Ok(process) = process else {
            assert!(std::env::var_os("CI").is_none(), "{binary} is not installed");
            eprintln!("skipped: {binary} is not installed");
            return None;
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Ok(stream) = UnixStream::connect(&socket) {
                return Some(Real { process, stream });
            }
            assert!(Instant::now() < deadline, "{binary} does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a line and waits for the first bytes of its reply.
    fn call(&mut self, line: &str) -> String {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).expect("the server reads");
        let mut buffer = vec![0; 65536];
        let count = self.stream.read(&mut buffer).expect("the server answers");
        let reply = String::from_utf8_lossy(&buffer[..count]).into_owned();
        assert!(!reply.starts_with('-'), "{line}: {reply}");
        reply
    }

    fn rewrite(&mut self) {
        self.call("BGREWRITEAOF");
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.call("INFO persistence").contains("aof_rewrite_in_progress:0\r\naof_rewrite_scheduled:0")
        {
            assert!(Instant::now() < deadline, "the rewrite does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.stream.write_all(b"SHUTDOWN\r\n");
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn is_read(binary: &str, settings: &[&str], base_is_snapshot: bool) {
    let folder = Folder::new();
    let Some(mut real) = Real::start(binary, &folder.0, settings) else { return };
    real.call("SET kept 1");
    real.call("RPUSH list a b");
    real.call("SELECT 5");
    real.call("SET elsewhere 1 EX 100000");
    real.rewrite();
    real.call("SET after 2");
    for line in ["MULTI", "SET x 1", "INCR x", "EXEC"] {
        real.call(line);
    }
    real.call("SELECT 0");
    real.call("DEL list");
    drop(real);
    let dir = folder.0.join("appendonlydir");
    let log = RedisLog::find(&dir, "appendonly.aof").expect("a sound manifest").expect("a manifest");
    assert_eq!(log.files().len(), 2, "{binary}");
    let (lines, summary) = read(&log, false).unwrap_or_else(|error| panic!("{binary}: {error}"));
    assert_eq!(summary.torn, None);
    let base = if base_is_snapshot {
        assert_eq!(summary.keys, 3);
        ["key 0 kept", "key 0 list", "key 5 elsewhere"].map(str::to_owned).to_vec()
    } else {
        assert_eq!(summary.keys, 0);
        ["0 SET kept 1", "0 RPUSH list a b", "5 SET elsewhere 1"].map(str::to_owned).to_vec()
    };
    for line in &base {
        assert!(lines.contains(line), "{binary}: {line} in {lines:?}");
    }
    let end = ["5 SET after 2", "5 SET x 1 ; 5 INCR x", "0 DEL list"];
    assert_eq!(lines[lines.len() - 3..], end, "{binary}");
}

#[test]
fn logs_of_real_servers_are_read() {
    let valkey = std::env::var("VALKEY_SERVER").ok();
    for binary in std::iter::once("redis-server").chain(valkey.as_deref()) {
        is_read(binary, &[], true);
        is_read(binary, &["--aof-timestamp-enabled", "yes"], true);
        is_read(binary, &["--aof-use-rdb-preamble", "no"], false);
    }
}
