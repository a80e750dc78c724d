//! Other queues as child processes: found, started on a free port of this machine, and ended.

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
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// The environment variable that may hold its path.
    pub(crate) variable: &'static str,
    /// How to get it.
    pub(crate) install: &'static str,
}

/// Where a program is; says so when it is nowhere.
#[expect(clippy::print_stdout, reason = "a benchmark prints")]
pub(crate) fn find(program: &Program) -> Option<PathBuf> {
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
pub(crate) fn free_port() -> Result<SocketAddr, Failure> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A process that ends with this.
pub(crate) struct Running(Child);

impl Running {
    /// Starts it and waits until it takes connections.
    pub(crate) async fn start(command: &mut Command, address: SocketAddr) -> Result<Self, Failure> {
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
