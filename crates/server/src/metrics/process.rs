//! `redis_*`: figures of the server as a whole, under the names that redis_exporter gives them.
//!
//! Owns which of INFO's figures are shown and what dashboards know them by. Figures of one shard are in `shards`.

use std::sync::atomic::Ordering;

use torc_runtime::{CpuTimes, CpuTimesOf, clock, cpu_times};

use crate::config::Config;
use crate::memory::{self, ProcessBytes};
use crate::process::{Phase, ProcessInfo, REDIS_VERSION, TORC_VERSION};
use crate::registry::registry;
use crate::saving::Kind;
use crate::session::info::{ClientTotals, DatabaseFigures};
use crate::shard::stats::{CommandStats, ShardStats};

use super::Snapshot;
use super::page::{Page, written};
use super::shards::latency_bounds;

/// Shares of the calls that `redis_latency_percentiles_usec` shows.
const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];

/// The figures of all shards together.
struct Sums {
    stats: ShardStats,
    keyspace: torc_keyspace::Stats,
    databases: Vec<DatabaseFigures>,
    clients: ClientTotals,
}

impl Sums {
    fn of(snapshots: &[&Snapshot]) -> Sums {
        let mut sums = Sums {
            stats: ShardStats::new(),
            keyspace: torc_keyspace::Stats::default(),
            databases: Vec::new(),
            clients: ClientTotals::default(),
        };
        for snapshot in snapshots {
            sums.stats.add(&snapshot.stats);
            sums.keyspace.hits += snapshot.keyspace.hits;
            sums.keyspace.misses += snapshot.keyspace.misses;
            sums.keyspace.expired += snapshot.keyspace.expired;
            sums.keyspace.expired_fields += snapshot.keyspace.expired_fields;
            sums.keyspace.evicted += snapshot.keyspace.evicted;
            sums.clients = sums.clients.plus(snapshot.clients);
            sums.databases
                .resize(snapshot.databases.len().max(sums.databases.len()), DatabaseFigures::default());
            for (own, other) in sums.databases.iter_mut().zip(&snapshot.databases) {
                *own = own.plus(*other);
            }
        }
        sums
    }
}

pub(super) fn write(page: &mut Page, process: &ProcessInfo, bytes: &ProcessBytes, snapshots: &[&Snapshot]) {
    let sums = Sums::of(snapshots);
    let config = snapshots.iter().find_map(|snapshot| snapshot.config.as_deref());
    server(page, process, config);
    clients(page, &sums, snapshots, config);
    memory_figures(page, process, bytes.resident, &sums, snapshots, config);
    traffic(page, &sums, snapshots);
    keyspace(page, &sums, snapshots);
    persistence(page, process, snapshots);
    log(page, process);
    replication_and_cluster(page);
    cpu(page, snapshots);
    commands(page, &sums.stats);
}

fn server(page: &mut Page, process: &ProcessInfo, config: Option<&Config>) {
    let uptime_s = (clock::unix_ms() - process.started_ms).max(0) / 1000;
    page.gauge("redis_up", "Whether the server answers.", 1);
    let port = process.tcp_port.load(Ordering::Relaxed).to_string();
    let policy = config.map_or("", Config::maxmemory_policy);
    page.begin("redis_instance_info", "gauge", "Always 1; the labels say what this server is.");
    let labels = [
        ("role", "master"),
        ("redis_mode", "standalone"),
        ("redis_version", REDIS_VERSION),
        ("torc_version", TORC_VERSION),
        ("maxmemory_policy", policy),
        ("run_id", &process.run_id),
        ("tcp_port", &port),
    ];
    page.sample("redis_instance_info", &labels, 1);
    page.gauge(
        "redis_start_time_seconds",
        "Unix time of the start.",
        format_args!("{:.3}", process.started_ms as f64 / 1000.0),
    );
    page.gauge("redis_uptime_in_seconds", "Seconds since the start.", uptime_s);
    let is_loading = u8::from(process.phase.get() == Phase::Loading);
    page.gauge("redis_loading_dump_file", "1 while keys are read from files.", is_loading);
}

