//! `torc top`: a view of a running server that refreshes, 80 columns wide.
//!
//! Owns the command's arguments and its loop; what is asked is in `sample`, the layout in `view`, the terminal in `screen`.
//! Talks to the server as any client does, so it shows what the protocol shows.

mod sample;
mod screen;
mod view;

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use sample::Client;
use screen::{Screen, Wish};
use view::view;

const HELP: &str = "Usage: torc top [OPTION]...

Shows what a running server does, and refreshes until it is interrupted or q is pressed.

  -h HOST        server (default 127.0.0.1)
  -p PORT        port (default 6379)
  -a PASSWORD    password; better in the environment variable TORC_PASSWORD
  -i SECONDS     time between views (default 1)
  -n COUNT       end after so many views
  --help         print this and exit
";

#[derive(Debug, PartialEq)]
struct Options {
    host: String,
    port: u16,
    password: Option<String>,
    interval: Duration,
    count: Option<u64>,
}

pub(super) fn run(args: &[String]) -> u8 {
    if args.iter().any(|arg| arg == "--help") {
        print!("{HELP}");
        return 0;
    }
    let outcome = parse(args, std::env::var("TORC_PASSWORD").ok())
        .map_err(|problem| format!("{problem}\n{HELP}"))
        .and_then(|options| {
            watch(&options).map_err(|error| format!("{}:{}: {error}\n", options.host, options.port))
        });
    match outcome {
        Ok(()) => 0,
        Err(problem) => {
            eprint!("torc top: {problem}");
            1
        }
    }
}

fn parse(args: &[String], password: Option<String>) -> Result<Options, String> {
    let mut options = Options {
        host: "127.0.0.1".into(),
        port: 6379,
        password,
        interval: Duration::from_secs(1),
        count: None,
    };
    let mut args = args.iter();
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        let wrong = || format!("{name} cannot be {value}");
        match name.as_str() {
            "-h" => options.host = value.clone(),
            "-p" => options.port = value.parse().map_err(|_| wrong())?,
            "-a" => options.password = Some(value.clone()),
            "-n" => options.count = Some(value.parse().map_err(|_| wrong())?),
            "-i" => {
                let seconds: f64 = value.parse().map_err(|_| wrong())?;
                options.interval = Duration::try_from_secs_f64(seconds)
                    .ok()
                    .filter(|time| !time.is_zero())
                    .ok_or_else(wrong)?;
            }
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(options)
}

fn watch(options: &Options) -> io::Result<()> {
    let mut client = Client::connect(options)?;
    let place = format!("{}:{}", options.host, options.port);
    let mut before = client.sample()?;
    // A single view is for a file, a pipe, or to stay in the terminal's history.
    let mut screen = if options.count == Some(1) { None } else { Screen::open()? };
    let mut shown = 0;
    while options.count.is_none_or(|count| shown < count) {
        let wish = match &mut screen {
            Some(screen) => screen.wait(options.interval)?,
            None => {
                thread::sleep(options.interval);
                Wish::Refresh
            }
        };
        if wish == Wish::Quit {
            break;
        }
        let now = client.sample()?;
        match &mut screen {
            Some(screen) => screen.show(|rows| view(&place, &before, &now, Some(rows)))?,
            None => io::stdout().write_all(view(&place, &before, &now, None).as_bytes())?,
        }
        before = now;
        shown += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let words = |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
        let options = parse(&words("-h db -p 7000 -i 0.5 -n 3"), Some("pw".into())).unwrap();
        assert_eq!((options.host.as_str(), options.port, options.count), ("db", 7000, Some(3)));
        assert_eq!(options.interval, Duration::from_millis(500));
        assert_eq!(options.password.as_deref(), Some("pw"));
        for line in ["-p x", "-p", "-i 0", "-i -1", "--what 1"] {
            assert!(parse(&words(line), None).is_err(), "{line}");
        }
    }
}
