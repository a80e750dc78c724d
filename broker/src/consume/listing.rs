//! The dead letters of a group that are open, page by page.
//!
//! A page looks at a bounded part of them, whatever is asked for: one that finds none says where to go on.

use std::sync::Arc;

use embermq_protocol::limits::{DEAD_LETTERS_PAGE_MAX, FETCH_BYTES_MAX};
use embermq_protocol::names::{GroupName, TopicName};
use embermq_storage::{Offset, Timestamp};
use prost::Message as _;

use super::dead_letter::LETTER_PARTITION;
use super::info::{DeadLetter, DeadLetterPage, DeadLetterQuery};
use super::letters::{LETTER_BYTES_GUESS, LetterReader};
use super::settling::dead_letter_topic;
use crate::broker::Broker;
use crate::error::CommitError;
use crate::state::Letters;

/// Bytes of letters that one page looks through, so that no call takes long.
const LOOK_BYTES_MAX: u64 = 16 << 20;

impl Broker {
    /// A page of the dead letters of a group that are open: neither redriven nor dropped. What they say is chosen from as
    /// [`redrive`](Self::redrive) does.
    ///
    /// # Errors
    /// [`CommitError::TopicNotFound`], [`CommitError::GroupNotFound`], [`CommitError::Invalid`] limits, or
    /// [`CommitError::ReadFailed`].
    pub async fn dead_letters(
        &self,
        topic: &TopicName,
        group: &GroupName,
        query: DeadLetterQuery,
    ) -> Result<DeadLetterPage, CommitError> {
        let DeadLetterQuery { contains, after, limit } = query;
        if !(1..=DEAD_LETTERS_PAGE_MAX as usize).contains(&limit) {
            let detail = format!(
                "{limit} dead letters were asked for; a page has 1 to {DEAD_LETTERS_PAGE_MAX}"
            );
            return Err(CommitError::Invalid { detail });
        }
        let desk = self.desk(topic, group)?;
        let state = desk.state();
        let letters_topic = dead_letter_topic(&desk, &state)?;
        let Some(letters_in) = self.topic(&letters_topic) else {
            return Ok(DeadLetterPage {
                topic: letters_topic,
                letters: Vec::new(),
                next_after: None,
            });
        };
        let reader = LetterReader {
            partition: Arc::clone(&letters_in.partitions[LETTER_PARTITION.0 as usize]),
            topic: topic.clone(),
            group: group.clone(),
            contains,
        };
        let open = state.letters.clone();
        let found = tokio::task::spawn_blocking(move || page(&reader, &open, after, limit));
        let (letters, next_after) = found.await.map_err(|_| CommitError::ShuttingDown)??;
        Ok(DeadLetterPage { topic: letters_topic, letters, next_after })
    }
}

/// Letters behind `after`, and behind which offset to go on when there may be more.
fn page(
    reader: &LetterReader,
    open: &Letters,
    after: Option<Offset>,
    limit: usize,
) -> Result<(Vec<DeadLetter>, Option<Offset>), CommitError> {
    let mut letters = Vec::new();
    let (mut look, mut show) = (LOOK_BYTES_MAX, u64::from(FETCH_BYTES_MAX));
    let begin = after.map_or(0, |after| after.0.saturating_add(1));
    for (first, end) in open.runs_from(begin) {
        let mut next = first;
        while next < end {
            if letters.len() >= limit || look == 0 || show == 0 {
                // Something was looked at, so there is an offset before this one.
                return Ok((letters, Some(Offset(next.saturating_sub(1)))));
            }
            let looked = reader.read(next, end, limit - letters.len())?;
            next = looked.next;
            look = look.saturating_sub(looked.bytes.max(LETTER_BYTES_GUESS));
            for stored in looked.letters {
                show = show.saturating_sub(stored.record.encoded_len() as u64);
                letters.push(DeadLetter {
                    offset: Offset(stored.offset),
                    append_time: Timestamp(stored.append_time_us),
                    record: stored.record,
                });
            }
        }
    }
    Ok((letters, None))
}
