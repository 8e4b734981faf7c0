//! A blocking client of a few lines: requests out, replies in, every wait bounded.
//!
//! Never retries, never reconnects, never pipelines by itself: tests want to see exactly what happened.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use torc_resp::{Value, ValueReader};

use crate::raw;

/// How long a reply may take before a test fails; far above what a loaded test machine needs.
pub const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Client {
    stream: Stream,
    reader: ValueReader,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Client {
    pub fn connect(host: &str, port: u16) -> io::Result<Client> {
        let stream = TcpStream::connect((host, port))?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client { stream: Stream::Tcp(stream), reader: ValueReader::new() })
    }

    pub fn connect_unix(path: &Path) -> io::Result<Client> {
        let stream = UnixStream::connect(path)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client { stream: Stream::Unix(stream), reader: ValueReader::new() })
    }

    /// Another handle on the same connection, with a reply reader of its own: one writes, one reads.
    pub fn try_clone(&self) -> io::Result<Client> {
        let stream = match &self.stream {
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone()?),
            Stream::Unix(stream) => Stream::Unix(stream.try_clone()?),
        };
        Ok(Client { stream, reader: ValueReader::new() })
    }

    /// Sends a request and waits for its reply; panics if none comes.
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        match self.try_call(args) {
            Ok(value) => value,
            Err(error) => panic!("no reply to {:?}: {error}", shown(args)),
        }
    }

    /// [`Client::call`] with the words of a line.
    pub fn cmd(&mut self, line: &str) -> Value {
        self.call(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// The reply to a command that answers a bulk string, as text.
    pub fn text(&mut self, line: &str) -> String {
        let reply = self.cmd(line);
        match reply.as_bytes() {
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None => panic!("{line} answered no text: {reply}"),
        }
    }

    /// The reply to a command that answers an integer.
    pub fn int(&mut self, line: &str) -> i64 {
        let reply = self.cmd(line);
        reply.as_int().unwrap_or_else(|| panic!("{line} answered no integer: {reply}"))
    }

    /// The value of a field of INFO.
    pub fn info(&mut self, section: &str, field: &str) -> Option<String> {
        let info = self.text(&format!("INFO {section}"));
        let found = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        found.map(|value| value.trim().to_string())
    }

    pub fn try_call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Value> {
        self.send_raw(&raw::request(args))?;
        self.receive()
    }

    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<()> {
        self.send_raw(&raw::request(args))
    }

    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
        }
    }

    /// The next reply; an error when the connection ends or [`PATIENCE`] runs out.
    pub fn receive(&mut self) -> io::Result<Value> {
        self.receive_within(PATIENCE)?
            .ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, format!("nothing within {PATIENCE:?}")))
    }

    /// The next reply; `None` when none is complete within the limit. A closed connection is an error of the kind
    /// `UnexpectedEof` or `ConnectionReset`.
    pub fn receive_within(&mut self, limit: Duration) -> io::Result<Option<Value>> {
        let deadline = Instant::now() + limit;
        let mut chunk = [0; 64 * 1024];
        loop {
            if let Some(value) = self.reader.next_value().map_err(io::Error::other)? {
                return Ok(Some(value));
            }
            let Some(len) = self.read_before(deadline, &mut chunk)? else { return Ok(None) };
            if len == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
            self.reader.feed(&chunk[..len]);
        }
    }

    /// A reply that has arrived already, without waiting for one.
    pub fn poll(&mut self) -> io::Result<Option<Value>> {
        if let Some(value) = self.reader.next_value().map_err(io::Error::other)? {
            return Ok(Some(value));
        }
        self.set_nonblocking(true)?;
        let polled = self.receive_within(Duration::ZERO);
        self.set_nonblocking(false)?;
        polled
    }

    /// Waits until the server closes; whether it did so within the limit. Replies that still come are dropped.
    pub fn closed_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            match self.receive_within(deadline.saturating_duration_since(Instant::now())) {
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    /// Raw bytes, past the reply reader; 0 at the end of the stream. `None` when none came in time.
    pub fn read_before(&mut self, deadline: Instant, into: &mut [u8]) -> io::Result<Option<usize>> {
        /// A timeout of zero would mean none.
        const SHORTEST: Duration = Duration::from_micros(100);
        let left = deadline.saturating_duration_since(Instant::now()).max(SHORTEST);
        let result = match &mut self.stream {
            Stream::Tcp(stream) => {
                stream.set_read_timeout(Some(left))?;
                stream.read(into)
            }
            Stream::Unix(stream) => {
                stream.set_read_timeout(Some(left))?;
                stream.read(into)
            }
        };
        match result {
            Ok(len) => Ok(Some(len)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match &self.stream {
            Stream::Tcp(stream) => stream.set_nonblocking(nonblocking),
            Stream::Unix(stream) => stream.set_nonblocking(nonblocking),
        }
    }

    /// No more requests will come; replies still may.
    pub fn finish_sending(&mut self) -> io::Result<()> {
        match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// The port on the client's side, as CLIENT LIST shows it.
    pub fn local_port(&self) -> u16 {
        match &self.stream {
            Stream::Tcp(stream) => stream.local_addr().map(|addr| addr.port()).unwrap_or(0),
            Stream::Unix(_) => 0,
        }
    }
}

fn shown<A: AsRef<[u8]>>(args: &[A]) -> String {
    const SHOWN_BYTES: usize = 80;
    let words = args.iter().map(|arg| {
        let arg = arg.as_ref();
        arg[..arg.len().min(SHOWN_BYTES)].escape_ascii().to_string()
    });
    words.collect::<Vec<_>>().join(" ")
}
