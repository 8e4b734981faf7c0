//! What a command is: the const data every part of the server derives from.
//!
//! Owns the vocabulary of specs: arity, flags, key specs, categories, docs and routes. Flags, key specs and tips
//! carry the meaning and the names of Redis 7.2 / Valkey 8.1's COMMAND INFO and COMMAND DOCS. Never holds state.

use torc_resp::{Args, CommandError, OwnedArgs, Proto, Reply, ReplyBuf};

use crate::Context;

/// Runs one data command against one keyspace that holds all its keys. Options are parsed before anything is
/// touched; an `Err` means that nothing was written, to the keyspace or to `reply`.
pub type Handler = fn(&mut Context<'_>, Args<'_>, &mut Reply<'_>) -> Result<(), CommandError>;

/// Folds the replies of all shards into one. `rng` is a random number for choices that Redis makes at random.
pub type FoldFn = fn(parts: &[ReplyBuf], rng: u64, proto: Proto, out: &mut ReplyBuf);

/// Adds the reply of one shard, to `request`, to what earlier shards gave to the same call (a reply, or nothing yet).
/// Returns the request for the next shard if the call has not got what it wants; it goes on only if that request's
/// cursor leads to another shard.
pub type MergeFn =
    fn(request: Args<'_>, part: &ReplyBuf, proto: Proto, reply: &mut ReplyBuf) -> Option<OwnedArgs>;

/// One command, or one subcommand of a container.
pub struct Command {
    pub spec: Spec,
    pub run: Run,
    pub subcommands: &'static [Command],
}

/// How a data command runs when its keys live on more than one shard.
#[derive(Clone, Copy)]
pub enum Run {
    /// On the shard of its keys; when they live on several, the entries are gathered on one shard first and the same
    /// handler runs there.
    OnShard(Handler),
    /// As `OnShard`, for a command that may wait for data (see [`crate::Wait`]): `waits` says whether this request may.
    MayWait { handler: Handler, waits: fn(Args<'_>) -> bool },
    /// As `OnShard`, except for requests of which `reaches` says that they read keys besides their arguments, on any shards:
    /// those run with all keyspaces at hand (see [`Context::read_anywhere`]).
    Anywhere { handler: Handler, reaches: fn(Args<'_>) -> bool },
    /// Each item (`step` arguments, the first of which is a key) is independent of the others: every shard runs the
    /// handler on its own items, and the partial replies are folded. Items start at argument 1.
    Split { handler: Handler, step: usize, fold: Fold },
    /// Every shard runs the handler on its whole keyspace, under a lock on all of them.
    EveryShard { handler: Handler, fold: FoldFn, writes: bool },
    /// SCAN: the cursor (argument 1) names the slot, and so the shard, to go on with. A call whose shard is done before
    /// the call has what it wants goes on at the next one.
    ByCursor { handler: Handler, merge: MergeFn },
    /// Only subcommands can be called.
    Container,
}

/// How the partial replies of a split command become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// Integers are added (DEL, EXISTS, …).
    Sum,
    /// All shards answered `+OK` (MSET).
    Ok,
    /// One array element per item, in the order of the request (MGET). The handler answers an array.
    Array,
}

/// Everything that can be known of a command without running it.
pub struct Spec {
    /// Lower case; a subcommand's own name without its container.
    pub name: &'static str,
    pub arity: Arity,
    pub flags: Flags,
    pub keys: &'static [KeySpec],
    /// Categories beyond those that follow from flags and group.
    pub categories: &'static [Category],
    /// Command tips in Redis's spelling, e.g. `request_policy:all_shards`.
    pub tips: &'static [&'static str],
    pub docs: &'static Docs,
}

impl Spec {
    /// What most commands share; meant for `..Spec::DEFAULT`.
    pub const DEFAULT: Spec = Spec {
        name: "",
        arity: Arity::at_least(1),
        flags: Flags::NONE,
        keys: &[],
        categories: &[],
        tips: &[],
        docs: &Docs::DEFAULT,
    };

    /// Index of the key when the command has exactly one key at a fixed place.
    pub const fn single_key(&self) -> Option<usize> {
        match self.keys {
            [KeySpec { begin: Begin::Index(first), find: Find::Range { last: 0, .. }, .. }] => Some(*first),
            _ => None,
        }
    }
}

/// Number of arguments, the command's (and subcommand's) name included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arity {
    least: usize,
    exact: bool,
}

impl Arity {
    pub const fn exactly(count: usize) -> Arity {
        Arity { least: count, exact: true }
    }

    pub const fn at_least(count: usize) -> Arity {
        Arity { least: count, exact: false }
    }

    #[inline]
    pub const fn accepts(self, count: usize) -> bool {
        if self.exact { count == self.least } else { count >= self.least }
    }

    /// As COMMAND INFO shows it: negative means "at least".
    pub const fn signed(self) -> i64 {
        if self.exact { self.least as i64 } else { -(self.least as i64) }
    }
}

/// Command flags, named as in COMMAND INFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u32);

macro_rules! flags {
    ($($name:ident = $bit:literal $text:literal,)*) => {
        impl Flags {
            $(pub const $name: Flags = Flags(1 << $bit);)*
            const NAMES: &'static [(Flags, &'static str)] = &[$((Flags::$name, $text),)*];
        }
    };
}

// In the order in which COMMAND INFO lists them.
flags! {
    WRITE = 0 "write",
    READONLY = 1 "readonly",
    DENYOOM = 2 "denyoom",
    MODULE = 3 "module",
    ADMIN = 4 "admin",
    PUBSUB = 5 "pubsub",
    NOSCRIPT = 6 "noscript",
    BLOCKING = 7 "blocking",
    LOADING = 8 "loading",
    STALE = 9 "stale",
    SKIP_MONITOR = 10 "skip_monitor",
    SKIP_SLOWLOG = 11 "skip_slowlog",
    ASKING = 12 "asking",
    FAST = 13 "fast",
    NO_AUTH = 14 "no_auth",
    MAY_REPLICATE = 15 "may_replicate",
    SENTINEL = 16 "sentinel",
    NO_MANDATORY_KEYS = 17 "no_mandatory_keys",
    PROTECTED = 18 "protected",
    NO_ASYNC_LOADING = 19 "no_async_loading",
    NO_MULTI = 20 "no_multi",
    ALLOW_BUSY = 21 "allow_busy",
    MOVABLE_KEYS = 22 "movablekeys",
    TOUCHES_ARBITRARY_KEYS = 23 "touches_arbitrary_keys",
}

impl Flags {
    pub const NONE: Flags = Flags(0);

    pub const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    #[inline]
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Names of the flags that are set, in COMMAND INFO's order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Flags::NAMES.iter().filter(move |(flag, _)| self.has(*flag)).map(|&(_, name)| name)
    }
}

