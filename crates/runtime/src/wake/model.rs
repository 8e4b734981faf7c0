//! Every interleaving and every permitted reordering of the two protocols, by the model checker: no wake-up is lost.
//! The flag is the source that runs in the server; channels and sleep are reduced to atomics.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicBool, Ordering, fence};
}

#[path = "flag.rs"]
#[allow(clippy::duplicate_mod)] // on purpose: the same source over other atomics
mod flag;

use flag::Flag;

#[test]
fn mail_never_meets_a_sleeper_that_nobody_wakes() {
    loom::model(|| senders_and_a_sleeper(1));
}

/// With a bound on preemptions: all interleavings of three threads take minutes.
#[test]
fn of_two_senders_one_wakes_the_sleeper() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| senders_and_a_sleeper(2));
}

fn senders_and_a_sleeper(senders: usize) {
    let asleep = Arc::new(Flag::new());
    let mail = Arc::new(AtomicUsize::new(0));
    let wakes = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = (0..senders)
        .map(|_| {
            let (asleep, mail, wakes) = (asleep.clone(), mail.clone(), wakes.clone());
            thread::spawn(move || {
                mail.fetch_add(1, Ordering::Release);
                if asleep.claim() {
                    wakes.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    asleep.raise();
    let seen = mail.load(Ordering::Acquire);
    if seen > 0 {
        asleep.lower();
    }
    for sender in senders {
        sender.join().unwrap();
    }
    let woken = wakes.load(Ordering::Relaxed);
    assert!(seen > 0 || woken > 0, "asleep with mail");
    assert!(woken <= 1, "woken twice");
}

#[test]
fn a_refused_sender_never_sleeps_through_the_room() {
    loom::model(|| {
        let is_full = Arc::new(AtomicBool::new(true));
        let wants_room = Arc::new(Flag::new());
        let asleep = Arc::new(Flag::new());
        let woken = Arc::new(AtomicBool::new(false));
        let receiver = {
            let (is_full, wants_room) = (is_full.clone(), wants_room.clone());
            let (asleep, woken) = (asleep.clone(), woken.clone());
            thread::spawn(move || {
                is_full.store(false, Ordering::Release);
                if wants_room.claim() && asleep.claim() {
                    woken.store(true, Ordering::Relaxed);
                }
            })
        };
        let mut sleeps = false;
        if is_full.load(Ordering::Acquire) {
            wants_room.raise();
            if is_full.load(Ordering::Acquire) {
                asleep.raise();
                sleeps = wants_room.is_raised();
            }
        }
        receiver.join().unwrap();
        assert!(!sleeps || woken.load(Ordering::Relaxed), "asleep although there is room");
    });
}

#[test]
#[should_panic(expected = "asleep with mail")]
fn without_the_fences_the_model_finds_the_lost_wake_up() {
    loom::model(|| {
        let asleep = Arc::new(AtomicBool::new(false));
        let mail = Arc::new(AtomicUsize::new(0));
        let sender = {
            let (asleep, mail) = (asleep.clone(), mail.clone());
            thread::spawn(move || {
                mail.store(1, Ordering::Release);
                asleep.load(Ordering::Acquire)
            })
        };
        asleep.store(true, Ordering::Release);
        let seen = mail.load(Ordering::Acquire);
        let wakes = sender.join().unwrap();
        assert!(seen > 0 || wakes, "asleep with mail");
    });
}
