//! A server that was given a model that computes for ever.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::binary::{Server, command};

/// A field of protobuf that has a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len() & 0x7f).unwrap() | 0x80;
    let rest = u8::try_from(content.len() >> 7).unwrap();
    [&[number << 3 | 2, length, rest], content].concat()
}

fn name(number: u8, name: &str) -> Vec<u8> {
    field(number, &field(1, name.as_bytes()))
}

fn node(op: &str, inputs: &[&str], output: &str, body: &[u8]) -> Vec<u8> {
    let mut node: Vec<u8> = inputs.iter().flat_map(|input| field(1, input.as_bytes())).collect();
    node.extend([field(2, output.as_bytes()), field(4, op.as_bytes())].concat());
    if !body.is_empty() {
        // An attribute that is a graph.
        let attribute = [field(1, b"body"), field(6, body), vec![0xa0, 1, 5]].concat();
        node.extend(field(5, &attribute));
    }
    field(1, &node)
}

/// A body of a loop that makes `w` of `v`.
fn body(work: &[u8]) -> Vec<u8> {
    let goes_on = node("Identity", &["go"], "on", &[]);
    let ports = [name(11, "i"), name(11, "go"), name(11, "v"), name(12, "on"), name(12, "w")];
    [goes_on, work.to_vec(), ports.concat()].concat()
}

/// Ten million rounds of ten million rounds.
fn endless() -> Vec<u8> {
    let trips = [&[16, 7][..], &field(7, &[0x80, 0xad, 0xe2, 4]), &field(8, b"m")].concat();
    let inner = body(&node("Identity", &["v"], "w", &[]));
    let outer = body(&node("Loop", &["m", "", "v"], "w", &inner));
    // One f32.
    let float = field(2, &field(1, &[&[8, 1][..], &field(2, &field(1, &[8, 1]))].concat()));
    let x = [field(1, b"x"), float].concat();
    let whole = node("Loop", &["m", "", "x"], "y", &outer);
    let graph = [whole, field(2, b"g"), field(5, &trips), field(11, &x), name(12, "y")].concat();
    [vec![8, 8], field(7, &graph), field(8, &[16, 17])].concat()
}

/// Whether the server loads a model now.
#[cfg(target_os = "linux")]
fn loads(server: &Server) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", server.banner["pid"])).unwrap();
    let names = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("comm")));
    names.flatten().any(|name| name.trim() == "model-load")
}

fn started(folder: &Path, settings: &str) -> Server {
    fs::write(folder.join("endless.onnx"), endless()).unwrap();
    fs::write(folder.join("embermq.toml"), settings).unwrap();
    Server::start(folder)
}

#[test]
#[cfg(target_os = "linux")]
fn a_load_without_end_does_not_keep_the_server_from_ending() {
    let folder = tempfile::tempdir().unwrap();
    let server = started(folder.path(), "[server]\ndrain_timeout = \"100ms\"");
    let mut push = command(folder.path())
        .args(["--url", server.url(), "model", "push", "endless.onnx", "endless", "1"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !loads(&server) {
        assert!(push.try_wait().unwrap().is_none(), "the model is no endless one");
        std::thread::yield_now();
    }
    assert_eq!(server.terminate(), Some(0));
    push.kill().ok();
    push.wait().unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn a_load_without_end_is_given_up_and_its_thread_ends() {
    let folder = tempfile::tempdir().unwrap();
    let server = started(folder.path(), "[models]\nload_timeout = \"300ms\"");
    let push = ["model", "push", "endless.onnx", "endless", "1"];
    let refused = server.run(folder.path(), &push);
    let told = "loading it and running it for the first time takes longer than 300ms";
    assert!(refused.code != Some(0) && refused.stderr.contains(told), "{refused:?}");
    while loads(&server) {
        std::thread::yield_now();
    }
    assert_eq!(server.terminate(), Some(0));
}
