//! Serving those who wait for keys of this shard.
//!
//! Owns the moment at which a blocked command runs again: at the end of the step that changed its key, before anybody
//! else gets at it. Never waits for a client, and never passes a lock of another transaction.

use std::collections::BTreeSet;

use torc_datatypes::Kind;
use torc_resp::{Args, OwnedArgs, Reply, ReplyBuf};

use crate::locks::RequestId;
use crate::packet::{BellChange, Claim, Invocation, LateReply, NewBell, Packet, ReturnAddress, WaitId};
use crate::registry::Route;

use super::super::Shard;
use super::super::command_log::Origin;
use super::super::dispatch::key_list;
use super::table::{Bell, BlockedCommand, Wait, What};
use super::{Ending, ReadyKey};

impl Shard {
    /// A command that ran here has found nothing and waits. Called in the same step, so that nothing is missed.
    pub(in crate::shard) fn begin_wait(
        &mut self,
        invocation: Invocation,
        args: Args<'_>,
        wait: torc_commands::Wait,
        address: ReturnAddress,
    ) {
        let torc_commands::Wait { keys, kind, also_gone, timeout_ms, request } = wait;
        let args = request.unwrap_or_else(|| OwnedArgs::copy_of(&args));
        let keys = distinct(args.as_args().range(keys).iter());
        let number = u64::from(address.slot);
        let ReturnAddress { shard: home, client, .. } = address;
        self.add_wait(Wait {
            id: WaitId { home, client, number },
            db: usize::from(invocation.db),
            keys,
            kind,
            also_gone,
            deadline_us: timeout_ms.map(|ms| self.deadline_us(ms)),
            held: Vec::new(),
            what: What::Command(Some(Box::new(BlockedCommand { invocation, args, address }))),
        });
        self.send(home, Packet::Waiting { client, number });
    }

    pub(super) fn deadline_us(&self, timeout_ms: u64) -> u64 {
        self.now.monotonic_us.saturating_add(timeout_ms.saturating_mul(1000))
    }

    fn add_wait(&mut self, wait: Wait) {
        for key in &wait.keys {
            self.keyspace.await_key(wait.db, key);
        }
        self.blocking.table.add(wait);
    }

    /// A wait is over: the queues of the keys that it held go on.
    fn remove_wait(&mut self, number: u64) -> Wait {
        let mut wait = self.blocking.table.remove(number);
        for key in &wait.keys {
            if !self.blocking.table.is_awaited(wait.db, key) {
                self.keyspace.forget_awaited(wait.db, key);
            }
        }
        let held = std::mem::take(&mut wait.held);
        self.pass_on(wait.db, held, wait.reserves(), number);
        wait
    }

    /// Serve those who wait for what this step has changed. `own`: the locks that the caller still holds.
    #[inline]
    pub(in crate::shard) fn serve_waiting(&mut self, own: Option<RequestId>) {
        if self.keyspace.has_ready() || self.blocking.has_work() {
            self.serve_ready_keys(own);
            self.pipeline_time.interrupt();
        }
    }

    #[cold]
    fn serve_ready_keys(&mut self, own: Option<RequestId>) {
        let (acting, key_hint) = (self.acting, self.key_hint.take());
        let mut keys = std::mem::take(&mut self.blocking.again);
        loop {
            // A key that was changed anew is looked at from the front of its queue.
            keys.append(&mut self.blocking.going_on);
            let known = keys.len();
            for (db, key) in self.keyspace.take_ready() {
                match keys[..known].iter_mut().find(|known| known.db == db && known.key == key) {
                    Some(known) => known.from = 0,
                    None => keys.push(ReadyKey { db, key, from: 0 }),
                }
            }
            if keys.is_empty() {
                break;
            }
            // Who is served may push in turn (BLMOVE). Each one leaves the queue, so this ends.
            for key in keys.drain(..) {
                self.serve_key(key, own);
            }
        }
        (self.acting, self.key_hint) = (acting, key_hint);
        // Only now that nobody in the queues has a right to these keys any more.
        for fingerprint in std::mem::take(&mut self.blocking.to_lift) {
            self.locks.lift(fingerprint, &mut self.blocking.granted);
        }
        for (id, waiter) in std::mem::take(&mut self.blocking.granted) {
            self.run_waiter(id, waiter);
        }
    }

