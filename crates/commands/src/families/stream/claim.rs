//! Pending entries that change their consumer: XCLAIM and XAUTOCLAIM.

use smallvec::SmallVec;
use torc_datatypes::stream::{ConsumerId, Group as StreamGroup, Log, Pending, StreamId};
use torc_resp::{Args, CommandError, Reply, number};

use super::pending::no_group;
use super::{GroupTale, changed_in_group, consumer_or_new, edit, ids, stream_at, write_entry, write_id};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, REPLAY_MS, Run, Spec};

pub(super) const XCLAIM: Command = Command {
    spec: Spec {
        name: "xclaim",
        arity: Arity::at_least(6),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_UPDATE)],
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms:int] \
                     [TIME unix-time-milliseconds:unix-time] [RETRYCOUNT count:int] [FORCE] [JUSTID] [LASTID lastid]",
            summary: "Makes a consumer the owner of pending entries, as if they had been delivered to it.",
            since: "5.0.0",
            complexity: "O(log N) for each id, with N the number of pending entries",
            group: Group::Stream,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(xclaim),
    subcommands: &[],
};

/// What XCLAIM is asked to do.
struct Claim {
    ids: SmallVec<[StreamId; 8]>,
    min_idle_ms: i64,
    delivered_ms: i64,
    deliveries: Option<u64>,
    force: bool,
    just_ids: bool,
    last_id: StreamId,
}

impl Claim {
    fn parse(args: Args<'_>, now_ms: i64) -> Result<Claim, CommandError> {
        let int = |index: usize, error: &'static str| {
            number::parse_i64(args.get(index)).ok_or(CommandError::Text(error))
        };
        let min_idle_ms = int(4, "ERR Invalid min-idle-time argument for XCLAIM")?.max(0);
        let ids: SmallVec<[StreamId; 8]> = args.iter().skip(5).map_while(|id| ids::parse(id).ok()).collect();
        let mut index = 5 + ids.len();
        let mut claim = Claim {
            ids,
            min_idle_ms,
            delivered_ms: now_ms,
            deliveries: None,
            force: false,
            just_ids: false,
            last_id: StreamId::MIN,
        };
        while index < args.len() {
            let has_value = index + 1 < args.len();
            index += 1;
            if args.is(index - 1, b"FORCE") {
                claim.force = true;
                continue;
            } else if args.is(index - 1, b"JUSTID") {
                claim.just_ids = true;
                continue;
            } else if has_value && args.is(index - 1, b"IDLE") {
                let idle_ms = int(index, "ERR Invalid IDLE option argument for XCLAIM")?;
                claim.delivered_ms = now_ms.wrapping_sub(idle_ms);
            } else if has_value && args.is(index - 1, b"TIME") {
                claim.delivered_ms = int(index, "ERR Invalid TIME option argument for XCLAIM")?;
            } else if has_value && args.is(index - 1, b"RETRYCOUNT") {
                let deliveries = int(index, "ERR Invalid RETRYCOUNT option argument for XCLAIM")?;
                claim.deliveries = u64::try_from(deliveries).ok();
            } else if has_value && args.is(index - 1, b"LASTID") {
                claim.last_id = ids::parse(args.get(index))?;
            } else {
                let option = args.get(index - 1);
                return Err(CommandError::quoting(&[b"ERR Unrecognized XCLAIM option '", option, b"'"]));
            }
            index += 1;
        }
        // Contract (Redis 7.2): a time that cannot be is now; clocks of clients may be ahead.
        if now_ms != REPLAY_MS && !(0..=now_ms).contains(&claim.delivered_ms) {
            claim.delivered_ms = now_ms;
        }
        Ok(claim)
    }
}

