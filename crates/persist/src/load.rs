//! Reading a log back: from the files that a manifest lists to the effects of each shard, in their order.
//!
//! Owns the judgement over a whole directory: which records of which files count ([`plan`]), and what is wrong with it in
//! words that name file and offset. Reads every file twice, each time through a window, so that memory is bounded by the
//! longest record. Never changes anything: the same directory gives the same plan again, also after a crash in the middle of loading.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;

use crate::left_out::{LeftOut, Why};
use crate::manifest::{Generation, Manifest, ManifestError, SlotRange};
use crate::record::{Effect, Malformed, Record};
use crate::recovery::{Cut, LogView, PartView, consistent_cut};
use crate::segment::{self, HeaderError, Scan, ScanError, Tail};
use crate::store::Store;

/// How much damage may be passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// `aof-load-truncated`: a log may end in the middle of a record.
    pub torn_tail: bool,
    /// A log may be cut at damage in what was durable. Only ever by explicit wish.
    pub hole: bool,
}

/// What is to be replayed, generation after generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub generations: Vec<GenerationPlan>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerationPlan {
    pub number: u64,
    pub shards: u16,
    pub slots: Vec<SlotRange>,
    /// Files to load before the logs.
    pub bases: Vec<String>,
    /// One per shard, independent of each other.
    pub logs: Vec<LogPlan>,
}

/// What counts of one shard's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPlan {
    pub files: Vec<FilePlan>,
    /// Records (by sequence) of transactions that are incomplete and were never acknowledged.
    pub skip: BTreeSet<u64>,
    /// What lies behind the last valid record, if it is not nothing.
    pub torn: Option<Torn>,
    /// Everything that does not count, `torn` too.
    pub left_out: Vec<LeftOut>,
}

/// Records of one file: those with sequences in `from..end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePlan {
    pub name: String,
    pub from: u64,
    pub end: u64,
    /// Where the first valid record begins and the last one ends.
    valid: Range<usize>,
}

/// Bytes at the end of a log that are no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    pub file: String,
    pub at: usize,
    pub bytes: usize,
    /// Whole records among them, behind others that are not: what the disk was writing when the power failed.
    pub records: u64,
}

impl From<Torn> for LeftOut {
    fn from(Torn { file, at, bytes, records }: Torn) -> LeftOut {
        LeftOut { file, at, bytes, records, why: Why::Torn }
    }
}

/// Why a log can't be loaded.
#[derive(Debug)]
pub enum LoadError {
    Manifest(ManifestError),
    Io {
        file: String,
        error: io::Error,
    },
    Header {
        file: String,
        error: HeaderError,
    },
    /// The file says of itself something else than the manifest.
    Foreign {
        file: String,
    },
    /// The log ends in the middle of a record, and that is not allowed.
    Torn(Torn),
    /// Damage in what was durable.
    Hole {
        file: String,
        at: usize,
        next_valid_at: usize,
    },
    /// Records between two files are missing: this one should go on to just before sequence `needed`.
    Gap {
        file: String,
        at: usize,
        needed: u64,
    },
    Malformed {
        file: String,
        sequence: u64,
    },
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LoadError::Manifest(error) => write!(f, "{error}"),
            LoadError::Io { file, error } => write!(f, "cannot read {file}: {error}"),
            LoadError::Header { file, error } => write!(f, "cannot load {file}: {error}"),
            LoadError::Foreign { file } => {
                write!(
                    f,
                    "cannot load {file}: it belongs to another shard, generation or place than the manifest says"
                )
            }
            LoadError::Torn(Torn { file, at, bytes, .. }) => write!(
                f,
                "{file} ends in the middle of a record: {bytes} bytes from offset {at} on are no record \
                 (aof-load-truncated yes would drop them)"
            ),
            LoadError::Hole { file, at, next_valid_at } => write!(
                f,
                "{file} is damaged at offset {at}, and what was there had been durable when the record at offset \
                 {next_valid_at} was written: acknowledged writes would be lost"
            ),
            LoadError::Gap { file, at, needed } => write!(
                f,
                "{file} ends or is damaged at offset {at}: its records up to sequence {} are missing, which the next \
                 file needs",
                needed.saturating_sub(1)
            ),
            LoadError::Malformed { file, sequence } => {
                write!(f, "{file}, record {sequence}: {Malformed}")
            }
        }
    }
}

impl std::error::Error for LoadError {}

/// What of this directory counts; `None` if there is no log in it.
pub fn plan(store: &impl Store, tolerance: Tolerance) -> Result<Option<Plan>, LoadError> {
    let Some(manifest) = Manifest::load(store).map_err(LoadError::Manifest)? else { return Ok(None) };
    let mut plan = Plan::default();
    let mut rest = manifest.generations.as_slice();
    while !rest.is_empty() {
        let behind_first = rest[1..].iter().take_while(|generation| generation.continues).count();
        let (run, behind) = rest.split_at(1 + behind_first);
        plan.generations.extend(plan_run(store, run, tolerance)?);
        rest = behind;
    }
    Ok(Some(plan))
}

