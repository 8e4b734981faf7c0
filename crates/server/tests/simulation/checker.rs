//! Is a history strictly serializable?
//!
//! Every operation, multi-key ones and whole transactions included, must appear to happen at one moment between its call
//! and its return, in one order that the model agrees with (linearizability of the whole keyspace, Herlihy and Wing 1990).
//! The search tries orders depth first and remembers (operations done, state) pairs that led nowhere.

use std::collections::HashSet;

use torc_resp::Value;

use crate::model::{Model, Op};

/// One finished (or unanswered) operation.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) client: usize,
    pub(crate) op: Op,
    /// Step at which it was sent.
    pub(crate) called: u64,
    /// Step at which its reply arrived, and the reply; `None` when the client was cut off before.
    pub(crate) returned: Option<(u64, Value)>,
    /// Index of an earlier event that must take effect before this one (pipelined on one shard).
    pub(crate) after: Option<usize>,
}

/// Histories longer than this are not searched.
pub(crate) const EVENTS_MAX: usize = 64;

/// `Ok` when some order explains all replies; otherwise the longest explained prefix, for the report.
pub(crate) fn check(history: &[Event]) -> Result<(), String> {
    assert!(history.len() <= EVENTS_MAX, "the search is exponential: keep histories short");
    let mut search = Search { history, dead: HashSet::new(), best: Vec::new(), order: Vec::new() };
    if search.explore(0, &Model::default()) {
        return Ok(());
    }
    let best: Vec<String> = search.best.iter().map(|&index| format!("  {:?}", history[index])).collect();
    let all: Vec<String> = history.iter().map(|event| format!("  {event:?}")).collect();
    Err(format!(
        "no order explains this history:\n{}\nlongest explained prefix:\n{}",
        all.join("\n"),
        best.join("\n")
    ))
}

struct Search<'a> {
    history: &'a [Event],
    dead: HashSet<(u64, Model)>,
    best: Vec<usize>,
    order: Vec<usize>,
}

impl Search<'_> {
    fn explore(&mut self, done: u64, model: &Model) -> bool {
        if self.order.len() > self.best.len() {
            self.best.clone_from(&self.order);
        }
        let open = |index: usize| done & (1 << index) == 0;
        // Unanswered operations may have happened or not.
        if self.history.iter().enumerate().all(|(index, event)| !open(index) || event.returned.is_none()) {
            return true;
        }
        if self.dead.contains(&(done, model.clone())) {
            return false;
        }
        // Whatever returned first must not come after something that was called later.
        let deadline = self
            .history
            .iter()
            .enumerate()
            .filter(|(index, _)| open(*index))
            .filter_map(|(_, event)| event.returned.as_ref().map(|(step, _)| *step))
            .min()
            .unwrap_or(u64::MAX);
        for (index, event) in self.history.iter().enumerate() {
            let blocked = event.after.is_some_and(open);
            if !open(index) || blocked || event.called > deadline {
                continue;
            }
            let mut next = model.clone();
            let answer = next.apply(event.client, &event.op);
            let agrees = event.returned.as_ref().is_none_or(|(_, reply)| *reply == answer);
            if agrees {
                self.order.push(index);
                if self.explore(done | (1 << index), &next) {
                    return true;
                }
                self.order.pop();
            }
        }
        self.dead.insert((done, model.clone()));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(client: usize, op: Op, called: u64, returned: u64, reply: Value) -> Event {
        Event { client, op, called, returned: Some((returned, reply)), after: None }
    }

    fn ok() -> Value {
        Value::Simple("OK".into())
    }

    fn bulk(text: &str) -> Value {
        Value::Bulk(text.into())
    }

    #[test]
    fn a_stale_read_is_noticed() {
        let history = [event(0, Op::Set(1, 5), 0, 1, ok()), event(1, Op::Get(1), 2, 3, Value::NullBulk)];
        assert!(check(&history).is_err());
    }

    #[test]
    fn half_a_mset_is_noticed_and_a_concurrent_whole_one_is_fine() {
        let mset = Op::MSet(vec![(1, 5), (2, 5)]);
        let half = Value::Array(vec![bulk("5"), Value::NullBulk]);
        let whole = Value::Array(vec![bulk("5"), bulk("5")]);
        let with =
            |reply: Value| [event(0, mset.clone(), 0, 9, ok()), event(1, Op::MGet(vec![1, 2]), 2, 3, reply)];
        assert!(check(&with(half)).is_err());
        assert!(check(&with(whole)).is_ok());
    }

    #[test]
    fn a_missed_watch_is_noticed() {
        let history = [
            event(0, Op::Watch(vec![1]), 0, 1, ok()),
            event(1, Op::Set(1, 7), 2, 3, ok()),
            event(0, Op::Exec(vec![Op::Set(2, 1)]), 4, 5, Value::Array(vec![ok()])),
        ];
        assert!(check(&history).is_err());
    }
}
