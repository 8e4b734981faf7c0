//! One shard's log while it runs: what was logged, what has been handed to the disk, and what is durable.
//!
//! Owns the buffer of records and the order of writes and syncs. Does no I/O: [`ShardLog::next_action`] says what to do,
//! the caller does it on its ring and reports the outcome. Never decides what a reply waits for: it tells positions, and
//! the caller holds back what ran at a position that is not durable yet.
//!
//! At most one write and one sync are under way. Under `always` each write is of whole blocks and is durable when it ends
//! ([`crate::blocks`]), and whatever is logged meanwhile leaves with the next one: the busier the shard, the more commands
//! share a sync. Under `everysec` and `no`, a write begins a millisecond after the last one began, or when there is much to
//! write: what a busy shard logs in one turn costs less to copy than to hand over. It may end in zeros, which the next one
//! writes over. Under `everysec` a sync begins a second after the last one began.
//!
//! With keys ([`ShardLog::sealed`]) what is handed to the disk is sealed, each write once and in one file only.
//!
//! A failed write or sync is never tried again on the same file: what the kernel did with its pages is unknown then. Records
//! that are not known to be durable are kept, and move to a new segment ([`ShardLog::reopen`]), whose first sequence
//! supersedes what the old file may or may not hold.
//!
//! Every record tells how far the segment was durable when it was made, so that a start can tell what was lost from what had
//! not become durable. When nothing is logged for a second, a mark tells it of the last records: one, until there are others.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::blocks::{Blocks, WriteBytes};
use crate::record::{Head, Kind, RecordWriter, Transaction};
use crate::seal::{Keys, Sealer};
use crate::segment::SegmentHeader;

/// Bytes that were written and not synced, at which a sync begins before its time: bounds what is kept for a new segment.
pub const UNSYNCED_BYTES_MAX: u64 = 8 << 20;
/// A record is ended when it has grown to this, so that a turn with much to log does not make one of any size.
pub const RECORD_BYTES_FULL: usize = 1 << 20;
/// Between the beginnings of two writes for which nobody waits.
const WRITE_INTERVAL_US: u64 = 1_000;
/// So much is written without waiting for the interval to be over.
const WRITE_BYTES_FULL: usize = 256 << 10;
const EVERYSEC_US: u64 = 1_000_000;
/// After so long without a record a mark tells what is durable.
const MARK_US: u64 = 1_000_000;
/// Under `no` the system decides when to write back; this only bounds what is kept.
const NO_SYNC_US: u64 = 30_000_000;

/// `appendfsync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Always,
    Everysec,
    No,
}

/// A place in the stream of bytes that a shard has logged since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

impl Position {
    pub fn bytes(self) -> u64 {
        self.0
    }
}

/// Sequence of the first record of a generation.
pub const FIRST_SEQUENCE: u64 = 1;

/// The first segment of a shard in a generation. Its file must begin with `header`, durably, before the log gets it.
#[derive(Debug)]
pub struct NewSegment {
    pub shard: u16,
    pub generation: u64,
    pub file: FileNumber,
    pub header: Vec<u8>,
    salt: u32,
    sealer: Option<Sealer>,
}

impl NewSegment {
    /// `salt` is to be a random number ([`crate::seal::salt`]).
    pub fn new(shard: u16, generation: u64, file: FileNumber, salt: u32, keys: &Keys) -> NewSegment {
        let first_sequence = FIRST_SEQUENCE;
        let (header, sealer) = SegmentHeader { shard, generation, first_sequence, salt }.begin(keys);
        NewSegment { shard, generation, file, header, salt, sealer }
    }
}

/// A switch to another generation whose old segment is not written to its end yet.
#[derive(Debug)]
struct Switch {
    segment: NewSegment,
    old_generation: u64,
    old_next_sequence: u64,
    old_salt: u32,
    /// What belongs into the old segment and has not been handed out yet.
    tail: Option<Block>,
}

/// Names a segment file to the caller: the n-th that this shard has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileNumber(pub u64);

/// What the caller has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write these bytes, which are whole blocks and to be made durable if `then_sync` is set. Report to
    /// [`ShardLog::write_ended`], then [`ShardLog::sync_ended`] if asked for.
    Write { file: FileNumber, offset: u64, bytes: WriteBytes, then_sync: bool },
    /// Make what was written durable. Report to [`ShardLog::sync_ended`].
    Sync { file: FileNumber },
}

