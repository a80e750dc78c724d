//! The binary `embermq`: everything it does is in `embermq::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    embermq::cli::main()
}
