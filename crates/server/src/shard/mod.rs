//! One shard: the logic of one core, without I/O.
//!
//! Owns a part of the keyspace, the lock table over it, the connections that live on this core and everything they
//! wait for. Bytes, packets and time come in as values; bytes, packets and requests to the loop come out and are
//! collected by it. So the same code runs under the event loop ([`crate::shard_loop`]) and under a seeded simulation.
//!
//! Never touches a socket, a file or a clock, and never waits: commands run to completion.

mod aside;
pub mod blocking;
mod brake;
pub mod calls;
pub mod client_memory;
pub mod command_log;
mod dispatch;
mod eviction;
pub mod exec;
mod execute;
mod forward;
pub mod hot_keys;
mod input;
pub mod latency;
#[cfg(test)]
mod log_simulation;
pub(crate) mod logging;
pub(crate) mod lookahead;
mod participant;
pub mod pending;
mod saving;
pub mod stats;
mod telling;
mod transaction;
mod upkeep;
mod walk;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ahash::RandomState;
use torc_commands::{DataSettings, KeyHint, Rng, SlotMap, Wait};
use torc_keyspace::{Changes, Keyspace};
use torc_resp::{Limits, Mark, ReplyBuf};

use crate::clients::{ClientKey, Clients};
use crate::connection::{Connection, PeerInfo, Suspension};
use crate::locks::LockTable;
use crate::metrics::LoopGauges;
use crate::packet::{Batch, Packet, ShardId};
use crate::process::ProcessInfo;
use crate::pubsub::PubSub;
use crate::session::ServerState;
use crate::session::migrate::IdleTargets;
use crate::session::state::exceeds;
use crate::shard_loop::LoopShared;
use crate::tracking::{Reads, Tracking};

use participant::Participant;
pub use saving::{Began, ReloadOptions};
use stats::ShardStats;
use transaction::Coordinator;

/// Commands of one connection in one loop turn; the rest waits for the next turn, so that an endless pipeline does not
/// starve the other connections of its shard.
pub const COMMANDS_PER_TURN_MAX: usize = 256;

/// The time, as the data plane sees it: read once per loop turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Unix time in milliseconds.
    pub unix_ms: i64,
    /// Monotonic microseconds.
    pub monotonic_us: u64,
}

/// What all shards of a process share: a few counters that are touched rarely, never per command.
pub struct Hub {
    next_client_id: AtomicU64,
    next_log_ids: [AtomicU64; command_log::LogKind::COUNT],
    /// Keys that shards remember reads of.
    tracked_keys: AtomicUsize,
    next_ticket: AtomicU64,
}

impl Hub {
    pub fn new() -> Arc<Hub> {
        Arc::new(Hub {
            next_client_id: AtomicU64::new(1),
            next_log_ids: Default::default(),
            tracked_keys: AtomicUsize::new(0),
            next_ticket: AtomicU64::new(1),
        })
    }

    /// The place of a transaction that is logged in parts among all such ones.
    fn next_ticket(&self) -> u64 {
        self.next_ticket.fetch_add(1, Ordering::Relaxed)
    }

    fn client_id(&self) -> u64 {
        self.next_client_id.fetch_add(1, Ordering::Relaxed)
    }

    fn log_id(&self, kind: command_log::LogKind) -> u64 {
        self.next_log_ids[kind as usize].fetch_add(1, Ordering::Relaxed)
    }

    /// Keys that all shards together remember reads of, as last counted.
    pub(crate) fn tracked_keys(&self) -> usize {
        self.tracked_keys.load(Ordering::Relaxed)
    }

    /// Count in what has changed in one shard's table.
    pub(crate) fn settle_tracked_keys(&self, reads: &mut Reads) {
        match reads.take_uncounted() {
            0 => {}
            more @ 1.. => _ = self.tracked_keys.fetch_add(more as usize, Ordering::Relaxed),
            fewer => _ = self.tracked_keys.fetch_sub(fewer.unsigned_abs(), Ordering::Relaxed),
        }
    }

    /// Count one key out if there are more than `keys_max`: the caller forgets it.
    pub(crate) fn take_tracked_key(&self, keys_max: usize) -> bool {
        let less_one = |keys: usize| (keys > keys_max).then(|| keys - 1);
        self.tracked_keys.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less_one).is_ok()
    }
}

