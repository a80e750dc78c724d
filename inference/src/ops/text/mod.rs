//! Operators over strings.

mod concatenation;
mod grams;
mod normalisation;
mod pattern;
mod splitting;

use super::Family;

pub(super) const FAMILY: Family = &[
    ("RegexFullMatch", pattern::build),
    ("StringConcat", concatenation::build),
    ("StringNormalizer", normalisation::build),
    ("StringSplit", splitting::build),
    ("TfIdfVectorizer", grams::build),
];
