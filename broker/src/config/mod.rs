//! The server's configuration: one documented struct, filled in layers.
//!
//! ```text
//! defaults  <  file (TOML)  <  environment (EMBERMQ__SECTION__KEY)  <  flags
//! ```
//!
//! Every key stands once, in [`KEYS`]: its name, its meaning, how it is read and how it is shown. The file, the
//! environment and the flags all go through that table, so they know the same keys and say the same things about a
//! bad value. An unknown key is an error with the nearest known one: a setting that silently does nothing is worse
//! than a server that does not start.

mod environment;
mod error;
mod file;
mod keys;
mod settings;
mod suggest;
mod units;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub use error::ConfigError;
pub use keys::{KEYS, Key};
pub use settings::{LogFormat, Settings};
pub use suggest::nearest;
pub use units::{parse_bytes, parse_duration, show_bytes, show_duration};
pub use value::Value;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// A line of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A command-line flag.
    Flag {
        /// As typed, for example `--data`.
        flag: &'static str,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::Flag { flag } => write!(f, "flag {flag}"),
        }
    }
}

/// A value that a flag gave: the key, the flag and the text.
#[derive(Clone, Debug)]
pub struct FlagValue {
    /// The key in [`KEYS`].
    pub key: &'static str,
    /// The flag, for [`Origin::Flag`].
    pub flag: &'static str,
    /// What was typed.
    pub text: String,
}

/// The settings together with the origin of each.
#[derive(Clone, Debug)]
pub struct Config {
    /// The values in force.
    pub settings: Settings,
    origins: BTreeMap<&'static str, Origin>,
}

impl Config {
    /// Reads the layers in order; a later one wins.
    ///
    /// `file` is the file asked for. Without one the first of [`standard_files`] that exists is read, if any does.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place and what would be right.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[FlagValue],
    ) -> Result<Self, ConfigError> {
        let mut config = Self { settings: Settings::default(), origins: BTreeMap::new() };
        if let Some(path) = file.map(Path::to_path_buf).or_else(existing_standard_file) {
            for (key, value, line) in file::read(&path)? {
                config.set(&key, &value, Origin::File { path: path.clone(), line })?;
            }
        }
        for (key, value, variable) in environment::read(environment) {
            config.set(&key, &value, Origin::Environment { variable })?;
        }
        for flag in flags {
            config.set(
                flag.key,
                &Value::Text(flag.text.clone()),
                Origin::Flag { flag: flag.flag },
            )?;
        }
        Ok(config)
    }

    /// Where the value of a key came from.
    #[must_use]
    pub fn origin(&self, key: &Key) -> Origin {
        self.origins.get(key.name).cloned().unwrap_or(Origin::Default)
    }

    fn set(&mut self, name: &str, value: &Value, origin: Origin) -> Result<(), ConfigError> {
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            return Err(ConfigError::UnknownKey {
                suggestion: nearest(name, KEYS.iter().map(|key| key.name)),
                key: name.to_owned(),
                origin,
            });
        };
        (key.set)(&mut self.settings, value).map_err(|reason| ConfigError::BadValue {
            key: key.name,
            value: value.to_string(),
            reason,
            origin: origin.clone(),
        })?;
        self.origins.insert(key.name, origin);
        Ok(())
    }
}

/// Where a configuration file is looked for when none is named, in this order.
#[must_use]
pub fn standard_files() -> [&'static Path; 2] {
    [Path::new("embermq.toml"), Path::new("/etc/embermq/embermq.toml")]
}

fn existing_standard_file() -> Option<PathBuf> {
    standard_files().into_iter().find(|path| path.is_file()).map(Path::to_path_buf)
}

#[cfg(test)]
mod tests;
