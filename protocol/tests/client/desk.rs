//! The group of the model: one, named `workers`, whose clock stands still. Leases end when a test says so, and what waits
//! for its next attempt is due at once. No expiry, no jitter, no limits; tokens, attempts, dead letters, commits and
//! idempotency keys as the contract has them.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use embermq_protocol::{
    Code, Problem,
    limits::OTHER_REQUEST_BYTES_MAX,
    media, paths,
    problem::ConnectError,
    time::Timestamp,
    v1::{
        AppendResult, CommitRequest, CommitResponse, CreateGroupRequest, CreateGroupResponse,
        DeadLetter, DeleteGroupRequest, DeleteGroupResponse, Error, GetGroupRequest,
        GetGroupResponse, Group, GroupSettings, Lease, LeaseRequest, LeaseResponse,
        ListDeadLettersRequest, ListDeadLettersResponse, ListGroupsResponse, Ordering, Record,
        RedriveRequest, RedriveResponse, SeekRequest, SeekResponse, SettleRequest, SettleResponse,
        Settlement, SettlementResult, settlement::Decision,
    },
};
use prost::Message as _;

use crate::model::{Fault, Model, Server, broken};

/// Partition and offset.
pub(crate) type Place = (u32, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Open,
    Leased,
    Done,
    Dead,
}

#[derive(Debug, Default)]
pub(crate) struct Desk {
    /// None: not created yet.
    pub(crate) settings: Option<GroupSettings>,
    /// What is known of records that were leased at least once.
    pub(crate) records: BTreeMap<Place, (Standing, u32)>,
    /// Dead letters in their order, with what was said of them; taken away when redriven or dropped.
    pub(crate) letters: BTreeMap<u64, (Place, String)>,
    letters_made: u64,
    commits: BTreeMap<String, (CommitRequest, CommitResponse)>,
    /// How often each token was extended.
    pub(crate) extended: BTreeMap<String, u32>,
    /// Lease requests that came.
    pub(crate) lease_requests: u32,
    /// Nothing more is leased.
    pub(crate) is_closed: bool,
    /// Commits are refused for the moment.
    pub(crate) is_full: bool,
    /// Commits that were refused so.
    pub(crate) refused: u32,
    /// How much each of them asked for.
    pub(crate) asked: Vec<u32>,
    /// How often the group was set to another place, or would have been.
    pub(crate) sought: u32,
}

pub(crate) fn routes() -> Router<Server> {
    Router::new()
        .route(paths::CREATE_GROUP, post(create))
        .route(paths::GET_GROUP, post(get))
        .route(paths::LIST_GROUPS, post(list))
        .route(paths::DELETE_GROUP, post(delete))
        .route(paths::SEEK, post(seek))
        .route(paths::LEASE, post(lease))
        .route(paths::SETTLE, post(settle))
        .route(paths::COMMIT, post(commit))
        .route(paths::REDRIVE, post(redrive))
        .route(paths::LIST_DEAD_LETTERS, post(dead_letters))
}

fn answer(message: &impl prost::Message) -> Response {
    ([("content-type", media::CONNECT_PROTO)], message.encode_to_vec()).into_response()
}

fn refuse(problem: &Problem) -> Response {
    let code: Code = problem.code.parse().unwrap();
    let status = StatusCode::from_u16(code.connect_status()).unwrap();
    let error = serde_json::to_vec(&ConnectError::from(problem)).unwrap();
    (status, [("content-type", media::JSON)], error).into_response()
}

/// Does something with the fault that is due, before or after.
pub(crate) fn faulty<A: prost::Message>(
    server: &Server,
    act: impl FnOnce(&mut Model) -> Result<A, Box<Problem>>,
) -> Response {
    let mut model = server.model.lock();
    model.requests += 1;
    let fault = if model.faults.is_empty() { Fault::None } else { model.faults.remove(0) };
    match fault {
        Fault::Overloaded => {
            let problem = Problem::new(Code::Overloaded, "the queue is full")
                .with_retry_after(Duration::from_millis(1));
            return refuse(&problem);
        }
        Fault::TooLarge => return refuse(&Problem::new(Code::BodyTooLarge, "it is too large")),
        Fault::Unavailable => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Fault::Reset => return broken(),
        Fault::None | Fault::LostAnswer | Fault::ProxyTimeout => {}
    }
    let acted = act(&mut model);
    server.grown.notify_waiters();
    match acted {
        Err(problem) => refuse(&problem),
        Ok(_) if fault == Fault::LostAnswer => broken(),
        Ok(_) if fault == Fault::ProxyTimeout => {
            let error = r#"{"code":"deadline_exceeded","message":"upstream"}"#;
            (StatusCode::GATEWAY_TIMEOUT, [("content-type", media::JSON)], error).into_response()
        }
        Ok(message) => answer(&message),
    }
}

