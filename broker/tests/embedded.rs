//! The broker inside a program: no server, no HTTP.

#![expect(clippy::unwrap_used, reason = "helpers of tests; what fails there fails the test")]

use std::collections::BTreeSet;

use embermq::{
    Append, Arranged, Batch, Broker, Commit, Durability, From, Offset, Options, PartitionId,
    ReadRequest, Record, ScheduleRef, Scheduled, Timestamp, TopicName, TopicSettings,
};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

struct Embedded {
    runtime: Runtime,
    broker: Broker,
    topic: TopicName,
    dir: TempDir,
}

impl Embedded {
    fn with(settings: TopicSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let broker = Broker::open(dir.path(), Options::default()).unwrap();
        let topic: TopicName = "readings".parse().unwrap();
        runtime.block_on(broker.create_topic(&topic, settings)).unwrap();
        Self { runtime, broker, topic, dir }
    }

    fn one(&self, value: &str) -> Commit {
        Commit::of_record(&self.topic, &Record::new(value.to_owned()))
    }

    fn read(&self, from: From, bytes_max: u64) -> embermq::Read {
        let request = ReadRequest { bytes_max, ..ReadRequest::new(&self.topic, from) };
        self.runtime.block_on(self.broker.read(request)).unwrap()
    }

    fn values(&self) -> Vec<String> {
        let records = self.read(From::Start, 64 << 20).records().unwrap();
        let value = |value: Option<bytes::Bytes>| String::from_utf8(value.unwrap().to_vec());
        records.into_iter().map(|read| value(read.record.value).unwrap()).collect()
    }
}

#[test]
fn a_thread_that_commits_one_after_the_other_gets_offsets_in_order() {
    let embedded = Embedded::with(TopicSettings::default());
    for number in 0..200 {
        let committed = embedded.broker.commit_blocking(embedded.one(&number.to_string())).unwrap();
        assert_eq!(committed.appends[0].base_offset, Offset(number));
        assert_eq!(committed.durability, Durability::Fsync);
    }
    assert_eq!(embedded.values(), (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
    let status = embedded.broker.status();
    assert_eq!(status.log_durable, status.log_end);
}

#[test]
fn threads_and_tasks_that_commit_at_once_share_one_order() {
    let embedded = Embedded::with(TopicSettings::default());
    let (threads, tasks, each) = (4, 16, 100);
    let mut offsets = Vec::new();
    std::thread::scope(|scope| {
        let blocking: Vec<_> = (0..threads)
            .map(|thread| {
                let embedded = &embedded;
                scope.spawn(move || {
                    let commit = |n| embedded.one(&format!("thread {thread} {n}"));
                    let committed = (0..each).map(|n| embedded.broker.commit_blocking(commit(n)));
                    committed.map(|c| c.unwrap().appends[0].base_offset.0).collect::<Vec<_>>()
                })
            })
            .collect();
        let waiting: Vec<_> = (0..tasks)
            .map(|task| {
                let broker = embedded.broker.clone();
                let commits: Vec<_> =
                    (0..each).map(|n| embedded.one(&format!("task {task} {n}"))).collect();
                embedded.runtime.spawn(async move {
                    let mut offsets = Vec::new();
                    for commit in commits {
                        offsets.push(broker.commit(commit).await.unwrap().appends[0].base_offset.0);
                    }
                    offsets
                })
            })
            .collect();
        for thread in blocking {
            offsets.push(thread.join().unwrap());
        }
        for task in waiting {
            offsets.push(embedded.runtime.block_on(task).unwrap());
        }
    });
    // Each caller's commits are in its order; together they are dense.
    assert!(offsets.iter().all(|offsets| offsets.is_sorted()));
    let all: BTreeSet<u64> = offsets.into_iter().flatten().collect();
    assert!(all.iter().copied().eq(0..(threads + tasks) * each));
    let values: BTreeSet<String> = embedded.values().into_iter().collect();
    assert_eq!(values.len() as u64, (threads + tasks) * each);
}

#[test]
fn threads_get_their_answers_while_the_only_runtime_stands_still() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path(), Options::default()).unwrap();
    let topic: TopicName = "readings".parse().unwrap();
    let idle = Builder::new_current_thread().enable_all().build().unwrap();
    idle.block_on(broker.create_topic(&topic, TopicSettings::default())).unwrap();
    // So many at once that most answers belong to large groups.
    std::thread::scope(|scope| {
        for _ in 0..48 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let commit = Commit::of_record(&topic, &Record::new("x"));
                    broker.commit_blocking(commit).unwrap();
                }
            });
        }
    });
    assert_eq!(broker.topic(&topic).unwrap().partitions[0].reader.end(), Offset(48 * 20));
    idle.block_on(broker.shutdown());
}

