//! The limit on what all clients together hold in memory (`maxmemory-clients`).
//!
//! Owns the accounts: each shard's, and the ones that all shards can read; and the choice of who has to go: the largest
//! clients of all shards first, by powers of two, as in Valkey. While there is no limit nothing is counted. Never closes
//! anybody itself.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::clients::ClientKey;
use crate::connection::Connection;
use crate::packet::{Packet, ShardId};
use crate::session::client::memory_of;

use super::Shard;

/// Sizes are told apart by powers of two, from 32 KiB to 4 GiB; smaller and larger clients are in the outer classes.
const CLASSES: usize = 18;
const SMALLEST_CLASS_LOG: u32 = 15;

fn class_of(bytes: usize) -> usize {
    let log = usize::BITS - bytes.leading_zeros();
    (log.saturating_sub(SMALLEST_CLASS_LOG) as usize).min(CLASSES - 1)
}

/// What was counted for a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    bytes: usize,
    /// It may be closed (CLIENT NO-EVICT).
    may_go: bool,
}

/// Bytes of clients: of all, and of those that may go by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Account {
    total: usize,
    classes: [usize; CLASSES],
}

impl Account {
    fn add(&mut self, counted: Counted) {
        self.total += counted.bytes;
        if counted.may_go {
            self.classes[class_of(counted.bytes)] += counted.bytes;
        }
    }

    fn subtract(&mut self, counted: Counted) {
        self.total -= counted.bytes;
        if counted.may_go {
            self.classes[class_of(counted.bytes)] -= counted.bytes;
        }
    }
}

/// One shard's account.
#[derive(Debug, Default)]
pub struct ClientMemory {
    account: Account,
    /// It, or another shard's, has changed since somebody looked at the limit.
    is_due: bool,
}

impl ClientMemory {
    /// Take over what a connection holds now.
    pub fn count(&mut self, connection: &mut Connection) {
        let now = match connection.flags.closing {
            true => Counted::default(),
            false => Counted { bytes: memory_of(connection), may_go: !connection.flags.no_evict },
        };
        self.replace(connection, now);
    }

    /// The connection ends.
    pub fn forget(&mut self, connection: &mut Connection) {
        self.replace(connection, Counted::default());
    }

    fn replace(&mut self, connection: &mut Connection, now: Counted) {
        let before = std::mem::replace(&mut connection.counted, now);
        if before != now {
            self.account.subtract(before);
            self.account.add(now);
            self.is_due = true;
        }
    }

    /// Look at the limit at the end of this turn.
    pub fn check_soon(&mut self) {
        self.is_due = true;
    }
}

/// The accounts of all shards, each written by its own.
#[derive(Debug)]
pub struct ClientMemoryBoard {
    places: Box<[Place]>,
}

/// On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Place {
    total: AtomicUsize,
    classes: [AtomicUsize; CLASSES],
}

impl Place {
    fn write(&self, account: &Account) {
        self.total.store(account.total, Ordering::Release);
        for (place, bytes) in self.classes.iter().zip(account.classes) {
            place.store(bytes, Ordering::Release);
        }
    }

    fn read(&self) -> Account {
        let mut classes = [0; CLASSES];
        classes
            .iter_mut()
            .zip(&self.classes)
            .for_each(|(bytes, place)| *bytes = place.load(Ordering::Acquire));
        Account { total: self.total.load(Ordering::Acquire), classes }
    }
}

impl ClientMemoryBoard {
    pub fn new(shards: usize) -> ClientMemoryBoard {
        ClientMemoryBoard { places: (0..shards).map(|_| Place::default()).collect() }
    }
}

/// What has to go: all of the classes above `class`, and of that class so many bytes of each shard.
#[derive(Debug, PartialEq, Eq)]
struct Excess {
    class: usize,
    bytes: Vec<usize>,
}

impl Excess {
    /// Less than `max` is to remain. All shards that read the same accounts come to the same result, and one that has done
    /// its part already changes nothing for the others.
    fn of(accounts: &[Account], max: usize) -> Option<Excess> {
        let total: usize = accounts.iter().map(|account| account.total).sum();
        let mut excess = (total + 1).checked_sub(max).filter(|&excess| excess > 0)?;
        for class in (0..CLASSES).rev() {
            let of_class: usize = accounts.iter().map(|account| account.classes[class]).sum();
            if of_class < excess && class > 0 {
                excess -= of_class;
                continue;
            }
            let take = |account: &Account| {
                let part = account.classes[class].min(excess);
                excess -= part;
                part
            };
            return Some(Excess { class, bytes: accounts.iter().map(take).collect() });
        }
        None
    }

    /// Does this shard have anybody who has to go?
    fn concerns(&self, shard: usize, account: &Account) -> bool {
        self.bytes[shard] > 0 || account.classes[self.class + 1..].iter().any(|&bytes| bytes > 0)
    }
}

impl Shard {
    /// Note what a connection that was touched holds now, if there is a limit.
    #[inline]
    pub(super) fn count_memory_of(&mut self, connection: &mut Connection) {
        if self.state.client_bytes_max().is_some() {
            self.client_memory.count(connection);
        }
    }

    /// The limit, or what is subject to it, has been set: count everybody anew.
    pub(crate) fn count_all_client_memory(&mut self) {
        let is_limited = self.state.client_bytes_max().is_some();
        for connection in self.clients.iter_mut() {
            match is_limited {
                true => self.client_memory.count(connection),
                false => self.client_memory.forget(connection),
            }
        }
        self.client_memory.is_due = true;
        self.show_client_memory();
    }

    fn show_client_memory(&self) {
        self.process.client_memory.places[usize::from(self.id)].write(&self.client_memory.account);
    }

