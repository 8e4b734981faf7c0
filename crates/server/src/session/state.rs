//! What session commands keep between calls on one shard.
//!
//! Owns this shard's copy of server-wide state: the configuration and what is derived from it, and CLIENT PAUSE. Changes
//! reach all shards through calls; reading never leaves the shard.

use std::sync::Arc;

use torc_commands::{DataSettings, Encodings, Flags};
use torc_keyspace::Class;

use crate::config::{Config, OutputLimit};
use crate::connection::{Connection, PeerInfo};
use crate::registry::Registered;
use crate::shard::command_log::LogKind;

/// One shard's copy of server-wide state.
pub struct ServerState {
    pub config: Arc<Config>,
    /// How often the configuration was changed since the start. Shard 0 counts; a shard takes over what is newer.
    pub config_version: u64,
    /// Names the history of the data (`master_replid`).
    pub replication_id: Box<str>,
    /// CLIENT PAUSE in force.
    pub pause: Option<Pause>,
    /// The last snapshot failed, and clients are to notice (`stop-writes-on-bgsave-error`).
    pub refuses_writes: bool,
    /// Why the log can't be written: no write is taken meanwhile.
    pub log_failure: Option<String>,
    /// The data are being loaded: only commands that need none of them run.
    pub is_loading: bool,
    /// Somebody wants to see every command (MONITOR).
    pub monitored: bool,
    /// Active expiry is on (DEBUG SET-ACTIVE-EXPIRE).
    pub active_expire: bool,
    derived: Derived,
}

/// Settings that are read often, out of the configuration.
struct Derived {
    password: Vec<u8>,
    slow_log_threshold_ns: u64,
    latency_threshold_ms: u64,
    large_request_bytes: usize,
    large_reply_bytes: usize,
    log_lens_max: [usize; LogKind::COUNT],
    /// The lower one of both thresholds.
    notice_threshold_ns: u64,
    output_limit_normal: OutputLimit,
    output_limit_pubsub: OutputLimit,
    idle_timeout_ms: Option<i64>,
    published_events: Class,
    tracked_keys_max: usize,
    query_buffer_bytes_max: usize,
    client_bytes_max: Option<usize>,
    protected: bool,
}

/// CLIENT PAUSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Unix ms.
    pub until_ms: i64,
    /// Only commands that may write are held back.
    pub writes_only: bool,
}

/// What a client of another machine reads when it may not come in: Redis's text, which tools look for.
const PROTECTED_TEXT: &[u8] = b"-DENIED Redis is running in protected mode because protected mode is enabled \
    and no password is set for the default user. In this mode connections are only accepted from the loopback \
    interface. If you want to connect from external computers to Redis you may adopt one of the following \
    solutions: 1) Just disable protected mode sending the command 'CONFIG SET protected-mode no' from the \
    loopback interface by connecting to Redis from the same host the server is running, however MAKE SURE Redis \
    is not publicly accessible from internet if you do so. Use CONFIG REWRITE to make this change permanent. 2) \
    Alternatively you can just disable the protected mode by editing the Redis configuration file, and setting \
    the protected mode option to 'no', and then restarting the server. 3) If you started the server manually \
    just for testing, restart it with the '--protected-mode no' option. 4) Setup a an authentication password \
    for the default user. NOTE: You only need to do one of the above things in order for the server to start \
    accepting connections from the outside.\r\n";

impl ServerState {
    pub fn new(config: Arc<Config>) -> ServerState {
        ServerState {
            derived: Derived::of(&config),
            config,
            config_version: 0,
            replication_id: Box::default(),
            pause: None,
            refuses_writes: false,
            log_failure: None,
            is_loading: false,
            monitored: false,
            active_expire: true,
        }
    }

    /// Replace the configuration.
    pub fn apply(&mut self, config: Arc<Config>) {
        self.derived = Derived::of(&config);
        self.config = config;
    }

    pub fn password_required(&self) -> bool {
        !self.derived.password.is_empty()
    }

    /// `requirepass`; empty when no password is needed.
    pub fn password(&self) -> &[u8] {
        &self.derived.password
    }

    /// CLIENT PAUSE. A pause in force is never made milder, nor shorter.
    pub fn hold_back(&mut self, pause: Pause) {
        let held = self.pause.unwrap_or(pause);
        self.pause = Some(Pause {
            until_ms: held.until_ms.max(pause.until_ms),
            writes_only: held.writes_only && pause.writes_only,
        });
    }