    /// First come, first served; only those that stand in the queue already.
    fn serve_key(&mut self, ready: ReadyKey, own: Option<RequestId>) {
        let ReadyKey { db, key, mut from } = ready;
        if !self.blocking.table.is_awaited(db, &key) {
            // It may have been awaited when the keyspace was away.
            return self.keyspace.forget_awaited(db, &key);
        }
        if self.locks.is_held([self.fingerprint(&key)], own) {
            return self.look_again(ReadyKey { db, key, from });
        }
        let last = self.blocking.table.last_number();
        while let Some(number) = self.blocking.table.next_for(db, &key, from)
            && number <= last
        {
            let kind = self.kind_of(db, &key);
            if kind.is_none() && !self.blocking.table.is_missed(db, &key) {
                return self.give_up_turns(db, &key);
            }
            from = number + 1;
            let wait = self.blocking.table.get(number).expect("who stands in a queue waits");
            if kind != Some(wait.kind) && !wait.also_gone {
                self.give_up_turn(number, &key);
                continue;
            }
            let goes_on = match wait.what {
                What::Bell(bell) => self.ring(number, bell, &key),
                What::Command(_) => self.serve(number, &key, own),
            };
            if !goes_on {
                return;
            }
        }
    }

    fn kind_of(&self, db: usize, key: &[u8]) -> Option<Kind> {
        let key = self.keyspace.key(key);
        self.keyspace.peek(db, &key, self.now.unix_ms).map(|entry| entry.kind())
    }

    /// Run a blocked command again. `ready`: the key whose turn it is. `false`: another key of it is with a transaction, or
    /// meant for another client; its turn is kept until it can run.
    fn serve(&mut self, number: u64, ready: &[u8], own: Option<RequestId>) -> bool {
        let command = self.blocking.table.take_command(number);
        let BlockedCommand { invocation, args, address } = &*command;
        let args = args.as_args();
        let keys = key_list(invocation.command, args);
        let mut keys = keys.iter().map(|&(index, _)| args.get(index));
        let is_in_the_way = keys.any(|key| {
            self.locks.is_held([self.fingerprint(key)], own) || key != ready && self.is_called_for(key)
        });
        if is_in_the_way {
            self.blocking.table.put_command_back(number, command);
            if self.blocking.table.hold(number, ready) {
                self.locks.reserve(self.fingerprint(ready), &mut self.blocking.granted);
            }
            let db = self.blocking.table.get(number).expect("put back above").db;
            self.look_again(ReadyKey { db, key: ready.into(), from: number });
            return false;
        }
        let Route::Data(run) = invocation.command.route else {
            unreachable!("only data commands wait");
        };
        let ReturnAddress { shard, client, slot } = *address;
        let mut reply = ReplyBuf::new();
        self.acting = Origin { shard, client: Some(client) };
        self.execute(*invocation, run, args, &mut reply);
        if self.waiting.take().is_some() {
            self.blocking.table.put_command_back(number, command);
            self.let_go(number);
            return true;
        }
        self.remove_wait(number);
        self.settle_logs();
        self.send(shard, Packet::LateReply(Box::new(LateReply { client, slot, reply })));
        true
    }

    /// The turn of a client of another shard, or with keys there: it is told, and the key is kept for it (`false`). Streams
    /// have enough for all.
    fn ring(&mut self, number: u64, before: Bell, key: &[u8]) -> bool {
        let wait = self.blocking.table.get_mut(number).expect("who stands in a queue waits");
        let (id, is_shared) = (wait.id, wait.kind == Kind::Stream);
        debug_assert_ne!(before, Bell::Heard, "its keys are locked then");
        wait.what = What::Bell(Bell::Rung);
        if !is_shared && self.blocking.table.hold(number, key) {
            self.locks.reserve(self.fingerprint(key), &mut self.blocking.granted);
        }
        if before == Bell::Silent {
            self.send(id.home, Packet::Ring(id));
        }
        is_shared
    }

    /// Its turns are over.
    fn let_go(&mut self, number: u64) {
        let wait = self.blocking.table.get(number).expect("the caller knows the wait");
        let (db, held, is_reserved) = (wait.db, wait.held.clone(), wait.reserves());
        for key in &held {
            self.blocking.table.let_go(number, key);
        }
        self.pass_on(db, held, is_reserved, number);
    }

    /// What a key had is gone again (a transaction that came before has taken it).
    fn give_up_turns(&mut self, db: usize, key: &[u8]) {
        while let Some(number) = self.blocking.table.stuck_at(db, key) {
            self.give_up_turn(number, key);
        }
    }

    /// A command that could not be served yet is of no use to the key any more. (A bell that has been rung has its
    /// attempt.)
    fn give_up_turn(&mut self, number: u64, key: &[u8]) {
        let wait = self.blocking.table.get(number).expect("who stands in a queue waits");
        if let What::Command(_) = wait.what
            && self.blocking.table.let_go(number, key)
        {
            self.blocking.to_lift.push(self.fingerprint(key));
        }
    }

    /// The queues of these keys go on behind a wait.
    fn pass_on(&mut self, db: usize, held: Vec<Box<[u8]>>, is_reserved: bool, number: u64) {
        for key in held {
            if is_reserved {
                self.blocking.to_lift.push(self.fingerprint(&key));
            }
            self.blocking.going_on.push(ReadyKey { db, key, from: number + 1 });
        }
    }

