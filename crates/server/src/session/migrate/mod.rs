//! MIGRATE: keys move to another server.
//!
//! Owns the rounds of a move. What must be atomic happens on the shard, under the locks of the keys; the conversation
//! with the other server happens in a thread of its own, with no lock held, so that a slow network holds up nobody but
//! the client who asked.
//!
//! 1. Under the locks of all keys: each value is dumped, so that what is sent is of one moment.
//! 2. Without locks: the dumps are sent, and the replies awaited.
//! 3. Under the locks again: a key that the target has accepted is deleted here if it is, byte for byte, what was sent.
//!    One that was changed meanwhile is sent once more (REPLACE, as it is our own copy that is overwritten); one that was
//!    deleted meanwhile is deleted there. After [`ROUNDS_MAX`] rounds a key that still changes stays, and the reply is
//!    an error.
//!
//! Inside EXEC its keys stay locked from the first command to the last, also while the other server is asked: a
//! transaction is one moment, and Redis stops as a whole for it.
//!
//! A target that does not read the RDB version of a dump is sent an older one.

mod target;

use std::collections::HashSet;
use std::time::Duration;

use torc_commands::families::generic::dump::payload_for;
use torc_commands::{Access, Arity, Begin, Category, Docs, Find, Flags, Group, KeySpec, Spec};
use torc_datatypes::rdb::code;
use torc_keyspace::{Class, Lookup};
use torc_resp::{Args, CommandError};

pub use self::target::IdleTargets;
use self::target::{Address, Failure, Outcome, Parcel, Report, Terms, deliver};
use super::{Flow, SessionCommand};
use crate::connection::Connection;
use crate::shard::Shard;

pub static COMMANDS: &[SessionCommand] = &[MIGRATE];

/// How often a key that changes all the time is sent.
const ROUNDS_MAX: usize = 8;
/// Where no timeout is given.
const TIMEOUT_MS_DEFAULT: i64 = 1000;

const MIGRATE: SessionCommand = SessionCommand::new(
    Spec {
        name: "migrate",
        arity: Arity::at_least(6),
        flags: Flags::WRITE,
        keys: &[
            KeySpec { by_options: Some(first_access), ..KeySpec::at(3, Access::RW_ACCESS_DELETE) },
            KeySpec {
                begin: Begin::Keyword { word: "KEYS", from: -2 },
                find: Find::Rest(keys_behind),
                ..KeySpec::at(0, Access::RW_ACCESS_DELETE.and(Access::INCOMPLETE))
            },
        ],
        categories: &[Category::Keyspace, Category::Dangerous],
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "MIGRATE host port:int (key | \"\") destination-db:int timeout:int [COPY] [REPLACE] \
                     [AUTH password | AUTH2 username password] [KEYS key [key ...]]",
            summary: "Moves keys to another server.",
            since: "2.6.0",
            complexity: "That of DUMP and DEL here and of RESTORE there, for each key, and the transfer",
            group: Group::Generic,
            history: &[
                ("3.0.0", "Added the `COPY` and `REPLACE` options."),
                ("3.0.6", "Added the `KEYS` option."),
                ("4.0.7", "Added the `AUTH` option."),
                ("6.0.0", "Added the `AUTH2` option."),
            ],
            ..Docs::DEFAULT
        },
    },
    migrate,
);

/// With KEYS there is no key at the first place.
fn first_access(args: Args<'_>) -> Access {
    let access = Access::RW_ACCESS_DELETE;
    let is_empty = args.opt(3).is_some_and(<[u8]>::is_empty);
    if is_empty && keyword_at(args).is_some() { access.and(Access::NOT_KEY) } else { access }
}

/// Where the keys behind KEYS begin.
fn keys_behind(args: Args<'_>) -> Option<usize> {
    keyword_at(args).map(|keyword| keyword + 1)
}

/// The argument that is the word KEYS of the command, and neither a key nor a password of that name. Without a key behind it
/// it does not count.
fn keyword_at(args: Args<'_>) -> Option<usize> {
    let mut index = 6;
    while index < args.len() {
        if args.is(index, b"KEYS") {
            return (index + 1 < args.len()).then_some(index);
        }
        index += match () {
            () if args.is(index, b"AUTH") => 2,
            () if args.is(index, b"AUTH2") => 3,
            () => 1,
        };
    }
    None
}

fn migrate(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let order = Order::parse(args)?;
    let keys = order.keys.clone();
    Ok(shard.with_keys(connection, &keys, move |shard, connection| collect(shard, connection, order)))
}

