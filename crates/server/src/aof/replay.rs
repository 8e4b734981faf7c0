//! Effects become changes again: one command at a time, on the keyspace of the shard that logged it.
//!
//! Owns the call of handlers while a log is replayed: nothing expires, nobody is told, and chance has no part in it. Never
//! reads a file.

use torc_commands::{Context, DataSettings, REPLAY_MS, Rng, Run, SlotMap, Waiting};
use torc_keyspace::{Changes, Keyspace};
use torc_persist::record::Effect;
use torc_resp::{OwnedArgs, Proto, Reply, ReplyBuf};

use crate::registry::{Route, registry};

/// Replays the effects of one shard's log.
pub(crate) struct Replayer<'a> {
    pub(crate) keyspace: Keyspace,
    settings: &'a DataSettings,
    slots: &'a SlotMap,
    shard: u16,
    changes: Changes,
    rng: Rng,
    args: OwnedArgs,
    reply: ReplyBuf,
    pub(crate) effects: u64,
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
            args: OwnedArgs::new(),
            reply: ReplyBuf::new(),
            effects: 0,
        }
    }

    /// Repeats one effect; what is wrong with it, if it can't be.
    pub(crate) fn apply(&mut self, effect: &Effect<'_>) -> Result<(), String> {
        self.args.clear(usize::MAX);
        effect.words.iter().for_each(|word| self.args.push(word));
        let args = self.args.as_args();
        let name = || String::from_utf8_lossy(effect.words.first().unwrap_or(&&b""[..])).into_owned();
        let command =
            registry().resolve_by_own_name(args).map_err(|error| format!("'{}': {error}", name()))?;
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
        if effect.db as usize >= self.settings.databases {
            return Err("a change in a database that there is not: 'databases' is too small".into());
        }
        if !command.spec.arity.accepts(args.len()) {
            return Err(format!("'{}' with {} words", name(), args.len()));
        }
        let mut context = Context {
            keyspace: &mut self.keyspace,
            db: effect.db as usize,
            now_ms: REPLAY_MS,
            rng: &mut self.rng,
            settings: self.settings,
            changes: &mut self.changes,
            slots: self.slots,
            shard: self.shard,
            no_touch: false,
            key_hint: None,
            waiting: Waiting::Denied,
            others: &mut [],
        };
        self.reply.clear();
        let outcome = handler(&mut context, args, &mut Reply::new(&mut self.reply, Proto::Resp2));
        outcome.map_err(|error| format!("'{}': {error}", name()))?;
        self.keyspace.graveyard.dig(usize::MAX);
        self.effects += 1;
        Ok(())
    }
}
