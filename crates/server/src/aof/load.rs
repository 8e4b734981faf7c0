//! The data out of an append-only file: base, then the logs of all shards, generation after generation.
//!
//! Owns the way from a [`Plan`] to one keyspace for each shard of this process, whatever number of shards wrote the files.
//! Each log is replayed on a keyspace of its own, in parallel; keys go to other shards when a generation is whole. Runs
//! before the shards exist or in threads beside them, and changes no file but to make it durable.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use torc_commands::{DataSettings, REPLAY_MS, SlotMap};
use torc_keyspace::{Changes, Keyspace, slot_of};
use torc_persist::left_out::LeftOut;
use torc_persist::load::{self, GenerationPlan, LogPlan, Plan, Tolerance};
use torc_persist::manifest::{Manifest, SlotRange};
use torc_persist::redis_aof::{Logged, Reading, RedisLog};
use torc_persist::seal::Keys;
use torc_persist::store::Directory;

use crate::config::Config;
use crate::saving::load::LoadPlan;
use crate::saving::loading::Progress;
use crate::session::state::data_settings;

use super::foreign::Foreign;
use super::replay::{Refused, Replayer};

/// How a log is to be loaded.
pub struct AofLoad {
    pub folder: PathBuf,
    pub keys: Keys,
    pub settings: DataSettings,
    pub slots: Arc<SlotMap>,
    /// Seed of the keyspaces.
    pub seed: u64,
    /// `aof-load-truncated`
    pub tolerates_torn_tail: bool,
    pub checks_sum: bool,
    /// `appendfilename`: how files of a Redis server would be called.
    pub name: String,
    pub progress: Arc<Progress>,
}

/// What was in it.
pub struct LoadedAof {
    /// One for each shard.
    pub keyspaces: Vec<Keyspace>,
    pub functions: Vec<Vec<u8>>,
    pub effects: u64,
    pub keys: u64,
    /// What of it does not count.
    pub left_out: Vec<LeftOut>,
    /// A Redis or Valkey server has written it.
    pub is_foreign: bool,
}

impl LoadedAof {
    /// Says in the log what does not count.
    pub fn tell_left_out(&self) {
        for LeftOut { file, at, bytes, records, why } in &self.left_out {
            let reason = why.as_str();
            tracing::warn!(file, offset = at, bytes, records, reason, "a part of the log does not count");
        }
    }
}

/// Why a log can't be loaded. Displays as one line.
#[derive(Debug)]
pub struct AofLoadError(String);

impl fmt::Display for AofLoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AofLoadError {}

fn failed(what: impl fmt::Display) -> AofLoadError {
    AofLoadError(what.to_string())
}

impl AofLoad {
    /// As the settings say.
    pub fn new(config: &Config, keys: &Keys, slots: Arc<SlotMap>, seed: u64) -> AofLoad {
        AofLoad {
            folder: config.dir().join(config.appenddirname()),
            keys: keys.clone(),
            settings: data_settings(config),
            slots,
            seed,
            tolerates_torn_tail: config.aof_load_truncated(),
            checks_sum: config.rdbchecksum(),
            name: config.appendfilename().to_owned(),
            progress: Arc::default(),
        }
    }

    /// Reads the folder; `Ok(None)` if there is no log in it.
    pub fn load(&self) -> Result<Option<LoadedAof>, AofLoadError> {
        let mut directory = match Directory::existing(&self.folder) {
            Ok(directory) => directory.with_keys(self.keys.clone()).counting(&self.progress.checked_bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(format!("cannot read {}: {error}", self.folder.display()))),
        };
        let tolerance = Tolerance { torn_tail: self.tolerates_torn_tail, hole: false };
        // What is wrong with the manifest is said by the plan.
        let manifest = Manifest::load(&directory).ok().flatten().unwrap_or_default();
        self.note_total(manifest.files());
        let Some(plan) = load::plan(&directory, tolerance).map_err(failed)? else {
            return self.load_of_redis();
        };
        load::settle(&mut directory, &plan).map_err(failed)?;
        self.run(&directory, &plan).map(Some)
    }

