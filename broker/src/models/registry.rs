//! What the events say, taken together. A pure fold: equal events give equal registries.

use std::collections::BTreeMap;

use embermq_storage::{Offset, Timestamp};

use super::error::ModelError;
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

    /// The version that a reference means now: the version of that name, else what its alias means.
    #[must_use]
    pub fn resolve(&self, reference: &ModelRef) -> Option<(&Version, &VersionState)> {
        let model = self.models.get(&reference.name)?;
        let named = |text: &str| {
            let version = text.parse::<Version>().ok();
            let aliased = || model.aliases.get(&text.parse::<Alias>().ok()?);
            let found = version.and_then(|version| model.versions.get_key_value(&version));
            found.or_else(|| model.versions.get_key_value(aliased()?))
        };
        match &reference.selector {
            Selector::Named(text) => named(text),
            Selector::Latest => named(CHAMPION)
                .or_else(|| model.versions.iter().max_by_key(|(_, state)| state.offset)),
        }
    }

    /// Why a reference means nothing: what the model has instead.
    #[must_use]
    pub fn unmeant(&self, reference: &ModelRef) -> ModelError {
        match (self.models.get(&reference.name), &reference.selector) {
            (Some(state), Selector::Named(name)) => ModelError::Unmeant {
                model: reference.name.clone(),
                name: name.clone(),
                versions: state.versions.keys().map(Version::to_string).collect(),
                aliases: state.aliases.keys().map(Alias::to_string).collect(),
            },
            _ => ModelError::NotFound { reference: reference.clone() },
        }
    }

    /// A version.
    ///
    /// # Errors
    /// [`ModelError::NotFound`], or [`ModelError::VersionNotFound`] with those that the model has.
    pub fn version(
        &self,
        model: &ModelName,
        version: &Version,
    ) -> Result<&VersionState, ModelError> {
        let none = || {
            let selector = Selector::Named(version.to_string());
            ModelError::NotFound { reference: ModelRef { name: model.clone(), selector } }
        };
        let state = self.models.get(model).ok_or_else(none)?;
        state.versions.get(version).ok_or_else(|| ModelError::VersionNotFound {
            model: model.clone(),
            version: version.clone(),
            versions: state.versions.keys().map(Version::to_string).collect(),
        })
    }

    /// The aliases that mean a version, as a message names them; none if there are none.
    pub(super) fn meant_by(&self, model: &ModelName, version: &Version) -> Option<String> {
        let aliases = self.models.get(model).into_iter().flat_map(|state| &state.aliases);
        let meaning = aliases.filter(|(_, meant)| *meant == version);
        let named: Vec<String> = meaning.map(|(alias, _)| format!("alias {alias}")).collect();
        (!named.is_empty()).then(|| named.join(", "))
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
    fn a_version_is_what_it_is_called_whatever_an_alias_says() {
        // Registries from before such an alias was refused.
        let some = registry(vec![version("1"), version("2"), alias("1", "2")]);
        assert_eq!(meant(&some, "m@1").as_deref(), Some("1"));
        assert_eq!(meant(&some, "m@2").as_deref(), Some("2"));
    }

    #[test]
    fn what_a_model_has_not_is_told_with_what_it_has() {
        let some = registry(vec![version("1"), version("2"), alias("stable", "1")]);
        let model = |name: &str| name.parse::<ModelName>().unwrap();
        let unmeant = |reference: &str| some.unmeant(&reference.parse().unwrap()).to_string();
        assert_eq!(
            unmeant("m@champion"),
            "model m has neither a version nor an alias \"champion\"; its versions are 1, 2, its aliases stable; \
             PUT /v1/models/m/aliases/champion sets an alias"
        );
        assert!(unmeant("x@1").starts_with("there is no model \"x\"; PUT"), "{}", unmeant("x@1"));
        let missing = |name: &str| some.version(&model(name), &"9".parse().unwrap()).unwrap_err();
        assert_eq!(missing("m").to_string(), "model m has no version \"9\"; it has 1, 2");
        assert!(missing("x").to_string().starts_with("there is no model \"x\""));
    }

    #[test]
    fn what_means_a_version_is_named() {
        let some = registry(vec![version("1"), version("2"), alias("a", "1"), alias("b", "1")]);
        let meant_by =
            |version: &str| some.meant_by(&"m".parse().unwrap(), &version.parse().unwrap());
        assert_eq!(meant_by("1").as_deref(), Some("alias a, alias b"));
        assert_eq!(meant_by("2"), None);
    }

    #[test]
    fn what_is_deleted_takes_its_aliases_along() {
        let delete = EventKind::VersionDeleted { version: "1".parse().unwrap() };
        let some = registry(vec![version("1"), alias("a", "1"), alias("b", "9"), delete]);
        assert_eq!(some, Registry::default());
    }
}
