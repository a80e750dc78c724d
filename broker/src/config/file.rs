//! The file layer: TOML with one level of sections, each value with the line it stands on.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{ConfigError, Value};

/// Every key of a file as `section.key`, with its value and its line (from 1), in the order of the file.
pub(super) fn read(path: &Path) -> Result<Vec<(String, Value, usize)>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_path_buf(), source })?;
    parse(path, &text)
}

pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<(String, Value, usize)>, ConfigError> {
    let table = DeTable::parse(text).map_err(|error| ConfigError::NotToml {
        path: path.to_path_buf(),
        line: line_of(text, error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    })?;
    let misplaced = |key: &str, at: usize, problem| ConfigError::Misplaced {
        path: path.to_path_buf(),
        line: line_of(text, at),
        key: key.to_owned(),
        problem,
    };
    let mut settings = Vec::new();
    for (section, content) in table.get_ref() {
        let DeValue::Table(keys) = content.get_ref() else {
            return Err(misplaced(
                section.get_ref(),
                section.span().start,
                "stands outside of a section: put it below a line such as [server]",
            ));
        };
        for (key, value) in keys {
            let name = format!("{}.{}", section.get_ref(), key.get_ref());
            let value =
                scalar(value).map_err(|problem| misplaced(&name, key.span().start, problem))?;
            settings.push((name, value, key.span().start));
        }
    }
    settings.sort_by_key(|(_, _, at)| *at);
    Ok(settings.into_iter().map(|(key, value, at)| (key, value, line_of(text, at))).collect())
}

fn scalar(value: &Spanned<DeValue<'_>>) -> Result<Value, &'static str> {
    match value.get_ref() {
        DeValue::String(text) => Ok(Value::Text(text.clone().into_owned())),
        DeValue::Boolean(flag) => Ok(Value::Flag(*flag)),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(Value::Integer)
            .map_err(|_| "is an integer that does not fit 64 bits"),
        DeValue::Float(_) => Err("is a float: settings are strings, integers and booleans"),
        DeValue::Datetime(_) => Err("is a date: settings are strings, integers and booleans"),
        DeValue::Array(_) => Err("is a list: settings are strings, integers and booleans"),
        DeValue::Table(_) => Err("is a section within a section: there is only one level"),
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|&&byte| byte == b'\n').count() + 1
}
