//! This shard's log: what happened to its keys, on the way to the disk, and what waits for it to be there.
//!
//! Owns the order of effects in the log, and under `appendfsync always` the rule of acknowledgement: what a turn of the
//! loop has for clients and for other shards leaves when the log is durable up to where it stood at the end of that turn;
//! a transaction over several shards keeps its locks, and its client waits, until all its parts are durable. Never
//! touches a file: the loop carries out what [`ShardLog::next_action`] says.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use torc_keyspace::{Effects, slot_of};
use torc_persist::log::{Action, FileNumber, Policy, Position, RECORD_BYTES_FULL, ShardLog};
use torc_persist::record::Transaction;
use torc_persist::segment::SegmentHeader;
use torc_resp::CommandError;
use torc_runtime::beside;

use crate::aof::{self, OpenSegment, Prepared, SegmentFd};
use crate::clients::ClientKey;
use crate::config::os_error_text;
use crate::connection::Suspension;
use crate::metrics::Failure;
use crate::packet::{Packet, PartOfLog, ShardId};

use super::Shard;
use super::saving::{Began, Purpose};

/// Pause between two tries to make a new segment.
const REPLACE_RETRY: Duration = Duration::from_secs(1);
/// After a failed rewrite the next one waits for this long.
const RETRY_MS: i64 = 5_000;

/// A sync that takes so long is told of (`aof_delayed_fsync`): under `everysec` the next one is late.
const LATE_SYNC_US: u64 = 1_000_000;

/// The log, if there is one, and what waits for it.
#[derive(Default)]
pub(crate) struct Logging {
    pub(crate) log: Option<Box<ShardLog>>,
    /// A log that was switched off, until it is written.
    ending: Option<Box<ShardLog>>,
    /// How many logs were switched off here.
    ended: u64,
    /// What turns of the loop have to tell, oldest first.
    held: VecDeque<HeldTurn>,
    /// Packets that have waited for the log, and leave at the end of this turn.
    released: Vec<(ShardId, Packet)>,
    /// Parts of transactions that keep their locks: where the log has to be durable, and whose they are.
    parts: VecDeque<(Place, ShardId, u64)>,
    /// Files that the loop has not got yet.
    new_files: Vec<(FileNumber, SegmentFd)>,
    /// The files of the next generation are being made.
    preparing: Option<Receiver<io::Result<Prepared>>>,
    /// A new segment in place of one that failed is being made.
    replacing: Option<Receiver<io::Result<(FileNumber, SegmentFd)>>>,
    replacement_bytes: u64,
    /// A sync for which nobody waits is under way since then (monotonic).
    sync_began_us: Option<u64>,
    /// The server ends: everything is synced at once.
    hurries: bool,
    /// Transactions of this shard's clients whose parts are not durable everywhere yet.
    settling: BTreeMap<u64, Settling>,
    #[cfg(test)]
    pub(super) breach: Breach,
    #[cfg(test)]
    pub(super) simulated: Option<Simulated>,
}

/// What a failing disk leads to, where a test simulates the disk.
#[cfg(test)]
#[derive(Default)]
pub(super) struct Simulated {
    /// Under `always`: the process would end.
    pub(super) has_ended: bool,
    /// Segments that are wanted in place of those that failed.
    pub(super) wanted: Vec<Wanted>,
}

#[cfg(test)]
pub(super) type Wanted = (SegmentHeader, Vec<u8>, Sender<io::Result<(FileNumber, SegmentFd)>>);

/// Which half of the rule of acknowledgement a test breaks, to see that it is noticed.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Breach {
    #[default]
    None,
    TellsAtOnce,
    UnlocksAtOnce,
}

/// Where a log has to be durable.
#[derive(Clone, Copy)]
struct Place {
    /// [`Logging::ended`] while it is the present one.
    log: u64,
    position: Position,
}

impl Logging {
    /// What a log is not going to write any more, nobody waits for.
    fn is_durable(&self, place: Place) -> bool {
        let log = match self.ended - place.log {
            0 => &self.log,
            1 => &self.ending,
            _ => &None,
        };
        log.as_ref().is_none_or(|log| log.durable() >= place.position)
    }
}

struct HeldTurn {
    place: Place,
    /// Up to which byte of its output each client may be told.
    replies: Vec<(ClientKey, u64)>,
    packets: Vec<(ShardId, Packet)>,
}

struct Settling {
    client: Option<ClientKey>,
    participants: Vec<ShardId>,
    waiting: usize,
}

