//! Counters of one shard.
//!
//! Owns plain integers that only this shard writes; INFO and metrics ask every shard for a copy and add them up. Never
//! formats, never locks.

use std::collections::HashMap;

use crate::packet::Batch;
use crate::registry::registry;

/// Distinct error codes that are counted one by one (Redis 7.2 stops at 128 as well).
const ERROR_CODES_MAX: usize = 128;

/// What one shard counts.
pub struct ShardStats {
    pub connections_received: u64,
    pub connections_rejected: u64,
    pub commands_processed: u64,
    pub net_input_bytes: u64,
    pub net_output_bytes: u64,
    /// How often writers were held up because other shards were behind with what they were told.
    pub brakes: u64,
    /// Commands sent to other shards.
    pub forwarded: u64,
    /// Batches sent to other shards.
    pub batches: u64,
    /// The same by the number of their commands: place n counts batches of at most 2^n.
    pub batch_sizes: [u64; BATCH_SIZES],
    /// Commands of other shards' clients that ran here.
    pub foreign: u64,
    /// Multi-shard transactions this shard coordinated.
    pub transactions: u64,
    /// Multi-shard transactions this shard put in order.
    pub sequenced: u64,
    pub query_buffer_limit_disconnections: u64,
    pub output_buffer_limit_disconnections: u64,
    /// Closed because all clients together held too much memory.
    pub clients_evicted: u64,
    pub error_replies: u64,
    /// AUTH and HELLO with a wrong user or password.
    pub access_denied_auth: u64,
    /// Time that active expiry has taken, in nanoseconds.
    pub expire_ns: u64,
    /// Ticks whose allowance for active expiry was used up before the walk was through.
    pub expire_allowance_used_up: u64,
    /// Writes and syncs of the append-only file that have ended, and the bytes written.
    pub log_writes: u64,
    pub log_syncs: u64,
    pub log_written_bytes: u64,
    /// Turns of the event loop.
    pub turns: u64,
    /// Their time without sleep, in nanoseconds, and how it is spread.
    pub turn_ns: u64,
    pub turn_times: LatencyBuckets,
    /// Receptions from sockets, and sends.
    pub reads: u64,
    pub writes: u64,
    /// Indexed by command id.
    pub commands: Vec<CommandStats>,
    errors: HashMap<Box<str>, u64>,
}

/// What is counted per command.
/// Counts by time: place n counts what took less than 2^n × 1,024 ns and at least half of it (the first place:
/// everything below 1,024 ns).
pub type LatencyBuckets = [u64; CommandStats::BUCKETS];

/// Places of [`ShardStats::batch_sizes`]; the last one is for the largest batches.
pub const BATCH_SIZES: usize = Batch::COMMANDS_MAX.ilog2() as usize + 1;

/// The place of a time in [`LatencyBuckets`].
#[inline]
pub fn latency_bucket(ns: u64) -> usize {
    let bucket = (u64::BITS - (ns >> 10).leading_zeros()) as usize;
    bucket.min(CommandStats::BUCKETS - 1)
}

#[derive(Clone, Copy, Debug)]
pub struct CommandStats {
    pub calls: u64,
    /// Execution time in nanoseconds.
    pub ns: u64,
    /// Refused before it ran.
    pub rejected: u64,
    /// Ran and answered an error.
    pub failed: u64,
    /// Calls by execution time.
    pub latency: LatencyBuckets,
}

impl CommandStats {
    /// Up to 2^23 × 1,024 ns ≈ 8.6 s; longer calls are in the last bucket.
    pub const BUCKETS: usize = 24;

    const ZERO: CommandStats =
        CommandStats { calls: 0, ns: 0, rejected: 0, failed: 0, latency: [0; CommandStats::BUCKETS] };

    #[inline]
    pub fn record(&mut self, ns: u64, failed: bool) {
        self.calls += 1;
        self.ns += ns;
        self.failed += u64::from(failed);
        self.latency[latency_bucket(ns)] += 1;
    }
}

