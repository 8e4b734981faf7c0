//! What shards tell each other.
//!
//! Owns the message types of the mesh: batches of forwarded commands, the steps of multi-shard transactions, calls of
//! the control plane, pub/sub deliveries and connections that move. Packets from one shard to another arrive in the
//! order in which they were sent. Never sends anything itself.

use std::any::Any;
use std::sync::Arc;

use torc_datatypes::{Entry, Kind};
use torc_keyspace::{Effects, Event, Keyspace};
use torc_persist::record::Transaction;
use torc_resp::{Args, Mark, OwnedArgs, Proto, ReplyBuf};

use crate::clients::ClientKey;
use crate::locks::Scope;
use crate::registry::Registered;
use crate::saving::SaveJob;
use crate::shard::Shard;
use crate::shard::command_log::LogReport;

/// Index of a shard, 0 … shards − 1.
pub type ShardId = u16;

/// One message from one shard to another.
pub enum Packet {
    /// Commands on their way to the shard of their keys.
    Batch(Box<Batch>),
    /// The same batch on its way back, with the replies.
    BatchDone(Box<Batch>),
    /// The reply of a command that had to wait at the executing shard and missed its batch.
    LateReply(Box<LateReply>),
    /// A SCAN on its way over the shards.
    Walk(Box<Walk>),
    /// Coordinator → sequencer: put this transaction in the global order.
    Sequence(Box<Sequence>),
    /// Sequencer (or the coordinator of a one-shard transaction) → participant.
    Prepare(Box<Prepare>),
    /// Participant → coordinator: locks are held, the prepared work is done.
    Granted(Box<Granted>),
    /// Coordinator → participant: the transaction is over.
    Release(Box<Release>),
    /// Participant → coordinator: its part of the transaction is in its log for good.
    PartIsDurable {
        txn: u64,
    },
    /// Coordinator → participant: all parts are, the locks may go.
    Unlock {
        coordinator: ShardId,
        txn: u64,
    },
    /// Run a function on the receiving shard; control plane only.
    Call(Box<Call>),
    CallDone(Box<CallDone>),
    /// A client is gone or has given up its watches.
    Unwatch {
        watcher: u64,
    },
    /// A command of the receiving shard's client found nothing, and waits at the sending shard.
    Waiting {
        client: ClientKey,
        number: u64,
    },
    /// The client of a wait is gone, or waits no longer.
    Unwait(WaitId),
    /// A key may have what a client of the receiving shard waits for: its command is to be tried again.
    Ring(WaitId),
    /// A command that ran for a client of the receiving shard belongs into a log.
    Log(Box<LogReport>),
    /// Memory is needed, and keys of the receiving shard should go first.
    MakeRoom,
    /// Pub/sub between shards.
    PubSub(Box<crate::pubsub::Message>),
    /// Client-side caching between shards.
    Tracking(Box<crate::tracking::Message>),
    /// Clients hold too much memory, and some of the receiving shard have to go.
    LimitClientMemory,
    /// MONITOR between shards.
    Monitor(Box<crate::monitor::Message>),
}

/// Where the reply of a command belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnAddress {
    pub shard: ShardId,
    pub client: ClientKey,
    /// Reply slot of the connection.
    pub slot: u32,
}

/// Names one wait of a blocked client, at every shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaitId {
    /// The shard of the client.
    pub home: ShardId,
    pub client: ClientKey,
    /// Tells waits of one client apart: its reply slot, or (keys on several shards) a number of its shard.
    pub number: u64,
}

/// How a command is to be run, apart from its arguments.
#[derive(Clone, Copy)]
pub struct Invocation {
    pub command: &'static Registered,
    pub db: u16,
    pub proto: Proto,
    pub no_touch: bool,
    /// The command sees keys that have expired (CLIENT IMPORT-SOURCE in `import-mode`).
    pub shows_expired: bool,
    /// A command that finds nothing may wait; the caller knows what to do then.
    pub may_wait: bool,
    /// The client caches what the command reads, and wants to know when it changes.
    pub remembers_reads: bool,
}

