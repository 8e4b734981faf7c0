//! Records: what one shard appends to its segment, and how they are read back from bytes of unknown quality.
//!
//! A record is a run of effects that become durable together: all that a shard wrote in one turn of its loop, or its
//! part of one transaction. Owns the byte format. Never touches files.
//!
//! ```text
//! ┌────────┬──────────┬──────────┬────────────┬──────┬───────┬───────┬─────────┬────────────────────────┐
//! │ crc32c │ body len │ sequence │ generation │ kind │ flags │ shard │ durable │ body                   │
//! │ u32    │ u32      │ u64      │ u64        │ u8   │ u8    │ u16   │ u32     │ [transaction], effects │
//! └────────┴──────────┴──────────┴────────────┴──────┴───────┴───────┴─────────┴────────────────────────┘
//!
//! transaction   ticket u64 │ participants u16 │ shard u16 …
//! effect        database varint │ words varint │ (length varint │ bytes) …
//! body of a mark   nothing, or: last sequence of the generation before u64
//! ```
//!
//! All integers are little-endian. The checksum covers everything behind itself, so that bytes of an older file that lie
//! in a reused block are told apart by their generation. It begins with the salt of the segment, which no client knows: so
//! a value that looks like a record is none. Sequences ascend by one over all files of a shard.
//!
//! `durable` is how far before the record the last one lies that was known to be durable when this one was made: what is
//! missing up to there was lost, and what is missing behind it had not become durable. Segments of version 1 and 2 have
//! neither the field nor a salt.

use std::ops::RangeInclusive;

use smallvec::SmallVec;
use torc_datatypes::words;

/// Bytes in front of a record's body.
pub const HEADER_BYTES: usize = 32;
const OLD_HEADER_BYTES: usize = 28;
/// In `durable`: nothing is known, or it is too far away.
const NOTHING_DURABLE: u32 = u32::MAX;
/// Longest body: two strings of the greatest length that the protocol allows, and room for their command.
pub const BODY_BYTES_MAX: usize = (1 << 30) + (1 << 20);

const FLAG_ALWAYS: u8 = 1;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Effects of commands that touched this shard only.
    Effects = 1,
    /// This shard's part of a transaction over several shards.
    Part = 2,
    /// Nothing: tells what is durable.
    Mark = 3,
}

/// How the records of a segment are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    salt: u32,
    tells_durable: bool,
}

impl Format {
    /// Of segments that do not tell what is durable.
    pub const OLD: Format = Format { salt: 0, tells_durable: false };

    pub fn salted(salt: u32) -> Format {
        Format { salt, tells_durable: true }
    }

    pub fn tells_durable(self) -> bool {
        self.tells_durable
    }

    pub fn header_bytes(self) -> usize {
        if self.tells_durable { HEADER_BYTES } else { OLD_HEADER_BYTES }
    }
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        [Kind::Effects, Kind::Part, Kind::Mark].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Identifies a transaction over several shards in the logs of all its participants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Commit ticket: ascending in the order in which transactions took effect.
    pub ticket: u64,
    /// Shards that log a part, in any order.
    pub participants: Vec<u16>,
}

/// Everything of a record but its effects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub sequence: u64,
    pub generation: u64,
    pub shard: u16,
    /// Written under `appendfsync always`: replies waited for it.
    pub always: bool,
    pub kind: Kind,
    /// Present in parts.
    pub transaction: Option<Transaction>,
    /// In the mark that begins a generation in which the process went on: the last sequence of the one before, all of
    /// which was durable before this was written.
    pub before: Option<u64>,
}

/// One change to the data, as the words of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect<'a> {
    pub db: u32,
    pub words: Words<'a>,
}

/// The words of a command. Those of most are few, and take no allocation.
pub type Words<'a> = SmallVec<[&'a [u8]; 6]>;

/// Buffers that are kept to be used again: as many as are written between two syncs of a busy log.
const SPARE_BUFFERS_MAX: usize = 128;
const SPARE_BYTES_MAX: usize = 8 << 20;

/// Writes records of one shard behind each other into a buffer.
#[derive(Debug, Default)]
pub struct RecordWriter {
    bytes: Vec<u8>,
    /// Buffers that were handed over and came back: the memory that they have is in place already.
    spare: Vec<Vec<u8>>,
    /// Where the record under construction begins.
    open_at: Option<usize>,
    /// The buffer, which held so many bytes, is with somebody who puts effects behind them.
    lent: Option<usize>,
}

