//! An answer in headers: the output is its input once more, which the next stage reads as it came and may choose by what this one says.
//!
//! The headers carry the stage's name, so that those of one stage behind the other do not get in each other's way.

use embermq_protocol::limits::RECORD_HEADERS_MAX;
use embermq_protocol::names::GroupName;
use embermq_protocol::v1::Header;

use super::output::PROVENANCE;
use super::processor::Output;
use crate::record::Record;
use crate::requests::CALL_HEADER;

/// Headers are read with every record, by every filter, and may have to fit into a request of HTTP.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// The names of the headers of a stage: the answer, the label of its best class, and the score of that.
pub(crate) fn header_names(stage: &GroupName) -> [String; 3] {
    ["answer", "label", "score"].map(|what| format!("x-{what}-{stage}"))
}

/// The input with its answer in headers, without what it says of itself as an output: that is told anew, in `provenance` headers.
///
/// # Errors
/// Why it can never have them.
pub(super) fn in_headers(
    stage: &GroupName,
    input: &Record,
    made: &Output,
    provenance: usize,
) -> Result<Record, String> {
    let bytes = made.value.len();
    if bytes > ANSWER_BYTES_MAX {
        return Err(format!(
            "answer_too_large: the answer has {bytes} bytes, in headers it may have {ANSWER_BYTES_MAX}; let the model answer less (post.top_k, say), \
             or the stage in the payload (answer)"
        ));
    }
    let [answer, label, score] = header_names(stage);
    let replaced = |name: &str| {
        let ours = [CALL_HEADER, &answer, &label, &score];
        PROVENANCE.iter().chain(&ours).any(|own| name.eq_ignore_ascii_case(own))
    };
    let mut record = input.clone();
    record.headers.retain(|header| !replaced(&header.name));
    let said = said(made);
    let mut add = |name: String, value: bytes::Bytes| record.headers.push(Header { name, value });
    add(answer, made.value.clone());
    for (name, value) in [(label, said.label), (score, said.score)] {
        if let Some(value) = value {
            add(name, value.into());
        }
    }
    // What the output says of itself comes on top.
    let count = record.headers.len() + provenance;
    if count > RECORD_HEADERS_MAX as usize {
        return Err(format!(
            "too_many_headers: the input has {} headers, with the answer there are {count}; a record may have {RECORD_HEADERS_MAX}",
            input.headers.len()
        ));
    }
    Ok(record)
}

/// What an answer says first, where it is one of classes.
#[derive(Debug, Default)]
struct Said {
    label: Option<String>,
    score: Option<String>,
}

#[cfg(feature = "server")]
fn said(made: &Output) -> Said {
    use serde_json::Value;
    let answer = match serde_json::from_slice(&made.value) {
        Ok(Value::Object(answer)) if answer.contains_key("label") => answer,
        _ => return Said::default(),
    };
    let label = answer.get("label").and_then(Value::as_str).map(str::to_owned);
    let score = answer.get("score").filter(|score| score.is_number()).map(Value::to_string);
    Said { label, score }
}

/// Without a server nobody answers with classes.
#[cfg(not(feature = "server"))]
fn said(_made: &Output) -> Said {
    Said::default()
}

#[cfg(test)]
#[cfg(feature = "server")]
mod tests {
    use std::time::Duration;

    use super::*;

    fn stage() -> GroupName {
        "identify".parse().unwrap()
    }

    fn made(answer: impl Into<bytes::Bytes>) -> Output {
        let content_type = "application/json".to_owned();
        let (took, batch_size) = (Duration::ZERO, None);
        Output { value: answer.into(), content_type, nonfinite: false, took, batch_size }
    }

    fn headers(record: &Record) -> Vec<(String, String)> {
        let text = |header: &'_ Header| std::str::from_utf8(&header.value).map(str::to_owned);
        record.headers.iter().map(|header| (header.name.clone(), text(header).unwrap())).collect()
    }

    #[test]
    fn the_input_goes_on_with_what_was_said_of_it() {
        let input = Record::new("a photo")
            .with_key("k")
            .with_header("content-type", "image/jpeg")
            .with_header("X-Stage", "before")
            .with_header("x-call", "identify")
            .with_header("x-label-before", "kept")
            .with_header("x-label-identify", "from an earlier round");
        let answer = r#"{"class":7,"label":"jpeg","score":0.75}"#;
        let record = in_headers(&stage(), &input, &made(answer), 8).unwrap();
        assert_eq!((&record.value, &record.key), (&input.value, &input.key));
        let expected = [
            ("content-type", "image/jpeg"),
            ("x-label-before", "kept"),
            ("x-answer-identify", answer),
            ("x-label-identify", "jpeg"),
            ("x-score-identify", "0.75"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(headers(&record), expected);
    }

    #[test]
    fn what_has_no_label_says_none() {
        let said = |answer: &'static str| {
            let record = in_headers(&stage(), &Record::new("x"), &made(answer), 8).unwrap();
            headers(&record).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(said("[1,2]"), ["x-answer-identify"]);
        assert_eq!(said("no JSON"), ["x-answer-identify"]);
        let unsure = r#"{"class":null,"label":null,"score":0.2}"#;
        assert_eq!(said(unsure), ["x-answer-identify", "x-score-identify"]);
    }

    #[test]
    fn what_headers_cannot_hold_says_so() {
        let large = made(vec![b'1'; ANSWER_BYTES_MAX + 1]);
        let why = in_headers(&stage(), &Record::new("x"), &large, 8).unwrap_err();
        assert!(why.starts_with("answer_too_large: the answer has 16385 bytes"), "{why}");
        let many = (0..RECORD_HEADERS_MAX)
            .fold(Record::new("x"), |record, number| record.with_header(format!("h{number}"), ""));
        let why = in_headers(&stage(), &many, &made("1"), 8).unwrap_err();
        assert!(why.starts_with("too_many_headers: the input has 256 headers"), "{why}");
        // The answer, and eight that say what made it.
        let mut fits = many;
        fits.headers.truncate(RECORD_HEADERS_MAX as usize - 9);
        assert!(in_headers(&stage(), &fits, &made("1"), 8).is_ok());
        assert!(in_headers(&stage(), &fits, &made("1"), 9).is_err());
    }
}