impl Shard {
    /// The log goes on in this segment; it begins there if there was none.
    pub fn switch_log(&mut self, open: OpenSegment) {
        let OpenSegment { segment, file } = open;
        self.logging.new_files.push((segment.file, file));
        self.log_effects();
        match &mut self.logging.log {
            Some(log) => {
                log.switch_to(segment);
                self.process.aof.note_switching(self.id, true);
            }
            None => {
                let policy = aof::policy(&self.state.config);
                let log = ShardLog::begin_in(segment, policy, &self.process.keys);
                self.logging.log = Some(Box::new(log));
                self.changes.effects.switch(true);
            }
        }
    }

    /// Files of the log that the loop has not got yet.
    pub fn take_log_files(&mut self) -> Vec<(FileNumber, SegmentFd)> {
        std::mem::take(&mut self.logging.new_files)
    }

    /// BGREWRITEAOF: now, if that may be and no snapshot is written, else as soon as that is so.
    pub fn rewrite_log_in_background(&mut self, may_begin: bool) -> Result<Began, CommandError> {
        if self.process.aof.state().rewrite_began_ms.is_none() {
            if !may_begin || self.process.saves.state().running.is_some() {
                self.process.aof.update(|state| state.is_scheduled = true);
                return Ok(Began::Scheduled);
            }
            if self.rewrite_log() {
                return Ok(Began::Now);
            }
        }
        Err(CommandError::Text("ERR Background append only file rewriting already in progress"))
    }

    /// Begins to write the log anew, or to write one; where none is wanted, a base without a log behind it, as Redis does.
    /// False if that is under way.
    pub fn rewrite_log(&mut self) -> bool {
        if self.logging.preparing.is_some() || self.process.aof.state().rewrite_began_ms.is_some() {
            return false;
        }
        let now_ms = self.now.unix_ms;
        self.process.aof.update(|state| {
            state.rewrite_began_ms = Some(now_ms);
            state.is_scheduled = false;
        });
        let (send, prepared) = channel();
        let (process, config) = (Arc::clone(&self.process), Arc::clone(&self.state.config));
        let (slots, server, id) = (Arc::clone(&self.slots), self.server.clone(), self.id);
        let follows = self.logging.log.is_some() && !process.aof.state().needs_base;
        beside::spawn("torc-log", move || {
            let outcome = process.aof.prepare(&config, &slots, &process.keys, follows);
            if !follows {
                process.aof.update(|state| state.needs_base = state.is_on);
            }
            // Nobody listens any more when the server is ending.
            let _ = send.send(outcome);
            if let Some(server) = server {
                server.wake(id);
            }
        });
        self.logging.preparing = Some(prepared);
        true
    }

    /// The files of a rewrite are there: the cut is next.
    pub(super) fn go_on_rewriting(&mut self) {
        let Some(preparing) = self.logging.preparing.as_ref().filter(|_| !self.process.aof.is_switching())
        else {
            return;
        };
        let Ok(prepared) = preparing.try_recv() else { return };
        self.logging.preparing = None;
        match prepared {
            Ok(prepared) => self.begin_or_wait(Purpose::Rewrite(prepared)),
            Err(error) => {
                tracing::warn!(%error, "the log cannot be rewritten: its new files cannot be made");
                self.rewrite_has_ended(None, false);
            }
        }
    }

    /// `of_log`: [`crate::aof::State::switched_off`] of the log that goes on behind the base.
    pub(super) fn rewrite_has_ended(&mut self, of_log: Option<u64>, is_ok: bool) {
        let now_ms = self.now.unix_ms;
        self.process.aof.update(|state| {
            let began_ms = state.rewrite_began_ms.take().unwrap_or(now_ms);
            state.last_try_ms = now_ms;
            state.last_rewrite_took_s = Some((now_ms - began_ms) / 1000);
            if is_ok {
                state.rewrites += 1;
                state.failed_rewrites = 0;
                state.needs_base &= of_log != Some(state.switched_off);
            } else {
                Failure::Rewrite.count();
                state.failed_rewrites += 1;
            }
        });
        self.wake_log_waits();
    }

    /// Ten times a second: tell the process about this log, and begin what is due.
    pub(super) fn log_tick(&mut self) {
        self.log_effects();
        self.choose_log_policy();
        let aof = &self.process.aof;
        if let Some(log) = &self.logging.log {
            aof.note(self.id, log.file_bytes(), log.unwritten_bytes());
            aof.note_switching(self.id, log.is_switching());
        }
        let state = aof.state();
        self.state.log_failure = state.failure().cloned();
        let is_writing = state.rewrite_began_ms.is_some() || self.process.saves.state().running.is_some();
        if self.id != 0 || is_writing || self.cron_paused || !self.process.loading.is_over() {
            return;
        }
        if state.is_scheduled {
            self.rewrite_log();
            return;
        }
        if !state.is_on {
            return;
        }
        let config = &self.state.config;
        let (bytes, percentage) = (aof.bytes(), config.auto_aof_rewrite_percentage());
        let has_grown = percentage > 0
            && bytes > config.auto_aof_rewrite_min_size()
            && bytes.saturating_sub(state.base_bytes) * 100 >= state.base_bytes.max(1) * percentage;
        let may_try = !state.last_rewrite_failed() || self.now.unix_ms - state.last_try_ms > RETRY_MS;
        if (has_grown || state.needs_base) && may_try && self.rewrite_log() {
            tracing::info!(bytes, "the log is rewritten");
        }
    }

