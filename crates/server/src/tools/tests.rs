//! The tools on logs that are written here: sound ones, damaged ones, encrypted ones, with shards that changed between
//! generations; and what is dumped, on keyspaces of torc and on a real server.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use torc_commands::{DataSettings, REPLAY_MS};
use torc_datatypes::digest::Digest;
use torc_keyspace::{Changes, Keyspace, SLOTS, SlotMap, slot_of};
use torc_persist::log::{Action, FileNumber, Policy, ShardLog};
use torc_persist::manifest::{Generation, Manifest, SegmentFile, SlotRange};
use torc_persist::record::{Effect, Transaction};
use torc_persist::seal::{Algorithm, Keys, MasterKey};
use torc_persist::store::{Directory, Store};
use torc_resp::{Value, ValueReader, encode_command, split_line};

use super::{BROKEN, LOSSY, Options, SOUND, check, dump, loader, parse, run};
use crate::aof::replay::Replayer;

/// One key of every type, with what goes with them.
const LINES: &[&str] = &[
    "SET string value",
    "SET int 12345",
    "SET binary \"\\x00\\xff\\r\\n$3\"",
    "SET expires v PXAT 4102444800000",
    "RPUSH list a b 3 \"\"",
    "SADD ints 3 1 2",
    "SADD words a b c",
    "ZADD zset 1.5 a -2 b inf c 1e-7 d",
    "HSET hash a 1 b 2",
    "XADD stream 5-1 field value other 2",
    "XADD stream 5-2 field value",
    "XADD stream 9-0 f v",
    "XDEL stream 5-2",
    "XGROUP CREATE stream group 5-1 ENTRIESREAD 1",
    "XGROUP CREATECONSUMER stream group idle",
    "XCLAIM stream group consumer 0 9-0 TIME 1000 RETRYCOUNT 3 JUSTID FORCE",
    "XADD drained 7-1 f v",
    "XTRIM drained MAXLEN 0",
    "SET gone 1",
    "DEL gone",
];

struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("torc-tools-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("the name is free");
        Folder(path)
    }

    fn options(&self) -> Options {
        Options { dir: self.0.clone(), databases: 16, ..Options::default() }
    }

    fn check(&self, keys: &Keys) -> (u8, String) {
        let mut out = Vec::new();
        let code = check::check(&self.options(), keys, &mut out).expect("memory takes all");
        (code, String::from_utf8(out).expect("text"))
    }

    fn dump(&self, keys: &Keys) -> (u8, Vec<u8>) {
        let mut out = Vec::new();
        let code = dump::dump(&self.options(), keys, &mut out).expect("memory takes all");
        (code, out)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn words_of(line: &str) -> Vec<Vec<u8>> {
    split_line(line.as_bytes()).expect("well quoted").as_args().iter().map(<[u8]>::to_vec).collect()
}

/// Appends a generation with these effects, each on the shard of its key (FLUSHDB on all).
fn write_generation(folder: &Folder, keys: &Keys, number: u64, shards: u16, effects: &[(u32, &str)]) {
    let mut dir = Directory::open(&folder.0).expect("it is there").with_keys(keys.clone());
    let slots = SlotMap::even(shards);
    let mut logs: Vec<ShardLog> = (0..shards)
        .map(|shard| ShardLog::new(shard, number, 1, FileNumber(0), Policy::Everysec).sealed(keys))
        .collect();
    for (db, line) in effects {
        let words = words_of(line);
        let key = if matches!(&words[0][..], b"XGROUP") { words.get(2) } else { words.get(1) };
        for (shard, log) in logs.iter_mut().enumerate() {
            let owns = key.is_none_or(|key| usize::from(slots.owner(slot_of(key))) == shard);
            if owns {
                log.effect(*db, words.iter().map(Vec::as_slice));
                log.end_record();
            }
        }
    }
    let mut manifest = Manifest::load(&dir).expect("it is sound").unwrap_or_default();
    let mut segments = Vec::new();
    for (shard, log) in logs.iter_mut().enumerate() {
        let mut content = log.file_header().to_vec();
        // Until it is idle: with a mark behind the last record.
        let mut now_us = 0;
        while let Some(action) = log.next_action(now_us) {
            now_us += 1_000_000;
            match action {
                Action::Write { bytes, .. } => {
                    content.extend_from_slice(&bytes);
                    log.write_ended(Ok(bytes.len()));
                }
                Action::Sync { .. } => log.sync_ended(Ok(())),
            }
        }
        let name = format!("log.{number}.{shard}");
        dir.create(&name, &content).expect("the name is free");
        segments.push(SegmentFile { shard: shard as u16, first_sequence: 1, name });
    }
    let owned = (0..SLOTS as u16).map(|slot| SlotRange { first: slot, last: slot, shard: slots.owner(slot) });
    let slots = owned.collect();
    manifest.generations.push(Generation { number, shards, slots, segments, ..Generation::default() });
    manifest.publish(&mut dir).expect("the folder is writable");
}

/// What is in these keyspaces.
fn content(keyspaces: &mut [Keyspace]) -> BTreeMap<(usize, Vec<u8>), Digest> {
    let mut found = BTreeMap::new();
    for keyspace in keyspaces {
        for db in 0..keyspace.databases() {
            keyspace.for_each(db, REPLAY_MS, &mut Changes::default(), |entry| {
                found.insert((db, entry.key().to_vec()), Digest::of_value(entry, REPLAY_MS));
            });
        }
    }
    found
}

/// The keyspace that these commands make.
fn made_by(commands: impl Iterator<Item = (u32, Vec<Vec<u8>>)>) -> Keyspace {
    let settings = DataSettings::default();
    let slots = SlotMap::even(1);
    let mut replayer = Replayer::new(Keyspace::new(1, settings.databases), &settings, &slots, 0);
    for (db, words) in commands {
        let effect = Effect { db, words: words.iter().map(Vec::as_slice).collect() };
        replayer.apply(&effect).expect("a sound command");
    }
    let (keyspace, outcome) = replayer.finish();
    outcome.expect("sound commands");
    keyspace
}

/// The commands of a dump with their databases.
fn commands_of(dump: &[u8]) -> Vec<(u32, Vec<Vec<u8>>)> {
    let mut reader = ValueReader::default();
    reader.feed(dump);
    let (mut db, mut commands) = (0, Vec::new());
    while let Some(value) = reader.next_value().expect("a dump is RESP") {
        let Value::Array(words) = value else { panic!("not a command: {value:?}") };
        let words = words.into_iter().map(|word| match word {
            Value::Bulk(bytes) => bytes,
            other => panic!("not a word: {other:?}"),
        });
        let words: Vec<Vec<u8>> = words.collect();
        if words[0] == b"SELECT" {
            db = std::str::from_utf8(&words[1]).expect("a number").parse().expect("a number");
        } else {
            commands.push((db, words));
        }
    }
    commands
}

fn all_effects() -> Vec<(u32, &'static str)> {
    let mut effects: Vec<(u32, &str)> = LINES.iter().map(|line| (0, *line)).collect();
    effects.extend([(3, "SET elsewhere 1"), (3, "HSET fields a 1 b 2")]);
    effects.push((3, "HPEXPIREAT fields 4102444800000 FIELDS 1 a"));
    effects
}

#[test]
fn arguments_are_understood() {
    let parsed = |line: &str| parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
    let options = parsed("dir --key-file a --old-key-file b --old-key-file c --databases 20").expect("fine");
    assert_eq!((options.dir, options.databases), (PathBuf::from("dir"), 20));
    assert_eq!(options.keys.old_files, [PathBuf::from("b"), PathBuf::from("c")]);
    for wrong in ["--key-file a", "dir --databases 0", "dir other", "dir --what", "dir --key-env"] {
        assert!(parsed(wrong).is_err(), "{wrong}");
    }
    assert_eq!(run(&["--port".to_owned()]), None);
}

#[test]
fn a_dump_makes_the_same_data() {
    let master = MasterKey::parse(&[5; 32]).expect("a key");
    let keys = Keys::new(Algorithm::Aes256Gcm, master.clone(), Vec::new());
    let reading = Keys::for_reading(vec![master]);
    for (writing, reading) in [(Keys::none(), Keys::none()), (&keys, &reading)] {
        let folder = Folder::new();
        // A flush reaches what other shards of the generation before had.
        let before = [(0, "SET old 1"), (5, "SET flushed 1"), (5, "SET flushed2 1"), (0, "SET int 1")];
        write_generation(&folder, writing, 1, 3, &before);
        write_generation(&folder, writing, 2, 1, &[(5, "FLUSHDB"), (0, "APPEND old 23")]);
        write_generation(&folder, writing, 3, 4, &all_effects());
        let mut expected: Vec<(u32, Vec<Vec<u8>>)> = vec![(0, words_of("SET old 123"))];
        expected.extend(all_effects().into_iter().map(|(db, line)| (db, words_of(line))));
        let expected = content(&mut [made_by(expected.into_iter())]);
        let (code, dump) = folder.dump(reading);
        assert_eq!(code, SOUND);
        assert_eq!(content(&mut [made_by(commands_of(&dump).into_iter())]), expected);
        let (code, text) = folder.check(reading);
        assert_eq!(code, SOUND, "{text}");
        assert!(text.contains("generation 3: 4 shards") && text.ends_with("the log is sound\n"), "{text}");
    }
}

#[test]
fn keys_are_needed_where_the_log_is_encrypted() {
    let folder = Folder::new();
    let keys = Keys::new(Algorithm::Aes256Gcm, MasterKey::parse(&[5; 32]).expect("a key"), Vec::new());
    write_generation(&folder, &keys, 1, 1, &[(0, "SET a 1")]);
    let (code, text) = folder.check(Keys::none());
    assert_eq!(code, BROKEN);
    assert!(
        text.contains("log.1.0: it is encrypted with the master key") && text.contains("no key"),
        "{text}"
    );
    assert_eq!(folder.dump(Keys::none()), (BROKEN, Vec::new()));
}

#[test]
fn what_is_dropped_is_said() {
    let folder = Folder::new();
    let effects = [(0, "SET a 1"), (0, "SET b 2"), (0, "SET c 3")];
    write_generation(&folder, Keys::none(), 1, 1, &effects);
    let path = folder.0.join("log.1.0");
    let whole = std::fs::read(&path).expect("it is there");
    let replaced = |bytes: &[u8]| std::fs::write(&path, bytes).expect("the folder is writable");
    let mark = torc_persist::record::HEADER_BYTES;
    replaced(&whole[..whole.len() - mark - 3]);
    let (code, text) = folder.check(Keys::none());
    assert_eq!(code, LOSSY);
    assert!(
        text.contains("2 records with 2 effects") && text.contains("bytes of log.1.0 from offset"),
        "{text}"
    );
    let (code, dump) = folder.dump(Keys::none());
    assert_eq!((code, commands_of(&dump).len()), (LOSSY, 2));
    let mut hole = whole.clone();
    hole[70] ^= 1;
    replaced(&hole);
    let (code, text) = folder.check(Keys::none());
    assert_eq!(code, BROKEN);
    assert!(text.contains("is damaged at offset") && text.contains("if the log were cut there"), "{text}");
    assert_eq!(folder.dump(Keys::none()), (BROKEN, Vec::new()));
    std::fs::remove_file(&path).expect("it is there");
    assert!(folder.check(Keys::none()).1.contains("cannot read log.1.0"));
    assert!(Folder::new().check(Keys::none()).1.contains("there is no log in"));
    let missing = Options { dir: folder.0.join("nowhere"), ..Options::default() };
    assert_eq!(check::check(&missing, Keys::none(), &mut Vec::new()).expect("memory takes all"), BROKEN);
}

#[test]
fn logs_of_redis_are_checked() {
    let folder = Folder::new();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.0.join(name), bytes).expect("writable");
    write("aof.manifest", b"file a.aof seq 1 type i\n");
    let mut commands = Vec::new();
    encode_command(&[b"SET", b"a", b"1"], &mut commands);
    write("a.aof", &commands);
    let (code, text) = folder.check(Keys::none());
    assert_eq!((code, text.contains("1 commands, which lead to 1 keys")), (SOUND, true), "{text}");
    assert_eq!(folder.dump(Keys::none()).0, SOUND);
    assert_eq!(commands_of(&folder.dump(Keys::none()).1), [(0, words_of("SET a 1"))]);
    write("a.aof", &commands[..commands.len() - 1]);
    let (code, text) = folder.check(Keys::none());
    assert_eq!((code, text.contains("bytes of a.aof from offset 0")), (LOSSY, true), "{text}");
    assert_eq!(folder.dump(Keys::none()), (LOSSY, Vec::new()));
    write("a.aof", &[commands.as_slice(), b"*2\r\n$3"].concat());
    let (code, dump) = folder.dump(Keys::none());
    assert_eq!((code, commands_of(&dump)), (LOSSY, vec![(0, words_of("SET a 1"))]));
    write("a.aof", b"garbage");
    assert_eq!(folder.dump(Keys::none()), (BROKEN, Vec::new()));
    let (code, text) = folder.check(Keys::none());
    assert_eq!((code, text.contains("a.aof, offset 0: no command begins here")), (BROKEN, true), "{text}");
}

