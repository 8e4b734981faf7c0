//! PFADD, PFCOUNT and PFMERGE.

use torc_datatypes::hyperloglog::dense::Registers;
use torc_datatypes::hyperloglog::{Form, Hll, Mark, raise_dense, remember};
use torc_datatypes::value::IntText;
use torc_keyspace::Class;
use torc_resp::{Args, CommandError, Reply};

use super::{corrupt, hll_of, store};
use crate::families::string::edit;
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

pub(super) const PFADD: Command = Command {
    spec: Spec {
        name: "pfadd",
        arity: Arity::at_least(2),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_INSERT)],
        docs: &Docs {
            syntax: "PFADD key [element ...]",
            summary: "Adds elements to a HyperLogLog, which is created if it is missing.",
            since: "2.8.9",
            complexity: "O(1) for each element",
            group: Group::HyperLogLog,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(pfadd),
    subcommands: &[],
};

fn pfadd(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let sparse_bytes_max = cx.settings.encodings.hll_sparse_max_bytes;
    let mut marks = args.from(2).iter().map(Mark::of);
    let mut at = cx.at(args.get(1), cx.writing());
    let mut text = IntText::new();
    let hll = at.entry().map(|entry| hll_of(entry, &mut text)).transpose()?;
    let mut changes = 0;
    if hll.is_some_and(|hll| hll.form() == Form::Dense) {
        changes += edit(&mut at, 0, |bytes| marks.filter(|mark| raise_dense(bytes, *mark)).count());
    } else {
        let mut sparse = match hll {
            None => {
                changes += 1;
                Hll::new()
            }
            // The usual element changes nothing, and then nothing is copied.
            Some(hll) => {
                let first = marks.find_map(|mark| match hll.is_raised_by(mark) {
                    Ok(false) => None,
                    Ok(true) => Some(Ok(mark)),
                    Err(error) => Some(Err(corrupt(error))),
                });
                let Some(first) = first.transpose()? else {
                    reply.int(0);
                    return Ok(());
                };
                let mut own = Hll::from(hll);
                own.raise(first, sparse_bytes_max).map_err(corrupt)?;
                changes += 1;
                own
            }
        };
        for mark in marks {
            changes += usize::from(sparse.raise(mark, sparse_bytes_max).map_err(corrupt)?);
        }
        sparse.forget_estimate();
        store(&mut at, &sparse);
        if sparse.form() == Form::Dense {
            // A setting may have made it so: the elements alone would not.
            at.tell_string();
        }
    }
    if changes > 0 {
        at.changed(Class::STRING, "pfadd");
        at.changed_more(changes as u64 - 1);
    }
    reply.int(i64::from(changes > 0));
    Ok(())
}

