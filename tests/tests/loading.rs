//! The start of a server that has data: what clients, INFO, probes and the log are told while files are read, and what of a log
//! was left out.
//!
//! A file that is a pipe is read as far as the test has written: so the server loads for as long as the test wants.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use torc_resp::Value;
use torc_tests::raw::{bulk, ok, request};
use torc_tests::{Client, Launch, PATIENCE, Server, free_port, http_get, scratch_dir, wait_until};

const LOADING: &str = "LOADING Redis is loading the dataset in memory";

/// A folder of this test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        Folder(scratch_dir("loading"))
    }

    fn launch(&self, shards: usize) -> Launch {
        Launch::torc(shards).setting("dir", &self.0.display().to_string())
    }

    fn logging(&self, shards: usize) -> Launch {
        self.launch(shards).setting("appendonly", "yes").setting("auto-aof-rewrite-percentage", "0")
    }

    /// The files of the log whose names end so, by name.
    fn files(&self, end: &str) -> Vec<PathBuf> {
        let names = fs::read_dir(self.0.join("appendonlydir")).expect("there is a log").flatten();
        let mut files: Vec<PathBuf> = names.map(|entry| entry.path()).collect();
        files.retain(|path| path.to_string_lossy().ends_with(end));
        files.sort();
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().expect("it has one").to_string_lossy().into_owned()
}

/// More than what is read at once, when half of the 300 keys of a test are there.
fn value() -> String {
    "v".repeat(2000)
}

fn fill(client: &mut Client, keys: u64) {
    let value = value();
    for number in 0..keys {
        assert_eq!(client.call(&["SET", &format!("key:{number}"), &value]), ok());
    }
}

/// Puts a pipe in the place of a file: its content, and the end that the test writes to.
fn as_pipe(path: &Path) -> (Vec<u8>, File) {
    let content = fs::read(path).expect("the file is there");
    fs::remove_file(path).expect("it is ours");
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo runs");
    assert!(made.success(), "no pipe can be made");
    // Opened for both, a pipe waits for nobody.
    (content, OpenOptions::new().read(true).write(true).open(path).expect("it is ours"))
}

fn number(client: &mut Client, field: &str) -> u64 {
    let text = client.info("persistence", field).unwrap_or_else(|| panic!("no {field}"));
    text.parse().unwrap_or_else(|_| panic!("{field}: {text}"))
}

/// Feeds a server that reads a pipe, half first, and watches what it tells meanwhile. `before`: bytes of other files that it has
/// read, `others`: of all other files.
fn watch(server: &mut Server, probes: u16, (content, mut pipe): (Vec<u8>, File), before: u64, others: u64) {
    let mut client = server.client();
    for line in ["GET key:1", "SET key:1 x", "DBSIZE", "PING"] {
        let reply = client.cmd(line);
        assert_eq!(reply, Value::Error(LOADING.into()), "{line}");
    }
    assert_eq!(http_get(probes, "/readyz").expect("probes are served"), (503, "loading\n".into()));
    assert_eq!(http_get(probes, "/healthz").expect("probes are served"), (200, "ok\n".into()));
    let half = content.len() / 2;
    for part in [0..half / 2, half / 2..half] {
        pipe.write_all(&content[part.clone()]).expect("it is read");
        let expected = before + part.end as u64;
        let arrived = wait_until(PATIENCE, || number(&mut client, "loading_loaded_bytes") == expected);
        let info = client.text("INFO persistence");
        assert!(arrived, "not {expected} bytes:\n{info}");
        assert_eq!(number(&mut client, "loading"), 1);
        let total = others.max(expected);
        assert_eq!(number(&mut client, "loading_total_bytes"), total);
        let percent = format!("{:.2}", expected as f64 * 100.0 / total as f64);
        assert_eq!(client.info("persistence", "loading_loaded_perc"), Some(percent));
        number(&mut client, "loading_eta_seconds");
        let now_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
        let started_s = number(&mut client, "loading_start_time");
        assert!((now_s - 60..=now_s).contains(&started_s), "{started_s}");
    }
    let line = format!("the data are being loaded loaded_bytes={}", before + half as u64);
    assert!(wait_until(PATIENCE, || server.log().contains(&line)), "{line}: {}", server.log());
    assert!(number(&mut client, "loading_rdb_used_mem") > 100_000, "{}", client.text("INFO persistence"));
    pipe.write_all(&content[half..]).expect("it is read");
    drop(pipe);
    server.wait_loaded();
    let lines = server.log().matches("the data are being loaded").count();
    assert_eq!(number(&mut client, "loading"), 0);
    assert_eq!(client.info("persistence", "loading_loaded_bytes"), None);
    assert_eq!(http_get(probes, "/readyz").expect("probes are served"), (200, "ready\n".into()));
    assert_eq!(client.call(&["GET", "key:299"]), bulk(value()));
    assert_eq!(client.int("DBSIZE"), 300);
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(server.log().matches("the data are being loaded").count(), lines, "it is over");
}

