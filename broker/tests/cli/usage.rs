//! What happens when a command is wrong.

use crate::binary::{command, finish, run};

#[test]
fn help_and_version_are_no_errors() {
    let folder = tempfile::tempdir().unwrap();
    let help = run(folder.path(), &["--help"]).expect_code(0);
    for verb in ["serve", "topic", "produce", "consume", "verify", "config", "group", "dlq", "work"]
    {
        assert!(help.stdout.contains(verb), "{}", help.stdout);
    }
    assert!(help.stdout.contains("65 conflict") && help.stdout.contains("66 not found"));
    let version = run(folder.path(), &["version"]).expect_code(0);
    assert!(version.stdout.starts_with("embermq "), "{}", version.stdout);
    let json = run(folder.path(), &["version", "-o", "json"]).expect_code(0);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["name"], "embermq");
}

#[test]
fn wrong_usage_is_64_and_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (&["serv"][..], "serve"),
        (&["topic", "create"], "TOPIC"),
        (&["topic", "create", "../etc"], "topic name"),
        (&["topic", "create", "a", "--retention", "7"], "no unit"),
        (&["topic", "create", "a", "--durability", "maybe"], "fsync"),
        (&["produce", "a", "x", "--header", "novalue"], "NAME=VALUE"),
        (&["produce", "a", "-", "--count", "3"], "--count"),
        (&["consume", "a", "--from", "yesterday"], "start, end"),
        (&["topic", "list", "-o", "raw"], "consume"),
        (&["group", "create", "a", "b:lease"], "group name"),
        (&["group", "create", "a", "b", "--ordering", "random"], "partition"),
        (&["group", "seek", "a", "b"], "--to"),
        (&["dlq", "redrive", "a", "b", "--rate", "fast"], "10/s"),
        (&["work", "a", "--", "true"], "--group"),
        (&["work", "a", "--group", "b"], "COMMAND"),
        (&["work", "a", "--group", "b", "-j", "0", "--", "true"], "-j"),
        (&["topic", "list", "--url", "ftp://x"], "http://"),
        (&["verify", "--data", "nowhere"], "not a data folder"),
        (&["serve", "--listen", "0.0.0.0:7400"], "--insecure"),
        (&["serve", "--listen", "somewhere"], "127.0.0.1:7400"),
    ] {
        let outcome = run(folder.path(), arguments).expect_code(64);
        assert!(outcome.stderr.contains(expected), "{arguments:?}: {}", outcome.stderr);
        assert_eq!(outcome.stdout, "", "{arguments:?}");
    }
}

#[test]
fn a_server_that_is_not_there_is_69() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["topic", "list", "--url", "http://127.0.0.1:1", "--timeout", "0s"];
    let outcome = run(folder.path(), &arguments).expect_code(69);
    assert!(outcome.stderr.contains("embermq serve"), "{}", outcome.stderr);
}

#[test]
fn a_server_that_never_answers_is_given_up_when_the_timeout_says() {
    let folder = tempfile::tempdir().unwrap();
    // The system takes the connection, and nobody ever reads from it.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let began = tokio::time::Instant::now();
    let arguments = ["topic", "list", "--url", &url, "--timeout", "300ms"];
    run(folder.path(), &arguments).expect_code(69);
    assert!(began.elapsed().as_secs() < 20, "a try takes up to 30 s otherwise");
}

#[test]
fn colours_stay_out_of_pipes() {
    let folder = tempfile::tempdir().unwrap();
    let outcome =
        finish(command(folder.path()).arg("topic").arg("list").arg("--url").arg("x"), b"");
    assert!(outcome.stderr.starts_with("error: "), "{}", outcome.stderr);
}
