//! Other programs as child processes: found, started on a free port of this machine, and ended.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::Failure;
use crate::wire::Wire;

/// How often it is looked whether a peer answers, and how many times.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: u32 = 500;

/// A program that may be on this machine.
#[derive(Debug)]
pub struct Program {
    /// Its file's name.
    pub name: &'static str,
    /// The environment variable that may hold its path.
    pub variable: &'static str,
    /// How to get it.
    pub install: &'static str,
}

/// Where a program is; says so when it is nowhere.
#[expect(clippy::print_stdout, reason = "a benchmark prints")]
#[must_use]
pub fn find(program: &Program) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(program.variable) {
        return Some(path.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|dir| dir.join(program.name)).find(|file| file.is_file());
    if found.is_none() {
        println!(
            "SKIPPED {}: not in PATH; get it with `{}`, or set {}",
            program.name, program.install, program.variable
        );
    }
    found
}

/// A port that was free just now.
///
/// # Errors
/// What the system says.
pub fn free_port() -> Result<SocketAddr, Failure> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A process that ends with this.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts it and waits until it takes connections.
    ///
    /// # Errors
    /// It cannot be started, has ended, or does not answer.
    pub async fn start(command: &mut Command, address: SocketAddr) -> Result<Self, Failure> {
        let mut running = Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
        for _ in 0..LOOKS {
            if Wire::connect(address).await.is_ok() {
                return Ok(running);
            }
            if let Some(status) = running.0.try_wait()? {
                return Err(format!("{} ended: {status}", name_of(command)).into());
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(format!("{} does not answer on {address}", name_of(command)).into())
    }

    /// Starts it and waits for the first line that it prints, which says that it is ready. What that line says.
    ///
    /// # Errors
    /// It cannot be started, or has ended without a line.
    pub fn start_telling(command: &mut Command) -> Result<(Self, String), Failure> {
        let mut running = Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
        let stdout = running.0.stdout.take().ok_or("a process without an output")?;
        let mut line = String::new();
        if BufReader::new(stdout).read_line(&mut line)? == 0 {
            let status = running.0.wait()?;
            return Err(format!("{} ended: {status}", name_of(command)).into());
        }
        Ok((running, line.trim_end().to_owned()))
    }
}

fn name_of(command: &Command) -> std::borrow::Cow<'_, str> {
    command.get_program().to_string_lossy()
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
