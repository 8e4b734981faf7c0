//! Entries in the order of their ids: XRANGE, XREVRANGE and XLEN.

use torc_resp::{Args, CommandError, Reply};

use super::{ids, stream_at, stream_of, write_entry};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

pub(super) const XLEN: Command = Command {
    spec: Spec {
        name: "xlen",
        arity: Arity::exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO)],
        docs: &Docs {
            syntax: "XLEN key",
            summary: "Returns the number of entries in a stream.",
            since: "5.0.0",
            complexity: "O(1)",
            group: Group::Stream,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(xlen),
    subcommands: &[],
};

fn xlen(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let stream = stream_at(cx.read(args.get(1)))?;
    reply.int(stream.map_or(0, |stream| stream.log().len() as i64));
    Ok(())
}

pub(super) const XRANGE: Command = Command {
    spec: Spec {
        name: "xrange",
        arity: Arity::at_least(4),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "XRANGE key start end [COUNT count:int]",
            summary: "Returns the entries of a stream between two ids.",
            since: "5.0.0",
            complexity: "O(log N + M) with M the number of entries returned",
            group: Group::Stream,
            history: &[("6.2.0", "Bounds that are excluded.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(xrange),
    subcommands: &[],
};

pub(super) const XREVRANGE: Command = Command {
    spec: Spec {
        name: "xrevrange",
        arity: Arity::at_least(4),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "XREVRANGE key end start [COUNT count:int]",
            summary: "Returns the entries of a stream between two ids, the newest ones first.",
            since: "5.0.0",
            complexity: "O(log N + M) with M the number of entries returned",
            group: Group::Stream,
            history: &[("6.2.0", "Bounds that are excluded.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(xrevrange),
    subcommands: &[],
};

fn xrange(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    range(cx, args, reply, false)
}

fn xrevrange(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    range(cx, args, reply, true)
}

fn range(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    backwards: bool,
) -> Result<(), CommandError> {
    let (start, end) = if backwards { (3, 2) } else { (2, 3) };
    let start = ids::parse_start(args.get(start))?;
    let end = ids::parse_end(args.get(end))?;
    let mut count_max = None;
    for index in (4..args.len()).step_by(2) {
        if !args.is(index, b"COUNT") || index + 1 == args.len() {
            return Err(CommandError::Syntax);
        }
        count_max = Some(args.int(index + 1)?);
    }
    let Some(entry) = cx.read(args.get(1)) else {
        reply.array(0);
        return Ok(());
    };
    let log = stream_of(entry)?.log();
    let count_max = match count_max {
        // Contract (Redis 7.2): no array, and not an empty one, unless the key is missing.
        Some(..=0) => {
            reply.null_array();
            return Ok(());
        }
        Some(count_max) => count_max as usize,
        None => usize::MAX,
    };
    let array = reply.deferred_array();
    let mut count = 0;
    let mut write = |entry| {
        write_entry(reply, entry);
        count += 1;
    };
    if backwards {
        log.range_rev(start, end).take(count_max).for_each(&mut write);
    } else {
        log.range(start, end).take(count_max).for_each(&mut write);
    }
    reply.finish(array, count);
    Ok(())
}