async fn create(State(server): State<Server>, body: Bytes) -> Response {
    let request = CreateGroupRequest::decode(body).unwrap();
    let mut model = server.model.lock();
    let created = model.desk.settings.is_none();
    let settings = request.settings.unwrap_or_default();
    if model.desk.settings.get_or_insert_with(|| settings.clone()) != &settings {
        return refuse(&Problem::new(Code::GroupExists, "the group has other settings"));
    }
    answer(&CreateGroupResponse { group: Some(model.group()), created })
}

async fn get(State(server): State<Server>, body: Bytes) -> Response {
    let request = GetGroupRequest::decode(body).unwrap();
    let model = server.model.lock();
    if model.desk.settings.is_none() || request.group != "workers" {
        return refuse(&Problem::new(Code::GroupNotFound, "the topic has no such group"));
    }
    answer(&GetGroupResponse { group: Some(model.group()) })
}

async fn list(State(server): State<Server>) -> Response {
    let model = server.model.lock();
    let groups = if model.desk.settings.is_some() { vec![model.group()] } else { Vec::new() };
    answer(&ListGroupsResponse { groups })
}

async fn delete(State(server): State<Server>, body: Bytes) -> Response {
    DeleteGroupRequest::decode(body).unwrap();
    faulty(&server, |model| match model.desk.settings.take() {
        Some(_) => Ok(DeleteGroupResponse {}),
        None => Err(Box::new(Problem::new(Code::GroupNotFound, "the topic has no such group"))),
    })
}

async fn seek(State(server): State<Server>, body: Bytes) -> Response {
    SeekRequest::decode(body).unwrap();
    faulty(&server, |model| {
        model.desk.sought += 1;
        Ok(SeekResponse::default())
    })
}

async fn lease(State(server): State<Server>, body: Bytes) -> Response {
    let request = LeaseRequest::decode(body).unwrap();
    {
        let mut model = server.model.lock();
        model.desk.lease_requests += 1;
        model.desk.asked.push(request.max_records);
        server.grown.notify_waiters();
    }
    loop {
        let grown = server.grown.notified();
        let mut grown = std::pin::pin!(grown);
        grown.as_mut().enable();
        if server.model.lock().desk.is_closed {
            return refuse(&Problem::new(Code::TopicNotFound, "the topic was deleted"));
        }
        let leases = server.model.lock().lease(&request);
        let wait = Duration::try_from(request.wait.unwrap_or_default()).unwrap();
        if !leases.is_empty() || wait.is_zero() {
            return answer(&LeaseResponse { leases });
        }
        if tokio::time::timeout(wait, grown).await.is_err() {
            return answer(&LeaseResponse { leases });
        }
    }
}

async fn settle(State(server): State<Server>, body: Bytes) -> Response {
    if body.len() > OTHER_REQUEST_BYTES_MAX {
        return refuse(&Problem::new(Code::BodyTooLarge, "the body is too large"));
    }
    let request = SettleRequest::decode(body).unwrap();
    faulty(&server, |model| {
        let results = request.settlements.iter().map(|settlement| model.settle(settlement));
        Ok(SettleResponse { results: results.collect() })
    })
}

async fn commit(State(server): State<Server>, body: Bytes) -> Response {
    let request = CommitRequest::decode(body).unwrap();
    faulty(&server, |model| model.commit(request))
}

async fn redrive(State(server): State<Server>, body: Bytes) -> Response {
    let request = RedriveRequest::decode(body).unwrap();
    faulty(&server, |model| Ok(model.redrive(&request)))
}

async fn dead_letters(State(server): State<Server>, body: Bytes) -> Response {
    let request = ListDeadLettersRequest::decode(body).unwrap();
    faulty(&server, |model| Ok(model.dead_letters(&request)))
}

