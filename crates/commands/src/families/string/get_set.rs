//! Whole values: GET, SET and their relatives. Hot path.

use torc_keyspace::{Class, SetExpire};
use torc_resp::{Args, CommandError, Reply};

use super::options::{Condition, Expiry, Known, Options, Unit};
use super::{is_equal, store, string_at, string_of, value_from, write_optional, write_string};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec, Status};

pub(super) const GET: Command = Command {
    spec: Spec {
        name: "get",
        arity: Arity::exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "GET key",
            summary: "Returns the string stored at a key.",
            since: "1.0.0",
            complexity: "O(1)",
            group: Group::String,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(get),
    subcommands: &[],
};

fn get(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    match cx.read(args.get(1)) {
        Some(entry) => write_string(reply, string_of(entry)?),
        None => reply.null(),
    }
    Ok(())
}

/// Without GET the old value does not leave the server (IFEQ only compares it, which Valkey does not count).
fn set_access(args: Args<'_>) -> Access {
    let gets = (3..args.len()).any(|index| args.is(index, b"GET"));
    if gets { Access::RW_ACCESS_UPDATE } else { Access::OW_UPDATE }
}

pub(super) const SET: Command = Command {
    spec: Spec {
        name: "set",
        arity: Arity::at_least(3),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::at(1, Access::RW_ACCESS_UPDATE)
            .by_options(set_access)
            .with_notes("RW and ACCESS due to the optional `GET` argument")],
        docs: &Docs {
            syntax: "SET key value [NX | XX | IFEQ comparison-value] [GET] [EX seconds:int | PX milliseconds:int | EXAT unix-time-seconds:unix-time | PXAT unix-time-milliseconds:unix-time | KEEPTTL]",
            summary: "Stores a string at a key, whatever the key held before.",
            since: "1.0.0",
            complexity: "O(1)",
            group: Group::String,
            history: &[
                ("2.6.12", "Added the `EX`, `PX`, `NX` and `XX` options."),
                ("6.0.0", "Added the `KEEPTTL` option."),
                ("6.2.0", "Added the `GET`, `EXAT` and `PXAT` option."),
                ("7.0.0", "Allowed the `NX` and `GET` options to be used together."),
                ("8.1.0", "Added the `IFEQ` option."),
            ],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(set),
    subcommands: &[],
};

fn set(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    if args.len() == 3 {
        let key = cx.key(args.get(1));
        let value = value_from(args, 2);
        cx.keyspace.set_string(cx.db, &key, value, SetExpire::Clear, cx.now_ms, cx.changes);
        cx.changed(key.bytes, Class::STRING, "set");
        reply.ok();
        return Ok(());
    }
    let known = Known { conditions: true, ifeq: true, get: true, keepttl: true, ..Known::default() };
    let options = Options::parse(args, 3, known)?;
    let (now_ms, over_until_ms) = (cx.now_ms, cx.over_until_ms());
    let expire = options.set_expire(args, now_ms, "set")?;
    let lookup = if options.get { cx.reading() } else { cx.writing() };
    let mut at = cx.at(args.get(1), lookup);
    let may_write = match options.condition {
        Condition::Always => true,
        Condition::Missing => !at.exists(),
        Condition::Exists => at.exists(),
        Condition::Equals(index) => {
            string_at(at.entry())?.is_some_and(|string| is_equal(string, args.get(index)))
        }
    };
    if options.get {
        write_optional(reply, string_at(at.entry())?);
    }
    if may_write {
        store(&mut at, value_from(args, 2), expire, over_until_ms);
        if let SetExpire::At(_) = expire {
            at.tell_string();
        }
    }
    match (options.get, may_write) {
        (true, _) => {}
        (false, true) => reply.ok(),
        (false, false) => reply.null(),
    }
    Ok(())
}

pub(super) const SETNX: Command = Command {
    spec: Spec {
        name: "setnx",
        arity: Arity::exactly(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::OW_INSERT)],
        docs: &Docs {
            syntax: "SETNX key value",
            summary: "Stores a string at a key that does not exist yet.",
            since: "1.0.0",
            complexity: "O(1)",
            group: Group::String,
            status: Status::Deprecated { since: "2.6.12", replaced_by: "`SET` with the `NX` argument" },
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(setnx),
    subcommands: &[],
};

fn setnx(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let mut at = cx.at(args.get(1), cx.writing());
    let is_new = !at.exists();
    if is_new {
        at.set_string(value_from(args, 2), SetExpire::Clear);
        at.changed(Class::STRING, "set");
    }
    reply.int(i64::from(is_new));
    Ok(())
}

pub(super) const SETEX: Command = Command {
    spec: Spec {
        name: "setex",
        arity: Arity::exactly(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::at(1, Access::OW_UPDATE)],
        docs: &Docs {
            syntax: "SETEX key seconds:int value",
            summary: "Stores a string at a key that expires after some seconds.",
            since: "2.0.0",
            complexity: "O(1)",
            group: Group::String,
            status: Status::Deprecated { since: "2.6.12", replaced_by: "`SET` with the `EX` argument" },
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(setex),
    subcommands: &[],
};

fn setex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    set_for_a_time(cx, args, Unit::Seconds, "setex", reply)
}

pub(super) const PSETEX: Command = Command {
    spec: Spec {
        name: "psetex",
        arity: Arity::exactly(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::at(1, Access::OW_UPDATE)],
        docs: &Docs {
            syntax: "PSETEX key milliseconds:int value",
            summary: "Stores a string at a key that expires after some milliseconds.",
            since: "2.6.0",
            complexity: "O(1)",
            group: Group::String,
            status: Status::Deprecated { since: "2.6.12", replaced_by: "`SET` with the `PX` argument" },
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(psetex),
    subcommands: &[],
};

fn psetex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    set_for_a_time(cx, args, Unit::Millis, "psetex", reply)
}

fn set_for_a_time(
    cx: &mut Context<'_>,
    args: Args<'_>,
    unit: Unit,
    name: &'static str,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let expire_at = unit.unix_ms(args.int(2)?, cx.now_ms, name)?;
    let key = cx.key(args.get(1));
    let expire = SetExpire::At(expire_at);
    cx.keyspace.set_string(cx.db, &key, value_from(args, 3), expire, cx.now_ms, cx.changes);
    if cx.changes.effects.is_on() {
        let time = expire_at.to_string();
        cx.changes.effects.tell(cx.db, &[b"SET", key.bytes, args.get(3), b"PXAT", time.as_bytes()]);
    }
    cx.changed(key.bytes, Class::STRING, "set");
    cx.changes.event(Class::GENERIC, "expire", cx.db, key.bytes);
    reply.ok();
    Ok(())
}

pub(super) const GETSET: Command = Command {
    spec: Spec {
        name: "getset",
        arity: Arity::exactly(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_ACCESS_UPDATE)],
        docs: &Docs {
            syntax: "GETSET key value",
            summary: "Stores a string at a key and returns the one that was there.",
            since: "1.0.0",
            complexity: "O(1)",
            group: Group::String,
            status: Status::Deprecated { since: "6.2.0", replaced_by: "`SET` with the `!GET` argument" },
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(getset),
    subcommands: &[],
};

fn getset(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let mut at = cx.at(args.get(1), cx.reading());
    write_optional(reply, string_at(at.entry())?);
    at.set_string(value_from(args, 2), SetExpire::Clear);
    at.changed(Class::STRING, "set");
    Ok(())
}

pub(super) const GETDEL: Command = Command {
    spec: Spec {
        name: "getdel",
        arity: Arity::exactly(2),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_ACCESS_DELETE)],
        docs: &Docs {
            syntax: "GETDEL key",
            summary: "Returns the string stored at a key and deletes the key.",
            since: "6.2.0",
            complexity: "O(1)",
            group: Group::String,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(getdel),
    subcommands: &[],
};

fn getdel(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let mut at = cx.at(args.get(1), cx.reading());
    write_optional(reply, string_at(at.entry())?);
    if at.discard() {
        at.changed(Class::GENERIC, "del");
    }
    Ok(())
}

pub(super) const GETEX: Command = Command {
    spec: Spec {
        name: "getex",
        arity: Arity::at_least(2),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[
            KeySpec::at(1, Access::RW_ACCESS_UPDATE).with_notes("RW and UPDATE because it changes the TTL")
        ],
        docs: &Docs {
            syntax: "GETEX key [EX seconds:int | PX milliseconds:int | EXAT unix-time-seconds:unix-time | PXAT unix-time-milliseconds:unix-time | PERSIST]",
            summary: "Returns the string stored at a key and sets or removes the key's expiration time.",
            since: "6.2.0",
            complexity: "O(1)",
            group: Group::String,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(getex),
    subcommands: &[],
};

fn getex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let Options { expiry, .. } = Options::parse(args, 2, Known { persist: true, ..Known::default() })?;
    let (now_ms, over_until_ms) = (cx.now_ms, cx.over_until_ms());
    let mut at = cx.at(args.get(1), cx.reading());
    let Some(string) = string_at(at.entry())? else {
        reply.null();
        return Ok(());
    };
    // The time is only looked at once there is a string, as in Redis.
    let expire_at = match expiry {
        Expiry::Time { unit, index } => Some((unit, unit.unix_ms(args.int(index)?, now_ms, "getex")?)),
        _ => None,
    };
    write_string(reply, string);
    match expire_at {
        Some((unit, time)) if unit.is_absolute() && time <= over_until_ms => {
            at.expire_now();
        }
        Some((_, time)) => {
            at.set_expire_at(Some(time));
            at.changed(Class::GENERIC, "expire");
            at.tell_expiry();
        }
        None if expiry == Expiry::Persist && at.set_expire_at(None) => {
            at.changed(Class::GENERIC, "persist");
        }
        None => {}
    }
    Ok(())
}

pub(super) const DELIFEQ: Command = Command {
    spec: Spec {
        name: "delifeq",
        arity: Arity::exactly(3),
        flags: Flags::WRITE,
        keys: &[KeySpec::at(1, Access::RM_DELETE.and(Access::ACCESS))],
        docs: &Docs {
            syntax: "DELIFEQ key value",
            summary: "Deletes a key if the string stored at it equals a value.",
            since: "9.0.0",
            complexity: "O(1)",
            group: Group::String,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(delifeq),
    subcommands: &[],
};

fn delifeq(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let mut at = cx.at(args.get(1), cx.writing());
    let matches = string_at(at.entry())?.is_some_and(|string| is_equal(string, args.get(2)));
    if matches {
        at.discard();
        at.changed(Class::GENERIC, "del");
    }
    reply.int(i64::from(matches));
    Ok(())
}

#[cfg(test)]
mod tests {
    use torc_resp::OwnedArgs;

    use crate::testing::Bench;

    #[test]
    fn set_and_get() {
        let mut bench = Bench::new();
        bench.check("GET k", "$-1");
        bench.check_changes("SET k hello", "+OK", 1, &["$ set k"]);
        bench.check("GET k", "$5\nhello");
        bench.check("SET k 007", "+OK");
        bench.check("GET k", "$3\n007");
        bench.check("SET k -12", "+OK");
        bench.check("GET k", "$3\n-12");
        bench.check("SET k \"\"", "+OK");
        bench.check("GET k", "$0\n");
        bench.check("SET \"\" \"a\\r\\nb\"", "+OK");
        bench.check("GET \"\"", "$4\na\nb");
    }

    #[test]
    fn big_values_are_shared() {
        let mut bench = Bench::new();
        let value = "v".repeat(100_000);
        bench.check(&format!("SET k {value}"), "+OK");
        bench.check("GET k", &format!("$100000\n{value}"));
        let mut args = OwnedArgs::new();
        let blob = bytes::Bytes::from(value.clone().into_bytes());
        [&b"SET"[..], b"k2"].into_iter().for_each(|word| args.push(word));
        args.push_bytes(blob.clone());
        assert_eq!(bench.run_args(&args), ["+OK", "+OK"]);
        let keyspace = bench.keyspace();
        let entry = keyspace.peek(0, &keyspace.key(b"k2"), 0).expect("the key was set");
        let torc_datatypes::StrRef::Shared(stored) = entry.str_ref().expect("a string") else {
            panic!("a big string is shared");
        };
        assert_eq!(stored.as_ptr(), blob.as_ptr(), "taken over without a copy");
        bench.check("SET k2 v2 GET", &format!("$100000\n{value}"));
    }

    #[test]
    fn set_conditions() {
        let mut bench = Bench::new();
        bench.check("SET k a XX", "$-1");
        bench.check("GET k", "$-1");
        bench.check("SET k a NX", "+OK");
        bench.check_changes("SET k b NX", "$-1", 0, &[]);
        bench.check("SET k b xx", "+OK");
        bench.check("SET k c NX GET", "$1\nb");
        bench.check("SET k c XX GET", "$1\nb");
        bench.check("SET n c NX GET", "$-1");
        bench.check("GET n", "$1\nc");
        bench.check("SET none c XX GET", "$-1");
        bench.check("GET none", "$-1");
    }

    #[test]
    fn set_ifeq() {
        let mut bench = Bench::new();
        bench.check("SET k a IFEQ x", "$-1");
        bench.check("SET k a IFEQ x GET", "$-1");
        bench.check("GET k", "$-1");
        bench.check("SET k 5", "+OK");
        bench.check("SET k b IFEQ 05", "$-1");
        bench.check("SET k b IFEQ 05 GET", "$1\n5");
        bench.check_changes("SET k b IFEQ 5 GET", "$1\n5", 1, &["$ set k"]);
        bench.check("SET k c ifeq b EX 10", "+OK");
        bench.check("GET k", "$1\nc");
    }

    #[test]
    fn set_syntax() {
        let mut bench = Bench::new();
        for line in [
            "SET k v foo",
            "SET k v EX",
            "SET k v NX XX",
            "SET k v XX NX",
            "SET k v EX 10 PX 10",
            "SET k v EX 10 KEEPTTL",
            "SET k v KEEPTTL PXAT 10",
            "SET k v PERSIST",
            "SET k v IFEQ",
            "SET k v IFEQ a NX",
            "SET k v XX IFEQ a",
            "SET k v IFEQ a IFEQ b",
            "GETEX k foo",
            "GETEX k EX",
            "GETEX k KEEPTTL",
            "GETEX k NX",
            "GETEX k GET",
            "GETEX k PERSIST EX 10",
            "GETEX k EX 10 PERSIST",
        ] {
            bench.check(line, "-ERR syntax error");
        }
        for line in ["SET k v NX NX", "SET k v2 EX 10 EX 20", "SET k v3 KEEPTTL KEEPTTL"] {
            bench.check(line, "+OK");
        }
    }

    #[test]
    fn expiry_times() {
        let mut bench = Bench::new();
        for (command, times) in [
            ("SET k v EX", &["0", "-1", "9223372036854775807", "9223372036854775"][..]),
            ("SET k v PX", &["0", "-1", "9223372036854775807"]),
            ("SET k v EXAT", &["0", "-1", "9223372036854775807"]),
            ("SET k v PXAT", &["0", "-1"]),
        ] {
            for time in times {
                let line = format!("{command} {time}");
                bench.check(&line, "-ERR invalid expire time in 'set' command");
            }
            bench.check(&format!("{command} 1x"), "-ERR value is not an integer or out of range");
        }
        bench.check("SETEX k 0 v", "-ERR invalid expire time in 'setex' command");
        bench.check("SETEX k 9223372036854775807 v", "-ERR invalid expire time in 'setex' command");
        bench.check("SETEX k x v", "-ERR value is not an integer or out of range");
        bench.check("PSETEX k 0 v", "-ERR invalid expire time in 'psetex' command");
        bench.check("PSETEX k 9223372036854775807 v", "-ERR invalid expire time in 'psetex' command");
        bench.check("GET k", "$-1");
        bench.check("SET k v PXAT 9223372036854775807", "+OK");
        bench.check("SET k v", "+OK");
        bench.check("GETEX k EX 0", "-ERR invalid expire time in 'getex' command");
        bench.check("GETEX k EX x", "-ERR value is not an integer or out of range");
        bench.check("GETEX none EX x", "$-1");
    }

    #[test]
    fn expiry_is_set_kept_and_cleared() {
        let mut bench = Bench::new();
        let start = bench.now_ms;
        bench.check_changes("SET k v EX 10", "+OK", 1, &["$ set k", "g expire k"]);
        bench.now_ms = start + 10_000;
        bench.check("GET k", "$1\nv");
        bench.now_ms = start + 10_001;
        bench.check_changes("GET k", "$-1", 0, &["x expired k"]);

        bench.now_ms = start;
        bench.check("SET k v PX 100", "+OK");
        bench.check("SET k w KEEPTTL", "+OK");
        bench.now_ms = start + 101;
        bench.check("GET k", "$-1");
        bench.check("SET k v KEEPTTL", "+OK");
        bench.now_ms = start + 1_000_000;
        bench.check("GET k", "$1\nv");

        bench.now_ms = start;
        bench.check_changes("SETEX k 1 v", "+OK", 1, &["$ set k", "g expire k"]);
        bench.check("SET k v", "+OK");
        bench.now_ms = start + 1_001;
        bench.check("GET k", "$1\nv");
        bench.check_changes("PSETEX k 5 v", "+OK", 1, &["$ set k", "g expire k"]);
        bench.now_ms += 6;
        bench.check("GET k", "$-1");
        bench.check_changes("SET k v EXAT 1", "+OK", 0, &[]);
        bench.check("SET k v", "+OK");
        bench.check_changes("SET k w EXAT 1 NX GET", "$1\nv", 0, &[]);
        bench.check_changes("SET k w PXAT 1 XX GET", "$1\nv", 1, &["x expired k"]);
        bench.check("GET k", "$-1");
        assert_eq!(bench.keyspace().stats.expired, 4);
        bench.check(&format!("SET k v PXAT {}", bench.now_ms + 1), "+OK");
        bench.check("GET k", "$1\nv");
    }

    #[test]
    fn relatives_of_set() {
        let mut bench = Bench::new();
        bench.check_changes("SETNX k v", ":1", 1, &["$ set k"]);
        bench.check_changes("SETNX k w", ":0", 0, &[]);
        bench.check_changes("GETSET k w", "$1\nv", 1, &["$ set k"]);
        bench.check("GETSET new w", "$-1");
        bench.check_changes("GETDEL new", "$1\nw", 1, &["g del new"]);
        bench.check_changes("GETDEL new", "$-1", 0, &[]);
        bench.check("DELIFEQ k v", ":0");
        bench.check_changes("DELIFEQ k w", ":1", 1, &["g del k"]);
        bench.check_changes("DELIFEQ k w", ":0", 0, &[]);
        bench.check("SET n 12", "+OK");
        bench.check("DELIFEQ n 012", ":0");
        bench.check("DELIFEQ n 12", ":1");
    }

    #[test]
    fn getex() {
        let mut bench = Bench::new();
        bench.check("GETEX k PERSIST", "$-1");
        bench.check("SET k v", "+OK");
        bench.check_changes("GETEX k", "$1\nv", 0, &[]);
        bench.check_changes("GETEX k PERSIST", "$1\nv", 0, &[]);
        bench.check_changes("GETEX k EX 10", "$1\nv", 1, &["g expire k"]);
        bench.check_changes("GETEX k PERSIST", "$1\nv", 1, &["g persist k"]);
        bench.check("GETEX k PX 10", "$1\nv");
        bench.check("GETEX k", "$1\nv");
        bench.now_ms += 11;
        bench.check("GETEX k", "$-1");
        bench.check("SET k v", "+OK");
        bench.check_changes("GETEX k EXAT 1", "$1\nv", 1, &["x expired k"]);
        bench.check_changes("GETEX k PXAT 1", "$-1", 0, &[]);
    }

    /// Reads count and stamp the access clock; NO-TOUCH leaves it alone.
    #[test]
    fn access() {
        let mut bench = Bench::new();
        let clock = |bench: &mut Bench| {
            let keyspace = bench.keyspace();
            keyspace.peek(0, &keyspace.key(b"k"), 0).expect("the key is there").clock()
        };
        bench.check("SET k v", "+OK");
        let created = clock(&mut bench);
        bench.now_ms += 5_000;
        bench.no_touch = true;
        bench.check("GET k", "$1\nv");
        assert_eq!(clock(&mut bench), created);
        bench.no_touch = false;
        bench.check("GET k", "$1\nv");
        assert_eq!(clock(&mut bench), created + 5);
        bench.check("GET none", "$-1");
        let stats = bench.keyspace().stats;
        assert_eq!((stats.hits, stats.misses), (2, 1));
    }
}
