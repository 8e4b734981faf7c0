//! Values of every type and encoding through RDB bytes and back; bytes of old servers; what is
//! wrong. (Damage at random is in `tests/rdb_mutations.rs`.)

use super::ziplist::tests::build as ziplist;
use super::*;
use crate::list::End;
use crate::listpack::Listpack;
use crate::stream::{Pending, StreamId};
use crate::{Encoding, Entry, Hash, List, Set, SetExpire, StrRef, StrValue, Stream, Value, ValueRef, ZSet};

fn limits() -> Limits {
    Limits {
        list: NodeLimits::new(-2),
        set: SetLimits { intset_entries: 512, listpack_entries: 128, listpack_value: 64 },
        zset: ZSetLimits { listpack_entries: 128, listpack_value: 64 },
        hash: HashLimits { entries_max: 128, value_bytes_max: 64 },
    }
}

const VERSIONS: [u16; 4] =
    [code::VERSION_REDIS_5, code::VERSION_REDIS_7_0, code::VERSION, code::VERSION_FIELD_EXPIRY];

/// Strings of many lengths, some of which are integers.
fn text(number: usize) -> Vec<u8> {
    match number % 5 {
        0 => (number as i64 * 7_919 - 40_000).to_string().into_bytes(),
        1 => format!("element:{number}").into_bytes(),
        2 => (number as i64).wrapping_pow(9).to_string().into_bytes(),
        3 => vec![b'a' + (number % 26) as u8; number % 40],
        _ => format!("{number:030}").into_bytes(),
    }
}

fn boxed(value: Value) -> Entry {
    Entry::owned(b"key", value, None)
}

fn list(elements: usize, large: bool) -> Entry {
    let mut list = List::new();
    for number in 0..elements {
        let element =
            if large && number % 7 == 3 { vec![b'x'; 9_000 * (1 + number % 9)] } else { text(number) };
        list.push(End::Back, std::iter::once(StrRef::Bytes(&element)), limits().list);
    }
    boxed(Value::List(list))
}

fn set(members: impl Iterator<Item = Vec<u8>>) -> Entry {
    let mut set = Set::default();
    members.for_each(|member| {
        set.add(&member, &limits().set);
    });
    boxed(Value::Set(set))
}

fn zset(members: usize) -> Entry {
    let mut zset = ZSet::default();
    for number in 0..members {
        let score = [number as f64, 0.1 * number as f64, -1e30, 7.0, f64::INFINITY][number % 5];
        zset.insert(&text(number), score, &limits().zset);
    }
    boxed(Value::ZSet(zset))
}

/// Every third field expires.
fn hash(fields: usize, expiring: bool) -> Entry {
    let mut hash = Hash::new();
    for number in 0..fields {
        let expire = match number % 3 {
            0 if expiring => SetExpire::At(1_800_000_000_000 + number as i64),
            _ => SetExpire::Clear,
        };
        let name = format!("field:{number}");
        hash.set(name.as_bytes(), StrValue::Bytes(&text(number)), expire, 0, limits().hash);
    }
    boxed(Value::Hash(hash))
}

fn stream(entries: u64) -> Entry {
    let mut stream = Stream::new();
    let limits = crate::stream::NodeLimits { max_bytes: 4096, max_entries: 20 };
    for number in 0..entries {
        let value = text(number as usize);
        let fields = [(b"field".as_slice(), value.as_slice()), (&value[..value.len() / 2], b"7")];
        let fields = &fields[..1 + usize::from(number % 3 == 0)];
        stream.log_mut().append(StreamId::new(1_000 + number / 3, number), fields.iter().copied(), limits);
    }
    (0..entries).step_by(4).for_each(|number| {
        stream.log_mut().delete(StreamId::new(1_000 + number / 3, number));
    });
    stream.add_group(b"empty", StreamId::MIN, None);
    stream.add_group(b"group", StreamId::new(1_002, 8), Some(5));
    stream.edit_group(b"group", |group, _| {
        let consumers =
            [group.add_consumer(b"one", 77), group.add_consumer(b"two", 88), group.add_consumer(b"idle", 0)];
        group.consumer_mut(consumers[0]).active_ms = Some(99);
        for number in 0..9 {
            let pending =
                Pending { consumer: consumers[number as usize % 2], delivered_ms: 1_000, deliveries: number };
            group.assign(StreamId::new(1_000 + number / 3, number), pending);
        }
    });
    boxed(Value::Stream(stream))
}

