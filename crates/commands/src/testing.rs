//! Running commands on a bare keyspace in tests: no server, no shards, time set by hand.
//!
//! Every line runs in RESP2 and in RESP3, each on a keyspace of its own, so that writes can be checked in both. Replies
//! are written as they are on the wire, with `\n` for each line end and none behind the last line.

use torc_datatypes::digest::Digest;
use torc_keyspace::{AccessClock, Changes, Class, ExpireReport, Keyspace, Rng, SlotMap};
use torc_resp::{Args, CommandError, OwnedArgs, Proto, Reply, ReplyBuf, split_line};

use crate::families::FAMILIES;
use crate::{Command, Context, DataSettings, Run, Waiting, effects};

/// A keyspace per protocol, with everything else that a handler sees.
pub(crate) struct Bench {
    pub(crate) now_ms: i64,
    pub(crate) db: usize,
    pub(crate) no_touch: bool,
    /// Commands may wait; the reply of one that does reads `waits for a b` (its keys), with the timeout if it has one.
    pub(crate) may_wait: bool,
    pub(crate) settings: DataSettings,
    sides: [Side; 2],
}

struct Side {
    proto: Proto,
    keyspace: Keyspace,
    changes: Changes,
    rng: Rng,
    /// Only ever changed by replaying the effects of what ran on `keyspace`: both must end up the same.
    mirror: Keyspace,
}

impl Bench {
    /// Empty keyspaces at a fixed time; all classes of events (but misses and new keys) are recorded.
    pub(crate) fn new() -> Bench {
        let settings = DataSettings::default();
        let side = |proto| {
            let mut changes = Changes::default();
            changes.listen(Class::ALL);
            changes.effects.switch(true);
            let [keyspace, mirror] = [1, 2].map(|seed| Keyspace::new(seed, settings.databases));
            Side { proto, keyspace, changes, rng: Rng::new(1), mirror }
        };
        let sides = [side(Proto::Resp2), side(Proto::Resp3)];
        Bench { now_ms: 1_700_000_000_000, db: 0, no_touch: false, may_wait: true, settings, sides }
    }

    /// The reply to a line (quoted as in redis-cli). Where a null is expected in RESP2's form, RESP3's is meant too;
    /// other replies that differ between the protocols go to [`Bench::check_both`].
    #[track_caller]
    pub(crate) fn check(&mut self, line: &str, expected: &str) {
        let nulls_of_resp3: Vec<&str> =
            expected.split('\n').map(|line| if matches!(line, "$-1" | "*-1") { "_" } else { line }).collect();
        self.check_both(line, expected, &nulls_of_resp3.join("\n"));
    }

    /// The replies to a line in RESP2 and RESP3.
    #[track_caller]
    pub(crate) fn check_both(&mut self, line: &str, resp2: &str, resp3: &str) {
        let [got2, got3] = self.run(line);
        assert_eq!(got2, resp2, "{line} (RESP2)");
        assert_eq!(got3, resp3, "{line} (RESP3)");
    }

    /// As [`Bench::check`], and the changes that the line made: how many it counted, and its events in the form
    /// `"$ set key"` (class letter, name, key).
    #[track_caller]
    pub(crate) fn check_changes(&mut self, line: &str, expected: &str, dirty: u64, events: &[&str]) {
        let (got_dirty, got_events) = self.changes_of(|bench| bench.check(line, expected));
        assert_eq!(got_events, events, "events of {line}");
        assert_eq!(got_dirty, dirty, "changes counted by {line}");
    }

    /// What `act` changes on the RESP3 side: how many changes it counts, and its events as in [`Bench::check_changes`].
    #[track_caller]
    pub(crate) fn changes_of(&mut self, act: impl FnOnce(&mut Bench)) -> (u64, Vec<String>) {
        let dirty_before = self.sides[1].changes.dirty;
        self.sides[1].changes.take_events();
        act(self);
        let changes = &mut self.sides[1].changes;
        let named = |event: torc_keyspace::Event| {
            format!("{} {} {}", event.class, event.name, String::from_utf8_lossy(event.key()))
        };
        (changes.dirty - dirty_before, changes.take_events().into_iter().map(named).collect())
    }

