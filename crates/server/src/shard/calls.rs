//! Calls of the control plane: run a function on every shard and fold the results.
//!
//! Owns the outstanding calls of this shard's connections. For session commands that need all shards (CLIENT LIST,
//! CONFIG SET, INFO, …); never used per data command.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use torc_resp::CommandError;

use crate::clients::ClientKey;
use crate::connection::Connection;
use crate::packet::{Call, CallDone, CallFunction, Packet, ShardId};
use crate::session::Flow;

use super::Shard;

/// Called on the connection's shard with the results of all called shards, in shard order.
type Finish =
    Box<dyn FnOnce(&mut Shard, &mut Connection, Vec<Box<dyn Any + Send>>) -> Result<Flow, CommandError>>;

#[derive(Default)]
pub(super) struct Calls {
    last_call: u64,
    outstanding: HashMap<u64, Outstanding>,
}

struct Outstanding {
    client: ClientKey,
    results: Vec<(ShardId, Box<dyn Any + Send>)>,
    waiting: usize,
    finish: Finish,
}

impl Shard {
    /// Run `function` on every shard (this one included), then `finish` here with the results in shard order; it
    /// writes the reply. The connection is suspended until then.
    pub fn call_all<T: Send + 'static>(
        &mut self,
        connection: &mut Connection,
        function: impl Fn(&mut Shard) -> T + Send + Sync + 'static,
        finish: impl FnOnce(&mut Shard, &mut Connection, Vec<T>) -> Result<(), CommandError> + 'static,
    ) -> Flow {
        let shards: Vec<ShardId> = (0..self.shards() as ShardId).collect();
        self.call(connection, &shards, function, finish)
    }

    /// The same on some shards; `shards` must not be empty.
    pub fn call<T: Send + 'static>(
        &mut self,
        connection: &mut Connection,
        shards: &[ShardId],
        function: impl Fn(&mut Shard) -> T + Send + Sync + 'static,
        finish: impl FnOnce(&mut Shard, &mut Connection, Vec<T>) -> Result<(), CommandError> + 'static,
    ) -> Flow {
        self.call_then(connection, shards, function, move |shard, connection, results| {
            finish(shard, connection, results).map(|()| Flow::Done)
        })
    }

    /// The same for a command that needs further calls: `finish` may start one and return its `Flow::Later`.
    pub fn call_then<T: Send + 'static>(
        &mut self,
        connection: &mut Connection,
        shards: &[ShardId],
        function: impl Fn(&mut Shard) -> T + Send + Sync + 'static,
        finish: impl FnOnce(&mut Shard, &mut Connection, Vec<T>) -> Result<Flow, CommandError> + 'static,
    ) -> Flow {
        let boxed: CallFunction = Arc::new(move |shard| Box::new(function(shard)));
        let unpack = move |shard: &mut Shard,
                           connection: &mut Connection,
                           results: Vec<Box<dyn Any + Send>>| {
            let typed = results.into_iter().map(|result| *result.downcast::<T>().expect("one type per call"));
            finish(shard, connection, typed.collect())
        };
        self.calls.last_call += 1;
        let call = self.calls.last_call;
        self.calls.outstanding.insert(
            call,
            Outstanding {
                client: connection.key,
                results: Vec::with_capacity(shards.len()),
                waiting: shards.len(),
                finish: Box::new(unpack),
            },
        );
        for &shard in shards {
            self.send(shard, Packet::Call(Box::new(Call { call, function: Arc::clone(&boxed) })));
        }
        Flow::Later
    }

    pub(super) fn run_call(&mut self, from: ShardId, call: Call) {
        let result = (call.function)(self);
        self.send(from, Packet::CallDone(Box::new(CallDone { call: call.call, shard: self.id, result })));
    }

    pub(super) fn call_done(&mut self, done: CallDone) {
        let outstanding = self.calls.outstanding.get_mut(&done.call).expect("an answer belongs to a call");
        outstanding.results.push((done.shard, done.result));
        outstanding.waiting -= 1;
        if outstanding.waiting > 0 {
            return;
        }
        let mut outstanding = self.calls.outstanding.remove(&done.call).expect("found above");
        outstanding.results.sort_by_key(|(shard, _)| *shard);
        let results = outstanding.results.into_iter().map(|(_, result)| result).collect();
        let finish = outstanding.finish;
        self.finish_step(outstanding.client, |shard, connection| finish(shard, connection, results));
    }

    /// The last step (or the next to last) of a command that its connection waits for.
    pub(super) fn finish_step(
        &mut self,
        client: ClientKey,
        step: impl FnOnce(&mut Shard, &mut Connection) -> Result<Flow, CommandError>,
    ) {
        let mut connection = self.clients.take(client).expect("a connection outlives what it waits for");
        let mark = connection.reply_target().mark();
        let muted_before = connection.is_muted();
        let outcome = step(self, &mut connection);
        if outcome == Ok(Flow::Later) {
            return self.put_back_or_end(connection);
        }
        if let Err(error) = &outcome {
            self.stats.count_error(error.code());
            connection.reply_target().truncate(mark);
            connection.reply().error(error);
        }
        if muted_before && connection.exec.is_none() {
            connection.reply_target().truncate(mark);
        }
        let replies = connection.reply_target();
        let reply_bytes = replies.len_between(mark, replies.mark());
        self.account_pending(&mut connection, outcome.is_err(), reply_bytes);
        self.go_on(&mut connection);
        self.put_back_or_end(connection);
    }
}
