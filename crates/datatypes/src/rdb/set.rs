//! Sets in RDB bytes.

use super::{Error, Limits, Reader, Writer, code, flat};
use crate::Set;
use crate::intset::IntSet;

pub(super) fn type_for(set: &Set, version: u16) -> u8 {
    match (set.as_intset(), set.as_listpack()) {
        (Some(_), _) => code::SET_INTSET,
        (_, Some(_)) if version >= code::VERSION => code::SET_LISTPACK,
        _ => code::SET,
    }
}

pub(super) fn write(set: &Set, kind: u8, writer: &mut Writer<'_>) {
    match (kind, set.as_intset(), set.as_listpack()) {
        (code::SET_INTSET, Some(ints), _) => writer.string(ints.as_bytes()),
        (code::SET_LISTPACK, _, Some(listpack)) => writer.string(listpack.as_bytes()),
        _ => {
            writer.count(set.len());
            set.iter().for_each(|member| writer.item(member));
        }
    }
}

pub(super) fn read(kind: u8, reader: &mut Reader<'_>, limits: &Limits) -> Result<Set, Error> {
    match kind {
        code::SET_INTSET => {
            let ints = IntSet::from_bytes(reader.string()?.into()).ok_or(Error::Corrupt("an intset"))?;
            Ok(Set::from_intset(ints, &limits.set))
        }
        code::SET_LISTPACK => {
            let listpack = flat::listpack(reader)?;
            flat::check_distinct(listpack.iter())?;
            Ok(Set::from_listpack(listpack, &limits.set))
        }
        _ => {
            let count = reader.count(1)?;
            let mut set = Set::default();
            for index in 0..count {
                let member = reader.string()?;
                if index == 0 {
                    set = Set::with_expected(&member, count, &limits.set);
                }
                if !set.add(&member, &limits.set) {
                    return Err(Error::Corrupt("a member twice"));
                }
            }
            Ok(set)
        }
    }
}
