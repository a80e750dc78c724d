//! Layers over sequences: recurrent ones and attention.

use super::Family;

pub(super) const FAMILY: Family = &[];
