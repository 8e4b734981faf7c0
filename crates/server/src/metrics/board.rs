//! Where every shard lays a copy of its figures for others to read.
//!
//! Owns one place per shard. A shard renews its copy on a tick, into memory it has used before; if a reader holds the place
//! just then, the shard goes on and tries again at the next tick. So no shard ever waits for a reader.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use torc_runtime::{CpuTimes, CpuTimesOf, cpu_times};

use crate::config::Config;
use crate::packet::ShardId;
use crate::pubsub::Kind;
use crate::session::info::{ClientTotals, DatabaseFigures};
use crate::shard::Shard;
use crate::shard::command_log::LogKind;
use crate::shard::stats::ShardStats;

/// Every so many ticks a shard looks at all its clients.
const TICKS_PER_LOOK_AT_CLIENTS: u64 = 10;

/// The figures of one shard at one moment.
#[derive(Clone, Default)]
pub struct Snapshot {
    pub shard: ShardId,
    /// Snapshots of this shard so far.
    pub number: u64,
    pub stats: ShardStats,
    pub keyspace: torc_keyspace::Stats,
    /// Of each database.
    pub databases: Vec<DatabaseFigures>,
    /// `connected` is of this moment, the rest up to a second old.
    pub clients: ClientTotals,
    pub gauges: LoopGauges,
    pub slow_log_len: usize,
    pub channels: usize,
    pub patterns: usize,
    pub tracking_clients: usize,
    pub stale_share: f64,
    pub release_pending: usize,
    /// Bytes for the append-only file that wait to be written.
    pub unwritten_log_bytes: usize,
    pub changes: u64,
    /// CPU time of the shard's thread.
    pub cpu: CpuTimes,
    pub config: Option<Arc<Config>>,
}

/// What a loop knows and its shard does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopGauges {
    /// Calls of `io_uring_enter` so far.
    pub ring_enters: u64,
    /// Packets from other shards that wait in the channels.
    pub packets_waiting: usize,
    /// Packets for other shards whose channel is full.
    pub packets_held_back: usize,
}

/// One place per shard.
pub struct Board {
    places: Box<[Mutex<Snapshot>]>,
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").field("shards", &self.places.len()).finish()
    }
}

impl Board {
    pub fn new(shards: usize) -> Board {
        let place = |shard| Mutex::new(Snapshot { shard: shard as ShardId, ..Snapshot::default() });
        Board { places: (0..shards).map(place).collect() }
    }

    /// The newest figures of every shard. While they are read, shards keep newer ones to themselves.
    pub fn read<T>(&self, reader: impl FnOnce(&[&Snapshot]) -> T) -> T {
        let held: Vec<MutexGuard<'_, Snapshot>> =
            self.places.iter().map(|place| place.lock().expect("no holder panics")).collect();
        reader(&held.iter().map(|snapshot| &**snapshot).collect::<Vec<_>>())
    }
}

impl Shard {
    /// Lay this shard's figures on the board.
    pub(crate) fn show_figures(&mut self) {
        // While the keyspace is with a coordinator its figures are not here.
        if self.is_keyspace_away() {
            return;
        }
        let process = Arc::clone(&self.process);
        let Ok(mut place) = process.board.places[usize::from(self.id)].try_lock() else { return };
        let snapshot = &mut *place;
        if snapshot.number % TICKS_PER_LOOK_AT_CLIENTS == 0 {
            snapshot.clients = ClientTotals::of(self);
        }
        snapshot.number += 1;
        snapshot.clients.connected = self.clients.len();
        snapshot.stats.clone_from(&self.stats);
        snapshot.keyspace = self.keyspace.stats;
        snapshot.databases.clear();
        let databases = (0..self.keyspace.databases()).map(|db| DatabaseFigures::of(self, db));
        snapshot.databases.extend(databases);
        snapshot.gauges = self.gauges;
        snapshot.slow_log_len = self.logs.entries(LogKind::Slow).len();
        snapshot.channels = self.pubsub.names_count(Kind::Channel);
        snapshot.patterns = self.pubsub.names_count(Kind::Pattern);
        snapshot.tracking_clients = self.tracking.clients;
        snapshot.stale_share = self.keyspace.stale_share();
        snapshot.release_pending = self.keyspace.graveyard.pending();
        snapshot.unwritten_log_bytes = self.unwritten_log_bytes();
        snapshot.changes = self.changes.dirty;
        snapshot.cpu = cpu_times(CpuTimesOf::Thread);
        let config = &self.state.config;
        if !snapshot.config.as_ref().is_some_and(|shown| Arc::ptr_eq(shown, config)) {
            snapshot.config = Some(Arc::clone(config));
        }
    }
}
