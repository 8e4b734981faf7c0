//! `torc_*`: what each shard does, and latencies by family of commands.
//!
//! Owns the names of torc's own figures. Those of one shard have the label `shard`; `redis_*` figures never have it.

use std::collections::BTreeMap;

use crate::process::TORC_VERSION;
use crate::registry::registry;
use crate::shard::stats::{BATCH_SIZES, CommandStats, LatencyBuckets};

use super::Snapshot;
use super::page::{Page, written};

/// A figure of one shard.
type Figure = fn(&Snapshot) -> f64;

const COUNTERS: &[(&str, &str, Figure)] = &[
    ("torc_shard_commands_total", "Commands that ran on the shard.", |shard| {
        shard.stats.commands_processed as f64
    }),
    ("torc_shard_keyspace_hits_total", "Reads that found their key.", |shard| shard.keyspace.hits as f64),
    ("torc_shard_keyspace_misses_total", "Reads that did not find their key.", |shard| {
        shard.keyspace.misses as f64
    }),
    ("torc_shard_net_input_bytes_total", "Bytes from the shard's clients.", |shard| {
        shard.stats.net_input_bytes as f64
    }),
    ("torc_shard_net_output_bytes_total", "Bytes to the shard's clients.", |shard| {
        shard.stats.net_output_bytes as f64
    }),
    ("torc_shard_expired_keys_total", "Keys that have expired.", |shard| shard.keyspace.expired as f64),
    ("torc_shard_expire_seconds_total", "Time that active expiry has taken.", |shard| {
        shard.stats.expire_ns as f64 / 1e9
    }),
    ("torc_shard_expire_allowance_used_up_total", "Ticks in which active expiry ran out of time.", |shard| {
        shard.stats.expire_allowance_used_up as f64
    }),
    ("torc_shard_log_writes_total", "Writes to the shard's append-only file.", |shard| {
        shard.stats.log_writes as f64
    }),
    ("torc_shard_log_written_bytes_total", "Bytes written to the shard's append-only file.", |shard| {
        shard.stats.log_written_bytes as f64
    }),
    ("torc_shard_log_syncs_total", "Syncs of the shard's append-only file.", |shard| {
        shard.stats.log_syncs as f64
    }),
    ("torc_shard_transactions_total", "Transactions over several shards, by coordinator.", |shard| {
        shard.stats.transactions as f64
    }),
    ("torc_shard_transactions_sequenced_total", "Transactions that the shard put in order.", |shard| {
        shard.stats.sequenced as f64
    }),
    ("torc_shard_brakes_total", "Times writers were held up for shards that were behind.", |shard| {
        shard.stats.brakes as f64
    }),
    ("torc_shard_cpu_seconds_total", "CPU time of the shard's thread.", |shard| {
        shard.cpu.total().as_secs_f64()
    }),
    ("torc_mesh_forwarded_commands_total", "Commands for keys of other shards.", |shard| {
        shard.stats.forwarded as f64
    }),
    ("torc_mesh_foreign_commands_total", "Commands that ran here for other shards' clients.", |shard| {
        shard.stats.foreign as f64
    }),
    ("torc_mesh_batches_total", "Batches of commands for other shards.", |shard| shard.stats.batches as f64),
    ("torc_ring_enters_total", "Calls of io_uring_enter.", |shard| shard.gauges.ring_enters as f64),
    ("torc_socket_reads_total", "Receptions from sockets.", |shard| shard.stats.reads as f64),
    ("torc_socket_writes_total", "Sends to sockets.", |shard| shard.stats.writes as f64),
];

