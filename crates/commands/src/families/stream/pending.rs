//! Entries that were delivered and not acknowledged: XACK and XPENDING.

use torc_datatypes::stream::{Group as StreamGroup, Pending, StreamId};
use torc_resp::{Args, CommandError, Reply};

use super::delete::parse_ids;
use super::{changed_in_group, edit, ids, stream_at, write_id};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

/// The error of a command that needs a group.
pub(super) fn no_group(key: &[u8], group: &[u8]) -> CommandError {
    CommandError::quoting(&[b"NOGROUP No such key '", key, b"' or consumer group '", group, b"'"])
}

pub(super) const XACK: Command = Command {
    spec: Spec {
        name: "xack",
        arity: Arity::at_least(4),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_UPDATE)],
        docs: &Docs {
            syntax: "XACK key group id [id ...]",
            summary: "Acknowledges entries that were delivered to a consumer of a group. Replies how many were pending.",
            since: "5.0.0",
            complexity: "O(log N) for each id, with N the number of pending entries",
            group: Group::Stream,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(xack),
    subcommands: &[],
};

fn xack(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let name = args.get(2);
    let mut at = cx.at(args.get(1), cx.reading());
    if stream_at(at.entry())?.and_then(|stream| stream.group(name)).is_none() {
        reply.int(0);
        return Ok(());
    }
    let ids = parse_ids(args, 3)?;
    let acknowledged = edit(&mut at, |stream| {
        stream.edit_group(name, |group, _| ids.into_iter().filter(|&id| group.acknowledge(id)).count())
    });
    let acknowledged = acknowledged.unwrap_or(0);
    changed_in_group(&mut at, acknowledged as u64, None);
    reply.int(acknowledged as i64);
    Ok(())
}

pub(super) const XPENDING: Command = Command {
    spec: Spec {
        name: "xpending",
        arity: Arity::at_least(3),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "XPENDING key group [[IDLE min-idle-time:int] start end count:int [consumer]]",
            summary: "Returns a summary of a group's pending entries, or those between two ids.",
            since: "5.0.0",
            complexity: "O(log N + M) with M the number of pending entries that are looked at; the summary takes O(C) with \
                         C the number of consumers",
            group: Group::Stream,
            history: &[("6.2.0", "The option `IDLE`, and bounds that are excluded.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(xpending),
    subcommands: &[],
};

/// The pending entries that XPENDING asks for.
struct Filter<'a> {
    start: StreamId,
    end: StreamId,
    count_max: usize,
    min_idle_ms: i64,
    consumer: Option<&'a [u8]>,
}

impl<'a> Filter<'a> {
    fn parse(args: Args<'a>) -> Result<Option<Filter<'a>>, CommandError> {
        let count = args.len();
        if count == 3 {
            return Ok(None);
        }
        if !(6..=9).contains(&count) {
            return Err(CommandError::Syntax);
        }
        let (mut index, mut min_idle_ms) = (3, 0);
        if args.is(3, b"IDLE") {
            min_idle_ms = args.int(4)?;
            if count < 8 {
                return Err(CommandError::Syntax);
            }
            index = 5;
        }
        let count_max = usize::try_from(args.int(index + 2)?).unwrap_or(0);
        let start = ids::parse_start(args.get(index))?;
        let end = ids::parse_end(args.get(index + 1))?;
        Ok(Some(Filter { start, end, count_max, min_idle_ms, consumer: args.opt(index + 3) }))
    }
}

fn xpending(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let filter = Filter::parse(args)?;
    let now_ms = cx.now_ms;
    let (key, name) = (args.get(1), args.get(2));
    let stream = stream_at(cx.read(key))?;
    let group = stream.and_then(|stream| stream.group(name)).ok_or_else(|| no_group(key, name))?;
    match filter {
        None => write_summary(reply, group),
        Some(filter) => write_list(reply, group, &filter, now_ms),
    }
    Ok(())
}

fn write_summary(reply: &mut Reply<'_>, group: &StreamGroup) {
    reply.array(4);
    reply.int(group.pending_len() as i64);
    let Some((first, last)) = group.pending_bounds() else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    write_id(reply, first);
    write_id(reply, last);
    let busy = || group.consumers().filter(|consumer| consumer.pending_len() > 0);
    reply.array(busy().count());
    for consumer in busy() {
        reply.array(2);
        reply.bulk(consumer.name());
        reply.bulk_int(consumer.pending_len() as i64);
    }
}

fn write_list(reply: &mut Reply<'_>, group: &StreamGroup, filter: &Filter<'_>, now_ms: i64) {
    let array = reply.deferred_array();
    let mut count = 0;
    let mut write = |(id, pending): (StreamId, Pending)| {
        count += 1;
        reply.array(4);
        write_id(reply, id);
        reply.bulk(group.consumer(pending.consumer).name());
        reply.int(now_ms.wrapping_sub(pending.delivered_ms).max(0));
        reply.int(pending.deliveries as i64);
    };
    let is_idle = |pending: &Pending| {
        filter.min_idle_ms == 0 || now_ms.wrapping_sub(pending.delivered_ms) >= filter.min_idle_ms
    };
    match filter.consumer {
        None => group
            .pending_from(filter.start)
            .take_while(|(id, _)| *id <= filter.end)
            .filter(|(_, pending)| is_idle(pending))
            .take(filter.count_max)
            .for_each(&mut write),
        Some(name) => {
            let consumer = group.find_consumer(name).map(|id| group.consumer(id));
            consumer
                .into_iter()
                .flat_map(|consumer| consumer.pending_from(filter.start))
                .take_while(|id| *id <= filter.end)
                .filter_map(|id| Some((id, group.pending(id)?)))
                .filter(|(_, pending)| is_idle(pending))
                .take(filter.count_max)
                .for_each(&mut write);
        }
    }
    reply.finish(array, count);
}
