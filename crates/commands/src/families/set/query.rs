//! What is in a set: SCARD, SISMEMBER, SMISMEMBER, SMEMBERS and SSCAN. Hot path.

use torc_datatypes::value::IntText;
use torc_datatypes::{Kind, Set};
use torc_resp::{Args, CommandError, Reply, ReplyBuf};

use super::{set_at, write_member, write_set};
use crate::families::cursor::{ScanOptions, parse_cursor, write_head};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

pub(super) const SCARD: Command = Command {
    spec: Spec {
        name: "scard",
        arity: Arity::exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO)],
        docs: &Docs {
            syntax: "SCARD key",
            summary: "Returns how many members a set has.",
            since: "1.0.0",
            complexity: "O(1)",
            group: Group::Set,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(scard),
    subcommands: &[],
};

fn scard(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let set = set_at(cx.read(args.get(1)))?;
    reply.int(set.map_or(0, Set::len) as i64);
    Ok(())
}

pub(super) const SISMEMBER: Command = Command {
    spec: Spec {
        name: "sismember",
        arity: Arity::exactly(3),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO)],
        docs: &Docs {
            syntax: "SISMEMBER key member",
            summary: "Returns whether a string is a member of a set.",
            since: "1.0.0",
            complexity: "O(1)",
            group: Group::Set,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(sismember),
    subcommands: &[],
};

fn sismember(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let set = set_at(cx.read(args.get(1)))?;
    reply.int(i64::from(set.is_some_and(|set| set.contains(args.get(2)))));
    Ok(())
}

pub(super) const SMISMEMBER: Command = Command {
    spec: Spec {
        name: "smismember",
        arity: Arity::at_least(3),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "SMISMEMBER key member [member ...]",
            summary: "Returns for each of several strings whether it is a member of a set.",
            since: "6.2.0",
            complexity: "O(N) where N is the number of strings",
            group: Group::Set,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(smismember),
    subcommands: &[],
};

fn smismember(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let set = set_at(cx.read(args.get(1)))?;
    let members = args.from(2);
    reply.array(members.len());
    for member in members.iter() {
        reply.int(i64::from(set.is_some_and(|set| set.contains(member))));
    }
    Ok(())
}

pub(super) const SMEMBERS: Command = Command {
    spec: Spec {
        name: "smembers",
        arity: Arity::exactly(2),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        tips: &["nondeterministic_output_order"],
        docs: &Docs {
            syntax: "SMEMBERS key",
            summary: "Returns all members of a set.",
            since: "1.0.0",
            complexity: "O(N) where N is the number of members",
            group: Group::Set,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(smembers),
    subcommands: &[],
};

fn smembers(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    match set_at(cx.read(args.get(1)))? {
        Some(set) => write_set(reply, set),
        None => reply.set(0),
    }
    Ok(())
}

pub(super) const SSCAN: Command = Command {
    spec: Spec {
        name: "sscan",
        arity: Arity::at_least(3),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "SSCAN key cursor:int [MATCH pattern:pattern] [COUNT count:int]",
            summary: "Walks over the members of a set, a few per call. Start with cursor 0 and pass the cursor of each \
                      reply on, until it is 0 again.",
            since: "2.8.0",
            complexity: "O(1) per call, O(N) for the whole walk where N is the number of members",
            group: Group::Set,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(sscan),
    subcommands: &[],
};

fn sscan(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let cursor = parse_cursor(args.get(2))?;
    let Some(set) = set_at(cx.read(args.get(1)))? else {
        // A missing key is told before wrong options.
        write_head(reply, 0, 0);
        return Ok(());
    };
    let options = ScanOptions::parse(args, 3, Some(Kind::Set))?;
    let mut members = ReplyBuf::new();
    let mut list = Reply::new(&mut members, reply.proto());
    let mut found = 0;
    let next = set.scan(cursor, options.count, |member| {
        if options.matches(member.as_bytes(&mut IntText::new())) {
            write_member(&mut list, member);
            found += 1;
        }
    });
    write_head(reply, next, found);
    reply.buf().append(&members);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::testing::Bench;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

    #[test]
    fn what_is_there() {
        let mut bench = Bench::new();
        bench.check("SCARD s", ":0");
        bench.check("SISMEMBER s a", ":0");
        bench.check("SMISMEMBER s a b", "*2\n:0\n:0");
        bench.check_both("SMEMBERS s", "*0", "~0");
        bench.run("SADD s 3 a 1");
        bench.check("SCARD s", ":3");
        bench.check("SISMEMBER s a", ":1");
        bench.check("SISMEMBER s 01", ":0");
        bench.check("SMISMEMBER s 1 b a", "*3\n:1\n:0\n:1");
        bench.check_both("SMEMBERS s", "*3\n$1\n3\n$1\na\n$1\n1", "~3\n$1\n3\n$1\na\n$1\n1");
    }

    #[test]
    fn other_types_are_refused() {
        let mut bench = Bench::new();
        bench.run("SET k v");
        for line in ["SCARD k", "SISMEMBER k a", "SMISMEMBER k a", "SMEMBERS k", "SSCAN k 0"] {
            bench.check_changes(line, WRONG_TYPE, 0, &[]);
        }
    }

    #[test]
    fn sscan_checks_the_cursor_then_the_key_then_options() {
        let mut bench = Bench::new();
        bench.run("SET k v");
        bench.run("SADD s a 12 ab");
        for (rest, expected) in [
            ("k x", "-ERR invalid cursor"),
            ("k 0 COUNT 0", WRONG_TYPE),
            ("nokey 0 COUNT 0", "*2\n$1\n0\n*0"),
            ("s 0 COUNT 0", "-ERR syntax error"),
            ("s 0 COUNT x", "-ERR value is not an integer or out of range"),
            ("s 0 TYPE set", "-ERR syntax error"),
            ("s 0 NOVALUES", "-ERR NOVALUES option can only be used in HSCAN"),
            ("s 0", "*2\n$1\n0\n*3\n$1\na\n$2\n12\n$2\nab"),
            ("s 7 MATCH a*", "*2\n$1\n0\n*2\n$1\na\n$2\nab"),
            ("s 0 MATCH 1? COUNT 1", "*2\n$1\n0\n*1\n$2\n12"),
        ] {
            bench.check(&format!("SSCAN {rest}"), expected);
        }
    }

    #[test]
    fn sscan_walks_over_a_big_set() {
        let mut bench = Bench::new();
        let all: BTreeSet<String> = (0..2_000).map(|id| format!("member:{id}")).collect();
        for member in &all {
            bench.run(&format!("SADD s {member}"));
        }
        let mut seen = BTreeSet::new();
        let mut cursor = "0".to_owned();
        loop {
            let [reply, _] = bench.run(&format!("SSCAN s {cursor} COUNT 100"));
            let lines: Vec<&str> = reply.lines().collect();
            assert!(lines.len() < 4 + 2 * 110);
            seen.extend(lines[4..].iter().skip(1).step_by(2).map(|&member| member.to_owned()));
            cursor = lines[2].to_owned();
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen, all);
        bench.check("SSCAN s 18446744073709551615", "*2\n$1\n0\n*0");
    }
}
