//! Do the messages read and write canonical ProtoJSON?

#![cfg(feature = "json")]
#![expect(clippy::unwrap_used, reason = "a helper of tests; what fails there fails the test")]

use embermq_protocol::v1::{
    CommitRequest, FetchRequest, FetchResponse, ProduceRequest, Topic, TopicSettings,
};

fn reads_and_writes<M>(json: &str) -> M
where
    M: serde::Serialize + serde::de::DeserializeOwned,
{
    let message: M = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&message).unwrap(), json);
    message
}

#[test]
fn topics() {
    let topic: Topic = reads_and_writes(
        r#"{"name":"jobs","settings":{"partitions":4,"retention":{"age":"604800s","bytes":"1073741824"},"compact":false,"tombstoneRetention":"86400s","durability":"DURABILITY_FSYNC","recordBytesMax":8388608},"createTime":"2026-11-22T10:00:00.123456Z","partitions":[{"endOffset":"7"}]}"#,
    );
    assert_eq!(topic.settings.unwrap().compact, Some(false));
}

#[test]
fn requests() {
    let request: ProduceRequest = reads_and_writes(
        r#"{"topic":"jobs","partition":0,"batch":{"producerId":"18446744073709551615","records":[{"key":"Y2FtLTc=","value":"","headers":[{"name":"n","value":"dg=="}],"eventTimeUs":"-1"},{}]},"expectedNextOffset":"0"}"#,
    );
    let records = request.batch.unwrap().records;
    assert_eq!(records[0].value.as_deref(), Some(&b""[..]));
    assert_eq!(records[1].value, None);

    reads_and_writes::<FetchRequest>(r#"{"topic":"jobs","wait":"0.500s","offset":"0"}"#);
    reads_and_writes::<FetchRequest>(r#"{"topic":"jobs","position":"POSITION_END"}"#);
    reads_and_writes::<CommitRequest>(
        r#"{"preconditions":[{"topic":"jobs","nextOffset":{"offset":"7"}}],"appends":[{"topic":"jobs","partition":1}],"durability":"DURABILITY_OS"}"#,
    );
    reads_and_writes::<FetchResponse>("{}");
}

#[test]
fn other_spellings_are_read_and_strangers_refused() {
    let settings: TopicSettings =
        serde_json::from_str(r#"{"record_bytes_max":"17","durability":2}"#).unwrap();
    assert_eq!((settings.record_bytes_max, settings.durability), (Some(17), 2));
    let error = serde_json::from_str::<TopicSettings>(r#"{"partition":1}"#).unwrap_err();
    assert!(error.to_string().contains("unknown field `partition`, expected one of"), "{error}");
    for wrong in
        [r#"{"partitions":-1}"#, r#"{"durability":"FAST"}"#, r#"{"retention":{"age":"7d"}}"#]
    {
        assert!(serde_json::from_str::<TopicSettings>(wrong).is_err(), "{wrong}");
    }
}
