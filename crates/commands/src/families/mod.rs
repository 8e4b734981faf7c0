//! The families of data commands, one file or folder each, and the list of all of them.
//!
//! Owns the order in which commands are listed. Never holds a command itself.

mod bitmap;
pub mod generic;
mod string;

use crate::Command;

/// Every data command, family by family.
pub static FAMILIES: &[&[Command]] = &[generic::COMMANDS, string::COMMANDS, bitmap::COMMANDS];
