//! The log on a disk that refuses: full, read-only, without permission, or with a file where the folder should be. The server
//! says so in replies, in INFO and in its log, and goes on by itself when the disk takes writes again.
//!
//! Small file systems in memory are mounted for it; where that is not allowed, those tests say that they are skipped. Root
//! starts the server as somebody else where permissions matter, since it needs none itself.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use torc_resp::Value;
use torc_tests::raw::{bulk, ok};
use torc_tests::{Client, Launch, PATIENCE, Server, scratch_dir, wait_until};

/// A file system in memory, for as long as this lives.
struct Mount(PathBuf);

impl Mount {
    /// `None` where it is not allowed.
    fn new(path: &Path, options: &str) -> Option<Mount> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path).stderr(Stdio::null());
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Mount(path.to_owned()));
        }
        eprintln!("skipped: no file system can be mounted here");
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.0.display());
    }
}

fn logging(dir: &Path) -> Launch {
    let launch = Launch::torc(2).setting("dir", &dir.display().to_string()).setting("appendonly", "yes");
    launch.setting("auto-aof-rewrite-percentage", "0")
}

fn status(client: &mut Client, field: &str) -> String {
    client.info("persistence", field).expect("INFO has it")
}

#[test]
fn a_full_disk_is_told_of_and_writes_go_on_when_there_is_room() {
    let dir = scratch_dir("full");
    let Some(mount) = Mount::new(&dir, "size=14m") else { return };
    let filler = dir.join("filler");
    // Without it there is room for the log, for all of it again in a new segment, and for another start.
    std::fs::write(&filler, vec![1; 10 << 20]).expect("there is room");
    let mut server = logging(&dir).start();
    let mut client = server.client();
    let value = "v".repeat(20_000);
    let mut accepted = Vec::new();
    let mut refusal = None;
    for number in 0..2_000 {
        let key = format!("key:{number}");
        match client.call(&["SET", &key, &value]) {
            reply if reply == ok() => accepted.push(key),
            reply => {
                refusal = Some(format!("{reply:?}"));
                break;
            }
        }
    }
    let refusal = refusal.expect("the disk holds less than that");
    assert!(refusal.contains("MISCONF Errors writing to the AOF file: No space left on device"), "{refusal}");
    assert_eq!(status(&mut client, "aof_last_write_status"), "err");
    assert_eq!(client.call(&["GET", "key:0"]), bulk(&value));
    assert!(server.log().contains("the log cannot be written: writes are refused"), "{}", server.log());
    std::fs::remove_file(&filler).expect("it is ours");
    let goes_on = wait_until(PATIENCE, || client.call(&["SET", "behind", "1"]) == ok());
    assert!(goes_on, "writes are still refused: {}", server.log());
    assert_eq!(status(&mut client, "aof_last_write_status"), "ok");
    assert!(server.log().contains("the log is written again, in a new segment"), "{}", server.log());
    let waited = client.cmd("WAITAOF 1 0 5000");
    assert_eq!(waited, Value::Array(vec![Value::Int(1), Value::Int(0)]));
    server.kill9();
    let server = logging(&dir).start();
    let mut client = server.client();
    for key in &accepted {
        assert_eq!(client.call(&["GET", key]), bulk(&value), "{key}");
    }
    assert_eq!(client.call(&["GET", "behind"]), bulk("1"));
    drop(server);
    drop(mount);
}

