//! Publish/subscribe under a seeded scheduler.
//!
//! Goal: whatever the order of deliveries, turns and disconnects, a message that is published after a SUBSCRIBE was
//! acknowledged arrives exactly once, none arrives after UNSUBSCRIBE was acknowledged, messages of one channel arrive in
//! one order everywhere, and PUBLISH answers exactly how many clients got the message. Method: clients do random things
//! and note when each thing was asked for and answered; afterwards every pair of message and subscription is checked.

use std::collections::{BTreeMap, VecDeque};

use torc_datatypes::glob::glob_match;
use torc_keyspace::Rng;
use torc_resp::Value;

use crate::world::{ClientId, World};

const SHARDS: usize = 4;
const CLIENTS: usize = 6;
const OPS: usize = 60;
const STEPS_MAX: u64 = 200_000;
const CHANNELS: [&str; 4] = ["news", "n{1}", "weather", "w"];
const PATTERNS: [&str; 4] = ["n*", "*", "weathe[r]", "w"];

/// What a name can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Channel,
    Pattern,
    Shard,
}

/// One subscription of one client, from the request for it to the answer to its end.
#[derive(Clone, Copy, Debug)]
struct Interval {
    asked: u64,
    acknowledged: Option<u64>,
    end_asked: Option<u64>,
    end_acknowledged: Option<u64>,
}

#[derive(Debug)]
struct Message {
    channel: &'static str,
    shard: bool,
    asked: u64,
    answered: Option<u64>,
    receivers: i64,
}

/// What a client waits for, in order.
#[derive(Debug)]
enum Expected {
    Acknowledgement {
        kind: Kind,
        name: &'static str,
        joins: bool,
    },
    Receivers(usize),
    /// MULTI and QUEUED.
    Status,
    /// The messages that EXEC published.
    Exec(Vec<usize>),
}

