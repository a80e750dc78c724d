//! Serve, create, produce, consume, kill, start again, consume: the quick start of the README.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::binary::{Server, command, run};

#[test]
fn what_was_produced_is_there_after_kill_nine() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    server
        .run(dir, &["topic", "create", "jobs", "--partitions", "4", "--retention", "30d"])
        .expect_code(0);

    let lines: String = (0..1000).map(|n| format!("line {n}\n")).collect();
    let sent = server.run_with_input(dir, &["produce", "jobs"], lines.as_bytes()).expect_code(0);
    assert!(sent.stderr.contains("1000 records"), "{}", sent.stderr);
    let sent = server
        .run(
            dir,
            &["produce", "jobs", "resize {n}", "--count", "10", "--key", "user", "-o", "json"],
        )
        .expect_code(0);
    let places: Vec<serde_json::Value> =
        sent.lines().into_iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(places.len(), 10);
    let first = places[0]["offset"].as_u64().unwrap();
    let partition = places[0]["partition"].clone();
    for (number, place) in (first..).zip(&places) {
        assert_eq!(place["offset"], number);
        assert_eq!(place["partition"], partition);
    }

    server.kill();
    let server = Server::start(dir);
    assert!(
        server.banner["recovery"]["replayed_commits"].as_u64().unwrap() > 0,
        "{}",
        server.banner
    );
    let all = server.run(dir, &["consume", "jobs"]).expect_code(0);
    let mut got: Vec<&str> = all.lines();
    got.sort_unstable();
    let mut expected: Vec<String> = (0..1000).map(|n| format!("line {n}")).collect();
    expected.extend((0..10).map(|n| format!("resize {n}")));
    expected.sort_unstable();
    assert_eq!(got, expected);

    let partition = partition.to_string();
    let from = first.to_string();
    let keyed =
        ["consume", "jobs", "--partition", &partition, "--from", &from, "-n", "10", "-o", "json"];
    let keyed = server.run(dir, &keyed).expect_code(0);
    let values: Vec<String> = keyed
        .lines()
        .into_iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|record| record["value"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(values, (0..10).map(|n| format!("resize {n}")).collect::<Vec<_>>());

    assert_eq!(server.terminate(), Some(0));
    run(dir, &["verify", "--data", "data"]).expect_code(0);
}

#[test]
fn every_way_to_give_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    server.run(dir, &["topic", "create", "t"]).expect_code(0);
    std::fs::write(dir.join("whole"), b"\x00\xff\nbytes").unwrap();
    std::fs::write(dir.join("lines"), "one\ntwo\n").unwrap();

    server
        .run(
            dir,
            &["produce", "t", "text", "-k", "key", "-H", "a=1", "--content-type", "text/plain"],
        )
        .expect_code(0);
    server.run(dir, &["produce", "t", "--file", "whole"]).expect_code(0);
    server.run(dir, &["produce", "t", "@lines"]).expect_code(0);
    let ndjson = b"{\"value\":{\"a\": 1},\"key\":\"k\"}\n{\"value\":\"x\"}\n";
    server.run_with_input(dir, &["produce", "t", "--ndjson"], ndjson).expect_code(0);
    let broken =
        server.run_with_input(dir, &["produce", "t", "--ndjson"], b"{\"value\":1}\n{oops\n");
    let broken = broken.expect_code(64);
    assert!(broken.stderr.contains("line 2"), "{}", broken.stderr);

    let raw =
        server.run(dir, &["consume", "t", "--from", "1", "-n", "1", "-o", "raw"]).expect_code(0);
    assert_eq!(raw.stdout, String::from_utf8_lossy(b"\x00\xff\nbytes"));
    let json = server.run(dir, &["consume", "t", "-o", "json"]).expect_code(0);
    let records: Vec<serde_json::Value> =
        json.lines().into_iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records[0]["key"], "key");
    assert_eq!(records[0]["headers"]["a"], "1");
    assert_eq!(records[0]["headers"]["content-type"], "text/plain");
    assert_eq!(records[0]["value"], "text");
    assert_eq!(records[1]["encoding"], "base64");
    assert_eq!(records[2]["value"], "one");
    assert_eq!(records[4]["value"]["a"], 1);
    assert_eq!(records[6]["value"], 1, "what stood before the broken line was sent");
    assert_eq!(records.len(), 7);
}

#[test]
fn a_record_that_is_refused_is_named_by_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    server.run(dir, &["topic", "create", "t", "--record-bytes-max", "40"]).expect_code(0);
    let lines = b"short\nshort too\nlonger, much longer than what the topic takes\n";
    let refused = server.run_with_input(dir, &["produce", "t"], lines).expect_code(64);
    assert!(refused.stderr.contains("line 3: "), "{}", refused.stderr);
    let lines = b"{\"value\":\"1\"}\n\n{\"value\":\"2\"}\n{\"value\":\"longer, much longer than what the topic takes\"}\n";
    let refused = server.run_with_input(dir, &["produce", "t", "--ndjson"], lines).expect_code(64);
    assert!(refused.stderr.contains("line 4: "), "{}", refused.stderr);
    let refused =
        server.run(dir, &["produce", "t", "longer, much longer than what the topic takes"]);
    let refused = refused.expect_code(64);
    assert!(!refused.stderr.contains("line"), "{}", refused.stderr);
}

