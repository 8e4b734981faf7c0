//! The state of a load at start, while the shards run already and answer -LOADING.
//!
//! Owns the hand-over: the thread that loads lays each shard's data ready, every shard takes its own, and the gate opens
//! everywhere when all have. Read by INFO and health checks.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

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

/// How far a load is.
#[derive(Debug, Default)]
pub struct Progress {
    pub total_bytes: AtomicU64,
    pub loaded_bytes: AtomicU64,
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
