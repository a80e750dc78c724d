//! Keys through the embedded interface: latest records, history, tables, and preconditions under contention.

#![expect(clippy::unwrap_used, reason = "helpers of tests; what fails there fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use embermq::{
    AsOf, Batch, Broker, Cleanup, Commit, CommitError, IdempotencyKey, KeyCursor, KeyExpectation,
    KeyHistoryQuery, KeyList, KeyQuery, KeyRecord, Offset, Options, PartitionId, Precondition,
    ReadError, Record, Timestamp, TopicEdit, TopicName, TopicSeen, TopicSettings,
};
use embermq_protocol::batch::BodyBuilder;
use embermq_protocol::v1::{Compression, Header};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

struct Embedded {
    runtime: Arc<Runtime>,
    broker: Broker,
    topic: TopicName,
    dir: TempDir,
}

impl Embedded {
    fn with(settings: TopicSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let broker = Broker::open(dir.path(), options()).unwrap();
        let topic: TopicName = "users".parse().unwrap();
        runtime.block_on(broker.create_topic(&topic, settings)).unwrap();
        Self { runtime: Arc::new(runtime), broker, topic, dir }
    }

    fn reopen(self) -> Self {
        self.runtime.block_on(self.broker.shutdown());
        let broker = Broker::open(self.dir.path(), options()).unwrap();
        Self { broker, ..self }
    }

    fn put(&self, key: &str, value: Option<&str>) -> Offset {
        self.put_in(self.own(key), key, value)
    }

    fn put_in(&self, partition: PartitionId, key: &str, value: Option<&str>) -> Offset {
        let commit = Commit::of_batch(&self.topic, partition, Batch::of(&[record(key, value)]));
        self.broker.commit_blocking(commit).unwrap().appends[0].base_offset
    }

    fn own(&self, key: &str) -> PartitionId {
        let topic = self.broker.topic(&self.topic).unwrap();
        self.broker.partition_for(&topic, Some(key.as_bytes()))
    }

    fn get_with(&self, key: &str, query: KeyQuery) -> Result<KeyRecord, ReadError> {
        self.runtime.block_on(self.broker.read_key(&self.topic, key.as_bytes(), query))
    }

    fn get(&self, key: &str) -> Result<KeyRecord, ReadError> {
        self.get_with(key, KeyQuery::default())
    }

    fn value(&self, key: &str) -> Option<String> {
        Some(text(&self.get(key).ok()?))
    }

    /// All keys with their values, through pages of `limit`.
    fn table(&self, list: &KeyList) -> Vec<(String, String)> {
        let mut list = list.clone();
        let mut table = Vec::new();
        loop {
            let page = self.runtime.block_on(self.broker.list_keys(&self.topic, list.clone()));
            let page = page.unwrap();
            assert!(page.records.len() <= list.limit);
            let key = |found: &KeyRecord| {
                String::from_utf8(found.record.key.as_ref().unwrap().to_vec()).unwrap()
            };
            table.extend(page.records.iter().map(|found| (key(found), text(found))));
            match page.after {
                Some(after) => list.after = Some(after),
                None => return table,
            }
        }
    }
}

/// Segments of a few records, so that a short test has several.
fn options() -> Options {
    Options { segment_bytes: 4 << 10, ..Options::default() }
}

fn compacted() -> TopicSettings {
    TopicSettings { cleanup: Cleanup::Compact, ..TopicSettings::default() }
}

fn record(key: &str, value: Option<&str>) -> Record {
    let record = Record::new(value.unwrap_or_default().to_owned()).with_key(key.to_owned());
    Record { value: value.map(|value| value.to_owned().into()), ..record }
}

fn text(found: &KeyRecord) -> String {
    String::from_utf8(found.record.value.as_ref().unwrap().to_vec()).unwrap()
}

fn key_is(topic: &TopicName, key: &str, expected: KeyExpectation) -> Precondition {
    let key = key.to_owned().into();
    Precondition::Key { topic: topic.clone(), partition: None, seen: None, key, expected }
}

