//! A list as a sequence of its nodes, which is how RDB files carry it. Never knows that format.

use bytes::Bytes;

use super::node::Node;
use super::quicklist::Quicklist;
use super::run::Run;
use super::{End, Form, List, NodeLimits, push_all};
use crate::listpack::Listpack;

/// Neighbouring elements of a list.
pub enum Part<'a> {
    Packed(Listpack),
    /// A large element alone.
    Plain(&'a Bytes),
}

impl<'a> Part<'a> {
    pub(super) fn of(node: &'a Node) -> Part<'a> {
        match node {
            Node::Packed(run) => Part::Packed(run.to_listpack()),
            Node::Plain(bytes) => Part::Plain(bytes),
        }
    }
}

impl List {
    /// Number of parts.
    pub fn parts_len(&self) -> usize {
        match &self.form {
            Form::Compact(_) => 1,
            Form::General(list) => list.nodes(),
        }
    }

    /// Visits all parts in order.
    pub fn for_each_part(&self, mut visit: impl FnMut(Part<'_>)) {
        let list = match &self.form {
            Form::Compact(run) => return visit(Part::Packed(run.to_listpack())),
            Form::General(list) => list,
        };
        let mut next = list.end_place(End::Front);
        while let Some(place) = next {
            visit(Part::of(list.node(place)));
            next = list.next(place);
        }
    }
}

/// Puts a list together, part by part from the front.
#[derive(Debug, Default)]
pub struct ListBuilder {
    /// The first part, as long as it is the only one.
    only: Option<Listpack>,
    list: Quicklist,
}

impl ListBuilder {
    /// Adds elements; none are no part.
    pub fn push_packed(&mut self, listpack: Listpack) {
        if listpack.is_empty() {
            return;
        }
        if self.only.is_none() && self.list.len() == 0 {
            self.only = Some(listpack);
        } else {
            self.spread();
            push_all(&mut self.list, &listpack);
        }
    }

    /// Adds a large element.
    pub fn push_plain(&mut self, element: Vec<u8>) {
        self.spread();
        self.list.push_node(End::Back, Node::Plain(Box::new(Bytes::from(element))));
    }

    /// The list, compact if it may be; `None` without elements.
    pub fn finish(mut self, limits: NodeLimits) -> Option<List> {
        if let Some(listpack) = self.only.take() {
            if !limits.are_exceeded(listpack.total_bytes(), listpack.len()) {
                let run = Run::of_elements(listpack.elements(), listpack.len());
                return Some(List { form: Form::Compact(run) });
            }
            push_all(&mut self.list, &listpack);
        }
        (self.list.len() > 0).then(|| List { form: Form::General(Box::new(self.list)) })
    }

    /// A part is not the only one any more.
    fn spread(&mut self) {
        if let Some(listpack) = self.only.take() {
            push_all(&mut self.list, &listpack);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StrRef;

    /// Taken apart and put together again, a list is the same, with the same nodes.
    #[test]
    fn parts_make_the_same_list() {
        for size in [-1, -2, 4] {
            let limits = NodeLimits::new(size);
            for elements in [1, 3, 5, 200, 3_000] {
                let mut list = List::new();
                for number in 0..elements {
                    let text = match number % 50 {
                        49 => vec![b'x'; 70_000],
                        short => vec![b'a' + short as u8; short % 40],
                    };
                    list.push(End::Back, std::iter::once(StrRef::Bytes(&text)), limits);
                    list.push(End::Back, std::iter::once(StrRef::Int(number as i64)), limits);
                }
                let (mut builder, mut parts) = (ListBuilder::default(), 0);
                list.for_each_part(|part| {
                    parts += 1;
                    match part {
                        Part::Packed(listpack) => builder.push_packed(listpack),
                        Part::Plain(bytes) => builder.push_plain(bytes.to_vec()),
                    }
                });
                assert_eq!(parts, list.parts_len());
                let again = builder.finish(limits).expect("it has elements");
                assert_eq!(again.node_lens(), list.node_lens());
                assert!(
                    again
                        .iter()
                        .map(|element| element.to_vec())
                        .eq(list.iter().map(|element| element.to_vec()))
                );
            }
        }
    }

    #[test]
    fn no_elements_are_no_list() {
        let limits = NodeLimits::new(-2);
        let mut builder = ListBuilder::default();
        builder.push_packed(Listpack::new());
        assert!(builder.finish(limits).is_none());
        let mut builder = ListBuilder::default();
        builder.push_packed((0..10_000).map(|number: u32| number.to_string()).collect());
        let list = builder.finish(limits).expect("it has elements");
        assert_eq!((list.len(), list.encoding()), (10_000, crate::Encoding::Quicklist));
        assert!(list.node_lens().iter().sum::<usize>() == 10_000);
    }
}