impl CommandStats {
    fn add(&mut self, other: &CommandStats) {
        self.calls += other.calls;
        self.ns += other.ns;
        self.rejected += other.rejected;
        self.failed += other.failed;
        add_each(&mut self.latency, &other.latency);
    }

    /// The longest time that bucket `index` counts, in nanoseconds. Written as Redis's histograms do, whose buckets
    /// end a little above the power of two.
    pub fn bucket_end_ns(index: usize) -> u64 {
        let end = 1024u64 << index;
        end + end / 128 - 1
    }

    /// Time that `percentile` (0 to 100) of the calls did not exceed, in nanoseconds.
    pub fn percentile_ns(&self, percentile: f64) -> u64 {
        let all: u64 = self.latency.iter().sum();
        let wanted = ((percentile / 100.0) * all as f64 + 0.5).max(1.0) as u64;
        let mut seen = 0;
        for (index, &count) in self.latency.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return CommandStats::bucket_end_ns(index);
            }
        }
        0
    }
}

/// Samples of which a rate is the mean (Redis's STATS_METRIC_SAMPLES).
const RATE_SAMPLES: usize = 16;

/// How fast some counters grow, per second, over the last ticks.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    last: Counts,
    last_us: u64,
    samples: [Counts; RATE_SAMPLES],
    next: usize,
}

/// Counters whose rates are shown, or those rates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub commands: u64,
    pub input_bytes: u64,
    pub output_bytes: u64,
    pub turns: u64,
}

impl Counts {
    fn map(self, other: Counts, act: impl Fn(u64, u64) -> u64) -> Counts {
        Counts {
            commands: act(self.commands, other.commands),
            input_bytes: act(self.input_bytes, other.input_bytes),
            output_bytes: act(self.output_bytes, other.output_bytes),
            turns: act(self.turns, other.turns),
        }
    }

    pub fn plus(self, other: Counts) -> Counts {
        self.map(other, |own, other| own + other)
    }
}

impl Rates {
    /// Take a sample; called on every tick.
    pub fn sample(&mut self, now_us: u64, stats: &ShardStats) {
        let counts = Counts {
            commands: stats.commands_processed,
            input_bytes: stats.net_input_bytes,
            output_bytes: stats.net_output_bytes,
            turns: stats.turns,
        };
        let elapsed_us = now_us.saturating_sub(self.last_us).max(1);
        if self.last_us > 0 {
            self.samples[self.next] =
                counts.map(self.last, |now, then| now.saturating_sub(then) * 1_000_000 / elapsed_us);
            self.next = (self.next + 1) % RATE_SAMPLES;
        }
        (self.last, self.last_us) = (counts, now_us);
    }

    /// Means over the last samples, per second.
    pub fn per_second(&self) -> Counts {
        let sum = self.samples.iter().fold(Counts::default(), |sum, sample| sum.plus(*sample));
        sum.map(sum, |sum, _| sum / RATE_SAMPLES as u64)
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&mut self) {
        *self = Rates::default();
    }
}

impl ShardStats {
    pub fn new() -> ShardStats {
        ShardStats {
            connections_received: 0,
            connections_rejected: 0,
            commands_processed: 0,
            net_input_bytes: 0,
            net_output_bytes: 0,
            forwarded: 0,
            brakes: 0,
            batches: 0,
            batch_sizes: [0; BATCH_SIZES],
            foreign: 0,
            transactions: 0,
            sequenced: 0,
            query_buffer_limit_disconnections: 0,
            output_buffer_limit_disconnections: 0,
            clients_evicted: 0,
            error_replies: 0,
            access_denied_auth: 0,
            expire_ns: 0,
            expire_allowance_used_up: 0,
            log_writes: 0,
            log_syncs: 0,
            log_written_bytes: 0,
            turns: 0,
            turn_ns: 0,
            turn_times: [0; CommandStats::BUCKETS],
            reads: 0,
            writes: 0,
            commands: vec![CommandStats::ZERO; registry().all().len()],
            errors: HashMap::new(),
        }
    }