#[test]
fn the_latest_record_of_a_key_its_history_and_its_past() {
    let embedded = Embedded::with(TopicSettings { partitions: 3, ..TopicSettings::default() });
    let mut offsets = Vec::new();
    let mut times = Vec::new();
    for round in 0..200 {
        embedded.put("other", Some(&"x".repeat(round)));
        let offset = embedded.put("17", Some(&format!("v{round}")));
        offsets.push(offset);
        times.push(embedded.get("17").unwrap().append_time);
    }
    assert_eq!(embedded.value("17").unwrap(), "v199");
    let at = |as_of| {
        let query = KeyQuery { as_of: Some(as_of), ..KeyQuery::default() };
        embedded.get_with("17", query).map(|found| found.offset)
    };
    assert_eq!(at(AsOf::Offset(offsets[42])).unwrap(), offsets[42]);
    assert_eq!(at(AsOf::Offset(Offset(offsets[43].0 - 1))).unwrap(), offsets[42]);
    let of_time = times.partition_point(|time| *time <= times[42]) - 1;
    assert_eq!(at(AsOf::Time(times[42])).unwrap(), offsets[of_time]);
    assert_eq!(at(AsOf::Time(Timestamp(i64::MAX))).unwrap(), offsets[199]);
    let long_ago = at(AsOf::Time(Timestamp(5))).unwrap_err();
    assert!(matches!(long_ago, ReadError::KeyNotFound(_)), "{long_ago}");
    let beyond = at(AsOf::Offset(Offset(1 << 40))).unwrap_err();
    assert!(matches!(beyond, ReadError::OffsetBeyondEnd { .. }), "{beyond}");

    let mut wanted = KeyHistoryQuery { limit: 33, ..KeyHistoryQuery::default() };
    let mut seen = Vec::new();
    loop {
        let page =
            embedded.runtime.block_on(embedded.broker.key_history(&embedded.topic, b"17", wanted));
        let page = page.unwrap();
        seen.extend(page.records.iter().map(|found| found.offset));
        match page.before {
            Some(before) => wanted.before = Some(before),
            None => break,
        }
    }
    seen.reverse();
    assert_eq!(seen, offsets);
    let embedded = embedded.reopen();
    assert_eq!(embedded.value("17").unwrap(), "v199");
    assert_eq!(embedded.value("18"), None);
}

#[test]
fn a_key_is_found_where_it_was_produced() {
    let embedded = Embedded::with(TopicSettings { partitions: 4, ..TopicSettings::default() });
    let own = embedded.own("k");
    let [one, other] = [1, 2].map(|step| PartitionId((own.0 + step) % 4));
    embedded.put_in(one, "k", Some("one"));
    assert_eq!(embedded.get("k").unwrap().partition, one);
    embedded.put_in(other, "k", Some("other"));
    assert_eq!(
        (embedded.get("k").unwrap().partition, embedded.value("k").unwrap()),
        (other, "other".into())
    );
    let named = KeyQuery { partition: Some(one), as_of: None };
    assert_eq!(text(&embedded.get_with("k", named).unwrap()), "one");
    assert_eq!(embedded.table(&KeyList::default()), [("k".to_owned(), "other".to_owned())]);
    embedded.put("k", Some("own"));
    assert_eq!(embedded.get("k").unwrap().partition, own);
    assert_eq!(embedded.table(&KeyList::default()), [("k".to_owned(), "own".to_owned())]);
    let unknown = KeyQuery { partition: Some(PartitionId(4)), as_of: None };
    let unknown = embedded.get_with("k", unknown).unwrap_err();
    assert!(matches!(unknown, ReadError::PartitionNotFound { partitions: 4, .. }), "{unknown}");
    let empty = embedded.get("").unwrap_err();
    assert!(matches!(empty, ReadError::Invalid { .. }), "{empty}");

    let grown = Embedded::with(TopicSettings::default());
    grown.put("k", Some("before"));
    let edit = TopicEdit { partitions: Some(8), ..TopicEdit::default() };
    grown.runtime.block_on(grown.broker.edit_topic(&grown.topic, edit)).unwrap();
    assert_eq!(grown.value("k").unwrap(), "before");
}

