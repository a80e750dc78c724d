//! Groups through the embedded interface: leases, retries, dead letters, order, redrive, seek, restart.

#![expect(clippy::unwrap_used, reason = "helpers of tests; what fails there fails the test")]

use std::time::Duration;

use embermq::{
    Append, Backoff, Batch, Broker, Commit, CommitError, DeadLetterQuery, From, GroupName,
    GroupSettings, Lease, LeaseRequest, Offset, Options, Ordering, PartitionId, Read, ReadRequest,
    Record, Redrive, Settled, Settlement, TopicName, TopicSettings, Verdict,
};
use tempfile::TempDir;

struct World {
    broker: Broker,
    topic: TopicName,
    group: GroupName,
    dir: TempDir,
}

const QUICK: Backoff = Backoff {
    initial: Duration::from_millis(1),
    max: Duration::from_millis(1),
    multiplier: 1.0,
    jitter: false,
};

impl World {
    async fn with(partitions: u32, settings: GroupSettings) -> Self {
        Self::bound_by(Options::default(), partitions, settings).await
    }

    async fn bound_by(options: Options, partitions: u32, settings: GroupSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::open(dir.path(), options).unwrap();
        let (topic, group): (TopicName, GroupName) =
            ("jobs".parse().unwrap(), "workers".parse().unwrap());
        let topic_settings = TopicSettings { partitions, ..TopicSettings::default() };
        broker.create_topic(&topic, topic_settings).await.unwrap();
        broker.create_group(&topic, &group, settings, From::Start).await.unwrap();
        Self { broker, topic, group, dir }
    }

    async fn reopen(mut self) -> Self {
        self.broker.shutdown().await;
        self.broker = Broker::open(self.dir.path(), Options::default()).unwrap();
        self
    }

    async fn produce(&self, partition: u32, records: &[Record]) {
        let (topic, batch) = (self.topic.clone(), Batch::of(records));
        let append = Append { topic, partition: PartitionId(partition), batch };
        self.broker.commit(Commit { appends: vec![append], ..Commit::default() }).await.unwrap();
    }

    async fn put(&self, values: &[&str]) {
        let records: Vec<Record> =
            values.iter().map(|value| Record::new(value.to_string())).collect();
        self.produce(0, &records).await;
    }

    async fn lease(&self, most: u32) -> Vec<Lease> {
        self.lease_as("", most, Duration::ZERO).await
    }

    /// Waits for records; the test hangs if none come.
    async fn lease_waiting(&self, most: u32) -> Vec<Lease> {
        loop {
            let leases = self.lease_as("", most, Duration::from_secs(30)).await;
            if !leases.is_empty() {
                return leases;
            }
        }
    }

    async fn lease_as(&self, member: &str, most: u32, wait: Duration) -> Vec<Lease> {
        let request = LeaseRequest {
            member: member.to_owned(),
            records_max: most,
            wait,
            ..LeaseRequest::new(&self.topic, &self.group)
        };
        self.broker.lease(request).await.unwrap()
    }

    async fn settle(&self, lease: &Lease, verdict: Verdict) -> Result<Settled, CommitError> {
        let settlement = Settlement { token: lease.token.clone(), verdict };
        let mut results =
            self.broker.settle(&self.topic, &self.group, vec![settlement]).await.unwrap();
        assert_eq!(results.len(), 1);
        results.remove(0)
    }

    async fn letters(&self) -> Vec<Record> {
        let name = format!("{}.{}.dlq", self.topic, self.group).parse().unwrap();
        if self.broker.topic(&name).is_none() {
            return Vec::new();
        }
        let read: Read = self.broker.read(ReadRequest::new(&name, From::Start)).await.unwrap();
        read.records().unwrap().into_iter().map(|read| read.record).collect()
    }

    async fn info(&self) -> embermq::GroupInfo {
        self.broker.group(&self.topic, &self.group).await.unwrap()
    }
}

fn values(leases: &[Lease]) -> Vec<String> {
    leases.iter().map(|lease| text(&lease.record)).collect()
}

