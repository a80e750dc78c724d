//! What is scheduled, as readers see it: durable, swapped in whole, read without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use embermq_protocol::names::TopicName;
use embermq_storage::{Offset, Timestamp};
use imbl::OrdMap;

use crate::alarm::Alarm;
use crate::state::Schedules;
use crate::topic::TopicId;

/// When it is looked whether a store wants tidying, after something ended.
const TIDY_US: i64 = 1_000_000;

/// The schedules of one topic.
#[derive(Debug)]
pub(crate) struct Agenda {
    pub(crate) id: TopicId,
    pub(crate) topic: TopicName,
    shown: ArcSwap<Shown>,
    /// Records that were delivered since the process started.
    delivered: AtomicU64,
}

/// What is scheduled, and how far the store's partitions went at that very moment: whatever is scheduled later lies behind that.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) schedules: Schedules,
    pub(crate) store_ends: Vec<Offset>,
}

impl Agenda {
    /// What was last shown.
    pub(crate) fn shown(&self) -> Arc<Shown> {
        self.shown.load_full()
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    pub(crate) fn note_delivered(&self, records: u64) {
        self.delivered.fetch_add(records, Ordering::Relaxed);
    }
}

/// Those of all topics that ever had one.
#[derive(Debug, Default)]
pub(crate) struct Agendas {
    all: ArcSwap<OrdMap<TopicId, Arc<Agenda>>>,
    /// Rung when something may be due earlier than was thought.
    pub(crate) alarm: Alarm,
}

impl Agendas {
    pub(crate) fn get(&self, id: TopicId) -> Option<Arc<Agenda>> {
        self.all.load().get(&id).cloned()
    }

    /// All of them, by the number of their topic.
    pub(crate) fn all(&self) -> Vec<Arc<Agenda>> {
        self.all.load().values().cloned().collect()
    }

    /// Shows what a topic has scheduled, at `now` in log time.
    pub(crate) fn show(&self, id: TopicId, topic: &TopicName, shown: Shown, now: Timestamp) {
        if let Some(due) = shown.schedules.first_due() {
            self.alarm.at(due);
        }
        let all = self.all.load();
        let before = all.get(&id).map_or(0, |agenda| agenda.shown.load().schedules.ended());
        if before < shown.schedules.ended() {
            // Its store may want tidying, also when nothing is due for long.
            self.alarm.at(Timestamp(now.0.saturating_add(TIDY_US)));
        }
        if let Some(agenda) = all.get(&id) {
            agenda.shown.store(Arc::new(shown));
            return;
        }
        let agenda = Agenda {
            id,
            topic: topic.clone(),
            shown: ArcSwap::from_pointee(shown),
            delivered: AtomicU64::new(0),
        };
        // There is one writer, so nothing comes between.
        self.all.store(Arc::new(all.update(id, Arc::new(agenda))));
    }

    /// Takes the schedules of a topic away that was deleted.
    pub(crate) fn remove(&self, id: TopicId) {
        let all = self.all.load();
        if all.contains_key(&id) {
            self.all.store(Arc::new(all.without(&id)));
        }
    }
}
