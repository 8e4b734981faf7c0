//! SLOWLOG and COMMANDLOG: commands that took long, had a large request or a large reply.
//!
//! Every shard keeps the entries of its own clients; here they are merged.

use torc_commands::{Arity, Docs, Flags, Group, Spec, Status};
use torc_resp::{Args, CommandError};

use crate::connection::Connection;
use crate::shard::Shard;
use crate::shard::command_log::{LogEntry, LogKind};

use super::{ALWAYS, Flow, SessionCommand, help, wrong_subcommand};

pub static COMMANDS: &[SessionCommand] = &[SLOWLOG, COMMANDLOG];

/// Entries that SLOWLOG GET shows unless told otherwise.
const COUNT_DEFAULT: usize = 10;

const ADMIN: Flags = ALWAYS.and(Flags::ADMIN);
const GET_TIPS: &[&str] = &["request_policy:all_nodes", "nondeterministic_output"];
const LEN_TIPS: &[&str] = &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"];
const RESET_TIPS: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

const fn deprecated(replaced_by: &'static str) -> Status {
    Status::Deprecated { since: "8.1.0", replaced_by }
}

const SLOWLOG: SessionCommand = SessionCommand::container(
    Spec {
        name: "slowlog",
        arity: Arity::at_least(2),
        docs: &Docs {
            syntax: "SLOWLOG",
            summary: "A container for commands about the log of slow commands.",
            since: "2.2.12",
            complexity: "Depends on subcommand.",
            group: Group::Server,
            status: deprecated("`COMMANDLOG`"),
            ..Docs::DEFAULT
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
                    summary: "Returns the newest entries (10; -1 means all): id, unix time, microseconds, arguments, \
                              address and name of the client.",
                    since: "2.2.12",
                    complexity: "O(N), where N is the number of entries returned",
                    group: Group::Server,
                    status: deprecated("`COMMANDLOG GET <count> SLOW`"),
                    history: &[("4.0.0", "Entries name the client.")],
                },
                ..Spec::DEFAULT
            },
            |shard, connection, args| {
                if args.len() > 3 {
                    return Err(wrong_subcommand("SLOWLOG", args.get(1)));
                }
                let count = if args.len() == 3 { count_at(args, 2)? } else { Some(COUNT_DEFAULT) };
                Ok(get(shard, connection, LogKind::Slow, count))
            },
        ),
        help::help(&Docs {
            status: deprecated("`COMMANDLOG HELP`"),
            ..help::docs("SLOWLOG HELP", "6.2.0", Group::Server)
        }),
        SessionCommand::new(
            Spec {
                name: "len",
                arity: Arity::exactly(2),
                flags: ADMIN,
                tips: LEN_TIPS,
                docs: &Docs {
                    syntax: "SLOWLOG LEN",
                    summary: "Returns the number of entries.",
                    since: "2.2.12",
                    group: Group::Server,
                    status: deprecated("`COMMANDLOG LEN SLOW`"),
                    ..Docs::DEFAULT
                },
                ..Spec::DEFAULT
            },
            |shard, connection, _args| Ok(len(shard, connection, LogKind::Slow)),
        ),
        SessionCommand::new(
            Spec {
                name: "reset",
                arity: Arity::exactly(2),
                flags: ADMIN,
                tips: RESET_TIPS,
                docs: &Docs {
                    syntax: "SLOWLOG RESET",
                    summary: "Forgets all entries.",
                    since: "2.2.12",
                    complexity: "O(N), where N is the number of entries",
                    group: Group::Server,
                    status: deprecated("`COMMANDLOG RESET SLOW`"),
                    ..Docs::DEFAULT
                },
                ..Spec::DEFAULT
            },
            |shard, connection, _args| Ok(reset(shard, connection, LogKind::Slow)),
        ),
    ],
);

