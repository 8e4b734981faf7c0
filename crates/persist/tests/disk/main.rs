//! The log against a simulated disk that loses, tears and reorders whatever was not synced, seeded and replayable.
//!
//! Goal: whatever happens, a start goes by itself, and the state after it holds everything that was acknowledged and nothing
//! that was never issued; transactions over several shards are there on all of them or on none; each log is a prefix of what its shard
//! logged; recovering twice gives the same; and a recovered log can be written and can crash again. What was durable and is
//! damaged stops the start.
//!
//! Method: several shards log random single-shard changes and transactions; the disk carries their writes and syncs out
//! in random order and with random delays and faults; at a random moment the power fails. `TORC_SEEDS=n` runs more
//! seeds, `TORC_SEED=n` one.

mod sim;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use sim::{Random, SimDisk, overwrite};
use torc_persist::blocks::WriteBytes;
use torc_persist::load::{self, LoadError, Plan, Tolerance};
use torc_persist::log::{Action, FileNumber, NewSegment, Policy, Position, ShardLog};
use torc_persist::manifest::{Generation, Manifest, SegmentFile};
use torc_persist::record::{Effect, Format, Record, Transaction};
use torc_persist::rewrite;
use torc_persist::seal::{Algorithm, KEY_BLOCK_BYTES, Keys, MasterKey, sealed_bytes};
use torc_persist::segment::{self, SegmentHeader};
use torc_persist::store::Store;

const TOLERANCE: Tolerance = Tolerance { torn_tail: true, hole: false };

/// A change that was issued, by its number.
#[derive(Clone, Debug)]
struct Change {
    /// Where it was logged: (shard, end of its record), one per participant.
    places: Vec<(usize, Position)>,
    acknowledged: bool,
}

/// What is under way on the disk for one shard.
#[derive(Clone)]
enum Pending {
    Write {
        inode: String,
        offset: usize,
        bytes: WriteBytes,
        then_sync: bool,
    },
    /// How many of the file's cached writes it covers: those that came before it.
    Sync {
        inode: String,
        covers: usize,
    },
}

struct Shard {
    log: ShardLog,
    /// Open files.
    inodes: BTreeMap<FileNumber, String>,
    pending: Vec<Pending>,
    /// A segment in place of one that failed is being made.
    reopening: Option<(SegmentHeader, Vec<u8>)>,
}

struct World {
    random: Random,
    disk: SimDisk,
    manifest: Manifest,
    shards: Vec<Shard>,
    policy: Policy,
    now_us: u64,
    next_file: u64,
    next_ticket: u64,
    changes: BTreeMap<u64, Change>,
    /// Changes of each shard in the order in which it logged them: (number, is a part).
    logged: Vec<Vec<(u64, bool)>>,
    /// A transaction's keys stay locked until its parts are durable; so the next one of a shard waits.
    faults: bool,
    /// Break the rule on purpose: acknowledge what was only written.
    acknowledges_early: bool,
    /// Break the rule on purpose: tell that what was logged before is durable.
    claims_early: bool,
    rewrites: bool,
    rewrite: Option<Rewrite>,
    /// The last generation that was begun, and the first of this life.
    generation: u64,
    first_generation: u64,
    /// What earlier lives have left.
    before: BTreeSet<u64>,
    /// What was changed in this life before there was a log.
    unlogged: BTreeSet<u64>,
    /// A log that was switched on at run time: it is listed, and counts, when its first base is there.
    unlisted: Option<Generation>,
}

/// A rewrite under way.
enum Rewrite {
    /// Its segments are there, and listed.
    Prepared { generation: Generation, segments: Vec<NewSegment> },
    /// All shards log to them; the base is to be written.
    Cut { generation: Generation, base: State },
}

/// What is in a data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    /// Changes of the last life, per shard, in the order in which they were logged.
    logs: Vec<Vec<u64>>,
    /// Of all lives.
    all: BTreeSet<u64>,
}

impl State {
    /// One line per shard, and one for all lives.
    fn to_text(&self) -> String {
        let line = |numbers: &mut dyn Iterator<Item = &u64>| {
            numbers.map(|number| format!("{number} ")).collect::<String>() + "\n"
        };
        let logs: String = self.logs.iter().map(|log| line(&mut log.iter())).collect();
        logs + &line(&mut self.all.iter())
    }

