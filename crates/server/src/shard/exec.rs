//! MULTI, EXEC, DISCARD, WATCH and UNWATCH.
//!
//! Owns the queue of a transaction and the run of it. All keys that the queued commands name, and all watched keys, are
//! locked (and gathered, when they live elsewhere) before the first command runs; then the commands run here, one after
//! the other. A queued command that needs other shards (INFO, PUBLISH, …) suspends the run with the locks held; the
//! keys are not visible to anybody meanwhile.

use torc_commands::{Access, Flags, Run, keys};
use torc_keyspace::{Class, Event, slot_of};
use torc_resp::{Args, CommandError, Mark, OwnedArgs, Proto, Reply, ReplyBuf};

use crate::clients::ClientKey;
use crate::connection::{Connection, Held, MultiState, ReplyMode, Suspension};
use crate::locks::Mode;
use crate::packet::{Invocation, Packet, ShardId};
use crate::registry::{Registered, Route, registry};
use crate::session::Flow;

use super::Shard;
use super::dispatch::key_list;
use super::transaction::{Gathered, Plan};

/// Bytes of queued commands that one transaction may hold (Redis bounds them by the query buffer limit, 1 GB).
pub const QUEUED_BYTES_MAX: usize = 1 << 30;
/// A watcher's name: the shard of its client above this bit, a number of that shard below.
const WATCHER_SHARD_SHIFT: u32 = 48;

/// EXEC on its way through the queue.
pub struct Execution {
    queue: std::vec::IntoIter<Held>,
    /// `None` when all keys are local and were free.
    gathered: Option<Gathered>,
    pub replies: ReplyBuf,
    /// CLIENT REPLY was off when EXEC came.
    muted: bool,
    /// Number of commands, those that have run included.
    commands: usize,
    /// EXEC as the client wrote it.
    word: [u8; 4],
}

impl Execution {
    /// Commands between MULTI and EXEC.
    pub fn commands(&self) -> usize {
        self.commands
    }
}

/// Commands that act at once although the connection is inside MULTI.
pub(super) fn runs_inside_multi(command: &Registered) -> bool {
    matches!(command.name, "exec" | "discard" | "quit" | "reset")
}

impl Shard {
    /// MULTI
    pub fn multi(&mut self, connection: &mut Connection, _args: Args<'_>) -> Result<Flow, CommandError> {
        if connection.multi.is_some() {
            return Err(CommandError::NestedMulti);
        }
        connection.multi = Some(Box::default());
        self.reply_ok(connection)
    }

    /// DISCARD
    pub fn discard(&mut self, connection: &mut Connection, _args: Args<'_>) -> Result<Flow, CommandError> {
        if connection.multi.take().is_none() {
            return Err(CommandError::DiscardWithoutMulti);
        }
        self.unwatch(connection);
        self.reply_ok(connection)
    }

    /// EXEC itself is refused: that ends the transaction, as in Redis 7.
    pub(super) fn abort_exec(&mut self, connection: &mut Connection, reason: &CommandError) {
        connection.multi = None;
        self.unwatch(connection);
        let reason = reason.to_string();
        let reason = reason.strip_prefix("ERR ").unwrap_or(&reason);
        let text = format!("EXECABORT Transaction discarded because of: {reason}");
        self.reply_error(connection, &CommandError::Owned(text.into()));
    }

    pub(super) fn queue_in_multi(
        &mut self,
        connection: &mut Connection,
        command: &'static Registered,
        args: Args<'_>,
    ) {
        if command.spec.flags.has(Flags::NO_MULTI) {
            let error = CommandError::Text("ERR Command not allowed inside a transaction");
            return self.reject(connection, Some(command), error);
        }
        let multi = connection.multi.as_mut().expect("the caller saw the transaction");
        multi.queued_bytes += args.total_bytes();
        if multi.queued_bytes > QUEUED_BYTES_MAX {
            multi.queue.clear();
            let error = CommandError::Text("ERR transaction exceeds the query buffer limit");
            return self.reject(connection, Some(command), error);
        }
        multi.queue.push(Held { command, args: OwnedArgs::copy_of(&args) });
        let proto = connection.proto;
        if !connection.is_muted() {
            connection.output.write(|out| Reply::new(out, proto).simple("QUEUED"));
            self.queue_flush(connection);
        }
    }