const COMMANDLOG: SessionCommand = SessionCommand::container(
    Spec {
        name: "commandlog",
        arity: Arity::at_least(2),
        docs: &Docs {
            syntax: "COMMANDLOG",
            summary: "A container for commands about the logs of slow commands, large requests and large replies.",
            since: "8.1.0",
            complexity: "Depends on subcommand.",
            group: Group::Server,
            ..Docs::DEFAULT
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
                    syntax: "COMMANDLOG GET count:int (SLOW | LARGE-REQUEST | LARGE-REPLY)",
                    summary: "Returns the newest entries (-1 means all): id, unix time, microseconds or bytes, \
                              arguments, address and name of the client.",
                    since: "8.1.0",
                    complexity: "O(N), where N is the number of entries returned",
                    group: Group::Server,
                    ..Docs::DEFAULT
                },
                ..Spec::DEFAULT
            },
            |shard, connection, args| {
                let kind = kind_at(args, 3)?;
                let count = count_at(args, 2)?;
                Ok(get(shard, connection, kind, count))
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
                    syntax: "COMMANDLOG LEN (SLOW | LARGE-REQUEST | LARGE-REPLY)",
                    summary: "Returns the number of entries.",
                    since: "8.1.0",
                    group: Group::Server,
                    ..Docs::DEFAULT
                },
                ..Spec::DEFAULT
            },
            |shard, connection, args| {
                let kind = kind_at(args, 2)?;
                Ok(len(shard, connection, kind))
            },
        ),
        SessionCommand::new(
            Spec {
                name: "reset",
                arity: Arity::exactly(3),
                flags: ADMIN,
                tips: RESET_TIPS,
                docs: &Docs {
                    syntax: "COMMANDLOG RESET (SLOW | LARGE-REQUEST | LARGE-REPLY)",
                    summary: "Forgets all entries of one log.",
                    since: "8.1.0",
                    complexity: "O(N), where N is the number of entries",
                    group: Group::Server,
                    ..Docs::DEFAULT
                },
                ..Spec::DEFAULT
            },
            |shard, connection, args| {
                let kind = kind_at(args, 2)?;
                Ok(reset(shard, connection, kind))
            },
        ),
    ],
);

/// `None` for all.
fn count_at(args: Args<'_>, index: usize) -> Result<Option<usize>, CommandError> {
    match args.int(index) {
        Ok(-1) => Ok(None),
        Ok(count) if count >= 0 => Ok(Some(count as usize)),
        _ => Err(CommandError::Text("ERR count should be greater than or equal to -1")),
    }
}

fn kind_at(args: Args<'_>, index: usize) -> Result<LogKind, CommandError> {
    match args.get(index).to_ascii_lowercase().as_slice() {
        b"slow" => Ok(LogKind::Slow),
        b"large-request" => Ok(LogKind::LargeRequest),
        b"large-reply" => Ok(LogKind::LargeReply),
        _ => Err(CommandError::Text(
            "ERR type should be one of the following: slow, large-request, large-reply",
        )),
    }
}

fn get(shard: &mut Shard, connection: &mut Connection, kind: LogKind, count: Option<usize>) -> Flow {
    let wanted = count.unwrap_or(usize::MAX).min(shard.state.log_len_max(kind));
    let newest_here = move |shard: &mut Shard| -> Vec<LogEntry> {
        shard.settle_logs();
        shard.logs.entries(kind).iter().take(wanted).cloned().collect()
    };
    shard.call_all(connection, newest_here, move |_shard, connection, lists| {
        let mut entries: Vec<LogEntry> = lists.into_iter().flatten().collect();
        entries.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.id));
        entries.truncate(wanted);
        let mut reply = connection.reply();
        reply.array(entries.len());
        for entry in entries {
            reply.array(6);
            reply.int(entry.id as i64);
            reply.int(entry.time_s);
            reply.int(entry.value as i64);
            reply.array(entry.args.len());
            entry.args.iter().for_each(|arg| reply.bulk(arg));
            reply.bulk(entry.client.0.as_bytes());
            reply.bulk(&entry.client.1);
        }
        Ok(())
    })
}

