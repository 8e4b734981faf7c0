//! SORT and SORT_RO: the elements of a list, set or sorted set in an order, or what is stored under keys named after them.
//!
//! Owns what is loaded, looked up and returned. The options are in `options`, the order in `order`.

mod options;
mod order;

use std::iter;
use std::ops::Range;

use torc_datatypes::list::{End, List};
use torc_datatypes::value::IntText;
use torc_datatypes::{Entry, StrRef, Value, ValueRef};
use torc_keyspace::Class;
use torc_resp::{Args, CommandError, Reply};

use self::options::{Options, Pattern, store_key};
use self::order::{Texts, Weights, number, sorted};
use super::delete::replace;
use crate::families::string::write_optional;
use crate::{Access, Arity, Begin, Category, Command, Context, Docs, Find, Flags, Group, KeySpec, Run, Spec};

const CATEGORIES: &[Category] = &[Category::Set, Category::SortedSet, Category::List, Category::Dangerous];

const SOURCE: KeySpec = KeySpec::at(1, Access::RO_ACCESS);

/// Keys named after elements: what they are called is only known while the command runs.
const PATTERNS: KeySpec = KeySpec {
    begin: Begin::Unknown,
    find: Find::Unknown,
    access: Access::RO_ACCESS,
    notes: "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content of the \
            key we sort",
    by_options: None,
};

const DESTINATION: KeySpec = KeySpec {
    begin: Begin::Unknown,
    find: Find::Argument(store_key),
    access: Access::OW_UPDATE,
    notes: "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere in the \
            argument array",
    by_options: None,
};

/// SORT
pub const SORT: Command = Command {
    spec: Spec {
        name: "sort",
        arity: Arity::at_least(2),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[SOURCE, PATTERNS, DESTINATION],
        categories: CATEGORIES,
        tips: &[],
        docs: &Docs {
            syntax: "SORT key [BY by-pattern:pattern] [LIMIT offset:int count:int] [GET get-pattern:pattern [GET \
                     get-pattern:pattern ...]] [ASC | DESC] [ALPHA] [STORE destination:key]",
            summary: "Returns or stores the elements of a list, a set or a sorted set in an order, or what keys named \
                      after them hold.",
            since: "1.0.0",
            complexity: "O(N+M*log(M)) where N is the number of elements and M the number of returned ones",
            group: Group::Generic,
            ..Docs::DEFAULT
        },
    },
    run: Run::Anywhere { handler: sort, reaches },
    subcommands: &[],
};

fn sort(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    run(cx, args.get(1), &Options::parse(args, true)?, reply)
}

fn reaches(args: Args<'_>) -> bool {
    Options::parse(args, true).is_ok_and(|options| options.reaches())
}

/// SORT_RO
pub const SORT_RO: Command = Command {
    spec: Spec {
        name: "sort_ro",
        arity: Arity::at_least(2),
        flags: Flags::READONLY,
        keys: &[SOURCE, PATTERNS],
        categories: CATEGORIES,
        tips: &[],
        docs: &Docs {
            syntax: "SORT_RO key [BY by-pattern:pattern] [LIMIT offset:int count:int] [GET get-pattern:pattern [GET \
                     get-pattern:pattern ...]] [ASC | DESC] [ALPHA]",
            summary: "Returns the elements of a list, a set or a sorted set in an order, or what keys named after them \
                      hold.",
            since: "7.0.0",
            complexity: "O(N+M*log(M)) where N is the number of elements and M the number of returned ones",
            group: Group::Generic,
            ..Docs::DEFAULT
        },
    },
    run: Run::Anywhere { handler: sort_ro, reaches: reaches_ro },
    subcommands: &[],
};

fn sort_ro(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    run(cx, args.get(1), &Options::parse(args, false)?, reply)
}

fn reaches_ro(args: Args<'_>) -> bool {
    Options::parse(args, false).is_ok_and(|options| options.reaches())
}

fn run(
    cx: &mut Context<'_>,
    key: &[u8],
    options: &Options<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let entry = cx.read(key);
    // A set has no order that a stored list could keep: it is stored in that of its bytes (Redis 7.2).
    let is_set = entry.is_some_and(|entry| matches!(entry.value(), Some(ValueRef::Set(_))));
    let by_bytes = options.unsorted && is_set && options.store.is_some();
    let (elements, order) = if options.unsorted && !by_bytes {
        let elements = load(entry, |len| options.window(len), options.descending)?;
        let order = (0..elements.len()).collect();
        (elements, order)
    } else {
        let elements = load(entry, |len| 0..len, false)?;
        let weights = if by_bytes { Weights::Own } else { weigh(cx, options, &elements)? };
        let window = options.window(elements.len());
        let order = sorted(&elements, &weights, options.descending, window);
        (elements, order)
    };
    match options.store {
        None => write(cx, options, &elements, &order, reply),
        Some(to) => store(cx, to, options, &elements, &order, reply),
    }
    Ok(())
}

