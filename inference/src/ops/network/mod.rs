//! Layers of neural networks that are neither linear algebra nor recurrent: pooling, normalisation, losses, images.

mod layout;
mod planes;
mod pool;
mod pooling;
mod precision;
mod window;

use super::Family;

pub(super) const FAMILY: Family =
    &[("AveragePool", pool::build), ("LpPool", pool::build), ("MaxPool", pool::build)];
