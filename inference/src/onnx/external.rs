//! Weights beside the model file.
//!
//! ONNX lets a tensor say that its bytes lie in another file, by a path. A model comes from outside, so that path is
//! opened beneath the model's own folder, without following links anywhere in it (`openat2`, or name by name where the
//! kernel does not have it).

use std::collections::HashMap;
use std::fs::File;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{Mode, OFlags, openat};

use super::proto::TensorProto;
use super::tensors::TensorFault;
use crate::mapping::{self, Mapping};

/// The files that a model's tensors lie in, each mapped once.
#[derive(Debug)]
pub(crate) struct ExternalData {
    folder: PathBuf,
    files: HashMap<PathBuf, Mapping>,
    bytes_max: u64,
}

impl ExternalData {
    /// For a model that lies in `folder`.
    pub(crate) fn beneath(folder: &Path, bytes_max: u64) -> Self {
        Self { folder: folder.to_owned(), files: HashMap::new(), bytes_max }
    }

    /// The bytes of a tensor that lies elsewhere.
    pub(crate) fn bytes_of(&mut self, tensor: &TensorProto) -> Result<Bytes, TensorFault> {
        let entry = |key: &str| {
            let found = tensor.external_data.iter().find(|entry| entry.key() == key);
            found.map(super::proto::StringStringEntryProto::value)
        };
        let location = entry("location").ok_or(TensorFault::ExternalWithoutLocation)?;
        let number = |key: &'static str| match entry(key) {
            None => Ok(None),
            Some(text) => match text.parse::<u64>() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(TensorFault::ExternalNumber { key, found: text.to_owned() }),
            },
        };
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        let file = self.file(location)?;
        let size = file.len() as u64;
        let outside = || TensorFault::ExternalRange { location: location.to_owned(), size };
        let end = match length {
            Some(length) => offset.checked_add(length).ok_or_else(outside)?,
            None => size,
        };
        if offset > end || end > size {
            return Err(outside());
        }
        let place = |at: u64| usize::try_from(at).map_err(|_| outside());
        Ok(file.slice(place(offset)?..place(end)?))
    }

    fn file(&mut self, location: &str) -> Result<Bytes, TensorFault> {
        let path = Path::new(location);
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        if location.is_empty() || !plain {
            return Err(TensorFault::ExternalOutside { location: location.to_owned() });
        }
        if let Some(mapping) = self.files.get(path) {
            return Ok(mapping.bytes().clone());
        }
        let failed = |source: std::io::Error| TensorFault::ExternalFile {
            location: location.to_owned(),
            what: source.to_string(),
        };
        let file = open_beneath(&self.folder, path).map_err(failed)?;
        let mapping = mapping::read_open(&file, self.bytes_max).map_err(failed)?;
        let bytes = mapping.bytes().clone();
        self.files.insert(path.to_owned(), mapping);
        Ok(bytes)
    }

    /// As [`Mapping::let_go`], for all of them.
    pub(crate) fn let_go(&self) {
        self.files.values().for_each(Mapping::let_go);
    }
}

/// Opens `path`, one name after the other, none of which may be a link.
pub(crate) fn open_beneath(folder: &Path, path: &Path) -> std::io::Result<File> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut at = File::open(folder)?;
    let mut parts = path.components().peekable();
    while let Some(part) = parts.next() {
        let mut flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        if parts.peek().is_some() {
            flags |= OFlags::DIRECTORY;
        }
        at = openat(&at, part.as_os_str(), flags, Mode::empty())?.into();
    }
    Ok(at)
}
