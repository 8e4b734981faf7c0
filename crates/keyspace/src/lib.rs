//! One shard's keys: databases as a table per slot, expiry, scan, the change stream, WATCH and awaited keys.
//!
//! Never touches sockets, files or clocks: time and randomness come in as values, so that a run can be repeated.
//! Entry points: [`Keyspace`] for everything a command does, [`Hasher`] to turn bytes into a [`Key`].

#![forbid(unsafe_code)]

mod at;
mod awaited;
pub mod change;
mod database;
pub mod effects;
mod evict;
mod expire;
mod graveyard;
mod key;
mod keyspace;
mod rng;
mod scan;
mod segment;
pub mod slot;
mod snapshot;
mod split;
pub mod watch;

pub use at::At;
pub use awaited::Ready;
pub use change::{ChangeLog, Changes, Class, Event, EventRef};
pub use database::EntryMut;
pub use effects::{Effect, Effects};
pub use evict::{Eviction, Order, Score};
pub use expire::ExpireReport;
pub use graveyard::{Flushed, Graveyard};
pub use key::{Hasher, Key};
pub use keyspace::{AccessClock, Exported, Keyspace, Lookup, Stats, Usage};
pub use rng::Rng;
pub use scan::{CURSOR_BITS, cursor_at_slot, slot_of_cursor};
pub use slot::{SLOTS, SlotMap, slot_of};
pub use snapshot::{SavePlan, SavedPart};
pub use torc_datatypes::{SetExpire, StrValue, is_expired};
pub use watch::Token;
