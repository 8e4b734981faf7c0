//! LATENCY: events that took long, and how long commands take.

use std::fmt::Write;

use torc_commands::{Arity, Docs, Flags, Group, Spec};
use torc_resp::{Args, CommandError};

use crate::connection::Connection;
use crate::registry::{Registered, registry};
use crate::shard::Shard;
use crate::shard::latency::{LatencyEvents, Sample, Series};
use crate::shard::stats::{CommandStats, ShardStats};

use super::{ALWAYS, Flow, SessionCommand, help};

pub static COMMANDS: &[SessionCommand] = &[LATENCY];

const ADMIN: Flags = ALWAYS.and(Flags::ADMIN).and(Flags::NOSCRIPT);
const TIPS: &[&str] = &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"];

const fn spec(name: &'static str, arity: Arity, docs: &'static Docs) -> Spec {
    Spec { name, arity, flags: ADMIN, tips: TIPS, docs, ..Spec::DEFAULT }
}

const LATENCY: SessionCommand = SessionCommand::container(
    Spec {
        name: "latency",
        arity: Arity::at_least(2),
        docs: &Docs {
            syntax: "LATENCY",
            summary: "A container for commands about latency.",
            since: "2.8.13",
            complexity: "Depends on subcommand.",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    &[
        DOCTOR,
        GRAPH,
        help::help(&help::docs("LATENCY HELP", "2.8.13", Group::Server)),
        HISTOGRAM,
        HISTORY,
        LATEST,
        RESET,
    ],
);

/// Ask all shards for their events and answer from all of them together.
fn with_events(
    shard: &mut Shard,
    connection: &mut Connection,
    finish: impl FnOnce(&mut Shard, &mut Connection, LatencyEvents) -> Result<(), CommandError> + 'static,
) -> Flow {
    let events_here = |shard: &mut Shard| shard.latency.clone();
    shard.call_all(connection, events_here, |shard, connection, all| {
        let mut merged = LatencyEvents::default();
        for (event, series) in all.iter().flatten() {
            merged.entry(event).or_default().merge(series);
        }
        finish(shard, connection, merged)
    })
}

const LATEST: SessionCommand = SessionCommand::new(
    spec(
        "latest",
        Arity::exactly(2),
        &Docs {
            syntax: "LATENCY LATEST",
            summary: "Returns the last sample of every class of event, and the worst one.",
            since: "2.8.13",
            group: Group::Server,
            ..Docs::DEFAULT
        },
    ),
    |shard, connection, _args| {
        Ok(with_events(shard, connection, |_shard, connection, events| {
            let mut reply = connection.reply();
            reply.array(events.len());
            for (event, series) in &events {
                let last = series.samples.back().expect("a series begins with a sample");
                reply.array(4);
                reply.bulk(event.as_bytes());
                reply.int(last.time_s);
                reply.int(last.ms as i64);
                reply.int(series.max_ms as i64);
            }
            Ok(())
        }))
    },
);

const HISTORY: SessionCommand = SessionCommand::new(
    spec(
        "history",
        Arity::exactly(3),
        &Docs {
            syntax: "LATENCY HISTORY event",
            summary: "Returns the samples of one class of event: time and milliseconds.",
            since: "2.8.13",
            group: Group::Server,
            ..Docs::DEFAULT
        },
    ),
    |shard, connection, args| {
        let event = args.get(2).to_vec();
        Ok(with_events(shard, connection, move |_shard, connection, events| {
            let samples =
                find(&events, &event).map_or_else(Default::default, |(_, series)| series.samples.clone());
            let mut reply = connection.reply();
            reply.array(samples.len());
            for sample in samples {
                reply.array(2);
                reply.int(sample.time_s);
                reply.int(sample.ms as i64);
            }
            Ok(())
        }))
    },
);

fn find<'a>(events: &'a LatencyEvents, name: &[u8]) -> Option<(&'static str, &'a Series)> {
    events.iter().find(|(event, _)| event.as_bytes() == name).map(|(event, series)| (*event, series))
}

const RESET: SessionCommand = SessionCommand::new(
    Spec {
        tips: &["request_policy:all_nodes", "response_policy:agg_sum"],
        ..spec(
            "reset",
            Arity::at_least(2),
            &Docs {
                syntax: "LATENCY RESET [event ...]",
                summary: "Forgets the samples of these classes of events, or of all.",
                since: "2.8.13",
                group: Group::Server,
                ..Docs::DEFAULT
            },
        )
    },
    reset,
);

fn reset(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let wanted: Vec<Vec<u8>> = args.iter().skip(2).map(<[u8]>::to_vec).collect();
    let reset_here = move |shard: &mut Shard| -> Vec<&'static str> {
        let is_wanted = |event: &str| wanted.is_empty() || wanted.iter().any(|name| name == event.as_bytes());
        let gone: Vec<&'static str> =
            shard.latency.keys().copied().filter(|event| is_wanted(event)).collect();
        gone.iter().for_each(|event| drop(shard.latency.remove(event)));
        gone
    };
    let flow = shard.call_all(connection, reset_here, |_shard, connection, gone| {
        let mut events: Vec<&str> = gone.into_iter().flatten().collect();
        events.sort_unstable();
        events.dedup();
        connection.reply().int(events.len() as i64);
        Ok(())
    });
    Ok(flow)
}

