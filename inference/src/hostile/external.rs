//! Weights in other files, where nothing may be read but what lies in the model's own folder.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{graph, load_in, model, node, refused_in, tensor};
use crate::onnx::proto::{
    ModelProto, StringStringEntryProto, TensorProto, tensor_proto::DataLocation,
};

fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) }
}

/// A model whose weight `w` of two f32 lies in another file.
fn elsewhere(entries: &[(&str, &str)]) -> ModelProto {
    let weight = TensorProto {
        raw_data: None,
        data_location: Some(DataLocation::External.into()),
        external_data: entries.iter().map(|(key, value)| entry(key, value)).collect(),
        ..tensor("w", 1, &[2], Vec::new())
    };
    let mut graph = graph(vec![node("Add", &["x", "w"], &["y"])]);
    graph.initializer.push(weight);
    model(graph)
}

#[track_caller]
fn refused(folder: &Path, location: &str, says: &str) {
    refused_in(folder, &elsewhere(&[("location", location)]), &["\"w\"", says]);
}

#[test]
fn only_files_in_the_folder_are_read() {
    let outside = tempfile::tempdir().unwrap();
    let folder = outside.path().join("model");
    fs::create_dir_all(folder.join("inner")).unwrap();
    for file in ["../secret", "weights", "inner/weights"] {
        fs::write(folder.join(file), [0; 8]).unwrap();
    }
    for location in ["weights", "inner/weights"] {
        load_in(&folder, &elsewhere(&[("location", location)])).unwrap();
    }
    let absolute = outside.path().join("secret").display().to_string();
    for location in
        ["../secret", "inner/../../secret", "./../secret", "/etc/passwd", &absolute, "", "."]
    {
        refused(&folder, location, "own folder");
    }
    symlink("../secret", folder.join("link")).unwrap();
    symlink("..", folder.join("up")).unwrap();
    symlink("weights", folder.join("harmless")).unwrap();
    for location in ["link", "up/secret", "harmless"] {
        refused(&folder, location, location);
    }
    for location in ["inner", "nothing", "weights/deeper", "a\0b"] {
        refused(&folder, location, "lies in");
    }
    refused_in(&folder, &elsewhere(&[]), &["\"w\"", "says not which"]);
}

#[test]
fn what_is_no_plain_file_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status();
    if made.is_ok_and(|status| status.success()) {
        refused(folder.path(), "pipe", "plain file");
        let limits = crate::Limits::default();
        let error = crate::Network::open(&folder.path().join("pipe"), &limits).unwrap_err();
        assert!(error.to_string().contains("plain file"), "{error}");
    }
}

#[test]
fn ranges_outside_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("w"), [0; 16]).unwrap();
    let huge = u64::MAX.to_string();
    for (offset, length) in [("9", "8"), ("0", "17"), ("17", "0"), (&*huge, "8"), ("8", &*huge)] {
        let model = elsewhere(&[("location", "w"), ("offset", offset), ("length", length)]);
        refused_in(folder.path(), &model, &["\"w\"", "16 bytes"]);
    }
    for number in ["-1", "x", "", "99999999999999999999999"] {
        let model = elsewhere(&[("location", "w"), ("offset", number)]);
        refused_in(folder.path(), &model, &["\"w\"", "no number"]);
    }
    // The right place, and the wrong length for the shape.
    refused_in(folder.path(), &elsewhere(&[("location", "w")]), &["\"w\"", "8 bytes", "16"]);
    let model = elsewhere(&[("location", "w"), ("offset", "8"), ("length", "8")]);
    load_in(folder.path(), &model).unwrap();
}
