//! The socket ring against real sockets, with all that the kernel offers and with the fall-backs of old kernels.

use std::collections::HashMap;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use torc_runtime::listen::{self, Listener};
use torc_runtime::net::{ConnId, Event, Net, NetOptions, SendResult, Wait};
use torc_runtime::probe::{Capabilities, probe};
use torc_runtime::wake::Doorbell;
use torc_runtime::{CpuTimesOf, cpu_times};

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(20);
const TICK: Wait = Wait::For(Duration::from_millis(20));

/// What a new kernel can do, what a 5.15 one can do, and what lies between.
fn all_capabilities() -> Vec<Capabilities> {
    let best = probe().expect("io_uring works where the tests run");
    let interrupting = Capabilities { coop_taskrun: false, defer_taskrun: false, ..best };
    let mut all = vec![best, interrupting, Capabilities::default()];
    all.dedup();
    all
}

/// What a server remembers of a connection.
#[derive(Default)]
struct Peer {
    received: Vec<u8>,
    unsent: Vec<u8>,
    is_full: bool,
    has_ended: bool,
    writables: usize,
}

/// A ring with a listener and what its events were.
struct Server {
    net: Net,
    port: u16,
    peers: HashMap<ConnId, Peer>,
    closed: Vec<ConnId>,
    woken: usize,
}

impl Server {
    fn new(capabilities: &Capabilities, options: NetOptions) -> Server {
        let mut net = Net::new(capabilities, options, Doorbell::single().unwrap()).unwrap();
        let listener = listener();
        let port = listener.port().unwrap();
        net.listen(listener).unwrap();
        Server { net, port, peers: HashMap::new(), closed: Vec::new(), woken: 0 }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// One turn; what came in is remembered, what was accepted is added.
    fn turn(&mut self, wait: Wait) {
        let Server { net, peers, closed, woken, .. } = self;
        let mut accepted: Vec<OwnedFd> = Vec::new();
        let known = |conn: ConnId, event: &str| {
            assert!(!closed.contains(&conn), "{event} for {conn:?}, which is closed");
            if !peers.contains_key(&conn) {
                panic!("{event} for {conn:?}, which is unknown");
            }
        };
        let mut events = Vec::new();
        net.turn(wait, &mut |event| match event {
            Event::Accepted { fd, .. } => accepted.push(fd),
            Event::Received { conn, data } => {
                known(conn, "bytes");
                events.push((conn, Some(data.to_vec()), None));
            }
            Event::Eof { conn } => {
                known(conn, "end");
                events.push((conn, None, Some(true)));
            }
            Event::Writable { conn } => {
                known(conn, "room");
                events.push((conn, None, Some(false)));
            }
            Event::Failed { conn, error } => {
                known(conn, "failure");
                assert!(
                    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
                    "{error}"
                );
                events.push((conn, None, Some(true)));
            }
            Event::AcceptFailed { error, .. } => panic!("accept: {error}"),
            Event::Woken => *woken += 1,
            Event::Written { .. } | Event::Synced { .. } => unreachable!("there are no files"),
        })
        .unwrap();
        for (conn, data, end) in events {
            let peer = peers.get_mut(&conn).unwrap();
            match (data, end) {
                (Some(data), _) => {
                    assert!(!peer.has_ended, "bytes after the end");
                    peer.received.extend_from_slice(&data);
                }
                (None, Some(true)) => {
                    assert!(!peer.has_ended, "a connection ends once");
                    peer.has_ended = true;
                }
                _ => {
                    assert!(peer.is_full, "room without asking");
                    peer.is_full = false;
                    peer.writables += 1;
                }
            }
        }
        for fd in accepted {
            let conn = self.net.add(fd).unwrap();
            assert!(self.peers.insert(conn, Peer::default()).is_none(), "{conn:?} is in use");
        }
    }

    fn turn_until(&mut self, what: &str, mut done: impl FnMut(&mut Server) -> bool) {
        let give_up = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < give_up, "waited too long for: {what}");
            self.turn(TICK);
        }
    }

    /// Sends back what came in, as far as the sockets take it.
    fn echo(&mut self) {
        for (&conn, peer) in &mut self.peers {
            peer.unsent.append(&mut peer.received);
            if peer.is_full || peer.unsent.is_empty() {
                continue;
            }
            let (front, back) = peer.unsent.split_at(peer.unsent.len() / 2);
            match self.net.send(conn, &[IoSlice::new(front), IoSlice::new(back)]) {
                SendResult::Sent(count) => {
                    assert_eq!(count, peer.unsent.len());
                    peer.unsent.clear();
                }
                SendResult::Full(count) => {
                    peer.unsent.drain(..count);
                    peer.is_full = true;
                }
                SendResult::Failed(_) => peer.unsent.clear(),
            }
        }
    }

    fn close(&mut self, conn: ConnId) -> Peer {
        self.net.close(conn).unwrap();
        self.closed.push(conn);
        self.peers.remove(&conn).unwrap()
    }

    fn only(&self) -> ConnId {
        assert_eq!(self.peers.len(), 1);
        *self.peers.keys().next().unwrap()
    }
}

