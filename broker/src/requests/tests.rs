//! Requests of long ago: what is said when the record, or what it ended with, is not kept any more.

use std::sync::Arc;
use std::time::Duration;

use embermq_protocol::names::TopicName;
use embermq_storage::{Offset, Timestamp};
use parking_lot::Mutex;

use super::{CALL_HEADER, RequestError, RequestId, RequestState, TOPIC};
use crate::broker::Broker;
use crate::clock::{Clock, SystemClock};
use crate::commit::Commit;
use crate::options::Options;
use crate::read::From;
use crate::record::Record;
use crate::stage::{Fault, Identity, Output, Processor, Stage, StageSettings};
use crate::topic::{Partition, PartitionId, TopicSettings};

const HOUR: Duration = Duration::from_secs(3_600);
const WAIT: Duration = Duration::from_secs(30);
/// Two of them are more than a segment.
const LARGE_BYTES: usize = 40 << 10;
const SEGMENT_BYTES: u64 = 64 << 10;

/// The machine's clock, and so much more.
#[derive(Debug, Default)]
struct Ahead {
    system: SystemClock,
    by: Mutex<Duration>,
}

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        let by = i64::try_from(self.by.lock().as_micros()).unwrap();
        Timestamp(self.system.now().0 + by)
    }

    fn elapsed(&self) -> Duration {
        self.system.elapsed() + *self.by.lock()
    }
}

#[derive(Debug)]
struct Echo(Identity);

impl Processor for Echo {
    fn identity(&self) -> &Identity {
        &self.0
    }

    fn process(&self, batch: &[Record]) -> Vec<Result<Output, Fault>> {
        let one = |record: &Record| {
            Ok(Output {
                value: record.value.clone().unwrap_or_default(),
                content_type: "text/plain".to_owned(),
                nonfinite: false,
                took: Duration::ZERO,
                batch_size: None,
            })
        };
        batch.iter().map(one).collect()
    }
}

/// A stage from `in` to `out`; of `in` about a segment is kept.
struct World {
    _dir: tempfile::TempDir,
    clock: Arc<Ahead>,
    broker: Broker,
    stage: Stage,
}

