//! Several keys at once: MGET, MSET, MSETNX and MSETEX. Hot path.

use torc_keyspace::{Class, SetExpire};
use torc_resp::{Args, CommandError, Reply, number};

use super::options::{Condition, Known, Options};
use super::{store, value_from, write_optional};
use crate::{
    Access, Arity, Begin, Command, Context, Docs, Find, Flags, Fold, Group, KEYS_AHEAD, KeySpec, Run, Spec,
};

pub(super) const MGET: Command = Command {
    spec: Spec {
        name: "mget",
        arity: Arity::at_least(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::range(1, -1, 1, Access::RO_ACCESS)],
        tips: &["request_policy:multi_shard"],
        docs: &Docs {
            syntax: "MGET key [key ...]",
            summary: "Returns the strings stored at several keys; null where there is none.",
            since: "1.0.0",
            complexity: "O(N) where N is the number of keys",
            group: Group::String,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::Split { handler: mget, step: 1, fold: Fold::Array },
    subcommands: &[],
};

fn mget(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    reply.array(args.len() - 1);
    let lookup = cx.reading();
    for first in (1..args.len()).step_by(KEYS_AHEAD) {
        for key in cx.keys_ahead(args.from(first), 1) {
            let entry = cx.keyspace.get(cx.db, &key, cx.now_ms, lookup, cx.changes);
            write_optional(reply, entry.and_then(|entry| entry.str_ref()));
        }
    }
    Ok(())
}

pub(super) const MSET: Command = Command {
    spec: Spec {
        name: "mset",
        arity: Arity::at_least(3),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::range(1, -1, 2, Access::OW_UPDATE)],
        tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
        docs: &Docs {
            syntax: "MSET key value [key value ...]",
            summary: "Stores strings at several keys, all at once.",
            since: "1.0.1",
            complexity: "O(N) where N is the number of keys",
            group: Group::String,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::Split { handler: mset, step: 2, fold: Fold::Ok },
    subcommands: &[],
};

fn mset(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::WrongArity("mset"));
    }
    store_pairs(cx, args);
    reply.ok();
    Ok(())
}

/// Stores the pairs of keys and values that all arguments but the first are.
fn store_pairs(cx: &mut Context<'_>, args: Args<'_>) {
    for first in (1..args.len()).step_by(2 * KEYS_AHEAD) {
        for (nth, key) in cx.keys_ahead(args.from(first), 2).iter().enumerate() {
            let value = value_from(args, first + 2 * nth + 1);
            cx.keyspace.set_string(cx.db, key, value, SetExpire::Clear, cx.now_ms, cx.changes);
            cx.changed(key.bytes, Class::STRING, "set");
        }
    }
}

pub(super) const MSETNX: Command = Command {
    spec: Spec {
        name: "msetnx",
        arity: Arity::at_least(3),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::range(1, -1, 2, Access::OW_INSERT)],
        docs: &Docs {
            syntax: "MSETNX key value [key value ...]",
            summary: "Stores strings at several keys, but only if none of the keys exists yet.",
            since: "1.0.1",
            complexity: "O(N) where N is the number of keys",
            group: Group::String,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(msetnx),
    subcommands: &[],
};

fn msetnx(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::WrongArity("msetnx"));
    }
    let none_exists = (1..args.len()).step_by(2).all(|index| !exists(cx, args.get(index)));
    if none_exists {
        store_pairs(cx, args);
        for index in (1..args.len()).step_by(2) {
            cx.changes.effects.tell(cx.db, &[b"SET", args.get(index), args.get(index + 1)]);
        }
    }
    reply.int(i64::from(none_exists));
    Ok(())
}

