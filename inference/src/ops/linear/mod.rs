//! Linear algebra: products of matrices, and convolutions.

use super::Family;

pub(super) const FAMILY: Family = &[];
