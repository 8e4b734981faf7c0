//! A whole server in one thread: N shards, their mesh and their clients under a seeded scheduler.
//!
//! Owns the simulated channels (first in, first out per ordered pair, delayed at will) and decides at random what happens
//! next. The shards are the real ones, parser and reply order included; only sockets, rings and clocks are missing.

use std::collections::VecDeque;
use std::sync::Arc;

use torc_keyspace::{Rng, SlotMap};
use torc_resp::{Proto, Value, ValueReader, encode_command};
use torc_server::clients::ClientKey;
use torc_server::config::{self, Startup};
use torc_server::connection::PeerInfo;
use torc_server::packet::{Packet, ShardId};
use torc_server::process::ProcessInfo;
use torc_server::session::ServerState;
use torc_server::session::state::data_settings;
use torc_server::shard::{Hub, Now, Shard, ShardSetup};

/// Names one simulated client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClientId(pub(crate) usize);

/// The simulated server.
pub(crate) struct World {
    shards: Vec<Shard>,
    /// `channels[from][to]`
    channels: Vec<Vec<VecDeque<Packet>>>,
    clients: Vec<Client>,
    pub(crate) rng: Rng,
    now_us: u64,
    /// A channel that is slower than all others.
    slow: (usize, usize),
    /// A channel that delivers nothing.
    stuck: Option<(usize, usize)>,
}

struct Client {
    shard: usize,
    key: ClientKey,
    reader: ValueReader,
    connected: bool,
}

/// Unix time at which every simulation begins.
const EPOCH_MS: i64 = 1_700_000_000_000;

impl World {
    pub(crate) fn new(shards: usize, clients: usize, seed: u64) -> World {
        World::with_settings(shards, clients, seed, &[])
    }

    /// `args` as on the command line.
    pub(crate) fn with_settings(shards: usize, clients: usize, seed: u64, args: &[String]) -> World {
        let slots = Arc::new(SlotMap::even(shards as u16));
        let hub = Hub::new();
        let Ok(Startup::Serve(loaded)) = config::start(args, std::iter::empty()) else {
            panic!("a simulation's configuration is right: {args:?}");
        };
        let config = Arc::new(loaded.config);
        let process = Arc::new(ProcessInfo::new(6379, shards));
        process.budget.set_maxmemory(config.maxmemory() as usize);
        let shard_list = (0..shards)
            .map(|id| {
                Shard::new(ShardSetup {
                    id: id as ShardId,
                    slots: Arc::clone(&slots),
                    hub: Arc::clone(&hub),
                    seed,
                    settings: data_settings(&config),
                    cycles: || 0,
                    cycles_to_ns: |cycles| cycles,
                    state: ServerState::new(Arc::clone(&config)),
                    process: Arc::clone(&process),
                    server: None,
                })
            })
            .collect();
        let mut world = World {
            shards: shard_list,
            channels: (0..shards).map(|_| (0..shards).map(|_| VecDeque::new()).collect()).collect(),
            clients: Vec::new(),
            rng: Rng::new(seed),
            now_us: 0,
            slow: (0, 0),
            stuck: None,
        };
        world.slow = (world.rng.below(shards as u64) as usize, world.rng.below(shards as u64) as usize);
        world.advance(1);
        for _ in 0..clients {
            world.connect();
        }
        world
    }

    /// One more client; shards take turns.
    pub(crate) fn connect(&mut self) -> ClientId {
        let client = ClientId(self.clients.len());
        let shard = client.0 % self.shards.len();
        let key = self.shards[shard].accept(PeerInfo { loopback: true, ..PeerInfo::default() });
        self.clients.push(Client { shard, key, reader: ValueReader::new(), connected: true });
        client
    }

    /// Make the coordinators of all shards wrong on purpose.
    pub(crate) fn break_transactions(&mut self) {
        for shard in &mut self.shards {
            shard.break_transactions_for_test();
        }
    }

    /// Make the waits of all shards wrong on purpose.
    pub(crate) fn break_waits(&mut self) {
        for shard in &mut self.shards {
            shard.break_waits_for_test();
        }
    }

    /// Does the client's shard know that it waits?
    pub(crate) fn is_blocked(&self, client: ClientId) -> bool {
        let Client { shard, key, .. } = self.clients[client.0];
        self.shards[shard].clients.get(key).is_some_and(|connection| connection.is_blocked())
    }

    /// Nobody waits anywhere, and nothing is left of former waits.
    pub(crate) fn nobody_waits(&self) -> bool {
        self.shards.iter().all(Shard::nobody_waits)
    }

    pub(crate) fn advance(&mut self, us: u64) {
        self.now_us += us;
        let now = Now { unix_ms: EPOCH_MS + (self.now_us / 1000) as i64, monotonic_us: self.now_us };
        for shard in &mut self.shards {
            shard.set_now(now);
        }
    }

    /// A client sends requests. Whether they arrive in one piece is up to the scheduler's dice.
    pub(crate) fn send(&mut self, client: ClientId, requests: &[Vec<Vec<u8>>]) {
        let mut bytes = Vec::new();
        for request in requests {
            let args: Vec<&[u8]> = request.iter().map(Vec::as_slice).collect();
            encode_command(&args, &mut bytes);
        }
        let Client { shard, key, .. } = self.clients[client.0];
        let cut = self.rng.below(bytes.len() as u64 * 2) as usize;
        if cut > 0 && cut < bytes.len() {
            self.shards[shard].received(key, &bytes[..cut]);
            self.shards[shard].received(key, &bytes[cut..]);
        } else {
            self.shards[shard].received(key, &bytes);
        }
    }

