//! Which groups there are.

use super::{Client, ClientError, TopicClient};
use crate::{
    paths,
    v1::{Group, ListGroupsRequest, ListGroupsResponse},
};

impl Client {
    /// The groups of all topics, by topic and name, without their partitions.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn groups(&self) -> Result<Vec<Group>, ClientError> {
        self.groups_of(String::new()).await
    }

    async fn groups_of(&self, topic: String) -> Result<Vec<Group>, ClientError> {
        let request = ListGroupsRequest { topic };
        let answer: ListGroupsResponse = self.connect(paths::LIST_GROUPS, &request).await?;
        Ok(answer.groups)
    }
}

impl TopicClient {
    /// The groups of this topic, by name, without their partitions.
    ///
    /// # Errors
    /// [`ClientError`]; when there is no such topic, a problem with the code `topic_not_found`.
    pub async fn groups(&self) -> Result<Vec<Group>, ClientError> {
        self.client.groups_of(self.name.as_str().to_owned()).await
    }
}
