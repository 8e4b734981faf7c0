//! Commands that wait for data: BLPOP, BLMOVE, XREAD BLOCK and their like, over keys of any shards.
//!
//! A handler that finds nothing asks to wait ([`torc_commands::Wait`]), and the same request runs again when one of its
//! keys was changed. There are two kinds of waits:
//!
//! - All keys live on **one shard**. The command is queued there ([`serve`]), in the same step as its first attempt. Whoever
//!   changes the key serves it at the end of his own step: the command, EXEC or transaction that pushed. Time-outs and
//!   CLIENT UNBLOCK are decided there as well, so nothing is ever decided twice.
//! - Keys live on **several shards**. The first attempt is a transaction like that of any other command, and so is every
//!   further one; the wait belongs to the client's shard ([`spread`]). Each shard of the keys gets a *bell* with the release
//!   of the first attempt, so while the keys are locked still. A bell stands in the queues like a command. When its turn
//!   comes the shard rings: it tells the client's shard, which starts a transaction, and *reserves* the key until that
//!   holds its locks (`locks.rs`), so that no other command takes what was pushed. When the attempt is over the queue goes
//!   on; if it has found nothing, the bell stays in its place.
//!
//! Queues are first come, first served per key. A command is served only while no transaction holds a key of it and no bell
//! has been rung for one; otherwise its turn is kept, with the key reserved, until locks are released.
//!
//! WAITAOF waits for the disk instead ([`log`]), and ends in the same ways.
//!
//! Owns all waits of this shard's keys and clients. Never decides what a command finds: that is its handler's.

pub mod log;
mod serve;
pub mod spread;
mod table;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use torc_commands::{Run, Waiting};
use torc_resp::{Args, OwnedArgs, Reply};

use crate::clients::ClientKey;
use crate::connection::{BlockedOn, Connection, Suspension};
use crate::locks::RequestId;
use crate::packet::{Invocation, Packet, ShardId, WaitId};
use crate::registry::Registered;

use super::Shard;
use super::dispatch::key_list;
use table::WaitTable;

const UNBLOCKED: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";

/// Everything that waits at this shard.
#[derive(Default)]
pub(super) struct Blocking {
    table: WaitTable,
    /// Keys whose turn is kept for somebody who cannot be served yet; looked at again when locks are released.
    again: Vec<ReadyKey>,
    /// Keys whose queues go on.
    going_on: Vec<ReadyKey>,
    /// Reservations that are over when that has been done.
    to_lift: Vec<u64>,
    /// Requests that got their locks while keys were being served; they run afterwards.
    granted: Vec<(RequestId, super::Waiter)>,
    /// Waits of this shard's clients for keys of several shards.
    spread: HashMap<u64, ClientKey>,
    /// Waits of this shard's clients for the disk.
    log: log::LogWaits,
    /// TEST ONLY knob of the simulation: bells are hung up after the release of the first attempt, not with it.
    pub(super) hangs_bells_late: bool,
    late_bells: Vec<crate::packet::NewBell>,
}

impl Blocking {
    #[inline]
    fn has_work(&self) -> bool {
        !self.again.is_empty() || !self.going_on.is_empty() || !self.to_lift.is_empty()
    }
}

/// A key that may have what somebody waits for.
struct ReadyKey {
    db: usize,
    key: Box<[u8]>,
    /// Those who stand before this place in the queue have looked already.
    from: u64,
}

/// How a wait ends without what was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client has gone: no reply.
    Gone,
    /// A null array.
    TimedOut,
    /// CLIENT UNBLOCK … ERROR.
    Unblocked,
}

/// Whether CLIENT UNBLOCK has found its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnblockResult {
    NotHere,
    /// Here, and whether it was blocked.
    Done(bool),
    /// Its wait is at another shard.
    At(ShardId, WaitId),
}

impl Shard {
    /// A command that may wait.
    pub(super) fn start_that_may_wait(
        &mut self,
        connection: &mut Connection,
        command: &'static Registered,
        run: Run,
        args: Args<'_>,
    ) {
        let key_list = key_list(command, args);
        match self.common_owner(args, &key_list) {
            Some(owner) => self.start_waiting_on(owner, connection, command, run, args),
            None => {
                if !self.must_wait_for_replies(connection, command, args) {
                    self.start_multi_shard(connection, command, run, args, &key_list, true);
                }
            }
        }
    }

    /// The same with all keys on one shard. Later requests of the connection wait until it has its reply.
    fn start_waiting_on(
        &mut self,
        owner: ShardId,
        connection: &mut Connection,
        command: &'static Registered,
        run: Run,
        args: Args<'_>,
    ) {
        let invocation = Invocation { may_wait: true, ..self.invocation(connection, command) };
        let is_muted = connection.is_muted();
        if owner != self.id {
            connection.suspension = Suspension::Blocked;
            return self.forward(owner, connection, invocation, is_muted, args);
        }
        if self.must_queue(command, run, args) {
            connection.suspension = Suspension::Blocked;
            let address = self.late_address(connection, is_muted);
            return self.defer(invocation, OwnedArgs::copy_of(&args), address);
        }
        self.execute_here(connection, invocation, run, args, is_muted);
        if let Some(wait) = self.waiting.take() {
            connection.suspension = Suspension::Blocked;
            let address = self.late_address(connection, is_muted);
            self.begin_wait(invocation, args, *wait, address);
        }
        self.queue_flush(connection);
        self.serve_waiting(None);
    }

