//! COMMAND and its subcommands: the table of commands, as clients can ask for it.
//!
//! Owns the specs of COMMAND's own family and the forms of the replies; what they say comes from the registry and what
//! `torc_commands` derives from the specs. Never holds a fact about a single command.

mod docs;
mod info;
mod keys;
mod list;

use torc_commands::{Arity, Category, Docs, Flags, Group, Spec};

use super::{SessionCommand, SessionRun, help};

pub static COMMANDS: &[SessionCommand] = &[COMMAND];

const ALWAYS: Flags = Flags::LOADING.and(Flags::STALE);
const CONNECTION: &[Category] = &[Category::Connection];
const UNORDERED: &[&str] = &["nondeterministic_output_order"];

const COMMAND: SessionCommand = SessionCommand {
    spec: Spec {
        name: "command",
        arity: Arity::at_least(1),
        flags: ALWAYS,
        categories: CONNECTION,
        tips: UNORDERED,
        docs: &Docs {
            syntax: "COMMAND",
            summary: "Returns detailed information about all commands.",
            since: "2.8.13",
            complexity: "O(N) where N is the total number of commands",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(info::all),
    subcommands: &[COUNT, DOCS, GETKEYS, GETKEYSANDFLAGS, HELP, INFO, LIST],
};

const COUNT: SessionCommand = SessionCommand {
    spec: Spec {
        name: "count",
        arity: Arity::exactly(2),
        flags: ALWAYS,
        categories: CONNECTION,
        docs: &Docs {
            syntax: "COMMAND COUNT",
            summary: "Returns the number of commands.",
            since: "2.8.13",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(info::count),
    subcommands: &[],
};

const DOCS: SessionCommand = SessionCommand {
    spec: Spec {
        name: "docs",
        arity: Arity::at_least(2),
        flags: ALWAYS,
        categories: CONNECTION,
        tips: UNORDERED,
        docs: &Docs {
            syntax: "COMMAND DOCS [command-name [command-name ...]]",
            summary: "Returns what people read about one, several or all commands.",
            since: "7.0.0",
            complexity: "O(N) where N is the number of commands to look up",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(docs::docs),
    subcommands: &[],
};

const GETKEYS: SessionCommand = SessionCommand {
    spec: Spec {
        name: "getkeys",
        arity: Arity::at_least(3),
        flags: ALWAYS,
        categories: CONNECTION,
        docs: &Docs {
            syntax: "COMMAND GETKEYS command [arg ...]",
            summary: "Finds the keys in a request.",
            since: "2.8.13",
            complexity: "O(N) where N is the number of arguments to the command",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(keys::get_keys),
    subcommands: &[],
};

const GETKEYSANDFLAGS: SessionCommand = SessionCommand {
    spec: Spec {
        name: "getkeysandflags",
        arity: Arity::at_least(3),
        flags: ALWAYS,
        categories: CONNECTION,
        docs: &Docs {
            syntax: "COMMAND GETKEYSANDFLAGS command [arg ...]",
            summary: "Finds the keys in a request, and says what is done with each.",
            since: "7.0.0",
            complexity: "O(N) where N is the number of arguments to the command",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(keys::get_keys_and_flags),
    subcommands: &[],
};

const HELP: SessionCommand = SessionCommand {
    spec: Spec {
        name: "help",
        arity: Arity::exactly(2),
        flags: ALWAYS,
        categories: CONNECTION,
        docs: &help::docs("COMMAND HELP", "5.0.0", Group::Server),
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(help::answer),
    subcommands: &[],
};

const INFO: SessionCommand = SessionCommand {
    spec: Spec {
        name: "info",
        arity: Arity::at_least(2),
        flags: ALWAYS,
        categories: CONNECTION,
        tips: UNORDERED,
        docs: &Docs {
            syntax: "COMMAND INFO [command-name [command-name ...]]",
            summary: "Returns information about one, several or all commands.",
            since: "2.8.13",
            complexity: "O(N) where N is the number of commands to look up",
            group: Group::Server,
            history: &[("7.0.0", "Allowed to be called with no argument to get info on all commands.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(info::info),
    subcommands: &[],
};

const LIST: SessionCommand = SessionCommand {
    spec: Spec {
        name: "list",
        arity: Arity::at_least(2),
        flags: ALWAYS,
        categories: CONNECTION,
        tips: UNORDERED,
        docs: &Docs {
            syntax: "COMMAND LIST [FILTERBY (MODULE module-name | ACLCAT category | PATTERN pattern:pattern)]",
            summary: "Returns the names of commands.",
            since: "7.0.0",
            complexity: "O(N) where N is the total number of commands",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(list::list),
    subcommands: &[],
};
