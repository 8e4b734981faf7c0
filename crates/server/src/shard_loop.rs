//! The event loop of one shard: binds the pure [`Shard`] to the socket ring and the mesh.
//!
//! Owns the turn: wait, take events, take packets, let the shard work, send packets, send replies. Also owns what exists
//! only with real sockets: placing new connections on the shard that has fewest, the backlog of a full channel, and the
//! drain at shutdown. Never looks into a request.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use torc_persist::log::{Action, FileNumber};
use torc_runtime::clock;
use torc_runtime::executor::Seat;
use torc_runtime::listen::{self, Listener};
use torc_runtime::net::{self, ConnId, Event, FileId, Net, NetOptions, SendResult, Wait};
use torc_runtime::probe::Capabilities;
use torc_runtime::signals;
use torc_runtime::wake::Wakers;

use crate::clients::ClientKey;
use crate::connection::PeerInfo;
use crate::metrics::Failure;
use crate::metrics::LoopGauges;
use crate::packet::{Packet, ShardId};
use crate::process::Phase;
use crate::shard::{LoopRequest, Now, Shard};

/// Time between ticks of a shard (expiry, timeouts).
pub const TICK: Duration = Duration::from_millis(100);

/// Packets from peers that one turn handles; the rest waits for the next, so that sockets get their turn.
const PACKETS_PER_TURN_MAX: usize = 1024;

/// How long a shutdown waits for the disk to take the end of the log, in addition.
const LOG_SYNC_MAX: Duration = Duration::from_secs(5);

/// How often a draining shard looks whether all others are done.
const DRAIN_POLL: Duration = Duration::from_millis(5);

/// What travels through the mesh.
pub enum MeshPacket {
    Shard(Packet),
    /// A new connection for the receiving shard.
    Adopt(OwnedFd),
}

/// What the loops of all shards share. Touched when connections come and go, and at the end.
pub struct LoopShared {
    wakers: Arc<Wakers>,
    /// Open connections of each shard, as dealt out.
    connections: Vec<AtomicUsize>,
    /// `maxclients`; changed by CONFIG SET.
    pub connections_max: AtomicUsize,
    /// `tcp-keepalive` in seconds.
    pub keepalive_s: AtomicUsize,
    /// For each shard the TCP listeners that take the place of those it has.
    new_listeners: Vec<Mutex<Option<Vec<Listener>>>>,
    shutdown: AtomicBool,
    drained: AtomicUsize,
    /// A shard has ended with an error: nobody answers what others have asked it.
    has_failed: AtomicBool,
}

impl LoopShared {
    pub fn new(
        wakers: Arc<Wakers>,
        shards: usize,
        connections_max: usize,
        keepalive_s: usize,
    ) -> Arc<LoopShared> {
        Arc::new(LoopShared {
            wakers,
            connections: (0..shards).map(|_| AtomicUsize::new(0)).collect(),
            connections_max: AtomicUsize::new(connections_max),
            keepalive_s: AtomicUsize::new(keepalive_s),
            new_listeners: (0..shards).map(|_| Mutex::new(None)).collect(),
            shutdown: AtomicBool::new(false),
            drained: AtomicUsize::new(0),
            has_failed: AtomicBool::new(false),
        })
    }

    /// Ask all shards to drain and end.
    pub fn shut_down(&self) {
        self.shutdown.store(true, Ordering::Release);
        self.wakers.wake_all();
    }

    fn fail(&self) {
        self.has_failed.store(true, Ordering::Release);
        self.shut_down();
    }

    pub fn wake_all(&self) {
        self.wakers.wake_all();
    }

    /// Wakes a shard from a thread that is none.
    pub fn wake(&self, shard: ShardId) {
        self.wakers.wake(usize::from(shard));
    }

    /// Lay TCP listeners ready for every shard; each takes its own at the next [`LoopRequest::Listen`].
    pub fn offer_listeners(&self, groups: Vec<Vec<Option<Listener>>>) {
        let mut per_shard: Vec<Vec<Listener>> = self.new_listeners.iter().map(|_| Vec::new()).collect();
        for group in groups {
            for (place, listener) in per_shard.iter_mut().zip(group) {
                place.extend(listener);
            }
        }
        for (place, listeners) in self.new_listeners.iter().zip(per_shard) {
            *place.lock().expect("no holder panics") = Some(listeners);
        }
    }