/// What the client asked for.
struct Order {
    terms: Terms,
    keys: Vec<Box<[u8]>>,
    copy: bool,
    replace: bool,
}

impl Order {
    fn parse(args: Args<'_>) -> Result<Order, CommandError> {
        let (mut copy, mut replace, mut auth) = (false, false, Vec::new());
        let mut keys = args.range(3..4);
        let mut index = 6;
        while index < args.len() {
            let values = args.len() - index - 1;
            if args.is(index, b"COPY") {
                copy = true;
            } else if args.is(index, b"REPLACE") {
                replace = true;
            } else if args.is(index, b"AUTH") && values >= 1 {
                auth = args.range(index + 1..index + 2).iter().map(Box::from).collect();
                index += 1;
            } else if args.is(index, b"AUTH2") && values >= 2 {
                auth = args.range(index + 1..index + 3).iter().map(Box::from).collect();
                index += 2;
            } else if args.is(index, b"KEYS") {
                if !args.get(3).is_empty() {
                    return Err(CommandError::Text(
                        "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                    ));
                }
                keys = args.from(index + 1);
                break;
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        let (timeout_ms, db) = (args.int(5)?, args.int(4)?);
        let timeout_ms = if timeout_ms > 0 { timeout_ms } else { TIMEOUT_MS_DEFAULT };
        let host = String::from_utf8_lossy(args.get(1)).into_owned();
        // A port that is none leads nowhere, and connecting will say so.
        let port = u16::try_from(args.int(2).unwrap_or(0)).unwrap_or(0);
        let terms = Terms {
            address: Address { host, port },
            db,
            timeout: Duration::from_millis(timeout_ms.unsigned_abs()),
            auth,
        };
        let mut seen = HashSet::new();
        let keys = keys.iter().filter(|key| seen.insert(*key)).map(Box::from).collect();
        Ok(Order { terms, keys, copy, replace })
    }
}

/// Step 1, with the keys at hand.
fn collect(shard: &mut Shard, connection: &mut Connection, order: Order) -> Result<Flow, CommandError> {
    let mut parcels = Vec::with_capacity(order.keys.len());
    for key in &order.keys {
        let hashed = shard.keyspace.key(key);
        let now_ms = shard.now.unix_ms;
        shard.keyspace.get(connection.db, &hashed, now_ms, Lookup::READ, &mut shard.changes);
        parcels.extend(dump(shard, connection.db, key, code::VERSION_FIELD_EXPIRY, order.replace));
    }
    if parcels.is_empty() {
        connection.reply().simple("NOKEY");
        return Ok(Flow::Done);
    }
    Ok(send(shard, connection, order, parcels, 1))
}

/// A key as it is now, or nothing where there is none.
fn dump(shard: &Shard, db: usize, key: &[u8], version: u16, replace: bool) -> Option<Parcel> {
    let now_ms = shard.now.unix_ms;
    let entry = shard.keyspace.peek(db, &shard.keyspace.key(key), now_ms)?;
    let payload = payload_for(entry, version, shard.settings.rdb_compression)?;
    let expire_at = entry.expire_at();
    let ttl_ms = expire_at.map_or(0, |at| (at - now_ms).max(1));
    Some(Parcel { key: key.into(), expire_at, ttl_ms, version, payload: Some(payload), replace })
}

/// Step 2.
fn send(
    shard: &mut Shard,
    connection: &mut Connection,
    order: Order,
    parcels: Vec<Parcel>,
    round: usize,
) -> Flow {
    let kept = shard.migration_targets.take(&order.terms.address);
    let work = move || {
        let report = deliver(kept, &order.terms, &parcels);
        (order, parcels, report)
    };
    shard.run_aside_then(connection, work, move |shard, connection, (order, parcels, report)| {
        settle(shard, connection, order, parcels, report, round)
    })
}

/// The replies are in.
fn settle(
    shard: &mut Shard,
    connection: &mut Connection,
    order: Order,
    parcels: Vec<Parcel>,
    report: Report,
    round: usize,
) -> Result<Flow, CommandError> {
    if let Some(target) = report.target {
        let now_ms = shard.now.unix_ms;
        shard.migration_targets.keep(order.terms.address.clone(), target, now_ms);
    }
    let mut error = None;
    let (mut accepted, mut too_new) = (Vec::new(), Vec::new());
    for (parcel, outcome) in parcels.into_iter().zip(report.outcomes) {
        match outcome {
            Outcome::Accepted => accepted.push(parcel),
            Outcome::Refused(text) if is_version_refused(&text) && parcel.older_version().is_some() => {
                too_new.push((parcel, text));
            }
            Outcome::Refused(text) => error = error.or(Some(refused(&text))),
            Outcome::Unknown => {}
        }
    }
    let error = error.or(report.failure.map(failed));
    if order.copy {
        accepted.clear();
    }
    if accepted.is_empty() && too_new.is_empty() {
        return answer(connection, error);
    }
    let keys: Vec<Box<[u8]>> = accepted
        .iter()
        .chain(too_new.iter().map(|(parcel, _)| parcel))
        .map(|parcel| parcel.key.clone())
        .collect();
    Ok(shard.with_keys(connection, &keys, move |shard, connection| {
        finish(shard, connection, order, Accepted { accepted, too_new, error }, round)
    }))
}

/// What is left to do after a round.
struct Accepted {
    accepted: Vec<Parcel>,
    /// Payloads of a version that the target does not read, with its error.
    too_new: Vec<(Parcel, String)>,
    error: Option<CommandError>,
}

/// Step 3, with the keys at hand.
fn finish(
    shard: &mut Shard,
    connection: &mut Connection,
    order: Order,
    round_of: Accepted,
    round: usize,
) -> Result<Flow, CommandError> {
    let db = connection.db;
    let Accepted { accepted, too_new, mut error } = round_of;
    let mut again = Vec::new();
    for sent in accepted {
        match dump(shard, db, &sent.key, sent.version, true) {
            Some(now) if now.payload == sent.payload && now.expire_at == sent.expire_at => {
                delete(shard, db, &sent.key);
            }
            Some(now) => again.push(now),
            None if sent.payload.is_none() => {}
            None if shard.keyspace.contains(db, &shard.keyspace.key(&sent.key), shard.now.unix_ms) => {
                error = error.or(Some(CHANGED));
            }
            None => again.push(Parcel { payload: None, ..sent }),
        }
    }
    for (sent, text) in too_new {
        let version = sent.older_version().expect("there was one when the round ended");
        match dump(shard, db, &sent.key, version, sent.replace) {
            Some(older) => again.push(older),
            None if shard.keyspace.contains(db, &shard.keyspace.key(&sent.key), shard.now.unix_ms) => {
                error = error.or(Some(refused(&text)));
            }
            None => {}
        }
    }
    if again.is_empty() || error.is_some() {
        return answer(connection, error);
    }
    if round == ROUNDS_MAX {
        return Err(CHANGED);
    }
    Ok(send(shard, connection, order, again, round + 1))
}

const CHANGED: CommandError = CommandError::Text(
    "ERR A key was changed again and again while it was migrated: it stays, and the target instance has an \
     earlier value of it",
);

impl Parcel {
    /// The version to try when the target does not read this one.
    fn older_version(&self) -> Option<u16> {
        match self.version {
            code::VERSION_REDIS_5 => None,
            code::VERSION_REDIS_7_0 => Some(code::VERSION_REDIS_5),
            _ => Some(code::VERSION_REDIS_7_0),
        }
    }
}

fn delete(shard: &mut Shard, db: usize, key: &[u8]) {
    let hashed = shard.keyspace.key(key);
    if let Some(entry) = shard.keyspace.remove(db, &hashed, shard.now.unix_ms, &mut shard.changes) {
        shard.keyspace.graveyard.release(entry);
    }
    shard.keyspace.changed(db, key, Class::GENERIC, "del", &mut shard.changes);
    shard.changes.effects.add(db, &[b"DEL", key]);
}

fn answer(connection: &mut Connection, error: Option<CommandError>) -> Result<Flow, CommandError> {
    match error {
        Some(error) => Err(error),
        None => {
            connection.reply().ok();
            Ok(Flow::Done)
        }
    }
}

/// What a server says that is too old for a payload.
fn is_version_refused(text: &str) -> bool {
    text == "ERR DUMP payload version or checksum are wrong"
}

fn refused(text: &str) -> CommandError {
    CommandError::Owned(format!("ERR Target instance replied with error: {text}").into())
}

fn failed(failure: Failure) -> CommandError {
    CommandError::Text(match failure {
        Failure::Connecting => "IOERR error or timeout connecting to the client",
        Failure::Writing => "IOERR error or timeout writing to target instance",
        Failure::Reading => "IOERR error or timeout reading to target instance",
    })
}
