//! Snapshots of the whole server: what is known of the last one, and the file that one is written to.
//!
//! Owns the account of saves for the process. Shards hand saved keys to the thread of a [`SaveJob`], which writes them
//! beside the shards ([`file`]). Touched when a save begins or ends and ten times a second; never per command.

mod file;
pub mod load;
pub mod loading;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard};

use torc_datatypes::rdb::code;
use torc_persist::rdb::Database;

use crate::aof::OpenSegment;
use crate::packet::ShardId;

pub use file::{FilePlan, Message, write};

/// Saved parts of one shard that wait for the file.
pub const PARTS_IN_FLIGHT_MAX: usize = 8;

/// The process's account of saves.
#[derive(Debug)]
pub struct Saves {
    state: Mutex<State>,
    /// Changes of each shard since the start, as of its last tick.
    changes: Box<[AtomicU64]>,
    /// Libraries of functions that came with a file: kept for the next one.
    functions: Mutex<Vec<Vec<u8>>>,
}

/// What is known of saves and of the load at start.
#[derive(Clone, Debug)]
pub struct State {
    pub running: Option<Arc<SaveJob>>,
    /// A snapshot is wanted as soon as nothing else is written.
    pub is_scheduled: bool,
    /// Unix seconds; at first the start of the server, as in Redis.
    pub last_save_s: i64,
    pub last_is_ok: bool,
    /// Unix ms.
    pub last_try_ms: i64,
    pub last_took_s: Option<i64>,
    pub saves: u64,
    /// Changes of all shards that the last save has.
    pub changes_saved: u64,
    /// Bytes that the last save held in memory at most.
    pub last_held_bytes: u64,
    pub keys_loaded: u64,
    pub keys_expired: u64,
}

/// Who wants a save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SAVE, DEBUG RELOAD, SHUTDOWN: its failure is told to who waits.
    Foreground,
    /// BGSAVE and save points.
    Background,
    /// The base of a log that is written anew: no snapshot to anybody.
    Rewrite,
}

/// A save under way.
#[derive(Debug)]
pub struct SaveJob {
    pub kind: Kind,
    /// The server ends after it.
    pub is_last: bool,
    /// The RDB version to be written.
    pub version: u16,
    /// Unix ms.
    pub started_ms: i64,
    pub temporary: PathBuf,
    to_file: Sender<Message>,
    /// Parts of each shard that wait for the file.
    in_flight: Box<[AtomicUsize]>,
    is_over: AtomicBool,
    is_cancelled: AtomicBool,
    /// What the cut counted, added up over the shards.
    changes: AtomicU64,
    databases: Mutex<Vec<Database>>,
    pub held_bytes_max: AtomicU64,
    /// Keys that were saved, or begun to be.
    pub keys_saved: AtomicU64,
    outcome: Mutex<Option<Result<(), String>>>,
    /// For each shard the segment in which its log goes on after the cut.
    segments: Mutex<Vec<Option<OpenSegment>>>,
    /// Which log that is ([`crate::aof::State::switched_off`]); `None` if the log is off.
    pub of_log: Option<u64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder panics")
}

impl Saves {
    pub fn new(shards: usize, started_ms: i64) -> Saves {
        Saves {
            state: Mutex::new(State {
                running: None,
                is_scheduled: false,
                last_save_s: started_ms / 1000,
                last_is_ok: true,
                last_try_ms: 0,
                last_took_s: None,
                saves: 0,
                changes_saved: 0,
                last_held_bytes: 0,
                keys_loaded: 0,
                keys_expired: 0,
            }),
            changes: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            functions: Mutex::new(Vec::new()),
        }
    }

    pub fn state(&self) -> State {
        lock(&self.state).clone()
    }

    pub fn functions(&self) -> Vec<Vec<u8>> {
        lock(&self.functions).clone()
    }

    pub fn keep_functions(&self, functions: Vec<Vec<u8>>) {
        *lock(&self.functions) = functions;
    }

    pub fn note_loaded(&self, keys_loaded: u64, keys_expired: u64) {
        let mut state = lock(&self.state);
        (state.keys_loaded, state.keys_expired) = (keys_loaded, keys_expired);
    }

    /// A shard's changes since the start.
    pub fn note_changes(&self, shard: ShardId, changes: u64) {
        self.changes[usize::from(shard)].store(changes, Ordering::Relaxed);
    }

    /// Changes of all shards since the last save, as of their last ticks.
    pub fn changes_since(&self, state: &State) -> u64 {
        let all: u64 = self.changes.iter().map(|changes| changes.load(Ordering::Relaxed)).sum();
        all.saturating_sub(state.changes_saved)
    }

