//! The dead letters of a group that are open: neither redriven nor dropped.

use super::{ClientError, ConsumedRecord, GroupClient};
use crate::{
    paths,
    v1::{DeadLetter, ListDeadLettersRequest, ListDeadLettersResponse},
};

/// Which open dead letters of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterOptions {
    /// Only those whose reason or error holds this text.
    pub contains: String,
    /// [`DeadLetterPage::next_after`] of the page before.
    pub after: Option<u64>,
    /// At most so many, 1,000 at most; 0: 100.
    pub limit: u32,
}

/// A page of open dead letters.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetterPage {
    /// The topic that they lie in; made when it is first needed.
    pub topic: String,
    /// Whole records, with the history of their failing in headers `x-dead-*`, in the order of their offsets.
    pub letters: Vec<ConsumedRecord>,
    /// Where the next page goes on; none: this was the last. A page may be empty and not the last.
    pub next_after: Option<u64>,
}

impl GroupClient {
    /// A page of the group's dead letters that are open.
    ///
    /// # Errors
    /// [`ClientError`]; a group that is not there is a problem with the code `group_not_found`.
    pub async fn dead_letters(
        &self,
        options: DeadLetterOptions,
    ) -> Result<DeadLetterPage, ClientError> {
        let (topic, group) = self.names();
        let DeadLetterOptions { contains, after: after_offset, limit: max_records } = options;
        let request = ListDeadLettersRequest { topic, group, contains, after_offset, max_records };
        let page: ListDeadLettersResponse =
            self.client.connect(paths::LIST_DEAD_LETTERS, &request).await?;
        let letters = page.letters.into_iter().map(found).collect();
        Ok(DeadLetterPage { topic: page.dead_letter_topic, letters, next_after: page.next_after })
    }
}

fn found(letter: DeadLetter) -> ConsumedRecord {
    ConsumedRecord {
        partition: 0,
        offset: letter.offset,
        append_time_us: letter.append_time.and_then(|time| time.micros()).unwrap_or_default(),
        record: letter.record.unwrap_or_default(),
    }
}