fn listener() -> Listener {
    listen::listen_tcp("127.0.0.1", 0, 511, 1).unwrap().remove(0)
}

/// Bytes that differ from place to place and from sender to sender.
fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ seed.wrapping_mul(17)) as u8).collect()
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn many_connections_get_their_own_bytes_back() {
    const CLIENTS: usize = 200;
    const ROUNDS: usize = 5;
    for capabilities in all_capabilities() {
        let mut server = Server::new(&capabilities, NetOptions { buffers: 16, buffer_bytes: 512 });
        let port = server.port;
        let clients = thread::spawn(move || {
            let mut streams: Vec<_> =
                (0..CLIENTS).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
            for round in 0..ROUNDS {
                let len = |client: usize| 1 + (client * 37 + round * 211) % 3000;
                for (client, stream) in streams.iter_mut().enumerate() {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    stream.write_all(&pattern(client, len(client))).unwrap();
                }
                for (client, stream) in streams.iter_mut().enumerate() {
                    let mut reply = vec![0; len(client)];
                    stream.read_exact(&mut reply).unwrap();
                    assert!(reply == pattern(client, len(client)), "client {client} in round {round}");
                }
            }
        });
        while !clients.is_finished() {
            server.turn(TICK);
            server.echo();
        }
        clients.join().unwrap();
        server.turn_until("all clients to go", |server| server.peers.values().all(|peer| peer.has_ended));
        assert_eq!(server.peers.len(), CLIENTS);
    }
}

#[test]
fn a_slow_reader_gets_everything_in_order() {
    const BYTES: usize = 8 << 20;
    for capabilities in all_capabilities() {
        let mut server = Server::new(&capabilities, NetOptions::default());
        let mut client = server.connect();
        server.turn_until("the client", |server| server.peers.len() == 1);
        let conn = server.only();
        let sent = pattern(3, BYTES);
        server.peers.get_mut(&conn).unwrap().unsent = sent.clone();
        server.echo();
        assert!(server.peers[&conn].is_full, "the socket does not take {BYTES} bytes at once");
        server.turn(TICK);
        assert!(server.peers[&conn].is_full, "no room while the client does not read");

        let reader = thread::spawn(move || {
            let mut bytes = vec![0; BYTES];
            for chunk in bytes.chunks_mut(BYTES / 16) {
                thread::sleep(Duration::from_millis(2));
                client.read_exact(chunk).unwrap();
            }
            bytes
        });
        server.turn_until("all bytes to leave", |server| {
            server.echo();
            server.peers[&conn].unsent.is_empty()
        });
        assert!(reader.join().unwrap() == sent);
        assert!(server.peers[&conn].writables > 1);
    }
}

#[test]
fn many_slices_are_sent_as_one() {
    const SLICES: usize = 5_000;
    for capabilities in all_capabilities() {
        let mut server = Server::new(&capabilities, NetOptions::default());
        let mut client = server.connect();
        server.turn_until("the client", |server| server.peers.len() == 1);
        let bytes = pattern(5, SLICES * 3);
        let slices: Vec<_> = bytes.chunks(3).map(IoSlice::new).collect();
        assert!(
            matches!(server.net.send(server.only(), &slices), SendResult::Sent(count) if count == bytes.len())
        );
        let mut received = vec![0; bytes.len()];
        client.read_exact(&mut received).unwrap();
        assert!(received == bytes);
    }
}

#[test]
fn a_paused_connection_is_not_read_and_loses_nothing() {
    for capabilities in all_capabilities() {
        let mut server = Server::new(&capabilities, NetOptions { buffers: 8, buffer_bytes: 1024 });
        let client = server.connect();
        server.turn_until("the client", |server| server.peers.len() == 1);
        let conn = server.only();
        server.net.pause_recv(conn).unwrap();
        server.turn(TICK);

        client.set_nonblocking(true).unwrap();
        let mut written = 0;
        let bytes = pattern(1, 64 << 20);
        while let Ok(count) = (&client).write(&bytes[written..]) {
            written += count;
            server.turn(Wait::Poll);
        }
        assert_eq!(server.peers[&conn].received.len(), 0, "read while paused");

        // Back and forth within one turn, and across turns.
        server.net.resume_recv(conn).unwrap();
        server.net.pause_recv(conn).unwrap();
        server.net.resume_recv(conn).unwrap();
        for _ in 0..20 {
            server.turn(Wait::Poll);
            server.net.pause_recv(conn).unwrap();
            server.turn(Wait::Poll);
            server.net.resume_recv(conn).unwrap();
        }
        server.turn_until("all bytes", |server| server.peers[&conn].received.len() == written);
        assert!(server.peers[&conn].received == bytes[..written]);
    }
}

