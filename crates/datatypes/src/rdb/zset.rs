//! Sorted sets in RDB bytes.

use super::{Error, Limits, Reader, Writer, code, flat};
use crate::ZSet;
use crate::listpack::Listpack;
use crate::zset::ZSetBuilder;

/// Bytes of a member with its score, at least.
const PAIR_BYTES_MIN: usize = 2;

pub(super) fn type_for(zset: &ZSet, version: u16) -> u8 {
    match zset.as_listpack() {
        Some(_) if version >= code::VERSION_REDIS_7_0 => code::ZSET_LISTPACK,
        _ => code::ZSET_2,
    }
}

pub(super) fn write(zset: &ZSet, kind: u8, writer: &mut Writer<'_>) {
    match (kind, zset.as_listpack()) {
        (code::ZSET_LISTPACK, Some(listpack)) => writer.string(listpack.as_bytes()),
        _ => {
            writer.count(zset.len());
            // From the highest down, as Redis does: so it always inserts before all others when it reads.
            zset.visit(0..zset.len(), true, |member, score| write_member(member, score, writer));
        }
    }
}

pub(super) fn write_member(member: &[u8], score: f64, writer: &mut Writer<'_>) {
    writer.string(member);
    writer.f64(score);
}

pub(super) fn read(kind: u8, reader: &mut Reader<'_>, limits: &Limits) -> Result<ZSet, Error> {
    match kind {
        code::ZSET_LISTPACK => of_listpack(flat::listpack(reader)?, limits),
        code::ZSET_ZIPLIST => of_listpack(flat::ziplist(reader)?, limits),
        _ => {
            let count = reader.count(PAIR_BYTES_MIN)?;
            let mut builder = ZSetBuilder::default();
            for _ in 0..count {
                let member = reader.string()?;
                let score = if kind == code::ZSET { reader.f64_text()? } else { reader.f64()? };
                if score.is_nan() {
                    return Err(Error::Corrupt("a score that is no number"));
                }
                let members_before = builder.len();
                builder.add(&member, |_| score);
                if builder.len() == members_before {
                    return Err(Error::Corrupt("a member twice"));
                }
            }
            Ok(builder.finish(&limits.zset))
        }
    }
}

fn of_listpack(listpack: Listpack, limits: &Limits) -> Result<ZSet, Error> {
    flat::check_distinct(listpack.iter().step_by(2))?;
    ZSet::from_listpack(listpack, &limits.zset).ok_or(Error::Corrupt("a sorted set that is not in order"))
}
