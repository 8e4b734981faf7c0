//! Reading several streams at once: XREAD, and XREADGROUP on behalf of a consumer.

use smallvec::SmallVec;
use torc_datatypes::stream::{ConsumerId, Group as StreamGroup, Log, Pending, StreamId};
use torc_resp::{Args, CommandError, Deferred, Proto, Reply};

use super::{changed_in_group, consumer_or_new, edit, ids, stream_at, write_entry, write_id};
use crate::{Access, Arity, Begin, Command, Context, Docs, Find, Flags, Group, KeySpec, Run, Spec};

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
    run: Run::OnShard(xread),
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
    run: Run::OnShard(xreadgroup),
    subcommands: &[],
};

fn xread(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let request = Request::parse(cx, args, false)?;
    let mut starts: SmallVec<[Option<StreamId>; STREAMS_INLINE]> = SmallVec::new();
    for (key, id) in request.streams() {
        let log = stream_at(cx.read(key))?.map(|stream| stream.log());
        let last_id = log.map_or(StreamId::MIN, Log::last_id);
        let after = match id {
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
        };
        starts.push(after.next());
    }
    let mut served = Served::default();
    for ((key, _), start) in request.streams().zip(starts) {
        let Some(log) = stream_at(cx.read(key))?.map(|stream| stream.log()) else { continue };
        let Some(start) = start.filter(|start| log.newest_id() >= *start && !log.is_empty()) else {
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
        edit(&mut at, |stream| {
            stream.edit_group(request.group, |group, log| {
                let consumer = consumer_or_new(group, request.consumer, now_ms, &mut is_new);
                match wanted {
                    Wanted::PendingFrom(start) => {
                        served.begin(reply, key);
                        write_pending(reply, group, log, consumer, start, request.count_max, now_ms);
                    }
                    Wanted::New if log.is_empty() || log.newest_id() <= group.last_id => {}
                    Wanted::New => {
                        served.begin(reply, key);
                        let consumer = (!request.no_ack).then_some(consumer);
                        deliver(reply, group, log, consumer, request.count_max, now_ms);
                    }
                }
            })
        });
        if is_new {
            changed_in_group(&mut at, 1, Some("xgroup-createconsumer"));
        }
        changed_in_group(&mut at, (served.count - count_before) as u64, None);
    }
    served.finish(reply);
    Ok(())
}

/// Writes the entries that a group has not got yet, and makes them pending for the consumer, if there is one.
fn deliver(
    reply: &mut Reply<'_>,
    group: &mut StreamGroup,
    log: &Log,
    consumer: Option<ConsumerId>,
    count_max: usize,
    now_ms: i64,
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
            group.assign(entry.id, Pending { consumer, delivered_ms: now_ms, deliveries: 1 });
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
    count_max: usize,
    now_ms: i64,
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
    count_max: usize,
    group: &'a [u8],
    consumer: &'a [u8],
    no_ack: bool,
}

impl<'a> Request<'a> {
    fn parse(cx: &Context<'_>, args: Args<'a>, of_group: bool) -> Result<Request<'a>, CommandError> {
        let (mut count_max, mut no_ack, mut group) = (usize::MAX, false, None);
        let mut index = 1;
        loop {
            let more = args.len().saturating_sub(index + 1);
            if more > 0 && args.is(index, b"BLOCK") {
                block_ms(args.get(index + 1), cx.now_ms)?;
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
        Ok(Request {
            keys: streams.range(0..half),
            ids: streams.from(half),
            count_max,
            group,
            consumer,
            no_ack,
        })
    }

    /// Keys and ids.
    fn streams(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.keys.iter().zip(self.ids.iter())
    }
}

/// How long to wait, in milliseconds; 0 is forever.
fn block_ms(text: &[u8], now_ms: i64) -> Result<i64, CommandError> {
    let not_integer = CommandError::Text("ERR timeout is not an integer or out of range");
    let timeout_ms = torc_resp::number::parse_i64(text).ok_or(not_integer)?;
    if timeout_ms < 0 {
        return Err(CommandError::NegativeTimeout);
    }
    match timeout_ms.checked_add(now_ms) {
        Some(_) => Ok(timeout_ms),
        None => Err(CommandError::Text("ERR timeout is out of range")),
    }
}