impl RecordWriter {
    /// Begins a record; its sequence is given when it ends.
    pub fn begin(&mut self, head: &Head) {
        assert!(self.open_at.is_none() && !self.is_lent(), "a record begins before the last one has ended");
        self.open_at = Some(self.bytes.len());
        let mut header = [0; HEADER_BYTES];
        header[8..16].copy_from_slice(&head.sequence.to_le_bytes());
        header[16..24].copy_from_slice(&head.generation.to_le_bytes());
        header[24] = head.kind as u8;
        header[25] = if head.always { FLAG_ALWAYS } else { 0 };
        header[26..28].copy_from_slice(&head.shard.to_le_bytes());
        self.bytes.extend_from_slice(&header);
        if let Some(transaction) = &head.transaction {
            self.bytes.extend_from_slice(&transaction.ticket.to_le_bytes());
            self.bytes.extend_from_slice(&(transaction.participants.len() as u16).to_le_bytes());
            for shard in &transaction.participants {
                self.bytes.extend_from_slice(&shard.to_le_bytes());
            }
        }
        if let Some(before) = head.before {
            self.bytes.extend_from_slice(&before.to_le_bytes());
        }
    }

    /// Adds an effect to the open record.
    #[inline]
    pub fn effect<'w>(&mut self, db: u32, words: impl ExactSizeIterator<Item = &'w [u8]>) {
        debug_assert!(self.open_at.is_some(), "an effect belongs to an open record");
        words::put(&mut self.bytes, db, words);
    }

    /// Adds whole effects to the open record, as [`words::put`] has put them.
    #[inline]
    pub fn effects(&mut self, bytes: &[u8]) {
        debug_assert!(self.open_at.is_some(), "effects belong to an open record");
        self.bytes.extend_from_slice(bytes);
    }

    /// Lends the buffer, so that effects are put behind the open record's where they are to be. Nothing else may be done with the
    /// records until it is back.
    pub fn lend(&mut self) -> Vec<u8> {
        assert!(self.open_at.is_some() && !self.is_lent(), "effects belong to an open record");
        self.lent = Some(self.bytes.len());
        std::mem::take(&mut self.bytes)
    }

    #[inline]
    pub fn is_lent(&self) -> bool {
        self.lent.is_some()
    }

    /// The buffer is back, with whole effects behind what it held, as [`words::put`] puts them.
    pub fn take_back(&mut self, bytes: Vec<u8>) {
        let lent = self.lent.take();
        assert!(lent.is_some_and(|lent| bytes.len() >= lent), "this is not what was lent");
        self.bytes = bytes;
    }

    /// Drops the record that was begun, if nothing was put into it. True if so.
    pub fn drop_empty(&mut self) -> bool {
        let is_empty = self.open_bytes() == HEADER_BYTES;
        if is_empty {
            self.bytes.truncate(self.bytes.len() - HEADER_BYTES);
            self.open_at = None;
        }
        is_empty
    }

    /// Ends the open record, for a segment with this salt, where everything up to the sequence `durable` is so.
    pub fn end(&mut self, durable: u64, salt: u32) {
        let start = self.open_at.take().expect("a record was begun");
        let body_bytes = self.bytes.len() - start - HEADER_BYTES;
        assert!(body_bytes <= BODY_BYTES_MAX, "a record of {body_bytes} bytes");
        self.bytes[start + 4..start + 8].copy_from_slice(&(body_bytes as u32).to_le_bytes());
        let sequence = u64_at(&self.bytes, start + 8);
        let behind = u32::try_from(sequence - durable).unwrap_or(NOTHING_DURABLE);
        self.bytes[start + 28..start + 32].copy_from_slice(&behind.to_le_bytes());
        let crc = crc32c::crc32c_append(salt, &self.bytes[start + 4..]);
        self.bytes[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    }

    /// Bytes of the record under construction, its header included; 0 if there is none.
    pub fn open_bytes(&self) -> usize {
        self.open_at.map_or(0, |start| self.bytes.len() - start)
    }

    pub fn is_open(&self) -> bool {
        self.open_at.is_some()
    }

    /// Bytes of ended records and of the open one.
    pub fn len(&self) -> usize {
        debug_assert!(!self.is_lent(), "what the lent buffer holds is not known");
        self.bytes.len()
    }

    /// The same, without what is being put into a buffer that is lent.
    pub fn known_bytes(&self) -> usize {
        self.lent.unwrap_or(self.bytes.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hands the ended records over. None may be open.
    pub fn take(&mut self) -> Vec<u8> {
        assert!(self.open_at.is_none() && !self.is_lent(), "an open record can't be written");
        let next = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(self.bytes.len()));
        std::mem::replace(&mut self.bytes, next)
    }

    /// Uses this buffer's memory for records to come.
    pub fn reuse(&mut self, mut buffer: Vec<u8>) {
        let spare_bytes: usize = self.spare.iter().map(Vec::capacity).sum();
        if self.spare.len() < SPARE_BUFFERS_MAX && spare_bytes + buffer.capacity() <= SPARE_BYTES_MAX {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

/// A record as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub head: Head,
    /// Everything up to this sequence was durable when the record was made; 0 if that is not known.
    pub durable: u64,
    /// The encoded effects.
    effects: &'a [u8],
    /// Bytes of the whole record.
    pub bytes: usize,
    /// Where in its file it begins, as a scan of that tells; of a sealed file, where the chunk does.
    pub at: usize,
}

impl<'a> Record<'a> {
    /// How many bytes the record at the beginning of `bytes` takes, by what it says itself. Enough for its header if that is
    /// not whole, or makes no sense.
    #[inline]
    pub(crate) fn bytes_at(bytes: &[u8], format: Format) -> usize {
        let body_bytes = bytes.get(4..8).map_or(0, |len| u32_at(len, 0) as usize);
        format.header_bytes() + if body_bytes > BODY_BYTES_MAX { 0 } else { body_bytes }
    }

    /// The record at the beginning of `bytes`; `None` if there is no whole, undamaged one.
    pub fn read(bytes: &'a [u8], format: Format) -> Option<Record<'a>> {
        let header_bytes = format.header_bytes();
        let header = bytes.get(..header_bytes)?;
        let body_bytes = u32_at(header, 4) as usize;
        if body_bytes > BODY_BYTES_MAX {
            return None;
        }
        let whole = bytes.get(..header_bytes + body_bytes)?;
        let kind = Kind::from_byte(header[24])?;
        if crc32c::crc32c_append(format.salt, &whole[4..]) != u32_at(header, 0) {
            return None;
        }
        let mut body = &whole[header_bytes..];
        let (mut transaction, mut before) = (None, None);
        match kind {
            Kind::Effects => {}
            Kind::Part => transaction = Some(read_transaction(&mut body)?),
            Kind::Mark => before = take(&mut body, 8).map(|number| u64_at(number, 0)),
        }
        let sequence = u64_at(header, 8);
        let durable = match format.tells_durable.then(|| u32_at(header, 28)) {
            None | Some(NOTHING_DURABLE) => 0,
            Some(behind) => sequence.saturating_sub(u64::from(behind)),
        };
        let head = Head {
            sequence,
            generation: u64_at(header, 16),
            shard: u16::from_le_bytes([header[26], header[27]]),
            always: header[25] & FLAG_ALWAYS != 0,
            kind,
            transaction,
            before,
        };
        Some(Record { head, durable, effects: body, bytes: whole.len(), at: 0 })
    }

    /// Whether a record of this shard and generation, with one of these sequences, may begin here: saves the work of
    /// [`Record::read`].
    pub(crate) fn may_begin(
        bytes: &[u8],
        shard: u16,
        generation: u64,
        sequences: &RangeInclusive<u64>,
    ) -> bool {
        bytes.len() >= OLD_HEADER_BYTES
            && u64_at(bytes, 16) == generation
            && bytes[26..28] == shard.to_le_bytes()
            && sequences.contains(&u64_at(bytes, 8))
    }

    /// The effects in their order. A checksum vouches for them: `Err` means that the writer was not torc.
    pub fn effects(&self) -> impl Iterator<Item = Result<Effect<'a>, Malformed>> + use<'a> {
        let mut rest = self.effects;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let effect = read_effect(&mut rest).ok_or(Malformed);
            if effect.is_err() {
                rest = &[];
            }
            Some(effect)
        })
    }
}

/// A record with a right checksum and a body that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a record's checksum is right, but its content makes no sense")
    }
}

