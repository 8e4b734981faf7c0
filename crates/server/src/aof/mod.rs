//! The append-only file of the whole server: which files it consists of, and what is known of it.
//!
//! Owns the folder and its manifest for the process, and the account that INFO shows. Touched when segments begin, when a
//! rewrite ends, and ten times a second; never per command: the log of a shard is that shard's (`shard::logging`), and its
//! writes go through that shard's ring. All calls that touch the disk block, and belong to threads beside the shards.

mod foreign;
pub mod load;
pub(crate) mod replay;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use torc_commands::SlotMap;
use torc_keyspace::SLOTS;
use torc_persist::blocks;
use torc_persist::log::{FIRST_SEQUENCE, FileNumber, NewSegment, Policy};
use torc_persist::manifest::{Generation, Manifest, SegmentFile, SlotRange};
use torc_persist::rewrite;
use torc_persist::seal::{self, Keys};
use torc_persist::segment::SegmentHeader;
use torc_persist::store::{Directory, Store};

use crate::config::Config;
use crate::packet::ShardId;

/// A segment that is ready to be written to.
#[derive(Debug)]
pub struct OpenSegment {
    pub segment: NewSegment,
    pub file: SegmentFd,
}

/// A segment, open for writing.
#[derive(Debug)]
pub struct SegmentFd {
    pub buffered: OwnedFd,
    /// The same past the page cache, if the file system can: for writes of whole blocks that are durable when they end.
    pub direct: Option<OwnedFd>,
}

#[cfg(test)]
impl SegmentFd {
    /// What is written there is gone.
    pub(crate) fn nowhere() -> SegmentFd {
        let null = OpenOptions::new().write(true).open("/dev/null").expect("there is one");
        SegmentFd { buffered: null.into(), direct: None }
    }
}

/// The append-only file.
#[derive(Debug)]
pub struct Aof {
    files: Mutex<Option<Files>>,
    state: Mutex<State>,
    shards: Box<[ShardState]>,
    /// Clients that wait for logs to become durable.
    waiting: AtomicUsize,
    /// How often that changed for which they may wait.
    changes: AtomicU64,
}

/// A moment: how far the logs of all shards were then.
#[derive(Debug)]
pub struct LogMark {
    pub positions: Vec<u64>,
    /// [`State::switched_off`] then.
    pub switched_off: u64,
}

/// Whether a moment is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    NotYet,
    Durable,
    /// Nobody will ever know: the log was switched off.
    SwitchedOff,
}

/// What a shard tells of its log at each tick.
#[derive(Debug, Default)]
struct ShardState {
    segment_bytes: AtomicU64,
    buffered_bytes: AtomicU64,
    logged_to: AtomicU64,
    written_to: AtomicU64,
    durable_to: AtomicU64,
    /// What it logged before the last cut is not in its old segment yet.
    is_switching: AtomicBool,
    /// Its clients that wait for logs to become durable.
    waiting: AtomicUsize,
    /// A sync for which nobody waits is under way.
    is_syncing: AtomicBool,
    /// Such syncs that had not ended when the next one was due.
    late_syncs: AtomicU64,
}

/// What INFO shows.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub is_on: bool,
    /// How often the log was switched off: what is known of positions before that means nothing after.
    pub switched_off: u64,
    pub rewrites: u64,
    pub rewrite_began_ms: Option<i64>,
    /// A rewrite is wanted as soon as no snapshot is written.
    pub is_scheduled: bool,
    pub last_rewrite_took_s: Option<i64>,
    /// Rewrites that have failed since the last one that has not.
    pub failed_rewrites: u64,
    /// Bytes that the last rewrite held in memory at most.
    pub last_held_bytes: u64,
    /// Shards whose log can't be written, and why ([`Aof::note_failure`]).
    failing: BTreeMap<ShardId, String>,
    /// Bytes after the last rewrite, or at the start.
    pub base_bytes: u64,
    /// Bytes of files that are written no more.
    closed_bytes: u64,
    /// The log that is written has no base yet, and so does not count.
    pub needs_base: bool,
    /// When the last rewrite ended (unix ms).
    pub last_try_ms: i64,
}

impl State {
    pub fn last_rewrite_failed(&self) -> bool {
        self.failed_rewrites > 0
    }

    /// Why the log can't be written; writes are refused while it is so.
    pub fn failure(&self) -> Option<&String> {
        self.failing.values().next()
    }
}

/// The folder with its manifest.
#[derive(Debug)]
struct Files {
    directory: Directory,
    path: PathBuf,
    manifest: Manifest,
    /// Prepared and written to, but not listed before its base is there.
    coming: Option<Generation>,
    /// First part of the names of all files.
    name: String,
    last_number: u64,
}

