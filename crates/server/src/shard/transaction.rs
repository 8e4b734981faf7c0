//! The coordinator of commands whose keys live on several shards.
//!
//! Owns a transaction from its plan to its reply: which shard locks what, who has answered, and what is done once all
//! have. Nothing is decided before every participant holds its locks, and no lock is given back before that: so
//! transactions are strictly serializable, and without aborts, because the sequencer gives them one order.
//!
//! Values come to the transaction: for commands that are more than the sum of independent parts, participants hand
//! over the entries of the keys (pointers, not copies), the ordinary single-keyspace handler runs here, and the entries
//! go home with the release. Never waits, never writes to a client while locks are held elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use smallvec::SmallVec;
use torc_commands::{Fold, Run};
use torc_datatypes::Entry;
use torc_keyspace::{Effects, Event, slot_of};
use torc_resp::{Args, CommandError, Mark, OwnedArgs, Reply, ReplyBuf};

use crate::clients::ClientKey;
use crate::connection::{Connection, Suspension};
use crate::locks::{Mode, Scope};
use crate::packet::{
    BellChange, Claim, Granted, Homecoming, Invocation, Packet, PartOfLog, PartResult, Prepare, Release,
    Sequence, ShardId, WaitId, Work,
};
use crate::registry::{Registered, Route};
use crate::saving::SaveJob;
use crate::session::Flow;

use super::Shard;
use super::command_log::Origin;
use super::dispatch::KeyList;

/// Transactions that this shard's connections have under way.
#[derive(Default)]
pub(super) struct Coordinator {
    last_txn: u64,
    pending: HashMap<u64, Transaction>,
    /// TEST ONLY knob of the simulation: act as if every participant had answered after the first one did.
    pub(super) skip_waiting_for_grants: bool,
}

struct Transaction {
    /// Its connection stays until the transaction has ended, even when the client is gone. The server's own have none.
    client: Option<ClientKey>,
    goal: Goal,
    /// Participants, and what each has answered.
    parts: BTreeMap<ShardId, Part>,
    waiting: usize,
    /// Reading of the shard's cycle counter at the start.
    started: u64,
}

struct Part {
    /// Keys that were exported from there.
    keys: Vec<Box<[u8]>>,
    /// For `Fold::Array`: the item numbers that this participant answers.
    items: Vec<usize>,
    result: Option<PartResult>,
}

/// What happens when all participants hold their locks.
enum Goal {
    /// Fold the partial replies of a split command.
    Split { invocation: Invocation, fold: Fold, items: usize },
    /// Fold the replies of all shards.
    Every { invocation: Invocation },
    /// Run one command on the gathered entries.
    Gathered { invocation: Invocation, args: OwnedArgs },
    /// Run one command with all keyspaces at hand.
    Whole { invocation: Invocation, args: OwnedArgs },
    /// EXEC: run the queued commands.
    Exec,
    /// WATCH: nothing left to do but answer.
    Watch,
    /// A step of a session command on the gathered entries.
    Step(Step),
    /// All shards stand still: a snapshot begins.
    Hold,
}

type Step = Box<dyn FnOnce(&mut Shard, &mut Connection) -> Result<Flow, CommandError>>;

/// The shards and scopes of a transaction while it is planned.
#[derive(Default)]
pub(super) struct Plan {
    parts: BTreeMap<ShardId, PlannedPart>,
}

#[derive(Default)]
struct PlannedPart {
    scope: Vec<(u64, Mode)>,
    keys: Vec<Box<[u8]>>,
}

