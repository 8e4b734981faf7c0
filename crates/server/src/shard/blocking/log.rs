//! Waits for the disk (WAITAOF), at the shard of their client.
//!
//! Owns what such a client waits for: how far the logs of all shards were when it asked. A shard whose log has become durable
//! further wakes those where somebody waits, which then look once at all of theirs; so does one that switches the log on or
//! off. Time-outs, CLIENT UNBLOCK and disconnects end these waits like others. A client has one wait at most, so `maxclients`
//! bounds them. Never touches a log.

use std::collections::BTreeMap;

use torc_resp::CommandError;

use crate::aof::{LogMark, Reached};
use crate::clients::ClientKey;
use crate::connection::{BlockedOn, Connection, Suspension};
use crate::session::Flow;
use crate::session::snapshot::answer_waitaof;

use super::super::Shard;
use super::{Ending, UNBLOCKED};

/// The clients of one shard that wait for the disk.
#[derive(Default)]
pub(super) struct LogWaits {
    waits: BTreeMap<u64, LogWait>,
    /// [`crate::aof::Aof::changes`] as of the last look at all of them.
    looked_at: Option<u64>,
}

impl LogWaits {
    pub(super) fn is_empty(&self) -> bool {
        self.waits.is_empty()
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.waits.contains_key(&number)
    }
}

pub(super) struct LogWait {
    client: ClientKey,
    mark: LogMark,
    deadline_us: Option<u64>,
}

impl Shard {
    /// The connection, inside WAITAOF, has its reply when everything before `mark` is durable, or its time is up.
    pub fn wait_for_log(
        &mut self,
        connection: &mut Connection,
        mark: LogMark,
        timeout_ms: Option<u64>,
    ) -> Flow {
        if connection.flags.closing || connection.flags.input_ended {
            // Whoever has closed his sending side will not read the reply either, as Redis sees it.
            connection.suspension = Suspension::None;
            self.close(connection);
            return Flow::Later;
        }
        let number = self.blocking.table.new_number();
        let deadline_us = timeout_ms.map(|ms| self.deadline_us(ms));
        if let Some(deadline_us) = deadline_us {
            self.blocking.table.add_deadline(deadline_us, number);
        }
        let LogWaits { waits, looked_at } = &mut self.blocking.log;
        waits.insert(number, LogWait { client: connection.key, mark, deadline_us });
        // From here on nothing is missed; what has become durable just before is seen at the end of this turn.
        self.process.aof.note_waiting(self.id, waits.len());
        *looked_at = None;
        connection.blocked_on = Some(BlockedOn::Log { number });
        connection.suspension = Suspension::Blocked;
        connection.output.release_later_pushes();
        self.stop_clock_of_pending(connection);
        self.queue_flush(connection);
        Flow::Later
    }

    /// End the waits for what is durable by now, and for a log that was switched off.
    #[inline]
    pub(in crate::shard) fn end_log_waits(&mut self) {
        if !self.blocking.log.is_empty() {
            self.look_at_log_waits();
        }
    }

    #[cold]
    fn look_at_log_waits(&mut self) {
        let aof = &self.process.aof;
        let LogWaits { waits, looked_at } = &mut self.blocking.log;
        let changes = Some(aof.changes());
        if std::mem::replace(looked_at, changes) == changes {
            return;
        }
        let is_over = |wait: &LogWait| aof.reached(&wait.mark) != Reached::NotYet;
        let over = waits.iter().filter(|(_, wait)| is_over(wait)).map(|(&number, _)| number);
        for number in over.collect::<Vec<u64>>() {
            self.end_log_wait(number, None);
        }
    }

    /// Ends a wait, and answers. `ending`: why, if not because of the log.
    pub(super) fn end_log_wait(&mut self, number: u64, ending: Option<Ending>) {
        let Some(LogWait { client, mark, .. }) = self.forget_log_wait(number) else { return };
        self.finish_step(client, move |shard, connection| {
            connection.blocked_on = None;
            shard.start_clock_of_pending(connection);
            if ending == Some(Ending::Unblocked) {
                connection.reply().error_text(UNBLOCKED);
                shard.count_unblocked(connection.pending_command());
                return Ok(Flow::Done);
            }
            match shard.process.aof.reached(&mark) {
                Reached::SwitchedOff => return Err(WITHOUT_LOG),
                reached => answer_waitaof(connection, reached == Reached::Durable),
            }
            Ok(Flow::Done)
        });
    }

    /// A wait is over, or its client gone.
    pub(super) fn forget_log_wait(&mut self, number: u64) -> Option<LogWait> {
        let wait = self.blocking.log.waits.remove(&number)?;
        if let Some(deadline_us) = wait.deadline_us {
            self.blocking.table.remove_deadline(deadline_us, number);
        }
        self.process.aof.note_waiting(self.id, self.blocking.log.waits.len());
        Some(wait)
    }

    /// Clients of other shards may wait for what has just changed about the logs.
    pub(in crate::shard) fn wake_log_waits(&self) {
        if let Some(server) = &self.server {
            self.process
                .aof
                .waiting_shards()
                .filter(|&shard| shard != self.id)
                .for_each(|id| server.wake(id));
        }
    }
}

/// What WAITAOF says where there is no log, or none any more.
pub const WITHOUT_LOG: CommandError =
    CommandError::Text("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");

