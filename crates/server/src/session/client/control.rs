//! CLIENT subcommands about other connections: KILL, PAUSE, UNPAUSE, UNBLOCK.

use torc_commands::{Arity, Category, Docs, Group, Spec};
use torc_resp::{Args, CommandError};

use crate::clients::ClientKey;
use crate::connection::Connection;
use crate::packet::ShardId;
use crate::session::state::Pause;
use crate::session::{Flow, SessionCommand};
use crate::shard::Shard;
use crate::shard::blocking::{Ending, UnblockResult};

use super::ADMIN;
use super::filter::Filter;

pub(super) const KILL: SessionCommand = SessionCommand::new(
    Spec {
        name: "kill",
        arity: Arity::at_least(3),
        flags: ADMIN,
        categories: &[Category::Connection],
        docs: &Docs {
            syntax: "CLIENT KILL (address | [ID client-id:int [client-id:int ...]] \
                     [TYPE (NORMAL | MASTER | REPLICA | PUBSUB)] [USER username] [ADDR address] [LADDR address] \
                     [SKIPME (YES | NO)] [MAXAGE maxage:int])",
            summary: "Closes the connections that match all filters.",
            since: "2.4.0",
            complexity: "O(N), where N is the number of connections",
            group: Group::Connection,
            history: &[
                ("2.8.12", "The form with filters."),
                ("6.2.0", "Filter LADDR."),
                ("8.0.0", "Filter MAXAGE."),
            ],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    kill,
);

fn kill(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let old_form = args.len() == 3;
    let filter = if old_form { Filter::of_address(args.get(2)) } else { Filter::parse(args, 2)? };
    let spares_itself = filter.skip_me.unwrap_or(!old_form);
    let (itself, own_filter) = (connection.id, filter.clone());
    let kill_here = move |shard: &mut Shard| -> usize {
        let now_ms = shard.now.unix_ms;
        let matching: Vec<ClientKey> = shard
            .clients
            .iter()
            .filter(|client| client.id != itself && filter.matches(client, now_ms))
            .map(|client| client.key)
            .collect();
        matching.iter().for_each(|&key| shard.kill(key));
        matching.len()
    };
    let flow = shard.call_all(connection, kill_here, move |shard, connection, counts| {
        let kills_itself = !spares_itself && own_filter.matches(connection, shard.now.unix_ms);
        connection.flags.close_after_reply |= kills_itself;
        let count = counts.into_iter().sum::<usize>() + usize::from(kills_itself);
        match old_form {
            true if count == 0 => return Err(CommandError::Text("ERR No such client")),
            true => connection.reply().ok(),
            false => connection.reply().int(count as i64),
        }
        Ok(())
    });
    Ok(flow)
}

pub(super) const PAUSE: SessionCommand = SessionCommand::new(
    Spec {
        name: "pause",
        arity: Arity::at_least(3),
        flags: ADMIN,
        categories: &[Category::Connection],
        docs: &Docs {
            syntax: "CLIENT PAUSE timeout:int [WRITE | ALL]",
            summary: "Holds back commands, or only those that write, for some milliseconds.",
            since: "3.0.0",
            group: Group::Connection,
            history: &[("6.2.0", "The modes WRITE and ALL.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    pause,
);

fn pause(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let writes_only = match args.opt(3) {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"all") => false,
        Some(word) if word.eq_ignore_ascii_case(b"write") => true,
        Some(_) => return Err(CommandError::Text("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let timeout_ms =
        args.int(2).map_err(|_| CommandError::Text("ERR timeout is not an integer or out of range"))?;
    if timeout_ms < 0 {
        return Err(CommandError::NegativeTimeout);
    }
    let until_ms =
        shard.now.unix_ms.checked_add(timeout_ms).ok_or(CommandError::Text("ERR timeout is out of range"))?;
    let pause = Pause { until_ms, writes_only };
    let flow = shard.call_all(
        connection,
        move |shard| shard.pause(pause),
        |shard, connection, _| shard.reply_ok(connection).map(drop),
    );
    Ok(flow)
}

pub(super) const UNPAUSE: SessionCommand = SessionCommand::new(
    Spec {
        name: "unpause",
        arity: Arity::exactly(2),
        flags: ADMIN,
        categories: &[Category::Connection],
        docs: &Docs {
            syntax: "CLIENT UNPAUSE",
            summary: "Ends a pause: commands that were held back go on.",
            since: "6.2.0",
            complexity: "O(N), where N is the number of connections held back",
            group: Group::Connection,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    |shard, connection, _args| {
        let flow = shard.call_all(connection, Shard::unpause, |shard, connection, _| {
            shard.reply_ok(connection).map(drop)
        });
        Ok(flow)
    },
);

pub(super) const UNBLOCK: SessionCommand = SessionCommand::new(
    Spec {
        name: "unblock",
        arity: Arity::at_least(3),
        flags: ADMIN,
        categories: &[Category::Connection],
        docs: &Docs {
            syntax: "CLIENT UNBLOCK client-id:int [TIMEOUT | ERROR]",
            summary: "Ends the wait of a connection inside a blocking command.",
            since: "5.0.0",
            group: Group::Connection,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    unblock,
);

/// A client that CLIENT PAUSE holds back is not unblocked.
fn unblock(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let ending = match args.opt(3) {
        None => Ending::TimedOut,
        Some(word) if word.eq_ignore_ascii_case(b"timeout") => Ending::TimedOut,
        Some(word) if word.eq_ignore_ascii_case(b"error") => Ending::Unblocked,
        Some(_) => return Err(CommandError::Text("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
    };
    let Ok(id) = u64::try_from(args.int(2)?) else {
        connection.reply().int(0);
        return Ok(Flow::Done);
    };
    let shards: Vec<ShardId> = (0..shard.shards() as ShardId).collect();
    let flow = shard.call_then(
        connection,
        &shards,
        move |shard| shard.unblock(id, ending),
        move |shard, connection, results| {
            let found = results.into_iter().find(|result| *result != UnblockResult::NotHere);
            let Some(UnblockResult::At(place, wait)) = found else {
                connection.reply().int(i64::from(found == Some(UnblockResult::Done(true))));
                return Ok(Flow::Done);
            };
            let flow = shard.call(
                connection,
                &[place],
                move |shard| shard.end_wait(wait, ending),
                |_shard, connection, ended| {
                    connection.reply().int(i64::from(ended[0]));
                    Ok(())
                },
            );
            Ok(flow)
        },
    );
    Ok(flow)
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn clients_are_killed() {
        let mut bench = Bench::new("");
        let cases = [
            ("", "-ERR wrong number of arguments for 'client|kill' command"),
            (" x", "-ERR No such client"),
            (" x y", "-ERR syntax error"),
            (" ID x", "-ERR syntax error"),
            (" ID 9999", ":0"),
            (" ID 0", "-ERR client-id should be greater than 0"),
            (" USER foo", "-ERR No such user 'foo'"),
            (" SKIPME foo", "-ERR syntax error"),
            (" MAXAGE x", "-ERR maxage is not an integer or out of range"),
            (" MAXAGE 0", "-ERR maxage should be greater than 0"),
            (" TYPE pubsub", ":0"),
            (" TYPE normal", ":0"),
            (" ADDR x LADDR y", ":0"),
        ];
        for (filter, reply) in cases {
            bench.check(&format!("CLIENT KILL{filter}"), reply);
        }
        let first = bench.current();
        bench.connect();
        bench.check("CLIENT KILL ID 1", ":1");
        assert!(bench.is_closed(first));
        bench.check("CLIENT KILL 127.0.0.1:1001", "-ERR No such client");
        bench.connect();
        bench.check("CLIENT KILL SKIPME NO\nPING", ":2 <closed>");
        bench.connect();
        bench.check("CLIENT KILL 127.0.0.1:1004\nPING", "+OK <closed>");
    }

    #[test]
    fn a_pause_holds_commands_back() {
        let mut bench = Bench::new("");
        let cases = [
            ("x", "-ERR timeout is not an integer or out of range"),
            ("-1", "-ERR timeout is negative"),
            ("0 foo", "-ERR CLIENT PAUSE mode must be WRITE or ALL"),
            ("99999999999999999999", "-ERR timeout is not an integer or out of range"),
            ("9223372036854775807", "-ERR timeout is out of range"),
        ];
        for (args, reply) in cases {
            bench.check(&format!("CLIENT PAUSE {args}"), reply);
        }
        bench.check("CLIENT PAUSE 1000 WRITE", "+OK");
        bench.check("GET k", "$-1");
        bench.check("SET k v\nGET k", "");
        let waiting = bench.current();
        bench.connect();
        bench.check("MULTI", "+OK");
        bench.check("GET k", "+QUEUED");
        bench.check("EXEC", "*1 $-1");
        bench.check("CLIENT UNPAUSE", "+OK");
        bench.switch(waiting);
        bench.check("PING", "+OK $1 v +PONG");
        bench.check("CLIENT PAUSE 1000", "+OK");
        bench.check("PING", "");
        bench.pass_ms(1001);
        bench.check("PING", "+PONG +PONG");
    }

    #[test]
    fn only_blocked_clients_are_unblocked() {
        let mut bench = Bench::new("");
        bench.check("CLIENT UNBLOCK x", "-ERR value is not an integer or out of range");
        bench.check("CLIENT UNBLOCK 1", ":0");
        bench.check("CLIENT UNBLOCK 99", ":0");
        bench.check("CLIENT UNBLOCK -1", ":0");
        bench.check("CLIENT UNBLOCK 1 error", ":0");
        bench.check("CLIENT UNBLOCK 1 foo", "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
    }
}
