//! Looking ahead in a pipeline, so that memory arrives before it is needed. Hot path.
//!
//! A lookup in a large keyspace is two or three cache misses, one after the other; that is most of what a pipelined GET
//! costs. For a pipeline they can overlap: parse a few requests ahead, ask for what all their slots have, then for their table
//! lines, then for their entries, then run the commands.
//!
//! Owns a parser of its own, whose state is thrown away: only whole, plain requests are taken from it. Never runs a command.

use smallvec::SmallVec;
use torc_commands::KeyHint;
use torc_datatypes::{Entry, ValueRef};
use torc_keyspace::{Key, Keyspace};
use torc_resp::{Args, BIG_BYTES, Limits, Parsed, RequestParser, Span};

use crate::registry::{Registered, registry};

use super::Shard;

/// Requests that are parsed ahead.
const REQUESTS_MAX: usize = 16;

/// Commands that are found again without a lookup.
const RECENT_MAX: usize = 2;

/// Requests at the front of a connection's input.
#[derive(Default)]
pub(super) struct Lookahead {
    parser: RequestParser,
    recent: Recent,
    spans: Vec<Span>,
    planned: Vec<Planned>,
    next: usize,
}

/// The commands that were looked up last, by the very bytes of their names: most requests repeat one of them.
#[derive(Default)]
struct Recent {
    found: [Option<(Name, &'static Registered)>; RECENT_MAX],
    oldest: usize,
}

/// A name of 1 to 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Name {
    len: usize,
    head: u64,
    tail: u64,
}

impl Name {
    /// The head and the tail overlap unless all bytes are needed, so nothing is left out.
    #[inline]
    fn of(name: &[u8]) -> Option<Name> {
        let len = name.len();
        let (head, tail) = match len {
            8..=16 => (u64::from_le_bytes(*name.first_chunk()?), u64::from_le_bytes(*name.last_chunk()?)),
            4..8 => (
                u64::from(u32::from_le_bytes(*name.first_chunk()?)),
                u64::from(u32::from_le_bytes(*name.last_chunk()?)),
            ),
            1..4 => {
                let byte = |at: usize| u64::from(name[at]);
                (byte(0) | byte(len / 2) << 8 | byte(len - 1) << 16, 0)
            }
            _ => return None,
        };
        Some(Name { len, head, tail })
    }
}

impl Recent {
    /// A command without subcommands, by what clients call it.
    #[inline]
    fn command(&mut self, called: &[u8]) -> Option<&'static Registered> {
        let name = Name::of(called);
        let known = self.found.iter().flatten().find(|(known, _)| Some(*known) == name);
        if let Some((_, command)) = known {
            return Some(command);
        }
        let command = registry().called(called).filter(|command| command.subcommands.is_empty())?;
        if let Some(name) = name {
            self.found[self.oldest] = Some((name, command));
            self.oldest = (self.oldest + 1) % RECENT_MAX;
        }
        Some(command)
    }
}

/// One whole request.
#[derive(Clone, Copy)]
pub(super) struct Planned {
    /// Bytes of the request.
    pub(super) len: usize,
    spans_start: usize,
    spans_end: usize,
    /// `None` when no command has that name, or only subcommands have.
    pub(super) command: Option<&'static Registered>,
    /// For single-key commands in a pipeline.
    pub(super) key: Option<KeyHint>,
}

/// What a single-key command of this shard will look at.
pub(crate) struct Near<'a> {
    pub(crate) db: usize,
    pub(crate) key: Key<'a>,
    /// For commands on collections: the element that the command names, or nothing.
    pub(crate) element: Option<&'a [u8]>,
}

impl Registered {
    /// For single-key commands on collections: the element that a request names, or nothing.
    #[inline]
    pub(crate) fn element_in<'a>(&self, args: Args<'a>) -> Option<&'a [u8]> {
        self.element.map(|index| args.opt(index).unwrap_or_default())
    }
}

impl Lookahead {
    /// The next request that was parsed ahead.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Planned> {
        let planned = self.planned.get(self.next).copied();
        self.next += usize::from(planned.is_some());
        planned
    }

    /// The arguments of a planned request, which starts at the beginning of `input`.
    #[inline]
    pub(super) fn args<'a>(&'a self, planned: Planned, input: &'a [u8]) -> Args<'a> {
        Args::new(input, &self.spans[planned.spans_start..planned.spans_end], &[])
    }

    pub(super) fn clear(&mut self) {
        self.planned.clear();
        self.spans.clear();
        self.next = 0;
    }

    /// Parse up to `REQUESTS_MAX` whole requests. Whatever is not plain (inline, incomplete, faulty, with an argument that
    /// is handed over) ends the look ahead and is left to the connection's own parser.
    fn parse(&mut self, limits: Limits, input: &[u8]) {
        self.clear();
        self.parser.set_limits(Limits { max_bulk_bytes: limits.max_bulk_bytes.min(BIG_BYTES - 1), ..limits });
        let mut start = 0;
        while self.planned.len() < REQUESTS_MAX && input.get(start) == Some(&b'*') {
            let Ok(Parsed::Request { consumed }) = self.parser.parse(&input[start..]) else { break };
            let spans_start = self.spans.len();
            let args = self.parser.args(&input[start..]);
            let command = self.recent.command(args.get(0));
            self.spans.extend_from_slice(args.spans());
            let spans_end = self.spans.len();
            self.planned.push(Planned { len: consumed, spans_start, spans_end, command, key: None });
            start += consumed;
        }
        self.parser.reset();
    }
}