fn len(shard: &mut Shard, connection: &mut Connection, kind: LogKind) -> Flow {
    let len_here = move |shard: &mut Shard| {
        shard.settle_logs();
        shard.logs.entries(kind).len()
    };
    shard.call_all(connection, len_here, move |shard, connection, lens| {
        // Together the shards may hold more than one log would.
        let len = lens.into_iter().sum::<usize>().min(shard.state.log_len_max(kind));
        connection.reply().int(len as i64);
        Ok(())
    })
}

fn reset(shard: &mut Shard, connection: &mut Connection, kind: LogKind) -> Flow {
    let clear_here = move |shard: &mut Shard| {
        shard.settle_logs();
        shard.logs.clear(kind);
    };
    shard.call_all(connection, clear_here, |shard, connection, _| shard.reply_ok(connection).map(drop))
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn arguments_are_checked() {
        let mut bench = Bench::new("");
        let cases = [
            ("SLOWLOG GET", "*0"),
            ("SLOWLOG GET -1", "*0"),
            ("SLOWLOG GET -2", "-ERR count should be greater than or equal to -1"),
            ("SLOWLOG GET x", "-ERR count should be greater than or equal to -1"),
            (
                "SLOWLOG GET 1 2",
                "-ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.",
            ),
            ("SLOWLOG LEN", ":0"),
            ("SLOWLOG LEN x", "-ERR wrong number of arguments for 'slowlog|len' command"),
            ("SLOWLOG RESET", "+OK"),
            ("COMMANDLOG GET", "-ERR wrong number of arguments for 'commandlog|get' command"),
            (
                "COMMANDLOG GET 1 foo",
                "-ERR type should be one of the following: slow, large-request, large-reply",
            ),
            ("COMMANDLOG GET x slow", "-ERR count should be greater than or equal to -1"),
            ("COMMANDLOG LEN large-reply", ":0"),
            ("COMMANDLOG RESET SLOW", "+OK"),
        ];
        for (line, reply) in cases {
            bench.check(line, reply);
        }
    }

    #[test]
    fn entries_know_the_client_wherever_the_command_ran() {
        let mut bench = Bench::with_shards(3, "--slowlog-log-slower-than 0 --slowlog-max-len 6");
        bench.run("CLIENT SETNAME me");
        for key in 0..4 {
            bench.check(&format!("SET k{key} v"), "+OK");
        }
        bench.check("SLOWLOG LEN", ":5");
        let client = "$14 127.0.0.1:1001 $2 me";
        bench.check(
            "SLOWLOG GET 3",
            &format!(
                "*3 *6 :5 :1700000000 :0 *2 $7 SLOWLOG $3 LEN {client} \
                 *6 :4 :1700000000 :0 *3 $3 SET $2 k3 $1 v {client} \
                 *6 :3 :1700000000 :0 *3 $3 SET $2 k2 $1 v {client}"
            ),
        );
        bench.check("SLOWLOG LEN", ":6");
        bench.check("SLOWLOG RESET", "+OK");
        bench.check("CONFIG SET slowlog-max-len 0", "+OK");
        bench.check("SLOWLOG RESET", "+OK");
        bench.check("SLOWLOG LEN", ":0");
    }

    #[test]
    fn sizes_are_logged() {
        let mut bench =
            Bench::with_shards(2, "--commandlog-request-larger-than 30 --commandlog-reply-larger-than 20");
        bench.check("SET key aaaaaaaaaabbbbbbbbbbcccccccccc", "+OK");
        bench.check("GET key", "$30 aaaaaaaaaabbbbbbbbbbcccccccccc");
        bench.check("PING dddddddddddddddddddd", "$20 dddddddddddddddddddd");
        let requests = bench.run("COMMANDLOG GET -1 large-request");
        assert!(requests.contains(" *6 :0 :1700000000 :40 *3 $3 SET "), "{requests}");
        let replies = bench.run("COMMANDLOG GET -1 large-reply");
        assert!(replies.contains(" *6 :1 :1700000000 :27 *2 $4 PING "), "{replies}");
        assert!(replies.contains(" *6 :0 :1700000000 :37 *2 $3 GET $3 key "), "{replies}");
    }
}
