//! Counters of one shard.
//!
//! Owns plain integers that only this shard writes; INFO and metrics ask every shard for a copy and add them up. Never
//! formats, never locks.

use std::collections::HashMap;

use crate::registry::registry;

/// Distinct error codes that are counted one by one (Redis 7.2 stops at 128 as well).
const ERROR_CODES_MAX: usize = 128;

/// What one shard counts.
#[derive(Clone)]
pub struct ShardStats {
    pub connections_received: u64,
    pub connections_rejected: u64,
    pub commands_processed: u64,
    pub net_input_bytes: u64,
    pub net_output_bytes: u64,
    /// Commands sent to other shards.
    pub forwarded: u64,
    /// Batches sent to other shards.
    pub batches: u64,
    /// Multi-shard transactions this shard coordinated.
    pub transactions: u64,
    /// Multi-shard transactions this shard put in order.
    pub sequenced: u64,
    pub query_buffer_limit_disconnections: u64,
    pub output_buffer_limit_disconnections: u64,
    pub error_replies: u64,
    /// Time that active expiry has taken, in nanoseconds.
    pub expire_ns: u64,
    /// Ticks whose allowance for active expiry was used up before the walk was through.
    pub expire_allowance_used_up: u64,
    /// Indexed by command id.
    pub commands: Vec<CommandStats>,
    errors: HashMap<Box<str>, u64>,
}

/// What is counted per command.
#[derive(Clone, Copy, Debug)]
pub struct CommandStats {
    pub calls: u64,
    /// Execution time in nanoseconds.
    pub ns: u64,
    /// Refused before it ran.
    pub rejected: u64,
    /// Ran and answered an error.
    pub failed: u64,
    /// Calls by execution time: bucket n counts calls of less than 2^n × 1,024 ns and at least half of it (the
    /// first bucket: everything below 1,024 ns).
    pub latency: [u32; CommandStats::BUCKETS],
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
        let bucket = (u64::BITS - (ns >> 10).leading_zeros()) as usize;
        self.latency[bucket.min(CommandStats::BUCKETS - 1)] += 1;
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
            batches: 0,
            transactions: 0,
            sequenced: 0,
            query_buffer_limit_disconnections: 0,
            output_buffer_limit_disconnections: 0,
            error_replies: 0,
            expire_ns: 0,
            expire_allowance_used_up: 0,
            commands: vec![CommandStats::ZERO; registry().all().len()],
            errors: HashMap::new(),
        }
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

    /// CONFIG RESETSTAT.
    pub fn reset(&mut self) {
        *self = ShardStats::new();
    }
}

impl Default for ShardStats {
    fn default() -> Self {
        ShardStats::new()
    }
}
