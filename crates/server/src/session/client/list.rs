//! CLIENT LIST and CLIENT INFO: a line per connection.

use std::io::Write;

use torc_commands::{Arity, Category, Docs, Group, Spec};
use torc_resp::{Args, CommandError, Proto};

use crate::connection::{Connection, Suspension};
use crate::packet::ShardId;
use crate::pubsub::Kind;
use crate::session::{Flow, SessionCommand};
use crate::shard::Shard;

use super::filter::{ClientKind, Filter};
use super::tracking::shown_redirect;
use super::{ADMIN, COMMON};

/// Redis keeps this much of a client's output in one buffer (`obl`) and the rest in a list (`oll`, `omem`); output is
/// shown in the same way here.
const OUTPUT_BLOCK_BYTES: usize = 16 * 1024;

pub(super) const LIST: SessionCommand = SessionCommand::new(
    Spec {
        name: "list",
        arity: Arity::at_least(2),
        flags: ADMIN,
        categories: &[Category::Connection],
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "CLIENT LIST [TYPE (NORMAL | MASTER | REPLICA | PUBSUB)] [ID client-id:int [client-id:int ...]] \
                     [USER username] [ADDR address] [LADDR address] [SKIPME (YES | NO)] [MAXAGE maxage:int]",
            summary: "Lists the connections, those that match all filters.",
            since: "2.4.0",
            complexity: "O(N), where N is the number of connections",
            group: Group::Connection,
            history: &[
                ("5.0.0", "Filter TYPE."),
                ("6.2.0", "Filter ID."),
                ("8.1.0", "Filters USER, ADDR, LADDR, SKIPME and MAXAGE."),
            ],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    list,
);

fn list(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let filter = Filter::parse(args, 2)?;
    let skipped = if filter.skip_me == Some(true) { connection.id } else { 0 };
    let lines_here = move |shard: &mut Shard| -> Vec<(u64, Vec<u8>)> {
        let now_ms = shard.now.unix_ms;
        let matching =
            shard.clients.iter().filter(|client| client.id != skipped && filter.matches(client, now_ms));
        matching.map(|client| (client.id, line(client, now_ms))).collect()
    };
    let flow = shard.call_all(connection, lines_here, |_shard, connection, lists| {
        let mut lines: Vec<(u64, Vec<u8>)> = lists.into_iter().flatten().collect();
        lines.sort_unstable_by_key(|(id, _)| *id);
        let text: Vec<u8> = lines.into_iter().flat_map(|(_, line)| line).collect();
        connection.reply().verbatim("txt", &text);
        Ok(())
    });
    Ok(flow)
}

pub(super) const INFO: SessionCommand = SessionCommand::new(
    Spec {
        name: "info",
        arity: Arity::exactly(2),
        flags: COMMON,
        categories: &[Category::Connection],
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "CLIENT INFO",
            summary: "Returns the line of CLIENT LIST about this connection.",
            since: "6.2.0",
            group: Group::Connection,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    info,
);

fn info(shard: &mut Shard, connection: &mut Connection, _args: Args<'_>) -> Result<Flow, CommandError> {
    let line = line(connection, shard.now.unix_ms);
    connection.reply().verbatim("txt", &line);
    Ok(Flow::Done)
}

/// What CLIENT LIST says about a connection, with a line end. Fields and their order are those of Redis 7.2, and the
/// traffic counters of Valkey 8.1 behind them.
fn line(connection: &Connection, now_ms: i64) -> Vec<u8> {
    let info = &connection.info;
    let seconds_since = |then_ms: i64| (now_ms - then_ms).max(0) / 1000;
    let [channels, patterns, shard_channels] = subscription_counts(connection);
    let figures = ClientFigures::of(connection);
    let waiting = connection.output.buffered_bytes();
    // While a large argument arrives, Redis's input buffer holds nothing else.
    let unparsed = match connection.parser.newest_blob_bytes() {
        0 => connection.unparsed(),
        bytes => bytes,
    };
    let in_list = waiting.saturating_sub(OUTPUT_BLOCK_BYTES);
    let mut line = Vec::with_capacity(384);
    let mut put = |text: std::fmt::Arguments<'_>| {
        line.write_fmt(text).expect("writing into a Vec cannot fail");
    };
    put(format_args!(
        "id={} addr={} laddr={} fd={} name=",
        connection.id, info.address, info.local_address, info.fd
    ));
    line.extend_from_slice(&connection.name);
    let mut put = |text: std::fmt::Arguments<'_>| {
        line.write_fmt(text).expect("writing into a Vec cannot fail");
    };
    put(format_args!(
        " age={} idle={} flags={} db={} sub={channels} psub={patterns} ssub={shard_channels} multi={} watch={}",
        seconds_since(connection.created_ms),
        seconds_since(connection.last_interaction_ms),
        flags(connection),
        connection.db,
        queued(connection).map_or(-1, |count| count as i64),
        watched(connection),
    ));
    put(format_args!(
        " qbuf={} qbuf-free={} argv-mem={} multi-mem={} rbs={} rbp={} obl={} oll={} omem={in_list} tot-mem={}",
        unparsed,
        connection.input.capacity() - connection.unparsed(),
        figures.held_bytes,
        connection.multi.as_ref().map_or(0, |multi| multi.queued_bytes),
        figures.output_capacity,
        figures.output_capacity,
        waiting.min(OUTPUT_BLOCK_BYTES),
        in_list.div_ceil(OUTPUT_BLOCK_BYTES),
        figures.total_bytes,
    ));
    put(format_args!(
        " events={}{} cmd={} user=default redir={} resp={} lib-name=",
        if connection.flags.reading_paused { "" } else { "r" },
        if waiting > 0 && !connection.flags.flush_queued { "w" } else { "" },
        connection.last_command.map_or("NULL", |command| command.name),
        shown_redirect(connection),
        if connection.proto == Proto::Resp3 { 3 } else { 2 },
    ));
    line.extend_from_slice(&connection.library_name);
    line.extend_from_slice(b" lib-ver=");
    line.extend_from_slice(&connection.library_version);
    let traffic = &connection.traffic;
    writeln!(
        line,
        " tot-net-in={} tot-net-out={} tot-cmds={}",
        traffic.input_bytes,
        traffic.output_bytes,
        // The command under way is not done yet.
        traffic.commands - u64::from(is_executing(connection)),
    )
    .expect("writing into a Vec cannot fail");
    line
}

