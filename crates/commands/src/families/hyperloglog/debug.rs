//! PFDEBUG and PFSELFTEST: what a HyperLogLog looks like inside, and whether the registers work.

use torc_datatypes::hyperloglog::dense::{Registers, is_by_groups, set_by_groups};
use torc_datatypes::hyperloglog::{Form, Hll, HllRef, Mark, REGISTERS};
use torc_datatypes::value::IntText;
use torc_resp::{Args, CommandError, Reply};

use super::{corrupt, hll_of, store};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec, Status};

pub(super) const PFDEBUG: Command = Command {
    spec: Spec {
        name: "pfdebug",
        arity: Arity::exactly(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::ADMIN),
        keys: &[KeySpec::at(2, Access::RW.and(Access::ACCESS))],
        docs: &Docs {
            syntax: "PFDEBUG subcommand key",
            summary: "Shows or changes how a HyperLogLog is kept.",
            since: "2.8.9",
            complexity: "O(1)",
            group: Group::HyperLogLog,
            status: Status::System,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(pfdebug),
    subcommands: &[],
};

fn pfdebug(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    if args.is(1, b"SIMD") {
        match (args.is(2, b"ON"), args.is(2, b"OFF")) {
            (false, false) => return Err(CommandError::Text("ERR Argument must be ON or OFF")),
            (on, _) => set_by_groups(on),
        }
        reply.simple(if is_by_groups() { "enabled" } else { "disabled" });
        return Ok(());
    }
    let mut at = cx.at(args.get(2), cx.writing());
    let entry = at.entry().ok_or(CommandError::Text("ERR The specified key does not exist"))?;
    let mut text = IntText::new();
    let hll = hll_of(entry, &mut text)?;
    let is_sparse = hll.form() == Form::Sparse;
    if args.is(1, b"GETREG") || args.is(1, b"TODENSE") {
        let mut registers = Registers::new();
        hll.merge_into(&mut registers).map_err(corrupt)?;
        if is_sparse {
            let mut dense = Hll::from(hll);
            dense.make_dense().map_err(corrupt)?;
            store(&mut at, &dense);
            at.changed_more(1);
        }
        if args.is(1, b"TODENSE") {
            reply.int(i64::from(is_sparse));
        } else {
            reply.array(REGISTERS);
            registers.values().iter().for_each(|&value| reply.int(i64::from(value)));
        }
    } else if args.is(1, b"DECODE") {
        let runs = hll.runs_text().ok_or(CommandError::Text("ERR HLL encoding is not sparse"))?;
        reply.bulk(runs.as_bytes());
    } else if args.is(1, b"ENCODING") {
        reply.simple(if is_sparse { "sparse" } else { "dense" });
    } else {
        let name = String::from_utf8_lossy(args.get(1));
        return Err(CommandError::Owned(format!("ERR Unknown PFDEBUG subcommand '{name}'").into()));
    }
    Ok(())
}

pub(super) const PFSELFTEST: Command = Command {
    spec: Spec {
        name: "pfselftest",
        arity: Arity::exactly(1),
        flags: Flags::ADMIN,
        docs: &Docs {
            syntax: "PFSELFTEST",
            summary: "Tests the registers of HyperLogLogs and the error of their estimates.",
            since: "2.8.9",
            complexity: "O(N) where N is the number of elements that the test adds",
            group: Group::HyperLogLog,
            status: Status::System,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(pfselftest),
    subcommands: &[],
};

/// Elements that the self test adds.
const TEST_ELEMENTS: u64 = 1_000_000;
/// Redis's standard error of an estimate.
const STANDARD_ERROR: f64 = 1.04 / 128.0;

fn pfselftest(cx: &mut Context<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let failed = |text: String| CommandError::Owned(format!("ERR TESTFAILED {text}").into());
    let sparse_bytes_max = cx.settings.encodings.hll_sparse_max_bytes;
    let (mut sparse, mut dense, mut plain) = (Hll::new(), Hll::new(), vec![0u8; REGISTERS]);
    dense.make_dense().map_err(corrupt)?;
    let (seed, mut checkpoint) = (cx.rng.next_u64(), 1);
    for number in 1..=TEST_ELEMENTS {
        let mark = Mark::of(&(number ^ seed).to_le_bytes());
        plain[mark.index()] = plain[mark.index()].max(mark.rank());
        sparse.raise(mark, sparse_bytes_max).map_err(corrupt)?;
        dense.raise(mark, sparse_bytes_max).map_err(corrupt)?;
        if number != checkpoint {
            continue;
        }
        checkpoint *= 10;
        let estimates = [&sparse, &dense].map(|hll| estimate_checked(hll, &plain));
        let [Some(of_sparse), Some(of_dense)] = estimates else {
            return Err(failed("Registers do not hold what was put into them".into()));
        };
        if of_sparse != of_dense {
            return Err(failed("dense/sparse disagree".into()));
        }
        // Two of ten elements share a register now and then.
        let error_max = if number == 10 { 1 } else { (STANDARD_ERROR * 6.0 * number as f64).ceil() as u64 };
        let error = of_dense.abs_diff(number);
        if error > error_max {
            return Err(failed(format!("Too big error. card:{number} abserr:{error}")));
        }
    }
    reply.ok();
    Ok(())
}

/// The estimate, if the registers are these.
fn estimate_checked(hll: &Hll, plain: &[u8]) -> Option<u64> {
    let hll = HllRef::of(hll.as_bytes())?;
    let mut registers = Registers::new();
    hll.merge_into(&mut registers).ok()?;
    let estimate = hll.estimate().ok()?;
    (registers.values().as_slice() == plain).then_some(estimate)
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn debugging() {
        let mut bench = Bench::new();
        bench.check("PFDEBUG ENCODING k", "-ERR The specified key does not exist");
        bench.run("PFADD k a b c");
        bench.check("PFDEBUG decode k", "$44\nZ:8436 v:1,1 Z:4274 v:2,1 Z:3068 v:1,1 Z:603");
        bench.check_changes("PFDEBUG TODENSE k", ":1", 1, &[]);
        bench.check_changes("PFDEBUG TODENSE k", ":0", 0, &[]);
        bench.check("PFDEBUG DECODE k", "-ERR HLL encoding is not sparse");
        bench.check("PFDEBUG FOO k", "-ERR Unknown PFDEBUG subcommand 'FOO'");
        bench.check("PFDEBUG SIMD maybe", "-ERR Argument must be ON or OFF");
        bench.check("PFDEBUG SIMD on", "+enabled");
        let [registers, _] = bench.run("PFDEBUG GETREG k");
        assert_eq!(registers.matches("\n:").count(), 16_384);
        assert_eq!(registers.matches("\n:1\n").count(), 2);
    }

    #[test]
    fn self_test() {
        let mut bench = Bench::new();
        bench.check("PFSELFTEST", "+OK");
    }
}
