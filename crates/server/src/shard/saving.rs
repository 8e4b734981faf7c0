//! Snapshots, as far as this shard has to do with them.
//!
//! Owns this shard's walk over its keys, and the saves and shutdowns that it has begun for its connections (or, on shard
//! 0, for the server itself). The cut is a barrier over all shards; after it the walk goes on in slices between turns of
//! the loop, while commands run. Never writes a file: saved keys go to the thread of the job.

use std::sync::mpsc::channel;
use std::sync::{Arc, atomic::Ordering};
use std::time::Duration;

use torc_keyspace::SavePlan;
use torc_persist::rdb::Database;
use torc_resp::CommandError;
use torc_runtime::{beside, signals};

use crate::aof::Prepared;
use crate::aof::load::{AofLoad, LoadedAof};
use crate::clients::ClientKey;
use crate::connection::Connection;
use crate::metrics::Failure;
use crate::packet::Homecoming;
use crate::process::Phase;
use crate::saving::load::{LoadPlan, Loaded, path_of};
use crate::saving::loading::Inheritance;
use crate::saving::{self, FilePlan, Kind, Message, SaveJob};
use crate::session::Flow;

use super::{LoopRequest, Shard};

/// Keys that are looked at between two readings of the clock.
const KEYS_PER_STEP: usize = 16;
/// Time that one slice of the walk may take.
const SLICE_NS: u64 = 60_000;
/// The same where no clock runs.
const STEPS_PER_SLICE_MAX: usize = 256;
/// Saved bytes that are handed over at once.
const PART_BYTES: usize = 64 * 1024;
/// After a failed save, save points rest for this long (Redis's number).
const RETRY_MS: i64 = 5_000;
/// Pause between two looks at whether the logs are written.
const LOG_POLL: Duration = Duration::from_millis(1);
/// What `rdb-key-save-delay` lets pass in one tick.
const TICK_US: i64 = 100_000;

/// The second end of a save or a shutdown.
pub(super) enum Purpose {
    /// SAVE
    Save(ClientKey),
    /// BGSAVE, or a save point.
    Background,
    /// BGREWRITEAOF, a log that has grown, or one that begins.
    Rewrite(Prepared),
    /// DEBUG RELOAD
    Reload { client: ClientKey, options: ReloadOptions },
    /// DEBUG LOADAOF
    LoadLog { client: ClientKey },
    /// SHUTDOWN or a signal.
    Shutdown { client: Option<ClientKey>, is_forced: bool },
}

/// What has become of a wish to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Began {
    Now,
    /// It begins when what is under way has ended.
    Scheduled,
}

#[derive(Clone, Copy, Debug)]
pub struct ReloadOptions {
    pub saves: bool,
    /// The keys that are there go first.
    pub flushes: bool,
}

#[derive(Default)]
pub(super) struct Saving {
    /// This shard's part of the save under way.
    job: Option<Arc<SaveJob>>,
    has_abandoned: bool,
    /// Of the keys that this shard's snapshots have saved, those that a job was told of.
    keys_told: u64,
    /// `rdb-key-save-delay`: time that may be spent on keys.
    credit_us: i64,
    /// The save that this shard has begun.
    begun: Option<Begun>,
    /// Purposes that wait for another shard's save to end.
    waiting: Vec<Purpose>,
    /// The last snapshot is being taken: nothing may change any more.
    is_sealed: bool,
}

struct Begun {
    purpose: Purpose,
    job: Option<Arc<SaveJob>>,
    txn: u64,
}

impl Shard {
    /// BGSAVE: now, or, if it may wait, as soon as no rewrite is under way.
    pub fn save_in_background(&mut self, may_wait: bool) -> Result<Began, CommandError> {
        if self.process.saves.state().running.is_some_and(|job| job.kind != Kind::Rewrite) {
            return Err(IN_PROGRESS);
        }
        match (self.process.aof.state().rewrite_began_ms.is_some(), may_wait) {
            (_, true) => {
                self.process.saves.schedule(true);
                Ok(Began::Scheduled)
            }
            (true, false) => Err(CommandError::Text(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to \
                 schedule a BGSAVE whenever possible.",
            )),
            (false, false) => {
                self.begin_save(Purpose::Background).map_err(|_| IN_PROGRESS)?;
                Ok(Began::Now)
            }
        }
    }

