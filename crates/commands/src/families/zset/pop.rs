//! Members are taken from the ends: ZPOPMIN, ZPOPMAX and ZMPOP.

use torc_datatypes::value::IntText;
use torc_resp::{Args, CommandError, Proto, Reply};

use super::remove::{take, take_all};
use super::{Show, zset_at};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

const COMPLEXITY: &str =
    "O(M*log(N)) where N is the number of members in the sorted set and M the number of members taken out";

pub(super) const ZPOPMIN: Command = Command {
    spec: Spec {
        name: "zpopmin",
        arity: Arity::at_least(2),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_ACCESS_DELETE)],
        docs: &Docs {
            syntax: "ZPOPMIN key [count:int]",
            summary: "Takes the members with the lowest scores out of a sorted set and returns them.",
            since: "5.0.0",
            complexity: COMPLEXITY,
            group: Group::SortedSet,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zpopmin),
    subcommands: &[],
};

fn zpopmin(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    pop_one_key(cx, args, End::Min, reply)
}

pub(super) const ZPOPMAX: Command = Command {
    spec: Spec {
        name: "zpopmax",
        arity: Arity::at_least(2),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_ACCESS_DELETE)],
        docs: &Docs {
            syntax: "ZPOPMAX key [count:int]",
            summary: "Takes the members with the highest scores out of a sorted set and returns them.",
            since: "5.0.0",
            complexity: COMPLEXITY,
            group: Group::SortedSet,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zpopmax),
    subcommands: &[],
};

fn zpopmax(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    pop_one_key(cx, args, End::Max, reply)
}

fn pop_one_key(
    cx: &mut Context<'_>,
    args: Args<'_>,
    end: End,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let count = match args.len() {
        2 => None,
        3 => {
            let count = args.int(2).ok().and_then(|count| usize::try_from(count).ok());
            Some(count.ok_or(CommandError::NotPositive)?)
        }
        _ => return Err(CommandError::Syntax),
    };
    // Contract (Redis 7.2): RESP3 keeps member and score together where a count is given.
    let show = match (count, reply.proto()) {
        (Some(_), Proto::Resp3) => Show::Nested,
        _ => Show::Flat,
    };
    let popped = pop(cx, args.get(1), end, count.unwrap_or(1), show, reply, |_| {})?;
    if !popped {
        reply.array(0);
    }
    Ok(())
}

pub(super) const ZMPOP: Command = Command {
    spec: Spec {
        name: "zmpop",
        arity: Arity::at_least(4),
        flags: Flags::WRITE,
        keys: &[KeySpec::counted(1, Access::RW_ACCESS_DELETE)],
        docs: &Docs {
            syntax: "ZMPOP numkeys:int key [key ...] (MIN | MAX) [COUNT count:int]",
            summary: "Takes the members with the lowest or highest scores out of the first of several sorted sets that \
                      is not empty, and returns them with its key.",
            since: "7.0.0",
            complexity: "O(K)+O(M*log(N)) where K is the number of keys, N the number of members in the sorted set and \
                         M the number of members taken out",
            group: Group::SortedSet,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zmpop),
    subcommands: &[],
};

fn zmpop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let query = MultiPop::parse(args.from(1))?;
    for key in query.keys.iter() {
        if query.pop(cx, key, reply)? {
            return Ok(());
        }
    }
    reply.null_array();
    Ok(())
}

/// Which end of a sorted set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Min,
    Max,
}

/// What ZMPOP asks for.
#[derive(Debug)]
pub(super) struct MultiPop<'a> {
    pub(super) keys: Args<'a>,
    end: End,
    count: usize,
}

