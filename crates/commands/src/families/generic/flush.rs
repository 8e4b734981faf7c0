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
    cx.changes.flushed();
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
    cx.changes.flushed();
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
    cx.keyspace.swap_dbs(first, second, cx.now_ms);
    cx.changes.dirty += 1;
    if first != second {
        cx.changes.flushed();
    }
    reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    /// Two keys in database 0 and one in database 3.
    fn filled() -> Bench {
        let mut bench = Bench::new();
        bench.run("MSET a 1 b 2");
        bench.db = 3;
        bench.run("SET c 3");
        bench.db = 0;
        bench
    }

    #[test]
    fn one_database_or_all() {
        for option in ["", " SYNC", " async"] {
            let mut bench = filled();
            bench.check_changes(&format!("FLUSHDB{option}"), "+OK", 2, &[]);
            bench.check("DBSIZE", ":0");
            bench.db = 3;
            bench.check("DBSIZE", ":1");
            bench.db = 0;
            bench.run("SET d 4");
            bench.check_changes(&format!("FLUSHALL{option}"), "+OK", 2, &[]);
            bench.db = 3;
            bench.check("DBSIZE", ":0");
        }
    }

    #[test]
    fn when_memory_is_released() {
        for (lazy_user_flush, line, pending) in [
            (true, "FLUSHALL", 3),
            (false, "FLUSHALL", 0),
            (true, "FLUSHALL SYNC", 0),
            (false, "FLUSHALL ASYNC", 3),
            (true, "FLUSHDB", 2),
            (false, "FLUSHDB", 0),
        ] {
            let mut bench = filled();
            bench.settings.lazy_user_flush = lazy_user_flush;
            bench.check(line, "+OK");
            assert_eq!(bench.keyspace().graveyard.pending(), pending, "{line}");
        }
    }

    #[test]
    fn wrong_options() {
        let mut bench = filled();
        for line in ["FLUSHALL foo", "FLUSHALL SYNC ASYNC", "FLUSHDB SYNC SYNC", "FLUSHDB foo"] {
            bench.check_changes(line, "-ERR syntax error", 0, &[]);
        }
        bench.check("DBSIZE", ":2");
    }

    #[test]
    fn databases_are_exchanged() {
        let mut bench = filled();
        for (line, expected) in [
            ("SWAPDB a 1", "-ERR invalid first DB index"),
            ("SWAPDB 0 a", "-ERR invalid second DB index"),
            ("SWAPDB 99 a", "-ERR invalid second DB index"),
            ("SWAPDB 0 16", "-ERR DB index is out of range"),
            ("SWAPDB -1 0", "-ERR DB index is out of range"),
            ("SWAPDB 4294967296 0", "-ERR invalid first DB index"),
            ("SWAPDB 0 0", "+OK"),
            ("SWAPDB 0 3", "+OK"),
            ("DBSIZE", ":1"),
            ("GET c", "$1\n3"),
        ] {
            bench.check(line, expected);
        }
    }

    #[test]
    fn watchers_of_keys_that_were_there_are_told() {
        for (line, broken) in
            [("FLUSHDB", [true, false]), ("FLUSHALL", [true, false]), ("SWAPDB 0 3", [true, true])]
        {
            let mut bench = filled();
            for (token, name) in ["a", "c"].into_iter().enumerate() {
                let now_ms = bench.now_ms;
                let key = bench.keyspace().key(name.as_bytes());
                bench.keyspace().watch(0, &key, token as u64, now_ms);
            }
            bench.run(line);
            let now_ms = bench.now_ms;
            assert_eq!([0, 1].map(|token| bench.keyspace().watch_broken(token, now_ms)), broken, "{line}");
        }
    }
}