    /// CONFIG SET has changed what the log is to be.
    pub fn apply_log_settings(&mut self) {
        self.log_effects();
        self.choose_log_policy();
        let (wanted, is_on) = (self.state.config.appendonly(), self.process.aof.state().is_on);
        if wanted == is_on && wanted == self.logging.log.is_some() {
            return;
        }
        if !wanted && self.logging.log.is_some() {
            self.changes.effects.switch(false);
            self.logging.replacing = None;
            self.state.log_failure = self.process.aof.note_failure(self.id, None);
            // What this turn has still to tell goes behind what is logged.
            if let Some(place) = self.place_of_turn() {
                self.logging.held.push_back(HeldTurn { place, replies: Vec::new(), packets: Vec::new() });
            }
            self.logging.ending = self.logging.log.take();
            self.logging.ended += 1;
            if let Some(ending) = &mut self.logging.ending {
                ending.set_policy(Policy::Always);
            }
            self.process.aof.note_switching(self.id, false);
            self.end_the_ending();
        }
        if self.id == 0 && wanted != is_on {
            self.process.aof.update(|state| {
                (state.is_on, state.needs_base) = (wanted, wanted);
                state.switched_off += u64::from(!wanted);
                state.is_scheduled &= wanted;
            });
            self.wake_log_waits();
            if wanted {
                // One that is under way already may have begun without a log: the next one does it then.
                let _ = self.rewrite_log_in_background(true);
            }
        }
    }

    /// `appendfsync`, unless a rewrite goes on and `no-appendfsync-on-rewrite` wants the disk to be left to it.
    fn choose_log_policy(&mut self) {
        if self.logging.hurries {
            return;
        }
        let config = &self.state.config;
        let mut policy = aof::policy(config);
        if policy == Policy::Everysec
            && config.no_appendfsync_on_rewrite()
            && self.process.aof.state().rewrite_began_ms.is_some()
        {
            policy = Policy::No;
        }
        if let Some(log) = self.logging.log.as_mut().filter(|log| log.policy() != policy) {
            log.set_policy(policy);
        }
    }

    /// A write or a sync of the log has failed. Under `always` nothing more can be acknowledged, so the server ends, as
    /// Redis does; otherwise writes are refused until a new segment holds what may be lost.
    pub fn log_has_failed(&mut self) {
        self.log_effects();
        let Some(log) = &mut self.logging.log else { return };
        let Some(failure) = log.failure() else { return };
        let reason = match failure.os_error {
            Some(code) => os_error_text(&io::Error::from_raw_os_error(code)),
            // Part of a write was taken: what was missing is room.
            None if failure.error == io::ErrorKind::WriteZero => {
                os_error_text(&io::Error::from_raw_os_error(libc::ENOSPC))
            }
            None => failure.error.to_string(),
        };
        if log.policy() == Policy::Always {
            tracing::error!(
                call = failure.call,
                reason,
                "the log cannot be written under 'appendfsync always': the server ends"
            );
            #[cfg(test)]
            if let Some(simulated) = &mut self.logging.simulated {
                simulated.has_ended = true;
                return;
            }
            std::process::exit(1);
        }
        if self.state.log_failure.is_none() {
            Failure::Log.count();
            tracing::error!(call = failure.call, reason, "the log cannot be written: writes are refused");
        }
        self.state.log_failure = self.process.aof.note_failure(self.id, Some(reason));
        if self.logging.replacing.is_some() || log.is_busy() {
            return;
        }
        let (header, content) = log.reopen();
        self.logging.replacement_bytes = content.len() as u64;
        let (send, replacing) = channel();
        self.logging.replacing = Some(replacing);
        self.make_replacement(header, content, send);
    }

    /// Makes a segment in place of one that failed, beside this shard.
    fn make_replacement(
        &mut self,
        header: SegmentHeader,
        content: Vec<u8>,
        send: Sender<io::Result<(FileNumber, SegmentFd)>>,
    ) {
        #[cfg(test)]
        if let Some(simulated) = &mut self.logging.simulated {
            return simulated.wanted.push((header, content, send));
        }
        let (process, server, id) = (Arc::clone(&self.process), self.server.clone(), self.id);
        beside::spawn("torc-log", move || {
            let outcome = process.aof.replace_segment(header, &content);
            if outcome.is_err() {
                // Space may come back; not at once.
                std::thread::sleep(REPLACE_RETRY);
            }
            let _ = send.send(outcome);
            if let Some(server) = server {
                server.wake(id);
            }
        });
    }