#[test]
fn records_with_more_headers_than_a_request_may_send_have_keys_too() {
    let embedded = Embedded::with(TopicSettings::default());
    let mut laden = record("laden", Some("x"));
    for number in 0..300 {
        laden.headers.push(Header { name: number.to_string(), value: Bytes::new() });
    }
    laden.headers.push(Header::default());
    let commit = Commit::of_record(&embedded.topic, &laden);
    embedded.broker.commit_blocking(commit).unwrap();
    assert_eq!(embedded.value("laden").unwrap(), "x");
    // The same in a segment that is finished, through a table that is written.
    for round in 0..100 {
        embedded.put("other", Some(&"x".repeat(round)));
    }
    assert_eq!(embedded.value("laden").unwrap(), "x");
    let embedded = embedded.reopen();
    assert_eq!(embedded.get("laden").unwrap().record, laden);
    let absent = Commit {
        preconditions: vec![key_is(&embedded.topic, "laden", KeyExpectation::Absent)],
        ..Commit::of_record(&embedded.topic, &record("laden", Some("y")))
    };
    let refused = embedded.broker.commit_blocking(absent).unwrap_err();
    assert!(matches!(refused, CommitError::KeyConflict(_)), "{refused}");
}

#[test]
fn a_page_ends_behind_what_was_inflated_for_it() {
    let embedded = Embedded::with(TopicSettings::default());
    let beside = Record::new(vec![0; 4_190_000]);
    let mut expected = Vec::new();
    for round in 0..12 {
        let mut body = BodyBuilder::default();
        body.push(&beside);
        body.push(&record("k", Some(&round.to_string())));
        let body = body.finish_compressed(Compression::Zstd).unwrap();
        let commit = Commit::of_batch(&embedded.topic, PartitionId(0), body.into());
        embedded.broker.commit_blocking(commit).unwrap();
        expected.insert(0, Offset(2 * round + 1));
    }
    let (mut wanted, mut pages, mut seen) = (KeyHistoryQuery::default(), 0, Vec::new());
    loop {
        let page =
            embedded.runtime.block_on(embedded.broker.key_history(&embedded.topic, b"k", wanted));
        let page = page.unwrap();
        pages += 1;
        seen.extend(page.records.iter().map(|found| found.offset));
        wanted.before = page.before;
        if page.before.is_none() {
            break;
        }
    }
    assert_eq!((seen, pages), (expected, 2), "8 batches of 4 MiB are a page");
}

#[test]
fn a_topic_is_a_table_of_its_live_keys() {
    let embedded = Embedded::with(compacted());
    for round in 0..30 {
        for key in ["a1", "a2", "b1", "b2", "b3"] {
            embedded.put(key, Some(&format!("{key} {round}")));
        }
        embedded.put("b2", None);
    }
    embedded.put("a2", None);
    let gone = embedded.get("a2").unwrap_err();
    let ReadError::KeyNotFound(gone) = gone else { panic!("{gone}") };
    assert_eq!(gone.tombstone, Some(Offset(180)));
    let pairs = |keys: &[&str]| -> Vec<(String, String)> {
        keys.iter().map(|key| ((*key).to_owned(), format!("{key} 29"))).collect()
    };
    for limit in [1, 2, 100] {
        let list = KeyList { limit, ..KeyList::default() };
        assert_eq!(embedded.table(&list), pairs(&["a1", "b1", "b3"]));
    }
    let prefix = KeyList { prefix: "b".into(), ..KeyList::default() };
    assert_eq!(embedded.table(&prefix), pairs(&["b1", "b3"]));
    // The history of a key that is gone shows its tombstone.
    let history = embedded.runtime.block_on(embedded.broker.key_history(
        &embedded.topic,
        b"a2",
        KeyHistoryQuery { limit: 2, ..KeyHistoryQuery::default() },
    ));
    let history = history.unwrap();
    assert_eq!(history.records[0].record.value, None);
    assert_eq!(text(&history.records[1]), "a2 29");
    embedded.put("a2", Some("again"));
    assert_eq!(embedded.value("a2").unwrap(), "again");
    let embedded = embedded.reopen();
    assert_eq!(embedded.table(&KeyList::default()).len(), 4);
    assert!("x".parse::<KeyCursor>().is_err());
}