#[test]
fn what_a_caller_left_unsynced_is_synced_soon() {
    let settings = TopicSettings { durability: Durability::Os, ..TopicSettings::default() };
    let embedded = Embedded::with(settings);
    embedded.broker.commit_blocking(embedded.one("soon on the device")).unwrap();
    let synced = || {
        let status = embedded.broker.status();
        status.log_durable == status.log_end
    };
    while !synced() {
        std::thread::yield_now();
    }
}

#[test]
fn a_blocking_commit_says_no_when_the_broker_is_down() {
    let embedded = Embedded::with(TopicSettings::default());
    embedded.broker.commit_blocking(embedded.one("kept")).unwrap();
    embedded.runtime.block_on(embedded.broker.shutdown());
    let refused = embedded.broker.commit_blocking(embedded.one("late")).unwrap_err();
    assert!(matches!(refused, embermq::CommitError::ShuttingDown), "{refused}");
    let again = Broker::open(embedded.dir.path(), Options::default()).unwrap();
    assert_eq!(again.topic(&embedded.topic).unwrap().partitions[0].end(), Offset(1));
}

#[test]
fn readers_in_order_get_every_record_once_whoever_else_reads() {
    const STEP: u64 = 1 << 20;
    let embedded = Embedded::with(TopicSettings::default());
    let record = |n: u64| Record::new(format!("{n:0>4096}"));
    for batch in 0..32 {
        let records: Vec<Record> = (0..64).map(|n| record(batch * 64 + n)).collect();
        let (topic, batch) = (embedded.topic.clone(), Batch::of(&records));
        let append = Append { topic, partition: PartitionId(0), batch };
        let commit = Commit { appends: vec![append], ..Commit::default() };
        embedded.broker.commit_blocking(commit).unwrap();
    }
    let end = 32 * 64;
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut next = 0;
                while next < end {
                    let read = embedded.read(From::Offset(Offset(next)), STEP);
                    let records = read.records().unwrap();
                    assert!(!records.is_empty());
                    for record in records {
                        assert_eq!(record.offset, Offset(next));
                        let value = record.record.value.unwrap();
                        assert_eq!(value, format!("{next:0>4096}").as_bytes());
                        next += 1;
                    }
                }
            });
        }
    });
}

#[test]
fn what_fell_due_while_the_broker_was_down_is_delivered_at_its_start() {
    let embedded = Embedded::with(TopicSettings::default());
    let Embedded { runtime, broker, topic, dir } = embedded;
    let later = |value: &str, by_us: i64| {
        let append = Commit::of_record(&topic, &Record::new(value.to_owned())).appends.remove(0);
        Scheduled { append, deliver_at: Timestamp(broker.now().0 + by_us) }
    };
    let scheduled =
        vec![later("second", 400_000), later("first", 300_000), later("never", 1 << 50)];
    let committed = broker.commit_blocking(Commit { scheduled, ..Commit::default() }).unwrap();
    let ids = committed.scheduled.iter().map(|arranged| match arranged {
        Arranged::Scheduled(schedule) => schedule.id,
        Arranged::Appended(appended) => panic!("{appended:?}"),
    });
    let ids: Vec<_> = ids.collect();
    assert_eq!(ids.iter().map(|id| id.seq).collect::<Vec<_>>(), [0, 1, 2]);
    runtime.block_on(broker.shutdown());
    drop(broker);
    let broker = Broker::open(dir.path(), Options::default()).unwrap();
    runtime.block_on(async {
        let found = broker.topic(&topic).unwrap();
        while found.partitions[0].end() < Offset(2) {
            tokio::task::yield_now().await;
        }
        let read = broker.read(ReadRequest::new(&topic, From::Start)).await.unwrap();
        let records = read.records().unwrap();
        let values: Vec<_> =
            records.iter().map(|read| read.record.value.clone().unwrap()).collect();
        assert_eq!(values, ["first", "second"]);
        assert!(records[0].append_time >= ids[1].due && records[1].append_time >= ids[0].due);
        let left = broker.schedules(&topic, None, 10).unwrap();
        assert_eq!(left.iter().map(|schedule| schedule.id).collect::<Vec<_>>(), [ids[2]]);
        broker.cancel_schedule(&topic, ids[2]).await.unwrap();
        assert!(broker.schedules(&topic, None, 10).unwrap().is_empty());
        broker.shutdown().await;
    });
}

