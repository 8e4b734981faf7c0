//! COMMAND DOCS: commands as people read about them.

use torc_commands::Status;
use torc_commands::docs::{Argument, ArgumentKind};
use torc_resp::{Args, CommandError, Reply};

use super::info::statuses;
use crate::connection::Connection;
use crate::registry::{Registered, registry};
use crate::session::Flow;
use crate::shard::Shard;

/// COMMAND DOCS [command-name ...]. Unknown names are left out.
pub(super) fn docs(
    _shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let commands: Vec<&Registered> = match args.len() {
        2 => registry().top_level().to_vec(),
        _ => args.iter().skip(2).filter_map(|name| registry().find_full(name)).collect(),
    };
    write_all(&mut connection.reply(), &commands);
    Ok(Flow::Done)
}

fn write_all(reply: &mut Reply<'_>, commands: &[&Registered]) {
    reply.map(commands.len());
    for command in commands {
        reply.bulk(command.name.as_bytes());
        write(reply, command);
    }
}

fn write(reply: &mut Reply<'_>, command: &Registered) {
    let docs = command.spec.docs;
    let arguments = command.arguments();
    let status_fields = match docs.status {
        Status::Current => 0,
        Status::Deprecated { .. } => 3,
        Status::System => 1,
    };
    let lists = [!docs.history.is_empty(), !arguments.is_empty(), !command.subcommands.is_empty()];
    reply.map(4 + status_fields + lists.iter().filter(|&&present| present).count());
    text(reply, "summary", docs.summary);
    text(reply, "since", docs.since);
    text(reply, "group", docs.group.name());
    text(reply, "complexity", docs.complexity);
    match docs.status {
        Status::Current => {}
        Status::Deprecated { since, replaced_by } => {
            flags(reply, "doc_flags", &["deprecated"]);
            text(reply, "deprecated_since", since);
            text(reply, "replaced_by", replaced_by);
        }
        Status::System => flags(reply, "doc_flags", &["syscmd"]),
    }
    if !docs.history.is_empty() {
        reply.bulk(b"history");
        reply.set(docs.history.len());
        for (version, change) in docs.history {
            reply.array(2);
            reply.bulk(version.as_bytes());
            reply.bulk(change.as_bytes());
        }
    }
    if !arguments.is_empty() {
        reply.bulk(b"arguments");
        write_arguments(reply, &arguments);
    }
    if !command.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        write_all(reply, &command.subcommands);
    }
}

fn write_arguments(reply: &mut Reply<'_>, arguments: &[Argument]) {
    reply.array(arguments.len());
    for argument in arguments {
        write_argument(reply, argument);
    }
}

fn write_argument(reply: &mut Reply<'_>, argument: &Argument) {
    let is_group = argument.kind.is_group();
    let marks: Vec<&str> = [
        (argument.optional, "optional"),
        (argument.multiple, "multiple"),
        (argument.multiple_token, "multiple_token"),
    ]
    .iter()
    .filter(|(set, _)| *set)
    .map(|&(_, mark)| mark)
    .collect();
    let fields =
        [!is_group, argument.key_spec.is_some(), argument.token.is_some(), !marks.is_empty(), is_group];
    reply.map(2 + fields.iter().filter(|&&present| present).count());
    text(reply, "name", &argument.name);
    text(reply, "type", argument.kind.name());
    if !is_group {
        text(reply, "display_text", &argument.name);
    }
    if let Some(index) = argument.key_spec {
        reply.bulk(b"key_spec_index");
        reply.int(index as i64);
    }
    if let Some(token) = &argument.token {
        text(reply, "token", token);
    }
    if !marks.is_empty() {
        flags(reply, "flags", &marks);
    }
    if matches!(argument.kind, ArgumentKind::OneOf | ArgumentKind::Block) {
        reply.bulk(b"arguments");
        write_arguments(reply, &argument.arguments);
    }
}

fn text(reply: &mut Reply<'_>, name: &str, value: &str) {
    reply.bulk(name.as_bytes());
    reply.bulk(value.as_bytes());
}

fn flags(reply: &mut Reply<'_>, name: &str, values: &[&str]) {
    reply.bulk(name.as_bytes());
    statuses(reply, values.iter().map(|&value| value.into()).collect());
}
