//! What is scheduled, shown to those who read it and to the thread that delivers it.
//!
//! Only what is as durable as its topic asks: a clone is taken when the frames are handed to the log, before those of the next
//! group are staged, and shown at publication.

use super::Shard;
use crate::frame::{CatalogChange, FrameHead, TopicDeleted};
use crate::schedule::Shown;
use crate::topic::{Durability, TopicId};

impl Shard {
    /// Notes whose schedules a frame has changed.
    pub(super) fn note_schedules(&mut self, head: &FrameHead) {
        let put_off = head.schedules.iter().map(|schedule| schedule.topic);
        let ended = head.schedule_ends.iter().map(|end| end.topic);
        self.schedules_staged.extend(put_off.chain(ended).map(TopicId));
        if let Some(CatalogChange::Delete(TopicDeleted { topic, store })) = &head.catalog {
            self.schedules_staged.extend([*topic].into_iter().chain(*store).map(TopicId));
        }
    }

    /// Takes what is staged as written.
    pub(super) fn note_written_schedules(&mut self) {
        while let Some(id) = self.schedules_staged.pop_first() {
            let shown = self.state.topic(id).map(|topic| {
                let store = topic.schedules.store().and_then(|store| self.state.topic(store));
                let partitions = store.map_or(&[][..], |store| &store.partitions);
                Shown {
                    schedules: topic.schedules.clone(),
                    store_ends: partitions.iter().map(|partition| partition.next).collect(),
                }
            });
            self.schedules_written.insert(id, shown);
        }
    }

    /// Takes all that the state has as written: it was, before this process.
    pub(super) fn show_all_schedules(&mut self) {
        let topics = self.state.topics().filter(|topic| !topic.schedules.is_untouched());
        self.schedules_staged.extend(topics.map(|topic| topic.id));
        self.note_written_schedules();
    }

    /// Shows what is written, as far as it may be.
    pub(super) fn show_schedules(&mut self, durability: Durability) {
        for (id, shown) in std::mem::take(&mut self.schedules_written) {
            if durability == Durability::Os && !self.is_os(id) {
                self.schedules_written.insert(id, shown);
                continue;
            }
            let name = self.state.topic(id).map(|topic| &topic.name);
            match shown.zip(name) {
                Some((shown, name)) => {
                    self.catalog.agendas.show(id, name, shown, self.state.time());
                }
                None => self.catalog.agendas.remove(id),
            }
        }
    }
}
