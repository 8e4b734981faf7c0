//! COMMAND, COMMAND INFO and COMMAND COUNT: commands as clients route them.

use torc_commands::{Begin, Find, KeySpec, derived};
use torc_resp::{Args, CommandError, Reply};

use crate::connection::Connection;
use crate::registry::{Registered, registry};
use crate::session::Flow;
use crate::shard::Shard;

/// COMMAND
pub(super) fn all(
    _shard: &mut Shard,
    connection: &mut Connection,
    _args: Args<'_>,
) -> Result<Flow, CommandError> {
    let mut reply = connection.reply();
    reply.array(registry().top_level().len());
    registry().top_level().iter().for_each(|command| write(&mut reply, command));
    Ok(Flow::Done)
}

/// COMMAND INFO [command-name ...]
pub(super) fn info(
    shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    if args.len() == 2 {
        return all(shard, connection, args);
    }
    let mut reply = connection.reply();
    reply.array(args.len() - 2);
    for name in args.iter().skip(2) {
        match registry().find_full(name) {
            Some(command) => write(&mut reply, command),
            None => reply.null(),
        }
    }
    Ok(Flow::Done)
}

/// COMMAND COUNT
pub(super) fn count(
    _shard: &mut Shard,
    connection: &mut Connection,
    _args: Args<'_>,
) -> Result<Flow, CommandError> {
    connection.reply().int(registry().top_level().len() as i64);
    Ok(Flow::Done)
}

fn write(reply: &mut Reply<'_>, command: &Registered) {
    let spec = command.spec;
    let range = derived::key_range(spec);
    reply.array(10);
    reply.bulk(command.name.as_bytes());
    reply.int(spec.arity.signed());
    statuses(reply, derived::flags(spec).names().map(str::to_owned).collect());
    reply.int(range.first);
    reply.int(range.last);
    reply.int(range.step);
    let categories = command.categories();
    statuses(reply, categories.iter().map(|category| format!("@{}", category.name())).collect());
    reply.set(spec.tips.len());
    spec.tips.iter().for_each(|tip| reply.bulk(tip.as_bytes()));
    reply.set(spec.keys.len());
    spec.keys.iter().for_each(|key| write_key_spec(reply, key));
    if command.subcommands.is_empty() {
        reply.set(0);
    } else {
        reply.array(command.subcommands.len());
        command.subcommands.iter().for_each(|subcommand| write(reply, subcommand));
    }
}

/// A set of statuses.
pub(super) fn statuses(reply: &mut Reply<'_>, texts: Vec<String>) {
    reply.set(texts.len());
    texts.iter().for_each(|text| reply.simple(text));
}

fn write_key_spec(reply: &mut Reply<'_>, key: &KeySpec) {
    reply.map(3 + usize::from(!key.notes.is_empty()));
    if !key.notes.is_empty() {
        reply.bulk(b"notes");
        reply.bulk(key.notes.as_bytes());
    }
    reply.bulk(b"flags");
    statuses(reply, key.access.names().map(str::to_owned).collect());
    reply.bulk(b"begin_search");
    match key.begin {
        Begin::Index(index) => {
            search(reply, "index", 1);
            field(reply, "index", index as i64);
        }
        Begin::Keyword { word, from } => {
            search(reply, "keyword", 2);
            reply.bulk(b"keyword");
            reply.bulk(word.as_bytes());
            field(reply, "startfrom", i64::from(from));
        }
        Begin::Unknown => search(reply, "unknown", 0),
    }
    reply.bulk(b"find_keys");
    match key.find {
        // Which of several keywords counts is for the function to say; clients are told of the first one.
        Find::Argument(_) if matches!(key.begin, Begin::Keyword { .. }) => {
            write_range(reply, 0, 1, 0);
        }
        Find::Range { last, step, limit } => write_range(reply, i64::from(last), step, limit),
        Find::Count { count_at, first, step } => {
            search(reply, "keynum", 3);
            field(reply, "keynumidx", count_at as i64);
            field(reply, "firstkey", first as i64);
            field(reply, "keystep", step as i64);
        }
        Find::Rest(_) => write_range(reply, -1, 1, 0),
        Find::Argument(_) | Find::Unknown => search(reply, "unknown", 0),
    }
}

fn write_range(reply: &mut Reply<'_>, last: i64, step: usize, limit: usize) {
    search(reply, "range", 3);
    field(reply, "lastkey", last);
    field(reply, "keystep", step as i64);
    field(reply, "limit", limit as i64);
}

/// The head of one half of a key spec; its fields follow.
fn search(reply: &mut Reply<'_>, kind: &str, fields: usize) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(fields);
}

fn field(reply: &mut Reply<'_>, name: &str, value: i64) {
    reply.bulk(name.as_bytes());
    reply.int(value);
}