    /// SAVE: the client waits for its end, and for that of a rewrite or of another client's SAVE before it.
    pub fn save_for(&mut self, connection: &Connection) -> Result<Flow, CommandError> {
        if self.process.saves.state().running.is_some_and(|job| job.kind == Kind::Background) {
            return Err(IN_PROGRESS);
        }
        self.begin_or_wait(Purpose::Save(connection.key));
        Ok(Flow::Later)
    }

    /// DEBUG RELOAD: all shards stand still until all keys are back.
    pub fn reload_for(&mut self, connection: &Connection, options: ReloadOptions) -> Flow {
        self.begin_or_wait(Purpose::Reload { client: connection.key, options });
        Flow::Later
    }

    /// DEBUG LOADAOF: all shards stand still until their log is read back.
    pub fn load_log_for(&mut self, connection: &Connection) -> Flow {
        self.begin_or_wait(Purpose::LoadLog { client: connection.key });
        Flow::Later
    }

    /// SHUTDOWN with a last snapshot, for which a save that is under way is given up. While data are loaded there is
    /// nothing to save, and what is on disk must stay.
    pub fn save_and_shut_down(&mut self, client: Option<ClientKey>, is_forced: bool) -> Flow {
        self.process.phase.set(Phase::Stopping);
        if self.state.is_loading {
            self.request(LoopRequest::Shutdown);
            return Flow::Later;
        }
        self.process.saves.cancel();
        self.begin_or_wait(Purpose::Shutdown { client, is_forced });
        Flow::Later
    }

    /// The process was asked to end.
    pub fn shut_down_by_signal(&mut self) {
        if self.state.config.save().is_empty() || self.state.is_loading {
            return self.request(LoopRequest::Shutdown);
        }
        tracing::info!("asked to end: saving the last snapshot");
        self.save_and_shut_down(None, false);
    }

    /// Nothing may change any more, so nobody waits for what cannot happen.
    pub fn is_sealed(&self) -> bool {
        self.saving.is_sealed
    }

    /// Whoever held this shard still has let go.
    pub(super) fn unseal(&mut self) {
        self.saving.is_sealed = false;
    }

    pub(super) fn begin_or_wait(&mut self, purpose: Purpose) {
        if let Err(purpose) = self.begin_save(purpose) {
            let waiting = &mut self.saving.waiting;
            // The end of the server does not wait for what else does.
            let at = if matches!(purpose, Purpose::Shutdown { .. }) { 0 } else { waiting.len() };
            waiting.insert(at, purpose);
        }
    }

    /// Begins a save, or gives the purpose back because one is under way.
    fn begin_save(&mut self, mut purpose: Purpose) -> Result<(), Purpose> {
        let saves = !matches!(
            purpose,
            Purpose::Reload { options: ReloadOptions { saves: false, .. }, .. } | Purpose::LoadLog { .. }
        );
        if self.saving.begun.is_some() || (saves && !self.begin_job(&mut purpose)) {
            return Err(purpose);
        }
        let job = saves.then(|| self.process.saves.state().running.expect("it has just begun"));
        let txn = self.begin_hold(job.as_ref());
        self.saving.begun = Some(Begun { purpose, job, txn });
        Ok(())
    }

