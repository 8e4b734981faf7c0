//! Rules that every command of the table keeps, whichever family it is of.
//!
//! Goal: what is derived from a spec (arity, keys, flags, categories, docs) cannot contradict the rest of the spec, so
//! that one wrong line in a family is found here and not by a client.

use std::collections::HashSet;

use torc_commands::docs::{self, Argument, ArgumentKind};
use torc_commands::{Access, Category, Flags, Fold, Run, keys};
use torc_resp::OwnedArgs;
use torc_server::docs::commands_markdown;
use torc_server::registry::{Registered, Route, registry};

/// Commands whose arity and syntax differ in Redis too: QUIT ignores what follows it, and every filter of CLIENT KILL is
/// optional, but one must be there.
const ARITY_EXCEPTIONS: &[&str] = &["quit", "client|kill"];

/// Commands that look at all shards and yet promise clients nothing about it (in Redis they run once).
const NO_POLICY: &[&str] = &["swapdb"];

fn all(check: impl Fn(&Registered) -> Result<(), String>) {
    let wrong: Vec<String> = registry()
        .all()
        .iter()
        .filter_map(|command| check(command).err().map(|problem| format!("{}: {problem}", command.name)))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn ensure(holds: bool, problem: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(problem.into()) }
}

fn is_container(command: &Registered) -> bool {
    matches!(command.route, Route::Container)
}

fn name_words(command: &Registered) -> usize {
    1 + usize::from(command.container.is_some())
}

#[test]
fn names_are_unique_and_lower_case() {
    let mut seen = HashSet::new();
    for command in registry().all() {
        assert!(seen.insert(command.name), "{} twice", command.name);
    }
    all(|command| ensure(command.name == command.name.to_ascii_lowercase(), "not in lower case"));
}

#[test]
fn docs_are_complete() {
    all(|command| {
        let docs = command.spec.docs;
        ensure(!docs.summary.is_empty(), "no summary")?;
        ensure(!docs.complexity.is_empty(), "no complexity")?;
        ensure(docs.since.split('.').count() == 3, format!("since {:?} is no version", docs.since))?;
        ensure(!docs.summary.contains(['\r', '\n']), "a summary is one line")
    });
}

#[test]
fn syntax_is_readable_and_begins_with_the_name() {
    all(|command| {
        let syntax = command.spec.docs.syntax;
        let name = command.name.replace('|', " ").to_ascii_uppercase();
        ensure(syntax == name || syntax.starts_with(&format!("{name} ")), format!("{syntax:?}"))?;
        docs::arguments(command.spec, name_words(command)).map(drop).map_err(|error| error.to_string())
    });
}

#[test]
fn arity_agrees_with_the_syntax() {
    all(|command| {
        // A container stands for its subcommands.
        if !command.subcommands.is_empty() || ARITY_EXCEPTIONS.contains(&command.name) {
            return Ok(());
        }
        let (least, exact) = docs::words(&command.arguments());
        let least = (least + name_words(command)) as i64;
        let expected = if exact { least } else { -least };
        ensure(
            command.spec.arity.signed() == expected,
            format!("{} and not {expected}", command.spec.arity.signed()),
        )
    });
}

#[test]
fn key_placeholders_are_what_the_key_specs_find() {
    all(|command| {
        let arguments = command.arguments();
        for form in
            [Form { full: false, choice: 0 }, Form { full: true, choice: 0 }, Form { full: true, choice: 1 }]
        {
            let mut words: Vec<(String, bool)> =
                command.name.split('|').map(|word| (word.to_owned(), false)).collect();
            form.write(&arguments, &mut words);
            let mut request = OwnedArgs::new();
            for (index, (word, _)) in words.iter().enumerate() {
                let counted = words[index..].iter().filter(|(_, is_key)| *is_key).count();
                let word = match word.as_str() {
                    "numkeys" => counted.to_string(),
                    // A token for a word without letters.
                    "\"\"" => String::new(),
                    word => word.to_owned(),
                };
                request.push(word.as_bytes());
            }
            let mut found = Vec::new();
            let valid = keys::for_each(command.spec, request.as_args(), |index, access| {
                if !access.has(Access::NOT_KEY) {
                    found.push(index);
                }
            });
            found.sort_unstable();
            let marked: Vec<usize> = (0..words.len()).filter(|&index| words[index].1).collect();
            let text = words.iter().map(|(word, _)| word.as_str()).collect::<Vec<&str>>().join(" ");
            let has_keys = command.spec.keys.iter().any(|key| !key.access.has(Access::NOT_KEY));
            let has_found = valid.is_ok() || !found.is_empty();
            ensure(has_found || !has_keys, format!("no keys found in: {text}"))?;
            ensure(found == marked, format!("keys {found:?} and not {marked:?} in: {text}"))?;
        }
        Ok(())
    });
}

