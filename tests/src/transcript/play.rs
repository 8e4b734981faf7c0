//! Replays a transcript against a live server and says where replies differ.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use torc_resp::Value;

use super::expect::{Bindings, Expected, Protocol};
use super::{Action, Step, Transcript, Word};
use crate::client::Client;
use crate::raw;
use crate::server::{Kind, Server};

/// How long a reply may take. Shorter than a client's patience: a server that answers nothing fails in every file.
const PATIENCE: Duration = Duration::from_secs(8);

/// How long silence must last to count as "no reply".
const SILENCE: Duration = Duration::from_millis(40);

/// How long an excused reply is waited for: its number and form are not known.
const EXCUSED_WAIT: Duration = Duration::from_millis(300);

/// Failures of one file after which its other steps only repeat the trouble.
const FAILURES_MAX: usize = 12;

/// A step whose reply was not the expected one.
#[derive(Debug)]
pub struct Failure {
    place: String,
    command: String,
    expected: String,
    found: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}\n  expected: {}\n  found:    {}",
            self.place,
            short(&self.command),
            short(&self.expected),
            short(&self.found)
        )
    }
}

/// Replays the file; its connections are new, the data is whatever the server holds.
pub fn play(transcript: &Transcript, server: &Server, protocol: Protocol) -> Vec<Failure> {
    let mut player = Player::new(transcript, server, protocol);
    for step in &transcript.steps {
        if step.only.is_some_and(|only| only != protocol) {
            continue;
        }
        if let Err(error) = player.step(step) {
            let found = error.to_string();
            player.fail(step, step.line, "a reply", found);
            return player.failures;
        }
        if player.failures.len() >= FAILURES_MAX {
            return player.failures;
        }
    }
    player.expect_silence();
    player.failures
}

pub(super) struct Player<'a> {
    transcript: &'a Transcript,
    server: &'a Server,
    protocol: Protocol,
    connections: BTreeMap<String, Connection>,
    bound: Bindings,
    failures: Vec<Failure>,
}

struct Connection {
    client: Client,
    /// HELLO and RESET change it.
    protocol: Protocol,
    /// What it will be if the command that was sent succeeds.
    next_protocol: Option<Protocol>,
}

impl<'a> Player<'a> {
    pub(super) fn new(transcript: &'a Transcript, server: &'a Server, protocol: Protocol) -> Player<'a> {
        Player {
            transcript,
            server,
            protocol,
            connections: BTreeMap::new(),
            bound: Bindings::new(),
            failures: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) -> io::Result<()> {
        if step.retry_ms > 0 {
            return self.step_repeatedly(step);
        }
        if let Some(name) = self.act(step)? {
            if self.is_excused(step) {
                self.skip_replies(step, &name)?;
            } else {
                self.check(step, &name)?;
            }
        }
        Ok(())
    }

    /// Does the step's action; the connection whose replies follow.
    pub(super) fn act(&mut self, step: &Step) -> io::Result<Option<String>> {
        match &step.action {
            Action::Sleep { ms } => {
                std::thread::sleep(Duration::from_millis(*ms));
                Ok(None)
            }
            Action::Close { connection } => {
                self.connections.remove(connection);
                Ok(None)
            }
            Action::Await { connection } => Ok(Some(connection.clone())),
            Action::Send { connection, words } => {
                let words: Vec<Vec<u8>> = words.iter().map(|word| self.bytes(word)).collect();
                self.send(step, connection, &raw::request(&words))?;
                self.connection(connection)?.next_protocol = protocol_after(&words);
                Ok(Some(connection.clone()))
            }
            Action::Raw { connection, bytes } => {
                let bytes = self.bytes(bytes);
                self.send(step, connection, &bytes)?;
                Ok(Some(connection.clone()))
            }
        }
    }

