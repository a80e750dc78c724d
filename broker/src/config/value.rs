//! A value as it was written, before a key says what it must be.

use std::fmt;
use std::time::Duration;

use super::units::{parse_bytes, parse_duration};

/// What a file, a variable or a flag holds. Variables and flags are always text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A TOML integer.
    Integer(i64),
    /// A TOML boolean.
    Flag(bool),
}

impl Value {
    /// Text as it stands.
    ///
    /// # Errors
    /// What would be right.
    pub fn text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) if text.trim().is_empty() => Err("it must not be empty".to_owned()),
            Self::Text(text) => Ok(text),
            Self::Integer(_) | Self::Flag(_) => Err("put it in quotes".to_owned()),
        }
    }

    /// A number of bytes: `"64MiB"`, or an integer.
    ///
    /// # Errors
    /// What would be right.
    pub fn bytes(&self) -> Result<u64, String> {
        match self {
            Self::Text(text) => parse_bytes(text),
            Self::Integer(number) => {
                u64::try_from(*number).map_err(|_| "it must not be negative".to_owned())
            }
            Self::Flag(_) => Err("write a size such as \"64MiB\"".to_owned()),
        }
    }

    /// A time span: `"30s"`. A bare number has no unit and is refused.
    ///
    /// # Errors
    /// What would be right.
    pub fn duration(&self) -> Result<Duration, String> {
        match self {
            Self::Text(text) => parse_duration(text),
            Self::Integer(_) | Self::Flag(_) => {
                Err("write a time span with its unit, such as \"30s\"".to_owned())
            }
        }
    }

    /// A count.
    ///
    /// # Errors
    /// What would be right.
    pub fn count(&self) -> Result<u32, String> {
        let refused = || "write a whole number from 0 to 4294967295".to_owned();
        match self {
            Self::Text(text) => text.trim().parse().map_err(|_| refused()),
            Self::Integer(number) => u32::try_from(*number).map_err(|_| refused()),
            Self::Flag(_) => Err(refused()),
        }
    }

    /// Yes or no.
    ///
    /// # Errors
    /// What would be right.
    pub fn flag(&self) -> Result<bool, String> {
        match self {
            Self::Flag(flag) => Ok(*flag),
            Self::Text(text) => match text.trim() {
                "true" | "1" | "yes" | "on" => Ok(true),
                "false" | "0" | "no" | "off" => Ok(false),
                _ => Err("write true or false".to_owned()),
            },
            Self::Integer(_) => Err("write true or false".to_owned()),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
        }
    }
}
