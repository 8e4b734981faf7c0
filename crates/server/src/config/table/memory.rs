//! Memory: limits, eviction, releasing, defragmentation.

use super::super::setting::{Chapter, Kind, Setting};
use super::COUNT;

const OWN_RELEASE: &str =
    "values of up to 64 parts are released at once, larger ones bit by bit, whoever removes them";
const DEFRAG_REFUSED: &str = "Active defragmentation cannot be enabled: it requires a server compiled with a modified \
                              Jemalloc like the one shipped by default with the Redis source distribution";
const NO_DEFRAG: &str = "active defragmentation is not available in this version";

pub(super) static MEMORY: Chapter = Chapter {
    section: "memory",
    about: "How much memory the data may use and what happens at the limit.",
    settings: &[
        Setting::active(
            "maxmemory",
            Kind::MemoryOrShare,
            "0",
            "Memory that the server may use before keys are evicted or writes refused; 0 means no limit. `75%` is that \
             share of what the container, or the machine, has; CONFIG GET shows it in bytes.",
        ),
        Setting::active(
            "maxmemory-policy",
            Kind::Choice(&[
                "volatile-lru",
                "volatile-lfu",
                "volatile-random",
                "volatile-ttl",
                "allkeys-lru",
                "allkeys-lfu",
                "allkeys-random",
                "noeviction",
            ]),
            "noeviction",
            "Which keys go when `maxmemory` is reached. The LFU policies count the uses of keys for OBJECT FREQ, the \
             others keep the time of the last use for OBJECT IDLETIME.",
        ),
        Setting::active(
            "maxmemory-samples",
            Kind::Int { min: 1, max: 64 },
            "5",
            "Keys looked at for each key evicted.",
        ),
        Setting::active(
            "maxmemory-eviction-tenacity",
            Kind::Int { min: 0, max: 100 },
            "10",
            "How long one command may be held up by eviction: 50 microseconds per step up to 10, 15 % more per step from \
             there, without end at 100. Far beyond the limit it takes as long as it must.",
        ),
        Setting::active("lfu-log-factor", COUNT, "10", "How slowly the use counter of a key grows."),
        Setting::active(
            "lfu-decay-time",
            COUNT,
            "1",
            "Minutes after which the use counter of a key drops by one.",
        ),
        Setting::active(
            "lazyfree-lazy-user-flush",
            Kind::Bool,
            "yes",
            "FLUSHALL and FLUSHDB without SYNC or ASYNC release memory in the background.",
        ),
        Setting::inert(
            "lazyfree-lazy-user-del",
            Kind::Bool,
            "yes",
            "DEL releases memory in the background.",
            OWN_RELEASE,
        ),
        Setting::inert(
            "lazyfree-lazy-server-del",
            Kind::Bool,
            "yes",
            "Commands that replace a key release its memory in the background.",
            OWN_RELEASE,
        ),
        Setting::inert(
            "lazyfree-lazy-expire",
            Kind::Bool,
            "yes",
            "Expired keys are released in the background.",
            OWN_RELEASE,
        ),
        Setting::inert(
            "lazyfree-lazy-eviction",
            Kind::Bool,
            "yes",
            "Evicted keys are released in the background.",
            OWN_RELEASE,
        ),
        Setting::active(
            "jemalloc-bg-thread",
            Kind::Bool,
            "yes",
            "Let the allocator give unused pages back to the kernel in a thread of its own. Without it shards do that \
             themselves, now and then for some ten milliseconds, and an idle server not at all.",
        ),
        Setting::active(
            "import-mode",
            Kind::Bool,
            "no",
            "Keys expire for those who read, and stay until they are written to or deleted: a tool that copies another \
             server's data tells when they go away (CLIENT IMPORT-SOURCE).",
        ),
    ],
};

pub(super) static DEFRAG: Chapter = Chapter {
    section: "memory.defrag",
    about: "Active defragmentation.",
    settings: &[
        Setting::refused("activedefrag", Kind::Bool, "no", "Whether it runs.", DEFRAG_REFUSED),
        Setting::inert(
            "active-defrag-cycle-min",
            Kind::Int { min: 1, max: 99 },
            "1",
            "Least share of a core in percent.",
            NO_DEFRAG,
        ),
        Setting::inert(
            "active-defrag-cycle-max",
            Kind::Int { min: 1, max: 99 },
            "25",
            "Largest share of a core in percent.",
            NO_DEFRAG,
        ),
        Setting::inert(
            "active-defrag-cycle-us",
            Kind::Int { min: 0, max: 100_000 },
            "500",
            "Microseconds of one step.",
            NO_DEFRAG,
        ),
        Setting::inert(
            "active-defrag-ignore-bytes",
            Kind::Memory { min: 1, max: i64::MAX as u64 },
            "100mb",
            "Waste below which it does not start.",
            NO_DEFRAG,
        ),
        Setting::inert(
            "active-defrag-threshold-lower",
            Kind::Int { min: 0, max: 1000 },
            "10",
            "Fragmentation in percent at which it starts.",
            NO_DEFRAG,
        ),
        Setting::inert(
            "active-defrag-threshold-upper",
            Kind::Int { min: 0, max: 1000 },
            "100",
            "Fragmentation in percent at which it uses its largest share.",
            NO_DEFRAG,
        ),
        Setting::inert(
            "active-defrag-max-scan-fields",
            Kind::Int { min: 1, max: i64::MAX },
            "1000",
            "Fields of one key that are looked at in one step.",
            NO_DEFRAG,
        ),
    ],
};
