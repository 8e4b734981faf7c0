//! `torc aof check`: what a server would make of a log.

use std::fs::File;
use std::io::{self, Write};

use torc_commands::DataSettings;
use torc_persist::load::{self, GenerationPlan, LogPlan, Plan, Tolerance};
use torc_persist::rdb::{FileReader, Item};
use torc_persist::redis_aof::RedisLog;
use torc_persist::seal::Keys;
use torc_persist::store::Directory;

use crate::aof::load::LoadedAof;

use super::{BROKEN, LOSSY, Options, SOUND, loader, open};

/// Tells what is wrong, and an exit code.
pub(super) fn check(options: &Options, keys: &Keys, out: &mut dyn Write) -> io::Result<u8> {
    let dir = match open(options, keys) {
        Ok(dir) => dir,
        Err(error) => {
            writeln!(out, "{error}")?;
            return Ok(BROKEN);
        }
    };
    let plan = match load::plan(&dir, Tolerance { torn_tail: true, hole: false }) {
        Ok(Some(plan)) => plan,
        Ok(None) => return check_redis(options, keys, out),
        Err(error) => {
            writeln!(out, "the log cannot be loaded: {error}")?;
            // What is left if the damage is passed over.
            if let Ok(Some(plan)) = load::plan(&dir, Tolerance { torn_tail: true, hole: true }) {
                writeln!(out, "if the log were cut there:")?;
                report(&dir, &plan, out)?;
            }
            return Ok(BROKEN);
        }
    };
    let code = report(&dir, &plan, out)?;
    // What is whole may still be what no server could repeat.
    let code = match loader(options, keys).run(&dir, &plan) {
        Ok(loaded) => {
            writeln!(out, "what counts leads to {} keys", loaded.keys)?;
            code
        }
        Err(error) => {
            writeln!(out, "the log cannot be loaded: {error}")?;
            return Ok(BROKEN);
        }
    };
    tell_verdict(code, out)
}

/// The folder holds no log of torc: perhaps one of Redis or Valkey.
fn check_redis(options: &Options, keys: &Keys, out: &mut dyn Write) -> io::Result<u8> {
    let loader = loader(options, keys);
    if let Ok(Some(log)) = RedisLog::find(&options.dir, &loader.name) {
        writeln!(out, "a log of Redis or Valkey: {}", log.files().join(", "))?;
    }
    let loaded = match loader.load_of_redis() {
        Ok(Some(loaded)) => loaded,
        Ok(None) => {
            writeln!(out, "there is no log in {}", options.dir.display())?;
            return Ok(BROKEN);
        }
        Err(error) => {
            writeln!(out, "the log cannot be loaded: {error}")?;
            return Ok(BROKEN);
        }
    };
    let LoadedAof { effects, keys, functions, left_out, .. } = loaded;
    writeln!(
        out,
        "  {effects} commands, which lead to {keys} keys; {} libraries of functions",
        functions.len()
    )?;
    left_out.iter().try_for_each(|what| writeln!(out, "    dropped: {what}"))?;
    tell_verdict(if left_out.is_empty() { SOUND } else { LOSSY }, out)
}

fn tell_verdict(code: u8, out: &mut dyn Write) -> io::Result<u8> {
    let verdict = match code {
        SOUND => "the log is sound",
        LOSSY => "the log can be loaded, but something at its end would be dropped",
        _ => "the log cannot be loaded",
    };
    writeln!(out, "{verdict}")?;
    Ok(code)
}

fn report(dir: &Directory, plan: &Plan, out: &mut dyn Write) -> io::Result<u8> {
    let mut code = SOUND;
    for generation in &plan.generations {
        let GenerationPlan { number, shards, bases, logs, .. } = generation;
        writeln!(out, "generation {number}: {shards} shards")?;
        for base in bases {
            match keys_of(dir, base) {
                Ok(keys) => writeln!(out, "  base {base}: {keys} keys")?,
                Err(error) => {
                    writeln!(out, "  base: {error}")?;
                    code = BROKEN;
                }
            }
        }
        for (shard, log) in logs.iter().enumerate() {
            code = code.max(report_log(dir, shard, log, out)?);
        }
    }
    Ok(code)
}

fn report_log(dir: &Directory, shard: usize, log: &LogPlan, out: &mut dyn Write) -> io::Result<u8> {
    let mut code = SOUND;
    let mut effects = 0u64;
    for file in &log.files {
        if let Err(error) = load::replay(dir, log, file, |_| effects += 1) {
            writeln!(out, "  {error}")?;
            code = BROKEN;
        }
    }
    let records = log.records();
    let files = log.files.len();
    writeln!(out, "  shard {shard}: {records} records with {effects} effects in {files} files")?;
    for file in &log.files {
        writeln!(out, "    {}: records {} to {}", file.name, file.from, file.end.saturating_sub(1))?;
    }
    log.left_out.iter().try_for_each(|what| writeln!(out, "    dropped: {what}"))?;
    Ok(if log.left_out.is_empty() { code } else { code.max(LOSSY) })
}

/// Reads a base through.
fn keys_of(dir: &Directory, base: &str) -> Result<u64, String> {
    let file = File::open(dir.path_of(base)).map_err(|error| format!("{base} cannot be opened: {error}"))?;
    let limits = DataSettings::default().encodings.rdb_limits();
    let keys = torc_persist::store::Store::keys(dir);
    let mut reader =
        FileReader::open_with(file, base, limits, true, keys).map_err(|error| error.to_string())?;
    let mut count = 0;
    while let Some(item) = reader.next_item().map_err(|error| error.to_string())? {
        count += u64::from(matches!(item, Item::Key(_)));
    }
    Ok(count)
}
