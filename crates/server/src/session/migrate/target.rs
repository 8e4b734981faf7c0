//! The server that MIGRATE moves keys to, as seen from here: a connection, and a blocking conversation over it.
//!
//! Owns the sockets, also those kept for the next time. Blocks: runs in a thread of its own, never on a shard.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Connections kept for the next time, at most.
const IDLE_MAX: usize = 64;
/// How long an unused connection is kept.
const IDLE_MS_MAX: i64 = 10_000;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

/// What every round of a conversation begins with.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) address: Address,
    pub(super) db: i64,
    /// For each step: connecting, sending, and each reply.
    pub(super) timeout: Duration,
    /// AUTH's arguments, if any.
    pub(super) auth: Vec<Box<[u8]>>,
}

/// One key on its way.
pub(super) struct Parcel {
    pub(super) key: Box<[u8]>,
    pub(super) expire_at: Option<i64>,
    /// RESTORE's time to live; 0: none.
    pub(super) ttl_ms: i64,
    /// RDB version of the payload.
    pub(super) version: u16,
    /// What DUMP returns; `None`: the key is to be deleted, because it was deleted here after it had been sent.
    pub(super) payload: Option<Vec<u8>>,
    pub(super) replace: bool,
}

/// What became of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Accepted,
    /// The target's error, with its code.
    Refused(String),
    /// No reply came.
    Unknown,
}

/// Why a conversation ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Connecting,
    Writing,
    Reading,
}

/// What became of a round.
pub(super) struct Report {
    /// In the order of the parcels.
    pub(super) outcomes: Vec<Outcome>,
    pub(super) failure: Option<Failure>,
    /// The connection, if it can be used again.
    pub(super) target: Option<Target>,
}

/// A connection to a server.
pub(super) struct Target {
    stream: BufReader<TcpStream>,
    /// The database that is selected there, if that is known.
    db: Option<i64>,
}

/// Send parcels over a connection that was kept, or a new one, and wait for all replies. A kept connection that turns out
/// to be dead is replaced once.
pub(super) fn deliver(mut kept: Option<Target>, terms: &Terms, parcels: &[Parcel]) -> Report {
    loop {
        let may_retry = kept.is_some();
        let target = match kept.take() {
            Some(target) => target,
            None => match Target::connect(terms) {
                Ok(target) => target,
                Err(failure) => return Report::failed(failure, parcels.len()),
            },
        };
        let (report, timed_out) = target.converse(terms, parcels);
        let nothing_came = report.outcomes.iter().all(|outcome| *outcome == Outcome::Unknown);
        if report.failure.is_none() || !may_retry || timed_out || !nothing_came {
            return report;
        }
    }
}

impl Report {
    fn failed(failure: Failure, parcels: usize) -> Report {
        Report { outcomes: vec![Outcome::Unknown; parcels], failure: Some(failure), target: None }
    }
}

impl Target {
    /// Contract: to Redis, which connects without waiting, a refusal shows when it writes.
    fn connect(terms: &Terms) -> Result<Target, Failure> {
        let Address { host, port } = &terms.address;
        let mut failure = Failure::Connecting;
        for address in (host.as_str(), *port).to_socket_addrs().map_err(|_| failure)? {
            let connected = TcpStream::connect_timeout(&address, terms.timeout).and_then(|stream| {
                stream.set_nodelay(true)?;
                Ok(stream)
            });
            match connected {
                Ok(stream) => return Ok(Target { stream: BufReader::new(stream), db: None }),
                Err(error) if is_timeout(&error) => failure = Failure::Connecting,
                Err(_) => failure = Failure::Writing,
            }
        }
        Err(failure)
    }

