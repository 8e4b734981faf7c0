//! What a logged SET (16-byte key, 64-byte value) costs the shard until its record is ready for the kernel: plain, and sealed with
//! either cipher. The shortest of many turns of 1,000 commands; writes go nowhere. `cargo run --release -p torc-persist --example log`

use std::time::Instant;

use torc_datatypes::words;
use torc_persist::log::{Action, FileNumber, Policy, ShardLog};
use torc_persist::seal::{Algorithm, Keys, MasterKey};

const COMMANDS: u32 = 1_000;
const TURNS: usize = 3_000;

fn main() {
    let sealing = |algorithm| {
        let key = MasterKey::parse(&[1; 32]).expect("32 bytes are a key");
        Keys::new(algorithm, key, Vec::new())
    };
    for (name, keys) in [
        ("plain", Keys::default()),
        ("aes-256-gcm", sealing(Algorithm::Aes256Gcm)),
        ("chacha20-poly1305", sealing(Algorithm::ChaCha20Poly1305)),
    ] {
        println!("{name:18} {:5.1} ns per command", ns_per_command(&keys));
    }
}

fn ns_per_command(keys: &Keys) -> f64 {
    let mut log = ShardLog::new(0, 1, 1, FileNumber(1), Policy::Everysec).sealed(keys);
    let mut effects = Vec::new();
    let mut best_ns = f64::MAX;
    for turn in 1..=TURNS {
        let began = Instant::now();
        effects.clear();
        for _ in 0..COMMANDS {
            words::put(
                &mut effects,
                0,
                std::hint::black_box([&b"SET"[..], b"key:000000012345", &[b'x'; 64]]),
            );
        }
        log.effects(&effects);
        while let Some(action) = log.next_action(turn as u64 * 2_000_000) {
            match action {
                Action::Write { bytes, .. } => {
                    let count = bytes.len();
                    drop(bytes);
                    log.write_ended(Ok(count));
                }
                Action::Sync { .. } => log.sync_ended(Ok(())),
            }
        }
        best_ns = best_ns.min(began.elapsed().as_nanos() as f64 / f64::from(COMMANDS));
    }
    best_ns
}
