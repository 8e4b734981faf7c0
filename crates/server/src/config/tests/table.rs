//! The table as a whole: names, defaults, and the pages generated from it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::super::setting::{Effect, Kind};
use super::super::table::{self, CHAPTERS, DIRECTIVES};
use super::super::{Config, docs, start};

#[test]
fn names_are_unique_and_in_kebab_case() {
    let mut seen = HashSet::new();
    for (name, id) in table::names() {
        assert!(seen.insert(*name), "{name} appears twice");
        assert_eq!(*name, name.to_ascii_lowercase());
        assert!(!name.contains('_') || *name != id.setting().name, "{name}: underscores only in aliases");
    }
    for directive in DIRECTIVES {
        assert!(seen.insert(directive.name), "{} is a setting and a directive", directive.name);
    }
}

/// One setting, one sentence; a sentence in a Markdown table has no bars.
#[test]
fn settings_are_described() {
    for id in table::ids() {
        let setting = id.setting();
        assert!(
            setting.doc.ends_with('.') && !setting.doc.contains('|'),
            "{}: {}",
            setting.name,
            setting.doc
        );
        if let Effect::None(why) | Effect::Refused(why) = setting.effect {
            assert!(!why.is_empty() && !why.ends_with('.'), "{}: {why}", setting.name);
        }
    }
}

#[test]
fn sections_are_unique() {
    let sections: HashSet<_> = CHAPTERS.iter().map(|chapter| chapter.section).collect();
    assert_eq!(sections.len(), CHAPTERS.len());
}

/// A row is active exactly if there is a getter for the rest of the server.
#[test]
fn active_settings_have_a_getter() {
    let getters = include_str!("../typed.rs");
    for id in table::ids() {
        let setting = id.setting();
        let has_getter = getters.contains(&format!("pub fn {}(", setting.name.replace('-', "_")));
        assert_eq!(has_getter, setting.effect == Effect::Active, "{}", setting.name);
    }
}

/// And somebody asks that getter.
#[test]
fn active_settings_are_read() {
    fn sources(folder: &Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("readable").path();
            if path.is_dir() && !path.ends_with("config/tests") {
                sources(&path, text);
            } else if path.extension().is_some_and(|ext| ext == "rs") && !path.ends_with("config/typed.rs") {
                text.push_str(&std::fs::read_to_string(&path).expect("readable"));
            }
        }
    }
    let mut text = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut text);
    for id in table::ids().filter(|id| id.setting().effect == Effect::Active) {
        let name = id.setting().name;
        assert!(text.contains(&format!(".{}()", name.replace('-', "_"))), "nothing reads {name}");
    }
}

/// Getters panic when they and the table disagree about a kind.
#[test]
fn getters_agree_with_the_table() {
    let config = Config::default();
    assert_eq!(config.port(), 6379);
    assert_eq!(config.bind(), ["*", "-::*"]);
    assert!(config.protected_mode());
    assert_eq!(config.unixsocket(), None);
    assert_eq!(config.unixsocketperm(), None);
    assert_eq!(config.tcp_backlog(), 511);
    assert_eq!(config.tcp_keepalive().map(|time| time.as_secs()), Some(300));
    assert_eq!(config.maxclients(), 10_000);
    assert_eq!(config.timeout(), None);
    assert_eq!(config.client_output_buffer_limit().pubsub.hard_bytes, 32 << 20);
    assert_eq!(config.client_output_buffer_limit().normal.hard_bytes, 0);
    assert_eq!(config.client_query_buffer_limit(), 1 << 30);
    assert_eq!(config.proto_max_bulk_len(), 512 << 20);
    assert_eq!(config.requirepass(), None);
    assert!(!config.enable_debug_command().allows(true));
    assert!(!config.enable_protected_configs().allows(true));
    assert_eq!(config.shards(), None);
    assert!(config.spin_us().is_zero());
    assert_eq!(config.databases(), 16);
    assert_eq!(config.active_expire_effort(), 1);
    assert_eq!(config.shutdown_timeout().as_secs(), 10);
    assert!(config.dir().is_absolute());
    assert!(config.jemalloc_bg_thread());
    assert_eq!(config.maxmemory(), 0);
    assert_eq!(config.maxmemory_samples(), 5);
    assert_eq!(config.maxmemory_eviction_tenacity().map(|time| time.as_micros()), Some(500));
    assert!(config.lazyfree_lazy_user_flush());
    assert!(!config.import_mode());
    assert_eq!(config.loglevel(), super::super::LogLevel::Notice);
    assert_eq!(config.logfile(), None);
    assert_eq!(config.log_format(), super::super::LogFormat::Text);
    assert_eq!(config.commandlog_execution_slower_than().map(|time| time.as_micros()), Some(10_000));
    assert_eq!(config.commandlog_slow_execution_max_len(), 128);
    assert_eq!(config.latency_monitor_threshold(), None);
    assert_eq!(config.hotkey_top_k(), 10);
    assert!(!config.supervised());
    assert_eq!(config.metrics_port(), Some((9121, false)));
    assert_eq!(config.metrics_bind(), ["127.0.0.1", "-::1"]);
    assert!(config.latency_tracking());
    assert_eq!(config.latency_tracking_info_percentiles(), [50.0, 99.0, 99.9]);
}

