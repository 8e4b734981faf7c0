//! MEMORY and its subcommands. MEMORY USAGE is a data command.

use std::collections::BTreeMap;

use torc_commands::families::generic::inspect::MEMORY_USAGE;
use torc_commands::{Arity, Docs, Flags, Group, Spec};
use torc_resp::{Args, CommandError, Reply};

use crate::connection::Connection;
use crate::memory::{self, MemoryFigures};
use crate::shard::Shard;

use super::info::{Figures, Totals};
use super::{Flow, SessionCommand, SessionRun, help};

pub static COMMANDS: &[SessionCommand] = &[MEMORY];

const REPORT_TIPS: &[&str] =
    &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"];

const MEMORY: SessionCommand = SessionCommand::container(
    Spec {
        name: "memory",
        arity: Arity::at_least(2),
        docs: &Docs {
            syntax: "MEMORY",
            summary: "A container for commands about memory.",
            since: "4.0.0",
            complexity: "Depends on subcommand.",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    &[
        DOCTOR,
        help::help(&help::docs("MEMORY HELP", "4.0.0", Group::Server)),
        MALLOC_STATS,
        PURGE,
        STATS,
        SessionCommand { spec: MEMORY_USAGE.spec, run: SessionRun::Data(MEMORY_USAGE.run), subcommands: &[] },
    ],
);

const MALLOC_STATS: SessionCommand = SessionCommand::new(
    Spec {
        name: "malloc-stats",
        arity: Arity::exactly(2),
        flags: Flags::LOADING,
        tips: REPORT_TIPS,
        docs: &Docs {
            syntax: "MEMORY MALLOC-STATS",
            summary: "Returns the allocator's own report.",
            since: "4.0.0",
            complexity: "Depends on how much memory is allocated, could be slow",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    |shard, connection, _args| {
        Ok(shard.run_aside(connection, memory::report, |_shard, connection, report| {
            connection.reply().verbatim("txt", &report);
            Ok(())
        }))
    },
);

const PURGE: SessionCommand = SessionCommand::new(
    Spec {
        name: "purge",
        arity: Arity::exactly(2),
        flags: Flags::LOADING,
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        docs: &Docs {
            syntax: "MEMORY PURGE",
            summary: "Gives memory that the allocator keeps in reserve back to the system.",
            since: "4.0.0",
            complexity: "Depends on how much memory is allocated, could be slow",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    |shard, connection, _args| {
        Ok(shard.run_aside(connection, memory::purge, |shard, connection, ()| {
            shard.reply_ok(connection).map(drop)
        }))
    },
);

const STATS: SessionCommand = SessionCommand::new(
    Spec {
        name: "stats",
        arity: Arity::exactly(2),
        tips: REPORT_TIPS,
        docs: &Docs {
            syntax: "MEMORY STATS",
            summary: "Returns figures about memory.",
            since: "4.0.0",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    stats,
);

/// One value of MEMORY STATS.
enum Figure {
    Int(i64),
    Double(f64),
    /// Bytes of a database's tables, and of that the part for keys that expire.
    Database(usize, usize),
}

fn stats(shard: &mut Shard, connection: &mut Connection, _args: Args<'_>) -> Result<Flow, CommandError> {
    let flow = shard.call_all(connection, Figures::of, |shard, connection, figures| {
        let report = report(shard, &Totals::of(&figures));
        let mut reply = connection.reply();
        reply.map(report.len());
        for (name, figure) in report {
            reply.bulk(name.as_bytes());
            write_figure(&mut reply, figure);
        }
        Ok(())
    });
    Ok(flow)
}

fn write_figure(reply: &mut Reply<'_>, figure: Figure) {
    match figure {
        Figure::Int(number) => reply.int(number),
        Figure::Double(number) => reply.double(number),
        Figure::Database(table_bytes, volatile_bytes) => {
            reply.map(2);
            for (name, bytes) in
                [("overhead.hashtable.main", table_bytes), ("overhead.hashtable.expires", volatile_bytes)]
            {
                reply.bulk(name.as_bytes());
                reply.int(bytes as i64);
            }
        }
    }
}

/// Names and order as in Redis 7.2. What this version does not have is zero.
fn report(shard: &Shard, totals: &Totals) -> Vec<(String, Figure)> {
    let Summary { memory, used, peak, startup, overhead, dataset, keys } = Summary::of(shard, totals);
    let ratio = |part: usize, whole: usize| Figure::Double(part as f64 / whole.max(1) as f64);
    let percent = |part: usize, whole: usize| Figure::Double(part as f64 * 100.0 / whole.max(1) as f64);
    let difference = |part: usize, whole: usize| Figure::Int(part as i64 - whole as i64);
    let int = |number: usize| Figure::Int(number as i64);
    let mut report: Vec<(String, Figure)> = Vec::new();
    let mut put = |name: &str, figure: Figure| report.push((name.to_owned(), figure));
    put("peak.allocated", int(peak));
    put("total.allocated", int(used));
    put("startup.allocated", int(startup));
    put("replication.backlog", int(0));
    put("clients.slaves", int(0));
    put("clients.normal", int(totals.clients.bytes));
    put("cluster.links", int(0));
    put("aof.buffer", int(0));
    put("lua.caches", int(0));
    put("functions.caches", int(0));
    for (index, db) in totals.databases.iter().enumerate().filter(|(_, db)| db.keys > 0) {
        // Expiry times are part of the entries: there is no second table for them.
        put(&format!("db.{index}"), Figure::Database(db.table_bytes, 0));
    }
    put("overhead.total", int(overhead));
    put("keys.count", int(keys));
    put("keys.bytes-per-key", int(used.saturating_sub(startup).checked_div(keys).unwrap_or(0)));
    put("dataset.bytes", int(dataset));
    put("dataset.percentage", percent(dataset, used.saturating_sub(startup)));
    put("peak.percentage", percent(used, peak));
    put("allocator.allocated", int(memory.allocated));
    put("allocator.active", int(memory.active));
    put("allocator.resident", int(memory.resident));
    put("allocator-fragmentation.ratio", ratio(memory.active, memory.allocated));
    put("allocator-fragmentation.bytes", difference(memory.active, memory.allocated));
    put("allocator-rss.ratio", ratio(memory.resident, memory.active));
    put("allocator-rss.bytes", difference(memory.resident, memory.active));
    put("rss-overhead.ratio", ratio(memory.rss, memory.resident));
    put("rss-overhead.bytes", difference(memory.rss, memory.resident));
    put("fragmentation", ratio(memory.rss, used));
    put("fragmentation.bytes", difference(memory.rss, used));
    report
}

/// How memory divides into what is there anyway, what serves clients and tables, and data. In bytes.
pub struct Summary {
    pub memory: MemoryFigures,
    /// As it is compared with `maxmemory`.
    pub used: usize,
    pub peak: usize,
    pub startup: usize,
    pub overhead: usize,
    pub dataset: usize,
    pub keys: usize,
}

impl Summary {
    pub fn of(shard: &Shard, totals: &Totals) -> Summary {
        let watch = &shard.process.memory;
        let memory = memory::figures();
        let used = shard.process.used_memory(memory.allocated);
        let startup = watch.startup() - watch.exempt();
        let overhead = (startup + totals.clients.bytes + totals.table_bytes()).min(used);
        Summary {
            used,
            peak: watch.peak().saturating_sub(watch.exempt()).max(used),
            startup,
            overhead,
            dataset: used - overhead,
            keys: totals.databases.iter().map(|db| db.keys).sum(),
            memory,
        }
    }
}

const DOCTOR: SessionCommand = SessionCommand::new(
    Spec {
        name: "doctor",
        arity: Arity::exactly(2),
        tips: REPORT_TIPS,
        docs: &Docs {
            syntax: "MEMORY DOCTOR",
            summary: "Says what is unusual about the use of memory.",
            since: "4.0.0",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    |shard, connection, _args| {
        let flow = shard.call_all(connection, Figures::of, |shard, connection, figures| {
            let totals = Totals::of(&figures);
            let shares: BTreeMap<u16, usize> = figures
                .iter()
                .map(|shard| (shard.shard, shard.databases.iter().map(|db| db.entry_bytes).sum()))
                .collect();
            let text = diagnosis(&Summary::of(shard, &totals), &totals, &shares);
            connection.reply().verbatim("txt", text.as_bytes());
            Ok(())
        });
        Ok(flow)
    },
);

/// Below this there is nothing to say about ratios.
const LITTLE_BYTES: usize = 5 << 20;
/// What the program, the rings of each shard and the allocator's reserve for it take in any case.
const PROGRAM_BYTES: usize = 16 << 20;
const SHARD_BYTES: usize = 8 << 20;

/// `shares`: bytes of keys and values on each shard.
fn diagnosis(summary: &Summary, totals: &Totals, shares: &BTreeMap<u16, usize>) -> String {
    let MemoryFigures { allocated, active, resident, rss } = summary.memory;
    if allocated < LITTLE_BYTES {
        return "Too little memory is in use to say anything about it.\n".into();
    }
    let exceeds = |part: usize, whole: usize, limit: f64| part as f64 > whole.max(1) as f64 * limit;
    let usual = PROGRAM_BYTES + SHARD_BYTES * shares.len();
    let mut findings: Vec<String> = Vec::new();
    if exceeds(summary.peak, allocated, 1.5) {
        findings.push(
            "Peak: more memory was in use before than is now. The resident set may stay large until the allocator \
             gives pages back; MEMORY PURGE does it at once."
                .into(),
        );
    }
    if exceeds(active, allocated, 1.1) && active - allocated > 10 << 20 {
        findings.push(
            "Fragmentation: pages are only partly used. Values that change their sizes cause it.".into(),
        );
    }
    if exceeds(resident, active, 1.1) && resident - active > usual {
        findings.push(
            "Reserve: the allocator keeps pages that are not used. MEMORY PURGE gives them back.".into(),
        );
    }
    if exceeds(rss, resident, 1.1) && rss - resident > usual {
        findings.push("Overhead: the process has much memory that the allocator does not know.".into());
    }
    let clients = totals.clients;
    if clients.connected > 0 && clients.bytes / clients.connected > 200 << 10 {
        findings.push(
            "Clients: connections take more than 200 KB each. CLIENT LIST shows whose buffers are large (qbuf, omem)."
                .into(),
        );
    }
    let mean = shares.values().sum::<usize>() / shares.len().max(1);
    for (shard, bytes) in
        shares.iter().filter(|(_, bytes)| **bytes > LITTLE_BYTES && exceeds(**bytes, mean, 2.0))
    {
        findings.push(format!(
            "Balance: shard {shard} holds {bytes} bytes of keys and values, more than twice the mean. Many keys with one \
             hash tag, or a few very large values, cause it."
        ));
    }
    match findings.is_empty() {
        true => "Nothing about the use of memory is unusual.\n".into(),
        false => findings.iter().map(|finding| format!("- {finding}\n")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn memory_is_reported() {
        let mut bench = Bench::with_shards(2, "");
        bench.check("MEMORY", "-ERR wrong number of arguments for 'memory' command");
        bench.check("MEMORY FOO", "-ERR unknown subcommand 'FOO'. Try MEMORY HELP.");
        bench.check("MEMORY STATS x", "-ERR wrong number of arguments for 'memory|stats' command");
        bench.check("MEMORY USAGE nokey", "$-1");
        bench.check("SET key value", "+OK");
        assert!(bench.run("MEMORY USAGE key").starts_with(':'));
        let stats = bench.run("MEMORY STATS");
        assert!(stats.starts_with("*56 $14 peak.allocated :"), "{stats}");
        assert!(stats.contains(" $4 db.0 *4 $23 overhead.hashtable.main :"), "{stats}");
        assert!(stats.contains(" $10 keys.count :1 "), "{stats}");
        bench.run("HELLO 3");
        let stats = bench.run("MEMORY STATS");
        assert!(stats.starts_with("%28 $14 peak.allocated :"), "{stats}");
        assert!(stats.contains(" $15 peak.percentage ,"), "{stats}");
        assert!(bench.run("MEMORY DOCTOR").contains("memory"));
    }
}
