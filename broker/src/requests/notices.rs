//! Who waits for which record of a group to end, and telling them.
//!
//! Memory goes with those who wait. Whoever goes away takes its entry along, so nothing is left behind by a client that is gone.

use std::collections::HashMap;
use std::sync::Arc;

use embermq_protocol::names::TopicName;
use embermq_storage::Offset;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::group::Place;
use crate::topic::PartitionId;

/// Where a record ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// A dead letter, not an output.
    pub(crate) dead: bool,
    pub(crate) topic: TopicName,
    pub(crate) partition: PartitionId,
    pub(crate) offset: Offset,
}

/// Those who wait for records of one group.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    waiting: Arc<Mutex<Waiting>>,
}

type Waiting = HashMap<Place, watch::Sender<Option<Ending>>>;

/// A wait that is under way; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Waiter {
    waiting: Arc<Mutex<Waiting>>,
    place: Place,
    receiver: Option<watch::Receiver<Option<Ending>>>,
}

impl Notices {
    /// Waits for a record from now on: what ends it later is not missed.
    pub(crate) fn wait_for(&self, place: Place) -> Waiter {
        let mut waiting = self.waiting.lock();
        let sender = waiting.entry(place).or_insert_with(|| watch::Sender::new(None));
        let receiver = Some(sender.subscribe());
        Waiter { waiting: Arc::clone(&self.waiting), place, receiver }
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.lock().is_empty()
    }

    /// A record has ended, and that is committed.
    pub(crate) fn tell(&self, place: Place, ending: Ending) {
        if let Some(sender) = self.waiting.lock().get(&place) {
            sender.send_replace(Some(ending));
        }
    }
}

impl Waiter {
    /// Returns when the record ends. How it ended before the wait began is not meant: it was redriven since.
    pub(crate) async fn ended(&mut self) -> Ending {
        if let Some(receiver) = &mut self.receiver {
            // The sender stays as long as this does.
            while receiver.changed().await.is_ok() {
                if let Some(ending) = receiver.borrow_and_update().clone() {
                    return ending;
                }
            }
        }
        std::future::pending().await
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.receiver = None;
        let mut waiting = self.waiting.lock();
        if waiting.get(&self.place).is_some_and(|sender| sender.receiver_count() == 0) {
            waiting.remove(&self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn all_who_wait_are_told_and_nothing_is_left_of_who_goes() {
        let notices = Notices::default();
        let place = |offset| Place { partition: PartitionId(0), offset: Offset(offset) };
        let ending = Ending {
            dead: false,
            topic: "out".parse().unwrap(),
            partition: PartitionId(0),
            offset: Offset(9),
        };
        let (mut one, mut two, mut other) =
            (notices.wait_for(place(1)), notices.wait_for(place(1)), notices.wait_for(place(2)));
        assert!(one.ended().now_or_never().is_none());
        notices.tell(place(1), ending.clone());
        assert_eq!(one.ended().await, ending);
        drop(one);
        assert_eq!(two.ended().await, ending);
        assert!(other.ended().now_or_never().is_none());
        drop(two);
        assert!(!notices.is_empty());
        drop(other);
        assert!(notices.is_empty());
    }
}