#[test]
fn the_end_comes_after_the_bytes_and_replies_still_leave() {
    for capabilities in all_capabilities() {
        let mut server = Server::new(&capabilities, NetOptions::default());
        let mut client = server.connect();
        client.write_all(b"last words").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        server.turn_until("the end", |server| server.peers.values().any(|peer| peer.has_ended));
        let conn = server.only();
        assert_eq!(server.peers[&conn].received, b"last words");
        server.net.resume_recv(conn).unwrap();
        server.turn(TICK);
        assert!(matches!(server.net.send(conn, &[IoSlice::new(b"reply")]), SendResult::Sent(5)));
        server.close(conn);
        assert!(matches!(server.net.send(conn, &[IoSlice::new(b"late")]), SendResult::Failed(_)));
        server.turn(Wait::Poll);
        let mut reply = String::new();
        client.read_to_string(&mut reply).unwrap();
        assert_eq!(reply, "reply");
    }
}

#[test]
fn closing_under_load_leaves_nothing_behind() {
    const CONNECTIONS: usize = 60;
    const ROUNDS: usize = 6;
    for capabilities in all_capabilities() {
        let mut server = Server::new(&capabilities, NetOptions { buffers: 8, buffer_bytes: 256 });
        for round in 0..ROUNDS {
            let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| server.connect()).collect();
            let expected = CONNECTIONS + if round == 0 { 0 } else { CONNECTIONS / 3 };
            server.turn_until("the clients", |server| server.peers.len() == expected);
            for client in &mut clients {
                client.set_nonblocking(true).unwrap();
                let _ = client.write(&pattern(round, 4000));
            }
            // Close with completions pending, with operations armed, paused, waiting for room; at random turns.
            let mut open: Vec<_> = server.peers.keys().copied().collect();
            open.sort_by_key(|conn| (conn.index() * 7919 + round * 31) % 101);
            for (number, &conn) in open.iter().enumerate() {
                match number % 4 {
                    0 => server.net.pause_recv(conn).unwrap(),
                    1 => {
                        let flood = vec![b'x'; 4 << 20];
                        if matches!(server.net.send(conn, &[IoSlice::new(&flood)]), SendResult::Full(_)) {
                            server.peers.get_mut(&conn).unwrap().is_full = true;
                        }
                    }
                    2 => server.turn(Wait::Poll),
                    _ => {}
                }
                if number >= CONNECTIONS / 3 {
                    server.close(conn);
                }
                if number % 5 == 0 {
                    server.turn(Wait::Poll);
                }
            }
            server.turn_until("the closed to go", |server| server.net.closing_connections() == 0);
            // Indexes are used again; only then stale events could hit a new connection.
            assert!(server.peers.keys().all(|conn| conn.index() < 2 * CONNECTIONS));
            server.closed.clear();
            drop(clients);
            let left: Vec<_> = server.peers.keys().copied().skip(CONNECTIONS / 3).collect();
            for conn in left {
                server.close(conn);
            }
        }
        let open: Vec<_> = server.peers.keys().copied().collect();
        for conn in open {
            server.close(conn);
        }
        server.turn_until("all to go", |server| server.net.closing_connections() == 0);
        assert_eq!(server.net.connections(), 0);
        // A client of a closed connection sees the end: nothing holds the socket any more.
        let mut client = server.connect();
        server.turn_until("the client", |server| server.peers.len() == 1);
        server.close(server.only());
        server.turn_until("it to go", |server| server.net.closing_connections() == 0);
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    }
}

