//! Publish/subscribe across shards.
//!
//! A channel has a home shard, found by its hash slot like a key's. A subscription lives on the connection's shard;
//! that shard tells the channel's home while it has at least one subscriber. PUBLISH goes to the home, which knows how
//! many subscribers each shard has, and from there to those shards only. Patterns can match any channel, so every shard
//! knows how many clients of each shard hold which pattern.
//!
//! Owns the registries and the messages between shards. Never touches keys or sockets.

use crate::connection::Connection;
use crate::packet::ShardId;
use crate::registry::Registered;
use crate::shard::Shard;

/// What one connection is subscribed to.
#[derive(Default)]
pub struct Subscriptions {}

/// One shard's registries.
pub struct PubSub {}

impl PubSub {
    pub fn new(_shard: ShardId, _seed: u64) -> PubSub {
        PubSub {}
    }
}

/// Pub/sub between shards.
pub enum Message {}

/// Commands that a RESP2 connection may use while it is subscribed.
pub fn allowed_while_subscribed(command: &Registered) -> bool {
    matches!(
        command.name,
        "ping"
            | "subscribe"
            | "psubscribe"
            | "ssubscribe"
            | "unsubscribe"
            | "punsubscribe"
            | "sunsubscribe"
            | "quit"
            | "reset"
    )
}

impl Shard {
    /// Drop all subscriptions of a connection that ends.
    pub(crate) fn pubsub_end(&mut self, connection: &mut Connection) {
        connection.subscriptions = None;
    }

    pub(crate) fn pubsub_message(&mut self, _from: ShardId, message: Message) {
        match message {}
    }
}
