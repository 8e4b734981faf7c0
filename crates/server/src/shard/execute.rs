//! Running data commands on this shard's keyspace.
//!
//! Owns the call of a handler: context, error reply, statistics, change stream, and the queue of commands that met a
//! lock. Hot path. Never routes, and never lets a command wait once it has begun.

use torc_commands::{Context, Handler, Run, Waiting, effects, keys};
use torc_resp::{Args, CommandError, OwnedArgs, Proto, Reply, ReplyBuf};

use crate::connection::Connection;
use crate::locks::{Mode, RequestId, Scope};
use crate::packet::{Invocation, LateReply, Packet, ReturnAddress};
use crate::registry::{Registered, Route};

use super::command_log::{LogKind, Origin};
use super::dispatch::key_list;
use super::stats::CommandStats;
use super::{Shard, Waiter};

/// Commands of a pipeline follow each other: where one ends the next begins, and the counter, which costs as much as a
/// small command does, is read once for both.
#[derive(Default)]
pub(super) struct PipelineTime {
    /// Requests of one connection or batch are run one after the other.
    is_on: bool,
    /// When the last one ended; `None` when something else was done since.
    ended: Option<u64>,
}

impl PipelineTime {
    /// Requests are run, from the first on.
    #[inline]
    pub(super) fn start(&mut self) {
        *self = PipelineTime { is_on: true, ended: None };
    }

    /// Something else is done that is nobody's time.
    #[inline]
    pub(super) fn interrupt(&mut self) {
        self.ended = None;
    }

    #[inline]
    pub(super) fn stop(&mut self) {
        *self = PipelineTime::default();
    }
}

/// A single-shard command that waits for locks on this shard.
pub(crate) struct Deferred {
    pub(super) invocation: Invocation,
    pub(super) args: OwnedArgs,
    pub(super) address: ReturnAddress,
}

impl Shard {
    /// Run a command here and now; its reply goes to `out`. The caller has made sure that no lock stands against it.
    pub(super) fn execute(&mut self, invocation: Invocation, run: Run, args: Args<'_>, out: &mut ReplyBuf) {
        match run {
            Run::OnShard(handler)
            | Run::MayWait { handler, .. }
            | Run::Anywhere { handler, .. }
            | Run::Split { handler, .. }
            | Run::ByCursor { handler, .. } => {
                self.call_handler(invocation, handler, args, out);
            }
            Run::EveryShard { handler, fold, .. } => {
                let mut part = ReplyBuf::new();
                self.call_handler(invocation, handler, args, &mut part);
                fold(&[part], self.rng.next_u64(), invocation.proto, out);
            }
            Run::Container => unreachable!("containers are resolved to a subcommand"),
        }
    }

    #[inline]
    pub(super) fn call_handler(
        &mut self,
        invocation: Invocation,
        handler: Handler,
        args: Args<'_>,
        out: &mut ReplyBuf,
    ) {
        if self.hot_keys.is_due() {
            self.sample_keys(invocation, args);
        }
        let started = self.begins();
        let len_before = out.len();
        if self.changes.is_observed() | invocation.remembers_reads {
            self.changes.actor = self.acting.token();
        }
        self.keyspace.shows_expired = invocation.shows_expired;
        let mut context = Context {
            keyspace: &mut self.keyspace,
            db: invocation.db as usize,
            now_ms: self.now.unix_ms,
            rng: &mut self.rng,
            settings: &self.settings,
            changes: &mut self.changes,
            slots: &self.slots,
            shard: self.id,
            no_touch: invocation.no_touch,
            key_hint: self.key_hint,
            waiting: Shard::waiting_of(invocation),
            others: &mut self.others,
        };
        let dirty_before = context.changes.dirty;
        let outcome = handler(&mut context, args, &mut Reply::new(out, invocation.proto));
        if context.changes.effects.is_on() && outcome.is_ok() {
            complete_effects(&mut context, invocation, args, dirty_before);
        }
        if let Waiting::Wanted(wait) = context.waiting {
            // It is counted when it has ended.
            self.waiting = Some(wait);
            return;
        }
        let failed = outcome.is_err();
        if let Err(error) = outcome {
            self.stats.count_error(error.code());
            Reply::new(out, invocation.proto).error(&error);
        }
        if invocation.remembers_reads {
            self.remember_reads(invocation, args);
        }
        let reply_bytes = out.len() - len_before;
        if self.state.is_large_reply(reply_bytes) {
            self.note_in_log(LogKind::LargeReply, reply_bytes as u64, invocation.command, args);
        }
        self.account(invocation.command, started, failed, args);
    }

