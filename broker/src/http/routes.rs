//! The one table of routes: the router and `/openapi.json` are built from it, so neither can know what the other
//! does not.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use embermq_protocol::code::Code;
use embermq_protocol::{media, paths};

use super::failure::Failure;
use super::shared::Shared;
use super::{
    commits, connect, errors, fetch, groups, health, keys, metrics, models, open_inference,
    openapi, produce, requests, schedules, stages, topics, webhooks,
};

type Handlers = MethodRouter<Arc<Shared>>;

/// A route: how it is reached, what it is for, what it takes and gives.
pub(super) struct Route {
    /// `GET`, `PUT`, ...
    pub(super) method: &'static str,
    /// With `{name}` for parameters, and perhaps `:verb` behind the last one.
    pub(super) path: &'static str,
    /// The name of the operation for generated clients.
    pub(super) operation: &'static str,
    /// One sentence.
    pub(super) summary: &'static str,
    /// Query parameters and headers.
    pub(super) parameters: &'static [Parameter],
    /// Media types of the body with the name of their schema; empty: no body.
    pub(super) takes: &'static [(&'static str, &'static str)],
    /// Media types of the answer with the name of their schema.
    pub(super) gives: &'static [(&'static str, &'static str)],
    /// Statuses of success and what each means.
    pub(super) succeeds: &'static [(u16, &'static str)],
    /// What answers.
    pub(super) handler: fn() -> Handlers,
}

impl Route {
    /// What the router knows it by: the router takes a verb behind a parameter for a part of it.
    fn pattern(&self) -> &'static str {
        match self.path.rsplit_once(':') {
            Some((pattern, _verb)) if pattern.ends_with('}') => pattern,
            _ => self.path,
        }
    }
}

/// A query parameter or header of a route.
pub(super) struct Parameter {
    /// `query` or `header`.
    pub(super) place: &'static str,
    pub(super) name: &'static str,
    /// The type of JSON schema.
    pub(super) kind: &'static str,
    pub(super) description: &'static str,
}

pub(super) const fn query(
    name: &'static str,
    kind: &'static str,
    description: &'static str,
) -> Parameter {
    Parameter { place: "query", name, kind, description }
}

pub(super) const fn head(
    name: &'static str,
    kind: &'static str,
    description: &'static str,
) -> Parameter {
    Parameter { place: "header", name, kind, description }
}

pub(super) const OK: &[(u16, &str)] = &[(200, "done")];
const TEXT: &str = "text/plain";

const PROBE_PARAMETERS: &[Parameter] = &[query("verbose", "boolean", "each check on a line")];

const PRODUCE_PARAMETERS: &[Parameter] = &[
    query("partition", "integer", "where the records go; unset: by key, else spread"),
    query("durability", "string", "`fsync` or `os`; stronger than the topic's, never weaker"),
    head("Key", "string", "key of the record of a raw body"),
    head(
        "Idempotency-Key",
        "string",
        "a repeat with the same key and payload has no effect and gets the first answer",
    ),
    head(
        "Producer-Id",
        "integer",
        "with Producer-Epoch and Producer-Seq: repeats are recognised, older epochs fenced",
    ),
    head("Producer-Epoch", "integer", "grows with every restart of the producer"),
    head(
        "Producer-Seq",
        "integer",
        "records that the producer sent in this epoch before this request",
    ),
    head("Delay", "string", "how long from now the records appear: `30s`; nobody sees them before"),
    head("Deliver-At", "string", "the same as an RFC 3339 time; at most 100 years ahead"),
    query("delay", "string", "as the header Delay"),
    query("deliver_at", "string", "as the header Deliver-At"),
    head("If-Offset-Match", "integer", "the offset that the first record must get, else 409"),
    head(
        "If-Key-Version",
        "string",
        "the offset of the latest record of the key that is produced, or `none`, else 409",
    ),
    head(
        "traceparent",
        "string",
        "kept with a raw record, as are tracestate, baggage, ce-* and x-*",
    ),
];

