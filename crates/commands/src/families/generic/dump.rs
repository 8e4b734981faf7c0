//! DUMP and RESTORE: a value as bytes that any server understands, and back.

use torc_datatypes::Entry;
use torc_datatypes::clock::{lfu_restored, lru_restored};
use torc_datatypes::rdb::{self, Reader, Writer, payload};
use torc_datatypes::value::IntText;
use torc_keyspace::{AccessClock, Class};
use torc_resp::{Args, CommandError, Reply};

use crate::{
    Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec, Status,
    families::generic::{KEYSPACE, KEYSPACE_DANGEROUS, delete::release},
};

/// DUMP
pub const DUMP: Command = Command {
    spec: Spec {
        name: "dump",
        arity: Arity::exactly(2),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        categories: KEYSPACE,
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "DUMP key",
            summary: "Returns a key's value in the form that RESTORE takes.",
            since: "2.6.0",
            complexity: "O(N) where N is the size of the value",
            group: Group::Generic,
            ..Docs::DEFAULT
        },
    },
    run: Run::OnShard(dump),
    subcommands: &[],
};

fn dump(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let compresses = cx.settings.rdb_compression;
    match cx.read(args.get(1)) {
        Some(entry) => reply.bulk_bytes(&payload_of(entry, compresses).into()),
        None => reply.null(),
    }
    Ok(())
}

/// An entry's value as DUMP returns it.
pub fn payload_of(entry: &Entry, compresses: bool) -> Vec<u8> {
    let payload = payload_for(entry, rdb::code::VERSION_FIELD_EXPIRY, compresses);
    payload.expect("the newest version can express every value")
}

/// An entry's value as servers that read this RDB version take it; `None` if they can't.
pub fn payload_for(entry: &Entry, version: u16, compresses: bool) -> Option<Vec<u8>> {
    let kind = rdb::type_for(entry, version)?;
    let mut payload = vec![kind];
    rdb::write_value(entry, kind, &mut Writer::new(&mut payload, compresses));
    payload::seal(&mut payload, rdb::version_of(kind).min(version));
    Some(payload)
}

const RESTORE_HISTORY: &[(&str, &str)] = &[
    ("3.0.0", "Added the `REPLACE` modifier."),
    ("5.0.0", "Added the `ABSTTL` modifier."),
    ("5.0.0", "Added the `IDLETIME` and `FREQ` options."),
];

/// RESTORE
pub const RESTORE: Command = Command {
    spec: Spec {
        name: "restore",
        arity: Arity::at_least(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::at(1, Access::OW_UPDATE)],
        categories: KEYSPACE_DANGEROUS,
        tips: &[],
        docs: &Docs {
            syntax: "RESTORE key ttl:int serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds:int] \
                     [FREQ frequency:int]",
            summary: "Makes a key of a value that DUMP returned, here or on another server.",
            since: "2.6.0",
            complexity: "O(N) where N is the size of the value, times log(N) for sorted sets",
            group: Group::Generic,
            history: RESTORE_HISTORY,
            ..Docs::DEFAULT
        },
    },
    run: Run::OnShard(restore),
    subcommands: &[],
};

/// RESTORE-ASKING
pub const RESTORE_ASKING: Command = Command {
    spec: Spec {
        name: "restore-asking",
        arity: Arity::at_least(4),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::ASKING),
        keys: &[KeySpec::at(1, Access::OW_UPDATE)],
        categories: KEYSPACE_DANGEROUS,
        tips: &[],
        docs: &Docs {
            syntax: "RESTORE-ASKING key ttl:int serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds:int] \
                     [FREQ frequency:int]",
            summary: "RESTORE as MIGRATE sends it to a cluster node that is about to take over the key's slot.",
            since: "3.0.0",
            complexity: "O(N) where N is the size of the value, times log(N) for sorted sets",
            group: Group::Server,
            status: Status::System,
            history: RESTORE_HISTORY,
        },
    },
    run: Run::OnShard(restore),
    subcommands: &[],
};

