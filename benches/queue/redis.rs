//! Redis Streams: `XREADGROUP` and `XACK`, in RESP.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use tempfile::TempDir;

use crate::contest::{Consumer, WorkQueue};
use crate::peer::{Running, free_port};
use crate::wire::Wire;
use crate::{FILL_BATCH, Failure, RECORD_BYTES};

const STREAM: &[u8] = b"jobs";

pub(crate) struct Redis {
    address: SocketAddr,
    control: Connection,
    _server: Running,
    _dir: TempDir,
}

impl Redis {
    pub(crate) async fn start(program: &Path, dir: &Path) -> Result<Self, Failure> {
        let dir = tempfile::tempdir_in(dir)?;
        let address = free_port()?;
        let mut command = Command::new(program);
        command.current_dir(dir.path()).args(["--bind", "127.0.0.1", "--save", ""]);
        command.args(["--port", &address.port().to_string()]);
        command.args(["--appendonly", "yes", "--appendfsync", "always"]);
        // Nothing that would slow it down in the middle.
        command.args(["--auto-aof-rewrite-percentage", "0"]);
        let server = Running::start(&mut command, address).await?;
        let control = Connection(Wire::connect(address).await?);
        Ok(Self { address, control, _server: server, _dir: dir })
    }
}

impl WorkQueue for Redis {
    type Consumer = RedisConsumer;

    async fn fill(&self, records: u32) -> Result<(), Failure> {
        let mut connection = Connection(Wire::connect(self.address).await?);
        let mut one = Vec::new();
        command(&mut one, &[b"XADD", STREAM, b"*", b"v", &[0x5a; RECORD_BYTES]]);
        let batch = one.repeat(FILL_BATCH as usize);
        for _ in 0..records / FILL_BATCH {
            connection.0.send(&batch).await?;
            for _ in 0..FILL_BATCH {
                connection.reply().await?;
            }
        }
        Ok(())
    }

    async fn consumer(&self) -> Result<Self::Consumer, Failure> {
        let connection = Connection(Wire::connect(self.address).await?);
        let name = connection.0.local_port()?.to_string();
        Ok(RedisConsumer { connection, name, request: Vec::new() })
    }

    async fn open_group(&mut self, group: &str) -> Result<(), Failure> {
        self.control.ask(&[b"XGROUP", b"CREATE", STREAM, group.as_bytes(), b"0"]).await
    }

    async fn close_group(&mut self, group: &str, _acknowledged: u32) -> Result<(), Failure> {
        self.control.ask(&[b"XGROUP", b"DESTROY", STREAM, group.as_bytes()]).await
    }
}

pub(crate) struct RedisConsumer {
    connection: Connection,
    name: String,
    request: Vec<u8>,
}

impl Consumer for RedisConsumer {
    async fn round(&mut self, group: &str, batch: u32) -> Result<u32, Failure> {
        let (group, count) = (group.as_bytes(), batch.to_string());
        self.request.clear();
        command(
            &mut self.request,
            &[
                b"XREADGROUP",
                b"GROUP",
                group,
                self.name.as_bytes(),
                b"COUNT",
                count.as_bytes(),
                b"STREAMS",
                STREAM,
                b">",
            ],
        );
        self.connection.0.send(&self.request).await?;
        let ids = self.connection.entries().await?;
        let mut words: Vec<&[u8]> = vec![b"XACK", STREAM, group];
        words.extend(ids.iter().map(|id| &**id));
        self.request.clear();
        command(&mut self.request, &words);
        self.connection.0.send(&self.request).await?;
        match self.connection.reply().await? {
            Reply::Number(acknowledged) => Ok(u32::try_from(acknowledged)?),
            reply => Err(unexpected(&reply)),
        }
    }
}

struct Connection(Wire);

#[derive(Debug)]
enum Reply {
    Text,
    Number(i64),
    Bulk(Bytes),
    Nothing,
    /// So many replies follow.
    Array(usize),
}

impl Connection {
    /// A command whose reply only has to be no error.
    async fn ask(&mut self, words: &[&[u8]]) -> Result<(), Failure> {
        let mut request = Vec::new();
        command(&mut request, words);
        self.0.send(&request).await?;
        self.reply().await.map(|_| ())
    }

    async fn reply(&mut self) -> Result<Reply, Failure> {
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

    /// The identifiers of the entries of one stream, `[[stream, [[id, [name, value]], ..]]]`.
    async fn entries(&mut self) -> Result<Vec<Bytes>, Failure> {
        self.array().await?;
        self.array().await?;
        self.bulk().await?;
        let mut ids = Vec::new();
        for _ in 0..self.array().await? {
            self.array().await?;
            ids.push(self.bulk().await?);
            for _ in 0..self.array().await? {
                self.bulk().await?;
            }
        }
        Ok(ids)
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

fn unexpected(reply: &Reply) -> Failure {
    format!("not what was expected of Redis: {reply:?}").into()
}

/// Writes a command as an array of strings.
fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend(format!("*{}\r\n", words.len()).bytes());
    for word in words {
        out.extend(format!("${}\r\n", word.len()).bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}