    /// A job and the thread of its file; false if another one is under way.
    fn begin_job(&mut self, purpose: &mut Purpose) -> bool {
        if self.process.saves.state().running.is_some() {
            return false;
        }
        let config = &self.state.config;
        let (to_file, messages) = channel();
        let temporary = config.dir().join(format!("temp-{}.rdb", self.process.pid));
        let mut plan = FilePlan {
            path: path_of(config),
            keys: self.process.keys.clone(),
            shards: self.shards(),
            owner: self.id,
            sums: config.rdbchecksum(),
            syncs_often: config.rdb_save_incremental_fsync(),
            functions: self.process.saves.functions(),
            used_bytes: crate::memory::allocated(),
            server: self.server.clone(),
            is_base: false,
            at_end: None,
        };
        let (shards, now_ms) = (self.shards(), self.now.unix_ms);
        let mut job = match purpose {
            Purpose::Rewrite(prepared) => {
                let temporary = prepared.base.with_extension("tmp");
                plan.path = prepared.base.clone();
                plan.is_base = true;
                plan.syncs_often = config.aof_rewrite_incremental_fsync();
                let (process, slots) = (Arc::clone(&self.process), Arc::clone(&self.slots));
                let generation = prepared.generation;
                plan.at_end = Some(Box::new(move || process.aof.take_over(generation, &slots)));
                let segments = std::mem::take(&mut prepared.segments);
                let log = self.process.aof.state();
                let of_log = log.is_on.then_some(log.switched_off);
                let job = SaveJob::new(Kind::Rewrite, shards, now_ms, temporary, to_file);
                job.with_segments(segments, of_log)
            }
            Purpose::Background => SaveJob::new(Kind::Background, shards, now_ms, temporary, to_file),
            _ => SaveJob::new(Kind::Foreground, shards, now_ms, temporary, to_file),
        };
        job.is_last = matches!(purpose, Purpose::Shutdown { .. });
        // The base of a log is for torc alone.
        if job.kind != Kind::Rewrite {
            job.version = config.rdb_version();
        }
        let job = Arc::new(job);
        let Some(job) = self.process.saves.begin(|| Arc::clone(&job)) else {
            if let Purpose::Rewrite(prepared) = purpose {
                prepared.segments = (0..shards as u16).filter_map(|shard| job.take_segment(shard)).collect();
            }
            return false;
        };
        beside::spawn("torc-save", move || saving::write(&job, plan, &messages));
        true
    }

    /// This shard's cut: from now on its keys are saved as they are in this moment.
    pub(super) fn begin_part_of_save(&mut self, job: Arc<SaveJob>) {
        let usage = (0..self.keyspace.databases()).map(|db| self.keyspace.usage(db));
        let counts = usage.map(|usage| Database { keys: usage.keys as u64, volatile: usage.volatile as u64 });
        job.count(self.changes.dirty, counts);
        self.keyspace.cut(SavePlan { compresses: self.settings.rdb_compression, version: job.version });
        if let Some(open) = job.take_segment(self.id) {
            let log = self.process.aof.state();
            // Nobody wants it if the log was switched off since this began.
            if log.is_on && job.of_log == Some(log.switched_off) {
                self.switch_log(open);
            }
        }
        self.saving.is_sealed = job.is_last;
        self.saving.has_abandoned = false;
        self.saving.credit_us = 0;
        self.saving.keys_told = self.keyspace.keys_saved();
        self.saving.job = Some(job);
    }

    /// All shards stand still: their cut is made.
    pub(super) fn all_stand_still(&mut self, txn: u64) {
        let begun = self.saving.begun.as_ref().expect("this shard has asked for it");
        if let Some(job) = &begun.job {
            job.send(Message::CutIsDone);
        }
        match begun.purpose {
            Purpose::Save(_) | Purpose::Background | Purpose::Rewrite(_) => {
                self.end_hold(txn, |_| Homecoming::Nothing);
            }
            Purpose::Reload { client, .. } if begun.job.is_none() => self.reload(client),
            Purpose::LoadLog { client } => self.load_log(client),
            Purpose::Reload { .. } | Purpose::Shutdown { .. } => {}
        }
    }

    /// Is there something to save, and room for it?
    pub(super) fn can_save_on(&self) -> bool {
        self.saving
            .job
            .as_ref()
            .is_some_and(|job| job.is_over() || (job.has_room(self.id) && self.has_credit()))
    }

