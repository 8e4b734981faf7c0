//! The configuration: one table of settings, two file syntaxes, the command line, and CONFIG GET, SET and
//! REWRITE. Owns what a setting is called, which values it takes and what it is now. Never acts on a setting:
//! the parts of the server read the typed getters and are told of changes by the caller of [`Config::set`].

pub mod docs;
mod error;
mod load;
mod redis_conf;
mod rewrite;
mod setting;
mod special;
mod table;
mod toml_file;
mod typed;
mod value;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::sync::LazyLock;

pub use error::{ConfigError, ConfigSetError, Problem, RewriteError};
pub use load::{Loaded, Startup, start};
pub use rewrite::Syntax;
pub use setting::{Change, Chapter, Directive, Effect, Kind, Setting};
pub use special::{OutputLimit, OutputLimits, SavePoint};
pub use table::{CHAPTERS, DIRECTIVES};
pub use typed::{Access, LogFormat, LogLevel};
pub(crate) use value::os_error_text;
pub use value::{Value, parse_memory};

use torc_datatypes::glob::glob_match;

use rewrite::ConfigFile;
use table::Id;
use value::{Base, parse};

/// The value of every setting. A copy is cheap enough for the control plane: to apply a change that may fail,
/// call [`Config::set`] on a copy, apply it, then keep the copy.
#[derive(Clone, PartialEq)]
pub struct Config {
    values: Vec<Value>,
    /// Settings that the files, the environment or the command line name.
    given: HashSet<Id>,
    /// `rename-command`: names and new names.
    renamed: Vec<(String, String)>,
    /// What `requirepass-file` holds.
    file_password: String,
    file: Option<ConfigFile>,
}

/// One setting of a successful CONFIG SET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Canonical name.
    pub name: &'static str,
    /// False when the value was the same before.
    pub changed: bool,
}

static DEFAULTS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    table::ids()
        .map(|id| {
            let setting = id.setting();
            let base = Base { current: &Value::Auto, append: false };
            match parse(setting.kind, &[setting.default], base) {
                Ok(value) => value,
                // The working directory was removed under the process.
                Err(_) if setting.kind == Kind::Directory => Value::Text(setting.default.into()),
                Err(text) => panic!("default of {}: {text}", setting.name),
            }
        })
        .collect()
});

impl Default for Config {
    fn default() -> Self {
        Config {
            values: DEFAULTS.clone(),
            given: HashSet::new(),
            renamed: Vec::new(),
            file_password: String::new(),
            file: None,
        }
    }
}

/// Stands for a secret wherever values are shown.
const HIDDEN: &str = "(hidden)";

/// Must the value of the setting with this name be kept out of logs?
pub fn is_secret(name: &str) -> bool {
    table::find(name).is_some_and(|(_, id)| id.setting().secret)
}

impl fmt::Debug for Config {
    /// Shows what differs from the defaults, without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for id in table::ids().filter(|id| !self.is_default(*id)) {
            map.entry(&id.setting().name, &self.shown(id));
        }
        map.finish()
    }
}

impl Config {
    /// CONFIG GET: names and values of all settings that match one of the patterns, in alphabetical order of
    /// the names; a setting with aliases appears once per matching spelling, as in Redis.
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(&'static str, String)> {
        table::names()
            .iter()
            .filter(|(name, id)| {
                patterns.iter().any(|pattern| {
                    pattern.eq_ignore_ascii_case(name.as_bytes())
                        || !id.setting().hidden && glob_match(pattern, name.as_bytes(), true)
                })
            })
            .map(|(name, id)| (*name, self.told(*id)))
            .collect()
    }

