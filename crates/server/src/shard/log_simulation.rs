//! Whole shards over a simulated disk: commands in, replies out, and the power fails at any moment.
//!
//! Owns the clients, the disk below the logs, and what the clients know. Everything else is the server's: commands, locks,
//! transactions, expiry, the log of each shard, and the rule that says when a reply leaves. What a recovery gives back must
//! hold all that a client was told of or has read (`always`), or that was durable as WAITAOF counts it (`everysec`), and
//! nothing that nobody sent; each transaction on all shards or on none; and no key with another expiry than it was given.
//! Where the policy changes, it is the one of `always` from the moment on that all logs have been durable under it.
//! With [`faults`] the disk fails for a while, and works again. `TORC_SEEDS=n` runs more seeds, `TORC_SEED=n` one.

use std::collections::BTreeMap;
use std::io;

use torc_commands::{DataSettings, REPLAY_MS, SlotMap};
use torc_keyspace::{Changes, Keyspace, slot_of};
use torc_persist::blocks::WriteBytes;
use torc_persist::load::{self, Plan, Tolerance};
use torc_persist::log::{Action, FileNumber, NewSegment, ShardLog};
use torc_persist::manifest::{Generation, Manifest, SegmentFile};
use torc_persist::record::{Effect, Words};
use torc_persist::rewrite;
use torc_persist::seal::{Algorithm, Keys, MasterKey};
use torc_persist::store::Store as _;

use super::logging::Breach;
use crate::aof::replay::Replayer;
use crate::aof::{OpenSegment, SegmentFd};
use crate::testing::Bench;

#[path = "../../../persist/tests/disk/sim.rs"]
mod sim;

mod faults;

use sim::{Random, SimDisk, overwrite};

const TOLERANCE: Tolerance = Tolerance { torn_tail: true, hole: false };
const CLIENTS: usize = 4;
/// Keys of one transaction.
const PARTS: usize = 3;
const LIVES: usize = 3;

/// Values with their expiry, by key.
type State = BTreeMap<String, (String, Option<i64>)>;

#[derive(Clone, Copy, Debug, Default)]
struct Options {
    is_always: bool,
    /// `appendfsync no` in place of `everysec`.
    is_no: bool,
    /// CONFIG SET appendfsync now and then; begins as the others say.
    changes_policy: bool,
    is_encrypted: bool,
    has_faults: bool,
    breach: Breach,
    /// The shards are told of success where the disk has failed.
    hides_errors: bool,
}

/// What one key may hold: at least what somebody was told of last, at most what was sent last.
#[derive(Clone, Copy, Default)]
struct Bounds {
    told: u64,
    sent: u64,
}

/// What all clients know, over all lives.
#[derive(Default)]
struct Known {
    number: u64,
    keys: BTreeMap<String, Bounds>,
    /// The expiry that goes with a number, and its key.
    expiries: BTreeMap<u64, (String, i64)>,
    elapsed_ms: i64,
}

enum Asked {
    Write {
        keys: Vec<String>,
        number: u64,
        is_exec: bool,
        /// What had been sent for these keys before.
        before: Vec<u64>,
        is_promised: bool,
    },
    Read {
        key: String,
        is_promised: bool,
    },
    /// CONFIG SET appendfsync
    Setting,
}

#[derive(Default)]
struct Client {
    asked: Option<Asked>,
    heard: String,
}

/// What is under way on the disk for one shard.
enum Pending {
    Write {
        file: FileNumber,
        offset: usize,
        bytes: WriteBytes,
        then_sync: bool,
    },
    /// How many of the file's cached writes it covers.
    Sync {
        file: FileNumber,
        covers: usize,
    },
}

enum Rewrite {
    Prepared { generation: Generation, segments: Vec<OpenSegment> },
    Cut { generation: Generation, base: String },
}

