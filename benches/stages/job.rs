//! The models that are measured, and what they are asked.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use embermq_benches::Failure;
use embermq_inference::shipped;

/// Of the engine's throughput.
const WANTED_OF_ENGINE: f64 = 0.85;
/// Pictures for the MLP, and their bytes.
const PICTURES: u32 = 4_096;
const PICTURE_BYTES: u32 = 784;
/// Words of the texts for MiniLM: a few are long, most are not.
const WORDS: [usize; 8] = [5, 12, 30, 8, 90, 18, 6, 50];
const TEXTS: usize = 64;
const VOCABULARY: &str = "a valve on the second line is leaking oil and the pump behind it runs hot since monday while \
                          pressure in tank four keeps falling so please send someone with a new seal before the night shift";

/// A model and what it is asked.
pub(crate) struct Job {
    pub(crate) name: &'static str,
    pub(crate) bundle: PathBuf,
    pub(crate) content_type: &'static str,
    pub(crate) payloads: Vec<Bytes>,
    /// The part of the engine's throughput that is asked for; a model that takes microseconds has its time in the log.
    pub(crate) of_engine: Option<f64>,
    pub(crate) contest: Option<Contest>,
}

/// How a model is run against a peer.
#[derive(Clone, Copy)]
pub(crate) struct Contest {
    /// Inputs for each second of the window: about what a slow pipeline takes.
    pub(crate) records_per_second: u32,
    /// Inputs in one request.
    pub(crate) request: usize,
    /// What the worker takes at once: as many as serve it best.
    pub(crate) worker_batch: u32,
    /// The same for a stage that is tuned.
    pub(crate) stage_batch: u32,
    /// What the worker is told of its inputs.
    pub(crate) kind: &'static str,
    /// The file of the model in its bundle.
    pub(crate) file: &'static str,
    /// So many times the peer's throughput.
    pub(crate) wanted: f64,
}

const PHOTOS: Contest = Contest {
    records_per_second: 50,
    request: 1,
    worker_batch: 8,
    stage_batch: 4,
    kind: "image",
    file: "model-int8.onnx",
    wanted: 1.0,
};

const PIXELS: Contest = Contest {
    records_per_second: 20_000,
    request: 250,
    worker_batch: 1_000,
    stage_batch: 64,
    kind: "bytes",
    file: "model.onnx",
    wanted: 10.0,
};

/// With what is at hand; writes the bundles under `dir`.
pub(crate) fn jobs(dir: &Path) -> Result<Vec<Job>, Failure> {
    let jobs = vec![
        Job {
            name: "efficientnet-lite0",
            bundle: unpack_shipped("efficientnet-lite0", dir)?,
            content_type: "image/jpeg",
            payloads: shipped::PHOTOS.iter().map(|photo| Bytes::from_static(photo.2)).collect(),
            of_engine: Some(WANTED_OF_ENGINE),
            contest: Some(PHOTOS),
        },
        Job {
            name: "mlp",
            bundle: unpack("mlp", MLP, dir)?,
            content_type: "application/octet-stream",
            payloads: (0..PICTURES).map(picture).collect(),
            of_engine: None,
            contest: Some(PIXELS),
        },
        Job {
            name: "iris-mlp",
            bundle: unpack_shipped("iris-mlp", dir)?,
            content_type: "application/json",
            payloads: vec!["[5.1, 3.5, 1.4, 0.2]".into()],
            of_engine: None,
            contest: None,
        },
    ];
    Ok(jobs)
}

type Files<'a> = &'a [(&'a str, &'a [u8])];

const MLP: Files<'_> = &[
    ("model.toml", include_bytes!("mlp/model.toml")),
    ("model.onnx", include_bytes!("mlp/model.onnx")),
    ("labels.txt", include_bytes!("mlp/labels.txt")),
];

fn unpack_shipped(name: &str, dir: &Path) -> Result<PathBuf, Failure> {
    let model = shipped::MODELS.iter().find(|model| model.name == name);
    unpack(name, model.ok_or("a model that is not shipped")?.files, dir)
}

fn unpack(name: &str, files: Files<'_>, dir: &Path) -> Result<PathBuf, Failure> {
    let folder = dir.join(name);
    std::fs::create_dir_all(&folder)?;
    for (file, content) in files {
        std::fs::write(folder.join(file), content)?;
    }
    Ok(folder)
}

/// Not shipped: 23 MB. Its manifest is ours, the rest is in the folder that the environment names.
#[expect(clippy::print_stdout, reason = "a benchmark prints")]
pub(crate) fn minilm(dir: &Path) -> Result<Option<Job>, Failure> {
    const NAME: &str = "minilm";
    let Some(models) = std::env::var_os("EMBERMQ_MODELS") else {
        println!(
            "SKIPPED {NAME}: it is not shipped; set EMBERMQ_MODELS to a folder with {NAME}/model.onnx and {NAME}/tokenizer.json"
        );
        return Ok(None);
    };
    let manifest = include_bytes!("../../inference/models/minilm/model.toml");
    let bundle = unpack(NAME, &[("model.toml", manifest)], dir)?;
    for file in ["model.onnx", "tokenizer.json"] {
        std::fs::copy(Path::new(&models).join(NAME).join(file), bundle.join(file))?;
    }
    Ok(Some(Job {
        name: NAME,
        bundle,
        content_type: "text/plain",
        payloads: (0..TEXTS).map(text).collect(),
        of_engine: Some(WANTED_OF_ENGINE),
        contest: None,
    }))
}

fn picture(number: u32) -> Bytes {
    let pixel = |at: u32| {
        number.wrapping_mul(40_503).wrapping_add(at.wrapping_mul(2_654_435_761)).to_le_bytes()[2]
    };
    (0..PICTURE_BYTES).map(pixel).collect()
}

fn text(number: usize) -> Bytes {
    let words = VOCABULARY.split_whitespace().cycle().skip(number);
    let words: Vec<&str> = words.take(WORDS[number % WORDS.len()]).collect();
    words.join(" ").into()
}
