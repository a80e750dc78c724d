//! What a bundle's `model.toml` says, as it stands there. Whether it goes with the graph is for `check` to say.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use embermq_inference::ByteCount;
use toml::{Table, Value};

use super::one_line;

/// What people look for in a manifest, in this order: a title, and the key.
const SHOWN: [(&str, &[&str]); 8] = [
    ("name", &["name"]),
    ("about", &["description"]),
    ("license", &["license"]),
    ("source", &["source"]),
    ("takes", &["pre", "kind"]),
    ("gives", &["post", "kind"]),
    ("together", &["batch", "max"]),
    ("labels", &["post", "labels"]),
];

/// What a larger one is, is no manifest.
const BYTES_MAX: u64 = 1 << 20;

/// The model file that a path means: itself, or in the folder what its `model.toml` names, or `model.onnx`.
pub(super) fn model_file(path: &Path) -> PathBuf {
    if !path.is_dir() {
        return path.to_owned();
    }
    let text = text_in(path).ok().flatten().unwrap_or_default();
    let table: Option<Table> = text.parse().ok();
    let named = table.as_ref().and_then(|table| table.get("file")?.as_str());
    // Whoever runs a bundle refuses a file elsewhere; so do we.
    let named = named.filter(|name| Path::new(name).file_name() == Some(name.as_ref()));
    path.join(named.unwrap_or("model.onnx"))
}

/// The manifest of a folder or of a file's metadata. `None`: there is none. `Err`: it cannot be read, or is no TOML.
pub(super) fn read(model: &Path, metadata: &[(String, String)]) -> Result<Option<Table>, String> {
    let carried = || metadata.iter().find(|(key, _)| key == "model.toml");
    let text = match text_in(model).map_err(|error| error.to_string())? {
        Some(text) => text,
        None => match carried() {
            Some((_, text)) => text.clone(),
            None => return Ok(None),
        },
    };
    text.parse().map(Some).map_err(|error: toml::de::Error| error.message().to_owned())
}

/// The text of a folder's manifest. What is no plain file is not opened: a pipe would be waited for.
fn text_in(folder: &Path) -> io::Result<Option<String>> {
    let path = folder.join("model.toml");
    if !fs::metadata(&path).is_ok_and(|about| about.is_file()) {
        return Ok(None);
    }
    let mut text = String::new();
    File::open(&path)?.take(BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > BYTES_MAX {
        let what = format!("it has more than {}", ByteCount(BYTES_MAX));
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(Some(text))
}

/// Lines for people: title and text.
pub(super) fn lines(manifest: &Table) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    for (title, path) in SHOWN {
        if let Some(text) = at(manifest, path).and_then(text_of) {
            lines.push((title, one_line(&text)));
        }
    }
    let known = match manifest.get("golden") {
        Some(Value::Array(all)) => all.len(),
        Some(_) => 1,
        None => 0,
    };
    if known > 0 {
        let plural = if known == 1 { "answer is" } else { "answers are" };
        lines.push(("golden", format!("{known} {plural} known")));
    }
    lines
}

fn at<'a>(manifest: &'a Table, path: &[&str]) -> Option<&'a Value> {
    let (last, tables) = path.split_last()?;
    let mut table = manifest;
    for name in tables {
        table = table.get(*name)?.as_table()?;
    }
    table.get(*last)
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(all) => Some(format!("{} of them", all.len())),
        Value::Table(_) => None,
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_look_for_is_shown_and_the_rest_is_not() {
        let manifest: Table = r#"
            name = "flowers"
            [pre]
            kind = "image"
            mean = 0.5
            [post]
            labels = ["a", "b"]
            [[golden]]
            input = "a.jpg"
            output = "a.json"
        "#
        .parse()
        .unwrap();
        let lines = lines(&manifest);
        let lines: Vec<(&str, &str)> =
            lines.iter().map(|(title, text)| (*title, text.as_str())).collect();
        assert_eq!(
            lines,
            [
                ("name", "flowers"),
                ("takes", "image"),
                ("labels", "2 of them"),
                ("golden", "1 answer is known"),
            ]
        );
    }
}