struct World<'k> {
    random: Random,
    bench: Bench,
    shards: usize,
    disk: SimDisk,
    manifest: Manifest,
    inodes: BTreeMap<FileNumber, String>,
    pending: Vec<Vec<Pending>>,
    clients: Vec<Client>,
    rewrite: Option<Rewrite>,
    /// Positions of all logs, and the writes that had been answered then.
    marks: Vec<(Vec<u64>, BTreeMap<String, u64>)>,
    answered: BTreeMap<String, u64>,
    policy: &'static str,
    /// What is told of is durable.
    promises: bool,
    /// All shards have `always`, but what was under way then may not be logged yet.
    promises_soon: bool,
    /// And when it was, the logs were there: the promise holds when they are durable so far.
    promises_after: Option<Vec<u64>>,
    options: Options,
    /// Numbers of generations, and of segments in place of others, are not used again.
    last_generation: u64,
    replacements: u64,
    known: &'k mut Known,
}

impl World<'_> {
    /// A server that begins with this state.
    fn start<'k>(
        seed: u64,
        disk: SimDisk,
        shards: usize,
        options: Options,
        state: &State,
        known: &'k mut Known,
    ) -> World<'k> {
        let policy = match options {
            Options { is_always: true, .. } => "always",
            Options { is_no: true, .. } => "no",
            _ => "everysec",
        };
        let mut bench =
            Bench::with_keys(shards, &format!("--appendonly yes --appendfsync {policy}"), disk.keys.clone());
        // Otherwise CONFIG SET would begin one in a folder.
        bench.shard(0).process.aof.update(|state| state.is_on = true);
        bench.pass_ms(known.elapsed_ms);
        for (key, (value, expiry)) in state {
            let expiry = expiry.map_or(String::new(), |at| format!(" PXAT {at}"));
            assert_eq!(bench.run(&format!("SET {key} {value}{expiry}")), "+OK");
        }
        (1..CLIENTS).for_each(|_| bench.connect());
        let manifest = Manifest::load(&disk).expect("it is whole or not there").unwrap_or_default();
        let mut world = World {
            random: Random(seed),
            bench,
            shards,
            disk,
            manifest,
            inodes: BTreeMap::new(),
            pending: (0..shards).map(|_| Vec::new()).collect(),
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            rewrite: None,
            marks: Vec::new(),
            answered: BTreeMap::new(),
            policy,
            promises: options.is_always,
            promises_soon: false,
            promises_after: None,
            options,
            last_generation: 0,
            replacements: 0,
            known,
        };
        let (_, segments) = world.prepare(false).expect("the power is on");
        for (id, segment) in segments.into_iter().enumerate() {
            let shard = world.bench.shard(id);
            shard.switch_log(segment);
            shard.logging.breach = options.breach;
            shard.logging.simulated = options.has_faults.then(Default::default);
        }
        world
    }

    fn prepare(&mut self, continues: bool) -> io::Result<(Generation, Vec<OpenSegment>)> {
        let listed = self.manifest.generations.last().map_or(0, |last| last.number);
        let number = self.last_generation.max(listed) + 1;
        self.last_generation = number;
        let of_shard = |shard: u16| {
            let file = FileNumber(number * 16 + u64::from(shard));
            let name = format!("log.{number}.{shard}");
            let segment = NewSegment::new(shard, number, file, number as u32, &self.disk.keys);
            (segment, SegmentFile { shard, first_sequence: 1, name })
        };
        let (segments, listed): (Vec<NewSegment>, Vec<SegmentFile>) =
            (0..self.shards as u16).map(of_shard).unzip();
        let shards = self.shards as u16;
        let generation = Generation { number, shards, continues, segments: listed, ..Generation::default() };
        let headers = segments.iter().map(|segment| segment.header.as_slice());
        rewrite::prepare(&mut self.disk, &generation, headers)?;
        rewrite::append(&mut self.disk, &mut self.manifest, generation.clone())?;
        let mut open = Vec::new();
        for (segment, listed) in segments.into_iter().zip(&generation.segments) {
            self.inodes.insert(segment.file, self.disk.open(&listed.name));
            open.push(OpenSegment { segment, file: SegmentFd::nowhere() });
        }
        Ok((generation, open))
    }

    fn step(&mut self) {
        if self.options.has_faults {
            self.faults_step();
        }
        match self.random.below(10) {
            0..=3 => self.ask(),
            4 | 5 => {
                let shard = self.random.below(self.shards);
                self.hand_over(shard);
            }
            6 => {
                let ms = self.random.below(300) as i64;
                self.known.elapsed_ms += ms;
                self.bench.pass_ms(ms);
            }
            _ => self.disk_step(),
        }
        if self.random.one_in(6) {
            self.rewrite_step();
        }
        if self.options.changes_policy && self.random.one_in(12) {
            self.change_policy();
        }
        self.hear();
        if !self.promises {
            self.look_at_marks();
        }
    }

    fn change_policy(&mut self) {
        let policy = ["always", "everysec", "no"][self.random.below(3)];
        let Some(client) = (0..CLIENTS).find(|&client| self.clients[client].asked.is_none()) else { return };
        // Of two changes under way at once either may be the last.
        let is_changing = self.clients.iter().any(|client| matches!(client.asked, Some(Asked::Setting)));
        if policy == self.policy || is_changing {
            return;
        }
        self.policy = policy;
        (self.promises, self.promises_soon, self.promises_after) = (false, false, None);
        // What waits for locks happens under the new policy.
        for client in &mut self.clients {
            if let Some(Asked::Write { is_promised, .. } | Asked::Read { is_promised, .. }) =
                &mut client.asked
            {
                *is_promised = false;
            }
        }
        self.bench.switch(client);
        // Its reply may have to wait, too: nobody asks anything here meanwhile.
        let heard = self.bench.run(&format!("CONFIG SET appendfsync {policy}"));
        self.clients[client] = Client { asked: Some(Asked::Setting), heard };
    }

    /// Under `always`, once what was under way when the shards got it is durable.
    fn look_at_promise(&mut self) {
        let shards = 0..self.shards;
        if self.promises_soon && shards.clone().all(|shard| self.bench.shard(shard).is_between_transactions())
        {
            self.promises_soon = false;
            self.promises_after = Some(shards.map(|shard| self.bench.shard(shard).logged_to()).collect());
        }
        let process = std::sync::Arc::clone(&self.bench.shard(0).process);
        if self.promises_after.as_ref().is_some_and(|positions| process.aof.are_durable(positions)) {
            (self.promises, self.promises_after) = (true, None);
        }
    }

    /// A client that waits for nothing asks for something.
    fn ask(&mut self) {
        let client = self.random.below(CLIENTS);
        if self.clients[client].asked.is_some() {
            return;
        }
        self.known.number += 1;
        let number = self.known.number;
        let value = format!("{number}:{}", "v".repeat(self.random.below(900)));
        let parts = |kind: &str| (0..PARTS).map(|part| format!("{kind}:{client}:{part}")).collect::<Vec<_>>();
        let key = self.random.below(6);
        let (keys, lines, is_exec) = match self.random.below(10) {
            0..=2 => {
                let key = format!("k:{client}:{key}");
                (vec![key.clone()], format!("SET {key} {value}"), false)
            }
            3 => {
                let key = format!("e:{client}:{key}");
                let at = 1_700_000_000_000 + self.known.elapsed_ms + 1 + self.random.below(2_000) as i64;
                self.known.expiries.insert(number, (key.clone(), at));
                (vec![key.clone()], format!("SET {key} {value} PXAT {at}"), false)
            }
            4 | 5 => {
                let keys = parts("m");
                let pairs: String = keys.iter().map(|key| format!(" {key} {value}")).collect();
                (keys, format!("MSET{pairs}"), false)
            }
            6 | 7 => {
                let keys = parts("t");
                let sets: String = keys.iter().map(|key| format!("SET {key} {value}\n")).collect();
                (keys, format!("MULTI\n{sets}EXEC"), true)
            }
            _ => {
                let known = self.known.keys.len();
                let Some(key) = self.known.keys.keys().nth(self.random.below(known.max(1))).cloned() else {
                    return;
                };
                self.bench.switch(client);
                let heard = self.bench.run(&format!("GET {key}"));
                self.clients[client] =
                    Client { asked: Some(Asked::Read { key, is_promised: self.promises }), heard };
                return;
            }
        };
        let mut send = |key: &String| {
            let bounds = self.known.keys.entry(key.clone()).or_default();
            std::mem::replace(&mut bounds.sent, number)
        };
        let before = keys.iter().map(&mut send).collect();
        let is_refused = self.bench.shard(client % self.shards).state.log_failure.is_some();
        self.bench.switch(client);
        let heard = self.bench.run(&lines);
        assert_eq!(heard.contains("-MISCONF"), is_refused, "{heard}");
        self.clients[client] = Client {
            asked: Some(Asked::Write { keys, number, is_exec, before, is_promised: self.promises }),
            heard,
        };
    }

    /// Replies that have come.
    fn hear(&mut self) {
        self.look_at_promise();
        for (number, client) in self.clients.iter_mut().enumerate() {
            let Some(asked) = &client.asked else { continue };
            self.bench.switch(number);
            client.heard.push_str(&self.bench.take_received());
            let (told, keys, is_promised) = match asked {
                _ if client.heard.is_empty() => continue,
                Asked::Setting => {
                    assert_eq!(client.heard, "+OK");
                    client.asked = None;
                    self.promises_soon = self.policy == "always";
                    continue;
                }
                Asked::Write { keys, number, before, .. } if client.heard.contains("-MISCONF") => {
                    // Nothing of it may ever be found.
                    self.known.expiries.remove(number);
                    for (key, before) in keys.iter().zip(before) {
                        self.known.keys.get_mut(key).expect("it was sent").sent = *before;
                    }
                    client.asked = None;
                    continue;
                }
                Asked::Write { is_exec: true, .. } if !client.heard.contains('*') => continue,
                Asked::Write { keys, number, is_promised, .. } => {
                    assert!(!client.heard.contains('-'), "{}", client.heard);
                    for key in keys {
                        self.answered.insert(key.clone(), *number);
                    }
                    (*number, keys.as_slice(), *is_promised)
                }
                Asked::Read { key, is_promised } => {
                    let value = client.heard.split_once(' ').map_or("0", |(_, value)| value);
                    (number_of(value), std::slice::from_ref(key), *is_promised)
                }
            };
            for key in keys.iter().filter(|_| is_promised) {
                let bounds = self.known.keys.get_mut(key).expect("it was asked for");
                bounds.told = bounds.told.max(told);
            }
            client.asked = None;
        }
    }

    /// What had been answered before some moment is promised when the logs are durable up to there.
    fn look_at_marks(&mut self) {
        if self.random.one_in(8) {
            let positions = (0..self.shards).map(|shard| self.bench.shard(shard).logged_to()).collect();
            self.marks.push((positions, self.answered.clone()));
        }
        let process = std::sync::Arc::clone(&self.bench.shard(0).process);
        let known = &mut self.known.keys;
        self.marks.retain(|(positions, answered)| {
            let is_durable = process.aof.are_durable(positions);
            for (key, number) in answered.iter().filter(|_| is_durable) {
                let bounds = known.get_mut(key).expect("it was sent");
                bounds.told = bounds.told.max(*number);
            }
            !is_durable
        });
    }

    fn hand_over(&mut self, shard: usize) {
        while let Some(action) = self.bench.shard(shard).next_log_action() {
            let pending = match action {
                Action::Write { file, offset, bytes, then_sync } => {
                    Pending::Write { file, offset: offset as usize, bytes, then_sync }
                }
                Action::Sync { file } => {
                    Pending::Sync { file, covers: self.disk.opened(&self.inodes[&file]).cached.len() }
                }
            };
            self.pending[shard].push(pending);
        }
        self.bench.settle();
    }

    /// One operation of the disk ends.
    fn disk_step(&mut self) {
        let busy: Vec<usize> = (0..self.shards).filter(|&shard| !self.pending[shard].is_empty()).collect();
        if busy.is_empty() {
            return;
        }
        let shard = busy[self.random.below(busy.len())];
        let index = self.random.below(self.pending[shard].len());
        match self.pending[shard].remove(index) {
            Pending::Write { file, offset, bytes, then_sync } => {
                let (taken, outcome) = self.outcome_of_write(bytes.len());
                let inode = &self.inodes[&file];
                self.disk.note_write(inode, offset, &bytes);
                self.disk.write(inode, offset, &bytes[..taken]);
                let covers = self.disk.opened(inode).cached.len();
                let failed = outcome.as_ref().ok() != Some(&bytes.len());
                let error = outcome.as_ref().err().and_then(io::Error::raw_os_error);
                if then_sync && !failed {
                    self.pending[shard].push(Pending::Sync { file, covers });
                }
                self.bench.shard(shard).log_write_ended(file, outcome);
                if then_sync && failed {
                    let outcome = error.map_or(Ok(()), |error| Err(io::Error::from_raw_os_error(error)));
                    self.bench.shard(shard).log_sync_ended(file, outcome);
                }
            }
            Pending::Sync { file, covers } if self.sync_fails() => self.fail_sync(shard, file, covers),
            Pending::Sync { file, covers } => {
                let content = self.disk.opened(&self.inodes[&file]);
                for (at, bytes) in content.cached.drain(..covers.min(content.cached.len())) {
                    overwrite(&mut content.durable, at, &bytes);
                }
                self.bench.shard(shard).log_sync_ended(file, Ok(()));
            }
        }
        self.bench.settle();
    }

    /// The next step of a rewrite; where the power fails in it, the life is over.
    fn rewrite_step(&mut self) {
        self.rewrite = match self.rewrite.take() {
            None => {
                let prepared = self.prepare(true).ok();
                prepared.map(|(generation, segments)| Rewrite::Prepared { generation, segments })
            }
            Some(Rewrite::Prepared { generation, segments }) => {
                // The server's cut is a transaction that has all shards locked: it waits for those before it.
                let may_cut = |id| {
                    let shard = self.bench.shard(id);
                    let log = shard.logging.log.as_deref();
                    shard.is_between_transactions() && !log.is_some_and(ShardLog::is_switching)
                };
                if !(0..self.shards).all(may_cut) {
                    Some(Rewrite::Prepared { generation, segments })
                } else {
                    Some(Rewrite::Cut { generation, base: self.cut(segments) })
                }
            }
            Some(Rewrite::Cut { generation, base }) => {
                let _ = self.take_over(generation, &base);
                None
            }
        };
    }

    /// All shards stand still: their logs go on in the new segments, and the data are those of the base.
    fn cut(&mut self, segments: Vec<OpenSegment>) -> String {
        let mut base = String::new();
        for (id, segment) in segments.into_iter().enumerate() {
            let shard = self.bench.shard(id);
            shard.switch_log(segment);
            for (key, (value, expiry)) in content(&mut shard.keyspace) {
                base += &format!("{key} {value} {}\n", expiry.unwrap_or(0));
            }
        }
        base
    }

    fn take_over(&mut self, generation: Generation, base: &str) -> io::Result<()> {
        let name = format!("base.{}", generation.number);
        self.disk.create(&name, base.as_bytes())?;
        self.disk.sync(&name)?;
        rewrite::take_over(&mut self.disk, &mut self.manifest, generation, name)
    }

    /// Compares what was recovered with what the clients know, and takes it for the truth from here on.
    fn judge(&mut self, state: &State) -> Result<(), String> {
        let now_ms = 1_700_000_000_000 + self.known.elapsed_ms;
        if let Some(key) = state.keys().find(|key| !self.known.keys.contains_key(*key)) {
            return Err(format!("{key} was never sent"));
        }
        for (key, bounds) in &mut self.known.keys {
            let found = state.get(key);
            let value = found.map_or(0, |(value, _)| number_of(value));
            let Bounds { told, sent } = *bounds;
            *bounds = Bounds { told: value, sent: value };
            // What came after the last that somebody knows of may have been there, and be over.
            let mut later = self.known.expiries.range(told..=sent.max(told));
            let is_over = found.is_none() && later.any(|(_, (of, at))| of == key && *at <= now_ms);
            if value > sent {
                return Err(format!("{key} is {value}, which was never sent or had been lost ({sent})"));
            }
            if value < told && !is_over {
                return Err(format!("{key} is {value}, but somebody knows of {told}"));
            }
            let expiry = found.and_then(|(_, expiry)| *expiry);
            if expiry != self.known.expiries.get(&value).map(|(_, at)| *at) {
                return Err(format!("{key} expires at {expiry:?} with the value {value}"));
            }
        }
        for (kind, client) in ["m", "t"].into_iter().flat_map(|kind| (0..CLIENTS).map(move |one| (kind, one)))
        {
            let parts = (0..PARTS).map(|part| state.get(&format!("{kind}:{client}:{part}")));
            let numbers: Vec<u64> =
                parts.map(|found| found.map_or(0, |(value, _)| number_of(value))).collect();
            if numbers.iter().any(|number| *number != numbers[0]) {
                return Err(format!("a transaction is not whole: {kind}:{client} is {numbers:?}"));
            }
        }
        Ok(())
    }
}

