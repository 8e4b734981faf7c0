//! Multi-shard commands under a seeded scheduler: every history must be strictly serializable.
//!
//! Goal: no interleaving of deliveries, turns and disconnects shows half a transaction, misses a watched write or loses
//! one. Method: random clients run random operations against real shards in a simulated mesh; the recorded history is
//! searched for an order that explains it. A failure prints its seed; `TORC_SIM_SEED=<seed>` runs that one alone, and
//! `TORC_SIM_SEEDS=<count>` runs more than the default (which is per mix of operations).

mod blocking;
mod checker;
mod memory;
mod model;
mod pubsub;
mod tracking;
mod world;

use checker::Event;
use model::Op;
use torc_keyspace::{Rng, SlotMap, slot_of};
use torc_resp::Value;
use world::{ClientId, World};

const SEEDS_DEFAULT: u64 = 1_500;
const SHARDS: usize = 4;
const CLIENTS: usize = 5;
const KEYS: u64 = 5;
/// Operations of one history.
const OPS_MAX: usize = 26;
/// Scheduler steps after which a history must be complete.
const STEPS_MAX: u64 = 200_000;

/// Which operations a run draws from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mix {
    /// Everything.
    All,
    /// WATCH, EXEC and single-key writes.
    Optimistic,
    /// WATCH and EXEC, again and again, and writes to the same keys.
    Rewatching,
    /// MSET and MGET over the same keys, and single-key commands.
    Groups,
    /// Lists, and commands that wait for them.
    Waiting,
}

#[test]
fn histories_are_strictly_serializable() {
    for mix in [Mix::All, Mix::Optimistic, Mix::Rewatching, Mix::Groups, Mix::Waiting] {
        for seed in seeds() {
            if let Err(report) = run(seed, mix, false) {
                panic!("TORC_SIM_SEED={seed} ({mix:?}): {report}");
            }
        }
    }
}

/// A client that others come before, whose time is up while an element goes from one of its lists to another: its null had no place
/// in any order when it did not look once more.
#[test]
fn a_time_out_waits_for_what_is_on_its_way() {
    if let Err(report) = run(3_419, Mix::Waiting, false) {
        panic!("{report}");
    }
}

/// The checker must notice when transactions go on without waiting for all grants.
#[test]
fn a_broken_protocol_is_noticed() {
    let noticed = (0..300).filter(|&seed| run(seed, Mix::Groups, true).is_err()).count();
    assert!(noticed >= 10, "only {noticed} of 300 histories of a broken protocol were noticed");
}

/// UNWATCH goes straight to the shard of the key, WATCH by the shard that sequences transactions: they may overtake.
#[test]
fn the_end_of_one_watch_does_not_end_the_next() {
    let mut world = World::new(SHARDS, CLIENTS, 1);
    let slots = SlotMap::even(SHARDS as u16);
    let key_on =
        |shard| (0..).map(|n| format!("key:{n}")).find(|key| slots.owner(slot_of(key.as_bytes())) == shard);
    let [near, far] = [2, 3].map(|shard| key_on(shard).expect("some key is there"));
    let ask = |world: &mut World, client: usize, line: &str| {
        let words = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        world.send(ClientId(client), &[words]);
        world.settle();
        world.replies(ClientId(client)).pop().expect("a reply")
    };
    let ok = Value::Simple("OK".into());
    // Client n is one of shard n.
    assert_eq!(ask(&mut world, 1, &format!("WATCH {near} {far}")), ok);
    world.stick(Some((1, 2)));
    ask(&mut world, 1, "MULTI");
    assert_eq!(ask(&mut world, 1, "EXEC"), Value::Array(Vec::new()));
    assert_eq!(ask(&mut world, 1, &format!("WATCH {near} {far}")), ok);
    world.stick(None);
    assert_eq!(ask(&mut world, 2, &format!("SET {near} x")), ok);
    ask(&mut world, 1, "MULTI");
    assert!(ask(&mut world, 1, "EXEC").is_null(), "a watched key was written");
}

pub(crate) fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match (number("TORC_SIM_SEED"), number("TORC_SIM_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => 0..count.unwrap_or(SEEDS_DEFAULT),
    }
}

/// A client in the middle of something.
#[derive(Clone, Copy)]
struct Underway {
    event: usize,
    /// Replies to skip before the one that counts.
    skip: usize,
}

