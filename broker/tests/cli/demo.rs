//! `embermq dev --demo`: the photos that come with the program get their labels, also where other records of the topic wait, and what it says to
//! try next can be tried.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::binary::{Outcome, command, finish};

const LABELS: [(&str, &str); 5] = [
    ("grace_hopper.jpg", "military uniform"),
    ("chelsea.png", "Egyptian cat"),
    ("coffee.png", "espresso"),
    ("camera.png", "tripod"),
    // A near-tie: which one it is depends on how a JPEG is decoded.
    ("china.jpg", ""),
];

/// A demo that runs. Killed when dropped.
struct Demo {
    child: Child,
    url: String,
    /// The table's rows.
    rows: Vec<String>,
}

impl Demo {
    /// Starts it, and reads what it prints to the end.
    fn start(folder: &Path) -> Self {
        let mut child = command(folder)
            .args(["dev", "--demo", "--data", "data", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut lines = out.lines().map(Result::unwrap);
        let url = lines.by_ref().find_map(|line| {
            let at = line.find("http://")?;
            line[at..].split_whitespace().next().map(str::to_owned)
        });
        let mut rows = lines.by_ref().skip_while(|line| !line.starts_with("Demo:")).skip(2);
        let rows = rows.by_ref().take_while(|line| !line.is_empty()).collect();
        assert!(lines.any(|line| line.contains("photos.classify.dlq")), "the last line");
        Self { child, url: url.unwrap(), rows }
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Outcome {
        finish(command(Path::new(".")).args(["--url", &self.url]).args(arguments), input)
    }

    fn expect_labels(&self) {
        let found: Vec<_> = self.rows.iter().map(|row| row.trim_start()).collect();
        assert_eq!(found.len(), LABELS.len(), "{found:#?}");
        for (row, (photo, label)) in found.iter().zip(LABELS) {
            let cells = row.strip_prefix(photo).map(str::trim_start);
            assert!(cells.is_some_and(|cells| cells.starts_with(label)), "{photo}: {row}");
        }
    }

    /// Stops it as Ctrl-C does.
    fn stop(mut self) {
        let pid = self.child.id().to_string();
        let killed = Command::new("kill").args(["-INT", &pid]).status().unwrap();
        assert!(killed.success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn the_demo_labels_its_photos_and_can_be_asked_and_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Demo::start(folder.path());
    demo.expect_labels();

    // What it tells to try: a file of one's own, over HTTP.
    let script = folder.path().join("script");
    fs::write(&script, "#!/bin/sh\nset -e\nfor file in *.jpg; do echo \"$file\"; done\n").unwrap();
    demo.run(&["produce", "files", "--file", script.to_str().unwrap()], b"").expect_code(0);
    let kinds = demo.run(&["consume", "files.kinds", "-n", "1", "-f", "-o", "raw"], b"");
    assert!(kinds.expect_code(0).stdout.contains("\"label\":\"shell\""));

    // Records that wait for the stage while the demo starts anew: the table is that of the photos all the same.
    demo.run(&["stage", "pause", "classify"], b"").expect_code(0);
    let own = folder.path().join("own.png");
    fs::write(&own, CHELSEA).unwrap();
    for _ in 0..3 {
        demo.run(&["produce", "photos", "--file", own.to_str().unwrap()], b"").expect_code(0);
    }
    demo.stop();
    let again = Demo::start(folder.path());
    again.expect_labels();
    let topics = again.run(&["topic", "show", "photos.labels", "-o", "json"], b"").expect_code(0);
    let shown: Value = serde_json::from_str(topics.lines()[0]).unwrap();
    assert_eq!(shown["partitions"][0]["endOffset"], "13", "{shown}");
    again.stop();
}

const CHELSEA: &[u8] = include_bytes!("../../../inference/models/samples/chelsea.png");
