//! XINFO: what streams, groups and consumers are like.

use torc_datatypes::stream::{Group as StreamGroup, Stream, StreamId};
use torc_resp::{Args, CommandError, Reply};

use super::group::{no_group_of_key, wrong_subcommand};
use super::{stream_of, write_entry, write_id};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

pub(super) const XINFO: Command = Command {
    spec: Spec {
        name: "xinfo",
        arity: Arity::at_least(2),
        docs: &Docs {
            syntax: "XINFO",
            summary: "Tells what streams, consumer groups and consumers are like.",
            since: "5.0.0",
            complexity: "Depends on the subcommand.",
            group: Group::Stream,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::Container,
    subcommands: &[CONSUMERS, GROUPS, HELP, STREAM],
};

const CONSUMERS: Command = Command {
    spec: Spec {
        name: "consumers",
        arity: Arity::exactly(4),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(2, Access::RO_ACCESS)],
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "XINFO CONSUMERS key group",
            summary: "Returns the consumers of a group.",
            since: "5.0.0",
            complexity: "O(N) with N the number of consumers",
            group: Group::Stream,
            history: &[("7.2.0", "The field `inactive`; `idle` counts from the last attempt.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(consumers),
    subcommands: &[],
};

fn consumers(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let now_ms = cx.now_ms;
    let stream = find(cx, args)?;
    let group = stream.group(args.get(3)).ok_or_else(|| no_group_of_key(args))?;
    reply.array(group.consumers_len());
    for consumer in group.consumers() {
        reply.map(4);
        reply.bulk(b"name");
        reply.bulk(consumer.name());
        reply.bulk(b"pending");
        reply.int(consumer.pending_len() as i64);
        reply.bulk(b"idle");
        reply.int((now_ms - consumer.seen_ms).max(0));
        reply.bulk(b"inactive");
        reply.int(consumer.active_ms.map_or(-1, |active_ms| now_ms - active_ms));
    }
    Ok(())
}

const GROUPS: Command = Command {
    spec: Spec {
        name: "groups",
        arity: Arity::exactly(3),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(2, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "XINFO GROUPS key",
            summary: "Returns the consumer groups of a stream.",
            since: "5.0.0",
            complexity: "O(N) with N the number of groups",
            group: Group::Stream,
            history: &[("7.0.0", "The fields `entries-read` and `lag`.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(groups),
    subcommands: &[],
};

fn groups(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let stream = find(cx, args)?;
    let groups = stream.groups();
    reply.array(groups.len());
    for (name, group) in groups {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(name);
        reply.bulk(b"consumers");
        reply.int(group.consumers_len() as i64);
        reply.bulk(b"pending");
        reply.int(group.pending_len() as i64);
        write_progress(reply, stream, group);
    }
    Ok(())
}

const STREAM: Command = Command {
    spec: Spec {
        name: "stream",
        arity: Arity::at_least(3),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(2, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "XINFO STREAM key [FULL [COUNT count:int]]",
            summary: "Returns what a stream is like, with FULL also its entries, groups and consumers.",
            since: "5.0.0",
            complexity: "O(1), with FULL O(N) with N the number of entries, groups and consumers shown",
            group: Group::Stream,
            history: &[
                ("6.0.0", "The option `FULL`."),
                (
                    "7.0.0",
                    "The fields `max-deleted-entry-id`, `entries-added`, `recorded-first-entry-id`, `entries-read` and \
                     `lag`.",
                ),
                ("7.2.0", "The field `active-time`; `seen-time` is that of the last attempt."),
            ],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(stream),
    subcommands: &[],
};

/// Entries and pending entries that FULL shows at most unless told otherwise.
const FULL_COUNT_DEFAULT: i64 = 10;

fn stream(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let stream = find(cx, args)?;
    let count_max = match args.len() {
        3 => None,
        4 if args.is(3, b"FULL") => Some(FULL_COUNT_DEFAULT),
        6 if args.is(3, b"FULL") && args.is(4, b"COUNT") => match args.int(5)? {
            ..0 => Some(FULL_COUNT_DEFAULT),
            count => Some(count),
        },
        _ => return Err(wrong_subcommand(args)),
    };
    let log = stream.log();
    reply.map(if count_max.is_some() { 9 } else { 10 });
    reply.bulk(b"length");
    reply.int(log.len() as i64);
    reply.bulk(b"radix-tree-keys");
    reply.int(log.node_count() as i64);
    reply.bulk(b"radix-tree-nodes");
    reply.int(log.radix_node_count() as i64);
    reply.bulk(b"last-generated-id");
    write_id(reply, log.last_id());
    reply.bulk(b"max-deleted-entry-id");
    write_id(reply, log.max_deleted_id());
    reply.bulk(b"entries-added");
    reply.int(log.entries_added() as i64);
    reply.bulk(b"recorded-first-entry-id");
    write_id(reply, log.first_id());
    match count_max {
        Some(0) => write_full(reply, stream, usize::MAX),
        Some(count_max) => write_full(reply, stream, count_max as usize),
        None => write_ends(reply, stream),
    }
    Ok(())
}

fn write_ends(reply: &mut Reply<'_>, stream: &Stream) {
    reply.bulk(b"groups");
    reply.int(stream.groups().len() as i64);
    let log = stream.log();
    let first = log.range(StreamId::MIN, StreamId::MAX).next();
    let last = log.range_rev(StreamId::MIN, StreamId::MAX).next();
    for (name, entry) in [("first-entry", first), ("last-entry", last)] {
        reply.bulk(name.as_bytes());
        match entry {
            Some(entry) => write_entry(reply, entry),
            None => reply.null(),
        }
    }
}

fn write_full(reply: &mut Reply<'_>, stream: &Stream, count_max: usize) {
    reply.bulk(b"entries");
    let log = stream.log();
    reply.array(usize::try_from(log.len()).unwrap_or(usize::MAX).min(count_max));
    log.range(StreamId::MIN, StreamId::MAX).take(count_max).for_each(|entry| write_entry(reply, entry));
    reply.bulk(b"groups");
    let groups = stream.groups();
    reply.array(groups.len());
    for (name, group) in groups {
        reply.map(7);
        reply.bulk(b"name");
        reply.bulk(name);
        write_progress(reply, stream, group);
        reply.bulk(b"pel-count");
        reply.int(group.pending_len() as i64);
        reply.bulk(b"pending");
        reply.array(group.pending_len().min(count_max));
        for (id, pending) in group.pending_from(StreamId::MIN).take(count_max) {
            reply.array(4);
            write_id(reply, id);
            reply.bulk(group.consumer(pending.consumer).name());
            reply.int(pending.delivered_ms);
            reply.int(pending.deliveries as i64);
        }
        write_consumers(reply, group, count_max);
    }
}

fn write_consumers(reply: &mut Reply<'_>, group: &StreamGroup, count_max: usize) {
    reply.bulk(b"consumers");
    reply.array(group.consumers_len());
    for consumer in group.consumers() {
        reply.map(5);
        reply.bulk(b"name");
        reply.bulk(consumer.name());
        reply.bulk(b"seen-time");
        reply.int(consumer.seen_ms);
        reply.bulk(b"active-time");
        reply.int(consumer.active_ms.unwrap_or(-1));
        reply.bulk(b"pel-count");
        reply.int(consumer.pending_len() as i64);
        reply.bulk(b"pending");
        reply.array(consumer.pending_len().min(count_max));
        for id in consumer.pending_from(StreamId::MIN).take(count_max) {
            let pending = group.pending(id).expect("pending entries of a consumer are the group's too");
            reply.array(3);
            write_id(reply, id);
            reply.int(pending.delivered_ms);
            reply.int(pending.deliveries as i64);
        }
    }
}

/// How far a group has read: its last id, its count of entries and what it lags behind.
fn write_progress(reply: &mut Reply<'_>, stream: &Stream, group: &StreamGroup) {
    reply.bulk(b"last-delivered-id");
    write_id(reply, group.last_id);
    for (name, number) in [("entries-read", group.entries_read), ("lag", stream.lag(group))] {
        reply.bulk(name.as_bytes());
        match number {
            Some(number) => reply.int(number as i64),
            None => reply.null(),
        }
    }
}

const HELP: Command = Command {
    spec: Spec {
        name: "help",
        arity: Arity::exactly(2),
        flags: Flags::LOADING.and(Flags::STALE),
        docs: &Docs {
            syntax: "XINFO HELP",
            summary: "Replies what the subcommands do.",
            since: "5.0.0",
            group: Group::Stream,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(help),
    subcommands: &[],
};

fn help(_cx: &mut Context<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    const LINES: [&str; 9] = [
        "XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CONSUMERS <key> <groupname>",
        "    Consumers of a group.",
        "GROUPS <key>",
        "    Consumer groups of a stream.",
        "STREAM <key> [FULL [COUNT <count>]]",
        "    What the stream is like.",
        "HELP",
        "    These lines.",
    ];
    reply.array(LINES.len());
    LINES.into_iter().for_each(|line| reply.simple(line));
    Ok(())
}

/// The stream of argument 2.
fn find<'c>(cx: &'c mut Context<'_>, args: Args<'_>) -> Result<&'c Stream, CommandError> {
    cx.read(args.get(2)).ok_or(CommandError::NoSuchKey).and_then(stream_of)
}
