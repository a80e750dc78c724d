//! `embermq model test`: folders with a `model.onnx` and `test_data_set_*/{input,output}_*.pb`, as ONNX's own tests are kept, and bundles whose
//! `model.toml` knows answers (`[golden]`).
//!
//! A line for each, in the order of the names, and a last line with the counts. Exit 1: an answer was wrong, or a model
//! could not be run though nothing it asks for is missing here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use clap::Args;
use embermq_inference::conformance::{Difference, Tolerance, Verdict};
use embermq_inference::{Description, Limits};
use serde_json::json;

use super::expectations::{Change, Expectations};
use super::judged::Judged;
use super::{Console, Exit, Failure, Global, On, model_file, one_line};
use crate::cli::Output;

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Test folders, bundles, or folders of those
    #[arg(required = true)]
    dirs: Vec<PathBuf>,
    /// How far from the expected value a float may be, relative to it
    #[arg(long, value_name = "X", default_value_t = 1e-3)]
    rtol: f64,
    /// How far it may be in any case
    #[arg(long, value_name = "X", default_value_t = 1e-5)]
    atol: f64,
    /// Folders that are run at once [default: one per core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// The same as -o json
    #[arg(long)]
    json: bool,
    /// Compare with a file of `NAME VERDICT` lines: what passed has to pass, and no new failure may appear
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// Write such a file
    #[arg(long, value_name = "FILE")]
    write_expect: Option<PathBuf>,
    #[command(flatten)]
    on: On,
    /// Only the folders that did not pass, and the counts
    #[arg(long)]
    brief: bool,
}

/// What was found so far.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    failed: usize,
    unsupported: usize,
    found: Expectations,
    changes: Vec<String>,
    regressed: bool,
}

impl Test {
    pub(super) fn run(self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        let folders = folders(&self.dirs)?;
        let expected = self.expect.as_deref().map(Expectations::read).transpose()?;
        let as_json = self.json || global.output == Output::Json;
        let mut tally = Tally::default();
        // A panic is an `error` line; it need not be told twice.
        std::panic::set_hook(Box::new(|_| {}));
        self.run_all(&folders, |folder, judged| {
            tally.add(&name_of(folder), &judged.verdict, expected.as_ref());
            if self.brief && matches!(judged.verdict, Verdict::Passed(_)) {
                return Ok(());
            }
            if as_json {
                console.json(&line_json(folder, &judged))?;
            } else {
                console.line(line(&name_of(folder), &judged))?;
            }
            Ok(console.flush()?)
        })?;
        let _ = std::panic::take_hook();
        self.finish(&tally, expected.as_ref(), as_json, console)
    }

    fn finish(
        &self,
        tally: &Tally,
        expected: Option<&Expectations>,
        as_json: bool,
        console: &mut Console,
    ) -> Result<(), Failure> {
        if let Some(path) = &self.write_expect {
            tally.found.write(path)?;
        }
        let unseen = expected.map_or(0, |expected| expected.unseen(&tally.found));
        if as_json {
            console.json(&json!({
                "passed": tally.passed,
                "failed": tally.failed,
                "unsupported": tally.unsupported,
                "changes": tally.changes,
                "not_run": unseen,
            }))?;
        } else {
            tally.changes.iter().try_for_each(|change| console.line(change))?;
            if unseen > 0 {
                console.remark(format!("{unseen} folders of the expectations were not run"));
            }
            let (passed, failed, unsupported) = (tally.passed, tally.failed, tally.unsupported);
            console.line(format!("{passed} passed, {failed} failed, {unsupported} unsupported"))?;
        }
        let bad = if expected.is_some() { tally.regressed } else { tally.failed > 0 };
        if bad { Err(Failure::Silent(Exit::Damage)) } else { Ok(()) }
    }

