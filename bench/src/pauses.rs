//! Records every reply slower than a threshold, and says who caused it: the server, the scheduler, or this process.
//!
//! The kernel counts for each thread the time it was runnable but waited for a core
//! (`/proc/<pid>/task/<tid>/schedstat`, second field). What the server's busiest thread waited during a pause,
//! less what the server's *other* threads ran meanwhile (those are the server's own doing), is the scheduler's
//! share, as is the time that the kernel's packet threads (ksoftirqd) waited while the server did not run; what this
//! process waited is the generator's. The rest is counted as the server's. Time stolen by a
//! hypervisor is invisible here: the same load against an echo (`torc-bench echo`) shows how much that is.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::Instant;

/// Samples kept, one per `SAMPLE_EVERY_NS`: pauses up to half a second find a sample from before their start.
const SAMPLES_MAX: usize = 512;
const SAMPLE_EVERY_NS: u64 = 1_000_000;
/// Slow replies that come together share a sample.
const SAMPLE_AGAIN_NS: u64 = 50_000;
/// Threads come and go; the list is read again this often.
const LIST_EVERY_NS: u64 = 500_000_000;
const THREADS_MAX: usize = 256;
/// Pauses kept in full; the totals go on.
const PAUSES_MAX: usize = 2_000;

/// Consecutive slow replies whose waiting times overlap.
pub(crate) struct Pause {
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) replies: u64,
    /// The slowest reply of the pause.
    pub(crate) latency_ns: u64,
    /// Operations completed before it.
    pub(crate) at_operation: u64,
    /// Shares of the reply for which the server is most to blame.
    pub(crate) scheduler_ns: u64,
    pub(crate) generator_ns: u64,
    pub(crate) server_ns: u64,
    /// What the server's busiest thread ran from the sample before that reply's start to its end.
    pub(crate) server_ran_ns: u64,
}

pub(crate) struct PauseRecorder {
    origin: Instant,
    threshold_ns: u64,
    watch: Option<Watch>,
    pub(crate) slow_replies: u64,
    pub(crate) pauses_left_out: u64,
    pub(crate) pauses: Vec<Pause>,
}

impl PauseRecorder {
    pub(crate) fn new(origin: Instant, threshold_ns: u64, watch_pid: Option<u32>) -> std::io::Result<Self> {
        let watch = watch_pid.map(Watch::new).transpose()?;
        Ok(Self { origin, threshold_ns, watch, slow_replies: 0, pauses_left_out: 0, pauses: Vec::new() })
    }

    /// Called once per loop turn; takes a sample when the last one is old enough.
    pub(crate) fn turn(&mut self, now_ns: u64) {
        if let Some(watch) = &mut self.watch
            && now_ns >= watch.last_ns() + SAMPLE_EVERY_NS
        {
            watch.sample(now_ns);
        }
    }

    /// Called for replies that came together at `now_ns` to requests sent at `sent_ns`.
    pub(crate) fn replies(&mut self, sent_ns: u64, now_ns: u64, count: u32, operations: u64) {
        let latency_ns = now_ns - sent_ns;
        if latency_ns <= self.threshold_ns {
            return;
        }
        self.slow_replies += u64::from(count);
        let mut pause = Pause {
            start_ns: sent_ns,
            end_ns: now_ns,
            replies: u64::from(count),
            latency_ns,
            at_operation: operations,
            scheduler_ns: 0,
            generator_ns: 0,
            server_ns: latency_ns,
            server_ran_ns: 0,
        };
        if let Some(watch) = &mut self.watch {
            let later_ns = self.origin.elapsed().as_nanos() as u64;
            if later_ns >= watch.last_ns() + SAMPLE_AGAIN_NS {
                watch.sample(later_ns);
            }
            watch.explain(&mut pause);
        }
        let full = self.pauses.len() == PAUSES_MAX;
        match self.pauses.last_mut() {
            Some(last) if pause.start_ns <= last.end_ns => last.absorb(pause),
            _ if full => self.pauses_left_out += 1,
            _ => self.pauses.push(pause),
        }
    }
}

impl Pause {
    fn absorb(&mut self, other: Self) {
        self.start_ns = self.start_ns.min(other.start_ns);
        self.end_ns = self.end_ns.max(other.end_ns);
        self.replies += other.replies;
        self.latency_ns = self.latency_ns.max(other.latency_ns);
        if other.server_ns > self.server_ns {
            self.server_ns = other.server_ns;
            self.scheduler_ns = other.scheduler_ns;
            self.generator_ns = other.generator_ns;
            self.server_ran_ns = other.server_ran_ns;
        }
    }
}

