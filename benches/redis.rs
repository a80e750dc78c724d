//! RESP, as Redis speaks it: commands as arrays of strings, and the replies that streams have.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use tempfile::TempDir;

use crate::Failure;
use crate::peer::{Program, Running, free_port};
use crate::wire::Wire;

/// The server, where it may be.
pub const REDIS: Program = Program {
    name: "redis-server",
    variable: "EMBERMQ_BENCH_REDIS",
    install: "apt install redis-server",
};

/// A server of our own that syncs before it replies; ends with this, and its data is gone.
#[derive(Debug)]
pub struct Redis {
    /// Where it listens.
    pub address: SocketAddr,
    _server: Running,
    _dir: TempDir,
}

impl Redis {
    /// Starts it with its data under `dir`.
    ///
    /// # Errors
    /// It cannot be started, or does not answer.
    pub async fn start(program: &Path, dir: &Path) -> Result<Self, Failure> {
        let dir = tempfile::tempdir_in(dir)?;
        let address = free_port()?;
        let mut command = Command::new(program);
        command.current_dir(dir.path()).args(["--bind", "127.0.0.1", "--save", ""]);
        command.args(["--port", &address.port().to_string()]);
        command.args(["--appendonly", "yes", "--appendfsync", "always"]);
        // Nothing that would slow it down in the middle.
        command.args(["--auto-aof-rewrite-percentage", "0"]);
        let server = Running::start(&mut command, address).await?;
        Ok(Self { address, _server: server, _dir: dir })
    }
}

/// A connection to it.
#[derive(Debug)]
pub struct Connection(pub Wire);

/// A reply, or the beginning of one.
#[derive(Debug)]
pub enum Reply {
    /// A simple string.
    Text,
    /// An integer.
    Number(i64),
    /// A string of any bytes.
    Bulk(Bytes),
    /// A null.
    Nothing,
    /// So many replies follow.
    Array(usize),
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// What the system says.
    pub async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        Ok(Self(Wire::connect(address).await?))
    }

    /// A command whose reply only has to be no error.
    ///
    /// # Errors
    /// The connection ended, or Redis replies with an error or with something else.
    pub async fn ask(&mut self, words: &[&[u8]]) -> Result<(), Failure> {
        let mut request = Vec::new();
        command(&mut request, words);
        self.0.send(&request).await?;
        self.reply().await.map(|_| ())
    }

    /// The next reply.
    ///
    /// # Errors
    /// The connection ended, or Redis replies with an error or with something else.
    pub async fn reply(&mut self) -> Result<Reply, Failure> {
        let line = self.0.line().await?;
        let (kind, rest) = line.split_first().ok_or("an empty reply")?;
        let number = || -> Result<i64, Failure> { Ok(std::str::from_utf8(rest)?.parse()?) };
        Ok(match kind {
            b'+' => Reply::Text,
            b':' => Reply::Number(number()?),
            b'$' | b'*' if number()? < 0 => Reply::Nothing,
            b'*' => Reply::Array(usize::try_from(number()?)?),
            b'$' => {
                let count = usize::try_from(number()?)?;
                let mut bytes = self.0.bytes(count + 2).await?;
                bytes.truncate(count);
                Reply::Bulk(bytes)
            }
            _ => return Err(format!("Redis says {}", String::from_utf8_lossy(&line)).into()),
        })
    }

    /// The identifiers of the entries of one stream with their last values, `[[stream, [[id, [name, value]], ..]]]`; none when the
    /// reply is a null.
    ///
    /// # Errors
    /// The connection ended, or Redis replies with an error or with something else.
    pub async fn entries(&mut self) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        match self.reply().await? {
            Reply::Nothing => return Ok(Vec::new()),
            Reply::Array(_) => {}
            reply => return Err(unexpected(&reply)),
        }
        self.array().await?;
        self.bulk().await?;
        let mut entries = Vec::new();
        for _ in 0..self.array().await? {
            self.array().await?;
            let (id, mut value) = (self.bulk().await?, Bytes::new());
            for _ in 0..self.array().await? {
                value = self.bulk().await?;
            }
            entries.push((id, value));
        }
        Ok(entries)
    }

    async fn array(&mut self) -> Result<usize, Failure> {
        match self.reply().await? {
            Reply::Array(count) => Ok(count),
            reply => Err(unexpected(&reply)),
        }
    }

    async fn bulk(&mut self) -> Result<Bytes, Failure> {
        match self.reply().await? {
            Reply::Bulk(bytes) => Ok(bytes),
            reply => Err(unexpected(&reply)),
        }
    }
}

/// An error that shows a reply.
#[must_use]
pub fn unexpected(reply: &Reply) -> Failure {
    format!("not what was expected of Redis: {reply:?}").into()
}

/// Writes a command as an array of strings.
pub fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend(format!("*{}\r\n", words.len()).bytes());
    for word in words {
        out.extend(format!("${}\r\n", word.len()).bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}
