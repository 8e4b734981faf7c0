//! What commands mean on one plain map: the sequential truth that a history is checked against.

use std::collections::{BTreeMap, VecDeque};

use torc_resp::Value;

/// One request of one client, as the model knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Get(u8),
    Set(u8, u32),
    Incr(u8),
    Del(Vec<u8>),
    Exists(Vec<u8>),
    MSet(Vec<(u8, u32)>),
    MSetNx(Vec<(u8, u32)>),
    MGet(Vec<u8>),
    Rename(u8, u8),
    RenameNx(u8, u8),
    Copy(u8, u8),
    FlushAll,
    DbSize,
    Watch(Vec<u8>),
    Exec(Vec<Op>),
    RPush(u8, u32),
    LPop(u8),
    LLen(u8),
    /// Keys and a timeout in milliseconds.
    BlPop(Vec<u8>, u8),
    BlMove(u8, u8, u8),
}

/// Keys are named so that neighbours live on different shards with high probability.
pub(crate) fn key(name: u8) -> Vec<u8> {
    format!("key:{name}").into_bytes()
}

/// Lists have names of their own.
pub(crate) fn list_key(name: u8) -> Vec<u8> {
    format!("list:{name}").into_bytes()
}

impl Op {
    /// The requests that carry this operation out; EXEC is a whole MULTI … EXEC conversation.
    pub(crate) fn requests(&self) -> Vec<Vec<Vec<u8>>> {
        match self {
            Op::Exec(queue) => {
                let mut requests = vec![words("MULTI")];
                requests.extend(queue.iter().flat_map(Op::requests));
                requests.push(words("EXEC"));
                requests
            }
            other => vec![other.request()],
        }
    }

    fn request(&self) -> Vec<Vec<u8>> {
        let with_keys = |name: &str, keys: &[u8]| {
            let mut request = words(name);
            request.extend(keys.iter().map(|&name| key(name)));
            request
        };
        let with_pairs = |name: &str, pairs: &[(u8, u32)]| {
            let mut request = words(name);
            for &(name, value) in pairs {
                request.push(key(name));
                request.push(value.to_string().into_bytes());
            }
            request
        };
        let with_lists = |name: &str, lists: &[u8], rest: &str| {
            let mut request = words(name);
            request.extend(lists.iter().map(|&name| list_key(name)));
            request.extend(rest.split_whitespace().map(|word| word.as_bytes().to_vec()));
            request
        };
        match self {
            Op::Get(name) => with_keys("GET", &[*name]),
            Op::Set(name, value) => with_pairs("SET", &[(*name, *value)]),
            Op::Incr(name) => with_keys("INCR", &[*name]),
            Op::Del(names) => with_keys("DEL", names),
            Op::Exists(names) => with_keys("EXISTS", names),
            Op::MSet(pairs) => with_pairs("MSET", pairs),
            Op::MSetNx(pairs) => with_pairs("MSETNX", pairs),
            Op::MGet(names) => with_keys("MGET", names),
            Op::Rename(from, to) => with_keys("RENAME", &[*from, *to]),
            Op::RenameNx(from, to) => with_keys("RENAMENX", &[*from, *to]),
            Op::Copy(from, to) => with_keys("COPY", &[*from, *to]),
            Op::FlushAll => words("FLUSHALL"),
            Op::DbSize => words("DBSIZE"),
            Op::Watch(names) => with_keys("WATCH", names),
            Op::Exec(_) => unreachable!("EXEC is a conversation"),
            Op::RPush(name, value) => with_lists("RPUSH", &[*name], &value.to_string()),
            Op::LPop(name) => with_lists("LPOP", &[*name], ""),
            Op::LLen(name) => with_lists("LLEN", &[*name], ""),
            Op::BlPop(names, ms) => with_lists("BLPOP", names, &format!("0.{ms:03}")),
            Op::BlMove(from, to, ms) => with_lists("BLMOVE", &[*from, *to], &format!("LEFT RIGHT 0.{ms:03}")),
        }
    }

    /// Replies that come before the one that counts (OK and QUEUED of a transaction).
    pub(crate) fn preliminary_replies(&self) -> usize {
        self.requests().len() - 1
    }
}

fn words(text: &str) -> Vec<Vec<u8>> {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// The state of the model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Model {
    values: BTreeMap<u8, u32>,
    /// Without empty ones.
    lists: BTreeMap<u8, VecDeque<u32>>,
    /// Counts the writes to each key since a client watches it.
    watched: BTreeMap<(usize, u8), bool>,
}

