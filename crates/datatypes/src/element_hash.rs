//! The hash of elements inside collections. One seed for the whole process, set once before the first collection is
//! made, because values move between shards. Without a seed it is a fixed one, so that tests and simulations repeat.

use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

use ahash::RandomState;

static STATE: OnceLock<RandomState> = OnceLock::new();

/// Draws the hash function. Does nothing when it is in use already.
pub fn seed_elements(seed: u64) {
    let _ = STATE.set(state_from(seed));
}

/// The hash of an element's bytes.
#[inline]
pub fn element_hash(bytes: &[u8]) -> u64 {
    let mut hasher = STATE.get_or_init(|| state_from(0)).build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

fn state_from(seed: u64) -> RandomState {
    RandomState::with_seeds(seed, !seed, seed.rotate_left(21), 0x9e37_79b9_7f4a_7c15)
}
