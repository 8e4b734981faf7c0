//! commands
#![forbid(unsafe_code)]
