//! PUBLISH: from the publisher to the channel's home, and from there to the shards with subscribers.
//!
//! Owns the count of receivers, the fan-out to shards, and the brake on publishers that are faster than the shards of
//! their subscribers. Never writes to subscribers (see `deliver`).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;
use torc_keyspace::slot_of;
use torc_resp::{Args, Mark, Proto, Reply, ReplyBuf};

use crate::clients::ClientKey;
use crate::connection::{Connection, Suspension};
use crate::packet::{Packet, ShardId};
use crate::registry::Registered;
use crate::shard::Shard;

use super::deliver::{Delivery, Letter};
use super::registry::PubSub;
use super::{Kind, Message, shared};

/// Messages on their way from one home to one shard, from which on publishers wait for their replies.
const WINDOW_MESSAGES: u32 = 1024;

/// The same in bytes of channels and payloads.
const WINDOW_BYTES: usize = 16 * 1024 * 1024;

/// Many times that much, and writers whose changes are told to the shard have to wait.
const FAR_BEHIND: u32 = 8;

/// A shard reports what it has delivered at least this often; well below the windows.
const REPORT_MESSAGES: u32 = 128;
const REPORT_BYTES: usize = 1024 * 1024;

/// A message on its way to its channel's home.
pub struct Publication {
    kind: Kind,
    channel: Bytes,
    payload: Bytes,
    reply_to: ReplyTo,
}

/// Who wants the number of receivers, on the publisher's shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyTo {
    /// A place in the order of a client's replies.
    Slot { client: ClientKey, slot: u32 },
    /// EXEC of this client, which waits.
    Exec(ClientKey),
}

/// Who gets a message.
struct Plan {
    receivers: u64,
    shards: SmallVec<[ShardId; 8]>,
    patterns: Vec<Bytes>,
}

/// What is on its way to and from other shards.
#[derive(Default)]
pub(super) struct Backpressure {
    /// As a home: not yet reported as delivered, per shard.
    under_way: HashMap<ShardId, Load>,
    /// As a shard with subscribers: delivered and not yet reported, per home.
    unreported: HashMap<ShardId, Load>,
    /// Replies that publishers of these shards get when the shards have caught up.
    withheld: Vec<(ShardId, ReplyTo, u64)>,
}

#[derive(Clone, Copy, Default)]
struct Load {
    messages: u32,
    bytes: usize,
}

impl Load {
    /// Is this as much as so many windows?
    fn fills(&self, windows: u32) -> bool {
        self.messages >= WINDOW_MESSAGES * windows || self.bytes >= WINDOW_BYTES * windows as usize
    }
}

impl Backpressure {
    pub(super) fn is_idle(&self) -> bool {
        self.withheld.is_empty()
    }

    fn is_behind(&self, shard: ShardId) -> bool {
        self.under_way.get(&shard).is_some_and(|load| load.fills(1))
    }

    /// Count messages that leave for another shard.
    fn sent(&mut self, shard: ShardId, messages: u32, bytes: usize) {
        let load = self.under_way.entry(shard).or_default();
        load.messages += messages;
        load.bytes += bytes;
    }

    /// Count delivered messages; returns what is to be reported now.
    pub(super) fn delivered(&mut self, home: ShardId, messages: u32, bytes: usize) -> Option<Message> {
        let load = self.unreported.entry(home).or_default();
        load.messages += messages;
        load.bytes += bytes;
        if load.messages < REPORT_MESSAGES && load.bytes < REPORT_BYTES {
            return None;
        }
        let Load { messages, bytes } = std::mem::take(load);
        Some(Message::Delivered { messages, bytes })
    }
}

impl PubSub {
    fn plan(&self, kind: Kind, channel: &[u8]) -> Plan {
        let mut plan = Plan { receivers: 0, shards: SmallVec::new(), patterns: Vec::new() };
        if let Some(tally) = self.tally(kind, channel) {
            plan.receivers = tally.total;
            plan.shards.extend(tally.shards.iter().map(|&(shard, _)| shard));
        }
        if kind == Kind::Channel {
            for (pattern, tally) in self.census(Kind::Pattern).matching(channel) {
                plan.receivers += tally.total;
                plan.shards.extend(tally.shards.iter().map(|&(shard, _)| shard));
                plan.patterns.push(pattern.clone());
            }
        }
        plan.shards.sort_unstable();
        plan.shards.dedup();
        plan
    }

