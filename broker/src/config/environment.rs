//! The environment layer: `EMBERMQ__SECTION__KEY`, upper case, two underscores between the parts.
//!
//! Other variables, `EMBERMQ_URL` among them, are not settings of the server and are left alone.

use super::Value;

const PREFIX: &str = "EMBERMQ__";

/// The settings among the variables, as key, value and variable name; sorted, so that the first error is always the
/// same one.
pub(super) fn read(
    variables: impl IntoIterator<Item = (String, String)>,
) -> Vec<(String, Value, String)> {
    let mut settings: Vec<_> = variables
        .into_iter()
        .filter_map(|(variable, text)| {
            let key = variable.strip_prefix(PREFIX)?.replace("__", ".").to_ascii_lowercase();
            Some((key, Value::Text(text), variable))
        })
        .collect();
    settings.sort_by(|a, b| a.2.cmp(&b.2));
    settings
}