/// Where keys stand among the arguments, and what is done with them.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    pub begin: Begin,
    pub find: Find,
    pub access: Access,
    /// Free text of COMMAND INFO's key spec, empty for none.
    pub notes: &'static str,
    /// For variable flags: what a request with these arguments does.
    pub by_options: Option<fn(Args<'_>) -> Access>,
}

impl KeySpec {
    /// One key at a fixed place.
    pub const fn at(index: usize, access: Access) -> KeySpec {
        KeySpec {
            begin: Begin::Index(index),
            find: Find::Range { last: 0, step: 1, limit: 0 },
            access,
            notes: "",
            by_options: None,
        }
    }

    /// Keys from `first` to the argument `last` places after it (negative: counted from the end, -1 is the last),
    /// every `step`-th argument.
    pub const fn range(first: usize, last: i32, step: usize, access: Access) -> KeySpec {
        KeySpec {
            begin: Begin::Index(first),
            find: Find::Range { last, step, limit: 0 },
            access,
            notes: "",
            by_options: None,
        }
    }

    /// A count at `index`, and the keys right behind it.
    pub const fn counted(index: usize, access: Access) -> KeySpec {
        KeySpec {
            begin: Begin::Index(index),
            find: Find::Count { count_at: 0, first: 1, step: 1 },
            access,
            notes: "",
            by_options: None,
        }
    }

    /// The access is what `by_options` says; the one given before holds for all requests together.
    pub const fn by_options(self, by_options: fn(Args<'_>) -> Access) -> KeySpec {
        let access = self.access.and(Access::VARIABLE_FLAGS);
        KeySpec { access, by_options: Some(by_options), ..self }
    }

    /// What a request does to the keys that this spec finds.
    #[inline]
    pub fn access_of(&self, args: Args<'_>) -> Access {
        self.by_options.map_or(self.access, |by_options| by_options(args))
    }

    pub const fn with_notes(self, notes: &'static str) -> KeySpec {
        KeySpec { notes, ..self }
    }
}

/// Where a key spec begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    Index(usize),
    /// Right after this keyword, searched from argument `from` on (negative: backwards from the end).
    Keyword {
        word: &'static str,
        from: i32,
    },
    Unknown,
}

