//! Effects: what the changes of a command amount to, as commands that repeat them on the same data, whenever that is.
//!
//! The log replays effects, so they must not depend on the clock, on chance, or on keys of other shards: each is one command
//! on one key (INCRBYFLOAT is told as SET, SPOP as SREM, an expiry as a point in time). Owns the words until the shard
//! takes them. Never knows whether a log exists beyond being switched on, and never knows commands: who tells effects says
//! which word is the key.
//!
//! A command that is deterministic and has one key needs to tell nothing: its own words are its effect. Hot path only while
//! switched on.

use torc_datatypes::words::{self, Words};

/// Effects since they were last taken, oldest first: behind each other, as the log has them.
#[derive(Debug, Default)]
pub struct Effects {
    is_on: bool,
    is_told: bool,
    list: Vec<Header>,
    bytes: Vec<u8>,
    /// The buffer of their own, while they are put behind the content of another.
    own: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    start: usize,
    /// Index of the key among the words; `None`: the effect is on the whole shard.
    key_at: Option<u8>,
}

/// One effect.
#[derive(Clone, Copy, Debug)]
pub struct Effect<'a> {
    pub db: u32,
    key_at: Option<u8>,
    words: Words<'a>,
}

impl<'a> Effect<'a> {
    /// The words, the command's name first.
    pub fn words(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.words
    }

    /// The key it works on; `None` if it is on the whole shard.
    pub fn key(&self) -> Option<&'a [u8]> {
        self.words().nth(usize::from(self.key_at?))
    }
}

impl Effects {
    /// Memory that emptied effects keep.
    const KEPT_BYTES_MAX: usize = 256 * 1024;
    const KEPT_EFFECTS_MAX: usize = 16 * 1024;

