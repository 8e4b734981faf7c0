//! Values together with their expiry: HGETEX and HSETEX (Valkey 9.0).

use torc_datatypes::value::IntText;
use torc_datatypes::{Hash, Stored};
use torc_keyspace::{At, Class, SetExpire};
use torc_resp::{Args, CommandError, Reply};

use super::{
    Gone, WRONG_COUNT, edit, fields_behind, fields_word, hash_at, limits, remove_if_empty, removed,
    stored_over_expired, tell_fields,
};
use crate::families::string::options::{Condition, Expiry, Known, Options};
use crate::families::string::{value_from, write_optional};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

pub(super) const HGETEX: Command = Command {
    spec: Spec {
        name: "hgetex",
        arity: Arity::at_least(5),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW.and(Access::ACCESS))],
        docs: &Docs {
            syntax: "HGETEX key [EX seconds:int | PX milliseconds:int | EXAT unix-time-seconds:unix-time | PXAT unix-time-milliseconds:unix-time | PERSIST] FIELDS numfields:int field [field ...]",
            summary: "Returns the values of fields of a hash, and lets these fields expire, or stay.",
            since: "9.0.0",
            complexity: "O(N) where N is the number of fields",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hgetex),
    subcommands: &[],
};

fn hgetex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let word = fields_word(args, 2).ok_or(WRONG_COUNT)?;
    let options = Options::parse(args.range(0..word), 2, Known { persist: true, ..Known::default() })?;
    let names = fields_behind(args, word, 1)?.ok_or(WRONG_COUNT)?;
    let now_ms = cx.fields_at_ms();
    let wanted = Wanted::of(options.expiry, args, cx, "hgetex");
    let mut at = cx.at(args.get(1), cx.reading());
    let exists = hash_at(at.entry())?.is_some();
    let wanted = wanted?;
    reply.array(names.len());
    if !exists {
        names.iter().for_each(|_| reply.null());
        return Ok(());
    }
    let (mut changed, mut told) = (0, Gone::default());
    let mut read = |hash: &mut Hash| {
        for name in names.iter() {
            write_optional(reply, hash.get(name, now_ms));
            changed += u64::from(told.note(name, wanted.apply(hash, name, now_ms)));
        }
    };
    edit(&mut at, &mut read);
    if changed == 0 {
        return Ok(());
    }
    let fields = told.names.iter().copied();
    match wanted {
        Wanted::Nothing => {}
        Wanted::Persist => {
            tell_fields(&mut at, &[b"HPERSIST", args.get(1)], fields, 1);
            at.changed(Class::HASH, "hpersist");
        }
        Wanted::At(time) => {
            let time = IntText::new().format(time).as_bytes().to_vec();
            tell_fields(&mut at, &[b"HPEXPIREAT", args.get(1), &time], fields, 1);
            at.changed(Class::HASH, "hexpire");
        }
        Wanted::Gone => {
            told.tell(&mut at);
            at.count_expired_fields(changed);
            removed(&mut at, changed, "hexpired");
            return Ok(());
        }
    }
    at.changed_more(changed - 1);
    Ok(())
}

/// What happens to the expiry of fields that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Nothing,
    Persist,
    At(i64),
    /// The time is over.
    Gone,
}

impl Wanted {
    fn of(
        expiry: Expiry,
        args: Args<'_>,
        cx: &Context<'_>,
        name: &'static str,
    ) -> Result<Wanted, CommandError> {
        Ok(match expiry {
            Expiry::Unspecified | Expiry::Keep => Wanted::Nothing,
            Expiry::Persist => Wanted::Persist,
            Expiry::Time { unit, index } => {
                let time = args.int(index)?;
                let moment = unit.moment(time, cx.now_ms).filter(|_| time >= 0);
                match moment.ok_or(CommandError::InvalidExpire(name))? {
                    at if cx.is_over(at) => Wanted::Gone,
                    at => Wanted::At(at),
                }
            }
        })
    }

    /// Does so to a field; true if that changed it.
    fn apply(self, hash: &mut Hash, name: &[u8], now_ms: i64) -> bool {
        let Some(field) = hash.find(name, now_ms) else { return false };
        match self {
            Wanted::Nothing => return false,
            Wanted::Persist if field.expire_at.is_none() => return false,
            Wanted::Persist => hash.set_expire_at(name, None),
            Wanted::At(at) => hash.set_expire_at(name, Some(at)),
            Wanted::Gone => return hash.remove(name, now_ms),
        }
        true
    }
}

