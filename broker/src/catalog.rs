//! Topics and groups as readers see them: what is durable, swapped in whole, read without a lock.

use std::sync::Arc;

use arc_swap::ArcSwap;
use embermq_protocol::names::TopicName;
use imbl::OrdMap;

use crate::consume::Desks;
use crate::schedule::Agendas;
use crate::topic::Topic;

/// Topics by name.
pub(crate) type Topics = OrdMap<TopicName, Arc<Topic>>;

/// The published topics.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    topics: ArcSwap<Topics>,
    /// The groups.
    pub(crate) desks: Desks,
    /// What is scheduled.
    pub(crate) agendas: Agendas,
}

impl Catalog {
    pub(crate) fn get(&self, name: &TopicName) -> Option<Arc<Topic>> {
        self.topics.load().get(name).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        self.topics.load().values().cloned().collect()
    }

    pub(crate) fn publish(&self, topics: Topics) {
        self.topics.store(Arc::new(topics));
    }
}
