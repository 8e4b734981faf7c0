//! Value encodings: the one allocation that holds a key with its value, and the kernels that work on values
//! (glob patterns, bitmaps, bit fields, longest common subsequence).
//!
//! This crate never knows databases, slots, clients, sockets or clocks: time and randomness come in as values.
//! `unsafe` lives in two named modules only: [`entry`] (the memory layout) and [`prefetch`] (one CPU hint).

#![deny(unsafe_code)]

pub mod bitfield;
pub mod bitmap;
pub mod clock;
pub mod entry;
pub mod glob;
pub mod lcs;
pub mod number;
pub mod prefetch;
pub mod value;

pub use entry::{BIG_STRING_BYTES, Entry, KEY_BYTES_MAX, LINE_BUCKETS, buckets_with};
pub use value::{Encoding, Kind, StrRef, Value};
