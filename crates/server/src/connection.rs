//! One client connection as a state machine without I/O.
//!
//! Owns what belongs to one client: unparsed input, the order of its replies, output that waits for the socket, and
//! the session (database, protocol, name, MULTI queue, watches, subscriptions). Bytes come in and go out as values;
//! never touches a socket, a clock or the keyspace.

use std::collections::VecDeque;

use torc_resp::{Limits, Mark, OwnedArgs, Proto, ReplyBuf, RequestParser};

use crate::clients::ClientKey;
use crate::packet::ShardId;
use crate::pubsub::Subscriptions;
use crate::registry::Registered;
use crate::shard::blocking::spread::SpreadWait;
use crate::shard::client_memory::Counted;
use crate::shard::pending::Pending;
use crate::tracking::ClientTracking;

/// Commands of one connection that may be under way on other shards; then parsing stops until replies arrive.
pub const REPLIES_IN_FLIGHT_MAX: usize = 1024;

/// Client-chosen text (name, library) is bounded by the query buffer alone, as in Redis.
pub struct Connection {
    pub key: ClientKey,
    /// Unique in the process, ascending on each shard; what CLIENT ID shows.
    pub id: u64,
    pub info: PeerInfo,
    pub created_ms: i64,
    pub last_interaction_ms: i64,
    pub name: Box<[u8]>,
    pub library_name: Box<[u8]>,
    pub library_version: Box<[u8]>,
    pub proto: Proto,
    pub db: usize,
    pub flags: ConnectionFlags,
    pub reply_mode: ReplyMode,
    /// Full name of the last command, for CLIENT LIST.
    pub last_command: Option<&'static Registered>,
    pub parser: RequestParser,
    /// Bytes that were received and not parsed yet; parsing goes on at `input_start`.
    pub input: Vec<u8>,
    pub input_start: usize,
    pub output: Output,
    pub suspension: Suspension,
    /// What it waits for inside a blocking command.
    pub blocked_on: Option<BlockedOn>,
    /// A request that could not start yet, and runs first when the connection goes on.
    pub held: Option<Held>,
    pub multi: Option<Box<MultiState>>,
    /// The command that waits for other shards, until it is accounted for.
    pub pending: Option<Box<Pending>>,
    /// EXEC while it runs: replies of its commands collect here.
    pub exec: Option<Box<crate::shard::exec::Execution>>,
    /// Shard and fingerprint of every key that WATCH named.
    pub watched: Vec<(ShardId, u64)>,
    /// Its name in the watch tables while there are any.
    pub watcher: u64,
    pub subscriptions: Option<Box<Subscriptions>>,
    /// CLIENT TRACKING.
    pub tracking: Option<Box<ClientTracking>>,
    pub publishes: Publishes,
    pub traffic: Traffic,
    /// What `maxmemory-clients` has counted for it.
    pub counted: Counted,
    /// Since when the output has been above the soft limit, in unix ms.
    pub soft_limit_since_ms: Option<i64>,
}

/// Who is at the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerInfo {
    /// As CLIENT LIST shows it: `127.0.0.1:5000`, `[::1]:5000`, `/path/sock:0`.
    pub address: String,
    pub local_address: String,
    pub unix_socket: bool,
    pub loopback: bool,
    pub fd: i32,
}

/// Yes/no facts of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionFlags {
    pub authenticated: bool,
    pub no_evict: bool,
    pub no_touch: bool,
    /// Copies another server's data, and sees keys that have expired (CLIENT IMPORT-SOURCE).
    pub import_source: bool,
    /// Sees every command (MONITOR).
    pub monitor: bool,
    /// What the next command reads is remembered (CLIENT TRACKING).
    pub remembers_reads: bool,
    /// CLIENT CACHING has been called for the next command.
    pub caching_given: bool,
    /// Notices for the client that this one redirects to wait until replies have been sent.
    pub notices_held_back: bool,
    /// The held request has waited for the client to be told of evicted keys, and does not do so again.
    pub told_first: bool,
    /// A session command of this connection runs at this moment.
    pub executing: bool,
    /// The client has closed its sending side: close once everything it has asked for is answered.
    pub input_ended: bool,
    /// Close once everything that is queued has been sent.
    pub close_after_reply: bool,
    /// Closing: no further input is processed.
    pub closing: bool,
    /// On the shard's list of connections with something to send.
    pub flush_queued: bool,
    /// On the shard's list of connections that can go on without new input.
    pub run_queued: bool,
    /// The loop was asked to stop reading from the socket.
    pub reading_paused: bool,
}

