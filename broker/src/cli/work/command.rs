//! One record, one process: its input and environment, what it leaves, and what its end means.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use embermq_protocol::client::{Failed, Leased};
use embermq_protocol::limits::RECORD_BYTES_CEILING;
use embermq_protocol::v1::Record;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use super::aside::Aside;
use super::tail::{pass_on, text};

/// The exit code of a command that only wants to be tried again (`EX_TEMPFAIL`).
const TRY_AGAIN: i32 = 75;
/// Who stops us often kills our commands at the same moment: so long the news of it may be behind that of their end.
const NEWS_OF_STOPPING: Duration = Duration::from_millis(100);

/// What a command left running in the background has its output for as long as it likes: so long it is waited for behind the end of the
/// command, which by then has written all it will.
const OUTPUT_AFTER_THE_END: Duration = Duration::from_secs(1);

/// How far the worker is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Working,
    /// Nothing new; what runs may finish.
    Stopping,
    /// What runs is killed.
    Killing,
}

/// What is run for each record.
#[derive(Debug)]
pub(super) struct Job {
    /// The program and its arguments.
    pub(super) command: Vec<OsString>,
    /// Its standard output becomes a record; otherwise it is ours.
    pub(super) wants_output: bool,
    pub(super) stages: watch::Receiver<Stage>,
    /// Why the program cannot be run at all.
    pub(super) broken: watch::Sender<Option<String>>,
    pub(super) aside: Aside,
    pub(super) quiet: bool,
}

/// What a process left.
struct Left {
    status: ExitStatus,
    output: Vec<u8>,
    /// The end of its standard error.
    said: String,
}

impl Job {
    /// Runs the command for a record.
    pub(super) async fn run(&self, lease: Leased) -> Result<Option<Record>, Failed> {
        let outcome = match self.spawn(&lease) {
            Ok(child) => {
                let input = lease.record.value.clone().unwrap_or_default();
                match self.attend(child, &input).await {
                    Ok(left) => self.judge(left, &lease).await,
                    Err(error) => {
                        Err(Failed::retry(format!("lost touch with the command: {error}")))
                    }
                }
            }
            Err(error) => {
                let program = self.command.first().map(OsString::as_os_str).unwrap_or_default();
                let reason = format!("cannot run {}: {error}", program.display());
                if passes(&error) {
                    Err(Failed::retry(reason))
                } else {
                    self.broken.send_replace(Some(reason));
                    return Err(Failed::release());
                }
            }
        };
        if let Err(failed) = &outcome
            && !self.quiet
        {
            let Leased { topic, partition, offset, attempt, .. } = &lease;
            self.aside.tell(&format!("{topic}/{partition}/{offset}, attempt {attempt}: {failed}"));
        }
        outcome
    }

    fn spawn(&self, lease: &Leased) -> io::Result<Child> {
        // An environment variable cannot hold a zero byte.
        let key = lease.record.key.as_deref().filter(|key| !key.contains(&0));
        match self.spawn_with(key, lease) {
            // It cannot hold a large key either: how large depends on the system and on what else is in there.
            Err(error) if key.is_some() && errno(&error) == Some(Errno::TOOBIG) => {
                self.spawn_with(None, lease)
            }
            spawned => spawned,
        }
    }

    fn spawn_with(&self, key: Option<&[u8]>, lease: &Leased) -> io::Result<Child> {
        let mut words = self.command.iter();
        let mut command = Command::new(words.next().map(OsString::as_os_str).unwrap_or_default());
        command
            .args(words)
            .env("EMBERMQ_TOPIC", lease.topic.as_str())
            .env("EMBERMQ_PARTITION", lease.partition.to_string())
            .env("EMBERMQ_OFFSET", lease.offset.to_string())
            .env("EMBERMQ_ATTEMPT", lease.attempt.to_string())
            .env_remove("EMBERMQ_KEY")
            .stdin(Stdio::piped())
            .stdout(if self.wants_output { Stdio::piped() } else { Stdio::inherit() })
            .stderr(Stdio::piped())
            // A Ctrl-C is for us: what runs may finish.
            .process_group(0)
            .kill_on_drop(true);
        if let Some(key) = key {
            command.env("EMBERMQ_KEY", OsStr::from_bytes(key));
        }
        command.spawn()
    }

