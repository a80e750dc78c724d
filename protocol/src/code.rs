//! Every way to fail, as one enum: the stable code, what REST, Connect and gRPC call it, and whether trying again
//! can help.
//!
//! The code is the contract; statuses follow from it. Choices that are not obvious:
//! - A precondition that does not hold is **409** (and `aborted`), with the expected and the actual value in the
//!   details: the client reads again and decides. 412 would suit only the header form of the same thing.
//! - A full disk is **507**, not 429: people must act. Clients of ours retry by `retryable`, not by status.
//! - An offset below the start is **410** (it was there), one above the end **416** (it never was); both tell the
//!   range.
//! - Too large is never retryable, so Connect shows `invalid_argument` instead of `resource_exhausted`, which generic
//!   clients repeat.

use std::{fmt, str::FromStr};

/// A stable error code.
///
/// ```
/// use embermq_protocol::Code;
///
/// let code: Code = "storage_full".parse()?;
/// assert_eq!((code.status(), code.retryable()), (507, true));
/// # Ok::<(), embermq_protocol::code::UnknownCode>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Code {
    /// A parameter, header or field has a value that makes no sense.
    InvalidArgument,
    /// A topic name breaks the rule of names.
    InvalidTopicName,
    /// The body is not what its content type says; the details say where.
    MalformedBody,
    /// The body's content type is not known here.
    UnsupportedMediaType,
    /// No content type that the client accepts can be given.
    NotAcceptable,
    /// There is nothing at this path.
    RouteNotFound,
    /// The path is known, but not with this method.
    MethodNotAllowed,
    /// The topic does not exist.
    TopicNotFound,
    /// The topic has no partition of this number.
    PartitionNotFound,
    /// The topic exists, with other settings.
    TopicExists,
    /// The topic is the broker's own: it can be read, and that is all.
    TopicReserved,
    /// A record is larger than its topic allows.
    RecordTooLarge,
    /// The body is larger than a request may be, as sent or inflated.
    BodyTooLarge,
    /// A request has more records than one may have.
    TooManyRecords,
    /// The request's HTTP headers are too large.
    HeadersTooLarge,
    /// The body came too slowly.
    RequestTimeout,
    /// The partition's next offset is not the expected one.
    OffsetConflict,
    /// The offset was there, but retention removed it.
    OffsetExpired,
    /// The offset lies behind the end of the partition.
    OffsetOutOfRange,
    /// Records of this producer are missing in between.
    SeqGap,
    /// A newer epoch of this producer has taken over.
    Fenced,
    /// A request with the same `Idempotency-Key` is still being worked on.
    IdempotencyInFlight,
    /// The `Idempotency-Key` was used for another payload.
    IdempotencyKeyReused,
    /// A group name breaks the rule of names.
    InvalidGroupName,
    /// The topic has no group of this name.
    GroupNotFound,
    /// The group exists, with other settings.
    GroupExists,
    /// The text is no lease token of this group.
    InvalidLeaseToken,
    /// The lease is not the caller's any more: it was settled, or its record was given to somebody else.
    LeaseLost,
    /// What was scheduled is not pending: it was delivered or cancelled, or it never was.
    ScheduleNotFound,
    /// The latest record of a key is not the expected one.
    KeyConflict,
    /// The topic has no record of this key, or its latest one is a tombstone.
    KeyNotFound,
    /// As many schedules are pending as may be.
    TooManySchedules,
    /// As much is remembered of idempotency keys as may be.
    TooManyIdempotencyKeys,
    /// As much is remembered of producers as may be.
    TooManyProducers,
    /// There is no such model, version or alias.
    ModelNotFound,
    /// The version exists, with other files.
    ModelExists,
    /// A version of the model has the alias's name, or an alias the version's.
    ModelNameTaken,
    /// Something still uses the version, or names the alias.
    ModelInUse,
    /// The model cannot be run; the details say everything that is wrong.
    ModelUnusable,
    /// What arrived has another digest than was announced.
    DigestMismatch,
    /// There is no stage of this name.
    StageNotFound,
    /// There is no webhook of this name.
    WebhookNotFound,
    /// The address is one that webhooks do not call.
    AddressForbidden,
    /// The webhook's secret cannot be read: the file with its key is missing or another one.
    SecretLocked,
    /// The id names no request of this broker, or its topic or its stage's group was deleted.
    RequestNotFound,
    /// What a request ended with is not kept any more.
    RequestExpired,
    /// The record that was called with has failed for good; the details say why, and where its dead letter is.
    DeadLettered,
    /// The stage has gone past the record that was called with, and made nothing of it.
    PassedOver,
    /// A model failed at what it was asked.
    ModelFailed,
    /// A model did not answer in time.
    ModelTimedOut,
    /// The memory that requests or answers may take, or the queue of commits, is full.
    Overloaded,
    /// The data folder is full.
    StorageFull,
    /// The broker is starting: the log is still being recovered.
    Starting,
    /// The broker is stopping.
    ShuttingDown,
    /// The device failed: a write or a sync (nothing can be made durable until the broker is restarted), or a read.
    StorageFailed,
    /// What is stored there is damaged or missing; the rest stays readable.
    DataDamaged,
    /// This broker cannot do that.
    Unimplemented,
    /// A defect of the broker.
    Internal,
}

