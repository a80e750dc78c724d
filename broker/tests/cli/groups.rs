//! Work queues from the command line: a loop with an output topic, dead letters and back, seek, and how a group stands.

use std::io::{BufRead, BufReader, Lines, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::Value;

use crate::binary::{Outcome, Server, command};

fn rows(outcome: &Outcome) -> Vec<Value> {
    outcome.lines().into_iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The group's counts are strings in canonical JSON, and left out when they are zero.
fn count(group: &Value, name: &str) -> u64 {
    group[name].as_str().map_or(0, |text| text.parse().unwrap())
}

fn show(server: &Server, dir: &Path, topic: &str, group: &str) -> Value {
    let shown = server.run(dir, &["group", "show", topic, group, "-o", "json"]).expect_code(0);
    rows(&shown).remove(0)
}

#[test]
fn a_work_loop_puts_each_output_beside_its_ack() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    server.run(dir, &["topic", "create", "jobs", "--partitions", "3"]).expect_code(0);
    server.run(dir, &["topic", "create", "done"]).expect_code(0);
    server
        .run(dir, &["produce", "jobs", "job {n}", "--count", "40", "--key", "k{n}"])
        .expect_code(0);

    let script = "printf '%s as %s, attempt %s of %s' \"$(cat)\" \"$EMBERMQ_KEY\" \"$EMBERMQ_ATTEMPT\" \"$EMBERMQ_TOPIC\"";
    let work = [
        "work", "jobs", "-g", "workers", "--out", "done", "-j", "4", "--once", "--", "sh", "-c",
        script,
    ];
    let worked = server.run(dir, &work).expect_code(0);
    assert!(worked.stderr.contains("40 done"), "{}", worked.stderr);
    let done = server.run(dir, &["consume", "done", "-o", "json"]).expect_code(0);
    let mut done: Vec<(String, String)> = rows(&done)
        .iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            (text("key"), text("value"))
        })
        .collect();
    done.sort();
    let mut expected: Vec<(String, String)> =
        (0..40).map(|n| (format!("k{n}"), format!("job {n} as k{n}, attempt 1 of jobs"))).collect();
    expected.sort();
    assert_eq!(done, expected);

    let group = show(&server, dir, "jobs", "workers");
    assert_eq!((count(&group, "lagRecords"), count(&group, "inFlight")), (0, 0), "{group}");
    assert_eq!(group["partitions"].as_array().unwrap().len(), 3);
    let again = server.run(dir, &work).expect_code(0);
    assert!(again.stderr.contains("0 done"), "{}", again.stderr);
    let listed = server.run(dir, &["group", "list"]).expect_code(0);
    assert!(listed.stdout.contains("jobs") && listed.stdout.contains("workers"), "{listed:?}");
}

