//! DEBUG subcommands that look at keys, on every shard or on the shard of one key.

use torc_commands::families::generic::inspect::debug_object;
use torc_commands::{Context, Rng};
use torc_datatypes::{Entry, Kind, StrRef, glob};
use torc_keyspace::{Changes, Keyspace, SetExpire, StrValue, slot_of};
use torc_resp::{Args, CommandError, Mark, OwnedArgs, Reply, ReplyBuf};

use crate::connection::Connection;
use crate::session::Flow;
use crate::shard::Shard;

const NOT_POSITIVE: CommandError = CommandError::Text("ERR value is out of range, must be positive");

/// 160 bits, as many as Redis's digests have.
type Digest = [u64; 3];

pub(super) fn object(
    shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let (db, proto) = (connection.db, connection.proto);
    let owner = shard.slots.owner(slot_of(args.get(2)));
    let args = OwnedArgs::copy_of(&args);
    let look = move |shard: &mut Shard| -> Result<ReplyBuf, CommandError> {
        let mut out = ReplyBuf::new();
        let mut context = Context {
            keyspace: &mut shard.keyspace,
            db,
            now_ms: shard.now.unix_ms,
            rng: &mut shard.rng,
            settings: &shard.settings,
            changes: &mut shard.changes,
            slots: &shard.slots,
            shard: shard.id,
            no_touch: true,
            key_hint: None,
        };
        debug_object(&mut context, args.as_args(), &mut Reply::new(&mut out, proto)).map(|()| out)
    };
    Ok(shard.call(connection, &[owner], look, |_, connection, mut results| {
        let reply = results.pop().expect("one shard was asked")?;
        connection.reply_target().copy_range(&reply, Mark::default(), reply.mark());
        Ok(())
    }))
}

/// HTSTATS-KEY: no value is a table of its own in this version.
pub(super) fn table_stats_of_key(
    shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let (db, key) = (connection.db, args.get(2).to_vec());
    let owner = shard.slots.owner(slot_of(&key));
    let exists = move |shard: &mut Shard| {
        let key = shard.keyspace.key(&key);
        shard.keyspace.contains(db, &key, shard.now.unix_ms)
    };
    Ok(shard.call(connection, &[owner], exists, |_, _, results| {
        Err(if results[0] {
            CommandError::Text(
                "ERR The value stored at the specified key is not represented using an hash table",
            )
        } else {
            CommandError::NoSuchKey
        })
    }))
}

pub(super) fn table_stats(
    shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let db = args.int(2)?;
    let db = usize::try_from(db)
        .ok()
        .filter(|&db| db < shard.settings.databases)
        .ok_or(CommandError::Text("ERR Out of range database"))?;
    let usage = move |shard: &mut Shard| (shard.id, shard.keyspace.usage(db));
    Ok(shard.call_all(connection, usage, |_, connection, shards| {
        let lines = shards.into_iter().map(|(id, usage)| {
            format!(
                "[Shard {id}]\n number of entries: {}\n with expiry: {}\n table bytes: {}\n entry bytes: {}\n",
                usage.keys, usage.volatile, usage.table_bytes, usage.entry_bytes
            )
        });
        let text: String = lines.collect();
        connection.reply().verbatim("txt", text.as_bytes());
        Ok(())
    }))
}

pub(super) fn string_match(
    shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let length = usize::try_from(args.int(2)?).map_err(|_| NOT_POSITIVE)?;
    if length > shard.settings.max_string_bytes {
        return Err(NOT_POSITIVE);
    }
    // Only the time it takes is of interest.
    std::hint::black_box(glob::glob_match(args.get(3), &vec![b'a'; length], false));
    shard.reply_ok(connection)
}

/// Every shard creates the keys that it owns.
pub(super) fn populate(
    shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let positive = |index: usize| match args.int(index) {
        Ok(number) => u64::try_from(number).map_err(|_| NOT_POSITIVE),
        Err(_) => Err(NOT_POSITIVE),
    };
    let count = positive(2)?;
    let prefix = args.opt(3).unwrap_or(b"key").to_vec();
    let size = if args.len() == 5 { positive(4)? as usize } else { 0 };
    if size > shard.settings.max_string_bytes {
        return Err(NOT_POSITIVE);
    }
    let db = connection.db;
    let create = move |shard: &mut Shard| {
        let now_ms = shard.now.unix_ms;
        let mut name = Vec::new();
        for number in 0..count {
            name.clear();
            name.extend_from_slice(&prefix);
            name.extend_from_slice(format!(":{number}").as_bytes());
            let key = shard.keyspace.key(&name);
            if shard.slots.owner(key.slot) != shard.id || shard.keyspace.contains(db, &key, now_ms) {
                continue;
            }
            let mut value = format!("value:{number}").into_bytes();
            if size > 0 {
                value.resize(size, 0);
            }
            let value = StrValue::Bytes(&value);
            shard.keyspace.set_string(db, &key, value, SetExpire::Clear, now_ms, &mut shard.changes);
            shard.keyspace.touched(db, &name);
        }
    };
    Ok(super::on_all(shard, connection, create))
}

