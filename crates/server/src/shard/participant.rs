//! This shard's part in multi-shard transactions, and the sequencer role of shard 0.
//!
//! Owns what happens between `Prepare` and `Release`: locks are taken in the order of arrival, the prepared work is
//! done the moment they are granted, and they are held until the coordinator says that the transaction is over. Never
//! decides anything for the transaction as a whole.

use std::collections::HashMap;

use torc_commands::Run;
use torc_keyspace::{Class, Effects, Keyspace};
use torc_resp::{Args, Mark, OwnedArgs, ReplyBuf};

use crate::locks::RequestId;
use crate::packet::{
    BellChange, Granted, Homecoming, Invocation, Packet, PartResult, Prepare, Release, Sequence, ShardId,
    Work,
};
use crate::registry::Route;

use super::command_log::Origin;
use super::{Shard, Waiter};

/// Locks that this shard holds for transactions of others (and of its own connections).
#[derive(Default)]
pub(super) struct Participant {
    held: HashMap<(ShardId, u64), Held>,
}

struct Held {
    id: RequestId,
    /// For the log, when the transaction is over.
    effects: Option<Effects>,
    /// What it means for a bell, when the locks go.
    bell: BellChange,
    /// Databases were flushed here, and may not be yet elsewhere.
    flushed: bool,
}

impl Participant {
    /// Something that has happened here is not in the log yet: what happens now would come in front of it.
    pub(super) fn holds_effects(&self) -> bool {
        self.held.values().any(|held| held.effects.is_some())
    }

    /// A flush is under way.
    pub(super) fn is_flushing(&self) -> bool {
        self.held.values().any(|held| held.flushed)
    }
}

impl Shard {
    /// The sequencer: every multi-shard transaction passes here, and its parts leave for all participants before the
    /// next transaction is looked at. Channels keep their order, so all shards see all transactions in one order, and
    /// no two can wait for each other.
    pub(super) fn sequence(&mut self, sequence: Sequence) {
        debug_assert_eq!(self.id, 0, "shard 0 is the sequencer");
        self.stats.sequenced += 1;
        for (shard, prepare) in sequence.parts {
            if shard == self.id {
                self.prepare(prepare);
            } else {
                self.send(shard, Packet::Prepare(Box::new(prepare)));
            }
        }
    }

    pub(super) fn prepare(&mut self, prepare: Prepare) {
        self.make_room_if_needed();
        let scope = prepare.scope.clone();
        let is_sequenced = prepare.is_sequenced;
        let waiter = Waiter::Prepared(Box::new(prepare));
        let (id, granted) = match is_sequenced {
            true => self.locks.acquire(scope, waiter),
            false => self.locks.acquire_plain(scope, waiter),
        };
        if let Some(waiter) = granted {
            self.run_waiter(id, waiter);
        }
    }

    /// The locks are granted: do the work and tell the coordinator.
    pub(super) fn prepared(&mut self, id: RequestId, prepare: Prepare) {
        let Prepare { coordinator, txn, client, work, .. } = prepare;
        self.acting = Origin { shard: coordinator, client };
        let (mut flushed, mut held_effects) = (false, None);
        let heard = match &work {
            Work::Export { wait, .. } => *wait,
            _ => None,
        };
        let result = match work {
            Work::Part { invocation, args, each } => {
                let (result, effects) = self.telling_apart(|shard| shard.run_part(invocation, &args, each));
                with_effects(result, effects, &mut held_effects)
            }
            Work::Every { invocation, args } => {
                let (result, events, effects) =
                    self.recorded(|shard| shard.run_every_part(invocation, &args));
                let result = with_effects(result, effects, &mut held_effects);
                flushed = events.iter().any(|event| event.class == Class::FLUSHED);
                events.iter().for_each(|event| self.changes.keep(event));
                result
            }
            Work::Export { keys, watcher, wait: _ } => {
                let watch_broken = self.watch_broken(watcher);
                let claim = self.claim_of(heard, &keys);
                let mut entries = Vec::with_capacity(keys.len());
                for key in &keys {
                    let key = self.keyspace.key(key);
                    self.keyspace.export(&key, &mut entries);
                }
                PartResult::Entries { entries, watch_broken, claim }
            }
            Work::ExportWhole { watcher } => {
                let watch_broken = self.watch_broken(watcher);
                let empty = Keyspace::new(self.seed, self.settings.databases);
                let keyspace = Box::new(std::mem::replace(&mut self.keyspace, empty));
                self.keyspace_away = true;
                PartResult::Keyspace { keyspace, watch_broken }
            }
            Work::Hold { job } => {
                self.note_log_position();
                if let Some(job) = job {
                    self.begin_part_of_save(job);
                }
                PartResult::Done
            }
            Work::Watch { watcher, db, keys } => {
                for key in &keys {
                    let key = self.keyspace.key(key);
                    self.keyspace.watch(db as usize, &key, watcher, self.now.unix_ms);
                }
                PartResult::Done
            }
        };
        let held = Held { id, flushed, effects: held_effects, bell: BellChange::None };
        self.participant.held.insert((coordinator, txn), held);
        self.send(coordinator, Packet::Granted(Box::new(Granted { txn, shard: self.id, result })));
        if let Some(wait) = heard {
            self.bell_was_heard(wait);
        }
    }

