//! When fields end: HEXPIRE, HPEXPIRE, HEXPIREAT, HPEXPIREAT, HTTL, HPTTL, HEXPIRETIME, HPEXPIRETIME and HPERSIST
//! (Valkey 9.0). All answer an integer per field.

use torc_datatypes::Hash;
use torc_datatypes::value::IntText;
use torc_keyspace::Class;
use torc_resp::{Args, CommandError, Reply};

use super::{Gone, WRONG_COUNT, edit, fields_behind, fields_word, hash_at, removed, tell_fields};
use crate::families::generic::expire::{Clock, Conditions};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

/// There is no such field.
const NO_FIELD: i64 = -2;
/// The field does not expire.
const NO_EXPIRY: i64 = -1;
/// A condition does not hold.
const NOT_SET: i64 = 0;
const DONE: i64 = 1;
/// The time is over: the field was removed.
const REMOVED: i64 = 2;

pub(super) const HEXPIRE: Command = Command {
    spec: Spec {
        name: "hexpire",
        arity: Arity::at_least(6),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_UPDATE)],
        docs: &Docs {
            syntax: "HEXPIRE key seconds:int [NX | XX | GT | LT] FIELDS numfields:int field [field ...]",
            summary: "Lets fields of a hash expire after a number of seconds.",
            since: "9.0.0",
            complexity: "O(N) where N is the number of fields",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hexpire),
    subcommands: &[],
};

fn hexpire(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let base_ms = cx.now_ms;
    set_expiry(cx, args, reply, Clock { name: "hexpire", unit_ms: 1000, base_ms })
}

pub(super) const HPEXPIRE: Command = Command {
    spec: Spec {
        name: "hpexpire",
        arity: Arity::at_least(6),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_UPDATE)],
        docs: &Docs {
            syntax: "HPEXPIRE key milliseconds:int [NX | XX | GT | LT] FIELDS numfields:int field [field ...]",
            summary: "Lets fields of a hash expire after a number of milliseconds.",
            since: "9.0.0",
            complexity: "O(N) where N is the number of fields",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hpexpire),
    subcommands: &[],
};

fn hpexpire(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let base_ms = cx.now_ms;
    set_expiry(cx, args, reply, Clock { name: "hpexpire", unit_ms: 1, base_ms })
}

pub(super) const HEXPIREAT: Command = Command {
    spec: Spec {
        name: "hexpireat",
        arity: Arity::at_least(6),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_UPDATE)],
        docs: &Docs {
            syntax: "HEXPIREAT key unix-time-seconds:unix-time [NX | XX | GT | LT] FIELDS numfields:int field [field ...]",
            summary: "Lets fields of a hash expire at a moment given in seconds of Unix time.",
            since: "9.0.0",
            complexity: "O(N) where N is the number of fields",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hexpireat),
    subcommands: &[],
};

fn hexpireat(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    set_expiry(cx, args, reply, Clock { name: "hexpireat", unit_ms: 1000, base_ms: 0 })
}

pub(super) const HPEXPIREAT: Command = Command {
    spec: Spec {
        name: "hpexpireat",
        arity: Arity::at_least(6),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_UPDATE)],
        docs: &Docs {
            syntax: "HPEXPIREAT key unix-time-milliseconds:unix-time [NX | XX | GT | LT] FIELDS numfields:int field [field ...]",
            summary: "Lets fields of a hash expire at a moment given in milliseconds of Unix time.",
            since: "9.0.0",
            complexity: "O(N) where N is the number of fields",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hpexpireat),
    subcommands: &[],
};

fn hpexpireat(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    set_expiry(cx, args, reply, Clock { name: "hpexpireat", unit_ms: 1, base_ms: 0 })
}

