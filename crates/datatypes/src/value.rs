//! What a key can hold: kinds, encodings, and the values that own memory. Never knows where an entry keeps its value.

use bytes::Bytes;

use crate::entry::class::allocated_bytes;
use crate::release::cut_shared;
use crate::{Hash, List, Set, Stream, ZSet};

/// Data type of a key's value (`TYPE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    String = 0,
    List = 1,
    Set = 2,
    ZSet = 3,
    Hash = 4,
    Stream = 5,
}

impl Kind {
    /// Name as `TYPE` and `SCAN … TYPE` spell it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::ZSet => "zset",
            Kind::Hash => "hash",
            Kind::Stream => "stream",
        }
    }

    /// The kind of that name, ASCII case ignored, as `SCAN … TYPE` takes it.
    pub fn from_name(name: &[u8]) -> Option<Kind> {
        const ALL: [Kind; 6] = [Kind::String, Kind::List, Kind::Set, Kind::ZSet, Kind::Hash, Kind::Stream];
        ALL.into_iter().find(|kind| kind.name().as_bytes().eq_ignore_ascii_case(name))
    }

    pub(crate) fn from_bits(bits: u8) -> Kind {
        match bits {
            0 => Kind::String,
            1 => Kind::List,
            2 => Kind::Set,
            3 => Kind::ZSet,
            4 => Kind::Hash,
            5 => Kind::Stream,
            _ => unreachable!("kind bits are only written from a Kind"),
        }
    }
}

/// How a value is represented (`OBJECT ENCODING`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    Raw,
    Int,
    Embstr,
    Listpack,
    Quicklist,
    Intset,
    Hashtable,
    Skiplist,
    Stream,
}

impl Encoding {
    /// Name as `OBJECT ENCODING` spells it (Redis 7.2).
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Raw => "raw",
            Encoding::Int => "int",
            Encoding::Embstr => "embstr",
            Encoding::Listpack => "listpack",
            Encoding::Quicklist => "quicklist",
            Encoding::Intset => "intset",
            Encoding::Hashtable => "hashtable",
            Encoding::Skiplist => "skiplist",
            Encoding::Stream => "stream",
        }
    }
}

/// A value that owns memory: big strings, and every collection type.
#[derive(Debug, Clone)]
pub enum Value {
    /// A string of [`crate::BIG_STRING_BYTES`] or more: readers share it without a copy. In a box of its own, since all
    /// other values are smaller than its handle.
    Str(Box<Bytes>),
    List(List),
    Set(Set),
    ZSet(ZSet),
    Hash(Hash),
    Stream(Stream),
}