    /// Is the log broken? Then see whether its new segment is there.
    pub fn mend_log(&mut self) {
        self.log_effects();
        let Some(replacing) = &self.logging.replacing else { return };
        let Ok(outcome) = replacing.try_recv() else { return };
        self.logging.replacing = None;
        match outcome {
            Ok((number, file)) => {
                let log = self.logging.log.as_mut().expect("it has failed");
                log.reopened(number, self.logging.replacement_bytes);
                self.logging.new_files.push((number, file));
                self.state.log_failure = self.process.aof.note_failure(self.id, None);
                tracing::warn!("the log is written again, in a new segment");
                self.note_log_position();
                self.log_is_durable();
            }
            Err(_) => self.log_has_failed(),
        }
    }

    pub(super) fn acknowledges_late(&self) -> bool {
        self.logging.log.as_ref().is_some_and(|log| log.policy() == Policy::Always)
    }

    /// Plain commands are about to run: their effects are put right into the log's buffer, until something else is asked of the log
    /// ([`Shard::log_effects`]).
    #[inline]
    pub(super) fn lend_log_buffer(&mut self) {
        if let Some(log) = self.logging.log.as_mut().filter(|log| !log.is_lent())
            && self.changes.effects.is_empty()
            && let Some(buffer) = log.lend()
        {
            self.changes.effects.borrow(buffer);
        }
    }

    /// Puts what plain commands have left into the log. To be called before anything else is asked of the log.
    #[inline]
    pub(super) fn log_effects(&mut self) {
        if let Some(log) = self.logging.log.as_mut().filter(|log| log.is_lent()) {
            log.take_back(self.changes.effects.give_back(RECORD_BYTES_FULL));
        }
        if !self.changes.effects.is_empty() {
            self.log_all_effects();
        }
    }

    fn log_all_effects(&mut self) {
        if let Some(log) = &mut self.logging.log {
            self.changes.effects.runs(RECORD_BYTES_FULL).for_each(|run| log.effects(run));
        }
        self.changes.effects.clear();
    }

    /// Do something whose effects belong together, and take them out.
    pub(super) fn telling_apart<R>(&mut self, act: impl FnOnce(&mut Shard) -> R) -> (R, Effects) {
        if !self.changes.effects.is_on() {
            return (act(self), Effects::default());
        }
        self.log_effects();
        let result = act(self);
        (result, self.changes.effects.take())
    }

    /// Do something whose effects are one record: whole in the log, or not there.
    pub(super) fn logged_together<R>(&mut self, act: impl FnOnce(&mut Shard) -> R) -> R {
        let (result, effects) = self.telling_apart(act);
        self.log_group(&effects, None);
        result
    }

    fn log_group(&mut self, effects: &Effects, transaction: Option<Transaction>) {
        self.log_effects();
        let Some(log) = self.logging.log.as_mut().filter(|_| !effects.is_empty()) else { return };
        let effects = effects.iter().map(|effect| (effect.db, effect.words()));
        match transaction {
            None => log.group(effects),
            Some(transaction) => log.part(transaction, effects),
        }
    }

    /// The effects of a gathered transaction, by the shard that owns their keys; those without a key are `home`'s.
    pub(super) fn by_owner(&self, effects: &Effects, home: ShardId, mut put: impl FnMut(ShardId, &Effects)) {
        let mut owners: BTreeMap<ShardId, Effects> = BTreeMap::new();
        for effect in effects.iter() {
            let owner = effect.key().map_or(home, |key| self.slots.owner(slot_of(key)));
            owners.entry(owner).or_default().push_copy(effect);
        }
        owners.iter().for_each(|(&owner, effects)| put(owner, effects));
    }

    /// A participant logs its part of a transaction that is over. True if the locks stay.
    pub(super) fn log_part(
        &mut self,
        coordinator: ShardId,
        txn: u64,
        part: PartOfLog,
        held: Option<Effects>,
    ) -> bool {
        let (effects, transaction, settles) = match part {
            PartOfLog::Nothing => return false,
            PartOfLog::Held { transaction, settles } => (held.unwrap_or_default(), transaction, settles),
            PartOfLog::These { effects, transaction, settles } => (*effects, transaction, settles),
        };
        self.log_group(&effects, transaction);
        if settles {
            match &self.logging.log {
                Some(log) => {
                    let place = Place { log: self.logging.ended, position: log.position() };
                    self.logging.parts.push_back((place, coordinator, txn));
                }
                // It was switched off meanwhile, and the coordinator waits to hear of this part.
                None => self.send(coordinator, Packet::PartIsDurable { txn }),
            }
        }
        settles
    }

