//! EXISTS, TOUCH and TYPE.

use torc_keyspace::Lookup;
use torc_resp::{Args, CommandError, Reply};

use crate::{
    Access, Arity, Command, Context, Docs, Flags, Fold, Group, KeySpec, Run, Spec,
    families::generic::KEYSPACE,
};

/// EXISTS
pub const EXISTS: Command = Command {
    spec: Spec {
        name: "exists",
        arity: Arity::at_least(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::range(1, -1, 1, Access::RO)],
        categories: KEYSPACE,
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        docs: &Docs {
            syntax: "EXISTS key [key ...]",
            summary: "Replies how many of the keys exist; a key named twice counts twice.",
            since: "1.0.0",
            complexity: "O(N) with N the number of keys.",
            group: Group::Generic,
            history: &[("3.0.3", "Several keys can be named.")],
            ..Docs::DEFAULT
        },
    },
    run: Run::Split { handler: exists, step: 1, fold: Fold::Sum },
    subcommands: &[],
};

fn exists(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    count_found(cx, args, Lookup::READ_NO_TOUCH, reply);
    Ok(())
}

/// TOUCH
pub const TOUCH: Command = Command {
    spec: Spec {
        name: "touch",
        arity: Arity::at_least(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::range(1, -1, 1, Access::RO)],
        categories: KEYSPACE,
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        docs: &Docs {
            syntax: "TOUCH key [key ...]",
            summary: "Marks keys as used just now, without reading them. Replies how many of them exist.",
            since: "3.2.1",
            complexity: "O(N) with N the number of keys.",
            group: Group::Generic,
            ..Docs::DEFAULT
        },
    },
    run: Run::Split { handler: touch, step: 1, fold: Fold::Sum },
    subcommands: &[],
};

/// The access clock moves even for clients that asked for NO-TOUCH: it is all that this command is for.
fn touch(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    count_found(cx, args, Lookup::READ, reply);
    Ok(())
}

fn count_found(cx: &mut Context<'_>, args: Args<'_>, lookup: Lookup, reply: &mut Reply<'_>) {
    let mut found = 0;
    for bytes in args.iter().skip(1) {
        let key = cx.key(bytes);
        found += i64::from(cx.keyspace.get(cx.db, &key, cx.now_ms, lookup, cx.changes).is_some());
    }
    reply.int(found);
}

/// TYPE
pub const TYPE: Command = Command {
    spec: Spec {
        name: "type",
        arity: Arity::exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO)],
        categories: KEYSPACE,
        tips: &[],
        docs: &Docs {
            syntax: "TYPE key",
            summary: "Replies the data type of a key's value, `none` if there is no such key.",
            since: "1.0.0",
            complexity: "O(1)",
            group: Group::Generic,
            ..Docs::DEFAULT
        },
    },
    run: Run::OnShard(type_of),
    subcommands: &[],
};

fn type_of(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let entry = cx.keyspace.get(cx.db, &key, cx.now_ms, Lookup::READ_NO_TOUCH, cx.changes);
    reply.simple(entry.map_or("none", |entry| entry.kind().name()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn found_keys_are_counted_as_often_as_they_are_named() {
        let mut bench = Bench::new();
        bench.run("MSET a 1 b 2");
        for (line, expected) in [
            ("EXISTS a", ":1"),
            ("EXISTS nokey", ":0"),
            ("EXISTS a b nokey a", ":3"),
            ("TOUCH a b nokey a", ":3"),
            ("TYPE a", "+string"),
            ("TYPE nokey", "+none"),
        ] {
            bench.check(line, expected);
        }
        let stats = bench.keyspace().stats;
        assert_eq!((stats.hits, stats.misses), (8, 4));
    }

    #[test]
    fn only_touch_moves_the_access_clock() {
        let mut bench = Bench::new();
        bench.run("SET a 1");
        bench.now_ms += 20_000;
        for line in ["EXISTS a", "TYPE a", "TTL a", "OBJECT ENCODING a"] {
            bench.run(line);
            bench.check("OBJECT IDLETIME a", ":20");
        }
        bench.no_touch = true;
        bench.run("GET a");
        bench.check("OBJECT IDLETIME a", ":20");
        bench.run("TOUCH a");
        bench.check("OBJECT IDLETIME a", ":0");
    }
}
