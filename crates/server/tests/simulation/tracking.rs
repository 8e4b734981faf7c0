//! Client-side caching under a seeded scheduler.
//!
//! Goal: whatever the order of deliveries and turns, a client that caches what CLIENT TRACKING allows it to cache holds no
//! stale value once everything has arrived. Method: clients of every mode read, write, flush and exchange at random, keep
//! replies of reads, and drop what they are told to drop; afterwards every cache is compared with what is there.

use std::collections::{BTreeMap, VecDeque};

use torc_keyspace::{Rng, SlotMap, slot_of};
use torc_resp::Value;

use crate::model::key;
use crate::world::{ClientId, World};

const SHARDS: usize = 4;
const KEYS: u64 = 6;
/// Parts of a run, and rounds of requests in each; after each part the caches are checked.
const PARTS: usize = 6;
const ROUNDS: usize = 10;
const STEPS_MAX: u64 = 200_000;
/// The client that others redirect to.
const LISTENER: usize = 4;
/// The client that tells the truth at the end.
const OBSERVER: usize = 7;

/// What each client is.
const MODES: [Mode; 8] = [
    Mode { tracking: "", redirected: false, caches: Caches::All, own_writes: Own::Told },
    Mode { tracking: "BCAST PREFIX key:", redirected: false, caches: Caches::All, own_writes: Own::Told },
    Mode { tracking: "OPTIN", redirected: false, caches: Caches::WhenSaid, own_writes: Own::Told },
    Mode { tracking: "NOLOOP OPTOUT", redirected: false, caches: Caches::UnlessSaid, own_writes: Own::Known },
    // The listener: it caches nothing itself.
    Mode { tracking: "OFF", redirected: false, caches: Caches::Nothing, own_writes: Own::Told },
    Mode { tracking: "", redirected: true, caches: Caches::All, own_writes: Own::Told },
    Mode {
        tracking: "BCAST NOLOOP PREFIX key:",
        redirected: false,
        caches: Caches::All,
        own_writes: Own::Known,
    },
    Mode { tracking: "OFF", redirected: false, caches: Caches::Nothing, own_writes: Own::Told },
];

struct Mode {
    tracking: &'static str,
    /// Speaks RESP2, and the listener gets its notices.
    redirected: bool,
    caches: Caches,
    own_writes: Own,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Caches {
    Nothing,
    All,
    /// After CLIENT CACHING YES.
    WhenSaid,
    /// Without CLIENT CACHING NO.
    UnlessSaid,
}

/// How a client knows that a key which it writes is not what it cached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    Told,
    /// By itself (NOLOOP).
    Known,
}

/// What one reply means to its client.
#[derive(Clone, Debug)]
enum Meaning {
    Nothing,
    /// Values of keys, which may be cached.
    Read(Vec<u8>),
    /// A key's value in no array.
    ReadOne(u8),
    /// These keys are not what they were; all, when there are none.
    Wrote(Vec<u8>),
    Exec(Vec<Meaning>),
}

type Cache = BTreeMap<u8, Option<Vec<u8>>>;

#[derive(Default)]
struct Side {
    expected: VecDeque<(Meaning, bool)>,
    cache: Cache,
    gone: bool,
}

/// What a client does with notices.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ears {
    Open,
    /// It ignores them: the check must notice.
    Deaf,
}

#[test]
fn caches_hold_nothing_stale() {
    let mut cached = 0;
    let seeds = crate::seeds();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        match run(seed, Ears::Open) {
            Ok(entries) => cached += entries,
            Err(report) => panic!("TORC_SIM_SEED={seed}: {report}"),
        }
    }
    assert!(cached as u64 > count * 10, "caches are nearly empty: {cached} entries in {count} runs");
}

