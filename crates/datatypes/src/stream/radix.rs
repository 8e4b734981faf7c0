//! How many nodes a radix tree has, without having one: XINFO STREAM tells it (`radix-tree-nodes`), and Redis keeps a
//! stream's nodes in such a tree, under their ids as 16 bytes.
//!
//! Owns the arithmetic of one key more or less. Never holds keys: it looks at the ordered map that does.
//!
//! In that tree each key ends in a leaf of its own, where keys part there is a node with a child for each next byte, and
//! the bytes between two such places, if there are any, are one node.

use std::collections::BTreeMap;

use super::StreamId;

const KEY_BYTES: usize = 16;

/// Nodes of a tree without keys.
pub(super) const EMPTY: usize = 1;

/// By how many nodes the tree grows when `id` joins `others`, and shrinks when it leaves them.
pub(super) fn nodes_of<V>(others: &BTreeMap<StreamId, V>, id: StreamId) -> usize {
    let before = |id: StreamId| others.range(..id).next_back().map(|(id, _)| *id);
    let after = |id: StreamId| others.range(id..).next().map(|(id, _)| *id);
    let (left, right) = (before(id), after(id));
    let (common_left, common_right) =
        (left.map(|left| common(left, id)), right.map(|right| common(right, id)));
    // Where the key parts from its nearest neighbour; `None` is less than any length.
    let Some(parting) = common_left.max(common_right) else { return 1 };
    let leaf = 1 + usize::from(parting + 1 < KEY_BYTES);
    if common_left == common_right {
        return leaf;
    }
    // The keys that share the bytes up to there, and the one behind them.
    let (first, last, outside) = if common_left > common_right {
        let first = after(floor(id, parting)).expect("the left neighbour is one");
        (first, left.expect("it has bytes in common"), before(first))
    } else {
        let last = others.range(..=ceiling(id, parting)).next_back().expect("the right neighbour is one");
        (right.expect("it has bytes in common"), *last.0, last.0.next().and_then(after))
    };
    if byte(first, parting) != byte(last, parting) {
        return leaf;
    }
    // The node of bytes that they share is divided: bytes above, the parting, bytes below.
    let beyond = outside.map(|outside| common(outside, id));
    let upper = beyond.max(common_left.min(common_right)).map_or(0, |upper| upper + 1);
    let lower = if first == last { KEY_BYTES } else { common(first, last) };
    leaf + usize::from(upper < parting) + usize::from(parting + 1 < lower)
}

fn bits(id: StreamId) -> u128 {
    u128::from(id.ms) << 64 | u128::from(id.seq)
}

fn from_bits(bits: u128) -> StreamId {
    StreamId::new((bits >> 64) as u64, bits as u64)
}

/// Bytes that two different ids have in common.
fn common(one: StreamId, other: StreamId) -> usize {
    (bits(one) ^ bits(other)).leading_zeros() as usize / 8
}

fn byte(id: StreamId, index: usize) -> u8 {
    bits(id).to_be_bytes()[index]
}

/// The smallest id with the same first bytes.
fn floor(id: StreamId, bytes: usize) -> StreamId {
    from_bits(bits(id) & !mask_behind(bytes))
}

/// The largest id with the same first bytes.
fn ceiling(id: StreamId, bytes: usize) -> StreamId {
    from_bits(bits(id) | mask_behind(bytes))
}

fn mask_behind(bytes: usize) -> u128 {
    u128::MAX.checked_shr(8 * bytes as u32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Nodes of the tree, counted prefix by prefix.
    fn count(keys: &BTreeMap<StreamId, ()>) -> usize {
        let keys: Vec<[u8; KEY_BYTES]> = keys.keys().map(|id| bits(*id).to_be_bytes()).collect();
        let next_bytes = |prefix: &[u8]| -> usize {
            let next: BTreeSet<u8> =
                keys.iter().filter(|key| key.starts_with(prefix)).map(|key| key[prefix.len()]).collect();
            next.len()
        };
        let mut nodes = 0;
        let prefixes: BTreeSet<&[u8]> =
            keys.iter().flat_map(|key| (0..KEY_BYTES).map(move |len| &key[..len])).collect();
        for prefix in prefixes {
            let parts = next_bytes(prefix) > 1;
            // A run of bytes is counted where it begins.
            let begins = prefix.is_empty() || next_bytes(&prefix[..prefix.len() - 1]) > 1;
            nodes += usize::from(parts || begins);
        }
        (nodes + keys.len()).max(EMPTY)
    }

    #[test]
    fn agrees_with_a_tree_counted_node_by_node() {
        for seed in 1..=40u64 {
            let mut state = seed;
            let mut random = move |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let (mut keys, mut nodes) = (BTreeMap::new(), EMPTY);
            for _ in 0..120 {
                let part = |random: &mut dyn FnMut(u64) -> u64| {
                    [random(3), random(3) << 8, 250 + random(10), random(2) << 56][random(4) as usize]
                };
                let id = StreamId::new(part(&mut random), part(&mut random));
                if keys.remove(&id).is_some() {
                    nodes -= nodes_of(&keys, id);
                } else {
                    nodes += nodes_of(&keys, id);
                    keys.insert(id, ());
                }
                assert_eq!(nodes, count(&keys), "seed {seed}");
            }
        }
    }
}
