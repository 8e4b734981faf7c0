//! DEBUG commands about the state of the server: time, background work, keys.

use std::time::Duration;

use torc_commands::Handler;
use torc_commands::families::generic::inspect::{debug_listpack, debug_object};
use torc_datatypes::glob::glob_match;
use torc_keyspace::{Class, SetExpire, StrValue, slot_of};
use torc_resp::{Args, CommandError, OwnedArgs, ReplyBuf};

use crate::config::parse_memory;
use crate::connection::Connection;
use crate::session::Flow;
use crate::shard::{ReloadOptions, Shard};

use super::{flag, wrong};

/// Redis's bound for a list element that stands alone.
const PACKED_THRESHOLD_MAX: u64 = 4 << 30;

/// Longest string that STRINGMATCH-LEN makes up.
const MATCH_LEN_MAX: u64 = 16 << 20;

/// DEBUG SLEEP seconds. All shards stop, up to the same moment.
pub(super) fn sleep(
    shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let seconds = args.float(2).unwrap_or(0.0).clamp(0.0, 3600.0);
    if shard.shards() == 1 {
        // Nobody else has to be told, and the command's own time is seen by the slow log and the latency monitor.
        std::thread::sleep(Duration::from_secs_f64(seconds));
        return shard.reply_ok(connection);
    }
    let until_us = shard.now.monotonic_us + Duration::from_secs_f64(seconds).as_micros() as u64;
    Ok(everywhere(shard, connection, move |shard| shard.sleep_until_us = Some(until_us)))
}

/// DEBUG RELOAD [MERGE] [NOFLUSH] [NOSAVE]
pub(super) fn reload(
    shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let mut options = ReloadOptions { saves: true, flushes: true };
    for index in 2..args.len() {
        if args.is(index, b"NOSAVE") {
            options.saves = false;
        } else if args.is(index, b"NOFLUSH") || args.is(index, b"MERGE") {
            options.flushes = false;
        } else {
            let text = "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.";
            return Err(CommandError::Text(text));
        }
    }
    Ok(shard.reload_for(connection, options))
}

/// DEBUG LOG message
pub(super) fn log(
    shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(args.get(2)));
    shard.reply_ok(connection)
}

/// Run something on every shard and answer `+OK`.
fn everywhere(
    shard: &mut Shard,
    connection: &mut Connection,
    act: impl Fn(&mut Shard) + Send + Sync + 'static,
) -> Flow {
    shard.call_all(connection, act, |shard, connection, _| shard.reply_ok(connection).map(drop))
}

/// DEBUG SET-ACTIVE-EXPIRE 0|1
pub(super) fn set_active_expire(
    shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let on = flag(args, 2);
    Ok(everywhere(shard, connection, move |shard| shard.state.active_expire = on))
}

/// DEBUG PAUSE-CRON 0|1
pub(super) fn pause_cron(
    shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let on = flag(args, 2);
    Ok(everywhere(shard, connection, move |shard| shard.cron_paused = on))
}

/// DEBUG CHANGE-REPL-ID
pub(super) fn change_repl_id(
    shard: &mut Shard,
    connection: &mut Connection,
    _args: Args<'_>,
) -> Result<Flow, CommandError> {
    let words = [shard.rng.next_u64(), shard.rng.next_u64(), shard.rng.next_u64()];
    let id = format!("{:016x}{:016x}{:08x}", words[0], words[1], words[2] as u32);
    Ok(everywhere(shard, connection, move |shard| shard.state.replication_id = id.as_str().into()))
}

/// DEBUG QUICKLIST-PACKED-THRESHOLD size
pub(super) fn packed_threshold(
    shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let bytes = std::str::from_utf8(args.get(2)).ok().and_then(parse_memory);
    match bytes {
        Some(bytes) if bytes < PACKED_THRESHOLD_MAX => Ok(everywhere(shard, connection, move |shard| {
            shard.settings.encodings.list_packed_threshold = bytes as usize;
        })),
        _ => {
            Err(CommandError::Text("ERR argument must be a memory value bigger than 1 and smaller than 4gb"))
        }
    }
}

/// DEBUG REPLYBUFFER …
pub(super) fn reply_buffer(
    shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let time_is_known = args.is(3, b"NEVER") || args.is(3, b"RESET") || args.int(3).is_ok();
    if args.is(2, b"RESIZING") || (args.is(2, b"PEAK-RESET-TIME") && time_is_known) {
        return shard.reply_ok(connection);
    }
    Err(wrong(args))
}

/// DEBUG STRINGMATCH-LEN length pattern
pub(super) fn string_match_len(
    _shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let len = args.uint(2)?;
    if len > MATCH_LEN_MAX {
        return Err(CommandError::OutOfRange);
    }
    let matches = glob_match(args.get(3), &vec![b'a'; len as usize], false);
    connection.reply().int(i64::from(matches));
    Ok(Flow::Done)
}

/// DEBUG OBJECT key
pub(super) fn object(
    shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let flow = look_at_key(shard, connection, args, debug_object, |connection, reply| {
        connection.reply_target().append(reply);
    });
    Ok(flow)
}

/// DEBUG LISTPACK key
pub(super) fn listpack(
    shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let flow = look_at_key(shard, connection, args, debug_listpack, |connection, line| {
        tracing::info!("DEBUG LISTPACK: {}", String::from_utf8_lossy(&line.to_vec()[1..]).trim_end());
        connection.reply().simple("Listpack structure printed on stdout");
    });
    Ok(flow)
}