/// A shard that cannot follow holds up those who write what it is to be told, and nothing is lost.
#[test]
fn writers_wait_for_shards_that_are_far_behind() {
    const WRITES: usize = 30_000;
    /// Eight windows of 1,024 messages, and what one turn adds.
    const UNDER_WAY_MAX: usize = 8 * 1024 + 512;
    let here =
        (0..).map(key).find(|key| SlotMap::even(2).owner(slot_of(key)) == 0).expect("half of them are");
    let words =
        |text: &str| -> Vec<Vec<u8>> { text.split(' ').map(|word| word.as_bytes().to_vec()).collect() };
    for told in ["PSUBSCRIBE *", "CLIENT TRACKING ON BCAST"] {
        let mut world = World::new(2, 2, 1);
        let (writer, listener) = (ClientId(0), ClientId(1));
        world.speak_resp3(listener);
        world.send(writer, &[words("CONFIG SET notify-keyspace-events K$")]);
        world.send(listener, &[words(told)]);
        world.settle();
        world.replies(writer);
        world.replies(listener);
        world.stick(Some((0, 1)));
        let tag = String::from_utf8_lossy(&here);
        let mut done = 0;
        for round in 0..WRITES / 100 {
            let sets: Vec<_> =
                (0..100).map(|number| words(&format!("SET {{{tag}}}{round}.{number} v"))).collect();
            world.send(writer, &sets);
            world.settle();
            done += world.replies(writer).len();
        }
        assert!(done <= UNDER_WAY_MAX, "{told}: {done} writes");
        world.stick(None);
        world.settle();
        done += world.replies(writer).len();
        assert_eq!((done, world.locks()), (WRITES, 0), "{told}");
        assert!(!world.replies(listener).is_empty());
    }
}

#[test]
fn ignored_notices_are_noticed() {
    let noticed = (0..50).filter(|&seed| run(seed, Ears::Deaf).is_err()).count();
    assert!(noticed > 40, "only {noticed} of 50 runs with deaf clients were noticed");
}

/// Returns how many entries all caches held whenever they were checked.
fn run(seed: u64, ears: Ears) -> Result<usize, String> {
    let mut world = World::new(SHARDS, MODES.len(), seed);
    let mut dice = Rng::new(seed ^ 0xCAC4E);
    let mut sides: Vec<Side> = MODES.iter().map(|_| Side::default()).collect();
    begin(&mut world, &mut dice, &mut sides);
    let mut entries = 0;
    for _ in 0..PARTS {
        entries += run_part(&mut world, &mut dice, &mut sides, ears)?;
    }
    let open = (0..MODES.len()).filter(|&client| !sides[client].gone);
    open.for_each(|client| world.disconnect(ClientId(client)));
    world.settle();
    if world.followed_prefixes() > 0 || world.locks() > 0 {
        return Err("something is left over".into());
    }
    Ok(entries)
}

fn run_part(world: &mut World, dice: &mut Rng, sides: &mut [Side], ears: Ears) -> Result<usize, String> {
    let mut rounds = 0;
    for _ in 0..STEPS_MAX {
        let client = dice.below(OBSERVER as u64) as usize;
        let may_act = client != LISTENER && !sides[client].gone && sides[client].expected.len() < 4;
        if rounds < ROUNDS && may_act && dice.below(6) == 0 {
            rounds += 1;
            act(world, dice, &mut sides[client], client);
        } else if dice.below(400) == 0 {
            world.pass_ms(dice.below(4));
        } else {
            world.step();
        }
        observe(world, sides, ears)?;
        if rounds == ROUNDS && sides.iter().all(|side| side.expected.is_empty()) {
            return compare(world, sides, ears);
        }
    }
    Err("the run never completes".into())
}

/// Everybody says what it is. Some runs are without those who follow prefixes, so that shards may have nobody to tell.
fn begin(world: &mut World, dice: &mut Rng, sides: &mut [Side]) {
    let without_bcast = dice.below(2) == 0;
    for (client, mode) in MODES.iter().enumerate() {
        if without_bcast && mode.tracking.starts_with("BCAST") {
            sides[client].gone = true;
            world.disconnect(ClientId(client));
            continue;
        }
        if !mode.redirected {
            world.speak_resp3(ClientId(client));
        }
        let redirect = if mode.redirected { format!(" REDIRECT {}", LISTENER + 1) } else { String::new() };
        let words = match mode.tracking {
            "OFF" => "CLIENT TRACKING OFF".to_owned(),
            options => format!("CLIENT TRACKING ON {options}{redirect}").trim_end().to_owned(),
        };
        send(world, &mut sides[client], client, &[(words.replace("  ", " "), Meaning::Nothing, false)]);
    }
    if dice.below(4) == 0 {
        let limit = format!("CONFIG SET tracking-table-max-keys {}", 1 + dice.below(4));
        send(world, &mut sides[OBSERVER], OBSERVER, &[(limit, Meaning::Nothing, false)]);
    }
    world.settle();
    observe(world, sides, Ears::Open).expect("nothing is wrong yet");
}

