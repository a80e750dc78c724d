//! When to try again.

use std::time::Duration;

use tokio::time::Instant;

use super::{ClientError, settle::effect_unknown};
use crate::code::Code;

/// Exponential backoff with full jitter: the wait before try n is random between nothing and
/// `min(backoff_max, backoff_first * 2^(n-1))`, but never shorter than what the broker asks for.
///
/// A broker recognises the repeat of a produce or commit request by its idempotency key, for 5 minutes. So when a try may
/// have gone through, none starts later than that after it, less the client's timeout, even if `give_up_after` is longer:
/// the call then ends with that try's error. A [`Producer`](super::Producer) is remembered for 7 days. Of a broker that is
/// told to forget earlier (`producers.idempotency_window`, `producers.producer_window`) the client does not know: there,
/// `give_up_after` and the timeout together have to be shorter than that, or a repeat may append again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The longest wait before the second try.
    pub backoff_first: Duration,
    /// The longest wait of all.
    pub backoff_max: Duration,
    /// No try starts later than this after the first one; zero: one try only.
    pub give_up_after: Duration,
}

impl Default for RetryPolicy {
    /// 50 ms doubling to 5 s, for 2 minutes: longer than a broker takes to restart.
    fn default() -> Self {
        Self {
            backoff_first: Duration::from_millis(50),
            backoff_max: Duration::from_secs(5),
            give_up_after: Duration::from_secs(120),
        }
    }
}

impl RetryPolicy {
    /// A policy of one try.
    #[must_use]
    pub fn never() -> Self {
        Self { give_up_after: Duration::ZERO, ..Self::default() }
    }

    pub(crate) fn start(self) -> Tries {
        Tries { policy: self, started: Instant::now(), failed: 0 }
    }

    /// Calls until it succeeds, fails for good, or the time is over.
    pub(crate) async fn run<T, F>(self, mut call: impl FnMut() -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let mut tries = self.start();
        loop {
            match call().await {
                Ok(answer) => return Ok(answer),
                Err(error) => tries.wait_after(error).await?,
            }
        }
    }

    /// The same for a call with an effect, whose repeats are known for what they are for so long. Once a try may have had
    /// the effect, none starts later than that after it.
    pub(crate) async fn run_while_known<T, F>(
        self,
        known_for: Duration,
        mut call: impl FnMut() -> F,
    ) -> Result<T, GivenUp>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let mut tries = self.start();
        let mut doubt = None;
        loop {
            let begun = tries.started.elapsed();
            let error = match call().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if doubt.is_none() && doubtful(&error) {
                doubt = Some(error.clone());
                let last = begun.saturating_add(known_for);
                tries.policy.give_up_after = tries.policy.give_up_after.min(last);
            }
            if let Err(error) = tries.wait_after(error).await {
                return Err(GivenUp { error, doubt });
            }
        }
    }

    fn backoff_max_after(self, failed: u32) -> Duration {
        let doubled = self.backoff_first.saturating_mul(1 << (failed - 1).min(30));
        doubled.min(self.backoff_max)
    }
}

/// Whether a try that failed so may have had its effect: its answer was lost, or comes from a broker that cannot tell.
fn doubtful(error: &ClientError) -> bool {
    let cannot_tell = matches!(error.code(), Some(Code::StorageFailed | Code::Internal));
    cannot_tell || matches!(error, ClientError::Answer(_)) || effect_unknown(error)
}

/// How the tries of a call with an effect ended.
#[derive(Clone, Debug)]
pub(crate) struct GivenUp {
    /// How the last one failed.
    pub(crate) error: ClientError,
    /// How the first one failed that may have had the effect all the same.
    pub(crate) doubt: Option<ClientError>,
}

impl GivenUp {
    /// What is true of the call and not just of its last try: a refusal says nothing of the tries before it, unless it is
    /// one that the broker comes to only after it has looked for them, or the topic is gone with all that was in it.
    pub(crate) fn told(&self) -> &ClientError {
        let settled = matches!(
            self.error.code(),
            Some(
                Code::OffsetConflict
                    | Code::KeyConflict
                    | Code::LeaseLost
                    | Code::IdempotencyKeyReused
                    | Code::TopicNotFound
            )
        );
        self.doubt.as_ref().filter(|_| !settled).unwrap_or(&self.error)
    }
}

impl From<ClientError> for GivenUp {
    fn from(error: ClientError) -> Self {
        Self { error, doubt: None }
    }
}

impl From<GivenUp> for ClientError {
    fn from(given_up: GivenUp) -> Self {
        given_up.told().clone()
    }
}

/// The tries of one call.
#[derive(Debug)]
pub(crate) struct Tries {
    policy: RetryPolicy,
    started: Instant,
    failed: u32,
}

impl Tries {
    /// Waits until it is time for the next try, or gives the error back when there is to be none.
    pub(crate) async fn wait_after(&mut self, error: ClientError) -> Result<(), ClientError> {
        if !error.retryable() {
            return Err(error);
        }
        self.failed += 1;
        let backoff = self.policy.backoff_max_after(self.failed).mul_f64(fastrand::f64());
        let asked = error.retry_after().unwrap_or_default();
        let left = self.policy.give_up_after.saturating_sub(self.started.elapsed());
        if left.is_zero() || asked > left {
            return Err(error);
        }
        // A backoff that leads beyond the end is cut short: the last try is at the end, not somewhere before it.
        tokio::time::sleep(backoff.max(asked).min(left)).await;
        Ok(())
    }

