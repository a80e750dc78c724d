//! Constants, subgraphs (If, Loop, Scan), sequences and optional values.

mod constant;

use super::Family;

pub(super) const FAMILY: Family =
    &[("Constant", constant::constant), ("ConstantOfShape", constant::of_shape)];
