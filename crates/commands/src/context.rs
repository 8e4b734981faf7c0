//! What a data command sees while it runs.
//!
//! Owns nothing: it borrows one keyspace, the change stream, the time, the random numbers and the settings that data
//! commands depend on, for the length of one command. Never lets a handler see another shard, a connection or a clock.

use smallvec::SmallVec;
use torc_datatypes::clock::LfuSettings;
use torc_datatypes::list::NodeLimits;
use torc_datatypes::set::SetLimits;
use torc_datatypes::zset::ZSetLimits;
use torc_datatypes::{Entry, HashLimits, rdb};
use torc_keyspace::{AccessClock, At, Changes, Class, Key, Keyspace, Lookup, Rng, SlotMap};
use torc_resp::Args;

use crate::wait::{Wait, Waiting};

/// Keys of one command whose memory is asked for before the first of them is looked up.
pub const KEYS_AHEAD: usize = 16;

/// The time at which effects are replayed: nothing expires, and what depends on the time is in the effect.
pub const REPLAY_MS: i64 = 0;

/// Everything a handler may use, for one command.
pub struct Context<'a> {
    pub keyspace: &'a mut Keyspace,
    /// Selected database.
    pub db: usize,
    /// Unix time in milliseconds; does not move while a command runs.
    pub now_ms: i64,
    pub rng: &'a mut Rng,
    pub settings: &'a DataSettings,
    pub changes: &'a mut Changes,
    /// Which shard owns which slot; `shard` is where this keyspace lives (SCAN stops at the end of its slots).
    pub slots: &'a SlotMap,
    pub shard: u16,
    /// CLIENT NO-TOUCH: reads leave the access clock alone.
    pub no_touch: bool,
    /// Slot and hash of one key argument, when the router has computed them already.
    pub key_hint: Option<KeyHint>,
    /// Whether this command may wait for data.
    pub waiting: Waiting,
    /// The keyspaces of the other shards, by shard, while the command may read keys besides its arguments
    /// ([`crate::Run::Anywhere`]); else empty.
    pub others: &'a mut [Option<Box<Keyspace>>],
}

/// Slot and hash of the argument that starts at `address`. The hint is only valid while that argument stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHint {
    address: usize,
    len: usize,
    pub slot: u16,
    hash: u64,
}

impl KeyHint {
    #[inline]
    pub fn of(key: &Key<'_>) -> KeyHint {
        KeyHint { address: key.bytes.as_ptr().addr(), len: key.bytes.len(), slot: key.slot, hash: key.hash }
    }

    /// The key, if these bytes are the ones the hint is about.
    #[inline]
    pub fn key<'k>(&self, bytes: &'k [u8]) -> Option<Key<'k>> {
        let same = self.address == bytes.as_ptr().addr() && self.len == bytes.len();
        same.then_some(Key { bytes, slot: self.slot, hash: self.hash })
    }
}

