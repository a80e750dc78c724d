//! Layers over sequences: recurrent ones and attention.

mod attention;
mod mask;
mod precision;
mod product;
mod recurrent;
mod rotary;

use super::Family;

pub(super) const FAMILY: Family = &[
    ("Attention", attention::build),
    ("GRU", recurrent::build),
    ("LSTM", recurrent::build),
    ("RNN", recurrent::build),
    ("RotaryEmbedding", rotary::build),
];