impl Plan {
    pub(super) fn add(&mut self, shard: ShardId, fingerprint: u64, key: Option<&[u8]>, mode: Mode) {
        let part = self.parts.entry(shard).or_default();
        part.scope.push((fingerprint, mode));
        if let Some(key) = key
            && !part.keys.iter().any(|known| &**known == key)
        {
            part.keys.push(key.into());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(super) fn is_only_on(&self, shard: ShardId) -> bool {
        self.parts.keys().all(|&part| part == shard)
    }

    pub(super) fn keys_on(&self, shard: ShardId) -> impl Iterator<Item = (u64, Mode)> + '_ {
        self.parts.get(&shard).into_iter().flat_map(|part| part.scope.iter().copied())
    }
}

impl Shard {
    /// A command whose keys live on several shards.
    pub(super) fn start_multi_shard(
        &mut self,
        connection: &mut Connection,
        command: &'static Registered,
        run: Run,
        args: Args<'_>,
        keys: &KeyList,
        may_wait: bool,
    ) {
        let invocation = Invocation { may_wait, ..self.invocation(connection, command) };
        match run {
            Run::Split { step, fold, .. } if (args.len() - 1).is_multiple_of(step) => {
                self.start_split(connection, invocation, args, step, fold, keys);
            }
            Run::OnShard(_) | Run::MayWait { .. } | Run::Anywhere { .. } | Run::Split { .. } => {
                let plan = self.plan_gather(args, invocation);
                self.begin_attempt(connection, plan, invocation, OwnedArgs::copy_of(&args), None);
            }
            Run::EveryShard { .. } | Run::ByCursor { .. } | Run::Container => {
                unreachable!("these are routed without looking at keys")
            }
        }
    }

    #[inline]
    pub(super) fn invocation(&self, connection: &Connection, command: &'static Registered) -> Invocation {
        Invocation {
            command,
            db: connection.db as u16,
            proto: connection.proto,
            no_touch: connection.flags.no_touch,
            shows_expired: connection.flags.import_source && self.settings.import_mode,
            may_wait: false,
            remembers_reads: connection.flags.remembers_reads && command.reads(),
        }
    }

    fn start_split(
        &mut self,
        connection: &mut Connection,
        invocation: Invocation,
        args: Args<'_>,
        step: usize,
        fold: Fold,
        keys: &KeyList,
    ) {
        struct Share {
            args: OwnedArgs,
            scope: Vec<(u64, Mode)>,
            items: Vec<usize>,
        }
        let mut shares: BTreeMap<ShardId, Share> = BTreeMap::new();
        for (item, &(index, mode)) in keys.iter().enumerate() {
            let key = args.get(index);
            let share = shares.entry(self.slots.owner(slot_of(key))).or_insert_with(|| {
                let mut owned = OwnedArgs::new();
                owned.append(&args.range(0..1));
                Share { args: owned, scope: Vec::new(), items: Vec::new() }
            });
            share.args.append(&args.range(index..index + step));
            share.scope.push((self.fingerprint(key), mode));
            share.items.push(item);
        }
        let each = (fold == Fold::Array).then_some(step);
        let items = keys.len();
        let mut parts = BTreeMap::new();
        let mut prepares = Vec::with_capacity(shares.len());
        let txn = self.next_txn();
        for (shard, share) in shares {
            let work = Work::Part { invocation, args: share.args, each };
            let scope = Scope::Keys(share.scope);
            prepares.push((shard, self.part(Some(connection.key), txn, scope, work)));
            parts.insert(shard, Part { keys: Vec::new(), items: share.items, result: None });
        }
        self.begin(connection, txn, Goal::Split { invocation, fold, items }, parts, prepares);
    }

    /// FLUSHALL, DBSIZE, KEYS, …: every shard, under a lock on all of them.
    pub(super) fn start_every_shard(
        &mut self,
        connection: &mut Connection,
        command: &'static Registered,
        args: Args<'_>,
    ) {
        let Route::Data(Run::EveryShard { writes, .. }) = command.route else {
            unreachable!("routed as an every-shard command");
        };
        let invocation = self.invocation(connection, command);
        let mode = if writes { Mode::Exclusive } else { Mode::Shared };
        let txn = self.next_txn();
        let mut parts = BTreeMap::new();
        let mut prepares = Vec::with_capacity(self.shards());
        for shard in 0..self.shards() as ShardId {
            let work = Work::Every { invocation, args: OwnedArgs::copy_of(&args) };
            prepares.push((shard, self.part(Some(connection.key), txn, Scope::Whole(mode), work)));
            parts.insert(shard, Part { keys: Vec::new(), items: Vec::new(), result: None });
        }
        self.begin(connection, txn, Goal::Every { invocation }, parts, prepares);
    }

    /// Bring the keys of a command here and run it. `wait`: it has waited for them.
    pub(super) fn begin_attempt(
        &mut self,
        connection: &mut Connection,
        plan: Plan,
        invocation: Invocation,
        args: OwnedArgs,
        wait: Option<WaitId>,
    ) {
        self.begin_gather(connection, plan, Goal::Gathered { invocation, args }, None, wait);
    }

