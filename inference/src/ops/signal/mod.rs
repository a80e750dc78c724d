//! Signal processing: Fourier transforms, windows, mel weights.

use super::Family;

pub(super) const FAMILY: Family = &[];