    /// What a handler is told about waiting.
    #[inline]
    pub(super) fn waiting_of(invocation: Invocation) -> Waiting {
        if invocation.may_wait { Waiting::Allowed } else { Waiting::Denied }
    }

    /// A wait of one of this shard's clients has begun at shard `at`.
    pub(super) fn wait_has_begun(&mut self, at: ShardId, client: ClientKey, number: u64) {
        match self.clients.get_mut(client) {
            Some(connection) if !connection.flags.input_ended => {
                connection.blocked_on = Some(BlockedOn::OneShard { at, number });
            }
            // Whoever has closed his sending side will not read the reply either, as Redis sees it.
            Some(_) => {
                let wait = WaitId { home: self.id, client, number };
                self.send(at, Packet::Unwait(wait));
                self.kill(client);
            }
            None => {
                let wait = WaitId { home: self.id, client, number };
                self.send(at, Packet::Unwait(wait));
            }
        }
    }

    /// A connection ends: so does its wait.
    pub(super) fn unwait(&mut self, connection: &mut Connection) {
        match connection.blocked_on.take() {
            None => {}
            Some(BlockedOn::OneShard { at, number }) => {
                let wait = WaitId { home: self.id, client: connection.key, number };
                self.send(at, Packet::Unwait(wait));
            }
            Some(BlockedOn::Several(wait)) => self.take_bells_down(connection.key, &wait),
            Some(BlockedOn::Log { number }) => {
                self.forget_log_wait(number);
            }
        }
    }

    /// CLIENT UNBLOCK, on each shard.
    pub fn unblock(&mut self, client_id: u64, ending: Ending) -> UnblockResult {
        let Some(connection) = self.clients.iter().find(|client| client.id == client_id) else {
            return UnblockResult::NotHere;
        };
        let client = connection.key;
        match &connection.blocked_on {
            None => UnblockResult::Done(false),
            Some(BlockedOn::OneShard { at, number }) => {
                let wait = WaitId { home: self.id, client, number: *number };
                if *at != self.id {
                    return UnblockResult::At(*at, wait);
                }
                UnblockResult::Done(self.end_wait(wait, ending))
            }
            Some(BlockedOn::Several(_)) => {
                self.end_spread(client, ending);
                UnblockResult::Done(true)
            }
            Some(BlockedOn::Log { number }) => {
                let number = *number;
                self.end_log_wait(number, Some(ending));
                UnblockResult::Done(true)
            }
        }
    }

    /// End the waits whose time is up.
    #[inline]
    pub(super) fn end_overdue_waits(&mut self) {
        while self.blocking.table.next_deadline_us().is_some_and(|deadline| deadline <= self.now.monotonic_us)
        {
            self.end_one_overdue_wait();
        }
    }

    #[cold]
    fn end_one_overdue_wait(&mut self) {
        let Some(number) = self.blocking.table.pop_overdue(self.now.monotonic_us) else { return };
        match self.blocking.table.get(number).map(|wait| wait.id) {
            Some(wait) => {
                self.end_wait(wait, Ending::TimedOut);
            }
            None if self.blocking.log.contains(number) => self.end_log_wait(number, Some(Ending::TimedOut)),
            None => {
                if let Some(client) = self.blocking.spread.get(&number).copied() {
                    self.spread_is_overdue(client);
                }
            }
        }
    }

    /// When the next wait of this shard is over, in monotonic microseconds: the loop must not sleep longer.
    #[inline]
    pub fn next_deadline_us(&self) -> Option<u64> {
        self.blocking.table.next_deadline_us()
    }

    /// Keys of this shard that clients wait for, and those whose end would be news to somebody.
    pub fn awaited_keys(&self) -> (usize, usize) {
        self.blocking.table.keys()
    }

    /// Nobody waits here, and nothing is left of former waits.
    pub fn nobody_waits(&self) -> bool {
        let Blocking { table, granted, spread, log, .. } = &self.blocking;
        let has_no_waits = table.is_empty() && spread.is_empty() && log.is_empty();
        has_no_waits && !self.blocking.has_work() && granted.is_empty()
    }

    /// Write the reply of a command that waited in vain, and count the command.
    fn reply_in_vain(
        &mut self,
        invocation: Invocation,
        args: Args<'_>,
        ending: Ending,
        mut reply: Reply<'_>,
    ) {
        match ending {
            Ending::Gone => return,
            Ending::TimedOut => reply.null_array(),
            Ending::Unblocked => {
                reply.error_text(UNBLOCKED);
                self.count_unblocked(Some(invocation.command));
            }
        }
        let started = self.cycles_now();
        self.account(invocation.command, started, false, args);
    }

    fn count_unblocked(&mut self, command: Option<&'static Registered>) {
        self.stats.count_error("UNBLOCKED");
        if let Some(command) = command {
            self.stats.commands[command.id as usize].rejected += 1;
        }
    }

    /// Hang bells up too late on purpose: for the test that shows that the simulation would notice.
    pub fn break_waits_for_test(&mut self) {
        self.blocking.hangs_bells_late = true;
    }
}
