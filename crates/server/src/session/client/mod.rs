//! CLIENT and its subcommands.
//!
//! Owns the list of subcommands; what they do is in the files beside this one.

mod control;
mod filter;
mod list;
pub mod settings;
mod tracking;

use torc_commands::{Arity, Docs, Flags, Group, Spec};

use super::{ALWAYS, SessionCommand, help};

pub use list::{ClientFigures, memory_of};

pub static COMMANDS: &[SessionCommand] = &[CLIENT];

const CLIENT: SessionCommand = SessionCommand::container(
    Spec {
        name: "client",
        arity: Arity::at_least(2),
        flags: Flags::SENTINEL,
        docs: &Docs {
            syntax: "CLIENT",
            summary: "A container for commands about connections.",
            since: "2.4.0",
            complexity: "Depends on subcommand.",
            group: Group::Connection,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    &[
        tracking::CACHING,
        settings::CAPA,
        settings::GETNAME,
        tracking::GETREDIR,
        settings::ID,
        list::INFO,
        control::KILL,
        list::LIST,
        settings::NO_EVICT,
        settings::NO_TOUCH,
        settings::IMPORT_SOURCE,
        control::PAUSE,
        settings::REPLY,
        settings::SETINFO,
        settings::SETNAME,
        tracking::TRACKING,
        tracking::TRACKINGINFO,
        control::UNBLOCK,
        control::UNPAUSE,
        help::help(&help::docs("CLIENT HELP", "5.0.0", Group::Connection)),
    ],
);

/// Flags of most subcommands.
const COMMON: Flags = ALWAYS.and(Flags::NOSCRIPT).and(Flags::SENTINEL);
const ADMIN: Flags = COMMON.and(Flags::ADMIN);
