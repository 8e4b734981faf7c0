//! The port of metrics and probes: names, values, types, what happens when it is taken.

use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use torc_resp::Value;
use torc_tests::{
    Launch, PATIENCE, Port, Samples, Server, Signal, free_port, http_get, scrape, skip_or_fail, wait_until,
};

/// What dashboard 763, the mixin for Redis and their alerts ask for.
const REDIS_NAMES: &str = "redis_up redis_uptime_in_seconds redis_connected_clients redis_blocked_clients \
    redis_memory_used_bytes redis_memory_max_bytes redis_commands_total redis_commands_duration_seconds_total \
    redis_command_calls_total redis_keyspace_hits_total redis_keyspace_misses_total redis_net_input_bytes_total \
    redis_net_output_bytes_total redis_db_keys redis_db_keys_expiring redis_expired_keys_total \
    redis_evicted_keys_total redis_connected_slaves redis_master_last_io_seconds_ago \
    redis_memory_fragmentation_ratio redis_mem_fragmentation_ratio redis_memory_used_rss_bytes \
    redis_cluster_state redis_cluster_slots_fail redis_cluster_slots_pfail redis_total_system_memory_bytes \
    redis_instance_info redis_start_time_seconds redis_connections_received_total \
    redis_rejected_connections_total redis_commands_processed_total redis_commands_failed_calls_total \
    redis_commands_rejected_calls_total redis_commands_latencies_usec_bucket redis_latency_percentiles_usec \
    redis_errors_total redis_slowlog_length redis_rdb_changes_since_last_save redis_rdb_bgsave_in_progress \
    redis_rdb_last_save_timestamp_seconds redis_rdb_last_bgsave_status redis_allocator_active_bytes \
    redis_allocator_allocated_bytes redis_allocator_resident_bytes redis_config_maxmemory \
    redis_config_maxclients redis_cpu_sys_seconds_total redis_cpu_user_seconds_total redis_pubsub_channels \
    redis_pubsub_patterns redis_loading_dump_file redis_db_avg_ttl_seconds redis_aof_enabled redis_aof_rewrite_in_progress \
    redis_aof_last_bgrewrite_status redis_aof_last_write_status redis_aof_current_size_bytes";

/// What every Prometheus client library shows of its process.
const PROCESS_NAMES: &str = "process_cpu_seconds_total process_start_time_seconds process_resident_memory_bytes \
    process_virtual_memory_bytes process_open_fds process_max_fds";

/// What every shard shows.
const SHARD_NAMES: &str = "torc_shard_commands_total torc_shard_keyspace_hits_total \
    torc_shard_keyspace_misses_total torc_shard_keys torc_shard_bytes torc_shard_clients \
    torc_shard_expired_keys_total torc_shard_expire_seconds_total torc_shard_forwarded_share \
    torc_shard_log_writes_total torc_shard_log_written_bytes_total torc_shard_log_syncs_total \
    torc_shard_log_unwritten_bytes torc_shard_cpu_seconds_total torc_mesh_batches_total torc_mesh_batch_commands_bucket \
    torc_mesh_forwarded_commands_total torc_mesh_foreign_commands_total torc_mesh_queue_depth \
    torc_mesh_held_back_packets torc_loop_turn_seconds_bucket torc_ring_enters_total";

/// Events of the process, which are there from the start.
const EVENT_NAMES: [&str; 4] = [
    "torc_accept_failures_total",
    "torc_log_failures_total",
    "torc_log_rewrite_failures_total",
    "torc_snapshot_failures_total",
];

fn start(launch: Launch) -> (Server, Port) {
    let port = free_port();
    (launch.setting("metrics-port", &port.number.to_string()).start(), port)
}