impl<'a> MultiPop<'a> {
    /// Reads the arguments from the number of keys on.
    pub(super) fn parse(args: Args<'a>) -> Result<MultiPop<'a>, CommandError> {
        let numkeys = positive(args, 0, "ERR numkeys should be greater than 0")?;
        let end = numkeys.checked_add(1).and_then(|index| args.opt(index)).ok_or(CommandError::Syntax)?;
        let end = match end {
            word if word.eq_ignore_ascii_case(b"MIN") => End::Min,
            word if word.eq_ignore_ascii_case(b"MAX") => End::Max,
            _ => return Err(CommandError::Syntax),
        };
        let options = args.from(numkeys + 2);
        let count = match options.len() {
            0 => 1,
            2.. if options.is(0, b"COUNT") => positive(options, 1, "ERR count should be greater than 0")?,
            _ => return Err(CommandError::Syntax),
        };
        if options.len() > 2 {
            return Err(CommandError::Syntax);
        }
        Ok(MultiPop { keys: args.range(1..numkeys + 1), end, count })
    }

    /// Pops from a key, and replies; false, and no reply, if there is nothing.
    pub(super) fn pop(
        &self,
        cx: &mut Context<'_>,
        key: &[u8],
        reply: &mut Reply<'_>,
    ) -> Result<bool, CommandError> {
        pop(cx, key, self.end, self.count, Show::Nested, reply, |reply| {
            reply.array(2);
            reply.bulk(key);
        })
    }
}

fn positive(args: Args<'_>, index: usize, otherwise: &'static str) -> Result<usize, CommandError> {
    let number = args.int(index).ok().and_then(|number| usize::try_from(number).ok());
    number.filter(|number| *number > 0).ok_or(CommandError::Text(otherwise))
}

/// Takes up to `count` members from an end and shows them behind what `head` writes; false, and no reply, if there is
/// nothing under the key.
pub(super) fn pop(
    cx: &mut Context<'_>,
    key: &[u8],
    end: End,
    count: usize,
    show: Show,
    reply: &mut Reply<'_>,
    head: impl FnOnce(&mut Reply<'_>),
) -> Result<bool, CommandError> {
    let mut at = cx.at(key, cx.writing());
    let Some(zset) = zset_at(at.entry())? else { return Ok(false) };
    let len = zset.len();
    let count = count.min(len);
    let (ranks, event, effect): (_, _, &[u8]) = match end {
        End::Min => (0..count, "zpopmin", b"ZPOPMIN"),
        End::Max => (len - count..len, "zpopmax", b"ZPOPMAX"),
    };
    head(reply);
    show.head(reply, count);
    zset.visit(ranks.clone(), end == End::Max, |member, score| show.member(reply, member, score));
    at.tell(&[effect, key, IntText::new().format(count as i64).as_bytes()]);
    if count == len {
        take_all(&mut at, event, len);
    } else if count > 0 {
        take(&mut at, event, |zset| {
            zset.remove_ranks(ranks);
            count
        });
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    const SYNTAX: &str = "-ERR syntax error";

    #[test]
    fn one_key() {
        for entries in [0, 128] {
            let mut bench = Bench::new();
            bench.settings.encodings.zset_max_listpack_entries = entries;
            bench.run("ZADD z 1 a 2 b 3 c 4 d 5 e");
            bench.check_both("ZPOPMIN z", "*2\n$1\na\n$1\n1", "*2\n$1\na\n,1");
            bench.check_both(
                "ZPOPMAX z 2",
                "*4\n$1\ne\n$1\n5\n$1\nd\n$1\n4",
                "*2\n*2\n$1\ne\n,5\n*2\n$1\nd\n,4",
            );
            let changes = bench.changes_of(|bench| {
                bench.check("ZPOPMIN z 0", "*0");
            });
            assert_eq!(changes, (0, vec![]));
            let changes = bench.changes_of(|bench| {
                bench.check_both(
                    "ZPOPMIN z 9",
                    "*4\n$1\nb\n$1\n2\n$1\nc\n$1\n3",
                    "*2\n*2\n$1\nb\n,2\n*2\n$1\nc\n,3",
                );
            });
            assert_eq!(changes, (2, vec!["z zpopmin z".into(), "g del z".into()]));
            bench.check("EXISTS z", ":0");
            bench.check("ZPOPMAX z", "*0");
            bench.check("ZPOPMAX z 2", "*0");
        }
        let mut bench = Bench::new();
        bench.run("SET k v");
        bench.check("ZPOPMIN k", WRONG_TYPE);
        bench.check("ZPOPMIN k 0", WRONG_TYPE);
        bench.check("ZPOPMIN k -1", "-ERR value is out of range, must be positive");
        bench.check("ZPOPMIN k x", "-ERR value is out of range, must be positive");
        bench.check("ZPOPMIN k 1 2", SYNTAX);
    }

    #[test]
    fn several_keys() {
        let mut bench = Bench::new();
        bench.run("ZADD z 1 a 2 b 3 c");
        bench.run("SET k v");
        bench.check("ZMPOP 1 nokey MIN", "*-1");
        let changes = bench.changes_of(|bench| {
            bench.check_both(
                "ZMPOP 2 nokey z MAX COUNT 2",
                "*2\n$1\nz\n*2\n*2\n$1\nc\n$1\n3\n*2\n$1\nb\n$1\n2",
                "*2\n$1\nz\n*2\n*2\n$1\nc\n,3\n*2\n$1\nb\n,2",
            );
        });
        assert_eq!(changes, (2, vec!["z zpopmax z".into()]));
        bench.check("ZMPOP 2 k z MIN", WRONG_TYPE);
        for (rest, expected) in [
            ("0 z MIN", "-ERR numkeys should be greater than 0"),
            ("x z MIN", "-ERR numkeys should be greater than 0"),
            ("9223372036854775807 z MIN", SYNTAX),
            ("2 z MIN", SYNTAX),
            ("1 z MID", SYNTAX),
            ("1 z MIN COUNT", SYNTAX),
            ("1 z MIN COUNT 0", "-ERR count should be greater than 0"),
            ("1 z MIN COUNT x", "-ERR count should be greater than 0"),
            ("1 z MIN COUNT 1 COUNT 1", SYNTAX),
            ("1 z MIN foo", SYNTAX),
        ] {
            bench.check_changes(&format!("ZMPOP {rest}"), expected, 0, &[]);
        }
    }
}
