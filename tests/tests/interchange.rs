//! Values move between torc and the real servers: what one wrote, the other reads, byte for byte where the format is
//! one and the same, one by one and in snapshots. Skipped where there is no reference server.

use torc_resp::Value;
use torc_tests::{Client, Kind, Launch, PATIENCE, Server, Version, reference_or_skip, valkey, wait_until};

/// A reference server and torc, with a client each.
struct Pair {
    _servers: [Server; 2],
    reference: Client,
    torc: Client,
}

impl Pair {
    fn start(what: &str) -> Option<Pair> {
        let kind = reference_or_skip(what)?;
        let servers = [Launch::of(kind).start(), Server::torc(2)];
        let [reference, torc] = [servers[0].client(), servers[1].client()];
        Some(Pair { _servers: servers, reference, torc })
    }

    /// The same request to both servers; the replies must be the same.
    fn both(&mut self, args: &[impl AsRef<[u8]>]) -> Value {
        let [expected, found] = [self.reference.call(args), self.torc.call(args)];
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(args[0].as_ref()));
        expected
    }
}

/// Sparse, promoted, dense and merged HyperLogLogs have the bytes of the reference at every step.
#[test]
fn hyperloglogs_have_the_same_bytes() {
    let Some(mut pair) = Pair::start("HyperLogLogs of the reference") else { return };
    let mut next = 0u64;
    for (key, step) in [("few", 7), ("some", 60), ("many", 700)] {
        for _ in 0..40 {
            let mut add: Vec<String> = vec!["PFADD".into(), key.into()];
            add.extend((next..next + step).map(|number| format!("element:{}", number * number)));
            next += step - step / 4;
            pair.both(&add);
            pair.both(&["GET", key]);
            pair.both(&["PFCOUNT", key]);
            pair.both(&["GET", key]);
            pair.both(&["PFMERGE", "all", key]);
            pair.both(&["GET", "all"]);
        }
    }
    pair.both(&["PFCOUNT", "few", "some", "many"]);
    pair.both(&["PFMERGE", "few", "some"]);
    pair.both(&["GET", "few"]);
    pair.both(&["PFDEBUG", "GETREG", "some"]);
}

/// What makes a key of each type and encoding, and what shows all of it.
const VALUES: &[(&str, &[&str], &str)] = &[
    ("short", &["SET short hello"], "GET short"),
    ("empty", &["SET empty \"\""], "GET empty"),
    ("number", &["SET number -2147483649"], "GET number"),
    ("long", &["SET long {300}", "APPEND long {300}"], "GET long"),
    ("big", &["SETRANGE big 100000 x"], "GET big"),
    ("hll", &["PFADD hll {200*}"], "GET hll"),
    ("list", &["RPUSH list a 1 -70000 {70}"], "LRANGE list 0 -1"),
    ("quicklist", &["RPUSH quicklist {900*}", "LPUSH quicklist {900*}"], "LRANGE quicklist 0 -1"),
    (
        "plainlist",
        &["SETRANGE tmp 20000 y", "RPUSH plainlist a {20000} b", "RPUSH plainlist {20000}"],
        "LRANGE plainlist 0 -1",
    ),
    ("intset", &["SADD intset 1 -5 70000 5000000000"], "SMEMBERS intset"),
    ("set", &["SADD set a b 12 {60}"], "SMEMBERS set"),
    ("hashset", &["SADD hashset {900*}"], "SMEMBERS hashset"),
    ("zset", &["ZADD zset 1 a 2.5 b -inf c 1e30 d 1 {60}"], "ZRANGE zset 0 -1 WITHSCORES"),
    ("skiplist", &["ZADD skiplist {900#}"], "ZRANGE skiplist 0 -1 WITHSCORES"),
    ("hash", &["HSET hash a 1 b {60} 12 x"], "HGETALL hash"),
    ("hashtable", &["HSET hashtable {900#}"], "HGETALL hashtable"),
    (
        "stream",
        &[
            "XADD stream 1-1 f v g 1",
            "XADD stream 1-2 f w g 2",
            "XADD stream 2-1 other {100}",
            "XADD stream 5-0 f x g 3",
            "XDEL stream 1-2",
            "XGROUP CREATE stream one 0",
            "XGROUP CREATE stream two $",
            "XREADGROUP GROUP one alice COUNT 2 STREAMS stream >",
            "XREADGROUP GROUP one bob STREAMS stream >",
            "XACK stream one 1-1",
            "XGROUP CREATECONSUMER stream two carol",
        ],
        "XRANGE stream - +",
    ),
    ("nostream", &["XGROUP CREATE nostream one 7-7 MKSTREAM"], "XINFO STREAM nostream"),
];

