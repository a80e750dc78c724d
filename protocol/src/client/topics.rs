//! Topics: create, look at, change, delete.

use super::{Client, ClientError};
use crate::{
    names::TopicName,
    paths,
    v1::{
        CreateTopicRequest, CreateTopicResponse, DeleteTopicRequest, DeleteTopicResponse,
        GetTopicRequest, GetTopicResponse, ListTopicsRequest, ListTopicsResponse, Topic,
        TopicSettings, UpdateTopicRequest, UpdateTopicResponse,
    },
};

impl Client {
    /// Creates a topic, or does nothing when it is there with the same settings; `created` says which. Settings that
    /// are unset get their defaults.
    ///
    /// # Errors
    /// [`ClientError`]; one that is there with other settings is a problem with the code `topic_exists`.
    pub async fn create_topic(
        &self,
        topic: &str,
        settings: TopicSettings,
    ) -> Result<CreateTopicResponse, ClientError> {
        let topic = name(topic)?;
        let request = CreateTopicRequest { topic, settings: Some(settings) };
        self.connect(paths::CREATE_TOPIC, &request).await
    }

    /// A topic with its settings and partitions.
    ///
    /// # Errors
    /// [`ClientError`]; one that is not there is a problem with the code `topic_not_found`.
    pub async fn get_topic(&self, topic: &str) -> Result<Topic, ClientError> {
        let request = GetTopicRequest { topic: name(topic)? };
        let answer: GetTopicResponse = self.connect(paths::GET_TOPIC, &request).await?;
        Ok(answer.topic.unwrap_or_default())
    }

    /// Every topic whose name starts with `prefix`, in order of their names, without their partitions.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list_topics(&self, prefix: &str) -> Result<Vec<Topic>, ClientError> {
        let mut topics = Vec::new();
        let mut request =
            ListTopicsRequest { prefix: prefix.to_owned(), ..ListTopicsRequest::default() };
        loop {
            let page: ListTopicsResponse = self.connect(paths::LIST_TOPICS, &request).await?;
            topics.extend(page.topics);
            if page.next_page_token.is_empty() || page.next_page_token == request.page_token {
                return Ok(topics);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Changes the settings that are set and leaves the others. Gives the topic as it is now.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn update_topic(
        &self,
        topic: &str,
        settings: TopicSettings,
    ) -> Result<Topic, ClientError> {
        let request = UpdateTopicRequest { topic: name(topic)?, settings: Some(settings) };
        let answer: UpdateTopicResponse = self.connect(paths::UPDATE_TOPIC, &request).await?;
        Ok(answer.topic.unwrap_or_default())
    }

    /// Deletes a topic with all its records.
    ///
    /// # Errors
    /// [`ClientError`]; one that is not there is a problem with the code `topic_not_found`. A call whose answer was lost is
    /// not repeated: it would delete a topic that was made since under the same name.
    pub async fn delete_topic(&self, topic: &str) -> Result<(), ClientError> {
        let request = DeleteTopicRequest { topic: name(topic)? };
        let DeleteTopicResponse {} = self.connect_once(paths::DELETE_TOPIC, &request).await?;
        Ok(())
    }
}

/// Checks the name here, where the error is cheapest.
fn name(topic: &str) -> Result<String, ClientError> {
    Ok(TopicName::new(topic)?.as_str().to_owned())
}
