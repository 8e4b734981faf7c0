//! COMMAND LIST: names of commands and subcommands, all or some.

use torc_commands::Category;
use torc_datatypes::glob::glob_match;
use torc_resp::{Args, CommandError};

use crate::connection::Connection;
use crate::registry::{Registered, registry};
use crate::session::Flow;
use crate::shard::Shard;

type Wanted<'a> = Box<dyn Fn(&Registered) -> bool + 'a>;

/// COMMAND LIST [FILTERBY (MODULE module-name | ACLCAT category | PATTERN pattern)]
pub(super) fn list(
    _shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let wanted: Wanted<'_> = match args.len() {
        2 => Box::new(|_| true),
        5 if args.is(2, b"FILTERBY") => filter(args)?,
        _ => return Err(CommandError::Syntax),
    };
    let names: Vec<&str> =
        registry().all().iter().filter(|command| wanted(command)).map(|command| command.name).collect();
    let mut reply = connection.reply();
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name.as_bytes()));
    Ok(Flow::Done)
}

fn filter(args: Args<'_>) -> Result<Wanted<'_>, CommandError> {
    let value = args.get(4);
    if args.is(3, b"ACLCAT") {
        let category = Category::by_name(value);
        return Ok(Box::new(move |command| {
            category.is_some_and(|category| command.categories().contains(&category))
        }));
    }
    if args.is(3, b"PATTERN") {
        return Ok(Box::new(move |command| glob_match(value, command.name.as_bytes(), true)));
    }
    if args.is(3, b"MODULE") {
        // There are no modules, so no command comes from one.
        return Ok(Box::new(|_| false));
    }
    Err(CommandError::Syntax)
}
