//! The state of a load at start, while the shards run already and answer -LOADING.
//!
//! Owns the hand-over: the thread that loads lays each shard's data ready, every shard takes its own, and the gate opens
//! everywhere when all have. Read by INFO and health checks. And the account of how far the load is, for INFO and the log.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use torc_keyspace::Keyspace;

use crate::aof::OpenSegment;
use crate::packet::ShardId;

/// What one shard begins with.
#[derive(Default)]
pub struct Inheritance {
    pub keyspace: Option<Keyspace>,
    /// Where its log begins, if there is to be one.
    pub segment: Option<OpenSegment>,
}

/// A load under way, or over.
pub struct Loading {
    places: Vec<Mutex<Option<Inheritance>>>,
    /// Shards that have taken what is theirs.
    taken: AtomicUsize,
    is_laid_out: AtomicBool,
    started_ms: AtomicI64,
    pub progress: Arc<Progress>,
}

/// How far a load is. Whoever reads a file counts a window of it at a time.
#[derive(Debug, Default)]
pub struct Progress {
    /// Of the files that are to be loaded; a pipe has no length.
    pub total_bytes: AtomicU64,
    /// A log is read twice: what of it counts must be known before the first effect is repeated.
    pub checked_bytes: Arc<AtomicU64>,
    pub loaded_bytes: Arc<AtomicU64>,
    /// `used_memory` of the server that wrote the snapshot, as that says.
    pub rdb_used_memory: AtomicU64,
}

/// How often the log says how far a load is.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// Says in the log how far a load is, until it is dropped.
pub struct Teller {
    /// Nothing is sent.
    running: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Teller {
    pub fn start(progress: Arc<Progress>) -> Teller {
        let (running, ended) = mpsc::channel();
        let tell = move || {
            while ended.recv_timeout(TELL_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                progress.tell();
            }
        };
        // Without it the load is only a silent one.
        let thread = std::thread::Builder::new().name("torc-loading".into()).spawn(tell).ok();
        Teller { running: Some(running), thread }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        drop(self.running.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Progress {
    /// Bytes that are loaded, and of how many.
    pub fn loaded_of(&self) -> (u64, u64) {
        let loaded = self.loaded_bytes.load(Ordering::Relaxed);
        (loaded, self.total_bytes.load(Ordering::Relaxed).max(loaded).max(1))
    }

    /// What the server that wrote a snapshot notes of itself.
    pub fn note_aux(&self, name: &[u8], text: &[u8]) {
        if name == b"used-mem"
            && let Some(bytes) = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok())
        {
            self.rdb_used_memory.store(bytes, Ordering::Relaxed);
        }
    }

    fn tell(&self) {
        let (loaded_bytes, total_bytes) = self.loaded_of();
        let checked_bytes = self.checked_bytes.load(Ordering::Relaxed);
        if loaded_bytes == 0 && checked_bytes > 0 {
            tracing::info!(checked_bytes, total_bytes, "the log is being checked");
        } else {
            let percent = loaded_bytes * 100 / total_bytes;
            tracing::info!(loaded_bytes, total_bytes, percent, "the data are being loaded");
        }
    }
}

impl std::fmt::Debug for Loading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loading").field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl Loading {
    pub fn new(shards: usize) -> Loading {
        Loading {
            places: (0..shards).map(|_| Mutex::new(None)).collect(),
            taken: AtomicUsize::new(0),
            is_laid_out: AtomicBool::new(false),
            started_ms: AtomicI64::new(0),
            progress: Arc::new(Progress::default()),
        }
    }

    /// Where nothing is to be loaded (tests).
    pub fn over(shards: usize) -> Loading {
        let loading = Loading::new(shards);
        loading.taken.store(shards, Ordering::Release);
        loading
    }

    pub fn begin(&self, now_ms: i64) {
        self.started_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Unix ms.
    pub fn started_ms(&self) -> i64 {
        self.started_ms.load(Ordering::Relaxed)
    }

    /// Everything is loaded: one part for each shard.
    pub fn lay_out(&self, parts: Vec<Inheritance>) {
        for (place, part) in self.places.iter().zip(parts) {
            *place.lock().expect("no holder panics") = Some(part);
        }
        self.is_laid_out.store(true, Ordering::Release);
    }

    /// A shard's part, once it is there; [`Loading::installed`] tells that it is in place.
    pub fn take(&self, shard: ShardId) -> Option<Inheritance> {
        if !self.is_laid_out.load(Ordering::Acquire) {
            return None;
        }
        self.places[usize::from(shard)].lock().expect("no holder panics").take()
    }

    pub fn installed(&self) {
        self.taken.fetch_add(1, Ordering::AcqRel);
    }

    /// Every shard has its data.
    pub fn is_over(&self) -> bool {
        self.taken.load(Ordering::Acquire) >= self.places.len()
    }
}
