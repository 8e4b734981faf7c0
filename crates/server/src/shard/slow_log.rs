//! The slow log of one shard: commands that took longer than the threshold.
//!
//! Owns a bounded list of copies, newest first. SLOWLOG GET asks all shards and merges by id. Never on the path of a
//! command that was fast.

use std::collections::VecDeque;

use torc_resp::Args;

use crate::registry::Registered;

use super::Shard;

/// Arguments of one entry, and bytes of one argument, that are kept (Redis 7.2's SLOWLOG_ENTRY_MAX_ARGC and
/// SLOWLOG_ENTRY_MAX_STRING).
const ARGUMENTS_MAX: usize = 32;
const ARGUMENT_BYTES_MAX: usize = 128;

/// One slow command.
#[derive(Clone, Debug)]
pub struct SlowEntry {
    /// Ascending over all shards of the process.
    pub id: u64,
    /// Unix time in seconds.
    pub time_s: i64,
    pub duration_us: u64,
    pub args: Vec<Vec<u8>>,
    /// Address and name of the client; empty when the command came from another shard.
    pub client: (String, Vec<u8>),
}

/// The newest slow commands of one shard.
#[derive(Default)]
pub struct SlowLog {
    pub entries: VecDeque<SlowEntry>,
}

impl SlowLog {
    pub fn push(&mut self, entry: SlowEntry, entries_max: usize) {
        self.entries.push_front(entry);
        self.entries.truncate(entries_max);
    }
}

impl Shard {
    #[cold]
    pub(super) fn note_slow(&mut self, command: &Registered, ns: u64, args: Args<'_>) {
        if command.spec.flags.has(torc_commands::Flags::SKIP_SLOWLOG) {
            return;
        }
        let entry = SlowEntry {
            id: self.hub.slow_log_id(),
            time_s: self.now.unix_ms / 1000,
            duration_us: ns / 1000,
            args: shortened(args),
            client: Default::default(),
        };
        let entries_max = self.state.config.commandlog_slow_execution_max_len();
        self.slow_log.push(entry, entries_max);
    }
}

/// Copies of the arguments, cut to the bounds, saying how much is missing.
fn shortened(args: Args<'_>) -> Vec<Vec<u8>> {
    let kept = if args.len() > ARGUMENTS_MAX { ARGUMENTS_MAX - 1 } else { args.len() };
    let mut list: Vec<Vec<u8>> = args
        .iter()
        .take(kept)
        .map(|arg| {
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