/// The files of a generation that has not taken over yet.
#[derive(Debug)]
pub struct Prepared {
    pub generation: u64,
    pub segments: Vec<OpenSegment>,
    /// Where the base is to be written.
    pub base: PathBuf,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder panics")
}

/// `appendfsync`
pub fn policy(config: &Config) -> Policy {
    match config.appendfsync() {
        "always" => Policy::Always,
        "no" => Policy::No,
        _ => Policy::Everysec,
    }
}

impl Aof {
    pub fn new(shards: usize) -> Aof {
        Aof {
            files: Mutex::new(None),
            state: Mutex::new(State::default()),
            shards: (0..shards).map(|_| ShardState::default()).collect(),
            waiting: AtomicUsize::new(0),
            changes: AtomicU64::new(0),
        }
    }

    pub fn state(&self) -> State {
        lock(&self.state).clone()
    }

    pub fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// A shard's log, as of now.
    pub fn note(&self, shard: ShardId, segment_bytes: u64, buffered_bytes: u64) {
        let state = &self.shards[usize::from(shard)];
        state.segment_bytes.store(segment_bytes, Ordering::Relaxed);
        state.buffered_bytes.store(buffered_bytes, Ordering::Relaxed);
    }

    /// Whether a shard still writes to the segment from before the last cut.
    pub fn note_switching(&self, shard: ShardId, is_switching: bool) {
        self.shards[usize::from(shard)].is_switching.store(is_switching, Ordering::Release);
    }

    /// Whether any shard still writes to the segment from before the last cut: there is no other cut meanwhile.
    pub fn is_switching(&self) -> bool {
        self.shards.iter().any(|state| state.is_switching.load(Ordering::Acquire))
    }

    /// Why a shard's log can't be written, or that it can; gives what holds for the process, which fails while any shard does.
    pub fn note_failure(&self, shard: ShardId, reason: Option<String>) -> Option<String> {
        let mut state = lock(&self.state);
        match reason {
            Some(reason) => state.failing.insert(shard, reason),
            None => state.failing.remove(&shard),
        };
        state.failure().cloned()
    }

