//! Hot path. The order of a big sorted set: a B+ tree whose inner nodes count what lies below them, so that an entry, its
//! rank, and the entry of a rank are each found in O(log n).
//!
//! Owns the shape of the tree. Never knows what a handle refers to, nor what makes the order: a place is told by a
//! question, `before`, that is true for all entries up to it and false for all behind it.

use std::ops::Range;

use super::entries::Entries;

/// Entries of a leaf, which then takes 1,016 bytes: jemalloc's class of 1,024.
const LEAF_LEN_MAX: usize = 63;
/// Children of an inner node, which then takes 2,048 bytes.
const INNER_LEN_MAX: usize = 51;
/// A node with fewer than a third of what it may have joins a neighbour if both fit into one.
const SPARSE_SHARE: usize = 3;

type Leaf<H> = Entries<H, LEAF_LEN_MAX>;

struct Inner<H> {
    /// The last entry below each child.
    lasts: Entries<H, INNER_LEN_MAX>,
    /// Number of entries below each child.
    counts: [usize; INNER_LEN_MAX],
    children: [Option<Node<H>>; INNER_LEN_MAX],
}

enum Node<H> {
    Leaf(Box<Leaf<H>>),
    Inner(Box<Inner<H>>),
}

/// Number of nodes of each kind.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
struct Nodes {
    leaves: usize,
    inners: usize,
}

/// Entries in order, each a score and a handle.
pub(super) struct Tree<H> {
    root: Node<H>,
    nodes: Nodes,
}

impl<H: Copy + PartialEq> Tree<H> {
    pub(super) fn new() -> Tree<H> {
        Tree { root: Node::Leaf(Box::new(Leaf::new())), nodes: Nodes { leaves: 1, inners: 0 } }
    }

    /// Bytes of all nodes. O(1).
    pub(super) fn heap_bytes(&self) -> usize {
        use crate::entry::class::allocated_bytes;
        self.nodes.leaves * allocated_bytes(size_of::<Leaf<H>>())
            + self.nodes.inners * allocated_bytes(size_of::<Inner<H>>())
    }

    /// How many entries lie before a place.
    pub(super) fn rank(&self, mut before: impl FnMut(f64, H) -> bool) -> usize {
        let (mut node, mut rank) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(leaf) => return rank + leaf.partition(before),
                Node::Inner(inner) => {
                    let at = inner.child_at(&mut before);
                    rank += inner.counts[..at].iter().sum::<usize>();
                    node = inner.child(at);
                }
            }
        }
    }

    /// Visits the entries of these ranks, in order or from the last one back.
    pub(super) fn visit(&self, ranks: Range<usize>, reverse: bool, mut visit: impl FnMut(Run<'_, H>)) {
        let Range { mut start, mut end } = ranks;
        while start < end {
            if reverse {
                let (leaf, at) = self.leaf_of(end - 1);
                let first = (at + 1).saturating_sub(end - start);
                visit(Run { leaf, range: first..at + 1 });
                end -= at + 1 - first;
            } else {
                let (leaf, at) = self.leaf_of(start);
                let last = leaf.len().min(at + end - start);
                visit(Run { leaf, range: at..last });
                start += last - at;
            }
        }
    }

    /// The leaf with the entry of a rank, and the entry's place there.
    fn leaf_of(&self, rank: usize) -> (&Leaf<H>, usize) {
        let (mut node, mut by_rank) = (&self.root, ByRank(rank));
        loop {
            match node {
                Node::Leaf(leaf) => return (leaf, by_rank.0),
                Node::Inner(inner) => node = inner.child(by_rank.in_inner(inner)),
            }
        }
    }

    /// Puts a new entry at its place.
    pub(super) fn insert(&mut self, mut before: impl FnMut(f64, H) -> bool, entry: (f64, H)) {
        let edges = Edges { first: true, last: true };
        if let Some(right) = self.root.insert(&mut before, entry, edges, &mut self.nodes) {
            let left = std::mem::replace(&mut self.root, Node::Inner(Box::new(Inner::new())));
            self.nodes.inners += 1;
            let Node::Inner(root) = &mut self.root else { unreachable!("just made") };
            root.insert(0, left);
            root.insert(1, right);
        }
    }

    /// Takes the first entry out that is not before a place.
    pub(super) fn remove(&mut self, before: impl FnMut(f64, H) -> bool) {
        self.take(&mut ByOrder(before), 1, &mut |_, _| {});
    }

    /// Takes entries out from a rank on, at most as many as lie together in a leaf; returns how many. They are visited in
    /// order; `visit` must not free them, since the tree still looks at their handles.
    pub(super) fn remove_run(
        &mut self,
        rank: usize,
        count_max: usize,
        mut visit: impl FnMut(f64, H),
    ) -> usize {
        self.take(&mut ByRank(rank), count_max, &mut visit)
    }

    fn take(
        &mut self,
        locate: &mut impl Locate<H>,
        count_max: usize,
        visit: &mut impl FnMut(f64, H),
    ) -> usize {
        let taken = self.root.take(locate, count_max, visit, &mut self.nodes);
        while let Node::Inner(root) = &mut self.root {
            if root.len() > 1 {
                break;
            }
            self.root = root.children[0].take().expect("an inner node is never empty");
            self.nodes.inners -= 1;
        }
        taken
    }

    /// Gives the first entry that is not before `old` another score, if its place among its neighbours in the leaf is
    /// then the same, `new`. Otherwise nothing changes, and the answer is false.
    pub(super) fn move_in_place(
        &mut self,
        mut old: impl FnMut(f64, H) -> bool,
        mut new: impl FnMut(f64, H) -> bool,
        score: f64,
    ) -> bool {
        let mut node = &mut self.root;
        loop {
            match node {
                Node::Leaf(leaf) => {
                    let at = leaf.partition(old);
                    if at == 0 || at + 1 >= leaf.len() {
                        return false;
                    }
                    let (left, right) = (leaf.get(at - 1), leaf.get(at + 1));
                    let stays = new(left.0, left.1) && !new(right.0, right.1);
                    if stays {
                        leaf.set_score(at, score);
                    }
                    return stays;
                }
                Node::Inner(inner) => {
                    let at = inner.child_at(&mut old);
                    node = inner.child_mut(at);
                }
            }
        }
    }

    /// Frees a node; false when only the root is left. Nothing but this may be done with the tree afterwards.
    pub(super) fn free_node(&mut self) -> bool {
        let mut node = &mut self.root;
        while let Node::Inner(inner) = node
            && let Some(last) = inner.len().checked_sub(1)
        {
            let is_bare = match inner.child(last) {
                Node::Leaf(_) => true,
                Node::Inner(below) => below.len() == 0,
            };
            if is_bare {
                inner.remove(last);
                return true;
            }
            node = inner.child_mut(last);
        }
        false
    }
}

