//! MONITOR, the command. What it starts is in [`crate::monitor`].

use torc_commands::{Arity, Docs, Flags, Group, Spec};
use torc_resp::{Args, CommandError};

use crate::connection::Connection;
use crate::shard::Shard;

use super::{ALWAYS, Flow, SessionCommand};

pub static COMMANDS: &[SessionCommand] = &[MONITOR];

const MONITOR: SessionCommand = SessionCommand::new(
    Spec {
        name: "monitor",
        arity: Arity::exactly(1),
        flags: ALWAYS.and(Flags::ADMIN).and(Flags::NOSCRIPT),
        docs: &Docs {
            syntax: "MONITOR",
            summary: "Shows every command of all clients as it runs.",
            since: "1.0.0",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    monitor,
);

fn monitor(shard: &mut Shard, connection: &mut Connection, _args: Args<'_>) -> Result<Flow, CommandError> {
    if connection.exec.is_some() {
        return Err(CommandError::Text("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    if connection.flags.monitor {
        // Redis says nothing to a client that is one already.
        return Ok(Flow::Done);
    }
    let home = shard.id;
    let begin = move |shard: &mut Shard| shard.monitored_by(home);
    Ok(shard.call_all(connection, begin, |shard, connection, _| {
        shard.begin_monitoring(connection);
        shard.reply_ok(connection).map(drop)
    }))
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn not_inside_a_transaction() {
        let mut bench = Bench::new("");
        bench.check("MULTI", "+OK");
        bench.check("MONITOR", "+QUEUED");
        bench.check("EXEC", "*1 -ERR MONITOR isn't allowed for DENY BLOCKING client");
    }

    #[test]
    fn a_monitor_sees_itself_until_reset() {
        let mut bench = Bench::with_shards(2, "");
        bench.check("MONITOR", "+OK");
        bench.check("SET k v", "+OK +1700000000.000000 [0 127.0.0.1:1001] \"SET\" \"k\" \"v\"");
        assert!(bench.run("CLIENT INFO").contains(" flags=O "));
        bench.check("RESET", "+RESET");
        bench.check("SET k v", "+OK");
    }
}