    /// Count a batch for another shard.
    pub fn count_batch(&mut self, commands: usize) {
        self.batches += 1;
        let place = commands.max(1).next_power_of_two().ilog2() as usize;
        self.batch_sizes[place.min(BATCH_SIZES - 1)] += 1;
    }

    /// Count a turn of the loop and the time it took.
    #[inline]
    pub fn count_turn_time(&mut self, ns: u64) {
        self.turn_ns += ns;
        self.turn_times[latency_bucket(ns)] += 1;
    }

    /// Count an error reply by its code, the first word of its text.
    pub fn count_error(&mut self, code: &str) {
        self.error_replies += 1;
        if let Some(count) = self.errors.get_mut(code) {
            *count += 1;
        } else if self.errors.len() < ERROR_CODES_MAX {
            self.errors.insert(code.into(), 1);
        }
    }

    /// (code, count), unordered.
    pub fn errors(&self) -> impl Iterator<Item = (&str, u64)> {
        self.errors.iter().map(|(code, &count)| (&**code, count))
    }

    /// Add another shard's counts.
    pub fn add(&mut self, other: &ShardStats) {
        self.connections_received += other.connections_received;
        self.connections_rejected += other.connections_rejected;
        self.commands_processed += other.commands_processed;
        self.net_input_bytes += other.net_input_bytes;
        self.net_output_bytes += other.net_output_bytes;
        self.forwarded += other.forwarded;
        self.brakes += other.brakes;
        self.batches += other.batches;
        add_each(&mut self.batch_sizes, &other.batch_sizes);
        self.foreign += other.foreign;
        self.transactions += other.transactions;
        self.sequenced += other.sequenced;
        self.query_buffer_limit_disconnections += other.query_buffer_limit_disconnections;
        self.output_buffer_limit_disconnections += other.output_buffer_limit_disconnections;
        self.clients_evicted += other.clients_evicted;
        self.error_replies += other.error_replies;
        self.access_denied_auth += other.access_denied_auth;
        self.log_writes += other.log_writes;
        self.log_syncs += other.log_syncs;
        self.log_written_bytes += other.log_written_bytes;
        self.turns += other.turns;
        self.turn_ns += other.turn_ns;
        add_each(&mut self.turn_times, &other.turn_times);
        self.reads += other.reads;
        self.writes += other.writes;
        self.expire_ns += other.expire_ns;
        self.expire_allowance_used_up += other.expire_allowance_used_up;
        for (own, other) in self.commands.iter_mut().zip(&other.commands) {
            own.add(other);
        }
        for (code, count) in other.errors() {
            match self.errors.get_mut(code) {
                Some(own) => *own += count,
                None => {
                    self.errors.insert(code.into(), count);
                }
            }
        }
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&mut self) {
        *self = ShardStats::new();
    }
}

impl Clone for ShardStats {
    fn clone(&self) -> ShardStats {
        ShardStats { commands: self.commands.clone(), errors: self.errors.clone(), ..*self }
    }

    /// Reuses memory: snapshots for metrics are taken this way.
    fn clone_from(&mut self, other: &ShardStats) {
        let mut commands = std::mem::take(&mut self.commands);
        commands.clone_from(&other.commands);
        let mut errors = std::mem::take(&mut self.errors);
        if self.error_replies != other.error_replies {
            errors.clone_from(&other.errors);
        }
        *self = ShardStats { commands, errors, ..*other };
    }
}

fn add_each(own: &mut [u64], other: &[u64]) {
    own.iter_mut().zip(other).for_each(|(own, other)| *own += other);
}

impl Default for ShardStats {
    fn default() -> Self {
        ShardStats::new()
    }
}