/// A [`Value`] where an entry keeps it.
#[derive(Debug, Clone, Copy)]
pub enum ValueRef<'a> {
    Str(&'a Bytes),
    List(&'a List),
    Set(&'a Set),
    ZSet(&'a ZSet),
    Hash(&'a Hash),
    Stream(&'a Stream),
}

/// A [`Value`] where an entry keeps it, for change in place.
#[derive(Debug)]
pub enum ValueMut<'a> {
    Str(&'a mut Bytes),
    List(&'a mut List),
    Set(&'a mut Set),
    ZSet(&'a mut ZSet),
    Hash(&'a mut Hash),
    Stream(&'a mut Stream),
}

impl Value {
    /// Data type of the value.
    pub fn kind(&self) -> Kind {
        match self {
            Value::Str(_) => Kind::String,
            Value::List(_) => Kind::List,
            Value::Set(_) => Kind::Set,
            Value::ZSet(_) => Kind::ZSet,
            Value::Hash(_) => Kind::Hash,
            Value::Stream(_) => Kind::Stream,
        }
    }
}

impl<'a> ValueRef<'a> {
    /// A copy of the value; a big string is shared.
    pub fn to_value(self) -> Value {
        match self {
            ValueRef::Str(bytes) => Value::Str(Box::new(bytes.clone())),
            ValueRef::List(list) => Value::List(list.clone()),
            ValueRef::Set(set) => Value::Set(set.clone()),
            ValueRef::ZSet(zset) => Value::ZSet(zset.clone()),
            ValueRef::Hash(hash) => Value::Hash(hash.clone()),
            ValueRef::Stream(stream) => Value::Stream(stream.clone()),
        }
    }

    /// Representation of the value.
    pub fn encoding(self) -> Encoding {
        match self {
            ValueRef::Str(_) => Encoding::Raw,
            ValueRef::List(list) => list.encoding(),
            ValueRef::Set(set) => set.encoding(),
            ValueRef::ZSet(zset) => zset.encoding(),
            ValueRef::Hash(hash) => hash.encoding(),
            ValueRef::Stream(stream) => stream.encoding(),
        }
    }

    /// Number of parts that freeing the value has to walk (`lazyfree` decides by it); 1 for a string.
    pub fn free_effort(self) -> usize {
        match self {
            ValueRef::Str(_) => 1,
            ValueRef::List(list) => list.free_effort(),
            ValueRef::Set(set) => set.free_effort(),
            ValueRef::ZSet(zset) => zset.free_effort(),
            ValueRef::Hash(hash) => hash.free_effort(),
            ValueRef::Stream(stream) => stream.free_effort(),
        }
    }

    /// Loads what the value points to ahead of its use. Touches the value's memory.
    #[inline]
    pub fn prefetch(self) {
        match self {
            ValueRef::Str(_) | ValueRef::Stream(_) => {}
            ValueRef::List(list) => list.prefetch(),
            ValueRef::Set(set) => set.prefetch(),
            ValueRef::ZSet(zset) => zset.prefetch(),
            ValueRef::Hash(hash) => hash.prefetch(),
        }
    }

    /// Loads the place of an element of a big set, sorted set or hash ahead of its use; returns what
    /// [`ValueRef::prefetch_element`] wants once it has arrived. Touches what leads there.
    #[inline]
    pub fn prefetch_slot(self, element: &[u8]) -> u64 {
        match self {
            ValueRef::Str(_) | ValueRef::Stream(_) | ValueRef::List(_) => 0,
            ValueRef::Set(set) => set.prefetch_slot(element),
            ValueRef::ZSet(zset) => zset.prefetch_slot(element),
            ValueRef::Hash(hash) => hash.prefetch_slot(element),
        }
    }

    /// Loads that element, or the ends of a list, ahead of their use. Touches what leads there.
    #[inline]
    pub fn prefetch_element(self, hash: u64) {
        match self {
            ValueRef::Str(_) | ValueRef::Stream(_) => {}
            ValueRef::List(list) => list.prefetch_ends(),
            ValueRef::Set(set) => set.prefetch_member(hash),
            ValueRef::ZSet(zset) => zset.prefetch_member(hash),
            ValueRef::Hash(hash_value) => hash_value.prefetch_field(hash),
        }
    }

    /// When the first of the value's parts expires, if they do so one by one (fields of a hash).
    #[inline]
    pub fn parts_expire_from(self) -> Option<i64> {
        match self {
            ValueRef::Hash(hash) => hash.expires_from(),
            _ => None,
        }
    }

    /// Whether all parts of the value are gone.
    pub fn is_vacant(self) -> bool {
        match self {
            ValueRef::Hash(hash) => hash.is_empty(),
            _ => false,
        }
    }

    /// Bytes on the heap that the value owns. O(1).
    pub fn heap_bytes(self) -> usize {
        match self {
            ValueRef::Str(bytes) => allocated_bytes(size_of::<Bytes>()) + allocated_bytes(bytes.len()),
            ValueRef::List(list) => list.heap_bytes(),
            ValueRef::Set(set) => set.heap_bytes(),
            ValueRef::ZSet(zset) => zset.heap_bytes(),
            ValueRef::Hash(hash) => hash.heap_bytes(),
            ValueRef::Stream(stream) => stream.heap_bytes(),
        }
    }
}

impl ValueMut<'_> {
    /// The value to look at.
    #[inline]
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            ValueMut::Str(bytes) => ValueRef::Str(bytes),
            ValueMut::List(list) => ValueRef::List(list),
            ValueMut::Set(set) => ValueRef::Set(set),
            ValueMut::ZSet(zset) => ValueRef::ZSet(zset),
            ValueMut::Hash(hash) => ValueRef::Hash(hash),
            ValueMut::Stream(stream) => ValueRef::Stream(stream),
        }
    }

    /// Frees some of the value until that was about so much effort ([`crate::release`]); true while something is left. So a
    /// huge value can be released without holding anybody up; nothing else may be done with it afterwards.
    pub fn free_some(&mut self, effort_max: usize) -> bool {
        match self {
            ValueMut::Str(bytes) => cut_shared(bytes).is_some(),
            ValueMut::List(list) => list.free_some(effort_max),
            ValueMut::Set(set) => set.free_some(effort_max),
            ValueMut::ZSet(zset) => zset.free_some(effort_max),
            ValueMut::Hash(hash) => hash.free_some(effort_max),
            ValueMut::Stream(stream) => stream.free_some(effort_max),
        }
    }

    /// Takes out up to `parts_max` parts that have expired, and shows their names; returns how many.
    pub fn take_expired_parts(
        &mut self,
        now_ms: i64,
        parts_max: usize,
        on_taken: impl FnMut(&[u8]),
    ) -> usize {
        match self {
            ValueMut::Hash(hash) => hash.take_expired(now_ms, parts_max, on_taken),
            _ => 0,
        }
    }
}

/// A string to store.
#[derive(Clone, Debug)]
pub enum StrValue<'a> {
    Bytes(&'a [u8]),
    /// Taken over without a copy if big.
    Shared(Bytes),
    Int(i64),
}

impl StrValue<'_> {
    /// Length of the string (of the decimal text for integers).
    pub fn text_len(&self) -> usize {
        match self {
            StrValue::Bytes(bytes) => bytes.len(),
            StrValue::Shared(bytes) => bytes.len(),
            StrValue::Int(int) => crate::number::i64_len(*int),
        }
    }
}

/// What happens to the expiry when a string is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetExpire {
    /// It does not expire.
    Clear,
    /// What was set stays (KEEPTTL).
    Keep,
    /// Unix milliseconds.
    At(i64),
}

/// Whether something with this expiry is gone at `now_ms` (Redis 7.2: it lives through its last millisecond).
#[inline]
pub fn is_expired(expire_at: Option<i64>, now_ms: i64) -> bool {
    expire_at.is_some_and(|at| at < now_ms)
}

/// A borrowed view of a string value, in the form in which it is stored.
#[derive(Clone, Copy, Debug)]
pub enum StrRef<'a> {
    /// Bytes inside the entry.
    Bytes(&'a [u8]),
    /// A big string: clone it to share it without copying.
    Shared(&'a Bytes),
    /// An integer in place of its decimal text.
    Int(i64),
}

/// Room for the decimal text of an integer string, so that [`StrRef::as_bytes`] can lend it out.
pub type IntText = itoa::Buffer;

impl<'a> StrRef<'a> {
    /// Length in bytes of the string (of the decimal text for integers).
    pub fn len(&self) -> usize {
        match self {
            StrRef::Bytes(bytes) => bytes.len(),
            StrRef::Shared(bytes) => bytes.len(),
            StrRef::Int(value) => crate::number::i64_len(*value),
        }
    }

    /// Whether the string has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The string's bytes; an integer is printed into `text` first.
    pub fn as_bytes<'t>(&self, text: &'t mut IntText) -> &'t [u8]
    where
        'a: 't,
    {
        match *self {
            StrRef::Bytes(bytes) => bytes,
            StrRef::Shared(bytes) => bytes,
            StrRef::Int(value) => text.format(value).as_bytes(),
        }
    }

    /// The string's value as an integer, if its text is the canonical form of one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            StrRef::Bytes(bytes) => crate::number::parse_i64(bytes),
            StrRef::Shared(_) => None,
            StrRef::Int(value) => Some(*value),
        }
    }

    /// The string as owned bytes; big strings are shared, others copied.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            StrRef::Bytes(bytes) => Bytes::copy_from_slice(bytes),
            StrRef::Shared(bytes) => (*bytes).clone(),
            StrRef::Int(value) => Bytes::copy_from_slice(itoa::Buffer::new().format(*value).as_bytes()),
        }
    }

    /// The string as an owned vector.
    pub fn to_vec(&self) -> Vec<u8> {
        self.as_bytes(&mut IntText::new()).to_vec()
    }
}
