//! Groups as the interfaces ask for them: the functions that REST and Connect share, in the messages of the contract.

use std::time::Duration;

use embermq_protocol::v1;

use super::convert;
use super::convert::group_name;
use crate::http::caller::Caller;
use crate::http::catalog::topic_name;
use crate::http::failure::Failure;
use crate::http::shared::Shared;
use crate::{Lease, LeaseRequest, PartitionId, Settlement, Verdict};

/// `CreateGroup`.
pub(in crate::http) async fn create_group(
    shared: &Shared,
    request: v1::CreateGroupRequest,
) -> Result<v1::CreateGroupResponse, Failure> {
    let (topic, group) = (topic_name(&request.topic)?, group_name(&request.group)?);
    let settings = convert::settings(&topic, &group, &request.settings.unwrap_or_default())?;
    let start = convert::place(request.start)?;
    let (info, created) = shared.broker.create_group(&topic, &group, settings, start).await?;
    Ok(v1::CreateGroupResponse { group: Some(convert::group_message(&info, true)), created })
}

/// `GetGroup`.
pub(in crate::http) async fn get_group(
    shared: &Shared,
    request: &v1::GetGroupRequest,
) -> Result<v1::GetGroupResponse, Failure> {
    let (topic, group) = (topic_name(&request.topic)?, group_name(&request.group)?);
    let info = shared.broker.group(&topic, &group).await?;
    Ok(v1::GetGroupResponse { group: Some(convert::group_message(&info, true)) })
}

/// `ListGroups`.
pub(in crate::http) async fn list_groups(
    shared: &Shared,
    request: &v1::ListGroupsRequest,
) -> Result<v1::ListGroupsResponse, Failure> {
    let topic = (!request.topic.is_empty()).then(|| topic_name(&request.topic)).transpose()?;
    let groups = shared.broker.groups(topic.as_ref()).await?;
    let groups = groups.iter().map(|info| convert::group_message(info, false)).collect();
    Ok(v1::ListGroupsResponse { groups })
}

/// `UpdateGroup`. The ordering may be named when it is the one that the group has.
pub(in crate::http) async fn update_group(
    shared: &Shared,
    request: v1::UpdateGroupRequest,
) -> Result<v1::UpdateGroupResponse, Failure> {
    let (topic, group) = (topic_name(&request.topic)?, group_name(&request.group)?);
    let settings = request.settings.unwrap_or_default();
    let edit = convert::edit(&topic, &group, &settings)?;
    if let Some(wanted) = convert::ordering(settings.ordering)? {
        let is = shared.broker.group(&topic, &group).await?.settings.ordering;
        if wanted != is {
            let detail = format!(
                "the ordering of group {group} is {is:?} and cannot change: create another group and seek it to where \
                 this one stands"
            );
            return Err(Failure::invalid(detail).with("field", "ordering"));
        }
    }
    let info = shared.broker.edit_group(&topic, &group, edit).await?;
    Ok(v1::UpdateGroupResponse { group: Some(convert::group_message(&info, true)) })
}

/// `DeleteGroup`.
pub(in crate::http) async fn delete_group(
    shared: &Shared,
    request: &v1::DeleteGroupRequest,
) -> Result<v1::DeleteGroupResponse, Failure> {
    let (topic, group) = (topic_name(&request.topic)?, group_name(&request.group)?);
    shared.broker.delete_group(&topic, &group).await?;
    Ok(v1::DeleteGroupResponse {})
}

/// `Lease`.
pub(in crate::http) async fn lease_message(
    shared: &Shared,
    request: v1::LeaseRequest,
    caller: &Caller,
) -> Result<v1::LeaseResponse, Failure> {
    let request = convert::lease_request(request)?;
    let topic = request.topic.clone();
    let leases = lease(shared, request, caller).await?;
    let leases = leases.into_iter().map(|lease| convert::lease_message(&topic, lease)).collect();
    Ok(v1::LeaseResponse { leases })
}

