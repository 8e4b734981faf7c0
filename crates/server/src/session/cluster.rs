//! READONLY, READWRITE and ASKING: what clients and tools of clusters say to any server.
//!
//! There is no cluster and no replica in this version: the first two change nothing, as on any standalone server, and the
//! third is an error.

use torc_commands::{Arity, Category, Docs, Flags, Group, Spec};
use torc_resp::CommandError;

use super::{ALWAYS, SessionCommand};

pub static COMMANDS: &[SessionCommand] = &[ASKING, READONLY, READWRITE];

const ASKING: SessionCommand = SessionCommand::new(
    Spec {
        name: "asking",
        arity: Arity::exactly(1),
        flags: Flags::FAST,
        categories: &[Category::Connection],
        docs: &Docs {
            syntax: "ASKING",
            summary: "Says that the next command follows an -ASK redirection: an error where there is no cluster.",
            since: "3.0.0",
            complexity: "O(1)",
            group: Group::Cluster,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    |_, _, _| Err(CommandError::Text("ERR This instance has cluster support disabled")),
);

const READONLY: SessionCommand = without_effect(
    "readonly",
    &Docs {
        syntax: "READONLY",
        summary: "Lets a replica answer reads: without effect where there is none.",
        since: "3.0.0",
        complexity: "O(1)",
        group: Group::Cluster,
        ..Docs::DEFAULT
    },
);

const READWRITE: SessionCommand = without_effect(
    "readwrite",
    &Docs {
        syntax: "READWRITE",
        summary: "Takes READONLY back: without effect where there is no replica.",
        since: "3.0.0",
        complexity: "O(1)",
        group: Group::Cluster,
        ..Docs::DEFAULT
    },
);

const fn without_effect(name: &'static str, docs: &'static Docs) -> SessionCommand {
    SessionCommand::new(
        Spec {
            name,
            arity: Arity::exactly(1),
            flags: ALWAYS.and(Flags::FAST),
            categories: &[Category::Connection],
            docs,
            ..Spec::DEFAULT
        },
        |shard, connection, _| shard.reply_ok(connection),
    )
}
