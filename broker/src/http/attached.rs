//! What is attached to a topic under a name, as stages and webhooks are: put and shown as a whole, changed by verbs, and at work as a group.

use axum::body::Body;
use axum::http::request::Parts;
use embermq_protocol::code::Code;
use embermq_protocol::names::GroupName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::body::take_body;
use super::failure::Failure;
use super::json::from_object;
use super::models::part;
use super::shared::Shared;
use super::span::render_time;
use super::topics::LIMIT;
use crate::attempt::FailedAttempt;
use crate::consume::GroupInfo;

/// Where the name stands in the path: behind `v1` and `stages` or `webhooks`.
const NAME_PART: usize = 2;

/// Something that can be attached, and what it is called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// For people, and in JSON.
    pub(super) name: &'static str,
    /// Its verbs.
    pub(super) verbs: &'static str,
}

impl Kind {
    /// A name, from wherever it comes.
    pub(super) fn parse(self, text: &str) -> Result<GroupName, Failure> {
        let wrong = |error| format!("{} {text:?}: {error}", self.name);
        GroupName::new(text).map_err(|error| Failure::new(Code::InvalidGroupName, wrong(error)))
    }

    /// The name of a path.
    pub(super) fn name_in(self, path: &str) -> Result<GroupName, Failure> {
        self.parse(&part(path, NAME_PART))
    }

    /// The name of a path, and the verb behind it.
    pub(super) fn verb_in(self, path: &str) -> Result<(GroupName, String), Failure> {
        let last = part(path, NAME_PART);
        let (name, verb) = last.rsplit_once(':').unwrap_or((&last, ""));
        Ok((self.parse(name)?, verb.to_owned()))
    }

    pub(super) fn no_verb(self, verb: &str) -> Failure {
        let Self { name, verbs } = self;
        let detail = format!("a {name} has no verb {verb:?}; it has {verbs}");
        Failure::new(Code::RouteNotFound, detail)
    }

    /// The document of a body.
    pub(super) async fn document<T: DeserializeOwned>(
        self,
        shared: &Shared,
        parts: &Parts,
        body: Body,
    ) -> Result<T, Failure> {
        let taken = take_body(shared, &parts.headers, body, LIMIT).await?;
        let wrong = |error| Failure::malformed(format!("the body is no {}: {error}", self.name));
        from_object(&taken.bytes).map_err(wrong)
    }

    /// What is attached, as it is shown: its document, its name, and how it is doing or why it does not run.
    pub(super) fn show(
        self,
        name: &GroupName,
        document: &impl Serialize,
        status: Option<Value>,
        trouble: Option<&str>,
    ) -> Value {
        // A configuration is plain data: this cannot fail.
        let mut out = serde_json::to_value(document).unwrap_or_default();
        out[self.name] = name.to_string().into();
        out["status"] = match (status, trouble) {
            (Some(status), _) => status,
            (None, Some(trouble)) => json!({ "state": "failed", "reason": trouble }),
            (None, None) => json!({ "state": "starting" }),
        };
        out
    }
}

/// Adds what its group says to what is shown.
pub(super) fn add_group(out: &mut Value, group: &GroupInfo) {
    let seconds = group.lag.unwrap_or_default().as_secs_f64();
    out["status"]["lag"] = json!({ "records": group.lag_records, "seconds": seconds });
    out["status"]["dead_letters_open"] = group.dead.into();
}

/// Adds what failed last to a status.
pub(super) fn add_failure(status: &mut Value, failure: Option<&FailedAttempt>) {
    let Some(failure) = failure else { return };
    status["last_failure"] = json!({
        "time": render_time(failure.time),
        "partition": failure.partition.0,
        "offset": failure.offset.0,
        "attempt": failure.attempt,
        "error": failure.error,
    });
}

/// Does something as a whole, even if whoever asked for it goes away: what was stopped to be changed is started again, and what was
/// committed is known here.
pub(super) async fn to_its_end<T, E>(
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, Failure>
where
    T: Send + 'static,
    E: Send + 'static,
    Failure: From<E>,
{
    let failed = |error| Failure::new(Code::Internal, format!("the change was not made: {error}"));
    Ok(tokio::spawn(work).await.map_err(failed)??)
}