/// Why the log can't go on with its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// "write" or "fdatasync".
    pub call: &'static str,
    pub error: io::ErrorKind,
    pub os_error: Option<i32>,
}

/// Records on their way to the disk.
#[derive(Clone, Debug)]
struct Block {
    /// The records, and behind them zeros of the write that puts them into the file.
    bytes: Arc<Vec<u8>>,
    records_bytes: usize,
    first_sequence: u64,
    last_sequence: u64,
    end: Position,
    /// Bytes that it takes in the file.
    file_bytes: usize,
    /// Bytes of the write that puts it there.
    write_bytes: usize,
}

impl Block {
    fn records(&self) -> &[u8] {
        &self.bytes[..self.records_bytes]
    }
}

/// A segment in place of one that failed.
#[derive(Debug)]
struct Reopening {
    sealer: Option<Sealer>,
    blocks: Blocks,
    /// It holds everything up to here.
    end: Position,
    next_sequence: u64,
}

/// One shard's log.
#[derive(Debug)]
pub struct ShardLog {
    shard: u16,
    generation: u64,
    policy: Policy,
    records: RecordWriter,
    /// Sequence of the next record to begin.
    next_sequence: u64,
    /// Sequence of the first record in `records`.
    buffered_from: u64,
    /// Of this generation's records, what is durable up to this sequence.
    durable_sequence: u64,
    /// Nothing was logged since the last mark, or nothing at all.
    ends_in_mark: bool,
    /// What `ends_in_mark` was when the buffer was lent.
    lent_after_mark: bool,
    /// The last mark is wanted at once.
    is_finishing: bool,
    salt: u32,
    file: FileNumber,
    /// Where the next write goes.
    file_bytes: u64,
    /// The end of the file.
    blocks: Blocks,
    taken: Position,
    written: Position,
    durable: Position,
    writing: Option<Block>,
    /// Written, not durable, oldest first.
    unsynced: VecDeque<Block>,
    /// What the sync under way makes durable.
    syncing: Option<Position>,
    sync_began_us: u64,
    /// When the next write for which nobody waits may begin.
    next_write_us: u64,
    failure: Option<Failure>,
    keys: Keys,
    /// What the current segment begins with.
    file_header: Vec<u8>,
    /// Seals the current segment.
    sealer: Option<Sealer>,
    /// The segment that [`ShardLog::reopen`] made last.
    reopening: Option<Reopening>,
    switch: Option<Box<Switch>>,
}

impl ShardLog {
    /// A log that goes on at `next_sequence` in a new segment, whose header ([`ShardLog::file_header`]) the caller writes
    /// and makes durable before anything else.
    pub fn new(
        shard: u16,
        generation: u64,
        next_sequence: u64,
        file: FileNumber,
        policy: Policy,
    ) -> ShardLog {
        let header = SegmentHeader { shard, generation, first_sequence: next_sequence, salt: 0 };
        let file_header = header.to_bytes().to_vec();
        ShardLog {
            shard,
            generation,
            policy,
            records: RecordWriter::default(),
            next_sequence,
            buffered_from: next_sequence,
            durable_sequence: next_sequence - 1,
            ends_in_mark: true,
            lent_after_mark: true,
            is_finishing: false,
            salt: 0,
            file,
            file_bytes: file_header.len() as u64,
            blocks: Blocks::of(&file_header),
            taken: Position(0),
            written: Position(0),
            durable: Position(0),
            writing: None,
            unsynced: VecDeque::new(),
            syncing: None,
            sync_began_us: 0,
            next_write_us: 0,
            failure: None,
            keys: Keys::default(),
            file_header,
            sealer: None,
            reopening: None,
            switch: None,
        }
    }

    /// A log that begins in a new segment.
    pub fn begin_in(segment: NewSegment, policy: Policy, keys: &Keys) -> ShardLog {
        let NewSegment { shard, generation, file, header, salt, sealer } = segment;
        let mut log = ShardLog::new(shard, generation, FIRST_SEQUENCE, file, policy);
        log.salt = salt;
        log.keys = keys.clone();
        log.file_bytes = header.len() as u64;
        log.blocks = Blocks::of(&header);
        (log.file_header, log.sealer) = (header, sealer);
        log
    }

