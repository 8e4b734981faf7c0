//! Blocking commands under the seeded scheduler: nothing is lost or delivered twice, who came first is served first, and
//! whoever can be served is.
//!
//! Every element is pushed once. When all is quiet, each one has been delivered to exactly one client or is in exactly one
//! list; a client that was cut off may have taken along what was on its way to it, of one request. Nobody waits for a key
//! that has something. Who was known to wait before another one asked for the same key is not overtaken by it.
//! Whether each reply is right besides is checked by the histories in `main.rs`.

use std::collections::{BTreeMap, BTreeSet};

use torc_keyspace::Rng;
use torc_resp::Value;

use crate::model::list_key;
use crate::seeds;
use crate::world::{ClientId, World};

const SHARDS: usize = 4;
const CLIENTS: usize = 7;
const KEYS: u64 = 5;
const REQUESTS_MAX: u64 = 60;
const STEPS_MAX: u64 = 300_000;

/// What a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Theme {
    /// Everything.
    All,
    /// One client pushes, all others wait without an end: the order of service can be told from the elements.
    Order,
}

#[test]
fn nothing_is_lost_or_delivered_twice() {
    for theme in [Theme::All, Theme::Order] {
        for seed in seeds() {
            if let Err(report) = run(seed, theme, false) {
                panic!("TORC_SIM_SEED={seed} ({theme:?}): {report}");
            }
        }
    }
}

/// A bell that is hung up after its keys were given back misses what is pushed in between.
#[test]
fn a_broken_protocol_is_noticed() {
    let noticed = (0..300).filter(|&seed| run(seed, Theme::All, true).is_err()).count();
    assert!(noticed >= 10, "only {noticed} of 300 runs of a broken protocol were noticed");
}

/// A request and what is known of it.
struct Request {
    client: usize,
    kind: Kind,
    /// Keys that it may wait for.
    awaited: BTreeSet<u8>,
    /// Requests that were known to wait for a key when this one was sent.
    earlier: Vec<usize>,
    /// Key and element that a wait ended with.
    taken: Option<(u8, u32)>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Ended,
    /// Its client was cut off before the reply.
    CutOff,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// A reply that delivers nothing.
    Other,
    /// One element or null.
    Pop,
    /// BLPOP, BRPOP, BLMPOP: a key, and one element or several.
    BlockingPop,
    /// The element stays in a list.
    Move { source: u8 },
    /// MULTI … EXEC; the kinds of its replies.
    Exec(Vec<Kind>),
}

struct Run {
    world: World,
    dice: Rng,
    theme: Theme,
    requests: Vec<Request>,
    /// The open request of each client.
    current: [Option<usize>; CLIENTS],
    /// Replies of a conversation that come before the one that counts.
    skip: [usize; CLIENTS],
    gone: [bool; CLIENTS],
    pushed: u32,
    delivered: BTreeMap<u32, usize>,
}

fn run(seed: u64, theme: Theme, broken: bool) -> Result<(), String> {
    let mut world = World::new(SHARDS, CLIENTS, seed);
    if broken {
        world.break_waits();
    }
    let mut run = Run {
        world,
        dice: Rng::new(seed ^ 0xB10C),
        theme,
        requests: Vec::new(),
        current: [None; CLIENTS],
        skip: [0; CLIENTS],
        gone: [false; CLIENTS],
        pushed: 0,
        delivered: BTreeMap::new(),
    };
    let count = 10 + run.dice.below(REQUESTS_MAX - 10) as usize;
    for _ in 0..STEPS_MAX {
        let client = run.dice.below(CLIENTS as u64) as usize;
        let is_free = !run.gone[client] && run.current[client].is_none();
        if is_free && run.requests.len() < count && run.dice.below(4) == 0 {
            run.ask(client);
        } else if theme == Theme::All
            && run.dice.below(4_000) == 0
            && run.gone.iter().filter(|gone| !**gone).count() > 3
        {
            run.cut_off(client);
        } else {
            run.world.step();
        }
        run.take_replies()?;
        if run.requests.len() >= count && run.dice.below(200) == 0 {
            break;
        }
        let all_wait = (0..CLIENTS).all(|client| run.gone[client] || run.world.is_blocked(ClientId(client)));
        if all_wait && run.dice.below(400) == 0 {
            break;
        }
    }
    run.world.settle();
    run.take_replies()?;
    run.check()
}