impl std::error::Error for Malformed {}

fn read_transaction(body: &mut &[u8]) -> Option<Transaction> {
    let ticket = u64_at(take(body, 8)?, 0);
    let count = take(body, 2)?;
    let count = u16::from_le_bytes([count[0], count[1]]);
    let shards = take(body, 2 * usize::from(count))?;
    let participants = shards.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    Some(Transaction { ticket, participants })
}

fn read_effect<'a>(rest: &mut &'a [u8]) -> Option<Effect<'a>> {
    let (db, mut left) = words::read(rest)?;
    let count = left.len();
    // A word takes at least the byte of its length, so this bounds the allocation by the record's size.
    if count == 0 || count > rest.len() {
        return None;
    }
    let mut words = Words::with_capacity(count);
    words.extend(left.by_ref());
    *rest = left.rest();
    (words.len() == count).then_some(Effect { db, words })
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: u32 = 77;

    fn head(kind: Kind, transaction: Option<Transaction>) -> Head {
        Head { sequence: 7, generation: 3, shard: 2, always: true, kind, transaction, before: None }
    }

    fn words<'a>(effect: &Effect<'a>) -> Vec<&'a str> {
        effect.words.iter().map(|word| std::str::from_utf8(word).expect("ascii")).collect()
    }

    #[test]
    fn records_come_back_as_they_were_written() {
        let mut writer = RecordWriter::default();
        let effects = head(Kind::Effects, None);
        writer.begin(&effects);
        writer.effect(
            0,
            ["SET", "k", &"v".repeat(300)].into_iter().map(str::as_bytes).collect::<Vec<_>>().into_iter(),
        );
        writer.effect(15, [&b"DEL"[..], b""].into_iter());
        writer.end(5, SALT);
        let part = head(Kind::Part, Some(Transaction { ticket: u64::MAX, participants: vec![0, 2, 900] }));
        writer.begin(&part);
        writer.end(5, SALT);
        let bytes = writer.take();
        let first = Record::read(&bytes, Format::salted(SALT)).expect("a record");
        assert_eq!(first.head, effects);
        let read: Vec<_> = first.effects().map(|effect| effect.expect("well formed")).collect();
        assert_eq!((read.len(), read[0].db, read[1].db), (2, 0, 15));
        assert_eq!(words(&read[0])[..2], ["SET", "k"]);
        assert_eq!(words(&read[1]), ["DEL", ""]);
        let second = Record::read(&bytes[first.bytes..], Format::salted(SALT)).expect("a record");
        assert_eq!(second.head, part);
        assert_eq!(second.effects().count(), 0);
        let mark = Head { before: Some(1 << 40), ..head(Kind::Mark, None) };
        writer.begin(&mark);
        writer.end(0, SALT);
        let bytes_of_mark = writer.take();
        let third = Record::read(&bytes_of_mark, Format::salted(SALT)).expect("a record");
        assert_eq!((third.head.clone(), third.durable, third.effects().count()), (mark, 0, 0));
        assert_eq!((first.durable, second.durable), (5, 5));
        assert_eq!(first.bytes + second.bytes, bytes.len());
    }

    #[test]
    fn any_damage_is_noticed() {
        let mut writer = RecordWriter::default();
        writer.begin(&head(Kind::Part, Some(Transaction { ticket: 1, participants: vec![0, 2] })));
        writer.effect(0, [&b"SET"[..], b"key", b"value"].into_iter());
        writer.end(5, SALT);
        let bytes = writer.take();
        for cut in 0..bytes.len() {
            assert_eq!(Record::read(&bytes[..cut], Format::salted(SALT)), None);
        }
        for index in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[index] ^= 1 << bit;
                assert_eq!(Record::read(&damaged, Format::salted(SALT)), None, "byte {index} bit {bit}");
            }
        }
        assert_eq!(Record::read(&[0; 100], Format::salted(SALT)), None);
        assert_eq!(Record::read(&bytes, Format::salted(SALT + 1)), None);
        assert_eq!(Record::read(&bytes, Format::OLD), None);
    }

    /// Bodies with a right checksum and random content: no panic, no large allocation.
    #[test]
    fn malformed_bodies_are_errors() {
        let mut state = 1u64;
        for _ in 0..20_000 {
            let mut writer = RecordWriter::default();
            writer.begin(&head(Kind::Effects, None));
            let len = state % 40;
            for _ in 0..len {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                writer.bytes.push(state as u8);
            }
            state = state.wrapping_add(0x9e37_79b9);
            writer.end(5, SALT);
            let bytes = writer.take();
            let record = Record::read(&bytes, Format::salted(SALT)).expect("the checksum is right");
            record.effects().for_each(drop);
        }
    }
}
