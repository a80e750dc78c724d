//! Constants, subgraphs (If, Loop, Scan), sequences and optional values.

use super::Family;

pub(super) const FAMILY: Family = &[];
