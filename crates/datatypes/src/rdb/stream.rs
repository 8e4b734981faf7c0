//! Streams in RDB bytes: nodes, what is remembered of entries that are gone, groups with their pending entries.

use super::{Error, Reader, Writer, code};
use crate::Stream;
use crate::stream::{Consumer, ENTRY_BYTES_MAX, Group, Log, Node, Pending, RestPart, StreamId};

const ID_BYTES: usize = 16;
/// Bytes of a pending entry of a group, at least: id, time, count.
const PENDING_BYTES_MIN: usize = ID_BYTES + 8 + 1;
/// A count that is not known, and a time that never was.
const UNKNOWN: u64 = u64::MAX;
const NEVER: i64 = -1;

pub(super) fn type_for(version: u16) -> u8 {
    match version {
        code::VERSION.. => code::STREAM_LISTPACKS_3,
        code::VERSION_REDIS_7_0 => code::STREAM_LISTPACKS_2,
        _ => code::STREAM_LISTPACKS,
    }
}

pub(super) fn write(stream: &Stream, kind: u8, writer: &mut Writer<'_>) {
    let log = stream.log();
    writer.count(log.nodes().len());
    log.nodes().for_each(|(id, node)| write_node(id, node, writer));
    write_behind_nodes(stream, kind, writer);
}

pub(super) fn write_node(id: StreamId, node: &Node, writer: &mut Writer<'_>) {
    writer.string(&id_bytes(id));
    writer.string(node.as_bytes());
}

/// Everything that stands behind the nodes.
fn write_behind_nodes(stream: &Stream, kind: u8, writer: &mut Writer<'_>) {
    write_head(stream, kind, writer);
    for (name, group) in stream.groups() {
        write_group(name, group, kind, writer);
    }
}

/// What stands between the nodes and the groups.
pub(super) fn write_head(stream: &Stream, kind: u8, writer: &mut Writer<'_>) {
    let log = stream.log();
    writer.length(log.len());
    write_id(log.last_id(), writer);
    if kind != code::STREAM_LISTPACKS {
        write_id(log.first_id(), writer);
        write_id(log.max_deleted_id(), writer);
        writer.length(log.entries_added());
    }
    writer.count(stream.groups().len());
}

fn write_group(name: &[u8], group: &Group, kind: u8, writer: &mut Writer<'_>) {
    let mut write = |part| write_rest_part(part, kind, writer);
    let Group { last_id, entries_read, .. } = *group;
    write(RestPart::Group { name, last_id, entries_read, pending_len: group.pending_len() });
    for (id, Pending { delivered_ms, deliveries, .. }) in group.pending_from(StreamId::MIN) {
        write(RestPart::Pending { id, delivered_ms, deliveries });
    }
    write(RestPart::Consumers(group.consumers_len()));
    for consumer in group.consumers() {
        let Consumer { seen_ms, active_ms, .. } = *consumer;
        let (name, pending_len) = (consumer.name(), consumer.pending_len());
        write(RestPart::Consumer { name, seen_ms, active_ms, pending_len });
        consumer.pending_from(StreamId::MIN).for_each(|id| write(RestPart::Id(id)));
    }
}

pub(super) fn write_rest_part(part: RestPart<'_>, kind: u8, writer: &mut Writer<'_>) {
    match part {
        RestPart::Head(bytes) => writer.bytes(bytes),
        RestPart::Group { name, last_id, entries_read, pending_len } => {
            writer.string(name);
            write_id(last_id, writer);
            if kind != code::STREAM_LISTPACKS {
                writer.length(entries_read.unwrap_or(UNKNOWN));
            }
            writer.count(pending_len);
        }
        RestPart::Pending { id, delivered_ms, deliveries } => {
            writer.bytes(&id_bytes(id));
            writer.i64(delivered_ms);
            writer.length(deliveries);
        }
        RestPart::Consumers(count) => writer.count(count),
        RestPart::Consumer { name, seen_ms, active_ms, pending_len } => {
            writer.string(name);
            writer.i64(seen_ms);
            if kind == code::STREAM_LISTPACKS_3 {
                writer.i64(active_ms.unwrap_or(NEVER));
            }
            writer.count(pending_len);
        }
        RestPart::Id(id) => writer.bytes(&id_bytes(id)),
    }
}

fn id_bytes(id: StreamId) -> [u8; ID_BYTES] {
    (u128::from(id.ms) << 64 | u128::from(id.seq)).to_be_bytes()
}

/// An id as two lengths.
fn write_id(id: StreamId, writer: &mut Writer<'_>) {
    writer.length(id.ms);
    writer.length(id.seq);
}

