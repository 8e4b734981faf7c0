//! The slow log of one shard: commands that took longer than the threshold.
//!
//! Owns a bounded list of copies, newest first, and the way of an entry to the shard of its client, which knows the
//! client's address and name. SLOWLOG GET asks all shards and merges by id. Never on the path of a command that was
//! fast.

use std::collections::VecDeque;

use torc_commands::Flags;
use torc_resp::Args;

use crate::clients::ClientKey;
use crate::config;
use crate::connection::Connection;
use crate::packet::{Packet, ShardId};
use crate::registry::Registered;

use super::Shard;

/// Arguments of one entry, and bytes of one argument, that are kept (Redis 7.2's SLOWLOG_ENTRY_MAX_ARGC and
/// SLOWLOG_ENTRY_MAX_STRING).
const ARGUMENTS_MAX: usize = 32;
const ARGUMENT_BYTES_MAX: usize = 128;

/// What stands in the log for a password.
const REDACTED: &[u8] = b"(redacted)";

/// Whose command it is that runs now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub shard: ShardId,
    /// `None` for work of a transaction: its coordinator answers for it.
    pub client: Option<ClientKey>,
}

/// One slow command.
#[derive(Clone, Debug)]
pub struct SlowEntry {
    /// Ascending over all shards of the process.
    pub id: u64,
    /// Unix time in seconds.
    pub time_s: i64,
    pub duration_us: u64,
    pub args: Vec<Vec<u8>>,
    /// Address and name of the client; empty when it was gone before the entry arrived.
    pub client: (String, Vec<u8>),
}

/// An entry on its way to the shard of its client.
pub struct SlowReport {
    pub client: Option<ClientKey>,
    pub entry: SlowEntry,
}

/// The newest slow commands of the clients of one shard.
#[derive(Default)]
pub struct SlowLog {
    pub entries: VecDeque<SlowEntry>,
    /// Entries of this turn that still lack their client.
    unsettled: Vec<(Origin, SlowEntry)>,
}

impl Shard {
    /// The client whose command runs now.
    pub(super) fn origin_of(&self, connection: &Connection) -> Origin {
        Origin { shard: self.home, client: Some(connection.key) }
    }

    pub(super) fn note_slow(&mut self, command: &Registered, ns: u64, args: Args<'_>) {
        if command.spec.flags.has(Flags::SKIP_SLOWLOG)
            || self.state.config.commandlog_slow_execution_max_len() == 0
        {
            return;
        }
        let entry = SlowEntry {
            id: self.hub.slow_log_id(),
            time_s: self.now.unix_ms / 1000,
            duration_us: ns / 1000,
            args: shortened(command, args),
            client: Default::default(),
        };
        self.slow_log.unsettled.push((self.acting, entry));
    }

    /// Bring the entries of this turn to the shards of their clients. While a request is processed its connection is
    /// out of the slab, so this waits until the end of the step.
    #[inline]
    pub fn settle_slow_log(&mut self) {
        if !self.slow_log.unsettled.is_empty() {
            self.settle_slow_entries();
        }
    }

    #[cold]
    fn settle_slow_entries(&mut self) {
        for (origin, entry) in std::mem::take(&mut self.slow_log.unsettled) {
            let report = SlowReport { client: origin.client, entry };
            if origin.shard == self.home {
                self.slow_report(report);
            } else {
                self.send(origin.shard, Packet::Slow(Box::new(report)));
            }
        }
    }

    /// A command of a client of this shard was slow.
    pub(super) fn slow_report(&mut self, report: SlowReport) {
        let SlowReport { client, mut entry } = report;
        if let Some(connection) = client.and_then(|client| self.clients.get(client)) {
            entry.client = (connection.info.address.clone(), connection.name.to_vec());
        }
        // Reports of other shards may be older than the newest entry.
        let at = self.slow_log.entries.partition_point(|other| other.id > entry.id);
        self.slow_log.entries.insert(at, entry);
        self.slow_log.entries.truncate(self.state.config.commandlog_slow_execution_max_len());
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
fn is_secret(command: &Registered, args: Args<'_>, index: usize) -> bool {
    match command.name {
        "auth" => index > 0,
        "hello" => {
            let auth = (1..args.len()).find(|&at| args.is(at, b"AUTH"));
            auth.is_some_and(|auth| index == auth + 1 || index == auth + 2)
        }
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
            (format!("PING {long}"), format!("PING {}... (1 more bytes)", "x".repeat(128))),
            (format!("PING {many}"), format!("PING {}... (10 more arguments)", "a ".repeat(30))),
        ];
        for (line, expected) in cases as [(String, String); 5] {
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
