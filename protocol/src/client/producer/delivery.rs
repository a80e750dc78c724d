//! Which record went where, from the answer to a produce request.

use super::Delivery;
use crate::{
    client::{ClientError, Scheduled},
    v1::ProduceResponse,
};

/// The delivery of each of so many records, in their order.
pub(crate) fn deliveries(
    answer: &ProduceResponse,
    records: usize,
) -> Result<Vec<Delivery>, ClientError> {
    let mut found: Vec<Option<Delivery>> = vec![None; records];
    for result in &answer.results {
        let scheduled = (!result.schedule.is_empty()).then(|| Scheduled {
            schedule: result.schedule.clone(),
            deliver_at: result.deliver_at.unwrap_or_default(),
        });
        let place = |at: u64| Delivery {
            partition: result.partition,
            offset: if scheduled.is_some() { 0 } else { result.base_offset.wrapping_add(at) },
            scheduled: scheduled.clone(),
        };
        if result.record_indexes.is_empty() && answer.results.len() == 1 {
            for (at, slot) in (0..u64::from(result.count)).zip(&mut found) {
                *slot = Some(place(at));
            }
        }
        for (at, index) in (0..).zip(&result.record_indexes) {
            if let Some(slot) = found.get_mut(*index as usize) {
                *slot = Some(place(at));
            }
        }
    }
    found.into_iter().collect::<Option<_>>().ok_or_else(|| {
        ClientError::Answer(format!("it does not say where each of {records} records went"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{time::Timestamp, v1::AppendResult};

    fn result(partition: u32, base_offset: u64, count: u32, indexes: &[u32]) -> AppendResult {
        let record_indexes = indexes.to_vec();
        AppendResult { partition, base_offset, count, record_indexes, ..AppendResult::default() }
    }

    fn places(results: Vec<AppendResult>, records: usize) -> Option<Vec<(u32, u64)>> {
        let answer = ProduceResponse { results, replayed: false };
        let found = deliveries(&answer, records).ok()?;
        Some(found.into_iter().map(|d| (d.partition, d.offset)).collect())
    }

    #[test]
    fn every_record_gets_its_place() {
        assert_eq!(places(vec![result(3, 7, 2, &[])], 2), Some(vec![(3, 7), (3, 8)]));
        let parts = vec![result(0, 10, 2, &[0, 2]), result(1, 5, 1, &[1])];
        assert_eq!(places(parts, 3), Some(vec![(0, 10), (1, 5), (0, 11)]));
    }

    #[test]
    fn what_appears_later_has_no_offset_yet() {
        let later = AppendResult {
            schedule: "k-1".to_owned(),
            deliver_at: Some(Timestamp { seconds: 7, nanos: 0 }),
            ..result(2, 0, 2, &[])
        };
        let answer = ProduceResponse { results: vec![later], replayed: false };
        let found = deliveries(&answer, 2).unwrap();
        let deliver_at = Timestamp { seconds: 7, nanos: 0 };
        let scheduled = Some(Scheduled { schedule: "k-1".to_owned(), deliver_at });
        assert_eq!(found, vec![Delivery { partition: 2, offset: 0, scheduled }; 2]);
    }

    #[test]
    fn an_answer_with_holes_is_no_answer() {
        assert_eq!(places(vec![], 1), None);
        assert_eq!(places(vec![result(0, 0, 1, &[])], 2), None);
        assert_eq!(places(vec![result(0, 0, 1, &[9])], 1), None);
        assert_eq!(places(vec![result(0, 0, 1, &[]), result(1, 0, 1, &[])], 2), None);
    }
}
