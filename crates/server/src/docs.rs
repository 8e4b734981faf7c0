//! The page `docs/commands.md`, made from the registry.
//!
//! Owns its layout. A test compares the file with what [`commands_markdown`] gives.

use std::fmt::Write;

use torc_commands::{Group, Run, Status};

use crate::registry::{Registered, Route, registry};

const INTRODUCTION: &str = "# Commands

<!-- Generated from the command table. Do not edit: run `TORC_BLESS=1 cargo test -p torc-server --test table`. -->

Every command torc knows, in the syntax that `COMMAND DOCS` is made from: words in capitals are typed as they are, words
in small letters stand for values, `[…]` is optional, `(…)` groups, `|` separates alternatives and `...` repeats.

The column *Keys on several shards* says what happens when the keys of a request live on different shards:

- **gathered**: the keys are locked and brought together, and the command runs once, atomically;
- **split**: every shard does its own keys under locks, so that the whole is atomic too;
- **all shards**: the command looks at every shard, under a lock on all of them;
- **cursor**: each call looks at one shard, the one its cursor names;
- empty: the command has no keys, or one.

Differences from Redis and Valkey are in [differences.md](differences.md).
";

const GROUPS: &[Group] = &[
    Group::String,
    Group::Bitmap,
    Group::Generic,
    Group::List,
    Group::Hash,
    Group::Set,
    Group::SortedSet,
    Group::HyperLogLog,
    Group::Geo,
    Group::Stream,
    Group::PubSub,
    Group::Transactions,
    Group::Scripting,
    Group::Connection,
    Group::Server,
    Group::Cluster,
    Group::Sentinel,
];

/// The page as it should be.
pub fn commands_markdown() -> String {
    let mut page = String::from(INTRODUCTION);
    for &group in GROUPS {
        let mut commands: Vec<&Registered> =
            registry().all().iter().copied().filter(|command| is_listed(command, group)).collect();
        commands.sort_by_key(|command| command.name);
        if commands.is_empty() {
            continue;
        }
        write!(page, "\n## {}\n\n", group.name()).expect("a string grows");
        page.push_str("| Command | What it does | Since | Complexity | Keys on several shards |\n");
        page.push_str("|---|---|---|---|---|\n");
        for command in commands {
            row(&mut page, command);
        }
    }
    page
}

/// Containers stand only for their subcommands.
fn is_listed(command: &Registered, group: Group) -> bool {
    command.spec.docs.group == group && !matches!(command.route, Route::Container)
}

fn row(page: &mut String, command: &Registered) {
    let docs = command.spec.docs;
    let mut summary = cell(docs.summary);
    if let Status::Deprecated { replaced_by, .. } = docs.status {
        write!(summary, " Deprecated: use {}.", cell(replaced_by)).expect("a string grows");
    }
    writeln!(
        page,
        "| `{}` | {summary} | {} | {} | {} |",
        cell(&without_types(docs.syntax)),
        docs.since,
        cell(docs.complexity),
        spread(command)
    )
    .expect("a string grows");
}

fn spread(command: &Registered) -> &'static str {
    match command.route {
        Route::Data(Run::EveryShard { .. }) => "all shards",
        Route::Data(Run::ByCursor { .. }) => "cursor",
        _ if command.spec.keys.is_empty() || command.single_key.is_some() => "",
        Route::Data(Run::Split { .. }) => "split",
        Route::Data(Run::OnShard(_) | Run::MayWait { .. } | Run::Anywhere { .. }) => "gathered",
        _ => "",
    }
}

/// A bar would end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// Syntax as people read it: `seconds:int` is `seconds`.
fn without_types(syntax: &str) -> String {
    let mut text = String::with_capacity(syntax.len());
    let mut in_type = false;
    for letter in syntax.chars() {
        in_type = match letter {
            ':' => true,
            'a'..='z' | '-' => in_type,
            _ => false,
        };
        if !in_type {
            text.push(letter);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_left_out() {
        assert_eq!(
            without_types("SET key value [EX seconds:int | EXAT at:unix-time] [a:double ...]"),
            "SET key value [EX seconds | EXAT at] [a ...]"
        );
    }

    #[test]
    fn every_command_is_on_the_page() {
        let page = commands_markdown();
        for command in registry().all() {
            if !matches!(command.route, Route::Container) {
                let syntax = cell(&without_types(command.spec.docs.syntax));
                assert!(page.contains(&format!("| `{syntax}` |")), "{}", command.name);
            }
        }
    }
}
