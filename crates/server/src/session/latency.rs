//! LATENCY: the latency monitor's histories, and histograms of commands.
//!
//! Owns the replies. The histories are kept by each shard (`shard::latency`) and merged here, as are the counts behind
//! the histograms (`shard::stats`).

use std::collections::BTreeMap;

use torc_commands::{Arity, Docs, Flags, Group, Spec};
use torc_resp::{Args, CommandError};

use crate::connection::Connection;
use crate::registry::{Registered, registry};
use crate::shard::Shard;
use crate::shard::latency::{LatencyEvents, Series};
use crate::shard::stats::{CommandStats, ShardStats};

use super::{ALWAYS, Flow, SessionCommand, help, latency_report};

pub static COMMANDS: &[SessionCommand] = &[LATENCY];

const ADMIN: Flags = ALWAYS.and(Flags::ADMIN).and(Flags::NOSCRIPT);
const TIPS: &[&str] = &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"];
const DOCS: Docs = Docs { since: "2.8.13", group: Group::Server, ..Docs::DEFAULT };

const LATENCY: SessionCommand = SessionCommand::container(
    Spec {
        name: "latency",
        arity: Arity::at_least(2),
        docs: &Docs {
            summary: "A container for commands about latency.",
            complexity: "Depends on subcommand.",
            ..DOCS
        },
        ..Spec::DEFAULT
    },
    &[
        SessionCommand::new(
            Spec {
                name: "doctor",
                arity: Arity::exactly(2),
                flags: ADMIN,
                tips: TIPS,
                docs: &Docs {
                    syntax: "LATENCY DOCTOR",
                    summary: "Replies a report on latency, in words.",
                    ..DOCS
                },
                ..Spec::DEFAULT
            },
            doctor,
        ),
        SessionCommand::new(
            Spec {
                name: "graph",
                arity: Arity::exactly(3),
                flags: ADMIN,
                tips: TIPS,
                docs: &Docs {
                    syntax: "LATENCY GRAPH event",
                    summary: "Replies a graph of the samples of an event, in letters.",
                    ..DOCS
                },
                ..Spec::DEFAULT
            },
            graph,
        ),
        help::help(&help::docs("LATENCY HELP", "2.8.13", Group::Server)),
        SessionCommand::new(
            Spec {
                name: "histogram",
                arity: Arity::at_least(2),
                flags: ADMIN,
                tips: TIPS,
                docs: &Docs {
                    syntax: "LATENCY HISTOGRAM [command ...]",
                    summary: "Replies how many calls of commands took no longer than 1, 2, 4, 8, … microseconds.",
                    since: "7.0.0",
                    complexity: "O(N), where N is the number of commands with calls",
                    ..DOCS
                },
                ..Spec::DEFAULT
            },
            histogram,
        ),
        SessionCommand::new(
            Spec {
                name: "history",
                arity: Arity::exactly(3),
                flags: ADMIN,
                tips: TIPS,
                docs: &Docs {
                    syntax: "LATENCY HISTORY event",
                    summary: "Replies the samples of an event: unix time and milliseconds.",
                    ..DOCS
                },
                ..Spec::DEFAULT
            },
            history,
        ),
        SessionCommand::new(
            Spec {
                name: "latest",
                arity: Arity::exactly(2),
                flags: ADMIN,
                tips: TIPS,
                docs: &Docs {
                    syntax: "LATENCY LATEST",
                    summary: "Replies for each event: name, unix time and milliseconds of the latest sample, the \
                              worst ever.",
                    ..DOCS
                },
                ..Spec::DEFAULT
            },
            latest,
        ),
        SessionCommand::new(
            Spec {
                name: "reset",
                arity: Arity::at_least(2),
                flags: ADMIN,
                tips: &["request_policy:all_nodes", "response_policy:agg_sum"],
                docs: &Docs {
                    syntax: "LATENCY RESET [event ...]",
                    summary: "Forgets the samples of events, or of all events.",
                    ..DOCS
                },
                ..Spec::DEFAULT
            },
            reset,
        ),
    ],
);

/// Ask all shards for their histories and go on with the merged ones.
fn with_events(
    shard: &mut Shard,
    connection: &mut Connection,
    finish: impl FnOnce(&mut Shard, &mut Connection, LatencyEvents) -> Result<(), CommandError> + 'static,
) -> Flow {
    shard.call_all(
        connection,
        |shard| shard.latency.clone(),
        |shard, connection, all| {
            let mut merged = LatencyEvents::new();
            for (event, series) in all.into_iter().flatten() {
                merged.entry(event).or_default().merge(&series);
            }
            finish(shard, connection, merged)
        },
    )
}

/// The history of the event that argument 2 names, in any case.
fn find<'a>(events: &'a LatencyEvents, name: &[u8]) -> Option<(&'static str, &'a Series)> {
    let found = events.iter().find(|(event, _)| event.as_bytes().eq_ignore_ascii_case(name));
    found.map(|(event, series)| (*event, series))
}

fn latest(shard: &mut Shard, connection: &mut Connection, _args: Args<'_>) -> Result<Flow, CommandError> {
    Ok(with_events(shard, connection, |_, connection, events| {
        let mut reply = connection.reply();
        reply.array(events.len());
        for (event, series) in &events {
            let last = series.samples.back().copied().unwrap_or_default();
            reply.array(4);
            reply.bulk(event.as_bytes());
            reply.int(last.time_s);
            reply.int(last.ms as i64);
            reply.int(series.max_ms as i64);
        }
        Ok(())
    }))
}

