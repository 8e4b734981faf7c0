//! Single fields: HGET, HMGET, HEXISTS, HSTRLEN, HLEN, HSET, HMSET, HSETNX, HDEL and HGETDEL. Hot path.

use torc_datatypes::Stored;
use torc_keyspace::{Class, SetExpire};
use torc_resp::{Args, CommandError, Reply};

use super::{Gone, WRONG_COUNT, edit, fields_behind, hash_at, hash_of, limits, removed, stored_over_expired};
use crate::families::string::{value_from, write_optional};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec, Status};

pub(super) const HGET: Command = Command {
    spec: Spec {
        name: "hget",
        arity: Arity::exactly(3),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "HGET key field",
            summary: "Returns the value of a hash's field.",
            since: "2.0.0",
            complexity: "O(1)",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hget),
    subcommands: &[],
};

fn hget(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let now_ms = cx.fields_at_ms();
    let hash = hash_at(cx.read(args.get(1)))?;
    write_optional(reply, hash.and_then(|hash| hash.get(args.get(2), now_ms)));
    Ok(())
}

pub(super) const HMGET: Command = Command {
    spec: Spec {
        name: "hmget",
        arity: Arity::at_least(3),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "HMGET key field [field ...]",
            summary: "Returns the values of several fields of a hash; null where there is none.",
            since: "2.0.0",
            complexity: "O(N) where N is the number of fields asked for",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hmget),
    subcommands: &[],
};

fn hmget(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let now_ms = cx.fields_at_ms();
    let hash = hash_at(cx.read(args.get(1)))?;
    let names = args.from(2);
    reply.array(names.len());
    for name in names.iter() {
        write_optional(reply, hash.and_then(|hash| hash.get(name, now_ms)));
    }
    Ok(())
}

pub(super) const HEXISTS: Command = Command {
    spec: Spec {
        name: "hexists",
        arity: Arity::exactly(3),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO)],
        docs: &Docs {
            syntax: "HEXISTS key field",
            summary: "Tells whether a hash has a field.",
            since: "2.0.0",
            complexity: "O(1)",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hexists),
    subcommands: &[],
};

fn hexists(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let now_ms = cx.fields_at_ms();
    let hash = hash_at(cx.read(args.get(1)))?;
    let exists = hash.is_some_and(|hash| hash.find(args.get(2), now_ms).is_some());
    reply.int(i64::from(exists));
    Ok(())
}

pub(super) const HSTRLEN: Command = Command {
    spec: Spec {
        name: "hstrlen",
        arity: Arity::exactly(3),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO)],
        docs: &Docs {
            syntax: "HSTRLEN key field",
            summary: "Returns the length in bytes of the value of a hash's field.",
            since: "3.2.0",
            complexity: "O(1)",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hstrlen),
    subcommands: &[],
};

fn hstrlen(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let now_ms = cx.fields_at_ms();
    let hash = hash_at(cx.read(args.get(1)))?;
    let value = hash.and_then(|hash| hash.get(args.get(2), now_ms));
    reply.int(value.map_or(0, |value| value.len()) as i64);
    Ok(())
}

pub(super) const HLEN: Command = Command {
    spec: Spec {
        name: "hlen",
        arity: Arity::exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO)],
        docs: &Docs {
            syntax: "HLEN key",
            summary: "Returns the number of a hash's fields, expired ones that are not yet removed included.",
            since: "2.0.0",
            complexity: "O(1)",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hlen),
    subcommands: &[],
};

fn hlen(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let hash = hash_at(cx.read(args.get(1)))?;
    reply.int(hash.map_or(0, |hash| hash.len()) as i64);
    Ok(())
}

