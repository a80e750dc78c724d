//! Media types of requests and answers.

/// Protobuf messages over REST. A produce body is a `RecordBatch`, a fetch answer a `FetchResponse`.
pub const PROTOBUF: &str = "application/x-protobuf";
/// Protobuf messages over Connect.
pub const CONNECT_PROTO: &str = "application/proto";
/// JSON: people's form over REST, canonical ProtoJSON over Connect.
pub const JSON: &str = "application/json";
/// One JSON record per line.
pub const NDJSON: &str = "application/x-ndjson";
/// Server-Sent Events.
pub const EVENT_STREAM: &str = "text/event-stream";
/// One CloudEvent in structured form.
pub const CLOUDEVENT: &str = "application/cloudevents+json";
/// A JSON array of CloudEvents.
pub const CLOUDEVENT_BATCH: &str = "application/cloudevents-batch+json";
/// Errors over REST (RFC 9457).
pub const PROBLEM: &str = "application/problem+json";
/// A body of which nothing else is known.
pub const OCTET_STREAM: &str = "application/octet-stream";
/// Metrics.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
