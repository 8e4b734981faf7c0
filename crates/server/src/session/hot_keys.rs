//! HOTKEYS: the keys that are used most.
//!
//! Every shard knows those of its own keys; here they are merged.

use torc_commands::{Arity, Docs, Flags, Group, Spec};

use crate::connection::Connection;
use crate::shard::Shard;
use crate::shard::hot_keys::HotKey;

use super::{ALWAYS, Flow, SessionCommand, help};

pub static COMMANDS: &[SessionCommand] = &[HOTKEYS];

const ADMIN: Flags = ALWAYS.and(Flags::ADMIN);

const HOTKEYS: SessionCommand = SessionCommand::container(
    Spec {
        name: "hotkeys",
        arity: Arity::at_least(2),
        docs: &Docs {
            syntax: "HOTKEYS",
            summary: "A container for commands about the keys that are used most.",
            since: "9.2.0",
            complexity: "Depends on subcommand.",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    &[
        SessionCommand::new(
            Spec {
                name: "get",
                arity: Arity::exactly(2),
                flags: ADMIN,
                tips: &["request_policy:all_shards", "response_policy:special", "nondeterministic_output"],
                docs: &Docs {
                    syntax: "HOTKEYS GET",
                    summary: "Returns up to `hotkey-top-k` keys with their database and an estimate of their uses per \
                              second, most used first, as of the last five seconds that are over.",
                    since: "9.2.0",
                    complexity: "O(K log K), where K is the number of keys",
                    group: Group::Server,
                    ..Docs::DEFAULT
                },
                ..Spec::DEFAULT
            },
            |shard, connection, _args| Ok(get(shard, connection)),
        ),
        help::help(&help::docs("HOTKEYS HELP", "9.2.0", Group::Server)),
        SessionCommand::new(
            Spec {
                name: "reset",
                arity: Arity::exactly(2),
                flags: ADMIN,
                tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
                docs: &Docs {
                    syntax: "HOTKEYS RESET",
                    summary: "Forgets what was counted.",
                    since: "9.2.0",
                    complexity: "O(K), where K is the number of keys",
                    group: Group::Server,
                    ..Docs::DEFAULT
                },
                ..Spec::DEFAULT
            },
            |shard, connection, _args| {
                let reset_here = |shard: &mut Shard| shard.hot_keys.reset(shard.now.monotonic_us);
                let answer =
                    |shard: &mut Shard, connection: &mut Connection, _| shard.reply_ok(connection).map(drop);
                Ok(shard.call_all(connection, reset_here, answer))
            },
        ),
    ],
);

fn get(shard: &mut Shard, connection: &mut Connection) -> Flow {
    let hottest_here = |shard: &mut Shard| shard.hot_keys.shown(shard.now.monotonic_us);
    shard.call_all(connection, hottest_here, |shard, connection, lists| {
        let mut keys: Vec<HotKey> = lists.into_iter().flatten().collect();
        keys.sort_by(|a, b| b.per_second.cmp(&a.per_second).then_with(|| a.key.cmp(&b.key)));
        keys.truncate(shard.state.config.hotkey_top_k());
        let mut reply = connection.reply();
        reply.array(keys.len());
        for hot in keys {
            reply.map(3);
            reply.bulk(b"key");
            reply.bulk(&hot.key);
            reply.bulk(b"db");
            reply.int(i64::from(hot.db));
            reply.bulk(b"qps");
            reply.int(hot.per_second as i64);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn keys_of_all_shards_are_merged() {
        let mut bench = Bench::with_shards(3, "--hotkey-top-k 2");
        bench.pass_ms(100);
        for key in 0..20 {
            bench.check(&format!("SET k{key} v"), "+OK");
        }
        for _ in 0..4 {
            bench.check("MGET k1 k7 k7", "*3 $1 v $1 v $1 v");
        }
        bench.pass_ms(500);
        let shown = "*2 *6 $3 key $2 k7 $2 db :0 $3 qps :15 *6 $3 key $2 k1 $2 db :0 $3 qps :9";
        bench.check("HOTKEYS GET", shown);
        bench.pass_ms(4_500);
        bench.pass_ms(100);
        let later = bench.run("HOTKEYS GET");
        assert!(later.starts_with("*2 *6 $3 key $2 k7 $2 db :0 $3 qps :2 "), "{later}");
        bench.check("HOTKEYS RESET", "+OK");
        bench.check("HOTKEYS GET", "*0");
        bench.check("CONFIG SET hotkey-top-k 0", "+OK");
        bench.check("SET k1 v", "+OK");
        bench.check("HOTKEYS GET", "*0");
    }
}
