//! XADD, and the options of trimming that XTRIM shares with it.

use torc_datatypes::stream::{ENTRY_BYTES_MAX, Log, Stream, StreamId, Trim, TrimEffort};
use torc_datatypes::value::IntText;
use torc_datatypes::{Entry, Value, ValueRef};
use torc_keyspace::{At, Class};
use torc_resp::{Args, CommandError, Reply};

use super::ids::{self, NewId};
use super::{edit, node_limits, stream_at, write_id};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

pub(super) const XADD: Command = Command {
    spec: Spec {
        name: "xadd",
        arity: Arity::at_least(5),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_UPDATE)
            .with_notes("UPDATE instead of INSERT because of the optional trimming feature")],
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "XADD key [NOMKSTREAM] [(MAXLEN | MINID) [= | ~] threshold [LIMIT count:int]] (* | id) field value \
                     [field value ...]",
            summary: "Appends an entry to a stream, which is created if the key does not exist; can trim it too.",
            since: "5.0.0",
            complexity: "O(1) for the entry, and O(N) with N the number of entries that are trimmed",
            group: Group::Stream,
            history: &[
                ("6.2.0", "The options `NOMKSTREAM`, `MINID` and `LIMIT`."),
                ("7.0.0", "Ids of the form `<ms>-*`."),
            ],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(xadd),
    subcommands: &[],
};

fn xadd(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let options = Options::parse(cx, args, true)?;
    let (limits, now_ms) = (node_limits(cx), cx.now_ms);
    let fields = args.from(options.end);
    if fields.len() < 2 || !fields.len().is_multiple_of(2) {
        return Err(CommandError::WrongArity("xadd"));
    }
    if options.id == NewId::Given(StreamId::MIN) {
        return Err(CommandError::Text("ERR The ID specified in XADD must be greater than 0-0"));
    }
    let mut at = cx.at(args.get(1), cx.writing());
    let last_id = match stream_at(at.entry())? {
        Some(stream) => stream.log().last_id(),
        None if options.no_stream => {
            reply.null();
            return Ok(());
        }
        None => StreamId::MIN,
    };
    let id = next_id(options.id, last_id, now_ms)?;
    if fields.total_bytes() > ENTRY_BYTES_MAX {
        return Err(CommandError::Text("ERR Elements are too large to be stored"));
    }
    let pairs = (0..fields.len() / 2).map(|pair| (fields.get(2 * pair), fields.get(2 * pair + 1)));
    let add = |log: &mut Log| {
        log.append(id, pairs, limits);
        options.trim.map_or(0, |trim| log.trim(trim, options.effort))
    };
    let trimmed = if at.exists() {
        edit(&mut at, |stream| add(stream.log_mut()))
    } else {
        let mut stream = Stream::new();
        let trimmed = add(stream.log_mut());
        at.put(Value::Stream(stream));
        trimmed
    };
    at.tell_with(&[b"XADD", at.key_bytes(), id.text().as_bytes()], fields.iter());
    if trimmed > 0 {
        tell_trimmed(&mut at);
    }
    at.changed(Class::STREAM, "xadd");
    if trimmed > 0 {
        at.event(Class::STREAM, "xtrim");
    }
    write_id(reply, id);
    Ok(())
}

/// Tells what a trim has left: where nodes end is not known when the effect is repeated.
pub(super) fn tell_trimmed(at: &mut At<'_>) {
    if let Some(ValueRef::Stream(stream)) = at.entry().and_then(Entry::value) {
        let len = IntText::new().format(stream.log().len() as i64).as_bytes().to_vec();
        at.tell(&[b"XTRIM", at.key_bytes(), b"MAXLEN", &len]);
    }
}

