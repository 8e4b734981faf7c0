//! Appends and syncs of files on the socket ring, with all that the kernel offers and with the fall-backs of old kernels.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
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

/// Whether the first byte of a file is in the page cache.
fn is_cached(file: &File) -> bool {
    let mut byte = 0u8;
    let place = libc::iovec { iov_base: std::ptr::from_mut(&mut byte).cast(), iov_len: 1 };
    // SAFETY: the one vector points to a byte that lives across the call.
    let count = unsafe { libc::preadv2(file.as_raw_fd(), &place, 1, 0, libc::RWF_NOWAIT) };
    assert!(count == 1 || io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock);
    count == 1
}

/// Writes and syncs; whether that leaves the page cache.
fn leaves_the_page_cache(net: &mut Net) -> bool {
    // Not in a folder for temporary files, which may lie in memory.
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("forget-{}", std::process::id()));
    std::fs::write(&path, b"").unwrap();
    let reader = File::open(&path).unwrap();
    let file = net.add_file(OpenOptions::new().write(true).open(&path).unwrap().into());
    net.write_file(file, 0, Arc::new(vec![1; 3_000_001]), 0, false).unwrap();
    ended(net, 1);
    assert!(is_cached(&reader), "it is in the page cache only");
    net.sync_file(file).unwrap();
    ended(net, 1);
    // Closing it waits for the pages to be dropped, and nothing else is under way.
    net.close_file(file);
    let started = Instant::now();
    let mut stays = is_cached(&reader);
    while stays && started.elapsed() < Duration::from_secs(2) {
        net.turn(Wait::For(Duration::from_millis(5)), &mut |_| {}).unwrap();
        stays = is_cached(&reader);
    }
    assert_eq!(std::fs::read(&path).unwrap(), [1; 3_000_001]);
    std::fs::remove_file(path).unwrap();
    !stays
}

/// A log does not fill the page cache: what was synced leaves it, what was only written stays.
#[test]
fn what_was_synced_leaves_the_page_cache() {
    for mut net in rings() {
        // The kernel passes over a page that somebody else looks at just then: with one try in some hundreds it does.
        assert!((0..5).any(|_| leaves_the_page_cache(&mut net)), "it is still in the page cache");
    }
}

/// Room is found ahead of a log that is written to a lot, behind the end of the file; not ahead of small writes.
#[test]
fn a_busy_file_has_room_ahead() {
    for mut net in rings() {
        for (len, is_busy) in [(1_000, false), (100_000, true)] {
            let (path, file) = temporary("ahead");
            let id = net.add_file(file.into());
            net.write_file(id, 0, Arc::new(vec![1; len]), 0, false).unwrap();
            ended(&mut net, 1);
            let room = || std::fs::metadata(&path).map(|metadata| metadata.blocks() * 512).unwrap();
            let started = Instant::now();
            while is_busy && room() < 2 << 20 {
                assert!(started.elapsed() < PATIENCE, "no room was found: {} bytes", room());
                net.turn(Wait::For(Duration::from_millis(5)), &mut |_| {}).unwrap();
            }
            net.sync_file(id).unwrap();
            ended(&mut net, 1);
            assert_eq!(std::fs::read(&path).unwrap(), vec![1; len], "it ends where it ended");
            assert_eq!(room() >= 2 << 20, is_busy);
            net.close_file(id);
            std::fs::remove_file(path).unwrap();
        }
    }
}
