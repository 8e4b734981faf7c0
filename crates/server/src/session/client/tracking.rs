//! CLIENT subcommands about client-side caching: TRACKING, CACHING, GETREDIR, TRACKINGINFO.

use bytes::Bytes;
use torc_commands::{Arity, Category, Docs, Flags, Group, Spec};
use torc_resp::{Args, CommandError, Proto};

use crate::clients::ClientToken;
use crate::connection::Connection;
use crate::packet::ShardId;
use crate::session::{Flow, SessionCommand};
use crate::shard::Shard;
use crate::tracking::{ClientTracking, Redirect, TrackingOptions};

use super::COMMON;

const fn spec(name: &'static str, arity: Arity, docs: &'static Docs) -> Spec {
    let flags: Flags = COMMON;
    Spec { name, arity, flags, categories: &[Category::Connection], docs, ..Spec::DEFAULT }
}

pub(super) const TRACKING: SessionCommand = SessionCommand::new(
    spec(
        "tracking",
        Arity::at_least(3),
        &Docs {
            syntax: "CLIENT TRACKING (ON | OFF) [REDIRECT client-id:int] [PREFIX prefix [PREFIX prefix ...]] [BCAST] \
                     [OPTIN] [OPTOUT] [NOLOOP]",
            summary: "Whether this connection is told of changes to keys it has read, or whose prefixes it follows.",
            since: "6.0.0",
            complexity: "O(1), with BCAST O(N) in the number of prefixes",
            group: Group::Connection,
            ..Docs::DEFAULT
        },
    ),
    tracking,
);

/// What the options say, as far as they make sense.
struct Request {
    on: Option<bool>,
    options: TrackingOptions,
    redirect: Option<i64>,
    prefixes: Vec<Bytes>,
    /// What is wrong behind that.
    error: Option<CommandError>,
}

impl Request {
    fn parse(args: Args<'_>) -> Request {
        let on = match args.get(2) {
            word if word.eq_ignore_ascii_case(b"on") => Some(true),
            word if word.eq_ignore_ascii_case(b"off") => Some(false),
            _ => None,
        };
        let options = TrackingOptions::default();
        let mut request = Request { on, options, redirect: None, prefixes: Vec::new(), error: None };
        let mut at = 3;
        while at < args.len() && request.error.is_none() {
            at += request.option(args, at);
        }
        request
    }

    /// Takes in one option; returns how many words it has.
    fn option(&mut self, args: Args<'_>, at: usize) -> usize {
        let is_followed = at + 1 < args.len();
        if args.is(at, b"REDIRECT") && is_followed {
            if self.redirect.is_some() {
                self.error =
                    Some(CommandError::Text("ERR A client can only redirect to a single other client"));
                return 2;
            }
            match args.int(at + 1) {
                Ok(id) => self.redirect = Some(id),
                Err(error) => self.error = Some(error),
            }
            return 2;
        }
        if args.is(at, b"PREFIX") && is_followed {
            self.prefixes.push(Bytes::copy_from_slice(args.get(at + 1)));
            return 2;
        }
        let flag = match args.get(at) {
            word if word.eq_ignore_ascii_case(b"bcast") => &mut self.options.bcast,
            word if word.eq_ignore_ascii_case(b"optin") => &mut self.options.optin,
            word if word.eq_ignore_ascii_case(b"optout") => &mut self.options.optout,
            word if word.eq_ignore_ascii_case(b"noloop") => &mut self.options.noloop,
            _ => {
                self.error = Some(CommandError::Syntax);
                return 1;
            }
        };
        *flag = true;
        1
    }

    /// Do the options go together, and with what holds for the client now?
    fn check(&self, held: Option<&ClientTracking>) -> Result<(), CommandError> {
        let TrackingOptions { bcast, optin, optout, .. } = self.options;
        let before = held.map(|held| held.options);
        if !bcast && !self.prefixes.is_empty() {
            return Err(CommandError::Text("ERR PREFIX option requires BCAST mode to be enabled"));
        }
        if before.is_some_and(|before| before.bcast != bcast) {
            return Err(CommandError::Text(
                "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling \
                 it with a different mode.",
            ));
        }
        if bcast && (optin || optout) {
            return Err(CommandError::Text("ERR OPTIN and OPTOUT are not compatible with BCAST"));
        }
        if optin && optout {
            return Err(CommandError::Text("ERR You can't specify both OPTIN mode and OPTOUT mode"));
        }
        if before.is_some_and(|before| optin && before.optout || optout && before.optin) {
            return Err(CommandError::Text(
                "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling \
                 it with a different mode.",
            ));
        }
        ClientTracking::check_prefixes(held, &self.prefixes)
    }
}

