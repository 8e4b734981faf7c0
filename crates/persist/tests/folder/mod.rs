//! Folders of logs on the real disk, plain and sealed: shared by the tests that write into them. Goes when it is dropped.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use torc_persist::seal::{Algorithm, Keys, MasterKey};
use torc_persist::store::Directory;

pub(crate) struct Folder(PathBuf, Keys);

impl Folder {
    pub(crate) fn new(keys: &Keys) -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("torc-folder-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("the name is free");
        Folder(path, keys.clone())
    }

    pub(crate) fn store(&self) -> Directory {
        Directory::open(&self.0).expect("it is there").with_keys(self.1.clone())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Keys that do not seal, and keys that do.
pub(crate) fn variants() -> [Keys; 2] {
    let master = MasterKey::parse(&[1; 32]).expect("a key");
    [Keys::default(), Keys::new(Algorithm::Aes256Gcm, master, Vec::new())]
}