fn topic(name: &str) -> TopicName {
    name.parse().unwrap()
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::<Ahead>::default();
        let options = Options {
            segment_bytes: SEGMENT_BYTES,
            retention_interval: Duration::from_millis(5),
            ..Options::default()
        };
        let broker = Broker::open_by(dir.path(), options, Arc::clone(&clock) as _).unwrap();
        let bounded =
            TopicSettings { retention_bytes: Some(SEGMENT_BYTES), ..TopicSettings::default() };
        broker.create_topic(&topic("in"), bounded).await.unwrap();
        broker.create_topic(&topic("out"), TopicSettings::default()).await.unwrap();
        let settings = StageSettings {
            instances: 1,
            ..StageSettings::new("s".parse().unwrap(), topic("in"), topic("out"))
        };
        let text = |text: &str| text.to_owned();
        let identity =
            Identity { name: text("m"), version: text("1"), digest: text("ab"), overrides: None };
        let stage = broker.start_stage(settings, Arc::new(Echo(identity))).await.unwrap();
        Self { _dir: dir, clock, broker, stage }
    }

    async fn append(&self, name: &str, record: Record) -> Offset {
        let commit = Commit::of_record(&topic(name), &record);
        self.broker.commit(commit).await.unwrap().appends[0].base_offset
    }

    /// A record of which somebody wants the answer.
    async fn call(&self, value: &str) -> RequestId {
        let record = Record::new(value.to_owned()).with_header(CALL_HEADER, "s");
        let offset = self.append("in", record).await;
        let stage = "s".parse().unwrap();
        self.broker.request_id(&topic("in"), &stage, PartitionId(0), offset).unwrap()
    }

    async fn at_once(&self, id: RequestId) -> Result<RequestState, RequestError> {
        Ok(self.broker.request(id, Duration::ZERO).await?.state)
    }

    async fn answer(&self, id: RequestId) -> String {
        match self.broker.request(id, WAIT).await.unwrap().state {
            RequestState::Succeeded(found) => {
                String::from_utf8(found.record.value.unwrap().to_vec()).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    fn partition(&self, name: &str) -> Arc<Partition> {
        Arc::clone(&self.broker.topic(&topic(name)).unwrap().partitions[0])
    }

    /// Fills the segment that a topic begins with, and so closes it.
    async fn fill(&self, name: &str) {
        for _ in 0..3 {
            self.append(name, Record::new(vec![0; LARGE_BYTES])).await;
        }
    }

    /// Appends until retention has removed what a topic began with.
    async fn lose_beginning(&self, name: &str) {
        let partition = self.partition(name);
        while partition.start() == Offset(0) {
            self.append(name, Record::new("x")).await;
        }
    }

    fn later(&self, by: Duration) {
        *self.clock.by.lock() += by;
    }

    async fn end(self) {
        self.stage.stop().await;
        self.broker.shutdown().await;
    }
}

/// Why a result is not to be had.
fn expired(asked: Result<RequestState, RequestError>) -> String {
    match asked {
        Err(error @ RequestError::Expired { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_record_that_was_removed_before_the_stage_came_to_it_is_expired() {
    let world = World::new().await;
    world.stage.pause();
    let id = world.call("a").await;
    assert_eq!(world.at_once(id).await.unwrap(), RequestState::Queued);
    // Whoever waits for it is told as well.
    let waiting = tokio::spawn({
        let broker = world.broker.clone();
        async move { broker.request(id, WAIT).await.map(|view| view.state) }
    });
    world.fill("in").await;
    world.lose_beginning("in").await;
    let removed = "what the request ended with is not kept any more: the record itself was removed";
    // The group may learn of it a moment later than readers do.
    let said = loop {
        match world.at_once(id).await {
            Ok(RequestState::Queued) => tokio::task::yield_now().await,
            said => break said,
        }
    };
    assert_eq!(expired(said), removed);
    assert_eq!(expired(waiting.await.unwrap()), removed);
    world.stage.resume();
    assert_eq!(expired(world.at_once(id).await), removed);
    world.end().await;
}

#[tokio::test]
async fn an_answer_is_found_when_its_record_was_removed() {
    let world = World::new().await;
    let id = world.call("a").await;
    assert_eq!(world.answer(id).await, "a");
    world.fill("in").await;
    world.lose_beginning("in").await;
    assert_eq!(world.answer(id).await, "a");
    world.end().await;
}

#[tokio::test]
async fn a_request_of_more_than_a_day_ago_is_expired_and_newer_ones_are_not() {
    let world = World::new().await;
    let old = world.call("old").await;
    assert_eq!(world.answer(old).await, "old");
    // Its pointer lies in a segment that is closed, so retention removes it when its time has come.
    world.fill(TOPIC).await;
    world.later(23 * HOUR);
    let young = world.call("young").await;
    assert_eq!(world.answer(young).await, "young");
    assert_eq!(world.answer(old).await, "old", "a day is not over");
    world.later(2 * HOUR);
    world.lose_beginning(TOPIC).await;
    let window =
        "what the request ended with is not kept any more: results can be found for 24 hours";
    assert_eq!(expired(world.at_once(old).await), window);
    assert_eq!(world.answer(young).await, "young");
    // The output itself is still there; its record is not, in the end.
    world.fill("in").await;
    world.lose_beginning("in").await;
    assert!(expired(world.at_once(old).await).ends_with("the record itself was removed"));
    world.end().await;
}

#[tokio::test]
async fn a_record_that_was_passed_over_a_day_ago_is_expired() {
    let world = World::new().await;
    world.stage.pause();
    let id = world.call("a").await;
    let stage = "s".parse().unwrap();
    world.broker.seek_group(&topic("in"), &stage, None, From::End, false).await.unwrap();
    assert_eq!(world.at_once(id).await.unwrap(), RequestState::PassedOver);
    world.later(25 * HOUR);
    let expired = expired(world.at_once(id).await);
    assert!(expired.ends_with("results can be found for 24 hours"), "{expired}");
    world.end().await;
}
