//! A model as people hand it over: a folder with `model.onnx` and `model.toml`, or a bare `.onnx` file.
//!
//! `model.toml` says how payloads become inputs (`[pre]`), how outputs become answers (`[post]`), and what may run
//! together (`[batch]`). Every key is documented in `docs/models.md`. It comes from outside like the model itself: every mistake is
//! reported at once, with file, line and key, and the files that it names lie in its own folder, not behind links.
//!
//! A bare file may carry the text of a `model.toml` in its metadata, under that name; without one, payloads are JSON by the names of
//! the inputs and answers JSON by the names of the outputs.

mod folder;
mod overrides;
mod problem;
mod section;
mod surroundings;

use std::path::{Path, PathBuf};

pub(crate) use folder::Folder;
pub use overrides::Overrides;
pub use problem::{BundleProblem, OpenError};
pub(crate) use section::{Section, Sheet};
pub(crate) use surroundings::{Surroundings, declared, fixed};
use toml::de::DeTable;

use crate::device::Device;
use crate::limits::Limits;
use crate::network::Network;

/// The file that says what goes in and what comes out.
pub(crate) const MANIFEST: &str = "model.toml";

/// The model's file, unless `file` names another one.
const MODEL: &str = "model.onnx";

/// What people write by hand is far shorter.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// A model's files, opened.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) network: Network,
    /// `None` for a bare file: it has no folder of its own that files could be read from.
    pub(crate) folder: Option<Folder>,
    /// Where the text of the manifest stands, and the text.
    pub(crate) manifest: (PathBuf, String),
    /// The folder's or the file's name, for a model that does not say its own.
    pub(crate) name: String,
}

impl Bundle {
    /// Opens a folder or a bare file and loads the model.
    pub(crate) fn open(path: &Path, limits: &Limits, device: &Device) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { file: path.to_owned(), source };
        if std::fs::metadata(path).map_err(io)?.is_dir() {
            Self::of_folder(path, limits, device)
        } else {
            let network = Network::open_on(path, limits, device)?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let place = path.join(MANIFEST);
            let carried = network.metadata().iter().find(|(key, _)| key == MANIFEST);
            let text = carried.map_or_else(String::new, |(_, text)| text.clone());
            Ok(Self { network, folder: None, manifest: (place, text), name })
        }
    }

    fn of_folder(path: &Path, limits: &Limits, device: &Device) -> Result<Self, OpenError> {
        let folder = Folder::new(path);
        let place = path.join(MANIFEST);
        let text = match folder.read(MANIFEST, MANIFEST_BYTES_MAX) {
            Ok(bytes) => String::from_utf8(bytes.to_vec()).map_err(|_| {
                OpenError::Problems(vec![BundleProblem::of_file(&place, "it is no UTF-8 text")])
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(OpenError::Io { file: place, source }),
        };
        let file = model_file(&place, &text)?;
        let bytes = folder
            .read(&file, limits.file_bytes_max)
            .map_err(|source| OpenError::Io { file: path.join(&file), source })?;
        let network = Network::from_bytes_on(bytes, path, limits, device)?;
        // The folder may be named by a path that ends in "..", which has no name.
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { network, folder: Some(folder), manifest: (place, text), name })
    }

    /// Gives the manifest's table to `read`, which collects what is wrong in the sheet.
    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&Section<'_>, &Surroundings<'_>) -> Option<T>,
    ) -> Result<T, OpenError> {
        let (place, text) = &self.manifest;
        let table = parse(place, text)?;
        let sheet = Sheet::new(place, text);
        let root = Section::root(&sheet, &table);
        let surroundings = Surroundings { network: &self.network, folder: self.folder.as_ref() };
        let made = read(&root, &surroundings);
        made_of(made, sheet)
    }

    /// The same with some keys otherwise. What is wrong has no line then: it is not in the file.
    pub(crate) fn read_with<T>(
        &self,
        overrides: &Overrides,
        read: impl FnOnce(&Section<'_>, &Surroundings<'_>) -> Option<T>,
    ) -> Result<T, OpenError> {
        let (place, text) = &self.manifest;
        let sheet = Sheet::new(place, "");
        let said = overrides.to_text(&sheet);
        let (mut table, said) = (parse(place, text)?, parse(place, &said)?);
        overrides.merge(&mut table, said);
        let root = Section::root(&sheet, &table);
        let surroundings = Surroundings { network: &self.network, folder: self.folder.as_ref() };
        let made = read(&root, &surroundings);
        made_of(made, sheet)
    }
}

fn made_of<T>(made: Option<T>, sheet: Sheet<'_>) -> Result<T, OpenError> {
    let problems = sheet.into_problems();
    match made {
        Some(made) if problems.is_empty() => Ok(made),
        _ => Err(OpenError::Problems(problems)),
    }
}

/// The model's file as the manifest names it. The rest of the manifest is read when the model is known.
fn model_file(place: &Path, text: &str) -> Result<String, OpenError> {
    let table = parse(place, text)?;
    let sheet = Sheet::new(place, text);
    let file = Section::root(&sheet, &table).text("file");
    let problems = sheet.into_problems();
    if problems.is_empty() {
        Ok(file.unwrap_or_else(|| MODEL.to_owned()))
    } else {
        Err(OpenError::Problems(problems))
    }
}

fn parse<'t>(place: &Path, text: &'t str) -> Result<DeTable<'t>, OpenError> {
    match DeTable::parse(text) {
        Ok(table) => Ok(table.into_inner()),
        Err(error) => {
            let sheet = Sheet::new(place, text);
            let at = error.span().map_or(0, |span| span.start);
            sheet.problem_at(at, "", error.message().to_owned());
            Err(OpenError::Problems(sheet.into_problems()))
        }
    }
}
