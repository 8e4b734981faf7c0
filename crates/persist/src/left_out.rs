//! What of a log does not count, so that a start can say so.
//!
//! Owns the account: which bytes of which file, how many whole records are among them, and why. Never decides it (`load`,
//! `redis_aof`).

use std::fmt;

/// Bytes of one file that are not loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    pub file: String,
    /// Where the first of them is; in a sealed file, where the chunk begins that holds it.
    pub at: usize,
    pub bytes: usize,
    /// Whole records among them.
    pub records: u64,
    pub why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// What the disk was writing when the power failed. Whole records among it lie behind others that are missing.
    Torn,
    /// The same in the log of a Redis server, which has no records.
    TornCommand,
    /// Written under `always`: nobody has seen them.
    Parts,
    /// What came after may have seen it.
    FromPartOn,
}

impl Why {
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Torn => "the file ends in the middle of a record",
            Why::TornCommand => "the file ends in the middle of a command or a transaction",
            Why::Parts => "parts of transactions that were not whole when the log ended",
            Why::FromPartOn => "a transaction that was not whole when the log ended, and what came after it",
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LeftOut { file, at, bytes, records, why } = self;
        write!(f, "{bytes} bytes of {file} from offset {at} on")?;
        match why {
            Why::TornCommand => {}
            _ => write!(f, " with {records} whole records")?,
        }
        write!(f, ": {}", why.as_str())
    }
}
