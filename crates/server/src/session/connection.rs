//! The family CONNECTION: PING, ECHO, SELECT, QUIT, …

use torc_commands::{Arity, Category, Docs, Flags, Group, Spec};
use torc_resp::{Args, CommandError, Proto};

use crate::connection::Connection;
use crate::shard::Shard;

use super::{Flow, SessionCommand, SessionRun};

pub static COMMANDS: &[SessionCommand] = &[PING, ECHO, SELECT];

const PING: SessionCommand = SessionCommand {
    spec: Spec {
        name: "ping",
        arity: Arity::at_least(1),
        flags: Flags::FAST.and(Flags::SENTINEL),
        categories: &[Category::Connection],
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        docs: &Docs {
            syntax: "PING [message]",
            summary: "Returns the server's liveliness response.",
            group: Group::Connection,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(ping),
    subcommands: &[],
};

fn ping(_shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    if args.len() > 2 {
        return Err(CommandError::WrongArity("ping"));
    }
    let subscribed = connection.subscriptions.is_some() && connection.proto == Proto::Resp2;
    let mut reply = connection.reply();
    match args.opt(1) {
        message if subscribed => {
            reply.array(2);
            reply.bulk(b"pong");
            reply.bulk(message.unwrap_or(b""));
        }
        Some(message) => reply.bulk(message),
        None => reply.simple("PONG"),
    }
    Ok(Flow::Done)
}

const ECHO: SessionCommand = SessionCommand {
    spec: Spec {
        name: "echo",
        arity: Arity::exactly(2),
        flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST),
        categories: &[Category::Connection],
        docs: &Docs {
            syntax: "ECHO message",
            summary: "Returns the given string.",
            group: Group::Connection,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(echo),
    subcommands: &[],
};

fn echo(_shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    connection.reply().bulk(args.get(1));
    Ok(Flow::Done)
}

const SELECT: SessionCommand = SessionCommand {
    spec: Spec {
        name: "select",
        arity: Arity::exactly(2),
        flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST),
        categories: &[Category::Connection],
        docs: &Docs {
            syntax: "SELECT index",
            summary: "Changes the selected database.",
            group: Group::Connection,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(select),
    subcommands: &[],
};

fn select(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let index = args.int(1).map_err(|_| CommandError::InvalidDbIndex)?;
    if !(0..shard.settings.databases as i64).contains(&index) {
        return Err(CommandError::DbIndexOutOfRange);
    }
    connection.db = index as usize;
    shard.reply_ok(connection)
}