/// Everything a shard needs to know at birth.
pub struct ShardSetup {
    pub id: ShardId,
    pub slots: Arc<SlotMap>,
    pub hub: Arc<Hub>,
    /// Seeds hashing and random choices; the same seed gives the same behaviour.
    pub seed: u64,
    pub settings: DataSettings,
    /// A cheap, monotonic counter for timing single commands, and its length in nanoseconds.
    pub cycles: fn() -> u64,
    pub cycles_to_ns: fn(u64) -> u64,
    pub state: ServerState,
    pub process: Arc<ProcessInfo>,
    /// The loops of all shards; `None` in simulations.
    pub server: Option<Arc<LoopShared>>,
}

/// The logic of one core.
pub struct Shard {
    pub id: ShardId,
    /// The same, also while another shard's keyspace is worked on in this one's place.
    home: ShardId,
    pub slots: Arc<SlotMap>,
    pub(crate) hub: Arc<Hub>,
    pub now: Now,
    cycles: fn() -> u64,
    cycles_to_ns: fn(u64) -> u64,
    pub rng: Rng,
    pub settings: DataSettings,
    pub keyspace: Keyspace,
    /// The keyspaces of other shards, for the length of one command that may read keys anywhere.
    others: Vec<Option<Box<Keyspace>>>,
    pub changes: Changes,
    /// DEBUG PAUSE-CRON: no periodic work.
    pub cron_paused: bool,
    /// DEBUG SLEEP: the loop stops until then, in monotonic microseconds.
    pub sleep_until_us: Option<u64>,
    /// Work of this shard's connections in threads of its own.
    aside: aside::Aside,
    blocking: blocking::Blocking,
    saving: saving::Saving,
    logging: logging::Logging,
    /// The command that has just run found nothing and wants to wait.
    waiting: Option<Box<Wait>>,
    /// Connections to other servers that MIGRATE may use again.
    pub migration_targets: IdleTargets,
    /// The keyspace is with a coordinator, which holds this whole shard locked.
    keyspace_away: bool,
    locks: LockTable<Waiter>,
    brake: brake::Brake,
    key_fingerprints: RandomState,
    seed: u64,
    pub clients: Clients,
    client_memory: client_memory::ClientMemory,
    pub pubsub: PubSub,
    pub tracking: Tracking,
    pub(crate) monitors: crate::monitor::Monitors,
    /// What session commands keep between calls (configuration, pause, slow log, …).
    pub state: ServerState,
    pub process: Arc<ProcessInfo>,
    pub server: Option<Arc<LoopShared>>,
    pub stats: ShardStats,
    pub logs: command_log::CommandLogs,
    pub latency: latency::LatencyEvents,
    pub rates: stats::Rates,
    pub hot_keys: hot_keys::HotKeys,
    /// Of this shard's loop, as of the last tick.
    pub gauges: LoopGauges,
    /// Whose command runs now.
    acting: command_log::Origin,
    coordinator: Coordinator,
    participant: Participant,
    calls: calls::Calls,
    /// Open batches, one per peer.
    batches: Vec<Option<Box<Batch>>>,
    #[allow(clippy::vec_box)] // they travel boxed
    spare_batches: Vec<Box<Batch>>,
    outbox: Vec<(ShardId, Packet)>,
    /// Packets of this shard to itself, handled at the end of the current step.
    loopback: VecDeque<Packet>,
    pub(crate) flush: Vec<ClientKey>,
    runnable: VecDeque<ClientKey>,
    requests: Vec<LoopRequest>,
    /// Replies that nobody wants.
    discard: ReplyBuf,
    expire_allowance: upkeep::ExpireAllowance,
    evicting: eviction::Evicting,
    /// Clients whose command waits until they were told of evicted keys.
    told_first: Vec<ClientKey>,
    lookahead: lookahead::Lookahead,
    pipeline_time: execute::PipelineTime,
    /// Slot and hash of the key of the command that is being dispatched, when they are known.
    key_hint: Option<KeyHint>,
}

/// What waits in the lock table.
pub(crate) enum Waiter {
    /// A single-shard command that met a lock.
    Command(Box<execute::Deferred>),
    /// Writers are to wait (see `brake`).
    Brake,
    /// A SCAN that met a lock.
    Walk(Box<crate::packet::Walk>),
    /// A participant's part of a transaction.
    Prepared(Box<crate::packet::Prepare>),
}

