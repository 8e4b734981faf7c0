//! RDB files: every opcode by hand, files that were written and read again, and files that were damaged.

use std::io::{Cursor, Read};

use torc_datatypes::Entry;
use torc_datatypes::hash::HashLimits;
use torc_datatypes::list::NodeLimits;
use torc_datatypes::rdb::crc64::crc64;
use torc_datatypes::rdb::{Limits, Writer, code, record::write_record};
use torc_datatypes::set::SetLimits;
use torc_datatypes::zset::ZSetLimits;
use torc_persist::rdb::{Database, FileError, FileReader, FileWriter, Item};
use torc_persist::seal::{Algorithm, Keys, MasterKey};

fn limits() -> Limits {
    Limits {
        list: NodeLimits::new(-2),
        set: SetLimits { intset_entries: 512, listpack_entries: 128, listpack_value: 64 },
        zset: ZSetLimits { listpack_entries: 128, listpack_value: 64 },
        hash: HashLimits { entries_max: 128, value_bytes_max: 64 },
    }
}

/// A source that gives one byte at a time, so that every item is cut everywhere.
struct Drip<'a>(&'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let Some((first, rest)) = self.0.split_first().filter(|_| !buffer.is_empty()) else { return Ok(0) };
        buffer[0] = *first;
        self.0 = rest;
        Ok(1)
    }
}

fn read_from(source: impl Read, checks_sum: bool) -> Result<Vec<String>, FileError> {
    read_with(source, checks_sum, Keys::none())
}

fn read_with(source: impl Read, checks_sum: bool, keys: &Keys) -> Result<Vec<String>, FileError> {
    let mut reader = FileReader::open_with(source, "dump.rdb", limits(), checks_sum, keys)?;
    let mut items = Vec::new();
    while let Some(item) = reader.next_item()? {
        items.push(match item {
            Item::Aux { name, text } => format!("{}={}", text_of(&name), text_of(&text)),
            Item::Function(source) => format!("function {}", text_of(&source)),
            Item::Key(key) => {
                let value = key.entry.str_ref().map_or_else(|| "?".into(), |value| text_of(&value.to_vec()));
                let mut line = format!("{} {} {value}", key.db, text_of(key.entry.key()));
                key.entry.expire_at().iter().for_each(|at| line.push_str(&format!(" until {at}")));
                key.idle_seconds.iter().for_each(|idle| line.push_str(&format!(" idle {idle}")));
                key.frequency.iter().for_each(|count| line.push_str(&format!(" used {count}")));
                line
            }
        });
    }
    Ok(items)
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read(bytes: &[u8]) -> Result<Vec<String>, FileError> {
    read_from(bytes, true)
}

/// Closes a file by hand.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut file = bytes.to_vec();
    file.push(code::EOF);
    let crc = crc64(0, &file);
    file.extend_from_slice(&crc.to_le_bytes());
    file
}

#[test]
fn every_opcode_is_understood() {
    let cases: &[(&[u8], &[&str])] = &[
        (b"REDIS0011", &[]),
        (b"REDIS0006", &[]),
        (b"VALKEY080", &[]),
        (b"REDIS0011\xfa\x09redis-ver\x057.2.4\xfa\x04what\xc0\x05", &["redis-ver=7.2.4", "what=5"]),
        (b"REDIS0011\xfe\x03\xfb\x01\x00\x00\x01k\x01v", &["3 k v"]),
        (b"REDIS0011\x00\x01k\x01v\xfe\x40\x05\x00\x01k\x01w", &["0 k v", "5 k w"]),
        (b"VALKEY080\xf4\x05\x01\x00\x00\x01k\x01v", &["0 k v"]),
        (b"REDIS0011\xfd\x10\x00\x00\x00\x00\x01k\x01v\x00\x01l\x01v", &["0 k v until 16000", "0 l v"]),
        (b"REDIS0011\xfc\x10\x00\x00\x00\x00\x00\x00\x00\x00\x01k\x01v", &["0 k v until 16"]),
        (b"REDIS0011\xf8\x42\x00\x00\x01k\x01v", &["0 k v idle 512"]),
        (b"REDIS0011\xf9\xff\x00\x01k\x01v", &["0 k v used 255"]),
        (b"REDIS0011\xf5\x05#!lua", &["function #!lua"]),
    ];
    for (bytes, items) in cases {
        let file = sealed(bytes);
        assert_eq!(read(&file).expect("a sound file"), *items);
        assert_eq!(read_from(Drip(&file), true).expect("read byte by byte"), *items);
        for cut in 0..file.len() {
            let error = read(&file[..cut]).expect_err("a file that is cut off");
            assert!(error.offset <= cut as u64 && error.file == "dump.rdb", "{error}");
            assert!(error.reason.contains("unexpected end"), "{error}");
        }
    }
    assert_eq!(read(b"REDIS0004\x00\x01k\x01v\xff").expect("without a checksum"), ["0 k v"]);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let cases: &[(&[u8], u64, &str)] = &[
        (b"REDIX0011", 9, "corrupt: no RDB file: it does not begin as one"),
        (b"REDIS00x1", 9, "corrupt: no RDB file: it does not begin as one"),
        (b"REDIS0013", 9, "not supported: this version of RDB"),
        (b"REDIS0000", 9, "not supported: this version of RDB"),
        (b"REDIS0011\xf6", 10, "not supported: functions of release candidates"),
        (b"REDIS0011\xf7", 10, "not supported: data of modules"),
        (b"REDIS0011\x07\x01k", 12, "not supported: values of modules"),
        (b"REDIS0011\xe0\x01k", 12, "not supported: this type of value"),
        (b"REDIS0011\x00\x01k\xc7", 13, "corrupt: no such encoding of strings"),
    ];
    for (bytes, offset, reason) in cases {
        let error = read(&sealed(bytes)).expect_err("a wrong file");
        assert_eq!((error.offset, error.reason.as_str()), (*offset, *reason));
    }
    let mut file = sealed(b"REDIS0011\x00\x01k\x01v");
    file[13] ^= 1;
    assert_eq!(read(&file).expect_err("a flipped bit").reason, "corrupt: the checksum is wrong");
    assert!(read_from(file.as_slice(), false).is_ok(), "the checksum is not to be looked at");
    let end = file.len() - 8;
    file[end..].fill(0);
    assert!(read(&file).is_ok(), "a file without a checksum");
    assert!(read(b"REDIS0011\x00\x81\x7f\xff\xff\xff\xff\xff\xff\xffabc").is_err(), "a huge claim");
}

