//! Telling others what happened to keys.
//!
//! Owns the moment at which the change stream of this shard is read: at the end of a turn, when the replies of its
//! commands are on their way and no connection is being processed. So whoever is told of a change that an earlier reply
//! does not show yet gets that reply first. Never decides what a change means to them.

use super::Shard;

impl Shard {
    /// Pass on what has happened to keys since the last time.
    #[inline]
    pub(super) fn tell_changes(&mut self) {
        if self.changes.has_events() {
            self.read_changes();
        }
    }

    #[cold]
    fn read_changes(&mut self) {
        let log = self.changes.take_log();
        for event in log.iter() {
            self.notify(event);
        }
        self.changes.return_log(log);
    }
}
