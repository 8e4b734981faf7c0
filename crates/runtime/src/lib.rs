//! Threads, rings and wake-ups of torc: everything between the operating system and a shard.
//!
//! Owns: one pinned executor per core ([`executor`]), threads beside them ([`beside`]), the socket ring of a core ([`net`]), the mesh of bounded
//! channels between cores ([`mesh`]) and the protocol by which a sleeping core is woken ([`wake`]), listening
//! sockets ([`listen`]), the start-up probe ([`probe`]), CPU and memory limits of the container ([`cpus`]),
//! process limits ([`limits`]), signals ([`signals`]), clocks ([`clock`]) and random seeds ([`seed`]).
//!
//! Never knows what the bytes mean: no Redis protocol, no keys, no commands. It is the only crate that names
//! glommio, io-uring and crossbeam-channel.
#![deny(unsafe_code)]

pub mod beside;
pub mod clock;
pub mod cpus;
pub mod executor;
pub mod limits;
pub mod listen;
pub mod mesh;
pub mod net;
pub mod probe;
pub mod seed;
pub mod signals;
mod sys;
pub mod wake;

pub use sys::{CpuTimes, CpuTimesOf, cpu_times};