fn tracking(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let request = Request::parse(args);
    let Some(id) = request.redirect else { return carry_out(shard, connection, request, None) };
    let find = move |shard: &mut Shard| -> Option<Redirect> {
        let client = shard.clients.iter().find(|client| client.id as i64 == id)?;
        Some(Redirect { id: client.id, shard: shard.id, client: client.key })
    };
    let everybody: Vec<ShardId> = (0..shard.shards() as ShardId).collect();
    Ok(shard.call_then(connection, &everybody, find, move |shard, connection, found| {
        let redirect = found.into_iter().flatten().next();
        if redirect.is_none() {
            return Err(CommandError::Text("ERR The client ID you want redirect to does not exist"));
        }
        carry_out(shard, connection, request, redirect)
    }))
}

fn carry_out(
    shard: &mut Shard,
    connection: &mut Connection,
    request: Request,
    redirect: Option<Redirect>,
) -> Result<Flow, CommandError> {
    if let Some(error) = request.error {
        return Err(error);
    }
    match request.on {
        None => return Err(CommandError::Syntax),
        Some(false) => {
            shard.end_tracking(connection);
            return shard.reply_ok(connection);
        }
        Some(true) => request.check(connection.tracking.as_deref())?,
    }
    let Request { options, mut prefixes, .. } = request;
    if !options.bcast {
        shard.begin_tracking(connection, options, redirect, &[]);
        return shard.reply_ok(connection);
    }
    if prefixes.is_empty() {
        prefixes.push(Bytes::new());
    }
    let client = ClientToken::new(shard.id, connection.key);
    let followed = prefixes.clone();
    let follow = move |shard: &mut Shard| shard.follow(client, &followed);
    Ok(shard.call_all(connection, follow, move |shard, connection, _| {
        shard.begin_tracking(connection, options, redirect, &prefixes);
        shard.reply_ok(connection).map(drop)
    }))
}

pub(super) const CACHING: SessionCommand = SessionCommand::new(
    spec(
        "caching",
        Arity::exactly(3),
        &Docs {
            syntax: "CLIENT CACHING (YES | NO)",
            summary: "Whether reads of the next command are remembered, against what OPTIN or OPTOUT says.",
            since: "6.0.0",
            group: Group::Connection,
            ..Docs::DEFAULT
        },
    ),
    caching,
);

