//! GENERIC: commands that work on keys of any type, and on databases as a whole.
//!
//! Owns the list of the family; one file per theme. Never looks into values beyond what every type has (kind,
//! encoding, size, expiry).

pub mod copy_move;
pub mod delete;
pub mod dump;
pub mod expire;
pub mod flush;
pub mod inspect;
pub mod keys;
pub mod lookup;
pub mod object;
pub mod rename;
pub mod scan;
pub mod sort;
pub mod ttl;

use torc_resp::{Args, CommandError};

use crate::{Category, Command, Context};

/// Every command of the family.
pub static COMMANDS: &[Command] = &[
    copy_move::COPY,
    copy_move::MOVE,
    delete::DEL,
    delete::UNLINK,
    dump::DUMP,
    dump::RESTORE,
    dump::RESTORE_ASKING,
    expire::EXPIRE,
    expire::EXPIREAT,
    expire::PEXPIRE,
    expire::PEXPIREAT,
    expire::PERSIST,
    flush::FLUSHALL,
    flush::FLUSHDB,
    flush::SWAPDB,
    keys::DBSIZE,
    keys::KEYS,
    keys::RANDOMKEY,
    lookup::EXISTS,
    lookup::TOUCH,
    lookup::TYPE,
    object::OBJECT,
    rename::RENAME,
    rename::RENAMENX,
    scan::SCAN,
    sort::SORT,
    sort::SORT_RO,
    ttl::EXPIRETIME,
    ttl::PEXPIRETIME,
    ttl::PTTL,
    ttl::TTL,
];

const KEYSPACE: &[Category] = &[Category::Keyspace];
const KEYSPACE_DANGEROUS: &[Category] = &[Category::Keyspace, Category::Dangerous];

/// Argument `index` as the number of a database.
fn database(cx: &Context<'_>, args: Args<'_>, index: usize) -> Result<usize, CommandError> {
    let number = small_int(args, index).ok_or(CommandError::NotInteger)?;
    usize::try_from(number)
        .ok()
        .filter(|&db| db < cx.keyspace.databases())
        .ok_or(CommandError::DbIndexOutOfRange)
}

/// Argument `index` as an integer of 32 bits, which is how Redis reads database numbers.
fn small_int(args: Args<'_>, index: usize) -> Option<i32> {
    args.int(index).ok().and_then(|number| i32::try_from(number).ok())
}
