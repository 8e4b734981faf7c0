//! When values switch from their compact encoding to their general one.

use super::super::setting::{Chapter, Setting};
use super::{COUNT, INT, LONG_COUNT, MEMORY};

pub(super) static ENCODINGS: Chapter = Chapter {
    section: "encodings",
    about: "Sizes up to which values keep their compact encoding.",
    settings: &[
        Setting::active("hash-max-listpack-entries", LONG_COUNT, "512", "Fields of a compact hash.")
            .alias(&["hash-max-ziplist-entries"]),
        Setting::active("hash-max-listpack-value", MEMORY, "64", "Bytes of a field or value there.")
            .alias(&["hash-max-ziplist-value"]),
        Setting::active(
            "list-max-listpack-size",
            INT,
            "-2",
            "Entries of a list node, or its size from -1 (4 KiB) to -5 (64 KiB).",
        )
        .alias(&["list-max-ziplist-size"]),
        Setting::inert(
            "list-compress-depth",
            COUNT,
            "0",
            "Nodes at each end not compressed.",
            "lists are never compressed",
        ),
        Setting::active("set-max-intset-entries", LONG_COUNT, "512", "Members of a set of integers."),
        Setting::active("set-max-listpack-entries", LONG_COUNT, "128", "Members of a compact set."),
        Setting::active("set-max-listpack-value", LONG_COUNT, "64", "Bytes of a member there."),
        Setting::active("zset-max-listpack-entries", LONG_COUNT, "128", "Members of a compact sorted set.")
            .alias(&["zset-max-ziplist-entries"]),
        Setting::active("zset-max-listpack-value", MEMORY, "64", "Bytes of a member there.")
            .alias(&["zset-max-ziplist-value"]),
        Setting::active("hll-sparse-max-bytes", MEMORY, "3000", "Bytes of a sparse HyperLogLog."),
        Setting::active("stream-node-max-bytes", MEMORY, "4096", "Bytes of a stream node; 0 is no limit."),
        Setting::active(
            "stream-node-max-entries",
            LONG_COUNT,
            "100",
            "Entries of a stream node; 0 is no limit.",
        ),
    ],
};