    /// Bring the planned keys here, then reach the goal.
    fn begin_gather(
        &mut self,
        connection: &mut Connection,
        plan: Plan,
        goal: Goal,
        watcher: Option<u64>,
        wait: Option<WaitId>,
    ) {
        let txn = self.next_txn();
        let mut parts = BTreeMap::new();
        let mut prepares = Vec::with_capacity(plan.parts.len());
        for (shard, part) in plan.parts {
            let work = Work::Export { keys: part.keys.clone(), watcher, wait };
            let scope = Scope::Keys(part.scope);
            prepares.push((shard, self.part(Some(connection.key), txn, scope, work)));
            parts.insert(shard, Part { keys: part.keys, items: Vec::new(), result: None });
        }
        self.begin(connection, txn, goal, parts, prepares);
    }

    /// EXEC over the planned keys.
    pub(super) fn begin_exec(&mut self, connection: &mut Connection, plan: Plan, watcher: Option<u64>) {
        self.begin_gather(connection, plan, Goal::Exec, watcher, None);
    }

    /// EXEC with commands that look at everything.
    pub(super) fn begin_exec_whole(&mut self, connection: &mut Connection, watcher: Option<u64>) {
        self.begin_whole(connection, Goal::Exec, watcher);
    }

    /// A command that reads keys besides its arguments.
    pub(super) fn start_whole(
        &mut self,
        connection: &mut Connection,
        command: &'static Registered,
        args: Args<'_>,
    ) {
        let goal =
            Goal::Whole { invocation: self.invocation(connection, command), args: OwnedArgs::copy_of(&args) };
        self.begin_whole(connection, goal, None);
    }

    /// Bring all keyspaces here, then reach the goal.
    fn begin_whole(&mut self, connection: &mut Connection, goal: Goal, watcher: Option<u64>) {
        let txn = self.next_txn();
        let mut parts = BTreeMap::new();
        let mut prepares = Vec::new();
        for shard in 0..self.shards() as ShardId {
            let work = Work::ExportWhole { watcher };
            let scope = Scope::Whole(Mode::Exclusive);
            prepares.push((shard, self.part(Some(connection.key), txn, scope, work)));
            parts.insert(shard, Part { keys: Vec::new(), items: Vec::new(), result: None });
        }
        self.begin(connection, txn, goal, parts, prepares);
    }

    /// WATCH: register at the shard of each key, in order with everything else that touches it.
    pub(super) fn begin_watch(&mut self, connection: &mut Connection, plan: Plan, watcher: u64) {
        let txn = self.next_txn();
        let mut parts = BTreeMap::new();
        let mut prepares = Vec::new();
        for (shard, part) in plan.parts {
            let work = Work::Watch { watcher, db: connection.db as u16, keys: part.keys };
            let scope = Scope::Keys(part.scope);
            prepares.push((shard, self.part(Some(connection.key), txn, scope, work)));
            parts.insert(shard, Part { keys: Vec::new(), items: Vec::new(), result: None });
        }
        self.begin(connection, txn, Goal::Watch, parts, prepares);
    }

    fn part(&self, client: Option<ClientKey>, txn: u64, scope: Scope, work: Work) -> Prepare {
        Prepare { coordinator: self.id, txn, client, scope, work, is_sequenced: true }
    }

    /// A step of a session command that needs keys: they are locked and brought here, `step` sees them in this shard's
    /// keyspace, and they go home. The connection is suspended until then. Inside EXEC they stay with it.
    pub fn with_keys(
        &mut self,
        connection: &mut Connection,
        keys: &[Box<[u8]>],
        step: impl FnOnce(&mut Shard, &mut Connection) -> Result<Flow, CommandError> + 'static,
    ) -> Flow {
        if connection.exec.is_some() {
            // They are here already, once EXEC has laid them down to wait.
            let (home, keys) = (self.home, keys.to_vec());
            return self.call_then(
                connection,
                &[home],
                |_| (),
                move |shard, connection, _| shard.with_held_keys(connection, &keys, step),
            );
        }
        let mut plan = Plan::default();
        for key in keys {
            plan.add(self.slots.owner(slot_of(key)), self.fingerprint(key), Some(key), Mode::Exclusive);
        }
        self.begin_gather(connection, plan, Goal::Step(Box::new(step)), None, None);
        Flow::Later
    }