    /// Runs a line in both protocols and returns both replies.
    #[track_caller]
    pub(crate) fn run(&mut self, line: &str) -> [String; 2] {
        let args = split_line(line.as_bytes()).expect("a test's line is well quoted");
        self.run_args(&args)
    }

    /// Runs a request in both protocols and returns both replies.
    #[track_caller]
    pub(crate) fn run_args(&mut self, args: &OwnedArgs) -> [String; 2] {
        let command = find(args.as_args());
        self.run_command(command, args)
    }

    /// As [`Bench::check`] for a command that is in no family: a subcommand of a container that is the server's.
    #[track_caller]
    pub(crate) fn check_command(&mut self, command: &Command, line: &str, expected: &str) {
        let args = split_line(line.as_bytes()).expect("a test's line is well quoted");
        let [got2, got3] = self.run_command(command, &args);
        assert_eq!(got2, expected, "{line} (RESP2)");
        assert_eq!(got3, if expected == "$-1" { "_" } else { expected }, "{line} (RESP3)");
    }

    /// Runs a request of this command in both protocols and returns both replies.
    #[track_caller]
    pub(crate) fn run_command(&mut self, command: &Command, args: &OwnedArgs) -> [String; 2] {
        let args = args.as_args();
        [0, 1].map(|side| {
            let mut buf = ReplyBuf::new();
            self.call(side, command, args, &mut buf);
            let bytes = buf.to_vec();
            let text: String = match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(binary) => binary.into_bytes().iter().map(|&byte| char::from(byte)).collect(),
            };
            text.strip_suffix("\r\n").expect("a reply ends with a line end").replace("\r\n", "\n")
        })
    }

    /// Sets what both keyspaces keep of the uses of keys.
    pub(crate) fn set_access_clock(&mut self, access_clock: AccessClock) {
        for side in &mut self.sides {
            side.keyspace.set_access_clock(access_clock);
        }
    }

    /// The keyspace of the RESP3 side, to look at what no command shows.
    pub(crate) fn keyspace(&mut self) -> &mut Keyspace {
        &mut self.sides[1].keyspace
    }

    /// One call of active expiry on the RESP3 side.
    pub(crate) fn walk(&mut self) -> ExpireReport {
        let Side { keyspace, changes, mirror, .. } = &mut self.sides[1];
        let report = keyspace.active_expire(self.now_ms, 1_000, changes);
        replay(mirror, changes, &self.settings);
        report
    }

    fn call(&mut self, side: usize, command: &Command, args: Args<'_>, out: &mut ReplyBuf) {
        let slots = SlotMap::even(1);
        let side = &mut self.sides[side];
        let proto = side.proto;
        let mut part = ReplyBuf::new();
        let (handler, fold) = match command.run {
            Run::OnShard(handler)
            | Run::MayWait { handler, .. }
            | Run::Anywhere { handler, .. }
            | Run::Split { handler, .. }
            | Run::ByCursor { handler, .. } => (handler, None),
            Run::EveryShard { handler, fold, .. } => (handler, Some(fold)),
            Run::Container => unreachable!("containers are resolved to a subcommand"),
        };
        let mut context = Context {
            keyspace: &mut side.keyspace,
            db: self.db,
            now_ms: self.now_ms,
            rng: &mut side.rng,
            settings: &self.settings,
            changes: &mut side.changes,
            slots: &slots,
            shard: 0,
            no_touch: self.no_touch,
            key_hint: None,
            waiting: if self.may_wait { Waiting::Allowed } else { Waiting::Denied },
            others: &mut [],
        };
        let mut outcome = Err(CommandError::WrongArity(command.spec.name));
        let dirty_before = context.changes.dirty;
        if command.spec.arity.accepts(args.len()) {
            outcome = handler(&mut context, args, &mut Reply::new(&mut part, proto));
        }
        if outcome.is_ok() {
            effects::complete(&mut context, &command.spec, command.run, args, dirty_before);
        }
        if let Err(error) = outcome {
            assert!(part.is_empty(), "{args:?} wrote a reply and then failed");
            Reply::new(&mut part, proto).error(&error);
        }
        if let Waiting::Wanted(wait) = context.waiting {
            assert!(part.is_empty(), "{args:?} wrote a reply and then waits");
            let request = wait.request.as_ref().map_or(args, |request| request.as_args());
            let keys: Vec<_> = request.range(wait.keys).iter().map(String::from_utf8_lossy).collect();
            let timeout = wait.timeout_ms.map_or(String::new(), |ms| format!(", {ms} ms"));
            let text = format!("waits for {}{timeout}\r\n", keys.join(" "));
            return Reply::new(out, proto).raw(text.as_bytes());
        }
        replay(&mut side.mirror, &mut side.changes, &self.settings);
        match fold {
            None => *out = part,
            Some(fold) => fold(&[part], side.rng.next_u64(), proto, out),
        }
    }
}