/// All commands that one loop turn of one shard has for another one. The batch owns one arena for arguments and one
/// for replies, travels there and back, and is used again: nothing is allocated per command in the steady state.
pub struct Batch {
    pub commands: Vec<BatchCommand>,
    pub arguments: OwnedArgs,
    pub replies: ReplyBuf,
}

pub struct BatchCommand {
    pub invocation: Invocation,
    pub client: ClientKey,
    pub slot: u32,
    /// Slot and hash of the key of a single-key command, if the sender knows them.
    pub key: Option<(u16, u64)>,
    /// Where this command's arguments end in the batch's arena (they begin where the previous command's end).
    pub arguments_end: u32,
    /// Set by the executing shard: where the reply ends, or `None` when it comes later.
    pub reply_end: Option<Mark>,
}

impl Packet {
    /// Whether it tells nothing of this shard's data: it may leave before they are durable, ahead of what does.
    pub fn is_mere_request(&self) -> bool {
        matches!(self, Packet::Batch(_) | Packet::PartIsDurable { .. } | Packet::Unlock { .. })
    }
}

impl Batch {
    /// Commands in one batch at most; a full one is sent before the end of the turn.
    pub const COMMANDS_MAX: usize = 512;
    /// Argument bytes in one batch at most (blobs not counted).
    pub const ARGUMENT_BYTES_MAX: usize = 256 * 1024;

    pub fn new() -> Batch {
        Batch { commands: Vec::new(), arguments: OwnedArgs::new(), replies: ReplyBuf::new() }
    }

    pub fn push(
        &mut self,
        invocation: Invocation,
        client: ClientKey,
        slot: u32,
        key: Option<(u16, u64)>,
        args: Args<'_>,
    ) {
        self.arguments.append(&args);
        let arguments_end = self.arguments.len() as u32;
        self.commands.push(BatchCommand { invocation, client, slot, key, arguments_end, reply_end: None });
    }

    pub fn is_full(&self) -> bool {
        self.commands.len() >= Batch::COMMANDS_MAX || self.arguments.heap_bytes() >= Batch::ARGUMENT_BYTES_MAX
    }

    pub fn clear(&mut self) {
        self.commands.clear();
        self.arguments.clear(Batch::ARGUMENT_BYTES_MAX);
        self.replies.clear();
    }
}

impl Default for Batch {
    fn default() -> Self {
        Batch::new()
    }
}

pub struct LateReply {
    pub client: ClientKey,
    pub slot: u32,
    pub reply: ReplyBuf,
}

/// A SCAN that has come as far as this shard.
pub struct Walk {
    pub invocation: Invocation,
    /// The request to go on with.
    pub args: OwnedArgs,
    pub address: ReturnAddress,
    /// What earlier shards gave: a reply, or empty at the start.
    pub reply: ReplyBuf,
}

/// A transaction that wants its place in the global order.
pub struct Sequence {
    pub parts: Vec<(ShardId, Prepare)>,
}

/// What one participant has to lock and do.
pub struct Prepare {
    pub coordinator: ShardId,
    /// The coordinator's own number for the transaction.
    pub txn: u64,
    /// The coordinator's client, if it is not the server itself.
    pub client: Option<ClientKey>,
    pub scope: Scope,
    pub work: Work,
    /// It came through the sequencer.
    pub is_sequenced: bool,
}

