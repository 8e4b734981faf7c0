//! Shards without a network, for tests: lines of commands in, replies as text out.
//!
//! Replies are written as on the wire, with a space for each line end; `<closed>` stands behind them when the server has
//! closed the connection. The time is set by hand.

use std::sync::Arc;

use torc_commands::SlotMap;
use torc_persist::log::{Action, FileNumber, NewSegment};
use torc_persist::seal::Keys;

use crate::aof::{OpenSegment, SegmentFd};
use crate::clients::ClientKey;
use crate::config::{self, Startup};
use crate::connection::PeerInfo;
use crate::packet::ShardId;
use crate::process::ProcessInfo;
use crate::session::ServerState;
use crate::session::state::data_settings;
use crate::shard::{Hub, LoopRequest, Now, Shard, ShardSetup};

/// Turns that nothing may need more of.
const TURNS_MAX: usize = 1000;

/// Some shards and connections to them.
pub(crate) struct Bench {
    shards: Vec<Shard>,
    connections: Vec<BenchConnection>,
    current: usize,
    now: Now,
    /// The server asked its loop to shut down.
    pub(crate) shut_down: bool,
}

struct BenchConnection {
    shard: usize,
    key: ClientKey,
    received: Vec<u8>,
    closed: bool,
}

impl Bench {
    /// One shard and one connection; `args` as on the command line.
    pub(crate) fn new(args: &str) -> Bench {
        Bench::with_shards(1, args)
    }

    pub(crate) fn with_shards(shards: usize, args: &str) -> Bench {
        Bench::with_keys(shards, args, Keys::default())
    }

    /// Logs that go on in new segments seal these with `keys`.
    pub(crate) fn with_keys(shards: usize, args: &str, keys: Keys) -> Bench {
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        let Ok(Startup::Serve(loaded)) = config::start(&args, std::iter::empty()) else {
            panic!("a test's configuration is right: {args:?}");
        };
        let config = Arc::new(loaded.config);
        let mut process = ProcessInfo::new(6379, shards);
        process.keys = keys;
        let (hub, process) = (Hub::new(), Arc::new(process));
        let shards = (0..shards).map(|id| {
            Shard::new(ShardSetup {
                id: id as ShardId,
                slots: Arc::new(SlotMap::even(shards as u16)),
                hub: Arc::clone(&hub),
                seed: 7,
                settings: data_settings(&config),
                cycles: || 0,
                cycles_to_ns: |cycles| cycles,
                state: ServerState::new(Arc::clone(&config)),
                process: Arc::clone(&process),
                server: None,
            })
        });
        let mut bench = Bench {
            shards: shards.collect(),
            connections: Vec::new(),
            current: 0,
            now: Now { unix_ms: 1_700_000_000_000, monotonic_us: 1_000_000 },
            shut_down: false,
        };
        bench.pass_ms(0);
        bench.connect();
        bench
    }

    /// All shards log, and nothing is written before [`Bench::write_logs`].
    pub(crate) fn begin_logs(&mut self) {
        for (id, shard) in self.shards.iter_mut().enumerate() {
            let segment = NewSegment::new(id as ShardId, 1, FileNumber(1), 0, &Keys::default());
            shard.switch_log(OpenSegment { segment, file: SegmentFd::nowhere() });
        }
    }

    /// Begins what the log of a shard wants to have written, which must be a write.
    pub(crate) fn begin_write(&mut self, shard: usize) -> usize {
        match self.shards[shard].next_log_action() {
            Some(Action::Write { bytes, .. }) => bytes.len(),
            other => panic!("a write was expected, not {other:?}"),
        }
    }

    /// That has been written and synced.
    pub(crate) fn end_write(&mut self, shard: usize, bytes: usize) {
        self.shards[shard].log_write_ended(FileNumber(1), Ok(bytes));
        self.shards[shard].log_sync_ended(FileNumber(1), Ok(()));
        self.settle();
    }

    /// The disk is full.
    pub(crate) fn fail_write(&mut self, shard: usize) {
        self.begin_write(shard);
        self.shards[shard].log_write_ended(FileNumber(1), Err(std::io::Error::from_raw_os_error(28)));
    }

    /// Writes and syncs what the log of a shard has now; how many writes that took.
    pub(crate) fn write_logs(&mut self, shard: usize) -> usize {
        let mut writes = 0;
        while let Some(action) = self.shards[shard].next_log_action() {
            match action {
                Action::Sync { .. } => self.shards[shard].log_sync_ended(FileNumber(1), Ok(())),
                Action::Write { bytes, then_sync, .. } => {
                    writes += 1;
                    self.shards[shard].log_write_ended(FileNumber(1), Ok(bytes.len()));
                    if then_sync {
                        self.shards[shard].log_sync_ended(FileNumber(1), Ok(()));
                    }
                }
            }
        }
        self.settle();
        writes
    }

