//! Starting: from arguments, files and environment to a [`Config`]. Order, later wins: defaults, file,
//! standard input, environment (only with `--env`), arguments. Reads files; never logs and never exits.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::Place;
use super::rewrite::{ConfigFile, Syntax};
use super::table::{self, Id};
use super::value::os_error_text;
use super::{Config, ConfigError, Problem, docs, redis_conf, rewrite, toml_file};

/// Prefix of environment variables: `TORC_MAXMEMORY_POLICY` is `maxmemory-policy`.
const ENV_PREFIX: &str = "TORC_";
/// Largest configuration file.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The directive that renames a command. It is no setting: CONFIG does not know it.
pub(super) const RENAME: &str = "rename-command";

/// A configuration to start with.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// To be logged as warnings once the log is set up: ignored directives and settings without effect.
    pub notes: Vec<String>,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Startup {
    Serve(Box<Loaded>),
    /// Print this to standard output and exit.
    Print {
        text: String,
        exit_code: i32,
    },
}

/// Reads the command line (without the program's name) and everything it refers to. On an error, print it to
/// standard error and exit with 1.
pub fn start(
    args: &[String],
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Startup, ConfigError> {
    let line = CommandLine::parse(args);
    let print = |text: String| Ok(Startup::Print { text, exit_code: 0 });
    match line.action {
        Action::Version => print(docs::version_text()),
        Action::Help => print(docs::help_text()),
        Action::Serve => Ok(Startup::Serve(Box::new(Loader::run(&line, env)?))),
        Action::CheckConfig => Ok(match Loader::run(&line, env) {
            Ok(loaded) => {
                let mut text: String = loaded.notes.iter().map(|note| format!("warning: {note}\n")).collect();
                text.push_str("configuration is fine\n");
                Startup::Print { text, exit_code: 0 }
            }
            Err(error) => Startup::Print {
                text: error.problems.iter().map(|problem| format!("{problem}\n")).collect(),
                exit_code: 1,
            },
        }),
        Action::Convert => {
            let loaded = Loader::run(&line, env)?;
            print(rewrite::as_toml(&loaded.config, &loaded.notes))
        }
    }
}

impl Config {
    /// As [`start`], for command lines that start a server.
    pub fn load(
        args: &[String],
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, ConfigError> {
        Loader::run(&CommandLine::parse(args), env)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Serve,
    Version,
    Help,
    CheckConfig,
    Convert,
}

impl Action {
    /// The short forms may be values of an option before them.
    fn of_flag(arg: &str, open: bool) -> Option<Self> {
        match arg {
            "--version" => Some(Action::Version),
            "--help" => Some(Action::Help),
            "-v" if !open => Some(Action::Version),
            "-h" if !open => Some(Action::Help),
            "--check-config" => Some(Action::CheckConfig),
            "--convert" => Some(Action::Convert),
            _ => None,
        }
    }
}

/// `[file] [-] [flags] [--name value ...]... [--name=value]...`
struct CommandLine {
    action: Action,
    file: Option<PathBuf>,
    stdin: bool,
    read_env: bool,
    options: Vec<(String, Vec<String>)>,
    unexpected: Vec<String>,
}

impl CommandLine {
    fn parse(args: &[String]) -> Self {
        let mut line = CommandLine {
            action: Action::Serve,
            file: None,
            stdin: false,
            read_env: false,
            options: Vec::new(),
            unexpected: Vec::new(),
        };
        // Whether plain words belong to the last option.
        let mut open = false;
        for (at, arg) in args.iter().enumerate() {
            let last = at + 1 == args.len();
            if let Some(action) = Action::of_flag(arg, open) {
                line.action = action;
                open = false;
                continue;
            }
            match arg.as_str() {
                "--env" => {
                    line.read_env = true;
                    open = false;
                }
                "-" if !open || last => line.stdin = true,
                "--" => open = false,
                _ if arg.starts_with("--") => match arg[2..].split_once('=') {
                    Some((name, value)) => {
                        line.options.push((name.into(), vec![value.into()]));
                        open = false;
                    }
                    None => {
                        line.options.push((arg[2..].into(), Vec::new()));
                        open = true;
                    }
                },
                _ => match line.options.last_mut() {
                    Some((_, values)) if open => values.push(arg.clone()),
                    _ if line.file.is_none() => line.file = Some(PathBuf::from(arg)),
                    _ => line.unexpected.push(arg.clone()),
                },
            }
        }
        line
    }
}

/// Collects values, and problems instead of stopping at the first.
pub(super) struct Loader {
    pub(super) config: Config,
    /// Settings given before, whose lists grow.
    seen: HashSet<Id>,
    pub(super) problems: Vec<Problem>,
    notes: Vec<String>,
}

impl Loader {
    pub(super) fn new() -> Self {
        Loader { config: Config::default(), seen: HashSet::new(), problems: Vec::new(), notes: Vec::new() }
    }

    fn run(
        line: &CommandLine,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, ConfigError> {
        let mut loader = Loader::new();
        if let Some(path) = &line.file {
            loader.read_main_file(path);
        }
        if line.stdin {
            let path = Path::new("standard input");
            if let Some(text) = loader.read_text(path, std::io::stdin().lock()) {
                redis_conf::read(&mut loader, &text, path);
            }
        }
        if line.read_env {
            loader.read_env(env);
        }
        for arg in &line.unexpected {
            loader.problem(Place::Arguments, arg.clone(), "unexpected argument".into());
        }
        for (name, values) in &line.options {
            let source = redis_conf::join_words(&format!("--{name}"), values);
            let words: Vec<&str> = values.iter().map(String::as_str).collect();
            loader.apply(Place::Arguments, &source, name, &words);
        }
        loader.read_password();
        if !loader.problems.is_empty() {
            return Err(ConfigError { problems: loader.problems });
        }
        loader.config.given = loader.seen;
        let mut notes = loader.notes;
        notes.extend(loader.config.notes());
        Ok(Loaded { config: loader.config, notes })
    }

    fn read_main_file(&mut self, path: &Path) {
        let Some(text) = self.open(path, Place::Path(path.into())) else {
            return;
        };
        let syntax = Syntax::of(path);
        match syntax {
            Syntax::Toml => toml_file::read(self, &text, path),
            Syntax::RedisConf => redis_conf::read(self, &text, path),
        }
        let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
        self.config.file = Some(ConfigFile { path, syntax });
    }

    /// The text of a file. Reports what is wrong at `place`.
    pub(super) fn open(&mut self, path: &Path, place: Place) -> Option<String> {
        match std::fs::File::open(path) {
            Ok(file) => self.read_text(path, file),
            Err(error) => {
                let text = format!("can't open config file '{}': {}", path.display(), os_error_text(&error));
                self.problem(place, String::new(), text);
                None
            }
        }
    }

    fn read_text(&mut self, path: &Path, from: impl Read) -> Option<String> {
        let mut bytes = Vec::new();
        let text = match from.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes) {
            Err(error) => os_error_text(&error),
            Ok(_) if bytes.len() as u64 > FILE_BYTES_MAX => {
                format!("the file is larger than {FILE_BYTES_MAX} bytes")
            }
            Ok(_) => match String::from_utf8(bytes) {
                Ok(text) => return Some(text),
                Err(_) => "the file is not valid UTF-8".into(),
            },
        };
        self.problem(Place::Path(path.into()), String::new(), text);
        None
    }

    /// `requirepass-file`. That nobody needs a password because its file is missing or empty must not happen.
    fn read_password(&mut self) {
        let Some(path) = self.config.requirepass_file() else { return };
        let source = format!("requirepass-file {}", path.display());
        let place = Place::Path(path.clone());
        match std::fs::read_to_string(&path) {
            Err(error) => self.problem(place, source, os_error_text(&error)),
            Ok(text) => match text.lines().next().filter(|line| !line.is_empty()) {
                None => self.problem(place, source, "the file holds no password".into()),
                Some(password) => self.config.file_password = password.into(),
            },
        }
    }

    /// `rename-command NAME NEW-NAME`
    pub(super) fn rename(&mut self, place: Place, source: String, words: &[&str]) {
        match words {
            [name, new_name] => self.config.renamed.push(((*name).into(), (*new_name).into())),
            _ => self.problem(place, source, "wrong number of arguments".into()),
        }
    }

    fn read_env(&mut self, env: impl IntoIterator<Item = (String, String)>) {
        let mut variables: Vec<(String, String)> =
            env.into_iter().filter(|(name, _)| name.starts_with(ENV_PREFIX)).collect();
        variables.sort();
        for (variable, value) in variables {
            let name = variable[ENV_PREFIX.len()..].to_ascii_lowercase().replace('_', "-");
            let source = format!("{variable}={value}");
            match redis_conf::split_words(&value) {
                // A value without words is an empty value, not a missing one.
                Some(words) if words.is_empty() => self.apply(Place::Environment, &source, &name, &[""]),
                Some(words) => {
                    let words: Vec<&str> = words.iter().map(String::as_str).collect();
                    self.apply(Place::Environment, &source, &name, &words);
                }
                None => {
                    let source = visible(&name, &variable, &source);
                    self.problem(Place::Environment, source, "Unbalanced quotes".into());
                }
            }
        }
    }

    /// One directive in the syntax of `redis.conf`: a setting, or a directive that torc does not support.
    /// `source` is shown with a problem, unless it may contain a secret.
    pub(super) fn apply(&mut self, place: Place, source: &str, name: &str, words: &[&str]) {
        let shown = visible(name, source.split([' ', '=', '\t']).next().unwrap_or(name), source);
        if name.eq_ignore_ascii_case(RENAME) {
            self.rename(place, shown, words);
        } else if let Some((_, id)) = table::find(name) {
            self.assign(place, shown, id, words);
        } else if let Some(directive) = table::find_directive(name) {
            if directive.refused {
                self.problem(place, shown, directive.why.into());
            } else {
                let at = Problem { place, source: shown, text: directive.why.into() };
                self.notes.push(format!("directive ignored: {at}"));
            }
        } else {
            self.problem(place, shown, "Bad directive or wrong number of arguments".into());
        }
    }

    /// One setting. Without a word the value is empty where a list may be empty.
    pub(super) fn assign(&mut self, place: Place, source: String, id: Id, words: &[&str]) {
        let again = !self.seen.insert(id);
        if let Err(text) = self.config.assign(id, words, again) {
            self.problem(place, source, text);
        }
    }

    pub(super) fn problem(&mut self, place: Place, source: String, text: String) {
        self.problems.push(Problem { place, source, text });
    }
}

/// `source`, or only its `first` word when what follows may be a secret. A name that nobody knows may be a
/// misspelt secret.
pub(super) fn visible(name: &str, first: &str, source: &str) -> String {
    const SUSPICIOUS: &[&str] = &["pas", "pw", "auth", "secret", "user"];
    let secret = match (table::find(name), table::find_directive(name)) {
        (Some((_, id)), _) => id.setting().secret,
        (None, Some(directive)) => directive.secret,
        (None, None) => {
            let lower = name.to_ascii_lowercase();
            SUSPICIOUS.iter().any(|part| lower.contains(part))
        }
    };
    if secret { format!("{first} (hidden)") } else { source.to_string() }
}
