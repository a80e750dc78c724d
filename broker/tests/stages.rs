//! Stages in a broker without a server: what runs inside it over the records of a topic.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering as Atomic};
use std::time::Duration;

use embermq::{
    Backoff, Broker, Commit, CommitError, Fault, From, GroupName, Identity, Options, Output,
    Processor, ReadRecord, ReadRequest, Record, Stage, StageSettings, StageState, TopicName,
    TopicSettings,
};

/// Answers with the value in capitals. `bad` is refused for good, `weak` for now, `panic` panics, `hang` never returns.
#[derive(Debug)]
struct Capitals {
    identity: Identity,
    calls: AtomicUsize,
}

impl Capitals {
    fn version(version: &str) -> Arc<Self> {
        let text = |text: &str| text.to_owned();
        let identity = Identity {
            name: text("capitals"),
            version: text(version),
            digest: "ab".repeat(32),
            overrides: None,
        };
        Arc::new(Self { identity, calls: AtomicUsize::new(0) })
    }
}

impl Processor for Capitals {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn process(&self, batch: &[Record]) -> Vec<Result<Output, Fault>> {
        self.calls.fetch_add(1, Atomic::Relaxed);
        let one = |record: &Record| {
            let text = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default());
            let fault = |retryable, code: &str| {
                Err(Fault { retryable, code: code.to_owned(), message: "as asked".to_owned() })
            };
            match &*text {
                "bad" => fault(false, "decode"),
                "weak" => fault(true, "device"),
                "panic" => panic!("as asked"),
                "hang" => loop {
                    std::thread::park();
                },
                text => Ok(Output {
                    value: text.to_uppercase().into(),
                    content_type: "text/plain".to_owned(),
                    nonfinite: text == "nan",
                    took: Duration::ZERO,
                    batch_size: None,
                }),
            }
        };
        batch.iter().map(one).collect()
    }
}

struct World {
    _dir: tempfile::TempDir,
    broker: Broker,
}

fn topic(name: &str) -> TopicName {
    name.parse().unwrap()
}

impl World {
    async fn with_partitions(partitions: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::open(dir.path(), Options::default()).unwrap();
        for name in ["in", "out"] {
            let settings = TopicSettings { partitions, ..TopicSettings::default() };
            broker.create_topic(&topic(name), settings).await.unwrap();
        }
        Self { _dir: dir, broker }
    }

    fn settings() -> StageSettings {
        let name: GroupName = "shout".parse().unwrap();
        let backoff = Backoff {
            initial: Duration::from_millis(1),
            max: Duration::from_millis(1),
            ..Backoff::default()
        };
        StageSettings {
            instances: 2,
            attempts_max: 3,
            backoff,
            ..StageSettings::new(name, topic("in"), topic("out"))
        }
    }

    async fn start(&self, settings: StageSettings) -> Stage {
        self.broker.start_stage(settings, Capitals::version("1")).await.unwrap()
    }

    async fn produce(&self, values: &[&str]) {
        let topic_in = self.broker.topic(&topic("in")).unwrap();
        for value in values {
            let record = Record::new(value.to_string()).with_key(format!("key-{value}"));
            let partition = self.broker.partition_for(&topic_in, record.key.as_deref());
            let batch = embermq::Batch::of(&[record]);
            let commit = Commit::of_batch(&topic("in"), partition, batch);
            self.broker.commit(commit).await.unwrap();
        }
    }

    /// The first `count` records of a partition, waiting for them.
    async fn read(&self, name: &str, partition: u32, count: usize) -> Vec<ReadRecord> {
        let mut records: Vec<ReadRecord> = Vec::new();
        while records.len() < count {
            if self.broker.topic(&topic(name)).is_none() {
                // A dead-letter topic is made when it is first needed.
                tokio::task::yield_now().await;
                continue;
            }
            let from = From::Offset(embermq::Offset(records.len() as u64));
            let request = ReadRequest::new(&topic(name), from)
                .of_partition(embermq::PartitionId(partition))
                .waiting(Duration::from_secs(30));
            let read = self.broker.read(request).await.unwrap().records().unwrap();
            assert!(!read.is_empty(), "{name}/{partition} has {} of {count}", records.len());
            records.extend(read);
        }
        records
    }
}

