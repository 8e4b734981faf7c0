//! SCAN: all keys of a database, a few per call.
//!
//! A cursor names a slot and a place in it, so that it leads to the shard with that slot. When the shard's slots are
//! done, the cursor goes on at the next shard's first slot, and so does the call if it has found too few keys.

use torc_keyspace::{SLOTS, cursor_at_slot, slot_of_cursor};
use torc_resp::{Args, CommandError, Mark, OwnedArgs, Proto, Reply, ReplyBuf, number};

use crate::{
    Arity, Command, Context, Docs, Flags, Group, Run, Spec,
    families::cursor::{ScanOptions, parse_cursor, write_head},
    families::generic::{KEYSPACE, keys::header},
};

/// SCAN
pub const SCAN: Command = Command {
    spec: Spec {
        name: "scan",
        arity: Arity::at_least(2),
        flags: Flags::READONLY.and(Flags::TOUCHES_ARBITRARY_KEYS),
        keys: &[],
        categories: KEYSPACE,
        tips: &["nondeterministic_output", "request_policy:special", "response_policy:special"],
        docs: &Docs {
            syntax: "SCAN cursor:int [MATCH pattern:pattern] [COUNT count:int] [TYPE type]",
            summary: "Walks over the keys of the database, a few per call. Start with cursor 0 and pass the cursor of \
                      each reply on, until it is 0 again.",
            since: "2.8.0",
            complexity: "O(1) per call, O(N) for the whole walk with N the number of keys.",
            group: Group::Generic,
            history: &[("6.0.0", "Keys of one `TYPE` only.")],
            ..Docs::DEFAULT
        },
    },
    run: Run::ByCursor { handler: scan, merge },
    subcommands: &[],
};

fn scan(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let cursor = parse_cursor(args.get(1))?;
    let options = ScanOptions::parse(args, 2, None)?;
    let mut names = ReplyBuf::new();
    let mut found = 0;
    let mut list = Reply::new(&mut names, reply.proto());
    // Expired keys that a filter leaves out are not taken out either (Redis 7.2).
    let next = scan_shard(cx, cursor, options.count, |entry, is_live| {
        let wanted = options.kind.is_none_or(|kind| entry.kind() == kind) && options.matches(entry.key());
        if wanted && is_live {
            list.bulk(entry.key());
            found += 1;
        }
        wanted
    });
    write_head(reply, next, found);
    reply.buf().append(&names);
    Ok(())
}

/// Visits keys of this shard from `cursor` on; returns the cursor to go on with, which may be another shard's.
fn scan_shard(
    cx: &mut Context<'_>,
    cursor: u64,
    count: usize,
    visit: impl FnMut(&torc_datatypes::Entry, bool) -> bool,
) -> u64 {
    // A number that no SCAN replied ends the walk, and is no error.
    let Some(slot) = slot_of_cursor(cursor) else { return 0 };
    if cx.slots.owner(slot) != cx.shard {
        // The cursor was spelled in a way that the router does not read; its plain form will lead to the owner.
        return cursor;
    }
    let end = cx.slots.next_range(slot);
    let slot_end = end.map_or(SLOTS, usize::from);
    cx.keyspace
        .scan_until(cx.db, cursor, slot_end, count, cx.now_ms, cx.changes, visit)
        .unwrap_or_else(|| end.map_or(0, cursor_at_slot))
}

/// The parts of a reply of SCAN on the wire.
struct Parts {
    cursor: u64,
    names: usize,
    /// Where the names begin.
    start: Mark,
}

impl Parts {
    /// `None` for an error, and for nothing.
    fn read(reply: &ReplyBuf) -> Option<Parts> {
        let (_, outer) = header(reply, Mark::default(), b'*')?;
        let (_, bulk) = header(reply, outer, b'$')?;
        let (digits, behind) = reply.line_at(bulk)?;
        let cursor = number::parse_u64(digits)?;
        let (names, start) = header(reply, behind, b'*')?;
        Some(Parts { cursor, names: names as usize, start })
    }
}