#[test]
fn a_commit_waits_for_no_version_but_the_expected_one() {
    let embedded = Embedded::with(compacted());
    let topic = &embedded.topic;
    let commit = |key: &str, value: Option<&str>, expected: KeyExpectation| {
        let commit = Commit::of_record(topic, &record(key, value));
        Commit { preconditions: vec![key_is(topic, key, expected)], ..commit }
    };
    let run = |commit: Commit| embedded.broker.commit_blocking(commit);
    assert!(run(commit("k", Some("1"), KeyExpectation::Absent)).is_ok());
    let refused = run(commit("k", Some("2"), KeyExpectation::Absent)).unwrap_err();
    let CommitError::KeyConflict(conflict) = &refused else { panic!("{refused}") };
    assert_eq!((conflict.actual, conflict.expected), (Some(Offset(0)), KeyExpectation::Absent));
    assert_eq!(refused.to_string(), "key \"k\" of users/0: no record expected, is 0");
    let refused = run(commit("k", Some("2"), KeyExpectation::Version(Offset(7)))).unwrap_err();
    assert_eq!(refused.to_string(), "key \"k\" of users/0: version 7 expected, is 0");
    let refused = run(commit("new", Some("2"), KeyExpectation::Version(Offset(7)))).unwrap_err();
    assert_eq!(refused.to_string(), "key \"new\" of users/0: version 7 expected, has no record");
    assert!(run(commit("k", None, KeyExpectation::Version(Offset(0)))).is_ok());
    // A tombstone is a version, and the key is absent.
    assert!(run(commit("k", Some("3"), KeyExpectation::Version(Offset(0)))).is_err());
    assert!(run(commit("k", None, KeyExpectation::Version(Offset(1)))).is_ok());
    assert!(run(commit("k", Some("4"), KeyExpectation::Absent)).is_ok());
    let empty = run(commit("", Some("4"), KeyExpectation::Absent)).unwrap_err();
    assert!(matches!(empty, CommitError::Invalid { .. }), "{empty}");
    // All preconditions speak of how things are before the commit.
    let both = Commit {
        preconditions: vec![
            key_is(topic, "k", KeyExpectation::Version(Offset(3))),
            key_is(topic, "l", KeyExpectation::Absent),
        ],
        ..Commit::of_batch(
            topic,
            PartitionId(0),
            Batch::of(&[record("l", Some("1")), record("k", Some("5"))]),
        )
    };
    assert!(run(both.clone()).is_ok());
    assert!(matches!(run(both).unwrap_err(), CommitError::KeyConflict(_)));
    let embedded = embedded.reopen();
    let commit = Commit {
        preconditions: vec![key_is(&embedded.topic, "k", KeyExpectation::Version(Offset(5)))],
        ..Commit::of_record(&embedded.topic, &record("k", Some("6")))
    };
    assert!(embedded.broker.commit_blocking(commit).is_ok());
}

