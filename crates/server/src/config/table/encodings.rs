//! When values switch from their compact encoding to their general one.

use super::super::setting::{Chapter, Setting};
use super::{COUNT, INT, LONG_COUNT, MEMORY};

const LATER: &str = "this data type is not available in this version";

pub(super) static ENCODINGS: Chapter = Chapter {
    section: "encodings",
    about: "Sizes up to which values keep their compact encoding.",
    settings: &[
        Setting::inert("hash-max-listpack-entries", LONG_COUNT, "512", "Fields of a compact hash.", LATER)
            .alias(&["hash-max-ziplist-entries"]),
        Setting::inert("hash-max-listpack-value", MEMORY, "64", "Bytes of a field or value there.", LATER)
            .alias(&["hash-max-ziplist-value"]),
        Setting::inert(
            "list-max-listpack-size",
            INT,
            "-2",
            "Entries of a list node, or its size from -1 (4 KiB) to -5 (64 KiB).",
            LATER,
        )
        .alias(&["list-max-ziplist-size"]),
        Setting::inert("list-compress-depth", COUNT, "0", "Nodes at each end not compressed.", LATER),
        Setting::inert("set-max-intset-entries", LONG_COUNT, "512", "Members of a set of integers.", LATER),
        Setting::inert("set-max-listpack-entries", LONG_COUNT, "128", "Members of a compact set.", LATER),
        Setting::inert("set-max-listpack-value", LONG_COUNT, "64", "Bytes of a member there.", LATER),
        Setting::inert(
            "zset-max-listpack-entries",
            LONG_COUNT,
            "128",
            "Members of a compact sorted set.",
            LATER,
        )
        .alias(&["zset-max-ziplist-entries"]),
        Setting::inert("zset-max-listpack-value", MEMORY, "64", "Bytes of a member there.", LATER)
            .alias(&["zset-max-ziplist-value"]),
        Setting::inert("hll-sparse-max-bytes", MEMORY, "3000", "Bytes of a sparse HyperLogLog.", LATER),
        Setting::inert(
            "stream-node-max-bytes",
            MEMORY,
            "4096",
            "Bytes of a stream node; 0 is no limit.",
            LATER,
        ),
        Setting::inert(
            "stream-node-max-entries",
            LONG_COUNT,
            "100",
            "Entries of a stream node; 0 is no limit.",
            LATER,
        ),
    ],
};
