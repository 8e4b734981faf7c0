//! `torc aof check`: what a server would make of a log.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::AtomicU64;

use torc_commands::DataSettings;
use torc_persist::load::{self, GenerationPlan, LogPlan, Plan, Tolerance};
use torc_persist::rdb::{FileReader, Item};
use torc_persist::redis_aof::{Reading, RedisLog};
use torc_persist::seal::Keys;
use torc_persist::store::Directory;

use super::{BROKEN, LOSSY, Options, SOUND, open};

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
        Ok(None) => return check_redis(options, out),
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
    let verdict = match code {
        SOUND => "the log is sound",
        LOSSY => "the log can be loaded, but something at its end would be dropped",
        _ => "the log cannot be loaded",
    };
    writeln!(out, "{verdict}")?;
    Ok(code)
}

/// The folder holds no log of torc: perhaps one of Redis or Valkey.
fn check_redis(options: &Options, out: &mut dyn Write) -> io::Result<u8> {
    let found = match redis_name(&options.dir).map(|name| RedisLog::find(&options.dir, &name)).transpose() {
        Ok(found) => found.flatten(),
        Err(error) => {
            writeln!(out, "the log cannot be loaded: {error}")?;
            return Ok(BROKEN);
        }
    };
    let Some(log) = found else {
        writeln!(out, "there is no log in {}", options.dir.display())?;
        return Ok(BROKEN);
    };
    writeln!(out, "a log of Redis or Valkey: {}", log.files().join(", "))?;
    let limits = DataSettings::default().encodings.rdb_limits();
    let (limits, read_bytes) = (&limits, &AtomicU64::new(0));
    let reading = Reading { limits, checks_sum: true, torn_tail: true, read_bytes };
    let summary = match log.read(reading, |_| Ok(())) {
        Ok(summary) => summary,
        Err(error) => {
            writeln!(out, "the log cannot be loaded: {error}")?;
            return Ok(BROKEN);
        }
    };
    writeln!(out, "  {} keys of a snapshot, {} commands", summary.keys, summary.commands)?;
    let Some(torn) = &summary.torn else {
        writeln!(out, "the log is sound")?;
        return Ok(SOUND);
    };
    writeln!(out, "    dropped: {torn}")?;
    writeln!(out, "the log can be loaded, but something at its end would be dropped")?;
    Ok(LOSSY)
}

/// The first part of the names in a folder of Redis.
pub(super) fn redis_name(dir: &Path) -> Option<String> {
    let mut names =
        std::fs::read_dir(dir).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.find_map(|name| name.strip_suffix(".manifest").map(str::to_owned))
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