    fn of_text(text: &str) -> State {
        let numbers = |line: &str| -> Vec<u64> {
            line.split_whitespace().map(|number| number.parse().expect("a number")).collect()
        };
        let mut logs: Vec<Vec<u64>> = text.lines().map(numbers).collect();
        let all = logs.pop().expect("the last line").into_iter().collect();
        State { logs, all }
    }
}

impl World {
    /// Starts all shards in a new generation on top of what the disk holds; or instead of it, if it is not listed yet.
    fn start(seed: u64, disk: SimDisk, shards: usize, policy: Policy, ticket: u64, is_listed: bool) -> World {
        let mut disk = disk;
        let mut manifest =
            Manifest::load(&disk).expect("a manifest is whole or not there").unwrap_or_default();
        let number = manifest.generations.last().map_or(1, |last| last.number + 1);
        let mut segments = Vec::new();
        let mut made = Vec::new();
        for shard in 0..shards as u16 {
            let name = format!("log.{number}.{shard}.1");
            let log = ShardLog::new(shard, number, 1, FileNumber(0), policy).sealed(&disk.keys);
            // A crash may have left the file of an earlier attempt, which no manifest names.
            let _ = disk.remove(&name);
            disk.create(&name, log.file_header()).expect("the name is free");
            disk.sync(&name).expect("it is there");
            segments.push(SegmentFile { shard, first_sequence: 1, name: name.clone() });
            let inodes = BTreeMap::from([(FileNumber(0), disk.open(&name))]);
            made.push(Shard { log, inodes, pending: Vec::new(), reopening: None });
        }
        disk.sync_directory().expect("the directory is there");
        let generation = Generation { number, shards: shards as u16, segments, ..Generation::default() };
        if is_listed {
            manifest.generations.push(generation.clone());
            manifest.publish(&mut disk).expect("nothing fails at the start");
        }
        World {
            random: Random(seed),
            disk,
            manifest,
            policy,
            now_us: 1_000_000,
            next_file: 1,
            next_ticket: ticket,
            changes: BTreeMap::new(),
            logged: vec![Vec::new(); shards],
            shards: made,
            faults: false,
            acknowledges_early: false,
            claims_early: false,
            rewrites: false,
            rewrite: None,
            generation: number,
            first_generation: number,
            before: BTreeSet::new(),
            unlogged: BTreeSet::new(),
            unlisted: (!is_listed).then_some(generation),
        }
    }

    /// All shards stand still, and log from now on.
    fn begin_log(&mut self) {
        let Some(generation) = self.unlisted.clone() else { return };
        let all = self.before.union(&self.unlogged).copied().collect();
        self.rewrite = Some(Rewrite::Cut { generation, base: State { logs: self.logged_so_far(), all } });
    }

    fn logged_so_far(&self) -> Vec<Vec<u64>> {
        self.logged.iter().map(|log| log.iter().map(|(number, _)| *number).collect()).collect()
    }

    fn step(&mut self, next_change: &mut u64) {
        // Some of the time so fast that what is logged has to wait for its write.
        let us_max = if self.random.one_in(3) { 400 } else { 400_000 };
        self.now_us += self.random.below(us_max) as u64;
        match self.random.below(10) {
            0..=3 => self.change(next_change, 1),
            4 => {
                let count = 2 + self.random.below(self.shards.len() - 1);
                self.change(next_change, count);
            }
            5 | 6 => {
                let shard = self.random.below(self.shards.len());
                self.shards[shard].log.end_record();
                self.hand_over(shard);
            }
            _ => self.disk_step(),
        }
        if self.rewrites {
            self.rewrite_step();
        }
        self.acknowledge();
    }

    fn hand_over(&mut self, shard: usize) {
        let now_us = self.now_us;
        let Shard { log, inodes, pending, .. } = &mut self.shards[shard];
        while let Some(action) = log.next_action(now_us) {
            match action {
                Action::Write { file, offset, bytes, then_sync } => {
                    let inode = inodes[&file].clone();
                    let bytes = if self.claims_early { claiming_early(&bytes) } else { bytes };
                    pending.push(Pending::Write { inode, offset: offset as usize, bytes, then_sync });
                }
                Action::Sync { file } => {
                    let inode = inodes[&file].clone();
                    let covers = self.disk.opened(&inode).cached.len();
                    pending.push(Pending::Sync { inode, covers });
                }
            }
        }
    }