fn texts(records: &[ReadRecord]) -> Vec<String> {
    let text =
        |r: &ReadRecord| String::from_utf8(r.record.value.clone().unwrap().to_vec()).unwrap();
    records.iter().map(text).collect()
}

fn header(record: &ReadRecord, name: &str) -> String {
    String::from_utf8(record.record.header_value(name).unwrap_or_default().to_vec()).unwrap()
}

#[tokio::test]
async fn each_record_becomes_one_output_that_says_what_made_it() {
    let world = World::with_partitions(1).await;
    let stage = world.start(World::settings()).await;
    world.produce(&["a", "b"]).await;
    let outputs = world.read("out", 0, 2).await;
    assert_eq!(texts(&outputs), ["A", "B"]);
    let first = &outputs[0];
    assert_eq!(first.record.key.as_deref(), Some(&b"key-a"[..]));
    assert_eq!(header(first, "content-type"), "text/plain");
    assert_eq!(header(first, "x-model"), "capitals@1");
    assert_eq!(header(first, "x-stage"), "shout");
    assert_eq!(header(first, "x-input"), "in/0/0");
    let input = world.broker.topic(&topic("in")).unwrap().id.0;
    let id = format!("in/0/0/{input}/shout/{}", "ab".repeat(8));
    assert_eq!(header(first, "x-output-id"), id);
    assert_eq!(header(first, "x-attempt"), "1");
    stage.stop().await;
    let group = world.broker.group(&topic("in"), &"shout".parse().unwrap()).await.unwrap();
    assert_eq!((group.lag_records, group.in_flight), (0, 0));
}

#[tokio::test]
async fn a_tombstone_is_one_of_the_output_too_in_its_place() {
    let world = World::with_partitions(1).await;
    let records = [
        Record::new("a").with_key("k"),
        Record::tombstone("k").with_header("x-note", "gone"),
        Record::new("b").with_key("k"),
        Record::tombstone("k"),
    ];
    let commit =
        Commit::of_batch(&topic("in"), embermq::PartitionId(0), embermq::Batch::of(&records));
    world.broker.commit(commit).await.unwrap();
    let stage = world.start(World::settings()).await;
    let outputs = world.read("out", 0, 4).await;
    let values: Vec<_> = outputs.iter().map(|output| output.record.value.as_deref()).collect();
    assert_eq!(values, [Some(&b"A"[..]), None, Some(&b"B"[..]), None]);
    assert!(outputs.iter().all(|output| output.record.key.as_deref() == Some(&b"k"[..])));
    assert_eq!(header(&outputs[1], "x-input"), "in/0/1");
    assert_eq!(header(&outputs[1], "x-stage"), "shout");
    assert_eq!(header(&outputs[1], "x-batch-size"), "0");
    assert_eq!(header(&outputs[1], "x-note"), "");
    let status = stage.stop().await;
    assert_eq!((status.succeeded, status.dead), (4, 0));
}

#[tokio::test]
async fn records_of_a_topic_that_was_made_again_have_outputs_of_their_own() {
    let world = World::with_partitions(1).await;
    for (round, text) in ["a", "b"].into_iter().enumerate() {
        let stage = world.start(World::settings()).await;
        world.produce(&[text]).await;
        world.read("out", 0, round + 1).await;
        stage.stop().await;
        world.broker.delete_topic(&topic("in")).await.unwrap();
        world.broker.create_topic(&topic("in"), TopicSettings::default()).await.unwrap();
    }
    let outputs = world.read("out", 0, 2).await;
    assert_eq!(texts(&outputs), ["A", "B"]);
    let ids = [0, 1].map(|at| header(&outputs[at], "x-output-id"));
    assert_ne!(ids[0], ids[1]);
    let inputs = [0, 1].map(|at| header(&outputs[at], "x-input"));
    assert_eq!(inputs, ["in/0/0", "in/0/0"]);
}

