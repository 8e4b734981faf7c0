//! FLUSHALL, FLUSHDB and SWAPDB: whole databases at once.

use torc_resp::{Args, CommandError, Reply};

use crate::{
    Arity, Command, Context, Docs, Flags, Group, Run, Spec,
    families::generic::{KEYSPACE_DANGEROUS, keys::fold_ok, small_int},
};

const HISTORY: &[(&str, &str)] = &[("4.0.0", "`ASYNC`."), ("6.2.0", "`SYNC`.")];

/// FLUSHALL
pub const FLUSHALL: Command = Command {
    spec: Spec {
        name: "flushall",
        arity: Arity::at_least(1),
        flags: Flags::WRITE,
        keys: &[],
        categories: KEYSPACE_DANGEROUS,
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        docs: &Docs {
            syntax: "FLUSHALL [ASYNC | SYNC]",
            summary: "Removes all keys of all databases. SYNC replies when their memory is released; with ASYNC that \
                      happens afterwards, little by little.",
            since: "1.0.0",
            complexity: "O(N) with N the number of keys.",
            group: Group::Server,
            history: HISTORY,
            ..Docs::DEFAULT
        },
    },
    run: Run::EveryShard { handler: flushall, fold: fold_ok, writes: true },
    subcommands: &[],
};

fn flushall(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let release = Release::parse(cx, args)?;
    (0..cx.keyspace.databases()).for_each(|db| flush(cx, db, release));
    reply.ok();
    Ok(())
}

/// FLUSHDB
pub const FLUSHDB: Command = Command {
    spec: Spec {
        name: "flushdb",
        arity: Arity::at_least(1),
        flags: Flags::WRITE,
        keys: &[],
        categories: KEYSPACE_DANGEROUS,
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        docs: &Docs {
            syntax: "FLUSHDB [ASYNC | SYNC]",
            summary: "Removes all keys of the selected database. SYNC replies when their memory is released; with \
                      ASYNC that happens afterwards, little by little.",
            since: "1.0.0",
            complexity: "O(N) with N the number of keys in the database.",
            group: Group::Server,
            history: HISTORY,
            ..Docs::DEFAULT
        },
    },
    run: Run::EveryShard { handler: flushdb, fold: fold_ok, writes: true },
    subcommands: &[],
};

fn flushdb(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let release = Release::parse(cx, args)?;
    flush(cx, cx.db, release);
    reply.ok();
    Ok(())
}

/// When the memory of flushed keys is released.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Release {
    /// Before the reply.
    Now,
    /// In the background, a bounded number of keys at a time.
    Later,
}

impl Release {
    fn parse(cx: &Context<'_>, args: Args<'_>) -> Result<Release, CommandError> {
        match args.len() {
            1 if cx.settings.lazy_user_flush => Ok(Release::Later),
            1 => Ok(Release::Now),
            2 if args.is(1, b"SYNC") => Ok(Release::Now),
            2 if args.is(1, b"ASYNC") => Ok(Release::Later),
            _ => Err(CommandError::Syntax),
        }
    }
}

fn flush(cx: &mut Context<'_>, db: usize, release: Release) {
    let flushed = cx.keyspace.flush(db);
    cx.changes.dirty += flushed.len() as u64;
    if release == Release::Later {
        cx.keyspace.graveyard.bury(flushed);
    }
}

/// SWAPDB
pub const SWAPDB: Command = Command {
    spec: Spec {
        name: "swapdb",
        arity: Arity::exactly(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[],
        categories: KEYSPACE_DANGEROUS,
        tips: &[],
        docs: &Docs {
            syntax: "SWAPDB index1:int index2:int",
            summary: "Exchanges two databases: clients of one see the keys of the other at once.",
            since: "4.0.0",
            complexity: "O(N) with N the number of clients that watch keys of the two databases.",
            group: Group::Server,
            ..Docs::DEFAULT
        },
    },
    run: Run::EveryShard { handler: swapdb, fold: fold_ok, writes: true },
    subcommands: &[],
};

fn swapdb(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let first = small_int(args, 1).ok_or(CommandError::Text("ERR invalid first DB index"))?;
    let second = small_int(args, 2).ok_or(CommandError::Text("ERR invalid second DB index"))?;
    let in_range = |number| usize::try_from(number).ok().filter(|&db| db < cx.keyspace.databases());
    let (Some(first), Some(second)) = (in_range(first), in_range(second)) else {
        return Err(CommandError::DbIndexOutOfRange);
    };
    cx.keyspace.swap_dbs(first, second);
    cx.changes.dirty += 1;
    reply.ok();
    Ok(())
}
