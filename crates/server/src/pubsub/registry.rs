//! The registries of one shard, without I/O.
//!
//! Owns two views. As a home: how many clients of which shard hold a name (the census). As a shard with clients: which of
//! them hold a name (the audience). A name is in a registry while somebody holds it, and gone with the last holder.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use ahash::{AHasher, RandomState};
use bytes::Bytes;
use smallvec::SmallVec;
use torc_datatypes::glob::glob_match;

use crate::clients::ClientKey;
use crate::packet::ShardId;

use super::Kind;
use super::pending::Pending;
use super::publish::Backpressure;

/// One shard's registries.
pub struct PubSub {
    censuses: [Census; 3],
    /// Of channels of keyspace events, which every shard counts.
    events: Census,
    audiences: [Audience; 3],
    pub(super) backpressure: Backpressure,
    pub(super) pending: Pending,
    /// Room for the name of a channel.
    pub(super) event_channel: Vec<u8>,
}

impl PubSub {
    /// `seed` makes the hashing of names unpredictable from outside.
    pub fn new(seed: u64) -> PubSub {
        let hasher = RandomState::with_seeds(seed, 5, 6, 7);
        PubSub {
            censuses: std::array::from_fn(|_| Census { tallies: HashMap::with_hasher(hasher.clone()) }),
            events: Census { tallies: HashMap::with_hasher(hasher.clone()) },
            audiences: std::array::from_fn(|_| Audience { members: HashMap::with_hasher(hasher.clone()) }),
            backpressure: Backpressure::default(),
            pending: Pending::default(),
            event_channel: Vec::new(),
        }
    }

    pub(super) fn census(&self, kind: Kind) -> &Census {
        &self.censuses[kind as usize]
    }

    pub(super) fn census_mut(&mut self, kind: Kind) -> &mut Census {
        &mut self.censuses[kind as usize]
    }

    /// Where clients that hold `name` are counted.
    fn census_of(&self, kind: Kind, name: &[u8]) -> &Census {
        if is_event_channel(kind, name) { &self.events } else { self.census(kind) }
    }

    pub(super) fn census_of_mut(&mut self, kind: Kind, name: &[u8]) -> &mut Census {
        if is_event_channel(kind, name) { &mut self.events } else { self.census_mut(kind) }
    }

    pub(super) fn tally(&self, kind: Kind, name: &[u8]) -> Option<&Tally> {
        self.census_of(kind, name).tallies.get(name)
    }

    /// Whether somebody may hear of keyspace events.
    pub fn hears_events(&self) -> bool {
        !self.events.tallies.is_empty() || !self.census(Kind::Pattern).tallies.is_empty()
    }

    pub(super) fn audience(&self, kind: Kind) -> &Audience {
        &self.audiences[kind as usize]
    }

    pub(super) fn audience_mut(&mut self, kind: Kind) -> &mut Audience {
        &mut self.audiences[kind as usize]
    }

    /// Names that clients of any shard hold: the channels this shard is home to, or all patterns; without channels of
    /// keyspace events.
    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &Bytes> {
        self.census(kind).tallies.keys()
    }

    /// How many names [`PubSub::names`] has.
    pub fn names_count(&self, kind: Kind) -> usize {
        self.census(kind).tallies.len()
    }

    /// Channels of keyspace events that clients of any shard hold.
    pub fn event_names(&self) -> impl Iterator<Item = &Bytes> {
        self.events.tallies.keys()
    }

    /// Clients of all shards that hold a name this shard is home to.
    pub fn holders(&self, kind: Kind, name: &[u8]) -> u64 {
        self.tally(kind, name).map_or(0, |tally| tally.total)
    }

    /// Nobody holds anything here, and nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.censuses.iter().all(|census| census.tallies.is_empty())
            && self.events.tallies.is_empty()
            && self.audiences.iter().all(|audience| audience.members.is_empty())
            && self.backpressure.is_idle()
            && self.pending.is_empty()
    }
}

/// Is this a channel of keyspace events? Any shard may have something to say on it, so every shard counts who listens,
/// and messages come from the shards of the keys.
pub(super) fn is_event_channel(kind: Kind, name: &[u8]) -> bool {
    kind == Kind::Channel && (name.starts_with(b"__keyspace@") || name.starts_with(b"__keyevent@"))
}

/// Clients per shard that hold a name.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) total: u64,
    pub(super) shards: SmallVec<[(ShardId, u32); 2]>,
}

/// What a home knows.
pub(super) struct Census {
    tallies: HashMap<Bytes, Tally, RandomState>,
}

impl Census {
    pub(super) fn join(&mut self, name: Bytes, shard: ShardId) {
        let tally = self.tallies.entry(name).or_default();
        tally.total += 1;
        match tally.shards.iter_mut().find(|(known, _)| *known == shard) {
            Some((_, count)) => *count += 1,
            None => tally.shards.push((shard, 1)),
        }
    }

    pub(super) fn leave(&mut self, name: &[u8], shard: ShardId) {
        let tally = self.tallies.get_mut(name).expect("who leaves has joined");
        let place = tally.shards.iter().position(|(known, _)| *known == shard).expect("joined from there");
        tally.total -= 1;
        tally.shards[place].1 -= 1;
        if tally.shards[place].1 == 0 {
            tally.shards.swap_remove(place);
        }
        if tally.total == 0 {
            self.tallies.remove(name);
            shrink(&mut self.tallies);
        }
    }