#[test]
fn a_precondition_speaks_of_the_partition_that_its_caller_saw() {
    let embedded = Embedded::with(TopicSettings::default());
    let topic = &embedded.topic;
    let seen = TopicSeen::of(&embedded.broker.topic(topic).unwrap());
    let commit = || {
        let wanted = Precondition::Key {
            topic: topic.clone(),
            partition: None,
            seen: Some(seen),
            key: "k".into(),
            expected: KeyExpectation::Version(Offset(0)),
        };
        let commit = Commit::of_record(topic, &record("k", Some("mine")));
        embedded.broker.commit_blocking(Commit { preconditions: vec![wanted], ..commit })
    };
    embedded.put("k", Some("first"));
    let edit = TopicEdit { partitions: Some(8), ..TopicEdit::default() };
    embedded.runtime.block_on(embedded.broker.edit_topic(topic, edit)).unwrap();
    assert_ne!(embedded.own("k"), PartitionId(0));
    // In the key's own partition it has another version by now. The append goes to the one that it was.
    embedded.put("k", Some("elsewhere"));
    embedded.put("k", Some("elsewhere"));
    assert_eq!(commit().unwrap().appends[0].base_offset, Offset(1));
    // And not to that of a topic which was made anew.
    embedded.runtime.block_on(embedded.broker.delete_topic(topic)).unwrap();
    embedded
        .runtime
        .block_on(embedded.broker.create_topic(topic, TopicSettings::default()))
        .unwrap();
    embedded.put("k", Some("another"));
    let refused = commit().unwrap_err();
    assert!(matches!(refused, CommitError::TopicNotFound { .. }), "{refused}");
}

#[test]
fn a_key_is_still_there_when_partitions_were_added() {
    let embedded = Embedded::with(compacted());
    let topic = &embedded.topic;
    for value in ["1", "2"] {
        embedded.put("k", Some(value));
    }
    embedded.put("gone", None);
    let edit = TopicEdit { partitions: Some(8), ..TopicEdit::default() };
    embedded.runtime.block_on(embedded.broker.edit_topic(topic, edit)).unwrap();
    let commit = |key: &str, expected: KeyExpectation| {
        let batch = Batch::of(&[record(key, Some("new"))]);
        let commit = Commit::of_batch(topic, embedded.own(key), batch);
        embedded.commit(
            Way::Blocking,
            Commit { preconditions: vec![key_is(topic, key, expected)], ..commit },
        )
    };
    for key in ["k", "gone"] {
        assert_ne!(embedded.own(key), PartitionId(0), "{key}");
    }
    for expected in [KeyExpectation::Absent, KeyExpectation::Version(Offset(0))] {
        let CommitError::KeyConflict(conflict) = commit("k", expected).unwrap_err() else {
            panic!("{expected:?}")
        };
        assert_eq!((conflict.partition, conflict.actual), (PartitionId(0), Some(Offset(1))));
    }
    // Its own partition may come to have a record at the same offset: only who names the partition can mean this one.
    let found = embedded.get("k").unwrap();
    let refused = commit("k", KeyExpectation::Version(found.offset)).unwrap_err();
    let own = embedded.own("k").0;
    assert_eq!(
        refused.to_string(),
        format!(
            "key \"k\" of users/0: version 1 expected, is 1 there, and partition {own}, its own, has no record; name partition 0 to go on there"
        )
    );
    let wanted = Precondition::Key {
        topic: topic.clone(),
        partition: Some(found.partition),
        seen: None,
        key: "k".into(),
        expected: KeyExpectation::Version(found.offset),
    };
    let named = Commit {
        preconditions: vec![wanted],
        ..Commit::of_batch(topic, found.partition, Batch::of(&[record("k", Some("3"))]))
    };
    assert_eq!(embedded.commit(Way::Awaited, named.clone()).unwrap(), Offset(3));
    assert!(embedded.commit(Way::Awaited, named).is_err());
    assert_eq!(embedded.value("k").unwrap(), "3");
    // With a record in its own partition the others do not count.
    let first = embedded.put("k", Some("4"));
    commit("k", KeyExpectation::Version(first)).unwrap();
    // A tombstone is no record there either.
    commit("gone", KeyExpectation::Absent).unwrap();
    assert_eq!(embedded.get("gone").unwrap().partition, embedded.own("gone"));
}

