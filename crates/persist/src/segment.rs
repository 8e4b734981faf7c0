//! A segment: one file of one shard's log. Owns its header and the judgement over its content: which prefix is valid,
//! and what the bytes behind it are. Never decides what to do about damage.
//!
//! ```text
//! ┌───────────┬─────────┬───────┬────────────┬────────────────┬────────┬─────────┬─────────┐
//! │ magic     │ version │ shard │ generation │ first sequence │ crc32c │ record  │ record …│
//! │ TORCLOG\n │ u16     │ u16   │ u64        │ u64            │ u32    │         │         │
//! └───────────┴─────────┴───────┴────────────┴────────────────┴────────┴─────────┴─────────┘
//! ```
//!
//! In a sealed segment (version 2) a key block follows the header, and the records are the content of chunks
//! ([`crate::seal`]): those of one write make one chunk, or several if they are long.

use crate::record::{HEADER_BYTES as RECORD_HEADER_BYTES, Record};
use crate::seal::{KEY_BLOCK_BYTES, KeyError, Keys, Sealer};

const MAGIC: &[u8; 8] = b"TORCLOG\n";
const VERSION: u16 = 1;
const VERSION_SEALED: u16 = 2;
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
        self.with_version(VERSION)
    }

    /// What a new file begins with, and what seals the rest of it if these keys seal.
    pub fn begin(self, keys: &Keys) -> (Vec<u8>, Option<Sealer>) {
        let identity = self.with_version(VERSION_SEALED);
        match keys.sealer(&identity) {
            Some(sealer) => ([&identity[..], sealer.block()].concat(), Some(sealer)),
            None => (self.to_bytes().to_vec(), None),
        }
    }

    fn with_version(self, version: u16) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&version.to_le_bytes());
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
            VERSION | VERSION_SEALED => {}
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
    /// It is sealed, and can't be opened.
    Key(KeyError),
}