#[test]
fn more_completions_than_the_queue_holds_lose_nothing() {
    const PAIRS: usize = 40;
    for capabilities in all_capabilities() {
        let mut server = Server::new(&capabilities, NetOptions { buffers: 1 << 15, buffer_bytes: 64 });
        let mut clients = Vec::new();
        for number in 0..PAIRS {
            let (client, served) = UnixStream::pair().unwrap();
            client.set_nonblocking(true).unwrap();
            let conn = server.net.add(served.into()).unwrap();
            server.peers.insert(conn, Peer::default());
            let mut written = 0;
            let bytes = pattern(number, 1 << 20);
            // Small writes: the receive operation completes at least once for each.
            while let Ok(count) = (&client).write(&bytes[written..bytes.len().min(written + 64)]) {
                written += count;
            }
            clients.push((client, conn, bytes, written));
        }
        let total: usize = clients.iter().map(|(.., written)| written).sum();
        assert!(total / 64 > 8_000, "{total} bytes do not fill the queue");
        server.turn_until("all bytes", |server| {
            server.peers.values().map(|peer| peer.received.len()).sum::<usize>() == total
        });
        for (_, conn, bytes, written) in &clients {
            assert!(server.peers[conn].received == bytes[..*written]);
        }
    }
}

#[test]
fn another_thread_wakes_a_sleeping_ring() {
    for capabilities in all_capabilities() {
        let doorbell = Doorbell::single().unwrap();
        let wakers = doorbell.wakers().clone();
        let mut net = Net::new(&capabilities, NetOptions::default(), doorbell).unwrap();
        for _ in 0..20 {
            let wakers = wakers.clone();
            let ringer = thread::spawn(move || {
                thread::sleep(Duration::from_millis(2));
                wakers.wake(0);
            });
            let mut woken = 0;
            while woken == 0 {
                net.turn(Wait::Forever, &mut |event| woken += usize::from(matches!(event, Event::Woken)))
                    .unwrap();
            }
            ringer.join().unwrap();
        }
    }
}

#[test]
fn a_wait_ends_on_time() {
    for capabilities in all_capabilities() {
        let mut server = Server::new(&capabilities, NetOptions::default());
        server.turn(Wait::Poll);
        let start = Instant::now();
        server.turn(Wait::For(Duration::from_millis(30)));
        let waited = start.elapsed();
        assert!((25..5_000).contains(&waited.as_millis()), "{waited:?}");
        let start = Instant::now();
        for _ in 0..100 {
            server.turn(Wait::Poll);
        }
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn idle_connections_cost_nothing() {
    const SECONDS: f64 = 1.5;
    for capabilities in all_capabilities() {
        let mut server = Server::new(&capabilities, NetOptions::default());
        let clients: Vec<_> = (0..16).map(|_| server.connect()).collect();
        server.turn_until("the clients", |server| server.peers.len() == clients.len());
        let (clock, before) = (Instant::now(), cpu_times(CpuTimesOf::Thread).total());
        let enters = server.net.stats().enters;
        while clock.elapsed().as_secs_f64() < SECONDS {
            server.turn(Wait::For(Duration::from_millis(100)));
        }
        let used =
            (cpu_times(CpuTimesOf::Thread).total() - before).as_secs_f64() / clock.elapsed().as_secs_f64();
        assert!(used < 0.01, "{:.2} % of a core while idle", used * 100.0);
        assert!(server.net.stats().enters - enters < 30, "woken without a reason");
    }
}

#[test]
fn a_closed_listener_refuses_and_frees_its_port() {
    for capabilities in all_capabilities() {
        let mut net = Net::new(&capabilities, NetOptions::default(), Doorbell::single().unwrap()).unwrap();
        let first = listener();
        let port = first.port().unwrap();
        let id = net.listen(first).unwrap();
        net.turn(Wait::Poll, &mut |_| {}).unwrap();
        net.close_listener(id).unwrap();
        net.turn(Wait::Poll, &mut |_| {}).unwrap();
        let refused = TcpStream::connect(("127.0.0.1", port)).map(drop).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

        // And one that is still accepting when its ring goes.
        let second = listener();
        let port = second.port().unwrap();
        net.listen(second).unwrap();
        net.turn(Wait::Poll, &mut |_| {}).unwrap();
        drop(net);
        listen::listen_tcp("127.0.0.1", port, 511, 2).unwrap();
    }
}

#[test]
fn a_ring_gives_its_descriptors_back() {
    let capabilities = probe().unwrap();
    let in_a_row = || {
        let mut server = Server::new(&capabilities, NetOptions::default());
        let clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
        server.turn_until("the clients", |server| server.peers.len() == clients.len());
        assert!(server.net.descriptor(*server.peers.keys().next().unwrap()).unwrap().as_raw_fd() > 2);
    };
    // Other tests run beside this one and open descriptors too: some run must end with no more than before.
    let gives_back = (0..50).any(|_| {
        let before = open_descriptors();
        in_a_row();
        thread::sleep(Duration::from_millis(5));
        open_descriptors() <= before
    });
    assert!(gives_back, "every run leaves descriptors open");
}