    /// The client caches what a command has read.
    #[cold]
    fn remember_reads(&mut self, invocation: Invocation, args: Args<'_>) {
        let db = invocation.db as usize;
        // Of a request that makes no sense the command has read nothing.
        let _ = keys::for_each(invocation.command.spec, args, |index, _| {
            self.changes.remembered(db, args.get(index));
        });
    }

    /// Reading of the cycle counter at the beginning of a command.
    #[inline]
    fn begins(&mut self) -> u64 {
        self.pipeline_time.ended.take().unwrap_or_else(|| (self.cycles)())
    }

    /// The counter that times single commands.
    pub(crate) fn cycles_now(&self) -> u64 {
        (self.cycles)()
    }

    /// Run a handler that only looks at keys of this shard: without statistics, and past all locks.
    pub fn look(
        &mut self,
        db: usize,
        proto: Proto,
        handler: Handler,
        args: Args<'_>,
    ) -> Result<ReplyBuf, CommandError> {
        let mut reply = ReplyBuf::new();
        let mut context = Context {
            keyspace: &mut self.keyspace,
            db,
            now_ms: self.now.unix_ms,
            rng: &mut self.rng,
            settings: &self.settings,
            changes: &mut self.changes,
            slots: &self.slots,
            shard: self.id,
            no_touch: true,
            key_hint: None,
            waiting: Waiting::Denied,
            others: &mut [],
        };
        handler(&mut context, args, &mut Reply::new(&mut reply, proto))?;
        Ok(reply)
    }

    /// Statistics of one command that ran.
    #[inline]
    pub(crate) fn account(
        &mut self,
        command: &'static Registered,
        started: u64,
        failed: bool,
        args: Args<'_>,
    ) {
        let ended = (self.cycles)();
        if self.pipeline_time.is_on {
            self.pipeline_time.ended = Some(ended);
        }
        let ns = (self.cycles_to_ns)(ended.wrapping_sub(started));
        self.stats.commands_processed += 1;
        self.stats.commands[command.id as usize].record(ns, failed);
        if self.state.notices(ns) {
            self.note_long(command, ns, args);
        }
    }

    /// Run parts of a command that is counted as one elsewhere: of its statistics only the time is kept here.
    pub(super) fn uncounted(&mut self, command: &'static Registered, run: impl FnOnce(&mut Shard)) {
        let id = command.id as usize;
        let before = self.stats.commands[id];
        let processed = self.stats.commands_processed;
        run(self);
        let ns = self.stats.commands[id].ns;
        self.stats.commands[id] = CommandStats { ns, ..before };
        self.stats.commands_processed = processed;
    }

    /// Count a command whose parts ran on several shards. `started`: reading of the cycle counter.
    pub(super) fn count_whole(&mut self, command: &'static Registered, started: u64, reply: &ReplyBuf) {
        let ns = (self.cycles_to_ns)((self.cycles)().wrapping_sub(started));
        let failed = reply.bytes().first() == Some(&b'-');
        self.stats.commands_processed += 1;
        let stats = &mut self.stats.commands[command.id as usize];
        let before_ns = stats.ns;
        stats.record(ns, failed);
        // The parts have their own time.
        stats.ns = before_ns;
    }

    /// A command took long enough for the slow log or the latency monitor.
    #[cold]
    fn note_long(&mut self, command: &'static Registered, ns: u64, args: Args<'_>) {
        if self.state.slow_log_wants(ns) {
            self.note_in_log(LogKind::Slow, ns / 1000, command, args);
        }
        self.note_latency(Shard::latency_event_of(command), ns);
    }

    /// Does a lock stand against running this command on this shard now?
    #[inline]
    pub(super) fn must_queue(&self, command: &Registered, run: Run, args: Args<'_>) -> bool {
        !self.locks.is_empty() && self.meets_lock(command, run, args)
    }