#[cfg(test)]
mod tests {
    use crate::shard::blocking::tests::{gets, waits};
    use crate::testing::Bench;

    const DURABLE: &str = "*2 :1 :0";
    const NOT_YET: &str = "*2 :0 :0";

    /// Two shards that log, and two clients: of shard 0, who waits, and of shard 1, who acts.
    fn bench() -> Bench {
        let mut bench = Bench::with_shards(2, "--appendonly yes");
        bench.begin_logs();
        bench.shard(0).process.aof.update(|state| state.is_on = true);
        bench.connect();
        bench.switch(0);
        bench
    }

    fn nobody_waits(bench: &mut Bench) -> bool {
        let waiting = bench.shard(0).process.aof.waiting_shards().count();
        waiting == 0 && (0..2).all(|id| bench.shard(id).nobody_waits())
    }

    #[test]
    fn all_shards_are_waited_for() {
        let mut bench = bench();
        // These keys lie on different shards.
        bench.check("MSET a 1 b 2", "+OK");
        bench.check("WAITAOF 0 0 0", NOT_YET);
        waits(&mut bench, "WAITAOF 1 0 0\nPING");
        bench.write_logs(0);
        gets(&mut bench, "");
        bench.check("SET b 3", "+OK");
        bench.write_logs(1);
        gets(&mut bench, &format!("{DURABLE} +PONG"));
        assert!(nobody_waits(&mut bench));
        bench.pass_ms(1000);
        bench.write_logs(0);
        bench.switch(0);
        bench.check("WAITAOF 1 0 0", DURABLE);
        let stats = bench.run("INFO commandstats");
        assert!(stats.contains("cmdstat_waitaof:calls=3,"), "each counts once: {stats}");
    }

    #[test]
    fn these_waits_end_like_others() {
        let mut bench = bench();
        bench.check("SET b 1", "+OK");
        waits(&mut bench, "WAITAOF 1 0 50");
        assert!(bench.run("CLIENT LIST ID 1").contains(" flags=b "));
        assert!(bench.run("INFO clients").contains("blocked_clients:1"));
        bench.pass_ms(49);
        gets(&mut bench, "");
        bench.pass_ms(1);
        gets(&mut bench, NOT_YET);
        waits(&mut bench, "WAITAOF 1 0 50");
        bench.check("CLIENT UNBLOCK 1", ":1");
        gets(&mut bench, NOT_YET);
        waits(&mut bench, "WAITAOF 1 0 0");
        bench.check("CLIENT UNBLOCK 1 ERROR", ":1");
        gets(&mut bench, "-UNBLOCKED client unblocked via CLIENT UNBLOCK");
        bench.check("CLIENT UNBLOCK 1", ":0");
        assert!(nobody_waits(&mut bench));
        // What is left of the first deadlines ends nothing.
        waits(&mut bench, "WAITAOF 1 0 0");
        bench.pass_ms(100);
        gets(&mut bench, "");
        bench.write_logs(0);
        gets(&mut bench, DURABLE);
    }

    #[test]
    fn clients_that_are_gone_leave_nothing() {
        let mut bench = bench();
        bench.check("SET b 1", "+OK");
        waits(&mut bench, "WAITAOF 1 0 1000");
        assert!(!nobody_waits(&mut bench));
        bench.check("CLIENT KILL ID 1", ":1");
        assert!(nobody_waits(&mut bench));
        bench.write_logs(0);
        bench.pass_ms(1000);
        gets(&mut bench, "<closed>");
    }

    #[test]
    fn nobody_waits_in_vain_for_a_log_that_is_off() {
        let mut bench = bench();
        bench.check("SET b 1", "+OK");
        waits(&mut bench, "WAITAOF 1 0 0");
        let off = "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";
        bench.check("CONFIG SET appendonly no", "+OK");
        gets(&mut bench, off);
        bench.check("WAITAOF 1 0 0", off);
        bench.check("WAITAOF 0 0 0", NOT_YET);
        assert!(nobody_waits(&mut bench));
    }

    /// What is in a log without a base would not be loaded.
    #[test]
    fn a_log_that_begins_counts_when_its_base_is_there() {
        let mut bench = bench();
        bench.shard(0).process.aof.update(|state| state.needs_base = true);
        waits(&mut bench, "WAITAOF 1 0 0");
        bench.write_logs(0);
        gets(&mut bench, "");
        bench.shard(0).rewrite_has_ended(None, true);
        bench.settle();
        gets(&mut bench, "");
        bench.shard(0).rewrite_has_ended(Some(0), false);
        bench.settle();
        gets(&mut bench, "");
        bench.shard(0).rewrite_has_ended(Some(0), true);
        bench.settle();
        gets(&mut bench, DURABLE);
    }

    #[test]
    fn a_transaction_does_not_wait() {
        let mut bench = bench();
        bench.check("SET b 1", "+OK");
        bench.check("MULTI\nWAITAOF 1 0 0\nSET b 2\nEXEC", "+OK +QUEUED +QUEUED *2 *2 :0 :0 +OK");
    }

    #[test]
    fn muted_replies_stay_muted() {
        let mut bench = bench();
        bench.check("SET b 1", "+OK");
        waits(&mut bench, "CLIENT REPLY SKIP\nWAITAOF 1 0 0\nPING");
        bench.write_logs(0);
        gets(&mut bench, "+PONG");
    }
}