    fn watch_broken(&mut self, watcher: Option<u64>) -> bool {
        watcher.is_some_and(|watcher| self.keyspace.watch_broken(watcher, self.now.unix_ms))
    }

    fn run_part(&mut self, invocation: Invocation, args: &OwnedArgs, each: Option<usize>) -> PartResult {
        let Route::Data(run @ Run::Split { .. }) = invocation.command.route else {
            unreachable!("only split commands have parts");
        };
        let mut reply = ReplyBuf::new();
        let mut ends: Vec<Mark> = Vec::new();
        self.uncounted(invocation.command, |shard| match each {
            None => shard.execute(invocation, run, args.as_args(), &mut reply),
            Some(step) => {
                let mut item = OwnedArgs::new();
                for start in (1..args.len()).step_by(step) {
                    item.clear(usize::MAX);
                    item.append(&args.range(0..1));
                    item.append(&args.range(start..start + step));
                    shard.execute(invocation, run, item.as_args(), &mut reply);
                    ends.push(reply.mark());
                }
            }
        });
        PartResult::Reply { reply, ends, has_effects: false }
    }

    fn run_every_part(&mut self, invocation: Invocation, args: &OwnedArgs) -> PartResult {
        let mut reply = ReplyBuf::new();
        self.run_every(invocation, args.as_args(), &mut reply);
        PartResult::Reply { reply, ends: Vec::new(), has_effects: false }
    }

    /// This shard's part of an every-shard command, not folded.
    pub(super) fn run_every(&mut self, invocation: Invocation, args: Args<'_>, reply: &mut ReplyBuf) {
        let Route::Data(Run::EveryShard { handler, .. }) = invocation.command.route else {
            unreachable!("only every-shard commands run on every shard");
        };
        self.uncounted(invocation.command, |shard| shard.call_handler(invocation, handler, args, reply));
    }

    /// The transaction is over: take home what was lent out, then let the next ones run.
    pub(super) fn release(&mut self, release: Release) {
        let Release { coordinator, txn, .. } = release;
        let held = self.participant.held.get_mut(&(coordinator, txn));
        let held = held.expect("a released transaction holds its locks here");
        let effects = held.effects.take();
        held.bell = release.bell;
        match release.home {
            Homecoming::Nothing => {}
            Homecoming::Entries { entries, events } => {
                self.keyspace.import(entries);
                for event in &events {
                    self.changes.replay(event, &mut self.keyspace);
                }
            }
            Homecoming::Keyspace { keyspace, events } => {
                self.keyspace = *keyspace;
                // Whoever watches keys in it has been told already.
                events.iter().for_each(|event| self.changes.keep(event));
                // CONFIG SET may have come while it was away.
                self.keyspace.set_access_clock(self.settings.access_clock());
                self.keyspace.keeps_expired = self.keeps_expired();
                self.keyspace_away = false;
            }
            Homecoming::Loaded { keyspace, joins: false } => {
                self.keyspace.replace_all(*keyspace);
                self.changes.flushed();
            }
            Homecoming::Loaded { keyspace, joins: true } => {
                self.keyspace.merge(*keyspace, true, self.now.unix_ms);
            }
        }
        if !self.log_part(coordinator, txn, release.log, effects) {
            self.unlock(coordinator, txn);
        }
    }

    /// The locks of a transaction go, and whoever waited for them runs.
    pub(super) fn unlock(&mut self, coordinator: ShardId, txn: u64) {
        let held = self.participant.held.remove(&(coordinator, txn));
        let Held { id, bell, .. } = held.expect("a transaction lets go of its locks once");
        self.unseal();
        self.change_bell(bell);
        self.serve_waiting(Some(id));
        self.release_locks(id);
        self.run_loopback();
    }
}

/// Keeps the effects of a part until the transaction is over, and tells the coordinator that there are some.
fn with_effects(result: PartResult, effects: Effects, held: &mut Option<Effects>) -> PartResult {
    match result {
        PartResult::Reply { reply, ends, .. } if !effects.is_empty() => {
            *held = Some(effects);
            PartResult::Reply { reply, ends, has_effects: true }
        }
        result => result,
    }
}
