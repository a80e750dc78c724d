//! A broker of one topic that keeps everything in memory and fails on purpose: just the producer semantics of the
//! contract, and faults before and after a request takes effect.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use embermq_protocol::{
    Code, Problem,
    batch::{self, ProducerFields, Route, ScanLimits},
    headers, media, paths,
    problem::ConnectError,
    time::Timestamp,
    v1::{
        AppendResult, DeleteTopicResponse, FetchResponse, GetTopicResponse, PartitionInfo,
        ProduceResponse, Record, RecordBatch, Topic,
    },
};
use futures::stream;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::{net::TcpListener, sync::Notify};

use crate::desk::{self, Desk};

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Refused with 429 before anything happens.
    Overloaded,
    /// Refused for its form before anything is looked up, as when the topic's limit has just been lowered.
    TooLarge,
    /// A proxy's 503 without a problem document.
    Unavailable,
    /// The connection breaks before anything happens.
    Reset,
    /// It takes effect, but the answer is lost.
    LostAnswer,
    /// It takes effect, but a proxy did not wait for the answer and says so in a document of its own.
    ProxyTimeout,
}

#[derive(Debug, Default)]
struct Sender {
    epoch: u32,
    next: u64,
    /// Base sequence and answer of the last requests.
    answers: Vec<(u64, ProduceResponse)>,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) partitions: Vec<Vec<Record>>,
    /// When each of them was appended.
    times: Vec<Vec<i64>>,
    pub(crate) now_us: i64,
    senders: BTreeMap<u64, Sender>,
    by_key: BTreeMap<String, ProduceResponse>,
    /// What goes wrong with the coming produce requests; nothing when it is empty.
    pub(crate) faults: Vec<Fault>,
    /// Largest record that is taken.
    pub(crate) record_bytes: u32,
    /// Produce requests that came, whatever became of them.
    pub(crate) requests: u32,
    /// Records of each request that took effect.
    pub(crate) batches: Vec<u32>,
    /// What was appended to other topics, by commits.
    pub(crate) outputs: BTreeMap<String, Vec<Record>>,
    /// Fetches that wait now.
    pub(crate) waiting_fetches: u32,
    /// So many fetches that waited lose their answer.
    pub(crate) lost_fetches: u32,
    /// The group.
    pub(crate) desk: Desk,
}

/// A running model.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) model: Arc<Mutex<Model>>,
    /// While set, produce requests wait.
    pub(crate) gate: Arc<Mutex<Option<Arc<Notify>>>>,
    pub(crate) grown: Arc<Notify>,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) async fn start(partitions: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            model: Arc::new(Mutex::new(Model {
                partitions: vec![Vec::new(); partitions],
                times: vec![Vec::new(); partitions],
                record_bytes: 1 << 20,
                ..Model::default()
            })),
            gate: Arc::default(),
            grown: Arc::default(),
            address: listener.local_addr().unwrap(),
        };
        let router = Router::new()
            .route(paths::RECORDS, post(produce).get(fetch))
            .route(paths::GET_TOPIC, post(get_topic))
            .route(paths::DELETE_TOPIC, post(delete_topic))
            .merge(desk::routes())
            .with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// An answer whose body breaks off: the connection is closed in the middle.
pub(crate) fn broken() -> Response {
    let cut = stream::iter([Err::<Bytes, _>(std::io::Error::other("cut"))]);
    Body::from_stream(cut).into_response()
}

fn refuse(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap();
    let body = serde_json::to_vec(problem).unwrap();
    (status, [("content-type", media::PROBLEM)], body).into_response()
}