fn caching(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let Some(tracking) = &connection.tracking else {
        return Err(CommandError::Text(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    };
    let TrackingOptions { optin, optout, .. } = tracking.options;
    let problem = match args.get(2) {
        word if word.eq_ignore_ascii_case(b"yes") => (!optin).then_some(CommandError::Text(
            "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
        )),
        word if word.eq_ignore_ascii_case(b"no") => (!optout).then_some(CommandError::Text(
            "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
        )),
        _ => Some(CommandError::Syntax),
    };
    if let Some(problem) = problem {
        return Err(problem);
    }
    connection.set_caching(true);
    shard.reply_ok(connection)
}

pub(super) const GETREDIR: SessionCommand = SessionCommand::new(
    spec(
        "getredir",
        Arity::exactly(2),
        &Docs {
            syntax: "CLIENT GETREDIR",
            summary: "Returns the connection that gets this one's invalidation messages; -1 without tracking.",
            since: "6.0.0",
            group: Group::Connection,
            ..Docs::DEFAULT
        },
    ),
    |_shard, connection, _args| {
        let redirect = shown_redirect(connection);
        connection.reply().int(redirect);
        Ok(Flow::Done)
    },
);

/// The id of the client that notices go to: 0 is this one, -1 means that there are none.
pub(super) fn shown_redirect(connection: &Connection) -> i64 {
    match &connection.tracking {
        Some(tracking) => tracking.redirect.map_or(0, |redirect| redirect.id as i64),
        None => -1,
    }
}

pub(super) const TRACKINGINFO: SessionCommand = SessionCommand::new(
    spec(
        "trackinginfo",
        Arity::exactly(2),
        &Docs {
            syntax: "CLIENT TRACKINGINFO",
            summary: "Returns what is tracked for this connection.",
            since: "6.2.0",
            group: Group::Connection,
            ..Docs::DEFAULT
        },
    ),
    tracking_info,
);

fn tracking_info(
    _shard: &mut Shard,
    connection: &mut Connection,
    _args: Args<'_>,
) -> Result<Flow, CommandError> {
    let flags = shown_flags(connection);
    let redirect = shown_redirect(connection);
    let prefixes: Vec<Bytes> =
        connection.tracking.iter().flat_map(|tracking| tracking.prefixes.iter().cloned()).collect();
    let mut reply = connection.reply();
    reply.map(3);
    reply.bulk(b"flags");
    match reply.proto() {
        Proto::Resp3 => reply.set(flags.len()),
        Proto::Resp2 => reply.array(flags.len()),
    }
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"redirect");
    reply.int(redirect);
    reply.bulk(b"prefixes");
    reply.array(prefixes.len());
    prefixes.iter().for_each(|prefix| reply.bulk_bytes(prefix));
    Ok(Flow::Done)
}

fn shown_flags(connection: &Connection) -> Vec<&'static str> {
    let Some(tracking) = &connection.tracking else { return vec!["off"] };
    let TrackingOptions { bcast, optin, optout, noloop } = tracking.options;
    let given = connection.flags.caching_given;
    let set = [
        (true, "on"),
        (bcast, "bcast"),
        (optin, "optin"),
        (optin && given, "caching-yes"),
        (optout, "optout"),
        (optout && given, "caching-no"),
        (noloop, "noloop"),
        (tracking.redirect_broken, "broken_redirect"),
    ];
    set.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).collect()
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    /// Two connections on two shards: the second one tracks.
    fn tracking(options: &str) -> Bench {
        let mut bench = Bench::with_shards(2, "");
        bench.connect();
        bench.run("HELLO 3");
        bench.check(&format!("CLIENT TRACKING on {options}"), "+OK");
        bench
    }

    #[track_caller]
    fn elsewhere(bench: &mut Bench, lines: &str) -> String {
        bench.switch(0);
        bench.run(lines);
        bench.switch(1);
        bench.take_received()
    }

    #[test]
    fn reads_are_remembered_until_the_key_changes() {
        let mut bench = tracking("");
        for key in ["a", "b", "c"] {
            let notice = format!(">2 $10 invalidate *1 $1 {key}");
            bench.check(&format!("GET {key}"), "_");
            assert_eq!(elsewhere(&mut bench, &format!("SET {key} 1")), notice);
            assert_eq!(elsewhere(&mut bench, &format!("SET {key} 2")), "");
            bench.check(&format!("GET {key}\nDEL {key}"), &format!("$1 2 :1 {notice}"));
        }
        assert!(bench.run("INFO clients").contains("tracking_clients:1 "));
        bench.check("MGET a b c", "*3 _ _ _");
        let stats = bench.run("INFO stats");
        assert!(
            stats.contains("tracking_total_keys:3 tracking_total_items:3 tracking_total_prefixes:0 "),
            "{stats}"
        );
        assert_eq!(elsewhere(&mut bench, "FLUSHALL"), ">2 $10 invalidate _");
        assert!(bench.run("INFO stats").contains("tracking_total_keys:0 "));
        assert!(bench.run("CLIENT INFO").contains(" flags=t "));
        bench.check("GET a\nCLIENT TRACKING off", "_ +OK");
        assert_eq!(elsewhere(&mut bench, "SET a 1"), "");
    }

    #[test]
    fn prefixes_are_followed_on_every_shard() {
        let mut bench = tracking("BCAST PREFIX u:");
        assert!(bench.run("CLIENT INFO").contains(" flags=tB "));
        for key in ["u:a", "u:b", "u:c"] {
            let notice = format!(">2 $10 invalidate *1 $3 {key}");
            assert_eq!(elsewhere(&mut bench, &format!("SET {key} 1\nSET {key} 2\nSET x 1")), notice);
        }
        assert!(bench.run("INFO stats").contains("tracking_total_prefixes:1 "));
        bench.run("RESET");
        assert_eq!(elsewhere(&mut bench, "SET u:a 1"), "");
        assert!(bench.run("INFO stats").contains("tracking_total_prefixes:0 "));
    }

    #[test]
    fn too_many_reads_are_forgotten_at_random() {
        let mut bench = tracking("");
        for key in 0..40 {
            bench.run(&format!("GET {key}"));
        }
        let notices = elsewhere(&mut bench, "CONFIG SET tracking-table-max-keys 3");
        assert_eq!(notices.matches("invalidate").count(), 37, "{notices}");
        assert!(bench.run("INFO stats").contains("tracking_total_keys:3 "));
        bench.check("CONFIG SET tracking-table-max-keys 0", "+OK");
        for key in 0..40 {
            bench.run(&format!("GET {key}"));
        }
        assert!(bench.run("INFO stats").contains("tracking_total_keys:40 "));
    }

    #[test]
    fn another_connection_gets_the_notices() {
        let mut bench = tracking("REDIRECT 1");
        bench.check("CLIENT GETREDIR", ":1");
        assert!(bench.run("CLIENT INFO").contains(" redir=1 "));
        bench.switch(0);
        bench.run("SUBSCRIBE x");
        bench.switch(1);
        bench.check("GET a\nSET a 1", "_ +OK");
        bench.switch(0);
        assert_eq!(bench.take_received(), "*3 $7 message $20 __redis__:invalidate *1 $1 a");
        bench.run("QUIT");
        bench.switch(1);
        bench.check("GET a\nSET a 1", "$1 1 +OK >2 $21 tracking-redir-broken :1");
        assert!(bench.run("CLIENT INFO").contains(" flags=tR "));
    }
}
