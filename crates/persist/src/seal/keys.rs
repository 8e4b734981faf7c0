//! Keys: the master keys that a server has, and the data keys of files that they wrap.

use std::fmt;
use std::sync::{Arc, LazyLock};

use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf;
use ring::rand::{SecureRandom, SystemRandom};

use super::chunk::{Opener, Sealer, TAG_BYTES};

const KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 8;
const WRAPPED_BYTES: usize = KEY_BYTES + TAG_BYTES;
/// Bytes of the key block in a sealed file's header.
pub const KEY_BLOCK_BYTES: usize = 4 + KEY_ID_BYTES + NONCE_LEN + WRAPPED_BYTES + 4;

/// How files are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Aes256Gcm = 1,
    ChaCha20Poly1305 = 2,
}

impl Algorithm {
    fn from_number(number: u32) -> Option<Algorithm> {
        [Algorithm::Aes256Gcm, Algorithm::ChaCha20Poly1305].into_iter().find(|one| *one as u32 == number)
    }

    fn key(self, bytes: &[u8; KEY_BYTES]) -> LessSafeKey {
        let algorithm = match self {
            Algorithm::Aes256Gcm => &AES_256_GCM,
            Algorithm::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        LessSafeKey::new(UnboundKey::new(algorithm, bytes).expect("both take keys of 32 bytes"))
    }
}

/// Names a master key without telling it: derived from the key, one way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyId([u8; KEY_ID_BYTES]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key that wraps the keys of files.
#[derive(Clone)]
pub struct MasterKey {
    derived: hkdf::Prk,
    id: KeyId,
}

/// A text that is no key. Tells nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyTextError;

impl fmt::Display for KeyTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key is 32 bytes, or 64 hexadecimal digits")
    }
}

impl std::error::Error for KeyTextError {}

impl MasterKey {
    /// A key as a file or a variable has it: 32 bytes, or 64 hexadecimal digits with white space around them.
    pub fn parse(text: &[u8]) -> Result<MasterKey, KeyTextError> {
        if let Ok(bytes) = text.try_into() {
            return Ok(MasterKey::new(bytes));
        }
        let text = std::str::from_utf8(text).map_err(|_| KeyTextError)?.trim();
        if text.len() != 2 * KEY_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(KeyTextError);
        }
        let mut bytes = [0; KEY_BYTES];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| KeyTextError)?;
        }
        Ok(MasterKey::new(&bytes))
    }

    fn new(bytes: &[u8; KEY_BYTES]) -> MasterKey {
        let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, b"torc master key 1").extract(bytes);
        let id = KeyId(derive(&derived, b"id"));
        MasterKey { derived, id }
    }

    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The key that wraps data keys of files of this algorithm.
    fn wrapping(&self, algorithm: Algorithm) -> LessSafeKey {
        let purpose: &[u8] = match algorithm {
            Algorithm::Aes256Gcm => b"wrap aes-256-gcm",
            Algorithm::ChaCha20Poly1305 => b"wrap chacha20-poly1305",
        };
        algorithm.key(&derive(&self.derived, purpose))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

fn derive<const LEN: usize>(key: &hkdf::Prk, purpose: &[u8]) -> [u8; LEN] {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut bytes = [0; LEN];
    key.expand(&[purpose], Length(LEN))
        .and_then(|derived| derived.fill(&mut bytes))
        .expect("a derived key is short");
    bytes
}

pub(super) fn random<const LEN: usize>() -> [u8; LEN] {
    let mut bytes = [0; LEN];
    SystemRandom::new().fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

/// The keys that a server or a tool has. Cheap to copy.
#[derive(Clone, Debug, Default)]
pub struct Keys(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    /// New files are sealed so, with the first of `masters`; `None`: they are not.
    algorithm: Option<Algorithm>,
    masters: Vec<MasterKey>,
}

impl Keys {
    /// No keys: files are written as they are, and sealed ones can't be read.
    pub fn none() -> &'static Keys {
        static NONE: LazyLock<Keys> = LazyLock::new(Keys::default);
        &NONE
    }

    /// New files are sealed with `master`; those of `old` are read too.
    pub fn new(algorithm: Algorithm, master: MasterKey, old: Vec<MasterKey>) -> Keys {
        let masters = std::iter::once(master).chain(old).collect();
        Keys(Some(Arc::new(Inner { algorithm: Some(algorithm), masters })))
    }

    /// Sealed files can be read; new ones are not sealed.
    pub fn for_reading(masters: Vec<MasterKey>) -> Keys {
        Keys(Some(Arc::new(Inner { algorithm: None, masters })))
    }

    /// Whether new files are sealed.
    pub fn seals(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.algorithm.is_some())
    }

    /// For a new file with this identity: what seals it. `None` if new files are not sealed.
    pub fn sealer(&self, identity: &[u8]) -> Option<Sealer> {
        let inner = self.0.as_ref()?;
        let algorithm = inner.algorithm?;
        let master = &inner.masters[0];
        let data_key: [u8; KEY_BYTES] = random();
        let nonce: [u8; NONCE_LEN] = random();
        let mut block = (algorithm as u32).to_le_bytes().to_vec();
        block.extend_from_slice(&master.id.0);
        block.extend_from_slice(&nonce);
        let mut wrapped = data_key.to_vec();
        master
            .wrapping(algorithm)
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(authenticated(identity, algorithm, master.id)),
                &mut wrapped,
            )
            .expect("a key is short");
        block.extend_from_slice(&wrapped);
        block.extend_from_slice(&crc32c::crc32c(&block).to_le_bytes());
        let block = block.try_into().expect("its parts have fixed sizes");
        Some(Sealer::new(algorithm.key(&data_key), block))
    }

    /// For a file with this identity and this key block: what opens it.
    pub fn opener(&self, identity: &[u8], block: &[u8; KEY_BLOCK_BYTES]) -> Result<Opener, KeyError> {
        let (fields, crc) = block.split_at(KEY_BLOCK_BYTES - 4);
        if crc32c::crc32c(fields).to_le_bytes() != crc {
            return Err(KeyError::Damaged);
        }
        let (number, fields) = fields.split_at(4);
        let (id, fields) = fields.split_at(KEY_ID_BYTES);
        let (nonce, wrapped) = fields.split_at(NONCE_LEN);
        let number = u32::from_le_bytes(number.try_into().expect("four bytes"));
        let algorithm = Algorithm::from_number(number).ok_or(KeyError::Algorithm(number))?;
        let id = KeyId(id.try_into().expect("as long as an id"));
        let masters = self.0.as_ref().map_or(&[][..], |inner| &inner.masters);
        let master = masters.iter().find(|master| master.id == id);
        let master = master.ok_or(KeyError::Unknown { id, any_given: !masters.is_empty() })?;
        let mut wrapped = wrapped.to_vec();
        let data_key = master
            .wrapping(algorithm)
            .open_in_place(
                Nonce::try_assume_unique_for_key(nonce).expect("as long as a nonce"),
                Aad::from(authenticated(identity, algorithm, id)),
                &mut wrapped,
            )
            .map_err(|_| KeyError::Refused { id })?;
        let data_key = (&*data_key).try_into().expect("as long as it was wrapped");
        Ok(Opener::new(algorithm.key(data_key)))
    }
}

