//! The mesh: N×N bounded channels between shards, each with one sender and one receiver. Hot path.
//!
//! Owns the channels and who has mail to be woken for. Never blocks, never looks into a packet: a full channel gives
//! the packet back, and its owner keeps it and stops reading from the connections that feed it, so that two full
//! channels cannot deadlock. Packets of one ordered pair of shards stay in order.
//!
//! A shard that was refused may sleep: the receiver wakes it when it takes the next packet of that channel. Refusal
//! and sleep are announced before the last look (`wants_room`, see also [`crate::wake`]), so no wake-up is lost:
//!
//! ```text
//! sender, channel full                      receiver
//!   wants_room = true                         take a packet
//!   fence, try once more                      fence; wants_room? swap(false), and wake the sender if it sleeps
//!   ... announce sleep (fence);
//!   wants_room cleared? stay up
//! ```

use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::net::Net;
use crate::wake::{Doorbell, Flag, Wakers};

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
                let wants_room = Arc::new(Flag::new());
                ends[from].outboxes[to] = Some(Outbox { sender, wants_room: Arc::clone(&wants_room) });
                ends[to].inboxes[from] = Some(Inbox { receiver, wants_room });
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
    outboxes: Box<[Option<Outbox<P>>]>,
    /// From each peer; `None` for this shard itself.
    inboxes: Box<[Option<Inbox<P>>]>,
    /// Peers that were sent a packet, or room they waited for, since the last [`MeshEnd::flush_wakes`]; each once.
    news: Vec<usize>,
    has_news: Box<[bool]>,
    /// Peers whose channel was full when it was last tried.
    refused_by: Vec<usize>,
    /// The inbox that [`MeshEnd::recv`] looks into first, so that no peer can starve another.
    next_inbox: usize,
}

struct Outbox<P> {
    sender: Sender<P>,
    wants_room: Arc<Flag>,
}

struct Inbox<P> {
    receiver: Receiver<P>,
    wants_room: Arc<Flag>,
}

impl<P: Send> MeshEnd<P> {
    fn new(doorbell: Doorbell, shards: usize) -> MeshEnd<P> {
        MeshEnd {
            doorbell,
            outboxes: (0..shards).map(|_| None).collect(),
            inboxes: (0..shards).map(|_| None).collect(),
            news: Vec::with_capacity(shards),
            has_news: vec![false; shards].into(),
            refused_by: Vec::with_capacity(shards),
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

    /// Puts a packet into the channel to a peer; a full channel gives it back, and this shard is woken when there is
    /// room. The peer is woken by the next [`MeshEnd::flush_wakes`]. A peer that has ended takes and forgets packets:
    /// it has nobody left to answer.
    ///
    /// # Panics
    /// When `to` is this shard itself: that is a call, not a message.
    pub fn try_send(&mut self, to: usize, packet: P) -> Result<(), P> {
        let outbox = self.outboxes[to].as_ref().expect("a shard sends no packet to itself");
        let refused = match outbox.sender.try_send(packet) {
            Err(TrySendError::Full(packet)) => {
                outbox.wants_room.raise();
                outbox.sender.try_send(packet)
            }
            result => result,
        };
        match refused {
            Ok(()) => {
                self.note_news(to);
                Ok(())
            }
            Err(TrySendError::Full(packet)) => {
                if !self.refused_by.contains(&to) {
                    self.refused_by.push(to);
                }
                Err(packet)
            }
            Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }

    /// The next packet and the peer it came from. Takes one packet per peer in turn.
    pub fn recv(&mut self) -> Option<(usize, P)> {
        let shards = self.inboxes.len();
        for step in 0..shards {
            let from = (self.next_inbox + step) % shards;
            if let Some(packet) = self.recv_from(from) {
                self.next_inbox = (from + 1) % shards;
                return Some((from, packet));
            }
        }
        None
    }

    /// The next packet from one peer.
    pub fn recv_from(&mut self, from: usize) -> Option<P> {
        let inbox = self.inboxes[from].as_ref()?;
        let packet = inbox.receiver.try_recv().ok()?;
        if inbox.wants_room.claim() {
            self.note_news(from);
        }
        Some(packet)
    }

    fn note_news(&mut self, peer: usize) {
        if !self.has_news[peer] {
            self.has_news[peer] = true;
            self.news.push(peer);
        }
    }

    /// Whether a packet is waiting.
    pub fn has_mail(&self) -> bool {
        self.inboxes.iter().flatten().any(|inbox| !inbox.receiver.is_empty())
    }

    /// Wakes the peers that sleep and were sent a packet (or given room) since the last call, once each. The wake-ups
    /// travel with the next turn of `net`, so call this last in a turn, straight before [`Net::turn`].
    pub fn flush_wakes(&mut self, net: &mut Net) {
        for peer in self.news.drain(..) {
            self.has_news[peer] = false;
            if self.doorbell.claim_wake(peer) {
                net.wake_peer(peer);
            }
        }
    }

    /// Announces sleep. `false`: a packet, or room in a channel that was full, is there; do not sleep. `true`: sleep
    /// in [`Net::turn`], which ends the announcement.
    pub fn begin_sleep(&mut self) -> bool {
        debug_assert!(self.news.is_empty(), "wake-ups are flushed before sleeping");
        self.doorbell.announce_sleep();
        if self.has_mail() || self.has_new_room() {
            self.doorbell.end_sleep();
            return false;
        }
        true
    }

    /// The shard is up again: peers need not wake it. [`Net::turn`] does this by itself; a shard that has announced
    /// sleep and then does not sleep calls it.
    pub fn end_sleep(&self) {
        self.doorbell.end_sleep();
    }

    /// Whether a channel that refused a packet has been read from since. Forgets those.
    fn has_new_room(&mut self) -> bool {
        let before = self.refused_by.len();
        let outboxes = &self.outboxes;
        self.refused_by
            .retain(|&to| outboxes[to].as_ref().is_some_and(|outbox| outbox.wants_room.is_raised()));
        self.refused_by.len() < before
    }

    /// Packets waiting here, from all peers (a gauge).
    pub fn inbox_depth(&self) -> usize {
        self.inboxes.iter().flatten().map(|inbox| inbox.receiver.len()).sum()
    }

    /// Packets from this shard that a peer has not taken yet (a gauge).
    pub fn outbox_depth(&self, to: usize) -> usize {
        self.outboxes[to].as_ref().map_or(0, |outbox| outbox.sender.len())
    }

    /// Whether the channel to a peer has no room. It can only gain room while this shard does not send.
    pub fn is_full(&self, to: usize) -> bool {
        self.outboxes[to].as_ref().is_some_and(|outbox| outbox.sender.is_full())
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
        ends[0].try_send(1, ()).unwrap();
        assert!(ends[1].has_mail());
        assert!(!ends[1].begin_sleep());
        assert_eq!(ends[1].recv_from(0), Some(()));
        assert!(ends[1].begin_sleep());
    }

    #[test]
    fn room_keeps_a_refused_shard_awake_once() {
        let mut ends = ends::<u32>(2, 1);
        ends[0].try_send(1, 1).unwrap();
        assert_eq!(ends[0].try_send(1, 2), Err(2));
        ends[0].news.clear();
        assert!(ends[0].begin_sleep(), "the channel is still full");
        assert_eq!(ends[1].recv(), Some((0, 1)));
        assert_eq!(ends[1].news, [0], "the receiver owes the sender a wake-up");
        assert!(!ends[0].begin_sleep());
        assert!(ends[0].begin_sleep(), "what was not used the first time is no news");
        ends[0].try_send(1, 2).unwrap();
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
