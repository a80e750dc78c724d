//! Models and photos that come with the program, for demos and tests: small, freely licensed, each with its licence beside it.

/// A model that comes with the program.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// Its name.
    pub name: &'static str,
    /// The files of its bundle.
    pub files: &'static [(&'static str, &'static [u8])],
}

macro_rules! files {
    ($folder:literal: $($file:literal),* $(,)?) => {
        &[$(($file, include_bytes!(concat!("../models/", $folder, "/", $file)))),*]
    };
}

/// Photos by EfficientNet-Lite0, files by Magika, flowers by a small network.
pub const MODELS: &[Shipped] = &[
    Shipped {
        name: "efficientnet-lite0",
        files: files!("efficientnet-lite0": "model.toml", "model-int8.onnx", "labels.txt", "LICENSE.txt", "LICENSE.labels.txt", "known-input.png", "known-answer.json"),
    },
    Shipped {
        name: "magika",
        files: files!("magika": "model.toml", "model.onnx", "labels.txt", "content-types.json", "LICENSE.txt", "known-input.sh", "known-answer.json"),
    },
    Shipped {
        name: "iris-mlp",
        files: files!("iris-mlp": "model.toml", "model.onnx", "README.md", "known-input.json", "known-answer.json"),
    },
];

/// Photos, with their media types.
pub const PHOTOS: &[(&str, &str, &[u8])] = &[
    ("grace_hopper.jpg", "image/jpeg", include_bytes!("../models/samples/grace_hopper.jpg")),
    ("chelsea.png", "image/png", include_bytes!("../models/samples/chelsea.png")),
    ("coffee.png", "image/png", include_bytes!("../models/samples/coffee.png")),
    ("camera.png", "image/png", include_bytes!("../models/samples/camera.png")),
    ("china.jpg", "image/jpeg", include_bytes!("../models/samples/china.jpg")),
];

/// Whose photos they are, and under which licences.
pub const PHOTOS_README: &str = include_str!("../models/samples/README.md");
