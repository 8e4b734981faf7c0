//! EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT and PERSIST: when a key ends.

use torc_keyspace::{Class, Lookup};
use torc_resp::{Args, CommandError, Reply};

use crate::{
    Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec,
    families::generic::{KEYSPACE, delete::release},
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
struct Clock {
    /// The command, for error texts.
    name: &'static str,
    unit_ms: i64,
    /// What the time counts from, in Unix ms.
    base_ms: i64,
}

impl Clock {
    /// The moment that `time` names, in Unix ms.
    fn moment(&self, time: i64) -> Result<i64, CommandError> {
        time.checked_mul(self.unit_ms)
            .and_then(|ms| ms.checked_add(self.base_ms))
            .ok_or(CommandError::InvalidExpire(self.name))
    }
}

/// When the expiry may be set. All that are given must hold.
#[derive(Clone, Copy, Default)]
struct Conditions {
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
    fn parse(options: Args<'_>) -> Result<Conditions, CommandError> {
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

    fn hold(self, current: Option<i64>, wanted: i64) -> bool {
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
    let key = cx.key(args.get(1));
    let Some(mut entry) = cx.keyspace.get_mut(cx.db, &key, cx.now_ms, Lookup::WRITE, cx.changes) else {
        reply.int(0);
        return Ok(());
    };
    if !conditions.hold(entry.expire_at(), at) {
        reply.int(0);
        return Ok(());
    }
    if at > cx.now_ms {
        entry.set_expire_at(Some(at));
        drop(entry);
        cx.keyspace.changed(cx.db, key.bytes, Class::GENERIC, "expire", cx.changes);
    } else {
        drop(entry);
        if let Some(entry) = cx.keyspace.remove(cx.db, &key, cx.now_ms, cx.changes) {
            release(cx, entry);
        }
        cx.keyspace.changed(cx.db, key.bytes, Class::GENERIC, "del", cx.changes);
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
