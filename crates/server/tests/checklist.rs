//! The command table against the checklist of Valkey's commands (`checklist.txt`, beside this file).
//!
//! Goal: every command of the checklist is there, with its arity, flags, categories, tips and key positions, those that the
//! reference servers of the other tests are too old for included. A line of the list is one command: group, name, arity, flags,
//! categories, tips, and then where its keys stand (`begin:find/access`, as in COMMAND INFO's key specs).

use std::collections::BTreeSet;

use torc_commands::{Begin, Find, KeySpec};
use torc_server::registry::{Registered, registry};

/// What differs on purpose: command, field, what it is here, and why.
const DIFFERENT: &[(&str, &str, &str, &str)] = &[(
    "exec",
    "flags",
    "loading,noscript,skip_slowlog,stale",
    "Redis's name of what Valkey 8.1 calls skip_commandlog",
)];

#[test]
fn every_command_of_the_checklist_is_as_it_says() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in include_str!("checklist.txt").lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, name, arity, flags, categories, tips, keys @ ..] = &words[..] else {
            panic!("a line has seven words and more: {line}")
        };
        count += 1;
        let name = name.to_ascii_lowercase();
        let Some(command) = registry().all().iter().find(|command| command.name == name) else {
            wrong.push(format!("{name} is missing"));
            continue;
        };
        let (flags, categories) = (listed(flags), listed(categories));
        let expected = [
            ("arity", (*arity).to_owned()),
            ("categories", shown(&all_categories(&flags, &categories))),
            ("flags", shown(&flags)),
            ("tips", shown(&listed(tips))),
            ("keys", if *keys == ["nokeys"] { String::new() } else { keys.join(" ") }),
        ];
        for ((field, expected), found) in expected.iter().zip(facts(command)) {
            let is_meant =
                DIFFERENT.iter().any(|&(of, what, here, _)| of == name && what == *field && here == found);
            if *expected != found && !is_meant {
                wrong.push(format!("{name} {field}: {found} and not {expected}"));
            }
        }
    }
    assert!(count > 200, "only {count} commands");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// In the order of the fields above.
fn facts(command: &Registered) -> [String; 5] {
    let spec = command.spec;
    let keys: Vec<String> = spec.keys.iter().map(place).collect();
    [
        spec.arity.signed().to_string(),
        shown(&command.categories().iter().map(|category| category.name().to_owned()).collect()),
        shown(&spec.flags.names().map(str::to_owned).collect()),
        shown(&spec.tips.iter().map(|tip| (*tip).to_owned()).collect()),
        keys.join(" "),
    ]
}

fn place(key: &KeySpec) -> String {
    let begin = match key.begin {
        Begin::Index(index) => index.to_string(),
        Begin::Keyword { word, from } => format!("{word}@{from}"),
        Begin::Unknown => "unknown".into(),
    };
    let find = match key.find {
        Find::Argument(_) if matches!(key.begin, Begin::Keyword { .. }) => "range(0,1,0)".into(),
        Find::Range { last, step, limit } => format!("range({last},{step},{limit})"),
        Find::Count { count_at, first, step } => format!("keynum({count_at},{first},{step})"),
        Find::Rest(_) => "range(-1,1,0)".into(),
        Find::Argument(_) | Find::Unknown => "unknown".into(),
    };
    let access: BTreeSet<&str> = key.access.names().collect();
    format!("{begin}:{find}/{}", access.into_iter().collect::<Vec<&str>>().join("+"))
}

/// Those that follow from flags are not in the list.
fn all_categories(flags: &BTreeSet<String>, listed: &BTreeSet<String>) -> BTreeSet<String> {
    let mut all = listed.clone();
    let mut follows = |flag: &str, categories: &[&str]| {
        if flags.contains(flag) {
            all.extend(categories.iter().map(|&category| category.to_owned()));
        }
    };
    follows("write", &["write"]);
    follows("readonly", &["read"]);
    follows("admin", &["admin", "dangerous"]);
    follows("pubsub", &["pubsub"]);
    follows("blocking", &["blocking"]);
    all.insert(if flags.contains("fast") { "fast" } else { "slow" }.to_owned());
    all
}

fn listed(word: &str) -> BTreeSet<String> {
    word.split(',').filter(|name| *name != "-").map(str::to_ascii_lowercase).collect()
}

fn shown(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<&str>>().join(",")
}
