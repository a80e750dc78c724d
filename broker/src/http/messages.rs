//! Requests with batches as messages whose batches are left as bytes: a batch is checked by a scan before anything
//! of it is built, because a record of two bytes on the wire becomes a struct of a hundred.
//!
//! The wire form is that of the message of the same name in the contract, read from protobuf or from ProtoJSON.

use bytes::Bytes;
use embermq_protocol::code::Code;
use embermq_protocol::limits::{COMMIT_PARTS_MAX, REQUEST_HEADERS_MAX, REQUEST_RECORDS_MAX};
use embermq_protocol::v1;
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
}

/// `CommitRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CommitBody {
    #[prost(message, repeated, tag = "1")]
    pub(super) preconditions: Vec<v1::Precondition>,
    #[prost(message, repeated, tag = "2")]
    pub(super) appends: Vec<AppendBody>,
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
}

/// Objects that a request in ProtoJSON may have: each becomes a struct before it can be counted otherwise.
const JSON_OBJECTS_MAX: usize =
    REQUEST_RECORDS_MAX as usize + REQUEST_HEADERS_MAX as usize + 4 * COMMIT_PARTS_MAX;

impl ProduceBody {
    /// Reads protobuf.
    pub(super) fn read(bytes: &Bytes) -> Result<Self, Failure> {
        count_fields(bytes)?;
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
        count_fields(bytes)?;
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

/// Bounds the fields of a message before any of them is built.
fn count_fields(bytes: &[u8]) -> Result<(), Failure> {
    let mut rest = bytes;
    let mut fields = 0;
    while !rest.is_empty() {
        let skipped = decode_key(&mut rest).and_then(|(number, kind)| {
            skip_field(kind, number, &mut rest, DecodeContext::default())
        });
        skipped.map_err(|error| malformed("message", &error.to_string()))?;
        fields += 1;
        if fields > 2 * COMMIT_PARTS_MAX + 16 {
            let detail = format!(
                "a commit has at most {COMMIT_PARTS_MAX} appends and as many preconditions"
            );
            return Err(Failure::new(Code::TooManyRecords, detail));
        }
    }
    Ok(())
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