/// The words of a line: `{n}` is a text of n bytes, `{n*}` n texts, `{n#}` n numbers with a text each.
fn words(line: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    for word in line.split(' ') {
        let Some(size) = word.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
            words.push(word.trim_matches('"').into());
            continue;
        };
        let count: usize = size.trim_end_matches(['*', '#']).parse().expect("a number");
        match size.chars().last() {
            Some('*') => {
                words.extend((0..count).map(|n| format!("element-{}", n * 7_919 % 1_000).into_bytes()))
            }
            Some('#') => words.extend((0..count).flat_map(|n| {
                [(n as i64 * 31 - 100).to_string().into_bytes(), format!("member-{n}").into_bytes()]
            })),
            _ => words.push((0..count).map(|n| b'a' + (n * n / 7 % 26) as u8).collect()),
        }
    }
    words
}

fn bytes_of(value: Value) -> Vec<u8> {
    match value {
        Value::Bulk(bytes) => bytes.to_vec(),
        other => panic!("DUMP returned {other:?}"),
    }
}

/// A reply as text, in which the elements of unordered collections are sorted.
fn shown(client: &mut Client, line: &str) -> String {
    let reply = client.call(&words(line));
    let mut elements = match reply {
        Value::Array(elements) => elements.iter().map(text).collect::<Vec<String>>(),
        reply => return text(&reply),
    };
    match line.split(' ').next() {
        Some("SMEMBERS") => elements.sort(),
        Some("HGETALL") => {
            elements = elements.chunks(2).map(|pair| pair.join("=")).collect();
            elements.sort();
        }
        _ => {}
    }
    elements.join(" ")
}

fn text(reply: &Value) -> String {
    match reply {
        Value::Bulk(bytes) => bytes.escape_ascii().to_string(),
        Value::Array(elements) => format!("[{}]", elements.iter().map(text).collect::<Vec<_>>().join(" ")),
        other => format!("{other:?}"),
    }
}

/// All that a server shows of a key.
fn full(client: &mut Client, key: &str, line: &str) -> Vec<String> {
    let mut all = vec![shown(client, &format!("OBJECT ENCODING {key}")), shown(client, line)];
    if line.contains("stream") {
        for more in ["XINFO STREAM KEY FULL", "XINFO GROUPS KEY"] {
            all.push(shown(client, &more.replace("KEY", key)));
        }
    }
    all
}

/// Every value goes from the reference to torc and back, and from torc to the reference and back, by DUMP and RESTORE
/// where versions allow it, and by MIGRATE. Nothing is lost on the way.
#[test]
fn values_move_between_servers() {
    let what = "values of the reference";
    for kind in [reference_or_skip(what), valkey()].into_iter().flatten() {
        let Kind::Reference { version, .. } = &kind else { unreachable!("a reference") };
        let reads_dumps = *version >= Version::parse("7.2.0").expect("a version");
        let servers = [Launch::of(kind.clone()).start(), Server::torc(3)];
        for (from, to) in [(0, 1), (1, 0)] {
            let (mut source, mut target) = (servers[from].client(), servers[to].client());
            source.cmd("FLUSHALL");
            target.cmd("FLUSHALL");
            let mut before = Vec::new();
            for (key, lines, show) in VALUES {
                for line in *lines {
                    let reply = source.call(&words(line));
                    assert!(!matches!(reply, Value::Error(_)), "{line}: {reply:?}");
                }
                before.push(full(&mut source, key, show));
            }
            // There by RESTORE, if that is possible.
            for (key, _, show) in VALUES {
                if to == 0 && !reads_dumps {
                    continue;
                }
                let dump = bytes_of(source.cmd(&format!("DUMP {key}")));
                let reply = target.call(&[b"RESTORE".as_slice(), key.as_bytes(), b"0", &dump]);
                assert_eq!(reply, Value::Simple("OK".into()), "{key} from {:?}", servers[from].kind());
                assert_eq!(shown(&mut target, show), shown(&mut source, show), "{key}");
                let encoding = format!("OBJECT ENCODING {key}");
                // Redis 7.0 knows no compact lists and sets of texts.
                if reads_dumps {
                    assert_eq!(shown(&mut target, &encoding), shown(&mut source, &encoding), "{key}");
                }
            }
            // There and back by MIGRATE.
            let keys = VALUES.iter().map(|(key, ..)| *key).collect::<Vec<_>>().join(" ");
            for (client, other) in [(&mut source, to), (&mut target, from)] {
                let line =
                    format!("MIGRATE 127.0.0.1 {} \"\" 0 5000 REPLACE KEYS {keys}", servers[other].port());
                assert_eq!(client.call(&words(&line)), Value::Simple("OK".into()));
                assert_eq!(client.cmd(&format!("EXISTS {keys}")), Value::Int(0));
            }
            for ((key, _, show), before) in VALUES.iter().zip(&before) {
                // Redis 7.0 does not keep when consumers were active last.
                if reads_dumps || !show.contains("stream") {
                    assert_eq!(&full(&mut source, key, show), before, "{key}");
                }
            }
        }
    }
}

