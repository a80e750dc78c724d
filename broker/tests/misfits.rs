//! Models and what does not fit them: payloads that a model cannot read, answers that are no numbers, and bundles that are not what they
//! say.
#![cfg(feature = "inference")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod archive;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use archive::archive;
use embermq::models::{ModelError, Models, OnnxLoader, Registered};
use embermq::{
    Batch, Broker, Commit, From, Offset, Options, PartitionId, ReadRecord, ReadRequest, Record,
    Roster, StageConfig, TopicName, TopicSettings,
};

struct World {
    dir: tempfile::TempDir,
    broker: Broker,
    models: Arc<Models>,
    stages: Roster,
}

fn topic(name: &str) -> TopicName {
    name.parse().unwrap()
}

impl World {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let broker = Broker::open(&data, Options::default()).unwrap();
        for name in ["in", "out"] {
            broker.create_topic(&topic(name), TopicSettings::default()).await.unwrap();
        }
        let loader = Arc::new(OnnxLoader::default());
        let models = Arc::new(Models::open(&broker, &data, loader).await.unwrap());
        let stages = Roster::open(&broker, Arc::clone(&models)).await.unwrap();
        Self { dir, broker, models, stages }
    }

    /// Registers the network of irises with another manifest and more files.
    async fn register(
        &self,
        version: &str,
        manifest: &str,
        files: &[(&str, &str)],
    ) -> Result<Registered, ModelError> {
        let model =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../inference/models/iris-mlp/model.onnx");
        let model = std::fs::read(model).unwrap();
        let mut all = vec![("model.onnx", &*model), ("model.toml", manifest.as_bytes())];
        all.extend(files.iter().map(|(name, content)| (*name, content.as_bytes())));
        let sent = self.dir.path().join("sent");
        std::fs::write(&sent, archive(all)).unwrap();
        let version = version.parse().unwrap();
        self.models.register(&"m".parse().unwrap(), &version, &sent, None).await
    }

    async fn attach(&self, version: &str) {
        let config = format!(r#"{{"input":"in","output":"out","model":"m@{version}"}}"#);
        let config: StageConfig = serde_json::from_str(&config).unwrap();
        self.stages.put(&"s".parse().unwrap(), config).await.unwrap();
    }

    async fn produce(&self, values: &[&str]) {
        let records: Vec<Record> =
            values.iter().map(|value| Record::new((*value).to_owned())).collect();
        let commit = Commit::of_batch(&topic("in"), PartitionId(0), Batch::of(&records));
        self.broker.commit(commit).await.unwrap();
    }

    async fn read(&self, name: &str, count: usize) -> Vec<ReadRecord> {
        let mut records: Vec<ReadRecord> = Vec::new();
        while records.len() < count {
            if self.broker.topic(&topic(name)).is_none() {
                tokio::task::yield_now().await;
                continue;
            }
            let from = From::Offset(Offset(records.len() as u64));
            let request = ReadRequest::new(&topic(name), from).waiting(Duration::from_secs(30));
            let read = self.broker.read(request).await.unwrap().records().unwrap();
            assert!(!read.is_empty(), "{name} has {} of {count}", records.len());
            records.extend(read);
        }
        records
    }
}

const PLAIN: &str = "[pre]\nkind = \"json\"\nfeatures = [\"a\", \"b\", \"c\", \"d\"]\n\
                     [post]\nkind = \"classes\"\noutput = \"probabilities\"\nactivation = \"none\"\n\
                     labels = [\"x\", \"y\", \"z\"]\n";