    fn is_shutting_down(&self) -> bool {
        self.shutdown.load(Ordering::Acquire)
    }

    pub fn connections(&self) -> usize {
        self.connections.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Deal a new connection to the shard with the fewest, `own` among equals. `None`: there are too many.
    fn place(&self, own: usize) -> Option<usize> {
        let load = |shard: usize| self.connections[shard].load(Ordering::Relaxed);
        if self.connections() >= self.connections_max.load(Ordering::Relaxed) {
            return None;
        }
        let target = (0..self.connections.len()).min_by_key(|&shard| (load(shard), shard != own))?;
        self.connections[target].fetch_add(1, Ordering::Relaxed);
        Some(target)
    }

    fn left(&self, shard: usize) {
        self.connections[shard].fetch_sub(1, Ordering::Relaxed);
    }
}

/// What one loop is given besides its seat.
pub struct LoopSetup {
    pub shard: Shard,
    pub listeners: Vec<Listener>,
    pub capabilities: Capabilities,
    pub shared: Arc<LoopShared>,
    pub spin: Duration,
}

/// Run one shard until shutdown.
pub async fn run(seat: Seat<MeshPacket>, setup: LoopSetup) -> std::io::Result<()> {
    let (shard, shared) = (seat.shard, Arc::clone(&setup.shared));
    let outcome = ShardLoop::new(seat, setup).and_then(|mut shard_loop| {
        shard_loop.shard.process.memory.note_shard_startup();
        shard_loop.run()
    });
    if let Err(error) = &outcome {
        // Nobody has its keys any more, so the others end, too.
        tracing::error!(shard, %error, "the event loop of a shard has failed: the server ends");
        shared.fail();
    }
    outcome
}

/// A segment of the log.
struct LogFile {
    number: FileNumber,
    buffered: FileId,
    /// The same past the page cache.
    direct: Option<FileId>,
}

struct OpenListener {
    id: net::ListenerId,
    is_tcp: bool,
}

struct ShardLoop {
    shard: Shard,
    seat: Seat<MeshPacket>,
    net: Net,
    listeners: Vec<OpenListener>,
    shared: Arc<LoopShared>,
    spin: Duration,
    /// By index of the ring's connection.
    clients: Vec<Option<(ConnId, ClientKey)>>,
    /// By index of the shard's connection.
    sockets: Vec<Option<ConnId>>,
    /// Packets that found their channel full, per peer.
    backlog: Vec<VecDeque<MeshPacket>>,
    next_tick_us: u64,
    /// Segments of the log on this ring.
    log_files: Vec<LogFile>,
    /// When the work of this turn began: a reading of the cycle counter.
    turn_began: Option<u64>,
}

/// Events that need the ring itself and are therefore handled after the turn.
#[derive(Default)]
struct Deferred {
    accepted: Vec<OwnedFd>,
    ended: Vec<ConnId>,
    writable: Vec<ConnId>,
}

impl ShardLoop {
    fn new(seat: Seat<MeshPacket>, setup: LoopSetup) -> std::io::Result<ShardLoop> {
        let mut net = Net::new(&setup.capabilities, NetOptions::default(), seat.mesh.doorbell().clone())?;
        let mut listeners = Vec::with_capacity(setup.listeners.len());
        for listener in setup.listeners {
            let is_tcp = listener.port().is_some();
            listeners.push(OpenListener { id: net.listen(listener)?, is_tcp });
        }
        Ok(ShardLoop {
            shard: setup.shard,
            backlog: (0..seat.shards).map(|_| VecDeque::new()).collect(),
            seat,
            net,
            listeners,
            shared: setup.shared,
            spin: setup.spin,
            clients: Vec::new(),
            sockets: Vec::new(),
            next_tick_us: 0,
            log_files: Vec::new(),
            turn_began: None,
        })
    }