/// CLIENT REPLY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    #[default]
    On,
    Off,
    /// The next command's reply is dropped.
    SkipNext,
    /// This command's reply is dropped.
    Skip,
}

impl ReplyMode {
    /// What holds for the command that comes now.
    pub fn of_next_command(self) -> ReplyMode {
        match self {
            ReplyMode::SkipNext => ReplyMode::Skip,
            ReplyMode::Skip => ReplyMode::On,
            ReplyMode::On | ReplyMode::Off => self,
        }
    }
}

/// Why a connection does not go on with its next request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Suspension {
    #[default]
    None,
    /// Until all replies of earlier commands are in.
    Replies,
    /// Until a transaction or a call to other shards is over.
    Work,
    /// Until CLIENT PAUSE ends.
    Pause,
    /// Until a command that may wait for data has its reply.
    Blocked,
    /// Until the client has been told which keys have gone to make room for its command.
    Telling,
    /// Until the transaction whose reply is written is durable on all shards.
    Settling,
}

/// Where the wait of a blocking command is.
pub enum BlockedOn {
    /// All its keys live on shard `at`, and the wait is there.
    OneShard {
        at: ShardId,
        number: u64,
    },
    Several(Box<SpreadWait>),
    /// It waits for the disk.
    Log {
        number: u64,
    },
}

/// A request that waits for its turn.
pub struct Held {
    pub command: &'static Registered,
    pub args: OwnedArgs,
}

/// Commands between MULTI and EXEC.
#[derive(Default)]
pub struct MultiState {
    pub queue: Vec<Held>,
    /// A command could not be queued: EXEC will refuse.
    pub aborted: bool,
    pub queued_bytes: usize,
}

/// PUBLISH commands whose replies are outstanding; all of them go to one home.
#[derive(Clone, Copy, Debug, Default)]
pub struct Publishes {
    pub home: ShardId,
    pub outstanding: usize,
}

/// Counters that CLIENT LIST and INFO show.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    pub input_bytes: u64,
    pub output_bytes: u64,
    pub commands: u64,
}

impl Connection {
    pub fn new(
        key: ClientKey,
        id: u64,
        info: PeerInfo,
        limits: Limits,
        authenticated: bool,
        now_ms: i64,
    ) -> Self {
        Connection {
            key,
            id,
            info,
            created_ms: now_ms,
            last_interaction_ms: now_ms,
            name: Box::default(),
            library_name: Box::default(),
            library_version: Box::default(),
            proto: Proto::Resp2,
            db: 0,
            flags: ConnectionFlags { authenticated, ..ConnectionFlags::default() },
            reply_mode: ReplyMode::On,
            last_command: None,
            parser: RequestParser::new(limits),
            input: Vec::new(),
            input_start: 0,
            output: Output::default(),
            suspension: Suspension::None,
            blocked_on: None,
            held: None,
            multi: None,
            pending: None,
            exec: None,
            watched: Vec::new(),
            watcher: 0,
            subscriptions: None,
            tracking: None,
            publishes: Publishes::default(),
            traffic: Traffic::default(),
            counted: Counted::default(),
            soft_limit_since_ms: None,
        }
    }

