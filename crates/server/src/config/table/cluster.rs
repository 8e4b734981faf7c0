//! Cluster mode.

use super::super::setting::{Chapter, Check, Kind, Setting};
use super::{COUNT, LONG_COUNT, NO_CLUSTER as WHY, PORT, TEXT};

pub(super) static CLUSTER: Chapter = Chapter {
    section: "cluster",
    about: "Several servers that share the slots.",
    settings: &[
        Setting::refused("cluster-enabled", Kind::Bool, "no", "Run as a node of a cluster.", WHY).at_start(),
        Setting::inert("cluster-config-file", TEXT, "nodes.conf", "File with the node's view.", WHY)
            .at_start(),
        Setting::inert("cluster-port", PORT, "0", "Port of the cluster bus; 0 is `port` + 10000.", WHY)
            .at_start(),
        Setting::inert(
            "cluster-node-timeout",
            LONG_COUNT,
            "15000",
            "Milliseconds until a node is down.",
            WHY,
        ),
        Setting::inert(
            "cluster-replica-validity-factor",
            COUNT,
            "10",
            "How stale a replica may be to take over.",
            WHY,
        )
        .alias(&["cluster-slave-validity-factor"]),
        Setting::inert(
            "cluster-migration-barrier",
            COUNT,
            "1",
            "Replicas a primary keeps before one may move.",
            WHY,
        ),
        Setting::inert(
            "cluster-allow-replica-migration",
            Kind::Bool,
            "yes",
            "Replicas move to primaries without one.",
            WHY,
        ),
        Setting::inert(
            "cluster-require-full-coverage",
            Kind::Bool,
            "yes",
            "Refuse requests while slots are not served.",
            WHY,
        ),
        Setting::inert("cluster-replica-no-failover", Kind::Bool, "no", "Never take over by itself.", WHY)
            .alias(&["cluster-slave-no-failover"]),
        Setting::inert(
            "cluster-allow-reads-when-down",
            Kind::Bool,
            "no",
            "Answer reads while the cluster is down.",
            WHY,
        ),
        Setting::inert(
            "cluster-allow-pubsubshard-when-down",
            Kind::Bool,
            "yes",
            "Serve sharded channels while the cluster is down.",
            WHY,
        ),
        Setting::inert(
            "cluster-link-sendbuf-limit",
            Kind::Memory { min: 0, max: u64::MAX },
            "0",
            "Bytes queued for a node before its link is dropped.",
            WHY,
        ),
        Setting::inert(
            "cluster-preferred-endpoint-type",
            Kind::Choice(&["ip", "hostname", "unknown-endpoint"]),
            "ip",
            "How redirections name a node.",
            WHY,
        ),
        Setting::inert("cluster-announce-ip", TEXT, "", "Address to announce.", WHY),
        Setting::inert(
            "cluster-announce-client-ipv4",
            Kind::Text(Check::Ipv4),
            "",
            "IPv4 address to tell clients.",
            WHY,
        ),
        Setting::inert(
            "cluster-announce-client-ipv6",
            Kind::Text(Check::Ipv6),
            "",
            "IPv6 address to tell clients.",
            WHY,
        ),
        Setting::inert("cluster-announce-port", PORT, "0", "Port to announce.", WHY),
        Setting::inert("cluster-announce-tls-port", PORT, "0", "TLS port to announce.", WHY),
        Setting::inert("cluster-announce-bus-port", PORT, "0", "Port of the cluster bus to announce.", WHY),
        Setting::inert(
            "cluster-announce-hostname",
            Kind::Text(Check::HostName),
            "",
            "Host name to announce.",
            WHY,
        ),
        Setting::inert("cluster-announce-human-nodename", TEXT, "", "Node name for logs.", WHY),
        Setting::inert(
            "cluster-blacklist-ttl",
            Kind::Int { min: i64::MIN, max: i64::MAX },
            "60",
            "Seconds a forgotten node stays forgotten.",
            WHY,
        ),
        Setting::inert("cluster-slot-stats-enabled", Kind::Bool, "no", "Count use per slot.", WHY),
        Setting::active(
            "availability-zone",
            TEXT,
            "",
            "Name of the zone the server is in, for clients that prefer servers nearby: HELLO and INFO tell it.",
        ),
    ],
};
