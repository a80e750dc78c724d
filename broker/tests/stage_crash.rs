//! A model that takes the whole process with it (a stack overflow, the OOM killer): the record that does it is a dead letter after its
//! attempts, and costs its neighbours none of theirs but the one they shared.
//!
//! The test starts itself again as the process that is to die.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use embermq::{
    Backoff, Batch, Broker, Commit, Fault, From, Identity, Options, Output, PartitionId, Processor,
    ReadRecord, ReadRequest, Record, StageSettings, TopicName, TopicSettings,
};

/// Where the process that is to die finds its data; set for it alone.
const DATA: &str = "EMBERMQ_TEST_CRASHING";
const RECORDS: usize = 24;
const CULPRITS: [usize; 2] = [5, 14];
const ATTEMPTS_MAX: u32 = 3;

#[derive(Debug)]
struct Fragile(Identity);

impl Processor for Fragile {
    fn identity(&self) -> &Identity {
        &self.0
    }

    fn process(&self, batch: &[Record]) -> Vec<Result<Output, Fault>> {
        let one = |record: &Record| {
            let value = record.value.clone().unwrap_or_default();
            if value.starts_with(b"culprit") {
                std::process::abort();
            }
            let content_type = "text/plain".to_owned();
            let took = Duration::ZERO;
            Ok(Output { value, content_type, nonfinite: false, took, batch_size: None })
        };
        batch.iter().map(one).collect()
    }
}

fn topic(name: &str) -> TopicName {
    name.parse().unwrap()
}

fn values(records: &[ReadRecord]) -> Vec<String> {
    let value = |read: &ReadRecord| read.record.value.clone().unwrap_or_default().to_vec();
    records.iter().map(|read| String::from_utf8(value(read)).unwrap()).collect()
}

async fn read(broker: &Broker, name: &str) -> Vec<ReadRecord> {
    if broker.topic(&topic(name)).is_none() {
        return Vec::new();
    }
    let request = ReadRequest::new(&topic(name), From::Start);
    broker.read(request).await.unwrap().records().unwrap()
}

/// Goes on with the stage until everything has ended; or dies of it.
async fn go_on(data: &Path) {
    let broker = Broker::open(data, Options::default()).unwrap();
    let settings = StageSettings {
        instances: 2,
        batch_size_max: 4,
        attempts_max: ATTEMPTS_MAX,
        backoff: Backoff { initial: Duration::from_millis(1), ..Backoff::default() },
        // Leases last twice as long: nobody waits for them.
        timeout: Duration::from_secs(3_600),
        ..StageSettings::new("s".parse().unwrap(), topic("in"), topic("out"))
    };
    let text = |text: &str| text.to_owned();
    let identity =
        Identity { name: text("m"), version: text("1"), digest: text("00"), overrides: None };
    let stage = broker.start_stage(settings, Arc::new(Fragile(identity))).await.unwrap();
    while read(&broker, "out").await.len() + read(&broker, "in.s.dlq").await.len() < RECORDS {
        tokio::task::yield_now().await;
    }
    stage.stop().await;
    broker.shutdown().await;
}

#[test]
fn a_record_that_ends_the_process_is_a_dead_letter_and_its_neighbours_are_not() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let Some(data) = std::env::var_os(DATA) {
        runtime.block_on(go_on(Path::new(&data)));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    runtime.block_on(async {
        let broker = Broker::open(&data, Options::default()).unwrap();
        for name in ["in", "out"] {
            broker.create_topic(&topic(name), TopicSettings::default()).await.unwrap();
        }
        let value = |number: usize| match CULPRITS.contains(&number) {
            true => format!("culprit {number}"),
            false => format!("{number}"),
        };
        let records: Vec<Record> = (0..RECORDS).map(|number| Record::new(value(number))).collect();
        let commit = Commit::of_batch(&topic("in"), PartitionId(0), Batch::of(&records));
        broker.commit(commit).await.unwrap();
        broker.shutdown().await;
    });
    let mut crashes = 0;
    loop {
        let this = std::env::current_exe().unwrap();
        let mut child = Command::new(this);
        child.args([
            "--exact",
            "a_record_that_ends_the_process_is_a_dead_letter_and_its_neighbours_are_not",
        ]);
        let ended = child.env(DATA, &data).output().unwrap();
        if ended.status.success() {
            break;
        }
        crashes += 1;
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(crashes <= CULPRITS.len() * ATTEMPTS_MAX as usize, "crashes for ever: {said}");
    }
    runtime.block_on(async {
        let broker = Broker::open(&data, Options::default()).unwrap();
        let innocent = (0..RECORDS).filter(|number| !CULPRITS.contains(number));
        let innocent: Vec<String> = innocent.map(|number| number.to_string()).collect();
        assert_eq!(values(&read(&broker, "out").await), innocent, "all of them, in order");
        let letters = read(&broker, "in.s.dlq").await;
        assert_eq!(values(&letters), CULPRITS.map(|number| format!("culprit {number}")));
        for letter in &letters {
            let header = |name| letter.record.header_value(name).unwrap_or_default().to_vec();
            let header = |name| String::from_utf8(header(name)).unwrap();
            assert_eq!(header("x-dead-attempts"), ATTEMPTS_MAX.to_string());
            assert!(header("x-dead-error").contains("the process ended"), "{letter:?}");
        }
        broker.shutdown().await;
    });
    assert!(crashes >= ATTEMPTS_MAX as usize);
}