    /// A number that this shard gives once.
    pub(super) fn next_txn(&mut self) -> u64 {
        self.coordinator.last_txn += 1;
        self.coordinator.last_txn
    }

    fn begin(
        &mut self,
        connection: &mut Connection,
        txn: u64,
        goal: Goal,
        parts: BTreeMap<ShardId, Part>,
        prepares: Vec<(ShardId, Prepare)>,
    ) {
        debug_assert_eq!(connection.output.outstanding(), 0, "transactions are barriers");
        connection.suspension = Suspension::Work;
        self.begin_for(Some(connection.key), txn, goal, parts, prepares);
    }

    /// Lock all shards for the server itself. It goes on in `save_has_begun`; [`Shard::end_hold`] ends it.
    pub(super) fn begin_hold(&mut self, job: Option<&Arc<SaveJob>>) -> u64 {
        let txn = self.next_txn();
        let mut parts = BTreeMap::new();
        let mut prepares = Vec::new();
        for shard in 0..self.shards() as ShardId {
            let work = Work::Hold { job: job.map(Arc::clone) };
            prepares.push((shard, self.part(None, txn, Scope::Whole(Mode::Exclusive), work)));
            parts.insert(shard, Part { keys: Vec::new(), items: Vec::new(), result: None });
        }
        self.begin_for(None, txn, Goal::Hold, parts, prepares);
        txn
    }

    /// Let go of all shards; each is given what `home` says.
    pub(super) fn end_hold(&mut self, txn: u64, mut home: impl FnMut(ShardId) -> Homecoming) {
        for shard in 0..self.shards() as ShardId {
            self.release_part(shard, txn, home(shard), BellChange::None, PartOfLog::Nothing);
        }
    }

    fn begin_for(
        &mut self,
        client: Option<ClientKey>,
        txn: u64,
        goal: Goal,
        parts: BTreeMap<ShardId, Part>,
        mut prepares: Vec<(ShardId, Prepare)>,
    ) {
        self.stats.transactions += 1;
        let waiting = parts.len();
        let started = (self.cycles)();
        let transaction = Transaction { client, goal, parts, waiting, started };
        self.coordinator.pending.insert(txn, transaction);
        if prepares.len() == 1 {
            // One participant has one order already.
            let (shard, mut prepare) = prepares.pop().expect("one participant");
            prepare.is_sequenced = false;
            self.send(shard, Packet::Prepare(Box::new(prepare)));
        } else {
            self.send(0, Packet::Sequence(Box::new(Sequence { parts: prepares })));
        }
    }

    /// A participant holds its locks and has done its work.
    pub(super) fn granted(&mut self, granted: Granted) {
        let skip_waiting = self.coordinator.skip_waiting_for_grants;
        let Some(transaction) = self.coordinator.pending.get_mut(&granted.txn) else {
            return self.release_straggler(granted, skip_waiting);
        };
        let part = transaction.parts.get_mut(&granted.shard).expect("an answer comes from a participant");
        part.result = Some(granted.result);
        transaction.waiting -= 1;
        let broken_protocol =
            skip_waiting && !matches!(transaction.goal, Goal::Exec | Goal::Every { .. } | Goal::Hold);
        if transaction.waiting == 0 || broken_protocol {
            let transaction = self.coordinator.pending.remove(&granted.txn).expect("found above");
            self.finish(granted.txn, transaction);
        }
    }

    /// Only the deliberately broken protocol of the simulation finishes before everybody has answered.
    fn release_straggler(&mut self, granted: Granted, skip_waiting: bool) {
        assert!(skip_waiting, "an answer belongs to a transaction that is under way");
        let home = match granted.result {
            PartResult::Entries { entries, .. } => Homecoming::Entries { entries, events: Vec::new() },
            PartResult::Keyspace { keyspace, .. } => Homecoming::Keyspace { keyspace, events: Vec::new() },
            PartResult::Reply { .. } | PartResult::Done => Homecoming::Nothing,
        };
        self.release_part(granted.shard, granted.txn, home, BellChange::None, PartOfLog::Nothing);
    }

