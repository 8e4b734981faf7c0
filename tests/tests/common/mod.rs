//! Replaying all transcripts against one kind of server.

use torc_tests::transcript::{self, Failure, Protocol, Transcript, play};
use torc_tests::{Kind, Launch, Server};

/// Panics with every difference found.
pub(crate) fn replay_all(kind: &Kind, protocol: Protocol) {
    let mut shared: Option<Server> = None;
    let mut failures: Vec<Failure> = Vec::new();
    let mut files = 0;
    for transcript in transcript::load_all() {
        if !transcript.speaks(protocol) || is_excused(&transcript, kind) {
            continue;
        }
        files += 1;
        if transcript.head.settings.is_empty() {
            let mut server = shared.take().unwrap_or_else(|| Launch::of(kind.clone()).start());
            server.client().cmd("FLUSHALL");
            failures.extend(play(&transcript, &server, protocol));
            // A transcript may end its server.
            shared = server.is_running().then_some(server);
        } else {
            let settings = transcript.head.settings.iter();
            let launch =
                settings.fold(Launch::of(kind.clone()), |launch, (name, value)| launch.setting(name, value));
            failures.extend(play(&transcript, &launch.start(), protocol));
        }
    }
    println!("{files} transcripts replayed against {kind:?} in {protocol:?}");
    let shown: Vec<String> = failures.iter().map(Failure::to_string).collect();
    assert!(
        failures.is_empty(),
        "{} differences of {kind:?} in {protocol:?}:\n{}",
        shown.len(),
        shown.join("\n")
    );
}

/// Whether the whole file is marked as different from this server.
fn is_excused(transcript: &Transcript, kind: &Kind) -> bool {
    match (kind, &transcript.head.mark) {
        (Kind::Reference { version, .. }, Some(mark)) => mark.excuses(*version),
        _ => false,
    }
}