const GRAPH: SessionCommand = SessionCommand::new(
    spec(
        "graph",
        Arity::exactly(3),
        &Docs {
            syntax: "LATENCY GRAPH event",
            summary: "Draws the samples of one class of event.",
            since: "2.8.13",
            group: Group::Server,
            ..Docs::DEFAULT
        },
    ),
    |shard, connection, args| {
        let event = args.get(2).to_vec();
        Ok(with_events(shard, connection, move |shard, connection, events| {
            let Some((event, series)) = find(&events, &event) else {
                let event = String::from_utf8_lossy(&event);
                let text = format!("ERR No samples available for event '{event}'");
                return Err(CommandError::Owned(text.into()));
            };
            let picture = graph(event, series, shard.now.unix_ms / 1000);
            connection.reply().verbatim("txt", picture.as_bytes());
            Ok(())
        }))
    },
);

/// A column per sample, four rows high, and under each column how long ago it was.
fn graph(event: &str, series: &Series, now_s: i64) -> String {
    const COLUMNS_MAX: usize = 80;
    const ROWS: u64 = 4;
    /// From the least to the most that fits into one row.
    const LEVELS: &[char] = &['_', 'o', '#'];
    let skipped = series.samples.len().saturating_sub(COLUMNS_MAX);
    let samples: Vec<Sample> = series.samples.iter().skip(skipped).copied().collect();
    let low = samples.iter().map(|sample| sample.ms).min().unwrap_or(0);
    let high = samples.iter().map(|sample| sample.ms).max().unwrap_or(0);
    let mut picture =
        format!("{event} - high {high} ms, low {low} ms (all time high {} ms)\n", series.max_ms);
    picture.push_str(&"-".repeat(COLUMNS_MAX));
    picture.push('\n');
    let levels = ROWS * LEVELS.len() as u64 - 1;
    let level_of = |sample: &Sample| (sample.ms - low) * levels / (high - low).max(1);
    for row in (0..ROWS).rev() {
        let base = row * LEVELS.len() as u64;
        let line = samples.iter().map(|sample| match level_of(sample).checked_sub(base) {
            None => ' ',
            Some(level) => LEVELS.get(level as usize).copied().unwrap_or('|'),
        });
        picture.extend(line);
        picture.push('\n');
    }
    picture.push('\n');
    let ages: Vec<Vec<char>> =
        samples.iter().map(|sample| shown_age(now_s - sample.time_s).chars().collect()).collect();
    for row in 0..ages.iter().map(Vec::len).max().unwrap_or(0) {
        picture.extend(ages.iter().map(|age| age.get(row).copied().unwrap_or(' ')));
        picture.push('\n');
    }
    picture
}

/// `5s`, `3m`, `2h`, `9d`
fn shown_age(seconds: i64) -> String {
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];
    let fits = units.iter().find(|(length, _)| seconds >= *length);
    fits.map_or_else(|| "0s".into(), |(length, unit)| format!("{}{unit}", seconds / length))
}

const DOCTOR: SessionCommand = SessionCommand::new(
    spec(
        "doctor",
        Arity::exactly(2),
        &Docs {
            syntax: "LATENCY DOCTOR",
            summary: "Says what was slow, and what can be done about it.",
            since: "2.8.13",
            group: Group::Server,
            ..Docs::DEFAULT
        },
    ),
    |shard, connection, _args| {
        Ok(with_events(shard, connection, |shard, connection, events| {
            let report = report(shard, &events);
            connection.reply().verbatim("txt", report.as_bytes());
            Ok(())
        }))
    },
);

fn report(shard: &Shard, events: &LatencyEvents) -> String {
    let config = &shard.state.config;
    let Some(threshold) = config.latency_monitor_threshold() else {
        return "Latency monitoring is off. Turn it on with \"CONFIG SET latency-monitor-threshold <milliseconds>\".\n"
            .into();
    };
    if events.is_empty() {
        return format!("Nothing took {} ms or longer so far.\n", threshold.as_millis());
    }
    let now_s = shard.now.unix_ms / 1000;
    let mut text = String::from("Events that took long:\n\n");
    for (number, (event, series)) in events.iter().enumerate() {
        let count = series.samples.len() as f64;
        let mean = series.samples.iter().map(|sample| sample.ms as f64).sum::<f64>() / count;
        let deviation =
            series.samples.iter().map(|sample| (sample.ms as f64 - mean).abs()).sum::<f64>() / count;
        let first_s = series.samples.front().map_or(now_s, |sample| sample.time_s);
        writeln!(
            text,
            "{}. {event}: {count} latency spikes (average {mean:.0}ms, mean deviation {deviation:.0}ms, period {:.2} \
             sec). Worst all time event {}ms.",
            number + 1,
            (now_s - first_s).max(1) as f64 / count,
            series.max_ms,
        )
        .expect("writing into a String cannot fail");
    }
    text.push_str("\nWhat can be done:\n\n");
    let slower_than = config.commandlog_execution_slower_than();
    if slower_than.is_none_or(|slower_than| slower_than > threshold) {
        text.push_str(&format!(
            "- The slow log misses some of these commands: CONFIG SET slowlog-log-slower-than {}.\n",
            threshold.as_micros()
        ));
    }
    if events.keys().any(|event| event.ends_with("command")) {
        text.push_str(
            "- SLOWLOG GET shows which commands were slow. Commands over many keys or large values hold up \
                       all clients of their shard: split them.\n",
        );
    }
    if events.contains_key("expire-cycle") {
        text.push_str(
            "- Many keys expire at once: spread their expiry times, or lower active-expire-effort.\n",
        );
    }
    text
}

