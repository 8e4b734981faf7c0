//! Records every reply slower than a threshold, and says who caused it: the server, the scheduler, or this process.
//!
//! The kernel counts for each thread the time it was runnable but waited for a core
//! (`/proc/<pid>/task/<tid>/schedstat`, second field). What the server's busiest thread waited during a pause,
//! less what the server's *other* threads ran meanwhile (those are the server's own doing), is the scheduler's
//! share; what this process waited is the generator's. The rest is counted as the server's. Time stolen by a
//! hypervisor is invisible here: the same load against an echo (`torc-bench echo`) shows how much that is.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

/// Samples kept, one per `SAMPLE_EVERY_NS`: pauses up to half a second find a sample from before their start.
const SAMPLES_MAX: usize = 512;
const SAMPLE_EVERY_NS: u64 = 1_000_000;
/// Slow replies that come together share a sample.
const SAMPLE_AGAIN_NS: u64 = 50_000;
/// Threads come and go; the list is read again this often.
const RESCAN_EVERY_NS: u64 = 500_000_000;
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

/// Running totals at one moment, in nanoseconds.
#[derive(Clone, Copy)]
struct Sample {
    at_ns: u64,
    busiest_ran: u64,
    busiest_waited: u64,
    others_ran: u64,
    generator_waited: u64,
}

struct Thread {
    id: OsString,
    schedstat: File,
    /// What it had run when it was first seen: start-up work says nothing about who serves.
    ran_before: u64,
    ran: u64,
    waited: u64,
}

/// Reads the server's and this process's schedstat, and keeps the recent past.
struct Watch {
    pid: u32,
    threads: Vec<Thread>,
    busiest: usize,
    own: File,
    /// Time this process spent on listing threads: its own pauses, not the server's.
    listing_ns: u64,
    scanned_ns: u64,
    samples: VecDeque<Sample>,
}

impl Watch {
    fn new(pid: u32) -> std::io::Result<Self> {
        let own = File::open("/proc/thread-self/schedstat")?;
        let mut watch = Self {
            pid,
            threads: Vec::new(),
            busiest: 0,
            own,
            listing_ns: 0,
            scanned_ns: 0,
            samples: VecDeque::new(),
        };
        watch.scan()?;
        watch.sample(0);
        Ok(watch)
    }

    fn last_ns(&self) -> u64 {
        self.samples.back().map_or(0, |sample| sample.at_ns)
    }

    /// Lists the server's threads again. Samples before a change of the list cannot be compared with later ones.
    fn scan(&mut self) -> std::io::Result<()> {
        let mut ids = Vec::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            ids.push(task?.file_name());
        }
        let known = self.threads.len();
        self.threads.retain(|thread| ids.contains(&thread.id));
        let mut changed = self.threads.len() != known;
        for id in ids {
            if self.threads.iter().any(|thread| thread.id == id) {
                continue;
            }
            let path = Path::new("/proc").join(self.pid.to_string()).join("task").join(&id).join("schedstat");
            let Ok(schedstat) = File::open(path) else { continue };
            let (ran, waited) = read_schedstat(&schedstat).unwrap_or((0, 0));
            self.threads.push(Thread { id, schedstat, ran_before: ran, ran, waited });
            changed = true;
        }
        if changed {
            self.samples.clear();
        }
        Ok(())
    }

    fn sample(&mut self, now_ns: u64) {
        if now_ns >= self.scanned_ns + RESCAN_EVERY_NS {
            self.scanned_ns = now_ns;
            let before = Instant::now();
            if self.scan().is_err() {
                self.threads.clear();
            }
            self.listing_ns += before.elapsed().as_nanos() as u64;
        }
        for thread in &mut self.threads {
            if let Some((ran, waited)) = read_schedstat(&thread.schedstat) {
                (thread.ran, thread.waited) = (ran, waited);
            }
        }
        let busiest = (0..self.threads.len())
            .max_by_key(|&i| self.threads[i].ran - self.threads[i].ran_before)
            .unwrap_or(0);
        if busiest != self.busiest {
            self.busiest = busiest;
            self.samples.clear();
        }
        let server = self.threads.get(busiest);
        let all_ran: u64 = self.threads.iter().map(|thread| thread.ran).sum();
        let busiest_ran = server.map_or(0, |thread| thread.ran);
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            at_ns: now_ns,
            busiest_ran,
            busiest_waited: server.map_or(0, |thread| thread.waited),
            others_ran: all_ran - busiest_ran,
            generator_waited: self.listing_ns + read_schedstat(&self.own).map_or(0, |(_, waited)| waited),
        });
    }

    /// Splits the pause's latency; without a sample from before its start all of it stays with the server.
    fn explain(&self, pause: &mut Pause) {
        let Some(after) = self.samples.back() else { return };
        let Some(before) = self.samples.iter().rev().find(|sample| sample.at_ns <= pause.start_ns) else {
            return;
        };
        let waited = after.busiest_waited.saturating_sub(before.busiest_waited);
        let by_own_threads = after.others_ran.saturating_sub(before.others_ran);
        pause.scheduler_ns = waited.saturating_sub(by_own_threads).min(pause.latency_ns);
        let left = pause.latency_ns - pause.scheduler_ns;
        pause.generator_ns = after.generator_waited.saturating_sub(before.generator_waited).min(left);
        pause.server_ns = left - pause.generator_ns;
        pause.server_ran_ns = after.busiest_ran.saturating_sub(before.busiest_ran);
    }
}

/// (time on a core, time waiting for one), in nanoseconds.
fn read_schedstat(file: &File) -> Option<(u64, u64)> {
    let mut buffer = [0; 96];
    let read = file.read_at(&mut buffer, 0).ok()?;
    parse_schedstat(std::str::from_utf8(&buffer[..read]).ok()?)
}

fn parse_schedstat(text: &str) -> Option<(u64, u64)> {
    let mut fields = text.split_ascii_whitespace();
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
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
        assert_eq!(parse_schedstat("616038 80891 1\n"), Some((616_038, 80_891)));
        assert_eq!(parse_schedstat(""), None);
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

    #[test]
    fn waiting_for_a_core_is_not_the_servers_fault() {
        let mut watch = Watch::new(std::process::id()).expect("own schedstat is readable");
        let sample = |at, waited, others, generator| Sample {
            at_ns: at,
            busiest_ran: 0,
            busiest_waited: waited,
            others_ran: others,
            generator_waited: generator,
        };
        watch.samples = [sample(0, 0, 0, 0), sample(10 * MS, 4 * MS, MS, MS)].into();
        let mut recorder = recorder();
        recorder.replies(MS, 10 * MS, 1, 1);
        let mut pause = recorder.pauses.remove(0);
        watch.explain(&mut pause);
        // 9 ms = 4 ms waiting less 1 ms of the server's own other threads, 1 ms of the generator, 5 ms the server.
        assert_eq!((pause.scheduler_ns, pause.generator_ns, pause.server_ns), (3 * MS, MS, 5 * MS));
    }
}
