//! Records that appear later, from the command line: sent, listed, shown, cancelled.

use serde_json::Value;

use crate::binary::{Outcome, Server};

fn rows(outcome: &Outcome) -> Vec<Value> {
    outcome.lines().into_iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_is_scheduled_can_be_listed_and_cancelled_and_appears() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    server.run(dir, &["topic", "create", "jobs"]).expect_code(0);
    let late =
        ["produce", "jobs", "late {n}", "--count", "3", "-k", "k", "--delay", "30d", "-o", "json"];
    let late = rows(&server.run(dir, &late).expect_code(0));
    let id = late[0]["schedule"].as_str().unwrap().to_owned();
    assert!(late[0]["offset"].is_null() && late[0]["deliver_at"].is_string(), "{late:?}");
    let at = "2099-01-01T00:00:00Z";
    let later = ["produce", "jobs", "later", "--deliver-at", at, "-o", "json"];
    let later = rows(&server.run(dir, &later).expect_code(0));
    assert_eq!(later[0]["deliver_at"], at);

    let listed = server.run(dir, &["schedule", "list", "jobs"]).expect_code(0);
    assert!(listed.stdout.contains(&id) && listed.stdout.contains(at), "{listed:?}");
    let listed = rows(&server.run(dir, &["schedule", "ls", "jobs", "-o", "json"]).expect_code(0));
    assert_eq!(listed[0]["schedule"], id.as_str());
    let shown = server.run(dir, &["schedule", "show", "jobs", &id]).expect_code(0);
    assert!(shown.stdout.contains("k: late 0"), "{shown:?}");
    server.run(dir, &["schedule", "cancel", "jobs", &id]).expect_code(0);
    let again = server.run(dir, &["schedule", "cancel", "jobs", &id]).expect_code(66);
    assert!(again.stderr.contains("embermq schedule list"), "{}", again.stderr);

    // One whose time comes while it is waited for.
    server.run(dir, &["produce", "jobs", "soon", "--delay", "200ms"]).expect_code(0);
    let consumed = server.run(dir, &["consume", "jobs", "--follow", "--max", "1"]);
    assert_eq!(consumed.expect_code(0).stdout.trim(), "soon");
    let both = ["produce", "jobs", "v", "--delay", "1s", "--deliver-at", at];
    server.run(dir, &both).expect_code(64);
    server.run(dir, &["produce", "jobs", "v", "--delay", "40000d"]).expect_code(64);
}
