//! The brake on writers whose changes are told to shards, or to a disk, that cannot take them in as fast.
//!
//! Nobody answers a keyspace event, a notice of client-side caching, an effect for the log or what a snapshot keeps of a key before
//! it changes, so nothing else would slow their source down, and what is on its way would grow without bound. Owns a lock on the
//! whole of this shard that lets readers pass: it is taken when another shard, the log or the save is far behind, and given back
//! when that one has caught up. Writers wait for it as for any other lock, so their connections run out of places for replies
//! and are not read from any more. What is done to catch up needs no lock, so this ends.

use crate::locks::{Mode, RequestId, Scope};

use super::{Shard, Waiter};

/// Bytes that wait to be written to the log at which writers wait.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a snapshot, on all shards together, that wait to be taken away at which writers wait. What an allocator and the
/// connections of the writers take besides leaves the process below 64 MB.
const SNAPSHOT_BYTES_MAX: usize = 32 << 20;

/// Where the brake is.
#[derive(Default)]
pub(super) enum Brake {
    #[default]
    Off,
    /// In the lock table, behind somebody who writes.
    Queued,
    On(RequestId),
}

impl Shard {
    /// Something was told to other shards.
    #[inline]
    pub(super) fn brake_if_needed(&mut self) {
        let is_needed = self.pubsub.somebody_is_far_behind()
            || self.log_is_behind(LOG_BYTES_MAX)
            || self.save_is_behind(SNAPSHOT_BYTES_MAX / self.shards());
        if matches!(self.brake, Brake::Off) && is_needed {
            self.put_the_brake_on();
        }
    }

    #[cold]
    fn put_the_brake_on(&mut self) {
        self.stats.brakes += 1;
        self.brake = Brake::Queued;
        let (id, granted) = self.locks.acquire(Scope::Whole(Mode::Shared), Waiter::Brake);
        if granted.is_some() {
            self.brake_is_on(id);
        }
    }

    pub(super) fn brake_is_on(&mut self, id: RequestId) {
        self.brake = Brake::On(id);
        self.take_the_brake_off();
    }

    /// Another shard, or the disk, has caught up, more or less.
    pub(crate) fn take_the_brake_off(&mut self) {
        if let Brake::On(id) = self.brake
            && !self.pubsub.somebody_is_behind()
            && !self.log_is_behind(LOG_BYTES_MAX / 2)
            && !self.save_is_behind(SNAPSHOT_BYTES_MAX / self.shards() / 8 * 7)
        {
            self.brake = Brake::Off;
            self.release_locks(id);
        }
    }

    /// Writers are held up: keys do not expire in the background either, since that is told as well.
    pub(super) fn is_braked(&self) -> bool {
        !matches!(self.brake, Brake::Off)
    }
}