fn send(world: &mut World, side: &mut Side, client: usize, requests: &[(String, Meaning, bool)]) {
    let mut list = Vec::new();
    for (request, meaning, may_cache) in requests {
        list.push(request.split(' ').map(|word| word.as_bytes().to_vec()).collect());
        side.expected.push_back((meaning.clone(), *may_cache));
    }
    world.send(ClientId(client), &list);
}

fn act(world: &mut World, dice: &mut Rng, side: &mut Side, client: usize) {
    let caches = MODES[client].caches;
    let mut requests = Vec::new();
    for _ in 0..=dice.below(3) {
        let said = dice.below(2) == 0 && matches!(caches, Caches::WhenSaid | Caches::UnlessSaid);
        if said {
            let word = if caches == Caches::WhenSaid { "YES" } else { "NO" };
            requests.push((format!("CLIENT CACHING {word}"), Meaning::Nothing, false));
        }
        let may_cache = match caches {
            Caches::Nothing => false,
            Caches::All => true,
            Caches::WhenSaid => said,
            Caches::UnlessSaid => !said,
        };
        if dice.below(6) == 0 {
            let mut meanings = Vec::new();
            requests.push(("MULTI".into(), Meaning::Nothing, false));
            for _ in 0..=dice.below(4) {
                let (request, meaning) = command(dice);
                requests.push((request, Meaning::Nothing, false));
                meanings.push(meaning);
            }
            requests.push(("EXEC".into(), Meaning::Exec(meanings), may_cache));
        } else {
            let (request, meaning) = command(dice);
            requests.push((request, meaning, may_cache));
        }
    }
    send(world, side, client, &requests);
}

fn command(dice: &mut Rng) -> (String, Meaning) {
    let one = |dice: &mut Rng| dice.below(KEYS) as u8;
    let name = |key_number: u8| String::from_utf8(key(key_number)).expect("ascii");
    let some = |dice: &mut Rng| -> Vec<u8> { (0..=dice.below(3)).map(|_| dice.below(KEYS) as u8).collect() };
    let value = dice.below(1_000_000);
    match dice.below(32) {
        0..=12 => {
            let read = one(dice);
            (format!("GET {}", name(read)), Meaning::ReadOne(read))
        }
        13..=18 => {
            let keys = some(dice);
            let names: Vec<String> = keys.iter().map(|&key| name(key)).collect();
            (format!("MGET {}", names.join(" ")), Meaning::Read(keys))
        }
        19..=22 => {
            let written = one(dice);
            (format!("SET {} {value}", name(written)), Meaning::Wrote(vec![written]))
        }
        23 => {
            let written = one(dice);
            let life_ms = 1 + dice.below(3);
            (format!("SET {} {value} PX {life_ms}", name(written)), Meaning::Wrote(vec![written]))
        }
        24 => {
            let keys = some(dice);
            let pairs: Vec<String> = keys.iter().map(|&key| format!("{} {value}", name(key))).collect();
            (format!("MSET {}", pairs.join(" ")), Meaning::Wrote(keys))
        }
        25 => {
            let keys = some(dice);
            let names: Vec<String> = keys.iter().map(|&key| name(key)).collect();
            (format!("DEL {}", names.join(" ")), Meaning::Wrote(keys))
        }
        26 => {
            let (from, to) = (one(dice), one(dice));
            (format!("COPY {} {} REPLACE", name(from), name(to)), Meaning::Wrote(vec![to]))
        }
        27 => {
            let (from, to) = (one(dice), one(dice));
            (format!("RENAME {} {}", name(from), name(to)), Meaning::Wrote(vec![from, to]))
        }
        28 => {
            let written = one(dice);
            (format!("PEXPIRE {} {}", name(written), dice.below(3)), Meaning::Wrote(vec![written]))
        }
        29..=30 => ("DBSIZE".into(), Meaning::Nothing),
        _ => {
            let request = ["FLUSHALL", "FLUSHDB", "SWAPDB 0 1"][dice.below(3) as usize];
            (request.into(), Meaning::Wrote(Vec::new()))
        }
    }
}