const FETCH_PARAMETERS: &[Parameter] = &[
    query(
        "partition",
        "integer",
        "needed when the topic has several, except for event streams, which then merge them",
    ),
    query(
        "offset",
        "string",
        "the first offset wanted, `start` or `end`; up to the end's own offset is in range",
    ),
    query("time", "string", "the first record appended at or after this RFC 3339 time"),
    query("from", "string", "`start` (default) or `end` (default of event streams)"),
    query("max", "integer", "at most this many records; exact in JSON, whole batches in protobuf"),
    query("max_bytes", "integer", "stop after this many bytes; at least one record comes"),
    query(
        "wait",
        "string",
        "how long to wait for a record when there is none: `10s`, at most 30 s",
    ),
    query("encoding", "string", "`base64`: every key and value as base64"),
    query(
        "compressed",
        "boolean",
        "protobuf only: the client decompresses, so compressed batches come as they are stored",
    ),
    head("Last-Event-ID", "string", "event streams: go on behind this event"),
];

/// Every route.
pub(super) fn all() -> impl Iterator<Item = &'static Route> {
    let of_topics = groups::ROUTES.iter().chain(keys::ROUTES).chain(schedules::ROUTES);
    let of_models = models::ROUTES.iter().chain(stages::ROUTES).chain(requests::ROUTES);
    let of_others = webhooks::ROUTES.iter().chain(open_inference::ROUTES);
    ROUTES.iter().chain(of_topics).chain(of_models).chain(of_others)
}

