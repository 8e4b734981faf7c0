//! SET: the family's list, and what its files share.

use crate::Command;

pub(super) const COMMANDS: &[Command] = &[];