#[tokio::test]
async fn outputs_keep_the_order_of_each_partition() {
    let world = World::with_partitions(3).await;
    let settings = StageSettings { instances: 3, batch_size_max: 2, ..World::settings() };
    let stage = world.start(settings).await;
    let values: Vec<String> = (0..200).map(|number| format!("n{number}")).collect();
    world.produce(&values.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut seen = 0;
    for partition in 0..3 {
        let source = world.broker.topic(&topic("in")).unwrap();
        let count = source.partitions[partition as usize].reader.end().0;
        let inputs = world.read("in", partition, usize::try_from(count).unwrap()).await;
        let outputs = world.read("out", partition, inputs.len()).await;
        let upper: Vec<String> = texts(&inputs).iter().map(|text| text.to_uppercase()).collect();
        assert_eq!(texts(&outputs), upper);
        seen += outputs.len();
    }
    assert_eq!(seen, 200);
    stage.stop().await;
}

#[tokio::test]
async fn what_cannot_succeed_is_a_dead_letter_and_its_neighbours_go_on() {
    let world = World::with_partitions(1).await;
    let stage = world.start(World::settings()).await;
    world.produce(&["a", "bad", "b", "weak", "panic", "nan", "c"]).await;
    let outputs = world.read("out", 0, 3).await;
    assert_eq!(texts(&outputs), ["A", "B", "C"]);
    let letters = world.read("in.shout.dlq", 0, 4).await;
    let mut seen: Vec<(String, String, String)> = letters
        .iter()
        .map(|letter| {
            let value = texts(std::slice::from_ref(letter)).remove(0);
            (value, header(letter, "x-dead-attempts"), header(letter, "x-dead-error"))
        })
        .collect();
    seen.sort();
    let nonfinite = "nonfinite: the model's answer has numbers that are none (NaN or infinity)";
    let expected = [
        ("bad", "1", "decode: as asked"),
        ("nan", "1", nonfinite),
        ("panic", "3", "panic: the model panicked: as asked"),
        ("weak", "3", "device: as asked"),
    ];
    let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
    assert_eq!(seen, expected);
    let status = stage.stop().await;
    assert_eq!((status.succeeded, status.rejected, status.failed), (3, 2, 6));
}

/// Its lengths are asked for outside the threads of the model: `trap` beside another record panics there.
#[derive(Debug)]
struct Measured(Arc<Capitals>);

impl Processor for Measured {
    fn identity(&self) -> &Identity {
        self.0.identity()
    }

    fn length(&self) -> Option<fn(&Record) -> usize> {
        Some(|record| {
            assert_ne!(record.value.as_deref(), Some(&b"trap"[..]), "it cannot be measured");
            1
        })
    }

    fn process(&self, batch: &[Record]) -> Vec<Result<Output, Fault>> {
        self.0.process(batch)
    }
}

#[tokio::test]
async fn a_stage_that_panics_beside_its_model_begins_anew_and_parts_what_it_held() {
    let world = World::with_partitions(1).await;
    let processor = Arc::new(Measured(Capitals::version("1")));
    let stage = world.broker.start_stage(World::settings(), processor).await.unwrap();
    stage.pause();
    while !stage.status().at_rest {
        tokio::task::yield_now().await;
    }
    world.produce(&["a", "trap", "b"]).await;
    stage.resume();
    let outputs = world.read("out", 0, 3).await;
    let mut texts = texts(&outputs);
    texts.sort();
    assert_eq!(texts, ["A", "B", "TRAP"]);
    let attempts: Vec<String> = outputs.iter().map(|output| header(output, "x-attempt")).collect();
    assert_eq!(attempts, ["2", "2", "2"], "the first was counted");
    let status = stage.stop().await;
    assert!(status.at_rest && status.succeeded == 3, "{status:?}");
}

#[tokio::test]
async fn what_a_stage_could_not_commit_when_it_was_stopped_counts_no_attempt() {
    let world = World::with_partitions(1).await;
    let stage = world.start(World::settings()).await;
    world.broker.delete_topic(&topic("out")).await.unwrap();
    world.produce(&["a"]).await;
    while !matches!(stage.status().state, StageState::Waiting { .. }) {
        tokio::task::yield_now().await;
    }
    stage.stop().await;
    world.broker.create_topic(&topic("out"), TopicSettings::default()).await.unwrap();
    let stage = world.start(World::settings()).await;
    let outputs = world.read("out", 0, 1).await;
    assert_eq!((texts(&outputs), header(&outputs[0], "x-attempt")), (vec!["A".into()], "1".into()));
    stage.stop().await;
}

#[tokio::test]
async fn an_output_over_the_limit_of_its_topic_is_a_dead_letter_that_says_so() {
    let world = World::with_partitions(1).await;
    let small = TopicSettings { record_bytes_max: 400, ..TopicSettings::default() };
    world.broker.create_topic(&topic("small"), small).await.unwrap();
    let settings = StageSettings { output: topic("small"), ..World::settings() };
    let stage = world.start(settings).await;
    world.produce(&["a", &"b".repeat(400), "c"]).await;
    let outputs = world.read("small", 0, 2).await;
    assert_eq!(texts(&outputs), ["A", "C"]);
    let letters = world.read("in.shout.dlq", 0, 1).await;
    assert_eq!(texts(&letters), ["b".repeat(400)]);
    let why = header(&letters[0], "x-dead-error");
    assert!(why.starts_with("too_large: ") && why.contains("small takes 400 a record"), "{why}");
    assert_eq!(header(&letters[0], "x-dead-attempts"), "1");
    let status = stage.stop().await;
    assert_eq!((status.succeeded, status.rejected), (2, 1));
}

#[tokio::test]
async fn a_model_that_hangs_is_given_up_and_the_stage_goes_on() {
    let world = World::with_partitions(1).await;
    let settings = StageSettings {
        timeout: Duration::from_millis(50),
        attempts_max: 1,
        instances: 1,
        ..World::settings()
    };
    let stage = world.start(settings).await;
    world.produce(&["a", "hang", "b"]).await;
    let outputs = world.read("out", 0, 2).await;
    assert_eq!(texts(&outputs), ["A", "B"]);
    let letters = world.read("in.shout.dlq", 0, 1).await;
    assert_eq!(texts(&letters), ["hang"]);
    assert!(header(&letters[0], "x-dead-error").starts_with("timeout: "), "{letters:?}");
    assert!(stage.status().threads_lost >= 1);
    stage.stop().await;
}

#[tokio::test]
async fn a_record_that_hangs_is_a_dead_letter_after_its_attempts_and_its_neighbours_and_other_stages_go_on()
 {
    let world = World::with_partitions(1).await;
    let settings = StageSettings {
        timeout: Duration::from_millis(400),
        instances: 1,
        attempts_max: 5,
        ..World::settings()
    };
    let neighbour = StageSettings {
        name: "whisper".parse().unwrap(),
        output: topic("other"),
        filter: Some("kind != \"hang\"".to_owned()),
        ..World::settings()
    };
    world.broker.create_topic(&topic("other"), TopicSettings::default()).await.unwrap();
    let stage = world.start(settings).await;
    let neighbour = world.start(neighbour).await;
    let record = |value: &str| {
        Record::new(value.to_owned()).with_header("kind", if value == "hang" { "hang" } else { "" })
    };
    let values = ["a", "b", "hang", "c", "d", "e", "f", "g", "h"];
    let batch = embermq::Batch::of(&values.map(record));
    let commit = Commit::of_batch(&topic("in"), embermq::PartitionId(0), batch);
    world.broker.commit(commit).await.unwrap();

    let fine = ["A", "B", "C", "D", "E", "F", "G", "H"];
    assert_eq!(texts(&world.read("other", 0, 8).await), fine);
    assert_eq!(texts(&world.read("out", 0, 8).await), fine);
    let letters = world.read("in.shout.dlq", 0, 1).await;
    assert_eq!(texts(&letters), ["hang"]);
    assert_eq!(header(&letters[0], "x-dead-attempts"), "5");
    world.produce(&["i"]).await;
    assert_eq!(texts(&world.read("out", 0, 9).await)[8], "I", "the stage goes on");
    let status = stage.stop().await;
    // One for each attempt, and one for each batch that it was in: the first, and perhaps one with the last record.
    assert!((6..=7).contains(&status.threads_lost), "{status:?}");
    assert_eq!((status.succeeded, status.failed), (9, 5));
    neighbour.stop().await;
}

#[tokio::test]
async fn a_stage_whose_threads_are_all_lost_says_so_and_loses_nothing() {
    let world = World::with_partitions(1).await;
    let settings = StageSettings {
        timeout: Duration::from_millis(5),
        instances: 1,
        batch_size_max: 1,
        attempts_max: 1,
        ..World::settings()
    };
    let stage = world.start(settings.clone()).await;
    let hang: Vec<&str> = std::iter::repeat_n("hang", 17).collect();
    world.produce(&hang).await;
    world.produce(&["a"]).await;
    world.read("in.shout.dlq", 0, 17).await;
    let reason = loop {
        match stage.status().state {
            StageState::Waiting { reason } => break reason,
            _ => tokio::task::yield_now().await,
        }
    };
    assert!(reason.contains("never returned"), "{reason}");
    assert_eq!(world.read("out", 0, 0).await.len(), 0);
    stage.stop().await;
    let patient = StageSettings { timeout: Duration::from_secs(60), ..settings };
    let again = world.start(patient).await;
    assert_eq!(texts(&world.read("out", 0, 1).await), ["A"], "what was not tried is tried now");
    again.stop().await;
}

#[tokio::test]
async fn a_record_waits_for_its_batch_to_fill_and_not_for_ever() {
    let world = World::with_partitions(1).await;
    let settings = |delay| StageSettings {
        batch_size_max: 3,
        instances: 1,
        queue_delay_max: delay,
        ..World::settings()
    };
    let stage = world.start(settings(Duration::from_secs(60))).await;
    // One by one, each in a commit of its own: the first two wait for the third.
    world.produce(&["a", "b", "c", "d", "e", "f"]).await;
    let outputs = world.read("out", 0, 6).await;
    assert_eq!(texts(&outputs), ["A", "B", "C", "D", "E", "F"]);
    assert!(outputs.iter().all(|output| header(output, "x-batch-size") == "3"), "{outputs:?}");
    assert_eq!(stage.stop().await.batches, 2);
    let stage = world.start(settings(Duration::from_millis(20))).await;
    world.produce(&["g"]).await;
    assert_eq!(texts(&world.read("out", 0, 7).await)[6], "G", "alone, in the end");
    stage.stop().await;
}

#[tokio::test]
async fn an_output_says_how_many_records_ran_together() {
    let world = World::with_partitions(1).await;
    let stage = async |batch_size_max, instances| {
        let settings = StageSettings { batch_size_max, instances, ..World::settings() };
        world.start(settings).await
    };
    let sizes = async |from: usize, to: usize| {
        let outputs = world.read("out", 0, to).await;
        let sizes = outputs[from..].iter().map(|output| header(output, "x-batch-size"));
        sizes.collect::<Vec<_>>()
    };
    // One commit of seven, made by calls of two.
    world.produce(&["a", "b", "c", "d", "e", "f", "g"]).await;
    let calls_of_two = stage(2, 4).await;
    assert_eq!(sizes(0, 7).await, ["2", "2", "2", "2", "2", "2", "1"]);
    assert_eq!(calls_of_two.stop().await.batches, 1);
    // One call of four that fails, and is halved until only the culprit does.
    world.produce(&["h", "i", "panic", "j"]).await;
    let halved = stage(4, 1).await;
    assert_eq!(sizes(7, 10).await, ["2", "2", "1"]);
    halved.stop().await;
}

#[tokio::test]
async fn a_stage_that_is_paused_leases_nothing_and_one_that_is_resumed_goes_on() {
    let world = World::with_partitions(1).await;
    let stage = world.start(World::settings()).await;
    world.produce(&["a"]).await;
    world.read("out", 0, 1).await;
    stage.pause();
    assert_eq!(stage.status().state, StageState::Paused);
    world.produce(&["b"]).await;
    stage.resume();
    assert_eq!(texts(&world.read("out", 0, 2).await), ["A", "B"]);
    stage.stop().await;
}

/// Says when a batch has begun, and ends it when it is told to.
#[derive(Debug)]
struct Gate {
    capitals: Arc<Capitals>,
    begun: tokio::sync::mpsc::UnboundedSender<()>,
    end: parking_lot::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Processor for Gate {
    fn identity(&self) -> &Identity {
        self.capitals.identity()
    }

    fn process(&self, batch: &[Record]) -> Vec<Result<Output, Fault>> {
        self.begun.send(()).unwrap();
        self.end.lock().recv().unwrap();
        self.capitals.process(batch)
    }
}

#[tokio::test]
async fn a_stage_that_is_paused_is_at_rest_once_what_it_had_begun_is_committed() {
    let world = World::with_partitions(1).await;
    let (begun, mut has_begun) = tokio::sync::mpsc::unbounded_channel();
    let (tell, end) = std::sync::mpsc::channel();
    let gate = Gate { capitals: Capitals::version("1"), begun, end: end.into() };
    let stage = world.broker.start_stage(World::settings(), Arc::new(gate)).await.unwrap();
    world.produce(&["a"]).await;
    has_begun.recv().await.unwrap();
    stage.pause();
    let status = stage.status();
    assert_eq!((status.state, status.at_rest), (StageState::Paused, false));
    tell.send(()).unwrap();
    while !stage.status().at_rest {
        tokio::task::yield_now().await;
    }
    assert_eq!(stage.status().succeeded, 1);
    world.produce(&["b"]).await;
    stage.resume();
    assert!(!stage.status().at_rest);
    has_begun.recv().await.unwrap();
    tell.send(()).unwrap();
    assert_eq!(texts(&world.read("out", 0, 2).await), ["A", "B"]);
    assert!(stage.stop().await.at_rest);
}

#[tokio::test]
async fn a_hundred_swaps_under_load_lose_double_and_reorder_nothing() {
    let world = World::with_partitions(1).await;
    let stage = world.start(StageSettings { batch_size_max: 3, ..World::settings() }).await;
    let values: Vec<String> = (0..300).map(|number| format!("n{number}")).collect();
    for (number, some) in values.chunks(3).enumerate() {
        world.produce(&some.iter().map(String::as_str).collect::<Vec<_>>()).await;
        stage.swap(Capitals::version(&number.to_string()));
    }
    let outputs = world.read("out", 0, 300).await;
    let upper: Vec<String> = values.iter().map(|text| text.to_uppercase()).collect();
    assert_eq!(texts(&outputs), upper);
    let versions = outputs.iter().map(|output| header(output, "x-model"));
    let mut versions: Vec<String> = versions.collect();
    versions.dedup();
    assert!(versions.len() > 1, "one model made them all: {versions:?}");
    assert!(versions.iter().all(|version| version.starts_with("capitals@")));
    stage.stop().await;
}

#[tokio::test]
async fn what_is_no_stage_is_refused_with_the_reason() {
    let world = World::with_partitions(1).await;
    let refused = async |settings: StageSettings| {
        world.broker.start_stage(settings, Capitals::version("1")).await.unwrap_err()
    };
    let error = refused(StageSettings { output: topic("in"), ..World::settings() }).await;
    assert!(error.to_string().contains("would read what it writes"), "{error}");
    let error = refused(StageSettings { output: topic("nowhere"), ..World::settings() }).await;
    assert!(matches!(error, CommitError::TopicNotFound { .. }), "{error}");
    let error = refused(StageSettings { batch_size_max: 0, ..World::settings() }).await;
    assert!(error.to_string().contains("batch_size_max is 0"), "{error}");
}

#[tokio::test]
async fn a_stage_goes_on_where_another_process_left_off() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3_u64 {
        let broker = Broker::open(dir.path(), Options::default()).unwrap();
        let world = World { _dir: tempfile::tempdir().unwrap(), broker };
        for name in ["in", "out"] {
            let settings = TopicSettings::default();
            world.broker.create_topic(&topic(name), settings).await.unwrap();
        }
        let stage = world.start(World::settings()).await;
        world.produce(&[&*format!("r{round}")]).await;
        let outputs = world.read("out", 0, usize::try_from(round).unwrap() + 1).await;
        assert_eq!(outputs.len() as u64, round + 1);
        stage.stop().await;
        world.broker.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_deleted_under_a_stage_is_made_again_as_the_stage_wants_it() {
    let world = World::with_partitions(1).await;
    let settings = World::settings();
    let group = settings.name.clone();
    let stage = world.start(settings).await;
    world.produce(&["a"]).await;
    assert_eq!(texts(&world.read("out", 0, 1).await), ["A"]);
    let before = world.broker.group(&topic("in"), &group).await.unwrap().settings;
    world.broker.delete_group(&topic("in"), &group).await.unwrap();
    world.produce(&["b"]).await;
    // A new group begins at the start.
    assert_eq!(texts(&world.read("out", 0, 3).await), ["A", "A", "B"]);
    let after = world.broker.group(&topic("in"), &group).await.unwrap().settings;
    assert_eq!((after.ordering, after.lease), (before.ordering, before.lease));
    assert_eq!(after.attempts_max, before.attempts_max);
    stage.stop().await;
}
