//! CLIENT subcommands about the own connection: its names, its replies, what the server spares for it.

use torc_commands::{Arity, Category, Docs, Flags, Group, Spec};
use torc_resp::{Args, CommandError};

use crate::connection::{Connection, ReplyMode};
use crate::session::{ALWAYS, Flow, SessionCommand};
use crate::shard::Shard;

use super::{ADMIN, COMMON};

const ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

const fn spec(name: &'static str, arity: Arity, flags: Flags, docs: &'static Docs) -> Spec {
    Spec { name, arity, flags, categories: &[Category::Connection], docs, ..Spec::DEFAULT }
}

pub(super) const ID: SessionCommand = SessionCommand::new(
    spec(
        "id",
        Arity::exactly(2),
        COMMON,
        &Docs {
            syntax: "CLIENT ID",
            summary: "Returns the number of this connection.",
            since: "5.0.0",
            group: Group::Connection,
            ..Docs::DEFAULT
        },
    ),
    |_shard, connection, _args| {
        let id = connection.id;
        connection.reply().int(id as i64);
        Ok(Flow::Done)
    },
);

pub(super) const GETNAME: SessionCommand = SessionCommand::new(
    spec(
        "getname",
        Arity::exactly(2),
        COMMON,
        &Docs {
            syntax: "CLIENT GETNAME",
            summary: "Returns the name of this connection.",
            since: "2.6.9",
            group: Group::Connection,
            ..Docs::DEFAULT
        },
    ),
    |_shard, connection, _args| {
        let name = connection.name.clone();
        match &*name {
            b"" => connection.reply().null(),
            name => connection.reply().bulk(name),
        }
        Ok(Flow::Done)
    },
);

pub(super) const SETNAME: SessionCommand = SessionCommand::new(
    Spec {
        tips: ALL_NODES,
        ..spec(
            "setname",
            Arity::exactly(3),
            COMMON,
            &Docs {
                syntax: "CLIENT SETNAME connection-name",
                summary: "Names this connection; an empty name takes the name away.",
                since: "2.6.9",
                group: Group::Connection,
                ..Docs::DEFAULT
            },
        )
    },
    |shard, connection, args| {
        set_name(connection, args.get(2))?;
        shard.reply_ok(connection)
    },
);

/// Name a connection.
pub fn set_name(connection: &mut Connection, name: &[u8]) -> Result<(), CommandError> {
    check_text(b"Client names", name)?;
    connection.name = name.into();
    Ok(())
}

/// Names must not break the lines of CLIENT LIST. `what` begins the complaint.
pub fn check_text(what: &[u8], text: &[u8]) -> Result<(), CommandError> {
    if text.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Ok(());
    }
    let what = String::from_utf8_lossy(what);
    let text = format!("ERR {what} cannot contain spaces, newlines or special characters.");
    Err(CommandError::Owned(text.into()))
}

pub(super) const SETINFO: SessionCommand = SessionCommand::new(
    Spec {
        tips: ALL_NODES,
        ..spec(
            "setinfo",
            Arity::exactly(4),
            COMMON,
            &Docs {
                syntax: "CLIENT SETINFO (LIB-NAME libname | LIB-VER libver)",
                summary: "Says which client library speaks here.",
                since: "7.2.0",
                group: Group::Connection,
                ..Docs::DEFAULT
            },
        )
    },
    set_info,
);

fn set_info(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let place = if args.is(2, b"LIB-NAME") {
        &mut connection.library_name
    } else if args.is(2, b"LIB-VER") {
        &mut connection.library_version
    } else {
        let option = String::from_utf8_lossy(args.get(2));
        return Err(CommandError::Owned(format!("ERR Unrecognized option '{option}'").into()));
    };
    check_text(args.get(2), args.get(3))?;
    *place = args.get(3).into();
    shard.reply_ok(connection)
}

/// `ON` or `OFF`.
fn on_or_off(args: Args<'_>, index: usize) -> Result<bool, CommandError> {
    match args.get(index) {
        word if word.eq_ignore_ascii_case(b"on") => Ok(true),
        word if word.eq_ignore_ascii_case(b"off") => Ok(false),
        _ => Err(CommandError::Syntax),
    }
}

pub(super) const NO_EVICT: SessionCommand = SessionCommand::new(
    spec(
        "no-evict",
        Arity::exactly(3),
        ADMIN,
        &Docs {
            syntax: "CLIENT NO-EVICT (ON | OFF)",
            summary: "Keeps this connection when clients are closed for want of memory.",
            since: "7.0.0",
            group: Group::Connection,
            ..Docs::DEFAULT
        },
    ),
    |shard, connection, args| {
        connection.flags.no_evict = on_or_off(args, 2)?;
        shard.reply_ok(connection)
    },
);

pub(super) const NO_TOUCH: SessionCommand = SessionCommand::new(
    spec(
        "no-touch",
        Arity::exactly(3),
        ALWAYS.and(Flags::NOSCRIPT),
        &Docs {
            syntax: "CLIENT NO-TOUCH (ON | OFF)",
            summary: "Lets commands of this connection leave alone when keys were last used.",
            since: "7.2.0",
            group: Group::Connection,
            ..Docs::DEFAULT
        },
    ),
    |shard, connection, args| {
        connection.flags.no_touch = on_or_off(args, 2)?;
        shard.reply_ok(connection)
    },
);