    /// Runs all folders on several threads and hands on the verdicts in order, each as soon as it can be.
    fn run_all(
        &self,
        folders: &[PathBuf],
        mut told: impl FnMut(&Path, Judged) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = self.jobs.map_or(cores, usize::from).min(folders.len());
        let device = self.on.device();
        let tolerance = Tolerance { relative: self.rtol, absolute: self.atol };
        let next = AtomicUsize::new(0);
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                let (sender, next, device) = (sender.clone(), &next, &device);
                scope.spawn(move || {
                    let limits = Limits::default();
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(folder) = folders.get(at) else { return };
                        let judged = Judged::of(folder, tolerance, &limits, device);
                        if sender.send((at, judged)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            let mut early = BTreeMap::new();
            let mut due = 0;
            for (at, judged) in receiver {
                early.insert(at, judged);
                while let Some(judged) = early.remove(&due) {
                    let outcome = told(&folders[due], judged);
                    due += 1;
                    if outcome.is_err() {
                        // The threads find nothing more to do.
                        next.store(folders.len(), Ordering::Relaxed);
                        return outcome;
                    }
                }
            }
            Ok(())
        })
    }
}

impl Tally {
    fn add(&mut self, name: &str, verdict: &Verdict, expected: Option<&Expectations>) {
        match verdict {
            Verdict::Passed(_) => self.passed += 1,
            Verdict::Unsupported(_) => self.unsupported += 1,
            _ => self.failed += 1,
        }
        let word = verdict.word();
        self.found.set(name, word);
        match expected.map_or(Change::None, |expected| expected.compare(name, word)) {
            Change::None => {}
            Change::Improved(before) => {
                self.changes.push(format!("improved {name}: was {before}, is {word}"));
            }
            Change::Regressed(before) => {
                self.regressed = true;
                self.changes.push(format!("REGRESSED {name}: was {before}, is {word}"));
            }
        }
    }
}

/// The test folders that the paths mean, in order.
fn folders(dirs: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut folders = Vec::new();
    for dir in dirs {
        if is_one(dir) {
            folders.push(dir.clone());
            continue;
        }
        let failed = |error: std::io::Error| Failure::usage(format!("{}: {error}", dir.display()));
        let mut within = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if is_one(&path) {
                within.push(path);
            }
        }
        if within.is_empty() {
            let what = "neither it nor a folder in it has a model.onnx or a model.toml";
            return Err(Failure::usage(format!("{}: {what}", dir.display())));
        }
        within.sort();
        folders.append(&mut within);
    }
    Ok(folders)
}

fn is_one(folder: &Path) -> bool {
    ["model.onnx", "model.toml"].iter().any(|file| folder.join(file).is_file())
}

fn name_of(folder: &Path) -> String {
    // `.` has no name of its own.
    let named = folder.file_name().map(std::ffi::OsStr::to_owned);
    let named = named.or_else(|| Some(folder.canonicalize().ok()?.file_name()?.to_owned()));
    named.unwrap_or_default().to_string_lossy().into_owned()
}

fn line(name: &str, judged: &Judged) -> String {
    let Judged { verdict, sets, golden } = judged;
    let detail = match verdict {
        Verdict::Passed(worst) => {
            let off = sets.then(|| format!("{:.1e}", worst.absolute));
            let known = match golden {
                0 => None,
                1 => Some("1 known answer".to_owned()),
                many => Some(format!("{many} known answers")),
            };
            off.into_iter().chain(known).collect::<Vec<_>>().join(", ")
        }
        Verdict::Wrong { place, what, difference } if difference.absolute > 0.0 => {
            format!("{place}: {what}; off by {:.1e}", difference.absolute)
        }
        Verdict::Wrong { place, what, .. } => format!("{place}: {what}"),
        Verdict::Unsupported(what) | Verdict::Failed(what) => what.clone(),
    };
    one_line(&format!("{} {name} {detail}", verdict.word()))
}

fn line_json(folder: &Path, judged: &Judged) -> serde_json::Value {
    let verdict = &judged.verdict;
    let mut json = json!({ "name": name_of(folder), "verdict": verdict.word() });
    if judged.golden > 0 {
        json["golden"] = judged.golden.into();
    }
    let mut differ = |difference: &Difference| {
        json["absolute"] = difference.absolute.into();
        json["relative"] = difference.relative.into();
    };
    match verdict {
        Verdict::Passed(difference) => differ(difference),
        Verdict::Wrong { place, what, difference } => {
            differ(difference);
            json["what"] = format!("{place}: {what}").into();
        }
        Verdict::Unsupported(what) | Verdict::Failed(what) => json["what"] = what.as_str().into(),
    }
    if let Ok(about) = Description::read(&model_file(folder), &Limits::default()) {
        let operators = about.operators.iter().filter(|(_, entry)| !entry.is_function);
        json["operators"] = operators.map(|(name, _)| name.as_str()).collect();
        json["opsets"] = json!(about.opsets);
    }
    json
}
