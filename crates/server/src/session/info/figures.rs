//! What INFO asks of every shard, and the sums.

use std::collections::BTreeSet;

use torc_runtime::{CpuTimes, CpuTimesOf, cpu_times};

use crate::connection::Suspension;
use crate::packet::ShardId;
use crate::pubsub::Kind;
use crate::session::client::ClientFigures;
use crate::shard::Shard;
use crate::shard::stats::{Counts, ShardStats};

/// The figures of one shard at one moment.
pub struct Figures {
    pub shard: ShardId,
    pub stats: ShardStats,
    pub rates: Counts,
    pub keyspace: torc_keyspace::Stats,
    /// Of each database.
    pub databases: Vec<DatabaseFigures>,
    pub clients: ClientTotals,
    /// Keys that clients of this shard watch: shard and fingerprint.
    watched: Vec<(ShardId, u64)>,
    /// Keys that clients wait for, and those whose end would be news to one of them.
    awaited_keys: (usize, usize),
    pub changes: u64,
    subscribed: Subscribed,
    tracking: TrackingFigures,
    /// Share of volatile keys that have expired and are still there (0 to 1).
    stale_share: f64,
    /// Flushed entries that are still to be released, and those that were.
    release_pending: usize,
    released: u64,
    /// Connections that MIGRATE keeps.
    migration_targets: usize,
    /// CPU time of the shard's thread.
    pub cpu: CpuTimes,
}

/// Names that clients are subscribed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subscribed {
    pub channels: usize,
    pub patterns: usize,
    pub shard_channels: usize,
}

/// What CLIENT TRACKING remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackingFigures {
    pub clients: usize,
    /// Keys that were read, and pairs of such a key and a client.
    pub keys: usize,
    pub items: usize,
    pub prefixes: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatabaseFigures {
    pub keys: usize,
    pub volatile: usize,
    /// Hashes with fields that expire.
    pub with_volatile_fields: usize,
    /// Mean time to live of volatile keys.
    pub ttl_ms: u64,
    pub entry_bytes: usize,
    pub table_bytes: usize,
}

impl DatabaseFigures {
    pub fn of(shard: &Shard, db: usize) -> DatabaseFigures {
        let usage = shard.keyspace.usage(db);
        DatabaseFigures {
            keys: usage.keys,
            volatile: usage.volatile,
            with_volatile_fields: usage.with_volatile_parts,
            ttl_ms: shard.keyspace.avg_ttl_ms(db),
            entry_bytes: usage.entry_bytes,
            table_bytes: usage.table_bytes,
        }
    }

    pub fn plus(self, other: DatabaseFigures) -> DatabaseFigures {
        let volatile = self.volatile + other.volatile;
        let ttl_sum =
            self.ttl_ms as u128 * self.volatile as u128 + other.ttl_ms as u128 * other.volatile as u128;
        DatabaseFigures {
            keys: self.keys + other.keys,
            volatile,
            with_volatile_fields: self.with_volatile_fields + other.with_volatile_fields,
            ttl_ms: (ttl_sum / (volatile as u128).max(1)) as u64,
            entry_bytes: self.entry_bytes + other.entry_bytes,
            table_bytes: self.table_bytes + other.table_bytes,
        }
    }
}

/// Figures about the clients of one shard, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientTotals {
    pub connected: usize,
    /// Inside a blocking command, or held back by CLIENT PAUSE.
    pub blocked: usize,
    pub pubsub: usize,
    pub watching: usize,
    pub input_bytes_max: usize,
    pub output_bytes_max: usize,
    /// Memory of all of them.
    pub bytes: usize,
}

impl ClientTotals {
    pub fn of(shard: &Shard) -> ClientTotals {
        let mut totals = ClientTotals::default();
        for connection in shard.clients.iter() {
            let figures = ClientFigures::of(connection);
            totals = totals.plus(ClientTotals {
                connected: 1,
                blocked: usize::from(connection.is_blocked() || connection.suspension == Suspension::Pause),
                pubsub: usize::from(connection.subscriptions.is_some()),
                watching: usize::from(!connection.watched.is_empty()),
                input_bytes_max: figures.input_capacity,
                output_bytes_max: figures.output_capacity,
                bytes: figures.total_bytes,
            });
        }
        totals
    }

    pub fn plus(self, other: ClientTotals) -> ClientTotals {
        ClientTotals {
            connected: self.connected + other.connected,
            blocked: self.blocked + other.blocked,
            pubsub: self.pubsub + other.pubsub,
            watching: self.watching + other.watching,
            input_bytes_max: self.input_bytes_max.max(other.input_bytes_max),
            output_bytes_max: self.output_bytes_max.max(other.output_bytes_max),
            bytes: self.bytes + other.bytes,
        }
    }
}

