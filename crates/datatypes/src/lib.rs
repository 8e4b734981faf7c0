//! Value encodings: the one allocation that holds a key with its value, and the kernels that work on values
//! (glob patterns, bitmaps, places on the globe, bit fields, longest common subsequence).
//!
//! This crate never knows databases, slots, clients, sockets or clocks: time and randomness come in as values.
//! `unsafe` lives in named modules only: [`entry`], [`member`] and `zset::{scored, general}` (memory layouts), and
//! [`prefetch`] (one CPU hint).

#![deny(unsafe_code)]

pub mod bitfield;
pub mod bitmap;
pub mod clock;
pub mod digest;
mod element_hash;
pub mod entry;
pub mod geo;
pub mod glob;
pub mod hash;
pub mod hyperloglog;
pub mod intset;
pub mod lcs;
pub mod list;
pub mod listpack;
pub mod member;
pub mod number;
pub mod prefetch;
pub mod rdb;
pub mod release;
mod sample;
mod saving;
pub mod set;
pub mod stream;
pub mod table;
#[cfg(test)]
mod testing;
pub mod value;
pub mod words;
pub mod zset;

pub use element_hash::{element_hash, seed_elements};
pub use entry::{BIG_STRING_BYTES, Entry, KEY_BYTES_MAX, LINE_BUCKETS, buckets_with};
pub use hash::{FieldRef, Hash, HashLimits, Stored};
pub use list::List;
pub use set::Set;
pub use stream::Stream;
pub use value::{Encoding, Kind, SetExpire, StrRef, StrValue, Value, ValueMut, ValueRef, is_expired};
pub use zset::ZSet;