impl<'a> Context<'a> {
    /// The key with its slot and hash.
    #[inline]
    pub fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        match self.key_hint.and_then(|hint| hint.key(bytes)) {
            Some(key) => key,
            None => self.keyspace.key(bytes),
        }
    }

    /// The keys among every `step`-th of `args`, from the first on, up to [`KEYS_AHEAD`] of them. Their memory is asked
    /// for, so that the cache misses of a command with many keys overlap.
    #[inline]
    pub fn keys_ahead<'k>(&self, args: Args<'k>, step: usize) -> SmallVec<[Key<'k>; KEYS_AHEAD]> {
        let keys: SmallVec<[Key<'k>; KEYS_AHEAD]> =
            args.iter().step_by(step).take(KEYS_AHEAD).map(|bytes| self.key(bytes)).collect();
        if keys.len() > 1 {
            keys.iter().for_each(|key| self.keyspace.prefetch_line(self.db, key));
            keys.iter().for_each(|key| self.keyspace.prefetch_entry(self.db, key));
        }
        keys
    }

    /// The time at which a command looks at fields of a hash: now, or before any of them expires for a client that imports.
    #[inline]
    pub fn fields_at_ms(&self) -> i64 {
        if self.keyspace.shows_expired { i64::MIN } else { self.now_ms }
    }

    /// Is it too late to set such an expiry? (Nothing goes away while data are imported.)
    #[inline]
    pub fn is_over(&self, expire_at: i64) -> bool {
        expire_at <= self.now_ms && !self.keyspace.keeps_expired
    }

    /// How a command looks up a key that it reads.
    #[inline]
    pub fn reading(&self) -> Lookup {
        Lookup { touch: !self.no_touch, count: true }
    }

    /// How a command looks up a key that it only writes.
    #[inline]
    pub fn writing(&self) -> Lookup {
        Lookup { touch: !self.no_touch, count: false }
    }

    /// Looks a key up for reading.
    #[inline]
    pub fn read(&mut self, key: &[u8]) -> Option<&Entry> {
        let key = self.key(key);
        let lookup = self.reading();
        self.keyspace.get(self.db, &key, self.now_ms, lookup, self.changes)
    }

    /// Looks up for reading a key that is not among the arguments, on whatever shard it lives.
    pub fn read_anywhere(&mut self, key: &[u8]) -> Option<&Entry> {
        let lookup = self.reading();
        let own = self.keyspace.key(key);
        let owner = self.slots.owner(own.slot);
        let other = self.others.get_mut(usize::from(owner)).and_then(Option::as_mut);
        match other {
            // A key of another shard is here when it is among the arguments.
            Some(other) if !self.keyspace.contains(self.db, &own, self.now_ms) => {
                let key = other.key(key);
                other.get(self.db, &key, self.now_ms, lookup, self.changes)
            }
            _ => self.keyspace.get(self.db, &own, self.now_ms, lookup, self.changes),
        }
    }

    /// The place of a key, for reading and then writing with one lookup.
    #[inline]
    pub fn at<'k>(&'k mut self, key: &'k [u8], lookup: Lookup) -> At<'k> {
        let key = self.key(key);
        self.keyspace.at(self.db, key, self.now_ms, lookup, self.changes)
    }

    /// A key that is given an expiry up to this time is gone at once.
    #[inline]
    pub fn over_until_ms(&self) -> i64 {
        if self.settings.import_mode { i64::MIN } else { self.now_ms }
    }

    /// Asks to run this request again when its keys may have what it did not find; the handler then writes no reply.
    /// `false`: nobody waits here, answer now.
    pub fn wait(&mut self, wait: Wait) -> bool {
        let may_wait = !matches!(self.waiting, Waiting::Denied);
        if may_wait {
            self.waiting = Waiting::Wanted(Box::new(wait));
        }
        may_wait
    }

    /// Records a change to a key under the name of its event: WATCH, the dirty counter and listeners are told.
    #[inline]
    pub fn changed(&mut self, key: &[u8], class: Class, name: &'static str) {
        self.keyspace.changed(self.db, key, class, name, self.changes);
    }
}

/// Settings that change what data commands do. A copy lives on every shard; CONFIG SET replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSettings {
    /// `proto-max-bulk-len` in bytes: no string may grow beyond it.
    pub max_string_bytes: usize,
    /// Number of databases.
    pub databases: usize,
    /// `maxmemory-policy` counts accesses (LFU) instead of remembering the last one (LRU).
    pub lfu: bool,
    /// `lfu-log-factor`.
    pub lfu_log_factor: u32,
    /// `lfu-decay-time` in minutes.
    pub lfu_decay_min: u32,
    /// `lazyfree-lazy-user-flush`: FLUSHALL and FLUSHDB release memory in the background unless told otherwise.
    pub lazy_user_flush: bool,
    /// `import-mode`: keys with an expiry that is over stay until their importer deletes them.
    pub import_mode: bool,
    /// `rdbcompression`: DUMP compresses long strings.
    pub rdb_compression: bool,
    pub encodings: Encodings,
}