    /// From the next record on, everything goes into a new segment of another generation: the cut of a rewrite. What was
    /// logged before still goes into the old one, and is durable there before the new one is written to.
    pub fn switch_to(&mut self, segment: NewSegment) {
        assert!(self.switch.is_none(), "one switch at a time");
        self.end_record();
        let tail = (!self.records.is_empty()).then(|| self.take_block());
        let Self { generation: old_generation, next_sequence: old_next_sequence, salt: old_salt, .. } = *self;
        self.generation = segment.generation;
        self.salt = segment.salt;
        self.next_sequence = FIRST_SEQUENCE;
        self.buffered_from = FIRST_SEQUENCE;
        self.durable_sequence = FIRST_SEQUENCE - 1;
        self.switch = Some(Box::new(Switch { segment, old_generation, old_next_sequence, old_salt, tail }));
        self.begin(Kind::Mark, None, Some(old_next_sequence - 1));
        self.end_record();
    }

    /// The old segment is written to its end, and durable.
    fn end_switch(&mut self) {
        let Switch { segment, .. } = *self.switch.take().expect("a switch is under way");
        self.file = segment.file;
        self.file_bytes = segment.header.len() as u64;
        self.blocks = Blocks::of(&segment.header);
        (self.file_header, self.sealer) = (segment.header, segment.sealer);
    }

    /// Whether records still go into the segment of an earlier generation.
    pub fn is_switching(&self) -> bool {
        self.switch.is_some()
    }

    /// Seals this segment and all that follow, if these keys seal. Only before anything was written.
    pub fn sealed(mut self, keys: &Keys) -> ShardLog {
        assert_eq!(self.taken, Position(0), "the segment has plain records");
        self.keys = keys.clone();
        self.begin_segment();
        self
    }

    /// The segment that is written to.
    pub fn file(&self) -> FileNumber {
        self.file
    }

    /// What the current segment has to begin with.
    pub fn file_header(&self) -> &[u8] {
        &self.file_header
    }

    /// The current segment is a new one, and empty.
    fn begin_segment(&mut self) -> SegmentHeader {
        let header = SegmentHeader {
            shard: self.shard,
            generation: self.generation,
            first_sequence: self.buffered_from,
            salt: self.salt,
        };
        (self.file_header, self.sealer) = header.begin(&self.keys);
        self.file_bytes = self.file_header.len() as u64;
        self.blocks = Blocks::of(&self.file_header);
        header
    }