fn clients(page: &mut Page, sums: &Sums, snapshots: &[&Snapshot], config: Option<&Config>) {
    let clients = &sums.clients;
    page.gauge("redis_connected_clients", "Open connections.", clients.connected);
    page.gauge("redis_blocked_clients", "Clients in a blocking command or held back.", clients.blocked);
    page.gauge("redis_pubsub_clients", "Clients in subscriber mode.", clients.pubsub);
    page.gauge("redis_watching_clients", "Clients that watch keys.", clients.watching);
    let tracking: usize = snapshots.iter().map(|snapshot| snapshot.tracking_clients).sum();
    page.gauge("redis_tracking_clients", "Clients with client-side caching.", tracking);
    let max = config.map_or(0, Config::maxclients);
    page.gauge("redis_config_maxclients", "The setting maxclients.", max);
    page.gauge(
        "redis_client_recent_max_input_buffer_bytes",
        "Largest input buffer of a client.",
        clients.input_bytes_max,
    );
    page.gauge(
        "redis_client_recent_max_output_buffer_bytes",
        "Largest output buffer of a client.",
        clients.output_bytes_max,
    );
    let stats = &sums.stats;
    page.counter("redis_connections_received_total", "Accepted connections.", stats.connections_received);
    page.counter("redis_rejected_connections_total", "Refused connections.", stats.connections_rejected);
    page.counter(
        "redis_evicted_clients_total",
        "Clients closed because all together held too much memory.",
        stats.clients_evicted,
    );
    let channels: usize = snapshots.iter().map(|snapshot| snapshot.channels).sum();
    page.gauge("redis_pubsub_channels", "Channels with subscribers.", channels);
    // Every shard knows all patterns.
    let patterns = snapshots.first().map_or(0, |snapshot| snapshot.patterns);
    page.gauge("redis_pubsub_patterns", "Patterns with subscribers.", patterns);
}

fn memory_figures(
    page: &mut Page,
    process: &ProcessInfo,
    rss: usize,
    sums: &Sums,
    snapshots: &[&Snapshot],
    config: Option<&Config>,
) {
    // Shard 0 asks the allocator on every tick.
    let figures = memory::last_allocator_figures();
    let watch = &process.memory;
    let used = process.used_memory(figures.allocated);
    let peak = watch.peak().saturating_sub(watch.exempt());
    let limit = config.map_or(0, Config::maxmemory);
    let ratio = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
    page.gauge("redis_memory_used_bytes", "Memory in use, without what the server itself takes.", used);
    page.gauge("redis_memory_used_rss_bytes", "Resident set of the process.", rss);
    page.gauge("redis_memory_used_peak_bytes", "Highest memory in use so far.", peak);
    page.gauge(
        "redis_memory_used_startup_bytes",
        "Memory in use when ready.",
        watch.startup() - watch.exempt(),
    );
    let data: usize = sums.databases.iter().map(|db| db.entry_bytes + db.table_bytes).sum();
    page.gauge("redis_memory_used_dataset_bytes", "Memory of keys, values and their tables.", data);
    page.gauge("redis_memory_max_bytes", "The limit of memory; 0 is none.", limit);
    page.gauge("redis_config_maxmemory", "The setting maxmemory.", limit);
    page.gauge("redis_total_system_memory_bytes", "Memory of the machine.", memory::system_bytes());
    let fragmentation = ratio(rss, figures.allocated);
    page.gauge("redis_mem_fragmentation_ratio", "Resident set by memory in use.", fragmentation);
    page.gauge("redis_memory_fragmentation_ratio", "The same, as older dashboards call it.", fragmentation);
    page.gauge(
        "redis_mem_fragmentation_bytes",
        "Resident set less memory in use.",
        rss as i64 - figures.allocated as i64,
    );
    page.gauge("redis_mem_clients_normal", "Memory of clients.", sums.clients.bytes);
    page.gauge("redis_allocator_allocated_bytes", "Bytes handed out.", figures.allocated);
    page.gauge("redis_allocator_active_bytes", "Bytes of pages in use.", figures.active);
    page.gauge(
        "redis_allocator_resident_bytes",
        "Bytes of the allocator's pages in memory.",
        figures.resident,
    );
    page.gauge(
        "redis_allocator_frag_ratio",
        "Active by allocated bytes.",
        ratio(figures.active, figures.allocated),
    );
    page.gauge(
        "redis_allocator_rss_ratio",
        "Resident by active bytes.",
        ratio(figures.resident, figures.active),
    );
    let pending: usize = snapshots.iter().map(|snapshot| snapshot.release_pending).sum();
    page.gauge("redis_lazyfree_pending_objects", "Removed values still to be released.", pending);
}