impl Model {
    /// Apply an operation of `client` and say what the server must answer.
    pub(crate) fn apply(&mut self, client: usize, op: &Op) -> Value {
        match op {
            Op::Get(name) => self.bulk(*name),
            Op::Set(name, value) => {
                self.write(*name, Some(*value));
                ok()
            }
            Op::Incr(name) => {
                let next = self.values.get(name).copied().unwrap_or(0) + 1;
                self.write(*name, Some(next));
                Value::Int(i64::from(next))
            }
            Op::Del(names) => {
                let mut count = 0;
                for name in names {
                    if self.values.contains_key(name) {
                        count += 1;
                        self.write(*name, None);
                    }
                }
                Value::Int(count)
            }
            Op::Exists(names) => {
                Value::Int(names.iter().filter(|name| self.values.contains_key(name)).count() as i64)
            }
            Op::MSet(pairs) => {
                pairs.iter().for_each(|&(name, value)| self.write(name, Some(value)));
                ok()
            }
            Op::MSetNx(pairs) => {
                if pairs.iter().any(|(name, _)| self.values.contains_key(name)) {
                    return Value::Int(0);
                }
                pairs.iter().for_each(|&(name, value)| self.write(name, Some(value)));
                Value::Int(1)
            }
            Op::MGet(names) => Value::Array(names.iter().map(|name| self.bulk(*name)).collect()),
            Op::Rename(from, to) => match self.values.get(from).copied() {
                None => no_such_key(),
                // No change, to WATCH either.
                Some(_) if from == to => ok(),
                Some(value) => {
                    self.write(*from, None);
                    self.write(*to, Some(value));
                    ok()
                }
            },
            Op::RenameNx(from, to) => match self.values.get(from).copied() {
                None => no_such_key(),
                Some(_) if self.values.contains_key(to) => Value::Int(0),
                Some(value) => {
                    self.write(*from, None);
                    self.write(*to, Some(value));
                    Value::Int(1)
                }
            },
            Op::Copy(from, to) => match self.values.get(from).copied() {
                Some(value) if !self.values.contains_key(to) => {
                    self.write(*to, Some(value));
                    Value::Int(1)
                }
                _ => Value::Int(0),
            },
            Op::FlushAll => {
                let names: Vec<u8> = self.values.keys().copied().collect();
                names.into_iter().for_each(|name| self.write(name, None));
                self.lists.clear();
                ok()
            }
            Op::DbSize => Value::Int((self.values.len() + self.lists.len()) as i64),
            Op::Watch(names) => {
                for name in names {
                    self.watched.entry((client, *name)).or_insert(false);
                }
                ok()
            }
            Op::Exec(queue) => {
                let broken =
                    self.watched.iter().any(|(&(watcher, _), &written)| watcher == client && written);
                self.watched.retain(|&(watcher, _), _| watcher != client);
                if broken {
                    return Value::NullArray;
                }
                let replies = queue.iter().map(|op| match op {
                    Op::BlMove(from, ..) if !self.lists.contains_key(from) => Value::NullBulk,
                    op => self.apply(client, op),
                });
                Value::Array(replies.collect())
            }
            Op::RPush(name, value) => {
                let list = self.lists.entry(*name).or_default();
                list.push_back(*value);
                Value::Int(list.len() as i64)
            }
            Op::LPop(name) => self.pop(*name).map_or(Value::NullBulk, text),
            Op::LLen(name) => Value::Int(self.lists.get(name).map_or(0, VecDeque::len) as i64),
            // A wait that ends in vain has found nothing at some moment.
            Op::BlPop(names, _) => match names.iter().find(|name| self.lists.contains_key(name)) {
                None => Value::NullArray,
                Some(name) => {
                    let value = self.pop(*name).expect("found above");
                    Value::Array(vec![Value::Bulk(list_key(*name)), text(value)])
                }
            },
            Op::BlMove(from, to, _) => match self.pop(*from) {
                None => Value::NullArray,
                Some(value) => {
                    self.lists.entry(*to).or_default().push_back(value);
                    text(value)
                }
            },
        }
    }

    fn write(&mut self, name: u8, value: Option<u32>) {
        match value {
            Some(value) => self.values.insert(name, value),
            None => self.values.remove(&name),
        };
        for ((_, watched), written) in &mut self.watched {
            *written |= *watched == name;
        }
    }

    fn pop(&mut self, name: u8) -> Option<u32> {
        let list = self.lists.get_mut(&name)?;
        let value = list.pop_front();
        if list.is_empty() {
            self.lists.remove(&name);
        }
        value
    }

    fn bulk(&self, name: u8) -> Value {
        match self.values.get(&name) {
            Some(value) => Value::Bulk(value.to_string().into_bytes()),
            None => Value::NullBulk,
        }
    }
}

fn text(value: u32) -> Value {
    Value::Bulk(value.to_string().into_bytes())
}

fn ok() -> Value {
    Value::Simple("OK".into())
}

fn no_such_key() -> Value {
    Value::Error("ERR no such key".into())
}