fn number_of(value: &str) -> u64 {
    value.split(':').next().and_then(|number| number.parse().ok()).expect("a value begins with its number")
}

fn content(keyspace: &mut Keyspace) -> State {
    let mut state = State::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text was sent");
    keyspace.for_each(0, REPLAY_MS, &mut Changes::default(), |entry| {
        let value = entry.str_ref().expect("all are strings").to_vec();
        state.insert(text(entry.key()), (text(&value), entry.expire_at()));
    });
    state
}

/// What a start would make of this plan, with the code that replays a log there.
fn recovered(disk: &SimDisk, plan: &Plan) -> Result<State, String> {
    let settings = DataSettings { databases: 1, ..DataSettings::default() };
    let mut state = State::new();
    for generation in &plan.generations {
        if let [base] = generation.bases.as_slice() {
            let text = disk.read(base).map_err(|error| format!("{base}: {error}"))?;
            state = String::from_utf8(text).expect("text").lines().map(key_of_base).collect();
        }
        let slots = SlotMap::even(generation.shards);
        let mut next = State::new();
        for (shard, log) in generation.logs.iter().enumerate() {
            let mut replayer = Replayer::new(Keyspace::new(1, 1), &settings, &slots, shard as u16);
            for (key, (value, expiry)) in &state {
                if usize::from(slots.owner(slot_of(key.as_bytes()))) == shard {
                    let at = expiry.map(|at| at.to_string());
                    let mut words = Words::from_slice(&[&b"SET"[..], key.as_bytes(), value.as_bytes()]);
                    words.extend(at.iter().flat_map(|at| [&b"PXAT"[..], at.as_bytes()]));
                    replayer.apply(&Effect { db: 0, words })?;
                }
            }
            for file in &log.files {
                let mut outcome = Ok(());
                load::replay(disk, log, file, |effect| {
                    if outcome.is_ok() {
                        outcome = replayer.apply(&effect);
                    }
                })
                .map_err(|error| error.to_string())?;
                outcome?;
            }
            let (mut keyspace, outcome) = replayer.finish();
            outcome?;
            next.extend(content(&mut keyspace));
        }
        state = next;
    }
    Ok(state)
}

