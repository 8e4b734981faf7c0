//! Effects: what the changes of a command amount to, as commands that repeat them on the same data, whenever that is.
//!
//! The log replays effects, so they must not depend on the clock, on chance, or on keys of other shards: each is one command
//! on one key (INCRBYFLOAT is told as SET, SPOP as SREM, an expiry as a point in time). Owns the words until the shard
//! takes them. Never knows whether a log exists beyond being switched on, and never knows commands: who tells effects says
//! which word is the key.
//!
//! A command that is deterministic and has one key needs to tell nothing: its own words are its effect. Hot path only while
//! switched on.

/// Effects since they were last taken, oldest first. Their words share one arena.
#[derive(Debug, Default)]
pub struct Effects {
    is_on: bool,
    is_told: bool,
    list: Vec<Header>,
    /// End of each word in `bytes`.
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    db: u32,
    words: u32,
    /// Index of the key among the words; `None`: the effect is on the whole shard.
    key_at: Option<u8>,
}

/// One effect.
#[derive(Clone, Copy, Debug)]
pub struct Effect<'a> {
    pub db: u32,
    key_at: Option<u8>,
    ends: &'a [usize],
    start: usize,
    bytes: &'a [u8],
}

impl<'a> Effect<'a> {
    /// The words, the command's name first.
    pub fn words(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let (mut start, bytes) = (self.start, self.bytes);
        self.ends.iter().map(move |&end| {
            let word = &bytes[start..end];
            start = end;
            word
        })
    }

    /// The key it works on; `None` if it is on the whole shard.
    pub fn key(&self) -> Option<&'a [u8]> {
        self.words().nth(usize::from(self.key_at?))
    }
}

impl Effects {
    /// Memory that emptied effects keep.
    const KEPT_BYTES_MAX: usize = 256 * 1024;
    const KEPT_WORDS_MAX: usize = 16 * 1024;

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
        if let Some(last) = self.list.last_mut().filter(|_| self.is_on) {
            last.words += 1;
            self.bytes.extend_from_slice(word);
            self.ends.push(self.bytes.len());
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

    fn push<'w>(&mut self, db: usize, words: impl IntoIterator<Item = &'w [u8]>, key_at: Option<u8>) {
        let first = self.ends.len();
        for word in words {
            self.bytes.extend_from_slice(word);
            self.ends.push(self.bytes.len());
        }
        self.list.push(Header { db: db as u32, words: (self.ends.len() - first) as u32, key_at });
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
        let (mut word, mut start) = (0, 0);
        self.list.iter().map(move |header| {
            let ends = &self.ends[word..word + header.words as usize];
            let effect = Effect { db: header.db, key_at: header.key_at, ends, start, bytes: &self.bytes };
            word += header.words as usize;
            start = ends.last().copied().unwrap_or(start);
            effect
        })
    }

    /// Drops what was taken; most of the memory is kept.
    pub fn clear(&mut self) {
        self.list.clear();
        self.list.shrink_to(Effects::KEPT_WORDS_MAX);
        self.ends.clear();
        self.ends.shrink_to(Effects::KEPT_WORDS_MAX);
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
}
