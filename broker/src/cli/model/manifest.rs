//! What a bundle's `model.toml` says, for `info`: as it stands there. Whether it goes with the graph is for `check` to say.

use std::path::Path;

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

/// The manifest of a folder or of a file's metadata. `None`: there is none. `Err`: it is no TOML.
pub(super) fn read(model: &Path, metadata: &[(String, String)]) -> Result<Option<Table>, String> {
    let text = match std::fs::read_to_string(model.join("model.toml")) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            return Err("it is no UTF-8 text".to_owned());
        }
        Err(_) => match metadata.iter().find(|(key, _)| key == "model.toml") {
            Some((_, text)) => text.clone(),
            None => return Ok(None),
        },
    };
    text.parse().map(Some).map_err(|error: toml::de::Error| error.message().to_owned())
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