    /// Logs one change on `count` shards.
    fn change(&mut self, next_change: &mut u64, count: usize) {
        let mut members: Vec<usize> = (0..self.shards.len()).collect();
        while members.len() > count {
            members.remove(self.random.below(members.len()));
        }
        // A broken log refuses writes.
        if members.iter().any(|&shard| self.shards[shard].log.failure().is_some()) {
            return;
        }
        let number = *next_change;
        *next_change += 1;
        let text = number.to_string();
        let filler = vec![b'v'; self.random.below(1500)];
        let words = || [&b"SET"[..], text.as_bytes(), &filler].into_iter();
        let transaction = (count > 1).then(|| {
            self.next_ticket += 1;
            Transaction {
                ticket: self.next_ticket,
                participants: members.iter().map(|&one| one as u16).collect(),
            }
        });
        let mut places = Vec::new();
        for &shard in &members {
            let log = &mut self.shards[shard].log;
            match &transaction {
                None => log.effect(0, words()),
                Some(transaction) => log.part(transaction.clone(), [(0, words())]),
            }
            log.end_record();
            places.push((shard, log.position()));
            self.logged[shard].push((number, count > 1));
        }
        self.changes.insert(number, Change { places, acknowledged: false });
    }

    /// One operation of the disk ends, well or not.
    fn disk_step(&mut self) {
        let busy: Vec<usize> =
            (0..self.shards.len()).filter(|&shard| !self.shards[shard].pending.is_empty()).collect();
        if busy.is_empty() {
            return self.mend();
        }
        let shard = busy[self.random.below(busy.len())];
        let index = self.random.below(self.shards[shard].pending.len());
        let pending = self.shards[shard].pending.remove(index);
        let fault = self.faults && self.random.one_in(12);
        let log = &mut self.shards[shard].log;
        match pending {
            Pending::Write { inode, offset, bytes, then_sync } => {
                let written = match (fault, self.random.below(3)) {
                    (false, _) => Ok(bytes.len()),
                    (true, 0) => Err(io::Error::from_raw_os_error(28)),
                    (true, 1) => Err(io::Error::from_raw_os_error(5)),
                    (true, _) => Ok(self.random.below(bytes.len())),
                };
                let taken = *written.as_ref().unwrap_or(&0);
                self.disk.note_write(&inode, offset, &bytes);
                self.disk.write(&inode, offset, &bytes[..taken]);
                let whole = taken == bytes.len();
                log.write_ended(written);
                if then_sync && whole {
                    let covers = self.disk.opened(&inode).cached.len();
                    self.shards[shard].pending.push(Pending::Sync { inode, covers });
                } else if then_sync {
                    log.sync_ended(Err(io::Error::from_raw_os_error(125)));
                }
            }
            Pending::Sync { inode, covers } => {
                let file = self.disk.opened(&inode);
                if fault {
                    // The kernel reports the error once and takes the pages for clean: they are lost.
                    file.cached.drain(..covers.min(file.cached.len()));
                    log.sync_ended(Err(io::Error::from_raw_os_error(5)));
                } else {
                    for (at, bytes) in file.cached.drain(..covers.min(file.cached.len())).collect::<Vec<_>>()
                    {
                        overwrite(&mut file.durable, at, &bytes);
                    }
                    log.sync_ended(Ok(()));
                }
            }
        }
    }

    /// A broken log goes on in a new segment.
    fn mend(&mut self) {
        let broken = (0..self.shards.len()).find(|&shard| self.shards[shard].log.failure().is_some());
        let Some(shard) = broken else { return };
        if self.shards[shard].log.is_busy() {
            return;
        }
        let Some((header, bytes)) = self.shards[shard].reopening.take() else {
            self.shards[shard].reopening = Some(self.shards[shard].log.reopen());
            return;
        };
        let file = FileNumber(self.next_file);
        self.next_file += 1;
        let name = format!("log.{}.{shard}.{}.{}", header.generation, header.first_sequence, file.0);
        if self.replace_segment(shard as u16, &header, &name, &bytes).is_ok() {
            let inode = self.disk.open(&name);
            self.shards[shard].inodes.insert(file, inode);
            self.shards[shard].log.reopened(file, bytes.len() as u64);
        }
    }

