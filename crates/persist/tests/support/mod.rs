//! What must hold of any bytes that are read as an RDB file: shared by the mutation test and the fuzz target.

use torc_datatypes::hash::HashLimits;
use torc_datatypes::list::NodeLimits;
use torc_datatypes::rdb::Limits;
use torc_datatypes::set::SetLimits;
use torc_datatypes::zset::ZSetLimits;
use torc_persist::rdb::{FileError, FileReader, Item};

/// What is read takes at most so many bytes for each byte of the file. Compression alone gives 88.
const EXPANSION_MAX: usize = 300;
const BYTES_FREE: usize = 10_000;

pub(crate) fn limits() -> Limits {
    Limits {
        list: NodeLimits::new(-2),
        set: SetLimits { intset_entries: 512, listpack_entries: 128, listpack_value: 64 },
        zset: ZSetLimits { listpack_entries: 128, listpack_value: 64 },
        hash: HashLimits { entries_max: 128, value_bytes_max: 64 },
    }
}

/// Reads a file to its end or to its error, which must lie within it and give a reason. Returns the number of keys.
pub(crate) fn check(file: &[u8], checks_sum: bool) -> Result<usize, FileError> {
    let outcome = read(file, checks_sum);
    if let Err(error) = &outcome {
        assert!(error.offset <= file.len() as u64, "an error behind the end of the file: {error}");
        assert!(error.file == "file" && !error.reason.is_empty());
    }
    outcome
}

fn read(file: &[u8], checks_sum: bool) -> Result<usize, FileError> {
    let mut reader = FileReader::open(file, "file", limits(), checks_sum)?;
    let (mut keys, mut bytes) = (0, 0);
    while let Some(item) = reader.next_item()? {
        bytes += match item {
            Item::Key(key) => {
                keys += 1;
                key.entry.size_bytes()
            }
            Item::Aux { name, text } => name.len() + text.len(),
            Item::Function(source) => source.len(),
        };
        assert!(bytes <= EXPANSION_MAX * file.len() + BYTES_FREE, "{bytes} bytes of {}", file.len());
    }
    Ok(keys)
}
