//! The sections of INFO and their fields, named and ordered as in Redis 7.2; fields of Valkey 8.1 that clients read are
//! there too. Figures of things this version does not have (replication, scripts) are zero.

use std::fmt::{Display, Write};
use std::sync::atomic::Ordering;

use torc_runtime::{CpuTimes, CpuTimesOf, cpu_times};

use crate::memory;
use crate::process::{REDIS_VERSION, TORC_VERSION};
use crate::registry::registry;
use crate::saving::Kind;
use crate::session::memory::Summary;
use crate::shard::Shard;

use super::{Figures, Totals};

/// One section.
pub(super) struct Section {
    /// As it is asked for, in lower case.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// Shown when no section is asked for.
    pub(super) default: bool,
    pub(super) write: fn(&Shard, &[Figures], &Totals, &mut Fields<'_>),
}

pub(super) static SECTIONS: &[Section] = &[
    Section { name: "server", title: "Server", default: true, write: server },
    Section { name: "clients", title: "Clients", default: true, write: clients },
    Section { name: "memory", title: "Memory", default: true, write: memory_section },
    Section { name: "persistence", title: "Persistence", default: true, write: persistence },
    Section { name: "stats", title: "Stats", default: true, write: stats },
    Section { name: "replication", title: "Replication", default: true, write: replication },
    Section { name: "cpu", title: "CPU", default: true, write: cpu },
    Section { name: "modules", title: "Modules", default: true, write: |_, _, _, _| {} },
    Section { name: "commandstats", title: "Commandstats", default: false, write: command_stats },
    Section { name: "errorstats", title: "Errorstats", default: true, write: error_stats },
    Section { name: "latencystats", title: "Latencystats", default: false, write: latency_stats },
    Section { name: "cluster", title: "Cluster", default: true, write: cluster },
    Section { name: "keyspace", title: "Keyspace", default: true, write: keyspace },
    Section { name: "torc", title: "Torc", default: true, write: torc },
];

/// Writes `name:value` lines.
pub(super) struct Fields<'a>(pub(super) &'a mut String);

impl Fields<'_> {
    fn put(&mut self, name: &str, value: impl Display) {
        write!(self.0, "{name}:{value}\r\n").expect("writing into a String cannot fail");
    }

    /// Fields that are zero in this version.
    fn zeros(&mut self, names: &[&str]) {
        names.iter().for_each(|name| self.put(name, 0));
    }

    /// A number of bytes, and the same for people.
    fn bytes(&mut self, name: &str, bytes: usize) {
        self.put(name, bytes);
        self.put(&format!("{name}_human"), human_bytes(bytes));
    }
}

/// `1.11M`, as Redis writes sizes.
pub(super) fn human_bytes(bytes: usize) -> String {
    const UNITS: [(&str, f64); 4] =
        [("T", (1u64 << 40) as f64), ("G", (1u64 << 30) as f64), ("M", (1u64 << 20) as f64), ("K", 1024.0)];
    let size = bytes as f64;
    let unit = UNITS.iter().find(|(_, unit)| size >= *unit);
    unit.map_or_else(|| format!("{bytes}B"), |(name, unit)| format!("{:.2}{name}", size / unit))
}

/// `part` in percent of `whole`, with two decimals.
fn percent(part: usize, whole: usize) -> String {
    format!("{:.2}%", part as f64 * 100.0 / whole.max(1) as f64)
}