/// Is a command of this connection under way?
fn is_executing(connection: &Connection) -> bool {
    connection.flags.executing || connection.is_blocked() || connection.suspension == Suspension::Work
}

/// Letters as in Redis.
fn flags(connection: &Connection) -> String {
    let set = [
        (connection.flags.monitor, 'O'),
        (ClientKind::of(connection) == ClientKind::PubSub, 'P'),
        (queued(connection).is_some(), 'x'),
        (connection.is_blocked() || connection.suspension == Suspension::Pause, 'b'),
        (connection.tracking.is_some(), 't'),
        (connection.tracking.as_ref().is_some_and(|tracking| tracking.redirect_broken), 'R'),
        (connection.tracking.as_ref().is_some_and(|tracking| tracking.options.bcast), 'B'),
        (connection.flags.close_after_reply, 'c'),
        (connection.flags.closing, 'A'),
        (connection.info.unix_socket, 'U'),
        (connection.flags.no_evict, 'e'),
        (connection.flags.no_touch, 'T'),
        (connection.flags.import_source, 'I'),
    ];
    let letters: String = set.iter().filter(|(is_set, _)| *is_set).map(|(_, letter)| letter).collect();
    if letters.is_empty() { "N".into() } else { letters }
}

/// Commands queued since MULTI, or being run by EXEC.
fn queued(connection: &Connection) -> Option<usize> {
    let running = connection.exec.as_ref().map(|execution| execution.commands());
    running.or(connection.multi.as_ref().map(|multi| multi.queue.len()))
}

/// Distinct keys that are watched.
fn watched(connection: &Connection) -> usize {
    let mut keys = connection.watched.clone();
    keys.sort_unstable();
    keys.dedup();
    keys.len()
}

fn subscription_counts(connection: &Connection) -> [usize; 3] {
    let count = |kind| connection.subscriptions.as_ref().map_or(0, |held| held.count(kind));
    Kind::ALL.map(count)
}

/// Memory figures of one connection, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientFigures {
    /// A request that waits for its turn.
    pub held_bytes: usize,
    pub input_capacity: usize,
    pub output_capacity: usize,
    pub total_bytes: usize,
}

