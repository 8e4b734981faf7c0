//! The general form of a hash: a table of entries, and the index of those that expire.
//!
//! An entry is a field's name with its value and expiry. The index holds, ordered by time, the hash of each name that
//! expires, so that expired fields are found without a look at any other. Should two names with one hash expire in the
//! same millisecond, the index knows them as one, and takes both out together.

use std::collections::BTreeSet;

use super::{FieldRef, Stored};
use crate::element_hash::element_hash;
use crate::release::cut_shared;
use crate::saving::Parts;
use crate::table::{Keyed, Table};
use crate::{Entry, SetExpire, StrRef, StrValue, ValueMut, is_expired};

/// What the index takes per field: 16 bytes in nodes of eleven that are about two thirds full.
const INDEX_BYTES: usize = 26;
/// Draws before a hash with expired fields is walked instead.
const DRAWS_MAX: usize = 100;

/// A name with its value and expiry.
#[derive(Debug)]
struct Field(Entry);

impl Clone for Field {
    fn clone(&self) -> Field {
        Field(self.0.duplicate(self.0.key()))
    }
}

impl Keyed for Field {
    #[inline]
    fn key_hash(&self) -> u64 {
        element_hash(self.0.key())
    }

    #[inline]
    fn key_is(&self, key: &[u8]) -> bool {
        self.0.key() == key
    }

    #[inline]
    fn heap_bytes(&self) -> usize {
        self.0.size_bytes()
    }

    fn cut(&mut self) -> Option<usize> {
        match self.0.value_mut() {
            Some(ValueMut::Str(bytes)) => cut_shared(bytes),
            _ => None,
        }
    }

    #[inline]
    fn prefetch(&self) {
        self.0.prefetch();
    }
}

impl Field {
    #[inline]
    fn view(&self) -> FieldRef<'_> {
        FieldRef {
            name: StrRef::Bytes(self.0.key()),
            value: self.0.str_ref().expect("a field holds a string"),
            expire_at: self.0.expire_at(),
        }
    }
}

/// The fields of a hash in its general form.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    table: Table<Field>,
    /// Time and hash of the name of each field that expires.
    expiries: BTreeSet<(i64, u64)>,
}

impl Fields {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    #[inline]
    pub(super) fn expires_from(&self) -> Option<i64> {
        self.expiries.first().map(|(at, _)| *at)
    }

    pub(super) fn expired_len(&self, now_ms: i64) -> usize {
        self.expiries.range(..(now_ms, 0)).count()
    }

    fn has_expired(&self, now_ms: i64) -> bool {
        is_expired(self.expires_from(), now_ms)
    }

    /// Bytes on the heap, but for the struct itself. Those of the index are an estimate. O(1).
    pub(super) fn heap_bytes(&self) -> usize {
        self.table.heap_bytes() + self.expiries.len() * INDEX_BYTES
    }

    #[inline]
    pub(super) fn prefetch_slot(&self, name: &[u8]) -> u64 {
        self.table.prefetch_slot(name)
    }

    #[inline]
    pub(super) fn prefetch_field(&self, hash: u64) {
        self.table.prefetch_element(hash);
    }

