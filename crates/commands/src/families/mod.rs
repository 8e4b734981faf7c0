//! The families of data commands, one file each, and the list of all of them.
//!
//! Owns the order in which commands are listed. Never holds a command itself.

use crate::Command;

/// Every data command, family by family.
pub static FAMILIES: &[&[Command]] = &[];
