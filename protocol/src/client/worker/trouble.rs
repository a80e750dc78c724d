//! What holds a worker up while it goes on.

use std::{fmt, sync::Arc};

use crate::{client::ClientError, names::TopicName};

/// What holds a worker up while it goes on, see [`Worker::on_trouble`](super::Worker::on_trouble).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Trouble {
    /// The broker does not take what became of a record. It is tried again as long as the lease can be kept.
    Unsettled {
        /// The topic of the record.
        topic: TopicName,
        /// Its partition.
        partition: u32,
        /// Its offset.
        offset: u64,
        /// Why not.
        error: ClientError,
    },
    /// Nothing more can be leased, so the worker ends; handlers that run are finished first.
    NotLeasing(ClientError),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsettled { topic, partition, offset, error } => write!(
                f,
                "{topic}/{partition}/{offset} cannot be settled for the moment: {error}. \
                 It is tried again as long as its lease can be kept"
            ),
            Self::NotLeasing(error) => {
                write!(f, "nothing more can be leased: {error}. What runs is finished first")
            }
        }
    }
}

/// Who is told.
#[derive(Clone, Default)]
pub(super) struct Listener(Option<Arc<dyn Fn(Trouble) + Send + Sync>>);

impl Listener {
    pub(super) fn new(listen: impl Fn(Trouble) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listen)))
    }

    pub(super) fn tell(&self, trouble: Trouble) {
        if let Some(listen) = &self.0 {
            listen(trouble);
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener").field(&self.0.is_some()).finish()
    }
}