    /// A job begins, unless one is under way.
    pub fn begin(&self, job: impl FnOnce() -> Arc<SaveJob>) -> Option<Arc<SaveJob>> {
        let mut state = lock(&self.state);
        if state.running.is_some() {
            return None;
        }
        let job = job();
        if job.kind != Kind::Rewrite {
            state.last_try_ms = job.started_ms;
        }
        state.running = Some(Arc::clone(&job));
        state.is_scheduled &= job.kind != Kind::Background;
        Some(job)
    }

    /// A snapshot is wanted as soon as nothing else is written, or is not any more; what held before.
    pub fn schedule(&self, is_wanted: bool) -> bool {
        std::mem::replace(&mut lock(&self.state).is_scheduled, is_wanted)
    }

    /// A job has ended. A cancelled one says nothing about the next, as in Redis.
    pub fn end(&self, job: &SaveJob, result: &Result<(), String>, now_ms: i64) {
        let mut state = lock(&self.state);
        state.running = None;
        if job.kind == Kind::Rewrite {
            return;
        }
        state.last_held_bytes = job.held_bytes_max.load(Ordering::Relaxed);
        if job.kind == Kind::Background {
            state.last_took_s = Some((now_ms - job.started_ms) / 1000);
        }
        if result.is_ok() {
            state.saves += 1;
            state.last_is_ok = true;
            state.last_save_s = now_ms / 1000;
            state.changes_saved = job.changes.load(Ordering::Relaxed);
        } else if !job.is_cancelled() {
            state.last_is_ok = false;
        }
    }

    /// Give up a job that is under way; false if there is none.
    pub fn cancel(&self) -> bool {
        let running = lock(&self.state).running.clone();
        running.is_some_and(|job| {
            job.cancel();
            true
        })
    }
}

impl SaveJob {
    /// The account of a job whose thread reads from the other end of `to_file`.
    pub fn new(
        kind: Kind,
        shards: usize,
        started_ms: i64,
        temporary: PathBuf,
        to_file: Sender<Message>,
    ) -> SaveJob {
        SaveJob {
            kind,
            is_last: false,
            version: code::VERSION,
            started_ms,
            temporary,
            to_file,
            in_flight: (0..shards).map(|_| AtomicUsize::new(0)).collect(),
            is_over: AtomicBool::new(false),
            is_cancelled: AtomicBool::new(false),
            changes: AtomicU64::new(0),
            databases: Mutex::new(Vec::new()),
            held_bytes_max: AtomicU64::new(0),
            keys_saved: AtomicU64::new(0),
            outcome: Mutex::new(None),
            segments: Mutex::new(Vec::new()),
            of_log: None,
        }
    }

    /// The same for a rewrite of the log.
    pub fn with_segments(mut self, segments: Vec<OpenSegment>, of_log: Option<u64>) -> SaveJob {
        self.segments = Mutex::new(segments.into_iter().map(Some).collect());
        self.of_log = of_log;
        self
    }

    /// Where a shard's log goes on behind its cut, if this is a rewrite.
    pub fn take_segment(&self, shard: ShardId) -> Option<OpenSegment> {
        lock(&self.segments).get_mut(usize::from(shard)).and_then(Option::take)
    }

    /// One shard's part of the cut.
    pub fn count(&self, changes: u64, databases: impl Iterator<Item = Database>) {
        self.changes.fetch_add(changes, Ordering::Relaxed);
        let mut sums = lock(&self.databases);
        for (db, counts) in databases.enumerate() {
            if db >= sums.len() {
                sums.resize(db + 1, Database::default());
            }
            sums[db].keys += counts.keys;
            sums[db].volatile += counts.volatile;
        }
    }

    /// Keys that were there at the cut.
    pub fn keys(&self) -> u64 {
        lock(&self.databases).iter().map(|database| database.keys).sum()
    }

    pub fn databases(&self) -> Vec<Database> {
        lock(&self.databases).clone()
    }

    /// Hand something to the file's thread, which reads until every shard has said that it is through.
    pub fn send(&self, message: Message) {
        if let Message::Part { shard, .. } = &message {
            self.in_flight[usize::from(*shard)].fetch_add(1, Ordering::AcqRel);
        }
        self.to_file.send(message).expect("the file's thread reads to the end");
    }

    /// May this shard send another part?
    pub fn has_room(&self, shard: ShardId) -> bool {
        self.in_flight[usize::from(shard)].load(Ordering::Acquire) < PARTS_IN_FLIGHT_MAX
    }

    /// A part was written; true if its shard may have waited for that.
    fn part_is_written(&self, shard: ShardId) -> bool {
        self.in_flight[usize::from(shard)].fetch_sub(1, Ordering::AcqRel) == PARTS_IN_FLIGHT_MAX
    }

    /// It has failed or was cancelled: nothing more needs to be saved.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Acquire)
    }

    fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Release);
        self.is_over.store(true, Ordering::Release);
    }

    /// The end of the job, once it has come; it is told once.
    pub fn take_outcome(&self) -> Option<Result<(), String>> {
        lock(&self.outcome).take()
    }
}
