//! The change stream: what happened to which key. Feeds keyspace notifications, the dirty counter, and later the log
//! and replicas. Never decides what a change means to them.

use std::fmt;
use std::ops::{BitAnd, BitOr};

use crate::effects::Effects;
use crate::keyspace::Keyspace;

/// Classes of events and of their channels: the letters of `notify-keyspace-events` (Redis 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Class(u16);

impl Class {
    pub const NONE: Class = Class(0);
    /// `K`: publish to `__keyspace@<db>__:<key>`.
    pub const KEYSPACE: Class = Class(1);
    /// `E`: publish to `__keyevent@<db>__:<event>`.
    pub const KEYEVENT: Class = Class(1 << 1);
    pub const GENERIC: Class = Class(1 << 2);
    pub const STRING: Class = Class(1 << 3);
    pub const LIST: Class = Class(1 << 4);
    pub const SET: Class = Class(1 << 5);
    pub const HASH: Class = Class(1 << 6);
    pub const ZSET: Class = Class(1 << 7);
    pub const EXPIRED: Class = Class(1 << 8);
    pub const EVICTED: Class = Class(1 << 9);
    pub const STREAM: Class = Class(1 << 10);
    pub const KEY_MISS: Class = Class(1 << 11);
    pub const MODULE: Class = Class(1 << 12);
    pub const NEW: Class = Class(1 << 13);
    /// `A`: every class but misses and new keys.
    pub const ALL: Class = Class(0b1_0111_1111_1100);
    /// Nothing happened to the key: a client has read it and wants to know of changes. No letter names it.
    pub const REMEMBERED: Class = Class(1 << 14);
    /// All keys of one database or more were removed or exchanged. No letter names it.
    pub const FLUSHED: Class = Class(1 << 15);
    /// What says that a key is not what it was.
    pub const CHANGES: Class = Class(Class::ALL.0 | Class::NEW.0);

    /// In the order in which Redis prints them.
    const LETTERS: [(char, Class); 14] = [
        ('g', Class::GENERIC),
        ('$', Class::STRING),
        ('l', Class::LIST),
        ('s', Class::SET),
        ('h', Class::HASH),
        ('z', Class::ZSET),
        ('x', Class::EXPIRED),
        ('e', Class::EVICTED),
        ('t', Class::STREAM),
        ('d', Class::MODULE),
        ('n', Class::NEW),
        ('K', Class::KEYSPACE),
        ('E', Class::KEYEVENT),
        ('m', Class::KEY_MISS),
    ];

    /// The classes that a setting's letters name; `None` if a letter is unknown.
    pub fn parse(letters: &str) -> Option<Class> {
        letters.chars().try_fold(Class::NONE, |all, letter| {
            if letter == 'A' {
                return Some(all | Class::ALL);
            }
            let (_, class) = Class::LETTERS.iter().find(|(known, _)| *known == letter)?;
            Some(all | *class)
        })
    }

    /// Whether the two have a class in common.
    #[inline]
    pub fn intersects(self, other: Class) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether all classes of `other` are in `self`.
    pub fn contains(self, other: Class) -> bool {
        self & other == other
    }
}

impl BitOr for Class {
    type Output = Class;
    fn bitor(self, other: Class) -> Class {
        Class(self.0 | other.0)
    }
}

impl BitAnd for Class {
    type Output = Class;
    fn bitand(self, other: Class) -> Class {
        Class(self.0 & other.0)
    }
}

/// The letters as CONFIG GET prints them; `A` stands for all it covers. Redis 7.2 drops an `n` beside `A`, which a
/// rewritten file would lose then.
impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.contains(Class::ALL);
        if all {
            f.write_str("A")?;
        }
        for (letter, class) in Class::LETTERS {
            let covered = all && Class::ALL.contains(class);
            if self.contains(class) && !covered {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// Something that happened to a key, on its way to the owner of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub class: Class,
    /// Name of the event as notifications publish it ("set", "expired", …).
    pub name: &'static str,
    pub db: usize,
    pub key: Box<[u8]>,
    /// Who did it, as [`Changes::actor`] said; 0: nobody.
    pub actor: u64,
}

impl Event {
    pub fn key(&self) -> &[u8] {
        &self.key
    }
}

/// The same, borrowed from a [`ChangeLog`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRef<'a> {
    pub class: Class,
    pub name: &'static str,
    pub db: usize,
    pub key: &'a [u8],
    pub actor: u64,
}

