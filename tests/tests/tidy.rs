//! The repository's own rules, as tests: each says what to do about it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use torc_tests::workspace_root;

/// What a crate may depend on inside the workspace: `docs/architecture.md`, "Crates and arrows".
const ARROWS: &[(&str, &[&str])] = &[
    ("torc-resp", &[]),
    ("torc-datatypes", &[]),
    ("torc-runtime", &[]),
    ("torc-keyspace", &["torc-datatypes"]),
    ("torc-commands", &["torc-resp", "torc-datatypes", "torc-keyspace"]),
    ("torc-persist", &["torc-resp", "torc-datatypes", "torc-keyspace", "torc-runtime"]),
    ("torc-replication", &["torc-resp", "torc-persist", "torc-runtime"]),
    (
        "torc-server",
        &[
            "torc-resp",
            "torc-datatypes",
            "torc-runtime",
            "torc-keyspace",
            "torc-commands",
            "torc-persist",
            "torc-replication",
        ],
    ),
    ("torc-bench", &["torc-resp"]),
    ("torc-tests", &["torc-resp", "torc-server"]),
];

/// Crates outside of the workspace that only one of ours may name.
const OWNED_DEPENDENCIES: &[(&str, &str)] =
    &[("glommio", "torc-runtime"), ("io-uring", "torc-runtime"), ("crossbeam-channel", "torc-runtime")];

/// The crates that may contain `unsafe`, on named modules.
const UNSAFE_CRATES: &[&str] = &["runtime", "datatypes"];

/// A longer file should have become several.
const FILE_LINES_MAX: usize = 1_500;

#[test]
fn every_module_says_what_it_owns() {
    let missing = sources_where(|text| !text.starts_with("//!"));
    assert!(
        missing.is_empty(),
        "open these modules with `//!` lines: what they own and never do: {missing:?}"
    );
}

#[test]
fn no_file_is_too_long() {
    let long = sources_where(|text| text.lines().count() > FILE_LINES_MAX);
    assert!(long.is_empty(), "split these files, they have more than {FILE_LINES_MAX} lines: {long:?}");
}

#[test]
fn crates_depend_only_as_designed() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    for (manifest, table) in manifests() {
        let name = table["package"]["name"].as_str().expect("a package has a name").to_string();
        let Some(allowed) = allowed.get(name.as_str()) else {
            panic!("{manifest}: say in ARROWS what the new crate {name} may depend on");
        };
        for dependency in dependencies(&table) {
            let is_ours = dependency.starts_with("torc-");
            assert!(
                !is_ours || allowed.contains(&dependency.as_str()),
                "{manifest}: {name} must not depend on {dependency}; the allowed arrows are {allowed:?}"
            );
            if let Some((_, owner)) = OWNED_DEPENDENCIES.iter().find(|(owned, _)| *owned == dependency) {
                assert_eq!(name, *owner, "{manifest}: only {owner} may name {dependency}");
            }
        }
    }
}

#[test]
fn unsafe_code_is_forbidden_where_it_is_not_needed() {
    for dir in package_dirs() {
        let name = dir.file_name().and_then(|name| name.to_str()).expect("a readable name");
        let level = if UNSAFE_CRATES.contains(&name) { "deny" } else { "forbid" };
        let roots = [dir.join("src/lib.rs"), dir.join("src/main.rs")];
        let roots: Vec<&PathBuf> = roots.iter().filter(|root| root.exists()).collect();
        assert!(!roots.is_empty(), "{}: a crate has a root", dir.display());
        for root in roots {
            let text = fs::read_to_string(root).expect("a readable source");
            let wanted = format!("#![{level}(unsafe_code");
            assert!(text.contains(&wanted), "{}: add {wanted})]", root.display());
        }
    }
}

#[test]
fn readme_says_how_to_run_and_how_to_test() {
    let readme = fs::read_to_string(workspace_root().join("README.md")).expect("there is a README");
    for command in ["cargo run --release", "cargo test --workspace"] {
        assert!(readme.contains(command), "the README must name `{command}`");
    }
    let ci = fs::read_to_string(workspace_root().join(".ci/run")).expect("there is a CI script");
    assert!(ci.contains("cargo test --workspace"), ".ci/run must run the README's test command");
}

#[test]
fn pages_link_to_files_that_exist() {
    let root = workspace_root();
    let mut pages = vec![root.join("README.md"), root.join("bench/README.md")];
    collect(&root.join("docs"), "md", &mut pages);
    for page in pages {
        let text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || target.contains("://") || target.contains(' ') {
                continue;
            }
            let folder = page.parent().expect("a page lies in a folder");
            assert!(folder.join(file).exists(), "{}: the link to {target} leads nowhere", page.display());
        }
    }
}

/// The Rust files, relative to the workspace, whose text is as described.
fn sources_where(is_wrong: impl Fn(&str) -> bool) -> Vec<String> {
    let root = workspace_root();
    let mut files = Vec::new();
    for dir in package_dirs() {
        collect(&dir, "rs", &mut files);
    }
    assert!(files.len() > 20, "the search for sources is broken: {files:?}");
    let wrong = files.iter().filter(|path| is_wrong(&fs::read_to_string(path).expect("a readable source")));
    wrong.map(|path| path.strip_prefix(root).expect("found below").display().to_string()).collect()
}

fn collect(dir: &Path, extension: &str, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(dir)
        .expect("a readable folder")
        .map(|entry| entry.expect("a readable entry").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, extension, into);
        } else if path.extension().is_some_and(|found| found == extension) {
            into.push(path);
        }
    }
}

fn package_dirs() -> Vec<PathBuf> {
    let root = workspace_root();
    let crates = fs::read_dir(root.join("crates")).expect("the workspace has crates");
    let mut dirs: Vec<PathBuf> = crates.map(|entry| entry.expect("a readable entry").path()).collect();
    dirs.sort();
    dirs.extend([root.join("bench"), root.join("tests")]);
    dirs
}

fn manifests() -> Vec<(String, toml::Table)> {
    let read = |dir: PathBuf| {
        let path = dir.join("Cargo.toml");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path.display().to_string(), text.parse().expect("a manifest is TOML"))
    };
    package_dirs().into_iter().map(read).collect()
}

/// Names of all dependencies, of the build and of tests too.
fn dependencies(manifest: &toml::Table) -> Vec<String> {
    let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
    let tables = sections.iter().filter_map(|section| manifest.get(*section)?.as_table());
    let mut names: Vec<String> = tables.flat_map(|table| table.keys().cloned()).collect();
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    for table in targets.iter().flat_map(|targets| targets.values()).filter_map(toml::Value::as_table) {
        names.extend(dependencies(table));
    }
    names
}
