//! Client-side caching: CLIENT TRACKING across shards.
//!
//! The shard of a key remembers which clients have read it (`reads`), and tells their shards once when it changes: then
//! it has forgotten them. Prefixes that clients follow (BCAST) are known to every shard (`prefixes`). A client's shard
//! passes notices on to the client, or to the one that it redirects to (`deliver`); the state of a client is in `client`.
//!
//! No notice is lost and none comes too early. A read is remembered on the shard of the key, in the order of that shard's
//! changes. A notice takes its place behind all replies that its client has or still waits for. What a transaction reads
//! and changes is told by the shards of the keys, when its locks are given back. A flush is told by the shards of the
//! clients (`flush`).
//!
//! Never looks at values, and never decides what a change is: see `torc_keyspace::change`.

mod client;
mod deliver;
mod flush;
mod prefixes;
mod reads;

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;
use torc_keyspace::{Class, EventRef};

use crate::clients::{ClientKey, ClientToken};
use crate::packet::{Packet, ShardId};
use crate::shard::Shard;

pub use client::{ClientTracking, Redirect, TrackingOptions};
pub use prefixes::Prefixes;
pub use reads::Reads;

/// Reads that are forgotten in one step, at most, when there are too many.
const FORGOTTEN_PER_STEP_MAX: usize = 1024;

/// One shard's part of client-side caching.
#[derive(Default)]
pub struct Tracking {
    /// Clients of this shard that track.
    pub clients: usize,
    pub reads: Reads,
    pub prefixes: Prefixes,
    /// Notices of this step, by the shard of their clients.
    outgoing: Vec<Vec<Notice>>,
    /// Flushes that this shard has taken part in, and nobody has been told of.
    pub(crate) flushes_untold: usize,
}

/// Client-side caching between shards.
pub enum Message {
    /// Shard of keys → shard of clients.
    Notices(Vec<Notice>),
    /// Shard of a client → shard of the client that it redirects to.
    Redirected { to: ClientKey, client: ClientKey, keys: Keys },
    /// The answer when that client is gone.
    RedirectBroken { client: ClientKey },
    /// A client follows no prefix any more.
    Unfollow { client: ClientToken, prefixes: Vec<Bytes> },
}

/// Keys of one shard that are not what they were, and clients of another one that want to know.
pub struct Notice {
    keys: Keys,
    clients: SmallVec<[ClientToken; 2]>,
    /// For clients that follow prefixes; otherwise for those that have read the key.
    bcast: bool,
}

/// What a client is to forget.
#[derive(Clone)]
pub enum Keys {
    All,
    One(Changed),
    Many(Arc<[Changed]>),
}

/// A key, and who changed it last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    key: Bytes,
    actor: Option<ClientToken>,
}

impl Tracking {
    /// What has to be recorded for it.
    pub(crate) fn listening(&self) -> Class {
        if !self.reads.is_empty() || !self.prefixes.is_empty() {
            Class::CHANGES | Class::FLUSHED
        } else if self.clients > 0 {
            Class::FLUSHED
        } else {
            Class::NONE
        }
    }
}

impl Shard {
    /// Take in an event of the change stream.
    pub(crate) fn track(&mut self, event: EventRef<'_>) {
        let actor = ClientToken::from_bits(event.actor);
        let changed = || Changed { key: Bytes::copy_from_slice(event.key), actor };
        match event.class {
            Class::REMEMBERED => {
                if let Some(client) = actor {
                    self.tracking.reads.remember(event.key, client);
                }
            }
            Class::FLUSHED => {
                self.tracking.reads.clear();
                self.tracking.flushes_untold += 1;
            }
            class if class.intersects(Class::CHANGES) => {
                self.tracking.prefixes.changed(event.key, actor);
                if let Some(clients) = self.tracking.reads.take(event.key) {
                    self.notify_readers(changed(), &clients);
                }
            }
            _ => {}
        }
    }

    fn notify_readers(&mut self, changed: Changed, clients: &[ClientToken]) {
        // Clients are in order, and those of one shard stand together.
        for clients in clients.chunk_by(|a, b| a.shard() == b.shard()) {
            let notice = Notice { keys: Keys::One(changed.clone()), clients: clients.into(), bcast: false };
            self.post(clients[0].shard(), notice);
        }
    }

