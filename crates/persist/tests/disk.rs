//! The log against a simulated disk that loses, tears and reorders whatever was not synced, seeded and replayable.
//!
//! Goal: whatever happens, the state after recovery holds everything that was acknowledged and nothing that was never
//! issued; transactions over several shards are there on all of them or on none; each log is a prefix of what its shard
//! logged; recovering twice gives the same; and a recovered log can be written and can crash again.
//!
//! Method: several shards log random single-shard changes and transactions; the disk carries their writes and syncs out
//! in random order and with random delays and faults; at a random moment the power fails. `TORC_SEEDS=n` runs more
//! seeds, `TORC_SEED=n` one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use torc_persist::load::{self, Plan, Tolerance};
use torc_persist::log::{Action, FileNumber, Policy, Position, ShardLog};
use torc_persist::manifest::{Generation, Manifest, SegmentFile};
use torc_persist::record::Transaction;
use torc_persist::seal::{Algorithm, KEY_BLOCK_BYTES, Keys, MasterKey, sealed_bytes};
use torc_persist::store::Store;

const SECTOR_BYTES: usize = 512;
const SEGMENT_HEADER_BYTES: usize = torc_persist::segment::HEADER_BYTES;
const TOLERANCE: Tolerance = Tolerance { torn_tail: true, hole: true };

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A file: what is on the platter, and the writes that only the cache knows, oldest first.
#[derive(Clone, Default)]
struct SimFile {
    durable: Vec<u8>,
    cached: Vec<(usize, Vec<u8>)>,
}

impl SimFile {
    fn content(&self) -> Vec<u8> {
        let mut content = self.durable.clone();
        self.cached.iter().for_each(|(at, bytes)| overwrite(&mut content, *at, bytes));
        content
    }
}

fn overwrite(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A directory on a disk whose power can fail.
#[derive(Clone, Default)]
struct SimDisk {
    files: BTreeMap<String, SimFile>,
    /// The directory as it is on the platter: names of files, which keep their content when renamed.
    durable_names: BTreeMap<String, String>,
    names: BTreeMap<String, String>,
    next_inode: usize,
    keys: Keys,
    /// Sealed chunks that ever went to the disk: (key block, number) to content.
    chunks: BTreeMap<(Vec<u8>, u64), Vec<u8>>,
}

impl SimDisk {
    fn file(&mut self, name: &str) -> io::Result<&mut SimFile> {
        let inode = self.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.files.get_mut(inode).expect("a name leads to a file"))
    }

    fn write(&mut self, name: &str, at: usize, bytes: &[u8]) {
        self.file(name).expect("an open file").cached.push((at, bytes.to_vec()));
        if self.keys.seals() {
            let block =
                self.read(name).expect("it is there")[SEGMENT_HEADER_BYTES..][..KEY_BLOCK_BYTES].to_vec();
            self.note_chunks(&block, bytes);
        }
    }

    /// What is sealed with one key and one number is always the same.
    fn note_chunks(&mut self, block: &[u8], mut chunks: &[u8]) {
        while chunks.len() >= 16 {
            let content_bytes = u32::from_le_bytes(chunks[4..8].try_into().expect("four bytes")) as usize;
            let number = u64::from_le_bytes(chunks[8..16].try_into().expect("eight bytes"));
            let (chunk, rest) = chunks.split_at(sealed_bytes(content_bytes).min(chunks.len()));
            let content = self.chunks.entry((block.to_vec(), number)).or_insert_with(|| chunk.to_vec());
            assert!(*content == chunk, "chunk {number} is sealed twice");
            chunks = rest;
        }
    }

    /// The power fails: of what was not synced, any subset of sectors has reached the platter.
    fn crash(&mut self, random: &mut Random) {
        for file in self.files.values_mut() {
            for (at, bytes) in std::mem::take(&mut file.cached) {
                let mut start = 0;
                // One write in three is torn, one is lost, one has made it.
                let fate = random.below(3);
                while start < bytes.len() {
                    let sector_end = ((at + start) / SECTOR_BYTES + 1) * SECTOR_BYTES - at;
                    let end = sector_end.min(bytes.len());
                    let survives = match fate {
                        0 => false,
                        1 => true,
                        _ => random.one_in(2),
                    };
                    if survives {
                        overwrite(&mut file.durable, at + start, &bytes[start..end]);
                    } else if fate == 2 && random.one_in(4) {
                        // The file had grown, but the block holds what was there before: zeros, or an old file's bytes.
                        let stale = if random.one_in(2) { 0 } else { 0x5a };
                        let filler = vec![stale; end - start];
                        if file.durable.len() < at + end {
                            overwrite(&mut file.durable, at + start, &filler);
                        }
                    }
                    start = end;
                }
            }
        }
        // Names that were not synced may or may not be there.
        let mut names = self.durable_names.clone();
        for (name, inode) in &self.names {
            if random.one_in(2) {
                names.insert(name.clone(), inode.clone());
            }
        }
        self.names = names.clone();
        self.durable_names = names;
    }
}