    /// How the participants of a transaction log it: a part each, or all of it on the only one that was written to.
    /// `writers`: those with effects.
    pub(super) fn plan_log(
        &mut self,
        txn: u64,
        client: Option<ClientKey>,
        writers: &[ShardId],
    ) -> (Option<Transaction>, bool) {
        let transaction = (writers.len() > 1)
            .then(|| Transaction { ticket: self.hub.next_ticket(), participants: writers.to_vec() });
        // What is in this shard's own log alone, its turn waits for.
        let settles = self.acknowledges_late() && writers.iter().any(|&shard| shard != self.home);
        #[cfg(test)]
        let settles = settles && self.logging.breach != Breach::UnlocksAtOnce;
        if settles {
            let participants = writers.to_vec();
            let settling = Settling { client, waiting: participants.len(), participants };
            self.logging.settling.insert(txn, settling);
        }
        (transaction, settles)
    }

    /// This client's transaction has happened, but is not durable everywhere.
    #[inline]
    pub(super) fn is_settling(&self, client: ClientKey) -> bool {
        !self.logging.settling.is_empty()
            && self.logging.settling.values().any(|settling| settling.client == Some(client))
    }

    pub(super) fn part_is_durable(&mut self, txn: u64) {
        let settling = self.logging.settling.get_mut(&txn).expect("a part belongs to a transaction");
        settling.waiting -= 1;
        if settling.waiting > 0 {
            return;
        }
        let Settling { client, participants, .. } =
            self.logging.settling.remove(&txn).expect("it was found above");
        for shard in participants {
            self.send(shard, Packet::Unlock { coordinator: self.id, txn });
        }
        let Some(mut connection) = client.and_then(|client| self.clients.take(client)) else { return };
        if connection.suspension == Suspension::Settling {
            self.go_on(&mut connection);
        }
        self.put_back_or_end(connection);
    }

    /// The end of a turn: what it has to tell waits until its log is durable. What has waited long enough goes.
    pub(super) fn hold_turn(&mut self) {
        self.log_effects();
        self.brake_if_needed();
        let Logging { log, held, settling, .. } = &self.logging;
        if log.is_some() || !held.is_empty() || !settling.is_empty() {
            self.hold_what_is_new();
        }
        if !self.logging.released.is_empty() {
            self.outbox.splice(0..0, self.logging.released.drain(..));
        }
    }

    fn hold_what_is_new(&mut self) {
        let place = self.place_of_turn();
        #[cfg(test)]
        let place = place.filter(|_| self.logging.breach != Breach::TellsAtOnce);
        // What need not wait for the log goes behind what does: the policy may have changed, or the log be off.
        let place = match (place, self.logging.held.back()) {
            (Some(place), _) => place,
            (None, Some(last)) => last.place,
            (None, None) => return self.hold_back_settling(),
        };
        if self.flush.is_empty() && self.outbox.iter().all(|(_, packet)| packet.is_mere_request()) {
            return;
        }
        let mut replies = Vec::with_capacity(self.flush.len());
        let clients = &mut self.clients;
        self.flush.retain(|&client| {
            let Some(connection) = clients.get_mut(client) else { return false };
            let mut goes_now = false;
            if connection.suspension != Suspension::Settling {
                replies.push((client, connection.output.hold()));
                // What an earlier sync has made durable.
                goes_now = connection.output.sendable().1 > 0;
            }
            connection.flags.flush_queued = goes_now;
            goes_now
        });
        let packets = self.outbox.extract_if(.., |(_, packet)| !packet.is_mere_request()).collect();
        self.logging.held.push_back(HeldTurn { place, replies, packets });
    }

    /// Where the log has to be durable before this turn may be told of; `None` if it is, or nobody waits for that.
    fn place_of_turn(&self) -> Option<Place> {
        let log = self.logging.log.as_ref().filter(|log| log.policy() == Policy::Always)?;
        let position = log.position();
        (position > log.durable()).then_some(Place { log: self.logging.ended, position })
    }

    /// Replies of transactions that are not durable everywhere stay, whatever else their clients are sent.
    fn hold_back_settling(&mut self) {
        if self.logging.settling.is_empty() {
            return;
        }
        let clients = &mut self.clients;
        self.flush.retain(|&client| {
            let Some(connection) = clients.get_mut(client) else { return false };
            connection.flags.flush_queued = connection.suspension != Suspension::Settling;
            connection.flags.flush_queued
        });
    }

