//! RDB: the bytes in which Redis and Valkey write values to files and DUMP payloads.
//!
//! Owns the format of one value in every version from 6 to 12 (Redis 2.6 to 7.4) and 80 (Valkey 9), and that bytes of
//! unknown origin are met by an [`Error`]: they are validated to the last element before a value is made of them, and
//! never cost more memory than a small multiple of their length. Never knows files or databases.

pub mod code;
pub mod crc64;
mod flat;
mod hash;
mod list;
pub mod lzf;
pub mod payload;
mod read;
pub mod record;
mod set;
mod sliced;
mod stream;
#[cfg(test)]
mod tests;
mod value;
mod write;
mod ziplist;
mod zipmap;
mod zset;

use std::fmt;

pub use self::read::Reader;
pub use self::sliced::Sliced;
pub use self::value::{Decoded, read_value, type_for, version_of, write_value};
pub use self::write::{Later, Writer};

use crate::hash::HashLimits;
use crate::list::NodeLimits;
use crate::set::SetLimits;
use crate::zset::ZSetLimits;

/// Up to where the values that are read are compact.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub list: NodeLimits,
    pub set: SetLimits,
    pub zset: ZSetLimits,
    pub hash: HashLimits,
}

/// Why bytes are no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// They end before the value does; with more bytes behind them they may be sound.
    Truncated,
    /// What is wrong with them.
    Corrupt(&'static str),
    /// A collection without elements, which is no value. Old servers have written such keys to files.
    Empty,
    /// They may be sound, but are not understood.
    Unsupported(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Truncated => f.write_str("unexpected end"),
            Error::Corrupt(what) => write!(f, "corrupt: {what}"),
            Error::Empty => f.write_str("a collection without elements"),
            Error::Unsupported(what) => write!(f, "not supported: {what}"),
        }
    }
}

impl std::error::Error for Error {}
