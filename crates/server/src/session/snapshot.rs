//! Commands about what is on disk: BGREWRITEAOF, BGSAVE, LASTSAVE, SAVE, WAITAOF.
//!
//! Owns their options and replies; the snapshot and the log are the shards' work (`shard::saving`,
//! `shard::logging`).

use torc_commands::{Arity, Category, Docs, Flags, Group, Spec, timeout_in_ms};
use torc_resp::{Args, CommandError};

use crate::aof::{LogMark, Reached};
use crate::connection::Connection;
use crate::packet::ShardId;
use crate::saving::Kind;
use crate::shard::blocking::log::WITHOUT_LOG;
use crate::shard::{Began, Shard};

use super::{Flow, SessionCommand};

pub static COMMANDS: &[SessionCommand] = &[BGREWRITEAOF, BGSAVE, LASTSAVE, SAVE, WAITAOF];

const ADMIN_ONLY: Flags = Flags::NO_ASYNC_LOADING.and(Flags::ADMIN).and(Flags::NOSCRIPT);

const SAVE: SessionCommand = SessionCommand::new(
    Spec {
        name: "save",
        arity: Arity::exactly(1),
        flags: ADMIN_ONLY.and(Flags::NO_MULTI),
        docs: &Docs {
            syntax: "SAVE",
            summary: "Writes all keys into a file, and answers when it is on disk. Other clients go on meanwhile.",
            complexity: "O(N) where N is the number of keys",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    |shard, connection, _args| shard.save_for(connection),
);

const BGSAVE: SessionCommand = SessionCommand::new(
    Spec {
        name: "bgsave",
        arity: Arity::at_least(1),
        flags: ADMIN_ONLY,
        docs: &Docs {
            syntax: "BGSAVE [SCHEDULE | CANCEL]",
            summary: "Begins to write all keys into a file, or gives that up.",
            group: Group::Server,
            history: &[("3.2.2", "Added the `SCHEDULE` option."), ("8.1.0", "Added the `CANCEL` option.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    bgsave,
);

fn bgsave(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let is_scheduled = match args.opt(1) {
        _ if args.len() > 2 => return Err(CommandError::Syntax),
        Some(word) if word.eq_ignore_ascii_case(b"CANCEL") => return cancel_bgsave(shard, connection),
        Some(word) if word.eq_ignore_ascii_case(b"SCHEDULE") => true,
        Some(_) => return Err(CommandError::Syntax),
        // What EXEC runs begins nothing, as in Redis.
        None => connection.exec.is_some(),
    };
    let text = match shard.save_in_background(is_scheduled)? {
        Began::Now => "Background saving started",
        Began::Scheduled => "Background saving scheduled",
    };
    connection.reply().simple(text);
    Ok(Flow::Done)
}

fn cancel_bgsave(shard: &mut Shard, connection: &mut Connection) -> Result<Flow, CommandError> {
    let saves = &shard.process.saves;
    let text = if saves.state().running.is_some_and(|job| job.kind == Kind::Background) && saves.cancel() {
        "Background saving cancelled"
    } else if saves.schedule(false) {
        "Scheduled background saving cancelled"
    } else {
        let text = "ERR Background saving is currently not in progress or scheduled";
        return Err(CommandError::Text(text));
    };
    connection.reply().simple(text);
    Ok(Flow::Done)
}

const BGREWRITEAOF: SessionCommand = SessionCommand::new(
    Spec {
        name: "bgrewriteaof",
        arity: Arity::exactly(1),
        flags: ADMIN_ONLY,
        docs: &Docs {
            syntax: "BGREWRITEAOF",
            summary: "Begins to write the append-only file anew, without what the present data do not need.",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    |shard, connection, _args| {
        let may_begin = connection.exec.is_none();
        let text = match shard.rewrite_log_in_background(may_begin)? {
            Began::Now => "Background append only file rewriting started",
            Began::Scheduled => "Background append only file rewriting scheduled",
        };
        connection.reply().simple(text);
        Ok(Flow::Done)
    },
);

const WAITAOF: SessionCommand = SessionCommand::new(
    Spec {
        name: "waitaof",
        arity: Arity::exactly(4),
        flags: Flags::BLOCKING,
        categories: &[Category::Connection],
        tips: &["request_policy:all_shards", "response_policy:agg_min"],
        docs: &Docs {
            syntax: "WAITAOF numlocal:int numreplicas:int timeout:int",
            summary: "Waits until the writes of this connection are on disk.",
            since: "7.2.0",
            complexity: "O(1)",
            group: Group::Generic,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    waitaof,
);

fn waitaof(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let is_local = match args.int(1)? {
        number @ 0..=1 => number == 1,
        _ => return Err(CommandError::Text("ERR value is out of range, value must between 0 and 1")),
    };
    if !args.int(2).is_ok_and(|replicas| replicas >= 0) {
        return Err(CommandError::Text("ERR value is out of range, must be positive"));
    }
    let timeout_ms = timeout_in_ms(args, 3, shard.now.unix_ms)?;
    let log = shard.process.aof.state();
    if !log.is_on {
        if is_local {
            return Err(WITHOUT_LOG);
        }
        answer_waitaof(connection, false);
        return Ok(Flow::Done);
    }
    let shards: Vec<ShardId> = (0..shard.shards() as ShardId).collect();
    Ok(shard.call_then(connection, &shards, Shard::logged_to, move |shard, connection, positions| {
        let mark = LogMark { positions, switched_off: log.switched_off };
        match shard.process.aof.reached(&mark) {
            Reached::SwitchedOff if is_local => return Err(WITHOUT_LOG),
            Reached::NotYet if is_local && connection.exec.is_none() => {
                return Ok(shard.wait_for_log(connection, mark, timeout_ms));
            }
            reached => answer_waitaof(connection, reached == Reached::Durable),
        }
        Ok(Flow::Done)
    }))
}

/// What is on this server's disk, and on those of its replicas, of which there are none.
pub fn answer_waitaof(connection: &mut Connection, is_durable: bool) {
    let mut reply = connection.reply();
    reply.array(2);
    reply.int(i64::from(is_durable));
    reply.int(0);
}

const LASTSAVE: SessionCommand = SessionCommand::new(
    Spec {
        name: "lastsave",
        arity: Arity::exactly(1),
        flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST),
        categories: &[Category::Admin, Category::Dangerous],
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "LASTSAVE",
            summary: "Returns when the last snapshot was written: unix seconds.",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    |shard, connection, _args| {
        connection.reply().int(shard.process.saves.state().last_save_s);
        Ok(Flow::Done)
    },
);