    /// The log has become durable up to some position: whoever waited for that goes on.
    pub fn log_is_durable(&mut self) {
        while self.logging.held.front().is_some_and(|turn| self.logging.is_durable(turn.place)) {
            let turn = self.logging.held.pop_front().expect("it was found above");
            self.logging.released.extend(turn.packets);
            for (client, until) in turn.replies {
                let Some(connection) = self.clients.get_mut(client) else { continue };
                connection.output.release(until);
                if !connection.flags.flush_queued {
                    connection.flags.flush_queued = true;
                    self.flush.push(client);
                }
            }
        }
        while self.logging.parts.front().is_some_and(|(place, ..)| self.logging.is_durable(*place)) {
            let (_, coordinator, txn) = self.logging.parts.pop_front().expect("it was found above");
            self.send(coordinator, Packet::PartIsDurable { txn });
        }
        self.run_loopback();
    }

    /// What the log wants to have done on its files.
    pub fn next_log_action(&mut self) -> Option<Action> {
        self.log_effects();
        let now_us = self.now.monotonic_us;
        let ending = self.logging.ending.as_mut().and_then(|log| log.next_action(now_us));
        let action = ending.or_else(|| self.logging.log.as_mut()?.next_action(now_us));
        if matches!(action, Some(Action::Sync { .. })) {
            self.logging.sync_began_us = Some(now_us);
            self.process.aof.note_syncing(self.id, true);
        }
        action
    }

    /// The end of what is logged here; what came before it is to become durable.
    pub fn logged_to(&mut self) -> u64 {
        self.log_effects();
        self.logging.log.as_ref().map_or(0, |log| log.position().bytes())
    }

    /// When the log may want something although nothing happens until then, in monotonic microseconds.
    pub fn next_log_action_us(&self) -> Option<u64> {
        self.logging.log.as_ref()?.next_action_us()
    }

    /// The log that writes to this segment: the present one, or one that was switched off and is not finished.
    fn log_of(&mut self, file: FileNumber) -> Option<&mut ShardLog> {
        let Logging { log, ending, .. } = &mut self.logging;
        [ending, log].into_iter().filter_map(|log| log.as_deref_mut()).find(|log| log.file() == file)
    }

    pub fn log_write_ended(&mut self, file: FileNumber, outcome: io::Result<usize>) {
        self.stats.log_writes += 1;
        self.stats.log_written_bytes += *outcome.as_ref().unwrap_or(&0) as u64;
        let Some(log) = self.log_of(file) else { return };
        log.write_ended(outcome);
        self.log_has_moved();
    }

    pub fn log_sync_ended(&mut self, file: FileNumber, outcome: io::Result<()>) {
        self.stats.log_syncs += 1;
        if let Some(began_us) = self.logging.sync_began_us.take() {
            self.process.aof.note_syncing(self.id, false);
            if self.now.monotonic_us.saturating_sub(began_us) >= LATE_SYNC_US {
                self.process.aof.note_late_sync(self.id);
            }
        }
        let Some(log) = self.log_of(file) else { return };
        log.sync_ended(outcome);
        self.log_has_moved();
        self.log_is_durable();
    }

    /// A log that was switched off is not written to its end yet.
    pub fn has_ending_log(&self) -> bool {
        self.logging.ending.is_some()
    }

    /// Tell the process how far this log is.
    pub(super) fn note_log_position(&mut self) {
        self.log_effects();
        if let Some(log) = &self.logging.log {
            let [logged_to, written_to, durable_to] =
                [log.position(), log.written_to(), log.durable()].map(Position::bytes);
            if self.process.aof.note_positions(self.id, logged_to, written_to, durable_to) {
                self.wake_log_waits();
            }
        }
    }

    fn log_has_moved(&mut self) {
        self.note_log_position();
        if self.logging.log.as_ref().is_some_and(|log| log.failure().is_some()) {
            self.log_has_failed();
        }
        self.take_the_brake_off();
        self.end_the_ending();
    }

    /// A log that was switched off is through, or has failed and is written no further.
    fn end_the_ending(&mut self) {
        let ended = |log: &ShardLog| log.failure().is_some() || log.durable() == log.position();
        if self.logging.ending.as_deref().is_some_and(|log| !log.is_busy() && ended(log)) {
            self.logging.ending = None;
            self.log_is_durable();
        }
    }

    /// Bytes that wait to be written to the log.
    pub(crate) fn unwritten_log_bytes(&self) -> usize {
        self.logging.log.as_ref().map_or(0, |log| log.unwritten_bytes() as usize)
    }