    /// The field of this name, expired or not.
    #[inline]
    pub(super) fn find(&self, name: &[u8]) -> Option<FieldRef<'_>> {
        self.table.get(name).map(Field::view)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = FieldRef<'_>> {
        self.table.iter().map(Field::view)
    }

    pub(super) fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(FieldRef<'_>)) -> u64 {
        self.table.scan(cursor, count, |field| visit(field.view()))
    }

    pub(super) fn set(&mut self, name: &[u8], value: StrValue<'_>, expire: SetExpire, now_ms: i64) -> Stored {
        let mut value = Some(value);
        let edited = self.table.edit(name, |Field(entry)| {
            let before = entry.expire_at();
            let expired = is_expired(before, now_ms);
            let after = match expire {
                SetExpire::Keep if !expired => before,
                SetExpire::Keep | SetExpire::Clear => None,
                SetExpire::At(at) => Some(at),
            };
            if after != before {
                entry.set_expire_at(after);
            }
            if let Some(value) = value.take() {
                entry.set(value);
            }
            (before, after, expired)
        });
        if let Some((before, after, expired)) = edited {
            self.index(name, before, after);
            return if expired { Stored::OverExpired } else { Stored::Replaced };
        }
        let expire_at = if let SetExpire::At(at) = expire { Some(at) } else { None };
        if let Some(value) = value {
            self.table.insert_new(Field(Entry::of(name, value, expire_at)));
        }
        self.index(name, None, expire_at);
        Stored::New
    }

    pub(super) fn remove(&mut self, name: &[u8], now_ms: i64) -> bool {
        if self.has_expired(now_ms) && self.find(name).is_some_and(|field| !field.is_live(now_ms)) {
            return false;
        }
        let removed = self.table.remove(name);
        if let Some(Field(entry)) = &removed {
            self.index(name, entry.expire_at(), None);
        }
        removed.is_some()
    }

    pub(super) fn set_expire_at(&mut self, name: &[u8], expire_at: Option<i64>) {
        let before = self.table.edit(name, |Field(entry)| {
            let before = entry.expire_at();
            entry.set_expire_at(expire_at);
            before
        });
        if let Some(before) = before {
            self.index(name, before, expire_at);
        }
    }

    pub(super) fn take_expired(
        &mut self,
        now_ms: i64,
        fields_max: usize,
        mut on_taken: impl FnMut(&[u8]),
    ) -> usize {
        let mut taken = 0;
        while taken < fields_max && self.has_expired(now_ms) {
            let Some((at, hash)) = self.expiries.pop_first() else { break };
            let is_due = |field: &Field| field.0.expire_at() == Some(at) && field.key_hash() == hash;
            while let Some(Field(entry)) = self.table.remove_where(hash, is_due) {
                on_taken(entry.key());
                taken += 1;
            }
        }
        taken
    }

    pub(super) fn random(&self, now_ms: i64, mut random: impl FnMut(usize) -> usize) -> Option<FieldRef<'_>> {
        if !self.has_expired(now_ms) {
            return self.table.random(random).map(Field::view);
        }
        for _ in 0..DRAWS_MAX {
            let drawn = self.table.random(&mut random)?.view();
            if drawn.is_live(now_ms) {
                return Some(drawn);
            }
        }
        // Nearly all have expired.
        let live = self.len() - self.expired_len(now_ms);
        let index = if live == 0 { return None } else { random(live) };
        self.iter().filter(|field| field.is_live(now_ms)).nth(index)
    }

    pub(super) fn free_some(&mut self, effort_max: usize) -> bool {
        let mut effort = 0;
        while effort < effort_max && self.expiries.pop_first().is_some() {
            effort += 1;
        }
        while effort < effort_max {
            match self.table.free_some(effort_max - effort) {
                0 => return false,
                more => effort += more,
            }
        }
        true
    }

    /// What can be saved bit by bit.
    #[inline]
    pub(super) fn parts(&self) -> &dyn Parts {
        &self.table
    }

    pub(super) fn parts_mut(&mut self) -> &mut dyn Parts {
        &mut self.table
    }

    pub(super) fn save_some(&mut self, mut show: impl FnMut(FieldRef<'_>) -> bool) -> bool {
        self.table.save_some(|field| show(field.view()))
    }

    /// Keeps the index true when the expiry of a field changes.
    #[inline]
    fn index(&mut self, name: &[u8], before: Option<i64>, after: Option<i64>) {
        if before == after {
            return;
        }
        let hash = element_hash(name);
        if let Some(at) = before {
            self.expiries.remove(&(at, hash));
        }
        if let Some(at) = after {
            self.expiries.insert((at, hash));
        }
    }
}

/// Names must be distinct.
impl<'a> FromIterator<FieldRef<'a>> for Fields {
    fn from_iter<I: IntoIterator<Item = FieldRef<'a>>>(fields: I) -> Fields {
        let mut all = Fields::default();
        for FieldRef { name, value, expire_at } in fields {
            let mut text = itoa::Buffer::new();
            let name = name.as_bytes(&mut text);
            let value = match value {
                StrRef::Bytes(bytes) => StrValue::Bytes(bytes),
                StrRef::Shared(bytes) => StrValue::Shared(bytes.clone()),
                StrRef::Int(int) => StrValue::Int(int),
            };
            all.table.insert_new(Field(Entry::of(name, value, expire_at)));
            all.index(name, None, expire_at);
        }
        all
    }
}
