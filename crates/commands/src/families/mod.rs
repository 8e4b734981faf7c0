//! The families of data commands, one file or folder each, and the list of all of them.
//!
//! Owns the order in which commands are listed. Never holds a command itself.

mod bitmap;
mod cursor;
pub mod generic;
mod geo;
mod hash;
mod hyperloglog;
mod list;
#[cfg(test)]
mod models;
mod set;
mod stream;
mod string;
mod zset;

use crate::Command;

/// Every data command, family by family.
pub static FAMILIES: &[&[Command]] = &[
    generic::COMMANDS,
    string::COMMANDS,
    bitmap::COMMANDS,
    list::COMMANDS,
    set::COMMANDS,
    zset::COMMANDS,
    hash::COMMANDS,
    stream::COMMANDS,
    geo::COMMANDS,
    hyperloglog::COMMANDS,
];
