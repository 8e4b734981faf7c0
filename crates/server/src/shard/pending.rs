//! The account of commands that take more than one step.
//!
//! Owns what is remembered of a session command between its start and its reply, so that its duration, its failure and
//! its entry in the slow log are known when it has ended. Commands that answer at once never come here.

use torc_resp::{Args, OwnedArgs};

use crate::connection::Connection;
use crate::registry::Registered;

use super::Shard;

/// A command that has begun and will answer later.
pub struct Pending {
    command: &'static Registered,
    /// Reading of the shard's cycle counter.
    started: u64,
    args: OwnedArgs,
}

impl Connection {
    /// The command that has begun and will answer later.
    pub(super) fn pending_command(&self) -> Option<&'static Registered> {
        self.pending.as_ref().map(|pending| pending.command)
    }
}

impl Shard {
    /// Remember a command until [`Shard::account_pending`].
    pub(super) fn note_pending(
        &mut self,
        connection: &mut Connection,
        command: &'static Registered,
        started: u64,
        args: Args<'_>,
    ) {
        connection.pending = Some(Box::new(Pending { command, started, args: OwnedArgs::copy_of(&args) }));
    }

    /// The command begins to wait: that does not count as its duration. `started` is what it has taken meanwhile.
    pub(super) fn stop_clock_of_pending(&self, connection: &mut Connection) {
        if let Some(pending) = &mut connection.pending {
            pending.started = (self.cycles)().wrapping_sub(pending.started);
        }
    }

    /// It goes on.
    pub(super) fn start_clock_of_pending(&self, connection: &mut Connection) {
        // The same once more: what it had taken lies before now.
        self.stop_clock_of_pending(connection);
    }

    /// The command that a connection waited for has answered.
    pub(super) fn account_pending(&mut self, connection: &mut Connection, failed: bool, reply_bytes: usize) {
        if let Some(pending) = connection.pending.take() {
            self.acting = self.origin_of(connection);
            self.note_large_reply(reply_bytes, pending.command, pending.args.as_args());
            self.account(pending.command, pending.started, failed, pending.args.as_args());
        }
    }
}
