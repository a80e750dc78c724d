//! Where each record of a batch went.

use embermq_protocol::v1::AppendResult;
use embermq_storage::Timestamp;
use serde::Serialize;

use crate::http::span::render_time;

/// Where one record went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(in crate::http) struct Placed {
    partition: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    /// It appears later, together with others of the same schedule.
    #[serde(skip_serializing_if = "String::is_empty")]
    schedule: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliver_at: Option<String>,
}

/// When the records of a result appear, if that is later.
pub(in crate::http) fn deliver_at(result: &AppendResult) -> Option<String> {
    result.deliver_at?.micros().map(|micros| render_time(Timestamp(micros)))
}

/// Where each record went, in the order in which they were sent.
pub(in crate::http) fn placed(results: &[AppendResult]) -> Vec<Placed> {
    let count: usize = results.iter().map(|result| result.count as usize).sum();
    let mut places = vec![Placed::default(); count];
    for result in results {
        let all = 0..result.count;
        let some = result.record_indexes.iter().copied();
        let indexes: Vec<u32> =
            if result.record_indexes.is_empty() { all.collect() } else { some.collect() };
        for (index, offset) in indexes.into_iter().zip(result.base_offset..) {
            if let Some(place) = places.get_mut(index as usize) {
                let put_off = !result.schedule.is_empty();
                *place = Placed {
                    partition: result.partition,
                    offset: (!put_off).then_some(offset),
                    schedule: result.schedule.clone(),
                    deliver_at: deliver_at(result),
                };
            }
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_listed_as_they_were_sent() {
        let result = |partition, base_offset, indexes: &[u32]| AppendResult {
            partition,
            base_offset,
            count: 2,
            record_indexes: indexes.to_vec(),
            ..AppendResult::default()
        };
        let place =
            |partition, offset| Placed { partition, offset: Some(offset), ..Placed::default() };
        let parted = [result(0, 10, &[1, 2]), result(3, 7, &[0, 3])];
        assert_eq!(placed(&parted), [place(3, 7), place(0, 10), place(0, 11), place(3, 8)]);
        assert_eq!(placed(&[result(1, 5, &[])]), [place(1, 5), place(1, 6)]);
    }
}