impl Store for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let inode = self.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.files[inode].content())
    }

    fn create(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        if self.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.next_inode += 1;
        let inode = format!("inode{}", self.next_inode);
        self.files
            .insert(inode.clone(), SimFile { durable: Vec::new(), cached: vec![(0, content.to_vec())] });
        self.names.insert(name.into(), inode);
        if self.keys.seals()
            && content.len() > SEGMENT_HEADER_BYTES + KEY_BLOCK_BYTES
            && name != "manifest.new"
        {
            let (block, chunks) = content[SEGMENT_HEADER_BYTES..].split_at(KEY_BLOCK_BYTES);
            self.note_chunks(block, chunks);
        }
        Ok(())
    }

    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let file = self.file(name)?;
        file.durable = file.content();
        file.cached.clear();
        Ok(())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.durable_names = self.names.clone();
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let inode = self.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.names.insert(to.into(), inode);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.names.remove(name).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
        let file = self.file(name)?;
        file.durable = file.content();
        file.durable.truncate(len as usize);
        file.cached.clear();
        Ok(())
    }
}

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
        name: String,
        offset: usize,
        bytes: Arc<Vec<u8>>,
        then_sync: bool,
    },
    /// How many of the file's cached writes it covers: those that came before it.
    Sync {
        name: String,
        covers: usize,
    },
}

struct Shard {
    log: ShardLog,
    names: BTreeMap<FileNumber, String>,
    pending: Vec<Pending>,
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
}