/// How a sample request is made from a syntax.
struct Form {
    /// With all options, and everything that can be repeated twice.
    full: bool,
    /// Which alternative.
    choice: usize,
}

impl Form {
    fn write(&self, arguments: &[Argument], words: &mut Vec<(String, bool)>) {
        for argument in arguments {
            if argument.optional && !self.full {
                continue;
            }
            for turn in 0..if argument.multiple && self.full { 2 } else { 1 } {
                if let Some(token) = &argument.token
                    && (turn == 0 || argument.multiple_token)
                {
                    words.push((token.clone(), false));
                }
                match argument.kind {
                    ArgumentKind::PureToken => {}
                    ArgumentKind::Block => self.write(&argument.arguments, words),
                    ArgumentKind::OneOf => {
                        let choice = self.choice % argument.arguments.len();
                        self.write(&argument.arguments[choice..=choice], words);
                    }
                    ArgumentKind::Key => words.push(("k".into(), true)),
                    _ => words.push((argument.name.clone(), false)),
                }
            }
        }
    }
}

#[test]
fn flags_do_not_contradict_each_other() {
    all(|command| {
        let flags = command.spec.flags;
        ensure(!(flags.has(Flags::WRITE) && flags.has(Flags::READONLY)), "both write and readonly")?;
        ensure(!flags.has(Flags::DENYOOM) || flags.has(Flags::WRITE), "denyoom without write")?;
        let writes_keys =
            command.spec.keys.iter().any(|key| !key.access.reads_only() && !key.access.has(Access::NOT_KEY));
        // MAY_REPLICATE: what it writes is no change of the data (PFCOUNT keeps its estimate).
        let may_write = flags.has(Flags::WRITE) || flags.has(Flags::MAY_REPLICATE);
        ensure(!writes_keys || may_write, "writes keys without the flag")?;
        let modes = [Access::RO, Access::RW, Access::OW, Access::RM];
        for key in command.spec.keys.iter().filter(|key| !key.access.has(Access::NOT_KEY)) {
            let count = modes.iter().filter(|mode| key.access.has(**mode)).count();
            ensure(count == 1, format!("a key is {count} of RO, RW, OW and RM"))?;
        }
        ensure(!is_container(command) || command.spec.keys.is_empty(), "a container has keys")
    });
}

#[test]
fn categories_are_sane() {
    all(|command| {
        let categories = command.categories();
        let has = |category| categories.contains(&category);
        ensure(has(Category::Fast) != has(Category::Slow), "not exactly one of fast and slow")?;
        ensure(!has(Category::Admin) || has(Category::Dangerous), "admin and not dangerous")?;
        ensure(!(has(Category::Read) && has(Category::Write)), "both read and write")?;
        let data = matches!(command.route, Route::Data(_));
        let typed = categories.iter().any(|category| !matches!(category, Category::Fast | Category::Slow));
        ensure(!data || typed, "a data command without a category")
    });
}

#[test]
fn tips_say_how_a_command_runs() {
    all(|command| {
        let tips = command.spec.tips;
        let policy = |name: &str| {
            tips.iter().find_map(|tip| tip.strip_prefix(name).and_then(|rest| rest.strip_prefix(':')))
        };
        let (request, response) = (policy("request_policy"), policy("response_policy"));
        let expected = match command.route {
            Route::Data(Run::Split { fold, .. }) => {
                let response = match fold {
                    Fold::Sum => Some("agg_sum"),
                    Fold::Ok => Some("all_succeeded"),
                    Fold::Array => None,
                };
                Some((Some("multi_shard"), response))
            }
            Route::Data(Run::EveryShard { .. }) if NO_POLICY.contains(&command.name) => Some((None, None)),
            Route::Data(Run::EveryShard { .. }) => Some((Some("all_shards"), response)),
            Route::Data(Run::ByCursor { .. }) => Some((Some("special"), Some("special"))),
            _ => None,
        };
        match expected {
            Some(expected) => ensure((request, response) == expected, format!("{request:?}, {response:?}")),
            None => Ok(()),
        }
    });
}

#[test]
fn the_page_of_commands_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/commands.md");
    let expected = commands_markdown();
    if std::env::var_os("TORC_BLESS").is_some() {
        return std::fs::write(path, expected).expect("docs/ can be written");
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/commands.md is stale: run `TORC_BLESS=1 cargo test -p torc-server --test table`"
    );
}
