//! DEBUG: what test suites do to a server.
//!
//! Owns the command, its permission (`enable-debug-command`) and its subcommands, which COMMAND does not list. Parts
//! that look at keys are in `keys`, test replies in `protocol`. Looking at the keys of other shards waits for no lock:
//! a subcommand sees what is there at the moment.

mod keys;
mod protocol;

use std::time::Duration;

use torc_commands::{Arity, Docs, Flags, Group, Spec, Status};
use torc_resp::number::parse_f64;
use torc_resp::{Args, CommandError};

use crate::config;
use crate::connection::Connection;
use crate::process::random_id;
use crate::shard::{LoopRequest, Shard};

use super::{ALWAYS, Flow, SessionCommand, help};

pub static COMMANDS: &[SessionCommand] = &[DEBUG];

/// Threshold of QUICKLIST-PACKED-THRESHOLD in bytes: below 4 GiB, as in Redis.
const PACKED_THRESHOLD_END: u64 = 4 << 30;

const DEBUG: SessionCommand = SessionCommand::new(
    Spec {
        name: "debug",
        arity: Arity::at_least(2),
        flags: ALWAYS.and(Flags::ADMIN).and(Flags::NOSCRIPT).and(Flags::PROTECTED),
        docs: &Docs {
            syntax: "DEBUG subcommand [arg ...]",
            summary: "A container for debugging commands.",
            complexity: "Depends on subcommand.",
            group: Group::Server,
            status: Status::System,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    debug,
);

/// One subcommand: its name, how many arguments it takes (DEBUG and the name included), and what it does.
struct Subcommand {
    name: &'static str,
    /// Lowest and highest number.
    arguments: (usize, usize),
    run: fn(&mut Shard, &mut Connection, Args<'_>) -> Result<Flow, CommandError>,
    /// Arguments and meaning, for DEBUG HELP.
    help: (&'static str, &'static str),
}

static SUBCOMMANDS: &[Subcommand] = &[
    Subcommand {
        name: "CHANGE-REPL-ID",
        arguments: (2, 2),
        run: change_replication_id,
        help: ("", "Give the data a new replication id."),
    },
    Subcommand {
        name: "DICT-RESIZING",
        arguments: (3, 3),
        run: accept,
        help: (" <0|1>", "Accepted; tables of this server resize slot by slot, always."),
    },
    Subcommand {
        name: "DIGEST",
        arguments: (2, 2),
        run: keys::digest,
        help: ("", "A hexadecimal signature of all keys and values."),
    },
    Subcommand {
        name: "DIGEST-VALUE",
        arguments: (2, usize::MAX),
        run: keys::digest_value,
        help: (" [<key> ...]", "A hexadecimal signature of the value of each key."),
    },
    Subcommand {
        name: "ERROR",
        arguments: (3, 3),
        run: error,
        help: (" <string>", "Reply with this error."),
    },
    Subcommand {
        name: "HTSTATS",
        arguments: (3, 4),
        run: keys::table_stats,
        help: (" <dbid> [full]", "Figures of the tables of a database."),
    },
    Subcommand {
        name: "HTSTATS-KEY",
        arguments: (3, 4),
        run: keys::table_stats_of_key,
        help: (" <key> [full]", "Figures of the table that a key's value is."),
    },
    Subcommand {
        name: "JMAP",
        arguments: (2, 2),
        run: job_map,
        help: ("", "Write what each shard holds to the log."),
    },
    Subcommand {
        name: "LOADAOF",
        arguments: (2, 2),
        run: not_persistent,
        help: ("", "Refused: this version has no append-only file."),
    },
    Subcommand { name: "LOG", arguments: (3, 3), run: log, help: (" <message>", "Write a line to the log.") },
    Subcommand {
        name: "OBJECT",
        arguments: (3, 4),
        run: keys::object,
        help: (" <key> [fast]", "What is known of a key's value."),
    },
    Subcommand {
        name: "PAUSE-CRON",
        arguments: (3, 3),
        run: pause_cron,
        help: (" <0|1>", "Stop periodic work, or go on with it."),
    },
    Subcommand {
        name: "POPULATE",
        arguments: (3, 5),
        run: keys::populate,
        help: (
            " <count> [<prefix>] [<size>]",
            "Create string keys <prefix>:<number>, where there are none; the prefix is 'key' if not given.",
        ),
    },
    Subcommand {
        name: "PROTOCOL",
        arguments: (3, 3),
        run: protocol::run,
        help: (" <type>", "Reply with a value of a type of the protocol."),
    },
    Subcommand {
        name: "QUICKLIST-PACKED-THRESHOLD",
        arguments: (3, 3),
        run: packed_threshold,
        help: (" <size>", "Checked and accepted; this server has no quicklists."),
    },
    Subcommand {
        name: "RELOAD",
        arguments: (2, usize::MAX),
        run: not_persistent,
        help: (" [option ...]", "Refused: this version has no snapshots."),
    },
    Subcommand {
        name: "REPLYBUFFER",
        arguments: (4, 4),
        run: reply_buffer,
        help: (
            " (PEAK-RESET-TIME <time>|RESIZING <0|1>)",
            "Accepted; reply buffers of this server have no peaks.",
        ),
    },
    Subcommand {
        name: "SET-ACTIVE-EXPIRE",
        arguments: (3, 3),
        run: set_active_expire,
        help: (" <0|1>", "Stop expiring keys that nobody asks for, or go on with it."),
    },
    Subcommand {
        name: "SET-DISABLE-DENY-SCRIPTS",
        arguments: (3, 3),
        run: accept,
        help: (" <0|1>", "Accepted; this version runs no scripts."),
    },
    Subcommand {
        name: "SLEEP",
        arguments: (3, 3),
        run: sleep,
        help: (" <seconds>", "Stop the server for a while; decimals are allowed."),
    },
    Subcommand {
        name: "STRINGMATCH-LEN",
        arguments: (4, 4),
        run: keys::string_match,
        help: (" <length> <pattern>", "Match a pattern with this many letters 'a'."),
    },
];

fn debug(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    if !shard.state.config.enable_debug_command().allows(connection.info.loopback) {
        return Err(CommandError::Text(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it \
             from a local connection, otherwise you need to set this option in the configuration file, and then \
             restart the server.",
        ));
    }
    if args.len() == 2 && args.is(1, b"HELP") {
        return Ok(write_help(connection));
    }
    let found = SUBCOMMANDS.iter().find(|subcommand| {
        let (least, most) = subcommand.arguments;
        args.is(1, subcommand.name.as_bytes()) && (least..=most).contains(&args.len())
    });
    match found {
        Some(subcommand) => (subcommand.run)(shard, connection, args),
        None => Err(unknown(args)),
    }
}

fn unknown(args: Args<'_>) -> CommandError {
    let name = String::from_utf8_lossy(args.get(1));
    let text = format!("ERR unknown subcommand or wrong number of arguments for '{name}'. Try DEBUG HELP.");
    CommandError::Owned(text.into())
}

fn write_help(connection: &mut Connection) -> Flow {
    let mut forms: Vec<(String, &str)> = SUBCOMMANDS
        .iter()
        .map(|subcommand| (format!("{}{}", subcommand.name, subcommand.help.0), subcommand.help.1))
        .collect();
    forms.push(("HELP".into(), "Print this help."));
    help::write(connection, "debug", forms.iter().map(|(form, summary)| (form.as_str(), *summary)));
    Flow::Done
}

fn accept(shard: &mut Shard, connection: &mut Connection, _args: Args<'_>) -> Result<Flow, CommandError> {
    shard.reply_ok(connection)
}

/// A 0 or 1 as C's `atoi` reads it: what is no number counts as 0.
fn switch(args: Args<'_>) -> bool {
    args.int(2).is_ok_and(|number| number != 0)
}

/// Change something on every shard, then answer OK.
fn on_all(
    shard: &mut Shard,
    connection: &mut Connection,
    change: impl Fn(&mut Shard) + Send + Sync + 'static,
) -> Flow {
    shard.call_all(connection, change, |shard, connection, _| shard.reply_ok(connection).map(drop))
}

fn set_active_expire(
    shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let on = switch(args);
    Ok(on_all(shard, connection, move |shard| shard.state.active_expire = on))
}

fn pause_cron(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let paused = switch(args);
    Ok(on_all(shard, connection, move |shard| shard.cron_paused = paused))
}

fn change_replication_id(
    shard: &mut Shard,
    connection: &mut Connection,
    _args: Args<'_>,
) -> Result<Flow, CommandError> {
    let id: Box<str> = random_id().into();
    Ok(on_all(shard, connection, move |shard| shard.state.replication_id = id.clone()))
}

fn log(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(args.get(2)));
    shard.reply_ok(connection)
}

fn error(_shard: &mut Shard, _connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let text = String::from_utf8_lossy(args.get(2)).replace(['\r', '\n'], " ");
    Err(CommandError::Owned(text.into()))
}

fn not_persistent(
    _shard: &mut Shard,
    _connection: &mut Connection,
    _args: Args<'_>,
) -> Result<Flow, CommandError> {
    Err(CommandError::Text("ERR this version does not store data on disk, so there is nothing to load"))
}

fn packed_threshold(
    shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let bytes = std::str::from_utf8(args.get(2)).ok().and_then(config::parse_memory);
    if bytes.is_none_or(|bytes| bytes >= PACKED_THRESHOLD_END) {
        return Err(CommandError::Text(
            "ERR argument must be a memory value bigger than 1 and smaller than 4gb",
        ));
    }
    shard.reply_ok(connection)
}

fn reply_buffer(
    shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    if args.is(2, b"RESIZING") {
        return shard.reply_ok(connection);
    }
    if !args.is(2, b"PEAK-RESET-TIME") {
        return Err(unknown(args));
    }
    if !args.is(3, b"NEVER") && !args.is(3, b"RESET") {
        args.int(3)?;
    }
    shard.reply_ok(connection)
}

fn job_map(shard: &mut Shard, connection: &mut Connection, _args: Args<'_>) -> Result<Flow, CommandError> {
    Ok(on_all(shard, connection, |shard| {
        let keys: usize = (0..shard.keyspace.databases()).map(|db| shard.keyspace.len(db)).sum();
        tracing::info!(
            shard = shard.id,
            keys,
            bytes = shard.keyspace.used_bytes(),
            clients = shard.clients.len(),
            locks = shard.locks_held(),
            "DEBUG JMAP"
        );
    }))
}

/// Stop all shards at about the same time: the others' loops sleep once they have said so, then this one does.
fn sleep(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let seconds = parse_f64(args.get(2)).filter(|seconds| seconds.is_finite()).unwrap_or(0.0);
    let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let asking = shard.id;
    let stop = move |shard: &mut Shard| {
        if shard.id != asking {
            shard.request(LoopRequest::Sleep(time));
        }
    };
    Ok(shard.call_all(connection, stop, move |shard, connection, _| {
        if let Some(server) = &shard.server {
            server.sleep(time);
        }
        shard.reply_ok(connection).map(drop)
    }))
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn only_with_permission() {
        let refusal = "-ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you \
                       can run it from a local connection, otherwise you need to set this option in the \
                       configuration file, and then restart the server.";
        Bench::new("").check("DEBUG SLEEP 0", refusal);
        Bench::new("--enable-debug-command local").check("DEBUG SLEEP 0", "+OK");
    }

    #[test]
    fn subcommands() {
        let mut bench = Bench::with_shards(3, "--enable-debug-command yes");
        let wrong = |name: &str| {
            format!("-ERR unknown subcommand or wrong number of arguments for '{name}'. Try DEBUG HELP.")
        };
        let threshold = "-ERR argument must be a memory value bigger than 1 and smaller than 4gb";
        let positive = "-ERR value is out of range, must be positive";
        for (line, expected) in [
            ("DEBUG nope", wrong("nope").as_str()),
            ("DEBUG sleep", wrong("sleep").as_str()),
            ("DEBUG SLEEP x", "+OK"),
            ("DEBUG SET-ACTIVE-EXPIRE 0", "+OK"),
            ("DEBUG QUICKLIST-PACKED-THRESHOLD 100b", "+OK"),
            ("DEBUG QUICKLIST-PACKED-THRESHOLD abc", threshold),
            ("DEBUG QUICKLIST-PACKED-THRESHOLD 10gb", threshold),
            ("DEBUG ERROR \"abc def\"", "-abc def"),
            ("DEBUG REPLYBUFFER PEAK-RESET-TIME NEVER", "+OK"),
            ("DEBUG REPLYBUFFER nope 1", wrong("REPLYBUFFER").as_str()),
            ("DEBUG POPULATE x", positive),
            ("DEBUG POPULATE 2 y -1", positive),
            ("DEBUG POPULATE 3 y 10", "+OK"),
            ("DBSIZE", ":3"),
            ("GET y:1", "$10 value:1\0\0\0"),
            ("DEBUG OBJECT nokey", "-ERR no such key"),
            ("DEBUG HTSTATS 99", "-ERR Out of range database"),
            ("DEBUG HTSTATS-KEY nokey", "-ERR no such key"),
            ("DEBUG STRINGMATCH-LEN 10 a*", "+OK"),
            ("DEBUG STRINGMATCH-LEN 10 b*", "+OK"),
            ("DEBUG JMAP", "+OK"),
            ("DEBUG PROTOCOL integer", ":12345"),
            ("DEBUG PROTOCOL map", "*6 :0 :0 :1 :1 :2 :0"),
        ] {
            bench.check(line, expected);
        }
        for key in ["y:0", "y:1", "y:2"] {
            assert!(bench.run(&format!("DEBUG OBJECT {key}")).starts_with("+Value at:"));
        }
        assert!(bench.run("DEBUG RELOAD").starts_with("-ERR this version"));
        assert!(bench.run("DEBUG HELP").contains("+SLEEP <seconds>"));
    }

    #[test]
    fn digests_depend_on_the_data_alone() {
        let mut bench = Bench::with_shards(3, "--enable-debug-command yes");
        let zeros = format!("+{}", "0".repeat(40));
        bench.check("DEBUG DIGEST", &zeros);
        bench.run("SET a 1\nSET b 2\nSELECT 1\nSET c 3 PX 100000\nSELECT 0");
        let digest = bench.run("DEBUG DIGEST");
        assert_ne!(digest, zeros);
        let mut other = Bench::with_shards(1, "--enable-debug-command yes");
        other.run("SELECT 1\nSET c 3 PX 100000\nSELECT 0\nSET b 2\nSET a 0\nSET a 1");
        assert_eq!(other.run("DEBUG DIGEST"), digest);
        other.run("SET a 2");
        assert_ne!(other.run("DEBUG DIGEST"), digest);
        let values = other.run("DEBUG DIGEST-VALUE a b nokey");
        let values: Vec<&str> = values.split(' ').filter(|word| !word.starts_with(['*', '$'])).collect();
        assert_eq!(values[0], values[1], "equal values have equal digests");
        assert_eq!(values[2].trim_start_matches('+'), &zeros[1..]);
    }
}