    fn replace_segment(
        &mut self,
        shard: u16,
        header: &SegmentHeader,
        name: &str,
        content: &[u8],
    ) -> io::Result<()> {
        self.disk.create(name, content)?;
        self.disk.sync(name)?;
        self.disk.sync_directory()?;
        let number = header.generation;
        let first_sequence = header.first_sequence;
        let segment = SegmentFile { shard, first_sequence, name: name.to_owned() };
        if let Some(unlisted) = self.unlisted.as_mut().filter(|unlisted| unlisted.number == number) {
            unlisted.segments.push(segment);
            return Ok(());
        }
        let mut manifest = self.manifest.clone();
        // What belongs to a generation that a base has replaced is in the base.
        let Some(generation) = manifest.generations.iter_mut().find(|one| one.number == number) else {
            return Ok(());
        };
        generation.segments.push(segment);
        manifest.publish(&mut self.disk)?;
        self.manifest = manifest;
        Ok(())
    }

    /// The next step of a rewrite, if its turn has come.
    fn rewrite_step(&mut self) {
        match self.rewrite.take() {
            None if self.random.one_in(12) => self.rewrite = self.prepare().ok(),
            Some(Rewrite::Prepared { generation, segments })
                if self.random.one_in(4) && !self.shards.iter().any(|shard| shard.log.is_switching()) =>
            {
                // The cut: all shards stand still.
                for (shard, segment) in self.shards.iter_mut().zip(segments) {
                    shard.log.switch_to(segment);
                }
                let all = self.before.union(&self.unlogged).chain(self.changes.keys()).copied().collect();
                self.rewrite =
                    Some(Rewrite::Cut { generation, base: State { logs: self.logged_so_far(), all } });
            }
            Some(Rewrite::Cut { generation, base }) if self.random.one_in(8) => {
                // After an error everything goes on with the old files.
                let _ = self.take_over(generation, &base);
            }
            step => self.rewrite = step,
        }
    }

    fn prepare(&mut self) -> io::Result<Rewrite> {
        let number = self.generation + 1;
        self.generation = number;
        let mut segments = Vec::new();
        let mut files = Vec::new();
        for shard in 0..self.shards.len() as u16 {
            let file = FileNumber(self.next_file);
            self.next_file += 1;
            let salt = (number as u32).wrapping_mul(0x9e37_79b9);
            segments.push(NewSegment::new(shard, number, file, salt, &self.disk.keys));
            files.push(SegmentFile { shard, first_sequence: 1, name: format!("log.{number}.{shard}.1") });
        }
        let shards = self.shards.len() as u16;
        let continues = self.unlisted.is_none();
        let generation = Generation { number, shards, continues, segments: files, ..Generation::default() };
        let headers = segments.iter().map(|segment| segment.header.as_slice());
        rewrite::prepare(&mut self.disk, &generation, headers)?;
        match &mut self.unlisted {
            None => rewrite::append(&mut self.disk, &mut self.manifest, generation.clone())?,
            Some(unlisted) => *unlisted = generation.clone(),
        }
        for (segment, file) in segments.iter().zip(&generation.segments) {
            let inode = self.disk.open(&file.name);
            self.shards[usize::from(segment.shard)].inodes.insert(segment.file, inode);
        }
        Ok(Rewrite::Prepared { generation, segments })
    }

    fn take_over(&mut self, generation: Generation, base: &State) -> io::Result<()> {
        let number = generation.number;
        let (name, temporary) = (format!("base.{number}"), format!("base.{number}.tmp"));
        rewrite::make_file(&mut self.disk, &temporary, base.to_text().as_bytes())?;
        self.disk.rename(&temporary, &name)?;
        self.disk.sync_directory()?;
        let listed = self.unlisted.clone().unwrap_or(generation);
        rewrite::take_over(&mut self.disk, &mut self.manifest, listed, name)?;
        self.unlisted = None;
        rewrite::remove_older(&mut self.disk, "log.", number)?;
        rewrite::remove_older(&mut self.disk, "base.", number)
    }

    fn acknowledge(&mut self) {
        for change in self.changes.values_mut() {
            change.acknowledged |= change.places.iter().all(|&(shard, position)| {
                let log = &self.shards[shard].log;
                if self.acknowledges_early { log.written_to() >= position } else { log.durable() >= position }
            });
        }
    }
}

