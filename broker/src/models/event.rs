//! Events of the registry, as CloudEvents 1.0 in JSON: <https://github.com/cloudevents/spec>

use serde::{Deserialize, Serialize};

use super::name::{Alias, Digest, ModelName, Version};
use crate::record::Record;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A version is there.
    VersionRegistered {
        /// Which.
        version: Version,
        /// Of its files.
        digest: Digest,
        /// Of its files.
        bytes: u64,
    },
    /// A version is not there any more.
    VersionDeleted {
        /// Which.
        version: Version,
    },
    /// An alias means this version from now on.
    AliasSet {
        /// The alias.
        alias: Alias,
        /// The version.
        version: Version,
    },
    /// An alias means nothing any more.
    AliasRemoved {
        /// The alias.
        alias: Alias,
    },
    /// A stage uses this version from now on.
    Deployed {
        /// The stage.
        stage: String,
        /// The version.
        version: Version,
        /// Of its files.
        digest: Digest,
    },
}

/// An event of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The model.
    pub model: ModelName,
    /// What happened.
    pub kind: EventKind,
}

const PREFIX: &str = "dev.embermq.model.";
const SUFFIX: &str = ".v1";

#[derive(Serialize, Deserialize)]
struct CloudEvent {
    specversion: String,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    subject: String,
    time: String,
    datacontenttype: String,
    data: Data,
}

#[derive(Default, Serialize, Deserialize)]
struct Data {
    model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alias: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stage: Option<String>,
}

impl Event {
    /// As a record; `id` and `time` (RFC 3339) are the event's own.
    pub(super) fn to_record(&self, id: &str, time: &str) -> Record {
        let mut data = Data { model: self.model.to_string(), ..Data::default() };
        let (kind, subject) = match &self.kind {
            EventKind::VersionRegistered { version, digest, bytes } => {
                data.version = Some(version.to_string());
                data.digest = Some(format!("sha256:{digest}"));
                data.bytes = Some(*bytes);
                ("version_registered", format!("/versions/{version}"))
            }
            EventKind::VersionDeleted { version } => {
                data.version = Some(version.to_string());
                ("version_deleted", format!("/versions/{version}"))
            }
            EventKind::AliasSet { alias, version } => {
                data.alias = Some(alias.to_string());
                data.version = Some(version.to_string());
                ("alias_set", format!("/aliases/{alias}"))
            }
            EventKind::AliasRemoved { alias } => {
                data.alias = Some(alias.to_string());
                ("alias_removed", format!("/aliases/{alias}"))
            }
            EventKind::Deployed { stage, version, digest } => {
                data.stage = Some(stage.clone());
                data.version = Some(version.to_string());
                data.digest = Some(format!("sha256:{digest}"));
                ("deployed", format!("/versions/{version}"))
            }
        };
        let event = CloudEvent {
            specversion: "1.0".to_owned(),
            id: id.to_owned(),
            source: "/v1/models".to_owned(),
            kind: format!("{PREFIX}{kind}{SUFFIX}"),
            subject: format!("models/{}{subject}", self.model),
            time: time.to_owned(),
            datacontenttype: "application/json".to_owned(),
            data,
        };
        // Strings and numbers only: this cannot fail.
        let value = serde_json::to_vec(&event).unwrap_or_default();
        Record::new(value)
            .with_key(self.model.to_string())
            .with_header("content-type", "application/cloudevents+json")
    }

    /// The event of a record. `Ok(None)`: of a kind that a later version writes.
    pub(super) fn of_record(record: &Record) -> Result<Option<Self>, String> {
        let value = record.value.as_deref().unwrap_or_default();
        let event: CloudEvent = serde_json::from_slice(value).map_err(|e| e.to_string())?;
        let kind = event.kind.strip_prefix(PREFIX).and_then(|kind| kind.strip_suffix(SUFFIX));
        let Some(kind) = kind else { return Ok(None) };
        let data = event.data;
        let parsed = Fields { version: data.version, digest: data.digest, alias: data.alias };
        let kind = match kind {
            "version_registered" => EventKind::VersionRegistered {
                version: parsed.version()?,
                digest: parsed.digest()?,
                bytes: data.bytes.unwrap_or_default(),
            },
            "version_deleted" => EventKind::VersionDeleted { version: parsed.version()? },
            "alias_set" => {
                EventKind::AliasSet { alias: parsed.alias()?, version: parsed.version()? }
            }
            "alias_removed" => EventKind::AliasRemoved { alias: parsed.alias()? },
            "deployed" => EventKind::Deployed {
                stage: data.stage.unwrap_or_default(),
                version: parsed.version()?,
                digest: parsed.digest()?,
            },
            _ => return Ok(None),
        };
        let model = data.model.parse().map_err(|e: super::NameInvalid| e.to_string())?;
        Ok(Some(Self { model, kind }))
    }
}

struct Fields {
    version: Option<String>,
    digest: Option<String>,
    alias: Option<String>,
}

impl Fields {
    fn parse<T: std::str::FromStr<Err = super::NameInvalid>>(
        name: &str,
        text: Option<&String>,
    ) -> Result<T, String> {
        let text = text.ok_or_else(|| format!("data.{name} is missing"))?;
        text.parse().map_err(|error: super::NameInvalid| error.to_string())
    }

    fn version(&self) -> Result<Version, String> {
        Self::parse("version", self.version.as_ref())
    }

    fn digest(&self) -> Result<Digest, String> {
        Self::parse("digest", self.digest.as_ref())
    }

    fn alias(&self) -> Result<Alias, String> {
        Self::parse("alias", self.alias.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_read_back() {
        let version = || "1".parse::<Version>().unwrap();
        let digest = || "ab".repeat(32).parse::<Digest>().unwrap();
        let alias = || "champion".parse::<Alias>().unwrap();
        let kinds = [
            EventKind::VersionRegistered { version: version(), digest: digest(), bytes: 7 },
            EventKind::VersionDeleted { version: version() },
            EventKind::AliasSet { alias: alias(), version: version() },
            EventKind::AliasRemoved { alias: alias() },
            EventKind::Deployed { stage: "s".into(), version: version(), digest: digest() },
        ];
        for kind in kinds {
            let event = Event { model: "m".parse().unwrap(), kind };
            let record = event.to_record("1", "2026-11-22T10:00:00.000000Z");
            assert_eq!(Event::of_record(&record).unwrap().unwrap(), event);
        }
    }

    #[test]
    fn what_a_later_version_writes_is_passed_over_and_rubbish_is_not() {
        let mut record = Event {
            model: "m".parse().unwrap(),
            kind: EventKind::AliasRemoved { alias: "a".parse().unwrap() },
        }
        .to_record("1", "now");
        let text = String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap();
        record.value = Some(text.replace("alias_removed", "approved").into());
        assert_eq!(Event::of_record(&record), Ok(None));
        assert!(Event::of_record(&Record::new("x")).is_err());
    }
}
