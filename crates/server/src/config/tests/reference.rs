//! Compares names, defaults and error texts with real servers: `redis-server` when it is installed, and the
//! binary that VALKEY_SERVER names. Differences that are not listed here fail. Where a server is missing, the
//! test says so and passes, unless TORC_REQUIRE_REFERENCE is set.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use torc_resp::{Value, ValueReader, encode_command};

use super::super::setting::{Change, Effect, Kind};
use super::super::{Config, table};
use super::files::Folder;

/// Settings whose defaults differ, for any server, and why.
const OTHER_DEFAULTS: &[(&str, &str)] = &[
    ("dir", "the folder the server was started in"),
    ("logfile", "set by this test"),
    ("port", "set by this test"),
    ("unixsocket", "set by this test"),
    ("save", "set by this test"),
    ("syslog-ident", "the program's name"),
];

/// Defaults of Redis 7.0 that Valkey 8 changed; torc follows Valkey.
const OLD_DEFAULTS: &[&str] = &[
    "lazyfree-lazy-eviction",
    "lazyfree-lazy-expire",
    "lazyfree-lazy-server-del",
    "lazyfree-lazy-user-del",
    "lazyfree-lazy-user-flush",
    "replica-lazy-flush",
    "slave-lazy-flush",
    "repl-backlog-size",
];

/// Settings whose values torc checks otherwise, and why.
const OTHER_ERRORS: &[(&str, &str)] = &[
    ("bind", "addresses are checked when they are bound"),
    ("locale-collate", "it has no effect, so any name is accepted"),
    ("log-format", "torc has `json` and not `logfmt`"),
    ("maxmemory-samples", "Redis 7.0 has no upper bound"),
];

/// Values that are wrong for most kinds.
const BAD_VALUES: &[&str] =
    &["zzz", "99999999999999999", "-99999999999", "99999999999999999999", "1x", "1 2", "01", "+1", "101%"];

#[test]
fn redis_server_agrees() {
    compare("redis-server", false);
}

#[test]
fn valkey_server_agrees() {
    match std::env::var("VALKEY_SERVER") {
        Ok(binary) => compare(&binary, true),
        Err(_) => eprintln!("skipped: VALKEY_SERVER does not name a valkey-server"),
    }
}

fn compare(binary: &str, is_valkey: bool) {
    let Some(mut server) = Reference::start(binary) else {
        assert!(std::env::var_os("TORC_REQUIRE_REFERENCE").is_none(), "{binary} is not installed");
        eprintln!("skipped: {binary} is not installed");
        return;
    };
    let mut differences = Vec::new();
    compare_defaults(&mut server, is_valkey, &mut differences);
    compare_errors(&mut server, is_valkey, &mut differences);
    assert!(differences.is_empty(), "{binary} differs:\n{}", differences.join("\n"));
}

fn compare_defaults(server: &mut Reference, is_valkey: bool, differences: &mut Vec<String>) {
    let theirs = server.get("*");
    let ours: BTreeMap<String, String> =
        Config::default().get(&[b"*"]).into_iter().map(|(name, value)| (name.to_string(), value)).collect();
    for (name, value) in &theirs {
        match ours.get(name) {
            None if table::find_directive(name).is_some() => {}
            None => differences.push(format!("{name} is missing here")),
            Some(_) if OTHER_DEFAULTS.iter().any(|(other, _)| other == name) => {}
            Some(_) if !is_valkey && OLD_DEFAULTS.contains(&name.as_str()) => {}
            Some(own) if own == value => {}
            Some(own) => differences.push(format!("{name}: '{value}', here '{own}'")),
        }
    }
    const OWN: &[&str] = &["io", "shards", "spin-us"];
    if is_valkey {
        for name in ours.keys().filter(|name| !theirs.contains_key(*name) && !OWN.contains(&name.as_str())) {
            differences.push(format!("{name} is only here"));
        }
    }
}

fn compare_errors(server: &mut Reference, is_valkey: bool, differences: &mut Vec<String>) {
    let known = server.get("*");
    for (name, id) in table::names().iter().filter(|(name, _)| known.contains_key(*name)) {
        let setting = id.setting();
        let skip = OTHER_ERRORS.iter().any(|(other, _)| other == name)
            // The words to choose from grew with the versions.
            || !is_valkey && matches!(setting.kind, Kind::Choice(_))
            // A password would lock this test out.
            || *name == "requirepass";
        if skip {
            continue;
        }
        for value in BAD_VALUES {
            let own = match Config::default().set(&[(name.as_bytes(), value.as_bytes())], false) {
                Ok(_) => "OK".to_string(),
                Err(_) if is_refused(id.setting().effect) && setting.change == Change::AtRunTime => continue,
                Err(error) => error.to_string(),
            };
            // Any text is fine here, but the other server would go and look for a file of that name.
            if own == "OK" && matches!(setting.kind, Kind::Text(_)) {
                continue;
            }
            let reply = server.command(&["CONFIG", "SET", name, value]);
            let theirs = match &reply {
                Value::Error(text) => text.clone(),
                other => String::from_utf8_lossy(other.as_bytes().unwrap_or_default()).into_owned(),
            };
            if own != theirs {
                differences.push(format!("{name} '{value}': {theirs}, here {own}"));
            }
        }
    }
}

fn is_refused(effect: Effect) -> bool {
    matches!(effect, Effect::Refused(_))
}

/// A server on a unix socket, stopped when dropped.
struct Reference {
    process: Child,
    stream: UnixStream,
    reader: ValueReader,
    _folder: Folder,
}

impl Reference {
    /// `None` when there is no such program.
    fn start(binary: &str) -> Option<Self> {
        let folder = Folder::new(&format!("reference-{}", binary.rsplit('/').next().unwrap_or_default()));
        let socket = folder.path("s");
        let process = Command::new(binary)
            .args(["--port", "0", "--unixsocket", &socket, "--dir", &folder.path("")])
            .args(["--logfile", &folder.path("log"), "--daemonize", "no"])
            .stdout(Stdio::null())
            .spawn();
        let process = match process {
            Ok(process) => process,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => panic!("{binary}: {error}"),
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => panic!("{binary} does not listen: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Some(Reference { process, stream, reader: ValueReader::new(), _folder: folder })
    }

    fn command(&mut self, words: &[&str]) -> Value {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let mut request = Vec::new();
        encode_command(&words, &mut request);
        self.stream.write_all(&request).unwrap();
        let mut buffer = [0; 16 * 1024];
        loop {
            if let Some(value) = self.reader.next_value().unwrap() {
                return value;
            }
            let length = self.stream.read(&mut buffer).unwrap();
            assert!(length > 0, "the server closed the connection after {words:?}");
            self.reader.feed(&buffer[..length]);
        }
    }

    fn get(&mut self, pattern: &str) -> BTreeMap<String, String> {
        let reply = self.command(&["CONFIG", "GET", pattern]);
        let text = |value: &Value| String::from_utf8_lossy(value.as_bytes().unwrap_or_default()).into_owned();
        let elements = reply.elements().unwrap();
        elements.chunks_exact(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