/// What a code is called elsewhere.
struct Facts {
    code: Code,
    name: &'static str,
    title: &'static str,
    status: u16,
    grpc: Grpc,
    retryable: bool,
}

/// The codes of google.rpc that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grpc {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
}

const FINAL: bool = false;
const RETRYABLE: bool = true;

const fn facts(
    code: Code,
    name: &'static str,
    title: &'static str,
    status: u16,
    grpc: Grpc,
    retryable: bool,
) -> Facts {
    Facts { code, name, title, status, grpc, retryable }
}

#[rustfmt::skip]
const TABLE: [Facts; 58] = [
    facts(Code::InvalidArgument, "invalid_argument", "invalid argument", 400, Grpc::InvalidArgument, FINAL),
    facts(Code::InvalidTopicName, "invalid_topic_name", "invalid topic name", 400, Grpc::InvalidArgument, FINAL),
    facts(Code::MalformedBody, "malformed_body", "malformed body", 400, Grpc::InvalidArgument, FINAL),
    facts(Code::UnsupportedMediaType, "unsupported_media_type", "unsupported media type", 415, Grpc::InvalidArgument, FINAL),
    facts(Code::NotAcceptable, "not_acceptable", "not acceptable", 406, Grpc::InvalidArgument, FINAL),
    facts(Code::RouteNotFound, "route_not_found", "no such route", 404, Grpc::Unimplemented, FINAL),
    facts(Code::MethodNotAllowed, "method_not_allowed", "method not allowed", 405, Grpc::Unimplemented, FINAL),
    facts(Code::TopicNotFound, "topic_not_found", "topic not found", 404, Grpc::NotFound, FINAL),
    facts(Code::PartitionNotFound, "partition_not_found", "partition not found", 404, Grpc::NotFound, FINAL),
    facts(Code::TopicExists, "topic_exists", "topic exists with other settings", 409, Grpc::AlreadyExists, FINAL),
    facts(Code::TopicReserved, "topic_reserved", "topic of the broker's own", 403, Grpc::PermissionDenied, FINAL),
    facts(Code::RecordTooLarge, "record_too_large", "record too large", 413, Grpc::InvalidArgument, FINAL),
    facts(Code::BodyTooLarge, "body_too_large", "body too large", 413, Grpc::InvalidArgument, FINAL),
    facts(Code::TooManyRecords, "too_many_records", "too many records", 413, Grpc::InvalidArgument, FINAL),
    facts(Code::HeadersTooLarge, "headers_too_large", "request headers too large", 431, Grpc::InvalidArgument, FINAL),
    facts(Code::RequestTimeout, "request_timeout", "request came too slowly", 408, Grpc::DeadlineExceeded, RETRYABLE),
    facts(Code::OffsetConflict, "offset_conflict", "offset conflict", 409, Grpc::Aborted, FINAL),
    facts(Code::OffsetExpired, "offset_expired", "offset expired", 410, Grpc::OutOfRange, FINAL),
    facts(Code::OffsetOutOfRange, "offset_out_of_range", "offset out of range", 416, Grpc::OutOfRange, FINAL),
    facts(Code::SeqGap, "seq_gap", "gap in the producer's sequence", 409, Grpc::OutOfRange, FINAL),
    facts(Code::Fenced, "fenced", "fenced by a newer epoch", 409, Grpc::FailedPrecondition, FINAL),
    facts(Code::IdempotencyInFlight, "idempotency_in_flight", "request with this key in flight", 409, Grpc::Aborted, RETRYABLE),
    facts(Code::IdempotencyKeyReused, "idempotency_key_reused", "idempotency key used for another payload", 422, Grpc::FailedPrecondition, FINAL),
    facts(Code::InvalidGroupName, "invalid_group_name", "invalid group name", 400, Grpc::InvalidArgument, FINAL),
    facts(Code::GroupNotFound, "group_not_found", "group not found", 404, Grpc::NotFound, FINAL),
    facts(Code::GroupExists, "group_exists", "group exists with other settings", 409, Grpc::AlreadyExists, FINAL),
    facts(Code::InvalidLeaseToken, "invalid_lease_token", "invalid lease token", 400, Grpc::InvalidArgument, FINAL),
    facts(Code::LeaseLost, "lease_lost", "lease lost", 409, Grpc::FailedPrecondition, FINAL),
    facts(Code::ScheduleNotFound, "schedule_not_found", "schedule not found", 404, Grpc::NotFound, FINAL),
    facts(Code::KeyConflict, "key_conflict", "key conflict", 409, Grpc::Aborted, FINAL),
    facts(Code::KeyNotFound, "key_not_found", "key not found", 404, Grpc::NotFound, FINAL),
    facts(Code::TooManySchedules, "too_many_schedules", "too many schedules", 429, Grpc::ResourceExhausted, RETRYABLE),
    facts(Code::TooManyIdempotencyKeys, "too_many_idempotency_keys", "too many idempotency keys", 429, Grpc::ResourceExhausted, RETRYABLE),
    facts(Code::TooManyProducers, "too_many_producers", "too many producers", 429, Grpc::ResourceExhausted, RETRYABLE),
    facts(Code::ModelNotFound, "model_not_found", "model not found", 404, Grpc::NotFound, FINAL),
    facts(Code::ModelExists, "model_exists", "version exists with other files", 409, Grpc::AlreadyExists, FINAL),
    facts(Code::ModelNameTaken, "model_name_taken", "name of a version or an alias", 409, Grpc::AlreadyExists, FINAL),
    facts(Code::ModelInUse, "model_in_use", "model in use", 409, Grpc::FailedPrecondition, FINAL),
    facts(Code::ModelUnusable, "model_unusable", "model cannot be run", 422, Grpc::FailedPrecondition, FINAL),
    facts(Code::DigestMismatch, "digest_mismatch", "digest mismatch", 422, Grpc::InvalidArgument, FINAL),
    facts(Code::StageNotFound, "stage_not_found", "stage not found", 404, Grpc::NotFound, FINAL),
    facts(Code::WebhookNotFound, "webhook_not_found", "webhook not found", 404, Grpc::NotFound, FINAL),
    facts(Code::AddressForbidden, "address_forbidden", "address not to be called", 422, Grpc::InvalidArgument, FINAL),
    facts(Code::SecretLocked, "secret_locked", "secret cannot be read", 409, Grpc::FailedPrecondition, FINAL),
    facts(Code::RequestNotFound, "request_not_found", "request not found", 404, Grpc::NotFound, FINAL),
    facts(Code::RequestExpired, "request_expired", "result not kept any more", 410, Grpc::NotFound, FINAL),
    facts(Code::DeadLettered, "dead_lettered", "record failed for good", 422, Grpc::FailedPrecondition, FINAL),
    facts(Code::PassedOver, "passed_over", "stage has gone past the record", 409, Grpc::Aborted, FINAL),
    facts(Code::ModelFailed, "model_failed", "model failed", 500, Grpc::Internal, FINAL),
    facts(Code::ModelTimedOut, "model_timed_out", "model did not answer in time", 504, Grpc::DeadlineExceeded, FINAL),
    facts(Code::Overloaded, "overloaded", "overloaded", 429, Grpc::ResourceExhausted, RETRYABLE),
    facts(Code::StorageFull, "storage_full", "storage full", 507, Grpc::ResourceExhausted, RETRYABLE),
    facts(Code::Starting, "starting", "starting", 503, Grpc::Unavailable, RETRYABLE),
    facts(Code::ShuttingDown, "shutting_down", "shutting down", 503, Grpc::Unavailable, RETRYABLE),
    facts(Code::StorageFailed, "storage_failed", "storage failed", 503, Grpc::Unavailable, RETRYABLE),
    facts(Code::DataDamaged, "data_damaged", "data damaged", 500, Grpc::DataLoss, FINAL),
    facts(Code::Unimplemented, "unimplemented", "not implemented", 501, Grpc::Unimplemented, FINAL),
    facts(Code::Internal, "internal", "internal error", 500, Grpc::Internal, FINAL),
];

