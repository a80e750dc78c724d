//! Requests with batches as messages whose batches are left as bytes: a batch is checked by a scan before anything
//! of it is built, because a record of two bytes on the wire becomes a struct of a hundred.
//!
//! The wire form is that of the message of the same name in the contract, read from protobuf or from ProtoJSON.

use bytes::Bytes;
use embermq_protocol::code::Code;
use embermq_protocol::limits::{
    COMMIT_PARTS_MAX, LEASE_RECORDS_MAX, REQUEST_HEADERS_MAX, REQUEST_RECORDS_MAX,
};
use embermq_protocol::{time, v1};
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};

use super::failure::Failure;

/// `ProduceRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ProduceBody {
    #[prost(string, tag = "1")]
    pub(super) topic: String,
    #[prost(uint32, optional, tag = "2")]
    pub(super) partition: Option<u32>,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) batch: Bytes,
    #[prost(string, tag = "4")]
    pub(super) idempotency_key: String,
    #[prost(uint64, optional, tag = "5")]
    pub(super) expected_next_offset: Option<u64>,
    #[prost(int32, tag = "6")]
    pub(super) durability: i32,
    #[prost(message, optional, tag = "7")]
    pub(super) deliver_at: Option<time::Timestamp>,
    #[prost(message, optional, tag = "8")]
    pub(super) delay: Option<time::Duration>,
}

/// `CommitRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CommitBody {
    #[prost(message, repeated, tag = "1")]
    pub(super) preconditions: Vec<v1::Precondition>,
    #[prost(message, repeated, tag = "2")]
    pub(super) appends: Vec<AppendBody>,
    #[prost(message, repeated, tag = "3")]
    pub(super) settlements: Vec<v1::Settlement>,
    #[prost(message, repeated, tag = "4")]
    pub(super) cancels: Vec<v1::Cancel>,
    #[prost(string, tag = "5")]
    pub(super) idempotency_key: String,
    #[prost(int32, tag = "6")]
    pub(super) durability: i32,
}

/// `Append`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AppendBody {
    #[prost(string, tag = "1")]
    pub(super) topic: String,
    #[prost(uint32, optional, tag = "2")]
    pub(super) partition: Option<u32>,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) batch: Bytes,
    #[prost(message, optional, tag = "4")]
    pub(super) deliver_at: Option<time::Timestamp>,
    #[prost(message, optional, tag = "5")]
    pub(super) delay: Option<time::Duration>,
}

/// Objects that a request in ProtoJSON may have: each becomes a struct before it can be counted otherwise.
const JSON_OBJECTS_MAX: usize = REQUEST_RECORDS_MAX as usize
    + REQUEST_HEADERS_MAX as usize
    + 5 * COMMIT_PARTS_MAX
    + 2 * LEASE_RECORDS_MAX as usize;
/// Fields that a message has beside its repeated ones.
const OTHER_FIELDS_MAX: usize = 16;

impl ProduceBody {
    /// Reads protobuf.
    pub(super) fn read(bytes: &Bytes) -> Result<Self, Failure> {
        check_fields(bytes, "ProduceRequest")?;
        Self::decode(bytes.clone()).map_err(|error| malformed("ProduceRequest", &error.to_string()))
    }

    /// Reads ProtoJSON.
    pub(super) fn read_json(bytes: &[u8]) -> Result<Self, Failure> {
        count_objects(bytes)?;
        let message: v1::ProduceRequest = serde_json::from_slice(bytes)
            .map_err(|error| malformed("ProduceRequest", &error.to_string()))?;
        Self::read(&message.encode_to_vec().into())
    }
}

impl CommitBody {
    /// Reads protobuf.
    pub(super) fn read(bytes: &Bytes) -> Result<Self, Failure> {
        check_fields(bytes, "CommitRequest")?;
        Self::decode(bytes.clone()).map_err(|error| malformed("CommitRequest", &error.to_string()))
    }

    /// Reads ProtoJSON.
    pub(super) fn read_json(bytes: &[u8]) -> Result<Self, Failure> {
        count_objects(bytes)?;
        let message: v1::CommitRequest = serde_json::from_slice(bytes)
            .map_err(|error| malformed("CommitRequest", &error.to_string()))?;
        Self::read(&message.encode_to_vec().into())
    }
}

/// Bounds the fields of a commit before any of them is built.
fn check_fields(bytes: &[u8], message: &str) -> Result<(), Failure> {
    let limit = 3 * COMMIT_PARTS_MAX + LEASE_RECORDS_MAX as usize + OTHER_FIELDS_MAX;
    if count_fields(bytes, message)? <= limit { Ok(()) } else { Err(too_many_parts()) }
}

/// Bounds the settlements of a `SettleRequest` before any of them is built.
pub(super) fn count_settlements(bytes: &[u8]) -> Result<(), Failure> {
    let limit = LEASE_RECORDS_MAX as usize + OTHER_FIELDS_MAX;
    let fields = count_fields(bytes, "SettleRequest")?;
    if fields <= limit { Ok(()) } else { Err(too_many_settlements()) }
}

fn count_fields(bytes: &[u8], message: &str) -> Result<usize, Failure> {
    let mut rest = bytes;
    let mut fields = 0;
    while !rest.is_empty() {
        let skipped = decode_key(&mut rest).and_then(|(number, kind)| {
            skip_field(kind, number, &mut rest, DecodeContext::default())
        });
        skipped.map_err(|error| malformed(message, &error.to_string()))?;
        fields += 1;
    }
    Ok(fields)
}

/// The refusal of a commit with too many parts.
pub(super) fn too_many_parts() -> Failure {
    let detail = format!(
        "a commit has at most {COMMIT_PARTS_MAX} appends, as many preconditions and cancels, and {LEASE_RECORDS_MAX} settlements"
    );
    Failure::new(Code::TooManyRecords, detail)
}

/// The refusal of a request with too many settlements.
pub(super) fn too_many_settlements() -> Failure {
    let detail = format!(
        "a request settles at most {LEASE_RECORDS_MAX} leases; settle the others with another one"
    );
    Failure::new(Code::TooManyRecords, detail).with("limit_records", LEASE_RECORDS_MAX)
}

fn count_objects(json: &[u8]) -> Result<(), Failure> {
    let objects = json.iter().filter(|byte| **byte == b'{').count();
    if objects <= JSON_OBJECTS_MAX {
        return Ok(());
    }
    let detail =
        format!("the request has more than {REQUEST_RECORDS_MAX} records; send less at a time");
    Err(Failure::new(Code::TooManyRecords, detail).with("limit_records", REQUEST_RECORDS_MAX))
}

fn malformed(message: &str, reason: &str) -> Failure {
    Failure::malformed(format!("the body is no embermq.v1.{message}: {reason}"))
}
