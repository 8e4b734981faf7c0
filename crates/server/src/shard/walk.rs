//! SCAN over several shards.
//!
//! Owns the way of one call from shard to shard: each shard that a call reaches adds its part, and the last one replies.
//! A call goes on only where a shard's slots are done before it has what it wants, so that few keys on many shards take
//! one call, and many keys never more than one hop. Never looks at keys: that is the command's.

use torc_commands::Run;
use torc_resp::{Args, OwnedArgs, ReplyBuf};

use crate::connection::{Connection, Suspension};
use crate::locks::{Mode, RequestId, Scope};
use crate::packet::{Invocation, LateReply, Packet, ReturnAddress, Walk};
use crate::registry::{Registered, Route};

use super::command_log::Origin;
use super::transaction::Gathered;
use super::{Shard, Waiter};

impl Shard {
    /// Send a walk off to the shard that its cursor names. Earlier commands of the connection are through, and later ones
    /// wait, so that the walk sees what the former wrote and nothing of the latter.
    pub(super) fn start_walk(
        &mut self,
        connection: &mut Connection,
        command: &'static Registered,
        args: Args<'_>,
    ) {
        let slot = connection.output.reserve(connection.is_muted());
        let walk = Walk {
            invocation: self.invocation(connection, command),
            args: OwnedArgs::copy_of(&args),
            address: self.address(connection, slot),
            reply: ReplyBuf::new(),
        };
        connection.suspension = Suspension::Replies;
        self.send(self.owner_of_cursor(args), Packet::Walk(Box::new(walk)));
    }

    /// A walk has come here. Entries that are away with a coordinator must not be missed: it waits until nobody holds
    /// anything.
    pub(super) fn walk(&mut self, walk: Walk) {
        if !self.locks.conflicts_whole(Mode::Shared) {
            return self.walk_on(walk);
        }
        let scope = Scope::Whole(Mode::Shared);
        let (id, granted) = self.locks.acquire(scope, Waiter::Walk(Box::new(walk)));
        if let Some(waiter) = granted {
            self.run_waiter(id, waiter);
        }
    }

    /// A walk that waited for its lock.
    pub(super) fn run_waiting_walk(&mut self, id: RequestId, walk: Walk) {
        self.walk_on(walk);
        self.release_locks(id);
    }

    /// Add this shard's part, then go on to the next shard or reply.
    fn walk_on(&mut self, mut walk: Walk) {
        let ReturnAddress { shard, client, slot } = walk.address;
        self.acting = Origin { shard, client: Some(client) };
        let next = self.walk_here(walk.invocation, walk.args.as_args(), &mut walk.reply);
        self.settle_logs();
        let next = next.map(|args| (self.owner_of_cursor(args.as_args()), args));
        match next {
            Some((owner, args)) if owner != self.id => {
                walk.args = args;
                self.send(owner, Packet::Walk(Box::new(walk)));
            }
            _ => {
                let late = LateReply { client, slot, reply: walk.reply };
                self.send(shard, Packet::LateReply(Box::new(late)));
            }
        }
    }

    /// The same inside an EXEC that has all keyspaces at hand.
    pub(super) fn walk_in_whole(
        &mut self,
        gathered: &mut Gathered,
        invocation: Invocation,
        args: Args<'_>,
        out: &mut ReplyBuf,
    ) {
        let mut reply = ReplyBuf::new();
        let mut request = OwnedArgs::copy_of(&args);
        loop {
            let owner = self.owner_of_cursor(request.as_args());
            let mut next = None;
            self.inside(gathered, owner as usize, |shard| {
                next = shard.walk_here(invocation, request.as_args(), &mut reply);
            });
            match next {
                Some(args) if self.owner_of_cursor(args.as_args()) != owner => request = args,
                _ => break,
            }
        }
        out.append(&reply);
    }

    /// Run the command here and merge its reply into that of earlier shards; returns the request to go on with.
    fn walk_here(
        &mut self,
        invocation: Invocation,
        args: Args<'_>,
        reply: &mut ReplyBuf,
    ) -> Option<OwnedArgs> {
        let Route::Data(run @ Run::ByCursor { merge, .. }) = invocation.command.route else {
            unreachable!("only commands with a cursor walk");
        };
        let mut part = ReplyBuf::new();
        self.execute(invocation, run, args, &mut part);
        merge(args, &part, invocation.proto, reply)
    }
}