    /// Whom what these keys hold is meant for, as a command sees it that wants them, or one that waits for them by a bell.
    /// (What a stream holds is for all.)
    pub(in crate::shard) fn claim_of(&self, wait: Option<WaitId>, keys: &[Box<[u8]>]) -> Claim {
        let table = &self.blocking.table;
        let is_promised = match wait {
            None => keys.iter().any(|key| table.holders_of(key).next().is_some()),
            Some(id) => match table.find(id).and_then(|number| Some((number, table.get(number)?))) {
                None => false,
                Some((_, Wait { what: What::Bell(Bell::Rung), .. })) => return Claim::Called,
                Some((number, wait)) => {
                    wait.keys.iter().any(|key| table.is_held_before(number, wait.db, key))
                }
            },
        };
        if is_promised { Claim::Promised } else { Claim::Free }
    }

    /// Has a bell been rung for this key? (Commands that hold keys of each other may be served nevertheless.)
    fn is_called_for(&self, key: &[u8]) -> bool {
        self.blocking.table.holders_of(key).any(|wait| matches!(wait.what, What::Bell(_)))
    }

    /// The transaction that a bell has called for holds its locks here: others may queue up behind it.
    pub(in crate::shard) fn bell_was_heard(&mut self, id: WaitId) {
        let Some(number) = self.blocking.table.find(id) else { return };
        let wait = self.blocking.table.get_mut(number).expect("found above");
        let was_rung = wait.reserves();
        wait.what = What::Bell(Bell::Heard);
        if was_rung {
            let mut granted = Vec::new();
            for key in &wait.held {
                self.locks.lift(self.key_fingerprints.hash_one(&**key), &mut granted);
            }
            for (id, waiter) in granted {
                self.run_waiter(id, waiter);
            }
        }
    }

    /// What an attempt of a spread wait means for its bell here. The attempt's locks are held still.
    pub(in crate::shard) fn change_bell(&mut self, change: BellChange) {
        match change {
            BellChange::None => {}
            BellChange::Hang(bell) if self.blocking.hangs_bells_late => self.blocking.late_bells.push(*bell),
            BellChange::Hang(bell) => self.hang_bell(*bell),
            BellChange::Keep { wait: id, is_overdue } => {
                if let Some(number) = self.blocking.table.find(id) {
                    self.let_go(number);
                    self.blocking.table.get_mut(number).expect("found above").what = What::Bell(Bell::Silent);
                    if is_overdue {
                        self.blocking.table.wants_any_turn(number);
                    }
                }
            }
            BellChange::TakeDown(id) => {
                if let Some(number) = self.blocking.table.find(id) {
                    self.remove_wait(number);
                }
            }
        }
    }

    fn hang_bell(&mut self, bell: NewBell) {
        let NewBell { wait: id, db, keys, may_ring, kind, also_gone } = bell;
        let (db, what) = (usize::from(db), What::Bell(Bell::Silent));
        if may_ring {
            let ready = keys.iter().map(|key| ReadyKey { db, key: key.clone(), from: 0 });
            self.blocking.going_on.extend(ready);
        }
        self.add_wait(Wait { id, db, keys, kind, also_gone, deadline_us: None, held: Vec::new(), what });
    }

    /// Only the deliberately broken protocol of the simulation has bells left to hang up.
    pub(in crate::shard) fn hang_late_bells(&mut self) {
        for bell in std::mem::take(&mut self.blocking.late_bells) {
            self.hang_bell(bell);
        }
    }

    /// End a wait at this shard. `false`: it is over already.
    pub fn end_wait(&mut self, id: WaitId, ending: Ending) -> bool {
        let Some(number) = self.blocking.table.find(id) else { return false };
        if let What::Command(command) = self.remove_wait(number).what
            && ending != Ending::Gone
        {
            let BlockedCommand { invocation, args, address } = *command.expect("it does not run now");
            let ReturnAddress { shard, client, slot } = address;
            let mut reply = ReplyBuf::new();
            self.acting = Origin { shard, client: Some(client) };
            self.reply_in_vain(invocation, args.as_args(), ending, Reply::new(&mut reply, invocation.proto));
            self.settle_logs();
            self.send(shard, Packet::LateReply(Box::new(LateReply { client, slot, reply })));
        }
        self.serve_waiting(None);
        true
    }

    /// Look at a key again when locks are released.
    fn look_again(&mut self, ready: ReadyKey) {
        let again = &mut self.blocking.again;
        match again.iter_mut().find(|known| known.db == ready.db && known.key == ready.key) {
            Some(known) => known.from = known.from.min(ready.from),
            None => again.push(ready),
        }
    }
}

pub(super) fn distinct<'a>(keys: impl Iterator<Item = &'a [u8]>) -> Vec<Box<[u8]>> {
    keys.collect::<BTreeSet<_>>().into_iter().map(Box::from).collect()
}
