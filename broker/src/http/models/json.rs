//! Models as people see them.

use serde_json::{Value, json};

use crate::http::span::render_time;
use crate::models::{ModelName, ModelState, Version, VersionState};

pub(super) fn model_out(name: &ModelName, state: &ModelState) -> Value {
    let versions: Vec<Value> =
        state.versions.iter().map(|(version, known)| version_out(name, version, known)).collect();
    let aliases: serde_json::Map<String, Value> = state
        .aliases
        .iter()
        .map(|(alias, version)| (alias.to_string(), version.to_string().into()))
        .collect();
    json!({ "model": name.to_string(), "versions": versions, "aliases": aliases })
}

pub(super) fn version_out(name: &ModelName, version: &Version, state: &VersionState) -> Value {
    json!({
        "model": name.to_string(),
        "version": version.to_string(),
        "digest": format!("sha256:{}", state.digest),
        "bytes": state.bytes,
        "registered": render_time(state.registered),
    })
}
