//! BITFIELD and BITFIELD_RO: integers of any width at any bit offset.

use smallvec::SmallVec;
use torc_datatypes::bitfield::{self, FieldType, Overflow};
use torc_datatypes::value::IntText;
use torc_keyspace::Class;
use torc_resp::{Args, CommandError, Reply};

use super::offset_from;
use crate::families::string::{edit, string_at};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec};

/// Only GET steps: a read.
fn bitfield_access(args: Args<'_>) -> Access {
    let writes = (2..args.len()).any(|index| args.is(index, b"SET") || args.is(index, b"INCRBY"));
    if writes { Access::RW_ACCESS_UPDATE } else { Access::RO_ACCESS }
}

pub(super) const BITFIELD: Command = Command {
    spec: Spec {
        name: "bitfield",
        arity: Arity::at_least(2),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::at(1, Access::RW_ACCESS_UPDATE)
            .by_options(bitfield_access)
            .with_notes("This command allows both access and modification of the key")],
        docs: &Docs {
            syntax: "BITFIELD key [(GET encoding offset:int | [OVERFLOW (WRAP | SAT | FAIL)] (SET encoding offset:int value:int | INCRBY encoding offset:int increment:int)) ...]",
            summary: "Reads and writes integers of any width at any bit offset of the string stored at a key.",
            since: "3.2.0",
            complexity: "O(1) for each operation",
            group: Group::Bitmap,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(bitfield),
    subcommands: &[],
};

fn bitfield(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let steps = parse(args, cx.settings.max_string_bytes)?;
    // As in Redis, the string grows to hold every field that a step may write, whether or not it overflows then.
    let Some(len_min) = steps.iter().filter_map(Step::len_min).max() else {
        return read_all(cx, args.get(1), &steps, reply);
    };
    let mut at = cx.at(args.get(1), cx.writing());
    let len = string_at(at.entry())?.map_or(0, |string| string.len());
    reply.array(steps.len());
    let grows = len < len_min;
    let mut changes = 0;
    edit(&mut at, len_min, |bytes| {
        for step in &steps {
            let (answer, changed) = step.run(bytes);
            match answer {
                Some(number) => reply.int(number),
                None => reply.null(),
            }
            changes += u64::from(changed || (grows && step.writes() && answer.is_some()));
        }
    });
    if changes > 0 {
        at.changed(Class::STRING, "setbit");
        at.changed_more(changes - 1);
    } else if grows {
        // No change to whoever listens, but one to repeat.
        at.tell_string();
    }
    Ok(())
}

pub(super) const BITFIELD_RO: Command = Command {
    spec: Spec {
        name: "bitfield_ro",
        arity: Arity::at_least(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "BITFIELD_RO key [GET encoding offset:int [GET encoding offset:int ...]]",
            summary: "Reads integers of any width at any bit offset of the string stored at a key.",
            since: "6.0.0",
            complexity: "O(1) for each operation",
            group: Group::Bitmap,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(bitfield_ro),
    subcommands: &[],
};

fn bitfield_ro(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let steps = parse(args, cx.settings.max_string_bytes)?;
    if steps.iter().any(Step::writes) {
        return Err(CommandError::Text("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    read_all(cx, args.get(1), &steps, reply)
}

fn read_all(
    cx: &mut Context<'_>,
    key: &[u8],
    steps: &[Step],
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let mut text = IntText::new();
    let string = string_at(cx.read(key))?;
    let bytes = string.map(|string| string.as_bytes(&mut text)).unwrap_or_default();
    reply.array(steps.len());
    steps.iter().for_each(|step| reply.int(bitfield::get(bytes, step.offset, step.field)));
    Ok(())
}

/// One operation on one field.
struct Step {
    action: Action,
    field: FieldType,
    /// First bit of the field.
    offset: u64,
    overflow: Overflow,
}

enum Action {
    Get,
    Set(i64),
    IncrBy(i64),
}

fn parse(args: Args<'_>, string_bytes_max: usize) -> Result<SmallVec<[Step; 4]>, CommandError> {
    let mut steps = SmallVec::new();
    let mut overflow = Overflow::default();
    let mut index = 2;
    while index < args.len() {
        let left = args.len() - index - 1;
        if args.is(index, b"OVERFLOW") && left >= 1 {
            overflow = overflow_from(args.get(index + 1))?;
            index += 2;
            continue;
        }
        let (is_set, is_incrby) = (args.is(index, b"SET"), args.is(index, b"INCRBY"));
        let operands = if is_set || is_incrby { 3 } else { 2 };
        if !(is_set || is_incrby || args.is(index, b"GET")) || left < operands {
            return Err(CommandError::Syntax);
        }
        let field = FieldType::parse(args.get(index + 1)).ok_or(CommandError::BitfieldType)?;
        let offset = match args.get(index + 2) {
            // Counted in fields of this width.
            [b'#', number @ ..] => offset_from(number, field.bits(), string_bytes_max)?,
            number => offset_from(number, 1, string_bytes_max)?,
        };
        let action = match (is_set, is_incrby) {
            (true, _) => Action::Set(args.int(index + 3)?),
            (_, true) => Action::IncrBy(args.int(index + 3)?),
            _ => Action::Get,
        };
        steps.push(Step { action, field, offset, overflow });
        index += operands + 1;
    }
    Ok(steps)
}

fn overflow_from(word: &[u8]) -> Result<Overflow, CommandError> {
    const NAMES: [(&[u8], Overflow); 3] =
        [(b"WRAP", Overflow::Wrap), (b"SAT", Overflow::Saturate), (b"FAIL", Overflow::Fail)];
    let named = NAMES.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
    named.map(|(_, overflow)| overflow).ok_or(CommandError::Text("ERR Invalid OVERFLOW type specified"))
}

impl Step {
    fn writes(&self) -> bool {
        !matches!(self.action, Action::Get)
    }

    /// How long the string must be for the field to be written.
    fn len_min(&self) -> Option<usize> {
        self.writes().then(|| ((self.offset + self.field.bits() - 1) / 8) as usize + 1)
    }

    /// Carries the step out; returns its answer, null for an overflow that fails, and whether a bit changed.
    fn run(&self, bytes: &mut [u8]) -> (Option<i64>, bool) {
        let old = bitfield::get(bytes, self.offset, self.field);
        let new = match self.action {
            Action::Get => Some(old),
            Action::Set(value) => self.field.fit(value, self.overflow),
            Action::IncrBy(increment) => self.field.add(old, increment, self.overflow),
        };
        let Some(new) = new else { return (None, false) };
        if new != old {
            bitfield::set(bytes, self.offset, self.field, new);
        }
        let answer = if matches!(self.action, Action::IncrBy(_)) { new } else { old };
        (Some(answer), new != old)
    }
}

#[cfg(test)]
mod tests {
    use torc_keyspace::Rng;

    use crate::testing::Bench;

    #[test]
    fn fields() {
        let mut bench = Bench::new();
        bench.check_changes("BITFIELD k", "*0", 0, &[]);
        bench.check_changes("BITFIELD k GET u8 0 GET i64 #5", "*2\n:0\n:0", 0, &[]);
        bench.check("EXISTS k", ":0");
        bench.check_changes("BITFIELD k SET u8 0 255", "*1\n:0", 1, &["$ setbit k"]);
        bench.check_changes("BITFIELD k SET u8 0 255", "*1\n:255", 0, &[]);
        bench.check_changes("BITFIELD k incrby u8 0 1", "*1\n:0", 1, &["$ setbit k"]);
        bench.check("BITFIELD k SET i5 #3 -3 GET i5 #3 GET u5 15", "*3\n:0\n:-3\n:29");
        bench.check("BITFIELD k GET u8 4294967295", "*1\n:0");
        bench.check("BITFIELD_RO k GET i5 #3", "*1\n:-3");
        bench.check("BITFIELD_RO k", "*0");
        bench.check("BITFIELD_RO k OVERFLOW WRAP GET u8 0", "*1\n:0");
        bench.check("SET n 1", "+OK");
        bench.check("BITFIELD n INCRBY u8 0 1 GET u8 0", "*2\n:50\n:50");
        bench.check("GET n", "$1\n2");
    }

    #[test]
    fn overflow() {
        let mut bench = Bench::new();
        bench.check("BITFIELD k SET u8 0 250", "*1\n:0");
        bench.check("BITFIELD k OVERFLOW SAT INCRBY u8 0 10 OVERFLOW WRAP INCRBY u8 0 2", "*2\n:255\n:1");
        bench.check_changes("BITFIELD k OVERFLOW FAIL INCRBY u8 0 -2 SET u8 0 256", "*2\n$-1\n$-1", 0, &[]);
        bench.check("BITFIELD k overflow sat SET i8 0 200 GET i8 0", "*2\n:1\n:127");
        bench.check("BITFIELD k SET i8 0 -200 GET i8 0", "*2\n:127\n:56");
        bench.check("BITFIELD k OVERFLOW SAT SET u8 0 -200 GET u8 0", "*2\n:56\n:255");
        bench.check(
            "BITFIELD u OVERFLOW FAIL INCRBY u63 0 9223372036854775807 INCRBY u63 0 1",
            "*2\n:9223372036854775807\n$-1",
        );
    }

    /// The string grows for every write, also for one that fails; what counts as a change follows Redis 7.2.
    #[test]
    fn growth() {
        let mut bench = Bench::new();
        bench.check_changes("BITFIELD a OVERFLOW FAIL INCRBY u8 0 300", "*1\n$-1", 0, &[]);
        bench.check("GET a", "$1\n\0");
        bench.check_changes("BITFIELD b SET u8 0 0", "*1\n:0", 1, &["$ setbit b"]);
        bench.check_changes("BITFIELD b SET u8 0 0", "*1\n:0", 0, &[]);
        bench.check_changes(
            "BITFIELD b GET u8 9 SET u8 8 0 SET u4 20 0",
            "*3\n:0\n:0\n:0",
            2,
            &["$ setbit b"],
        );
        bench.check("STRLEN b", ":3");
        bench.check("BITFIELD b SET u8 199996 15", "*1\n:0");
        bench.check("STRLEN b", ":25001");
        bench.check("BITFIELD b INCRBY i8 #24999 1 GET u8 199996", "*2\n:1\n:31");
    }

    #[test]
    fn errors() {
        let mut bench = Bench::new();
        let (syntax, offset) = ("-ERR syntax error", "-ERR bit offset is not an integer or out of range");
        let kind = "-ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";
        let integer = "-ERR value is not an integer or out of range";
        for (steps, text) in [
            ("foo", syntax),
            ("GET u8", syntax),
            ("SET u8 0", syntax),
            ("OVERFLOW", syntax),
            ("GET u8 0 foo", syntax),
            ("OVERFLOW foo", "-ERR Invalid OVERFLOW type specified"),
            ("GET u64 0", kind),
            ("GET i65 0", kind),
            ("GET U8 0", kind),
            ("GET u0 x", kind),
            ("GET u8 x", offset),
            ("GET u8 -1", offset),
            ("GET u8 #-1", offset),
            ("GET u8 #", offset),
            ("GET u8 4294967296", offset),
            ("GET u8 #536870912", offset),
            ("GET u8 #9223372036854775807", offset),
            ("INCRBY u8 x x", offset),
            ("SET u8 0 x", integer),
            ("INCRBY u8 0 9223372036854775808", integer),
        ] {
            bench.check(&format!("BITFIELD k {steps}"), text);
            bench.check(&format!("BITFIELD_RO k {steps}"), text);
        }
        let read_only = "-ERR BITFIELD_RO only supports the GET subcommand";
        bench.check("BITFIELD_RO k GET u8 0 SET u8 0 1", read_only);
        bench.check("BITFIELD_RO k INCRBY u8 0 1", read_only);
        bench.check("EXISTS k", ":0");
    }

    /// Random steps against a vector of single bits and numbers wide enough never to overflow.
    #[test]
    fn steps_agree_with_a_model() {
        for seed in 1..=20u64 {
            let mut random = Rng::new(seed);
            let mut bench = Bench::new();
            let mut model = vec![false; 4096];
            for step in 0..300 {
                let signed = random.index(2) == 1;
                let width = 1 + random.index(if signed { 64 } else { 63 });
                let offset = random.index(2_000);
                let bits = &mut model[offset..offset + width];
                let unsigned = bits.iter().fold(0i128, |number, bit| number << 1 | i128::from(*bit));
                let half = 1i128 << (width - 1);
                let old = if signed && unsigned >= half { unsigned - 2 * half } else { unsigned };
                let value = (random.next_u64() >> random.index(64)) as i64 * [1, -1][random.index(2)];
                let (low, high) = if signed { (-half, half - 1) } else { (0, 2 * half - 1) };
                let (mode, action) = (random.index(3), random.index(3));
                let wanted = match action {
                    0 => old,
                    1 if signed => i128::from(value),
                    1 => i128::from(value as u64),
                    _ => old + i128::from(value),
                };
                let fits = (low..=high).contains(&wanted);
                let new = match mode {
                    _ if fits => Some(wanted),
                    0 => Some((wanted - low).rem_euclid(2 * half) + low),
                    1 => Some(wanted.clamp(low, high)),
                    _ => None,
                };
                if let Some(new) = new {
                    let raw = new.rem_euclid(2 * half);
                    bits.iter_mut().rev().enumerate().for_each(|(place, bit)| *bit = raw >> place & 1 == 1);
                }
                let field = format!("{}{width} {offset}", if signed { 'i' } else { 'u' });
                let line = match action {
                    0 => format!("BITFIELD k GET {field}"),
                    1 => format!("BITFIELD k OVERFLOW {} SET {field} {value}", ["WRAP", "SAT", "FAIL"][mode]),
                    _ => format!(
                        "BITFIELD k OVERFLOW {} INCRBY {field} {value}",
                        ["WRAP", "SAT", "FAIL"][mode]
                    ),
                };
                let expected = match new {
                    None => "*1\n$-1".to_owned(),
                    Some(new) => format!("*1\n:{}", if action == 2 { new } else { old }),
                };
                bench.check(&line, &expected);
                let position = random.index(2_000);
                let bit = i64::from(model[position]);
                bench.check(&format!("GETBIT k {position}"), &format!(":{bit}"));
                if step % 50 == 0 {
                    let set = model.iter().filter(|bit| **bit).count();
                    bench.check("BITCOUNT k", &format!(":{set}"));
                    let first = model.iter().position(|bit| *bit).map_or(-1, |position| position as i64);
                    bench.check("BITPOS k 1", &format!(":{first}"));
                }
            }
        }
    }
}
