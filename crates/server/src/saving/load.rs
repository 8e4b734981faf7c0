//! Loading a snapshot: a file becomes one keyspace for each shard.
//!
//! Owns the way of keys to the shard of their slot, and which of them are dropped. Runs before the shards exist, or in a
//! thread beside them (DEBUG RELOAD). Never touches the keyspace of a running shard.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use torc_commands::{DataSettings, SlotMap};
use torc_datatypes::clock::{lfu_restored, lru_restored};
use torc_keyspace::{AccessClock, Keyspace, is_expired, slot_of};
use torc_persist::counted::Counted;
use torc_persist::rdb::{FileError, FileReader, Item, LoadedKey};
use torc_persist::seal::Keys;

use crate::config::Config;
use crate::session::state::data_settings;

use super::loading::Progress;

/// How a file is to be loaded.
#[derive(Clone)]
pub struct LoadPlan {
    pub path: PathBuf,
    pub keys: Keys,
    pub slots: Arc<SlotMap>,
    /// Seed of the keyspaces.
    pub seed: u64,
    pub settings: DataSettings,
    pub checks_sum: bool,
    pub now_ms: i64,
    pub progress: Arc<Progress>,
}

/// What was in a file.
pub struct Loaded {
    /// One for each shard.
    pub keyspaces: Vec<Keyspace>,
    pub functions: Vec<Vec<u8>>,
    pub keys: u64,
    pub expired: u64,
}

impl LoadPlan {
    pub fn new(config: &Config, keys: &Keys, slots: Arc<SlotMap>, seed: u64, now_ms: i64) -> LoadPlan {
        LoadPlan {
            path: path_of(config),
            keys: keys.clone(),
            slots,
            seed,
            settings: data_settings(config),
            checks_sum: config.rdbchecksum(),
            now_ms,
            progress: Arc::new(Progress::default()),
        }
    }

    /// Reads the file; `Ok(None)` if there is none.
    pub fn load(&self) -> Result<Option<Loaded>, FileError> {
        let name = self.path.display().to_string();
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let reason = format!("cannot be opened: {error}");
                return Err(FileError { file: name, offset: 0, reason });
            }
        };
        let file = Counted::new(file, &self.progress.loaded_bytes);
        let limits = self.settings.encodings.rdb_limits();
        let mut reader = FileReader::open_with(file, &name, limits, self.checks_sum, &self.keys)?;
        let mut loaded =
            Loaded { keyspaces: self.empty_keyspaces(), functions: Vec::new(), keys: 0, expired: 0 };
        while let Some(item) = reader.next_item()? {
            match item {
                Item::Aux { name, text } => self.progress.note_aux(&name, &text),
                Item::Function(source) => loaded.functions.push(source),
                Item::Key(key) => {
                    self.take(&mut loaded, key).map_err(|reason| reader.complaint(reason))?;
                }
            }
        }
        Ok(Some(loaded))
    }

    fn empty_keyspaces(&self) -> Vec<Keyspace> {
        let empty = || {
            let mut keyspace = Keyspace::new(self.seed, self.settings.databases);
            keyspace.set_access_clock(self.settings.access_clock());
            keyspace
        };
        (0..self.slots.shards()).map(|_| empty()).collect()
    }

    fn take(&self, loaded: &mut Loaded, key: LoadedKey) -> Result<(), &'static str> {
        let LoadedKey { db, mut entry, idle_seconds, frequency } = key;
        if db >= self.settings.databases {
            return Err("a key of a database that there is not: 'databases' is too small");
        }
        if is_expired(entry.expire_at(), self.now_ms) {
            loaded.expired += 1;
            return Ok(());
        }
        let clock = match self.settings.access_clock() {
            AccessClock::Lru => idle_seconds
                .map(|idle| lru_restored(self.now_ms, i64::try_from(idle).unwrap_or(i64::MAX / 1000))),
            AccessClock::Lfu(_) => frequency.map(|counter| lfu_restored(self.now_ms, counter)),
        };
        if let Some(clock) = clock {
            entry.set_clock(clock);
        }
        let owner = self.slots.owner(slot_of(entry.key()));
        if !loaded.keyspaces[usize::from(owner)].load(db, entry, self.now_ms) {
            return Err("a key that was there before");
        }
        loaded.keys += 1;
        Ok(())
    }
}

/// The file of snapshots.
pub fn path_of(config: &Config) -> PathBuf {
    config.dir().join(Path::new(config.dbfilename()))
}