fn history(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let name = args.get(2).to_vec();
    Ok(with_events(shard, connection, move |_, connection, events| {
        let mut reply = connection.reply();
        let Some((_, series)) = find(&events, &name) else {
            reply.array(0);
            return Ok(());
        };
        reply.array(series.samples.len());
        for sample in &series.samples {
            reply.array(2);
            reply.int(sample.time_s);
            reply.int(sample.ms as i64);
        }
        Ok(())
    }))
}

fn graph(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let name = args.get(2).to_vec();
    Ok(with_events(shard, connection, move |shard, connection, events| {
        let Some((event, series)) = find(&events, &name) else {
            let text = format!("ERR No samples available for event '{}'", String::from_utf8_lossy(&name));
            return Err(CommandError::Owned(text.into()));
        };
        let text = latency_report::graph(event, series, shard.now.unix_ms / 1000);
        connection.reply().verbatim("txt", text.as_bytes());
        Ok(())
    }))
}

fn doctor(shard: &mut Shard, connection: &mut Connection, _args: Args<'_>) -> Result<Flow, CommandError> {
    Ok(with_events(shard, connection, |shard, connection, events| {
        let text = latency_report::diagnosis(&events, &shard.state.config);
        connection.reply().verbatim("txt", text.as_bytes());
        Ok(())
    }))
}

/// Answers how many histories were forgotten; an event that several shards know counts once.
fn reset(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let names: Vec<Vec<u8>> = args.iter().skip(2).map(<[u8]>::to_vec).collect();
    let forget = move |shard: &mut Shard| -> Vec<&'static str> {
        let named = |event: &str| names.iter().any(|name| event.as_bytes().eq_ignore_ascii_case(name));
        let all = std::mem::take(&mut shard.latency);
        let (forgotten, kept): (LatencyEvents, LatencyEvents) =
            all.into_iter().partition(|(event, _)| names.is_empty() || named(event));
        shard.latency = kept;
        forgotten.into_keys().collect()
    };
    Ok(shard.call_all(connection, forget, |_, connection, forgotten| {
        let mut events: Vec<&str> = forgotten.into_iter().flatten().collect();
        events.sort_unstable();
        events.dedup();
        connection.reply().int(events.len() as i64);
        Ok(())
    }))
}

fn histogram(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let commands = chosen(args);
    let stats = |shard: &mut Shard| shard.stats.clone();
    Ok(shard.call_all(connection, stats, move |shard, connection, all| {
        let mut stats = ShardStats::new();
        all.iter().for_each(|other| stats.add(other));
        let tracked = shard.state.config.latency_tracking();
        let called: Vec<(&str, &CommandStats)> = commands
            .iter()
            .map(|command| (command.name, &stats.commands[command.id as usize]))
            .filter(|(_, counts)| tracked && counts.calls > 0)
            .collect();
        let mut reply = connection.reply();
        reply.map(called.len());
        for (name, counts) in called {
            reply.bulk(name.as_bytes());
            reply.map(2);
            reply.bulk(b"calls");
            reply.int(counts.calls as i64);
            reply.bulk(b"histogram_usec");
            let steps = cumulative(counts);
            reply.map(steps.len());
            for (us, calls) in steps {
                reply.int(us as i64);
                reply.int(calls as i64);
            }
        }
        Ok(())
    }))
}

/// The commands that LATENCY HISTOGRAM was asked for: unknown names are passed over, a container stands for its
/// subcommands.
fn chosen(args: Args<'_>) -> Vec<&'static Registered> {
    if args.len() == 2 {
        return registry().all().to_vec();
    }
    let named = args.iter().skip(2).filter_map(|name| registry().find_full(name));
    named.flat_map(|command| std::iter::once(command).chain(command.subcommands.iter().copied())).collect()
}

/// Upper ends of the buckets in microseconds, with the number of calls up to there; only where that grows.
fn cumulative(counts: &CommandStats) -> BTreeMap<u64, u64> {
    let mut seen = 0;
    let mut steps = BTreeMap::new();
    for (index, &count) in counts.latency.iter().enumerate().filter(|(_, count)| **count > 0) {
        seen += u64::from(count);
        steps.insert(CommandStats::bucket_end_ns(index) / 1000, seen);
    }
    steps
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn without_samples() {
        let mut bench = Bench::with_shards(2, "");
        bench.check("LATENCY LATEST", "*0");
        bench.check("LATENCY HISTORY command", "*0");
        bench.check("LATENCY GRAPH nope", "-ERR No samples available for event 'nope'");
        bench.check("LATENCY RESET", ":0");
        bench.check("LATENCY NOPE", "-ERR unknown subcommand 'NOPE'. Try LATENCY HELP.");
    }

    #[test]
    fn histograms_count_over_all_shards() {
        let mut bench = Bench::with_shards(2, "");
        bench.run("SET a 1\nSET b 1\nSET c 1\nPING");
        bench.check("LATENCY HISTOGRAM set nope", "*2 $3 set *4 $5 calls :3 $14 histogram_usec *2 :1 :3");
        bench.run("SLOWLOG LEN\nSLOWLOG RESET");
        bench.check(
            "LATENCY HISTOGRAM slowlog|len",
            "*2 $11 slowlog|len *4 $5 calls :1 $14 histogram_usec *2 :1 :1",
        );
        assert!(bench.run("LATENCY HISTOGRAM slowlog").starts_with("*4 "));
        bench.check("LATENCY HISTOGRAM nope", "*0");
    }
}