/// These records, but for what they tell to be durable: everything before them.
fn claiming_early(records: &[u8]) -> WriteBytes {
    let mut bytes = records.to_vec();
    let mut at = 0;
    while let Some(record) = Record::read(&records[at..], Format::salted(0)) {
        let end = at + record.bytes;
        bytes[at + 28..at + 32].copy_from_slice(&1u32.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[at + 4..end]);
        bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        at = end;
    }
    assert!(records[at..].iter().all(|byte| *byte == 0), "plain records are written one behind the other");
    WriteBytes::from(Arc::new(bytes))
}

/// What a plan gives back to a life that began with this generation.
fn recovered(disk: &SimDisk, plan: &Plan, first_generation: u64) -> State {
    let mut state = State::default();
    for generation in &plan.generations {
        if let [base] = generation.bases.as_slice() {
            let text = String::from_utf8(disk.read(base).expect("a base is there")).expect("text");
            state = State::of_text(&text);
        }
        if generation.number < first_generation {
            state.logs.clear();
        } else {
            state.logs.resize(usize::from(generation.shards), Vec::new());
        }
        for (shard, log) in generation.logs.iter().enumerate() {
            for file in &log.files {
                let apply = |effect: Effect<'_>| {
                    let text = std::str::from_utf8(effect.words[1]).expect("a number");
                    let number = text.parse().expect("a number");
                    state.all.insert(number);
                    if generation.number >= first_generation {
                        state.logs[shard].push(number);
                    }
                };
                load::replay(disk, log, file, apply).expect("what was planned can be replayed");
            }
        }
    }
    state
}

/// Compares the state after a crash with what the world knows; an `Err` says what was broken.
fn judge(world: &World, state: &State) -> Result<(), String> {
    if let Some(lost) = world.before.difference(&state.all).next() {
        return Err(format!("change {lost} of an earlier life is lost"));
    }
    if world.unlisted.is_some() && state.all == world.before {
        return Ok(());
    }
    if let Some(lost) = world.unlogged.difference(&state.all).next() {
        return Err(format!("change {lost}, of before the log, is not in its base"));
    }
    let is_old = |number: &u64| world.before.contains(number) || world.unlogged.contains(number);
    let known = |number: &u64| is_old(number) || world.changes.contains_key(number);
    if let Some(strange) = state.all.iter().find(|number| !known(number)) {
        return Err(format!("change {strange} had been lost, and is back"));
    }
    let state = &state.logs;
    let present: Vec<BTreeSet<u64>> = state.iter().map(|log| log.iter().copied().collect()).collect();
    for (shard, log) in state.iter().enumerate() {
        let issued: Vec<u64> = world.logged[shard].iter().map(|(number, _)| *number).collect();
        let mut rest = issued.iter();
        if !log.iter().all(|number| rest.any(|issued| issued == number)) {
            return Err(format!("shard {shard} gives back {log:?}, which is no part of {issued:?} in order"));
        }
        // Only parts of transactions that nobody was told of may be missing in the middle.
        let end = log.last().map_or(0, |last| issued.iter().position(|one| one == last).expect("issued") + 1);
        for (number, is_part) in &world.logged[shard][..end] {
            let may_be_missing = *is_part && world.policy == Policy::Always;
            if !may_be_missing && !present[shard].contains(number) {
                return Err(format!("shard {shard} lost change {number} from its middle"));
            }
        }
    }
    for (number, change) in &world.changes {
        let holders = change.places.iter().filter(|(shard, _)| present[*shard].contains(number)).count();
        if holders != 0 && holders != change.places.len() {
            return Err(format!("change {number} is on {holders} of {} shards", change.places.len()));
        }
        let is_promised = world.policy == Policy::Always && world.unlisted.is_none();
        if is_promised && change.acknowledged && holders == 0 {
            return Err(format!("change {number} was acknowledged and is lost"));
        }
    }
    Ok(())
}

