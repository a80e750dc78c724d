//! Names of models, versions and aliases, and how one is referred to: `name@version` or `name@alias`.

use std::fmt;
use std::str::FromStr;

/// The longest name.
const BYTES_MAX: usize = 100;

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} {reason}")]
pub struct NameInvalid {
    what: &'static str,
    text: String,
    reason: &'static str,
}

fn check(what: &'static str, text: &str) -> Result<String, NameInvalid> {
    let wrong = |reason| Err(NameInvalid { what, text: text.chars().take(120).collect(), reason });
    if text.is_empty() {
        return wrong("is empty");
    }
    if text.len() > BYTES_MAX {
        return wrong("is longer than 100 characters");
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !text.bytes().all(plain) {
        return wrong("has other characters than A-Z, a-z, 0-9, '.', '_' and '-'");
    }
    if text.bytes().all(|byte| byte == b'.') {
        return wrong("has dots only");
    }
    Ok(text.to_owned())
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// As text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameInvalid;

            fn from_str(text: &str) -> Result<Self, NameInvalid> {
                check($what, text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

names! {
    /// The name of a model: 1 to 100 of `A-Za-z0-9._-`.
    ModelName, "model name";
    /// The version of a model, as its owner calls it: the same characters.
    Version, "model version";
    /// Another name for a version, which can be set to another: `champion`. The same characters.
    Alias, "alias";
}

/// SHA-256 of a model's files, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

impl Digest {
    pub(super) fn of_bytes(bytes: &[u8; 32]) -> Self {
        use fmt::Write as _;
        let mut text = String::with_capacity(64);
        for byte in bytes {
            // Writing to a string cannot fail.
            let _ok = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// In hexadecimal, without a prefix.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = NameInvalid;

    /// Takes hexadecimal, with `sha256:` before it or not.
    fn from_str(text: &str) -> Result<Self, NameInvalid> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Self(hex.to_ascii_lowercase()));
        }
        let text = text.chars().take(120).collect();
        Err(NameInvalid { what: "digest", text, reason: "is not 64 hexadecimal digits of SHA-256" })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which version of a model is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// What stands behind the `@`: the version of that name, else what the alias of that name means.
    Named(String),
    /// Nothing was said: the alias `champion`, else the version that was registered last.
    Latest,
}

/// A reference to a model: `name@version`, `name@alias`, or `name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRef {
    /// The model.
    pub name: ModelName,
    /// Which version.
    pub selector: Selector,
}

impl FromStr for ModelRef {
    type Err = NameInvalid;

    fn from_str(text: &str) -> Result<Self, NameInvalid> {
        match text.split_once('@') {
            None => Ok(Self { name: text.parse()?, selector: Selector::Latest }),
            Some((name, selector)) => {
                let selector = check("version or alias", selector)?;
                Ok(Self { name: name.parse()?, selector: Selector::Named(selector) })
            }
        }
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.selector {
            Selector::Named(selector) => write!(f, "{}@{selector}", self.name),
            Selector::Latest => self.name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        assert!("efficientnet-lite0_v2.1".parse::<ModelName>().is_ok());
        for wrong in ["", "..", "a/b", "ä", &"x".repeat(101)] {
            assert!(wrong.parse::<ModelName>().is_err(), "{wrong:?}");
        }
        let error = "a b".parse::<Version>().unwrap_err().to_string();
        assert!(error.starts_with("model version \"a b\" has other characters"), "{error}");
    }

    #[test]
    fn references_read_back() {
        for text in ["m", "m@1", "m@champion"] {
            assert_eq!(text.parse::<ModelRef>().unwrap().to_string(), text);
        }
        assert!("m@".parse::<ModelRef>().is_err());
        assert!("@1".parse::<ModelRef>().is_err());
    }

    #[test]
    fn digests_are_sha256() {
        let hex = "AB".repeat(32);
        let digest: Digest = format!("sha256:{hex}").parse().unwrap();
        assert_eq!(digest.as_str(), hex.to_lowercase());
        assert!("abc".parse::<Digest>().is_err());
    }
}