fn text(record: &Record) -> String {
    String::from_utf8(record.value.clone().unwrap_or_default().to_vec()).unwrap()
}

fn header<'a>(record: &'a Record, name: &str) -> &'a str {
    std::str::from_utf8(record.header_value(name).unwrap_or_default()).unwrap()
}

fn nack(delay: Option<Duration>, error: &str) -> Verdict {
    Verdict::Nack { delay, error: error.to_owned() }
}

#[tokio::test]
async fn records_are_leased_once_and_acknowledged_once() {
    let world = World::with(1, GroupSettings::default()).await;
    world.put(&["a", "b", "c"]).await;
    let leases = world.lease(2).await;
    assert_eq!(values(&leases), ["a", "b"]);
    assert_eq!(values(&world.lease(10).await), ["c"]);
    assert!(world.lease(10).await.is_empty());
    let info = world.info().await;
    assert_eq!((info.in_flight, info.lag_records), (3, 3));
    assert!(info.lag.is_some());
    for lease in &leases {
        assert_eq!(world.settle(lease, Verdict::Ack).await, Ok(Settled::Acked));
    }
    let again = world.settle(&leases[0], Verdict::Ack).await.unwrap_err();
    assert!(
        matches!(&again, CommitError::LeaseLost { detail, .. } if detail.contains("settled")),
        "{again}"
    );
    assert_eq!(world.info().await.lag_records, 1);
    // Nothing of this is forgotten.
    let world = world.reopen().await;
    assert!(world.lease(10).await.is_empty());
    assert_eq!(world.info().await.in_flight, 1);
}

#[tokio::test]
async fn a_lease_outlives_a_restart_of_the_broker() {
    let world = World::with(1, GroupSettings::default()).await;
    world.put(&["a"]).await;
    let leases = world.lease(1).await;
    let world = world.reopen().await;
    assert_eq!(world.settle(&leases[0], Verdict::Ack).await, Ok(Settled::Acked));
    assert_eq!(world.info().await.lag_records, 0);
}

#[tokio::test]
async fn what_fails_comes_back_and_then_is_dead_with_its_history() {
    let settings = GroupSettings { attempts_max: 3, backoff: QUICK, ..GroupSettings::default() };
    let world = World::with(1, settings).await;
    let record = Record::new("poison").with_key("k").with_header("content-type", "text/plain");
    world.produce(0, &[record]).await;
    for attempt in 1..=3 {
        let leases = world.lease_waiting(1).await;
        assert_eq!(leases[0].attempt, attempt);
        let settled = world.settle(&leases[0], nack(None, &format!("failure {attempt}"))).await;
        match settled.unwrap() {
            Settled::Waiting { .. } => assert!(attempt < 3),
            Settled::Dead { letter } => {
                assert_eq!((attempt, letter.base_offset), (3, Offset(0)));
            }
            other => unreachable!("{other:?}"),
        }
    }
    let letters = world.letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (text(&letters[0]).as_str(), letters[0].key.as_deref()),
        ("poison", Some(&b"k"[..]))
    );
    assert_eq!(header(&letters[0], "content-type"), "text/plain");
    for (name, value) in [
        ("x-dead-reason", "failed"),
        ("x-dead-error", "failure 3"),
        ("x-dead-attempts", "3"),
        ("x-dead-group", "workers"),
        ("x-dead-topic", "jobs"),
        ("x-dead-partition", "0"),
        ("x-dead-offset", "0"),
    ] {
        assert_eq!(header(&letters[0], name), value, "{name}");
    }
    assert!(header(&letters[0], "x-dead-first-time") < header(&letters[0], "x-dead-last-time"));
    let info = world.info().await;
    assert_eq!((info.dead, info.lag_records), (1, 0));
    assert_eq!(world.reopen().await.info().await.dead, 1);
}

