//! Publish/subscribe across shards.
//!
//! A channel has a home shard, found by its hash slot like a key's. A subscription lives on the connection's shard. Homes
//! count the subscribers of their channels per shard, so PUBLISH, which runs at the home, knows how many clients will
//! get the message, and sends it to the shards that have subscribers and to no others. A pattern can match any channel,
//! so every shard counts the subscribers of every pattern. So it is with the channels of keyspace events, which any shard
//! may have something to say on: there the shard of the key is home to its messages.
//!
//! SUBSCRIBE and UNSUBSCRIBE are acknowledged when all homes have confirmed the new count. Packets between two shards
//! stay in order, so for the subscriber the confirmation stands in the stream of messages exactly where the home began
//! or ceased to count it: it hears the messages that counted it, and no others. Messages of one channel arrive at every
//! subscriber in the order in which the home took them.
//!
//! Owns the registries and the messages between shards. Never touches keys or sockets.

mod deliver;
mod events;
mod pending;
mod publish;
mod registry;
mod subscribe;
mod subscriptions;

use std::sync::Arc;

use bytes::Bytes;

use crate::clients::ClientKey;
use crate::packet::ShardId;
use crate::registry::Registered;
use crate::shard::Shard;

pub use deliver::Delivery;
pub use publish::{Publication, ReplyTo};
pub use registry::PubSub;
pub use subscribe::Interest;
pub use subscriptions::Subscriptions;

/// What a client can be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SUBSCRIBE
    Channel,
    /// PSUBSCRIBE
    Pattern,
    /// SSUBSCRIBE
    ShardChannel,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Channel, Kind::Pattern, Kind::ShardChannel];
}

/// Pub/sub between shards.
pub enum Message {
    /// Subscriber's shard → home: clients came or went.
    Interest(Interest),
    /// Home → subscriber's shard: the interest is counted.
    Confirmed { client: ClientKey },
    /// Publisher's shard → home.
    Publish(Publication),
    /// Home → publisher's shard: how many clients get the message.
    Published { reply_to: ReplyTo, receivers: u64 },
    /// Home → shard with subscribers.
    Deliver(Arc<Delivery>),
    /// Shard with subscribers → home: so much was delivered since the last time.
    Delivered { messages: u32, bytes: usize },
}

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
    pub(crate) fn pubsub_message(&mut self, from: ShardId, message: Message) {
        match message {
            Message::Interest(interest) => self.count_interest(from, interest),
            Message::Confirmed { client } => self.interest_confirmed(from, client),
            Message::Publish(publication) => self.publish_for(from, publication),
            Message::Published { reply_to, receivers } => self.published(reply_to, receivers),
            Message::Deliver(delivery) => self.delivery_arrived(from, &delivery),
            Message::Delivered { messages, bytes } => self.deliveries_done(from, messages, bytes),
        }
    }
}

/// The argument as a shared value; a big one is not copied.
fn shared(args: torc_resp::Args<'_>, index: usize) -> Bytes {
    args.blob(index).cloned().unwrap_or_else(|| Bytes::copy_from_slice(args.get(index)))
}