/// Values of every type and encoding, small and large.
fn samples() -> Vec<Entry> {
    let big = vec![b'q'; 20_000];
    let strings: [&[u8]; 7] =
        [b"", b"hello", b"-12", b"2147483648", b"9223372036854775807", &[b'z'; 300], &big];
    let mut samples: Vec<Entry> = strings.iter().map(|string| Entry::string(b"key", string, None)).collect();
    samples.extend([list(1, false), list(20, false), list(20, true), list(3_000, false)]);
    samples.push(set((0..5).map(|number| number.to_string().into())));
    samples.push(set((0..500).map(|number: i64| (number.pow(5)).to_string().into())));
    samples.extend([1, 50, 2_000].map(|members| set((0..members).map(text))));
    samples.extend([1, 50, 2_000].map(zset));
    samples.extend([1, 50, 2_000].map(|fields| hash(fields, false)));
    samples.extend([1, 50, 2_000].map(|fields| hash(fields, true)));
    samples.extend([0, 1, 10, 500].map(stream));
    samples
}

fn body(entry: &Entry, version: u16, compresses: bool) -> Option<(u8, Vec<u8>)> {
    let kind = type_for(entry, version)?;
    let mut out = Vec::new();
    write_value(entry, kind, &mut Writer::new(&mut out, compresses));
    Some((kind, out))
}

fn read(kind: u8, version: u16, bytes: &[u8]) -> Result<Entry, Error> {
    let mut reader = Reader::new(bytes);
    let value = read_value(kind, version, &mut reader, &limits())?;
    if reader.remaining() > 0 {
        Err(Error::Corrupt("more behind it"))
    } else {
        Ok(value.into_entry(b"key", None))
    }
}

/// All that a value holds, in an order that does not depend on its form.
fn content(entry: &Entry) -> Vec<Vec<u8>> {
    match (entry.str_ref(), entry.value()) {
        (Some(string), _) => vec![string.to_vec()],
        (None, Some(ValueRef::List(list))) => list.iter().map(|element| element.to_vec()).collect(),
        (None, Some(ValueRef::Set(set))) => {
            let mut members: Vec<Vec<u8>> = set.iter().map(|member| member.to_vec()).collect();
            members.sort_unstable();
            members
        }
        (None, Some(ValueRef::ZSet(zset))) => {
            let mut members = Vec::new();
            zset.for_each(|member, score| members.push([member, &score.to_le_bytes()].concat()));
            members
        }
        (None, Some(ValueRef::Hash(hash))) => {
            let whole = |field: crate::hash::FieldRef<'_>| {
                let expire_at = field.expire_at.unwrap_or(0).to_string().into_bytes();
                [field.name.to_vec(), field.value.to_vec(), expire_at].join(&b' ')
            };
            let mut fields: Vec<Vec<u8>> = hash.iter().map(whole).collect();
            fields.sort_unstable();
            fields
        }
        (None, Some(ValueRef::Stream(_))) => {
            vec![body(entry, code::VERSION, false).expect("it can be written").1]
        }
        _ => unreachable!("what is no string has memory of its own"),
    }
}

#[test]
fn values_come_back_in_every_version() {
    for (number, sample) in samples().iter().enumerate() {
        for version in VERSIONS {
            for compresses in [false, true] {
                let Some((kind, bytes)) = body(sample, version, compresses) else { continue };
                let again = read(kind, version, &bytes).expect("sound");
                assert_eq!((again.kind(), again.encoding()), (sample.kind(), sample.encoding()), "{number}");
                let is_stream_of_old = kind == code::STREAM_LISTPACKS || kind == code::STREAM_LISTPACKS_2;
                if !is_stream_of_old {
                    assert_eq!(content(&again), content(sample), "sample {number}, version {version}");
                }
            }
        }
    }
}

/// Fields with expiry are written for servers that know them, and never without their expiry.
#[test]
fn field_expiry_needs_a_new_version() {
    let sample = hash(10, true);
    for version in VERSIONS {
        let expected = (version == code::VERSION_FIELD_EXPIRY).then_some(code::HASH_2);
        assert_eq!(type_for(&sample, version), expected);
    }
    assert_eq!((version_of(code::HASH_2), version_of(code::HASH_LISTPACK)), (80, 11));
    let negative = [b"\x01\x01f\x01v".as_slice(), &(-2i64).to_le_bytes()].concat();
    assert_eq!(read(code::HASH_2, 80, &negative).err(), Some(Error::Corrupt("the expiry of a field")));
}