    /// Count what is sent to another shard besides messages; that one says when it is done with it.
    pub(crate) fn count_sent(&mut self, shard: ShardId, messages: u32, bytes: usize) {
        self.backpressure.sent(shard, messages, bytes);
    }

    /// A shard has not reported a window of messages yet.
    pub(crate) fn somebody_is_behind(&self) -> bool {
        self.backpressure.under_way.values().any(|load| load.fills(1))
    }

    #[inline]
    pub(crate) fn somebody_is_far_behind(&self) -> bool {
        self.backpressure.under_way.values().any(|load| load.fills(FAR_BEHIND))
    }

    fn must_withhold(&self, plan: &Plan) -> bool {
        plan.shards.iter().any(|&shard| self.backpressure.is_behind(shard))
    }
}

impl Shard {
    /// PUBLISH and SPUBLISH of a client. Several of them to one home may be under way at once; anything else before them
    /// must be done first, so that what a client wrote is there when its message arrives.
    pub(crate) fn start_publish(
        &mut self,
        connection: &mut Connection,
        command: &'static Registered,
        kind: Kind,
        args: Args<'_>,
    ) {
        let started = self.cycles_now();
        let home = self.slots.owner(slot_of(args.get(1)));
        let pipelined = connection.output.outstanding() == connection.publishes.outstanding
            && connection.publishes.home == home;
        if !pipelined && self.must_wait_for_replies(connection, command, args) {
            return;
        }
        let muted = connection.is_muted();
        if home == self.id {
            let plan = self.pubsub.plan(kind, args.get(1));
            let receivers = plan.receivers;
            if self.pubsub.must_withhold(&plan) {
                let reply_to = reserve(connection, home, muted);
                self.pubsub.backpressure.withheld.push((home, reply_to, receivers));
            } else if !muted {
                connection.output.write(|out| Reply::new(out, Proto::Resp2).int(receivers as i64));
            }
            self.distribute(plan, &Letter::of(kind, args), Some(connection));
        } else {
            let reply_to = reserve(connection, home, muted);
            self.send_publication(home, kind, args, reply_to);
        }
        self.account(command, started, false, args);
        self.queue_flush(connection);
    }

    /// PUBLISH and SPUBLISH inside EXEC.
    pub(crate) fn publish_in_exec(
        &mut self,
        connection: &mut Connection,
        command: &'static Registered,
        kind: Kind,
        args: Args<'_>,
    ) {
        let started = self.cycles_now();
        let home = self.slots.owner(slot_of(args.get(1)));
        let reply_to = ReplyTo::Exec(connection.key);
        if home == self.id {
            let plan = self.pubsub.plan(kind, args.get(1));
            let receivers = plan.receivers;
            if self.pubsub.must_withhold(&plan) {
                connection.suspension = Suspension::Work;
                self.pubsub.backpressure.withheld.push((home, reply_to, receivers));
            } else {
                connection.reply().int(receivers as i64);
            }
            self.distribute(plan, &Letter::of(kind, args), Some(connection));
        } else {
            connection.suspension = Suspension::Work;
            self.send_publication(home, kind, args, reply_to);
        }
        self.account(command, started, false, args);
    }

    /// Publish a keyspace event of this shard. Nobody is told who heard it.
    pub(super) fn publish_event(&mut self, channel: &[u8], payload: &[u8]) {
        let plan = self.pubsub.plan(Kind::Channel, channel);
        if plan.receivers > 0 {
            let letter =
                Letter { kind: Kind::Channel, channel, payload, shared_channel: None, shared_payload: None };
            self.distribute(plan, &letter, None);
        }
    }