pub(super) const HSET: Command = Command {
    spec: Spec {
        name: "hset",
        arity: Arity::at_least(4),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_UPDATE)],
        docs: &Docs {
            syntax: "HSET key field value [field value ...]",
            summary: "Stores values in fields of a hash, which is made if it is not there. Replies how many fields are new.",
            since: "2.0.0",
            complexity: "O(N) where N is the number of fields",
            group: Group::Hash,
            history: &[("4.0.0", "Accepts several fields with their values.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hset),
    subcommands: &[],
};

fn hset(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let new = store_pairs(cx, args, "hset")?;
    reply.int(new as i64);
    Ok(())
}

pub(super) const HMSET: Command = Command {
    spec: Spec {
        name: "hmset",
        arity: Arity::at_least(4),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_UPDATE)],
        docs: &Docs {
            syntax: "HMSET key field value [field value ...]",
            summary: "Stores values in fields of a hash.",
            since: "2.0.0",
            complexity: "O(N) where N is the number of fields",
            group: Group::Hash,
            status: Status::Deprecated {
                since: "4.0.0",
                replaced_by: "`HSET` with multiple field-value pairs",
            },
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hmset),
    subcommands: &[],
};

fn hmset(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    store_pairs(cx, args, "hmset")?;
    reply.ok();
    Ok(())
}

/// Stores the pairs of fields and values from argument 2 on; returns how many fields are new.
#[inline]
fn store_pairs(cx: &mut Context<'_>, args: Args<'_>, name: &'static str) -> Result<u64, CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::WrongArity(name));
    }
    let (now_ms, limits) = (cx.fields_at_ms(), limits(cx));
    let mut at = cx.at(args.get(1), cx.writing());
    hash_at(at.entry())?;
    let pairs = (args.len() - 2) as u64 / 2;
    let (mut new, mut over_expired) = (0, 0);
    edit(&mut at, |hash| {
        hash.reserve(pairs as usize, limits);
        for index in (2..args.len()).step_by(2) {
            let value = value_from(args, index + 1);
            let stored = hash.set(args.get(index), value, SetExpire::Clear, now_ms, limits);
            new += u64::from(stored.is_new());
            over_expired += u64::from(stored == Stored::OverExpired);
        }
    });
    stored_over_expired(&mut at, over_expired);
    at.changed(Class::HASH, "hset");
    at.changed_more(pairs - 1);
    Ok(new)
}

pub(super) const HSETNX: Command = Command {
    spec: Spec {
        name: "hsetnx",
        arity: Arity::exactly(4),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_INSERT)],
        docs: &Docs {
            syntax: "HSETNX key field value",
            summary: "Stores a value in a field that a hash does not have yet.",
            since: "2.0.0",
            complexity: "O(1)",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hsetnx),
    subcommands: &[],
};

fn hsetnx(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let (now_ms, limits) = (cx.fields_at_ms(), limits(cx));
    let name = args.get(2);
    let mut at = cx.at(args.get(1), cx.writing());
    if hash_at(at.entry())?.is_some_and(|hash| hash.find(name, now_ms).is_some()) {
        reply.int(0);
        return Ok(());
    }
    let value = value_from(args, 3);
    let stored = edit(&mut at, |hash| hash.set(name, value, SetExpire::Clear, now_ms, limits));
    stored_over_expired(&mut at, u64::from(stored == Stored::OverExpired));
    at.tell(&[b"HSET", args.get(1), name, args.get(3)]);
    at.changed(Class::HASH, "hset");
    reply.int(1);
    Ok(())
}

