//! The routes of groups, part of the one table.

use axum::routing::{delete, get, patch, post, put};
use embermq_protocol::{media, paths};

use super::{letters, resource, verbs};
use crate::http::connect;
use crate::http::routes::{OK, Parameter, Route, query, rpc};

const GROUP_OUT: &[(&str, &str)] = &[(media::JSON, "Group"), (media::PROTOBUF, "embermq.v1.Group")];
const LIST_OUT: &[(&str, &str)] =
    &[(media::JSON, "GroupList"), (media::PROTOBUF, "embermq.v1.ListGroupsResponse")];

/// Every route of groups.
pub(in crate::http) static ROUTES: &[Route] = &[
    Route {
        method: "GET",
        path: paths::ALL_GROUPS,
        operation: "listAllGroups",
        summary: "Lists the groups of all topics, by topic and name.",
        parameters: &[],
        takes: &[],
        gives: LIST_OUT,
        succeeds: OK,
        handler: || get(resource::list_all),
    },
    Route {
        method: "GET",
        path: paths::GROUPS,
        operation: "listGroups",
        summary: "Lists the groups of a topic in order of their names.",
        parameters: &[],
        takes: &[],
        gives: LIST_OUT,
        succeeds: OK,
        handler: || get(resource::list),
    },
    Route {
        method: "PUT",
        path: paths::GROUP,
        operation: "createGroup",
        summary: "Creates a group, or ensures that it exists with these settings.",
        parameters: &[],
        takes: &[
            (media::JSON, "GroupCreation"),
            (media::PROTOBUF, "embermq.v1.CreateGroupRequest"),
        ],
        gives: GROUP_OUT,
        succeeds: &[(201, "created"), (200, "it was there with the same settings")],
        handler: || put(resource::create),
    },
    Route {
        method: "GET",
        path: paths::GROUP,
        operation: "getGroup",
        summary: "Shows a group, its settings, its lag, and where it stands in each partition.",
        parameters: &[],
        takes: &[],
        gives: GROUP_OUT,
        succeeds: OK,
        handler: || get(resource::show),
    },
    Route {
        method: "PATCH",
        path: paths::GROUP,
        operation: "updateGroup",
        summary: "Changes the settings that the body names and leaves the others.",
        parameters: &[],
        takes: &[
            (media::JSON, "GroupSettings"),
            (media::PROTOBUF, "embermq.v1.UpdateGroupRequest"),
        ],
        gives: GROUP_OUT,
        succeeds: OK,
        handler: || patch(resource::edit),
    },
    Route {
        method: "DELETE",
        path: paths::GROUP,
        operation: "deleteGroup",
        summary: "Deletes a group: it forgets what was read. Its dead letters stay.",
        parameters: &[],
        takes: &[],
        gives: &[],
        succeeds: &[(204, "deleted")],
        handler: || delete(resource::remove),
    },
    Route {
        method: "GET",
        path: paths::DEAD_LETTERS,
        operation: "listDeadLetters",
        summary: "Lists the dead letters of a group that were neither redriven nor dropped, in order of their offsets.",
        parameters: &[
            query("contains", "string", "only those whose reason or error holds this text"),
            query(
                "after",
                "integer",
                "only those behind this offset: next_after of the page before",
            ),
            query("limit", "integer", "at most this many, 100 by default and 1,000 at most"),
            query("encoding", "string", "`base64`: every key and value as base64"),
        ],
        takes: &[],
        gives: &[
            (media::JSON, "DeadLetterList"),
            (media::PROTOBUF, "embermq.v1.ListDeadLettersResponse"),
        ],
        succeeds: OK,
        handler: || get(letters::list),
    },
    verb(
        "/v1/topics/{topic}/groups/{group}:lease",
        "leaseRecords",
        "Takes records: each is the caller's until it is settled or its lease ends. Makes the group when there is none.",
        &[query("encoding", "string", "`base64`: every key and value as base64")],
        &[(media::JSON, "LeaseRequest"), (media::PROTOBUF, "embermq.v1.LeaseRequest")],
        &[(media::JSON, "LeaseList"), (media::PROTOBUF, "embermq.v1.LeaseResponse")],
    ),
    settle(
        "/v1/topics/{topic}/groups/{group}:ack",
        "ackLeases",
        "Settles leases: their records are done.",
        &[(media::JSON, "AckRequest"), SETTLE_IN],
    ),
    settle(
        "/v1/topics/{topic}/groups/{group}:nack",
        "nackLeases",
        "Settles leases: their records failed and are offered again later.",
        &[(media::JSON, "NackRequest"), SETTLE_IN],
    ),
    settle(
        "/v1/topics/{topic}/groups/{group}:reject",
        "rejectLeases",
        "Settles leases: their records can never succeed and go to the dead-letter topic now.",
        &[(media::JSON, "RejectRequest"), SETTLE_IN],
    ),
    settle(
        "/v1/topics/{topic}/groups/{group}:extend",
        "extendLeases",
        "Makes leases last longer: until this long from now at least.",
        &[(media::JSON, "ExtendRequest"), SETTLE_IN],
    ),
    settle(
        "/v1/topics/{topic}/groups/{group}:release",
        "releaseLeases",
        "Gives leases back: their records were not tried and are offered again at once.",
        &[(media::JSON, "ReleaseRequest"), SETTLE_IN],
    ),
    verb(
        "/v1/topics/{topic}/groups/{group}:seek",
        "seekGroup",
        "Reads on from elsewhere; a dry run only says what it would do.",
        &[],
        &[(media::JSON, "SeekRequest"), (media::PROTOBUF, "embermq.v1.SeekRequest")],
        &[(media::JSON, "Sought"), (media::PROTOBUF, "embermq.v1.SeekResponse")],
    ),
    verb(
        "/v1/topics/{topic}/groups/{group}:redrive",
        "redriveGroup",
        "Offers dead letters to the group that they failed in once more, with their attempts at zero, or drops them.",
        &[],
        &[(media::JSON, "RedriveRequest"), (media::PROTOBUF, "embermq.v1.RedriveRequest")],
        &[(media::JSON, "Redriven"), (media::PROTOBUF, "embermq.v1.RedriveResponse")],
    ),
    rpc(paths::CREATE_GROUP, "CreateGroup", || post(connect::create_group)),
    rpc(paths::GET_GROUP, "GetGroup", || post(connect::get_group).get(connect::get_group)),
    rpc(paths::LIST_GROUPS, "ListGroups", || post(connect::list_groups).get(connect::list_groups)),
    rpc(paths::UPDATE_GROUP, "UpdateGroup", || post(connect::update_group)),
    rpc(paths::DELETE_GROUP, "DeleteGroup", || post(connect::delete_group)),
    rpc(paths::LEASE, "Lease", || post(connect::lease)),
    rpc(paths::SETTLE, "Settle", || post(connect::settle)),
    rpc(paths::SEEK, "Seek", || post(connect::seek)),
    rpc(paths::REDRIVE, "Redrive", || post(connect::redrive)),
    rpc(paths::LIST_DEAD_LETTERS, "ListDeadLetters", || {
        post(connect::list_dead_letters).get(connect::list_dead_letters)
    }),
];

type Bodies = &'static [(&'static str, &'static str)];

const SETTLE_IN: (&str, &str) = (media::PROTOBUF, "embermq.v1.SettleRequest");

/// Something that is done to a group. All verbs have one handler.
const fn verb(
    path: &'static str,
    operation: &'static str,
    summary: &'static str,
    parameters: &'static [Parameter],
    takes: Bodies,
    gives: Bodies,
) -> Route {
    Route {
        method: "POST",
        path,
        operation,
        summary,
        parameters,
        takes,
        gives,
        succeeds: OK,
        handler: || post(verbs::verb),
    }
}

/// A verb that settles leases, each on its own.
const fn settle(
    path: &'static str,
    operation: &'static str,
    summary: &'static str,
    takes: Bodies,
) -> Route {
    let gives = &[(media::JSON, "SettleResponse"), (media::PROTOBUF, "embermq.v1.SettleResponse")];
    let mut route = verb(path, operation, summary, &[], takes, gives);
    route.succeeds = &[(200, "a result for each token, whatever became of the others")];
    route
}