/// Adds one shard's names to those of earlier shards. The next shard is asked for as many as are missing.
fn merge(request: Args<'_>, part: &ReplyBuf, proto: Proto, reply: &mut ReplyBuf) -> Option<OwnedArgs> {
    let earlier = Parts::read(reply);
    let Some(here) = Parts::read(part) else {
        reply.clear();
        reply.append(part);
        return None;
    };
    let names = here.names + earlier.as_ref().map_or(0, |earlier| earlier.names);
    let mut merged = ReplyBuf::new();
    write_head(&mut Reply::new(&mut merged, proto), here.cursor, names);
    if let Some(earlier) = earlier {
        merged.copy_range(reply, earlier.start, reply.mark());
    }
    merged.copy_range(part, here.start, part.mark());
    *reply = merged;

    let wanted = ScanOptions::parse(request, 2, None).ok()?.count;
    if here.cursor == 0 || here.names >= wanted {
        return None;
    }
    let mut next = OwnedArgs::new();
    next.push(request.get(0));
    next.push(here.cursor.to_string().as_bytes());
    next.append(&request.from(2));
    // The last COUNT is the one that counts.
    next.push(b"COUNT");
    next.push((wanted - here.names).to_string().as_bytes());
    Some(next)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::testing::Bench;
    use crate::{DataSettings, Waiting};
    use torc_keyspace::{Changes, Keyspace, Rng, SetExpire, SlotMap, StrValue, slot_of};
    use torc_resp::{Proto, Value, split_line};

    #[test]
    fn options_are_checked_in_order() {
        const SYNTAX: &str = "-ERR syntax error";
        const NOT_INTEGER: &str = "-ERR value is not an integer or out of range";
        const NOVALUES: &str = "-ERR NOVALUES option can only be used in HSCAN";
        let mut bench = Bench::new();
        for (rest, expected) in [
            ("a", "-ERR invalid cursor"),
            ("-1", "-ERR invalid cursor"),
            ("1a", "-ERR invalid cursor"),
            ("\"\"", "-ERR invalid cursor"),
            ("+", "-ERR invalid cursor"),
            ("18446744073709551616", "-ERR invalid cursor"),
            ("a COUNT", "-ERR invalid cursor"),
            ("0 COUNT", SYNTAX),
            ("0 COUNT 0", SYNTAX),
            ("0 COUNT -1", SYNTAX),
            ("0 COUNT a", NOT_INTEGER),
            ("0 COUNT 5 COUNT", SYNTAX),
            ("0 MATCH", SYNTAX),
            ("0 MATCH * TYPE", SYNTAX),
            ("0 TYPE foo", "-ERR unknown type name 'foo'"),
            ("0 TYPE foo MATCH", "-ERR unknown type name 'foo'"),
            ("0 foo bar", SYNTAX),
            ("0 NOVALUES", NOVALUES),
            ("0 COUNT 10 novalues", NOVALUES),
            ("0", "*2\n$1\n0\n*0"),
            ("00", "*2\n$1\n0\n*0"),
            ("\" 0\"", "*2\n$1\n0\n*0"),
            ("+0", "*2\n$1\n0\n*0"),
            ("18446744073709551615", "*2\n$1\n0\n*0"),
            ("0 MATCH x COUNT 5 TYPE HASH", "*2\n$1\n0\n*0"),
        ] {
            bench.check(&format!("SCAN {rest}"), expected);
        }
    }

    #[test]
    fn filters() {
        let mut bench = Bench::new();
        bench.run("MSET foo 1 bar 2 gone 3");
        bench.run("PEXPIRE gone 1");
        bench.now_ms += 2;
        // Expired keys that the walk meets are taken out, unless they are filtered out.
        for (rest, expected, left) in [
            ("MATCH f*", "*1\n$3\nfoo", 3),
            ("TYPE list", "*0", 3),
            ("MATCH g*", "*0", 2),
            ("TYPE string MATCH b*", "*1\n$3\nbar", 2),
        ] {
            bench.check(&format!("SCAN 0 COUNT 100 {rest}"), &format!("*2\n$1\n0\n{expected}"));
            assert_eq!(bench.keyspace().len(0), left, "{rest}");
        }
    }

    /// Shards as far as SCAN sees them.
    struct Shards {
        slots: SlotMap,
        keyspaces: Vec<Keyspace>,
        changes: Changes,
        rng: Rng,
    }

    impl Shards {
        fn new(shards: u16) -> Shards {
            let keyspaces = (0..shards).map(|_| Keyspace::new(9, 16)).collect();
            let slots = SlotMap::even(shards);
            Shards { slots, keyspaces, changes: Changes::default(), rng: Rng::new(1) }
        }

        fn set(&mut self, name: &str) {
            let keyspace = &mut self.keyspaces[usize::from(self.slots.owner(slot_of(name.as_bytes())))];
            let key = keyspace.key(name.as_bytes());
            keyspace.set_string(0, &key, StrValue::Int(1), SetExpire::Clear, 0, &mut self.changes);
        }

        fn delete(&mut self, name: &str) {
            let keyspace = &mut self.keyspaces[usize::from(self.slots.owner(slot_of(name.as_bytes())))];
            let key = keyspace.key(name.as_bytes());
            keyspace.remove(0, &key, 0, &mut self.changes);
        }

        /// One call of SCAN, from shard to shard as the server does it. Returns the cursor, the names and the hops.
        fn scan(&mut self, cursor: u64, count: usize) -> (u64, Vec<String>, usize) {
            let line = format!("SCAN {cursor} COUNT {count}");
            let mut request = split_line(line.as_bytes()).unwrap();
            let mut out = ReplyBuf::new();
            let mut hops = 0;
            loop {
                let shard = self.owner(&request);
                let part = self.part(shard, &request);
                hops += 1;
                match merge(request.as_args(), &part, Proto::Resp2, &mut out) {
                    Some(next) if self.owner(&next) != shard => request = next,
                    _ => break,
                }
            }
            let bytes = out.to_vec();
            let mut reader = torc_resp::ValueReader::new();
            reader.feed(&bytes);
            let Ok(Some(Value::Array(mut parts))) = reader.next_value() else { panic!("no array") };
            let Some(Value::Array(names)) = parts.pop() else { panic!("no array of names") };
            let text = |value: Value| match value {
                Value::Bulk(bytes) => String::from_utf8(bytes).unwrap(),
                other => panic!("no bulk: {other}"),
            };
            let next: u64 = text(parts.pop().unwrap()).parse().unwrap();
            assert!(next < 1 << 63);
            (next, names.into_iter().map(text).collect(), hops)
        }

        fn owner(&self, request: &OwnedArgs) -> u16 {
            let cursor = number::parse_u64(request.as_args().get(1)).unwrap();
            slot_of_cursor(cursor).map_or(0, |slot| self.slots.owner(slot))
        }

        fn part(&mut self, shard: u16, request: &OwnedArgs) -> ReplyBuf {
            let mut part = ReplyBuf::new();
            let mut cx = Context {
                keyspace: &mut self.keyspaces[usize::from(shard)],
                db: 0,
                now_ms: 0,
                rng: &mut self.rng,
                settings: &DataSettings::default(),
                changes: &mut self.changes,
                slots: &self.slots,
                shard,
                no_touch: false,
                key_hint: None,
                waiting: Waiting::Denied,
                others: &mut [],
            };
            scan(&mut cx, request.as_args(), &mut Reply::new(&mut part, Proto::Resp2)).unwrap();
            part
        }

        /// A whole walk; `between` runs after each call. Returns the calls, and how often each key was seen.
        fn walk(
            &mut self,
            count: usize,
            mut between: impl FnMut(&mut Shards, usize),
        ) -> (usize, BTreeMap<String, usize>) {
            let (mut cursor, mut calls) = (0, 0);
            let mut seen = BTreeMap::new();
            loop {
                let (next, names, hops) = self.scan(cursor, count);
                assert!(hops <= self.keyspaces.len());
                names.into_iter().for_each(|name| *seen.entry(name).or_default() += 1);
                calls += 1;
                if next == 0 {
                    return (calls, seen);
                }
                cursor = next;
                between(self, calls);
            }
        }
    }

    #[test]
    fn every_key_once_over_all_shards() {
        for shards in [1, 2, 4, 7, 64] {
            let mut all = Shards::new(shards);
            let names: BTreeSet<String> = (0..1_000).map(|id| format!("key:{id}")).collect();
            names.iter().for_each(|name| all.set(name));
            for count in [1, 10, 1_000_000] {
                let (calls, seen) = all.walk(count, |_, _| {});
                assert!(seen.values().all(|&times| times == 1));
                assert!(seen.keys().eq(names.iter()));
                assert!(calls <= 1_000 / count + 1, "{calls} calls of {count}");
            }
        }
    }

    #[test]
    fn few_keys_on_many_shards_take_one_call() {
        let mut all = Shards::new(16);
        let (calls, seen) = all.walk(10, |_, _| {});
        assert_eq!((calls, seen.len()), (1, 0));
        (0..9).for_each(|id| all.set(&format!("key:{id}")));
        let (calls, seen) = all.walk(10, |_, _| {});
        assert_eq!((calls, seen.len()), (1, 9));
    }

    #[test]
    fn a_call_goes_on_for_what_is_missing_only() {
        let mut all = Shards::new(2);
        (0..1_000).for_each(|id| all.set(&format!("key:{id}")));
        let mut cursor = 0;
        loop {
            let (next, names, hops) = all.scan(cursor, 20);
            assert!(names.len() < 20 + 20 && (names.len() >= 20 || next == 0));
            assert!(hops == 1 || names.len() >= 20, "{hops} hops for {} names", names.len());
            if next == 0 {
                break;
            }
            cursor = next;
        }
    }

    /// Keys that are there from the first call to the last are seen, while others come and go by the thousand under one
    /// hash tag (so that one slot's table splits and joins) and everywhere.
    #[test]
    fn keys_that_stay_are_seen_while_tables_grow_split_and_shrink() {
        for growing_first in [true, false] {
            let mut all = Shards::new(3);
            let stay: Vec<String> =
                (0..2_000).map(|id| format!("{}stay:{id}", if id % 2 == 0 { "{tag}" } else { "" })).collect();
            stay.iter().for_each(|name| all.set(name));
            let passing =
                |id: usize| format!("{}passing:{id}", if id.is_multiple_of(4) { "" } else { "{tag}" });
            if !growing_first {
                (0..40_000).for_each(|id| all.set(&passing(id)));
            }
            let (_, seen) = all.walk(20, |all, call| {
                for id in (call * 200)..(call * 200 + 200) {
                    let name = passing(id % 40_000);
                    let growing = growing_first == (id / 40_000 % 2 == 0);
                    if growing { all.set(&name) } else { all.delete(&name) }
                }
            });
            for name in &stay {
                assert!(seen.contains_key(name), "{name} was missed");
            }
        }
    }

    #[test]
    fn a_cursor_that_came_to_the_wrong_shard_is_sent_on() {
        let mut all = Shards::new(2);
        all.set("key");
        let foreign = cursor_at_slot(SLOTS as u16 - 1);
        let shard_of = |all: &Shards| all.slots.owner(slot_of_cursor(foreign).unwrap());
        assert_eq!(shard_of(&all), 1);
        let mut cx = Context {
            keyspace: &mut all.keyspaces[0],
            db: 0,
            now_ms: 0,
            rng: &mut all.rng,
            settings: &DataSettings::default(),
            changes: &mut all.changes,
            slots: &all.slots,
            shard: 0,
            no_touch: false,
            key_hint: None,
            waiting: Waiting::Denied,
            others: &mut [],
        };
        assert_eq!(scan_shard(&mut cx, foreign, 10, |_, _| panic!("nothing to see here")), foreign);
    }
}