/// Runs the effects that were told on the mirror, as a log is replayed: no key expires meanwhile, and chance is another.
#[track_caller]
fn replay(mirror: &mut Keyspace, changes: &mut Changes, settings: &DataSettings) {
    let settings = &settings.for_replay();
    let (slots, mut nothing, mut rng) = (SlotMap::even(1), Changes::default(), Rng::new(99));
    for effect in changes.effects.iter() {
        let mut words = OwnedArgs::new();
        effect.words().for_each(|word| words.push(word));
        let args = words.as_args();
        let command = find(args);
        if let Some(index) = command.spec.single_key() {
            assert_eq!(effect.key(), args.opt(index), "the key of {args:?} decides whose log it goes to");
        }
        let (Run::OnShard(handler)
        | Run::MayWait { handler, .. }
        | Run::Anywhere { handler, .. }
        | Run::Split { handler, .. }
        | Run::EveryShard { handler, .. }) = command.run
        else {
            panic!("{args:?} is no effect");
        };
        let mut context = Context {
            keyspace: &mut *mirror,
            db: effect.db as usize,
            now_ms: 0,
            rng: &mut rng,
            settings,
            changes: &mut nothing,
            slots: &slots,
            shard: 0,
            no_touch: false,
            key_hint: None,
            waiting: Waiting::Denied,
            others: &mut [],
        };
        let outcome = handler(&mut context, args, &mut Reply::new(&mut ReplyBuf::new(), Proto::Resp2));
        assert!(outcome.is_ok(), "the effect {args:?} failed: {outcome:?}");
    }
    changes.effects.clear();
}

/// Every test of a command is one of its effects too.
impl Drop for Bench {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let now_ms = self.now_ms;
        for Side { keyspace, mirror, .. } in &mut self.sides {
            let [there, here] = [mirror, keyspace].map(|keyspace| {
                let mut content = std::collections::BTreeMap::new();
                for db in 0..keyspace.databases() {
                    keyspace.for_each(db, now_ms, &mut Changes::default(), |entry| {
                        let value = (entry.expire_at(), Digest::of_value(entry, now_ms));
                        content.insert((db, entry.key().to_vec()), value);
                    });
                }
                content
            });
            assert_eq!(there, here, "replayed effects (left) lead to other data");
        }
    }
}

fn find(args: Args<'_>) -> &'static Command {
    let named = |commands: &'static [Command], at: usize| {
        commands.iter().find(|command| args.is(at, command.spec.name.as_bytes()))
    };
    let command = FAMILIES.iter().find_map(|family| named(family, 0)).expect("the command exists");
    match command.run {
        Run::Container => named(command.subcommands, 1).expect("the subcommand exists"),
        _ => command,
    }
}