impl Model {
    fn group(&self) -> Group {
        let records: usize = self.partitions.iter().map(Vec::len).sum();
        let count =
            |state| self.desk.records.values().filter(|(is, _)| *is == state).count() as u64;
        Group {
            topic: "jobs".to_owned(),
            group: "workers".to_owned(),
            settings: self.desk.settings.clone(),
            lag_records: records as u64 - count(Standing::Done) - count(Standing::Dead),
            in_flight: count(Standing::Leased),
            dead: self.desk.letters.len() as u64,
            ..Group::default()
        }
    }

    fn lease(&mut self, request: &LeaseRequest) -> Vec<Lease> {
        let settings = self.desk.settings.get_or_insert_default();
        let ordered = settings.ordering() == Ordering::Partition;
        let mut leases = Vec::new();
        for (partition, log) in (0..).zip(&self.partitions) {
            let held = |(place, (state, _)): (&Place, &(Standing, u32))| {
                place.0 == partition && *state == Standing::Leased
            };
            if ordered && self.desk.records.iter().any(held) {
                continue;
            }
            for (offset, record) in (0..).zip(log) {
                let place = (partition, offset);
                let (state, attempts) =
                    self.desk.records.entry(place).or_insert((Standing::Open, 0));
                if *state == Standing::Open && leases.len() < request.max_records.max(1) as usize {
                    *state = Standing::Leased;
                    *attempts += 1;
                    leases.push(Lease {
                        token: format!("{partition}/{offset}/{attempts}"),
                        topic: request.topic.clone(),
                        partition,
                        offset,
                        attempt: *attempts,
                        expires_at: Some(Timestamp::from_micros(30_000_000)),
                        first_leased_at: Some(Timestamp::from_micros(1)),
                        append_time: Some(Timestamp::from_micros(0)),
                        record: Some(record.clone()),
                    });
                }
            }
        }
        leases
    }

    /// The record that a token is for, if the lease is alive.
    fn holder(&self, token: &str) -> Result<Place, Box<Problem>> {
        let numbers: Vec<u64> = token.split('/').filter_map(|part| part.parse().ok()).collect();
        let [partition, offset, attempt] = numbers[..] else {
            return Err(Box::new(Problem::new(Code::InvalidLeaseToken, "this is no token")));
        };
        let place = (u32::try_from(partition).unwrap(), offset);
        let lost = |detail: &str| Err(Box::new(Problem::new(Code::LeaseLost, detail)));
        match self.desk.records[&place] {
            (Standing::Leased, now) if u64::from(now) == attempt => Ok(place),
            (Standing::Leased, _) => lost("the lease lapsed and was granted again"),
            (Standing::Open, _) => lost("the lease ended, the record waits for its next attempt"),
            (Standing::Done | Standing::Dead, _) => lost("the record is settled"),
        }
    }

    fn settle(&mut self, settlement: &Settlement) -> SettlementResult {
        let lease = settlement.lease.clone();
        let place = match self.holder(&lease) {
            Ok(place) => place,
            Err(problem) => {
                let error = Error {
                    code: problem.code,
                    message: problem.detail,
                    retryable: problem.retryable,
                    ..Error::default()
                };
                return SettlementResult { lease, error: Some(error), ..Default::default() };
            }
        };
        let mut result = SettlementResult { lease, ..Default::default() };
        let last = self.desk.settings.as_ref().and_then(|s| s.max_attempts).unwrap_or(5);
        let known = self.desk.records.get_mut(&place).unwrap();
        match settlement.decision.as_ref().unwrap() {
            Decision::Ack(_) => known.0 = Standing::Done,
            Decision::Nack(nack) if known.1 < last => {
                known.0 = Standing::Open;
                let delay: Duration = nack.delay.unwrap_or_default().try_into().unwrap();
                let at = i64::try_from(delay.as_micros()).unwrap();
                result.next_attempt_at = Some(Timestamp::from_micros(at));
            }
            Decision::Nack(nack) => result.dead_letter = Some(self.bury(place, &nack.error)),
            Decision::Reject(reject) => {
                result.dead_letter = Some(self.bury(place, &reject.reason));
            }
            Decision::Extend(_) => {
                *self.desk.extended.entry(result.lease.clone()).or_default() += 1;
                result.expires_at = Some(Timestamp::from_micros(60_000_000));
            }
            Decision::Release(_) => {
                *known = (Standing::Open, known.1 - 1);
                result.next_attempt_at = Some(Timestamp::from_micros(0));
            }
        }
        result
    }