#[test]
fn what_fails_too_often_is_a_dead_letter_that_can_be_redriven() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    server.run(dir, &["topic", "create", "jobs"]).expect_code(0);
    server.run(dir, &["topic", "create", "done"]).expect_code(0);
    let create = [
        "group",
        "create",
        "jobs",
        "g",
        "--max-attempts",
        "2",
        "--backoff-initial",
        "1ms",
        "--backoff-max",
        "1ms",
    ];
    server.run(dir, &create).expect_code(0);
    for value in ["good", "bad", "ugly", "fine"] {
        server.run(dir, &["produce", "jobs", value]).expect_code(0);
    }

    let script = "case $(cat) in bad) echo no such picture >&2; exit 3;; ugly) exit 75;; esac";
    let worked = server
        .run(dir, &["work", "jobs", "-g", "g", "--once", "-o", "json", "--", "sh", "-c", script])
        .expect_code(0);
    let report = &rows(&worked)[0];
    assert_eq!(
        (&report["acked"], &report["retried"], &report["dead"]),
        (&2.into(), &2.into(), &2.into())
    );
    assert!(
        worked.stderr.contains("jobs/0/1, attempt 2: exit status 3: no such picture"),
        "{}",
        worked.stderr
    );

    let listed = server.run(dir, &["dlq", "list", "jobs", "g"]).expect_code(0);
    assert_eq!(listed.lines().len(), 2, "{}", listed.stdout);
    assert!(listed.lines()[0].contains("jobs/0/1"), "{}", listed.stdout);
    assert!(listed.lines()[0].contains("no such picture"), "{}", listed.stdout);
    let one = server.run(dir, &["dlq", "list", "jobs", "g", "--limit", "1"]).expect_code(0);
    assert_eq!((one.lines().len(), one.stderr.contains("--limit")), (1, true), "{one:?}");
    let shown = server.run(dir, &["dlq", "show", "jobs", "g", "0"]).expect_code(0);
    assert!(shown.stdout.contains("bad") && shown.stdout.contains("no such picture"), "{shown:?}");
    assert!(shown.stdout.lines().any(|line| line == "open         yes"), "{shown:?}");
    assert_eq!(count(&show(&server, dir, "jobs", "g"), "dead"), 2);

    let dry = ["dlq", "redrive", "jobs", "g", "--contains", "picture", "--dry-run"];
    let dry = server.run(dir, &dry).expect_code(0);
    assert!(dry.stdout.contains("1 of 1"), "{}", dry.stdout);
    let redrive = ["dlq", "redrive", "jobs", "g", "--contains", "picture", "--rate", "100/s"];
    server.run(dir, &redrive).expect_code(0);
    let dropped = server.run(dir, &["dlq", "drop", "jobs", "g", "-o", "json"]).expect_code(0);
    assert_eq!(rows(&dropped)[0]["done"], 1);
    let left = server.run(dir, &["dlq", "list", "jobs", "g"]).expect_code(0);
    assert_eq!((left.lines().len(), left.stderr.contains("has 0")), (0, true), "{left:?}");
    let both = server.run(dir, &["dlq", "list", "jobs", "g", "0", "1"]).expect_code(0);
    assert_eq!(both.stdout, "", "a list has what is open");
    let shown = server.run(dir, &["dlq", "show", "jobs", "g", "0"]).expect_code(0);
    assert!(
        shown.stdout.contains("bad") && shown.stdout.contains("no: it was redriven"),
        "{shown:?}"
    );
    assert!(shown.stderr.contains("dead letter 0 is not open"), "{shown:?}");
    let none = server.run(dir, &["dlq", "show", "jobs", "g", "2"]);
    assert!(none.stderr.contains('2'), "{none:?}");
    none.expect_code(66);
    let group = show(&server, dir, "jobs", "g");
    assert_eq!((count(&group, "dead"), count(&group, "lagRecords")), (0, 1), "{group}");

    let script = "printf '%s %s' \"$(cat)\" \"$EMBERMQ_ATTEMPT\"";
    let work = ["work", "jobs", "-g", "g", "--out", "done", "--once", "--", "sh", "-c", script];
    server.run(dir, &work).expect_code(0);
    let done = server.run(dir, &["consume", "done"]).expect_code(0);
    assert_eq!(done.lines(), ["bad 1"], "redriven, with its attempts at zero");
}

#[test]
fn offsets_that_are_no_open_dead_letters_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    server.run(dir, &["topic", "create", "jobs"]).expect_code(0);
    server.run(dir, &["group", "create", "jobs", "g", "--max-attempts", "1"]).expect_code(0);
    server.run(dir, &["produce", "jobs", "bad"]).expect_code(0);
    let failing = ["work", "jobs", "-g", "g", "--once", "--", "false"];
    server.run(dir, &failing).expect_code(0);

    let some = server.run(dir, &["dlq", "drop", "jobs", "g", "0", "99"]).expect_code(0);
    assert!(some.stdout.contains("1 of 1"), "{}", some.stdout);
    assert!(some.stderr.contains("1 of 2 offsets are no open"), "{}", some.stderr);
    let again = ["dlq", "redrive", "jobs", "g", "0", "-o", "json"];
    let again = server.run(dir, &again).expect_code(0);
    assert!(again.stderr.contains("1 of 1 offsets are no open"), "{}", again.stderr);
    let all = server.run(dir, &["dlq", "drop", "jobs", "g"]).expect_code(0);
    assert_eq!(all.stderr, "", "none was named");
}