    /// What INFO calls 100 %.
    fn note_total<'a>(&self, files: impl Iterator<Item = &'a str>) {
        let bytes_of = |name| std::fs::metadata(self.folder.join(name)).map_or(0, |metadata| metadata.len());
        self.progress.total_bytes.store(files.map(bytes_of).sum(), Ordering::Relaxed);
    }

    /// The log that a Redis or Valkey server has left in the folder. Its commands may name keys of several shards, so it is
    /// replayed on one keyspace.
    pub(crate) fn load_of_redis(&self) -> Result<Option<LoadedAof>, AofLoadError> {
        let Some(log) = RedisLog::find(&self.folder, &self.name).map_err(failed)? else { return Ok(None) };
        self.note_total(log.files().iter().map(String::as_str));
        let one = SlotMap::even(1);
        // Redis logs commands as they came: the settings decide about the form of HyperLogLogs.
        let settings = DataSettings { encodings: self.settings.encodings, ..self.settings.for_replay() };
        let mut foreign = Foreign::new(Replayer::new(self.empty_keyspace(), &settings, &one, 0));
        let limits = self.settings.encodings.rdb_limits();
        let reading = Reading {
            limits: &limits,
            checks_sum: self.checks_sum,
            torn_tail: self.tolerates_torn_tail,
            read_bytes: &self.progress.loaded_bytes,
        };
        // Where the command is that can't be repeated: the reader may be a few commands ahead.
        let mut refused_at = None;
        let summary = log.read(reading, |logged| {
            let outcome = match logged {
                Logged::Note { name, text } => {
                    self.progress.note_aux(&name, &text);
                    Ok(())
                }
                Logged::Function(source) => {
                    foreign.library(source);
                    Ok(())
                }
                Logged::Key(key) => foreign.key(key),
                Logged::Commands(commands) => commands.iter().try_for_each(|one| foreign.command(one)),
                Logged::FileEnd => foreign.flush(),
            };
            outcome.map_err(|Refused { place, reason }| {
                refused_at = Some(place);
                reason
            })
        });
        let summary = summary.map_err(|mut error| {
            error.offset = refused_at.unwrap_or(error.offset);
            failed(error)
        })?;
        let (keyspace, functions) = foreign.finish();
        let keyspaces = self.deal_anew(vec![keyspace], &self.slots);
        Ok(Some(LoadedAof {
            keys: keyspaces.iter().map(keys_of).sum(),
            keyspaces,
            functions,
            effects: summary.commands,
            left_out: summary.torn.into_iter().collect(),
            is_foreign: true,
        }))
    }

    /// Replays what a plan of the folder says.
    pub(crate) fn run(&self, directory: &Directory, plan: &Plan) -> Result<LoadedAof, AofLoadError> {
        let empty = LoadedAof {
            keyspaces: Vec::new(),
            functions: Vec::new(),
            effects: 0,
            keys: 0,
            left_out: Vec::new(),
            is_foreign: false,
        };
        let directory = &directory.clone().counting(&self.progress.loaded_bytes);
        let (mut loaded, mut slots) = (empty, None);
        for generation in &plan.generations {
            let of_generation = Arc::new(slot_map(generation.shards, &generation.slots)?);
            loaded.keyspaces = match slots {
                None => self.empty_keyspaces(&of_generation),
                Some(_) => self.deal_anew(std::mem::take(&mut loaded.keyspaces), &of_generation),
            };
            for base in &generation.bases {
                self.load_base(base, &of_generation, &mut loaded)?;
            }
            self.replay_logs(directory, generation, &of_generation, &mut loaded)?;
            slots = Some(of_generation);
        }
        loaded.keyspaces = match slots {
            None => self.empty_keyspaces(&self.slots),
            Some(_) => self.deal_anew(std::mem::take(&mut loaded.keyspaces), &self.slots),
        };
        for keyspace in &mut loaded.keyspaces {
            keyspace.set_access_clock(self.settings.access_clock());
            loaded.keys += keys_of(keyspace);
        }
        Ok(loaded)
    }

    fn empty_keyspaces(&self, slots: &SlotMap) -> Vec<Keyspace> {
        (0..slots.shards()).map(|_| self.empty_keyspace()).collect()
    }

    fn empty_keyspace(&self) -> Keyspace {
        let mut keyspace = Keyspace::new(self.seed, self.settings.databases);
        keyspace.set_access_clock(self.settings.access_clock());
        keyspace
    }

    fn load_base(
        &self,
        base: &str,
        slots: &Arc<SlotMap>,
        loaded: &mut LoadedAof,
    ) -> Result<(), AofLoadError> {
        let plan = LoadPlan {
            path: self.folder.join(base),
            keys: self.keys.clone(),
            slots: Arc::clone(slots),
            seed: self.seed,
            settings: self.settings.clone(),
            checks_sum: self.checks_sum,
            // What has expired since is still needed: the log tells what came after it.
            now_ms: REPLAY_MS,
            progress: Arc::clone(&self.progress),
        };
        let missing = || failed(format!("{} is missing", self.folder.join(base).display()));
        let file = plan.load().map_err(failed)?.ok_or_else(missing)?;
        loaded.functions = file.functions;
        for (keyspace, from_file) in loaded.keyspaces.iter_mut().zip(file.keyspaces) {
            keyspace.replace_all(from_file);
        }
        Ok(())
    }

    /// Replays the logs of a generation, as many at a time as there are cores.
    fn replay_logs(
        &self,
        directory: &Directory,
        generation: &GenerationPlan,
        slots: &SlotMap,
        loaded: &mut LoadedAof,
    ) -> Result<(), AofLoadError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(generation.logs.len());
        let next = AtomicUsize::new(0);
        let places: Vec<_> = std::mem::take(&mut loaded.keyspaces)
            .into_iter()
            .map(|keyspace| std::sync::Mutex::new((Some(keyspace), Ok(0))))
            .collect();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let shard = next.fetch_add(1, Ordering::Relaxed);
                        let Some(place) = places.get(shard) else { return };
                        let mut place = place.lock().expect("no holder panics");
                        let keyspace = place.0.take().expect("each is taken once");
                        let log = &generation.logs[shard];
                        let (keyspace, outcome) =
                            self.replay_log(directory, log, slots, shard as u16, keyspace);
                        *place = (Some(keyspace), outcome);
                    }
                });
            }
        });
        for (place, log) in places.into_iter().zip(&generation.logs) {
            let (keyspace, outcome) = place.into_inner().expect("no holder panics");
            loaded.effects += outcome?;
            loaded.left_out.extend_from_slice(&log.left_out);
            loaded.keyspaces.push(keyspace.expect("it was put back"));
        }
        Ok(())
    }

    fn replay_log(
        &self,
        directory: &Directory,
        log: &LogPlan,
        slots: &SlotMap,
        shard: u16,
        keyspace: Keyspace,
    ) -> (Keyspace, Result<u64, AofLoadError>) {
        let settings = self.settings.for_replay();
        let mut replayer = Replayer::new(keyspace, &settings, slots, shard);
        let mut outcome = Ok(());
        let mut last = "";
        for file in &log.files {
            last = &file.name;
            let replayed = load::replay(directory, log, file, |effect| {
                if outcome.is_ok() {
                    outcome =
                        replayer.apply(&effect).map_err(|error| failed(format!("{}: {error}", file.name)));
                }
            });
            outcome = outcome.and(replayed.map_err(failed));
            if outcome.is_err() {
                break;
            }
        }
        let (keyspace, effects) = replayer.finish();
        (keyspace, outcome.and(effects.map_err(|error| failed(format!("{last}: {error}")))))
    }

    /// Gives keys to the shards that own them now.
    fn deal_anew(&self, keyspaces: Vec<Keyspace>, slots: &SlotMap) -> Vec<Keyspace> {
        let owns = |shard: usize, keyspace: &Keyspace| {
            (0..torc_keyspace::SLOTS as u16).all(|slot| {
                usize::from(slots.owner(slot)) == shard
                    || (0..keyspace.databases()).all(|db| keyspace.slot_len(db, slot) == 0)
            })
        };
        let fits = keyspaces.len() == usize::from(slots.shards());
        if fits && keyspaces.iter().enumerate().all(|(shard, keyspace)| owns(shard, keyspace)) {
            return keyspaces;
        }
        let mut dealt = self.empty_keyspaces(slots);
        for mut keyspace in keyspaces {
            for db in 0..keyspace.databases() {
                let mut names: Vec<Box<[u8]>> = Vec::with_capacity(keyspace.len(db));
                keyspace
                    .for_each(db, REPLAY_MS, &mut Changes::default(), |entry| names.push(entry.key().into()));
                for name in names {
                    let key = keyspace.key(&name);
                    let mut entries = Vec::new();
                    keyspace.export(&key, &mut entries);
                    dealt[usize::from(slots.owner(slot_of(&name)))].import(entries);
                }
            }
        }
        dealt
    }
}

/// Keys of all databases.
fn keys_of(keyspace: &Keyspace) -> u64 {
    (0..keyspace.databases()).map(|db| keyspace.len(db) as u64).sum()
}

/// The slot map that a generation was written with.
fn slot_map(shards: u16, ranges: &[SlotRange]) -> Result<SlotMap, AofLoadError> {
    let ranges: Vec<(u16, u16, u16)> =
        ranges.iter().map(|range| (range.first, range.last, range.shard)).collect();
    SlotMap::of_ranges(shards, &ranges).ok_or_else(|| failed("the manifest's slot ranges make no sense"))
}
