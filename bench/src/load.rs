//! Drives one server with a closed loop over many connections, each with `pipeline` requests in flight, and reports
//! throughput, latencies and pauses. One thread; it sleeps in epoll when the server is the slower side.
//!
//! A connection sends its next batch when the last reply of the previous one is in, as redis-benchmark does; a
//! reply's latency runs from the moment its batch was handed to the kernel.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use crate::histogram::Histogram;
use crate::options::{Limit, LoadOptions};
use crate::pauses::PauseRecorder;
use crate::random::Draw;
use crate::replies::{ReplyCounter, ReplyTotals};
use crate::template::Template;

const EVENTS_PER_TURN: usize = 256;
const READ_BYTES: usize = 256 * 1024;
/// Bound on one sleep, so that a server that never answers is noticed.
const SLEEP_MS: isize = 100;
/// A run fails when no reply came for this long.
const SILENCE_MAX: Duration = Duration::from_secs(20);

pub(crate) struct Report {
    operations: u64,
    elapsed: Duration,
    latencies: Histogram,
    totals: ReplyTotals,
    pauses: Option<PauseRecorder>,
}

pub(crate) fn run(options: &LoadOptions) -> io::Result<Report> {
    let mut generator = Generator::new(options)?;
    generator.start_all()?;
    generator.run_to_end()?;
    Ok(Report {
        operations: generator.completed,
        elapsed: generator.last_reply - generator.origin,
        latencies: generator.latencies,
        totals: generator.totals,
        pauses: generator.pauses,
    })
}

struct Generator<'a> {
    options: &'a LoadOptions,
    epoll: Epoll,
    connections: Vec<Connection>,
    requests: Requests<'a>,
    read_buffer: Vec<u8>,
    origin: Instant,
    last_reply: Instant,
    sent: u64,
    completed: u64,
    latencies: Histogram,
    totals: ReplyTotals,
    pauses: Option<PauseRecorder>,
}

struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    out_sent: usize,
    waits_for_room: bool,
    in_flight: u32,
    sent_ns: u64,
    replies: ReplyCounter,
}

impl<'a> Generator<'a> {
    fn new(options: &'a LoadOptions) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut connections = Vec::with_capacity(options.connections);
        for index in 0..options.connections {
            let stream = TcpStream::connect(&options.address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
            connections.push(Connection::new(stream));
        }
        let requests = Requests::new(options);
        let origin = Instant::now();
        let pauses = match options.slow {
            Some(slow) => Some(PauseRecorder::new(origin, slow.as_nanos() as u64, options.watch_pid)?),
            None => None,
        };
        Ok(Self {
            options,
            epoll,
            connections,
            requests,
            read_buffer: vec![0; READ_BYTES],
            origin,
            last_reply: origin,
            sent: 0,
            completed: 0,
            latencies: Histogram::new(),
            totals: ReplyTotals::default(),
            pauses,
        })
    }

    fn start_all(&mut self) -> io::Result<()> {
        for index in 0..self.connections.len() {
            self.next_batch(index)?;
        }
        Ok(())
    }

    fn run_to_end(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); EVENTS_PER_TURN];
        while self.completed < self.sent {
            let ready = match self.epoll.wait(&mut events, SLEEP_MS) {
                Ok(ready) => ready,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            if ready == 0 && self.last_reply.elapsed() > SILENCE_MAX {
                return Err(io::Error::new(ErrorKind::TimedOut, "the server stopped answering"));
            }
            for event in &events[..ready] {
                let index = event.data() as usize;
                if event.events().contains(EpollFlags::EPOLLOUT) {
                    self.flush(index)?;
                }
                if event
                    .events()
                    .intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR)
                {
                    self.receive(index)?;
                }
            }
            if let Some(pauses) = &mut self.pauses {
                pauses.turn(self.origin.elapsed().as_nanos() as u64);
            }
        }
        Ok(())
    }

    fn receive(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let read = match connection.stream.read(&mut self.read_buffer) {
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed a connection")),
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let count = connection
            .replies
            .feed(&self.read_buffer[..read], &mut self.totals)
            .map_err(|message| io::Error::new(ErrorKind::InvalidData, message))?;
        if count == 0 {
            return Ok(());
        }
        if count > connection.in_flight {
            return Err(io::Error::new(ErrorKind::InvalidData, "more replies than requests"));
        }
        connection.in_flight -= count;
        let idle = connection.in_flight == 0;
        let sent_ns = connection.sent_ns;
        self.last_reply = Instant::now();
        let now_ns = (self.last_reply - self.origin).as_nanos() as u64;
        self.latencies.record(now_ns - sent_ns, u64::from(count));
        if let Some(pauses) = &mut self.pauses {
            pauses.replies(sent_ns, now_ns, count, self.completed);
        }
        self.completed += u64::from(count);
        if idle { self.next_batch(index) } else { Ok(()) }
    }

    /// Sends the connection's next requests unless the run's limit is reached.
    fn next_batch(&mut self, index: usize) -> io::Result<()> {
        let pipeline = self.options.pipeline as u64;
        let now = Instant::now();
        let batch = match self.options.limit {
            Limit::Requests(requests) => pipeline.min(requests - self.sent),
            Limit::Time(time) if now - self.origin < time => pipeline,
            Limit::Time(_) => 0,
        };
        if batch == 0 {
            return Ok(());
        }
        self.sent += batch;
        let connection = &mut self.connections[index];
        self.requests.write_batch(batch, &mut connection.out);
        connection.out_sent = 0;
        connection.in_flight = batch as u32;
        connection.sent_ns = (Instant::now() - self.origin).as_nanos() as u64;
        self.flush(index)
    }

    /// Writes what is left of the batch; waits for room only while the kernel's buffer is full.
    fn flush(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        while connection.out_sent < connection.out.len() {
            match connection.stream.write(&connection.out[connection.out_sent..]) {
                Ok(written) => connection.out_sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let waits_for_room = connection.out_sent < connection.out.len();
        if waits_for_room != connection.waits_for_room {
            connection.waits_for_room = waits_for_room;
            let mut flags = EpollFlags::EPOLLIN;
            flags.set(EpollFlags::EPOLLOUT, waits_for_room);
            self.epoll.modify(&connection.stream, &mut EpollEvent::new(flags, index as u64))?;
        }
        Ok(())
    }
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            out: Vec::new(),
            out_sent: 0,
            waits_for_room: false,
            in_flight: 0,
            sent_ns: 0,
            replies: ReplyCounter::default(),
        }
    }
}