#[test]
fn what_a_command_leaves_running_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    server.run(dir, &["topic", "create", "jobs"]).expect_code(0);
    server.run(dir, &["topic", "create", "done"]).expect_code(0);
    server.run(dir, &["produce", "jobs", "x"]).expect_code(0);
    let fifo = dir.join("gate");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // It keeps the pipes of the command until somebody opens the gate.
    let script = "(read line < gate) & cat";
    let work = ["work", "jobs", "-g", "g", "--out", "done", "--once", "--", "sh", "-c", script];
    let worked = server.run(dir, &work).expect_code(0);
    assert!(worked.stderr.contains("1 done"), "{}", worked.stderr);
    let done = server.run(dir, &["consume", "done"]).expect_code(0);
    assert_eq!(done.stdout.trim_end(), "x");
    std::fs::write(&fifo, "go\n").unwrap();
}

#[test]
fn a_group_is_set_to_another_place() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    server.run(dir, &["topic", "create", "jobs"]).expect_code(0);
    server.run(dir, &["produce", "jobs", "job {n}", "--count", "10"]).expect_code(0);
    server.run(dir, &["group", "create", "jobs", "g", "--start", "end"]).expect_code(0);
    assert_eq!(count(&show(&server, dir, "jobs", "g"), "lagRecords"), 0);

    let dry = ["group", "seek", "jobs", "g", "--to", "4", "--dry-run", "-o", "json"];
    let dry = server.run(dir, &dry).expect_code(0);
    let sought = &rows(&dry)[0];
    assert_eq!((count(sought, "fromOffset"), count(sought, "toOffset")), (10, 4), "{sought}");
    assert_eq!(count(&show(&server, dir, "jobs", "g"), "lagRecords"), 0, "only said");
    server.run(dir, &["group", "seek", "jobs", "g", "--to", "4"]).expect_code(0);
    assert_eq!(count(&show(&server, dir, "jobs", "g"), "lagRecords"), 6);
    let worked =
        server.run(dir, &["work", "jobs", "-g", "g", "--once", "--", "cat"]).expect_code(0);
    assert_eq!(worked.stdout, "job 4job 5job 6job 7job 8job 9");

    server.run(dir, &["group", "seek", "jobs", "g", "--to", "3"]).expect_code(0);
    for more in [&[][..], &["--dry-run"]] {
        let typo = ["group", "seek", "jobs", "g", "--to", "999"];
        let refused = server.run(dir, &[&typo, more].concat()).expect_code(64);
        assert!(refused.stderr.contains("end of jobs/0, which is 10"), "{}", refused.stderr);
        assert!(refused.stderr.contains("at 3 there"), "{}", refused.stderr);
        assert_eq!(refused.stdout, "");
    }
    assert_eq!(count(&show(&server, dir, "jobs", "g"), "lagRecords"), 7, "it was not moved");
    server.run(dir, &["group", "seek", "jobs", "g", "--to", "10"]).expect_code(0);
    assert_eq!(count(&show(&server, dir, "jobs", "g"), "lagRecords"), 0, "the end itself is one");

    server.run(dir, &["group", "edit", "jobs", "g", "--max-attempts", "9"]).expect_code(0);
    let group = show(&server, dir, "jobs", "g");
    assert_eq!(group["settings"]["maxAttempts"], 9);
    for (filter, shown) in [("has size", "has size"), ("", "")] {
        let edit = ["group", "edit", "jobs", "g", "--filter", filter, "-o", "json"];
        let edited = server.run(dir, &edit).expect_code(0);
        assert_eq!(rows(&edited)[0]["settings"]["filter"].as_str().unwrap_or_default(), shown);
    }
    server.run(dir, &["group", "delete", "jobs", "g"]).expect_code(0);
    let gone = server.run(dir, &["group", "show", "jobs", "g"]).expect_code(66);
    assert!(gone.stderr.contains("group list"), "{}", gone.stderr);
    let missing = server.run(dir, &["work", "nothing", "-g", "g", "--", "true"]).expect_code(66);
    assert!(missing.stderr.contains("nothing"), "{}", missing.stderr);
    let missing = ["work", "jobs", "-g", "g", "--", "./no-such-program"];
    let missing = server.run(dir, &missing).expect_code(64);
    assert!(missing.stderr.contains("no-such-program"), "{}", missing.stderr);
    assert_eq!(count(&show(&server, dir, "jobs", "g"), "inFlight"), 0, "it was given back");
}

