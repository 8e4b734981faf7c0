//! The mesh: N×N bounded channels between shards, each with one sender and one receiver. Hot path.
//!
//! Owns the channels and who has mail to be woken for. Never blocks, never looks into a packet: a full channel gives
//! the packet back, and its owner keeps it and stops reading from the connections that feed it, so that two full
//! channels cannot deadlock. Packets of one ordered pair of shards stay in order.

use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::net::Net;
use crate::wake::{Doorbell, Wakers};

/// Packets that fit in one channel unless [`Mesh::with_capacity`] says otherwise. A packet is a batch (all that one
/// turn of a shard has for another), so this is many turns of backlog.
pub const CHANNEL_CAPACITY: usize = 128;

/// All ends of the mesh, before they are given to their shards.
pub struct Mesh<P> {
    ends: Vec<MeshEnd<P>>,
    wakers: Arc<Wakers>,
}

impl<P: Send> Mesh<P> {
    /// A mesh of `shards` shards with [`CHANNEL_CAPACITY`] packets per channel.
    pub fn new(shards: usize) -> io::Result<Mesh<P>> {
        Mesh::with_capacity(shards, CHANNEL_CAPACITY)
    }

    /// A mesh with `capacity` packets (at least 1) per channel.
    pub fn with_capacity(shards: usize, capacity: usize) -> io::Result<Mesh<P>> {
        assert!(shards > 0 && capacity > 0, "a mesh of {shards} shards and capacity {capacity}");
        let wakers = Wakers::new(shards)?;
        let mut ends: Vec<MeshEnd<P>> =
            (0..shards).map(|shard| MeshEnd::new(wakers.doorbell(shard), shards)).collect();
        for from in 0..shards {
            for to in (0..shards).filter(|&to| to != from) {
                let (sender, receiver) = bounded(capacity);
                ends[from].outboxes[to] = Some(sender);
                ends[to].inboxes[from] = Some(receiver);
            }
        }
        Ok(Mesh { ends, wakers })
    }

    pub fn shards(&self) -> usize {
        self.ends.len()
    }

    /// The wake-up state of all shards, for threads that are no shard (signals, control).
    pub fn wakers(&self) -> &Arc<Wakers> {
        &self.wakers
    }

    /// The ends by shard number.
    pub fn into_ends(self) -> Vec<MeshEnd<P>> {
        self.ends
    }
}

/// One shard's end of the mesh.
pub struct MeshEnd<P> {
    doorbell: Doorbell,
    /// To each peer; `None` for this shard itself.
    outboxes: Box<[Option<Sender<P>>]>,
    /// From each peer; `None` for this shard itself.
    inboxes: Box<[Option<Receiver<P>>]>,
    /// Peers that were sent something since the last [`MeshEnd::flush_wakes`], each once.
    mailed: Vec<usize>,
    is_mailed: Box<[bool]>,
    /// The inbox that [`MeshEnd::recv`] looks into first, so that no peer can starve another.
    next_inbox: usize,
}

impl<P: Send> MeshEnd<P> {
    fn new(doorbell: Doorbell, shards: usize) -> MeshEnd<P> {
        MeshEnd {
            doorbell,
            outboxes: (0..shards).map(|_| None).collect(),
            inboxes: (0..shards).map(|_| None).collect(),
            mailed: Vec::with_capacity(shards),
            is_mailed: vec![false; shards].into(),
            next_inbox: 0,
        }
    }

    /// The number of this shard.
    pub fn shard(&self) -> usize {
        self.doorbell.shard()
    }

    pub fn shards(&self) -> usize {
        self.outboxes.len()
    }

    /// This shard's doorbell, which its socket ring must know.
    pub fn doorbell(&self) -> &Doorbell {
        &self.doorbell
    }

