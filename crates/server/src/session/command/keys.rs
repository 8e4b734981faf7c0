//! COMMAND GETKEYS and GETKEYSANDFLAGS: which arguments of a request are keys.

use torc_commands::{Access, Flags, keys};
use torc_resp::{Args, CommandError};

use super::info::statuses;
use crate::connection::Connection;
use crate::registry::registry;
use crate::session::Flow;
use crate::shard::Shard;

/// COMMAND GETKEYS command [arg ...]
pub(super) fn get_keys(
    _shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let request = args.from(2);
    let keys = find(request)?;
    let mut reply = connection.reply();
    reply.array(keys.len());
    keys.iter().for_each(|&(index, _)| reply.bulk(request.get(index)));
    Ok(Flow::Done)
}

/// COMMAND GETKEYSANDFLAGS command [arg ...]
pub(super) fn get_keys_and_flags(
    _shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let request = args.from(2);
    let keys = find(request)?;
    let mut reply = connection.reply();
    reply.array(keys.len());
    for (index, access) in keys {
        reply.array(2);
        reply.bulk(request.get(index));
        statuses(&mut reply, access.names().map(str::to_owned).collect());
    }
    Ok(Flow::Done)
}

/// Keys of a request that is not run. Channels of sharded pub/sub have slots but are no keys.
fn find(request: Args<'_>) -> Result<Vec<(usize, Access)>, CommandError> {
    let found = registry().find(request.get(0)).and_then(|command| {
        match request.opt(1).filter(|_| !command.subcommands.is_empty()) {
            Some(subcommand) => command.subcommand(subcommand),
            None => Some(command),
        }
    });
    let command = found.ok_or(CommandError::Text("ERR Invalid command specified"))?;
    if command.spec.keys.iter().all(|key| key.access.has(Access::NOT_KEY)) {
        return Err(CommandError::Text("ERR The command has no key arguments"));
    }
    if !command.spec.arity.accepts(request.len()) {
        return Err(CommandError::Text("ERR Invalid number of arguments specified for command"));
    }
    let mut list = Vec::new();
    let valid = keys::for_each(command.spec, request, |index, access| list.push((index, access)));
    list.retain(|(_, access)| !access.has(Access::NOT_KEY));
    if (valid.is_err() || list.is_empty()) && !command.spec.flags.has(Flags::NO_MANDATORY_KEYS) {
        return Err(CommandError::Text("ERR Invalid arguments specified for command"));
    }
    Ok(list)
}