fn server(shard: &Shard, _figures: &[Figures], _totals: &Totals, out: &mut Fields<'_>) {
    let process = &shard.process;
    let now_us = shard.wall_us();
    let uptime_s = (now_us / 1000 - process.started_ms).max(0) / 1000;
    let kernel = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
        text.trim_end().to_owned()
    };
    out.put("redis_version", REDIS_VERSION);
    out.put("torc_version", TORC_VERSION);
    out.put("server_name", "torc");
    out.put("redis_git_sha1", "00000000");
    out.put("redis_git_dirty", 0);
    out.put("redis_build_id", format_args!("torc-{TORC_VERSION}"));
    out.put("redis_mode", "standalone");
    out.put("os", format_args!("{} {} {}", kernel("ostype"), kernel("osrelease"), std::env::consts::ARCH));
    out.put("arch_bits", usize::BITS);
    out.put("monotonic_clock", "POSIX clock_gettime");
    out.put("multiplexing_api", "io_uring");
    out.put("atomicvar_api", "c11-builtin");
    out.put("process_id", process.pid);
    out.put("process_supervised", if shard.state.config.supervised() { "systemd" } else { "no" });
    out.put("run_id", &process.run_id);
    out.put("tcp_port", process.tcp_port.load(Ordering::Relaxed));
    out.put("server_time_usec", now_us);
    out.put("uptime_in_seconds", uptime_s);
    out.put("uptime_in_days", uptime_s / 86_400);
    let hz = shard.state.config.get(&[b"hz"]).pop().map_or_else(String::new, |(_, value)| value);
    out.put("hz", &hz);
    out.put("configured_hz", &hz);
    out.put("lru_clock", (now_us / 1_000_000) & 0xFF_FFFF);
    out.put("executable", process.executable.display());
    out.put(
        "config_file",
        shard.state.config.file().map_or_else(String::new, |file| file.display().to_string()),
    );
    out.put("io_threads_active", 0);
    out.put("availability_zone", shard.state.config.availability_zone());
    out.put("shards", shard.shards());
}

fn clients(shard: &Shard, _figures: &[Figures], totals: &Totals, out: &mut Fields<'_>) {
    let clients = &totals.clients;
    out.put("connected_clients", clients.connected);
    out.put("cluster_connections", 0);
    out.put("maxclients", shard.state.config.maxclients());
    out.put("client_recent_max_input_buffer", clients.input_bytes_max);
    out.put("client_recent_max_output_buffer", clients.output_bytes_max);
    out.put("blocked_clients", clients.blocked);
    out.put("tracking_clients", totals.tracking.clients);
    out.put("pubsub_clients", clients.pubsub);
    out.put("watching_clients", clients.watching);
    out.put("clients_in_timeout_table", 0);
    out.put("total_watched_keys", totals.watched_keys);
    out.put("total_blocking_keys", totals.awaited_keys);
    out.put("total_blocking_keys_on_nokey", totals.missed_keys);
    let pause = shard.state.pause.filter(|pause| pause.until_ms > shard.now.unix_ms);
    out.put("paused_actions", pause.map_or("none", |pause| if pause.writes_only { "write" } else { "all" }));
    out.put("paused_timeout_milliseconds", pause.map_or(0, |pause| pause.until_ms - shard.now.unix_ms));
}