/// Time on a core and time waiting for one, in nanoseconds since the thread began.
#[derive(Clone, Copy, Default)]
struct Usage {
    ran: u64,
    waited: u64,
}

/// Totals at one moment.
struct Sample {
    at_ns: u64,
    /// By position in `Watch::threads`; threads found later are missing here.
    server: Vec<Usage>,
    generator_waited: u64,
    softirq_waited: u64,
}

/// A thread of the server. One that has ended keeps its place and its last totals.
struct Thread {
    id: OsString,
    schedstat: File,
    first: Usage,
    last: Usage,
}

/// Reads the server's and this process's schedstat, and keeps the recent past.
struct Watch {
    pid: u32,
    threads: Vec<Thread>,
    own: File,
    softirq: Vec<File>,
    /// Time this process spent on listing threads: its own pauses, not the server's.
    listing_ns: u64,
    listed_ns: u64,
    samples: VecDeque<Sample>,
}

impl Watch {
    fn new(pid: u32) -> std::io::Result<Self> {
        let mut watch = Self {
            pid,
            threads: Vec::new(),
            own: File::open("/proc/thread-self/schedstat")?,
            softirq: softirq_threads()?,
            listing_ns: 0,
            listed_ns: 0,
            samples: VecDeque::new(),
        };
        watch.list_threads()?;
        watch.sample(0);
        Ok(watch)
    }

    fn last_ns(&self) -> u64 {
        self.samples.back().map_or(0, |sample| sample.at_ns)
    }

    fn list_threads(&mut self) -> std::io::Result<()> {
        for task in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let task = task?;
            let id = task.file_name();
            if self.threads.len() == THREADS_MAX || self.threads.iter().any(|thread| thread.id == id) {
                continue;
            }
            let Ok(schedstat) = File::open(task.path().join("schedstat")) else { continue };
            let first = read_schedstat(&schedstat).unwrap_or_default();
            self.threads.push(Thread { id, schedstat, first, last: first });
        }
        Ok(())
    }

    fn sample(&mut self, now_ns: u64) {
        if now_ns >= self.listed_ns + LIST_EVERY_NS {
            self.listed_ns = now_ns;
            let before = Instant::now();
            // A server that has gone is noticed by its connections.
            let _ = self.list_threads();
            self.listing_ns += before.elapsed().as_nanos() as u64;
        }
        for thread in &mut self.threads {
            thread.last = read_schedstat(&thread.schedstat).unwrap_or(thread.last);
        }
        // The oldest sample's memory is used again: the ring is full after half a second.
        let mut server = if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front().map(|sample| sample.server).unwrap_or_default()
        } else {
            Vec::new()
        };
        server.clear();
        server.extend(self.threads.iter().map(|thread| thread.last));
        self.samples.push_back(Sample {
            at_ns: now_ns,
            server,
            generator_waited: self.listing_ns + read_schedstat(&self.own).unwrap_or_default().waited,
            softirq_waited: self.softirq.iter().filter_map(read_schedstat).map(|usage| usage.waited).sum(),
        });
    }

    /// Splits the pause's latency; without a sample from before its start all of it stays with the server.
    fn explain(&self, pause: &mut Pause) {
        let Some(after) = self.samples.back() else { return };
        let Some(before) = self.samples.iter().rev().find(|sample| sample.at_ns <= pause.start_ns) else {
            return;
        };
        let gained: Vec<Usage> =
            (0..after.server.len()).map(|index| self.gained(index, before, after)).collect();
        let busiest = gained[self.busiest(after)];
        let by_own_threads = gained.iter().map(|usage| usage.ran).sum::<u64>() - busiest.ran;
        let generator_waited = after.generator_waited.saturating_sub(before.generator_waited);
        let softirq_waited = after.softirq_waited.saturating_sub(before.softirq_waited);

        pause.server_ran_ns = busiest.ran;
        pause.scheduler_ns = busiest.waited.saturating_sub(by_own_threads).min(pause.latency_ns);
        let left = pause.latency_ns - pause.scheduler_ns;
        pause.generator_ns = generator_waited.min(left);
        pause.server_ns = left - pause.generator_ns;
        // A server that hogs its core makes ksoftirqd wait too, so what the server ran stays its own.
        let softirq_ns = softirq_waited.min(pause.server_ns.saturating_sub(busiest.ran));
        pause.scheduler_ns += softirq_ns;
        pause.server_ns -= softirq_ns;
    }

    /// The thread that serves: what it ran during the load decides, not what it ran to start up.
    fn busiest(&self, sample: &Sample) -> usize {
        let ran = |index: &usize| sample.server[*index].ran.saturating_sub(self.threads[*index].first.ran);
        (0..sample.server.len()).max_by_key(ran).expect("a process has a thread")
    }

    fn gained(&self, index: usize, before: &Sample, after: &Sample) -> Usage {
        let (old, new) =
            (before.server.get(index).unwrap_or(&self.threads[index].first), after.server[index]);
        Usage { ran: new.ran.saturating_sub(old.ran), waited: new.waited.saturating_sub(old.waited) }
    }
}

