//! How a sleeping shard is woken. Owns the sleep flags, the event counters and the ring descriptors of all shards;
//! never sees a message.
//!
//! The protocol (the classic store/fence/load of two parties, so one of them always sees the other):
//!
//! ```text
//! shard about to sleep                      peer that has mail for it
//!   asleep = true                             push into its channel
//!   fence (SeqCst)                            fence (SeqCst)
//!   look into all channels; mail? stay up     asleep? swap(false) and, if it was true, wake it
//!   sleep in the ring
//!   asleep = false
//! ```
//!
//! A wake-up is a completion posted into the sleeper's ring (`IORING_OP_MSG_RING`, queued on the waker's own ring and
//! submitted with its next turn) or a write to its event counter, which its ring polls.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::sys;

mod flag;
#[cfg(test)]
mod model;

/// What `flag` is built of.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicBool, Ordering, fence};
}

pub(crate) use flag::Flag;

/// No ring yet, or no ring any more.
const NO_RING: RawFd = -1;

/// The wake-up state of all shards, shared by all threads of the process.
pub struct Wakers {
    seats: Box<[Seat]>,
}

/// One cache line per shard: a busy shard's flag is read by all its peers and written by nobody.
#[repr(align(128))]
struct Seat {
    asleep: Flag,
    ring: AtomicI32,
    event: OwnedFd,
}

impl Wakers {
    /// Wake-up state for `shards` shards.
    pub fn new(shards: usize) -> io::Result<Arc<Wakers>> {
        let seat =
            |_| Ok(Seat { asleep: Flag::new(), ring: AtomicI32::new(NO_RING), event: sys::event_fd()? });
        Ok(Arc::new(Wakers { seats: (0..shards).map(seat).collect::<io::Result<_>>()? }))
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.seats.len()
    }

    /// Wakes a shard from any thread, also from one that is no shard. Costs a system call: for the control plane.
    /// The shard sees a `Woken` event.
    pub fn wake(&self, shard: usize) {
        sys::event_ring(self.seats[shard].event.as_raw_fd());
    }

    /// Wakes all shards. Async-signal-safe.
    pub fn wake_all(&self) {
        for seat in &self.seats {
            sys::event_ring(seat.event.as_raw_fd());
        }
    }

    /// The wake-up state seen by one shard.
    pub fn doorbell(self: &Arc<Self>, shard: usize) -> Doorbell {
        assert!(shard < self.shards(), "shard {shard} of {}", self.shards());
        Doorbell { wakers: Arc::clone(self), shard }
    }
}

/// One shard's own view of [`Wakers`].
#[derive(Clone)]
pub struct Doorbell {
    wakers: Arc<Wakers>,
    shard: usize,
}

impl Doorbell {
    /// A doorbell for a lone ring, for tests and tools.
    pub fn single() -> io::Result<Doorbell> {
        Ok(Wakers::new(1)?.doorbell(0))
    }

    pub fn shard(&self) -> usize {
        self.shard
    }

    pub fn wakers(&self) -> &Arc<Wakers> {
        &self.wakers
    }

    /// Announces that this shard is about to sleep. Look for mail after this and before sleeping.
    pub(crate) fn announce_sleep(&self) {
        self.own().asleep.raise();
    }

    /// This shard is up again.
    pub(crate) fn end_sleep(&self) {
        self.own().asleep.lower();
    }

    /// After mail for `peer` was pushed: takes over the duty to wake it if it sleeps. `true`: this caller must.
    pub(crate) fn claim_wake(&self, peer: usize) -> bool {
        self.wakers.seats[peer].asleep.claim()
    }

    pub(crate) fn event(&self) -> RawFd {
        self.own().event.as_raw_fd()
    }

    pub(crate) fn publish_ring(&self, ring: RawFd) {
        self.own().ring.store(ring, Ordering::Release);
    }

    pub(crate) fn withdraw_ring(&self) {
        self.own().ring.store(NO_RING, Ordering::Release);
    }

    /// The ring descriptor of a peer, `None` while it has none.
    pub(crate) fn ring_of(&self, peer: usize) -> Option<RawFd> {
        let ring = self.wakers.seats[peer].ring.load(Ordering::Acquire);
        (ring != NO_RING).then_some(ring)
    }

    fn own(&self) -> &Seat {
        &self.wakers.seats[self.shard]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_of_two_wakers_has_the_duty() {
        let wakers = Wakers::new(3).unwrap();
        let [sleeper, first, second] = [0, 1, 2].map(|shard| wakers.doorbell(shard));
        assert!(!first.claim_wake(0), "nobody sleeps");
        sleeper.announce_sleep();
        assert!(first.claim_wake(0));
        assert!(!second.claim_wake(0));
        sleeper.announce_sleep();
        sleeper.end_sleep();
        assert!(!second.claim_wake(0));
    }

    #[test]
    fn wake_all_rings_every_event_counter() {
        let wakers = Wakers::new(2).unwrap();
        wakers.wake_all();
        wakers.wake(1);
        assert_eq!(sys::event_drain(wakers.doorbell(0).event()), 1);
        assert_eq!(sys::event_drain(wakers.doorbell(1).event()), 2);
        assert_eq!(sys::event_drain(wakers.doorbell(1).event()), 0);
    }

    #[test]
    fn rings_are_published_and_withdrawn() {
        let wakers = Wakers::new(2).unwrap();
        let (one, other) = (wakers.doorbell(0), wakers.doorbell(1));
        assert_eq!(other.ring_of(0), None);
        one.publish_ring(17);
        assert_eq!(other.ring_of(0), Some(17));
        one.withdraw_ring();
        assert_eq!(other.ring_of(0), None);
    }
}
