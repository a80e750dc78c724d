//! URLs, shared by server and client.
//!
//! Constants with `{topic}` in them are patterns for a router; the functions of the same meaning fill them in. A
//! [`TopicName`] needs no percent-encoding: that is why names are so narrow.

use crate::names::{GroupName, TopicName};

/// `GET`: the topics.
pub const TOPICS: &str = "/v1/topics";
/// `PUT`, `GET`, `PATCH`, `DELETE`: one topic.
pub const TOPIC: &str = "/v1/topics/{topic}";
/// `POST`: produce. `GET`: fetch.
pub const RECORDS: &str = "/v1/topics/{topic}/records";
/// `POST`: produces a record and waits for what a stage makes of it.
pub const CALL: &str = "/v1/topics/{topic}/records:call";
/// `GET`: what became of a call.
pub const REQUEST: &str = "/v1/requests/{request}";
/// `GET`: a topic as a table of its keys.
pub const KEYS: &str = "/v1/topics/{topic}/keys";
/// `GET`: the latest record of a key, or its history. The key is percent-encoded.
pub const KEY: &str = "/v1/topics/{topic}/keys/{key}";
/// `GET`: the groups of a topic.
pub const GROUPS: &str = "/v1/topics/{topic}/groups";
/// `PUT`, `GET`, `PATCH`, `DELETE`: one group. `POST` with `:lease`, `:ack`, `:nack`, `:reject`, `:extend`, `:release`, `:seek`
/// or `:redrive` behind the name: what the word says.
pub const GROUP: &str = "/v1/topics/{topic}/groups/{group}";
/// `GET`: the dead letters of a group that are open.
pub const DEAD_LETTERS: &str = "/v1/topics/{topic}/groups/{group}/dead";
/// `GET`: the groups of all topics.
pub const ALL_GROUPS: &str = "/v1/groups";
/// `GET`: what is scheduled for a topic.
pub const SCHEDULES: &str = "/v1/topics/{topic}/schedules";
/// `GET`, `DELETE`: something that is scheduled.
pub const SCHEDULE: &str = "/v1/topics/{topic}/schedules/{schedule}";
/// `GET`: the models.
pub const MODELS: &str = "/v1/models";
/// `GET`: one model.
pub const MODEL: &str = "/v1/models/{model}";
/// `PUT`: registers a version. `GET`, `DELETE`: one version.
pub const MODEL_VERSION: &str = "/v1/models/{model}/versions/{version}";
/// `PUT`: lets an alias mean a version. `DELETE`: takes it away.
pub const MODEL_ALIAS: &str = "/v1/models/{model}/aliases/{alias}";
/// `GET`: the stages.
pub const STAGES: &str = "/v1/stages";
/// `PUT`, `GET`, `DELETE`: one stage. `POST` with `:pause` or `:resume` behind the name: what the word says.
pub const STAGE: &str = "/v1/stages/{stage}";
/// `GET`: the webhooks.
pub const WEBHOOKS: &str = "/v1/webhooks";
/// `PUT`, `GET`, `DELETE`: one webhook. `POST` with `:pause`, `:resume`, `:rotate` or `:test` behind the name: what the word says.
pub const WEBHOOK: &str = "/v1/webhooks/{webhook}";
/// `GET`: what the Open Inference Protocol says of a server. All below it are that protocol's.
pub const OPEN_INFERENCE: &str = "/v2";
/// `GET`: the process lives.
pub const OPEN_INFERENCE_LIVE: &str = "/v2/health/live";
/// `GET`: it can take requests.
pub const OPEN_INFERENCE_READY: &str = "/v2/health/ready";
/// `GET`: inputs and outputs of a model.
pub const OPEN_INFERENCE_MODEL: &str = "/v2/models/{model}";
/// `GET`: the same of a version or alias.
pub const OPEN_INFERENCE_VERSION: &str = "/v2/models/{model}/versions/{version}";
/// `GET`: whether a model answers.
pub const OPEN_INFERENCE_MODEL_READY: &str = "/v2/models/{model}/ready";
/// `GET`: whether a version or alias answers.
pub const OPEN_INFERENCE_VERSION_READY: &str = "/v2/models/{model}/versions/{version}/ready";
/// `POST`: tensors in, tensors out.
pub const OPEN_INFERENCE_INFER: &str = "/v2/models/{model}/infer";
/// `POST`: the same by a version or alias.
pub const OPEN_INFERENCE_VERSION_INFER: &str = "/v2/models/{model}/versions/{version}/infer";
/// `POST`: many topics, all or nothing.
pub const COMMITS: &str = "/v1/commits";
/// `GET`: the process lives.
pub const LIVEZ: &str = "/livez";
/// `GET`: it can take requests.
pub const READYZ: &str = "/readyz";
/// `GET`: another name of [`READYZ`].
pub const HEALTHZ: &str = "/healthz";
/// `GET`: metrics as OpenMetrics text.
pub const METRICS: &str = "/metrics";
/// `GET`: the REST surface as OpenAPI 3.1.
pub const OPENAPI: &str = "/openapi.json";
/// `GET`: what an error code means; the `type` of a problem document starts so.
pub const ERRORS: &str = "/errors/";