/// Scrapes until the figures are as expected: shards show them ten times a second, those of clients once.
#[track_caller]
fn scrape_until(port: u16, is_there: impl Fn(&Samples) -> bool) -> Samples {
    let until = Instant::now() + PATIENCE;
    loop {
        let samples = scrape(port);
        if is_there(&samples) {
            return samples;
        }
        assert!(Instant::now() < until, "the figures do not come:\n{}", samples.page);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A load with something to count for every figure.
fn work(server: &Server) {
    let mut client = server.client();
    for key in 0..40 {
        client.cmd(&format!("SET key:{key} value EX 1000"));
        client.cmd(&format!("GET key:{key}"));
        client.cmd(&format!("GET no:{key}"));
    }
    client.cmd("LPUSH list a b c");
    client.cmd("MGET key:1 key:2 key:3 key:4");
    assert!(client.cmd("INCR list").is_error());
    assert!(client.cmd("GET").is_error());
    client.cmd("SELECT 3");
    client.cmd("SET other 1");
}

#[test]
fn every_figure_is_there_and_right() {
    let (server, port) = start(Launch::torc(3));
    let port = port.number;
    let mut waiting = server.client();
    waiting.send(&["BLPOP", "nothing", "0"]).expect("the server reads");
    work(&server);
    let samples = scrape_until(port, |samples| {
        samples.get("redis_db_keys{db=\"db3\"}") == Some(1.0)
            && samples.get("redis_blocked_clients") == Some(1.0)
            && samples.get("redis_connected_clients") == Some(1.0)
    });
    let names = [REDIS_NAMES, PROCESS_NAMES].map(str::split_whitespace);
    for name in names.into_iter().flatten().chain(EVENT_NAMES) {
        assert!(samples.has_name(name), "{name} is not in\n{}", samples.page);
    }
    for name in SHARD_NAMES.split_whitespace() {
        for shard in 0..3 {
            let label = format!("shard=\"{shard}\"");
            assert!(
                samples.named(name).any(|(series, _)| series.contains(&label)),
                "{name} of shard {shard}"
            );
        }
    }
    let is_by_shard = |line: &&str| line.starts_with("redis_") && line.contains("shard=");
    assert_eq!(samples.page.lines().find(is_by_shard), None, "redis_* figures are of the whole server");
    for (series, value) in [
        ("redis_up", 1.0),
        ("redis_db_keys{db=\"db0\"}", 41.0),
        ("redis_db_keys_expiring{db=\"db0\"}", 40.0),
        ("redis_commands_total{cmd=\"set\"}", 41.0),
        ("redis_commands_total{cmd=\"get\"}", 80.0),
        ("redis_commands_rejected_calls_total{cmd=\"get\"}", 1.0),
        ("redis_commands_failed_calls_total{cmd=\"incr\"}", 1.0),
        ("redis_commands_latencies_usec_count{cmd=\"get\"}", 80.0),
        ("redis_commands_latencies_usec_bucket{cmd=\"get\",le=\"+Inf\"}", 80.0),
        ("redis_errors_total{err=\"WRONGTYPE\"}", 1.0),
        ("redis_keyspace_hits_total", 44.0),
        ("redis_keyspace_misses_total", 40.0),
        ("redis_connected_clients", 1.0),
        ("torc_shards", 3.0),
        ("torc_command_duration_seconds_count{family=\"string\"}", 123.0),
        ("torc_command_duration_seconds_count{family=\"list\"}", 1.0),
    ] {
        assert_eq!(samples.get(series), Some(value), "{series} in\n{}", samples.page);
    }
    // The parts make the whole.
    for (part, whole) in [
        ("torc_shard_commands_total", "redis_commands_processed_total"),
        ("torc_shard_keyspace_hits_total", "redis_keyspace_hits_total"),
        ("torc_shard_clients", "redis_connected_clients"),
        ("torc_mesh_foreign_commands_total", "torc_mesh_forwarded_commands_total"),
        ("torc_mesh_batch_commands_count", "torc_mesh_batches_total"),
    ] {
        assert_eq!(samples.sum(part), samples.sum(whole), "{part} and {whole}");
    }
    assert_eq!(samples.sum("torc_shard_keys"), samples.sum("redis_db_keys"));
    assert!(samples.sum("torc_mesh_forwarded_commands_total") > 40.0, "two of three keys are elsewhere");
    assert!(samples.named("torc_shard_forwarded_share").any(|(_, share)| (0.4..1.0).contains(&share)));
    assert!(samples.sum("torc_ring_enters_total") > 0.0 && samples.sum("torc_loop_turn_seconds_count") > 0.0);
    assert!(samples.sum("redis_memory_used_rss_bytes") > 1e6);
    let files = samples.sum("process_open_fds");
    assert!(files > 20.0 && files < samples.sum("process_max_fds"), "{files} files are open");
    assert!(samples.sum("process_virtual_memory_bytes") > samples.sum("process_resident_memory_bytes"));

    let mut client = server.client();
    client.cmd("CONFIG RESETSTAT");
    scrape_until(port, |samples| samples.get("redis_commands_total{cmd=\"set\"}").is_none());
}

#[test]
fn promtool_has_no_complaints() {
    let (server, port) = start(Launch::torc(2));
    work(&server);
    let samples = scrape_until(port.number, |samples| samples.has_name("redis_errors_total"));
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        return skip_or_fail("the lint of metrics: promtool is not installed");
    };
    promtool.stdin.take().expect("it is piped").write_all(samples.page.as_bytes()).expect("it is read");
    let output = promtool.wait_with_output().expect("it ends");
    let complaints =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    // Names that redis_exporter has chosen are as they are.
    let ours: Vec<&str> = complaints.lines().filter(|line| !line.starts_with("redis_")).collect();
    assert_eq!(ours, [""; 0], "{complaints}");
}

/// The log of each shard is counted where it is written.
#[test]
fn the_work_of_logs_is_counted() {
    let (server, port) = start(Launch::torc(2).setting("appendonly", "yes").setting("appendfsync", "always"));
    work(&server);
    scrape_until(port.number, |samples| {
        let counts = ["torc_shard_log_writes_total", "torc_shard_log_syncs_total"];
        counts.iter().all(|name| samples.named(name).all(|(_, count)| count > 1.0))
            && samples.sum("torc_shard_log_written_bytes_total") > 1000.0
            && samples.sum("torc_shard_log_unwritten_bytes") == 0.0
    });
}

#[test]
fn probes_follow_the_life_of_the_server() {
    let (server, port) = start(Launch::torc(2));
    assert_eq!(http_get(port.number, "/healthz").expect("probes are served").0, 200);
    assert_eq!(http_get(port.number, "/readyz").expect("probes are served"), (200, "ready\n".into()));
    assert_eq!(http_get(port.number, "/other").expect("it is answered").0, 404);
    // A reply that nobody reads holds up the end.
    let mut slow = server.client();
    slow.cmd("DEBUG STRINGMATCH-LEN 1 a");
    slow.cmd(&format!("SET big {}", "x".repeat(1 << 20)));
    for _ in 0..64 {
        slow.send(&["GET", "big"]).expect("the server reads");
    }
    server.signal(Signal::Term);
    let stopping = wait_until(
        PATIENCE,
        || matches!(http_get(port.number, "/readyz"), Ok((503, body)) if body == "stopping\n"),
    );
    assert!(stopping, "{}", server.log());
    assert_eq!(http_get(port.number, "/healthz").expect("the process lives").0, 200);
}

#[test]
fn a_taken_port_matters_only_if_it_was_chosen() {
    // Whoever has the default port, it is taken.
    let holder = TcpListener::bind(("127.0.0.1", 9121));
    let server =
        Launch::torc(1).bare().arg("--port").arg(&free_port_number()).arg("--bind").arg("127.0.0.1").start();
    drop(holder);
    assert!(server.log().contains("no metrics at this address"), "{}", server.log());
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let number = taken.local_addr().expect("it has one").port().to_string();
    let (status, log) = Launch::torc(1).setting("metrics-port", &number).run_to_end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("metrics-port") && log.contains("in use"), "{log}");
}

fn free_port_number() -> String {
    free_port().number.to_string()
}

#[test]
fn settings_say_where_it_listens() {
    let (server, port) = start(Launch::torc(1).setting("metrics-bind", "127.0.0.2"));
    assert!(http_get(port.number, "/healthz").is_err(), "only the address that was set");
    let mut client = server.client();
    let reply = client.cmd("CONFIG GET metrics-*");
    let text = format!("{reply}");
    assert!(text.contains("127.0.0.2") && text.contains(&port.number.to_string()), "{text}");
    assert!(matches!(client.cmd("CONFIG SET metrics-port 1"), Value::Error(_)));
    let quiet = Launch::torc(1).start();
    assert!(!quiet.log().contains("metrics"), "{}", quiet.log());
}
