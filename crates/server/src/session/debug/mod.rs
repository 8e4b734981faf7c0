//! DEBUG: what test suites use to look inside and to bring about rare states.
//!
//! Owns the list of its commands and the guard before them (`enable-debug-command`). COMMAND does not know subcommands
//! of DEBUG, as in Redis.

mod digest;
mod protocol;
mod state;

use torc_commands::{Arity, Docs, Flags, Group, Spec, Status};
use torc_resp::{Args, CommandError};

use crate::connection::Connection;
use crate::shard::Shard;

use super::{ALWAYS, Flow, SessionCommand, SessionFn, help, wrong_subcommand};

pub static COMMANDS: &[SessionCommand] = &[DEBUG];

const DEBUG: SessionCommand = SessionCommand::new(
    Spec {
        name: "debug",
        arity: Arity::at_least(2),
        flags: ALWAYS.and(Flags::ADMIN).and(Flags::NOSCRIPT).and(Flags::PROTECTED),
        docs: &Docs {
            syntax: "DEBUG subcommand [arg ...]",
            summary: "A container for commands that test suites use.",
            complexity: "Depends on subcommand.",
            group: Group::Server,
            status: Status::System,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    debug,
);

/// One of DEBUG's commands.
struct DebugCommand {
    name: &'static str,
    /// Arguments, as HELP shows them.
    arguments: &'static str,
    summary: &'static str,
    /// Number of arguments, DEBUG and the name included.
    arity: std::ops::RangeInclusive<usize>,
    run: SessionFn,
}

const MANY: usize = usize::MAX;

/// In alphabetical order, HELP last.
static DEBUG_COMMANDS: &[DebugCommand] = &[
    DebugCommand {
        name: "CHANGE-REPL-ID",
        arguments: "",
        summary: "Give the history of the data a new name.",
        arity: 2..=2,
        run: state::change_repl_id,
    },
    DebugCommand {
        name: "DICT-RESIZING",
        arguments: " <0|1>",
        summary: "Accepted and ignored: tables have no background resizing.",
        arity: 3..=3,
        run: accept,
    },
    DebugCommand {
        name: "DIGEST",
        arguments: "",
        summary: "Return a digest of all data.",
        arity: 2..=2,
        run: digest::digest,
    },
    DebugCommand {
        name: "DIGEST-VALUE",
        arguments: " [<key> ...]",
        summary: "Return a digest of each key's value.",
        arity: 2..=MANY,
        run: digest::digest_value,
    },
    DebugCommand {
        name: "ERROR",
        arguments: " <string>",
        summary: "Return an error with this text.",
        arity: 3..=3,
        run: protocol::error,
    },
    DebugCommand {
        name: "HTSTATS",
        arguments: " <dbid> [full]",
        summary: "Return figures about the tables of a database.",
        arity: 3..=4,
        run: state::table_stats,
    },
    DebugCommand {
        name: "LISTPACK",
        arguments: " <key>",
        summary: "Write figures of a value that is one listpack to the server's log.",
        arity: 3..=3,
        run: state::listpack,
    },
    DebugCommand {
        name: "LOG",
        arguments: " <message>",
        summary: "Write a message to the server's log.",
        arity: 3..=3,
        run: state::log,
    },
    DebugCommand {
        name: "OBJECT",
        arguments: " <key> [fast]",
        summary: "Return what is known of a key's value.",
        arity: 3..=4,
        run: state::object,
    },
    DebugCommand {
        name: "PAUSE-CRON",
        arguments: " <0|1>",
        summary: "Stop periodic work (expiry, timeouts, samples), or go on with it.",
        arity: 3..=3,
        run: state::pause_cron,
    },
    DebugCommand {
        name: "POPULATE",
        arguments: " <count> [<prefix>] [<size>]",
        summary: "Create string keys named key:<number>, or with another prefix.",
        arity: 3..=5,
        run: state::populate,
    },
    DebugCommand {
        name: "PROTOCOL",
        arguments: " <type>",
        summary: "Return a reply of this type: string, integer, double, bignum, null, array, set, map, attrib, push, \
                  verbatim, true, false.",
        arity: 3..=3,
        run: protocol::protocol,
    },
    DebugCommand {
        name: "QUICKLIST-PACKED-THRESHOLD",
        arguments: " <size>",
        summary: "Set the size from which on a list element has a node of its own.",
        arity: 3..=3,
        run: state::packed_threshold,
    },
    DebugCommand {
        name: "LOADAOF",
        arguments: "",
        summary: "Flush the log to the system, empty the databases, and load the log.",
        arity: 2..=2,
        run: |shard, connection, _args| Ok(shard.load_log_for(connection)),
    },
    DebugCommand {
        name: "RELOAD",
        arguments: " [<option> ...]",
        summary: "Write a snapshot and load it. Options: NOSAVE (load what is there), NOFLUSH and MERGE (keys that are \
                  there stay unless they are in the file).",
        arity: 2..=MANY,
        run: state::reload,
    },
    DebugCommand {
        name: "REPLYBUFFER",
        arguments: " (PEAK-RESET-TIME <NEVER|RESET|time> | RESIZING <0|1>)",
        summary: "Accepted and ignored: reply buffers have no background resizing.",
        arity: 4..=4,
        run: state::reply_buffer,
    },
    DebugCommand {
        name: "SET-ACTIVE-EXPIRE",
        arguments: " <0|1>",
        summary: "Whether expired keys are looked for in the background.",
        arity: 3..=3,
        run: state::set_active_expire,
    },
    DebugCommand {
        name: "SLEEP",
        arguments: " <seconds>",
        summary: "Stop the server for a while.",
        arity: 3..=3,
        run: state::sleep,
    },
    DebugCommand {
        name: "STRINGMATCH-LEN",
        arguments: " <length> <pattern>",
        summary: "Match a string of that many letters 'a' with a pattern: 1 or 0.",
        arity: 4..=4,
        run: state::string_match_len,
    },
    DebugCommand { name: "HELP", arguments: "", summary: "Print this help.", arity: 2..=2, run: write_help },
];

const REFUSAL: &str = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can \
                       run it from a local connection, otherwise you need to set this option in the configuration \
                       file, and then restart the server.";

fn debug(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    if !shard.state.config.enable_debug_command().allows(connection.info.loopback) {
        return Err(CommandError::Text(REFUSAL));
    }
    let known = DEBUG_COMMANDS.iter().find(|command| args.is(1, command.name.as_bytes()));
    match known {
        Some(command) if command.arity.contains(&args.len()) => (command.run)(shard, connection, args),
        _ => Err(wrong_subcommand("DEBUG", args.get(1))),
    }
}

fn write_help(
    _shard: &mut Shard,
    connection: &mut Connection,
    _args: Args<'_>,
) -> Result<Flow, CommandError> {
    let forms: Vec<String> =
        DEBUG_COMMANDS.iter().map(|command| format!("{}{}", command.name, command.arguments)).collect();
    let summaries = DEBUG_COMMANDS.iter().map(|command| command.summary);
    let lines: Vec<(&str, &str)> = forms.iter().map(String::as_str).zip(summaries).collect();
    help::write(connection, "DEBUG", lines.into_iter());
    Ok(Flow::Done)
}

fn accept(shard: &mut Shard, connection: &mut Connection, _args: Args<'_>) -> Result<Flow, CommandError> {
    shard.reply_ok(connection)
}

/// The wrong-arguments error of one of DEBUG's commands that has commands of its own.
fn wrong(args: Args<'_>) -> CommandError {
    wrong_subcommand("DEBUG", args.get(1))
}

/// What a flag argument says: 0 is no, everything else yes, as C's atoi reads it.
fn flag(args: Args<'_>, index: usize) -> bool {
    args.int(index).is_ok_and(|number| number != 0)
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn debug_is_guarded() {
        let mut bench = Bench::new("");
        let refusal = format!("-{}", super::REFUSAL);
        bench.check("DEBUG SLEEP 0", &refusal);
        bench.check("DEBUG FOO", &refusal);
        bench.check("DEBUG", "-ERR wrong number of arguments for 'debug' command");
        let mut bench = Bench::new("--enable-debug-command local");
        bench.check("DEBUG LOG x", "+OK");
        for line in
            ["DEBUG FOO", "DEBUG SLEEP", "DEBUG SLEEP 0 0", "DEBUG HELP x", "DEBUG JMAP", "DEBUG POPULATE"]
        {
            let name = line.split(' ').nth(1).expect("a name");
            bench.check(
                line,
                &format!(
                    "-ERR unknown subcommand or wrong number of arguments for '{name}'. Try DEBUG HELP."
                ),
            );
        }
        assert!(
            bench
                .run("DEBUG HELP")
                .contains("+DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")
        );
    }
}