/// Recorded events, oldest first. Their keys share one arena, so that recording allocates nothing once it has grown.
#[derive(Debug, Default)]
pub struct ChangeLog {
    records: Vec<Record>,
    keys: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    class: Class,
    db: u32,
    name: &'static str,
    actor: u64,
    key_end: usize,
}

impl ChangeLog {
    /// Memory that an emptied log keeps.
    const KEPT_RECORDS_MAX: usize = 4096;
    const KEPT_KEY_BYTES_MAX: usize = 256 * 1024;

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = EventRef<'_>> {
        let mut start = 0;
        self.records.iter().map(move |record| {
            let key = &self.keys[start..record.key_end];
            start = record.key_end;
            let Record { class, db, name, actor, .. } = *record;
            EventRef { class, name, db: db as usize, key, actor }
        })
    }

    fn push(&mut self, event: EventRef<'_>) {
        let EventRef { class, name, db, key, actor } = event;
        self.keys.extend_from_slice(key);
        self.records.push(Record { class, db: db as u32, name, actor, key_end: self.keys.len() });
    }

    fn clear(&mut self) {
        self.records.clear();
        self.records.shrink_to(ChangeLog::KEPT_RECORDS_MAX);
        self.keys.clear();
        self.keys.shrink_to(ChangeLog::KEPT_KEY_BYTES_MAX);
    }
}

/// Changes since they were last taken. Events are recorded only for classes that somebody listens to.
#[derive(Debug, Default)]
pub struct Changes {
    /// Number of changes since the server started (`rdb_changes_since_last_save`).
    pub dirty: u64,
    /// Stands for the client whose command runs; the caller sees to it that it is right while somebody listens.
    pub actor: u64,
    /// What the changes amount to, for the log.
    pub effects: Effects,
    listening: Class,
    record_all: bool,
    log: ChangeLog,
}

impl Changes {
    /// Classes to record events of.
    pub fn listen(&mut self, classes: Class) {
        self.listening = classes;
    }

    /// Classes that somebody listens to.
    pub fn listening(&self) -> Class {
        self.listening
    }

    /// Records every event, whoever listens (a transaction that must report them to the owner of a key);
    /// returns the former setting.
    pub fn record_all(&mut self, on: bool) -> bool {
        std::mem::replace(&mut self.record_all, on)
    }

    /// Whether anything is recorded.
    #[inline]
    pub fn is_observed(&self) -> bool {
        self.record_all || self.listening != Class::NONE
    }

    /// Whether an event of that class would be recorded.
    #[inline]
    pub fn wants(&self, class: Class) -> bool {
        self.record_all || self.listening.intersects(class)
    }

    /// Records an event that is not a change of its own (a second name of one change, or a miss).
    #[inline]
    pub fn event(&mut self, class: Class, name: &'static str, db: usize, key: &[u8]) {
        if self.wants(class) {
            self.log.push(EventRef { class, name, db, key, actor: self.actor });
        }
    }

    /// Records that a key is gone because its time was over, whoever found out.
    #[inline]
    pub fn expired(&mut self, db: usize, key: &[u8]) {
        self.effects.add(db, &[b"DEL", key]);
        if self.wants(Class::EXPIRED) {
            self.log.push(EventRef { class: Class::EXPIRED, name: "expired", db, key, actor: 0 });
        }
    }

    /// Records that a key is gone because its memory was needed.
    pub fn evicted(&mut self, db: usize, key: &[u8]) {
        self.effects.add(db, &[b"DEL", key]);
        if self.wants(Class::EVICTED) {
            self.log.push(EventRef { class: Class::EVICTED, name: "evicted", db, key, actor: 0 });
        }
    }

    /// Records that the actor has read a key and wants to know when it changes.
    pub fn remembered(&mut self, db: usize, key: &[u8]) {
        self.remember(EventRef { class: Class::REMEMBERED, name: "", db, key, actor: self.actor });
    }

    /// From here on nothing may be missed, not even before the log is read.
    fn remember(&mut self, read: EventRef<'_>) {
        self.listening = self.listening | Class::CHANGES | Class::FLUSHED;
        self.log.push(read);
    }

