//! Errors as documents: RFC 9457 problem details over REST, the error JSON of Connect; one can be made from the other.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{code::Code, paths};

mod connect;

pub use connect::{ConnectDetail, ConnectError};

/// An error as `application/problem+json`.
///
/// ```
/// use std::time::Duration;
/// use embermq_protocol::{Code, Problem};
///
/// let problem = Problem::new(Code::StorageFull, "the data folder has 3.1 MiB free, a new segment needs 16 MiB")
///     .with_retry_after(Duration::from_secs(1))
///     .with_hint("delete or shorten a topic, or add space");
/// assert_eq!(problem.status, 507);
/// assert_eq!(problem.kind, "/errors/storage_full");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// `/errors/<code>`, where the code is explained.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The code in words; the same for every case.
    #[serde(default)]
    pub title: String,
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// The stable code, as text: a newer broker may know codes that this version does not.
    #[serde(default)]
    pub code: String,
    /// What happened, what the limit is, what to do.
    #[serde(default)]
    pub detail: String,
    /// The same request may succeed later.
    #[serde(default)]
    pub retryable: bool,
    /// When to try again, if the broker has an idea.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The facts of the case, for programs: expected and actual values, limits, ranges.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, Value>,
    /// The request in the broker's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What to do, when it is not obvious.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// A case of a code, in words.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("{}{code}", paths::ERRORS),
            title: code.title().to_owned(),
            status: code.status(),
            code: code.as_str().to_owned(),
            detail: detail.into(),
            retryable: code.retryable(),
            retry_after_ms: None,
            details: BTreeMap::new(),
            request_id: None,
            hint: None,
        }
    }

    /// The same with one more fact.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.details.insert(name.into(), value.into());
        self
    }

    /// The same with a time to wait before trying again.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// The same with advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with the name of the request in the log.
    #[must_use]
    pub fn with_request_id(mut self, request_id: impl Into<String>) -> Self {
        self.request_id = Some(request_id.into());
        self
    }

    /// The code, if this version knows it.
    #[must_use]
    pub fn known_code(&self) -> Option<Code> {
        self.code.parse().ok()
    }

    /// Whether a broker made it: another one's `application/problem+json`, of a proxy, say, has no code and says nothing of
    /// what the broker did.
    #[must_use]
    pub fn is_of_broker(&self) -> bool {
        !self.code.is_empty() && self.kind.starts_with(paths::ERRORS)
    }

    /// The value of the header `Retry-After`: whole seconds, rounded up, as the header has no smaller unit.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after_ms.map(|ms| ms.div_ceil(1_000))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.detail, self.code)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_looks_as_the_design_shows_it() {
        let problem = Problem::new(Code::StorageFull, "the data folder has 3.1 MiB free")
            .with_retry_after(Duration::from_secs(1));
        assert_eq!(
            serde_json::to_string(&problem).unwrap(),
            r#"{"type":"/errors/storage_full","title":"storage full","status":507,"code":"storage_full","detail":"the data folder has 3.1 MiB free","retryable":true,"retry_after_ms":1000}"#
        );
    }

    #[test]
    fn a_problem_of_a_newer_broker_is_read() {
        let text = r#"{"code":"quota_of_the_moon","status":499,"retryable":true,"new":[1]}"#;
        let problem: Problem = serde_json::from_str(text).unwrap();
        assert_eq!(problem.known_code(), None);
        assert!(problem.retryable);
    }

    #[test]
    fn retry_after_is_never_earlier_than_meant() {
        let problem = Problem::new(Code::Overloaded, "full");
        for (ms, seconds) in [(0, 0), (1, 1), (1_000, 1), (1_001, 2)] {
            let problem = problem.clone().with_retry_after(Duration::from_millis(ms));
            assert_eq!(problem.retry_after_seconds(), Some(seconds));
        }
    }
}