#[test]
fn a_load_of_a_snapshot_is_told_of() {
    for shards in [1, 3] {
        let folder = Folder::new();
        let mut server = folder.launch(2).setting("rdbcompression", "no").start();
        let mut client = server.client();
        fill(&mut client, 300);
        assert_eq!(client.text("SAVE"), "OK");
        server.kill9();
        let pipe = as_pipe(&folder.0.join("dump.rdb"));
        let port = free_port();
        let launch = folder.launch(shards).setting("metrics-port", &port.number.to_string());
        watch(&mut launch.start_loading(), port.number, pipe, 0, 0);
    }
}

/// A base of torc: its bytes follow those of nothing, and the segments come behind it.
#[test]
fn a_load_of_a_base_is_told_of() {
    let folder = Folder::new();
    let mut server = folder.logging(2).setting("rdbcompression", "no").start();
    let mut client = server.client();
    fill(&mut client, 299);
    assert_eq!(client.text("BGREWRITEAOF"), "Background append only file rewriting started");
    let is_over = wait_until(PATIENCE, || number(&mut client, "aof_rewrite_in_progress") == 0);
    assert!(is_over, "{}", server.log());
    client.call(&["SET", "key:299", &value()]);
    server.stop();
    let segments: u64 =
        folder.files(".log").iter().map(|path| fs::metadata(path).expect("it is there").len()).sum();
    let pipe = as_pipe(&folder.files(".base.rdb")[0]);
    let port = free_port();
    let launch = folder.logging(3).setting("metrics-port", &port.number.to_string());
    watch(&mut launch.start_loading(), port.number, pipe, 0, segments);
}

/// Writes the folder of a Redis server: a base, and an increment. Their names are none that torc would remove.
fn redis_folder(folder: &Folder, base: &[u8], increment: &[u8]) {
    let dir = folder.0.join("appendonlydir");
    fs::create_dir(&dir).expect("the folder is ours");
    let manifest = "file base.rdb seq 1 type b\nfile incr.aof seq 1 type i\n";
    fs::write(dir.join("appendonly.aof.manifest"), manifest).expect("the folder is ours");
    fs::write(dir.join("base.rdb"), base).expect("the folder is ours");
    fs::write(dir.join("incr.aof"), increment).expect("the folder is ours");
}

#[test]
fn a_load_of_the_log_of_a_redis_server_is_told_of() {
    let folder = Folder::new();
    let mut server = folder.launch(1).setting("rdbcompression", "no").start();
    let mut client = server.client();
    fill(&mut client, 150);
    assert_eq!(client.text("SAVE"), "OK");
    server.kill9();
    let base = fs::read(folder.0.join("dump.rdb")).expect("it was saved");
    let value = value();
    let commands = (150..300).flat_map(|number| request(&["SET", &format!("key:{number}"), &value]));
    redis_folder(&folder, &base, &commands.collect::<Vec<u8>>());
    let pipe = as_pipe(&folder.files("incr.aof")[0]);
    let port = free_port();
    let launch = folder.logging(3).setting("metrics-port", &port.number.to_string());
    let others = base.len() as u64;
    watch(&mut launch.start_loading(), port.number, pipe, others, others);
}

/// What of a log counts is known when it was read once: that is told of, too, and nothing is loaded before.
#[test]
fn a_check_of_a_log_is_told_of() {
    let folder = Folder::new();
    let server = folder.logging(1).start();
    fill(&mut server.client(), 300);
    crash(server);
    let (content, mut pipe) = as_pipe(&folder.files(".log")[0]);
    let mut server = folder.logging(2).start_loading();
    let half = content.len() / 2;
    pipe.write_all(&content[..half]).expect("it is read");
    let line = format!("the log is being checked checked_bytes={half} ");
    assert!(wait_until(PATIENCE, || server.log().contains(&line)), "{line}: {}", server.log());
    let mut client = server.client();
    assert_eq!(client.cmd("GET key:1"), Value::Error(LOADING.into()));
    assert_eq!(number(&mut client, "loading_loaded_bytes"), 0);
    server.kill9();
}

