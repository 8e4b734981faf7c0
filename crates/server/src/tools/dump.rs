//! `torc aof dump`: the data of a log as commands.

use std::io::{self, Write};

use torc_commands::REPLAY_MS;
use torc_keyspace::Changes;
use torc_persist::load::{self, Tolerance};
use torc_persist::seal::Keys;
use torc_resp::encode_command;

use crate::aof::load::LoadedAof;

use super::{BROKEN, LOSSY, Options, SOUND, loader, open, values};

/// Bytes that are gathered before they are written.
const BATCH_BYTES: usize = 256 * 1024;

/// Writes the commands; what cannot be read is said on standard error, and then nothing is written.
pub(super) fn dump(options: &Options, keys: &Keys, out: &mut dyn Write) -> io::Result<u8> {
    let (loaded, code) = match replay(options, keys) {
        Ok(found) => found,
        Err(error) => {
            eprintln!("torc: {error}");
            return Ok(BROKEN);
        }
    };
    let mut bytes = Vec::new();
    for source in &loaded.functions {
        encode_command(&[b"FUNCTION", b"LOAD", b"REPLACE", source], &mut bytes);
    }
    let mut keyspaces = loaded.keyspaces;
    for db in 0..options.databases {
        if keyspaces.iter().all(|keyspace| keyspace.is_empty(db)) {
            continue;
        }
        encode_command(&[b"SELECT", db.to_string().as_bytes()], &mut bytes);
        for keyspace in &mut keyspaces {
            let mut outcome = Ok(());
            keyspace.for_each(db, REPLAY_MS, &mut Changes::default(), |entry| {
                values::write_commands(entry, &mut bytes);
                if bytes.len() >= BATCH_BYTES && outcome.is_ok() {
                    outcome = out.write_all(&bytes);
                    bytes.clear();
                }
            });
            outcome?;
        }
    }
    out.write_all(&bytes)?;
    Ok(code)
}

fn replay(options: &Options, keys: &Keys) -> Result<(LoadedAof, u8), String> {
    let dir = open(options, keys)?;
    let tolerance = Tolerance { torn_tail: true, hole: options.holes };
    let loader = loader(options, keys);
    let missing = || format!("there is no log in {}", options.dir.display());
    let Some(plan) = load::plan(&dir, tolerance).map_err(|error| error.to_string())? else {
        let loaded = loader.load_of_redis().map_err(|error| error.to_string())?.ok_or_else(missing)?;
        return Ok(with_code(loaded));
    };
    loader.run(&dir, &plan).map(with_code).map_err(|error| error.to_string())
}

/// Says on standard error what of the log is not in the dump, and gives the exit code that belongs to it.
fn with_code(loaded: LoadedAof) -> (LoadedAof, u8) {
    loaded.left_out.iter().for_each(|what| eprintln!("torc: dropped: {what}"));
    let code = if loaded.left_out.is_empty() { SOUND } else { LOSSY };
    (loaded, code)
}