/// Makes durable what a plan was read from. After a mere process crash some of it may be in the system's cache only; it
/// must not be shown to anybody before it can't be lost any more.
pub fn settle(store: &mut impl Store, plan: &Plan) -> Result<(), LoadError> {
    for file in plan.generations.iter().flat_map(|generation| &generation.logs).flat_map(|log| &log.files) {
        store.sync(&file.name).map_err(|error| LoadError::Io { file: file.name.clone(), error })?;
    }
    store.sync_directory().map_err(|error| LoadError::Io { file: ".".to_owned(), error })
}

/// Generations of one process, each of which goes on where the one before ends: one log per shard.
fn plan_run(
    store: &impl Store,
    run: &[Generation],
    tolerance: Tolerance,
) -> Result<Vec<GenerationPlan>, LoadError> {
    let shards = usize::from(run[0].shards);
    let mut views = vec![LogView::default(); shards];
    let mut plans: Vec<GenerationPlan> = Vec::new();
    // Records of each shard, in each generation.
    let mut records: Vec<Vec<usize>> = Vec::new();
    let mut places: Vec<Vec<Vec<PartPlace>>> = Vec::new();
    for generation in run {
        let mut logs: Vec<LogPlan> = Vec::new();
        let (mut counts, mut places_of_generation) = (Vec::new(), Vec::new());
        for shard in 0..generation.shards {
            let found = plan_log(store, generation, shard, tolerance)?;
            if !tolerance.hole {
                found.check_against(plans.iter().map(|plan| &plan.logs[usize::from(shard)]))?;
            }
            let Found { view, log, places, .. } = found;
            places_of_generation.push(places);
            let before = &mut views[usize::from(shard)];
            counts.push(view.records);
            before.parts.extend(
                view.parts.into_iter().map(|part| PartView { record: before.records + part.record, ..part }),
            );
            before.records += view.records;
            logs.push(log);
        }
        records.push(counts);
        places.push(places_of_generation);
        plans.push(GenerationPlan {
            number: generation.number,
            shards: generation.shards,
            slots: generation.slots.clone(),
            bases: generation.bases.clone(),
            logs,
        });
    }
    let Cut { keep, skip } = consistent_cut(&views);
    for shard in 0..shards {
        let mut before = 0;
        for ((plan, counts), places) in plans.iter_mut().zip(&records).zip(&places) {
            let (log, count) = (&mut plan.logs[shard], counts[shard]);
            let skipped = skip.range((shard, before)..(shard, before + count));
            let first = log.first_sequence();
            log.skip = skipped.map(|(_, record)| first + (record - before) as u64).collect();
            leave_out_parts(log, &places[shard]);
            apply_cut(log, keep[shard].saturating_sub(before).min(count), &places[shard]);
            log.left_out.extend(log.torn.clone().map(LeftOut::from));
            before += count;
        }
    }
    Ok(plans)
}

impl LogPlan {
    fn first_sequence(&self) -> u64 {
        self.files.first().map_or(0, |file| file.from)
    }

    /// Records that are replayed.
    pub fn records(&self) -> u64 {
        self.files.iter().map(|file| file.end - file.from).sum::<u64>() - self.skip.len() as u64
    }
}

/// Leaves the first `keep` records. A log is only ever cut at a part of a transaction.
fn apply_cut(log: &mut LogPlan, keep: usize, places: &[PartPlace]) {
    let end = log.first_sequence() + keep as u64;
    let cut_at = places.iter().find(|place| place.sequence == end).map_or(0, |place| place.at);
    for file in &mut log.files {
        let (from, had) = (file.from, file.end);
        file.end = file.end.min(end).max(file.from.min(end));
        file.from = file.from.min(file.end);
        if had > end {
            let at = if from < end { cut_at } else { file.valid.start };
            log.left_out.push(LeftOut {
                file: file.name.clone(),
                at,
                bytes: file.valid.end.saturating_sub(at),
                records: had - from.max(end),
                why: Why::FromPartOn,
            });
        }
    }
}

/// Accounts for the records that are skipped.
fn leave_out_parts(log: &mut LogPlan, places: &[PartPlace]) {
    for (index, file) in log.files.iter().enumerate() {
        let mut parts = places.iter().filter(|part| part.file == index && log.skip.contains(&part.sequence));
        let Some(first) = parts.next() else { continue };
        let mut left_out = LeftOut {
            file: file.name.clone(),
            at: first.at,
            bytes: first.bytes,
            records: 1,
            why: Why::Parts,
        };
        for part in parts {
            left_out.bytes += part.bytes;
            left_out.records += 1;
        }
        log.left_out.push(left_out);
    }
}

/// One shard's log in one generation.
#[derive(Default)]
struct Found {
    view: LogView,
    log: LogPlan,
    /// Of the parts in `view`.
    places: Vec<PartPlace>,
    /// The last sequence of the generation before, if this one tells.
    before: Option<u64>,
}

/// Where a part of a transaction is.
struct PartPlace {
    sequence: u64,
    /// Index of its file.
    file: usize,
    at: usize,
    bytes: usize,
}

