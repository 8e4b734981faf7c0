//! The file seam: what the log asks of the directory it lives in, apart from appending, which goes through the ring.
//!
//! Owns the trait and its implementation by the standard library. Calls block, so they belong to start-up and to threads
//! beside the shards. Tests put a simulated disk behind the same trait.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::counted::Counted;
use crate::seal::Keys;

/// Bytes of a removed file that are freed at once: about 100 µs.
const FREED_BYTES: u64 = 2 << 20;

/// One directory of files. Nothing is durable before it was synced: the content of a file by [`Store::sync`], its name
/// by [`Store::sync_directory`].
pub trait Store {
    fn list(&self) -> io::Result<Vec<String>>;
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Opens a file to read it through.
    fn open_file(&self, name: &str) -> io::Result<impl Read>;
    /// Makes a new file with this content.
    fn create(&mut self, name: &str, content: &[u8]) -> io::Result<()>;
    fn sync(&mut self, name: &str) -> io::Result<()>;
    fn sync_directory(&mut self) -> io::Result<()>;
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// Cuts a file behind its first `len` bytes.
    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()>;

    /// The keys of sealed files. The bytes that go through this trait are those on the disk.
    fn keys(&self) -> &Keys {
        Keys::none()
    }
}

/// A directory of the file system.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
    keys: Keys,
    /// Bytes that were read of files that were opened to be read through.
    read_bytes: Arc<AtomicU64>,
}

impl Directory {
    /// The directory, made if it is not there (its parent must be).
    pub fn open(path: &Path) -> io::Result<Directory> {
        match fs::create_dir(path) {
            Ok(()) => File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        Ok(Directory { path: path.to_owned(), keys: Keys::default(), read_bytes: Arc::default() })
    }

    /// For reading: the directory must be there, and nothing is made.
    pub fn existing(path: &Path) -> io::Result<Directory> {
        fs::read_dir(path)?;
        Ok(Directory { path: path.to_owned(), keys: Keys::default(), read_bytes: Arc::default() })
    }

    /// Sealed files of this directory are read with these keys.
    pub fn with_keys(mut self, keys: Keys) -> Directory {
        self.keys = keys;
        self
    }

    /// What is read of files that are read through is added to `read_bytes`.
    pub fn counting(mut self, read_bytes: &Arc<AtomicU64>) -> Directory {
        self.read_bytes = Arc::clone(read_bytes);
        self
    }

    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// Frees the content of a file that has lost its last name. At once that would keep a core for as long as it takes, which
/// a shard may need.
fn free_bit_by_bit(file: &File) -> io::Result<()> {
    let metadata = file.metadata()?;
    if metadata.nlink() > 0 {
        return Ok(());
    }
    let mut len = metadata.len();
    while len > 0 {
        len = len.saturating_sub(FREED_BYTES);
        file.set_len(len)?;
        std::thread::yield_now();
    }
    Ok(())
}

impl Store for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        Ok(names.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path_of(name))
    }

    fn open_file(&self, name: &str) -> io::Result<impl Read> {
        Ok(Counted::new(File::open(self.path_of(name))?, &self.read_bytes))
    }

    fn create(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        OpenOptions::new().write(true).create_new(true).open(self.path_of(name))?.write_all(content)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        File::open(self.path_of(name))?.sync_all()
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path_of(from), self.path_of(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let path = self.path_of(name);
        let open = OpenOptions::new().write(true).open(&path);
        fs::remove_file(&path)?;
        // What can't be freed bit by bit goes at once.
        let _ = open.and_then(|file| free_bit_by_bit(&file));
        Ok(())
    }

    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.path_of(name))?.set_len(len)
    }

    fn keys(&self) -> &Keys {
        &self.keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has another name stays whole: a backup may be made of links.
    #[test]
    fn a_removed_file_is_freed_unless_it_has_another_name() {
        let path = std::env::temp_dir().join(format!("torc-store-{}", std::process::id()));
        let mut directory = Directory::open(&path).expect("it can be made");
        let content = vec![7; FREED_BYTES as usize * 2 + 5];
        for name in ["alone", "linked"] {
            directory.create(name, &content).expect("there is room");
        }
        let (alone, link) = (File::open(directory.path_of("alone")), directory.path_of("link"));
        fs::hard_link(directory.path_of("linked"), &link).expect("it can be linked");
        directory.remove("alone").expect("it is there");
        directory.remove("linked").expect("it is there");
        assert_eq!(alone.and_then(|file| file.metadata()).expect("it is open").len(), 0);
        assert!(fs::read(&link).expect("it is there") == content);
        assert_eq!(directory.list().expect("it is there"), ["link"]);
        fs::remove_dir_all(&path).expect("it is there");
    }
}
