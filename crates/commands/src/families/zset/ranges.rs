//! Ranges of members: ZRANGE, ZRANGESTORE and the older forms ZREVRANGE, ZRANGEBYSCORE, ZREVRANGEBYSCORE, ZRANGEBYLEX and
//! ZREVRANGEBYLEX. Hot path.

use std::ops::Range;

use torc_datatypes::ZSet;
use torc_resp::{Args, CommandError, Reply};

use super::bounds::{Bounds, By};
use super::{Show, limits, store, zset_at};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec, Status};

const COMPLEXITY: &str =
    "O(log(N)+M) where N is the number of members in the sorted set and M the number of members in the range";

pub(super) const ZRANGE: Command = Command {
    spec: Spec {
        name: "zrange",
        arity: Arity::at_least(4),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset:int count:int] [WITHSCORES]",
            summary: "Returns the members of a sorted set in a range of ranks, scores or strings.",
            since: "1.2.0",
            complexity: COMPLEXITY,
            group: Group::SortedSet,
            history: &[("6.2.0", "`REV`, `BYSCORE`, `BYLEX` and `LIMIT`.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zrange),
    subcommands: &[],
};

fn zrange(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    show(cx, args.get(1), &Query::parse(args.from(1), Form::ANY)?, reply)
}

pub(super) const ZRANGESTORE: Command = Command {
    spec: Spec {
        name: "zrangestore",
        arity: Arity::at_least(5),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::at(1, Access::OW_UPDATE), KeySpec::at(2, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "ZRANGESTORE dst:key src:key min max [BYSCORE | BYLEX] [REV] [LIMIT offset:int count:int]",
            summary: "Stores the members of a sorted set in a range of ranks, scores or strings under another key, and \
                      replies how many there are.",
            since: "6.2.0",
            complexity: COMPLEXITY,
            group: Group::SortedSet,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zrangestore),
    subcommands: &[],
};

fn zrangestore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let query = Query::parse(args.from(2), Form { stores: true, ..Form::ANY })?;
    let limits = limits(cx);
    let mut result = ZSet::default();
    if let Some(zset) = zset_at(cx.read(args.get(2)))? {
        let ranks = query.ranks(zset);
        result.expect(ranks.len(), 0, &limits);
        zset.visit(ranks, false, |member, score| {
            result.insert(member, score, &limits);
        });
    }
    store(cx, args.get(1), result, "zrangestore", reply);
    Ok(())
}

pub(super) const ZREVRANGE: Command = Command {
    spec: Spec {
        name: "zrevrange",
        arity: Arity::at_least(4),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "ZREVRANGE key start:int stop:int [WITHSCORES]",
            summary: "Returns the members of a sorted set in a range of ranks, counted from the last one back.",
            since: "1.2.0",
            complexity: COMPLEXITY,
            group: Group::SortedSet,
            status: Status::Deprecated { since: "6.2.0", replaced_by: "`ZRANGE` with the `REV` argument" },
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zrevrange),
    subcommands: &[],
};

fn zrevrange(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    show(cx, args.get(1), &Query::parse(args.from(1), Form::old(By::Rank, true))?, reply)
}

pub(super) const ZRANGEBYSCORE: Command = Command {
    spec: Spec {
        name: "zrangebyscore",
        arity: Arity::at_least(4),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "ZRANGEBYSCORE key min:double max:double [WITHSCORES] [LIMIT offset:int count:int]",
            summary: "Returns the members of a sorted set in a range of scores.",
            since: "1.0.5",
            complexity: COMPLEXITY,
            group: Group::SortedSet,
            status: Status::Deprecated {
                since: "6.2.0",
                replaced_by: "`ZRANGE` with the `BYSCORE` argument",
            },
            history: &[("2.0.0", "`WITHSCORES`.")],
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zrangebyscore),
    subcommands: &[],
};

fn zrangebyscore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    show(cx, args.get(1), &Query::parse(args.from(1), Form::old(By::Score, false))?, reply)
}

pub(super) const ZREVRANGEBYSCORE: Command = Command {
    spec: Spec {
        name: "zrevrangebyscore",
        arity: Arity::at_least(4),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "ZREVRANGEBYSCORE key max:double min:double [WITHSCORES] [LIMIT offset:int count:int]",
            summary: "Returns the members of a sorted set in a range of scores, from the last one back.",
            since: "2.2.0",
            complexity: COMPLEXITY,
            group: Group::SortedSet,
            status: Status::Deprecated {
                since: "6.2.0",
                replaced_by: "`ZRANGE` with the `REV` and `BYSCORE` arguments",
            },
            history: &[("2.1.6", "`min` and `max` may lie outside of the range.")],
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zrevrangebyscore),
    subcommands: &[],
};

fn zrevrangebyscore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    show(cx, args.get(1), &Query::parse(args.from(1), Form::old(By::Score, true))?, reply)
}

