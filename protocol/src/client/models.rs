//! Models: register a version, look, name it, delete it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Client, ClientError, transport};
use crate::paths;

/// How long a model may take to be sent, loaded and tried out. The largest have gigabytes.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(3_600);

/// A model with its versions and aliases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Model {
    /// Its name.
    pub model: String,
    /// What is registered.
    pub versions: Vec<ModelVersion>,
    /// Which version each alias means.
    pub aliases: BTreeMap<String, String>,
}

/// A version of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelVersion {
    /// The model.
    pub model: String,
    /// The version.
    pub version: String,
    /// `sha256:` and the digest of its files in hexadecimal.
    pub digest: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// When it was registered.
    pub registered: String,
}

#[derive(Deserialize)]
struct ModelList {
    models: Vec<Model>,
}

impl Client {
    /// Registers a version from a file: an ONNX model, or a tar archive of a bundle. The broker loads it and tries it out first. The same
    /// file again changes nothing. `sha256` of the file, in hexadecimal, is checked by the broker.
    ///
    /// # Errors
    /// [`ClientError`]; a model that cannot be run is a problem with the code `model_unusable` and all that is wrong, a version that is there
    /// with another file one with `model_exists`.
    pub async fn register_model(
        &self,
        model: &str,
        version: &str,
        file: &Path,
        sha256: Option<&str>,
    ) -> Result<ModelVersion, ClientError> {
        let path = format!("{}/{}", place(model), segments(&["versions", version]));
        let query: Vec<_> = sha256.iter().map(|digest| ("sha256", (*digest).to_owned())).collect();
        self.retry
            .run(|| async {
                let opened = tokio::fs::File::open(file).await;
                let opened = opened.map_err(|source| ClientError::File {
                    file: file.to_owned(),
                    reason: source.to_string(),
                })?;
                let request = self.transport.request(Method::PUT, &path, &query).body(opened);
                json(request.timeout(REGISTER_TIMEOUT)).await
            })
            .await
    }

    /// All models by name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn models(&self) -> Result<Vec<Model>, ClientError> {
        let list: ModelList = self.ask(Method::GET, paths::MODELS, None).await?;
        Ok(list.models)
    }

    /// A model.
    ///
    /// # Errors
    /// [`ClientError`]; one that is not there is a problem with the code `model_not_found`.
    pub async fn model(&self, model: &str) -> Result<Model, ClientError> {
        self.ask(Method::GET, &place(model), None).await
    }

    /// Lets an alias mean a version. Stages that follow the alias use it from their next batch on.
    ///
    /// # Errors
    /// [`ClientError`]; a version that is not there is a problem with the code `model_not_found`.
    pub async fn set_model_alias(
        &self,
        model: &str,
        alias: &str,
        version: &str,
    ) -> Result<(), ClientError> {
        let path = format!("{}/{}", place(model), segments(&["aliases", alias]));
        let body = serde_json::json!({ "version": version });
        self.ask::<serde_json::Value>(Method::PUT, &path, Some(&body)).await.map(drop)
    }

    /// Takes an alias away.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_model_alias(&self, model: &str, alias: &str) -> Result<(), ClientError> {
        let path = format!("{}/{}", place(model), segments(&["aliases", alias]));
        self.tell(Method::DELETE, &path).await
    }

    /// Deletes a version that no stage uses.
    ///
    /// # Errors
    /// [`ClientError`]; one that a stage uses is a problem with the code `model_in_use`.
    pub async fn delete_model_version(
        &self,
        model: &str,
        version: &str,
    ) -> Result<(), ClientError> {
        let path = format!("{}/{}", place(model), segments(&["versions", version]));
        self.tell(Method::DELETE, &path).await
    }

    /// A request with an answer in JSON, which may be repeated.
    pub(super) async fn ask<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<A, ClientError> {
        self.retry
            .run(|| {
                let request = self.transport.request(method.clone(), path, &[]);
                json(match body {
                    Some(body) => request.json(body),
                    None => request,
                })
            })
            .await
    }

    /// A request whose answer says no more than that it was done. All of these take something away that has a name, so
    /// none is repeated once an answer was lost: by then the name may be that of something new.
    pub(super) async fn tell(&self, method: Method, path: &str) -> Result<(), ClientError> {
        let send = || transport::answer(self.transport.request(method.clone(), path, &[]));
        self.run_while_known(Duration::ZERO, send).await?;
        Ok(())
    }
}

async fn json<A: DeserializeOwned>(request: RequestBuilder) -> Result<A, ClientError> {
    let body = transport::answer(request).await?;
    serde_json::from_slice(&body).map_err(|error| ClientError::Answer(error.to_string()))
}

fn place(model: &str) -> String {
    format!("{}/{}", paths::MODELS, segments(&[model]))
}

/// Parts of a path, each as it is meant.
pub(super) fn segments(parts: &[&str]) -> String {
    let encoded: Vec<String> = parts.iter().map(|part| paths::segment(part.as_bytes())).collect();
    encoded.join("/")
}
