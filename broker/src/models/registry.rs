//! What the events say, taken together. A pure fold: equal events give equal registries.

use std::collections::BTreeMap;

use embermq_storage::{Offset, Timestamp};

use super::event::{Event, EventKind};
use super::name::{Alias, Digest, ModelName, ModelRef, Selector, Version};

/// The alias that is meant when nothing is said.
const CHAMPION: &str = "champion";

/// All models, as of some event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    models: BTreeMap<ModelName, ModelState>,
}

/// A model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelState {
    /// Its versions.
    pub versions: BTreeMap<Version, VersionState>,
    /// Its aliases.
    pub aliases: BTreeMap<Alias, Version>,
}

/// A version of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionState {
    /// Of its files.
    pub digest: Digest,
    /// Of its files.
    pub bytes: u64,
    /// Where its event is.
    pub offset: Offset,
    /// When it was registered, in log time.
    pub registered: Timestamp,
}

impl Registry {
    /// Takes the next event into account.
    pub(super) fn apply(&mut self, offset: Offset, time: Timestamp, event: &Event) {
        let model = self.models.entry(event.model.clone()).or_default();
        match &event.kind {
            EventKind::VersionRegistered { version, digest, bytes } => {
                let state = VersionState {
                    digest: digest.clone(),
                    bytes: *bytes,
                    offset,
                    registered: time,
                };
                model.versions.insert(version.clone(), state);
            }
            EventKind::VersionDeleted { version } => {
                model.versions.remove(version);
                model.aliases.retain(|_, meant| meant != version);
            }
            EventKind::AliasSet { alias, version } => {
                if model.versions.contains_key(version) {
                    model.aliases.insert(alias.clone(), version.clone());
                }
            }
            EventKind::AliasRemoved { alias } => {
                model.aliases.remove(alias);
            }
            EventKind::Deployed { .. } => {}
        }
        if model.versions.is_empty() {
            self.models.remove(&event.model);
        }
    }

    /// All models by name.
    pub fn models(&self) -> impl Iterator<Item = (&ModelName, &ModelState)> {
        self.models.iter()
    }

    /// A model.
    #[must_use]
    pub fn model(&self, name: &ModelName) -> Option<&ModelState> {
        self.models.get(name)
    }

    /// The version that a reference means now.
    #[must_use]
    pub fn resolve(&self, reference: &ModelRef) -> Option<(&Version, &VersionState)> {
        let model = self.models.get(&reference.name)?;
        let named = |text: &str| {
            let alias = text.parse::<Alias>().ok().and_then(|alias| model.aliases.get(&alias));
            let version = text.parse::<Version>().ok();
            alias.cloned().or(version).and_then(|version| model.versions.get_key_value(&version))
        };
        match &reference.selector {
            Selector::Named(text) => named(text),
            Selector::Latest => named(CHAMPION)
                .or_else(|| model.versions.iter().max_by_key(|(_, state)| state.offset)),
        }
    }

    /// Whether any version has these files.
    #[must_use]
    pub fn has_digest(&self, digest: &Digest) -> bool {
        let mut versions = self.models.values().flat_map(|model| model.versions.values());
        versions.any(|version| version.digest == *digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(kinds: Vec<EventKind>) -> Registry {
        let mut registry = Registry::default();
        for (offset, kind) in (0..).zip(kinds) {
            let event = Event { model: "m".parse().unwrap(), kind };
            registry.apply(Offset(offset), Timestamp(0), &event);
        }
        registry
    }

    fn version(version: &str) -> EventKind {
        let digest = "ab".repeat(32).parse().unwrap();
        EventKind::VersionRegistered { version: version.parse().unwrap(), digest, bytes: 1 }
    }

    fn alias(alias: &str, version: &str) -> EventKind {
        EventKind::AliasSet { alias: alias.parse().unwrap(), version: version.parse().unwrap() }
    }

    fn meant(registry: &Registry, reference: &str) -> Option<String> {
        let reference: ModelRef = reference.parse().unwrap();
        registry.resolve(&reference).map(|(version, _)| version.to_string())
    }

    #[test]
    fn a_reference_means_an_alias_a_version_or_the_latest() {
        let events = vec![version("1"), version("2"), alias("stable", "1")];
        let some = registry(events.clone());
        assert_eq!(meant(&some, "m@1").as_deref(), Some("1"));
        assert_eq!(meant(&some, "m@stable").as_deref(), Some("1"));
        assert_eq!(meant(&some, "m").as_deref(), Some("2"));
        assert_eq!(meant(&some, "m@3"), None);
        assert_eq!(meant(&some, "other"), None);
        let crowned = registry([events, vec![alias("champion", "1")]].concat());
        assert_eq!(meant(&crowned, "m").as_deref(), Some("1"));
    }

    #[test]
    fn what_is_deleted_takes_its_aliases_along() {
        let delete = EventKind::VersionDeleted { version: "1".parse().unwrap() };
        let some = registry(vec![version("1"), alias("a", "1"), alias("b", "9"), delete]);
        assert_eq!(some, Registry::default());
    }
}
