//! The family CONNECTION without CLIENT: AUTH, HELLO, PING, ECHO, SELECT, QUIT, RESET.

use torc_commands::{Arity, Category, Docs, Flags, Group, Spec, Status};
use torc_resp::{Args, CommandError, Proto};

use crate::connection::{Connection, ReplyMode};
use crate::process::REDIS_VERSION;
use crate::shard::Shard;

use super::client::settings::set_name;
use super::{ALWAYS, Flow, SessionCommand};

pub static COMMANDS: &[SessionCommand] = &[AUTH, ECHO, HELLO, PING, QUIT, RESET, SELECT];

/// The only user there is.
pub const DEFAULT_USER: &[u8] = b"default";

const BEFORE_AUTH: Flags =
    ALWAYS.and(Flags::NOSCRIPT).and(Flags::FAST).and(Flags::NO_AUTH).and(Flags::ALLOW_BUSY);

const AUTH: SessionCommand = SessionCommand::new(
    Spec {
        name: "auth",
        arity: Arity::at_least(2),
        flags: BEFORE_AUTH.and(Flags::SENTINEL),
        categories: &[Category::Connection],
        docs: &Docs {
            syntax: "AUTH [username] password",
            summary: "Tells the server who the client is.",
            complexity: "O(N) in the length of the password",
            group: Group::Connection,
            history: &[("6.0.0", "Takes a username too.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    auth,
);

fn auth(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    match args.len() {
        2 if !shard.state.password_required() => {
            return Err(CommandError::Text(
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
            ));
        }
        2 => authenticate(shard, connection, DEFAULT_USER, args.get(1))?,
        3 => authenticate(shard, connection, args.get(1), args.get(2))?,
        _ => return Err(CommandError::Syntax),
    }
    shard.reply_ok(connection)
}

fn authenticate(
    shard: &mut Shard,
    connection: &mut Connection,
    user: &[u8],
    password: &[u8],
) -> Result<(), CommandError> {
    let right =
        !shard.state.password_required() || is_equal_in_constant_time(shard.state.password(), password);
    if user != DEFAULT_USER || !right {
        shard.stats.access_denied_auth += 1;
        return Err(CommandError::WrongPass);
    }
    connection.flags.authenticated = true;
    Ok(())
}

/// Compares all bytes of `given`, whatever they are, so that the time tells nothing about `secret` but its length.
fn is_equal_in_constant_time(secret: &[u8], given: &[u8]) -> bool {
    let mut difference = secret.len() ^ given.len();
    for (index, byte) in given.iter().enumerate() {
        let expected = secret.get(index).copied().unwrap_or(!byte);
        difference |= usize::from(std::hint::black_box(byte ^ expected));
    }
    difference == 0
}

const HELLO: SessionCommand = SessionCommand::new(
    Spec {
        name: "hello",
        arity: Arity::at_least(1),
        flags: BEFORE_AUTH.and(Flags::SENTINEL),
        categories: &[Category::Connection],
        docs: &Docs {
            syntax: "HELLO [protover:int [AUTH username password] [SETNAME clientname]]",
            summary: "Says what the server is, and chooses the protocol of the connection.",
            since: "6.0.0",
            group: Group::Connection,
            history: &[("6.2.0", "The version of the protocol may be left out.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    hello,
);

fn hello(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut proto = None;
    let mut credentials = None;
    let mut name = None;
    if args.len() > 1 {
        let version = args
            .int(1)
            .map_err(|_| CommandError::Text("ERR Protocol version is not an integer or out of range"))?;
        proto = match version {
            2 => Some(Proto::Resp2),
            3 => Some(Proto::Resp3),
            _ => return Err(CommandError::NoProto),
        };
    }
    let mut at = 2;
    while at < args.len() {
        if args.is(at, b"AUTH") && at + 2 < args.len() {
            credentials = Some((args.get(at + 1), args.get(at + 2)));
            at += 3;
        } else if args.is(at, b"SETNAME") && at + 1 < args.len() {
            name = Some(args.get(at + 1));
            super::client::settings::check_text(b"Client names", args.get(at + 1))?;
            at += 2;
        } else {
            let option = String::from_utf8_lossy(args.get(at));
            return Err(CommandError::Owned(format!("ERR Syntax error in HELLO option '{option}'").into()));
        }
    }
    if let Some((user, password)) = credentials {
        authenticate(shard, connection, user, password)?;
    }
    if !connection.flags.authenticated {
        return Err(CommandError::Text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
             <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the \
             same time",
        ));
    }
    if let Some(name) = name {
        set_name(connection, name)?;
    }
    if let Some(proto) = proto {
        connection.proto = proto;
    }
    let (id, version) = (connection.id, if connection.proto == Proto::Resp3 { 3 } else { 2 });
    let zone = shard.state.config.availability_zone();
    let mut reply = connection.reply();
    reply.map(if zone.is_empty() { 7 } else { 8 });
    for (field, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    for (field, value) in [("proto", version), ("id", id as i64)] {
        reply.bulk(field.as_bytes());
        reply.int(value);
    }
    for (field, value) in [("mode", "standalone"), ("role", "master")] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
    if !zone.is_empty() {
        reply.bulk(b"availability_zone");
        reply.bulk(zone.as_bytes());
    }
    Ok(Flow::Done)
}

const PING: SessionCommand = SessionCommand::new(
    Spec {
        name: "ping",
        arity: Arity::at_least(1),
        flags: Flags::FAST.and(Flags::SENTINEL),
        categories: &[Category::Connection],
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        docs: &Docs {
            syntax: "PING [message]",
            summary: "Returns the server's liveliness response.",
            group: Group::Connection,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    ping,
);

fn ping(_shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    if args.len() > 2 {
        return Err(CommandError::WrongArity("ping"));
    }
    let subscribed = connection.subscriptions.is_some() && connection.proto == Proto::Resp2;
    let mut reply = connection.reply();
    match args.opt(1) {
        message if subscribed => {
            reply.array(2);
            reply.bulk(b"pong");
            reply.bulk(message.unwrap_or(b""));
        }
        Some(message) => reply.bulk(message),
        None => reply.simple("PONG"),
    }
    Ok(Flow::Done)
}

const ECHO: SessionCommand = SessionCommand::new(
    Spec {
        name: "echo",
        arity: Arity::exactly(2),
        flags: ALWAYS.and(Flags::FAST),
        categories: &[Category::Connection],
        docs: &Docs {
            syntax: "ECHO message",
            summary: "Returns the given string.",
            group: Group::Connection,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    echo,
);

fn echo(_shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    connection.reply().bulk(args.get(1));
    Ok(Flow::Done)
}

const SELECT: SessionCommand = SessionCommand::new(
    Spec {
        name: "select",
        arity: Arity::exactly(2),
        flags: ALWAYS.and(Flags::FAST),
        categories: &[Category::Connection],
        docs: &Docs {
            syntax: "SELECT index:int",
            summary: "Changes the selected database.",
            group: Group::Connection,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    select,
);

fn select(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let index = args.int(1)?;
    if i32::try_from(index).is_err() {
        return Err(CommandError::NotInteger);
    }
    if !(0..shard.settings.databases as i64).contains(&index) {
        return Err(CommandError::DbIndexOutOfRange);
    }
    connection.db = index as usize;
    shard.reply_ok(connection)
}

const QUIT: SessionCommand = SessionCommand::new(
    Spec {
        name: "quit",
        arity: Arity::at_least(1),
        flags: BEFORE_AUTH,
        categories: &[Category::Connection],
        docs: &Docs {
            syntax: "QUIT",
            summary: "Closes the connection after a last reply.",
            group: Group::Connection,
            status: Status::Deprecated { since: "7.2.0", replaced_by: "just closing the connection" },
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    quit,
);

fn quit(shard: &mut Shard, connection: &mut Connection, _args: Args<'_>) -> Result<Flow, CommandError> {
    connection.flags.close_after_reply = true;
    shard.reply_ok(connection)
}

const RESET: SessionCommand = SessionCommand::new(
    Spec {
        name: "reset",
        arity: Arity::exactly(1),
        flags: BEFORE_AUTH,
        categories: &[Category::Connection],
        docs: &Docs {
            syntax: "RESET",
            summary: "Makes the connection as it was when it began.",
            since: "6.2.0",
            group: Group::Connection,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    reset,
);

fn reset(shard: &mut Shard, connection: &mut Connection, _args: Args<'_>) -> Result<Flow, CommandError> {
    connection.multi = None;
    shard.unwatch(connection);
    shard.pubsub_end(connection);
    shard.end_tracking(connection);
    shard.end_monitoring(connection);
    connection.db = 0;
    connection.proto = Proto::Resp2;
    connection.name = Box::default();
    connection.reply_mode = ReplyMode::On;
    connection.flags.no_evict = false;
    connection.flags.no_touch = false;
    connection.flags.import_source = false;
    connection.flags.authenticated = !shard.state.password_required();
    connection.reply().simple("RESET");
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    const NOT_AUTHENTICATED: &str = "-NOAUTH HELLO must be called with the client already authenticated, otherwise \
        the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP \
        protocol version at the same time";

    #[test]
    fn without_a_password() {
        let mut bench = Bench::new("");
        bench.check(
            "AUTH a",
            "-ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?",
        );
        bench.check("AUTH", "-ERR wrong number of arguments for 'auth' command");
        bench.check("AUTH a b c", "-ERR syntax error");
        bench.check("AUTH default a", "+OK");
        bench.check("AUTH a b", "-WRONGPASS invalid username-password pair or user is disabled.");
        bench.check("HELLO 4", "-NOPROTO unsupported protocol version");
        bench.check("HELLO x", "-ERR Protocol version is not an integer or out of range");
        bench.check("HELLO 3 AUTH", "-ERR Syntax error in HELLO option 'AUTH'");
        bench.check("HELLO 3 SETNAME", "-ERR Syntax error in HELLO option 'SETNAME'");
        bench.check("HELLO 3 FOO", "-ERR Syntax error in HELLO option 'FOO'");
        bench.check(
            "HELLO 3 SETNAME \"a b\"",
            "-ERR Client names cannot contain spaces, newlines or special characters.",
        );
        bench.check(
            "HELLO 2 SETNAME x",
            "*14 $6 server $5 redis $7 version $5 7.2.4 $5 proto :2 $2 id :1 $4 mode $10 standalone $4 role \
             $6 master $7 modules *0",
        );
        bench.check("CLIENT GETNAME", "$1 x");
        bench.check(
            "HELLO 3",
            "%7 $6 server $5 redis $7 version $5 7.2.4 $5 proto :3 $2 id :1 $4 mode $10 standalone $4 role \
             $6 master $7 modules *0",
        );
    }

    #[test]
    fn with_a_password() {
        let mut bench = Bench::new("--requirepass pw");
        bench.check("PING", "-NOAUTH Authentication required.");
        bench.check("HELLO", NOT_AUTHENTICATED);
        bench.check("HELLO 3 SETNAME a", NOT_AUTHENTICATED);
        bench.check("AUTH pwd", "-WRONGPASS invalid username-password pair or user is disabled.");
        bench.check("AUTH p", "-WRONGPASS invalid username-password pair or user is disabled.");
        bench.check("AUTH \"\"", "-WRONGPASS invalid username-password pair or user is disabled.");
        bench.check("AUTH default pw", "+OK");
        bench.check("PING", "+PONG");
        bench.check("RESET", "+RESET");
        bench.check("PING", "-NOAUTH Authentication required.");
        bench.check("AUTH pw", "+OK");
        bench.check("CONFIG SET requirepass \"\"", "+OK");
        bench.connect();
        bench.check("PING", "+PONG");
    }

    #[test]
    fn select_and_ping() {
        let mut bench = Bench::new("");
        bench.check("SELECT x", "-ERR value is not an integer or out of range");
        bench.check("SELECT 99999999999", "-ERR value is not an integer or out of range");
        bench.check("SELECT 16", "-ERR DB index is out of range");
        bench.check("SELECT -1", "-ERR DB index is out of range");
        bench.check("SELECT 15", "+OK");
        bench.check("PING a b", "-ERR wrong number of arguments for 'ping' command");
        bench.check("PING hi", "$2 hi");
        bench.check("ECHO hi", "$2 hi");
    }

    #[test]
    fn reset_forgets_everything() {
        let mut bench = Bench::new("");
        for line in
            ["HELLO 3 SETNAME x", "CLIENT NO-EVICT ON", "CLIENT NO-TOUCH ON", "SELECT 3", "WATCH k", "MULTI"]
        {
            bench.run(line);
        }
        bench.check("RESET", "+RESET");
        bench.check("EXEC", "-ERR EXEC without MULTI");
        let info = bench.run("CLIENT INFO");
        for field in [" name= ", " flags=N ", " db=0 ", " watch=0 ", " multi=-1 ", " resp=2 "] {
            assert!(info.contains(field), "{field} is missing in {info}");
        }
        bench.run("CLIENT REPLY OFF");
        bench.check("RESET", "+RESET");
    }

    #[test]
    fn quit_closes_after_its_reply() {
        let mut bench = Bench::new("");
        bench.check("QUIT x\nPING", "+OK <closed>");
    }
}
