//! Whose turn it is: few questions at a time ask one partition, and not many more all of them together.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::shelf::KeyShelf;
use crate::topic::Partition;

/// May ask, as long as it is held. Neither semaphore is ever closed.
#[derive(Debug)]
pub(super) struct Turn {
    _of_partition: Option<OwnedSemaphorePermit>,
    _of_all: Option<OwnedSemaphorePermit>,
}

impl Turn {
    /// First that of the partition: who waits there keeps nobody else from asking.
    pub(super) async fn wait(partition: &Partition, shelf: &KeyShelf) -> Self {
        let of_partition = Arc::clone(&partition.keys.turns).acquire_owned().await.ok();
        let of_all = Arc::clone(&shelf.turns).acquire_owned().await.ok();
        Self { _of_partition: of_partition, _of_all: of_all }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use tokio::runtime::Builder;

    use super::super::shelf::TURNS;
    use super::*;
    use crate::{Broker, Options, TopicName, TopicSettings};

    #[test]
    fn questions_to_many_partitions_wait_for_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let broker = Broker::open(dir.path(), Options::default()).unwrap();
        let name: TopicName = "t".parse().unwrap();
        let settings = TopicSettings { partitions: 64, ..TopicSettings::default() };
        runtime.block_on(broker.create_topic(&name, settings)).unwrap();
        let (topic, shelf) = (broker.topic(&name).unwrap(), KeyShelf::default());
        let mut turns = Vec::new();
        let mut waiting = None;
        let mut context = Context::from_waker(Waker::noop());
        for partition in &topic.partitions {
            let mut turn = Box::pin(Turn::wait(partition, &shelf));
            match turn.as_mut().poll(&mut context) {
                Poll::Ready(turn) => turns.push(turn),
                Poll::Pending => {
                    waiting = Some(turn);
                    break;
                }
            }
        }
        assert_eq!(turns.len(), TURNS);
        turns.pop();
        assert!(pin!(waiting.unwrap()).poll(&mut context).is_ready());
        runtime.block_on(broker.shutdown());
    }
}
