//! Signal processing: Fourier transforms, windows, mel weights.

mod dft;
mod fourier;
mod mel;
mod stft;
mod window;

use super::Family;

pub(super) const FAMILY: Family = &[
    ("BlackmanWindow", window::build),
    ("DFT", dft::build),
    ("HammingWindow", window::build),
    ("HannWindow", window::build),
    ("MelWeightMatrix", mel::build),
    ("STFT", stft::build),
];
