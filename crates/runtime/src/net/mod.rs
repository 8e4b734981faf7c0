//! The socket ring of one shard: accepts, receives, sends, sleeps. Hot path.
//!
//! Owns the connections' descriptors, the receive buffers and the only wait point of the shard. Never looks into
//! the bytes, never blocks except in [`Net::turn`], never allocates per event.
//!
//! A turn is one `io_uring_enter` that submits what was queued since the last one, sleeps if allowed and necessary,
//! and then hands all completions to the caller as [`Event`]s. Replies are sent straight away by a non-blocking
//! `send`, once per connection and turn; only a full socket costs a ring operation.

mod buffers;
mod files;
mod ring;
mod table;
pub(crate) mod trial;

use std::io::{self, IoSlice};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::listen::Listener;
use crate::mesh::MeshEnd;
use crate::probe::Capabilities;
use crate::sys;
use crate::wake::Doorbell;

use buffers::Buffers;
use files::Files;
use ring::{Completion, EnterWait, Op, Ring};
use table::{Receiving, Table};

pub use files::FileId;
pub use table::ConnId;

/// How long a listener rests after an accept failed for want of resources (descriptors, memory).
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Sizes of one socket ring.
#[derive(Clone, Copy, Debug)]
pub struct NetOptions {
    /// Receive buffers, a power of two up to 32768.
    pub buffers: u16,
    /// Bytes of one receive buffer, and the most that one `Received` carries.
    pub buffer_bytes: usize,
}

impl Default for NetOptions {
    fn default() -> NetOptions {
        NetOptions { buffers: 256, buffer_bytes: 16 * 1024 }
    }
}

/// A listener of one ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(u32);

impl ListenerId {
    /// Dense, in the order of [`Net::listen`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What happened on the ring.
#[derive(Debug)]
pub enum Event<'a> {
    /// A connection came in. It is not on this ring until [`Net::add`]: it may go to another shard.
    Accepted { listener: ListenerId, fd: OwnedFd },
    /// Accepting failed. The listener goes on: at once, or after [`ACCEPT_BACKOFF`] when resources are short.
    AcceptFailed { listener: ListenerId, error: io::Error },
    /// Bytes came in. Some may still come after [`Net::pause_recv`]: those received before it took effect.
    Received { conn: ConnId, data: &'a [u8] },
    /// The client has closed its side; no more bytes will come. Replies can still be sent, until [`Net::close`].
    Eof { conn: ConnId },
    /// The connection is broken. Nothing more will come; call [`Net::close`].
    Failed { conn: ConnId, error: io::Error },
    /// A socket that was full has room again.
    Writable { conn: ConnId },
    /// A [`Net::write_file`] has ended: with so many bytes written, or an error.
    Written { file: FileId, result: io::Result<usize> },
    /// A sync of a file has ended.
    Synced { file: FileId, result: io::Result<()> },
    /// Another thread rang: look at the mesh, at signals, at whatever it shares with this shard.
    Woken,
}

/// What became of a [`Net::send`].
#[derive(Debug)]
pub enum SendResult {
    /// All bytes were taken.
    Sent(usize),
    /// So many bytes were taken and the socket is full; an [`Event::Writable`] follows.
    Full(usize),
    /// The connection is broken; call [`Net::close`].
    Failed(io::Error),
}

/// How long a turn may sleep when nothing is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Poll,
    /// At most so long.
    For(Duration),
    Forever,
}

/// What one turn did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnStats {
    /// Completions taken.
    pub completions: usize,
    /// Calls of `io_uring_enter`.
    pub enters: u64,
}

/// Counters since the ring was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetStats {
    /// Calls of `io_uring_enter`.
    pub enters: u64,
    /// Turns that were allowed to sleep.
    pub waits: u64,
    pub completions: u64,
    /// Receives that found no free buffer. They start again in the same turn; many of them: more buffers needed.
    pub buffer_shortages: u64,
    /// Turns that found the completion queue overflown.
    pub overflows: u64,
    /// Peers woken through the ring.
    pub wakes_sent: u64,
}