/// The values of the fields of a line of the log that has this text.
fn fields(log: &str, text: &str, names: &[&str]) -> Vec<Vec<String>> {
    let lines = log.lines().filter(|line| line.contains(text));
    let value = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!(" {name}=")).unwrap_or_else(|| panic!("no {name}: {line}"));
        match rest.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next().unwrap_or_default().to_owned(),
            None => rest.split(' ').next().unwrap_or_default().to_owned(),
        }
    };
    lines.map(|line| names.iter().map(|name| value(line, name)).collect()).collect()
}

/// What a start has left out: file, offset, bytes, records, reason.
fn left_out(server: &Server) -> Vec<Vec<String>> {
    let names = ["file", "offset", "bytes", "records", "reason"];
    fields(&server.log(), "a part of the log does not count", &names)
}

/// What all files hold, by name.
fn contents(folder: &Folder) -> Vec<(PathBuf, Vec<u8>)> {
    folder.files("").into_iter().map(|path| (path.clone(), fs::read(path).expect("it is there"))).collect()
}

/// A start that is refused changes nothing and says this.
fn is_refused(folder: &Folder, shards: usize, expected: &[&str]) {
    let before = contents(folder);
    let (status, log) = folder.logging(shards).setting("aof-load-truncated", "no").run_to_end();
    assert_eq!(status.code(), Some(1), "{log}");
    for text in expected {
        assert!(log.contains(text), "{text}: {log}");
    }
    assert!(contents(folder) == before, "a start that is refused has changed files");
}

/// Ends a server without warning, when the system has got what it has logged.
fn crash(mut server: Server) {
    let waited = server.client().cmd("WAITAOF 1 0 5000");
    assert_eq!(waited, Value::Array(vec![Value::Int(1), Value::Int(0)]));
    server.kill9();
}

fn position(content: &[u8], text: &str) -> usize {
    let found = content.windows(text.len()).position(|bytes| bytes == text.as_bytes());
    found.unwrap_or_else(|| panic!("{text} is not there"))
}

#[test]
fn a_torn_end_is_said_or_refused() {
    const REASON: &str = "the file ends in the middle of a record";
    // What stands in place of what is behind so many bytes of the last record. A file ends with zeros up to a whole block.
    for (kept, tail) in [(None, &b"garbage"[..]), (Some(100), b""), (Some(100), b"garbage\0\0")] {
        let folder = Folder::new();
        let server = folder.logging(1).start();
        fill(&mut server.client(), 3);
        crash(server);
        let segment = &folder.files(".log")[0];
        let (name, whole) = (name_of(segment), fs::read(segment).expect("it is there"));
        let last_end = whole.iter().rposition(|byte| *byte == b'v').expect("it is there") + 1;
        let record_bytes = position(&whole, "key:2") - position(&whole, "key:1");
        let (at, cut_at, keys) = match kept {
            None => (last_end, last_end, 3),
            Some(kept) => (last_end - record_bytes, last_end - record_bytes + kept, 2),
        };
        fs::write(segment, [&whole[..cut_at], tail].concat()).expect("it is ours");
        let bytes = cut_at - at + tail.len();
        let told = format!("{name} ends in the middle of a record: {bytes} bytes from offset {at} on");
        is_refused(&folder, 1, &[&told, "aof-load-truncated yes would drop them"]);
        let mut server = folder.logging(2).start();
        let expected = [&name, &at.to_string(), &bytes.to_string(), "0", REASON].map(str::to_owned);
        assert_eq!(left_out(&server), std::slice::from_ref(&expected));
        assert!(server.log().contains("the log is loaded") && server.log().contains("dropped=0"));
        assert_eq!(server.client().int("DBSIZE"), keys);
        server.kill9();
        // A start changes no file that was there: the next one says it again.
        let again = folder.logging(1).start();
        assert_eq!(left_out(&again), [expected]);
    }
}