fn xclaim(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let now_ms = cx.now_ms;
    let (key, name) = (args.get(1), args.get(2));
    let mut at = cx.at(key, cx.reading());
    if stream_at(at.entry())?.and_then(|stream| stream.group(name)).is_none() {
        return Err(no_group(key, name));
    }
    let claim = Claim::parse(args, now_ms)?;
    let (mut is_new, mut changes) = (false, 0);
    let mut tale = GroupTale::new(&at, name, args.get(3));
    let mut position = None;
    let array = reply.deferred_array();
    let mut count = 0;
    // When a log is replayed it is as late as the effect says.
    let now_ms = if now_ms == REPLAY_MS { claim.delivered_ms } else { now_ms };
    edit(&mut at, |stream| {
        stream.edit_group(name, |group, log| {
            let moves_on = claim.last_id > group.last_id;
            if moves_on {
                group.last_id = claim.last_id;
                position = Some((group.last_id, group.entries_read));
            }
            let consumer = consumer_or_new(group, args.get(3), now_ms, &mut is_new);
            for &id in &claim.ids {
                let Some(entry) = log.get(id) else {
                    if group.acknowledge(id) {
                        tale.acknowledged(id);
                        changes += 1;
                    }
                    continue;
                };
                let deliveries = match group.pending(id) {
                    Some(pending) if is_too_fresh(&pending, claim.min_idle_ms, now_ms) => continue,
                    Some(pending) => pending.deliveries,
                    None if claim.force => 1,
                    None => continue,
                };
                let more = deliveries.wrapping_add(u64::from(!claim.just_ids));
                let deliveries = claim.deliveries.unwrap_or(more);
                let pending = Pending { consumer, delivered_ms: claim.delivered_ms, deliveries };
                group.assign(id, pending);
                tale.assigned(id, pending);
                group.consumer_mut(consumer).active_ms = Some(now_ms);
                if claim.just_ids {
                    write_id(reply, id);
                } else {
                    write_entry(reply, entry);
                }
                count += 1;
                changes += 1;
            }
            // The new last id of the group is a change unless it goes along with one.
            changes += u64::from(moves_on && changes == 0);
        })
    });
    reply.finish(array, count);
    tale.tell(&mut at, is_new, position);
    if is_new {
        changed_in_group(&mut at, 1, Some("xgroup-createconsumer"));
    }
    changed_in_group(&mut at, changes, None);
    Ok(())
}

fn is_too_fresh(pending: &Pending, min_idle_ms: i64, now_ms: i64) -> bool {
    min_idle_ms > 0 && now_ms.wrapping_sub(pending.delivered_ms) < min_idle_ms
}

pub(super) const XAUTOCLAIM: Command = Command {
    spec: Spec {
        name: "xautoclaim",
        arity: Arity::at_least(6),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW.and(Access::DELETE))],
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "XAUTOCLAIM key group consumer min-idle-time start [COUNT count:int] [JUSTID]",
            summary: "Makes a consumer the owner of entries that are pending for long, as if they had been delivered to \
                      it.",
            since: "6.2.0",
            complexity: "O(log N) for each of at most ten times COUNT pending entries that are looked at",
            group: Group::Stream,
            history: &[(
                "7.0.0",
                "A third element of the reply: the entries that were deleted from the stream.",
            )],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(xautoclaim),
    subcommands: &[],
};

/// Entries that XAUTOCLAIM claims at most unless told otherwise.
const CLAIMED_DEFAULT: i64 = 100;
/// Pending entries that it looks at for each that it may claim.
const LOOKS_FACTOR: i64 = 10;
/// Largest COUNT: Redis keeps so many ids of 16 bytes.
const CLAIMED_MAX: i64 = i64::MAX / 16;

/// What XAUTOCLAIM is asked to do.
struct AutoClaim {
    min_idle_ms: i64,
    start: StreamId,
    count_max: i64,
    just_ids: bool,
}

