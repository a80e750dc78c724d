//! The error JSON of Connect: `{code, message, details[]}`, with `google.rpc.ErrorInfo` and `RetryInfo` as details.

use std::{collections::BTreeMap, time::Duration};

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Problem;
use crate::{code::Code, time};

/// Connect writes no padding; some clients do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const ERROR_INFO: &str = "google.rpc.ErrorInfo";
const RETRY_INFO: &str = "google.rpc.RetryInfo";
/// Who the `reason` of an `ErrorInfo` belongs to.
const DOMAIN: &str = "embermq";
/// Keys of the metadata that are members of a problem of their own.
const RETRYABLE: &str = "retryable";
const REQUEST_ID: &str = "request_id";
const HINT: &str = "hint";

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, prost::Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(btree_map = "string, string", tag = "3")]
    metadata: BTreeMap<String, String>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<time::Duration>,
}

/// An error as Connect sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectError {
    /// One of the 16 codes of google.rpc, in lower case.
    pub code: String,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// Messages with the facts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<ConnectDetail>,
}

/// One message in a [`ConnectError`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectDetail {
    /// The full name of the message.
    #[serde(rename = "type")]
    pub kind: String,
    /// The message in protobuf form, as base64.
    pub value: String,
}

impl ConnectDetail {
    fn of(kind: &str, message: &impl prost::Message) -> Self {
        Self { kind: kind.to_owned(), value: BASE64.encode(message.encode_to_vec()) }
    }

    fn read<M: prost::Message + Default>(&self, kind: &str) -> Option<M> {
        let bytes = (self.kind == kind).then(|| BASE64.decode(&self.value).ok())??;
        M::decode(&bytes[..]).ok()
    }
}

impl ConnectError {
    fn info(&self) -> Option<ErrorInfo> {
        let mut infos = self.details.iter().filter_map(|detail| detail.read(ERROR_INFO));
        infos.find(|info: &ErrorInfo| info.domain == DOMAIN)
    }

    /// Whether a broker made it: another one's error, of a proxy, say, says nothing of what the broker did.
    #[must_use]
    pub fn is_of_broker(&self) -> bool {
        self.info().is_some_and(|info| !info.reason.is_empty())
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl From<&Problem> for ConnectError {
    fn from(problem: &Problem) -> Self {
        let mut metadata: BTreeMap<String, String> =
            problem.details.iter().map(|(name, value)| (name.clone(), text_of(value))).collect();
        metadata.insert(RETRYABLE.to_owned(), problem.retryable.to_string());
        let own = [(REQUEST_ID, &problem.request_id), (HINT, &problem.hint)];
        for (name, value) in own {
            metadata.extend(value.iter().map(|value| (name.to_owned(), value.clone())));
        }
        let info = ErrorInfo { reason: problem.code.clone(), domain: DOMAIN.to_owned(), metadata };

        let mut details = vec![ConnectDetail::of(ERROR_INFO, &info)];
        if let Some(ms) = problem.retry_after_ms {
            let retry = RetryInfo { retry_delay: Some(Duration::from_millis(ms).into()) };
            details.push(ConnectDetail::of(RETRY_INFO, &retry));
        }
        let code = problem.known_code().unwrap_or(Code::Internal);
        Self { code: code.connect().to_owned(), message: problem.detail.clone(), details }
    }
}

impl From<&ConnectError> for Problem {
    /// Facts come back as text. An error without our `ErrorInfo` (of a proxy, say) becomes an `internal` problem
    /// that is retryable when its google.rpc code says so.
    fn from(error: &ConnectError) -> Self {
        let retry = error.details.iter().find_map(|detail| detail.read::<RetryInfo>(RETRY_INFO));
        let mut problem = Self::new(Code::Internal, error.message.clone());
        if let Some(ErrorInfo { reason, mut metadata, .. }) = error.info() {
            if let Ok(code) = reason.parse() {
                problem = Self::new(code, error.message.clone());
            }
            problem.code = reason;
            if let Some(retryable) = metadata.remove(RETRYABLE) {
                problem.retryable = retryable == "true";
            }
            problem.request_id = metadata.remove(REQUEST_ID);
            problem.hint = metadata.remove(HINT);
            problem.details =
                metadata.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
        } else {
            problem.retryable =
                matches!(error.code.as_str(), "unavailable" | "resource_exhausted" | "aborted");
        }
        let delay = retry.and_then(|retry| Duration::try_from(retry.retry_delay?).ok());
        delay.map_or(problem.clone(), |delay| problem.with_retry_after(delay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_survives_connect() {
        for code in Code::all() {
            let problem = Problem::new(code, "what happened")
                .with("limit", "12")
                .with_hint("wait")
                .with_request_id("r-1")
                .with_retry_after(Duration::from_millis(1_500));
            let error = ConnectError::from(&problem);
            assert_eq!(error.code, code.connect());
            assert!(error.is_of_broker() && problem.is_of_broker());
            assert_eq!(Problem::from(&error), problem);
        }
    }

    #[test]
    fn the_error_of_a_proxy_is_understood() {
        let error: ConnectError =
            serde_json::from_str(r#"{"code":"unavailable","message":"upstream"}"#).unwrap();
        let problem = Problem::from(&error);
        assert_eq!(problem.known_code(), Some(Code::Internal));
        assert!(problem.retryable);
        assert!(!error.is_of_broker());
    }

    #[test]
    fn the_facts_of_somebody_else_are_not_ours() {
        let info = ErrorInfo {
            reason: "topic_not_found".to_owned(),
            domain: "proxy.example".to_owned(),
            metadata: BTreeMap::new(),
        };
        let details = vec![ConnectDetail::of(ERROR_INFO, &info)];
        let error = ConnectError { code: "not_found".to_owned(), message: String::new(), details };
        assert!(!error.is_of_broker());
        assert_eq!(Problem::from(&error).known_code(), Some(Code::Internal));
    }
}