impl std::fmt::Display for HeaderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HeaderError::Short => f.write_str("it is shorter than a segment's header"),
            HeaderError::NotASegment => f.write_str("it is no segment of torc's log"),
            HeaderError::Damaged => f.write_str("its header is damaged"),
            HeaderError::Version(version) => {
                write!(f, "it has format version {version}, this torc reads up to {VERSION_SEALED}")
            }
            HeaderError::Key(error) => write!(f, "{error}"),
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
pub fn scan(bytes: &[u8], keys: &Keys, mut visit: impl FnMut(&Record<'_>)) -> Result<Scan, HeaderError> {
    let header = SegmentHeader::read(bytes)?;
    if bytes[8..10] == VERSION_SEALED.to_le_bytes() {
        return scan_sealed(bytes, header, keys, visit);
    }
    let (sequence, length) = scan_records(&bytes[HEADER_BYTES..], header, &mut visit);
    let at = HEADER_BYTES + length;
    let tail = judge_tail(bytes, at, header, sequence);
    Ok(Scan { header, records: sequence - header.first_sequence, valid_bytes: at, tail })
}

/// Sequence behind the last valid record, and where that ends.
fn scan_records(bytes: &[u8], header: SegmentHeader, visit: &mut impl FnMut(&Record<'_>)) -> (u64, usize) {
    let (mut sequence, mut at) = (header.first_sequence, 0);
    while let Some(record) = Record::read(&bytes[at..]).filter(|record| belongs(record, header, sequence)) {
        visit(&record);
        at += record.bytes;
        sequence += 1;
    }
    (sequence, at)
}

fn scan_sealed(
    bytes: &[u8],
    header: SegmentHeader,
    keys: &Keys,
    mut visit: impl FnMut(&Record<'_>),
) -> Result<Scan, HeaderError> {
    let (identity, rest) = bytes.split_at(HEADER_BYTES);
    let block = rest.first_chunk::<KEY_BLOCK_BYTES>().ok_or(HeaderError::Short)?;
    let opener = keys.opener(identity, block).map_err(HeaderError::Key)?;
    let mut content = Vec::with_capacity(bytes.len());
    // Where each chunk begins, in the content and in the file.
    let mut chunks = Vec::new();
    let mut at = HEADER_BYTES + KEY_BLOCK_BYTES;
    loop {
        let number = chunks.len() as u64;
        chunks.push((content.len(), at));
        let Some(count) = opener.open(&bytes[at..], number, &mut content) else { break };
        at += count;
    }
    let (sequence, length) = scan_records(&content, header, &mut visit);
    // A record that goes on in a chunk that is not there: its beginning does not count either.
    let whole_chunks = chunks.partition_point(|(begins_at, _)| *begins_at <= length);
    let valid_bytes = chunks[whole_chunks - 1].1;
    let tail = match opener.find_later(&bytes[at..], chunks.len() as u64 - 1) {
        Some(offset) => Tail::Hole { next_valid_at: at + offset },
        None if length == content.len() && bytes[at..].iter().all(|byte| *byte == 0) => Tail::Clean,
        None => Tail::Torn,
    };
    Ok(Scan { header, records: sequence - header.first_sequence, valid_bytes, tail })
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
    use crate::seal::{Algorithm, MasterKey};

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
            let scan = scan(bytes, Keys::none(), |_| {}).expect("a segment");
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
            let scan = scan(&[&whole[..], &writer.take()].concat(), Keys::none(), |_| {}).expect("a segment");
            assert_eq!((scan.records, scan.tail), (3, Tail::Torn), "{head:?}");
        }
    }

    /// A sealed segment with the given writes of one record each, and where each chunk ends.
    fn sealed(keys: &Keys, records: u64) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, sealer) = HEADER.begin(keys);
        let mut sealer = sealer.expect("the keys seal");
        let plain = segment(records);
        let one = (plain.len() - HEADER_BYTES) / records as usize;
        let mut ends = vec![bytes.len()];
        for record in plain[HEADER_BYTES..].chunks(one) {
            sealer.seal(record, &mut bytes);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    #[test]
    fn tails_of_sealed_segments_are_told_apart() {
        let master = MasterKey::parse(&[1; 32]).expect("a key");
        let keys = Keys::new(Algorithm::Aes256Gcm, master, Vec::new());
        let (whole, ends) = sealed(&keys, 3);
        let scanned = |bytes: &[u8]| {
            let scan = scan(bytes, &keys, |_| {}).expect("a segment");
            (scan.records, scan.valid_bytes, scan.tail)
        };
        assert_eq!(scanned(&whole), (3, whole.len(), Tail::Clean));
        assert_eq!(scanned(&[&whole[..], &[0; 4096]].concat()), (3, whole.len(), Tail::Clean));
        assert_eq!(scanned(&[&whole[..], b"garbage"].concat()), (3, whole.len(), Tail::Torn));
        for cut in ends[0]..whole.len() {
            let chunks = ends.iter().filter(|end| **end <= cut).count() - 1;
            let tail = if ends[chunks] == cut { Tail::Clean } else { Tail::Torn };
            assert_eq!(scanned(&whole[..cut]), (chunks as u64, ends[chunks], tail), "cut at {cut}");
        }
        for index in ends[0]..whole.len() {
            let mut damaged = whole.clone();
            damaged[index] ^= 1;
            let chunk = ends.iter().filter(|end| **end <= index).count() - 1;
            let next_valid_at = ends[chunk + 1];
            let tail = if chunk < 2 { Tail::Hole { next_valid_at } } else { Tail::Torn };
            assert_eq!(scanned(&damaged), (chunk as u64, ends[chunk], tail), "byte {index}");
        }
        // Chunks of the file that change places, that are there twice, or that are another file's.
        let chunk = |bytes: &[u8], index: usize| bytes[ends[index]..ends[index + 1]].to_vec();
        let (other, _) = sealed(&keys, 3);
        let head = whole[..ends[0]].to_vec();
        let swapped = [&head[..], &chunk(&whole, 1), &chunk(&whole, 0)].concat();
        assert!(matches!(scanned(&swapped), (0, _, Tail::Hole { .. })));
        let twice = [&head[..], &chunk(&whole, 0), &chunk(&whole, 0)].concat();
        assert_eq!(scanned(&twice), (1, ends[1], Tail::Torn));
        let foreign = [&head[..], &chunk(&whole, 0), &chunk(&other, 1)].concat();
        assert_eq!(scanned(&foreign), (1, ends[1], Tail::Torn));
    }

    /// A record longer than a chunk, of which the end is missing.
    #[test]
    fn a_record_may_span_chunks() {
        let master = MasterKey::parse(&[1; 32]).expect("a key");
        let keys = Keys::new(Algorithm::ChaCha20Poly1305, master, Vec::new());
        let mut writer = RecordWriter::default();
        for (sequence, len) in [(100, 10), (101, 3 << 20)] {
            let kind = Kind::Effects;
            writer.begin(&Head { sequence, generation: 5, shard: 1, always: true, kind, transaction: None });
            writer.effect(0, [&b"SET"[..], b"key", &vec![b'v'; len]].into_iter());
            writer.end();
        }
        let (mut bytes, sealer) = HEADER.begin(&keys);
        let start = bytes.len();
        sealer.expect("the keys seal").seal(&writer.take(), &mut bytes);
        let whole = scan(&bytes, &keys, |_| {}).expect("a segment");
        assert_eq!((whole.records, whole.valid_bytes, whole.tail), (2, bytes.len(), Tail::Clean));
        let first_chunks = start + 2 * crate::seal::sealed_bytes(crate::seal::CHUNK_BYTES_MAX);
        let cut = scan(&bytes[..first_chunks], &keys, |_| {}).expect("a segment");
        assert_eq!((cut.records, cut.valid_bytes, cut.tail), (1, start, Tail::Torn));
    }
}