#[test]
fn a_file_is_sent_if_the_broker_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    server.run(dir, &["topic", "create", "t", "--record-bytes-max", "64MiB"]).expect_code(0);
    let sparse = |name: &str, bytes| {
        std::fs::File::create(dir.join(name)).unwrap().set_len(bytes).unwrap();
    };
    sparse("large", 67_100_000);
    // Long enough for a machine with other work.
    let produce = ["produce", "t", "--file", "large", "--timeout", "60s"];
    server.run(dir, &produce).expect_code(0);
    sparse("larger", (64 << 20) + 1);
    let refused = server.run(dir, &["produce", "t", "--file", "larger"]).expect_code(64);
    assert!(refused.stderr.contains("67108864 bytes"), "{}", refused.stderr);
    for missing in [&["--file", "nofile"][..], &["@nofile"]] {
        let missing = server.run(dir, &[&["produce", "t"], missing].concat()).expect_code(66);
        assert!(missing.stderr.contains("cannot read nofile"), "{}", missing.stderr);
    }
}

#[test]
fn an_offset_is_read_from_in_one_partition() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    server.run(dir, &["topic", "create", "t", "--partitions", "2"]).expect_code(0);
    let produce = ["produce", "t", "{n}", "--count", "3", "--partition", "0"];
    server.run(dir, &produce).expect_code(0);
    for more in [&[][..], &["--follow"]] {
        let refused = server.run(dir, &[&["consume", "t", "--from", "1"], more].concat());
        let refused = refused.expect_code(64);
        assert_eq!(refused.stdout, "", "not before some of it is printed");
        assert!(refused.stderr.contains("--partition"), "{}", refused.stderr);
    }
    let read = server.run(dir, &["consume", "t", "--from", "1", "-p", "0"]).expect_code(0);
    assert_eq!(read.lines(), ["1", "2"]);
}

#[test]
fn topics_are_managed() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    let create = ["topic", "create", "a", "--retention-bytes", "1GiB", "--durability", "os"];
    server.run(dir, &create).expect_code(0);
    let again = server.run(dir, &create).expect_code(0);
    assert!(again.stderr.contains("already"), "{}", again.stderr);
    server.run(dir, &["topic", "create", "a", "--partitions", "9"]).expect_code(65);
    let edited = server
        .run(dir, &["topic", "edit", "a", "--partitions", "2", "--retention", "none"])
        .expect_code(0);
    assert!(edited.stdout.contains("1GiB per partition"), "{}", edited.stdout);
    assert!(edited.stdout.contains("partitions  2"), "{}", edited.stdout);
    assert_eq!(server.run(dir, &["topic", "list"]).expect_code(0).lines().len(), 1);
    server.run(dir, &["topic", "delete", "a"]).expect_code(0);
    let gone = server.run(dir, &["topic", "show", "a"]).expect_code(66);
    assert!(gone.stderr.contains("\"a\"") || gone.stderr.contains(" a"), "{}", gone.stderr);
}

#[test]
fn follow_shows_what_comes_and_a_closed_pipe_ends_it_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    server.run(dir, &["topic", "create", "t"]).expect_code(0);
    server.run(dir, &["produce", "t", "first"]).expect_code(0);
    let mut tail = command(dir)
        .args(["--url", server.url(), "consume", "t", "--follow"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "first");
    server.run(dir, &["produce", "t", "second"]).expect_code(0);
    assert_eq!(lines.next().unwrap().unwrap(), "second");

    drop(lines);
    server.run(dir, &["produce", "t", "third"]).expect_code(0);
    assert_eq!(tail.wait().unwrap().code(), Some(0));
    let mut stderr = String::new();
    tail.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(stderr, "");
}

#[test]
fn everything_is_sent_though_nobody_reads_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    server.run(dir, &["topic", "create", "t"]).expect_code(0);
    let produce = |more: &[&str], input: &str| {
        let (read, write) = std::io::pipe().unwrap();
        drop(read);
        std::fs::write(dir.join("input"), input).unwrap();
        let mut produce = command(dir);
        produce.args(["--url", server.url(), "produce", "t", "@input", "-o", "json"]).args(more);
        produce.stdout(write).output().unwrap()
    };
    let lines: String = (0..20_000).map(|n| format!("{n}\n")).collect();
    let sent = produce(&[], &lines);
    assert_eq!(sent.status.code(), Some(0), "{sent:?}");
    assert!(String::from_utf8_lossy(&sent.stderr).starts_with("20000 records"), "{sent:?}");
    let all = server.run(dir, &["consume", "t"]).expect_code(0);
    assert_eq!(all.lines().len(), 20_000);

    let broken = "{\"value\":1}\n".repeat(20_000) + "{oops\n";
    let sent = produce(&["--ndjson"], &broken);
    assert_eq!(sent.status.code(), Some(64), "{sent:?}");
    assert!(String::from_utf8_lossy(&sent.stderr).contains("line 20001"), "{sent:?}");
}

#[test]
fn a_folder_and_a_port_are_used_once() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    let second = run(dir, &["serve", "--data", "data", "--listen", "127.0.0.1:0"]).expect_code(69);
    let pid = server.banner["pid"].to_string();
    assert!(second.stderr.contains(&pid), "{}", second.stderr);
    let address = server.url().trim_start_matches("http://");
    let second = run(dir, &["serve", "--data", "other", "--listen", address]).expect_code(69);
    assert!(second.stderr.contains(address), "{}", second.stderr);
    let verify = run(dir, &["verify", "--data", "data"]).expect_code(69);
    assert!(verify.stderr.contains(&pid), "{}", verify.stderr);
}