    fn meets_lock(&self, command: &Registered, run: Run, args: Args<'_>) -> bool {
        match self.scope_of(command, run, args) {
            Scope::Whole(mode) => self.locks.conflicts_whole(mode),
            Scope::Keys(keys) => {
                let mode = keys.iter().map(|&(_, mode)| mode).max().unwrap_or(Mode::Shared);
                self.locks.conflicts(keys.into_iter().map(|(key, _)| key), mode)
            }
        }
    }

    /// What a single-shard command has to hold while it runs.
    fn scope_of(&self, command: &Registered, run: Run, args: Args<'_>) -> Scope {
        match run {
            Run::ByCursor { .. } => Scope::Whole(Mode::Shared),
            Run::Anywhere { reaches, .. } if reaches(args) => Scope::Whole(Mode::Exclusive),
            Run::EveryShard { writes, .. } => {
                Scope::Whole(if writes { Mode::Exclusive } else { Mode::Shared })
            }
            _ => {
                let keys = key_list(command, args);
                let keys = keys.iter().map(|&(index, mode)| (self.fingerprint(args.get(index)), mode));
                Scope::Keys(keys.collect())
            }
        }
    }

    /// What the lock table knows a key by. Databases share it: locking a key locks it in all of them.
    #[inline]
    pub(super) fn fingerprint(&self, key: &[u8]) -> u64 {
        self.key_fingerprints.hash_one(key)
    }

    pub(super) fn address(&self, connection: &Connection, slot: u32) -> ReturnAddress {
        ReturnAddress { shard: self.id, client: connection.key, slot }
    }

    /// Queue a command behind the locks it met. Its reply is sent to `address` when it has run.
    pub(super) fn defer(&mut self, invocation: Invocation, args: OwnedArgs, address: ReturnAddress) {
        let Route::Data(run) = invocation.command.route else {
            unreachable!("only data commands meet locks");
        };
        let scope = self.scope_of(invocation.command, run, args.as_args());
        let waiter = Waiter::Command(Box::new(Deferred { invocation, args, address }));
        let (id, granted) = self.locks.acquire_plain(scope, waiter);
        if let Some(waiter) = granted {
            self.run_waiter(id, waiter);
        }
    }

    /// A queued request has its locks: do what it waited for.
    pub(super) fn run_waiter(&mut self, id: RequestId, waiter: Waiter) {
        match waiter {
            Waiter::Command(deferred) => {
                let Route::Data(run) = deferred.invocation.command.route else {
                    unreachable!("only data commands meet locks");
                };
                let mut reply = ReplyBuf::new();
                let Deferred { invocation, args, address } = *deferred;
                let ReturnAddress { shard, client, slot } = address;
                self.acting = Origin { shard, client: Some(client) };
                self.make_room_for(invocation.command, invocation.db as usize);
                self.execute(invocation, run, args.as_args(), &mut reply);
                self.settle_logs();
                match self.waiting.take() {
                    Some(wait) => self.begin_wait(invocation, args.as_args(), *wait, address),
                    None => self.send(shard, Packet::LateReply(Box::new(LateReply { client, slot, reply }))),
                }
                self.serve_waiting(Some(id));
                self.release_locks(id);
            }
            Waiter::Brake => self.brake_is_on(id),
            Waiter::Walk(walk) => self.run_waiting_walk(id, *walk),
            Waiter::Prepared(prepare) => self.prepared(id, *prepare),
        }
    }

    /// Give locks back and run everything that waited only for them.
    pub(super) fn release_locks(&mut self, id: RequestId) {
        let mut ready = Vec::new();
        self.locks.release(id, &mut ready);
        for (id, waiter) in ready {
            self.run_waiter(id, waiter);
        }
    }
}

/// What a command that has run leaves for the log.
fn complete_effects(context: &mut Context<'_>, invocation: Invocation, args: Args<'_>, dirty_before: u64) {
    let Route::Data(run) = invocation.command.route else {
        unreachable!("only data commands have handlers");
    };
    effects::complete(context, invocation.command.spec, run, args, dirty_before);
}