    /// Logs a change to data of this shard. Changes that follow each other share a record.
    #[inline]
    pub fn effect<'w>(&mut self, db: u32, words: impl ExactSizeIterator<Item = &'w [u8]>) {
        if !self.records.is_open() {
            self.begin(Kind::Effects, None, None);
        }
        self.records.effect(db, words);
        if self.records.open_bytes() >= RECORD_BYTES_FULL {
            self.end_record();
        }
    }

    /// Logs changes that follow each other, in the encoding of [`torc_datatypes::words`]: no more than [`RECORD_BYTES_FULL`] bytes
    /// at once, or a single one.
    pub fn effects(&mut self, bytes: &[u8]) {
        if !self.records.is_open() {
            self.begin(Kind::Effects, None, None);
        }
        self.records.effects(bytes);
        if self.records.open_bytes() >= RECORD_BYTES_FULL {
            self.end_record();
        }
    }

    /// Lends the buffer of records: effects of plain changes are put behind what it holds, in the encoding of
    /// [`torc_datatypes::words`], with no copy in between. Until it is back ([`ShardLog::take_back`]) nothing else may be asked of
    /// the log. `None` while there is nothing to lend: a record is under construction.
    pub fn lend(&mut self) -> Option<Vec<u8>> {
        if self.records.is_open() {
            return None;
        }
        self.lent_after_mark = self.ends_in_mark;
        self.begin(Kind::Effects, None, None);
        Some(self.records.lend())
    }

    #[inline]
    pub fn is_lent(&self) -> bool {
        self.records.is_lent()
    }

    /// What was lent is back. The record is open if something was put there.
    pub fn take_back(&mut self, bytes: Vec<u8>) {
        self.records.take_back(bytes);
        if self.records.drop_empty() {
            self.next_sequence -= 1;
            self.ends_in_mark = self.lent_after_mark;
        }
    }

    /// Logs several changes that only count together.
    pub fn group<'w, I>(&mut self, effects: impl IntoIterator<Item = (u32, I)>)
    where
        I: ExactSizeIterator<Item = &'w [u8]>,
    {
        self.end_record();
        self.begin(Kind::Effects, None, None);
        effects.into_iter().for_each(|(db, words)| self.records.effect(db, words));
        self.end_record();
    }

    /// Logs this shard's part of a transaction over several shards.
    pub fn part<'w, I>(&mut self, transaction: Transaction, effects: impl IntoIterator<Item = (u32, I)>)
    where
        I: ExactSizeIterator<Item = &'w [u8]>,
    {
        self.end_record();
        self.begin(Kind::Part, Some(transaction), None);
        effects.into_iter().for_each(|(db, words)| self.records.effect(db, words));
        self.end_record();
    }

    /// Ends the record of this turn. What was logged may be written from now on.
    pub fn end_record(&mut self) {
        if self.records.is_open() {
            self.records.end(self.durable_sequence, self.salt);
        }
    }

    fn begin(&mut self, kind: Kind, transaction: Option<Transaction>, before: Option<u64>) {
        self.ends_in_mark = kind == Kind::Mark;
        let head = Head {
            sequence: self.next_sequence,
            generation: self.generation,
            shard: self.shard,
            always: self.policy == Policy::Always,
            kind,
            transaction,
            before,
        };
        self.next_sequence += 1;
        self.records.begin(&head);
    }

    /// The end of all that was logged.
    #[inline]
    pub fn position(&self) -> Position {
        Position(self.taken.0 + self.records.len() as u64)
    }

    /// Everything before this is durable.
    #[inline]
    pub fn durable(&self) -> Position {
        self.durable
    }

    /// Everything before this was handed to the system.
    pub fn written_to(&self) -> Position {
        self.written
    }

    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// Bytes of the current segment that were written.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Bytes that have not been handed to the system yet, but for what is being put into a buffer that is lent.
    pub fn unwritten_bytes(&self) -> u64 {
        self.taken.0 + self.records.known_bytes() as u64 - self.written.0
    }

    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// The log does not go on before it is reopened.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Another policy from the next record on. A change to `always` needs [`ShardLog::durable`] to reach
    /// [`ShardLog::position`] on *all* shards before the first transaction is logged under it.
    pub fn set_policy(&mut self, policy: Policy) {
        self.end_record();
        self.policy = policy;
    }

    /// What to do now, if anything. Ends the open record.
    pub fn next_action(&mut self, now_us: u64) -> Option<Action> {
        self.end_record();
        if self.failure.is_some() {
            return None;
        }
        if let Some(switch) = &self.switch
            && switch.tail.is_none()
            && !self.is_busy()
            && self.unsynced.is_empty()
        {
            self.end_switch();
        }
        let wants_write = match &self.switch {
            None => !self.records.is_empty() && self.write_is_due(now_us),
            Some(switch) => switch.tail.is_some(),
        };
        if wants_write && self.may_write() {
            return Some(self.start_write(now_us));
        }
        if self.wants_mark() && (self.is_finishing || now_us >= self.sync_began_us + MARK_US) {
            return Some(self.start_mark(now_us));
        }
        let unsynced = self.written > self.durable || (self.switch.is_some() && !self.unsynced.is_empty());
        let is_due = self.sync_is_due(now_us) || self.switch.is_some();
        if unsynced && self.syncing.is_none() && is_due {
            self.syncing = Some(self.written);
            self.sync_began_us = now_us;
            return Some(Action::Sync { file: self.file });
        }
        None
    }

    /// When [`ShardLog::next_action`] may have something to do although nothing happens until then (monotonic us).
    pub fn next_action_us(&self) -> Option<u64> {
        if self.failure.is_some() {
            return None;
        }
        let is_switching = self.switch.is_some() && (self.is_busy() || !self.unsynced.is_empty());
        let writes = self.may_write() && !is_switching && !self.records.is_empty();
        let syncs = self.syncing.is_none() && self.written > self.durable;
        let write_us = writes.then_some(self.next_write_us);
        let sync_us = syncs.then(|| self.sync_began_us + self.sync_interval_us());
        let mark_us = self.wants_mark().then(|| self.sync_began_us + MARK_US);
        [write_us, sync_us, mark_us].into_iter().flatten().min()
    }

    /// Everything is durable, and no record tells so.
    fn wants_mark(&self) -> bool {
        !self.ends_in_mark
            && self.failure.is_none()
            && self.switch.is_none()
            && !self.is_busy()
            && self.records.is_empty()
            && self.unsynced.is_empty()
    }

    /// The log ends: everything is to be durable at once, and told to be so.
    pub fn finish(&mut self) {
        self.set_policy(Policy::Always);
        self.is_finishing = true;
    }

    /// Nothing is to be done any more, or nothing can be.
    pub fn is_finished(&self) -> bool {
        let is_whole = self.durable == self.position() && !self.wants_mark();
        !self.is_busy() && (self.failure.is_some() || is_whole)
    }

    fn syncs_each_write(&self) -> bool {
        self.policy == Policy::Always
    }

    fn may_write(&self) -> bool {
        self.writing.is_none() && !(self.syncs_each_write() && self.syncing.is_some())
    }

    fn write_is_due(&self, now_us: u64) -> bool {
        self.syncs_each_write() || now_us >= self.next_write_us || self.records.len() >= WRITE_BYTES_FULL
    }

    fn sync_interval_us(&self) -> u64 {
        match self.policy {
            Policy::Always => 0,
            Policy::Everysec => EVERYSEC_US,
            Policy::No => NO_SYNC_US,
        }
    }

    fn sync_is_due(&self, now_us: u64) -> bool {
        now_us >= self.sync_began_us + self.sync_interval_us()
            || self.written.0 - self.durable.0 >= UNSYNCED_BYTES_MAX
    }

    /// The records that are in the buffer, as a block.
    fn take_block(&mut self) -> Block {
        let bytes = Arc::new(self.records.take());
        let records_bytes = bytes.len();
        self.taken.0 += records_bytes as u64;
        let block = Block {
            bytes,
            records_bytes,
            first_sequence: self.buffered_from,
            last_sequence: self.next_sequence - 1,
            end: self.taken,
            file_bytes: 0,
            write_bytes: 0,
        };
        self.buffered_from = self.next_sequence;
        block
    }

    fn start_write(&mut self, now_us: u64) -> Action {
        let tail = self.switch.as_mut().and_then(|switch| switch.tail.take());
        let block = tail.unwrap_or_else(|| self.take_block());
        self.write_block(block, now_us)
    }

    /// Nobody waits for a mark, so it does not move the position, and nothing syncs for its sake.
    fn start_mark(&mut self, now_us: u64) -> Action {
        self.begin(Kind::Mark, None, None);
        self.end_record();
        let position = self.taken;
        let mut block = self.take_block();
        self.taken = position;
        block.end = position;
        self.write_block(block, now_us)
    }

    fn write_block(&mut self, mut block: Block, now_us: u64) -> Action {
        let mut sealed = self.sealer.as_mut().map(|sealer| Arc::new(sealed(sealer, &block.bytes)));
        let in_file = sealed.as_mut().unwrap_or(&mut block.bytes);
        block.file_bytes = in_file.len();
        let then_sync = self.syncs_each_write();
        let (offset, bytes) = if then_sync {
            self.syncing = Some(block.end);
            self.sync_began_us = now_us;
            self.blocks.append_whole(self.file_bytes, in_file)
        } else {
            self.next_write_us = now_us + WRITE_INTERVAL_US;
            let bytes = Arc::get_mut(in_file).expect("nobody writes it yet");
            self.blocks.append_filled(self.file_bytes, bytes);
            (self.file_bytes, WriteBytes::from(Arc::clone(in_file)))
        };
        block.write_bytes = bytes.len();
        self.writing = Some(block);
        Action::Write { file: self.file, offset, bytes, then_sync }
    }

    /// The write under way has ended with this many bytes, or an error. A short write is a failure like any other: the
    /// rest may not be written behind what a crash could tear off.
    pub fn write_ended(&mut self, outcome: io::Result<usize>) {
        let block = self.writing.take().expect("a write is under way");
        let end = block.end;
        let (file_bytes, expected) = (block.file_bytes, block.write_bytes);
        self.unsynced.push_back(block);
        match outcome {
            Ok(count) if count == expected => {
                self.file_bytes += file_bytes as u64;
                self.written = end;
            }
            Ok(_) => self.fail("write", &io::Error::from(io::ErrorKind::WriteZero)),
            Err(error) => self.fail("write", &error),
        }
    }

    /// The sync under way has ended.
    pub fn sync_ended(&mut self, outcome: io::Result<()>) {
        let position = self.syncing.take().expect("a sync is under way");
        if self.failure.is_some() {
            return;
        }
        match outcome {
            Ok(()) => {
                self.durable = position;
                while let Some(block) = self.unsynced.front()
                    && block.end <= position
                {
                    let block = self.unsynced.pop_front().expect("it is there");
                    // Until a switch is over, only what belongs to the old generation is written.
                    if self.switch.is_none() {
                        self.durable_sequence = block.last_sequence;
                    }
                    if let Ok(buffer) = Arc::try_unwrap(block.bytes) {
                        self.records.reuse(buffer);
                    }
                }
            }
            Err(error) => self.fail("fdatasync", &error),
        }
    }

    fn fail(&mut self, call: &'static str, error: &io::Error) {
        self.failure.get_or_insert(Failure { call, error: error.kind(), os_error: error.raw_os_error() });
    }

    /// Whether operations on the current file are still under way.
    pub fn is_busy(&self) -> bool {
        self.writing.is_some() || self.syncing.is_some()
    }

    /// What a new segment has to begin with after a failure, once nothing is under way any more: its header, and every
    /// record that is not known to be durable. When the caller has written and synced it and the manifest lists it,
    /// [`ShardLog::reopened`] goes on there.
    pub fn reopen(&mut self) -> (SegmentHeader, Vec<u8>) {
        assert!(!self.is_busy(), "operations on the old segment are under way");
        self.end_record();
        let (generation, buffered_from, salt) = match &self.switch {
            None => (self.generation, self.buffered_from, self.salt),
            Some(switch) => (switch.old_generation, switch.old_next_sequence, switch.old_salt),
        };
        let tail = self.switch.as_ref().and_then(|switch| switch.tail.as_ref());
        let first_sequence =
            self.unsynced.front().or(tail).map_or(buffered_from, |block| block.first_sequence);
        let header = SegmentHeader { shard: self.shard, generation, first_sequence, salt };
        let (mut bytes, mut sealer) = header.begin(&self.keys);
        for block in self.unsynced.iter().chain(tail) {
            match &mut sealer {
                None => bytes.extend_from_slice(block.records()),
                Some(sealer) => sealer.seal(block.records(), &mut bytes),
            }
        }
        let blocks = Blocks::of(&bytes);
        let (end, next_sequence) = (self.taken, self.buffered_from);
        self.reopening = Some(Reopening { sealer, blocks, end, next_sequence });
        (header, bytes)
    }

    /// The new segment of [`ShardLog::reopen`] is durable, `file_bytes` long, and listed in the manifest.
    pub fn reopened(&mut self, file: FileNumber, file_bytes: u64) {
        let Reopening { sealer, blocks, end, next_sequence } =
            self.reopening.take().expect("it was made by reopen");
        self.failure = None;
        self.file = file;
        self.file_bytes = file_bytes;
        (self.sealer, self.blocks) = (sealer, blocks);
        self.unsynced.clear();
        match &mut self.switch {
            None => self.durable_sequence = next_sequence - 1,
            // A switch that has begun meanwhile has left records that are in neither file.
            Some(switch) => switch.tail = switch.tail.take().filter(|tail| tail.end > end),
        }
        self.written = end;
        self.durable = end;
    }
}

