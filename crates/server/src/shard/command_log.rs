//! The logs of one shard: commands that took long, had a large request or a large reply.
//!
//! Owns bounded lists of copies, newest first, and the way of an entry to the shard of its client, which knows the
//! client's address and name. SLOWLOG and COMMANDLOG ask all shards and merge by id. Never on the path of a command
//! that passed no threshold.

use std::collections::VecDeque;

use torc_commands::Flags;
use torc_resp::Args;

use crate::clients::{ClientKey, ClientToken};
use crate::config;
use crate::connection::Connection;
use crate::packet::{Packet, ShardId};
use crate::registry::{Registered, registry};

use super::Shard;

/// Arguments of one entry, and bytes of one argument, that are kept (Redis 7.2's SLOWLOG_ENTRY_MAX_ARGC and
/// SLOWLOG_ENTRY_MAX_STRING).
const ARGUMENTS_MAX: usize = 32;
const ARGUMENT_BYTES_MAX: usize = 128;

/// What stands in the log for a password.
pub(crate) const REDACTED: &[u8] = b"(redacted)";

/// Whose command it is that runs now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub shard: ShardId,
    /// `None`: nobody's.
    pub client: Option<ClientKey>,
}

impl Origin {
    /// In the change stream.
    #[inline]
    pub(super) fn token(self) -> u64 {
        self.client.map_or(0, |client| ClientToken::new(self.shard, client).bits())
    }
}

/// The logs that COMMANDLOG knows; SLOWLOG shows the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    Slow,
    LargeRequest,
    LargeReply,
}

impl LogKind {
    pub const COUNT: usize = 3;
}

/// One command that passed a threshold.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// Ascending over all shards of the process, for each kind of log.
    pub id: u64,
    /// Unix time in seconds.
    pub time_s: i64,
    /// Microseconds or bytes.
    pub value: u64,
    pub args: Vec<Vec<u8>>,
    /// Address and name of the client; empty when it was gone before the entry arrived.
    pub client: (String, Vec<u8>),
}

/// An entry on its way to the shard of its client.
pub struct LogReport {
    client: Option<ClientKey>,
    kind: LogKind,
    entry: LogEntry,
}

/// The newest such commands of the clients of one shard.
#[derive(Default)]
pub struct CommandLogs {
    /// By kind; newest first.
    logs: [VecDeque<LogEntry>; LogKind::COUNT],
    /// Entries of this turn that still lack their client.
    unsettled: Vec<(ShardId, LogReport)>,
}

impl CommandLogs {
    /// Newest first.
    pub fn entries(&self, kind: LogKind) -> &VecDeque<LogEntry> {
        &self.logs[kind as usize]
    }

    pub fn clear(&mut self, kind: LogKind) {
        self.logs[kind as usize].clear();
    }
}

impl Shard {
    /// The client whose command runs now.
    #[inline]
    pub(super) fn origin_of(&self, connection: &Connection) -> Origin {
        Origin { shard: self.home, client: Some(connection.key) }
    }

    /// A request had at least as many bytes as `commandlog-request-larger-than` says.
    #[cold]
    pub(super) fn note_large_request(&mut self, connection: &Connection, bytes: usize, args: Args<'_>) {
        // What was not understood did not run, and what was queued is logged when it runs.
        let Ok(command) = registry().resolve(args) else { return };
        if connection.multi.is_none() && command.spec.arity.accepts(args.len()) {
            self.note_in_log(LogKind::LargeRequest, bytes as u64, command, args);
        }
    }

    /// Note a command that passed a threshold.
    #[cold]
    pub(super) fn note_in_log(&mut self, kind: LogKind, value: u64, command: &Registered, args: Args<'_>) {
        if command.spec.flags.has(Flags::SKIP_SLOWLOG) || self.state.log_len_max(kind) == 0 {
            return;
        }
        let entry = LogEntry {
            id: self.hub.log_id(kind),
            time_s: self.now.unix_ms / 1000,
            value,
            args: shortened(command, args),
            client: Default::default(),
        };
        let Origin { shard, client } = self.acting;
        self.logs.unsettled.push((shard, LogReport { client, kind, entry }));
    }

    /// Bring the entries of this turn to the shards of their clients. While a request is processed its connection is
    /// out of the slab, so this waits until the end of the step.
    #[inline]
    pub fn settle_logs(&mut self) {
        if !self.logs.unsettled.is_empty() {
            self.settle_entries();
        }
    }

