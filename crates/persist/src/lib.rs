//! Durability: the append-only log of every shard, and the state that it gives back after a crash; RDB files ([`rdb`]);
//! encryption of both at rest ([`seal`]).
//!
//! Owns the format of records, segments and the manifest, the order of writes and syncs ([`log`]), and the rule by which
//! the segments of all shards become one consistent state ([`recovery`]). Everything here is a state machine or a
//! function over bytes: files are touched only through [`store::Store`], and the ring's writes only as actions that
//! the caller carries out. Never knows what a command means: effects are opaque lists of words.
#![forbid(unsafe_code)]

pub mod blocks;
pub mod counted;
pub mod left_out;
pub mod load;
pub mod log;
pub mod manifest;
pub mod rdb;
pub mod record;
pub mod recovery;
pub mod redis_aof;
pub mod rewrite;
pub mod seal;
pub mod segment;
pub mod store;
mod window;
