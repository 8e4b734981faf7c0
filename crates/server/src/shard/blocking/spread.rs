//! Waits for keys of several shards, at the shard of their client.
//!
//! Owns the attempts of such a command: the first one, and one more whenever a bell rings. All of them are ordinary
//! transactions that this shard coordinates, one at a time; what ends the wait otherwise (time-out, CLIENT UNBLOCK, the
//! client's end) is decided here as well, between attempts or before one happens.

use torc_keyspace::slot_of;
use torc_resp::{Args, OwnedArgs, Reply, ReplyBuf};

use crate::clients::ClientKey;
use crate::connection::{BlockedOn, Suspension};
use crate::locks::Mode;
use crate::packet::{BellChange, Claim, Invocation, NewBell, Packet, ShardId, WaitId};
use crate::registry::Route;

use super::super::Shard;
use super::super::command_log::Origin;
use super::super::dispatch::key_list;
use super::super::transaction::{Gathered, Plan};
use super::Ending;
use super::serve::distinct;

/// One client's wait for keys of several shards.
pub struct SpreadWait {
    number: u64,
    invocation: Invocation,
    /// With the transaction while an attempt is under way.
    args: OwnedArgs,
    /// Where the bells are.
    shards: Vec<ShardId>,
    deadline_us: Option<u64>,
    /// An attempt has found nothing. Until then others came first, and the client has not looked.
    has_looked: bool,
    /// The wait has ended while an attempt is under way: that one finds the client gone.
    ending: Option<Ending>,
}

impl Shard {
    /// Everybody holds their locks: one attempt of a command on the gathered entries.
    pub(in crate::shard) fn attempt(
        &mut self,
        client: ClientKey,
        mut gathered: Gathered,
        invocation: Invocation,
        args: OwnedArgs,
    ) {
        if let Some(ending) = self.ending_of(client) {
            return self.end_attempt(client, gathered, invocation, args, ending);
        }
        let Route::Data(run) = invocation.command.route else {
            unreachable!("only data commands are gathered");
        };
        // Who is not called does not take what is meant for others: it goes through the queue, as if it had found nothing.
        let held_off = invocation.may_wait && gathered.comes_later();
        let mut reply = ReplyBuf::new();
        self.acting = Origin { shard: self.id, client: Some(client) };
        if held_off {
            self.execute(invocation, run, args.as_args(), &mut reply);
        }
        if self.waiting.is_none() {
            reply.clear();
            self.with_entries(&mut gathered, |shard| {
                shard.execute(invocation, run, args.as_args(), &mut reply);
            });
        }
        let Some(wait) = self.waiting.take() else {
            if let Some(wait) = self.forget_spread(client) {
                gathered.change_bells(|_, _| BellChange::TakeDown(wait));
            }
            self.send_home(gathered);
            return self.answer(client, reply);
        };
        let connection = self.clients.get_mut(client).expect("a connection outlives its transaction");
        match &mut connection.blocked_on {
            None => self.begin_spread(client, gathered, invocation, args, *wait, held_off),
            Some(BlockedOn::Several(spread)) => {
                let is_overdue = spread.deadline_us.is_some_and(|deadline| deadline <= self.now.monotonic_us);
                if is_overdue && !held_off {
                    return self.end_attempt(client, gathered, invocation, args, Ending::TimedOut);
                }
                spread.has_looked |= !held_off;
                spread.args = args;
                let wait = WaitId { home: self.id, client, number: spread.number };
                connection.suspension = Suspension::Blocked;
                connection.output.release_later_pushes();
                self.flush_soon(client);
                gathered.change_bells(|_, claim| BellChange::Keep {
                    wait,
                    is_overdue: is_overdue && claim == Claim::Promised,
                });
                self.send_home(gathered);
            }
            Some(BlockedOn::OneShard { .. } | BlockedOn::Log { .. }) => {
                unreachable!("an attempt over shards waits over shards")
            }
        }
    }

    /// Has the wait ended while this attempt was under way?
    fn ending_of(&self, client: ClientKey) -> Option<Ending> {
        let connection = self.clients.get(client).expect("a connection outlives its transaction");
        match &connection.blocked_on {
            Some(BlockedOn::Several(_)) if connection.flags.closing => Some(Ending::Gone),
            Some(BlockedOn::Several(wait)) => wait.ending,
            _ => None,
        }
    }

    fn end_attempt(
        &mut self,
        client: ClientKey,
        mut gathered: Gathered,
        invocation: Invocation,
        args: OwnedArgs,
        ending: Ending,
    ) {
        if let Some(wait) = self.forget_spread(client) {
            gathered.change_bells(|_, _| BellChange::TakeDown(wait));
        }
        self.send_home(gathered);
        self.answer_in_vain(client, invocation, args.as_args(), ending);
    }

    fn answer_in_vain(&mut self, client: ClientKey, invocation: Invocation, args: Args<'_>, ending: Ending) {
        let mut reply = ReplyBuf::new();
        self.reply_in_vain(invocation, args, ending, Reply::new(&mut reply, invocation.proto));
        self.answer(client, reply);
    }

