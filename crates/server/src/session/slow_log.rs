//! SLOWLOG, and COMMANDLOG, its newer name.
//!
//! Owns the replies of both. Every shard keeps the slow commands of its own clients (`shard::slow_log`); here they are
//! put in one order. Of the three logs of COMMANDLOG only `slow` is kept: the settings of the other two have no effect,
//! so these logs are empty.

use torc_commands::{Arity, Docs, Flags, Group, Spec, Status};
use torc_resp::{Args, CommandError};

use crate::connection::Connection;
use crate::shard::Shard;
use crate::shard::slow_log::SlowEntry;

use super::{ALWAYS, Flow, SessionCommand, help};

pub static COMMANDS: &[SessionCommand] = &[COMMANDLOG, SLOWLOG];

/// Entries that SLOWLOG GET shows when it is not told how many.
const GET_COUNT: usize = 10;

const GET_TIPS: &[&str] = &["request_policy:all_nodes", "nondeterministic_output"];
const LEN_TIPS: &[&str] = &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"];
const RESET_TIPS: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

const ADMIN: Flags = ALWAYS.and(Flags::ADMIN);

const SLOWLOG_DOCS: Docs = Docs {
    since: "2.2.12",
    group: Group::Server,
    status: Status::Deprecated { since: "8.1.0", replaced_by: "`COMMANDLOG` with the type `slow`" },
    ..Docs::DEFAULT
};
const COMMANDLOG_DOCS: Docs = Docs { since: "8.1.0", group: Group::Server, ..Docs::DEFAULT };

const SLOWLOG: SessionCommand = SessionCommand::container(
    Spec {
        name: "slowlog",
        arity: Arity::at_least(2),
        docs: &Docs {
            summary: "A container for commands about slow commands.",
            complexity: "Depends on subcommand.",
            ..SLOWLOG_DOCS
        },
        ..Spec::DEFAULT
    },
    &[
        SessionCommand::new(
            Spec {
                name: "get",
                arity: Arity::at_least(2),
                flags: ADMIN,
                tips: GET_TIPS,
                docs: &Docs {
                    syntax: "SLOWLOG GET [count:int]",
                    summary: "Replies the newest slow commands (10 when no count is given, -1: all): id, unix time, \
                              microseconds, arguments, client address, client name.",
                    complexity: "O(N), where N is the number of entries",
                    history: &[("4.0.0", "Address and name of the client.")],
                    ..SLOWLOG_DOCS
                },
                ..Spec::DEFAULT
            },
            |shard, connection, args| {
                if args.len() > 3 {
                    let name = String::from_utf8_lossy(args.get(1));
                    let text = format!(
                        "ERR unknown subcommand or wrong number of arguments for '{name}'. Try SLOWLOG HELP."
                    );
                    return Err(CommandError::Owned(text.into()));
                }
                let count = if args.len() == 3 { parse_count(args)? } else { GET_COUNT };
                Ok(get(shard, connection, count))
            },
        ),
        help::help(&help::docs("SLOWLOG HELP", "6.2.0", Group::Server)),
        SessionCommand::new(
            Spec {
                name: "len",
                arity: Arity::exactly(2),
                flags: ADMIN,
                tips: LEN_TIPS,
                docs: &Docs {
                    syntax: "SLOWLOG LEN",
                    summary: "Replies the number of slow commands that are kept.",
                    ..SLOWLOG_DOCS
                },
                ..Spec::DEFAULT
            },
            |shard, connection, _args| Ok(len(shard, connection)),
        ),
        SessionCommand::new(
            Spec {
                name: "reset",
                arity: Arity::exactly(2),
                flags: ADMIN,
                tips: RESET_TIPS,
                docs: &Docs {
                    syntax: "SLOWLOG RESET",
                    summary: "Forgets all slow commands.",
                    complexity: "O(N), where N is the number of entries",
                    ..SLOWLOG_DOCS
                },
                ..Spec::DEFAULT
            },
            |shard, connection, _args| Ok(reset(shard, connection)),
        ),
    ],
);

