//! Saving a huge value bit by bit while it goes on changing.
//!
//! Owns which values are saved like that, and the place in a value for what such a save has to remember. A value that is
//! being saved keeps what it was when the save began: whoever is about to change a part (an element of a table, a group of
//! a list's nodes, a node of a stream, a pending entry of a group) that is not saved yet puts it aside as it was. So nobody waits, what is put aside
//! is bounded by what changes, and where nothing is being saved a change costs one look at an empty place. Never knows
//! how parts are written ([`crate::rdb::Sliced`]).

use std::fmt;

use crate::{ValueMut, ValueRef};

/// Values with less memory than this are saved at once.
const SLICED_BYTES_MIN: usize = 64 * 1024;

/// The place for what a save has to remember. A copy of a value is not being saved.
pub(crate) struct Slot<T>(Option<Box<T>>);

impl<T> Slot<T> {
    #[inline]
    pub(crate) fn is_taken(&self) -> bool {
        self.0.is_some()
    }

    /// Tells one save from all others that are under way.
    pub(crate) fn id(&self) -> Option<usize> {
        self.0.as_deref().map(|saving| std::ptr::from_ref(saving).addr())
    }

    pub(crate) fn put(&mut self, saving: T) {
        debug_assert!(self.0.is_none(), "one save at a time");
        self.0 = Some(Box::new(saving));
    }

    pub(crate) fn get(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }

    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }

    /// Takes the save out, goes on with it, and puts it back if there is more to do; true then.
    pub(crate) fn go_on<C>(
        place: impl Fn(&mut C) -> &mut Slot<T>,
        owner: &mut C,
        step: impl FnOnce(&mut T, &mut C) -> bool,
    ) -> bool {
        let Some(mut saving) = place(owner).0.take() else { return false };
        let more = step(&mut saving, owner);
        if more {
            place(owner).0 = Some(saving);
        }
        more
    }
}

/// The parts of a value that can be saved bit by bit.
pub(crate) trait Parts {
    /// From now on the parts that are there are kept until they are saved.
    fn begin_save(&mut self);

    /// As [`Slot::id`].
    fn save_id(&self) -> Option<usize>;

    /// Gives the save up.
    fn end_save(&mut self);
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Slot(None)
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Slot(None)
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Slot").field(&self.is_taken()).finish()
    }
}

impl<'a> ValueRef<'a> {
    /// Whether it is to be saved bit by bit. O(1).
    pub fn is_huge(self) -> bool {
        self.heap_bytes() >= SLICED_BYTES_MIN && self.has_parts()
    }

    /// Whether it can be saved bit by bit: it is neither a string nor one piece of memory.
    pub(crate) fn has_parts(self) -> bool {
        self.parts().is_some()
    }

    /// Tells the save of this value from all others that are under way; `None`: it is not being saved bit by bit.
    #[inline]
    pub fn save_id(self) -> Option<usize> {
        self.parts()?.save_id()
    }

    /// What keeps the parts of the value.
    #[inline]
    fn parts(self) -> Option<&'a dyn Parts> {
        match self {
            ValueRef::Str(_) => None,
            ValueRef::List(list) => list.parts(),
            ValueRef::Set(set) => set.parts(),
            ValueRef::ZSet(zset) => zset.parts(),
            ValueRef::Hash(hash) => hash.parts(),
            ValueRef::Stream(stream) => Some(stream),
        }
    }
}

impl ValueMut<'_> {
    /// Gives a save up.
    pub fn end_save(&mut self) {
        if let Some(parts) = self.parts_mut() {
            parts.end_save();
        }
    }

    pub(crate) fn parts_mut(&mut self) -> Option<&mut dyn Parts> {
        match self {
            ValueMut::Str(_) => None,
            ValueMut::List(list) => list.parts_mut(),
            ValueMut::Set(set) => set.parts_mut(),
            ValueMut::ZSet(zset) => zset.parts_mut(),
            ValueMut::Hash(hash) => hash.parts_mut(),
            ValueMut::Stream(stream) => Some(*stream),
        }
    }
}
