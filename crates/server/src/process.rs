//! Facts about this process that do not change while it runs, and the few states that are the process's as a whole.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering};

use sd_notify::NotifyState;
use torc_persist::seal::Keys;
use torc_runtime::{clock, seed};

use crate::aof::Aof;
use crate::budget::Budget;
use crate::memory::{self, MemoryFigures, MemoryWatch};
use crate::metrics::Board;
use crate::saving::Saves;
use crate::saving::loading::Loading;
use crate::shard::client_memory::ClientMemoryBoard;

/// Version that clients see in HELLO and INFO: the Redis release whose behaviour torc offers.
pub const REDIS_VERSION: &str = "7.2.4";

/// This program's own version.
pub const TORC_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Facts about this process.
#[derive(Debug)]
pub struct ProcessInfo {
    /// 40 random hex digits, new at every start.
    pub run_id: String,
    pub pid: u32,
    /// Changed by CONFIG SET.
    pub tcp_port: AtomicU16,
    pub shards: usize,
    /// Unix ms.
    pub started_ms: i64,
    pub executable: PathBuf,
    pub memory: MemoryWatch,
    /// Of memory.
    pub budget: Budget,
    /// The allocator was told to keep no unused pages.
    pages_go_soon: AtomicBool,
    pub saves: Saves,
    pub aof: Aof,
    /// The load at start.
    pub loading: Loading,
    /// Of encryption at rest.
    pub keys: Keys,
    pub phase: PhaseCell,
    /// What shards show of themselves for metrics.
    pub board: Board,
    /// What the clients of each shard hold.
    pub client_memory: ClientMemoryBoard,
}

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Keys are being read from files.
    Loading,
    /// Clients are served.
    Ready,
    /// The process is going to end.
    Stopping,
}

/// The phase, to be read by any thread. Owns what systemd is told.
#[derive(Debug)]
pub struct PhaseCell {
    phase: AtomicU8,
    /// Changes are told to systemd.
    is_announced: AtomicBool,
}

impl PhaseCell {
    fn new() -> PhaseCell {
        PhaseCell { phase: AtomicU8::new(Phase::Loading as u8), is_announced: AtomicBool::new(false) }
    }

    /// From now on tell systemd, if it has said where.
    pub fn announce(&self) {
        self.is_announced.store(true, Ordering::Relaxed);
    }

    pub fn get(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Loading,
            1 => Phase::Ready,
            _ => Phase::Stopping,
        }
    }

    pub fn set(&self, phase: Phase) {
        let before = self.phase.swap(phase as u8, Ordering::AcqRel);
        if before == phase as u8 || !self.is_announced.load(Ordering::Relaxed) {
            return;
        }
        let news = match phase {
            Phase::Loading => return,
            Phase::Ready => NotifyState::Ready,
            Phase::Stopping => NotifyState::Stopping,
        };
        if let Err(error) = sd_notify::notify(&[news]) {
            tracing::warn!(%error, "systemd was not told of the state of the server");
        }
    }
}

impl ProcessInfo {
    /// Look at what the allocator has handed out.
    pub fn measure_memory(&self) {
        let MemoryFigures { allocated, resident, .. } = memory::allocator_figures();
        self.memory.note_peak();
        let is_tight = self.budget.measure(allocated, resident, self.memory.exempt());
        if self.pages_go_soon.swap(is_tight, Ordering::Relaxed) != is_tight {
            memory::give_pages_back_soon(is_tight);
        }
    }

    /// What is in use, as it is compared with `maxmemory`, of what the allocator has handed out.
    pub fn used_memory(&self, allocated: usize) -> usize {
        let uncounted = self.memory.exempt() + self.budget.uncounted();
        self.budget.used().unwrap_or(allocated.saturating_sub(uncounted))
    }

    pub fn new(tcp_port: u16, shards: usize) -> ProcessInfo {
        let random: [u8; 20] = seed::random_bytes();
        let started_ms = clock::unix_ms();
        ProcessInfo {
            run_id: random.iter().map(|byte| format!("{byte:02x}")).collect(),
            pid: std::process::id(),
            tcp_port: AtomicU16::new(tcp_port),
            shards,
            started_ms,
            executable: std::env::current_exe().unwrap_or_default(),
            memory: MemoryWatch::new(),
            budget: Budget::new(shards),
            pages_go_soon: AtomicBool::new(false),
            saves: Saves::new(shards, started_ms),
            aof: Aof::new(shards),
            loading: Loading::over(shards),
            keys: Keys::default(),
            phase: PhaseCell::new(),
            board: Board::new(shards),
            client_memory: ClientMemoryBoard::new(shards),
        }
    }
}
