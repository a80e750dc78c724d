//! Reading by key as the interfaces ask for it, in the messages of the contract.

use embermq_protocol::limits::{KEY_PAGE_DEFAULT, KEY_PAGE_MAX};
use embermq_protocol::{time, v1};
use embermq_storage::Offset;

use crate::http::catalog::topic_name;
use crate::http::failure::Failure;
use crate::http::fetch::timestamp;
use crate::http::shared::Shared;
use crate::{AsOf, KeyHistoryQuery, KeyList, KeyQuery, KeyRecord, PartitionId};

/// `ReadKey`.
pub(in crate::http) async fn read_key(
    shared: &Shared,
    request: &v1::ReadKeyRequest,
) -> Result<v1::ReadKeyResponse, Failure> {
    use v1::read_key_request::AsOf as Wanted;
    let as_of = match request.as_of {
        None => None,
        Some(Wanted::Offset(offset)) => Some(AsOf::Offset(Offset(offset))),
        Some(Wanted::Time(time)) => Some(AsOf::Time(timestamp(time)?)),
    };
    let query = KeyQuery { partition: request.partition.map(PartitionId), as_of };
    let topic = topic_name(&request.topic)?;
    let found = shared.broker.read_key(&topic, &request.key, query).await?;
    Ok(v1::ReadKeyResponse { record: Some(message(found)) })
}

/// `ReadKeyHistory`.
pub(in crate::http) async fn read_key_history(
    shared: &Shared,
    request: &v1::ReadKeyHistoryRequest,
) -> Result<v1::ReadKeyHistoryResponse, Failure> {
    use v1::read_key_history_request::AsOf as Wanted;
    let as_of = match request.as_of {
        None => None,
        Some(Wanted::Offset(offset)) => Some(AsOf::Offset(Offset(offset))),
        Some(Wanted::Time(time)) => Some(AsOf::Time(timestamp(time)?)),
    };
    let wanted = KeyHistoryQuery {
        query: KeyQuery { partition: request.partition.map(PartitionId), as_of },
        before: request.before.map(Offset),
        limit: limit(request.limit)?,
    };
    let topic = topic_name(&request.topic)?;
    let history = shared.broker.key_history(&topic, &request.key, wanted).await?;
    Ok(v1::ReadKeyHistoryResponse {
        partition: history.partition.0,
        records: history.records.into_iter().map(message).collect(),
        before: history.before.map(|before| before.0),
    })
}

/// `ListKeys`.
pub(in crate::http) async fn list_keys(
    shared: &Shared,
    request: v1::ListKeysRequest,
) -> Result<v1::ListKeysResponse, Failure> {
    let after = match request.after.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|error: crate::NoKeyCursor| {
            Failure::invalid(error.to_string()).with("parameter", "after")
        })?),
    };
    let list = KeyList {
        partition: request.partition.map(PartitionId),
        prefix: request.prefix,
        after,
        limit: limit(request.limit)?,
    };
    let page = shared.broker.list_keys(&topic_name(&request.topic)?, list).await?;
    Ok(v1::ListKeysResponse {
        records: page.records.into_iter().map(message).collect(),
        after: page.after.map(|after| after.to_string()).unwrap_or_default(),
    })
}

fn limit(asked: u32) -> Result<usize, Failure> {
    let limit = match asked {
        0 => KEY_PAGE_DEFAULT,
        1..=KEY_PAGE_MAX => asked,
        _ => {
            let detail = format!("limit is {asked}, the most is {KEY_PAGE_MAX}; ask for pages");
            return Err(Failure::invalid(detail).with("parameter", "limit"));
        }
    };
    Ok(limit as usize)
}

fn message(found: KeyRecord) -> v1::KeyRecord {
    v1::KeyRecord {
        partition: found.partition.0,
        offset: found.offset.0,
        append_time: Some(time::Timestamp::from_micros(found.append_time.0)),
        record: Some(found.record),
    }
}
