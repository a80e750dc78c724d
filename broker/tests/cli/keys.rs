//! Keys from the command line: the latest record, history, tables, and producing under a condition.

use serde_json::Value;

use crate::binary::Server;

#[test]
fn keys_are_read_listed_and_written_under_a_condition() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    let run = |arguments: &[&str]| server.run(dir, arguments);
    run(&["topic", "create", "users", "--compact", "--partitions", "2"]).expect_code(0);
    let put = |value: &str, version: &str| {
        run(&["produce", "users", value, "-k", "17", "--if-key-version", version, "-o", "json"])
    };
    let first = put("Ada", "none").expect_code(0);
    let first: Value = serde_json::from_str(first.lines()[0]).unwrap();
    let refused = put("Bob", "none").expect_code(65);
    assert!(refused.stderr.contains("no record expected, is 0"), "{}", refused.stderr);
    put("Ada Lovelace", &first["offset"].to_string()).expect_code(0);
    run(&["produce", "users", "Charles", "-k", "18"]).expect_code(0);
    put("x", "soon").expect_code(64);

    assert_eq!(run(&["key", "get", "users", "17"]).expect_code(0).stdout, "Ada Lovelace\n");
    let raw = run(&["key", "get", "users", "17", "--as-of", "0", "-o", "raw"]).expect_code(0);
    assert_eq!(raw.stdout, "Ada");
    let json = run(&["key", "get", "users", "17", "-o", "json"]).expect_code(0);
    let json: Value = serde_json::from_str(json.lines()[0]).unwrap();
    assert_eq!((&json["offset"], &json["value"]), (&1.into(), &"Ada Lovelace".into()));
    let missing = run(&["key", "get", "users", "19"]).expect_code(66);
    assert!(missing.stderr.contains("no record of key \"19\""), "{}", missing.stderr);
    assert!(missing.stderr.contains("key list users"), "{}", missing.stderr);
    let missing = run(&["key", "history", "users", "19"]).expect_code(66);
    assert!(!missing.stderr.contains("key history"), "not what was just done: {}", missing.stderr);
    run(&["key", "get", "users", "17", "--as-of", "-1h"]).expect_code(66);
    run(&["key", "get", "users", "17", "--as-of", "end"]).expect_code(64);

    let history = run(&["key", "history", "users", "17"]).expect_code(0);
    let rows = history.lines();
    assert!(rows[0].ends_with("Ada Lovelace") && rows[1].ends_with("Ada"), "{rows:?}");
    assert_eq!(rows.len(), 2);
    assert_eq!(run(&["key", "history", "users", "17", "-n", "1"]).expect_code(0).lines().len(), 1);
    let listed = run(&["key", "list", "users", "-o", "json"]).expect_code(0);
    let mut values: Vec<String> = listed
        .lines()
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["value"].to_string())
        .collect();
    values.sort();
    assert_eq!(values, ["\"Ada Lovelace\"", "\"Charles\""]);
    let listed = run(&["key", "list", "users", "--prefix", "18"]).expect_code(0);
    assert!(listed.lines().len() == 1 && listed.stdout.contains("Charles"), "{listed:?}");
    run(&["key", "list", "users", "-o", "raw"]).expect_code(64);

    let delete = b"{\"key\":\"18\",\"value\":null}\n";
    server.run_with_input(dir, &["produce", "users", "--ndjson"], delete).expect_code(0);
    let gone = run(&["key", "get", "users", "18"]).expect_code(66);
    assert!(gone.stderr.contains("is its tombstone"), "{}", gone.stderr);
    assert!(gone.stderr.contains("key history users \"18\""), "{}", gone.stderr);
}
