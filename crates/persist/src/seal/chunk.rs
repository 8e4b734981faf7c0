//! Chunks: how the content of a sealed file is cut, numbered and authenticated.

use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};

use super::keys::KEY_BLOCK_BYTES;

pub(super) const TAG_BYTES: usize = 16;
/// Checksum, length, number.
pub(super) const CHUNK_HEADER_BYTES: usize = 16;
const OVERHEAD_BYTES: usize = CHUNK_HEADER_BYTES + TAG_BYTES;
/// Longest content of one chunk.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// Bytes that a chunk with so much content takes in a file.
pub const fn sealed_bytes(content_bytes: usize) -> usize {
    content_bytes + OVERHEAD_BYTES
}

/// Seals the content of one file, chunk after chunk.
#[derive(Debug)]
pub struct Sealer {
    key: LessSafeKey,
    block: [u8; KEY_BLOCK_BYTES],
    /// Number of the next chunk.
    next: u64,
}

/// The right to seal one chunk later than its number says. Used once.
#[derive(Debug)]
pub struct Reserved(u64);

impl Sealer {
    pub(super) fn new(key: LessSafeKey, block: [u8; KEY_BLOCK_BYTES]) -> Sealer {
        Sealer { key, block, next: 0 }
    }

    /// What stands in the file's header.
    pub fn block(&self) -> &[u8; KEY_BLOCK_BYTES] {
        &self.block
    }

    /// Appends the chunks of this content to `out`.
    pub fn seal(&mut self, content: &[u8], out: &mut Vec<u8>) {
        out.reserve(content.len() + OVERHEAD_BYTES * content.len().div_ceil(CHUNK_BYTES_MAX));
        for part in content.chunks(CHUNK_BYTES_MAX) {
            let reserved = self.reserve();
            self.seal_reserved(reserved, part, out);
        }
    }

    /// Takes the number of a chunk whose content is not known yet.
    pub fn reserve(&mut self) -> Reserved {
        let number = self.next;
        self.next = number.checked_add(1).expect("no file has so many chunks");
        Reserved(number)
    }

    /// Appends the chunk with a number that was taken before.
    pub fn seal_reserved(&self, reserved: Reserved, content: &[u8], out: &mut Vec<u8>) {
        assert!((1..=CHUNK_BYTES_MAX).contains(&content.len()), "a chunk of {} bytes", content.len());
        let header = Header { bytes: content.len(), number: reserved.0 };
        out.extend_from_slice(&header.to_bytes());
        let start = out.len();
        out.extend_from_slice(content);
        let tag = self
            .key
            .seal_in_place_separate_tag(header.nonce(), Aad::from(header.authenticated()), &mut out[start..])
            .expect("a chunk is short");
        out.extend_from_slice(tag.as_ref());
    }
}

/// A chunk behind damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it begins.
    pub at: usize,
    /// Bytes that it takes.
    pub bytes: usize,
    pub number: u64,
}

impl Found {
    pub fn content_bytes(self) -> usize {
        self.bytes - OVERHEAD_BYTES
    }
}

/// Opens the chunks of one file.
#[derive(Debug)]
pub struct Opener {
    key: LessSafeKey,
}

impl Opener {
    pub(super) fn new(key: LessSafeKey) -> Opener {
        Opener { key }
    }

    /// How many bytes the chunk at the beginning of `bytes` takes, by what it says itself; enough for its header if that is not
    /// whole, or makes no sense.
    pub fn bytes_at(bytes: &[u8]) -> usize {
        Header::read(bytes).map_or(CHUNK_HEADER_BYTES, |header| sealed_bytes(header.bytes))
    }

    /// Opens the chunk at the beginning of `bytes`, appends its content to `content`, and says how many bytes it takes.
    /// `None` if it is not the whole, undamaged chunk with this number.
    pub fn open(&self, bytes: &[u8], number: u64, content: &mut Vec<u8>) -> Option<usize> {
        let header = Header::read(bytes).filter(|header| header.number == number)?;
        let sealed = bytes.get(CHUNK_HEADER_BYTES..sealed_bytes(header.bytes))?;
        let start = content.len();
        content.extend_from_slice(sealed);
        let aad = Aad::from(header.authenticated());
        let opened = self.key.open_in_place(header.nonce(), aad, &mut content[start..]).is_ok();
        content.truncate(if opened { start + header.bytes } else { start });
        opened.then_some(sealed_bytes(header.bytes))
    }

