//! Operators over strings.

use super::Family;

pub(super) const FAMILY: Family = &[];
