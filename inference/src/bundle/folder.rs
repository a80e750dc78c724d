//! Files of a bundle: read beneath its folder, never through a link.

use std::io;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use crate::mapping;
use crate::onnx::open_beneath;

/// The folder of a bundle.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The bytes of a file. Refuses names that lead out of the folder and links.
    pub(crate) fn read(&self, name: &str, bytes_max: u64) -> io::Result<Bytes> {
        let path = Path::new(name);
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        if name.is_empty() || !plain {
            let what = "only files within the model's own folder are read; name it relative to that folder";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let file = open_beneath(&self.path, path).map_err(|error| {
            if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
                let what = "it is a link, or lies behind one; put the file itself there";
                return io::Error::new(io::ErrorKind::InvalidInput, what);
            }
            error
        })?;
        Ok(mapping::read_open(&file, bytes_max)?.bytes().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_outside_and_links_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("labels.txt"), "a\nb\n").unwrap();
        std::os::unix::fs::symlink("labels.txt", dir.path().join("link.txt")).unwrap();
        let folder = Folder::new(dir.path());
        assert_eq!(folder.read("labels.txt", 10).unwrap(), "a\nb\n");
        assert_eq!(folder.read("none", 10).unwrap_err().kind(), io::ErrorKind::NotFound);
        for refused in ["../labels.txt", "/etc/hostname", "", ".", "a/../labels.txt"] {
            let error = folder.read(refused, 10).unwrap_err();
            assert!(error.to_string().contains("own folder"), "{refused}: {error}");
        }
        assert!(folder.read("link.txt", 10).unwrap_err().to_string().contains("a link"));
        assert!(folder.read("labels.txt", 3).is_err());
    }
}