const HISTOGRAM: SessionCommand = SessionCommand::new(
    spec(
        "histogram",
        Arity::at_least(2),
        &Docs {
            syntax: "LATENCY HISTOGRAM [command ...]",
            summary: "Returns for these commands, or for all, how many calls took at most 1, 2, 4, … microseconds.",
            since: "7.0.0",
            complexity: "O(N), where N is the number of commands",
            group: Group::Server,
            ..Docs::DEFAULT
        },
    ),
    histogram,
);

fn histogram(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut commands: Vec<&'static Registered> = Vec::new();
    for name in args.iter().skip(2) {
        let Some(command) = registry().find_full(name) else { continue };
        commands.push(command);
        commands.extend(&command.subcommands);
    }
    if args.len() == 2 {
        commands.extend(registry().all());
    }
    if !shard.state.config.latency_tracking() {
        commands.clear();
    }
    let stats_here = |shard: &mut Shard| shard.stats.clone();
    let flow = shard.call_all(connection, stats_here, move |_shard, connection, all| {
        let mut sum = ShardStats::new();
        all.iter().for_each(|stats| sum.add(stats));
        let mut reply = connection.reply();
        let map = reply.deferred_map();
        let mut count = 0;
        for command in commands {
            let stats = &sum.commands[command.id as usize];
            if stats.calls == 0 {
                continue;
            }
            count += 1;
            reply.bulk(command.name.as_bytes());
            reply.map(2);
            reply.bulk(b"calls");
            reply.int(stats.calls as i64);
            reply.bulk(b"histogram_usec");
            let buckets = reply.deferred_map();
            let mut seen = 0;
            let used = stats.latency.iter().enumerate().filter(|(_, calls)| **calls > 0);
            for (index, &calls) in used.clone() {
                seen += calls as i64;
                reply.int((CommandStats::bucket_end_ns(index) / 1000) as i64);
                reply.int(seen);
            }
            reply.finish(buckets, used.count());
        }
        reply.finish(map, count);
        Ok(())
    });
    Ok(flow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    fn series(samples: &[(i64, u64)]) -> Series {
        let mut series = Series::default();
        samples.iter().for_each(|&(time_s, ms)| series.add(Sample { time_s, ms }));
        series
    }

    #[test]
    fn arguments_are_checked() {
        let mut bench = Bench::with_shards(2, "");
        let cases = [
            ("LATENCY LATEST", "*0"),
            ("LATENCY LATEST x", "-ERR wrong number of arguments for 'latency|latest' command"),
            ("LATENCY HISTORY foo", "*0"),
            ("LATENCY RESET", ":0"),
            ("LATENCY RESET foo bar", ":0"),
            ("LATENCY GRAPH foo", "-ERR No samples available for event 'foo'"),
            ("LATENCY HISTOGRAM foo get", "*0"),
            ("GET k", "$-1"),
            ("GET k2", "$-1"),
            ("GET k3", "$-1"),
            ("LATENCY HISTOGRAM foo get", "*2 $3 get *4 $5 calls :3 $14 histogram_usec *2 :1 :3"),
            ("CONFIG RESETSTAT", "+OK"),
            ("CLIENT ID", ":1"),
            ("LATENCY HISTOGRAM client", "*2 $9 client|id *4 $5 calls :1 $14 histogram_usec *2 :1 :1"),
            (
                "LATENCY HISTOGRAM config|resetstat",
                "*2 $16 config|resetstat *4 $5 calls :1 $14 histogram_usec *2 :1 :1",
            ),
        ];
        for (line, reply) in cases {
            bench.check(line, reply);
        }
        assert!(bench.run("LATENCY DOCTOR").contains("latency-monitor-threshold"));
    }

    #[test]
    fn a_graph_has_a_column_per_sample() {
        let picture = graph("command", &series(&[(10, 50), (20, 100), (3_500, 75)]), 3_670);
        let rule = "-".repeat(80);
        let expected = format!(
            "command - high 100 ms, low 50 ms (all time high 100 ms)\n{rule}\n # \n | \n |#\n_||\n\n112\nhhm\n"
        );
        assert_eq!(picture, expected);
    }
}