    /// A further connection, which is the current one from now on. Connections have the ids 1, 2, … and come from the
    /// ports 1001, 1002, …; shards take turns.
    pub(crate) fn connect(&mut self) {
        let number = self.connections.len();
        let shard = number % self.shards.len();
        let info = PeerInfo {
            address: format!("127.0.0.1:{}", 1001 + number),
            local_address: "127.0.0.1:6379".into(),
            unix_socket: false,
            loopback: true,
            fd: 8,
        };
        let key = self.shards[shard].accept(info);
        self.connections.push(BenchConnection { shard, key, received: Vec::new(), closed: false });
        self.current = number;
    }

    pub(crate) fn shard(&mut self, shard: usize) -> &mut Shard {
        &mut self.shards[shard]
    }

    pub(crate) fn current(&self) -> usize {
        self.current
    }

    pub(crate) fn switch(&mut self, connection: usize) {
        self.current = connection;
    }

    pub(crate) fn is_closed(&self, connection: usize) -> bool {
        self.connections[connection].closed
    }

    /// Let time pass: one tick at the end of it.
    pub(crate) fn pass_ms(&mut self, ms: i64) {
        self.now.unix_ms += ms;
        self.now.monotonic_us += ms as u64 * 1000;
        for shard in &mut self.shards {
            shard.set_now(self.now);
            shard.tick();
        }
        self.settle();
    }

    /// Send inline commands, one per line, on the current connection; what it receives.
    pub(crate) fn run(&mut self, lines: &str) -> String {
        let request: String = lines.split('\n').map(|line| format!("{line}\r\n")).collect();
        let BenchConnection { shard, key, .. } = self.connections[self.current];
        self.shards[shard].received(key, request.as_bytes());
        self.settle();
        self.take_received()
    }

    /// What the current connection received.
    pub(crate) fn take_received(&mut self) -> String {
        let connection = &mut self.connections[self.current];
        let mut text = String::from_utf8_lossy(&std::mem::take(&mut connection.received)).into_owned();
        if connection.closed {
            text.push_str("<closed>\r\n");
        }
        let text = text.strip_suffix("\r\n").unwrap_or(&text);
        text.replace("\r\n", " ").replace('\n', " ")
    }

    #[track_caller]
    pub(crate) fn check(&mut self, lines: &str, expected: &str) {
        assert_eq!(self.run(lines), expected, "{lines}");
    }

    /// Run turns until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            let mut is_quiet = true;
            for index in 0..self.shards.len() {
                self.shards[index].end_turn();
                let packets: Vec<_> = self.shards[index].take_outbox().collect();
                is_quiet &= packets.is_empty() && !self.shards[index].has_runnable();
                for (to, packet) in packets {
                    self.shards[to as usize].packet(index as ShardId, packet);
                }
                self.deliver(index);
                is_quiet &= !self.shards[index].has_output();
            }
            if is_quiet {
                return;
            }
        }
        panic!("the shards do not come to rest");
    }

    /// What one shard has for its clients and its loop.
    fn deliver(&mut self, shard: usize) {
        for key in self.shards[shard].take_flush() {
            let Some(client) = self.shards[shard].clients.get_mut(key) else { continue };
            client.flags.flush_queued = false;
            if client.output.is_held() {
                continue;
            }
            let (output, allowed) = client.output.sendable();
            let mut bytes = output.to_vec();
            bytes.truncate(allowed);
            client.output.note_sent(allowed);
            let receiver = self.connections.iter_mut().find(|one| one.shard == shard && one.key == key);
            receiver.expect("a flushed client is connected").received.extend_from_slice(&bytes);
            self.shards[shard].sent(key, bytes.len());
        }
        self.shards[shard].limit_client_memory();
        for request in self.shards[shard].take_requests() {
            match request {
                LoopRequest::Close(key) => {
                    let closed = self.connections.iter_mut().find(|one| one.shard == shard && one.key == key);
                    closed.expect("a closed client was connected").closed = true;
                }
                LoopRequest::Shutdown => self.shut_down = true,
                LoopRequest::PauseReading(_) | LoopRequest::ResumeReading(_) | LoopRequest::Listen => {}
            }
        }
    }
}
