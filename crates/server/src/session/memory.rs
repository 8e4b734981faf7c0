//! MEMORY: what takes memory, and the allocator.
//!
//! Owns the replies. Figures come from the allocator and the kernel (`crate::memory`) and from every shard
//! (`session::info`); USAGE is a data command of its own.

use torc_commands::families::generic::inspect::MEMORY_USAGE;
use torc_commands::{Arity, Docs, Flags, Group, Spec};
use torc_resp::{Args, CommandError, Reply};

use crate::connection::Connection;
use crate::memory::{self, MemoryFigures};
use crate::shard::Shard;

use super::info::{DatabaseFigures, Figures, Totals};
use super::{Flow, SessionCommand, SessionRun, help};

pub static COMMANDS: &[SessionCommand] = &[MEMORY];

const REPORT_TIPS: &[&str] =
    &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"];
const DOCS: Docs = Docs { since: "4.0.0", group: Group::Server, ..Docs::DEFAULT };

const MEMORY: SessionCommand = SessionCommand::container(
    Spec {
        name: "memory",
        arity: Arity::at_least(2),
        docs: &Docs {
            summary: "A container for commands about memory.",
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
                tips: REPORT_TIPS,
                docs: &Docs {
                    syntax: "MEMORY DOCTOR",
                    summary: "Replies a report on memory, in words.",
                    ..DOCS
                },
                ..Spec::DEFAULT
            },
            doctor,
        ),
        help::help(&help::docs("MEMORY HELP", "4.0.0", Group::Server)),
        SessionCommand::new(
            Spec {
                name: "malloc-stats",
                arity: Arity::exactly(2),
                flags: Flags::LOADING,
                tips: REPORT_TIPS,
                docs: &Docs {
                    syntax: "MEMORY MALLOC-STATS",
                    summary: "Replies the report of the allocator.",
                    complexity: "Depends on how much memory is allocated, could be slow",
                    ..DOCS
                },
                ..Spec::DEFAULT
            },
            malloc_stats,
        ),
        SessionCommand::new(
            Spec {
                name: "purge",
                arity: Arity::exactly(2),
                flags: Flags::LOADING,
                tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
                docs: &Docs {
                    syntax: "MEMORY PURGE",
                    summary: "Gives unused memory back to the system.",
                    complexity: "Depends on how much memory is allocated, could be slow",
                    ..DOCS
                },
                ..Spec::DEFAULT
            },
            purge,
        ),
        SessionCommand::new(
            Spec {
                name: "stats",
                arity: Arity::exactly(2),
                tips: REPORT_TIPS,
                docs: &Docs {
                    syntax: "MEMORY STATS",
                    summary: "Replies what takes memory, by name.",
                    ..DOCS
                },
                ..Spec::DEFAULT
            },
            stats,
        ),
        SessionCommand { spec: MEMORY_USAGE.spec, run: SessionRun::Data(MEMORY_USAGE.run), subcommands: &[] },
    ],
);

/// Work that goes through all arenas of the allocator runs outside the shard.
fn purge(shard: &mut Shard, connection: &mut Connection, _args: Args<'_>) -> Result<Flow, CommandError> {
    Ok(shard
        .run_aside(connection, memory::purge, |shard, connection, ()| shard.reply_ok(connection).map(drop)))
}

fn malloc_stats(
    shard: &mut Shard,
    connection: &mut Connection,
    _args: Args<'_>,
) -> Result<Flow, CommandError> {
    Ok(shard.run_aside(connection, memory::report, |_, connection, report| {
        connection.reply().verbatim("txt", &report);
        Ok(())
    }))
}

/// What MEMORY STATS and MEMORY DOCTOR know.
struct Account {
    memory: MemoryFigures,
    peak: usize,
    startup: usize,
    clients: usize,
    connected: usize,
    databases: Vec<DatabaseFigures>,
}

impl Account {
    fn of(shard: &Shard, totals: &Totals) -> Account {
        let watch = &shard.process.memory;
        watch.note_peak();
        let memory = memory::figures();
        Account {
            memory,
            peak: watch.peak().max(memory.allocated),
            startup: watch.startup(),
            clients: totals.clients.bytes,
            connected: totals.clients.connected,
            databases: totals.databases.clone(),
        }
    }

    fn keys(&self) -> usize {
        self.databases.iter().map(|database| database.keys).sum()
    }

    fn table_bytes(&self) -> usize {
        self.databases.iter().map(|database| database.table_bytes).sum()
    }