fn traffic(page: &mut Page, sums: &Sums, snapshots: &[&Snapshot]) {
    let stats = &sums.stats;
    page.counter("redis_commands_processed_total", "Commands that ran.", stats.commands_processed);
    page.counter("redis_net_input_bytes_total", "Bytes from clients.", stats.net_input_bytes);
    page.counter("redis_net_output_bytes_total", "Bytes to clients.", stats.net_output_bytes);
    page.counter("redis_total_reads_processed", "Receptions from sockets.", stats.reads);
    page.counter("redis_total_writes_processed", "Sends to sockets.", stats.writes);
    page.counter("redis_total_error_replies", "Error replies.", stats.error_replies);
    page.begin("redis_errors_total", "counter", "Error replies by their first word.");
    let mut errors: Vec<(&str, u64)> = stats.errors().collect();
    errors.sort_unstable();
    errors.iter().for_each(|(code, count)| page.sample("redis_errors_total", &[("err", code)], count));
    page.counter("redis_acl_access_denied_auth_total", "Wrong passwords.", stats.access_denied_auth);
    let slow: usize = snapshots.iter().map(|snapshot| snapshot.slow_log_len).sum();
    page.gauge("redis_slowlog_length", "Entries of SLOWLOG.", slow);
}

fn keyspace(page: &mut Page, sums: &Sums, snapshots: &[&Snapshot]) {
    let keyspace = &sums.keyspace;
    page.counter("redis_keyspace_hits_total", "Reads that found their key.", keyspace.hits);
    page.counter("redis_keyspace_misses_total", "Reads that did not find their key.", keyspace.misses);
    page.counter("redis_expired_keys_total", "Keys that have expired.", keyspace.expired);
    page.counter("redis_expired_fields_total", "Fields that have expired.", keyspace.expired_fields);
    page.counter("redis_evicted_keys_total", "Keys removed to make room.", keyspace.evicted);
    let volatile =
        |snapshot: &Snapshot| snapshot.databases.iter().map(|db| db.volatile).sum::<usize>() as f64;
    let stale: f64 = snapshots.iter().map(|snapshot| snapshot.stale_share * volatile(snapshot)).sum();
    let all: f64 = snapshots.iter().copied().map(volatile).sum();
    page.gauge(
        "redis_expired_stale_percentage",
        "Share of keys with an expiry that have expired and are still there, in percent.",
        stale / all.max(1.0) * 100.0,
    );
    // Database 0 is always there; others are while they have keys.
    let names: Vec<String> = (0..sums.databases.len()).map(|index| format!("db{index}")).collect();
    let databases = || names.iter().zip(&sums.databases).filter(|(name, db)| db.keys > 0 || *name == "db0");
    page.begin("redis_db_keys", "gauge", "Keys of a database.");
    databases().for_each(|(name, db)| page.sample("redis_db_keys", &[("db", name)], db.keys));
    page.begin("redis_db_keys_expiring", "gauge", "Keys of a database that have an expiry.");
    databases().for_each(|(name, db)| page.sample("redis_db_keys_expiring", &[("db", name)], db.volatile));
    page.begin("redis_db_avg_ttl_seconds", "gauge", "Mean time to live of keys with an expiry.");
    databases().for_each(|(name, db)| {
        page.sample("redis_db_avg_ttl_seconds", &[("db", name)], db.ttl_ms as f64 / 1000.0);
    });
}

