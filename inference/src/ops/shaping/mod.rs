//! Operators that move elements about, or say what shape something has.

pub(crate) mod concat;
mod expand;
mod gather;
pub(crate) mod numbers;
mod reshape;
mod shape;
mod slice;
mod transpose;
pub(crate) mod units;
pub(crate) mod view;

use super::Family;

pub(super) const FAMILY: Family = &[
    ("BitCast", reshape::bit_cast),
    ("Concat", concat::concat),
    ("DepthToSpace", transpose::depth_to_space),
    ("Expand", expand::expand),
    ("Flatten", reshape::flatten),
    ("Gather", gather::gather),
    ("GatherElements", gather::gather_elements),
    ("GatherND", gather::gather_nd),
    ("Identity", reshape::identity),
    ("Reshape", reshape::reshape),
    ("Shape", shape::shape),
    ("Size", shape::size),
    ("Slice", slice::slice),
    ("SpaceToDepth", transpose::space_to_depth),
    ("Split", concat::split),
    ("Squeeze", reshape::squeeze),
    ("Tile", expand::tile),
    ("Transpose", transpose::transpose),
    ("Unsqueeze", reshape::unsqueeze),
];