fn memory_section(shard: &Shard, _figures: &[Figures], totals: &Totals, out: &mut Fields<'_>) {
    shard.process.memory.note_peak();
    let Summary { memory, used, peak, startup, overhead, dataset, .. } = Summary::of(shard, totals);
    let setting = |name: &[u8]| {
        let found = shard.state.config.get(&[name]).pop();
        found.map_or_else(String::new, |(_, value)| value)
    };
    out.bytes("used_memory", used);
    out.bytes("used_memory_rss", memory.rss);
    out.bytes("used_memory_peak", peak);
    out.put("used_memory_peak_perc", percent(used, peak));
    out.put("used_memory_overhead", overhead);
    out.put("used_memory_startup", startup);
    out.put("used_memory_dataset", dataset);
    out.put("used_memory_dataset_perc", percent(dataset, used.saturating_sub(startup)));
    out.put("allocator_allocated", memory.allocated);
    out.put("allocator_active", memory.active);
    out.put("allocator_resident", memory.resident);
    out.bytes("total_system_memory", memory::system_bytes());
    out.zeros(&["used_memory_lua", "used_memory_vm_eval"]);
    out.put("used_memory_lua_human", "0B");
    out.zeros(&[
        "used_memory_scripts_eval",
        "number_of_cached_scripts",
        "number_of_functions",
        "number_of_libraries",
    ]);
    out.put("used_memory_vm_functions", 0);
    out.bytes("used_memory_vm_total", 0);
    out.put("used_memory_functions", 0);
    out.bytes("used_memory_scripts", 0);
    let limit: usize = setting(b"maxmemory").parse().unwrap_or(0);
    out.bytes("maxmemory", limit);
    out.put("maxmemory_policy", setting(b"maxmemory-policy"));
    let ratio = |part: usize, whole: usize| format!("{:.2}", part as f64 / whole.max(1) as f64);
    let difference = |part: usize, whole: usize| part as i64 - whole as i64;
    out.put("allocator_frag_ratio", ratio(memory.active, memory.allocated));
    out.put("allocator_frag_bytes", difference(memory.active, memory.allocated));
    out.put("allocator_rss_ratio", ratio(memory.resident, memory.active));
    out.put("allocator_rss_bytes", difference(memory.resident, memory.active));
    out.put("rss_overhead_ratio", ratio(memory.rss, memory.resident));
    out.put("rss_overhead_bytes", difference(memory.rss, memory.resident));
    out.put("mem_fragmentation_ratio", ratio(memory.rss, used));
    out.put("mem_fragmentation_bytes", difference(memory.rss, used));
    out.zeros(&[
        "mem_not_counted_for_evict",
        "mem_replication_backlog",
        "mem_total_replication_buffers",
        "mem_clients_slaves",
    ]);
    out.put("mem_clients_normal", totals.clients.bytes);
    out.zeros(&["mem_cluster_links", "mem_aof_buffer"]);
    out.put("mem_allocator", memory::allocator_name());
    out.zeros(&["mem_overhead_db_hashtable_rehashing", "active_defrag_running"]);
    out.put("lazyfree_pending_objects", totals.release_pending);
    out.put("lazyfreed_objects", totals.released);
}

fn persistence(shard: &Shard, _figures: &[Figures], totals: &Totals, out: &mut Fields<'_>) {
    let state = shard.process.saves.state();
    let running = state.running.as_ref();
    let background = running.filter(|job| job.kind == Kind::Background);
    let held = running.map_or(0, |job| job.held_bytes_max.load(Ordering::Relaxed));
    let keys = running.map_or(0, |job| job.keys());
    let keys_saved = running.map_or(0, |job| job.keys_saved.load(Ordering::Relaxed));
    let age_s = background.map_or(-1, |job| (shard.now.unix_ms - job.started_ms) / 1000);
    out.put("loading", u8::from(shard.state.is_loading));
    out.zeros(&["async_loading"]);
    out.put("current_cow_peak", held);
    out.put("current_cow_size", held);
    out.put("current_cow_size_age", 0);
    out.put("current_fork_perc", format_args!("{:.2}", keys_saved as f64 * 100.0 / keys.max(1) as f64));
    out.put("current_save_keys_processed", keys_saved);
    out.put("current_save_keys_total", keys);
    out.put("rdb_changes_since_last_save", totals.changes.saturating_sub(state.changes_saved));
    out.put("rdb_bgsave_in_progress", u8::from(background.is_some()));
    out.put("rdb_last_save_time", state.last_save_s);
    out.put("rdb_last_bgsave_status", if state.last_is_ok { "ok" } else { "err" });
    out.put("rdb_last_bgsave_time_sec", state.last_took_s.unwrap_or(-1));
    out.put("rdb_current_bgsave_time_sec", age_s);
    out.put("rdb_saves", state.saves);
    out.put("rdb_last_cow_size", state.last_held_bytes);
    out.put("rdb_last_load_keys_expired", state.keys_expired);
    out.put("rdb_last_load_keys_loaded", state.keys_loaded);
    let aof = &shard.process.aof;
    let log = aof.state();
    let age_s = log.rewrite_began_ms.map_or(-1, |began_ms| (shard.now.unix_ms - began_ms) / 1000);
    out.put("aof_enabled", u8::from(log.is_on));
    out.put("aof_rewrite_in_progress", u8::from(log.rewrite_began_ms.is_some()));
    out.put("aof_rewrite_scheduled", u8::from(log.is_scheduled));
    out.put("aof_last_rewrite_time_sec", log.last_rewrite_took_s.unwrap_or(-1));
    out.put("aof_current_rewrite_time_sec", age_s);
    out.put("aof_last_bgrewrite_status", if log.last_rewrite_failed() { "err" } else { "ok" });
    out.put("aof_rewrites", log.rewrites);
    out.put("aof_rewrites_consecutive_failures", log.failed_rewrites);
    out.put("aof_last_write_status", if log.failure().is_some() { "err" } else { "ok" });
    out.put("aof_last_cow_size", log.last_held_bytes);
    out.zeros(&["module_fork_in_progress", "module_fork_last_cow_size"]);
    if shard.state.is_loading {
        loading(shard, out);
    }
    if log.is_on {
        out.put("aof_current_size", aof.bytes());
        out.put("aof_base_size", log.base_bytes);
        out.put("aof_pending_rewrite", u8::from(log.is_scheduled));
        out.put("aof_buffer_length", aof.buffered_bytes());
        let (syncing, late_syncs) = aof.syncs();
        out.put("aof_pending_bio_fsync", syncing);
        out.put("aof_delayed_fsync", late_syncs);
    }
}

