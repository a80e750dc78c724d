//! Query parameters, taken by name; what is left over is an error that names it, so that a typo is not ignored.

use std::time::Duration;

use axum::http::Uri;
use embermq_storage::{Offset, Timestamp};

use super::failure::Failure;
use super::span::{parse_duration, parse_time};
use crate::keys::AsOf;

/// The query of a request.
#[derive(Debug)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
    /// What was asked for, for the message about what is left.
    known: Vec<&'static str>,
}

impl Query {
    /// Reads the query of a request's target.
    pub(super) fn of(uri: &Uri) -> Self {
        let text = uri.query().unwrap_or_default();
        let pairs = text
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name), decode(value))
            })
            .collect();
        Self { pairs, known: Vec::new() }
    }

    /// Takes a parameter; twice is an error.
    pub(super) fn take(&mut self, name: &'static str) -> Result<Option<String>, Failure> {
        self.known.push(name);
        let Some(place) = self.pairs.iter().position(|(found, _)| found == name) else {
            return Ok(None);
        };
        let (_, value) = self.pairs.swap_remove(place);
        if self.pairs.iter().any(|(found, _)| found == name) {
            return Err(Failure::invalid(format!("query parameter {name} is given twice")));
        }
        Ok(Some(value))
    }

    /// Takes a whole number.
    pub(super) fn number<N: std::str::FromStr>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<N>, Failure> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        let number = text.parse().map_err(|_| wrong(name, &text, "a whole number"))?;
        Ok(Some(number))
    }

    /// Takes `limit`, which a page has at most; 0 when it is not there, as in messages.
    pub(super) fn limit(&mut self, most: u32) -> Result<u32, Failure> {
        let limit = self.number::<u32>("limit")?;
        if limit.is_some_and(|limit| !(1..=most).contains(&limit)) {
            let detail = format!("limit can be 1 to {most}; ask for pages, or leave it out");
            return Err(Failure::invalid(detail).with("parameter", "limit"));
        }
        Ok(limit.unwrap_or_default())
    }

    /// Takes a duration: `10s`, `1m30s`, or seconds.
    pub(super) fn duration(&mut self, name: &'static str) -> Result<Option<Duration>, Failure> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        let duration = parse_duration(&text)
            .ok_or_else(|| wrong(name, &text, "a duration such as 10s, 1m30s or 250ms"))?;
        Ok(Some(duration))
    }

    /// Takes an RFC 3339 time.
    pub(super) fn time(&mut self, name: &'static str) -> Result<Option<Timestamp>, Failure> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        let time = parse_time(&text)
            .ok_or_else(|| wrong(name, &text, "an RFC 3339 time such as 2026-11-22T10:00:00Z"))?;
        Ok(Some(time))
    }

    /// Takes `as_of`: an offset or an RFC 3339 time.
    pub(super) fn as_of(&mut self) -> Result<Option<AsOf>, Failure> {
        let name = "as_of";
        let Some(text) = self.take(name)? else { return Ok(None) };
        if let Ok(offset) = text.parse() {
            return Ok(Some(AsOf::Offset(Offset(offset))));
        }
        let expected = "an offset or an RFC 3339 time such as 2026-11-22T10:00:00Z";
        let time = parse_time(&text).ok_or_else(|| wrong(name, &text, expected))?;
        Ok(Some(AsOf::Time(time)))
    }

    /// Takes a switch: `true`, `false`, or the bare name for true.
    pub(super) fn switch(&mut self, name: &'static str) -> Result<bool, Failure> {
        match self.take(name)?.as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(text) => Err(wrong(name, text, "true or false")),
        }
    }

    /// Fails when parameters are left that nobody asked for.
    pub(super) fn end(self) -> Result<(), Failure> {
        let Some((name, _)) = self.pairs.first() else { return Ok(()) };
        let known = self.known.join(", ");
        let takes = if known.is_empty() { "no query parameters" } else { &known };
        Err(Failure::invalid(format!(
            "there is no query parameter {name:?} here; this route takes {takes}"
        ))
        .with("parameter", name.clone()))
    }
}

fn wrong(name: &'static str, text: &str, expected: &str) -> Failure {
    Failure::invalid(format!("query parameter {name} is {text:?}, expected {expected}"))
        .with("parameter", name)
}

/// Undoes percent and plus encoding; bytes that are no UTF-8 become the replacement character.
pub(super) fn decode(text: &str) -> String {
    let plus = text.replace('+', " ");
    String::from_utf8_lossy(&percent_decode(&plus)).into_owned()
}

/// Undoes percent encoding; a percent sign without two hex digits stands for itself.
pub(super) fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if *byte == b'%'
            && let (Some(high), Some(low)) = (hex(bytes.get(at + 1)), hex(bytes.get(at + 2)))
        {
            decoded.push(high << 4 | low);
            at += 3;
        } else {
            decoded.push(*byte);
            at += 1;
        }
    }
    decoded
}

fn hex(digit: Option<&u8>) -> Option<u8> {
    match digit? {
        digit @ b'0'..=b'9' => Some(digit - b'0'),
        digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
        digit @ b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::of(&format!("/x?{text}").parse().unwrap())
    }

    #[test]
    fn parameters_are_taken_by_name() {
        let mut given = query("max=10&wait=1m30s&time=2026-11-22T10%3A00%3A00Z&all");
        assert_eq!(given.number::<u32>("max").unwrap(), Some(10));
        assert_eq!(given.duration("wait").unwrap(), Some(Duration::from_secs(90)));
        assert!(given.time("time").unwrap().is_some());
        assert!(given.switch("all").unwrap());
        assert_eq!(given.number::<u32>("other").unwrap(), None);
        given.end().unwrap();
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(query("max=-1").number::<u32>("max").is_err());
        assert!(query("max=1&max=2").number::<u32>("max").is_err());
        assert_eq!(query("limit=7").limit(7).unwrap(), 7);
        assert_eq!(query("").limit(7).unwrap(), 0);
        for limit in ["limit=0", "limit=8", "limit=-1"] {
            let failure = query(limit).limit(7).unwrap_err();
            assert_eq!(failure.problem().details["parameter"], "limit", "{failure:?}");
        }
        assert!(query("wait=soon").duration("wait").is_err());
        assert!(query("time=soon").time("time").is_err());
        assert!(query("all=perhaps").switch("all").is_err());
        let mut given = query("ofset=1");
        assert_eq!(given.number::<u64>("offset").unwrap(), None);
        let failure = given.end().unwrap_err();
        assert!(failure.problem().detail.contains("\"ofset\""), "{failure:?}");
        assert!(failure.problem().detail.contains("offset"), "{failure:?}");
    }

    #[test]
    fn encoding_is_undone() {
        assert_eq!(decode("a+b%20c%2"), "a b c%2");
        assert_eq!(percent_decode("%zz%41"), b"%zzA");
    }
}
