//! Flat encodings as parts of several types: a listpack or ziplist of unknown origin, and what must hold of it.
//!
//! Owns that listpacks hold integers as integers, on which every comparison of elements stands. Never knows types of values.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{Error, Reader, ziplist};
use crate::element_hash;
use crate::listpack::{Item, LISTPACK_BYTES_MAX, Listpack};

/// A string that is a listpack.
pub(super) fn listpack(reader: &mut Reader<'_>) -> Result<Listpack, Error> {
    listpack_of(reader.string()?)
}

pub(super) fn listpack_of(bytes: Cow<'_, [u8]>) -> Result<Listpack, Error> {
    if bytes.len() > LISTPACK_BYTES_MAX {
        return Err(Error::Corrupt("a listpack that is too long"));
    }
    let listpack = Listpack::from_bytes(bytes.into()).ok_or(Error::Corrupt("a listpack"))?;
    let is_canonical = |item: Item<'_>| match item {
        Item::Bytes(bytes) => matches!(Item::of(bytes), Item::Bytes(_)),
        Item::Int(_) => true,
    };
    if listpack.iter().all(is_canonical) {
        return Ok(listpack);
    }
    Ok(listpack.iter().map(|item| item.to_vec()).collect())
}

/// A string that is a ziplist, as a listpack.
pub(super) fn ziplist(reader: &mut Reader<'_>) -> Result<Listpack, Error> {
    let bytes = reader.string()?;
    // An element is at most twice as long in a listpack.
    if bytes.len() > LISTPACK_BYTES_MAX / 2 {
        return Err(Error::Corrupt("a ziplist that is too long"));
    }
    let items = ziplist::items(&bytes)?;
    Ok(items.iter().map(Item::to_vec).collect())
}

/// Refuses elements that are not distinct.
pub(super) fn check_distinct<'a>(items: impl Iterator<Item = Item<'a>> + Clone) -> Result<(), Error> {
    let mut text = itoa::Buffer::new();
    let mut hashes: Vec<u64> = items.clone().map(|item| element_hash(item.as_bytes(&mut text))).collect();
    hashes.sort_unstable();
    if hashes.windows(2).all(|pair| pair[0] != pair[1]) {
        return Ok(());
    }
    // Equal hashes are hardly ever those of different elements.
    let mut seen = BTreeSet::new();
    let mut items = items;
    if items.all(|item| seen.insert(item.to_vec())) {
        Ok(())
    } else {
        Err(Error::Corrupt("an element twice"))
    }
}
