//! How a command ends when it does not end well.

use std::io;
use std::process::ExitCode;

use crate::OpenError;
use crate::config::ConfigError;

/// Exit codes, after sysexits where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Damage was found, or a check failed.
    Damage,
    /// The command or the configuration is wrong: asking again does not help.
    Usage,
    /// It conflicts with what is there: another writer was first, a name is taken, or something is in use.
    Conflict,
    /// What was named is not there.
    NotFound,
    /// The server or the data folder cannot be reached or used.
    Unavailable,
    /// It may work in a moment.
    Temporary,
    /// Not allowed.
    Auth,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Damage => 1,
            Exit::Usage => 64,
            Exit::Conflict => 65,
            Exit::NotFound => 66,
            Exit::Unavailable => 69,
            Exit::Temporary => 75,
            Exit::Auth => 77,
        })
    }
}

/// Why a command stops.
#[derive(Debug)]
pub(crate) enum Failure {
    /// With a message for people.
    Told {
        /// The exit code.
        exit: Exit,
        /// What happened and what to do.
        message: String,
    },
    /// What had to be said stands in the output already.
    Silent(Exit),
    /// The reader of our output went away: there is nobody left to write for, and that is no error.
    OutputClosed,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl ToString) -> Self {
        Self::Told { exit, message: message.to_string() }
    }

    pub(crate) fn usage(message: impl ToString) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn unavailable(message: impl ToString) -> Self {
        Self::new(Exit::Unavailable, message)
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Told { exit, .. } | Self::Silent(exit) => (*exit).into(),
            Self::OutputClosed => ExitCode::SUCCESS,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let exit = match error {
            OpenError::Damaged { .. } => Exit::Damage,
            OpenError::Locked(_) | OpenError::Io { .. } | OpenError::NoRoom { .. } => {
                Exit::Unavailable
            }
        };
        Self::new(exit, error)
    }
}

/// Only for writing results: other I/O says what it was about.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::unavailable(format!("cannot write the output: {error}"))
        }
    }
}
