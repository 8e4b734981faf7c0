//! Typed getters of the settings that torc acts on: exactly one for each [`super::Effect::Active`] row of the
//! table (a test compares). They look a name up, so copy what a hot path needs.

use std::path::PathBuf;
use std::time::Duration;

use torc_keyspace::Class;

use crate::memory;

use super::Config;
use super::special::{OutputLimits, SavePoint};
use super::value::Value;

/// Who may use a guarded feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Nobody,
    Everybody,
    /// Connections by the loopback interface or the unix socket.
    ThisHost,
}

impl Access {
    pub fn allows(self, from_this_host: bool) -> bool {
        match self {
            Access::Nobody => false,
            Access::Everybody => true,
            Access::ThisHost => from_this_host,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Debug,
    Verbose,
    Notice,
    Warning,
    Nothing,
}

impl Config {
    pub fn port(&self) -> u16 {
        self.int("port")
    }

    /// Addresses to listen on, each as written: `*`, `::*`, an address, or one of them after a `-`, which
    /// means that a failure to bind is no error.
    pub fn bind(&self) -> &[String] {
        match self.value("bind") {
            Value::Words(words) => words,
            other => wrong_kind(other),
        }
    }

    pub fn protected_mode(&self) -> bool {
        self.bool("protected-mode")
    }

    pub fn unixsocket(&self) -> Option<PathBuf> {
        self.path("unixsocket")
    }

    /// Permission bits for the unix socket, or `None` to leave them.
    pub fn unixsocketperm(&self) -> Option<u32> {
        match self.value("unixsocketperm") {
            Value::Octal(0) => None,
            Value::Octal(bits) => Some(*bits),
            other => wrong_kind(other),
        }
    }

    pub fn tcp_backlog(&self) -> u32 {
        self.int("tcp-backlog")
    }

    pub fn tcp_keepalive(&self) -> Option<Duration> {
        self.seconds("tcp-keepalive")
    }

    pub fn maxclients(&self) -> u32 {
        self.int("maxclients")
    }

    pub fn timeout(&self) -> Option<Duration> {
        self.seconds("timeout")
    }

    pub fn client_output_buffer_limit(&self) -> OutputLimits {
        match self.value("client-output-buffer-limit") {
            Value::OutputLimits(limits) => *limits,
            other => wrong_kind(other),
        }
    }

    pub fn client_query_buffer_limit(&self) -> usize {
        self.bytes("client-query-buffer-limit")
    }

    pub fn proto_max_bulk_len(&self) -> usize {
        self.bytes("proto-max-bulk-len")
    }

    /// The password, or `None` when clients need none.
    pub fn requirepass(&self) -> Option<&str> {
        let passwords = [self.text("requirepass"), &self.file_password];
        passwords.into_iter().find(|password| !password.is_empty())
    }

    /// File with the password, for who keeps it out of files and command lines. `requirepass` comes first.
    pub fn requirepass_file(&self) -> Option<PathBuf> {
        self.path("requirepass-file")
    }

    /// `rename-command`: names and new names.
    pub fn renamed_commands(&self) -> &[(String, String)] {
        &self.renamed
    }

    pub fn enable_debug_command(&self) -> Access {
        self.access("enable-debug-command")
    }

    pub fn enable_module_command(&self) -> Access {
        self.access("enable-module-command")
    }

    pub fn enable_protected_configs(&self) -> Access {
        self.access("enable-protected-configs")
    }

    /// Empty when there is nothing to announce.
    pub fn availability_zone(&self) -> &str {
        self.text("availability-zone")
    }

    /// Number of shards, or `None` to count the cores.
    pub fn shards(&self) -> Option<u16> {
        match self.value("shards") {
            Value::Auto => None,
            _ => Some(self.int("shards")),
        }
    }

    pub fn spin_us(&self) -> Duration {
        Duration::from_micros(self.int("spin-us"))
    }

    pub fn databases(&self) -> usize {
        self.int("databases")
    }

    pub fn active_expire_effort(&self) -> u8 {
        self.int("active-expire-effort")
    }

    pub fn shutdown_timeout(&self) -> Duration {
        Duration::from_secs(self.int("shutdown-timeout"))
    }

    /// An absolute path, unless the process had no working directory at start.
    pub fn dir(&self) -> PathBuf {
        PathBuf::from(self.text("dir"))
    }

    /// In bytes; 0: no limit. A share is that of what the machine or the container has.
    pub fn maxmemory(&self) -> u64 {
        match self.value("maxmemory") {
            Value::Bytes(bytes) => *bytes,
            Value::Percent(percent) => memory::available_bytes() as u64 / 100 * u64::from(*percent),
            other => wrong_kind(other),
        }
    }

    pub fn maxmemory_samples(&self) -> usize {
        self.int("maxmemory-samples")
    }

    /// How long one write may be held up by eviction; `None`: as long as it takes.
    pub fn maxmemory_eviction_tenacity(&self) -> Option<Duration> {
        match self.int::<i32>("maxmemory-eviction-tenacity") {
            tenacity @ ..=10 => Some(Duration::from_micros(50 * tenacity as u64)),
            tenacity @ ..100 => Some(Duration::from_micros((500.0 * 1.15f64.powi(tenacity - 10)) as u64)),
            _ => None,
        }
    }

    /// In bytes; `None` is no limit, as is a share of no `maxmemory`.
    pub fn maxmemory_clients(&self) -> Option<usize> {
        let bytes = match self.value("maxmemory-clients") {
            Value::Percent(share) => (u128::from(self.maxmemory()) * u128::from(*share) / 100) as usize,
            _ => self.bytes("maxmemory-clients"),
        };
        (bytes > 0).then_some(bytes)
    }

    pub fn maxmemory_policy(&self) -> &'static str {
        self.choice("maxmemory-policy")
    }

    pub fn lfu_log_factor(&self) -> u32 {
        self.int("lfu-log-factor")
    }

    /// In minutes.
    pub fn lfu_decay_time(&self) -> u32 {
        self.int("lfu-decay-time")
    }

    pub fn jemalloc_bg_thread(&self) -> bool {
        self.bool("jemalloc-bg-thread")
    }

    pub fn lazyfree_lazy_user_flush(&self) -> bool {
        self.bool("lazyfree-lazy-user-flush")
    }

    pub fn import_mode(&self) -> bool {
        self.bool("import-mode")
    }

    pub fn save(&self) -> &[SavePoint] {
        match self.value("save") {
            Value::SavePoints(points) => points,
            other => wrong_kind(other),
        }
    }

    /// A name in `dir`.
    pub fn dbfilename(&self) -> &str {
        self.text("dbfilename")
    }

    pub fn rdbcompression(&self) -> bool {
        self.bool("rdbcompression")
    }

    pub fn rdbchecksum(&self) -> bool {
        self.bool("rdbchecksum")
    }

    pub fn rdb_version(&self) -> u16 {
        self.int("rdb-version")
    }

    pub fn appendonly(&self) -> bool {
        self.bool("appendonly")
    }

    /// `always`, `everysec` or `no`.
    pub fn appendfsync(&self) -> &'static str {
        self.choice("appendfsync")
    }

