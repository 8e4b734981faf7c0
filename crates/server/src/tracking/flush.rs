//! Flushed and exchanged databases: clients that cache are told to forget everything, once for each flush.
//!
//! Every shard takes part in a flush, and clients of this shard may have read keys of any of them. They are told when
//! this shard gives its locks back: then the flush is over everywhere, and what they read before has been answered or is
//! owed to them, so that the notice takes its place behind it.

use crate::clients::ClientKey;
use crate::shard::Shard;

use super::Keys;

impl Shard {
    /// Databases were flushed or exchanged, on all shards.
    pub(crate) fn tell_flushes(&mut self) {
        let flushes = std::mem::take(&mut self.tracking.flushes_untold);
        if self.tracking.clients == 0 {
            return;
        }
        let tracking = self.clients.iter().filter(|client| client.tracking.is_some());
        let clients: Vec<ClientKey> = tracking.map(|client| client.key).collect();
        for client in clients {
            (0..flushes).for_each(|_| self.invalidate(client, &Keys::All, None));
        }
    }
}
