//! Serving those who wait for keys of this shard.
//!
//! Owns the moment at which a blocked command runs again: at the end of the step that changed its key, before anybody
//! else gets at it. Never waits for a client, and never passes a lock of another transaction.

use std::collections::BTreeSet;

use torc_datatypes::Kind;
use torc_resp::{Args, OwnedArgs, Reply, ReplyBuf};

use crate::locks::RequestId;
use crate::packet::{BellChange, Invocation, LateReply, NewBell, Packet, ReturnAddress, WaitId};
use crate::registry::Route;

use super::super::Shard;
use super::super::command_log::Origin;
use super::super::dispatch::key_list;
use super::table::{Bell, BlockedCommand, Wait, What};
use super::{Ending, ReadyKey};

/// What came of running a blocked command again.
#[derive(PartialEq, Eq)]
enum Attempt {
    Served,
    Nothing,
    /// A key of it is with a transaction.
    Locked,
}

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

    fn remove_wait(&mut self, number: u64) -> Wait {
        let wait = self.blocking.table.remove(number);
        for key in &wait.keys {
            if !self.blocking.table.is_awaited(wait.db, key) {
                self.keyspace.forget_awaited(wait.db, key);
            }
        }
        wait
    }

    /// Serve those who wait for what this step has changed. `own`: the locks that the caller still holds.
    #[inline]
    pub(in crate::shard) fn serve_waiting(&mut self, own: Option<RequestId>) {
        if self.keyspace.has_ready() || !self.blocking.again.is_empty() {
            self.serve_ready_keys(own);
        }
    }

    #[cold]
    fn serve_ready_keys(&mut self, own: Option<RequestId>) {
        let (acting, key_hint) = (self.acting, self.key_hint.take());
        let mut keys = std::mem::take(&mut self.blocking.again);
        loop {
            let ready = self.keyspace.take_ready().into_iter();
            keys.extend(ready.map(|(db, key)| ReadyKey { db, key, from: 0 }));
            if keys.is_empty() {
                break;
            }
            // Who is served may push in turn (BLMOVE). Each one leaves the queue, so this ends.
            for key in keys.drain(..) {
                self.serve_key(key, own);
            }
        }
        (self.acting, self.key_hint) = (acting, key_hint);
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
                return;
            }
            from = number + 1;
            let wait = self.blocking.table.get(number).expect("who stands in a queue waits");
            if kind != Some(wait.kind) && !wait.also_gone {
                continue;
            }
            if let What::Bell(_) = wait.what {
                return self.ring(number, key);
            }
            if self.serve(number, &key, own) == Attempt::Locked {
                return self.look_again(ReadyKey { db, key, from: number });
            }
        }
    }

    fn kind_of(&self, db: usize, key: &[u8]) -> Option<Kind> {
        let key = self.keyspace.key(key);
        self.keyspace.peek(db, &key, self.now.unix_ms).map(|entry| entry.kind())
    }

    /// Run a blocked command again. `ready`: the key whose turn it is.
    fn serve(&mut self, number: u64, ready: &[u8], own: Option<RequestId>) -> Attempt {
        let command = self.blocking.table.take_command(number);
        let BlockedCommand { invocation, args, address } = &*command;
        let args = args.as_args();
        let keys = key_list(invocation.command, args);
        let mut keys = keys.iter().map(|&(index, _)| args.get(index));
        let in_the_way = keys.any(|key| {
            let fingerprint = self.fingerprint(key);
            self.locks.is_held([fingerprint], own) || key != ready && self.locks.is_reserved(fingerprint)
        });
        if in_the_way {
            self.blocking.table.put_command_back(number, command);
            return Attempt::Locked;
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
            return Attempt::Nothing;
        }
        self.remove_wait(number);
        self.settle_logs();
        self.send(shard, Packet::LateReply(Box::new(LateReply { client, slot, reply })));
        Attempt::Served
    }

    /// The turn of a client of another shard, or with keys there: it is told, and the key is kept for it.
    fn ring(&mut self, number: u64, key: Box<[u8]>) {
        let fingerprint = self.fingerprint(&key);
        let wait = self.blocking.table.get(number).expect("who stands in a queue waits").id;
        let bell = self.blocking.table.bell_mut(number).expect("the caller saw a bell");
        let was_rung = std::mem::replace(&mut bell.is_rung, true);
        if !bell.held.contains(&key) {
            bell.held.push(key);
            self.locks.reserve(fingerprint, &mut self.blocking.granted);
        }
        if !was_rung {
            self.send(wait.home, Packet::Ring(wait));
        }
    }

    /// The transaction that a bell has called for is here, and stands in the queue for its locks: others may queue up
    /// behind it.
    pub(in crate::shard) fn bell_was_heard(&mut self, wait: WaitId) {
        let Some(number) = self.blocking.table.find(wait) else { return };
        let bell = self.blocking.table.bell_mut(number).expect("a spread wait has bells");
        if !std::mem::replace(&mut bell.is_rung, false) {
            return;
        }
        let held: Vec<u64> = bell.held.clone().iter().map(|key| self.fingerprint(key)).collect();
        self.lift_reservations(&held);
    }

    fn lift_reservations(&mut self, fingerprints: &[u64]) {
        let mut ready = Vec::new();
        for &fingerprint in fingerprints {
            self.locks.lift(fingerprint, &mut ready);
        }
        for (id, waiter) in ready {
            self.run_waiter(id, waiter);
        }
    }

    /// What an attempt of a spread wait means for its bell here. The attempt's locks are held still.
    pub(in crate::shard) fn change_bell(&mut self, change: BellChange) {
        match change {
            BellChange::None => {}
            BellChange::Hang(bell) if self.blocking.hangs_bells_late => self.blocking.late_bells.push(*bell),
            BellChange::Hang(bell) => self.hang_bell(*bell),
            BellChange::Keep(wait) => {
                let Some(number) = self.blocking.table.find(wait) else { return };
                let bell = self.blocking.table.bell_mut(number).expect("a spread wait has bells");
                let held = std::mem::take(&mut bell.held);
                let db = self.blocking.table.get(number).expect("found above").db;
                for key in held {
                    self.look_again(ReadyKey { db, key, from: number + 1 });
                }
            }
            BellChange::TakeDown(wait) => {
                if let Some(number) = self.blocking.table.find(wait) {
                    self.take_bell_down(number);
                }
            }
        }
    }

    fn hang_bell(&mut self, bell: NewBell) {
        let NewBell { wait, db, keys, kind, also_gone } = bell;
        let what = What::Bell(Bell::default());
        self.add_wait(Wait { id: wait, db: usize::from(db), keys, kind, also_gone, deadline_us: None, what });
    }

    /// Only the deliberately broken protocol of the simulation has bells left to hang up.
    pub(in crate::shard) fn hang_late_bells(&mut self) {
        for bell in std::mem::take(&mut self.blocking.late_bells) {
            self.hang_bell(bell);
        }
    }

    fn take_bell_down(&mut self, number: u64) {
        let wait = self.remove_wait(number);
        let What::Bell(bell) = wait.what else { unreachable!("the caller saw a bell") };
        let fingerprints: Vec<u64> = bell.held.iter().map(|key| self.fingerprint(key)).collect();
        for key in bell.held {
            self.look_again(ReadyKey { db: wait.db, key, from: number + 1 });
        }
        if bell.is_rung {
            self.lift_reservations(&fingerprints);
        }
    }

    /// End a wait at this shard. `false`: it is over already.
    pub fn end_wait(&mut self, wait: WaitId, ending: Ending) -> bool {
        let Some(number) = self.blocking.table.find(wait) else { return false };
        if self.blocking.table.bell_mut(number).is_some() {
            self.take_bell_down(number);
            self.serve_waiting(None);
            return true;
        }
        let command = self.blocking.table.take_command(number);
        self.remove_wait(number);
        let BlockedCommand { invocation, args, address } = *command;
        let ReturnAddress { shard, client, slot } = address;
        if ending != Ending::Gone {
            let mut reply = ReplyBuf::new();
            self.acting = Origin { shard, client: Some(client) };
            self.reply_in_vain(invocation, args.as_args(), ending, Reply::new(&mut reply, invocation.proto));
            self.settle_logs();
            self.send(shard, Packet::LateReply(Box::new(LateReply { client, slot, reply })));
        }
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
