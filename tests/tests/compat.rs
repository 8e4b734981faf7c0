//! Replays the transcripts against the real server, so that what they expect is what clients know.
//!
//! A reply may differ only where the transcript marks it, and every mark names a line of docs/differences.md.

mod common;

use std::collections::BTreeSet;

use common::replay_all;
use torc_tests::transcript::{self, Protocol};
use torc_tests::{reference_or_skip, workspace_root};

#[test]
fn reference_resp2() {
    if let Some(kind) = reference_or_skip("transcripts against the reference in RESP2") {
        replay_all(&kind, Protocol::Resp2);
    }
}

#[test]
fn reference_resp3() {
    if let Some(kind) = reference_or_skip("transcripts against the reference in RESP3") {
        replay_all(&kind, Protocol::Resp3);
    }
}

/// The page names each difference in backticks at the start of a table row or of a list item.
#[test]
fn every_mark_is_documented() {
    let page =
        std::fs::read_to_string(workspace_root().join("docs/differences.md")).expect("the page exists");
    let documented: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `").or(line.strip_prefix("- `"))?.split('`').next())
        .collect();
    let mut missing = BTreeSet::new();
    for transcript in transcript::load_all() {
        for mark in transcript.marks().filter(|mark| !documented.contains(mark.difference.as_str())) {
            missing.insert(format!("{}:{}: {}", transcript.name, mark.line, mark.difference));
        }
    }
    let missing: Vec<String> = missing.into_iter().collect();
    assert!(missing.is_empty(), "marks without a line in docs/differences.md:\n{}", missing.join("\n"));
}