// `Code::facts` indexes the table by the code.
const _: () = {
    let mut at = 0;
    while at < TABLE.len() {
        assert!(TABLE[at].code as usize == at);
        at += 1;
    }
};

impl Code {
    const fn facts(self) -> &'static Facts {
        &TABLE[self as usize]
    }

    /// Every code, in the order of their declaration.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|facts| facts.code)
    }

    /// The stable text, for programs: `topic_not_found`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.facts().name
    }

    /// The same for people, without facts of the case: `topic not found`.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.facts().title
    }

    /// The HTTP status over REST.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.facts().status
    }

    /// The number of the google.rpc code, as gRPC sends it.
    #[must_use]
    pub const fn grpc(self) -> i32 {
        self.facts().grpc as i32
    }

    /// The google.rpc code as Connect writes it: `not_found`.
    #[must_use]
    pub const fn connect(self) -> &'static str {
        self.facts().grpc.connect().0
    }

    /// The HTTP status over Connect, which follows from [`Code::connect`].
    #[must_use]
    pub const fn connect_status(self) -> u16 {
        self.facts().grpc.connect().1
    }

    /// Whether the same request may succeed later, unchanged.
    #[must_use]
    pub const fn retryable(self) -> bool {
        self.facts().retryable
    }
}

impl Grpc {
    /// Name and HTTP status as the Connect specification fixes them.
    const fn connect(self) -> (&'static str, u16) {
        match self {
            Self::InvalidArgument => ("invalid_argument", 400),
            Self::DeadlineExceeded => ("deadline_exceeded", 504),
            Self::NotFound => ("not_found", 404),
            Self::AlreadyExists => ("already_exists", 409),
            Self::PermissionDenied => ("permission_denied", 403),
            Self::ResourceExhausted => ("resource_exhausted", 429),
            Self::FailedPrecondition => ("failed_precondition", 400),
            Self::Aborted => ("aborted", 409),
            Self::OutOfRange => ("out_of_range", 400),
            Self::Unimplemented => ("unimplemented", 501),
            Self::Internal => ("internal", 500),
            Self::Unavailable => ("unavailable", 503),
            Self::DataLoss => ("data_loss", 500),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no code of this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown error code {0:?}")]
pub struct UnknownCode(pub String);

impl FromStr for Code {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        Self::all().find(|code| code.as_str() == text).ok_or_else(|| UnknownCode(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_back_from_their_text() {
        for code in Code::all() {
            assert_eq!(code.as_str().parse(), Ok(code));
        }
        assert!("no_such_code".parse::<Code>().is_err());
    }

    #[test]
    fn retryable_codes_have_statuses_that_say_so_to_strangers() {
        for code in Code::all().filter(|code| code.retryable()) {
            assert!(matches!(code.status(), 408 | 409 | 429 | 503 | 507), "{code}");
        }
    }
}
