//! What a key can hold: kinds, encodings, and the values too large to lie inside an entry.
//! Never knows where an entry keeps its value.

use bytes::Bytes;

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

/// A value that lives behind a pointer of its own: big strings, and every collection type.
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

const _: () = assert!(size_of::<Value>() <= 24, "every key with a collection has one of these");

impl Value {
    pub(crate) fn empty_string() -> Value {
        Value::Str(Box::default())
    }

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

    /// Representation of the value.
    pub fn encoding(&self) -> Encoding {
        match self {
            Value::Str(_) => Encoding::Raw,
            Value::List(list) => list.encoding(),
            Value::Set(set) => set.encoding(),
            Value::ZSet(zset) => zset.encoding(),
            Value::Hash(hash) => hash.encoding(),
            Value::Stream(stream) => stream.encoding(),
        }
    }

    /// Number of parts that freeing the value has to walk (`lazyfree` decides by it); 1 for a string.
    pub fn free_effort(&self) -> usize {
        match self {
            Value::Str(_) => 1,
            Value::List(list) => list.free_effort(),
            Value::Set(set) => set.free_effort(),
            Value::ZSet(zset) => zset.free_effort(),
            Value::Hash(hash) => hash.free_effort(),
            Value::Stream(stream) => stream.free_effort(),
        }
    }

    /// Frees about `parts_max` parts of a collection; true while something is left. So a huge value can be released
    /// without holding anybody up; nothing else may be done with it afterwards.
    pub fn free_some(&mut self, parts_max: usize) -> bool {
        match self {
            Value::Str(_) => false,
            Value::List(list) => list.free_some(parts_max),
            Value::Set(set) => set.free_some(parts_max),
            Value::ZSet(zset) => zset.free_some(parts_max),
            Value::Hash(hash) => hash.free_some(parts_max),
            Value::Stream(stream) => stream.free_some(parts_max),
        }
    }

    /// Loads what the value points to ahead of its use. Touches the value's memory.
    #[inline]
    pub fn prefetch(&self) {
        match self {
            Value::Str(_) | Value::Stream(_) => {}
            Value::List(list) => list.prefetch(),
            Value::Set(set) => set.prefetch(),
            Value::ZSet(zset) => zset.prefetch(),
            Value::Hash(hash) => hash.prefetch(),
        }
    }

    /// Loads the place of an element of a big set, sorted set or hash ahead of its use; returns what
    /// [`Value::prefetch_element`] wants once it has arrived. Touches what leads there.
    #[inline]
    pub fn prefetch_slot(&self, element: &[u8]) -> u64 {
        match self {
            Value::Str(_) | Value::Stream(_) | Value::List(_) => 0,
            Value::Set(set) => set.prefetch_slot(element),
            Value::ZSet(zset) => zset.prefetch_slot(element),
            Value::Hash(hash) => hash.prefetch_slot(element),
        }
    }

    /// Loads that element, or the ends of a list, ahead of their use. Touches what leads there.
    #[inline]
    pub fn prefetch_element(&self, hash: u64) {
        match self {
            Value::Str(_) | Value::Stream(_) => {}
            Value::List(list) => list.prefetch_ends(),
            Value::Set(set) => set.prefetch_member(hash),
            Value::ZSet(zset) => zset.prefetch_member(hash),
            Value::Hash(hash_value) => hash_value.prefetch_field(hash),
        }
    }

    /// When the first of the value's parts expires, if they do so one by one (fields of a hash).
    #[inline]
    pub fn parts_expire_from(&self) -> Option<i64> {
        match self {
            Value::Hash(hash) => hash.expires_from(),
            _ => None,
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
            Value::Hash(hash) => hash.take_expired(now_ms, parts_max, on_taken),
            _ => 0,
        }
    }

    /// Whether all parts of the value are gone.
    pub fn is_vacant(&self) -> bool {
        match self {
            Value::Hash(hash) => hash.is_empty(),
            _ => false,
        }
    }

    /// Bytes on the heap that the value owns, its own box included. O(1).
    pub fn heap_bytes(&self) -> usize {
        use crate::entry::class::allocated_bytes;
        let behind = match self {
            Value::Str(bytes) => allocated_bytes(size_of::<Bytes>()) + allocated_bytes(bytes.len()),
            Value::List(list) => list.heap_bytes(),
            Value::Set(set) => set.heap_bytes(),
            Value::ZSet(zset) => zset.heap_bytes(),
            Value::Hash(hash) => hash.heap_bytes(),
            Value::Stream(stream) => stream.heap_bytes(),
        };
        allocated_bytes(size_of::<Value>()) + behind
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