impl World {
    /// Starts all shards in a new generation on top of what the disk holds.
    fn start(seed: u64, disk: SimDisk, shards: usize, policy: Policy, ticket: u64) -> World {
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
            made.push(Shard { log, names: BTreeMap::from([(FileNumber(0), name)]), pending: Vec::new() });
        }
        disk.sync_directory().expect("the directory is there");
        manifest.generations.push(Generation {
            number,
            shards: shards as u16,
            segments,
            ..Generation::default()
        });
        manifest.publish(&mut disk).expect("nothing fails at the start");
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
        }
    }

    fn step(&mut self, next_change: &mut u64) {
        self.now_us += self.random.below(400_000) as u64;
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
        self.acknowledge();
    }

    fn hand_over(&mut self, shard: usize) {
        let now_us = self.now_us;
        let Shard { log, names, pending } = &mut self.shards[shard];
        while let Some(action) = log.next_action(now_us) {
            match action {
                Action::Write { file, offset, bytes, then_sync } => {
                    let name = names[&file].clone();
                    pending.push(Pending::Write { name, offset: offset as usize, bytes, then_sync });
                }
                Action::Sync { file } => {
                    let name = names[&file].clone();
                    let covers = self.disk.file(&name).expect("it is open").cached.len();
                    pending.push(Pending::Sync { name, covers });
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
            Pending::Write { name, offset, bytes, then_sync } => {
                let written = match (fault, self.random.below(3)) {
                    (false, _) => Ok(bytes.len()),
                    (true, 0) => Err(io::Error::from_raw_os_error(28)),
                    (true, 1) => Err(io::Error::from_raw_os_error(5)),
                    (true, _) => Ok(self.random.below(bytes.len())),
                };
                let taken = *written.as_ref().unwrap_or(&0);
                self.disk.write(&name, offset, &bytes[..taken]);
                let whole = taken == bytes.len();
                log.write_ended(written);
                if then_sync && whole {
                    let covers = self.disk.file(&name).expect("it is open").cached.len();
                    self.shards[shard].pending.push(Pending::Sync { name, covers });
                } else if then_sync {
                    log.sync_ended(Err(io::Error::from_raw_os_error(125)));
                }
            }
            Pending::Sync { name, covers } => {
                let file = self.disk.file(&name).expect("it is open");
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
        let (header, bytes) = self.shards[shard].log.reopen();
        let file = FileNumber(self.next_file);
        self.next_file += 1;
        let name = format!("log.{}.{shard}.{}.{}", header.generation, header.first_sequence, file.0);
        self.disk.create(&name, &bytes).expect("the name is free");
        self.disk.sync(&name).expect("it is there");
        self.disk.sync_directory().expect("the directory is there");
        let segments = &mut self.manifest.generations.last_mut().expect("one was begun").segments;
        segments.push(SegmentFile {
            shard: shard as u16,
            first_sequence: header.first_sequence,
            name: name.clone(),
        });
        self.manifest.publish(&mut self.disk).expect("the disk works again");
        self.shards[shard].names.insert(file, name);
        self.shards[shard].log.reopened(file, bytes.len() as u64);
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

/// The changes that a plan gives back, per shard.
fn recovered(disk: &SimDisk, plan: &Plan) -> Vec<Vec<u64>> {
    let last = plan.generations.last().expect("a generation was begun");
    let of_log = |log: &load::LogPlan| {
        let mut numbers = Vec::new();
        for file in &log.files {
            let apply = |effect: torc_persist::record::Effect<'_>| {
                let text = std::str::from_utf8(effect.words[1]).expect("a number");
                numbers.push(text.parse().expect("a number"));
            };
            load::replay(disk, log, file, apply).expect("what was planned can be replayed");
        }
        numbers
    };
    last.logs.iter().map(of_log).collect()
}

/// Compares the state after a crash with what the world knows; an `Err` says what was broken.
fn judge(world: &World, state: &[Vec<u64>]) -> Result<(), String> {
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
        if world.policy == Policy::Always && change.acknowledged && holders == 0 {
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
    encrypted: bool,
}

/// Several lives of one data directory, each ended by a crash.
fn run(seed: u64, policy: Policy, options: Options) -> Result<(), String> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut disk = SimDisk::default();
    let mut next_change = 1;
    for life in 0..3 {
        let shards = 2 + random.below(3);
        if options.encrypted {
            disk.keys = keys(life);
        }
        let mut world = World::start(random.0, disk.clone(), shards, policy, 0);
        world.faults = options.faults;
        world.acknowledges_early = options.acknowledges_early;
        for _ in 0..random.below(160) {
            world.step(&mut next_change);
        }
        // Either the power fails, or the process dies and the cache survives for now.
        let process_only = random.one_in(2);
        if !process_only {
            world.disk.crash(&mut random);
        }
        let plan =
            |disk: &SimDisk| load::plan(disk, TOLERANCE).map_err(|error| format!("life {life}: {error}"));
        let first = plan(&world.disk)?.ok_or("the manifest is gone")?;
        let state = recovered(&world.disk, &first);
        judge(&world, &state).map_err(|what| format!("life {life}: {what}"))?;
        // Recovering changes nothing, so a crash in its middle does not either.
        let mut again = world.disk.clone();
        load::settle(&mut again, &first).map_err(|error| error.to_string())?;
        again.crash(&mut random);
        let second = plan(&again)?.ok_or("the manifest is gone")?;
        if recovered(&again, &second) != state {
            return Err(format!("life {life}: the second recovery gives another state"));
        }
        disk = again;
    }
    Ok(())
}

fn seeds(count: u64) -> Box<dyn Iterator<Item = u64>> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("TORC_SEED") {
        Some(seed) => Box::new(std::iter::once(seed)),
        None => Box::new(1..=number("TORC_SEEDS").unwrap_or(count)),
    }
}

fn check(policy: Policy, options: Options) {
    for seed in seeds(if options.encrypted { 700 } else { 1_500 }) {
        if let Err(what) = run(seed, policy, options) {
            panic!("TORC_SEED={seed}, {policy:?}, {options:?}: {what}");
        }
    }
}

const SOUND: Options = Options { faults: false, acknowledges_early: false, encrypted: false };
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

/// The checker notices a server that acknowledges what was written and not synced.
#[test]
fn acknowledging_too_early_is_noticed() {
    for encrypted in [false, true] {
        let options = Options { acknowledges_early: true, encrypted, ..SOUND };
        let noticed = (1..=200).filter(|&seed| run(seed, Policy::Always, options).is_err()).count();
        assert!(noticed > 20, "noticed in {noticed} of 200 seeds");
    }
}

/// The keys are needed, and the error names file and key.
#[test]
fn a_sealed_log_needs_its_key() {
    let disk = SimDisk { keys: keys(0), ..SimDisk::default() };
    let mut world = World::start(1, disk, 2, Policy::Always, 0);
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
