//! A node of a long list: a run of elements, or one large element alone. Never knows its neighbours.

use bytes::Bytes;

use super::run::{RUN_BYTES_MAX, Run};
use super::{End, Needle, NodeLimits};
use crate::StrRef;
use crate::entry::class::allocated_bytes;
use crate::listpack::{Item, Listpack, element_bytes};
use crate::release::cut_shared;

/// A part of a long list.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Packed(Run),
    /// A large element; replies share it without a copy.
    Plain(Box<Bytes>),
}

const _: () = assert!(size_of::<Node>() == 16, "a list of a million elements pays for this a thousand times");

impl Node {
    /// A node for one element.
    pub(super) fn of(element: StrRef<'_>, limits: NodeLimits) -> Node {
        if limits.is_large(element.len()) {
            Node::Plain(Box::new(element.to_bytes()))
        } else {
            Node::Packed(Run::of_node(element.into()))
        }
    }

    /// A node for an element that fits into no run.
    pub(super) fn large(element: &[u8]) -> Node {
        Node::Plain(Box::new(Bytes::copy_from_slice(element)))
    }

    /// Number of elements.
    #[inline]
    pub(super) fn count(&self) -> usize {
        match self {
            Node::Packed(run) => run.count(),
            Node::Plain(_) => 1,
        }
    }

    /// Bytes that the node owns on the heap.
    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Node::Packed(run) => run.heap_bytes(),
            Node::Plain(bytes) => allocated_bytes(size_of::<Bytes>()) + allocated_bytes(bytes.len()),
        }
    }

    /// Frees a piece of a very large element that is on its way out; returns the effort, or `None` when the rest may be freed
    /// at once.
    pub(super) fn cut(&mut self) -> Option<usize> {
        match self {
            Node::Packed(_) => None,
            Node::Plain(bytes) => cut_shared(bytes),
        }
    }

    /// The first or the last element.
    #[inline]
    pub(super) fn peek(&self, end: End) -> StrRef<'_> {
        match self {
            Node::Packed(run) => run.peek(end).into(),
            Node::Plain(bytes) => StrRef::Shared(bytes),
        }
    }

    /// Whether another element of this length may join.
    #[inline]
    pub(super) fn allows(&self, len: usize, limits: NodeLimits) -> bool {
        match self {
            Node::Packed(run) => limits.allow(run.listpack_bytes(), run.count(), len),
            Node::Plain(_) => false,
        }
    }

    /// Whether the two may be one node.
    pub(super) fn may_join(&self, other: &Node, limits: NodeLimits) -> bool {
        match (self, other) {
            (Node::Packed(a), Node::Packed(b)) => {
                !limits.are_exceeded(a.listpack_bytes() + b.len(), a.count() + b.count())
            }
            _ => false,
        }
    }

    /// Whether an element may take the place of the one at byte `at`. A node may outgrow its limits by that (Redis 7.2).
    pub(super) fn may_replace(&self, at: usize, element: StrRef<'_>, limits: NodeLimits) -> bool {
        match self {
            Node::Packed(run) if !limits.is_large(element.len()) => {
                let rest = run.len() - element_bytes(&run.elements()[at..]);
                rest + Listpack::bytes_for(element.into()) <= RUN_BYTES_MAX
            }
            _ => false,
        }
    }

    /// The run; the node must be one.
    #[inline]
    pub(super) fn run_mut(&mut self) -> &mut Run {
        match self {
            Node::Packed(run) => run,
            Node::Plain(_) => unreachable!("a large element has no neighbours in its node"),
        }
    }

    /// Takes the elements from number `index` on away; both parts have elements.
    pub(super) fn split_off(&mut self, index: usize) -> Node {
        let run = self.run_mut();
        Node::Packed(run.split_off(run.offset(index), index))
    }

    /// Drops the last element and the room that it leaves.
    pub(super) fn drop_back(&mut self) {
        let run = self.run_mut();
        run.drop_end(End::Back);
        run.fit();
    }

    /// Gives room back that a node between others does not need.
    pub(super) fn fit(&mut self) {
        if let Node::Packed(run) = self {
            run.fit();
        }
    }

    /// Where the element with this number begins, or the end.
    pub(super) fn offset(&self, index: usize) -> usize {
        match self {
            Node::Packed(run) => run.offset(index),
            Node::Plain(_) => 0,
        }
    }

    /// Number of the first element that equals the needle.
    pub(super) fn find(&self, needle: &Needle<'_>) -> Option<usize> {
        match self {
            Node::Packed(run) => run.find(needle).map(|(index, _)| index),
            Node::Plain(bytes) => needle.equals(StrRef::Shared(bytes)).then_some(0),
        }
    }

    /// Removes up to `max` elements that equal the needle, the ones nearest to `from`. Returns how many; all of the
    /// node's elements may be among them.
    pub(super) fn remove_matching(&mut self, needle: &Needle<'_>, max: usize, from: End) -> Removed {
        match self {
            Node::Plain(bytes) => {
                if needle.equals(StrRef::Shared(bytes)) {
                    Removed::All
                } else {
                    Removed::Some(0)
                }
            }
            Node::Packed(run) => {
                let removed = run.remove_matching(needle, max, from);
                if run.count() == 0 { Removed::All } else { Removed::Some(removed) }
            }
        }
    }
}

/// What became of a node whose elements were removed.
#[derive(Clone, Copy)]
pub(super) enum Removed {
    /// So many elements; others are left.
    Some(usize),
    /// Every element: the node has to go.
    All,
}

impl<'a> From<Item<'a>> for StrRef<'a> {
    #[inline]
    fn from(item: Item<'a>) -> StrRef<'a> {
        match item {
            Item::Int(int) => StrRef::Int(int),
            Item::Bytes(bytes) => StrRef::Bytes(bytes),
        }
    }
}

impl<'a> From<StrRef<'a>> for Item<'a> {
    #[inline]
    fn from(string: StrRef<'a>) -> Item<'a> {
        match string {
            StrRef::Int(int) => Item::Int(int),
            StrRef::Bytes(bytes) => Item::of(bytes),
            StrRef::Shared(bytes) => Item::of(bytes),
        }
    }
}
