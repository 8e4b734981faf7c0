//! Writing the record of a huge value bit by bit, as it was when that began.
//!
//! Owns the order of a record's parts over several slices, and how much a slice may write. What the value does to stay as
//! it was is its own affair ([`crate::saving`]).

use super::{Writer, hash, list, record, stream, zset};
use crate::{Entry, ValueMut, ValueRef};

#[cfg(test)]
mod tests;

/// Elements (or nodes of a list or stream, or parts of its groups) that one slice writes at most.
const SLICE_PARTS_MAX: usize = 1024;
/// Bytes that one slice packs at most, but for the element that passes this; strings that are packed later do not count.
const SLICE_PACKED_BYTES: usize = 16 * 1024;
/// Bytes that one slice writes at most, but for the element that passes this.
const SLICE_BYTES: usize = 64 * 1024;

/// A record that is being written.
#[derive(Debug)]
pub struct Sliced {
    kind: u8,
    /// Elements or nodes that are still to be written: so many were promised at the beginning of the record.
    left: usize,
}

/// What is left of a slice.
struct Allowance {
    parts: usize,
    packed: usize,
    len: usize,
}

impl Sliced {
    /// Begins the record of an entry with a huge value ([`ValueRef::is_huge`]), which is kept as it is now until the record is
    /// written, for servers that read this RDB version; returns the one that a reader must know for it, too.
    pub fn begin(entry: &mut Entry, version: u16, writer: &mut Writer<'_>) -> (Sliced, u16) {
        let (kind, version) = record::begin(entry, version, writer);
        let mut value = entry.value_mut().expect("strings are saved at once");
        let left = match value.as_ref() {
            ValueRef::List(list) => list.parts_len(),
            ValueRef::Set(set) => set.len(),
            ValueRef::ZSet(zset) => zset.len(),
            ValueRef::Hash(hash) => hash.len(),
            ValueRef::Stream(stream) => stream.log().node_count(),
            ValueRef::Str(_) => unreachable!("strings are saved at once"),
        };
        writer.count(left);
        value.parts_mut().expect("a huge value has parts").begin_save();
        if let ValueMut::Stream(stream) = value {
            let mut head = Vec::new();
            stream::write_head(stream, kind, &mut Writer::new(&mut head, false));
            stream.keep_head(head);
        }
        (Sliced { kind, left }, version)
    }

    /// Goes on with the record; true while there is more to write.
    ///
    /// Panics if the value is not as many parts as the record promises: nobody could read the file.
    pub fn go_on(&mut self, value: &mut ValueMut<'_>, writer: &mut Writer<'_>) -> bool {
        let allowance = Allowance {
            parts: SLICE_PARTS_MAX,
            packed: writer.packed_bytes() + SLICE_PACKED_BYTES,
            len: writer.len() + SLICE_BYTES,
        };
        self.go_on_for(allowance, value, writer)
    }

    fn go_on_for(
        &mut self,
        mut allowance: Allowance,
        value: &mut ValueMut<'_>,
        writer: &mut Writer<'_>,
    ) -> bool {
        let Sliced { kind, left } = self;
        let mut wrote = |writer: &Writer<'_>| {
            *left = left.checked_sub(1).expect("no more parts than were promised");
            allowance.lasts(writer)
        };
        let more = match value {
            ValueMut::List(list) => list.save_some(|part| {
                list::write_part(&part, writer);
                wrote(writer)
            }),
            ValueMut::Set(set) => set.save_some(|member| {
                writer.item(member);
                wrote(writer)
            }),
            ValueMut::ZSet(zset) => zset.save_some(|member, score| {
                zset::write_member(member, score, writer);
                wrote(writer)
            }),
            ValueMut::Hash(hash) => hash.save_some(|field| {
                hash::write_field(&field, *kind, writer);
                wrote(writer)
            }),
            ValueMut::Stream(stream) => {
                let more = stream.log_mut().save_nodes(|id, node| {
                    stream::write_node(id, node, writer);
                    wrote(writer)
                });
                more || stream.save_rest(|part| {
                    stream::write_rest_part(part, *kind, writer);
                    allowance.lasts(writer)
                })
            }
            ValueMut::Str(_) => unreachable!("strings are saved at once"),
        };
        assert!(more || *left == 0, "{left} parts of a value that was being saved are missing");
        more
    }
}

impl Allowance {
    /// A part more was written: is there something left?
    fn lasts(&mut self, writer: &Writer<'_>) -> bool {
        self.parts -= 1;
        self.parts > 0 && writer.packed_bytes() < self.packed && writer.len() < self.len
    }
}
