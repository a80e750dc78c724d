//! Layers of neural networks that are neither linear algebra nor recurrent: pooling, normalisation, losses, images.

use super::Family;

pub(super) const FAMILY: Family = &[];