#[test]
fn an_effect_that_makes_no_sense_is_found() {
    for line in ["NOSUCH a", "GET", "SUBSCRIBE a", "LPUSH string a"] {
        let folder = Folder::new();
        write_generation(&folder, Keys::none(), 1, 1, &[(0, "SET string v"), (0, line)]);
        assert_eq!(folder.dump(Keys::none()), (BROKEN, Vec::new()), "{line}");
        let (code, text) = folder.check(Keys::none());
        assert_eq!(code, BROKEN, "{line}: {text}");
        assert!(text.contains("the log cannot be loaded: log.1.0: "), "{line}: {text}");
    }
}

/// As a Redis server takes them when it loads its log; but for commands that fail, of which that only tells.
#[test]
fn commands_of_redis_that_are_no_effects_are_judged() {
    const LIBRARY: &str = "#!lua name=lib\\nredis.register_function('f', function() return 1 end)";
    let library = format!("FUNCTION LOAD \"{LIBRARY}\"");
    let again = format!("FUNCTION LOAD REPLACE \"{LIBRARY}\"");
    for (lines, expected) in [
        (&[library.as_str(), &again][..], Ok(1)),
        (&[&library, "FUNCTION DELETE lib"], Ok(0)),
        (&[&library, &library], Err((2, "'function': a library that was there before"))),
        (&["PUBLISH channel text", "GET a", "PING", "SELECT 0", "SUBSCRIBE a", "CLIENT INFO"], Ok(0)),
        (&["NOSUCH a"], Err((1, "'NOSUCH': ERR unknown command 'NOSUCH', with args beginning with: 'a' "))),
        (&["SET b 1", "EVAL x 0"], Err((2, "'EVAL': ERR unknown command"))),
        (&["CONFIG NOSUCH"], Err((1, "'CONFIG': ERR unknown subcommand"))),
        (&["LPUSH a 1"], Err((1, "'lpush': WRONGTYPE Operation against a key"))),
        (&["SET b 1", "LPUSH a 1", "GET b", "SET c 1"], Err((2, "'lpush': WRONGTYPE"))),
        (&["LPUSH a"], Err((1, "'LPUSH' with 2 words"))),
    ] {
        let folder = Folder::new();
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.0.join(name), bytes).expect("writable");
        write("aof.manifest", b"file a.aof seq 1 type i\nfile b.aof seq 2 type i\n");
        let (mut bytes, mut begins) = (Vec::new(), Vec::new());
        for line in [&["SET a 1"], lines].concat() {
            begins.push(bytes.len());
            encode_command(&words_of(line).iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut bytes);
        }
        write("a.aof", &bytes);
        // An error is told of the file in which it is, although others are read before it is known.
        let mut behind = Vec::new();
        encode_command(&[b"SET", b"behind", b"1"], &mut behind);
        write("b.aof", &behind);
        let ((code, text), (dump_code, dump)) = (folder.check(Keys::none()), folder.dump(Keys::none()));
        match expected {
            Ok(libraries) => {
                assert_eq!((code, dump_code), (SOUND, SOUND), "{lines:?}: {text}");
                let told = format!("lead to 2 keys; {libraries} libraries of functions");
                assert!(text.contains(&told), "{lines:?}: {text}");
                let dumped = commands_of(&dump).iter().filter(|(_, words)| words[0] == b"FUNCTION").count();
                assert_eq!(dumped, libraries, "{lines:?}");
            }
            Err((index, reason)) => {
                assert_eq!((code, dump_code, dump), (BROKEN, BROKEN, Vec::new()), "{lines:?}: {text}");
                let told = format!("the log cannot be loaded: a.aof, offset {}: {reason}", begins[index]);
                assert!(text.contains(&told), "{lines:?}: {text}, not {told}");
            }
        }
    }
}

