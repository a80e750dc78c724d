//! One group: its settings, where it stands, and the way to leases and workers.

use super::{Client, ClientError, From, TopicClient, Worker};
use crate::{
    names::{GroupName, TopicName},
    paths, time,
    v1::{
        CreateGroupRequest, CreateGroupResponse, DeleteGroupRequest, DeleteGroupResponse,
        GetGroupRequest, GetGroupResponse, Group, GroupSettings, Place, Position, RedriveRequest,
        RedriveResponse, SeekRequest, SeekResponse, SoughtPartition, UpdateGroupRequest,
        UpdateGroupResponse, place,
    },
};

/// One group of a topic, whether it exists or not. A clone is cheap.
///
/// ```no_run
/// use embermq_protocol::client::{Client, LeaseOptions};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let workers = Client::new("http://127.0.0.1:7400")?.topic("jobs")?.group("workers")?;
/// for lease in workers.lease(LeaseOptions::default()).await? {
///     match lease.record.value.as_deref() {
///         Some(b"resize 17") => lease.ack().await?,
///         Some(_) => lease.nack(None, "not now").await?,
///         None => lease.reject("a job without a value").await?,
///     };
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GroupClient {
    pub(crate) client: Client,
    pub(crate) topic: TopicName,
    pub(crate) name: GroupName,
}

/// Where a group is set to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seek {
    /// Only this partition. None: all of them.
    pub partition: Option<u32>,
    /// Where to.
    pub to: From,
    /// Only say what it would do.
    pub dry_run: bool,
}

/// Which dead letters of a group to offer once more, or to drop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redrive {
    /// Offsets in the dead-letter topic. Empty: all.
    pub offsets: Vec<u64>,
    /// Only those whose reason or error holds this text.
    pub contains: String,
    /// At most so many. None: all.
    pub max_records: Option<u32>,
    /// Only say what it would do.
    pub dry_run: bool,
    /// Do not offer them: take them off the list of dead letters. The records stay in the dead-letter topic.
    pub drop: bool,
}

impl TopicClient {
    /// One group of this topic, whether it exists or not.
    ///
    /// # Errors
    /// [`ClientError::Name`] when no group can have this name.
    pub fn group(&self, name: &str) -> Result<GroupClient, ClientError> {
        let (client, topic) = (self.client.clone(), self.name.clone());
        Ok(GroupClient { client, topic, name: GroupName::new(name)? })
    }
}

impl GroupClient {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &GroupName {
        &self.name
    }

    /// The topic that it reads.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// Topic and group as requests name them.
    pub(crate) fn names(&self) -> (String, String) {
        (self.topic.as_str().to_owned(), self.name.as_str().to_owned())
    }

    /// Creates the group, or does nothing when it is there with the same settings; `created` says which. Settings that
    /// are unset get their defaults. `start` is only looked at when it is new.
    ///
    /// # Errors
    /// [`ClientError`]; one that is there with other settings is a problem with the code `group_exists`.
    pub async fn create(
        &self,
        settings: GroupSettings,
        start: From,
    ) -> Result<CreateGroupResponse, ClientError> {
        let (topic, group) = self.names();
        let (settings, start) = (Some(settings), Some(place(start)));
        let request = CreateGroupRequest { topic, group, settings, start };
        self.client.connect(paths::CREATE_GROUP, &request).await
    }

    /// The group with its settings, its lag and its partitions.
    ///
    /// # Errors
    /// [`ClientError`]; one that is not there is a problem with the code `group_not_found`.
    pub async fn get(&self) -> Result<Group, ClientError> {
        let (topic, group) = self.names();
        let request = GetGroupRequest { topic, group };
        let answer: GetGroupResponse = self.client.connect(paths::GET_GROUP, &request).await?;
        Ok(answer.group.unwrap_or_default())
    }

    /// Changes the settings that are set and leaves the others. Gives the group as it is now.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn update(&self, settings: GroupSettings) -> Result<Group, ClientError> {
        let (topic, group) = self.names();
        let request = UpdateGroupRequest { topic, group, settings: Some(settings) };
        let answer: UpdateGroupResponse =
            self.client.connect(paths::UPDATE_GROUP, &request).await?;
        Ok(answer.group.unwrap_or_default())
    }

    /// Deletes the group: it forgets what was read. Its dead letters stay.
    ///
    /// # Errors
    /// [`ClientError`]; one that is not there is a problem with the code `group_not_found`. A call whose answer was lost
    /// is not repeated: it would delete a group that was made since under the same name.
    pub async fn delete(&self) -> Result<(), ClientError> {
        let (topic, group) = self.names();
        let request = DeleteGroupRequest { topic, group };
        let DeleteGroupResponse {} =
            self.client.connect_once(paths::DELETE_GROUP, &request).await?;
        Ok(())
    }

    /// Reads on from elsewhere, and says what that means for each partition.
    ///
    /// # Errors
    /// [`ClientError`]. A call whose answer was lost is not repeated, unless it is a dry run: the end may be another one
    /// since, and what was done since would be done again. [`GroupClient::get`] tells where the group is.
    pub async fn seek(&self, seek: Seek) -> Result<Vec<SoughtPartition>, ClientError> {
        let (topic, group) = self.names();
        let Seek { partition, to, dry_run } = seek;
        let request = SeekRequest { topic, group, partition, to: Some(place(to)), dry_run };
        let answer: SeekResponse = if dry_run {
            self.client.connect(paths::SEEK, &request).await?
        } else {
            self.client.connect_once(paths::SEEK, &request).await?
        };
        Ok(answer.partitions)
    }

    /// Offers dead letters to this group once more, with their attempts at zero, or drops them. A repeat whose first
    /// try went through finds fewer of them, so that `done` may then be too small.
    ///
    /// # Errors
    /// [`ClientError`]. With `max_records` and without `offsets` a repeat would take further ones; so a call whose answer
    /// was lost is not repeated then.
    pub async fn redrive(&self, redrive: Redrive) -> Result<RedriveResponse, ClientError> {
        let (topic, group) = self.names();
        let Redrive { offsets, contains, max_records, dry_run, drop } = redrive;
        if max_records == Some(0) {
            // On the wire that would mean all.
            return Ok(RedriveResponse::default());
        }
        let repeatable = dry_run || max_records.is_none() || !offsets.is_empty();
        let max_records = max_records.unwrap_or_default();
        let request =
            RedriveRequest { topic, group, offsets, contains, max_records, dry_run, drop };
        if repeatable {
            self.client.connect(paths::REDRIVE, &request).await
        } else {
            self.client.connect_once(paths::REDRIVE, &request).await
        }
    }

    /// Settings for a worker, which leases records, runs a handler for each, and settles them.
    #[must_use]
    pub fn worker(&self) -> Worker {
        Worker::new(self.clone())
    }
}

fn place(from: From) -> Place {
    let at = match from {
        From::Start => place::At::Position(Position::Start.into()),
        From::End => place::At::Position(Position::End.into()),
        From::Offset(offset) => place::At::Offset(offset),
        From::TimeUs(micros) => place::At::Time(time::Timestamp::from_micros(micros)),
    };
    Place { at: Some(at) }
}