    /// EXEC
    pub fn exec(&mut self, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
        let Some(multi) = connection.multi.take() else {
            return Err(CommandError::ExecWithoutMulti);
        };
        let word = args.get(0).try_into().unwrap_or(*b"exec");
        if multi.aborted {
            self.unwatch(connection);
            self.show_exec(connection, word);
            return Err(CommandError::ExecAbort);
        }
        let muted = connection.is_muted();
        let watcher = (!connection.watched.is_empty()).then_some(connection.watcher);
        let plan = self.plan_exec(connection, &multi);
        let commands = multi.queue.len();
        let runs_through = multi.queue.iter().all(|held| matches!(held.command.route, Route::Data(_)));
        let queue = multi.queue.into_iter();
        connection.exec = Some(Box::new(Execution {
            queue,
            gathered: None,
            replies: ReplyBuf::new(),
            muted,
            commands,
            word,
        }));
        let local_and_free = match &plan {
            None => runs_through && self.shards() == 1 && self.locks.is_empty(),
            Some(plan) => {
                let keys = plan.keys_on(self.id).map(|(key, _)| key);
                // A command that may have to ask other shards must not leave the others' keys open meanwhile.
                (runs_through || plan.is_empty())
                    && plan.is_only_on(self.id)
                    && !self.locks.conflicts(keys, Mode::Exclusive)
            }
        };
        if local_and_free {
            let broken = watcher.is_some_and(|watcher| self.keyspace.watch_broken(watcher, self.now.unix_ms));
            self.exec_start(connection, broken);
            return Ok(if connection.exec.is_some() { Flow::Later } else { Flow::Done });
        }
        match plan {
            None => self.begin_exec_whole(connection, watcher),
            Some(plan) => self.begin_exec(connection, plan, watcher),
        }
        Ok(Flow::Later)
    }

    /// What EXEC must lock; `None` when some command looks at whole keyspaces.
    fn plan_exec(&self, connection: &Connection, multi: &MultiState) -> Option<Plan> {
        let mut plan = Plan::default();
        for held in &multi.queue {
            let args = held.args.as_args();
            match held.command.route {
                Route::Data(Run::EveryShard { .. } | Run::ByCursor { .. }) => return None,
                Route::Data(Run::Anywhere { reaches, .. }) if reaches(args) => return None,
                Route::Data(_) | Route::Session(_) => {}
                _ => continue,
            }
            // A request with wrong keys says so when it runs.
            let _ = keys::for_each(held.command.spec, args, |index, access| {
                if !access.has(Access::NOT_KEY) {
                    let key = args.get(index);
                    plan.add(
                        self.slots.owner(slot_of(key)),
                        self.fingerprint(key),
                        Some(key),
                        Mode::Exclusive,
                    );
                }
            });
        }
        for (shard, fingerprint) in &connection.watched {
            plan.add(*shard, *fingerprint, None, Mode::Shared);
        }
        Some(plan)
    }

    /// All locks of an EXEC are granted and all keys are here.
    pub(super) fn exec_granted(&mut self, client: ClientKey, gathered: Gathered) {
        let mut connection = self.clients.take(client).expect("a connection outlives its transaction");
        let broken = gathered.watch_broken;
        connection.exec.as_mut().expect("EXEC waits for its keys").gathered = Some(gathered);
        connection.suspension = Suspension::None;
        self.exec_start(&mut connection, broken);
        self.exec_settle(&mut connection);
        self.put_back_or_end(connection);
    }

    /// After a run that began behind a wait: let the connection go on, unless EXEC waits again.
    fn exec_settle(&mut self, connection: &mut Connection) {
        if connection.exec.is_some() {
            return;
        }
        if self.is_settling(connection.key) {
            connection.suspension = Suspension::Settling;
            return;
        }
        connection.suspension = Suspension::None;
        self.queue_flush(connection);
        self.queue_run(connection);
    }