pub(super) const PFCOUNT: Command = Command {
    spec: Spec {
        name: "pfcount",
        arity: Arity::at_least(2),
        flags: Flags::READONLY.and(Flags::MAY_REPLICATE),
        keys: &[KeySpec::range(1, -1, 1, Access::RW.and(Access::ACCESS)).with_notes(
            "RW because it may change the internal representation of the key, and propagate to replicas",
        )],
        docs: &Docs {
            syntax: "PFCOUNT key [key ...]",
            summary: "Estimates how many distinct elements were added to the HyperLogLogs of these keys together.",
            since: "2.8.9",
            complexity: "O(1) for one key; O(N) with a large constant where N is the number of keys, if more than one",
            group: Group::HyperLogLog,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(pfcount),
    subcommands: &[],
};

fn pfcount(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let estimate =
        if args.len() == 2 { count_one(cx, args.get(1))? } else { union_of(cx, args)?.0.estimate() };
    reply.int(estimate as i64);
    Ok(())
}

/// The estimate of one HyperLogLog; a new one is written into its header, which is a change of the value.
fn count_one(cx: &mut Context<'_>, key: &[u8]) -> Result<u64, CommandError> {
    let mut at = cx.at(key, cx.reading());
    let Some(entry) = at.entry() else { return Ok(0) };
    let mut text = IntText::new();
    let hll = hll_of(entry, &mut text)?;
    if let Some(estimate) = hll.remembered() {
        return Ok(estimate);
    }
    let estimate = hll.estimate().map_err(corrupt)?;
    edit(&mut at, 0, |bytes| remember(bytes, estimate));
    at.changed_quietly();
    Ok(estimate)
}

/// The registers of all keys together, and whether one of them is dense. Missing keys count as empty.
fn union_of(cx: &mut Context<'_>, args: Args<'_>) -> Result<(Registers, bool), CommandError> {
    let (mut union, mut any_dense) = (Registers::new(), false);
    for key in args.from(1).iter() {
        let Some(entry) = cx.read(key) else { continue };
        let mut text = IntText::new();
        let hll = hll_of(entry, &mut text)?;
        any_dense |= hll.form() == Form::Dense;
        hll.merge_into(&mut union).map_err(corrupt)?;
    }
    Ok((union, any_dense))
}

pub(super) const PFMERGE: Command = Command {
    spec: Spec {
        name: "pfmerge",
        arity: Arity::at_least(2),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[
            KeySpec::at(1, Access::RW_INSERT.and(Access::ACCESS)),
            KeySpec::range(2, -1, 1, Access::RO_ACCESS),
        ],
        docs: &Docs {
            syntax: "PFMERGE destkey:key [sourcekey:key ...]",
            summary: "Adds everything that was added to some HyperLogLogs to another one.",
            since: "2.8.9",
            complexity: "O(N) with a large constant where N is the number of keys",
            group: Group::HyperLogLog,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(pfmerge),
    subcommands: &[],
};

fn pfmerge(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let (union, any_dense) = union_of(cx, args)?;
    let sparse_bytes_max = cx.settings.encodings.hll_sparse_max_bytes;
    let mut at = cx.at(args.get(1), cx.writing());
    let mut text = IntText::new();
    let mut target = match at.entry() {
        Some(entry) => hll_of(entry, &mut text)?.into(),
        None => Hll::new(),
    };
    if any_dense {
        target.make_dense().map_err(corrupt)?;
    }
    target.raise_all(&union, sparse_bytes_max).map_err(corrupt)?;
    store(&mut at, &target);
    // Redis names the event as that of PFADD.
    at.changed(Class::STRING, "pfadd");
    reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn counting() {
        let mut bench = Bench::new();
        bench.check_changes("PFCOUNT k", ":0", 0, &[]);
        bench.check_changes("PFADD k", ":1", 1, &["$ pfadd k"]);
        bench.check_changes("PFADD k", ":0", 0, &[]);
        bench.check_changes("PFADD k a b c a", ":1", 3, &["$ pfadd k"]);
        bench.check_changes("PFADD k a", ":0", 0, &[]);
        bench.check("OBJECT ENCODING k", "$3\nraw");
        bench.check_changes("PFCOUNT k", ":3", 1, &[]);
        bench.check_changes("PFCOUNT k", ":3", 0, &[]);
        bench.check_changes("PFADD new a", ":1", 2, &["$ pfadd new"]);
        bench.run("PEXPIRE k 5000");
        bench.check("PFADD k d e f", ":1");
        bench.check("PTTL k", ":5000");
        bench.check("PFCOUNT k missing new", ":6");
        bench.check("EXISTS missing", ":0");
    }

    /// What is logged leads to the same form, whatever the setting was and is (see the end of [`Bench`]).
    #[test]
    fn forms_under_other_settings() {
        for (bytes_max, others_max) in [(0, 3000), (3000, 0), (40, 20_000)] {
            let mut bench = Bench::new();
            for key in ["k", "other"] {
                bench.settings.encodings.hll_sparse_max_bytes = bytes_max;
                bench.run(&format!("PFADD {key}"));
                bench.run(&format!("PEXPIRE {key} 5000"));
                for element in 0..20 {
                    bench.run(&format!("PFADD {key} {element} x{element}"));
                }
                bench.settings.encodings.hll_sparse_max_bytes = others_max;
                bench.run(&format!("PFADD {key} a b c"));
            }
            bench.run("PFMERGE k other");
        }
    }

    #[test]
    fn merging() {
        let mut bench = Bench::new();
        bench.run("PFADD a 1 2 3");
        bench.run("PFADD b 3 4 5");
        bench.check_changes("PFMERGE c a b missing", "+OK", 1, &["$ pfadd c"]);
        bench.check("PFCOUNT c", ":5");
        bench.check("PFDEBUG ENCODING c", "+sparse");
        bench.run("PFDEBUG TODENSE b");
        bench.check_changes("PFMERGE c b", "+OK", 1, &["$ pfadd c"]);
        bench.check("PFDEBUG ENCODING c", "+dense");
        bench.check("PFCOUNT c", ":5");
        bench.check_changes("PFMERGE new", "+OK", 1, &["$ pfadd new"]);
        bench.check("PFCOUNT new", ":0");
    }

    #[test]
    fn what_is_no_hyperloglog() {
        let mut bench = Bench::new();
        let wrong = "-WRONGTYPE Key is not a valid HyperLogLog string value.";
        bench.run("SET text bar");
        bench.run("SET number 12");
        bench.run("PFADD good a");
        for line in
            ["PFADD text 1", "PFCOUNT number", "PFCOUNT good text", "PFMERGE text good", "PFMERGE x number"]
        {
            bench.check_changes(line, wrong, 0, &[]);
        }
        bench.run("APPEND good hello");
        let corrupt = "-INVALIDOBJ Corrupted HLL object detected";
        for line in ["PFCOUNT good", "PFCOUNT good x", "PFMERGE x good", "PFDEBUG TODENSE good"] {
            bench.check_changes(line, corrupt, 0, &[]);
        }
        bench.run("SET short \"HYLL\\x01...........\\x40\\x00\"");
        bench.check_changes("PFADD short a b c", corrupt, 0, &[]);
    }
}
