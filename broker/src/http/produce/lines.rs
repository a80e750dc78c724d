//! Batches of records as JSON: `{"records":[..]}`, and one record a line.

use std::fmt;

use embermq_protocol::code::Code;
use embermq_protocol::limits::{REQUEST_HEADERS_MAX, REQUEST_RECORDS_MAX};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::http::failure::Failure;
use crate::http::json::{BoundedList, IncomingRecord, parse_record};

/// What an `application/json` body is.
pub(super) enum JsonBody {
    /// An object with only `records` (an array) and perhaps `partition`.
    Batch { records: Vec<IncomingRecord>, partition: Option<u32> },
    /// Any other JSON: one record, the body as it is.
    Record,
}

/// The members of an object that decide what it is.
#[derive(Default)]
struct Shape<'a> {
    records: Option<&'a RawValue>,
    partition: Option<&'a RawValue>,
    others: bool,
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape<'de>, A::Error> {
        let mut shape = Shape::default();
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "records" if shape.records.is_none() => shape.records = Some(map.next_value()?),
                "partition" if shape.partition.is_none() => {
                    shape.partition = Some(map.next_value()?);
                }
                _ => {
                    let _other: IgnoredAny = map.next_value()?;
                    shape.others = true;
                }
            }
        }
        Ok(shape)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Shape<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ShapeVisitor)
    }
}

/// Reads an `application/json` body.
pub(super) fn json_body(body: &[u8]) -> Result<JsonBody, Failure> {
    let whole: &RawValue = serde_json::from_slice(body)
        .map_err(|error| Failure::malformed(format!("the body is not valid JSON: {error}")))?;
    let Ok(shape) = serde_json::from_str::<Shape<'_>>(whole.get()) else {
        return Ok(JsonBody::Record);
    };
    let Some(list) = shape.records.filter(|list| list.get().starts_with('[') && !shape.others)
    else {
        return Ok(JsonBody::Record);
    };
    let partition = match shape.partition {
        None => None,
        Some(number) => serde_json::from_str(number.get()).map_err(|error| {
            Failure::malformed(format!(
                "\"partition\" of the batch is no partition number: {error}"
            ))
        })?,
    };
    Ok(JsonBody::Batch { records: record_list(list)?, partition })
}

/// Reads an array of records.
pub(in crate::http) fn record_list(list: &RawValue) -> Result<Vec<IncomingRecord>, Failure> {
    let list: BoundedList<'_> = serde_json::from_str(list.get())
        .map_err(|error| Failure::malformed(format!("\"records\" is not an array: {error}")))?;
    if list.overflow {
        return Err(too_many());
    }
    let mut headers = 0;
    let mut records = Vec::with_capacity(list.elements.len());
    for (index, json) in list.elements.iter().enumerate() {
        let record = parse_record(json.get().as_bytes()).map_err(|reason| {
            Failure::malformed(format!(
                "record {index} of the batch: {reason}. Nothing was produced"
            ))
            .with("index", index)
        })?;
        count_headers(&mut headers, &record)?;
        records.push(record);
    }
    Ok(records)
}

/// Reads an NDJSON body: one record a line, empty lines allowed.
pub(super) fn ndjson_body(body: &[u8]) -> Result<Vec<IncomingRecord>, Failure> {
    let mut records = Vec::new();
    let mut headers = 0;
    for (line, number) in body.split(|byte| *byte == b'\n').zip(1_u64..) {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if records.len() == REQUEST_RECORDS_MAX as usize {
            return Err(too_many());
        }
        let record = parse_record(line).map_err(|reason| {
            Failure::malformed(format!("line {number}: {reason}. Nothing was produced"))
                .with("line", number)
        })?;
        count_headers(&mut headers, &record)?;
        records.push(record);
    }
    Ok(records)
}

/// Bounds the headers of all records while they are read.
fn count_headers(headers: &mut usize, record: &IncomingRecord) -> Result<(), Failure> {
    *headers += record.record.headers.len();
    if *headers <= REQUEST_HEADERS_MAX as usize {
        return Ok(());
    }
    let detail =
        format!("the records of a request have at most {REQUEST_HEADERS_MAX} headers together");
    Err(Failure::malformed(detail))
}

/// The refusal of a request with too many records.
pub(super) fn too_many() -> Failure {
    let detail =
        format!("the request has more than {REQUEST_RECORDS_MAX} records; send less at a time");
    Failure::new(Code::TooManyRecords, detail).with("limit_records", REQUEST_RECORDS_MAX)
}