/// What older formats do not know is made up as Redis does.
#[test]
fn streams_in_older_versions() {
    let sample = stream(100);
    let Some(ValueRef::Stream(before)) = sample.value() else { unreachable!("it is a stream") };
    for version in [code::VERSION_REDIS_5, code::VERSION_REDIS_7_0] {
        let (kind, bytes) = body(&sample, version, true).expect("it can be written");
        let again = read(kind, version, &bytes).expect("sound");
        let Some(ValueRef::Stream(after)) = again.value() else { panic!("it is a stream") };
        assert_eq!(after.log().len(), before.log().len());
        assert_eq!(after.log().last_id(), before.log().last_id());
        assert_eq!(after.log().first_id(), before.log().first_id());
        let added = if version == code::VERSION_REDIS_5 { after.log().len() } else { 100 };
        assert_eq!(after.log().entries_added(), added);
        let (group, group_before) =
            (after.group(b"group").expect("kept"), before.group(b"group").expect("there"));
        assert_eq!(group.pending_len(), group_before.pending_len());
        let active: Vec<_> =
            group.consumers().map(|consumer| (consumer.seen_ms, consumer.active_ms)).collect();
        assert_eq!(active, [(0, Some(0)), (77, Some(77)), (88, Some(88))]);
    }
}

/// A stream of Redis 5 and 6, made by hand: two nodes, an entry that is gone, two groups. What it does not tell is made up
/// as Redis 7.0 does, which reads the same from these bytes.
#[test]
fn streams_of_redis_5() {
    const MS: u64 = 1_526_919_030_474;
    let bytes = include_bytes!("../../../../tests/fuzz/corpus/rdb_value/good-hand-stream-1");
    let &[version, kind, ref bytes @ ..] = bytes;
    assert_eq!(kind, code::STREAM_LISTPACKS);
    let entry = read(kind, u16::from(version), bytes).expect("sound");
    let Some(ValueRef::Stream(stream)) = entry.value() else { panic!("it is a stream") };
    let log = stream.log();
    let text = |item: crate::listpack::Item<'_>| String::from_utf8(item.to_vec()).expect("text");
    let entries: Vec<String> = log
        .range(StreamId::MIN, StreamId::MAX)
        .map(|entry| {
            let fields: Vec<_> =
                entry.fields.map(|(name, value)| format!("{}={}", text(name), text(value))).collect();
            format!("{}-{} {}", entry.id.ms - MS, entry.id.seq, fields.join(" "))
        })
        .collect();
    assert_eq!(entries, ["0-55 temp=warm", "26-55 temp=cold place=7", "5000-0 temp=hot"]);
    assert_eq!((log.last_id(), log.max_deleted_id()), (StreamId::new(MS + 6_000, 0), StreamId::MIN));
    assert_eq!((log.node_count(), log.entries_added()), (2, 3));
    let names: Vec<&[u8]> = stream.groups().map(|(name, _)| name).collect();
    assert_eq!(names, [b"none".as_slice(), b"workers"]);
    assert_eq!(
        stream.group(b"none").map(|group| (group.last_id, group.entries_read)),
        Some((StreamId::MIN, Some(0)))
    );
    let group = stream.group(b"workers").expect("it is there");
    assert_eq!((group.last_id, group.entries_read), (StreamId::new(MS + 26, 55), None));
    let pending: Vec<_> = group
        .pending_from(StreamId::MIN)
        .map(|(id, pending)| (id.ms - MS, pending.delivered_ms as u64 - MS, pending.deliveries))
        .collect();
    assert_eq!(pending, [(0, 100, 3), (26, 200, 1)]);
    let consumers: Vec<_> = group
        .consumers()
        .map(|consumer| (consumer.name(), consumer.seen_ms as u64 - MS, consumer.pending_len()))
        .collect();
    assert_eq!(consumers, [(b"alice".as_slice(), 300, 2), (b"bob", 400, 0)]);
}

