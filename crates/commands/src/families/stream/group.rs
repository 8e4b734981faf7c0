//! XGROUP: consumer groups and their consumers.

use torc_datatypes::Value;
use torc_datatypes::stream::{Stream, StreamId};
use torc_keyspace::At;
use torc_resp::{Args, CommandError, Reply};

use super::{changed_in_group, edit, ids, stream_at};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

pub(super) const XGROUP: Command = Command {
    spec: Spec {
        name: "xgroup",
        arity: Arity::at_least(2),
        docs: &Docs {
            syntax: "XGROUP",
            summary: "Creates and changes consumer groups.",
            since: "5.0.0",
            complexity: "Depends on the subcommand.",
            group: Group::Stream,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::Container,
    subcommands: &[CREATE, CREATECONSUMER, DELCONSUMER, DESTROY, HELP, SETID],
};

const CREATE: Command = Command {
    spec: Spec {
        name: "create",
        arity: Arity::at_least(5),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::at(2, Access::RW_INSERT)],
        docs: &Docs {
            syntax: "XGROUP CREATE key group (id | $) [MKSTREAM] [ENTRIESREAD entries-read:int]",
            summary: "Creates a consumer group that reads a stream from an id on.",
            since: "5.0.0",
            complexity: "O(1)",
            group: Group::Stream,
            history: &[("7.0.0", "The option `ENTRIESREAD`.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(create),
    subcommands: &[],
};

/// Arguments of XGROUP CREATE at most.
const CREATE_ARGS_MAX: usize = 8;

fn create(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let options = Options::parse(args, true)?;
    let name = args.get(3);
    let mut at = cx.at(args.get(2), cx.writing());
    let last_id = match stream_at(at.entry())? {
        Some(stream) => stream.log().last_id(),
        None if options.make_stream => StreamId::MIN,
        None => return Err(NO_KEY),
    };
    if args.len() > CREATE_ARGS_MAX {
        return Err(wrong_subcommand(args));
    }
    let id = if args.get(4) == b"$" { last_id } else { ids::parse(args.get(4))? };
    if at.exists() {
        if !edit(&mut at, |stream| stream.add_group(name, id, options.entries_read)) {
            return Err(CommandError::Text("BUSYGROUP Consumer Group name already exists"));
        }
    } else {
        let mut stream = Stream::new();
        stream.add_group(name, id, options.entries_read);
        at.put(Value::Stream(stream));
        at.touched();
    }
    changed_in_group(&mut at, 1, Some("xgroup-create"));
    reply.ok();
    Ok(())
}

const SETID: Command = Command {
    spec: Spec {
        name: "setid",
        arity: Arity::at_least(5),
        flags: Flags::WRITE,
        keys: &[KeySpec::at(2, Access::RW_UPDATE)],
        docs: &Docs {
            syntax: "XGROUP SETID key group (id | $) [ENTRIESREAD entries-read:int]",
            summary: "Sets the id that a consumer group has read up to.",
            since: "5.0.0",
            complexity: "O(1)",
            group: Group::Stream,
            history: &[("7.0.0", "The option `ENTRIESREAD`.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(set_id),
    subcommands: &[],
};

/// Arguments of XGROUP SETID at most.
const SETID_ARGS_MAX: usize = 7;

fn set_id(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let options = Options::parse(args, false)?;
    let mut at = cx.at(args.get(2), cx.writing());
    let last_id = find_group(&at, args)?.log().last_id();
    if args.len() > SETID_ARGS_MAX {
        return Err(wrong_subcommand(args));
    }
    let id = if args.get(4) == b"$" { last_id } else { ids::parse_or_edge(args.get(4))? };
    edit(&mut at, |stream| {
        stream.edit_group(args.get(3), |group, _| {
            group.last_id = id;
            group.entries_read = options.entries_read;
        })
    });
    changed_in_group(&mut at, 1, Some("xgroup-setid"));
    reply.ok();
    Ok(())
}

const DESTROY: Command = Command {
    spec: Spec {
        name: "destroy",
        arity: Arity::exactly(4),
        flags: Flags::WRITE,
        keys: &[KeySpec::at(2, Access::RW.and(Access::DELETE))],
        docs: &Docs {
            syntax: "XGROUP DESTROY key group",
            summary: "Removes a consumer group with its consumers and pending entries. Replies whether there was one.",
            since: "5.0.0",
            complexity: "O(N) with N the number of pending entries",
            group: Group::Stream,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(destroy),
    subcommands: &[],
};

fn destroy(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let mut at = cx.at(args.get(2), cx.writing());
    stream_at(at.entry())?.ok_or(NO_KEY)?;
    let removed = edit(&mut at, |stream| stream.remove_group(args.get(3)));
    if removed {
        changed_in_group(&mut at, 1, Some("xgroup-destroy"));
        // Consumers that wait for entries of the group have an error coming.
        at.wake();
    }
    reply.int(i64::from(removed));
    Ok(())
}

const CREATECONSUMER: Command = Command {
    spec: Spec {
        name: "createconsumer",
        arity: Arity::exactly(5),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::at(2, Access::RW_INSERT)],
        docs: &Docs {
            syntax: "XGROUP CREATECONSUMER key group consumer",
            summary: "Adds a consumer to a group. Replies whether it is new.",
            since: "6.2.0",
            complexity: "O(1)",
            group: Group::Stream,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(create_consumer),
    subcommands: &[],
};

fn create_consumer(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let (name, now_ms) = (args.get(4), cx.now_ms);
    let mut at = cx.at(args.get(2), cx.writing());
    find_group(&at, args)?;
    let is_new = edit(&mut at, |stream| {
        stream.edit_group(args.get(3), |group, _| {
            let is_new = group.find_consumer(name).is_none();
            if is_new {
                group.add_consumer(name, now_ms);
            }
            is_new
        })
    });
    let is_new = is_new == Some(true);
    if is_new {
        changed_in_group(&mut at, 1, Some("xgroup-createconsumer"));
    }
    reply.int(i64::from(is_new));
    Ok(())
}

const DELCONSUMER: Command = Command {
    spec: Spec {
        name: "delconsumer",
        arity: Arity::exactly(5),
        flags: Flags::WRITE,
        keys: &[KeySpec::at(2, Access::RW.and(Access::DELETE))],
        docs: &Docs {
            syntax: "XGROUP DELCONSUMER key group consumer",
            summary: "Removes a consumer from a group. Replies how many entries were pending for it.",
            since: "5.0.0",
            complexity: "O(N) with N the number of entries that are pending for the consumer",
            group: Group::Stream,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(delete_consumer),
    subcommands: &[],
};

fn delete_consumer(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let mut at = cx.at(args.get(2), cx.writing());
    find_group(&at, args)?;
    let removed = edit(&mut at, |stream| {
        stream.edit_group(args.get(3), |group, _| group.remove_consumer(args.get(4))).flatten()
    });
    if removed.is_some() {
        changed_in_group(&mut at, 1, Some("xgroup-delconsumer"));
    }
    reply.int(removed.unwrap_or(0) as i64);
    Ok(())
}

const HELP: Command = Command {
    spec: Spec {
        name: "help",
        arity: Arity::exactly(2),
        flags: Flags::LOADING.and(Flags::STALE),
        docs: &Docs {
            syntax: "XGROUP HELP",
            summary: "Replies what the subcommands do.",
            since: "5.0.0",
            group: Group::Stream,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(help),
    subcommands: &[],
};

fn help(_cx: &mut Context<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    const LINES: [&str; 17] = [
        "XGROUP <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CREATE <key> <groupname> <id|$> [option]",
        "    Create a consumer group that reads from an id on. Options:",
        "    * MKSTREAM",
        "      Create an empty stream if there is none.",
        "    * ENTRIESREAD entries_read",
        "      How many entries the group has read already.",
        "CREATECONSUMER <key> <groupname> <consumer>",
        "    Add a consumer to a group.",
        "DELCONSUMER <key> <groupname> <consumer>",
        "    Remove a consumer from a group.",
        "DESTROY <key> <groupname>",
        "    Remove a group.",
        "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
        "    Set the id that a group has read up to.",
        "HELP",
        "    These lines.",
    ];
    reply.array(LINES.len());
    LINES.into_iter().for_each(|line| reply.simple(line));
    Ok(())
}

const NO_KEY: CommandError = CommandError::Text(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM \
     option to create an empty stream automatically.",
);

/// The options of CREATE and SETID.
struct Options {
    make_stream: bool,
    entries_read: Option<u64>,
}

impl Options {
    fn parse(args: Args<'_>, is_create: bool) -> Result<Options, CommandError> {
        let mut options = Options { make_stream: false, entries_read: None };
        let mut index = 5;
        while index < args.len() {
            if is_create && args.is(index, b"MKSTREAM") {
                options.make_stream = true;
                index += 1;
            } else if args.is(index, b"ENTRIESREAD") && index + 1 < args.len() {
                options.entries_read = match args.int(index + 1)? {
                    -1 => None,
                    entries_read => {
                        let negative = CommandError::Text("ERR value for ENTRIESREAD must be positive or -1");
                        Some(u64::try_from(entries_read).map_err(|_| negative)?)
                    }
                };
                index += 2;
            } else {
                return Err(wrong_subcommand(args));
            }
        }
        Ok(options)
    }
}

/// Options that a subcommand does not know, or too many of them.
pub(super) fn wrong_subcommand(args: Args<'_>) -> CommandError {
    let container = args.get(0).to_ascii_uppercase();
    let name = &args.get(1)[..args.get(1).len().min(128)];
    CommandError::quoting(&[
        b"ERR unknown subcommand or wrong number of arguments for '",
        name,
        b"'. Try ",
        &container,
        b" HELP.",
    ])
}

/// The stream of argument 2, which has the group of argument 3.
fn find_group<'a>(at: &'a At<'_>, args: Args<'_>) -> Result<&'a Stream, CommandError> {
    let stream = stream_at(at.entry())?.ok_or(NO_KEY)?;
    match stream.group(args.get(3)) {
        Some(_) => Ok(stream),
        None => Err(no_group_of_key(args)),
    }
}

/// The error of a subcommand whose arguments 2 and 3 are a key and the name of a group that it does not have.
pub(super) fn no_group_of_key(args: Args<'_>) -> CommandError {
    CommandError::quoting(&[
        b"NOGROUP No such consumer group '",
        args.get(3),
        b"' for key name '",
        args.get(2),
        b"'",
    ])
}