fn text(record: &ReadRecord, header: &str) -> String {
    String::from_utf8_lossy(record.record.header_value(header).unwrap_or_default()).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_that_a_model_cannot_read_are_dead_letters_at_once_and_say_why() {
    let world = World::open().await;
    world.register("1", PLAIN, &[]).await.unwrap();
    world.attach("1").await;
    let good = "[5.1, 3.5, 1.4, 0.2]";
    world.produce(&["a photo of a cat", good, "[1, 2]", r#"{"a": 1}"#, good]).await;
    let outputs = world.read("out", 2).await;
    let together: Vec<_> = outputs.iter().map(|output| text(output, "x-batch-size")).collect();
    assert_eq!(together, ["2", "2"], "what cannot be read is not run");
    let letters = world.read("in.s.dlq", 3).await;
    for (letter, expected) in letters.iter().zip(["expected value", "4", "\"b\""]) {
        let why = text(letter, "x-dead-error");
        assert!(why.starts_with("payload: ") && why.contains(expected), "{why}");
        assert_eq!(text(letter, "x-dead-attempts"), "1");
    }
    // What is committed is there a moment before it is counted.
    let name = "s".parse().unwrap();
    let status = loop {
        let status = world.stages.get(&name).unwrap().status.unwrap();
        if status.succeeded + status.rejected == 5 {
            break status;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((status.succeeded, status.rejected, status.failed), (2, 3, 0));
    world.stages.stop().await;
    let config = r#"{"input":"in","output":"out","model":"m@1","max_batch_size":1}"#;
    let late = world.stages.put(&name, serde_json::from_str(config).unwrap()).await;
    assert!(late.is_err(), "what was stopped starts nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_does_not_fit_its_model_is_not_registered() {
    let world = World::open().await;
    let photos = PLAIN.replace("kind = \"json\"", "kind = \"image\"\nresize = \"stretch\"");
    let labels = PLAIN.replace(", \"z\"", "");
    for (manifest, expected) in [(photos, "pre."), (labels, "there are 2 labels")] {
        match world.register("1", &manifest, &[]).await {
            Err(ModelError::Unusable { problems }) => {
                assert!(problems.iter().any(|problem| problem.contains(expected)), "{problems:?}");
                let told = problems.iter().all(|problem| !problem.contains(".draft"));
                assert!(told, "where it lies is nobody's business: {problems:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(world.models.registry().models().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_does_not_give_its_known_answers_is_not_registered() {
    let world = World::open().await;
    let golden = "[golden]\ninput = \"in.json\"\noutput = \"out.json\"\n";
    let manifest = format!("{PLAIN}{golden}");
    let input = ("in.json", "[5.1, 3.5, 1.4, 0.2]");
    let wrong = [input, ("out.json", r#"{"label": "y", "score": 0.9976}"#)];
    match world.register("1", &manifest, &wrong).await {
        Err(ModelError::Unusable { problems }) => {
            let expected =
                "golden: the answer to in.json is not out.json: /label is \"x\", known is \"y\"";
            assert_eq!(problems, [expected]);
        }
        other => panic!("{other:?}"),
    }
    let right = [input, ("out.json", r#"{"label": "x", "score": 0.9976}"#)];
    assert!(world.register("1", &manifest, &right).await.unwrap().created);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_no_answer_can_be_made_by_is_refused_with_its_key() {
    let world = World::open().await;
    let told = async |manifest: &str| match world.register("1", manifest, &[]).await {
        Err(ModelError::Unusable { problems }) => problems.join("\n"),
        other => panic!("{manifest}: {other:?}"),
    };
    let another = PLAIN.replace("probabilities", "label");
    let labels = "model.toml: post.labels: the output has 1 scores, there are 3 labels";
    assert_eq!(told(&another).await, labels);
    let (pre, _) = PLAIN.split_once("[post]").unwrap();
    for pooling in ["mean", "cls"] {
        let manifest = format!(
            "{pre}[post]\nkind = \"embedding\"\noutput = \"probabilities\"\npooling = \"{pooling}\"\n"
        );
        let problem = told(&manifest).await;
        assert!(problem.starts_with("model.toml: post.pooling: pooling takes"), "{problem}");
    }
    let problem = told(&format!("{PLAIN}[batch]\naxis = 1\n")).await;
    assert!(problem.contains("batch.axis: the output \"label\" has no axis 1"), "{problem}");
    world.register("1", PLAIN, &[]).await.unwrap();
}