    /// Memory that is not the keys and values.
    fn overhead(&self) -> usize {
        (self.startup + self.clients + self.table_bytes()).min(self.memory.allocated)
    }

    fn dataset(&self) -> usize {
        self.memory.allocated - self.overhead()
    }

    /// What came since the start.
    fn net(&self) -> usize {
        self.memory.allocated.saturating_sub(self.startup)
    }

    fn write(&self, reply: &mut Reply<'_>) {
        let percent = |part: usize, whole: usize| part as f64 / whole.max(1) as f64 * 100.0;
        let ratio = |part: usize, whole: usize| Figure::Ratio(part as f64 / whole.max(1) as f64);
        let difference = |part: usize, whole: usize| Figure::Bytes(part as i64 - whole as i64);
        let bytes = |bytes: usize| Figure::Bytes(bytes as i64);
        let memory = &self.memory;
        let per_key = self.net() / self.keys().max(1);
        let before = [
            ("peak.allocated", bytes(self.peak)),
            ("total.allocated", bytes(memory.allocated)),
            ("startup.allocated", bytes(self.startup)),
            ("replication.backlog", bytes(0)),
            ("clients.slaves", bytes(0)),
            ("clients.normal", bytes(self.clients)),
            ("cluster.links", bytes(0)),
            ("aof.buffer", bytes(0)),
            ("lua.caches", bytes(0)),
            ("functions.caches", bytes(0)),
        ];
        let after = [
            ("overhead.db.hashtable.lut", bytes(self.table_bytes())),
            ("overhead.db.hashtable.rehashing", bytes(0)),
            ("overhead.total", bytes(self.overhead())),
            ("db.dict.rehashing.count", bytes(0)),
            ("keys.count", bytes(self.keys())),
            ("keys.bytes-per-key", bytes(if self.keys() == 0 { 0 } else { per_key })),
            ("dataset.bytes", bytes(self.dataset())),
            ("dataset.percentage", Figure::Ratio(percent(self.dataset(), self.net()).min(100.0))),
            ("peak.percentage", Figure::Ratio(percent(memory.allocated, self.peak))),
            ("allocator.allocated", bytes(memory.allocated)),
            ("allocator.active", bytes(memory.active)),
            ("allocator.resident", bytes(memory.resident)),
            ("allocator-fragmentation.ratio", ratio(memory.active, memory.allocated)),
            ("allocator-fragmentation.bytes", difference(memory.active, memory.allocated)),
            ("allocator-rss.ratio", ratio(memory.resident, memory.active)),
            ("allocator-rss.bytes", difference(memory.resident, memory.active)),
            ("rss-overhead.ratio", ratio(memory.rss, memory.resident)),
            ("rss-overhead.bytes", difference(memory.rss, memory.resident)),
            ("fragmentation", ratio(memory.rss, memory.allocated)),
            ("fragmentation.bytes", difference(memory.rss, memory.allocated)),
        ];
        let used: Vec<_> =
            self.databases.iter().enumerate().filter(|(_, database)| database.keys > 0).collect();
        reply.map(before.len() + used.len() + after.len());
        before.iter().for_each(|(name, figure)| figure.write(name, reply));
        for (db, database) in used {
            reply.bulk(format!("db.{db}").as_bytes());
            reply.map(2);
            bytes(database.table_bytes).write("overhead.hashtable.main", reply);
            // Expiry times are kept in the entries, not in a table.
            bytes(0).write("overhead.hashtable.expires", reply);
        }
        after.iter().for_each(|(name, figure)| figure.write(name, reply));
    }

