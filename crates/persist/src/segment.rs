//! A segment: one file of one shard's log. Owns its header and the judgement over its content: which prefix is valid,
//! and what the bytes behind it are. Never decides what to do about damage.
//!
//! ```text
//! ┌───────────┬─────────┬───────┬────────────┬────────────────┬──────┬────────┬─────────┬─────────┐
//! │ magic     │ version │ shard │ generation │ first sequence │ salt │ crc32c │ record  │ record …│
//! │ TORCLOG\n │ u16     │ u16   │ u64        │ u64            │ u32  │ u32    │         │         │
//! └───────────┴─────────┴───────┴────────────┴────────────────┴──────┴────────┴─────────┴─────────┘
//! ```
//!
//! In a sealed segment (version 4) a key block follows the header, and the records are the content of chunks
//! ([`crate::seal`]): those of one write make one chunk, or several if they are long. Versions 1 and 2 are the same without a
//! salt, and their records do not tell what was durable when they were made: there, any record behind damage means a loss.

use std::io::{self, Read};

use crate::record::{Format, Record};
use crate::seal::{KEY_BLOCK_BYTES, KeyError, Keys, Opener, Sealer};
use crate::window::Window;

const MAGIC: &[u8; 8] = b"TORCLOG\n";
const VERSION: u16 = 3;
const VERSION_SEALED: u16 = 4;
const OLD_VERSION: u16 = 1;
const OLD_VERSION_SEALED: u16 = 2;
/// Bytes of a segment's header.
pub const HEADER_BYTES: usize = 36;
const OLD_HEADER_BYTES: usize = 32;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub shard: u16,
    pub generation: u64,
    /// Sequence of the first record.
    pub first_sequence: u64,
    /// What the checksums of its records begin with: a random number, the same for all segments of a shard in a generation.
    pub salt: u32,
}