static ROUTES: &[Route] = &[
    Route {
        method: "GET",
        path: paths::TOPICS,
        operation: "listTopics",
        summary: "Lists the topics in order of their names.",
        parameters: &[
            query("prefix", "string", "only topics whose names start so"),
            query("page_size", "integer", "at most this many, 1,000 by default"),
            query("page_token", "string", "next_page_token of the page before"),
        ],
        takes: &[],
        gives: &[(media::JSON, "TopicList"), (media::PROTOBUF, "embermq.v1.ListTopicsResponse")],
        succeeds: OK,
        handler: || get(topics::list),
    },
    Route {
        method: "PUT",
        path: paths::TOPIC,
        operation: "createTopic",
        summary: "Creates a topic, or ensures that it exists with these settings.",
        parameters: &[],
        takes: &[(media::JSON, "TopicSettings"), (media::PROTOBUF, "embermq.v1.TopicSettings")],
        gives: &[(media::JSON, "Topic"), (media::PROTOBUF, "embermq.v1.Topic")],
        succeeds: &[(201, "created"), (200, "it was there with the same settings")],
        handler: || put(topics::create),
    },
    Route {
        method: "GET",
        path: paths::TOPIC,
        operation: "getTopic",
        summary: "Shows a topic, its settings and its partitions.",
        parameters: &[],
        takes: &[],
        gives: &[(media::JSON, "Topic"), (media::PROTOBUF, "embermq.v1.Topic")],
        succeeds: OK,
        handler: || get(topics::show),
    },
    Route {
        method: "PATCH",
        path: paths::TOPIC,
        operation: "updateTopic",
        summary: "Changes the settings that the body names and leaves the others.",
        parameters: &[],
        takes: &[(media::JSON, "TopicSettings"), (media::PROTOBUF, "embermq.v1.TopicSettings")],
        gives: &[(media::JSON, "Topic"), (media::PROTOBUF, "embermq.v1.Topic")],
        succeeds: OK,
        handler: || patch(topics::edit),
    },
    Route {
        method: "DELETE",
        path: paths::TOPIC,
        operation: "deleteTopic",
        summary: "Deletes a topic with all its records.",
        parameters: &[],
        takes: &[],
        gives: &[],
        succeeds: &[(204, "deleted")],
        handler: || delete(topics::remove),
    },
    Route {
        method: "POST",
        path: paths::RECORDS,
        operation: "produce",
        summary: "Appends records, all or nothing. A body of any other type is one record.",
        parameters: PRODUCE_PARAMETERS,
        takes: &[
            (media::JSON, "RecordBatchOrValue"),
            (media::NDJSON, "Lines"),
            (media::CLOUDEVENT, "CloudEvent"),
            (media::CLOUDEVENT_BATCH, "CloudEvents"),
            (media::PROTOBUF, "embermq.v1.RecordBatch"),
            ("*/*", "Bytes"),
        ],
        gives: &[(media::JSON, "Produced"), (media::PROTOBUF, "embermq.v1.ProduceResponse")],
        succeeds: &[(200, "appended"), (202, "scheduled: it will be appended at its time")],
        handler: || post(produce::produce),
    },
    Route {
        method: "GET",
        path: paths::RECORDS,
        operation: "fetch",
        summary: "Reads records: as JSON, as lines, as protobuf, or live as an event stream.",
        parameters: FETCH_PARAMETERS,
        takes: &[],
        gives: &[
            (media::JSON, "RecordList"),
            (media::NDJSON, "Lines"),
            (media::EVENT_STREAM, "Lines"),
            (media::PROTOBUF, "embermq.v1.FetchResponse"),
        ],
        succeeds: OK,
        handler: || get(fetch::fetch),
    },
    Route {
        method: "POST",
        path: paths::COMMITS,
        operation: "commit",
        summary: "Appends to many topics and settles leases, all or nothing, if all preconditions hold.",
        parameters: &[
            head("Idempotency-Key", "string", "as `idempotency_key` in the body"),
            head("Durability", "string", "as `durability` in the body"),
        ],
        takes: &[(media::JSON, "CommitRequest"), (media::PROTOBUF, "embermq.v1.CommitRequest")],
        gives: &[(media::JSON, "CommitResponse"), (media::PROTOBUF, "embermq.v1.CommitResponse")],
        succeeds: OK,
        handler: || post(commits::commit),
    },
    probe(paths::LIVEZ, "livez", "The process lives.", || get(health::live)),
    probe(paths::READYZ, "readyz", "It can take requests; 503 with the reasons when not.", || {
        get(health::ready)
    }),
    probe(paths::HEALTHZ, "healthz", "The same as /readyz.", || get(health::ready)),
    Route {
        method: "GET",
        path: paths::METRICS,
        operation: "metrics",
        summary: "Metrics as OpenMetrics text.",
        parameters: &[],
        takes: &[],
        gives: &[("application/openmetrics-text", "Text")],
        succeeds: OK,
        handler: || get(metrics::metrics),
    },
    Route {
        method: "GET",
        path: paths::OPENAPI,
        operation: "openapi",
        summary: "This document.",
        parameters: &[],
        takes: &[],
        gives: &[(media::JSON, "Any")],
        succeeds: OK,
        handler: || get(openapi::openapi),
    },
    Route {
        method: "GET",
        path: errors::PATH,
        operation: "describeError",
        summary: "What an error code means; `type` of every problem document points here.",
        parameters: &[],
        takes: &[],
        gives: &[(media::JSON, "Any")],
        succeeds: OK,
        handler: || get(errors::describe),
    },
    rpc(paths::CREATE_TOPIC, "CreateTopic", || post(connect::create_topic)),
    rpc(paths::GET_TOPIC, "GetTopic", || post(connect::get_topic).get(connect::get_topic)),
    rpc(paths::LIST_TOPICS, "ListTopics", || post(connect::list_topics).get(connect::list_topics)),
    rpc(paths::UPDATE_TOPIC, "UpdateTopic", || post(connect::update_topic)),
    rpc(paths::DELETE_TOPIC, "DeleteTopic", || post(connect::delete_topic)),
    rpc(paths::PRODUCE, "Produce", || post(connect::produce)),
    rpc(paths::FETCH, "Fetch", || post(connect::fetch).get(connect::fetch)),
    rpc(paths::COMMIT, "Commit", || post(connect::commit)),
];

const fn probe(
    path: &'static str,
    operation: &'static str,
    summary: &'static str,
    handler: fn() -> Handlers,
) -> Route {
    Route {
        method: "GET",
        path,
        operation,
        summary,
        parameters: PROBE_PARAMETERS,
        takes: &[],
        gives: &[(TEXT, "Text")],
        succeeds: OK,
        handler,
    }
}

/// A Connect method. Those without side effects answer GET too, as the Connect protocol has it.
pub(super) const fn rpc(
    path: &'static str,
    operation: &'static str,
    handler: fn() -> Handlers,
) -> Route {
    Route {
        method: "POST",
        path,
        operation,
        summary: "A Connect method; its messages are those of the proto files.",
        parameters: &[],
        takes: &[(media::JSON, "Any"), (media::CONNECT_PROTO, "Bytes")],
        gives: &[(media::JSON, "Any"), (media::CONNECT_PROTO, "Bytes")],
        succeeds: OK,
        handler,
    }
}