impl AutoClaim {
    fn parse(args: Args<'_>) -> Result<AutoClaim, CommandError> {
        let invalid = CommandError::Text("ERR Invalid min-idle-time argument for XAUTOCLAIM");
        let min_idle_ms = number::parse_i64(args.get(4)).ok_or(invalid)?.max(0);
        let start = ids::parse_start(args.get(5))?;
        let mut claim = AutoClaim { min_idle_ms, start, count_max: CLAIMED_DEFAULT, just_ids: false };
        let mut index = 6;
        while index < args.len() {
            if args.is(index, b"COUNT") && index + 1 < args.len() {
                let count = number::parse_i64(args.get(index + 1));
                let count = count.filter(|count| (1..=CLAIMED_MAX).contains(count));
                claim.count_max = count.ok_or(CommandError::Text("ERR COUNT must be > 0"))?;
                index += 2;
            } else if args.is(index, b"JUSTID") {
                claim.just_ids = true;
                index += 1;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(claim)
    }

    /// Claims for the consumer what is pending for long enough, and drops what is in the stream no more.
    fn run(
        &self,
        group: &mut StreamGroup,
        log: &Log,
        consumer: ConsumerId,
        now_ms: i64,
        tale: &mut GroupTale<'_>,
    ) -> Found {
        let mut found = Found::default();
        let (mut left, mut looks) = (self.count_max, self.count_max * LOOKS_FACTOR);
        let mut from = Some(self.start);
        let next = |group: &StreamGroup, from: Option<StreamId>| group.pending_from(from?).next();
        while left > 0
            && looks > 0
            && let Some((id, pending)) = next(group, from)
        {
            looks -= 1;
            from = id.next();
            if log.get(id).is_none() {
                group.acknowledge(id);
                tale.acknowledged(id);
                found.deleted.push(id);
            } else if is_too_fresh(&pending, self.min_idle_ms, now_ms) {
                continue;
            } else {
                let deliveries = pending.deliveries.wrapping_add(u64::from(!self.just_ids));
                let pending = Pending { consumer, delivered_ms: now_ms, deliveries };
                group.assign(id, pending);
                tale.assigned(id, pending);
                group.consumer_mut(consumer).active_ms = Some(now_ms);
                found.claimed.push(id);
            }
            left -= 1;
        }
        found.next = next(group, from).map_or(StreamId::MIN, |(id, _)| id);
        found
    }
}

/// What XAUTOCLAIM found.
#[derive(Default)]
struct Found {
    claimed: SmallVec<[StreamId; 8]>,
    deleted: SmallVec<[StreamId; 8]>,
    /// Where to go on; `0-0` at the end.
    next: StreamId,
}

fn xautoclaim(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let now_ms = cx.now_ms;
    let claim = AutoClaim::parse(args)?;
    let (key, name) = (args.get(1), args.get(2));
    let mut at = cx.at(key, cx.reading());
    if stream_at(at.entry())?.and_then(|stream| stream.group(name)).is_none() {
        return Err(no_group(key, name));
    }
    let (mut is_new, mut changes) = (false, 0);
    let mut tale = GroupTale::new(&at, name, args.get(3));
    edit(&mut at, |stream| {
        stream.edit_group(name, |group, log| {
            let consumer = consumer_or_new(group, args.get(3), now_ms, &mut is_new);
            let found = claim.run(group, log, consumer, now_ms, &mut tale);
            changes = (found.claimed.len() + found.deleted.len()) as u64;
            reply.array(3);
            write_id(reply, found.next);
            reply.array(found.claimed.len());
            for id in found.claimed {
                match log.get(id) {
                    Some(entry) if !claim.just_ids => write_entry(reply, entry),
                    _ => write_id(reply, id),
                }
            }
            reply.array(found.deleted.len());
            found.deleted.into_iter().for_each(|id| write_id(reply, id));
        })
    });
    tale.tell(&mut at, is_new, None);
    if is_new {
        changed_in_group(&mut at, 1, Some("xgroup-createconsumer"));
    }
    changed_in_group(&mut at, changes, None);
    Ok(())
}