    /// Everybody holds their locks: this is the moment at which the transaction happens.
    fn finish(&mut self, txn: u64, transaction: Transaction) {
        let Transaction { client, goal, parts, started, .. } = transaction;
        let Some(client) = client else { return self.all_stand_still(txn) };
        match goal {
            Goal::Hold => unreachable!("no client holds all shards"),
            Goal::Split { invocation, fold, items } => {
                let reply = fold_split(&parts, fold, items, invocation);
                self.count_whole(invocation.command, started, &reply);
                self.release_all(txn, Some(client), parts);
                self.answer(client, reply);
            }
            Goal::Every { invocation } => {
                let Route::Data(Run::EveryShard { fold, .. }) = invocation.command.route else {
                    unreachable!("planned as an every-shard command");
                };
                let mut replies = Vec::with_capacity(parts.len());
                let mut parts = parts;
                for part in parts.values_mut() {
                    if let Some(PartResult::Reply { reply, .. }) = &mut part.result {
                        replies.push(std::mem::take(reply));
                    }
                }
                let mut reply = ReplyBuf::new();
                fold(&replies, self.rng.next_u64(), invocation.proto, &mut reply);
                self.count_whole(invocation.command, started, &reply);
                self.release_all(txn, Some(client), parts);
                self.answer(client, reply);
            }
            Goal::Watch => {
                self.release_all(txn, None, parts);
                let mut reply = ReplyBuf::new();
                Reply::new(&mut reply, torc_resp::Proto::Resp2).ok();
                self.answer(client, reply);
            }
            Goal::Gathered { invocation, args } => {
                self.attempt(client, Gathered::from_parts(txn, client, parts), invocation, args);
            }
            Goal::Whole { invocation, args } => {
                let Route::Data(run) = invocation.command.route else {
                    unreachable!("only data commands look at keyspaces");
                };
                let mut gathered = Gathered::from_parts(txn, client, parts);
                let mut reply = ReplyBuf::new();
                self.acting = Origin { shard: self.home, client: Some(client) };
                self.execute_in_whole(&mut gathered, invocation, run, args.as_args(), &mut reply);
                self.send_home(gathered);
                self.answer(client, reply);
            }
            Goal::Step(step) => {
                let mut gathered = Gathered::from_parts(txn, client, parts);
                self.acting = Origin { shard: self.home, client: Some(client) };
                self.finish_step(client, |shard, connection| {
                    let outcome = shard.with_entries(&mut gathered, |shard| step(shard, connection));
                    shard.send_home(gathered);
                    outcome
                });
            }
            Goal::Exec => self.exec_granted(client, Gathered::from_parts(txn, client, parts)),
        }
    }

    /// Put gathered entries into this shard's keyspace, do something, take out whatever stands there then.
    pub(super) fn with_entries<R>(
        &mut self,
        gathered: &mut Gathered,
        act: impl FnOnce(&mut Shard) -> R,
    ) -> R {
        let local = self.id;
        for part in &mut gathered.parts {
            if part.shard != local || !part.entries.is_empty() {
                self.keyspace.import(std::mem::take(&mut part.entries));
            }
        }
        let (result, events, effects) = self.recorded(act);
        self.by_owner(&effects, local, |owner, effects| gathered.tell(owner, effects));
        for part in &mut gathered.parts {
            if part.shard == local {
                continue;
            }
            for key in &part.keys {
                let key = self.keyspace.key(key);
                self.keyspace.export(&key, &mut part.entries);
            }
        }
        for event in events {
            let owner = self.slots.owner(slot_of(event.key()));
            match gathered.parts.iter_mut().find(|part| part.shard == owner && owner != local) {
                Some(part) => part.events.push(event),
                None => self.changes.keep(&event),
            }
        }
        result
    }

    /// Do something, and take down all that happens to keys meanwhile, and what that amounts to.
    pub(super) fn recorded<R>(&mut self, act: impl FnOnce(&mut Shard) -> R) -> (R, Vec<Event>, Effects) {
        let earlier = self.changes.take_log();
        let recorded_all = self.changes.record_all(true);
        let (result, effects) = self.telling_apart(act);
        self.changes.record_all(recorded_all);
        let events = self.changes.take_events();
        self.changes.swap_log(earlier);
        (result, events, effects)
    }