fn loading(shard: &Shard, out: &mut Fields<'_>) {
    let loading = &shard.process.loading;
    let (loaded, total) = loading.progress.loaded_of();
    let elapsed_s = ((shard.now.unix_ms - loading.started_ms()) / 1000).max(1) as u64;
    let per_s = (loaded / elapsed_s).max(1);
    out.put("loading_start_time", loading.started_ms() / 1000);
    out.put("loading_total_bytes", total);
    out.put("loading_rdb_used_mem", loading.progress.rdb_used_memory.load(Ordering::Relaxed));
    out.put("loading_loaded_bytes", loaded);
    out.put("loading_loaded_perc", format!("{:.2}", loaded as f64 * 100.0 / total as f64));
    out.put("loading_eta_seconds", (total - loaded) / per_s);
}

fn stats(shard: &Shard, _figures: &[Figures], totals: &Totals, out: &mut Fields<'_>) {
    let stats = &totals.stats;
    let kbps = |bytes: u64| format!("{:.2}", bytes as f64 / 1024.0);
    let execution_us: u64 = stats.commands.iter().map(|command| command.ns).sum::<u64>() / 1000;
    out.put("total_connections_received", stats.connections_received);
    out.put("total_commands_processed", stats.commands_processed);
    out.put("instantaneous_ops_per_sec", totals.rates.commands);
    out.put("total_net_input_bytes", stats.net_input_bytes);
    out.put("total_net_output_bytes", stats.net_output_bytes);
    out.zeros(&["total_net_repl_input_bytes", "total_net_repl_output_bytes"]);
    out.put("instantaneous_input_kbps", kbps(totals.rates.input_bytes));
    out.put("instantaneous_output_kbps", kbps(totals.rates.output_bytes));
    out.put("instantaneous_input_repl_kbps", "0.00");
    out.put("instantaneous_output_repl_kbps", "0.00");
    out.put("rejected_connections", stats.connections_rejected);
    out.zeros(&["sync_full", "sync_partial_ok", "sync_partial_err"]);
    out.put("expired_keys", totals.keyspace.expired);
    out.put("expired_fields", totals.keyspace.expired_fields);
    out.put("expired_stale_perc", format_args!("{:.2}", totals.stale_share * 100.0));
    out.put("expired_time_cap_reached_count", stats.expire_allowance_used_up);
    out.put("expire_cycle_cpu_milliseconds", stats.expire_ns / 1_000_000);
    out.put("evicted_keys", totals.keyspace.evicted);
    out.put("evicted_clients", stats.clients_evicted);
    out.put("evicted_scripts", 0);
    let (exceeded_ms, now_exceeded_ms) = shard.process.budget.exceeded_ms(shard.now.unix_ms);
    out.put("total_eviction_exceeded_time", exceeded_ms);
    out.put("current_eviction_exceeded_time", now_exceeded_ms);
    out.put("keyspace_hits", totals.keyspace.hits);
    out.put("keyspace_misses", totals.keyspace.misses);
    out.put("pubsub_channels", totals.subscribed.channels);
    out.put("pubsub_patterns", totals.subscribed.patterns);
    out.put("pubsubshard_channels", totals.subscribed.shard_channels);
    out.zeros(&["latest_fork_usec", "total_forks"]);
    out.put("migrate_cached_sockets", totals.migration_targets);
    out.put("slave_expires_tracked_keys", 0);
    out.zeros(&[
        "active_defrag_hits",
        "active_defrag_misses",
        "active_defrag_key_hits",
        "active_defrag_key_misses",
        "total_active_defrag_time",
        "current_active_defrag_time",
    ]);
    out.put("tracking_total_keys", totals.tracking.keys);
    out.put("tracking_total_items", totals.tracking.items);
    out.put("tracking_total_prefixes", totals.tracking.prefixes);
    out.put("unexpected_error_replies", 0);
    out.put("total_error_replies", stats.error_replies);
    out.put("dump_payload_sanitizations", 0);
    out.put("total_reads_processed", stats.reads);
    out.put("total_writes_processed", stats.writes);
    out.zeros(&["io_threaded_reads_processed", "io_threaded_writes_processed"]);
    out.put("client_query_buffer_limit_disconnections", stats.query_buffer_limit_disconnections);
    out.put("client_output_buffer_limit_disconnections", stats.output_buffer_limit_disconnections);
    out.zeros(&["reply_buffer_shrinks", "reply_buffer_expands"]);
    out.put("eventloop_cycles", stats.turns);
    out.put("eventloop_duration_sum", totals.cpu.total().as_micros());
    out.put("eventloop_duration_cmd_sum", execution_us);
    out.put("instantaneous_eventloop_cycles_per_sec", totals.rates.turns);
    out.put("acl_access_denied_auth", stats.access_denied_auth);
    out.zeros(&["acl_access_denied_cmd", "acl_access_denied_key", "acl_access_denied_channel"]);
}

