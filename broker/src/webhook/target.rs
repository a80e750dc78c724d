//! Where a webhook posts to: a URL that can be posted to, and nothing else.

use std::fmt;
use std::str::FromStr;

use axum::http::Uri;
use url::Url;

/// Longer URLs are refused.
const BYTES_MAX: usize = 2_048;

/// A URL with `http` or `https`, a host, and neither user nor fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    url: Url,
    uri: Uri,
}

/// Why a text is no URL for a webhook.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetInvalid {
    /// It is no URL at all.
    #[error("url {text:?}: {reason}; write it whole, such as https://example.com/hook")]
    Malformed {
        /// As it was given.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// It is of another kind.
    #[error("url: the scheme is {scheme}; a webhook posts to http and https only")]
    Scheme {
        /// What it is.
        scheme: String,
    },
    /// It has a user or a password.
    #[error(
        "url: it has a user or a password, which would be shown to whoever reads the webhook; the signature says who posts"
    )]
    Credentials,
    /// It has a fragment.
    #[error("url: it has a fragment (#), which is never sent; leave it away")]
    Fragment,
    /// It is too long.
    #[error("url: it has {bytes} bytes, at most {BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

impl FromStr for Target {
    type Err = TargetInvalid;

    fn from_str(text: &str) -> Result<Self, TargetInvalid> {
        if text.len() > BYTES_MAX {
            return Err(TargetInvalid::TooLong { bytes: text.len() });
        }
        let malformed = |reason: String| TargetInvalid::Malformed { text: text.to_owned(), reason };
        let url = Url::parse(text).map_err(|error| {
            // A password in it is not to be repeated.
            let text = if text.contains('@') { "..".to_owned() } else { text.to_owned() };
            TargetInvalid::Malformed { text, reason: error.to_string() }
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(TargetInvalid::Scheme { scheme: url.scheme().to_owned() });
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetInvalid::Credentials);
        }
        if url.fragment().is_some() {
            return Err(TargetInvalid::Fragment);
        }
        if url.port() == Some(0) {
            return Err(malformed("there is no port 0".to_owned()));
        }
        let uri = url.as_str().parse::<Uri>().map_err(|error| malformed(error.to_string()))?;
        Ok(Self { url, uri })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str())
    }
}

impl Target {
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Target, TargetInvalid> {
        text.parse()
    }

    #[test]
    fn hosts_that_are_numbers_are_addresses_in_whatever_notation() {
        for text in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://%31%32%37.0.0.1/",
            "http:\\\\127.0.0.1/",
            "HTTP://127.0.0.1./",
            "http://\u{2460}27.0.0.1/",
        ] {
            let target = read(text).unwrap();
            assert_eq!(target.uri().host(), Some("127.0.0.1"), "{text}");
        }
        let mapped = read("https://[::ffff:a9fe:a9fe]:8443/x?y=1").unwrap();
        assert_eq!(mapped.uri().host(), Some("[::ffff:a9fe:a9fe]"));
    }

    #[test]
    fn what_cannot_be_posted_to_is_refused_with_the_reason() {
        let long = format!("https://example.com/{}", "x".repeat(2_048));
        let table = [
            ("", "relative URL"),
            ("example.com/hook", "relative URL"),
            ("ftp://example.com/", "the scheme is ftp"),
            ("file:///etc/passwd", "the scheme is file"),
            ("gopher://example.com/", "the scheme is gopher"),
            ("unix:/run/x.sock", "the scheme is unix"),
            ("http://", "empty host"),
            ("http://user@example.com/", "a user or a password"),
            ("http://:pass@example.com/", "a user or a password"),
            ("http://example.com/#x", "a fragment"),
            ("http://example.com:0/", "no port 0"),
            ("http://example.com:99999/", "invalid port"),
            ("http://[::1/", "invalid IPv6"),
            (long.as_str(), "at most 2048"),
        ];
        for (text, expected) in table {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let error = read("http://user:hunter2@exa mple.com/").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