    fn exec_start(&mut self, connection: &mut Connection, watch_broken: bool) {
        self.unwatch(connection);
        let execution = connection.exec.as_mut().expect("EXEC is under way");
        let proto = connection.proto;
        if watch_broken {
            execution.queue = Vec::new().into_iter();
            Reply::new(&mut execution.replies, proto).null_array();
        } else {
            let count = execution.queue.len();
            Reply::new(&mut execution.replies, proto).array(count);
        }
        self.exec_run(connection);
    }

    /// Run queued commands until the end, or until one has to wait for other shards.
    fn exec_run(&mut self, connection: &mut Connection) {
        self.acting = self.origin_of(connection);
        let mut gathered = connection.exec.as_mut().expect("EXEC is under way").gathered.take();
        let waits = match &mut gathered {
            Some(gathered) if gathered.is_whole() => self.exec_until_wait(connection, Some(gathered)),
            Some(gathered) => self.with_entries(gathered, |shard| shard.exec_until_wait(connection, None)),
            None => self.logged_together(|shard| shard.exec_until_wait(connection, None)),
        };
        if waits {
            connection.suspension = Suspension::Work;
            connection.exec.as_mut().expect("EXEC is under way").gathered = gathered;
            return;
        }
        let execution = connection.exec.take().expect("EXEC is under way");
        self.show_exec(connection, execution.word);
        if !execution.muted {
            let end = execution.replies.mark();
            connection.output.direct().copy_range(&execution.replies, Mark::default(), end);
        }
        connection.output.release_later_pushes();
        if connection.flags.caching_given {
            connection.set_caching(false);
        }
        match gathered {
            Some(gathered) => self.send_home(gathered),
            None => self.serve_waiting(None),
        }
    }

    /// Monitors see EXEC when all its commands have run.
    fn show_exec(&mut self, connection: &Connection, word: [u8; 4]) {
        if self.state.monitored {
            let mut args = OwnedArgs::new();
            args.push(&word);
            let exec = registry().resolve(args.as_args()).expect("EXEC is a command");
            self.show_monitors(connection, exec, args.as_args());
        }
    }

    /// Returns true when a command waits for other shards.
    fn exec_until_wait(&mut self, connection: &mut Connection, mut whole: Option<&mut Gathered>) -> bool {
        loop {
            let execution = connection.exec.as_mut().expect("EXEC is under way");
            let Some(held) = execution.queue.next() else { return false };
            let args = held.args.as_args();
            connection.traffic.commands += 1;
            if self.state.monitored {
                self.show_monitors(connection, held.command, args);
            }
            match held.command.route {
                Route::Session(function) => {
                    self.run_session(connection, held.command, function, args);
                    if connection.suspension == Suspension::Work {
                        return true;
                    }
                }
                Route::Publish(kind) => {
                    self.publish_in_exec(connection, held.command, kind, args);
                    if connection.suspension == Suspension::Work {
                        return true;
                    }
                }
                Route::Data(run) => {
                    let execution = connection.exec.as_mut().expect("EXEC is under way");
                    let mut replies = std::mem::take(&mut execution.replies);
                    let invocation = self.invocation(connection, held.command);
                    match whole.as_deref_mut() {
                        Some(gathered) => {
                            self.execute_in_whole(gathered, invocation, run, args, &mut replies)
                        }
                        None => self.execute(invocation, run, args, &mut replies),
                    }
                    connection.exec.as_mut().expect("EXEC is under way").replies = replies;
                }
                Route::Container => unreachable!("containers are resolved to a subcommand"),
            }
        }
    }

    /// A command inside EXEC that waited for other shards has its reply: go on.
    pub(super) fn exec_continue(&mut self, connection: &mut Connection) {
        self.exec_run(connection);
        self.exec_settle(connection);
    }