fn replication(shard: &Shard, _figures: &[Figures], _totals: &Totals, out: &mut Fields<'_>) {
    out.put("role", "master");
    out.put("connected_slaves", 0);
    out.put("master_failover_state", "no-failover");
    out.put("master_replid", shard.replication_id());
    out.put("master_replid2", "0".repeat(40));
    out.put("master_repl_offset", 0);
    out.put("second_repl_offset", -1);
    out.put("repl_backlog_active", 0);
    let size = shard.state.config.get(&[b"repl-backlog-size"]).pop();
    out.put("repl_backlog_size", size.map_or_else(String::new, |(_, value)| value));
    out.zeros(&["repl_backlog_first_byte_offset", "repl_backlog_histlen"]);
}

impl Shard {
    /// Names the history of the data; until DEBUG CHANGE-REPL-ID, the run of the server does.
    fn replication_id(&self) -> &str {
        if self.state.replication_id.is_empty() { &self.process.run_id } else { &self.state.replication_id }
    }
}

fn cpu(_shard: &Shard, _figures: &[Figures], totals: &Totals, out: &mut Fields<'_>) {
    let mut put = |suffix: &str, times: CpuTimes| {
        out.put(&format!("used_cpu_sys{suffix}"), format_args!("{:.6}", times.system.as_secs_f64()));
        out.put(&format!("used_cpu_user{suffix}"), format_args!("{:.6}", times.user.as_secs_f64()));
    };
    put("", cpu_times(CpuTimesOf::Process));
    put("_children", cpu_times(CpuTimesOf::Children));
    // What a main thread does in Redis, the threads of all shards do here.
    put("_main_thread", totals.cpu);
}

