//! `embermq config show` and `embermq config check`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Console, Failure, Global, Output, logging};
use crate::config::{Config, FlagValue, KEYS};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigVerb {
    /// Print every setting in force, as it could stand in a configuration file
    Show(Show),
    /// Read the configuration as `serve` would, and say what is wrong with it
    Check(Source),
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// Also print where each value came from
    #[arg(long)]
    origin: bool,
    #[command(flatten)]
    source: Source,
}

#[derive(Debug, Args)]
pub(super) struct Source {
    /// The file to read instead of ./embermq.toml or /etc/embermq/embermq.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigVerb {
    pub(super) fn run(self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        match self {
            Self::Show(show) => show.run(global, console),
            Self::Check(source) => source.check(global, console),
        }
    }
}

impl Show {
    fn run(&self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        let config = self.source.load(global)?;
        if global.output == Output::Json {
            return Ok(self.as_json(&config, console)?);
        }
        let mut section = "";
        for key in KEYS {
            let (of, name) = key.name.split_once('.').unwrap_or(("", key.name));
            if of != section {
                let gap = if section.is_empty() { "" } else { "\n" };
                console.line(format!("{gap}[{of}]"))?;
                section = of;
            }
            let assignment = format!("{name} = {}", quoted(&(key.show)(&config.settings)));
            if self.origin {
                console.line(format!("{assignment:<40} # {}", config.origin(key)))?;
            } else {
                console.line(assignment)?;
            }
        }
        Ok(())
    }

    fn as_json(&self, config: &Config, console: &mut Console) -> std::io::Result<()> {
        for key in KEYS {
            let mut row = json!({ "key": key.name, "value": (key.show)(&config.settings) });
            if self.origin {
                row["origin"] = config.origin(key).to_string().into();
            }
            console.json(&row)?;
        }
        Ok(())
    }
}

impl Source {
    fn load(&self, global: &Global) -> Result<Config, Failure> {
        Ok(Config::load(self.config.as_deref(), variables(), &global_flags(global))?)
    }

    fn check(&self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        let config = self.load(global)?;
        super::serve::refuse_open_address(&config.settings)?;
        if global.output == Output::Json {
            console.json(&json!({ "ok": true }))?;
        } else {
            console.line("the configuration is good")?;
        }
        Ok(())
    }
}

/// The settings that flags of every verb stand for.
pub(super) fn global_flags(global: &Global) -> Vec<FlagValue> {
    logging::asked_level(global)
        .map(|(flag, level)| FlagValue { key: "log.level", flag, text: level.to_owned() })
        .into_iter()
        .collect()
}

/// The environment, without what is not Unicode: no setting of ours is.
pub(super) fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// As TOML writes it: `true` and `false` bare, everything else as a string.
fn quoted(value: &str) -> String {
    if value == "true" || value == "false" {
        value.to_owned()
    } else {
        toml::Value::from(value).to_string()
    }
}
