//! A key as the commands that make it, for servers of any kind.
//!
//! Owns the choice of commands: the oldest ones that can say it, so that all of Redis since 7.0 and Valkey understand them
//! (fields that expire need Redis 7.4 or Valkey 9). Never knows where the commands go.

use torc_datatypes::stream::{Group, Stream, StreamId};
use torc_datatypes::value::{IntText, StrRef};
use torc_datatypes::{Entry, Hash, ValueRef};
use torc_resp::encode_command;
use torc_resp::number::format_f64;

/// Elements in one command.
const ELEMENTS_MAX: usize = 64;

/// Appends the commands that make this key where it is not there, in the selected database.
pub(super) fn write_commands(entry: &Entry, out: &mut Vec<u8>) {
    let key = entry.key();
    match (entry.str_ref(), entry.value()) {
        (Some(string), _) => command(out, &[b"SET", key, &string.to_vec()]),
        (None, Some(ValueRef::List(list))) => {
            in_batches(out, b"RPUSH", key, 1, list.iter().map(|one| [owned(one)]))
        }
        (None, Some(ValueRef::Set(set))) => {
            in_batches(out, b"SADD", key, 1, set.iter().map(|one| [owned(one.into())]))
        }
        (None, Some(ValueRef::ZSet(zset))) => {
            let mut pairs = Vec::with_capacity(zset.len());
            zset.for_each(|member, score| {
                let mut text = Vec::new();
                format_f64(score, &mut text);
                pairs.push([text, member.to_vec()]);
            });
            in_batches(out, b"ZADD", key, 2, pairs.into_iter());
        }
        (None, Some(ValueRef::Hash(hash))) => write_hash(key, hash, out),
        (None, Some(ValueRef::Stream(stream))) => write_stream(key, stream, out),
        _ => unreachable!("a key has a value of a known type"),
    }
    if let Some(at) = entry.expire_at() {
        command(out, &[b"PEXPIREAT", key, at.to_string().as_bytes()]);
    }
}

fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    encode_command(words, out);
}

fn owned(element: StrRef<'_>) -> Vec<u8> {
    element.as_bytes(&mut IntText::new()).to_vec()
}

/// As many elements of `words` words per command as are allowed.
fn in_batches<const N: usize>(
    out: &mut Vec<u8>,
    name: &[u8],
    key: &[u8],
    words: usize,
    elements: impl Iterator<Item = [Vec<u8>; N]>,
) {
    let mut batch: Vec<Vec<u8>> = Vec::new();
    let write = |batch: &mut Vec<Vec<u8>>, out: &mut Vec<u8>| {
        let all: Vec<&[u8]> = [name, key].into_iter().chain(batch.iter().map(Vec::as_slice)).collect();
        command(out, &all);
        batch.clear();
    };
    for element in elements {
        batch.extend(element);
        if batch.len() == ELEMENTS_MAX * words {
            write(&mut batch, out);
        }
    }
    if !batch.is_empty() {
        write(&mut batch, out);
    }
}

fn write_hash(key: &[u8], hash: &Hash, out: &mut Vec<u8>) {
    in_batches(out, b"HSET", key, 2, hash.iter().map(|field| [owned(field.name), owned(field.value)]));
    for field in hash.iter() {
        if let Some(at) = field.expire_at {
            let at = at.to_string();
            command(out, &[b"HPEXPIREAT", key, at.as_bytes(), b"FIELDS", b"1", &owned(field.name)]);
        }
    }
}

fn write_stream(key: &[u8], stream: &Stream, out: &mut Vec<u8>) {
    let log = stream.log();
    for entry in log.range(StreamId::MIN, StreamId::MAX) {
        let id = entry.id.text();
        let mut words: Vec<Vec<u8>> = vec![b"XADD".to_vec(), key.to_vec(), id.as_bytes().to_vec()];
        words.extend(entry.fields.flat_map(|(name, value)| [name.to_vec(), value.to_vec()]));
        command(out, &words.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
    if log.is_empty() {
        // A stream that is there and has nothing in it. No entry can have the id 0-0.
        let id = log.last_id().max(StreamId::new(0, 1)).text();
        command(out, &[b"XADD", key, b"MAXLEN", b"0", id.as_bytes(), b"x", b"y"]);
    }
    let (last, deleted) = (log.last_id().text(), log.max_deleted_id().text());
    let added = log.entries_added().to_string();
    let words: [&[u8]; 7] = [
        b"XSETID",
        key,
        last.as_bytes(),
        b"ENTRIESADDED",
        added.as_bytes(),
        b"MAXDELETEDID",
        deleted.as_bytes(),
    ];
    command(out, &words);
    for (name, group) in stream.groups() {
        write_group(key, name, group, out);
    }
}

fn write_group(key: &[u8], name: &[u8], group: &Group, out: &mut Vec<u8>) {
    let last = group.last_id.text();
    let read = group.entries_read.map_or("-1".to_owned(), |read| read.to_string());
    command(out, &[b"XGROUP", b"CREATE", key, name, last.as_bytes(), b"ENTRIESREAD", read.as_bytes()]);
    for consumer in group.consumers() {
        command(out, &[b"XGROUP", b"CREATECONSUMER", key, name, consumer.name()]);
    }
    for (entry, pending) in group.pending_from(StreamId::MIN) {
        let (id, time) = (entry.text(), pending.delivered_ms.to_string());
        let (count, consumer) = (pending.deliveries.to_string(), group.consumer(pending.consumer).name());
        let words: [&[u8]; 12] = [
            b"XCLAIM",
            key,
            name,
            consumer,
            b"0",
            id.as_bytes(),
            b"TIME",
            time.as_bytes(),
            b"RETRYCOUNT",
            count.as_bytes(),
            b"JUSTID",
            b"FORCE",
        ];
        command(out, &words);
    }
}
