//! How a command waits for data: BLPOP, BLMOVE, XREAD BLOCK and their like.
//!
//! A handler never waits. When it finds nothing it calls [`Context::wait`](crate::Context::wait) and returns without a
//! reply; the server runs the same request again when one of the keys may have what it looks for, and answers with a null
//! array when its time is up. So a blocking command is its non-blocking form and a few lines more:
//!
//! ```ignore
//! let timeout = timeout_in_seconds(args, last, cx.now_ms)?;
//! // … try; reply and return when something is there …
//! if !cx.wait(Wait::new(1..last, Kind::List, timeout)) {
//!     reply.null_array(); // inside MULTI nobody waits
//! }
//! ```
//!
//! Its command says [`Run::MayWait`](crate::Run::MayWait). Owns the request to wait and the reading of timeouts; never
//! knows who waits or what time it is.

use std::ops::Range;

use torc_datatypes::Kind;
use torc_resp::{Args, CommandError, OwnedArgs};

/// What a command waits for.
pub struct Wait {
    /// The arguments that are the keys to wait for.
    pub keys: Range<usize>,
    /// The command runs again when one of them holds a value of this kind and was changed.
    pub kind: Kind,
    /// It also runs again when one of them is gone or of another kind (XREADGROUP has an error then).
    pub also_gone: bool,
    /// Milliseconds after which the reply is a null array; `None`: never.
    pub timeout_ms: Option<u64>,
    /// The request to run again, when it is not the one that ran (XREAD: `$` stands for an id that is known now).
    pub request: Option<OwnedArgs>,
}

impl Wait {
    pub fn new(keys: Range<usize>, kind: Kind, timeout_ms: Option<u64>) -> Wait {
        Wait { keys, kind, also_gone: false, timeout_ms, request: None }
    }
}

/// Whether a command may wait, and whether it wants to.
pub enum Waiting {
    /// Inside MULTI: a command that finds nothing answers at once.
    Denied,
    Allowed,
    Wanted(Box<Wait>),
}

/// The timeout of BLPOP and its like: seconds, with a fraction; rounded up to milliseconds. `None` is forever.
pub fn timeout_in_seconds(args: Args<'_>, index: usize, now_ms: i64) -> Result<Option<u64>, CommandError> {
    let seconds = args.float(index).map_err(|_| CommandError::InvalidTimeout)?;
    let ms = (seconds * 1000.0).ceil();
    if ms >= i64::MAX as f64 {
        return Err(TIMEOUT_OUT_OF_RANGE);
    }
    timeout(ms as i64, now_ms)
}

/// The timeout of XREAD and XREADGROUP: milliseconds. `None` is forever.
pub fn timeout_in_ms(args: Args<'_>, index: usize, now_ms: i64) -> Result<Option<u64>, CommandError> {
    let ms = args.int(index);
    timeout(ms.map_err(|_| CommandError::Text("ERR timeout is not an integer or out of range"))?, now_ms)
}

const TIMEOUT_OUT_OF_RANGE: CommandError = CommandError::Text("ERR timeout is out of range");

fn timeout(ms: i64, now_ms: i64) -> Result<Option<u64>, CommandError> {
    let ms = u64::try_from(ms).map_err(|_| CommandError::NegativeTimeout)?;
    if ms > (i64::MAX - now_ms) as u64 {
        return Err(TIMEOUT_OUT_OF_RANGE);
    }
    Ok((ms > 0).then_some(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;

    #[test]
    fn timeouts_are_read_to_the_millisecond() {
        let seconds = |text: &str| {
            let args: OwnedArgs = [text].into_iter().collect();
            timeout_in_seconds(args.as_args(), 0, NOW_MS).map_err(|error| error.to_string())
        };
        for (text, ms) in [
            ("0", None),
            ("0.0", None),
            ("-0", None),
            ("1", Some(1000)),
            ("0.001", Some(1)),
            ("0.0001", Some(1)),
            ("2.5", Some(2500)),
            ("1e2", Some(100_000)),
            ("0x10", Some(16_000)),
            ("+0XfF", Some(255_000)),
            ("9000000000000000", Some(9_000_000_000_000_000_000)),
        ] {
            assert_eq!(seconds(text), Ok(ms), "{text}");
        }
        for (text, error) in [
            ("x", "ERR timeout is not a float or out of range"),
            ("", "ERR timeout is not a float or out of range"),
            ("nan", "ERR timeout is not a float or out of range"),
            ("-1", "ERR timeout is negative"),
            ("-0x1", "ERR timeout is negative"),
            ("0x", "ERR timeout is not a float or out of range"),
            ("0xg", "ERR timeout is not a float or out of range"),
            ("0x7FFFFFFFFFFFFF", "ERR timeout is out of range"),
            ("-0.001", "ERR timeout is negative"),
            ("9223372036854776", "ERR timeout is out of range"),
            ("9223370336854776", "ERR timeout is out of range"),
            ("inf", "ERR timeout is out of range"),
        ] {
            assert_eq!(seconds(text), Err(error.to_owned()), "{text}");
        }
        let ms = |text: &str| {
            let args: OwnedArgs = [text].into_iter().collect();
            timeout_in_ms(args.as_args(), 0, NOW_MS).map_err(|error| error.to_string())
        };
        assert_eq!(ms("0"), Ok(None));
        assert_eq!(ms("15"), Ok(Some(15)));
        assert_eq!(ms("-1"), Err("ERR timeout is negative".into()));
        assert_eq!(ms("1.5"), Err("ERR timeout is not an integer or out of range".into()));
        assert_eq!(ms("9223372036854775807"), Err("ERR timeout is out of range".into()));
    }
}
