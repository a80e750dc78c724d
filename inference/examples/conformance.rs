//! Runs folders of ONNX test data and prints a line for each: `cargo run -p embermq-inference --example conformance -- [--device NAME] DIR...`
//!
//! On a device everything is computed there that can be, however small it is.
#![expect(clippy::print_stdout, reason = "what it is for")]

use std::path::Path;
use std::process::ExitCode;

use embermq_inference::conformance::{Tolerance, Verdict, run_folder_on};
use embermq_inference::{Device, Limits};

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let (mut passed, mut failed, mut unsupported) = (0, 0, 0);
    let mut folders: Vec<String> = std::env::args().skip(1).collect();
    let mut device = Device::cpu();
    if folders.first().is_some_and(|first| first == "--device") && folders.len() > 1 {
        match Device::parse(&folders[1]) {
            Ok(named) => device = named.with_host_elements_max(0),
            Err(error) => {
                println!("{error}");
                return ExitCode::FAILURE;
            }
        }
        folders.drain(..2);
    }
    for folder in folders {
        let (tolerance, limits) = (Tolerance::default(), Limits::default());
        let verdict = run_folder_on(Path::new(&folder), tolerance, &limits, &device);
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