/// The schedstat of each core's ksoftirqd, which delivers the packets of a busy core; none inside a PID namespace.
fn softirq_threads() -> std::io::Result<Vec<File>> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc")? {
        let path = process?.path();
        if fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with("ksoftirqd/"))
            && let Ok(schedstat) = File::open(path.join("schedstat"))
        {
            found.push(schedstat);
        }
    }
    Ok(found)
}

fn read_schedstat(file: &File) -> Option<Usage> {
    let mut buffer = [0; 96];
    let read = file.read_at(&mut buffer, 0).ok()?;
    parse_schedstat(std::str::from_utf8(&buffer[..read]).ok()?)
}

fn parse_schedstat(text: &str) -> Option<Usage> {
    let mut fields = text.split_ascii_whitespace().map(str::parse);
    Some(Usage { ran: fields.next()?.ok()?, waited: fields.next()?.ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn recorder() -> PauseRecorder {
        PauseRecorder::new(Instant::now(), MS, None).expect("no files involved")
    }

    #[test]
    fn schedstat_lines() {
        let usage = parse_schedstat("616038 80891 1\n").expect("as the kernel writes it");
        assert_eq!((usage.ran, usage.waited), (616_038, 80_891));
        assert!(parse_schedstat("").is_none());
    }

    #[test]
    fn overlapping_slow_replies_are_one_pause() {
        let mut recorder = recorder();
        recorder.replies(0, MS, 16, 100); // exactly at the threshold: not slow
        recorder.replies(10 * MS, 15 * MS, 16, 200);
        recorder.replies(11 * MS, 17 * MS, 4, 216);
        recorder.replies(20 * MS, 22 * MS, 1, 300);
        assert_eq!(recorder.slow_replies, 21);
        let pauses: Vec<(u64, u64, u64)> =
            recorder.pauses.iter().map(|p| (p.start_ns / MS, p.latency_ns / MS, p.replies)).collect();
        assert_eq!(pauses, [(10, 6, 20), (20, 2, 1)]);
    }

    /// Two threads of the server in ms: (ran, waited) each; the generator's and ksoftirqd's waiting.
    fn sample(at: u64, server: [(u64, u64); 2], generator: u64, softirq: u64) -> Sample {
        Sample {
            at_ns: at * MS,
            server: server
                .iter()
                .map(|&(ran, waited)| Usage { ran: ran * MS, waited: waited * MS })
                .collect(),
            generator_waited: generator * MS,
            softirq_waited: softirq * MS,
        }
    }

    #[test]
    fn waiting_for_a_core_is_not_the_servers_fault() {
        // The server's second thread serves: it waited 4 ms, of which the first thread ran 1 ms. The generator
        // waited 1 ms, ksoftirqd 2 ms. A reply took 9 ms. (ran by the serving thread) -> scheduler, generator, server
        for (ran, expected) in [(2, (5, 1, 3)), (4, (4, 1, 4)), (5, (3, 1, 5)), (9, (3, 1, 5))] {
            let mut watch = Watch::new(std::process::id()).expect("own schedstat is readable");
            let thread = || Thread {
                id: OsString::new(),
                schedstat: File::open("/proc/thread-self/schedstat").expect("own schedstat"),
                first: Usage::default(),
                last: Usage::default(),
            };
            watch.threads = vec![thread(), thread()];
            watch.samples = [sample(0, [(0, 0), (0, 0)], 0, 0), sample(10, [(1, 9), (ran, 4)], 1, 2)].into();
            let mut recorder = recorder();
            recorder.replies(MS, 10 * MS, 1, 1);
            let mut pause = recorder.pauses.remove(0);
            watch.explain(&mut pause);
            let shares = (pause.scheduler_ns / MS, pause.generator_ns / MS, pause.server_ns / MS);
            assert_eq!(shares, expected, "ran {ran} ms");
        }
    }
}
