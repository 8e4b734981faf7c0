//! Which connections CLIENT LIST and CLIENT KILL mean.

use torc_resp::{Args, CommandError};

use crate::connection::Connection;
use crate::session::connection::DEFAULT_USER;

/// A condition on connections. Empty: all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// One of these; empty for any.
    ids: Vec<u64>,
    kind: Option<ClientKind>,
    address: Option<String>,
    local_address: Option<String>,
    /// At least so many seconds old.
    age_s: Option<i64>,
    /// `None` when nothing was said.
    pub(super) skip_me: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientKind {
    Normal,
    PubSub,
    /// Kinds that there are none of yet.
    Primary,
    Replica,
}

impl Filter {
    /// Connections from this address (the old form of CLIENT KILL).
    pub(super) fn of_address(address: &[u8]) -> Filter {
        Filter { address: Some(String::from_utf8_lossy(address).into_owned()), ..Filter::default() }
    }

    /// Options from argument `at` on.
    pub(super) fn parse(args: Args<'_>, mut at: usize) -> Result<Filter, CommandError> {
        let mut filter = Filter::default();
        while at < args.len() {
            if at + 1 == args.len() {
                return Err(CommandError::Syntax);
            }
            let value = args.get(at + 1);
            let text = || String::from_utf8_lossy(value).into_owned();
            if args.is(at, b"ID") {
                filter.ids.push(client_id(args, at + 1)?);
                // Further numbers are further ids.
                while at + 2 < args.len() && args.int(at + 2).is_ok() {
                    filter.ids.push(client_id(args, at + 2)?);
                    at += 1;
                }
            } else if args.is(at, b"TYPE") {
                filter.kind = Some(ClientKind::parse(value)?);
            } else if args.is(at, b"ADDR") {
                filter.address = Some(text());
            } else if args.is(at, b"LADDR") {
                filter.local_address = Some(text());
            } else if args.is(at, b"USER") {
                // All connections belong to the only user there is.
                if value != DEFAULT_USER {
                    return Err(CommandError::Owned(format!("ERR No such user '{}'", text()).into()));
                }
            } else if args.is(at, b"SKIPME") {
                filter.skip_me = Some(match value {
                    word if word.eq_ignore_ascii_case(b"yes") => true,
                    word if word.eq_ignore_ascii_case(b"no") => false,
                    _ => return Err(CommandError::Syntax),
                });
            } else if args.is(at, b"MAXAGE") {
                let age = args
                    .int(at + 1)
                    .map_err(|_| CommandError::Text("ERR maxage is not an integer or out of range"))?;
                if age <= 0 {
                    return Err(CommandError::Text("ERR maxage should be greater than 0"));
                }
                filter.age_s = Some(age);
            } else {
                return Err(CommandError::Syntax);
            }
            at += 2;
        }
        Ok(filter)
    }

    pub(super) fn matches(&self, connection: &Connection, now_ms: i64) -> bool {
        (self.ids.is_empty() || self.ids.contains(&connection.id))
            && self.kind.is_none_or(|kind| kind == ClientKind::of(connection))
            && self.address.as_ref().is_none_or(|address| *address == connection.info.address)
            && self.local_address.as_ref().is_none_or(|address| *address == connection.info.local_address)
            && self.age_s.is_none_or(|age_s| (now_ms - connection.created_ms) / 1000 >= age_s)
    }
}

fn client_id(args: Args<'_>, at: usize) -> Result<u64, CommandError> {
    let id = args.int(at).map_err(|_| CommandError::Syntax)?;
    match u64::try_from(id) {
        Ok(id) if id > 0 => Ok(id),
        _ => Err(CommandError::Text("ERR client-id should be greater than 0")),
    }
}

impl ClientKind {
    fn parse(word: &[u8]) -> Result<ClientKind, CommandError> {
        match word.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(ClientKind::Normal),
            b"pubsub" => Ok(ClientKind::PubSub),
            b"master" | b"primary" => Ok(ClientKind::Primary),
            b"slave" | b"replica" => Ok(ClientKind::Replica),
            _ => {
                let word = String::from_utf8_lossy(word);
                Err(CommandError::Owned(format!("ERR Unknown client type '{word}'").into()))
            }
        }
    }

    pub(super) fn of(connection: &Connection) -> ClientKind {
        if connection.subscriptions.is_some() { ClientKind::PubSub } else { ClientKind::Normal }
    }
}