#[test]
fn formats_of_old_servers() {
    let elements: [&[u8]; 4] = [b"a", b"12", b"-70000", b"hello"];
    let pairs: [&[u8]; 6] = [b"b", b"-1.5", b"c", b"2", b"a", b"3"];
    let string = |bytes: &[u8]| {
        let mut out = Vec::new();
        Writer::new(&mut out, true).string(bytes);
        out
    };
    let packed = |bytes: &[u8]| string(&ziplist(&[bytes]));
    type Case<'a> = (u8, Vec<u8>, Encoding, Vec<&'a [u8]>);
    let cases: Vec<Case<'_>> = vec![
        (code::LIST, b"\x02\x01a\x01b".to_vec(), Encoding::Listpack, vec![b"a", b"b"]),
        (code::LIST_ZIPLIST, string(&ziplist(&elements)), Encoding::Listpack, elements.to_vec()),
        (
            code::LIST_QUICKLIST,
            [b"\x03".as_slice(), &packed(b"a"), &string(&ziplist(&[])), &packed(b"b")].concat(),
            Encoding::Quicklist,
            vec![b"a", b"b"],
        ),
        (code::LIST_QUICKLIST_2, b"\x01\x01\x03abc".to_vec(), Encoding::Quicklist, vec![b"abc"]),
        (code::SET, b"\x02\x01b\xc0\x07".to_vec(), Encoding::Listpack, vec![b"7", b"b"]),
        (
            code::ZSET_ZIPLIST,
            string(&ziplist(&pairs)),
            Encoding::Listpack,
            vec![b"b\0\0\0\0\0\0\xf8\xbf".as_slice(), b"c\0\0\0\0\0\0\0\x40", b"a\0\0\0\0\0\0\x08\x40"],
        ),
        (
            code::HASH_ZIPMAP,
            string(b"\x02\x03foo\x03\x00bar\x05hello\x02\x0212..\xff"),
            Encoding::Listpack,
            vec![b"foo bar 0", b"hello 12 0"],
        ),
        (
            code::HASH_ZIPLIST,
            string(&ziplist(&[b"foo", b"bar", b"7", b"12"])),
            Encoding::Listpack,
            vec![b"7 12 0", b"foo bar 0"],
        ),
        (code::HASH, b"\x01\x01f\xc0\x07".to_vec(), Encoding::Listpack, vec![b"f 7 0"]),
        (
            code::HASH_METADATA,
            [&1_000i64.to_le_bytes()[..], b"\x03\x00\x01f\x01v\x01\x01g\x01w\x06\x01h\x01x"].concat(),
            Encoding::Hashtable,
            vec![b"f v 0", b"g w 1000", b"h x 1005"],
        ),
        (
            code::HASH_LISTPACK_EX,
            [
                &1_000i64.to_le_bytes()[..],
                &string(
                    [b"g", b"w".as_slice(), b"1000", b"f", b"v", b"0"]
                        .iter()
                        .collect::<Listpack>()
                        .as_bytes(),
                ),
            ]
            .concat(),
            Encoding::Hashtable,
            vec![b"f v 0", b"g w 1000"],
        ),
        (
            code::ZSET,
            b"\x03\x01a\x012\x01b\xff\x01c\x052.5e3".to_vec(),
            Encoding::Listpack,
            vec![b"b\0\0\0\0\0\0\xf0\xff", b"a\0\0\0\0\0\0\0\x40", b"c\0\0\0\0\0\x88\xa3\x40"],
        ),
    ];
    for (kind, bytes, encoding, expected) in cases {
        let entry = read(kind, code::VERSION, &bytes).unwrap_or_else(|error| panic!("type {kind}: {error}"));
        assert_eq!(content(&entry), expected, "type {kind}");
        assert_eq!(entry.encoding(), encoding, "type {kind}");
    }
}

/// Compact values that exceed the limits in force are read as general ones.
#[test]
fn limits_hold_for_what_is_read() {
    let tight = Limits {
        list: NodeLimits::new(3),
        set: SetLimits { intset_entries: 3, listpack_entries: 3, listpack_value: 64 },
        zset: ZSetLimits { listpack_entries: 3, listpack_value: 64 },
        hash: HashLimits { entries_max: 3, value_bytes_max: 64 },
    };
    let small = [
        list(4, false),
        set((0..4).map(|number| number.to_string().into())),
        set((1..5).map(text)),
        zset(4),
        hash(4, false),
    ];
    for sample in small {
        let (kind, bytes) = body(&sample, code::VERSION, true).expect("it can be written");
        let value = read_value(kind, code::VERSION, &mut Reader::new(&bytes), &tight).expect("sound");
        let entry = value.into_entry(b"key", None);
        assert_eq!(content(&entry), content(&sample));
        assert!(matches!(entry.encoding(), Encoding::Quicklist | Encoding::Hashtable | Encoding::Skiplist));
    }
}

/// Integers that stand in a listpack as text are found all the same.
#[test]
fn listpacks_are_made_canonical() {
    let as_text = b"\x0d\x0d\x00\x00\x00\x02\x00\x8212\x03\x05\x01\xff";
    let entry = read(code::SET_LISTPACK, code::VERSION, as_text).expect("sound");
    let Some(ValueRef::Set(members)) = entry.value() else { panic!("it is a set") };
    assert!(members.contains(b"12") && members.contains(b"5"));
    let twice = b"\x0d\x0d\x00\x00\x00\x02\x00\x8212\x03\x0c\x01\xff";
    assert_eq!(
        read(code::SET_LISTPACK, code::VERSION, twice).err(),
        Some(Error::Corrupt("an element twice"))
    );
}