/// What is counted ends at the bytes of all files that are listed, and of no others.
#[test]
fn a_load_counts_every_byte() {
    let folder = Folder::new();
    write_generation(&folder, Keys::none(), 1, 3, &all_effects());
    write_generation(&folder, Keys::none(), 2, 2, &all_effects()[..3]);
    let of_log: u64 = std::fs::read_dir(&folder.0)
        .expect("it is there")
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("log."))
        .map(|entry| entry.metadata().expect("it is there").len())
        .sum();
    std::fs::write(folder.0.join("log.of.others"), [1; 100_000]).expect("writable");
    let loader = loader(&folder.options(), Keys::none());
    loader.load().expect("it is sound").expect("there is a log");
    let progress = &loader.progress;
    assert_eq!(progress.loaded_of(), (of_log, of_log));
    assert_eq!(progress.checked_bytes.load(Ordering::Relaxed), of_log);
}

/// A part of a transaction whose other part was lost.
#[test]
fn transactions_that_are_not_whole_are_dropped() {
    let folder = Folder::new();
    write_generation(&folder, Keys::none(), 1, 2, &[]);
    let mut log = ShardLog::new(0, 1, 1, FileNumber(0), Policy::Always);
    let words = words_of("SET a 1");
    let transaction = Transaction { ticket: 1, participants: vec![0, 1] };
    log.part(transaction, [(0, words.iter().map(Vec::as_slice))]);
    let Some(Action::Write { bytes, .. }) = log.next_action(1) else { panic!("there is something to write") };
    std::fs::write(folder.0.join("log.1.0"), &*bytes).expect("the folder is writable");
    let (code, text) = folder.check(Keys::none());
    assert_eq!(code, LOSSY);
    assert!(text.contains("with 1 whole records: parts of transactions"), "{text}");
    assert!(commands_of(&folder.dump(Keys::none()).1).is_empty());
}