const GAUGES: &[(&str, &str, Figure)] = &[
    ("torc_shard_clients", "Open connections.", |shard| shard.clients.connected as f64),
    ("torc_shard_keys", "Keys of all databases.", |shard| {
        shard.databases.iter().map(|db| db.keys).sum::<usize>() as f64
    }),
    ("torc_shard_bytes", "Memory of keys, values and their tables.", |shard| {
        shard.databases.iter().map(|db| db.entry_bytes + db.table_bytes).sum::<usize>() as f64
    }),
    (
        "torc_shard_forwarded_share",
        "Share of the shard's clients' commands that other shards ran.",
        |shard| {
            let stats = &shard.stats;
            let here = stats.commands_processed.saturating_sub(stats.foreign);
            stats.forwarded as f64 / (here + stats.forwarded).max(1) as f64
        },
    ),
    ("torc_shard_release_pending_objects", "Removed values still to be released.", |shard| {
        shard.release_pending as f64
    }),
    (
        "torc_shard_log_unwritten_bytes",
        "Bytes that wait to be written to the shard's append-only file.",
        |shard| shard.unwritten_log_bytes as f64,
    ),
    ("torc_mesh_queue_depth", "Packets from other shards that wait.", |shard| {
        shard.gauges.packets_waiting as f64
    }),
    ("torc_mesh_held_back_packets", "Packets for other shards whose queue is full.", |shard| {
        shard.gauges.packets_held_back as f64
    }),
];

/// Upper bounds of [`LatencyBuckets`] but the last, in seconds.
pub(super) fn latency_bounds() -> impl Iterator<Item = f64> {
    (0..CommandStats::BUCKETS - 1).map(|place| (1024u64 << place) as f64 / 1e9)
}

pub(super) fn write(page: &mut Page, snapshots: &[&Snapshot]) {
    page.begin("torc_build_info", "gauge", "Always 1; the label says which version this is.");
    page.sample("torc_build_info", &[("version", TORC_VERSION)], 1);
    page.gauge("torc_shards", "Shards of the server.", snapshots.len());
    let names: Vec<String> = snapshots.iter().map(|snapshot| snapshot.shard.to_string()).collect();
    let each = || names.iter().map(String::as_str).zip(snapshots);
    for (kind, figures) in [("counter", COUNTERS), ("gauge", GAUGES)] {
        for (name, help, figure) in figures {
            page.begin(name, kind, help);
            each().for_each(|(shard, snapshot)| page.sample(name, &[("shard", shard)], figure(snapshot)));
        }
    }
    let name = "torc_mesh_batch_commands";
    page.begin(name, "histogram", "Commands of a batch for another shard.");
    let bounds = written((0..BATCH_SIZES).map(|place| (1u64 << place) as f64));
    for (shard, snapshot) in each() {
        let (sizes, sum) = (&snapshot.stats.batch_sizes, snapshot.stats.forwarded as f64);
        page.histogram(name, &[("shard", shard)], &bounds, sizes, sum);
    }
    let name = "torc_loop_turn_seconds";
    page.begin(name, "histogram", "Time of a turn of the event loop, without sleep.");
    let bounds = written(latency_bounds());
    for (shard, snapshot) in each() {
        let (times, sum) = (&snapshot.stats.turn_times, snapshot.stats.turn_ns as f64 / 1e9);
        page.histogram(name, &[("shard", shard)], &bounds, times, sum);
    }
    families(page, snapshots);
}

/// Execution times of all commands of a family, over all shards.
fn families(page: &mut Page, snapshots: &[&Snapshot]) {
    let mut families: BTreeMap<&str, (LatencyBuckets, u64)> = BTreeMap::new();
    for command in registry().all() {
        let (buckets, ns) = families.entry(command.spec.docs.group.name()).or_default();
        for stats in snapshots.iter().map(|snapshot| &snapshot.stats.commands[usize::from(command.id)]) {
            if stats.calls > 0 {
                *ns += stats.ns;
                buckets.iter_mut().zip(&stats.latency).for_each(|(own, other)| *own += other);
            }
        }
    }
    let name = "torc_command_duration_seconds";
    page.begin(name, "histogram", "Execution time of commands, by family.");
    let bounds = written(latency_bounds());
    for (family, (buckets, ns)) in &families {
        page.histogram(name, &[("family", family)], &bounds, buckets, *ns as f64 / 1e9);
    }
}
