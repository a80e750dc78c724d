//! Reading a TOML table key by key. What is wrong is collected, so that all of it is reported at once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::BundleProblem;
use crate::nearest::nearest;

/// A manifest's text, and what is wrong in it so far.
#[derive(Debug)]
pub(crate) struct Sheet<'t> {
    file: PathBuf,
    text: &'t str,
    problems: RefCell<Vec<BundleProblem>>,
}

impl<'t> Sheet<'t> {
    pub(crate) fn new(file: &Path, text: &'t str) -> Self {
        Self { file: file.to_owned(), text, problems: RefCell::default() }
    }

    pub(crate) fn into_problems(self) -> Vec<BundleProblem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        problems
    }

    /// Something is wrong at a byte of the text.
    pub(crate) fn problem_at(&self, at: usize, key: &str, what: String) {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        let line = if self.text.is_empty() {
            0
        } else {
            1 + before.iter().filter(|byte| **byte == b'\n').count()
        };
        let (file, key) = (self.file.clone(), key.to_owned());
        self.problems.borrow_mut().push(BundleProblem { file, line, key, what });
    }
}

/// A table of the manifest, or its absence, which reads as an empty one.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    sheet: &'a Sheet<'a>,
    table: Option<&'a DeTable<'a>>,
    name: String,
    /// Where it begins.
    start: usize,
    /// Keys that were asked for: those that there are.
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// The manifest as a whole.
    pub(crate) fn root(sheet: &'a Sheet<'a>, table: &'a DeTable<'a>) -> Self {
        Self::new(sheet, Some(table), String::new(), 0)
    }

    const fn new(
        sheet: &'a Sheet<'a>,
        table: Option<&'a DeTable<'a>>,
        name: String,
        start: usize,
    ) -> Self {
        Self { sheet, table, name, start, known: RefCell::new(Vec::new()) }
    }

    /// Whether it stands in the file.
    pub(crate) const fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// Whether the key stands in the file. It counts as known.
    pub(crate) fn has(&self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.borrow_mut().push(key);
        self.table?.get(key)
    }

    fn full(&self, key: &str) -> String {
        match (self.name.as_str(), key) {
            ("", key) => key.to_owned(),
            (name, "") => format!("[{name}]"),
            (name, key) => format!("{name}.{key}"),
        }
    }

    /// Something is wrong with a key; with the section as a whole, if the key is empty.
    pub(crate) fn problem(&self, key: &str, what: impl Into<String>) {
        let value = self.table.and_then(|table| table.get(key));
        let at = value.map_or(self.start, |value| value.span().start);
        self.sheet.problem_at(at, &self.full(key), what.into());
    }

    fn wrong(&self, key: &str, wanted: &str, found: &DeValue<'_>, span: &Range<usize>) {
        let what = format!("expected {wanted}, found {}", describe(found));
        self.sheet.problem_at(span.start, &self.full(key), what);
    }

    fn read<T>(
        &self,
        key: &'static str,
        wanted: &str,
        take: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(key)?;
        let taken = take(value.get_ref());
        if taken.is_none() {
            self.wrong(key, wanted, value.get_ref(), &value.span());
        }
        taken
    }

    /// A text.
    pub(crate) fn text(&self, key: &'static str) -> Option<String> {
        self.read(key, "a text", |value| value.as_str().map(str::to_owned))
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, key: &'static str) -> Option<bool> {
        self.read(key, "true or false", DeValue::as_bool)
    }

    /// A whole number within bounds.
    pub(crate) fn count(
        &self,
        key: &'static str,
        bounds: std::ops::RangeInclusive<usize>,
    ) -> Option<usize> {
        let wanted = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        let within = |value| count_of(value).filter(|count| bounds.contains(count));
        self.read(key, &wanted, within)
    }

    /// Whole numbers within bounds.
    pub(crate) fn counts(
        &self,
        key: &'static str,
        bounds: std::ops::RangeInclusive<usize>,
    ) -> Option<Vec<usize>> {
        let wanted = format!("a list of whole numbers from {} to {}", bounds.start(), bounds.end());
        let within = |value: &'a Spanned<DeValue<'a>>| {
            count_of(value.get_ref()).filter(|count| bounds.contains(count))
        };
        self.read(key, &wanted, |value| value.as_array()?.iter().map(within).collect())
    }

    /// A number.
    pub(crate) fn number(&self, key: &'static str) -> Option<f64> {
        self.read(key, "a number", number_of)
    }

    /// Numbers; one number is a list of one.
    pub(crate) fn numbers(&self, key: &'static str) -> Option<Vec<f64>> {
        self.read(key, "a number or a list of numbers", |value| match value.as_array() {
            Some(list) => list.iter().map(|value| number_of(value.get_ref())).collect(),
            None => Some(vec![number_of(value)?]),
        })
    }

    /// Texts.
    pub(crate) fn texts(&self, key: &'static str) -> Option<Vec<String>> {
        let text = |value: &'a Spanned<DeValue<'a>>| value.get_ref().as_str().map(str::to_owned);
        self.read(key, "a list of texts", |value| value.as_array()?.iter().map(text).collect())
    }

    /// Whether the key's value is a list.
    pub(crate) fn is_list(&self, key: &'static str) -> bool {
        self.get(key).is_some_and(|value| value.get_ref().is_array())
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let value = self.get(key)?;
        let found = value.get_ref().as_str();
        let chosen = words.iter().find(|(word, _)| Some(*word) == found);
        if chosen.is_none() {
            let list: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            let mut wanted = format!("one of {}", list.join(", "));
            let near = found.and_then(|found| nearest(found, words.iter().map(|(word, _)| *word)));
            if let Some(near) = near {
                wanted.push_str(&format!(" (did you mean {near:?}?)"));
            }
            self.wrong(key, &wanted, value.get_ref(), &value.span());
        }
        chosen.map(|(_, chosen)| *chosen)
    }

    /// A table within this one.
    pub(crate) fn section(&self, key: &'static str) -> Self {
        let Some(value) = self.get(key) else {
            return Self::new(self.sheet, None, self.full(key), self.start);
        };
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong(key, "a table", value.get_ref(), &value.span());
        }
        Self::new(self.sheet, table, self.full(key), value.span().start)
    }

    /// A list of tables within this one.
    pub(crate) fn sections(&self, key: &'static str) -> Vec<Self> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(list) = value.get_ref().as_array() else {
            self.wrong(key, "a list of tables", value.get_ref(), &value.span());
            return Vec::new();
        };
        let mut sections = Vec::with_capacity(list.len());
        for value in list.iter() {
            match value.get_ref().as_table() {
                Some(table) => {
                    let (name, start) = (self.full(key), value.span().start);
                    sections.push(Self::new(self.sheet, Some(table), name, start));
                }
                None => self.wrong(key, "a table", value.get_ref(), &value.span()),
            }
        }
        sections
    }

    /// A table of the file's own keys: numbers by name.
    pub(crate) fn numbers_by_name(&self, key: &'static str) -> BTreeMap<String, f64> {
        self.by_name(key, "a number", number_of)
    }

    /// A table of the file's own keys: texts by name.
    pub(crate) fn texts_by_name(&self, key: &'static str) -> BTreeMap<String, String> {
        self.by_name(key, "a text", |value| value.as_str().map(str::to_owned))
    }

    /// A table of the file's own keys: texts, numbers, `true` and `false` by name.
    pub(crate) fn values_by_name(&self, key: &'static str) -> BTreeMap<String, Json> {
        self.by_name(key, "a text, a number, true or false", |value| {
            let text = value.as_str().map(Json::from).or_else(|| value.as_bool().map(Json::from));
            let count = || count_of(value).map(Json::from);
            text.or_else(count).or_else(|| number_of(value).map(Json::from))
        })
    }

    fn by_name<T>(
        &self,
        key: &'static str,
        wanted: &str,
        take: impl Fn(&DeValue<'_>) -> Option<T>,
    ) -> BTreeMap<String, T> {
        let section = self.section(key);
        let mut found = BTreeMap::new();
        for (name, value) in section.table.into_iter().flatten() {
            let name = name.get_ref();
            match take(value.get_ref()) {
                Some(taken) => drop(found.insert(name.to_string(), taken)),
                None => section.wrong(name, wanted, value.get_ref(), &value.span()),
            }
        }
        found
    }

    /// Reports the keys that nobody asked for.
    pub(crate) fn finish(&self) {
        self.report_unknown(true);
    }

    /// Reports the keys that were probably meant to be others, where reading ended early and did not ask for all keys.
    pub(crate) fn finish_early(&self) {
        self.report_unknown(false);
    }

    fn report_unknown(&self, all: bool) {
        let known = self.known.borrow();
        for (key, _) in self.table.into_iter().flatten() {
            let word: &str = key.get_ref();
            if known.contains(&word) {
                continue;
            }
            let mut what = "there is no such key".to_owned();
            if let Some(near) = nearest(word, known.iter().copied()) {
                what.push_str(&format!("; did you mean {near:?}?"));
            } else if !all {
                continue;
            } else {
                let mut words = known.clone();
                words.sort_unstable();
                words.dedup();
                what.push_str(&format!("; here are {}", words.join(", ")));
            }
            self.sheet.problem_at(key.span().start, &self.full(word), what);
        }
    }
}

