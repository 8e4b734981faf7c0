//! The harness of the end-to-end tests: servers as processes, a small client, and transcripts.
//!
//! Talks to servers through sockets and signals only; never links the server, so whatever passes here passes for any
//! client.

#![forbid(unsafe_code)]

mod binary;
mod client;
mod http;
mod ports;
mod process;
mod random;
pub mod raw;
mod server;
pub mod transcript;

pub use binary::{torc_binary, workspace_root};
pub use client::{Client, PATIENCE};
pub use http::{Samples, http_get, scrape};
pub use ports::{Port, free_port};
pub use process::{Signal, cpu_time, scratch_dir, threads, wait_until};
pub use random::Random;
pub use server::{Kind, Launch, Server, Version, reference, reference_or_skip, skip_or_fail, valkey};