    fn post(&mut self, shard: ShardId, notice: Notice) {
        let shards = self.shards();
        let outgoing = &mut self.tracking.outgoing;
        outgoing.resize_with(shards, Vec::new);
        outgoing[shard as usize].push(notice);
    }

    /// All events of this step are taken in: send what follows from them.
    pub(crate) fn send_notices(&mut self) {
        self.forget_reads();
        for prefix in self.tracking.prefixes.take_changed() {
            for clients in prefix.clients.chunk_by(|a, b| a.shard() == b.shard()) {
                let keys = Keys::Many(Arc::clone(&prefix.keys));
                let notice = Notice { keys, clients: clients.into(), bcast: true };
                self.post(clients[0].shard(), notice);
            }
        }
        for shard in 0..self.tracking.outgoing.len() {
            let notices = std::mem::take(&mut self.tracking.outgoing[shard]);
            if notices.is_empty() {
                continue;
            }
            if shard == self.id as usize {
                self.notices_arrived(notices);
            } else {
                let (messages, bytes) = load_of(&notices);
                self.pubsub.count_sent(shard as ShardId, messages, bytes);
                self.send_tracking(shard as ShardId, Message::Notices(notices));
            }
        }
    }

    fn peers(&self) -> impl Iterator<Item = ShardId> + use<> {
        let own = self.id;
        (0..self.shards() as ShardId).filter(move |&shard| shard != own)
    }

    fn send_tracking(&mut self, to: ShardId, message: Message) {
        self.send(to, Packet::Tracking(Box::new(message)));
    }

    pub(crate) fn tracking_message(&mut self, from: ShardId, message: Message) {
        match message {
            Message::Notices(notices) => {
                let (messages, bytes) = load_of(&notices);
                self.notices_arrived(notices);
                self.delivered(from, messages, bytes);
            }
            Message::Redirected { to, client, keys } => self.redirected(from, client, to, &keys),
            Message::RedirectBroken { client } => self.redirect_broken(client),
            Message::Unfollow { client, prefixes } => self.unfollow(client, &prefixes),
        }
    }

    /// `tracking-table-max-keys` over all shards: a shard with more than its share forgets reads at random, as if the
    /// keys had changed. Where all have no more than their share, there is no excess.
    fn forget_reads(&mut self) {
        self.hub.settle_tracked_keys(&mut self.tracking.reads);
        let keys_max = self.state.tracked_keys_max();
        let share = keys_max / self.shards();
        for _ in 0..FORGOTTEN_PER_STEP_MAX {
            if self.tracking.reads.len() <= share || !self.hub.take_tracked_key(keys_max) {
                return;
            }
            let rng = &mut self.rng;
            let Some((key, clients)) = self.tracking.reads.forget(|below| rng.index(below)) else { return };
            self.notify_readers(Changed { key: Bytes::from(key), actor: None }, &clients);
        }
    }

    /// The same outside of a step with events.
    pub(crate) fn limit_tracking(&mut self) {
        if !self.tracking.reads.is_empty() {
            self.send_notices();
            self.choose_listening();
        }
    }

    /// There are more reads than there may be, and this shard has its part in that.
    pub(crate) fn tracks_too_much(&self) -> bool {
        let keys_max = self.state.tracked_keys_max();
        self.tracking.reads.len() > keys_max / self.shards() && self.hub.tracked_keys() > keys_max
    }
}

/// How much work they are: keys to tell clients of, and bytes of these keys.
fn load_of(notices: &[Notice]) -> (u32, usize) {
    notices.iter().fold((0, 0), |(told, bytes), notice| {
        let keys = match &notice.keys {
            Keys::All => &[],
            Keys::One(changed) => std::slice::from_ref(changed),
            Keys::Many(list) => &list[..],
        };
        let key_bytes: usize = keys.iter().map(|changed| changed.key.len()).sum();
        (told + (keys.len() * notice.clients.len()) as u32, bytes + key_bytes)
    })
}
