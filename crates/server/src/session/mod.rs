//! Session commands: what acts on a connection or on the server instead of on keys.
//!
//! Owns the table of session commands, one file per family, each command in one place as in `torc_commands`. A session
//! command runs on its connection's shard, when all earlier replies of that connection are in; what it needs from other
//! shards it asks for with [`Shard::call_all`]. Never touches keys directly, except through data handlers.

pub mod client;
pub mod cluster;
pub mod command;
pub mod command_log;
pub mod config;
pub mod connection;
pub mod debug;
pub mod help;
pub mod hot_keys;
pub mod info;
pub mod latency;
pub mod memory;
pub mod migrate;
pub mod module;
pub mod monitor;
pub mod pubsub;
pub mod server;
pub mod snapshot;
pub mod state;
pub mod transactions;

use torc_commands::{Flags, Run, Spec};
use torc_resp::{Args, CommandError};

use crate::connection::Connection;
use crate::pubsub::Kind;
use crate::shard::Shard;

pub use state::ServerState;

/// Runs one session command. `Ok(Flow::Done)`: the reply is written. An `Err` is written by the caller.
pub type SessionFn = fn(&mut Shard, &mut Connection, Args<'_>) -> Result<Flow, CommandError>;

/// Whether a session command has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Done,
    /// What was written is a push: it is sent although the client wants no replies.
    Pushed,
    /// The reply comes later; the connection is suspended until then.
    Later,
}

/// A session command, or a subcommand.
pub struct SessionCommand {
    pub spec: Spec,
    pub run: SessionRun,
    pub subcommands: &'static [SessionCommand],
}

impl SessionCommand {
    /// A command that one function runs.
    pub const fn new(spec: Spec, function: SessionFn) -> SessionCommand {
        SessionCommand { spec, run: SessionRun::Function(function), subcommands: &[] }
    }

    /// A command of which only subcommands can be called.
    pub const fn container(spec: Spec, subcommands: &'static [SessionCommand]) -> SessionCommand {
        SessionCommand { spec, run: SessionRun::Container, subcommands }
    }
}

#[derive(Clone, Copy)]
pub enum SessionRun {
    Function(SessionFn),
    /// A subcommand of a server container that works on a key (MEMORY USAGE).
    Data(Run),
    /// PUBLISH and SPUBLISH.
    Publish(Kind),
    /// Only subcommands can be called.
    Container,
}

/// Flags of most commands about connections and the server.
const ALWAYS: Flags = Flags::LOADING.and(Flags::STALE);

/// Every session command, family by family.
pub static COMMANDS: &[&[SessionCommand]] = &[
    connection::COMMANDS,
    client::COMMANDS,
    cluster::COMMANDS,
    command_log::COMMANDS,
    command::COMMANDS,
    config::COMMANDS,
    debug::COMMANDS,
    hot_keys::COMMANDS,
    info::COMMANDS,
    latency::COMMANDS,
    memory::COMMANDS,
    migrate::COMMANDS,
    module::COMMANDS,
    monitor::COMMANDS,
    pubsub::COMMANDS,
    server::COMMANDS,
    snapshot::COMMANDS,
    transactions::COMMANDS,
];

/// What commands with subcommands say when one gets arguments it cannot have.
fn wrong_subcommand(container: &str, name: &[u8]) -> CommandError {
    let name = String::from_utf8_lossy(name);
    let text =
        format!("ERR unknown subcommand or wrong number of arguments for '{name}'. Try {container} HELP.");
    CommandError::Owned(text.into())
}
