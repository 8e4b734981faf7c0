//! Reading several streams at once: XREAD, and XREADGROUP on behalf of a consumer.

use std::ops::Range;

use smallvec::SmallVec;
use torc_datatypes::Kind;
use torc_datatypes::stream::{ConsumerId, Group as StreamGroup, Log, Pending, StreamId};
use torc_resp::{Args, CommandError, Deferred, OwnedArgs, Proto, Reply};

use super::{GroupTale, changed_in_group, consumer_or_new, edit, ids, stream_at, write_entry, write_id};
use crate::{
    Access, Arity, Begin, Command, Context, Docs, Find, Flags, Group, KeySpec, Run, Spec, Wait, timeout_in_ms,
};

/// Streams of one request whose ids are kept without an allocation.
const STREAMS_INLINE: usize = 8;

/// The first half of what stands behind STREAMS, searched from argument `from` on.
const fn streams(from: i32) -> KeySpec {
    KeySpec {
        begin: Begin::Keyword { word: "STREAMS", from },
        find: Find::Range { last: -1, step: 1, limit: 2 },
        ..KeySpec::at(0, Access::RO_ACCESS)
    }
}

pub(super) const XREAD: Command = Command {
    spec: Spec {
        name: "xread",
        arity: Arity::at_least(4),
        flags: Flags::BLOCKING.and(Flags::READONLY),
        keys: &[streams(1)],
        docs: &Docs {
            syntax: "XREAD [COUNT count:int] [BLOCK milliseconds:int] STREAMS key [key ...] id [id ...]",
            summary: "Returns the entries of several streams that are newer than the given ids, or waits for one.",
            since: "5.0.0",
            complexity: "O(log N + M) for each stream, with M the number of entries returned",
            group: Group::Stream,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::MayWait { handler: xread, waits },
    subcommands: &[],
};

pub(super) const XREADGROUP: Command = Command {
    spec: Spec {
        name: "xreadgroup",
        arity: Arity::at_least(7),
        flags: Flags::BLOCKING.and(Flags::WRITE),
        keys: &[streams(4)],
        docs: &Docs {
            syntax: "XREADGROUP GROUP group consumer [COUNT count:int] [BLOCK milliseconds:int] [NOACK] STREAMS key \
                     [key ...] id [id ...]",
            summary: "Returns entries of several streams to a consumer: those that its group has not got yet, or those \
                      that are pending for it; or waits for one.",
            since: "5.0.0",
            complexity: "O(log N + M) for each stream, with M the number of entries returned",
            group: Group::Stream,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::MayWait { handler: xreadgroup, waits },
    subcommands: &[],
};

/// Whether a request has the option BLOCK.
fn waits(args: Args<'_>) -> bool {
    let mut options = args.iter().take_while(|arg| !arg.eq_ignore_ascii_case(b"STREAMS"));
    options.any(|arg| arg.eq_ignore_ascii_case(b"BLOCK"))
}

fn xread(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let request = Request::parse(cx, args, false)?;
    let mut after: SmallVec<[StreamId; STREAMS_INLINE]> = SmallVec::new();
    for (key, id) in request.streams() {
        let log = stream_at(cx.read(key))?.map(|stream| stream.log());
        let last_id = log.map_or(StreamId::MIN, Log::last_id);
        after.push(match id {
            b"$" => last_id,
            b"+" if log.is_none() => StreamId::MIN,
            b"+" => {
                let nothing = CommandError::Text("ERR the stream last element ID is 0-0");
                last_id.prev().ok_or(nothing)?
            }
            b">" => {
                return Err(CommandError::Text(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> \
                     option.",
                ));
            }
            id => ids::parse(id)?,
        });
    }
    let mut served = Served::default();
    for ((key, _), after) in request.streams().zip(&after) {
        let Some(log) = stream_at(cx.read(key))?.map(|stream| stream.log()) else { continue };
        let Some(start) = after.next().filter(|start| !log.is_empty() && log.newest_id() >= *start) else {
            continue;
        };
        served.begin(reply, key);
        let array = reply.deferred_array();
        let mut count = 0;
        for entry in log.range(start, StreamId::MAX).take(request.count_max) {
            write_entry(reply, entry);
            count += 1;
        }
        reply.finish(array, count);
    }
    // From now on `$` means what it meant at first.
    let wait = || Wait { request: request.with_last_ids(args, &after), ..request.wait() };
    if served.count == 0 && request.block.is_some() && cx.wait(wait()) {
        return Ok(());
    }
    served.finish(reply);
    Ok(())
}

/// What a consumer wants of a stream.
#[derive(Clone, Copy)]
enum Wanted {
    /// Entries that its group has not got yet.
    New,
    /// What is pending for it, from this id on.
    PendingFrom(StreamId),
}

fn xreadgroup(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let request = Request::parse(cx, args, true)?;
    let now_ms = cx.now_ms;
    let mut wanted: SmallVec<[Wanted; STREAMS_INLINE]> = SmallVec::new();
    for (key, id) in request.streams() {
        let stream = stream_at(cx.read(key))?;
        if stream.and_then(|stream| stream.group(request.group)).is_none() {
            return Err(CommandError::quoting(&[
                b"NOGROUP No such key '",
                key,
                b"' or consumer group '",
                request.group,
                b"' in XREADGROUP with GROUP option",
            ]));
        }
        wanted.push(match id {
            b"$" => {
                return Err(CommandError::Text(
                    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this \
                     consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just \
                     return an empty result set.",
                ));
            }
            b"+" => {
                return Err(CommandError::Text(
                    "ERR The + ID is meaningless in the context of XREADGROUP: you want to read the history of this \
                     consumer by specifying a proper ID, or use the > ID to get new messages. The + ID would just \
                     return an empty result set.",
                ));
            }
            b">" => Wanted::New,
            // Contract (Redis 7.2): the largest id means the same as `>`.
            id => ids::parse(id)?.next().map_or(Wanted::New, Wanted::PendingFrom),
        });
    }
    let mut served = Served::default();
    for ((key, _), wanted) in request.streams().zip(wanted) {
        let mut at = cx.at(key, cx.reading());
        let (mut is_new, count_before) = (false, served.count);
        let mut tale = GroupTale::new(&at, request.group, request.consumer);
        let mut position = None;
        edit(&mut at, |stream| {
            stream.edit_group(request.group, |group, log| {
                let consumer = consumer_or_new(group, request.consumer, now_ms, &mut is_new);
                match wanted {
                    Wanted::PendingFrom(start) => {
                        served.begin(reply, key);
                        let show = Delivery { count_max: request.count_max, now_ms };
                        write_pending(reply, group, log, consumer, start, show, &mut tale);
                    }
                    Wanted::New if log.is_empty() || log.newest_id() <= group.last_id => {}
                    Wanted::New => {
                        served.begin(reply, key);
                        let consumer = (!request.no_ack).then_some(consumer);
                        let delivery = Delivery { count_max: request.count_max, now_ms };
                        deliver(reply, group, log, consumer, delivery, &mut tale);
                        position = Some((group.last_id, group.entries_read));
                    }
                }
            })
        });
        tale.tell(&mut at, is_new, position);
        if is_new {
            changed_in_group(&mut at, 1, Some("xgroup-createconsumer"));
        }
        changed_in_group(&mut at, (served.count - count_before) as u64, None);
    }
    // Contract (Redis 7.2): whoever waits gets an error when the group or the stream goes away.
    let wait = || Wait { also_gone: true, ..request.wait() };
    if served.count == 0 && request.block.is_some() && cx.wait(wait()) {
        return Ok(());
    }
    served.finish(reply);
    Ok(())
}

/// How many entries are given to a consumer at most, and when.
#[derive(Clone, Copy)]
struct Delivery {
    count_max: usize,
    now_ms: i64,
}

/// Writes the entries that a group has not got yet, and makes them pending for the consumer, if there is one.
fn deliver(
    reply: &mut Reply<'_>,
    group: &mut StreamGroup,
    log: &Log,
    consumer: Option<ConsumerId>,
    Delivery { count_max, now_ms }: Delivery,
    tale: &mut GroupTale<'_>,
) {
    let array = reply.deferred_array();
    let mut count = 0;
    let start = group.last_id.next().expect("the stream has an entry behind it");
    for entry in log.range(start, StreamId::MAX).take(count_max) {
        group.entries_read = match group.entries_read {
            Some(read) if !log.has_gaps_from(entry.id) => Some(read.wrapping_add(1)),
            read if log.entries_added() == 0 => read,
            _ => log.entries_added_until(entry.id),
        };
        group.last_id = entry.id;
        write_entry(reply, entry);
        if let Some(consumer) = consumer {
            let pending = Pending { consumer, delivered_ms: now_ms, deliveries: 1 };
            group.assign(entry.id, pending);
            tale.assigned(entry.id, pending);
            group.consumer_mut(consumer).active_ms = Some(now_ms);
        }
        count += 1;
    }
    reply.finish(array, count);
}

/// Writes the entries that are pending for a consumer; those that were deleted have no fields.
fn write_pending(
    reply: &mut Reply<'_>,
    group: &mut StreamGroup,
    log: &Log,
    consumer: ConsumerId,
    start: StreamId,
    Delivery { count_max, now_ms }: Delivery,
    tale: &mut GroupTale<'_>,
) {
    let array = reply.deferred_array();
    let mut count = 0;
    group.visit_pending_of(consumer, start, count_max, |id, pending| {
        count += 1;
        match log.get(id) {
            Some(entry) => {
                write_entry(reply, entry);
                pending.delivered_ms = now_ms;
                pending.deliveries = pending.deliveries.wrapping_add(1);
                tale.assigned(id, *pending);
            }
            None => {
                reply.array(2);
                write_id(reply, id);
                reply.null_array();
            }
        }
    });
    reply.finish(array, count);
}

/// The streams that have something to give, as a map in RESP3 and an array of pairs in RESP2.
#[derive(Default)]
struct Served {
    collection: Option<Deferred>,
    count: usize,
}

impl Served {
    fn begin(&mut self, reply: &mut Reply<'_>, key: &[u8]) {
        let is_map = reply.proto() == Proto::Resp3;
        self.collection
            .get_or_insert_with(|| if is_map { reply.deferred_map() } else { reply.deferred_array() });
        if !is_map {
            reply.array(2);
        }
        reply.bulk(key);
        self.count += 1;
    }

    fn finish(self, reply: &mut Reply<'_>) {
        match self.collection {
            Some(collection) => reply.finish(collection, self.count),
            None => reply.null_array(),
        }
    }
}

/// The options of XREAD and XREADGROUP. Without a group its name and the consumer's are empty.
struct Request<'a> {
    keys: Args<'a>,
    ids: Args<'a>,
    /// Which arguments the keys are; the ids stand behind them.
    keys_at: Range<usize>,
    count_max: usize,
    /// To wait for so many milliseconds, or for ever.
    block: Option<Option<u64>>,
    group: &'a [u8],
    consumer: &'a [u8],
    no_ack: bool,
}

impl<'a> Request<'a> {
    fn parse(cx: &Context<'_>, args: Args<'a>, of_group: bool) -> Result<Request<'a>, CommandError> {
        let (mut count_max, mut block, mut no_ack, mut group) = (usize::MAX, None, false, None);
        let mut index = 1;
        loop {
            let more = args.len().saturating_sub(index + 1);
            if more > 0 && args.is(index, b"BLOCK") {
                block = Some(timeout_in_ms(args, index + 1, cx.now_ms)?);
                index += 2;
            } else if more > 0 && args.is(index, b"COUNT") {
                count_max = match args.int(index + 1)? {
                    ..=0 => usize::MAX,
                    count_max => count_max as usize,
                };
                index += 2;
            } else if more > 0 && args.is(index, b"STREAMS") {
                break;
            } else if more > 1 && args.is(index, b"GROUP") {
                if !of_group {
                    return Err(CommandError::Text(
                        "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
                    ));
                }
                group = Some((args.get(index + 1), args.get(index + 2)));
                index += 3;
            } else if index < args.len() && args.is(index, b"NOACK") {
                if !of_group {
                    return Err(CommandError::Text(
                        "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
                    ));
                }
                no_ack = true;
                index += 1;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        let streams = args.from(index + 1);
        if !streams.len().is_multiple_of(2) {
            return Err(CommandError::Text(if of_group {
                "ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be specified."
            } else {
                "ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified."
            }));
        }
        let (group, consumer) = match group {
            None if of_group => {
                return Err(CommandError::Text("ERR Missing GROUP option for XREADGROUP"));
            }
            group => group.unwrap_or_default(),
        };
        let half = streams.len() / 2;
        let keys_at = index + 1..index + 1 + half;
        let (keys, ids) = (streams.range(0..half), streams.from(half));
        Ok(Request { keys, ids, keys_at, count_max, block, group, consumer, no_ack })
    }

    /// Keys and ids.
    fn streams(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.keys.iter().zip(self.ids.iter())
    }

    /// To wait for one of the streams.
    fn wait(&self) -> Wait {
        Wait::new(self.keys_at.clone(), Kind::Stream, self.block.flatten())
    }

    /// The request with these ids in place of each `$`, if there is one.
    fn with_last_ids(&self, args: Args<'_>, last_ids: &[StreamId]) -> Option<OwnedArgs> {
        self.ids.iter().find(|id| *id == b"$")?;
        let mut request = OwnedArgs::new();
        for (index, arg) in args.iter().enumerate() {
            match index.checked_sub(self.keys_at.end) {
                Some(nth) if arg == b"$" => request.push(last_ids[nth].text().as_bytes()),
                _ => request.push(arg),
            }
        }
        Some(request)
    }
}
