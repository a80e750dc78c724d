//! Connect unary: `POST /embermq.v1.<Service>/<Method>` with protobuf or ProtoJSON, and GET for methods without side
//! effects. The methods are the functions that REST calls; only the envelope is here.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use embermq_protocol::code::Code;
use embermq_protocol::headers::{CONNECT_PROTOCOL_VERSION, CONNECT_TIMEOUT_MS};
use embermq_protocol::media::CONNECT_PROTO;
use embermq_protocol::v1;
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::append::{
    Portion, Records, Terms, commit as append, find_own_topic, find_topic,
    idempotency_key_of_message, next_offset_is, only_partition,
};
use super::body::{BodyLimit, Budget, Taken, take_body};
use super::caller::Caller;
use super::failure::Failure;
use super::fetch::{Wanted, fetch_response, read, room_for};
use super::held::Counted;
use super::media::{JSON, PROTOBUF, essence};
use super::messages::{CommitBody, ProduceBody, count_settlements};
use super::query::percent_decode;
use super::shared::Shared;
use super::topics::LIMIT;
use super::{catalog, commits, groups, keys, produce as records, schedules};

/// What the paths of all methods begin with.
pub(super) const PREFIX: &str = "/embermq.v1.";

/// Whether a path is that of a method without side effects, which are named so.
pub(super) fn only_reads(path: &str) -> bool {
    let method = path.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/'));
    let verbs = ["Fetch", "Get", "List", "Read"];
    method.is_some_and(|(_, method)| verbs.iter().any(|verb| method.starts_with(verb)))
}

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Proto,
    Json,
}

/// A request out of its envelope.
struct Call {
    codec: Codec,
    message: Bytes,
    /// Holds the byte budget until the answer is there.
    _budget: Option<Budget>,
    deadline: Option<Duration>,
    parts: Parts,
}

type Answer = Result<Response, Failure>;

