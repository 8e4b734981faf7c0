//! The one lookup of all commands: data commands and session commands in one table.
//!
//! Owns the mapping from names to commands and the numbering of commands (index into per-shard statistics). Built
//! once at start and never changed afterwards; never runs a command.

use std::collections::HashMap;
use std::sync::OnceLock;

use torc_commands::docs::{self, Argument};
use torc_commands::{Category, Command, Flags, Group, Run, Spec, derived};
use torc_resp::{Args, CommandError};

use crate::pubsub::Kind;
use crate::session::{SessionCommand, SessionFn, SessionRun};

/// A command as the server runs it.
pub struct Registered {
    /// Position in the registry; indexes per-shard statistics. Never persisted.
    pub id: u16,
    /// Full name: `get`, `client|id`.
    pub name: &'static str,
    pub spec: &'static Spec,
    pub route: Route,
    /// Index of the only key, for commands with one key at a fixed place.
    pub single_key: Option<usize>,
    /// For single-key commands on collections: index of the argument that names an element, if there is one at all.
    pub element: Option<usize>,
    pub container: Option<&'static str>,
    pub subcommands: Vec<&'static Registered>,
}

/// Who runs a command.
#[derive(Clone, Copy)]
pub enum Route {
    /// A data command, on the shard or shards of its keys.
    Data(Run),
    /// A session command, on the connection's shard.
    Session(SessionFn),
    /// PUBLISH and SPUBLISH, at the home of their channel.
    Publish(Kind),
    /// Only its subcommands can be called.
    Container,
}

impl Registered {
    /// True for commands that write to the keyspace.
    pub fn writes(&self) -> bool {
        self.spec.flags.has(Flags::WRITE)
    }

    /// True for commands that only read the keys they name.
    pub fn reads(&self) -> bool {
        self.spec.flags.has(Flags::READONLY)
    }
}

/// Where single-key commands on collections name their first element. Behind the end, or an argument that is something
/// else, does no harm: memory is brought near by it, nothing more.
fn element_of(spec: &Spec) -> Option<usize> {
    match (spec.docs.group, spec.name) {
        (Group::SortedSet, "zadd" | "zincrby") => Some(3),
        (Group::SortedSet, "zscore" | "zmscore" | "zrank" | "zrevrank" | "zrem") => Some(2),
        (Group::SortedSet | Group::List, _) => Some(usize::MAX),
        (Group::Set | Group::Hash, _) => Some(2),
        _ => None,
    }
}

/// All commands, by position and by name.
pub struct Registry {
    all: Vec<&'static Registered>,
    top_level: Vec<&'static Registered>,
    /// Open addressing over the packed name; `u16::MAX` is empty. Power of two, at most half full.
    table: Vec<u16>,
}

/// The registry of this process.
pub fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| Registry::build(torc_commands::families::FAMILIES, crate::session::COMMANDS))
}

/// What clients call commands that were renamed, in lower case: the command behind a new name, nothing behind an old one.
static RENAMED: OnceLock<HashMap<Vec<u8>, Option<&'static Registered>>> = OnceLock::new();

/// `rename-command`: pairs of a name and a new one; an empty one takes the command away. Once, before any client comes.
pub fn rename(pairs: &[(String, String)]) -> Result<(), String> {
    if pairs.is_empty() {
        return Ok(());
    }
    let registry = registry();
    let mut renamed = HashMap::new();
    for (name, new_name) in pairs {
        let (lower, new_lower) = (name.to_ascii_lowercase(), new_name.to_ascii_lowercase());
        let command = match renamed.get(lower.as_bytes()) {
            Some(earlier) => *earlier,
            None => registry.find(name.as_bytes()),
        };
        let command = command.ok_or_else(|| format!("rename-command: No such command '{name}'"))?;
        renamed.insert(lower.into_bytes(), None);
        if new_name.is_empty() {
            continue;
        }
        let is_taken = match renamed.get(new_lower.as_bytes()) {
            Some(earlier) => earlier.is_some(),
            None => registry.find(new_name.as_bytes()).is_some(),
        };
        if is_taken {
            return Err(format!("rename-command: Target command name '{new_name}' already exists"));
        }
        renamed.insert(new_lower.into_bytes(), Some(command));
    }
    RENAMED.set(renamed).map_err(|_| "rename-command: commands are renamed once".into())
}

impl Registry {
    fn build(families: &[&'static [Command]], session: &[&'static [SessionCommand]]) -> Registry {
        let mut registry = Registry { all: Vec::new(), top_level: Vec::new(), table: Vec::new() };
        for command in families.iter().copied().flatten() {
            let registered = registry.add_data(command, None);
            registry.top_level.push(registered);
        }
        for command in session.iter().copied().flatten() {
            let registered = registry.add_session(command, None);
            registry.top_level.push(registered);
        }
        registry.index();
        registry
    }

