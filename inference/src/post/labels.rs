//! The names of classes, and what else is known of each.

use serde_json::{Map, Value as Json};

use crate::bundle::{Section, Surroundings};

/// Bytes of a file with labels or details.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Labels by class: a list in the manifest, or a file with one per line.
pub(super) fn read(section: &Section<'_>, around: &Surroundings<'_>) -> Option<Vec<String>> {
    if !section.has("labels") {
        return Some(Vec::new());
    }
    if section.is_list("labels") {
        return section.texts("labels");
    }
    let name = section.text("labels")?;
    let bytes = around.file(section, "labels", &name, FILE_BYTES_MAX)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Some(text.lines().map(str::to_owned).collect()),
        Err(error) => {
            section.problem("labels", format!("{name:?} is no UTF-8 text: {error}"));
            None
        }
    }
}

/// What a JSON file says of each label.
pub(super) fn details(
    section: &Section<'_>,
    around: &Surroundings<'_>,
) -> Option<Map<String, Json>> {
    if !section.has("details") {
        return Some(Map::new());
    }
    let name = section.text("details")?;
    let bytes = around.file(section, "details", &name, FILE_BYTES_MAX)?;
    match serde_json::from_slice(&bytes) {
        Ok(details) => Some(details),
        Err(error) => {
            section.problem("details", format!("{name:?} is no JSON object by label: {error}"));
            None
        }
    }
}