/// Entries that lie together.
pub(super) struct Run<'a, H> {
    leaf: &'a Leaf<H>,
    range: Range<usize>,
}

impl<H: Copy> Run<'_, H> {
    #[inline]
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (f64, H)> + ExactSizeIterator {
        self.range.clone().map(|at| self.leaf.get(at))
    }
}

/// Whether a node lies at an end of the tree. There, entries tend to come in order: full nodes are left full.
#[derive(Clone, Copy)]
struct Edges {
    first: bool,
    last: bool,
}

impl Edges {
    /// Where to split a full node that is to have something more at `at`; `least` stays on the left in any case.
    fn split_at(self, at: usize, len: usize, least: usize) -> usize {
        if self.last && at == len {
            len
        } else if self.first && at <= least {
            least
        } else {
            len / 2
        }
    }
}

impl<H: Copy + PartialEq> Node<H> {
    fn len(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.len(),
            Node::Inner(inner) => inner.len(),
        }
    }

    /// Number of entries below.
    fn count(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.len(),
            Node::Inner(inner) => inner.counts[..inner.len()].iter().sum(),
        }
    }

    fn last(&self) -> (f64, H) {
        match self {
            Node::Leaf(leaf) => leaf.last(),
            Node::Inner(inner) => inner.lasts.last(),
        }
    }

    fn is_sparse(&self) -> bool {
        match self {
            Node::Leaf(leaf) => leaf.len() < LEAF_LEN_MAX / SPARSE_SHARE,
            Node::Inner(inner) => inner.len() < INNER_LEN_MAX / SPARSE_SHARE,
        }
    }

    /// Puts an entry at its place below; returns what has split off to the right.
    fn insert(
        &mut self,
        before: &mut impl FnMut(f64, H) -> bool,
        entry: (f64, H),
        edges: Edges,
        nodes: &mut Nodes,
    ) -> Option<Node<H>> {
        match self {
            Node::Leaf(leaf) => {
                let at = leaf.partition(before);
                if leaf.len() < LEAF_LEN_MAX {
                    leaf.insert(at, entry);
                    return None;
                }
                let mut right = Box::new(Leaf::new());
                nodes.leaves += 1;
                let split = edges.split_at(at, leaf.len(), 0);
                leaf.split_into(split, &mut right);
                if at < split || leaf.len() < LEAF_LEN_MAX && at == split {
                    leaf.insert(at, entry);
                } else {
                    right.insert(at - split, entry);
                }
                Some(Node::Leaf(right))
            }
            Node::Inner(inner) => {
                let place = inner.lasts.partition(&mut *before);
                let at = place.min(inner.len() - 1);
                let below =
                    Edges { first: edges.first && at == 0, last: edges.last && at == inner.len() - 1 };
                inner.counts[at] += 1;
                let Some(split_off) = inner.child_mut(at).insert(before, entry, below, nodes) else {
                    if place > at {
                        inner.lasts.set(at, entry);
                    }
                    return None;
                };
                inner.refresh(at);
                let at = at + 1;
                if inner.len() < INNER_LEN_MAX {
                    inner.insert(at, split_off);
                    return None;
                }
                let mut right = Box::new(Inner::new());
                nodes.inners += 1;
                let split = edges.split_at(at, inner.len(), 1);
                inner.split_into(split, &mut right);
                if at < split || inner.len() < INNER_LEN_MAX && at == split {
                    inner.insert(at, split_off);
                } else {
                    right.insert(at - split, split_off);
                }
                Some(Node::Inner(right))
            }
        }
    }

    /// Takes entries out from where `locate` leads, at most as many as lie in one leaf; returns how many.
    fn take(
        &mut self,
        locate: &mut impl Locate<H>,
        count_max: usize,
        visit: &mut impl FnMut(f64, H),
        nodes: &mut Nodes,
    ) -> usize {
        match self {
            Node::Leaf(leaf) => {
                let at = locate.in_leaf(leaf);
                let end = leaf.len().min(at + count_max);
                (at..end).map(|at| leaf.get(at)).for_each(|(score, handle)| visit(score, handle));
                leaf.remove(at..end);
                end - at
            }
            Node::Inner(inner) => {
                let at = locate.in_inner(inner);
                let taken = inner.child_mut(at).take(locate, count_max, visit, nodes);
                inner.counts[at] -= taken;
                inner.settle(at, nodes);
                taken
            }
        }
    }

    /// Takes over everything of the neighbour to the right, which is of the same kind.
    fn append(&mut self, right: Node<H>, nodes: &mut Nodes) {
        match (self, right) {
            (Node::Leaf(left), Node::Leaf(right)) => {
                left.append(&right);
                nodes.leaves -= 1;
            }
            (Node::Inner(left), Node::Inner(right)) => {
                left.append(*right);
                nodes.inners -= 1;
            }
            _ => unreachable!("all leaves are equally deep"),
        }
    }
}

