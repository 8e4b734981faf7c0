//! The comparison tool works: its arithmetic, and one short run of every kind of measurement against this build.
//!
//! What it measures here means nothing; `bench/README.md` says how to measure.

use std::process::{Command, Output};

use torc_tests::{scratch_dir, torc_binary, workspace_root};

/// One scenario per generator and kind of probe; the whole takes some ten seconds.
const SCENARIOS: &str = "get-p1,zipf-p16,forward-get-p16,idle,memory,growth";

#[test]
fn arithmetic_of_the_comparison() {
    let Some(mut python) = python_or_skip() else { return };
    let output = python.args(["-B", "-m", "unittest", "discover", "-s", "bench", "-t", "bench"]).output();
    succeeded(&output.expect("python3 runs"));
}

#[test]
fn quick_comparison_runs() {
    let Some(mut python) = python_or_skip() else { return };
    let results = scratch_dir("compare");
    let target = torc_binary().ancestors().nth(2).expect("the binary lies in a profile of the target folder");
    if std::env::var_os("TORC_BIN").is_none() {
        python.env("CARGO_TARGET_DIR", target);
    }
    python.args(["bench/compare", "--quick", "--servers", "torc", "--scenario", SCENARIOS]);
    let output = python.arg("--torc").arg(torc_binary()).arg("--out").arg(&results).output();
    let output = output.expect("python3 runs");
    let files: Vec<String> = std::fs::read_dir(&results)
        .map(|entries| {
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        })
        .unwrap_or_default();
    let _ = std::fs::remove_dir_all(&results);
    succeeded(&output);
    for extension in [".json", ".md"] {
        assert!(files.iter().any(|file| file.ends_with(extension)), "no {extension} among {files:?}");
    }
}

fn python_or_skip() -> Option<Command> {
    let mut python = Command::new("python3");
    python.current_dir(workspace_root());
    if Command::new("python3").arg("--version").output().is_ok() {
        return Some(python);
    }
    assert!(std::env::var_os("CI").is_none(), "python3 is missing in CI");
    eprintln!("skipped: python3 is not installed");
    None
}

fn succeeded(output: &Output) {
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