fn restore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let options = Options::parse(args)?;
    let key = cx.key(args.get(1));
    if !options.replace && cx.keyspace.get(cx.db, &key, cx.now_ms, cx.writing(), cx.changes).is_some() {
        return Err(CommandError::BusyKey);
    }
    let expire_at = match args.int(2)? {
        0 => None,
        ..0 => return Err(CommandError::Text("ERR Invalid TTL value, must be >= 0")),
        time if options.absolute => Some(time),
        ttl => Some(cx.now_ms.saturating_add(ttl)),
    };
    let mut entry = read(cx, args.get(3))?.into_entry(key.bytes, expire_at);
    let replaced = cx.keyspace.remove(cx.db, &key, cx.now_ms, cx.changes);
    let was_there = replaced.is_some();
    if let Some(replaced) = replaced {
        release(cx, replaced);
    }
    if expire_at.is_some_and(|time| time <= cx.over_until_ms()) {
        if was_there {
            cx.changes.effects.tell(cx.db, &[b"DEL", key.bytes]);
            cx.changed(key.bytes, Class::GENERIC, "del");
        }
        reply.ok();
        return Ok(());
    }
    if let Some(clock) = options.clock(cx) {
        entry.set_clock(clock);
    }
    cx.keyspace.insert(cx.db, &key, entry, cx.now_ms, cx.changes);
    if let Some(time) = expire_at {
        let (mut text, payload) = (IntText::new(), args.get(3));
        let time = text.format(time).as_bytes();
        cx.changes.effects.tell(cx.db, &[b"RESTORE", key.bytes, time, payload, b"REPLACE", b"ABSTTL"]);
    }
    cx.changed(key.bytes, Class::GENERIC, "restore");
    reply.ok();
    Ok(())
}

/// The value in a payload.
fn read(cx: &Context<'_>, payload: &[u8]) -> Result<rdb::Decoded, CommandError> {
    let (body, version) =
        payload::open(payload).ok_or(CommandError::Text("ERR DUMP payload version or checksum are wrong"))?;
    let mut reader = Reader::new(body);
    let kind = reader.byte();
    let value = kind
        .and_then(|kind| rdb::read_value(kind, version, &mut reader, &cx.settings.encodings.rdb_limits()));
    value.ok().filter(|_| reader.remaining() == 0).ok_or(CommandError::Text("ERR Bad data format"))
}

#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle_seconds: Option<i64>,
    frequency: Option<u8>,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut index = 4;
        while index < args.len() {
            let has_value = index + 1 < args.len();
            if args.is(index, b"REPLACE") {
                options.replace = true;
            } else if args.is(index, b"ABSTTL") {
                options.absolute = true;
            } else if args.is(index, b"IDLETIME") && has_value && options.frequency.is_none() {
                index += 1;
                let seconds = args.int(index)?;
                if seconds < 0 {
                    return Err(CommandError::Text("ERR Invalid IDLETIME value, must be >= 0"));
                }
                options.idle_seconds = Some(seconds);
            } else if args.is(index, b"FREQ") && has_value && options.idle_seconds.is_none() {
                index += 1;
                let frequency = u8::try_from(args.int(index)?);
                let invalid = CommandError::Text("ERR Invalid FREQ value, must be >= 0 and <= 255");
                options.frequency = Some(frequency.map_err(|_| invalid)?);
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        Ok(options)
    }

    /// The access clock that the options ask for; what the policy does not keep is ignored.
    fn clock(&self, cx: &Context<'_>) -> Option<u32> {
        match cx.keyspace.access_clock() {
            AccessClock::Lru => self.idle_seconds.map(|seconds| lru_restored(cx.now_ms, seconds)),
            AccessClock::Lfu(_) => self.frequency.map(|counter| lfu_restored(cx.now_ms, counter)),
        }
    }
}

#[cfg(test)]
mod tests {
    use torc_keyspace::AccessClock;
    use torc_resp::OwnedArgs;

    use crate::testing::Bench;

    /// The payload of a key, as one server of the bench gives it.
    fn dump(bench: &mut Bench, key: &str) -> Vec<u8> {
        let now_ms = bench.now_ms;
        let keyspace = bench.keyspace();
        let entry = keyspace.peek(0, &keyspace.key(key.as_bytes()), now_ms).expect("the key is there");
        super::payload_of(entry, true)
    }

    fn restore(bench: &mut Bench, key: &str, payload: &[u8], options: &str, expected: &str) {
        let mut args = OwnedArgs::new();
        ["RESTORE", key].iter().for_each(|word| args.push(word.as_bytes()));
        let mut words = options.split_whitespace();
        args.push(words.next().expect("a time to live").as_bytes());
        args.push(payload);
        words.for_each(|word| args.push(word.as_bytes()));
        assert_eq!(bench.run_args(&args), [expected, expected], "{options:?}");
    }

