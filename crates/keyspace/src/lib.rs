//! keyspace
#![forbid(unsafe_code)]