pub(super) const ZRANGEBYLEX: Command = Command {
    spec: Spec {
        name: "zrangebylex",
        arity: Arity::at_least(4),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "ZRANGEBYLEX key min max [LIMIT offset:int count:int]",
            summary: "Returns the members of a sorted set, all of which have the same score, between two strings.",
            since: "2.8.9",
            complexity: COMPLEXITY,
            group: Group::SortedSet,
            status: Status::Deprecated { since: "6.2.0", replaced_by: "`ZRANGE` with the `BYLEX` argument" },
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zrangebylex),
    subcommands: &[],
};

fn zrangebylex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    show(cx, args.get(1), &Query::parse(args.from(1), Form::old(By::Lex, false))?, reply)
}

pub(super) const ZREVRANGEBYLEX: Command = Command {
    spec: Spec {
        name: "zrevrangebylex",
        arity: Arity::at_least(4),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "ZREVRANGEBYLEX key max min [LIMIT offset:int count:int]",
            summary: "Returns the members of a sorted set, all of which have the same score, between two strings, from \
                      the last one back.",
            since: "2.8.9",
            complexity: COMPLEXITY,
            group: Group::SortedSet,
            status: Status::Deprecated {
                since: "6.2.0",
                replaced_by: "`ZRANGE` with the `REV` and `BYLEX` arguments",
            },
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zrevrangebylex),
    subcommands: &[],
};

fn zrevrangebylex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    show(cx, args.get(1), &Query::parse(args.from(1), Form::old(By::Lex, true))?, reply)
}

/// What a command's name says already, and what is left to its options.
#[derive(Clone, Copy, Debug)]
struct Form {
    by: Option<By>,
    reverse: Option<bool>,
    /// Scores are always taken along.
    stores: bool,
}

impl Form {
    const ANY: Form = Form { by: None, reverse: None, stores: false };

    fn old(by: By, reverse: bool) -> Form {
        Form { by: Some(by), reverse: Some(reverse), stores: false }
    }
}

/// Which members, in which order, and how they are shown.
struct Query<'a> {
    bounds: Bounds<'a>,
    reverse: bool,
    /// How many members to leave out, and how many to take then; a negative count takes all.
    limit: Option<(i64, i64)>,
    with_scores: bool,
}

