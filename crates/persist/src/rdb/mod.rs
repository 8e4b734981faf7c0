//! RDB files: what stands around keys and values.
//!
//! Owns header, file-level opcodes and checksum, in a reader and a writer that hold no more of a file in memory than one
//! key with its value takes. What a value looks like is `torc_datatypes::rdb`. Never knows shards, nor what becomes of
//! what was read.

mod read;
mod write;

pub use read::{FileError, FileReader, Item, LoadedKey};
pub use write::{Database, FileWriter};

/// Magic and version: `REDIS0011`, or `VALKEY080`.
const HEADER_BYTES: usize = 9;
const CHECKSUM_BYTES: usize = 8;
