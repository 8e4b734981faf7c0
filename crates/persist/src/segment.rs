//! A segment: one file of one shard's log. Owns its header and the judgement over its content: which prefix is valid,
//! and what the bytes behind it are. Never decides what to do about damage.
//!
//! ```text
//! ┌───────────┬─────────┬───────┬────────────┬────────────────┬────────┬─────────┬─────────┐
//! │ magic     │ version │ shard │ generation │ first sequence │ crc32c │ record  │ record …│
//! │ TORCLOG\n │ u16     │ u16   │ u64        │ u64            │ u32    │         │         │
//! └───────────┴─────────┴───────┴────────────┴────────────────┴────────┴─────────┴─────────┘
//! ```

use crate::record::{HEADER_BYTES as RECORD_HEADER_BYTES, Record};

const MAGIC: &[u8; 8] = b"TORCLOG\n";
const VERSION: u16 = 1;
/// Bytes of a segment's header.
pub const HEADER_BYTES: usize = 32;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub shard: u16,
    pub generation: u64,
    /// Sequence of the first record.
    pub first_sequence: u64,
}

impl SegmentHeader {
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.shard.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.generation.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.first_sequence.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub fn read(bytes: &[u8]) -> Result<SegmentHeader, HeaderError> {
        let bytes = bytes.get(..HEADER_BYTES).ok_or(HeaderError::Short)?;
        let number = |at: usize, len: usize| {
            bytes[at..at + len].iter().rev().fold(0u64, |number, &byte| number << 8 | u64::from(byte))
        };
        if &bytes[..8] != MAGIC {
            return Err(HeaderError::NotASegment);
        }
        if number(28, 4) != u64::from(crc32c::crc32c(&bytes[..28])) {
            return Err(HeaderError::Damaged);
        }
        match number(8, 2) as u16 {
            VERSION => {}
            newer => return Err(HeaderError::Version(newer)),
        }
        Ok(SegmentHeader {
            shard: number(10, 2) as u16,
            generation: number(12, 8),
            first_sequence: number(20, 8),
        })
    }
}

/// Why a file is no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Shorter than a header: the crash came while it was being made.
    Short,
    NotASegment,
    Damaged,
    Version(u16),
}

impl std::fmt::Display for HeaderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HeaderError::Short => f.write_str("it is shorter than a segment's header"),
            HeaderError::NotASegment => f.write_str("it is no segment of torc's log"),
            HeaderError::Damaged => f.write_str("its header is damaged"),
            HeaderError::Version(version) => {
                write!(f, "it has format version {version}, this torc reads {VERSION}")
            }
        }
    }
}

impl std::error::Error for HeaderError {}

/// What lies behind the valid prefix of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing, or the zeros of preallocated blocks.
    Clean,
    /// Bytes that are no record, and no record behind them: the last writes before a crash.
    Torn,
    /// Damage with valid records behind it, the first of them at `next_valid_at`: something that was durable was lost.
    Hole { next_valid_at: usize },
}

/// What a scan of one segment found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    pub header: SegmentHeader,
    /// Number of valid records.
    pub records: u64,
    /// Bytes of header and valid records.
    pub valid_bytes: usize,
    pub tail: Tail,
}