impl Run {
    fn ask(&mut self, client: usize) {
        let dice = &mut self.dice;
        let waits_only = self.theme == Theme::Order && client != 0;
        let pushes_only = self.theme == Theme::Order && client == 0;
        let key = dice.below(KEYS) as u8;
        let other = dice.below(KEYS) as u8;
        let timeout = match dice.below(3) {
            _ if self.theme == Theme::Order => "0",
            0 => "0.001",
            1 => "0.003",
            _ => "0",
        };
        let mut awaited = BTreeSet::new();
        let (kind, requests) = match dice.below(12) {
            draw if pushes_only || !waits_only && draw < 4 => {
                let several = 1 + dice.below(3);
                let mut words = words("RPUSH");
                words.push(list_key(key));
                for _ in 0..several {
                    self.pushed += 1;
                    words.push(self.pushed.to_string().into_bytes());
                }
                (Kind::Other, vec![words])
            }
            4 if !waits_only => (Kind::Pop, vec![request("LPOP", &[key], "")]),
            5 if !waits_only => {
                let mut kinds = Vec::new();
                let mut conversation = vec![words("MULTI")];
                for _ in 0..1 + dice.below(4) {
                    let key = dice.below(KEYS) as u8;
                    let (kind, request) = match dice.below(5) {
                        0 => (Kind::Pop, request("RPOP", &[key], "")),
                        1 => (Kind::BlockingPop, request("BLPOP", &[key, other], "0")),
                        2 => (Kind::Other, request("RENAMENX", &[key, other], "")),
                        _ => {
                            self.pushed += 1;
                            (Kind::Other, request("LPUSH", &[key], &self.pushed.to_string()))
                        }
                    };
                    kinds.push(kind);
                    conversation.push(request);
                }
                conversation.push(words("EXEC"));
                self.skip[client] = conversation.len() - 1;
                (Kind::Exec(kinds), conversation)
            }
            6 if !waits_only => {
                let id = 1 + dice.below(CLIENTS as u64);
                let reason = if dice.below(2) == 0 { "TIMEOUT" } else { "ERROR" };
                (Kind::Other, vec![words(&format!("CLIENT UNBLOCK {id} {reason}"))])
            }
            7 | 8 => {
                awaited.insert(key);
                let to = if self.theme == Theme::Order { KEYS as u8 } else { other };
                (
                    Kind::Move { source: key },
                    vec![request("BLMOVE", &[key, to], &format!("LEFT RIGHT {timeout}"))],
                )
            }
            9 => {
                awaited.extend([key, other]);
                let text = format!("{timeout} 2 list:{key} list:{other} LEFT COUNT 2");
                (Kind::BlockingPop, vec![words(&format!("BLMPOP {text}"))])
            }
            draw => {
                awaited.insert(key);
                let mut keys = vec![key];
                if draw % 2 == 0 {
                    awaited.insert(other);
                    keys.push(other);
                }
                (Kind::BlockingPop, vec![request("BLPOP", &keys, timeout)])
            }
        };
        let is_waiting = |request: &&usize| self.world.is_blocked(ClientId(self.requests[**request].client));
        let earlier = self.current.iter().flatten().filter(is_waiting).copied().collect();
        self.current[client] = Some(self.requests.len());
        self.requests.push(Request { client, kind, awaited, earlier, taken: None, state: State::Open });
        self.world.send(ClientId(client), &requests);
    }

    fn cut_off(&mut self, client: usize) {
        self.gone[client] = true;
        if let Some(request) = self.current[client].take() {
            self.requests[request].state = State::CutOff;
        }
        self.world.disconnect(ClientId(client));
    }

    fn take_replies(&mut self) -> Result<(), String> {
        for client in 0..CLIENTS {
            for value in self.world.replies(ClientId(client)) {
                if self.skip[client] > 0 {
                    self.skip[client] -= 1;
                    continue;
                }
                let request = self.current[client].take().ok_or("a reply nobody asked for")?;
                self.requests[request].state = State::Ended;
                let kind = self.requests[request].kind.clone();
                self.requests[request].taken = self.note(&kind, &value)?;
            }
        }
        Ok(())
    }

    /// What a reply delivers. Returns the key and the (first) element that a wait ended with.
    fn note(&mut self, kind: &Kind, value: &Value) -> Result<Option<(u8, u32)>, String> {
        match (kind, value) {
            (_, Value::NullArray | Value::NullBulk) => Ok(None),
            (Kind::Other, _) => Ok(None),
            (_, Value::Error(text)) if text.starts_with("UNBLOCKED") => Ok(None),
            (Kind::Pop, Value::Bulk(bytes)) => {
                self.deliver(number(bytes));
                Ok(None)
            }
            (Kind::Move { source }, Value::Bulk(bytes)) => Ok(Some((*source, number(bytes)))),
            (Kind::BlockingPop, Value::Array(parts)) => {
                let [Value::Bulk(key), rest] = &parts[..] else { return Err(format!("{value:?}")) };
                let elements = match rest {
                    Value::Array(elements) => &elements[..],
                    one => std::slice::from_ref(one),
                };
                let mut first = None;
                for element in elements {
                    let Value::Bulk(bytes) = element else { return Err(format!("{value:?}")) };
                    first = first.or(Some(number(bytes)));
                    self.deliver(number(bytes));
                }
                let name = (0..=KEYS as u8).find(|&name| list_key(name) == *key).ok_or("an unknown key")?;
                Ok(Some((name, first.ok_or("an empty reply")?)))
            }
            (Kind::Exec(kinds), Value::Array(parts)) => {
                for (kind, part) in kinds.iter().zip(parts) {
                    self.note(kind, part)?;
                }
                Ok(None)
            }
            _ => Err(format!("{kind:?} was answered with {value:?}")),
        }
    }