/// What only snapshots are filled with: values that are saved slice by slice, keys that expire, another database.
const MORE_VALUES: &[(&str, &[&str], &str)] = &[
    ("hugelist", &["RPUSH hugelist {20000#}"], "LRANGE hugelist 0 -1"),
    ("hugeset", &["SADD hugeset {20000#}"], "SMEMBERS hugeset"),
    ("hugezset", &["ZADD hugezset {20000#}"], "ZRANGE hugezset 0 -1 WITHSCORES"),
    ("hugehash", &["HSET hugehash {20000#}"], "HGETALL hugehash"),
    ("expiring", &["SET expiring v PXAT 4102444800123"], "GET expiring"),
    (
        "expiringset",
        &["SADD expiringset a b", "PEXPIREAT expiringset 4102444800001"],
        "PEXPIRETIME expiringset",
    ),
];

fn fill_for_snapshot(client: &mut Client) {
    for line in VALUES.iter().chain(MORE_VALUES).flat_map(|(_, lines, _)| *lines) {
        let reply = client.call(&words(line));
        assert!(!matches!(reply, Value::Error(_)), "{line}: {reply:?}");
    }
    for number in 1..=3_000 {
        client.cmd(&format!("XADD hugestream {number}-1 name value:{number:0100} number {number}"));
    }
    for line in [
        "XDEL hugestream 3-1 2999-1",
        "XGROUP CREATE hugestream group 0",
        "XREADGROUP GROUP group alice COUNT 1200 STREAMS hugestream >",
        "XREADGROUP GROUP group bob COUNT 700 STREAMS hugestream >",
        "SELECT 7",
        "SET elsewhere 1",
        "SELECT 0",
    ] {
        assert!(!client.cmd(line).is_error(), "{line}");
    }
}

/// All that a server shows of what [`fill_for_snapshot`] made. Redis 7.0 has other encodings, and does not keep when
/// consumers were active; nor do files of version 10.
fn all_of_snapshot(
    client: &mut Client,
    has_encodings: bool,
    has_active_times: bool,
) -> Vec<(String, Vec<String>)> {
    let values = VALUES.iter().chain(MORE_VALUES).map(|(key, _, show)| (*key, *show));
    let mut all = Vec::new();
    for (key, show) in values.chain([("hugestream", "XRANGE hugestream - +")]) {
        let mut shown = full(client, key, show);
        shown.push(self::shown(client, &format!("PEXPIRETIME {key}")));
        if !has_encodings {
            shown.remove(0);
        }
        if !has_active_times {
            shown.iter_mut().for_each(|text| *text = without_active_times(text));
        }
        all.push((key.to_owned(), shown));
    }
    all.push(("sizes".to_owned(), vec![shown(client, "DBSIZE")]));
    client.cmd("SELECT 7");
    all.push(("7".to_owned(), vec![shown(client, "GET elsewhere"), shown(client, "DBSIZE")]));
    client.cmd("SELECT 0");
    all
}

/// `active-time` with the number behind it is taken out.
fn without_active_times(text: &str) -> String {
    let mut words = text.split(' ');
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "active-time" => drop(words.next()),
            word => kept.push(word),
        }
    }
    kept.join(" ")
}