/// The keys of a life: those of every second one have been rotated since the last.
fn keys(life: usize) -> Keys {
    let master = |byte| MasterKey::parse(&[byte; 32]).expect("a key");
    match life % 2 {
        0 => Keys::new(Algorithm::Aes256Gcm, master(1), vec![master(2)]),
        _ => Keys::new(Algorithm::ChaCha20Poly1305, master(2), vec![master(1)]),
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Options {
    faults: bool,
    acknowledges_early: bool,
    claims_early: bool,
    encrypted: bool,
    rewrites: bool,
    /// Lives may begin without a log, which is switched on then.
    begins: bool,
}

/// What was reached in some lives.
#[derive(Default)]
struct Reached {
    /// Changes to the files that a crash has interrupted.
    interrupted: BTreeSet<String>,
    /// The same before the first base of a log that was switched on.
    interrupted_unlisted: BTreeSet<String>,
    /// Logs with whole records behind damage, which did not count.
    with_holes: usize,
}

/// Several lives of one data directory, each ended by a crash.
fn run(seed: u64, policy: Policy, options: Options) -> Result<Reached, String> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut disk = SimDisk::default();
    let mut next_change = 1;
    let mut before = BTreeSet::new();
    let mut reached = Reached::default();
    for life in 0..3 {
        let shards = 2 + random.below(3);
        if options.encrypted {
            disk.keys = keys(life);
        }
        // In the first life there is nothing that would count instead.
        let is_listed = !(options.begins && life > 0 && random.one_in(2));
        let mut world = World::start(random.0, disk.clone(), shards, policy, 0, is_listed);
        world.faults = options.faults;
        world.acknowledges_early = options.acknowledges_early;
        world.claims_early = options.claims_early;
        world.rewrites = options.rewrites;
        world.before = before;
        if !is_listed {
            world.unlogged = (next_change..next_change + 3).collect();
            next_change += 3;
            world.begin_log();
        }
        if options.rewrites && !random.one_in(4) {
            world.disk.fuse = Some(random.below(70));
        }
        for _ in 0..random.below(160) {
            world.step(&mut next_change);
            if world.disk.interrupted.is_some() {
                break;
            }
        }
        world.disk.fuse = None;
        let interrupted = world.disk.interrupted.take();
        if world.unlisted.is_some() {
            reached.interrupted_unlisted.extend(interrupted.clone());
        }
        reached.interrupted.extend(interrupted);
        // Either the power fails, or the process dies and the cache survives for now.
        let process_only = random.one_in(2);
        if !process_only {
            world.disk.crash(&mut random);
        }
        let plan =
            |disk: &SimDisk| load::plan(disk, TOLERANCE).map_err(|error| format!("life {life}: {error}"));
        let first = plan(&world.disk)?.ok_or("the manifest is gone")?;
        let logs = first.generations.iter().flat_map(|generation| &generation.logs);
        reached.with_holes +=
            logs.filter(|log| log.torn.as_ref().is_some_and(|torn| torn.records > 0)).count();
        let state = recovered(&world.disk, &first, world.first_generation);
        judge(&world, &state).map_err(|what| format!("life {life}: {what}"))?;
        // Recovering changes nothing, so a crash in its middle does not either.
        let mut again = world.disk.clone();
        load::settle(&mut again, &first).map_err(|error| error.to_string())?;
        again.crash(&mut random);
        let second = plan(&again)?.ok_or("the manifest is gone")?;
        if recovered(&again, &second, world.first_generation) != state {
            return Err(format!("life {life}: the second recovery gives another state"));
        }
        before = state.all;
        disk = again;
    }
    Ok(reached)
}

fn seeds(count: u64) -> Box<dyn Iterator<Item = u64>> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("TORC_SEED") {
        Some(seed) => Box::new(std::iter::once(seed)),
        None => Box::new(1..=number("TORC_SEEDS").unwrap_or(count)),
    }
}

fn check(policy: Policy, options: Options) -> Reached {
    let mut reached = Reached::default();
    let count = match options {
        Options { begins: true, .. } => 400,
        Options { encrypted: true, .. } => 700,
        _ => 1_500,
    };
    for seed in seeds(count) {
        match run(seed, policy, options) {
            Ok(found) => {
                reached.interrupted.extend(found.interrupted);
                reached.interrupted_unlisted.extend(found.interrupted_unlisted);
                reached.with_holes += found.with_holes;
            }
            Err(what) => panic!("TORC_SEED={seed}, {policy:?}, {options:?}: {what}"),
        }
    }
    // Under `always` one write is under way, and it is one chunk.
    let no_holes = options.encrypted && policy == Policy::Always;
    let single = std::env::var_os("TORC_SEED").is_some();
    assert!(
        single || no_holes || reached.with_holes > 10,
        "{policy:?}, {options:?}: {} holes",
        reached.with_holes
    );
    reached
}