fn command_stats(_shard: &Shard, _figures: &[Figures], totals: &Totals, out: &mut Fields<'_>) {
    for command in registry().all() {
        let stats = &totals.stats.commands[command.id as usize];
        if stats.calls == 0 && stats.rejected == 0 {
            continue;
        }
        let us = stats.ns as f64 / 1000.0;
        out.put(
            &format!("cmdstat_{}", command.name),
            format_args!(
                "calls={},usec={},usec_per_call={:.2},rejected_calls={},failed_calls={}",
                stats.calls,
                us as u64,
                us / stats.calls.max(1) as f64,
                stats.rejected,
                stats.failed,
            ),
        );
    }
}

fn error_stats(_shard: &Shard, _figures: &[Figures], totals: &Totals, out: &mut Fields<'_>) {
    let mut errors: Vec<(&str, u64)> = totals.stats.errors().collect();
    errors.sort_unstable();
    for (code, count) in errors {
        out.put(&format!("errorstat_{code}"), format_args!("count={count}"));
    }
}

fn latency_stats(shard: &Shard, _figures: &[Figures], totals: &Totals, out: &mut Fields<'_>) {
    let config = &shard.state.config;
    if !config.latency_tracking() {
        return;
    }
    for command in registry().all() {
        let stats = &totals.stats.commands[command.id as usize];
        if stats.calls == 0 {
            continue;
        }
        let percentiles = config.latency_tracking_info_percentiles().iter().map(|&percentile| {
            let us = stats.percentile_ns(percentile) as f64 / 1000.0;
            format!("p{percentile}={us:.3}")
        });
        let percentiles: Vec<String> = percentiles.collect();
        out.put(&format!("latency_percentiles_usec_{}", command.name), percentiles.join(","));
    }
}

fn cluster(_shard: &Shard, _figures: &[Figures], _totals: &Totals, out: &mut Fields<'_>) {
    out.put("cluster_enabled", 0);
}

fn keyspace(_shard: &Shard, _figures: &[Figures], totals: &Totals, out: &mut Fields<'_>) {
    for (index, db) in totals.databases.iter().enumerate().filter(|(_, db)| db.keys > 0) {
        out.put(
            &format!("db{index}"),
            format_args!(
                "keys={},expires={},avg_ttl={},keys_with_volatile_items={}",
                db.keys, db.volatile, db.ttl_ms, db.with_volatile_fields
            ),
        );
    }
}

/// What each shard did.
fn torc(_shard: &Shard, figures: &[Figures], _totals: &Totals, out: &mut Fields<'_>) {
    for shard in figures {
        let stats = &shard.stats;
        let bytes: usize = shard.databases.iter().map(|db| db.entry_bytes + db.table_bytes).sum();
        let keys: usize = shard.databases.iter().map(|db| db.keys).sum();
        out.put(
            &format!("shard{}", shard.shard),
            format_args!(
                "clients={},keys={keys},bytes={bytes},commands={},ops_per_sec={},forwarded={},batches={},\
                 transactions={},sequenced={},net_in={},net_out={},turns={},cpu_ms={}",
                shard.clients.connected,
                stats.commands_processed,
                shard.rates.commands,
                stats.forwarded,
                stats.batches,
                stats.transactions,
                stats.sequenced,
                stats.net_input_bytes,
                stats.net_output_bytes,
                stats.turns,
                shard.cpu.total().as_millis(),
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::human_bytes;

    #[test]
    fn sizes_are_written_as_redis_does() {
        for (bytes, text) in
            [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1_167_936, "1.11M"), (2 << 30, "2.00G")]
        {
            assert_eq!(human_bytes(bytes), text);
        }
    }
}