    fn deliver(&mut self, element: u32) {
        *self.delivered.entry(element).or_default() += 1;
    }

    /// Everything is at rest.
    fn check(mut self) -> Result<(), String> {
        if self.world.locks() != 0 {
            return Err(format!("{} locks are held although nothing moves", self.world.locks()));
        }
        for request in self.current.iter().flatten().map(|&request| &self.requests[request]) {
            if !self.world.is_blocked(ClientId(request.client)) {
                return Err(format!("client {} has no reply and does not wait", request.client));
            }
        }
        let lists = self.lists();
        for request in self.current.iter().flatten().map(|&request| &self.requests[request]) {
            if let Some(key) = request.awaited.iter().find(|&&key| !lists[usize::from(key)].is_empty()) {
                return Err(format!("client {} waits for list {key}, which has elements", request.client));
            }
        }
        self.check_elements(&lists)?;
        self.check_order()?;
        for client in 0..CLIENTS {
            if !self.gone[client] {
                self.cut_off(client);
            }
        }
        self.world.settle();
        if !self.world.nobody_waits() || self.world.locks() != 0 {
            return Err("something is left of waits although nobody is here".into());
        }
        Ok(())
    }

    /// What is in each list, asked for by a client of its own.
    fn lists(&mut self) -> Vec<Vec<u32>> {
        let asker = self.world.connect();
        let mut lists = Vec::new();
        for key in 0..=KEYS as u8 {
            self.world.send(asker, &[request("LRANGE", &[key], "0 -1")]);
            self.world.settle();
            let replies = self.world.replies(asker);
            let [Value::Array(elements)] = &replies[..] else {
                panic!("LRANGE answers an array: {replies:?}")
            };
            let numbers = elements.iter().map(|element| match element {
                Value::Bulk(bytes) => number(bytes),
                other => panic!("an element is a bulk: {other:?}"),
            });
            lists.push(numbers.collect());
        }
        self.world.disconnect(asker);
        lists
    }

    fn check_elements(&mut self, lists: &[Vec<u32>]) -> Result<(), String> {
        for &element in lists.iter().flatten() {
            *self.delivered.entry(element).or_default() += 1;
        }
        if let Some((element, count)) = self.delivered.iter().find(|(_, count)| **count > 1) {
            return Err(format!("element {element} is there {count} times"));
        }
        // Whoever was cut off may have taken elements along, or never pushed his.
        let missing = (1..=self.pushed).filter(|element| !self.delivered.contains_key(element)).count();
        let at_most = |request: &Request| match &request.kind {
            Kind::Exec(kinds) => kinds.len(),
            Kind::Other => 3,
            _ => 2,
        };
        let cut_off = self.requests.iter().filter(|request| request.state == State::CutOff);
        let excused: usize = cut_off.map(at_most).sum();
        if missing > excused {
            return Err(format!("{missing} elements are lost, {excused} may be"));
        }
        Ok(())
    }

    fn check_order(&self) -> Result<(), String> {
        for (index, later) in self.requests.iter().enumerate() {
            let Some((key, element)) = later.taken.filter(|_| later.awaited.len() == 1) else { continue };
            for &earlier in &later.earlier {
                let first = &self.requests[earlier];
                if !first.awaited.contains(&key) {
                    continue;
                }
                let overtaken = match first.taken {
                    None => first.state == State::Open,
                    Some((of, before)) => self.theme == Theme::Order && of == key && before > element,
                };
                if overtaken {
                    return Err(format!(
                        "request {index} was served from list {key} before request {earlier}"
                    ));
                }
            }
        }
        Ok(())
    }
}

fn words(text: &str) -> Vec<Vec<u8>> {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn request(name: &str, lists: &[u8], rest: &str) -> Vec<Vec<u8>> {
    let mut request = words(name);
    request.extend(lists.iter().map(|&name| list_key(name)));
    request.extend(rest.split_whitespace().map(|word| word.as_bytes().to_vec()));
    request
}

fn number(bytes: &[u8]) -> u32 {
    std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).expect("elements are numbers")
}
