//! Runs folders of ONNX test data and prints a line for each: `cargo run -p embermq-inference --example conformance -- DIR...`
#![expect(clippy::print_stdout, reason = "what it is for")]

use std::path::Path;
use std::process::ExitCode;

use embermq_inference::Limits;
use embermq_inference::conformance::{Tolerance, Verdict, run_folder};

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let (mut passed, mut failed, mut unsupported) = (0, 0, 0);
    for folder in std::env::args().skip(1) {
        let verdict = run_folder(Path::new(&folder), Tolerance::default(), &Limits::default());
        let name =
            Path::new(&folder).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let detail = match &verdict {
            Verdict::Passed(worst) => format!("{:.1e}", worst.absolute),
            Verdict::Wrong { place, what, .. } => format!("{place}: {what}"),
            Verdict::Unsupported(what) | Verdict::Failed(what) => what.clone(),
        };
        match verdict {
            Verdict::Passed(_) => passed += 1,
            Verdict::Unsupported(_) => unsupported += 1,
            _ => failed += 1,
        }
        println!("{} {name} {detail}", verdict.word());
    }
    println!("{passed} passed, {failed} failed, {unsupported} unsupported");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