    /// CONFIG SET: all pairs or none. `from_this_host` says whether the client is connected by the loopback
    /// interface or the unix socket. Nothing is applied to the running server; that is the caller's part.
    pub fn set(
        &mut self,
        pairs: &[(&[u8], &[u8])],
        from_this_host: bool,
    ) -> Result<Vec<Applied>, ConfigSetError> {
        let mut targets: Vec<(&'static str, Id)> = Vec::with_capacity(pairs.len());
        for (name, value) in pairs {
            let given = String::from_utf8_lossy(name);
            let (name, id) = table::find(&given).ok_or_else(|| ConfigSetError::unknown(&given))?;
            match id.setting().change {
                // Programs that set every setting to what CONFIG GET says know which ones Redis refuses.
                Change::AtStart
                    if id.setting().own && self.values[id.index()].reply_text().as_bytes() == *value => {}
                Change::AtStart => return Err(ConfigSetError::failed(&given, "can't set immutable config")),
                Change::Protected if !self.enable_protected_configs().allows(from_this_host) => {
                    return Err(ConfigSetError::failed(&given, "can't set protected config"));
                }
                Change::AtRunTime | Change::Protected => {}
            }
            if targets.iter().any(|(earlier, _)| *earlier == name) {
                return Err(ConfigSetError::failed(&given, "duplicate parameter"));
            }
            targets.push((name, id));
        }
        let mut next = self.clone();
        for ((name, id), (_, value)) in targets.iter().zip(pairs) {
            let failed = |text: &str| ConfigSetError::failed(name, text);
            // Who writes back what CONFIG GET said means no change.
            if id.setting().secret && *value == HIDDEN.as_bytes() {
                continue;
            }
            let word = std::str::from_utf8(value).map_err(|_| failed("argument must be valid UTF-8"))?;
            next.assign(*id, &[word], false).map_err(|text| failed(&text))?;
        }
        let applied = targets
            .iter()
            .map(|(_, id)| Applied {
                name: id.setting().name,
                changed: self.values[id.index()] != next.values[id.index()],
            })
            .collect();
        *self = next;
        Ok(applied)
    }

    /// What to log at start: settings whose value has no effect although it was changed.
    pub fn notes(&self) -> Vec<String> {
        table::ids()
            .filter(|id| !self.is_default(*id))
            .filter_map(|id| match id.setting().effect {
                Effect::None(why) => {
                    Some(format!("setting {} = '{}' has no effect: {why}", id.setting().name, self.shown(id)))
                }
                Effect::Active | Effect::Refused(_) => None,
            })
            .collect()
    }

    /// The value of the setting with this canonical name. A name that is not in the table is a mistake of the
    /// program.
    fn value(&self, name: &str) -> &Value {
        match table::find(name) {
            Some((_, id)) => &self.values[id.index()],
            None => panic!("no setting is called {name}"),
        }
    }

    fn assign(&mut self, id: Id, words: &[&str], append: bool) -> Result<(), String> {
        let setting = id.setting();
        let value = parse(setting.kind, words, Base { current: &self.values[id.index()], append })?;
        if let Effect::Refused(why) = setting.effect
            && value != DEFAULTS[id.index()]
        {
            return Err(why.into());
        }
        self.values[id.index()] = value;
        Ok(())
    }

    /// Was the setting named at the start, be it with its default value?
    fn is_given(&self, name: &str) -> bool {
        table::find(name).is_some_and(|(_, id)| self.given.contains(&id))
    }

    fn is_default(&self, id: Id) -> bool {
        self.values[id.index()] == DEFAULTS[id.index()]
    }

    /// The value for CONFIG GET: that a secret is set is told, but not what it is.
    fn told(&self, id: Id) -> String {
        if id.setting().kind == Kind::MemoryOrShare {
            return self.maxmemory().to_string();
        }
        let text = self.values[id.index()].reply_text();
        if id.setting().secret && !text.is_empty() { HIDDEN.into() } else { text }
    }

    /// The value for logs: secrets are replaced.
    fn shown(&self, id: Id) -> String {
        if id.setting().secret { HIDDEN.into() } else { self.values[id.index()].reply_text() }
    }
}
