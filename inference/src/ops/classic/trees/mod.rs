//! TreeEnsemble, TreeEnsembleRegressor, TreeEnsembleClassifier:
//! <https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html>

mod classifier;
mod ensemble;
mod flat;
mod forest;
mod named;
mod regressor;

pub(super) use classifier::build as build_classifier;
pub(super) use ensemble::build as build_ensemble;
pub(super) use regressor::build as build_regressor;
