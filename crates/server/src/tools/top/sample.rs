//! What `torc top` asks a server, and what it makes of the answers.
//!
//! Owns the connection. Never decides what is shown.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use torc_resp::{Value, ValueReader, encode_command};

use super::Options;

const PATIENCE: Duration = Duration::from_secs(5);
/// Slow commands that are asked for: more than any screen has lines for.
const SLOW_COMMANDS: &str = "64";

pub(super) struct Client {
    stream: TcpStream,
    replies: ValueReader,
}

impl Client {
    pub(super) fn connect(options: &Options) -> io::Result<Client> {
        let stream = TcpStream::connect((options.host.as_str(), options.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut client = Client { stream, replies: ValueReader::new() };
        if let Some(password) = &options.password {
            client.call(&["AUTH", password])?;
        }
        Ok(client)
    }

    fn call(&mut self, args: &[&str]) -> io::Result<Value> {
        let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
        let mut request = Vec::new();
        encode_command(&args, &mut request);
        self.stream.write_all(&request)?;
        let mut part = vec![0; 64 * 1024];
        loop {
            match self.replies.next_value() {
                Ok(Some(Value::Error(text))) => return Err(io::Error::other(text)),
                Ok(Some(value)) => return Ok(value),
                Ok(None) => {}
                Err(error) => return Err(io::Error::other(error.to_string())),
            }
            match self.stream.read(&mut part)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.replies.feed(&part[..count]),
            }
        }
    }

    pub(super) fn sample(&mut self) -> io::Result<Sample> {
        let info = self.call(&["INFO", "everything"])?;
        let slow = self.call(&["SLOWLOG", "GET", SLOW_COMMANDS])?;
        // A server of another kind has no such command.
        let hot = self.call(&["HOTKEYS", "GET"]).unwrap_or(Value::NullArray);
        Ok(Sample {
            at: Instant::now(),
            fields: fields_of(&text_of(&info)),
            slow: slow.elements().unwrap_or_default().iter().filter_map(slow_entry).collect(),
            hot: hot.elements().unwrap_or_default().iter().filter_map(hot_entry).collect(),
        })
    }
}

/// What a server said of itself at one moment.
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) fields: HashMap<String, String>,
    /// Microseconds and arguments.
    pub(super) slow: Vec<(i64, String)>,
    /// Uses per second and key.
    pub(super) hot: Vec<(i64, String)>,
}

fn text_of(value: &Value) -> String {
    value.as_bytes().map_or_else(String::new, |bytes| bytes.escape_ascii().to_string())
}

pub(super) fn fields_of(info: &str) -> HashMap<String, String> {
    let pairs = info.split("\\r\\n").filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn slow_entry(entry: &Value) -> Option<(i64, String)> {
    let entry = entry.elements()?;
    let args: Vec<String> = entry.get(3)?.elements()?.iter().map(text_of).collect();
    Some((entry.get(2)?.as_int()?, args.join(" ")))
}

fn hot_entry(entry: &Value) -> Option<(i64, String)> {
    let fields = entry.elements()?;
    Some((fields.get(5)?.as_int()?, format!("{} (db {})", text_of(fields.get(1)?), fields.get(3)?.as_int()?)))
}

impl Sample {
    pub(super) fn text(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> f64 {
        self.text(name).parse().unwrap_or(0.0)
    }

    /// `part=value,…`
    pub(super) fn part(&self, name: &str, part: &str) -> f64 {
        let parts = self.text(name).split(',').filter_map(|pair| pair.split_once('='));
        parts.filter(|(known, _)| *known == part).find_map(|(_, value)| value.parse().ok()).unwrap_or(0.0)
    }
}