    /// Feeds it and waits for its end; kills it when that is wanted.
    async fn attend(&self, mut child: Child, input: &[u8]) -> io::Result<Left> {
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let all = async {
            let (mut output, mut said) = (Vec::new(), Vec::new());
            let status = {
                let said = async {
                    match stderr {
                        Some(stderr) => pass_on(stderr, &self.aside, &mut said).await,
                        None => Ok(()),
                    }
                };
                let pipes = async {
                    let (_fed, read, said) =
                        tokio::join!(feed(stdin, input), read(stdout, &mut output), said);
                    read.and(said)
                };
                let mut pipes = std::pin::pin!(pipes);
                tokio::select! {
                    read = &mut pipes => {
                        read?;
                        child.wait().await?
                    }
                    status = child.wait() => {
                        timeout(OUTPUT_AFTER_THE_END, pipes).await.unwrap_or(Ok(()))?;
                        status?
                    }
                }
            };
            Ok(Left { status, output, said: text(&said) })
        };
        let mut stages = self.stages.clone();
        let killing = async {
            // Without a sender the worker is gone, and so is this.
            let _stage = stages.wait_for(|stage| *stage == Stage::Killing).await;
        };
        let mut all = std::pin::pin!(all);
        tokio::select! {
            left = &mut all => return left,
            () = killing => {}
        }
        if let Some(group) = group {
            // It may have ended just now.
            let _ = kill_process_group(group, Signal::KILL);
        }
        all.await
    }

    async fn judge(&self, left: Left, lease: &Leased) -> Result<Option<Record>, Failed> {
        let Left { status, output, said } = left;
        if output.len() > RECORD_BYTES_CEILING as usize {
            return Err(Failed::retry(format!(
                "its output is larger than a record can be ({RECORD_BYTES_CEILING} bytes)"
            )));
        }
        if status.success() {
            let mut record = Record::new(output);
            record.key.clone_from(&lease.record.key);
            let is_empty = record.value.as_ref().is_none_or(bytes::Bytes::is_empty);
            return Ok((!is_empty).then_some(record));
        }
        if status.signal().is_some() && self.is_stopping().await {
            return Err(Failed::release());
        }
        let end = match (status.code(), status.signal()) {
            (Some(TRY_AGAIN), _) => "it asks to be tried again".to_owned(),
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => status.to_string(),
        };
        Err(Failed::retry(if said.is_empty() { end } else { format!("{end}: {said}") }))
    }

    async fn is_stopping(&self) -> bool {
        let mut stages = self.stages.clone();
        let stopping = stages.wait_for(|stage| *stage != Stage::Working);
        timeout(NEWS_OF_STOPPING, stopping).await.is_ok()
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    Errno::from_io_error(error)
}

/// Whether the system could not run a program just now. Otherwise it is the program that cannot be run.
fn passes(error: &io::Error) -> bool {
    // The last one: somebody writes the program.
    const PASSING: [Errno; 5] =
        [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE, Errno::TXTBSY];
    errno(error).is_some_and(|errno| PASSING.contains(&errno))
}

/// Writes the value; a command need not read it.
async fn feed(stdin: Option<ChildStdin>, input: &[u8]) -> io::Result<()> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    stdin.write_all(input).await?;
    stdin.shutdown().await
}

/// Reads as much as a record can hold, and one byte more.
async fn read(stdout: Option<ChildStdout>, output: &mut Vec<u8>) -> io::Result<()> {
    if let Some(stdout) = stdout {
        stdout.take(u64::from(RECORD_BYTES_CEILING) + 1).read_to_end(output).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_lacks_for_the_moment_is_no_fault_of_the_program() {
        assert!([Errno::AGAIN, Errno::MFILE].into_iter().all(|errno| passes(&errno.into())));
        let broken = [Errno::NOENT, Errno::ACCESS, Errno::NOEXEC, Errno::TOOBIG];
        assert!(!broken.into_iter().any(|errno| passes(&errno.into())));
    }
}
