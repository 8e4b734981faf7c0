//! Whole hashes: HGETALL, HKEYS, HVALS and HSCAN.

use torc_datatypes::value::IntText;
use torc_datatypes::{FieldRef, Hash, Kind};
use torc_resp::{Args, CommandError, Reply, ReplyBuf};

use super::{hash_at, hash_of};
use crate::families::cursor::{ScanOptions, parse_cursor, write_head};
use crate::families::string::write_string;
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

pub(super) const HGETALL: Command = Command {
    spec: Spec {
        name: "hgetall",
        arity: Arity::exactly(2),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        tips: &["nondeterministic_output_order"],
        docs: &Docs {
            syntax: "HGETALL key",
            summary: "Returns all fields of a hash with their values.",
            since: "2.0.0",
            complexity: "O(N) where N is the number of fields",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hgetall),
    subcommands: &[],
};

fn hgetall(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let now_ms = cx.fields_at_ms();
    let hash = hash_at(cx.read(args.get(1)))?;
    reply.map(live_len(hash, now_ms));
    for_each(hash, now_ms, |field| {
        write_string(reply, field.name);
        write_string(reply, field.value);
    });
    Ok(())
}

pub(super) const HKEYS: Command = Command {
    spec: Spec {
        name: "hkeys",
        arity: Arity::exactly(2),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        tips: &["nondeterministic_output_order"],
        docs: &Docs {
            syntax: "HKEYS key",
            summary: "Returns the names of all fields of a hash.",
            since: "2.0.0",
            complexity: "O(N) where N is the number of fields",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hkeys),
    subcommands: &[],
};

fn hkeys(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let now_ms = cx.fields_at_ms();
    let hash = hash_at(cx.read(args.get(1)))?;
    reply.array(live_len(hash, now_ms));
    for_each(hash, now_ms, |field| write_string(reply, field.name));
    Ok(())
}

pub(super) const HVALS: Command = Command {
    spec: Spec {
        name: "hvals",
        arity: Arity::exactly(2),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        tips: &["nondeterministic_output_order"],
        docs: &Docs {
            syntax: "HVALS key",
            summary: "Returns the values of all fields of a hash.",
            since: "2.0.0",
            complexity: "O(N) where N is the number of fields",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hvals),
    subcommands: &[],
};

fn hvals(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let now_ms = cx.fields_at_ms();
    let hash = hash_at(cx.read(args.get(1)))?;
    reply.array(live_len(hash, now_ms));
    for_each(hash, now_ms, |field| write_string(reply, field.value));
    Ok(())
}

fn live_len(hash: Option<&Hash>, now_ms: i64) -> usize {
    hash.map_or(0, |hash| hash.live_len(now_ms))
}

fn for_each(hash: Option<&Hash>, now_ms: i64, visit: impl FnMut(FieldRef<'_>)) {
    if let Some(hash) = hash {
        hash.live(now_ms).for_each(visit);
    }
}

pub(super) const HSCAN: Command = Command {
    spec: Spec {
        name: "hscan",
        arity: Arity::at_least(3),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "HSCAN key cursor:int [MATCH pattern:pattern] [COUNT count:int] [NOVALUES]",
            summary: "Walks over the fields of a hash and their values, a few per call. Start with cursor 0 and pass the \
                      cursor of each reply on, until it is 0 again.",
            since: "2.8.0",
            complexity: "O(1) per call, O(N) for the whole walk with N the number of fields.",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hscan),
    subcommands: &[],
};

fn hscan(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let cursor = parse_cursor(args.get(2))?;
    let now_ms = cx.fields_at_ms();
    let Some(entry) = cx.read(args.get(1)) else {
        write_head(reply, 0, 0);
        return Ok(());
    };
    let hash = hash_of(entry)?;
    let options = ScanOptions::parse(args, 3, Some(Kind::Hash))?;
    let mut found = ReplyBuf::new();
    let mut list = Reply::new(&mut found, reply.proto());
    let mut texts = 0;
    let next = hash.scan(cursor, options.count, now_ms, |field| {
        if !options.matches(field.name.as_bytes(&mut IntText::new())) {
            return;
        }
        write_string(&mut list, field.name);
        texts += 1;
        if !options.no_values {
            write_string(&mut list, field.value);
            texts += 1;
        }
    });
    write_head(reply, next, texts);
    reply.buf().append(&found);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use torc_resp::{Value, ValueReader};

    use crate::testing::Bench;

    fn text(value: &Value) -> String {
        String::from_utf8(value.as_bytes().expect("a text").to_vec()).expect("a readable text")
    }

    #[test]
    fn maps_in_resp3() {
        let mut bench = Bench::new();
        bench.check_both("HGETALL none", "*0", "%0");
        bench.run("HSET h a 1 b 2");
        bench.check_both("HGETALL h", "*4\n$1\na\n$1\n1\n$1\nb\n$1\n2", "%2\n$1\na\n$1\n1\n$1\nb\n$1\n2");
        bench.check("HKEYS h", "*2\n$1\na\n$1\nb");
        bench.check("HVALS h", "*2\n$1\n1\n$1\n2");
        bench.check("HSCAN h 0 NOVALUES MATCH b", "*2\n$1\n0\n*1\n$1\nb");
    }

    /// A walk over a hash that grows meanwhile shows what was there from the beginning, and not what has expired.
    #[test]
    fn hscan_shows_all_that_stays() {
        let mut bench = Bench::new();
        for id in 0..2_000 {
            bench.run(&format!("HSET h {id} {id}"));
            if id % 10 == 0 {
                bench.run(&format!("HPEXPIRE h 1 FIELDS 1 {id}"));
            }
        }
        bench.now_ms += 2;
        let (mut cursor, mut seen, mut calls) = (String::from("0"), BTreeSet::new(), 0);
        loop {
            let [reply, _] = bench.run(&format!("HSCAN h {cursor} COUNT 50"));
            let mut reader = ValueReader::new();
            reader.feed((reply.replace('\n', "\r\n") + "\r\n").as_bytes());
            let Ok(Some(Value::Array(parts))) = reader.next_value() else { panic!("no array") };
            cursor = text(&parts[0]);
            let texts: Vec<String> = parts[1].elements().unwrap().iter().map(text).collect();
            for pair in texts.chunks(2) {
                assert_eq!(pair[0], pair[1]);
                seen.insert(pair[0].clone());
            }
            calls += 1;
            if cursor == "0" {
                break;
            }
            for id in 0..20 {
                bench.run(&format!("HSET h new{calls}:{id} new{calls}:{id}"));
            }
        }
        assert!(calls >= 36, "{calls}");
        assert!((0..2_000).all(|id| seen.contains(&id.to_string()) == (id % 10 != 0)));
    }
}
