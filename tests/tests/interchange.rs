//! Values move between torc and the real servers: what one wrote, the other reads, byte for byte where the format is
//! one and the same. Skipped where there is no reference server.

use torc_resp::Value;
use torc_tests::{Client, Launch, Server, reference_or_skip};

/// A reference server and torc, with a client each.
struct Pair {
    _servers: [Server; 2],
    reference: Client,
    torc: Client,
}

impl Pair {
    fn start(what: &str) -> Option<Pair> {
        let kind = reference_or_skip(what)?;
        let servers = [Launch::of(kind).start(), Server::torc(2)];
        let [reference, torc] = [servers[0].client(), servers[1].client()];
        Some(Pair { _servers: servers, reference, torc })
    }

    /// The same request to both servers; the replies must be the same.
    fn both(&mut self, args: &[impl AsRef<[u8]>]) -> Value {
        let [expected, found] = [self.reference.call(args), self.torc.call(args)];
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(args[0].as_ref()));
        expected
    }
}

/// Sparse, promoted, dense and merged HyperLogLogs have the bytes of the reference at every step.
#[test]
fn hyperloglogs_have_the_same_bytes() {
    let Some(mut pair) = Pair::start("HyperLogLogs of the reference") else { return };
    let mut next = 0u64;
    for (key, step) in [("few", 7), ("some", 60), ("many", 700)] {
        for _ in 0..40 {
            let mut add: Vec<String> = vec!["PFADD".into(), key.into()];
            add.extend((next..next + step).map(|number| format!("element:{}", number * number)));
            next += step - step / 4;
            pair.both(&add);
            pair.both(&["GET", key]);
            pair.both(&["PFCOUNT", key]);
            pair.both(&["GET", key]);
            pair.both(&["PFMERGE", "all", key]);
            pair.both(&["GET", "all"]);
        }
    }
    pair.both(&["PFCOUNT", "few", "some", "many"]);
    pair.both(&["PFMERGE", "few", "some"]);
    pair.both(&["GET", "few"]);
    pair.both(&["PFDEBUG", "GETREG", "some"]);
}
