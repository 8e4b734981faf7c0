//! The Redis/Valkey wire protocol, RESP2 and RESP3: request bytes to arguments, replies to bytes.
//!
//! Owns the request parser, argument access, the reply buffer and writer, the closed set of error texts, the
//! number formats of the protocol, and a reply reader for the client side (tests, benchmarks, replicas).
//! Never touches sockets, files, clocks or the keyspace: bytes come in and go out as slices.
#![forbid(unsafe_code)]

mod args;
mod error;
mod inline;
mod long_double;
pub mod number;
pub mod parse;
mod reply;
mod reply_buf;
pub mod value;

pub use args::{Args, OwnedArgs, Span};
pub use error::{CommandError, ProtocolError};
pub use inline::split_line;
pub use long_double::LongDouble;
pub use parse::{Limits, Parsed, RequestParser};
pub use reply::{Deferred, Proto, Reply};
pub use reply_buf::{KEPT_CAPACITY_BYTES, MAX_IO_SLICES, Mark, ReplyBuf};
pub use value::{Value, ValueError, ValueReader, encode_command};

/// Arguments and replies of this size and more are handed over as [`bytes::Bytes`] instead of being copied.
pub const BIG_BYTES: usize = 16 * 1024;
