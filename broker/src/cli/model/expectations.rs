//! What is expected of test folders: a text file with a line for each, its name and a verdict. Kept with the code, so that
//! what works today is known to work tomorrow.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::Failure;

/// A verdict's word.
const WORDS: [&str; 4] = ["ok", "wrong", "unsupported", "error"];

/// Verdicts by the folders' names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expectations(BTreeMap<String, String>);

/// How a verdict compares with what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// As expected, or not known before and no failure.
    None,
    /// Better than it was.
    Improved(&'a str),
    /// Worse than it was, or a failure that nobody expected.
    Regressed(&'a str),
}

impl Expectations {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let failed = |what: String| Failure::usage(format!("{}: {what}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        Self::parse(&text).map_err(failed)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut verdicts = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let pair = line.split_once(' ').map(|(name, word)| (name, word.trim()));
            let Some((name, word)) = pair.filter(|(_, word)| WORDS.contains(word)) else {
                return Err(format!("line {} is no `NAME VERDICT`: {line:?}", number + 1));
            };
            if verdicts.insert(name.to_owned(), word.to_owned()).is_some() {
                return Err(format!("line {}: {name} stands there twice", number + 1));
            }
        }
        Ok(Self(verdicts))
    }

    pub(super) fn set(&mut self, name: &str, word: &str) {
        self.0.insert(name.to_owned(), word.to_owned());
    }

    /// What has changed for a folder.
    pub(super) fn compare(&self, name: &str, word: &str) -> Change<'_> {
        match (self.0.get(name).map(String::as_str), word) {
            (Some(before), now) if before != now => Self::other(before, now),
            (Some(_), _) | (None, "ok" | "unsupported") => Change::None,
            (None, _) => Change::Regressed("new"),
        }
    }

    fn other<'a>(before: &'a str, now: &str) -> Change<'a> {
        match (before, now) {
            (_, "ok") | ("wrong" | "error", "unsupported") => Change::Improved(before),
            _ => Change::Regressed(before),
        }
    }

    /// Folders that are expected and were not among `seen`.
    pub(super) fn unseen(&self, seen: &Self) -> usize {
        self.0.keys().filter(|name| !seen.0.contains_key(*name)).count()
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), Failure> {
        let mut text = String::new();
        for (name, word) in &self.0 {
            text.push_str(&format!("{name} {word}\n"));
        }
        fs::write(path, text)
            .map_err(|error| Failure::unavailable(format!("{}: {error}", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_improvements_pass() {
        let known = "# a remark\n\na ok\nb unsupported\nc wrong\n";
        let known = Expectations::parse(known).unwrap();
        for (name, word, change) in [
            ("a", "ok", Change::None),
            ("a", "unsupported", Change::Regressed("ok")),
            ("b", "ok", Change::Improved("unsupported")),
            ("b", "wrong", Change::Regressed("unsupported")),
            ("c", "wrong", Change::None),
            ("c", "error", Change::Regressed("wrong")),
            ("c", "unsupported", Change::Improved("wrong")),
            ("new", "ok", Change::None),
            ("new", "error", Change::Regressed("new")),
        ] {
            assert_eq!(known.compare(name, word), change, "{name} {word}");
        }
    }

    #[test]
    fn lines_that_say_nothing_are_refused() {
        for text in ["a", "a maybe", "a ok\na ok"] {
            assert!(Expectations::parse(text).is_err(), "{text}");
        }
    }
}
