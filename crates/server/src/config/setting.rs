//! What one setting is: its names, type, default, who may change it and what it does here. The rows
//! themselves are in [`super::table`]; parsing and printing of values is in [`super::value`].

/// One row of the table of settings.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Canonical name: the one Valkey 8.1 documents, in kebab case; also the key in a TOML file.
    pub name: &'static str,
    /// Other spellings that files, arguments and CONFIG GET/SET accept.
    pub aliases: &'static [&'static str],
    pub kind: Kind,
    /// Default value in the syntax of a `redis.conf` line, without the name.
    pub default: &'static str,
    pub change: Change,
    pub effect: Effect,
    /// The value is never written to a log, an error or a debug print, and CONFIG GET says only that there is one.
    /// CONFIG REWRITE writes it to the file.
    pub secret: bool,
    /// CONFIG GET shows it only when asked for by its exact name.
    pub hidden: bool,
    /// Redis has no such setting.
    pub own: bool,
    /// One line for `docs/config.md`.
    pub doc: &'static str,
}

/// The type of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `yes` or `no`.
    Bool,
    Int {
        min: i64,
        max: i64,
    },
    /// Accepts `min..=max` and silently moves the value into `low..=high`, as Redis does with `hz`.
    ClampedInt {
        min: i64,
        max: i64,
        low: i64,
        high: i64,
    },
    /// `auto` or a number.
    AutoOrInt {
        min: i64,
        max: i64,
    },
    /// Bytes, with the units `b`, `k` = 1000, `kb` = 1024, `m`, `mb`, `g`, `gb`.
    Memory {
        min: u64,
        max: u64,
    },
    /// As `Memory`, or `N%` of `maxmemory`.
    MemoryOrPercent,
    /// As `Memory`, or `N%` of what the machine or the container has.
    MemoryOrShare,
    /// File permission bits, written in octal.
    Octal {
        max: u32,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    Text(Check),
    /// A directory that exists; relative paths are resolved when the value is read.
    Directory,
    /// IP addresses; a leading `-` means "skip when not available", `*` all addresses.
    Addresses {
        max: usize,
    },
    /// Pairs of seconds and changes.
    SavePoints,
    /// Client class, hard limit, soft limit, seconds over the soft limit; classes not named keep theirs.
    OutputLimits,
    /// Letters of `notify-keyspace-events`.
    EventFlags,
    OomScores,
    Percentiles,
    /// Host and port, or `no one`.
    Endpoint,
}

/// What a text value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    Any,
    /// A file name without a folder.
    FileName,
    HostName,
    Ipv4,
    Ipv6,
    ProcessTitle,
}

/// How a value is written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One word on one line; a scalar in TOML.
    One,
    /// Several words on one line; an array in TOML.
    Words,
    /// Several lines with several words each; an array of strings in TOML.
    Lines,
}

impl Kind {
    pub fn shape(self) -> Shape {
        match self {
            Kind::Addresses { .. } | Kind::OomScores | Kind::Percentiles | Kind::Endpoint => Shape::Words,
            Kind::SavePoints | Kind::OutputLimits => Shape::Lines,
            _ => Shape::One,
        }
    }
}

/// Who may change a setting, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// CONFIG SET.
    AtRunTime,
    /// Only at start.
    AtStart,
    /// CONFIG SET for clients that `enable-protected-configs` allows.
    Protected,
}

/// What a setting does in this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// torc acts on it.
    Active,
    /// Accepted, stored and reported, but nothing acts on it; the reason is in the documentation, and a
    /// value other than the default is reported in the log at start.
    None(&'static str),
    /// Like `None`, but a value other than the default is refused: to ignore it would break a promise about
    /// security or durability.
    Refused(&'static str),
}

impl Setting {
    const fn new(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        effect: Effect,
        doc: &'static str,
    ) -> Self {
        Setting {
            name,
            aliases: &[],
            kind,
            default,
            change: Change::AtRunTime,
            effect,
            secret: false,
            hidden: false,
            own: false,
            doc,
        }
    }

    /// A setting that torc acts on.
    pub(super) const fn active(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self::new(name, kind, default, Effect::Active, doc)
    }

    /// A setting that is accepted and does nothing, and why.
    pub(super) const fn inert(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        doc: &'static str,
        why: &'static str,
    ) -> Self {
        Self::new(name, kind, default, Effect::None(why), doc)
    }

    /// A setting whose default is the only value this version accepts, and why.
    pub(super) const fn refused(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        doc: &'static str,
        why: &'static str,
    ) -> Self {
        Self::new(name, kind, default, Effect::Refused(why), doc)
    }

    pub(super) const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    pub(super) const fn at_start(mut self) -> Self {
        self.change = Change::AtStart;
        self
    }

    pub(super) const fn protected(mut self) -> Self {
        self.change = Change::Protected;
        self
    }

    pub(super) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// torc's own.
    pub(super) const fn own(mut self) -> Self {
        self.own = true;
        self
    }

    pub(super) const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }
}

/// A chapter of settings: one table of the TOML file and one section of the documentation.
#[derive(Debug)]
pub struct Chapter {
    /// Path of the TOML table, for example `persistence.aof`.
    pub section: &'static str,
    /// One line for the documentation.
    pub about: &'static str,
    pub settings: &'static [Setting],
}

/// A `redis.conf` directive that is not a setting and that torc does not support.
#[derive(Debug)]
pub struct Directive {
    pub name: &'static str,
    /// `true`: start fails. `false`: it is ignored with a warning.
    pub refused: bool,
    pub why: &'static str,
    /// Its arguments are never printed.
    pub secret: bool,
}
