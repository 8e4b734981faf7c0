//! Questions about members and counts: ZCARD, ZSCORE, ZMSCORE, ZRANK, ZREVRANK, ZCOUNT, ZLEXCOUNT and ZSCAN.

use torc_datatypes::{Encoding, Kind};
use torc_resp::{Args, CommandError, Reply, ReplyBuf, number};

use super::bounds::{Bounds, By};
use super::zset_at;
use crate::families::cursor::{ScanOptions, parse_cursor, write_head};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

pub(super) const ZCARD: Command = Command {
    spec: Spec {
        name: "zcard",
        arity: Arity::exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO)],
        docs: &Docs {
            syntax: "ZCARD key",
            summary: "Returns how many members a sorted set has.",
            since: "1.2.0",
            complexity: "O(1)",
            group: Group::SortedSet,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zcard),
    subcommands: &[],
};

fn zcard(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let zset = zset_at(cx.read(args.get(1)))?;
    reply.int(zset.map_or(0, |zset| zset.len()) as i64);
    Ok(())
}

pub(super) const ZSCORE: Command = Command {
    spec: Spec {
        name: "zscore",
        arity: Arity::exactly(3),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "ZSCORE key member",
            summary: "Returns the score of a member of a sorted set.",
            since: "1.2.0",
            complexity: "O(1)",
            group: Group::SortedSet,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zscore),
    subcommands: &[],
};

fn zscore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let zset = zset_at(cx.read(args.get(1)))?;
    write_score(reply, zset.and_then(|zset| zset.score(args.get(2))));
    Ok(())
}

fn write_score(reply: &mut Reply<'_>, score: Option<f64>) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

pub(super) const ZMSCORE: Command = Command {
    spec: Spec {
        name: "zmscore",
        arity: Arity::at_least(3),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "ZMSCORE key member [member ...]",
            summary: "Returns the scores of several members of a sorted set.",
            since: "6.2.0",
            complexity: "O(N) where N is the number of members asked for",
            group: Group::SortedSet,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zmscore),
    subcommands: &[],
};

fn zmscore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let zset = zset_at(cx.read(args.get(1)))?;
    let members = args.from(2);
    reply.array(members.len());
    for member in members.iter() {
        write_score(reply, zset.and_then(|zset| zset.score(member)));
    }
    Ok(())
}

pub(super) const ZRANK: Command = Command {
    spec: Spec {
        name: "zrank",
        arity: Arity::at_least(3),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "ZRANK key member [WITHSCORE]",
            summary: "Returns how many members of a sorted set come before one.",
            since: "2.0.0",
            complexity: "O(log(N)) where N is the number of members in the sorted set",
            group: Group::SortedSet,
            history: &[("7.2.0", "`WITHSCORE`.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zrank),
    subcommands: &[],
};

fn zrank(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    rank(cx, args, false, reply)
}

pub(super) const ZREVRANK: Command = Command {
    spec: Spec {
        name: "zrevrank",
        arity: Arity::at_least(3),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "ZREVRANK key member [WITHSCORE]",
            summary: "Returns how many members of a sorted set come behind one.",
            since: "2.0.0",
            complexity: "O(log(N)) where N is the number of members in the sorted set",
            group: Group::SortedSet,
            history: &[("7.2.0", "`WITHSCORE`.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zrevrank),
    subcommands: &[],
};

fn zrevrank(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    rank(cx, args, true, reply)
}

fn rank(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reverse: bool,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let with_score = match args.len() {
        3 => false,
        4 if args.is(3, b"WITHSCORE") => true,
        4 => return Err(CommandError::Syntax),
        _ => return Err(CommandError::WrongArity(if reverse { "zrevrank" } else { "zrank" })),
    };
    let zset = zset_at(cx.read(args.get(1)))?;
    let found = zset.and_then(|zset| {
        let (rank, score) = zset.rank(args.get(2))?;
        Some((if reverse { zset.len() - 1 - rank } else { rank }, score))
    });
    match (found, with_score) {
        (Some((rank, _)), false) => reply.int(rank as i64),
        (Some((rank, score)), true) => {
            reply.array(2);
            reply.int(rank as i64);
            reply.double(score);
        }
        (None, false) => reply.null(),
        (None, true) => reply.null_array(),
    }
    Ok(())
}

pub(super) const ZCOUNT: Command = Command {
    spec: Spec {
        name: "zcount",
        arity: Arity::exactly(4),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "ZCOUNT key min:double max:double",
            summary: "Returns how many members of a sorted set have a score in a range.",
            since: "2.0.0",
            complexity: "O(log(N)) where N is the number of members in the sorted set",
            group: Group::SortedSet,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zcount),
    subcommands: &[],
};

fn zcount(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    count(cx, args, By::Score, reply)
}

pub(super) const ZLEXCOUNT: Command = Command {
    spec: Spec {
        name: "zlexcount",
        arity: Arity::exactly(4),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "ZLEXCOUNT key min max",
            summary: "Returns how many members of a sorted set, all of which have the same score, lie between two strings.",
            since: "2.8.9",
            complexity: "O(log(N)) where N is the number of members in the sorted set",
            group: Group::SortedSet,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zlexcount),
    subcommands: &[],
};

fn zlexcount(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    count(cx, args, By::Lex, reply)
}

fn count(cx: &mut Context<'_>, args: Args<'_>, by: By, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let bounds = Bounds::parse(by, args, 2, 3)?;
    let zset = zset_at(cx.read(args.get(1)))?;
    reply.int(zset.map_or(0, |zset| bounds.ranks(zset, false).len()) as i64);
    Ok(())
}

pub(super) const ZSCAN: Command = Command {
    spec: Spec {
        name: "zscan",
        arity: Arity::at_least(3),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "ZSCAN key cursor:int [MATCH pattern:pattern] [COUNT count:int] [NOSCORES]",
            summary: "Walks over the members of a sorted set and their scores, a few per call. Start with cursor 0 and \
                      pass the cursor of each reply on, until it is 0 again.",
            since: "2.8.0",
            complexity: "O(1) per call, O(N) for the whole walk where N is the number of members",
            group: Group::SortedSet,
            history: &[("8.0.0", "`NOSCORES`.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(zscan),
    subcommands: &[],
};

fn zscan(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let cursor = parse_cursor(args.get(2))?;
    let Some(zset) = zset_at(cx.read(args.get(1)))? else {
        write_head(reply, 0, 0);
        return Ok(());
    };
    let options = ScanOptions::parse(args, 3, Some(Kind::ZSet))?;
    let mut members = ReplyBuf::new();
    let mut found = 0;
    let mut list = Reply::new(&mut members, reply.proto());
    let mut text = Vec::new();
    // Contract (Redis 7.2): scores are bulks in both protocols, and those of a big sorted set have 17 digits.
    let format = match zset.encoding() {
        Encoding::Skiplist => number::format_f64_17_digits,
        _ => number::format_f64,
    };
    let next = zset.scan(cursor, options.count, |member, score| {
        if !options.matches(member) {
            return;
        }
        found += 1;
        list.bulk(member);
        if !options.no_values {
            text.clear();
            format(score, &mut text);
            list.bulk(&text);
            found += 1;
        }
    });
    write_head(reply, next, found);
    reply.buf().append(&members);
    Ok(())
}