    fn run(&mut self) -> std::io::Result<()> {
        while !self.shared.is_shutting_down() {
            let wait = self.wait();
            self.turn(wait)?;
            if self.seat.shard == 0 && signals::take_shutdown_request() {
                self.shard.shut_down_by_signal();
            }
        }
        self.drain()
    }

    /// One turn of the loop.
    fn turn(&mut self, wait: Wait) -> std::io::Result<()> {
        let mut deferred = Deferred::default();
        self.turn_began = None;
        self.take_events(wait, &mut deferred)?;
        let began = self.turn_began.unwrap_or_else(clock::cycles);
        self.shard.set_now(read_now());
        self.handle_deferred(deferred)?;
        self.take_packets()?;
        if self.shard.now.monotonic_us >= self.next_tick_us {
            self.next_tick_us = self.shard.now.monotonic_us + TICK.as_micros() as u64;
            self.shard.gauges = self.gauges();
            self.shard.tick();
        }
        if self.shard.state.is_loading {
            self.shard.go_on_loading();
        }
        self.shard.finish_aside();
        self.shard.go_on_saving();
        self.shard.mend_log();
        self.shard.end_turn();
        self.send_packets();
        if let Some(until_us) = self.shard.sleep_until_us.take() {
            self.stop_until(until_us);
        }
        // Under `always` the disk works while the replies that the last sync has set free are sent.
        if self.write_log()? {
            self.net.submit()?;
        }
        self.send_replies()?;
        self.shard.limit_client_memory();
        self.handle_requests()?;
        if self.shard.has_background() {
            self.shard.background();
        }
        self.write_log()?;
        self.shard.stats.count_turn_time(clock::cycles_to_ns(clock::cycles().wrapping_sub(began)));
        Ok(())
    }

    /// Queues what the log has to write now. True if somebody waits for that to be durable.
    fn write_log(&mut self) -> std::io::Result<bool> {
        let mut is_awaited = false;
        for (number, file) in self.shard.take_log_files() {
            let buffered = self.net.add_file(file.buffered);
            let direct = file.direct.map(|file| self.net.add_file(file));
            self.log_files.push(LogFile { number, buffered, direct });
        }
        while let Some(action) = self.shard.next_log_action() {
            let number = match &action {
                Action::Write { file, .. } | Action::Sync { file } => *file,
            };
            let at = self.log_files.iter().position(|file| file.number == number);
            let file = &self.log_files[at.expect("a segment is handed over before it is written to")];
            match action {
                Action::Write { offset, bytes, then_sync, .. } => {
                    is_awaited |= then_sync;
                    let id = file.direct.filter(|_| then_sync).unwrap_or(file.buffered);
                    let (bytes, start) = bytes.into_parts();
                    self.net.write_file(id, offset, bytes, start, then_sync)?;
                }
                Action::Sync { .. } => self.net.sync_file(file.buffered)?,
            }
            // A log leaves its segments in their order; one that was switched off may not have left its last yet.
            let left = match self.shard.has_ending_log() {
                true => 0,
                false => self.log_files.iter().position(|file| file.number == number).unwrap_or(0),
            };
            for old in self.log_files.drain(..left) {
                self.net.close_file(old.buffered);
                old.direct.into_iter().for_each(|direct| self.net.close_file(direct));
            }
        }
        Ok(is_awaited)
    }

    /// What the shard cannot know of its loop.
    fn gauges(&self) -> LoopGauges {
        LoopGauges {
            ring_enters: self.net.stats().enters,
            packets_waiting: self.seat.mesh.inbox_depth(),
            packets_held_back: self.backlog.iter().map(VecDeque::len).sum(),
        }
    }

    /// DEBUG SLEEP. Peers get their packets first, so that they stop as well.
    #[cold]
    fn stop_until(&self, until_us: u64) {
        self.shared.wakers.wake_all();
        std::thread::sleep(Duration::from_micros(until_us.saturating_sub(clock::monotonic_us())));
    }

