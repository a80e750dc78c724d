//! The group of something that runs inside the broker: made when it is not there, else brought to the settings that it wants.

use embermq_protocol::names::{GroupName, TopicName};

use super::{GroupEdit, GroupSettings};
use crate::broker::Broker;
use crate::error::CommitError;
use crate::read::From;

impl Broker {
    /// Makes a group with these settings; one that is there gets them, and keeps its place.
    ///
    /// # Errors
    /// [`CommitError::GroupExists`] when it has another ordering, [`CommitError::TopicNotFound`], [`CommitError::Invalid`] settings, or
    /// what can befall any commit.
    pub(crate) async fn ensure_group(
        &self,
        topic: &TopicName,
        name: &GroupName,
        group: GroupSettings,
        start: From,
    ) -> Result<(), CommitError> {
        match self.create_group(topic, name, group.clone(), start).await {
            Err(CommitError::GroupExists { .. }) => {
                let ordering = self.group(topic, name).await?.settings.ordering;
                if ordering != group.ordering {
                    let (is, wanted) = (ordering.name(), group.ordering.name());
                    let detail = format!(
                        "its ordering is {is} and cannot change, wanted is {wanted}; use another name, or delete the group"
                    );
                    let (topic, group) = (topic.clone(), name.clone());
                    return Err(CommitError::GroupExists { topic, group, detail });
                }
                let edit = GroupEdit {
                    lease: Some(group.lease),
                    attempts_max: Some(group.attempts_max),
                    backoff: Some(group.backoff),
                    in_flight_max: Some(group.in_flight_max),
                    dead_letter_topic: Some(group.dead_letter_topic),
                    filter: Some(group.filter),
                };
                self.edit_group(topic, name, edit).await.map(|_| ())
            }
            made => made.map(|_| ()),
        }
    }

    /// Whether a group is there: a lease would make one, with settings that its member does not want.
    pub(crate) fn has_group(&self, topic: &TopicName, name: &GroupName) -> bool {
        self.desks().get(topic, name).is_some()
    }
}