    /// One round, and whether it failed for lack of time.
    fn converse(mut self, terms: &Terms, parcels: &[Parcel]) -> (Report, bool) {
        let selects = self.db != Some(terms.db);
        if let Err(error) = self.send(terms, selects, parcels) {
            return (Report::failed(Failure::Writing, parcels.len()), is_timeout(&error));
        }
        let mut report = Report { outcomes: Vec::with_capacity(parcels.len()), failure: None, target: None };
        let timed_out = match self.receive(terms, selects, parcels.len(), &mut report.outcomes) {
            Ok(()) => {
                let any_refused = report.outcomes.iter().any(|outcome| *outcome != Outcome::Accepted);
                self.db = (!any_refused).then_some(terms.db);
                report.target = Some(self);
                false
            }
            Err(error) => {
                report.failure = Some(Failure::Reading);
                report.outcomes.resize(parcels.len(), Outcome::Unknown);
                is_timeout(&error)
            }
        };
        (report, timed_out)
    }

    fn send(&mut self, terms: &Terms, selects: bool, parcels: &[Parcel]) -> io::Result<()> {
        let mut out = Vec::new();
        if !terms.auth.is_empty() {
            request(&mut out, &[&[b"AUTH".as_slice()], &refs(&terms.auth)[..]].concat());
        }
        if selects {
            request(&mut out, &[b"SELECT", terms.db.to_string().as_bytes()]);
        }
        for parcel in parcels {
            let Some(payload) = &parcel.payload else {
                request(&mut out, &[b"DEL", &parcel.key]);
                continue;
            };
            let ttl = parcel.ttl_ms.to_string();
            let words: [&[u8]; 5] = [b"RESTORE", &parcel.key, ttl.as_bytes(), payload, b"REPLACE"];
            request(&mut out, if parcel.replace { &words } else { &words[..4] });
        }
        let stream = self.stream.get_mut();
        stream.set_write_timeout(Some(terms.timeout))?;
        stream.write_all(&out)
    }