/// Connect: `CreateTopicRequest` to `CreateTopicResponse`.
pub const CREATE_TOPIC: &str = "/embermq.v1.TopicService/CreateTopic";
/// Connect: `GetTopicRequest` to `GetTopicResponse`.
pub const GET_TOPIC: &str = "/embermq.v1.TopicService/GetTopic";
/// Connect: `ListTopicsRequest` to `ListTopicsResponse`.
pub const LIST_TOPICS: &str = "/embermq.v1.TopicService/ListTopics";
/// Connect: `UpdateTopicRequest` to `UpdateTopicResponse`.
pub const UPDATE_TOPIC: &str = "/embermq.v1.TopicService/UpdateTopic";
/// Connect: `DeleteTopicRequest` to `DeleteTopicResponse`.
pub const DELETE_TOPIC: &str = "/embermq.v1.TopicService/DeleteTopic";
/// Connect: `ProduceRequest` to `ProduceResponse`.
pub const PRODUCE: &str = "/embermq.v1.RecordService/Produce";
/// Connect: `FetchRequest` to `FetchResponse`.
pub const FETCH: &str = "/embermq.v1.RecordService/Fetch";
/// Connect: `ReadKeyRequest` to `ReadKeyResponse`.
pub const READ_KEY: &str = "/embermq.v1.RecordService/ReadKey";
/// Connect: `ReadKeyHistoryRequest` to `ReadKeyHistoryResponse`.
pub const READ_KEY_HISTORY: &str = "/embermq.v1.RecordService/ReadKeyHistory";
/// Connect: `ListKeysRequest` to `ListKeysResponse`.
pub const LIST_KEYS: &str = "/embermq.v1.RecordService/ListKeys";
/// Connect: `CommitRequest` to `CommitResponse`.
pub const COMMIT: &str = "/embermq.v1.CommitService/Commit";
/// Connect: `CreateGroupRequest` to `CreateGroupResponse`.
pub const CREATE_GROUP: &str = "/embermq.v1.GroupService/CreateGroup";
/// Connect: `GetGroupRequest` to `GetGroupResponse`.
pub const GET_GROUP: &str = "/embermq.v1.GroupService/GetGroup";
/// Connect: `ListGroupsRequest` to `ListGroupsResponse`.
pub const LIST_GROUPS: &str = "/embermq.v1.GroupService/ListGroups";
/// Connect: `UpdateGroupRequest` to `UpdateGroupResponse`.
pub const UPDATE_GROUP: &str = "/embermq.v1.GroupService/UpdateGroup";
/// Connect: `DeleteGroupRequest` to `DeleteGroupResponse`.
pub const DELETE_GROUP: &str = "/embermq.v1.GroupService/DeleteGroup";
/// Connect: `LeaseRequest` to `LeaseResponse`.
pub const LEASE: &str = "/embermq.v1.GroupService/Lease";
/// Connect: `SettleRequest` to `SettleResponse`.
pub const SETTLE: &str = "/embermq.v1.GroupService/Settle";
/// Connect: `SeekRequest` to `SeekResponse`.
pub const SEEK: &str = "/embermq.v1.GroupService/Seek";
/// Connect: `RedriveRequest` to `RedriveResponse`.
pub const REDRIVE: &str = "/embermq.v1.GroupService/Redrive";
/// Connect: `ListDeadLettersRequest` to `ListDeadLettersResponse`.
pub const LIST_DEAD_LETTERS: &str = "/embermq.v1.GroupService/ListDeadLetters";
/// Connect: `GetScheduleRequest` to `GetScheduleResponse`.
pub const GET_SCHEDULE: &str = "/embermq.v1.ScheduleService/GetSchedule";
/// Connect: `ListSchedulesRequest` to `ListSchedulesResponse`.
pub const LIST_SCHEDULES: &str = "/embermq.v1.ScheduleService/ListSchedules";
/// Connect: `CancelScheduleRequest` to `CancelScheduleResponse`.
pub const CANCEL_SCHEDULE: &str = "/embermq.v1.ScheduleService/CancelSchedule";

/// Names of query parameters, and what they hold.
pub mod query {
    /// A partition's number. Produce: left out, each record goes where its key says. Fetch: may be left out only where
    /// the topic has a single partition; with several that is a 400.
    pub const PARTITION: &str = "partition";
    /// Where to fetch from: an offset, `start` or `end`. Left out (and no [`TIME`]): `start`.
    pub const OFFSET: &str = "offset";
    /// Where to fetch from: the first record appended at or after this time, as RFC 3339.
    pub const TIME: &str = "time";
    /// At most so many records; batches are not cut for protobuf answers.
    pub const MAX: &str = "max";
    /// Stop after so many bytes.
    pub const MAX_BYTES: &str = "max_bytes";
    /// How long to wait for records, as ProtoJSON writes durations: `30s`, `0.5s`.
    pub const WAIT: &str = "wait";
    /// `true`: the client inflates compressed batches itself, and so gets them as they are stored, with their
    /// checksums. Left out or `false`: the server inflates them. Only protobuf answers differ.
    pub const COMPRESSED: &str = "compressed";
}

