//! MEMORY USAGE and DEBUG OBJECT: subcommands of server containers that look at one key.
//!
//! The containers are the server's; they list these commands among their own.

use torc_datatypes::clock::lru_idle_seconds;
use torc_datatypes::{Encoding, Entry, StrRef, ValueRef};
use torc_resp::{Args, CommandError, Reply};

use crate::{
    Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec, Status,
    families::generic::object::look,
};

/// A key's handle in its table, in bytes.
const HANDLE_BYTES: usize = 8;

/// MEMORY USAGE
pub const MEMORY_USAGE: Command = Command {
    spec: Spec {
        name: "usage",
        arity: Arity::at_least(3),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(2, Access::RO)],
        categories: &[],
        tips: &[],
        docs: &Docs {
            syntax: "MEMORY USAGE key [SAMPLES count:int]",
            summary: "Replies how many bytes a key and its value take. The number is exact, so SAMPLES changes nothing.",
            since: "4.0.0",
            complexity: "O(1)",
            group: Group::Server,
            ..Docs::DEFAULT
        },
    },
    run: Run::OnShard(memory_usage),
    subcommands: &[],
};

/// Replies the bytes that a key takes from the allocator, its place in the table included.
pub fn memory_usage(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let mut index = 3;
    while index < args.len() {
        if !args.is(index, b"SAMPLES") || index + 1 == args.len() {
            return Err(CommandError::Syntax);
        }
        if args.int(index + 1)? < 0 {
            return Err(CommandError::Syntax);
        }
        index += 2;
    }
    match look(cx, args) {
        Some(entry) => reply.int((entry.size_bytes() + HANDLE_BYTES) as i64),
        None => reply.null(),
    }
    Ok(())
}

/// DEBUG OBJECT
pub const DEBUG_OBJECT: Command = Command {
    spec: Spec {
        name: "object",
        arity: Arity::at_least(3),
        flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE),
        keys: &[KeySpec::at(2, Access::RO)],
        categories: &[],
        tips: &[],
        docs: &Docs {
            syntax: "DEBUG OBJECT key [FAST]",
            summary: "Replies what is known of a key's value: address, encoding, length when serialized, idle time.",
            since: "1.0.0",
            complexity: "O(1)",
            group: Group::Server,
            status: Status::System,
            ..Docs::DEFAULT
        },
    },
    run: Run::OnShard(debug_object),
    subcommands: &[],
};

/// Replies one line about a key's value, in the layout of Redis 7.2.
pub fn debug_object(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let now_ms = cx.now_ms;
    let limit = cx.settings.encodings.list_max_listpack_size;
    let entry = look(cx, args).ok_or(CommandError::NoSuchKey)?;
    let line = format!(
        "Value at:{:p} refcount:1 encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{}{}",
        entry.key().as_ptr(),
        entry.encoding().name(),
        serialized_bytes(entry),
        entry.clock(),
        lru_idle_seconds(entry.clock(), now_ms),
        list_figures(entry, limit),
    );
    reply.simple(&line);
    Ok(())
}

/// Replies one line about a value that is one flat listpack (DEBUG LISTPACK writes it to the log).
pub fn debug_listpack(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let entry = look(cx, args).ok_or(CommandError::NoSuchKey)?;
    if entry.encoding() != Encoding::Listpack {
        return Err(CommandError::Text("ERR Not a listpack encoded object."));
    }
    reply.simple(&format!("a {} in a listpack, {} bytes in all", entry.kind().name(), entry.size_bytes()));
    Ok(())
}

/// What Redis adds of a list that is no single listpack. Lists are never compressed.
fn list_figures(entry: &Entry, list_max_listpack_size: i64) -> String {
    let Some(ValueRef::List(list)) = entry.value() else { return String::new() };
    if list.encoding() != Encoding::Quicklist {
        return String::new();
    }
    let nodes = list.parts_len();
    format!(
        " ql_nodes:{nodes} ql_avg_node:{:.2} ql_listpack_max:{list_max_listpack_size} ql_compressed:0 \
         ql_uncompressed_size:{}",
        list.len() as f64 / nodes as f64,
        list.heap_bytes(),
    )
}

/// Bytes of the value in an RDB file, not compressed.
fn serialized_bytes(entry: &Entry) -> usize {
    let Some(string) = entry.str_ref() else { return entry.size_bytes() };
    if let StrRef::Int(int) = string {
        let width_bytes = match int {
            -0x80..=0x7f => 1,
            -0x8000..=0x7fff => 2,
            -0x8000_0000..=0x7fff_ffff => 4,
            _ => string.len(),
        };
        return 1 + width_bytes;
    }
    let prefix_bytes = match string.len() {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        _ => 5,
    };
    prefix_bytes + string.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    #[test]
    fn memory_of_a_key() {
        let mut bench = Bench::new();
        bench.run("SET k v");
        for (line, expected) in [
            ("MEMORY USAGE nokey", "$-1"),
            ("MEMORY USAGE k", ":24"),
            ("MEMORY USAGE k SAMPLES 0", ":24"),
            ("MEMORY USAGE k samples 5 SAMPLES 1", ":24"),
            ("MEMORY USAGE k SAMPLES", "-ERR syntax error"),
            ("MEMORY USAGE k SAMPLES -1", "-ERR syntax error"),
            ("MEMORY USAGE nokey foo", "-ERR syntax error"),
            ("MEMORY USAGE k SAMPLES a", "-ERR value is not an integer or out of range"),
        ] {
            bench.check_command(&MEMORY_USAGE, line, expected);
        }
    }

    #[test]
    fn one_line_about_a_value() {
        let mut bench = Bench::new();
        bench.check_command(&DEBUG_OBJECT, "DEBUG OBJECT nokey", "-ERR no such key");
        for (value, tail) in [
            ("v", "encoding:embstr serializedlength:2 "),
            ("100", "encoding:int serializedlength:2 "),
            ("1000", "encoding:int serializedlength:3 "),
            ("100000", "encoding:int serializedlength:5 "),
            ("10000000000", "encoding:int serializedlength:12 "),
        ] {
            bench.run(&format!("SET k {value}"));
            let request = torc_resp::split_line(b"DEBUG OBJECT k").unwrap();
            let [line, _] = bench.run_command(&DEBUG_OBJECT, &request);
            assert!(line.starts_with("+Value at:0x") && line.contains(tail), "{line}");
            assert!(line.ends_with(" lru_seconds_idle:0"), "{line}");
        }
        bench.settings.encodings.list_max_listpack_size = 2;
        bench.run("RPUSH list a b c");
        let request = torc_resp::split_line(b"DEBUG OBJECT list").unwrap();
        let [line, _] = bench.run_command(&DEBUG_OBJECT, &request);
        assert!(
            line.contains(
                " ql_nodes:2 ql_avg_node:1.50 ql_listpack_max:2 ql_compressed:0 ql_uncompressed_size:"
            ),
            "{line}"
        );
    }
}