    fn has_credit(&self) -> bool {
        let delay_us = self.state.config.rdb_key_save_delay();
        delay_us <= 0 || self.saving.credit_us >= delay_us
    }

    /// A slice of the walk.
    pub(super) fn save_slice(&mut self) {
        let Some(job) = self.saving.job.clone() else { return };
        if job.is_over() && !self.saving.has_abandoned {
            self.saving.has_abandoned = true;
            self.keyspace.abandon_snapshot();
        }
        job.held_bytes_max.fetch_max(self.keyspace.saved_bytes() as u64, Ordering::Relaxed);
        let delay_us = if job.is_over() { 0 } else { self.state.config.rdb_key_save_delay() };
        let started = (self.cycles)();
        for _ in 0..STEPS_PER_SLICE_MAX {
            let entries = if delay_us > 0 { 1 } else { KEYS_PER_STEP };
            self.saving.credit_us -= delay_us.max(0);
            let has_more = self.keyspace.snapshot_step(entries);
            while job.has_room(self.id)
                && let Some(part) = self.keyspace.take_saved(PART_BYTES)
            {
                job.send(Message::Part { shard: self.id, part });
            }
            let ns = (self.cycles_to_ns)((self.cycles)().wrapping_sub(started));
            let may_go_on = job.is_over() || (job.has_room(self.id) && self.has_credit());
            if !has_more || ns >= SLICE_NS || !may_go_on {
                break;
            }
        }
        let keys_saved = self.keyspace.keys_saved();
        let before = std::mem::replace(&mut self.saving.keys_told, keys_saved);
        job.keys_saved.fetch_add(keys_saved - before, Ordering::Relaxed);
        if !self.keyspace.has_snapshot() {
            job.send(Message::Through);
            self.saving.job = None;
        }
        self.take_the_brake_off();
    }

    /// More than so many bytes of the save under way wait to be taken away: its file is not written as fast as keys change that
    /// were not saved yet.
    pub(super) fn save_is_behind(&self, bytes: usize) -> bool {
        self.saving.job.is_some() && self.keyspace.saved_bytes() > bytes
    }

    /// Take what was loaded for this shard; when all shards have theirs, clients are served.
    pub fn go_on_loading(&mut self) {
        let process = Arc::clone(&self.process);
        if let Some(Inheritance { keyspace, segment }) = process.loading.take(self.id) {
            if let Some(keyspace) = keyspace {
                self.keyspace.replace_all(keyspace);
            }
            if let Some(segment) = segment {
                self.switch_log(segment);
            }
            process.loading.installed();
            if let Some(server) = self.server.as_ref().filter(|_| process.loading.is_over()) {
                server.wake_all();
            }
        }
        // A log without a base does not count yet: what would be acknowledged now could be lost.
        let is_loading = !process.loading.is_over() || process.aof.state().needs_base;
        if self.state.is_loading && !is_loading {
            self.state.is_loading = false;
            if self.id == 0 {
                process.phase.set(Phase::Ready);
                tracing::info!(
                    port = self.port(),
                    shards = self.shards(),
                    pid = process.pid,
                    "ready to accept connections"
                );
            }
        }
    }

    fn port(&self) -> u16 {
        self.process.tcp_port.load(Ordering::Relaxed)
    }

    /// Ten times a second: count changes, and on shard 0 begin what save points ask for.
    pub(super) fn save_tick(&mut self) {
        let saves = &self.process.saves;
        saves.note_changes(self.id, self.changes.dirty);
        self.saving.credit_us = self.saving.credit_us.saturating_add(TICK_US);
        let config = &self.state.config;
        self.state.refuses_writes =
            !saves.state().last_is_ok && !config.save().is_empty() && config.stop_writes_on_bgsave_error();
        // First of what both may want to begin: whoever has waited for a snapshot to end is not to wait for the next.
        self.log_tick();
        self.begin_what_is_due();
        self.go_on_saving();
    }

