//! What CLIENT TRACKING has set for one connection.
//!
//! Owns the options, whether the next command's reads are remembered, and what may not be passed on yet to the client
//! that it redirects to. Never knows other shards.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use torc_resp::CommandError;

use crate::clients::{ClientKey, ClientToken};
use crate::connection::Connection;
use crate::packet::ShardId;
use crate::shard::Shard;

use super::{Keys, Message};

/// State of a connection that tracks.
#[derive(Default)]
pub struct ClientTracking {
    pub options: TrackingOptions,
    pub redirect: Option<Redirect>,
    /// A notice did not find the client that it was redirected to.
    pub redirect_broken: bool,
    /// With BCAST.
    pub prefixes: BTreeSet<Bytes>,
    /// Notices for the other client that would overtake replies of this one: behind which place of its output each of
    /// them belongs.
    pub(super) held_back: VecDeque<(u32, Keys)>,
}

impl ClientTracking {
    /// Memory of the state itself and of the set of prefixes, which are shared with other shards.
    pub fn heap_bytes(&self) -> usize {
        size_of::<ClientTracking>() + self.prefixes.len() * 2 * size_of::<Bytes>()
    }
}

/// CLIENT TRACKING's options without REDIRECT and PREFIX.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackingOptions {
    pub bcast: bool,
    pub optin: bool,
    pub optout: bool,
    pub noloop: bool,
}

/// Who gets the notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect {
    pub id: u64,
    pub shard: ShardId,
    pub client: ClientKey,
}

impl Connection {
    /// CLIENT CACHING: the reads of the next command, or transaction, are an exception.
    pub fn set_caching(&mut self, given: bool) {
        self.flags.caching_given = given;
        self.flags.remembers_reads = self.tracking.as_ref().is_some_and(|tracking| {
            let TrackingOptions { bcast, optin, optout, .. } = tracking.options;
            let wanted = match (optin, optout) {
                (true, _) => given,
                (_, true) => !given,
                _ => true,
            };
            wanted && !bcast
        });
    }
}

impl Shard {
    /// CLIENT TRACKING ON, when every shard knows the prefixes.
    pub(crate) fn begin_tracking(
        &mut self,
        connection: &mut Connection,
        options: TrackingOptions,
        redirect: Option<Redirect>,
        prefixes: &[Bytes],
    ) {
        if connection.tracking.is_none() {
            self.tracking.clients += 1;
        }
        let tracking = connection.tracking.get_or_insert_default();
        let held_back = std::mem::take(&mut tracking.held_back);
        if let Some(redirect) = tracking.redirect {
            held_back.into_iter().for_each(|(_, keys)| self.redirect(connection.key, redirect, keys));
        }
        tracking.options = options;
        tracking.redirect = redirect;
        tracking.redirect_broken = false;
        tracking.prefixes.extend(prefixes.iter().cloned());
        connection.set_caching(connection.flags.caching_given);
        self.choose_listening();
    }

    /// On each shard: a client follows prefixes from now on.
    pub(crate) fn follow(&mut self, client: ClientToken, prefixes: &[Bytes]) {
        self.tracking.prefixes.follow(client, prefixes);
        self.choose_listening();
    }

    pub(super) fn unfollow(&mut self, client: ClientToken, prefixes: &[Bytes]) {
        self.tracking.prefixes.unfollow(client, prefixes);
        self.choose_listening();
    }

    /// CLIENT TRACKING OFF, RESET, or the end of the connection. What other shards remember of its reads stays until
    /// the keys change, as in Redis.
    pub(crate) fn end_tracking(&mut self, connection: &mut Connection) {
        let Some(tracking) = connection.tracking.take() else { return };
        self.tracking.clients -= 1;
        connection.set_caching(false);
        let client = ClientToken::new(self.id, connection.key);
        if !tracking.prefixes.is_empty() {
            let prefixes: Vec<Bytes> = tracking.prefixes.into_iter().collect();
            for shard in self.peers() {
                self.send_tracking(shard, Message::Unfollow { client, prefixes: prefixes.clone() });
            }
            self.tracking.prefixes.unfollow(client, &prefixes);
        }
        self.choose_listening();
    }
}

impl ClientTracking {
    /// Prefixes of one client may not overlap: a key would be told twice.
    pub fn check_prefixes(held: Option<&ClientTracking>, new: &[Bytes]) -> Result<(), CommandError> {
        let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
        let refuse = |prefix: &[u8], what: &str, other: &[u8]| {
            let (prefix, other) = (String::from_utf8_lossy(prefix), String::from_utf8_lossy(other));
            let text = format!(
                "ERR Prefix '{prefix}' overlaps with {what} prefix '{other}'. Prefixes for a single client must not \
                 overlap."
            );
            Err(CommandError::Owned(text.into()))
        };
        for (index, prefix) in new.iter().enumerate() {
            if let Some(other) =
                held.iter().flat_map(|held| &held.prefixes).find(|held| overlap(prefix, held))
            {
                return refuse(prefix, "an existing", other);
            }
            if let Some(other) = new[index + 1..].iter().find(|other| overlap(prefix, other)) {
                return refuse(prefix, "another provided", other);
            }
        }
        Ok(())
    }
}