impl<'a> Query<'a> {
    /// Reads a key, two ends and options; the key is ignored. The checks come in Redis's order.
    fn parse(args: Args<'a>, form: Form) -> Result<Query<'a>, CommandError> {
        let Form { mut by, mut reverse, stores } = form;
        let (mut limit, mut with_scores) = ((0, -1), false);
        let mut index = 3;
        while index < args.len() {
            if !stores && args.is(index, b"WITHSCORES") {
                with_scores = true;
            } else if args.is(index, b"LIMIT") && index + 2 < args.len() {
                limit = (args.int(index + 1)?, args.int(index + 2)?);
                index += 2;
            } else if reverse.is_none() && args.is(index, b"REV") {
                reverse = Some(true);
            } else if by.is_none() && args.is(index, b"BYLEX") {
                by = Some(By::Lex);
            } else if by.is_none() && args.is(index, b"BYSCORE") {
                by = Some(By::Score);
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        if limit.1 != -1 && by == By::Rank {
            return Err(CommandError::Text(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && by == By::Lex {
            return Err(CommandError::Text(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        // Ends in reverse come the other way round, but those of ranks count from the other end instead.
        let (min, max) = if reverse && by != By::Rank { (2, 1) } else { (1, 2) };
        let bounds = Bounds::parse(by, args, min, max)?;
        Ok(Query { bounds, reverse, limit: (by != By::Rank).then_some(limit), with_scores })
    }

    /// The ranks of the members.
    fn ranks(&self, zset: &ZSet) -> Range<usize> {
        let ranks = self.bounds.ranks(zset, self.reverse);
        match self.limit {
            Some((offset, count)) => limited(ranks, self.reverse, offset, count),
            None => ranks,
        }
    }
}

/// What is left of ranks after an offset, up to a count, from the end on that comes first.
fn limited(ranks: Range<usize>, reverse: bool, offset: i64, count: i64) -> Range<usize> {
    let Some(offset) = usize::try_from(offset).ok().filter(|offset| *offset < ranks.len()) else {
        return 0..0;
    };
    let left = ranks.len() - offset;
    let count = usize::try_from(count).map_or(left, |count| count.min(left));
    if reverse {
        let end = ranks.end - offset;
        end - count..end
    } else {
        let start = ranks.start + offset;
        start..start + count
    }
}

fn show(
    cx: &mut Context<'_>,
    key: &[u8],
    query: &Query<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let Some(zset) = zset_at(cx.read(key))? else {
        reply.array(0);
        return Ok(());
    };
    let ranks = query.ranks(zset);
    let show = Show::with_scores(query.with_scores, reply);
    show.head(reply, ranks.len());
    zset.visit(ranks, query.reverse, |member, score| show.member(reply, member, score));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    /// A reply of these members.
    fn list(members: &str) -> String {
        let members: Vec<&str> = members.split_whitespace().collect();
        let bulks: String = members.iter().map(|member| format!("\n${}\n{member}", member.len())).collect();
        format!("*{}{bulks}", members.len())
    }

    /// Once as a listpack, once in general form.
    fn both_forms() -> [Bench; 2] {
        let mut general = Bench::new();
        general.settings.encodings.zset_max_listpack_entries = 0;
        [Bench::new(), general]
    }

    #[test]
    fn by_rank() {
        for mut bench in both_forms() {
            bench.run("ZADD z 1 a 2 b 3 c 4 d");
            for (rest, expected) in [
                ("0 -1", "a b c d"),
                ("1 2", "b c"),
                ("-2 -1", "c d"),
                ("3 2", ""),
                ("9 10", ""),
                ("0 -1 REV", "d c b a"),
                ("0 1 REV", "d c"),
                ("-1 100 REV", "a"),
                ("0 0 LIMIT 5 -1", "a"),
            ] {
                bench.check(&format!("ZRANGE z {rest}"), &list(expected));
            }
            bench.check("ZREVRANGE z 1 2", &list("c b"));
            bench.check_both("ZREVRANGE z 0 0 WITHSCORES", "*2\n$1\nd\n$1\n4", "*1\n*2\n$1\nd\n,4");
            bench.check("ZRANGE nokey 0 -1", "*0");
        }
    }

    #[test]
    fn by_score() {
        for mut bench in both_forms() {
            bench.run("ZADD z -inf a 1 b 1 c 2.5 d inf e");
            for (rest, expected) in [
                ("-inf +inf", "a b c d e"),
                ("1 2.5", "b c d"),
                ("(1 2.5", "d"),
                ("(1 (2.5", ""),
                ("3 2", ""),
                ("-inf inf LIMIT 1 2", "b c"),
                ("-inf inf LIMIT 3 -1", "d e"),
                ("-inf inf LIMIT 5 1", ""),
                ("-inf inf LIMIT -1 1", ""),
                ("-inf inf LIMIT 0 0", ""),
            ] {
                bench.check(&format!("ZRANGE z {rest} BYSCORE"), &list(expected));
                bench.check(&format!("ZRANGEBYSCORE z {rest}"), &list(expected));
            }
            for (rest, expected) in [
                ("inf -inf", "e d c b a"),
                ("2.5 1", "d c b"),
                ("inf -inf LIMIT 1 2", "d c"),
                ("inf -inf LIMIT 4 9", "a"),
            ] {
                bench.check(&format!("ZRANGE z {rest} BYSCORE REV"), &list(expected));
                bench.check(&format!("ZREVRANGEBYSCORE z {rest}"), &list(expected));
            }
            bench.check_both(
                "ZRANGEBYSCORE z 2 3 WITHSCORES LIMIT 0 5",
                "*2\n$1\nd\n$3\n2.5",
                "*1\n*2\n$1\nd\n,2.5",
            );
        }
    }

    #[test]
    fn by_lex() {
        for mut bench in both_forms() {
            bench.run("ZADD z 0 a 0 b 0 c 0 ca 0 d");
            for (rest, expected) in [
                ("- +", "a b c ca d"),
                ("[b (d", "b c ca"),
                ("(b [d", "c ca d"),
                ("+ -", ""),
                ("[d [b", ""),
                ("- + LIMIT 1 2", "b c"),
            ] {
                bench.check(&format!("ZRANGE z {rest} BYLEX"), &list(expected));
                bench.check(&format!("ZRANGEBYLEX z {rest}"), &list(expected));
            }
            bench.check("ZREVRANGEBYLEX z + [c", &list("d ca c"));
            bench.check("ZRANGE z (d - BYLEX REV LIMIT 1 2", &list("c b"));
        }
    }

    #[test]
    fn errors() {
        let mut bench = Bench::new();
        bench.run("SET k v");
        for (line, expected) in [
            ("ZRANGE k 0 -1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("ZRANGE k a -1", "-ERR value is not an integer or out of range"),
            ("ZRANGE k 0 -1 LIMIT", "-ERR syntax error"),
            ("ZRANGE k 0 -1 LIMIT 0", "-ERR syntax error"),
            ("ZRANGE k 0 -1 LIMIT a 1 BYSCORE", "-ERR value is not an integer or out of range"),
            ("ZRANGE k 0 -1 BYSCORE BYLEX", "-ERR syntax error"),
            ("ZRANGE k a b BYSCORE", "-ERR min or max is not a float"),
            ("ZRANGE k a b BYLEX", "-ERR min or max not valid string range item"),
            (
                "ZRANGE k 0 -1 LIMIT 0 1",
                "-ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ),
            (
                "ZRANGE k - + BYLEX WITHSCORES",
                "-ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ),
            ("ZRANGEBYSCORE k 0 1 REV", "-ERR syntax error"),
            ("ZREVRANGE k 0 1 BYSCORE", "-ERR syntax error"),
            ("ZRANGESTORE d k 0 -1 WITHSCORES", "-ERR syntax error"),
        ] {
            bench.check_changes(line, expected, 0, &[]);
        }
    }

    #[test]
    fn zrangestore() {
        let mut bench = Bench::new();
        bench.run("ZADD z 1 a 2 b 3 c");
        bench.run("SET d v EX 100");
        bench.check_changes("ZRANGESTORE d z 1 -1", ":2", 1, &["z zrangestore d"]);
        bench.check_both(
            "ZRANGE d 0 -1 WITHSCORES",
            "*4\n$1\nb\n$1\n2\n$1\nc\n$1\n3",
            "*2\n*2\n$1\nb\n,2\n*2\n$1\nc\n,3",
        );
        bench.check("TTL d", ":-1");
        bench.check_changes("ZRANGESTORE z z (3 1 BYSCORE REV LIMIT 0 1", ":1", 1, &["z zrangestore z"]);
        bench.check("ZRANGE z 0 -1", &list("b"));
        bench.check_changes("ZRANGESTORE d z 5 6", ":0", 1, &["g del d"]);
        bench.check_changes("ZRANGESTORE d nokey 0 -1", ":0", 0, &[]);
    }

    #[test]
    fn limits_cut_from_the_end_that_comes_first() {
        assert_eq!(limited(2..8, false, 1, 2), 3..5);
        assert_eq!(limited(2..8, true, 1, 2), 5..7);
        assert_eq!(limited(2..8, true, 0, i64::MIN), 2..8);
        assert_eq!(limited(2..8, false, 5, i64::MAX), 7..8);
        assert_eq!(limited(2..8, false, 6, 1), 0..0);
    }
}