    fn receive(
        &mut self,
        terms: &Terms,
        selects: bool,
        parcels: usize,
        outcomes: &mut Vec<Outcome>,
    ) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(terms.timeout))?;
        let mut refused = None;
        for _ in 0..usize::from(!terms.auth.is_empty()) + usize::from(selects) {
            let reply = self.reply()?;
            refused = refused.or(reply.err());
        }
        for _ in 0..parcels {
            // A server that did not let us in may have stored the key all the same: that is no success.
            let reply = self.reply()?;
            outcomes.push(match refused.clone().or(reply.err()) {
                Some(error) => Outcome::Refused(error),
                None => Outcome::Accepted,
            });
        }
        Ok(())
    }

    /// A reply of one line: what it says matters only if it is an error.
    fn reply(&mut self) -> io::Result<Result<(), String>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        let text = line.strip_suffix(b"\r\n").ok_or(ErrorKind::UnexpectedEof)?;
        match text.split_first() {
            Some((b'-', error)) => Ok(Err(String::from_utf8_lossy(error).into_owned())),
            Some((b'+' | b':', _)) => Ok(Ok(())),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn refs(words: &[Box<[u8]>]) -> Vec<&[u8]> {
    words.iter().map(|word| &**word).collect()
}

fn request(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// Connections of one shard that wait for their next use.
#[derive(Default)]
pub struct IdleTargets {
    targets: HashMap<Address, (Target, i64)>,
}

impl IdleTargets {
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    pub(super) fn take(&mut self, address: &Address) -> Option<Target> {
        self.targets.remove(address).map(|(target, _)| target)
    }

    pub(super) fn keep(&mut self, address: Address, target: Target, now_ms: i64) {
        if self.targets.len() >= IDLE_MAX
            && let Some(oldest) = self.targets.iter().min_by_key(|(_, (_, since_ms))| *since_ms)
        {
            let oldest = oldest.0.clone();
            self.targets.remove(&oldest);
        }
        self.targets.insert(address, (target, now_ms));
    }

    /// Closes those that nobody has used for a while.
    pub fn close_old(&mut self, now_ms: i64) {
        self.targets.retain(|_, (_, since_ms)| now_ms - *since_ms < IDLE_MS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    use super::*;

    /// A server that reads so many bytes and answers with these, once for each connection.
    fn server(rounds: Vec<(usize, &'static str)>) -> (Terms, JoinHandle<Vec<Vec<u8>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let serve = move || {
            let mut all = Vec::new();
            for (bytes, reply) in rounds {
                let (mut stream, _) = listener.accept().expect("a connection");
                let mut got = vec![0; bytes];
                stream.read_exact(&mut got).expect("as much as was told");
                stream.write_all(reply.as_bytes()).expect("the other end listens");
                all.push(got);
            }
            all
        };
        let address = Address { host: "127.0.0.1".into(), port };
        let terms = Terms { address, db: 3, timeout: Duration::from_millis(500), auth: vec![] };
        (terms, thread::spawn(serve))
    }

    fn parcel(payload: Option<&[u8]>, replace: bool) -> Parcel {
        let payload = payload.map(<[u8]>::to_vec);
        Parcel { key: (*b"k").into(), expire_at: None, ttl_ms: 7, version: 11, payload, replace }
    }

    const SELECT: &str = "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n";

    #[test]
    fn keys_are_sent_and_replies_told_apart() {
        let expected = format!(
            "*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$1\r\np\r\n{SELECT}\
             *5\r\n$7\r\nRESTORE\r\n$1\r\nk\r\n$1\r\n7\r\n$2\r\nxy\r\n$7\r\nREPLACE\r\n\
             *4\r\n$7\r\nRESTORE\r\n$1\r\nk\r\n$1\r\n7\r\n$2\r\nxy\r\n\
             *2\r\n$3\r\nDEL\r\n$1\r\nk\r\n"
        );
        let (mut terms, server) =
            server(vec![(expected.len(), "+OK\r\n+OK\r\n+OK\r\n-BUSYKEY no\r\n:1\r\n")]);
        terms.auth = vec![(*b"u").into(), (*b"p").into()];
        let parcels = [parcel(Some(b"xy"), true), parcel(Some(b"xy"), false), parcel(None, false)];
        let report = deliver(None, &terms, &parcels);
        let refused = Outcome::Refused("BUSYKEY no".into());
        assert_eq!(report.outcomes, [Outcome::Accepted, refused, Outcome::Accepted]);
        assert!(report.failure.is_none() && report.target.is_some_and(|target| target.db.is_none()));
        assert_eq!(server.join().expect("no panic"), [expected.into_bytes()]);
    }

    #[test]
    fn a_kept_connection_that_died_is_replaced_once() {
        let restore = "*4\r\n$7\r\nRESTORE\r\n$1\r\nk\r\n$1\r\n7\r\n$2\r\nxy\r\n";
        let round = SELECT.len() + restore.len();
        let (terms, server) = server(vec![(round, "+OK\r\n+OK\r\n"), (round, "+OK\r\n+OK\r\n"), (round, "")]);
        let parcels = [parcel(Some(b"xy"), false)];
        let first = deliver(None, &terms, &parcels);
        assert_eq!(first.outcomes, [Outcome::Accepted]);
        let second = deliver(first.target, &terms, &parcels);
        assert_eq!((second.outcomes, second.failure), (vec![Outcome::Accepted], None));
        drop(second.target);
        let third = deliver(None, &terms, &parcels);
        assert_eq!((third.outcomes, third.failure), (vec![Outcome::Unknown], Some(Failure::Reading)));
        server.join().expect("no panic");
        let fourth = deliver(None, &terms, &parcels);
        assert_eq!(fourth.failure, Some(Failure::Writing));
    }

    #[test]
    fn a_refused_login_refuses_everything() {
        let (mut terms, server) = server(vec![(10, "-WRONGPASS no\r\n+OK\r\n+OK\r\n")]);
        terms.auth = vec![(*b"p").into()];
        let report = deliver(None, &terms, &[parcel(Some(b"xy"), false)]);
        assert_eq!(report.outcomes, [Outcome::Refused("WRONGPASS no".into())]);
        server.join().expect("no panic");
    }
}
