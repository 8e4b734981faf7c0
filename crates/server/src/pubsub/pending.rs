//! Messages with more subscribers on this shard than one step serves.
//!
//! Owns the queue of such messages, and of all that came behind them, so that no message overtakes another. Who gets a
//! message is settled when it arrives; each step serves a bounded number of them, so that a channel with very many
//! subscribers holds nobody up. Before a client is told that a subscription has ended, it gets what still waits for it.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use torc_resp::ReplyBuf;

use crate::clients::ClientKey;
use crate::connection::Connection;
use crate::packet::ShardId;
use crate::shard::Shard;

use super::Kind;
use super::deliver::{Delivery, Letter, write_to};

/// Subscribers that are served in one step: some 100 µs.
const SERVED_PER_STEP_MAX: usize = 1024;

/// The queue of messages.
pub(super) struct Pending {
    messages: VecDeque<Message>,
    served_per_step_max: usize,
}

struct Message {
    delivery: Arc<Delivery>,
    /// Who is to be served; `None`: done, or gone.
    targets: Vec<Option<Target>>,
    next: usize,
    /// The home that wants to know when it is delivered.
    report_to: Option<ShardId>,
}

/// A client, and the pattern through which it hears the message.
#[derive(Clone, Copy)]
struct Target {
    client: ClientKey,
    pattern: Option<u32>,
}

impl Default for Pending {
    fn default() -> Pending {
        Pending { messages: VecDeque::new(), served_per_step_max: SERVED_PER_STEP_MAX }
    }
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether so many can be served at once.
    pub(super) fn may_pass(&self, subscribers: usize) -> bool {
        self.messages.is_empty() && subscribers <= self.served_per_step_max
    }

    /// Takes out what waits for a client, oldest first.
    fn take_for(&mut self, client: ClientKey) -> Vec<(Arc<Delivery>, Option<u32>)> {
        let mut taken = Vec::new();
        for message in &mut self.messages {
            for target in &mut message.targets[message.next..] {
                if let Some(found) = target.take_if(|target| target.client == client) {
                    taken.push((Arc::clone(&message.delivery), found.pattern));
                }
            }
        }
        taken
    }
}

impl Shard {
    /// Put a message behind those that wait.
    pub(super) fn queue_delivery(
        &mut self,
        home: ShardId,
        letter: &Letter<'_>,
        patterns: &[Bytes],
        current: Option<&Connection>,
    ) {
        let hears = |client: ClientKey, membership| {
            let connection =
                current.filter(|current| current.key == client).or_else(|| self.clients.get(client));
            let subscriptions = connection.and_then(|connection| connection.subscriptions.as_ref());
            subscriptions.is_some_and(|subscriptions| subscriptions.hears(membership, home))
        };
        let mut targets = Vec::new();
        let of_channel = self.pubsub.audience(letter.kind).members(letter.channel).map(|found| (None, found));
        let of_patterns = patterns.iter().enumerate().filter_map(|(index, pattern)| {
            Some((Some(index as u32), self.pubsub.audience(Kind::Pattern).members(pattern)?))
        });
        for (pattern, members) in of_channel.into_iter().chain(of_patterns) {
            let hearing = members.iter().filter(|&(&client, &membership)| hears(client, membership));
            targets.extend(hearing.map(|(&client, _)| Some(Target { client, pattern })));
        }
        let delivery = Arc::new(Delivery::of(letter, patterns.to_vec()));
        let report_to = (home != self.id).then_some(home);
        self.pubsub.pending.messages.push_back(Message { delivery, targets, next: 0, report_to });
    }

    /// Serve some of those for whom messages wait.
    #[inline]
    pub(crate) fn deliver_pending(&mut self) {
        if !self.pubsub.pending.is_empty() {
            self.serve_pending();
        }
    }

    #[cold]
    fn serve_pending(&mut self) {
        let mut left = self.pubsub.pending.served_per_step_max;
        while left > 0
            && let Some(mut message) = self.pubsub.pending.messages.pop_front()
        {
            let end = message.targets.len().min(message.next + left);
            left -= end - message.next;
            self.write_to_targets(&message.delivery, &message.targets[message.next..end]);
            message.next = end;
            if end < message.targets.len() {
                return self.pubsub.pending.messages.push_front(message);
            }
            if let Some(home) = message.report_to {
                self.delivered(home, 1, message.delivery.bytes());
            }
        }
    }

    fn write_to_targets(&mut self, delivery: &Delivery, targets: &[Option<Target>]) {
        let letter = delivery.letter();
        // Those who hear it through one pattern stand together.
        let mut encoded: (Option<u32>, [Option<ReplyBuf>; 2]) = (None, [None, None]);
        for &Target { client, pattern } in targets.iter().flatten() {
            if encoded.0 != pattern {
                encoded = (pattern, [None, None]);
            }
            let Some(connection) = self.clients.get_mut(client) else { continue };
            let pattern = pattern.map(|index| &*delivery.patterns()[index as usize]);
            if write_to(connection, &letter, pattern, Some(&mut encoded.1)) {
                self.flush_soon(client);
            }
        }
    }

    /// Write what waits for a client whose subscriptions end.
    pub(super) fn deliver_pending_to(&mut self, connection: &mut Connection) {
        if self.pubsub.pending.is_empty() {
            return;
        }
        for (delivery, pattern) in self.pubsub.pending.take_for(connection.key) {
            let pattern = pattern.map(|index| &*delivery.patterns()[index as usize]);
            write_to(connection, &delivery.letter(), pattern, None);
        }
    }

    /// Nothing that waits is for this client any more.
    pub(super) fn forget_pending(&mut self, client: ClientKey) {
        if !self.pubsub.pending.is_empty() {
            self.pubsub.pending.take_for(client);
        }
    }

    /// Messages wait for subscribers of this shard.
    pub(crate) fn has_pending_deliveries(&self) -> bool {
        !self.pubsub.pending.is_empty()
    }

    /// Serve so few subscribers in a step that a simulation sees messages wait.
    pub fn bound_deliveries_for_test(&mut self, served_per_step_max: usize) {
        self.pubsub.pending.served_per_step_max = served_per_step_max;
    }
}