    /// True when every request needs the full gate.
    #[inline]
    pub fn gate_closed(&self) -> bool {
        self.pause.is_some()
            || self.refuses_writes
            || self.log_failure.is_some()
            || self.is_loading
            || self.monitored
    }

    /// Does CLIENT PAUSE hold this command back?
    pub fn pauses(&self, connection: &Connection, command: &Registered) -> bool {
        let Some(pause) = self.pause else { return false };
        if !pause.writes_only {
            return true;
        }
        is_or_queues(connection, command, |command| {
            command.writes() || command.spec.flags.has(Flags::MAY_REPLICATE)
        })
    }

    /// Is this command refused because the last snapshot failed? PING too, for those who watch by it (as in Redis).
    pub fn refuses(&self, connection: &Connection, command: &Registered) -> bool {
        (self.refuses_writes || self.log_failure.is_some())
            && (command.name == "ping" || is_or_queues(connection, command, Registered::writes))
    }

    /// Protected mode: only clients of this machine.
    pub fn admit(&self, info: &PeerInfo) -> Result<(), &'static [u8]> {
        let refused = self.derived.protected && !self.password_required() && !info.loopback;
        if refused { Err(PROTECTED_TEXT) } else { Ok(()) }
    }

    pub fn output_limit(&self, connection: &Connection) -> OutputLimit {
        if connection.subscriptions.is_some() || connection.flags.monitor {
            self.derived.output_limit_pubsub
        } else {
            self.derived.output_limit_normal
        }
    }

    /// `notify-keyspace-events`: classes of events, and the channels to publish them on; none unless there are both.
    pub fn published_events(&self) -> Class {
        self.derived.published_events
    }

    /// `tracking-table-max-keys`.
    pub fn tracked_keys_max(&self) -> usize {
        self.derived.tracked_keys_max
    }

    /// `timeout`.
    pub fn idle_timeout_ms(&self) -> Option<i64> {
        self.derived.idle_timeout_ms
    }

    /// `client-query-buffer-limit`.
    pub fn query_buffer_bytes_max(&self) -> usize {
        self.derived.query_buffer_bytes_max
    }

    /// `maxmemory-clients` in bytes.
    #[inline]
    pub fn client_bytes_max(&self) -> Option<usize> {
        self.derived.client_bytes_max
    }

    /// Is this long enough for the slow log or the latency monitor?
    #[inline]
    pub fn notices(&self, ns: u64) -> bool {
        ns >= self.derived.notice_threshold_ns
    }

    #[inline]
    pub fn is_large_request(&self, bytes: usize) -> bool {
        bytes >= self.derived.large_request_bytes
    }

    #[inline]
    pub fn is_large_reply(&self, bytes: usize) -> bool {
        bytes >= self.derived.large_reply_bytes
    }

    /// Entries that a log keeps.
    pub fn log_len_max(&self, kind: LogKind) -> usize {
        self.derived.log_lens_max[kind as usize]
    }

    pub fn latency_wants(&self, ms: u64) -> bool {
        ms >= self.derived.latency_threshold_ms
    }

    pub fn slow_log_wants(&self, ns: u64) -> bool {
        ns >= self.derived.slow_log_threshold_ns
    }
}

/// Is this such a command, or an EXEC of one?
fn is_or_queues(connection: &Connection, command: &Registered, is: impl Fn(&Registered) -> bool) -> bool {
    let queue = connection.multi.as_ref().filter(|_| command.name == "exec").map(|multi| &multi.queue);
    is(command) || queue.is_some_and(|queue| queue.iter().any(|held| is(held.command)))
}