const COMMANDLOG: SessionCommand = SessionCommand::container(
    Spec {
        name: "commandlog",
        arity: Arity::at_least(2),
        docs: &Docs {
            summary: "A container for commands about notable commands.",
            complexity: "Depends on subcommand.",
            ..COMMANDLOG_DOCS
        },
        ..Spec::DEFAULT
    },
    &[
        SessionCommand::new(
            Spec {
                name: "get",
                arity: Arity::exactly(4),
                flags: ADMIN,
                tips: GET_TIPS,
                docs: &Docs {
                    syntax: "COMMANDLOG GET count:int type",
                    summary: "Replies the newest entries of a log (-1: all): id, unix time, microseconds, arguments, \
                              client address, client name. Logs: slow; large-request and large-reply are empty.",
                    complexity: "O(N), where N is the number of entries",
                    ..COMMANDLOG_DOCS
                },
                ..Spec::DEFAULT
            },
            |shard, connection, args| {
                let count = parse_count(args)?;
                match Log::parse(args, 3)? {
                    Log::Slow => Ok(get(shard, connection, count)),
                    Log::NotKept => {
                        connection.reply().array(0);
                        Ok(Flow::Done)
                    }
                }
            },
        ),
        help::help(&help::docs("COMMANDLOG HELP", "8.1.0", Group::Server)),
        SessionCommand::new(
            Spec {
                name: "len",
                arity: Arity::exactly(3),
                flags: ADMIN,
                tips: LEN_TIPS,
                docs: &Docs {
                    syntax: "COMMANDLOG LEN type",
                    summary: "Replies the number of entries of a log.",
                    ..COMMANDLOG_DOCS
                },
                ..Spec::DEFAULT
            },
            |shard, connection, args| match Log::parse(args, 2)? {
                Log::Slow => Ok(len(shard, connection)),
                Log::NotKept => {
                    connection.reply().int(0);
                    Ok(Flow::Done)
                }
            },
        ),
        SessionCommand::new(
            Spec {
                name: "reset",
                arity: Arity::exactly(3),
                flags: ADMIN,
                tips: RESET_TIPS,
                docs: &Docs {
                    syntax: "COMMANDLOG RESET type",
                    summary: "Forgets all entries of a log.",
                    complexity: "O(N), where N is the number of entries",
                    ..COMMANDLOG_DOCS
                },
                ..Spec::DEFAULT
            },
            |shard, connection, args| match Log::parse(args, 2)? {
                Log::Slow => Ok(reset(shard, connection)),
                Log::NotKept => shard.reply_ok(connection),
            },
        ),
    ],
);

/// What COMMANDLOG can be asked for.
enum Log {
    Slow,
    /// Large requests and large replies.
    NotKept,
}

impl Log {
    fn parse(args: Args<'_>, index: usize) -> Result<Log, CommandError> {
        if args.is(index, b"slow") {
            Ok(Log::Slow)
        } else if args.is(index, b"large-request") || args.is(index, b"large-reply") {
            Ok(Log::NotKept)
        } else {
            Err(CommandError::Text(
                "ERR type should be one of the following: slow, large-request, large-reply",
            ))
        }
    }
}

/// Argument 2: how many entries; -1 is all of them.
fn parse_count(args: Args<'_>) -> Result<usize, CommandError> {
    const WRONG: CommandError = CommandError::Text("ERR count should be greater than or equal to -1");
    match args.int(2) {
        Ok(-1) => Ok(usize::MAX),
        Ok(count) => usize::try_from(count).map_err(|_| WRONG),
        Err(_) => Err(WRONG),
    }
}

fn get(shard: &mut Shard, connection: &mut Connection, count: usize) -> Flow {
    let newest = move |shard: &mut Shard| -> Vec<SlowEntry> {
        shard.settle_slow_log();
        let entries_max = shard.slow_log_len_max();
        shard.slow_log.entries.iter().take(count.min(entries_max)).cloned().collect()
    };
    shard.call_all(connection, newest, move |shard, connection, lists| {
        let mut entries: Vec<SlowEntry> = lists.into_iter().flatten().collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.id));
        entries.truncate(count.min(shard.slow_log_len_max()));
        write(connection, &entries);
        Ok(())
    })
}

fn write(connection: &mut Connection, entries: &[SlowEntry]) {
    let mut reply = connection.reply();
    reply.array(entries.len());
    for entry in entries {
        reply.array(6);
        reply.int(entry.id as i64);
        reply.int(entry.time_s);
        reply.int(entry.duration_us as i64);
        reply.array(entry.args.len());
        entry.args.iter().for_each(|arg| reply.bulk(arg));
        let (address, name) = &entry.client;
        reply.bulk(address.as_bytes());
        reply.bulk(name);
    }
}

/// All shards together show no more than the bound, whatever each one keeps.
fn len(shard: &mut Shard, connection: &mut Connection) -> Flow {
    let count = |shard: &mut Shard| {
        shard.settle_slow_log();
        shard.slow_log.entries.len()
    };
    shard.call_all(connection, count, |shard, connection, counts| {
        let all: usize = counts.into_iter().sum();
        connection.reply().int(all.min(shard.slow_log_len_max()) as i64);
        Ok(())
    })
}

fn reset(shard: &mut Shard, connection: &mut Connection) -> Flow {
    let forget = |shard: &mut Shard| {
        shard.settle_slow_log();
        shard.slow_log.entries.clear();
    };
    shard.call_all(connection, forget, |shard, connection, _| shard.reply_ok(connection).map(drop))
}

impl Shard {
    fn slow_log_len_max(&self) -> usize {
        self.state.config.commandlog_slow_execution_max_len()
    }
}