/// Writes batches of the mix. With one kind of request a buffer written before keeps its bytes and only gets new
/// digits, so that 64 KB values are not copied once more by the generator.
struct Requests<'a> {
    draw: Draw,
    only: Option<&'a Template>,
    /// Running sum of the weights -> request.
    by_weight: BTreeMap<u32, &'a Template>,
    weight_total: u32,
}

impl<'a> Requests<'a> {
    fn new(options: &'a LoadOptions) -> Self {
        let mut by_weight = BTreeMap::new();
        let mut weight_total = 0;
        for (weight, template) in options.operations.iter().filter(|(weight, _)| *weight > 0) {
            weight_total += weight;
            by_weight.insert(weight_total, template);
        }
        let with_zipf = by_weight.values().any(|template| template.uses_zipf());
        let only = if by_weight.len() == 1 { by_weight.values().next().copied() } else { None };
        Self { draw: Draw::new(options.seed, options.keys, with_zipf), only, by_weight, weight_total }
    }

    fn write_batch(&mut self, requests: u64, out: &mut Vec<u8>) {
        if let Some(template) = self.only {
            out.truncate(template.len() * requests as usize);
            for request in out.chunks_exact_mut(template.len()) {
                template.refresh(&mut self.draw, request);
            }
            while out.len() < template.len() * requests as usize {
                template.render(&mut self.draw, out);
            }
            return;
        }
        out.clear();
        for _ in 0..requests {
            let point = self.draw.below(u64::from(self.weight_total)) as u32;
            let (_, template) =
                self.by_weight.range(point + 1..).next().expect("point is below the total weight");
            template.render(&mut self.draw, out);
        }
    }
}

impl Report {
    /// One JSON object; times are in the unit their name ends with.
    pub(crate) fn to_json(&self) -> String {
        let micros = |ns: u64| ns as f64 / 1000.0;
        let mut json = String::new();
        let seconds = self.elapsed.as_secs_f64();
        let rate = if seconds > 0.0 { self.operations as f64 / seconds } else { 0.0 };
        write!(
            json,
            "{{\"operations\":{},\"seconds\":{seconds:.6},\"operations_per_s\":{rate:.1},\"errors\":{},\"nulls\":{},\
             \"latency_us\":{{\"mean\":{:.1},\"min\":{:.1},\"p50\":{:.1},\"p99\":{:.1},\"p99.9\":{:.1},\"max\":{:.1}}}",
            self.operations,
            self.totals.errors,
            self.totals.nulls,
            micros(self.latencies.mean_ns()),
            micros(self.latencies.min_ns()),
            micros(self.latencies.percentile_ns(50.0)),
            micros(self.latencies.percentile_ns(99.0)),
            micros(self.latencies.percentile_ns(99.9)),
            micros(self.latencies.max_ns()),
        )
        .expect("writing to a String does not fail");
        if let Some(error) = &self.totals.first_error {
            json.push_str(",\"first_error\":");
            push_json_string(&mut json, error);
        }
        if let Some(pauses) = &self.pauses {
            push_pauses(&mut json, pauses);
        }
        json.push('}');
        json
    }
}

fn push_pauses(json: &mut String, recorder: &PauseRecorder) {
    let millis = |ns: u64| ns as f64 / 1e6;
    let (slow, left_out) = (recorder.slow_replies, recorder.pauses_left_out);
    write!(json, ",\"slow_replies\":{slow},\"pauses_left_out\":{left_out},\"pauses\":[")
        .expect("writing to a String does not fail");
    for (index, pause) in recorder.pauses.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(
            json,
            "{comma}{{\"start_s\":{:.6},\"end_s\":{:.6},\"replies\":{},\"at_operation\":{},\"latency_ms\":{:.3},\
             \"scheduler_ms\":{:.3},\"generator_ms\":{:.3},\"server_ms\":{:.3},\"server_ran_ms\":{:.3}}}",
            pause.start_ns as f64 / 1e9,
            pause.end_ns as f64 / 1e9,
            pause.replies,
            pause.at_operation,
            millis(pause.latency_ns),
            millis(pause.scheduler_ns),
            millis(pause.generator_ns),
            millis(pause.server_ns),
            millis(pause.server_ran_ns),
        )
        .expect("writing to a String does not fail");
    }
    json.push(']');
}

fn push_json_string(json: &mut String, text: &str) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                json.push('\\');
                json.push(character);
            }
            control if control.is_control() => json.push(' '),
            plain => json.push(plain),
        }
    }
    json.push('"');
}
