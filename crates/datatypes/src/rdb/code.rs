//! The numbers by which RDB names types of values and their encodings, and what stands between values in a file.

pub const STRING: u8 = 0;
pub const LIST: u8 = 1;
pub const SET: u8 = 2;
/// Scores as text (before RDB version 8).
pub const ZSET: u8 = 3;
pub const HASH: u8 = 4;
pub const ZSET_2: u8 = 5;
pub const MODULE: u8 = 6;
pub const MODULE_2: u8 = 7;
pub const HASH_ZIPMAP: u8 = 9;
pub const LIST_ZIPLIST: u8 = 10;
pub const SET_INTSET: u8 = 11;
pub const ZSET_ZIPLIST: u8 = 12;
pub const HASH_ZIPLIST: u8 = 13;
/// Nodes are ziplists.
pub const LIST_QUICKLIST: u8 = 14;
pub const STREAM_LISTPACKS: u8 = 15;
pub const HASH_LISTPACK: u8 = 16;
pub const ZSET_LISTPACK: u8 = 17;
/// Nodes are listpacks or single big elements.
pub const LIST_QUICKLIST_2: u8 = 18;
pub const STREAM_LISTPACKS_2: u8 = 19;
pub const SET_LISTPACK: u8 = 20;
pub const STREAM_LISTPACKS_3: u8 = 21;
/// Valkey 9: fields with expiry. Redis 7.4's release candidates used the number for something else.
pub const HASH_2: u8 = 22;
/// Redis 7.4: fields with expiry.
pub const HASH_METADATA: u8 = 24;
/// Redis 7.4: a listpack of fields, values and expiries.
pub const HASH_LISTPACK_EX: u8 = 25;

/// A file of Valkey 9: slot, number of its keys, number of those with an expiry.
pub const SLOT_INFO: u8 = 244;
/// A library of functions.
pub const FUNCTION_2: u8 = 245;
/// The same in release candidates of Redis 7.0.
pub const FUNCTION_PRE_GA: u8 = 246;
/// What a module keeps beside the keys.
pub const MODULE_AUX: u8 = 247;
/// Seconds since the last access of the next key.
pub const IDLE: u8 = 248;
/// The access counter of the next key.
pub const FREQ: u8 = 249;
/// A name and a text about the file.
pub const AUX: u8 = 250;
/// How many keys the database has, and how many of them expire.
pub const RESIZE_DB: u8 = 251;
pub const EXPIRE_TIME_MS: u8 = 252;
/// In seconds.
pub const EXPIRE_TIME: u8 = 253;
pub const SELECT_DB: u8 = 254;
pub const EOF: u8 = 255;

/// What torc writes, unless a value needs more (Redis 7.2, Valkey 8).
pub const VERSION: u16 = 11;
/// Without listpacks as sets, and streams that know when consumers were active (Redis 7.0).
pub const VERSION_REDIS_7_0: u16 = 10;
/// Without listpacks (Redis 5 and 6).
pub const VERSION_REDIS_5: u16 = 9;
/// Since when hashes have fields with expiry (Valkey 9).
pub const VERSION_FIELD_EXPIRY: u16 = 80;
/// Last version of Redis that is read.
const VERSION_REDIS_MAX: u16 = 12;

/// Whether values of this version are understood. Between Redis's versions and Valkey's lie those of later Redis.
pub fn is_known_version(version: u16) -> bool {
    version <= VERSION_REDIS_MAX || version == VERSION_FIELD_EXPIRY
}
