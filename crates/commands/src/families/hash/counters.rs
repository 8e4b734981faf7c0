//! Fields as numbers: HINCRBY and HINCRBYFLOAT.

use torc_datatypes::value::IntText;
use torc_datatypes::{Stored, StrRef, StrValue};
use torc_keyspace::{At, Class, SetExpire};
use torc_resp::{Args, CommandError, LongDouble, Reply};

use super::{edit, hash_at, limits, stored_over_expired};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

pub(super) const HINCRBY: Command = Command {
    spec: Spec {
        name: "hincrby",
        arity: Arity::exactly(4),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_ACCESS_UPDATE)],
        docs: &Docs {
            syntax: "HINCRBY key field increment:int",
            summary: "Adds a number to the integer in a field of a hash; a missing field counts as 0.",
            since: "2.0.0",
            complexity: "O(1)",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hincrby),
    subcommands: &[],
};

fn hincrby(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let increment = args.int(3)?;
    let (now_ms, limits) = (cx.fields_at_ms(), limits(cx));
    let name = args.get(2);
    let mut at = cx.at(args.get(1), cx.writing());
    let old = hash_at(at.entry())?.and_then(|hash| hash.get(name, now_ms)).unwrap_or(StrRef::Int(0));
    let old = old.as_int().ok_or(CommandError::Text("ERR hash value is not an integer"))?;
    let new = old.checked_add(increment).ok_or(CommandError::Overflow)?;
    let stored = edit(&mut at, |hash| hash.set(name, StrValue::Int(new), SetExpire::Keep, now_ms, limits));
    counted(&mut at, stored, name, StrRef::Int(new), "hincrby");
    reply.int(new);
    Ok(())
}

pub(super) const HINCRBYFLOAT: Command = Command {
    spec: Spec {
        name: "hincrbyfloat",
        arity: Arity::exactly(4),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_ACCESS_UPDATE)],
        docs: &Docs {
            syntax: "HINCRBYFLOAT key field increment:double",
            summary: "Adds a number to the decimal number in a field of a hash; a missing field counts as 0.",
            since: "2.6.0",
            complexity: "O(1)",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hincrbyfloat),
    subcommands: &[],
};

fn hincrbyfloat(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let increment = LongDouble::parse(args.get(3)).ok_or(CommandError::NotFloat)?;
    if !increment.is_finite() {
        return Err(CommandError::Text("ERR value is NaN or Infinity"));
    }
    let (now_ms, limits) = (cx.fields_at_ms(), limits(cx));
    let name = args.get(2);
    let mut at = cx.at(args.get(1), cx.writing());
    let old = hash_at(at.entry())?.and_then(|hash| hash.get(name, now_ms)).unwrap_or(StrRef::Int(0));
    let old = LongDouble::parse(old.as_bytes(&mut IntText::new()))
        .ok_or(CommandError::Text("ERR hash value is not a float"))?;
    let sum = old.checked_add(increment).ok_or(CommandError::NotFinite)?;
    let mut text = Vec::new();
    sum.write_human(&mut text);
    let value = StrValue::Bytes(&text);
    let stored = edit(&mut at, |hash| hash.set(name, value, SetExpire::Keep, now_ms, limits));
    counted(&mut at, stored, name, StrRef::Bytes(&text), "hincrbyfloat");
    reply.bulk(&text);
    Ok(())
}

fn counted(at: &mut At<'_>, stored: Stored, name: &[u8], sum: StrRef<'_>, event: &'static str) {
    if stored != Stored::Replaced {
        // What had expired may not be counted on when the effect is repeated.
        at.tell(&[b"HSET", at.key_bytes(), name, sum.as_bytes(&mut IntText::new())]);
    }
    stored_over_expired(at, u64::from(stored == Stored::OverExpired));
    at.changed(Class::HASH, event);
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn numbers_count() {
        let mut bench = Bench::new();
        bench.check_changes("HINCRBY h n 5", ":5", 1, &["h hincrby h"]);
        bench.check_changes("HINCRBY h n -6", ":-1", 1, &["h hincrby h"]);
        bench.check_changes("HINCRBYFLOAT h n 1.5", "$3\n0.5", 1, &["h hincrbyfloat h"]);
        bench.check_changes("HINCRBY h n 1", "-ERR hash value is not an integer", 0, &[]);
        bench.check_changes("HINCRBYFLOAT h n inf", "-ERR value is NaN or Infinity", 0, &[]);
        bench.check("HSET h max 9223372036854775807 text x", ":2");
        bench.check_changes("HINCRBY h max 1", "-ERR increment or decrement would overflow", 0, &[]);
        bench.check_changes("HINCRBYFLOAT h text 1", "-ERR hash value is not a float", 0, &[]);
        bench.check_changes("HINCRBY new n x", "-ERR value is not an integer or out of range", 0, &[]);
        bench.check("EXISTS new", ":0");
    }

    #[test]
    fn the_expiry_of_a_field_stays() {
        let mut bench = Bench::new();
        bench.run("HSETEX h PX 100 FIELDS 2 n 1 f 1");
        bench.check("HINCRBY h n 1", ":2");
        bench.check("HINCRBYFLOAT h f 1", "$1\n2");
        bench.check("HPTTL h FIELDS 2 n f", "*2\n:100\n:100");
        bench.now_ms += 101;
        bench.check_changes("HINCRBY h n 1", ":1", 1, &["h hexpired h", "h hincrby h"]);
        bench.check_changes("HINCRBYFLOAT h f 1", "$1\n1", 1, &["h hexpired h", "h hincrbyfloat h"]);
        bench.check("HPTTL h FIELDS 2 n f", "*2\n:-1\n:-1");
    }
}
