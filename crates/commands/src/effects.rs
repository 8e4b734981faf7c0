//! What a command that has run leaves for the log, where it has told nothing itself.
//!
//! Owns the rule: a command with one key repeats itself by its own words; one that is split over keys is one effect per
//! item; any other command with several keys leaves, for each key that it may have written, the value that is there now
//! (RESTORE) or none (DEL). So every effect is on one key, or on a whole shard, and can be replayed wherever its key
//! lives. Never decides whether there is a log.

use smallvec::SmallVec;
use torc_datatypes::value::IntText;
use torc_resp::Args;

use crate::families::generic::dump::payload_of;
use crate::{Context, Run, Spec, keys};

/// Completes the effects of a command that has run without an error. `dirty_before`: changes counted before it ran.
pub fn complete(cx: &mut Context<'_>, spec: &Spec, run: Run, args: Args<'_>, dirty_before: u64) {
    if cx.changes.effects.take_told() || cx.changes.dirty == dirty_before {
        return;
    }
    match run {
        Run::EveryShard { .. } => cx.changes.effects.tell_all(cx.db, args.iter(), None),
        Run::Split { step, .. } => {
            for start in (1..args.len()).step_by(step) {
                let words = std::iter::once(args.get(0)).chain((start..start + step).map(|at| args.get(at)));
                cx.changes.effects.tell_all(cx.db, words, Some(1));
            }
        }
        Run::OnShard(_) | Run::MayWait { .. } | Run::Anywhere { .. } => {
            match spec.single_key().and_then(|index| u8::try_from(index).ok()) {
                Some(key_at) => cx.changes.effects.tell_all(cx.db, args.iter(), Some(key_at)),
                None => tell_by_keys(cx, spec, args),
            }
        }
        Run::ByCursor { .. } | Run::Container => unreachable!("only commands that write get here"),
    }
    // What was told now belongs to this command, not to the next one.
    cx.changes.effects.take_told();
}

/// The effects of a command whose keys have to be looked for.
fn tell_by_keys(cx: &mut Context<'_>, spec: &Spec, args: Args<'_>) {
    let mut all: SmallVec<[usize; 4]> = SmallVec::new();
    let mut written: SmallVec<[usize; 4]> = SmallVec::new();
    // PFMERGE with a destination alone is told of as an error by its key specification (as in Redis), but runs.
    let _ = keys::for_each(spec, args, |index, access| {
        all.push(index);
        if !access.reads_only() {
            written.push(index);
        }
    });
    match all.as_slice() {
        [one] if let Ok(key_at) = u8::try_from(*one) => {
            cx.changes.effects.tell_all(cx.db, args.iter(), Some(key_at));
        }
        _ => written.iter().for_each(|&index| tell_value(cx, cx.db, args.get(index))),
    }
}

/// Tells that a key is what it is now: its whole value, or nothing.
pub fn tell_value(cx: &mut Context<'_>, db: usize, bytes: &[u8]) {
    if !cx.changes.effects.is_on() {
        return;
    }
    let key = cx.key(bytes);
    match cx.keyspace.peek(db, &key, cx.now_ms) {
        None => cx.changes.effects.tell(db, &[b"DEL", bytes]),
        Some(entry) => {
            let mut text = IntText::new();
            let expire_at = text.format(entry.expire_at().unwrap_or(0)).as_bytes();
            let payload = payload_of(entry, false);
            cx.changes.effects.tell(db, &[b"RESTORE", bytes, expire_at, &payload, b"REPLACE", b"ABSTTL"]);
        }
    }
}