/// Under `always` nothing more can be acknowledged: the server says why, and ends. What it has acknowledged is there.
#[test]
fn under_always_a_full_disk_ends_the_server() {
    let dir = scratch_dir("full-always");
    let Some(mount) = Mount::new(&dir, "size=14m") else { return };
    let filler = dir.join("filler");
    std::fs::write(&filler, vec![1; 10 << 20]).expect("there is room");
    let launch = logging(&dir).setting("appendfsync", "always");
    let mut server = launch.start();
    let mut client = server.client();
    let value = "v".repeat(20_000);
    let mut accepted = 0;
    while accepted < 2_000
        && client.try_call(&["SET", &format!("key:{accepted}"), &value]).is_ok_and(|reply| reply == ok())
    {
        accepted += 1;
    }
    assert!((1..2_000).contains(&accepted), "{accepted} writes of 20 KB fit in 4 MB");
    let exit = server.wait_exit(PATIENCE).expect("the server ends");
    assert_eq!(exit.code(), Some(1), "{}", server.log());
    let line = "the log cannot be written under 'appendfsync always': the server ends";
    let log = server.log();
    let told = log.lines().find(|text| text.contains(line)).unwrap_or_else(|| panic!("{log}"));
    assert!(told.contains("ERROR") && told.contains("No space left on device"), "{told}");
    std::fs::remove_file(&filler).expect("it is ours");
    let server = launch.start();
    let mut client = server.client();
    for number in 0..accepted {
        assert_eq!(client.call(&["GET", &format!("key:{number}")]), bulk(&value), "{number}");
    }
    drop(server);
    drop(mount);
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .expect("it belongs to the test, or the test is root");
}

/// A server that permissions hold for, and that owns the folder.
fn unprivileged(dir: &Path) -> Launch {
    const NOBODY: u32 = 65_534;
    if fs::metadata("/proc/self").expect("there is /proc").uid() != 0 {
        return logging(dir);
    }
    chown(dir, Some(NOBODY), Some(NOBODY)).expect("root may");
    logging(dir).user(NOBODY)
}

/// A file or folder that the server may not use stops its start, which names it; while it runs it fails what needs it alone.
#[test]
fn missing_permission_is_told_of_and_got_over() {
    let dir = scratch_dir("permission");
    let folder = dir.join("appendonlydir");
    let launch = unprivileged(&dir);
    let refused = |launch: &Launch, name: &str| {
        let (exit, log) = launch.run_to_end();
        assert_eq!(exit.code(), Some(1), "{log}");
        assert!(log.lines().any(|line| line.contains(name) && line.contains("Permission denied")), "{log}");
    };
    set_mode(&dir, 0o555);
    refused(&launch, "appendonlydir");
    set_mode(&dir, 0o755);
    let mut server = launch.start();
    let mut client = server.client();
    assert_eq!(client.cmd("SET a 1"), ok());

    set_mode(&folder, 0o555);
    assert!(!client.cmd("BGREWRITEAOF").is_error());
    let failed = wait_until(PATIENCE, || status(&mut client, "aof_last_bgrewrite_status") == "err");
    assert!(failed && server.log().contains("Permission denied"), "{}", server.log());
    assert_eq!(client.cmd("SET a 2"), ok());
    set_mode(&folder, 0o755);
    assert!(!client.cmd("BGREWRITEAOF").is_error());
    assert!(wait_until(PATIENCE, || status(&mut client, "aof_last_bgrewrite_status") == "ok"));

    set_mode(&dir, 0o555);
    assert!(!client.cmd("BGSAVE").is_error());
    assert!(wait_until(PATIENCE, || status(&mut client, "rdb_bgsave_in_progress") == "0"));
    assert_eq!(status(&mut client, "rdb_last_bgsave_status"), "err");
    assert_eq!(client.cmd("SAVE"), Value::Error("ERR Permission denied".into()));
    set_mode(&dir, 0o755);
    assert_eq!(client.cmd("SAVE"), ok());
    assert_eq!(status(&mut client, "rdb_last_bgsave_status"), "ok");
    assert!(server.stop().success());

    let files =
        fs::read_dir(&folder).expect("the server has made it").map(|file| file.expect("readable").path());
    for path in files.chain([dir.join("appendonlydir")]) {
        let mode = fs::metadata(&path).expect("it is there").mode();
        set_mode(&path, 0);
        refused(&launch, &path.file_name().expect("it has a name").to_string_lossy());
        set_mode(&path, mode & 0o777);
    }
    let snapshot = dir.join("dump.rdb");
    set_mode(&snapshot, 0);
    refused(&launch.clone().setting("appendonly", "no"), "dump.rdb");
    let server = launch.start();
    assert_eq!(server.client().cmd("GET a"), bulk("2"));
    drop(server);
    fs::remove_dir_all(&dir).expect("the folder is ours");
}