macro_rules! method {
    ($(#[$doc:meta])* $name:ident($shared:ident, $request:ident: $message:ty) $body:expr) => {
        $(#[$doc])*
        pub(super) async fn $name(State($shared): State<Arc<Shared>>, request: Request) -> Answer {
            let call = Call::open(&$shared, request, LIMIT).await?;
            let $request: $message = call.message()?;
            let codec = call.codec;
            call.within(async { codec.answer(&$body) }).await
        }
    };
}

method!(
    /// `TopicService.CreateTopic`.
    create_topic(shared, request: v1::CreateTopicRequest) catalog::create_topic(&shared, request).await?
);
method!(
    /// `TopicService.GetTopic`.
    get_topic(shared, request: v1::GetTopicRequest) catalog::get_topic(&shared, &request)?
);
method!(
    /// `TopicService.ListTopics`.
    list_topics(shared, request: v1::ListTopicsRequest) catalog::list_topics(&shared, &request)
);
method!(
    /// `TopicService.UpdateTopic`.
    update_topic(shared, request: v1::UpdateTopicRequest) catalog::update_topic(&shared, request).await?
);
method!(
    /// `TopicService.DeleteTopic`.
    delete_topic(shared, request: v1::DeleteTopicRequest) catalog::delete_topic(&shared, request).await?
);

method!(
    /// `RecordService.ReadKey`.
    read_key(shared, request: v1::ReadKeyRequest) keys::read_key(&shared, &request).await?
);
method!(
    /// `RecordService.ReadKeyHistory`.
    read_key_history(shared, request: v1::ReadKeyHistoryRequest) keys::read_key_history(&shared, &request).await?
);
method!(
    /// `RecordService.ListKeys`.
    list_keys(shared, request: v1::ListKeysRequest) keys::list_keys(&shared, request).await?
);

method!(
    /// `GroupService.CreateGroup`.
    create_group(shared, request: v1::CreateGroupRequest) groups::create_group(&shared, request).await?
);
method!(
    /// `GroupService.GetGroup`.
    get_group(shared, request: v1::GetGroupRequest) groups::get_group(&shared, &request).await?
);
method!(
    /// `GroupService.ListGroups`.
    list_groups(shared, request: v1::ListGroupsRequest) groups::list_groups(&shared, &request).await?
);
method!(
    /// `GroupService.UpdateGroup`.
    update_group(shared, request: v1::UpdateGroupRequest) groups::update_group(&shared, request).await?
);
method!(
    /// `GroupService.DeleteGroup`.
    delete_group(shared, request: v1::DeleteGroupRequest) groups::delete_group(&shared, &request).await?
);
method!(
    /// `GroupService.Seek`.
    seek(shared, request: v1::SeekRequest) groups::seek(&shared, request).await?
);
method!(
    /// `GroupService.Redrive`.
    redrive(shared, request: v1::RedriveRequest) groups::redrive(&shared, request).await?
);
method!(
    /// `GroupService.ListDeadLetters`.
    list_dead_letters(shared, request: v1::ListDeadLettersRequest) groups::list_dead_letters(&shared, request).await?
);

method!(
    /// `ScheduleService.GetSchedule`.
    get_schedule(shared, request: v1::GetScheduleRequest) schedules::get_schedule(&shared, &request).await?
);
method!(
    /// `ScheduleService.ListSchedules`.
    list_schedules(shared, request: v1::ListSchedulesRequest) schedules::list_schedules(&shared, &request)?
);
method!(
    /// `ScheduleService.CancelSchedule`.
    cancel_schedule(shared, request: v1::CancelScheduleRequest) schedules::cancel_schedule(&shared, &request).await?
);

/// `GroupService.Lease`.
pub(super) async fn lease(State(shared): State<Arc<Shared>>, request: Request) -> Answer {
    let caller = Caller::in_request(request.extensions());
    let call = Call::open(&shared, request, LIMIT).await?;
    let request: v1::LeaseRequest = call.message()?;
    let codec = call.codec;
    call.within(async { codec.answer(&groups::lease_message(&shared, request, &caller).await?) })
        .await
}

/// `GroupService.Settle`.
pub(super) async fn settle(State(shared): State<Arc<Shared>>, request: Request) -> Answer {
    let call = Call::open(&shared, request, LIMIT).await?;
    if call.codec == Codec::Proto {
        count_settlements(&call.message)?;
    }
    let request: v1::SettleRequest = call.message()?;
    let codec = call.codec;
    call.within(async { codec.answer(&groups::settle(&shared, request).await?) }).await
}

/// `RecordService.Produce`.
pub(super) async fn produce(State(shared): State<Arc<Shared>>, request: Request) -> Answer {
    let call = Call::open(&shared, request, records::LIMIT).await?;
    let request = match call.codec {
        Codec::Proto => ProduceBody::read(&call.message)?,
        Codec::Json => ProduceBody::read_json(&call.message)?,
    };
    let codec = call.codec;
    call.within(async { codec.answer(&produce_message(&shared, request).await?) }).await
}

async fn produce_message(
    shared: &Shared,
    request: ProduceBody,
) -> Result<v1::ProduceResponse, Failure> {
    let topic = find_own_topic(shared, &catalog::topic_name(&request.topic)?)?;
    let mut terms = Terms {
        idempotency_key: idempotency_key_of_message(&request.idempotency_key)?,
        durability: catalog::durability(request.durability)?,
        ..Terms::default()
    };
    let mut partition = request.partition;
    let now = shared.broker.group_time();
    let deliver_at = schedules::of_message(now, request.deliver_at, request.delay)?;
    if let Some(offset) = request.expected_next_offset {
        if deliver_at.is_some() {
            return Err(schedules::no_offset_yet("expected_next_offset"));
        }
        let only = only_partition(&topic, partition)?;
        terms.preconditions.push(next_offset_is(&topic, only, offset));
        partition = Some(only.0);
    }
    let records = Records::Batch(request.batch);
    let portion = Portion { topic, partition, records, deliver_at };
    let (committed, mut results) = append(shared, vec![portion], terms).await?;
    let results = results.pop().unwrap_or_default();
    Ok(v1::ProduceResponse { results, replayed: committed.repeated })
}

/// `CommitService.Commit`.
pub(super) async fn commit(State(shared): State<Arc<Shared>>, request: Request) -> Answer {
    let call = Call::open(&shared, request, records::LIMIT).await?;
    let request = match call.codec {
        Codec::Proto => CommitBody::read(&call.message)?,
        Codec::Json => CommitBody::read_json(&call.message)?,
    };
    let codec = call.codec;
    call.within(async { codec.answer(&commits::run_message(&shared, &request).await?) }).await
}

/// `RecordService.Fetch`. In protobuf the batches go out as the slices that they are.
pub(super) async fn fetch(State(shared): State<Arc<Shared>>, request: Request) -> Answer {
    let caller = Caller::in_request(request.extensions());
    let call = Call::open(&shared, request, LIMIT).await?;
    let request: v1::FetchRequest = call.message()?;
    let codec = call.codec;
    // In a GET the query carries the message; `compressed` may stand beside it.
    let wanted = Wanted::of_message(&request, compressed(&call.parts))?;
    call.within(async {
        let topic = find_topic(&shared, &catalog::topic_name(&request.topic)?)?;
        let partition = wanted.only_partition(&topic)?;
        let read = read(&shared, wanted.request(&topic, partition), &caller).await?;
        if codec == Codec::Json {
            room_for(&shared, &read)?;
        }
        let (pieces, _next) = fetch_response(&read, &wanted, &shared.answers)?;
        match codec {
            Codec::Proto => {
                let mut response = typed(CONNECT_PROTO, Body::from(pieces));
                response.extensions_mut().insert(Counted);
                Ok(response)
            }
            Codec::Json => {
                let message = v1::FetchResponse::decode(pieces.join()).map_err(|error| {
                    Failure::new(
                        Code::DataDamaged,
                        format!("a stored batch cannot be read: {error}"),
                    )
                })?;
                codec.answer(&message)
            }
        }
    })
    .await
}

fn compressed(parts: &Parts) -> bool {
    parameters(parts).any(|(name, value)| name == "compressed" && value == "true")
}

fn parameters(parts: &Parts) -> impl Iterator<Item = (&str, &str)> {
    let query = parts.uri.query().unwrap_or_default();
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

impl Codec {
    fn named(name: &str) -> Option<Self> {
        match name {
            "proto" => Some(Self::Proto),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    /// The codec of a POST.
    fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        match essence(kind.unwrap_or_default()).as_str() {
            PROTOBUF => Ok(Self::Proto),
            JSON => Ok(Self::Json),
            other => Err(Failure::new(
                Code::UnsupportedMediaType,
                format!("Connect methods take {CONNECT_PROTO} or {JSON}, not {other:?}"),
            )),
        }
    }

    fn answer<M: Message + Serialize>(self, message: &M) -> Answer {
        match self {
            Self::Proto => Ok(typed(CONNECT_PROTO, message.encode_to_vec().into())),
            Self::Json => {
                let text = serde_json::to_vec(message).map_err(|error| {
                    Failure::new(Code::Internal, format!("the answer cannot be written: {error}"))
                })?;
                Ok(typed(JSON, text.into()))
            }
        }
    }
}

fn typed(kind: &'static str, body: Body) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response()
}

impl Call {
    /// Takes a request out of its envelope.
    async fn open(shared: &Shared, request: Request, limit: BodyLimit) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        check_version(&parts.headers)?;
        let deadline = deadline(&parts.headers)?;
        if parts.method == Method::GET || parts.method == Method::HEAD {
            let (codec, message) = of_query(&parts)?;
            return Ok(Self { codec, message, _budget: None, deadline, parts });
        }
        let codec = Codec::of(&parts.headers)?;
        let Taken { bytes, budget } = take_body(shared, &parts.headers, body, limit).await?;
        Ok(Self { codec, message: bytes, _budget: Some(budget), deadline, parts })
    }

    /// The message that was sent.
    fn message<M: Message + Default + DeserializeOwned>(&self) -> Result<M, Failure> {
        let wrong =
            |reason: String| Failure::malformed(format!("the message cannot be read: {reason}"));
        match self.codec {
            Codec::Proto => {
                M::decode(self.message.clone()).map_err(|error| wrong(error.to_string()))
            }
            Codec::Json if self.message.trim_ascii().is_empty() => Ok(M::default()),
            Codec::Json => {
                serde_json::from_slice(&self.message).map_err(|error| wrong(error.to_string()))
            }
        }
    }

    /// Gives up when the client's time is over. A commit that is under way is not taken back.
    async fn within(self, work: impl Future<Output = Answer>) -> Answer {
        let Some(deadline) = self.deadline else { return work.await };
        let late = |_| {
            Failure::new(
                Code::RequestTimeout,
                format!(
                    "no answer within the {deadline:?} of Connect-Timeout-Ms; it may still take effect"
                ),
            )
        };
        timeout(deadline, work).await.map_err(late)?
    }
}

fn check_version(headers: &HeaderMap) -> Result<(), Failure> {
    match headers.get(CONNECT_PROTOCOL_VERSION) {
        Some(version) if version != "1" => Err(Failure::invalid(format!(
            "connect-protocol-version is {version:?}, only \"1\" is understood"
        ))),
        _ => Ok(()),
    }
}

fn deadline(headers: &HeaderMap) -> Result<Option<Duration>, Failure> {
    let Some(value) = headers.get(CONNECT_TIMEOUT_MS) else { return Ok(None) };
    let millis = value.to_str().ok().filter(|text| (1..=10).contains(&text.len()));
    let millis = millis.and_then(|text| text.parse().ok()).ok_or_else(|| {
        Failure::invalid(format!("connect-timeout-ms is {value:?}, expected at most ten digits"))
    })?;
    Ok(Some(Duration::from_millis(millis)))
}

/// The message of a GET: `?connect=v1&encoding=json&message=..`, with `base64=1` in URL-safe base64.
fn of_query(parts: &Parts) -> Result<(Codec, Bytes), Failure> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let value =
        |wanted: &str| parameters(parts).find(|(name, _)| *name == wanted).map(|(_, value)| value);
    let codec = value("encoding").and_then(Codec::named);
    let codec = codec.ok_or_else(|| {
        Failure::new(
            Code::UnsupportedMediaType,
            "a Connect GET needs encoding=json or encoding=proto in its query",
        )
    })?;
    let message = value("message")
        .ok_or_else(|| Failure::invalid("a Connect GET needs message= in its query"))?;
    // A plus sign stands for itself in base64 and for a space elsewhere.
    let message = percent_decode(message);
    if value("base64") != Some("1") {
        return Ok((codec, message.into()));
    }
    let safe = GeneralPurpose::new(&URL_SAFE, LENIENT).decode(&message);
    let decoded = safe.or_else(|_| GeneralPurpose::new(&STANDARD, LENIENT).decode(&message));
    let decoded =
        decoded.map_err(|error| Failure::invalid(format!("message is not base64: {error}")))?;
    Ok((codec, decoded.into()))
}
