//! Rare events, counted where they happen: operating errors that are logged once and go on.
//!
//! Owns their names. They go through the `metrics` facade, whose recorder exists while the port of metrics is open; without
//! one, counting does nothing. Never on the way of a command: what commands count is on the [`super::Board`].

use ::metrics::{counter, describe_counter};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// Something that went wrong outside the server and is worth an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A connection could not be accepted.
    Accept,
    /// A write or a sync of the append-only file.
    Log,
    /// A rewrite of the append-only file.
    Rewrite,
    /// A snapshot.
    Snapshot,
}

impl Failure {
    const ALL: [Failure; 4] = [Failure::Accept, Failure::Log, Failure::Rewrite, Failure::Snapshot];

    fn name(self) -> &'static str {
        match self {
            Failure::Accept => "torc_accept_failures_total",
            Failure::Log => "torc_log_failures_total",
            Failure::Rewrite => "torc_log_rewrite_failures_total",
            Failure::Snapshot => "torc_snapshot_failures_total",
        }
    }

    fn help(self) -> &'static str {
        match self {
            Failure::Accept => "Connections that could not be accepted.",
            Failure::Log => "Writes and syncs of the append-only file that failed.",
            Failure::Rewrite => "Rewrites of the append-only file that failed.",
            Failure::Snapshot => "Snapshots that failed.",
        }
    }

    /// Counts one.
    pub fn count(self) {
        counter!(self.name()).increment(1);
    }
}

/// From now on events are counted; the handle shows them.
pub(super) fn record() -> PrometheusHandle {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    // Only tests start two servers in one process: the first one's recorder counts for both.
    let _ = ::metrics::set_global_recorder(recorder);
    for failure in Failure::ALL {
        describe_counter!(failure.name(), failure.help());
        counter!(failure.name()).increment(0);
    }
    handle
}
