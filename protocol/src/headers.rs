//! Names of HTTP headers, in the lower case in which HTTP/2 sends them, and of a header of records.
//!
//! The producer headers do for a JSON, NDJSON or raw body what fields 6 to 8 of a `RecordBatch` do for a protobuf
//! body.

/// Key of a record whose value is the raw body.
pub const KEY: &str = "key";
/// A repeat of a request with the same key has no effect and gets the first answer.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// `true` on an answer that was given before, to the same `Idempotency-Key`.
pub const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";
/// The producer, an unsigned 64-bit number that it chose; not 0.
pub const PRODUCER_ID: &str = "producer-id";
/// The producer's epoch, an unsigned 32-bit number.
pub const PRODUCER_EPOCH: &str = "producer-epoch";
/// How many records the producer sent to the topic in this epoch before this request.
pub const PRODUCER_SEQ: &str = "producer-seq";
/// The offset that the first record must get.
pub const IF_OFFSET_MATCH: &str = "if-offset-match";
/// How long from now the records appear in the topic: `30s`. Produce.
pub const DELAY: &str = "delay";
/// When the records appear in the topic, as RFC 3339. Produce.
pub const DELIVER_AT: &str = "deliver-at";
/// The offset that the latest record of the request's key must have, or `none`.
pub const IF_KEY_VERSION: &str = "if-key-version";
/// The offset of a record that was read by its key.
pub const KEY_VERSION: &str = "key-version";
/// What an acknowledgement promises: `fsync` or `os`.
pub const DURABILITY: &str = "durability";
/// Seconds to wait before trying again.
pub const RETRY_AFTER: &str = "retry-after";
/// Names the request in logs and errors.
pub const REQUEST_ID: &str = "x-request-id";
/// The last event that a Server-Sent Events client saw.
pub const LAST_EVENT_ID: &str = "last-event-id";
/// `1` on every Connect request.
pub const CONNECT_PROTOCOL_VERSION: &str = "connect-protocol-version";
/// How long a Connect client waits, in milliseconds.
pub const CONNECT_TIMEOUT_MS: &str = "connect-timeout-ms";

/// Of a record: which group alone it is for, as `topic/group`. The broker sets it, and takes it from what is sent.
pub const REDRIVE_GROUP: &str = "x-redrive-group";