pub(super) const HDEL: Command = Command {
    spec: Spec {
        name: "hdel",
        arity: Arity::at_least(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW.and(Access::DELETE))],
        docs: &Docs {
            syntax: "HDEL key field [field ...]",
            summary: "Removes fields from a hash, and the hash with its last field. Replies how many were removed.",
            since: "2.0.0",
            complexity: "O(N) where N is the number of fields",
            group: Group::Hash,
            history: &[("2.4.0", "Accepts several fields.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hdel),
    subcommands: &[],
};

fn hdel(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let now_ms = cx.fields_at_ms();
    let mut at = cx.at(args.get(1), cx.writing());
    if hash_at(at.entry())?.is_none() {
        reply.int(0);
        return Ok(());
    }
    let mut gone = Gone::default();
    let count = edit(&mut at, |hash| {
        args.from(2).iter().map(|name| u64::from(gone.note(name, hash.remove(name, now_ms)))).sum::<u64>()
    });
    if count > 0 {
        gone.tell(&mut at);
        removed(&mut at, count, "hdel");
    }
    reply.int(count as i64);
    Ok(())
}

pub(super) const HGETDEL: Command = Command {
    spec: Spec {
        name: "hgetdel",
        arity: Arity::at_least(5),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_ACCESS_DELETE)],
        docs: &Docs {
            syntax: "HGETDEL key FIELDS numfields:int field [field ...]",
            summary: "Returns the values of fields of a hash and removes these fields.",
            since: "9.1.0",
            complexity: "O(N) where N is the number of fields",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hgetdel),
    subcommands: &[],
};

fn hgetdel(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let names = fields_behind(args, 2, 1)?.ok_or(WRONG_COUNT)?;
    let now_ms = cx.fields_at_ms();
    let mut at = cx.at(args.get(1), cx.writing());
    let exists = at.entry().map(hash_of).transpose()?.is_some();
    reply.array(names.len());
    if !exists {
        names.iter().for_each(|_| reply.null());
        return Ok(());
    }
    let mut gone = Gone::default();
    let count = edit(&mut at, |hash| {
        let mut count = 0;
        for name in names.iter() {
            write_optional(reply, hash.get(name, now_ms));
            count += u64::from(gone.note(name, hash.remove(name, now_ms)));
        }
        count
    });
    if count > 0 {
        gone.tell(&mut at);
        removed(&mut at, count, "hdel");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn fields_are_stored_and_read() {
        let mut bench = Bench::new();
        bench.check_changes("HSET h a 1 b 2", ":2", 2, &["h hset h"]);
        bench.check_changes("HSET h a 3 c 4 c 5", ":1", 3, &["h hset h"]);
        bench.check("HGET h a", "$1\n3");
        bench.check("HMGET h c nofield b", "*3\n$1\n5\n$-1\n$1\n2");
        bench.check("HEXISTS h b", ":1");
        bench.check("HEXISTS h nofield", ":0");
        bench.check("HSTRLEN h b", ":1");
        bench.check("HLEN h", ":3");
        bench.check_changes("HMSET h a 6", "+OK", 1, &["h hset h"]);
        bench.check_changes("HSETNX h a 7", ":0", 0, &[]);
        bench.check_changes("HSETNX h d 7", ":1", 1, &["h hset h"]);
        let stats = bench.keyspace().stats;
        assert_eq!((stats.hits, stats.misses), (6, 0));
    }

    #[test]
    fn the_last_field_takes_the_key_with_it() {
        let mut bench = Bench::new();
        bench.run("HSET h a 1 b 2 c 3");
        bench.check_changes("HDEL h nofield", ":0", 0, &[]);
        bench.check_changes("HDEL h a a nofield", ":1", 1, &["h hdel h"]);
        bench.check_changes("HDEL h b c", ":2", 2, &["h hdel h", "g del h"]);
        bench.check_changes("HDEL h b", ":0", 0, &[]);
        bench.run("HSET h a 1 b 2");
        bench.check_changes("HGETDEL h FIELDS 2 a a", "*2\n$1\n1\n$-1", 1, &["h hdel h"]);
        bench.check_changes("HGETDEL h FIELDS 1 nofield", "*1\n$-1", 0, &[]);
        let events = ["h hdel h", "g del h"];
        bench.check_changes("HGETDEL h FIELDS 2 nofield b", "*2\n$-1\n$1\n2", 1, &events);
        bench.check("EXISTS h", ":0");
        assert_eq!(bench.keyspace().usage(0).entry_bytes, 0);
    }

    /// What is stored over a field that has expired is new, and the expired one counts and is told.
    #[test]
    fn expired_fields_are_stored_over() {
        let mut bench = Bench::new();
        bench.run("HSET h a 1 b 2 c 3");
        bench.run("HPEXPIRE h 10 FIELDS 3 a b c");
        bench.now_ms += 11;
        bench.check("HLEN h", ":3");
        bench.check("HGET h a", "$-1");
        bench.check("HDEL h a", ":0");
        bench.check("HGETDEL h FIELDS 1 a", "*1\n$-1");
        bench.check_changes("HSET h a 4 d 5", ":2", 2, &["h hexpired h", "h hset h"]);
        bench.check_changes("HSETNX h b 6", ":1", 1, &["h hexpired h", "h hset h"]);
        bench.check("HMGET h a b c d", "*4\n$1\n4\n$1\n6\n$-1\n$1\n5");
        assert_eq!(bench.keyspace().stats.expired_fields, 2);
    }

    /// The bytes that the database counts are those of what it holds, whatever happens to a hash.
    #[test]
    fn bytes_are_counted() {
        let mut bench = Bench::new();
        let mut rng = torc_keyspace::Rng::new(3);
        for step in 0..3_000 {
            let field = rng.index(700);
            match rng.index(10) {
                0..=5 => bench.run(&format!("HSET h f{field} {}", "v".repeat(rng.index(90)) + "w")),
                6 => bench.run(&format!("HPEXPIRE h {} FIELDS 1 f{field}", 1 + rng.index(200))),
                7 => bench.run(&format!("HINCRBY h n{field} 1")),
                _ => bench.run(&format!("HDEL h f{field}")),
            };
            bench.now_ms += 1;
            let keyspace = bench.keyspace();
            let key = keyspace.key(b"h");
            let bytes = keyspace.peek(0, &key, 0).map_or(0, |entry| entry.size_bytes());
            assert_eq!(keyspace.usage(0).entry_bytes, bytes, "step {step}");
        }
    }
}