    #[cold]
    fn settle_entries(&mut self) {
        for (shard, report) in std::mem::take(&mut self.logs.unsettled) {
            if shard == self.home {
                self.log_report(report);
            } else {
                self.send(shard, Packet::Log(Box::new(report)));
            }
        }
    }

    /// A command of a client of this shard passed a threshold.
    pub(super) fn log_report(&mut self, report: LogReport) {
        let LogReport { client, kind, mut entry } = report;
        if let Some(connection) = client.and_then(|client| self.clients.get(client)) {
            entry.client = (connection.info.address.clone(), connection.name.to_vec());
        }
        let len_max = self.state.log_len_max(kind);
        let log = &mut self.logs.logs[kind as usize];
        // Reports of other shards may be older than the newest entry.
        let at = log.partition_point(|other| other.id > entry.id);
        log.insert(at, entry);
        log.truncate(len_max);
    }
}

/// Copies of the arguments, cut to the bounds, saying how much is missing; passwords are left out.
fn shortened(command: &Registered, args: Args<'_>) -> Vec<Vec<u8>> {
    let kept = if args.len() > ARGUMENTS_MAX { ARGUMENTS_MAX - 1 } else { args.len() };
    let mut list: Vec<Vec<u8>> = args
        .iter()
        .take(kept)
        .enumerate()
        .map(|(index, arg)| {
            if is_secret(command, args, index) {
                return REDACTED.to_vec();
            }
            if arg.len() <= ARGUMENT_BYTES_MAX {
                return arg.to_vec();
            }
            let mut short = arg[..ARGUMENT_BYTES_MAX].to_vec();
            let more = arg.len() - ARGUMENT_BYTES_MAX;
            short.extend_from_slice(format!("... ({more} more bytes)").as_bytes());
            short
        })
        .collect();
    if kept < args.len() {
        list.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    list
}

/// Is this argument a password (or a user's name beside one)?
pub(crate) fn is_secret(command: &Registered, args: Args<'_>, index: usize) -> bool {
    match command.name {
        "auth" => index > 0,
        "hello" => {
            let auth = (1..args.len()).find(|&at| args.is(at, b"AUTH"));
            auth.is_some_and(|auth| index == auth + 1 || index == auth + 2)
        }
        "migrate" => (6..args.len()).take_while(|&at| !args.is(at, b"KEYS")).any(|at| {
            let secrets = if args.is(at, b"AUTH") { 1 } else { 2 * usize::from(args.is(at, b"AUTH2")) };
            (at + 1..=at + secrets).contains(&index)
        }),
        "config|set" => {
            index > 2 && index % 2 == 1 && config::is_secret(&String::from_utf8_lossy(args.get(index - 1)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::registry;
    use torc_resp::split_line;

    #[test]
    fn entries_are_short_and_keep_no_password() {
        let long = "x".repeat(129);
        let many = "a ".repeat(40);
        let cases = [
            ("AUTH me pw".into(), "AUTH (redacted) (redacted)".into()),
            ("HELLO 3 AUTH me pw SETNAME x".into(), "HELLO 3 AUTH (redacted) (redacted) SETNAME x".into()),
            (
                "CONFIG SET requirepass pw timeout 1".into(),
                "CONFIG SET requirepass (redacted) timeout 1".into(),
            ),
            (
                "MIGRATE h 1 k 0 9 COPY AUTH2 me pw KEYS AUTH k".into(),
                "MIGRATE h 1 k 0 9 COPY AUTH2 (redacted) (redacted) KEYS AUTH k".into(),
            ),
            ("MIGRATE h 1 k 0 9 AUTH pw".into(), "MIGRATE h 1 k 0 9 AUTH (redacted)".into()),
            (format!("PING {long}"), format!("PING {}... (1 more bytes)", "x".repeat(128))),
            (format!("PING {many}"), format!("PING {}... (10 more arguments)", "a ".repeat(30))),
        ];
        for (line, expected) in cases as [(String, String); 7] {
            let args = split_line(line.as_bytes()).expect("well quoted");
            let command = registry().resolve(args.as_args()).expect("known");
            let kept: Vec<String> = shortened(command, args.as_args())
                .iter()
                .map(|arg| String::from_utf8_lossy(arg).into_owned())
                .collect();
            assert_eq!(kept.join(" "), expected);
        }
    }
}
