//! MIGRATE against targets that a test plays itself: what happens to keys that change while they travel, and to everybody
//! else meanwhile. Goal: a key is never lost, never in two places without anybody being told, and never holds up another
//! client. (Real targets are in `interchange.rs`.)

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use torc_resp::Value;
use torc_tests::{Client, PATIENCE, Server};

/// A server of which the test gives every reply.
struct Target {
    listener: TcpListener,
    stream: Option<BufReader<TcpStream>>,
}

impl Target {
    fn new() -> Target {
        Target { listener: TcpListener::bind("127.0.0.1:0").expect("a free port"), stream: None }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().expect("bound").port()
    }

    fn stream(&mut self) -> &mut BufReader<TcpStream> {
        let listener = &self.listener;
        self.stream.get_or_insert_with(|| {
            let (stream, _) = listener.accept().expect("a connection");
            stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
            BufReader::new(stream)
        })
    }

    /// The next request that comes.
    fn request(&mut self) -> Vec<Vec<u8>> {
        let count = self.number(b'*');
        (0..count)
            .map(|_| {
                let mut word = vec![0; self.number(b'$') + 2];
                self.stream().read_exact(&mut word).expect("a word");
                word.truncate(word.len() - 2);
                word
            })
            .collect()
    }

    fn number(&mut self, mark: u8) -> usize {
        let mut line = Vec::new();
        self.stream().read_until(b'\n', &mut line).expect("a request comes");
        assert_eq!(line[0], mark);
        String::from_utf8_lossy(&line[1..]).trim().parse().expect("a number")
    }

    fn expect(&mut self, words: &[&str]) -> Vec<Vec<u8>> {
        let request = self.request();
        for (word, expected) in request.iter().zip(words) {
            assert_eq!(String::from_utf8_lossy(word), *expected);
        }
        assert!(request.len() >= words.len());
        request
    }

    fn answer(&mut self, reply: &str) {
        self.stream().get_mut().write_all(reply.as_bytes()).expect("the other end reads");
    }
}

fn migrate(client: &mut Client, target: &Target, rest: &str) {
    let port = target.port().to_string();
    let mut words: Vec<&str> = vec!["MIGRATE", "127.0.0.1", &port];
    words.extend(rest.split(' ').map(|word| if word == "''" { "" } else { word }));
    client.send(&words).expect("the server reads");
}

fn reply(client: &mut Client) -> Value {
    client.receive().expect("a reply comes")
}

fn ok() -> Value {
    Value::Simple("OK".into())
}

#[test]
fn an_unchanged_key_is_deleted_here() {
    let server = Server::torc(3);
    let (mut mover, mut target) = (server.client(), Target::new());
    mover.cmd("SET k v PX 100000");
    migrate(&mut mover, &target, "k 5 1000 REPLACE AUTH2 user pw");
    target.expect(&["AUTH", "user", "pw"]);
    target.expect(&["SELECT", "5"]);
    let restore = target.expect(&["RESTORE", "k"]);
    let ttl: u64 = String::from_utf8_lossy(&restore[2]).parse().expect("a time to live");
    assert!((90_000..=100_000).contains(&ttl));
    assert_eq!((&restore[3][..3], &restore[4][..]), (b"\x00\x01v".as_slice(), b"REPLACE".as_slice()));
    target.answer("+OK\r\n+OK\r\n+OK\r\n");
    assert_eq!(reply(&mut mover), ok());
    assert_eq!(mover.int("EXISTS k"), 0);
    // The connection is used again, and the database is selected already.
    mover.cmd("SET k2 v");
    migrate(&mut mover, &target, "k2 5 1000 COPY");
    target.expect(&["RESTORE", "k2"]);
    target.answer("+OK\r\n");
    assert_eq!(reply(&mut mover), ok());
    assert_eq!(mover.int("EXISTS k2"), 1);
}