fn set_expiry(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    clock: Clock,
) -> Result<(), CommandError> {
    let word = fields_word(args, 3).ok_or(WRONG_COUNT)?;
    let conditions = Conditions::parse(args.range(3..word))?;
    let names = fields_behind(args, word, 1)?.ok_or(WRONG_COUNT)?;
    let time = args.int(2)?;
    if time < 0 {
        return Err(CommandError::InvalidExpire(clock.name));
    }
    let expire_at = clock.moment(time)?;
    let (now_ms, is_over) = (cx.fields_at_ms(), cx.is_over(expire_at));
    let mut at = cx.at(args.get(1), cx.writing());
    let exists = hash_at(at.entry())?.is_some();
    reply.array(names.len());
    if !exists {
        names.iter().for_each(|_| reply.int(NO_FIELD));
        return Ok(());
    }
    let (mut set, mut gone) = (0, 0);
    let (mut told_set, mut told_gone) = (Gone::default(), Gone::default());
    edit(&mut at, |hash| {
        for name in names.iter() {
            let done = expire_field(hash, name, conditions, (expire_at, is_over), now_ms);
            set += u64::from(told_set.note(name, done == DONE));
            gone += u64::from(told_gone.note(name, done == REMOVED));
            reply.int(done);
        }
    });
    told_gone.tell(&mut at);
    let time = IntText::new().format(expire_at).as_bytes().to_vec();
    tell_fields(&mut at, &[b"HPEXPIREAT", args.get(1), &time], told_set.names.iter().copied(), 1);
    if gone > 0 {
        at.count_expired_fields(gone);
        removed(&mut at, gone, "hexpired");
    } else if set > 0 {
        at.changed(Class::HASH, "hexpire");
        at.changed_more(set - 1);
    }
    Ok(())
}

/// Sets when a field expires, or removes it if that is over; returns what to answer.
fn expire_field(
    hash: &mut Hash,
    name: &[u8],
    conditions: Conditions,
    (expire_at, is_over): (i64, bool),
    now_ms: i64,
) -> i64 {
    let Some(field) = hash.find(name, now_ms) else { return NO_FIELD };
    if !conditions.hold(field.expire_at, expire_at) {
        return NOT_SET;
    }
    if is_over {
        hash.remove(name, now_ms);
        return REMOVED;
    }
    hash.set_expire_at(name, Some(expire_at));
    DONE
}

pub(super) const HPERSIST: Command = Command {
    spec: Spec {
        name: "hpersist",
        arity: Arity::at_least(5),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_UPDATE)],
        docs: &Docs {
            syntax: "HPERSIST key FIELDS numfields:int field [field ...]",
            summary: "Takes the expiry off fields of a hash, so that they stay.",
            since: "9.0.0",
            complexity: "O(N) where N is the number of fields",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hpersist),
    subcommands: &[],
};

fn hpersist(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let names = fields_behind(args, 2, 1)?.ok_or(WRONG_COUNT)?;
    let now_ms = cx.fields_at_ms();
    let mut at = cx.at(args.get(1), cx.writing());
    let exists = hash_at(at.entry())?.is_some();
    reply.array(names.len());
    if !exists {
        names.iter().for_each(|_| reply.int(NO_FIELD));
        return Ok(());
    }
    let (mut changed, mut told) = (0, Gone::default());
    edit(&mut at, |hash| {
        for name in names.iter() {
            let done = match hash.find(name, now_ms).map(|field| field.expire_at) {
                None => NO_FIELD,
                Some(None) => NO_EXPIRY,
                Some(Some(_)) => {
                    hash.set_expire_at(name, None);
                    changed += u64::from(told.note(name, true));
                    DONE
                }
            };
            reply.int(done);
        }
    });
    if changed > 0 {
        tell_fields(&mut at, &[b"HPERSIST", args.get(1)], told.names.iter().copied(), 1);
        at.changed(Class::HASH, "hpersist");
        at.changed_more(changed - 1);
    }
    Ok(())
}

