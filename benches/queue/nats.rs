//! NATS JetStream: a stream of files and durable pull consumers, in the text protocol of NATS.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use embermq_benches::peer::{Running, free_port};
use embermq_benches::wire::Wire;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::contest::{Consumer, WorkQueue};
use crate::{FILL_BATCH, Failure, RECORD_BYTES};

/// The stream and its only subject.
const STREAM: &str = "jobs";

/// What becomes of a record that is acknowledged.
#[derive(Clone, Copy)]
pub(crate) enum Retention {
    /// It is deleted, and that is synced: the acknowledgement is durable.
    WorkQueue,
    /// It stays; the consumer's place is written now and then, behind the confirmation.
    Limits,
}

impl Retention {
    const fn word(self) -> &'static str {
        match self {
            Self::WorkQueue => "workqueue",
            Self::Limits => "limits",
        }
    }
}

pub(crate) struct Nats {
    retention: Retention,
    address: SocketAddr,
    control: Connection,
    _server: Running,
    _dir: TempDir,
}

impl Nats {
    pub(crate) async fn start(
        program: &Path,
        dir: &Path,
        retention: Retention,
    ) -> Result<Self, Failure> {
        let dir = tempfile::tempdir_in(dir)?;
        let address = free_port()?;
        let (config, data) = (dir.path().join("nats.conf"), dir.path().join("data"));
        let text = format!(
            "listen: \"{address}\"\njetstream {{ store_dir: {}, sync_interval: always }}\n",
            json!(data)
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new(program);
        command.arg("--config").arg(&config).arg("--log").arg(dir.path().join("log"));
        let server = Running::start(&mut command, address).await?;
        let mut control = Connection::open(address).await?;
        let stream = json!({ "name": STREAM, "subjects": [STREAM], "storage": "file", "retention": retention.word() });
        control.ask(&format!("STREAM.CREATE.{STREAM}"), &stream).await?;
        Ok(Self { retention, address, control, _server: server, _dir: dir })
    }
}

impl WorkQueue for Nats {
    type Consumer = NatsConsumer;

    async fn fill(&self, records: u32) -> Result<(), Failure> {
        let mut connection = Connection::open(self.address).await?;
        let mut one = Vec::new();
        publish(&mut one, STREAM, &connection.answers, &[0x5a; RECORD_BYTES]);
        let mut left = records;
        while left > 0 {
            let count = left.min(FILL_BATCH);
            connection.wire.send(&one.repeat(count as usize)).await?;
            for _ in 0..count {
                no_error(&connection.message().await?)?;
            }
            left -= count;
        }
        Ok(())
    }

    async fn consumer(&self) -> Result<Self::Consumer, Failure> {
        let connection = Connection::open(self.address).await?;
        Ok(NatsConsumer { connection, request: Vec::new() })
    }

    async fn open_group(&mut self, group: &str) -> Result<(), Failure> {
        let config =
            json!({ "durable_name": group, "ack_policy": "explicit", "deliver_policy": "all" });
        let request = json!({ "stream_name": STREAM, "config": config });
        self.control.ask(&format!("CONSUMER.DURABLE.CREATE.{STREAM}.{group}"), &request).await
    }

    async fn close_group(&mut self, group: &str, acknowledged: u32) -> Result<(), Failure> {
        self.control.ask(&format!("CONSUMER.DELETE.{STREAM}.{group}"), &Value::Null).await?;
        match self.retention {
            Retention::WorkQueue => self.fill(acknowledged).await,
            Retention::Limits => Ok(()),
        }
    }
}

pub(crate) struct NatsConsumer {
    connection: Connection,
    request: Vec<u8>,
}

impl Consumer for NatsConsumer {
    async fn round(&mut self, group: &str, batch: u32) -> Result<u32, Failure> {
        let connection = &mut self.connection;
        self.request.clear();
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{group}");
        // As long as the server waits, though there always are enough: 30 s.
        let wish = format!("{{\"batch\":{batch},\"expires\":30000000000}}");
        publish(&mut self.request, &subject, &connection.answers, wish.as_bytes());
        connection.wire.send(&self.request).await?;
        self.request.clear();
        for _ in 0..batch {
            let message = connection.message().await?;
            let to = message.reply.as_ref().ok_or_else(|| format!("no record: {message:?}"))?;
            publish(&mut self.request, std::str::from_utf8(to)?, &connection.answers, b"+ACK");
        }
        connection.wire.send(&self.request).await?;
        for _ in 0..batch {
            no_error(&connection.message().await?)?;
        }
        Ok(batch)
    }
}

/// A connection that gets all answers in one inbox, in order.
struct Connection {
    wire: Wire,
    answers: String,
}

#[derive(Debug)]
struct Message {
    reply: Option<Bytes>,
    payload: Bytes,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let mut wire = Wire::connect(address).await?;
        let info = wire.line().await?;
        if !info.starts_with(b"INFO ") {
            return Err("no greeting of NATS".into());
        }
        let answers = format!("_INBOX.{}", wire.local_port()?);
        let options = json!({ "verbose": false, "pedantic": false, "headers": true });
        wire.send(format!("CONNECT {options}\r\nSUB {answers} 1\r\n").as_bytes()).await?;
        Ok(Self { wire, answers })
    }

    /// A request of the JetStream API.
    async fn ask(&mut self, what: &str, request: &Value) -> Result<(), Failure> {
        let body = if request.is_null() { Vec::new() } else { serde_json::to_vec(request)? };
        let mut bytes = Vec::new();
        publish(&mut bytes, &format!("$JS.API.{what}"), &self.answers, &body);
        self.wire.send(&bytes).await?;
        no_error(&self.message().await?)
    }

    /// The next message: `MSG subject sid [reply] bytes`. One with headers is a refusal, as nobody here sends any.
    async fn message(&mut self) -> Result<Message, Failure> {
        loop {
            let line = self.wire.line().await?;
            let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
            match (words.first(), words.last()) {
                (Some(&b"MSG"), Some(count)) => {
                    let count: usize = std::str::from_utf8(count)?.parse()?;
                    let reply = (words.len() == 5).then(|| line.slice_ref(words[3]));
                    let mut payload = self.wire.bytes(count + 2).await?;
                    payload.truncate(count);
                    return Ok(Message { reply, payload });
                }
                (Some(&b"HMSG"), Some(count)) => {
                    let count: usize = std::str::from_utf8(count)?.parse()?;
                    let refusal = self.wire.bytes(count + 2).await?;
                    let refusal = String::from_utf8_lossy(&refusal);
                    return Err(format!("NATS says {}", refusal.trim()).into());
                }
                (Some(&b"PING"), _) => self.wire.send(b"PONG\r\n").await?,
                (Some(&(b"INFO" | b"PONG" | b"+OK")), _) => {}
                _ => return Err(format!("NATS says {}", String::from_utf8_lossy(&line)).into()),
            }
        }
    }
}

/// Answers of JetStream are JSON, or empty.
fn no_error(answer: &Message) -> Result<(), Failure> {
    if answer.payload.windows(8).any(|bytes| bytes == b"\"error\":") {
        return Err(format!("NATS says {}", String::from_utf8_lossy(&answer.payload)).into());
    }
    Ok(())
}

fn publish(out: &mut Vec<u8>, subject: &str, reply: &str, payload: &[u8]) {
    out.extend(format!("PUB {subject} {reply} {}\r\n", payload.len()).bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}
