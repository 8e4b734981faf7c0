//! What one connection is subscribed to.
//!
//! Owns the names a connection holds and the change of them that is under way. Never talks to registries or shards.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use ahash::AHasher;
use bytes::Bytes;
use smallvec::SmallVec;

use crate::packet::ShardId;

use super::Kind;
use super::registry::Membership;

/// A client chooses the names it holds itself; bad choices cost nobody else.
type Names = HashSet<Bytes, BuildHasherDefault<AHasher>>;

/// What one connection is subscribed to. A connection without subscriptions has none of this.
#[derive(Default)]
pub struct Subscriptions {
    names: [Names; 3],
    pub(super) change: Option<Box<Change>>,
}

/// (P|S)SUBSCRIBE or (P|S)UNSUBSCRIBE until all homes have confirmed it.
pub(super) struct Change {
    pub(super) kind: Kind,
    pub(super) joins: bool,
    /// As the command named them, one reply each.
    pub(super) names: Vec<Bytes>,
    pub(super) unconfirmed: SmallVec<[ShardId; 8]>,
}

impl Subscriptions {
    /// How many names of this kind the connection holds.
    pub fn count(&self, kind: Kind) -> usize {
        self.names[kind as usize].len()
    }

    /// Memory of the tables of names; the names are shared with the registries.
    pub fn heap_bytes(&self) -> usize {
        self.names.iter().map(|names| names.capacity() * (size_of::<Bytes>() + 1)).sum()
    }

    /// The number that acknowledgements show: channels and patterns together, shard channels apart.
    pub(super) fn shown_count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Channel | Kind::Pattern => self.count(Kind::Channel) + self.count(Kind::Pattern),
            Kind::ShardChannel => self.count(Kind::ShardChannel),
        }
    }

    pub(super) fn names(&self, kind: Kind) -> impl Iterator<Item = &Bytes> {
        self.names[kind as usize].iter()
    }

    pub(super) fn holds(&self, kind: Kind, name: &[u8]) -> bool {
        self.names[kind as usize].contains(name)
    }

    /// False when the name was held already.
    pub(super) fn add(&mut self, kind: Kind, name: Bytes) -> bool {
        self.names[kind as usize].insert(name)
    }

    /// False when the name was not held.
    pub(super) fn remove(&mut self, kind: Kind, name: &[u8]) -> bool {
        self.names[kind as usize].remove(name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.iter().all(HashSet::is_empty)
    }

    /// Is a message from `home` for this client? The home counted it if and only if the answer is yes.
    pub(super) fn hears(&self, membership: Membership, home: ShardId) -> bool {
        let unconfirmed = || self.change.as_ref().is_some_and(|change| change.unconfirmed.contains(&home));
        match membership {
            Membership::Active => true,
            Membership::Joining => !unconfirmed(),
            Membership::Leaving => unconfirmed(),
        }
    }

    /// SUBSCRIBE is under way: messages go out behind its acknowledgement.
    pub(super) fn is_joining(&self) -> bool {
        self.change.as_ref().is_some_and(|change| change.joins)
    }
}