    /// Something worked: count anew from now.
    pub(crate) fn succeeded(&mut self) {
        *self = self.policy.start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{code::Code, problem::Problem};

    #[test]
    fn the_longest_wait_doubles_up_to_its_bound() {
        let policy = RetryPolicy::default();
        let longest = |failed| policy.backoff_max_after(failed).as_millis();
        assert_eq!([longest(1), longest(2), longest(3)], [50, 100, 200]);
        assert_eq!(longest(u32::MAX), 5_000);
    }

    #[tokio::test(start_paused = true)]
    async fn the_broker_says_how_long_to_wait_at_least() {
        let mut tries = RetryPolicy::default().start();
        let problem =
            Problem::new(Code::Overloaded, "full").with_retry_after(Duration::from_secs(7));
        let before = Instant::now();
        tries.wait_after(problem.into()).await.unwrap();
        assert!(before.elapsed() >= Duration::from_secs(7));
    }

    #[tokio::test(start_paused = true)]
    async fn it_gives_up_in_time_and_at_once_when_it_is_no_use() {
        let problem = |code| ClientError::from(Problem::new(code, "no"));
        let mut tries = 0;
        let started = Instant::now();
        let result: Result<(), _> = RetryPolicy::default()
            .run(|| {
                tries += 1;
                std::future::ready(Err(problem(Code::Overloaded)))
            })
            .await;
        assert_eq!(result.unwrap_err().code(), Some(Code::Overloaded));
        assert!(tries > 20, "{tries}");
        // To the millisecond that a timer rounds up to.
        let took = started.elapsed().as_millis();
        assert!((120_000..=120_001).contains(&took), "the last try is at the end: {took} ms");

        let mut tries = RetryPolicy::default().start();
        assert!(tries.wait_after(problem(Code::TopicNotFound)).await.is_err());
    }

    const KNOWN_FOR: Duration = Duration::from_secs(270);
    const PATIENT: RetryPolicy = RetryPolicy {
        backoff_first: Duration::from_secs(1),
        backoff_max: Duration::from_secs(1),
        give_up_after: Duration::from_secs(3_600),
    };

    fn refused(code: Code) -> ClientError {
        Problem::new(code, "no").into()
    }

    fn gateway() -> ClientError {
        ClientError::Status { status: 504, body: String::new(), retry_after: None }
    }

    /// How a call ends that fails in this way, and at last always like the last of it; and after how long.
    async fn ends(failures: &[ClientError]) -> (GivenUp, Duration) {
        let (started, mut failures) = (Instant::now(), failures.iter());
        let mut last = None;
        let call = || {
            last = failures.next().or(last);
            std::future::ready(Err::<(), _>(last.unwrap().clone()))
        };
        let given_up = PATIENT.run_while_known(KNOWN_FOR, call).await.unwrap_err();
        (given_up, started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_repeated_that_may_be_forgotten() {
        let before = vec![refused(Code::Overloaded); 1_000];
        let (given_up, after) = ends(&before).await;
        assert!(given_up.doubt.is_none() && after > Duration::from_secs(3_590), "none was taken");

        let after_doubt = [gateway(), refused(Code::Overloaded)];
        let (given_up, after) = ends(&after_doubt).await;
        assert!(after <= KNOWN_FOR && after > KNOWN_FOR - Duration::from_secs(2), "{after:?}");
        assert!(matches!(given_up.told(), ClientError::Status { status: 504, .. }));
        let (_, late) = ends(&[before, after_doubt.to_vec()].concat()).await;
        assert!(late > after + Duration::from_secs(300), "counted from the try that is in doubt");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_counts_for_the_tries_before_it_when_they_were_looked_for() {
        for doubt in [gateway(), refused(Code::StorageFailed)] {
            let told = async |code| {
                let (given_up, _) = ends(&[doubt.clone(), refused(code)]).await;
                given_up.told().to_string()
            };
            assert_eq!(told(Code::RecordTooLarge).await, doubt.to_string());
            let conflict = refused(Code::KeyConflict).to_string();
            assert_eq!(told(Code::KeyConflict).await, conflict);
            assert_eq!(told(Code::TopicNotFound).await, refused(Code::TopicNotFound).to_string());
        }
        let (given_up, _) = ends(&[refused(Code::Overloaded), refused(Code::RecordTooLarge)]).await;
        assert_eq!(given_up.told().code(), Some(Code::RecordTooLarge));
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_the_broker_wants_after_the_end_is_not_made_earlier() {
        let mut tries = RetryPolicy::default().start();
        let began = Instant::now();
        tokio::time::advance(Duration::from_secs(118)).await;
        let problem =
            Problem::new(Code::Overloaded, "full").with_retry_after(Duration::from_secs(3));
        assert!(tries.wait_after(problem.into()).await.is_err());
        assert_eq!(began.elapsed().as_secs(), 118, "it did not wait for that");
    }
}