/// A snapshot in the folder of a server.
fn save(client: &mut Client, command: &str) {
    if command == "SAVE" {
        return assert_eq!(client.text("SAVE"), "OK");
    }
    assert_eq!(client.text("BGSAVE"), "Background saving started");
    let field = |client: &mut Client, name| client.info("persistence", name).expect("INFO has it");
    assert!(wait_until(PATIENCE, || field(client, "rdb_bgsave_in_progress") == "0"));
    assert_eq!(field(client, "rdb_last_bgsave_status"), "ok");
}

/// The real servers load what SAVE and BGSAVE have written, and show the same of every value. Redis 7.0 needs
/// `rdb-version 10`, which newer servers read, too.
#[test]
fn snapshots_are_read_by_other_servers() {
    let torc = Server::torc(3);
    let mut client = torc.client();
    fill_for_snapshot(&mut client);
    for kind in [reference_or_skip("snapshots for the reference"), valkey()].into_iter().flatten() {
        let Kind::Reference { version, .. } = &kind else { unreachable!("a reference") };
        let since_7_2 = *version >= Version::parse("7.2.0").expect("a version");
        for (version, header) in [("10", "REDIS0010"), ("11", "REDIS0011")] {
            if version == "11" && !since_7_2 {
                continue;
            }
            let shows = |client: &mut Client| all_of_snapshot(client, since_7_2, version == "11");
            let expected = shows(&mut client);
            for (command, compresses) in
                [("SAVE", "yes"), ("BGSAVE", "no"), ("SAVE", "no"), ("BGSAVE", "yes")]
            {
                let what = format!("{kind:?}, version {version}, {command}, rdbcompression {compresses}");
                client.cmd(&format!("CONFIG SET rdb-version {version} rdbcompression {compresses}"));
                save(&mut client, command);
                let file = std::fs::read(torc.dir().join("dump.rdb")).expect("a snapshot");
                assert!(file.starts_with(header.as_bytes()), "{what}");
                let reader =
                    Launch::of(kind.clone()).setting("dir", &torc.dir().display().to_string()).start();
                let found = shows(&mut reader.client());
                for (expected, found) in expected.iter().zip(&found) {
                    assert!(expected == found, "{what}: {}:\n{expected:?}\n{found:?}", expected.0);
                }
            }
        }
    }
}

/// A file of version 10 has no place for fields that expire: it is not written, and the one before it stays. A log does
/// not depend on the setting.
#[test]
fn version_10_is_refused_where_it_would_lose_something() {
    let torc = Launch::torc(2).setting("rdb-version", "10").setting("appendonly", "yes").start();
    let mut client = torc.client();
    let path = torc.dir().join("dump.rdb");
    client.cmd("HSET hash a 1 b 2");
    assert_eq!(client.text("SAVE"), "OK");
    let before = std::fs::read(&path).expect("a snapshot");
    client.cmd("HPEXPIRE hash 10000000 FIELDS 1 b");
    let reason = "RDB version 10 (rdb-version) cannot express a hash with fields that expire";
    assert_eq!(client.cmd("SAVE"), Value::Error(format!("ERR {reason}")));
    assert_eq!(client.text("BGSAVE"), "Background saving started");
    let field = |client: &mut Client, name| client.info("persistence", name).expect("INFO has it");
    assert!(wait_until(PATIENCE, || field(&mut client, "rdb_bgsave_in_progress") == "0"));
    assert_eq!(field(&mut client, "rdb_last_bgsave_status"), "err");
    assert!(torc.log().matches(reason).count() >= 2, "{}", torc.log());
    assert!(std::fs::read(&path).expect("a snapshot") == before);
    assert!(!client.cmd("BGREWRITEAOF").is_error());
    assert!(wait_until(PATIENCE, || field(&mut client, "aof_rewrite_in_progress") == "0"));
    assert_eq!(field(&mut client, "aof_last_bgrewrite_status"), "ok");
    client.cmd("HPERSIST hash FIELDS 1 b");
    assert_eq!(client.text("SAVE"), "OK");
    assert!(std::fs::read(&path).expect("a snapshot").starts_with(b"REDIS0010"));
    client.cmd("HPEXPIRE hash 10000000 FIELDS 1 b");
    client.cmd("CONFIG SET rdb-version 11");
    assert_eq!(client.text("SAVE"), "OK");
    assert!(std::fs::read(&path).expect("a snapshot").starts_with(b"VALKEY080"));
}
