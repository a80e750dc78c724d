//! The binary `embermq`: everything it does is in `embermq::cli`.

use std::process::ExitCode;

/// Requests are allocated on one thread and freed on another, which the C library's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    embermq::cli::main()
}