/// The largest value of an integer setting fits the type its getter returns.
#[test]
fn getters_take_the_largest_values() {
    for id in table::ids().filter(|id| id.setting().effect == Effect::Active) {
        let largest = match id.setting().kind {
            Kind::Int { max, .. } | Kind::AutoOrInt { max, .. } => max.to_string(),
            Kind::Memory { max, .. } => max.to_string(),
            _ => continue,
        };
        let mut config = Config::default();
        config.assign(id, &[&largest], false).unwrap();
        match id.setting().name {
            "port" => assert_eq!(config.port(), 65535),
            "hotkey-top-k" => assert_eq!(config.hotkey_top_k(), 1000),
            "metrics-port" => assert_eq!(config.metrics_port(), Some((65535, false))),
            "tcp-backlog" => assert_eq!(config.tcp_backlog(), i32::MAX as u32),
            "tcp-keepalive" => assert!(config.tcp_keepalive().is_some()),
            "maxclients" => assert_eq!(config.maxclients(), u32::MAX),
            "timeout" => assert!(config.timeout().is_some()),
            "client-query-buffer-limit" => assert_eq!(config.client_query_buffer_limit(), i64::MAX as usize),
            "proto-max-bulk-len" => assert_eq!(config.proto_max_bulk_len(), i64::MAX as usize),
            "tracking-table-max-keys" => {
                assert_eq!(config.tracking_table_max_keys(), Some(i64::MAX as usize));
            }
            "shards" => assert_eq!(config.shards(), Some(1024)),
            "spin-us" => assert_eq!(config.spin_us().as_secs(), 1),
            "databases" => assert_eq!(config.databases(), i32::MAX as usize),
            "active-expire-effort" => assert_eq!(config.active_expire_effort(), 10),
            "maxmemory-samples" => assert!(config.maxmemory_samples() >= 64),
            "maxmemory-eviction-tenacity" => assert_eq!(config.maxmemory_eviction_tenacity(), None),
            "lfu-log-factor" => assert!(config.lfu_log_factor() >= i32::MAX as u32),
            "lfu-decay-time" => assert!(config.lfu_decay_time() >= i32::MAX as u32),
            "shutdown-timeout" => assert_eq!(config.shutdown_timeout().as_secs(), i32::MAX as u64),
            "commandlog-execution-slower-than" => {
                assert!(config.commandlog_execution_slower_than().is_some());
            }
            "commandlog-slow-execution-max-len" => {
                assert_eq!(config.commandlog_slow_execution_max_len(), i64::MAX as usize);
            }
            "commandlog-large-request-max-len" => {
                assert_eq!(config.commandlog_large_request_max_len(), i64::MAX as usize);
            }
            "commandlog-large-reply-max-len" => {
                assert_eq!(config.commandlog_large_reply_max_len(), i64::MAX as usize);
            }
            "commandlog-request-larger-than" => {
                assert_eq!(config.commandlog_request_larger_than(), Some(i64::MAX as usize));
            }
            "commandlog-reply-larger-than" => {
                assert_eq!(config.commandlog_reply_larger_than(), Some(i64::MAX as usize));
            }
            "rdb-version" => assert_eq!(config.rdb_version(), 11),
            "rdb-key-save-delay" => assert!(config.rdb_key_save_delay() > 0),
            "latency-monitor-threshold" => assert!(config.latency_monitor_threshold().is_some()),
            "hash-max-listpack-entries" => assert!(config.hash_max_listpack_entries() >= i32::MAX as usize),
            "hash-max-listpack-value" => assert!(config.hash_max_listpack_value() >= i32::MAX as usize),
            "set-max-intset-entries" => assert!(config.set_max_intset_entries() >= i32::MAX as usize),
            "set-max-listpack-entries" => assert!(config.set_max_listpack_entries() >= i32::MAX as usize),
            "set-max-listpack-value" => assert!(config.set_max_listpack_value() >= i32::MAX as usize),
            "zset-max-listpack-entries" => assert!(config.zset_max_listpack_entries() >= i32::MAX as usize),
            "zset-max-listpack-value" => assert!(config.zset_max_listpack_value() >= i32::MAX as usize),
            "hll-sparse-max-bytes" => assert!(config.hll_sparse_max_bytes() >= i32::MAX as usize),
            "stream-node-max-bytes" => assert!(config.stream_node_max_bytes() >= i32::MAX as usize),
            "stream-node-max-entries" => assert!(config.stream_node_max_entries() >= i32::MAX as usize),
            "list-max-listpack-size" => assert_eq!(config.list_max_listpack_size(), i64::from(i32::MAX)),
            "auto-aof-rewrite-percentage" => assert!(config.auto_aof_rewrite_percentage() > 0),
            "auto-aof-rewrite-min-size" => assert!(config.auto_aof_rewrite_min_size() > 1 << 40),
            other => panic!("add {other} to this test"),
        }
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Compares a generated page with the file, or writes it when TORC_BLESS is set.
fn check_page(path: &str, expected: &str) {
    let file = repository().join(path);
    if std::env::var_os("TORC_BLESS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, expected).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(found == expected, "{path} is stale: run `TORC_BLESS=1 cargo test -p torc-server config`");
}

#[test]
fn generated_pages_are_fresh() {
    check_page("docs/config.md", &docs::markdown());
    check_page("deploy/config/torc.toml", &docs::annotated_toml());
}

/// With the `#` in front of its settings removed, the example says what is true without it.
#[test]
fn annotated_example_holds_the_defaults() {
    let example = docs::annotated_toml();
    let mut text = String::new();
    for line in example.lines() {
        let setting = line
            .strip_prefix("# ")
            .filter(|line| line.split_once(" = ").is_some_and(|(name, _)| table::find(name).is_some()));
        text.push_str(setting.unwrap_or(line));
        text.push('\n');
    }
    let path = std::env::temp_dir().join(format!("torc-example-{}.toml", std::process::id()));
    std::fs::write(&path, &text).unwrap();
    let loaded = Config::load(&[path.display().to_string()], []);
    std::fs::remove_file(&path).unwrap();
    let loaded = loaded.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.notes, [""; 0]);
    for id in table::ids() {
        assert!(loaded.config.is_default(id), "{}", id.setting().name);
    }
    let active = table::ids().filter(|id| id.setting().effect == Effect::Active).count();
    assert_eq!(text.lines().filter(|line| line.contains(" = ") && !line.starts_with('#')).count(), active);
}

#[test]
fn help_names_every_flag() {
    let super::super::Startup::Print { text, exit_code } = start(&["--help".into()], []).unwrap() else {
        panic!("help starts a server");
    };
    assert_eq!(exit_code, 0);
    for flag in ["--env", "--check-config", "--convert", "--version", "--help"] {
        assert!(text.contains(flag), "{flag}");
    }
}
