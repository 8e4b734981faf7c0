//! The family TRANSACTIONS: specs of MULTI, EXEC, DISCARD, WATCH and UNWATCH. What they do is in `shard::exec`.

use torc_commands::{Access, Arity, Docs, Flags, Group, KeySpec, Spec};

use crate::shard::Shard;

use super::{SessionCommand, SessionRun};

const CONTROL: Flags = Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::FAST);

pub static COMMANDS: &[SessionCommand] = &[MULTI, EXEC, DISCARD, WATCH, UNWATCH];

const MULTI: SessionCommand = SessionCommand {
    spec: Spec {
        name: "multi",
        arity: Arity::exactly(1),
        flags: CONTROL.and(Flags::NO_MULTI).and(Flags::ALLOW_BUSY),
        docs: &Docs {
            syntax: "MULTI",
            summary: "Starts a transaction.",
            since: "1.2.0",
            group: Group::Transactions,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(Shard::multi),
    subcommands: &[],
};

const EXEC: SessionCommand = SessionCommand {
    spec: Spec {
        name: "exec",
        arity: Arity::exactly(1),
        flags: Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::SKIP_SLOWLOG),
        docs: &Docs {
            syntax: "EXEC",
            summary: "Executes all commands in a transaction.",
            since: "1.2.0",
            complexity: "Depends on commands in the transaction",
            group: Group::Transactions,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(Shard::exec),
    subcommands: &[],
};

const DISCARD: SessionCommand = SessionCommand {
    spec: Spec {
        name: "discard",
        arity: Arity::exactly(1),
        flags: CONTROL.and(Flags::ALLOW_BUSY),
        docs: &Docs {
            syntax: "DISCARD",
            summary: "Discards a transaction.",
            since: "2.0.0",
            complexity: "O(N), when N is the number of queued commands",
            group: Group::Transactions,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(Shard::discard),
    subcommands: &[],
};

const WATCH: SessionCommand = SessionCommand {
    spec: Spec {
        name: "watch",
        arity: Arity::at_least(2),
        flags: CONTROL.and(Flags::NO_MULTI).and(Flags::ALLOW_BUSY),
        keys: &[KeySpec::range(1, -1, 1, Access::RO)],
        docs: &Docs {
            syntax: "WATCH key [key ...]",
            summary: "Monitors changes to keys to determine the execution of a transaction.",
            since: "2.2.0",
            complexity: "O(1) for every key.",
            group: Group::Transactions,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(Shard::watch),
    subcommands: &[],
};

const UNWATCH: SessionCommand = SessionCommand {
    spec: Spec {
        name: "unwatch",
        arity: Arity::exactly(1),
        flags: CONTROL.and(Flags::ALLOW_BUSY),
        docs: &Docs {
            syntax: "UNWATCH",
            summary: "Forgets about watched keys of a transaction.",
            since: "2.2.0",
            group: Group::Transactions,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(Shard::unwatch_command),
    subcommands: &[],
};