#[test]
fn what_is_wrong_is_told() {
    let listpack = |elements: &[&[u8]]| {
        let mut out = Vec::new();
        let listpack: Listpack = elements.iter().collect();
        Writer::new(&mut out, false).string(listpack.as_bytes());
        out
    };
    let nan = [b"\x01\x01a".as_slice(), &f64::NAN.to_le_bytes()].concat();
    let cases: Vec<(u8, Vec<u8>, Error)> = vec![
        (code::STRING, b"\x06hello".to_vec(), Error::Truncated),
        (code::LIST, b"\x00".to_vec(), Error::Empty),
        (code::SET, b"\x00".to_vec(), Error::Empty),
        (code::SET, b"\x02\x01a\x01a".to_vec(), Error::Corrupt("a member twice")),
        (code::SET, b"\x80\xff\xff\xff\xff\x01a".to_vec(), Error::Truncated),
        (code::SET_INTSET, b"\x08\x02\0\0\0\0\0\0\0".to_vec(), Error::Empty),
        (code::SET_INTSET, b"\x0c\x02\0\0\0\x02\0\0\0\x02\0\x01\0".to_vec(), Error::Corrupt("an intset")),
        (code::SET_LISTPACK, listpack(&[b"a", b"1", b"a"]), Error::Corrupt("an element twice")),
        (code::SET_LISTPACK, listpack(&[]), Error::Empty),
        (code::ZSET_2, b"\x00".to_vec(), Error::Empty),
        (code::ZSET_2, nan, Error::Corrupt("a score that is no number")),
        (code::ZSET, b"\x01\x01a\xfd".to_vec(), Error::Corrupt("a score that is no number")),
        (code::ZSET, b"\x01\x01a\x01x".to_vec(), Error::Corrupt("a score is no number")),
        (code::ZSET, b"\x02\x01a\x011\x01a\x012".to_vec(), Error::Corrupt("a member twice")),
        (code::ZSET_LISTPACK, listpack(&[b"a", b"1", b"a", b"2"]), Error::Corrupt("an element twice")),
        (
            code::ZSET_LISTPACK,
            listpack(&[b"a", b"2", b"b", b"1"]),
            Error::Corrupt("a sorted set that is not in order"),
        ),
        (
            code::ZSET_LISTPACK,
            listpack(&[b"b", b"1", b"a", b"1"]),
            Error::Corrupt("a sorted set that is not in order"),
        ),
        (code::ZSET_LISTPACK, listpack(&[b"a", b"nan"]), Error::Corrupt("a sorted set that is not in order")),
        (code::ZSET_LISTPACK, listpack(&[b"a"]), Error::Corrupt("a sorted set that is not in order")),
        (code::HASH, b"\x00".to_vec(), Error::Empty),
        (code::HASH, b"\x02\x01f\x01v\x01f\x01w".to_vec(), Error::Corrupt("a field twice")),
        (code::HASH_LISTPACK, listpack(&[b"f", b"v", b"f", b"w"]), Error::Corrupt("an element twice")),
        (code::HASH_LISTPACK, listpack(&[b"f", b"v", b"g"]), Error::Corrupt("a field without a value")),
        (
            code::HASH_2,
            b"\x01\x01f\x01v\0\0\0\0\0\0\0\0".to_vec(),
            Error::Unsupported("hashes of a release candidate"),
        ),
        (
            code::HASH_METADATA,
            [&i64::MAX.to_le_bytes()[..], b"\x01\x09\x01f\x01v"].concat(),
            Error::Corrupt("the expiry of a field"),
        ),
        (
            code::HASH_LISTPACK_EX,
            [&[0; 8][..], &listpack(&[b"f", b"v", b"x"])].concat(),
            Error::Corrupt("a field without value or expiry"),
        ),
        (23, b"\x00".to_vec(), Error::Unsupported("this type of value")),
        (code::LIST_QUICKLIST_2, b"\x01\x03\x01a".to_vec(), Error::Corrupt("no such kind of list node")),
        (code::LIST_ZIPLIST, b"\x03abc".to_vec(), Error::Corrupt("a ziplist")),
        (code::MODULE_2, b"\x00".to_vec(), Error::Unsupported("values of modules")),
        (99, b"\x00".to_vec(), Error::Unsupported("this type of value")),
    ];
    for (kind, bytes, error) in cases {
        assert_eq!(read(kind, code::VERSION, &bytes).err(), Some(error), "type {kind}: {bytes:02x?}");
    }
}
