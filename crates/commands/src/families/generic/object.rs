//! OBJECT: how a value is kept, and how it is used.

use torc_datatypes::Entry;
use torc_datatypes::clock::{lfu_counter, lru_idle_seconds};
use torc_keyspace::{AccessClock, Lookup};
use torc_resp::{Args, CommandError, Reply};

use crate::{
    Access, Arity, Command, Context, Docs, Flags, Group, KeySpec, Run, Spec, families::generic::KEYSPACE,
};

/// OBJECT
pub const OBJECT: Command = Command {
    spec: Spec {
        name: "object",
        arity: Arity::at_least(2),
        docs: &Docs {
            syntax: "OBJECT",
            summary: "Tells how values are kept and used.",
            since: "2.2.3",
            complexity: "Depends on the subcommand.",
            group: Group::Generic,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: Run::Container,
    subcommands: &[ENCODING, FREQ, HELP, IDLETIME, REFCOUNT],
};

/// OBJECT ENCODING
const ENCODING: Command = Command {
    spec: Spec {
        name: "encoding",
        arity: Arity::exactly(3),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(2, Access::RO)],
        categories: KEYSPACE,
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "OBJECT ENCODING key",
            summary: "Replies the name of the representation that a key's value has in memory.",
            since: "2.2.3",
            complexity: "O(1)",
            group: Group::Generic,
            ..Docs::DEFAULT
        },
    },
    run: Run::OnShard(encoding),
    subcommands: &[],
};

fn encoding(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    match look(cx, args) {
        Some(entry) => reply.bulk(entry.encoding().name().as_bytes()),
        None => reply.null(),
    }
    Ok(())
}

/// OBJECT FREQ
const FREQ: Command = Command {
    spec: Spec {
        name: "freq",
        arity: Arity::exactly(3),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(2, Access::RO)],
        categories: KEYSPACE,
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "OBJECT FREQ key",
            summary: "Replies the logarithmic counter of a key's uses, kept under the LFU policies of maxmemory-policy.",
            since: "4.0.0",
            complexity: "O(1)",
            group: Group::Generic,
            ..Docs::DEFAULT
        },
    },
    run: Run::OnShard(freq),
    subcommands: &[],
};

fn freq(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let (now_ms, access_clock) = (cx.now_ms, cx.keyspace.access_clock());
    let Some(entry) = look(cx, args) else {
        reply.null();
        return Ok(());
    };
    let AccessClock::Lfu(settings) = access_clock else {
        return Err(CommandError::Text(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
             switching between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    };
    reply.int(i64::from(lfu_counter(entry.clock(), now_ms, settings)));
    Ok(())
}

/// OBJECT IDLETIME
const IDLETIME: Command = Command {
    spec: Spec {
        name: "idletime",
        arity: Arity::exactly(3),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(2, Access::RO)],
        categories: KEYSPACE,
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "OBJECT IDLETIME key",
            summary: "Replies for how many seconds a key has not been used; not kept under the LFU policies of \
                      maxmemory-policy.",
            since: "2.2.3",
            complexity: "O(1)",
            group: Group::Generic,
            ..Docs::DEFAULT
        },
    },
    run: Run::OnShard(idletime),
    subcommands: &[],
};

