//! Periodic work of a shard: expiry, the end of a pause, idle clients.
//!
//! Owns what happens between requests. Called about ten times a second; each call is bounded.

use crate::clients::ClientKey;
use crate::connection::Suspension;

use super::Shard;

/// Entries that one tick of active expiry looks at, at most. A tenth of a second's worth at 25 % of a core.
const EXPIRE_VISITS_MAX: usize = 400_000;

impl Shard {
    /// Periodic work, about ten times a second.
    pub fn tick(&mut self) {
        self.end_pause();
        self.expire_some();
        self.close_idle_clients();
    }

    /// CLIENT PAUSE is over when its time has come: held commands go on.
    fn end_pause(&mut self) {
        if self.state.pause.is_some_and(|pause| pause.until_ms > self.now.unix_ms) {
            return;
        }
        self.state.pause = None;
        let mut waiting = Vec::new();
        for connection in self.clients.iter_mut() {
            if connection.suspension == Suspension::Pause {
                connection.suspension = Suspension::None;
                waiting.push(connection.key);
            }
        }
        for key in waiting {
            let Some(mut connection) = self.clients.take(key) else { continue };
            self.queue_run(&mut connection);
            self.clients.put_back(connection);
        }
    }

    /// `timeout`: close connections that have said nothing for too long (not subscribers).
    fn close_idle_clients(&mut self) {
        let Some(timeout_ms) = self.state.idle_timeout_ms() else { return };
        let oldest_ms = self.now.unix_ms - timeout_ms;
        let idle: Vec<ClientKey> = self
            .clients
            .iter()
            .filter(|client| {
                client.last_interaction_ms < oldest_ms
                    && client.subscriptions.is_none()
                    && client.suspension == Suspension::None
            })
            .map(|client| client.key)
            .collect();
        for key in idle {
            self.kill(key);
        }
    }

    /// Active expiry: look for expired entries, harder while many are found.
    fn expire_some(&mut self) {
        if self.keyspace_away {
            return;
        }
        self.keyspace.active_expire(self.now.unix_ms, EXPIRE_VISITS_MAX, &mut self.changes);
    }
}