    /// Nothing special is going on: no MULTI, no subscriptions, no muted replies. The fast path needs one test.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.multi.is_none()
            && self.subscriptions.is_none()
            && self.reply_mode == ReplyMode::On
            && self.flags.authenticated
            && !self.flags.caching_given
            && self.exec.is_none()
    }

    /// Where the reply of a session command goes: into EXEC's replies while EXEC runs, else straight to the output.
    /// Only legal when no earlier reply is outstanding.
    pub fn reply_target(&mut self) -> &mut ReplyBuf {
        match &mut self.exec {
            Some(execution) => &mut execution.replies,
            None => self.output.direct(),
        }
    }

    /// Inside a blocking command, waiting for data.
    pub fn is_blocked(&self) -> bool {
        self.blocked_on.is_some()
    }

    /// A reply is being made that has no place in the output yet.
    pub fn is_answering(&self) -> bool {
        self.suspension == Suspension::Work || self.exec.is_some()
    }

    /// Write a message that belongs to no request, behind all replies that are there, owed or being made; but before
    /// that of a command which waits for data.
    pub fn push(&mut self, write: impl FnOnce(&mut ReplyBuf)) {
        if self.is_answering() {
            write(self.output.push_later());
        } else if self.suspension == Suspension::Blocked {
            write(self.output.push_before_last());
        } else {
            self.output.write(write);
        }
    }

    /// The place in the output behind all replies that are owed, but for that of a command which waits for data.
    pub fn place_behind(&self) -> u32 {
        let waiting = u32::from(self.suspension == Suspension::Blocked).min(self.output.slots.len() as u32);
        self.output.first_slot.wrapping_add(self.output.slots.len() as u32 - waiting)
    }

    /// Nothing is owed to this client.
    pub fn is_idle(&self) -> bool {
        self.suspension == Suspension::None
            && self.output.outstanding() == 0
            && self.output.buffered_bytes() == 0
            && !self.flags.run_queued
    }

    /// The connection has nothing left to do and is to be closed.
    pub fn is_finished(&self) -> bool {
        (self.flags.close_after_reply || self.flags.input_ended) && self.is_idle()
    }

    /// Input bytes that wait to be parsed.
    pub fn unparsed(&self) -> usize {
        self.input.len() - self.input_start
    }
}

/// Sendable bytes that wait for replies under way at most: from here on a send of their own pays.
const HELD_BYTES_MAX: usize = 16 * 1024;

/// Replies in request order. While nothing is outstanding, replies go straight to `ready`; behind an outstanding
/// reply they are kept aside until their turn comes.
#[derive(Default)]
pub struct Output {
    /// Bytes in their final order, to be sent.
    ready: ReplyBuf,
    /// Replies that wait for an earlier one.
    aside: ReplyBuf,
    slots: VecDeque<Slot>,
    /// Number of the slot at the front.
    first_slot: u32,
    waiting: usize,
    /// One of the outstanding replies waits for locks: it may take longer than a batch there and back.
    is_late: bool,
    /// Messages that go out behind the reply that is being made (EXEC's, SUBSCRIBE's).
    later: Option<Box<ReplyBuf>>,
    /// Messages that go out when only one reply is outstanding.
    before_last: Option<Box<ReplyBuf>>,
    /// Bytes that were sent.
    sent: u64,
    /// How often it is held by turns that wait for the log: until then nothing behind `free_to` may be sent.
    holds: u32,
    free_to: u64,
}

enum Slot {
    Waiting {
        muted: bool,
    },
    /// A range of `aside`.
    Ready(Mark, Mark),
}

impl Output {
    /// Replies that other shards (or locks) still owe.
    #[inline]
    pub fn outstanding(&self) -> usize {
        self.waiting
    }

    /// An outstanding reply waits for locks.
    pub fn expect_late(&mut self) {
        self.is_late = true;
    }

    /// Whether to send nothing yet: batches that will complete these replies are on their way back, and then one
    /// send carries all (each send costs the server, and the client that it wakes, more than a command does).
    #[inline]
    pub fn is_held(&self) -> bool {
        self.waiting > 0 && !self.is_late && self.ready.len() < HELD_BYTES_MAX
    }

