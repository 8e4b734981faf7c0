//! A server that answers every request with the same reply, to measure the event loop alone: no protocol, no keys.
//! It counts line ends and answers once per `--lines` of them, so any client that sends pipelined requests of a known
//! number of lines can drive it (`GET key` has 5). At SIGTERM it prints what a request has cost.
//!
//!     cargo run --release -p torc-runtime --example pingpong -- --port 7001 --lines 5 --reply-bytes 64

use std::io::IoSlice;
use std::time::Duration;

use torc_runtime::executor::{ExecutorConfig, Seat, run_shards};
use torc_runtime::listen::{self, Listener};
use torc_runtime::mesh::Mesh;
use torc_runtime::net::{self, ConnId, Event, Net, NetOptions, SendResult, Wait};
use torc_runtime::probe::{Capabilities, probe};
use torc_runtime::{CpuTimesOf, cpu_times, cpus, signals};

#[derive(Clone, Debug)]
struct Options {
    port: u16,
    shards: usize,
    lines: u64,
    reply: Vec<u8>,
    spin: Duration,
    wait: Wait,
}

#[derive(Default)]
struct Connection {
    id: Option<ConnId>,
    lines: u64,
    owed: u64,
    is_full: bool,
    unsent: Vec<u8>,
}

#[derive(Default)]
struct Work {
    connections: Vec<Connection>,
    dirty: Vec<ConnId>,
    accepted: Vec<std::os::fd::OwnedFd>,
    ended: Vec<ConnId>,
    received: u64,
}

fn main() {
    let options = options();
    let capabilities = match probe() {
        Ok(capabilities) => capabilities,
        Err(failure) => {
            eprintln!("{failure}");
            std::process::exit(1);
        }
    };
    let listeners = match listen::listen_tcp("127.0.0.1", options.port, 511, options.shards) {
        Ok(listeners) => std::sync::Mutex::new(listeners),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    let mesh = Mesh::<()>::new(options.shards).expect("event counters");
    signals::install(mesh.wakers()).expect("signal handlers");
    let config = ExecutorConfig { pin: cpus::pin_by_default(options.shards), cores: cpus::usable_cores() };
    let shared = options.clone();
    let body = move |seat: Seat<()>| {
        let listener = listeners.lock().unwrap().pop().expect("one listener per shard");
        let options = shared.clone();
        async move { serve(seat, listener, &capabilities, &options) }
    };
    let threads = run_shards(&config, mesh, body).expect("executors");
    let requests: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    let cpu = cpu_times(CpuTimesOf::Process);
    println!(
        "requests {requests}, CPU {:.3} us per request (user {:.3}, system {:.3})",
        cpu.total().as_secs_f64() * 1e6 / requests as f64,
        cpu.user.as_secs_f64() * 1e6 / requests as f64,
        cpu.system.as_secs_f64() * 1e6 / requests as f64,
    );
}

/// One shard's loop; returns how many requests it has answered.
fn serve(seat: Seat<()>, listener: Listener, capabilities: &Capabilities, options: &Options) -> u64 {
    let mut mesh = seat.mesh;
    let mut net =
        Net::new(capabilities, NetOptions::default(), mesh.doorbell().clone()).expect("socket ring");
    net.listen(listener).expect("accepting");
    let mut work = Work::default();
    let (mut requests, mut turns) = (0, 0u64);
    while !signals::shutdown_requested() {
        turns += 1;
        net::turn(&mut net, &mut mesh, options.wait, options.spin, &mut |event| take(&mut work, event))
            .expect("socket ring");
        for fd in work.accepted.drain(..) {
            listen::tune_accepted(std::os::fd::AsFd::as_fd(&fd), 300).expect("socket options");
            let id = net.add(fd).expect("receiving");
            if work.connections.len() <= id.index() {
                work.connections.resize_with(id.index() + 1, Connection::default);
            }
            work.connections[id.index()] = Connection { id: Some(id), ..Connection::default() };
        }
        let mut dirty = std::mem::take(&mut work.dirty);
        for id in dirty.drain(..) {
            requests += reply(&mut net, &mut work.connections[id.index()], id, options);
        }
        work.dirty = dirty;
        for id in work.ended.drain(..) {
            net.close(id).expect("closing");
        }
    }
    let stats = net.stats();
    println!(
        "shard {}: {turns} turns, {} enters, {} completions, {:.1} requests per turn, {:.3} enters per turn",
        seat.shard,
        stats.enters,
        stats.completions,
        requests as f64 / turns as f64,
        stats.enters as f64 / turns as f64
    );
    requests
}

fn take(work: &mut Work, event: Event<'_>) {
    match event {
        Event::Accepted { fd, .. } => work.accepted.push(fd),
        Event::Received { conn, data } => {
            let connection = &mut work.connections[conn.index()];
            if connection.owed == 0 {
                work.dirty.push(conn);
            }
            work.received += data.len() as u64;
            connection.owed += data.iter().filter(|&&byte| byte == b'\n').count() as u64;
        }
        Event::Eof { conn } | Event::Failed { conn, .. } => work.ended.push(conn),
        Event::Writable { conn } => {
            work.connections[conn.index()].is_full = false;
            work.dirty.push(conn);
        }
        Event::AcceptFailed { error, .. } => eprintln!("accept: {error}"),
        Event::Woken | Event::Written { .. } | Event::Synced { .. } => {}
    }
}

fn reply(net: &mut Net, connection: &mut Connection, id: ConnId, options: &Options) -> u64 {
    if connection.id != Some(id) {
        return 0;
    }
    connection.lines += std::mem::take(&mut connection.owed);
    let requests = connection.lines / options.lines;
    connection.lines %= options.lines;
    for _ in 0..requests {
        connection.unsent.extend_from_slice(&options.reply);
    }
    if !connection.is_full && !connection.unsent.is_empty() {
        match net.send(id, &[IoSlice::new(&connection.unsent)]) {
            SendResult::Sent(_) => connection.unsent.clear(),
            SendResult::Full(sent) => {
                connection.unsent.drain(..sent);
                connection.is_full = true;
            }
            SendResult::Failed(_) => connection.unsent.clear(),
        }
    }
    requests
}

fn options() -> Options {
    let mut options = Options {
        port: 7001,
        shards: 1,
        lines: 3,
        reply: b"+PONG\r\n".to_vec(),
        spin: Duration::ZERO,
        wait: Wait::Forever,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value: u64 =
            arguments.next().and_then(|value| value.parse().ok()).expect("a number after the name");
        match name.as_str() {
            "--port" => options.port = value as u16,
            "--shards" => options.shards = value as usize,
            "--lines" => options.lines = value,
            "--spin-us" => options.spin = Duration::from_micros(value),
            "--wait-ms" => options.wait = Wait::For(Duration::from_millis(value)),
            "--reply-bytes" => {
                let value = vec![b'x'; value as usize];
                options.reply = [format!("${}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat();
            }
            other => panic!("unknown option {other}"),
        }
    }
    options
}