/// When values switch from their compact encoding to their general one (the settings of these names).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encodings {
    /// Fields of a compact hash at most.
    pub hash_max_listpack_entries: usize,
    /// Bytes of a field or value in a compact hash at most.
    pub hash_max_listpack_value: usize,
    /// Elements of a list node at most, or its bytes from -1 (4 KiB) to -5 (64 KiB).
    pub list_max_listpack_size: i64,
    /// Elements of this length and more get list nodes of their own; 0: those longer than a node (DEBUG only).
    pub list_packed_threshold: usize,
    /// Members of a set of integers at most.
    pub set_max_intset_entries: usize,
    /// Members of a compact set at most.
    pub set_max_listpack_entries: usize,
    /// Bytes of a member of a compact set at most.
    pub set_max_listpack_value: usize,
    /// Members of a compact sorted set at most.
    pub zset_max_listpack_entries: usize,
    /// Bytes of a member of a compact sorted set at most.
    pub zset_max_listpack_value: usize,
    /// Bytes of a sparse HyperLogLog at most.
    pub hll_sparse_max_bytes: usize,
    /// Bytes of a stream node at most; 0: no limit.
    pub stream_node_max_bytes: usize,
    /// Entries of a stream node at most; 0: no limit.
    pub stream_node_max_entries: usize,
}

impl Encodings {
    /// Up to where values that come as RDB bytes are compact.
    pub fn rdb_limits(&self) -> rdb::Limits {
        rdb::Limits {
            list: self.list_nodes(),
            zset: ZSetLimits {
                listpack_entries: self.zset_max_listpack_entries,
                listpack_value: self.zset_max_listpack_value,
            },
            hash: HashLimits {
                entries_max: self.hash_max_listpack_entries,
                value_bytes_max: self.hash_max_listpack_value,
            },
            set: SetLimits {
                intset_entries: self.set_max_intset_entries,
                listpack_entries: self.set_max_listpack_entries,
                listpack_value: self.set_max_listpack_value,
            },
        }
    }
}

impl Default for Encodings {
    fn default() -> Self {
        Encodings {
            hash_max_listpack_entries: 512,
            hash_max_listpack_value: 64,
            list_max_listpack_size: -2,
            list_packed_threshold: 0,
            set_max_intset_entries: 512,
            set_max_listpack_entries: 128,
            set_max_listpack_value: 64,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
            hll_sparse_max_bytes: 3000,
            stream_node_max_bytes: 4096,
            stream_node_max_entries: 100,
        }
    }
}

impl Encodings {
    /// How large the nodes of lists may be.
    #[inline]
    pub fn list_nodes(&self) -> NodeLimits {
        NodeLimits::new(self.list_max_listpack_size).with_packed_threshold(self.list_packed_threshold)
    }
}

impl DataSettings {
    /// With which effects are repeated: what was possible when they were told is, whatever the limits are now, and no value
    /// takes another form that clients can see.
    pub fn for_replay(&self) -> DataSettings {
        let encodings = Encodings { hll_sparse_max_bytes: usize::MAX, ..self.encodings };
        DataSettings { max_string_bytes: usize::MAX >> 1, encodings, ..self.clone() }
    }

    /// What keyspaces with these settings keep of the uses of keys.
    pub fn access_clock(&self) -> AccessClock {
        if self.lfu {
            let (log_factor, decay_minutes) = (self.lfu_log_factor, self.lfu_decay_min);
            AccessClock::Lfu(LfuSettings { log_factor, decay_minutes })
        } else {
            AccessClock::Lru
        }
    }
}

impl Default for DataSettings {
    fn default() -> Self {
        DataSettings {
            max_string_bytes: 512 * 1024 * 1024,
            databases: 16,
            lfu: false,
            lfu_log_factor: 10,
            lfu_decay_min: 1,
            lazy_user_flush: true,
            import_mode: false,
            rdb_compression: true,
            encodings: Encodings::default(),
        }
    }
}