    /// The final byte stream. Only legal when no reply is outstanding.
    #[inline]
    pub fn direct(&mut self) -> &mut ReplyBuf {
        debug_assert!(self.slots.is_empty(), "a reply would overtake an outstanding one");
        &mut self.ready
    }

    /// Write the reply of a command that ran at once, in its place.
    #[inline]
    pub fn write(&mut self, write: impl FnOnce(&mut ReplyBuf)) {
        if self.slots.is_empty() {
            write(&mut self.ready);
        } else {
            let start = self.aside.mark();
            write(&mut self.aside);
            self.slots.push_back(Slot::Ready(start, self.aside.mark()));
        }
    }

    /// Reserve the place of a reply that comes later.
    pub fn reserve(&mut self, muted: bool) -> u32 {
        let slot = self.first_slot.wrapping_add(self.slots.len() as u32);
        self.slots.push_back(Slot::Waiting { muted });
        self.waiting += 1;
        slot
    }

    /// Fill a reserved place with `from[start..end]` and move everything that is complete to the output.
    pub fn fill(&mut self, slot: u32, from: &ReplyBuf, start: Mark, end: Mark) {
        let index = slot.wrapping_sub(self.first_slot) as usize;
        let Slot::Waiting { muted } = self.slots[index] else { panic!("a reply slot is filled once") };
        self.waiting -= 1;
        self.is_late &= self.waiting > 0;
        if index == 0 {
            self.slots.pop_front();
            self.first_slot = self.first_slot.wrapping_add(1);
            if !muted {
                self.ready.copy_range(from, start, end);
            }
            self.move_complete();
        } else {
            let begin = self.aside.mark();
            if !muted {
                self.aside.copy_range(from, start, end);
            }
            self.slots[index] = Slot::Ready(begin, self.aside.mark());
        }
    }

    fn move_complete(&mut self) {
        while let Some(Slot::Ready(start, end)) = self.slots.front() {
            self.ready.copy_range(&self.aside, *start, *end);
            self.slots.pop_front();
            self.first_slot = self.first_slot.wrapping_add(1);
        }
        if self.slots.is_empty() {
            self.aside.clear();
        }
        if self.slots.len() <= 1
            && let Some(messages) = self.before_last.take()
        {
            self.ready.append(&messages);
        }
    }

    /// Has everything before this place gone to the output?
    pub fn is_past(&self, place: u32) -> bool {
        self.first_slot.wrapping_sub(place) < u32::MAX / 2
    }

    /// Memory that is allocated for output.
    pub fn heap_bytes(&self) -> usize {
        self.ready.heap_bytes() + self.aside.heap_bytes() + self.slots.capacity() * size_of::<Slot>()
    }

    /// What can be sent now, and how many bytes of it.
    #[inline]
    pub fn sendable(&mut self) -> (&mut ReplyBuf, usize) {
        let len = self.ready.len();
        let free = self.free_to.saturating_sub(self.sent) as usize;
        (&mut self.ready, if self.holds > 0 { len.min(free) } else { len })
    }

    /// Whatever was complete has been sent.
    pub fn has_sent_all(&self) -> bool {
        self.ready.is_empty()
    }

    /// So much of it was sent.
    #[inline]
    pub fn note_sent(&mut self, count: usize) {
        self.ready.consume(count);
        self.sent += count as u64;
    }

    /// What is here may not be sent before [`Output::release`] is called with the number that this returns, but for what
    /// was released already.
    pub fn hold(&mut self) -> u64 {
        self.holds += 1;
        self.sent + self.ready.len() as u64
    }

    /// What was held may be sent up to this byte. What is not held by now may, too.
    pub fn release(&mut self, until: u64) {
        self.free_to = self.free_to.max(until);
        self.holds -= 1;
    }

    /// Bytes that wait in this output, sendable or not.
    pub fn buffered_bytes(&self) -> usize {
        self.ready.len()
            + self.aside.len()
            + self.later.as_ref().map_or(0, |later| later.len())
            + self.before_last.as_ref().map_or(0, |messages| messages.len())
    }

