//! EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT and PERSIST: when a key ends.

use torc_keyspace::{Class, Lookup};
use torc_resp::{Args, CommandError, Reply};

use crate::{
    Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec, families::generic::KEYSPACE,
};

const HISTORY: &[(&str, &str)] = &[("7.0.0", "Conditions `NX`, `XX`, `GT` and `LT`.")];

/// EXPIRE
pub const EXPIRE: Command = Command {
    spec: Spec {
        name: "expire",
        arity: Arity::at_least(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_UPDATE)],
        categories: KEYSPACE,
        tips: &[],
        docs: &Docs {
            syntax: "EXPIRE key seconds:int [NX | XX | GT | LT]",
            summary: "Lets a key expire after a number of seconds. With a time that is over, the key is deleted.",
            since: "1.0.0",
            complexity: "O(1)",
            group: Group::Generic,
            history: HISTORY,
            ..Docs::DEFAULT
        },
    },
    run: Run::OnShard(expire),
    subcommands: &[],
};

fn expire(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let base_ms = cx.now_ms;
    set_expiry(cx, args, reply, Clock { name: "expire", unit_ms: 1000, base_ms })
}

/// PEXPIRE
pub const PEXPIRE: Command = Command {
    spec: Spec {
        name: "pexpire",
        arity: Arity::at_least(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_UPDATE)],
        categories: KEYSPACE,
        tips: &[],
        docs: &Docs {
            syntax: "PEXPIRE key milliseconds:int [NX | XX | GT | LT]",
            summary: "Lets a key expire after a number of milliseconds.",
            since: "2.6.0",
            complexity: "O(1)",
            group: Group::Generic,
            history: HISTORY,
            ..Docs::DEFAULT
        },
    },
    run: Run::OnShard(pexpire),
    subcommands: &[],
};

fn pexpire(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let base_ms = cx.now_ms;
    set_expiry(cx, args, reply, Clock { name: "pexpire", unit_ms: 1, base_ms })
}

/// EXPIREAT
pub const EXPIREAT: Command = Command {
    spec: Spec {
        name: "expireat",
        arity: Arity::at_least(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_UPDATE)],
        categories: KEYSPACE,
        tips: &[],
        docs: &Docs {
            syntax: "EXPIREAT key unix-time-seconds:unix-time [NX | XX | GT | LT]",
            summary: "Lets a key expire at a moment given in seconds of Unix time.",
            since: "1.2.0",
            complexity: "O(1)",
            group: Group::Generic,
            history: HISTORY,
            ..Docs::DEFAULT
        },
    },
    run: Run::OnShard(expireat),
    subcommands: &[],
};

fn expireat(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    set_expiry(cx, args, reply, Clock { name: "expireat", unit_ms: 1000, base_ms: 0 })
}

/// PEXPIREAT
pub const PEXPIREAT: Command = Command {
    spec: Spec {
        name: "pexpireat",
        arity: Arity::at_least(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_UPDATE)],
        categories: KEYSPACE,
        tips: &[],
        docs: &Docs {
            syntax: "PEXPIREAT key unix-time-milliseconds:unix-time [NX | XX | GT | LT]",
            summary: "Lets a key expire at a moment given in milliseconds of Unix time.",
            since: "2.6.0",
            complexity: "O(1)",
            group: Group::Generic,
            history: HISTORY,
            ..Docs::DEFAULT
        },
    },
    run: Run::OnShard(pexpireat),
    subcommands: &[],
};

fn pexpireat(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    set_expiry(cx, args, reply, Clock { name: "pexpireat", unit_ms: 1, base_ms: 0 })
}

/// How a command of the family gives its time.
pub(in crate::families) struct Clock {
    /// The command, for error texts.
    pub(in crate::families) name: &'static str,
    pub(in crate::families) unit_ms: i64,
    /// What the time counts from, in Unix ms.
    pub(in crate::families) base_ms: i64,
}

impl Clock {
    /// The moment that `time` names, in Unix ms.
    pub(in crate::families) fn moment(&self, time: i64) -> Result<i64, CommandError> {
        time.checked_mul(self.unit_ms)
            .and_then(|ms| ms.checked_add(self.base_ms))
            .ok_or(CommandError::InvalidExpire(self.name))
    }
}

