//! The connections of one ring: which descriptor, which operations are in flight, what the owner wants. Never does
//! I/O.
//!
//! An index is used again only after every operation of its old connection has ended, and then under a new
//! generation, so neither a late completion nor a stale [`ConnId`] can reach a new connection.

use std::os::fd::OwnedFd;

/// A connection of one ring. Small indexes are reused, so they can index a table of the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    index: u32,
    generation: u32,
}

impl ConnId {
    /// Dense: below the highest number of connections that were open at once.
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// Tells apart the connections that used one index, below 2^24.
    pub fn generation(self) -> u32 {
        self.generation
    }

    pub(crate) fn new(index: u32, generation: u32) -> ConnId {
        ConnId { index, generation }
    }
}

/// Generations wrap here: what fits beside an index and a kind in 64 bits of user data.
pub(crate) const GENERATIONS: u32 = 1 << 24;

/// The state of the receive operation (a multishot receive, or a poll on old kernels).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiving {
    Idle,
    Armed,
    /// A cancel is on its way.
    Cancelling,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) fd: OwnedFd,
    pub(crate) receiving: Receiving,
    /// The owner wants bytes (it has not paused).
    pub(crate) wants_bytes: bool,
    /// No more bytes will come.
    pub(crate) has_ended: bool,
    /// A poll for room in the socket is in flight.
    pub(crate) awaits_room: bool,
    /// The owner has let go; only operations in flight keep it here.
    pub(crate) is_closing: bool,
}

impl Connection {
    fn has_operations(&self) -> bool {
        self.receiving != Receiving::Idle || self.awaits_room
    }
}

#[derive(Default)]
pub(crate) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    open: usize,
}

struct Slot {
    generation: u32,
    connection: Option<Connection>,
}

impl Table {
    pub(crate) fn insert(&mut self, fd: OwnedFd) -> ConnId {
        let connection = Connection {
            fd,
            receiving: Receiving::Idle,
            wants_bytes: true,
            has_ended: false,
            awaits_room: false,
            is_closing: false,
        };
        self.open += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, connection: None });
            u32::try_from(self.slots.len() - 1).expect("fewer connections than descriptors")
        });
        let slot = &mut self.slots[index as usize];
        debug_assert!(slot.connection.is_none());
        slot.connection = Some(connection);
        ConnId::new(index, slot.generation)
    }

    /// The connection, also while it is closing.
    #[inline]
    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(id.index())?;
        if slot.generation == id.generation { slot.connection.as_mut() } else { None }
    }

    /// The connection, unless its owner has let go of it.
    #[inline]
    pub(crate) fn open_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.get_mut(id).filter(|connection| !connection.is_closing)
    }

    /// Marks a connection as closing; it goes when its operations have ended.
    pub(crate) fn close(&mut self, id: ConnId) {
        if let Some(connection) = self.open_mut(id) {
            connection.is_closing = true;
            connection.wants_bytes = false;
            self.open -= 1;
            self.release_if_done(id);
        }
    }

    /// Drops a closing connection (and closes its descriptor) when nothing is in flight any more.
    pub(crate) fn release_if_done(&mut self, id: ConnId) {
        let is_done = self.get_mut(id).is_some_and(|held| held.is_closing && !held.has_operations());
        if is_done {
            let slot = &mut self.slots[id.index()];
            slot.connection = None;
            slot.generation = (slot.generation + 1) % GENERATIONS;
            self.free.push(id.index);
        }
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// Connections that are closed but still have operations in flight.
    pub(crate) fn closing(&self) -> usize {
        self.slots.len() - self.free.len() - self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys;

    fn fd() -> OwnedFd {
        sys::event_fd().unwrap()
    }

    #[test]
    fn an_index_is_reused_under_a_new_generation() {
        let mut table = Table::default();
        let (first, second) = (table.insert(fd()), table.insert(fd()));
        assert_eq!((first.index(), second.index(), table.open()), (0, 1, 2));
        table.close(first);
        assert!(table.get_mut(first).is_none());
        let third = table.insert(fd());
        assert_eq!((third.index(), third.generation()), (0, 1));
        assert!(table.get_mut(first).is_none() && table.open_mut(third).is_some());
        table.close(first);
        assert_eq!(table.open(), 2);
    }

    #[test]
    fn operations_in_flight_hold_the_index() {
        let mut table = Table::default();
        let id = table.insert(fd());
        table.get_mut(id).unwrap().receiving = Receiving::Armed;
        table.close(id);
        assert!(table.open_mut(id).is_none() && table.get_mut(id).is_some());
        assert_eq!((table.open(), table.closing()), (0, 1));
        assert_eq!(table.insert(fd()).index(), 1);
        table.get_mut(id).unwrap().receiving = Receiving::Idle;
        table.release_if_done(id);
        assert!(table.get_mut(id).is_none());
        assert_eq!(table.insert(fd()).index(), 0);
    }
}
