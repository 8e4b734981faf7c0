//! A long list: nodes in groups. Both know how many elements they hold, so that an index is found by adding up groups and
//! then nodes, and a node comes or goes by moving its group alone.
//!
//! Owns which node takes an element, and the sums. The rules are Redis's, because they show: a list is compact again
//! when a single small node is left. Never knows the compact encoding.
//!
//! A list may be saved bit by bit while it changes: a group that is about to change and is not saved yet is kept as it
//! was ([`super::saving`]).

use std::collections::VecDeque;

use super::node::{Node, Removed};
use super::run::Growth;
use super::saving::SavingSlot;
use super::{End, Needle, NodeLimits, Side};
use crate::StrRef;
use crate::entry::class::allocated_bytes;
use crate::release::effort_of;

/// Nodes of a group at most.
const GROUP_NODES_MAX: usize = 128;

/// A long list. It may be empty only until its last change is over.
#[derive(Debug, Default)]
pub(super) struct Quicklist {
    pub(super) groups: VecDeque<Group>,
    len: usize,
    nodes: usize,
    /// Heap bytes of nodes and groups.
    bytes: usize,
    pub(super) saving: SavingSlot,
}

/// Neighbouring nodes; at least one.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) nodes: VecDeque<Node>,
    len: usize,
    /// Which group it was when the save under way began, as long as it is not saved and has not changed; 0: none.
    pub(super) number: usize,
}

/// A node's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    group: usize,
    node: usize,
}

impl Group {
    fn of(nodes: VecDeque<Node>) -> Group {
        let len = nodes.iter().map(Node::count).sum();
        Group { nodes, len, number: 0 }
    }

    /// Bytes of the group's own, without those of its nodes.
    #[inline]
    fn bytes(&self) -> usize {
        allocated_bytes(self.nodes.capacity() * size_of::<Node>())
    }
}

impl Place {
    /// The place behind a node, for a new one.
    #[inline]
    fn behind(self) -> Place {
        Place { node: self.node + 1, ..self }
    }
}

impl Quicklist {
    /// Number of elements.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Number of nodes.
    #[inline]
    pub(super) fn nodes(&self) -> usize {
        self.nodes
    }

