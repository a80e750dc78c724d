//! Schedules as the interfaces ask for them: the functions that REST and Connect share, in the messages of the contract.

use embermq_protocol::limits::SCHEDULES_PAGE_MAX;
use embermq_protocol::{time, v1};

use crate::http::catalog::topic_name;
use crate::http::failure::Failure;
use crate::http::shared::Shared;
use crate::{Record, Schedule, ScheduleId, ScheduleRef};

/// `GetSchedule`.
pub(in crate::http) async fn get_schedule(
    shared: &Shared,
    request: &v1::GetScheduleRequest,
) -> Result<v1::GetScheduleResponse, Failure> {
    let (topic, id) = (topic_name(&request.topic)?, schedule_id(&request.schedule)?);
    let (schedule, records) = shared.broker.schedule(&topic, id).await?;
    Ok(v1::GetScheduleResponse { schedule: Some(message(&schedule, records)) })
}

/// `ListSchedules`.
pub(in crate::http) fn list_schedules(
    shared: &Shared,
    request: &v1::ListSchedulesRequest,
) -> Result<v1::ListSchedulesResponse, Failure> {
    let topic = topic_name(&request.topic)?;
    let after = (!request.after.is_empty()).then(|| schedule_id(&request.after)).transpose()?;
    let limit = match request.limit {
        0 => SCHEDULES_PAGE_MAX,
        limit => limit.min(SCHEDULES_PAGE_MAX),
    };
    let found = shared.broker.schedules(&topic, after, limit as usize + 1)?;
    let more = found.len() > limit as usize;
    let schedules = found.iter().take(limit as usize);
    let schedules: Vec<_> = schedules.map(|schedule| message(schedule, Vec::new())).collect();
    let last = schedules.last().filter(|_| more).map(|last| last.schedule.clone());
    Ok(v1::ListSchedulesResponse { schedules, next_after: last.unwrap_or_default() })
}

/// `CancelSchedule`.
pub(in crate::http) async fn cancel_schedule(
    shared: &Shared,
    request: &v1::CancelScheduleRequest,
) -> Result<v1::CancelScheduleResponse, Failure> {
    let (topic, id) = (topic_name(&request.topic)?, schedule_id(&request.schedule)?);
    shared.broker.cancel_schedule(&topic, id).await?;
    Ok(v1::CancelScheduleResponse {})
}

/// What a commit cancels.
pub(in crate::http) fn cancels(cancels: &[v1::Cancel]) -> Result<Vec<ScheduleRef>, Failure> {
    let cancels = cancels.iter().map(|cancel| {
        Ok(ScheduleRef { topic: topic_name(&cancel.topic)?, id: schedule_id(&cancel.schedule)? })
    });
    cancels.collect()
}

fn schedule_id(text: &str) -> Result<ScheduleId, Failure> {
    text.parse().map_err(|error: crate::ScheduleIdInvalid| {
        Failure::invalid(error.to_string()).with("field", "schedule")
    })
}

fn message(schedule: &Schedule, records: Vec<Record>) -> v1::Schedule {
    v1::Schedule {
        topic: schedule.topic.as_str().to_owned(),
        schedule: schedule.id.to_string(),
        deliver_at: Some(time::Timestamp::from_micros(schedule.id.due.0)),
        partition: schedule.partition.0,
        count: schedule.count,
        records,
    }
}
