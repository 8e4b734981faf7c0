//! The table: every setting torc knows, one row each, and the directives it knows but does not support.
//! Redis's names and defaults are those that CONFIG GET of Valkey 8.1 reports. Rows only; nothing here parses
//! or acts.

mod cluster;
mod encodings;
mod logging;
mod memory;
mod network;
mod persistence;
mod process;
mod replication;
mod runtime;

use std::collections::HashMap;
use std::sync::LazyLock;

use super::setting::{Chapter, Directive, Kind, Setting};

/// All chapters, in the order of the documentation.
pub static CHAPTERS: &[&Chapter] = &[
    &network::NETWORK,
    &network::CLIENTS,
    &network::SECURITY,
    &network::TLS,
    &runtime::RUNTIME,
    &memory::MEMORY,
    &memory::DEFRAG,
    &logging::LOGGING,
    &logging::LATENCY,
    &logging::METRICS,
    &persistence::SNAPSHOT,
    &persistence::AOF,
    &persistence::ENCRYPTION,
    &replication::REPLICATION,
    &cluster::CLUSTER,
    &encodings::ENCODINGS,
    &process::PROCESS,
    &process::TESTING,
];

/// Directives of `redis.conf` that are not settings here. Everything that is neither here nor in
/// [`CHAPTERS`] is an error.
pub static DIRECTIVES: &[Directive] = &[
    refused("user", "users are not available in this version; `requirepass` sets one password").secret(),
    refused("sentinel", "sentinel mode is not supported"),
    ignored("loadmodule", "modules are not supported"),
    ignored("io-threads-do-reads", "every shard does its own reads"),
    ignored("io-threads-always-active", "every shard does its own reads"),
    ignored("aof-disable-auto-gc", "a debugging aid of Redis 7"),
    ignored("list-max-ziplist-entries", "replaced by list-max-listpack-size"),
    ignored("list-max-ziplist-value", "replaced by list-max-listpack-size"),
    ignored("lua-enable-deprecated-api", "there is no deprecated scripting interface"),
    ignored("lua-enable-insecure-api", "there is no deprecated scripting interface"),
    ignored("replica-full-sync-buffer-limit", "replication is not available in this version"),
    ignored("cluster-manual-failover-timeout", "cluster mode is not available in this version"),
    ignored("cluster-databases", "cluster mode is not available in this version"),
    ignored("cluster-slot-migration-log-max-len", "cluster mode is not available in this version"),
    ignored("slot-migration-max-failover-repl-bytes", "cluster mode is not available in this version"),
    ignored("rdb-version-check", "files of versions above 12 are refused, but for version 80 (Valkey 9)"),
    ignored("rdma-bind", "RDMA is not supported"),
    ignored("rdma-port", "RDMA is not supported"),
    ignored("rdma-rx-size", "RDMA is not supported"),
    ignored("rdma-completion-vector", "RDMA is not supported"),
    ignored("mptcp", "multipath TCP is not supported"),
    ignored("gopher-enabled", "the Gopher protocol is not supported"),
];

const fn refused(name: &'static str, why: &'static str) -> Directive {
    Directive { name, refused: true, why, secret: false }
}

const fn ignored(name: &'static str, why: &'static str) -> Directive {
    Directive { name, refused: false, why, secret: false }
}

impl Directive {
    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

/// Place of a setting in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Id(usize);

impl Id {
    pub(super) fn index(self) -> usize {
        self.0
    }

    pub(super) fn setting(self) -> &'static Setting {
        INDEX.settings[self.0].1
    }

    pub(super) fn chapter(self) -> &'static Chapter {
        INDEX.settings[self.0].0
    }
}

struct Index {
    settings: Vec<(&'static Chapter, &'static Setting)>,
    by_name: HashMap<&'static str, Id>,
    /// All names, aliases too, in alphabetical order.
    names: Vec<(&'static str, Id)>,
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let settings: Vec<_> = CHAPTERS
        .iter()
        .flat_map(|chapter| chapter.settings.iter().map(move |setting| (*chapter, setting)))
        .collect();
    let mut names: Vec<(&'static str, Id)> = settings
        .iter()
        .enumerate()
        .flat_map(|(at, (_, setting))| {
            setting.aliases.iter().copied().chain([setting.name]).map(move |name| (name, Id(at)))
        })
        .collect();
    names.sort_unstable();
    Index { by_name: names.iter().copied().collect(), settings, names }
});

/// All settings in table order.
pub(super) fn ids() -> impl Iterator<Item = Id> {
    (0..INDEX.settings.len()).map(Id)
}

/// All names including aliases, in alphabetical order.
pub(super) fn names() -> &'static [(&'static str, Id)] {
    &INDEX.names
}

/// The setting with this name or alias, in any case, with the spelling of the table.
pub(super) fn find(name: &str) -> Option<(&'static str, Id)> {
    let lower = name.to_ascii_lowercase();
    INDEX.by_name.get_key_value(lower.as_str()).map(|(name, id)| (*name, *id))
}

/// The unsupported directive with this name, in any case.
pub(super) fn find_directive(name: &str) -> Option<&'static Directive> {
    DIRECTIVES.iter().find(|directive| directive.name.eq_ignore_ascii_case(name))
}

const INT: Kind = Kind::Int { min: i32::MIN as i64, max: i32::MAX as i64 };
const COUNT: Kind = Kind::Int { min: 0, max: i32::MAX as i64 };
const LONG_COUNT: Kind = Kind::Int { min: 0, max: i64::MAX };
/// Threshold where -1 means "never".
const THRESHOLD: Kind = Kind::Int { min: -1, max: i64::MAX };
const PORT: Kind = Kind::Int { min: 0, max: 65535 };
const MEMORY: Kind = Kind::Memory { min: 0, max: i64::MAX as u64 };
const TEXT: Kind = Kind::Text(super::setting::Check::Any);

const NO_REPLICATION: &str = "replication is not available in this version";
const NO_CLUSTER: &str = "cluster mode is not available in this version";
const LOADS_FIRST: &str = "files are read in a thread of their own, beside the shards";
const NO_TLS: &str = "TLS is not available in this version";
const NO_SCRIPTS: &str = "scripts are not available in this version";