impl<H: Copy + PartialEq> Inner<H> {
    fn new() -> Inner<H> {
        Inner { lasts: Entries::new(), counts: [0; INNER_LEN_MAX], children: [const { None }; INNER_LEN_MAX] }
    }

    #[inline]
    fn len(&self) -> usize {
        self.lasts.len()
    }

    #[inline]
    fn child(&self, at: usize) -> &Node<H> {
        self.children[at].as_ref().expect("children below the length are there")
    }

    #[inline]
    fn child_mut(&mut self, at: usize) -> &mut Node<H> {
        self.children[at].as_mut().expect("children below the length are there")
    }

    /// The child with the first entry that is not before a place; the last child if there is none.
    #[inline]
    fn child_at(&self, before: &mut impl FnMut(f64, H) -> bool) -> usize {
        self.lasts.partition(before).min(self.len() - 1)
    }

    /// Puts a child that is not empty at a place; there must be room.
    fn insert(&mut self, at: usize, child: Node<H>) {
        let len = self.len();
        self.counts.copy_within(at..len, at + 1);
        self.counts[at] = child.count();
        self.lasts.insert(at, child.last());
        self.children[at..=len].rotate_right(1);
        self.children[at] = Some(child);
    }

    fn remove(&mut self, at: usize) -> Node<H> {
        let len = self.len();
        self.counts.copy_within(at + 1..len, at);
        self.lasts.remove(at..at + 1);
        let child = self.children[at].take().expect("children below the length are there");
        self.children[at..len].rotate_left(1);
        child
    }

    /// Reads again what this node knows of a child.
    fn refresh(&mut self, at: usize) {
        let child = self.child(at);
        let (count, last) = (child.count(), child.last());
        self.counts[at] = count;
        self.lasts.set(at, last);
    }

