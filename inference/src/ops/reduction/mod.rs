//! Operators that make one element of many along axes, or order them.

use super::Family;

pub(super) const FAMILY: Family = &[];
