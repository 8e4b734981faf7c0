//! INFO.
//!
//! Owns the choice of sections. Every shard hands in its figures, the connection's shard adds them up; what the sections
//! say is in `sections`.

mod figures;
mod sections;

use torc_commands::{Arity, Category, Docs, Group, Spec};
use torc_resp::{Args, CommandError};

use crate::connection::Connection;
use crate::shard::Shard;

use super::{ALWAYS, Flow, SessionCommand};

pub use figures::{ClientTotals, DatabaseFigures, Figures, Totals};

use sections::SECTIONS;

pub static COMMANDS: &[SessionCommand] = &[INFO];

const INFO: SessionCommand = SessionCommand::new(
    Spec {
        name: "info",
        arity: Arity::at_least(1),
        flags: ALWAYS.and(torc_commands::Flags::SENTINEL),
        categories: &[Category::Dangerous],
        tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
        docs: &Docs {
            syntax: "INFO [section [section ...]]",
            summary: "Returns figures about the server, by section.",
            group: Group::Server,
            history: &[("7.0.0", "Takes several sections.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    info,
);

fn info(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let wanted: Vec<String> =
        args.iter().skip(1).map(|word| String::from_utf8_lossy(word).to_ascii_lowercase()).collect();
    let flow = shard.call_all(connection, Figures::of, move |shard, connection, figures| {
        let totals = Totals::of(&figures);
        let mut text = String::new();
        for section in SECTIONS.iter().filter(|section| is_wanted(&wanted, section)) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            text.push_str(&format!("# {}\r\n", section.title));
            (section.write)(shard, &figures, &totals, &mut sections::Fields(&mut text));
        }
        connection.reply().verbatim("txt", text.as_bytes());
        Ok(())
    });
    Ok(flow)
}

/// Names are in lower case.
fn is_wanted(wanted: &[String], section: &sections::Section) -> bool {
    let everything = |word: &str| matches!(word, "all" | "everything");
    let named =
        |word: &String| word == section.name || everything(word) || (word == "default" && section.default);
    if wanted.is_empty() { section.default } else { wanted.iter().any(named) }
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn sections_are_chosen() {
        let mut bench = Bench::with_shards(3, "");
        let titles = |text: String| -> String {
            let starts =
                text.split(" # ").skip(1).map(|part| part.split(' ').next().unwrap_or("").to_owned());
            starts.collect::<Vec<_>>().join(" ")
        };
        let default = "Server Clients Memory Persistence Stats Replication CPU Modules Errorstats Cluster Keyspace Torc";
        let all = "Server Clients Memory Persistence Stats Replication CPU Modules Commandstats Errorstats \
                   Latencystats Cluster Keyspace Torc";
        assert_eq!(titles(bench.run("INFO")), default);
        assert_eq!(titles(bench.run("INFO default")), default);
        assert_eq!(titles(bench.run("INFO all")), all);
        assert_eq!(titles(bench.run("INFO EVERYTHING")), all);
        assert_eq!(titles(bench.run("INFO server x Clients")), "Server Clients");
        assert_eq!(
            titles(bench.run("INFO default commandstats")),
            default.replace("Errorstats", "Commandstats Errorstats")
        );
        bench.check("INFO x", "$0 ");
        bench.check("INFO cluster", "$30 # Cluster cluster_enabled:0 ");
    }

    #[test]
    fn figures_of_all_shards_are_added() {
        let mut bench = Bench::with_shards(3, "");
        for key in 0..20 {
            bench.check(&format!("SET k{key} v EX 100"), "+OK");
            bench.check(&format!("GET k{key}"), "$1 v");
        }
        bench.check("GET nokey", "$-1");
        bench.check("FOO", "-ERR unknown command 'FOO', with args beginning with: ");
        bench.connect();
        bench.check("MULTI\nWATCH x", "+OK -ERR Command not allowed inside a transaction");
        bench.check("DISCARD\nWATCH x y x", "+OK +OK");
        bench.switch(0);
        let info = bench.run("INFO everything");
        let fields = [
            "redis_version:7.2.4",
            "multiplexing_api:io_uring",
            "connected_clients:2",
            "watching_clients:1",
            "total_watched_keys:2",
            "db0:keys=20,expires=20,avg_ttl=0,keys_with_volatile_items=0",
            "keyspace_hits:20",
            "keyspace_misses:1",
            "errorstat_ERR:count=2",
            "cmdstat_set:calls=20,usec=0,usec_per_call=0.00,rejected_calls=0,failed_calls=0",
            "cmdstat_watch:calls=1,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=0",
            "latency_percentiles_usec_get:p50=1.031,p99=1.031,p99.9=1.031",
            "role:master",
            "total_commands_processed:44",
            "paused_actions:none",
        ];
        for field in fields {
            assert!(info.contains(&format!(" {field} ")), "{field} is not in {info}");
        }
    }
}
