//! Delivery of a message to the subscribers of one shard.
//!
//! Owns the form of a message in each protocol and its way into the output of every subscriber. A message is encoded once
//! per form and protocol however many get it, and a big payload is shared. The cost is one walk over the subscribers:
//! finding the connection and copying the message, well below a microsecond each; `pending` bounds it. Never decides who
//! is counted.

use bytes::Bytes;
use torc_resp::{Args, Proto, Reply, ReplyBuf};

use crate::clients::{ClientKey, Clients};
use crate::connection::Connection;
use crate::packet::{Packet, ShardId};
use crate::shard::Shard;

use super::registry::Members;
use super::{Kind, Subscriptions};

/// A message as it travels between shards.
pub struct Delivery {
    kind: Kind,
    channel: Bytes,
    payload: Bytes,
    /// The patterns that match the channel.
    patterns: Vec<Bytes>,
}

impl Delivery {
    pub(super) fn of(letter: &Letter<'_>, patterns: Vec<Bytes>) -> Delivery {
        let share =
            |shared: Option<&Bytes>, bytes| shared.cloned().unwrap_or_else(|| Bytes::copy_from_slice(bytes));
        Delivery {
            kind: letter.kind,
            channel: share(letter.shared_channel, letter.channel),
            payload: share(letter.shared_payload, letter.payload),
            patterns,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.channel.len() + self.payload.len()
    }

    pub(super) fn patterns(&self) -> &[Bytes] {
        &self.patterns
    }

    pub(super) fn letter(&self) -> Letter<'_> {
        Letter {
            kind: self.kind,
            channel: &self.channel,
            payload: &self.payload,
            shared_channel: Some(&self.channel),
            shared_payload: Some(&self.payload),
        }
    }
}

/// A message as the home has it, borrowed from wherever it lies.
pub(super) struct Letter<'a> {
    pub(super) kind: Kind,
    pub(super) channel: &'a [u8],
    pub(super) payload: &'a [u8],
    pub(super) shared_channel: Option<&'a Bytes>,
    pub(super) shared_payload: Option<&'a Bytes>,
}

impl<'a> Letter<'a> {
    /// Of PUBLISH's arguments.
    pub(super) fn of(kind: Kind, args: Args<'a>) -> Letter<'a> {
        Letter {
            kind,
            channel: args.get(1),
            payload: args.get(2),
            shared_channel: args.blob(1),
            shared_payload: args.blob(2),
        }
    }

    fn write(&self, pattern: Option<&[u8]>, proto: Proto, out: &mut ReplyBuf) {
        let mut reply = Reply::new(out, proto);
        match (pattern, self.kind) {
            (Some(pattern), _) => {
                reply.push(4);
                reply.bulk(b"pmessage");
                reply.bulk(pattern);
            }
            (None, Kind::ShardChannel) => {
                reply.push(3);
                reply.bulk(b"smessage");
            }
            (None, Kind::Channel | Kind::Pattern) => {
                reply.push(3);
                reply.bulk(b"message");
            }
        }
        reply.bulk(self.channel);
        match self.shared_payload {
            Some(payload) => reply.bulk_bytes(payload),
            None => reply.bulk(self.payload),
        }
    }
}

impl Shard {
    /// A message from a channel's home.
    pub(super) fn delivery_arrived(&mut self, home: ShardId, delivery: &Delivery) {
        if self.deliver(home, &delivery.letter(), &delivery.patterns, None) {
            self.delivered(home, 1, delivery.bytes());
        }
    }

    /// The clients of this shard have messages from `home`.
    pub(crate) fn delivered(&mut self, home: ShardId, messages: u32, bytes: usize) {
        if let Some(report) = self.pubsub.backpressure.delivered(home, messages, bytes) {
            self.send(home, Packet::PubSub(Box::new(report)));
        }
    }

    /// Write a message to this shard's subscribers: first those of the channel, then those of each pattern. False: it
    /// waits for a later step (see `pending`).
    pub(super) fn deliver(
        &mut self,
        home: ShardId,
        letter: &Letter<'_>,
        patterns: &[Bytes],
        mut current: Option<&mut Connection>,
    ) -> bool {
        let of_channel = self.pubsub.audience(letter.kind).members(letter.channel);
        let of_patterns =
            patterns.iter().filter_map(|pattern| self.pubsub.audience(Kind::Pattern).members(pattern));
        if !self.pubsub.pending.may_pass(of_channel.into_iter().chain(of_patterns).map(Members::len).sum()) {
            self.queue_delivery(home, letter, patterns, current.as_deref());
            return false;
        }
        let Shard { pubsub, clients, flush, .. } = self;
        if let Some(members) = pubsub.audience(letter.kind).members(letter.channel) {
            deliver_to(members, home, letter, None, clients, flush, current.as_deref_mut());
        }
        for pattern in patterns {
            if let Some(members) = pubsub.audience(Kind::Pattern).members(pattern) {
                deliver_to(members, home, letter, Some(pattern), clients, flush, current.as_deref_mut());
            }
        }
        true
    }
}

fn deliver_to(
    members: &Members,
    home: ShardId,
    letter: &Letter<'_>,
    pattern: Option<&[u8]>,
    clients: &mut Clients,
    flush: &mut Vec<ClientKey>,
    mut current: Option<&mut Connection>,
) {
    let mut encoded: [Option<ReplyBuf>; 2] = [None, None];
    for (&client, &membership) in members {
        let connection = match &mut current {
            Some(current) if current.key == client => &mut **current,
            _ => match clients.get_mut(client) {
                Some(connection) => connection,
                None => continue,
            },
        };
        let hears = |subscriptions: &Subscriptions| subscriptions.hears(membership, home);
        if !connection.subscriptions.as_deref().is_some_and(hears) {
            continue;
        }
        let encoded = (members.len() > 1).then_some(&mut encoded);
        if write_to(connection, letter, pattern, encoded) && !connection.flags.flush_queued {
            connection.flags.flush_queued = true;
            flush.push(client);
        }
    }
}

/// Write a message to one subscriber. `encoded` keeps its form in each protocol for the next one. False: the client is
/// about to go.
pub(super) fn write_to(
    connection: &mut Connection,
    letter: &Letter<'_>,
    pattern: Option<&[u8]>,
    encoded: Option<&mut [Option<ReplyBuf>; 2]>,
) -> bool {
    if connection.flags.closing || connection.flags.close_after_reply {
        return false;
    }
    let is_joining = connection.subscriptions.as_ref().is_some_and(|held| held.is_joining());
    let later = connection.exec.is_some() || is_joining;
    let proto = connection.proto;
    let output = if later { connection.output.push_later() } else { connection.output.push() };
    match encoded {
        None => letter.write(pattern, proto, output),
        Some(encoded) => output.append(encoded[proto as usize].get_or_insert_with(|| {
            let mut message = ReplyBuf::new();
            letter.write(pattern, proto, &mut message);
            message
        })),
    }
    true
}
