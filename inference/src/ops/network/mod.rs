//! Layers of neural networks that are neither linear algebra nor recurrent: pooling, normalisation, losses, images.

mod axes_norm;
mod batch_norm;
mod channel_norm;
mod global_pool;
mod lanes;
mod layer_norm;
mod layout;
mod loss;
mod lrn;
mod max_unpool;
mod planes;
mod pool;
mod pooling;
mod precision;
mod resize;
mod window;

use super::Family;

pub(super) const FAMILY: Family = &[
    ("AveragePool", pool::build),
    ("BatchNormalization", batch_norm::build),
    ("GlobalAveragePool", global_pool::build),
    ("GlobalLpPool", global_pool::build),
    ("GlobalMaxPool", global_pool::build),
    ("GroupNormalization", channel_norm::build),
    ("InstanceNormalization", channel_norm::build),
    ("LRN", lrn::build),
    ("LayerNormalization", layer_norm::build),
    ("LpNormalization", axes_norm::build_norm),
    ("LpPool", pool::build),
    ("MaxPool", pool::build),
    ("MaxUnpool", max_unpool::build),
    ("MeanVarianceNormalization", axes_norm::build_moments),
    ("NegativeLogLikelihoodLoss", loss::build),
    ("RMSNormalization", layer_norm::build),
    ("Resize", resize::build),
    ("SoftmaxCrossEntropyLoss", loss::build),
    ("Upsample", resize::build),
];
