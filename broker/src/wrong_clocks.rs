//! What a wrong clock does to a broker: it deletes nothing, and nothing stands still.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use embermq_protocol::names::TopicName;
use embermq_storage::{Offset, Timestamp};
use parking_lot::Mutex;

use crate::broker::Broker;
use crate::clock::Clock;
use crate::commit::Commit;
use crate::consume::{LeaseRequest, Verdict};
use crate::options::Options;
use crate::record::Record;
use crate::topic::TopicSettings;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// November 2026.
const TODAY: Duration = Duration::from_secs(1_796_000_000);

/// Wall and monotonic clock, set by hand.
#[derive(Debug)]
struct Hands {
    wall: Mutex<Duration>,
    elapsed: Mutex<Duration>,
}

impl Hands {
    fn at(wall: Duration) -> Arc<Self> {
        Arc::new(Self { wall: Mutex::new(wall), elapsed: Mutex::default() })
    }

    fn pass(&self, time: Duration) {
        *self.wall.lock() += time;
        *self.elapsed.lock() += time;
    }

    fn set(&self, wall: Duration) {
        *self.wall.lock() = wall;
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp(i64::try_from(self.wall.lock().as_micros()).unwrap())
    }

    fn elapsed(&self) -> Duration {
        *self.elapsed.lock()
    }
}

fn open(dir: &Path, clock: &Arc<Hands>) -> Broker {
    let options = Options { retention_interval: MINUTE, ..Options::default() };
    Broker::open_by(dir, options, Arc::<Hands>::clone(clock)).unwrap()
}

fn topic() -> TopicName {
    "jobs".parse().unwrap()
}

fn other() -> TopicName {
    "others".parse().unwrap()
}

async fn append(broker: &Broker, topic: &TopicName) {
    broker.commit(Commit::of_record(topic, &Record::new("x"))).await.unwrap();
}

fn start(broker: &Broker) -> Offset {
    broker.topic(&topic()).unwrap().partitions[0].start()
}

#[tokio::test]
async fn a_clock_that_is_far_ahead_at_the_start_makes_nothing_old_before_it_has_lasted() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Hands::at(TODAY);
    let broker = open(dir.path(), &clock);
    for topic in [topic(), other()] {
        broker.create_topic(&topic, TopicSettings::default()).await.unwrap();
    }
    append(&broker, &topic()).await;
    broker.shutdown().await;
    let clock = Hands::at(TODAY + 30 * DAY);
    let broker = open(dir.path(), &clock);
    for _ in 0..50 {
        clock.pass(MINUTE);
        append(&broker, &other()).await;
    }
    assert_eq!(start(&broker), Offset(0));
    // An hour later it is what it says.
    clock.pass(HOUR);
    while start(&broker) == Offset(0) {
        clock.pass(MINUTE);
        append(&broker, &other()).await;
    }
    broker.shutdown().await;
}

#[tokio::test]
async fn leases_and_retries_go_on_while_the_clock_is_behind_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Hands::at(TODAY + DAY);
    let broker = open(dir.path(), &clock);
    broker.create_topic(&topic(), TopicSettings::default()).await.unwrap();
    append(&broker, &topic()).await;
    let (topic, group) = (topic(), "workers".parse().unwrap());
    let request = LeaseRequest { lease: Some(MINUTE / 2), ..LeaseRequest::new(&topic, &group) };
    assert_eq!(broker.lease(request.clone()).await.unwrap()[0].attempt, 1);
    clock.set(TODAY);
    clock.pass(MINUTE / 3);
    assert!(broker.lease(request.clone()).await.unwrap().is_empty(), "it is leased");
    clock.pass(MINUTE / 3);
    let again = broker.lease(request.clone()).await.unwrap().remove(0);
    assert_eq!(again.attempt, 2);
    let delay = Some(MINUTE);
    let nack = Verdict::Nack { delay, error: "later".to_owned() };
    broker
        .settle(&topic, &group, vec![crate::Settlement { token: again.token, verdict: nack }])
        .await
        .unwrap();
    clock.pass(MINUTE / 2);
    assert!(broker.lease(request.clone()).await.unwrap().is_empty(), "it waits");
    clock.pass(MINUTE);
    assert_eq!(broker.lease(request.clone()).await.unwrap()[0].attempt, 3);
    broker.shutdown().await;
    // So it is behind a restart.
    let broker = open(dir.path(), &clock);
    clock.pass(MINUTE / 3);
    assert!(broker.lease(request.clone()).await.unwrap().is_empty(), "it is leased");
    clock.pass(MINUTE / 3);
    assert_eq!(broker.lease(request).await.unwrap()[0].attempt, 4);
    broker.shutdown().await;
}