type Subscription = (usize, Kind, &'static str);

#[derive(Default)]
struct History {
    subscriptions: BTreeMap<Subscription, Vec<Interval>>,
    messages: Vec<Message>,
    /// Messages in the order in which they arrived.
    deliveries: BTreeMap<Subscription, Vec<usize>>,
    expected: [VecDeque<Expected>; CLIENTS],
    gone: [bool; CLIENTS],
}

#[test]
fn messages_arrive_once_in_order_and_are_counted() {
    for seed in crate::seeds() {
        for disconnects in [false, true] {
            if let Err(report) = run(seed, disconnects) {
                panic!("TORC_SIM_SEED={seed} (disconnects: {disconnects}): {report}");
            }
        }
    }
}

fn run(seed: u64, disconnects: bool) -> Result<(), String> {
    let mut world = World::new(SHARDS, CLIENTS, seed);
    let mut dice = Rng::new(seed ^ 0x5EED);
    let mut history = History::default();
    (0..CLIENTS).for_each(|client| world.speak_resp3(ClientId(client)));
    if dice.below(2) == 0 {
        world.bound_deliveries();
    }
    let mut ops = 0;
    for step in 0..STEPS_MAX {
        let client = dice.below(CLIENTS as u64) as usize;
        let busy = history.gone[client] || !history.expected[client].is_empty();
        if ops < OPS && !busy && dice.below(4) == 0 {
            ops += 1;
            act(&mut history, &mut world, &mut dice, client, step);
        } else if disconnects && !history.gone[client] && dice.below(1_000) == 0 {
            world.disconnect(ClientId(client));
            history.gone[client] = true;
            history.expected[client].clear();
        } else {
            world.step();
        }
        observe(&mut history, &mut world, step)?;
        let over = ops == OPS || !history.gone.contains(&false);
        if over && history.expected.iter().all(VecDeque::is_empty) {
            world.settle();
            observe(&mut history, &mut world, step + 1)?;
            check(&history)?;
            (0..CLIENTS).filter(|&client| !history.gone[client]).for_each(|client| {
                world.disconnect(ClientId(client));
            });
            world.settle();
            return if world.pubsub_is_empty() { Ok(()) } else { Err("something is left over".into()) };
        }
    }
    Err("the history never completes".into())
}

/// A client asks for something.
fn act(history: &mut History, world: &mut World, dice: &mut Rng, client: usize, step: u64) {
    let mut requests: Vec<Vec<Vec<u8>>> = Vec::new();
    let words = |list: &[&str]| list.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
    match dice.below(8) {
        0..=3 => {
            let kind = [Kind::Channel, Kind::Pattern, Kind::Shard][dice.below(3) as usize];
            let joins = dice.below(3) > 0;
            let from = if kind == Kind::Pattern { &PATTERNS } else { &CHANNELS };
            let count = 1 + dice.below(3);
            let names: Vec<&'static str> = (0..count).map(|_| from[dice.below(4) as usize]).collect();
            let command = match (kind, joins) {
                (Kind::Channel, true) => "SUBSCRIBE",
                (Kind::Channel, false) => "UNSUBSCRIBE",
                (Kind::Pattern, true) => "PSUBSCRIBE",
                (Kind::Pattern, false) => "PUNSUBSCRIBE",
                (Kind::Shard, true) => "SSUBSCRIBE",
                (Kind::Shard, false) => "SUNSUBSCRIBE",
            };
            requests.push(words(&[&[command], names.as_slice()].concat()));
            for name in names {
                history.asked(client, kind, name, joins, step);
                history.expected[client].push_back(Expected::Acknowledgement { kind, name, joins });
            }
        }
        4..=6 => {
            for _ in 0..=dice.below(3) {
                let (message, request) = publish(history, dice, step);
                requests.push(request);
                history.expected[client].push_back(Expected::Receivers(message));
            }
        }
        _ => {
            let mut queued = Vec::new();
            requests.push(words(&["MULTI"]));
            for _ in 0..=dice.below(2) {
                let (message, request) = publish(history, dice, step);
                requests.push(request);
                queued.push(message);
            }
            requests.push(words(&["EXEC"]));
            (0..=queued.len()).for_each(|_| history.expected[client].push_back(Expected::Status));
            history.expected[client].push_back(Expected::Exec(queued));
        }
    }
    world.send(ClientId(client), &requests);
}

fn publish(history: &mut History, dice: &mut Rng, step: u64) -> (usize, Vec<Vec<u8>>) {
    let channel = CHANNELS[dice.below(4) as usize];
    let shard = dice.below(3) == 0;
    let number = history.messages.len();
    history.messages.push(Message { channel, shard, asked: step, answered: None, receivers: 0 });
    let command = if shard { "SPUBLISH" } else { "PUBLISH" };
    (number, vec![command.into(), channel.into(), number.to_string().into_bytes()])
}

impl History {
    fn asked(&mut self, client: usize, kind: Kind, name: &'static str, joins: bool, step: u64) {
        let intervals = self.subscriptions.entry((client, kind, name)).or_default();
        let current = intervals.last_mut().filter(|last| last.end_asked.is_none());
        match (joins, current) {
            (true, None) => intervals.push(Interval {
                asked: step,
                acknowledged: None,
                end_asked: None,
                end_acknowledged: None,
            }),
            (false, Some(interval)) => interval.end_asked = Some(step),
            _ => {}
        }
    }

    fn acknowledged(&mut self, client: usize, kind: Kind, name: &'static str, joins: bool, step: u64) {
        let intervals = self.subscriptions.get_mut(&(client, kind, name)).expect("asked for");
        let Some(interval) = intervals.last_mut() else { return };
        let answer = if joins { &mut interval.acknowledged } else { &mut interval.end_acknowledged };
        answer.get_or_insert(step);
    }

    /// Names of these kinds that a client holds by what it was told.
    fn held(&self, client: usize, kinds: &[Kind]) -> i64 {
        let of_client =
            self.subscriptions.keys().filter(|(owner, kind, _)| *owner == client && kinds.contains(kind));
        of_client.filter(|subscription| self.holds(subscription)).count() as i64
    }

    /// Does the client hold the name, by what it was told?
    fn holds(&self, subscription: &Subscription) -> bool {
        let last = self.subscriptions.get(subscription).and_then(|intervals| intervals.last());
        last.is_some_and(|last| last.acknowledged.is_some() && last.end_acknowledged.is_none())
    }
}

/// Everything that has arrived since the last time.
fn observe(history: &mut History, world: &mut World, step: u64) -> Result<(), String> {
    for client in 0..CLIENTS {
        for value in world.replies(ClientId(client)) {
            if history.gone[client] {
                continue;
            }
            match &value {
                Value::Push(parts) => pushed(history, client, parts, step)?,
                _ => replied(history, client, &value, step)?,
            }
        }
    }
    Ok(())
}

fn text(value: &Value) -> &str {
    std::str::from_utf8(value.as_bytes().unwrap_or_default()).expect("ascii")
}

fn pushed(history: &mut History, client: usize, parts: &[Value], step: u64) -> Result<(), String> {
    let known = |name: &str| {
        let mut names = CHANNELS.iter().chain(&PATTERNS);
        names.find(|&&known| known == name).copied().ok_or(format!("unknown name {name:?}"))
    };
    let (kind, name, channel) = match text(&parts[0]) {
        "message" => (Kind::Channel, known(text(&parts[1]))?, text(&parts[1])),
        "smessage" => (Kind::Shard, known(text(&parts[1]))?, text(&parts[1])),
        "pmessage" => (Kind::Pattern, known(text(&parts[1]))?, text(&parts[2])),
        word => {
            let Some(Expected::Acknowledgement { kind, name, joins }) = history.expected[client].pop_front()
            else {
                return Err(format!("client {client}: {word} instead of something else"));
            };
            if text(&parts[1]) != name || word.starts_with(['u', 's', 'p']) && word.contains("un") == joins {
                return Err(format!("client {client}: {parts:?} instead of {kind:?} {name}"));
            }
            history.acknowledged(client, kind, name, joins, step);
            let counted: &[Kind] =
                if kind == Kind::Shard { &[Kind::Shard] } else { &[Kind::Channel, Kind::Pattern] };
            let held = history.held(client, counted);
            return match parts[2].as_int() {
                Some(count) if count == held => Ok(()),
                count => Err(format!("client {client}: {word} {name} counts {count:?} instead of {held}")),
            };
        }
    };
    let number: usize = text(parts.last().expect("a message")).parse().map_err(|_| "odd payload")?;
    if history.messages[number].channel != channel {
        return Err(format!("message {number} came on channel {channel}"));
    }
    if !history.holds(&(client, kind, name)) {
        return Err(format!("client {client} hears message {number} on {name}, which it does not hold"));
    }
    history.deliveries.entry((client, kind, name)).or_default().push(number);
    Ok(())
}

fn replied(history: &mut History, client: usize, value: &Value, step: u64) -> Result<(), String> {
    let mut answered = |number: usize, value: &Value| -> Result<(), String> {
        let message = &mut history.messages[number];
        message.answered = Some(step);
        message.receivers = value.as_int().ok_or(format!("PUBLISH answers {value:?}"))?;
        Ok(())
    };
    match (history.expected[client].pop_front(), value) {
        (Some(Expected::Receivers(number)), value) => answered(number, value),
        (Some(Expected::Status), Value::Simple(_)) => Ok(()),
        (Some(Expected::Exec(numbers)), Value::Array(values)) if numbers.len() == values.len() => {
            numbers.into_iter().zip(values).try_for_each(|(number, value)| answered(number, value))
        }
        (expected, value) => Err(format!("client {client}: {value:?} instead of {expected:?}")),
    }
}

fn check(history: &History) -> Result<(), String> {
    let calm = !history.gone.contains(&true);
    let mut heard = vec![0; history.messages.len()];
    for (subscription, intervals) in &history.subscriptions {
        for (number, message) in history.messages.iter().enumerate() {
            if matches(subscription, message) {
                heard[number] += check_pair(history, subscription, intervals, number)?;
            }
        }
    }
    for (number, message) in history.messages.iter().enumerate() {
        let exact = calm && message.receivers == heard[number];
        let possible = !calm && (message.answered.is_none() || message.receivers >= heard[number]);
        if !exact && !possible {
            return Err(format!("message {number}: {message:?}, and {} clients heard it", heard[number]));
        }
    }
    check_order(history)
}

fn matches(&(_, kind, name): &Subscription, message: &Message) -> bool {
    match kind {
        Kind::Channel => !message.shard && name == message.channel,
        Kind::Shard => message.shard && name == message.channel,
        Kind::Pattern => !message.shard && glob_match(name.as_bytes(), message.channel.as_bytes(), false),
    }
}

/// Returns how often the message was heard through this subscription.
fn check_pair(
    history: &History,
    subscription: &Subscription,
    intervals: &[Interval],
    number: usize,
) -> Result<i64, String> {
    let message = &history.messages[number];
    let answered = message.answered.unwrap_or(u64::MAX);
    let sure = intervals.iter().any(|interval| {
        interval.acknowledged.is_some_and(|acknowledged| acknowledged < message.asked)
            && interval.end_asked.is_none_or(|end| end > answered)
    });
    let possible = intervals.iter().any(|interval| {
        interval.asked <= answered && interval.end_acknowledged.is_none_or(|end| end >= message.asked)
    });
    let deliveries = history.deliveries.get(subscription).map_or(&[][..], Vec::as_slice);
    let count = deliveries.iter().filter(|&&delivered| delivered == number).count();
    let required = sure && message.answered.is_some() && !history.gone[subscription.0];
    match count {
        0 if required => Err(format!("{subscription:?} misses message {number}: {message:?} {intervals:?}")),
        1 if !possible => Err(format!("{subscription:?} hears message {number}: {message:?} {intervals:?}")),
        0 | 1 => Ok(count as i64),
        _ => Err(format!("{subscription:?} hears message {number} {count} times")),
    }
}

/// All subscribers hear the messages of a channel in one order, which respects what was over before what.
fn check_order(history: &History) -> Result<(), String> {
    let lists: Vec<&Vec<usize>> = history.deliveries.values().collect();
    for list in &lists {
        let same_channel = |a: usize, b: usize| {
            let (a, b) = (&history.messages[a], &history.messages[b]);
            a.channel == b.channel && a.shard == b.shard
        };
        for (place, &earlier) in list.iter().enumerate() {
            for &later in list[place + 1..].iter().filter(|&&later| same_channel(earlier, later)) {
                let over = history.messages[later].answered.unwrap_or(u64::MAX);
                if over < history.messages[earlier].asked {
                    return Err(format!(
                        "message {later} was over before {earlier} began, and came after it"
                    ));
                }
                let turned = lists.iter().any(|other| {
                    let at = |number| other.iter().position(|&delivered| delivered == number);
                    matches!((at(earlier), at(later)), (Some(first), Some(second)) if first > second)
                });
                if turned {
                    return Err(format!("messages {earlier} and {later} come in two orders"));
                }
            }
        }
    }
    Ok(())
}
