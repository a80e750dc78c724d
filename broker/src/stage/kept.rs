//! What the topic of stages holds: configurations, and takeovers.
//!
//! - key `{stage}`: its configuration; a tombstone ends it.
//! - key `{stage}/{partition}/{offset}`: from this record on another model answers. Each has a key of its own, so compaction keeps them
//!   all: which model was the first to try a record can be told for ever.
//! - key `{stage}/group/{input}`: the group that it has left there.

use std::collections::BTreeMap;

use embermq_protocol::names::GroupName;
use embermq_storage::Offset;
use serde::{Deserialize, Serialize};

use super::config::StageConfig;
use super::processor::Identity;
use super::settings::StageSettings;
use super::takeover::Takeover;
use crate::consume::LeftGroups;
use crate::record::Record;
use crate::topic::PartitionId;

/// A takeover as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Noted {
    event: String,
    stage: String,
    /// The input topic.
    pub(super) input: String,
    partition: u32,
    offset: u64,
    model: String,
    version: String,
    digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    overrides: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<String>,
}

const EVENT: &str = "takeover";

impl Noted {
    pub(super) fn new(stage: &GroupName, input: &str, takeover: Takeover) -> Self {
        let Takeover { partition, offset, identity, before } = takeover;
        Self {
            event: EVENT.to_owned(),
            stage: stage.to_string(),
            input: input.to_owned(),
            partition: partition.0,
            offset: offset.0,
            model: identity.name,
            version: identity.version,
            digest: identity.digest,
            overrides: identity.overrides,
            before,
        }
    }

    pub(super) fn takeover(&self) -> Takeover {
        Takeover {
            partition: PartitionId(self.partition),
            offset: Offset(self.offset),
            identity: Identity {
                name: self.model.clone(),
                version: self.version.clone(),
                digest: self.digest.clone(),
                overrides: self.overrides.clone(),
            },
            before: self.before.clone(),
        }
    }
}

/// The record of a takeover.
pub(super) fn journal_record(settings: &StageSettings, takeover: &Takeover) -> Record {
    let noted = Noted::new(&settings.name, settings.input.as_str(), takeover.clone());
    let key = format!("{}/{}/{}", noted.stage, noted.partition, noted.offset);
    // Strings and numbers only: this cannot fail.
    Record::new(serde_json::to_vec(&noted).unwrap_or_default())
        .with_key(key)
        .with_header("content-type", "application/json")
}

/// What the topic says, record by record.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) configs: BTreeMap<GroupName, StageConfig>,
    /// The latest of each partition.
    pub(super) takeovers: BTreeMap<GroupName, Vec<Noted>>,
    pub(super) left: LeftGroups,
}

impl Kept {
    /// Takes the next record into account.
    pub(super) fn take(&mut self, record: &Record) {
        let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
        let (stage, rest) = key.split_once('/').unwrap_or((&key, ""));
        let Ok(name) = stage.parse::<GroupName>() else { return };
        let value = record.value.as_deref();
        if !rest.is_empty() {
            self.left.take(record);
            if let Some(noted) = value.and_then(|value| serde_json::from_slice(value).ok()) {
                self.take_over(name, noted);
            }
            return;
        }
        match value.map(serde_json::from_slice) {
            None => drop(self.configs.remove(&name)),
            Some(Ok(config)) => drop(self.configs.insert(name, config)),
            Some(Err(error)) => {
                tracing::error!(stage = %name, %error, "the configuration of a stage cannot be read; it does not run");
            }
        }
    }

    fn take_over(&mut self, stage: GroupName, noted: Noted) {
        let all = self.takeovers.entry(stage).or_default();
        all.retain(|known| (&known.input, known.partition) != (&noted.input, noted.partition));
        all.push(noted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_and_takeovers_read_back() {
        let name: GroupName = "s".parse().unwrap();
        let topic = |name: &str| name.parse().unwrap();
        let settings = StageSettings::new(name.clone(), topic("in"), topic("out"));
        let takeover = |offset| Takeover {
            partition: PartitionId(2),
            offset: Offset(offset),
            identity: Identity {
                name: "m".to_owned(),
                version: offset.to_string(),
                digest: "ab".repeat(32),
                overrides: (offset > 8).then(|| "cd".repeat(8)),
            },
            before: None,
        };
        let config = Record::new(r#"{"input":"in","output":"out","model":"m"}"#).with_key("s");
        let mut kept = Kept::default();
        kept.take(&config);
        kept.take(&journal_record(&settings, &takeover(7)));
        kept.take(&journal_record(&settings, &takeover(9)));
        kept.take(&Record::new("rubbish").with_key("s/0/1"));
        let left = crate::state::GroupId(3);
        kept.take(&LeftGroups::record(&name, &topic("in"), left));
        assert_eq!(kept.left.of(&name, &topic("in")), Some(left));
        assert_eq!(kept.configs.len(), 1);
        let known: Vec<_> = kept.takeovers[&name].iter().map(Noted::takeover).collect();
        assert_eq!(known, [takeover(9)]);
        kept.take(&Record::tombstone("s"));
        assert!(kept.configs.is_empty());
        assert_eq!(kept.takeovers.len(), 1, "what was, was");
    }
}