/// How the bytes behind a segment's header are to be read.
#[derive(Clone, Copy)]
struct Layout {
    header_bytes: usize,
    is_sealed: bool,
    format: Format,
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
        bytes[28..32].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..32]);
        bytes[32..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub fn read(bytes: &[u8]) -> Result<SegmentHeader, HeaderError> {
        Self::read_with_layout(bytes).map(|(header, _)| header)
    }

    fn read_with_layout(bytes: &[u8]) -> Result<(SegmentHeader, Layout), HeaderError> {
        let number = |at: usize, len: usize| {
            bytes[at..at + len].iter().rev().fold(0u64, |number, &byte| number << 8 | u64::from(byte))
        };
        if bytes.len() < OLD_HEADER_BYTES {
            return Err(HeaderError::Short);
        }
        if &bytes[..8] != MAGIC {
            return Err(HeaderError::NotASegment);
        }
        let version = number(8, 2) as u16;
        let is_old = [OLD_VERSION, OLD_VERSION_SEALED].contains(&version);
        if !is_old && ![VERSION, VERSION_SEALED].contains(&version) {
            return Err(HeaderError::Version(version));
        }
        let header_bytes = if is_old { OLD_HEADER_BYTES } else { HEADER_BYTES };
        if bytes.len() < header_bytes {
            return Err(HeaderError::Short);
        }
        if number(header_bytes - 4, 4) != u64::from(crc32c::crc32c(&bytes[..header_bytes - 4])) {
            return Err(HeaderError::Damaged);
        }
        let salt = if is_old { 0 } else { number(28, 4) as u32 };
        let layout = Layout {
            header_bytes,
            is_sealed: [OLD_VERSION_SEALED, VERSION_SEALED].contains(&version),
            format: if is_old { Format::OLD } else { Format::salted(salt) },
        };
        let header = SegmentHeader {
            shard: number(10, 2) as u16,
            generation: number(12, 8),
            first_sequence: number(20, 8),
            salt,
        };
        Ok((header, layout))
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
    /// Damage in what was not known to be durable: the last writes before a crash, of which some may have reached the disk
    /// and others not. So many records in it are whole.
    Torn { records: u64 },
    /// Damage in what was durable, as a record tells that was made later. It begins at `next_valid_at`, or in the chunk there.
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
    /// Bytes of the whole file.
    pub bytes: usize,
    pub tail: Tail,
}

/// Why a segment can't be read.
#[derive(Debug)]
pub enum ScanError {
    Header(HeaderError),
    Io(io::Error),
}

impl From<HeaderError> for ScanError {
    fn from(error: HeaderError) -> ScanError {
        ScanError::Header(error)
    }
}

impl From<io::Error> for ScanError {
    fn from(error: io::Error) -> ScanError {
        ScanError::Io(error)
    }
}

/// Reads a segment to the first bytes that are not a valid record of it, and says what lies behind. `visit` sees each valid
/// record. What is not damaged passes by in a window: it takes as much memory as the longest record.
pub fn scan(source: impl Read, keys: &Keys, mut visit: impl FnMut(&Record<'_>)) -> Result<Scan, ScanError> {
    let mut window = Window::new(source);
    window.fill(HEADER_BYTES)?;
    let (header, layout) = SegmentHeader::read_with_layout(window.bytes())?;
    let segment = Segment { header, format: layout.format };
    if layout.is_sealed {
        return segment.scan_sealed(window, layout.header_bytes, keys, visit);
    }
    window.consume(layout.header_bytes);
    let mut sequence = header.first_sequence;
    loop {
        window.fill(segment.format.header_bytes())?;
        window.fill(Record::bytes_at(window.bytes(), segment.format))?;
        let Some(mut record) = segment.record_at(window.bytes(), sequence) else { break };
        record.at = window.offset();
        visit(&record);
        let count = record.bytes;
        window.consume(count);
        sequence += 1;
    }
    let valid_bytes = window.offset();
    let rest = window.rest()?;
    let tail = segment.judge_tail(rest, valid_bytes, sequence);
    let bytes = valid_bytes + rest.len();
    Ok(Scan { header, records: sequence - header.first_sequence, valid_bytes, bytes, tail })
}

/// What tells the records of a segment from other bytes.
#[derive(Clone, Copy)]
struct Segment {
    header: SegmentHeader,
    format: Format,
}

/// Whole records behind damage.
#[derive(Default)]
struct Behind {
    records: u64,
    /// The first that tells of a loss.
    evidence: Option<usize>,
}

impl Segment {
    /// The record with this sequence, if it is at the beginning of `bytes`.
    #[inline]
    fn record_at(self, bytes: &[u8], sequence: u64) -> Option<Record<'_>> {
        Record::read(bytes, self.format).filter(|record| {
            record.head.generation == self.header.generation
                && record.head.shard == self.header.shard
                && record.head.sequence == sequence
        })
    }

    /// What the rest of a file is, from an offset on.
    fn judge_tail(self, rest: &[u8], from: usize, missing: u64) -> Tail {
        if rest.iter().all(|byte| *byte == 0) {
            return Tail::Clean;
        }
        match self.look_behind(rest, missing, rest.len()) {
            Behind { evidence: Some(offset), .. } => Tail::Hole { next_valid_at: from + offset },
            Behind { evidence: None, records } => Tail::Torn { records },
        }
    }

    /// Looks for records wherever they may begin, up to the first that tells that the one with the sequence `missing` had
    /// been durable. `lost_bytes`: how many may have held records that are not there.
    fn look_behind(self, bytes: &[u8], missing: u64, lost_bytes: usize) -> Behind {
        // Whatever follows the damage has a later sequence, and not one beyond what so many bytes can hold.
        let sequences = missing + 1..=missing + 1 + (lost_bytes / self.format.header_bytes()) as u64;
        let SegmentHeader { shard, generation, .. } = self.header;
        let (mut behind, mut at) = (Behind::default(), 0);
        while at < bytes.len() {
            let rest = &bytes[at..];
            let may_begin = Record::may_begin(rest, shard, generation, &sequences);
            let Some(record) = may_begin.then(|| Record::read(rest, self.format)).flatten() else {
                at += 1;
                continue;
            };
            if !self.format.tells_durable() || record.durable >= missing {
                behind.evidence = Some(at);
                return behind;
            }
            behind.records += 1;
            at += record.bytes;
        }
        behind
    }

    fn scan_sealed<R: Read>(
        self,
        mut window: Window<R>,
        header_bytes: usize,
        keys: &Keys,
        mut visit: impl FnMut(&Record<'_>),
    ) -> Result<Scan, ScanError> {
        window.fill(header_bytes + KEY_BLOCK_BYTES)?;
        let (identity, rest) = window.bytes().split_at(header_bytes);
        let block = rest.first_chunk::<KEY_BLOCK_BYTES>().ok_or(HeaderError::Short)?;
        let opener = keys.opener(identity, block).map_err(HeaderError::Key)?;
        window.consume(header_bytes + KEY_BLOCK_BYTES);
        // What chunks hold beyond the last record, and where in the file the chunk begins in which the next record does.
        let (mut content, mut valid_bytes) = (Vec::new(), window.offset());
        let (mut number, mut sequence) = (0, self.header.first_sequence);
        loop {
            let chunk_at = window.offset();
            window.fill(Opener::bytes_at(&[]))?;
            window.fill(Opener::bytes_at(window.bytes()))?;
            let Some(count) = opener.open(window.bytes(), number, &mut content) else { break };
            window.consume(count);
            number += 1;
            let mut used = 0;
            while let Some(mut record) = self.record_at(&content[used..], sequence) {
                record.at = if used == 0 { valid_bytes } else { chunk_at };
                visit(&record);
                used += record.bytes;
                sequence += 1;
            }
            content.drain(..used);
            match (content.is_empty(), used) {
                (true, _) => valid_bytes = window.offset(),
                (false, 0) => {}
                (false, _) => valid_bytes = chunk_at,
            }
        }
        let at = window.offset();
        let rest = window.rest()?;
        let tail = match self.look_behind_chunks(&opener, rest, number, sequence) {
            Behind { evidence: Some(offset), .. } => Tail::Hole { next_valid_at: at + offset },
            // A record that goes on in a chunk that is not there: its beginning does not count either.
            _ if content.is_empty() && rest.iter().all(|byte| *byte == 0) => Tail::Clean,
            Behind { records, .. } => Tail::Torn { records },
        };
        let (records, bytes) = (sequence - self.header.first_sequence, at + rest.len());
        Ok(Scan { header: self.header, records, valid_bytes, bytes, tail })
    }

    /// The same as [`Segment::look_behind`] in the chunks behind the one with the number `lost`, which should be at the
    /// beginning of `bytes`.
    fn look_behind_chunks(self, opener: &Opener, bytes: &[u8], lost: u64, missing: u64) -> Behind {
        let (mut behind, mut at, mut number) = (Behind::default(), 0, lost);
        let mut content = Vec::new();
        // Records may go on in the next chunk: those that follow each other are read together.
        let mut run_began_at = 0;
        loop {
            let found = opener.find_later(&bytes[at..], number, &mut content);
            if found.is_some() && !self.format.tells_durable() {
                behind.evidence = found.map(|found| at + found.at);
                return behind;
            }
            let goes_on = found.is_some_and(|found| found.at == 0 && found.number == number + 1);
            if !goes_on {
                let of_next = found.map_or(0, |found| found.content_bytes());
                let run_end = content.len() - of_next;
                let in_run = self.look_behind(&content[..run_end], missing, bytes.len());
                behind.records += in_run.records;
                if in_run.evidence.is_some() {
                    behind.evidence = Some(run_began_at);
                    return behind;
                }
                content.drain(..run_end);
            }
            let Some(found) = found else { return behind };
            if !goes_on {
                run_began_at = at + found.at;
            }
            at += found.at + found.bytes;
            number = found.number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Head, Kind, RecordWriter};
    use crate::seal::{Algorithm, MasterKey};

    const HEADER: SegmentHeader = SegmentHeader { shard: 1, generation: 5, first_sequence: 100, salt: 9 };

    /// A segment of so many records, when each of which all but the last `behind` before it were durable.
    fn segment(records: u64, behind: u64) -> Vec<u8> {
        let mut writer = RecordWriter::default();
        for sequence in 100..100 + records {
            writer.begin(&Head {
                sequence,
                generation: 5,
                shard: 1,
                always: false,
                kind: Kind::Effects,
                transaction: None,
                before: None,
            });
            writer.effect(0, [&b"SET"[..], b"key", b"some value"].into_iter());
            writer.end(sequence.saturating_sub(1 + behind).max(99), HEADER.salt);
        }
        [&HEADER.to_bytes()[..], &writer.take()].concat()
    }

    #[test]
    fn headers_are_checked() {
        let bytes = HEADER.to_bytes();
        assert_eq!(SegmentHeader::read(&bytes), Ok(HEADER));
        assert_eq!(SegmentHeader::read(&bytes[..35]), Err(HeaderError::Short));
        assert_eq!(SegmentHeader::read(&[b'x'; 40]), Err(HeaderError::NotASegment));
        let mut damaged = bytes;
        damaged[13] ^= 1;
        assert_eq!(SegmentHeader::read(&damaged), Err(HeaderError::Damaged));
    }

    #[test]
    fn tails_are_told_apart() {
        let whole = segment(4, 1);
        let one = (whole.len() - HEADER_BYTES) / 4;
        let scanned = |bytes: &[u8]| {
            let scan = scan(bytes, Keys::none(), |_| {}).expect("a segment");
            (scan.records, scan.tail)
        };
        assert_eq!(scanned(&whole), (4, Tail::Clean));
        assert_eq!(scanned(&[&whole[..], &[0; 4096]].concat()), (4, Tail::Clean));
        assert_eq!(scanned(&whole[..whole.len() - 1]), (3, Tail::Torn { records: 0 }));
        assert_eq!(scanned(&[&whole[..], b"garbage"].concat()), (4, Tail::Torn { records: 0 }));
        // One record is missing: when the last but one behind it was made it was durable, when the next was made it was not.
        let without = |whole: &[u8], index: usize| {
            let mut hole = whole.to_vec();
            hole[HEADER_BYTES + index * one + 4..HEADER_BYTES + (index + 1) * one].fill(0);
            scanned(&hole)
        };
        assert_eq!(without(&whole, 1), (1, Tail::Hole { next_valid_at: HEADER_BYTES + 3 * one }));
        assert_eq!(without(&whole, 2), (2, Tail::Torn { records: 1 }));
        assert_eq!(without(&whole, 3), (3, Tail::Torn { records: 0 }));
        assert_eq!(without(&segment(4, 3), 0), (0, Tail::Torn { records: 3 }));
    }

    /// A block that was used by an older generation of the log, or by another shard, is no record of this one.
    #[test]
    fn stale_blocks_are_no_records() {
        let whole = segment(3, 0);
        for (generation, shard, sequence) in [(4, 1, 104), (5, 0, 104), (5, 1, 100), (5, 1, 99)] {
            let head = Head {
                sequence,
                generation,
                shard,
                always: false,
                kind: Kind::Effects,
                transaction: None,
                before: None,
            };
            let mut writer = RecordWriter::default();
            writer.begin(&head);
            writer.effect(0, [&b"SET"[..], b"stale", b"value"].into_iter());
            writer.end(sequence - 1, HEADER.salt);
            let scan =
                scan(&[&whole[..], &writer.take()].concat()[..], Keys::none(), |_| {}).expect("a segment");
            assert_eq!((scan.records, scan.tail), (3, Tail::Torn { records: 0 }), "{head:?}");
        }
    }

    /// Of version 1 and 2, with three records in three writes, as they were written then.
    #[test]
    fn old_segments_are_read_by_the_old_rule() {
        let master = MasterKey::parse(&[1; 32]).expect("a key");
        let keys = Keys::new(Algorithm::Aes256Gcm, master, Vec::new());
        for (bytes, begins_at) in [
            (&include_bytes!("../tests/old/version-1.log")[..], OLD_HEADER_BYTES),
            (&include_bytes!("../tests/old/version-2.log")[..], OLD_HEADER_BYTES + KEY_BLOCK_BYTES),
        ] {
            let mut keys_set = Vec::new();
            let whole = scan(bytes, &keys, |record| {
                let effects = record.effects().map(|effect| effect.expect("it is sound").words[1].to_vec());
                keys_set.extend(effects);
            });
            let whole = whole.expect("a segment");
            assert_eq!((whole.records, whole.tail), (3, Tail::Clean));
            assert_eq!(keys_set, [b"a", b"b", b"c"]);
            let one = (bytes.len() - begins_at) / 3;
            let mut damaged = bytes.to_vec();
            damaged[begins_at + one + 20] ^= 1;
            let hole = scan(&damaged[..], &keys, |_| {}).expect("a segment");
            assert_eq!((hole.records, hole.tail), (1, Tail::Hole { next_valid_at: begins_at + 2 * one }));
            let torn = scan(&bytes[..bytes.len() - 1], &keys, |_| {}).expect("a segment");
            assert_eq!((torn.records, torn.tail), (2, Tail::Torn { records: 0 }));
        }
    }

    /// A value may consist of what would be the next records of this segment, but for the salt.
    #[test]
    fn values_are_no_records() {
        for salt in [HEADER.salt + 1, HEADER.salt] {
            let mut writer = RecordWriter::default();
            let head = |sequence| Head {
                sequence,
                generation: 5,
                shard: 1,
                always: true,
                kind: Kind::Effects,
                transaction: None,
                before: None,
            };
            writer.begin(&head(102));
            writer.end(101, salt);
            let value = writer.take();
            writer.begin(&head(100));
            writer.effect(0, [&b"SET"[..], b"key", &value].into_iter());
            writer.end(99, HEADER.salt);
            let mut bytes = [&HEADER.to_bytes()[..], &writer.take()].concat();
            bytes[HEADER_BYTES] ^= 1;
            let scan = scan(&bytes[..], Keys::none(), |_| {}).expect("a segment");
            assert_eq!(matches!(scan.tail, Tail::Hole { .. }), salt == HEADER.salt, "{scan:?}");
        }
    }

    /// A sealed segment with the given writes of one record each, and where each chunk ends.
    fn sealed(keys: &Keys, records: u64, behind: u64) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, sealer) = HEADER.begin(keys);
        let mut sealer = sealer.expect("the keys seal");
        let plain = segment(records, behind);
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
        let (whole, ends) = sealed(&keys, 3, 0);
        let scanned = |bytes: &[u8]| {
            let scan = scan(bytes, &keys, |_| {}).expect("a segment");
            (scan.records, scan.valid_bytes, scan.tail)
        };
        assert_eq!(scanned(&whole), (3, whole.len(), Tail::Clean));
        assert_eq!(scanned(&[&whole[..], &[0; 4096]].concat()), (3, whole.len(), Tail::Clean));
        assert_eq!(scanned(&[&whole[..], b"garbage"].concat()), (3, whole.len(), Tail::Torn { records: 0 }));
        for cut in ends[0]..whole.len() {
            let chunks = ends.iter().filter(|end| **end <= cut).count() - 1;
            let tail = if ends[chunks] == cut { Tail::Clean } else { Tail::Torn { records: 0 } };
            assert_eq!(scanned(&whole[..cut]), (chunks as u64, ends[chunks], tail), "cut at {cut}");
        }
        for index in ends[0]..whole.len() {
            let mut damaged = whole.clone();
            damaged[index] ^= 1;
            let chunk = ends.iter().filter(|end| **end <= index).count() - 1;
            let next_valid_at = ends[chunk + 1];
            let tail = if chunk < 2 { Tail::Hole { next_valid_at } } else { Tail::Torn { records: 0 } };
            assert_eq!(scanned(&damaged), (chunk as u64, ends[chunk], tail), "byte {index}");
        }
        // The same where none was durable when the next were made.
        let (unsynced, ends) = sealed(&keys, 3, 3);
        for (chunk, records) in [(0, 2), (1, 1), (2, 0)] {
            let mut damaged = unsynced.clone();
            damaged[ends[chunk] + 20] ^= 1;
            assert_eq!(scanned(&damaged), (chunk as u64, ends[chunk], Tail::Torn { records }));
        }
        // Chunks of the file that change places, that are there twice, or that are another file's.
        let chunk = |bytes: &[u8], index: usize| bytes[ends[index]..ends[index + 1]].to_vec();
        let (other, _) = sealed(&keys, 3, 0);
        let head = whole[..ends[0]].to_vec();
        let swapped = [&head[..], &chunk(&whole, 1), &chunk(&whole, 0)].concat();
        assert!(matches!(scanned(&swapped), (0, _, Tail::Hole { .. })));
        let twice = [&head[..], &chunk(&whole, 0), &chunk(&whole, 0)].concat();
        assert_eq!(scanned(&twice), (1, ends[1], Tail::Torn { records: 0 }));
        let foreign = [&head[..], &chunk(&whole, 0), &chunk(&other, 1)].concat();
        assert_eq!(scanned(&foreign), (1, ends[1], Tail::Torn { records: 0 }));
    }

    /// A record longer than a chunk, of which the end is missing.
    #[test]
    fn a_record_may_span_chunks() {
        let master = MasterKey::parse(&[1; 32]).expect("a key");
        let keys = Keys::new(Algorithm::ChaCha20Poly1305, master, Vec::new());
        let mut writer = RecordWriter::default();
        for (sequence, len) in [(100, 10), (101, 3 << 20)] {
            let kind = Kind::Effects;
            writer.begin(&Head {
                sequence,
                generation: 5,
                shard: 1,
                always: true,
                kind,
                transaction: None,
                before: None,
            });
            writer.effect(0, [&b"SET"[..], b"key", &vec![b'v'; len]].into_iter());
            writer.end(sequence - 1, HEADER.salt);
        }
        let (mut bytes, sealer) = HEADER.begin(&keys);
        let start = bytes.len();
        sealer.expect("the keys seal").seal(&writer.take(), &mut bytes);
        let whole = scan(&bytes[..], &keys, |_| {}).expect("a segment");
        assert_eq!((whole.records, whole.valid_bytes, whole.tail), (2, bytes.len(), Tail::Clean));
        let first_chunks = start + 2 * crate::seal::sealed_bytes(crate::seal::CHUNK_BYTES_MAX);
        let cut = scan(&bytes[..first_chunks], &keys, |_| {}).expect("a segment");
        assert_eq!((cut.records, cut.valid_bytes, cut.tail), (1, start, Tail::Torn { records: 0 }));
        // Without its first chunk there is the second record, which tells that the first was durable.
        bytes[start + 20] ^= 1;
        let lost = scan(&bytes[..], &keys, |_| {}).expect("a segment");
        assert_eq!((lost.records, lost.valid_bytes, lost.tail), (0, start, Tail::Torn { records: 0 }));
    }
}