    fn bury(&mut self, place: Place, error: &str) -> AppendResult {
        self.desk.records.get_mut(&place).unwrap().0 = Standing::Dead;
        let base_offset = self.desk.letters_made;
        self.desk.letters_made += 1;
        self.desk.letters.insert(base_offset, (place, error.to_owned()));
        let topic = "jobs.workers.dlq".to_owned();
        AppendResult { topic, base_offset, count: 1, ..AppendResult::default() }
    }

    fn commit(&mut self, request: CommitRequest) -> Result<CommitResponse, Box<Problem>> {
        if self.desk.is_full {
            self.desk.refused += 1;
            let problem = Problem::new(Code::StorageFull, "the disk is full");
            return Err(Box::new(problem.with_retry_after(Duration::from_millis(1))));
        }
        let key = request.idempotency_key.clone();
        if let Some((first, answer)) = self.desk.commits.get(&key) {
            if *first != request {
                let problem = Problem::new(Code::IdempotencyKeyReused, "it was another payload");
                return Err(Box::new(problem));
            }
            // What became of leases was told to whoever was first.
            let settlements = Vec::new();
            return Ok(CommitResponse { replayed: true, settlements, ..answer.clone() });
        }
        for settlement in &request.settlements {
            self.holder(&settlement.lease)?;
        }
        if request.appends.iter().any(|append| append.topic == "nowhere") {
            return Err(Box::new(Problem::new(Code::TopicNotFound, "there is no such topic")));
        }
        let mut answer = CommitResponse::default();
        for append in &request.appends {
            let log = self.outputs.entry(append.topic.clone()).or_default();
            let records = &append.batch.as_ref().unwrap().records;
            answer.appends.push(AppendResult {
                topic: append.topic.clone(),
                base_offset: log.len() as u64,
                count: u32::try_from(records.len()).unwrap(),
                ..AppendResult::default()
            });
            log.extend(records.iter().cloned());
        }
        answer.settlements = request.settlements.iter().map(|s| self.settle(s)).collect();
        self.desk.commits.insert(key, (request, answer.clone()));
        Ok(answer)
    }

    fn redrive(&mut self, request: &RedriveRequest) -> RedriveResponse {
        let fits = |offset: &u64, error: &str| {
            (request.offsets.is_empty() || request.offsets.contains(offset))
                && error.contains(&request.contains)
        };
        let letters = &mut self.desk.letters;
        let fitting = letters.iter().filter(|(offset, (_, error))| fits(offset, error));
        let fitting: Vec<u64> = fitting.map(|(offset, _)| *offset).collect();
        let most = if request.max_records == 0 { usize::MAX } else { request.max_records as usize };
        let matched = fitting.len() as u64;
        if request.dry_run {
            return RedriveResponse { matched, done: 0 };
        }
        let mut done = 0;
        for offset in fitting.into_iter().take(most) {
            let (place, _) = letters.remove(&offset).unwrap();
            if !request.drop {
                self.desk.records.insert(place, (Standing::Open, 0));
            }
            done += 1;
        }
        RedriveResponse { matched, done }
    }

    /// A page looks at two letters.
    fn dead_letters(&self, request: &ListDeadLettersRequest) -> ListDeadLettersResponse {
        let after = request.after_offset.map_or(0, |after| after + 1);
        let mut open = self.desk.letters.range(after..);
        let looked: Vec<_> = open.by_ref().take(2).collect();
        let fitting = looked.iter().filter(|(_, (_, error))| error.contains(&request.contains));
        let letter = |(offset, (_, error)): &(&u64, &(Place, String))| DeadLetter {
            offset: **offset,
            record: Some(Record::new(error.clone())),
            ..DeadLetter::default()
        };
        ListDeadLettersResponse {
            letters: fitting.map(letter).collect(),
            next_after: open.next().and(looked.last()).map(|(offset, _)| **offset),
            dead_letter_topic: "jobs.workers.dlq".to_owned(),
        }
    }

    /// Every lease ends, as if its time were over.
    pub(crate) fn expire(&mut self) {
        for (state, _) in self.desk.records.values_mut() {
            if *state == Standing::Leased {
                *state = Standing::Open;
            }
        }
    }
}