#[test]
fn a_key_that_changes_on_its_way_is_sent_again() {
    let server = Server::torc(3);
    let (mut mover, mut writer, mut target) = (server.client(), server.client(), Target::new());
    writer.cmd("MSET a 1 b 2 c 3");
    migrate(&mut mover, &target, "'' 0 60000 KEYS a b c missing");
    target.expect(&["SELECT", "0"]);
    for key in ["a", "b", "c"] {
        target.expect(&["RESTORE", key, "0"]);
    }
    // Nobody has to wait for the target, not even those who want the keys.
    let started = Instant::now();
    assert_eq!(writer.text("GET a"), "1");
    assert_eq!(writer.int("INCR b"), 3);
    assert_eq!(writer.int("DEL c"), 1);
    assert_eq!(writer.int("DBSIZE"), 2);
    assert!(started.elapsed() < PATIENCE);
    target.answer("+OK\r\n+OK\r\n+OK\r\n+OK\r\n");
    let again = target.expect(&["RESTORE", "b", "0"]);
    assert_eq!((&again[3][..3], &again[4][..]), (b"\x00\xc0\x03".as_slice(), b"REPLACE".as_slice()));
    target.expect(&["DEL", "c"]);
    assert_eq!(writer.int("EXISTS a b"), 1);
    target.answer("+OK\r\n:1\r\n");
    assert_eq!(reply(&mut mover), ok());
    assert_eq!(writer.int("DBSIZE"), 0);
}

#[test]
fn inside_a_transaction_the_keys_wait_with_it() {
    // With everything locked (DBSIZE), and with the keys alone.
    for (shards, whole) in [(1, false), (1, true), (3, false), (3, true)] {
        let server = Server::torc(shards);
        let (mut mover, mut reader, mut target) = (server.client(), server.client(), Target::new());
        mover.cmd("MSET a 1 b 2 c 3");
        mover.cmd("MULTI");
        mover.cmd("SET a 10");
        migrate(&mut mover, &target, "'' 0 5000 KEYS a b missing");
        assert_eq!(reply(&mut mover), Value::Simple("QUEUED".into()));
        mover.cmd(if whole { "DBSIZE" } else { "EXISTS c" });
        mover.cmd("EXISTS a b c");
        mover.send(&["EXEC"]).expect("the server reads");
        target.expect(&["SELECT", "0"]);
        let sent = target.expect(&["RESTORE", "a", "0"]);
        assert_eq!(&sent[3][..3], b"\x00\xc0\x0a", "what the transaction has written");
        target.expect(&["RESTORE", "b", "0"]);
        // Nobody sees a part of it; the keys of others are free.
        for key in ["a", "c"] {
            reader.send(&["GET", key]).expect("the server reads");
        }
        target.answer("+OK\r\n+OK\r\n+OK\r\n");
        assert_eq!(reply(&mut mover), Value::Array(vec![ok(), ok(), Value::Int(1), Value::Int(1)]));
        assert_eq!(reply(&mut reader), Value::NullBulk);
        assert_eq!(reply(&mut reader), Value::Bulk("3".into()));
        assert_eq!(reader.int("DBSIZE"), 1);
    }
}

#[test]
fn a_transaction_that_gets_no_answer_goes_on() {
    let server = Server::torc(3);
    let (mut mover, mut target) = (server.client(), Target::new());
    mover.cmd("MSET a 1 b 2");
    mover.cmd("MULTI");
    migrate(&mut mover, &target, "'' 0 100 KEYS a b");
    assert_eq!(reply(&mut mover), Value::Simple("QUEUED".into()));
    mover.cmd("INCR a");
    mover.send(&["EXEC"]).expect("the server reads");
    target.expect(&["SELECT", "0"]);
    let replies = reply(&mut mover);
    let [Value::Error(text), Value::Int(2)] = replies.elements().expect("an array") else {
        panic!("{replies:?}")
    };
    assert_eq!(text, "IOERR error or timeout reading to target instance");
    assert_eq!(mover.text("GET b"), "2");
}

#[test]
fn a_key_that_never_rests_stays() {
    let server = Server::torc(2);
    let (mut mover, mut writer, mut target) = (server.client(), server.client(), Target::new());
    writer.cmd("SET k 0");
    migrate(&mut mover, &target, "k 0 5000");
    target.expect(&["SELECT"]);
    for round in 1..=8 {
        target.expect(&["RESTORE", "k", "0"]);
        writer.cmd("INCR k");
        target.answer(if round == 1 { "+OK\r\n+OK\r\n" } else { "+OK\r\n" });
    }
    let Value::Error(text) = reply(&mut mover) else { panic!("an error") };
    assert!(text.starts_with("ERR A key was changed again and again"), "{text}");
    assert_eq!(writer.text("GET k"), "8");
    // An expiry that changes is a change too.
    migrate(&mut mover, &target, "k 0 5000");
    target.expect(&["RESTORE", "k", "0"]);
    writer.cmd("PEXPIRE k 100000");
    target.answer("+OK\r\n");
    target.expect(&["RESTORE", "k"]);
    target.answer("+OK\r\n");
    assert_eq!(reply(&mut mover), ok());
    assert_eq!(writer.int("EXISTS k"), 0);
}