/// Every Connect method. A test holds it against the descriptors.
pub const METHODS: [&str; 24] = [
    CREATE_TOPIC,
    GET_TOPIC,
    LIST_TOPICS,
    UPDATE_TOPIC,
    DELETE_TOPIC,
    PRODUCE,
    FETCH,
    READ_KEY,
    READ_KEY_HISTORY,
    LIST_KEYS,
    COMMIT,
    CREATE_GROUP,
    GET_GROUP,
    LIST_GROUPS,
    UPDATE_GROUP,
    DELETE_GROUP,
    LEASE,
    SETTLE,
    SEEK,
    REDRIVE,
    LIST_DEAD_LETTERS,
    GET_SCHEDULE,
    LIST_SCHEDULES,
    CANCEL_SCHEDULE,
];

/// The path of one topic.
///
/// ```
/// let photos = "photos".parse()?;
/// assert_eq!(embermq_protocol::paths::topic(&photos), "/v1/topics/photos");
/// # Ok::<(), embermq_protocol::names::NameError>(())
/// ```
#[must_use]
pub fn topic(topic: &TopicName) -> String {
    format!("{TOPICS}/{topic}")
}

/// The path of a topic's records.
#[must_use]
pub fn records(topic: &TopicName) -> String {
    format!("{TOPICS}/{topic}/records")
}

/// The path of a topic as a table of its keys.
#[must_use]
pub fn keys(topic: &TopicName) -> String {
    format!("{TOPICS}/{topic}/keys")
}

/// The path of a key, whatever its bytes are. The keys `.` and `..` have none: URLs give them another meaning.
///
/// ```
/// let users = "users".parse()?;
/// assert_eq!(embermq_protocol::paths::key(&users, b"a/b 7"), "/v1/topics/users/keys/a%2Fb%207");
/// # Ok::<(), embermq_protocol::names::NameError>(())
/// ```
#[must_use]
pub fn key(topic: &TopicName, key: &[u8]) -> String {
    format!("{TOPICS}/{topic}/keys/{}", segment(key))
}

/// Bytes as one part of a path, whatever they are.
#[must_use]
pub(crate) fn segment(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(*byte));
            }
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// The path of a topic's groups.
#[must_use]
pub fn groups(topic: &TopicName) -> String {
    format!("{TOPICS}/{topic}/groups")
}

/// The path of one group.
#[must_use]
pub fn group(topic: &TopicName, group: &GroupName) -> String {
    format!("{TOPICS}/{topic}/groups/{group}")
}

/// The path of something that is done to a group: `lease`, `ack`, ..
#[must_use]
pub fn group_verb(topic: &TopicName, group: &GroupName, verb: &str) -> String {
    format!("{TOPICS}/{topic}/groups/{group}:{verb}")
}

/// The path of the dead letters of a group that are open.
#[must_use]
pub fn dead_letters(topic: &TopicName, group: &GroupName) -> String {
    format!("{TOPICS}/{topic}/groups/{group}/dead")
}

/// The path of what is scheduled for a topic.
#[must_use]
pub fn schedules(topic: &TopicName) -> String {
    format!("{TOPICS}/{topic}/schedules")
}

/// The path of something that is scheduled.
#[must_use]
pub fn schedule(topic: &TopicName, schedule: &str) -> String {
    format!("{TOPICS}/{topic}/schedules/{schedule}")
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    /// Just enough of a descriptor to find the services and their methods.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Files {
        #[prost(message, repeated, tag = "1")]
        files: Vec<File>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct File {
        #[prost(string, tag = "2")]
        package: String,
        #[prost(message, repeated, tag = "6")]
        services: Vec<Service>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Service {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(message, repeated, tag = "2")]
        methods: Vec<Method>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Method {
        #[prost(string, tag = "1")]
        name: String,
    }

    #[test]
    fn every_method_of_the_contract_has_its_path() {
        let files = Files::decode(crate::v1::FILE_DESCRIPTOR_SET).unwrap();
        let mut of_contract = Vec::new();
        for file in &files.files {
            for service in &file.services {
                for method in &service.methods {
                    of_contract.push(format!("/{}.{}/{}", file.package, service.name, method.name));
                }
            }
        }
        of_contract.sort();
        let mut ours = METHODS.to_vec();
        ours.sort_unstable();
        assert_eq!(ours, of_contract);
    }

    #[test]
    fn patterns_and_functions_agree() {
        let name: TopicName = "a.b-c_d".parse().unwrap();
        assert_eq!(topic(&name), TOPIC.replace("{topic}", "a.b-c_d"));
        assert_eq!(records(&name), RECORDS.replace("{topic}", "a.b-c_d"));
    }
}
