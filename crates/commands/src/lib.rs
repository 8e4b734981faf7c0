//! The command table and the data commands.
//!
//! Owns what a command *is* ([`Spec`]) and what data commands *do*, one file per family. A command is one place: its
//! spec, its function and its tests stand together, and one line in the family's list makes it known. Everything else
//! (routing, arity, ACL categories, COMMAND replies, generated docs, table-wide tests) derives from the spec.
//!
//! Never knows sockets, files, clocks, threads or other shards: a handler sees one keyspace that holds all its keys,
//! the time and the random numbers as values, and runs to completion.
#![forbid(unsafe_code)]

mod context;
pub mod derived;
pub mod docs;
pub mod effects;
pub mod families;
pub mod keys;
mod spec;
#[cfg(test)]
pub(crate) mod testing;
mod wait;

pub use context::{Context, DataSettings, Encodings, KEYS_AHEAD, KeyHint, REPLAY_MS};
pub use spec::{
    Access, Arity, Begin, Category, Command, Docs, Find, Flags, Fold, FoldFn, Group, Handler, KeySpec,
    MergeFn, Run, Spec, Status,
};
pub use torc_keyspace::{Rng, SlotMap};
pub use wait::{Wait, Waiting, timeout_in_ms, timeout_in_seconds};
