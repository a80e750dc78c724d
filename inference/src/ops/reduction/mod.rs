//! Operators that make one element of many along axes, or order them.

mod cumulative;
mod determinant;
mod extreme;
mod fold;
mod lines;
mod reduce;
mod softmax;
mod top_k;

use super::Family;

pub(super) const FAMILY: Family = &[
    ("ArgMax", extreme::build),
    ("ArgMin", extreme::build),
    ("CumProd", cumulative::build),
    ("CumSum", cumulative::build),
    ("Det", determinant::build),
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
    ("TopK", top_k::build),
];
