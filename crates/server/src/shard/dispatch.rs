//! From a request to the place where it runs.
//!
//! Owns the gate (does the command exist, is it allowed now, must it be queued) and the router (here, on another
//! shard, or as a transaction). Holds the branches so that handlers need none. Never executes a data command itself.

use smallvec::SmallVec;
use torc_commands::{Flags, Run, keys};
use torc_keyspace::slot_of;
use torc_resp::{Args, CommandError, OwnedArgs, Proto, Reply};

use crate::connection::{Connection, Held, ReplyMode, Suspension};
use crate::locks::Mode;
use crate::packet::{Invocation, ReturnAddress, ShardId};
use crate::registry::{Registered, Route, registry};
use crate::session::Flow;

use super::Shard;
use super::command_log::LogKind;

/// Key arguments of a request: (argument index, mode).
pub(super) type KeyList = SmallVec<[(usize, Mode); 8]>;

/// Redis's text, which clients know.
const MISCONF: &str = "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to \
                       disk. Commands that may modify the data set are disabled, because this instance is configured \
                       to report errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error \
                       option). Please check the Redis logs for details about the RDB error.";

impl Shard {
    /// One request from a client: gate it, then start it, hold it or queue it.
    #[inline]
    pub(super) fn dispatch(&mut self, connection: &mut Connection, args: Args<'_>) {
        let command = match registry().resolve(args) {
            Ok(command) => command,
            Err(error) => return self.reject_unseen(connection, None, error),
        };
        self.dispatch_command(connection, command, args);
    }

    /// The same when the command was looked up already.
    #[inline]
    pub(super) fn dispatch_command(
        &mut self,
        connection: &mut Connection,
        command: &'static Registered,
        args: Args<'_>,
    ) {
        if !command.spec.arity.accepts(args.len()) {
            return self.reject_unseen(connection, Some(command), CommandError::WrongArity(command.name));
        }
        connection.last_command = Some(command);
        if connection.is_plain() && !self.state.gate_closed() && !self.lacks_memory(connection, command) {
            self.start(connection, command, args);
        } else {
            self.gate(connection, command, args);
        }
    }