fn key_of_base(line: &str) -> (String, (String, Option<i64>)) {
    let mut words = line.split(' ').map(str::to_owned);
    let mut word = || words.next().expect("three words");
    let (key, value, at) = (word(), word(), word());
    let at: i64 = at.parse().expect("a number");
    (key, (value, (at > 0).then_some(at)))
}

/// The keys of a life: every second one has another master key and another cipher.
fn keys(life: usize) -> Keys {
    let master = |byte| MasterKey::parse(&[byte; 32]).expect("a key");
    match life % 2 {
        0 => Keys::new(Algorithm::Aes256Gcm, master(1), vec![master(2)]),
        _ => Keys::new(Algorithm::ChaCha20Poly1305, master(2), vec![master(1)]),
    }
}

/// Several lives of one folder, each ended by a crash.
fn run(seed: u64, options: Options) -> Result<(), String> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut disk, mut state, mut known) = (SimDisk::default(), State::new(), Known::default());
    for life in 0..LIVES {
        let shards = 1 + random.below(4);
        if options.is_encrypted {
            disk.keys = keys(life);
        }
        let mut world = World::start(random.0, disk, shards, options, &state, &mut known);
        if random.one_in(2) {
            world.disk.fuse = Some(random.below(60));
        }
        for _ in 0..random.below(150) {
            world.step();
            if world.disk.interrupted.is_some() || world.has_ended() {
                break;
            }
        }
        world.disk.fuse = None;
        if options.has_faults && world.disk.interrupted.is_none() && random.one_in(3) {
            world.heal().map_err(|what| format!("life {life}: {what}"))?;
        }
        world.disk.fault = None;
        world.disk.interrupted = None;
        // Either the power fails, or the process dies and what the system was given survives for now.
        if !random.one_in(4) {
            world.disk.crash(&mut random);
        }
        let plan = |disk: &SimDisk| {
            let plan = load::plan(disk, TOLERANCE).map_err(|error| format!("life {life}: {error}"))?;
            plan.ok_or_else(|| "the manifest is gone".to_owned())
        };
        let first = plan(&world.disk)?;
        state = recovered(&world.disk, &first)?;
        world.judge(&state).map_err(|what| format!("life {life}, {shards} shards: {what}"))?;
        // A start that is interrupted, and another one.
        let mut again = world.disk.clone();
        load::settle(&mut again, &first).map_err(|error| error.to_string())?;
        again.crash(&mut random);
        if recovered(&again, &plan(&again)?)? != state {
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

fn check(count: u64, options: Options) {
    for seed in seeds(count) {
        if let Err(what) = run(seed, options) {
            panic!("TORC_SEED={seed}, {options:?}: {what}");
        }
    }
}

const ALWAYS: Options = Options {
    is_always: true,
    is_no: false,
    changes_policy: false,
    is_encrypted: false,
    has_faults: false,
    breach: Breach::None,
    hides_errors: false,
};
const EVERYSEC: Options = Options { is_always: false, ..ALWAYS };

#[test]
fn always_loses_nothing_that_anybody_was_told() {
    check(1_000, ALWAYS);
}

#[test]
fn everysec_loses_nothing_that_was_durable() {
    check(1_000, EVERYSEC);
}

#[test]
fn without_syncs_nothing_is_lost_that_was_durable() {
    check(300, Options { is_no: true, ..EVERYSEC });
}

#[test]
fn the_policy_may_change() {
    check(500, Options { changes_policy: true, ..ALWAYS });
    check(500, Options { changes_policy: true, ..EVERYSEC });
}

#[test]
fn encrypted_logs_lose_nothing_either() {
    check(300, Options { is_encrypted: true, ..ALWAYS });
    check(300, Options { is_encrypted: true, ..EVERYSEC });
}

/// A server that breaks the rule of acknowledgement is caught, whichever half of it it breaks.
#[test]
fn a_broken_rule_is_noticed() {
    // Where the policy becomes `always` later on, the rule holds from then on.
    let begins_otherwise = Options { changes_policy: true, ..EVERYSEC };
    for (breach, options) in [
        (Breach::TellsAtOnce, ALWAYS),
        (Breach::UnlocksAtOnce, ALWAYS),
        (Breach::TellsAtOnce, begins_otherwise),
    ] {
        let is_caught = (1..=300).any(|seed| run(seed, Options { breach, ..options }).is_err());
        assert!(is_caught, "{breach:?}, {options:?}");
    }
}