    /// Shard 0 begins scheduled snapshots, and those that save points ask for, while nothing is written.
    fn begin_what_is_due(&mut self) {
        let state = self.process.saves.state();
        let is_writing = state.running.is_some() || self.process.aof.state().rewrite_began_ms.is_some();
        if self.id != 0 || is_writing || self.cron_paused || self.state.is_loading {
            return;
        }
        let age_s = self.now.unix_ms / 1000 - state.last_save_s;
        let changes = self.process.saves.changes_since(&state);
        if !state.last_is_ok && self.now.unix_ms - state.last_try_ms <= RETRY_MS {
            return;
        }
        let due = self
            .state
            .config
            .save()
            .iter()
            .find(|point| changes > 0 && changes >= point.changes && age_s > point.seconds as i64);
        if let Some(point) = due {
            tracing::info!(changes, seconds = point.seconds, "a save point is due");
        }
        if due.is_some() || state.is_scheduled {
            // Another shard's save may have come first.
            let _ = self.begin_save(Purpose::Background);
        }
    }

    /// Go on with what waited for the end of a save.
    pub fn go_on_saving(&mut self) {
        let outcome = self.saving.begun.as_ref().and_then(|begun| begun.job.as_ref()?.take_outcome());
        if let Some(outcome) = outcome {
            self.save_has_ended(outcome);
        }
        self.go_on_rewriting();
        if self.saving.begun.is_none() && !self.saving.waiting.is_empty() {
            let purpose = self.saving.waiting.remove(0);
            if let Err(purpose) = self.begin_save(purpose) {
                let running = self.process.saves.state().running;
                if matches!(purpose, Purpose::Shutdown { .. }) && running.is_some_and(|job| !job.is_last) {
                    // Another shard was faster.
                    self.process.saves.cancel();
                }
                self.saving.waiting.insert(0, purpose);
            }
        }
    }

    fn save_has_ended(&mut self, outcome: Result<(), String>) {
        let begun = self.saving.begun.take().expect("it was begun here");
        let job = begun.job.as_ref().expect("a job has ended");
        self.process.saves.end(job, &outcome, self.now.unix_ms);
        let ms = self.now.unix_ms - job.started_ms;
        match (&outcome, job.kind) {
            (Ok(()), Kind::Rewrite) => tracing::info!(ms, "the base of the log is on disk"),
            (Ok(()), _) => tracing::info!(ms, "the snapshot is on disk"),
            (Err(_), Kind::Rewrite) if job.is_cancelled() => {
                tracing::info!("the base of the log was given up")
            }
            (Err(error), Kind::Rewrite) => tracing::warn!(%error, "the base of the log cannot be written"),
            (Err(_), _) if job.is_cancelled() => tracing::info!("the snapshot was given up"),
            (Err(error), _) => {
                Failure::Snapshot.count();
                tracing::warn!(%error, "the snapshot failed");
            }
        }
        match begun.purpose {
            Purpose::Background => {}
            Purpose::LoadLog { .. } => unreachable!("nothing is saved for it"),
            Purpose::Rewrite(_) => {
                let held_bytes = job.held_bytes_max.load(Ordering::Relaxed);
                self.process.aof.update(|state| state.last_held_bytes = held_bytes);
                self.rewrite_has_ended(job.of_log, outcome.is_ok());
            }
            Purpose::Save(client) => self.finish_step(client, |_shard, connection| {
                outcome.map_err(|error| CommandError::Owned(format!("ERR {error}").into()))?;
                connection.reply().ok();
                Ok(Flow::Done)
            }),
            Purpose::Reload { client, .. } => {
                if outcome.is_ok() {
                    self.saving.begun = Some(begun);
                    return self.reload(client);
                }
                self.end_hold(begun.txn, |_| Homecoming::Nothing);
                self.finish_step(client, |_shard, _connection| {
                    Err(CommandError::Text("ERR Error trying to save the RDB dump, check server logs."))
                });
            }
            Purpose::Shutdown { client, is_forced } => {
                if outcome.is_ok() || is_forced {
                    return self.request(LoopRequest::Shutdown);
                }
                self.process.phase.set(Phase::Ready);
                self.end_hold(begun.txn, |_| Homecoming::Nothing);
                match client {
                    None => signals::refuse_shutdown(),
                    Some(client) => self.finish_step(client, |_shard, _connection| {
                        Err(CommandError::Text("ERR Errors trying to SHUTDOWN. Check logs."))
                    }),
                }
            }
        }
    }