/// Copies elements of a window in the order in which they are, or the other way round where there is an order.
fn load(
    entry: Option<&Entry>,
    window: impl Fn(usize) -> Range<usize>,
    backwards: bool,
) -> Result<Texts, CommandError> {
    let mut elements = Texts::default();
    let mut text = IntText::new();
    let Some(entry) = entry else { return Ok(elements) };
    match entry.value() {
        Some(ValueRef::Set(set)) => {
            let window = window(set.len());
            let members = set.iter().skip(window.start).take(window.len());
            members.for_each(|member| elements.push(member.as_bytes(&mut text)));
        }
        Some(ValueRef::List(list)) => {
            let Range { start, end } = window(list.len());
            let (first, from) = if backwards {
                (list.len().saturating_sub(start + 1), End::Back)
            } else {
                (start, End::Front)
            };
            let chosen = list.elements(first, end - start, from);
            chosen.for_each(|element| elements.push(element.as_bytes(&mut text)));
        }
        Some(ValueRef::ZSet(zset)) => {
            let Range { start, end } = window(zset.len());
            let ranks = if backwards { zset.len() - end..zset.len() - start } else { start..end };
            zset.visit(ranks, backwards, |member, _| elements.push(member));
        }
        _ => return Err(CommandError::WrongType),
    }
    Ok(elements)
}

/// What the elements are sorted by.
fn weigh(cx: &mut Context<'_>, options: &Options<'_>, elements: &Texts) -> Result<Weights, CommandError> {
    const NO_NUMBER: CommandError =
        CommandError::Text("ERR One or more scores can't be converted into double");
    let mut key = Vec::new();
    match (options.by, options.alpha) {
        (None, true) => Ok(Weights::Own),
        (None, false) => {
            let numbers = elements.iter().map(|element| number(element).ok_or(NO_NUMBER));
            Ok(Weights::Numbers(numbers.collect::<Result<_, _>>()?))
        }
        (Some(pattern), true) => {
            let (mut ranges, mut bytes) = (Vec::with_capacity(elements.len()), Vec::new());
            for element in elements.iter() {
                let weight = resolve(cx, pattern, element, &mut key);
                ranges.push(weight.map(|weight| {
                    let start = bytes.len();
                    bytes.extend_from_slice(weight.as_bytes(&mut IntText::new()));
                    start..bytes.len()
                }));
            }
            Ok(Weights::Texts(ranges, bytes))
        }
        (Some(pattern), false) => {
            // All are looked up, also behind a wrong one: the lookups show in the statistics.
            let mut numbers = Vec::with_capacity(elements.len());
            for element in elements.iter() {
                numbers.push(match resolve(cx, pattern, element, &mut key) {
                    None => Some(0.0),
                    Some(StrRef::Int(int)) => Some(int as f64),
                    Some(weight) => number(weight.as_bytes(&mut IntText::new())),
                });
            }
            let numbers: Option<Vec<f64>> = numbers.into_iter().collect();
            numbers.map(Weights::Numbers).ok_or(NO_NUMBER)
        }
    }
}

/// What a pattern means for an element: the element itself, a string, or a field of a hash. `key` is room for a name.
fn resolve<'c>(
    cx: &'c mut Context<'_>,
    pattern: Pattern<'_>,
    element: &'c [u8],
    key: &mut Vec<u8>,
) -> Option<StrRef<'c>> {
    let (prefix, suffix, field) = match pattern {
        Pattern::Element => return Some(StrRef::Bytes(element)),
        Pattern::Nothing => return None,
        Pattern::Key { prefix, suffix, field } => (prefix, suffix, field),
    };
    key.clear();
    [prefix, element, suffix].into_iter().for_each(|part| key.extend_from_slice(part));
    let now_ms = cx.now_ms;
    let entry = cx.read_anywhere(key)?;
    match field {
        None => entry.str_ref(),
        Some(field) => match entry.value() {
            Some(ValueRef::Hash(hash)) => hash.get(field, now_ms),
            _ => None,
        },
    }
}

fn write(
    cx: &mut Context<'_>,
    options: &Options<'_>,
    elements: &Texts,
    order: &[usize],
    reply: &mut Reply<'_>,
) {
    let mut key = Vec::new();
    reply.array(order.len() * options.gets.len().max(1));
    for &index in order {
        let element = elements.get(index);
        if options.gets.is_empty() {
            reply.bulk(element);
        }
        for &pattern in &options.gets {
            write_optional(reply, resolve(cx, pattern, element, &mut key));
        }
    }
}

/// Stores a list of what would have been returned, whatever was there, and replies its length; an empty one removes the
/// key.
fn store(
    cx: &mut Context<'_>,
    to: &[u8],
    options: &Options<'_>,
    elements: &Texts,
    order: &[usize],
    reply: &mut Reply<'_>,
) {
    let nodes = cx.settings.encodings.list_nodes();
    let mut list = List::new();
    let mut key = Vec::new();
    for &index in order {
        let element = elements.get(index);
        if options.gets.is_empty() {
            list.push(End::Back, iter::once(StrRef::Bytes(element)), nodes);
        }
        for &pattern in &options.gets {
            let found = resolve(cx, pattern, element, &mut key).unwrap_or(StrRef::Bytes(b""));
            list.push(End::Back, iter::once(found), nodes);
        }
    }
    let len = list.len();
    replace(cx, to, (len > 0).then_some(Value::List(list)), Class::LIST, "sortstore");
    // Every element counts as a change (Redis 7.2).
    cx.changes.dirty += (len as u64).saturating_sub(1);
    reply.int(len as i64);
}

#[cfg(test)]
mod tests;