#[test]
fn what_the_target_refuses_stays() {
    let server = Server::torc(2);
    let (mut mover, mut target) = (server.client(), Target::new());
    mover.cmd("MSET a 1 b 2 c 3");
    migrate(&mut mover, &target, "'' 0 5000 KEYS a b c");
    target.expect(&["SELECT"]);
    (0..3).for_each(|_| drop(target.expect(&["RESTORE"])));
    target.answer("+OK\r\n+OK\r\n-BUSYKEY Target key name already exists.\r\n+OK\r\n");
    let refused = "ERR Target instance replied with error: BUSYKEY Target key name already exists.";
    assert_eq!(reply(&mut mover), Value::Error(refused.into()));
    assert_eq!(mover.int("EXISTS a c"), 0);
    assert_eq!(mover.text("GET b"), "2");
    // A login that fails fails for all keys, whatever else is said.
    migrate(&mut mover, &target, "b 0 5000 AUTH pw");
    target.expect(&["AUTH", "pw"]);
    target.expect(&["SELECT"]);
    target.expect(&["RESTORE"]);
    target.answer("-ERR no password is set\r\n+OK\r\n+OK\r\n");
    let refused = "ERR Target instance replied with error: ERR no password is set";
    assert_eq!(reply(&mut mover), Value::Error(refused.into()));
    assert_eq!(mover.text("GET b"), "2");
}

#[test]
fn a_target_that_is_silent_or_gone() {
    let server = Server::torc(2);
    let (mut mover, mut target) = (server.client(), Target::new());
    mover.cmd("MSET a 1 b 2");
    let started = Instant::now();
    migrate(&mut mover, &target, "a 0 300");
    target.expect(&["SELECT"]);
    let timeout = Value::Error("IOERR error or timeout reading to target instance".into());
    assert_eq!(reply(&mut mover), timeout);
    assert!((Duration::from_millis(250)..Duration::from_secs(10)).contains(&started.elapsed()));
    assert_eq!(mover.text("GET a"), "1");
    // It says yes to the first key, and dies.
    target.stream = None;
    migrate(&mut mover, &target, "'' 0 5000 KEYS a b");
    target.expect(&["SELECT"]);
    target.answer("+OK\r\n+OK\r\n");
    target.expect(&["RESTORE", "a"]);
    target.expect(&["RESTORE", "b"]);
    target.stream = None;
    assert_eq!(reply(&mut mover), timeout);
    assert_eq!(mover.int("EXISTS a"), 0);
    assert_eq!(mover.text("GET b"), "2");
}

#[test]
fn an_older_target_gets_an_older_version() {
    let server = Server::torc(2);
    let (mut mover, mut target) = (server.client(), Target::new());
    mover.cmd("SADD set a b");
    mover.cmd("HSET hash f v");
    mover.cmd("HEXPIRE hash 100 FIELDS 1 f");
    let version = |payload: &[u8]| (payload[0], payload[payload.len() - 10]);
    let too_new = "-ERR DUMP payload version or checksum are wrong\r\n";
    migrate(&mut mover, &target, "'' 0 5000 KEYS set hash");
    target.expect(&["SELECT"]);
    assert_eq!(version(&target.expect(&["RESTORE", "set"])[3]), (20, 11));
    assert_eq!(version(&target.expect(&["RESTORE", "hash"])[3]), (22, 80));
    target.answer(&format!("+OK\r\n{too_new}{too_new}"));
    let Value::Error(text) = reply(&mut mover) else { panic!("a hash with expiring fields can't go there") };
    assert!(text.contains("DUMP payload version"), "{text}");
    migrate(&mut mover, &target, "set 0 5000");
    target.expect(&["SELECT"]);
    target.expect(&["RESTORE"]);
    target.answer(&format!("+OK\r\n{too_new}"));
    target.expect(&["SELECT"]);
    assert_eq!(version(&target.expect(&["RESTORE", "set"])[3]), (2, 10));
    target.answer(&format!("+OK\r\n{too_new}"));
    target.expect(&["SELECT"]);
    assert_eq!(version(&target.expect(&["RESTORE", "set"])[3]), (2, 9));
    target.answer("+OK\r\n+OK\r\n");
    assert_eq!(reply(&mut mover), ok());
    assert_eq!(mover.int("EXISTS set hash"), 1);
}