fn persistence(page: &mut Page, process: &ProcessInfo, snapshots: &[&Snapshot]) {
    let state = process.saves.state();
    let changes: u64 = snapshots.iter().map(|snapshot| snapshot.changes).sum();
    let running = state.running.as_ref().filter(|job| job.kind == Kind::Background);
    page.gauge(
        "redis_rdb_changes_since_last_save",
        "Changes that are in no snapshot.",
        changes.saturating_sub(state.changes_saved),
    );
    page.gauge("redis_rdb_bgsave_in_progress", "1 while a snapshot is written.", u8::from(running.is_some()));
    page.gauge(
        "redis_rdb_last_save_timestamp_seconds",
        "Unix time of the last snapshot, or of the start.",
        state.last_save_s,
    );
    page.gauge(
        "redis_rdb_last_bgsave_status",
        "1 if the last snapshot succeeded.",
        u8::from(state.last_is_ok),
    );
    page.gauge(
        "redis_rdb_last_bgsave_duration_sec",
        "Seconds the last snapshot took; -1 before the first.",
        state.last_took_s.unwrap_or(-1),
    );
    let age_s = running.map_or(-1, |job| (clock::unix_ms() - job.started_ms) / 1000);
    page.gauge("redis_rdb_current_bgsave_duration_sec", "Seconds since the snapshot under way began.", age_s);
    page.gauge(
        "redis_rdb_last_cow_size_bytes",
        "Bytes that the last snapshot held in memory at most.",
        state.last_held_bytes,
    );
    page.counter("redis_rdb_saves_total", "Snapshots since the start.", state.saves);
}

fn log(page: &mut Page, process: &ProcessInfo) {
    let (aof, state) = (&process.aof, process.aof.state());
    let is_ok = |failed: bool| u8::from(!failed);
    page.gauge("redis_aof_enabled", "1 while changes are logged.", u8::from(state.is_on));
    page.gauge(
        "redis_aof_rewrite_in_progress",
        "1 while the log is rewritten.",
        u8::from(state.rewrite_began_ms.is_some()),
    );
    page.gauge(
        "redis_aof_last_rewrite_duration_sec",
        "Seconds the last rewrite took; -1 before the first.",
        state.last_rewrite_took_s.unwrap_or(-1),
    );
    page.gauge(
        "redis_aof_last_bgrewrite_status",
        "1 if the last rewrite succeeded.",
        is_ok(state.last_rewrite_failed()),
    );
    page.gauge(
        "redis_aof_last_write_status",
        "1 if the log can be written; writes of clients are refused otherwise.",
        is_ok(state.failure().is_some()),
    );
    page.gauge("redis_aof_current_size_bytes", "Bytes of the log.", aof.bytes());
    page.gauge(
        "redis_aof_base_size_bytes",
        "Bytes after the last rewrite, or at the start.",
        state.base_bytes,
    );
    page.gauge("redis_aof_buffer_length", "Bytes that wait to be written.", aof.buffered_bytes());
    let is_scheduled = u8::from(state.is_scheduled);
    page.gauge("redis_aof_rewrite_scheduled", "1 while a rewrite waits for a snapshot.", is_scheduled);
    page.gauge("redis_aof_pending_rewrite", "The same, as INFO has it.", is_scheduled);
    page.gauge(
        "redis_aof_last_cow_size_bytes",
        "Bytes that the last rewrite held in memory at most.",
        state.last_held_bytes,
    );
    let (syncing, late_syncs) = aof.syncs();
    page.gauge("redis_aof_pending_bio_fsync", "Shards whose log is being synced.", syncing);
    page.gauge("redis_aof_delayed_fsync", "Syncs of the log that took a second or longer.", late_syncs);
}

