//! A header by its name, which must be in lower case.
//!
//! A map of headers hashes a name that is given as text, after it has read the text as a name: 50 to 80 ns. A produce request is
//! asked for some fifteen headers and has four or five, none of them among those mostly. So short heads are walked through.

use axum::http::{HeaderMap, HeaderValue};

use super::failure::Failure;

/// Heads of up to so many values are walked through.
const WALKED_MAX: usize = 16;

/// The first value of a header.
pub(super) fn named<'h>(headers: &'h HeaderMap, name: &'static str) -> Option<&'h HeaderValue> {
    debug_assert!(
        !name.bytes().any(|byte| byte.is_ascii_uppercase()),
        "{name} is not in lower case"
    );
    if headers.len() > WALKED_MAX {
        return headers.get(name);
    }
    headers.iter().find(|(found, _)| found.as_str() == name).map(|(_, value)| value)
}

/// The value of a header that may be there once. Of two the broker would have to choose one, and whoever sent the other would not
/// learn of it.
pub(super) fn only<'h>(
    headers: &'h HeaderMap,
    name: &'static str,
) -> Result<Option<&'h HeaderValue>, Failure> {
    let Some(value) = named(headers, name) else { return Ok(None) };
    if headers.iter().filter(|(found, _)| found.as_str() == name).nth(1).is_some() {
        let detail = format!("header {name} is given twice; send it once");
        return Err(Failure::invalid(detail).with("header", name));
    }
    Ok(Some(value))
}

/// The text of such a header.
pub(super) fn text<'h>(
    headers: &'h HeaderMap,
    name: &'static str,
) -> Result<Option<&'h str>, Failure> {
    let Some(value) = only(headers, name)? else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes());
    let wrong = |_| Failure::invalid(format!("header {name} is not UTF-8")).with("header", name);
    Ok(Some(text.map_err(wrong)?.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_heads_are_asked_alike() {
        for others in [0_usize, 3, 40] {
            let mut headers = HeaderMap::new();
            for other in 0..others {
                let name: axum::http::HeaderName = format!("x-{other}").parse().unwrap();
                headers.insert(name, HeaderValue::from_static("other"));
            }
            assert_eq!(named(&headers, "key"), None);
            assert_eq!(only(&headers, "key").unwrap(), None);
            headers.append("Key", HeaderValue::from_static("first"));
            assert_eq!(only(&headers, "key").unwrap().unwrap(), "first", "{others}");
            headers.append("key", HeaderValue::from_static("second"));
            assert_eq!(named(&headers, "key").unwrap(), "first", "{others}");
            let refused = only(&headers, "key").unwrap_err();
            assert_eq!(refused.problem().details["header"], "key", "{others}");
        }
    }
}
