//! Commands for keys of other shards: batches out, replies in.
//!
//! Owns the open batches, their reuse, and the way of a reply back into its connection's order. Hot path. Never
//! executes a command of its own connections.

use smallvec::SmallVec;
use torc_commands::KeyHint;
use torc_keyspace::Key;
use torc_resp::{Args, Mark, OwnedArgs, ReplyBuf};

use crate::clients::ClientKey;
use crate::connection::{Connection, Suspension};
use crate::packet::{Batch, BatchCommand, Invocation, Packet, ReturnAddress, ShardId};
use crate::registry::Route;

use super::Shard;
use super::command_log::Origin;
use super::lookahead::{Near, prefetch_near};

/// Commands of a batch whose memory is asked for before the first of them runs.
const COMMANDS_AHEAD: usize = 16;

/// Emptied batches that a shard keeps for reuse.
const SPARE_BATCHES_MAX: usize = 16;

impl Shard {
    /// Put a command into the open batch for the shard of its key and reserve the place of its reply.
    pub(super) fn forward(
        &mut self,
        owner: ShardId,
        connection: &mut Connection,
        invocation: Invocation,
        muted: bool,
        args: Args<'_>,
    ) {
        let slot = connection.output.reserve(muted);
        let key = invocation.command.single_key.and_then(|index| self.key_hint?.key(args.get(index)));
        let key = key.map(|key| (key.slot, key.hash));
        let spare = &mut self.spare_batches;
        let batch = self.batches[owner as usize].get_or_insert_with(|| spare.pop().unwrap_or_default());
        batch.push(invocation, connection.key, slot, key, args);
        self.stats.forwarded += 1;
        if batch.is_full() {
            let batch = self.batches[owner as usize].take().expect("filled above");
            self.send_batch(owner, batch);
        }
    }

    /// Everything this turn has for other shards leaves with one packet per shard.
    pub(super) fn send_batches(&mut self) {
        for peer in 0..self.batches.len() {
            if let Some(batch) = self.batches[peer].take() {
                self.send_batch(peer as ShardId, batch);
            }
        }
    }

    fn send_batch(&mut self, to: ShardId, batch: Box<Batch>) {
        self.stats.count_batch(batch.commands.len());
        self.send(to, Packet::Batch(batch));
    }

    /// Commands from another shard's connections.
    pub(super) fn run_batch(&mut self, from: ShardId, mut batch: Box<Batch>) {
        let mut replies = std::mem::take(&mut batch.replies);
        let mut commands = std::mem::take(&mut batch.commands);
        self.stats.foreign += commands.len() as u64;
        self.lend_log_buffer();
        let mut start = 0;
        for chunk in commands.chunks_mut(COMMANDS_AHEAD) {
            self.prefetch_chunk(&batch, chunk, start);
            self.pipeline_time.start();
            for command in chunk {
                let end = command.arguments_end as usize;
                self.run_forwarded(from, command, batch.arguments.range(start..end), &mut replies);
                start = end;
            }
        }
        self.pipeline_time.stop();
        batch.replies = replies;
        batch.commands = commands;
        // Before the replies, so that a client that has its reply finds its entry.
        self.settle_logs();
        self.send(from, Packet::BatchDone(batch));
        self.run_loopback();
    }

    fn run_forwarded(
        &mut self,
        from: ShardId,
        command: &mut BatchCommand,
        args: Args<'_>,
        replies: &mut ReplyBuf,
    ) {
        let BatchCommand { invocation, client, slot, .. } = *command;
        let Route::Data(run) = invocation.command.route else {
            unreachable!("only data commands are forwarded");
        };
        self.acting = Origin { shard: from, client: Some(client) };
        let address = ReturnAddress { shard: from, client, slot };
        command.reply_end = None;
        if self.must_queue(invocation.command, run, args) {
            return self.defer(invocation, OwnedArgs::copy_of(&args), address);
        }
        self.make_room_for(invocation.command, invocation.db as usize);
        self.key_hint = key_of(command, args).as_ref().map(KeyHint::of);
        self.execute(invocation, run, args, replies);
        self.key_hint = None;
        match self.waiting.take() {
            Some(wait) => self.begin_wait(invocation, args, *wait, address),
            None => command.reply_end = Some(replies.mark()),
        }
        self.serve_waiting(None);
    }

    /// Bring near what the single-key commands of a chunk will touch, and keep slots and hashes for their run.
    fn prefetch_chunk(&self, batch: &Batch, chunk: &mut [BatchCommand], mut start: usize) {
        let mut near: SmallVec<[Near<'_>; COMMANDS_AHEAD]> = SmallVec::new();
        for command in chunk {
            let end = command.arguments_end as usize;
            let args = batch.arguments.range(start..end);
            start = end;
            if command.key.is_none()
                && let Some(index) = command.invocation.command.single_key
            {
                let key = self.keyspace.key(args.get(index));
                command.key = Some((key.slot, key.hash));
            }
            if let Some(key) = key_of(command, args) {
                let db = command.invocation.db as usize;
                self.keyspace.prefetch_line(db, &key);
                let element = command.invocation.command.element_in(args);
                near.push(Near { db, key, element });
            }
        }
        prefetch_near(&self.keyspace, near.iter());
    }

    /// A batch of this shard came back: hand the replies to their connections.
    pub(super) fn batch_done(&mut self, mut batch: Box<Batch>) {
        let mut start = Mark::default();
        for index in 0..batch.commands.len() {
            let command = &batch.commands[index];
            let Some(end) = command.reply_end else {
                self.reply_is_late(command.client);
                continue;
            };
            self.fill_reply(command.client, command.slot, &batch.replies, start, end);
            start = end;
        }
        if self.spare_batches.len() < SPARE_BATCHES_MAX {
            batch.clear();
            self.spare_batches.push(batch);
        }
    }

    /// A forwarded command met a lock: what its connection has ready needs not wait for it.
    fn reply_is_late(&mut self, key: ClientKey) {
        let Some(connection) = self.clients.get_mut(key) else { return };
        // A fast lock may have sent the reply ahead of the batch.
        if connection.output.outstanding() > 0 {
            connection.output.expect_late();
            if !connection.flags.flush_queued {
                connection.flags.flush_queued = true;
                self.flush.push(key);
            }
        }
    }

    /// The reply of a forwarded or queued command: `from[start..end]`.
    pub(crate) fn fill_reply(&mut self, key: ClientKey, slot: u32, from: &ReplyBuf, start: Mark, end: Mark) {
        let Some(connection) = self.clients.get_mut(key) else { return };
        connection.output.fill(slot, from, start, end);
        let waits_for_it = matches!(connection.suspension, Suspension::Replies | Suspension::Blocked);
        if waits_for_it && connection.output.outstanding() == 0 {
            connection.blocked_on = None;
            connection.suspension = Suspension::None;
            if !connection.flags.run_queued {
                connection.flags.run_queued = true;
                self.runnable.push_back(key);
            }
        }
        if !connection.flags.flush_queued {
            connection.flags.flush_queued = true;
            self.flush.push(key);
        }
    }
}

/// The key of a single-key command, once its slot and hash are known.
#[inline]
fn key_of<'a>(command: &BatchCommand, args: Args<'a>) -> Option<Key<'a>> {
    let (slot, hash) = command.key?;
    Some(Key { bytes: args.get(command.invocation.command.single_key?), slot, hash })
}
