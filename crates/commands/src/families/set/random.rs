//! Members drawn at random: SPOP takes them out, SRANDMEMBER only looks.

use torc_datatypes::value::IntText;
use torc_datatypes::{Entry, Value};
use torc_keyspace::Class;
use torc_resp::{Args, CommandError, Reply};

use super::{limits, set_at, set_mut, write_member, write_set};
use crate::families::generic::delete::release;
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

pub(super) const SPOP: Command = Command {
    spec: Spec {
        name: "spop",
        arity: Arity::at_least(2),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_ACCESS_DELETE)],
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "SPOP key [count:int]",
            summary: "Takes random members out of a set and returns them, one or up to a count.",
            since: "1.0.0",
            complexity: "O(1) without a count, otherwise O(N) where N is the count",
            group: Group::Set,
            history: &[("3.2.0", "The `count`.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(spop),
    subcommands: &[],
};

fn spop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    match args.len() {
        2 => spop_one(cx, args.get(1), reply),
        3 => {
            let count = args.int(2).ok().and_then(|count| usize::try_from(count).ok());
            spop_many(cx, args.get(1), count.ok_or(CommandError::NotPositive)?, reply)
        }
        _ => Err(CommandError::Syntax),
    }
}

fn spop_one(cx: &mut Context<'_>, key: &[u8], reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let (key, lookup) = (cx.key(key), cx.writing());
    let mut at = cx.keyspace.at(cx.db, key, cx.now_ms, lookup, cx.changes);
    if set_at(at.entry())?.is_none() {
        reply.null();
        return Ok(());
    }
    let mut entry = at.entry_mut().expect("a set is there");
    let set = set_mut(&mut entry);
    let member = set.take_random(|below| cx.rng.index(below)).expect("a set has members");
    let is_empty = set.is_empty();
    drop(entry);
    if is_empty {
        at.discard();
    }
    at.tell(&[b"SREM", key.bytes, member.item().as_bytes(&mut IntText::new())]);
    at.changed(Class::SET, "spop");
    if is_empty {
        at.event(Class::GENERIC, "del");
    }
    write_member(reply, member.item());
    Ok(())
}

fn spop_many(
    cx: &mut Context<'_>,
    key: &[u8],
    count: usize,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let (key, lookup, limits) = (cx.key(key), cx.writing(), limits(cx));
    let mut at = cx.keyspace.at(cx.db, key, cx.now_ms, lookup, cx.changes);
    let Some(set) = set_at(at.entry())?.filter(|_| count > 0) else {
        reply.set(0);
        return Ok(());
    };
    let len = set.len();
    let to_free = if count >= len {
        write_set(reply, set);
        let entry = at.remove();
        at.tell(&[b"DEL", key.bytes]);
        at.changed(Class::SET, "spop");
        at.event(Class::GENERIC, "del");
        entry
    } else {
        reply.set(count);
        let (tells, mut taken) = (at.tells(), Vec::new());
        let mut entry = at.entry_mut().expect("a set is there");
        let random = |below| cx.rng.index(below);
        let rest = set_mut(&mut entry).take_sample(count, &limits, random, |member| {
            if tells {
                taken.push(member.as_bytes(&mut IntText::new()).to_vec());
            }
            write_member(reply, member);
        });
        drop(entry);
        at.tell_with(&[b"SREM", key.bytes], taken.iter().map(Vec::as_slice));
        at.changed(Class::SET, "spop");
        rest.map(|rest| Entry::owned(key.bytes, Value::Set(rest), None))
    };
    at.changed_more(count.min(len) as u64 - 1);
    if let Some(entry) = to_free {
        release(cx, entry);
    }
    Ok(())
}