    fn send_publication(&mut self, home: ShardId, kind: Kind, args: Args<'_>, reply_to: ReplyTo) {
        let publication = Publication { kind, channel: shared(args, 1), payload: shared(args, 2), reply_to };
        self.send(home, Packet::PubSub(Box::new(Message::Publish(publication))));
    }

    /// As the home: publish what came from another shard. The reply leaves before the message, so that a publisher
    /// that is subscribed itself reads them in this order.
    pub(super) fn publish_for(&mut self, publisher: ShardId, publication: Publication) {
        let Publication { kind, channel, payload, reply_to } = publication;
        let plan = self.pubsub.plan(kind, &channel);
        let receivers = plan.receivers;
        if self.pubsub.must_withhold(&plan) {
            self.pubsub.backpressure.withheld.push((publisher, reply_to, receivers));
        } else {
            self.answer_publisher(publisher, reply_to, receivers);
        }
        let letter = Letter {
            kind,
            channel: &channel,
            payload: &payload,
            shared_channel: Some(&channel),
            shared_payload: Some(&payload),
        };
        self.distribute(plan, &letter, None);
    }

    fn answer_publisher(&mut self, publisher: ShardId, reply_to: ReplyTo, receivers: u64) {
        self.send(publisher, Packet::PubSub(Box::new(Message::Published { reply_to, receivers })));
    }

    /// Send a message to every shard of the plan; subscribers of this shard get it at once. `current` is the connection
    /// that is being processed, if there is one.
    fn distribute(&mut self, plan: Plan, letter: &Letter<'_>, current: Option<&mut Connection>) {
        let own = self.id;
        let here = plan.shards.contains(&own);
        if plan.shards.len() > usize::from(here) {
            let delivery = Arc::new(Delivery::of(letter, plan.patterns.clone()));
            for &shard in plan.shards.iter().filter(|&&shard| shard != own) {
                self.pubsub.backpressure.sent(shard, 1, delivery.bytes());
                self.send(shard, Packet::PubSub(Box::new(Message::Deliver(Arc::clone(&delivery)))));
            }
        }
        if here {
            self.deliver(own, letter, &plan.patterns, current);
        }
    }

    /// On the publisher's shard: the number of receivers.
    pub(super) fn published(&mut self, reply_to: ReplyTo, receivers: u64) {
        match reply_to {
            ReplyTo::Slot { client, slot } => {
                if let Some(connection) = self.clients.get_mut(client) {
                    connection.publishes.outstanding -= 1;
                }
                let mut reply = ReplyBuf::new();
                Reply::new(&mut reply, Proto::Resp2).int(receivers as i64);
                let end = reply.mark();
                self.fill_reply(client, slot, &reply, Mark::default(), end);
            }
            ReplyTo::Exec(client) => {
                let mut connection =
                    self.clients.take(client).expect("a connection outlives what it waits for");
                connection.reply().int(receivers as i64);
                self.go_on(&mut connection);
                self.put_back_or_end(connection);
            }
        }
    }

    /// As a home: shard `from` has delivered. When nobody is behind any more, publishers get their replies.
    pub(super) fn deliveries_done(&mut self, from: ShardId, messages: u32, bytes: usize) {
        let backpressure = &mut self.pubsub.backpressure;
        let load = backpressure.under_way.entry(from).or_default();
        load.messages -= messages;
        load.bytes -= bytes;
        self.take_the_brake_off();
        if self.pubsub.backpressure.withheld.is_empty() || self.pubsub.somebody_is_behind() {
            return;
        }
        for (publisher, reply_to, receivers) in std::mem::take(&mut self.pubsub.backpressure.withheld) {
            self.answer_publisher(publisher, reply_to, receivers);
        }
    }
}

fn reserve(connection: &mut Connection, home: ShardId, muted: bool) -> ReplyTo {
    connection.publishes.home = home;
    connection.publishes.outstanding += 1;
    // The answer may be withheld until shards with subscribers have caught up.
    connection.output.expect_late();
    ReplyTo::Slot { client: connection.key, slot: connection.output.reserve(muted) }
}