/// Leases, unless answers hold twice as much as they may: who does the work is refused later than who only looks.
pub(super) async fn lease(
    shared: &Shared,
    request: LeaseRequest,
    caller: &Caller,
) -> Result<Vec<Lease>, Failure> {
    shared.answers.room_for_work()?;
    let (topic, group) = (request.topic.clone(), request.group.clone());
    let leases = wait_for_leases(shared, request, caller).await?;
    match shared.answers.room_for_work() {
        Err(full) if !leases.is_empty() => {
            let released = leases
                .into_iter()
                .map(|Lease { token, .. }| Settlement { token, verdict: Verdict::Release });
            // Those that cannot be given back lapse.
            let _results = shared.broker.settle(&topic, &group, released.collect()).await;
            Err(full)
        }
        _ => Ok(leases),
    }
}

/// Leases, and stops waiting when the server closes or the caller leaves, lest it be leased what nobody takes. The wait has no
/// timer of its own: the broker knows when it is over.
async fn wait_for_leases(
    shared: &Shared,
    mut request: LeaseRequest,
    caller: &Caller,
) -> Result<Vec<Lease>, Failure> {
    if shared.closing.is_closing() {
        request.wait = Duration::ZERO;
    }
    if request.wait.is_zero() {
        return Ok(shared.broker.lease(request).await?);
    }
    let mut closing = shared.closing.clone();
    let at_once = LeaseRequest { wait: Duration::ZERO, ..request.clone() };
    tokio::select! {
        biased;
        leases = shared.broker.lease(request) => Ok(leases?),
        () = closing.wait() => Ok(Vec::new()),
        () = caller.leaves() => Ok(shared.broker.lease(at_once).await?),
    }
}

/// `Settle`: a result for each settlement, whatever became of the others.
pub(in crate::http) async fn settle(
    shared: &Shared,
    request: v1::SettleRequest,
) -> Result<v1::SettleResponse, Failure> {
    let (topic, group) = (topic_name(&request.topic)?, group_name(&request.group)?);
    if request.settlements.is_empty() {
        return Err(Failure::invalid("there is nothing to settle: name at least one lease token"));
    }
    let settlements = convert::settlements(request.settlements)?;
    let tokens: Vec<String> =
        settlements.iter().map(|settlement| settlement.token.clone()).collect();
    let results = shared.broker.settle(&topic, &group, settlements).await?;
    let results = tokens.into_iter().zip(results);
    let results = results.map(|(token, result)| convert::result_message(token, result)).collect();
    Ok(v1::SettleResponse { results })
}

/// `Seek`.
pub(in crate::http) async fn seek(
    shared: &Shared,
    request: v1::SeekRequest,
) -> Result<v1::SeekResponse, Failure> {
    let (topic, group) = (topic_name(&request.topic)?, group_name(&request.group)?);
    let to = convert::place(request.to)?;
    let partition = request.partition.map(PartitionId);
    let sought = shared.broker.seek_group(&topic, &group, partition, to, request.dry_run).await?;
    Ok(v1::SeekResponse { partitions: sought.iter().map(convert::sought_message).collect() })
}

/// `Redrive`.
pub(in crate::http) async fn redrive(
    shared: &Shared,
    request: v1::RedriveRequest,
) -> Result<v1::RedriveResponse, Failure> {
    let (topic, group) = (topic_name(&request.topic)?, group_name(&request.group)?);
    let redriven = shared.broker.redrive(&topic, &group, convert::redrive(request)?).await?;
    Ok(v1::RedriveResponse { matched: redriven.matched, done: redriven.done })
}

/// `ListDeadLetters`.
pub(in crate::http) async fn list_dead_letters(
    shared: &Shared,
    request: v1::ListDeadLettersRequest,
) -> Result<v1::ListDeadLettersResponse, Failure> {
    let (topic, group) = (topic_name(&request.topic)?, group_name(&request.group)?);
    let query = convert::dead_letter_query(request)?;
    let page = shared.broker.dead_letters(&topic, &group, query).await?;
    Ok(v1::ListDeadLettersResponse {
        letters: page.letters.into_iter().map(convert::dead_letter_message).collect(),
        next_after: page.next_after.map(|next_after| next_after.0),
        dead_letter_topic: page.topic.as_str().to_owned(),
    })
}
