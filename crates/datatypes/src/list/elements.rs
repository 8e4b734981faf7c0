//! Walking over the elements of a list, in both directions. Never changes the list.

use super::End;
use super::node::Node;
use super::quicklist::{Place, Quicklist};
use super::run::Run;
use crate::StrRef;
use crate::listpack::{element_bytes, item, start_before};

/// A number of neighbouring elements of a list, in their order or backwards.
#[derive(Clone)]
pub struct Elements<'a> {
    /// Elements that are still to come.
    left: usize,
    from: End,
    /// The elements of the current node, and where in it the next one begins (from the front) or ends (from the back).
    run: &'a [u8],
    at: usize,
    /// The list and the current node's place, where there are more nodes.
    nodes: Option<(&'a Quicklist, Place)>,
}

impl<'a> Elements<'a> {
    pub(super) fn none() -> Elements<'a> {
        Elements { left: 0, from: End::Front, run: &[], at: 0, nodes: None }
    }

    /// `count` elements from the one at byte `at` on.
    pub(super) fn of_run(run: &'a Run, at: usize, count: usize, from: End) -> Elements<'a> {
        let run = run.elements();
        let at = if from == End::Front { at } else { at + element_bytes(&run[at..]) };
        Elements { left: count, from, run, at, nodes: None }
    }

    /// `count` elements from number `start` on.
    pub(super) fn of_quicklist(list: &'a Quicklist, start: usize, count: usize, from: End) -> Elements<'a> {
        let (place, index) = list.seek(start);
        let mut elements = Elements { left: count, from, run: &[], at: 0, nodes: Some((list, place)) };
        if let Node::Packed(run) = list.node(place) {
            elements.run = run.elements();
            elements.at = run.offset(index + usize::from(from == End::Back));
        }
        elements
    }

    /// Goes on to the next node.
    fn enter_next(&mut self) {
        let Some((list, place)) = self.nodes else { return };
        let next = match self.from {
            End::Front => list.next(place),
            End::Back => list.prev(place),
        };
        let Some(place) = next else { return };
        self.nodes = Some((list, place));
        self.run = match list.node(place) {
            Node::Packed(run) => run.elements(),
            Node::Plain(_) => &[],
        };
        self.at = if self.from == End::Front { 0 } else { self.run.len() };
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = StrRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<StrRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        if self.run.is_empty() {
            let (list, place) = self.nodes?;
            let element = list.node(place).peek(self.from);
            self.enter_next();
            return Some(element);
        }
        let begin = match self.from {
            End::Front => self.at,
            End::Back => start_before(self.run, self.at),
        };
        let element = item(&self.run[begin..]).into();
        let is_last = match self.from {
            End::Front => {
                self.at += element_bytes(&self.run[begin..]);
                self.at == self.run.len()
            }
            End::Back => {
                self.at = begin;
                begin == 0
            }
        };
        if is_last {
            self.enter_next();
        }
        Some(element)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Elements<'_> {}
