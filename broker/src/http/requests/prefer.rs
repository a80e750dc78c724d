//! `Prefer: wait=SECONDS` and `respond-async`: <https://www.rfc-editor.org/rfc/rfc7240>

use std::time::Duration;

use axum::http::HeaderMap;
use embermq_protocol::limits::FETCH_WAIT_MAX;

use crate::http::failure::Failure;

/// How long a call waits that says nothing: most models answer sooner, most clients wait longer.
const CALL_WAIT_DEFAULT: Duration = Duration::from_secs(5);

/// How long the client wants to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) wait: Duration,
    /// It said how long.
    limited: bool,
    /// It said that it wants no answer but where to ask.
    at_once: bool,
}

impl Waiting {
    /// The preferences that were honoured, for `Preference-Applied`. With both, an answer that comes within the wait is given all the same.
    pub(super) fn applied(self) -> Option<String> {
        let wait = format!("wait={}", self.wait.as_secs());
        match (self.at_once, self.limited) {
            (false, false) => None,
            (false, true) => Some(wait),
            (true, false) => Some("respond-async".to_owned()),
            (true, true) => Some(format!("respond-async, {wait}")),
        }
    }

    /// Of a call: a few seconds unless it says otherwise.
    pub(super) fn of_call(headers: &HeaderMap) -> Result<Self, Failure> {
        Self::of(headers, CALL_WAIT_DEFAULT)
    }

    /// Of a question: none unless it says so.
    pub(super) fn of_question(headers: &HeaderMap) -> Result<Self, Failure> {
        Self::of(headers, Duration::ZERO)
    }

    /// Preferences that are not known here are passed over, as the standard wants it; a wait that is none is not, as it is a mistake.
    /// More than the longest wait is that.
    fn of(headers: &HeaderMap, default: Duration) -> Result<Self, Failure> {
        let (mut wait, mut at_once) = (None, false);
        for value in headers.get_all("prefer") {
            let text = String::from_utf8_lossy(value.as_bytes());
            for preference in text.split(',') {
                let bare = preference.split(';').next().unwrap_or_default().trim();
                let (name, value) = bare.split_once('=').unwrap_or((bare, ""));
                if name.trim().eq_ignore_ascii_case("respond-async") {
                    at_once = true;
                }
                // Of several the first one counts.
                if name.trim().eq_ignore_ascii_case("wait") && wait.is_none() {
                    let value = value.trim().trim_matches('"');
                    let seconds = value.parse::<u32>().map_err(|_| {
                        let detail = format!(
                            "header prefer says wait={value:?}, expected whole seconds: wait=10"
                        );
                        Failure::invalid(detail).with("header", "prefer")
                    })?;
                    wait = Some(Duration::from_secs(seconds.into()).min(FETCH_WAIT_MAX));
                }
            }
        }
        let limited = wait.is_some();
        let wait = wait.unwrap_or(if at_once { Duration::ZERO } else { default });
        Ok(Self { wait, limited, at_once })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(values: &[&'static str]) -> Option<(u64, String)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("prefer", axum::http::HeaderValue::from_static(value));
        }
        let waiting = Waiting::of_call(&headers).ok()?;
        Some((waiting.wait.as_secs(), waiting.applied().unwrap_or_default()))
    }

    #[test]
    fn a_client_waits_as_long_as_it_says_and_hears_what_was_applied() {
        let cases: &[(&[&'static str], u64, &str)] = &[
            (&[], 5, ""),
            (&["wait=10"], 10, "wait=10"),
            (&["return=minimal; x=1, Wait = \"7\""], 7, "wait=7"),
            (&["handling=lenient", "wait=3", "wait=4"], 3, "wait=3"),
            (&["respond-async"], 0, "respond-async"),
            (&["respond-async, wait=2"], 2, "respond-async, wait=2"),
            (&["wait=0"], 0, "wait=0"),
            (&["wait=4000000000"], 30, "wait=30"),
        ];
        for (values, wait, applied) in cases {
            assert_eq!(waiting(values), Some((*wait, (*applied).to_owned())), "{values:?}");
        }
        for wrong in ["wait", "wait=", "wait=soon", "wait=-1", "wait=1.5"] {
            assert_eq!(waiting(&[wrong]), None, "{wrong}");
        }
    }
}
