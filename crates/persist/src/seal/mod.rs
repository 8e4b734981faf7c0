//! Encryption at rest: what stands between the content of a file and its bytes on the disk.
//!
//! Owns the keys ([`Keys`]) and the format of sealed files: a key block in the header, then chunks that are sealed and
//! numbered one by one. Never opens files, and never knows what it seals.
//!
//! ```text
//! key block   algorithm u32 │ key id 8 │ nonce 12 │ data key, wrapped 48 │ crc32c u32
//! chunk       crc32c u32 │ length u32 │ number u64 │ ciphertext │ tag 16
//! ```
//!
//! Every file has a random data key of its own, wrapped by the master key whose id stands beside it. What stands before
//! the key block says which file it is, and is authenticated with the data key, so that a block serves its own file only.
//! A chunk's nonce is its number; number and length are authenticated with its content. So chunks can't be changed, moved,
//! left out in the middle or taken over from another file. What can be cut off unnoticed is the end, as with any log.
//!
//! No number is sealed twice with the same key: a [`Sealer`] counts upwards, lives as long as one file is written, and is
//! never made again from a key block; whoever goes on after a failure or a start does so in a new file.

mod chunk;
mod keys;
mod stream;

pub use chunk::{CHUNK_BYTES_MAX, Opener, Reserved, Sealer, sealed_bytes};
pub use keys::{Algorithm, KEY_BLOCK_BYTES, KeyError, KeyId, KeyTextError, Keys, MasterKey};
pub use stream::{RDB_MAGIC, Source, copy};

/// A number that nobody who sends data can know.
pub fn salt() -> u32 {
    u32::from_le_bytes(keys::random())
}