    /// Records that all keys of one database or more were removed or exchanged.
    pub fn flushed(&mut self) {
        self.event(Class::FLUSHED, "", 0, b"");
    }

    /// Records a change: counts it, and records its event. WATCH is not told: see [`Keyspace::changed`].
    #[inline]
    pub fn change(&mut self, class: Class, name: &'static str, db: usize, key: &[u8]) {
        self.dirty += 1;
        self.event(class, name, db, key);
    }

    /// Keeps an event that was taken before, if somebody listens.
    pub fn keep(&mut self, event: &Event) {
        let Event { class, name, db, ref key, actor } = *event;
        let event = EventRef { class, name, db, key, actor };
        if class == Class::REMEMBERED {
            self.remember(event);
        } else if self.wants(class) {
            self.log.push(event);
        }
    }

    /// Repeats at the owner of a key what a transaction did to it elsewhere: tells those who watch or await it, keeps
    /// the event.
    pub fn replay(&mut self, event: &Event, keyspace: &mut Keyspace) {
        if event.class.intersects(Class::CHANGES) {
            keyspace.touched_by(event.db, &event.key, event.class, event.name);
        }
        self.keep(event);
    }

    /// Whether there are events to take.
    #[inline]
    pub fn has_events(&self) -> bool {
        !self.log.is_empty()
    }

    /// Hands the recorded events over, oldest first.
    pub fn take_events(&mut self) -> Vec<Event> {
        let events = self.log.iter().map(|event| {
            let EventRef { class, name, db, key, actor } = event;
            Event { class, name, db, key: key.into(), actor }
        });
        let events = events.collect();
        self.log.clear();
        events
    }

    /// The same without a copy. Give the log back when it has been read.
    pub fn take_log(&mut self) -> ChangeLog {
        self.swap_log(ChangeLog::default())
    }

    /// Puts another log in place of the own one.
    pub fn swap_log(&mut self, log: ChangeLog) -> ChangeLog {
        std::mem::replace(&mut self.log, log)
    }

    /// Takes a log back, so that its memory is used again.
    pub fn return_log(&mut self, mut log: ChangeLog) {
        if self.log.is_empty() {
            log.clear();
            self.log = log;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_print_as_config_get_does() {
        for (set, printed) in [
            ("", ""),
            ("KEA", "AKE"),
            ("EA", "AE"),
            ("gKE", "gKE"),
            ("$lshzxeKE", "$lshzxeKE"),
            ("g$lshzxetdK", "AK"),
            ("KEm", "KEm"),
            ("KEn", "nKE"),
            ("KEAn", "AnKE"),
        ] {
            assert_eq!(Class::parse(set).unwrap().to_string(), printed, "{set}");
        }
        assert_eq!(Class::parse("KEq"), None);
    }

    #[test]
    fn events_are_recorded_only_for_listeners() {
        let mut changes = Changes::default();
        changes.change(Class::STRING, "set", 0, b"k");
        assert!(!changes.has_events());
        changes.listen(Class::STRING | Class::KEYEVENT);
        changes.change(Class::STRING, "set", 0, b"k");
        changes.change(Class::GENERIC, "del", 0, b"k");
        let before = changes.record_all(true);
        changes.event(Class::GENERIC, "expire", 1, b"k");
        changes.record_all(before);
        let names: Vec<_> = changes.take_events().iter().map(|event| event.name).collect();
        assert_eq!(names, ["set", "expire"]);
        assert_eq!(changes.dirty, 3);
    }

    #[test]
    fn events_know_their_key_and_who_made_them() {
        let mut changes = Changes { actor: 7, ..Changes::default() };
        changes.listen(Class::ALL);
        changes.change(Class::STRING, "set", 1, b"key");
        changes.remembered(1, b"");
        changes.expired(2, b"other");
        changes.flushed();
        let log = changes.take_log();
        let of = |class, name, db, key, actor| EventRef { class, name, db, key, actor };
        let expected = [
            of(Class::STRING, "set", 1, b"key", 7),
            of(Class::REMEMBERED, "", 1, b"", 7),
            of(Class::EXPIRED, "expired", 2, b"other", 0),
            of(Class::FLUSHED, "", 0, b"", 7),
        ];
        assert_eq!(log.iter().collect::<Vec<_>>(), expected, "who has read a key hears of flushes too");
        changes.return_log(log);
        assert!(!changes.has_events());
    }
}