    /// How far a shard has logged, how far that was handed to the system, and how far it is durable. True if somebody may
    /// have waited for that.
    pub fn note_positions(&self, shard: ShardId, logged_to: u64, written_to: u64, durable_to: u64) -> bool {
        let state = &self.shards[usize::from(shard)];
        state.logged_to.store(logged_to, Ordering::Release);
        state.written_to.store(written_to, Ordering::Release);
        // Who begins to wait shows that first and then looks: one of the two sees the other.
        let has_moved = state.durable_to.swap(durable_to, Ordering::SeqCst) != durable_to;
        let is_news = has_moved && self.waiting.load(Ordering::SeqCst) > 0;
        if is_news {
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
        is_news
    }

    /// So many clients of a shard wait for logs to become durable.
    pub fn note_waiting(&self, shard: ShardId, clients: usize) {
        let before = self.shards[usize::from(shard)].waiting.swap(clients, Ordering::SeqCst);
        // The sum wraps around in between, and is right.
        self.waiting.fetch_add(clients.wrapping_sub(before), Ordering::SeqCst);
    }

    /// Shards with clients that wait for logs to become durable.
    pub fn waiting_shards(&self) -> impl Iterator<Item = ShardId> {
        let is_waiting = |state: &ShardState| state.waiting.load(Ordering::SeqCst) > 0;
        (0..).zip(&self.shards).filter(move |(_, state)| is_waiting(state)).map(|(shard, _)| shard)
    }

    /// Grows when something has changed for which clients may wait.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Whether everything that had been logged at this moment is on disk.
    pub fn reached(&self, mark: &LogMark) -> Reached {
        let state = lock(&self.state);
        if !state.is_on || state.switched_off != mark.switched_off {
            return Reached::SwitchedOff;
        }
        // What a log without a base has does not count.
        let is_durable = !state.needs_base && self.are_durable(&mark.positions);
        if is_durable { Reached::Durable } else { Reached::NotYet }
    }

    /// Whether a shard's sync, for which nobody waits, is under way.
    pub fn note_syncing(&self, shard: ShardId, is_syncing: bool) {
        self.shards[usize::from(shard)].is_syncing.store(is_syncing, Ordering::Relaxed);
    }

    /// A sync of a shard has not ended when the next one was due.
    pub fn note_late_sync(&self, shard: ShardId) {
        self.shards[usize::from(shard)].late_syncs.fetch_add(1, Ordering::Relaxed);
    }

    /// Shards whose sync is under way, and syncs that were late.
    pub fn syncs(&self) -> (usize, u64) {
        let syncing = self.shards.iter().filter(|state| state.is_syncing.load(Ordering::Relaxed)).count();
        (syncing, self.shards.iter().map(|state| state.late_syncs.load(Ordering::Relaxed)).sum())
    }

    /// Has the system got everything that the shards have noted as logged?
    pub fn is_written(&self) -> bool {
        let of = |position: &AtomicU64| position.load(Ordering::Acquire);
        self.shards.iter().all(|state| of(&state.written_to) >= of(&state.logged_to))
    }

    /// Is everything durable that these shards had logged then?
    pub fn are_durable(&self, positions: &[u64]) -> bool {
        self.shards
            .iter()
            .zip(positions)
            .all(|(state, position)| state.durable_to.load(Ordering::SeqCst) >= *position)
    }

    /// Bytes of all files that count.
    pub fn bytes(&self) -> u64 {
        let open: u64 = self.shards.iter().map(|state| state.segment_bytes.load(Ordering::Relaxed)).sum();
        open + lock(&self.state).closed_bytes
    }

    /// Bytes that wait to be written.
    pub fn buffered_bytes(&self) -> u64 {
        self.shards.iter().map(|state| state.buffered_bytes.load(Ordering::Relaxed)).sum()
    }

    /// Opens the folder, unless it is open; `dir` and the names can't change while the server runs.
    fn open(&self, config: &Config, keys: &Keys) -> io::Result<()> {
        let mut files = lock(&self.files);
        if files.is_none() {
            let path = config.dir().join(config.appenddirname());
            let directory = Directory::open(&path)?.with_keys(keys.clone());
            let manifest = Manifest::load(&directory)
                .map_err(|error| io::Error::other(error.to_string()))?
                .unwrap_or_default();
            let name = config.appendfilename().to_string();
            *files = Some(Files { directory, path, manifest, coming: None, name, last_number: 0 });
        }
        Ok(())
    }

    /// Makes the files of the next generation, and lists it in the manifest (behind what is there) if it is to follow that.
    /// Without that it takes over by [`Aof::take_over`].
    pub fn prepare(
        &self,
        config: &Config,
        slots: &SlotMap,
        keys: &Keys,
        follows: bool,
    ) -> io::Result<Prepared> {
        self.open(config, keys)?;
        let mut files = lock(&self.files);
        let files = files.as_mut().expect("it was opened above");
        let number =
            files.manifest.generations.last().map_or(0, |last| last.number).max(files.last_number) + 1;
        files.last_number = number;
        // At the start nothing is logged yet: what was recovered is the end of the generation before.
        let continues = follows && lock(&self.state).is_on;
        let generation = files.generation(number, slots, continues);
        let segments: Vec<NewSegment> = (0..slots.shards())
            .map(|shard| NewSegment::new(shard, number, FileNumber(number), seal::salt(), keys))
            .collect();
        let headers = segments.iter().map(|segment| segment.header.as_slice());
        rewrite::prepare(&mut files.directory, &generation, headers)?;
        let open = |(segment, listed): (NewSegment, &SegmentFile)| {
            let file = files.open_segment(&listed.name, &segment.header)?;
            Ok(OpenSegment { segment, file })
        };
        let segments: Vec<OpenSegment> =
            segments.into_iter().zip(&generation.segments).map(open).collect::<io::Result<_>>()?;
        if follows {
            rewrite::append(&mut files.directory, &mut files.manifest, generation)?;
        } else {
            files.coming = Some(generation);
        }
        Ok(Prepared { generation: number, segments, base: files.path.join(files.base_name(number)) })
    }

    /// The start: a new generation behind what is there. Where nothing is, `snapshot` becomes its base.
    pub fn begin(
        &self,
        config: &Config,
        slots: &SlotMap,
        keys: &Keys,
        snapshot: Option<&Path>,
    ) -> io::Result<Vec<OpenSegment>> {
        self.open(config, keys)?;
        let is_new = lock(&self.files).as_ref().is_none_or(|files| files.manifest.generations.is_empty());
        let prepared = self.prepare(config, slots, keys, !is_new || snapshot.is_none())?;
        if let Some(snapshot) = snapshot.filter(|_| is_new) {
            let base = File::create(&prepared.base)?;
            let base = seal::copy(File::open(snapshot)?, base, keys)?;
            base.sync_all()?;
            self.take_over(prepared.generation, slots)?;
        }
        let bytes = lock(&self.files).as_ref().map_or(0, Files::listed_bytes);
        self.update(|state| {
            state.is_on = true;
            (state.closed_bytes, state.base_bytes) = (bytes, bytes);
        });
        Ok(prepared.segments)
    }

    /// The start where the data come from elsewhere: the log counts when its first base is written.
    pub fn begin_without_base(
        &self,
        config: &Config,
        slots: &SlotMap,
        keys: &Keys,
    ) -> io::Result<Vec<OpenSegment>> {
        let prepared = self.prepare(config, slots, keys, false)?;
        self.update(|state| {
            state.is_on = true;
            state.needs_base = true;
        });
        Ok(prepared.segments)
    }

    /// The base of a generation is there: nothing before it is needed any more.
    pub fn take_over(&self, generation: u64, slots: &SlotMap) -> io::Result<()> {
        let mut files = lock(&self.files);
        let files = files.as_mut().expect("the generation was prepared");
        let base = files.base_name(generation);
        let coming = files.coming.clone().filter(|coming| coming.number == generation);
        let listed = coming.unwrap_or_else(|| files.generation(generation, slots, false));
        rewrite::take_over(&mut files.directory, &mut files.manifest, listed, base.clone())?;
        files.coming = None;
        rewrite::remove_older(&mut files.directory, &format!("{}.", files.name), generation)?;
        let base_bytes = std::fs::metadata(files.path.join(base)).map_or(0, |metadata| metadata.len());
        self.update(|state| {
            state.closed_bytes = base_bytes;
            state.base_bytes = base_bytes;
        });
        Ok(())
    }

    /// A new segment of a shard in the generation of `header`, in place of one that can't be written any more.
    pub fn replace_segment(
        &self,
        header: SegmentHeader,
        content: &[u8],
    ) -> io::Result<(FileNumber, SegmentFd)> {
        let mut files = lock(&self.files);
        let files = files.as_mut().ok_or_else(|| io::Error::other("there is no log"))?;
        files.last_number += 1;
        let number = files.last_number;
        let name = files.segment_name(header.generation, header.shard, number);
        rewrite::make_file(&mut files.directory, &name, content)?;
        let file = files.open_segment(&name, content)?;
        files.directory.sync_directory()?;
        let (shard, first_sequence) = (header.shard, header.first_sequence);
        let segment = SegmentFile { shard, first_sequence, name };
        if let Some(coming) = files.coming.as_mut().filter(|coming| coming.number == header.generation) {
            coming.segments.push(segment);
            return Ok((FileNumber(number), file));
        }
        let mut manifest = files.manifest.clone();
        let generation = manifest.generations.iter_mut().find(|one| one.number == header.generation);
        // What belongs to a generation that a base has replaced is in the base.
        let Some(generation) = generation else { return Ok((FileNumber(number), file)) };
        generation.segments.push(segment);
        manifest.publish(&mut files.directory)?;
        files.manifest = manifest;
        Ok((FileNumber(number), file))
    }
}

impl Files {
    fn segment_name(&self, generation: u64, shard: ShardId, number: u64) -> String {
        match number {
            0 => format!("{}.{generation}.{shard}.log", self.name),
            number => format!("{}.{generation}.{shard}.{number}.log", self.name),
        }
    }

