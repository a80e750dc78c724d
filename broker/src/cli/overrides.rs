//! `--set post.top_k=1`: keys of a model's `model.toml` that are to be others for one stage.

use serde_json::{Map, Value};

/// One key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Override {
    section: &'static str,
    key: String,
    value: Value,
}

/// Reads one. The value is spelt as in a `model.toml`; what is none there is a text, so that words need no quotes.
pub(super) fn parse_override(text: &str) -> Result<Override, String> {
    let (name, value) =
        text.split_once('=').ok_or("write a key and its value: post.top_k=1".to_owned())?;
    let (section, key) = name.trim().split_once('.').unwrap_or((name.trim(), ""));
    let section = match section {
        "pre" => "pre",
        "post" => "post",
        other => {
            return Err(format!(
                "{other:?} cannot be set for a stage: keys of pre and post can, like post.top_k"
            ));
        }
    };
    if key.is_empty() {
        return Err(format!("which key of {section}? write it behind a dot: {section}.kind=..."));
    }
    let value = value.trim();
    let read = format!("value = {value}").parse::<toml::Table>().ok();
    let read = read.filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
    let value = match (value, read) {
        ("null", _) => Value::Null,
        (_, Some(read)) => {
            sayable(&read)?;
            serde_json::to_value(read).map_err(|error| error.to_string())?
        }
        (word, None) => word.into(),
    };
    Ok(Override { section, key: key.to_owned(), value })
}

/// Refuses what JSON has no form for, and would make something else of.
fn sayable(value: &toml::Value) -> Result<(), String> {
    match value {
        toml::Value::Float(number) if !number.is_finite() => {
            Err(format!("{number} is no number that a stage can be told; write a finite one"))
        }
        toml::Value::Datetime(date) => {
            Err(format!("{date} is a date; write \"{date}\" where a text is meant"))
        }
        toml::Value::Array(all) => all.iter().try_for_each(sayable),
        toml::Value::Table(all) => all.iter().try_for_each(|(_, value)| sayable(value)),
        _ => Ok(()),
    }
}

/// The keys of one section; the last of a name counts. `None`: there are none.
pub(super) fn section_of(all: &[Override], section: &str) -> Option<Map<String, Value>> {
    let own = all.iter().filter(|one| one.section == section);
    let keys: Map<_, _> = own.map(|one| (one.key.clone(), one.value.clone())).collect();
    (!keys.is_empty()).then_some(keys)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_spelt_as_in_a_manifest() {
        let value = |text: &str| parse_override(text).unwrap().value;
        assert_eq!(value("post.top_k=1"), json!(1));
        assert_eq!(value("post.threshold = 0.5"), json!(0.5));
        assert_eq!(value("post.threshold=null"), Value::Null);
        for bad in ["post.threshold=inf", "pre.mean=[0.5, nan]", "post.output=2024-01-01"] {
            assert!(parse_override(bad).is_err(), "{bad}");
        }
        assert_eq!(value("pre.mean=[0.5, 1]"), json!([0.5, 1]));
        assert_eq!(value("post.rename={ a = 'b' }"), json!({ "a": "b" }));
        assert_eq!(value("pre.resize=center_crop"), json!("center_crop"));
        assert_eq!(value("pre.at=\"/x=y\""), json!("/x=y"));
    }

    #[test]
    fn sections_are_told_apart() {
        let all =
            ["post.top_k=1", "pre.at=/x", "post.top_k=2"].map(|one| parse_override(one).unwrap());
        let keys = |section| section_of(&all, section).map(Value::from);
        assert_eq!(keys("post"), Some(json!({ "top_k": 2 })));
        assert_eq!(keys("pre"), Some(json!({ "at": "/x" })));
        assert_eq!(section_of(&all[..1], "pre"), None);
    }

    #[test]
    fn what_is_no_key_of_a_section_is_refused() {
        for (text, expected) in [
            ("post.top_k", "write a key and its value"),
            ("batch.max=1", "\"batch\" cannot be set for a stage"),
            ("post=1", "which key of post?"),
        ] {
            let error = parse_override(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
