//! The verdict on one folder of `embermq model test`: by its data sets, by the answers that its `model.toml` knows, or by both.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use embermq_inference::conformance::{Difference, Tolerance, Verdict, run_folder_on};
use embermq_inference::{Device, Limits, Model, ModelOptions};

use super::payload::is_bundle;

/// What came of a folder.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    /// Whether there were data sets.
    pub(super) sets: bool,
    /// Known answers that were compared.
    pub(super) golden: usize,
}

impl Judged {
    pub(super) fn of(
        folder: &Path,
        tolerance: Tolerance,
        limits: &Limits,
        device: &Device,
    ) -> Self {
        let (sets, bundle) = (has_sets(folder), is_bundle(folder));
        let by_sets = || run_folder_on(folder, tolerance, limits, device);
        if !bundle {
            return Self { verdict: by_sets(), sets, golden: 0 };
        }
        let verdict = if sets { by_sets() } else { Verdict::Passed(Difference::default()) };
        if !matches!(verdict, Verdict::Passed(_)) {
            return Self { verdict, sets, golden: 0 };
        }
        let asked = || by_golden(folder, limits, device);
        match catch_unwind(AssertUnwindSafe(asked)) {
            Ok(Ok(0)) if !sets => {
                let what =
                    "there is neither a test_data_set_* folder nor a [golden] in its model.toml";
                Self { verdict: Verdict::Failed(what.to_owned()), sets, golden: 0 }
            }
            Ok(Ok(golden)) => Self { verdict, sets, golden },
            Ok(Err(verdict)) => Self { verdict, sets, golden: 0 },
            Err(_) => {
                let verdict = Verdict::Failed("panicked at the answers that are known".to_owned());
                Self { verdict, sets, golden: 0 }
            }
        }
    }
}

fn has_sets(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .into_iter()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("test_data_set_"))
}

/// How many answers are those that the bundle knows.
fn by_golden(folder: &Path, limits: &Limits, device: &Device) -> Result<usize, Verdict> {
    let mut options = ModelOptions::default();
    (options.limits, options.device) = (limits.clone(), device.clone());
    let failed = |what: String| Verdict::Failed(what);
    let model = Model::open(folder, &options).map_err(|error| failed(error.to_string()))?;
    let Err(mismatches) = model.check_golden() else { return Ok(model.golden_count()) };
    let what: Vec<String> = mismatches.iter().map(|one| one.what.clone()).collect();
    let places: Vec<&str> = mismatches.iter().map(|one| one.output.as_str()).collect();
    Err(Verdict::Wrong {
        place: places.join(", "),
        what: what.join("; "),
        difference: Difference::default(),
    })
}