pub(super) const HTTL: Command = Command {
    spec: Spec {
        name: "httl",
        arity: Arity::at_least(5),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "HTTL key FIELDS numfields:int field [field ...]",
            summary: "Returns for how many seconds fields of a hash still live.",
            since: "9.0.0",
            complexity: "O(N) where N is the number of fields",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(httl),
    subcommands: &[],
};

fn httl(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let base_ms = cx.now_ms;
    tell_expiry(cx, args, reply, |at_ms| seconds((at_ms - base_ms).max(0)))
}

pub(super) const HPTTL: Command = Command {
    spec: Spec {
        name: "hpttl",
        arity: Arity::at_least(5),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "HPTTL key FIELDS numfields:int field [field ...]",
            summary: "Returns for how many milliseconds fields of a hash still live.",
            since: "9.0.0",
            complexity: "O(N) where N is the number of fields",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hpttl),
    subcommands: &[],
};

fn hpttl(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let base_ms = cx.now_ms;
    tell_expiry(cx, args, reply, |at_ms| (at_ms - base_ms).max(0))
}

pub(super) const HEXPIRETIME: Command = Command {
    spec: Spec {
        name: "hexpiretime",
        arity: Arity::at_least(5),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "HEXPIRETIME key FIELDS numfields:int field [field ...]",
            summary: "Returns when fields of a hash expire, in seconds of Unix time.",
            since: "9.0.0",
            complexity: "O(N) where N is the number of fields",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hexpiretime),
    subcommands: &[],
};

fn hexpiretime(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    tell_expiry(cx, args, reply, seconds)
}

pub(super) const HPEXPIRETIME: Command = Command {
    spec: Spec {
        name: "hpexpiretime",
        arity: Arity::at_least(5),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "HPEXPIRETIME key FIELDS numfields:int field [field ...]",
            summary: "Returns when fields of a hash expire, in milliseconds of Unix time.",
            since: "9.0.0",
            complexity: "O(N) where N is the number of fields",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hpexpiretime),
    subcommands: &[],
};

fn hpexpiretime(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    tell_expiry(cx, args, reply, |at_ms| at_ms)
}

/// To the nearest second, as TTL rounds.
fn seconds(ms: i64) -> i64 {
    ms.saturating_add(500) / 1000
}

/// Answers for each field its expiry in the form that `shown` gives it.
fn tell_expiry(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    shown: impl Fn(i64) -> i64,
) -> Result<(), CommandError> {
    let names = fields_behind(args, 2, 1)?.ok_or(CommandError::Syntax)?;
    let now_ms = cx.fields_at_ms();
    let hash = hash_at(cx.read(args.get(1)))?;
    reply.array(names.len());
    for name in names.iter() {
        let field = hash.and_then(|hash| hash.find(name, now_ms));
        reply.int(match field.map(|field| field.expire_at) {
            None => NO_FIELD,
            Some(None) => NO_EXPIRY,
            Some(Some(at_ms)) => shown(at_ms),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use torc_keyspace::{Changes, ExpireReport};

    use crate::testing::Bench;

    #[test]
    fn fields_get_and_lose_their_expiry() {
        let mut bench = Bench::new();
        bench.run("HSET h a 1 b 2 c 3");
        let set = |bench: &mut Bench, line: &str, expected: &str, dirty: u64| {
            let events: &[&str] = if dirty > 0 { &["h hexpire h"] } else { &[] };
            bench.check_changes(line, expected, dirty, events);
        };
        set(&mut bench, "HEXPIRE h 10 XX FIELDS 2 a nofield", "*2\n:0\n:-2", 0);
        bench.check("OBJECT ENCODING h", "$8\nlistpack");
        set(&mut bench, "HEXPIRE h 10 FIELDS 3 a b nofield", "*3\n:1\n:1\n:-2", 2);
        bench.check("OBJECT ENCODING h", "$9\nhashtable");
        set(&mut bench, "HPEXPIRE h 20000 GT FIELDS 2 a c", "*2\n:1\n:0", 1);
        set(&mut bench, "HPEXPIRE h 20000 NX FIELDS 2 a c", "*2\n:0\n:1", 1);
        bench.check("HTTL h FIELDS 4 a b c nofield", "*4\n:20\n:10\n:20\n:-2");
        bench.check("HPTTL h FIELDS 1 a", "*1\n:20000");
        bench.check("HEXPIRETIME h FIELDS 1 a", "*1\n:1700000020");
        bench.check("HPEXPIRETIME h FIELDS 1 a", "*1\n:1700000020000");
        bench.check_changes("HPERSIST h FIELDS 3 a a nofield", "*3\n:1\n:-1\n:-2", 1, &["h hpersist h"]);
        bench.check_changes("HPERSIST h FIELDS 1 a", "*1\n:-1", 0, &[]);
        bench.check("HEXPIRETIME h FIELDS 1 a", "*1\n:-1");
        bench.check("HPEXPIREAT h 9223372036854775807 FIELDS 1 a", "*1\n:1");
        bench.check("HEXPIRETIME h FIELDS 1 a", "*1\n:9223372036854775");
        assert_eq!(bench.keyspace().usage(0).with_volatile_parts, 1);
        bench.run("HPERSIST h FIELDS 3 a b c");
        assert_eq!(bench.keyspace().usage(0).with_volatile_parts, 0);
    }

    #[test]
    fn a_time_that_is_over_removes() {
        let mut bench = Bench::new();
        bench.run("HSET h a 1 b 2 c 3");
        bench.check_changes("HEXPIRE h 0 FIELDS 3 a a nofield", "*3\n:2\n:-2\n:-2", 1, &["h hexpired h"]);
        bench.check_changes("HPEXPIREAT h 1 GT FIELDS 1 b", "*1\n:0", 0, &[]);
        let events = ["h hexpired h", "g del h"];
        bench.check_changes("HEXPIREAT h 1 FIELDS 2 b c", "*2\n:2\n:2", 2, &events);
        bench.check("EXISTS h", ":0");
        bench.check("HEXPIRE h 0 FIELDS 1 a", "*1\n:-2");
        assert_eq!(bench.keyspace().stats.expired_fields, 3);
    }

    /// Fields that nobody asks for are found by the walk; a hash that it empties goes away.
    #[test]
    fn the_walk_takes_expired_fields_out() {
        let mut bench = Bench::new();
        bench.run("HSET other a 1");
        bench.run("SET string x");
        bench.run("HSET h a 1 b 2 c 3 stays 4");
        bench.run("HPEXPIRE h 100 FIELDS 1 a");
        bench.run("HPEXPIRE h 50 FIELDS 1 b");
        bench.run("HEXPIRE h 10000 FIELDS 1 c");
        bench.run("HSETEX gone PX 100 FIELDS 2 a 1 b 2");
        let walk = |bench: &mut Bench| {
            let mut report = ExpireReport::default();
            let (_, mut names) = bench.changes_of(|bench| report = bench.walk());
            names.sort();
            (report.visited, report.expired_parts, names)
        };
        bench.now_ms += 50;
        assert_eq!(walk(&mut bench), (0, 0, vec![]));
        bench.now_ms += 1;
        assert_eq!(walk(&mut bench), (2, 1, vec!["x hexpired h".into()]));
        assert_eq!(walk(&mut bench), (0, 0, vec![]), "nothing is due");
        bench.now_ms += 50;
        let events = ["g del gone", "x hexpired gone", "x hexpired h"];
        assert_eq!(walk(&mut bench), (5, 3, events.map(String::from).to_vec()));
        let keyspace = bench.keyspace();
        assert!(!keyspace.contains(0, &keyspace.key(b"gone"), 0));
        let key = keyspace.key(b"h");
        let entry = keyspace.peek(0, &key, 0).expect("some fields stay");
        assert!(entry.has_volatile_parts());
        assert_eq!((keyspace.stats.expired_fields, keyspace.stats.expired), (4, 0));
        assert_eq!((keyspace.usage(0).with_volatile_parts, keyspace.expires_len(0)), (1, 0));
        bench.run("HPERSIST h FIELDS 1 c");
        bench.now_ms += 100_000_000;
        assert_eq!(walk(&mut bench), (0, 0, vec![]));
    }

    /// What a walk does in one step is bounded, also within one hash; keys and fields may expire together.
    #[test]
    fn a_big_hash_is_taken_apart_in_steps() {
        let mut bench = Bench::new();
        for id in 0..5_000 {
            bench.run(&format!("HSETEX h PX {} FIELDS 1 {id} x", 1 + id % 7));
        }
        bench.run("PEXPIRE h 1000");
        bench.run("SET {h}a x PX 5");
        bench.run("SET {h}b x PX 1000");
        bench.now_ms += 20;
        let now_ms = bench.now_ms;
        let mut steps = 0;
        let mut changes = Changes::default();
        while !bench.keyspace().is_empty(0) && bench.keyspace().len(0) > 1 {
            let report = bench.keyspace().expire_slice(now_ms, 100, &mut changes);
            assert!(report.visited <= 164, "{report:?}");
            steps += 1;
            assert!(steps < 100);
        }
        assert!(steps > 40, "{steps}");
        bench.now_ms += 1000;
        let now_ms = bench.now_ms;
        bench.keyspace().active_expire(now_ms, 100, &mut changes);
        let keyspace = bench.keyspace();
        assert_eq!((keyspace.len(0), keyspace.usage(0).entry_bytes), (0, 0));
        assert_eq!((keyspace.stats.expired_fields, keyspace.stats.expired), (5_000, 2));
    }
}
