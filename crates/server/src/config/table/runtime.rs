//! Shards, event loop and databases.

use super::super::setting::{Chapter, Kind, Setting};
use super::{COUNT, TEXT};

const OWN_IO: &str = "every shard does its own input and output";
const OWN_PINNING: &str =
    "each shard is pinned to its own core; use the process's CPU affinity to choose the cores";
const OWN_TIMERS: &str = "a shard sleeps until its next timer instead of waking at a fixed rate";

pub(super) static RUNTIME: Chapter = Chapter {
    section: "runtime",
    about: "Shards and their event loops. A shard is one core with its part of the keys.",
    settings: &[
        Setting::active(
            "shards",
            Kind::AutoOrInt { min: 1, max: 1024 },
            "auto",
            "Number of shards; `auto` is one per core that CPU affinity and the cgroup's CPU quota allow.",
        )
        .at_start()
        .own(),
        Setting::inert(
            "io",
            Kind::Choice(&["auto", "uring"]),
            "auto",
            "Driver of sockets and files.",
            "io_uring is the only driver in this version",
        )
        .at_start()
        .own(),
        Setting::active(
            "spin-us",
            Kind::Int { min: 0, max: 1_000_000 },
            "0",
            "Microseconds an idle shard looks for work before it sleeps; burns the core for lower latency.",
        )
        .at_start()
        .own(),
        Setting::active(
            "databases",
            Kind::Int { min: 1, max: i32::MAX as i64 },
            "16",
            "Number of databases that SELECT can reach.",
        )
        .at_start(),
        Setting::active(
            "active-expire-effort",
            Kind::Int { min: 1, max: 10 },
            "1",
            "How much time the removal of expired keys may take, from 1 to 10.",
        ),
        Setting::active("shutdown-timeout", COUNT, "10", "Seconds that a shutdown waits for work in flight."),
        Setting::active("dir", Kind::Directory, ".", "Working directory; relative paths start here.")
            .protected(),
        Setting::inert("io-threads", Kind::Int { min: 1, max: 256 }, "1", "Threads for sockets.", OWN_IO)
            .at_start(),
        Setting::inert(
            "prefetch-batch-max-size",
            Kind::Int { min: 0, max: 128 },
            "16",
            "Commands whose keys are prefetched together.",
            OWN_IO,
        ),
        Setting::inert(
            "hz",
            Kind::ClampedInt { min: 0, max: i32::MAX as i64, low: 1, high: 500 },
            "10",
            "Rate of background work per second.",
            OWN_TIMERS,
        ),
        Setting::inert("dynamic-hz", Kind::Bool, "yes", "Raise `hz` with the number of clients.", OWN_TIMERS),
        Setting::inert(
            "activerehashing",
            Kind::Bool,
            "yes",
            "Move entries of growing tables in the background.",
            "tables are kept so small that growing one takes no background work",
        ),
        Setting::inert("server-cpulist", TEXT, "", "Cores of the main thread.", OWN_PINNING)
            .alias(&["server_cpulist"])
            .at_start(),
        Setting::inert("bio-cpulist", TEXT, "", "Cores of background threads.", OWN_PINNING)
            .alias(&["bio_cpulist"])
            .at_start(),
        Setting::inert(
            "aof-rewrite-cpulist",
            TEXT,
            "",
            "Cores of the process that rewrites the append-only file.",
            OWN_PINNING,
        )
        .alias(&["aof_rewrite_cpulist"])
        .at_start(),
        Setting::inert("bgsave-cpulist", TEXT, "", "Cores of the process that saves snapshots.", OWN_PINNING)
            .alias(&["bgsave_cpulist"])
            .at_start(),
    ],
};
