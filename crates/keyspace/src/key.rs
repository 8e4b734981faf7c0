//! A key as the tables want it: its bytes, its slot and its hash, computed once per command.

use std::hash::{BuildHasher, Hasher as _};

use ahash::RandomState;

use crate::rng::Rng;
use crate::slot::slot_of;

/// A key with its slot and hash.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    pub bytes: &'a [u8],
    pub slot: u16,
    pub hash: u64,
}

/// Turns bytes into a [`Key`].
#[derive(Clone, Debug)]
pub struct Hasher {
    state: RandomState,
}

impl Hasher {
    /// The seed is drawn by the server when it starts, so that nobody outside can aim at collisions; simulations
    /// fix it.
    pub fn new(seed: u64) -> Hasher {
        let mut rng = Rng::new(seed);
        let mut next = || rng.next_u64();
        Hasher { state: RandomState::with_seeds(next(), next(), next(), next()) }
    }

    /// Slot and hash of `bytes`.
    #[inline]
    pub fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        self.key_in_slot(bytes, slot_of(bytes))
    }

    /// As [`Hasher::key`] where the router knows the slot already.
    #[inline]
    pub fn key_in_slot<'a>(&self, bytes: &'a [u8], slot: u16) -> Key<'a> {
        Key { bytes, slot, hash: self.hash(bytes) }
    }

    #[inline]
    pub(crate) fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.state.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }
}