fn written(count: usize, version: u16) -> Vec<u8> {
    written_with(count, version, Keys::none())
}

fn written_with(count: usize, version: u16, keys: &Keys) -> Vec<u8> {
    let mut writer = FileWriter::begin_with(Cursor::new(Vec::new()), keys, version.min(code::VERSION))
        .expect("memory takes all");
    writer.notes(&[("redis-ver", "7.2.4")], &[b"#!lua".to_vec()]).expect("memory takes all");
    let counts = Database { keys: count as u64, volatile: 0 };
    writer.databases(&[Database::default(), counts]).expect("memory takes all");
    for number in 0..count {
        let mut part = vec![code::SELECT_DB, 1];
        let value = "x".repeat(number * 1000);
        let entry = Entry::string(format!("key:{number}").as_bytes(), value.as_bytes(), None);
        // Long strings are packed by whoever writes the file.
        let (mut later, compresses) = (Vec::new(), number % 2 == 0);
        let mut record = Writer::leaving(&mut part, compresses, &mut later);
        assert_eq!(write_record(&entry, code::VERSION, &mut record), code::VERSION);
        writer.part(&part, &later, compresses, version).expect("memory takes all");
    }
    writer.finish(true).expect("memory takes all").into_inner()
}

/// Long values and many of them: beyond the window, with all versions.
#[test]
fn what_was_written_is_read() {
    for (version, header) in [
        (code::VERSION_REDIS_7_0, b"REDIS0010"),
        (code::VERSION, b"REDIS0011"),
        (code::VERSION_FIELD_EXPIRY, b"VALKEY080"),
    ] {
        let file = written(400, version);
        assert!(file.starts_with(header));
        let items = read(&file).expect("a sound file");
        assert_eq!(items.len(), 402);
        assert_eq!(items[..3], ["redis-ver=7.2.4", "function #!lua", "1 key:0 "]);
        assert_eq!(items[401], format!("1 key:399 {}", "x".repeat(399_000)));
    }
}

/// Damaged files are errors or other files, never a panic; with the checksum, never another file.
#[test]
fn damage_is_noticed() {
    let file = written(6, code::VERSION);
    let mut random = 1u64;
    for round in 0..3000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (random >> 33) as usize % file.len();
        let mut damaged = file.clone();
        match round % 3 {
            0 => damaged[at] ^= 1 << (random & 7),
            1 => damaged.truncate(at),
            _ => drop(damaged.splice(at..at, [random as u8; 3])),
        }
        assert!(read(&damaged).is_err(), "round {round}, byte {at}");
        let _ = read_from(damaged.as_slice(), false);
    }
}

/// Sealed files: the same content, and no byte of them can be changed or left out, with or without a checksum.
#[test]
fn sealed_files_are_read_with_their_key_only() {
    let master = |byte| MasterKey::parse(&[byte; 32]).expect("a key");
    let keys = Keys::new(Algorithm::Aes256Gcm, master(1), Vec::new());
    let rotated = Keys::new(Algorithm::ChaCha20Poly1305, master(2), vec![master(1)]);
    for version in [code::VERSION, code::VERSION_FIELD_EXPIRY] {
        // Beyond one chunk.
        let plain = read(&written(100, version)).expect("a sound file");
        let file = written_with(100, version, &keys);
        assert!(!file.windows(8).any(|bytes| bytes == b"xxxxxxxx" || bytes == b"redis-ve"));
        assert_eq!(read_with(file.as_slice(), true, &rotated).expect("a sound file"), plain);
        assert_eq!(read_with(Drip(&file), true, &keys).expect("a sound file"), plain);
    }
    let file = written_with(5, code::VERSION, &keys);
    let reason = |keys: &Keys| read_with(file.as_slice(), true, keys).expect_err("no key fits").reason;
    let id = master(1).id();
    assert_eq!(
        reason(Keys::none()),
        format!("it is encrypted with the master key {id}, and no key is given")
    );
    assert_eq!(
        reason(&Keys::for_reading(vec![master(3)])),
        format!("it is encrypted with the master key {id}, which is none of the given ones")
    );
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 1;
        assert!(read_with(damaged.as_slice(), false, &keys).is_err(), "byte {at}");
        assert!(read_with(&file[..at], false, &keys).is_err(), "cut at {at}");
    }
}