#[test]
fn a_store_is_trimmed_behind_what_was_cancelled_and_a_straggler_moves() {
    let embedded = Embedded::with(TopicSettings::default());
    let Embedded { broker, topic, .. } = &embedded;
    let never = Timestamp(broker.now().0 + (1 << 50));
    let put_off = |value: String| {
        let append = Commit::of_record(topic, &Record::new(value)).appends.remove(0);
        let scheduled = vec![Scheduled { append, deliver_at: never }];
        let committed = broker.commit_blocking(Commit { scheduled, ..Commit::default() }).unwrap();
        let Arranged::Scheduled(schedule) = &committed.scheduled[0] else {
            panic!("{committed:?}")
        };
        ScheduleRef { topic: topic.clone(), id: schedule.id }
    };
    let straggler = put_off("straggler".to_owned());
    let cancels: Vec<_> = (0..80).map(|_| put_off("x".repeat(1 << 20))).collect();
    broker.commit_blocking(Commit { cancels, ..Commit::default() }).unwrap();
    // All 80 MiB are in front of it now, and gone.
    let store: TopicName = "readings.scheduled".parse().unwrap();
    while broker.topic(&store).unwrap().partitions[0].start() < Offset(81) {
        std::thread::yield_now();
    }
    embedded.runtime.block_on(async {
        let (schedule, records) = broker.schedule(topic, straggler.id).await.unwrap();
        assert_eq!((schedule.id, schedule.count), (straggler.id, 1));
        assert_eq!(records[0].value.as_deref(), Some(&b"straggler"[..]));
        assert_eq!(broker.topic(topic).unwrap().partitions[0].end(), Offset(0));
        broker.shutdown().await;
    });
}

/// Schedules values for `topic`, each so many microseconds from now.
fn put_off(broker: &Broker, topic: &TopicName, values: Vec<(String, i64)>) {
    let now = broker.now().0;
    let scheduled = values.into_iter().map(|(value, by_us)| {
        let append = Commit::of_record(topic, &Record::new(value)).appends.remove(0);
        Scheduled { append, deliver_at: Timestamp(now + by_us) }
    });
    let scheduled = scheduled.collect();
    broker.commit_blocking(Commit { scheduled, ..Commit::default() }).unwrap();
}

fn wait_for_end(broker: &Broker, topic: &TopicName, end: u64) {
    let partition = broker.topic(topic).unwrap().partitions[0].clone();
    while partition.end() < Offset(end) {
        std::thread::yield_now();
    }
}

#[test]
fn what_falls_due_together_is_delivered_whatever_a_commit_may_hold() {
    let embedded = Embedded::with(TopicSettings::default());
    let Embedded { runtime, broker, topic, dir } = embedded;
    let (small, large) = ("x".repeat(4 << 10), "x".repeat(6 << 20));
    for value in [&small, &large, &small, &large] {
        put_off(&broker, &topic, vec![(value.clone(), 300_000); 1]);
    }
    put_off(&broker, &topic, vec![(small, 300_000); 100]);
    runtime.block_on(broker.shutdown());
    drop(broker);
    // Even if that was cut down meanwhile.
    let options = Options { commit_bytes_max: 64 << 10, ..Options::default() };
    let broker = Broker::open(dir.path(), options).unwrap();
    wait_for_end(&broker, &topic, 104);
    while !broker.schedules(&topic, None, 10).unwrap().is_empty() {
        std::thread::yield_now();
    }
    runtime.block_on(broker.shutdown());
}

#[test]
fn a_topic_that_always_has_something_due_holds_up_no_other() {
    let embedded = Embedded::with(TopicSettings::default());
    let Embedded { runtime, broker, topic, .. } = &embedded;
    let busy: TopicName = "busy".parse().unwrap();
    runtime.block_on(broker.create_topic(&busy, TopicSettings::default())).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                put_off(broker, &busy, vec![("x".to_owned(), 1_000); 50]);
            }
        });
        wait_for_end(broker, &busy, 100);
        put_off(broker, topic, vec![("late".to_owned(), 20_000)]);
        wait_for_end(broker, topic, 1);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    runtime.block_on(broker.shutdown());
}
