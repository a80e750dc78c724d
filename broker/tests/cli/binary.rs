//! Runs the binary, and a server of it that ends with the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What a command left.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    pub(crate) fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}

const BINARY: &str = env!("CARGO_BIN_EXE_embermq");

/// The binary in a folder of its own, with none of the caller's settings.
pub(crate) fn command(folder: &Path) -> Command {
    plain(folder, Command::new(BINARY))
}

/// The same, allowed to open no more than so many files.
#[cfg(target_os = "linux")]
pub(crate) fn command_with_open_files(folder: &Path, most: u32) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -n {most} && exec \"$0\" \"$@\""), BINARY]);
    plain(folder, shell)
}

fn plain(folder: &Path, mut command: Command) -> Command {
    command.current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("EMBERMQ_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs the binary to its end.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Outcome {
    finish(command(folder).args(arguments), b"")
}

/// Runs a prepared command to its end with this standard input.
pub(crate) fn finish(command: &mut Command, input: &[u8]) -> Outcome {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // Beside the reading of its output: either pipe may fill up.
    let writer = std::thread::spawn(move || {
        // A command that needs no input closes it.
        drop(stdin.write_all(&input));
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A running server. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// What it said when it was ready.
    pub(crate) banner: serde_json::Value,
}

impl Server {
    /// Starts one on a free port and waits until it listens.
    pub(crate) fn start(folder: &Path) -> Self {
        Self::start_as(&mut command(folder))
    }

    /// The same by a command that becomes the binary.
    pub(crate) fn start_as(command: &mut Command) -> Self {
        let mut child = command
            .args(["serve", "--data", "data", "--listen", "127.0.0.1:0", "-o", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut stderr = String::new();
            child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
            panic!("the server did not start: {stderr}");
        }
        let banner = serde_json::from_str(&line).unwrap();
        Self { child, banner }
    }

    pub(crate) fn url(&self) -> &str {
        self.banner["url"].as_str().unwrap()
    }

    /// Runs a client command against it.
    pub(crate) fn run(&self, folder: &Path, arguments: &[&str]) -> Outcome {
        self.run_with_input(folder, arguments, b"")
    }

    pub(crate) fn run_with_input(
        &self,
        folder: &Path,
        arguments: &[&str],
        input: &[u8],
    ) -> Outcome {
        finish(command(folder).args(["--url", self.url()]).args(arguments), input)
    }

    /// Ends it as kill -9 does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop and gives its exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