const SOUND: Options = Options {
    faults: false,
    acknowledges_early: false,
    claims_early: false,
    encrypted: false,
    rewrites: false,
    begins: false,
};
const FAILING: Options = Options { faults: true, ..SOUND };

#[test]
fn always_loses_nothing_acknowledged() {
    check(Policy::Always, SOUND);
}

#[test]
fn always_with_failing_disks() {
    check(Policy::Always, FAILING);
}

#[test]
fn everysec_recovers_to_a_consistent_cut() {
    check(Policy::Everysec, SOUND);
}

#[test]
fn everysec_with_failing_disks() {
    check(Policy::Everysec, FAILING);
}

#[test]
fn encrypted_always_with_failing_disks() {
    check(Policy::Always, Options { encrypted: true, ..SOUND });
    check(Policy::Always, Options { encrypted: true, ..FAILING });
}

#[test]
fn encrypted_everysec_with_failing_disks() {
    check(Policy::Everysec, Options { encrypted: true, ..SOUND });
    check(Policy::Everysec, Options { encrypted: true, ..FAILING });
}

/// The power fails in every step of a rewrite: while segments are made, while either manifest takes the place of the one
/// before, while the base is written, and while old files are removed.
#[test]
fn rewrites_are_whole_or_have_not_begun() {
    for policy in [Policy::Always, Policy::Everysec] {
        for options in [SOUND, FAILING, Options { encrypted: true, ..FAILING }] {
            let interrupted = check(policy, Options { rewrites: true, ..options }).interrupted;
            let steps = ["create", "sync", "rename", "remove"];
            let files = ["log", "manifest", "base", "directory"];
            let impossible = [
                ("create", "directory"),
                ("rename", "log"),
                ("rename", "directory"),
                ("remove", "manifest"),
                ("remove", "directory"),
            ];
            for (step, file) in steps.iter().flat_map(|step| files.iter().map(move |file| (*step, *file))) {
                let reached = interrupted.contains(&format!("{step} {file}"));
                let single = std::env::var_os("TORC_SEED").is_some();
                assert!(single || reached != impossible.contains(&(step, file)), "{step} {file}: {reached}");
            }
        }
    }
}

/// The same for a log that is switched on while the server runs: until its first base is there, what was there before counts,
/// and nothing else.
#[test]
fn a_log_that_begins_counts_as_a_whole_or_not_at_all() {
    let mut interrupted = BTreeSet::new();
    for policy in [Policy::Always, Policy::Everysec] {
        for options in [SOUND, FAILING] {
            let reached = check(policy, Options { rewrites: true, begins: true, ..options });
            interrupted.extend(reached.interrupted_unlisted);
        }
    }
    let steps = ["create base", "sync base", "rename base", "sync directory", "create manifest"];
    let steps = steps.into_iter().chain(["sync manifest", "rename manifest"]);
    for step in steps.filter(|_| std::env::var_os("TORC_SEED").is_none()) {
        assert!(interrupted.contains(step), "{step}");
    }
}

/// The checker notices a server that acknowledges what was written and not synced.
#[test]
fn acknowledging_too_early_is_noticed() {
    for encrypted in [false, true] {
        let options = Options { acknowledges_early: true, encrypted, ..SOUND };
        let noticed = (1..=200).filter(|&seed| run(seed, Policy::Always, options).is_err()).count();
        assert!(noticed > 20, "noticed in {noticed} of 200 seeds");
    }
}

/// The checker notices a log that tells more to be durable than is: then a power failure can stop a start.
#[test]
fn claiming_too_early_is_noticed() {
    let options = Options { claims_early: true, ..SOUND };
    let errors = (1..=200).filter_map(|seed| run(seed, Policy::Everysec, options).err());
    let noticed = errors.filter(|error| error.contains("had been durable")).count();
    assert!(noticed > 20, "noticed in {noticed} of 200 seeds");
}

impl World {
    /// Time passes, and nothing is logged. Returns the number of writes.
    fn pass_time(&mut self) -> usize {
        let mut writes = 0;
        for _ in 0..10 {
            self.now_us += 1_000_000;
            for shard in 0..self.shards.len() {
                self.hand_over(shard);
                let pending = &self.shards[shard].pending;
                writes += pending.iter().filter(|one| matches!(one, Pending::Write { .. })).count();
                while !self.shards[shard].pending.is_empty() {
                    self.disk_step();
                }
            }
        }
        writes
    }
}

