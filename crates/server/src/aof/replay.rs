//! Effects become changes again: one command at a time, on the keyspace of the shard that logged it.
//!
//! Owns the call of handlers while a log is replayed: nothing expires, nobody is told, and chance has no part in it. Effects are
//! gathered until there are several, so that the memory of all their keys can be asked for before the first is run. Never
//! reads a file.

use std::ops::Range;

use smallvec::SmallVec;
use torc_commands::{Context, DataSettings, Handler, KeyHint, REPLAY_MS, Rng, Run, SlotMap, Waiting};
use torc_datatypes::Entry;
use torc_keyspace::{Changes, Keyspace};
use torc_persist::record::Effect;
use torc_resp::{OwnedArgs, Proto, Reply, ReplyBuf};

use crate::registry::{Registered, Route, registry};
use crate::shard::lookahead::{Near, prefetch_near};

/// Effects that are gathered: about as many as a core can wait for at once (32 were not faster).
const EFFECTS_AHEAD: usize = 16;

/// Replays the effects of one shard's log.
pub(crate) struct Replayer<'a> {
    keyspace: Keyspace,
    settings: &'a DataSettings,
    slots: &'a SlotMap,
    shard: u16,
    changes: Changes,
    rng: Rng,
    gathered: SmallVec<[Gathered; EFFECTS_AHEAD]>,
    /// Their words.
    args: OwnedArgs,
    reply: ReplyBuf,
    effects: u64,
    /// Commands that write nothing have no effect, instead of being an error.
    passes_over_reads: bool,
}

/// Why an effect can't be repeated.
#[derive(Debug)]
pub(super) struct Refused {
    /// Where it is, as whoever handed it over said.
    pub place: u64,
    pub reason: String,
}

/// An effect that has not been run yet.
struct Gathered {
    command: &'static Registered,
    handler: Handler,
    db: usize,
    words: Range<usize>,
    place: u64,
}

impl<'a> Replayer<'a> {
    pub(crate) fn new(
        keyspace: Keyspace,
        settings: &'a DataSettings,
        slots: &'a SlotMap,
        shard: u16,
    ) -> Self {
        Replayer {
            keyspace,
            settings,
            slots,
            shard,
            changes: Changes::default(),
            rng: Rng::new(1),
            gathered: SmallVec::new(),
            args: OwnedArgs::new(),
            reply: ReplyBuf::new(),
            effects: 0,
            passes_over_reads: false,
        }
    }

    /// For the log of another server, in which commands may stand that write nothing.
    pub(super) fn passing_over_reads(self) -> Self {
        Replayer { passes_over_reads: true, ..self }
    }

    /// Repeats one effect, now or together with others that follow; what is wrong with it or with one before, if it
    /// can't be.
    pub(crate) fn apply(&mut self, effect: &Effect<'_>) -> Result<(), String> {
        self.apply_at(effect, 0).map_err(|refused| refused.reason)
    }

    /// The same, for an effect of which an error is to say where it was.
    pub(super) fn apply_at(&mut self, effect: &Effect<'_>, place: u64) -> Result<(), Refused> {
        let before = self.gathered.len();
        self.gather(effect, place).map_err(|reason| Refused { place, reason })?;
        // What has no effect leaves its words behind.
        let is_passed_over = self.gathered.len() == before;
        if is_passed_over || self.gathered.len() == EFFECTS_AHEAD { self.run() } else { Ok(()) }
    }

    fn gather(&mut self, effect: &Effect<'_>, place: u64) -> Result<(), String> {
        let start = self.args.len();
        effect.words.iter().for_each(|word| self.args.push(word));
        let words = start..self.args.len();
        let args = self.args.range(words.clone());
        let name = || String::from_utf8_lossy(effect.words.first().unwrap_or(&&b""[..])).into_owned();
        let command =
            registry().resolve_by_own_name(args).map_err(|error| format!("'{}': {error}", name()))?;
        if self.passes_over_reads && !command.writes() {
            return Ok(());
        }
        let Route::Data(
            Run::OnShard(handler)
            | Run::MayWait { handler, .. }
            | Run::Anywhere { handler, .. }
            | Run::Split { handler, .. }
            | Run::EveryShard { handler, .. },
        ) = command.route
        else {
            return Err(format!("'{}' changes no data", name()));
        };
        let db = effect.db as usize;
        if db >= self.settings.databases {
            return Err("a change in a database that there is not: 'databases' is too small".into());
        }
        if !command.spec.arity.accepts(args.len()) {
            return Err(format!("'{}' with {} words", name(), args.len()));
        }
        self.gathered.push(Gathered { command, handler, db, words, place });
        Ok(())
    }

    /// A key of a snapshot.
    pub(super) fn load(&mut self, db: usize, entry: Entry) -> Result<(), Refused> {
        self.run()?;
        self.keyspace.load(db, entry, REPLAY_MS);
        Ok(())
    }

    /// What all effects have led to, and how many there were.
    pub(crate) fn finish(mut self) -> (Keyspace, Result<u64, String>) {
        let outcome = self.run();
        (self.keyspace, outcome.map(|()| self.effects).map_err(|refused| refused.reason))
    }

    /// Runs what is gathered.
    pub(super) fn run(&mut self) -> Result<(), Refused> {
        let Replayer { keyspace, gathered, args, reply, .. } = self;
        let mut hints = [None; EFFECTS_AHEAD];
        let mut near: SmallVec<[Near<'_>; EFFECTS_AHEAD]> = SmallVec::new();
        for (effect, hint) in gathered.iter().zip(&mut hints) {
            let args = args.range(effect.words.clone());
            let Some(bytes) = effect.command.single_key.and_then(|index| args.opt(index)) else { continue };
            let key = keyspace.key(bytes);
            *hint = Some(KeyHint::of(&key));
            keyspace.prefetch_slot(effect.db, &key);
            near.push(Near { db: effect.db, key, element: effect.command.element_in(args) });
        }
        near.iter().for_each(|near| keyspace.prefetch_line(near.db, &near.key));
        prefetch_near(keyspace, near.iter());
        drop(near);
        for (effect, key_hint) in gathered.drain(..).zip(hints) {
            let mut context = Context {
                keyspace,
                db: effect.db,
                now_ms: REPLAY_MS,
                rng: &mut self.rng,
                settings: self.settings,
                changes: &mut self.changes,
                slots: self.slots,
                shard: self.shard,
                no_touch: false,
                key_hint,
                waiting: Waiting::Denied,
                others: &mut [],
            };
            reply.clear();
            let args = args.range(effect.words);
            let outcome = (effect.handler)(&mut context, args, &mut Reply::new(reply, Proto::Resp2));
            outcome.map_err(|error| Refused {
                place: effect.place,
                reason: format!("'{}': {error}", effect.command.name),
            })?;
            keyspace.graveyard.dig(usize::MAX);
            self.effects += 1;
        }
        args.clear(usize::MAX);
        Ok(())
    }
}
