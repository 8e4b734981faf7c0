//! Where the `torc` binary under test is, and that it is fresh. Never starts it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// `TORC_BIN`, or the binary of the same target folder and profile as this test, built first if it is stale.
///
/// `cargo test` builds a package's binaries only for that package's own integration tests, so the harness asks cargo
/// itself, once per test process; when nothing changed that takes a fraction of a second.
pub fn torc_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("TORC_BIN") {
        Some(path) => {
            let path = PathBuf::from(path);
            assert!(path.is_file(), "TORC_BIN names no file: {}", path.display());
            path
        }
        None => build(),
    })
}

/// The folder of the workspace's manifest.
pub fn workspace_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace")
}

fn build() -> PathBuf {
    let profile_dir = profile_dir();
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--package", "torc-server", "--bin", "torc", "--profile", profile])
        .arg("--manifest-path")
        .arg(workspace_root().join("Cargo.toml"))
        .arg("--target-dir")
        .arg(profile_dir.parent().expect("a profile's folder lies in the target folder"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "the server does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    profile_dir.join("torc")
}

/// `target/debug` for a test that runs as `target/debug/deps/name-hash`, or a binary as `target/debug/name`.
fn profile_dir() -> PathBuf {
    let exe = std::env::current_exe().expect("a running program has a path");
    let dir = exe.parent().expect("a program lies in a folder");
    let dir = if dir.ends_with("deps") { dir.parent().expect("deps lies in a profile") } else { dir };
    dir.to_path_buf()
}