    /// More than so many bytes wait to be written.
    pub(super) fn log_is_behind(&self, bytes: u64) -> bool {
        self.logging.log.as_ref().is_some_and(|log| log.unwritten_bytes() > bytes)
    }

    /// The server ends: what is logged is synced as soon as it can be.
    pub fn hurry_log(&mut self) {
        self.log_effects();
        self.logging.hurries = true;
        if let Some(log) = &mut self.logging.log {
            log.finish();
        }
    }

    /// Everything is durable and told to be so, or can't be.
    pub fn log_is_finished(&self) -> bool {
        self.logging.log.as_ref().is_none_or(|log| log.is_finished())
    }

    /// No packet waits for the log, and no transaction for its parts.
    #[cfg(test)]
    pub(super) fn is_between_transactions(&self) -> bool {
        let Logging { held, released, parts, settling, .. } = &self.logging;
        let tells_nobody = held.iter().all(|turn| turn.packets.is_empty());
        tells_nobody && released.is_empty() && parts.is_empty() && settling.is_empty()
    }

    /// Something waits for the log.
    pub fn awaits_log(&self) -> bool {
        let Logging { held, released, parts, settling, .. } = &self.logging;
        !(held.is_empty() && released.is_empty() && parts.is_empty() && settling.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    const OK: &str = "+OK";
    const REFUSED: &str = "-MISCONF Errors writing to the AOF file: No space left on device";

    /// The new segment of a log that has failed is there.
    fn mend(bench: &mut Bench, shard: usize) {
        let (send, replacing) = channel();
        send.send(Ok((FileNumber(2), SegmentFd::nowhere()))).expect("it is listened to");
        let shard = bench.shard(shard);
        shard.logging.replacing = Some(replacing);
        shard.mend_log();
    }

    #[test]
    fn under_always_replies_wait_for_the_disk() {
        let mut bench = Bench::new("--appendfsync always --appendonly yes");
        bench.begin_logs();
        bench.check("SET a 1", "");
        bench.connect();
        bench.check("GET a", "");
        bench.check("PING", "");
        assert_eq!(bench.write_logs(0), 1);
        assert_eq!(bench.take_received(), "$1 1 +PONG");
        bench.check("PING", "+PONG");
        bench.switch(0);
        assert_eq!(bench.take_received(), OK);
        bench.check("GET a", "$1 1");
    }

    #[test]
    fn what_comes_during_a_sync_waits_for_the_next() {
        let mut bench = Bench::new("--appendfsync always --appendonly yes");
        bench.begin_logs();
        bench.check("SET a 1", "");
        let first = bench.begin_write(0);
        bench.check("SET a 2", "");
        bench.end_write(0, first);
        assert_eq!(bench.take_received(), OK);
        assert_eq!(bench.write_logs(0), 1);
        assert_eq!(bench.take_received(), OK);
    }

    #[test]
    fn a_transaction_waits_for_all_shards_and_keeps_its_locks() {
        let mut bench = Bench::with_shards(2, "--appendfsync always --appendonly yes");
        bench.begin_logs();
        // These keys lie on different shards.
        bench.check("MSET a 1 b 2", "");
        bench.connect();
        bench.connect();
        bench.check("GET a", "");
        bench.switch(0);
        bench.write_logs(0);
        assert_eq!(bench.take_received(), "", "the other shard's part may still be lost");
        bench.write_logs(1);
        assert_eq!(bench.take_received(), OK);
        bench.switch(2);
        assert_eq!(bench.take_received(), "$1 1");
    }

    #[test]
    fn otherwise_nobody_waits() {
        for policy in ["everysec", "no"] {
            let mut bench = Bench::with_shards(2, &format!("--appendfsync {policy} --appendonly yes"));
            bench.begin_logs();
            bench.check("SET a 1", OK);
            bench.check("MSET a 1 b 2", OK);
            bench.check("MULTI\nINCR a\nINCR b\nEXEC", "+OK +QUEUED +QUEUED *2 :2 :3");
            assert_eq!(bench.write_logs(0) + bench.write_logs(1), 2);
        }
    }

    #[test]
    fn a_log_that_cannot_be_written_refuses_writes() {
        let mut bench = Bench::new("--appendonly yes");
        bench.begin_logs();
        bench.check("SET a 1", OK);
        bench.fail_write(0);
        bench.check("SET a 2", REFUSED);
        bench.check("GET a", "$1 1");
        mend(&mut bench, 0);
        bench.check("SET a 2", OK);
    }

    #[test]
    fn writes_are_refused_until_the_last_log_is_mended() {
        let mut bench = Bench::with_shards(2, "--appendonly yes");
        bench.begin_logs();
        // These keys lie on different shards.
        bench.check("SET a 1", OK);
        bench.check("SET b 1", OK);
        bench.fail_write(0);
        bench.fail_write(1);
        mend(&mut bench, 0);
        bench.check("SET a 2", REFUSED);
        bench.pass_ms(100);
        bench.check("SET b 2", REFUSED);
        mend(&mut bench, 1);
        bench.pass_ms(100);
        bench.check("MSET a 2 b 2", OK);
    }

    #[test]
    fn late_syncs_are_counted() {
        let mut bench = Bench::new("--appendonly yes");
        bench.begin_logs();
        for (ms, late) in [(999, 0), (1_000, 1)] {
            bench.pass_ms(2_000);
            bench.check("SET a 1", OK);
            let written = bench.begin_write(0);
            bench.shard(0).log_write_ended(FileNumber(1), Ok(written));
            let action = bench.shard(0).next_log_action();
            assert!(matches!(action, Some(Action::Sync { .. })), "{action:?}");
            let process = Arc::clone(&bench.shard(0).process);
            assert_eq!(process.aof.syncs(), (1, 0));
            bench.pass_ms(ms);
            bench.shard(0).log_sync_ended(FileNumber(1), Ok(()));
            assert_eq!(process.aof.syncs(), (0, late));
        }
    }

    /// Who waits for a log that is switched off hears when that is written, or has failed; who comes later goes behind.
    #[test]
    fn a_log_that_is_switched_off_still_keeps_its_promises() {
        for fails in [false, true] {
            let mut bench = Bench::with_shards(2, "--appendfsync always --appendonly yes");
            bench.begin_logs();
            bench.shard(0).process.aof.update(|state| state.is_on = true);
            // These keys lie on different shards.
            bench.check("MSET a 1 b 2", "");
            bench.connect();
            bench.connect();
            bench.check("SET c 1", "");
            let bytes = bench.begin_write(0);
            bench.check("CONFIG SET appendonly no", "");
            (0..2).for_each(|shard| bench.shard(shard).apply_log_settings());
            bench.settle();
            bench.check("PING", "");
            bench.switch(0);
            assert_eq!(bench.take_received(), "", "{fails}");
            if fails {
                let full = || io::Error::from_raw_os_error(libc::ENOSPC);
                bench.shard(0).log_write_ended(FileNumber(1), Err(full()));
                bench.shard(0).log_sync_ended(FileNumber(1), Err(full()));
                bench.settle();
            } else {
                bench.end_write(0, bytes);
            }
            bench.write_logs(1);
            assert_eq!(bench.take_received(), OK, "{fails}");
            bench.check("MSET a 3 b 4", OK);
            bench.switch(2);
            assert_eq!(bench.take_received(), "+OK +OK +PONG", "{fails}");
            assert!((0..2).all(|shard| !bench.shard(shard).awaits_log()), "{fails}");
        }
    }

    /// A transaction that was planned under `always` meets a shard whose log is off already.
    #[test]
    fn a_part_without_a_log_is_told_of() {
        let mut bench = Bench::with_shards(2, "--appendfsync always --appendonly yes");
        bench.begin_logs();
        bench.shard(1).logging.log = None;
        bench.check("MSET a 1 b 2", "");
        bench.write_logs(0);
        bench.switch(0);
        assert_eq!(bench.take_received(), OK);
        bench.check("GET b", "$1 2");
        assert!((0..2).all(|shard| !bench.shard(shard).awaits_log()));
    }

    /// Nobody waits any longer than for what was held when the policy changed.
    #[test]
    fn turns_are_held_no_more_under_a_weaker_policy() {
        let mut bench = Bench::new("--appendfsync always --appendonly yes");
        bench.begin_logs();
        bench.shard(0).process.aof.update(|state| state.is_on = true);
        bench.check("SET a 1", "");
        let bytes = bench.begin_write(0);
        bench.connect();
        bench.check("CONFIG SET appendfsync everysec", "");
        bench.shard(0).apply_log_settings();
        bench.check("SET a 2", "");
        bench.end_write(0, bytes);
        assert_eq!(bench.take_received(), "+OK +OK");
        bench.check("SET a 3", OK);
    }

    /// Nothing is left of the failure, and a new segment that comes too late is nobody's.
    #[test]
    fn a_log_that_is_switched_off_fails_no_more() {
        let mut bench = Bench::new("--appendonly yes");
        bench.begin_logs();
        bench.check("SET a 1", OK);
        bench.fail_write(0);
        bench.check("SET a 2", REFUSED);
        bench.check("CONFIG SET appendonly no", OK);
        bench.shard(0).apply_log_settings();
        bench.shard(0).mend_log();
        bench.pass_ms(100);
        bench.check("SET a 2", OK);
        assert!(!bench.shard(0).has_ending_log());
    }
}