async fn produce(
    State(server): State<Server>,
    Query(query): Query<BTreeMap<String, String>>,
    request_headers: HeaderMap,
    body: Bytes,
) -> Response {
    let gate = server.gate.lock().clone();
    if let Some(gate) = gate {
        gate.notified().await;
    }
    let mut model = server.model.lock();
    model.requests += 1;
    let fault = if model.faults.is_empty() { Fault::None } else { model.faults.remove(0) };
    match fault {
        Fault::Overloaded => {
            let problem = Problem::new(Code::Overloaded, "the queue is full")
                .with_retry_after(Duration::from_millis(1));
            return refuse(&problem);
        }
        Fault::TooLarge => {
            return refuse(&Problem::new(Code::RecordTooLarge, "the topic allows less by now"));
        }
        Fault::Unavailable => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Fault::Reset => return broken(),
        Fault::None | Fault::LostAnswer | Fault::ProxyTimeout => {}
    }
    let key = request_headers.get(headers::IDEMPOTENCY_KEY).map(|key| key.to_str().unwrap());
    let partition = query.get(paths::query::PARTITION).map(|number| number.parse().unwrap());
    let answer = match model.append(body, partition, key) {
        Ok(answer) => answer,
        Err(problem) => return refuse(&problem),
    };
    server.grown.notify_waiters();
    if fault == Fault::LostAnswer {
        return broken();
    }
    if fault == Fault::ProxyTimeout {
        let plain = r#"{"type":"about:blank","title":"Gateway Timeout","status":504}"#;
        return (StatusCode::GATEWAY_TIMEOUT, [("content-type", media::PROBLEM)], plain)
            .into_response();
    }
    ([("content-type", media::PROTOBUF)], answer.encode_to_vec()).into_response()
}

#[expect(clippy::result_large_err, reason = "a model may be wasteful")]
impl Model {
    /// The topic gets one more partition, which has these records.
    pub(crate) fn add_partition(&mut self, records: Vec<Record>) {
        self.times.push(vec![self.now_us; records.len()]);
        self.partitions.push(records);
    }

    fn append(
        &mut self,
        body: Bytes,
        partition: Option<u32>,
        key: Option<&str>,
    ) -> Result<ProduceResponse, Problem> {
        let malformed = |error: batch::FormError| Problem::new(error.code(), error.to_string());
        let (sender, body) = batch::split(body).map_err(malformed)?;
        let limits = ScanLimits { record_bytes: self.record_bytes, ..ScanLimits::default() };
        let scan = batch::scan(&body, limits).map_err(malformed)?;
        if let Some(answer) = self.repeat(sender, key)? {
            return Ok(answer);
        }

        let body = batch::Body::of(body, scan.count());
        let routes = match partition {
            Some(partition) => vec![Route { partition, record_indexes: Vec::new(), body }],
            None => {
                let count = u32::try_from(self.partitions.len()).unwrap();
                batch::route(body, &scan, count, 0).map_err(malformed)?
            }
        };
        let mut answer = ProduceResponse::default();
        for Route { partition, record_indexes, body } in routes {
            let records = batch::scan(&body.bytes, limits).map_err(malformed)?;
            let log = &mut self.partitions[partition as usize];
            answer.results.push(AppendResult {
                partition,
                base_offset: log.len() as u64,
                count: records.count(),
                record_indexes,
                ..AppendResult::default()
            });
            log.extend((0..records.records.len()).map(|index| records.decode(index).unwrap()));
            self.times[partition as usize].resize(log.len(), self.now_us);
        }
        self.batches.push(scan.count());
        if let Some(key) = key {
            self.by_key.insert(key.to_owned(), answer.clone());
        }
        if sender.producer_id != 0 {
            let known = self.senders.entry(sender.producer_id).or_default();
            known.next = sender.base_sequence + u64::from(scan.count());
            known.answers.push((sender.base_sequence, answer.clone()));
        }
        Ok(answer)
    }

    /// The answer to a request that was here before, or why this one cannot be taken.
    fn repeat(
        &mut self,
        sender: ProducerFields,
        key: Option<&str>,
    ) -> Result<Option<ProduceResponse>, Problem> {
        if let Some(answer) = key.and_then(|key| self.by_key.get(key)) {
            return Ok(Some(answer.clone()));
        }
        if sender.producer_id == 0 {
            return Ok(None);
        }
        let known = self.senders.entry(sender.producer_id).or_default();
        if sender.producer_epoch < known.epoch {
            return Err(Problem::new(Code::Fenced, "a newer epoch has taken over"));
        }
        if sender.producer_epoch > known.epoch {
            *known = Sender { epoch: sender.producer_epoch, ..Sender::default() };
        }
        if let Some((_, answer)) =
            known.answers.iter().rev().take(16).find(|(base, _)| *base == sender.base_sequence)
        {
            return Ok(Some(answer.clone()));
        }
        if sender.base_sequence != known.next {
            let problem = Problem::new(Code::SeqGap, "records are missing")
                .with("expected", known.next)
                .with("received", sender.base_sequence);
            return Err(problem);
        }
        Ok(None)
    }

