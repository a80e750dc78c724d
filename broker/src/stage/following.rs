//! Stages and the registry of models: which versions are in use, and stages that follow when a reference means another one.
//!
//! A change of the registry is made or refused by itself. A stage that cannot follow one keeps its model, says why, and is tried again;
//! whoever made the change is not told that it failed, as it did not.

use std::collections::{BTreeMap, BTreeSet};

use embermq_protocol::names::GroupName;

use super::roster::{Entry, Roster};
use crate::models::{Alias, ModelError, ModelName, ModelRef, Overrides, Selector, Version};

impl Roster {
    /// Which stages use which versions of a model now: the one that their reference means, and the one that runs, which is another one where a
    /// stage could not follow.
    #[must_use]
    pub fn users_of(&self, model: &ModelName) -> BTreeMap<String, String> {
        let registry = self.models.registry();
        let mut users: BTreeMap<String, BTreeSet<GroupName>> = BTreeMap::new();
        for (name, entry) in &*self.entries.lock() {
            let reference = entry.config.model().ok().filter(|reference| reference.name == *model);
            let meant = reference.and_then(|reference| {
                registry.resolve(&reference).map(|(version, _)| version.to_string())
            });
            let runs = entry.running.as_ref().map(|stage| stage.identity());
            let runs = runs.filter(|identity| identity.name == model.as_str());
            for version in meant.into_iter().chain(runs.map(|identity| identity.version)) {
                users.entry(version).or_default().insert(name.clone());
            }
        }
        users.into_iter().filter_map(|(version, names)| Some((version, named(&names)?))).collect()
    }

    /// The stages whose configuration names an alias.
    fn named_by(&self, model: &ModelName, alias: &Alias) -> Option<String> {
        let names = |reference: &ModelRef| {
            let selector = &reference.selector;
            reference.name == *model
                && matches!(selector, Selector::Named(text) if text == alias.as_str())
        };
        let entries = self.entries.lock();
        let naming =
            entries.iter().filter(|(_, entry)| entry.config.model().is_ok_and(|m| names(&m)));
        named(&naming.map(|(name, _)| name.clone()).collect())
    }

    /// Deletes a version of a model, unless a stage uses it or an alias means it. Waits for changes under way of stages with this model: one of them may be about to.
    ///
    /// # Errors
    /// [`ModelError::VersionNotFound`], [`ModelError::InUse`], [`ModelError::Meant`], or [`ModelError::Commit`].
    pub async fn delete_version(
        &self,
        model: &ModelName,
        version: &Version,
    ) -> Result<(), ModelError> {
        let _turn = self.turns.takes_away(model).await;
        // Looked up when nothing else changes the registry: an alias may come to mean this version until then.
        let used_by = |version: &Version| self.users_of(model).remove(version.as_str());
        self.models.delete(model, version, used_by).await
    }

    /// Takes an alias away, unless a stage names it. Stages that name none may mean another version then, and follow.
    ///
    /// # Errors
    /// [`ModelError::AliasNotFound`], [`ModelError::AliasInUse`], or [`ModelError::Commit`].
    pub async fn remove_alias(&self, model: &ModelName, alias: &Alias) -> Result<(), ModelError> {
        let _open = self.open.read().await;
        {
            let _turn = self.turns.takes_away(model).await;
            let used_by = |alias: &Alias| self.named_by(model, alias);
            self.models.remove_alias(model, alias, used_by).await?;
        }
        self.follow_where(|reference| reference.name == *model).await;
        Ok(())
    }

    /// Puts other models in place where a reference to this one means another version now. A stage that cannot follow says so in its
    /// status.
    pub async fn follow(&self, model: &ModelName) {
        let _open = self.open.read().await;
        self.follow_where(|reference| reference.name == *model).await;
    }

    /// The same where `wanted`, each stage in its turn.
    pub(super) async fn follow_where(&self, wanted: impl Fn(&ModelRef) -> bool) {
        let following = |entry: &Entry| {
            let reference = entry.running.as_ref().and_then(|_| entry.config.model().ok())?;
            wanted(&reference).then(|| (reference, entry.config.overrides()))
        };
        let names: Vec<GroupName> = {
            let entries = self.entries.lock();
            let wanted = entries.iter().filter(|(_, entry)| following(entry).is_some());
            wanted.map(|(name, _)| name.clone()).collect()
        };
        for name in names {
            let _turn = self.turns.of_stage(&name).await;
            // Somebody may have changed it while this waited.
            let now = self.entries.lock().get(&name).and_then(following);
            let Some((reference, overrides)) = now else { continue };
            let _uses = self.turns.uses(&reference.name).await;
            let failure = self.follow_one(&name, &reference, &overrides).await.err();
            let failure = failure.map(|error| error.to_string());
            let mut entries = self.entries.lock();
            let Some(entry) = entries.get_mut(&name) else { continue };
            if let Some(error) = &failure
                && entry.cannot_follow != failure
            {
                tracing::error!(stage = %name, model = %reference, %error, "a stage cannot follow its model; it keeps the one it has, and it is tried again");
            }
            entry.cannot_follow = failure;
        }
    }

    async fn follow_one(
        &self,
        name: &GroupName,
        reference: &ModelRef,
        overrides: &Overrides,
    ) -> Result<(), ModelError> {
        let processor = self.models.overridden(reference, overrides).await?;
        let identity = processor.identity().clone();
        let swapped = {
            let entries = self.entries.lock();
            let running = entries.get(name).and_then(|entry| entry.running.as_ref());
            let stage = running.filter(|stage| stage.identity() != identity);
            stage.map(|stage| stage.swap(processor)).is_some()
        };
        // It runs; that the journal of models does not say so is no reason to call it failed.
        if swapped && let Err(error) = self.models.note_deployed(name.as_str(), &identity).await {
            tracing::warn!(stage = %name, %error, "it could not be noted which model a stage uses");
        }
        Ok(())
    }
}

/// Stages, as a sentence names them.
fn named(stages: &BTreeSet<GroupName>) -> Option<String> {
    let names: Vec<&str> = stages.iter().map(GroupName::as_str).collect();
    match names.as_slice() {
        [] => None,
        [one] => Some(format!("stage {one}")),
        several => Some(format!("stages {}", several.join(", "))),
    }
}