/// Whatever is damaged of a log that had nothing to do any more: the start says so, unless it is the very last mark.
#[test]
fn what_was_durable_and_is_damaged_stops_the_start() {
    let (mut holes, mut gaps) = (0, 0);
    for seed in seeds(600) {
        let policy = if seed % 2 == 0 { Policy::Always } else { Policy::Everysec };
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut disk = SimDisk::default();
        if random.one_in(3) {
            disk.keys = keys(0);
        }
        let mut world = World::start(random.0, disk, 2 + random.below(2), policy, 0, true);
        world.rewrites = random.one_in(2);
        let mut next_change = 1;
        for _ in 0..10 + random.below(100) {
            world.step(&mut next_change);
        }
        world.pass_time();
        assert_eq!(world.pass_time(), 0, "TORC_SEED={seed}: an idle log is left alone");
        let segments = |generation: &Generation| generation.segments.clone();
        let listed: Vec<SegmentFile> = world.manifest.generations.iter().flat_map(segments).collect();
        let chosen = random.below(listed.len());
        let (shard, name) = (listed[chosen].shard, listed[chosen].name.clone());
        let keys = world.disk.keys.clone();
        let has_records = |file: &SegmentFile| {
            let content = world.disk.read(&file.name).expect("it is there");
            segment::scan(&content[..], &keys, |_| {}).expect("it is sound").records > 0
        };
        let is_last = !listed[chosen + 1..].iter().any(|file| file.shard == shard && has_records(file));
        let inode = world.disk.open(&name);
        world.disk.sync(&name).expect("it is there");
        let content = world.disk.opened(&inode).durable.clone();
        let mut last_record = 0;
        let scan =
            segment::scan(&content[..], &keys, |record| last_record = record.bytes).expect("it is sound");
        let (begins_at, last_record) = match keys.seals() {
            true => (segment::HEADER_BYTES + KEY_BLOCK_BYTES, sealed_bytes(last_record)),
            false => (segment::HEADER_BYTES, last_record),
        };
        // The mark of a log that was idle, or of a generation that was begun and not written to.
        let ends_at = scan.valid_bytes - if is_last { last_record } else { 0 };
        if ends_at <= begins_at {
            continue;
        }
        let from = begins_at + random.below(ends_at - begins_at);
        let until = match random.below(3) {
            0 => from + 1,
            1 => (from + 512).min(ends_at),
            _ => ends_at,
        };
        let filler = if random.one_in(2) { 0 } else { 0x5a };
        let damaged = &mut world.disk.opened(&inode).durable;
        if damaged[from..until].iter().all(|byte| *byte == filler) {
            continue;
        }
        damaged[from..until].fill(filler);
        match load::plan(&world.disk, TOLERANCE) {
            Err(LoadError::Hole { file, .. }) if file == name => holes += 1,
            Err(LoadError::Gap { file, .. }) if file == name => gaps += 1,
            other => panic!("TORC_SEED={seed}: {from}..{until} of {name} is damaged, and {other:?}"),
        }
    }
    let single = std::env::var_os("TORC_SEED").is_some();
    assert!(single || holes > 100 && gaps > 5, "{holes} holes, {gaps} gaps");
}

/// The keys are needed, and the error names file and key.
#[test]
fn a_sealed_log_needs_its_key() {
    let mut disk = SimDisk::default();
    disk.keys = keys(0);
    let mut world = World::start(1, disk, 2, Policy::Always, 0, true);
    world.disk.keys = Keys::default();
    let error = load::plan(&world.disk, TOLERANCE).expect_err("no key is given").to_string();
    let id = MasterKey::parse(&[1; 32]).expect("a key").id();
    assert_eq!(
        error,
        format!("cannot load log.1.0.1: it is encrypted with the master key {id}, and no key is given")
    );
    world.disk.keys = Keys::for_reading(vec![MasterKey::parse(&[3; 32]).expect("a key")]);
    let error = load::plan(&world.disk, TOLERANCE).expect_err("a wrong key is given").to_string();
    assert_eq!(
        error,
        format!(
            "cannot load log.1.0.1: it is encrypted with the master key {id}, which is none of the given ones"
        )
    );
    world.disk.keys = keys(1);
    assert!(load::plan(&world.disk, TOLERANCE).expect("it was rotated").is_some());
}