    fn add_data(
        &mut self,
        command: &'static Command,
        container: Option<&'static str>,
    ) -> &'static Registered {
        let subcommands =
            command.subcommands.iter().map(|sub| self.add_data(sub, Some(command.spec.name))).collect();
        let route = match command.run {
            Run::Container => Route::Container,
            run => Route::Data(run),
        };
        self.add(&command.spec, route, container, subcommands)
    }

    fn add_session(
        &mut self,
        command: &'static SessionCommand,
        container: Option<&'static str>,
    ) -> &'static Registered {
        let subcommands =
            command.subcommands.iter().map(|sub| self.add_session(sub, Some(command.spec.name))).collect();
        let route = match command.run {
            SessionRun::Function(function) => Route::Session(function),
            SessionRun::Data(run) => Route::Data(run),
            SessionRun::Publish(kind) => Route::Publish(kind),
            SessionRun::Container => Route::Container,
        };
        self.add(&command.spec, route, container, subcommands)
    }

    fn add(
        &mut self,
        spec: &'static Spec,
        route: Route,
        container: Option<&'static str>,
        subcommands: Vec<&'static Registered>,
    ) -> &'static Registered {
        let name = match container {
            Some(container) => Box::leak(format!("{container}|{}", spec.name).into_boxed_str()),
            None => spec.name,
        };
        let id = self.all.len() as u16;
        // Commands that may wait have a way of their own.
        let may_wait = matches!(route, Route::Data(Run::MayWait { .. }));
        let single_key = spec.single_key().filter(|_| !may_wait);
        let element = single_key.and_then(|_| element_of(spec));
        let registered = Registered { id, name, spec, route, single_key, element, container, subcommands };
        let registered = Box::leak(Box::new(registered));
        self.all.push(registered);
        registered
    }

    fn index(&mut self) {
        let size = (self.top_level.len() * 4).next_power_of_two();
        self.table = vec![u16::MAX; size];
        for (position, command) in self.top_level.iter().enumerate() {
            let mut at = pack(command.spec.name.as_bytes()) & (size - 1);
            while self.table[at] != u16::MAX {
                let other = self.top_level[self.table[at] as usize].name;
                assert_ne!(other, command.name, "two commands have the same name");
                at = (at + 1) & (size - 1);
            }
            self.table[at] = position as u16;
        }
    }

    /// A top-level command by name, in any case.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&'static Registered> {
        let mask = self.table.len() - 1;
        let mut at = pack(name) & mask;
        loop {
            let position = self.table[at];
            if position == u16::MAX {
                return None;
            }
            let command = self.top_level[position as usize];
            if command.spec.name.as_bytes().eq_ignore_ascii_case(name) {
                return Some(command);
            }
            at = (at + 1) & mask;
        }
    }

    /// A top-level command by what clients call it.
    #[inline]
    pub fn called(&self, name: &[u8]) -> Option<&'static Registered> {
        match RENAMED.get() {
            None => self.find(name),
            Some(renamed) => match renamed.get(&name.to_ascii_lowercase()) {
                Some(command) => *command,
                None => self.find(name),
            },
        }
    }

    /// The command of a client's request: for containers, the subcommand.
    pub fn resolve(&self, args: Args<'_>) -> Result<&'static Registered, CommandError> {
        Registry::with_subcommand(self.called(args.get(0)), args)
    }

    /// The same for requests that the server has written itself, to whom commands have their own names.
    pub fn resolve_by_own_name(&self, args: Args<'_>) -> Result<&'static Registered, CommandError> {
        Registry::with_subcommand(self.find(args.get(0)), args)
    }

    fn with_subcommand(
        command: Option<&'static Registered>,
        args: Args<'_>,
    ) -> Result<&'static Registered, CommandError> {
        let command =
            command.ok_or_else(|| CommandError::unknown_command(args.get(0), args.iter().skip(1)))?;
        if command.subcommands.is_empty() { Ok(command) } else { command.resolve_subcommand(args) }
    }

    /// A command by its full name, `client|id` or `get`, in any case.
    pub fn find_full(&self, name: &[u8]) -> Option<&'static Registered> {
        match name.iter().position(|&byte| byte == b'|') {
            None => self.find(name),
            Some(bar) => self.find(&name[..bar])?.subcommand(&name[bar + 1..]),
        }
    }

    /// Every command and subcommand, by id.
    pub fn all(&self) -> &[&'static Registered] {
        &self.all
    }

    /// Commands without their subcommands, in listing order.
    pub fn top_level(&self) -> &[&'static Registered] {
        &self.top_level
    }
}

impl Registered {
    /// ACL categories.
    pub fn categories(&self) -> Vec<Category> {
        derived::categories(self.spec, matches!(self.route, Route::Container))
    }

    /// The argument tree of COMMAND DOCS.
    pub fn arguments(&self) -> Vec<Argument> {
        let name_words = if self.container.is_some() { 2 } else { 1 };
        docs::arguments(self.spec, name_words).expect("a test reads the syntax of every command")
    }

    pub fn subcommand(&self, name: &[u8]) -> Option<&'static Registered> {
        self.subcommands.iter().copied().find(|sub| sub.spec.name.as_bytes().eq_ignore_ascii_case(name))
    }

    fn resolve_subcommand(&'static self, args: Args<'_>) -> Result<&'static Registered, CommandError> {
        let Some(name) = args.opt(1) else {
            return match self.route {
                Route::Container => Err(CommandError::WrongArity(self.name)),
                _ => Ok(self),
            };
        };
        self.subcommand(name).ok_or_else(|| CommandError::unknown_subcommand(self.spec.name, name))
    }
}

/// Mix the length and the first and last bytes of a name, ignoring case. Distinct names may collide.
#[inline]
fn pack(name: &[u8]) -> usize {
    let mut word = name.len() as u64;
    for &byte in name.iter().take(8) {
        word = (word << 8) ^ u64::from(byte | 0x20);
    }
    if let Some(&last) = name.last() {
        word ^= u64::from(last | 0x20) << 3;
    }
    (word.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_in_any_case() {
        for command in registry().top_level() {
            let upper = command.name.to_ascii_uppercase();
            assert_eq!(registry().find(upper.as_bytes()).expect("listed").id, command.id);
        }
        assert!(registry().find(b"").is_none());
        assert!(registry().find(b"no-such-command").is_none());
    }
}
