//! Lists in RDB bytes.

use super::{Error, Limits, Reader, Writer, code, flat};
use crate::List;
use crate::list::{End, ListBuilder, Part};
use crate::{StrRef, listpack::Listpack};

/// What a node of a quicklist is.
const PLAIN: u64 = 1;
const PACKED: u64 = 2;

pub(super) fn type_for(version: u16) -> u8 {
    if version >= code::VERSION_REDIS_7_0 { code::LIST_QUICKLIST_2 } else { code::LIST }
}

pub(super) fn write(list: &List, kind: u8, writer: &mut Writer<'_>) {
    if kind == code::LIST {
        writer.count(list.len());
        list.iter().for_each(|element| writer.str_ref(element));
        return;
    }
    writer.count(list.parts_len());
    list.for_each_part(|part| write_part(&part, writer));
}

/// A part of a list as a node of a quicklist.
pub(super) fn write_part(part: &Part<'_>, writer: &mut Writer<'_>) {
    match part {
        Part::Packed(listpack) => {
            writer.length(PACKED);
            writer.string(listpack.as_bytes());
        }
        Part::Plain(element) => {
            writer.length(PLAIN);
            writer.shared(element);
        }
    }
}

/// `None`: no elements.
pub(super) fn read(kind: u8, reader: &mut Reader<'_>, limits: &Limits) -> Result<Option<List>, Error> {
    let mut builder = ListBuilder::default();
    match kind {
        code::LIST => {
            let mut list = List::new();
            for _ in 0..reader.count(1)? {
                let element = reader.string()?;
                list.push(End::Back, std::iter::once(StrRef::Bytes(&element)), limits.list);
            }
            return Ok(Some(list).filter(|list| !list.is_empty()));
        }
        code::LIST_ZIPLIST => builder.push_packed(flat::ziplist(reader)?),
        code::LIST_QUICKLIST => {
            for _ in 0..reader.count(1)? {
                builder.push_packed(flat::ziplist(reader)?);
            }
        }
        _ => {
            for _ in 0..reader.count(2)? {
                match reader.length()? {
                    PLAIN => builder.push_plain(reader.string()?.into_owned()),
                    PACKED => builder.push_packed(full(flat::listpack(reader)?)?),
                    _ => return Err(Error::Corrupt("no such kind of list node")),
                }
            }
        }
    }
    Ok(builder.finish(limits.list))
}

/// No server writes a node without elements.
fn full(listpack: Listpack) -> Result<Listpack, Error> {
    if listpack.is_empty() { Err(Error::Corrupt("a list node without elements")) } else { Ok(listpack) }
}
