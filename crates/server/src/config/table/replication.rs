//! Primary and replica.

use super::super::setting::{Chapter, Kind, Setting};
use super::{COUNT, LONG_COUNT, NO_REPLICATION as WHY, PORT, TEXT};

const PERIOD: Kind = Kind::Int { min: 1, max: i32::MAX as i64 };

pub(super) static REPLICATION: Chapter = Chapter {
    section: "replication",
    about: "Primary and replicas.",
    settings: &[
        Setting::refused("replicaof", Kind::Endpoint, "", "Host and port of the primary.", WHY)
            .alias(&["slaveof"])
            .at_start(),
        Setting::inert("primaryauth", TEXT, "", "Password to show to the primary.", WHY)
            .alias(&["masterauth"])
            .secret(),
        Setting::inert("primaryuser", TEXT, "", "User name to show to the primary.", WHY)
            .alias(&["masteruser"]),
        Setting::inert(
            "repl-backlog-size",
            Kind::Memory { min: 1, max: i64::MAX as u64 },
            "10mb",
            "Bytes kept for replicas that come back.",
            WHY,
        ),
        Setting::inert(
            "repl-backlog-ttl",
            LONG_COUNT,
            "3600",
            "Seconds the backlog is kept without replicas.",
            WHY,
        ),
        Setting::inert("repl-timeout", PERIOD, "60", "Seconds of silence that end a link.", WHY),
        Setting::inert("repl-ping-replica-period", PERIOD, "10", "Seconds between pings to replicas.", WHY)
            .alias(&["repl-ping-slave-period"]),
        Setting::inert(
            "repl-disable-tcp-nodelay",
            Kind::Bool,
            "no",
            "Send to replicas in fewer, larger packets.",
            WHY,
        ),
        Setting::inert(
            "repl-diskless-sync",
            Kind::Bool,
            "yes",
            "Send a full copy without a file in between.",
            WHY,
        ),
        Setting::inert(
            "repl-diskless-sync-delay",
            COUNT,
            "5",
            "Seconds to wait for more replicas before a full copy.",
            WHY,
        ),
        Setting::inert(
            "repl-diskless-sync-max-replicas",
            COUNT,
            "0",
            "Replicas that end that wait; 0 waits for the whole time.",
            WHY,
        ),
        Setting::inert(
            "repl-diskless-load",
            Kind::Choice(&["disabled", "on-empty-db", "swapdb", "flush-before-load"]),
            "disabled",
            "Load a full copy straight from the link.",
            WHY,
        ),
        Setting::inert(
            "dual-channel-replication-enabled",
            Kind::Bool,
            "no",
            "Send the full copy and new writes over two connections.",
            WHY,
        ),
        Setting::inert("replica-read-only", Kind::Bool, "yes", "A replica refuses writes.", WHY)
            .alias(&["slave-read-only"]),
        Setting::inert(
            "replica-serve-stale-data",
            Kind::Bool,
            "yes",
            "A replica answers while its link is down.",
            WHY,
        )
        .alias(&["slave-serve-stale-data"]),
        Setting::inert("replica-priority", COUNT, "100", "Rank for Sentinel; 0 is never promoted.", WHY)
            .alias(&["slave-priority"]),
        Setting::inert("replica-announced", Kind::Bool, "yes", "Sentinel lists this replica.", WHY),
        Setting::inert("replica-announce-ip", TEXT, "", "Address a replica gives to its primary.", WHY)
            .alias(&["slave-announce-ip"]),
        Setting::inert("replica-announce-port", PORT, "0", "Port a replica gives to its primary.", WHY)
            .alias(&["slave-announce-port"]),
        Setting::inert(
            "replica-ignore-maxmemory",
            Kind::Bool,
            "yes",
            "A replica leaves eviction to its primary.",
            WHY,
        )
        .alias(&["slave-ignore-maxmemory"]),
        Setting::inert(
            "replica-lazy-flush",
            Kind::Bool,
            "yes",
            "A replica drops its old data in the background before a full copy.",
            WHY,
        )
        .alias(&["slave-lazy-flush"]),
        Setting::inert(
            "replica-ignore-disk-write-errors",
            Kind::Bool,
            "no",
            "A replica goes on when it cannot write to disk.",
            WHY,
        ),
        Setting::inert(
            "min-replicas-to-write",
            COUNT,
            "0",
            "Refuse writes with fewer good replicas than this.",
            WHY,
        )
        .alias(&["min-slaves-to-write"]),
        Setting::inert("min-replicas-max-lag", COUNT, "10", "Seconds of lag of a good replica.", WHY)
            .alias(&["min-slaves-max-lag"]),
        Setting::inert(
            "propagation-error-behavior",
            Kind::Choice(&["ignore", "panic", "panic-on-replicas"]),
            "ignore",
            "What to do when a replicated command fails.",
            WHY,
        ),
    ],
};
