//! Pages made from the table: `docs/config.md`, `deploy/config/torc.toml`, and the texts of --help and
//! --version. A test compares the files with what these functions give.

use std::fmt::Write;

use super::DEFAULTS;
use super::rewrite::toml_line;
use super::setting::{Change, Effect, Kind, Setting};
use super::table::{self, CHAPTERS, DIRECTIVES, Id};

/// First line of what `torc --version` prints.
pub fn version_text() -> String {
    format!("torc {}\n", env!("CARGO_PKG_VERSION"))
}

pub fn help_text() -> String {
    "Usage: torc [FILE] [-] [--NAME VALUE ...]... [--NAME=VALUE]...
       torc aof check|dump DIR    (torc aof --help)

  FILE              configuration: TOML when the name ends in .toml, else in the syntax of redis.conf
  -                 read redis.conf syntax from standard input
  --NAME VALUE ...  one setting, by the name it has in CONFIG GET
  --env             also read settings from TORC_NAME variables (TORC_MAXMEMORY_POLICY and so on)

  --check-config    report all problems of the configuration and exit with 0 or 1
  --convert         print the configuration as TOML and exit
  -v, --version     print the version and exit
  -h, --help        print this and exit

Later wins: defaults, FILE, standard input, environment, command line. CONFIG SET changes a running server,
CONFIG REWRITE writes its settings back to FILE.

  torc
  torc --port 7000 --shards 4
  torc /etc/torc/torc.toml --loglevel verbose
  torc --convert /etc/redis/redis.conf > torc.toml
"
    .into()
}

const INTRODUCTION: &str = "# Configuration

<!-- Generated from crates/server/src/config/table/. Do not edit: run `TORC_BLESS=1 cargo test -p torc-server config`. -->

torc needs no configuration. Settings have the names of Redis and Valkey and can be given in three ways, where
the later wins:

1. A file, named first on the command line: `torc /etc/torc/torc.toml`. A name that ends in `.toml` is TOML:
   one table per section below, one key per setting, unknown keys are errors. Any other name, or `-` for
   standard input, is the syntax of `redis.conf`, with `include`. `torc --convert redis.conf` prints the TOML.
2. With `--env`, environment variables: `TORC_MAXMEMORY_POLICY` is `maxmemory-policy`.
3. The command line: `--port 7000 --save \"\"`, also `--port=7000`. Several values may follow a name.

`rename-command NAME NEW` gives a command another name, and `rename-command NAME \"\"` takes it away; in TOML,
`[security.rename-command]` holds `NAME = \"NEW\"`.

Lines of `save` add up, also over files and command line; `save \"\"` starts afresh. Each line of
`client-output-buffer-limit` changes the classes it names.

`CONFIG SET` changes several settings at once or none. `CONFIG REWRITE` writes the settings back to the file in
its own syntax and keeps comments; included files and standard input are not rewritten.
`torc --check-config FILE` reports all problems with file and line and exits with 0 or 1.

Memory: `100` bytes, `100k` = 100,000, `100kb` = 102,400, and likewise `m`, `mb`, `g`, `gb`.

What the column *Change* means: **run time**: CONFIG SET. **start**: only before the server starts.
**protected**: CONFIG SET, if `enable-protected-configs` allows.

Settings marked **no effect** are accepted, stored and reported, so that files and tools made for Redis work,
but nothing acts on them; when one is changed, a warning in the log at start says so. Settings marked
**refused** accept only their default, because to ignore them would break a promise about security or
durability.
";

const DIFFERENCES: &str = "
## Differences from Valkey 8.1

Names, defaults and error texts are compared with real servers by a test. What differs on purpose:

- CONFIG GET shows `(hidden)` in place of a password that is set, and CONFIG SET takes that to mean no change.
- `log-format` offers `json` and not `logfmt`; `syslog-ident` is `torc`.
- A memory value needs digits (Valkey reads `mb` as 0) and never wraps around.
- `notify-keyspace-events` shows `n` also beside `A`.
- `bind` and `locale-collate` are not checked by CONFIG SET itself.
- Values must be UTF-8.
- CONFIG GET answers in alphabetical order.
- An error in a file names the file as well as the line; what may be a secret is replaced by `(hidden)`.
- CONFIG REWRITE changes only lines whose value changed, and keeps the spelling of their names.
- `torc --help` exits with 0.
";

