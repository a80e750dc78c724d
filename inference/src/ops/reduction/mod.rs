//! Operators that make one element of many along axes, or order them.

mod fold;
mod lines;
mod reduce;
mod softmax;

use super::Family;

pub(super) const FAMILY: Family = &[
    ("Hardmax", softmax::build),
    ("LogSoftmax", softmax::build),
    ("ReduceL1", reduce::build),
    ("ReduceL2", reduce::build),
    ("ReduceLogSum", reduce::build),
    ("ReduceLogSumExp", reduce::build),
    ("ReduceMax", reduce::build),
    ("ReduceMean", reduce::build),
    ("ReduceMin", reduce::build),
    ("ReduceProd", reduce::build),
    ("ReduceSum", reduce::build),
    ("ReduceSumSquare", reduce::build),
    ("Softmax", softmax::build),
];