pub(super) const MSETEX: Command = Command {
    spec: Spec {
        name: "msetex",
        arity: Arity::at_least(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec {
            begin: Begin::Index(1),
            find: Find::Count { count_at: 0, first: 1, step: 2 },
            access: Access::OW_UPDATE,
            notes: "",
            by_options: None,
        }],
        tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
        docs: &Docs {
            syntax: "MSETEX numkeys:int key value [key value ...] [NX | XX] [EX seconds:int | PX milliseconds:int | EXAT unix-time-seconds:unix-time | PXAT unix-time-milliseconds:unix-time | KEEPTTL]",
            summary: "Stores strings at several keys with one expiration time, all at once.",
            since: "8.4.0",
            complexity: "O(N) where N is the number of keys",
            group: Group::String,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(msetex),
    subcommands: &[],
};

fn msetex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    const INVALID_COUNT: CommandError = CommandError::Text("ERR invalid numkeys value");
    let count = number::parse_i64(args.get(1)).and_then(|count| i32::try_from(count).ok());
    let count = count.filter(|count| *count > 0).ok_or(INVALID_COUNT)? as usize;
    let pairs_end = 2 + 2 * count;
    if pairs_end > args.len() {
        return Err(CommandError::Text("ERR wrong number of key-value pairs"));
    }
    let known = Known { conditions: true, keepttl: true, ..Known::default() };
    let options = Options::parse(args, pairs_end, known)?;
    let expire = options.set_expire(args, cx.now_ms, "msetex")?;
    let mut keys = (2..pairs_end).step_by(2).map(|index| args.get(index));
    let may_write = match options.condition {
        Condition::Missing => keys.all(|key| !exists(cx, key)),
        Condition::Exists => keys.all(|key| exists(cx, key)),
        Condition::Always | Condition::Equals(_) => true,
    };
    if may_write {
        for index in (2..pairs_end).step_by(2) {
            let over_until_ms = cx.over_until_ms();
            let mut at = cx.at(args.get(index), cx.writing());
            store(&mut at, value_from(args, index + 1), expire, over_until_ms);
            at.tell_string();
        }
    }
    reply.int(i64::from(may_write));
    Ok(())
}

fn exists(cx: &mut Context<'_>, key: &[u8]) -> bool {
    cx.at(key, cx.writing()).exists()
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn mget_and_mset() {
        let mut bench = Bench::new();
        bench.check("MGET a", "*1\n$-1");
        bench.check_changes("MSET a 1 b two a 3", "+OK", 3, &["$ set a", "$ set b", "$ set a"]);
        bench.check("MGET a none b a", "*4\n$1\n3\n$-1\n$3\ntwo\n$1\n3");
        for line in ["MSET a", "MSET a 1 b", "MSETNX a 1 b"] {
            let name = line.split(' ').next().expect("a word").to_ascii_lowercase();
            bench.check(line, &format!("-ERR wrong number of arguments for '{name}' command"));
        }
        let big = "x".repeat(20_000);
        bench.check(&format!("MSET a {big} b {big}"), "+OK");
        bench.check("MGET a b", &format!("*2\n$20000\n{big}\n$20000\n{big}"));
    }

    #[test]
    fn many_keys() {
        let mut bench = Bench::new();
        let pairs: Vec<String> = (0..100).map(|id| format!("k{id} v{id}")).collect();
        let names: Vec<String> = (0..100).map(|id| format!("k{id}")).collect();
        let values: Vec<String> =
            (0..100).map(|id| format!("${}\nv{id}", if id < 10 { 2 } else { 3 })).collect();
        bench.check(&format!("MSET {}", pairs.join(" ")), "+OK");
        bench.check(&format!("MGET {}", names.join(" ")), &format!("*100\n{}", values.join("\n")));
    }

    #[test]
    fn mset_clears_the_expiry() {
        let mut bench = Bench::new();
        bench.check("SET a v PX 10", "+OK");
        bench.check("MSET a w", "+OK");
        bench.now_ms += 20;
        bench.check("MGET a", "*1\n$1\nw");
    }

    #[test]
    fn msetnx() {
        let mut bench = Bench::new();
        bench.check_changes("MSETNX a 1 b 2", ":1", 2, &["$ set a", "$ set b"]);
        bench.check_changes("MSETNX c 1 b 3", ":0", 0, &[]);
        bench.check("MGET a b c", "*3\n$1\n1\n$1\n2\n$-1");
        bench.check("MSETNX d 1 d 2", ":1");
        bench.check("GET d", "$1\n2");
    }

    #[test]
    fn msetex() {
        let mut bench = Bench::new();
        let events = ["$ set a", "g expire a", "$ set b", "g expire b"];
        bench.check_changes("MSETEX 2 a 1 b 2 EX 10", ":1", 2, &events);
        bench.check("MSETEX 2 a 3 b 4 KEEPTTL XX", ":1");
        bench.check("MSETEX 2 c 3 b 4 NX", ":0");
        bench.check("MSETEX 2 c 3 b 4 XX", ":0");
        bench.check("MSETEX 1 c 3 NX PX 5", ":1");
        bench.check("MGET a b c", "*3\n$1\n3\n$1\n4\n$1\n3");
        bench.now_ms += 10_001;
        bench.check("MGET a b c", "*3\n$-1\n$-1\n$-1");
        bench.check("MSETEX 1 a 1 EXAT 1", ":1");
        bench.check("GET a", "$-1");
        bench.check("MSETEX 1 EX EX", ":1");
        bench.check("GET EX", "$2\nEX");
    }

    #[test]
    fn msetex_errors() {
        let mut bench = Bench::new();
        for count in ["0", "-1", "x", "2147483648", "9223372036854775808"] {
            bench.check(&format!("MSETEX {count} a 1"), "-ERR invalid numkeys value");
        }
        for line in ["MSETEX 2 a 1", "MSETEX 2 a 1 b", "MSETEX 2147483647 a 1"] {
            bench.check(line, "-ERR wrong number of key-value pairs");
        }
        for options in ["b 2", "NX XX", "EX 1 PX 1", "EX", "EX 1 KEEPTTL", "IFEQ 1", "GET", "PERSIST"] {
            bench.check(&format!("MSETEX 1 a 1 {options}"), "-ERR syntax error");
        }
        bench.check("MSETEX 1 a 1 EX 0", "-ERR invalid expire time in 'msetex' command");
        bench.check("MSETEX 1 a 1 EX x", "-ERR value is not an integer or out of range");
        bench.check("GET a", "$-1");
    }
}
