//! Topics and groups as readers see them: what is durable, swapped in whole, read without a lock.

use std::sync::Arc;

use arc_swap::ArcSwap;
use embermq_protocol::names::TopicName;
use imbl::OrdMap;
use tokio::sync::Notify;
#[cfg(feature = "server")]
use tokio::sync::futures::Notified;

use crate::consume::Desks;
use crate::schedule::Agendas;
use crate::topic::Topic;

/// Topics by name.
pub(crate) type Topics = OrdMap<TopicName, Arc<Topic>>;

/// The published topics.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    topics: ArcSwap<Topics>,
    /// Notified whenever other topics are published.
    changed: Notify,
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
        self.changed.notify_waiters();
    }

    /// Ready at the next change of topics from here on, once it is enabled.
    #[cfg(feature = "server")]
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}
