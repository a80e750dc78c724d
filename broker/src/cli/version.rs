//! `embermq version`.

use serde_json::json;

use super::{Console, Failure, Global, Output};

pub(super) fn run(global: &Global, console: &mut Console) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    if global.output == Output::Json {
        console.json(&json!({ "name": "embermq", "version": version, "target": target }))?;
    } else {
        console.line(format!("embermq {version} ({target})"))?;
    }
    Ok(())
}
