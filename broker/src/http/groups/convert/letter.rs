//! Dead letters.

use embermq_protocol::limits::{DEAD_LETTERS_PAGE_DEFAULT, DEAD_LETTERS_PAGE_MAX};
use embermq_protocol::v1;
use embermq_storage::Offset;

use super::time_message;
use crate::http::failure::Failure;
use crate::{DeadLetter, DeadLetterQuery};

/// Which open dead letters to list.
pub(in crate::http::groups) fn dead_letter_query(
    message: v1::ListDeadLettersRequest,
) -> Result<DeadLetterQuery, Failure> {
    let limit = match message.max_records {
        0 => DEAD_LETTERS_PAGE_DEFAULT,
        1..=DEAD_LETTERS_PAGE_MAX => message.max_records,
        asked => return Err(too_many_letters(asked).with("field", "max_records")),
    };
    Ok(DeadLetterQuery {
        contains: message.contains,
        after: message.after_offset.map(Offset),
        limit: limit as usize,
    })
}

/// The refusal of a page that would be too large.
fn too_many_letters(asked: u32) -> Failure {
    let detail = format!(
        "{asked} dead letters were asked for, the most is {DEAD_LETTERS_PAGE_MAX}; ask for pages"
    );
    Failure::invalid(detail)
}

/// A dead letter as a message.
pub(in crate::http::groups) fn dead_letter_message(letter: DeadLetter) -> v1::DeadLetter {
    v1::DeadLetter {
        offset: letter.offset.0,
        append_time: time_message(letter.append_time),
        record: Some(letter.record),
    }
}
