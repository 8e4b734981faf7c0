//! A hash: values under the names of fields, each of which may expire by itself.
//!
//! A small hash is one flat pack of names and values in turn. A big one, and one with a field that expires, is a table
//! of entries beside an index of its expiries ([`fields`]). A hash never goes back to the compact form.
//!
//! A field that has expired is not shown to anybody who passes the time; it is still counted until it is taken out
//! ([`Hash::take_expired`]) or overwritten. Never reads a clock, and draws no random numbers itself.

mod fields;
#[cfg(test)]
mod tests;

use self::fields::Fields;
use crate::entry::class::allocated_bytes;
use crate::listpack::{ForwardPack, Item, LISTPACK_BYTES_MAX, Listpack, Pos};
use crate::prefetch::prefetch;
use crate::saving::Parts;
use crate::{Encoding, SetExpire, StrRef, StrValue, is_expired};

/// What the parts of a pack beside the texts can take, for one more field; of the listpack too that becomes of it.
const PAIR_OVERHEAD_BYTES_MAX: usize = 32;

/// A hash: values under the names of fields.
#[derive(Clone, Debug, Default)]
pub struct Hash {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// Name, value, name, value, …
    Compact(ForwardPack),
    General(Box<Fields>),
}

impl Default for Form {
    fn default() -> Self {
        Form::Compact(ForwardPack::new())
    }
}

/// How large a compact hash may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashLimits {
    /// Fields at most.
    pub entries_max: usize,
    /// Bytes of a name or a value at most.
    pub value_bytes_max: usize,
}

/// A field as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct FieldRef<'a> {
    pub name: StrRef<'a>,
    pub value: StrRef<'a>,
    /// When the field expires, in unix milliseconds.
    pub expire_at: Option<i64>,
}

/// What was there when a field was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    New,
    Replaced,
    /// In the place of one that had expired: as good as new.
    OverExpired,
}

impl Hash {
    /// A hash without fields.
    pub fn new() -> Hash {
        Hash::default()
    }

    /// A hash of the elements of a listpack, names and values in turn, in the form that suits their number; `None` if a name
    /// has no value. The names must be distinct.
    pub fn from_listpack(listpack: &Listpack, limits: HashLimits) -> Option<Hash> {
        let elements = listpack.len();
        if !elements.is_multiple_of(2) {
            return None;
        }
        let mut hash = Hash { form: Form::Compact(listpack.convert()) };
        hash.reserve(elements / 2, limits);
        Some(hash)
    }

    /// The whole of a compact hash as a listpack.
    pub fn to_listpack(&self) -> Option<Listpack> {
        if let Form::Compact(pack) = &self.form { Some(pack.convert()) } else { None }
    }

