//! Operators that move elements about, or say what shape something has.

pub(crate) mod concat;
mod expand;
mod gather;
#[cfg(test)]
mod hostile;
pub(crate) mod numbers;
mod pad;
mod patterns;
mod reshape;
mod scatter;
mod select;
mod shape;
mod slice;
mod transpose;
mod unique;
pub(crate) mod units;
pub(crate) mod view;

use super::Family;

pub(super) const FAMILY: Family = &[
    ("BitCast", reshape::bit_cast),
    ("CenterCropPad", pad::center_crop_pad),
    ("Compress", select::compress),
    ("Concat", concat::concat),
    ("DepthToSpace", transpose::depth_to_space),
    ("Expand", expand::expand),
    ("EyeLike", patterns::eye_like),
    ("Flatten", reshape::flatten),
    ("Gather", gather::gather),
    ("GatherElements", gather::gather_elements),
    ("GatherND", gather::gather_nd),
    ("Identity", reshape::identity),
    ("NonZero", select::non_zero),
    ("OneHot", patterns::one_hot),
    ("Pad", pad::pad),
    ("Range", patterns::range),
    ("Reshape", reshape::reshape),
    ("ReverseSequence", select::reverse_sequence),
    ("Scatter", scatter::scatter_elements),
    ("ScatterElements", scatter::scatter_elements),
    ("ScatterND", scatter::scatter_nd),
    ("Shape", shape::shape),
    ("Size", shape::size),
    ("Slice", slice::slice),
    ("SpaceToDepth", transpose::space_to_depth),
    ("Split", concat::split),
    ("Squeeze", reshape::squeeze),
    ("TensorScatter", scatter::tensor_scatter),
    ("Tile", expand::tile),
    ("Transpose", transpose::transpose),
    ("Trilu", patterns::trilu),
    ("Unique", unique::unique),
    ("Unsqueeze", reshape::unsqueeze),
];
