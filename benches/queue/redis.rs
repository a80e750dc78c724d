//! Redis Streams: `XREADGROUP` and `XACK`, in RESP.

use std::path::Path;

use embermq_benches::redis::{Connection, Redis, Reply, command, unexpected};

use crate::contest::{Consumer, WorkQueue};
use crate::{FILL_BATCH, Failure, RECORD_BYTES};

const STREAM: &[u8] = b"jobs";

pub(crate) struct RedisQueue {
    control: Connection,
    server: Redis,
}

impl RedisQueue {
    pub(crate) async fn start(program: &Path, dir: &Path) -> Result<Self, Failure> {
        let server = Redis::start(program, dir).await?;
        Ok(Self { control: Connection::connect(server.address).await?, server })
    }
}

impl WorkQueue for RedisQueue {
    type Consumer = RedisConsumer;

    async fn fill(&self, records: u32) -> Result<(), Failure> {
        let mut connection = Connection::connect(self.server.address).await?;
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
        let connection = Connection::connect(self.server.address).await?;
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
        let taken = self.connection.entries().await?;
        let mut words: Vec<&[u8]> = vec![b"XACK", STREAM, group];
        words.extend(taken.iter().map(|(id, _)| &**id));
        self.request.clear();
        command(&mut self.request, &words);
        self.connection.0.send(&self.request).await?;
        match self.connection.reply().await? {
            Reply::Number(acknowledged) => Ok(u32::try_from(acknowledged)?),
            reply => Err(unexpected(&reply)),
        }
    }
}