impl ClientFigures {
    pub fn of(connection: &Connection) -> ClientFigures {
        let held_bytes = connection.held.as_ref().map_or(0, |held| held.args.heap_bytes());
        let input_capacity = connection.input.capacity() + connection.parser.buffered_bytes();
        let output_capacity = connection.output.heap_bytes();
        let queued_bytes = connection.multi.as_ref().map_or(0, |multi| multi.queued_bytes);
        let names = connection.name.len() + connection.library_name.len() + connection.library_version.len();
        let watches = connection.watched.capacity() * size_of::<(ShardId, u64)>();
        let subscriptions = connection.subscriptions.as_ref().map_or(0, |held| held.heap_bytes());
        let prefixes = connection.tracking.as_ref().map_or(0, |tracking| tracking.heap_bytes());
        let total_bytes = size_of::<Connection>()
            + held_bytes
            + input_capacity
            + output_capacity
            + queued_bytes
            + names
            + watches
            + subscriptions
            + prefixes;
        ClientFigures { held_bytes, input_capacity, output_capacity, total_bytes }
    }
}

/// Memory that a connection takes, in bytes.
pub fn memory_of(connection: &Connection) -> usize {
    ClientFigures::of(connection).total_bytes
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn lines_have_the_fields_of_redis() {
        let mut bench = Bench::new("");
        let line = bench.run("CLIENT INFO");
        let fields: Vec<&str> =
            line.split(' ').skip(1).filter_map(|field| Some(field.split_once('=')?.0)).collect();
        let expected = "id addr laddr fd name age idle flags db sub psub ssub multi watch qbuf qbuf-free argv-mem \
            multi-mem rbs rbp obl oll omem tot-mem events cmd user redir resp lib-name lib-ver tot-net-in tot-net-out \
            tot-cmds";
        assert_eq!(fields.join(" "), expected);
        for field in
            [" cmd=client|info ", " user=default ", " tot-cmds=0 ", " multi=-1 ", " watch=0 ", " flags=N "]
        {
            assert!(format!("{line} ").contains(field), "{field} is not in {line}");
        }
        bench.check("WATCH a b a", "+OK");
        bench.check("MULTI", "+OK");
        bench.check("CLIENT INFO", "+QUEUED");
        bench.check("CLIENT LIST", "+QUEUED");
        let both = bench.run("EXEC");
        assert_eq!(both.matches(" flags=x ").count(), 2, "{both}");
        assert_eq!(both.matches(" multi=2 ").count(), 2, "{both}");
        assert_eq!(both.matches(" cmd=exec ").count(), 2, "{both}");
    }

    #[test]
    fn lists_are_filtered() {
        let mut bench = Bench::new("");
        bench.connect();
        let ids = |list: String| -> Vec<String> {
            let starts = list.split(' ').filter_map(|word| word.strip_prefix("id="));
            starts.map(str::to_owned).collect()
        };
        assert_eq!(ids(bench.run("CLIENT LIST")), ["1", "2"]);
        assert_eq!(ids(bench.run("CLIENT LIST ID 1 3 SKIPME no")), ["1"]);
        assert_eq!(ids(bench.run("CLIENT LIST SKIPME yes")), ["1"]);
        assert_eq!(ids(bench.run("CLIENT LIST TYPE normal USER default")), ["1", "2"]);
        assert_eq!(ids(bench.run("CLIENT LIST ADDR 127.0.0.1:1002")), ["2"]);
        for line in [
            "CLIENT LIST TYPE pubsub",
            "CLIENT LIST TYPE master",
            "CLIENT LIST LADDR x",
            "CLIENT LIST MAXAGE 9",
        ] {
            bench.check(line, "$0 ");
        }
        let errors = [
            ("FOO", "ERR syntax error"),
            ("TYPE", "ERR syntax error"),
            ("TYPE foo", "ERR Unknown client type 'foo'"),
            ("ID", "ERR syntax error"),
            ("ID x", "ERR syntax error"),
            ("ID 10 x", "ERR syntax error"),
            ("ID 0", "ERR client-id should be greater than 0"),
            ("ID -1", "ERR client-id should be greater than 0"),
            ("USER foo", "ERR No such user 'foo'"),
            ("SKIPME maybe", "ERR syntax error"),
            ("MAXAGE x", "ERR maxage is not an integer or out of range"),
            ("MAXAGE -1", "ERR maxage should be greater than 0"),
        ];
        for (filter, error) in errors {
            bench.check(&format!("CLIENT LIST {filter}"), &format!("-{error}"));
        }
    }
}
