//! Classical machine learning: the domain `ai.onnx.ml`.
//!
//! Its specification leaves much open, of binary classifiers above all. Where it does, these do as ONNX Runtime does: the
//! files are made to give the right answers there.

mod encoder;
mod features;
mod labels;
mod linear;
mod maps;
mod one_hot;
mod rows;
mod scaling;
mod scores;
mod svm;
mod trees;

use super::Family;

pub(super) const FAMILY: Family = &[
    ("ArrayFeatureExtractor", features::build_extractor),
    ("Binarizer", scaling::build_binarizer),
    ("CastMap", maps::build_cast_map),
    ("CategoryMapper", encoder::build_category_mapper),
    ("DictVectorizer", maps::build_dict_vectorizer),
    ("FeatureVectorizer", features::build_vectorizer),
    ("Imputer", scaling::build_imputer),
    ("LabelEncoder", encoder::build_label_encoder),
    ("LinearClassifier", linear::build_classifier),
    ("LinearRegressor", linear::build_regressor),
    ("Normalizer", scaling::build_normalizer),
    ("OneHotEncoder", one_hot::build),
    ("SVMClassifier", svm::build_classifier),
    ("SVMRegressor", svm::build_regressor),
    ("Scaler", scaling::build_scaler),
    ("TreeEnsemble", trees::build_ensemble),
    ("TreeEnsembleClassifier", trees::build_classifier),
    ("TreeEnsembleRegressor", trees::build_regressor),
    ("ZipMap", maps::build_zip_map),
];
