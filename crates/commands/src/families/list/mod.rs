//! LIST: the family's list, and what its files share.
//!
//! Owns how a key's place is read as a list, and what happens to a key whose list became empty. Never decides when a list
//! changes its encoding: that is the value's own matter.

mod blocking;
mod edit;
mod moves;
mod pop;
mod position;
mod push;
mod ranges;

use torc_datatypes::list::{End, NodeLimits};
use torc_datatypes::{Entry, List, StrRef, Value, ValueMut, ValueRef};
use torc_keyspace::{At, Class};
use torc_resp::{Args, CommandError};

use crate::{Command, Context};

pub(super) const COMMANDS: &[Command] = &[
    push::LPUSH,
    push::RPUSH,
    push::LPUSHX,
    push::RPUSHX,
    pop::LPOP,
    pop::RPOP,
    pop::LMPOP,
    ranges::LLEN,
    ranges::LINDEX,
    ranges::LRANGE,
    ranges::LTRIM,
    edit::LSET,
    edit::LINSERT,
    edit::LREM,
    position::LPOS,
    moves::LMOVE,
    moves::RPOPLPUSH,
    blocking::BLPOP,
    blocking::BRPOP,
    blocking::BLMPOP,
    blocking::BLMOVE,
    blocking::BRPOPLPUSH,
];

/// The list that a live entry holds.
#[inline]
fn list_of(entry: &Entry) -> Result<&List, CommandError> {
    match entry.value() {
        Some(ValueRef::List(list)) => Ok(list),
        _ => Err(CommandError::WrongType),
    }
}

/// The list at a key's place, or `None` if there is nothing.
#[inline]
fn list_at(entry: Option<&Entry>) -> Result<Option<&List>, CommandError> {
    entry.map(list_of).transpose()
}

/// Changes the list at a key's place; `None` if there is nothing.
#[inline]
fn change<R>(at: &mut At<'_>, change: impl FnOnce(&mut List) -> R) -> Result<Option<R>, CommandError> {
    let Some(mut entry) = at.entry_mut() else { return Ok(None) };
    match entry.value_mut() {
        Some(ValueMut::List(list)) => Ok(Some(change(list))),
        _ => Err(CommandError::WrongType),
    }
}

/// How large the nodes of lists may be now.
#[inline]
fn limits(cx: &Context<'_>) -> NodeLimits {
    cx.settings.encodings.list_nodes()
}

/// An argument as an element to store; a big one is taken over without a copy.
#[inline]
fn element(args: Args<'_>, index: usize) -> StrRef<'_> {
    match args.blob(index) {
        Some(blob) => StrRef::Shared(blob),
        None => StrRef::Bytes(args.get(index)),
    }
}

/// Adds elements at an end of a key's list and returns its length; one is created where there is nothing.
#[inline]
fn push_at<'e>(
    at: &mut At<'_>,
    end: End,
    elements: impl Iterator<Item = StrRef<'e>> + Clone,
    limits: NodeLimits,
) -> Result<usize, CommandError> {
    let push = |list: &mut List| {
        list.push(end, elements.clone(), limits);
        list.len()
    };
    if at.exists() {
        return Ok(change(at, push)?.expect("a live entry is there"));
    }
    let list = List::of(end, elements, limits);
    let len = list.len();
    at.put(Value::List(list));
    Ok(len)
}

/// Tells that `count` elements were removed from the list at a key's place; a list without elements goes away.
fn removed(at: &mut At<'_>, event: &'static str, count: usize, is_empty: bool) {
    at.changed(Class::LIST, event);
    at.changed_more(count as u64 - 1);
    if is_empty {
        at.discard();
        at.event(Class::GENERIC, "del");
    }
}

/// LEFT or RIGHT.
fn end(args: Args<'_>, index: usize) -> Result<End, CommandError> {
    if args.is(index, b"LEFT") {
        Ok(End::Front)
    } else if args.is(index, b"RIGHT") {
        Ok(End::Back)
    } else {
        Err(CommandError::Syntax)
    }
}

/// The name of the event of a push at that end.
fn push_event(end: End) -> &'static str {
    match end {
        End::Front => "lpush",
        End::Back => "rpush",
    }
}

/// The name of the event of a pop from that end.
fn pop_event(end: End) -> &'static str {
    match end {
        End::Front => "lpop",
        End::Back => "rpop",
    }
}

/// The commands and words that effects are told in.
fn push_word(end: End) -> &'static [u8] {
    match end {
        End::Front => b"LPUSH",
        End::Back => b"RPUSH",
    }
}

fn pop_word(end: End) -> &'static [u8] {
    match end {
        End::Front => b"LPOP",
        End::Back => b"RPOP",
    }
}

fn end_word(end: End) -> &'static [u8] {
    match end {
        End::Front => b"LEFT",
        End::Back => b"RIGHT",
    }
}

/// An integer that must be the negation of another one.
fn negatable(args: Args<'_>, index: usize) -> Result<i64, CommandError> {
    const OUT_OF_RANGE: CommandError = CommandError::Text(
        "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
    );
    args.int(index).and_then(|int| if int == i64::MIN { Err(OUT_OF_RANGE) } else { Ok(int) })
}