    /// The patterns among the names that match `channel`.
    pub(super) fn matching(&self, channel: &[u8]) -> impl Iterator<Item = (&Bytes, &Tally)> {
        self.tallies.iter().filter(move |(pattern, _)| glob_match(pattern, channel, false))
    }
}

/// How far a client's subscription is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Membership {
    Active,
    /// Some homes have not confirmed yet that they count it.
    Joining,
    /// Some homes have not confirmed yet that they count it no more.
    Leaving,
}

/// Client keys come from this process, so a fixed hash is safe, and needs no room.
pub(super) type Members = HashMap<ClientKey, Membership, BuildHasherDefault<AHasher>>;

/// Which clients of this shard hold which name.
pub(super) struct Audience {
    members: HashMap<Bytes, Members, RandomState>,
}

impl Audience {
    /// Begin a subscription; false when the client has one already.
    pub(super) fn join(&mut self, name: &Bytes, client: ClientKey) -> bool {
        if !self.members.contains_key(name) {
            self.members.insert(name.clone(), Members::default());
        }
        let members = self.members.get_mut(name).expect("present or just inserted");
        match members.get(&client) {
            Some(_) => false,
            None => members.insert(client, Membership::Joining).is_none(),
        }
    }

    /// All homes count the client.
    pub(super) fn settle(&mut self, name: &[u8], client: ClientKey) {
        *self.membership(name, client) = Membership::Active;
    }

    /// False when the client is leaving already.
    pub(super) fn begin_leaving(&mut self, name: &[u8], client: ClientKey) -> bool {
        let membership = self.membership(name, client);
        std::mem::replace(membership, Membership::Leaving) == Membership::Active
    }

    fn membership(&mut self, name: &[u8], client: ClientKey) -> &mut Membership {
        let members = self.members.get_mut(name).expect("a member's name is known");
        members.get_mut(&client).expect("the client is a member")
    }

    pub(super) fn leave(&mut self, name: &[u8], client: ClientKey) {
        let members = self.members.get_mut(name).expect("a member's name is known");
        members.remove(&client);
        if members.is_empty() {
            self.members.remove(name);
            shrink(&mut self.members);
        } else {
            shrink(members);
        }
    }

    pub(super) fn members(&self, name: &[u8]) -> Option<&Members> {
        self.members.get(name)
    }
}

/// Give memory back when a map has become much emptier than it was.
fn shrink<K: Eq + std::hash::Hash, V, S: std::hash::BuildHasher>(map: &mut HashMap<K, V, S>) {
    const KEPT_MIN: usize = 64;
    if map.capacity() > KEPT_MIN && map.len() < map.capacity() / 8 {
        map.shrink_to((map.len() * 2).max(KEPT_MIN / 2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(index: u32) -> ClientKey {
        ClientKey { index, generation: 0 }
    }

    #[test]
    fn a_census_counts_per_shard_and_forgets_empty_names() {
        let mut pubsub = PubSub::new(1);
        let census = pubsub.census_mut(Kind::Channel);
        let name = Bytes::from_static(b"news");
        census.join(name.clone(), 0);
        census.join(name.clone(), 3);
        census.join(name.clone(), 3);
        let tally = &census.tallies[&b"news"[..]];
        assert_eq!((tally.total, tally.shards.as_slice()), (3, &[(0, 1), (3, 2)][..]));
        census.leave(b"news", 3);
        census.leave(b"news", 0);
        assert_eq!(census.tallies[&b"news"[..]].shards.as_slice(), [(3, 1)]);
        census.leave(b"news", 3);
        assert!(pubsub.is_empty());
    }

    #[test]
    fn an_audience_keeps_each_client_once() {
        let mut pubsub = PubSub::new(1);
        let name = Bytes::from_static(b"news");
        let audience = pubsub.audience_mut(Kind::Channel);
        assert!(audience.join(&name, client(1)));
        assert!(!audience.join(&name, client(1)));
        assert!(audience.join(&name, client(2)));
        assert!(!audience.begin_leaving(b"news", client(2)), "not settled yet");
        audience.settle(b"news", client(1));
        assert_eq!(audience.members(b"news").expect("held")[&client(1)], Membership::Active);
        assert!(audience.begin_leaving(b"news", client(1)));
        assert!(!audience.begin_leaving(b"news", client(1)));
        audience.leave(b"news", client(1));
        audience.leave(b"news", client(2));
        assert!(audience.members(b"news").is_none());
        assert!(pubsub.is_empty());
    }

    #[test]
    fn memory_follows_the_number_of_names() {
        let mut pubsub = PubSub::new(1);
        let census = pubsub.census_mut(Kind::Channel);
        for number in 0..10_000 {
            census.join(Bytes::from(format!("channel:{number}")), 0);
        }
        for number in 0..9_990 {
            census.leave(format!("channel:{number}").as_bytes(), 0);
        }
        assert!(census.tallies.capacity() < 1_000, "{} places for 10 names", census.tallies.capacity());
    }

    #[test]
    fn patterns_are_found_by_what_they_match() {
        let mut pubsub = PubSub::new(1);
        let census = pubsub.census_mut(Kind::Pattern);
        for pattern in ["news.*", "n?ws.a", "weather.*"] {
            census.join(Bytes::from(pattern), 0);
        }
        let mut found: Vec<&[u8]> = census.matching(b"news.a").map(|(pattern, _)| &pattern[..]).collect();
        found.sort_unstable();
        assert_eq!(found, [&b"n?ws.a"[..], b"news.*"]);
    }
}
