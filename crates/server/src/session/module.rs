//! MODULE: there are no modules, which clients may ask for, and nobody can load.
//!
//! Owns the guard before what would load one (`enable-module-command`).

use torc_commands::{Arity, Docs, Flags, Group, Spec};
use torc_resp::{Args, CommandError};

use crate::connection::Connection;
use crate::shard::Shard;

use super::{Flow, SessionCommand, help};

pub static COMMANDS: &[SessionCommand] = &[MODULE];

const ADMIN: Flags = Flags::ADMIN.and(Flags::NOSCRIPT);
const LOADS: Flags = ADMIN.and(Flags::NO_ASYNC_LOADING);

const MODULE: SessionCommand = SessionCommand::container(
    Spec {
        name: "module",
        arity: Arity::at_least(2),
        docs: &Docs {
            syntax: "MODULE",
            summary: "A container for commands about modules, of which there are none.",
            since: "4.0.0",
            complexity: "Depends on subcommand.",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    &[
        help::help(&help::docs("MODULE HELP", "5.0.0", Group::Server)),
        SessionCommand::new(
            Spec {
                name: "list",
                arity: Arity::exactly(2),
                flags: ADMIN,
                tips: &["nondeterministic_output_order"],
                docs: &Docs {
                    syntax: "MODULE LIST",
                    summary: "Returns all loaded modules: none.",
                    since: "4.0.0",
                    complexity: "O(1)",
                    group: Group::Server,
                    ..Docs::DEFAULT
                },
                ..Spec::DEFAULT
            },
            |_, connection, _| {
                connection.reply().array(0);
                Ok(Flow::Done)
            },
        ),
        loads(
            "load",
            &Docs {
                syntax: "MODULE LOAD path [arg ...]",
                summary: "Would load a module: an error.",
                since: "4.0.0",
                complexity: "O(1)",
                group: Group::Server,
                ..Docs::DEFAULT
            },
        ),
        loads(
            "loadex",
            &Docs {
                syntax: "MODULE LOADEX path [CONFIG name value [CONFIG name value ...]] [ARGS arg [arg ...]]",
                summary: "Would load a module with settings: an error.",
                since: "7.0.0",
                complexity: "O(1)",
                group: Group::Server,
                ..Docs::DEFAULT
            },
        ),
        SessionCommand::new(
            Spec {
                name: "unload",
                arity: Arity::exactly(3),
                flags: LOADS,
                docs: &Docs {
                    syntax: "MODULE UNLOAD name",
                    summary: "Would unload a module: an error.",
                    since: "4.0.0",
                    complexity: "O(1)",
                    group: Group::Server,
                    ..Docs::DEFAULT
                },
                ..Spec::DEFAULT
            },
            |shard, connection, _| {
                guard(shard, connection)?;
                Err(CommandError::Text("ERR Error unloading module: no such module with that name"))
            },
        ),
    ],
);

const fn loads(name: &'static str, docs: &'static Docs) -> SessionCommand {
    let spec = Spec { name, arity: Arity::at_least(3), flags: LOADS, docs, ..Spec::DEFAULT };
    SessionCommand::new(spec, load)
}

const REFUSAL: &str = "ERR MODULE command not allowed. If the enable-module-command option is set to \"local\", you can \
                       run it from a local connection, otherwise you need to set this option in the configuration \
                       file, and then restart the server.";

fn guard(shard: &Shard, connection: &Connection) -> Result<(), CommandError> {
    match shard.state.config.enable_module_command().allows(connection.info.loopback) {
        true => Ok(()),
        false => Err(CommandError::Text(REFUSAL)),
    }
}

fn load(shard: &mut Shard, connection: &mut Connection, _args: Args<'_>) -> Result<Flow, CommandError> {
    guard(shard, connection)?;
    tracing::warn!("no module is loaded: torc has no interface for modules");
    Err(CommandError::Text("ERR Error loading the extension. Please check the server logs."))
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn modules_are_guarded_and_there_are_none() {
        let mut bench = Bench::new("");
        let refusal = format!("-{}", super::REFUSAL);
        for line in ["MODULE LOAD /x", "MODULE LOADEX /x CONFIG a b", "MODULE UNLOAD x"] {
            bench.check(line, &refusal);
        }
        bench.check("MODULE LIST", "*0");
        let mut bench = Bench::new("--enable-module-command local");
        bench.check("MODULE LOAD /x", "-ERR Error loading the extension. Please check the server logs.");
        bench.check("MODULE UNLOAD x", "-ERR Error unloading module: no such module with that name");
    }
}
