//! Which record of the input a refusal is about.

use embermq_protocol::Code;
use embermq_protocol::client::ClientError;

use crate::cli::Failure;

/// The broker counts the records of its request, which is not how the input counts: the line says which record it is.
pub(super) fn of_line(line: Option<u64>, error: ClientError) -> Failure {
    let about_record = matches!(error, ClientError::RecordTooLarge { .. })
        || matches!(
            error.code(),
            Some(Code::RecordTooLarge | Code::BodyTooLarge | Code::MalformedBody)
        );
    match (line, Failure::from(error)) {
        (Some(line), Failure::Told { exit, message }) if about_record => {
            Failure::new(exit, format!("line {line}: {message}"))
        }
        (_, failure) => failure,
    }
}