    /// The first attempt has found nothing: bells go home with the entries.
    fn begin_spread(
        &mut self,
        client: ClientKey,
        mut gathered: Gathered,
        invocation: Invocation,
        args: OwnedArgs,
        wait: torc_commands::Wait,
        held_off: bool,
    ) {
        let connection = self.clients.get_mut(client).expect("a connection outlives its transaction");
        if connection.flags.closing || connection.flags.input_ended {
            self.send_home(gathered);
            let mut connection = self.clients.take(client).expect("found above");
            connection.suspension = Suspension::None;
            self.close(&mut connection);
            return self.put_back_or_end(connection);
        }
        let torc_commands::Wait { keys, kind, also_gone, timeout_ms, request } = wait;
        let args = request.unwrap_or(args);
        let keys = distinct(args.as_args().range(keys).iter());
        let number = self.blocking.table.new_number();
        let wait = WaitId { home: self.id, client, number };
        let mut shards = Vec::new();
        let slots = &self.slots;
        let may_ring = held_off;
        gathered.change_bells(|shard, _| {
            let here = keys.iter().filter(|key| slots.owner(slot_of(key)) == shard);
            let keys: Vec<Box<[u8]>> = here.cloned().collect();
            if keys.is_empty() {
                return BellChange::None;
            }
            shards.push(shard);
            BellChange::Hang(Box::new(NewBell { wait, db: invocation.db, keys, may_ring, kind, also_gone }))
        });
        let deadline_us = timeout_ms.map(|ms| self.deadline_us(ms));
        if let Some(deadline_us) = deadline_us {
            self.blocking.table.add_deadline(deadline_us, number);
        }
        self.blocking.spread.insert(number, client);
        let has_looked = !held_off;
        let spread = SpreadWait { number, invocation, args, shards, deadline_us, has_looked, ending: None };
        let connection = self.clients.get_mut(client).expect("found above");
        connection.blocked_on = Some(BlockedOn::Several(Box::new(spread)));
        connection.suspension = Suspension::Blocked;
        connection.output.release_later_pushes();
        self.flush_soon(client);
        self.send_home(gathered);
    }

    /// A bell rings: try again, unless an attempt is under way, which will see what the bell is about.
    pub(in crate::shard) fn bell_rings(&mut self, wait: WaitId) {
        let Some(connection) = self.clients.get_mut(wait.client) else { return };
        let is_between_attempts = connection.suspension == Suspension::Blocked;
        let Some(BlockedOn::Several(spread)) = &mut connection.blocked_on else { return };
        if is_between_attempts && spread.number == wait.number {
            self.try_again(wait);
        }
    }

    /// One more attempt; none is under way.
    fn try_again(&mut self, wait: WaitId) {
        let connection = self.clients.get_mut(wait.client).expect("the caller saw a blocked client");
        let Some(BlockedOn::Several(spread)) = &mut connection.blocked_on else {
            unreachable!("the caller saw a spread wait");
        };
        let (invocation, args) = (spread.invocation, std::mem::take(&mut spread.args));
        let plan = self.plan_gather(args.as_args(), invocation);
        let mut connection = self.clients.take(wait.client).expect("found above");
        self.begin_attempt(&mut connection, plan, invocation, args, Some(wait));
        self.clients.put_back(connection);
    }

    /// All keys of a command, for itself: entries leave their shards, so even readers need them alone.
    pub(in crate::shard) fn plan_gather(&self, args: Args<'_>, invocation: Invocation) -> Plan {
        let mut plan = Plan::default();
        for (index, _) in key_list(invocation.command, args) {
            let key = args.get(index);
            plan.add(self.slots.owner(slot_of(key)), self.fingerprint(key), Some(key), Mode::Exclusive);
        }
        plan
    }

    /// The time of a spread wait is up. An attempt that is under way decides itself. A client that has not looked yet does so
    /// once more: what others come first for may be on its way from one of its keys to another.
    pub(super) fn spread_is_overdue(&mut self, client: ClientKey) {
        let Some(connection) = self.clients.get(client) else { return };
        let Some(BlockedOn::Several(spread)) = &connection.blocked_on else { return };
        match (connection.suspension, spread.has_looked) {
            (Suspension::Blocked, true) => self.end_spread(client, Ending::TimedOut),
            (Suspension::Blocked, false) => {
                let wait = WaitId { home: self.id, client, number: spread.number };
                self.try_again(wait);
            }
            _ => {}
        }
    }

    /// End a spread wait; while an attempt is under way, before that happens.
    pub(super) fn end_spread(&mut self, client: ClientKey, ending: Ending) {
        let connection = self.clients.get_mut(client).expect("the caller saw a blocked client");
        let suspension = connection.suspension;
        let Some(BlockedOn::Several(spread)) = &mut connection.blocked_on else {
            unreachable!("the caller saw a spread wait");
        };
        if suspension == Suspension::Work {
            spread.ending = Some(ending);
            return;
        }
        let (invocation, args) = (spread.invocation, std::mem::take(&mut spread.args));
        let Some(BlockedOn::Several(spread)) = connection.blocked_on.take() else {
            unreachable!("seen above")
        };
        self.take_bells_down(client, &spread);
        self.answer_in_vain(client, invocation, args.as_args(), ending);
    }

    /// Tell all shards of a spread wait that it is over.
    pub(super) fn take_bells_down(&mut self, client: ClientKey, spread: &SpreadWait) {
        self.forget_number(spread);
        let wait = WaitId { home: self.id, client, number: spread.number };
        for &shard in &spread.shards {
            self.send(shard, Packet::Unwait(wait));
        }
    }

    /// The wait is over, and the release of its last attempt says so to the bells.
    fn forget_spread(&mut self, client: ClientKey) -> Option<WaitId> {
        let connection = self.clients.get_mut(client).expect("a connection outlives its transaction");
        let Some(BlockedOn::Several(spread)) = connection.blocked_on.take() else { return None };
        self.forget_number(&spread);
        Some(WaitId { home: self.id, client, number: spread.number })
    }

    fn forget_number(&mut self, spread: &SpreadWait) {
        self.blocking.spread.remove(&spread.number);
        if let Some(deadline_us) = spread.deadline_us {
            self.blocking.table.remove_deadline(deadline_us, spread.number);
        }
    }
}