    /// The report of MEMORY DOCTOR.
    fn diagnosis(&self) -> String {
        const LITTLE_BYTES: usize = 5 << 20;
        const CLIENT_BYTES_MANY: usize = 200 << 10;
        let MemoryFigures { allocated, active, resident, rss } = self.memory;
        if allocated < LITTLE_BYTES {
            return "Hi Sam, this instance is empty or is using very little memory, my issues detector can't be used \
                    in these conditions. Please, leave for your mission on Earth and fill it with some data. The new \
                    Sam and I will be back to our programming as soon as I finished rebooting.\n"
                .into();
        }
        // Ratios say little about small amounts: each finding also has a least number of bytes.
        let exceeds = |part: usize, whole: usize, ratio: f64| {
            part as f64 > whole as f64 * ratio && part - whole.min(part) > LITTLE_BYTES * 2
        };
        let findings = [
            (
                self.peak as f64 > allocated as f64 * 1.5,
                "Peak: at some time the server used more than 150 % of what it uses now. Memory that the allocator \
                 keeps from then is used again when data grows; MEMORY PURGE may give some of it back.",
            ),
            (
                exceeds(active, allocated, 1.1),
                "Fragmentation: pages that are in use have many holes, as when values of many sizes come and go. \
                 New values fill them.",
            ),
            (
                exceeds(resident, active, 1.1),
                "Kept pages: the allocator keeps unused pages for a while. MEMORY PURGE gives them back.",
            ),
            (
                exceeds(rss, resident, 1.1),
                "Overhead: the process holds much memory that is not the allocator's, such as stacks and ring buffers.",
            ),
            (
                self.connected > 0 && self.clients / self.connected > CLIENT_BYTES_MANY,
                "Clients: on average a client takes more than 200 KB, as when clients read their replies slowly. \
                 CLIENT LIST shows which (omem, tot-mem).",
            ),
        ];
        let found: Vec<&str> = findings.iter().filter(|(found, _)| *found).map(|(_, text)| *text).collect();
        if found.is_empty() {
            return "No memory problem was found.\n".into();
        }
        let list: String = found.iter().map(|text| format!(" * {text}\n")).collect();
        format!("Memory problems of this server:\n\n{list}")
    }
}

enum Figure {
    Bytes(i64),
    Ratio(f64),
}

impl Figure {
    fn write(&self, name: &str, reply: &mut Reply<'_>) {
        reply.bulk(name.as_bytes());
        match self {
            Figure::Bytes(bytes) => reply.int(*bytes),
            Figure::Ratio(ratio) => reply.double(*ratio),
        }
    }
}

fn stats(shard: &mut Shard, connection: &mut Connection, _args: Args<'_>) -> Result<Flow, CommandError> {
    Ok(shard.call_all(connection, Figures::of, |shard, connection, figures| {
        let account = Account::of(shard, &Totals::of(&figures));
        account.write(&mut connection.reply());
        Ok(())
    }))
}

fn doctor(shard: &mut Shard, connection: &mut Connection, _args: Args<'_>) -> Result<Flow, CommandError> {
    Ok(shard.call_all(connection, Figures::of, |shard, connection, figures| {
        let account = Account::of(shard, &Totals::of(&figures));
        connection.reply().verbatim("txt", account.diagnosis().as_bytes());
        Ok(())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    #[test]
    fn stats_are_a_map_of_figures() {
        let mut bench = Bench::with_shards(2, "");
        bench.run("SET a 1\nSELECT 3\nSET b 1\nSELECT 0");
        let reply = bench.run("MEMORY STATS");
        for name in ["peak.allocated", "db.0 *4", "db.3 *4", "keys.count :2", "fragmentation.bytes"] {
            assert!(reply.contains(name), "{name} in {reply}");
        }
        assert!(bench.run("MEMORY USAGE a").starts_with(':'));
        bench.check("MEMORY USAGE nokey", "$-1");
    }

    #[test]
    fn the_doctor_finds_what_is_there() {
        const MB: usize = 1 << 20;
        let healthy =
            MemoryFigures { allocated: 100 * MB, active: 102 * MB, resident: 104 * MB, rss: 110 * MB };
        let account = |memory: MemoryFigures, peak: usize, clients: usize| Account {
            memory,
            peak,
            startup: MB,
            clients,
            connected: 2,
            databases: Vec::new(),
        };
        let cases = [
            (account(healthy, 100 * MB, 0), "No memory problem"),
            (account(healthy, 200 * MB, 0), " * Peak"),
            (account(MemoryFigures { active: 150 * MB, ..healthy }, 100 * MB, 0), " * Fragmentation"),
            (account(MemoryFigures { resident: 150 * MB, ..healthy }, 100 * MB, 0), " * Kept pages"),
            (account(MemoryFigures { rss: 150 * MB, ..healthy }, 100 * MB, 0), " * Overhead"),
            (account(healthy, 100 * MB, MB), " * Clients"),
            (account(MemoryFigures::default(), 0, 0), "Hi Sam"),
        ];
        for (account, expected) in cases {
            let text = account.diagnosis();
            assert!(text.contains(expected), "{expected} in {text}");
            assert!(text.matches(" * ").count() <= 1, "{text}");
        }
    }
}