impl Derived {
    fn of(config: &Config) -> Derived {
        let limits = config.client_output_buffer_limit();
        let slower_than = config.commandlog_execution_slower_than();
        let slow_log_threshold_ns = slower_than.map_or(u64::MAX, |limit| limit.as_nanos() as u64);
        let latency_threshold_ms =
            config.latency_monitor_threshold().map_or(u64::MAX, |limit| limit.as_millis() as u64);
        Derived {
            password: config.requirepass().unwrap_or("").into(),
            slow_log_threshold_ns,
            latency_threshold_ms,
            large_request_bytes: config.commandlog_request_larger_than().unwrap_or(usize::MAX),
            large_reply_bytes: config.commandlog_reply_larger_than().unwrap_or(usize::MAX),
            log_lens_max: [
                config.commandlog_slow_execution_max_len(),
                config.commandlog_large_request_max_len(),
                config.commandlog_large_reply_max_len(),
            ],
            notice_threshold_ns: slow_log_threshold_ns.min(latency_threshold_ms.saturating_mul(1_000_000)),
            output_limit_normal: limits.normal,
            output_limit_pubsub: limits.pubsub,
            published_events: published_events(config),
            tracked_keys_max: config.tracking_table_max_keys().unwrap_or(usize::MAX),
            idle_timeout_ms: config.timeout().map(|timeout| timeout.as_millis() as i64),
            query_buffer_bytes_max: config.client_query_buffer_limit(),
            client_bytes_max: config.maxmemory_clients(),
            protected: config.protected_mode(),
        }
    }
}

fn published_events(config: &Config) -> Class {
    let wanted = config.notify_keyspace_events();
    let has_channel = wanted.intersects(Class::KEYSPACE | Class::KEYEVENT);
    if has_channel { wanted } else { Class::NONE }
}

/// The settings that data commands see.
pub fn data_settings(config: &Config) -> DataSettings {
    DataSettings {
        max_string_bytes: config.proto_max_bulk_len(),
        databases: config.databases(),
        lfu: config.maxmemory_policy().ends_with("-lfu"),
        lfu_log_factor: config.lfu_log_factor(),
        lfu_decay_min: config.lfu_decay_time(),
        lazy_user_flush: config.lazyfree_lazy_user_flush(),
        import_mode: config.import_mode(),
        rdb_compression: config.rdbcompression(),
        encodings: encodings(config),
    }
}

fn encodings(config: &Config) -> Encodings {
    Encodings {
        hash_max_listpack_entries: config.hash_max_listpack_entries(),
        hash_max_listpack_value: config.hash_max_listpack_value(),
        list_max_listpack_size: config.list_max_listpack_size(),
        list_packed_threshold: 0,
        set_max_intset_entries: config.set_max_intset_entries(),
        set_max_listpack_entries: config.set_max_listpack_entries(),
        set_max_listpack_value: config.set_max_listpack_value(),
        zset_max_listpack_entries: config.zset_max_listpack_entries(),
        zset_max_listpack_value: config.zset_max_listpack_value(),
        hll_sparse_max_bytes: config.hll_sparse_max_bytes(),
        stream_node_max_bytes: config.stream_node_max_bytes(),
        stream_node_max_entries: config.stream_node_max_entries(),
    }
}

/// Is a connection with `waiting` bytes of output over the limit? `since_ms` remembers since when the soft limit has
/// been passed.
pub fn exceeds(limit: OutputLimit, waiting: usize, since_ms: &mut Option<i64>, now_ms: i64) -> bool {
    let waiting = waiting as u64;
    if limit.hard_bytes > 0 && waiting > limit.hard_bytes {
        return true;
    }
    if limit.soft_bytes == 0 || waiting <= limit.soft_bytes {
        *since_ms = None;
        return false;
    }
    let since = *since_ms.get_or_insert(now_ms);
    now_ms - since > limit.soft_seconds as i64 * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_limits_cut_at_once_or_after_a_while() {
        let limit = OutputLimit { hard_bytes: 100, soft_bytes: 50, soft_seconds: 2 };
        let mut since = None;
        assert!(!exceeds(limit, 50, &mut since, 0));
        assert!(exceeds(limit, 101, &mut since, 0));
        assert!(!exceeds(limit, 60, &mut since, 1_000));
        assert!(!exceeds(limit, 60, &mut since, 3_000));
        assert!(exceeds(limit, 60, &mut since, 3_001));
        assert!(!exceeds(limit, 40, &mut since, 4_000), "below the limit the clock starts anew");
        assert!(!exceeds(limit, 60, &mut since, 5_000));
        let unlimited = OutputLimit { hard_bytes: 0, soft_bytes: 0, soft_seconds: 0 };
        assert!(!exceeds(unlimited, usize::MAX, &mut since, 0));
    }
}