fn idletime(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let (now_ms, access_clock) = (cx.now_ms, cx.keyspace.access_clock());
    let Some(entry) = look(cx, args) else {
        reply.null();
        return Ok(());
    };
    if let AccessClock::Lfu(_) = access_clock {
        return Err(CommandError::Text(
            "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching \
             between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    reply.int(i64::from(lru_idle_seconds(entry.clock(), now_ms)));
    Ok(())
}

/// OBJECT REFCOUNT
const REFCOUNT: Command = Command {
    spec: Spec {
        name: "refcount",
        arity: Arity::exactly(3),
        flags: Flags::READONLY,
        keys: &[KeySpec::at(2, Access::RO)],
        categories: KEYSPACE,
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "OBJECT REFCOUNT key",
            summary: "Replies how many keys share a value. Values are never shared, so this is 1.",
            since: "2.2.3",
            complexity: "O(1)",
            group: Group::Generic,
            ..Docs::DEFAULT
        },
    },
    run: Run::OnShard(refcount),
    subcommands: &[],
};

fn refcount(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    match look(cx, args) {
        Some(_) => reply.int(1),
        None => reply.null(),
    }
    Ok(())
}

/// OBJECT HELP
const HELP: Command = Command {
    spec: Spec {
        name: "help",
        arity: Arity::exactly(2),
        flags: Flags::LOADING.and(Flags::STALE),
        keys: &[],
        categories: KEYSPACE,
        tips: &[],
        docs: &Docs {
            syntax: "OBJECT HELP",
            summary: "Replies what the subcommands do.",
            since: "6.2.0",
            complexity: "O(1)",
            group: Group::Generic,
            ..Docs::DEFAULT
        },
    },
    run: Run::OnShard(help),
    subcommands: &[],
};

fn help(_cx: &mut Context<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    const LINES: [&str; 11] = [
        "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "ENCODING <key>",
        "    Name of the representation that the value has in memory.",
        "FREQ <key>",
        "    Logarithmic counter of the key's uses (LFU policies only).",
        "IDLETIME <key>",
        "    Seconds since the key was used last (not with LFU policies).",
        "REFCOUNT <key>",
        "    Number of keys that share the value.",
        "HELP",
        "    These lines.",
    ];
    reply.array(LINES.len());
    LINES.into_iter().for_each(|line| reply.simple(line));
    Ok(())
}

/// The entry of argument 2. Looking at a key this way is no use of it, and a miss is no event.
pub(super) fn look<'c>(cx: &'c mut Context<'_>, args: Args<'_>) -> Option<&'c Entry> {
    let key = cx.key(args.get(2));
    let entry = cx.keyspace.get(cx.db, &key, cx.now_ms, Lookup::PEEK, cx.changes).is_some();
    let stats = &mut cx.keyspace.stats;
    *(if entry { &mut stats.hits } else { &mut stats.misses }) += 1;
    cx.keyspace.peek(cx.db, &key, cx.now_ms)
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;
    use torc_keyspace::AccessClock;

    #[test]
    fn encodings_of_strings() {
        let mut bench = Bench::new();
        let long = "x".repeat(45);
        for (value, encoding) in [
            ("12", "$3\nint"),
            ("-9223372036854775808", "$3\nint"),
            ("9223372036854775808", "$6\nembstr"),
            ("012", "$6\nembstr"),
            (&long[..44], "$6\nembstr"),
            (&long, "$3\nraw"),
        ] {
            bench.run(&format!("SET k {value}"));
            bench.check("OBJECT ENCODING k", encoding);
        }
        bench.run("SET k a");
        bench.run("APPEND k b");
        bench.check("OBJECT ENCODING k", "$3\nraw");
        bench.check("OBJECT REFCOUNT k", ":1");
    }

    #[test]
    fn missing_keys_are_null_whatever_is_asked() {
        let mut bench = Bench::new();
        for name in ["ENCODING", "FREQ", "IDLETIME", "REFCOUNT"] {
            bench.check(&format!("OBJECT {name} nokey"), "$-1");
        }
        assert_eq!(bench.keyspace().stats.misses, 4);
    }

    #[test]
    fn the_policy_decides_what_is_kept() {
        let text = |head: &str| {
            format!(
                "-ERR An LFU maxmemory policy is {head}. Please note that when switching between policies at runtime \
                 LRU and LFU data will take some time to adjust."
            )
        };
        let mut bench = Bench::new();
        bench.run("SET k v");
        bench.now_ms += 3_999;
        bench.check("OBJECT IDLETIME k", ":3");
        bench.check("OBJECT FREQ k", &text("not selected, access frequency not tracked"));
        bench.set_access_clock(AccessClock::Lfu(Default::default()));
        bench.run("SET k2 v");
        bench.check("OBJECT FREQ k2", ":5");
        bench.check("OBJECT IDLETIME k2", &text("selected, idle time not tracked"));
        bench.run("GET k2");
        bench.check("OBJECT FREQ k2", ":6");
    }

    #[test]
    fn help_is_an_array_of_statuses() {
        let mut bench = Bench::new();
        let [help, _] = bench.run("OBJECT HELP");
        assert!(help.starts_with("*11\n+OBJECT <subcommand>"), "{help}");
        assert_eq!(help.lines().count(), 12);
    }
}
