//! Telling others what happened to keys.
//!
//! Owns the moment at which the change stream of this shard is read: at the end of a turn, when the replies of its
//! commands are on their way and no connection is being processed. So whoever is told of a change that an earlier reply
//! does not show yet gets that reply first. Never decides what a change means to them.

use torc_keyspace::Class;

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