    /// One command that has all keyspaces at hand.
    pub(super) fn execute_in_whole(
        &mut self,
        gathered: &mut Gathered,
        invocation: Invocation,
        run: Run,
        args: Args<'_>,
        out: &mut ReplyBuf,
    ) {
        match run {
            Run::EveryShard { fold, .. } => {
                let started = (self.cycles)();
                let mut replies = Vec::with_capacity(gathered.parts.len());
                for index in 0..gathered.parts.len() {
                    let mut reply = ReplyBuf::new();
                    self.inside(gathered, index, |shard| shard.run_every(invocation, args, &mut reply));
                    replies.push(reply);
                }
                let mut reply = ReplyBuf::new();
                fold(&replies, self.rng.next_u64(), invocation.proto, &mut reply);
                self.count_whole(invocation.command, started, &reply);
                out.append(&reply);
            }
            Run::ByCursor { .. } => self.walk_in_whole(gathered, invocation, args, out),
            Run::OnShard(_)
            | Run::MayWait { .. }
            | Run::Anywhere { .. }
            | Run::Split { .. }
            | Run::Container => {
                let keys: Vec<&[u8]> =
                    key_list(invocation.command, args).iter().map(|&(index, _)| args.get(index)).collect();
                let reaches = matches!(run, Run::Anywhere { reaches, .. } if reaches(args));
                self.inside_with(gathered, &keys, reaches, |shard| shard.execute(invocation, run, args, out));
            }
        }
    }

    /// A step of a session command inside EXEC, with its keys at hand: EXEC holds them.
    pub(super) fn with_held_keys(
        &mut self,
        connection: &mut Connection,
        keys: &[Box<[u8]>],
        step: impl FnOnce(&mut Shard, &mut Connection) -> Result<Flow, CommandError>,
    ) -> Result<Flow, CommandError> {
        let execution = connection.exec.as_mut().expect("EXEC is under way");
        let mut gathered = execution.gathered.take().expect("EXEC holds its keys while it waits");
        let outcome = if gathered.is_whole() {
            let keys: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
            let mut outcome = Ok(Flow::Done);
            self.inside_with(&mut gathered, &keys, false, |shard| outcome = step(shard, connection));
            outcome
        } else {
            self.with_entries(&mut gathered, |shard| step(shard, connection))
        };
        connection.exec.as_mut().expect("EXEC is under way").gathered = Some(gathered);
        outcome
    }

    /// Act with the keyspace of the first key's shard in this shard's place, and all keys in it. `reaches`: with the other
    /// keyspaces at hand too.
    fn inside_with(
        &mut self,
        gathered: &mut Gathered,
        keys: &[&[u8]],
        reaches: bool,
        act: impl FnOnce(&mut Shard),
    ) {
        let owner_of = |shard: &Shard, key: &[u8]| shard.slots.owner(slot_of(key));
        let home = keys.first().map_or(self.id, |key| owner_of(self, key));
        let mut visitors: Vec<(ShardId, &[u8])> = Vec::new();
        for &key in keys {
            let owner = owner_of(self, key);
            if owner != home {
                visitors.push((owner, key));
            }
        }
        let told = gathered.parts[home as usize].events.len();
        self.visit(gathered, home, &visitors, true);
        if reaches {
            self.others = gathered.lend_but(home);
        }
        self.inside(gathered, home as usize, act);
        gathered.take_back(std::mem::take(&mut self.others));
        self.visit(gathered, home, &visitors, false);
        if reaches || !visitors.is_empty() {
            self.replay_at_owners(gathered, home, told);
        }
    }

    /// Move the entries of visiting keys to `home`'s keyspace (`arrive`), or back to their owners.
    fn visit(&mut self, gathered: &mut Gathered, home: ShardId, visitors: &[(ShardId, &[u8])], arrive: bool) {
        for &(owner, key) in visitors {
            let (from, to) = if arrive { (owner, home) } else { (home, owner) };
            let mut entries = Vec::new();
            {
                let keyspace = gathered.keyspace(from);
                let key = keyspace.key(key);
                keyspace.export(&key, &mut entries);
            }
            gathered.keyspace(to).import(entries);
        }
    }

    /// Of what happened at `home` since it had told `from` events, that which happened to visiting keys is their owners'
    /// to tell; those who watch the keys there are told now.
    fn replay_at_owners(&mut self, gathered: &mut Gathered, home: ShardId, from: usize) {
        for event in gathered.parts[home as usize].events.split_off(from) {
            let owner = self.slots.owner(slot_of(event.key()));
            if owner != home && event.class.intersects(Class::CHANGES) {
                let Event { db, ref key, class, name, .. } = event;
                gathered.keyspace(owner).touched_by(db, key, class, name);
            }
            gathered.parts[owner as usize].events.push(event);
        }
    }