impl Found {
    /// A segment is written to when those of the generations before are durable to their ends.
    fn check_against<'a>(&self, mut before: impl Iterator<Item = &'a LogPlan>) -> Result<(), LoadError> {
        let Some(sequence) = self.before else {
            // Segments of version 1 and 2 do not tell where that was.
            let torn = before.find_map(|log| log.torn.as_ref()).filter(|_| self.view.records > 0);
            return torn.map_or(Ok(()), |torn| Err(LoadError::Torn(torn.clone())));
        };
        let Some(last) = before.last().and_then(|log| log.files.last()) else { return Ok(()) };
        if last.end <= sequence {
            let (file, at) = (last.name.clone(), last.valid.end);
            return Err(LoadError::Gap { file, at, needed: sequence + 1 });
        }
        Ok(())
    }
}

/// The valid prefix of one shard's log.
fn plan_log(
    store: &impl Store,
    generation: &Generation,
    shard: u16,
    tolerance: Tolerance,
) -> Result<Found, LoadError> {
    let segments: Vec<_> = generation.segments.iter().filter(|segment| segment.shard == shard).collect();
    let Found { mut view, mut log, mut places, mut before } = Found::default();
    for (index, segment) in segments.iter().enumerate() {
        let file = &segment.name;
        // The next file supersedes what this one holds from there on.
        let needed = segments.get(index + 1).map(|next| next.first_sequence);
        let mut sequence = segment.first_sequence;
        let (mut begin, mut superseded_at) = (None, None);
        let scan = scan(store, file, |record| {
            before = before.or(record.head.before);
            begin = begin.or(Some(record.at));
            if needed.is_none_or(|needed| sequence < needed) {
                if let Some(transaction) = &record.head.transaction {
                    let (transaction, always) = (transaction.clone(), record.head.always);
                    view.parts.push(PartView { record: view.records, transaction, always });
                    places.push(PartPlace { sequence, file: index, at: record.at, bytes: record.bytes });
                }
                view.records += 1;
            } else {
                superseded_at = superseded_at.or(Some(record.at));
            }
            sequence += 1;
        })?;
        let valid_end = superseded_at.unwrap_or(scan.valid_bytes);
        let valid = begin.unwrap_or(valid_end)..valid_end;
        let header = scan.header;
        if (header.shard, header.generation, header.first_sequence)
            != (shard, generation.number, segment.first_sequence)
        {
            return Err(LoadError::Foreign { file: file.clone() });
        }
        let end = header.first_sequence + scan.records;
        match needed {
            Some(needed) if end < needed => {
                return Err(LoadError::Gap { file: file.clone(), at: scan.valid_bytes, needed });
            }
            Some(needed) => {
                log.files.push(FilePlan {
                    name: file.clone(),
                    from: header.first_sequence,
                    end: needed,
                    valid,
                });
            }
            None => {
                log.files.push(FilePlan { name: file.clone(), from: header.first_sequence, end, valid });
                log.torn = judge(&scan, file, tolerance)?;
            }
        }
    }
    Ok(Found { view, log, places, before })
}

/// What is behind the last record of the last file.
fn judge(scan: &Scan, file: &str, tolerance: Tolerance) -> Result<Option<Torn>, LoadError> {
    let at = scan.valid_bytes;
    let records = if let Tail::Torn { records } = scan.tail { records } else { 0 };
    let torn = Torn { file: file.to_owned(), at, bytes: scan.bytes - at, records };
    match scan.tail {
        Tail::Clean => Ok(None),
        Tail::Torn { .. } if tolerance.torn_tail => Ok(Some(torn)),
        Tail::Torn { .. } => Err(LoadError::Torn(torn)),
        Tail::Hole { .. } if tolerance.hole => Ok(Some(torn)),
        Tail::Hole { next_valid_at } => Err(LoadError::Hole { file: file.to_owned(), at, next_valid_at }),
    }
}

/// Hands the effects of one file of a log to `apply`, in their order. Those of one record belong together.
pub fn replay(
    store: &impl Store,
    log: &LogPlan,
    file: &FilePlan,
    mut apply: impl FnMut(Effect<'_>),
) -> Result<(), LoadError> {
    let mut failed = None;
    scan(store, &file.name, |record| {
        let sequence = record.head.sequence;
        if !(file.from..file.end).contains(&sequence) || log.skip.contains(&sequence) {
            return;
        }
        for effect in record.effects() {
            match effect {
                Ok(effect) => apply(effect),
                Err(Malformed) => failed = failed.or(Some(sequence)),
            }
        }
    })?;
    match failed {
        Some(sequence) => Err(LoadError::Malformed { file: file.name.clone(), sequence }),
        None => Ok(()),
    }
}

fn scan(store: &impl Store, file: &str, visit: impl FnMut(&Record<'_>)) -> Result<Scan, LoadError> {
    let io = |error| LoadError::Io { file: file.to_owned(), error };
    let source = store.open_file(file).map_err(io)?;
    segment::scan(source, store.keys(), visit).map_err(|error| match error {
        ScanError::Io(error) => io(error),
        ScanError::Header(error) => LoadError::Header { file: file.to_owned(), error },
    })
}
