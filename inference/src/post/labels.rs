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
        let labels = section.texts("labels")?;
        if labels.is_empty() {
            section.problem("labels", "the list is empty; leave the key out if there are none");
        }
        return Some(labels);
    }
    let name = section.text("labels")?;
    let bytes = around.file(section, "labels", &name, FILE_BYTES_MAX)?;
    let labels = match std::str::from_utf8(&bytes) {
        Ok(text) => of_lines(text),
        Err(error) => {
            section.problem("labels", format!("{name:?} is no UTF-8 text: {error}"));
            return None;
        }
    };
    if labels.is_empty() {
        section.problem("labels", format!("{name:?} is empty: it has one label per line"));
    }
    Some(labels)
}

/// Without the mark that some editors put at the beginning of a text: it is no part of the first label.
fn of_lines(text: &str) -> Vec<String> {
    text.strip_prefix('\u{feff}').unwrap_or(text).lines().map(str::to_owned).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_at_the_beginning_is_no_part_of_the_first_label() {
        assert_eq!(of_lines("\u{feff}cat\ndog\r\n"), ["cat", "dog"]);
        assert_eq!(of_lines("\u{feff}"), [""; 0]);
    }
}
