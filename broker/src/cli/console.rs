//! Where a command writes: results to standard output (buffered), remarks to standard error.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use serde::Serialize;

use super::{Failure, Global};

/// The two streams of a command.
#[derive(Debug)]
pub(crate) struct Console {
    out: BufWriter<Stdout>,
    quiet: bool,
    colour: bool,
}

impl Console {
    pub(crate) fn new(global: &Global) -> Self {
        Self {
            out: BufWriter::with_capacity(64 << 10, io::stdout()),
            quiet: global.quiet,
            colour: colours(global) && io::stderr().is_terminal(),
        }
    }

    /// A line of the result.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        self.out.write_all(text.as_ref().as_bytes())?;
        self.out.write_all(b"\n")
    }

    /// A result for programs: one JSON value on one line.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        self.out.write_all(b"\n")
    }

    /// Bytes of the result as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// Hands everything written to the reader. Done before waiting, so that a pipe sees what is there.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// A remark beside the result; `-q` keeps it back.
    pub(crate) fn remark(&self, text: impl AsRef<str>) {
        if !self.quiet {
            tell(text.as_ref());
        }
    }

    /// Why the command ends.
    pub(crate) fn failed(&mut self, failure: &Failure) {
        // What was found before the failure is still wanted; when it cannot be written the failure says enough.
        let _ = self.out.flush();
        if let Failure::Told { message, .. } = failure {
            let (on, off) = if self.colour { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
            tell(&format!("{on}error:{off} {message}"));
        }
    }
}

/// Whether colours are wanted at all.
pub(crate) fn colours(global: &Global) -> bool {
    !global.no_color && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Says something on standard error. That may be closed; there is nowhere left to say so.
pub(super) fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