    /// Number of fields, expired ones that were not taken out yet included. O(1).
    #[inline]
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Compact(pack) => pack.len() / 2,
            Form::General(fields) => fields.len(),
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        match &self.form {
            Form::Compact(pack) => pack.is_empty(),
            Form::General(fields) => fields.len() == 0,
        }
    }

    /// Number of fields that have not expired. O(expired ones).
    pub fn live_len(&self, now_ms: i64) -> usize {
        match &self.form {
            Form::Compact(pack) => pack.len() / 2,
            Form::General(fields) => fields.len() - fields.expired_len(now_ms),
        }
    }

    /// When the first field expires.
    #[inline]
    pub fn expires_from(&self) -> Option<i64> {
        match &self.form {
            Form::Compact(_) => None,
            Form::General(fields) => fields.expires_from(),
        }
    }

    /// Whether it is in the compact form.
    #[inline]
    pub fn is_compact(&self) -> bool {
        matches!(self.form, Form::Compact(_))
    }

    /// The field of this name.
    #[inline]
    pub fn find(&self, name: &[u8], now_ms: i64) -> Option<FieldRef<'_>> {
        match &self.form {
            Form::Compact(pack) => {
                let at = pack.find(pack.first(), name, 2)?;
                Some(field_at(pack, at))
            }
            Form::General(fields) => fields.find(name).filter(|field| field.is_live(now_ms)),
        }
    }

    /// Loads the beginning of the hash ahead of its use.
    #[inline]
    pub(crate) fn prefetch(&self) {
        match &self.form {
            Form::Compact(pack) => pack.prefetch(),
            Form::General(fields) => prefetch(&**fields),
        }
    }

    /// Loads the place of a field of a big hash ahead of its use; returns what [`Hash::prefetch_field`] wants.
    #[inline]
    pub(crate) fn prefetch_slot(&self, name: &[u8]) -> u64 {
        if let Form::General(fields) = &self.form { fields.prefetch_slot(name) } else { 0 }
    }

    /// Loads a field of a big hash ahead of its use.
    #[inline]
    pub(crate) fn prefetch_field(&self, hash: u64) {
        if let Form::General(fields) = &self.form {
            fields.prefetch_field(hash);
        }
    }

    /// The value of a field.
    #[inline]
    pub fn get(&self, name: &[u8], now_ms: i64) -> Option<StrRef<'_>> {
        self.find(name, now_ms).map(|field| field.value)
    }

    /// Changes to the general form if so many fields are about to be stored that the compact one would not hold them.
    pub fn reserve(&mut self, fields: usize, limits: HashLimits) {
        if fields > limits.entries_max {
            self.generalize();
        }
    }

    /// Stores a field.
    pub fn set(
        &mut self,
        name: &[u8],
        value: StrValue<'_>,
        expire: SetExpire,
        now_ms: i64,
        limits: HashLimits,
    ) -> Stored {
        if let Form::Compact(pack) = &mut self.form
            && !matches!(expire, SetExpire::At(_))
            && pair_fits(pack, name.len(), value.text_len(), limits)
        {
            let stored = store_pair(pack, name, &value);
            if pack.len() / 2 > limits.entries_max {
                self.generalize();
            }
            return stored;
        }
        self.generalize().set(name, value, expire, now_ms)
    }

    /// Takes a field out; false if it is not there.
    pub fn remove(&mut self, name: &[u8], now_ms: i64) -> bool {
        match &mut self.form {
            Form::Compact(pack) => {
                let found = pack.find(pack.first(), name, 2);
                if let Some(at) = found {
                    pack.remove_run(at, 2);
                }
                found.is_some()
            }
            Form::General(fields) => fields.remove(name, now_ms),
        }
    }

    /// Takes a field out even if it has expired.
    pub fn remove_any(&mut self, name: &[u8]) -> bool {
        self.remove(name, i64::MIN)
    }

    /// Sets or clears the expiry of a field that is there.
    pub fn set_expire_at(&mut self, name: &[u8], expire_at: Option<i64>) {
        if expire_at.is_some() || !self.is_compact() {
            self.generalize().set_expire_at(name, expire_at);
        }
    }

    /// Takes out up to `fields_max` fields that have expired, the earliest first; returns how many.
    pub fn take_expired(&mut self, now_ms: i64, fields_max: usize, on_taken: impl FnMut(&[u8])) -> usize {
        match &mut self.form {
            Form::Compact(_) => 0,
            Form::General(fields) => fields.take_expired(now_ms, fields_max, on_taken),
        }
    }

    /// All fields, expired ones included (see [`FieldRef::is_live`]).
    pub fn iter(&self) -> impl Iterator<Item = FieldRef<'_>> {
        let (pack, fields) = match &self.form {
            Form::Compact(pack) => (Some(pack), None),
            Form::General(fields) => (None, Some(fields)),
        };
        pack.into_iter().flat_map(pairs).chain(fields.into_iter().flat_map(|fields| fields.iter()))
    }

    /// Fields that have not expired.
    pub fn live(&self, now_ms: i64) -> impl Iterator<Item = FieldRef<'_>> {
        self.iter().filter(move |field| field.is_live(now_ms))
    }

    /// Fields that have not expired, from `cursor` on (0 starts), about `count` of them; all of a compact hash. Returns
    /// the cursor to go on with, 0 when all are done. Fields that stay from the first call to the last are visited at
    /// least once.
    pub fn scan(&self, cursor: u64, count: usize, now_ms: i64, mut visit: impl FnMut(FieldRef<'_>)) -> u64 {
        match &self.form {
            Form::Compact(pack) => {
                pairs(pack).for_each(visit);
                0
            }
            Form::General(fields) => fields.scan(cursor, count, |field| {
                if field.is_live(now_ms) {
                    visit(field);
                }
            }),
        }
    }

    /// A field drawn with equal chances for all that have not expired. `random` gives numbers below its argument.
    pub fn random(&self, now_ms: i64, mut random: impl FnMut(usize) -> usize) -> Option<FieldRef<'_>> {
        match &self.form {
            Form::Compact(pack) if pack.is_empty() => None,
            Form::Compact(pack) => {
                let index = random(pack.len() / 2);
                pack.nth(2 * index).map(|at| field_at(pack, at))
            }
            Form::General(fields) => fields.random(now_ms, random),
        }
    }

    /// Representation of the value (`OBJECT ENCODING`).
    pub fn encoding(&self) -> Encoding {
        match &self.form {
            Form::Compact(_) => Encoding::Listpack,
            Form::General(_) => Encoding::Hashtable,
        }
    }

    /// Number of parts that freeing the value has to walk.
    pub fn free_effort(&self) -> usize {
        match &self.form {
            Form::Compact(_) => 1,
            Form::General(fields) => fields.len(),
        }
    }

    /// Bytes on the heap. O(1).
    pub fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Compact(pack) => allocated_bytes(pack.total_bytes()),
            Form::General(fields) => allocated_bytes(size_of::<Fields>()) + fields.heap_bytes(),
        }
    }

    /// Frees elements until that was about so much effort; true while something is left.
    pub fn free_some(&mut self, effort_max: usize) -> bool {
        match &mut self.form {
            Form::Compact(_) => false,
            Form::General(fields) => fields.free_some(effort_max),
        }
    }

    /// What can be saved bit by bit: the general form.
    #[inline]
    pub(crate) fn parts(&self) -> Option<&dyn Parts> {
        match &self.form {
            Form::Compact(_) => None,
            Form::General(fields) => Some(fields.parts()),
        }
    }

    pub(crate) fn parts_mut(&mut self) -> Option<&mut dyn Parts> {
        match &mut self.form {
            Form::Compact(_) => None,
            Form::General(fields) => Some(fields.parts_mut()),
        }
    }

    /// Shows the fields that were there when the save began, each one once over all calls, until `show` asks for a pause by
    /// `false`. True while there are more.
    pub(crate) fn save_some(&mut self, show: impl FnMut(FieldRef<'_>) -> bool) -> bool {
        match &mut self.form {
            Form::Compact(_) => false,
            Form::General(fields) => fields.save_some(show),
        }
    }

    /// Changes to the general form, unless it is in it already.
    fn generalize(&mut self) -> &mut Fields {
        if let Form::Compact(pack) = &self.form {
            self.form = Form::General(Box::new(pairs(pack).collect()));
        }
        match &mut self.form {
            Form::General(fields) => fields,
            Form::Compact(_) => unreachable!("the form was just changed"),
        }
    }
}

