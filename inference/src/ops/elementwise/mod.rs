//! Operators that compute each element from the elements in its place.

mod arithmetic;
pub(crate) mod maths;

use super::Family;

pub(super) const FAMILY: Family = &[
    ("Add", arithmetic::build),
    ("Sub", arithmetic::build),
    ("Mul", arithmetic::build),
    ("Div", arithmetic::build),
];
