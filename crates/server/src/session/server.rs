//! Small commands of the family SERVER, and WAIT: LOLWUT, ROLE, SHUTDOWN, TIME.

use torc_commands::{Arity, Category, Docs, Flags, Group, Spec};
use torc_resp::{Args, CommandError};
use torc_runtime::clock;

use crate::connection::Connection;
use crate::process::REDIS_VERSION;
use crate::shard::{LoopRequest, Shard};

use super::{ALWAYS, Flow, SessionCommand};

pub static COMMANDS: &[SessionCommand] = &[LOLWUT, ROLE, SHUTDOWN, TIME, WAIT];

const TIME: SessionCommand = SessionCommand::new(
    Spec {
        name: "time",
        arity: Arity::exactly(1),
        flags: ALWAYS.and(Flags::FAST),
        tips: &["nondeterministic_output"],
        docs: &Docs {
            syntax: "TIME",
            summary: "Returns the time of the server: seconds, and microseconds of the second.",
            since: "2.6.0",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    |shard, connection, _args| {
        let now_us = shard.wall_us();
        let mut reply = connection.reply();
        reply.array(2);
        reply.bulk_int(now_us / 1_000_000);
        reply.bulk_int(now_us % 1_000_000);
        Ok(Flow::Done)
    },
);

impl Shard {
    /// Unix time in microseconds. Without a server around it, a shard only knows milliseconds.
    pub(crate) fn wall_us(&self) -> i64 {
        if self.server.is_some() { clock::unix_us() } else { self.now.unix_ms * 1000 }
    }
}

const ROLE: SessionCommand = SessionCommand::new(
    Spec {
        name: "role",
        arity: Arity::exactly(1),
        flags: ALWAYS.and(Flags::NOSCRIPT).and(Flags::FAST).and(Flags::SENTINEL),
        categories: &[Category::Admin, Category::Dangerous],
        docs: &Docs {
            syntax: "ROLE",
            summary: "Returns the server's part in replication.",
            since: "2.8.12",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    |_shard, connection, _args| {
        let mut reply = connection.reply();
        reply.array(3);
        reply.bulk(b"master");
        reply.int(0);
        reply.array(0);
        Ok(Flow::Done)
    },
);

const WAIT: SessionCommand = SessionCommand::new(
    Spec {
        name: "wait",
        arity: Arity::exactly(3),
        flags: Flags::BLOCKING,
        categories: &[Category::Connection],
        tips: &["request_policy:all_shards", "response_policy:agg_min"],
        docs: &Docs {
            syntax: "WAIT numreplicas:int timeout:int",
            summary: "Waits until replicas have the writes of this connection; without replicas there is nothing to \
                      wait for.",
            since: "3.0.0",
            group: Group::Generic,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    wait,
);

/// There are no replicas, so none has acknowledged anything, and waiting could not change that.
fn wait(_shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    args.int(1)?;
    let timeout_ms =
        args.int(2).map_err(|_| CommandError::Text("ERR timeout is not an integer or out of range"))?;
    if timeout_ms < 0 {
        return Err(CommandError::NegativeTimeout);
    }
    connection.reply().int(0);
    Ok(Flow::Done)
}

const SHUTDOWN: SessionCommand = SessionCommand::new(
    Spec {
        name: "shutdown",
        arity: Arity::at_least(1),
        flags: ALWAYS
            .and(Flags::ADMIN)
            .and(Flags::NOSCRIPT)
            .and(Flags::NO_MULTI)
            .and(Flags::SENTINEL)
            .and(Flags::ALLOW_BUSY),
        docs: &Docs {
            syntax: "SHUTDOWN [[NOSAVE | SAVE] [NOW] [FORCE] | ABORT]",
            summary: "Ends the server.",
            complexity: "O(N) when saving, where N is the number of keys, otherwise O(1)",
            group: Group::Server,
            history: &[("7.0.0", "NOW, FORCE and ABORT.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    shutdown,
);

fn shutdown(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let (mut save, mut no_save, mut force, mut now, mut abort) = (false, false, false, false, false);
    for index in 1..args.len() {
        let options = [
            (&b"NOSAVE"[..], &mut no_save),
            (b"SAVE", &mut save),
            (b"NOW", &mut now),
            (b"FORCE", &mut force),
            (b"ABORT", &mut abort),
        ];
        let known = options.into_iter().find(|(word, _)| args.is(index, word));
        *known.ok_or(CommandError::Syntax)?.1 = true;
    }
    if (save && no_save) || (abort && (save || no_save || now || force)) {
        return Err(CommandError::Syntax);
    }
    if abort {
        // A shutdown waits for nothing but its own snapshot, so there is nothing to come back from.
        return Err(CommandError::Text("ERR No shutdown in progress."));
    }
    tracing::info!(client = connection.info.address, "a client asked for the shutdown");
    if save || (!no_save && !shard.state.config.save().is_empty()) {
        return Ok(shard.save_and_shut_down(Some(connection.key), force));
    }
    shard.close(connection);
    shard.request(LoopRequest::Shutdown);
    Ok(Flow::Done)
}

const LOLWUT: SessionCommand = SessionCommand::new(
    Spec {
        name: "lolwut",
        arity: Arity::at_least(1),
        flags: Flags::READONLY.and(Flags::FAST),
        docs: &Docs {
            syntax: "LOLWUT [VERSION version:int]",
            summary: "Draws a ring, and says which version this is.",
            since: "5.0.0",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    lolwut,
);

fn lolwut(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    if args.len() > 2 && args.is(1, b"VERSION") {
        args.int(2)?;
    }
    let angle = shard.rng.below(360) as f64;
    let mut picture = torc(angle.to_radians());
    picture.push_str(&format!("\nRedis ver. {REDIS_VERSION}\n"));
    connection.reply().verbatim("txt", picture.as_bytes());
    Ok(Flow::Done)
}

/// A torc is a ring of twisted wire with a gap, worn around the neck. `gap` is where it opens, in radians.
fn torc(gap: f64) -> String {
    const RADIUS: f64 = 9.0;
    const THICKNESS: f64 = 2.2;
    /// Half the opening, in radians.
    const OPENING: f64 = 0.32;
    /// Characters are about twice as high as wide.
    const STRETCH: f64 = 2.0;
    const TWIST: &[u8] = b"/~\\_";
    let reach = (RADIUS + THICKNESS).ceil() as i32;
    let mut picture = String::new();
    for row in -reach..=reach {
        let mut line = String::new();
        for column in -(reach * STRETCH as i32)..=(reach * STRETCH as i32) {
            let (x, y) = (f64::from(column) / STRETCH, f64::from(row));
            let (distance, angle) = (x.hypot(y), y.atan2(x));
            let from_gap = (angle - gap).sin().atan2((angle - gap).cos()).abs();
            let off = (distance - RADIUS).abs();
            let is_end = (OPENING..OPENING + 0.22).contains(&from_gap);
            line.push(match off {
                _ if from_gap < OPENING || off > THICKNESS => ' ',
                _ if is_end => 'O',
                _ => {
                    let phase = angle * 12.0 + distance * 1.5;
                    char::from(TWIST[(phase.rem_euclid(TWIST.len() as f64)) as usize % TWIST.len()])
                }
            });
        }
        picture.push_str(line.trim_end());
        picture.push('\n');
    }
    picture
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn small_commands() {
        let mut bench = Bench::new("");
        let cases = [
            ("TIME", "*2 $10 1700000000 $1 0"),
            ("TIME x", "-ERR wrong number of arguments for 'time' command"),
            ("ROLE", "*3 $6 master :0 *0"),
            ("WAIT", "-ERR wrong number of arguments for 'wait' command"),
            ("WAIT x 1", "-ERR value is not an integer or out of range"),
            ("WAIT 0 x", "-ERR timeout is not an integer or out of range"),
            ("WAIT 0 -1", "-ERR timeout is negative"),
            ("WAIT 5 0", ":0"),
            ("LOLWUT VERSION x", "-ERR value is not an integer or out of range"),
        ];
        for (line, reply) in cases {
            bench.check(line, reply);
        }
        let picture = bench.run("LOLWUT VERSION 5");
        assert!(picture.ends_with("Redis ver. 7.2.4 "), "{picture}");
    }

    #[test]
    fn shutdown_ends_the_server_without_a_reply() {
        let mut bench = Bench::new("");
        let cases = [
            ("foo", "-ERR syntax error"),
            ("ABORT", "-ERR No shutdown in progress."),
            ("ABORT NOW", "-ERR syntax error"),
            ("SAVE NOSAVE", "-ERR syntax error"),
        ];
        for (options, reply) in cases {
            bench.check(&format!("SHUTDOWN {options}"), reply);
        }
        bench.check("MULTI\nSHUTDOWN\nDISCARD", "+OK -ERR Command not allowed inside a transaction +OK");
        assert!(!bench.shut_down);
        bench.check("SHUTDOWN NOSAVE NOW", "<closed>");
        assert!(bench.shut_down);
    }
}