/// Nothing can be made in the folder: a rewrite fails, says so, and changes nothing; the next one works.
#[test]
fn a_folder_that_became_read_only_fails_rewrites_alone() {
    let dir = scratch_dir("read-only");
    let folder = dir.join("appendonlydir");
    let mut server = logging(&dir).start();
    let mut client = server.client();
    assert_eq!(client.cmd("SET a 1"), ok());
    let Some(cover) = Mount::new(&folder, "ro,size=1m") else { return };
    assert!(!client.cmd("BGREWRITEAOF").is_error());
    let failed = wait_until(PATIENCE, || status(&mut client, "aof_last_bgrewrite_status") == "err");
    assert!(failed && server.log().contains("Read-only file system"), "{}", server.log());
    assert_eq!(client.cmd("SET a 2"), ok());
    let (exit, log) = logging(&dir).run_to_end();
    assert_eq!(exit.code(), Some(1));
    assert!(log.contains("appendonlydir") && log.contains("Read-only file system"), "{log}");
    drop(cover);
    assert!(!client.cmd("BGREWRITEAOF").is_error());
    assert!(wait_until(PATIENCE, || status(&mut client, "aof_last_bgrewrite_status") == "ok"));
    std::thread::sleep(Duration::from_millis(100));
    server.kill9();
    let server = logging(&dir).start();
    assert_eq!(server.client().cmd("GET a"), bulk("2"));
}

#[test]
fn a_file_in_place_of_the_folder_is_named() {
    let dir = scratch_dir("no-folder");
    std::fs::write(dir.join("appendonlydir"), "a file").expect("the folder is ours");
    let (exit, log) = logging(&dir).run_to_end();
    assert_eq!(exit.code(), Some(1));
    assert!(log.contains("appendonlydir") && log.contains("Not a directory"), "{log}");
    std::fs::remove_dir_all(&dir).expect("the folder is ours");
}

/// The most threads that the server may have from now on; `None`: as many as at first.
fn limit_threads(server: &Server, threads: Option<u32>) {
    let mut command = Command::new("prlimit");
    // Without privileges only those who own it may do this, and the limit that it can't exceed stays.
    let owner = fs::metadata(format!("/proc/{}", server.pid())).expect("it runs");
    command.args(["--pid", &server.pid().to_string()]).uid(owner.uid()).gid(owner.gid());
    let hard = || {
        let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).expect("it runs");
        let line = limits.lines().find(|line| line.starts_with("Max processes")).expect("it is among them");
        line.split_whitespace().nth(3).expect("soft and hard").to_owned()
    };
    let limit = threads.map_or_else(hard, |threads| threads.to_string());
    let done = command.arg(format!("--nproc={limit}:")).status().expect("it comes with util-linux");
    assert!(done.success());
}

/// Where the system gives no more threads, snapshots are written by one that is there already; the log can't be written, but goes
/// on when there are threads again.
#[test]
fn a_server_without_new_threads_goes_on() {
    let dir = scratch_dir("threads");
    let launch = unprivileged(&dir);
    let mut server = launch.start();
    let mut client = server.client();
    limit_threads(&server, Some(1));
    for _ in 0..2 {
        assert!(!client.cmd("BGSAVE").is_error());
        assert!(wait_until(PATIENCE, || status(&mut client, "rdb_bgsave_in_progress") == "0"));
        assert_eq!(status(&mut client, "rdb_last_bgsave_status"), "ok");
        assert_eq!(client.cmd("SAVE"), ok());
    }
    // The workers of the ring that are there already end when they have had nothing to do for some seconds.
    let refused = |reply: Value| matches!(reply, Value::Error(text) if text.starts_with("MISCONF"));
    let is_refused = wait_until(PATIENCE, || refused(client.cmd("SET a 1")));
    assert!(is_refused, "{}", server.log());
    limit_threads(&server, None);
    assert!(wait_until(PATIENCE, || client.cmd("SET a 2") == ok()), "{}", server.log());
    assert_eq!(client.cmd("WAITAOF 1 0 5000"), Value::Array(vec![Value::Int(1), Value::Int(0)]));
    server.kill9();
    assert_eq!(launch.start().client().text("GET a"), "2");
}
