//! Where a group's records are handed out: what callers see of a group, and where they wait.
//!
//! A desk shows the group as the committer has it. That is a hint, as what counts is decided by the committer; but it
//! tells what is worth reading and when to look again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use arc_swap::ArcSwap;
use embermq_protocol::names::{GroupName, TopicName};
use imbl::OrdMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::ahead::Ahead;
use super::filter::Filter;
use crate::alarm::Alarm;
use crate::group::Members;
use crate::requests::Notices;
use crate::state::{GroupId, GroupState};

/// One group.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) id: GroupId,
    pub(crate) topic: TopicName,
    pub(crate) name: GroupName,
    state: ArcSwap<GroupState>,
    /// Of the settings; none when it lets everything through.
    filter: ArcSwap<Option<Filter>>,
    /// Woken when the group changes, and when it is deleted.
    pub(crate) changed: Notify,
    /// Wakes whoever has the turn and waits: a promise that it saw has fallen short.
    pub(super) in_front: Notify,
    gone: AtomicBool,
    /// Whose turn it is: callers are served in the order in which they came. With what was read for them.
    pub(crate) turn: tokio::sync::Mutex<Ahead>,
    pub(crate) members: Mutex<Members>,
    /// The committer has granted less than was promised: what was asked for behind that has to be asked for again.
    pub(crate) fell_short: AtomicBool,
    /// Callers that were promised records and have not heard of all of them.
    pub(super) asking: AtomicU32,
    /// Whoever has the turn has looked, and waits.
    pub(crate) waits: AtomicBool,
    /// The partition to begin with, so that none is served last for ever.
    pub(crate) first: AtomicU32,
    /// Who waits for records to end.
    pub(crate) notices: Notices,
}

impl Desk {
    fn new(state: &Arc<GroupState>, topic: &TopicName) -> Self {
        let filter = Filter::of_settings(state.group.settings());
        Self {
            id: state.id,
            topic: topic.clone(),
            name: state.name.clone(),
            state: ArcSwap::new(Arc::clone(state)),
            filter: ArcSwap::from_pointee(filter),
            changed: Notify::new(),
            in_front: Notify::new(),
            gone: AtomicBool::new(false),
            turn: tokio::sync::Mutex::default(),
            members: Mutex::default(),
            fell_short: AtomicBool::new(false),
            asking: AtomicU32::new(0),
            waits: AtomicBool::new(false),
            first: AtomicU32::new(0),
            notices: Notices::default(),
        }
    }

    /// The group as it was last shown.
    pub(crate) fn state(&self) -> Arc<GroupState> {
        self.state.load_full()
    }

    /// Which records it gets.
    pub(crate) fn filter(&self) -> Arc<Option<Filter>> {
        self.filter.load_full()
    }

    /// Whether the group was deleted.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    fn show(&self, state: &Arc<GroupState>) {
        let before = self.state.swap(Arc::clone(state));
        if before.group.settings() != state.group.settings() {
            self.filter.store(Arc::new(Filter::of_settings(state.group.settings())));
        }
        self.changed.notify_waiters();
    }
}

/// All groups.
#[derive(Debug, Default)]
pub(crate) struct Desks {
    all: ArcSwap<All>,
    /// Rung when a record may be exhausted earlier than was thought.
    pub(crate) alarm: Alarm,
}

#[derive(Clone, Debug, Default)]
struct All {
    by_name: OrdMap<(TopicName, GroupName), Arc<Desk>>,
    by_id: OrdMap<GroupId, Arc<Desk>>,
}

impl Desks {
    pub(crate) fn get(&self, topic: &TopicName, group: &GroupName) -> Option<Arc<Desk>> {
        self.all.load().by_name.get(&(topic.clone(), group.clone())).cloned()
    }

    pub(crate) fn by_id(&self, id: GroupId) -> Option<Arc<Desk>> {
        self.all.load().by_id.get(&id).cloned()
    }

    pub(crate) fn ids(&self) -> Vec<GroupId> {
        self.all.load().by_id.keys().copied().collect()
    }

    /// All of them, by topic and name.
    pub(crate) fn all(&self) -> Vec<Arc<Desk>> {
        self.all.load().by_name.values().cloned().collect()
    }

    /// Shows a group; a new one only when it is `durable`. False when it is not shown as it is.
    pub(crate) fn show(&self, state: &Arc<GroupState>, topic: &TopicName, durable: bool) -> bool {
        if let Some(due) = state.group.next_exhausted() {
            self.alarm.at(due);
        }
        if let Some(desk) = self.all.load().by_id.get(&state.id) {
            desk.show(state);
            return true;
        }
        if durable {
            // There is one writer, so nothing comes between.
            let mut all = All::clone(&self.all.load());
            let desk = Arc::new(Desk::new(state, topic));
            all.by_name.insert((topic.clone(), state.name.clone()), Arc::clone(&desk));
            all.by_id.insert(state.id, desk);
            self.all.store(Arc::new(all));
        }
        durable
    }

    /// Takes a group away that was deleted, once that is `durable`. False when it is still shown.
    pub(crate) fn remove(&self, id: GroupId, durable: bool) -> bool {
        let mut all = All::clone(&self.all.load());
        let Some(desk) = all.by_id.get(&id).cloned() else { return true };
        if durable {
            all.by_id.remove(&id);
            let name = (desk.topic.clone(), desk.name.clone());
            if all.by_name.get(&name).is_some_and(|there| there.id == id) {
                all.by_name.remove(&name);
            }
            self.all.store(Arc::new(all));
            desk.gone.store(true, Ordering::Release);
            desk.changed.notify_waiters();
        }
        durable
    }
}
