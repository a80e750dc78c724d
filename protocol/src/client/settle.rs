//! Settling leases: what became of each, and why not.
//!
//! A settlement whose answer was lost is sent again. When the first try went through, the second one finds a lease that
//! is not the caller's any more, exactly as when somebody else had settled the record. Nobody can tell the two apart
//! from here, so [`SettleError`] says what is known: what is true of the record, and whether an answer was lost before.
//! Where that must not happen, settle with [`Leased::commit`](super::Leased::commit).

use prost::Message as _;

use super::{ClientError, GroupClient};
use crate::{
    code::Code,
    limits::{
        DEAD_ERROR_BYTES_MAX, GROUP_NAME_BYTES_MAX, LEASE_RECORDS_MAX, OTHER_REQUEST_BYTES_MAX,
        TOPIC_NAME_BYTES_MAX,
    },
    paths,
    problem::Problem,
    time::Timestamp,
    v1::{
        AppendResult, Error, SettleRequest, SettleResponse, Settlement, SettlementResult,
        settlement::Decision,
    },
};

/// What settlements may take of a request: all but the names, and the tag and length of each of the two.
const REQUEST_SETTLEMENTS_BYTES_MAX: usize =
    OTHER_REQUEST_BYTES_MAX - TOPIC_NAME_BYTES_MAX - GROUP_NAME_BYTES_MAX - 16;

/// What became of a lease.
#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    /// It is done.
    Acked,
    /// It is offered again at this time.
    Waiting {
        /// When.
        next_attempt_at: Timestamp,
    },
    /// The lease lasts until this time.
    Extended {
        /// When it ends.
        expires_at: Timestamp,
    },
    /// It is in the dead-letter topic.
    Dead {
        /// Where.
        letter: AppendResult,
    },
}

/// Why a lease was not settled.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// The record is settled already. After a lost answer that was most likely this very call; otherwise somebody else.
    #[error("{detail} (already settled{})", lost(*.answer_lost))]
    AlreadySettled {
        /// The answer to an earlier try of this call was lost.
        answer_lost: bool,
        /// What the broker says.
        detail: String,
    },
    /// The lease is not the caller's any more: it ended, the record waits for its next attempt or is somebody else's, or
    /// the group was set to another place.
    #[error("{detail} (lease lost{})", lost(*.answer_lost))]
    Lost {
        /// The answer to an earlier try of this call was lost.
        answer_lost: bool,
        /// What the broker says.
        detail: String,
    },
    /// The call failed otherwise.
    #[error(transparent)]
    Call(#[from] ClientError),
}

const fn lost(answer_lost: bool) -> &'static str {
    if answer_lost { ", perhaps by this call, whose first answer was lost" } else { "" }
}

impl SettleError {
    /// The broker's code, if the broker refused with one that this version knows.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::AlreadySettled { .. } | Self::Lost { .. } => Some(Code::LeaseLost),
            Self::Call(error) => error.code(),
        }
    }

    /// Tells a lost lease from other failures.
    pub(crate) fn of(error: ClientError, answer_lost: bool) -> Self {
        let problem = match error {
            ClientError::Problem(problem) if problem.known_code() == Some(Code::LeaseLost) => {
                problem
            }
            other => return Self::Call(other),
        };
        let state = problem.details.get("state").and_then(|state| state.as_str());
        let settled = state.map_or_else(
            || problem.detail.split(|c: char| !c.is_alphabetic()).any(|word| word == "settled"),
            |state| state == "settled",
        );
        let detail = problem.detail;
        if settled {
            Self::AlreadySettled { answer_lost, detail }
        } else {
            Self::Lost { answer_lost, detail }
        }
    }
}

impl GroupClient {
    /// Settles leases, each on its own: a result for each, in their order. What fails for the moment is tried again.
    ///
    /// ```no_run
    /// use embermq_protocol::{client::{GroupClient, LeaseOptions}, v1::settlement::{Ack, Decision}};
    ///
    /// # async fn example(workers: GroupClient) -> Result<(), Box<dyn std::error::Error>> {
    /// let many = LeaseOptions { max_records: 100, ..LeaseOptions::default() };
    /// let leases = workers.lease(many).await?;
    /// let acks = leases.iter().map(|lease| lease.settlement(Decision::Ack(Ack {}))).collect();
    /// for result in workers.settle(acks).await {
    ///     result?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn settle(
        &self,
        mut settlements: Vec<Settlement>,
    ) -> Vec<Result<Settled, SettleError>> {
        settlements.iter_mut().for_each(shorten);
        let mut results = Vec::with_capacity(settlements.len());
        let mut rest = settlements.as_slice();
        while !rest.is_empty() {
            let (request, behind) = rest.split_at(fitting(rest));
            results.extend(self.settle_request(request).await);
            rest = behind;
        }
        results
    }

    async fn settle_request(
        &self,
        settlements: &[Settlement],
    ) -> Vec<Result<Settled, SettleError>> {
        let (topic, group) = self.names();
        let mut request = SettleRequest { topic, group, settlements: settlements.to_vec() };
        let mut results = Vec::new();
        results.resize_with(settlements.len(), || {
            Err(ClientError::Answer("it has no result for a lease".to_owned()).into())
        });
        let mut open: Vec<usize> = (0..settlements.len()).collect();
        let (mut tries, mut answer_lost) = (self.client.retry.start(), false);
        loop {
            let call = self.client.transport.connect(paths::SETTLE, &request).await;
            let failure = match call {
                Ok(SettleResponse { results: answers }) if answers.len() == open.len() => {
                    let mut again = Vec::new();
                    let mut failure = None;
                    for (index, answer) in open.into_iter().zip(answers) {
                        let result = settled(&settlements[index], answer, answer_lost);
                        if let Err(SettleError::Call(error)) = &result
                            && error.retryable()
                        {
                            again.push(index);
                            failure = Some(error.clone());
                        }
                        results[index] = result;
                    }
                    open = again;
                    failure
                }
                Ok(_) => return results,
                Err(error) => {
                    answer_lost |= effect_unknown(&error);
                    for index in &open {
                        results[*index] = Err(SettleError::of(error.clone(), answer_lost));
                    }
                    Some(error)
                }
            };
            let Some(failure) = failure else { return results };
            if tries.wait_after(failure).await.is_err() {
                return results;
            }
            request.settlements = open.iter().map(|index| settlements[*index].clone()).collect();
        }
    }
}