/// The text of `docs/config.md`.
pub fn markdown() -> String {
    let mut page = String::from(INTRODUCTION);
    for chapter in CHAPTERS {
        let _ = write!(page, "\n## [{}]\n\n{}\n\n", chapter.section, chapter.about);
        page.push_str("| Setting | Type | Default | Change | What it does |\n|---|---|---|---|---|\n");
        for id in table::ids().filter(|id| id.chapter().section == chapter.section) {
            page.push_str(&row(id));
        }
    }
    page.push_str("\n## Directives of redis.conf that are not supported\n\n");
    page.push_str("Any directive that is not on this page is an error.\n\n");
    page.push_str("| Directive | What happens | Why |\n|---|---|---|\n");
    for directive in DIRECTIVES {
        let what = if directive.refused { "start fails" } else { "ignored with a warning" };
        let _ = writeln!(page, "| `{}` | {what} | {} |", directive.name, directive.why);
    }
    page.push_str(DIFFERENCES);
    page
}

fn row(id: Id) -> String {
    let setting = id.setting();
    let mut names = format!("`{}`", setting.name);
    for alias in setting.aliases {
        let _ = write!(names, "<br>`{alias}`");
    }
    let default = if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
    let change = match setting.change {
        Change::AtRunTime => "run time",
        Change::AtStart => "start",
        Change::Protected => "protected",
    };
    let effect = match setting.effect {
        Effect::Active => String::new(),
        Effect::None(why) => format!(" **No effect**: {why}."),
        Effect::Refused(why) => format!(" **Refused**: {why}."),
    };
    let kind = describe_kind(setting.kind);
    let hidden = if setting.hidden { " Hidden from `CONFIG GET *`." } else { "" };
    format!("| {names} | {kind} | {default} | {change} | {}{hidden}{effect} |\n", setting.doc)
}

fn describe_kind(kind: Kind) -> String {
    let range = |min: i64, max: i64| match (min, max) {
        (i64::MIN, i64::MAX) => "integer".to_string(),
        (min, i64::MAX) => format!("integer from {min}"),
        (min, max) => format!("{min} to {max}"),
    };
    match kind {
        Kind::Bool => "`yes`, `no`".into(),
        Kind::Int { min, max } => range(min, max),
        Kind::ClampedInt { low, high, .. } => range(low, high),
        Kind::AutoOrInt { min, max } => format!("`auto`, {}", range(min, max)),
        Kind::Memory { min, .. } if min > 1 => format!("memory from {min}"),
        Kind::Memory { .. } => "memory".into(),
        Kind::MemoryOrPercent | Kind::MemoryOrShare => "memory or percent".into(),
        Kind::Octal { .. } => "octal".into(),
        Kind::Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Kind::Text(_) => "text".into(),
        Kind::Directory => "folder".into(),
        Kind::Addresses { max } => format!("up to {max} addresses"),
        Kind::SavePoints => "pairs of seconds and changes".into(),
        Kind::OutputLimits => "class, hard, soft, seconds".into(),
        Kind::EventFlags => "letters of `Ag$lshzxeKEtmdn`".into(),
        Kind::OomScores => "three numbers".into(),
        Kind::Percentiles => "numbers from 0 to 100".into(),
        Kind::Endpoint => "host and port".into(),
    }
}

/// The text of `deploy/config/torc.toml`: every setting that torc acts on, commented out, at its default.
pub fn annotated_toml() -> String {
    let mut file = String::from(
        "# torc's settings at their defaults. Remove the `#` in front of a line to change it.\n\
         # All settings, also those that are accepted without effect: docs/config.md.\n\
         # Generated: run `TORC_BLESS=1 cargo test -p torc-server config`.\n",
    );
    for chapter in CHAPTERS {
        let active: Vec<Id> = table::ids()
            .filter(|id| id.chapter().section == chapter.section && id.setting().effect == Effect::Active)
            .collect();
        if active.is_empty() {
            continue;
        }
        let _ = write!(file, "\n# {}\n[{}]\n", chapter.about, chapter.section);
        for id in active {
            file.push('\n');
            for line in wrapped(&comment(id.setting())) {
                let _ = writeln!(file, "# {line}");
            }
            // The default folder is wherever the server is started, not where this page was made.
            let line = match id.setting().kind {
                Kind::Directory => format!("{} = \"{}\"", id.setting().name, id.setting().default),
                _ => toml_line(id, &DEFAULTS[id.index()]),
            };
            let _ = writeln!(file, "# {line}");
        }
    }
    file
}

fn comment(setting: &Setting) -> String {
    let kind = match setting.kind {
        Kind::Bool => "true, false".into(),
        kind => describe_kind(kind).replace('`', ""),
    };
    let doc = setting.doc.replace('`', "");
    let change = match setting.change {
        Change::AtRunTime => "",
        Change::AtStart => "; only at start",
        Change::Protected => "; protected",
    };
    format!("{doc} ({kind}{change})")
}

/// Lines of at most 100 characters.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= 100 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}