    /// Makes the model forget a producer, as a broker does after days.
    pub(crate) fn forget_producers(&mut self) {
        self.senders.clear();
    }
}

async fn fetch(
    State(server): State<Server>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let partition: usize = query[paths::query::PARTITION].parse().unwrap();
    let wait = query.contains_key(paths::query::WAIT);
    // Only an offset can lie inside of a batch. Every place is looked for once, before the wait.
    let (from, inside) = {
        let model = server.model.lock();
        match query.get(paths::query::OFFSET).map(String::as_str) {
            Some("start") => (0, 0),
            Some("end") => (model.partitions[partition].len(), 0),
            Some(offset) => (offset.parse().unwrap(), 2),
            None => {
                let time: Timestamp = query[paths::query::TIME].parse().unwrap();
                let before = |at: &i64| *at < time.micros().unwrap();
                (model.times[partition].partition_point(before), 0)
            }
        }
    };
    loop {
        let grown = server.grown.notified();
        let mut grown = std::pin::pin!(grown);
        grown.as_mut().enable();
        let (first, records, end) = {
            let model = server.model.lock();
            let (log, times) = (&model.partitions[partition], &model.times[partition]);
            if from > log.len() {
                let problem = Problem::new(Code::OffsetOutOfRange, "the partition ends before")
                    .with("end_offset", log.len());
                return refuse(&problem);
            }
            // A few at a time, in batches that start where they like.
            let first = from.saturating_sub(inside);
            let some = first..if from < log.len() { log.len().min(from + 7) } else { first };
            let records: Vec<_> =
                times[some.clone()].iter().copied().zip(log[some].iter().cloned()).collect();
            (first, records, log.len())
        };
        if records.is_empty() && wait {
            server.model.lock().waiting_fetches += 1;
            grown.await;
            let mut model = server.model.lock();
            model.waiting_fetches -= 1;
            if model.lost_fetches > 0 {
                model.lost_fetches -= 1;
                return broken();
            }
            continue;
        }
        let next = if records.is_empty() { end } else { first + records.len() } as u64;
        let mut base_offset = first as u64;
        let batch = |together: &[(i64, Record)]| {
            let count = u32::try_from(together.len()).unwrap();
            let batch = RecordBatch {
                base_offset,
                append_time_us: together[0].0,
                record_count: count,
                offset_span: count,
                records: together.iter().map(|(_, record)| record.clone()).collect(),
                ..RecordBatch::default()
            };
            base_offset += u64::from(count);
            batch
        };
        let batches = records.chunk_by(|(one, _), (other, _)| one == other).map(batch).collect();
        let answer =
            FetchResponse { batches, next_offset: next, start_offset: 0, end_offset: end as u64 };
        return ([("content-type", media::PROTOBUF)], answer.encode_to_vec()).into_response();
    }
}

/// The topic's records go; the topic is made anew at once by somebody else.
async fn delete_topic(State(server): State<Server>) -> Response {
    desk::faulty(&server, |model| {
        model.partitions.iter_mut().for_each(Vec::clear);
        model.times.iter_mut().for_each(Vec::clear);
        Ok(DeleteTopicResponse {})
    })
}

async fn get_topic(State(server): State<Server>, body: Bytes) -> Response {
    let request = embermq_protocol::v1::GetTopicRequest::decode(body).unwrap();
    if !["jobs", "thumbnails"].contains(&request.topic.as_str()) {
        let problem = Problem::new(Code::TopicNotFound, "there is no such topic");
        let error = serde_json::to_vec(&ConnectError::from(&problem)).unwrap();
        return (StatusCode::NOT_FOUND, [("content-type", media::JSON)], error).into_response();
    }
    let info = |(partition, log): (u32, &Vec<Record>)| PartitionInfo {
        partition,
        end_offset: log.len() as u64,
        ..PartitionInfo::default()
    };
    let partitions = (0..).zip(&server.model.lock().partitions).map(info).collect();
    let topic = Topic { name: request.topic, partitions, ..Topic::default() };
    let answer = GetTopicResponse { topic: Some(topic) };
    ([("content-type", media::CONNECT_PROTO)], answer.encode_to_vec()).into_response()
}