    /// DEBUG RELOAD: all shards stand still, the file is read beside them.
    fn reload(&mut self, client: ClientKey) {
        let (config, keys) = (&self.state.config, &self.process.keys);
        let plan = LoadPlan::new(config, keys, Arc::clone(&self.slots), self.seed, self.now.unix_ms);
        self.finish_step(client, move |shard, connection| {
            let load = move || plan.load();
            Ok(shard.run_aside(connection, load, |shard, connection, loaded| {
                let Begun { purpose, txn, .. } = shard.saving.begun.take().expect("a reload is under way");
                let Purpose::Reload { options, .. } = purpose else { unreachable!("a reload is under way") };
                match loaded {
                    Ok(Some(loaded)) => {
                        shard.take_home(txn, loaded, options);
                        connection.reply().ok();
                        return Ok(());
                    }
                    Ok(None) => tracing::warn!("there is no snapshot to load"),
                    Err(error) => tracing::warn!(%error, "the snapshot cannot be loaded"),
                }
                shard.end_hold(txn, |_| Homecoming::Nothing);
                Err(CommandError::Text("ERR Error trying to load the RDB dump, check server logs."))
            }))
        });
    }

    /// DEBUG LOADAOF: all shards stand still, their logs are read beside them.
    fn load_log(&mut self, client: ClientKey) {
        let (config, process) = (Arc::clone(&self.state.config), Arc::clone(&self.process));
        let plan = AofLoad::new(&config, &process.keys, Arc::clone(&self.slots), self.seed);
        self.finish_step(client, move |shard, connection| {
            let load = move || {
                // The loops of the shards go on, and write what was logged.
                while !process.aof.is_written() && process.aof.state().failure().is_none() {
                    std::thread::sleep(LOG_POLL);
                }
                plan.load()
            };
            Ok(shard.run_aside(connection, load, |shard, connection, loaded| {
                let Begun { txn, .. } = shard.saving.begun.take().expect("a load is under way");
                match loaded {
                    Ok(Some(loaded)) => {
                        loaded.tell_left_out();
                        let LoadedAof { keyspaces, functions, keys, .. } = loaded;
                        let loaded = Loaded { keyspaces, functions, keys, expired: 0 };
                        shard.take_home(txn, loaded, ReloadOptions { saves: false, flushes: true });
                        connection.reply().ok();
                        return Ok(());
                    }
                    Ok(None) => tracing::warn!("there is no log to load"),
                    Err(error) => tracing::warn!(%error, "the log cannot be loaded"),
                }
                shard.end_hold(txn, |_| Homecoming::Nothing);
                Err(CommandError::Text("ERR Error trying to load the AOF files, check server logs."))
            }))
        });
    }

    fn take_home(&mut self, txn: u64, loaded: Loaded, options: ReloadOptions) {
        let saves = &self.process.saves;
        saves.keep_functions(loaded.functions);
        saves.note_loaded(loaded.keys, loaded.expired);
        let mut keyspaces = loaded.keyspaces.into_iter();
        self.end_hold(txn, |_| Homecoming::Loaded {
            keyspace: Box::new(keyspaces.next().expect("one for each shard")),
            joins: !options.flushes,
        });
    }
}

const IN_PROGRESS: CommandError = CommandError::Text("ERR Background save already in progress");
