//! Small things about processes: signals, CPU time, folders to work in, bounded waiting.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Term,
    Int,
    Kill,
    Hup,
    Stop,
    Continue,
}

impl Signal {
    /// Sends it by the shell's own `kill`, which every machine has and which needs no unsafe code here.
    pub fn send(self, pid: u32) {
        let name = match self {
            Signal::Term => "TERM",
            Signal::Int => "INT",
            Signal::Kill => "KILL",
            Signal::Hup => "HUP",
            Signal::Stop => "STOP",
            Signal::Continue => "CONT",
        };
        let sent = Command::new("/bin/sh")
            .args(["-c", &format!("kill -{name} {pid}")])
            .status()
            .expect("the shell runs");
        assert!(sent.success(), "SIG{name} cannot be sent to process {pid}");
    }
}

/// User and system time that a process has used so far.
pub fn cpu_time(pid: u32) -> Duration {
    /// Linux reports in these units on every architecture (USER_HZ).
    const TICKS_PER_SECOND: u64 = 100;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The second field is the program's name in parentheses, which may itself hold blanks.
    let fields: Vec<&str> =
        stat.rsplit(')').next().expect("rsplit yields at least one").split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<u64>().expect("a number of ticks");
    Duration::from_millis((ticks(11) + ticks(12)) * 1000 / TICKS_PER_SECOND)
}

/// Number and name of each thread of a process, in the order of their numbers.
pub fn threads(pid: u32) -> Vec<(u32, String)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let thread = |task: std::io::Result<std::fs::DirEntry>| {
        let task = task.expect("a readable folder");
        // It may have ended meanwhile.
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        Some((task.file_name().to_str()?.parse().ok()?, name.trim_end().to_owned()))
    };
    let mut threads: Vec<(u32, String)> = tasks.filter_map(thread).collect();
    threads.sort();
    threads
}

/// A new empty folder below the system's one for temporary files. It stays, to be looked at after a test has failed; folders of
/// processes that have ended go when another one asks for its first.
pub fn scratch_dir(purpose: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static SWEEP: Once = Once::new();
    SWEEP.call_once(remove_scratch_dirs_of_ended);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("torc-{purpose}-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("the folder of temporary files is writable");
    dir
}

/// Removes what [`scratch_dir`] has made for processes that run no more.
fn remove_scratch_dirs_of_ended() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let has_ended = scratch_owner(&name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        if has_ended {
            // Another process may be at it, or it is somebody else's.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The process that a folder of this name was made for.
fn scratch_owner(name: &str) -> Option<u32> {
    let (rest, number) = name.strip_prefix("torc-")?.rsplit_once('-')?;
    number.parse::<u32>().ok()?;
    rest.rsplit_once('-')?.1.parse().ok()
}

/// Whether the condition became true within the limit.
pub fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_processes_that_have_ended_go() {
        let check = |name: &str, expected| assert_eq!(scratch_owner(name), expected, "{name}");
        check("torc-read-only-4000-12", Some(4000));
        check("torc-4000-12", None);
        check("torc-test-ports", None);
        check("other-config-4000-12", None);
        let own = scratch_dir("own");
        // Larger than any process's number.
        let left = std::env::temp_dir().join("torc-left-4194999-0");
        std::fs::create_dir_all(left.join("folder")).expect("the folder of temporary files is writable");
        remove_scratch_dirs_of_ended();
        assert!(!left.exists() && own.exists());
    }
}
