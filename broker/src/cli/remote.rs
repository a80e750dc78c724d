//! What the verbs share that talk to a server: the client, the runtime, and what its errors mean for the exit code.

use std::future::Future;
use std::time::Duration;

use embermq_protocol::Code;
use embermq_protocol::client::{Client, ClientError, RetryPolicy};

use super::{Exit, Failure, Global};

/// How long a client keeps trying when nothing else is said.
const KEEPS_TRYING: Duration = Duration::from_secs(5);
/// How long one try may take at most, whatever the server is asked to wait itself.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// The client that the flags describe. It does not connect yet.
pub(super) fn client(global: &Global) -> Result<Client, Failure> {
    let give_up_after = global.timeout.unwrap_or(KEEPS_TRYING);
    let retry = RetryPolicy { give_up_after, ..RetryPolicy::default() };
    Ok(Client::builder(&global.url).retry(retry).timeout(answer_within(global.timeout)).build()?)
}

/// How long one try may take. Only who says so waits less than usual: a server that is busy with a large request is not one that
/// cannot be reached. No time at all means one try, not one that is over before it begins.
fn answer_within(timeout: Option<Duration>) -> Duration {
    timeout.filter(|time| !time.is_zero()).map_or(ANSWERS_WITHIN, |time| time.min(ANSWERS_WITHIN))
}

/// Runs a client verb. One thread is enough: the work is waiting.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::unavailable(format!("cannot start a runtime: {error}")))?;
    Ok(runtime.block_on(work))
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let message = match &error {
            ClientError::Problem(problem) => {
                let hint = problem.hint.as_deref().or_else(|| where_to_look(error.code()));
                let hint = hint.map(|hint| format!("; {hint}"));
                format!("{}{}", problem.detail, hint.unwrap_or_default())
            }
            ClientError::Transport { .. } => {
                format!("{error}; is it running? `embermq serve` starts one, --url names another")
            }
            _ => error.to_string(),
        };
        Self::new(exit_of(&error), message)
    }
}

/// What helps with a name that is not known.
const fn where_to_look(code: Option<Code>) -> Option<&'static str> {
    match code {
        Some(Code::TopicNotFound) => Some("`embermq topic list` shows what there is"),
        Some(Code::ScheduleNotFound) => Some("`embermq schedule list TOPIC` shows what there is"),
        Some(Code::ModelNotFound) => Some("`embermq model list` shows what there is"),
        Some(Code::StageNotFound) => Some("`embermq stage list` shows what there is"),
        Some(Code::GroupNotFound) => Some("`embermq group list TOPIC` shows what there is"),
        _ => None,
    }
}

fn exit_of(error: &ClientError) -> Exit {
    match error {
        ClientError::Transport { .. } => Exit::Unavailable,
        ClientError::Problem(problem) if matches!(problem.status, 401 | 403) => Exit::Auth,
        ClientError::Status { status: 401 | 403, .. } => Exit::Auth,
        _ if error.code() == Some(Code::DataDamaged) => Exit::Damage,
        _ if error.retryable() => Exit::Temporary,
        // An older server does not know the verb: nothing was looked for.
        _ if error.code() == Some(Code::RouteNotFound) => Exit::Usage,
        ClientError::Problem(problem) if problem.status == 409 => Exit::Conflict,
        ClientError::Problem(problem) if matches!(problem.status, 404 | 410) => Exit::NotFound,
        ClientError::Problem(problem) if problem.status < 500 => Exit::Usage,
        ClientError::Form(_)
        | ClientError::Name(_)
        | ClientError::Url { .. }
        | ClientError::RecordTooLarge { .. } => Exit::Usage,
        _ => Exit::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_timeout_that_was_given_shortens_a_try() {
        let seconds = Duration::from_secs;
        assert_eq!(answer_within(None), seconds(30));
        assert_eq!(answer_within(Some(seconds(2))), seconds(2));
        assert_eq!(answer_within(Some(seconds(3_600))), seconds(30), "a dead connection ends");
        assert_eq!(answer_within(Some(Duration::ZERO)), seconds(30), "one try, but a whole one");
    }
}
