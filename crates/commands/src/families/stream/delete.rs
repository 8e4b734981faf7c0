//! Entries that go away, and what is remembered of them: XDEL, XTRIM and XSETID.

use smallvec::SmallVec;
use torc_datatypes::stream::StreamId;
use torc_keyspace::Class;
use torc_resp::{Args, CommandError, Reply};

use super::add::{Options, tell_trimmed};
use super::{changed_in_group, edit, ids, stream_at};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

/// Ids of one request that are kept without an allocation.
const IDS_INLINE: usize = 8;

/// The ids from argument `first` on.
pub(super) fn parse_ids(
    args: Args<'_>,
    first: usize,
) -> Result<SmallVec<[StreamId; IDS_INLINE]>, CommandError> {
    args.iter().skip(first).map(ids::parse).collect()
}

pub(super) const XDEL: Command = Command {
    spec: Spec {
        name: "xdel",
        arity: Arity::at_least(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW.and(Access::DELETE))],
        docs: &Docs {
            syntax: "XDEL key id [id ...]",
            summary: "Deletes entries of a stream. Replies how many there were.",
            since: "5.0.0",
            complexity: "O(1) for each id, however long the stream is",
            group: Group::Stream,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(xdel),
    subcommands: &[],
};

fn xdel(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let mut at = cx.at(args.get(1), cx.writing());
    if stream_at(at.entry())?.is_none() {
        reply.int(0);
        return Ok(());
    }
    let ids = parse_ids(args, 2)?;
    let deleted = edit(&mut at, |stream| {
        let log = stream.log_mut();
        ids.into_iter().filter(|&id| log.delete(id)).count() as u64
    });
    if deleted > 0 {
        at.changed(Class::STREAM, "xdel");
        at.changed_more(deleted - 1);
    }
    reply.int(deleted as i64);
    Ok(())
}

pub(super) const XTRIM: Command = Command {
    spec: Spec {
        name: "xtrim",
        arity: Arity::at_least(4),
        flags: Flags::WRITE,
        keys: &[KeySpec::at(1, Access::RW.and(Access::DELETE))],
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "XTRIM key (MAXLEN | MINID) [= | ~] threshold [LIMIT count:int]",
            summary: "Removes the oldest entries of a stream: those beyond a length, or before an id.",
            since: "5.0.0",
            complexity: "O(N) with N the number of removed entries; whole nodes go away at once",
            group: Group::Stream,
            history: &[("6.2.0", "The options `MINID` and `LIMIT`.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(xtrim),
    subcommands: &[],
};

fn xtrim(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let options = Options::parse(cx, args, false)?;
    let mut at = cx.at(args.get(1), cx.writing());
    let removed = match (stream_at(at.entry())?, options.trim) {
        (Some(_), Some(trim)) => edit(&mut at, |stream| stream.log_mut().trim(trim, options.effort)),
        _ => 0,
    };
    if removed > 0 {
        tell_trimmed(&mut at);
        at.changed(Class::STREAM, "xtrim");
        at.changed_more(removed - 1);
    }
    reply.int(removed as i64);
    Ok(())
}

pub(super) const XSETID: Command = Command {
    spec: Spec {
        name: "xsetid",
        arity: Arity::at_least(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_UPDATE)],
        docs: &Docs {
            syntax: "XSETID key last-id [ENTRIESADDED entries-added:int] [MAXDELETEDID max-deleted-id]",
            summary: "Sets what a stream remembers of its history: the last id, how many entries were added, and the \
                      largest deleted id.",
            since: "5.0.0",
            complexity: "O(1)",
            group: Group::Stream,
            history: &[("7.0.0", "The options `ENTRIESADDED` and `MAXDELETEDID`.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(xsetid),
    subcommands: &[],
};

fn xsetid(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let last_id = ids::parse(args.get(2))?;
    let (mut entries_added, mut max_deleted_id) = (None, StreamId::MIN);
    let mut index = 3;
    while index < args.len() {
        let has_value = index + 1 < args.len();
        if has_value && args.is(index, b"ENTRIESADDED") {
            let negative = CommandError::Text("ERR entries_added must be positive");
            entries_added = Some(u64::try_from(args.int(index + 1)?).map_err(|_| negative)?);
        } else if has_value && args.is(index, b"MAXDELETEDID") {
            max_deleted_id = ids::parse(args.get(index + 1))?;
            if last_id < max_deleted_id {
                return Err(CommandError::Text(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
        } else {
            return Err(CommandError::Syntax);
        }
        index += 2;
    }
    let mut at = cx.at(args.get(1), cx.writing());
    let log = stream_at(at.entry())?.ok_or(CommandError::NoSuchKey)?.log();
    if last_id < log.max_deleted_id() {
        return Err(CommandError::Text(
            "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
        ));
    }
    if !log.is_empty() && last_id < log.newest_id() {
        return Err(CommandError::Text(
            "ERR The ID specified in XSETID is smaller than the target stream top item",
        ));
    }
    if entries_added.is_some_and(|entries_added| entries_added < log.len()) {
        return Err(CommandError::Text(
            "ERR The entries_added specified in XSETID is smaller than the target stream length",
        ));
    }
    edit(&mut at, |stream| {
        let log = stream.log_mut();
        log.set_last_id(last_id);
        if let Some(entries_added) = entries_added {
            log.set_entries_added(entries_added);
        }
        if !max_deleted_id.is_zero() {
            log.set_max_deleted_id(max_deleted_id);
        }
    });
    changed_in_group(&mut at, 1, Some("xsetid"));
    reply.ok();
    Ok(())
}