/// What the shard asks of its loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopRequest {
    /// Close this connection's socket now; its state is gone already.
    Close(ClientKey),
    PauseReading(ClientKey),
    ResumeReading(ClientKey),
    /// CONFIG SET changed the addresses: take the new listeners.
    Listen,
    /// SHUTDOWN was accepted: stop every shard.
    Shutdown,
}

impl Shard {
    pub fn new(setup: ShardSetup) -> Shard {
        let mut rng = Rng::new(setup.seed ^ (u64::from(setup.id) << 32));
        // All shards must agree on fingerprints, wherever their keyspace is at the moment.
        let key_fingerprints = RandomState::with_seeds(setup.seed, 1, 2, 3);
        let shards = usize::from(setup.slots.shards());
        let mut keyspace = Keyspace::new(setup.seed, setup.settings.databases);
        keyspace.set_access_clock(setup.settings.access_clock());
        let mut shard = Shard {
            keyspace,
            changes: Changes::default(),
            others: Vec::new(),
            keyspace_away: false,
            key_fingerprints: key_fingerprints.clone(),
            seed: setup.seed,
            locks: LockTable::new(key_fingerprints),
            brake: brake::Brake::default(),
            clients: Clients::default(),
            client_memory: client_memory::ClientMemory::default(),
            pubsub: PubSub::new(rng.next_u64()),
            tracking: Tracking::default(),
            monitors: crate::monitor::Monitors::default(),
            state: setup.state,
            process: setup.process,
            server: setup.server,
            stats: ShardStats::new(),
            logs: command_log::CommandLogs::default(),
            latency: latency::LatencyEvents::default(),
            rates: stats::Rates::default(),
            hot_keys: hot_keys::HotKeys::new(setup.seed),
            gauges: LoopGauges::default(),
            acting: command_log::Origin { shard: setup.id, client: None },
            cron_paused: false,
            sleep_until_us: None,
            aside: aside::Aside::default(),
            blocking: blocking::Blocking::default(),
            saving: saving::Saving::default(),
            logging: logging::Logging::default(),
            waiting: None,
            migration_targets: IdleTargets::default(),
            coordinator: Coordinator::default(),
            participant: Participant::default(),
            calls: calls::Calls::default(),
            batches: (0..shards).map(|_| None).collect(),
            spare_batches: Vec::new(),
            outbox: Vec::new(),
            loopback: VecDeque::new(),
            flush: Vec::new(),
            runnable: VecDeque::new(),
            requests: Vec::new(),
            discard: ReplyBuf::new(),
            expire_allowance: upkeep::ExpireAllowance::default(),
            evicting: eviction::Evicting::default(),
            told_first: Vec::new(),
            lookahead: lookahead::Lookahead::default(),
            pipeline_time: execute::PipelineTime::default(),
            key_hint: None,
            id: setup.id,
            home: setup.id,
            slots: setup.slots,
            hub: setup.hub,
            now: Now::default(),
            cycles: setup.cycles,
            cycles_to_ns: setup.cycles_to_ns,
            rng,
            settings: setup.settings,
        };
        shard.apply_memory_settings();
        shard
    }

    pub fn shards(&self) -> usize {
        self.batches.len()
    }

    /// The time of the coming events. Called once per loop turn.
    pub fn set_now(&mut self, now: Now) {
        self.now = now;
    }

    /// A new connection.
    pub fn accept(&mut self, info: PeerInfo) -> ClientKey {
        let id = self.hub.client_id();
        let authenticated = !self.state.password_required();
        let limits = self.parser_limits(authenticated);
        let now_ms = self.now.unix_ms;
        self.stats.connections_received += 1;
        self.clients.insert(|key| Connection::new(key, id, info, limits, authenticated, now_ms))
    }

    /// Replaces the settings of data commands (CONFIG SET).
    pub fn apply_settings(&mut self, settings: DataSettings) {
        self.keyspace.set_access_clock(settings.access_clock());
        self.settings = settings;
        self.keyspace.keeps_expired = self.keeps_expired();
    }

    /// Whether keys that have expired must stay although somebody meets them.
    pub(crate) fn keeps_expired(&self) -> bool {
        self.state.pause.is_some() || self.settings.import_mode
    }

