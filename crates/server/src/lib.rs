//! The torc server.
//!
//! Owns everything between the bytes of a client and the keyspace: configuration, connections, the gate and the router,
//! the shard with its transactions, session commands, and the loop that binds shards to the runtime. The binary is a
//! thin shell around this library.
#![forbid(unsafe_code)]

pub mod aof;
pub mod budget;
pub mod clients;
pub mod config;
pub mod connection;
pub mod docs;
pub mod encryption;
pub mod locks;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod monitor;
pub mod packet;
pub mod process;
pub mod pubsub;
pub mod registry;
pub mod run;
pub mod saving;
pub mod session;
pub mod shard;
pub mod shard_loop;
#[cfg(test)]
pub(crate) mod testing;
pub mod tools;
pub mod tracking;