fn run(seed: u64, mix: Mix, broken: bool) -> Result<(), String> {
    let mut world = World::new(SHARDS, CLIENTS, seed);
    if broken {
        world.break_transactions();
    }
    let mut dice = Rng::new(seed ^ 0xD1CE);
    let mut history: Vec<Event> = Vec::new();
    let mut queues: Vec<Vec<Underway>> = vec![Vec::new(); CLIENTS];
    let mut gone = [false; CLIENTS];
    let ops = 8 + dice.below((OPS_MAX - 8) as u64) as usize;
    for step in 0..STEPS_MAX {
        let client = dice.below(CLIENTS as u64) as usize;
        if history.len() < ops && !gone[client] && queues[client].is_empty() && dice.below(4) == 0 {
            for op in draw_batch(&mut dice, mix) {
                let after = queues[client].last().map(|before| before.event);
                queues[client].push(Underway { event: history.len(), skip: op.preliminary_replies() });
                world.send(ClientId(client), &op.requests());
                history.push(Event { client, op, called: step, returned: None, after });
            }
        } else if !gone[client] && dice.below(2_000) == 0 {
            world.disconnect(ClientId(client));
            gone[client] = true;
            queues[client].clear();
        } else {
            world.step();
        }
        for (client, queue) in queues.iter_mut().enumerate() {
            for value in world.replies(ClientId(client)) {
                let first = queue.first_mut().ok_or("a reply nobody asked for")?;
                if first.skip > 0 {
                    first.skip -= 1;
                    continue;
                }
                history[first.event].returned = Some((step, value));
                queue.remove(0);
            }
        }
        let over = history.len() >= ops || !gone.contains(&false);
        if over && queues.iter().all(Vec::is_empty) {
            world.settle();
            if world.locks() != 0 {
                return Err(format!("{} locks are held after everything has ended", world.locks()));
            }
            return checker::check(&history);
        }
    }
    let open: Vec<_> = history.iter().filter(|event| event.returned.is_none()).collect();
    Err(format!("the history never completes: a lost wake-up or a deadlock: {open:?}"))
}

/// One operation, or now and then a short pipeline on one key (which must keep its order).
fn draw_batch(dice: &mut Rng, mix: Mix) -> Vec<Op> {
    if dice.below(6) == 0 {
        let key = dice.below(KEYS) as u8;
        return vec![Op::Incr(key), Op::Get(key)];
    }
    let kind = draw_kind(dice, mix);
    vec![draw(dice, mix, kind)]
}

/// These two may not stand inside MULTI.
const KIND_WATCH: u64 = 13;
const KIND_EXEC: u64 = 14;

fn draw_kind(dice: &mut Rng, mix: Mix) -> u64 {
    let kinds: &[u64] = match mix {
        Mix::All => &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 14],
        Mix::Optimistic => &[0, 1, 2, 13, 13, 14, 14],
        Mix::Rewatching => &[2, 13, 13, 14, 14],
        Mix::Groups => &[0, 1, 2, 5, 5, 7, 7],
        Mix::Waiting => &[14, 15, 15, 15, 16, 17, 18, 18, 18, 19, 19],
    };
    kinds[dice.below(kinds.len() as u64) as usize]
}

fn draw(dice: &mut Rng, mix: Mix, kind: u64) -> Op {
    let one = |dice: &mut Rng| dice.below(KEYS) as u8;
    let some = |dice: &mut Rng| -> Vec<u8> {
        let count = 1 + dice.below(3);
        (0..count).map(|_| dice.below(KEYS) as u8).collect()
    };
    let pairs = |dice: &mut Rng| -> Vec<(u8, u32)> {
        let value = 10 + dice.below(90) as u32;
        some(dice).into_iter().map(|key| (key, value)).collect()
    };
    match kind {
        0 => Op::Get(one(dice)),
        1 => Op::Set(one(dice), dice.below(10) as u32),
        2 => Op::Incr(one(dice)),
        3 => Op::Del(some(dice)),
        4 => Op::Exists(some(dice)),
        5 => Op::MSet(pairs(dice)),
        6 => Op::MSetNx(pairs(dice)),
        7 => Op::MGet(some(dice)),
        8 => Op::Rename(one(dice), one(dice)),
        9 => {
            let from = one(dice);
            Op::RenameNx(from, (from + 1) % KEYS as u8)
        }
        10 => {
            let from = one(dice);
            Op::Copy(from, (from + 1) % KEYS as u8)
        }
        11 => Op::FlushAll,
        12 => Op::DbSize,
        KIND_WATCH if mix == Mix::Rewatching => {
            let first = one(dice);
            Op::Watch(vec![first, (first + 1) % KEYS as u8])
        }
        KIND_WATCH => Op::Watch(some(dice)),
        15 => Op::RPush(one(dice), dice.below(1000) as u32),
        16 => Op::LPop(one(dice)),
        17 => Op::LLen(one(dice)),
        18 => Op::BlPop(some(dice), 1 + dice.below(4) as u8),
        19 => Op::BlMove(one(dice), one(dice), 1 + dice.below(4) as u8),
        KIND_EXEC => {
            let count = dice.below(4);
            Op::Exec((0..count).map(|_| draw_queued(dice, mix)).collect())
        }
        _ => unreachable!("no such kind is drawn"),
    }
}

/// An operation that may stand inside MULTI.
fn draw_queued(dice: &mut Rng, mix: Mix) -> Op {
    loop {
        let kind = draw_kind(dice, mix);
        if kind != KIND_WATCH && kind != KIND_EXEC {
            return draw(dice, mix, kind);
        }
    }
}