    /// Give entries (or keyspaces) back and end the transaction.
    pub(super) fn send_home(&mut self, gathered: Gathered) {
        let Gathered { txn, client, parts, .. } = gathered;
        let writers: SmallVec<[ShardId; 8]> =
            parts.iter().filter(|part| !part.effects.is_empty()).map(|part| part.shard).collect();
        let (transaction, settles) = self.plan_log(txn, Some(client), &writers);
        for part in parts {
            let home = match part.keyspace {
                Some(keyspace) => Homecoming::Keyspace { keyspace, events: part.events },
                None => Homecoming::Entries { entries: part.entries, events: part.events },
            };
            let log = if part.effects.is_empty() {
                PartOfLog::Nothing
            } else {
                let transaction = transaction.clone();
                PartOfLog::These { effects: Box::new(part.effects), transaction, settles }
            };
            self.release_part(part.shard, txn, home, part.bell, log);
        }
    }

    fn release_all(&mut self, txn: u64, client: Option<ClientKey>, parts: BTreeMap<ShardId, Part>) {
        let is_writer =
            |part: &Part| matches!(part.result, Some(PartResult::Reply { has_effects: true, .. }));
        let writers: SmallVec<[ShardId; 8]> =
            parts.iter().filter(|(_, part)| is_writer(part)).map(|(&shard, _)| shard).collect();
        let (transaction, settles) = self.plan_log(txn, client, &writers);
        for (shard, part) in parts {
            let log = match is_writer(&part) {
                true => PartOfLog::Held { transaction: transaction.clone(), settles },
                false => PartOfLog::Nothing,
            };
            let home = match part.result {
                Some(PartResult::Entries { entries, .. }) => {
                    Homecoming::Entries { entries, events: Vec::new() }
                }
                Some(_) => Homecoming::Nothing,
                None => continue,
            };
            self.release_part(shard, txn, home, BellChange::None, log);
        }
    }

    fn release_part(&mut self, shard: ShardId, txn: u64, home: Homecoming, bell: BellChange, log: PartOfLog) {
        let release = Release { coordinator: self.id, txn, home, bell, log };
        self.send(shard, Packet::Release(Box::new(release)));
    }

    /// Give a suspended connection its reply and let it go on.
    pub(super) fn answer(&mut self, client: ClientKey, reply: ReplyBuf) {
        let mut connection = self.clients.take(client).expect("a connection outlives what it waits for");
        if !connection.is_muted() {
            let end = reply.mark();
            connection.reply_target().copy_range(&reply, Mark::default(), end);
        }
        self.go_on(&mut connection);
        self.put_back_or_end(connection);
    }

    /// What a connection waited for is over, and its reply is written.
    pub(crate) fn go_on(&mut self, connection: &mut Connection) {
        if self.is_settling(connection.key) {
            connection.suspension = Suspension::Settling;
            return;
        }
        self.account_pending(connection, false, 0);
        connection.suspension = Suspension::None;
        if connection.exec.is_some() {
            return self.exec_continue(connection);
        }
        connection.output.release_later_pushes();
        self.queue_flush(connection);
        self.queue_run(connection);
    }

    /// Make the coordinator wrong on purpose: transactions end as soon as the first participant has answered. For the
    /// test that shows that the simulation's checker would notice.
    pub fn break_transactions_for_test(&mut self) {
        self.coordinator.skip_waiting_for_grants = true;
    }
}

/// Entries or keyspaces that participants handed over.
pub(crate) struct Gathered {
    txn: u64,
    client: ClientKey,
    pub(super) parts: Vec<GatheredPart>,
    pub(super) watch_broken: bool,
}

pub(super) struct GatheredPart {
    pub(super) shard: ShardId,
    keys: Vec<Box<[u8]>>,
    entries: Vec<(usize, Entry)>,
    pub(super) events: Vec<Event>,
    pub(super) keyspace: Option<Box<torc_keyspace::Keyspace>>,
    claim: Claim,
    bell: BellChange,
    /// For its log.
    effects: Effects,
}

impl Gathered {
    fn from_parts(txn: u64, client: ClientKey, parts: BTreeMap<ShardId, Part>) -> Gathered {
        let mut gathered =
            Gathered { txn, client, parts: Vec::with_capacity(parts.len()), watch_broken: false };
        for (shard, part) in parts {
            let (entries, keyspace, broken, claim) = match part.result {
                Some(PartResult::Entries { entries, watch_broken, claim }) => {
                    (entries, None, watch_broken, claim)
                }
                Some(PartResult::Keyspace { keyspace, watch_broken }) => {
                    (Vec::new(), Some(keyspace), watch_broken, Claim::Free)
                }
                Some(PartResult::Reply { .. } | PartResult::Done) => (Vec::new(), None, false, Claim::Free),
                // Only the deliberately broken protocol gets here without an answer.
                None => continue,
            };
            gathered.watch_broken |= broken;
            gathered.parts.push(GatheredPart {
                shard,
                keys: part.keys,
                entries,
                events: Vec::new(),
                keyspace,
                claim,
                bell: BellChange::None,
                effects: Effects::default(),
            });
        }
        gathered
    }

