//! Notices on their way to clients of this shard.
//!
//! Owns who gets a notice (NOLOOP, REDIRECT) and its form in each protocol. A notice takes its place behind the replies
//! that its client still waits for, and behind the reply that is being made.

use std::sync::Arc;

use torc_resp::{Proto, Reply, ReplyBuf};

use crate::clients::{ClientKey, ClientToken};
use crate::connection::Connection;
use crate::packet::ShardId;
use crate::shard::Shard;

use super::{Changed, Keys, Message, Notice, Redirect};

/// Where RESP2 clients that others redirect to listen.
const CHANNEL: &[u8] = b"__redis__:invalidate";

impl Shard {
    /// Notices about keys of some shard for clients of this one.
    pub(super) fn notices_arrived(&mut self, notices: Vec<Notice>) {
        for notice in notices {
            for client in notice.clients {
                if let Some(key) = self.clients.named(client) {
                    self.invalidate(key, &notice.keys, Some(notice.bcast));
                }
            }
        }
    }

    /// Tell a client. `bcast`: the notice is only for clients that track in this way.
    pub(super) fn invalidate(&mut self, client: ClientKey, keys: &Keys, bcast: Option<bool>) {
        let own = ClientToken::new(self.id, client);
        let Some(connection) = self.clients.get_mut(client) else { return };
        let (is_answering, place) = (connection.is_answering(), connection.place_behind());
        let Some(tracking) = &mut connection.tracking else { return };
        if bcast.is_some_and(|bcast| bcast != tracking.options.bcast) || connection.flags.closing {
            return;
        }
        let without = tracking.options.noloop.then_some(own);
        let Some(keys) = keys.without_changes_by(without) else { return };
        let Some(redirect) = tracking.redirect else {
            if connection.proto == Proto::Resp3 {
                connection.push(|out| write(&keys, Form::Push, out));
                self.flush_soon(client);
            }
            return;
        };
        let is_sent = connection.output.is_past(place) && connection.output.has_sent_all();
        if is_sent && !is_answering {
            return self.redirect(client, redirect, keys);
        }
        tracking.held_back.push_back((place, keys));
        connection.flags.notices_held_back = true;
        self.flush_soon(client);
    }

    /// Replies of a client were sent: notices that waited for them can go to the client that it redirects to.
    #[cold]
    pub(crate) fn pass_on_notices(&mut self, client: ClientKey) {
        let Some(connection) = self.clients.get_mut(client) else { return };
        if connection.is_answering() {
            return;
        }
        let Connection { tracking, output, flags, .. } = connection;
        let Some(tracking) = tracking else { return };
        let mut passed = Vec::new();
        while let Some((_, keys)) = tracking.held_back.pop_front_if(|(place, _)| output.is_past(*place)) {
            passed.push(keys);
        }
        flags.notices_held_back = !tracking.held_back.is_empty();
        let Some(redirect) = tracking.redirect else { return };
        passed.into_iter().for_each(|keys| self.redirect(client, redirect, keys));
    }

    pub(super) fn redirect(&mut self, client: ClientKey, redirect: Redirect, keys: Keys) {
        let message = Message::Redirected { to: redirect.client, client, keys };
        self.send_tracking(redirect.shard, message);
    }

    /// A notice for client `client` of shard `from`, which wants `to` to get it.
    pub(super) fn redirected(&mut self, from: ShardId, client: ClientKey, to: ClientKey, keys: &Keys) {
        let Some(connection) = self.clients.get_mut(to) else {
            return self.send_tracking(from, Message::RedirectBroken { client });
        };
        let form = match connection.proto {
            Proto::Resp3 => Form::Push,
            Proto::Resp2 if connection.subscriptions.is_some() => Form::Message,
            Proto::Resp2 => return,
        };
        if !connection.flags.closing {
            connection.push(|out| write(keys, form, out));
            self.flush_soon(to);
        }
    }

    /// The client that this one redirects to is gone.
    pub(super) fn redirect_broken(&mut self, client: ClientKey) {
        let Some(connection) = self.clients.get_mut(client) else { return };
        let Some(tracking) = &mut connection.tracking else { return };
        let Some(redirect) = tracking.redirect else { return };
        tracking.redirect_broken = true;
        if connection.proto == Proto::Resp3 {
            connection.push(|out| {
                let mut reply = Reply::new(out, Proto::Resp3);
                reply.push(2);
                reply.bulk(b"tracking-redir-broken");
                reply.int(redirect.id as i64);
            });
            self.flush_soon(client);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// RESP3.
    Push,
    /// A message on a channel, in RESP2.
    Message,
}

fn write(keys: &Keys, form: Form, out: &mut ReplyBuf) {
    let mut reply = match form {
        Form::Push => {
            let mut reply = Reply::new(out, Proto::Resp3);
            reply.push(2);
            reply.bulk(b"invalidate");
            reply
        }
        Form::Message => {
            let mut reply = Reply::new(out, Proto::Resp2);
            reply.push(3);
            reply.bulk(b"message");
            reply.bulk(CHANNEL);
            reply
        }
    };
    match keys {
        Keys::All => reply.null(),
        Keys::One(changed) => {
            reply.array(1);
            reply.bulk_bytes(&changed.key);
        }
        Keys::Many(list) => {
            reply.array(list.len());
            list.iter().for_each(|changed| reply.bulk_bytes(&changed.key));
        }
    }
}

impl Keys {
    /// Without those that `client` changed itself; `None`: nothing is left.
    fn without_changes_by(&self, client: Option<ClientToken>) -> Option<Keys> {
        let foreign = |changed: &Changed| client.is_none() || changed.actor != client;
        match self {
            Keys::Many(list) if !list.iter().all(foreign) => {
                let rest: Arc<[Changed]> = list.iter().filter(|changed| foreign(changed)).cloned().collect();
                (!rest.is_empty()).then_some(Keys::Many(rest))
            }
            Keys::One(changed) if !foreign(changed) => None,
            keys => Some(keys.clone()),
        }
    }
}