    /// Act with the keyspace of participant `index` in this shard's place; what happens to keys is that participant's to
    /// tell.
    pub(super) fn inside(&mut self, gathered: &mut Gathered, index: usize, act: impl FnOnce(&mut Shard)) {
        let id = self.id;
        let part = &mut gathered.parts[index];
        let keyspace = part.keyspace.as_mut().expect("whole keyspaces were gathered");
        let away = std::mem::replace(&mut self.keyspace_away, false);
        std::mem::swap(&mut self.keyspace, keyspace);
        self.id = part.shard;
        let home = self.id;
        let ((), events, effects) = self.recorded(act);
        gathered.parts[index].events.extend(events);
        self.by_owner(&effects, home, |owner, effects| gathered.tell(owner, effects));
        self.id = id;
        std::mem::swap(&mut self.keyspace, gathered.parts[index].keyspace.as_mut().expect("still there"));
        self.keyspace_away = away;
    }

    /// WATCH
    pub fn watch(&mut self, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
        if connection.multi.is_some() {
            return Err(CommandError::WatchInMulti);
        }
        if connection.watched.is_empty() {
            connection.watcher = self.next_watcher();
        }
        let watcher = connection.watcher;
        let mut plan = Plan::default();
        for key in args.iter().skip(1) {
            let shard = self.slots.owner(slot_of(key));
            let fingerprint = self.fingerprint(key);
            plan.add(shard, fingerprint, Some(key), Mode::Shared);
            connection.watched.push((shard, fingerprint));
        }
        let local = plan.is_only_on(self.id)
            && !self.locks.conflicts(plan.keys_on(self.id).map(|(key, _)| key), Mode::Shared);
        if !local {
            self.begin_watch(connection, plan, watcher);
            return Ok(Flow::Later);
        }
        for key in args.iter().skip(1) {
            let key = self.keyspace.key(key);
            self.keyspace.watch(connection.db, &key, watcher, self.now.unix_ms);
        }
        self.reply_ok(connection)
    }

    /// UNWATCH
    pub fn unwatch_command(
        &mut self,
        connection: &mut Connection,
        _args: Args<'_>,
    ) -> Result<Flow, CommandError> {
        self.unwatch(connection);
        self.reply_ok(connection)
    }

    /// Forget all watches of a connection, wherever its keys live.
    pub(crate) fn unwatch(&mut self, connection: &mut Connection) {
        if connection.watched.is_empty() {
            return;
        }
        let watcher = connection.watcher;
        let mut shards: Vec<ShardId> = connection.watched.drain(..).map(|(shard, _)| shard).collect();
        shards.sort_unstable();
        shards.dedup();
        for shard in shards {
            if shard == self.id {
                self.keyspace.unwatch(watcher);
            } else {
                self.send(shard, Packet::Unwatch { watcher });
            }
        }
    }

    /// The name of a connection in the watch tables of all shards, from one WATCH to the next EXEC. What ends one round may
    /// arrive behind what begins the next, which takes another way (by the shard that sequences transactions).
    fn next_watcher(&mut self) -> u64 {
        u64::from(self.home) << WATCHER_SHARD_SHIFT | self.next_txn()
    }

    /// `+OK`
    pub fn reply_ok(&mut self, connection: &mut Connection) -> Result<Flow, CommandError> {
        let proto = connection.proto;
        Reply::new(connection.reply_target(), proto).ok();
        Ok(Flow::Done)
    }
}

/// Replies that are dropped.
impl Connection {
    pub fn is_muted(&self) -> bool {
        matches!(self.reply_mode, ReplyMode::Off | ReplyMode::Skip)
    }

    /// A reply writer at the place where this connection's current command answers.
    pub fn reply(&mut self) -> Reply<'_> {
        let proto: Proto = self.proto;
        Reply::new(self.reply_target(), proto)
    }
}
