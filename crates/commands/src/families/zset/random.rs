//! Members drawn at random: ZRANDMEMBER.

use torc_resp::{Args, CommandError, Reply};

use super::{Show, zset_at};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

pub(super) const ZRANDMEMBER: Command = Command {
    spec: Spec {
        name: "zrandmember",
        arity: Arity::at_least(2),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "ZRANDMEMBER key [count:int [WITHSCORES]]",
            summary: "Returns random members of a sorted set: one, up to a count of different ones, or with a negative \
                      count as many draws of which each may give any member.",
            since: "6.2.0",
            complexity: "O(1) without a count, otherwise O(N) where N is the count without its sign",
            group: Group::SortedSet,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zrandmember),
    subcommands: &[],
};

fn zrandmember(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let (count, with_scores) = parse(args)?;
    let show = Show::with_scores(with_scores, reply);
    let (key, lookup) = (cx.key(args.get(1)), cx.reading());
    let zset = zset_at(cx.keyspace.get(cx.db, &key, cx.now_ms, lookup, cx.changes))?;
    let random = |below| cx.rng.index(below);
    match (zset, count) {
        (None, None) => reply.null(),
        (None, Some(_)) => reply.array(0),
        (Some(zset), None) => zset.draw(1, random, |member, _| reply.bulk(member)),
        (Some(zset), Some(count)) if count < 0 => {
            let draws = count.unsigned_abs() as usize;
            show.head(reply, draws);
            zset.draw(draws, random, |member, score| show.member(reply, member, score));
        }
        (Some(zset), Some(count)) => {
            let count = zset.len().min(count as usize);
            show.head(reply, count);
            zset.sample(count, random, |member, score| show.member(reply, member, score));
        }
    }
    Ok(())
}

/// The count, and WITHSCORES. The checks come in Redis's order.
fn parse(args: Args<'_>) -> Result<(Option<i64>, bool), CommandError> {
    if args.len() == 2 {
        return Ok((None, false));
    }
    let count = args.int(2)?;
    if count == i64::MIN {
        return Err(CommandError::Text(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ));
    }
    let with_scores = match args.len() {
        3 => false,
        4 if args.is(3, b"WITHSCORES") => true,
        _ => return Err(CommandError::Syntax),
    };
    // Twice as many elements have to be counted.
    if with_scores && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(CommandError::OutOfRange);
    }
    Ok((Some(count), with_scores))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::testing::Bench;

    #[test]
    fn counts_and_scores() {
        let mut bench = Bench::new();
        bench.check("ZRANDMEMBER z", "$-1");
        bench.check("ZRANDMEMBER z 3", "*0");
        bench.run("ZADD z 1 a");
        bench.check("ZRANDMEMBER z", "$1\na");
        bench.check("ZRANDMEMBER z 0", "*0");
        bench.check("ZRANDMEMBER z 5", "*1\n$1\na");
        bench.check("ZRANDMEMBER z -2", "*2\n$1\na\n$1\na");
        bench.check_both("ZRANDMEMBER z 5 WITHSCORES", "*2\n$1\na\n$1\n1", "*1\n*2\n$1\na\n,1");
        bench.check_both(
            "ZRANDMEMBER z -2 WITHSCORES",
            "*4\n$1\na\n$1\n1\n$1\na\n$1\n1",
            "*2\n*2\n$1\na\n,1\n*2\n$1\na\n,1",
        );
        bench.run("SET k v");
        for (rest, expected) in [
            ("k", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("k x", "-ERR value is not an integer or out of range"),
            ("k 1 foo", "-ERR syntax error"),
            ("k 1 WITHSCORES more", "-ERR syntax error"),
            ("k -9223372036854775807 WITHSCORES", "-ERR value is out of range"),
            (
                "k -9223372036854775808",
                "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
            ),
        ] {
            bench.check(&format!("ZRANDMEMBER {rest}"), expected);
        }
    }

    #[test]
    fn different_ones() {
        for count in [50, 500] {
            let mut bench = Bench::new();
            (0..count).for_each(|id| drop(bench.run(&format!("ZADD z {id} member:{id}"))));
            for wanted in [1, count / 10, count - 1, count] {
                let [reply, _] = bench.run(&format!("ZRANDMEMBER z {wanted}"));
                let seen: BTreeSet<&str> = reply.lines().skip(2).step_by(2).collect();
                assert_eq!(seen.len(), wanted);
            }
        }
    }
}