    /// The client has said HELLO 3.
    pub(crate) fn speak_resp3(&mut self, client: ClientId) {
        let Client { shard, key, .. } = self.clients[client.0];
        self.shards[shard].clients.get_mut(key).expect("connected").proto = Proto::Resp3;
    }

    /// Subscribers are served one by one.
    pub(crate) fn bound_deliveries(&mut self) {
        self.shards.iter_mut().for_each(|shard| shard.bound_deliveries_for_test(1));
    }

    /// From now on one channel delivers nothing, or all do again.
    pub(crate) fn stick(&mut self, channel: Option<(usize, usize)>) {
        self.stuck = channel;
    }

    /// Time goes by at once for all shards; the next step is a tick of one of them.
    pub(crate) fn pass_ms(&mut self, ms: u64) {
        self.advance(ms * 1000);
    }

    /// Prefixes that clients follow (CLIENT TRACKING), over all shards; nobody tracks any more otherwise.
    pub(crate) fn followed_prefixes(&self) -> usize {
        assert!(self.shards.iter().all(|shard| shard.tracking.clients == 0), "somebody still tracks");
        self.shards.iter().map(|shard| shard.tracking.prefixes.len()).sum()
    }

    /// No shard knows of any subscription or message under way.
    pub(crate) fn pubsub_is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.pubsub.is_empty())
    }

    /// The client's connection breaks.
    pub(crate) fn disconnect(&mut self, client: ClientId) {
        let Client { shard, key, .. } = self.clients[client.0];
        self.clients[client.0].connected = false;
        self.shards[shard].disconnected(key);
    }

    /// One scheduling decision: a shard ends its turn, or one packet is delivered.
    pub(crate) fn step(&mut self) {
        self.advance(1);
        let shards = self.shards.len() as u64;
        let from = self.rng.below(shards) as usize;
        if self.rng.below(3) == 0 {
            self.end_turn(from);
            return;
        }
        let to = self.rng.below(shards) as usize;
        if self.stuck == Some((from, to)) || (from, to) == self.slow && self.rng.below(16) > 0 {
            return;
        }
        if let Some(packet) = self.channels[from][to].pop_front() {
            self.shards[to].packet(from as ShardId, packet);
            self.collect(to);
        }
    }

    fn end_turn(&mut self, shard: usize) {
        if self.rng.below(16) == 0 {
            self.shards[shard].tick();
        }
        self.shards[shard].end_turn();
        self.collect(shard);
    }

    fn collect(&mut self, shard: usize) {
        for (to, packet) in self.shards[shard].take_outbox() {
            self.channels[shard][to as usize].push_back(packet);
        }
    }

    /// Replies that have reached a client.
    pub(crate) fn replies(&mut self, client: ClientId) -> Vec<Value> {
        let Client { shard, key, reader, connected } = &mut self.clients[client.0];
        if !*connected {
            return Vec::new();
        }
        let Some(connection) = self.shards[*shard].clients.get_mut(*key) else { return Vec::new() };
        connection.flags.flush_queued = false;
        if connection.output.is_held() {
            return Vec::new();
        }
        let (output, allowed) = connection.output.sendable();
        if allowed == 0 {
            return Vec::new();
        }
        let mut bytes = output.to_vec();
        bytes.truncate(allowed);
        connection.output.note_sent(allowed);
        self.shards[*shard].sent(*key, bytes.len());
        reader.feed(&bytes);
        let mut values = Vec::new();
        while let Some(value) = reader.next_value().expect("a server speaks the protocol") {
            values.push(value);
        }
        values
    }

    /// Run until nothing is left to do; panics when that does not happen.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100_000 {
            let mut busy = false;
            for shard in 0..self.shards.len() {
                self.end_turn(shard);
                busy |= self.shards[shard].has_runnable();
            }
            for from in 0..self.shards.len() {
                for to in 0..self.shards.len() {
                    if self.stuck == Some((from, to)) {
                        continue;
                    }
                    while let Some(packet) = self.channels[from][to].pop_front() {
                        busy = true;
                        self.shards[to].packet(from as ShardId, packet);
                        self.collect(to);
                    }
                }
            }
            if !busy {
                return;
            }
        }
        panic!("the shards never come to rest");
    }

    pub(crate) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// A tick of every shard, as the loop of each makes it ten times a second.
    pub(crate) fn tick(&mut self) {
        for shard in 0..self.shards.len() {
            self.shards[shard].tick();
            self.collect(shard);
        }
    }

    /// Work between turns, as far as a shard has some.
    pub(crate) fn background(&mut self, shard: usize) {
        if self.shards[shard].has_background() {
            self.shards[shard].background();
            self.collect(shard);
        }
    }

    /// Locks that are still held or waited for, over all shards.
    pub(crate) fn locks(&self) -> usize {
        self.shards.iter().map(Shard::locks_held).sum()
    }
}
