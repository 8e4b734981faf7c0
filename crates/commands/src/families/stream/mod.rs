//! STREAM: the family's list, and what its files share.
//!
//! Owns how a stream is found at a key and how its entries are written to a reply. Never parses options.

mod add;
mod claim;
mod delete;
mod group;
mod ids;
mod info;
mod pending;
mod range;
mod read;
#[cfg(test)]
mod tests;

use torc_datatypes::listpack::Item;
use torc_datatypes::stream::{
    ConsumerId, Entry as StreamEntry, Group, NodeLimits, Pending, Stream, StreamId,
};
use torc_datatypes::value::IntText;
use torc_datatypes::{Entry, ValueMut, ValueRef};
use torc_keyspace::{At, Class};
use torc_resp::{CommandError, Reply};

use crate::{Command, Context};

pub(super) const COMMANDS: &[Command] = &[
    add::XADD,
    delete::XDEL,
    delete::XTRIM,
    delete::XSETID,
    range::XLEN,
    range::XRANGE,
    range::XREVRANGE,
    read::XREAD,
    read::XREADGROUP,
    pending::XACK,
    pending::XPENDING,
    claim::XCLAIM,
    claim::XAUTOCLAIM,
    group::XGROUP,
    info::XINFO,
];

/// The stream that a live entry holds.
fn stream_of(entry: &Entry) -> Result<&Stream, CommandError> {
    match entry.value() {
        Some(ValueRef::Stream(stream)) => Ok(stream),
        _ => Err(CommandError::WrongType),
    }
}

/// The stream at a key's place, or `None` if there is nothing.
fn stream_at(entry: Option<&Entry>) -> Result<Option<&Stream>, CommandError> {
    entry.map(stream_of).transpose()
}

/// Lends the stream at a place for change; there must be one.
fn edit<R>(at: &mut At<'_>, change: impl FnOnce(&mut Stream) -> R) -> R {
    let mut entry = at.entry_mut().expect("a stream was found here");
    match entry.value_mut() {
        Some(ValueMut::Stream(stream)) => change(stream),
        _ => unreachable!("the type was checked"),
    }
}

fn node_limits(cx: &Context<'_>) -> NodeLimits {
    let encodings = &cx.settings.encodings;
    NodeLimits { max_bytes: encodings.stream_node_max_bytes, max_entries: encodings.stream_node_max_entries }
}

/// The number of a consumer, which is added (and told) if the group does not know it yet.
fn consumer_or_new(group: &mut Group, name: &[u8], now_ms: i64, is_new: &mut bool) -> ConsumerId {
    let id = group.find_consumer(name).unwrap_or_else(|| {
        *is_new = true;
        group.add_consumer(name, now_ms)
    });
    group.consumer_mut(id).seen_ms = now_ms;
    id
}

/// Counts changes that WATCH is not told of, as in Redis: what happens inside a group changes no entry.
fn changed_in_group(at: &mut At<'_>, changes: u64, event: Option<&'static str>) {
    at.changed_more(changes);
    if let Some(event) = event {
        at.event(Class::STREAM, event);
    }
}

/// What happened to pending entries of a group, to be told as effects.
struct GroupTale<'a> {
    key: &'a [u8],
    group: &'a [u8],
    consumer: &'a [u8],
    is_wanted: bool,
    /// What became pending for the consumer, in order.
    assigned: Vec<(StreamId, Pending)>,
    /// What is pending no more.
    acknowledged: Vec<StreamId>,
}

impl<'a> GroupTale<'a> {
    fn new(at: &At<'a>, group: &'a [u8], consumer: &'a [u8]) -> GroupTale<'a> {
        let (key, is_wanted) = (at.key_bytes(), at.tells());
        GroupTale { key, group, consumer, is_wanted, assigned: Vec::new(), acknowledged: Vec::new() }
    }

    fn assigned(&mut self, id: StreamId, pending: Pending) {
        if self.is_wanted {
            self.assigned.push((id, pending));
        }
    }

    fn acknowledged(&mut self, id: StreamId) {
        if self.is_wanted {
            self.acknowledged.push(id);
        }
    }

    /// Tells it: XACK, and XCLAIM for each run of entries with the same time and count; and in front of them the consumer, if
    /// it is new. `position`: the group's last id has moved too.
    fn tell(self, at: &mut At<'_>, is_new: bool, position: Option<(StreamId, Option<u64>)>) {
        if !self.is_wanted {
            return;
        }
        let GroupTale { key, group, consumer, assigned, acknowledged, .. } = self;
        let number = |number: i64| IntText::new().format(number).as_bytes().to_vec();
        if is_new {
            at.tell_subcommand(&[b"XGROUP", b"CREATECONSUMER", key, group, consumer]);
        }
        if !acknowledged.is_empty() {
            let ids: Vec<_> = acknowledged.iter().map(|id| id.text()).collect();
            at.tell_with(&[b"XACK", key, group], ids.iter().map(|id| id.as_bytes()));
        }
        for run in assigned
            .chunk_by(|(_, a), (_, b)| (a.delivered_ms, a.deliveries) == (b.delivered_ms, b.deliveries))
        {
            let ids: Vec<_> = run.iter().map(|(id, _)| id.text()).collect();
            let (time, count) = (number(run[0].1.delivered_ms), number(run[0].1.deliveries as i64));
            let options = [&b"TIME"[..], &time, b"RETRYCOUNT", &count, b"FORCE", b"JUSTID"];
            let ids = ids.iter().map(|id| id.as_bytes());
            at.tell_with(&[b"XCLAIM", key, group, consumer, b"0"], ids.chain(options));
        }
        if let Some((last_id, read)) = position {
            let read = number(read.map_or(-1, |read| read as i64));
            let last_id = last_id.text();
            let words = [&b"XGROUP"[..], b"SETID", key, group, last_id.as_bytes(), b"ENTRIESREAD", &read[..]];
            at.tell_subcommand(&words);
        }
    }
}

fn write_id(reply: &mut Reply<'_>, id: StreamId) {
    reply.bulk(id.text().as_bytes());
}

fn write_item(reply: &mut Reply<'_>, item: Item<'_>) {
    match item {
        Item::Bytes(bytes) => reply.bulk(bytes),
        Item::Int(int) => reply.bulk_int(int),
    }
}

/// An entry: its id, and an array of names and values.
fn write_entry(reply: &mut Reply<'_>, entry: StreamEntry<'_>) {
    reply.array(2);
    write_id(reply, entry.id);
    reply.array(2 * entry.fields.len());
    for (name, value) in entry.fields {
        write_item(reply, name);
        write_item(reply, value);
    }
}
