//! Telling others what happened to keys.
//!
//! Owns the moment at which the change stream of this shard is read: at the end of a turn, when the replies of its
//! commands are on their way and no connection is being processed. So whoever is told of a change that an earlier reply
//! does not show yet gets that reply first. What has gone to make room for a command comes before its reply, if its client
//! and the keys are on one shard. Never decides what a change means to them.

use torc_keyspace::Class;
use torc_resp::{Args, OwnedArgs};

use crate::clients::ClientKey;
use crate::connection::{Connection, Held, Suspension};
use crate::registry::Registered;

use super::Shard;

impl Shard {
    /// Record what somebody wants to know. To be called when settings or listeners have changed.
    pub(crate) fn choose_listening(&mut self) {
        let published = if self.pubsub.hears_events() { self.state.published_events() } else { Class::NONE };
        self.changes.listen(published | self.tracking.listening());
    }

    /// Pass on what has happened to keys since the last time.
    #[inline]
    pub(super) fn tell_changes(&mut self) {
        if self.changes.has_events() || self.tracking.flushes_untold > 0 {
            self.read_changes();
        }
        if !self.told_first.is_empty() {
            self.go_on_when_told();
        }
    }

    /// Keys have gone for a command whose client may hear of it: the command waits until it was told, once, so that it
    /// learns of them before the reply, as in Redis.
    #[cold]
    pub(super) fn tells_first(
        &mut self,
        connection: &mut Connection,
        command: &'static Registered,
        args: Args<'_>,
    ) -> bool {
        let hears = connection.tracking.is_some() || connection.subscriptions.is_some();
        if !hears || !self.changes.has_events() || connection.exec.is_some() || connection.flags.told_first {
            return false;
        }
        connection.flags.told_first = true;
        connection.held = Some(Held { command, args: OwnedArgs::copy_of(&args) });
        connection.suspension = Suspension::Telling;
        // It will be counted when it starts anew.
        connection.traffic.commands -= 1;
        self.told_first.push(connection.key);
        true
    }

    #[cold]
    fn go_on_when_told(&mut self) {
        let waiting: Vec<ClientKey> = std::mem::take(&mut self.told_first);
        for key in waiting {
            let Some(mut connection) = self.clients.take(key) else { continue };
            connection.suspension = Suspension::None;
            self.queue_run(&mut connection);
            self.clients.put_back(connection);
        }
    }

    #[cold]
    fn read_changes(&mut self) {
        let log = self.changes.take_log();
        for event in log.iter() {
            self.notify(event);
            self.track(event);
        }
        self.changes.return_log(log);
        if self.tracking.flushes_untold > 0 && !self.participant.is_flushing() {
            self.tell_flushes();
        }
        self.send_notices();
        self.brake_if_needed();
        self.choose_listening();
    }
}