    /// The checks that plain connections on an undisturbed server do not need.
    fn gate(&mut self, connection: &mut Connection, command: &'static Registered, args: Args<'_>) {
        connection.reply_mode = connection.reply_mode.of_next_command();
        if !connection.flags.authenticated && !command.spec.flags.has(Flags::NO_AUTH) {
            return self.reject(connection, Some(command), CommandError::NoAuth);
        }
        if self.lacks_memory(connection, command) {
            let error = CommandError::Text("OOM command not allowed when used memory > 'maxmemory'.");
            return self.reject(connection, Some(command), error);
        }
        if connection.subscriptions.is_some()
            && connection.proto == Proto::Resp2
            && !crate::pubsub::allowed_while_subscribed(command)
        {
            let text = format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
                command.name
            );
            return self.reject(connection, Some(command), CommandError::Owned(text.into()));
        }
        if self.state.is_loading && !command.spec.flags.has(Flags::LOADING) {
            let error = CommandError::Text("LOADING Redis is loading the dataset in memory");
            return self.reject(connection, Some(command), error);
        }
        if self.state.refuses(connection, command) && connection.exec.is_none() {
            let error = match &self.state.log_failure {
                None => CommandError::Text(MISCONF),
                Some(reason) => {
                    let text = format!("MISCONF Errors writing to the AOF file: {reason}");
                    CommandError::Owned(text.into())
                }
            };
            return self.reject(connection, Some(command), error);
        }
        if self.state.pauses(connection, command) && connection.exec.is_none() {
            connection.held = Some(Held { command, args: OwnedArgs::copy_of(&args) });
            connection.suspension = Suspension::Pause;
            return;
        }
        if connection.multi.is_some() && !super::exec::runs_inside_multi(command) {
            return self.queue_in_multi(connection, command, args);
        }
        self.start_gated(connection, command, args);
    }

    /// Start a request that passed the full gate.
    fn start_gated(&mut self, connection: &mut Connection, command: &'static Registered, args: Args<'_>) {
        self.start(connection, command, args);
        // What is held starts anew, and EXEC is shown behind the commands that it runs.
        if self.state.monitored && connection.held.is_none() && command.name != "exec" {
            self.show_monitors(connection, command, args);
        }
        if connection.flags.caching_given {
            // CLIENT CACHING holds for one command, or for one transaction; for one that waits for its turn, too.
            let goes_on = connection.held.is_some()
                || connection.multi.is_some()
                || connection.exec.is_some()
                || command.container == Some("client");
            connection.set_caching(goes_on);
        }
    }

    /// Refuse a request that did not come to the gate.
    #[cold]
    fn reject_unseen(
        &mut self,
        connection: &mut Connection,
        command: Option<&'static Registered>,
        error: CommandError,
    ) {
        connection.reply_mode = connection.reply_mode.of_next_command();
        self.reject(connection, command, error);
    }

    /// Refuse a request before it ran. Inside MULTI this also spoils the transaction.
    pub(super) fn reject(
        &mut self,
        connection: &mut Connection,
        command: Option<&'static Registered>,
        error: CommandError,
    ) {
        match &mut connection.multi {
            Some(multi) => multi.aborted = true,
            None if connection.flags.caching_given => connection.set_caching(false),
            None => {}
        }
        if let Some(command) = command {
            self.stats.commands[command.id as usize].rejected += 1;
            if command.name == "exec" {
                return self.abort_exec(connection, &error);
            }
        }
        self.reply_error(connection, &error);
    }

    /// Write an error reply in its place.
    pub(super) fn reply_error(&mut self, connection: &mut Connection, error: &CommandError) {
        self.stats.count_error(error.code());
        let proto = connection.proto;
        if !connection.is_muted() {
            connection.output.write(|out| Reply::new(out, proto).error(error));
            self.queue_flush(connection);
        }
    }

    /// Run a request that was held back, without gating it again (a pause is checked again).
    pub(super) fn run_held(&mut self, connection: &mut Connection, held: Held) {
        if self.state.gate_closed() && self.state.pauses(connection, held.command) {
            connection.held = Some(held);
            connection.suspension = Suspension::Pause;
            return;
        }
        if connection.multi.is_some() && !super::exec::runs_inside_multi(held.command) {
            // A pause had held it back before it was queued.
            return self.queue_in_multi(connection, held.command, held.args.as_args());
        }
        self.start_gated(connection, held.command, held.args.as_args());
        if connection.held.is_none() {
            connection.flags.told_first = false;
        }
    }

    /// Start a request that passed the gate.
    #[inline]
    fn start(&mut self, connection: &mut Connection, command: &'static Registered, args: Args<'_>) {
        connection.traffic.commands += 1;
        self.acting = self.origin_of(connection);
        if let Route::Data(run) = command.route
            && let Some(index) = command.single_key
        {
            // The fast path: one key at a fixed place, wherever it lives.
            let key = args.get(index);
            let hint = self.key_hint.and_then(|hint| hint.key(key));
            let owner = self.slots.owner(hint.map_or_else(|| slot_of(key), |key| key.slot));
            return self.start_on(owner, connection, command, run, args);
        }
        self.start_general(connection, command, args);
    }

    fn start_general(&mut self, connection: &mut Connection, command: &'static Registered, args: Args<'_>) {
        match command.route {
            Route::Session(function) => {
                if self.must_wait_for_replies(connection, command, args) {
                    return;
                }
                self.run_session(connection, command, function, args);
            }
            Route::Publish(kind) => self.start_publish(connection, command, kind, args),
            Route::Data(run) => self.start_data(connection, command, run, args),
            Route::Container => unreachable!("containers are resolved to a subcommand"),
        }
    }

    fn start_data(
        &mut self,
        connection: &mut Connection,
        command: &'static Registered,
        run: Run,
        args: Args<'_>,
    ) {
        if let Run::EveryShard { .. } = run {
            if !self.must_wait_for_replies(connection, command, args) {
                self.start_every_shard(connection, command, args);
            }
            return;
        }
        if let Run::MayWait { waits, .. } = run
            && waits(args)
            && !connection.flags.input_ended
        {
            return self.start_that_may_wait(connection, command, run, args);
        }
        if let Run::ByCursor { .. } = run
            && self.shards() > 1
        {
            if !self.must_wait_for_replies(connection, command, args) {
                self.start_walk(connection, command, args);
            }
            return;
        }
        if let Run::Anywhere { reaches, .. } = run
            && self.shards() > 1
            && reaches(args)
        {
            if !self.must_wait_for_replies(connection, command, args) {
                self.start_whole(connection, command, args);
            }
            return;
        }
        let key_list = key_list(command, args);
        match self.common_owner(args, &key_list) {
            Some(owner) => self.start_on(owner, connection, command, run, args),
            None => {
                if !self.must_wait_for_replies(connection, command, args) {
                    self.start_multi_shard(connection, command, run, args, &key_list, false);
                }
            }
        }
    }

    /// The shard that owns all keys, or `None` when they live on several. Without keys: this shard.
    pub(super) fn common_owner(&self, args: Args<'_>, keys: &KeyList) -> Option<ShardId> {
        if self.shards() == 1 {
            return Some(self.id);
        }
        let mut owners = keys.iter().map(|&(index, _)| self.slots.owner(slot_of(args.get(index))));
        let first = owners.next().unwrap_or(self.id);
        owners.all(|owner| owner == first).then_some(first)
    }

    /// The shard that goes on with a SCAN: the owner of the slot in the cursor. Anything unreadable stays here, where
    /// the command will complain.
    pub(super) fn owner_of_cursor(&self, args: Args<'_>) -> ShardId {
        let cursor = args.opt(1).and_then(torc_resp::number::parse_u64);
        cursor.and_then(torc_keyspace::slot_of_cursor).map_or(self.id, |slot| self.slots.owner(slot))
    }

    #[inline]
    pub(super) fn start_on(
        &mut self,
        owner: ShardId,
        connection: &mut Connection,
        command: &'static Registered,
        run: Run,
        args: Args<'_>,
    ) {
        let invocation = self.invocation(connection, command);
        let muted = matches!(connection.reply_mode, ReplyMode::Off | ReplyMode::Skip);
        if owner != self.id {
            self.forward(owner, connection, invocation, muted, args);
        } else if self.must_queue(command, run, args) {
            let address = self.late_address(connection, muted);
            self.defer(invocation, OwnedArgs::copy_of(&args), address);
        } else {
            if self.make_room_for(command, connection.db) && self.tells_first(connection, command, args) {
                return;
            }
            self.execute_here(connection, invocation, run, args, muted);
            self.queue_flush(connection);
            self.serve_waiting(None);
        }
    }

    /// Run a command now, with its reply in its place.
    #[inline]
    pub(super) fn execute_here(
        &mut self,
        connection: &mut Connection,
        invocation: Invocation,
        run: Run,
        args: Args<'_>,
        muted: bool,
    ) {
        if muted {
            let mut discard = std::mem::take(&mut self.discard);
            self.execute(invocation, run, args, &mut discard);
            discard.clear();
            self.discard = discard;
        } else {
            connection.output.write(|out| self.execute(invocation, run, args, out));
        }
    }

    /// The place of a reply that may take a while.
    pub(super) fn late_address(&self, connection: &mut Connection, muted: bool) -> ReturnAddress {
        let slot = connection.output.reserve(muted);
        connection.output.expect_late();
        ReturnAddress { shard: self.id, client: connection.key, slot }
    }

    /// Barrier: anything but a plain single-shard command starts when all earlier replies of its connection are in.
    /// Returns true when the request was put on hold for that.
    pub(crate) fn must_wait_for_replies(
        &mut self,
        connection: &mut Connection,
        command: &'static Registered,
        args: Args<'_>,
    ) -> bool {
        if connection.output.outstanding() == 0 {
            return false;
        }
        connection.held = Some(Held { command, args: OwnedArgs::copy_of(&args) });
        connection.suspension = Suspension::Replies;
        // It will be counted when it starts anew.
        connection.traffic.commands -= 1;
        true
    }

    /// Run a session command. Its reply is written now, or later by whatever it started.
    pub(super) fn run_session(
        &mut self,
        connection: &mut Connection,
        command: &'static Registered,
        function: crate::session::SessionFn,
        args: Args<'_>,
    ) {
        let started = (self.cycles)();
        self.acting = self.origin_of(connection);
        let mark = connection.reply_target().mark();
        let muted_before = matches!(connection.reply_mode, ReplyMode::Off | ReplyMode::Skip);
        connection.flags.executing = true;
        let outcome = function(self, connection, args);
        connection.flags.executing = false;
        let failed = outcome.is_err();
        let pushed = outcome == Ok(Flow::Pushed);
        match outcome {
            Ok(Flow::Done | Flow::Pushed) => {}
            Ok(Flow::Later) => {
                connection.suspension = Suspension::Work;
                if command.name != "exec" {
                    return self.note_pending(connection, command, started, args);
                }
                // What EXEC waits for is accounted for command by command, and its replies go to a buffer of their own
                // in which the mark means nothing.
                self.account(command, started, false, args);
                return self.queue_flush(connection);
            }
            Err(error) => {
                self.stats.count_error(error.code());
                let proto = connection.proto;
                let target = connection.reply_target();
                target.truncate(mark);
                Reply::new(target, proto).error(&error);
            }
        }
        // CLIENT REPLY ON answers although replies were off before it.
        if muted_before && !pushed && connection.reply_mode != ReplyMode::On && connection.exec.is_none() {
            connection.reply_target().truncate(mark);
        }
        let replies = connection.reply_target();
        let reply_bytes = replies.len_between(mark, replies.mark());
        self.note_large_reply(reply_bytes, command, args);
        self.account(command, started, failed, args);
        self.queue_flush(connection);
    }

    /// A session command has written its reply.
    pub(super) fn note_large_reply(&mut self, bytes: usize, command: &'static Registered, args: Args<'_>) {
        if self.state.is_large_reply(bytes) {
            self.note_in_log(LogKind::LargeReply, bytes as u64, command, args);
        }
    }
}

/// Keys of a request with the mode each one needs. Of arguments that make no sense it may be some or none: the command
/// itself will say what is wrong.
pub(super) fn key_list(command: &Registered, args: Args<'_>) -> KeyList {
    let mut list = KeyList::new();
    let _ = keys::for_each(command.spec, args, |index, access| {
        let mode = if access.reads_only() { Mode::Shared } else { Mode::Exclusive };
        list.push((index, mode));
    });
    list
}
