//! CONFIG and its subcommands.
//!
//! Owns the way of a change to all shards: shard 0 puts changes in one order and counts them, every shard takes over
//! what is newer than what it has. What a setting is, and which values it takes, is in `crate::config`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use torc_commands::{Arity, Docs, Flags, Group, Spec};
use torc_resp::{Args, CommandError};
use torc_runtime::{limits, listen};

use crate::config::{Config, ConfigSetError, os_error_text};
use crate::connection::Connection;
use crate::log;
use crate::memory;
use crate::packet::ShardId;
use crate::run;
use crate::shard::{LoopRequest, Shard};

use super::state::data_settings;
use super::{ALWAYS, Flow, SessionCommand, help};

pub static COMMANDS: &[SessionCommand] = &[CONFIG];

const CONFIG: SessionCommand = SessionCommand::container(
    Spec {
        name: "config",
        arity: Arity::at_least(2),
        docs: &Docs {
            syntax: "CONFIG",
            summary: "A container for commands about the server's settings.",
            since: "2.0.0",
            complexity: "Depends on subcommand.",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    &[GET, help::help(&help::docs("CONFIG HELP", "5.0.0", Group::Server)), RESETSTAT, REWRITE, SET],
);

const ADMIN: Flags = ALWAYS.and(Flags::ADMIN).and(Flags::NOSCRIPT);
const ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

const GET: SessionCommand = SessionCommand::new(
    Spec {
        name: "get",
        arity: Arity::at_least(3),
        flags: ADMIN,
        docs: &Docs {
            syntax: "CONFIG GET parameter [parameter ...]",
            summary: "Returns the settings whose names match a pattern, and their values.",
            since: "2.0.0",
            complexity: "O(N), where N is the number of settings",
            group: Group::Server,
            history: &[("7.0.0", "Takes several patterns.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    get,
);

fn get(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    let patterns: Vec<&[u8]> = args.iter().skip(2).collect();
    let settings = shard.state.config.get(&patterns);
    let mut reply = connection.reply();
    reply.map(settings.len());
    for (name, value) in settings {
        // A name that was given in full comes back as it was typed, as in Redis 7.
        let typed = patterns.iter().find(|pattern| pattern.eq_ignore_ascii_case(name.as_bytes()));
        reply.bulk(typed.unwrap_or(&name.as_bytes()));
        reply.bulk(value.as_bytes());
    }
    Ok(Flow::Done)
}

const SET: SessionCommand = SessionCommand::new(
    Spec {
        name: "set",
        arity: Arity::at_least(4),
        flags: ADMIN,
        tips: ALL_NODES,
        docs: &Docs {
            syntax: "CONFIG SET parameter value [parameter value ...]",
            summary: "Changes settings, all of them or none.",
            since: "2.0.0",
            complexity: "O(N), where N is the number of settings given",
            group: Group::Server,
            history: &[("7.0.0", "Takes several settings.")],
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    set,
);

fn set(shard: &mut Shard, connection: &mut Connection, args: Args<'_>) -> Result<Flow, CommandError> {
    if args.len() % 2 == 1 {
        return Err(CommandError::Syntax);
    }
    let words: Vec<Vec<u8>> = args.iter().skip(2).map(<[u8]>::to_vec).collect();
    let from_this_host = connection.info.loopback;
    let decide = move |shard: &mut Shard| {
        let pairs: Vec<(&[u8], &[u8])> = words.chunks(2).map(|pair| (&*pair[0], &*pair[1])).collect();
        shard.change_config(&pairs, from_this_host)
    };
    let flow = shard.call_then(connection, &[0], decide, |shard, connection, mut decided| {
        let decided = decided.pop().expect("one shard was asked");
        let (config, version) = decided.map_err(|error| CommandError::Owned(error.to_string().into()))?;
        let apply = move |shard: &mut Shard| shard.apply_config(&config, version);
        let shards: Vec<ShardId> = (0..shard.shards() as ShardId).collect();
        Ok(shard.call_then(connection, &shards, apply, |shard, connection, _| {
            // Now every shard has its lease.
            shard.process.measure_memory();
            if shard.state.client_bytes_max().is_none() {
                return shard.reply_ok(connection);
            }
            // Every shard has counted: who has to go is gone before the reply.
            let limit = |shard: &mut Shard| shard.limit_client_memory();
            Ok(shard.call_all(connection, limit, |shard, connection, _| shard.reply_ok(connection).map(drop)))
        }))
    });
    Ok(flow)
}

impl Shard {
    /// Shard 0: change the configuration. Other shards still have the old one.
    fn change_config(
        &mut self,
        pairs: &[(&[u8], &[u8])],
        from_this_host: bool,
    ) -> Result<(Arc<Config>, u64), ConfigSetError> {
        let mut config = (*self.state.config).clone();
        let applied = config.set(pairs, from_this_host)?;
        let changed = |name: &str| applied.iter().any(|one| one.name == name && one.changed);
        if let Some(server) = &self.server {
            if let Some(name) = ["port", "bind"].into_iter().find(|name| changed(name)) {
                let opened = run::open_tcp(&config, self.shards(), listen::listen_tcp_anew);
                let (listeners, port) = opened.map_err(|error| {
                    tracing::warn!(%error, "CONFIG SET {name}");
                    ConfigSetError::failed(name, "Unable to listen on this port. Check server logs.")
                })?;
                server.offer_listeners(listeners);
                self.process.tcp_port.store(port, Ordering::Relaxed);
            }
            if changed("maxclients") {
                let wanted = u64::from(config.maxclients());
                let allowed = limits::raise_open_files(wanted, self.shards() as u64).unwrap_or(0);
                if allowed < wanted {
                    let text = format!(
                        "The operating system is not able to handle the specified number of clients, try with \
                         {allowed}"
                    );
                    return Err(ConfigSetError::failed("maxclients", &text));
                }
            }
            server.connections_max.store(config.maxclients() as usize, Ordering::Relaxed);
            let keepalive_s = config.tcp_keepalive().map_or(0, |keepalive| keepalive.as_secs() as usize);
            server.keepalive_s.store(keepalive_s, Ordering::Relaxed);
        }
        if changed("maxmemory") {
            self.process.budget.set_maxmemory(config.maxmemory() as usize);
        }
        if changed("jemalloc-bg-thread") {
            memory::purge_in_background(config.jemalloc_bg_thread());
        }
        if changed("dir") {
            std::env::set_current_dir(config.dir())
                .map_err(|error| ConfigSetError::failed("dir", &os_error_text(&error)))?;
        }
        if changed("loglevel") {
            log::set_level(config.loglevel());
        }
        if changed("log-format") {
            log::set_format(config.log_format());
        }
        let config = Arc::new(config);
        let version = self.state.config_version + 1;
        self.apply_config(&config, version);
        Ok((config, version))
    }

    /// Take over a configuration, unless there is a newer one here.
    fn apply_config(&mut self, config: &Arc<Config>, version: u64) {
        if version <= self.state.config_version {
            return;
        }
        self.state.apply(Arc::clone(config));
        self.state.config_version = version;
        // Loops for which no new listeners lie ready ignore it.
        self.request(LoopRequest::Listen);
        let list_packed_threshold = self.settings.encodings.list_packed_threshold;
        self.apply_settings(data_settings(config));
        // What DEBUG has set is no setting.
        self.settings.encodings.list_packed_threshold = list_packed_threshold;
        self.choose_listening();
        self.limit_tracking();
        self.apply_memory_settings();
        self.apply_log_settings();
        self.count_all_client_memory();
        let open_to_all = !self.state.password_required();
        let limits = [false, true].map(|authenticated| self.parser_limits(authenticated));
        for connection in self.clients.iter_mut() {
            connection.flags.authenticated |= open_to_all;
            connection.parser.set_limits(limits[usize::from(connection.flags.authenticated)]);
        }
    }
}

const RESETSTAT: SessionCommand = SessionCommand::new(
    Spec {
        name: "resetstat",
        arity: Arity::exactly(2),
        flags: ADMIN,
        tips: ALL_NODES,
        docs: &Docs {
            syntax: "CONFIG RESETSTAT",
            summary: "Sets the counters of INFO back to zero.",
            since: "2.0.0",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    |shard, connection, _args| {
        let reset_here = |shard: &mut Shard| {
            shard.stats.reset();
            shard.rates.reset();
            shard.keyspace.stats = Default::default();
            shard.process.budget.reset_time();
            shard.keyspace.graveyard.reset_freed();
        };
        Ok(shard
            .call_all(connection, reset_here, |shard, connection, _| shard.reply_ok(connection).map(drop)))
    },
);

const REWRITE: SessionCommand = SessionCommand::new(
    Spec {
        name: "rewrite",
        arity: Arity::exactly(2),
        flags: ADMIN,
        tips: ALL_NODES,
        docs: &Docs {
            syntax: "CONFIG REWRITE",
            summary: "Writes the settings in force into the configuration file.",
            since: "2.8.0",
            group: Group::Server,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    rewrite,
);

fn rewrite(shard: &mut Shard, connection: &mut Connection, _args: Args<'_>) -> Result<Flow, CommandError> {
    let config = Arc::clone(&shard.state.config);
    if config.file().is_none() {
        return Err(CommandError::Text("ERR The server is running without a config file"));
    }
    let flow = shard.run_aside(
        connection,
        move || config.rewrite(),
        |shard, connection, outcome| match outcome {
            Ok(()) => shard.reply_ok(connection).map(drop),
            Err(error) => Err(CommandError::Owned(error.to_string().into())),
        },
    );
    Ok(flow)
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn settings_are_read_and_changed_on_every_shard() {
        let mut bench = Bench::with_shards(3, "");
        let cases = [
            ("CONFIG", "-ERR wrong number of arguments for 'config' command"),
            ("CONFIG FOO", "-ERR unknown subcommand 'FOO'. Try CONFIG HELP."),
            ("CONFIG GET", "-ERR wrong number of arguments for 'config|get' command"),
            ("CONFIG GET foo", "*0"),
            ("CONFIG GET timeout", "*2 $7 timeout $1 0"),
            ("CONFIG SET", "-ERR wrong number of arguments for 'config|set' command"),
            ("CONFIG SET a", "-ERR wrong number of arguments for 'config|set' command"),
            ("CONFIG SET timeout 0 foo", "-ERR syntax error"),
            ("CONFIG SET foo bar", "-ERR Unknown option or number of arguments for CONFIG SET - 'foo'"),
            (
                "CONFIG SET timeout x",
                "-ERR CONFIG SET failed (possibly related to argument 'timeout') - argument couldn't be parsed into \
                 an integer",
            ),
            (
                "CONFIG SET timeout 1 timeout 2",
                "-ERR CONFIG SET failed (possibly related to argument 'timeout') - duplicate parameter",
            ),
            ("CONFIG SET timeout 7 maxclients 5", "+OK"),
            ("CONFIG GET timeout maxclients", "*4 $10 maxclients $1 5 $7 timeout $1 7"),
            ("CONFIG RESETSTAT", "+OK"),
            ("CONFIG RESETSTAT x", "-ERR wrong number of arguments for 'config|resetstat' command"),
            ("CONFIG REWRITE", "-ERR The server is running without a config file"),
        ];
        for (line, reply) in cases {
            bench.check(line, reply);
        }
        bench.connect();
        bench.check("CONFIG GET timeout", "*2 $7 timeout $1 7");
        bench.check("CONFIG SET timeout 8", "+OK");
        bench.connect();
        bench.check("CONFIG GET timeout", "*2 $7 timeout $1 8");
        bench.check("CONFIG SET requirepass pw", "+OK");
        bench.check("PING", "+PONG");
        bench.connect();
        bench.check("PING", "-NOAUTH Authentication required.");
    }

    #[test]
    fn limits_reach_connections_that_are_open() {
        let mut bench = Bench::with_shards(2, "");
        bench.connect();
        bench.check("CONFIG SET proto-max-bulk-len 1mb", "+OK");
        bench.switch(0);
        bench.check("*2\n$4\nECHO\n$1048577", "-ERR Protocol error: invalid bulk length <closed>");
    }
}
