//! Stages: attach a model to a topic, look, pause, and take it away.
//!
//! What a stage may be told grows with the broker, so it goes as JSON: `docs/stages.md` lists the keys.

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::models::segments;
use super::{Client, ClientError};
use crate::paths;

#[derive(Deserialize)]
struct StageList {
    stages: Vec<Value>,
}

impl Client {
    /// All stages, with what they are told and how they are doing.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn stages(&self) -> Result<Vec<Value>, ClientError> {
        let list: StageList = self.ask(Method::GET, paths::STAGES, None).await?;
        Ok(list.stages)
    }

    /// A stage.
    ///
    /// # Errors
    /// [`ClientError`]; one that is not there is a problem with the code `stage_not_found`.
    pub async fn stage(&self, stage: &str) -> Result<Value, ClientError> {
        self.ask(Method::GET, &place(stage), None).await
    }

    /// Makes a stage, or changes one: what it has begun is finished first. Gives it as it is then.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_stage(&self, stage: &str, config: &Value) -> Result<Value, ClientError> {
        self.ask(Method::PUT, &place(stage), Some(config)).await
    }

    /// Lets a stage lease nothing more; what it has begun is finished.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn pause_stage(&self, stage: &str) -> Result<Value, ClientError> {
        self.ask(Method::POST, &format!("{}:pause", place(stage)), None).await
    }

    /// Lets a stage go on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn resume_stage(&self, stage: &str) -> Result<Value, ClientError> {
        self.ask(Method::POST, &format!("{}:resume", place(stage)), None).await
    }

    /// Removes a stage; what it has begun is finished. Its group stays, so that one of the same name goes on there.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_stage(&self, stage: &str) -> Result<(), ClientError> {
        self.tell(Method::DELETE, &place(stage)).await
    }
}

fn place(stage: &str) -> String {
    format!("{}/{}", paths::STAGES, segments(&[stage]))
}