pub(super) const IMPORT_SOURCE: SessionCommand = SessionCommand::new(
    spec(
        "import-source",
        Arity::exactly(3),
        ALWAYS.and(Flags::NOSCRIPT),
        &Docs {
            syntax: "CLIENT IMPORT-SOURCE (ON | OFF)",
            summary: "Lets this connection see expired keys while the server imports data.",
            since: "8.1.0",
            complexity: "O(1)",
            group: Group::Connection,
            ..Docs::DEFAULT
        },
    ),
    |shard, connection, args| {
        if !shard.settings.import_mode && !args.is(2, b"OFF") {
            return Err(CommandError::Text("ERR Server is not in import mode"));
        }
        connection.flags.import_source = on_or_off(args, 2)?;
        shard.reply_ok(connection)
    },
);

pub(super) const REPLY: SessionCommand = SessionCommand::new(
    spec(
        "reply",
        Arity::exactly(3),
        COMMON,
        &Docs {
            syntax: "CLIENT REPLY (ON | OFF | SKIP)",
            summary: "Says whether this connection gets replies; SKIP leaves out the next one.",
            since: "3.2.0",
            group: Group::Connection,
            ..Docs::DEFAULT
        },
    ),
    reply,
);

fn reply(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    if args.is(2, b"ON") {
        connection.reply_mode = ReplyMode::On;
        return shard.reply_ok(connection);
    }
    if args.is(2, b"OFF") {
        connection.reply_mode = ReplyMode::Off;
    } else if args.is(2, b"SKIP") {
        if connection.reply_mode != ReplyMode::Off {
            connection.reply_mode = ReplyMode::SkipNext;
        }
    } else {
        return Err(CommandError::Syntax);
    }
    Ok(Flow::Done)
}

pub(super) const CAPA: SessionCommand = SessionCommand::new(
    spec(
        "capa",
        Arity::at_least(3),
        ALWAYS.and(Flags::NOSCRIPT),
        &Docs {
            syntax: "CLIENT CAPA capability [capability ...]",
            summary: "Says what the client is able to do. Capabilities the server has no use for are ignored.",
            since: "8.0.0",
            group: Group::Connection,
            ..Docs::DEFAULT
        },
    ),
    |shard, connection, _args| shard.reply_ok(connection),
);

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn names_and_libraries() {
        let mut bench = Bench::new("");
        bench.check("CLIENT", "-ERR wrong number of arguments for 'client' command");
        bench.check("CLIENT FOO", "-ERR unknown subcommand 'FOO'. Try CLIENT HELP.");
        bench.check("CLIENT ID", ":1");
        bench.check("CLIENT ID x", "-ERR wrong number of arguments for 'client|id' command");
        let bad = "-ERR Client names cannot contain spaces, newlines or special characters.";
        bench.check("CLIENT SETNAME \"a b\"", bad);
        bench.check("CLIENT SETNAME \"a\\n\"", bad);
        bench.check("CLIENT GETNAME", "$-1");
        bench.check("CLIENT SETNAME ab", "+OK");
        bench.check("CLIENT GETNAME", "$2 ab");
        bench.check("CLIENT SETNAME \"\"", "+OK");
        bench.check("CLIENT GETNAME", "$-1");
        bench.check("CLIENT SETINFO lib-name redis-py", "+OK");
        bench.check("CLIENT SETINFO LIB-VER 1.2", "+OK");
        bench.check("CLIENT SETINFO lib-foo x", "-ERR Unrecognized option 'lib-foo'");
        bench.check(
            "CLIENT SETINFO lib-name \"a b\"",
            "-ERR lib-name cannot contain spaces, newlines or special characters.",
        );
        assert!(bench.run("CLIENT INFO").contains(" lib-name=redis-py lib-ver=1.2 "));
        bench.check("CLIENT CAPA redirect", "+OK");
    }

    #[test]
    fn replies_can_be_left_out() {
        let mut bench = Bench::new("");
        bench.check("CLIENT REPLY x", "-ERR syntax error");
        bench.check("CLIENT REPLY ON", "+OK");
        bench.check("CLIENT REPLY OFF\nPING\nFOO\nCLIENT LIST\nCLIENT REPLY ON\nPING", "+OK +PONG");
        bench.check("CLIENT REPLY SKIP\nPING\nPING", "+PONG");
        bench.check("CLIENT REPLY SKIP\nFOO\nPING", "+PONG");
        bench.check("CLIENT REPLY SKIP\nCLIENT REPLY ON\nPING", "+OK +PONG");
        bench.check("CLIENT REPLY OFF\nCLIENT REPLY SKIP\nPING\nPING\nCLIENT REPLY ON", "+OK");
        bench.check("CLIENT NO-EVICT x", "-ERR syntax error");
        bench.check("CLIENT NO-TOUCH x", "-ERR syntax error");
        bench.check("CLIENT NO-EVICT on", "+OK");
        bench.check("CLIENT NO-TOUCH on", "+OK");
        assert!(bench.run("CLIENT INFO").contains(" flags=eT "));
        bench.check("CLIENT NO-EVICT off", "+OK");
        bench.check("CLIENT NO-TOUCH OFF", "+OK");
        assert!(bench.run("CLIENT INFO").contains(" flags=N "));
    }

    #[test]
    fn help_lists_every_subcommand() {
        let mut bench = Bench::new("");
        let help = bench.run("CLIENT HELP");
        assert!(help.contains("+CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"), "{help}");
        assert!(help.contains("+PAUSE <timeout> [WRITE | ALL]"), "{help}");
        assert!(help.ends_with("+HELP +    Print this help."), "{help}");
        bench.check("CLIENT HELP x", "-ERR wrong number of arguments for 'client|help' command");
    }
}