    fn wait(&self) -> Wait {
        // A backlog needs no polling: its receiver wakes this shard when there is room.
        if self.shard.has_runnable() || self.shard.has_background() || self.shard.has_output() {
            return Wait::Poll;
        }
        let next_us = self.next_tick_us.min(self.shard.next_deadline_us().unwrap_or(u64::MAX));
        let next_us = next_us.min(self.shard.next_log_action_us().unwrap_or(u64::MAX));
        let left = next_us.saturating_sub(clock::monotonic_us());
        if left == 0 { Wait::Poll } else { Wait::For(Duration::from_micros(left)) }
    }

    fn take_events(&mut self, wait: Wait, deferred: &mut Deferred) -> std::io::Result<()> {
        let ShardLoop { shard, seat, net, clients, spin, turn_began, log_files, .. } = self;
        let number_of = |id: FileId| {
            let known = log_files.iter().find(|file| file.buffered == id || file.direct == Some(id));
            known.expect("a file of the log is known until nothing of it is under way").number
        };
        let mut first = true;
        net::turn(net, &mut seat.mesh, wait, *spin, &mut |event| {
            if std::mem::take(&mut first) {
                shard.set_now(read_now());
                *turn_began = Some(clock::cycles());
            }
            match event {
                Event::Received { conn, data } => {
                    if let Some(Some((known, client))) = clients.get(conn.index())
                        && *known == conn
                    {
                        shard.received(*client, data);
                    }
                }
                Event::Accepted { fd, .. } => deferred.accepted.push(fd),
                Event::AcceptFailed { error, .. } => {
                    Failure::Accept.count();
                    tracing::warn!(%error, "accepting a connection failed");
                }
                Event::Eof { conn } => {
                    if let Some(Some((known, client))) = clients.get(conn.index())
                        && *known == conn
                    {
                        shard.input_ended(*client);
                    }
                }
                Event::Failed { conn, .. } => deferred.ended.push(conn),
                Event::Writable { conn } => deferred.writable.push(conn),
                Event::Written { file, result } => shard.log_write_ended(number_of(file), result),
                Event::Synced { file, result } => shard.log_sync_ended(number_of(file), result),
                Event::Woken => {}
            }
        })?;
        self.seat.mesh.end_sleep();
        Ok(())
    }

    fn handle_deferred(&mut self, deferred: Deferred) -> std::io::Result<()> {
        for fd in deferred.accepted {
            self.place(fd)?;
        }
        for conn in deferred.ended {
            self.ended(conn)?;
        }
        for conn in deferred.writable {
            if let Some(Some((known, client))) = self.clients.get(conn.index()).copied()
                && known == conn
            {
                // Not at once: what this turn has answered may have to wait for the log.
                self.shard.flush_soon(client);
            }
        }
        Ok(())
    }

    /// Give a new connection to the shard that has fewest.
    fn place(&mut self, fd: OwnedFd) -> std::io::Result<()> {
        match self.shared.place(self.seat.shard) {
            None => {
                self.shard.stats.connections_rejected += 1;
                refuse(&fd, b"-ERR max number of clients reached\r\n");
                Ok(())
            }
            Some(target) if target == self.seat.shard => self.adopt(fd),
            Some(target) => {
                self.backlog[target].push_back(MeshPacket::Adopt(fd));
                Ok(())
            }
        }
    }

    /// A connection of this shard begins.
    fn adopt(&mut self, fd: OwnedFd) -> std::io::Result<()> {
        // A connection that was closed in this turn may have the place that the new one gets.
        self.handle_requests()?;
        let keepalive_s = self.shared.keepalive_s.load(Ordering::Relaxed) as u32;
        let names = listen::tune_accepted(fd.as_fd(), keepalive_s)
            .and_then(|()| listen::connection_names(fd.as_fd()));
        let Ok(names) = names else {
            // The client has gone already.
            self.shared.left(self.seat.shard);
            return Ok(());
        };
        let info = PeerInfo {
            loopback: names.peer_ip.is_none_or(|ip| ip.is_loopback()),
            unix_socket: names.peer_ip.is_none(),
            address: names.peer,
            local_address: names.local,
            fd: fd.as_raw_fd(),
        };
        if let Err(refusal) = self.shard.admit(&info) {
            refuse(&fd, refusal);
            self.shared.left(self.seat.shard);
            return Ok(());
        }
        // A client that ended in this turn has left its index to the next one: its socket must be closed before.
        self.handle_requests()?;
        let conn = self.net.add(fd)?;
        let client = self.shard.accept(info);
        set(&mut self.clients, conn.index(), (conn, client));
        set(&mut self.sockets, client.index as usize, conn);
        Ok(())
    }