/// A real server with a socket in a folder.
struct Real {
    process: Child,
    stream: UnixStream,
    reader: ValueReader,
}

impl Real {
    /// `None`: it is not installed.
    fn start(folder: &Folder) -> Option<Real> {
        let socket = folder.0.join("socket");
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--unixsocket"]).arg(&socket);
        let process = command.current_dir(&folder.0).stdout(Stdio::null()).spawn();
        let Ok(process) = process else {
            assert!(std::env::var_os("CI").is_none(), "redis-server is not installed");
            eprintln!("skipped: redis-server is not installed");
            return None;
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Ok(stream) = UnixStream::connect(&socket) {
                stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
                return Some(Real { process, stream, reader: ValueReader::default() });
            }
            assert!(Instant::now() < deadline, "redis-server does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn reply(&mut self) -> Value {
        let mut buffer = [0; 4096];
        loop {
            if let Some(value) = self.reader.next_value().expect("a server speaks RESP") {
                return value;
            }
            let count = self.stream.read(&mut buffer).expect("the server answers");
            assert!(count > 0, "the server has closed the connection");
            self.reader.feed(&buffer[..count]);
        }
    }

    fn call(&mut self, line: &str) -> Value {
        let words = words_of(line);
        let mut bytes = Vec::new();
        encode_command(&words.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut bytes);
        self.stream.write_all(&bytes).expect("the server reads");
        self.reply()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A dump, and the same commands as they were given, make the same in a real server.
#[test]
fn a_real_server_loads_a_dump() {
    const SHOW: &[&str] = &[
        "GET string",
        "GET binary",
        "OBJECT ENCODING int",
        "PEXPIRETIME expires",
        "LRANGE list 0 -1",
        "SORT ints",
        "SORT words ALPHA",
        "ZRANGE zset 0 -1 WITHSCORES",
        "HMGET hash a b",
        "XRANGE stream - +",
        "XINFO STREAM stream",
        "XINFO GROUPS stream",
        "XPENDING stream group",
        "XINFO STREAM drained",
        "DBSIZE",
    ];
    let folder = Folder::new();
    let effects: Vec<(u32, &str)> = LINES.iter().map(|line| (0, *line)).collect();
    write_generation(&folder, Keys::none(), 1, 2, &effects);
    let Some(mut real) = Real::start(&folder) else { return };
    for line in LINES {
        let reply = real.call(line);
        assert!(!matches!(reply, Value::Error(_)), "{line}: {reply:?}");
    }
    let expected: Vec<Value> = SHOW.iter().map(|line| real.call(line)).collect();
    real.call("FLUSHALL");
    let dump = folder.dump(Keys::none()).1;
    real.stream.write_all(&dump).expect("the server reads");
    for _ in 0..=commands_of(&dump).len() {
        let reply = real.reply();
        assert!(!matches!(reply, Value::Error(_)), "{reply:?}");
    }
    for (line, expected) in SHOW.iter().zip(expected) {
        assert_eq!(real.call(line), expected, "{line}");
    }
}
