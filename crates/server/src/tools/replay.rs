//! A log becomes data: its bases and effects, generation after generation, in one keyspace for each shard that the
//! generation had.
//!
//! Owns the way of keys between generations with different shards, and the call of a command for an effect. Never serves,
//! and never changes a file.

use std::fmt;
use std::fs::File;

use torc_commands::{Context, DataSettings, REPLAY_MS, Run, Waiting};
use torc_keyspace::{Changes, Exported, Keyspace, Rng, SLOTS, SlotMap, slot_of};
use torc_persist::load::{self, GenerationPlan, LoadError, Plan};
use torc_persist::rdb::{FileError, FileReader, Item};
use torc_persist::record::Effect;
use torc_persist::store::{Directory, Store};
use torc_resp::{CommandError, OwnedArgs, Proto, Reply, ReplyBuf};

use crate::registry::{Route, registry};

const SEED: u64 = 1;

/// The data of a log.
pub struct Replayed {
    /// By shard of the last generation.
    pub keyspaces: Vec<Keyspace>,
    /// Libraries of functions.
    pub functions: Vec<Vec<u8>>,
    settings: DataSettings,
    owners: Vec<u16>,
}

/// Why a log can't be replayed.
#[derive(Debug)]
pub enum ReplayError {
    Load(LoadError),
    Base(FileError),
    /// A file, and what of it can't be done.
    Effect {
        file: String,
        reason: String,
    },
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplayError::Load(error) => write!(f, "{error}"),
            ReplayError::Base(error) => write!(f, "{error}"),
            ReplayError::Effect { file, reason } => write!(f, "{file}: {reason}"),
        }
    }
}

impl std::error::Error for ReplayError {}

impl Replayed {
    /// Everything that a plan says.
    pub fn of(dir: &Directory, plan: &Plan, settings: DataSettings) -> Result<Replayed, ReplayError> {
        let mut replayed =
            Replayed { keyspaces: Vec::new(), functions: Vec::new(), settings, owners: Vec::new() };
        for generation in &plan.generations {
            replayed.spread(generation);
            for base in &generation.bases {
                replayed.load_base(dir, base)?;
            }
            replayed.replay(dir, generation)?;
        }
        Ok(replayed)
    }

    /// Brings all keys to the shards of this generation.
    fn spread(&mut self, generation: &GenerationPlan) {
        let mut owners = vec![0; SLOTS];
        if generation.slots.is_empty() {
            let even = SlotMap::even(generation.shards);
            (0..SLOTS as u16).for_each(|slot| owners[usize::from(slot)] = even.owner(slot));
        }
        for range in &generation.slots {
            owners[usize::from(range.first)..=usize::from(range.last)].fill(range.shard);
        }
        // A manifest mended by hand may name a shard that there is not.
        let shards = owners.iter().map(|owner| owner + 1).max().unwrap_or(1).max(generation.shards);
        if owners == self.owners {
            return;
        }
        let databases = self.settings.databases;
        let mut spread: Vec<Exported> = (0..shards).map(|_| Vec::new()).collect();
        for mut keyspace in std::mem::take(&mut self.keyspaces) {
            let mut keys = std::collections::BTreeSet::new();
            for db in 0..databases {
                keyspace.for_each(db, REPLAY_MS, &mut Changes::default(), |entry| {
                    keys.insert(Box::<[u8]>::from(entry.key()));
                });
            }
            for bytes in keys {
                let key = keyspace.key(&bytes);
                keyspace.export(&key, &mut spread[usize::from(owners[usize::from(key.slot)])]);
            }
        }
        self.owners = owners;
        self.keyspaces = spread
            .into_iter()
            .map(|entries| {
                let mut keyspace = Keyspace::new(SEED, databases);
                keyspace.import(entries);
                keyspace
            })
            .collect();
    }

    fn load_base(&mut self, dir: &Directory, base: &str) -> Result<(), ReplayError> {
        let failed = |reason| ReplayError::Base(FileError { file: base.to_owned(), offset: 0, reason });
        let file =
            File::open(dir.path_of(base)).map_err(|error| failed(format!("cannot be opened: {error}")))?;
        let limits = self.settings.encodings.rdb_limits();
        let mut reader =
            FileReader::open_with(file, base, limits, true, dir.keys()).map_err(ReplayError::Base)?;
        while let Some(item) = reader.next_item().map_err(ReplayError::Base)? {
            match item {
                Item::Aux { .. } => {}
                Item::Function(source) => self.functions.push(source),
                Item::Key(key) if key.db >= self.settings.databases => {
                    return Err(ReplayError::Base(reader.complaint(&no_database(key.db))));
                }
                Item::Key(key) => {
                    let owner = self.owners[usize::from(slot_of(key.entry.key()))];
                    if !self.keyspaces[usize::from(owner)].load(key.db, key.entry, REPLAY_MS) {
                        return Err(ReplayError::Base(reader.complaint("a key that was there before")));
                    }
                }
            }
        }
        Ok(())
    }

    fn replay(&mut self, dir: &Directory, generation: &GenerationPlan) -> Result<(), ReplayError> {
        let mut rng = Rng::new(SEED);
        for (log, keyspace) in generation.logs.iter().zip(&mut self.keyspaces) {
            for file in &log.files {
                let mut failed = None;
                let mut number = 0u64;
                load::replay(dir, log, file, |effect| {
                    number += 1;
                    if failed.is_none()
                        && let Err(reason) = apply(keyspace, &self.settings, &mut rng, &effect)
                    {
                        failed = Some(format!("its effect {number} cannot be replayed: {reason}"));
                    }
                })
                .map_err(ReplayError::Load)?;
                if let Some(reason) = failed {
                    return Err(ReplayError::Effect { file: file.name.clone(), reason });
                }
            }
        }
        Ok(())
    }
}

fn no_database(db: usize) -> String {
    format!("it needs database {db}, which there is not (--databases)")
}

/// Repeats an effect on the keyspace of its shard.
pub fn apply(
    keyspace: &mut Keyspace,
    settings: &DataSettings,
    rng: &mut Rng,
    effect: &Effect<'_>,
) -> Result<(), String> {
    let db = effect.db as usize;
    if db >= settings.databases {
        return Err(no_database(db));
    }
    let mut words = OwnedArgs::new();
    effect.words.iter().for_each(|word| words.push(word));
    let args = words.as_args();
    let name = || String::from_utf8_lossy(effect.words[0]).into_owned();
    let told = |error: &CommandError| {
        let mut reply = ReplyBuf::new();
        Reply::new(&mut reply, Proto::Resp2).error(error);
        format!("{}: {}", name(), String::from_utf8_lossy(&reply.to_vec()).trim())
    };
    let command = registry().resolve(args).map_err(|error| told(&error))?;
    let Route::Data(
        Run::OnShard(handler)
        | Run::MayWait { handler, .. }
        | Run::Anywhere { handler, .. }
        | Run::Split { handler, .. }
        | Run::EveryShard { handler, .. },
    ) = command.route
    else {
        return Err(format!("{} is no effect", name()));
    };
    if !command.spec.arity.accepts(args.len()) {
        return Err(told(&CommandError::WrongArity(command.name)));
    }
    let mut context = Context {
        keyspace,
        db,
        now_ms: REPLAY_MS,
        rng,
        settings,
        changes: &mut Changes::default(),
        slots: &SlotMap::even(1),
        shard: 0,
        no_touch: false,
        key_hint: None,
        waiting: Waiting::Denied,
        others: &mut [],
    };
    handler(&mut context, args, &mut Reply::new(&mut ReplyBuf::new(), Proto::Resp2))
        .map_err(|error| told(&error))
}