/// Takes in everything that has arrived since the last time. What the redirected client reads comes before what the
/// listener hears: a notice that was sent before the reply it belongs to would be taken for an older one.
fn observe(world: &mut World, sides: &mut [Side], ears: Ears) -> Result<(), String> {
    for client in (0..MODES.len()).filter(|&client| client != LISTENER).chain([LISTENER]) {
        for value in world.replies(ClientId(client)) {
            if let Value::Push(parts) = &value {
                let place = if client == LISTENER { 5 } else { client };
                if ears == Ears::Open {
                    invalidated(&mut sides[place].cache, parts)?;
                }
                continue;
            }
            let side = &mut sides[client];
            let (meaning, may_cache) = side.expected.pop_front().ok_or("a reply nobody asked for")?;
            replied(&mut side.cache, MODES[client].own_writes, meaning, may_cache, &value)?;
        }
    }
    Ok(())
}

fn invalidated(cache: &mut Cache, parts: &[Value]) -> Result<(), String> {
    match parts {
        [word, Value::Null] if word.as_bytes() == Some(b"invalidate") => cache.clear(),
        [word, Value::Array(names)] if word.as_bytes() == Some(b"invalidate") => {
            cache.retain(|&number, _| !names.iter().any(|name| name.as_bytes() == Some(&key(number)[..])));
        }
        other => return Err(format!("a strange push: {other:?}")),
    }
    Ok(())
}

fn replied(
    cache: &mut Cache,
    own: Own,
    meaning: Meaning,
    may_cache: bool,
    value: &Value,
) -> Result<(), String> {
    let mut read = |number: u8, value: &Value| {
        if may_cache {
            cache.insert(number, value.as_bytes().map(<[u8]>::to_vec));
        }
    };
    match meaning {
        Meaning::Nothing => {}
        Meaning::ReadOne(number) => read(number, value),
        Meaning::Read(numbers) => {
            let values = value.elements().ok_or(format!("MGET answers {value:?}"))?;
            numbers.into_iter().zip(values).for_each(|(number, value)| read(number, value));
        }
        Meaning::Wrote(_) if own == Own::Told => {}
        Meaning::Wrote(numbers) if numbers.is_empty() => cache.clear(),
        Meaning::Wrote(numbers) => numbers.iter().for_each(|number| _ = cache.remove(number)),
        Meaning::Exec(meanings) => {
            let values = value.elements().ok_or(format!("EXEC answers {value:?}"))?;
            for (meaning, value) in meanings.into_iter().zip(values) {
                replied(cache, own, meaning, may_cache, value)?;
            }
        }
    }
    Ok(())
}

/// Everything has been answered: let notices arrive, ask for the truth, and compare.
fn compare(world: &mut World, sides: &mut [Side], ears: Ears) -> Result<usize, String> {
    let numbers: Vec<u8> = (0..KEYS as u8).collect();
    let names: Vec<Vec<u8>> = numbers.iter().map(|&number| key(number)).collect();
    let mut request = vec![b"MGET".to_vec()];
    request.extend(names);
    world.settle();
    world.send(ClientId(OBSERVER), &[request]);
    sides[OBSERVER].expected.push_back((Meaning::Read(numbers), true));
    world.settle();
    observe(world, sides, ears)?;
    if !sides[OBSERVER].expected.is_empty() {
        return Err("the observer gets no answer".into());
    }
    let truth = std::mem::take(&mut sides[OBSERVER].cache);
    for (client, side) in sides.iter().enumerate() {
        for (number, value) in &side.cache {
            if truth[number] != *value {
                return Err(format!(
                    "client {client} holds {number} as {value:?}, it is {:?}",
                    truth[number]
                ));
            }
        }
    }
    Ok(sides.iter().map(|side| side.cache.len()).sum())
}