    /// Bytes on the heap. O(1).
    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes + allocated_bytes(self.groups.capacity() * size_of::<Group>())
    }

    #[inline]
    pub(super) fn node(&self, place: Place) -> &Node {
        &self.groups[place.group].nodes[place.node]
    }

    /// The place of the node at an end.
    #[inline]
    pub(super) fn end_place(&self, end: End) -> Option<Place> {
        let last = self.groups.len().checked_sub(1)?;
        Some(match end {
            End::Front => Place { group: 0, node: 0 },
            End::Back => Place { group: last, node: self.groups[last].nodes.len() - 1 },
        })
    }

    /// The first or the last element.
    #[inline]
    pub(super) fn peek(&self, end: End) -> Option<StrRef<'_>> {
        self.end_place(end).map(|place| self.node(place).peek(end))
    }

    pub(super) fn next(&self, place: Place) -> Option<Place> {
        if place.node + 1 < self.groups[place.group].nodes.len() {
            return Some(Place { node: place.node + 1, ..place });
        }
        (place.group + 1 < self.groups.len()).then_some(Place { group: place.group + 1, node: 0 })
    }

    pub(super) fn prev(&self, place: Place) -> Option<Place> {
        if place.node > 0 {
            return Some(Place { node: place.node - 1, ..place });
        }
        let group = place.group.checked_sub(1)?;
        Some(Place { group, node: self.groups[group].nodes.len() - 1 })
    }

    /// The node that holds element number `index`, and the element's number in it. Walks from the nearer end.
    pub(super) fn seek(&self, index: usize) -> (Place, usize) {
        let (group, index) = nearest(&self.groups, self.len, index, |group| group.len);
        let Group { nodes, len, .. } = &self.groups[group];
        let (node, index) = nearest(nodes, *len, index, Node::count);
        (Place { group, node }, index)
    }

    /// Adds an element at an end.
    #[inline]
    pub(super) fn push(&mut self, end: End, element: StrRef<'_>, limits: NodeLimits) {
        let place = self.end_place(end);
        match place.filter(|place| self.node(*place).allows(element.len(), limits)) {
            Some(place) => {
                let growth = Growth::Doubling(limits.node_bytes());
                self.edit(place, |node| node.run_mut().push(end, element.into(), growth));
            }
            None => self.push_node(end, Node::of(element, limits)),
        }
    }

    /// Adds a node at an end.
    pub(super) fn push_node(&mut self, end: End, node: Node) {
        let Some(place) = self.end_place(end) else {
            self.insert_group(0, Group::of([node].into()));
            return;
        };
        self.edit(place, Node::fit);
        match end {
            End::Front => self.insert_node(place, node),
            End::Back => self.insert_node(place.behind(), node),
        };
    }

    /// Drops the element at an end; the list is not empty.
    #[inline]
    pub(super) fn drop_end(&mut self, end: End) {
        let place = self.end_place(end).expect("the list is not empty");
        if self.node(place).count() == 1 {
            self.remove_node(place);
        } else {
            self.edit(place, |node| node.run_mut().drop_end(end));
        }
    }

    /// Where the first element is that equals the needle.
    pub(super) fn find(&self, needle: &Needle<'_>) -> Option<(Place, usize)> {
        let mut next = self.end_place(End::Front);
        while let Some(place) = next {
            if let Some(index) = self.node(place).find(needle) {
                return Some((place, index));
            }
            next = self.next(place);
        }
        None
    }

    /// Inserts an element before or behind the one with this number in its node.
    pub(super) fn insert(
        &mut self,
        place: Place,
        index: usize,
        side: Side,
        element: StrRef<'_>,
        limits: NodeLimits,
    ) {
        let node = self.node(place);
        let at = index + usize::from(side == Side::After);
        if node.allows(element.len(), limits) {
            let offset = node.offset(at);
            return self.edit(place, |node| node.run_mut().insert(offset, element.into()));
        }
        if at > 0 && at < node.count() {
            return self.insert_with_split(place, at, side, element, limits);
        }
        let (neighbour, its_end, new_place) = match side {
            Side::Before => (self.prev(place), End::Back, place),
            Side::After => (self.next(place), End::Front, place.behind()),
        };
        match neighbour.filter(|neighbour| self.node(*neighbour).allows(element.len(), limits)) {
            Some(neighbour) => {
                self.edit(neighbour, |node| node.run_mut().push(its_end, element.into(), Growth::Tight))
            }
            None => {
                self.insert_node(new_place, Node::of(element, limits));
            }
        }
    }

    /// Inserts an element between others of a full node, before number `at`.
    fn insert_with_split(
        &mut self,
        place: Place,
        at: usize,
        side: Side,
        element: StrRef<'_>,
        limits: NodeLimits,
    ) {
        let mut rest = self.edit(place, |node| node.split_off(at));
        if side == Side::Before && self.node(place).allows(element.len(), limits) {
            self.edit(place, |node| node.run_mut().push(End::Back, element.into(), Growth::Tight));
            let rest = self.insert_node(place.behind(), rest);
            self.join_around(rest, limits);
        } else if side == Side::After && rest.allows(element.len(), limits) {
            rest.run_mut().push(End::Front, element.into(), Growth::Tight);
            let rest = self.insert_node(place.behind(), rest);
            let centre = self.prev(rest).expect("the node that was split");
            self.join_around(centre, limits);
        } else {
            let middle = self.insert_node(place.behind(), Node::of(element, limits));
            self.insert_node(middle.behind(), rest);
        }
    }

    /// Puts an element in the place of the one with this number in its node.
    pub(super) fn replace(&mut self, place: Place, index: usize, element: StrRef<'_>, limits: NodeLimits) {
        let node = self.node(place);
        let (count, offset) = (node.count(), node.offset(index));
        if node.may_replace(offset, element, limits) {
            return self.edit(place, |node| node.run_mut().replace(offset, element.into()));
        }
        if matches!(node, Node::Plain(_))
            && let Some(next) = self.next(place).filter(|next| self.node(*next).allows(element.len(), limits))
        {
            self.edit(next, |node| node.run_mut().push(End::Front, element.into(), Growth::Tight));
            self.remove_node(place);
            return;
        }
        // The new element gets a node of its own, between those of what stands before and behind it.
        let rest = (index + 1 < count).then(|| self.edit(place, |node| node.split_off(index + 1)));
        let mut new = place;
        if index == 0 {
            self.edit(place, |node| *node = Node::of(element, limits));
        } else {
            self.edit(place, |node| node.drop_back());
            new = self.insert_node(place.behind(), Node::of(element, limits));
        }
        if let Some(rest) = rest {
            let rest = self.insert_node(new.behind(), rest);
            new = self.prev(rest).expect("the new element's node");
        }
        if index > 0 {
            self.join_around(new, limits);
        }
    }

    /// Removes `count` elements from number `start` on; there are that many.
    pub(super) fn remove_range(&mut self, start: usize, count: usize) {
        let mut left = count;
        let mut next = (left > 0).then(|| self.seek(start));
        while let Some((place, index)) = next.filter(|_| left > 0) {
            let node = self.node(place);
            let removed = left.min(node.count() - index);
            left -= removed;
            let follower = if removed == node.count() {
                self.remove_node(place)
            } else {
                let bytes = node.offset(index)..node.offset(index + removed);
                self.edit(place, |node| node.run_mut().remove(bytes, removed));
                self.next(place)
            };
            next = follower.map(|place| (place, 0));
        }
    }

    /// Removes up to `max` elements that equal the needle, from this end on, and returns how many.
    pub(super) fn remove_matching(&mut self, needle: &Needle<'_>, max: usize, from: End) -> usize {
        let mut removed = 0;
        let mut next = self.end_place(from);
        while let Some(place) = next.filter(|_| removed < max) {
            let count = self.node(place).count();
            let outcome = self.edit(place, |node| node.remove_matching(needle, max - removed, from));
            next = match (outcome, from) {
                (Removed::Some(_), End::Front) => self.next(place),
                (Removed::Some(_), End::Back) => self.prev(place),
                (Removed::All, End::Front) => self.remove_node(place),
                (Removed::All, End::Back) => {
                    let before = self.prev(place);
                    self.remove_node(place);
                    before
                }
            };
            removed += match outcome {
                Removed::Some(removed) => removed,
                Removed::All => count,
            };
        }
        removed
    }

    /// Frees nodes until that was about so much effort; true while some are left.
    pub(super) fn free_some(&mut self, effort_max: usize) -> bool {
        let mut effort = 0;
        while effort < effort_max
            && let Some(place) = self.end_place(End::Back)
        {
            effort +=
                self.edit(place, Node::cut).unwrap_or_else(|| effort_of(self.take_node(place).heap_bytes()));
        }
        self.nodes > 0
    }

    /// Joins small nodes around this one (Redis's order: the neighbours with theirs first).
    fn join_around(&mut self, centre: Place, limits: NodeLimits) {
        let mut centre = centre;
        if let Some(prev) = self.prev(centre)
            && let Some(first) = self.prev(prev)
            && self.join(first, limits)
        {
            centre = self.next(first).expect("the centre");
        }
        if let Some(next) = self.next(centre) {
            self.join(next, limits);
        }
        if let Some(prev) = self.prev(centre)
            && self.join(prev, limits)
        {
            centre = prev;
        }
        self.join(centre, limits);
    }

    /// Takes the next node's elements into this one, if the limits allow it.
    fn join(&mut self, place: Place, limits: NodeLimits) -> bool {
        let Some(next) = self.next(place).filter(|next| self.node(place).may_join(self.node(*next), limits))
        else {
            return false;
        };
        let Node::Packed(next) = self.take_node(next) else { unreachable!("large elements join nothing") };
        self.edit(place, |node| node.run_mut().append(&next));
        true
    }

    /// Changes a node in place; it keeps at least one element.
    #[inline]
    fn edit<R>(&mut self, place: Place, change: impl FnOnce(&mut Node) -> R) -> R {
        self.keep_if_saving(place.group);
        let group = &mut self.groups[place.group];
        let node = &mut group.nodes[place.node];
        let (count, bytes) = (node.count(), node.heap_bytes());
        let result = change(node);
        let (new_count, new_bytes) = (node.count(), node.heap_bytes());
        group.len = group.len + new_count - count;
        self.len = self.len + new_count - count;
        self.bytes = self.bytes + new_bytes - bytes;
        result
    }

    /// Inserts a node and returns where it is. Other places are no longer valid.
    fn insert_node(&mut self, place: Place, node: Node) -> Place {
        let Place { group, node: at } = place;
        let nodes = self.groups[group].nodes.len();
        if nodes < GROUP_NODES_MAX {
            self.keep_if_saving(group);
            self.len += node.count();
            self.bytes += node.heap_bytes();
            self.nodes += 1;
            let group = &mut self.groups[group];
            self.bytes -= group.bytes();
            group.len += node.count();
            group.nodes.insert(at, node);
            self.bytes += group.bytes();
            return place;
        }
        // A full group that grows at its end stays full, as long lists grow there.
        if at == 0 {
            return self.insert_group(group, Group::of([node].into()));
        }
        if at == nodes {
            return self.insert_group(group + 1, Group::of([node].into()));
        }
        let half = nodes / 2;
        let upper = self.take_group_part(group, half);
        self.insert_group(group + 1, upper);
        let place = if at <= half { place } else { Place { group: group + 1, node: at - half } };
        self.insert_node(place, node)
    }

    fn insert_group(&mut self, at: usize, group: Group) -> Place {
        self.len += group.len;
        self.nodes += group.nodes.len();
        self.bytes += group.bytes() + group.nodes.iter().map(Node::heap_bytes).sum::<usize>();
        self.groups.insert(at, group);
        Place { group: at, node: 0 }
    }

    /// Takes the nodes from number `at` on out of a group.
    fn take_group_part(&mut self, group: usize, at: usize) -> Group {
        self.keep_if_saving(group);
        let lower = &mut self.groups[group];
        self.bytes -= lower.bytes();
        let mut upper = lower.nodes.split_off(at);
        upper.shrink_to_fit();
        lower.nodes.shrink_to_fit();
        let upper = Group::of(upper);
        lower.len -= upper.len;
        self.bytes += lower.bytes();
        self.bytes -= upper.nodes.iter().map(Node::heap_bytes).sum::<usize>();
        self.len -= upper.len;
        self.nodes -= upper.nodes.len();
        upper
    }

    /// Removes a node and returns the place of what follows.
    fn remove_node(&mut self, place: Place) -> Option<Place> {
        self.take_node(place);
        let group = self.groups.get(place.group)?;
        if place.node < group.nodes.len() {
            return Some(place);
        }
        // Either the group is another one now, or the next one follows.
        (place.group + 1 < self.groups.len()).then_some(Place { group: place.group + 1, node: 0 })
    }

    /// Takes a node out.
    fn take_node(&mut self, place: Place) -> Node {
        self.keep_if_saving(place.group);
        let group = &mut self.groups[place.group];
        let node = group.nodes.remove(place.node).expect("a node's place");
        group.len -= node.count();
        self.len -= node.count();
        self.nodes -= 1;
        self.bytes -= node.heap_bytes();
        if group.nodes.is_empty() {
            self.bytes -= group.bytes();
            self.groups.remove(place.group);
        }
        node
    }
}

