//! Parts of strings: GETRANGE, SUBSTR, SETRANGE, STRLEN and APPEND.

use torc_datatypes::StrRef;
use torc_datatypes::value::IntText;
use torc_keyspace::{Class, SetExpire};
use torc_resp::{Args, CommandError, Reply};

use super::{edit, string_at, value_from};
use crate::{Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec, Status};

pub(super) const GETRANGE: Command = Command {
    spec: Spec {
        name: "getrange",
        arity: Arity::exactly(4),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "GETRANGE key start:int end:int",
            summary: "Returns a part of the string stored at a key.",
            since: "2.4.0",
            complexity: "O(N) where N is the length of the part",
            group: Group::String,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(getrange),
    subcommands: &[],
};

pub(super) const SUBSTR: Command = Command {
    spec: Spec {
        name: "substr",
        arity: Arity::exactly(4),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(1, Access::RO_ACCESS)],
        docs: &Docs {
            syntax: "SUBSTR key start:int end:int",
            summary: "Returns a part of the string stored at a key.",
            since: "1.0.0",
            complexity: "O(N) where N is the length of the part",
            group: Group::String,
            status: Status::Deprecated { since: "2.0.0", replaced_by: "`GETRANGE`" },
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(getrange),
    subcommands: &[],
};

fn getrange(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let (start, end) = (args.int(2)?, args.int(3)?);
    let Some(string) = string_at(cx.read(args.get(1)))? else {
        reply.bulk(b"");
        return Ok(());
    };
    let Some((first, last)) = clamp_range(start, end, string.len() as u64) else {
        reply.bulk(b"");
        return Ok(());
    };
    let range = first as usize..last as usize + 1;
    match string {
        StrRef::Shared(bytes) => reply.bulk_bytes(&bytes.slice(range)),
        string => reply.bulk(&string.as_bytes(&mut IntText::new())[range]),
    }
    Ok(())
}

/// The positions, both inclusive, that `start..=end` covers in something of length `len`; negative ones count from the
/// end. `None` if there are none. Contract (Redis 7.2): positions before the beginning mean the first one, also for
/// `end`, unless both are negative and the wrong way round.
pub(in crate::families) fn clamp_range(start: i64, end: i64, len: u64) -> Option<(u64, u64)> {
    if start < 0 && end < 0 && start > end {
        return None;
    }
    let position = |index: i64| {
        if index < 0 { len.saturating_sub(index.unsigned_abs()) } else { index as u64 }
    };
    let (first, last) = (position(start), position(end).min(len.checked_sub(1)?));
    (first <= last).then_some((first, last))
}

pub(super) const SETRANGE: Command = Command {
    spec: Spec {
        name: "setrange",
        arity: Arity::exactly(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::at(1, Access::RW_UPDATE)],
        docs: &Docs {
            syntax: "SETRANGE key offset:int value",
            summary: "Overwrites a part of the string stored at a key, filling up with zero bytes what lies before it.",
            since: "2.2.0",
            complexity: "O(M) where M is the length of the value, plus what the string grows by",
            group: Group::String,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(setrange),
    subcommands: &[],
};

fn setrange(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let offset = usize::try_from(args.int(2)?).map_err(|_| CommandError::OffsetOutOfRange)?;
    let patch = args.get(3);
    let len_max = cx.settings.max_string_bytes;
    let mut at = cx.at(args.get(1), cx.writing());
    let len = string_at(at.entry())?.map_or(0, |string| string.len());
    if patch.is_empty() {
        reply.int(len as i64);
        return Ok(());
    }
    let end = offset.checked_add(patch.len()).filter(|end| *end <= len_max);
    let end = end.ok_or(CommandError::StringTooLong)?;
    edit(&mut at, end, |bytes| bytes[offset..end].copy_from_slice(patch));
    at.changed(Class::STRING, "setrange");
    reply.int(len.max(end) as i64);
    Ok(())
}

pub(super) const STRLEN: Command = Command {
    spec: Spec {
        name: "strlen",
        arity: Arity::exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RO)],
        docs: &Docs {
            syntax: "STRLEN key",
            summary: "Returns the length in bytes of the string stored at a key.",
            since: "2.2.0",
            complexity: "O(1)",
            group: Group::String,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(strlen),
    subcommands: &[],
};

fn strlen(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let string = string_at(cx.read(args.get(1)))?;
    reply.int(string.map_or(0, |string| string.len()) as i64);
    Ok(())
}

pub(super) const APPEND: Command = Command {
    spec: Spec {
        name: "append",
        arity: Arity::exactly(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: &[KeySpec::at(1, Access::RW_INSERT)],
        docs: &Docs {
            syntax: "APPEND key value",
            summary: "Appends to the string stored at a key; a missing key counts as empty.",
            since: "2.0.0",
            complexity: "O(1) amortized for small values, as a growing string leaves room behind itself",
            group: Group::String,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::OnShard(append),
    subcommands: &[],
};

fn append(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let data = args.get(2);
    let len_max = cx.settings.max_string_bytes;
    let mut at = cx.at(args.get(1), cx.writing());
    let len = match string_at(at.entry())? {
        None => {
            at.set_string(value_from(args, 2), SetExpire::Clear);
            data.len()
        }
        Some(string) => {
            if string.len() + data.len() > len_max {
                return Err(CommandError::StringTooLong);
            }
            at.entry_mut().expect("a string is there").append(data)
        }
    };
    at.changed(Class::STRING, "append");
    reply.int(len as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use torc_resp::OwnedArgs;

    use crate::testing::Bench;

    #[test]
    fn getrange() {
        let mut bench = Bench::new();
        bench.check("GETRANGE k 0 -1", "$0\n");
        bench.check("GETRANGE k 0 x", "-ERR value is not an integer or out of range");
        bench.check("SET k \"This is a string\"", "+OK");
        bench.check("SUBSTR k 0 3", "$4\nThis");
        for (range, expected) in [
            ("0 3", "This"),
            ("-3 -1", "ing"),
            ("0 -1", "This is a string"),
            ("10 100", "string"),
            ("-100 3", "This"),
            ("5 3", ""),
            ("-1 -5", ""),
            ("-100 -50", "T"),
            ("100 200", ""),
            ("-9223372036854775808 9223372036854775807", "This is a string"),
        ] {
            bench.check(&format!("GETRANGE k {range}"), &format!("${}\n{expected}", expected.len()));
        }
        bench.check("SET n 12345", "+OK");
        bench.check("GETRANGE n 1 -2", "$3\n234");
        let big = "0123456789".repeat(5_000);
        bench.check(&format!("SET big {big}"), "+OK");
        bench.check("GETRANGE big 10003 10005", "$3\n345");
        bench.check("GETRANGE big 1 -1", &format!("$49999\n{}", &big[1..]));
        bench.check("SET empty \"\"", "+OK");
        bench.check("GETRANGE empty 0 -1", "$0\n");
    }

    #[test]
    fn setrange() {
        let mut bench = Bench::new();
        bench.check_changes("SETRANGE k 0 \"\"", ":0", 0, &[]);
        bench.check_changes("SETRANGE k 2 xx", ":4", 1, &["$ setrange k"]);
        bench.check("GET k", "$4\n\0\0xx");
        bench.check("SETRANGE k 1 yz", ":4");
        bench.check("GET k", "$4\n\0yzx");
        bench.check("SETRANGE k 0 \"\"", ":4");
        bench.check("SETRANGE k -1 a", "-ERR offset is out of range");
        bench.check("SETRANGE k x a", "-ERR value is not an integer or out of range");
        bench.check("SET n 123", "+OK");
        bench.check("SETRANGE n 1 9", ":3");
        bench.check("INCR n", ":194");
        bench.settings.max_string_bytes = 10;
        bench.check("SETRANGE k 9 a", ":10");
        let too_long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";
        bench.check_changes("SETRANGE k 10 a", too_long, 0, &[]);
        bench.check("SETRANGE new 9223372036854775807 a", too_long);
        bench.check("SETRANGE k 10 \"\"", ":10");
        bench.check("GET new", "$-1");
    }

    #[test]
    fn append_and_strlen() {
        let mut bench = Bench::new();
        bench.check("STRLEN k", ":0");
        bench.check_changes("APPEND k ab", ":2", 1, &["$ append k"]);
        bench.check_changes("APPEND k \"\"", ":2", 1, &["$ append k"]);
        bench.check("APPEND k cd", ":4");
        bench.check("GET k", "$4\nabcd");
        bench.check("STRLEN k", ":4");
        bench.check("SET n -100", "+OK");
        bench.check("STRLEN n", ":4");
        bench.check("APPEND n 0", ":5");
        bench.check("DECR n", ":-1001");
        bench.settings.max_string_bytes = 5;
        bench.check("APPEND k e", ":5");
        bench.check("APPEND k f", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        bench.check("GET k", "$5\nabcde");
    }

    /// SETRANGE, APPEND, GETRANGE and STRLEN against a plain vector, across the sizes at which a string changes its
    /// representation.
    #[test]
    fn edits_agree_with_a_model() {
        for seed in 1..=12u64 {
            let mut random = torc_keyspace::Rng::new(seed);
            let mut bench = Bench::new();
            let mut model: Vec<u8> = Vec::new();
            for step in 0..300 {
                let reach = [8, 60, 300, 20_000][random.index(4)];
                let data = vec![b'a' + (step % 26) as u8; random.index(reach)];
                let offset = random.index(model.len() + reach / 2);
                let (words, expected): (Vec<Vec<u8>>, String) = match random.index(5) {
                    0 if !model.is_empty() => {
                        let end = offset + random.index(reach);
                        let range = offset.min(model.len())..(end + 1).min(model.len());
                        let part = String::from_utf8_lossy(model.get(range).unwrap_or(&[])).into_owned();
                        let words = ["GETRANGE", "k", &offset.to_string(), &end.to_string()];
                        (words.map(|word| word.into()).to_vec(), format!("${}\n{part}", part.len()))
                    }
                    1 if model.len() > 60_000 => {
                        model = data.clone();
                        (vec![b"SET".to_vec(), b"k".to_vec(), data], "+OK".into())
                    }
                    2 => {
                        model.extend_from_slice(&data);
                        (vec![b"APPEND".to_vec(), b"k".to_vec(), data], format!(":{}", model.len()))
                    }
                    3 => (vec![b"STRLEN".to_vec(), b"k".to_vec()], format!(":{}", model.len())),
                    _ => {
                        if !data.is_empty() {
                            model.resize(model.len().max(offset + data.len()), 0);
                            model[offset..offset + data.len()].copy_from_slice(&data);
                        }
                        let at = offset.to_string().into_bytes();
                        (vec![b"SETRANGE".to_vec(), b"k".to_vec(), at, data], format!(":{}", model.len()))
                    }
                };
                let mut args = OwnedArgs::new();
                words.iter().for_each(|word| args.push(word));
                assert_eq!(bench.run_args(&args), [&*expected, &*expected], "seed {seed}, step {step}");
            }
        }
    }
}
