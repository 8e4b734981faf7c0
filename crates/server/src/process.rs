//! Facts about this process that do not change while it runs, and the few states that are the process's as a whole.

use std::path::PathBuf;
use std::sync::atomic::AtomicU16;

use torc_persist::seal::Keys;
use torc_runtime::{clock, seed};

use crate::aof::Aof;
use crate::memory::MemoryWatch;
use crate::saving::Saves;

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
    pub saves: Saves,
    pub aof: Aof,
    /// Of encryption at rest.
    pub keys: Keys,
}

impl ProcessInfo {
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
            saves: Saves::new(shards, started_ms),
            aof: Aof::new(shards),
            keys: Keys::default(),
        }
    }
}