/// A copy takes no more room than it needs, so its bytes are counted anew.
impl Clone for Quicklist {
    fn clone(&self) -> Quicklist {
        let mut copy = Quicklist::default();
        for (number, group) in self.groups.iter().enumerate() {
            copy.insert_group(number, Group::of(group.nodes.clone()));
        }
        copy
    }
}

/// Which part of a sequence holds element number `index`, and the element's number in it, given the elements of each part
/// and of all. Walks from the nearer end.
fn nearest<T>(parts: &VecDeque<T>, len: usize, index: usize, len_of: impl Fn(&T) -> usize) -> (usize, usize) {
    debug_assert!(index < len);
    if index <= len / 2 {
        let mut left = index;
        for (number, part) in parts.iter().enumerate() {
            let part_len = len_of(part);
            if left < part_len {
                return (number, left);
            }
            left -= part_len;
        }
    } else {
        let mut start = len;
        for (number, part) in parts.iter().enumerate().rev() {
            start -= len_of(part);
            if index >= start {
                return (number, index - start);
            }
        }
    }
    unreachable!("the parts hold {len} elements")
}

#[cfg(test)]
impl Quicklist {
    /// Panics unless all sums are right; returns the number of elements of each node.
    pub(super) fn check(&self) -> Vec<usize> {
        let groups = || self.groups.iter();
        let nodes = || groups().flat_map(|group| &group.nodes);
        assert_eq!(self.nodes, nodes().count());
        assert_eq!(self.len, nodes().map(Node::count).sum());
        let node_bytes: usize = nodes().map(Node::heap_bytes).sum();
        assert_eq!(self.bytes, node_bytes + groups().map(Group::bytes).sum::<usize>());
        for group in groups() {
            assert!(!group.nodes.is_empty() && group.nodes.len() <= GROUP_NODES_MAX);
            assert_eq!(group.len, group.nodes.iter().map(Node::count).sum());
        }
        nodes().map(Node::count).collect()
    }
}