fn sealed(sealer: &mut Sealer, bytes: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::new();
    sealer.seal(bytes, &mut sealed);
    sealed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::{self, HEADER_BYTES};

    /// Effects that are put into the log's own buffer make the record that they would have made otherwise; none leave no trace.
    #[test]
    fn effects_in_the_lent_buffer_are_a_record() {
        let words = [&b"SET"[..], b"k", b"v"];
        let (mut expected, mut lends) = (log(Policy::Everysec), log(Policy::Everysec));
        for count in [0, 1, 0, 0, 3, 1, 0] {
            (0..count).for_each(|_| expected.effect(0, words.into_iter()));
            expected.end_record();
            let unwritten_bytes = lends.unwritten_bytes();
            let mut buffer = lends.lend().expect("no record is open");
            assert!(lends.is_lent());
            (0..count).for_each(|_| torc_datatypes::words::put(&mut buffer, 0, words));
            assert!(lends.unwritten_bytes() <= unwritten_bytes + HEADER_BYTES as u64);
            lends.take_back(buffer);
            if count > 0 {
                assert!(lends.lend().is_none(), "a record is open");
            }
            lends.end_record();
            let state =
                |log: &ShardLog| (log.position(), log.next_sequence(), log.wants_mark(), log.ends_in_mark);
            assert_eq!(state(&lends), state(&expected));
        }
        assert_eq!(lends.next_action(0), expected.next_action(0));
    }

    /// What was logged before a switch is durable in the old segment before the new one is written to.
    #[test]
    fn a_switch_ends_the_old_segment_first() {
        for policy in [Policy::Always, Policy::Everysec] {
            let mut log = log(policy);
            set(&mut log, "1");
            let (bytes, _, then_sync) = write(&mut log, 0);
            set(&mut log, "2");
            log.switch_to(NewSegment::new(0, 2, FileNumber(9), 3, &Keys::default()));
            set(&mut log, "3");
            let position = log.position();
            log.write_ended(Ok(bytes.len()));
            if then_sync {
                log.sync_ended(Ok(()));
            }
            let mut files = Vec::new();
            let mut now_us = 1;
            while log.durable() < position {
                now_us += 2_000_000;
                match log.next_action(now_us).expect("there is more to do") {
                    Action::Write { file, bytes, then_sync, .. } => {
                        files.push((file, String::from_utf8_lossy(&bytes).contains('3')));
                        log.write_ended(Ok(bytes.len()));
                        if then_sync {
                            log.sync_ended(Ok(()));
                        }
                    }
                    Action::Sync { .. } => log.sync_ended(Ok(())),
                }
            }
            assert_eq!(files, [(FileNumber(1), false), (FileNumber(9), true)], "{policy:?}");
            assert!(!log.is_switching());
            assert_eq!(
                (log.generation, log.next_sequence()),
                (2, FIRST_SEQUENCE + 2),
                "a mark, and a record"
            );
        }
    }

    fn log(policy: Policy) -> ShardLog {
        ShardLog::new(0, 1, 10, FileNumber(1), policy)
    }

    fn set(log: &mut ShardLog, value: &str) {
        log.effect(0, [&b"SET"[..], b"k", value.as_bytes()].into_iter());
    }

    fn write(log: &mut ShardLog, now_us: u64) -> (WriteBytes, u64, bool) {
        match log.next_action(now_us) {
            Some(Action::Write { offset, bytes, then_sync, .. }) => (bytes, offset, then_sync),
            other => panic!("expected a write, got {other:?}"),
        }
    }

    #[test]
    fn always_syncs_each_write_and_groups_what_comes_meanwhile() {
        let mut log = log(Policy::Always);
        assert_eq!(log.next_action(0), None);
        set(&mut log, "1");
        log.end_record();
        let first = log.position();
        let (bytes, offset, then_sync) = write(&mut log, 0);
        assert_eq!((offset, then_sync), (0, true), "whole blocks");
        let written = |bytes: &[u8]| segment::scan(bytes, Keys::none(), |_| {}).expect("a segment").records;
        assert_eq!(written(&bytes), 1);
        set(&mut log, "2");
        set(&mut log, "3");
        assert_eq!(log.next_action(1), None, "one pair at a time");
        let len = bytes.len();
        log.write_ended(Ok(len));
        assert_eq!(log.next_action(1), None, "its sync is under way");
        assert!(log.durable() < first);
        log.sync_ended(Ok(()));
        assert_eq!(log.durable(), first);
        let (bytes, offset, _) = write(&mut log, 2);
        assert_eq!((offset, written(&bytes)), (0, 2));
    }

    #[test]
    fn everysec_syncs_once_a_second_beside_the_writes() {
        let mut log = log(Policy::Everysec);
        set(&mut log, "1");
        let (bytes, _, then_sync) = write(&mut log, 1_000_000);
        assert!(!then_sync);
        log.write_ended(Ok(bytes.len()));
        assert_eq!(log.next_action(1_000_000), Some(Action::Sync { file: FileNumber(1) }));
        set(&mut log, "2");
        let (bytes, ..) = write(&mut log, 1_100_000);
        log.sync_ended(Ok(()));
        log.write_ended(Ok(bytes.len()));
        assert_eq!(log.next_action(1_900_000), None);
        assert_eq!(log.next_action_us(), Some(2_000_000));
        assert_eq!(log.next_action(2_000_000), Some(Action::Sync { file: FileNumber(1) }));
        log.sync_ended(Ok(()));
        assert_eq!(log.durable(), log.position());
        assert_eq!(log.next_action_us(), Some(3_000_000), "then a mark");
    }

    #[test]
    fn what_nobody_waits_for_is_written_once_a_millisecond_or_in_large_pieces() {
        for (policy, waits) in [(Policy::Everysec, true), (Policy::No, true), (Policy::Always, false)] {
            let mut log = log(policy);
            let end_write = |log: &mut ShardLog, now_us| {
                let (bytes, _, then_sync) = write(log, now_us);
                log.write_ended(Ok(bytes.len()));
                if then_sync {
                    log.sync_ended(Ok(()));
                }
            };
            set(&mut log, "1");
            end_write(&mut log, 5_000);
            set(&mut log, "2");
            if waits {
                assert_eq!((log.next_action(5_999), log.next_action_us()), (None, Some(6_000)), "{policy:?}");
            }
            end_write(&mut log, if waits { 6_000 } else { 5_999 });
            set(&mut log, &"3".repeat(WRITE_BYTES_FULL));
            end_write(&mut log, 6_001);
            set(&mut log, "4");
            if waits {
                assert_eq!(log.next_action(6_002), None);
                log.set_policy(Policy::Always);
            }
            end_write(&mut log, 6_002);
        }
    }

    /// After a short write the new segment begins with what the old one may lack, and supersedes what it has.
    #[test]
    fn records_that_may_be_lost_move_to_a_new_segment() {
        let mut log = log(Policy::Everysec);
        let mut old =
            SegmentHeader { shard: 0, generation: 1, first_sequence: 10, salt: 0 }.to_bytes().to_vec();
        set(&mut log, "durable");
        let (bytes, ..) = write(&mut log, 1_000_000);
        old.extend_from_slice(&bytes);
        log.write_ended(Ok(bytes.len()));
        log.next_action(1_000_000);
        log.sync_ended(Ok(()));
        set(&mut log, "written");
        let (bytes, ..) = write(&mut log, 1_100_000);
        old.extend_from_slice(&bytes);
        log.write_ended(Ok(bytes.len()));
        set(&mut log, "torn");
        let (bytes, ..) = write(&mut log, 1_200_000);
        old.extend_from_slice(&bytes[..10]);
        log.write_ended(Ok(10));
        assert_eq!(log.failure().map(|failure| failure.call), Some("write"));
        set(&mut log, "later");
        assert_eq!(log.next_action(9_000_000), None, "nothing is tried again on this file");
        let (header, new) = log.reopen();
        assert_eq!(header.first_sequence, 11);
        log.reopened(FileNumber(2), new.len() as u64);
        let (bytes, offset, _) = write(&mut log, 9_000_000);
        assert_eq!(offset, new.len() as u64);
        let new = [new, bytes.to_vec()].concat();
        let sequences = |bytes: &[u8]| {
            let mut sequences = Vec::new();
            segment::scan(bytes, Keys::none(), |record| sequences.push(record.head.sequence))
                .expect("a segment");
            sequences
        };
        assert_eq!(sequences(&old), [10, 11]);
        assert_eq!(sequences(&new), [11, 12, 13]);
    }

    #[test]
    fn a_failed_sync_is_final_for_the_file() {
        let mut log = log(Policy::Always);
        set(&mut log, "1");
        let (bytes, ..) = write(&mut log, 0);
        log.write_ended(Ok(bytes.len()));
        log.sync_ended(Err(io::Error::from_raw_os_error(5)));
        assert_eq!(log.failure().and_then(|failure| failure.os_error), Some(5));
        assert_eq!(log.durable(), Position(0));
        assert_eq!(log.next_action(10_000_000), None);
    }

    #[test]
    fn a_new_generation_begins_with_a_segment_of_its_own() {
        let mut log = log(Policy::Everysec);
        set(&mut log, "1");
        let (bytes, ..) = write(&mut log, 0);
        log.write_ended(Ok(bytes.len()));
        assert!(matches!(log.next_action(2_000_000), Some(Action::Sync { .. })));
        log.sync_ended(Ok(()));
        let segment = NewSegment::new(0, 2, FileNumber(2), 3, Keys::none());
        let header = segment.header.clone();
        let expected = SegmentHeader { shard: 0, generation: 2, first_sequence: FIRST_SEQUENCE, salt: 3 };
        assert_eq!(SegmentHeader::read(&header).expect("a header"), expected);
        log.switch_to(segment);
        set(&mut log, "2");
        let (bytes, offset, _) = write(&mut log, 2_000_000);
        assert_eq!(offset, HEADER_BYTES as u64);
        let scan =
            segment::scan(&[&header[..], &bytes].concat()[..], Keys::none(), |_| {}).expect("a segment");
        assert_eq!(scan.records, 2);
    }
}
