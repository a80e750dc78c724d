//! Who may change what now: each stage is changed by one at a time, and no version is taken away while a change is about to use its model.
//!
//! A change may take as long as a model takes to load or a batch to end. Whoever changes another stage waits for none of that. Whoever needs both
//! takes the turn of the stage first, then that of its model.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use embermq_protocol::names::GroupName;
use parking_lot::Mutex;
use tokio::sync::{OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::models::ModelName;

/// Turns that are taken or waited for; of others nothing is kept.
#[derive(Debug, Default)]
pub(super) struct Turns {
    stages: Mutex<BTreeMap<GroupName, Weak<tokio::sync::Mutex<()>>>>,
    models: Mutex<BTreeMap<ModelName, Weak<RwLock<()>>>>,
}

impl Turns {
    /// Waits until nobody else changes this stage.
    pub(super) async fn of_stage(&self, stage: &GroupName) -> OwnedMutexGuard<()> {
        let turn = found(&mut self.stages.lock(), stage);
        turn.lock_owned().await
    }

    /// Waits until no version of this model is being taken away; several may use it at once.
    pub(super) async fn uses(&self, model: &ModelName) -> OwnedRwLockReadGuard<()> {
        let turn = found(&mut self.models.lock(), model);
        turn.read_owned().await
    }

    /// Waits until no change uses this model.
    pub(super) async fn takes_away(&self, model: &ModelName) -> OwnedRwLockWriteGuard<()> {
        let turn = found(&mut self.models.lock(), model);
        turn.write_owned().await
    }
}

fn found<K: Clone + Ord, T: Default>(all: &mut BTreeMap<K, Weak<T>>, key: &K) -> Arc<T> {
    if let Some(known) = all.get(key).and_then(Weak::upgrade) {
        return known;
    }
    all.retain(|_, known| known.strong_count() > 0);
    let new = Arc::<T>::default();
    all.insert(key.clone(), Arc::downgrade(&new));
    new
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn one_waits_for_a_turn_of_its_own_kind_only() {
        let turns = Turns::default();
        let (one, other) = ("one".parse().unwrap(), "other".parse().unwrap());
        let first = turns.of_stage(&one).await;
        assert!(turns.of_stage(&other).now_or_never().is_some());
        assert!(turns.of_stage(&one).now_or_never().is_none());
        drop(first);
        assert!(turns.of_stage(&one).now_or_never().is_some());

        let model = "m".parse().unwrap();
        let uses = turns.uses(&model).await;
        assert!(turns.uses(&model).now_or_never().is_some());
        assert!(turns.takes_away(&model).now_or_never().is_none());
        assert!(turns.takes_away(&"n".parse().unwrap()).now_or_never().is_some());
        drop(uses);
        assert!(turns.takes_away(&model).now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_kept() {
        let turns = Turns::default();
        for number in 0..100 {
            drop(turns.of_stage(&format!("s{number}").parse().unwrap()).await);
        }
        assert_eq!(turns.stages.lock().len(), 1);
    }
}
