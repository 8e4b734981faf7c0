//! The family PUBSUB: specs, and what PUBSUB tells about subscriptions. How messages travel is in `crate::pubsub`.

use std::sync::Arc;

use bytes::Bytes;
use torc_commands::{Access, Arity, Docs, Flags, Group, KeySpec, Spec};
use torc_datatypes::glob::glob_match;
use torc_keyspace::slot_of;
use torc_resp::{Args, CommandError};

use crate::connection::Connection;
use crate::packet::ShardId;
use crate::pubsub::Kind;
use crate::shard::Shard;

use super::{Flow, SessionCommand, SessionRun, help};

pub static COMMANDS: &[SessionCommand] =
    &[PSUBSCRIBE, PUBLISH, PUBSUB, PUNSUBSCRIBE, SPUBLISH, SSUBSCRIBE, SUBSCRIBE, SUNSUBSCRIBE, UNSUBSCRIBE];

const ALWAYS: Flags = Flags::PUBSUB.and(Flags::LOADING).and(Flags::STALE);
const LISTENING: Flags = ALWAYS.and(Flags::NOSCRIPT);

const SUBSCRIBE: SessionCommand = SessionCommand {
    spec: Spec {
        name: "subscribe",
        arity: Arity::at_least(2),
        flags: LISTENING.and(Flags::SENTINEL),
        docs: &Docs {
            syntax: "SUBSCRIBE channel [channel ...]",
            summary: "Listens for messages published to channels.",
            since: "2.0.0",
            complexity: "O(N) where N is the number of channels to subscribe to.",
            group: Group::PubSub,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(|shard, connection, args| shard.subscribe(connection, Kind::Channel, args)),
    subcommands: &[],
};

const UNSUBSCRIBE: SessionCommand = SessionCommand {
    spec: Spec {
        name: "unsubscribe",
        arity: Arity::at_least(1),
        flags: LISTENING.and(Flags::SENTINEL),
        docs: &Docs {
            syntax: "UNSUBSCRIBE [channel [channel ...]]",
            summary: "Stops listening to messages posted to channels.",
            since: "2.0.0",
            complexity: "O(N) where N is the number of channels to unsubscribe.",
            group: Group::PubSub,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(|shard, connection, args| shard.unsubscribe(connection, Kind::Channel, args)),
    subcommands: &[],
};

const PSUBSCRIBE: SessionCommand = SessionCommand {
    spec: Spec {
        name: "psubscribe",
        arity: Arity::at_least(2),
        flags: LISTENING.and(Flags::SENTINEL),
        docs: &Docs {
            syntax: "PSUBSCRIBE pattern:pattern [pattern:pattern ...]",
            summary: "Listens for messages published to channels that match one or more patterns.",
            since: "2.0.0",
            complexity: "O(N) where N is the number of patterns to subscribe to.",
            group: Group::PubSub,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(|shard, connection, args| shard.subscribe(connection, Kind::Pattern, args)),
    subcommands: &[],
};

const PUNSUBSCRIBE: SessionCommand = SessionCommand {
    spec: Spec {
        name: "punsubscribe",
        arity: Arity::at_least(1),
        flags: LISTENING.and(Flags::SENTINEL),
        docs: &Docs {
            syntax: "PUNSUBSCRIBE [pattern:pattern [pattern:pattern ...]]",
            summary: "Stops listening to messages published to channels that match one or more patterns.",
            since: "2.0.0",
            complexity: "O(N) where N is the number of patterns to unsubscribe.",
            group: Group::PubSub,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(|shard, connection, args| shard.unsubscribe(connection, Kind::Pattern, args)),
    subcommands: &[],
};

const SSUBSCRIBE: SessionCommand = SessionCommand {
    spec: Spec {
        name: "ssubscribe",
        arity: Arity::at_least(2),
        flags: LISTENING,
        keys: &[KeySpec::range(1, -1, 1, Access::NOT_KEY)],
        docs: &Docs {
            syntax: "SSUBSCRIBE shardchannel [shardchannel ...]",
            summary: "Listens for messages published to shard channels.",
            since: "7.0.0",
            complexity: "O(N) where N is the number of shard channels to subscribe to.",
            group: Group::PubSub,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(|shard, connection, args| {
        shard.subscribe(connection, Kind::ShardChannel, args)
    }),
    subcommands: &[],
};

const SUNSUBSCRIBE: SessionCommand = SessionCommand {
    spec: Spec {
        name: "sunsubscribe",
        arity: Arity::at_least(1),
        flags: LISTENING,
        keys: &[KeySpec::range(1, -1, 1, Access::NOT_KEY)],
        docs: &Docs {
            syntax: "SUNSUBSCRIBE [shardchannel [shardchannel ...]]",
            summary: "Stops listening to messages posted to shard channels.",
            since: "7.0.0",
            complexity: "O(N) where N is the number of shard channels to unsubscribe.",
            group: Group::PubSub,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(|shard, connection, args| {
        shard.unsubscribe(connection, Kind::ShardChannel, args)
    }),
    subcommands: &[],
};

const PUBLISH: SessionCommand = SessionCommand {
    spec: Spec {
        name: "publish",
        arity: Arity::exactly(3),
        flags: ALWAYS.and(Flags::FAST).and(Flags::MAY_REPLICATE).and(Flags::SENTINEL),
        docs: &Docs {
            syntax: "PUBLISH channel message",
            summary: "Posts a message to a channel.",
            since: "2.0.0",
            complexity: "O(N+M) where N is the number of clients subscribed to the receiving channel and M is the total number of subscribed patterns (by any client).",
            group: Group::PubSub,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Publish(Kind::Channel),
    subcommands: &[],
};

const SPUBLISH: SessionCommand = SessionCommand {
    spec: Spec {
        name: "spublish",
        arity: Arity::exactly(3),
        flags: ALWAYS.and(Flags::FAST).and(Flags::MAY_REPLICATE),
        keys: &[KeySpec::at(1, Access::NOT_KEY)],
        docs: &Docs {
            syntax: "SPUBLISH shardchannel message",
            summary: "Posts a message to a shard channel.",
            since: "7.0.0",
            complexity: "O(N) where N is the number of clients subscribed to the receiving shard channel.",
            group: Group::PubSub,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Publish(Kind::ShardChannel),
    subcommands: &[],
};

const PUBSUB: SessionCommand = SessionCommand {
    spec: Spec {
        name: "pubsub",
        arity: Arity::at_least(2),
        docs: &Docs {
            syntax: "PUBSUB",
            summary: "A container for Pub/Sub commands.",
            since: "2.8.0",
            complexity: "Depends on subcommand.",
            group: Group::PubSub,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Container,
    subcommands: &[CHANNELS, HELP, NUMPAT, NUMSUB, SHARDCHANNELS, SHARDNUMSUB],
};

const CHANNELS: SessionCommand = SessionCommand {
    spec: Spec {
        name: "channels",
        arity: Arity::at_least(2),
        flags: ALWAYS,
        docs: &Docs {
            syntax: "PUBSUB CHANNELS [pattern:pattern]",
            summary: "Returns the active channels.",
            since: "2.8.0",
            complexity: "O(N) where N is the number of active channels, and assuming constant time pattern matching (relatively short channels and patterns)",
            group: Group::PubSub,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(|shard, connection, args| channels(shard, connection, Kind::Channel, args)),
    subcommands: &[],
};

const SHARDCHANNELS: SessionCommand = SessionCommand {
    spec: Spec {
        name: "shardchannels",
        arity: Arity::at_least(2),
        flags: ALWAYS,
        docs: &Docs {
            syntax: "PUBSUB SHARDCHANNELS [pattern:pattern]",
            summary: "Returns the active shard channels.",
            since: "7.0.0",
            complexity: "O(N) where N is the number of active shard channels, and assuming constant time pattern matching (relatively short shard channels).",
            group: Group::PubSub,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(|shard, connection, args| {
        channels(shard, connection, Kind::ShardChannel, args)
    }),
    subcommands: &[],
};

impl Shard {
    /// Channels that this shard is home to and somebody listens to.
    pub fn channels_here(&self, kind: Kind) -> impl Iterator<Item = &Bytes> {
        // Every shard counts the listeners of keyspace events.
        let events = self
            .pubsub
            .event_names()
            .filter(move |name| kind == Kind::Channel && self.slots.owner(slot_of(name)) == self.id);
        self.pubsub.names(kind).chain(events)
    }
}

/// Every channel has one home, so the homes' lists have nothing in common.
fn channels(
    shard: &mut Shard,
    connection: &mut Connection,
    kind: Kind,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    if args.len() > 3 {
        return Err(too_many_arguments(args));
    }
    let pattern = args.opt(2).map(Box::<[u8]>::from);
    let list = move |shard: &mut Shard| -> Vec<Bytes> {
        let wanted = |name: &&Bytes| pattern.as_ref().is_none_or(|pattern| glob_match(pattern, name, false));
        shard.channels_here(kind).filter(wanted).cloned().collect()
    };
    Ok(shard.call_all(connection, list, |_, connection, parts| {
        let mut reply = connection.reply();
        reply.array(parts.iter().map(Vec::len).sum());
        parts.iter().flatten().for_each(|name| reply.bulk_bytes(name));
        Ok(())
    }))
}

/// Redis finds too many arguments inside the command, and words it so.
fn too_many_arguments(args: Args<'_>) -> CommandError {
    let subcommand = String::from_utf8_lossy(args.get(1));
    let text =
        format!("ERR unknown subcommand or wrong number of arguments for '{subcommand}'. Try PUBSUB HELP.");
    CommandError::Owned(text.into())
}

const NUMSUB: SessionCommand = SessionCommand {
    spec: Spec {
        name: "numsub",
        arity: Arity::at_least(2),
        flags: ALWAYS,
        docs: &Docs {
            syntax: "PUBSUB NUMSUB [channel [channel ...]]",
            summary: "Returns a count of subscribers to channels.",
            since: "2.8.0",
            complexity: "O(N) for the NUMSUB subcommand, where N is the number of requested channels",
            group: Group::PubSub,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(|shard, connection, args| holders(shard, connection, Kind::Channel, args)),
    subcommands: &[],
};

const SHARDNUMSUB: SessionCommand = SessionCommand {
    spec: Spec {
        name: "shardnumsub",
        arity: Arity::at_least(2),
        flags: ALWAYS,
        docs: &Docs {
            syntax: "PUBSUB SHARDNUMSUB [shardchannel [shardchannel ...]]",
            summary: "Returns the count of subscribers of shard channels.",
            since: "7.0.0",
            complexity: "O(N) for the SHARDNUMSUB subcommand, where N is the number of requested shard channels",
            group: Group::PubSub,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(|shard, connection, args| holders(shard, connection, Kind::ShardChannel, args)),
    subcommands: &[],
};

fn holders(
    shard: &mut Shard,
    connection: &mut Connection,
    kind: Kind,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let names: Arc<[Bytes]> = args.iter().skip(2).map(Bytes::copy_from_slice).collect();
    let mut homes: Vec<ShardId> = names.iter().map(|name| shard.slots.owner(slot_of(name))).collect();
    homes.sort_unstable();
    homes.dedup();
    if homes.is_empty() {
        connection.reply().array(0);
        return Ok(Flow::Done);
    }
    let asked = Arc::clone(&names);
    let count = move |shard: &mut Shard| -> Vec<u64> {
        asked.iter().map(|name| shard.pubsub.holders(kind, name)).collect()
    };
    Ok(shard.call(connection, &homes, count, move |_, connection, parts| {
        let mut reply = connection.reply();
        reply.array(names.len() * 2);
        for (index, name) in names.iter().enumerate() {
            reply.bulk_bytes(name);
            // Only a channel's home has holders of it.
            reply.int(parts.iter().map(|part| part[index]).sum::<u64>() as i64);
        }
        Ok(())
    }))
}

const NUMPAT: SessionCommand = SessionCommand {
    spec: Spec {
        name: "numpat",
        arity: Arity::exactly(2),
        flags: ALWAYS,
        docs: &Docs {
            syntax: "PUBSUB NUMPAT",
            summary: "Returns a count of unique pattern subscriptions.",
            since: "2.8.0",
            group: Group::PubSub,
            ..Docs::DEFAULT
        },
        ..Spec::DEFAULT
    },
    run: SessionRun::Function(numpat),
    subcommands: &[],
};

/// Every shard knows all patterns.
fn numpat(shard: &mut Shard, connection: &mut Connection, _args: Args<'_>) -> Result<Flow, CommandError> {
    connection.reply().int(shard.pubsub.names_count(Kind::Pattern) as i64);
    Ok(Flow::Done)
}

const HELP: SessionCommand = help::help(&help::docs("PUBSUB HELP", "6.2.0", Group::PubSub));