#[tokio::test]
async fn what_is_rejected_is_dead_at_once_and_can_be_redriven() {
    let world = World::with(1, GroupSettings::default()).await;
    world.put(&["a", "b"]).await;
    for lease in world.lease(2).await {
        let verdict = Verdict::Reject { reason: format!("no {}", text(&lease.record)) };
        assert!(matches!(world.settle(&lease, verdict).await, Ok(Settled::Dead { .. })));
    }
    assert_eq!(world.info().await.dead, 2);
    let only = |contains: &str, dry_run| Redrive {
        contains: contains.to_owned(),
        dry_run,
        ..Redrive::default()
    };
    let redrive =
        async |redrive| world.broker.redrive(&world.topic, &world.group, redrive).await.unwrap();
    assert_eq!(redrive(only("no b", true)).await, embermq::Redriven { matched: 1, done: 0 });
    assert_eq!(redrive(only("no b", false)).await, embermq::Redriven { matched: 1, done: 1 });
    assert_eq!(redrive(only("no b", false)).await, embermq::Redriven::default());
    let leases = world.lease(10).await;
    assert_eq!((values(&leases), leases[0].attempt), (vec!["b".to_owned()], 1));
    assert_eq!(world.settle(&leases[0], Verdict::Ack).await, Ok(Settled::Acked));
    let drop = Redrive { drop: true, ..Redrive::default() };
    assert_eq!(redrive(drop).await, embermq::Redriven { matched: 1, done: 1 });
    assert_eq!((world.info().await.dead, world.info().await.lag_records), (0, 0));
}

#[tokio::test]
async fn a_record_whose_last_holder_died_is_buried_though_nobody_asks() {
    let settings = GroupSettings {
        attempts_max: 1,
        lease: Duration::from_secs(1),
        ..GroupSettings::default()
    };
    let world = World::with(1, settings).await;
    world.put(&["a"]).await;
    assert_eq!(world.lease(1).await.len(), 1);
    while world.info().await.dead == 0 {
        tokio::task::yield_now().await;
    }
    let letters = world.letters().await;
    assert_eq!((text(&letters[0]).as_str(), header(&letters[0], "x-dead-reason")), ("a", "lapsed"));
}