pub(super) fn digest(
    shard: &mut Shard,
    connection: &mut Connection,
    _args: Args<'_>,
) -> Result<Flow, CommandError> {
    let sum = |shard: &mut Shard| digest_of_all(&mut shard.keyspace, shard.now.unix_ms, &mut shard.changes);
    Ok(shard.call_all(connection, sum, |_, connection, sums| {
        let mut all = Digest::default();
        sums.iter().for_each(|sum| add(&mut all, sum));
        connection.reply().simple(&hex(&all));
        Ok(())
    }))
}

pub(super) fn digest_value(
    shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let db = connection.db;
    let keys: Vec<Vec<u8>> = args.iter().skip(2).map(<[u8]>::to_vec).collect();
    let count = keys.len();
    let look = move |shard: &mut Shard| -> Vec<Digest> {
        let of_key = |bytes: &Vec<u8>| {
            let key = shard.keyspace.key(bytes);
            let entry = shard.keyspace.peek(db, &key, shard.now.unix_ms);
            entry.map_or_else(Digest::default, |entry| {
                let mut digest = start(b"value", 0);
                mix_value(&mut digest, entry);
                digest
            })
        };
        keys.iter().map(of_key).collect()
    };
    Ok(shard.call_all(connection, look, move |_, connection, lists| {
        let mut reply = connection.reply();
        reply.array(count);
        for index in 0..count {
            // Only the owner of a key has found it; the others add nothing.
            let mut digest = Digest::default();
            lists.iter().for_each(|list| add(&mut digest, &list[index]));
            reply.simple(&hex(&digest));
        }
        Ok(())
    }))
}

/// The sum over all entries, so that neither their order nor their shards matter.
fn digest_of_all(keyspace: &mut Keyspace, now_ms: i64, changes: &mut Changes) -> Digest {
    let mut sum = Digest::default();
    for db in 0..keyspace.databases() {
        keyspace.for_each(db, now_ms, changes, |entry| {
            let mut digest = start(entry.key(), db as u64);
            mix_value(&mut digest, entry);
            // Redis's digest tells keys that expire from others too, not when they do.
            mix(&mut digest, if entry.is_volatile() { b"!expire!" } else { b"" });
            add(&mut sum, &digest);
        });
    }
    sum
}

fn start(bytes: &[u8], salt: u64) -> Digest {
    let mut digest = [salt, salt ^ 0x9E37_79B9_7F4A_7C15, salt ^ 0xC2B2_AE3D_27D4_EB4F];
    mix(&mut digest, bytes);
    digest
}

fn mix_value(digest: &mut Digest, entry: &Entry) {
    match entry.str_ref() {
        Some(StrRef::Bytes(bytes)) => mix(digest, bytes),
        Some(StrRef::Shared(bytes)) => mix(digest, bytes),
        Some(StrRef::Int(int)) => mix(digest, int.to_string().as_bytes()),
        None => mix(digest, &[u8::from(entry.kind() != Kind::String)]),
    }
}

/// Each word goes through every byte with a seed of its own; nobody's secret depends on it.
fn mix(digest: &mut Digest, bytes: &[u8]) {
    for word in digest {
        let mut state = *word ^ bytes.len() as u64;
        for chunk in bytes.chunks(8) {
            let mut padded = [0; 8];
            padded[..chunk.len()].copy_from_slice(chunk);
            state = Rng::new(state ^ u64::from_le_bytes(padded)).next_u64();
        }
        *word = Rng::new(state).next_u64();
    }
}

fn add(sum: &mut Digest, digest: &Digest) {
    for (sum, word) in sum.iter_mut().zip(digest) {
        *sum = sum.wrapping_add(*word);
    }
}

/// 40 hexadecimal digits.
fn hex(digest: &Digest) -> String {
    format!("{:016x}{:016x}{:08x}", digest[0], digest[1], digest[2] as u32)
}
