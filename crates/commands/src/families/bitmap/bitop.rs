//! BITOP: combining bitmaps.

use bytes::Bytes;
use smallvec::SmallVec;
use torc_datatypes::bitmap::{self, BitOp};
use torc_keyspace::{Class, SetExpire, StrValue};
use torc_resp::{Args, CommandError, Reply};

use crate::families::string::string_at;
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

pub(super) const BITOP: Command = Command {
    spec: Spec {
        name: "bitop",
        arity: Arity::at_least(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::at(2, Access::OW_UPDATE), KeySpec::range(3, -1, 1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "BITOP (AND | OR | XOR | NOT | DIFF | DIFF1 | ANDOR | ONE) destkey key [key ...]",
            summary: "Combines the strings stored at several keys bit by bit and stores the result.",
            since: "2.6.0",
            complexity: "O(N) where N is the length of all strings together",
            group: Group::Bitmap,
            history: &[("8.2.0", "Added the `DIFF`, `DIFF1`, `ANDOR`, and `ONE` operations.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(bitop),
    subcommands: &[],
};

fn bitop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let op = BitOp::from_name(args.get(1)).ok_or(CommandError::Syntax)?;
    check_count(op, args.len() - 3)?;
    let mut sources: SmallVec<[Bytes; 8]> = SmallVec::new();
    for index in 3..args.len() {
        let string = string_at(cx.read(args.get(index)))?;
        sources.push(string.map_or(Bytes::new(), |string| string.to_bytes()));
    }
    let slices: SmallVec<[&[u8]; 8]> = sources.iter().map(|source| &**source).collect();
    let result = bitmap::bitop(op, &slices);
    reply.int(result.len() as i64);
    if result.is_empty() {
        let mut at = cx.at(args.get(2), cx.writing());
        if at.discard() {
            at.changed(Class::GENERIC, "del");
        }
        return Ok(());
    }
    let key = cx.key(args.get(2));
    let value = StrValue::Shared(result.into());
    cx.keyspace.set_string(cx.db, &key, value, SetExpire::Clear, cx.now_ms, cx.changes);
    cx.changed(key.bytes, Class::STRING, "set");
    Ok(())
}

fn check_count(op: BitOp, sources: usize) -> Result<(), CommandError> {
    let too_few = match op {
        BitOp::Not if sources > 1 => {
            return Err(CommandError::Text("ERR BITOP NOT must be called with a single source key."));
        }
        BitOp::Diff => "ERR BITOP DIFF must be called with at least two source keys.",
        BitOp::Diff1 => "ERR BITOP DIFF1 must be called with at least two source keys.",
        BitOp::AndOr => "ERR BITOP ANDOR must be called with at least two source keys.",
        BitOp::And | BitOp::Or | BitOp::Xor | BitOp::Not | BitOp::One => return Ok(()),
    };
    if sources < 2 { Err(CommandError::Text(too_few)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn combines_and_stores() {
        let mut bench = Bench::new();
        bench.check("MSET a abc b A c \"\"", "+OK");
        bench.check_changes("BITOP AND d a a", ":3", 1, &["$ set d"]);
        bench.check("GET d", "$3\nabc");
        for (op, sources, expected) in [
            ("and", "a b", "A\0\0"),
            ("or", "a b", "abc"),
            ("XOR", "a b", " bc"),
            ("OR", "a none", "abc"),
            ("AND", "none a", "\0\0\0"),
            ("DIFF", "a b", " bc"),
            ("DIFF1", "b a", " bc"),
            ("ANDOR", "a b none", "A\0\0"),
            ("ONE", "a b", " bc"),
            ("ONE", "a", "abc"),
            ("OR", "a", "abc"),
        ] {
            bench.check(&format!("BITOP {op} d {sources}"), ":3");
            bench.check("GET d", &format!("$3\n{expected}"));
        }
        bench.check("BITOP NOT d b", ":1");
        bench.check("BITOP NOT d d", ":1");
        bench.check("GET d", "$1\nA");
        bench.check("SET n 12", "+OK");
        bench.check("BITOP OR n n b", ":2");
        bench.check("GET n", "$2\nq2");
    }

    #[test]
    fn an_empty_result_deletes() {
        let mut bench = Bench::new();
        bench.check("MSET d x c \"\"", "+OK");
        bench.check_changes("BITOP AND d none", ":0", 1, &["g del d"]);
        bench.check_changes("BITOP AND d none c", ":0", 0, &[]);
        bench.check("GET d", "$-1");
    }

    #[test]
    fn the_expiry_goes() {
        let mut bench = Bench::new();
        bench.check("SET d x PX 10", "+OK");
        bench.check("BITOP OR d d", ":1");
        bench.now_ms += 20;
        bench.check("GET d", "$1\nx");
    }

    #[test]
    fn errors() {
        let mut bench = Bench::new();
        bench.check("BITOP NAND d a", "-ERR syntax error");
        bench.check("BITOP NOT d a b", "-ERR BITOP NOT must be called with a single source key.");
        for op in ["DIFF", "DIFF1", "ANDOR"] {
            let text = format!("-ERR BITOP {op} must be called with at least two source keys.");
            bench.check(&format!("BITOP {} d a", op.to_lowercase()), &text);
        }
    }
}