    /// Close clients of this shard while all together hold too much. Called at the end of a turn, when its output was sent.
    #[inline]
    pub fn limit_client_memory(&mut self) {
        if self.client_memory.is_due {
            self.client_memory.is_due = false;
            if let Some(max) = self.state.client_bytes_max() {
                self.keep_client_memory_below(max);
            }
        }
    }

    fn keep_client_memory_below(&mut self, max: usize) {
        self.show_client_memory();
        let accounts: Vec<Account> = self.process.client_memory.places.iter().map(Place::read).collect();
        let Some(excess) = Excess::of(&accounts, max) else { return };
        let own = usize::from(self.id);
        for (shard, account) in accounts.iter().enumerate().filter(|(shard, _)| *shard != own) {
            if excess.concerns(shard, account) {
                self.send(shard as ShardId, Packet::LimitClientMemory);
            }
        }
        if excess.concerns(own, &accounts[own]) {
            self.close_largest_clients(excess.class, excess.bytes[own]);
        }
    }

    /// Close all clients above a class, and of the class the largest until `bytes` are gone.
    #[cold]
    fn close_largest_clients(&mut self, class: usize, mut bytes: usize) {
        let may_go = self.clients.iter().filter(|client| client.counted.may_go);
        let mut sizes: Vec<(usize, ClientKey)> = may_go
            .map(|client| (client.counted.bytes, client.key))
            .filter(|(bytes, _)| class_of(*bytes) >= class)
            .collect();
        sizes.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        for (size, key) in sizes {
            if class_of(size) == class {
                if bytes == 0 {
                    break;
                }
                bytes = bytes.saturating_sub(size);
            }
            let Some(client) = self.clients.get(key) else { continue };
            tracing::info!(
                client = client.info.address,
                bytes = size,
                "closed: clients hold more memory than maxmemory-clients"
            );
            self.stats.clients_evicted += 1;
            self.kill(key);
        }
        self.show_client_memory();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    fn account(sizes: &[usize]) -> Account {
        let mut account = Account::default();
        sizes.iter().for_each(|&bytes| account.add(Counted { bytes, may_go: true }));
        account
    }

    #[test]
    fn classes_are_powers_of_two() {
        let classes: Vec<usize> =
            [0, 1, 16_384, 32_767, 32_768, 65_536, usize::MAX].iter().map(|&bytes| class_of(bytes)).collect();
        assert_eq!(classes, [0, 0, 0, 0, 1, 2, CLASSES - 1]);
    }

    #[test]
    fn the_largest_of_all_shards_go_first() {
        const MB: usize = 1 << 20;
        let accounts = [account(&[MB, 100]), account(&[4 * MB, MB]), account(&[200])];
        assert_eq!(Excess::of(&accounts, 10 * MB), None);
        let of = |max| Excess::of(&accounts, max).map(|excess| (excess.class, excess.bytes));
        // The one of 4 MiB is alone in its class.
        let need = |max: usize| 6 * MB + 300 + 1 - max;
        assert_eq!(of(6 * MB), Some((class_of(4 * MB), vec![0, 301, 0])));
        // Besides it one of 1 MiB, the first shard's.
        let max = 3 * MB / 2;
        assert_eq!(of(max), Some((class_of(MB), vec![need(max) - 4 * MB, 0, 0])));
        // When the first two have done their part nothing is left to do.
        let done = [account(&[100]), account(&[MB]), account(&[200])];
        assert_eq!(Excess::of(&done, max), None);
        // Nobody else may go: all that may.
        assert_eq!(of(1), Some((0, vec![100, 0, 200])));
        let excess = Excess::of(&accounts, max).expect("there is some");
        let concerned: Vec<bool> = (0..3).map(|shard| excess.concerns(shard, &accounts[shard])).collect();
        assert_eq!(concerned, [true, true, false]);
    }

    /// Connections 0, 2 and 4 are on the first shard, 1 and 3 on the second. This one has sent so much of a request.
    fn hold(bench: &mut Bench, connection: usize, bytes: usize) {
        bench.switch(connection);
        bench.run(&format!("*2\n$4\nECHO\n${}\n{}", bytes + 10, "x".repeat(bytes)));
    }

    #[test]
    fn clients_of_other_shards_are_closed_too() {
        let mut bench = Bench::with_shards(2, "");
        (0..4).for_each(|_| bench.connect());
        for (connection, bytes) in [(1, 100_000), (2, 3_000_000), (3, 3_000_000)] {
            hold(&mut bench, connection, bytes);
        }
        bench.switch(4);
        bench.check("CLIENT NO-EVICT ON", "+OK");
        bench.check("CONFIG SET maxmemory-clients 5mb", "+OK");
        let closed = |bench: &Bench| (0..5).filter(|&one| bench.is_closed(one)).collect::<Vec<_>>();
        assert_eq!(closed(&bench), [2], "one of both is enough");
        bench.check("CONFIG SET maxmemory-clients 1mb", "+OK");
        assert_eq!(closed(&bench), [2, 3]);
        // Without a setting in between.
        hold(&mut bench, 0, 2_000_000);
        assert_eq!(closed(&bench), [0, 2, 3]);
        bench.switch(4);
        assert!(bench.run("INFO stats").contains(" evicted_clients:3 "));
        // A share of maxmemory; without maxmemory it is no limit.
        bench.check("CONFIG SET maxmemory-clients 1%", "+OK");
        assert_eq!(closed(&bench), [0, 2, 3]);
        bench.check("CONFIG SET maxmemory 5mb", "+OK");
        assert_eq!(closed(&bench), [0, 1, 2, 3]);
        bench.check("PING", "+PONG");
        bench.check("CLIENT NO-EVICT OFF", "+OK");
        bench.check("CONFIG SET maxmemory-clients 1", "<closed>");
    }
}
