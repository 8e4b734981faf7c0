//! Tools of the command line that look at a log of a server that is not running: `torc aof check` and `torc aof dump`.
//!
//! Owns their arguments, their exit codes and how the files become words. Only ever reads, and never serves.

mod check;
mod dump;
#[cfg(test)]
mod tests;
mod top;
mod values;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use torc_commands::{DataSettings, SlotMap};
use torc_persist::seal::Keys;
use torc_persist::store::Directory;

use crate::aof::load::AofLoad;
use crate::encryption::KeyPlaces;

const HELP: &str = "Usage: torc aof check DIR [OPTION]...
       torc aof dump DIR [OPTION]...

  check  says what of the log in DIR a server would load, what it would drop, and why. Exit code: 0 if it would
         load everything, 1 if it would drop something, 2 if it would not start or there is no log.
  dump   writes the data of the log in DIR as commands, for `redis-cli --pipe` of any Redis or Valkey. Keys whose
         time is over are written too: the target drops them. Exit codes as for check; what is dropped is said on
         standard error.

  --key-file FILE      master key of an encrypted log
  --key-env NAME       environment variable with the master key
  --old-key-file FILE  an earlier master key; may be given several times
  --databases N        number of databases (default 16)
  --load-holes         dump: cut the log at damage in what was durable

Both repeat what was logged, and so take the memory of the data. DIR may also be the folder of a Redis or Valkey server. Nothing in
it is changed. The server that writes to it must not be running.
";

/// The exit codes of the tools.
const SOUND: u8 = 0;
const LOSSY: u8 = 1;
const BROKEN: u8 = 2;

/// What the command line asks a tool for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    dir: PathBuf,
    keys: KeyPlaces,
    databases: usize,
    holes: bool,
}

/// Runs a tool if the command line names one; its exit code.
pub fn run(args: &[String]) -> Option<u8> {
    let (first, rest) = args.split_first()?;
    if first == "top" && !Path::new(first).is_file() {
        return Some(top::run(rest));
    }
    // A file of that name is a configuration, as it always was.
    if first != "aof" || (rest.is_empty() && Path::new(first).is_file()) {
        return None;
    }
    Some(run_aof(rest))
}

fn run_aof(args: &[String]) -> u8 {
    type Tool = fn(&Options, &Keys, &mut dyn Write) -> io::Result<u8>;
    let tool: Tool = match args.first().map(String::as_str) {
        Some("check") => |options, keys, out| check::check(options, keys, out),
        Some("dump") => |options, keys, out| dump::dump(options, keys, out),
        Some("--help" | "-h") => {
            print!("{HELP}");
            return SOUND;
        }
        _ => {
            eprint!("{HELP}");
            return BROKEN;
        }
    };
    let prepared = parse(&args[1..])
        .and_then(|options| Ok((options.keys.for_reading().map_err(|error| error.to_string())?, options)));
    let (keys, options) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            eprintln!("torc: {error}");
            return BROKEN;
        }
    };
    let mut out = BufWriter::new(io::stdout().lock());
    match tool(&options, &keys, &mut out).and_then(|code| out.flush().map(|()| code)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("torc: cannot write to standard output: {error}");
            BROKEN
        }
    }
}

fn parse(args: &[String]) -> Result<Options, String> {
    let mut options = Options { databases: 16, ..Options::default() };
    let mut dir = None;
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--key-file" => options.keys.file = Some(PathBuf::from(value()?)),
            "--key-env" => options.keys.env = Some(value()?.clone()),
            "--old-key-file" => options.keys.old_files.push(PathBuf::from(value()?)),
            "--databases" => {
                let number = value()?.parse().ok().filter(|number| (1..=65_536).contains(number));
                options.databases = number.ok_or("--databases takes a number from 1 to 65536")?;
            }
            "--load-holes" => options.holes = true,
            _ if arg.starts_with("--") => return Err(format!("unknown option {arg}")),
            _ if dir.is_some() => return Err("only one directory is taken".to_owned()),
            _ => dir = Some(PathBuf::from(arg)),
        }
    }
    options.dir = dir.ok_or("which directory?")?;
    Ok(options)
}

fn open(options: &Options, keys: &Keys) -> Result<Directory, String> {
    let dir = Directory::existing(&options.dir);
    let dir = dir.map_err(|error| format!("cannot read {}: {error}", options.dir.display()))?;
    Ok(dir.with_keys(keys.clone()))
}

/// What replays the log, as a start does.
fn loader(options: &Options, keys: &Keys) -> AofLoad {
    AofLoad {
        folder: options.dir.clone(),
        keys: keys.clone(),
        settings: DataSettings { databases: options.databases, ..DataSettings::default() },
        slots: Arc::new(SlotMap::even(1)),
        seed: 1,
        tolerates_torn_tail: true,
        checks_sum: true,
        name: redis_name(&options.dir).unwrap_or_default(),
        progress: Arc::default(),
    }
}

/// The first part of the names in a folder of Redis.
fn redis_name(dir: &Path) -> Option<String> {
    let mut names =
        std::fs::read_dir(dir).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.find_map(|name| name.strip_suffix(".manifest").map(str::to_owned))
}
