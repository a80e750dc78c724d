//! A right operand that was packed when the model was loaded.

use embermq_kernels::PackedColumns;

use crate::tensor::Shape;

/// Its elements in the order of the kernel, and the shape that it had. The operand itself is not kept.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) shape: Shape,
    pub(super) columns: PackedColumns,
}