    /// The socket of a client, unless it has ended.
    fn socket_of(&self, client: ClientKey) -> Option<ConnId> {
        let conn = self.sockets.get(client.index as usize).copied().flatten()?;
        let (known, at_other_end) = self.clients.get(conn.index()).copied().flatten()?;
        (known == conn && at_other_end == client).then_some(conn)
    }

    /// The peer is gone.
    fn ended(&mut self, conn: ConnId) -> std::io::Result<()> {
        if let Some(Some((known, client))) = self.clients.get(conn.index()).copied()
            && known == conn
        {
            self.shard.disconnected(client);
            self.forget(conn, client)?;
        }
        Ok(())
    }

    fn forget(&mut self, conn: ConnId, client: ClientKey) -> std::io::Result<()> {
        self.clients[conn.index()] = None;
        self.sockets[client.index as usize] = None;
        self.shared.left(self.seat.shard);
        self.net.close(conn)
    }

    fn take_packets(&mut self) -> std::io::Result<()> {
        for _ in 0..PACKETS_PER_TURN_MAX {
            let Some((from, packet)) = self.seat.mesh.recv() else { break };
            match packet {
                MeshPacket::Shard(packet) => self.shard.packet(from as ShardId, packet),
                MeshPacket::Adopt(fd) => self.adopt(fd)?,
            }
        }
        Ok(())
    }

    /// Packets leave in order; what finds a full channel waits here and is tried again next turn.
    fn send_packets(&mut self) {
        for (to, packet) in self.shard.take_outbox() {
            self.backlog[to as usize].push_back(MeshPacket::Shard(packet));
        }
        for (to, backlog) in self.backlog.iter_mut().enumerate() {
            while let Some(packet) = backlog.pop_front() {
                if let Err(packet) = self.seat.mesh.try_send(to, packet) {
                    backlog.push_front(packet);
                    break;
                }
            }
        }
    }

    fn send_replies(&mut self) -> std::io::Result<()> {
        let flush = self.shard.take_flush();
        for &client in &flush {
            if let Some(conn) = self.socket_of(client) {
                self.send_to(client, conn)?;
            }
        }
        self.shard.return_flush(flush);
        Ok(())
    }

    /// Send what a connection has ready; what the socket does not take waits for `Writable`.
    fn send_to(&mut self, client: ClientKey, conn: ConnId) -> std::io::Result<()> {
        let Some(connection) = self.shard.clients.get_mut(client) else { return Ok(()) };
        connection.flags.flush_queued = false;
        if connection.output.is_held() {
            return Ok(());
        }
        let mut sent_bytes = 0;
        let mut failed = false;
        loop {
            let (output, allowed) = connection.output.sendable();
            if allowed == 0 {
                break;
            }
            let result = match output.contiguous() {
                Some(bytes) => self.net.send(conn, &[IoSlice::new(&bytes[..allowed.min(bytes.len())])]),
                None => {
                    let mut slices = Vec::new();
                    output.io_slices_of(allowed, &mut slices);
                    self.net.send(conn, &slices)
                }
            };
            match result {
                SendResult::Sent(count) => {
                    connection.output.note_sent(count);
                    sent_bytes += count;
                }
                SendResult::Full(count) => {
                    connection.output.note_sent(count);
                    sent_bytes += count;
                    break;
                }
                SendResult::Failed(_) => {
                    failed = true;
                    break;
                }
            }
        }
        if failed {
            return self.ended(conn);
        }
        self.shard.sent(client, sent_bytes);
        Ok(())
    }