impl FieldRef<'_> {
    #[inline]
    pub fn is_live(&self, now_ms: i64) -> bool {
        !is_expired(self.expire_at, now_ms)
    }
}

impl Stored {
    /// Whether the field was not there before, as far as anybody could see.
    pub fn is_new(self) -> bool {
        self != Stored::Replaced
    }
}

/// Whether a pack may hold this pair too.
#[inline]
fn pair_fits(pack: &ForwardPack, name_bytes: usize, value_bytes: usize, limits: HashLimits) -> bool {
    let both = name_bytes + value_bytes + PAIR_OVERHEAD_BYTES_MAX;
    name_bytes.max(value_bytes) <= limits.value_bytes_max && pack.total_bytes() + both <= LISTPACK_BYTES_MAX
}

fn store_pair(pack: &mut ForwardPack, name: &[u8], value: &StrValue<'_>) -> Stored {
    let value = match value {
        StrValue::Bytes(bytes) => Item::of(bytes),
        StrValue::Shared(bytes) => Item::of(bytes),
        StrValue::Int(int) => Item::Int(*int),
    };
    match pack.find(pack.first(), name, 2) {
        Some(at) => {
            let at = pack.next(at).expect("a value follows its name");
            pack.replace(at, value);
            Stored::Replaced
        }
        None => {
            pack.push_back(name);
            pack.insert(None, value);
            Stored::New
        }
    }
}

fn pairs(pack: &ForwardPack) -> impl Iterator<Item = FieldRef<'_>> {
    let mut items = pack.iter();
    std::iter::from_fn(move || {
        let name = items.next()?;
        let value = items.next().expect("a value follows its name");
        Some(FieldRef { name: name.into(), value: value.into(), expire_at: None })
    })
}

fn field_at(pack: &ForwardPack, at: Pos) -> FieldRef<'_> {
    let value = pack.next(at).expect("a value follows its name");
    FieldRef { name: pack.get(at).into(), value: pack.get(value).into(), expire_at: None }
}
