//! What a program can ask of groups.

use embermq_protocol::names::{GroupName, TopicName};

use super::{
    GroupEdit, GroupInfo, GroupSettings, Lease, LeaseRequest, Redrive, Redriven, Settled,
    Settlement, Sought,
};
use crate::broker::Broker;
use crate::error::CommitError;
use crate::read::From;
use crate::topic::PartitionId;

fn absent() -> CommitError {
    CommitError::Invalid { detail: "being built".to_owned() }
}

impl Broker {
    /// Creates a group, or makes sure that it is there with these settings. True when it was created now; only then `start`
    /// is looked at.
    ///
    /// # Errors
    /// [`CommitError::TopicNotFound`], [`CommitError::GroupExists`] with other settings, [`CommitError::Invalid`] settings, or
    /// what can befall any commit.
    pub async fn create_group(
        &self,
        topic: &TopicName,
        group: &GroupName,
        settings: GroupSettings,
        start: From,
    ) -> Result<(GroupInfo, bool), CommitError> {
        Err(absent())
    }

    /// Changes the settings of a group; what the edit leaves open stays.
    ///
    /// # Errors
    /// [`CommitError::GroupNotFound`], [`CommitError::Invalid`] settings, or what can befall any commit.
    pub async fn edit_group(
        &self,
        topic: &TopicName,
        group: &GroupName,
        edit: GroupEdit,
    ) -> Result<GroupInfo, CommitError> {
        Err(absent())
    }

    /// Deletes a group: it forgets what was read. Its dead letters stay.
    ///
    /// # Errors
    /// [`CommitError::GroupNotFound`], or what can befall any commit.
    pub async fn delete_group(
        &self,
        topic: &TopicName,
        group: &GroupName,
    ) -> Result<(), CommitError> {
        Err(absent())
    }

    /// How a group is doing.
    ///
    /// # Errors
    /// [`CommitError::TopicNotFound`], [`CommitError::GroupNotFound`].
    pub async fn group(
        &self,
        topic: &TopicName,
        group: &GroupName,
    ) -> Result<GroupInfo, CommitError> {
        Err(absent())
    }

    /// The groups of a topic, or all, by topic and name.
    ///
    /// # Errors
    /// [`CommitError::TopicNotFound`].
    pub async fn groups(&self, topic: Option<&TopicName>) -> Result<Vec<GroupInfo>, CommitError> {
        Err(absent())
    }

    /// Takes records of a group, and waits for some where there are none. An empty answer: there were none in time.
    ///
    /// # Errors
    /// [`CommitError::TopicNotFound`], or what can befall any commit.
    pub async fn lease(&self, request: LeaseRequest) -> Result<Vec<Lease>, CommitError> {
        Err(absent())
    }

    /// Settles leases of a group, each on its own: a result for each, in order.
    ///
    /// # Errors
    /// When none was settled. Of one: [`CommitError::InvalidLeaseToken`] or [`CommitError::LeaseLost`].
    pub async fn settle(
        &self,
        topic: &TopicName,
        group: &GroupName,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<Result<Settled, CommitError>>, CommitError> {
        Err(absent())
    }

    /// Reads on from elsewhere, in one partition or in all. A dry run only says what it would do.
    ///
    /// # Errors
    /// [`CommitError::GroupNotFound`], [`CommitError::PartitionNotFound`], or what can befall any commit.
    pub async fn seek_group(
        &self,
        topic: &TopicName,
        group: &GroupName,
        partition: Option<PartitionId>,
        to: From,
        dry_run: bool,
    ) -> Result<Vec<Sought>, CommitError> {
        Err(absent())
    }

    /// Offers dead letters to the group that they failed in once more, with their attempts at zero.
    ///
    /// # Errors
    /// [`CommitError::GroupNotFound`], or what can befall any commit.
    pub async fn redrive(
        &self,
        topic: &TopicName,
        group: &GroupName,
        redrive: Redrive,
    ) -> Result<Redriven, CommitError> {
        Err(absent())
    }
}
