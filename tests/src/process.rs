//! Small things about processes: signals, CPU time, folders to work in, bounded waiting.

use std::path::PathBuf;
use std::process::Command;
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

/// A new empty folder below the system's one for temporary files; whoever asks removes it.
pub fn scratch_dir(purpose: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("torc-{purpose}-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("the folder of temporary files is writable");
    dir
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