/// What is authenticated beside a wrapped key.
fn authenticated(identity: &[u8], algorithm: Algorithm, id: KeyId) -> Vec<u8> {
    [identity, &(algorithm as u32).to_le_bytes(), &id.0].concat()
}

/// Why a sealed file can't be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The master key of the file is not there.
    Unknown {
        id: KeyId,
        any_given: bool,
    },
    /// The master key is there, and says that the header was changed, or that it is the header of another file.
    Refused {
        id: KeyId,
    },
    Algorithm(u32),
    Damaged,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Unknown { id, any_given: true } => {
                write!(f, "it is encrypted with the master key {id}, which is none of the given ones")
            }
            KeyError::Unknown { id, any_given: false } => {
                write!(f, "it is encrypted with the master key {id}, and no key is given")
            }
            KeyError::Refused { id } => {
                write!(f, "its header was changed or belongs to another file (master key {id})")
            }
            KeyError::Algorithm(number) => {
                write!(f, "it is encrypted with algorithm {number}, which this torc does not know")
            }
            KeyError::Damaged => f.write_str("the key in its header is damaged"),
        }
    }
}

impl std::error::Error for KeyError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(byte: u8) -> MasterKey {
        MasterKey::new(&[byte; KEY_BYTES])
    }

    #[test]
    fn keys_are_bytes_or_digits() {
        let digits = "07".repeat(32);
        let key = MasterKey::parse(format!(" {digits}\n").as_bytes()).expect("digits");
        assert_eq!(key.id(), master(7).id());
        assert_eq!(MasterKey::parse(&[7; 32]).expect("bytes").id(), master(7).id());
        for wrong in [&b"07"[..], b"", &[b'7'; 63], &[b'g'; 64], &[0xff; 64]] {
            assert!(MasterKey::parse(wrong).is_err());
        }
        assert!(!format!("{:?}", Keys::for_reading(vec![key])).contains("0707"));
    }

    #[test]
    fn what_is_wrong_with_a_key_is_said() {
        for algorithm in [Algorithm::Aes256Gcm, Algorithm::ChaCha20Poly1305] {
            let keys = Keys::new(algorithm, master(1), Vec::new());
            let block = *keys.sealer(b"file 1").expect("it seals").block();
            assert!(keys.opener(b"file 1", &block).is_ok());
            let rotated = Keys::new(algorithm, master(2), vec![master(1)]);
            assert!(rotated.opener(b"file 1", &block).is_ok());
            let id = master(1).id();
            let error = |keys: &Keys, identity: &[u8], block: &[u8; KEY_BLOCK_BYTES]| {
                keys.opener(identity, block).err()
            };
            assert_eq!(
                error(Keys::none(), b"file 1", &block),
                Some(KeyError::Unknown { id, any_given: false })
            );
            let other = Keys::for_reading(vec![master(2)]);
            assert_eq!(error(&other, b"file 1", &block), Some(KeyError::Unknown { id, any_given: true }));
            assert_eq!(error(&keys, b"file 2", &block), Some(KeyError::Refused { id }));
            for index in 0..block.len() {
                let mut damaged = block;
                damaged[index] ^= 1;
                assert_eq!(error(&keys, b"file 1", &damaged), Some(KeyError::Damaged));
            }
        }
        assert!(Keys::for_reading(vec![master(1)]).sealer(b"file").is_none());
    }
}