    /// Others have waited for some of the keys, and it is not this command's turn with any of them.
    pub(super) fn comes_later(&self) -> bool {
        let has = |claim| self.parts.iter().any(|part| part.claim == claim);
        has(Claim::Promised) && !has(Claim::Called)
    }

    /// What the participants are told about a command that waits.
    pub(super) fn change_bells(&mut self, mut change: impl FnMut(ShardId, Claim) -> BellChange) {
        for part in &mut self.parts {
            part.bell = change(part.shard, part.claim);
        }
    }

    /// What belongs into the log of shard `owner`, a participant.
    pub(super) fn tell(&mut self, owner: ShardId, effects: &Effects) {
        let part = self.parts.iter_mut().find(|part| part.shard == owner);
        let part = part.expect("a transaction changes keys of its participants");
        effects.iter().for_each(|effect| part.effects.push_copy(effect));
    }

    /// The keyspace that shard `owner` handed over.
    pub(super) fn keyspace(&mut self, owner: ShardId) -> &mut torc_keyspace::Keyspace {
        self.parts[owner as usize].keyspace.as_mut().expect("whole keyspaces were gathered")
    }

    /// All keyspaces but that of shard `home`, by shard.
    pub(super) fn lend_but(&mut self, home: ShardId) -> Vec<Option<Box<torc_keyspace::Keyspace>>> {
        self.parts.iter_mut().map(|part| part.keyspace.take_if(|_| part.shard != home)).collect()
    }

    /// Takes lent keyspaces back.
    pub(super) fn take_back(&mut self, lent: Vec<Option<Box<torc_keyspace::Keyspace>>>) {
        for (part, keyspace) in self.parts.iter_mut().zip(lent) {
            part.keyspace = keyspace.or_else(|| part.keyspace.take());
        }
    }

    /// True when whole keyspaces were handed over instead of single entries.
    pub(super) fn is_whole(&self) -> bool {
        self.parts.iter().any(|part| part.keyspace.is_some())
    }
}

fn fold_split(parts: &BTreeMap<ShardId, Part>, fold: Fold, items: usize, invocation: Invocation) -> ReplyBuf {
    let replies = parts.values().filter_map(|part| match &part.result {
        Some(PartResult::Reply { reply, ends, .. }) => Some((part, reply, ends)),
        _ => None,
    });
    let mut out = ReplyBuf::new();
    // An error of one part (there is none that depends on values today, but a handler may refuse) is the reply.
    if let Some((_, reply, _)) = replies.clone().find(|(_, reply, _)| reply.bytes().first() == Some(&b'-')) {
        out.copy_range(reply, Mark::default(), reply.mark());
        return out;
    }
    match fold {
        Fold::Ok => Reply::new(&mut out, invocation.proto).ok(),
        Fold::Sum => {
            let sum = replies.filter_map(|(_, reply, _)| integer(reply.bytes())).sum();
            Reply::new(&mut out, invocation.proto).int(sum);
        }
        Fold::Array => {
            // The reply of one item is an array of one element, `*1\r\n…`: keep the element.
            const HEADER_BYTES: usize = b"*1\r\n".len();
            let mut places: Vec<Option<(&ReplyBuf, Mark, Mark)>> = vec![None; items];
            for (part, reply, ends) in replies {
                let mut start = Mark::default();
                for (&item, &end) in part.items.iter().zip(ends) {
                    places[item] = Some((reply, start.skip(HEADER_BYTES), end));
                    start = end;
                }
            }
            Reply::new(&mut out, invocation.proto).array(items);
            for place in places {
                match place {
                    Some((reply, start, end)) => out.copy_range(reply, start, end),
                    None => Reply::new(&mut out, invocation.proto).null(),
                }
            }
        }
    }
    out
}

/// The number in `:123\r\n`.
fn integer(reply: &[u8]) -> Option<i64> {
    let digits = reply.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
    torc_resp::number::parse_i64(digits)
}
