//! What follows from a spec: ACL categories, the one-range view of its keys, and whether keys can move.
//!
//! Owns the rules of Redis 7.2 for all three. Never holds facts about single commands.

use crate::spec::{Access, Begin, Category, Find, Flags, Group, Spec};

/// First key, last key (negative: from the end) and step, as COMMAND INFO shows them; zeros when no such range exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    pub first: i64,
    pub last: i64,
    pub step: i64,
}

/// The categories of a command, in the order of [`Category`]. Containers belong to none that follows from a group.
pub fn categories(spec: &Spec, is_container: bool) -> Vec<Category> {
    let flags = spec.flags;
    let from_flags = [
        (Flags::WRITE, Category::Write),
        (Flags::ADMIN, Category::Admin),
        (Flags::ADMIN, Category::Dangerous),
        (Flags::PUBSUB, Category::PubSub),
        (Flags::FAST, Category::Fast),
        (Flags::BLOCKING, Category::Blocking),
    ];
    let mut categories: Vec<Category> =
        from_flags.iter().filter(|(flag, _)| flags.has(*flag)).map(|&(_, category)| category).collect();
    if !flags.has(Flags::FAST) {
        categories.push(Category::Slow);
    }
    // Scripts that only read are not reads: they may read anything.
    if flags.has(Flags::READONLY) && spec.docs.group != Group::Scripting {
        categories.push(Category::Read);
    }
    if !is_container {
        categories.extend(of_group(spec.docs.group));
    }
    categories.extend_from_slice(spec.categories);
    categories.sort_unstable();
    categories.dedup();
    categories
}

/// Groups that are categories too.
fn of_group(group: Group) -> Option<Category> {
    match group {
        Group::String => Some(Category::String),
        Group::List => Some(Category::List),
        Group::Set => Some(Category::Set),
        Group::SortedSet => Some(Category::SortedSet),
        Group::Hash => Some(Category::Hash),
        Group::Bitmap => Some(Category::Bitmap),
        Group::HyperLogLog => Some(Category::HyperLogLog),
        Group::Geo => Some(Category::Geo),
        Group::Stream => Some(Category::Stream),
        Group::Scripting => Some(Category::Scripting),
        Group::Transactions => Some(Category::Transaction),
        Group::Generic
        | Group::PubSub
        | Group::Connection
        | Group::Server
        | Group::Cluster
        | Group::Sentinel => None,
    }
}

/// Flags that servers keep to themselves.
const INTERNAL: Flags =
    Flags::SENTINEL.and(Flags::PROTECTED).and(Flags::MAY_REPLICATE).and(Flags::TOUCHES_ARBITRARY_KEYS);

/// The flags that clients are shown, with those that follow from the key specs.
pub fn flags(spec: &Spec) -> Flags {
    let flags = spec.flags.without(INTERNAL);
    if summary(spec).movable { flags.and(Flags::MOVABLE_KEYS) } else { flags }
}

/// The keys of a command as one range, for clients that know no key specs.
pub fn key_range(spec: &Spec) -> KeyRange {
    summary(spec).range
}

struct Summary {
    range: KeyRange,
    /// Some keys are not in the range.
    movable: bool,
}

/// One spec is taken as it is; several are joined as long as they are plain ranges right behind each other.
fn summary(spec: &Spec) -> Summary {
    let mut movable = spec.keys.iter().any(|key| key.access.has(Access::INCOMPLETE));
    let mut ranges = spec.keys.iter().map(|key| match (key.begin, key.find) {
        (Begin::Index(first), Find::Range { last, step, .. }) => {
            let last = if last >= 0 { first as i64 + i64::from(last) } else { i64::from(last) };
            Some(KeyRange { first: first as i64, last, step: step as i64 })
        }
        _ => None,
    });
    if spec.keys.len() == 1 {
        let range = ranges.next().flatten();
        return Summary { movable: movable || range.is_none(), range: range.unwrap_or_default() };
    }
    let mut joined: Option<KeyRange> = None;
    for range in ranges {
        match (range, &mut joined) {
            (Some(range), None) if range.step == 1 => joined = Some(range),
            (Some(range), Some(before)) if range.step == 1 && before.last == range.first - 1 => {
                before.last = range.last;
            }
            _ => movable = true,
        }
    }
    Summary { range: joined.unwrap_or_default(), movable }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Docs, KeySpec};

    fn range<const N: usize>(keys: [KeySpec; N]) -> ((i64, i64, i64), bool) {
        let keys = Box::leak(Box::new(keys));
        let spec = Spec { keys, ..Spec::DEFAULT };
        let KeyRange { first, last, step } = key_range(&spec);
        ((first, last, step), flags(&spec).has(Flags::MOVABLE_KEYS))
    }

    #[test]
    fn key_specs_become_one_range_where_they_can() {
        const RO: Access = Access::RO;
        assert_eq!(range([]), ((0, 0, 0), false));
        assert_eq!(range([KeySpec::at(1, RO)]), ((1, 1, 1), false));
        assert_eq!(range([KeySpec::range(1, -1, 2, RO)]), ((1, -1, 2), false));
        assert_eq!(range([KeySpec::at(1, RO), KeySpec::at(2, RO)]), ((1, 2, 1), false));
        assert_eq!(range([KeySpec::at(2, RO), KeySpec::range(3, -1, 1, RO)]), ((2, -1, 1), false));
        assert_eq!(range([KeySpec::counted(1, RO)]), ((0, 0, 0), true));
        assert_eq!(range([KeySpec::at(1, RO), KeySpec::counted(2, RO)]), ((1, 1, 1), true));
        assert_eq!(range([KeySpec::at(1, RO), KeySpec::at(3, RO)]), ((1, 1, 1), true));
        assert_eq!(range([KeySpec::at(1, RO.and(Access::INCOMPLETE))]), ((1, 1, 1), true));
    }

    #[test]
    fn categories_follow_from_flags_and_group() {
        let of = |flags, group, is_container| {
            let docs = Box::leak(Box::new(Docs { group, ..Docs::DEFAULT }));
            categories(&Spec { flags, docs, ..Spec::DEFAULT }, is_container)
        };
        use Category::*;
        assert_eq!(of(Flags::WRITE, Group::String, false), [Write, String, Slow]);
        assert_eq!(of(Flags::READONLY.and(Flags::FAST), Group::Hash, false), [Read, Hash, Fast]);
        assert_eq!(of(Flags::ADMIN, Group::Server, false), [Admin, Slow, Dangerous]);
        assert_eq!(of(Flags::READONLY, Group::Scripting, false), [Slow, Scripting]);
        assert_eq!(of(Flags::NONE, Group::Stream, true), [Slow]);
    }
}
