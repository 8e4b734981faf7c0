//! Hash slots as in Redis Cluster: CRC16-XMODEM of the key or of its hash tag, modulo 16,384. Pure.

use memchr::memchr;

/// Number of slots.
pub const SLOTS: usize = 16_384;

/// Which shard owns which slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotMap {
    owners: Box<[u16]>,
    shards: u16,
}

impl SlotMap {
    /// Contiguous ranges of slots, as even as possible, over `shards` (at least one).
    pub fn even(shards: u16) -> SlotMap {
        let shards = shards.max(1);
        let owner = |slot: usize| (slot * usize::from(shards) / SLOTS) as u16;
        SlotMap { owners: (0..SLOTS).map(owner).collect(), shards }
    }

    /// The map with these ranges (first slot, last slot, shard); `None` if a slot is left over or a shard is too many.
    pub fn of_ranges(shards: u16, ranges: &[(u16, u16, u16)]) -> Option<SlotMap> {
        let mut owners = vec![None; SLOTS];
        for &(first, last, shard) in ranges {
            let slots = owners.get_mut(usize::from(first)..=usize::from(last))?;
            slots.fill((shard < shards).then_some(shard));
        }
        let owners = owners.into_iter().collect::<Option<Box<[u16]>>>()?;
        Some(SlotMap { owners, shards })
    }

    /// The shard that owns `slot`.
    #[inline]
    pub fn owner(&self, slot: u16) -> u16 {
        self.owners[usize::from(slot)]
    }

    /// Number of shards.
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// The first slot from `slot` on that another shard than the owner of `slot` owns.
    pub fn next_range(&self, slot: u16) -> Option<u16> {
        let owner = self.owner(slot);
        let offset = self.owners[usize::from(slot)..].iter().position(|other| *other != owner)?;
        Some(slot + offset as u16)
    }
}

/// The slot of a key.
#[inline]
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(hash_tag(key)) & (SLOTS as u16 - 1)
}

/// The part of a key that decides its slot: what lies between the first `{` and the first `}` behind it, if that is
/// not empty; otherwise the whole key (Redis Cluster specification).
#[inline]
pub fn hash_tag(key: &[u8]) -> &[u8] {
    if !has_brace(key) {
        return key;
    }
    tag_in_braces(key)
}

fn tag_in_braces(key: &[u8]) -> &[u8] {
    let Some(open) = memchr(b'{', key) else { return key };
    let behind = &key[open + 1..];
    match memchr(b'}', behind) {
        None | Some(0) => key,
        Some(close) => &behind[..close],
    }
}

/// Whether `{` occurs. Keys are short: eight bytes at a time beat a call that has to find out about wide registers.
#[inline]
fn has_brace(key: &[u8]) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (chunks, rest) = key.as_chunks::<8>();
    let in_chunks = chunks.iter().fold(0, |found, chunk| {
        let differing = u64::from_ne_bytes(*chunk) ^ (LOW * u64::from(b'{'));
        found | differing.wrapping_sub(LOW) & !differing & HIGH
    });
    in_chunks != 0 || rest.contains(&b'{')
}

/// CRC16-XMODEM (polynomial 0x1021, start 0), eight bytes at a time.
#[inline]
pub fn crc16(bytes: &[u8]) -> u16 {
    let (chunks, rest) = bytes.as_chunks::<8>();
    let mut crc: u16 = 0;
    for chunk in chunks {
        let [high, low] = crc.to_be_bytes();
        crc = TABLES[7][usize::from(chunk[0] ^ high)]
            ^ TABLES[6][usize::from(chunk[1] ^ low)]
            ^ TABLES[5][usize::from(chunk[2])]
            ^ TABLES[4][usize::from(chunk[3])]
            ^ TABLES[3][usize::from(chunk[4])]
            ^ TABLES[2][usize::from(chunk[5])]
            ^ TABLES[1][usize::from(chunk[6])]
            ^ TABLES[0][usize::from(chunk[7])];
    }
    for &byte in rest {
        crc = (crc << 8) ^ TABLES[0][usize::from((crc >> 8) as u8 ^ byte)];
    }
    crc
}

/// `TABLES[n][b]`: the CRC of byte b followed by n zero bytes.
static TABLES: [[u16; 256]; 8] = tables();

const fn tables() -> [[u16; 256]; 8] {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[zeros - 1][byte];
            tables[zeros][byte] = before << 8 ^ tables[0][(before >> 8) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn eight_at_a_time_equals_one_at_a_time() {
        let text: Vec<u8> = (0..200u32).map(|i| (i * 37 + 11) as u8).collect();
        for len in 0..text.len() {
            let one_by_one = text[..len]
                .iter()
                .fold(0u16, |crc, &byte| crc << 8 ^ TABLES[0][usize::from((crc >> 8) as u8 ^ byte)]);
            assert_eq!(crc16(&text[..len]), one_by_one);
        }
    }

    #[test]
    fn slots_are_shared_evenly() {
        for shards in [1u16, 2, 3, 7, 64] {
            let map = SlotMap::even(shards);
            let mut counts = vec![0usize; usize::from(shards)];
            (0..SLOTS as u16).for_each(|slot| counts[usize::from(map.owner(slot))] += 1);
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(most - least <= 1, "{shards}");
        }
        let map = SlotMap::even(2);
        assert_eq!(map.next_range(0), Some(8192));
        assert_eq!(map.next_range(8192), None);
    }

    /// Redis Cluster specification, "Hash tags".
    #[test]
    fn tags_decide() {
        for (key, tag) in [
            ("user1000", "user1000"),
            ("{user1000}.following", "user1000"),
            ("foo{}{bar}", "foo{}{bar}"),
            ("foo{{bar}}zap", "{bar"),
            ("foo{bar}{zap}", "bar"),
            ("foo{bar", "foo{bar"),
            ("}foo{", "}foo{"),
            ("", ""),
        ] {
            assert_eq!(hash_tag(key.as_bytes()), tag.as_bytes(), "{key}");
        }
        assert_eq!(slot_of(b"foo"), 12182);
        assert_eq!(slot_of(b"bar"), 5061);
        assert_eq!(slot_of(b"{foo}x"), 12182);
    }
}