fn integer_of(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn count_of(value: &DeValue<'_>) -> Option<usize> {
    usize::try_from(integer_of(value)?).ok()
}

#[expect(clippy::cast_precision_loss, reason = "people write small numbers")]
fn number_of(value: &DeValue<'_>) -> Option<f64> {
    let float = value.as_float().and_then(|float| float.as_str().parse::<f64>().ok());
    float.or_else(|| integer_of(value).map(|integer| integer as f64)).filter(|n| n.is_finite())
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(integer) => integer.as_str().to_owned(),
        DeValue::Float(float) => float.as_str().to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(list) => format!("a list of {}", list.len()),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str, read: impl FnOnce(Section<'_>)) -> Vec<String> {
        let table = DeTable::parse(text).unwrap().into_inner();
        let sheet = Sheet::new(Path::new("model.toml"), text);
        read(Section::root(&sheet, &table));
        sheet.into_problems().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_mistakes_are_reported_with_line_and_key() {
        let text = "[pre]\nresise = 1\nwidth = 0\nmean = [1, \"x\"]\nfilter = \"bilinaer\"\n";
        let found = problems(text, |root| {
            let pre = root.section("pre");
            assert_eq!(pre.count("width", 1..=9), None);
            assert_eq!(pre.numbers("mean"), None);
            assert_eq!(pre.text("resize"), None);
            assert_eq!(pre.choice("filter", &[("bilinear", 1), ("nearest", 2)]), None);
            pre.finish();
            root.finish();
        });
        let expected = [
            "model.toml:2: pre.resise: there is no such key; did you mean \"resize\"?",
            "model.toml:3: pre.width: expected a whole number from 1 to 9, found 0",
            "model.toml:4: pre.mean: expected a number or a list of numbers, found a list of 2",
            "model.toml:5: pre.filter: expected one of \"bilinear\", \"nearest\" (did you mean \"bilinear\"?), found \"bilinaer\"",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn numbers_are_read_in_every_form() {
        let text = "a = 0x10\nb = 1_000\nc = 1_0.5e1\nd = inf\n[e]\nx = 1\ny = true\n";
        let found = problems(text, |root| {
            assert_eq!(root.count("a", 0..=99), Some(16));
            assert_eq!(root.number("b"), Some(1000.0));
            assert_eq!(root.number("c"), Some(105.0));
            assert_eq!(root.number("d"), None);
            assert_eq!(root.numbers_by_name("e").len(), 1);
            root.finish();
        });
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