    fn split_into(&mut self, at: usize, into: &mut Inner<H>) {
        let len = self.len();
        into.counts[..len - at].copy_from_slice(&self.counts[at..len]);
        for (from, to) in self.children[at..len].iter_mut().zip(&mut into.children) {
            *to = from.take();
        }
        self.lasts.split_into(at, &mut into.lasts);
    }

    fn append(&mut self, mut right: Inner<H>) {
        let (len, more) = (self.len(), right.len());
        self.counts[len..len + more].copy_from_slice(&right.counts[..more]);
        for (from, to) in right.children[..more].iter_mut().zip(&mut self.children[len..]) {
            *to = from.take();
        }
        self.lasts.append(&right.lasts);
    }

    /// Puts a child in order from which entries were taken: an empty one goes, a sparse one joins a neighbour.
    fn settle(&mut self, at: usize, nodes: &mut Nodes) {
        if self.counts[at] == 0 {
            nodes.forget(&self.remove(at));
            return;
        }
        self.lasts.set(at, self.child(at).last());
        if !self.child(at).is_sparse() {
            return;
        }
        let max = if matches!(self.child(at), Node::Leaf(_)) { LEAF_LEN_MAX } else { INNER_LEN_MAX };
        let fits =
            |left: usize| left + 1 < self.len() && self.child(left).len() + self.child(left + 1).len() <= max;
        let left = if fits(at) {
            at
        } else if at > 0 && fits(at - 1) {
            at - 1
        } else {
            return;
        };
        let right = self.remove(left + 1);
        self.child_mut(left).append(right, nodes);
        self.refresh(left);
    }
}

impl Nodes {
    /// Counts an emptied node no more.
    fn forget<H>(&mut self, node: &Node<H>) {
        match node {
            Node::Leaf(_) => self.leaves -= 1,
            Node::Inner(_) => self.inners -= 1,
        }
    }
}

/// A way down to an entry that is there.
trait Locate<H> {
    fn in_inner(&mut self, inner: &Inner<H>) -> usize;
    fn in_leaf(&mut self, leaf: &Leaf<H>) -> usize;
}

struct ByRank(usize);

impl<H: Copy + PartialEq> Locate<H> for ByRank {
    #[inline]
    fn in_inner(&mut self, inner: &Inner<H>) -> usize {
        let mut at = 0;
        while self.0 >= inner.counts[at] {
            self.0 -= inner.counts[at];
            at += 1;
        }
        at
    }

    #[inline]
    fn in_leaf(&mut self, _leaf: &Leaf<H>) -> usize {
        self.0
    }
}

struct ByOrder<F>(F);

impl<H: Copy + PartialEq, F: FnMut(f64, H) -> bool> Locate<H> for ByOrder<F> {
    #[inline]
    fn in_inner(&mut self, inner: &Inner<H>) -> usize {
        inner.child_at(&mut self.0)
    }

    #[inline]
    fn in_leaf(&mut self, leaf: &Leaf<H>) -> usize {
        leaf.partition(&mut self.0)
    }
}