    fn handle_requests(&mut self) -> std::io::Result<()> {
        for request in self.shard.take_requests() {
            match request {
                LoopRequest::Close(client) => {
                    if let Some(conn) = self.socket_of(client) {
                        self.forget(conn, client)?;
                    }
                }
                LoopRequest::PauseReading(client) => {
                    if let Some(conn) = self.socket_of(client) {
                        self.net.pause_recv(conn)?;
                    }
                }
                LoopRequest::ResumeReading(client) => {
                    if let Some(conn) = self.socket_of(client) {
                        self.net.resume_recv(conn)?;
                    }
                }
                LoopRequest::Listen => self.listen_anew()?,
                LoopRequest::Shutdown => {
                    self.shard.process.phase.set(Phase::Stopping);
                    self.shared.shut_down();
                }
            }
        }
        Ok(())
    }

    /// Take the TCP listeners that CONFIG SET opened, in place of the old ones.
    fn listen_anew(&mut self) -> std::io::Result<()> {
        let place = &self.shared.new_listeners[self.seat.shard];
        let Some(new) = place.lock().expect("no holder panics").take() else { return Ok(()) };
        self.close_tcp_listeners()?;
        for listener in new {
            let id = self.net.listen(listener)?;
            self.listeners.push(OpenListener { id, is_tcp: true });
        }
        Ok(())
    }

    fn close_tcp_listeners(&mut self) -> std::io::Result<()> {
        for listener in self.listeners.extract_if(.., |listener| listener.is_tcp) {
            self.net.close_listener(listener.id)?;
        }
        Ok(())
    }

    /// Shutdown: no new connections; what was received is answered; then all shards end together, because each may
    /// owe another one a reply.
    fn drain(&mut self) -> std::io::Result<()> {
        for listener in std::mem::take(&mut self.listeners) {
            self.net.close_listener(listener.id)?;
        }
        let patience = self.shard.state.config.shutdown_timeout();
        let give_up_us = clock::monotonic_us().saturating_add(patience.as_micros() as u64);
        let mut reported = false;
        loop {
            self.turn(Wait::For(DRAIN_POLL))?;
            // After the last snapshot nothing may change: what waits for a key waits for ever.
            let is_sealed = self.shard.is_sealed();
            let is_done =
                |client: &crate::connection::Connection| is_sealed || client.is_idle() || client.is_blocked();
            let idle = !self.shard.has_runnable()
                && !self.shard.awaits_log()
                && self.backlog.iter().all(VecDeque::is_empty)
                && self.shard.clients.iter().all(is_done);
            if idle && !reported {
                reported = true;
                self.shared.drained.fetch_add(1, Ordering::AcqRel);
            }
            let all_done = self.shared.drained.load(Ordering::Acquire) >= self.seat.shards;
            let in_vain = self.shared.has_failed.load(Ordering::Acquire);
            if (all_done && idle) || in_vain || clock::monotonic_us() > give_up_us {
                break;
            }
        }
        self.finish_log()
    }
}

impl ShardLoop {
    /// The end: whatever was logged is made durable.
    fn finish_log(&mut self) -> std::io::Result<()> {
        let give_up_us = clock::monotonic_us() + LOG_SYNC_MAX.as_micros() as u64;
        self.shard.hurry_log();
        while !self.shard.log_is_finished() && clock::monotonic_us() < give_up_us {
            self.turn(Wait::For(DRAIN_POLL))?;
        }
        Ok(())
    }
}

fn read_now() -> Now {
    Now { unix_ms: clock::unix_ms(), monotonic_us: clock::monotonic_us() }
}

fn set<T>(list: &mut Vec<Option<T>>, index: usize, value: T) {
    if index >= list.len() {
        list.resize_with(index + 1, || None);
    }
    list[index] = Some(value);
}

/// Say why and hang up. The socket is new, so its buffer takes the line.
fn refuse(fd: &OwnedFd, line: &[u8]) {
    if let Ok(copy) = fd.try_clone() {
        let stream = std::net::TcpStream::from(copy);
        let _ = stream.set_nonblocking(true);
        let _ = std::io::Write::write_all(&mut &stream, line);
    }
}