    pub fn appendfilename(&self) -> &str {
        self.text("appendfilename")
    }

    pub fn appenddirname(&self) -> &str {
        self.text("appenddirname")
    }

    pub fn auto_aof_rewrite_percentage(&self) -> u64 {
        self.int("auto-aof-rewrite-percentage")
    }

    /// In bytes.
    pub fn auto_aof_rewrite_min_size(&self) -> u64 {
        self.bytes("auto-aof-rewrite-min-size") as u64
    }

    pub fn no_appendfsync_on_rewrite(&self) -> bool {
        self.bool("no-appendfsync-on-rewrite")
    }

    pub fn aof_rewrite_incremental_fsync(&self) -> bool {
        self.bool("aof-rewrite-incremental-fsync")
    }

    pub fn aof_load_truncated(&self) -> bool {
        self.bool("aof-load-truncated")
    }

    pub fn encryption_enabled(&self) -> bool {
        self.bool("encryption-enabled")
    }

    pub fn encryption_algorithm(&self) -> &'static str {
        self.choice("encryption-algorithm")
    }

    pub fn encryption_key_file(&self) -> Option<PathBuf> {
        self.path("encryption-key-file")
    }

    /// Name of a variable, or nothing.
    pub fn encryption_key_env(&self) -> &str {
        self.text("encryption-key-env")
    }

    /// Separated by spaces.
    pub fn encryption_old_key_files(&self) -> &str {
        self.text("encryption-old-key-files")
    }

    pub fn rdb_save_incremental_fsync(&self) -> bool {
        self.bool("rdb-save-incremental-fsync")
    }

    pub fn stop_writes_on_bgsave_error(&self) -> bool {
        self.bool("stop-writes-on-bgsave-error")
    }

    /// In microseconds; below 1 there is no delay.
    pub fn rdb_key_save_delay(&self) -> i64 {
        self.int("rdb-key-save-delay")
    }

    pub fn hash_max_listpack_entries(&self) -> usize {
        self.int("hash-max-listpack-entries")
    }

    pub fn hash_max_listpack_value(&self) -> usize {
        self.bytes("hash-max-listpack-value")
    }

    pub fn list_max_listpack_size(&self) -> i64 {
        self.int("list-max-listpack-size")
    }

    pub fn set_max_intset_entries(&self) -> usize {
        self.int("set-max-intset-entries")
    }

    pub fn set_max_listpack_entries(&self) -> usize {
        self.int("set-max-listpack-entries")
    }

    pub fn set_max_listpack_value(&self) -> usize {
        self.int("set-max-listpack-value")
    }

    pub fn zset_max_listpack_entries(&self) -> usize {
        self.int("zset-max-listpack-entries")
    }

    pub fn zset_max_listpack_value(&self) -> usize {
        self.bytes("zset-max-listpack-value")
    }

    pub fn hll_sparse_max_bytes(&self) -> usize {
        self.bytes("hll-sparse-max-bytes")
    }

    pub fn stream_node_max_bytes(&self) -> usize {
        self.bytes("stream-node-max-bytes")
    }

    pub fn stream_node_max_entries(&self) -> usize {
        self.int("stream-node-max-entries")
    }

    pub fn loglevel(&self) -> LogLevel {
        match self.choice("loglevel") {
            "debug" => LogLevel::Debug,
            "verbose" => LogLevel::Verbose,
            "notice" => LogLevel::Notice,
            "warning" => LogLevel::Warning,
            _ => LogLevel::Nothing,
        }
    }

    /// File to log to, or `None` for standard output.
    pub fn logfile(&self) -> Option<PathBuf> {
        self.path("logfile")
    }

    pub fn log_format(&self) -> LogFormat {
        match self.choice("log-format") {
            "json" => LogFormat::Json,
            _ => LogFormat::Text,
        }
    }

    /// Commands that take longer enter SLOWLOG; `None` means none does.
    pub fn commandlog_execution_slower_than(&self) -> Option<Duration> {
        match self.value("commandlog-execution-slower-than") {
            Value::Int(-1) => None,
            _ => Some(Duration::from_micros(self.int("commandlog-execution-slower-than"))),
        }
    }

    pub fn commandlog_slow_execution_max_len(&self) -> usize {
        self.int("commandlog-slow-execution-max-len")
    }

    pub fn commandlog_large_request_max_len(&self) -> usize {
        self.int("commandlog-large-request-max-len")
    }

    pub fn commandlog_large_reply_max_len(&self) -> usize {
        self.int("commandlog-large-reply-max-len")
    }

    /// Bytes of a request from which on it is logged; `None` means none is.
    pub fn commandlog_request_larger_than(&self) -> Option<usize> {
        self.limit("commandlog-request-larger-than")
    }

    /// Bytes of a reply from which on its command is logged; `None` means none is.
    pub fn commandlog_reply_larger_than(&self) -> Option<usize> {
        self.limit("commandlog-reply-larger-than")
    }

    /// Events that take at least this long are recorded; `None` means none is.
    pub fn latency_monitor_threshold(&self) -> Option<Duration> {
        let threshold = Duration::from_millis(self.int("latency-monitor-threshold"));
        Some(threshold).filter(|threshold| !threshold.is_zero())
    }

    /// Classes of keyspace events to publish, and the kinds of channels to publish them on.
    pub fn notify_keyspace_events(&self) -> Class {
        match self.value("notify-keyspace-events") {
            Value::Events(classes) => *classes,
            other => wrong_kind(other),
        }
    }

    /// Keys whose readers are remembered; `None` is no limit.
    pub fn tracking_table_max_keys(&self) -> Option<usize> {
        Some(self.int("tracking-table-max-keys")).filter(|&keys: &u64| keys > 0).map(|keys| keys as usize)
    }

    /// Keys that HOTKEYS shows; 0: nothing is counted.
    pub fn hotkey_top_k(&self) -> usize {
        self.int("hotkey-top-k")
    }

    /// Is a supervisor told of the state of the server?
    pub fn supervised(&self) -> bool {
        matches!(self.choice("supervised"), "systemd" | "auto")
    }

    /// TCP port of the metrics, and whether it was chosen by the user; `None` for no such port.
    pub fn metrics_port(&self) -> Option<(u16, bool)> {
        let port = self.int("metrics-port");
        (port != 0).then(|| (port, self.is_given("metrics-port")))
    }

    /// Addresses that port is open on, as in [`Config::bind`].
    pub fn metrics_bind(&self) -> &[String] {
        match self.value("metrics-bind") {
            Value::Words(words) => words,
            other => wrong_kind(other),
        }
    }

    pub fn latency_tracking(&self) -> bool {
        self.bool("latency-tracking")
    }

    /// Percentiles from 0 to 100.
    pub fn latency_tracking_info_percentiles(&self) -> &[f64] {
        match self.value("latency-tracking-info-percentiles") {
            Value::Percentiles(list) => list,
            other => wrong_kind(other),
        }
    }

    fn bool(&self, name: &str) -> bool {
        match self.value(name) {
            Value::Bool(value) => *value,
            other => wrong_kind(other),
        }
    }

    /// The range in the table must fit the type.
    fn int<T: TryFrom<i64>>(&self, name: &str) -> T {
        match self.value(name) {
            Value::Int(number) => {
                T::try_from(*number).unwrap_or_else(|_| panic!("range of {name} exceeds its type"))
            }
            other => wrong_kind(other),
        }
    }

    /// `None` for -1.
    fn limit(&self, name: &str) -> Option<usize> {
        match self.value(name) {
            Value::Int(-1) => None,
            _ => Some(self.int(name)),
        }
    }

    /// `None` for 0.
    fn seconds(&self, name: &str) -> Option<Duration> {
        Some(Duration::from_secs(self.int(name))).filter(|time| !time.is_zero())
    }

    fn bytes(&self, name: &str) -> usize {
        match self.value(name) {
            Value::Bytes(bytes) => usize::try_from(*bytes).unwrap_or(usize::MAX),
            other => wrong_kind(other),
        }
    }

    fn choice(&self, name: &str) -> &'static str {
        match self.value(name) {
            Value::Choice(word) => word,
            other => wrong_kind(other),
        }
    }

    fn text(&self, name: &str) -> &str {
        match self.value(name) {
            Value::Text(text) => text,
            other => wrong_kind(other),
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.text(name)).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    fn access(&self, name: &str) -> Access {
        match self.choice(name) {
            "yes" => Access::Everybody,
            "local" => Access::ThisHost,
            _ => Access::Nobody,
        }
    }
}

/// Never prints the value: it may be a secret.
fn wrong_kind(_: &Value) -> ! {
    panic!("a getter and the table disagree about a setting's kind")
}