/// Leaves out what the broker would not keep of an error.
fn shorten(settlement: &mut Settlement) {
    let said = match &mut settlement.decision {
        Some(Decision::Nack(nack)) => &mut nack.error,
        Some(Decision::Reject(reject)) => &mut reject.reason,
        _ => return,
    };
    said.truncate(said.floor_char_boundary(DEAD_ERROR_BYTES_MAX));
}

/// How many of these one request takes; at least one.
fn fitting(settlements: &[Settlement]) -> usize {
    let mut bytes = 0;
    let mut fits = |settlement: &Settlement| {
        let length = settlement.encoded_len();
        bytes += 1 + prost::length_delimiter_len(length) + length;
        bytes <= REQUEST_SETTLEMENTS_BYTES_MAX
    };
    let most = settlements.iter().take(LEASE_RECORDS_MAX as usize);
    most.take_while(|settlement| fits(settlement)).count().max(1)
}

/// Whether a call that failed so may have had its effect.
pub(crate) fn effect_unknown(error: &ClientError) -> bool {
    match error {
        ClientError::Transport { source, .. } => !source.is_connect(),
        ClientError::Status { .. } => true,
        _ => false,
    }
}

/// What the broker says of one settlement.
pub(crate) fn settled(
    settlement: &Settlement,
    result: SettlementResult,
    answer_lost: bool,
) -> Result<Settled, SettleError> {
    if let Some(error) = result.error {
        return Err(SettleError::of(problem(error).into(), answer_lost));
    }
    if let Some(letter) = result.dead_letter {
        return Ok(Settled::Dead { letter });
    }
    let told = match &settlement.decision {
        Some(Decision::Ack(_)) => Some(Settled::Acked),
        Some(Decision::Extend(_)) => {
            result.expires_at.map(|expires_at| Settled::Extended { expires_at })
        }
        _ => result.next_attempt_at.map(|next_attempt_at| Settled::Waiting { next_attempt_at }),
    };
    told.ok_or_else(|| {
        ClientError::Answer("it does not say until when a lease lasts or a record waits".to_owned())
            .into()
    })
}

/// The same facts as a failure of a whole request.
fn problem(error: Error) -> Problem {
    let code = error.code.parse().unwrap_or(Code::Internal);
    let mut problem = Problem::new(code, error.message);
    problem.code = error.code;
    problem.retryable = error.retryable;
    problem.details = error.details.into_iter().map(|(name, value)| (name, value.into())).collect();
    match error.retry_after.map(TryInto::try_into) {
        Some(Ok(wait)) => problem.with_retry_after(wait),
        _ => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::lease;

    #[test]
    fn a_request_is_as_full_as_the_broker_takes_it() {
        let nack = |error: String| Settlement {
            lease: "token".to_owned(),
            decision: Some(lease::nack(None, error)),
        };
        assert_eq!(fitting(&vec![nack(String::new()); 2_500]), 1_000);
        assert_eq!(fitting(&[nack("x".repeat(2 << 20))]), 1);

        let settlements = vec![nack("x".repeat(2_000)); 1_000];
        let request = |count: usize| SettleRequest {
            topic: "t".repeat(TOPIC_NAME_BYTES_MAX),
            group: "g".repeat(GROUP_NAME_BYTES_MAX),
            settlements: settlements[..count].to_vec(),
        };
        let count = fitting(&settlements);
        assert!(request(count).encoded_len() <= OTHER_REQUEST_BYTES_MAX);
        assert!(request(count + 1).encoded_len() > OTHER_REQUEST_BYTES_MAX);
    }

    #[test]
    fn a_long_error_is_cut_at_a_character() {
        let error = format!("x{}", "\u{e9}".repeat(4_000));
        let decision = Some(lease::nack(None, error));
        let mut settlement = Settlement { lease: String::new(), decision };
        shorten(&mut settlement);
        let Some(Decision::Nack(nack)) = settlement.decision else { unreachable!() };
        assert_eq!(nack.error, format!("x{}", "\u{e9}".repeat(2_047)));
    }

    #[test]
    fn a_lost_lease_says_what_is_true_of_the_record() {
        let lost =
            |detail: &str| SettleError::of(Problem::new(Code::LeaseLost, detail).into(), true);
        let settled = lost("settlement 0: the record is settled; nothing was changed");
        assert!(matches!(settled, SettleError::AlreadySettled { answer_lost: true, .. }));
        let regranted = lost("settlement 0: the lease lapsed and was granted again, as attempt 2");
        assert!(matches!(regranted, SettleError::Lost { answer_lost: true, .. }));
        assert_eq!(regranted.code(), Some(Code::LeaseLost));

        let problem = Problem::new(Code::LeaseLost, "in other words").with("state", "settled");
        let settled = SettleError::of(problem.into(), false);
        assert!(matches!(settled, SettleError::AlreadySettled { answer_lost: false, .. }));
        let other = SettleError::of(Problem::new(Code::StorageFull, "settled").into(), false);
        assert!(matches!(other, SettleError::Call(_)));
    }
}
