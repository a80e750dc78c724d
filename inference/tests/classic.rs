//! Models of scikit-learn, XGBoost, LightGBM and CatBoost as people export them, against what ONNX Runtime says of them.
//! `classic/make.py` makes the folders.

use std::path::Path;

use embermq_inference::Limits;
use embermq_inference::conformance::{Tolerance, Verdict, run_folder};

#[test]
fn exported_models_give_what_they_gave_where_they_were_trained() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/classic");
    let tolerance = Tolerance { relative: 1e-4, absolute: 1e-5 };
    let (mut passed, mut failed) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        match run_folder(&path, tolerance, &Limits::default()) {
            Verdict::Passed(_) => passed += 1,
            // Some are followed by operators of other families.
            Verdict::Unsupported(_) => {}
            other => failed.push((path, other)),
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
    assert!(passed >= 28, "{passed} folders");
}
