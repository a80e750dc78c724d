//! Operators over quantised numbers: QuantizeLinear and what computes with its results.

use super::Family;

pub(super) const FAMILY: Family = &[];