/// Which arguments from the beginning on are keys.
#[derive(Clone, Copy, Debug)]
pub enum Find {
    /// `last` relative to the beginning, or from the end when negative; `limit` divides the rest when `last` is -1
    /// (2: only the first half of the remaining arguments are keys).
    Range {
        last: i32,
        step: usize,
        limit: usize,
    },
    /// The argument at `count_at` (relative to the beginning) says how many keys follow from `first` on.
    Count {
        count_at: usize,
        first: usize,
        step: usize,
    },
    /// The argument that a function finds, or none; COMMAND INFO can only say that it is unknown.
    Argument(fn(Args<'_>) -> Option<usize>),
    /// Every argument from the one that a function finds on, or none; clients are told of all behind a keyword.
    Rest(fn(Args<'_>) -> Option<usize>),
    Unknown,
}

/// Key spec flags of COMMAND INFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(u16);

impl Access {
    pub const NONE: Access = Access(0);
    /// Reads the value, writes nothing.
    pub const RO: Access = Access(1 << 0);
    pub const RW: Access = Access(1 << 1);
    /// Overwrites without looking.
    pub const OW: Access = Access(1 << 2);
    pub const RM: Access = Access(1 << 3);
    /// Returns or uses the user data in the value.
    pub const ACCESS: Access = Access(1 << 4);
    pub const UPDATE: Access = Access(1 << 5);
    pub const INSERT: Access = Access(1 << 6);
    pub const DELETE: Access = Access(1 << 7);
    pub const NOT_KEY: Access = Access(1 << 8);
    pub const INCOMPLETE: Access = Access(1 << 9);
    pub const VARIABLE_FLAGS: Access = Access(1 << 10);

    pub const RO_ACCESS: Access = Access::RO.and(Access::ACCESS);
    pub const RW_ACCESS_UPDATE: Access = Access::RW.and(Access::ACCESS).and(Access::UPDATE);
    pub const RW_UPDATE: Access = Access::RW.and(Access::UPDATE);
    pub const RW_INSERT: Access = Access::RW.and(Access::INSERT);
    pub const RW_ACCESS_DELETE: Access = Access::RW.and(Access::ACCESS).and(Access::DELETE);
    pub const OW_UPDATE: Access = Access::OW.and(Access::UPDATE);
    pub const OW_INSERT: Access = Access::OW.and(Access::INSERT);
    pub const RM_DELETE: Access = Access::RM.and(Access::DELETE);

    pub const fn and(self, other: Access) -> Access {
        Access(self.0 | other.0)
    }

    #[inline]
    pub const fn has(self, other: Access) -> bool {
        self.0 & other.0 == other.0
    }

    /// True when commands with this access only read the key.
    #[inline]
    pub const fn reads_only(self) -> bool {
        self.has(Access::RO)
    }

    /// Names of the flags that are set, in COMMAND INFO's spelling and order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        const NAMES: [(Access, &str); 11] = [
            (Access::RO, "RO"),
            (Access::RW, "RW"),
            (Access::OW, "OW"),
            (Access::RM, "RM"),
            (Access::ACCESS, "access"),
            (Access::UPDATE, "update"),
            (Access::INSERT, "insert"),
            (Access::DELETE, "delete"),
            (Access::NOT_KEY, "not_key"),
            (Access::INCOMPLETE, "incomplete"),
            (Access::VARIABLE_FLAGS, "variable_flags"),
        ];
        NAMES.into_iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| name)
    }
}

macro_rules! categories {
    ($($name:ident = $text:literal,)*) => {
        /// ACL categories (`ACL CAT`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Category {
            $($name,)*
        }

        impl Category {
            pub const ALL: &'static [Category] = &[$(Category::$name,)*];

            /// As ACL CAT spells it, without the `@`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Category::$name => $text,)*
                }
            }

            /// In any case, as COMMAND LIST takes it.
            pub fn by_name(name: &[u8]) -> Option<Category> {
                let mut all = Category::ALL.iter().copied();
                all.find(|category| category.name().as_bytes().eq_ignore_ascii_case(name))
            }
        }
    };
}

// In the order in which COMMAND INFO lists them.
categories! {
    Keyspace = "keyspace",
    Read = "read",
    Write = "write",
    Set = "set",
    SortedSet = "sortedset",
    List = "list",
    Hash = "hash",
    String = "string",
    Bitmap = "bitmap",
    HyperLogLog = "hyperloglog",
    Geo = "geo",
    Stream = "stream",
    PubSub = "pubsub",
    Admin = "admin",
    Fast = "fast",
    Slow = "slow",
    Blocking = "blocking",
    Dangerous = "dangerous",
    Connection = "connection",
    Transaction = "transaction",
    Scripting = "scripting",
}

/// COMMAND DOCS' groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Generic,
    String,
    List,
    Set,
    SortedSet,
    Hash,
    PubSub,
    Transactions,
    Connection,
    Server,
    Scripting,
    HyperLogLog,
    Cluster,
    Sentinel,
    Geo,
    Stream,
    Bitmap,
}

impl Group {
    /// As COMMAND DOCS spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::List => "list",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Hash => "hash",
            Group::PubSub => "pubsub",
            Group::Transactions => "transactions",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Scripting => "scripting",
            Group::HyperLogLog => "hyperloglog",
            Group::Cluster => "cluster",
            Group::Sentinel => "sentinel",
            Group::Geo => "geo",
            Group::Stream => "stream",
            Group::Bitmap => "bitmap",
        }
    }
}

/// What people read about a command.
pub struct Docs {
    /// One line: `"SET key value [NX | XX] [GET] [EX seconds:int | …]"`. COMMAND DOCS' argument tree is parsed
    /// from it.
    pub syntax: &'static str,
    pub summary: &'static str,
    pub since: &'static str,
    pub complexity: &'static str,
    pub group: Group,
    pub status: Status,
    /// (version, what changed).
    pub history: &'static [(&'static str, &'static str)],
}

impl Docs {
    pub const DEFAULT: Docs = Docs {
        syntax: "",
        summary: "",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::Generic,
        status: Status::Current,
        history: &[],
    };
}

/// Whether a command should still be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Current,
    Deprecated {
        since: &'static str,
        replaced_by: &'static str,
    },
    /// For the server's own use or for debugging (`doc_flags: syscmd`).
    System,
}
