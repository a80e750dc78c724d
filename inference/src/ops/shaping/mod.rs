//! Operators that move elements about, or say what shape something has.

use super::Family;

pub(super) const FAMILY: Family = &[];
