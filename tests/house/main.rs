//! The house keeps its plan (DESIGN.md §4): arrows between crates point upwards only, the grammar needs no runtime, and no
//! file grows beyond what one reads at a sitting or hides behind a name that says nothing.

#![allow(clippy::unwrap_used, reason = "a test's own functions may panic, too")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Lowest first: a crate may use those before it.
const FLOORS: [&str; 21] = [
    "smtp",
    "record",
    "store",
    "dns",
    "tls",
    "intercept",
    "route",
    "spool",
    "sift",
    "evidence",
    "judge",
    "delivery",
    "relay",
    "acme",
    "firewall",
    "first-boot",
    "backup",
    "passkeys",
    "trace",
    "appliance",
    "postern-tests",
];
const MAX_LINES: usize = 600;
const SAYS_NOTHING: [&str; 5] = ["mod", "utils", "util", "common", "helpers"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn metadata(arguments: &[&str]) -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--offline", "--format-version", "1"])
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every package of the workspace, with the packages that it names, for whatever purpose.
fn workspace() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata(&["--no-deps"]);
    let text = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            (text(package), package["dependencies"].as_array().unwrap().iter().map(text).collect())
        })
        .collect()
}

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|known| *known == name)
}

#[test]
fn arrows_between_crates_point_upwards_only() {
    for (package, dependencies) in workspace() {
        let Some(own) = floor(&package) else { panic!("{package} has no place in the house") };
        for dependency in dependencies {
            let below = floor(&dependency).is_none_or(|floor| floor < own);
            assert!(below, "{package} uses {dependency}, which is not below it");
        }
    }
}

/// As the crate is by itself: what others in the workspace want of the same packages is not its need.
#[test]
fn the_grammar_needs_neither_runtime_nor_serialization() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut tree = Command::new(cargo);
    tree.args(["tree", "--locked", "--package", "smtp", "--edges", "normal", "--prefix", "none"]);
    let output = tree.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(found.contains("memchr"), "the closure was found: {found:?}");
    for banned in ["tokio", "serde", "serde_core", "socket2", "mio", "rustls"] {
        assert!(!found.contains(banned), "smtp needs {banned}");
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn files_are_short_and_their_names_say_something() {
    let mut found = Vec::new();
    for folder in ["proxy", "acme", "firewall", "appliance"] {
        sources(&root().join(folder), &mut found);
    }
    assert!(found.len() > 50, "the sources are here");
    for path in found {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(!SAYS_NOTHING.contains(&name.as_str()), "{} says nothing", path.display());
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines", path.display());
    }
}
