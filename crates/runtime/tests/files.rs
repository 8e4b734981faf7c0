//! Appends and syncs of files on the socket ring, with all that the kernel offers and with the fall-backs of old kernels.

use std::fs::{File, OpenOptions};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use torc_runtime::net::{Event, FileId, Net, NetOptions, Wait};
use torc_runtime::probe::{Capabilities, probe};
use torc_runtime::wake::Doorbell;

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
enum Ended {
    Write(FileId, io::Result<usize>),
    Sync(FileId, io::Result<()>),
}

fn rings() -> impl Iterator<Item = Net> {
    let best = probe().expect("io_uring works where the tests run");
    let mut all = vec![best, Capabilities::default()];
    all.dedup();
    all.into_iter().map(|capabilities| {
        Net::new(&capabilities, NetOptions::default(), Doorbell::single().unwrap()).unwrap()
    })
}

/// Turns until `count` operations have ended.
fn ended(net: &mut Net, count: usize) -> Vec<Ended> {
    let mut all = Vec::new();
    let started = Instant::now();
    while all.len() < count {
        assert!(started.elapsed() < PATIENCE, "only {all:?} ended");
        net.turn(Wait::For(Duration::from_millis(20)), &mut |event| match event {
            Event::Written { file, result } => all.push(Ended::Write(file, result)),
            Event::Synced { file, result } => all.push(Ended::Sync(file, result)),
            _ => {}
        })
        .unwrap();
    }
    all
}

fn temporary(name: &str) -> (std::path::PathBuf, File) {
    let path = std::env::temp_dir().join(format!("torc-files-{}-{name}", std::process::id()));
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path).unwrap();
    (path, file)
}

#[test]
fn appends_reach_the_file_in_order() {
    for mut net in rings() {
        let (path, file) = temporary("appends");
        let file = net.add_file(file.into());
        let mut expected = Vec::new();
        for (index, len) in [1usize, 100, 70_000, 3_000_000].into_iter().enumerate() {
            let bytes = vec![b'a' + index as u8; len];
            net.write_file(file, expected.len() as u64, Arc::new(bytes.clone()), 0, index % 2 == 0).unwrap();
            expected.extend_from_slice(&bytes);
            match ended(&mut net, 1 + usize::from(index % 2 == 0)).as_slice() {
                [Ended::Write(id, Ok(count))] => assert_eq!((*id, *count), (file, len)),
                [Ended::Write(id, Ok(count)), Ended::Sync(synced, Ok(()))] => {
                    assert_eq!((*id, *synced, *count), (file, file, len));
                }
                other => panic!("{other:?}"),
            }
        }
        net.sync_file(file).unwrap();
        assert!(matches!(ended(&mut net, 1).as_slice(), [Ended::Sync(_, Ok(()))]));
        assert_eq!(std::fs::read(&path).unwrap(), expected);
        std::fs::remove_file(path).unwrap();
    }
}

/// A write that fails takes its sync with it.
#[test]
fn a_full_disk_fails_the_sync_with_the_write() {
    for mut net in rings() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let file = net.add_file(full.into());
        net.write_file(file, 0, Arc::new(vec![0; 100]), 0, true).unwrap();
        match ended(&mut net, 2).as_slice() {
            [Ended::Write(_, Err(write)), Ended::Sync(_, Err(sync))] => {
                assert_eq!(write.raw_os_error(), Some(libc::ENOSPC));
                assert_eq!(sync.raw_os_error(), Some(libc::ENOSPC));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Closing waits for what is under way; a ring that goes away with a write in flight leaves its bytes alone.
#[test]
fn files_may_close_with_work_under_way() {
    for mut net in rings() {
        let (path, file) = temporary("closing");
        let first = net.add_file(file.into());
        net.write_file(first, 0, Arc::new(vec![1; 1 << 20]), 0, true).unwrap();
        net.close_file(first);
        assert_eq!(ended(&mut net, 2).len(), 2);
        let reopened = OpenOptions::new().write(true).open(&path).unwrap();
        let second = net.add_file(reopened.into());
        assert_eq!(second, first, "the index is used again");
        net.write_file(second, 0, Arc::new(vec![2; 1 << 20]), 0, true).unwrap();
        net.turn(Wait::Poll, &mut |_| {}).unwrap();
        drop(net);
        std::fs::remove_file(path).unwrap();
    }
}