    /// The first chunk in `bytes` with one of the numbers behind `number`. Its content is appended to `content`.
    pub fn find_later(&self, bytes: &[u8], number: u64, content: &mut Vec<u8>) -> Option<Found> {
        let later = number + 1..=number + 1 + (bytes.len() / OVERHEAD_BYTES) as u64;
        (0..bytes.len()).find_map(|at| {
            let header = Header::read(&bytes[at..]).filter(|header| later.contains(&header.number))?;
            let bytes = self.open(&bytes[at..], header.number, content)?;
            Some(Found { at, bytes, number: header.number })
        })
    }
}

/// What stands before the content of a chunk.
#[derive(Clone, Copy)]
pub(super) struct Header {
    /// Bytes of the content.
    pub(super) bytes: usize,
    pub(super) number: u64,
}

impl Header {
    /// What is authenticated with the content.
    fn authenticated(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&(self.bytes as u32).to_le_bytes());
        bytes[4..].copy_from_slice(&self.number.to_le_bytes());
        bytes
    }

    fn nonce(self) -> Nonce {
        let mut bytes = [0; NONCE_LEN];
        bytes[4..].copy_from_slice(&self.number.to_le_bytes());
        Nonce::assume_unique_for_key(bytes)
    }

    fn to_bytes(self) -> [u8; CHUNK_HEADER_BYTES] {
        let mut bytes = [0; CHUNK_HEADER_BYTES];
        bytes[4..].copy_from_slice(&self.authenticated());
        let crc = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header at the beginning of `bytes`. Its checksum only saves work: the tag vouches for it.
    pub(super) fn read(bytes: &[u8]) -> Option<Header> {
        let bytes = bytes.get(..CHUNK_HEADER_BYTES)?;
        let content_bytes = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes")) as usize;
        if !(1..=CHUNK_BYTES_MAX).contains(&content_bytes)
            || crc32c::crc32c(&bytes[4..]).to_le_bytes() != bytes[..4]
        {
            return None;
        }
        let number = u64::from_le_bytes(bytes[8..].try_into().expect("eight bytes"));
        Some(Header { bytes: content_bytes, number })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Algorithm, Keys, MasterKey};
    use super::*;

    fn pair(algorithm: Algorithm) -> (Sealer, Opener) {
        let master = MasterKey::parse(&[9; 32]).expect("a key");
        let keys = Keys::new(algorithm, master, Vec::new());
        let sealer = keys.sealer(b"file").expect("it seals");
        let opener = keys.opener(b"file", sealer.block()).expect("its own block");
        (sealer, opener)
    }

    fn opened(opener: &Opener, bytes: &[u8], number: u64) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        opener.open(bytes, number, &mut content).map(|_| content)
    }

    #[test]
    fn chunks_come_back_in_their_order_only() {
        for algorithm in [Algorithm::Aes256Gcm, Algorithm::ChaCha20Poly1305] {
            let (mut sealer, opener) = pair(algorithm);
            let (mut first, mut second) = (Vec::new(), Vec::new());
            sealer.seal(b"one", &mut first);
            sealer.seal(b"two", &mut second);
            assert_eq!(first.len(), sealed_bytes(3));
            assert_eq!(opened(&opener, &first, 0).as_deref(), Some(&b"one"[..]));
            assert_eq!(opened(&opener, &second, 1).as_deref(), Some(&b"two"[..]));
            assert_eq!(opened(&opener, &second, 0), None);
            let (_, other) = pair(algorithm);
            assert_eq!(opened(&other, &first, 0), None);
            for index in 0..first.len() {
                let mut damaged = first.clone();
                damaged[index] ^= 1;
                assert_eq!(opened(&opener, &damaged, 0), None, "byte {index}");
                assert_eq!(opened(&opener, &first[..index], 0), None);
            }
            let behind = [b"garbage", &second[..]].concat();
            let mut content = Vec::new();
            let found = Found { at: 7, bytes: sealed_bytes(3), number: 1 };
            assert_eq!(opener.find_later(&behind, 0, &mut content), Some(found));
            assert_eq!(content, b"two");
            assert_eq!(opener.find_later(&behind, 1, &mut content), None);
        }
    }

    #[test]
    fn long_content_is_cut() {
        let (mut sealer, opener) = pair(Algorithm::Aes256Gcm);
        let content: Vec<u8> = (0..CHUNK_BYTES_MAX + 5).map(|index| index as u8).collect();
        let mut sealed = Vec::new();
        sealer.seal(&content, &mut sealed);
        let mut back = Vec::new();
        let first = opener.open(&sealed, 0, &mut back).expect("the first chunk");
        assert_eq!(opener.open(&sealed[first..], 1, &mut back), Some(sealed_bytes(5)));
        assert!(back == content);
    }
}