pub(super) const HSETEX: Command = Command {
    spec: Spec {
        name: "hsetex",
        arity: Arity::at_least(6),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_INSERT)],
        docs: &Docs {
            syntax: "HSETEX key [NX | XX] [FNX | FXX] [EX seconds:int | PX milliseconds:int | EXAT unix-time-seconds:unix-time | PXAT unix-time-milliseconds:unix-time | KEEPTTL] FIELDS numfields:int field value [field value ...]",
            summary: "Stores values in fields of a hash that expire all at once, if none, or if all, of them exist.",
            since: "9.0.0",
            complexity: "O(N) where N is the number of fields",
            group: Group::Hash,
            history: &[("9.1.0", "Added the `NX` and `XX` options.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hsetex),
    subcommands: &[],
};

fn hsetex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let word = fields_word(args, 2).ok_or(WRONG_COUNT)?;
    let known = Known { conditions: true, field_conditions: true, keepttl: true, ..Known::default() };
    let options = Options::parse(args.range(0..word), 2, known)?;
    let pairs = fields_behind(args, word, 2)?.ok_or(WRONG_COUNT)?;
    let (now_ms, limits) = (cx.fields_at_ms(), limits(cx));
    let wanted = Wanted::of(options.expiry, args, cx, "hsetex");
    let mut at = cx.at(args.get(1), cx.writing());
    let hash = hash_at(at.entry())?;
    let key_fits = match options.condition {
        Condition::Missing => hash.is_none(),
        Condition::Exists => hash.is_some(),
        Condition::Always | Condition::Equals(_) => true,
    };
    if !key_fits {
        reply.int(0);
        return Ok(());
    }
    let wanted = wanted?;
    let is_there = |name: &[u8]| hash.is_some_and(|hash| hash.find(name, now_ms).is_some());
    let mut names = pairs.iter().step_by(2);
    let fields_fit = match options.field_condition {
        Condition::Missing => !names.any(is_there),
        Condition::Exists => names.all(is_there),
        Condition::Always | Condition::Equals(_) => true,
    };
    if !fields_fit {
        reply.int(0);
        return Ok(());
    }
    let expire = match wanted {
        Wanted::Gone => {
            expire_at_once(&mut at, pairs);
            reply.int(1);
            return Ok(());
        }
        Wanted::At(at) => SetExpire::At(at),
        _ if options.expiry == Expiry::Keep => SetExpire::Keep,
        _ => SetExpire::Clear,
    };
    let mut over_expired = Gone::default();
    edit(&mut at, |hash| {
        for index in (0..pairs.len()).step_by(2) {
            let (name, value) = (pairs.get(index), value_from(pairs, index + 1));
            let stored = hash.set(name, value, expire, now_ms, limits);
            over_expired.note(name, stored == Stored::OverExpired);
        }
    });
    stored_over_expired(&mut at, over_expired.names.len() as u64);
    // In this order: the hash must not be empty in between.
    match expire {
        SetExpire::At(time) => {
            let time = IntText::new().format(time).as_bytes().to_vec();
            tell_fields(&mut at, &[b"HSETEX", args.get(1), b"PXAT", &time], pairs.iter(), 2);
        }
        SetExpire::Clear => at.tell_with(&[b"HSET", args.get(1)], pairs.iter()),
        SetExpire::Keep => {
            tell_fields(&mut at, &[b"HSETEX", args.get(1), b"KEEPTTL"], pairs.iter(), 2);
            tell_fields(&mut at, &[b"HPERSIST", args.get(1)], over_expired.names.iter().copied(), 1);
        }
    }
    at.changed(Class::HASH, "hset");
    at.changed_more(pairs.len() as u64 / 2 - 1);
    if let SetExpire::At(_) = expire {
        at.event(Class::HASH, "hexpire");
    }
    reply.int(1);
    Ok(())
}

/// Fields with an expiry that is over are stored and removed in one step. As far as events tell, the key comes and goes
/// even if nothing was there.
fn expire_at_once(at: &mut At<'_>, pairs: Args<'_>) {
    let names = pairs.iter().step_by(2);
    at.count_expired_fields(names.len() as u64);
    let mut told = Gone::default();
    let gone =
        edit(at, |hash| names.map(|name| u64::from(told.note(name, hash.remove_any(name)))).sum::<u64>());
    told.tell(at);
    let key_too = remove_if_empty(at);
    if gone > 0 {
        at.changed(Class::HASH, "hset");
        at.changed_more(gone - 1);
    } else {
        at.event(Class::HASH, "hset");
    }
    at.event(Class::HASH, "hexpire");
    at.event(Class::HASH, "hexpired");
    if key_too {
        at.event(Class::GENERIC, "del");
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn reading_changes_the_expiry() {
        let mut bench = Bench::new();
        bench.check("HGETEX h EX 10 FIELDS 1 a", "*1\n$-1");
        bench.run("HSET h a 1 b 2 c 3");
        bench.check_changes("HGETEX h FIELDS 2 a nofield", "*2\n$1\n1\n$-1", 0, &[]);
        bench.check_changes("HGETEX h PERSIST FIELDS 1 a", "*1\n$1\n1", 0, &[]);
        bench.check("OBJECT ENCODING h", "$8\nlistpack");
        bench.check_changes("HGETEX h EX 10 FIELDS 2 a nofield", "*2\n$1\n1\n$-1", 1, &["h hexpire h"]);
        bench.check_changes("HGETEX h PX 5000 FIELDS 2 a b", "*2\n$1\n1\n$1\n2", 2, &["h hexpire h"]);
        bench.check("HTTL h FIELDS 3 a b c", "*3\n:5\n:5\n:-1");
        bench.check_changes("HGETEX h PERSIST FIELDS 2 a c", "*2\n$1\n1\n$1\n3", 1, &["h hpersist h"]);
        bench.check_changes("HGETEX h EX 0 FIELDS 2 a a", "*2\n$1\n1\n$-1", 1, &["h hexpired h"]);
        let events = ["h hexpired h", "g del h"];
        bench.check_changes("HGETEX h PXAT 1 FIELDS 2 b c", "*2\n$1\n2\n$1\n3", 2, &events);
        assert_eq!(bench.keyspace().stats.expired_fields, 3);
        // A key may be named as the word before the fields is.
        bench.check("HSETEX fields FIELDS 1 fields fields", ":1");
        bench.check("HGETEX fields FIELDS 1 fields", "*1\n$6\nfields");
    }

    #[test]
    fn storing_sets_the_expiry() {
        let mut bench = Bench::new();
        bench.check_changes("HSETEX h FIELDS 2 a 1 b 2", ":1", 2, &["h hset h"]);
        let events = ["h hset h", "h hexpire h"];
        bench.check_changes("HSETEX h EX 10 FIELDS 2 a 1 b 2", ":1", 2, &events);
        bench.check_changes("HSETEX h KEEPTTL FIELDS 1 a 3", ":1", 1, &["h hset h"]);
        bench.check_changes("HSETEX h FIELDS 1 b 3", ":1", 1, &["h hset h"]);
        bench.check("HTTL h FIELDS 2 a b", "*2\n:10\n:-1");
        bench.now_ms += 10_001;
        bench.check_changes("HSETEX h FXX FIELDS 1 a 4", ":0", 0, &[]);
        let events = ["h hexpired h", "h hset h"];
        bench.check_changes("HSETEX h KEEPTTL FNX FIELDS 1 a 4", ":1", 1, &events);
        bench.check("HTTL h FIELDS 1 a", "*1\n:-1");
    }

    #[test]
    fn conditions() {
        let mut bench = Bench::new();
        for line in ["HSETEX h XX FIELDS 1 a 1", "HSETEX h FXX FIELDS 1 a 1", "HSETEX h XX FNX FIELDS 1 a 1"]
        {
            bench.check_changes(line, ":0", 0, &[]);
        }
        bench.check("HSETEX h NX FNX FIELDS 1 a 1", ":1");
        bench.check("HSETEX h NX FIELDS 1 b 1", ":0");
        bench.check("HSETEX h FNX FIELDS 2 b 1 a 2", ":0");
        bench.check("HSETEX h FXX FIELDS 2 b 1 a 2", ":0");
        bench.check("HSETEX h XX FXX FIELDS 1 a 2", ":1");
        bench.check_both("HGETALL h", "*2\n$1\na\n$1\n2", "%1\n$1\na\n$1\n2");
        for line in ["NX XX", "FNX FXX", "EX 1 KEEPTTL", "EX 1 PX 1", "PERSIST", "EX", "GET", "IFEQ 1"] {
            bench.check(&format!("HSETEX h {line} FIELDS 1 a 1"), "-ERR syntax error");
        }
    }

    #[test]
    fn a_time_that_is_over_stores_nothing() {
        let mut bench = Bench::new();
        let events = ["h hset h", "h hexpire h", "h hexpired h", "g del h"];
        bench.check_changes("HSETEX h EX 0 FIELDS 2 a 1 b 1", ":1", 0, &events);
        bench.check("EXISTS h", ":0");
        bench.run("HSET h a 1 b 2 c 3");
        bench.check_changes("HSETEX h PXAT 1 FIELDS 2 a 1 x 1", ":1", 1, &events[..3]);
        bench.check_changes("HSETEX h PXAT 1 FIELDS 2 b 1 c 1", ":1", 2, &events);
        assert_eq!(bench.keyspace().stats.expired_fields, 6);
        assert_eq!(bench.keyspace().usage(0).entry_bytes, 0);
    }
}
