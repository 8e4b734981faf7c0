//! Replaying all transcripts against one kind of server.

use torc_tests::transcript::{self, Failure, Protocol, Transcript, play};
use torc_tests::{Kind, Launch, PATIENCE, Server, wait_until};

/// Panics with every difference found.
pub(crate) fn replay_all(kind: &Kind, protocol: Protocol) {
    replay_all_on(&Launch::of(kind.clone()), kind, protocol, |_| None);
}

/// The same on servers that are started so; after each file its server is looked at once more.
pub(crate) fn replay_all_on(
    launch: &Launch,
    kind: &Kind,
    protocol: Protocol,
    mut after: impl FnMut(&Server) -> Option<String>,
) {
    let mut shared: Option<Server> = None;
    let mut failures: Vec<String> = Vec::new();
    let mut files = 0;
    for transcript in transcript::load_all() {
        if !transcript.speaks(protocol) || is_excused(&transcript, kind) {
            continue;
        }
        files += 1;
        let settings = transcript.head.settings.iter();
        let is_shared = transcript.head.settings.is_empty();
        let mut server = shared.take().filter(|_| is_shared).unwrap_or_else(|| {
            settings.fold(launch.clone(), |launch, (name, value)| launch.setting(name, value)).start()
        });
        if is_shared {
            clear(&server);
        }
        failures.extend(play(&transcript, &server, protocol).iter().map(Failure::to_string));
        // A transcript may end its server.
        if server.is_running() {
            failures.extend(after(&server).map(|what| format!("{}: {what}", transcript.name)));
            shared = is_shared.then_some(server);
        }
    }
    println!("{files} transcripts replayed against {kind:?} in {protocol:?}");
    assert!(
        failures.is_empty(),
        "{} differences of {kind:?} in {protocol:?}:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// Nothing is left of the transcript before: a busy server hears late of connections that are closed.
fn clear(server: &Server) {
    let mut client = server.client();
    let mut is_alone = || client.info("clients", "connected_clients").as_deref() == Some("1");
    assert!(wait_until(PATIENCE, &mut is_alone), "{}", client.text("CLIENT LIST"));
    client.cmd("FLUSHALL");
    client.cmd("QUIT");
    assert!(client.closed_within(PATIENCE));
}

/// Whether the whole file is marked as different from this server.
fn is_excused(transcript: &Transcript, kind: &Kind) -> bool {
    match (kind, &transcript.head.mark) {
        (Kind::Reference { version, .. }, Some(mark)) => mark.excuses(*version),
        _ => false,
    }
}