/// The id of an entry that is added behind `last_id`.
fn next_id(wanted: NewId, last_id: StreamId, now_ms: i64) -> Result<StreamId, CommandError> {
    let Some(next) = last_id.next() else {
        return Err(CommandError::Text(
            "ERR The stream has exhausted the last possible ID, unable to add more items",
        ));
    };
    let id = match wanted {
        NewId::Auto if now_ms as u64 > last_id.ms => StreamId::new(now_ms as u64, 0),
        NewId::Auto => next,
        NewId::AutoSeq(ms) if ms == last_id.ms => next,
        NewId::AutoSeq(ms) => StreamId::new(ms, 0),
        NewId::Given(id) => id,
    };
    // The sequence numbers of a millisecond are used up when the next id lies in another one.
    let used_up = matches!(wanted, NewId::AutoSeq(ms) if ms != id.ms);
    if id <= last_id || used_up {
        return Err(CommandError::Text(
            "ERR The ID specified in XADD is equal or smaller than the target stream top item",
        ));
    }
    Ok(id)
}

/// What stands behind the key of XADD and XTRIM.
pub(super) struct Options {
    pub(super) trim: Option<Trim>,
    pub(super) effort: TrimEffort,
    no_stream: bool,
    id: NewId,
    /// Behind the last option, and behind the id of XADD.
    end: usize,
}

/// Nodes that an approximate trim removes at most unless told otherwise.
const NODES_TRIMMED_MAX: u64 = 100;
/// Entries that it removes when nodes have no limit of entries, and those that it never removes more of.
const ENTRIES_TRIMMED_DEFAULT: u64 = 10_000;
const ENTRIES_TRIMMED_MAX: u64 = 1_000_000;

impl Options {
    pub(super) fn parse(cx: &Context<'_>, args: Args<'_>, is_add: bool) -> Result<Options, CommandError> {
        let (mut trim, mut approximate, mut limit, mut no_stream) = (None, false, None, false);
        let mut id = NewId::Auto;
        let mut index = 2;
        while index < args.len() {
            let more = args.len() - 1 - index;
            if is_add && args.get(index) == b"*" {
                index += 1;
                break;
            } else if more > 0 && (args.is(index, b"MAXLEN") || args.is(index, b"MINID")) {
                if trim.is_some() {
                    return Err(CommandError::Text(
                        "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
                    ));
                }
                let sign = if more >= 2 { args.get(index + 1) } else { b"" };
                approximate = sign == b"~";
                let threshold = index + 1 + usize::from(sign == b"~" || sign == b"=");
                trim = Some(if args.is(index, b"MAXLEN") {
                    let max_len = u64::try_from(args.int(threshold)?);
                    let negative = CommandError::Text("ERR The MAXLEN argument must be >= 0.");
                    Trim::MaxLen(max_len.map_err(|_| negative)?)
                } else {
                    Trim::MinId(ids::parse(args.get(threshold))?)
                });
                index = threshold + 1;
            } else if more > 0 && args.is(index, b"LIMIT") {
                let negative = CommandError::Text("ERR The LIMIT argument must be >= 0.");
                limit = Some(u64::try_from(args.int(index + 1)?).map_err(|_| negative)?);
                index += 2;
            } else if is_add && args.is(index, b"NOMKSTREAM") {
                no_stream = true;
                index += 1;
            } else if is_add {
                id = ids::parse_new(args.get(index))?;
                index += 1;
                break;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if trim.is_none() && limit.is_some_and(|limit| limit > 0) {
            return Err(CommandError::Text(
                "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
            ));
        }
        if trim.is_none() && !is_add {
            return Err(CommandError::Text(
                "ERR syntax error, XTRIM must be called with a trimming strategy",
            ));
        }
        if limit.is_some() && !approximate {
            return Err(CommandError::Text(
                "ERR syntax error, LIMIT cannot be used without the special ~ option",
            ));
        }
        let effort = if approximate {
            TrimEffort::Nodes { limit: limit.unwrap_or_else(|| default_limit(cx)) }
        } else {
            TrimEffort::Exact
        };
        Ok(Options { trim, effort, no_stream, id, end: index })
    }
}

fn default_limit(cx: &Context<'_>) -> u64 {
    match cx.settings.encodings.stream_node_max_entries as u64 {
        0 => ENTRIES_TRIMMED_DEFAULT,
        entries => entries.saturating_mul(NODES_TRIMMED_MAX).min(ENTRIES_TRIMMED_MAX),
    }
}