/// What a participant does as soon as its locks are granted.
pub enum Work {
    /// Run the command on this shard's own keys. With `each`, item by item, one reply each (see `Fold::Array`).
    Part { invocation: Invocation, args: OwnedArgs, each: Option<usize> },
    /// Run an every-shard command on the whole keyspace.
    Every { invocation: Invocation, args: OwnedArgs },
    /// Hand the entries of these keys (in every database) to the coordinator. `wait`: whose bell here
    /// has been heard.
    Export { keys: Vec<Box<[u8]>>, watcher: Option<u64>, wait: Option<WaitId> },
    /// Hand the whole keyspace to the coordinator.
    ExportWhole { watcher: Option<u64> },
    /// Begin a snapshot, or only hold the whole shard still.
    Hold { job: Option<Arc<SaveJob>> },
    /// Remember that `watcher` wants to know of writes to these keys.
    Watch { watcher: u64, db: u16, keys: Vec<Box<[u8]>> },
}

pub struct Granted {
    pub txn: u64,
    pub shard: ShardId,
    pub result: PartResult,
}

pub enum PartResult {
    /// The partial reply; `ends` marks the end of each item's reply when they were run one by one.
    Reply {
        reply: ReplyBuf,
        ends: Vec<Mark>,
        /// The participant has effects of it for its log.
        has_effects: bool,
    },
    /// The entries, and whether a watched key was written since WATCH.
    Entries {
        entries: Vec<(usize, Entry)>,
        watch_broken: bool,
        claim: Claim,
    },
    Keyspace {
        keyspace: Box<Keyspace>,
        watch_broken: bool,
    },
    Done,
}

/// Whom what the keys of a participant hold is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nobody in particular.
    Free,
    /// A client that has waited for longer.
    Promised,
    /// The client that asks: its bell has been rung here.
    Called,
}

pub struct Release {
    pub coordinator: ShardId,
    pub txn: u64,
    pub home: Homecoming,
    pub bell: BellChange,
    pub log: PartOfLog,
}

/// What a participant logs when a transaction is over.
pub enum PartOfLog {
    Nothing,
    /// What it has held back since it did its work. `transaction`: others log parts of it too.
    Held {
        transaction: Option<Transaction>,
        settles: bool,
    },
    /// What the coordinator has done to its keys. `settles`: the locks stay until all parts are durable.
    These {
        effects: Box<Effects>,
        transaction: Option<Transaction>,
        settles: bool,
    },
}

/// What the attempt of a command that waits for keys of several shards means for its bell at a participant.
pub enum BellChange {
    None,
    /// The wait begins.
    Hang(Box<NewBell>),
    /// Nothing was found: the bell stays in its place. `is_overdue`: the client's time is up, and it has not looked because others
    /// come first here. The bell rings when its turn comes, whatever its keys have then.
    Keep {
        wait: WaitId,
        is_overdue: bool,
    },
    /// The wait is over.
    TakeDown(WaitId),
}

/// A bell and the keys of the participant that it stands for.
pub struct NewBell {
    pub wait: WaitId,
    pub db: u16,
    pub keys: Vec<Box<[u8]>>,
    /// The keys may have what it is for: the client has not looked.
    pub may_ring: bool,
    /// As in [`torc_commands::Wait`].
    pub kind: Kind,
    pub also_gone: bool,
}

/// What comes back to a participant.
pub enum Homecoming {
    Nothing,
    /// What the exported keys are now, and what happened to them meanwhile.
    Entries {
        entries: Vec<(usize, Entry)>,
        events: Vec<Event>,
    },
    /// The whole keyspace, and what happened in it.
    Keyspace {
        keyspace: Box<Keyspace>,
        events: Vec<Event>,
    },
    /// Keys out of a file, in place of those that are there or to join them.
    Loaded {
        keyspace: Box<Keyspace>,
        joins: bool,
    },
}

/// A function of the control plane that runs on the receiving shard. Its result travels back.
pub struct Call {
    pub call: u64,
    pub function: CallFunction,
}

pub type CallFunction = Arc<dyn Fn(&mut Shard) -> Box<dyn Any + Send> + Send + Sync>;

pub struct CallDone {
    pub call: u64,
    pub shard: ShardId,
    pub result: Box<dyn Any + Send>,
}
