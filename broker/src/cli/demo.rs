//! `embermq dev --demo`: a model that comes with the program, attached to a topic, and photos through it.

use std::time::Duration;

use embermq_inference::shipped::{self, Shipped};
use serde_json::Value;

use super::{Console, Failure};
use crate::http::Serving;
use crate::models::{ModelError, ModelName};
use crate::stage::{input_text, is_output_of};
use crate::{
    Batch, Broker, Commit, From, GroupName, Offset, PartitionId, ReadRequest, Record, StageConfig,
    TopicName, TopicSettings,
};

const PHOTOS: &str = "photos";
const LABELS: &str = "photos.labels";
const STAGE: &str = "classify";
const FILES: &str = "files";
const KINDS: &str = "files.kinds";

/// How long the answers may take: a debug build on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Attaches the shipped models, sends the photos through, and shows what came of them.
pub(super) async fn run(
    broker: &Broker,
    serving: &Serving,
    url: &str,
    console: &mut Console,
) -> Result<(), Failure> {
    let failed = |error: String| Failure::unavailable(format!("the demo: {error}"));
    for topic in [PHOTOS, LABELS, FILES, KINDS] {
        let name: TopicName = topic.parse().map_err(|_| failed(topic.to_owned()))?;
        broker
            .create_topic(&name, TopicSettings::default())
            .await
            .map_err(|error| failed(error.to_string()))?;
    }
    for model in shipped::MODELS {
        register(serving, model).await.map_err(failed)?;
    }
    attach(serving, STAGE, PHOTOS, LABELS, "efficientnet-lite0").await.map_err(failed)?;
    attach(serving, "identify", FILES, KINDS, "magika").await.map_err(failed)?;
    let answers = classify(broker).await.map_err(failed)?;
    console.line("\nDemo: topic photos -> efficientnet-lite0 -> topic photos.labels")?;
    console.line(format!("  {:<18} {:<24} {:>11} {:>6}", "photo", "label", "probability", "ms"))?;
    for answer in answers {
        let Answered { photo, label, probability, millis } = answer;
        console.line(format!("  {photo:<18} {label:<24} {probability:>11.3} {millis:>6.0}"))?;
    }
    console.line(format!(
        "\nSend your own:\n  \
         curl {url}/v1/topics/photos/records -H 'Content-Type: image/jpeg' --data-binary @photo.jpg\n  \
         curl '{url}/v1/topics/photos.labels/records?offset=0&wait=10s'\n  \
         curl {url}/v1/topics/files/records -H 'Content-Type: application/octet-stream' --data-binary @any-file\n  \
         curl '{url}/v1/topics/files.kinds/records?offset=0&wait=10s'\n\n\
         What the model cannot read ends in the topic photos.classify.dlq."
    ))?;
    console.flush()?;
    Ok(())
}

/// A photo with what the model says.
struct Answered {
    photo: String,
    label: String,
    probability: f64,
    millis: f64,
}

async fn register(serving: &Serving, model: &Shipped) -> Result<(), String> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in model.files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, *content).map_err(|error| error.to_string())?;
    }
    let archive = archive.into_inner().map_err(|error| error.to_string())?;
    let name: ModelName = model.name.parse().map_err(|error| format!("{error}"))?;
    let version = "1".parse().map_err(|error| format!("{error}"))?;
    let sent = serving.models.upload().map_err(|error| error.to_string())?;
    std::fs::write(sent.path(), archive).map_err(|error| error.to_string())?;
    match serving.models.register(&name, &version, sent.path(), None).await {
        // In a folder of an earlier program is that program's, which does as well.
        Ok(_) | Err(ModelError::VersionExists { .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

async fn attach(
    serving: &Serving,
    stage: &str,
    input: &str,
    output: &str,
    model: &str,
) -> Result<(), String> {
    let name: GroupName = stage.parse().map_err(|error| format!("{error}"))?;
    let config = serde_json::json!({
        "input": input, "output": output, "model": model, "max_attempts": 3,
    });
    let config: StageConfig = serde_json::from_value(config).map_err(|error| error.to_string())?;
    serving.stages.put(&name, config).await.map(|_| ()).map_err(|error| error.to_string())
}

/// Sends the photos and waits for their labels. Other records of the topic may be answered meanwhile: a label is that of the photo which it names.
async fn classify(broker: &Broker) -> Result<Vec<Answered>, String> {
    let topic = |name: &str| name.parse::<TopicName>().map_err(|error| error.to_string());
    let (photos, labels) = (topic(PHOTOS)?, topic(LABELS)?);
    let from = end_of(broker, &labels);
    let mut places = Vec::new();
    for (name, media_type, bytes) in shipped::PHOTOS {
        let record = Record::new(*bytes)
            .with_key(*name)
            .with_header("content-type", *media_type)
            .with_header("x-file-name", *name);
        let commit = Commit::of_batch(&photos, PartitionId(0), Batch::of(&[record]));
        let committed = broker.commit(commit).await.map_err(|error| error.to_string())?;
        let appended = committed.appends.first().ok_or("a photo was not appended")?;
        places.push(input_text(&photos, appended.partition, appended.base_offset));
    }
    let answers = async {
        let mut answers: Vec<Option<Answered>> = places.iter().map(|_| None).collect();
        let mut next = from;
        while answers.iter().any(Option::is_none) {
            let request = ReadRequest::new(&labels, From::Offset(next)).waiting(PATIENCE);
            let read = broker.read(request).await.map_err(|error| error.to_string())?;
            for read in read.records().map_err(|error| error.to_string())? {
                next = Offset(read.offset.0 + 1);
                let is_of = |place: &String| is_output_of(&read.record, STAGE, place);
                if let Some(at) = places.iter().position(is_of) {
                    answers[at] = Some(answered(shipped::PHOTOS[at].0, &read.record));
                }
            }
        }
        Ok(answers.into_iter().flatten().collect())
    };
    let late =
        || Err("the labels did not come; see the log and the topic photos.classify.dlq".to_owned());
    tokio::time::timeout(PATIENCE, answers).await.unwrap_or_else(|_| late())
}

fn end_of(broker: &Broker, topic: &TopicName) -> Offset {
    let known = broker.topic(topic);
    known.and_then(|known| known.partitions.first().map(|one| one.reader.end())).unwrap_or_default()
}

fn answered(photo: &str, record: &Record) -> Answered {
    let value = record.value.as_deref().unwrap_or_default();
    let answer: Value = serde_json::from_slice(value).unwrap_or_default();
    let millis = record.header_value("x-millis").and_then(|text| std::str::from_utf8(text).ok());
    Answered {
        photo: photo.to_owned(),
        label: answer["label"].as_str().unwrap_or("?").to_owned(),
        probability: answer["score"].as_f64().unwrap_or_default(),
        millis: millis.and_then(|text| text.parse().ok()).unwrap_or_default(),
    }
}