    fn base_name(&self, generation: u64) -> String {
        format!("{}.{generation}.base.rdb", self.name)
    }

    fn generation(&self, number: u64, slots: &SlotMap, continues: bool) -> Generation {
        let segments = (0..slots.shards()).map(|shard| SegmentFile {
            shard,
            first_sequence: FIRST_SEQUENCE,
            name: self.segment_name(number, shard, 0),
        });
        Generation {
            number,
            shards: slots.shards(),
            continues,
            slots: ranges_of(slots),
            bases: Vec::new(),
            segments: segments.collect(),
        }
    }

    /// Opens a segment that consists of `content`.
    fn open_segment(&self, name: &str, content: &[u8]) -> io::Result<SegmentFd> {
        let path = self.path.join(name);
        let buffered: File = OpenOptions::new().write(true).open(&path)?;
        // Whether a file system takes direct writes of whole blocks is known when one has succeeded.
        let direct = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(&path).ok();
        let (offset, bytes) = blocks::last_block(content);
        let direct = direct.filter(|file| file.write_all_at(&bytes, offset).is_ok());
        Ok(SegmentFd { buffered: buffered.into(), direct: direct.map(Into::into) })
    }

    fn listed_bytes(&self) -> u64 {
        let bytes_of = |name| std::fs::metadata(self.path.join(name)).map_or(0, |metadata| metadata.len());
        self.manifest.files().map(bytes_of).sum()
    }
}

fn ranges_of(slots: &SlotMap) -> Vec<SlotRange> {
    let mut ranges: Vec<SlotRange> = Vec::new();
    for slot in 0..SLOTS as u16 {
        let shard = slots.owner(slot);
        match ranges.last_mut() {
            Some(range) if range.shard == shard => range.last = slot,
            _ => ranges.push(SlotRange { first: slot, last: slot, shard }),
        }
    }
    ranges
}