    /// What the parser of a connection accepts.
    pub fn parser_limits(&self, authenticated: bool) -> Limits {
        Limits { max_bulk_bytes: self.settings.max_string_bytes, authenticated, ..Limits::default() }
    }

    /// The peer closed the connection, or it failed. A transaction it started goes on without it.
    pub fn disconnected(&mut self, key: ClientKey) {
        if let Some(mut connection) = self.clients.take(key) {
            connection.flags.closing = true;
            self.put_back_or_end(connection);
        }
    }

    /// The client sends nothing more, but may still read: what it has asked for is answered first.
    pub fn input_ended(&mut self, key: ClientKey) {
        let Some(connection) = self.clients.get_mut(key) else { return };
        connection.flags.input_ended = true;
        // Nobody can tell whether the client still reads; Redis takes it for gone, and so must not serve it.
        if connection.is_finished() || connection.is_blocked() {
            self.kill(key);
        }
    }

    /// Close a connection from this side, dropping what was not sent.
    pub fn kill(&mut self, key: ClientKey) {
        if let Some(mut connection) = self.clients.take(key) {
            self.close(&mut connection);
            self.put_back_or_end(connection);
        }
    }

    /// The same for a connection that is being processed: it ends when it is put back.
    pub fn close(&mut self, connection: &mut Connection) {
        if !connection.flags.closing {
            connection.flags.closing = true;
            self.requests.push(LoopRequest::Close(connection.key));
        }
    }

    /// Put a connection back after processing, or end it when it is closing. While work of it is under way on other
    /// shards the connection stays, so that the work finds its place.
    pub(crate) fn put_back_or_end(&mut self, mut connection: Box<Connection>) {
        if !connection.flags.closing || connection.suspension == Suspension::Work {
            self.count_memory_of(&mut connection);
            return self.clients.put_back(connection);
        }
        self.client_memory.forget(&mut connection);
        self.unwatch(&mut connection);
        self.unwait(&mut connection);
        self.pubsub_end(&mut connection);
        self.end_tracking(&mut connection);
        self.end_monitoring(&mut connection);
        self.clients.forget(connection.key);
    }