    /// Puts a packet into the channel to a peer; a full channel gives it back. The peer is woken by the next
    /// [`MeshEnd::flush_wakes`]. A peer that has ended takes and forgets packets: it has nobody left to answer.
    ///
    /// # Panics
    /// When `to` is this shard itself: that is a call, not a message.
    pub fn try_send(&mut self, to: usize, packet: P) -> Result<(), P> {
        let outbox = self.outboxes[to].as_ref().expect("a shard sends no packet to itself");
        match outbox.try_send(packet) {
            Ok(()) => {
                if !self.is_mailed[to] {
                    self.is_mailed[to] = true;
                    self.mailed.push(to);
                }
                Ok(())
            }
            Err(TrySendError::Full(packet)) => Err(packet),
            Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }

    /// The next packet and the peer it came from. Takes one packet per peer in turn.
    pub fn recv(&mut self) -> Option<(usize, P)> {
        let shards = self.inboxes.len();
        for step in 0..shards {
            let from = (self.next_inbox + step) % shards;
            if let Some(inbox) = &self.inboxes[from]
                && let Ok(packet) = inbox.try_recv()
            {
                self.next_inbox = (from + 1) % shards;
                return Some((from, packet));
            }
        }
        None
    }

    /// The next packet from one peer.
    pub fn recv_from(&mut self, from: usize) -> Option<P> {
        self.inboxes[from].as_ref()?.try_recv().ok()
    }

    /// Whether a packet is waiting.
    pub fn has_mail(&self) -> bool {
        self.inboxes.iter().flatten().any(|inbox| !inbox.is_empty())
    }

    /// Wakes the peers that sleep and were sent something since the last call, once each. The wake-ups travel with
    /// the next turn of `net`, so call this last in a turn, straight before [`Net::turn`].
    pub fn flush_wakes(&mut self, net: &mut Net) {
        for peer in self.mailed.drain(..) {
            self.is_mailed[peer] = false;
            if self.doorbell.claim_wake(peer) {
                net.wake_peer(peer);
            }
        }
    }

    /// Announces sleep. `false`: mail is there, do not sleep. `true`: sleep in [`Net::turn`], then call
    /// [`MeshEnd::end_sleep`].
    pub fn begin_sleep(&self) -> bool {
        debug_assert!(self.mailed.is_empty(), "wake-ups are flushed before sleeping");
        self.doorbell.announce_sleep();
        if self.has_mail() {
            self.doorbell.end_sleep();
            return false;
        }
        true
    }

    /// The shard is up again: peers need not wake it.
    pub fn end_sleep(&self) {
        self.doorbell.end_sleep();
    }

    /// Packets waiting here, from all peers (a gauge).
    pub fn inbox_depth(&self) -> usize {
        self.inboxes.iter().flatten().map(Receiver::len).sum()
    }

    /// Packets from this shard that a peer has not taken yet (a gauge).
    pub fn outbox_depth(&self, to: usize) -> usize {
        self.outboxes[to].as_ref().map_or(0, Sender::len)
    }

    /// Whether the channel to a peer has no room. It can only gain room while this shard does not send.
    pub fn is_full(&self, to: usize) -> bool {
        self.outboxes[to].as_ref().is_some_and(Sender::is_full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends<P: Send>(shards: usize, capacity: usize) -> Vec<MeshEnd<P>> {
        Mesh::with_capacity(shards, capacity).unwrap().into_ends()
    }

    #[test]
    fn a_full_channel_gives_the_packet_back() {
        let mut ends = ends::<u32>(2, 2);
        assert_eq!(ends[0].try_send(1, 1), Ok(()));
        assert_eq!(ends[0].try_send(1, 2), Ok(()));
        assert!(ends[0].is_full(1));
        assert_eq!(ends[0].try_send(1, 3), Err(3));
        assert_eq!((ends[0].outbox_depth(1), ends[1].inbox_depth()), (2, 2));
        assert_eq!(ends[1].recv(), Some((0, 1)));
        assert_eq!(ends[0].try_send(1, 3), Ok(()));
        assert_eq!([ends[1].recv(), ends[1].recv(), ends[1].recv()], [Some((0, 2)), Some((0, 3)), None]);
    }

    #[test]
    fn packets_are_taken_from_all_peers_in_turn() {
        let mut ends = ends::<&str>(3, 4);
        for packet in ["a", "b", "c"] {
            ends[1].try_send(0, packet).unwrap();
        }
        ends[2].try_send(0, "x").unwrap();
        let order: Vec<_> = std::iter::from_fn(|| ends[0].recv()).collect();
        assert_eq!(order, [(1, "a"), (2, "x"), (1, "b"), (1, "c")]);
    }

    #[test]
    fn mail_keeps_a_shard_awake() {
        let mut ends = ends::<()>(2, 1);
        assert!(!ends[1].has_mail());
        assert!(ends[1].begin_sleep());
        ends[1].end_sleep();
        ends[0].try_send(1, ()).unwrap();
        assert!(ends[1].has_mail());
        assert!(!ends[1].begin_sleep());
        assert_eq!(ends[1].recv_from(0), Some(()));
        assert!(ends[1].begin_sleep());
    }

    #[test]
    fn a_lone_shard_has_nobody_to_hear_from() {
        let mut ends = ends::<()>(1, 1);
        assert_eq!(ends[0].recv(), None);
        assert!(ends[0].begin_sleep());
    }

    #[test]
    #[should_panic(expected = "no packet to itself")]
    fn sending_to_oneself_is_a_mistake() {
        let _ = ends::<()>(2, 1)[0].try_send(0, ());
    }
}