#[tokio::test]
async fn what_was_taken_in_can_die_whatever_a_commit_may_hold() {
    let options = Options { commit_bytes_max: 1 << 20, ..Options::default() };
    let settings = GroupSettings {
        attempts_max: 1,
        lease: Duration::from_secs(1),
        ..GroupSettings::default()
    };
    let world = World::bound_by(options, 1, settings).await;
    let large = Record::new("x".repeat((1 << 20) - 60));
    for _ in 0..3 {
        world.produce(0, std::slice::from_ref(&large)).await;
    }
    let over = Append {
        topic: world.topic.clone(),
        partition: PartitionId(0),
        batch: Batch::of(&[large.clone().with_header("name", "y".repeat(60))]),
    };
    let over = world.broker.commit(Commit { appends: vec![over], ..Commit::default() }).await;
    assert!(matches!(over, Err(CommitError::TooLarge { .. })), "{over:?}");

    let leases = world.lease(3).await;
    let reject = |lease: &Lease| Settlement {
        token: lease.token.clone(),
        verdict: Verdict::Reject { reason: "no".to_owned() },
    };
    let two = leases[..2].iter().map(reject).collect();
    let settled = world.broker.settle(&world.topic, &world.group, two).await.unwrap();
    assert!(settled.iter().all(|one| matches!(one, Ok(Settled::Dead { .. }))), "{settled:?}");
    let settlements = vec![reject(&leases[2])];
    let committed = world.broker.commit(Commit { settlements, ..Commit::default() }).await.unwrap();
    assert!(matches!(committed.settled[..], [Settled::Dead { .. }]));

    // And more than a commit may hold, whose holder died.
    for _ in 0..64 {
        world.produce(0, &[Record::new("x".repeat(20 << 10))]).await;
    }
    assert_eq!(world.lease(64).await.len(), 64);
    while world.info().await.dead < 3 + 64 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_waiting_lease_is_woken_by_a_record_and_by_a_retry() {
    let settings = GroupSettings { backoff: QUICK, ..GroupSettings::default() };
    let world = World::with(2, settings).await;
    let (leases, ()) = tokio::join!(world.lease_waiting(1), async {
        tokio::task::yield_now().await;
        world.produce(1, &[Record::new("new")]).await;
    });
    assert_eq!(values(&leases), ["new"]);
    world.settle(&leases[0], nack(None, "")).await.unwrap();
    assert_eq!(world.lease_waiting(1).await[0].attempt, 2);
}

#[tokio::test]
async fn a_key_has_one_record_in_flight_and_goes_on_after_its_poison_is_dead() {
    let settings = GroupSettings { ordering: Ordering::Key, ..GroupSettings::default() };
    let world = World::with(1, settings).await;
    let records: Vec<Record> = [("a", "1"), ("a", "2"), ("b", "3"), ("a", "4")]
        .into_iter()
        .map(|(key, value)| Record::new(value).with_key(key))
        .collect();
    world.produce(0, &records).await;
    let leases = world.lease(10).await;
    assert_eq!(values(&leases), ["1", "3"]);
    assert!(world.lease(10).await.is_empty());
    assert_eq!(world.info().await.held, 2);
    world.settle(&leases[0], Verdict::Reject { reason: "poison".to_owned() }).await.unwrap();
    let leases = world.lease(10).await;
    assert_eq!(values(&leases), ["2"]);
    world.settle(&leases[0], Verdict::Ack).await.unwrap();
    assert_eq!(values(&world.lease(10).await), ["4"]);
}

#[tokio::test]
async fn a_partition_stays_with_its_member_and_goes_to_another_when_the_lease_lapses() {
    let settings = GroupSettings {
        ordering: Ordering::Partition,
        lease: Duration::from_secs(1),
        ..GroupSettings::default()
    };
    let world = World::with(1, settings).await;
    world.put(&["a", "b", "c"]).await;
    let first = world.lease_as("ann", 2, Duration::ZERO).await;
    assert_eq!(values(&first), ["a", "b"]);
    assert!(world.lease_as("bob", 2, Duration::ZERO).await.is_empty());
    for lease in &first {
        world.settle(lease, Verdict::Ack).await.unwrap();
    }
    assert!(world.lease_as("bob", 2, Duration::ZERO).await.is_empty(), "it is ann's");
    let second = world.lease_as("ann", 2, Duration::ZERO).await;
    assert_eq!(values(&second), ["c"]);
    // Ann falls silent: bob waits for her lease to lapse.
    let third = world.lease_as("bob", 2, Duration::from_secs(30)).await;
    assert_eq!((values(&third), third[0].attempt), (vec!["c".to_owned()], 2));
    let lost = world.settle(&second[0], Verdict::Ack).await.unwrap_err();
    assert!(matches!(lost, CommitError::LeaseLost { .. }), "{lost}");
}

#[tokio::test]
async fn outputs_and_acknowledgement_are_one_commit() {
    let world = World::with(1, GroupSettings::default()).await;
    let out: TopicName = "out".parse().unwrap();
    world.broker.create_topic(&out, TopicSettings::default()).await.unwrap();
    world.put(&["a", "b"]).await;
    let leases = world.lease(2).await;
    let commit = |settlements: Vec<Settlement>| Commit {
        settlements,
        ..Commit::of_record(&out, &Record::new("output"))
    };
    let both = vec![Verdict::ack(&leases[0].token), Verdict::ack(&leases[1].token)];
    let committed = world.broker.commit(commit(both[..1].to_vec())).await.unwrap();
    assert_eq!(committed.settled, [Settled::Acked]);
    // One of them is settled already: neither the output nor the other acknowledgement takes effect.
    let refused = world.broker.commit(commit(both)).await.unwrap_err();
    assert!(matches!(refused, CommitError::LeaseLost { index: 0, .. }), "{refused}");
    assert_eq!(world.broker.topic(&out).unwrap().partitions[0].end(), Offset(1));
    assert_eq!(world.info().await.in_flight, 1);
    let only = Commit { settlements: vec![Verdict::ack(&leases[1].token)], ..Commit::default() };
    assert!(world.broker.commit(only).await.is_ok());
    assert_eq!(world.info().await.lag_records, 0);
}

#[tokio::test]
async fn tokens_that_were_changed_or_are_of_another_group_settle_nothing() {
    let world = World::with(1, GroupSettings::default()).await;
    let other: GroupName = "others".parse().unwrap();
    world.put(&["a"]).await;
    let lease = world.lease(1).await.remove(0);
    let request = LeaseRequest::new(&world.topic, &other);
    let foreign = world.broker.lease(request).await.unwrap().remove(0);
    let mut changed = lease.token.clone();
    changed.replace_range(10..11, if &changed[10..11] == "A" { "B" } else { "A" });
    for token in [foreign.token.clone(), changed, "nonsense".to_owned(), String::new()] {
        let stolen = Lease { token, ..lease.clone() };
        let refused = world.settle(&stolen, Verdict::Ack).await.unwrap_err();
        assert!(matches!(refused, CommitError::InvalidLeaseToken { index: 0, .. }), "{refused}");
    }
    assert_eq!(world.info().await.in_flight, 1);
    assert_eq!(world.settle(&lease, Verdict::Ack).await, Ok(Settled::Acked));
}

#[tokio::test]
async fn a_group_goes_back_and_forth_and_says_before_what_that_means() {
    let world = World::with(1, GroupSettings::default()).await;
    world.put(&["a", "b", "c", "d"]).await;
    for lease in world.lease(3).await {
        world.settle(&lease, Verdict::Ack).await.unwrap();
    }
    let seek = async |to, dry_run| {
        let (topic, group) = (&world.topic, &world.group);
        world.broker.seek_group(topic, group, None, to, dry_run).await.unwrap().remove(0)
    };
    let dry = seek(From::Offset(Offset(1)), true).await;
    assert_eq!((dry.from, dry.to, dry.read_again), (Offset(3), Offset(1), 2));
    let beyond = seek(From::Offset(Offset(500)), true).await;
    assert_eq!((beyond.to, beyond.skipped), (Offset(4), 1), "as the seek itself would have it");
    assert_eq!(values(&world.lease(10).await), ["d"]);
    let done = seek(From::Start, false).await;
    assert_eq!((done.to, done.leases_lost), (Offset(0), 1));
    assert_eq!(values(&world.lease(10).await), ["a", "b", "c", "d"]);
    let done = seek(From::End, false).await;
    assert_eq!((done.skipped, done.leases_lost), (4, 4));
    assert!(world.lease(10).await.is_empty());
    assert_eq!(world.info().await.lag_records, 0);
}

#[tokio::test]
async fn a_group_that_has_taken_everything_goes_back_to_any_of_it() {
    for ordering in [Ordering::None, Ordering::Key, Ordering::Partition] {
        let settings = GroupSettings { ordering, ..GroupSettings::default() };
        let world = World::with(1, settings).await;
        world.put(&["a", "b", "c"]).await;
        for (offset, again) in [(3, &[][..]), (0, &["a", "b", "c"]), (2, &["c"]), (1, &["b", "c"])]
        {
            for lease in world.lease(10).await {
                world.settle(&lease, Verdict::Ack).await.unwrap();
            }
            assert!(world.lease(10).await.is_empty());
            let (topic, group) = (&world.topic, &world.group);
            let to = From::Offset(Offset(offset));
            world.broker.seek_group(topic, group, None, to, false).await.unwrap();
            let leases = world.lease(10).await;
            assert_eq!(values(&leases), again, "{ordering:?} from {offset}");
            for lease in leases {
                world.settle(&lease, Verdict::Ack).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_filter_passes_over_what_it_does_not_want() {
    let filter = Some(r#"kind == "photo""#.to_owned());
    let world = World::with(1, GroupSettings { filter, ..GroupSettings::default() }).await;
    let record = |n: u32| {
        let kind = if n.is_multiple_of(3) { "photo" } else { "text" };
        Record::new(n.to_string()).with_header("kind", kind)
    };
    world.produce(0, &(0..10).map(record).collect::<Vec<_>>()).await;
    assert_eq!(values(&world.lease(10).await), ["0", "3", "6", "9"]);
    assert!(world.lease(10).await.is_empty());
    let wrong = GroupSettings { filter: Some("kind =".to_owned()), ..GroupSettings::default() };
    let name: GroupName = "wrong".parse().unwrap();
    let refused =
        world.broker.create_group(&world.topic, &name, wrong, From::Start).await.unwrap_err();
    assert!(refused.to_string().contains("filter"), "{refused}");
}

#[tokio::test]
async fn a_caller_that_goes_away_gives_back_what_it_was_just_given() {
    let world = World::with(1, GroupSettings::default()).await;
    for round in 0..50 {
        let lease = world.lease_as("", 1, Duration::from_secs(30));
        let gone = tokio::time::timeout(Duration::from_micros(round * 20), lease).await;
        if let Ok(leases) = gone {
            assert_eq!(leases.len(), 1);
            world.settle(&leases[0], Verdict::Release).await.unwrap();
        } else if round == 0 {
            world.put(&["a"]).await;
        }
    }
    let leases = world.lease_waiting(1).await;
    assert_eq!((values(&leases), leases[0].attempt), (vec!["a".to_owned()], 1));
}

#[tokio::test]
async fn a_redrive_works_after_retention_has_removed_the_origin_and_reaches_only_its_group() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        segment_bytes: 64 << 10,
        retention_interval: Duration::from_millis(5),
        ..Options::default()
    };
    let broker = Broker::open(dir.path(), options).unwrap();
    let (topic, group): (TopicName, GroupName) =
        ("jobs".parse().unwrap(), "workers".parse().unwrap());
    let settings = TopicSettings { retention_bytes: Some(64 << 10), ..TopicSettings::default() };
    broker.create_topic(&topic, settings).await.unwrap();
    let world = World { broker, topic, group, dir };
    world.put(&["poison"]).await;
    let lease = world.lease(1).await.remove(0);
    world.settle(&lease, Verdict::Reject { reason: "bad".to_owned() }).await.unwrap();
    let partition = world.broker.topic(&world.topic).unwrap().partitions[0].clone();
    let large = "x".repeat(16 << 10);
    while partition.start() == Offset(0) {
        world.put(&[&large]).await;
    }
    world.broker.seek_group(&world.topic, &world.group, None, From::End, false).await.unwrap();
    let other: GroupName = "others".parse().unwrap();
    let settings = GroupSettings::default();
    world.broker.create_group(&world.topic, &other, settings, From::End).await.unwrap();
    let redriven =
        world.broker.redrive(&world.topic, &world.group, Redrive::default()).await.unwrap();
    assert_eq!(redriven, embermq::Redriven { matched: 1, done: 1 });
    let lease = world.lease_waiting(1).await.remove(0);
    assert_eq!((text(&lease.record).as_str(), lease.attempt), ("poison", 1));
    assert_eq!(header(&lease.record, "x-dead-error"), "bad", "its history is kept");
    let request = LeaseRequest::new(&world.topic, &other);
    assert!(world.broker.lease(request).await.unwrap().is_empty());
    // Dead again, it is an ordinary letter, which every group may read.
    let verdict = Verdict::Reject { reason: "still bad".to_owned() };
    world.settle(&lease, verdict).await.unwrap();
    let letters = world.letters().await;
    assert_eq!(header(&letters[1], "x-dead-error"), "still bad");
    assert_eq!(letters[1].header_value("x-redrive-group"), None);
}

#[tokio::test]
async fn dead_letters_stay_where_their_group_finds_them() {
    let world = World::with(1, GroupSettings::default()).await;
    let edit = |name: &str| embermq::GroupEdit {
        dead_letter_topic: Some(Some(name.parse().unwrap())),
        ..embermq::GroupEdit::default()
    };
    let edited = world.broker.edit_group(&world.topic, &world.group, edit("jobs")).await;
    let refused = edited.unwrap_err().to_string();
    assert!(refused.contains("they would come back"), "{refused}");
    world.put(&["a", "b"]).await;
    for lease in world.lease(2).await {
        world.settle(&lease, Verdict::Reject { reason: String::new() }).await.unwrap();
    }
    let edited = world.broker.edit_group(&world.topic, &world.group, edit("elsewhere")).await;
    let refused = edited.unwrap_err().to_string();
    assert!(refused.contains("2 dead letters"), "{refused}");
    // Whoever deletes their topic deletes them.
    world.broker.delete_topic(&"jobs.workers.dlq".parse().unwrap()).await.unwrap();
    assert_eq!(world.info().await.dead, 0);
    world.broker.edit_group(&world.topic, &world.group, edit("elsewhere")).await.unwrap();
}

#[tokio::test]
async fn a_page_of_dead_letters_looks_at_a_bounded_part_of_them() {
    let world = World::with(1, GroupSettings::default()).await;
    let page = async |after: Option<Offset>, contains: &str| {
        let query = DeadLetterQuery { contains: contains.to_owned(), after, ..Default::default() };
        let page = world.broker.dead_letters(&world.topic, &world.group, query).await.unwrap();
        let offsets: Vec<u64> = page.letters.iter().map(|letter| letter.offset.0).collect();
        (offsets, page.next_after)
    };
    assert_eq!(page(None, "").await, (vec![], None), "there is no dead-letter topic yet");
    let value = vec![b'x'; 7 << 20];
    for _ in 0..4 {
        world.produce(0, &[Record::new(value.clone())]).await;
    }
    while world.info().await.dead < 4 {
        for lease in world.lease(4).await {
            world.settle(&lease, Verdict::Reject { reason: "too large".to_owned() }).await.unwrap();
        }
    }
    let next = Some(Offset(2));
    assert_eq!(page(None, "no connection").await, (vec![], next), "none so far, and more to see");
    assert_eq!(page(next, "no connection").await, (vec![], None));
    let next = Some(Offset(1));
    assert_eq!(page(None, "large").await, (vec![0, 1], next), "an answer has about 8 MiB");
    assert_eq!(page(next, "rejected").await, (vec![2, 3], None));
}

#[tokio::test]
async fn records_too_large_for_one_commit_are_buried_all_the_same() {
    let settings = GroupSettings {
        attempts_max: 1,
        lease: Duration::from_secs(1),
        ..GroupSettings::default()
    };
    let world = World::with(1, settings).await;
    let value = vec![b'x'; 7 << 20];
    for _ in 0..12 {
        world.produce(0, &[Record::new(value.clone())]).await;
    }
    let mut leased = 0;
    while leased < 12 {
        leased += world.lease(12).await.len();
    }
    while world.info().await.dead < 12 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_caller_without_patience_gets_what_there_is_while_others_are_served() {
    let world = World::with(1, GroupSettings::default()).await;
    let values: Vec<String> = (0..400).map(|n| n.to_string()).collect();
    world.put(&values.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let takers = (0..8).map(|_| async {
        let mut taken = 0;
        loop {
            match world.lease(5).await.len() {
                0 => return taken,
                some => taken += some,
            }
            // They share one thread, and what is there is granted at once.
            tokio::task::yield_now().await;
        }
    });
    let taken = futures::future::join_all(takers).await;
    assert_eq!(taken.iter().sum::<usize>(), 400);
    assert!(taken.iter().all(|taken| *taken > 0), "{taken:?}");
}

#[tokio::test]
async fn a_long_wait_sees_partitions_that_come_later() {
    let world = World::with(1, GroupSettings::default()).await;
    let (leases, ()) = tokio::join!(world.lease_waiting(1), async {
        tokio::task::yield_now().await;
        let more = embermq::TopicEdit { partitions: Some(3), ..embermq::TopicEdit::default() };
        world.broker.edit_topic(&world.topic, more).await.unwrap();
        world.produce(2, &[Record::new("late")]).await;
    });
    assert_eq!((leases[0].partition, text(&leases[0].record)), (PartitionId(2), "late".to_owned()));
}
