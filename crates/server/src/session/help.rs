//! HELP of every command that has subcommands, made from the table of commands.
//!
//! Owns the layout of Redis's help texts: one line for each form of a subcommand, and below it what it does. Never
//! holds texts of its own besides the first and the last lines.

use torc_commands::{Arity, Category, Docs, Group, Spec};
use torc_resp::{Args, CommandError};

use crate::connection::Connection;
use crate::registry::registry;
use crate::shard::Shard;

use super::{ALWAYS, Flow, SessionCommand};

/// The subcommand HELP of any container.
pub const fn help(docs: &'static Docs) -> SessionCommand {
    let categories: &[Category] =
        if matches!(docs.group, Group::Connection) { &[Category::Connection] } else { &[] };
    SessionCommand::new(
        Spec { name: "help", arity: Arity::exactly(2), flags: ALWAYS, categories, docs, ..Spec::DEFAULT },
        answer,
    )
}

/// Docs of a HELP subcommand; `syntax` is the container's name and `HELP`.
pub const fn docs(syntax: &'static str, since: &'static str, group: Group) -> Docs {
    Docs { syntax, summary: "Print this help.", since, group, ..Docs::DEFAULT }
}

/// `<CONTAINER> HELP`
pub(super) fn answer(
    _shard: &mut Shard,
    connection: &mut Connection,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let container = registry().called(args.get(0)).expect("its subcommand was found");
    let mut lines = Vec::new();
    for subcommand in &container.subcommands {
        let docs = subcommand.spec.docs;
        let form = docs.syntax.split_once(' ').map_or("", |(_, form)| form);
        lines.push((shown_syntax(form), docs.summary));
    }
    // HELP stands last, wherever it is in the table.
    lines.sort_by_key(|(form, _)| form == "HELP");
    write(connection, container.name, lines.iter().map(|(form, summary)| (form.as_str(), *summary)));
    Ok(Flow::Done)
}

/// Write a help text: pairs of a form and what it does.
pub fn write<'a>(
    connection: &mut Connection,
    container: &str,
    lines: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
) {
    let mut reply = connection.reply();
    reply.array(1 + 2 * lines.len());
    let name = container.to_ascii_uppercase();
    reply.simple(&format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for (form, summary) in lines {
        reply.simple(form);
        reply.simple(&format!("    {summary}"));
    }
}

/// A syntax line as help texts show it: placeholders in angle brackets, without their types.
fn shown_syntax(syntax: &str) -> String {
    let words = syntax.split(' ').map(|word| {
        let start = word.trim_start_matches(['[', '(']);
        let core = start.trim_end_matches([']', ')']);
        let is_placeholder = core.starts_with(|first: char| first.is_ascii_lowercase());
        if !is_placeholder {
            return word.to_owned();
        }
        let open = &word[..word.len() - start.len()];
        let close = &start[core.len()..];
        let name = core.split(':').next().unwrap_or(core);
        format!("{open}<{name}>{close}")
    });
    words.collect::<Vec<String>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_in_brackets() {
        let cases = [
            ("GET", "GET"),
            ("PAUSE timeout:int [WRITE | ALL]", "PAUSE <timeout> [WRITE | ALL]"),
            ("GET parameter:pattern [parameter:pattern ...]", "GET <parameter> [<parameter> ...]"),
            ("KILL (address | [ID id:int [id:int ...]])", "KILL (<address> | [ID <id> [<id> ...]])"),
        ];
        for (syntax, shown) in cases {
            assert_eq!(shown_syntax(syntax), shown);
        }
    }
}
