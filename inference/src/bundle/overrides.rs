//! What somebody who uses a model wants otherwise than its manifest says: keys of `[pre]` and `[post]`, spelt as there.
//!
//! A key takes the place of the manifest's, with all that it has; `null` takes it away, so that its default holds. A section with another
//! `kind` than the manifest's stands for itself: the keys of one kind mean nothing to another.

use serde_json::{Map, Value as Json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::section::Sheet;

/// Keys of `[pre]` and `[post]` that are to be others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overrides {
    /// Of `[pre]`.
    pub pre: Map<String, Json>,
    /// Of `[post]`.
    pub post: Map<String, Json>,
}

impl Overrides {
    /// Keys of both sections.
    #[must_use]
    pub const fn new(pre: Map<String, Json>, post: Map<String, Json>) -> Self {
        Self { pre, post }
    }

    fn sections(&self) -> [(&'static str, &Map<String, Json>); 2] {
        [("pre", &self.pre), ("post", &self.post)]
    }

    /// As text that a manifest could have; what has no place in one is a problem of the sheet.
    pub(super) fn to_text(&self, sheet: &Sheet<'_>) -> String {
        let mut whole = toml::Table::new();
        for (name, keys) in self.sections() {
            let mut section = toml::Table::new();
            for (key, value) in keys.iter().filter(|(_, value)| !value.is_null()) {
                match toml::Value::try_from(value) {
                    Ok(value) => drop(section.insert(key.clone(), value)),
                    Err(error) => {
                        sheet.problem_at(0, &format!("{name}.{key}"), format!("{value}: {error}"));
                    }
                }
            }
            whole.insert(name.to_owned(), toml::Value::Table(section));
        }
        whole.to_string()
    }

    /// Puts the keys of `said`, which [`to_text`](Self::to_text) has written, into a manifest's table.
    pub(super) fn merge<'t>(&self, manifest: &mut DeTable<'t>, mut said: DeTable<'t>) {
        for (name, keys) in self.sections().into_iter().filter(|(_, keys)| !keys.is_empty()) {
            let Some((place, section)) = said.remove_entry(name) else { continue };
            let DeValue::Table(section) = section.into_inner() else { continue };
            let own = manifest.remove(name).map(Spanned::into_inner);
            let mut own = if let Some(DeValue::Table(own)) = own { own } else { DeTable::new() };
            let kind = |table: &DeTable<'_>| {
                let kind = table.get("kind")?.get_ref().as_str();
                kind.map(str::to_owned)
            };
            if kind(&section).is_some_and(|wanted| kind(&own).as_ref() != Some(&wanted)) {
                own = DeTable::new();
            }
            for key in keys.keys() {
                own.remove(key.as_str());
            }
            own.extend(section);
            manifest.insert(place, Spanned::new(0..0, DeValue::Table(own)));
        }
    }
}
