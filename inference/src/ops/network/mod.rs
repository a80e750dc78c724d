//! Layers of neural networks that are neither linear algebra nor recurrent: pooling, normalisation, losses, images.

mod affine_grid;
mod axes_norm;
mod batch_norm;
mod channel_norm;
mod col2im;
mod conv_transpose;
mod deform_conv;
mod global_pool;
mod grid_sample;
#[cfg(test)]
mod hostile;
mod image_decoder;
mod lanes;
mod layer_norm;
mod layout;
mod loss;
mod lrn;
mod max_unpool;
mod non_max_suppression;
mod planes;
mod pool;
mod pooling;
mod precision;
mod resize;
mod roi_align;
mod scatter;
mod window;

use super::Family;

pub(super) const FAMILY: Family = &[
    ("AffineGrid", affine_grid::build),
    ("AveragePool", pool::build),
    ("BatchNormalization", batch_norm::build),
    ("Col2Im", col2im::build),
    ("ConvTranspose", conv_transpose::build),
    ("DeformConv", deform_conv::build),
    ("GlobalAveragePool", global_pool::build),
    ("GlobalLpPool", global_pool::build),
    ("GlobalMaxPool", global_pool::build),
    ("GridSample", grid_sample::build),
    ("GroupNormalization", channel_norm::build),
    ("ImageDecoder", image_decoder::build),
    ("InstanceNormalization", channel_norm::build),
    ("LRN", lrn::build),
    ("LayerNormalization", layer_norm::build),
    ("LpNormalization", axes_norm::build_norm),
    ("LpPool", pool::build),
    ("MaxPool", pool::build),
    ("MaxRoiPool", roi_align::build_max),
    ("MaxUnpool", max_unpool::build),
    ("MeanVarianceNormalization", axes_norm::build_moments),
    ("NegativeLogLikelihoodLoss", loss::build),
    ("NonMaxSuppression", non_max_suppression::build),
    ("RMSNormalization", layer_norm::build),
    ("Resize", resize::build),
    ("RoiAlign", roi_align::build),
    ("SoftmaxCrossEntropyLoss", loss::build),
    ("Upsample", resize::build),
];
