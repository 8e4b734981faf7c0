//! Digests of data: the same content gives the same digest, in whatever order and encoding it lies in memory. They are
//! torc's own and cannot be compared with those of Redis.

use std::hash::{DefaultHasher, Hasher};

use crate::stream::{Stream, StreamId};
use crate::value::IntText;
use crate::{Entry, Hash, List, Set, ValueRef, ZSet};

/// 160 bits, as in Redis; digests of a set of things are combined by XOR, so that their order does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest([u64; 3]);

impl Digest {
    pub fn of(parts: &[&[u8]]) -> Digest {
        Digest([1u64, 2, 3].map(|seed| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(seed);
            for part in parts {
                hasher.write_usize(part.len());
                hasher.write(part);
            }
            hasher.finish()
        }))
    }

    /// The digest of a value at this time: of its type, its content and its expiry.
    pub fn of_value(entry: &Entry, now_ms: i64) -> Digest {
        let expiry = entry.expire_at().map_or([0; 8], i64::to_le_bytes);
        let content = match (entry.str_ref(), entry.value()) {
            (Some(string), _) => string.to_vec(),
            (None, Some(ValueRef::List(list))) => of_list(list).bytes(),
            (None, Some(ValueRef::Set(set))) => of_set(set).bytes(),
            (None, Some(ValueRef::Hash(hash))) => of_hash(hash, now_ms).bytes(),
            (None, Some(ValueRef::Stream(stream))) => of_stream(stream).bytes(),
            (None, Some(ValueRef::ZSet(zset))) => of_zset(zset).bytes(),
            _ => Vec::new(),
        };
        Digest::of(&[entry.kind().name().as_bytes(), &content, &expiry])
    }

    pub fn combine(self, other: Digest) -> Digest {
        Digest([self.0[0] ^ other.0[0], self.0[1] ^ other.0[1], self.0[2] ^ other.0[2]])
    }

    pub fn bytes(self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    pub fn hex(self) -> String {
        format!("{:016x}{:016x}{:08x}", self.0[0], self.0[1], self.0[2] as u32)
    }
}

/// Whatever the nodes are.
fn of_list(list: &List) -> Digest {
    let mut text = IntText::new();
    list.iter()
        .fold(Digest::default(), |sum, element| Digest::of(&[&sum.bytes(), element.as_bytes(&mut text)]))
}

/// In whatever order the members lie.
fn of_set(set: &Set) -> Digest {
    let mut text = IntText::new();
    set.iter().fold(Digest::default(), |sum, member| sum.combine(Digest::of(&[member.as_bytes(&mut text)])))
}

/// In whatever order the fields lie; those that have expired do not count.
fn of_hash(hash: &Hash, now_ms: i64) -> Digest {
    let (mut name, mut value) = (IntText::new(), IntText::new());
    hash.live(now_ms).fold(Digest::default(), |sum, field| {
        let expiry = field.expire_at.map_or([0; 8], i64::to_le_bytes);
        let parts = [field.name.as_bytes(&mut name), field.value.as_bytes(&mut value), &expiry];
        sum.combine(Digest::of(&parts))
    })
}

/// Entries and history, and all that groups know but when it happened.
fn of_stream(stream: &Stream) -> Digest {
    let log = stream.log();
    let id = |id: StreamId| id.text();
    let mut sum = Digest::of(&[
        id(log.last_id()).as_bytes(),
        id(log.max_deleted_id()).as_bytes(),
        &log.entries_added().to_le_bytes(),
    ]);
    for entry in log.range(StreamId::MIN, StreamId::MAX) {
        let fields: Vec<Vec<u8>> =
            entry.fields.flat_map(|(name, value)| [name.to_vec(), value.to_vec()]).collect();
        let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
        sum = sum.combine(Digest::of(&[id(entry.id).as_bytes(), &Digest::of(&fields).bytes()]));
    }
    for (name, group) in stream.groups() {
        let read = group.entries_read.map_or([0xff; 8], u64::to_le_bytes);
        sum = sum.combine(Digest::of(&[name, id(group.last_id).as_bytes(), &read]));
        for consumer in group.consumers() {
            sum = sum.combine(Digest::of(&[name, consumer.name()]));
        }
        for (entry, pending) in group.pending_from(StreamId::MIN) {
            let consumer = group.consumer(pending.consumer).name();
            let deliveries = pending.deliveries.to_le_bytes();
            sum = sum.combine(Digest::of(&[name, id(entry).as_bytes(), consumer, &deliveries]));
        }
    }
    sum
}

/// Zero has no sign: a compact sorted set does not keep it.
fn of_zset(zset: &ZSet) -> Digest {
    let mut sum = Digest::default();
    zset.for_each(|member, score| {
        sum = sum.combine(Digest::of(&[member, &(score + 0.0).to_le_bytes()]));
    });
    sum
}
