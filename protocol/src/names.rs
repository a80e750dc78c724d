//! Names that people choose, valid from the moment they exist as a type.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use crate::limits::{GROUP_NAME_BYTES_MAX, TOPIC_NAME_BYTES_MAX};

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

/// The name of a group: 1 to 128 of the characters `A-Z a-z 0-9 . _ -`, but neither `.` nor `..`. Unique in its topic.
///
/// ```
/// use embermq_protocol::GroupName;
///
/// let name: GroupName = "resizers".parse()?;
/// assert_eq!(name.as_str(), "resizers");
/// assert!("a:lease".parse::<GroupName>().is_err());
/// # Ok::<(), embermq_protocol::names::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(Arc<str>);

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It has no characters.
    #[error("a {of} name is empty; it needs 1 to {limit} of A-Z a-z 0-9 . _ -")]
    Empty {
        /// `topic` or `group`.
        of: &'static str,
        /// How many bytes it may have.
        limit: usize,
    },
    /// It is too long.
    #[error("a {of} name of {bytes} bytes is too long, at most {limit} are allowed")]
    TooLong {
        /// `topic` or `group`.
        of: &'static str,
        /// Its length.
        bytes: usize,
        /// How many bytes it may have.
        limit: usize,
    },
    /// It has a character that names may not have.
    #[error("a {of} name has {character:?} at byte {at}; only A-Z a-z 0-9 . _ - are allowed")]
    Character {
        /// `topic` or `group`.
        of: &'static str,
        /// The first such character.
        character: char,
        /// The byte at which it starts.
        at: usize,
    },
    /// It is `.` or `..`.
    #[error("a {of} name cannot be \".\" or \"..\", because these mean folders in a path")]
    Dots {
        /// `topic` or `group`.
        of: &'static str,
    },
}

/// The rule of all names.
fn checked(name: &str, of: &'static str, limit: usize) -> Result<Arc<str>, NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { of, limit });
    }
    if name.len() > limit {
        return Err(NameError::TooLong { of, bytes: name.len(), limit });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if let Some((at, character)) = name.char_indices().find(|&(_, c)| !allowed(c)) {
        return Err(NameError::Character { of, character, at });
    }
    if name == "." || name == ".." {
        return Err(NameError::Dots { of });
    }
    Ok(name.into())
}

macro_rules! name {
    ($name:ident, $of:literal, $limit:expr) => {
        impl $name {
            /// Checks a text and takes it as a name.
            ///
            /// # Errors
            /// [`NameError`], which says what is wrong with it and where.
            pub fn new(name: &str) -> Result<Self, NameError> {
                checked(name, $of, $limit).map(Self)
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameError;

            fn try_from(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(TopicName, "topic", TOPIC_NAME_BYTES_MAX);
name!(GroupName, "group", GROUP_NAME_BYTES_MAX);

impl TopicName {
    /// Whether it begins with `_`: topics of such names are the broker's own, and can only be read from outside.
    ///
    /// ```
    /// # use embermq_protocol::TopicName;
    /// assert!(TopicName::new("_models")?.is_reserved());
    /// assert!(!TopicName::new("models_")?.is_reserved());
    /// # Ok::<(), embermq_protocol::names::NameError>(())
    /// ```
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.as_str().starts_with('_')
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
        assert_eq!(TopicName::new(""), Err(NameError::Empty { of: "topic", limit: 249 }));
        assert_eq!(
            TopicName::new(&"x".repeat(250)),
            Err(NameError::TooLong { of: "topic", bytes: 250, limit: 249 })
        );
        assert_eq!(TopicName::new("."), Err(NameError::Dots { of: "topic" }));
        assert_eq!(TopicName::new(".."), Err(NameError::Dots { of: "topic" }));
        for (name, character, at) in
            [("../x", '/', 2), ("caf\u{e9}", '\u{e9}', 3), ("a b", ' ', 1), ("a\0", '\0', 1)]
        {
            assert_eq!(
                TopicName::new(name),
                Err(NameError::Character { of: "topic", character, at })
            );
        }
        let error = TopicName::new("a/b").unwrap_err().to_string();
        assert_eq!(error, "a topic name has '/' at byte 1; only A-Z a-z 0-9 . _ - are allowed");
    }
}