/// The socket ring of one shard. Stays on the thread that made it.
pub struct Net {
    table: Table,
    files: Files,
    listeners: Vec<Option<Accepting>>,
    receive: Receive,
    ring: Ring,
    doorbell: Doorbell,
    multishot_accept: bool,
    msg_ring: bool,
    stats: NetStats,
    _not_send: PhantomData<*const ()>,
}

/// How bytes are received.
enum Receive {
    /// Multishot receives into provided buffers.
    Provided(Buffers),
    /// On old kernels: a poll per connection, then a plain receive into the one buffer.
    Polled(Box<[u8]>),
}

struct Accepting {
    fd: OwnedFd,
    is_armed: bool,
    is_closing: bool,
    rests_until: Option<Instant>,
}

impl Net {
    /// Makes the ring. `doorbell` is the shard's own ([`MeshEnd::doorbell`]).
    pub fn new(capabilities: &Capabilities, options: NetOptions, doorbell: Doorbell) -> io::Result<Net> {
        let mut ring = Ring::new(capabilities)?;
        let receive = if capabilities.multishot_recv && capabilities.buffer_ring {
            Receive::Provided(Buffers::register(&ring, options.buffers, options.buffer_bytes)?)
        } else {
            Receive::Polled(vec![0; options.buffer_bytes].into())
        };
        ring.push(Op::PollMulti { fd: doorbell.event(), events: libc::POLLIN }, Tag::DOORBELL.encode())?;
        doorbell.publish_ring(ring.fd());
        Ok(Net {
            table: Table::default(),
            files: Files::default(),
            listeners: Vec::new(),
            receive,
            ring,
            doorbell,
            multishot_accept: capabilities.multishot_accept,
            msg_ring: capabilities.msg_ring,
            stats: NetStats::default(),
            _not_send: PhantomData,
        })
    }

    /// Starts accepting.
    pub fn listen(&mut self, listener: Listener) -> io::Result<ListenerId> {
        let id = ListenerId(u32::try_from(self.listeners.len()).expect("few listeners"));
        let fd = listener.into_fd();
        self.listeners.push(Some(Accepting { fd, is_armed: false, is_closing: false, rests_until: None }));
        self.arm_accept(id)?;
        Ok(id)
    }

    /// Stops accepting and closes the listener. A connection accepted before may still be reported.
    pub fn close_listener(&mut self, id: ListenerId) -> io::Result<()> {
        let Some(accepting) = self.listeners[id.index()].as_mut() else { return Ok(()) };
        accepting.is_closing = true;
        accepting.rests_until = None;
        if accepting.is_armed {
            return self.ring.push(Op::Cancel { user_data: Tag::accept(id).encode() }, Tag::IGNORED.encode());
        }
        self.listeners[id.index()] = None;
        Ok(())
    }

    /// Takes a connection over and starts receiving.
    pub fn add(&mut self, fd: OwnedFd) -> io::Result<ConnId> {
        let id = self.table.insert(fd);
        self.arm_receive(id)?;
        Ok(id)
    }