pub(super) fn read(kind: u8, reader: &mut Reader<'_>) -> Result<Stream, Error> {
    let mut stream = Stream::from_log(read_log(kind, reader)?);
    for _ in 0..reader.count(1)? {
        read_group(kind, reader, &mut stream)?;
    }
    Ok(stream)
}

fn read_log(kind: u8, reader: &mut Reader<'_>) -> Result<Log, Error> {
    let mut nodes = Vec::new();
    for _ in 0..reader.count(1)? {
        let id = id_of(&reader.string()?)?;
        let bytes = reader.string()?;
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(Error::Corrupt("a stream node that is too long"));
        }
        let node = Node::from_bytes(bytes.into()).ok_or(Error::Corrupt("a stream node"))?;
        nodes.push((id, node));
    }
    let mut log = Log::from_nodes(nodes).ok_or(Error::Corrupt("ids of a stream that do not ascend"))?;
    if reader.length()? != log.len() {
        return Err(Error::Corrupt("the length of a stream"));
    }
    let last_id = read_id(reader)?;
    if last_id < log.last_id() {
        return Err(Error::Corrupt("a stream's last id that is not the last"));
    }
    log.set_last_id(last_id);
    if kind != code::STREAM_LISTPACKS {
        let _first_id = read_id(reader)?;
        log.set_max_deleted_id(read_id(reader)?);
        let entries_added = reader.length()?;
        if entries_added < log.len() {
            return Err(Error::Corrupt("a stream with more entries than were added"));
        }
        log.set_entries_added(entries_added);
    }
    Ok(log)
}

fn read_group(kind: u8, reader: &mut Reader<'_>, stream: &mut Stream) -> Result<(), Error> {
    let name = reader.string()?;
    let last_id = read_id(reader)?;
    let entries_read = match kind {
        code::STREAM_LISTPACKS => stream.log().entries_added_until(last_id),
        _ => Some(reader.length()?).filter(|read| *read != UNKNOWN),
    };
    if !stream.add_group(&name, last_id, entries_read) {
        return Err(Error::Corrupt("a consumer group twice"));
    }
    // Who has them is told later.
    let mut deliveries = Vec::new();
    for _ in 0..reader.count(PENDING_BYTES_MIN)? {
        let id = id_of(reader.bytes(ID_BYTES)?)?;
        deliveries.push((id, reader.i64()?, reader.length()?));
    }
    if !deliveries.is_sorted_by(|(id, ..), (next, ..)| id < next) {
        return Err(Error::Corrupt("pending entries that do not ascend"));
    }
    let read_consumers = |group: &mut Group, _: &Log| {
        for _ in 0..reader.count(1)? {
            read_consumer(kind, reader, group, &deliveries)?;
        }
        if group.pending_len() != deliveries.len() {
            return Err(Error::Corrupt("a pending entry that no consumer has"));
        }
        Ok(())
    };
    stream.edit_group(&name, read_consumers).expect("the group was just added")
}

fn read_consumer(
    kind: u8,
    reader: &mut Reader<'_>,
    group: &mut Group,
    deliveries: &[(StreamId, i64, u64)],
) -> Result<(), Error> {
    let name = reader.string()?;
    if group.find_consumer(&name).is_some() {
        return Err(Error::Corrupt("a consumer twice"));
    }
    let seen_ms = reader.i64()?;
    let consumer = group.add_consumer(&name, seen_ms);
    let active_ms = if kind == code::STREAM_LISTPACKS_3 { reader.i64()? } else { seen_ms };
    group.consumer_mut(consumer).active_ms = (active_ms >= 0).then_some(active_ms);
    for _ in 0..reader.count(ID_BYTES)? {
        let id = id_of(reader.bytes(ID_BYTES)?)?;
        let found = deliveries.binary_search_by_key(&id, |(id, ..)| *id);
        let (_, delivered_ms, deliveries) =
            deliveries[found.map_err(|_| Error::Corrupt("a pending entry that its group does not know"))?];
        if group.pending(id).is_some() {
            return Err(Error::Corrupt("a pending entry that two consumers have"));
        }
        group.assign(id, Pending { consumer, delivered_ms, deliveries });
    }
    Ok(())
}

fn id_of(bytes: &[u8]) -> Result<StreamId, Error> {
    let bytes = bytes.try_into().map_err(|_| Error::Corrupt("a stream id"))?;
    let both = u128::from_be_bytes(bytes);
    Ok(StreamId::new((both >> 64) as u64, both as u64))
}

fn read_id(reader: &mut Reader<'_>) -> Result<StreamId, Error> {
    Ok(StreamId::new(reader.length()?, reader.length()?))
}
