//! Names that people choose, valid from the moment they exist as a type.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use crate::limits::TOPIC_NAME_BYTES_MAX;

/// The name of a topic: 1 to 249 of the characters `A-Z a-z 0-9 . _ -`, but neither `.` nor `..`.
///
/// So it is a path segment and a metric label as it is, needs no escaping anywhere, and two different names never
/// look alike. A clone is cheap.
///
/// ```
/// use embermq_protocol::TopicName;
///
/// let name: TopicName = "photos.labels".parse()?;
/// assert_eq!(name.as_str(), "photos.labels");
/// assert!("../etc".parse::<TopicName>().is_err());
/// # Ok::<(), embermq_protocol::names::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// Why a text is no name of a topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It has no characters.
    #[error("a topic name is empty; it needs 1 to {TOPIC_NAME_BYTES_MAX} of A-Z a-z 0-9 . _ -")]
    Empty,
    /// It is too long.
    #[error(
        "a topic name of {bytes} bytes is too long, at most {TOPIC_NAME_BYTES_MAX} are allowed"
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It has a character that names may not have.
    #[error("a topic name has {character:?} at byte {at}; only A-Z a-z 0-9 . _ - are allowed")]
    Character {
        /// The first such character.
        character: char,
        /// The byte at which it starts.
        at: usize,
    },
    /// It is `.` or `..`.
    #[error("a topic name cannot be \".\" or \"..\", because these mean folders in a path")]
    Dots,
}

impl TopicName {
    /// Checks a text and takes it as a name.
    ///
    /// # Errors
    /// [`NameError`], which says what is wrong with it and where.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > TOPIC_NAME_BYTES_MAX {
            return Err(NameError::TooLong { bytes: name.len() });
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if let Some((at, character)) = name.char_indices().find(|&(_, c)| !allowed(c)) {
            return Err(NameError::Character { character, at });
        }
        if name == "." || name == ".." {
            return Err(NameError::Dots);
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TopicName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl TryFrom<&str> for TopicName {
    type Error = NameError;

    fn try_from(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for TopicName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_within_the_rule_are_taken() {
        for name in ["a", "A.b_c-9", "...", ".hidden", "-", &"x".repeat(249)] {
            assert_eq!(TopicName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn the_error_says_what_is_wrong_and_where() {
        assert_eq!(TopicName::new(""), Err(NameError::Empty));
        assert_eq!(TopicName::new(&"x".repeat(250)), Err(NameError::TooLong { bytes: 250 }));
        assert_eq!(TopicName::new("."), Err(NameError::Dots));
        assert_eq!(TopicName::new(".."), Err(NameError::Dots));
        for (name, character, at) in
            [("../x", '/', 2), ("caf\u{e9}", '\u{e9}', 3), ("a b", ' ', 1), ("a\0", '\0', 1)]
        {
            assert_eq!(TopicName::new(name), Err(NameError::Character { character, at }));
        }
        let error = TopicName::new("a/b").unwrap_err().to_string();
        assert_eq!(error, "a topic name has '/' at byte 1; only A-Z a-z 0-9 . _ - are allowed");
    }
}