    /// The next reply of a connection, or why there is none.
    pub(super) fn receive(&mut self, name: &str, limit: Duration) -> io::Result<Arrival> {
        let connection = self.connection(name)?;
        match connection.client.receive_within(limit) {
            Ok(Some(value)) => {
                let switch = connection.next_protocol.take().filter(|_| !value.is_error());
                connection.protocol = switch.unwrap_or(connection.protocol);
                Ok(Arrival::Reply(value, connection.protocol))
            }
            Ok(None) => Ok(Arrival::Nothing),
            Err(error) if is_closed(&error) => {
                self.connections.remove(name);
                Ok(Arrival::Closed)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the arrival is what is expected; binds variables.
    pub(super) fn accepts(&mut self, expected: &Expected, arrival: &Arrival) -> bool {
        match (expected, arrival) {
            (Expected::None, Arrival::Nothing) | (Expected::Closed, Arrival::Closed) => true,
            (expected, Arrival::Reply(value, protocol)) => {
                expected.matches(value, *protocol, &mut self.bound)
            }
            _ => false,
        }
    }

    /// Whether a reference server may answer this step otherwise.
    pub(super) fn is_excused(&self, step: &Step) -> bool {
        match (self.server.kind(), &step.mark) {
            (Kind::Reference { version, .. }, Some(mark)) => mark.excuses(*version),
            _ => false,
        }
    }

    fn check(&mut self, step: &Step, name: &str) -> io::Result<()> {
        if step.replies.is_empty() {
            return Err(io::Error::other("the transcript gives no reply; 'none' stands for none"));
        }
        let protocol = self.protocol;
        let mut whole = if step.whole_scan { Some(self.scan_on(step, name)?) } else { None };
        for reply in step.replies.iter().filter(|reply| reply.only.is_none_or(|only| only == protocol)) {
            let limit = if reply.expected == Expected::None { SILENCE } else { PATIENCE };
            let arrival = match whole.take() {
                Some(arrival) => arrival,
                None => self.receive(name, limit)?,
            };
            if !self.accepts(&reply.expected, &arrival) {
                self.fail(step, reply.line, &reply.expected.to_string(), arrival.to_string());
                if !matches!(arrival, Arrival::Reply(..)) && reply.expected != Expected::None {
                    return Err(io::Error::other(format!("connection '{name}': {arrival}")));
                }
            }
        }
        Ok(())
    }

    /// The reply to the SCAN that was sent, with the elements of all further calls up to the cursor 0.
    pub(super) fn scan_on(&mut self, step: &Step, name: &str) -> io::Result<Arrival> {
        let Action::Send { words, .. } = &step.action else {
            return Err(io::Error::other("only a command can be repeated"));
        };
        let mut words: Vec<Vec<u8>> = words.iter().map(|word| self.bytes(word)).collect();
        let mut elements = Vec::new();
        loop {
            let arrival = self.receive(name, PATIENCE)?;
            let (cursor, found, protocol) = match &arrival {
                Arrival::Reply(Value::Array(parts), protocol) => match parts.as_slice() {
                    [cursor, Value::Array(found)] => (cursor.clone(), found.clone(), *protocol),
                    _ => return Ok(arrival),
                },
                _ => return Ok(arrival),
            };
            elements.extend(found);
            let next = cursor.as_bytes().unwrap_or_default().to_vec();
            if next == b"0" {
                return Ok(Arrival::Reply(Value::Array(vec![cursor, Value::Array(elements)]), protocol));
            }
            words[1] = next;
            self.connection(name)?.client.send_raw(&raw::request(&words))?;
        }
    }

    fn skip_replies(&mut self, step: &Step, name: &str) -> io::Result<()> {
        for _ in 0..step.replies.len().max(1) {
            if !matches!(self.receive(name, EXCUSED_WAIT)?, Arrival::Reply(..)) {
                break;
            }
        }
        Ok(())
    }

    fn step_repeatedly(&mut self, step: &Step) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_millis(step.retry_ms);
        let before = self.failures.len();
        loop {
            self.failures.truncate(before);
            if let Some(name) = self.act(step)? {
                self.check(step, &name)?;
            }
            if self.failures.len() == before || Instant::now() > deadline {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn send(&mut self, step: &Step, name: &str, bytes: &[u8]) -> io::Result<()> {
        match self.connection(name)?.client.poll() {
            Ok(None) => {}
            Ok(Some(value)) => {
                let found = format!("{value} from before");
                self.fail(step, step.line, "nothing unread on the connection", found);
            }
            Err(error) if is_closed(&error) => {
                self.fail(step, step.line, "an open connection", error.to_string());
                self.connections.remove(name);
            }
            Err(error) => return Err(error),
        }
        self.connection(name)?.client.send_raw(bytes)
    }

    fn connection(&mut self, name: &str) -> io::Result<&mut Connection> {
        if !self.connections.contains_key(name) {
            let mut client = Client::connect("127.0.0.1", self.server.port())?;
            // A server with a password refuses HELLO; its transcript says it itself.
            let resp3 = self.protocol == Protocol::Resp3 && !client.try_call(&["HELLO", "3"])?.is_error();
            let protocol = if resp3 { Protocol::Resp3 } else { Protocol::Resp2 };
            let connection = Connection { client, protocol, next_protocol: None };
            self.connections.insert(name.to_string(), connection);
        }
        Ok(self.connections.get_mut(name).expect("just inserted"))
    }

    fn bytes(&self, word: &Word) -> Vec<u8> {
        match word {
            Word::Bytes(bytes) => bytes.clone(),
            Word::Variable(name) => {
                self.bound.get(name).cloned().unwrap_or_else(|| format!("${name}").into_bytes())
            }
        }
    }

    /// At the end nothing may be left unread.
    fn expect_silence(&mut self) {
        let Some(last) = self.transcript.steps.last() else { return };
        for (name, mut connection) in std::mem::take(&mut self.connections) {
            if let Ok(Some(value)) = connection.client.poll() {
                self.fail(
                    last,
                    last.line,
                    &format!("nothing more on connection '{name}'"),
                    value.to_string(),
                );
            }
        }
    }

    fn fail(&mut self, step: &Step, line: usize, expected: &str, found: String) {
        let command = self.transcript.lines[step.line - 1].clone();
        let place = format!("{}:{line}", self.transcript.name);
        self.failures.push(Failure { place, command, expected: expected.to_string(), found });
    }
}

/// What came on a connection.
pub(super) enum Arrival {
    /// And the protocol it is written in.
    Reply(Value, Protocol),
    Nothing,
    Closed,
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arrival::Reply(value, _) => match Expected::exactly(value) {
                Some(text) => write!(f, "{text}"),
                None => write!(f, "{value}"),
            },
            Arrival::Nothing => f.write_str("none"),
            Arrival::Closed => f.write_str("closed"),
        }
    }
}

/// What HELLO and RESET make of a connection when they succeed.
fn protocol_after(words: &[Vec<u8>]) -> Option<Protocol> {
    let command = words.first()?.to_ascii_uppercase();
    match (command.as_slice(), words.get(1).map(Vec::as_slice)) {
        (b"RESET", None) | (b"HELLO", Some(b"2")) => Some(Protocol::Resp2),
        (b"HELLO", Some(b"3")) => Some(Protocol::Resp3),
        _ => None,
    }
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

fn short(text: &str) -> String {
    const SHOWN_CHARS: usize = 600;
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((cut, _)) => format!("{}… ({} bytes)", &text[..cut], text.len()),
        None => text.to_string(),
    }
}