    /// Append a message that belongs to no request (pub/sub): right behind the last complete reply.
    pub fn push(&mut self) -> &mut ReplyBuf {
        &mut self.ready
    }

    /// The same for a message that goes before the last outstanding reply and behind all others.
    fn push_before_last(&mut self) -> &mut ReplyBuf {
        if self.slots.len() <= 1 { &mut self.ready } else { self.before_last.get_or_insert_default() }
    }

    /// The same for a message that must not overtake the reply that is being made.
    pub fn push_later(&mut self) -> &mut ReplyBuf {
        self.later.get_or_insert_default()
    }

    /// That reply is complete: the messages behind it may go.
    pub fn release_later_pushes(&mut self) {
        if let Some(later) = self.later.take() {
            self.ready.append(&later);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use torc_resp::Reply;

    fn buffer(text: &str) -> ReplyBuf {
        let mut buffer = ReplyBuf::new();
        Reply::new(&mut buffer, Proto::Resp2).raw(text.as_bytes());
        buffer
    }

    fn fill(output: &mut Output, slot: u32, text: &str) {
        let reply = buffer(text);
        let end = reply.mark();
        output.fill(slot, &reply, Mark::default(), end);
    }

    fn sent(output: &mut Output) -> String {
        String::from_utf8(output.sendable().0.bytes().to_vec()).expect("ascii")
    }

    #[test]
    fn replies_leave_in_request_order() {
        let mut output = Output::default();
        output.write(|out| Reply::new(out, Proto::Resp2).raw(b"a"));
        let b = output.reserve(false);
        output.write(|out| Reply::new(out, Proto::Resp2).raw(b"c"));
        let d = output.reserve(false);
        output.write(|out| Reply::new(out, Proto::Resp2).raw(b"e"));
        assert_eq!(sent(&mut output), "a");
        fill(&mut output, d, "d");
        assert_eq!(sent(&mut output), "a");
        fill(&mut output, b, "b");
        assert_eq!(sent(&mut output), "abcde");
        assert_eq!(output.outstanding(), 0);
        output.direct();
    }

    #[test]
    fn what_is_complete_waits_for_batches_but_not_for_locks() {
        let mut output = Output::default();
        output.write(|out| Reply::new(out, Proto::Resp2).raw(b"a"));
        assert!(!output.is_held());
        let b = output.reserve(false);
        assert!(output.is_held());
        output.expect_late();
        assert!(!output.is_held());
        fill(&mut output, b, "b");
        let c = output.reserve(false);
        assert!(output.is_held(), "what was late has come");
        Reply::new(output.push(), Proto::Resp2).raw(&[b'x'; HELD_BYTES_MAX]);
        assert!(!output.is_held());
        fill(&mut output, c, "c");
    }

    #[test]
    fn what_was_released_leaves_although_more_is_held() {
        let mut output = Output::default();
        let mut turn = |text: &str, released: Option<u64>| {
            output.write(|out| Reply::new(out, Proto::Resp2).raw(text.as_bytes()));
            released.into_iter().for_each(|until| output.release(until));
            let end = output.hold();
            let (_, allowed) = output.sendable();
            output.note_sent(allowed);
            (end, allowed)
        };
        assert_eq!(turn("abc", None), (3, 0));
        assert_eq!(turn("de", Some(3)), (5, 3));
        assert_eq!(turn("f", Some(5)), (6, 2));
        output.write(|out| Reply::new(out, Proto::Resp2).raw(b"gh"));
        output.release(6);
        assert_eq!(output.sendable().1, 3, "what is not held may go");
    }

    #[test]
    fn a_muted_reply_takes_its_turn_and_says_nothing() {
        let mut output = Output::default();
        let a = output.reserve(true);
        let b = output.reserve(false);
        fill(&mut output, b, "b");
        fill(&mut output, a, "a");
        assert_eq!(sent(&mut output), "b");
    }
}