/// When the expiry may be set. All that are given must hold.
#[derive(Clone, Copy, Default)]
pub(in crate::families) struct Conditions {
    /// NX: there is none yet.
    absent: bool,
    /// XX: there is one already.
    present: bool,
    /// GT: it moves later; none at all is latest.
    later: bool,
    /// LT: it moves earlier.
    earlier: bool,
}

impl Conditions {
    pub(in crate::families) fn parse(options: Args<'_>) -> Result<Conditions, CommandError> {
        let mut conditions = Conditions::default();
        for (index, option) in options.iter().enumerate() {
            let condition = match () {
                () if options.is(index, b"NX") => &mut conditions.absent,
                () if options.is(index, b"XX") => &mut conditions.present,
                () if options.is(index, b"GT") => &mut conditions.later,
                () if options.is(index, b"LT") => &mut conditions.earlier,
                () => {
                    let text = format!("ERR Unsupported option {}", String::from_utf8_lossy(option));
                    return Err(CommandError::Owned(text.into()));
                }
            };
            *condition = true;
        }
        if conditions.absent && (conditions.present || conditions.later || conditions.earlier) {
            return Err(CommandError::Text(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if conditions.later && conditions.earlier {
            return Err(CommandError::Text("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    pub(in crate::families) fn hold(self, current: Option<i64>, wanted: i64) -> bool {
        !(self.absent && current.is_some()
            || self.present && current.is_none()
            || self.later && current.is_none_or(|current| wanted <= current)
            || self.earlier && current.is_some_and(|current| wanted >= current))
    }
}

fn set_expiry(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    clock: Clock,
) -> Result<(), CommandError> {
    let conditions = Conditions::parse(args.from(3))?;
    let at = clock.moment(args.int(2)?)?;
    let (key, over_until_ms) = (cx.key(args.get(1)), cx.over_until_ms());
    let Some(mut entry) = cx.keyspace.get_mut(cx.db, &key, cx.now_ms, Lookup::WRITE, cx.changes) else {
        reply.int(0);
        return Ok(());
    };
    if !conditions.hold(entry.expire_at(), at) {
        reply.int(0);
        return Ok(());
    }
    if at > over_until_ms {
        entry.set_expire_at(Some(at));
        drop(entry);
        cx.keyspace.changed(cx.db, key.bytes, Class::GENERIC, "expire", cx.changes);
        if cx.changes.effects.is_on() {
            cx.changes.effects.tell(cx.db, &[b"PEXPIREAT", key.bytes, at.to_string().as_bytes()]);
        }
    } else {
        drop(entry);
        cx.at(key.bytes, Lookup::PEEK).expire_now();
    }
    reply.int(1);
    Ok(())
}

/// PERSIST
pub const PERSIST: Command = Command {
    spec: Spec {
        name: "persist",
        arity: Arity::exactly(2),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_UPDATE)],
        categories: KEYSPACE,
        tips: &[],
        docs: &Docs {
            syntax: "PERSIST key",
            summary: "Takes the expiry off a key, so that it stays.",
            since: "2.2.0",
            complexity: "O(1)",
            group: Group::Generic,
            ..Docs::DEFAULT
        },
    },
    run: Run::OnShard(persist),
    subcommands: &[],
};

fn persist(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let entry = cx.keyspace.get_mut(cx.db, &key, cx.now_ms, Lookup::WRITE, cx.changes);
    let Some(mut entry) = entry.filter(|entry| entry.is_volatile()) else {
        reply.int(0);
        return Ok(());
    };
    entry.set_expire_at(None);
    drop(entry);
    cx.keyspace.changed(cx.db, key.bytes, Class::GENERIC, "persist", cx.changes);
    reply.int(1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn errors_in_the_order_in_which_they_are_found() {
        const NX: &str = "-ERR NX and XX, GT or LT options at the same time are not compatible";
        const GT_LT: &str = "-ERR GT and LT options at the same time are not compatible";
        const NOT_INTEGER: &str = "-ERR value is not an integer or out of range";
        let mut bench = Bench::new();
        bench.run("SET k v");
        for key in ["k", "nokey"] {
            for (rest, expected) in [
                ("abc", NOT_INTEGER),
                ("1.5", NOT_INTEGER),
                ("9223372036854775808", NOT_INTEGER),
                ("10 foo", "-ERR Unsupported option foo"),
                ("abc foo", "-ERR Unsupported option foo"),
                ("10 nx foo xx", "-ERR Unsupported option foo"),
                ("10 nx xx", NX),
                ("10 GT NX", NX),
                ("10 lt nx", NX),
                ("10 gt lt", GT_LT),
                ("abc gt lt", GT_LT),
            ] {
                for name in ["EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"] {
                    bench.check(&format!("{name} {key} {rest}"), expected);
                }
            }
            for (line, name) in [
                ("EXPIRE {} 9223372036854775807", "expire"),
                ("EXPIRE {} -9223372036854775808", "expire"),
                ("EXPIRE {} 9223372036854775", "expire"),
                ("PEXPIRE {} 9223372036854775807", "pexpire"),
                ("EXPIREAT {} 9223372036854776", "expireat"),
                ("EXPIREAT {} -9223372036854776", "expireat"),
            ] {
                let expected = format!("-ERR invalid expire time in '{name}' command");
                bench.check(&line.replace("{}", key), &expected);
            }
        }
        bench.check("TTL k", ":-1");
        bench.check("EXPIRE k", "-ERR wrong number of arguments for 'expire' command");
    }

    /// Per case: the expiry in seconds before (0: none), the condition, the new one, and whether it is set.
    #[test]
    fn conditions() {
        for (before_s, condition, wanted_s, set) in [
            (0, "", 10, true),
            (0, "NX", 10, true),
            (5, "NX", 10, false),
            (0, "XX", 10, false),
            (5, "XX", 10, true),
            (5, "GT", 10, true),
            (10, "GT", 10, false),
            (20, "GT", 10, false),
            (0, "GT", 10, false),
            (5, "LT", 10, false),
            (10, "LT", 10, false),
            (20, "LT", 10, true),
            (0, "LT", 10, true),
            (0, "XX LT", 10, false),
            (20, "XX LT", 10, true),
            (5, "xx gt", 10, true),
            (0, "nx nx", 10, true),
            // A time that is over is subject to the conditions too.
            (5, "GT", -1, false),
            (5, "LT", -1, true),
        ] {
            let mut bench = Bench::new();
            let now_s = bench.now_ms / 1000;
            for (name, base_s, unit) in
                [("EXPIRE", 0, 1), ("PEXPIRE", 0, 1000), ("EXPIREAT", now_s, 1), ("PEXPIREAT", now_s, 1000)]
            {
                bench.run("SET k v");
                if before_s > 0 {
                    bench.run(&format!("EXPIRE k {before_s}"));
                }
                let wanted = (base_s + wanted_s) * unit;
                bench.check(&format!("{name} k {wanted} {condition}"), &format!(":{}", i64::from(set)));
                let left = match (set, before_s) {
                    (true, _) if wanted_s < 0 => -2,
                    (true, _) => wanted_s,
                    (false, 0) => -1,
                    (false, before_s) => before_s,
                };
                bench.check("TTL k", &format!(":{left}"));
            }
        }
    }

    #[test]
    fn a_time_that_is_over_deletes() {
        let mut bench = Bench::new();
        let now_ms = bench.now_ms;
        for line in [
            "EXPIRE k 0".to_string(),
            "EXPIRE k -1".to_string(),
            "PEXPIRE k -9223372036854775808".to_string(),
            "EXPIREAT k 0".to_string(),
            "EXPIREAT k -9223372036854775".to_string(),
            format!("PEXPIREAT k {now_ms}"),
        ] {
            bench.run("SET k v");
            bench.check_changes(&line, ":1", 1, &["x expired k"]);
            bench.check_changes(&line, ":0", 0, &[]);
        }
        bench.run("SET k v");
        bench.check_changes(&format!("PEXPIREAT k {}", now_ms + 1), ":1", 1, &["g expire k"]);
        bench.now_ms += 1;
        bench.check("PTTL k", ":0");
        bench.now_ms += 1;
        bench.check("PTTL k", ":-2");
    }

    #[test]
    fn persist_takes_the_expiry_off_once() {
        let mut bench = Bench::new();
        bench.run("SET k v EX 10");
        bench.check_changes("PERSIST k", ":1", 1, &["g persist k"]);
        bench.check_changes("PERSIST k", ":0", 0, &[]);
        bench.check("PERSIST nokey", ":0");
        bench.check("TTL k", ":-1");
        assert_eq!(bench.keyspace().expires_len(0), 0);
    }
}
