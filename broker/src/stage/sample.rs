//! Stages as the metrics see them, without waiting for whoever changes one.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use embermq_protocol::names::{GroupName, TopicName};
use parking_lot::Mutex;

use super::meter::StageMeter;
use super::processor::Identity;
use super::running::Inner;

/// A stage that runs, as it is now.
#[derive(Clone, Debug)]
pub struct StageSample {
    /// Its name, which is that of its group.
    pub name: GroupName,
    /// The topic that it reads.
    pub input: TopicName,
    /// What makes its outputs now.
    pub identity: Identity,
    /// What it counts for each model that it used last.
    pub meters: Vec<Arc<StageMeter>>,
    /// Calls that were given up since it was started.
    pub abandoned: u64,
}

/// The stages that run. One that ends is in here no more.
#[derive(Debug, Default)]
pub(super) struct Watched(Mutex<BTreeMap<GroupName, Weak<Inner>>>);

impl Watched {
    pub(super) fn add(&self, name: &GroupName, stage: Weak<Inner>) {
        let mut all = self.0.lock();
        all.retain(|_, stage| stage.strong_count() > 0);
        all.insert(name.clone(), stage);
    }

    /// All of them by name.
    pub(super) fn samples(&self) -> Vec<StageSample> {
        let all = self.0.lock();
        all.values().filter_map(Weak::upgrade).map(|stage| sample(&stage)).collect()
    }
}

fn sample(stage: &Inner) -> StageSample {
    StageSample {
        name: stage.settings.name.clone(),
        input: stage.settings.input.clone(),
        identity: stage.installed.load().processor.identity().clone(),
        meters: stage.counters.meters.all(),
        abandoned: stage.instances.abandoned(),
    }
}
