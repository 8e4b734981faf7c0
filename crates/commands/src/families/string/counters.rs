//! Strings as numbers: INCR, DECR, INCRBY, DECRBY and INCRBYFLOAT. Hot path.

use torc_datatypes::StrRef;
use torc_datatypes::value::IntText;
use torc_keyspace::{Class, SetExpire, StrValue};
use torc_resp::{Args, CommandError, LongDouble, Reply};

use super::{string_at, string_of};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

pub(super) const INCR: Command = Command {
    spec: Spec {
        name: "incr",
        arity: Arity::exactly(2),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_ACCESS_UPDATE)],
        docs: &Docs {
            syntax: "INCR key",
            summary: "Adds one to the integer stored at a key; a missing key counts as 0.",
            since: "1.0.0",
            complexity: "O(1)",
            group: Group::String,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(incr),
    subcommands: &[],
};

fn incr(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    add(cx, args.get(1), 1, reply)
}

pub(super) const DECR: Command = Command {
    spec: Spec {
        name: "decr",
        arity: Arity::exactly(2),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_ACCESS_UPDATE)],
        docs: &Docs {
            syntax: "DECR key",
            summary: "Subtracts one from the integer stored at a key; a missing key counts as 0.",
            since: "1.0.0",
            complexity: "O(1)",
            group: Group::String,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(decr),
    subcommands: &[],
};

fn decr(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    add(cx, args.get(1), -1, reply)
}

pub(super) const INCRBY: Command = Command {
    spec: Spec {
        name: "incrby",
        arity: Arity::exactly(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_ACCESS_UPDATE)],
        docs: &Docs {
            syntax: "INCRBY key increment:int",
            summary: "Adds a number to the integer stored at a key; a missing key counts as 0.",
            since: "1.0.0",
            complexity: "O(1)",
            group: Group::String,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(incrby),
    subcommands: &[],
};

fn incrby(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    add(cx, args.get(1), args.int(2)?, reply)
}

pub(super) const DECRBY: Command = Command {
    spec: Spec {
        name: "decrby",
        arity: Arity::exactly(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_ACCESS_UPDATE)],
        docs: &Docs {
            syntax: "DECRBY key decrement:int",
            summary: "Subtracts a number from the integer stored at a key; a missing key counts as 0.",
            since: "1.0.0",
            complexity: "O(1)",
            group: Group::String,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(decrby),
    subcommands: &[],
};

fn decrby(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let decrement = args.int(2)?;
    let increment = decrement.checked_neg().ok_or(CommandError::Text("ERR decrement would overflow"))?;
    add(cx, args.get(1), increment, reply)
}

#[inline]
fn add(cx: &mut Context<'_>, key: &[u8], increment: i64, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let mut at = cx.at(key, cx.writing());
    let old = match at.entry() {
        Some(entry) => string_of(entry)?.as_int().ok_or(CommandError::NotInteger)?,
        None => 0,
    };
    let new = old.checked_add(increment).ok_or(CommandError::Overflow)?;
    at.set_string(StrValue::Int(new), SetExpire::Keep);
    at.changed(Class::STRING, "incrby");
    reply.int(new);
    Ok(())
}

pub(super) const INCRBYFLOAT: Command = Command {
    spec: Spec {
        name: "incrbyfloat",
        arity: Arity::exactly(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_ACCESS_UPDATE)],
        docs: &Docs {
            syntax: "INCRBYFLOAT key increment:double",
            summary: "Adds a number to the decimal number stored at a key; a missing key counts as 0.",
            since: "2.6.0",
            complexity: "O(1)",
            group: Group::String,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(incrbyfloat),
    subcommands: &[],
};

fn incrbyfloat(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let mut at = cx.at(args.get(1), cx.writing());
    let number = |text: &[u8]| LongDouble::parse(text).ok_or(CommandError::NotFloat);
    let old = string_at(at.entry())?.unwrap_or(StrRef::Int(0));
    let old = number(old.as_bytes(&mut IntText::new()))?;
    let sum = old.checked_add(number(args.get(2))?).ok_or(CommandError::NotFinite)?;
    let mut text = Vec::new();
    sum.write_human(&mut text);
    at.set_string(StrValue::Bytes(&text), SetExpire::Keep);
    at.changed(Class::STRING, "incrbyfloat");
    at.tell_string();
    reply.bulk(&text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn integers_count() {
        let mut bench = Bench::new();
        bench.check_changes("INCR n", ":1", 1, &["$ incrby n"]);
        bench.check_changes("DECR n", ":0", 1, &["$ incrby n"]);
        bench.check_changes("INCRBY n 10", ":10", 1, &["$ incrby n"]);
        bench.check_changes("DECRBY n 3", ":7", 1, &["$ incrby n"]);
        bench.check("DECR m", ":-1");
        bench.check("GET m", "$2\n-1");
        bench.check("SET n 9223372036854775807", "+OK");
        bench.check_changes("INCR n", "-ERR increment or decrement would overflow", 0, &[]);
        bench.check("DECRBY n 9223372036854775807", ":0");
        bench.check("INCRBY n -9223372036854775808", ":-9223372036854775808");
        bench.check("DECR n", "-ERR increment or decrement would overflow");
        bench.check("DECRBY n -9223372036854775808", "-ERR decrement would overflow");
        bench.check("APPEND raw 12", ":2");
        bench.check("APPEND raw 3", ":3");
        bench.check("INCR raw", ":124");
    }

    #[test]
    fn what_is_no_integer() {
        let mut bench = Bench::new();
        for value in ["abc", "\" 5\"", "\"5 \"", "05", "+5", "1.5", "\"\"", "9223372036854775808"] {
            bench.check(&format!("SET k {value}"), "+OK");
            bench.check("INCR k", "-ERR value is not an integer or out of range");
            bench.check(&format!("INCRBY n {value}"), "-ERR value is not an integer or out of range");
            bench.check(&format!("DECRBY n {value}"), "-ERR value is not an integer or out of range");
        }
    }

    #[test]
    fn expiry_stays() {
        let mut bench = Bench::new();
        bench.check("SET n 5 PX 100", "+OK");
        bench.check("INCR n", ":6");
        bench.check("INCRBYFLOAT n 0.5", "$3\n6.5");
        bench.now_ms += 101;
        bench.check("GET n", "$-1");
    }

    #[test]
    fn decimal_numbers_count() {
        let mut bench = Bench::new();
        bench.check_changes("INCRBYFLOAT f 10.5", "$4\n10.5", 1, &["$ incrbyfloat f"]);
        bench.check("INCRBYFLOAT f 0.1", "$4\n10.6");
        bench.check("INCRBYFLOAT f -10.6", "$1\n0");
        bench.check("INCRBYFLOAT f 5.0e3", "$4\n5000");
        bench.check("INCR f", ":5001");
        bench.check("INCRBYFLOAT f x", "-ERR value is not a valid float");
        bench.check("INCRBYFLOAT f nan", "-ERR value is not a valid float");
        bench.check_changes("INCRBYFLOAT f inf", "-ERR increment would produce NaN or Infinity", 0, &[]);
        bench.check("SET f abc", "+OK");
        bench.check("INCRBYFLOAT f 1", "-ERR value is not a valid float");
        bench.check("SET f 1", "+OK");
        bench.check("INCRBYFLOAT f 1.1", "$3\n2.1");
    }
}
