//! The server's log, the slow log and latency monitoring.

use super::super::setting::{Chapter, Kind, Setting};
use super::{LONG_COUNT, PORT, TEXT, THRESHOLD};

const NO_SYSLOG: &str = "torc logs to a file or to standard output; let the supervisor forward it";

pub(super) static LOGGING: Chapter = Chapter {
    section: "logging",
    about: "The server's log.",
    settings: &[
        Setting::active(
            "loglevel",
            Kind::Choice(&["debug", "verbose", "notice", "warning", "nothing"]),
            "notice",
            "Least severity that is logged.",
        ),
        Setting::active("logfile", TEXT, "", "File to log to; empty means standard output.").at_start(),
        Setting::active(
            "log-format",
            Kind::Choice(&["legacy", "json"]),
            "legacy",
            "`legacy` for text, `json` for one object per line.",
        ),
        Setting::inert(
            "log-timestamp-format",
            Kind::Choice(&["legacy", "iso8601", "milliseconds"]),
            "legacy",
            "How times are written.",
            "times are always written as in ISO 8601",
        ),
        Setting::inert("syslog-enabled", Kind::Bool, "no", "Log to syslog.", NO_SYSLOG).at_start(),
        Setting::inert("syslog-ident", TEXT, "torc", "Name in syslog.", NO_SYSLOG).at_start(),
        Setting::inert(
            "syslog-facility",
            Kind::Choice(&[
                "user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
            ]),
            "local0",
            "Facility in syslog.",
            NO_SYSLOG,
        )
        .at_start(),
        Setting::inert("always-show-logo", Kind::Bool, "no", "Show a logo at start.", "there is no logo")
            .at_start(),
        Setting::inert(
            "crash-log-enabled",
            Kind::Bool,
            "yes",
            "Write a report on a crash.",
            "a crash writes a backtrace and stops the process",
        ),
        Setting::inert(
            "crash-memcheck-enabled",
            Kind::Bool,
            "yes",
            "Test the memory after a crash.",
            "there is no memory test",
        ),
        Setting::inert(
            "ignore-warnings",
            TEXT,
            "",
            "Kernel warnings that do not stop the start.",
            "no kernel warning stops the start",
        ),
    ],
};

pub(super) static LATENCY: Chapter = Chapter {
    section: "latency",
    about: "Slow commands and latency.",
    settings: &[
        Setting::active(
            "commandlog-execution-slower-than",
            THRESHOLD,
            "10000",
            "Microseconds above which a command enters SLOWLOG; 0 takes all, -1 none.",
        )
        .alias(&["slowlog-log-slower-than"]),
        Setting::active("commandlog-slow-execution-max-len", LONG_COUNT, "128", "Entries of SLOWLOG.")
            .alias(&["slowlog-max-len"]),
        Setting::active(
            "latency-monitor-threshold",
            LONG_COUNT,
            "0",
            "Milliseconds above which an event is recorded for LATENCY; 0 records none.",
        ),
        Setting::active(
            "latency-tracking",
            Kind::Bool,
            "yes",
            "Keep a histogram of the latency of each command.",
        ),
        Setting::active(
            "latency-tracking-info-percentiles",
            Kind::Percentiles,
            "50 99 99.9",
            "Percentiles that INFO latencystats shows.",
        ),
        Setting::active(
            "hotkey-top-k",
            Kind::Int { min: 0, max: 1000 },
            "10",
            "Keys that HOTKEYS GET shows; 0 counts none.",
        ),
        Setting::active(
            "commandlog-request-larger-than",
            THRESHOLD,
            "1048576",
            "Bytes of a request from which on COMMANDLOG keeps it; -1 keeps none.",
        ),
        Setting::active(
            "commandlog-reply-larger-than",
            THRESHOLD,
            "1048576",
            "Bytes of a reply from which on COMMANDLOG keeps its command; -1 keeps none.",
        ),
        Setting::active(
            "commandlog-large-request-max-len",
            LONG_COUNT,
            "128",
            "Entries of COMMANDLOG's large-request.",
        ),
        Setting::active(
            "commandlog-large-reply-max-len",
            LONG_COUNT,
            "128",
            "Entries of COMMANDLOG's large-reply.",
        ),
    ],
};

pub(super) static METRICS: Chapter = Chapter {
    section: "metrics",
    about: "Figures for Prometheus, and the state of the server for probes, by HTTP.",
    settings: &[
        Setting::active(
            "metrics-port",
            PORT,
            "9121",
            "TCP port of `/metrics`, `/healthz` and `/readyz`; 0 means none. When it is taken, the server starts without \
             them, unless the port was set.",
        )
        .at_start()
        .own(),
        Setting::active(
            "metrics-bind",
            Kind::Addresses { max: 16 },
            "127.0.0.1 -::1",
            "Addresses that port is open on, written as in `bind`.",
        )
        .at_start()
        .own(),
    ],
};