    /// Whether somebody wants effects.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    pub fn switch(&mut self, on: bool) {
        self.is_on = on;
        if !on {
            self.clear();
        }
    }

    /// The running command's effect: these words, the second of which is the key. In place of the command's own words,
    /// and as often as it takes.
    #[inline]
    pub fn tell(&mut self, db: usize, words: &[&[u8]]) {
        if self.is_on {
            self.is_told = true;
            self.push(db, words.iter().copied(), Some(1));
        }
    }

    /// The same for words that are not at hand as a list, with the place of the key (`None`: the whole shard).
    pub fn tell_all<'w>(&mut self, db: usize, words: impl IntoIterator<Item = &'w [u8]>, key_at: Option<u8>) {
        if self.is_on {
            self.is_told = true;
            self.push(db, words, key_at);
        }
    }

    /// One more word for the effect told last.
    #[inline]
    pub fn tell_word(&mut self, word: &[u8]) {
        if let Some(last) = self.list.last().filter(|_| self.is_on) {
            words::put_more(&mut self.bytes, last.start, word);
        }
    }

    /// The running command has changed something that nobody needs to repeat: its own words are no effect.
    pub fn tell_nothing(&mut self) {
        self.is_told = self.is_on;
    }

    /// Something that happened beside the running command: a key's time was over.
    pub fn add(&mut self, db: usize, words: &[&[u8]]) {
        if self.is_on {
            self.push(db, words.iter().copied(), Some(1));
        }
    }

    /// Whether the running command has told its effects; asked once, when it has ended.
    pub fn take_told(&mut self) -> bool {
        std::mem::take(&mut self.is_told)
    }

    #[inline]
    fn push<'w>(&mut self, db: usize, words: impl IntoIterator<Item = &'w [u8]>, key_at: Option<u8>) {
        self.list.push(Header { start: self.bytes.len(), key_at });
        words::put(&mut self.bytes, db as u32, words);
    }

    /// Takes over an effect of another list, whether or not anybody wants effects.
    pub fn push_copy(&mut self, effect: Effect<'_>) {
        self.push(effect.db as usize, effect.words(), effect.key_at);
    }

    /// Hands over what there is; the switch stays as it is.
    pub fn take(&mut self) -> Effects {
        let is_on = self.is_on;
        std::mem::replace(self, Effects { is_on, ..Effects::default() })
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = Effect<'_>> {
        self.list.iter().map(|header| {
            let (db, words) = words::read(&self.bytes[header.start..]).expect("it was put there whole");
            Effect { db, key_at: header.key_at, words }
        })
    }

    /// The bytes of all effects, in as few runs of whole effects as there are of at most so many bytes; a longer effect is a
    /// run by itself.
    pub fn runs(&self, bytes_max: usize) -> impl Iterator<Item = &[u8]> {
        let mut left = &self.list[..];
        std::iter::from_fn(move || {
            let (first, others) = left.split_first()?;
            let start = first.start;
            left = if self.bytes.len() - start <= bytes_max {
                &[]
            } else {
                // Effects end where the next ones start.
                let fitting = others.partition_point(|next| next.start - start <= bytes_max);
                &others[fitting.saturating_sub(1)..]
            };
            Some(&self.bytes[start..left.first().map_or(self.bytes.len(), |next| next.start)])
        })
    }

    /// From now on effects are put behind the content of this buffer, until it is given back. There may be none now.
    pub fn borrow(&mut self, buffer: Vec<u8>) {
        assert!(self.list.is_empty(), "effects are in one buffer");
        self.own = std::mem::replace(&mut self.bytes, buffer);
    }

    /// Gives the borrowed buffer back, with all effects behind what it held. If they take more than so many bytes, they stay here
    /// instead, in a buffer of their own.
    pub fn give_back(&mut self, bytes_max: usize) -> Vec<u8> {
        let start = self.list.first().map_or(self.bytes.len(), |first| first.start);
        if self.bytes.len() - start > bytes_max {
            self.own.extend_from_slice(&self.bytes[start..]);
            self.bytes.truncate(start);
            self.list.iter_mut().for_each(|header| header.start -= start);
        } else {
            self.list.clear();
        }
        std::mem::replace(&mut self.bytes, std::mem::take(&mut self.own))
    }

    /// Drops what was taken; most of the memory is kept.
    pub fn clear(&mut self) {
        self.list.clear();
        self.list.shrink_to(Effects::KEPT_EFFECTS_MAX);
        self.bytes.clear();
        self.bytes.shrink_to(Effects::KEPT_BYTES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_come_back_as_they_were_told() {
        let mut effects = Effects::default();
        effects.tell(0, &[b"SET", b"k", b"v"]);
        assert!(effects.is_empty() && !effects.take_told(), "nobody wants any");
        effects.switch(true);
        effects.add(1, &[b"DEL", b"gone"]);
        assert!(!effects.take_told(), "the command itself has told nothing");
        effects.tell(2, &[b"SREM", b"s", b"a", b""]);
        effects.tell_all(3, [&b"FLUSHDB"[..]], None);
        effects.tell_all(0, [&b"XGROUP"[..], b"CREATE", b"x", b"g", b"$"], Some(2));
        assert!(effects.take_told() && !effects.take_told());
        let show = |effect: Effect<'_>| {
            let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
            let words: Vec<String> = effect.words().map(text).collect();
            format!("{} {:?} {words:?}", effect.db, effect.key().map(text))
        };
        let seen: Vec<String> = effects.iter().map(show).collect();
        let expected = [
            r#"1 Some("gone") ["DEL", "gone"]"#,
            r#"2 Some("s") ["SREM", "s", "a", ""]"#,
            r#"3 None ["FLUSHDB"]"#,
            r#"0 Some("x") ["XGROUP", "CREATE", "x", "g", "$"]"#,
        ];
        assert_eq!(seen, expected);
        effects.clear();
        assert!(effects.is_empty());
    }

    #[test]
    fn effects_are_put_where_they_are_wanted() {
        let mut effects = Effects::default();
        effects.switch(true);
        let put = |effects: &mut Effects, count: usize| {
            (0..count).for_each(|_| effects.tell(0, &[b"SET", b"k", b"v"]));
        };
        // What is given back, and how many effects have stayed.
        for (count, expected) in [(0, (6, 0)), (1, (16, 0)), (2, (26, 0)), (3, (6, 3))] {
            effects.borrow(b"before".to_vec());
            put(&mut effects, count);
            let buffer = effects.give_back(20);
            assert_eq!((buffer.len(), effects.len()), expected, "{count}");
            assert!(buffer.starts_with(b"before"));
            let stayed: usize = effects.iter().map(|effect| effect.words().count()).sum();
            assert_eq!((stayed, effects.bytes.len()), (3 * expected.1, 10 * expected.1));
            effects.clear();
        }
        put(&mut effects, 1);
        assert_eq!(effects.runs(100).map(<[u8]>::len).collect::<Vec<_>>(), [10], "in their own buffer again");
    }

    #[test]
    fn runs_are_whole_effects() {
        let mut effects = Effects::default();
        effects.switch(true);
        assert_eq!(effects.runs(10).count(), 0);
        for len in [1, 2, 3, 40, 1, 41, 1, 1, 1] {
            effects.tell(0, &[b"SET", &vec![b'v'; len]]);
        }
        // Each takes seven bytes and its value.
        for (bytes_max, expected) in [
            (1000, vec![154]),
            (154, vec![154]),
            (153, vec![146, 8]),
            (47, vec![27, 47, 8, 48, 24]),
            (1, vec![8, 9, 10, 47, 8, 48, 8, 8, 8]),
        ] {
            let runs: Vec<&[u8]> = effects.runs(bytes_max).collect();
            let lengths: Vec<usize> = runs.iter().map(|run| run.len()).collect();
            assert_eq!(lengths, expected, "{bytes_max}");
            assert_eq!(runs.concat(), effects.bytes);
        }
    }
}