#[test]
fn a_key_that_no_environment_can_hold_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    server.run(dir, &["topic", "create", "jobs"]).expect_code(0);
    let large = format!("{{\"value\":\"large \",\"key\":\"{}\"}}\n", "k".repeat(200_000));
    let small = "{\"value\":\"small \",\"key\":\"k\"}\n";
    let records = large + small;
    server.run_with_input(dir, &["produce", "jobs", "--ndjson"], records.as_bytes()).expect_code(0);
    let script = "cat; printf '%s ' \"${EMBERMQ_KEY-none}\"";
    let work = ["work", "jobs", "-g", "g", "--once", "--", "sh", "-c", script];
    let worked = server.run(dir, &work).expect_code(0);
    assert_eq!(worked.stdout, "large none small k ");
}

#[test]
fn nobody_has_to_read_what_commands_say() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    server.run(dir, &["topic", "create", "jobs"]).expect_code(0);
    server.run(dir, &["produce", "jobs", "job {n}", "--count", "2"]).expect_code(0);
    // More than a pipe holds.
    let script = "head -c 300000 /dev/zero | tr '\\0' x >&2; cat";
    let mut worker = command(dir)
        .args(["--url", server.url(), "work", "jobs", "-g", "g", "--once", "--"])
        .args(["sh", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(worker.wait().unwrap().code(), Some(0));
    let mut done = String::new();
    worker.stdout.take().unwrap().read_to_string(&mut done).unwrap();
    assert_eq!(done, "job 0job 1");
    let group = show(&server, dir, "jobs", "g");
    assert_eq!((count(&group, "lagRecords"), count(&group, "inFlight")), (0, 0), "{group}");
}

fn make_gate(dir: &Path) {
    assert!(Command::new("mkfifo").arg(dir.join("gate")).status().unwrap().success());
}

/// Starts a worker whose command says that it began, and waits for the gate. With its messages.
fn start_work(
    server: &Server,
    dir: &Path,
    more: &[&str],
) -> (Child, Lines<BufReader<ChildStderr>>) {
    let mut worker = command(dir)
        .args(["--url", server.url(), "work", "jobs", "-g", "g"])
        .args(more)
        .args(["--", "sh", "-c", "echo began; read line < gate"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(worker.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "began\n");
    let messages = BufReader::new(worker.stderr.take().unwrap()).lines();
    (worker, messages)
}

fn terminate(pid: u32) {
    assert!(Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap().success());
}

#[test]
fn a_worker_whose_broker_is_gone_says_so_and_hears_signals() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    server.run(dir, &["topic", "create", "jobs"]).expect_code(0);
    server.run(dir, &["produce", "jobs", "x"]).expect_code(0);
    make_gate(dir);
    let (mut worker, mut messages) = start_work(&server, dir, &["-j", "2", "--timeout", "10ms"]);
    server.kill();
    let said = messages.next().unwrap().unwrap();
    assert!(said.starts_with("nothing more can be leased"), "{said}");
    terminate(worker.id());
    assert!(messages.next().unwrap().unwrap().starts_with("stopping"));
    terminate(worker.id());
    assert_eq!(worker.wait().unwrap().code(), Some(69));
}

#[test]
fn the_first_signal_lets_commands_finish_and_the_second_gives_their_records_back() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    server.run(dir, &["topic", "create", "jobs"]).expect_code(0);
    server.run(dir, &["produce", "jobs", "first"]).expect_code(0);
    server.run(dir, &["produce", "jobs", "second"]).expect_code(0);

    make_gate(dir);
    let work = || start_work(&server, dir, &["--batch", "2"]);

    let (mut worker, mut messages) = work();
    terminate(worker.id());
    assert!(messages.next().unwrap().unwrap().starts_with("stopping"));
    std::fs::write(dir.join("gate"), "go\n").unwrap();
    assert_eq!(worker.wait().unwrap().code(), Some(0));
    let group = show(&server, dir, "jobs", "g");
    assert_eq!((count(&group, "lagRecords"), count(&group, "inFlight")), (1, 0), "{group}");

    let (mut worker, mut messages) = work();
    terminate(worker.id());
    assert!(messages.next().unwrap().unwrap().starts_with("stopping"));
    terminate(worker.id());
    assert_eq!(worker.wait().unwrap().code(), Some(75));
    let script = "printf '%s %s' \"$(cat)\" \"$EMBERMQ_ATTEMPT\"";
    let rest = ["work", "jobs", "-g", "g", "--once", "--", "sh", "-c", script];
    let rest = server.run(dir, &rest).expect_code(0);
    assert_eq!(rest.stdout, "second 1", "what was killed was no attempt");
}
