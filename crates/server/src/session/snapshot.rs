//! Commands about snapshots: BGSAVE, LASTSAVE, SAVE.
//!
//! Owns their options and replies; the snapshot itself is the shards' work (`shard::saving`).

use torc_commands::{Arity, Category, Docs, Flags, Group, Spec};
use torc_resp::{Args, CommandError};

use crate::connection::Connection;
use crate::shard::Shard;

use super::{Flow, SessionCommand};

pub static COMMANDS: &[SessionCommand] = &[BGSAVE, LASTSAVE, SAVE];

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
    if args.len() > 2 {
        return Err(CommandError::Syntax);
    }
    if args.len() == 2 && args.is(1, b"CANCEL") {
        if !shard.process.saves.cancel() {
            let text = "ERR Background saving is currently not in progress or scheduled";
            return Err(CommandError::Text(text));
        }
        connection.reply().simple("Background saving cancelled");
        return Ok(Flow::Done);
    }
    // Nothing but another save could make a scheduled one wait, and that is an error in Redis as well.
    if args.len() == 2 && !args.is(1, b"SCHEDULE") {
        return Err(CommandError::Syntax);
    }
    shard.save_in_background()?;
    connection.reply().simple("Background saving started");
    Ok(Flow::Done)
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
