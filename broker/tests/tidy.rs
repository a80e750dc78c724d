//! What the compiler does not check: which crate may use which, and what must not stand in the code.
//!
//! Sizes are printed, not judged.
#![expect(clippy::unwrap_used, reason = "a test ends where what it expects is not there")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which of our crates a crate may use: storage, protocol and inference know nothing of ours, the broker knows all three.
const ARROWS: [(&str, &[&str]); 5] = [
    ("embermq-storage", &[]),
    ("embermq-protocol", &[]),
    ("embermq-kernels", &[]),
    ("embermq-inference", &["embermq-kernels"]),
    ("embermq", &["embermq-inference", "embermq-protocol", "embermq-storage"]),
];

/// Crates that may use anything of ours, because nothing uses them.
const LEAVES: [&str; 1] = ["embermq-benches"];

/// The files that may hold unsafe code: both map files.
const UNSAFE_HOMES: [&str; 2] = ["storage/src/disk/mapping.rs", "inference/src/mapping.rs"];

/// From here on a file is worth a second look.
const LONG_FILE_LINES: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// A source file of the workspace that people wrote.
struct Source {
    /// Relative to the workspace's root, with `/`.
    name: String,
    text: String,
}

fn sources(extensions: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let file_name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                let skipped = ["target", ".git", "generated", "embermq-data", "samples"];
                if !skipped.contains(&file_name.as_str()) {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|ext| extensions.iter().any(|e| ext == *e)) {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { name, text });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!found.is_empty());
    found
}

/// This file spells out what it looks for.
fn is_this_file(source: &Source) -> bool {
    source.name == "broker/tests/tidy.rs"
}

#[track_caller]
fn assert_none(what: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{what}:\n  {}", findings.join("\n  "));
}

fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn crates_use_only_the_crates_they_may() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<&str> = packages.iter().map(|p| p["name"].as_str().unwrap()).collect();
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    for name in allowed.keys() {
        assert!(ours.contains(name), "the crate {name} is gone: mend ARROWS");
    }
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let used: BTreeSet<&str> = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            // A crate's tests may use more: nothing is linked into anything by them.
            .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
            .map(|dependency| dependency["name"].as_str().unwrap())
            .filter(|dependency| ours.contains(dependency))
            .collect();
        if LEAVES.contains(&name) {
            continue;
        }
        let Some(expected) = allowed.get(name) else {
            panic!("{name} is a new crate: give it its arrows in ARROWS or list it in LEAVES");
        };
        let expected: BTreeSet<&str> = expected.iter().copied().collect();
        assert_eq!(used, expected, "the arrows from {name} are not those of ARCHITECTURE.md");
    }
}

#[test]
fn versions_stand_in_one_place() {
    let mut findings = Vec::new();
    // The fuzzer is a workspace of its own.
    let is_member = |source: &&Source| {
        source.name.ends_with("/Cargo.toml") && !source.name.starts_with("fuzz/")
    };
    for source in sources(&["toml"]).iter().filter(is_member) {
        let manifest: toml::Table = source.text.parse().unwrap();
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(dependencies) = manifest.get(table).and_then(|table| table.as_table()) else {
                continue;
            };
            for (name, value) in dependencies {
                let inherited = value.get("workspace").and_then(toml::Value::as_bool);
                if inherited != Some(true) {
                    findings.push(format!("{}: {name}", source.name));
                }
            }
        }
    }
    assert_none("not `workspace = true`", &findings);
}

#[test]
fn nothing_is_left_over() {
    let leftovers =
        ["TODO", "FIXME", "XXX", "HACK", "dbg!(", "todo!(", "unimplemented!(", "#[ignore"];
    let mut findings = Vec::new();
    for source in sources(&["rs", "proto", "toml"]).iter().filter(|source| !is_this_file(source)) {
        for (number, line) in source.text.lines().enumerate() {
            if let Some(word) = leftovers.iter().find(|word| line.contains(**word)) {
                findings.push(format!("{}:{}: {word}", source.name, number + 1));
            }
        }
    }
    assert_none("left over", &findings);
}

#[test]
fn every_file_is_named_after_what_it_holds() {
    let vague = ["util", "utils", "common", "manager", "helper", "helpers", "misc"];
    let findings: Vec<String> = sources(&["rs"])
        .into_iter()
        .map(|source| source.name)
        .filter(|name| name.split(['/', '.', '_']).any(|part| vague.contains(&part)))
        .collect();
    assert_none("the noun is missing in", &findings);
}

#[test]
fn every_module_says_what_it_is() {
    let findings: Vec<String> = sources(&["rs"])
        .into_iter()
        .filter(|source| {
            let first = source.text.lines().find(|line| !line.trim().is_empty());
            !first.is_some_and(|line| line.starts_with("//!") || line.starts_with("#![doc"))
        })
        .map(|source| source.name)
        .collect();
    assert_none("no `//!` at the top of", &findings);
}

#[test]
fn unsafe_code_is_at_home() {
    let mut findings = Vec::new();
    for source in sources(&["rs"]) {
        if UNSAFE_HOMES.contains(&source.name.as_str()) || is_this_file(&source) {
            continue;
        }
        for (number, line) in source.text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if ["unsafe {", "unsafe fn", "unsafe impl"].iter().any(|word| code.contains(word)) {
                findings.push(format!("{}:{}", source.name, number + 1));
            }
        }
    }
    assert_none("unsafe outside of its home", &findings);
}

#[test]
fn nothing_is_tied_to_one_machine() {
    let places = ["/home/", concat!("/ro", "ot/"), concat!("/wo", "rk/"), "/Users/", "C:\\"];
    let mut findings = Vec::new();
    let kinds = ["rs", "toml", "md", "proto", "sh", "py", "yml"];
    for source in sources(&kinds).iter().filter(|source| !is_this_file(source)) {
        for (number, line) in source.text.lines().enumerate() {
            if let Some(place) = places.iter().find(|place| line.contains(**place)) {
                findings.push(format!("{}:{}: {place}", source.name, number + 1));
            }
        }
    }
    assert_none("a path of one machine", &findings);
}

#[test]
fn long_files_are_shown() {
    let mut lengths: Vec<(usize, String)> = sources(&["rs"])
        .into_iter()
        .map(|source| (source.text.lines().count(), source.name))
        .filter(|(lines, _)| *lines > LONG_FILE_LINES)
        .collect();
    lengths.sort();
    for (lines, name) in lengths.iter().rev() {
        println!("{lines:>6} lines  {name}");
    }
}