#[test]
fn a_repeat_gets_its_first_answer_although_the_key_has_changed() {
    let embedded = Embedded::with(TopicSettings::default());
    let first = Commit {
        preconditions: vec![key_is(&embedded.topic, "k", KeyExpectation::Absent)],
        idempotency_key: Some(IdempotencyKey { key: "once".to_owned(), fingerprint: 1 }),
        ..Commit::of_record(&embedded.topic, &record("k", Some("1")))
    };
    let answer = embedded.broker.commit_blocking(first.clone()).unwrap();
    assert!(!answer.repeated);
    let again = embedded.broker.commit_blocking(first.clone()).unwrap();
    assert_eq!((again.repeated, again.appends), (true, answer.appends.clone()));
    let again = embedded.runtime.block_on(embedded.broker.commit(first.clone())).unwrap();
    assert_eq!((again.repeated, again.appends), (true, answer.appends));
    let other = IdempotencyKey { key: "twice".to_owned(), fingerprint: 1 };
    let other = Commit { idempotency_key: Some(other), ..first };
    let refused = embedded.runtime.block_on(embedded.broker.commit(other)).unwrap_err();
    assert!(matches!(refused, CommitError::KeyConflict(_)), "{refused}");
}

/// How a writer commits.
#[derive(Clone, Copy, Debug)]
enum Way {
    Awaited,
    Blocking,
}

impl Embedded {
    fn commit(&self, way: Way, commit: Commit) -> Result<Offset, CommitError> {
        let committed = match way {
            Way::Awaited => self.runtime.block_on(self.broker.commit(commit)),
            Way::Blocking => self.broker.commit_blocking(commit),
        };
        committed.map(|committed| committed.appends[0].base_offset)
    }

    /// Reads the counter and writes it one higher, if nobody else did. True when it was this one.
    fn increment(&self, way: Way) -> bool {
        let (count, expected) = match self.get("counter") {
            Ok(found) => {
                (text(&found).parse::<u64>().unwrap(), KeyExpectation::Version(found.offset))
            }
            Err(ReadError::KeyNotFound(_)) => (0, KeyExpectation::Absent),
            Err(error) => panic!("{error}"),
        };
        let record = record("counter", Some(&(count + 1).to_string()));
        let commit = Commit {
            preconditions: vec![key_is(&self.topic, "counter", expected)],
            ..Commit::of_record(&self.topic, &record)
        };
        match self.commit(way, commit) {
            Ok(_) => true,
            Err(CommitError::KeyConflict(_) | CommitError::KeyContended) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_counter_that_many_writers_increment_counts_each_success_once() {
    for way in [Way::Awaited, Way::Blocking] {
        let embedded = Embedded::with(TopicSettings::default());
        let successes = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for writer in 0..16_u64 {
                let (embedded, successes) = (&embedded, &successes);
                scope.spawn(move || {
                    let mut done = 0;
                    while done < 10 {
                        if embedded.increment(way) {
                            done += 1;
                            successes.fetch_add(1, Ordering::Relaxed);
                        }
                        // Others append to the partition, with and without keys.
                        embedded.put(&format!("noise {writer}"), Some("x"));
                    }
                });
            }
        });
        let count = embedded.value("counter").unwrap().parse::<u64>().unwrap();
        assert_eq!((count, successes.into_inner()), (160, 160), "{way:?}");
    }
}

#[test]
fn of_those_who_create_a_key_exactly_one_wins() {
    for way in [Way::Awaited, Way::Blocking] {
        let embedded = Embedded::with(TopicSettings { partitions: 2, ..TopicSettings::default() });
        for round in 0..20 {
            let key = format!("key {round}");
            let partition = embedded.own(&key);
            let winners = AtomicU64::new(0);
            std::thread::scope(|scope| {
                for racer in 0..16 {
                    let (embedded, winners, key) = (&embedded, &winners, &key);
                    scope.spawn(move || {
                        let batch = Batch::of(&[record(key, Some(&format!("racer {racer}")))]);
                        let commit = Commit {
                            preconditions: vec![key_is(
                                &embedded.topic,
                                key,
                                KeyExpectation::Absent,
                            )],
                            ..Commit::of_batch(&embedded.topic, partition, batch)
                        };
                        match embedded.commit(way, commit) {
                            Ok(_) => {
                                winners.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(CommitError::KeyConflict(_)) => {}
                            Err(error) => panic!("{error}"),
                        }
                    });
                }
            });
            assert_eq!(winners.into_inner(), 1, "{way:?}, {key}");
        }
    }
}
