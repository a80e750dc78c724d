//! Which records a group gets, by their key and headers.
//!
//! ```text
//! filter = and { "or" and }           and = not { "and" not }          not = "not" not | "(" filter ")" | test
//! test   = name "==" text | name "!=" text | name "^=" text | "has" name
//! name   = "key" | header name: letters, digits, "-", "_", "."         text = "…" with \" and \\
//! ```
//!
//! `==` holds when any header of that name has exactly this value, `!=` when none has, `^=` when one begins so, `has` when there is one. Names of
//! headers are compared without regard to case. A record that does not pass counts as done for the group.

use embermq_protocol::v1::Record;

use crate::group::GroupSettings;

/// Deeper nesting is refused: it is read by recursion.
const DEPTH_MAX: u32 = 32;

/// A filter that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Test);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Is(String, Vec<u8>),
    Begins(String, Vec<u8>),
    Has(String),
    Not(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
}

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the filter cannot be read at byte {at}: expected {expected}")]
pub struct FilterInvalid {
    /// Where.
    pub at: usize,
    /// What would have been right.
    pub expected: &'static str,
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`FilterInvalid`], with the place.
    pub fn parse(text: &str) -> Result<Self, FilterInvalid> {
        let mut reader = Reader { text, at: 0, depth: 0 };
        let test = reader.any()?;
        reader.skip_space();
        if reader.at < text.len() {
            return Err(reader.expected("`and`, `or` or the end"));
        }
        Ok(Self(test))
    }

    pub(crate) fn of_settings(settings: &GroupSettings) -> Option<Self> {
        // It was read when it was set.
        (!settings.filter.is_empty()).then(|| Self::parse(&settings.filter).ok()).flatten()
    }

    /// Whether the group gets this record.
    #[must_use]
    pub fn passes(&self, record: &Record) -> bool {
        self.0.holds(record)
    }
}

impl Test {
    fn holds(&self, record: &Record) -> bool {
        match self {
            Self::Is(name, value) => values(record, name).any(|found| found == value),
            Self::Begins(name, value) => values(record, name).any(|found| found.starts_with(value)),
            Self::Has(name) => values(record, name).next().is_some(),
            Self::Not(test) => !test.holds(record),
            Self::All(tests) => tests.iter().all(|test| test.holds(record)),
            Self::Any(tests) => tests.iter().any(|test| test.holds(record)),
        }
    }
}

fn values<'a>(record: &'a Record, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let key = record.key.as_deref().filter(|_| name == "key");
    let named = |header: &&embermq_protocol::v1::Header| header.name.eq_ignore_ascii_case(name);
    let headers = record.headers.iter().filter(named).map(|header| &header.value[..]);
    key.into_iter().chain(headers)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

impl Reader<'_> {
    fn any(&mut self) -> Result<Test, FilterInvalid> {
        let mut tests = vec![self.all()?];
        while self.word("or") {
            tests.push(self.all()?);
        }
        Ok(if tests.len() == 1 { tests.remove(0) } else { Test::Any(tests) })
    }

    fn all(&mut self) -> Result<Test, FilterInvalid> {
        let mut tests = vec![self.not()?];
        while self.word("and") {
            tests.push(self.not()?);
        }
        Ok(if tests.len() == 1 { tests.remove(0) } else { Test::All(tests) })
    }

    fn not(&mut self) -> Result<Test, FilterInvalid> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.expected("less nesting: at most 32 levels"));
        }
        let test = if self.word("not") {
            Test::Not(Box::new(self.not()?))
        } else if self.sign("(") {
            let test = self.any()?;
            if !self.sign(")") {
                return Err(self.expected("`and`, `or` or `)`"));
            }
            test
        } else if self.word("has") {
            Test::Has(self.name()?)
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(test)
    }

    fn comparison(&mut self) -> Result<Test, FilterInvalid> {
        let name = self.name()?;
        if self.sign("==") {
            Ok(Test::Is(name, self.quoted()?))
        } else if self.sign("!=") {
            Ok(Test::Not(Box::new(Test::Is(name, self.quoted()?))))
        } else if self.sign("^=") {
            Ok(Test::Begins(name, self.quoted()?))
        } else {
            Err(self.expected("`==`, `!=` or `^=`"))
        }
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn expected(&self, expected: &'static str) -> FilterInvalid {
        FilterInvalid { at: self.at, expected }
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn sign(&mut self, sign: &str) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(sign);
        self.at += if found { sign.len() } else { 0 };
        found
    }

    /// A word of the language, which ends where a name would.
    fn word(&mut self, word: &str) -> bool {
        self.skip_space();
        let whole = self.rest().strip_prefix(word).is_some_and(|rest| !rest.starts_with(in_name));
        self.at += if whole { word.len() } else { 0 };
        whole
    }

    fn name(&mut self) -> Result<String, FilterInvalid> {
        self.skip_space();
        let rest = self.rest();
        let name = rest.split_once(|c| !in_name(c)).map_or(rest, |(name, _)| name).to_owned();
        if name.is_empty() {
            return Err(self.expected("`key`, the name of a header, `has`, `not` or `(`"));
        }
        self.at += name.len();
        Ok(name)
    }

    fn quoted(&mut self) -> Result<Vec<u8>, FilterInvalid> {
        if !self.sign("\"") {
            return Err(self.expected("a text in double quotes"));
        }
        let mut text = String::new();
        let mut escaped = false;
        for (at, c) in self.rest().char_indices() {
            match c {
                '"' if !escaped => {
                    self.at += at + 1;
                    return Ok(text.into_bytes());
                }
                '\\' if !escaped => escaped = true,
                c => {
                    escaped = false;
                    text.push(c);
                }
            }
        }
        self.at = self.text.len();
        Err(self.expected("the closing double quote"))
    }
}

const fn in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(filter: &str) -> bool {
        let record = Record::new("v").with_key("cam-7");
        let record = record.with_header("Content-Type", "image/png").with_header("x-site", "a\"b");
        Filter::parse(filter).unwrap().passes(&record)
    }

    #[test]
    fn filters_look_at_key_and_headers() {
        for filter in [
            r#"key == "cam-7""#,
            r#"content-type ^= "image/""#,
            r#"x-site == "a\"b""#,
            "has content-type",
            "not has absent",
            r#"absent != "x""#,
            r#"key == "no" or content-type == "image/png" and has x-site"#,
            r#"(key == "no" or has x-site) and not (has absent or key ^= "no")"#,
            r#"not key == "x""#,
        ] {
            assert!(passes(filter), "{filter}");
            assert!(!passes(&format!("not ({filter})")), "{filter}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let wrong = |text: &str| Filter::parse(text).unwrap_err().at;
        assert_eq!(wrong(""), 0);
        assert_eq!(wrong("key = \"x\""), 4);
        assert_eq!(wrong("key == x"), 7);
        assert_eq!(wrong("key == \"x"), 9);
        assert_eq!(wrong("has a has b"), 6);
        assert_eq!(wrong("(has a"), 6);
        assert_eq!(wrong("has a and"), 9);
        assert!(Filter::parse(&"(".repeat(10_000)).is_err());
        assert!(Filter::parse(&"not ".repeat(10_000)).is_err());
    }
}
