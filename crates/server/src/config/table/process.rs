//! The process as the operating system sees it, and aids for test suites.

use super::super::setting::{Chapter, Check, Kind, Setting};
use super::{INT, LOADS_FIRST, LONG_COUNT, NO_CLUSTER, NO_SCRIPTS, TEXT};

const FOREGROUND: &str = "torc stays in the foreground; a supervisor such as systemd keeps it";
const NO_TITLE: &str = "the process keeps its command line as its title";
const NO_OOM: &str = "set it in the unit file or container";
const SIGNALS: &str = "a signal ends the server as SHUTDOWN does: with a snapshot if there are save points";
const TESTS: &str = "an aid for the test suite of Redis";

pub(super) static PROCESS: Chapter = Chapter {
    section: "process",
    about: "The process, scripts and compatibility.",
    settings: &[
        Setting::inert("daemonize", Kind::Bool, "no", "Run in the background.", FOREGROUND).at_start(),
        Setting::active(
            "supervised",
            Kind::Choice(&["upstart", "systemd", "auto", "no"]),
            "no",
            "Whether to tell systemd that the server is ready and when it stops; `auto` does if systemd asks for it.",
        )
        .at_start(),
        Setting::inert("pidfile", TEXT, "", "File with the process id.", FOREGROUND).at_start(),
        Setting::inert("set-proc-title", Kind::Bool, "yes", "Set the title of the process.", NO_TITLE)
            .at_start(),
        Setting::inert(
            "proc-title-template",
            Kind::Text(Check::ProcessTitle),
            "{title} {listen-addr} {server-mode}",
            "Title of the process.",
            NO_TITLE,
        ),
        Setting::inert(
            "shutdown-on-sigint",
            Kind::Choice(&["default", "save", "nosave", "now", "force"]),
            "default",
            "What SIGINT does.",
            SIGNALS,
        ),
        Setting::inert(
            "shutdown-on-sigterm",
            Kind::Choice(&["default", "save", "nosave", "now", "force"]),
            "default",
            "What SIGTERM does.",
            SIGNALS,
        ),
        Setting::inert(
            "oom-score-adj",
            Kind::Choice(&["no", "yes", "relative", "absolute"]),
            "no",
            "Whether to tell the kernel how readily to kill this process.",
            NO_OOM,
        ),
        Setting::inert(
            "oom-score-adj-values",
            Kind::OomScores,
            "0 200 800",
            "Scores of primary, replica and helper process.",
            NO_OOM,
        ),
        Setting::inert(
            "disable-thp",
            Kind::Bool,
            "yes",
            "Turn transparent huge pages off for this process.",
            "the allocator asks for huge pages; `_RJEM_MALLOC_CONF=thp:default` in the environment does without them",
        )
        .at_start(),
        Setting::inert(
            "busy-reply-threshold",
            LONG_COUNT,
            "5000",
            "Milliseconds a script may run.",
            NO_SCRIPTS,
        )
        .alias(&["lua-time-limit"]),
        Setting::inert(
            "locale-collate",
            TEXT,
            "",
            "Order of strings in SORT.",
            "strings are compared byte by byte",
        ),
        Setting::inert(
            "extended-redis-compatibility",
            Kind::Bool,
            "no",
            "Present itself as Redis.",
            "torc always presents itself as redis 7.2.4 in HELLO and INFO",
        ),
    ],
};

pub(super) static TESTING: Chapter = Chapter {
    section: "testing",
    about: "Aids for test suites. CONFIG GET shows them only by their exact name.",
    settings: &[
        Setting::inert("enable-debug-assert", Kind::Bool, "no", "Check invariants.", TESTS)
            .at_start()
            .hidden(),
        Setting::inert("use-exit-on-panic", Kind::Bool, "no", "Exit instead of abort.", TESTS).hidden(),
        Setting::inert("debug-context", TEXT, "", "Text in crash reports.", TESTS).hidden(),
        Setting::inert("key-load-delay", INT, "0", "Microseconds to wait per key loaded.", LOADS_FIRST)
            .hidden(),
        Setting::active("rdb-key-save-delay", INT, "0", "Microseconds to wait per key saved.").hidden(),
        Setting::inert(
            "loading-process-events-interval-bytes",
            Kind::Int { min: 1024, max: i32::MAX as i64 },
            "2097152",
            "Bytes loaded between turns of the event loop.",
            LOADS_FIRST,
        )
        .hidden(),
        Setting::inert(
            "cluster-ping-interval",
            LONG_COUNT,
            "0",
            "Milliseconds between pings of cluster nodes.",
            NO_CLUSTER,
        )
        .hidden(),
    ],
};
