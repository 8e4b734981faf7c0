//! The connections of one shard, by key.
//!
//! Owns the slab of connections and the generations that keep a late reply from reaching the next user of a place.
//! Never reads or writes bytes.

use std::num::NonZeroU64;

use crate::connection::Connection;
use crate::packet::ShardId;

/// Names one connection of one shard. A key of a closed connection finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey {
    pub index: u32,
    pub generation: u32,
}

/// Names one connection of any shard, in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientToken(NonZeroU64);

impl ClientToken {
    const SHARD_SHIFT: u32 = 52;
    const INDEX_SHIFT: u32 = 20;
    /// Generations that differ in their lower bits are told apart; after a million users of a place one may get what was
    /// meant for another, which all uses bear.
    const GENERATION_MASK: u32 = (1 << ClientToken::INDEX_SHIFT) - 1;

    pub fn new(shard: ShardId, key: ClientKey) -> ClientToken {
        let bits = (u64::from(shard) + 1) << ClientToken::SHARD_SHIFT
            | u64::from(key.index) << ClientToken::INDEX_SHIFT
            | u64::from(key.generation & ClientToken::GENERATION_MASK);
        ClientToken(NonZeroU64::new(bits).expect("the number of a shard is below 4,095"))
    }

    /// What [`ClientToken::bits`] gave; `None` for 0.
    pub fn from_bits(bits: u64) -> Option<ClientToken> {
        NonZeroU64::new(bits).map(ClientToken)
    }

    pub fn bits(self) -> u64 {
        self.0.get()
    }

    pub fn shard(self) -> ShardId {
        ((self.bits() >> ClientToken::SHARD_SHIFT) - 1) as ShardId
    }

    fn index(self) -> u32 {
        (self.bits() >> ClientToken::INDEX_SHIFT) as u32
    }
}

/// The slab of connections. A connection is taken out while one of its requests is processed, so that the shard and
/// the connection can be changed side by side.
#[derive(Default)]
pub struct Clients {
    places: Vec<Place>,
    free: Vec<u32>,
    count: usize,
}

#[derive(Default)]
struct Place {
    generation: u32,
    connection: Option<Box<Connection>>,
}

impl Clients {
    /// Connections that are open, a taken one included.
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Reserve a key, build the connection with it, keep it.
    pub fn insert(&mut self, build: impl FnOnce(ClientKey) -> Connection) -> ClientKey {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[index as usize];
        let key = ClientKey { index, generation: place.generation };
        place.connection = Some(Box::new(build(key)));
        self.count += 1;
        key
    }

    /// Take a connection out for processing. It must be put back or forgotten.
    #[inline]
    pub fn take(&mut self, key: ClientKey) -> Option<Box<Connection>> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation != key.generation { None } else { place.connection.take() }
    }

    #[inline]
    pub fn put_back(&mut self, connection: Box<Connection>) {
        let key = connection.key;
        let place = &mut self.places[key.index as usize];
        debug_assert!(place.connection.is_none() && place.generation == key.generation);
        place.connection = Some(connection);
    }

    /// End the life of a connection that was taken out: its key becomes invalid.
    pub fn forget(&mut self, key: ClientKey) {
        let place = &mut self.places[key.index as usize];
        debug_assert!(place.connection.is_none() && place.generation == key.generation);
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.index);
        self.count -= 1;
    }

    /// The connection of this shard that a token names, unless it is gone.
    pub fn named(&self, token: ClientToken) -> Option<ClientKey> {
        let index = token.index();
        let generation = self.places.get(index as usize)?.generation;
        let key = ClientKey { index, generation };
        (ClientToken::new(token.shard(), key) == token).then_some(key)
    }

    pub fn get(&self, key: ClientKey) -> Option<&Connection> {
        let place = self.places.get(key.index as usize)?;
        if place.generation != key.generation { None } else { place.connection.as_deref() }
    }

    #[inline]
    pub fn get_mut(&mut self, key: ClientKey) -> Option<&mut Connection> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation != key.generation { None } else { place.connection.as_deref_mut() }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.places.iter().filter_map(|place| place.connection.as_deref())
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.places.iter_mut().filter_map(|place| place.connection.as_deref_mut())
    }
}