/// One of two shards has lost its part of a transaction: the log of the other one ends before it.
#[test]
fn what_a_transaction_takes_with_it_is_said() {
    let folder = Folder::new();
    let server = folder.logging(2).start();
    let mut client = server.client();
    for line in ["MSET {a}1 1 {b}1 1", "MSET {a}2 2 {b}2 2", "SET {a}3 3", "SET {b}3 3"] {
        assert_eq!(client.cmd(line), ok());
    }
    crash(server);
    let [lost, whole] = folder.files(".log").try_into().expect("one for each shard");
    let content = fs::read(&lost).expect("it is there");
    let of_lost = if content.windows(3).any(|bytes| bytes == b"{a}") { "{a}" } else { "{b}" };
    let of_whole = if of_lost == "{a}" { "{b}" } else { "{a}" };
    let cut_at = position(&content, &format!("{of_lost}2"));
    fs::write(&lost, &content[..cut_at]).expect("it is ours");
    let server = folder.logging(3).start();
    let told = left_out(&server);
    let [torn, dropped] = told.as_slice() else { panic!("two logs were cut: {told:?}") };
    let range = |told: &[String]| {
        let number = |index: usize| told[index].parse::<usize>().expect("a number");
        number(1)..number(1) + number(2)
    };
    assert_eq!((torn[0].as_str(), range(torn).end), (name_of(&lost).as_str(), cut_at));
    let expected = [
        &name_of(&whole),
        "2",
        "a transaction that was not whole when the log ended, and what came after it",
    ];
    assert_eq!([&dropped[0], &dropped[3], &dropped[4]], expected);
    let content = fs::read(&whole).expect("it is there");
    let at = |number: u32| position(&content, &format!("{of_whole}{number}"));
    let range = range(dropped);
    assert!(at(1) < range.start && range.start < at(2) && at(3) < range.end, "{range:?}");
    assert!(content[range.end..].iter().all(|byte| *byte == 0), "{range:?}");
    assert!(server.log().contains("dropped=2"), "{}", server.log());
    let mut client = server.client();
    assert_eq!(client.cmd("EXISTS {a}1 {b}1 {a}2 {b}2 {a}3 {b}3").as_int(), Some(2));
}

#[test]
fn the_torn_end_of_the_log_of_a_redis_server_is_said_or_refused() {
    const REASON: &str = "the file ends in the middle of a command or a transaction";
    let whole = request(&["SET", "a", "1"]);
    for torn in [
        request(&["SET", "b", "2"])[..12].to_vec(),
        [request(&["MULTI"]), request(&["SET", "b", "2"])].concat(),
        vec![0; 500],
    ] {
        let folder = Folder::new();
        let mut server = folder.launch(1).start();
        assert_eq!(server.client().text("SAVE"), "OK");
        server.kill9();
        let base = fs::read(folder.0.join("dump.rdb")).expect("it was saved");
        redis_folder(&folder, &base, &[whole.as_slice(), &torn].concat());
        let (at, bytes) = (whole.len(), torn.len());
        let told = format!("incr.aof, offset {at}: {REASON} ({bytes} bytes)");
        is_refused(&folder, 2, &[&told]);
        let server = folder.logging(2).start();
        let expected = ["incr.aof", &at.to_string(), &bytes.to_string(), "0", REASON].map(str::to_owned);
        assert_eq!(left_out(&server), [expected]);
        assert_eq!(server.client().int("DBSIZE"), 1);
    }
}

/// Folder and files may have other names, also from one start to the next; what is not needed any more goes.
#[test]
fn the_names_of_the_log_may_be_others() {
    let folder = Folder::new();
    let logging = |shards, name: &str| {
        folder.logging(shards).setting("appenddirname", "logs").setting("appendfilename", name)
    };
    let names = || -> Vec<String> {
        let files = fs::read_dir(folder.0.join("logs")).expect("there is a log").flatten();
        let mut names: Vec<String> = files.map(|file| file.file_name().to_string_lossy().into()).collect();
        names.sort();
        names
    };
    let mut server = logging(2, "first.aof").start();
    assert_eq!(server.client().cmd("MSET a 1 b 2 c 3"), ok());
    server.stop();
    assert_eq!(names(), ["first.aof.1.0.log", "first.aof.1.1.log", "manifest"]);
    let mut server = logging(1, "second").start();
    let mut client = server.client();
    assert_eq!(client.cmd("SET a 4"), ok());
    client.cmd("BGREWRITEAOF");
    let is_over = wait_until(PATIENCE, || number(&mut client, "aof_rewrite_in_progress") == 0);
    assert!(is_over, "{}", server.log());
    assert_eq!(client.cmd("SET b 5"), ok());
    server.stop();
    assert_eq!(names(), ["manifest", "second.3.0.log", "second.3.base.rdb"]);
    let server = logging(4, "first.aof").start();
    assert_eq!(server.client().cmd("MGET a b c"), Value::Array(["4", "5", "3"].map(bulk).to_vec()));
    assert!(!folder.0.join("appendonlydir").exists());
    let (status, log) = folder.launch(1).setting("appenddirname", "a/b").run_to_end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("appenddirname"), "{log}");
}