/// Looks at the key of the request (`DEBUG word key`) where it lives, and answers by what was found.
fn look_at_key(
    shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
    handler: Handler,
    answer: impl FnOnce(&mut Connection, &ReplyBuf) + 'static,
) -> Flow {
    let owner = shard.slots.owner(slot_of(args.get(2)));
    let (db, proto) = (connection.db, connection.proto);
    let args = OwnedArgs::copy_of(&args);
    let look = move |shard: &mut Shard| -> Result<ReplyBuf, CommandError> {
        shard.look(db, proto, handler, args.as_args())
    };
    shard.call(connection, &[owner], look, |_shard, connection, mut replies| {
        answer(connection, &replies.pop().expect("one shard was asked")?);
        Ok(())
    })
}

/// DEBUG HTSTATS dbid
pub(super) fn table_stats(
    shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let db = args.int(2)?;
    if !(0..shard.settings.databases as i64).contains(&db) {
        return Err(CommandError::Text("ERR Out of range database"));
    }
    let usage_here = move |shard: &mut Shard| (shard.id, shard.keyspace.usage(db as usize));
    let flow = shard.call_all(connection, usage_here, |_shard, connection, usages| {
        let mut text = String::from("[Dictionary HT]\n");
        for (shard, usage) in usages {
            text.push_str(&format!(
                "Shard {shard}: number of elements: {}, with an expiry: {}, table bytes: {}\n",
                usage.keys, usage.volatile, usage.table_bytes
            ));
        }
        text.push_str("[Expires HT]\nExpiry times are part of the elements.\n");
        connection.reply().verbatim("txt", text.as_bytes());
        Ok(())
    });
    Ok(flow)
}

/// DEBUG POPULATE count [prefix] [size]. Keys that exist stay.
pub(super) fn populate(
    shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let count_at = |index: usize| match args.int(index) {
        Ok(count) if count >= 0 => Ok(count as u64),
        _ => Err(CommandError::NotPositive),
    };
    let count = count_at(2)?;
    let prefix = args.opt(3).unwrap_or(b"key").to_vec();
    let size = if args.len() == 5 { Some(count_at(4)? as usize) } else { None };
    if size.is_some_and(|size| size > shard.settings.max_string_bytes) {
        return Err(CommandError::StringTooLong);
    }
    let db = connection.db;
    let populate_here = move |shard: &mut Shard| {
        let Shard { keyspace, changes, now, slots, id, .. } = shard;
        for number in 0..count {
            let mut name = prefix.clone();
            name.extend_from_slice(format!(":{number}").as_bytes());
            let key = keyspace.key(&name);
            if slots.owner(key.slot) != *id || keyspace.contains(db, &key, now.unix_ms) {
                continue;
            }
            let mut value = format!("value:{number}").into_bytes();
            if let Some(size) = size {
                // Redis fills up with zero bytes.
                value.resize(size, 0);
            }
            keyspace.set_string(db, &key, StrValue::Bytes(&value), SetExpire::Clear, now.unix_ms, changes);
            keyspace.changed(db, &name, Class::STRING, "set", changes);
            changes.effects.add(db, &[b"SET", &name, &value]);
        }
    };
    Ok(everywhere(shard, connection, populate_here))
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn state_is_changed_and_shown() {
        let mut bench = Bench::with_shards(2, "--enable-debug-command yes");
        let memory = "-ERR argument must be a memory value bigger than 1 and smaller than 4gb";
        let cases = [
            ("SLEEP 0", "+OK"),
            ("SLEEP x", "+OK"),
            ("SET-ACTIVE-EXPIRE 0", "+OK"),
            ("PAUSE-CRON 0", "+OK"),
            ("CHANGE-REPL-ID", "+OK"),
            ("DICT-RESIZING 1", "+OK"),
            ("QUICKLIST-PACKED-THRESHOLD 200", "+OK"),
            ("QUICKLIST-PACKED-THRESHOLD 200b", "+OK"),
            ("QUICKLIST-PACKED-THRESHOLD x", memory),
            ("QUICKLIST-PACKED-THRESHOLD 5gb", memory),
            ("REPLYBUFFER peak-reset-time never", "+OK"),
            ("REPLYBUFFER resizing 0", "+OK"),
            (
                "REPLYBUFFER foo 1",
                "-ERR unknown subcommand or wrong number of arguments for 'REPLYBUFFER'. Try DEBUG HELP.",
            ),
            ("STRINGMATCH-LEN 1000 a*a", ":1"),
            ("STRINGMATCH-LEN 1000 a*b", ":0"),
            ("OBJECT nokey", "-ERR no such key"),
            ("HTSTATS 99", "-ERR Out of range database"),
        ];
        for (line, reply) in cases {
            bench.check(&format!("DEBUG {line}"), reply);
        }
        assert!(!bench.run("INFO replication").contains(&"0".repeat(41)));
    }

    #[test]
    fn keys_are_made_up() {
        let mut bench = Bench::with_shards(2, "--enable-debug-command yes");
        let positive = "-ERR value is out of range, must be positive";
        bench.check("DEBUG POPULATE x", positive);
        bench.check("DEBUG POPULATE -1", positive);
        bench.check("DEBUG POPULATE 1 pre x", positive);
        bench.check("DEBUG POPULATE 3", "+OK");
        bench.check("DBSIZE", ":3");
        bench.check("GET key:2", "$7 value:2");
        bench.check("DEBUG POPULATE 3 pre 2", "+OK");
        bench.check("GET pre:0", "$2 va");
        bench.check("DBSIZE", ":6");
        assert!(bench.run("DEBUG OBJECT key:1").starts_with("+Value at:0x"));
        bench.run("SET big x");
        assert!(bench.run("DEBUG HTSTATS 0").contains("Shard 1: number of elements: "));
    }
}
