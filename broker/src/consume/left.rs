//! Groups that stages and webhooks have left. Such a group stays, so that one of the same name goes on there; any other group of that name
//! is somebody else's, and nobody takes it over: two that work one group lose to each other what neither sees.
//!
//! They are kept beside the configurations, under keys `{name}/group/{topic}`, which are no names of anything.

use std::collections::BTreeMap;

use embermq_protocol::names::{GroupName, TopicName};
use serde::{Deserialize, Serialize};

use crate::broker::Broker;
use crate::record::Record;
use crate::state::GroupId;

/// A group of this name is there, and is somebody else's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "topic {topic} has a group \"{group}\" that somebody else made; {what} works its group alone: choose another name, or delete the group if nobody needs it (DELETE /v1/topics/{topic}/groups/{group})"
)]
pub struct GroupTaken {
    /// The topic.
    pub topic: TopicName,
    /// The group.
    pub group: GroupName,
    /// What wants it.
    pub what: &'static str,
}

/// Which groups were left, by the name of what worked them and their topic.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeftGroups(BTreeMap<(String, String), GroupId>);

#[derive(Serialize, Deserialize)]
struct Note {
    event: String,
    topic: String,
    group: u32,
}

const EVENT: &str = "left";
const MARK: &str = "/group/";

impl LeftGroups {
    /// Takes the next record into account, if it is about a group that was left.
    pub(crate) fn take(&mut self, record: &Record) {
        let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        let Some((name, topic)) = key.and_then(|key| key.split_once(MARK)) else { return };
        let place = (name.to_owned(), topic.to_owned());
        let note = record.value.as_deref().map(serde_json::from_slice::<Note>);
        match note {
            Some(Ok(note)) if note.event == EVENT => self.0.insert(place, GroupId(note.group)),
            _ => self.0.remove(&place),
        };
    }

    /// The group that was left, if one was.
    pub(crate) fn of(&self, name: &GroupName, topic: &TopicName) -> Option<GroupId> {
        self.0.get(&(name.to_string(), topic.to_string())).copied()
    }

    /// What is to be kept of a group that is left.
    pub(crate) fn record(name: &GroupName, topic: &TopicName, group: GroupId) -> Record {
        let note = Note { event: EVENT.to_owned(), topic: topic.to_string(), group: group.0 };
        // Strings and numbers only: this cannot fail.
        Record::new(serde_json::to_vec(&note).unwrap_or_default())
            .with_key(format!("{name}{MARK}{topic}"))
            .with_header("content-type", "application/json")
    }
}

impl Broker {
    /// Which group has this name now.
    pub(crate) fn group_id(&self, topic: &TopicName, name: &GroupName) -> Option<GroupId> {
        self.desks().get(topic, name).map(|desk| desk.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_note_of_a_group_counts() {
        let (name, topic): (GroupName, TopicName) = ("s".parse().unwrap(), "in".parse().unwrap());
        let mut left = LeftGroups::default();
        assert_eq!(left.of(&name, &topic), None);
        for number in [7, 9] {
            left.take(&LeftGroups::record(&name, &topic, GroupId(number)));
        }
        left.take(&Record::new("{}").with_key("s"));
        left.take(&Record::new("{}").with_key("s/0/1"));
        assert_eq!(left.of(&name, &topic), Some(GroupId(9)));
        assert_eq!(left.of(&name, &"other".parse().unwrap()), None);
        left.take(&Record::tombstone("s/group/in"));
        assert_eq!(left.of(&name, &topic), None);
    }
}
