//! The peer: a Redis stream, workers in Python with onnxruntime, and a stream of what they answer.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::Bytes;
use embermq_benches::Failure;
use embermq_benches::peer::Running;
use embermq_benches::redis::{Connection, Redis, command};

use crate::contest::{Load, Pipeline, Producer, Reader, check};
use crate::job::{Contest, Job};

/// The environment variable that names a Python with what the worker needs.
const PYTHON: &str = "EMBERMQ_BENCH_PYTHON";
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/stages/peer");
const GROUP: &[u8] = b"workers";

/// A Python that has what the worker needs; says so when there is none.
#[expect(clippy::print_stdout, reason = "a benchmark prints")]
pub(crate) fn python() -> Option<PathBuf> {
    let python = std::env::var_os(PYTHON).map_or_else(|| "python3".into(), PathBuf::from);
    let modules = "import hiredis, numpy, onnxruntime, orjson, PIL, redis";
    let mut tried = Command::new(&python);
    tried.args(["-c", modules]).stdout(Stdio::null()).stderr(Stdio::null());
    if tried.status().is_ok_and(|status| status.success()) {
        return Some(python);
    }
    println!(
        "SKIPPED workers in Python: {} cannot `{modules}`; get it with `python3 -m venv DIR && DIR/bin/pip install -r \
         benches/stages/peer/requirements.txt`, and set {PYTHON} to DIR/bin/python",
        python.display()
    );
    None
}

/// Some workers between two streams of their own.
pub(crate) struct Workers {
    address: SocketAddr,
    input: String,
    output: String,
    _processes: Vec<Running>,
}

impl Workers {
    /// Starts `count` of them, which share the cores.
    pub(crate) async fn start(
        redis: &Redis,
        python: &Path,
        job: &Job,
        contest: &Contest,
        (count, cores): (usize, usize),
    ) -> Result<Self, Failure> {
        let (input, output) =
            (format!("{}-{count}", job.name), format!("{}-{count}.out", job.name));
        let mut control = Connection::connect(redis.address).await?;
        control.ask(&[b"XGROUP", b"CREATE", input.as_bytes(), GROUP, b"$", b"MKSTREAM"]).await?;
        let mut processes = Vec::new();
        for _ in 0..count {
            let mut worker = Command::new(python);
            worker.arg(Path::new(FOLDER).join("worker.py"));
            worker.args([&redis.address.port().to_string(), &input, &output, contest.kind]);
            worker.arg(job.bundle.join(contest.file)).arg(job.bundle.join("labels.txt"));
            worker.args([contest.worker_batch.to_string(), (cores / count).max(1).to_string()]);
            processes.push(Running::start_telling(&mut worker)?.0);
        }
        Ok(Self { address: redis.address, input, output, _processes: processes })
    }
}

impl Pipeline for Workers {
    type Producer = Adder;
    type Reader = StreamReader;

    async fn producer(&self, load: &Load) -> Result<Adder, Failure> {
        let request = |values: &Vec<Bytes>| {
            let mut out = Vec::new();
            for value in values {
                command(&mut out, &[b"XADD", self.input.as_bytes(), b"*", b"v", value]);
            }
            (values.len(), out)
        };
        let requests = load.requests.iter().map(request).collect();
        Ok(Adder { connection: Connection::connect(self.address).await?, requests })
    }

    async fn reader(&self) -> Result<StreamReader, Failure> {
        let connection = Connection::connect(self.address).await?;
        // The stream is empty, and ids only grow.
        Ok(StreamReader {
            connection,
            stream: self.output.clone(),
            after: Bytes::from_static(b"0"),
        })
    }

    /// Redis keeps everything in memory.
    async fn clear(&self) -> Result<(), Failure> {
        let mut connection = Connection::connect(self.address).await?;
        for stream in [&self.input, &self.output] {
            connection.ask(&[b"XTRIM", stream.as_bytes(), b"MAXLEN", b"0"]).await?;
        }
        Ok(())
    }
}

pub(crate) struct Adder {
    connection: Connection,
    /// Commands, and how many they are.
    requests: Vec<(usize, Vec<u8>)>,
}

impl Producer for Adder {
    async fn send(&mut self, request: usize) -> Result<(), Failure> {
        let (count, commands) = &self.requests[request];
        self.connection.0.send(commands).await?;
        for _ in 0..*count {
            self.connection.reply().await?;
        }
        Ok(())
    }
}

pub(crate) struct StreamReader {
    connection: Connection,
    stream: String,
    after: Bytes,
}

impl Reader for StreamReader {
    async fn read(&mut self) -> Result<usize, Failure> {
        let mut request = Vec::new();
        command(
            &mut request,
            &[
                b"XREAD",
                b"COUNT",
                b"10000",
                b"BLOCK",
                b"10000",
                b"STREAMS",
                self.stream.as_bytes(),
                &self.after,
            ],
        );
        self.connection.0.send(&request).await?;
        let entries = self.connection.entries().await?;
        for (_, value) in &entries {
            check(value)?;
        }
        if let Some((id, _)) = entries.last() {
            self.after = id.clone();
        }
        Ok(entries.len())
    }
}
