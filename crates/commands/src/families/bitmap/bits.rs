//! Single bits and runs of them: SETBIT, GETBIT, BITCOUNT and BITPOS.

use torc_datatypes::bitmap;
use torc_datatypes::value::IntText;
use torc_keyspace::Class;
use torc_resp::{Args, CommandError, Reply};

use super::offset_from;
use crate::families::string::{clamp_range, edit, string_at};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

pub(super) const SETBIT: Command = Command {
    spec: Spec {
        name: "setbit",
        arity: Arity::exactly(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::at(1, Access::RW_ACCESS_UPDATE)],
        docs: &Docs {
            syntax: "SETBIT key offset:int value:int",
            summary: "Sets or clears one bit of the string stored at a key, which grows as needed.",
            since: "2.2.0",
            complexity: "O(1), plus what the string grows by",
            group: Group::Bitmap,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(setbit),
    subcommands: &[],
};

fn setbit(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let offset = offset_from(args.get(2), 1, cx.settings.max_string_bytes)?;
    let bit = match args.get(3) {
        b"0" => false,
        b"1" => true,
        _ => return Err(CommandError::BitValue),
    };
    let mut at = cx.at(args.get(1), cx.writing());
    let mut text = IntText::new();
    let bytes = string_at(at.entry())?.map(|string| string.as_bytes(&mut text)).unwrap_or_default();
    let len_min = (offset / 8) as usize + 1;
    let old = bitmap::get_bit(bytes, offset);
    if old != bit || bytes.len() < len_min {
        edit(&mut at, len_min, |bytes| bitmap::set_bit(bytes, offset, bit));
        at.changed(Class::STRING, "setbit");
    }
    reply.int(i64::from(old));
    Ok(())
}

pub(super) const GETBIT: Command = Command {
    spec: Spec {
        name: "getbit",
        arity: Arity::exactly(3),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "GETBIT key offset:int",
            summary: "Returns one bit of the string stored at a key; bits beyond its end are clear.",
            since: "2.2.0",
            complexity: "O(1)",
            group: Group::Bitmap,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(getbit),
    subcommands: &[],
};

fn getbit(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let offset = offset_from(args.get(2), 1, cx.settings.max_string_bytes)?;
    let string = string_at(cx.read(args.get(1)))?;
    let bit = string.is_some_and(|string| bitmap::get_bit(string.as_bytes(&mut IntText::new()), offset));
    reply.int(i64::from(bit));
    Ok(())
}

pub(super) const BITCOUNT: Command = Command {
    spec: Spec {
        name: "bitcount",
        arity: Arity::at_least(2),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "BITCOUNT key [start:int [end:int [BYTE | BIT]]]",
            summary: "Counts the set bits of the string stored at a key, or of a part of it.",
            since: "2.6.0",
            complexity: "O(N) where N is the length of the part",
            group: Group::Bitmap,
            history: &[
                ("7.0.0", "Added the `BYTE|BIT` option."),
                (
                    "8.0.0",
                    "`end` made optional; when called without argument the command reports the last BYTE.",
                ),
            ],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(bitcount),
    subcommands: &[],
};

fn bitcount(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let part = Part::parse(args, 2)?;
    let string = string_at(cx.read(args.get(1)))?;
    let count = string.map_or(0, |string| {
        let mut text = IntText::new();
        let bytes = string.as_bytes(&mut text);
        match part.bits_of(bytes) {
            Some((first, last)) => bitmap::bitcount_bits(bytes, first, last),
            None => 0,
        }
    });
    reply.int(count as i64);
    Ok(())
}

pub(super) const BITPOS: Command = Command {
    spec: Spec {
        name: "bitpos",
        arity: Arity::at_least(3),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "BITPOS key bit:int [start:int [end:int [BYTE | BIT]]]",
            summary: "Finds the first set or clear bit of the string stored at a key, or of a part of it.",
            since: "2.8.7",
            complexity: "O(N) where N is the length of the part",
            group: Group::Bitmap,
            history: &[("7.0.0", "Added the `BYTE|BIT` option.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(bitpos),
    subcommands: &[],
};

fn bitpos(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let bit = match args.int(2)? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::BitArgument),
    };
    let part = Part::parse(args, 3)?;
    let position = match string_at(cx.read(args.get(1)))? {
        // A missing key is one endless run of clear bits.
        None if bit => None,
        None => Some(0),
        Some(string) => {
            let mut text = IntText::new();
            let bytes = string.as_bytes(&mut text);
            part.bits_of(bytes).and_then(|(first, last)| {
                let found = bitmap::bitpos(bytes, bit, first, last);
                // Without an end, clear bits go on behind the string.
                let behind = (!bit && part.end.is_none()).then(|| bytes.len() as u64 * 8);
                found.or(behind)
            })
        }
    };
    reply.int(position.map_or(-1, |position| position as i64));
    Ok(())
}

/// A part of a string: `[start [end [BYTE | BIT]]]`.
struct Part {
    start: i64,
    end: Option<i64>,
    /// Positions are bits, not bytes.
    in_bits: bool,
}

impl Part {
    fn parse(args: Args<'_>, from: usize) -> Result<Part, CommandError> {
        let mut part = Part { start: 0, end: None, in_bits: false };
        if args.len() > from + 3 {
            return Err(CommandError::Syntax);
        }
        if args.len() > from {
            part.start = args.int(from)?;
        }
        // The unit is looked at before the end, as in Redis.
        if args.len() > from + 2 {
            part.in_bits = args.is(from + 2, b"BIT");
            if !part.in_bits && !args.is(from + 2, b"BYTE") {
                return Err(CommandError::Syntax);
            }
        }
        if args.len() > from + 1 {
            part.end = Some(args.int(from + 1)?);
        }
        Ok(part)
    }

    /// First and last bit position in `bytes`; `None` if the part is empty.
    fn bits_of(&self, bytes: &[u8]) -> Option<(u64, u64)> {
        let unit = if self.in_bits { 1 } else { 8 };
        let len = bytes.len() as u64 * 8 / unit;
        let (first, last) = clamp_range(self.start, self.end.unwrap_or(-1), len)?;
        Some((first * unit, last * unit + unit - 1))
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn setbit_and_getbit() {
        let mut bench = Bench::new();
        bench.check("GETBIT k 0", ":0");
        bench.check_changes("SETBIT k 1 1", ":0", 1, &["$ setbit k"]);
        bench.check("GET k", "$1\n@");
        bench.check_changes("SETBIT k 1 1", ":1", 0, &[]);
        bench.check_changes("SETBIT k 1 0", ":1", 1, &["$ setbit k"]);
        bench.check_changes("SETBIT k 23 0", ":0", 1, &["$ setbit k"]);
        bench.check_changes("SETBIT k 23 0", ":0", 0, &[]);
        bench.check("STRLEN k", ":3");
        bench.check("SETBIT k 200000 1", ":0");
        bench.check("GETBIT k 200000", ":1");
        bench.check("GETBIT k 200001", ":0");
        bench.check("STRLEN k", ":25001");
        bench.check("SETBIT k 200001 1", ":0");
        bench.check("BITCOUNT k", ":2");
        bench.check("SET n 12345", "+OK");
        bench.check("SETBIT n 6 1", ":0");
        bench.check("GET n", "$5\n32345");
        bench.check("GETBIT n 4294967295", ":0");
    }

    #[test]
    fn bit_errors() {
        let mut bench = Bench::new();
        for offset in ["-1", "x", "4294967296", "#1", "9223372036854775808"] {
            let text = "-ERR bit offset is not an integer or out of range";
            bench.check(&format!("SETBIT k {offset} 1"), text);
            bench.check(&format!("SETBIT k {offset} 2"), text);
            bench.check(&format!("GETBIT k {offset}"), text);
        }
        for bit in ["2", "-1", "x", "01", "\"\""] {
            bench.check(&format!("SETBIT k 0 {bit}"), "-ERR bit is not an integer or out of range");
        }
        bench.check("BITPOS k 2", "-ERR The bit argument must be 1 or 0.");
        bench.check("BITPOS k x", "-ERR value is not an integer or out of range");
        for command in ["BITCOUNT k", "BITPOS k 1"] {
            for part in ["x", "0 x", "x 0", "x 0 foo", "0 x BIT"] {
                bench.check(&format!("{command} {part}"), "-ERR value is not an integer or out of range");
            }
            for part in ["0 1 foo", "0 x foo", "0 1 BIT BYTE"] {
                bench.check(&format!("{command} {part}"), "-ERR syntax error");
            }
        }
        bench.check("EXISTS k", ":0");
    }

    #[test]
    fn bitcount() {
        let mut bench = Bench::new();
        bench.check("BITCOUNT k", ":0");
        bench.check("BITCOUNT k 0 -1 BIT", ":0");
        bench.check("SET k abc", "+OK");
        for (part, count) in [
            ("", 10),
            ("0", 10),
            ("1", 7),
            ("-1", 4),
            ("-1 -1", 4),
            ("0 -1 bit", 10),
            ("5 30 BIT", 8),
            ("5 30 BYTE", 0),
            ("2 1", 0),
            ("-1 -2", 0),
            ("-100 1", 6),
            ("-100 -50", 3),
            ("0 100 bit", 10),
            ("-8 -1 bit", 4),
        ] {
            bench.check(&format!("BITCOUNT k {part}"), &format!(":{count}"));
        }
        bench.check("SET k \"\"", "+OK");
        bench.check("BITCOUNT k 0 -1", ":0");
    }

    #[test]
    fn bitpos() {
        let mut bench = Bench::new();
        bench.check("BITPOS k 0", ":0");
        bench.check("BITPOS k 1", ":-1");
        bench.check("BITPOS k 0 5 6", ":0");
        bench.check("SET k \"\\xff\\xff\"", "+OK");
        for (arguments, position) in [
            ("0", 16),
            ("0 0", 16),
            ("0 1", 16),
            ("0 2", -1),
            ("0 0 -1", -1),
            ("0 0 15 BIT", -1),
            ("0 0 100", -1),
            ("1", 0),
            ("1 1", 8),
            ("1 -1", 8),
            ("1 3 9 BIT", 3),
            ("1 1 0", -1),
            ("1 2", -1),
        ] {
            bench.check(&format!("BITPOS k {arguments}"), &format!(":{position}"));
        }
        bench.check("SET k \"\\x00\\xff\\xf0\"", "+OK");
        for (arguments, position) in
            [("0", 0), ("1", 8), ("1 2 -1 BYTE", 16), ("1 2 -1 BIT", 8), ("0 1", 20), ("0 8 -1 bit", 20)]
        {
            bench.check(&format!("BITPOS k {arguments}"), &format!(":{position}"));
        }
        bench.check("SET k \"\"", "+OK");
        bench.check("BITPOS k 0", ":-1");
        bench.check("BITPOS k 1", ":-1");
    }
}
