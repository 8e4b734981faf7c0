//! The log on a disk that refuses: full, read-only, or with a file where the folder should be. The server says so in replies,
//! in INFO and in its log, and goes on by itself when the disk takes writes again.
//!
//! Small file systems in memory are mounted for it; where that is not allowed, those tests say that they are skipped.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use torc_resp::Value;
use torc_tests::raw::{bulk, ok};
use torc_tests::{Client, Launch, PATIENCE, scratch_dir, wait_until};

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
