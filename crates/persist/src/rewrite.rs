//! The steps by which a log gets a new generation, and by which a base takes the place of what came before it.
//!
//! Owns the order of writes and syncs around the manifest. After an error or a crash between any two steps, the manifest on
//! the disk names only files that are there and whole, and tells either the state of before or that of after. Never writes
//! a base, and never touches a segment that is written to.

use std::io;

use crate::manifest::{Generation, Manifest};
use crate::store::Store;

/// Makes the segments that a generation lists, each with its first bytes. No manifest may ever have listed their names: what
/// a crash has left under them is removed. Durable, and not in force before [`append`] or [`take_over`].
pub fn prepare<'h>(
    store: &mut impl Store,
    generation: &Generation,
    headers: impl IntoIterator<Item = &'h [u8]>,
) -> io::Result<()> {
    for (segment, header) in generation.segments.iter().zip(headers) {
        make_file(store, &segment.name, header)?;
    }
    store.sync_directory()
}

/// Makes a file with this content, durable but for its name, which no manifest may ever have listed: what a crash has left
/// under it is removed.
pub fn make_file(store: &mut impl Store, name: &str, content: &[u8]) -> io::Result<()> {
    match store.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    store.create(name, content)?;
    store.sync(name)
}

/// A prepared generation follows what is there. Its segments may be written to from now on.
pub fn append(store: &mut impl Store, manifest: &mut Manifest, generation: Generation) -> io::Result<()> {
    let mut next = manifest.clone();
    next.generations.push(generation);
    next.publish(store)?;
    *manifest = next;
    Ok(())
}

/// A base, which is there and durable, holds the data as they were when this generation began: nothing before it is needed
/// any more. `generation` is what to list if the manifest does not do so yet. Files that are no longer needed are removed; one
/// that cannot be removed stays, and is in nobody's way.
pub fn take_over(
    store: &mut impl Store,
    manifest: &mut Manifest,
    generation: Generation,
    base: String,
) -> io::Result<()> {
    // The base's name must be there when the manifest names it.
    store.sync_directory()?;
    let mut next = manifest.clone();
    next.generations.retain(|one| one.number >= generation.number);
    if next.generations.first().is_none_or(|first| first.number != generation.number) {
        next.generations.insert(0, generation);
    }
    next.generations[0].bases = vec![base];
    next.generations[0].continues = false;
    next.publish(store)?;
    let old = std::mem::replace(manifest, next);
    let needed: Vec<&str> = manifest.files().collect();
    for name in old.files().filter(|name| !needed.contains(name)) {
        let _ = store.remove(name);
    }
    Ok(())
}

/// Removes what crashes and failed tries have left of older generations: files named `<prefix><generation>.…`. Only when a base
/// has taken over for this generation.
pub fn remove_older(store: &mut impl Store, prefix: &str, generation: u64) -> io::Result<()> {
    for name in store.list()? {
        let Some(rest) = name.strip_prefix(prefix) else { continue };
        let number = rest.split('.').next().and_then(|number| number.parse::<u64>().ok());
        if number.is_some_and(|number| number < generation) {
            store.remove(&name)?;
        }
    }
    store.sync_directory()
}