pub(super) const SRANDMEMBER: Command = Command {
    spec: Spec {
        name: "srandmember",
        arity: Arity::at_least(2),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "SRANDMEMBER key [count:int]",
            summary: "Returns random members of a set: one, up to a count of different ones, or with a negative count as \
                      many draws of which each may give any member.",
            since: "1.0.0",
            complexity: "O(1) without a count, otherwise O(N) where N is the count without its sign",
            group: Group::Set,
            history: &[("2.6.0", "The `count`.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(srandmember),
    subcommands: &[],
};

fn srandmember(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let count = match args.len() {
        2 => None,
        3 => Some(signed_count(args)?),
        _ => return Err(CommandError::Syntax),
    };
    let (key, lookup) = (cx.key(args.get(1)), cx.reading());
    let set = set_at(cx.keyspace.get(cx.db, &key, cx.now_ms, lookup, cx.changes))?;
    let random = |below| cx.rng.index(below);
    match (set, count) {
        (None, None) => reply.null(),
        (None, Some(_)) => reply.array(0),
        (Some(set), None) => write_member(reply, set.random(random).expect("a set has members")),
        (Some(set), Some(count)) if count < 0 => {
            let draws = count.unsigned_abs() as usize;
            reply.array(draws);
            set.draw(draws, random, |member| write_member(reply, member));
        }
        (Some(set), Some(count)) => {
            let count = set.len().min(count as usize);
            reply.array(count);
            set.sample(count, random, |member| write_member(reply, member));
        }
    }
    Ok(())
}

/// A count that may be negative, but has a positive counterpart.
fn signed_count(args: Args<'_>) -> Result<i64, CommandError> {
    match args.int(2)? {
        i64::MIN => Err(CommandError::Text(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        )),
        count => Ok(count),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::testing::Bench;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    const NOT_POSITIVE: &str = "-ERR value is out of range, must be positive";

    /// The members in a reply that is a collection of bulks.
    fn members(reply: &str) -> Vec<String> {
        reply.lines().skip(2).step_by(2).map(str::to_owned).collect()
    }

    fn fill(bench: &mut Bench, key: &str, members: impl Iterator<Item = String>) -> BTreeSet<String> {
        let members: BTreeSet<String> = members.collect();
        members.iter().for_each(|member| drop(bench.run(&format!("SADD {key} {member}"))));
        members
    }

    #[test]
    fn spop_counts_what_it_takes() {
        let mut bench = Bench::new();
        bench.check("SPOP s", "$-1");
        bench.check_both("SPOP s 3", "*0", "~0");
        bench.run("SADD s a a");
        bench.check_changes("SPOP s", "$1\na", 1, &["s spop s", "g del s"]);
        bench.check("EXISTS s", ":0");
        bench.run("SADD s 1 2 3 4 5");
        bench.check_both("SPOP s 0", "*0", "~0");
        bench.run("EXPIRE s 100");
        for line in ["SPOP s 2", "SPOP s"] {
            bench.run(line);
            bench.check("TTL s", ":100");
        }
        bench.check("SCARD s", ":2");
        let [all, _] = bench.run("SPOP s 10");
        assert_eq!(members(&all).len(), 2);
        bench.check("EXISTS s", ":0");
    }

    #[test]
    fn spop_is_one_event_and_many_changes() {
        let mut bench = Bench::new();
        bench.run("SADD s 1 2 3");
        let all = "3\n$1\n1\n$1\n2\n$1\n3";
        let pop_all =
            |bench: &mut Bench| bench.check_both("SPOP s 5", &format!("*{all}"), &format!("~{all}"));
        let (dirty, events) = bench.changes_of(pop_all);
        assert_eq!((dirty, events), (3, vec!["s spop s".to_owned(), "g del s".to_owned()]));
        let (dirty, events) = bench.changes_of(|bench| bench.check_both("SPOP s 5", "*0", "~0"));
        assert_eq!((dirty, events.len()), (0, 0));
        fill(&mut bench, "s", (0..700).map(|id| format!("member:{id}")));
        for count in [1, 2, 600] {
            let (dirty, events) = bench.changes_of(|bench| drop(bench.run(&format!("SPOP s {count}"))));
            assert_eq!((dirty, events), (count, vec!["s spop s".to_owned()]));
        }
        bench.check("SCARD s", ":97");
    }

    #[test]
    fn wrong_counts() {
        let mut bench = Bench::new();
        bench.run("SADD s a");
        bench.run("SET k v");
        for (line, expected) in [
            ("SPOP s -1", NOT_POSITIVE),
            ("SPOP s x", NOT_POSITIVE),
            ("SPOP k -1", NOT_POSITIVE),
            ("SPOP k 1", WRONG_TYPE),
            ("SPOP k", WRONG_TYPE),
            ("SPOP s 1 2", "-ERR syntax error"),
            ("SRANDMEMBER s 1 2", "-ERR syntax error"),
            ("SRANDMEMBER s x", "-ERR value is not an integer or out of range"),
            (
                "SRANDMEMBER s -9223372036854775808",
                "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
            ),
            ("SRANDMEMBER k 1", WRONG_TYPE),
            ("SRANDMEMBER k", WRONG_TYPE),
            ("SRANDMEMBER nokey", "$-1"),
            ("SRANDMEMBER nokey 0", "*0"),
            ("SRANDMEMBER nokey -3", "*0"),
            ("SRANDMEMBER s 0", "*0"),
            ("SRANDMEMBER s", "$1\na"),
            ("SRANDMEMBER s -3", "*3\n$1\na\n$1\na\n$1\na"),
            ("SRANDMEMBER s 3", "*1\n$1\na"),
        ] {
            bench.check_changes(line, expected, 0, &[]);
        }
    }

    /// All ways of taking members out, in sets of all encodings: nothing is lost, nothing comes twice.
    #[test]
    fn spop_takes_sets_apart() {
        for (len, prefix) in [(100, ""), (100, "x"), (700, ""), (700, "x")] {
            for count in [1, 3, len / 3, len / 2, len * 9 / 10, len - 1] {
                let mut bench = Bench::new();
                let mut all = fill(&mut bench, "s", (0..len).map(|id| format!("{prefix}{id}")));
                let [drawn, _] = bench.run(&format!("SRANDMEMBER s {count}"));
                let drawn: BTreeSet<String> = members(&drawn).into_iter().collect();
                assert!(drawn.len() == count && drawn.is_subset(&all));
                let [taken, _] = bench.run(&format!("SPOP s {count}"));
                let taken = members(&taken);
                assert_eq!(taken.len(), count);
                assert!(taken.iter().all(|member| all.remove(member)));
                let [rest, _] = bench.run("SMEMBERS s");
                assert_eq!(members(&rest).into_iter().collect::<BTreeSet<String>>(), all);
                bench.run(&format!("SPOP s {len}"));
                bench.check("DBSIZE", ":0");
            }
        }
    }

    #[test]
    fn what_little_spop_leaves_is_compact() {
        let mut bench = Bench::new();
        fill(&mut bench, "s", (0..700).map(|id| id.to_string()));
        bench.check("OBJECT ENCODING s", "$9\nhashtable");
        bench.run("SPOP s 690");
        bench.check("OBJECT ENCODING s", "$8\nlistpack");
        bench.check("SCARD s", ":10");
    }
}
