//! Keyspace notifications: events of the change stream as messages to subscribers.
//!
//! Owns the names of the channels. Events of one shard's keys are published by that shard, in their order. Never decides
//! what an event is: see `torc_keyspace::change`.

use std::io::Write;

use torc_keyspace::{Class, EventRef};

use crate::shard::Shard;

impl Shard {
    /// Publish an event to those who listen.
    pub(crate) fn notify(&mut self, event: EventRef<'_>) {
        let published = self.state.published_events();
        if !published.intersects(event.class) {
            return;
        }
        let mut channel = std::mem::take(&mut self.pubsub.event_channel);
        for (wanted, place, name, payload) in [
            (Class::KEYSPACE, "keyspace", event.key, event.name.as_bytes()),
            (Class::KEYEVENT, "keyevent", event.name.as_bytes(), event.key),
        ] {
            if published.intersects(wanted) {
                channel.clear();
                write!(channel, "__{place}@{}__:", event.db).expect("writing into a Vec cannot fail");
                channel.extend_from_slice(name);
                self.publish_event(&channel, payload);
            }
        }
        self.pubsub.event_channel = channel;
    }
}