/// Reads a segment's bytes to the first that is not a valid record of it, and says what lies behind. `visit` sees each
/// valid record.
pub fn scan(bytes: &[u8], mut visit: impl FnMut(&Record<'_>)) -> Result<Scan, HeaderError> {
    let header = SegmentHeader::read(bytes)?;
    let mut at = HEADER_BYTES;
    let mut sequence = header.first_sequence;
    while let Some(record) = Record::read(&bytes[at..]).filter(|record| belongs(record, header, sequence)) {
        visit(&record);
        at += record.bytes;
        sequence += 1;
    }
    let tail = judge_tail(bytes, at, header, sequence);
    Ok(Scan { header, records: sequence - header.first_sequence, valid_bytes: at, tail })
}

fn belongs(record: &Record<'_>, header: SegmentHeader, sequence: u64) -> bool {
    record.head.generation == header.generation
        && record.head.shard == header.shard
        && record.head.sequence == sequence
}

fn judge_tail(bytes: &[u8], from: usize, header: SegmentHeader, sequence: u64) -> Tail {
    let rest = &bytes[from..];
    if rest.iter().all(|byte| *byte == 0) {
        return Tail::Clean;
    }
    let generation = header.generation.to_le_bytes();
    // Whatever follows the hole has a later sequence, and not one beyond what so many bytes can hold.
    let sequences = sequence + 1..=sequence + 1 + (rest.len() / RECORD_HEADER_BYTES) as u64;
    let mut candidates = rest.windows(RECORD_HEADER_BYTES).enumerate();
    let found = candidates.find(|(offset, head)| {
        head[16..24] == generation
            && Record::read(&rest[*offset..]).is_some_and(|record| {
                record.head.shard == header.shard && sequences.contains(&record.head.sequence)
            })
    });
    match found {
        Some((offset, _)) => Tail::Hole { next_valid_at: from + offset },
        None => Tail::Torn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Head, Kind, RecordWriter};

    const HEADER: SegmentHeader = SegmentHeader { shard: 1, generation: 5, first_sequence: 100 };

    fn segment(records: u64) -> Vec<u8> {
        let mut writer = RecordWriter::default();
        for sequence in 100..100 + records {
            writer.begin(&Head {
                sequence,
                generation: 5,
                shard: 1,
                always: false,
                kind: Kind::Effects,
                transaction: None,
            });
            writer.effect(0, [&b"SET"[..], b"key", b"some value"].into_iter());
            writer.end();
        }
        [&HEADER.to_bytes()[..], &writer.take()].concat()
    }

    #[test]
    fn headers_are_checked() {
        let bytes = HEADER.to_bytes();
        assert_eq!(SegmentHeader::read(&bytes), Ok(HEADER));
        assert_eq!(SegmentHeader::read(&bytes[..31]), Err(HeaderError::Short));
        assert_eq!(SegmentHeader::read(&[b'x'; 40]), Err(HeaderError::NotASegment));
        let mut damaged = bytes;
        damaged[13] ^= 1;
        assert_eq!(SegmentHeader::read(&damaged), Err(HeaderError::Damaged));
    }

    #[test]
    fn tails_are_told_apart() {
        let whole = segment(3);
        let one = (whole.len() - HEADER_BYTES) / 3;
        let scanned = |bytes: &[u8]| {
            let scan = scan(bytes, |_| {}).expect("a segment");
            (scan.records, scan.tail)
        };
        assert_eq!(scanned(&whole), (3, Tail::Clean));
        assert_eq!(scanned(&[&whole[..], &[0; 4096]].concat()), (3, Tail::Clean));
        assert_eq!(scanned(&whole[..whole.len() - 1]), (2, Tail::Torn));
        assert_eq!(scanned(&[&whole[..], b"garbage"].concat()), (3, Tail::Torn));
        // A torn write of several blocks: the middle one is missing.
        let mut hole = whole.clone();
        hole[HEADER_BYTES + one + 4..HEADER_BYTES + 2 * one].fill(0);
        assert_eq!(scanned(&hole), (1, Tail::Hole { next_valid_at: HEADER_BYTES + 2 * one }));
    }

    /// A block that was used by an older generation of the log, or by another shard, is no record of this one.
    #[test]
    fn stale_blocks_are_no_records() {
        let whole = segment(3);
        for (generation, shard, sequence) in [(4, 1, 103), (5, 0, 103), (5, 1, 100), (5, 1, 99)] {
            let head =
                Head { sequence, generation, shard, always: false, kind: Kind::Effects, transaction: None };
            let mut writer = RecordWriter::default();
            writer.begin(&head);
            writer.effect(0, [&b"SET"[..], b"stale", b"value"].into_iter());
            writer.end();
            let scan = scan(&[&whole[..], &writer.take()].concat(), |_| {}).expect("a segment");
            assert_eq!((scan.records, scan.tail), (3, Tail::Torn), "{head:?}");
        }
    }
}