    /// May this client connect? Otherwise the line to refuse it with.
    pub fn admit(&self, info: &PeerInfo) -> Result<(), &'static [u8]> {
        self.state.admit(info)
    }

    /// Bytes left for the client's socket: settle accounts, enforce the output limits, close after the last reply.
    pub fn sent(&mut self, key: ClientKey, count: usize) {
        self.stats.net_output_bytes += count as u64;
        self.stats.writes += 1;
        let now_ms = self.now.unix_ms;
        let Some(connection) = self.clients.get_mut(key) else { return };
        connection.traffic.output_bytes += count as u64;
        let notices_held_back = connection.flags.notices_held_back;
        let waiting = connection.output.buffered_bytes();
        if connection.is_finished() {
            return self.kill(key);
        }
        if self.state.client_bytes_max().is_some() {
            self.client_memory.count(connection);
        }
        let limit = self.state.output_limit(connection);
        if exceeds(limit, waiting, &mut connection.soft_limit_since_ms, now_ms) {
            self.stats.output_buffer_limit_disconnections += 1;
            return self.kill(key);
        }
        if notices_held_back {
            self.pass_on_notices(key);
        }
    }

    /// A packet from shard `from`.
    pub fn packet(&mut self, from: ShardId, packet: Packet) {
        match packet {
            Packet::Batch(batch) => self.run_batch(from, batch),
            Packet::BatchDone(batch) => self.batch_done(batch),
            Packet::LateReply(late) => {
                let end = late.reply.mark();
                self.fill_reply(late.client, late.slot, &late.reply, Mark::default(), end);
            }
            Packet::Walk(walk) => self.walk(*walk),
            Packet::Sequence(sequence) => self.sequence(*sequence),
            Packet::Prepare(prepare) => self.prepare(*prepare),
            Packet::Granted(granted) => self.granted(*granted),
            Packet::Release(release) => self.release(*release),
            Packet::PartIsDurable { txn } => self.part_is_durable(txn),
            Packet::Unlock { coordinator, txn } => self.unlock(coordinator, txn),
            Packet::Call(call) => self.run_call(from, *call),
            Packet::CallDone(done) => self.call_done(*done),
            Packet::Unwatch { watcher } => self.keyspace.unwatch(watcher),
            Packet::Waiting { client, number } => self.wait_has_begun(from, client, number),
            Packet::Unwait(wait) => {
                self.end_wait(wait, blocking::Ending::Gone);
            }
            Packet::Ring(wait) => self.bell_rings(wait),
            Packet::Log(report) => self.log_report(*report),
            Packet::MakeRoom => self.asked_for_room(),
            Packet::PubSub(message) => self.pubsub_message(from, *message),
            Packet::Tracking(message) => self.tracking_message(from, *message),
            Packet::LimitClientMemory => self.client_memory.check_soon(),
            Packet::Monitor(message) => self.monitor_message(from, *message),
        }
    }

    /// Queue a packet; packets to this shard itself are handled at the end of the step.
    pub fn send(&mut self, to: ShardId, packet: Packet) {
        if to == self.id {
            self.loopback.push_back(packet);
        } else {
            self.outbox.push((to, packet));
        }
    }

    /// Go on with connections that can run without new input, then hand open batches to the outbox. Called at the end
    /// of every loop turn; afterwards the outbox holds everything this turn has for other shards.
    pub fn end_turn(&mut self) {
        for _ in 0..self.runnable.len() {
            let Some(key) = self.runnable.pop_front() else { break };
            self.resume(key);
        }
        self.run_loopback();
        self.end_overdue_waits();
        self.end_log_waits();
        self.hang_late_bells();
        self.serve_waiting(None);
        self.run_loopback();
        self.account_for_memory();
        self.settle_logs();
        self.send_monitored();
        self.deliver_pending();
        self.tell_changes();
        self.send_batches();
        self.hold_turn();
        self.stats.turns += 1;
    }

    fn run_loopback(&mut self) {
        while let Some(packet) = self.loopback.pop_front() {
            self.packet(self.id, packet);
        }
    }

    /// The keyspace is with a coordinator: its figures are not here.
    pub(crate) fn is_keyspace_away(&self) -> bool {
        self.keyspace_away
    }

    /// Requests in the lock table, held or waiting.
    pub fn locks_held(&self) -> usize {
        self.locks.len()
    }

    /// True when there is work that needs no further event: the loop must not sleep.
    pub fn has_runnable(&self) -> bool {
        let has_input = !self.runnable.is_empty() || !self.loopback.is_empty();
        has_input || self.changes.has_events() || self.has_pending_deliveries()
    }

    /// True when something waits to be sent, to peers or to clients.
    pub fn has_output(&self) -> bool {
        !self.outbox.is_empty() || !self.flush.is_empty()
    }

    /// Packets for other shards, oldest first.
    pub fn take_outbox(&mut self) -> std::vec::Drain<'_, (ShardId, Packet)> {
        self.outbox.drain(..)
    }

    /// Connections that have something to send.
    pub fn take_flush(&mut self) -> Vec<ClientKey> {
        std::mem::take(&mut self.flush)
    }

    /// Give the list back, emptied, so that its memory is used again.
    pub fn return_flush(&mut self, mut list: Vec<ClientKey>) {
        list.clear();
        if self.flush.is_empty() {
            self.flush = list;
        }
    }

    pub fn take_requests(&mut self) -> Vec<LoopRequest> {
        std::mem::take(&mut self.requests)
    }

    pub fn request(&mut self, request: LoopRequest) {
        self.requests.push(request);
    }

    /// Note that a connection has something to send.
    pub(crate) fn flush_soon(&mut self, client: ClientKey) {
        if let Some(connection) = self.clients.get_mut(client)
            && !connection.flags.flush_queued
        {
            connection.flags.flush_queued = true;
            self.flush.push(client);
        }
    }

    /// The same for a connection that is being processed.
    #[inline]
    pub fn queue_flush(&mut self, connection: &mut Connection) {
        if !connection.flags.flush_queued {
            connection.flags.flush_queued = true;
            self.flush.push(connection.key);
        }
    }

    /// Note that a connection can go on.
    pub(crate) fn queue_run(&mut self, connection: &mut Connection) {
        if !connection.flags.run_queued {
            connection.flags.run_queued = true;
            self.runnable.push_back(connection.key);
        }
    }
}
