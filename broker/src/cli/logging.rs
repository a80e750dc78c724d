//! Log lines: to standard error, for people or as JSON.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use super::console::colours;
use super::{Failure, Global};
use crate::config::LogFormat;

/// Starts logging for this process. The filter was checked when the configuration was read.
pub(super) fn start(level: &str, format: LogFormat, global: &Global) -> Result<(), Failure> {
    let filter: EnvFilter = level
        .parse()
        .map_err(|error| Failure::usage(format!("log level {level:?} is not a filter: {error}")))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Text => {
            lines.with_ansi(colours(global) && io::stderr().is_terminal()).try_init()
        }
    };
    started.map_err(|error| Failure::unavailable(format!("cannot start logging: {error}")))
}

/// The level that `-v`, `-vv` and `-q` stand for; none when neither is given.
pub(super) const fn asked_level(global: &Global) -> Option<(&'static str, &'static str)> {
    match (global.quiet, global.verbose) {
        (true, _) => Some(("-q", "error")),
        (false, 0) => None,
        (false, 1) => Some(("-v", "debug")),
        (false, _) => Some(("-vv", "trace")),
    }
}
