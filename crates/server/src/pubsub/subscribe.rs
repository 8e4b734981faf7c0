//! Subscribing and unsubscribing.
//!
//! Owns the way of a change: this shard's audience, the homes' counts, their confirmations, the acknowledgement to the
//! client. Never delivers anything.

use std::collections::BTreeMap;

use bytes::Bytes;
use smallvec::SmallVec;
use torc_keyspace::slot_of;
use torc_resp::{Args, CommandError};

use crate::clients::ClientKey;
use crate::connection::Connection;
use crate::packet::{Packet, ShardId};
use crate::session::Flow;
use crate::shard::Shard;

use super::registry::is_event_channel;
use super::subscriptions::Change;
use super::{Kind, Message, shared};

/// Clients of one shard came to or left names of one home.
pub struct Interest {
    kind: Kind,
    joins: bool,
    names: Vec<Bytes>,
    /// Who waits for the confirmation; nobody when the client is gone.
    confirm: Option<ClientKey>,
}

/// Names by their home.
type ByHome = BTreeMap<ShardId, Vec<Bytes>>;

impl Shard {
    /// (P|S)SUBSCRIBE
    pub(crate) fn subscribe(
        &mut self,
        connection: &mut Connection,
        kind: Kind,
        args: Args<'_>,
    ) -> Result<Flow, CommandError> {
        let names: Vec<Bytes> = (1..args.len()).map(|index| shared(args, index)).collect();
        let subscriptions = connection.subscriptions.get_or_insert_default();
        let mut by_home = ByHome::new();
        for name in &names {
            if !subscriptions.holds(kind, name) && self.pubsub.audience_mut(kind).join(name, connection.key) {
                self.add_to_homes(&mut by_home, kind, name);
            }
        }
        let change = Change { kind, joins: true, names, unconfirmed: SmallVec::new() };
        Ok(self.begin_change(connection, change, by_home))
    }

    /// (P|S)UNSUBSCRIBE; without names: from everything of this kind.
    pub(crate) fn unsubscribe(
        &mut self,
        connection: &mut Connection,
        kind: Kind,
        args: Args<'_>,
    ) -> Result<Flow, CommandError> {
        let subscriptions = connection.subscriptions.get_or_insert_default();
        let names: Vec<Bytes> = match args.len() {
            1 => subscriptions.names(kind).cloned().collect(),
            count => (1..count).map(|index| shared(args, index)).collect(),
        };
        let mut by_home = ByHome::new();
        for name in &names {
            if subscriptions.holds(kind, name)
                && self.pubsub.audience_mut(kind).begin_leaving(name, connection.key)
            {
                self.add_to_homes(&mut by_home, kind, name);
            }
        }
        let change = Change { kind, joins: false, names, unconfirmed: SmallVec::new() };
        Ok(self.begin_change(connection, change, by_home))
    }

    fn add_to_homes(&self, by_home: &mut ByHome, kind: Kind, name: &Bytes) {
        if kind == Kind::Pattern || is_event_channel(kind, name) {
            for home in 0..self.shards() as ShardId {
                by_home.entry(home).or_default().push(name.clone());
            }
        } else {
            by_home.entry(self.slots.owner(slot_of(name))).or_default().push(name.clone());
        }
    }

    fn begin_change(&mut self, connection: &mut Connection, mut change: Change, by_home: ByHome) -> Flow {
        let (kind, joins) = (change.kind, change.joins);
        for (home, names) in by_home {
            let confirm = (home != self.id).then_some(connection.key);
            change.unconfirmed.extend(confirm.map(|_| home));
            self.tell_home(home, Interest { kind, joins, names, confirm });
        }
        if change.unconfirmed.is_empty() {
            self.finish_change(connection, change);
            return Flow::Pushed;
        }
        let subscriptions = connection.subscriptions.as_mut().expect("the command made them");
        subscriptions.change = Some(Box::new(change));
        Flow::Later
    }

