//! MONITOR: clients that see every command of all clients.
//!
//! A shard knows which shards have such clients. While there are any it takes down the commands of its own clients, in the
//! order in which they ran, and sends the lines of a turn as one packet to each of these shards, which write them to
//! their monitors. A shard that is far behind with that misses lines; a monitor that does not read is closed, as a
//! subscriber would be. Passwords and commands of administrators are not shown. While nobody monitors, no command
//! pays for it.

use std::fmt::Write;
use std::sync::Arc;

use torc_commands::Flags;
use torc_resp::{Args, Proto, Reply, ReplyBuf};

use crate::clients::ClientKey;
use crate::connection::Connection;
use crate::packet::{Packet, ShardId};
use crate::registry::Registered;
use crate::shard::Shard;
use crate::shard::command_log::{REDACTED, is_secret};

/// One shard's part of MONITOR.
#[derive(Default)]
pub struct Monitors {
    /// Monitors of this shard.
    here: Vec<ClientKey>,
    /// The shard of every monitor there is.
    homes: Vec<ShardId>,
    /// Commands of this turn.
    lines: ReplyBuf,
    lines_count: u32,
}

/// MONITOR between shards.
pub enum Message {
    /// Commands that ran, for the monitors of the receiving shard.
    Lines { lines: Arc<ReplyBuf>, count: u32 },
    /// A monitor of the sending shard is gone.
    Ended,
}

impl Shard {
    /// On each shard: a client of shard `home` is about to be a monitor.
    pub(crate) fn monitored_by(&mut self, home: ShardId) {
        self.monitors.homes.push(home);
        self.state.monitored = true;
    }

    /// Every shard knows: the client gets what it sees from now on.
    pub(crate) fn begin_monitoring(&mut self, connection: &mut Connection) {
        connection.flags.monitor = true;
        self.monitors.here.push(connection.key);
    }

    /// RESET, or the end of the connection.
    pub(crate) fn end_monitoring(&mut self, connection: &mut Connection) {
        if !connection.flags.monitor {
            return;
        }
        connection.flags.monitor = false;
        self.monitors.here.retain(|&client| client != connection.key);
        let own = self.id;
        for shard in (0..self.shards() as ShardId).filter(|&shard| shard != own) {
            self.send(shard, Packet::Monitor(Box::new(Message::Ended)));
        }
        self.monitor_gone(own);
    }

    fn monitor_gone(&mut self, home: ShardId) {
        let homes = &mut self.monitors.homes;
        if let Some(index) = homes.iter().position(|&known| known == home) {
            homes.swap_remove(index);
        }
        self.state.monitored = !homes.is_empty();
    }

    /// A command of this connection ran, or runs now.
    #[cold]
    pub(crate) fn show_monitors(&mut self, connection: &Connection, command: &Registered, args: Args<'_>) {
        if command.spec.flags.has(Flags::ADMIN) || command.spec.flags.has(Flags::SKIP_MONITOR) {
            return;
        }
        let line = line_of(self.wall_us(), connection, command, args);
        Reply::new(&mut self.monitors.lines, Proto::Resp2).simple(&line);
        self.monitors.lines_count += 1;
    }

    /// The end of a turn: send what was taken down.
    #[inline]
    pub(crate) fn send_monitored(&mut self) {
        if self.monitors.lines_count > 0 {
            self.send_lines();
        }
    }

    #[cold]
    fn send_lines(&mut self) {
        let count = std::mem::take(&mut self.monitors.lines_count);
        let lines = Arc::new(std::mem::take(&mut self.monitors.lines));
        let mut homes = self.monitors.homes.clone();
        homes.sort_unstable();
        homes.dedup();
        let far_behind = self.pubsub.somebody_is_far_behind();
        for home in homes {
            if home == self.id {
                self.write_to_monitors(&lines);
            } else if !far_behind {
                self.pubsub.count_sent(home, count, lines.len());
                let message = Message::Lines { lines: Arc::clone(&lines), count };
                self.send(home, Packet::Monitor(Box::new(message)));
            }
        }
    }

    pub(crate) fn monitor_message(&mut self, from: ShardId, message: Message) {
        match message {
            Message::Lines { lines, count } => {
                self.write_to_monitors(&lines);
                self.delivered(from, count, lines.len());
            }
            Message::Ended => self.monitor_gone(from),
        }
    }

    fn write_to_monitors(&mut self, lines: &ReplyBuf) {
        for index in 0..self.monitors.here.len() {
            let client = self.monitors.here[index];
            let Some(connection) = self.clients.get_mut(client) else { continue };
            if !connection.flags.closing && !connection.flags.close_after_reply {
                connection.push(|out| out.append(lines));
                self.flush_soon(client);
            }
        }
    }
}

/// `1700000000.123456 [0 127.0.0.1:1001] "set" "k" "v"`.
fn line_of(now_us: i64, connection: &Connection, command: &Registered, args: Args<'_>) -> String {
    let address = &connection.info.address;
    let address = if connection.info.unix_socket {
        let path = address.strip_suffix(":0").unwrap_or(address);
        format!("unix:{path}")
    } else {
        address.clone()
    };
    let (seconds, us) = (now_us / 1_000_000, now_us % 1_000_000);
    let mut line = format!("{seconds}.{us:06} [{} {address}]", connection.db);
    for (index, arg) in args.iter().enumerate() {
        line.push(' ');
        quote(if is_secret(command, args, index) { REDACTED } else { arg }, &mut line);
    }
    line
}

/// In quotes, with everything that is no printable ASCII escaped.
fn quote(bytes: &[u8], line: &mut String) {
    line.push('"');
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => line.extend(['\\', char::from(byte)]),
            b'\n' => line.push_str("\\n"),
            b'\r' => line.push_str("\\r"),
            b'\t' => line.push_str("\\t"),
            0x07 => line.push_str("\\a"),
            0x08 => line.push_str("\\b"),
            b' '..=b'~' => line.push(char::from(byte)),
            _ => write!(line, "\\x{byte:02x}").expect("writing into a String cannot fail"),
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_quoted() {
        let mut line = String::new();
        quote(b"a \"b\"\\\n\r\t\x07\x08\x00\xff~", &mut line);
        assert_eq!(line, r#""a \"b\"\\\n\r\t\a\b\x00\xff~""#);
    }
}