impl Shard {
    /// Parse ahead in `input` and bring near what its single-key commands on this shard will touch.
    pub(super) fn look_ahead(&self, lookahead: &mut Lookahead, db: usize, limits: Limits, input: &[u8]) {
        lookahead.parse(limits, input);
        if lookahead.planned.len() > 1 {
            self.prefetch(lookahead, db, input);
        }
    }

    fn prefetch(&self, lookahead: &mut Lookahead, db: usize, input: &[u8]) {
        let mut keys = [const { None }; REQUESTS_MAX];
        let mut start = 0;
        let Lookahead { planned, spans, .. } = lookahead;
        for (planned, place) in planned.iter_mut().zip(&mut keys) {
            let args = Args::new(&input[start..], &spans[planned.spans_start..planned.spans_end], &[]);
            start += planned.len;
            let Some(command) = planned.command else { continue };
            let Some(bytes) = command.single_key.and_then(|index| args.opt(index)) else { continue };
            // The hash is the same on every shard, so it serves the one that the command is forwarded to as well.
            let key = self.keyspace.key(bytes);
            planned.key = Some(KeyHint::of(&key));
            self.keyspace.prefetch_slot(db, &key);
            *place = Some(Near { db, key, element: command.element_in(args) });
        }
        for place in &mut keys {
            let Some(near) = place else { continue };
            if self.slots.owner(near.key.slot) == self.id {
                self.keyspace.prefetch_line(db, &near.key);
            } else {
                *place = None;
            }
        }
        prefetch_near(&self.keyspace, keys.iter().flatten());
    }
}

/// Bring entries near whose table lines are on their way, and behind them, step by step, what commands on collections
/// look at. Each step touches what the one before has asked for, for all of them.
pub(crate) fn prefetch_near<'a>(keyspace: &Keyspace, all: impl Iterator<Item = &'a Near<'a>> + Clone) {
    all.clone().for_each(|near| keyspace.prefetch_entry(near.db, &near.key));
    let mut entries: SmallVec<[(&Entry, &[u8]); REQUESTS_MAX]> = SmallVec::new();
    for near in all {
        let Some(element) = near.element else { continue };
        // Whether it has expired is left to the command.
        let Some(entry) = keyspace.peek(near.db, &near.key, i64::MIN) else { continue };
        entries.push((entry, element));
    }
    let values = entries.iter().filter_map(|&(entry, element)| Some((entry.value()?, element)));
    values.clone().for_each(|(value, _)| value.prefetch());
    let slots: SmallVec<[(ValueRef<'_>, u64); REQUESTS_MAX]> =
        values.map(|(value, element)| (value, value.prefetch_slot(element))).collect();
    slots.iter().for_each(|&(value, hash)| value.prefetch_element(hash));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command, one after the other and again, in both cases; and names that are none.
    #[test]
    fn what_was_found_last_is_what_a_lookup_finds() {
        let mut recent = Recent::default();
        let names: Vec<Vec<u8>> = registry()
            .top_level()
            .iter()
            .flat_map(|command| {
                let name = command.name.as_bytes();
                let (mut longer, mut other) = (name.to_vec(), name.to_vec());
                longer.push(b'x');
                other[name.len() / 2] ^= 1;
                [name.to_vec(), name.to_ascii_uppercase(), name.to_vec(), longer, other, name[1..].to_vec()]
            })
            .collect();
        for name in &names {
            let found = registry().called(name).filter(|command| command.subcommands.is_empty());
            for _ in 0..2 {
                assert_eq!(recent.command(name).map(|command| command.id), found.map(|command| command.id));
            }
        }
    }

    #[test]
    fn names_are_equal_when_all_their_bytes_are() {
        let texts: Vec<Vec<u8>> = (0..20usize)
            .flat_map(|len| {
                (0..=len).map(move |at| (0..len).map(|index| b'a' + u8::from(index == at)).collect())
            })
            .collect();
        for (index, text) in texts.iter().enumerate() {
            assert_eq!(Name::of(text).is_some(), (1..=16).contains(&text.len()));
            for other in &texts[..index] {
                assert!(Name::of(text).is_none() || (Name::of(text) == Name::of(other)) == (text == other));
            }
        }
    }
}