impl Figures {
    /// Runs on each shard.
    pub fn of(shard: &mut Shard) -> Figures {
        let databases = (0..shard.keyspace.databases()).map(|db| DatabaseFigures::of(shard, db));
        Figures {
            shard: shard.id,
            databases: databases.collect(),
            stats: shard.stats.clone(),
            rates: shard.rates.per_second(),
            keyspace: shard.keyspace.stats,
            clients: ClientTotals::of(shard),
            watched: shard.clients.iter().flat_map(|client| client.watched.iter().copied()).collect(),
            awaited_keys: shard.awaited_keys(),
            changes: shard.changes.dirty,
            subscribed: Subscribed {
                channels: shard.channels_here(Kind::Channel).count(),
                patterns: shard.pubsub.names_count(Kind::Pattern),
                shard_channels: shard.pubsub.names_count(Kind::ShardChannel),
            },
            tracking: TrackingFigures {
                clients: shard.tracking.clients,
                keys: shard.tracking.reads.len(),
                items: shard.tracking.reads.items(),
                prefixes: shard.tracking.prefixes.len(),
            },
            stale_share: shard.keyspace.stale_share(),
            release_pending: shard.keyspace.graveyard.pending(),
            migration_targets: shard.migration_targets.len(),
            released: shard.keyspace.graveyard.freed(),
            cpu: cpu_times(CpuTimesOf::Thread),
        }
    }
}

/// The figures of all shards together.
pub struct Totals {
    pub stats: ShardStats,
    pub rates: Counts,
    pub keyspace: torc_keyspace::Stats,
    pub databases: Vec<DatabaseFigures>,
    pub clients: ClientTotals,
    pub watched_keys: usize,
    pub awaited_keys: usize,
    pub missed_keys: usize,
    pub changes: u64,
    pub subscribed: Subscribed,
    pub tracking: TrackingFigures,
    /// Share of volatile keys that have expired and are still there (0 to 1).
    pub stale_share: f64,
    pub release_pending: usize,
    pub migration_targets: usize,
    pub released: u64,
    /// CPU time of all shards' threads.
    pub cpu: CpuTimes,
}

impl Totals {
    /// `figures` has at least one shard.
    pub fn of(figures: &[Figures]) -> Totals {
        let mut stats = figures[0].stats.clone();
        figures[1..].iter().for_each(|shard| stats.add(&shard.stats));
        let mut databases = figures[0].databases.clone();
        for shard in &figures[1..] {
            for (own, other) in databases.iter_mut().zip(&shard.databases) {
                *own = own.plus(*other);
            }
        }
        let mut keyspace = torc_keyspace::Stats::default();
        let mut cpu = CpuTimes::default();
        for shard in figures {
            keyspace.hits += shard.keyspace.hits;
            keyspace.misses += shard.keyspace.misses;
            keyspace.expired += shard.keyspace.expired;
            keyspace.expired_by_walk += shard.keyspace.expired_by_walk;
            keyspace.expired_fields += shard.keyspace.expired_fields;
            keyspace.evicted += shard.keyspace.evicted;
            cpu.user += shard.cpu.user;
            cpu.system += shard.cpu.system;
        }
        let watched: BTreeSet<(ShardId, u64)> =
            figures.iter().flat_map(|shard| shard.watched.iter().copied()).collect();
        let volatile = |shard: &Figures| shard.databases.iter().map(|db| db.volatile).sum::<usize>() as f64;
        let volatile_all: f64 = figures.iter().map(volatile).sum();
        let stale: f64 = figures.iter().map(|shard| shard.stale_share * volatile(shard)).sum();
        Totals {
            stats,
            databases,
            keyspace,
            cpu,
            rates: figures.iter().fold(Counts::default(), |sum, shard| sum.plus(shard.rates)),
            clients: figures.iter().fold(ClientTotals::default(), |sum, shard| sum.plus(shard.clients)),
            watched_keys: watched.len(),
            awaited_keys: figures.iter().map(|shard| shard.awaited_keys.0).sum(),
            missed_keys: figures.iter().map(|shard| shard.awaited_keys.1).sum(),
            changes: figures.iter().map(|shard| shard.changes).sum(),
            subscribed: Subscribed {
                channels: figures.iter().map(|shard| shard.subscribed.channels).sum(),
                // Every shard knows all patterns.
                patterns: figures[0].subscribed.patterns,
                shard_channels: figures.iter().map(|shard| shard.subscribed.shard_channels).sum(),
            },
            tracking: TrackingFigures {
                clients: figures.iter().map(|shard| shard.tracking.clients).sum(),
                keys: figures.iter().map(|shard| shard.tracking.keys).sum(),
                items: figures.iter().map(|shard| shard.tracking.items).sum(),
                // Every shard knows all prefixes.
                prefixes: figures[0].tracking.prefixes,
            },
            stale_share: stale / volatile_all.max(1.0),
            release_pending: figures.iter().map(|shard| shard.release_pending).sum(),
            migration_targets: figures.iter().map(|shard| shard.migration_targets).sum(),
            released: figures.iter().map(|shard| shard.released).sum(),
        }
    }

    /// Bytes of the tables that find them.
    pub fn table_bytes(&self) -> usize {
        self.databases.iter().map(|db| db.table_bytes).sum()
    }
}