    #[test]
    fn values_of_every_type_come_back() {
        let mut bench = Bench::new();
        bench.check("DUMP k", "$-1");
        for (make, show) in [
            ("SET k hello", "GET"),
            ("SET k 12", "INCR"),
            ("RPUSH k a 1 b", "LRANGE 0 -1"),
            ("SADD k 1 2 3", "SMEMBERS"),
            ("SADD k a b", "SCARD"),
            ("ZADD k 2 a 1 b inf c", "ZRANGE 0 -1 WITHSCORES"),
            ("HSET k f v", "HGETALL"),
            ("XADD k 1-1 f v", "XRANGE - +"),
        ] {
            bench.run("DEL k copy");
            bench.run(make);
            let payload = dump(&mut bench, "k");
            restore(&mut bench, "copy", &payload, "0", "+OK");
            let mut words = show.split(' ');
            let command = words.next().expect("a command");
            let rest = words.collect::<Vec<_>>().join(" ");
            let shown = bench.run(&format!("{command} k {rest}"));
            assert_eq!(bench.run(&format!("{command} copy {rest}")), shown, "{make}");
        }
    }

    #[test]
    fn fields_keep_their_expiry() {
        let mut bench = Bench::new();
        bench.run("HSET k f v g w");
        bench.run("HPEXPIRE k 5000 FIELDS 1 f");
        let payload = dump(&mut bench, "k");
        assert_eq!(payload[payload.len() - 10], 80);
        restore(&mut bench, "copy", &payload, "0", "+OK");
        bench.check("HPTTL copy FIELDS 2 f g", "*2\n:5000\n:-1");
        bench.now_ms += 5_001;
        bench.check("HKEYS copy", "*1\n$1\ng");
        restore(&mut bench, "late", &payload, "0", "+OK");
        bench.check("HEXISTS late f", ":0");
    }

    #[test]
    fn restore_tells_what_it_changed() {
        let mut bench = Bench::new();
        bench.run("SET k hello");
        let payload = dump(&mut bench, "k");
        let busy = "-BUSYKEY Target key name already exists.";
        restore(&mut bench, "k", &payload, "0", busy);
        restore(&mut bench, "k", b"...", "x", busy);
        restore(&mut bench, "new", b"...", "x", "-ERR value is not an integer or out of range");
        restore(&mut bench, "new", b"...", "-1", "-ERR Invalid TTL value, must be >= 0");
        restore(&mut bench, "new", b"...", "0", "-ERR DUMP payload version or checksum are wrong");
        let text: String = payload.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        bench.check_changes(&format!("RESTORE new 0 \"{text}\""), "+OK", 1, &["g restore new"]);
        bench.check_changes(&format!("RESTORE k 500 \"{text}\" REPLACE"), "+OK", 1, &["g restore k"]);
        bench.check("PTTL k", ":500");
        bench.check_changes(&format!("RESTORE k 500 \"{text}\" REPLACE ABSTTL"), "+OK", 1, &["g del k"]);
        bench.check_changes(&format!("RESTORE k 500 \"{text}\" REPLACE ABSTTL"), "+OK", 0, &[]);
        bench.check("EXISTS k", ":0");
        let max = i64::MAX;
        bench.check(&format!("RESTORE k {max} \"{text}\""), "+OK");
        bench.check("PEXPIRETIME k", &format!(":{max}"));
        restore(
            &mut bench,
            "k",
            &[&payload[..], b"x"].concat(),
            "0 REPLACE",
            "-ERR DUMP payload version or checksum are wrong",
        );
    }

    #[test]
    fn restore_sets_the_access_clock() {
        let mut bench = Bench::new();
        bench.run("SET k hello");
        let payload = dump(&mut bench, "k");
        restore(&mut bench, "k", &payload, "0 REPLACE IDLETIME 1000", "+OK");
        bench.check("OBJECT IDLETIME k", ":1000");
        restore(&mut bench, "k", &payload, "0 REPLACE FREQ 9", "+OK");
        bench.check("OBJECT IDLETIME k", ":0");
        bench.set_access_clock(AccessClock::Lfu(Default::default()));
        restore(&mut bench, "k", &payload, "0 REPLACE FREQ 100", "+OK");
        bench.check("OBJECT FREQ k", ":100");
        restore(&mut bench, "k", &payload, "0 REPLACE IDLETIME 1 FREQ 1", "-ERR syntax error");
        restore(
            &mut bench,
            "k",
            &payload,
            "0 REPLACE FREQ 256",
            "-ERR Invalid FREQ value, must be >= 0 and <= 255",
        );
        restore(
            &mut bench,
            "k",
            &payload,
            "0 REPLACE IDLETIME -1",
            "-ERR Invalid IDLETIME value, must be >= 0",
        );
    }
}
