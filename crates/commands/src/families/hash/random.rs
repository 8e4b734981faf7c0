//! HRANDFIELD.

use std::collections::HashSet;

use torc_datatypes::{FieldRef, Hash, StrRef};
use torc_keyspace::Rng;
use torc_resp::{Args, CommandError, Proto, Reply};

use super::hash_at;
use crate::families::string::{write_optional, write_string};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

/// One part of this many of a hash, and less, is drawn field by field; for more, all fields are gathered first.
const DRAWN_SHARE: usize = 3;

pub(super) const HRANDFIELD: Command = Command {
    spec: Spec {
        name: "hrandfield",
        arity: Arity::at_least(2),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "HRANDFIELD key [count:int [WITHVALUES]]",
            summary: "Returns random fields of a hash: distinct ones, or with a negative count each drawn anew.",
            since: "6.2.0",
            complexity: "O(N) where N is the number of fields returned",
            group: Group::Hash,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(hrandfield),
    subcommands: &[],
};

fn hrandfield(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let wanted = if args.len() > 2 { Some(parse_count(args)?) } else { None };
    let key = cx.key(args.get(1));
    let lookup = cx.reading();
    let at_ms = cx.fields_at_ms();
    let entry = cx.keyspace.get(cx.db, &key, cx.now_ms, lookup, cx.changes);
    let hash = hash_at(entry)?;
    let Some((count, with_values)) = wanted else {
        let drawn = hash.and_then(|hash| hash.random(at_ms, |len| cx.rng.index(len)));
        write_optional(reply, drawn.map(|field| field.name));
        return Ok(());
    };
    let hash = hash.filter(|hash| count != 0 && hash.live_len(at_ms) > 0);
    let Some(hash) = hash else {
        reply.array(0);
        return Ok(());
    };
    let number = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let mut out = Fields { reply, with_values };
    if count < 0 {
        draw(hash, number, at_ms, cx.rng, &mut out);
    } else {
        draw_distinct(hash, number, at_ms, cx.rng, &mut out);
    }
    Ok(())
}

/// Reads how many fields are wanted, and whether with their values.
fn parse_count(args: Args<'_>) -> Result<(i64, bool), CommandError> {
    let count = args.int(2)?;
    if count == i64::MIN {
        return Err(CommandError::Text(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ));
    }
    if args.len() == 3 {
        return Ok((count, false));
    }
    if args.len() > 4 || !args.is(3, b"WITHVALUES") {
        return Err(CommandError::Syntax);
    }
    if count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(CommandError::OutOfRange);
    }
    Ok((count, true))
}

/// Fields that may be the same. At least one is alive.
fn draw(hash: &Hash, number: usize, now_ms: i64, rng: &mut Rng, out: &mut Fields<'_, '_>) {
    out.begin(number);
    if hash.is_compact() {
        let all: Vec<FieldRef<'_>> = hash.live(now_ms).collect();
        (0..number).for_each(|_| out.write(&all[rng.index(all.len())]));
        return;
    }
    for _ in 0..number {
        let field = hash.random(now_ms, |len| rng.index(len)).expect("a field is alive");
        out.write(&field);
    }
}

/// Distinct fields, all if there are not more.
fn draw_distinct(hash: &Hash, number: usize, now_ms: i64, rng: &mut Rng, out: &mut Fields<'_, '_>) {
    let live_len = hash.live_len(now_ms);
    if number >= live_len {
        out.begin(live_len);
        hash.live(now_ms).for_each(|field| out.write(&field));
        return;
    }
    out.begin(number);
    if hash.is_compact() || live_len < hash.len() || live_len / DRAWN_SHARE < number {
        let mut all: Vec<FieldRef<'_>> = hash.live(now_ms).collect();
        for index in 0..number {
            let other = index + rng.index(all.len() - index);
            all.swap(index, other);
            out.write(&all[index]);
        }
        return;
    }
    let mut names: HashSet<&[u8]> = HashSet::with_capacity(number);
    while names.len() < number {
        let field = hash.random(now_ms, |len| rng.index(len)).expect("a field is alive");
        let StrRef::Bytes(name) = field.name else { unreachable!("names outside a listpack are bytes") };
        if names.insert(name) {
            out.write(&field);
        }
    }
}

/// Writes fields, or fields with values: in RESP3 each with its value in an array of its own.
struct Fields<'r, 'b> {
    reply: &'r mut Reply<'b>,
    with_values: bool,
}

impl Fields<'_, '_> {
    fn nested(&self) -> bool {
        self.with_values && self.reply.proto() == Proto::Resp3
    }

    fn begin(&mut self, number: usize) {
        let texts = if self.with_values && !self.nested() { 2 } else { 1 };
        self.reply.array(number * texts);
    }

    fn write(&mut self, field: &FieldRef<'_>) {
        if self.nested() {
            self.reply.array(2);
        }
        write_string(self.reply, field.name);
        if self.with_values {
            write_string(self.reply, field.value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::testing::Bench;

    /// The texts of a reply in RESP2.
    fn texts(bench: &mut Bench, line: &str) -> Vec<String> {
        let [reply, _] = bench.run(line);
        reply.lines().skip(2).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn as_many_as_asked_for_and_distinct_unless_negative() {
        for (fields, padding) in [(10, ""), (10, &*"x".repeat(65)), (2_000, "")] {
            let mut bench = Bench::new();
            (0..fields).for_each(|id| drop(bench.run(&format!("HSET h f{id} {id}{padding}"))));
            for wanted in [1, 3, 9, 10, 11, 600, 667, 1_999, 2_000] {
                let drawn = texts(&mut bench, &format!("HRANDFIELD h {wanted}"));
                let distinct: BTreeSet<&String> = drawn.iter().collect();
                assert_eq!((drawn.len(), distinct.len()), (wanted.min(fields), wanted.min(fields)));
                let pairs = texts(&mut bench, &format!("HRANDFIELD h {wanted} WITHVALUES"));
                assert_eq!(pairs.len(), 2 * wanted.min(fields));
                assert!(pairs.chunks(2).all(|pair| pair[1] == format!("{}{padding}", &pair[0][1..])));
                let drawn = texts(&mut bench, &format!("HRANDFIELD h -{wanted}"));
                assert_eq!(drawn.len(), wanted);
            }
        }
    }

    #[test]
    fn every_choice_is_as_likely() {
        let mut bench = Bench::new();
        (0..6).for_each(|id| drop(bench.run(&format!("HSET h {id} {id}"))));
        let mut drawn = std::collections::BTreeMap::new();
        for _ in 0..1_500 {
            let mut two = texts(&mut bench, "HRANDFIELD h 2");
            two.sort();
            *drawn.entry(two).or_insert(0) += 1;
        }
        assert_eq!(drawn.len(), 15);
        assert!(drawn.values().all(|&times| times > 60 && times < 145), "{drawn:?}");
    }

    #[test]
    fn expired_fields_are_not_drawn() {
        let mut bench = Bench::new();
        (0..500).for_each(|id| drop(bench.run(&format!("HSETEX h PX 10 FIELDS 1 {id} x"))));
        bench.run("HSET h stays x");
        bench.now_ms += 11;
        for count in ["3", "-3", "501", ""] {
            let drawn = bench.run(&format!("HRANDFIELD h {count}"));
            assert!(drawn[0].contains("stays"), "{count}: {drawn:?}");
        }
        bench.run("HDEL h stays");
        bench.check("HRANDFIELD h", "$-1");
        bench.check("HRANDFIELD h 3", "*0");
        bench.check("HRANDFIELD h -3 WITHVALUES", "*0");
    }
}