    fn tell_home(&mut self, home: ShardId, interest: Interest) {
        if home == self.id {
            self.count_interest(home, interest);
        } else {
            self.send(home, Packet::PubSub(Box::new(Message::Interest(interest))));
        }
    }

    /// As a home: count clients of shard `from`.
    pub(super) fn count_interest(&mut self, from: ShardId, interest: Interest) {
        for name in interest.names {
            let census = self.pubsub.census_of_mut(interest.kind, &name);
            if interest.joins {
                census.join(name, from);
            } else {
                census.leave(&name, from);
            }
        }
        self.choose_listening();
        if let Some(client) = interest.confirm {
            self.send(from, Packet::PubSub(Box::new(Message::Confirmed { client })));
        }
    }

    /// A home counts as it was asked to.
    pub(super) fn interest_confirmed(&mut self, home: ShardId, client: ClientKey) {
        let mut connection = self.clients.take(client).expect("a connection outlives what it waits for");
        let change = &mut connection.subscriptions.as_mut().expect("a change is under way").change;
        let waiting = &mut change.as_mut().expect("a change is under way").unconfirmed;
        waiting.retain(|unconfirmed| *unconfirmed != home);
        if !waiting.is_empty() {
            return self.clients.put_back(connection);
        }
        let change = change.take().expect("a change is under way");
        self.finish_change(&mut connection, *change);
        self.go_on(&mut connection);
        self.put_back_or_end(connection);
    }

    /// All homes know: the subscriptions are as the client wants them, and it is told so, name by name.
    fn finish_change(&mut self, connection: &mut Connection, change: Change) {
        let Change { kind, joins, names, .. } = change;
        if !joins {
            self.deliver_pending_to(connection);
        }
        let mut subscriptions = connection.subscriptions.take().expect("the command made them");
        let audience = self.pubsub.audience_mut(kind);
        if names.is_empty() {
            acknowledge(connection, kind, joins, None, subscriptions.shown_count(kind));
        }
        for name in &names {
            if joins && subscriptions.add(kind, name.clone()) {
                audience.settle(name, connection.key);
            } else if !joins && subscriptions.remove(kind, name) {
                audience.leave(name, connection.key);
            }
            acknowledge(connection, kind, joins, Some(name), subscriptions.shown_count(kind));
        }
        if !subscriptions.is_empty() {
            connection.subscriptions = Some(subscriptions);
        }
    }

    /// Drop all subscriptions of a connection that ends or is reset, without a word to it.
    pub(crate) fn pubsub_end(&mut self, connection: &mut Connection) {
        let Some(subscriptions) = connection.subscriptions.take() else { return };
        self.forget_pending(connection.key);
        debug_assert!(subscriptions.change.is_none(), "a connection outlives what it waits for");
        for kind in Kind::ALL {
            let mut by_home = ByHome::new();
            for name in subscriptions.names(kind) {
                self.pubsub.audience_mut(kind).leave(name, connection.key);
                self.add_to_homes(&mut by_home, kind, name);
            }
            for (home, names) in by_home {
                self.tell_home(home, Interest { kind, joins: false, names, confirm: None });
            }
        }
    }
}

fn acknowledge(connection: &mut Connection, kind: Kind, joins: bool, name: Option<&Bytes>, count: usize) {
    let word: &[u8] = match (kind, joins) {
        (Kind::Channel, true) => b"subscribe",
        (Kind::Channel, false) => b"unsubscribe",
        (Kind::Pattern, true) => b"psubscribe",
        (Kind::Pattern, false) => b"punsubscribe",
        (Kind::ShardChannel, true) => b"ssubscribe",
        (Kind::ShardChannel, false) => b"sunsubscribe",
    };
    let mut reply = connection.reply();
    reply.push(3);
    reply.bulk(word);
    match name {
        Some(name) => reply.bulk_bytes(name),
        None => reply.null(),
    }
    reply.int(count as i64);
}