/// The router of all routes.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let mut known = BTreeSet::new();
    let mut router = Router::new();
    // Verbs of one thing have one handler, which the pattern of the thing leads to.
    for route in all().filter(|route| known.insert((route.method, route.pattern()))) {
        router = router.route(route.pattern(), (route.handler)());
    }
    router.fallback(no_route).method_not_allowed_fallback(no_method).with_state(shared)
}

/// Whether it is `POST /v1/topics/{topic}/records` that is asked for, which the router would find too.
pub(super) fn is_produce(method: &Method, path: &str) -> bool {
    let name = path.strip_prefix(paths::TOPICS).and_then(|rest| {
        let (name, route) = rest.strip_prefix('/')?.split_once('/')?;
        (route == "records").then_some(name)
    });
    method == Method::POST && name.is_some_and(|name| !name.is_empty())
}

/// 404, or 400 when the path would be a topic's if the name were one.
async fn no_route(request: Request) -> Response {
    let path = request.uri().path();
    if let Some(rest) = path.strip_prefix("/v1/topics/")
        && (rest.is_empty() || rest.starts_with('/'))
        && let Err(failure) = topics::topic_of(request.uri())
    {
        return failure.into_response();
    }
    if path.starts_with("/v1/topics/")
        && path.ends_with("/groups/")
        && let Err(failure) = groups::place_of(request.uri())
    {
        return failure.into_response();
    }
    if path.starts_with("/v1/topics/") && keys::is_empty_key(path) {
        let detail = "the key is empty: name one behind /keys/, percent-encoded";
        return Failure::invalid(detail).into_response();
    }
    if path.starts_with(connect::PREFIX) {
        let detail = format!("there is no method {path}");
        return Failure::new(Code::Unimplemented, detail).into_response();
    }
    let detail = format!("there is no route {path:?}; {} lists them all", paths::OPENAPI);
    Failure::new(Code::RouteNotFound, detail).into_response()
}

/// 405 with the methods that the path has.
async fn no_method(State(_shared): State<Arc<Shared>>, request: Request) -> Response {
    method_refused(request.method(), request.uri().path()).into_response()
}

/// Refuses all but POST at the path of a verb, where the pattern of the thing leads too.
pub(super) fn no_verb(method: &Method, path: &str) -> Result<(), Failure> {
    if all().any(|route| is_verb(route.path) && matches(route.path, path)) {
        return Err(method_refused(method, path));
    }
    Ok(())
}

fn method_refused(method: &Method, path: &str) -> Failure {
    let mut routes: Vec<&Route> = all().filter(|route| matches(route.path, path)).collect();
    if routes.iter().any(|route| is_verb(route.path)) {
        routes.retain(|route| is_verb(route.path));
    }
    let mut methods: Vec<&str> = routes.iter().map(|route| route.method).collect();
    methods.sort_unstable();
    methods.dedup();
    let allowed = methods.join(", ");
    let failure = Failure::new(
        Code::MethodNotAllowed,
        format!("{path} has no method {method}; it has {allowed}"),
    );
    match HeaderValue::try_from(allowed) {
        Ok(allowed) => failure.with_header(header::ALLOW, allowed),
        Err(_) => failure,
    }
}

/// Whether a pattern is that of a verb: `{group}:lease`.
fn is_verb(pattern: &str) -> bool {
    pattern.contains("}:")
}

/// Whether a path fits a pattern.
fn matches(pattern: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    let fits = |wanted: &str, part: &str| match wanted.split_once('}') {
        Some((_, verb)) => part.ends_with(verb),
        None => wanted == part,
    };
    pattern.split('/').all(|wanted| parts.next().is_some_and(|part| fits(wanted, part)))
        && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_produce_requests_go_without_the_router() {
        for (method, path, wanted) in [
            (Method::POST, "/v1/topics/readings/records", true),
            (Method::POST, "/v1/topics/a%20b/records", true),
            (Method::GET, "/v1/topics/readings/records", false),
            (Method::POST, "/v1/topics//records", false),
            (Method::POST, "/v1/topics/records", false),
            (Method::POST, "/v1/topics/readings/records/", false),
            (Method::POST, "/v1/topics/readings/records:call", false),
            (Method::POST, "/v1/topics/readings/groups/records", false),
            (Method::POST, "/v1/topicsx/records", false),
        ] {
            assert_eq!(is_produce(&method, path), wanted, "{method} {path}");
        }
    }
}