fn replication_and_cluster(page: &mut Page) {
    page.gauge("redis_connected_slaves", "Replicas that are connected.", 0);
    page.gauge("redis_master_last_io_seconds_ago", "On replicas: since the primary was heard; else -1.", -1);
    page.gauge("redis_cluster_enabled", "Whether the server is part of a cluster.", 0);
    page.gauge("redis_cluster_state", "1 while all slots are served.", 1);
    page.gauge("redis_cluster_slots_fail", "Slots that nobody serves.", 0);
    page.gauge("redis_cluster_slots_pfail", "Slots whose server may have failed.", 0);
}

fn cpu(page: &mut Page, snapshots: &[&Snapshot]) {
    let mut put = |name: &str, whose: &str, times: CpuTimes| {
        let help = |mode: &str| format!("CPU time {whose} {mode}.");
        page.counter(
            &format!("redis_cpu_sys_{name}seconds_total"),
            &help("in the kernel"),
            times.system.as_secs_f64(),
        );
        page.counter(
            &format!("redis_cpu_user_{name}seconds_total"),
            &help("outside of the kernel"),
            times.user.as_secs_f64(),
        );
    };
    put("", "of the process", cpu_times(CpuTimesOf::Process));
    put("children_", "of its children", cpu_times(CpuTimesOf::Children));
    let shards = snapshots.iter().fold(CpuTimes::default(), |sum, snapshot| CpuTimes {
        user: sum.user + snapshot.cpu.user,
        system: sum.system + snapshot.cpu.system,
    });
    put("main_thread_", "of all shards' threads", shards);
}

/// By command, of those that were called.
fn commands(page: &mut Page, stats: &ShardStats) {
    let used: Vec<(&str, &CommandStats)> = registry()
        .all()
        .iter()
        .map(|command| (command.name, &stats.commands[usize::from(command.id)]))
        .filter(|(_, command)| command.calls > 0 || command.rejected > 0)
        .collect();
    let mut each = |name: &str, help: &str, value: fn(&CommandStats) -> f64| {
        page.begin(name, "counter", help);
        used.iter().for_each(|(command, stats)| page.sample(name, &[("cmd", command)], value(stats)));
    };
    let seconds = |command: &CommandStats| command.ns as f64 / 1e9;
    each("redis_commands_total", "Calls of a command.", |command| command.calls as f64);
    each("redis_command_calls_total", "The same, as older dashboards call it.", |command| {
        command.calls as f64
    });
    each("redis_commands_duration_seconds_total", "Execution time of a command.", seconds);
    each("redis_commands_failed_calls_total", "Calls that answered an error.", |command| {
        command.failed as f64
    });
    each("redis_commands_rejected_calls_total", "Calls refused before they ran.", |command| {
        command.rejected as f64
    });
    let name = "redis_latency_percentiles_usec";
    page.begin(name, "summary", "Execution time of a command in microseconds, by share of its calls.");
    for (command, stats) in used.iter().filter(|(_, stats)| stats.calls > 0) {
        let quantiles =
            QUANTILES.iter().map(|share| (*share, stats.percentile_ns(share * 100.0) as f64 / 1000.0));
        page.summary(name, &[("cmd", command)], quantiles, stats.ns as f64 / 1000.0, stats.calls);
    }
    let name = "redis_commands_latencies_usec";
    page.begin(name, "histogram", "Execution time of a command in microseconds.");
    let bounds = written(latency_bounds().map(|seconds| seconds * 1e6));
    for (command, stats) in used.iter().filter(|(_, stats)| stats.calls > 0) {
        page.histogram(name, &[("cmd", command)], &bounds, &stats.latency, stats.ns as f64 / 1000.0);
    }
}