    /// The descriptor of an open connection, for socket options and names.
    pub fn descriptor(&mut self, conn: ConnId) -> Option<BorrowedFd<'_>> {
        self.table.open_mut(conn).map(|connection| connection.fd.as_fd())
    }

    /// Stops receiving (back-pressure). Takes effect with the next turn.
    pub fn pause_recv(&mut self, conn: ConnId) -> io::Result<()> {
        let Some(connection) = self.table.open_mut(conn) else { return Ok(()) };
        connection.wants_bytes = false;
        if connection.receiving == Receiving::Armed {
            connection.receiving = Receiving::Cancelling;
            self.ring.push(Op::Cancel { user_data: Tag::receive(conn).encode() }, Tag::IGNORED.encode())?;
        }
        Ok(())
    }

    /// Receives again after [`Net::pause_recv`]. Not after the end of the stream.
    pub fn resume_recv(&mut self, conn: ConnId) -> io::Result<()> {
        let Some(connection) = self.table.open_mut(conn) else { return Ok(()) };
        connection.wants_bytes = true;
        self.arm_receive(conn)
    }

    /// Sends what the socket takes at once. An unknown or closed connection is `Failed`.
    pub fn send(&mut self, conn: ConnId, mut slices: &[IoSlice<'_>]) -> SendResult {
        let Some(connection) = self.table.open_mut(conn) else {
            return SendResult::Failed(io::Error::from(io::ErrorKind::NotConnected));
        };
        let fd = connection.fd.as_raw_fd();
        let mut taken = 0;
        while !slices.is_empty() {
            let (batch, rest) = slices.split_at(slices.len().min(sys::SLICES_MAX));
            let offered: usize = batch.iter().map(|slice| slice.len()).sum();
            match sys::send_now(fd, batch) {
                Ok(sent) => {
                    taken += sent;
                    if sent < offered {
                        return self.await_room(conn, taken);
                    }
                    slices = rest;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.await_room(conn, taken);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return SendResult::Failed(error),
            }
        }
        SendResult::Sent(taken)
    }

    /// Closes a connection. Its id is dead at once; the descriptor follows when its operations have ended, which
    /// takes one turn. No event of it follows, except that completions already taken by this turn have been reported.
    pub fn close(&mut self, conn: ConnId) -> io::Result<()> {
        let Some(connection) = self.table.open_mut(conn) else { return Ok(()) };
        let cancels_receive = connection.receiving == Receiving::Armed;
        if cancels_receive {
            connection.receiving = Receiving::Cancelling;
        }
        let cancels_room = connection.awaits_room;
        self.table.close(conn);
        if cancels_receive {
            self.ring.push(Op::Cancel { user_data: Tag::receive(conn).encode() }, Tag::IGNORED.encode())?;
        }
        if cancels_room {
            self.ring.push(Op::Cancel { user_data: Tag::room(conn).encode() }, Tag::IGNORED.encode())?;
        }
        Ok(())
    }

    /// Takes a file over, opened for writing.
    pub fn add_file(&mut self, fd: OwnedFd) -> FileId {
        self.files.add(fd)
    }

    /// Writes `bytes[start..]` at `offset`, and makes that durable if wished, in one operation. Answers come as [`Event::Written`] and
    /// [`Event::Synced`]; one write and one sync of a file may be under way.
    pub fn write_file(
        &mut self,
        file: FileId,
        offset: u64,
        bytes: Arc<Vec<u8>>,
        start: usize,
        then_sync: bool,
    ) -> io::Result<()> {
        self.files.write(&mut self.ring, file, offset, bytes, start, then_sync)
    }

    /// Starts what was queued now, not with the next turn.
    pub fn submit(&mut self) -> io::Result<()> {
        self.ring.enter(EnterWait::No)
    }

    /// Makes what was written durable (fdatasync), and then drops it from the page cache.
    pub fn sync_file(&mut self, file: FileId) -> io::Result<()> {
        self.files.sync(&mut self.ring, file)
    }

    /// Closes a file once nothing of it is under way.
    pub fn close_file(&mut self, file: FileId) {
        self.files.close(file);
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.table.open()
    }

    /// Closed connections whose operations have not ended yet.
    pub fn closing_connections(&self) -> usize {
        self.table.closing()
    }

    pub fn stats(&self) -> NetStats {
        NetStats { enters: self.ring.enters(), ..self.stats }
    }

    /// One turn: submits, sleeps if `wait` allows and nothing is there, hands over what happened.
    ///
    /// A caller with a mesh uses [`turn`], which also keeps the sleeping protocol.
    pub fn turn(&mut self, wait: Wait, sink: &mut impl FnMut(Event<'_>)) -> io::Result<TurnStats> {
        let enters_before = self.ring.enters();
        let wait = self.bounded_by_resting_listeners(wait)?;
        let wait = match wait {
            _ if self.ring.ready() > 0 => EnterWait::No,
            Wait::Poll => EnterWait::No,
            Wait::For(limit) => EnterWait::AtMost(limit),
            Wait::Forever => EnterWait::Forever,
        };
        let entered = self.ring.enter(wait);
        if wait != EnterWait::No {
            self.stats.waits += 1;
        }
        // Up again, before the events are worked on: from here on peers need not wake us.
        self.doorbell.end_sleep();
        entered?;
        if self.ring.has_overflown() {
            self.stats.overflows += 1;
        }
        // Only what is there now: what completes meanwhile belongs to the next turn.
        let completions = self.ring.ready();
        for _ in 0..completions {
            let Some(completion) = self.ring.pop() else { break };
            self.complete(completion, sink)?;
        }
        self.stats.completions += completions as u64;
        Ok(TurnStats { completions, enters: self.ring.enters() - enters_before })
    }

    /// Wakes a peer through the ring, with the next turn; or through its event counter when that is not possible.
    pub(crate) fn wake_peer(&mut self, peer: usize) {
        self.stats.wakes_sent += 1;
        if self.msg_ring
            && let Some(ring) = self.doorbell.ring_of(peer)
            && self
                .ring
                .push(Op::Message { ring, user_data: Tag::MAIL.encode() }, Tag::wake(peer).encode())
                .is_ok()
        {
            return;
        }
        self.doorbell.wakers().wake(peer);
    }

    fn complete(&mut self, completion: Completion, sink: &mut impl FnMut(Event<'_>)) -> io::Result<()> {
        let tag = Tag::decode(completion.user_data);
        match tag.kind {
            Kind::Receive => self.complete_receive(tag.conn(), completion, sink),
            Kind::Room => {
                let conn = tag.conn();
                if let Some(connection) = self.table.get_mut(conn) {
                    connection.awaits_room = false;
                    if connection.is_closing {
                        self.table.release_if_done(conn);
                    } else {
                        sink(Event::Writable { conn });
                    }
                }
                Ok(())
            }
            Kind::Accept => self.complete_accept(ListenerId(tag.index), completion, sink),
            Kind::FileWrite => {
                self.files.write_ended(tag.file_id(), completion.result, sink);
                Ok(())
            }
            Kind::FileSync => self.files.sync_ended(&mut self.ring, tag.file_id(), completion.result, sink),
            Kind::FileForget => {
                self.files.forget_ended(tag.file_id());
                Ok(())
            }
            Kind::FileReserve => {
                self.files.reserve_ended(tag.file_id(), completion.result);
                Ok(())
            }
            Kind::Doorbell => {
                sys::event_drain(self.doorbell.event());
                if !completion.has_more() {
                    let poll = Op::PollMulti { fd: self.doorbell.event(), events: libc::POLLIN };
                    self.ring.push(poll, Tag::DOORBELL.encode())?;
                }
                sink(Event::Woken);
                Ok(())
            }
            Kind::Mail => {
                sink(Event::Woken);
                Ok(())
            }
            // Only failures complete: the peer's ring is gone or full. Its event counter does not fail.
            Kind::Wake => {
                self.doorbell.wakers().wake(tag.index as usize);
                Ok(())
            }
            Kind::Ignored => Ok(()),
        }
    }

    fn complete_receive(
        &mut self,
        conn: ConnId,
        completion: Completion,
        sink: &mut impl FnMut(Event<'_>),
    ) -> io::Result<()> {
        let Net { table, receive, stats, .. } = self;
        let Some(connection) = table.get_mut(conn) else {
            debug_assert!(false, "a completion of {conn:?} after its last one");
            return Ok(());
        };
        let is_open = !connection.is_closing;
        if !completion.has_more() {
            connection.receiving = Receiving::Idle;
        }
        match receive {
            Receive::Provided(buffers) => {
                if let Some(buffer) = completion.buffer() {
                    if is_open && completion.result > 0 {
                        let data = buffers.bytes(buffer, completion.result as usize);
                        sink(Event::Received { conn, data });
                    }
                    buffers.give_back(buffer);
                }
                match completion.result {
                    0 => end_of_stream(connection, conn, sink),
                    1.. => {}
                    result => match -result {
                        libc::ENOBUFS => stats.buffer_shortages += 1,
                        libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
                        error => broken(connection, conn, io::Error::from_raw_os_error(error), sink),
                    },
                }
            }
            Receive::Polled(buffer) => {
                if is_open && completion.result > 0 {
                    match sys::receive_now(connection.fd.as_raw_fd(), buffer) {
                        Ok(0) => end_of_stream(connection, conn, sink),
                        Ok(len) => sink(Event::Received { conn, data: &buffer[..len] }),
                        Err(error) => match error.kind() {
                            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                            _ => broken(connection, conn, error, sink),
                        },
                    }
                }
            }
        }
        if is_open {
            return self.arm_receive(conn);
        }
        self.table.release_if_done(conn);
        Ok(())
    }

    fn complete_accept(
        &mut self,
        id: ListenerId,
        completion: Completion,
        sink: &mut impl FnMut(Event<'_>),
    ) -> io::Result<()> {
        let has_more = completion.has_more();
        if let Some(accepting) = self.listeners[id.index()].as_mut() {
            accepting.is_armed = has_more;
            if accepting.is_closing && !has_more {
                self.listeners[id.index()] = None;
            }
        }
        let mut rests = false;
        if completion.result >= 0 {
            sink(Event::Accepted { listener: id, fd: accepted_fd(completion.result) });
        } else {
            match -completion.result {
                libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
                error => {
                    // A client that gave up is its own affair; anything else will not be better at once.
                    rests = !matches!(error, libc::ECONNABORTED | libc::EPROTO | libc::EPERM);
                    sink(Event::AcceptFailed { listener: id, error: io::Error::from_raw_os_error(error) });
                }
            }
        }
        match self.listeners[id.index()].as_mut() {
            Some(accepting) if !accepting.is_armed && rests => {
                accepting.rests_until = Some(Instant::now() + ACCEPT_BACKOFF);
                Ok(())
            }
            Some(_) => self.arm_accept(id),
            None => Ok(()),
        }
    }

    /// Starts accepting unless it is on already.
    fn arm_accept(&mut self, id: ListenerId) -> io::Result<()> {
        let multishot = self.multishot_accept;
        match self.listeners[id.index()].as_mut() {
            Some(accepting) if !accepting.is_armed && !accepting.is_closing => {
                accepting.is_armed = true;
                accepting.rests_until = None;
                let op = Op::Accept { fd: accepting.fd.as_raw_fd(), multishot };
                self.ring.push(op, Tag::accept(id).encode())
            }
            _ => Ok(()),
        }
    }

    /// Starts receiving if the owner wants bytes and nothing is on already.
    fn arm_receive(&mut self, conn: ConnId) -> io::Result<()> {
        match self.table.open_mut(conn) {
            Some(connection)
                if connection.wants_bytes
                    && !connection.has_ended
                    && connection.receiving == Receiving::Idle =>
            {
                connection.receiving = Receiving::Armed;
                let fd = connection.fd.as_raw_fd();
                let op = match self.receive {
                    Receive::Provided(_) => Op::ReceiveMulti { fd },
                    Receive::Polled(_) => Op::Poll { fd, events: libc::POLLIN | libc::POLLRDHUP },
                };
                self.ring.push(op, Tag::receive(conn).encode())
            }
            _ => Ok(()),
        }
    }

    fn await_room(&mut self, conn: ConnId, taken: usize) -> SendResult {
        if let Some(connection) = self.table.open_mut(conn)
            && !connection.awaits_room
        {
            connection.awaits_room = true;
            let op = Op::Poll { fd: connection.fd.as_raw_fd(), events: libc::POLLOUT };
            if let Err(error) = self.ring.push(op, Tag::room(conn).encode()) {
                return SendResult::Failed(error);
            }
        }
        SendResult::Full(taken)
    }

    /// Starts listeners that have rested long enough, and does not sleep beyond the rest of the others.
    fn bounded_by_resting_listeners(&mut self, mut wait: Wait) -> io::Result<Wait> {
        for index in 0..self.listeners.len() {
            let Some(until) = self.listeners[index].as_ref().and_then(|listener| listener.rests_until) else {
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.arm_accept(ListenerId(index as u32))?;
                continue;
            }
            wait = match wait {
                Wait::Poll => Wait::Poll,
                Wait::For(limit) => Wait::For(limit.min(left)),
                Wait::Forever => Wait::For(left),
            };
        }
        Ok(wait)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.doorbell.withdraw_ring();
        // The kernel takes a ring apart some time after it is closed, and until then an accept in flight keeps its
        // listener alive and the port in use: end it now.
        for index in 0..self.listeners.len() {
            let _ = self.close_listener(ListenerId(index as u32));
        }
        self.files.abandon();
        // Also submits wake-ups that are still queued: they must not be lost with the ring.
        let _ = self.ring.enter(EnterWait::No);
        if let Receive::Provided(buffers) = &self.receive {
            buffers.unregister(&self.ring).expect("the buffers were registered on this ring");
        }
    }
}

fn end_of_stream(connection: &mut table::Connection, conn: ConnId, sink: &mut impl FnMut(Event<'_>)) {
    connection.has_ended = true;
    if !connection.is_closing {
        sink(Event::Eof { conn });
    }
}

fn broken(
    connection: &mut table::Connection,
    conn: ConnId,
    error: io::Error,
    sink: &mut impl FnMut(Event<'_>),
) {
    connection.has_ended = true;
    if !connection.is_closing {
        sink(Event::Failed { conn, error });
    }
}

#[allow(unsafe_code)]
fn accepted_fd(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for the accept that completed; nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// One turn of a shard that has peers: wakes the peers that were sent mail, looks for up to `spin` whether something
/// comes, and only then sleeps, so that no mail is overlooked.
pub fn turn<P: Send>(
    net: &mut Net,
    mesh: &mut MeshEnd<P>,
    wait: Wait,
    spin: Duration,
    sink: &mut impl FnMut(Event<'_>),
) -> io::Result<TurnStats> {
    mesh.flush_wakes(net);
    if wait == Wait::Poll || mesh.has_mail() {
        return net.turn(Wait::Poll, sink);
    }
    if !spin.is_zero() {
        let until = Instant::now() + spin;
        loop {
            let stats = net.turn(Wait::Poll, sink)?;
            if stats.completions > 0 || mesh.has_mail() {
                return Ok(stats);
            }
            if Instant::now() >= until {
                break;
            }
            std::hint::spin_loop();
        }
    }
    let may_sleep = mesh.begin_sleep();
    net.turn(if may_sleep { wait } else { Wait::Poll }, sink)
}

/// What a completion belongs to, packed into the 64 bits of user data: kind, generation, index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tag {
    kind: Kind,
    generation: u32,
    index: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nobody waits for it.
    Ignored,
    Receive,
    /// A socket has room.
    Room,
    Accept,
    /// This shard's event counter.
    Doorbell,
    /// A peer's wake-up has arrived here.
    Mail,
    /// A wake-up sent from here has failed.
    Wake,
    FileWrite,
    FileSync,
    FileForget,
    FileReserve,
}

impl Tag {
    const IGNORED: Tag = Tag::plain(Kind::Ignored, 0);
    const DOORBELL: Tag = Tag::plain(Kind::Doorbell, 0);
    const MAIL: Tag = Tag::plain(Kind::Mail, 0);

    const fn plain(kind: Kind, index: u32) -> Tag {
        Tag { kind, generation: 0, index }
    }

    fn accept(id: ListenerId) -> Tag {
        Tag::plain(Kind::Accept, id.0)
    }

    fn wake(peer: usize) -> Tag {
        Tag::plain(Kind::Wake, peer as u32)
    }

    fn receive(conn: ConnId) -> Tag {
        Tag { kind: Kind::Receive, generation: conn.generation(), index: conn.index() as u32 }
    }

    fn room(conn: ConnId) -> Tag {
        Tag { kind: Kind::Room, generation: conn.generation(), index: conn.index() as u32 }
    }

    fn conn(self) -> ConnId {
        ConnId::new(self.index, self.generation)
    }

    const fn encode(self) -> u64 {
        (self.kind as u64) << 56 | (self.generation as u64) << 32 | self.index as u64
    }

    fn decode(user_data: u64) -> Tag {
        const KINDS: [Kind; 11] = [
            Kind::Ignored,
            Kind::Receive,
            Kind::Room,
            Kind::Accept,
            Kind::Doorbell,
            Kind::Mail,
            Kind::Wake,
            Kind::FileWrite,
            Kind::FileSync,
            Kind::FileForget,
            Kind::FileReserve,
        ];
        Tag {
            kind: KINDS[(user_data >> 56) as usize],
            generation: (user_data >> 32) as u32 & (table::GENERATIONS - 1),
            index: user_data as u32,
        }
    }
}
