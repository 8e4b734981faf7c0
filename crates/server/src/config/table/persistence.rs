//! Snapshots and the append-only file.

use super::super::setting::{Chapter, Check, Kind, Setting};
use super::{COUNT, MEMORY, NO_REPLICATION, TEXT};

pub(super) static SNAPSHOT: Chapter = Chapter {
    section: "persistence",
    about: "Snapshots of all keys.",
    settings: &[
        Setting::active(
            "save",
            Kind::SavePoints,
            "3600 1 300 100 60 10000",
            "Pairs of seconds and changes: snapshot after that time if that many keys changed.",
        ),
        Setting::active("dbfilename", Kind::Text(Check::FileName), "dump.rdb", "File of the snapshot.")
            .protected(),
        Setting::active("rdbcompression", Kind::Bool, "yes", "Compress strings in snapshots and in DUMP."),
        Setting::active("rdbchecksum", Kind::Bool, "yes", "End a snapshot with a checksum.").at_start(),
        Setting::active(
            "rdb-version",
            Kind::Int { min: 10, max: 11 },
            "11",
            "Version of snapshots: 10 is what Redis 7.0 reads; such a snapshot fails if fields of a hash expire.",
        )
        .own(),
        Setting::active(
            "rdb-save-incremental-fsync",
            Kind::Bool,
            "yes",
            "Flush a snapshot to disk while it is written.",
        ),
        Setting::inert(
            "rdb-del-sync-files",
            Kind::Bool,
            "no",
            "Delete snapshots that only replication needed.",
            NO_REPLICATION,
        ),
        Setting::active(
            "stop-writes-on-bgsave-error",
            Kind::Bool,
            "yes",
            "Refuse writes when a snapshot failed.",
        ),
    ],
};

pub(super) static ENCRYPTION: Chapter = Chapter {
    section: "persistence.encryption",
    about: "Encryption of snapshots and of the append-only file on the disk.",
    settings: &[
        Setting::active("encryption-enabled", Kind::Bool, "no", "Encrypt new files.").at_start().own(),
        Setting::active(
            "encryption-algorithm",
            Kind::Choice(&["aes-256-gcm", "chacha20-poly1305"]),
            "aes-256-gcm",
            "How new files are encrypted; each file says how it was.",
        )
        .at_start()
        .own(),
        Setting::active(
            "encryption-key-file",
            TEXT,
            "",
            "File with the master key: 32 bytes, or 64 hexadecimal digits.",
        )
        .at_start()
        .own(),
        Setting::active(
            "encryption-key-env",
            TEXT,
            "",
            "Environment variable with the master key, as 64 hexadecimal digits.",
        )
        .at_start()
        .own(),
        Setting::active(
            "encryption-old-key-files",
            TEXT,
            "",
            "Files with earlier master keys, separated by spaces: files that they encrypted can still be read.",
        )
        .at_start()
        .own(),
    ],
};

pub(super) static AOF: Chapter = Chapter {
    section: "persistence.aof",
    about: "The append-only file: every write, as it happens.",
    settings: &[
        Setting::active("appendonly", Kind::Bool, "no", "Log every write."),
        Setting::active(
            "appendfsync",
            Kind::Choice(&["everysec", "always", "no"]),
            "everysec",
            "When the log is flushed to disk.",
        ),
        Setting::active(
            "appendfilename",
            Kind::Text(Check::FileName),
            "appendonly.aof",
            "First part of the names of the log's files.",
        )
        .at_start(),
        Setting::active(
            "appenddirname",
            Kind::Text(Check::FileName),
            "appendonlydir",
            "Folder of the log below `dir`.",
        )
        .at_start(),
        Setting::active(
            "no-appendfsync-on-rewrite",
            Kind::Bool,
            "no",
            "Do not flush the log during a rewrite (under everysec).",
        ),
        Setting::active(
            "auto-aof-rewrite-percentage",
            COUNT,
            "100",
            "Growth in percent after which the log is rewritten; 0 never does.",
        ),
        Setting::active(
            "auto-aof-rewrite-min-size",
            MEMORY,
            "64mb",
            "Size below which the log is not rewritten.",
        ),
        Setting::active(
            "aof-load-truncated",
            Kind::Bool,
            "yes",
            "Start although the end of the log is cut off.",
        ),
        Setting::inert(
            "aof-use-rdb-preamble",
            Kind::Bool,
            "yes",
            "Rewrite the log as a snapshot.",
            "the base of a log always is one",
        ),
        Setting::inert(
            "aof-timestamp-enabled",
            Kind::Bool,
            "no",
            "Write times into the log.",
            "records of the log carry no time",
        ),
        Setting::active(
            "aof-rewrite-incremental-fsync",
            Kind::Bool,
            "yes",
            "Flush to disk while a rewrite goes on.",
        ),
    ],
};