impl<H> std::fmt::Debug for Tree<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").field("nodes", &self.nodes).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries whose handle is a number; equal scores are ordered by it.
    fn before((score, handle): (f64, u32)) -> impl FnMut(f64, u32) -> bool {
        move |other, number| (other, number) < (score, handle)
    }

    fn all(tree: &Tree<u32>) -> Vec<(f64, u32)> {
        let mut seen = Vec::new();
        tree.visit(0..tree.root.count(), false, |run| seen.extend(run.iter()));
        seen
    }

    /// What every node knows of those below it is true; returns (entries, depth, leaves, inner nodes).
    fn check_node(node: &Node<u32>) -> (Vec<(f64, u32)>, usize, Nodes) {
        match node {
            Node::Leaf(leaf) => {
                ((0..leaf.len()).map(|at| leaf.get(at)).collect(), 1, Nodes { leaves: 1, inners: 0 })
            }
            Node::Inner(inner) => {
                let (mut all, mut depths, mut nodes) =
                    (Vec::new(), Vec::new(), Nodes { leaves: 0, inners: 1 });
                for at in 0..inner.len() {
                    let (entries, depth, below) = check_node(inner.child(at));
                    assert_eq!(inner.counts[at], entries.len());
                    assert_eq!(Some(&inner.lasts.get(at)), entries.last());
                    all.extend(entries);
                    depths.push(depth);
                    nodes =
                        Nodes { leaves: nodes.leaves + below.leaves, inners: nodes.inners + below.inners };
                }
                assert!(inner.children[inner.len()..].iter().all(Option::is_none));
                depths.dedup();
                assert_eq!(depths.len(), 1, "all leaves are equally deep");
                (all, depths[0] + 1, nodes)
            }
        }
    }

    fn check(tree: &Tree<u32>, model: &[(f64, u32)]) {
        let (entries, _, nodes) = check_node(&tree.root);
        assert_eq!(entries, model);
        assert_eq!(tree.nodes, nodes);
    }

    fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
        let mut state = seed;
        move |below| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        }
    }

    #[test]
    fn nodes_have_the_sizes_that_the_allocator_likes() {
        assert_eq!(size_of::<Leaf<std::ptr::NonNull<u8>>>(), 1_016);
        assert_eq!(size_of::<Inner<std::ptr::NonNull<u8>>>(), 2_048);
    }

    /// Random growth and shrinking against a sorted vector.
    #[test]
    fn behaves_like_a_sorted_vector() {
        let steps = if cfg!(miri) { 400 } else { 12_000 };
        for seed in 1..=3 {
            let mut random = numbers(seed);
            let mut tree = Tree::new();
            let mut model: Vec<(f64, u32)> = Vec::new();
            let scores = [3, 1_000_000][seed as usize % 2];
            for step in 0..steps {
                let growing = step / (steps / 4) % 2 == 0;
                if model.is_empty() || random(10) < if growing { 8 } else { 2 } {
                    let entry = (random(scores) as f64, step as u32);
                    let at = model.partition_point(|other| *other < entry);
                    assert_eq!(tree.rank(before(entry)), at);
                    tree.insert(before(entry), entry);
                    model.insert(at, entry);
                } else if random(8) > 0 {
                    let at = random(model.len());
                    let (leaf, slot) = tree.leaf_of(at);
                    assert_eq!(leaf.get(slot), model[at]);
                    tree.remove(before(model.remove(at)));
                } else {
                    let at = random(model.len());
                    let mut taken = Vec::new();
                    let count =
                        tree.remove_run(at, 1 + random(80), |score, handle| taken.push((score, handle)));
                    assert!(count > 0 && count == taken.len());
                    assert_eq!(taken, model.drain(at..at + count).collect::<Vec<_>>());
                }
                if step % 500 == 0 {
                    check(&tree, &model);
                    let (from, to) = (random(model.len() + 1), random(model.len() + 1));
                    let range = from.min(to)..from.max(to);
                    let mut seen = Vec::new();
                    tree.visit(range.clone(), true, |run| seen.extend(run.iter().rev()));
                    seen.reverse();
                    assert_eq!(seen, model[range]);
                }
            }
            while !model.is_empty() {
                let at = random(model.len());
                tree.remove(before(model.remove(at)));
            }
            check(&tree, &[]);
            assert_eq!(tree.nodes, Nodes { leaves: 1, inners: 0 });
        }
    }

    #[test]
    fn entries_in_order_fill_the_nodes() {
        let count = if cfg!(miri) { 1_000 } else { 20_000 };
        for backwards in [false, true] {
            let mut tree = Tree::new();
            for number in 0..count {
                let number = if backwards { count - number } else { number };
                tree.insert(before((f64::from(number), number)), (f64::from(number), number));
            }
            let least = (count as usize).div_ceil(LEAF_LEN_MAX);
            assert!(tree.nodes.leaves <= least + 1, "{:?}", tree.nodes);
            assert!(tree.nodes.inners <= least.div_ceil(INNER_LEN_MAX - 1) + 3, "{:?}", tree.nodes);
            assert!(all(&tree).is_sorted());
        }
    }

    #[test]
    fn scores_change_in_place_where_the_order_allows_it() {
        let mut tree = Tree::new();
        let mut model: Vec<(f64, u32)> = (0..200).map(|number| (f64::from(number) * 10.0, number)).collect();
        model.iter().for_each(|&entry| tree.insert(before(entry), entry));
        let mut in_place = 0;
        for entry in &mut model {
            for score in [entry.0 + 5.0, entry.0 - 7.0, 1e9] {
                let new = (score, entry.1);
                if tree.move_in_place(before(*entry), before(new), score) {
                    in_place += 1;
                    *entry = new;
                }
            }
        }
        assert!(in_place > 360, "{in_place}");
        check(&tree, &model);
    }

    #[test]
    fn is_freed_node_by_node() {
        let mut tree = Tree::new();
        (0..10_000).for_each(|number| tree.insert(|_, _| true, (f64::from(number), number)));
        let nodes = tree.nodes;
        let mut freed = 0;
        while tree.free_node() {
            freed += 1;
        }
        assert_eq!(freed, nodes.leaves + nodes.inners - 1);
    }
}
